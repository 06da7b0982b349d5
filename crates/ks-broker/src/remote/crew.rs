//! The threads of a connection: one receives at a time, and does what it received.
//!
//! The thread that takes a message out of the ring also executes it, so a request costs one wake. Before it does
//! something that may wait, another thread receives in its place: at once where the kind of the message says so, and
//! otherwise at the moment when the thread is about to block ([`deferred::set_before_wait`]).
//!
//! A thread of the crew that sleeps puts the receiver down. A client's thread that waits for the answer to its own
//! request borrows it there and receives until that answer has come ([`WaitHelp`]), so that an answer costs one wake
//! too. It executes nothing else: for another message it gives the receiver back, with what it received.

use super::peer::Inner;
use super::serve;
use ks_io::sync::{
    Arc, Condvar, Mutex, Weak,
    atomic::{AtomicI64, AtomicU32, Ordering},
    thread,
};
use ks_io::{Ticks, Time, WaitHelp, Work, deferred};
use ks_stream::Turn;
use ks_wire::{Heartbeat, Message, Received, Receiver, RequestId, WakeUp, WireError};
use std::cell::Cell;
use std::time::Duration;

/// The most threads of a connection. Beyond, a message waits until one returns.
const MOST_THREADS: usize = 64;
/// Threads that wait for the next time; the rest end.
const MOST_IDLE: usize = 2;
/// Requests whose threads do not borrow the receiver, after one that got another's message.
const REST: u32 = 64;
/// The most bytes that a client's thread keeps for its next answer.
const MOST_KEPT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
    /// Requests that still get no help.
    rest: AtomicU32,
}

/// What the next thread receives from.
struct Seat {
    receiver: Receiver,
    /// What was received already, and waits to be executed.
    received: Option<Received>,
}

#[derive(Default)]
struct State {
    /// `None` while a thread has it.
    seat: Option<Seat>,
    threads: usize,
    /// Threads that wait for [`Crew::changed`].
    idle: usize,
    /// Threads that sleep where the other side wakes them, or are about to. One at least comes for the seat when it is
    /// woken there.
    dozing: usize,
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

