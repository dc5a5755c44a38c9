//! `container_logs`: a native input plugin for Fluent Bit that finds every container on the
//! machine and reads its log directly from the files the runtime writes. Start with
//! `docs/architecture.md`.
//!
//! # Data flow
//!
//! ```text
//! runtime ───> source (thread) ─────────────────────────────────────┐
//!              file bytes -> lines -> format -> partial -> encode   │ Batch
//!                                                                   v
//!              checkpoint <────────  [host thread] drain <── queue ─┘
//!                                        │
//!                                        └──> Host::append
//! ```
//!
//! Data flows one way. Only three things travel back: the acknowledgement (the checkpoint
//! advances when the host has accepted a batch), the pause, and free space in the queue.
//!
//! # Invariants, cited by number in the code
//!
//! - **I1** A checkpoint never passes a byte whose record the host has not accepted (or whose
//!   loss has not been counted).
//! - **I2** A checkpoint never passes the start of an unfinished split line of *its* stream:
//!   each stream has its own resume offset, so an open line on one stream neither holds back
//!   nor repeats the other.
//! - **I3** A batch has one tag and one container, and its records are contiguous in that
//!   container's log.
//! - **I4** Only the host's thread calls the host.
//! - **I5** No thread of the plugin outlives `cb_exit`: the instance ends every thread,
//!   whichever thread started it. The exception is a thread blocked in a call into an
//!   unresponsive file system; the library then stays loaded.
//! - **I6** Memory is bounded by the queue limit (five times the limit while the host refuses
//!   some records), one batch beyond it, one shared read buffer, one capped join buffer per
//!   open split line, and bounded metadata per container (`bounds`). The limit counts bytes
//!   *built*: the reader stops in mid-slice when the queue is full.
//!
//! `docs/design.md` has the full design.

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)
)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "container_logs is for 64-bit Linux: include/fluent_bit_abi.h has the layout of Fluent Bit's \
     structures there, and on no 32-bit machine (such as arm/v7, for which there is an image of \
     Fluent Bit)"
);

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
