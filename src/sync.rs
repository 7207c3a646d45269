//! What the standard library's locks lack.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also after a thread has panicked while it held it.
///
/// A release build aborts on a panic, so only tests can meet a poisoned mutex. What our mutexes guard is changed in steps that each
/// leave it whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
