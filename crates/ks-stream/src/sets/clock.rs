//! KSPROPSETID_Clock and KSEVENTSETID_Clock, asked on a clock handle.

use crate::automation::{EventItem, EventSet, PropertyItem, PropertySet};
use crate::clock_object::ClockObject;
use crate::event::{EventRequest, EventToken};
use crate::property::PropertyCall;
use ks_abi::{
    KSEVENT_CLOCK_INTERVAL_MARK, KSEVENT_CLOCK_POSITION_MARK, KSEVENTSETID_Clock,
    KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME, KSPROPERTY_CLOCK_CORRELATEDTIME, KSPROPERTY_CLOCK_FUNCTIONTABLE,
    KSPROPERTY_CLOCK_PHYSICALTIME, KSPROPERTY_CLOCK_RESOLUTION, KSPROPERTY_CLOCK_STATE, KSPROPERTY_CLOCK_TIME,
    KSPROPSETID_Clock, KsCorrelatedTime, KsEventTimeInterval, KsEventTimeMark, KsResolution, KsState,
};

// ks-coverage: KSPROPERTY_CLOCK_TIME done test=a_clock_follows_its_pin_on_injected_time
// ks-coverage: KSPROPERTY_CLOCK_PHYSICALTIME done test=a_clock_follows_its_pin_on_injected_time
// ks-coverage: KSPROPERTY_CLOCK_CORRELATEDTIME done test=a_clock_follows_its_pin_on_injected_time
// ks-coverage: KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME done test=a_clock_follows_its_pin_on_injected_time
// ks-coverage: KSPROPERTY_CLOCK_RESOLUTION done test=a_clock_follows_its_pin_on_injected_time
// ks-coverage: KSPROPERTY_CLOCK_STATE done test=a_clock_follows_its_pin_on_injected_time

pub(super) fn set() -> PropertySet<ClockObject> {
    PropertySet {
        set: KSPROPSETID_Clock,
        items: vec![
            PropertyItem::new(KSPROPERTY_CLOCK_TIME)
                .data_bytes(8)
                .get(|clock: &ClockObject, call: &mut PropertyCall<'_>| call.answer_value(&clock.clock().time().0)),
            PropertyItem::new(KSPROPERTY_CLOCK_PHYSICALTIME).data_bytes(8).get(
                |clock: &ClockObject, call: &mut PropertyCall<'_>| call.answer_value(&clock.clock().physical_time().0),
            ),
            PropertyItem::new(KSPROPERTY_CLOCK_CORRELATEDTIME).data_bytes(size_of::<KsCorrelatedTime>()).get(
                |clock: &ClockObject, call: &mut PropertyCall<'_>| {
                    let (time, system) = clock.clock().correlated_time();
                    call.answer_value(&KsCorrelatedTime { time: time.0, system_time: system.0 })
                },
            ),
            PropertyItem::new(KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME).data_bytes(size_of::<KsCorrelatedTime>()).get(
                |clock: &ClockObject, call: &mut PropertyCall<'_>| {
                    let now = clock.clock().physical_time().0;
                    call.answer_value(&KsCorrelatedTime { time: now, system_time: now })
                },
            ),
            PropertyItem::new(KSPROPERTY_CLOCK_RESOLUTION)
                .data_bytes(size_of::<KsResolution>())
                .get(|clock: &ClockObject, call: &mut PropertyCall<'_>| call.answer_value(&clock.clock().resolution())),
            PropertyItem::new(KSPROPERTY_CLOCK_STATE)
                .data_bytes(size_of::<KsState>())
                .get(|clock: &ClockObject, call: &mut PropertyCall<'_>| call.answer_value(&clock.clock().state())),
            PropertyItem::new(KSPROPERTY_CLOCK_FUNCTIONTABLE)
                .data_bytes(4 * size_of::<u64>())
                .get(|_: &ClockObject, call: &mut PropertyCall<'_>| super::function_table(call)),
        ],
    }
}

// ks-coverage: KSEVENT_CLOCK_POSITION_MARK done test=a_position_mark_is_signalled_when_the_clock_reaches_it
// ks-coverage: KSEVENT_CLOCK_INTERVAL_MARK done test=an_interval_mark_is_signalled_at_its_base_and_at_each_interval

pub(super) fn event_set() -> EventSet<ClockObject> {
    let remove = |clock: &ClockObject, token: EventToken| clock.remove_mark(token);
    EventSet {
        set: KSEVENTSETID_Clock,
        items: vec![
            EventItem {
                min_data_bytes: size_of::<KsEventTimeInterval>(),
                add: Some(Box::new(|clock: &ClockObject, request: &EventRequest<'_>| clock.add_interval(request))),
                remove: Some(Box::new(remove)),
                ..EventItem::new(KSEVENT_CLOCK_INTERVAL_MARK)
            },
            EventItem {
                min_data_bytes: size_of::<KsEventTimeMark>(),
                add: Some(Box::new(|clock: &ClockObject, request: &EventRequest<'_>| clock.add_position(request))),
                remove: Some(Box::new(remove)),
                ..EventItem::new(KSEVENT_CLOCK_POSITION_MARK)
            },
        ],
    }
}
