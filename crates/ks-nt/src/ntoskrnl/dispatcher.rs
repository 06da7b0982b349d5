//! Dispatcher objects: what a thread can wait for, and the one lock under which they change.
//!
//! An object is its DISPATCHER_HEADER, in the driver's memory; a zeroed one is an unset notification event. Who waits
//! is in a table by address, which has an entry only while somebody does, so that an object may vanish whenever nobody
//! waits for it. Timers that are set, and DPCs that are queued, are in this state too: they change under the same lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ks_abi::NtStatus;

use super::block::Block;
use super::dpc::Processor;
use super::scheduler::{self, Sleeper};
use super::timer::Timers;
use super::{clock, irql, thread};
use crate::report::{self, BugCheck};

/// Offset of the signal state in the header.
const SIGNAL: usize = 4;
/// Offset of the list of waiting threads, which is always empty here.
const WAIT_LIST: usize = 8;
/// Owner of a mutex.
pub(crate) const MUTEX_OWNER: usize = 40;
/// Whether the owner of a mutex ended without releasing it.
pub(crate) const MUTEX_ABANDONED: usize = 48;
/// Whether the owner of a mutex is in a critical region.
pub(crate) const MUTEX_APC_DISABLE: usize = 49;

/// The type byte of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) u8);

impl Kind {
    pub(crate) const NOTIFICATION_EVENT: Self = Self(0);
    pub(crate) const SYNCHRONIZATION_EVENT: Self = Self(1);
    pub(crate) const MUTEX: Self = Self(2);
    pub(crate) const PROCESS: Self = Self(3);
    pub(crate) const SEMAPHORE: Self = Self(5);
    pub(crate) const THREAD: Self = Self(6);
    pub(crate) const NOTIFICATION_TIMER: Self = Self(8);
    pub(crate) const SYNCHRONIZATION_TIMER: Self = Self(9);

    pub(crate) fn of(object: Block) -> Self {
        Self(object.get::<u8>(0))
    }

    fn is_known(self) -> bool {
        self.0 <= Self::SYNCHRONIZATION_TIMER.0
    }
}

/// Writes a header: nobody waits, and the signal state is `signal`.
pub(crate) fn initialize(object: Block, kind: Kind, bytes: usize, signal: i32) {
    object.clear(8);
    object.put(0, kind.0);
    object.put(2, (bytes / 4) as u8);
    object.i32(SIGNAL).store(signal, Ordering::Relaxed);
    object.put_empty_list(WAIT_LIST);
}

/// The signal state of an object: more than 0 lets a wait return.
pub(crate) fn signal(object: Block) -> &'static AtomicI32 {
    object.i32(SIGNAL)
}

/// No outcome yet.
const WAITING: u32 = u32::MAX;

/// A blocked wait of one thread.
pub(super) struct Wait {
    thread: Sleeper,
    /// The thread as its driver knows it: what owns a mutex.
    owner: Block,
    objects: Vec<Block>,
    rule: Rule,
    /// A status once it is known. Written under the lock.
    outcome: AtomicU32,
}

/// When a wait for several objects is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Any,
    All,
}

/// Whether a wait ends when its thread is alerted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alertable {
    No,
    Yes,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Block, VecDeque<Arc<Wait>>>,
    /// Waits that an alert would end, by thread.
    alertable: BTreeMap<Block, Arc<Wait>>,
    /// Threads that were alerted while they did not wait so.
    alerted: BTreeSet<Block>,
    /// How often each thread acquired mutexes that it has not released.
    mutexes: BTreeMap<Block, u32>,
    timers: Timers,
    processor: Processor,
    threaded: Processor,
}

static STATE: Mutex<State> = Mutex::new(State {
    waiting: BTreeMap::new(),
    alertable: BTreeMap::new(),
    alerted: BTreeSet::new(),
    mutexes: BTreeMap::new(),
    timers: Timers::new(),
    processor: Processor::new(),
    threaded: Processor::new(),
});

