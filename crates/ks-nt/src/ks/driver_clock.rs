//! Clocks that a driver implements in part: KSPIN_DISPATCH.Clock, and what KsAllocateDefaultClockEx is given.

use crate::ks::address::{Address, Routine};
use crate::ks::kernel;
use crate::ks::objects::{self, Object};
use ks_abi::kernel::KsClockDispatch;
use ks_abi::{KsResolution, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};
use ks_io::{Dpc, Services, Ticks, Time};
use ks_mem::Block;
use ks_stream::{ClockParts, ClockSource, ClockTimer, Pin};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of a KTIMER and of a KDPC.
const TIMER_BYTES: usize = 64;
const DPC_BYTES: usize = 64;

/// The routines of a driver's clock. They are the driver's as long as their owner lives; a clock that is left of it stands.
#[derive(Clone, Copy)]
struct Routines {
    /// A pin, or a clock of KsAllocateDefaultClockEx.
    owner: u64,
    context: u64,
    named: Named,
}

#[derive(Clone, Copy)]
enum Named {
    /// By a KSCLOCK_DISPATCH, which is read at each use.
    Table(Address),
    /// One by one.
    Given(Given),
}

/// What KsAllocateDefaultClockEx is given.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) context: u64,
    pub(crate) set_timer: Address,
    pub(crate) cancel_timer: Address,
    pub(crate) correlated_time: Address,
}

const SET_TIMER: usize = offset_of!(KsClockDispatch, set_timer);
const CANCEL_TIMER: usize = offset_of!(KsClockDispatch, cancel_timer);
const CORRELATED_TIME: usize = offset_of!(KsClockDispatch, correlated_time);
const RESOLUTION: usize = offset_of!(KsClockDispatch, resolution);

impl Routines {
    /// The routine that has this place in a KSCLOCK_DISPATCH.
    fn at(&self, member: usize) -> Address {
        match (self.named, member) {
            (Named::Table(table), _) => table.follow(member),
            (Named::Given(given), SET_TIMER) => given.set_timer,
            (Named::Given(given), CANCEL_TIMER) => given.cancel_timer,
            (Named::Given(given), CORRELATED_TIME) => given.correlated_time,
            (Named::Given(_), _) => Address::NULL,
        }
    }

    fn routine(&self, member: usize, name: &'static str) -> Option<Routine> {
        match objects::find(Address(self.owner)) {
            Some(Object::Pin(_) | Object::DefaultClock(_)) => Routine::optional(self.at(member), name),
            _ => None,
        }
    }

    /// What the routines bring along. A timer needs both of its own.
    fn parts(self, services: &Services) -> Result<ClockParts, NtStatus> {
        let has = |member: usize| !self.at(member).is_null();
        let mut parts = ClockParts::default();
        if has(CORRELATED_TIME) {
            parts.source = Some(Arc::new(self));
        }
        if has(SET_TIMER) && has(CANCEL_TIMER) {
            parts.timer = Some(DriverTimer::new(self, services.clone())?);
        }
        Ok(parts)
    }
}

/// What the table of a pin's clock brings along.
///
/// Decision: the relative due time of SetTimer is negative, as that of KeSetTimerEx.
pub(crate) fn parts(pin: &Pin, table: Address) -> Result<ClockParts, NtStatus> {
    let address = pin.address();
    Routines { owner: address, context: address, named: Named::Table(table) }.parts(pin.services())
}

/// What a driver gives for the clock that will be known by the address `clock`. STATUS_INVALID_PARAMETER: one of the
/// timer's routines without the other.
pub(crate) fn given_parts(
    clock: u64,
    given: Given,
    resolution: KsResolution,
    services: &Services,
) -> Result<ClockParts, NtStatus> {
    if given.set_timer.is_null() != given.cancel_timer.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let routines = Routines { owner: clock, context: given.context, named: Named::Given(given) };
    Ok(ClockParts { resolution, ..routines.parts(services)? })
}

impl ClockSource for Routines {
    fn correlated_time(&self) -> (Ticks, Time) {
        let Some(routine) = self.routine(CORRELATED_TIME, "a clock's CorrelatedTime") else {
            return (Ticks::ZERO, Time::ORIGIN);
        };
        let mut system = 0i64;
        let time = routine.call2(self.context, std::ptr::from_mut(&mut system) as u64);
        (Ticks(time.cast_signed()), Time(system))
    }

    fn resolution(&self) -> Option<KsResolution> {
        let routine = self.routine(RESOLUTION, "a clock's Resolution")?;
        let mut resolution = KsResolution::default();
        routine.call2(self.context, std::ptr::from_mut(&mut resolution) as u64);
        Some(resolution)
    }
}

/// A KTIMER and a KDPC that the driver's SetTimer is given.
struct DriverTimer {
    routines: Routines,
    timer: Block,
    dpc: Block,
    services: Services,
    /// What is called when the driver's timer expires.
    waits: Mutex<Option<Arc<dyn Dpc>>>,
}

/// The timers by the address of their KDPC, which is what the kernel calls back with.
static TIMERS: LazyLock<Mutex<HashMap<u64, Weak<DriverTimer>>>> = LazyLock::new(|| Mutex::new(HashMap::new()));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DriverTimer {
    fn new(routines: Routines, services: Services) -> Result<Arc<DriverTimer>, NtStatus> {
        let block = |bytes| Block::zeroed(bytes, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES);
        let (timer, dpc) = (block(TIMER_BYTES)?, block(DPC_BYTES)?);
        kernel::initialize_timer(timer.address(), dpc.address(), expired as *const () as u64);
        let made = Arc::new(DriverTimer { routines, timer, dpc, services, waits: Mutex::new(None) });
        lock(&TIMERS).insert(made.dpc.address(), Arc::downgrade(&made));
        Ok(made)
    }
}

impl Drop for DriverTimer {
    fn drop(&mut self) {
        lock(&TIMERS).remove(&self.dpc.address());
        // The driver may have given both to the kernel.
        kernel::forget_timer(self.timer.address(), self.dpc.address());
    }
}

impl ClockTimer for DriverTimer {
    fn set(&self, after: Ticks, dpc: Arc<dyn Dpc>) {
        *lock(&self.waits) = Some(dpc);
        if let Some(set) = self.routines.routine(SET_TIMER, "a clock's SetTimer") {
            let due = after.0.saturating_neg().cast_unsigned();
            set.call4(self.routines.context, self.timer.address(), due, self.dpc.address());
        }
    }

    fn cancel(&self) {
        lock(&self.waits).take();
        if let Some(cancel) = self.routines.routine(CANCEL_TIMER, "a clock's CancelTimer") {
            cancel.call2(self.routines.context, self.timer.address());
        }
    }
}

/// The deferred routine of each such timer.
unsafe extern "win64" fn expired(dpc: u64, _context: u64, _first: u64, _second: u64) {
    let timer = lock(&TIMERS).get(&dpc).and_then(Weak::upgrade);
    let Some(timer) = timer else { return };
    let waiting = lock(&timer.waits).take();
    if let Some(waiting) = waiting {
        waiting.expired(timer.services.now());
    }
}
