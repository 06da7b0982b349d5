//! The routines of a clock and of an allocator that a driver calls by their addresses, at DISPATCH_LEVEL too.
//!
//! The addresses have a meaning in this process only, so the engine refuses KSPROPERTY_CLOCK_FUNCTIONTABLE and
//! KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, and they are answered here, for objects of this process.
//!
//! Source: ns-ks-ksclock_functiontable, ns-ks-ksstreamallocator_functiontable.

use crate::ks::address::Address;
use crate::ks::engine_file;
use crate::ks::misuse;
use ks_abi::{
    KSPROPERTY_CLOCK_FUNCTIONTABLE, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_TYPE_GET, KSPROPSETID_Clock,
    KSPROPSETID_StreamAllocator, KsProperty, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};
use ks_io::FileObject;
use ks_stream::{AllocatorObject, ClockObject};
use std::sync::Arc;
use zerocopy::FromBytes;

/// The table that a property request on an object of this process asks for; `None`: it asks for something else.
// ks-coverage: KSPROPERTY_CLOCK_FUNCTIONTABLE done test=a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines,every_item_has_its_outcome_on_every_kind_of_object
// ks-coverage: KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE done test=a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines,every_item_has_its_outcome_on_every_kind_of_object
pub(super) fn of(file: &FileObject, request: &[u8]) -> Option<Vec<u8>> {
    let (request, _) = KsProperty::read_from_prefix(request).ok()?;
    let asks = |set, id| request.flags == KSPROPERTY_TYPE_GET && request.set == set && request.id == id;
    let routines: Vec<*const ()> = if asks(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE) {
        file.object_as::<AllocatorObject>()?;
        vec![allocate_frame as *const (), free_frame as *const ()]
    } else if asks(KSPROPSETID_Clock, KSPROPERTY_CLOCK_FUNCTIONTABLE) {
        file.object_as::<ClockObject>()?;
        vec![
            get_time as *const (),
            get_physical_time as *const (),
            get_correlated_time as *const (),
            get_correlated_physical_time as *const (),
        ]
    } else {
        return None;
    };
    Some(routines.into_iter().flat_map(|routine| (routine as u64).to_le_bytes()).collect())
}

/// The object behind a file object that a driver passes; the routines are dead with its last handle.
fn object<T: Send + Sync + 'static>(file: Address, routine: &'static str) -> Option<Arc<T>> {
    let found = engine_file::engine_object(file).and_then(|file| file.object_as::<T>());
    if found.is_none() {
        misuse::dead(routine, "FILE_OBJECT", file.0);
    }
    found
}

unsafe extern "win64" fn allocate_frame(file: Address, frame: Address) -> NtStatus {
    let allocator = object::<AllocatorObject>(file, "KSSTREAMALLOCATOR_FUNCTIONTABLE.AllocateFrame");
    let allocated = allocator.and_then(|allocator| allocator.allocate());
    frame.put_optional(allocated.unwrap_or(0));
    if allocated.is_some() { STATUS_SUCCESS } else { STATUS_INSUFFICIENT_RESOURCES }
}

unsafe extern "win64" fn free_frame(file: Address, frame: u64) {
    const ROUTINE: &str = "KSSTREAMALLOCATOR_FUNCTIONTABLE.FreeFrame";
    if let Some(allocator) = object::<AllocatorObject>(file, ROUTINE)
        && allocator.free(frame) != STATUS_SUCCESS
    {
        misuse::dead(ROUTINE, "frame", frame);
    }
}

unsafe extern "win64" fn get_time(file: Address) -> i64 {
    object::<ClockObject>(file, "KSCLOCK_FUNCTIONTABLE.GetTime").map_or(0, |clock| clock.clock().time().0)
}

unsafe extern "win64" fn get_physical_time(file: Address) -> i64 {
    let clock = object::<ClockObject>(file, "KSCLOCK_FUNCTIONTABLE.GetPhysicalTime");
    clock.map_or(0, |clock| clock.clock().physical_time().0)
}

unsafe extern "win64" fn get_correlated_time(file: Address, system: Address) -> i64 {
    let Some(clock) = object::<ClockObject>(file, "KSCLOCK_FUNCTIONTABLE.GetCorrelatedTime") else { return 0 };
    let (time, now) = clock.clock().correlated_time();
    system.put_optional(now.0);
    time.0
}

unsafe extern "win64" fn get_correlated_physical_time(file: Address, system: Address) -> i64 {
    let clock = object::<ClockObject>(file, "KSCLOCK_FUNCTIONTABLE.GetCorrelatedPhysicalTime");
    let Some(clock) = clock else { return 0 };
    let now = clock.clock().physical_time().0;
    system.put_optional(now);
    now
}
