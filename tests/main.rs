//! The integration tests: one binary, a module for each thing tested.

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
mod confined;
mod conmon;
mod containerd;
mod content;
mod daemon_truth;
mod docker;
mod docs;
mod edge;
mod examples;
mod extremes;
mod faults;
mod hard_cases;
mod health;
mod host;
mod hostile;
mod house;
mod hybrid;
mod idle_streams;
mod inside_the_host;
mod instructions;
mod kill;
mod kubernetes;
mod licences;
mod linear;
mod local_files;
mod metrics;
mod model;
mod multiline;
mod outputs;
mod packages;
mod picture;
mod podman;
mod podman_truth;
mod pods;
mod privileges;
mod refused;
mod selection;
mod slices;
mod soak;
mod stalled;
mod support;
mod tail_containers;
mod tailing;
mod unreadable;
mod user_storages;
mod whole_life;
