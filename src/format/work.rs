//! Counts what the slow paths of the decoders look at, so that tests and fuzz targets
//! can assert that decoding is linear in its input without a clock: what a slow path
//! does is in proportion to the bytes that it is handed, and it says how many these
//! are each time that it is entered. The fast paths see each byte once and count
//! nothing.

use std::cell::Cell;

thread_local! {
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// A slow path of this thread is handed so many bytes.
pub(crate) fn add(bytes: usize) {
    BYTES.with(|count| count.set(count.get().saturating_add(bytes as u64)));
}

/// The bytes that slow paths of this thread were handed since the last call, each as
/// often as it was.
pub fn take() -> u64 {
    BYTES.with(Cell::take)
}
