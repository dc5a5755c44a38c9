//! The host's parsers, through the functions that it exports (the same signatures in every
//! release from 2.1 to 5.1). They belong to the host's configuration and are used on its
//! thread, as by its own filters.

use std::ffi::CString;

use once_cell::sync::OnceCell;

use crate::delivery::host::{NoParser, Parsed};
use crate::ffi::host_api::find_symbol;
use crate::ffi::sys;
use crate::format::position::Timestamp;

/// The parser functions that the plugin calls.
#[derive(Debug)]
pub struct ParserApi {
    pub get: unsafe extern "C" fn(*const libc::c_char, *mut sys::flb_config) -> *mut libc::c_void,
    pub parse: unsafe extern "C" fn(
        *mut libc::c_void,
        *const libc::c_char,
        usize,
        *mut *mut libc::c_void,
        *mut usize,
        *mut sys::timespec,
    ) -> libc::c_int,
}

static PARSER_API: OnceCell<Option<ParserApi>> = OnceCell::new();

/// The functions, or `None` if the host was built without parsers.
pub fn parser_api() -> Option<&'static ParserApi> {
    PARSER_API.get_or_init(resolve).as_ref()
}

fn resolve() -> Option<ParserApi> {
    let get = find_symbol(c"flb_parser_get")?;
    // SAFETY: the exported function has the signature that the header gives, the same in all
    // releases it names; not NULL.
    let get = unsafe { std::mem::transmute::<*mut libc::c_void, sys::clogs_parser_get_fn>(get) }?;
    let parse = find_symbol(c"flb_parser_do")?;
    // SAFETY: as above.
    let parse =
        unsafe { std::mem::transmute::<*mut libc::c_void, sys::clogs_parser_do_fn>(parse) }?;
    Some(ParserApi { get, parse })
}

/// Parses `text` with the parser `name`; see [`crate::delivery::host::Host::parse`]. Call it
/// on the host's thread during a callback; `config` is what the host passed to that callback.
pub fn parse(
    api: &ParserApi,
    config: *mut sys::flb_config,
    name: &str,
    text: &[u8],
) -> Result<Option<Parsed>, NoParser> {
    let name = CString::new(name).map_err(|_| NoParser)?;
    if config.is_null() {
        return Err(NoParser);
    }
    // SAFETY: `name` is NUL-terminated, `config` is live (see above).
    let parser = unsafe { (api.get)(name.as_ptr(), config) };
    if parser.is_null() {
        return Err(NoParser);
    }
    let (mut out, mut out_bytes) = (std::ptr::null_mut(), 0);
    let mut time = sys::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (start, length) = (text.as_ptr().cast(), text.len());
    // SAFETY: the parser is the host's and lives as long as its configuration; the text is
    // valid for its length, and the three results have room.
    let status = unsafe { (api.parse)(parser, start, length, &mut out, &mut out_bytes, &mut time) };
    if status < 0 || out.is_null() {
        return Ok(None);
    }
    // SAFETY: on success the host has set both to a buffer and its length.
    let fields = unsafe { std::slice::from_raw_parts(out.cast::<u8>(), out_bytes) }.to_vec();
    // SAFETY: the caller must free the buffer with the `free` of the process, which is what
    // the host calls `flb_free`. A host with its own allocator exports that name.
    unsafe { libc::free(out) };
    Ok(Some(Parsed {
        fields,
        time: timestamp(time),
    }))
}

