//! The life of a driver's device: plug and play and power as requests, and what the driver does while it runs.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_abi::{
    Guid, KSEVENT_DEVICE_THERMAL_HIGH, KSEVENT_DEVICE_THERMAL_LOW, KSEVENTSETID_Device, KSPROPERTY_TYPE_GET,
    KsIdentifier, KsState, STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::{Filter, Object, Scope};
use ks_io::CancelCreates;
use ks_rig::{Created, Rig, each_seed};
use ks_stream::{Cooling, Device, PnpState, Removal, ThermalState};
use std::sync::Arc;
use zerocopy::IntoBytes;

const LIFE: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e70);
const OTHER: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e71);
const INTERFACE: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e72);
const REFUSE: u32 = 1;
const FACTORIES: u32 = 2;
const MERGE: u32 = 3;
const NUMBER: u32 = 4;
const BUS: u32 = 5;
const POWER: u32 = 6;
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

fn text(object: &Object, property: u32) -> String {
    let request = KsIdentifier { set: LIFE, id: property, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 4096];
    let outcome = object.control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// What the driver was told since the last time, without the requests that its hooks saw.
fn told(filter: &Filter) -> String {
    calls(&all_told(filter), |call| !call.contains("irp"))
}

fn all_told(filter: &Filter) -> String {
    text(filter.object(), 0)
}

fn calls(log: &str, wanted: impl Fn(&str) -> bool) -> String {
    log.split(' ').filter(|call| !call.is_empty() && wanted(call)).collect::<Vec<_>>().join(" ")
}

fn refuse(filter: &Filter, what: u32) {
    filter.object().set_property(LIFE, REFUSE, &what).unwrap();
}

fn device(rig: &Rig) -> Arc<Device> {
    rig.driver(0).devices()[0].clone()
}

fn running(rig: &Rig, filter: &Filter) -> Created {
    let pin = rig.create(filter, 0, None);
    UP.into_iter().for_each(|state| pin.pin.set_state(state).unwrap());
    pin
}

fn number(pin: &Created) -> u32 {
    let frames = pin.read(1).wait().unwrap();
    u32::from_le_bytes(frames[0].data()[..4].try_into().unwrap())
}

#[test]
fn each_request_reaches_the_drivers_dispatch_routine_and_its_callback() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let device = device(&rig);
        let log = all_told(&rig.open());
        assert_eq!(calls(&log, |call| !call.starts_with("filter")), "Add irp00 Start PostStart");
        device.query_stop().unwrap();
        device.cancel_stop().unwrap();
        device.rebalance().unwrap();
        device.query_remove().unwrap();
        device.cancel_remove().unwrap();
        let log = all_told(&rig.open());
        let wanted = "irp05 QueryStop irp06 CancelStop irp05 QueryStop irp04 Stop irp00 Start PostStart irp01 QueryRemove irp03 \
                  CancelRemove";
        assert_eq!(calls(&log, |call| !call.starts_with("filter") && !call.starts_with("item")), wanted);
        let can = device.query_capabilities();
        assert_eq!((can.d3_latency, can.flags & 0x200), (77, 0x200));
        assert_eq!(rig.driver(0).query_interface(INTERFACE, 5, 32).unwrap()[..4], [32, 0, 6, 0]);
        let refused = rig.driver(0).query_interface(INTERFACE, 5, 8).unwrap_err();
        assert_eq!(refused, ks_abi::STATUS_BUFFER_TOO_SMALL);
        assert_eq!(rig.driver(0).query_interface(LIFE, 5, 32).unwrap_err(), STATUS_NOT_SUPPORTED, "nobody has it");
        let log = all_told(&rig.open());
        let asked = calls(&log, |call| call.contains("irp") || call.starts_with("bad") || call.starts_with("wrong"));
        assert_eq!(asked, "irp09 irp08 irp08 irp08");
        rig.unload();
    });
}

