//! The only way to lock a mutex, and the only policy for a poisoned one.
//!
//! A mutex is poisoned when a thread panics while holding the lock. The panic is caught at the
//! thread's boundary, reported once, and ends that thread's work: the reader, a task of the
//! Docker thread, or the instance. The other threads continue and must not lose what they
//! hold: a batch already handed to the host is still counted and its offset still saved. So
//! poisoning is ignored. This is sound because the protected data (queues, maps and sums) is
//! updated in steps that each leave it usable; at worst, one entry is missing or extra.
//!
//! Two locks are held while the host's code runs: `Plugin::drain` holds `drain` across appends
//! and parsers, and `Plugin::publish` holds `series` while it sets the host's metrics. Only
//! the host's thread takes either, so no other thread waits for them, and it never takes one
//! twice: from inside an append the host may call `cb_pause`, which sets a flag and takes
//! neither lock, and `cb_resume`, which clears the flag and triggers a waker.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, ignoring poisoning.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[allow(clippy::disallowed_methods, reason = "this is what decides it")]
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Poisons `mutex` by panicking in a thread that holds it.
#[cfg(test)]
pub fn poison<T: Send>(mutex: &Mutex<T>) {
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _held = lock(mutex);
            panic!("a panic under the lock, as this test wants it");
        });
        assert!(holder.join().is_err());
    });
    assert!(mutex.is_poisoned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_gives_what_it_protects() {
        let mutex = Mutex::new(7);
        poison(&mutex);
        *lock(&mutex) += 1;
        assert_eq!(*lock(&mutex), 8);
    }
}
