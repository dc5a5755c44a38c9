//! systemd's journal, read with libsystemd, which is loaded when a container logs to the journal
//! and is not needed otherwise.
//!
//! libsystemd's functions (`sd-journal.h`, stable since 2012) return a negative errno. A handle
//! is used by the thread that opened it only, which the type ensures, as it is not `Send`. Data
//! of an entry is in mapped files and valid until the next call; it is copied before anything
//! looks at it, because a mapping may lose its pages (`sigbus`).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use libc::{c_char, c_int, c_void};
use once_cell::sync::OnceCell;

use crate::delivery::checkpoint::JournalPlace;
use crate::ffi::sigbus::{guarded, Handler};
use crate::source::journal::cursor;
use crate::source::journal::seam::{Journal, JournalLibrary, Seek};

/// What systemd has called this version of its library since 2012.
const LIBRARY: &CStr = c"libsystemd.so.0";

/// Up to this size, a compressed field is decompressed; of a longer one, at least so much. The
/// piece of a line is 16 KiB at most.
const LONGEST_FIELD: usize = 1 << 20;

/// Of all machines: in a container, this machine's id may be another one than that of its host.
const ALL_MACHINES: c_int = 0;

/// `SD_JOURNAL_ALL_NAMESPACES`: of units with `LogNamespace=`, too.
const ALL_NAMESPACES: c_int = 1 << 5;

/// `SD_JOURNAL_INVALIDATE`: files were added or removed.
const INVALIDATE: c_int = 2;

type Handle = *mut c_void;
type OfHandle = unsafe extern "C" fn(Handle) -> c_int;

type Open = unsafe extern "C" fn(*mut Handle, c_int) -> c_int;
type OpenNamespace = unsafe extern "C" fn(*mut Handle, *const c_char, c_int) -> c_int;
type OpenDirectory = unsafe extern "C" fn(*mut Handle, *const c_char, c_int) -> c_int;
type OpenFiles = unsafe extern "C" fn(*mut Handle, *const *const c_char, c_int) -> c_int;
type Close = unsafe extern "C" fn(Handle);
type SetDataThreshold = unsafe extern "C" fn(Handle, usize) -> c_int;
type AddMatch = unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int;
type SeekRealtime = unsafe extern "C" fn(Handle, u64) -> c_int;
type SeekCursor = unsafe extern "C" fn(Handle, *const c_char) -> c_int;
type GetCursor = unsafe extern "C" fn(Handle, *mut *mut c_char) -> c_int;
type EnumerateData = unsafe extern "C" fn(Handle, *mut *const c_void, *mut usize) -> c_int;

/// The functions of libsystemd that are called.
struct Functions {
    open: Open,
    /// Since systemd 245, which has namespaces.
    open_namespace: Option<OpenNamespace>,
    open_directory: OpenDirectory,
    open_files: OpenFiles,
    close: Close,
    set_data_threshold: SetDataThreshold,
    add_match: AddMatch,
    add_disjunction: OfHandle,
    flush_matches: Close,
    seek_head: OfHandle,
    seek_tail: OfHandle,
    seek_realtime: SeekRealtime,
    seek_cursor: SeekCursor,
    next: OfHandle,
    previous: OfHandle,
    get_cursor: GetCursor,
    restart_data: Close,
    enumerate_data: EnumerateData,
    get_fd: OfHandle,
    process: OfHandle,
}

static FUNCTIONS: OnceCell<Result<Functions, String>> = OnceCell::new();

/// Loads the library, once and for good.
fn functions() -> io::Result<&'static Functions> {
    let functions = FUNCTIONS.get_or_init(load).as_ref();
    functions.map_err(|reason| io::Error::new(io::ErrorKind::Unsupported, reason.clone()))
}

