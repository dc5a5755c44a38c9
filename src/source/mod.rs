//! Reads the logs: one thread reads those of all containers, from their files or, if there are
//! none, from an API.

pub mod api;
mod budget;
pub mod choose;
mod container;
mod describe;
pub mod file;
mod fleet;
mod folder;
mod follow;
mod inputs;
pub mod journal;
mod known_driver;
mod label_trouble;
mod log_source;
mod log_trouble;
mod metadata_trouble;
mod own_output;
mod pace;
mod piece_times;
pub mod rate;
pub mod reader;
mod removed;
mod roots;
mod schedule;
mod services;
mod slice;
mod stats;
pub mod watch;
