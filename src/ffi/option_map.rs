//! The host's table of our options, in the host's element size.
//!
//! The host walks the table by `sizeof` its own struct, which changed within a patch series.
//! The size can be determined: [`MapFunctions`] lets the host copy a probe with names at 0, S
//! and 2 S, and counts the options found. The host finds exactly three only if its element has
//! S bytes.

use std::ffi::CString;

use crate::config::options::{Kind, OptionSpec, OPTIONS};
use crate::ffi::host_api::find_symbol;
use crate::ffi::{properties, sys};

/// Element sizes to probe: today's, with a margin.
const SIZES: std::ops::RangeInclusive<usize> = 56..=256;
/// The size in 5.0.9 and 5.1, for a host that cannot be probed.
const USUAL_SIZE: usize = 104;
const PROBE_NAME: &[u8; 2] = b"p\0";

/// The host's functions that copy a table of options and free the copy.
pub struct MapFunctions {
    create:
        unsafe extern "C" fn(*mut sys::flb_config, *mut libc::c_void) -> *mut sys::clogs_list_node,
    destroy: unsafe extern "C" fn(*mut sys::clogs_list_node),
}

impl MapFunctions {
    /// The functions of the host that is loading us, or `None` if it does not export them.
    fn find() -> Option<MapFunctions> {
        let create = find_symbol(c"flb_config_map_create")?;
        let destroy = find_symbol(c"flb_config_map_destroy")?;
        // SAFETY: every release since 2.1 exports this function with the signature that the
        // header gives.
        let create = unsafe {
            std::mem::transmute::<*mut libc::c_void, sys::clogs_config_map_create_fn>(create)
        }?;
        // SAFETY: as above.
        let destroy = unsafe {
            std::mem::transmute::<*mut libc::c_void, sys::clogs_config_map_destroy_fn>(destroy)
        }?;
        Some(MapFunctions { create, destroy })
    }

    /// The size of the host's option struct in bytes; `None` if it is not in `SIZES`.
    fn element_size(&self) -> Option<usize> {
        SIZES.step_by(8).find(|size| {
            let mut probe = probe(*size);
            // SAFETY: the probe is zero except for three names, and long enough that a host
            // with any element size in SIZES meets a zero name inside it; without default
            // values, the host does not access the configuration.
            let list = unsafe { (self.create)(std::ptr::null_mut(), probe.as_mut_ptr().cast()) };
            if list.is_null() {
                return false;
            }
            let count = list_length(list);
            // SAFETY: `list` came from `create` and is not used again.
            unsafe { (self.destroy)(list) };
            count == 3
        })
    }
}

/// Zeroed entries of `size` bytes with names in the first three.
fn probe(size: usize) -> Vec<*const u8> {
    let name = std::mem::offset_of!(sys::clogs_config_map_head, name);
    let mut words = vec![std::ptr::null(); 4 * SIZES.end() / 8];
    for entry in 0..3 {
        words[(entry * size + name) / 8] = PROBE_NAME.as_ptr();
    }
    words
}

/// Number of nodes of a circular list, without its head; stops beyond any plausible number.
fn list_length(head: *mut sys::clogs_list_node) -> usize {
    let mut count = 0;
    let mut node = head;
    loop {
        // SAFETY: the host's lists are circular and every node on the way from the head back
        // to it is live until the list is destroyed.
        node = unsafe { (*node).next };
        if node == head || node.is_null() || count > 1000 {
            return count;
        }
        count += 1;
    }
}

/// Builds the table for the host that is loading us. It is never freed, because the host keeps
/// pointers into it.
pub fn build() -> *mut libc::c_void {
    let functions = MapFunctions::find();
    table(
        functions
            .and_then(|functions| functions.element_size())
            .unwrap_or(USUAL_SIZE),
        properties::list_offset().is_some(),
    )
}

/// The table with entries of `size` bytes. `is_repeatable` says whether all values of an
/// option can be read. If not, they must not be accepted: the host refuses a second value of
/// an option that is not announced as repeatable.
fn table(size: usize, is_repeatable: bool) -> *mut libc::c_void {
    // An additional zero entry ends the table.
    let mut table = vec![0u64; (OPTIONS.len() + 1) * size / 8].into_boxed_slice();
    for (option, words) in OPTIONS.iter().zip(table.chunks_exact_mut(size / 8)) {
        let entry = words.as_mut_ptr().cast::<sys::clogs_config_map_head>();
        // SAFETY: `entry` points at `size` bytes of the table, aligned to 8, and `size` is at
        // least the size of the head.
        unsafe { entry.write(encode(option, is_repeatable)) };
    }
    Box::leak(table).as_mut_ptr().cast()
}

fn encode(option: &OptionSpec, is_repeatable: bool) -> sys::clogs_config_map_head {
    let kind = match option.kind {
        Kind::Text | Kind::Texts | Kind::List => sys::CLOGS_FLB_CONFIG_MAP_STR,
        Kind::Bool => sys::CLOGS_FLB_CONFIG_MAP_BOOL,
        Kind::Number => sys::CLOGS_FLB_CONFIG_MAP_INT,
        Kind::Size => sys::CLOGS_FLB_CONFIG_MAP_SIZE,
        Kind::Time => sys::CLOGS_FLB_CONFIG_MAP_TIME,
    };
    sys::clogs_config_map_head {
        type_: kind as libc::c_int,
        name: leak_text(&option.name.to_ascii_lowercase()),
        def_value: option.default().map_or(std::ptr::null_mut(), leak_text),
        flags: if is_repeatable && option.kind.is_repeatable() {
            sys::CLOGS_FLB_CONFIG_MAP_MULT as libc::c_int
        } else {
            0
        },
        // The host writes nothing into our memory; we query the values instead.
        set_property: 0,
        offset: 0,
        desc: leak_text(option.text),
    }
}

fn leak_text(text: &str) -> *mut libc::c_char {
    CString::new(text).map_or(std::ptr::null_mut(), CString::into_raw)
}

const _: () = {
    assert!(*SIZES.start() >= std::mem::size_of::<sys::clogs_config_map_head>());
    assert!(USUAL_SIZE.is_multiple_of(8));
};

#[cfg(test)]
pub mod tests;
