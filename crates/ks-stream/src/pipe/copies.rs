//! A splitter whose outputs have frames of their own: what leaves the first output is copied to the others.
//!
//! Such outputs are those of a source, and of a filter that does not work in place. Each heads a pipe of its own, but for
//! those that share one (`delegates.rs`); the minidriver fills the frames of the first one that is not in STOP, and the
//! class driver those of the others. A frame waits
//! here until every other output that streams has had a frame for its copy, so none of them misses one, and the slowest
//! sets the pace.
//!
//! ```text
//! minidriver ---> queue of the first ---> waits here ---> next pin of the first
//!                                            | copy
//!                                            +---> queue of another ---> next pin of the other
//! ```
//!
//! Source: "AVStream splitters", KSPIN_FLAG_SPLITTER in ns-ks-_kspin_descriptor_ex.

use super::splitter::copy;
use crate::descriptor::PinFlags;
use crate::pin::Pin;
use crate::queue::{Eject, Outgoing};
use ks_abi::{KsPinDataFlow, KsState, STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{CancelTarget, Irp, StreamFrames, Work, deferred};
use std::collections::VecDeque;

/// What has left an output of such a splitter, and waits for the others.
pub(crate) struct Copies {
    me: Weak<Copies>,
    pin: Weak<Pin>,
    /// Under it are the queues of the other outputs, and the cancel cell of an IRP; no driver is called.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    next_key: u64,
    /// A thread sends on what has waited; it does so in order.
    busy: bool,
    /// Somebody wants that thread to look once more.
    again: bool,
}

struct Waiting {
    irp: Irp,
    key: u64,
    /// The outputs that need copies, and how many of its frames each has.
    owed: Vec<(Weak<Pin>, usize)>,
}

/// How an output took its copies.
enum Took {
    All,
    /// It has no frame left; so many of the request's it has.
    Some(usize),
}

impl Copies {
    /// For a pin whose factory asks for a splitter and whose frames are not those of an input.
    pub(crate) fn of(pin: &Weak<Pin>, flow: KsPinDataFlow, flags: PinFlags, in_place: bool) -> Option<Arc<Copies>> {
        let splits = flow == KsPinDataFlow::OUT && flags.contains(PinFlags::SPLITTER) && !in_place;
        let made = |me: &Weak<Copies>| Copies { me: me.clone(), pin: pin.clone(), state: Mutex::default() };
        splits.then(|| Arc::new_cyclic(made))
    }

    /// Adds requests whose frames are to be copied. Those that were cancelled before are left in `refused`.
    fn add(&self, requests: &mut Vec<Irp>, followers: &[Arc<Pin>], refused: &mut Vec<Irp>) {
        let mut state = self.state.lock();
        for irp in requests.drain(..) {
            let key = state.next_key;
            state.next_key += 1;
            let me: Weak<dyn CancelTarget> = self.me.clone();
            if irp.has_caller() && irp.arm(me, key).is_err() {
                irp.set_status(STATUS_CANCELLED);
                refused.push(irp);
                continue;
            }
            let owed = followers.iter().map(|pin| (Arc::downgrade(pin), 0)).collect();
            state.waiting.push_back(Waiting { irp, key, owed });
        }
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && !state.busy
    }

    /// Everything that waits, for whom it will not be sent on.
    fn give_up(&self) -> Vec<Irp> {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        let let_go = |waiting: Waiting| {
            waiting.irp.disarm();
            waiting.irp
        };
        waiting.into_iter().map(let_go).collect()
    }

    /// Copies what can be copied, and sends on, in order, what every output has.
    fn pump(&self) {
        let Some(pin) = self.pin.upgrade() else { return };
        let _inside = deferred::enter();
        {
            let mut state = self.state.lock();
            state.again = true;
            if std::mem::replace(&mut state.busy, true) {
                return;
            }
        }
        loop {
            let (mut filled, mut done) = (Vec::new(), Outgoing::none());
            {
                let mut state = self.state.lock();
                if !std::mem::take(&mut state.again) {
                    state.busy = false;
                    return;
                }
                state.fill(&mut filled, &mut done);
            }
            for follower in filled {
                follower.send_outgoing();
            }
            pin.share_and_forward(&mut done);
        }
    }
}

impl State {
    /// From the first on, until an output has no frame.
    fn fill(&mut self, filled: &mut Vec<Arc<Pin>>, done: &mut Outgoing) {
        while let Some(first) = self.waiting.front_mut() {
            let irp = &first.irp;
            first.owed.retain_mut(|(follower, has)| {
                let Some(follower) = follower.upgrade() else { return false };
                let had = *has;
                let left = match follower.take_copies(irp, had) {
                    Took::All => false,
                    Took::Some(now) => {
                        *has = now;
                        true
                    }
                };
                if (!left || *has > had) && !filled.iter().any(|known| Arc::ptr_eq(known, &follower)) {
                    filled.push(follower);
                }
                left
            });
            if !first.owed.is_empty() {
                return;
            }
            let Some(Waiting { irp, .. }) = self.waiting.pop_front() else { return };
            irp.disarm();
            if irp.has_caller() { done.callers.push(irp) } else { done.onward.push(irp) }
        }
    }
}

impl CancelTarget for Copies {
    fn cancel(&self, key: u64) {
        let found = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|waiting| waiting.key == key);
            at.and_then(|at| state.waiting.remove(at))
        };
        if let (Some(Waiting { irp, .. }), Some(pin)) = (found, self.pin.upgrade()) {
            irp.set_status(STATUS_CANCELLED);
            pin.forward_on(&mut Outgoing { callers: vec![irp], ..Outgoing::none() });
            self.pump();
        }
    }
}

