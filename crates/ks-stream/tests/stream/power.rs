//! Requests that come to a device in the middle of another: each has its turn.

use crate::rig::{Rig, SEEDS, Setup, UP, bring, driven, frames};
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_abi::{KsState, STATUS_DEVICE_BUSY, STATUS_DEVICE_REMOVED};
use ks_io::sync::{Arc, Mutex};
use ks_io::{EventKind, Signal, WaitOutcome};
use ks_stream::{Device, PnpState};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

/// Answers to what a driver asked for, in their order.
type Answers = Arc<Mutex<Vec<Result<(), ks_abi::NtStatus>>>>;

fn ask(device: &Device, to: DevicePowerState, answers: &Answers) {
    let answers = answers.clone();
    device.request_power(to, move |answer| answers.lock().push(answer.map_err(|refusal| refusal.status)));
}

/// What the driver was told, but for its objects.
fn told(log: &[String]) -> Vec<&str> {
    log.iter().filter_map(|call| call.strip_prefix("first ")).filter(|call| !call.contains("factory")).collect()
}

#[test]
fn a_change_of_power_in_the_middle_of_another_comes_after_it_and_holds_the_streams() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        let (answers, asks) = (Answers::default(), Arc::new(AtomicBool::new(true)));
        let (seen, first) = (answers.clone(), asks.clone());
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == "set-power" && first.swap(false, SeqCst) {
                // Three more, of which none may come before this one has ended.
                for to in [DevicePowerState::D1, DevicePowerState::D0, DevicePowerState::D0] {
                    ask(device, to, &seen);
                }
                assert_eq!(device.set_power(DevicePowerState::D0).unwrap_err().status, STATUS_DEVICE_BUSY);
                assert_eq!(device.query_stop().unwrap_err().status, STATUS_DEVICE_BUSY);
                device.io().services().yield_now();
                assert_eq!(device.power(), DevicePowerState::D0, "it goes down still");
            }
        }));
        rig.take_log();
        device.set_power(DevicePowerState::D3).unwrap();
        rig.settle();
        let wanted = [
            "source.0 RUN->PAUSE",
            "source.0 sleeps D3",
            "first factory sleeps D3",
            "first set-power D0->D3",
            "first set-power D3->D1",
            "first set-power D1->D0",
            "first factory wakes D0",
            "source.0 wakes D0",
            "source.0 PAUSE->RUN",
            "first set-power D0->D0",
        ];
        assert_eq!(rig.take_log(), wanted, "seed {seed}");
        assert_eq!(*answers.lock(), [Ok(()), Ok(()), Ok(())]);
        assert_eq!((device.power(), pin.state().unwrap()), (DevicePowerState::D0, KsState::RUN));
        pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        *rig.source.on_device.lock() = None;
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_query_for_a_removal_in_the_middle_of_a_change_of_power_waits_for_it() {
    for seed in 1..12 {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let answers = Answers::default();
        let manager = Arc::new(Mutex::new(None));
        let (log, queries) = (rig.log.clone(), manager.clone());
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == "set-power" && queries.lock().is_none() {
                let (asked, services) = (device.clone(), device.io().services().clone());
                let query = services.spawn("manager", move || asked.query_remove().map_err(|refusal| refusal.status));
                *queries.lock() = Some(query.unwrap());
                (0..5).for_each(|_| services.yield_now());
                assert!(!log.lock().iter().any(|call| call.contains("query-remove")), "it waits");
            }
        }));
        rig.take_log();
        if seed % 2 == 0 {
            ask(&device, DevicePowerState::D3, &answers);
            rig.settle();
            assert_eq!(*answers.lock(), [Ok(())]);
        } else {
            device.set_power(DevicePowerState::D3).unwrap();
        }
        let query = manager.lock().take().unwrap();
        assert_eq!(query.join(), Ok(()));
        *rig.source.on_device.lock() = None;
        let log = rig.take_log();
        assert_eq!(told(&log), ["set-power D0->D3", "query-remove"], "seed {seed}");
        assert_eq!((device.pnp_state(), device.power()), (PnpState::RemovePending, DevicePowerState::D3));
        device.cancel_remove().unwrap();
        device.wake().unwrap();
        rig.assert_quiescent();
    }
}

#[test]
fn a_removal_in_the_middle_of_a_change_of_power_is_told_after_it_and_ends_those_that_wait() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let answers = Answers::default();
        let seen = answers.clone();
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == "set-power" {
                ask(device, DevicePowerState::D0, &seen);
                device.surprise_remove();
                ask(device, DevicePowerState::D1, &seen);
            }
        }));
        rig.take_log();
        device.set_power(DevicePowerState::D3).unwrap();
        rig.settle();
        assert_eq!(told(&rig.take_log()), ["set-power D0->D3", "surprise-removal"], "seed {seed}");
        assert_eq!(*answers.lock(), [Err(STATUS_DEVICE_REMOVED); 2]);
        assert_eq!(device.wake().unwrap_err().status, STATUS_DEVICE_REMOVED);
        drop((pin, filter));
        rig.assert_quiescent();
        assert_eq!(told(&rig.take_log()), ["stop", "remove"]);
    }
}

