//! The life of a device: plug and play and power, with streams on it.

use crate::rig::{
    FRAMES, Pair, Rig, SEEDS, Setup, UP, add_driven, bring, driven, factory, frames, numbers, video, wait,
};
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_abi::{
    Guid, KsPinDataFlow, KsState, STATUS_DEVICE_BUSY, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::Client;
use ks_io::sync::Arc;
use ks_stream::{FactoryLifetime, PinDescriptor, PnpState, Removal};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// What the driver was told since the last time.
fn told(rig: &Rig) -> Vec<String> {
    rig.take_log().into_iter().filter(|call| call.starts_with("first ")).collect()
}

fn open_status(rig: &Rig, name: &str) -> ks_abi::NtStatus {
    match Client::new(rig.session.clone()).open_by_name(name) {
        Ok(_) => STATUS_SUCCESS,
        Err(error) => error.status,
    }
}

#[test]
fn a_driver_is_told_of_each_request_in_its_order() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    assert_eq!(told(&rig), ["first add", "first start", "first post-start"]);
    assert_eq!((device.pnp_state(), device.is_started()), (PnpState::Started, true));
    for (request, status) in [
        (device.stop_device(), STATUS_INVALID_DEVICE_STATE),
        (device.start_device(), STATUS_INVALID_DEVICE_STATE),
        (device.set_power(DevicePowerState(9)), STATUS_INVALID_PARAMETER),
    ] {
        assert_eq!(request.unwrap_err().status, status);
    }
    assert_eq!(told(&rig), [""; 0], "what does not come now is not told");
    device.query_stop().unwrap();
    assert_eq!((device.pnp_state(), open_status(&rig, "source")), (PnpState::StopPending, STATUS_SUCCESS));
    device.cancel_stop().unwrap();
    assert_eq!(device.pnp_state(), PnpState::Started);
    device.query_stop().unwrap();
    device.stop_device().unwrap();
    assert_eq!((device.pnp_state(), device.is_started()), (PnpState::Stopped, false));
    assert_eq!(open_status(&rig, "source"), STATUS_DEVICE_NOT_READY);
    device.start_device().unwrap();
    device.query_remove().unwrap();
    assert_eq!((device.pnp_state(), open_status(&rig, "source")), (PnpState::RemovePending, STATUS_DEVICE_NOT_READY));
    device.cancel_remove().unwrap();
    assert_eq!((device.pnp_state(), open_status(&rig, "source")), (PnpState::Started, STATUS_SUCCESS));
    device.query_remove().unwrap();
    assert_eq!(device.remove_device(), Removal::Done);
    assert_eq!(device.pnp_state(), PnpState::Deleted);
    assert_eq!(open_status(&rig, "source"), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_eq!(device.query_stop().unwrap_err().status, STATUS_DEVICE_REMOVED);
    let calls =
        "query-stop cancel-stop query-stop stop start post-start query-remove cancel-remove query-remove stop remove";
    assert_eq!(told(&rig), calls.split(' ').map(|call| format!("first {call}")).collect::<Vec<_>>());
}

#[test]
fn a_refused_query_leaves_the_device_running() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        rig.take_log();
        for (refused, answer) in [("query-stop", "cancel-stop"), ("query-power", "set-power D0->D0")] {
            *rig.source.refuse_device.lock() = Some(refused);
            let refusal = match refused {
                "query-stop" => device.rebalance(),
                _ => device.sleep(DevicePowerState::D3),
            };
            assert_eq!(refusal.unwrap_err().status, STATUS_UNSUCCESSFUL);
            let asked = if refused == "query-power" { "query-power D0->D3" } else { refused };
            assert_eq!(rig.take_log(), [format!("first {asked}"), format!("first {answer}")], "and no pin is told");
            assert_eq!((device.pnp_state(), device.power()), (PnpState::Started, DevicePowerState::D0));
            assert_eq!(pin.state().unwrap(), KsState::RUN);
            pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        }
        *rig.source.refuse_device.lock() = None;
        assert_eq!(device.disable().unwrap_err().status, STATUS_UNSUCCESSFUL);
        assert_eq!(rig.take_log(), ["first cancel-remove"], "with a filter open it is not asked");
        pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        drop((pin, filter));
        rig.assert_quiescent();
        *rig.source.refuse_device.lock() = Some("query-remove");
        rig.take_log();
        assert_eq!(device.disable().unwrap_err().status, STATUS_UNSUCCESSFUL);
        assert_eq!(rig.take_log(), ["first query-remove", "first cancel-remove"]);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_device_goes_to_sleep_and_wakes_with_its_system() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        rig.take_log();
        device.system_sleep(SystemPowerState::SLEEPING3).unwrap();
        let named = |state: SystemPowerState| state.name().unwrap();
        let (works, sleeps) = (named(SystemPowerState::WORKING), named(SystemPowerState::SLEEPING3));
        let log = rig.take_log();
        let down = [
            format!("first query-system {works}->{sleeps}"),
            "first query-capabilities".to_owned(),
            "first query-power D0->D3".to_owned(),
            "first query-capabilities".to_owned(),
            "source.0 RUN->PAUSE".to_owned(),
            "first set-power D0->D3".to_owned(),
            format!("first set-system {works}->{sleeps}"),
        ];
        let told =
            |log: Vec<String>| log.into_iter().filter(|call| !call.contains("sleeps") && !call.contains("wakes"));
        assert_eq!(told(log).collect::<Vec<_>>(), down);
        assert_eq!((device.power(), device.system_power()), (DevicePowerState::D3, SystemPowerState::SLEEPING3));
        let waits = pin.read_stream(frames(&pin, 1)).unwrap();
        rig.settle();
        assert!(!waits.is_done(), "nothing processes");
        device.system_wake().unwrap();
        let up = [
            format!("first set-system {sleeps}->{works}"),
            "first set-power D3->D0".to_owned(),
            "source.0 PAUSE->RUN".to_owned(),
        ];
        assert_eq!(told(rig.take_log()).collect::<Vec<_>>(), up);
        waits.wait().unwrap();
        assert_eq!((device.power(), device.system_power()), (DevicePowerState::D0, SystemPowerState::WORKING));
        // Who refuses, for the system or for the device, is told that it works on.
        for refused in ["query-system", "query-power"] {
            *rig.source.refuse_device.lock() = Some(refused);
            assert_eq!(device.system_sleep(SystemPowerState::HIBERNATE).unwrap_err().status, STATUS_UNSUCCESSFUL);
            assert_eq!(rig.take_log().pop().unwrap(), format!("first set-system {works}->{works}"));
            pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        }
        let unknown = device.set_system_power(SystemPowerState(7)).unwrap_err();
        assert_eq!(unknown.status, STATUS_INVALID_PARAMETER);
        *rig.source.refuse_device.lock() = None;
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_stop_with_pins_open_holds_their_requests_until_the_next_start() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        assert_eq!(numbers(&pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap()), [0]);
        rig.take_log();
        device.query_stop().unwrap();
        device.stop_device().unwrap();
        assert_eq!(rig.take_log(), ["first query-stop", "source.0 RUN->PAUSE", "first stop"]);
        let calls = rig.source.calls();
        let waits = pin.read_stream(frames(&pin, 2)).unwrap();
        rig.settle();
        assert!(!waits.is_done());
        assert_eq!(rig.source.calls(), calls, "nothing processes");
        assert_eq!((pin.state().unwrap(), rig.source.pin().device_state()), (KsState::PAUSE, KsState::RUN));
        device.start_device().unwrap();
        assert_eq!(rig.take_log(), ["first start", "first post-start", "source.0 PAUSE->RUN"]);
        assert_eq!(numbers(&waits.wait().unwrap()), [1, 2]);
        assert_eq!(pin.state().unwrap(), KsState::RUN);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_stream_loses_no_frame_while_its_device_is_rebalanced_and_sleeps() {
    for seed in 1..20 {
        let rig = Rig::with(driven(seed));
        let device = rig.devices[0].clone();
        rig.source.last.store(300, SeqCst);
        let pair = rig.pair();
        pair.bring(&UP);
        for _ in 0..seed {
            rig.services().yield_now();
        }
        device.rebalance().unwrap();
        rig.services().yield_now();
        device.sleep(DevicePowerState::D2).unwrap();
        rig.services().yield_now();
        device.wake().unwrap();
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..300).collect::<Vec<_>>());
        drop(pair);
        rig.assert_quiescent();
    }
}

