//! The tests over real runtimes: dockerd, Podman, containerd, conmon, and a node as Kubernetes has it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports a broken premise by failing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]

mod check;
mod conmon;
mod containerd;
mod daemon_truth;
mod docker;
mod drivers;
mod hybrid;
mod image;
mod journal;
mod journal_and_api;
mod journal_histories;
mod journal_kills;
mod journal_losses;
mod journal_places;
mod journal_removed;
mod journal_rootless;
mod journal_soak;
mod journal_unwritten;
mod kubernetes;
mod local_files;
mod log_plugin;
mod multiline;
mod own_container;
mod podman;
mod podman_truth;