#[test]
fn a_query_that_a_driver_refuses_leaves_it_streaming() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        refuse(&filter, 1 | 2 | 4);
        told(&filter);
        assert_eq!(device.rebalance().unwrap_err().status, STATUS_DEVICE_BUSY);
        assert_eq!(told(&filter), "QueryStop CancelStop");
        assert_eq!(device.sleep(DevicePowerState::D3).unwrap_err().status, STATUS_DEVICE_BUSY);
        assert_eq!(told(&filter), "QueryPower14 SetPower11");
        assert_eq!(device.disable().unwrap_err().status, STATUS_UNSUCCESSFUL);
        assert_eq!(told(&filter), "CancelRemove", "it is not asked while a filter is open");
        assert_eq!((number(&pin), number(&pin)), (0, 1));
        assert_eq!((device.pnp_state(), pin.pin.state().unwrap()), (PnpState::Started, KsState::RUN));
        drop((pin, filter));
        assert_eq!(device.disable().unwrap_err().status, STATUS_DEVICE_BUSY);
        let filter = rig.open();
        assert!(told(&filter).contains("QueryRemove CancelRemove"));
        assert_eq!(number(&running(&rig, &filter)), 0);
        drop(filter);
        rig.unload();
    });
}

#[test]
fn a_driver_is_stopped_and_started_with_pins_open() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        assert_eq!(number(&pin), 0);
        told(&filter);
        device.query_stop().unwrap();
        device.stop_device().unwrap();
        assert_eq!(told(&filter), "QueryStop pin32 Stop");
        let waits = pin.read(1);
        assert_eq!(pin.pin.state().unwrap(), KsState::PAUSE);
        let another = rig.create(&filter, 0, None);
        assert_eq!(another.pin.set_state(KsState::ACQUIRE).unwrap_err().status, STATUS_DEVICE_NOT_READY);
        assert_eq!(rig.try_open(0).unwrap_err().status, STATUS_DEVICE_NOT_READY);
        told(&filter);
        assert!(!waits.is_done());
        device.start_device().unwrap();
        assert_eq!(told(&filter), "Start PostStart pin23");
        assert_eq!(waits.wait().unwrap()[0].data()[..4], [1, 0, 0, 0]);
        drop((pin, another, filter));
        rig.unload();
    });
}

// Pin-centric: the pin is told, and the filter is not; the other way round for a filter that processes as a whole.
#[test]
fn a_drivers_objects_sleep_and_wake_in_order() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let device = device(&rig);
        for (filter, own) in [("pin", "2"), ("filter", "0")] {
            let opened = rig.open_filter(usize::from(filter == "filter"));
            let pin = running(&rig, &opened);
            told(&opened);
            device.sleep(DevicePowerState::D3).unwrap();
            let down = format!("QueryPower14 pin32 {filter}-sleep{own}4 factory-sleep04 SetPower14");
            assert_eq!(told(&opened), down);
            device.wake().unwrap();
            let up = format!("SetPower41 factory-wake01 {filter}-wake{own}1 pin23");
            let log = all_told(&opened);
            assert_eq!(calls(&log, |call| !call.contains("irp")), up);
            assert!(log.starts_with("power-irp21 SetPower41"), "{log}");
            assert_eq!(pin.pin.state().unwrap(), KsState::RUN);
            if filter == "pin" {
                number(&pin);
            }
            drop((pin, opened));
        }
        rig.unload();
    });
}

#[test]
fn power_that_a_driver_asks_for_itself_holds_its_streams() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        assert_eq!(number(&pin), 0);
        told(&filter);
        let ask = |state: u32| {
            filter.object().set_property(LIFE, POWER, &state).unwrap();
            let mut log = String::new();
            while !log.contains("powered") {
                log += &all_told(&filter);
                ks_rig::moment();
            }
            calls(&log, |_| true)
        };
        let down = "pin32 pin-sleep24 factory-sleep04 power-irp24 SetPower14 powered40";
        assert_eq!(ask(4), down);
        assert_eq!((device.power(), pin.pin.state().unwrap()), (DevicePowerState::D3, KsState::PAUSE));
        let waits = pin.read(1);
        assert_eq!(ask(4), "power-irp24 SetPower44 powered40", "it is there already");
        assert!(!waits.is_done());
        assert_eq!(ask(1), "power-irp21 SetPower41 factory-wake01 pin-wake21 pin23 powered10");
        assert_eq!(waits.wait().unwrap()[0].data()[..4], [1, 0, 0, 0], "it streams on");
        assert_eq!(ask(9), "powered91", "no such state");
        drop((pin, filter));
        rig.unload();
    });
}