fn load() -> Result<Functions, String> {
    // SAFETY: the name is NUL-terminated; libsystemd has no constructor that does more than
    // prepare its own data.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        // SAFETY: after a failure of this thread's dlopen; NULL or NUL-terminated.
        let reason = unsafe { libc::dlerror() };
        return Err(match reason.is_null() {
            true => "libsystemd.so.0 cannot be loaded".to_owned(),
            // SAFETY: not NULL, and copied before the next call of dlerror.
            false => unsafe { CStr::from_ptr(reason) }
                .to_string_lossy()
                .into_owned(),
        });
    }
    let find = |name: &CStr| {
        // SAFETY: the library stays loaded; the name is NUL-terminated.
        let address = unsafe { libc::dlsym(library, name.as_ptr()) };
        let missing = || format!("libsystemd.so.0 has no {}", name.to_string_lossy());
        (!address.is_null()).then_some(address).ok_or_else(missing)
    };
    macro_rules! function {
        ($name:literal, $type:ty) => {{
            let address = find($name)?;
            // SAFETY: `sd-journal.h` gives the function this signature; not NULL.
            unsafe { std::mem::transmute::<*mut c_void, $type>(address) }
        }};
    }
    // Passes over fields whose compression the library lacks; since systemd 246.
    let enumerate = find(c"sd_journal_enumerate_available_data")
        .or_else(|_| find(c"sd_journal_enumerate_data"))?;
    let open_namespace = find(c"sd_journal_open_namespace").ok();
    // SAFETY: `sd-journal.h` gives the function this signature; not NULL.
    let open_namespace = open_namespace
        .map(|address| unsafe { std::mem::transmute::<*mut c_void, OpenNamespace>(address) });
    Ok(Functions {
        open: function!(c"sd_journal_open", Open),
        open_namespace,
        open_directory: function!(c"sd_journal_open_directory", OpenDirectory),
        open_files: function!(c"sd_journal_open_files", OpenFiles),
        close: function!(c"sd_journal_close", Close),
        set_data_threshold: function!(c"sd_journal_set_data_threshold", SetDataThreshold),
        add_match: function!(c"sd_journal_add_match", AddMatch),
        add_disjunction: function!(c"sd_journal_add_disjunction", OfHandle),
        flush_matches: function!(c"sd_journal_flush_matches", Close),
        seek_head: function!(c"sd_journal_seek_head", OfHandle),
        seek_tail: function!(c"sd_journal_seek_tail", OfHandle),
        seek_realtime: function!(c"sd_journal_seek_realtime_usec", SeekRealtime),
        seek_cursor: function!(c"sd_journal_seek_cursor", SeekCursor),
        next: function!(c"sd_journal_next", OfHandle),
        previous: function!(c"sd_journal_previous", OfHandle),
        get_cursor: function!(c"sd_journal_get_cursor", GetCursor),
        restart_data: function!(c"sd_journal_restart_data", Close),
        // SAFETY: both functions have this signature; not NULL.
        enumerate_data: unsafe { std::mem::transmute::<*mut c_void, EnumerateData>(enumerate) },
        get_fd: function!(c"sd_journal_get_fd", OfHandle),
        process: function!(c"sd_journal_process", OfHandle),
    })
}

/// libsystemd.
#[derive(Debug)]
pub struct Libsystemd;

/// The library, which is loaded with the first journal that is opened.
pub fn library() -> Arc<dyn JournalLibrary> {
    Arc::new(Libsystemd)
}

impl JournalLibrary for Libsystemd {
    fn open(&self, folder: Option<&Path>) -> io::Result<Box<dyn Journal>> {
        let folder = folder
            .map(|folder| CString::new(folder.as_os_str().as_bytes()))
            .transpose()?;
        let open = |functions: &Functions, handle| match (&folder, functions.open_namespace) {
            // SAFETY: `handle` is written on success; the path is NUL-terminated.
            (Some(folder), _) => unsafe {
                (functions.open_directory)(handle, folder.as_ptr(), ALL_MACHINES)
            },
            // SAFETY: as above; NULL is no namespace in particular.
            (None, Some(open)) => unsafe { open(handle, null(), ALL_MACHINES | ALL_NAMESPACES) },
            // SAFETY: as above.
            (None, None) => unsafe { (functions.open)(handle, ALL_MACHINES) },
        };
        let mut opened = SdJournal::open_with(open)?;
        opened.prepare()?;
        Ok(Box::new(opened))
    }

    fn check(&self, file: &Path) -> io::Result<()> {
        let file = CString::new(file.as_os_str().as_bytes())?;
        let files = [file.as_ptr(), null()];
        let opened = SdJournal::open_with(|functions, handle| {
            // SAFETY: `handle` is written on success; the path is NUL-terminated, and NULL ends
            // the list of paths.
            unsafe { (functions.open_files)(handle, files.as_ptr(), 0) }
        });
        opened.map(drop)
    }
}

/// A handle of libsystemd.
struct SdJournal {
    functions: &'static Functions,
    handle: Handle,
    handler: Handler,
    notices: RawFd,
    /// The fields of an entry, one after the other.
    data: Vec<u8>,
}

impl Drop for SdJournal {
    fn drop(&mut self) {
        // SAFETY: opened in `open`, closed here only.
        let close = || unsafe { (self.functions.close)(self.handle) };
        let _ = guarded(&self.handler, close);
    }
}

/// The result of a call: a negative errno, or a number.
fn result(returned: c_int) -> io::Result<c_int> {
    match returned < 0 {
        true => Err(io::Error::from_raw_os_error(returned.saturating_neg())),
        false => Ok(returned),
    }
}

