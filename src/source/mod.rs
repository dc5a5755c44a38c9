//! Where the bytes come from: one thread reads the logs of all containers, from their files
//! or, where there is nothing else, from an API.

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
