//! The host's functions, played in Rust over an instance of our own making.

use std::cell::RefCell;
use std::ffi::CStr;

use super::*;
use crate::ffi::host_api::HostApi;

/// What an append was called with: records, tag, bytes.
type Appended = (usize, Option<Vec<u8>>, Vec<u8>);

/// The object behind the pointer that the plugin only passes on.
#[derive(Default)]
pub(in crate::ffi) struct PlayedInstance {
    appended: RefCell<Vec<Appended>>,
    refuses: bool,
    levels_asked: RefCell<Vec<libc::c_int>>,
    properties: Vec<(&'static CStr, &'static CStr)>,
}

impl PlayedInstance {
    pub(in crate::ffi) fn with_properties(
        properties: Vec<(&'static CStr, &'static CStr)>,
    ) -> PlayedInstance {
        PlayedInstance {
            properties,
            ..PlayedInstance::default()
        }
    }

    pub(in crate::ffi) fn pointer(&self) -> *mut sys::flb_input_instance {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

fn played<'a>(ins: *mut sys::flb_input_instance) -> &'a PlayedInstance {
    // SAFETY: every test passes the pointer of a played instance that outlives
    // the call.
    unsafe { &*ins.cast::<PlayedInstance>() }
}

fn copy(start: *const libc::c_void, length: usize) -> Vec<u8> {
    // SAFETY: the plugin promises this many bytes; Miri checks it.
    unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }.to_vec()
}

unsafe extern "C" fn append(
    ins: *mut sys::flb_input_instance,
    records: usize,
    tag: *const libc::c_char,
    tag_bytes: usize,
    bytes: *const libc::c_void,
    length: usize,
) -> libc::c_int {
    let tag = (!tag.is_null()).then(|| copy(tag.cast(), tag_bytes));
    played(ins)
        .appended
        .borrow_mut()
        .push((records, tag, copy(bytes, length)));
    if played(ins).refuses {
        -1
    } else {
        0
    }
}

unsafe extern "C" fn get_property(
    name: *const libc::c_char,
    ins: *mut sys::flb_input_instance,
) -> *const libc::c_char {
    // SAFETY: the plugin promises a NUL at its end; Miri checks it.
    let name = unsafe { CStr::from_ptr(name) };
    let found = played(ins)
        .properties
        .iter()
        .find(|(known, _)| *known == name);
    found.map_or(std::ptr::null(), |(_, value)| value.as_ptr())
}

unsafe extern "C" fn input_name(_: *mut sys::flb_input_instance) -> *const libc::c_char {
    c"container_logs.7".as_ptr()
}

unsafe extern "C" fn log_check(
    ins: *mut sys::flb_input_instance,
    level: libc::c_int,
) -> libc::c_int {
    played(ins).levels_asked.borrow_mut().push(level);
    libc::c_int::from(level <= 2)
}

unsafe extern "C" fn set_context(_: *mut sys::flb_input_instance, _: *mut libc::c_void) {}

unsafe extern "C" fn set_collector_event(
    _: *mut sys::flb_input_instance,
    _: sys::clogs_collect_cb,
    _: libc::c_int,
    _: *mut sys::flb_config,
) -> libc::c_int {
    -1
}

pub(in crate::ffi) static PLAYED_API: HostApi = HostApi {
    append,
    set_context,
    set_collector_event,
    get_property,
    input_name,
    log_check,
    total_size: None,
    engine_flush: None,
};

#[test]
fn miri_records_and_tags_reach_the_host_byte_by_byte() {
    let ins = PlayedInstance::default();
    let host = FlbHost::new(&PLAYED_API, ins.pointer(), "a");
    for (tag, bytes) in [
        (None, &b"\x92"[..]),
        (Some("docker.web"), b"\0\xff"),
        (Some(""), b""),
    ] {
        assert_eq!(host.append(tag, 3, bytes), Ok(()));
        let (records, given, copied) = ins.appended.borrow_mut().pop().unwrap();
        assert_eq!(records, 3);
        assert_eq!(given.as_deref(), tag.map(str::as_bytes));
        assert_eq!(copied, bytes);
    }
}

#[test]
fn miri_a_host_that_says_no_has_refused() {
    let ins = PlayedInstance {
        refuses: true,
        ..PlayedInstance::default()
    };
    assert_eq!(
        FlbHost::new(&PLAYED_API, ins.pointer(), "a").append(None, 1, b"x"),
        Err(AppendRefused)
    );
}

#[test]
fn miri_the_host_is_asked_about_each_level_by_its_own_number() {
    let ins = PlayedInstance::default();
    let host = FlbHost::new(&PLAYED_API, ins.pointer(), "a");
    for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
        host.log(level, "a message of this test");
    }
    assert_eq!(*ins.levels_asked.borrow(), [1, 2, 3, 4]);
}

#[test]
fn miri_no_text_makes_more_than_one_line_of_a_message() {
    for (message, want) in [
        ("plain", "plain"),
        ("two\nlines", "two?lines"),
        ("\x1b[2J\r\x07\0%s%n", "?[2J???%s%n"),
        ("\u{9b}31m\u{85}", "?31m?"),
        ("žluť", "žluť"),
    ] {
        assert_eq!(clean(message).to_str(), Ok(want));
    }
}
