//! The clock of a pin whose driver implements it: KSPIN_DISPATCH.Clock.

use crate::ks::address::{Address, Routine};
use crate::ks::kernel;
use crate::ks::objects::{self, Object};
use ks_abi::kernel::KsClockDispatch;
use ks_abi::{KsResolution, NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::{Dpc, Services, Ticks, Time};
use ks_mem::Block;
use ks_stream::{ClockParts, ClockSource, ClockTimer, Pin};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of a KTIMER and of a KDPC.
const TIMER_BYTES: usize = 64;
const DPC_BYTES: usize = 64;

/// The routines of a pin's clock. They are the driver's as long as the pin lives; a clock that is left of it stands.
#[derive(Clone, Copy)]
struct Routines {
    pin: u64,
    table: Address,
}

impl Routines {
    fn routine(&self, at: usize, name: &'static str) -> Option<Routine> {
        match objects::find(Address(self.pin)) {
            Some(Object::Pin(_)) => Routine::optional(self.table.follow(at), name),
            _ => None,
        }
    }
}

/// What the table of a pin's clock brings along. A timer needs both of its routines.
///
/// Decision: the relative due time of SetTimer is negative, as that of KeSetTimerEx.
pub(crate) fn parts(pin: &Pin, table: Address) -> Result<ClockParts, NtStatus> {
    let routines = Routines { pin: pin.address(), table };
    let has = |at: usize| !table.follow(at).is_null();
    let mut parts = ClockParts::default();
    if has(offset_of!(KsClockDispatch, correlated_time)) {
        parts.source = Some(Arc::new(routines));
    }
    if has(offset_of!(KsClockDispatch, set_timer)) && has(offset_of!(KsClockDispatch, cancel_timer)) {
        parts.timer = Some(DriverTimer::new(routines, pin.services().clone())?);
    }
    Ok(parts)
}

impl ClockSource for Routines {
    fn correlated_time(&self) -> (Ticks, Time) {
        let at = offset_of!(KsClockDispatch, correlated_time);
        let Some(routine) = self.routine(at, "a clock's CorrelatedTime") else { return (Ticks::ZERO, Time::ORIGIN) };
        let mut system = 0i64;
        let time = routine.call2(self.pin, std::ptr::from_mut(&mut system) as u64);
        (Ticks(time.cast_signed()), Time(system))
    }

    fn resolution(&self) -> Option<KsResolution> {
        let routine = self.routine(offset_of!(KsClockDispatch, resolution), "a clock's Resolution")?;
        let mut resolution = KsResolution::default();
        routine.call2(self.pin, std::ptr::from_mut(&mut resolution) as u64);
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
        if let Some(set) = self.routines.routine(offset_of!(KsClockDispatch, set_timer), "a clock's SetTimer") {
            let due = after.0.saturating_neg().cast_unsigned();
            set.call4(self.routines.pin, self.timer.address(), due, self.dpc.address());
        }
    }

    fn cancel(&self) {
        lock(&self.waits).take();
        let at = offset_of!(KsClockDispatch, cancel_timer);
        if let Some(cancel) = self.routines.routine(at, "a clock's CancelTimer") {
            cancel.call2(self.routines.pin, self.timer.address());
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
