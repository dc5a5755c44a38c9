//! Signals belong to the host: the kernel must never pick one of our threads to run the host's
//! handlers.
//!
//! The exceptions are signals that a thread causes itself. A fault in a thread that blocks its
//! signal ends the process without running the handler, and the host's handler is what prints
//! the stack trace.

use std::mem::MaybeUninit;

/// Signals that a thread causes itself: invalid memory access, illegal instruction, arithmetic
/// error, `abort`, breakpoint, forbidden system call.
const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Calls `work` with all signals but the faults blocked in this thread. Threads started inside
/// inherit the mask permanently. The previous mask is restored afterwards, even if `work`
/// panics.
pub fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    let _restore = block_all();
    work()
}

/// Restores the old mask when dropped.
struct Restore(Option<libc::sigset_t>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            // SAFETY: `old` was filled by pthread_sigmask in `block_all`; with a NULL third
            // argument, nothing is written back.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
        }
    }
}

fn block_all() -> Restore {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initializes the set it is given and cannot fail for a valid pointer.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    for fault in FAULTS {
        // SAFETY: `all` is initialized, and the signal is a valid one.
        unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
    }
    // SAFETY: `all` is initialized, and `old` has room for the result.
    let status = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), old.as_mut_ptr()) };
    if status != 0 {
        return Restore(None);
    }
    // SAFETY: on success pthread_sigmask has written `old`.
    Restore(Some(unsafe { old.assume_init() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked_here() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn a_thread_begun_inside_blocks_all_signals_but_faults_and_the_caller_does_not() {
        let before = blocked_here();
        let inside = with_signals_blocked(|| std::thread::spawn(blocked_here))
            .join()
            .unwrap();
        // SIGKILL, SIGSTOP and glibc's own two (32, 33) cannot be blocked.
        let unblockable = 1 << 8 | 1 << 18 | 1 << 31 | 1 << 32;
        let faults = FAULTS
            .iter()
            .fold(0u64, |mask, fault| mask | 1 << (fault - 1));
        assert_eq!(inside | unblockable | faults, u64::MAX);
        assert_eq!(
            inside & faults,
            before & faults,
            "a fault reaches its handler"
        );
        assert_eq!(blocked_here(), before);
    }
}