#[test]
fn a_device_sleeps_and_wakes_in_the_documented_order() {
    let down =
        "first query-power D0->D3|source.0 RUN->PAUSE|{} sleeps D3|first factory sleeps D3|first set-power D0->D3";
    let up = "first set-power D3->D0|first factory wakes D0|{} wakes D0|source.0 PAUSE->RUN";
    for (centric, name) in [(false, "source.0"), (true, "source")] {
        let rig = Rig::with(driven(1));
        if centric {
            rig.source.script_filter(|_, _, _| ks_abi::STATUS_PENDING);
        } else {
            rig.source.script(wait);
        }
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        rig.take_log();
        device.sleep(DevicePowerState::D3).unwrap();
        assert_eq!(rig.take_log().join("|"), down.replace("{}", name));
        assert_eq!((device.power(), pin.state().unwrap()), (DevicePowerState::D3, KsState::PAUSE));
        device.set_power(DevicePowerState::D1).unwrap();
        assert_eq!(rig.take_log(), ["first set-power D3->D1"], "from sleep to sleep");
        device.set_power(DevicePowerState::D3).unwrap();
        rig.take_log();
        device.wake().unwrap();
        assert_eq!(rig.take_log().join("|"), up.replace("{}", name));
        assert_eq!((device.power(), pin.state().unwrap()), (DevicePowerState::D0, KsState::RUN));
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn states_that_clients_ask_for_wait_for_the_device_or_are_refused() {
    for held in ["sleeps", "is stopped"] {
        let rig = Rig::with(driven(1));
        let device = rig.devices[0].clone();
        let (filter, runs) = rig.alone("source");
        let (pauses, stopped) = (crate::rig::create(&filter, 0, KsPinDataFlow::OUT, None), rig.alone("source"));
        bring(&runs, &UP);
        bring(&pauses, &UP[..2]);
        match held {
            "sleeps" => device.sleep(DevicePowerState::D3).unwrap(),
            _ => device.query_stop().and_then(|()| device.stop_device()).unwrap(),
        }
        for (pin, to) in [(&pauses, KsState::RUN), (&stopped.1, KsState::ACQUIRE)] {
            assert_eq!(pin.set_state(to).unwrap_err().status, STATUS_DEVICE_NOT_READY, "it {held}");
        }
        runs.set_state(KsState::RUN).unwrap();
        let late = match held {
            "sleeps" => crate::rig::create(&filter, 0, KsPinDataFlow::OUT, None),
            _ => {
                assert_eq!(open_status(&rig, "source"), STATUS_DEVICE_NOT_READY);
                crate::rig::create(&filter, 0, KsPinDataFlow::OUT, None)
            }
        };
        assert_eq!(late.set_state(KsState::RUN).unwrap_err().status, STATUS_DEVICE_NOT_READY);
        pauses.set_state(KsState::STOP).unwrap();
        match held {
            "sleeps" => device.wake().unwrap(),
            _ => device.start_device().unwrap(),
        }
        let states = [&runs, &pauses, &stopped.1, &late].map(|pin| pin.state().unwrap());
        assert_eq!(states, [KsState::RUN, KsState::STOP, KsState::STOP, KsState::STOP]);
        bring(&late, &[KsState::RUN]);
        drop((runs, pauses, stopped, late, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_pin_that_is_taken_lower_while_its_device_sleeps_wakes_no_higher() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    let (filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    device.sleep(DevicePowerState::D3).unwrap();
    pin.set_state(KsState::ACQUIRE).unwrap();
    rig.take_log();
    device.wake().unwrap();
    assert!(!rig.take_log().iter().any(|call| call.contains("->RUN")));
    assert_eq!(pin.state().unwrap(), KsState::ACQUIRE);
    bring(&pin, &[KsState::RUN]);
    pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
    drop((pin, filter));
    rig.assert_quiescent();
}

#[test]
fn a_pin_that_does_not_come_back_from_sleep_fails_and_its_device_wakes() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    let (filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    device.sleep(DevicePowerState::D3).unwrap();
    let waits = pin.read_stream(frames(&pin, 1)).unwrap();
    *rig.source.refuse.lock() = Some((KsState::PAUSE, KsState::RUN));
    device.wake().unwrap();
    assert_eq!(device.power(), DevicePowerState::D0);
    assert_eq!(waits.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
    assert_eq!(pin.state().unwrap(), KsState::PAUSE);
    drop((pin, filter));
    rig.assert_quiescent();
}

#[test]
fn a_removed_device_is_let_go_of_when_its_last_filter_closes() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        rig.source.script(wait);
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        let other = rig.open("source");
        bring(&pin, &UP);
        let request = Arc::new(ks_io::sync::Mutex::new(Some(pin.read_stream(frames(&pin, FRAMES as usize)).unwrap())));
        let (waits, in_callback) = (request.clone(), Arc::new(AtomicU32::new(0)));
        let (seen, session) = (in_callback.clone(), rig.session.clone());
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == "surprise-removal" {
                assert!(!waits.lock().as_ref().unwrap().is_done(), "the driver is told first");
                assert!(device.is_removed());
                assert!(Client::new(session.clone()).open_by_name("source").is_err(), "nothing new is opened");
                seen.fetch_add(1, SeqCst);
            }
        }));
        rig.take_log();
        device.surprise_remove();
        device.surprise_remove();
        *rig.source.on_device.lock() = None;
        assert_eq!(in_callback.load(SeqCst), 1);
        let request = request.lock().take().unwrap();
        assert!(request.is_done());
        assert_eq!(request.wait().unwrap_err().status, STATUS_DEVICE_REMOVED);
        assert_eq!(
            (told(&rig).join(" "), device.pnp_state()),
            ("first surprise-removal".into(), PnpState::SurpriseRemoved)
        );
        drop((pin, filter));
        rig.settle();
        assert_eq!(told(&rig), [""; 0], "a filter is open still");
        assert_eq!(device.remove_device(), Removal::Waits { filters: 1 });
        drop(other);
        rig.settle();
        assert_eq!(rig.take_log(), ["source close", "first stop", "first remove"]);
        assert_eq!(device.pnp_state(), PnpState::Deleted);
        rig.assert_quiescent();
    }
}

#[test]
fn a_removal_in_the_middle_of_another_request_is_told_after_it() {
    for during in ["query-stop", "stop", "start", "post-start"] {
        let rig = Rig::with(driven(1));
        let device = rig.devices[0].clone();
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        told(&rig);
        *rig.source.on_device.lock() = Some(Arc::new(move |what, device| {
            if what == during {
                assert_eq!(device.query_stop().unwrap_err().status, STATUS_DEVICE_BUSY, "one at a time");
                device.surprise_remove();
            }
        }));
        assert!(device.rebalance().is_err(), "{during}");
        assert_eq!(pin.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
        drop((pin, filter));
        rig.assert_quiescent();
        *rig.source.on_device.lock() = None;
        let calls = told(&rig);
        let count = |call: &str| calls.iter().filter(|known| **known == format!("first {call}")).count();
        assert_eq!(
            (count("surprise-removal"), count("stop"), count("remove")),
            (1, 1 + usize::from(during.ends_with("start")), 1)
        );
        let place = |call: &str| calls.iter().position(|known| *known == format!("first {call}")).unwrap();
        assert!(place(during) < place("surprise-removal"), "{calls:?}");
        assert_eq!(calls.last().unwrap(), "first remove");
    }
}

#[test]
fn a_device_that_does_not_start_again_is_removed() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    let (filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    told(&rig);
    *rig.source.refuse_device.lock() = Some("start");
    assert_eq!(device.rebalance().unwrap_err().status, STATUS_UNSUCCESSFUL);
    assert_eq!(pin.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
    drop((pin, filter));
    rig.assert_quiescent();
    let calls = "first query-stop|first stop|first start|first surprise-removal|first remove";
    assert_eq!(told(&rig).join("|"), calls);
}

#[test]
fn a_refused_post_start_has_every_create_fail_until_a_stop() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    *rig.source.refuse_device.lock() = Some("post-start");
    device.rebalance().unwrap();
    assert_eq!(device.post_start_refusal().unwrap().status, STATUS_UNSUCCESSFUL);
    assert_eq!(open_status(&rig, "source"), STATUS_UNSUCCESSFUL);
    *rig.source.refuse_device.lock() = None;
    device.rebalance().unwrap();
    assert_eq!(open_status(&rig, "source"), STATUS_SUCCESS);
    rig.assert_quiescent();
}

#[test]
fn a_device_that_is_disabled_and_enabled_works_again() {
    let rig = Rig::with(driven(1));
    rig.devices[0].disable().unwrap();
    assert_eq!(open_status(&rig, "source"), STATUS_OBJECT_NAME_NOT_FOUND);
    let again = add_driven(&rig, &rig.source, "first", &["source"]);
    assert_eq!(open_status(&rig, "source"), STATUS_OBJECT_NAME_NOT_FOUND, "it is not started yet");
    again.start_device().unwrap();
    let (filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    assert_eq!(numbers(&pin.read_stream(frames(&pin, 2)).unwrap().wait().unwrap()), [0, 1]);
    again.surprise_remove();
    drop((pin, filter));
    rig.settle();
    assert_eq!(again.pnp_state(), PnpState::Deleted);
    let third = add_driven(&rig, &rig.source, "first", &["source"]);
    third.start_device().unwrap();
    assert_eq!(open_status(&rig, "source"), STATUS_SUCCESS, "plugged in again");
    rig.assert_quiescent();
}

#[test]
fn a_driver_that_refuses_its_device_has_none_and_one_that_does_not_start_opens_nothing() {
    let rig = Rig::with(driven(1));
    *rig.source.refuse_device.lock() = Some("start");
    let device = add_driven(&rig, &rig.source, "other", &["late"]);
    assert_eq!(device.start_device().unwrap_err().status, STATUS_UNSUCCESSFUL);
    assert_eq!((device.pnp_state(), open_status(&rig, "late")), (PnpState::NotStarted, STATUS_OBJECT_NAME_NOT_FOUND));
    *rig.source.refuse_device.lock() = None;
    device.start_device().unwrap();
    assert_eq!(open_status(&rig, "late"), STATUS_SUCCESS);
    rig.assert_quiescent();
}

#[test]
fn factories_come_and_go_while_the_device_runs() {
    let rig = Rig::with(driven(1));
    let device = rig.devices[0].clone();
    let make = |name| factory(&rig.source, name, vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])]);
    let (late, ends) = (make("late"), make("ends"));
    device.add_factory(late.clone());
    assert_eq!(open_status(&rig, "late"), STATUS_OBJECT_NAME_NOT_FOUND, "disabled: it came after the start");
    device.enable_factory(&late).unwrap();
    assert_eq!(open_status(&rig, "late"), STATUS_SUCCESS);
    device.add_factory_name(&late, "other name").unwrap();
    let named = rig.io.interfaces(None).into_iter().find(|known| known.reference == "other name").unwrap();
    let by_name = Client::new(rig.session.clone()).open(&named.symbolic_link).unwrap();
    assert_eq!(device.add_factory_name(&late, "OTHER name").unwrap_err(), STATUS_OBJECT_NAME_COLLISION);
    device.disable_factory(&late).unwrap();
    assert_eq!(open_status(&rig, "late"), STATUS_OBJECT_NAME_NOT_FOUND);
    assert!(!rig.io.interfaces(None).iter().any(|known| known.reference == "other name"));
    assert_eq!(by_name.pin_count().unwrap(), 1, "an open filter lives on");
    assert_eq!(open_status(&rig, "source"), STATUS_SUCCESS, "and so do the other factories");
    device.add_factory_for(ends.clone(), FactoryLifetime::UntilStop);
    device.enable_factory(&ends).unwrap();
    assert_eq!(open_status(&rig, "ends"), STATUS_SUCCESS);
    device.enable_factory(&late).unwrap();
    device.rebalance().unwrap();
    assert_eq!((open_status(&rig, "late"), open_status(&rig, "ends")), (STATUS_SUCCESS, STATUS_OBJECT_NAME_NOT_FOUND));
    device.remove_factory(&late).unwrap();
    assert_eq!(device.enable_factory(&late).unwrap_err(), STATUS_INVALID_PARAMETER);
    drop(by_name);
    rig.assert_quiescent();
}

#[test]
fn capabilities_and_interfaces_are_the_drivers() {
    let rig = Rig::with(driven(1));
    let can = rig.devices[0].query_capabilities();
    assert_eq!((can.d3_latency, can.flags, can.size, can.version), (7, 0x10, 64, 1));
    assert_eq!(can.device_state[1], DevicePowerState::D0);
    *rig.source.refuse_device.lock() = Some("query-capabilities");
    assert_eq!(rig.devices[0].query_capabilities().d3_latency, 0, "what the bus says");
    let id = Guid::from_u128(77);
    rig.source.interfaces.lock()[1] = Some((id, Arc::new(5u32)));
    assert_eq!(*rig.devices[0].query_interface(id).unwrap().downcast::<u32>().unwrap(), 5);
    assert!(rig.devices[0].query_interface(Guid::from_u128(78)).is_none());
}

#[test]
fn plug_and_play_races_with_streams_and_loses_nothing() {
    for seed in 0..60 {
        let rig = Rig::with(Setup { seed, driven: true, ..Setup::default() });
        let device = rig.devices[0].clone();
        let services = rig.services().clone();
        let yields = services.clone();
        rig.take_log();
        let manager = services.spawn("manages", move || {
            for _ in 0..2 {
                let _ = device.rebalance();
                yields.yield_now();
                let _ = device.sleep(DevicePowerState::D3);
                yields.yield_now();
                let _ = device.wake();
            }
            device.surprise_remove();
        });
        let manager = manager.unwrap();
        if let Ok(filter) = Client::new(rig.session.clone()).open_by_name("source") {
            if let Ok(pin) = crate::rig::try_create(&filter, 0, KsPinDataFlow::OUT, None) {
                let mut requests = Vec::new();
                for state in UP.into_iter().chain([KsState::PAUSE, KsState::RUN]) {
                    let _ = pin.set_state(state);
                    services.yield_now();
                    if let (Ok(frame), Ok(_)) = (pin.allocate(64), pin.header_bytes()) {
                        requests.extend(pin.read_stream(vec![frame]));
                    }
                }
                manager.join();
                for request in requests {
                    assert!(request.is_done(), "no request outlives the removal (seed {seed})");
                }
                drop(pin);
            } else {
                manager.join();
            }
            drop(filter);
        } else {
            manager.join();
        }
        rig.assert_quiescent();
        let calls = told(&rig);
        assert_eq!(calls.last().unwrap(), "first remove", "seed {seed}: {calls:?}");
        assert_eq!(calls.iter().filter(|call| call.ends_with("remove")).count(), 1, "seed {seed}");
    }
}

#[test]
fn the_other_filter_of_a_graph_waits_for_a_device_that_sleeps() {
    for seed in SEEDS {
        let rig = Rig::with(driven(seed));
        rig.source.last.store(50, SeqCst);
        let Pair { sink, source, filters } = rig.pair();
        rig.devices[0].sleep(DevicePowerState::D3).unwrap();
        assert_eq!(source.set_state(KsState::ACQUIRE).unwrap_err().status, STATUS_DEVICE_NOT_READY);
        rig.devices[0].wake().unwrap();
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.devices[0].sleep(DevicePowerState::D3).unwrap();
        rig.settle();
        let seen = rig.sink.seen_now().len();
        rig.settle();
        assert_eq!((rig.sink.seen_now().len(), sink.state().unwrap()), (seen, KsState::RUN));
        rig.devices[0].wake().unwrap();
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..50).collect::<Vec<_>>());
        drop((sink, source, filters));
        rig.assert_quiescent();
    }
}
