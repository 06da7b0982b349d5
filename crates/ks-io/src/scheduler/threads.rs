//! What virtual time knows: its threads, its timers, its queues of work, and the generator that draws who runs next.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::ParkOutcome;
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, Condvar};
use crate::time::Time;
use crate::timer::TimerQueue;
use crate::work::{Work, WorkQueue};

/// More items of work than anything useful takes at one instant.
pub(super) const MOST_AT_AN_INSTANT: u32 = 200_000;

pub(super) struct State {
    pub(super) threads: Vec<Thread>,
    /// Who has the baton. Nobody, when every thread is idle or has ended.
    pub(super) running: Option<usize>,
    pub(super) random: XorShift,
    pub(super) timers: TimerQueue,
    pub(super) work: [VecDeque<Arc<dyn Work>>; 3],
    /// Threads of workers and of the timers, to be joined.
    pub(super) service_threads: Vec<JoinHandle<()>>,
    pub(super) live_service_threads: usize,
    pub(super) phase: Phase,
    pub(super) report: Option<String>,
    pub(super) ready: Vec<usize>,
    /// Items of work that were run since the clock moved last.
    pub(super) at_this_instant: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Workers did not come to an end; they get nothing more.
    Circling,
    Stopping,
}

pub(super) struct Thread {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) status: Status,
    /// An unpark that came before the park.
    pub(super) token: bool,
    /// Why it became ready.
    pub(super) outcome: ParkOutcome,
    pub(super) turn: Arc<Condvar>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Made the services, or came from outside.
    Guest,
    /// Started by `Services::spawn`.
    Spawned,
    Worker(WorkQueue),
    Dpc,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    Ready,
    Blocked {
        deadline: Time,
        on: &'static str,
    },
    /// A worker or the DPC thread, with nothing to do.
    Idle,
    /// Its place can be given to another thread.
    Ended,
}

impl Role {
    pub(super) fn is_service(self) -> bool {
        matches!(self, Self::Worker(_) | Self::Dpc)
    }
}

impl State {
    /// Nothing runs yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            threads: Vec::new(),
            running: None,
            random: XorShift::new(seed),
            timers: TimerQueue::default(),
            work: Default::default(),
            service_threads: Vec::new(),
            live_service_threads: 0,
            phase: Phase::Running,
            report: None,
            ready: Vec::new(),
            at_this_instant: 0,
        }
    }

    pub(super) fn add(&mut self, name: String, role: Role, status: Status) -> usize {
        let thread =
            Thread { name, role, status, token: false, outcome: ParkOutcome::Woken, turn: Arc::new(Condvar::new()) };
        if let Some(slot) = self.threads.iter().position(|thread| thread.status == Status::Ended) {
            self.threads[slot] = thread;
            slot
        } else {
            self.threads.push(thread);
            self.threads.len() - 1
        }
    }

    pub(super) fn make_ready(&mut self, slot: usize, outcome: ParkOutcome) {
        let thread = &mut self.threads[slot];
        thread.status = Status::Ready;
        thread.outcome = outcome;
    }

    pub(super) fn idle(&self, role: Role) -> Option<usize> {
        self.threads.iter().position(|thread| thread.role == role && thread.status == Status::Idle)
    }

    /// Draws one of the threads that are ready.
    pub(super) fn draw(&mut self) -> Option<usize> {
        self.ready.clear();
        for (slot, thread) in self.threads.iter().enumerate() {
            if thread.status == Status::Ready {
                self.ready.push(slot);
            }
        }
        match self.ready.len() {
            0 => None,
            count => Some(self.ready[self.random.below(count as u64) as usize]),
        }
    }

    /// When something happens next, if every thread waits.
    pub(super) fn next_time(&self) -> Option<Time> {
        let deadlines = self.threads.iter().filter_map(|thread| match thread.status {
            Status::Blocked { deadline, .. } => Some(deadline),
            _ => None,
        });
        // Timers expire only while there is a thread to run them.
        let timers = self.idle(Role::Dpc).and_then(|_| self.timers.next_due());
        deadlines.chain(timers).filter(|time| *time != Time::NEVER).min()
    }

    /// Makes ready whoever waited for a time that has come.
    pub(super) fn expire(&mut self, now: Time) {
        for slot in 0..self.threads.len() {
            if let Status::Blocked { deadline, .. } = self.threads[slot].status
                && deadline <= now
            {
                self.make_ready(slot, ParkOutcome::TimedOut);
            }
        }
        if self.timers.next_due().is_some_and(|due| due <= now)
            && let Some(dpc) = self.idle(Role::Dpc)
        {
            self.make_ready(dpc, ParkOutcome::Woken);
        }
    }

    /// Tells every blocked thread that it waits in vain; false if there is none.
    pub(super) fn tell_deadlocked(&mut self) -> bool {
        let report = self.give_up_waiting();
        if report.is_empty() {
            return false;
        }
        self.report = Some(report);
        true
    }

    /// Workers go on without end, so the clock will not move again: whoever waits is told, and no worker gets more to do.
    pub(super) fn tell_circling(&mut self, now: Time, queue: WorkQueue) {
        self.phase = Phase::Circling;
        let waiting = self.give_up_waiting();
        self.report = Some(format!(
            "nothing can move: at {now} the workers have run {MOST_AT_AN_INSTANT} items, the last of {}, and there is always \
             another; {waiting}",
            queue.thread_name()
        ));
    }

    /// Makes ready every blocked thread, and says what each waited for.
    pub(super) fn give_up_waiting(&mut self) -> String {
        let mut report = String::new();
        for slot in 0..self.threads.len() {
            if let Status::Blocked { on, .. } = self.threads[slot].status {
                let separator = if report.is_empty() { "" } else { "; " };
                let _ = write!(report, "{separator}{} waits for {on}", self.threads[slot].name);
                self.make_ready(slot, ParkOutcome::Deadlock);
            }
        }
        report
    }

    /// Whoever shuts down looks again.
    pub(super) fn wake_shut_down(&mut self) {
        for slot in 0..self.threads.len() {
            if let Status::Blocked { on: "the services to shut down", .. } = self.threads[slot].status {
                self.make_ready(slot, ParkOutcome::Woken);
            }
        }
    }
}

/// Marsaglia's xorshift64*: enough to draw threads with, and the same on every machine.
pub(super) struct XorShift(u64);

impl XorShift {
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not start neighbouring sequences, and zero would stay zero.
        Self(seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}
