//! What crosses the border of a driver's process besides frames: control of the pin at the other end, and time.

mod driver_rig;
mod support;

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier};
use zerocopy::IntoBytes;

use driver_rig::{Created, Rig, copied, create, of_tests, sample};
use support::{Scratch, ks};

#[test]
fn a_pin_controls_the_foreign_pin_that_it_is_connected_to() {
    const CONTROLS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let said = |pin: &Created, check: u32| {
        let request = KsIdentifier { set: CONTROLS, id: check, flags: KSPROPERTY_TYPE_GET };
        let mut answer = [0; 200];
        let outcome = pin.pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        String::from_utf8_lossy(&answer[..outcome.information]).into_owned()
    };
    let rig = Rig::new();
    let driver = of_tests("ks/control", &[]);
    let (from, to) = (rig.start(&driver), rig.start(&sample("drain")));
    let (source, sink) = (from.open(), to.open());
    let into = create(&sink, 0, None);
    let out = create(&source, 0, Some(&into));
    assert_eq!(said(&out, 3), "", "the pin of another process");
    let (counter, other) = (rig.start(&sample("counter")), from.open());
    let numbers = counter.open();
    let taking = create(&other, 1, None);
    let giving = create(&numbers, 0, Some(&taking));
    assert_eq!(said(&taking, 4), "", "a pin that takes requests");
    drop((giving, taking, out, into, numbers, other, source, sink));
    for hosted in [from, to, counter] {
        hosted.stop_in_order();
    }
}

#[test]
fn the_latency_of_each_connection_between_processes_is_measured() {
    let scratch = Scratch::new();
    let [camera, mirror] = ["synthcam", "mirror"].map(|name| copied(&scratch, &sample(name)));
    let ran = ks(&["run", &format!("{camera} ! {mirror} ! null-renderer frames=10"), "--json"]).done();
    let document = ran.json();
    let elapsed_ns = document["elapsed_ns"].as_u64().expect("a time");
    for connection in document["connections"].as_array().expect("connections") {
        let [p50, p99] = ["p50", "p99"].map(|name| connection["latency_ns"][name].as_u64().unwrap_or(0));
        // Engines that started at other times have other clocks: no frame was under way before the run or after it.
        assert!(0 < p50 && p50 <= p99 && p99 < elapsed_ns, "{ran}");
    }
}
