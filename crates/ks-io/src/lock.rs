//! The three ranked mutexes of the class driver.
//!
//! They guard no data: a driver takes one in a callback and gives it back in another, as it does in Windows. What they
//! have instead is an owner and a rank, and debug builds check that the ranks are respected: device, then filter
//! control, then processing; never recursive, never two of one rank on a thread.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64 as IdCounter;

use crate::deferred;
use crate::misuse::{self, Misuse};
use crate::scheduler::{Core, ParkOutcome};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, thread_local};
use crate::wait::{WaitList, WaitNode, before_blocking, current_node, park_until_granted};

/// The order in which a thread takes ranked mutexes: only ever a greater one than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LockRank {
    /// The mutex of a device.
    #[doc(alias = "KsAcquireDevice")]
    Device = 0,
    /// The control mutex of a filter.
    #[doc(alias = "KsAcquireControl")]
    FilterControl = 1,
    /// The processing mutex of a filter or pin.
    #[doc(alias = "KsFilterAcquireProcessingMutex")]
    Processing = 2,
}

/// Nobody holds the mutex.
const OPEN: u32 = 0;
/// Somebody holds it.
const HELD: u32 = 1;
/// The list is not empty. Changes only under the list's lock.
const WAITERS: u32 = 2;

/// No thread: identities start at one.
const NOBODY: u64 = 0;

/// A mutex with an owner and a rank, known to the scheduler.
///
/// Made by [`Services::mutex`](crate::Services::mutex). Acquiring and releasing an open one costs two atomic exchanges.
/// A thread that waits for it is woken to try again, and is given it at the next release if others were faster, so that
/// no thread starves. Not legal at DISPATCH level.
#[doc(alias = "KMUTEX")]
pub struct RankedMutex {
    core: Arc<Core>,
    rank: LockRank,
    name: &'static str,
    state: AtomicU32,
    /// Identity of the thread that holds the mutex; only that thread can read its own identity here.
    owner: AtomicU64,
    /// Innermost lock: nothing is called under it.
    waiting: Mutex<WaitList>,
}

impl RankedMutex {
    pub(crate) fn new(core: Arc<Core>, rank: LockRank, name: &'static str) -> Self {
        Self {
            core,
            rank,
            name,
            state: AtomicU32::new(OPEN),
            owner: AtomicU64::new(NOBODY),
            waiting: Mutex::new(WaitList::new()),
        }
    }

    /// The rank of the mutex.
    #[inline]
    pub fn rank(&self) -> LockRank {
        self.rank
    }

    /// The name that reports use.
    #[inline]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Waits for the mutex and takes it.
    ///
    /// # Panics
    /// In debug builds, naming both mutexes, if the thread holds this one or another one of the same or a later rank.
    /// Under virtual time, naming every blocked thread, if no thread can ever run again.
    // ks-coverage: KsAcquireControl done test=ranks_are_acquired_in_order_and_released_in_any,mutexes_keep_other_threads_of_a_driver_out
    #[doc(alias = "KeWaitForMutexObject")]
    #[track_caller]
    #[inline]
    pub fn acquire(&self) {
        self.check_rank();
        self.core.preempt();
        if !self.take() {
            self.acquire_blocking();
        }
        self.now_mine();
    }

    /// Takes the mutex if it is open.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire): an attempt that breaks the order may succeed today and deadlock tomorrow.
    #[must_use = "an unnoticed success never releases the mutex"]
    #[track_caller]
    #[inline]
    pub fn try_acquire(&self) -> bool {
        self.check_rank();
        let taken = self.take();
        if taken {
            self.now_mine();
        }
        taken
    }

    /// Gives the mutex back.
    ///
    /// # Panics
    /// In debug builds, if the calling thread does not hold it. Release builds then leave it alone.
    #[doc(alias = "KeReleaseMutex")]
    #[track_caller]
    #[inline]
    pub fn release(&self) {
        if !self.is_held_by_current() {
            if misuse::is_checked() {
                misuse::report(Misuse::NotHeld { rank: self.rank, name: self.name });
            }
            return;
        }
        self.owner.store(NOBODY, Ordering::Relaxed);
        held::forget(self.rank);
        if self.state.compare_exchange(HELD, OPEN, Ordering::Release, Ordering::Relaxed).is_err() {
            self.release_to_waiter();
        }
        if !holds_ranked_mutex() {
            deferred::drain_after_release();
        }
    }

    /// Whether the calling thread holds the mutex.
    #[inline]
    pub fn is_held_by_current(&self) -> bool {
        // A thread sees its own store; any other thread's identity is not ours, however stale.
        self.owner.load(Ordering::Relaxed) == current_thread()
    }

