//! Tests of the whole room, and the API that its tests talk to.

mod follow;
mod outage;
mod requests;
pub mod scripted_api;
mod snapshots;