/// Waits until the driver has noted these, and gives what it has noted besides.
fn noted_besides(filter: &Filter, awaited: &[&str]) -> String {
    let mut log = String::new();
    while !awaited.iter().all(|awaited| log.split(' ').any(|call| call == *awaited)) {
        log += &all_told(filter);
        ks_rig::moment();
    }
    calls(&log, |call| !awaited.contains(&call))
}

#[test]
fn power_that_a_driver_asks_for_in_the_midst_of_another_change_comes_after_it_and_holds_its_streams() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        assert_eq!(number(&pin), 0);
        told(&filter);
        let ask = |bytes: u32| filter.object().set_property(LIFE, POWER, &bytes).unwrap();
        // While it is told of D3 it asks for D0.
        ask(0x0104);
        let down = "pin32 pin-sleep24 factory-sleep04 power-irp24 SetPower14 ";
        let up = "power-irp21 SetPower41 factory-wake01 pin-wake21 pin23";
        assert_eq!(noted_besides(&filter, &["powered40", "powered10"]), format!("{down}{up}"));
        assert_eq!((device.power(), number(&pin)), (DevicePowerState::D0, 1), "it streams on");
        // The power manager puts the device to sleep, and the driver wakes it.
        for round in 0..20 {
            // A query, and the power manager's change, in whose midst the driver asks.
            filter.object().set_property(LIFE, POWER, &0x0001_0101).unwrap();
            device.set_power(DevicePowerState::D3).unwrap();
            let log = noted_besides(&filter, &["asked10", "powered10"]);
            assert_eq!(log, format!("power-irp31 QueryPower11 {down}{up}"), "round {round}");
            assert_eq!((device.power(), number(&pin)), (DevicePowerState::D0, 2 + round));
        }
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_waits_for_power_that_it_asks_for_in_its_stop_and_in_the_request_of_its_system() {
    each_seed(|| {
        const POWER_IN_STOP: u32 = 512;
        const OWNS_POLICY: u32 = 1024;
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        assert_eq!(number(&pin), 0);
        refuse(&filter, POWER_IN_STOP);
        told(&filter);
        device.query_stop().unwrap();
        device.stop_device().unwrap();
        let stopped = "QueryStop pin32 Stop pin-sleep24 factory-sleep04 SetPower14 in-stop40";
        assert_eq!(told(&filter), stopped);
        refuse(&filter, 0);
        device.start_device().unwrap();
        assert_eq!(
            (pin.pin.state().unwrap(), device.power()),
            (KsState::PAUSE, DevicePowerState::D3),
            "it sleeps still"
        );
        device.wake().unwrap();
        assert_eq!(number(&pin), 1);
        refuse(&filter, OWNS_POLICY);
        told(&filter);
        device.system_sleep(SystemPowerState::SLEEPING3).unwrap();
        let power = |log: &str| calls(log, |call| call.contains("ower") || call.contains("policy"));
        let down = "power-irp34 QueryPower11 power-irp34 QueryPower14 power-irp24 SetPower14 power-irp24 power-irp24 SetPower44 \
                policy40";
        assert_eq!(power(&all_told(&filter)), down);
        device.system_wake().unwrap();
        assert_eq!(power(&all_told(&filter)), "power-irp21 power-irp21 SetPower41 policy10 power-irp21 SetPower11");
        assert_eq!(number(&pin), 2, "it streams on");
        refuse(&filter, 0);
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_sleeps_and_wakes_with_its_system() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        assert_eq!(number(&pin), 0);
        told(&filter);
        device.system_sleep(SystemPowerState::SLEEPING3).unwrap();
        let power = |log: &str| calls(log, |call| call.contains("ower"));
        // Asked about the system (state 4 is Sleeping3), it stays in D0; then about D3.
        let down = "power-irp34 QueryPower11 power-irp34 QueryPower14 power-irp24 SetPower14 power-irp24";
        assert_eq!(power(&all_told(&filter)), down);
        device.system_wake().unwrap();
        assert_eq!(power(&all_told(&filter)), "power-irp21 power-irp21 SetPower41");
        assert_eq!(number(&pin), 1, "it streams on");
        refuse(&filter, 4);
        told(&filter);
        assert_eq!(device.system_sleep(SystemPowerState::SLEEPING3).unwrap_err().status, STATUS_DEVICE_BUSY);
        assert_eq!(power(&all_told(&filter)), "power-irp34 QueryPower11 power-irp21", "it works on");
        assert_eq!(number(&pin), 2);
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_cools_its_device_and_its_clients_hear_how_hot_it_is() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        let enable = |id| filter.object().enable_event(Scope::Object, KSEVENTSETID_Device, id).unwrap();
        let (hot, cool) = (enable(KSEVENT_DEVICE_THERMAL_HIGH), enable(KSEVENT_DEVICE_THERMAL_LOW));
        told(&filter);
        // What it is to do, what it was told that it is, and what it says: its fan runs until it is hot.
        for (cooling, wanted, state, heard) in [
            (Cooling::Engage, "fan01", ThermalState::Low, [false, false]),
            (Cooling::LimitTo(100), "limit04", ThermalState::High, [true, false]),
            (Cooling::LimitTo(75), "limit13", ThermalState::High, [false, false]),
            (Cooling::LimitTo(50), "limit12", ThermalState::Low, [false, true]),
            (Cooling::LimitTo(0), "limit00", ThermalState::Low, [false, false]),
            (Cooling::Disengage, "fan00", ThermalState::High, [true, false]),
            (Cooling::Engage, "fan11", ThermalState::Low, [false, true]),
        ] {
            device.cool(cooling).unwrap();
            assert_eq!((told(&filter).as_str(), device.thermal_state()), (wanted, state), "{cooling:?}");
            assert_eq!([&hot, &cool].map(|event| event.event().is_set()), heard, "{cooling:?}");
            [&hot, &cool].into_iter().for_each(|event| event.event().clear());
        }
        assert_eq!(device.cool(Cooling::LimitTo(101)).unwrap_err().status, STATUS_INVALID_PARAMETER);
        assert_eq!(number(&pin), 0, "it streams meanwhile");
        drop((hot, cool, pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_whose_device_is_pulled_out_is_told_and_let_go_of_when_the_last_filter_closes() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (gone, filter, other) = (device(&rig), rig.open(), rig.open());
        let pin = rig.create(&filter, 0, None);
        UP[..2].iter().for_each(|state| pin.pin.set_state(*state).unwrap());
        told(&filter);
        gone.query_stop().unwrap();
        gone.stop_device().unwrap();
        let waits = pin.read(1);
        rig.surprise_remove();
        assert_eq!(waits.wait().unwrap_err().status, STATUS_DEVICE_REMOVED);
        assert_eq!(pin.pin.set_state(KsState::STOP).unwrap_err().status, STATUS_DEVICE_REMOVED);
        assert_eq!(filter.pin_count().unwrap_err().status, STATUS_DEVICE_REMOVED);
        assert_eq!(rig.driver(0).devices().len(), 1);
        assert_eq!(gone.pnp_state(), PnpState::SurpriseRemoved);
        drop((pin, filter));
        assert_eq!(gone.remove_device(), Removal::Waits { filters: 1 });
        drop(other);
        assert_eq!((gone.pnp_state(), rig.driver(0).devices().len()), (PnpState::Deleted, 0));
        rig.driver(0).add_device().unwrap();
        let filter = rig.open();
        let log = all_told(&filter);
        // Item 9 is in the bags of both filters.
        let wanted = "irp05 QueryStop irp04 Stop irp17 SurpriseRemoval pin21 pin10 pin-close item02 item01 filter-close \
                  filter-close item09 irp02 Remove Add irp00 Start PostStart filter-create";
        assert_eq!(calls(&log, |_| true), wanted);
        assert_eq!(number(&running(&rig, &filter)), 0, "plugged in again, it works");
        drop(filter);
        rig.unload();
    });
}

/// No manager sends both: the driver's Stop comes with the request that removes its device.
#[test]
fn a_removed_device_is_stopped_by_the_request_that_removes_it() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let asked = |log: &str| calls(log, |call| call.starts_with("irp") || ["Stop", "Remove"].contains(&call));
        all_told(&rig.open());
        device(&rig).disable().unwrap();
        rig.driver(0).add_device().unwrap();
        assert_eq!(asked(&all_told(&rig.open())), "irp01 irp02 Stop Remove irp00");
        rig.surprise_remove();
        rig.driver(0).add_device().unwrap();
        assert_eq!(asked(&all_told(&rig.open())), "irp17 irp02 Stop Remove irp00");
        rig.unload();
    });
}