    /// Acquires the mutex and releases it when the guard is dropped.
    #[track_caller]
    pub fn hold(&self) -> Held<'_> {
        self.acquire();
        Held { mutex: self, not_send: PhantomData }
    }

    /// Takes the mutex if it is open, and releases it when the guard is dropped. Legal at DISPATCH level, where the
    /// holder waits for nothing.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire), but for the level.
    #[track_caller]
    pub fn try_hold(&self) -> Option<Held<'_>> {
        if misuse::is_checked() {
            self.check_order();
        }
        let taken = self.take();
        if taken {
            self.now_mine();
        }
        taken.then_some(Held { mutex: self, not_send: PhantomData })
    }

    #[inline]
    fn take(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & HELD == 0 {
            match self.state.compare_exchange_weak(state, state | HELD, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    #[track_caller]
    fn acquire_blocking(&self) {
        before_blocking(&self.core, "acquiring a mutex");
        // What was drained may have taken its time; and the first attempt after being woken can lose as well.
        if self.wait_turn(Attempt::First) {
            return;
        }
        while !self.wait_turn(Attempt::Woken) {}
    }

    /// Waits for one release; true if the mutex is ours now.
    #[track_caller]
    fn wait_turn(&self, attempt: Attempt) -> bool {
        let node = current_node(&self.core);
        {
            let mut waiting = self.waiting.lock();
            // Either the mutex is seen open here, or its releaser sees the flag and comes to the list.
            let mut state = self.state.load(Ordering::Relaxed);
            loop {
                let next = if state & HELD == 0 { state | HELD } else { state | WAITERS };
                match self.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) if state & HELD == 0 => return true,
                    Ok(_) => break,
                    Err(now) => state = now,
                }
            }
            match attempt {
                Attempt::First => waiting.push_back(Arc::clone(&node)),
                Attempt::Woken => {
                    node.insist();
                    waiting.push_front(Arc::clone(&node));
                }
            }
        }
        match park_until_granted(&self.core, &node, None, self.name) {
            ParkOutcome::Woken => !node.is_retry(),
            ParkOutcome::TimedOut => unreachable!("invariant: a wait without a deadline has no end but its grant"),
            ParkOutcome::Deadlock => self.report_deadlock(&node),
        }
    }

    #[cold]
    #[track_caller]
    fn report_deadlock(&self, node: &Arc<WaitNode>) -> bool {
        {
            let mut waiting = self.waiting.lock();
            waiting.retain(|listed| !Arc::ptr_eq(listed, node));
            if waiting.is_empty() {
                self.state.fetch_and(!WAITERS, Ordering::Relaxed);
            }
        }
        let report = self.core.deadlock_report().unwrap_or_default();
        panic!("the {} mutex can never be acquired: {report}", self.name);
    }

    #[cold]
    fn release_to_waiter(&self) {
        let mut waiting = self.waiting.lock();
        let Some(node) = waiting.pop_front() else {
            self.state.store(OPEN, Ordering::Release);
            return;
        };
        let rest = if waiting.is_empty() { 0 } else { WAITERS };
        if node.insists() {
            self.state.store(HELD | rest, Ordering::Release);
            node.grant();
        } else {
            self.state.store(OPEN | rest, Ordering::Release);
            node.grant_retry();
        }
        drop(waiting);
        self.core.unpark(&node);
    }

    #[inline]
    fn now_mine(&self) {
        self.owner.store(current_thread(), Ordering::Relaxed);
        held::note(self.rank, self.name);
    }

    #[track_caller]
    #[inline]
    fn check_rank(&self) {
        if misuse::is_checked() {
            crate::level::Level::Apc.assert_at_most("acquiring a mutex");
            self.check_order();
        }
    }

    /// The order alone: whoever does not wait may be at any level.
    #[track_caller]
    fn check_order(&self) {
        // Also by the request of a driver that was called under it, whose order has begun anew.
        if self.is_held_by_current() {
            misuse::report(Misuse::TakenAgain { rank: self.rank, name: self.name });
        }
        if let Some((held_rank, held)) = held::at_or_behind(self.rank) {
            misuse::report(Misuse::OutOfOrder { rank: self.rank, name: self.name, held_rank, held });
        }
    }
}

impl fmt::Debug for RankedMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RankedMutex").field("name", &self.name).field("rank", &self.rank).finish_non_exhaustive()
    }
}

/// A [`RankedMutex`] that is released when this is dropped, on the thread that acquired it.
#[must_use = "the mutex is released when the guard is dropped"]
#[derive(Debug)]
pub struct Held<'a> {
    mutex: &'a RankedMutex,
    not_send: PhantomData<*const ()>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A callback may have released the mutex in between and say so only by not holding it.
        if self.mutex.is_held_by_current() {
            self.mutex.release();
        }
    }
}