/// The dispatcher lock; the threads that become free under it run when it is released.
pub(crate) struct Dispatcher {
    state: Option<MutexGuard<'static, State>>,
    to_wake: Vec<Sleeper>,
}

/// Takes the dispatcher lock. Nothing of a driver is called under it.
pub(crate) fn lock() -> Dispatcher {
    Dispatcher { state: Some(STATE.lock().unwrap_or_else(PoisonError::into_inner)), to_wake: Vec::new() }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        drop(self.state.take());
        for thread in self.to_wake.drain(..) {
            thread.wake();
        }
    }
}

impl Dispatcher {
    fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("invariant: the lock is held until the drop")
    }

    pub(crate) fn timers(&mut self) -> &mut Timers {
        &mut self.state().timers
    }

    pub(crate) fn processor(&mut self, which: super::dpc::Which) -> &mut Processor {
        match which {
            super::dpc::Which::Ordinary => &mut self.state().processor,
            super::dpc::Which::Threaded => &mut self.state().threaded,
        }
    }

    /// Has a thread look for work when the lock is released.
    pub(crate) fn wake(&mut self, thread: Sleeper) {
        self.to_wake.push(thread);
    }

    /// Lets go the threads that wait for an object whose signal state rose.
    pub(crate) fn signalled(&mut self, object: Block) {
        let Some(waiting) = self.state().waiting.get(&object) else { return };
        for wait in Vec::from_iter(waiting.iter().cloned()) {
            if !is_signalled(object, wait.owner) && wait.rule == Rule::Any {
                return;
            }
            if let Some(status) = self.take(&wait.objects, wait.rule, wait.owner) {
                self.finish(&wait, status);
            }
        }
    }

    /// Whether somebody waits for the object.
    pub(crate) fn is_waited_for(&mut self, object: Block) -> bool {
        self.state().waiting.contains_key(&object)
    }

    /// Takes the signals that a wait needs, if they are there; the status is what the wait returns.
    fn take(&mut self, objects: &[Block], rule: Rule, owner: Block) -> Option<NtStatus> {
        match rule {
            Rule::Any => {
                let index = objects.iter().position(|object| is_signalled(*object, owner))?;
                let base = if self.consume(objects[index], owner) { NtStatus::STATUS_ABANDONED_WAIT_0.0 } else { 0 };
                Some(NtStatus(base + index as u32))
            }
            Rule::All => {
                if !objects.iter().all(|object| is_signalled(*object, owner)) {
                    return None;
                }
                let abandoned = objects.iter().fold(false, |any, object| self.consume(*object, owner) | any);
                Some(if abandoned { NtStatus::STATUS_ABANDONED_WAIT_0 } else { NtStatus::STATUS_SUCCESS })
            }
        }
    }

    /// Does to a signalled object what a satisfied wait does; true if it is a mutex whose owner ended.
    fn consume(&mut self, object: Block, owner: Block) -> bool {
        match Kind::of(object) {
            Kind::SYNCHRONIZATION_EVENT | Kind::SYNCHRONIZATION_TIMER => signal(object).store(0, Ordering::Release),
            Kind::SEMAPHORE => {
                signal(object).fetch_sub(1, Ordering::AcqRel);
            }
            Kind::MUTEX => {
                signal(object).fetch_sub(1, Ordering::AcqRel);
                object.put_block(MUTEX_OWNER, owner);
                *self.state().mutexes.entry(owner).or_default() += 1;
                let abandoned = object.get::<u8>(MUTEX_ABANDONED) != 0;
                object.put(MUTEX_ABANDONED, 0u8);
                return abandoned;
            }
            _ => {}
        }
        false
    }

    fn finish(&mut self, wait: &Arc<Wait>, status: NtStatus) {
        self.forget(wait);
        wait.outcome.store(status.0, Ordering::Release);
        self.to_wake.push(wait.thread.clone());
    }

    fn forget(&mut self, wait: &Arc<Wait>) {
        let state = self.state();
        for object in &wait.objects {
            if let Some(waiting) = state.waiting.get_mut(object) {
                waiting.retain(|other| !Arc::ptr_eq(other, wait));
                if waiting.is_empty() {
                    state.waiting.remove(object);
                }
            }
        }
        if state.alertable.get(&wait.owner).is_some_and(|other| Arc::ptr_eq(other, wait)) {
            state.alertable.remove(&wait.owner);
        }
    }

    /// Counts a mutex as released by its owner.
    pub(crate) fn mutex_released(&mut self, owner: Block) {
        if let Some(held) = self.state().mutexes.get_mut(&owner) {
            *held -= 1;
            if *held == 0 {
                self.state().mutexes.remove(&owner);
            }
        }
    }

    /// How many acquisitions of mutexes a thread owes a release.
    pub(crate) fn mutexes_held(&mut self, owner: Block) -> u32 {
        self.state().mutexes.get(&owner).copied().unwrap_or(0)
    }

    /// Ends the alertable wait of a thread, or its next one. True if an alert was pending already.
    pub(crate) fn alert(&mut self, thread: Block) -> bool {
        match self.state().alertable.get(&thread).cloned() {
            Some(wait) => {
                self.finish(&wait, NtStatus::STATUS_ALERTED);
                false
            }
            None => !self.state().alerted.insert(thread),
        }
    }

    /// Takes back the pending alert of a thread; true if there was one.
    pub(crate) fn take_alert(&mut self, thread: Block) -> bool {
        self.state().alerted.remove(&thread)
    }

    /// Forgets a thread that ended.
    pub(crate) fn thread_ended(&mut self, thread: Block) {
        self.state().alerted.remove(&thread);
        self.state().mutexes.remove(&thread);
    }

    /// Cancels the timers and takes back the DPCs within a range of memory.
    pub(crate) fn give_up(&mut self, start: usize, bytes: usize) {
        let within = |object: &Block| (start..start.saturating_add(bytes)).contains(&object.address());
        let state = self.state();
        let timers: Vec<Block> = state.timers.blocks().filter(within).collect();
        let dpcs: Vec<Block> = state.processor.blocks().chain(state.threaded.blocks()).filter(within).collect();
        for timer in timers {
            state.timers.remove(timer);
        }
        for dpc in dpcs {
            super::dpc::remove(self, dpc);
        }
    }

    /// An object within a range of memory that somebody still uses, with what it is.
    pub(crate) fn in_use(&mut self, start: usize, bytes: usize) -> Option<(usize, &'static str)> {
        let within = |object: &&Block| (start..start.saturating_add(bytes)).contains(&object.address());
        let state = self.state();
        if let Some(timer) = state.timers.blocks().find(|timer| within(&timer)) {
            return Some((timer.address(), "a timer that is set"));
        }
        if let Some(dpc) = state.processor.blocks().chain(state.threaded.blocks()).find(|dpc| within(&dpc)) {
            return Some((dpc.address(), "a DPC that is queued"));
        }
        let waited_for = state.waiting.keys().find(within);
        waited_for.map(|object| (object.address(), "an object that a thread waits for"))
    }
}