/// Another output has room, or will have none any more.
struct Pump(Arc<Copies>);

impl Work for Pump {
    fn run(self: Arc<Self>) {
        self.0.pump();
    }
}

impl Pin {
    /// The output whose frames this one gets copies of; `None`: the minidriver fills its frames.
    pub(crate) fn copied_from(&self) -> Option<Arc<Pin>> {
        self.copies()?;
        self.filter().look_at_pins(self.id(), |pins| {
            let mut before = pins.iter().take_while(|pin| !std::ptr::eq(&***pin, self));
            before.find(|pin| pin.agreed_state() >= KsState::ACQUIRE && !pin.is_gone()).cloned()
        })
    }

    /// The outputs that get copies of what leaves this one.
    fn copied_to(&self) -> Vec<Arc<Pin>> {
        if self.agreed_state() == KsState::STOP || self.copied_from().is_some() {
            return Vec::new();
        }
        self.filter().look_at_pins(self.id(), |pins| {
            let behind = pins.iter().skip_while(|pin| !std::ptr::eq(&***pin, self)).skip(1);
            behind.filter(|pin| pin.may_be_filled() && pin.shared_from().is_none()).cloned().collect()
        })
    }

    pub(super) fn may_be_filled(&self) -> bool {
        self.agreed_state() >= KsState::ACQUIRE && !self.is_gone() && self.queue().is_some_and(|queue| queue.may_fill())
    }

    /// Copies the frames of a request, from one on, to the frames at the leading edge. One that does not fit is lost here,
    /// and the request of a caller tells so.
    fn take_copies(&self, irp: &Irp, from: usize) -> Took {
        let Some(queue) = self.queue() else { return Took::All };
        let frames = irp.stream().into_iter().flat_map(StreamFrames::iter);
        for (index, frame) in frames.enumerate().skip(from) {
            if !self.may_be_filled() || self.shared_from().is_some() {
                return Took::All;
            }
            let Some(locked) = queue.lock_leading() else { return Took::Some(index) };
            let to = locked.frame();
            to.mirror(frame);
            let fits = frame.data_used() <= to.frame_extent();
            let copied = if fits { copy(frame, to) } else { 0 };
            let is_lost = frame.data_used() > 0 && copied == 0;
            if is_lost {
                to.set_data_used(0);
                queue.set_status_code(if fits { STATUS_INSUFFICIENT_RESOURCES } else { STATUS_BUFFER_TOO_SMALL });
            }
            queue.with_counters(|counters| {
                counters.copies += copied;
                counters.dropped += u64::from(is_lost);
            });
            queue.unlock_leading(locked, Eject::Next);
        }
        Took::All
    }

    /// As [`Pin::forward`], of an output of such a splitter.
    #[cold]
    pub(super) fn forward_with_copies(self: &Arc<Pin>, copies: &Copies, outgoing: &mut Outgoing) {
        let followers = self.copied_to();
        if followers.is_empty() && copies.is_idle() {
            return self.share_and_forward(outgoing);
        }
        let (mut filled, mut ended): (Vec<Irp>, Vec<Irp>) =
            outgoing.callers.drain(..).partition(|irp| irp.status().is_success());
        filled.append(&mut outgoing.onward);
        copies.add(&mut filled, &followers, &mut ended);
        outgoing.callers = ended;
        self.forward_on(outgoing);
        copies.pump();
    }

    /// Frames have arrived at an output that gets copies: who fills them is asked. True for such a pin.
    pub(crate) fn asks_for_copies(&self) -> bool {
        let Some(first) = self.copied_from() else { return false };
        let Some(copies) = first.copies().cloned() else { return false };
        deferred::run_later(Arc::new(Pump(copies)));
        true
    }

    /// This output stops, or is flushed: what waits goes back, and the others do not wait for it.
    pub(crate) fn leaves_copies(self: &Arc<Pin>) {
        let Some(copies) = self.copies() else { return };
        let (callers, own): (Vec<Irp>, Vec<Irp>) = copies.give_up().into_iter().partition(Irp::has_caller);
        callers.iter().for_each(|irp| irp.set_status(STATUS_CANCELLED));
        self.park_at(&self.pipe().route(), own);
        self.forward_on(&mut Outgoing { callers, ..Outgoing::none() });
        self.tell_other_outputs();
    }

    /// Whose frames this output has, or who has copies of its, may be another now.
    pub(crate) fn tell_other_outputs(&self) {
        if self.copies().is_none() {
            return;
        }
        for other in self.filter().pins(self.id()) {
            if let Some(copies) = other.copies().filter(|_| !std::ptr::eq(&*other, self)) {
                deferred::run_later(Arc::new(Pump(copies.clone())));
                other.attempt_processing();
            }
        }
    }
}
