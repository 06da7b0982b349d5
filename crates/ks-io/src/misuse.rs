//! What is told when a driver uses a ranked mutex or a level against its rules.
//!
//! Debug builds check always and panic. A verifier has the checks made in every build, and hears of each misuse before
//! the panic: it may unwind the callback of the driver that is at fault, or return.

use crate::level::Level;
use crate::lock::LockRank;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a driver did against the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misuse {
    /// A thread waits for a mutex that it holds, and would do so for ever.
    TakenAgain {
        /// Rank of the mutex.
        rank: LockRank,
        /// Its name.
        name: &'static str,
    },
    /// A thread takes a mutex while it holds one of the same or a later rank.
    OutOfOrder {
        /// Rank of the mutex that is taken.
        rank: LockRank,
        /// Its name.
        name: &'static str,
        /// Rank of the one that the thread holds.
        held_rank: LockRank,
        /// Its name.
        held: &'static str,
    },
    /// A thread gives a mutex back that it does not hold.
    NotHeld {
        /// Rank of the mutex.
        rank: LockRank,
        /// Its name.
        name: &'static str,
    },
    /// A thread calls something that its level forbids.
    LevelTooHigh {
        /// What it calls.
        what: &'static str,
        /// The highest level at which that is legal.
        most: Level,
        /// The level of the thread.
        level: Level,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::TakenAgain { rank, name } => {
                write!(f, "the {name} mutex ({rank:?}) is acquired by a thread that holds the {name} mutex already")
            }
            Misuse::OutOfOrder { rank, name, held, .. } => {
                write!(f, "the {name} mutex ({rank:?}) is acquired by a thread that holds the {held} mutex")
            }
            Misuse::NotHeld { name, .. } => {
                write!(f, "the {name} mutex is released by a thread that does not hold it")
            }
            Misuse::LevelTooHigh { what, most, level } => {
                write!(f, "{what} may be called at {most:?} level at most, but the thread is at {level:?} level")
            }
        }
    }
}

/// Set once, with the observer; never cleared, because mutexes that are held then are known from then on only.
static OBSERVED: AtomicBool = AtomicBool::new(false);
static OBSERVER: OnceLock<fn(&Misuse)> = OnceLock::new();

/// Has every build check, and `observer` hear of each misuse on the thread of the misuse, with no short lock held. A
/// second observer is not taken. To be called before the first driver runs.
pub fn observe_misuse(observer: fn(&Misuse)) {
    let _ = OBSERVER.set(observer);
    OBSERVED.store(true, Ordering::SeqCst);
}

/// Are the rules checked?
#[inline]
pub(crate) fn is_checked() -> bool {
    // Relaxed: a thread that misses the store checks from its next call on.
    cfg!(debug_assertions) || OBSERVED.load(Ordering::Relaxed)
}

/// Tells of a misuse. Returns in release builds only, where the caller takes the mildest reading of the call.
#[cold]
#[track_caller]
pub(crate) fn report(misuse: Misuse) {
    if std::thread::panicking() {
        // A guard of a callback that is being unwound; another panic would end the process.
        return;
    }
    if let Some(observer) = OBSERVER.get() {
        observer(&misuse);
    }
    if cfg!(debug_assertions) {
        panic!("{misuse}");
    }
}
