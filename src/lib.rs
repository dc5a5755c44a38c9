//! `container_logs`: a native input plugin for Fluent Bit that finds every
//! container on the machine by itself and reads its log straight from the file
//! that the runtime writes. `docs/architecture.md` is the way in.
//!
//! # The path of a byte
//!
//! ```text
//! runtime ───> source (thread) ─────────────────────────────────────┐
//!              file bytes -> lines -> format -> partial -> encode   │ Batch
//!                                                                   v
//!              checkpoint <── Ack ── [host thread] drain <── queue ─┘
//!                                        │
//!                                        └──> Host::append
//! ```
//!
//! One way only. What travels back is the acknowledgement (the checkpoint
//! moves when the host has taken a batch), the pause, and free space in the
//! queue.
//!
//! # Invariants, cited by number in the code
//!
//! - **I1** A checkpoint never passes a byte whose record the host has not
//!   accepted (or whose loss has not been counted).
//! - **I2** Nor the start of an unfinished split line of *its* stream: each
//!   stream has a resume position of its own, so an open line on one stream
//!   neither holds back nor repeats the other.
//! - **I3** A batch has one tag and one container, and its records are
//!   contiguous in that container's log.
//! - **I4** Only the host's thread calls the host.
//! - **I5** No thread of ours outlives `cb_exit`: the instance ends each of them, whichever
//!   thread started it. But for a thread that a dead file system holds in a call; the
//!   library then stays loaded.
//! - **I6** Memory is bounded by the queue limit (five times, where the host refuses
//!   some records), one batch beyond it, one shared read buffer, one capped join buffer per
//!   open split line, and bounded metadata per container (`bounds`). What is counted is
//!   bytes *built*: a slice is left where the queue is full.
//!
//! `docs/design.md` tells the whole story.

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)
)]

pub mod config;
pub mod delivery;
pub mod ffi;
pub mod format;
#[cfg(test)]
mod fuzz_seeds;
pub mod lock;
pub mod pipeline;
pub mod plugin;
pub mod runtime;
pub mod source;
pub mod telemetry;
pub mod threads;
