//! Faults of mapped journal files, kept from ending the process.
//!
//! libsystemd maps the files it reads. The kernel answers an access to a page that is no longer
//! there, because the file was truncated or its disk failed, with SIGBUS, whose default ends the
//! process. journald and journalctl have a handler that puts a page of zeros there; it is not in
//! the library, so this is the same for the calls that we make.
//!
//! ```text
//! guarded(call) ── SIGBUS in it ──> a page of zeros at the address; call returns; Fault
//! any other SIGBUS ───────────────> what was set before us
//! ```
//!
//! A thread causes the signal itself, so a flag of the thread says whether the fault is ours.
//! The handler is set while there is a [`Handler`], not for good: the library may be unloaded.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::Mutex;

use crate::lock::lock;

thread_local! {
    /// Whether this thread is in a guarded call. Constant and without a destructor: the handler
    /// reads it without allocating.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Whether a page was missing in it.
    static HAS_FAULTED: Cell<bool> = const { Cell::new(false) };
}

/// A page of a mapped file was missing, so that what the call returned means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

impl From<Fault> for io::Error {
    fn from(_: Fault) -> io::Error {
        io::Error::other("a file was truncated, or its disk failed, while it was read")
    }
}

/// How often it is set, and what was set before.
struct Handlers {
    count: usize,
    before: Option<libc::sigaction>,
}

static HANDLERS: Mutex<Handlers> = Mutex::new(Handlers {
    count: 0,
    before: None,
});
/// The action that was set before the first of them, and its flags, for the handler.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static FLAGS: AtomicI32 = AtomicI32::new(0);
/// Bytes of a page, for the handler.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Keeps the handler set.
#[derive(Debug)]
pub struct Handler(());

impl Handler {
    /// Sets the handler, unless it is set.
    pub fn set() -> io::Result<Handler> {
        let mut handlers = lock(&HANDLERS);
        if handlers.count == 0 {
            let before = current()?;
            // Somebody else has restored it: it is set already.
            if !is_ours(&before) {
                PAGE.store(page_size(), Ordering::Release);
                FLAGS.store(before.sa_flags, Ordering::Release);
                BEFORE.store(before.sa_sigaction, Ordering::Release);
                set(&ours())?;
                handlers.before = Some(before);
            }
        }
        handlers.count += 1;
        Ok(Handler(()))
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let mut handlers = lock(&HANDLERS);
        handlers.count -= 1;
        let Some(before) = handlers.before.filter(|_| handlers.count == 0) else {
            return;
        };
        // Somebody who set another one after us restores ours, which then passes faults on.
        if current().is_ok_and(|current| is_ours(&current)) {
            let _ = set(&before);
        }
    }
}

/// Calls `call`, in which a missing page of a mapping reads as zeros and is reported.
pub fn guarded<T>(_handler: &Handler, call: impl FnOnce() -> T) -> Result<T, Fault> {
    /// Ends the guard also if the call panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            IS_GUARDED.set(false);
        }
    }
    HAS_FAULTED.set(false);
    IS_GUARDED.set(true);
    let guard = Guard;
    let result = call();
    drop(guard);
    match HAS_FAULTED.replace(false) {
        true => Err(Fault),
        false => Ok(result),
    }
}

fn page_size() -> usize {
    // SAFETY: asks for a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// The action that calls [`handle`].
fn ours() -> libc::sigaction {
    // SAFETY: a sigaction of zeros is a valid one.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == ours().sa_sigaction
}

fn set(action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the first one points to a sigaction; nothing is written.
    let status = unsafe { libc::sigaction(libc::SIGBUS, action, std::ptr::null_mut()) };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn current() -> io::Result<libc::sigaction> {
    let mut current = MaybeUninit::uninit();
    // SAFETY: without an action nothing is set; the last argument is written.
    let status = unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), current.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written on success.
    Ok(unsafe { current.assume_init() })
}

/// Runs on the faulting thread: only system calls, atomics and the thread's flags.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid record with SA_SIGINFO.
    let fault = unsafe { &*info };
    if fault.si_code == libc::BUS_ADRERR && IS_GUARDED.get() {
        // SAFETY: a fault of memory has an address.
        let address = unsafe { fault.si_addr() };
        if put_zeros(address) {
            HAS_FAULTED.set(true);
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Maps a page of zeros over the one that contains `address`.
fn put_zeros(address: *mut libc::c_void) -> bool {
    let page = PAGE.load(Ordering::Acquire);
    let begin = address.map_addr(|address| address - address % page);
    // SAFETY: has no condition.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the thread's own; a handler must leave it as it was.
    let errno = unsafe { *place };
    // SAFETY: the thread is in a guarded call, which reads only mappings of journal files and
    // its own memory, and only the former have pages that can be missing. They are read only.
    let mapped = unsafe {
        libc::mmap(
            begin,
            page,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    // SAFETY: as above.
    unsafe { *place = errno };
    mapped == begin
}

/// Does what would have been done without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.load(Ordering::Acquire);
    if matches!(before, libc::SIG_DFL | libc::SIG_IGN) {
        // SAFETY: a sigaction of zeros is a valid one.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = before;
        // The access is repeated after the return; its fault then finds the default.
        let _ = set(&action);
        return;
    }
    if FLAGS.load(Ordering::Acquire) & libc::SA_SIGINFO != 0 {
        // SAFETY: with SA_SIGINFO this is a handler with three arguments.
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(before) };
        handler(signal, info, context);
    } else {
        // SAFETY: without it, one with one argument.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(before) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_page_that_was_cut_off_reads_as_zeros_and_is_reported_and_others_are_not() {
        let file = tempfile::tempfile().unwrap();
        let page = page_size();
        let size = 4 * page;
        std::io::Write::write_all(&mut &file, &vec![7; size]).unwrap();
        // SAFETY: a new mapping of an open file.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(mapped, libc::MAP_FAILED);
        let read = |offset: usize| {
            // SAFETY: within the mapping.
            let byte = unsafe { mapped.cast::<u8>().add(offset) };
            // SAFETY: readable, or made so by the handler.
            unsafe { byte.read_volatile() }
        };
        let handler = Handler::set().unwrap();
        assert_eq!(guarded(&handler, || read(3 * page)), Ok(7));
        file.set_len(page as u64).unwrap();
        assert_eq!(guarded(&handler, || read(3 * page + 5)), Err(Fault));
        assert_eq!(guarded(&handler, || read(3 * page)), Ok(0), "mapped");
        assert_eq!(guarded(&handler, || read(5)), Ok(7));
        drop(handler);
        assert_ne!(
            current().unwrap().sa_sigaction,
            ours().sa_sigaction,
            "set only while it is needed"
        );
        // SAFETY: mapped above, used no more.
        unsafe { libc::munmap(mapped, size) };
    }
}
