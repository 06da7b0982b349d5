//! Timers: set by a driver in its own memory, expired by the thread that runs DPCs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::block::Block;
use super::dispatcher::{self, Dispatcher, Kind, initialize, signal};
use super::{clock, dpc, irql};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeTimer, KeInitializeTimerEx, KeSetTimer, KeSetTimerEx, KeSetCoalescableTimer, KeCancelTimer,
    KeReadStateTimer, ExSetTimerResolution, ExQueryTimerResolution,
);

/// Size of a KTIMER.
pub(crate) const TIMER_BYTES: usize = 64;
/// Offset of the flags of which one says that the timer is set.
const FLAGS: usize = 3;
const INSERTED: u8 = 0x40;
const DUE: usize = 24;
const LIST_ENTRY: usize = 32;
const DPC: usize = 48;
const PERIOD_MS: usize = 60;

/// The timers that are set, in the order in which they are due.
#[derive(Default)]
pub(crate) struct Timers {
    by_due: BTreeMap<(i64, u64), Block>,
    by_block: BTreeMap<Block, Setting>,
    settings: u64,
}

#[derive(Clone, Copy)]
struct Setting {
    due: i64,
    number: u64,
    /// 100-ns units; 0 expires once.
    period: i64,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self { by_due: BTreeMap::new(), by_block: BTreeMap::new(), settings: 0 }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.by_block.keys().copied()
    }

    fn insert(&mut self, timer: Block, due: i64, period: i64) {
        self.settings += 1;
        self.by_due.insert((due, self.settings), timer);
        self.by_block.insert(timer, Setting { due, number: self.settings, period });
    }

    pub(super) fn remove(&mut self, timer: Block) -> bool {
        match self.by_block.remove(&timer) {
            Some(setting) => self.by_due.remove(&(setting.due, setting.number)).is_some(),
            None => false,
        }
    }

    fn next_due(&self) -> Option<i64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }
}

/// Expires what is due, and says when the next timer is.
pub(crate) fn expire(dispatcher: &mut Dispatcher, now: i64) -> Option<i64> {
    loop {
        let timers = dispatcher.timers();
        let due = timers.next_due()?;
        if due > now {
            return Some(due);
        }
        let (_, timer) = timers.by_due.pop_first()?;
        let period = timers.by_block.remove(&timer).map_or(0, |setting| setting.period);
        if period > 0 {
            // Expirations that nobody had time for are not made up for; the next one keeps the phase.
            let missed = (now - due) / period;
            timers.insert(timer, due.saturating_add(period.saturating_mul(missed + 1)), period);
        } else {
            timer.u8(FLAGS).fetch_and(!INSERTED, Ordering::AcqRel);
        }
        fire(dispatcher, timer);
    }
}

fn fire(dispatcher: &mut Dispatcher, timer: Block) {
    let dpc = timer.get_block(DPC).optional();
    let before = signal(timer).swap(1, Ordering::AcqRel);
    if before == 0 {
        dispatcher.signalled(timer);
    }
    if let Some(dpc) = dpc {
        let now = clock::system_time() as u64;
        // The arguments are the halves of the system time, as the DPC of a timer has always had them.
        dpc::queue(dispatcher, dpc, [(now & 0xFFFF_FFFF) as usize, (now >> 32) as usize]);
    }
}

/// Sets a timer, which may be set already; true if it was.
pub(crate) fn set(timer: Block, due: i64, period: i64, dpc: Block) -> bool {
    let deadline = clock::deadline(due);
    let mut dispatcher = dispatcher::lock();
    let was_set = dispatcher.timers().remove(timer);
    signal(timer).store(0, Ordering::Release);
    timer.put(DUE, deadline);
    timer.put_block(DPC, dpc);
    timer.put(PERIOD_MS, (period / 10_000) as u32);
    timer.u8(FLAGS).fetch_or(INSERTED, Ordering::AcqRel);
    dispatcher.timers().insert(timer, deadline, period);
    if deadline <= clock::interrupt_time() {
        expire(&mut dispatcher, clock::interrupt_time());
    }
    dpc::notify(&mut dispatcher, dpc::Which::Ordinary);
    was_set
}

