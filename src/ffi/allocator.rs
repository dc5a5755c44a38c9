//! The allocator of all our Rust code: the C library's, called so that Rust's alignment
//! guarantee holds.
//!
//! Rust's `System` passes requests with an alignment of up to 16 to `malloc`, which C requires
//! to align for any type *that fits*. Official builds of Fluent Bit export a jemalloc built
//! with `--with-lg-quantum=3`: its size classes up to 128 bytes are multiples of 8, and a
//! block of class 24, 40 or 56 may be at an odd multiple of 8. hashbrown allocates such sizes
//! with an alignment of 16 and loads them with `movdqa`, which crashes.
//!
//! Each request is therefore rounded up to a multiple of its alignment. This suffices because
//! a small jemalloc block is at a multiple of its size class in a run that begins at a page,
//! so it is aligned to the largest power of two that divides the class (see `SC` in jemalloc's
//! `sc.h`: with a quantum of 8 the classes are 8, 16, 24, 32, 40, 48, 56, 64, then four per
//! doubling: 80, 96, 112, 128, 160, …). The classes that are not multiples of 16 are 8, 24, 40
//! and 56. Each serves the eight sizes up to itself, none of which is a multiple of 16. Larger
//! blocks are aligned to a cache line at least. For alignments above 16, `System` itself calls
//! `posix_memalign`. `realloc` preserves the alignment, since the new size is rounded in the
//! same way, wherever the block is moved to.
//!
//! The alternative, `posix_memalign` for every alignment above 8, would take the slow path for
//! each such block and turn each `realloc` into an allocation, a copy and a free. Rounding
//! costs two instructions and at most the bytes that jemalloc's class has anyway.

use std::alloc::{GlobalAlloc, Layout, System};

/// The C library's allocator, called with sizes that are multiples of their alignment.
struct PaddedSystem;

#[global_allocator]
static ALLOCATOR: PaddedSystem = PaddedSystem;

// SAFETY: every call goes to `System` with a layout of the same alignment and at least the
// same size. The layout is a pure function of the caller's, so it is the same one for all
// calls on a block.
unsafe impl GlobalAlloc for PaddedSystem {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not zero, as the caller promises, and rounding makes it no
        // smaller.
        unsafe { System.alloc(layout.pad_to_align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout.pad_to_align()) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System` with this rounded layout.
        unsafe { System.dealloc(block, layout.pad_to_align()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, is no
        // larger than `isize::MAX`.
        let new =
            unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) }.pad_to_align();
        // SAFETY: the block came from `System` with this rounded layout, and the new size is
        // neither zero nor too large.
        unsafe { System.realloc(block, layout.pad_to_align(), new.size()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// jemalloc's size classes with a quantum of 8, up to a page.
    fn class(size: usize) -> usize {
        let step = if size <= 64 {
            8
        } else {
            size.next_power_of_two() / 8
        };
        size.next_multiple_of(step)
    }

    #[test]
    fn a_rounded_size_never_falls_into_a_class_that_is_aligned_to_less() {
        assert_eq!(
            [1, 17, 33, 49, 65, 81, 129].map(class),
            [8, 24, 40, 56, 80, 96, 160]
        );
        for align in [1, 2, 4, 8, 16] {
            for size in 1..4096 {
                let layout = Layout::from_size_align(size, align).unwrap().pad_to_align();
                assert!(
                    class(layout.size()).is_multiple_of(align),
                    "{size} bytes aligned to {align}"
                );
            }
        }
        assert!(
            !class(20).is_multiple_of(16),
            "without the rounding it would"
        );
    }

    #[test]
    fn blocks_of_every_size_and_alignment_are_aligned_and_keep_their_bytes() {
        for align in [1usize, 2, 4, 8, 16, 32, 4096] {
            for size in (1..200).chain([4095, 4097]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero.
                let block = unsafe { ALLOCATOR.alloc_zeroed(layout) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                // SAFETY: the block has this many bytes, all of them written.
                let bytes = unsafe { std::slice::from_raw_parts_mut(block, size) };
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(7);
                // SAFETY: the block is of this allocator and layout; the new size is not zero.
                let moved = unsafe { ALLOCATOR.realloc(block, layout, size + 9) };
                assert!(!moved.is_null() && moved.addr().is_multiple_of(align));
                // SAFETY: as many bytes were there before.
                let bytes = unsafe { std::slice::from_raw_parts(moved, size) };
                assert!(bytes.iter().all(|byte| *byte == 7));
                let layout = Layout::from_size_align(size + 9, align).unwrap();
                // SAFETY: the block is of this allocator and layout.
                unsafe { ALLOCATOR.dealloc(moved, layout) };
            }
        }
    }
}