fn is_signalled(object: Block, owner: Block) -> bool {
    signal(object).load(Ordering::Acquire) > 0
        || (Kind::of(object) == Kind::MUTEX && object.get_block(MUTEX_OWNER) == owner && !owner.is_null())
}

/// Waits as the documentation of `KeWaitForMultipleObjects` says; a timeout is a due time in 100-ns units.
pub(crate) fn wait(
    routine: &'static str,
    objects: &[Block],
    rule: Rule,
    alertable: Alertable,
    timeout: Option<i64>,
) -> NtStatus {
    let mut timeout = timeout;
    if irql::current() >= irql::DISPATCH && timeout != Some(0) {
        report::misuse(
            BugCheck::IRQL_NOT_LESS_OR_EQUAL,
            routine,
            format!("waits at level {}, where only a timeout of zero is allowed", irql::current()),
        );
        timeout = Some(0);
    }
    if let Some(object) = objects.iter().find(|object| !Kind::of(**object).is_known()) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!("waits for {:#x}, which is no dispatcher object", object.address()),
        );
        return NtStatus::STATUS_OBJECT_TYPE_MISMATCH;
    }
    let owner = thread::current();
    scheduler::preempt();
    let status = wait_for(objects, rule, alertable, timeout, owner);
    enter_regions_of_mutexes(objects, rule, status, owner);
    status
}

