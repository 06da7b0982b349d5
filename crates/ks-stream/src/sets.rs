//! The property sets that the class driver answers by itself. A minidriver's own items win over these.

mod allocator;
mod clock;
mod connection;
mod filter;
mod pin_factory;
mod stream;
mod userks;

use crate::allocator::AllocatorObject;
use crate::automation::AutomationTable;
use crate::clock_object::ClockObject;
use crate::descriptor::PinFlags;
use crate::event::EventTable;
use crate::filter::Filter;
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_CONNECTION_TIMEDISCONTINUITY,
    KSEVENTSETID_Connection, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_SUPPORTED,
};
use ks_io::{Aspect, Refusal, RequestorMode};
use std::sync::LazyLock;

pub(crate) use filter::topology_property;
pub(crate) use pin_factory::static_property;

/// What every filter answers: KSPROPSETID_Pin, Topology and General.
pub(crate) fn filter_table() -> &'static AutomationTable<Filter> {
    static TABLE: LazyLock<AutomationTable<Filter>> = LazyLock::new(|| {
        AutomationTable::of_properties(vec![pin_factory::set(), filter::topology_set(), filter::general_set()])
    });
    &TABLE
}

/// What every pin answers: KSPROPSETID_Connection, Stream, StreamInterface, and userks' own counters.
pub(crate) fn pin_table() -> &'static AutomationTable<Pin> {
    static TABLE: LazyLock<AutomationTable<Pin>> = LazyLock::new(|| {
        AutomationTable::of_properties(vec![connection::set(), stream::set(), stream::interface_set(), userks::set()])
    });
    &TABLE
}

/// What every clock answers: KSPROPSETID_Clock and KSEVENTSETID_Clock.
pub(crate) fn clock_table() -> &'static AutomationTable<ClockObject> {
    static TABLE: LazyLock<AutomationTable<ClockObject>> = LazyLock::new(|| AutomationTable {
        properties: vec![clock::set()],
        events: vec![clock::event_set()],
        ..AutomationTable::default()
    });
    &TABLE
}

/// What every allocator answers: the three sets of stream allocators.
pub(crate) fn allocator_table() -> &'static AutomationTable<AllocatorObject> {
    static TABLE: LazyLock<AutomationTable<AllocatorObject>> = LazyLock::new(allocator::table);
    &TABLE
}

/// KSPROPERTY_CLOCK_FUNCTIONTABLE and KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE: for the kernel only.
///
/// Decision: an address of a routine has a meaning only in the process of a hosted driver, where `ks-nt` answers before
/// the request comes here. Rust minidrivers call [`crate::ReferenceClock`] and [`AllocatorObject::allocate`].
fn function_table(call: &mut PropertyCall<'_>) -> NtStatus {
    match call.origin().mode() {
        RequestorMode::User => STATUS_INVALID_DEVICE_REQUEST,
        RequestorMode::Kernel => {
            let reason = "the object is not in the process of the driver, which cannot call its routines";
            call.refuse(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Driver, reason))
        }
    }
}

// Not supported, as their page says: no header has the GUID of their set.
// ks-coverage: KSPROPERTY_GM_GRAPHMANAGER not-implemented
// ks-coverage: KSPROPERTY_GM_TIMESTAMP_CLOCK not-implemented
// ks-coverage: KSPROPERTY_GM_RATEMATCH not-implemented
// ks-coverage: KSPROPERTY_GM_RENDER_CLOCK not-implemented
// For the system alone; there are no cached MDLs here.
// ks-coverage: KSPROPERTY_ALLOCATOR_CLEANUP_CACHEDMDLPAGES not-implemented
// ks-coverage: KSMETHOD_STREAMIO_READ refused no page says what it reads; the set is not found, unless a minidriver has it
// ks-coverage: KSMETHOD_STREAMIO_WRITE refused no page says what it writes; the set is not found, unless a minidriver has it

/// The events of a pin that the class driver raises. POSITIONUPDATE and PRIORITY are of minidrivers that have them: what
/// position, margin and resources are is their business.
pub(crate) fn pin_events(flags: PinFlags) -> &'static EventTable {
    const FAILED: (ks_abi::Guid, u32) = (crate::USERKS_EVENTSET_PIN, crate::USERKS_EVENT_PIN_FAILED);
    const DATA_GAP: (ks_abi::Guid, u32) = (KSEVENTSETID_Connection, KSEVENT_CONNECTION_DATADISCONTINUITY);
    const TIME_GAP: (ks_abi::Guid, u32) = (KSEVENTSETID_Connection, KSEVENT_CONNECTION_TIMEDISCONTINUITY);
    const END: (ks_abi::Guid, u32) = (KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM);
    if flags.contains(PinFlags::DO_NOT_USE_STANDARD_TRANSPORT) {
        // No frame passes through the class driver.
        const { &[FAILED] }
    } else if flags.contains(PinFlags::GENERATE_EOS_EVENTS) {
        const { &[DATA_GAP, TIME_GAP, END, FAILED] }
    } else {
        const { &[DATA_GAP, TIME_GAP, FAILED] }
    }
}