#[test]
fn a_driver_is_disabled_and_enabled_again() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        for _ in 0..3 {
            assert_eq!(number(&running(&rig, &rig.open())), 0);
            told(&rig.open());
            device(&rig).disable().unwrap();
            assert_eq!(rig.try_open_named("until-stop").unwrap_err().status, STATUS_OBJECT_NAME_NOT_FOUND);
            rig.driver(0).add_device().unwrap();
            let log = told(&rig.open());
            let life = calls(&log, |call| call.starts_with(char::is_uppercase));
            assert_eq!(life, "QueryRemove Stop Remove Add Start PostStart");
        }
        rig.unload();
    });
}

#[test]
fn a_driver_that_does_not_start_again_is_removed() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (gone, filter) = (device(&rig), rig.open());
        let pin = running(&rig, &filter);
        refuse(&filter, 8);
        told(&filter);
        assert_eq!(gone.rebalance().unwrap_err().status, STATUS_DEVICE_BUSY);
        assert_eq!(pin.pin.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
        drop((pin, filter));
        assert_eq!(gone.pnp_state(), PnpState::Deleted);
        assert!(rig.driver(0).add_device().unwrap_err().to_string().contains("Start failed with STATUS_DEVICE_BUSY"));
        rig.unload();
    });
}

#[test]
fn a_driver_adds_and_deletes_factories_while_it_runs() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let (device, filter) = (device(&rig), rig.open());
        let step = |step: u32| filter.object().set_property(LIFE, FACTORIES, &step).unwrap();
        let status = |name: &str| rig.try_open_named(name).map_or_else(|error| error.status, |_| STATUS_SUCCESS);
        assert_eq!(status("until-stop"), STATUS_SUCCESS, "made in Start");
        step(0);
        assert_eq!(status("added"), STATUS_OBJECT_NAME_NOT_FOUND, "its interfaces are not enabled yet");
        step(1);
        assert_eq!(status("added"), STATUS_SUCCESS);
        step(3);
        assert_eq!(status("another-name"), STATUS_SUCCESS);
        let open = rig.try_open_named("another-name").unwrap();
        step(2);
        assert_eq!(
            (status("added"), status("another-name")),
            (STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_NAME_NOT_FOUND)
        );
        step(1);
        assert_eq!(status("added"), STATUS_SUCCESS);
        step(4);
        assert_eq!(status("added"), STATUS_OBJECT_NAME_NOT_FOUND);
        assert_eq!(open.pin_count().unwrap(), 1, "a filter of it lives on");
        device.query_stop().unwrap();
        device.stop_device().unwrap();
        assert_eq!(status("until-stop"), STATUS_OBJECT_NAME_NOT_FOUND, "freed on stop");
        device.start_device().unwrap();
        assert_eq!(status("until-stop"), STATUS_SUCCESS, "made anew in Start");
        drop((open, filter));
        rig.unload();
    });
}