/// The owner of a mutex is in a critical region until it releases it.
fn enter_regions_of_mutexes(objects: &[Block], rule: Rule, status: NtStatus, owner: Block) {
    let index = status.0 & !NtStatus::STATUS_ABANDONED_WAIT_0.0;
    let taken = match rule {
        Rule::Any => objects.get(index as usize).map(std::slice::from_ref).unwrap_or_default(),
        Rule::All if index == 0 => objects,
        Rule::All => &[],
    };
    for mutex in taken.iter().filter(|object| Kind::of(**object) == Kind::MUTEX) {
        if mutex.get_block(MUTEX_OWNER) == owner && mutex.get::<u8>(MUTEX_APC_DISABLE) != 0 {
            irql::enter_critical_region();
        }
    }
}

fn wait_for(objects: &[Block], rule: Rule, alertable: Alertable, timeout: Option<i64>, owner: Block) -> NtStatus {
    let deadline = timeout.map(clock::deadline);
    let wait = {
        let mut dispatcher = lock();
        if alertable == Alertable::Yes && dispatcher.take_alert(owner) {
            return NtStatus::STATUS_ALERTED;
        }
        if !objects.is_empty()
            && let Some(status) = dispatcher.take(objects, rule, owner)
        {
            return status;
        }
        if timeout == Some(0) {
            drop(dispatcher);
            if objects.is_empty() {
                scheduler::yield_now();
            }
            return NtStatus::STATUS_TIMEOUT;
        }
        if deadline.is_some_and(|deadline| deadline <= clock::interrupt_time()) {
            return NtStatus::STATUS_TIMEOUT;
        }
        let wait = Arc::new(Wait {
            thread: Sleeper::current(),
            owner,
            objects: objects.to_vec(),
            rule,
            outcome: AtomicU32::new(WAITING),
        });
        for object in objects {
            let waiting = dispatcher.state().waiting.entry(*object).or_default();
            // One entry each, also when the same object is named twice.
            if !waiting.iter().any(|other| Arc::ptr_eq(other, &wait)) {
                waiting.push_back(Arc::clone(&wait));
            }
        }
        if alertable == Alertable::Yes {
            dispatcher.state().alertable.insert(owner, Arc::clone(&wait));
        }
        wait
    };
    // What the engine deferred on this thread may be what it waits for.
    ks_io::deferred::drain_before_wait();
    let is_over = || wait.outcome.load(Ordering::Acquire) != WAITING;
    park_until(is_over, deadline);
    // Who ended the wait still held the lock, and touched the objects, when the outcome appeared: take the lock before
    // the driver frees them.
    let mut dispatcher = lock();
    if !is_over() {
        dispatcher.forget(&wait);
        return NtStatus::STATUS_TIMEOUT;
    }
    NtStatus(wait.outcome.load(Ordering::Acquire))
}

/// Parks the calling thread until `is_over` or the clock shows `deadline`.
pub(crate) fn park_until(is_over: impl Fn() -> bool, deadline: Option<i64>) {
    while !is_over() {
        if deadline.is_some_and(|deadline| deadline <= clock::interrupt_time()) {
            return;
        }
        scheduler::park(deadline);
    }
}

/// A thread that waits for its turn at something that is no dispatcher object.
pub(crate) struct Turn {
    thread: Sleeper,
    granted: AtomicBool,
}

impl Turn {
    /// A turn of the calling thread.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { thread: Sleeper::current(), granted: AtomicBool::new(false) })
    }

    /// Blocks until the turn is granted. No lock may be held.
    pub(crate) fn wait(&self) {
        ks_io::deferred::drain_before_wait();
        park_until(|| self.granted.load(Ordering::Acquire), None);
    }

    pub(crate) fn grant(&self) {
        self.granted.store(true, Ordering::Release);
        self.thread.wake();
    }
}
