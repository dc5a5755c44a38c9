//! The tests over what the documents, examples, packages and the house promise.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports a broken premise by failing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]

mod alerts;
mod docs;
mod examples;
mod house;
mod licences;
mod links;
mod packages;
mod release;
mod shown;