#[test]
fn creates_and_closes_that_a_driver_pends_are_waited_for() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let filter = rig.open();
        refuse(&filter, 32);
        told(&filter);
        let other = rig.open();
        let pin = rig.create(&other, 0, None);
        UP.into_iter().for_each(|state| pin.pin.set_state(state).unwrap());
        assert_eq!(number(&pin), 0);
        drop(pin);
        drop(other);
        let wanted = "filter-create completes pin-create pin-completes pin01 pin12 pin23 pin32 pin21 pin10 pin-close pin-completes item02 \
                  item01 filter-close completes";
        assert_eq!(told(&filter), wanted);
        refuse(&filter, 32 | 64);
        let refused = rig.try_create(&filter, 0, None).map(|_| ()).unwrap_err();
        assert_eq!(refused.status, STATUS_DEVICE_BUSY, "the status that the pended create ended with");
        refuse(&filter, 0);
        drop(filter);
        rig.unload();
    });
}

#[test]
fn a_removal_ends_creates_that_a_driver_pends_and_what_it_completes_later_is_nobodys() {
    each_seed(|| {
        const HOLD_PIN: u32 = 128;
        const HOLD_FILTER: u32 = 256;
        for (what, held) in [(HOLD_PIN, "pin-held"), (HOLD_FILTER, "filter-held")] {
            let rig = Rig::start("tests/ks/life.c");
            let (gone, other) = (device(&rig), rig.open());
            let (client, name) = (rig.client(), rig.driver(0).filters()[0].clone());
            refuse(&other, what);
            told(&other);
            let creates = ks_rig::beside(move || {
                let filter = client.open_by_name(&name)?;
                Created::try_new(&filter, 0, None).map(drop)
            });
            while !told(&other).contains(held) {
                ks_rig::moment();
            }
            rig.surprise_remove();
            assert_eq!(creates.join().unwrap_err().status, STATUS_DEVICE_REMOVED, "{held}");
            assert_eq!(gone.pnp_state(), PnpState::SurpriseRemoved, "{held}: another filter is open");
            drop(other);
            assert_eq!(gone.pnp_state(), PnpState::Deleted);
            rig.driver(0).add_device().unwrap();
            let filter = rig.open();
            let log = told(&filter);
            let life = calls(&log, |call| call.starts_with(char::is_uppercase) || call == "late");
            assert_eq!(life, "SurpriseRemoval Stop Remove late Add Start PostStart", "{held}");
            assert!(!log.contains("pin-close"), "{log}: a pin that was never made is not closed");
            assert_eq!(number(&running(&rig, &filter)), 0, "{held}: plugged in again, it works");
            drop(filter);
            rig.unload();
        }
    });
}