/// Zero means no time: the parser does not extract one, or found none.
fn timestamp(time: sys::timespec) -> Option<Timestamp> {
    let nanos = u32::try_from(time.tv_nsec)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let time = Timestamp {
        seconds: time.tv_sec,
        nanos,
    };
    (time != Timestamp::default()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn get(
        name: *const libc::c_char,
        _: *mut sys::flb_config,
    ) -> *mut libc::c_void {
        // SAFETY: the plugin promises a NUL at its end; Miri checks it.
        let name = unsafe { std::ffi::CStr::from_ptr(name) };
        if name == c"first" {
            std::ptr::dangling_mut()
        } else {
            std::ptr::null_mut()
        }
    }

    /// Matches texts that begin with a digit, and returns `{"first": digit}`.
    unsafe extern "C" fn parse_first(
        _: *mut libc::c_void,
        text: *const libc::c_char,
        length: usize,
        out: *mut *mut libc::c_void,
        out_bytes: *mut usize,
        time: *mut sys::timespec,
    ) -> libc::c_int {
        // SAFETY: the plugin promises this many bytes; Miri checks it.
        let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
        let Some(digit) = text.first().filter(|byte| byte.is_ascii_digit()) else {
            return -1;
        };
        let map = [0x81, 0xa5, b'f', b'i', b'r', b's', b't', digit - b'0'];
        // SAFETY: any size may be asked for.
        let buffer = unsafe { libc::malloc(map.len()) };
        // SAFETY: it has that many bytes, and nobody else's.
        unsafe { std::ptr::copy_nonoverlapping(map.as_ptr(), buffer.cast::<u8>(), map.len()) };
        // SAFETY: the plugin promises room for each of the results.
        unsafe { *out = buffer };
        // SAFETY: as above.
        unsafe { *out_bytes = map.len() };
        // SAFETY: as above.
        unsafe { (*time).tv_sec = i64::from(digit - b'0') };
        0
    }

    const PLAYED: ParserApi = ParserApi {
        get,
        parse: parse_first,
    };

    #[test]
    fn miri_what_the_host_makes_of_a_text_is_copied_and_freed() {
        let config = std::ptr::dangling_mut();
        for (text, digit) in [(&b"7 lines"[..], 7), (b"0", 0)] {
            let parsed = parse(&PLAYED, config, "first", text).unwrap().unwrap();
            assert_eq!(
                parsed.fields,
                [0x81, 0xa5, b'f', b'i', b'r', b's', b't', digit]
            );
            let time = (digit > 0).then_some(Timestamp {
                seconds: i64::from(digit),
                nanos: 0,
            });
            assert_eq!(parsed.time, time);
        }
        assert_eq!(parse(&PLAYED, config, "first", b"no digit"), Ok(None));
        assert_eq!(parse(&PLAYED, config, "first", b""), Ok(None));
    }

    /// Always succeeds: with no buffer for an empty text, and with an empty one otherwise.
    unsafe extern "C" fn parse_nothing(
        _: *mut libc::c_void,
        _: *const libc::c_char,
        length: usize,
        out: *mut *mut libc::c_void,
        out_bytes: *mut usize,
        _: *mut sys::timespec,
    ) -> libc::c_int {
        if length > 0 {
            // SAFETY: any size may be asked for.
            let buffer = unsafe { libc::malloc(1) };
            // SAFETY: the plugin promises room for each of the results.
            unsafe { *out = buffer };
        }
        // SAFETY: as above.
        unsafe { *out_bytes = 0 };
        0
    }

    #[test]
    fn miri_a_success_without_anything_is_survived() {
        let nothing = ParserApi {
            get,
            parse: parse_nothing,
        };
        let config = std::ptr::dangling_mut();
        assert_eq!(parse(&nothing, config, "first", b""), Ok(None));
        assert_eq!(
            parse(&nothing, config, "first", b"x"),
            Ok(Some(Parsed {
                fields: vec![],
                time: None
            }))
        );
    }

    #[test]
    fn miri_a_parser_that_there_is_not_is_told_from_one_that_does_not_fit() {
        assert_eq!(
            parse(&PLAYED, std::ptr::dangling_mut(), "other", b"7"),
            Err(NoParser)
        );
        assert_eq!(
            parse(&PLAYED, std::ptr::dangling_mut(), "fi\0rst", b"7"),
            Err(NoParser)
        );
        assert_eq!(
            parse(&PLAYED, std::ptr::null_mut(), "first", b"7"),
            Err(NoParser)
        );
    }

    #[test]
    fn miri_a_time_beyond_its_bounds_is_none() {
        for (tv_sec, tv_nsec) in [(0, 0), (1, -1), (1, 1_000_000_000)] {
            assert_eq!(timestamp(sys::timespec { tv_sec, tv_nsec }), None);
        }
    }
}
