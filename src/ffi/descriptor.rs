//! The one exported symbol: the descriptor that Fluent Bit copies when it loads the library,
//! laid out for the release that is loading it.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::mem::MaybeUninit;

use crate::ffi::host_api::find_symbol;
use crate::ffi::{callbacks, option_map, sys};
use crate::telemetry::build_info::set_abi;

/// Larger than the struct of any release: the host copies as many bytes as its own struct has,
/// and fields unknown to us must be zero.
const DESCRIPTOR_BYTES: usize = 1024;

pub(super) const NAME: &CStr = c"container_logs";
const DESCRIPTION: &CStr = c"Logs of all containers, read from the files of the container runtime";

/// Zero, except where a layout's padding is undefined.
type Bytes = [MaybeUninit<u8>; DESCRIPTOR_BYTES];

/// Space for a descriptor of any layout.
#[repr(C, align(16))]
pub struct Descriptor(UnsafeCell<Bytes>);

impl Descriptor {
    const fn zeroed() -> Descriptor {
        Descriptor(UnsafeCell::new([MaybeUninit::new(0); DESCRIPTOR_BYTES]))
    }
}

// SAFETY: written once by `fill`, which the dynamic linker runs before dlopen returns and so
// before anyone can read it; only read afterwards.
unsafe impl Sync for Descriptor {}

/// The symbol that Fluent Bit looks up: `in_` + name + `_plugin`.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static in_container_logs_plugin: Descriptor = Descriptor::zeroed();

/// Runs when the library is loaded, before the host copies the descriptor.
#[used]
#[link_section = ".init_array"]
static FILL: extern "C" fn() = fill;

extern "C" fn fill() {
    crate::ffi::guard::guard("load", (), fill_for_this_host);
}

fn fill_for_this_host() {
    let destination = in_container_logs_plugin.0.get();
    // Each marker function was introduced together with the layout that it stands for.
    if find_symbol(c"flb_input_plugin_pause").is_some() {
        // SAFETY: see `put`; the descriptor has room for every layout.
        unsafe { put(destination, layout_5_1()) };
        set_abi("5.1");
    } else if find_symbol(c"flb_notification_enqueue").is_some() {
        // SAFETY: as above.
        unsafe { put(destination, layout_3_2()) };
        set_abi("3.2");
    } else if find_symbol(c"flb_input_log_append_records").is_some()
        || find_symbol(c"flb_log_print").is_some()
    {
        // SAFETY: as above.
        unsafe { put(destination, layout_3_0()) };
        set_abi("3.0");
    }
    // Otherwise this is no host but a test or tail-containers: nothing to fill.
}

/// Writes a layout to the start of the descriptor.
///
/// # Safety
///
/// - `destination` is the exported descriptor, aligned to 16.
/// - Nobody reads it yet.
unsafe fn put<T>(destination: *mut Bytes, layout: T) {
    const { assert!(std::mem::size_of::<T>() <= DESCRIPTOR_BYTES && std::mem::align_of::<T>() <= 16) };
    // SAFETY: size and alignment are asserted above; the caller promises the rest.
    unsafe { destination.cast::<T>().write(layout) };
}

/// The address of the descriptor.
pub(super) fn address() -> usize {
    (&raw const in_container_logs_plugin).addr()
}

fn head() -> sys::clogs_plugin_head {
    sys::clogs_plugin_head {
        type_: sys::CLOGS_FLB_INPUT_PLUGIN_CORE as libc::c_int,
        proxy: std::ptr::null_mut(),
        flags: 0,
        name: NAME.as_ptr().cast_mut(),
        description: DESCRIPTION.as_ptr().cast_mut(),
        config_map: option_map::build(),
        cb_init: Some(callbacks::init),
        cb_pre_run: None,
        cb_collect: Some(callbacks::collect),
    }
}

/// A release with one more field before `cb_exit` reads its exit callback from here. A release
/// without it calls this with its plugin, which is no live instance, so nothing happens.
fn exit_in_a_shifted_slot() -> *mut libc::c_void {
    callbacks::exit as *mut libc::c_void
}