#[test]
fn a_client_that_cancels_has_the_cancel_routine_of_a_held_create_called() {
    each_seed(|| {
        const CANCELABLE: u32 = 2048;
        let rig = Rig::start("tests/ks/life.c");
        let (other, name) = (rig.open(), rig.driver(0).filters()[0].clone());
        for (what, held) in [(128, "pin-held"), (256, "filter-held")] {
            refuse(&other, what | CANCELABLE);
            told(&other);
            let (creator, name) = (rig.client(), name.clone());
            let creates = ks_rig::beside(move || {
                let filter = creator.open_by_name(&name)?;
                Created::try_new(&filter, 0, None).map(drop)
            });
            let mut log = String::new();
            while !log.contains(held) {
                log += &told(&other);
                ks_rig::moment();
            }
            rig.client().cancel_creates(CancelCreates::UnderWay);
            assert_eq!(creates.join().unwrap_err().status, STATUS_CANCELLED, "{held}");
            log += &told(&other);
            assert_eq!(log.matches("cancelled").count(), 1, "{log}");
            assert!(!log.contains("pin-close"), "{log}: a pin that was never made is not closed");
            // It was a cancel of what was under way, not of what comes.
            refuse(&other, 0);
            assert_eq!(number(&running(&rig, &rig.open())), 0, "{held}");
        }
        // A client that ends has cancelled before its driver can set a routine, which finds the mark.
        refuse(&other, 256 | CANCELABLE);
        told(&other);
        rig.client().cancel_creates(CancelCreates::FromNowOn);
        assert_eq!(rig.try_open(0).unwrap_err().status, STATUS_CANCELLED);
        assert!(told(&other).contains("filter-held"));
        refuse(&other, 0);
        assert_eq!(number(&running(&rig, &rig.open())), 0, "a create that does not pend is none of them");
        drop(other);
        rig.unload();
    });
}

#[test]
fn a_driver_merges_tables_and_edits_descriptors_while_it_runs() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let filter = rig.open();
        let (pin, other) = (rig.create(&filter, 0, None), rig.create(&filter, 0, None));
        assert_eq!(pin.pin.object().property::<u32>(LIFE, NUMBER).unwrap(), 1);
        assert!(pin.pin.object().property::<u32>(OTHER, NUMBER).is_err());
        assert_eq!(text(pin.pin.object(), MERGE), "");
        assert_eq!(pin.pin.object().property::<u32>(LIFE, NUMBER).unwrap(), 1, "the dominant table's entry");
        assert_eq!(pin.pin.object().property::<u32>(OTHER, NUMBER).unwrap(), 2, "what only the other has");
        assert!(other.pin.object().property::<u32>(OTHER, NUMBER).is_err(), "another pin has its own descriptor");
        assert_eq!(pin.pin.state().unwrap(), KsState::STOP, "the class driver's sets answer as before");
        drop((pin, other, filter));
        rig.unload();
    });
}

#[test]
fn a_bus_without_a_space_gives_and_takes_no_byte() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/life.c");
        let filter = rig.open();
        assert_eq!(filter.object().property::<u32>(LIFE, BUS).unwrap(), 0);
        drop(filter);
        rig.unload();
    });
}