impl SdJournal {
    fn open_with(open: impl FnOnce(&Functions, *mut Handle) -> c_int) -> io::Result<SdJournal> {
        let functions = functions()?;
        let handler = Handler::set()?;
        let mut handle = null_mut();
        let opened = guarded(&handler, || open(functions, &mut handle));
        if handle.is_null() {
            result(opened?)?;
            return Err(io::ErrorKind::NotFound.into());
        }
        let journal = SdJournal {
            functions,
            handle,
            handler,
            notices: -1,
            data: Vec::new(),
        };
        result(opened?)?;
        Ok(journal)
    }

    fn call(&mut self, function: OfHandle) -> io::Result<c_int> {
        // SAFETY: the handle is open, and used on this thread only.
        result(guarded(&self.handler, || unsafe { function(self.handle) })?)
    }

    fn prepare(&mut self) -> io::Result<()> {
        let set = self.functions.set_data_threshold;
        // SAFETY: as in `call`.
        let set = guarded(&self.handler, || unsafe { set(self.handle, LONGEST_FIELD) });
        result(set?)?;
        self.notices = self.call(self.functions.get_fd)?;
        Ok(())
    }

    fn seek_to(&mut self, place: &JournalPlace) -> io::Result<()> {
        let text = CString::new(cursor::format(place))?;
        let seek = self.functions.seek_cursor;
        // SAFETY: as in `call`; the text is NUL-terminated.
        let sought = guarded(&self.handler, || unsafe {
            seek(self.handle, text.as_ptr())
        });
        result(sought?).map(drop)
    }
}

impl Journal for SdJournal {
    fn select(&mut self, fields: &[&[u8]]) -> io::Result<()> {
        let (flush, add) = (self.functions.flush_matches, self.functions.add_match);
        // SAFETY: as in `call`.
        guarded(&self.handler, || unsafe { flush(self.handle) })?;
        for field in fields {
            // SAFETY: as in `call`; the bytes are copied.
            let added = guarded(&self.handler, || unsafe {
                add(self.handle, field.as_ptr().cast(), field.len())
            });
            result(added?)?;
            self.call(self.functions.add_disjunction)?;
        }
        Ok(())
    }

    fn seek(&mut self, to: Seek) -> io::Result<()> {
        match to {
            Seek::Head => self.call(self.functions.seek_head).map(drop),
            Seek::To(place) => self.seek_to(&place),
            Seek::Since(time) => {
                let seek = self.functions.seek_realtime;
                // SAFETY: as in `call`.
                let sought = guarded(&self.handler, || unsafe { seek(self.handle, time) });
                result(sought?).map(drop)
            }
            Seek::End => {
                self.call(self.functions.seek_tail)?;
                // Only an entry is a place after which new ones are found.
                if self.call(self.functions.previous)? == 0 {
                    self.call(self.functions.seek_head)?;
                }
                Ok(())
            }
        }
    }

    fn step(&mut self) -> io::Result<bool> {
        self.call(self.functions.next).map(|steps| steps > 0)
    }

    fn step_back(&mut self) -> io::Result<bool> {
        self.call(self.functions.previous).map(|steps| steps > 0)
    }

    fn place(&mut self) -> io::Result<JournalPlace> {
        let (get, mut text) = (self.functions.get_cursor, null_mut());
        // SAFETY: as in `call`; `text` is written on success.
        result(guarded(&self.handler, || unsafe {
            get(self.handle, &mut text)
        })?)?;
        // SAFETY: NUL-terminated, and ours.
        let place = cursor::parse(unsafe { CStr::from_ptr(text) }.to_bytes());
        // SAFETY: allocated by libsystemd with malloc.
        unsafe { libc::free(text.cast()) };
        place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a cursor without a place"))
    }

    fn fields(&mut self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let (restart, enumerate) = (self.functions.restart_data, self.functions.enumerate_data);
        // SAFETY: as in `call`.
        guarded(&self.handler, || unsafe { restart(self.handle) })?;
        loop {
            let data = &mut self.data;
            let next = guarded(&self.handler, || {
                let (mut begin, mut length) = (std::ptr::null(), 0);
                // SAFETY: as in `call`; both are written on success.
                let found = unsafe { enumerate(self.handle, &mut begin, &mut length) };
                data.clear();
                if found > 0 {
                    let length = length.min(LONGEST_FIELD);
                    // SAFETY: so many bytes, valid until the next call.
                    data.extend_from_slice(unsafe {
                        std::slice::from_raw_parts(begin.cast::<u8>(), length)
                    });
                }
                found
            });
            if result(next?)? == 0 {
                return Ok(());
            }
            visit(&self.data);
        }
    }

    fn refresh(&mut self) -> io::Result<bool> {
        let changed = self.call(self.functions.process)?;
        Ok(changed == INVALIDATE)
    }

    fn notices(&self) -> BorrowedFd<'_> {
        // SAFETY: the handle's own, open as long as the handle is.
        unsafe { BorrowedFd::borrow_raw(self.notices) }
    }
}
