//! The tests over hosts: a real Fluent Bit, and one played in C; what takes root, and valgrind, is here as well.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports a broken premise by failing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]

mod configuration;
mod confined;
mod crowds;
mod edge;
mod extremes;
mod faults;
mod host;
mod hostile;
mod inside_the_host;
mod instructions;
mod kill;
mod linear;
mod memory;
mod metrics;
mod outputs;
mod privileges;
mod refused;
mod soak;
mod stalled;
mod tail_containers;
mod unreadable;
mod user_storages;
mod whole_life;
