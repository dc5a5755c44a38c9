//! The integration tests: one binary, a module for each thing tested.

mod docker;
mod host;
mod support;
mod tailing;
