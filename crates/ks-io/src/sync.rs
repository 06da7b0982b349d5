//! The crate's one switchable module: every lock, atomic and thread of this crate, and of the crates above it, comes
//! from here.
//!
//! A build with `--cfg shuttle` takes them from the model checker, so that models run over the shipping code; every
//! other build takes them from the standard library. The locks are thin wrappers that ignore poisoning: a panic in a
//! worker is reported where it happened (see [`Services::work_panics`](crate::Services::work_panics)), and must not
//! take down every thread that shares a lock with it.
//!
//! Statics that live longer than one execution of a model (counters of identities) are the one exception: they use the
//! standard library under every configuration.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

#[cfg(all(debug_assertions, not(shuttle)))]
use crate::lock_order::{Made, Taken};
#[cfg(not(all(debug_assertions, not(shuttle))))]
use unwatched::{Made, Taken};

/// Release builds do not watch the order of locks, and models try every one of them.
#[cfg(not(all(debug_assertions, not(shuttle))))]
mod unwatched {
    #[derive(Clone, Copy)]
    pub(super) struct Made;
    pub(super) struct Taken;

    impl Made {
        #[inline(always)]
        pub(super) const fn here() -> Made {
            Made
        }
        #[inline(always)]
        pub(super) fn take(self) -> Taken {
            Taken
        }
        #[inline(always)]
        pub(super) fn have(self) -> Taken {
            Taken
        }
    }
}

#[cfg(shuttle)]
use shuttle::sync as imp;
#[cfg(not(shuttle))]
use std::sync as imp;

#[cfg(shuttle)]
pub use shuttle::{
    sync::{Arc, Weak, atomic},
    thread, thread_local,
};
#[cfg(not(shuttle))]
pub use std::{
    sync::{Arc, Weak, atomic},
    thread, thread_local,
};

/// A mutual exclusion lock around data, for short critical sections; it ignores poisoning.
///
/// Nothing may call back, wait or do I/O under it. It is not known to the scheduler: a thread that waits under it stops
/// virtual time.
pub struct Mutex<T: ?Sized> {
    made: Made,
    lock: imp::Mutex<T>,
}

/// Access to the data of a [`Mutex`]; dropping it releases the lock.
pub struct MutexGuard<'a, T: ?Sized>(imp::MutexGuard<'a, T>, Taken);

impl<T> Mutex<T> {
    /// Makes an open lock around `value`.
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { made: Made::here(), lock: imp::Mutex::new(value) }
    }

    /// Takes the lock apart and returns its data.
    #[inline]
    pub fn into_inner(self) -> T {
        self.lock.into_inner().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl<T: Default> Default for Mutex<T> {
    #[inline]
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let taken = self.made.take();
        MutexGuard(self.lock.lock().unwrap_or_else(|poison| poison.into_inner()), taken)
    }

    /// Takes the lock if it is open.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.lock.try_lock() {
            Ok(guard) => Some(MutexGuard(guard, self.made.have())),
            Err(imp::TryLockError::Poisoned(poison)) => Some(MutexGuard(poison.into_inner(), self.made.have())),
            Err(imp::TryLockError::WouldBlock) => None,
        }
    }

    /// The data, without locking: the exclusive borrow proves that nobody else has the lock.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.lock.get_mut().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex { .. }")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A condition variable for the inside of schedulers and transports.
///
/// Waits that a client, a driver or a test can see go through [`Event`](crate::Event) instead, which virtual time
/// knows.
#[derive(Default)]
pub struct Condvar(imp::Condvar);

impl Condvar {
    /// Makes a condition variable that nobody waits on.
    #[inline]
    pub const fn new() -> Self {
        Self(imp::Condvar::new())
    }

    /// Releases the lock, waits for a notification (or wakes for no reason), and takes the lock again.
    #[inline]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard(guard, taken) = guard;
        MutexGuard(self.0.wait(guard).unwrap_or_else(|poison| poison.into_inner()), taken)
    }

    /// As [`wait`](Self::wait), for at most `timeout`. Under the model checker no timeout ever passes.
    #[inline]
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        let MutexGuard(guard, taken) = guard;
        MutexGuard(self.0.wait_timeout(guard, timeout).unwrap_or_else(|poison| poison.into_inner()).0, taken)
    }

    /// Wakes one waiting thread.
    #[inline]
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiting thread.
    #[inline]
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar { .. }")
    }
}

/// A lock that many readers or one writer hold; it ignores poisoning.
pub struct RwLock<T: ?Sized> {
    made: Made,
    lock: imp::RwLock<T>,
}

/// Shared access to the data of a [`RwLock`].
pub struct RwLockReadGuard<'a, T: ?Sized>(
    imp::RwLockReadGuard<'a, T>,
    #[allow(dead_code, reason = "its drop, in debug builds")] Taken,
);

/// Exclusive access to the data of a [`RwLock`].
pub struct RwLockWriteGuard<'a, T: ?Sized>(
    imp::RwLockWriteGuard<'a, T>,
    #[allow(dead_code, reason = "its drop, in debug builds")] Taken,
);

impl<T> RwLock<T> {
    /// Makes an open lock around `value`.
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { made: Made::here(), lock: imp::RwLock::new(value) }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[inline]
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let taken = self.made.take();
        RwLockReadGuard(self.lock.read().unwrap_or_else(|poison| poison.into_inner()), taken)
    }

    /// Waits until nobody reads or writes.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let taken = self.made.take();
        RwLockWriteGuard(self.lock.write().unwrap_or_else(|poison| poison.into_inner()), taken)
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock { .. }")
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
