//! The reference clock of a pin, as a COM interface.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::aggregation::UNKNOWN;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use ks_abi::{
    Guid, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_SUCCESS,
};
use ks_io::Ticks;
use ks_mem::Block;
use ks_stream::{Pin, ReferenceClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsPinGetReferenceClockInterface, KsPinSetPinClockTime);

/// IID_IKsReferenceClock
const REFERENCE_CLOCK: Guid = Guid::from_u128(0xC9902485_C180_11D2_8473_D42394459E5E);

/// An IKsReferenceClock: one word in a block, which points at the methods.
pub(crate) struct ClockInterface {
    block: Block,
    clock: ReferenceClock,
    references: AtomicU32,
}

/// The methods in the order of the interface.
#[repr(C)]
struct Methods {
    query_interface: unsafe extern "win64" fn(Address, Address, Address) -> NtStatus,
    add_ref: unsafe extern "win64" fn(Address) -> u32,
    release: unsafe extern "win64" fn(Address) -> u32,
    get_time: unsafe extern "win64" fn(Address) -> i64,
    get_physical_time: unsafe extern "win64" fn(Address) -> i64,
    get_correlated_time: unsafe extern "win64" fn(Address, Address) -> i64,
    get_correlated_physical_time: unsafe extern "win64" fn(Address, Address) -> i64,
    get_resolution: unsafe extern "win64" fn(Address, Address) -> NtStatus,
    get_state: unsafe extern "win64" fn(Address, Address) -> NtStatus,
}

static METHODS: Methods = Methods {
    query_interface,
    add_ref,
    release,
    get_time,
    get_physical_time,
    get_correlated_time,
    get_correlated_physical_time,
    get_resolution,
    get_state,
};

impl ClockInterface {
    /// The clock of a pin, with one reference; `None` when it has none (yet).
    fn of(pin: &Arc<Pin>) -> Result<Arc<ClockInterface>, NtStatus> {
        let time = pin.reference_clock()?;
        let block = Block::zeroed(16, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.store_u64(0, std::ptr::from_ref(&METHODS) as u64);
        let clock = Arc::new(ClockInterface { block, clock: time, references: AtomicU32::new(1) });
        objects::insert(clock.block.address(), Object::Clock(clock.clone()));
        Ok(clock)
    }
}

impl ClockInterface {
    /// An error where the clock was one of another process, which has ended; its time stands, and its state is STOP.
    fn status(&self) -> NtStatus {
        self.clock.lost().unwrap_or(STATUS_SUCCESS)
    }
}

fn find(this: Address, method: &'static str) -> Option<Arc<ClockInterface>> {
    match objects::find(this) {
        Some(Object::Clock(clock)) => Some(clock),
        _ => {
            misuse::dead(method, "IKsReferenceClock", this.0);
            None
        }
    }
}

unsafe extern "win64" fn query_interface(this: Address, iid: Address, result: Address) -> NtStatus {
    let Some(clock) = find(this, "IKsReferenceClock::QueryInterface") else { return STATUS_INVALID_PARAMETER };
    let wanted: Guid = iid.read();
    if wanted != UNKNOWN && wanted != REFERENCE_CLOCK {
        result.put_optional(0u64);
        return STATUS_NOINTERFACE;
    }
    clock.references.fetch_add(1, Ordering::SeqCst);
    result.put_optional(this.0);
    STATUS_SUCCESS
}

unsafe extern "win64" fn add_ref(this: Address) -> u32 {
    find(this, "IKsReferenceClock::AddRef").map_or(0, |clock| clock.references.fetch_add(1, Ordering::SeqCst) + 1)
}

unsafe extern "win64" fn release(this: Address) -> u32 {
    let Some(clock) = find(this, "IKsReferenceClock::Release") else { return 0 };
    let left = clock.references.fetch_sub(1, Ordering::SeqCst).wrapping_sub(1);
    if left == 0 {
        drop(objects::remove(this.0));
    }
    left
}

unsafe extern "win64" fn get_time(this: Address) -> i64 {
    find(this, "IKsReferenceClock::GetTime").map_or(0, |clock| clock.clock.time().0)
}

unsafe extern "win64" fn get_physical_time(this: Address) -> i64 {
    let clock = find(this, "IKsReferenceClock::GetPhysicalTime");
    clock.map_or(0, |clock| clock.clock.physical_time().0)
}

unsafe extern "win64" fn get_correlated_time(this: Address, system: Address) -> i64 {
    let clock = find(this, "IKsReferenceClock::GetCorrelatedTime");
    let (time, now) = clock.map_or((0, 0), |clock| {
        let (time, now) = clock.clock.correlated_time();
        (time.0, now.0)
    });
    system.put_optional(now);
    time
}

unsafe extern "win64" fn get_correlated_physical_time(this: Address, system: Address) -> i64 {
    let clock = find(this, "IKsReferenceClock::GetCorrelatedPhysicalTime");
    let (time, now) = clock.map_or((0, 0), |clock| {
        let (time, now) = clock.clock.correlated_physical_time();
        (time.0, now.0)
    });
    system.put_optional(now);
    time
}

unsafe extern "win64" fn get_resolution(this: Address, result: Address) -> NtStatus {
    let Some(clock) = find(this, "IKsReferenceClock::GetResolution") else { return STATUS_INVALID_PARAMETER };
    result.put_optional(clock.clock.resolution());
    clock.status()
}

unsafe extern "win64" fn get_state(this: Address, result: Address) -> NtStatus {
    let clock = find(this, "IKsReferenceClock::GetState");
    match clock {
        Some(clock) => {
            result.put_optional(clock.clock.state().0);
            clock.status()
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

pub(crate) unsafe extern "win64" fn KsPinGetReferenceClockInterface(pin: Address, result: Address) -> NtStatus {
    let Some(pin) = objects::pin(pin, "KsPinGetReferenceClockInterface").and_then(|pin| pin.engine()) else {
        return STATUS_INVALID_PARAMETER;
    };
    match ClockInterface::of(&pin) {
        Ok(clock) => {
            result.put(0, clock.block.address());
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsPinSetPinClockTime done test=a_pins_clock_is_set_by_its_driver
pub(crate) unsafe extern "win64" fn KsPinSetPinClockTime(pin: Address, time: i64) {
    if let Some(pin) = objects::pin(pin, "KsPinSetPinClockTime").and_then(|pin| pin.engine()) {
        pin.clock().set_time(Ticks(time));
    }
}
