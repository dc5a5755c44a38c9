//! A host of each element size, played in Rust: it walks the table with its own stride, as
//! Fluent Bit's `flb_config_map_create` does.

use super::*;
use std::ffi::CStr;

/// One of the host's list nodes, in memory of its own.
type Node = sys::clogs_list_node;

/// The names in a table whose elements have `SIZE` bytes, up to a zero name.
fn walk<const SIZE: usize>(table: *mut libc::c_void) -> Vec<*mut sys::clogs_config_map_head> {
    let mut entries = Vec::new();
    loop {
        // SAFETY: the table is long enough for a host of this size: that is
        // what the test is about, and what Miri checks.
        let entry =
            unsafe { table.byte_add(entries.len() * SIZE) }.cast::<sys::clogs_config_map_head>();
        // SAFETY: as above.
        if unsafe { (*entry).name }.is_null() {
            return entries;
        }
        entries.push(entry);
    }
}

unsafe extern "C" fn create<const SIZE: usize>(
    _: *mut sys::flb_config,
    table: *mut libc::c_void,
) -> *mut Node {
    let head = new_node();
    for _ in walk::<SIZE>(table) {
        let node = new_node();
        // SAFETY: the head was made by `new_node` and nobody else has it.
        let first = unsafe { std::mem::replace(&mut (*head).next, node) };
        // SAFETY: as above.
        unsafe { (*node).next = first };
    }
    head
}

fn new_node() -> *mut Node {
    let node = Box::into_raw(Box::new(Node {
        prev: std::ptr::null_mut(),
        next: std::ptr::null_mut(),
    }));
    // SAFETY: it was just made.
    unsafe { (*node).next = node };
    node
}

unsafe extern "C" fn destroy(head: *mut Node) {
    // SAFETY: `head` and all that follow were made by `new_node`.
    let mut node = unsafe { Box::from_raw(head) }.next;
    while node != head {
        // SAFETY: as above; the list is circular.
        node = unsafe { Box::from_raw(node) }.next;
    }
}

unsafe extern "C" fn create_nothing(_: *mut sys::flb_config, _: *mut libc::c_void) -> *mut Node {
    std::ptr::null_mut()
}

#[track_caller]
fn finds_its_size_and_its_options<const SIZE: usize>(is_repeatable: bool) {
    let functions = MapFunctions {
        create: create::<SIZE>,
        destroy,
    };
    assert_eq!(functions.element_size(), Some(SIZE));
    let table = table(SIZE, is_repeatable);
    let entries = walk::<SIZE>(table);
    assert_eq!(entries.len(), OPTIONS.len());
    for (entry, option) in entries.into_iter().zip(OPTIONS) {
        // SAFETY: `walk` found it in the table.
        let entry = unsafe { entry.read() };
        assert_eq!(
            text(entry.name).as_deref(),
            Some(option.name.to_ascii_lowercase().as_str())
        );
        assert_eq!(text(entry.def_value).as_deref(), option.default());
        assert_eq!(text(entry.desc).as_deref(), Some(option.text));
        let is_multiple = is_repeatable && option.kind.is_repeatable();
        assert_eq!(
            (entry.flags, entry.set_property, entry.offset),
            (is_multiple.into(), 0, 0)
        );
    }
    free::<SIZE>(table);
}

/// Frees a table built by a test, which the host never does, so that Miri reports any other
/// leak.
fn free<const SIZE: usize>(table: *mut libc::c_void) {
    for entry in walk::<SIZE>(table) {
        // SAFETY: `walk` found it in the table.
        let entry = unsafe { entry.read() };
        for text in [entry.name, entry.def_value, entry.desc] {
            if !text.is_null() {
                // SAFETY: `leak_text` made it, and this is the only use left.
                drop(unsafe { CString::from_raw(text) });
            }
        }
    }
    let words =
        std::ptr::slice_from_raw_parts_mut(table.cast::<u64>(), (OPTIONS.len() + 1) * SIZE / 8);
    // SAFETY: `table` leaked a box of this length.
    drop(unsafe { Box::from_raw(words) });
}

/// Like [`free`], for what [`build`] returns in a process without a host.
pub(in crate::ffi) fn free_built(table: *mut libc::c_void) {
    free::<USUAL_SIZE>(table);
}

fn text(text: *mut libc::c_char) -> Option<String> {
    // SAFETY: NULL is asked for first; the table's texts are NUL-terminated.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

#[test]
fn miri_a_host_of_each_element_size_finds_every_option() {
    finds_its_size_and_its_options::<56>(false);
    finds_its_size_and_its_options::<96>(true);
    finds_its_size_and_its_options::<104>(false);
    finds_its_size_and_its_options::<112>(true);
    finds_its_size_and_its_options::<256>(true);
}

#[test]
fn miri_a_host_that_cannot_be_asked_is_taken_for_a_usual_one() {
    assert_eq!(
        MapFunctions {
            create: create_nothing,
            destroy
        }
        .element_size(),
        None
    );
    let oversized = MapFunctions {
        create: create::<264>,
        destroy,
    };
    assert_eq!(oversized.element_size(), None);
    assert!(MapFunctions::find().is_none(), "this process is no host");
    let table = build();
    assert_eq!(walk::<USUAL_SIZE>(table).len(), OPTIONS.len());
    free_built(table);
}
