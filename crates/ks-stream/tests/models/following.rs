//! A pin that goes by a clock behind a border: what it shows, while that changes and when the pin lets go of it.

use super::{World, all, beside, check_times, take_none, until};
use ks_abi::{
    IoControlCode, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET, KSPROPSETID_Stream, KsProperty, KsState,
    NtStatus, STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{AccessMask, Dispatch, Dispatched, Handle, Irp, Ticks, Transport};
use ks_stream::{ClockObject, DefaultClock};
use std::any::Any;
use zerocopy::IntoBytes;

/// A clock object that the engine does not know as one: it asks it, as it asks one of another process.
struct Behind(Arc<ClockObject>);

impl Dispatch for Behind {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        self.0.clone().device_io_control(irp)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn name(world: &World, pin: Handle, clock: u64) -> NtStatus {
    let request = KsProperty::new(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET);
    let code = IoControlCode::KS_PROPERTY;
    world.session.device_io_control(pin, code, request.as_bytes(), &mut clock.to_le_bytes()).status
}

/// A pin, a clock, and the handle by which the pin goes by it.
fn following() -> (Arc<World>, Handle, Arc<DefaultClock>, Handle) {
    let (world, pin) = World::reader(take_none);
    let clock = DefaultClock::new(world.session.services().clone());
    let behind = Arc::new(Behind(ClockObject::new(clock.clone())));
    let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
    let handle = world.session.adopt(behind, access).unwrap();
    assert_eq!(name(&world, pin, handle.0), STATUS_SUCCESS);
    (world, pin, clock, handle)
}

#[test]
fn no_change_of_a_clock_is_missed_by_a_pin_that_goes_by_it() {
    check_times(1_500, || {
        let (world, _, clock, _) = following();
        let reference = world.pin(0).reference_clock().unwrap();
        let (first, second) = (clock.clone(), clock.clone());
        let goes_up = beside(&world, move |_| {
            first.set_state(KsState::ACQUIRE);
            first.set_state(KsState::PAUSE);
        });
        let is_set = beside(&world, move |_| {
            second.set_time(Ticks(5));
            second.set_time(Ticks(7));
        });
        all(vec![goes_up, is_set]);
        assert_eq!((clock.state(), clock.time()), (KsState::PAUSE, Ticks(7)));
        // What comes last is shown in the end, and what was before it is never shown after it.
        until(|| (reference.state(), reference.time()) == (clock.state(), clock.time()));
        drop((reference, clock));
        world.end();
    });
}

#[test]
fn a_pin_that_lets_go_of_a_clock_which_changes_keeps_nothing_of_it() {
    check_times(1_500, || {
        let (world, pin, clock, handle) = following();
        let changing = clock.clone();
        let changes = beside(&world, move |_| {
            changing.set_state(KsState::PAUSE);
            changing.set_state(KsState::STOP);
        });
        let lets_go = beside(&world, move |world| assert_eq!(name(world, pin, 0), STATUS_SUCCESS));
        all(vec![changes, lets_go]);
        assert_eq!(world.session.close(handle).status, STATUS_SUCCESS);
        until(|| Arc::strong_count(&clock) == 1);
        assert!(world.pin(0).reference_clock().is_err());
        world.end();
    });
}
