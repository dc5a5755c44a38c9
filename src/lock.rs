//! The one way a mutex is locked, and the one policy for a poisoned one.
//!
//! A mutex is poisoned when a thread panics while it holds the lock. Such a panic is
//! caught at the thread's edge, reported once, and ends what that thread did: the reader,
//! a task of the Docker thread, or the instance. The other threads go on, and must not
//! drop what they hold because of it: a batch that is in the host's hands is still counted
//! and its position still saved. So the poison is ignored. That is sound since what our
//! locks protect is changed in steps each of which leaves it usable: queues, maps and sums
//! whose worst state is one entry too few or too many.
//!
//! Two locks are held while the host's code runs: `Plugin::drain` holds `drain` over the
//! appends and parsers, `Plugin::publish` holds `series` while the host's metrics are set.
//! Both are locked by the host's thread alone, so no other waits for them. And it does not
//! lock one of them twice: what the host may call from inside an append is `cb_pause`,
//! which sets a flag and takes neither, as does `cb_resume`, which rings a bell besides.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether or not a thread panicked while it held the lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[allow(clippy::disallowed_methods, reason = "this is what decides it")]
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Poisons `mutex`, as a panic of the thread that holds it does.
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
