//! Random histories of containers' folders against an obviously right model.
//!
//! A history (`plan`) is a list of actions: of dockerd, of the kubelet or of conmon, of
//! logrotate, of a user's hand, of the host, of the one who kills it and of the one
//! who pulls the plug. It is played in this process without threads: the reader is
//! turned when the history says so, so a history that fails once fails always.
//! `truth` says what must arrive:
//!
//! - whatever was on disk in a file that existed while the reader was up, or that
//!   survived until it was;
//! - in the order of each stream, parts of a line joined;
//! - once, but for the batch that a kill caught between append and checkpoint, and
//!   what the checkpoint on the disk does not know of when the power goes.
//!
//! And the books must balance at each step. What a history does not have, since no
//! reader could know what to do:
//!
//! - A clock that steps under logrotate, or back where dockerd compresses. A position
//!   that is in no file any more, as its lines were truncated away or rotated out,
//!   says nothing but a time; whether a copy, or an archive, was made before or after
//!   it is told by the times of their entries alone.
//! - The current file removed by hand where dockerd compresses. dockerd then renames
//!   nothing, and compresses the file before it once more, with a later time in its
//!   header: what was read looks like what was written since.
//! - A log truncated by hand in mid-line where dockerd compresses. All pieces of a line
//!   have one time, so the archive's does not tell that some came after the position.
//! - A container that goes on with a line after its folder was away. For the same
//!   reason; and dockerd had to start it anew.
//! - A torn entry of the container runtime interface whose text has begun: what is
//!   glued behind it looks like more of it. Or lines that end with their stream and
//!   not with their run, in Podman's one file: the next line looks like their rest.
//! - A folder that goes away and comes back under logrotate. A copy is met when its
//!   original is read on, which the held file allows while the copy is out of sight:
//!   by then its place in the order is past.
//! - A line of dockerd's that goes on behind a copy under a dated name. All its pieces have
//!   one time, and the place of such a copy is that of the time of its first entry.
//! - A copy of a log whose writer left a hole in it, before all of the log was read.
//!   Heads of nothing but NULs tell neither which file was copied nor from where on
//!   it is unread. So histories with such a writer settle before and after a copy.
//!
//! What fails is shrunk by proptest to a minimal script, printed with its seed.
//! `HISTORIES=100000 SEED=7` play more, and others; history N of a run has the
//! seed SEED + N, so one alone is `HISTORIES=1 SEED=…`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports a broken premise by failing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads what it wrote itself"
)]

mod cases;
mod container;
mod dockerd;
mod format;
mod hand;
mod histories;
mod history;
mod instance;
mod kubelet;
mod plan;
mod truth;
