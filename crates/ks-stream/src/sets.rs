//! The property sets that the class driver answers by itself. A minidriver's own items win over these.

mod clock;
mod connection;
mod filter;
mod pin_factory;
mod stream;
mod userks;

use crate::automation::AutomationTable;
use crate::clock_object::ClockObject;
use crate::descriptor::PinFlags;
use crate::event::EventTable;
use crate::filter::Filter;
use crate::pin::Pin;
use ks_abi::{KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection};
use std::sync::LazyLock;

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

/// The events of a pin.
pub(crate) fn pin_events(flags: PinFlags) -> &'static EventTable {
    const FAILED: (ks_abi::Guid, u32) = (crate::USERKS_EVENTSET_PIN, crate::USERKS_EVENT_PIN_FAILED);
    const RENDERER: &EventTable = &[(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM), FAILED];
    const OTHER: &EventTable = &[FAILED];
    if flags.contains(PinFlags::GENERATE_EOS_EVENTS) { RENDERER } else { OTHER }
}
