//! What the plugin reports about itself: accounts of bytes and records, events for the log,
//! metrics.

pub mod account;
pub mod activity;
pub mod build_info;
pub mod event;
pub mod event_queue;
pub mod figures;
mod level;
pub mod metrics;
pub mod plain_text;
pub mod throttle;
pub mod trouble;
