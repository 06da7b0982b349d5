//! Whose turn it is: requests come to a device one at a time, and those that come meanwhile wait in their order.
//!
//! There are two orders. The PnP and the power manager send one request after another; each is over before the next. The
//! changes of the device's power are an order of their own, because a driver asks for them too, maybe in the middle of a
//! request that it ends only when it has them. Where a request and a change would both call the driver, the device mutex
//! keeps them apart. A surprise removal waits for nobody; what it tells the driver waits for both orders.

use super::{Device, PowerTurn, Refused};
use ks_abi::STATUS_DEVICE_BUSY;
use ks_io::sync::thread::{self, ThreadId};
use ks_io::{Aspect, Event, EventKind, Refusal, Signal, WaitOutcome};
use std::collections::VecDeque;

/// Which of the two orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Requests of the managers.
    Requests,
    /// Changes of the power of the device.
    Power,
}

/// One of the orders: who has the turn, and who waits for it.
#[derive(Default)]
pub(super) struct Turns {
    taken: Option<Taken>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    By(ThreadId),
    /// Given to whoever carries it on.
    Away,
}

enum Waiting {
    Thread(ThreadId, Event),
    Hand(Hand),
}

/// Takes the turn of a change of power on.
pub(super) type Hand = Box<dyn FnOnce(PowerTurn) + Send>;

/// Who is next.
enum Next {
    Thread(Event),
    Hand(Hand),
}

impl Turns {
    pub(super) fn is_taken(&self) -> bool {
        self.taken.is_some()
    }

    pub(super) fn take(&mut self) {
        self.taken = Some(Taken::By(thread::current().id()));
    }

    pub(super) fn give_back(&mut self) {
        self.taken = None;
    }

    fn next(&mut self) -> Option<Next> {
        if self.is_taken() {
            return None;
        }
        match self.waiting.pop_front()? {
            Waiting::Thread(thread, woken) => {
                self.taken = Some(Taken::By(thread));
                Some(Next::Thread(woken))
            }
            Waiting::Hand(hand) => {
                self.taken = Some(Taken::Away);
                Some(Next::Hand(hand))
            }
        }
    }

    /// A wait that came to nothing. True if the turn had come all the same.
    fn withdraw(&mut self, me: ThreadId) -> bool {
        if self.taken == Some(Taken::By(me)) {
            return true;
        }
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::Thread(thread, _) if *thread == me));
        false
    }
}

impl Device {
    /// Waits for the turn of this thread. A callback of the device that asks for another request would wait for itself:
    /// STATUS_DEVICE_BUSY.
    pub(super) fn wait_for_turn(&self, order: Order, what: &str) -> Refused {
        let me = thread::current().id();
        let woken = self.io.services().event(EventKind::Notification, Signal::Clear);
        let mut life = self.life.lock();
        let turns = life.turns(order);
        if turns.taken == Some(Taken::By(me)) || self.mutex.is_held_by_current() {
            return Err(self.in_the_middle(what));
        }
        if !turns.is_taken() && turns.waiting.is_empty() {
            turns.take();
            return Ok(());
        }
        turns.waiting.push_back(Waiting::Thread(me, woken.clone()));
        drop(life);
        if woken.wait() == WaitOutcome::Signalled || self.life.lock().turns(order).withdraw(me) {
            return Ok(());
        }
        Err(self.in_the_middle(what))
    }

    fn in_the_middle(&self, what: &str) -> Refusal {
        let reason = format!("{what} came to the device {} in the middle of another request", self.name);
        Refusal::new(STATUS_DEVICE_BUSY, Aspect::Device, reason)
    }

    /// Has `hand` take the turn of a change of power on, now or after those that came before it.
    pub(super) fn hand_turn(&self, hand: Hand) {
        self.life.lock().power.waiting.push_back(Waiting::Hand(hand));
        self.next_turns();
    }

    /// A request is over: a removal that waited for it goes on, then the next request.
    pub(super) fn end_turn(&self, order: Order) {
        self.life.lock().turns(order).give_back();
        self.go_on_removing();
    }

    /// Gives the turns that are free to who waits for them.
    pub(super) fn next_turns(&self) {
        for order in [Order::Requests, Order::Power] {
            let next = self.life.lock().turns(order).next();
            match next {
                Some(Next::Thread(woken)) => woken.set(),
                Some(Next::Hand(hand)) => match self.me.upgrade() {
                    Some(device) => hand(PowerTurn { device }),
                    // Who asked is told by the drop of what it gave.
                    None => self.life.lock().power.give_back(),
                },
                None => {}
            }
        }
    }
}