/// Takes a timer out of the list; true if it was set. A DPC that it has queued already is not taken back.
pub(crate) fn cancel(timer: Block) -> bool {
    let mut dispatcher = dispatcher::lock();
    timer.u8(FLAGS).fetch_and(!INSERTED, Ordering::AcqRel);
    dispatcher.timers().remove(timer)
}

pub(crate) unsafe extern "win64" fn KeInitializeTimer(timer: Block) {
    make(timer, Kind::NOTIFICATION_TIMER);
}

/// Makes a KTIMER; `kind` is a TIMER_TYPE.
pub(crate) unsafe extern "win64" fn KeInitializeTimerEx(timer: Block, kind: u32) {
    make(timer, if kind == 0 { Kind::NOTIFICATION_TIMER } else { Kind::SYNCHRONIZATION_TIMER });
}

pub(crate) fn make(timer: Block, kind: Kind) {
    let mut dispatcher = dispatcher::lock();
    if dispatcher.timers().by_block.contains_key(&timer) {
        dispatcher.timers().remove(timer);
        drop(dispatcher);
        report::misuse(
            BugCheck::TIMER_OR_DPC_INVALID,
            "KeInitializeTimerEx",
            format!("the timer at {:#x} is set, and is initialized again", timer.address()),
        );
    }
    timer.clear(TIMER_BYTES);
    initialize(timer, kind, TIMER_BYTES, 0);
    timer.put_empty_list(LIST_ENTRY);
}

fn milliseconds(period: i32) -> i64 {
    i64::from(period.max(0)) * 10_000
}

pub(crate) unsafe extern "win64" fn KeSetTimer(timer: Block, due: i64, dpc: Block) -> u8 {
    irql::at_most(irql::DISPATCH, "KeSetTimer");
    u8::from(set(timer, due, 0, dpc))
}

pub(crate) unsafe extern "win64" fn KeSetTimerEx(timer: Block, due: i64, period: i32, dpc: Block) -> u8 {
    irql::at_most(irql::DISPATCH, "KeSetTimerEx");
    u8::from(set(timer, due, milliseconds(period), dpc))
}

// Decision: no expiration is put off to meet another one; the tolerable delay is a permission, not a wish.
pub(crate) unsafe extern "win64" fn KeSetCoalescableTimer(
    timer: Block,
    due: i64,
    period: u32,
    _tolerable_delay: u32,
    dpc: Block,
) -> u8 {
    irql::at_most(irql::DISPATCH, "KeSetCoalescableTimer");
    u8::from(set(timer, due, i64::from(period) * 10_000, dpc))
}

pub(crate) unsafe extern "win64" fn KeCancelTimer(timer: Block) -> u8 {
    irql::at_most(irql::DISPATCH, "KeCancelTimer");
    u8::from(cancel(timer))
}

pub(crate) unsafe extern "win64" fn KeReadStateTimer(timer: Block) -> u8 {
    u8::from(signal(timer).load(Ordering::Acquire) != 0)
}

/// Finest resolution, in 100-ns units: timers here are always this fine.
const RESOLUTION: u32 = 5_000;

pub(crate) unsafe extern "win64" fn ExSetTimerResolution(_desired: u32, set: u8) -> u32 {
    irql::at_most(irql::APC, "ExSetTimerResolution");
    if set != 0 { RESOLUTION } else { clock::TIME_INCREMENT }
}

pub(crate) unsafe extern "win64" fn ExQueryTimerResolution(maximum: Block, minimum: Block, current: Block) {
    maximum.put(0, clock::TIME_INCREMENT);
    minimum.put(0, RESOLUTION);
    current.put(0, RESOLUTION);
}
