//! Reads the logs: one thread reads those of all containers, from their files or, if there are
//! none, from an API.

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
