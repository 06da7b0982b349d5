//! The default clock of a driver without AVStream: one clock of the driver's, and any number of file objects on it.

use super::class_object;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::driver_clock;
use crate::ks::engine_file;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use ks_abi::{
    KsResolution, KsState, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::Ticks;
use ks_mem::Block;
use ks_stream::{ClockObject, DefaultClock};
use std::sync::Arc;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAllocateDefaultClock, KsAllocateDefaultClockEx, KsFreeDefaultClock, KsCreateDefaultClock,
    KsGetDefaultClockState, KsSetDefaultClockState, KsGetDefaultClockTime, KsSetDefaultClockTime,
);

/// What a PKSDEFAULTCLOCK points at. The file objects keep the clock in it, and not this.
pub(crate) struct HostedClock {
    _block: Block,
    clock: Arc<DefaultClock>,
}

fn find(clock: Address, routine: &'static str) -> Option<Arc<DefaultClock>> {
    match objects::find(clock) {
        Some(Object::DefaultClock(hosted)) => Some(hosted.clock.clone()),
        _ => {
            misuse::dead(routine, "KSDEFAULTCLOCK", clock.0);
            None
        }
    }
}

fn allocate(result: Address, given: driver_clock::Given, resolution: KsResolution) -> NtStatus {
    let Ok(block) = Block::zeroed(16, 16) else { return STATUS_INSUFFICIENT_RESOURCES };
    let address = block.address();
    let services = engine_file::engine().services().clone();
    let made = driver_clock::given_parts(address, given, resolution, &services)
        .and_then(|parts| DefaultClock::with_parts(services, parts));
    match made {
        Ok(clock) => {
            objects::insert(address, Object::DefaultClock(Arc::new(HostedClock { _block: block, clock })));
            result.put(0, address);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsAllocateDefaultClock done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsAllocateDefaultClock(result: Address) -> NtStatus {
    allocate(result, driver_clock::Given::default(), KsResolution::default())
}

/// Decision: flags, and a timer without a way to cancel it, are STATUS_INVALID_PARAMETER, and so is a resolution whose
/// routine is not given.
// ks-coverage: KsAllocateDefaultClockEx done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsAllocateDefaultClockEx(
    result: Address,
    context: u64,
    set_timer: Address,
    cancel_timer: Address,
    correlated_time: Address,
    resolution: Address,
    flags: u32,
) -> NtStatus {
    if flags != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let resolution = resolution.some().map_or_else(KsResolution::default, Address::read);
    allocate(result, driver_clock::Given { context, set_timer, cancel_timer, correlated_time }, resolution)
}

/// File objects that are left keep the clock; the driver's routines are not called any more.
// ks-coverage: KsFreeDefaultClock done test=a_default_clock_that_was_freed_is_none_any_more
pub(crate) unsafe extern "win64" fn KsFreeDefaultClock(clock: Address) {
    if find(clock, "KsFreeDefaultClock").is_some() {
        drop(objects::remove(clock.0));
    }
}

// ks-coverage: KsCreateDefaultClock done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsCreateDefaultClock(irp: Address, clock: Address) -> NtStatus {
    let Some(clock) = find(clock, "KsCreateDefaultClock") else { return STATUS_INVALID_PARAMETER };
    class_object::create(irp, |_| Ok(ClockObject::new(clock)))
}

// ks-coverage: KsGetDefaultClockState done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsGetDefaultClockState(clock: Address) -> u32 {
    find(clock, "KsGetDefaultClockState").map_or(KsState::STOP.0, |clock| clock.state().0)
}

// ks-coverage: KsSetDefaultClockState done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsSetDefaultClockState(clock: Address, state: u32) {
    if let Some(clock) = find(clock, "KsSetDefaultClockState") {
        clock.set_state(KsState(state));
    }
}

// ks-coverage: KsGetDefaultClockTime done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsGetDefaultClockTime(clock: Address) -> i64 {
    find(clock, "KsGetDefaultClockTime").map_or(0, |clock| clock.time().0)
}

// ks-coverage: KsSetDefaultClockTime done test=a_drivers_own_clock_is_shared_by_its_file_objects
pub(crate) unsafe extern "win64" fn KsSetDefaultClockTime(clock: Address, time: i64) {
    if let Some(clock) = find(clock, "KsSetDefaultClockTime") {
        clock.set_time(Ticks(time));
    }
}
