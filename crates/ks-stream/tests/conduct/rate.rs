//! The rate of a stream: what may be asked and set in which state, and what becomes of it.

use crate::kit::*;
use ks_abi::{
    KSPROPERTY_STREAM_RATE, KSPROPERTY_STREAM_RATECAPABILITY, KSPROPERTY_TYPE_GET, KSPROPSETID_Stream,
    KSRATE_NOPRESENTATIONDURATION, KSRATE_NOPRESENTATIONSTART, KsIdentifier, KsPinDataFlow, KsProperty, KsRate,
    KsRateCapability, KsState, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
};
use ks_io::sync::Arc;
use ks_stream::{AutomationTable, NOMINAL_RATE, PropertySet, RateControl};
use zerocopy::IntoBytes;

const WHOLE: u32 = KSRATE_NOPRESENTATIONSTART | KSRATE_NOPRESENTATIONDURATION;

fn rate(rate: i32, flags: u32) -> KsRate {
    KsRate { presentation_start: 1000, duration: 500, interface: KsIdentifier::STANDARD_STREAMING, rate, flags }
}

#[test]
fn a_rate_lives_in_pause_and_run_and_the_nominal_one_is_never_refused() {
    let row = Row::plain(1, 0);
    let control = RateControl::new(250..=4000);
    let items = control.items();
    let table = AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Stream, items }]);
    *row.source().automation.lock() = Some(Arc::new(table));
    let told = control.clone();
    *row.source().on_state.lock() = Some(Arc::new(move |state| told.follow_state(state)));
    let filter = row.open("source");
    let pin = create(&filter, 0, KsPinDataFlow::OUT, None).unwrap();
    let set = |rate: KsRate| {
        let outcome = pin.object().set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_RATE, &rate);
        outcome.map_err(|error| error.status)
    };
    let get = || pin.object().property::<KsRate>(KSPROPSETID_Stream, KSPROPERTY_STREAM_RATE).unwrap();
    let capability = |rate: KsRate| {
        let property = KsProperty::new(KSPROPSETID_Stream, KSPROPERTY_STREAM_RATECAPABILITY, KSPROPERTY_TYPE_GET);
        let request = KsRateCapability { property, rate };
        let (set, id) = (KSPROPSETID_Stream, KSPROPERTY_STREAM_RATECAPABILITY);
        pin.object().property_at::<KsRate>(request.as_bytes(), set, id).map_err(|error| error.status)
    };
    for state in [KsState::STOP, KsState::ACQUIRE] {
        pin.set_state(state).unwrap();
        assert_eq!(set(rate(NOMINAL_RATE, WHOLE)), Err(STATUS_INVALID_DEVICE_STATE));
        assert_eq!(capability(rate(NOMINAL_RATE, WHOLE)), Err(STATUS_INVALID_DEVICE_STATE));
    }
    for state in [KsState::PAUSE, KsState::RUN] {
        pin.set_state(state).unwrap();
        assert_eq!(get().rate, NOMINAL_RATE);
        set(rate(2000, WHOLE)).unwrap();
        assert_eq!((get().rate, control.rate_at(0), control.rate_at(i64::MAX)), (2000, 2000, 2000));
        // No best fit; the rate that there is stays.
        for outside in [249, 4001, 0, -1000] {
            assert_eq!(set(rate(outside, WHOLE)), Err(STATUS_NOT_SUPPORTED));
        }
        assert_eq!(set(rate(500, 4)), Err(STATUS_INVALID_PARAMETER), "no such flag");
        assert_eq!(get().rate, 2000);
        // What it makes up for is nominal behind it; what it cannot is left to the next.
        assert_eq!(capability(rate(500, WHOLE)), Ok(rate(NOMINAL_RATE, WHOLE)));
        assert_eq!(capability(rate(-500, WHOLE)), Ok(rate(-500, WHOLE)));
        // A segment.
        set(rate(500, 0)).unwrap();
        let at = [999, 1000, 1499, 1500].map(|time| control.rate_at(time));
        assert_eq!(at, [NOMINAL_RATE, 500, 500, NOMINAL_RATE]);
        set(rate(NOMINAL_RATE, WHOLE)).unwrap();
    }
    set(rate(3000, WHOLE)).unwrap();
    pin.set_state(KsState::PAUSE).unwrap();
    assert_eq!(get().rate, 3000);
    pin.set_state(KsState::ACQUIRE).unwrap();
    assert_eq!((get().rate, control.rate_at(0)), (NOMINAL_RATE, NOMINAL_RATE), "dropped");
}
