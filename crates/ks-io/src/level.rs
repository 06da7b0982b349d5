//! The execution level of a thread: what the code that runs on it may do.
//!
//! Every thread starts at [`Level::Passive`]. A DPC (an expired timer) runs at [`Level::Dispatch`], where nothing may
//! wait and no state may change. The engine's entries check the level they run at, so that a driver that breaks the
//! rules is told here and not on somebody's desk.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::misuse::{self, Misuse};
use crate::sync::thread_local;

thread_local! {
    static CURRENT: Cell<Level> = const { Cell::new(Level::Passive) };
}

/// An execution level; a greater one permits less.
#[doc(alias = "KIRQL")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Anything goes.
    #[default]
    #[doc(alias = "PASSIVE_LEVEL")]
    Passive = 0,
    /// Waiting is allowed; no asynchronous procedure call is delivered to the thread.
    #[doc(alias = "APC_LEVEL")]
    Apc = 1,
    /// No waits, no state changes, no pageable work.
    #[doc(alias = "DISPATCH_LEVEL")]
    Dispatch = 2,
}

impl Level {
    /// The level of the calling thread.
    #[doc(alias = "KeGetCurrentIrql")]
    #[inline]
    pub fn current() -> Self {
        // While a thread's locals are being destroyed it is outside of the engine.
        CURRENT.try_with(Cell::get).unwrap_or(Self::Passive)
    }

    /// Raises the calling thread to `self` until the guard is dropped.
    ///
    /// Guards are dropped in the reverse order of their making. Raising to a lower level than the current one is a
    /// driver error: debug builds panic, release builds leave the level as it is.
    #[doc(alias = "KeRaiseIrql")]
    #[track_caller]
    pub fn raise(self) -> LevelGuard {
        let previous = Self::current();
        debug_assert!(previous <= self, "the execution level cannot be raised from {previous:?} to {self:?}");
        let _ = CURRENT.try_with(|level| level.set(previous.max(self)));
        LevelGuard { previous, not_send: PhantomData }
    }

    /// Gives the calling thread this level, for code that raises and lowers it without a guard: a hosted driver.
    #[doc(alias = "KeLowerIrql")]
    #[inline]
    pub fn set_current(self) {
        let _ = CURRENT.try_with(|level| level.set(self));
    }

    /// Reports, in debug builds by a panic, that `what` was called above this level; release builds say nothing unless
    /// they are observed ([`crate::observe_misuse`]).
    #[doc(alias = "NT_ASSERT")]
    #[track_caller]
    #[inline]
    pub fn assert_at_most(self, what: &'static str) {
        if misuse::is_checked() && Self::current() > self {
            misuse::report(Misuse::LevelTooHigh { what, most: self, level: Self::current() });
        }
    }
}

/// Restores the level that the thread had before [`Level::raise`].
#[must_use = "the level falls back when the guard is dropped"]
#[derive(Debug)]
pub struct LevelGuard {
    previous: Level,
    not_send: PhantomData<*const ()>,
}

impl Drop for LevelGuard {
    #[inline]
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|level| level.set(self.previous));
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_guard_restores_the_level_it_found() {
        assert_eq!(Level::current(), Level::Passive);
        {
            let _apc = Level::Apc.raise();
            let _dispatch = Level::Dispatch.raise();
            assert_eq!(Level::current(), Level::Dispatch);
        }
        assert_eq!(Level::current(), Level::Passive);
    }

    #[test]
    fn a_level_belongs_to_one_thread() {
        let _dispatch = Level::Dispatch.raise();
        let other = std::thread::spawn(Level::current).join().unwrap();
        assert_eq!(other, Level::Passive);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "Sleep may be called at Apc level at most, but the thread is at Dispatch level")]
    fn a_call_above_its_level_is_reported() {
        let _dispatch = Level::Dispatch.raise();
        Level::Apc.assert_at_most("Sleep");
    }
}
