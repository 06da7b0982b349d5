//! Timers: a procedure called at a time on the services' clock.

use std::fmt;

use crate::scheduler::Core;
use crate::sync::Arc;
use crate::time::{Ticks, Time};
use crate::work::Dpc;

/// Whether a timer was counting when it was cancelled or set anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WasSet {
    /// It was; its procedure will not be called for that setting.
    Yes,
    /// It was not: never set, already cancelled, or expired (its procedure may still be running).
    No,
}

/// Calls its [`Dpc`] when its time comes. Dropping it cancels it.
///
/// Made by [`Services::timer`](crate::Services::timer); legal at every level, also from inside its own procedure.
#[doc(alias = "KTIMER")]
pub struct Timer {
    core: Arc<Core>,
    id: TimerId,
}

impl Timer {
    pub(crate) fn new(core: Arc<Core>, dpc: Arc<dyn Dpc>) -> Self {
        let id = core.timer_insert(dpc);
        Self { core, id }
    }

    /// Sets the timer to expire when the clock shows `due` (at once if it already does), replacing an earlier setting.
    ///
    /// With a `period` it expires again and again, that far apart. Decision: expirations that were missed because the
    /// procedures before took too long are not made up for; the next one keeps the phase. A period of zero or less is
    /// none.
    #[doc(alias = "KeSetTimerEx")]
    pub fn set(&self, due: Time, period: Option<Ticks>) -> WasSet {
        self.core.timer_set(self.id, due, period.filter(|period| *period > Ticks::ZERO))
    }

    /// As [`Timer::set`] for one expiration, which may come up to `tolerance` later: timers that may wait expire together,
    /// and a thread is woken once for all of them. Virtual time waits for nothing and is exact.
    #[doc(alias = "KeSetCoalescableTimer")]
    pub fn set_tolerant(&self, due: Time, tolerance: Ticks) -> WasSet {
        self.core.timer_set(self.id, self.core.coalesced(due, tolerance), None)
    }

    /// Stops the timer.
    #[doc(alias = "KeCancelTimer")]
    pub fn cancel(&self) -> WasSet {
        self.core.timer_cancel(self.id)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The procedure is dropped here, not under the lock of the queue: its destructor may set other timers.
        drop(self.core.timer_remove(self.id));
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

/// Timers by due time: a binary heap whose entries know their places, so that a timer is moved or taken out without a
/// search, and nothing is allocated once it has grown.
#[derive(Default)]
pub(crate) struct TimerQueue {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Those that are set; the first is due first.
    heap: Vec<Entry>,
    settings: u64,
}

/// A timer that is set. What they are compared by lies side by side in the heap.
#[derive(Clone, Copy)]
struct Entry {
    due: Time,
    /// Number of the setting: equal times expire in the order they were set.
    setting: u64,
    /// Index of the slot.
    slot: usize,
}

struct Slot {
    dpc: Option<Arc<dyn Dpc>>,
    period: Option<Ticks>,
    /// Place in the heap, while set.
    place: Option<usize>,
}

impl TimerQueue {
    pub(crate) fn insert(&mut self, dpc: Arc<dyn Dpc>) -> TimerId {
        let slot = Slot { dpc: Some(dpc), period: None, place: None };
        if let Some(index) = self.free.pop() {
            self.slots[index] = slot;
            TimerId(index)
        } else {
            self.slots.push(slot);
            TimerId(self.slots.len() - 1)
        }
    }

    pub(crate) fn remove(&mut self, id: TimerId) -> Option<Arc<dyn Dpc>> {
        self.cancel(id);
        self.free.push(id.0);
        self.slots[id.0].dpc.take()
    }

    pub(crate) fn set(&mut self, id: TimerId, due: Time, period: Option<Ticks>) -> WasSet {
        let was = self.cancel(id);
        self.settings += 1;
        let slot = &mut self.slots[id.0];
        slot.period = period;
        let place = self.heap.len();
        slot.place = Some(place);
        self.heap.push(Entry { due, setting: self.settings, slot: id.0 });
        self.sift_up(place);
        was
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> WasSet {
        let Some(place) = self.slots[id.0].place.take() else { return WasSet::No };
        self.heap.swap_remove(place);
        if let Some(&moved) = self.heap.get(place) {
            self.slots[moved.slot].place = Some(place);
            self.sift_down(place);
            self.sift_up(place);
        }
        WasSet::Yes
    }

    /// Cancels every timer.
    pub(crate) fn cancel_all(&mut self) {
        for entry in self.heap.drain(..) {
            self.slots[entry.slot].place = None;
        }
    }

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.heap.first().map(|first| first.due)
    }

    /// Takes the first timer that is due at `now`, and sets it again if it is periodic.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Arc<dyn Dpc>> {
        let &Entry { due, slot, .. } = self.heap.first()?;
        if due > now {
            return None;
        }
        let id = TimerId(slot);
        match self.slots[slot].period {
            // The setter saw to it that a period is positive.
            Some(period) => {
                let missed = (now - due).0 / period.0;
                self.set(id, due + period * missed.saturating_add(1), Some(period));
            }
            None => {
                self.cancel(id);
            }
        }
        self.slots[slot].dpc.clone()
    }

    fn before(&self, a: usize, b: usize) -> bool {
        let key = |place: usize| (self.heap[place].due, self.heap[place].setting);
        key(a) < key(b)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.slots[self.heap[a].slot].place = Some(a);
        self.slots[self.heap[b].slot].place = Some(b);
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
        let ids: Vec<_> = (0..40).map(|_| queue.insert(Arc::new(Nothing))).collect();
        model.0.resize(ids.len(), None);
        let mut random = 0x1234_5678_9abc_def1_u64;
        for step in 0..20_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let index = (random >> 8) as usize % ids.len();
            let due = Time((random >> 32) as i64 % 100);
            match random % 4 {
                0 | 1 => {
                    let was = queue.set(ids[index], due, None);
                    assert_eq!(was == WasSet::Yes, model.0[index].replace((due, step)).is_some());
                }
                2 => assert_eq!(queue.cancel(ids[index]) == WasSet::Yes, model.0[index].take().is_some()),
                _ => {
                    let expected = model.first().filter(|(first, ..)| *first <= due);
                    assert_eq!(queue.pop_due(due).is_some(), expected.is_some());
                    if let Some((_, _, index)) = expected {
                        model.0[index] = None;
                    }
                }
            }
            assert_eq!(queue.next_due(), model.first().map(|(due, ..)| due));
        }
    }

    #[test]
    fn a_late_periodic_timer_expires_once_and_keeps_its_phase() {
        let mut queue = TimerQueue::default();
        let id = queue.insert(Arc::new(Nothing));
        queue.set(id, Time(100), Some(Ticks(10)));
        assert!(queue.pop_due(Time(99)).is_none());
        assert!(queue.pop_due(Time(135)).is_some());
        assert_eq!(queue.next_due(), Some(Time(140)));
        assert!(queue.pop_due(Time(139)).is_none());
        queue.set(id, Time(i64::MIN), Some(Ticks(1)));
        assert!(queue.pop_due(Time(i64::MAX)).is_some());
    }

    #[test]
    fn a_removed_timer_gives_its_place_to_another() {
        let mut queue = TimerQueue::default();
        let first = queue.insert(Arc::new(Nothing));
        queue.set(first, Time(1), None);
        assert!(queue.remove(first).is_some());
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.insert(Arc::new(Nothing)), first);
        assert!(queue.pop_due(Time(1)).is_none(), "the new timer was never set");
    }
}
