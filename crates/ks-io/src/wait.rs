//! Waiting for something to happen: events.
//!
//! An [`Event`] belongs to the [`Services`](crate::Services) that made it, so that virtual time knows who waits. Before
//! a thread blocks, the deliveries that were deferred on it are drained, with no lock held.

use std::collections::VecDeque;
use std::fmt;

use crate::level::Level;
use crate::scheduler::{Core, ParkOutcome};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, thread, thread_local};
use crate::time::Time;

/// How an event behaves once it is set.
#[doc(alias = "EVENT_TYPE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Stays set, and lets every waiting thread go, until it is cleared.
    #[doc(alias = "NotificationEvent")]
    Notification,
    /// Lets one waiting thread go, the one that waits longest, and is clear again.
    #[doc(alias = "SynchronizationEvent")]
    Synchronization,
}

/// The state an event starts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A wait returns at once.
    Set,
    /// A wait blocks.
    Clear,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a wait may end without the event"]
pub enum WaitOutcome {
    /// The event was set.
    Signalled,
    /// The deadline passed first.
    TimedOut,
    /// Virtual time only: no thread can ever run again, so this event cannot be set any more.
    /// [`Services::deadlock_report`](crate::Services::deadlock_report) names who waits for what.
    Deadlock,
}

/// One thread's place in the wait lists: a thread waits for one thing at a time, so it needs one place.
pub(crate) struct WaitNode {
    /// One of the `NODE_*` values. Set to granted under the lock of the list that the node is in, before the unpark.
    state: AtomicU32,
    /// Whether the thread was woken before and lost: it wants to be given the mutex, not another try. Read and written
    /// under the lock of the list.
    insists: AtomicBool,
    /// The thread's slot in the virtual scheduler on which it waits. Written before the node is listed.
    pub(crate) slot: AtomicUsize,
    pub(crate) thread: thread::Thread,
}

const NODE_WAITING: u32 = 0;
const NODE_GRANTED: u32 = 1;
const NODE_RETRY: u32 = 2;

impl WaitNode {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU32::new(NODE_WAITING),
            insists: AtomicBool::new(false),
            slot: AtomicUsize::new(usize::MAX),
            thread: thread::current(),
        })
    }

    pub(crate) fn insist(&self) {
        self.insists.store(true, Ordering::Relaxed);
    }

    pub(crate) fn insists(&self) -> bool {
        self.insists.load(Ordering::Relaxed)
    }

    fn is_waiting(&self) -> bool {
        // Pairs with the release stores of `grant` and `grant_retry`.
        self.state.load(Ordering::Acquire) == NODE_WAITING
    }

    pub(crate) fn is_retry(&self) -> bool {
        self.state.load(Ordering::Acquire) == NODE_RETRY
    }

    /// Gives the waiting thread what it waits for. The caller unparks it afterwards.
    pub(crate) fn grant(&self) {
        self.state.store(NODE_GRANTED, Ordering::Release);
    }

    /// Tells the waiting thread to try again. The caller unparks it afterwards.
    pub(crate) fn grant_retry(&self) {
        self.state.store(NODE_RETRY, Ordering::Release);
    }
}

thread_local! {
    static NODE: Arc<WaitNode> = WaitNode::new();
}

/// The threads that wait for one object, longest first.
pub(crate) type WaitList = VecDeque<Arc<WaitNode>>;

/// The calling thread's node, ready to be listed; `core` is what it will park on.
pub(crate) fn current_node(core: &Arc<Core>) -> Arc<WaitNode> {
    // A thread whose locals are gone is ending; it gets a node of its own rather than a panic.
    let node = NODE.try_with(Arc::clone).unwrap_or_else(|_| WaitNode::new());
    node.insists.store(false, Ordering::Relaxed);
    node.state.store(NODE_WAITING, Ordering::Relaxed);
    core.prepare(&node);
    node
}

