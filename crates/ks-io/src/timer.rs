//! Timers: a procedure called at a time on the services' clock.

use std::fmt;

use crate::scheduler::Core;
use crate::sync::Arc;
use crate::time::{Ticks, Time};
use crate::work::{Dpc, Work, WorkQueue};

/// Whether a timer was counting when it was cancelled or set anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WasSet {
    /// It was; its procedure will not be called for that setting.
    Yes,
    /// It was not: never set, already cancelled, or expired (its procedure may still be running).
    No,
}

/// Calls its [`Dpc`], or queues its [`Work`], when its time comes. Dropping it cancels it.
///
/// Made by [`Services::timer`](crate::Services::timer) and [`Services::work_timer`](crate::Services::work_timer); legal at
/// every level, also from inside its own procedure.
#[doc(alias = "KTIMER")]
pub struct Timer {
    core: Arc<Core>,
    id: TimerId,
    expiry: Expiry,
}

/// What an expired timer does.
#[derive(Clone)]
pub(crate) enum Expiry {
    Call(Arc<dyn Dpc>),
    Queue(WorkQueue, Arc<dyn Work>),
}

impl Timer {
    pub(crate) fn new(core: Arc<Core>, expiry: Expiry) -> Self {
        let id = core.timer_insert();
        Self { core, id, expiry }
    }

    /// Sets the timer to expire when the clock shows `due` (at once if it already does), replacing an earlier setting.
    ///
    /// With a `period` it expires again and again, that far apart. Decision: expirations that were missed because the
    /// procedures before took too long are not made up for; the next one keeps the phase. A period of zero or less is
    /// none.
    #[doc(alias = "KeSetTimerEx")]
    pub fn set(&self, due: Time, period: Option<Ticks>) -> WasSet {
        self.core.timer_set(self.id, &self.expiry, due, period.filter(|period| *period > Ticks::ZERO))
    }

    /// As [`Timer::set`] for one expiration, which may come up to `tolerance` later: timers that may wait expire together,
    /// and a thread is woken once for all of them. Virtual time waits for nothing and is exact.
    #[doc(alias = "KeSetCoalescableTimer")]
    pub fn set_tolerant(&self, due: Time, tolerance: Ticks) -> WasSet {
        self.core.timer_set(self.id, &self.expiry, self.core.coalesced(due, tolerance), None)
    }

    /// Stops the timer.
    #[doc(alias = "KeCancelTimer")]
    pub fn cancel(&self) -> WasSet {
        self.core.timer_cancel(self.id)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The queue's name of the procedure is not the last one: that goes with the timer, outside of the queue's lock,
        // since its destructor may set other timers.
        self.core.timer_remove(self.id);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("id", &self.id.0).finish_non_exhaustive()
    }
}

/// The first instant from `due` on that all timers of this tolerance, and of greater ones, have in common: a multiple of
/// the greatest power of two of ticks that is not above the tolerance.
pub(crate) fn coalesced(due: Time, tolerance: Ticks) -> Time {
    let Some(bits) = u64::try_from(tolerance.0).ok().and_then(u64::checked_ilog2) else { return due };
    let grid = 1_i64 << bits.min(40);
    Time(due.0.checked_add(grid - 1).map_or(due.0, |late| late & !(grid - 1)))
}

/// The place of a timer in its [`TimerQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(usize);

/// Timers by due time. Those that are set for the same time one after the other, as many that may be late are, stand in one
/// row; the rows are a binary heap whose entries know their places, so that a timer is moved or taken out without a search,
/// and nothing is allocated once it has grown.
#[derive(Default)]
pub(crate) struct TimerQueue {
    slots: Vec<Slot>,
    free: Vec<usize>,
    rows: Vec<Row>,
    free_rows: Vec<usize>,
    /// The rows that have timers; the first is due first.
    heap: Vec<Entry>,
    /// The row that a timer joined last.
    recent: Option<usize>,
    settings: u64,
}

/// A row that is due. What they are compared by lies side by side in the heap.
#[derive(Clone, Copy)]
struct Entry {
    due: Time,
    /// Number of the first setting: equal times expire in the order they were set.
    setting: u64,
    row: usize,
}

/// Timers that are due together, in the order they were set.
struct Row {
    due: Time,
    first: usize,
    last: usize,
    /// Place in the heap.
    place: usize,
}

struct Slot {
    /// There while the timer is set; it goes with the expiration, so that whoever has that need not touch it.
    expiry: Option<Expiry>,
    period: Option<Ticks>,
    /// While set: the row, and the neighbours in it.
    row: Option<usize>,
    before: Option<usize>,
    behind: Option<usize>,
}