    /// Has somebody receive from now on, and execute first what was received already.
    fn put_down(&self, inner: &Arc<Inner>, seat: Seat) {
        let wake_up = inner.lifeline.wake_up();
        let mut state = self.state.lock();
        if state.dozing > 0 {
            let sleeps_on = seat.received.is_none() && seat.receiver.may_doze(wake_up, || inner.can_flush());
            state.seat = Some(seat);
            drop(state);
            if !sleeps_on {
                wake_up.wake_dozing();
            }
            return;
        }
        state.seat = Some(seat);
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

    /// Has somebody receive from now on.
    pub(super) fn take_over(&self, inner: &Arc<Inner>, receiver: Receiver) {
        self.put_down(inner, Seat { receiver, received: None });
    }

    /// Waits for something to receive from; `None`: the thread may end.
    fn next(&self) -> Option<Seat> {
        let mut state = self.state.lock();
        loop {
            if state.finished {
                break;
            }
            if let Some(seat) = state.take_seat() {
                return Some(seat);
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

    /// Sleeps until the other side sends something, and lets others have the receiver meanwhile; `None`: somebody has
    /// it still.
    fn doze(&self, wake_up: &WakeUp, receiver: Receiver) -> Option<Seat> {
        {
            let mut state = self.state.lock();
            state.dozing += 1;
            state.seat = Some(Seat { receiver, received: None });
        }
        wake_up.doze();
        let mut state = self.state.lock();
        state.dozing -= 1;
        state.take_seat()
    }

    /// Lends the receiver to a thread outside of the crew, where a thread of the crew sleeps beside it.
    fn borrow(&self) -> Option<Receiver> {
        if self.rest.load(Ordering::Relaxed) > 0 {
            // Relaxed, and two steps: it only advises.
            self.rest.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut state = self.state.lock();
        let lies_idle = state.dozing > 0 && state.seat.as_ref().is_some_and(|seat| seat.received.is_none());
        if lies_idle { state.take_seat().map(|seat| seat.receiver) } else { None }
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

impl State {
    fn take_seat(&mut self) -> Option<Seat> {
        let seat = self.seat.take();
        if let Some(seat) = &seat {
            seat.receiver.take_up();
        }
        seat
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
    while let Some(seat) = inner.crew.next() {
        let mut seat = Some(seat);
        while let Some(taken) = seat.take() {
            let receiver = match next_message(&inner, taken, &mut received) {
                Ok(Next::Message(receiver)) => receiver,
                Ok(Next::Taken) => break,
                Ok(Next::Ended) => return inner.crew.finish(),
                Err(error) => return end(&inner, error),
            };
            let descriptor = received.take_descriptor();
            let message = match received.message() {
                Ok(message) => message,
                Err(error) => return end(&inner, error),
            };
            let now = inner.io.services().now();
            executing.begin(now);
            let executed = if serve::may_wait(&message) {
                // Before anybody can receive its cancel.
                if let Err(error) = inner.note_request(&message) {
                    executing.end();
                    return end(&inner, error);
                }
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
                (Ok(()), Some(mine)) => seat = Some(Seat { receiver: mine, received: None }),
                (Ok(()), None) => break,
            }
        }
    }
}

fn end(inner: &Inner, error: WireError) {
    inner.break_off(error);
    inner.crew.finish();
}

/// What a thread that wants to receive finds.
enum Next {
    /// A message.
    Message(Receiver),
    /// While it slept another thread took the receiver.
    Taken,
    /// The connection has ended, and everything that came was taken.
    Ended,
}

/// Waits for the next message.
fn next_message(inner: &Inner, seat: Seat, received: &mut Received) -> Result<Next, WireError> {
    let wake_up = inner.lifeline.wake_up();
    let Seat { mut receiver, received: mut there } = seat;
    loop {
        if let Some(there) = there.take() {
            *received = there;
            return Ok(Next::Message(receiver));
        }
        if poll(inner, &mut receiver, received)? {
            return Ok(Next::Message(receiver));
        }
        if wake_up.has_ended() {
            return Ok(Next::Ended);
        }
        if receiver.look() || !receiver.may_doze(wake_up, || inner.can_flush()) {
            continue;
        }
        match inner.crew.doze(wake_up, receiver) {
            Some(seat) => (receiver, there) = (seat.receiver, seat.received),
            None => return Ok(Next::Taken),
        }
    }
}

/// Sends what waits for room, and takes a message if there is one.
fn poll(inner: &Inner, receiver: &mut Receiver, received: &mut Received) -> Result<bool, WireError> {
    if inner.sender_waits() {
        inner.sender.lock().flush()?;
        inner.note_backlog();
    }
    receiver.receive(received)
}

thread_local! {
    /// Room for the message that a client's thread receives, kept for the next.
    static ANSWER: Cell<Received> = const { Cell::new(Received::new()) };
}

/// What a client's thread received.
enum Answered {
    /// The answer that it waits for, or nothing, because none will come this way.
    Mine,
    /// Another message, which it must not execute.
    Other,
}

impl WaitHelp for Inner {
    /// Receives until the answer to this request is there.
    fn help(&self, request: RequestId) {
        let Some(inner) = self.me.upgrade() else { return };
        let Some(mut receiver) = self.crew.borrow() else { return };
        let mut received = ANSWER.try_with(Cell::take).unwrap_or_default();
        match receive_answer(&inner, &mut receiver, request, &mut received) {
            Ok(Answered::Mine) => inner.crew.take_over(&inner, receiver),
            Ok(Answered::Other) => {
                self.crew.rest.store(REST, Ordering::Relaxed);
                let received = Some(std::mem::take(&mut received));
                inner.crew.put_down(&inner, Seat { receiver, received });
            }
            Err(error) => end(&inner, error),
        }
        if received.kept_bytes() <= MOST_KEPT_BYTES {
            let _ = ANSWER.try_with(|kept| kept.set(received));
        }
    }
}

fn receive_answer(
    inner: &Arc<Inner>,
    receiver: &mut Receiver,
    request: RequestId,
    received: &mut Received,
) -> Result<Answered, WireError> {
    let wake_up = inner.lifeline.wake_up();
    while inner.pending.contains(request) && !wake_up.has_ended() {
        if !poll(inner, receiver, received)? {
            if !receiver.look() {
                receiver.nap(wake_up, || inner.can_flush());
            }
            continue;
        }
        let message = received.message()?;
        if !matches!(&message, Message::Completion(done) if done.request == request) {
            return Ok(Answered::Other);
        }
        inner.execute(&message, None)?;
    }
    Ok(Answered::Mine)
}