/// Parks the calling thread until its node is granted or `deadline` passed.
///
/// Anything but `Woken` leaves the node in its list: the caller takes it out under the list's lock, and looks there
/// whether it was granted meanwhile.
pub(crate) fn park_until_granted(
    core: &Arc<Core>,
    node: &WaitNode,
    deadline: Option<Time>,
    on: &'static str,
) -> ParkOutcome {
    while node.is_waiting() {
        match core.park(node, deadline, on) {
            ParkOutcome::Woken => {}
            ended => return ended,
        }
    }
    ParkOutcome::Woken
}

/// What every thread does before it blocks.
#[track_caller]
pub(crate) fn before_blocking(core: &Arc<Core>, what: &'static str) {
    Level::Apc.assert_at_most(what);
    crate::deferred::before_wait(core);
}

/// Set: a wait returns at once. Never together with `WAITERS`.
const SET: u32 = 1;
/// The list is not empty. Changes only under the list's lock.
const WAITERS: u32 = 2;

/// An event: threads wait until another one sets it. A clone is the same event.
///
/// Made by [`Services::event`](crate::Services::event). Setting, clearing and asking are legal at every level; waiting
/// is not legal at [`Level::Dispatch`].
#[doc(alias = "KEVENT")]
#[derive(Clone)]
pub struct Event(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    kind: EventKind,
    state: AtomicU32,
    /// Innermost lock: nothing is called under it.
    waiting: Mutex<WaitList>,
    observer: Option<Box<dyn EventObserver>>,
}

/// Hears of each [`Event::set`], [`Event::clear`] and [`Event::pulse`], on the thread that makes it, whatever locks that
/// holds: it must neither wait nor call back. It is dropped with the last clone of its event.
pub trait EventObserver: Send + Sync {
    /// The event was set.
    fn event_set(&self);

    /// The event was cleared, set or not.
    fn event_cleared(&self) {}

    /// The event was pulsed.
    fn event_pulsed(&self) {}
}

impl Event {
    pub(crate) fn new(core: Arc<Core>, kind: EventKind, signal: Signal) -> Self {
        Self::observed(core, kind, signal, None)
    }

    pub(crate) fn observed(
        core: Arc<Core>,
        kind: EventKind,
        signal: Signal,
        observer: Option<Box<dyn EventObserver>>,
    ) -> Self {
        let state = AtomicU32::new(if signal == Signal::Set { SET } else { 0 });
        Self(Arc::new(Inner { core, kind, state, waiting: Mutex::new(WaitList::new()), observer }))
    }

