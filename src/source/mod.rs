//! The bytes' source: one thread reads the logs of all containers, from their files or, if
//! there are no files, from an API.

pub mod api;
mod budget;
pub mod choose;
mod container;
pub mod file;
mod pace;
pub mod rate;
pub mod reader;
mod roots;
mod slice;
mod stats;
pub mod watch;