// A driver that is asked to go to the system's state, or to stop, goes to a state of its own first.
#[test]
fn a_driver_waits_for_power_in_a_callback_that_holds_no_mutex() {
    for (callback, seed) in ["stop", "set-system", "cancel-stop"].into_iter().zip(SEEDS) {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == callback {
                let ended = device.io().services().event(EventKind::Notification, Signal::Clear);
                let tells = ended.clone();
                device.request_power(DevicePowerState::D2, move |answer| {
                    answer.unwrap();
                    tells.set();
                });
                assert_eq!(ended.wait(), WaitOutcome::Signalled);
                assert_eq!(device.power(), DevicePowerState::D2);
            }
        }));
        match callback {
            "stop" => device.query_stop().and_then(|()| device.stop_device()).unwrap(),
            "cancel-stop" => device.query_stop().and_then(|()| device.cancel_stop()).unwrap(),
            _ => device.set_system_power(SystemPowerState::SLEEPING2).unwrap(),
        }
        *rig.source.on_device.lock() = None;
        assert_eq!((device.power(), pin.state().unwrap()), (DevicePowerState::D2, KsState::PAUSE), "{callback}");
        if callback == "stop" {
            device.start_device().unwrap();
            assert_eq!(pin.state().unwrap(), KsState::PAUSE, "it sleeps still");
        }
        device.wake().unwrap();
        assert_eq!(pin.state().unwrap(), KsState::RUN);
        pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

/// With the device mutex held, or where nobody else may call the driver.
const ALONE: [&str; 8] =
    ["start", "post-start", "query-stop", "query-remove", "query-power", "set-power", "surprise-removal", "remove"];

#[test]
fn managers_and_a_driver_that_ask_at_once_are_served_one_after_another() {
    for seed in 0..80 {
        let rig = Rig::with(Setup { seed, driven: true, ..Setup::default() });
        let device = rig.devices[0].clone();
        let services = rig.services().clone();
        let inside = Arc::new(AtomicI64::new(0));
        let counts = inside.clone();
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if ALONE.contains(&what) {
                assert_eq!(counts.fetch_add(1, SeqCst), 0, "{what} in the middle of another");
                (0..3).for_each(|_| device.io().services().yield_now());
                counts.fetch_sub(1, SeqCst);
            }
        }));
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        rig.take_log();
        let answers = Answers::default();
        let spawn = |name, work: Box<dyn FnOnce() + Send>| services.spawn(name, work).unwrap();
        let [first, second, third, asking] = [(); 4].map(|()| (device.clone(), services.clone()));
        let told_to = answers.clone();
        let threads = [
            spawn(
                "power",
                Box::new(move || {
                    for _ in 0..3 {
                        let _ = first.0.sleep(DevicePowerState::D3);
                        first.1.yield_now();
                        let _ = first.0.wake();
                    }
                }),
            ),
            spawn(
                "plug and play",
                Box::new(move || {
                    for _ in 0..3 {
                        let _ = second.0.rebalance();
                        second.1.yield_now();
                        let _ = second.0.query_remove();
                        let _ = second.0.cancel_remove();
                    }
                }),
            ),
            spawn(
                "driver",
                Box::new(move || {
                    for to in [DevicePowerState::D1, DevicePowerState::D0, DevicePowerState::D2, DevicePowerState::D0] {
                        ask(&asking.0, to, &told_to);
                        asking.1.yield_now();
                    }
                }),
            ),
            spawn(
                "pulls it out",
                Box::new(move || {
                    (0..seed).for_each(|_| third.1.yield_now());
                    if seed % 2 == 1 {
                        third.0.surprise_remove();
                    }
                }),
            ),
        ];
        threads.into_iter().for_each(ks_io::Spawned::join);
        rig.settle();
        assert_eq!(answers.lock().len(), 4, "seed {seed}: each is answered");
        if seed % 2 == 0 {
            assert!(answers.lock().iter().all(Result::is_ok), "seed {seed}");
            device.wake().unwrap();
            assert_eq!((device.pnp_state(), pin.state().unwrap()), (PnpState::Started, KsState::RUN), "seed {seed}");
            pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        }
        let log = rig.take_log();
        let mut now = "D0";
        for change in log.iter().filter_map(|call| call.strip_prefix("first set-power ")) {
            let (from, to) = change.split_once("->").unwrap();
            assert_eq!(from, now, "seed {seed}: {log:?}");
            now = to;
        }
        drop((pin, filter));
        rig.assert_quiescent();
        *rig.source.on_device.lock() = None;
    }
}
