//! Counts the bytes that the decoders' slow paths examine, so that tests and fuzz targets can
//! assert without a clock that decoding is linear in its input. A slow path does work
//! proportional to the bytes passed to it and reports their number each time it is entered.
//! The fast paths see each byte once and count nothing.

use std::cell::Cell;

thread_local! {
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Records that a slow path of this thread was given `bytes` bytes.
pub(crate) fn add(bytes: usize) {
    BYTES.with(|count| count.set(count.get().saturating_add(bytes as u64)));
}

/// Returns the bytes counted on this thread since the last call, with repetitions, and resets
/// the count.
pub fn take() -> u64 {
    BYTES.with(Cell::take)
}
