//! The tests over files of runtimes that the tests write: no root, no daemon, no Fluent Bit.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports a broken premise by failing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]

mod accounting;
mod api;
mod at_rest;
mod content;
mod copied_roots;
mod cut;
mod deleted;
mod docker_roots;
mod drivers;
mod first_start;
mod hard_cases;
mod health;
mod hostile;
mod idle_streams;
mod loops;
mod moved;
mod multiline;
mod nerdctl;
mod out_of_sight;
mod podman_storage;
mod pods;
mod released_checkpoint;
mod renamed;
mod replaced;
mod selection;
mod shared_log;
mod slices;
mod tail_containers;
mod tailing;
mod unfinished;
mod user_storages;