/// Whether a thread waits for the first time, or was woken and lost against a faster one.
#[derive(Clone, Copy)]
enum Attempt {
    First,
    Woken,
}

/// Identity of the calling thread; never zero, never reused.
#[inline]
fn current_thread() -> u64 {
    static LAST: IdCounter = IdCounter::new(NOBODY);
    thread_local! {
        static ID: Cell<u64> = const { Cell::new(NOBODY) };
    }
    ID.with(|id| {
        if id.get() == NOBODY {
            id.set(LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        }
        id.get()
    })
}

/// Whether the calling thread holds a ranked mutex. Deferred work that takes one looks here first, and goes to a worker.
#[inline]
pub fn holds_ranked_mutex() -> bool {
    held::any()
}

/// A driver that is called makes a request of its own: to another filter, which has mutexes of its own. Their order
/// begins anew; that of the caller goes on when this is dropped.
///
/// Decision: the order is one of a request. That two drivers do not wait for each other's filters in a circle is their
/// affair, as on Windows, where nobody checks it either.
#[must_use = "the order of the caller goes on when it is dropped"]
pub(crate) struct RequestOrder {
    /// `None` where the order is not checked.
    outer: Option<held::ByRank>,
    not_send: PhantomData<*const ()>,
}

impl RequestOrder {
    /// Begins a request. It costs nothing where the order is not checked.
    #[inline]
    pub(crate) fn begin() -> RequestOrder {
        RequestOrder { outer: misuse::is_checked().then(held::begin), not_send: PhantomData }
    }
}

impl Drop for RequestOrder {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            held::go_on(outer);
        }
    }
}

/// The ranked mutexes that the calling thread holds: how many, and where the rules are checked, which.
mod held {
    use super::LockRank;
    use crate::misuse;
    use crate::sync::thread_local;
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
        static BY_RANK: Cell<ByRank> = const { Cell::new([None; 3]) };
    }

    #[inline]
    pub(super) fn any() -> bool {
        // A thread whose locals are gone holds nothing.
        COUNT.try_with(Cell::get).unwrap_or(0) > 0
    }

    /// The names of those that are held.
    pub(super) type ByRank = [Option<&'static str>; 3];

    const RANKS: [LockRank; 3] = [LockRank::Device, LockRank::FilterControl, LockRank::Processing];

    pub(super) fn begin() -> ByRank {
        BY_RANK.with(|held| held.replace([None; 3]))
    }

    pub(super) fn go_on(outer: ByRank) {
        BY_RANK.with(|held| held.set(outer));
    }

    /// The first mutex of this rank or a later one.
    pub(super) fn at_or_behind(rank: LockRank) -> Option<(LockRank, &'static str)> {
        let held = BY_RANK.with(Cell::get);
        RANKS.into_iter().zip(held).skip(rank as usize).find_map(|(rank, name)| Some((rank, name?)))
    }

    #[inline]
    pub(super) fn note(rank: LockRank, name: &'static str) {
        COUNT.with(|count| count.set(count.get() + 1));
        if misuse::is_checked() {
            set(rank, Some(name));
        }
    }

    #[inline]
    pub(super) fn forget(rank: LockRank) {
        // A thread that was observed only since it has taken the mutex knows of none.
        COUNT.with(|count| count.set(count.get().saturating_sub(1)));
        if misuse::is_checked() {
            set(rank, None);
        }
    }

    fn set(rank: LockRank, name: Option<&'static str>) {
        BY_RANK.with(|held| {
            let mut now = held.get();
            now[rank as usize] = name;
            held.set(now);
        });
    }
}

#[cfg(all(test, debug_assertions, not(shuttle)))]
mod tests {
    use super::*;
    use crate::services::Services;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_drivers_own_request_begins_a_new_order_and_the_callers_goes_on() {
        let services = Services::virtual_time(1);
        let [own, other] = ["own", "other"].map(|name| services.mutex(LockRank::FilterControl, name));
        let device = services.mutex(LockRank::Device, "device of the other");
        let refused = |mutex: &RankedMutex| catch_unwind(AssertUnwindSafe(|| mutex.acquire())).is_err();
        let _own = own.hold();
        assert!(refused(&other) && refused(&device), "two of one rank, and an earlier one");
        {
            let _request = RequestOrder::begin();
            let _device = device.hold();
            let _other = other.hold();
            assert!(refused(&own), "the caller has it");
            assert!(refused(&device) && refused(&other), "the order of the request");
        }
        assert!(holds_ranked_mutex() && refused(&other), "the caller's order");
    }
}
