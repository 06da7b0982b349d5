//! The order of short locks, watched in debug builds: whatever two of them nest, they nest in one order.
//!
//! A lock belongs to the place in the code that made it. When a thread takes a lock of one place under a lock of another,
//! the process remembers that order. To take them the other way round, by however many locks in between, is a deadlock
//! that only waits for its moment: the thread that does it panics, whether or not another one is in its way.
//!
//! A test program turns it on, see [`crate::watch_lock_order`].
//!
//! Two locks of one place are not compared: the pins of a circuit nest theirs along the stream. The ranked mutexes have a
//! check of their own (`lock.rs`).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

type Place = &'static Location<'static>;

/// The place that made a lock.
#[derive(Clone, Copy)]
pub(crate) struct Made(Place);

/// A lock that the thread has; it is taken off when this is dropped.
pub(crate) struct Taken(Place);

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Threads panic from now on that nest locks in two orders.
pub(crate) fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// What was taken under a lock of each place.
static UNDER: LazyLock<Mutex<HashMap<Place, HashSet<Place>>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// The locks that the thread has, in the order that it took them.
    static HELD: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
    /// The orders that the thread has found to be good.
    static GOOD: RefCell<HashSet<(Place, Place)>> = RefCell::default();
}

impl Made {
    #[track_caller]
    pub(crate) const fn here() -> Made {
        Made(Location::caller())
    }

    /// Before a wait for the lock.
    pub(crate) fn take(self) -> Taken {
        if WATCHED.load(Ordering::Relaxed) && !std::thread::panicking() {
            // A thread that is ending has no list any more.
            let _ = HELD.try_with(|held| held.borrow().iter().for_each(|outer| check(outer, self.0)));
        }
        self.have()
    }

    /// The lock was open and is taken: that waits for nobody.
    pub(crate) fn have(self) -> Taken {
        let _ = HELD.try_with(|held| held.borrow_mut().push(self.0));
        Taken(self.0)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|place| *place == self.0) {
                held.remove(at);
            }
        });
    }
}

/// A lock of `inner` is about to be taken under one of `outer`.
fn check(outer: Place, inner: Place) {
    if outer == inner || GOOD.try_with(|good| !good.borrow_mut().insert((outer, inner))).unwrap_or(true) {
        return;
    }
    let mut under = UNDER.lock().unwrap_or_else(PoisonError::into_inner);
    let way = way(&under, inner, outer);
    if way.is_empty() {
        under.entry(outer).or_default().insert(inner);
        return;
    }
    drop(under);
    let way: Vec<_> = way.iter().map(ToString::to_string).collect();
    panic!(
        "the lock of {inner} is taken under that of {outer}, and elsewhere the other way round: {}",
        way.join(" > ")
    );
}

/// The locks that were taken under each other from one to another; empty: there is no such way.
fn way(under: &HashMap<Place, HashSet<Place>>, from: Place, to: Place) -> Vec<Place> {
    let mut ways = vec![vec![from]];
    let mut seen = HashSet::from([from]);
    while let Some(way) = ways.pop() {
        let last = way[way.len() - 1];
        if last == to {
            return way;
        }
        for next in under.get(last).into_iter().flatten().filter(|next| seen.insert(next)) {
            ways.push([&way[..], &[*next]].concat());
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use crate::sync::{Mutex, RwLock};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn complaint(act: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("the order is wrong");
        panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text)
    }

    #[test]
    fn two_locks_are_taken_in_one_order() {
        super::watch();
        let (first, second, third) = (Mutex::new(1), RwLock::new(2), Mutex::new(3));
        for _ in 0..2 {
            let _first = first.lock();
            drop(second.read());
        }
        drop((second.write(), third.lock()));
        assert!(complaint(|| drop((second.write(), first.lock()))).contains("the other way round"));
        // Not only directly.
        let said = complaint(|| drop((third.lock(), first.lock())));
        assert_eq!(said.matches(" > ").count(), 2, "{said}");
        // One that is open is no wait, and what was let go orders nothing.
        let held = third.lock();
        assert!(first.try_lock().is_some());
        drop(held);
        drop(third.lock());
        drop(first.lock());
    }

    #[test]
    fn locks_of_one_place_are_not_compared() {
        super::watch();
        let locks: Vec<_> = (0..2).map(Mutex::new).collect();
        drop((locks[0].lock(), locks[1].lock()));
        drop((locks[1].lock(), locks[0].lock()));
    }
}