impl TimerQueue {
    pub(crate) fn insert(&mut self) -> TimerId {
        let slot = Slot { expiry: None, period: None, row: None, before: None, behind: None };
        if let Some(index) = self.free.pop() {
            self.slots[index] = slot;
            TimerId(index)
        } else {
            self.slots.push(slot);
            TimerId(self.slots.len() - 1)
        }
    }

    /// The owner of the timer still has what it does.
    pub(crate) fn remove(&mut self, id: TimerId) {
        self.cancel(id);
        self.free.push(id.0);
        self.slots[id.0].expiry = None;
    }

    pub(crate) fn set(&mut self, id: TimerId, expiry: &Expiry, due: Time, period: Option<Ticks>) -> WasSet {
        let was = self.cancel(id);
        let slot = &mut self.slots[id.0];
        slot.expiry.get_or_insert_with(|| expiry.clone());
        slot.period = period;
        self.enter(id, due);
        was
    }

    /// Puts a timer that is not set among those that are.
    fn enter(&mut self, id: TimerId, due: Time) {
        if let Some(row) = self.recent.filter(|row| self.rows[*row].due == due) {
            let last = std::mem::replace(&mut self.rows[row].last, id.0);
            self.slots[last].behind = Some(id.0);
            let slot = &mut self.slots[id.0];
            (slot.row, slot.before, slot.behind) = (Some(row), Some(last), None);
            return;
        }
        let place = self.heap.len();
        let fresh = Row { due, first: id.0, last: id.0, place };
        let row = match self.free_rows.pop() {
            Some(row) => {
                self.rows[row] = fresh;
                row
            }
            None => {
                self.rows.push(fresh);
                self.rows.len() - 1
            }
        };
        let slot = &mut self.slots[id.0];
        (slot.row, slot.before, slot.behind) = (Some(row), None, None);
        self.settings += 1;
        self.recent = Some(row);
        self.heap.push(Entry { due, setting: self.settings, row });
        self.sift_up(place);
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> WasSet {
        let slot = &mut self.slots[id.0];
        let Some(row) = slot.row.take() else { return WasSet::No };
        let (before, behind) = (slot.before.take(), slot.behind.take());
        match (before, behind) {
            (None, None) => self.remove_row(row),
            (before, behind) => {
                match before {
                    Some(before) => self.slots[before].behind = behind,
                    None => self.rows[row].first = behind.unwrap_or(id.0),
                }
                match behind {
                    Some(behind) => self.slots[behind].before = before,
                    None => self.rows[row].last = before.unwrap_or(id.0),
                }
            }
        }
        WasSet::Yes
    }

    /// Takes a row out that has no timer any more.
    fn remove_row(&mut self, row: usize) {
        if self.recent == Some(row) {
            self.recent = None;
        }
        self.free_rows.push(row);
        let place = self.rows[row].place;
        self.heap.swap_remove(place);
        if let Some(&moved) = self.heap.get(place) {
            self.rows[moved.row].place = place;
            self.sift_down(place);
            self.sift_up(place);
        }
    }

    /// Cancels every timer.
    pub(crate) fn cancel_all(&mut self) {
        for slot in &mut self.slots {
            (slot.row, slot.before, slot.behind) = (None, None, None);
        }
        self.heap.clear();
        self.rows.clear();
        self.free_rows.clear();
        self.recent = None;
    }

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.heap.first().map(|first| first.due)
    }

    /// Takes the first timer that is due at `now`, and sets it again if it is periodic.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Expiry> {
        let &Entry { due, row, .. } = self.heap.first()?;
        if due > now {
            return None;
        }
        let slot = self.rows[row].first;
        let id = TimerId(slot);
        self.cancel(id);
        let Some(period) = self.slots[slot].period else { return self.slots[slot].expiry.take() };
        // The setter saw to it that a period is positive.
        let missed = (now - due).0 / period.0;
        self.enter(id, due + period * missed.saturating_add(1));
        self.slots[slot].expiry.clone()
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let key = |place: usize| (self.heap[place].due, self.heap[place].setting);
        key(a) < key(b)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.rows[self.heap[a].row].place = a;
        self.rows[self.heap[b].row].place = b;
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 && self.before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let mut first = place;
            for child in [left, right] {
                if child < self.heap.len() && self.before(child, first) {
                    first = child;
                }
            }
            if first == place {
                return;
            }
            self.swap(place, first);
            place = first;
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn timers_that_may_be_late_expire_together_and_never_early() {
        let tolerance = Ticks::MILLISECOND;
        let late = |due: i64| coalesced(Time(due), tolerance).0;
        assert!((0..30_000).all(|due| (due..=due + tolerance.0).contains(&late(due))));
        let mut together: Vec<i64> = (0..100_000).step_by(97).map(late).collect();
        together.dedup();
        assert!(together.len() <= 100_000 / 8192 + 2, "{together:?}");
        // Who may be later still comes with them.
        assert_eq!(late(coalesced(Time(12_345), tolerance * 4).0), coalesced(Time(12_345), tolerance * 4).0);
        assert_eq!(coalesced(Time(7), Ticks::ZERO), Time(7));
        assert_eq!(coalesced(Time::NEVER, tolerance), Time::NEVER);
    }