fn layout_3_0() -> sys::clogs_plugin_3_0 {
    sys::clogs_plugin_3_0 {
        head: head(),
        cb_flush_buf: std::ptr::null_mut(),
        cb_flush_end: std::ptr::null_mut(),
        cb_pause: Some(callbacks::pause),
        cb_resume: Some(callbacks::resume),
        cb_ingest: std::ptr::null_mut(),
        cb_exit: Some(callbacks::exit),
        cb_destroy: exit_in_a_shifted_slot(),
    }
}

fn layout_3_2() -> sys::clogs_plugin_3_2 {
    sys::clogs_plugin_3_2 {
        head: head(),
        cb_notification: std::ptr::null_mut(),
        cb_flush_buf: std::ptr::null_mut(),
        cb_flush_end: std::ptr::null_mut(),
        cb_pause: Some(callbacks::pause),
        cb_resume: Some(callbacks::resume),
        cb_ingest: std::ptr::null_mut(),
        cb_exit: Some(callbacks::exit),
        cb_destroy: exit_in_a_shifted_slot(),
    }
}

fn layout_5_1() -> sys::clogs_plugin_5_1 {
    sys::clogs_plugin_5_1 {
        head: head(),
        cb_notification: std::ptr::null_mut(),
        cb_flush_buf: std::ptr::null_mut(),
        cb_flush_end: std::ptr::null_mut(),
        cb_pause: Some(callbacks::pause),
        cb_resume: Some(callbacks::resume),
        cb_pause_checked: std::ptr::null_mut(),
        cb_resume_checked: std::ptr::null_mut(),
        cb_ingest: std::ptr::null_mut(),
        cb_pre_exit: std::ptr::null_mut(),
        cb_exit: Some(callbacks::exit),
        cb_destroy: exit_in_a_shifted_slot(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: usize = std::mem::size_of::<usize>();

    /// The pointer at `offset`, as a host that copied the bytes would read it.
    fn word(descriptor: &Descriptor, offset: usize) -> *const libc::c_void {
        assert!(offset.is_multiple_of(WORD) && offset + WORD <= DESCRIPTOR_BYTES);
        // SAFETY: in bounds and aligned, as just asserted.
        let at = unsafe { descriptor.0.get().byte_add(offset) };
        // SAFETY: as above; all of the descriptor is initialised.
        unsafe { at.cast::<*const libc::c_void>().read() }
    }

    fn filled<T>(layout: T) -> Descriptor {
        let descriptor = Descriptor::zeroed();
        // SAFETY: it has the room and the alignment, and nobody else knows it.
        unsafe { put(descriptor.0.get(), layout) };
        descriptor
    }

    /// Offsets of cb_pause, cb_resume, cb_exit and the next slot, as read from the releases
    /// (see the facts in include/fluent_bit_abi.h).
    #[test]
    fn miri_each_release_finds_its_callbacks_where_it_looks() {
        for (release, descriptor, [pause, resume, exit, behind]) in [
            ("3.0", filled(layout_3_0()), [88, 96, 112, 120]),
            ("3.2", filled(layout_3_2()), [96, 104, 120, 128]),
            ("5.1", filled(layout_5_1()), [96, 104, 144, 152]),
        ] {
            // SAFETY: the name is NUL-terminated text of ours.
            let name = unsafe { CStr::from_ptr(word(&descriptor, 24).cast()) };
            assert_eq!(name, NAME, "{release}");
            let filled: Vec<usize> = (48..DESCRIPTOR_BYTES)
                .step_by(WORD)
                .filter(|at| !word(&descriptor, *at).is_null())
                .collect();
            assert_eq!(filled, [48, 64, pause, resume, exit, behind], "{release}");
            option_map::tests::free_built(word(&descriptor, 40).cast_mut());
        }
    }

    #[test]
    fn miri_a_process_that_is_no_host_finds_nothing_filled() {
        fill();
        assert!((0..DESCRIPTOR_BYTES)
            .step_by(WORD)
            .all(|at| word(&in_container_logs_plugin, at).is_null()));
    }
}
