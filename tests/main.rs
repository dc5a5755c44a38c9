//! The integration tests: one binary, a module for each thing tested.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test reports a broken premise by failing")]

mod accounting;
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
mod host;
mod hybrid;
mod idle_streams;
mod instructions;
mod kill;
mod kubernetes;
mod licences;
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
mod selection;
mod soak;
mod stalled;
mod support;
mod tail_containers;
mod tailing;
mod unreadable;
mod user_storages;
mod whole_life;
