//! The threads of a connection: one receives at a time, and does what it received.
//!
//! The thread that takes a message out of the ring also executes it, so a request costs one wake. Before it does
//! something that may wait, another thread receives in its place: at once where the kind of the message says so, and
//! otherwise at the moment when the thread is about to block ([`deferred::set_before_wait`]).

use super::peer::Inner;
use super::serve;
use ks_io::sync::{
    Arc, Condvar, Mutex, Weak,
    atomic::{AtomicI64, Ordering},
    thread,
};
use ks_io::{Ticks, Time, Work, deferred};
use ks_stream::Turn;
use ks_wire::{Heartbeat, Received, Receiver, WireError};
use std::cell::Cell;
use std::time::Duration;

/// The most threads of a connection. Beyond, a message waits until one returns.
const MOST_THREADS: usize = 64;
/// Threads that wait for the next time; the rest end.
const MOST_IDLE: usize = 2;

#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the next thread receives from; `None` while one does.
    receiver: Option<Receiver>,
    threads: usize,
    idle: usize,
    /// What each thread executes.
    executing: Vec<Arc<Executing>>,
    /// Nothing is received any more.
    finished: bool,
}

/// When the message that a thread executes was begun.
struct Executing(AtomicI64);

impl Executing {
    const NOTHING: i64 = i64::MIN;

    fn begin(&self, now: Time) {
        // Relaxed: it only tells a time.
        self.0.store(now.0, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(Self::NOTHING, Ordering::Relaxed);
    }

    fn begun(&self) -> Option<Time> {
        let begun = self.0.load(Ordering::Relaxed);
        (begun != Self::NOTHING).then_some(Time(begun))
    }
}

impl Crew {
    /// A new thread.
    fn join(&self) -> Arc<Executing> {
        let mine = Arc::new(Executing(AtomicI64::new(Executing::NOTHING)));
        let mut state = self.state.lock();
        // Threads that have ended hold theirs no more.
        state.executing.retain(|one| Arc::strong_count(one) > 1);
        state.executing.push(mine.clone());
        mine
    }

    /// Has somebody receive from now on.
    pub(super) fn take_over(&self, inner: &Arc<Inner>, receiver: Receiver) {
        let mut state = self.state.lock();
        state.receiver = Some(receiver);
        if state.idle > 0 {
            drop(state);
            self.changed.notify_one();
            return;
        }
        if state.threads < MOST_THREADS {
            let weak = Arc::downgrade(inner);
            let started = thread::Builder::new().name("ks-wire".into()).spawn(move || work(&weak));
            // Where the machine refuses a thread, the next that returns receives.
            state.threads += usize::from(started.is_ok());
        }
    }

    /// Waits for something to receive from; `None`: the thread may end.
    fn next(&self) -> Option<Receiver> {
        let mut state = self.state.lock();
        loop {
            if state.finished {
                break;
            }
            if let Some(receiver) = state.receiver.take() {
                return Some(receiver);
            }
            if state.idle >= MOST_IDLE {
                break;
            }
            state.idle += 1;
            state = self.changed.wait(state);
            state.idle -= 1;
        }
        state.threads -= 1;
        None
    }

    /// What is being executed at `now`, without the question itself.
    pub(super) fn heartbeat(&self, number: u64, now: Time) -> Heartbeat {
        let state = self.state.lock();
        let running = state.executing.iter().filter_map(|thread| thread.begun());
        let oldest = running.clone().map(|begun| now - begun).max().unwrap_or(Ticks::ZERO);
        let executing = running.count().saturating_sub(1) as u32;
        Heartbeat { number, executing, oldest_ms: oldest.as_millis().max(0) as u64 }
    }

    /// Nothing more is received. Everything that came before has been.
    fn finish(&self) {
        self.state.lock().finished = true;
        self.changed.notify_all();
    }

    /// Waits until everything that came has been taken, for a while: a thread that is busy must not keep others
    /// waiting for the end.
    pub(super) fn wait_until_finished(&self, most: Duration) {
        let mut state = self.state.lock();
        if !state.finished {
            state = self.changed.wait_timeout(state, most);
        }
        state.finished = true;
        drop(state);
        self.changed.notify_all();
    }
}

/// Gives the receiving to another thread, when the one that has it is about to wait.
struct HandOver {
    inner: Weak<Inner>,
}

thread_local! {
    /// What the thread receives from, while it executes what it received.
    static MINE: Cell<Option<Receiver>> = const { Cell::new(None) };
}

impl Work for HandOver {
    fn run(self: Arc<Self>) {
        if let (Some(receiver), Some(inner)) = (MINE.take(), self.inner.upgrade()) {
            inner.crew.take_over(&inner, receiver);
        }
    }
}

/// The life of a thread.
fn work(weak: &Weak<Inner>) {
    let hand_over = Arc::new(HandOver { inner: weak.clone() });
    let Some(inner) = weak.upgrade() else { return };
    let executing = inner.crew.join();
    let mut received = Received::default();
    while let Some(mut receiver) = inner.crew.next() {
        loop {
            match next_message(&inner, &mut receiver, &mut received) {
                Ok(true) => {}
                Ok(false) => return inner.crew.finish(),
                Err(error) => return end(&inner, error),
            }
            let descriptor = received.take_descriptor();
            let message = match received.message() {
                Ok(message) => message,
                Err(error) => return end(&inner, error),
            };
            let now = inner.io.services().now();
            executing.begin(now);
            let executed = if serve::may_wait(&message) {
                inner.crew.take_over(&inner, receiver);
                let executed = inner.execute(&message, descriptor);
                executing.end();
                if let Err(error) = executed {
                    inner.break_off(error);
                }
                break;
            } else {
                MINE.set(Some(receiver));
                deferred::set_before_wait(Some(hand_over.clone()));
                let executed = {
                    // Frames that come are processed here: another thread would cost a wake each.
                    let _turn = Turn::begin_at(now);
                    inner.execute(&message, descriptor)
                };
                deferred::set_before_wait(None);
                executing.end();
                executed
            };
            let kept = MINE.take();
            match (executed, kept) {
                (Err(error), Some(_)) => return end(&inner, error),
                (Err(error), None) => {
                    inner.break_off(error);
                    break;
                }
                (Ok(()), Some(mine)) => receiver = mine,
                (Ok(()), None) => break,
            }
        }
    }
}

fn end(inner: &Inner, error: WireError) {
    inner.break_off(error);
    inner.crew.finish();
}

/// Waits for the next message; false: the connection has ended, and everything that came was taken.
fn next_message(inner: &Inner, receiver: &mut Receiver, received: &mut Received) -> Result<bool, WireError> {
    loop {
        if inner.sender_waits() {
            inner.sender.lock().flush()?;
            inner.note_backlog();
        }
        if receiver.receive(received)? {
            return Ok(true);
        }
        let wake_up = inner.lifeline.wake_up();
        if wake_up.has_ended() {
            return Ok(false);
        }
        receiver.wait(wake_up, || inner.sender_waits() && inner.sender.lock().can_flush());
    }
}
