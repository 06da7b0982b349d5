//! Changes of a device's power: its driver's, the managers' and a removal, each in its turn.

use super::{World, all, beside, check_times, take_all};
use ks_abi::kernel::DevicePowerState;
use ks_abi::{KsState, NtStatus, STATUS_DEVICE_REMOVED, STATUS_SUCCESS};
use ks_io::Refusal;
use ks_io::sync::{Arc, Mutex};
use ks_stream::{Device, DeviceDispatch};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What the driver of a device was told.
#[derive(Default)]
struct Told {
    inside: AtomicBool,
    /// Each change: from which state to which.
    changes: Mutex<Vec<(DevicePowerState, DevicePowerState)>>,
    /// What it asked for itself, in the order of the ends.
    answers: Mutex<Vec<(DevicePowerState, Result<(), NtStatus>)>>,
}

struct Watched(Arc<Told>);

impl Watched {
    fn alone(&self, what: &str, act: impl FnOnce()) {
        assert!(!self.0.inside.swap(true, SeqCst), "{what} in the middle of another");
        super::thread::yield_now();
        act();
        self.0.inside.store(false, SeqCst);
    }
}

impl DeviceDispatch for Watched {
    fn set_power(&self, _: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) {
        self.alone("a change of power", || self.0.changes.lock().push((from, to)));
    }
    fn query_stop(&self, _: &Arc<Device>) -> Result<(), Refusal> {
        self.alone("a query", || ());
        Ok(())
    }
    fn surprise_removal(&self, _: &Arc<Device>) {
        self.alone("a removal", || ());
    }
}

fn ask(device: &Device, to: DevicePowerState, told: &Arc<Told>) {
    let told = told.clone();
    device.request_power(to, move |answer| told.answers.lock().push((to, answer.map_err(|refusal| refusal.status))));
}

/// A driver asks twice while a manager stops the device and starts it again.
#[test]
fn power_that_a_driver_asks_for_comes_in_the_order_of_asking_whoever_else_wants_something() {
    check_times(1_000, || {
        let told = Arc::new(Told::default());
        let (world, pin) = World::reader_of(take_all, Arc::new(Watched(told.clone())));
        world.bring(pin, KsState::RUN);
        let own = told.clone();
        let asks = beside(&world, move |world| {
            ask(&world.devices[0], DevicePowerState::D3, &own);
            ask(&world.devices[0], DevicePowerState::D0, &own);
        });
        let manages = beside(&world, move |world| {
            let device = &world.devices[0];
            device.rebalance().unwrap();
            device.set_power(DevicePowerState::D0).unwrap();
        });
        all(vec![asks, manages]);
        super::until(|| told.answers.lock().len() == 2);
        let changes = told.changes.lock().clone();
        for (before, after) in changes.iter().zip(&changes[1..]) {
            assert_eq!(before.1, after.0, "a change begins where the last one ended: {changes:?}");
        }
        let asked: Vec<_> = changes.iter().map(|(_, to)| *to).collect();
        assert_eq!(asked.iter().filter(|to| **to == DevicePowerState::D3).count(), 1);
        assert_eq!(asked.last(), Some(&DevicePowerState::D0), "the last that was asked for is the last that came");
        assert_eq!(world.devices[0].power(), DevicePowerState::D0);
        assert_eq!(world.read(pin, 1).status(), STATUS_SUCCESS, "it streams on");
        drop(told);
        world.end();
    });
}

#[test]
fn a_removal_that_meets_changes_of_power_is_told_alone_and_answers_those_that_wait() {
    check_times(1_000, || {
        let told = Arc::new(Told::default());
        let (world, pin) = World::reader_of(take_all, Arc::new(Watched(told.clone())));
        world.bring(pin, KsState::RUN);
        let own = told.clone();
        let asks = beside(&world, move |world| {
            for to in [DevicePowerState::D2, DevicePowerState::D0] {
                ask(&world.devices[0], to, &own);
            }
        });
        let manages = beside(&world, move |world| {
            let changed = world.devices[0].set_power(DevicePowerState::D3).map_err(|refusal| refusal.status);
            assert!([Ok(()), Err(STATUS_DEVICE_REMOVED)].contains(&changed), "{changed:?}");
        });
        let removes = beside(&world, move |world| world.devices[0].surprise_remove());
        all(vec![asks, manages, removes]);
        super::until(|| told.answers.lock().len() == 2);
        for (to, answer) in told.answers.lock().iter() {
            assert!([Ok(()), Err(STATUS_DEVICE_REMOVED)].contains(answer), "{to:?}: {answer:?}");
        }
        drop(told);
        world.end();
    });
}
