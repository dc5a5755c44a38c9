//! Delivers batches to the host and advances the checkpoint on acknowledgement.

mod aside;
pub mod checkpoint;
pub(crate) mod drain;
pub mod group;
mod hold_back;
pub mod host;
pub mod host_wake;
pub mod link;
pub mod parser;
pub mod queue;
pub(crate) mod split;
pub mod waker;