    /// Sets the event and lets waiting threads go: all of them, or one of a synchronization event.
    ///
    /// What the caller wrote before is visible to the threads that go.
    #[doc(alias = "KeSetEvent")]
    pub fn set(&self) {
        if let Some(observer) = &self.0.observer {
            observer.event_set();
        }
        let mut state = self.0.state.load(Ordering::Relaxed);
        while state & WAITERS == 0 {
            // Setting a set event synchronises too: the exchange writes the same value with release.
            match self.0.state.compare_exchange_weak(state, SET, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.release_waiters();
    }

    #[cold]
    fn release_waiters(&self) {
        let mut waiting = self.0.waiting.lock();
        match self.0.kind {
            EventKind::Synchronization => {
                let Some(node) = waiting.pop_front() else {
                    // The last one gave up in the meantime.
                    self.0.state.store(SET, Ordering::Release);
                    return;
                };
                if waiting.is_empty() {
                    self.0.state.store(0, Ordering::Release);
                }
                node.grant();
                drop(waiting);
                self.0.core.unpark(&node);
            }
            EventKind::Notification => {
                self.0.state.store(SET, Ordering::Release);
                // A granted thread may return before its unpark; the stray token costs it one look at its next wait.
                for node in waiting.drain(..) {
                    node.grant();
                    self.0.core.unpark(&node);
                }
            }
        }
    }

    /// Clears the event. Threads that were let go stay let go.
    #[doc(alias = "KeClearEvent")]
    pub fn clear(&self) {
        if let Some(observer) = &self.0.observer {
            observer.event_cleared();
        }
        self.0.state.fetch_and(!SET, Ordering::Relaxed);
    }

    /// Lets the threads go that wait now, all of them or one of a synchronization event, and leaves the event clear.
    #[doc(alias = "KePulseEvent")]
    pub fn pulse(&self) {
        if let Some(observer) = &self.0.observer {
            observer.event_pulsed();
        }
        let mut waiting = self.0.waiting.lock();
        let count = match self.0.kind {
            EventKind::Notification => waiting.len(),
            EventKind::Synchronization => waiting.len().min(1),
        };
        let released: Vec<_> = waiting.drain(..count).collect();
        // Without the lock nobody but a setter writes, and what that sets before is pulsed away.
        self.0.state.store(if waiting.is_empty() { 0 } else { WAITERS }, Ordering::Release);
        for node in &released {
            node.grant();
        }
        drop(waiting);
        for node in &released {
            self.0.core.unpark(node);
        }
    }

    /// Whether a wait would return at once.
    #[doc(alias = "KeReadStateEvent")]
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.state.load(Ordering::Acquire) & SET != 0
    }

    /// Waits until the event is set.
    #[doc(alias = "KeWaitForSingleObject")]
    #[inline]
    pub fn wait(&self) -> WaitOutcome {
        if self.take() { WaitOutcome::Signalled } else { self.wait_blocking(None) }
    }

    /// Waits until the event is set or the services' clock shows `deadline`. A deadline in the past only asks.
    #[inline]
    pub fn wait_until(&self, deadline: Time) -> WaitOutcome {
        if self.take() { WaitOutcome::Signalled } else { self.wait_blocking(Some(deadline)) }
    }

    /// What the calling thread does before it blocks on this event: done early by a thread that has something else to
    /// do first.
    pub(crate) fn before_wait(&self) {
        before_blocking(&self.0.core, "waiting for an event");
    }

    /// Takes the signal if the event is set.
    #[inline]
    fn take(&self) -> bool {
        match self.0.kind {
            EventKind::Notification => self.is_set(),
            EventKind::Synchronization => {
                self.0.state.load(Ordering::Relaxed) & SET != 0
                    && self.0.state.compare_exchange(SET, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
            }
        }
    }

    #[cold]
    fn wait_blocking(&self, deadline: Option<Time>) -> WaitOutcome {
        before_blocking(&self.0.core, "waiting for an event");
        let node = current_node(&self.0.core);
        {
            let mut waiting = self.0.waiting.lock();
            // Either the signal is seen here, or the setter sees the flag and comes to the list: one word holds both.
            let mut state = self.0.state.load(Ordering::Relaxed);
            loop {
                let next = match (state & SET != 0, self.0.kind) {
                    (false, _) => state | WAITERS,
                    (true, EventKind::Notification) => state,
                    (true, EventKind::Synchronization) => state & !SET,
                };
                match self.0.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) if state & SET != 0 => return WaitOutcome::Signalled,
                    Ok(_) => break,
                    Err(now) => state = now,
                }
            }
            waiting.push_back(Arc::clone(&node));
        }
        let ended = park_until_granted(&self.0.core, &node, deadline, "an event");
        if ended == ParkOutcome::Woken || !self.give_up(&node) {
            return WaitOutcome::Signalled;
        }
        if ended == ParkOutcome::Deadlock { WaitOutcome::Deadlock } else { WaitOutcome::TimedOut }
    }

    /// Leaves the list; false if the signal came first.
    fn give_up(&self, node: &Arc<WaitNode>) -> bool {
        let mut waiting = self.0.waiting.lock();
        if !node.is_waiting() {
            return false;
        }
        waiting.retain(|listed| !Arc::ptr_eq(listed, node));
        if waiting.is_empty() {
            self.0.state.fetch_and(!WAITERS, Ordering::Relaxed);
        }
        true
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("kind", &self.0.kind).field("set", &self.is_set()).finish_non_exhaustive()
    }
}