    struct Nothing;

    impl Dpc for Nothing {
        fn expired(self: Arc<Self>, _now: Time) {}
    }

    fn nothing() -> Expiry {
        Expiry::Call(Arc::new(Nothing))
    }

    fn is(popped: Option<Expiry>, of: &Expiry) -> bool {
        match (popped, of) {
            (Some(Expiry::Call(popped)), Expiry::Call(of)) => std::ptr::addr_eq(Arc::as_ptr(&popped), Arc::as_ptr(of)),
            _ => false,
        }
    }

    /// The settings a queue should have, found the slow way.
    #[derive(Default)]
    struct Model(Vec<Option<(Time, u64)>>);

    impl Model {
        fn first(&self) -> Option<(Time, u64, usize)> {
            let set = self.0.iter().enumerate();
            set.filter_map(|(index, setting)| setting.map(|(due, number)| (due, number, index))).min()
        }
    }

    #[test]
    fn a_queue_agrees_with_a_plain_list_over_many_steps() {
        let (mut queue, mut model) = (TimerQueue::default(), Model::default());
        let ids: Vec<_> = (0..40).map(|_| queue.insert()).collect();
        let expiries: Vec<_> = ids.iter().map(|_| nothing()).collect();
        model.0.resize(ids.len(), None);
        let mut random = 0x1234_5678_9abc_def1_u64;
        for step in 0..20_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let index = (random >> 8) as usize % ids.len();
            // Often the time of the setting before.
            let due = Time((random >> 32) as i64 % 100 / 25 * 25);
            match random % 4 {
                0 | 1 => {
                    let was = queue.set(ids[index], &expiries[index], due, None);
                    assert_eq!(was == WasSet::Yes, model.0[index].replace((due, step)).is_some());
                }
                2 => assert_eq!(queue.cancel(ids[index]) == WasSet::Yes, model.0[index].take().is_some()),
                _ => {
                    let expected = model.first().filter(|(first, ..)| *first <= due);
                    let popped = queue.pop_due(due);
                    match expected {
                        Some((_, _, index)) => {
                            assert!(is(popped, &expiries[index]), "step {step}");
                            model.0[index] = None;
                        }
                        None => assert!(popped.is_none()),
                    }
                }
            }
            assert_eq!(queue.next_due(), model.first().map(|(due, ..)| due));
        }
    }

    #[test]
    fn a_late_periodic_timer_expires_once_and_keeps_its_phase() {
        let mut queue = TimerQueue::default();
        let id = queue.insert();
        queue.set(id, &nothing(), Time(100), Some(Ticks(10)));
        assert!(queue.pop_due(Time(99)).is_none());
        assert!(queue.pop_due(Time(135)).is_some());
        assert_eq!(queue.next_due(), Some(Time(140)));
        assert!(queue.pop_due(Time(139)).is_none());
        queue.set(id, &nothing(), Time(i64::MIN), Some(Ticks(1)));
        assert!(queue.pop_due(Time(i64::MAX)).is_some());
    }

    #[test]
    fn a_removed_timer_gives_its_place_to_another() {
        let mut queue = TimerQueue::default();
        let first = queue.insert();
        queue.set(first, &nothing(), Time(1), None);
        queue.remove(first);
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.insert(), first);
        assert!(queue.pop_due(Time(1)).is_none(), "the new timer was never set");
    }

    #[test]
    fn an_expiration_takes_along_what_the_timer_does_and_a_period_leaves_it() {
        let mut queue = TimerQueue::default();
        let (id, dpc) = (queue.insert(), Arc::new(Nothing));
        let expiry = Expiry::Call(dpc.clone());
        let names = || Arc::strong_count(&dpc) - 2;
        for _ in 0..2 {
            queue.set(id, &expiry, Time(1), None);
            queue.set(id, &expiry, Time(2), None);
            assert_eq!(names(), 1, "the queue has one name of it, however often it is set");
            let popped = queue.pop_due(Time(2));
            assert_eq!(names(), 1, "which went to who took it");
            drop(popped);
            assert_eq!(names(), 0);
        }
        queue.set(id, &expiry, Time(1), Some(Ticks(1)));
        drop(queue.pop_due(Time(1)));
        assert_eq!((names(), queue.next_due()), (1, Some(Time(2))));
        queue.remove(id);
        assert_eq!(names(), 0);
    }
}
