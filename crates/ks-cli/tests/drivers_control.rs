//! What crosses the border of a driver's process besides frames: control of the pin at the other end, and time.

mod driver_rig;
mod support;

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState};
use ks_client::Filter;
use zerocopy::IntoBytes;

use driver_rig::{Created, Rig, copied, create, of_tests, sample};
use support::{Scratch, ks};

/// What a driver's own check of a pin says has failed.
fn said(pin: &Created, check: u32) -> String {
    const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = pin.pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    String::from_utf8_lossy(&answer[..outcome.information]).into_owned()
}

/// As of two drivers that `--together` puts into one process, and of two that have a process each.
#[test]
fn two_drivers_of_one_process_agree_a_private_interface_and_two_of_several_do_not() {
    const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
    const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];
    let bring = |pin: &Created, steps: [KsState; 3]| {
        steps.into_iter().for_each(|state| pin.pin.set_state(state).unwrap_or_else(|error| panic!("{error}")));
    };
    let drivers = ["avs/exchange_source", "avs/exchange_sink"].map(|name| of_tests(name, &[]));
    let rig = Rig::new();
    let exchange = |from: Filter, to: Filter, sink_pin: u32, of_sink: u32, of_source: u32| {
        let sink = create(&to, sink_pin, None);
        let source = create(&from, 0, Some(&sink));
        bring(&sink, UP);
        bring(&source, UP);
        // They come on other threads. The test program's own limit ends a wait for what never comes.
        while !said(&sink, of_sink).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(said(&source, of_source), "");
        bring(&source, DOWN);
        bring(&sink, DOWN);
        assert_eq!(said(&sink, 2), "", "the interface was let go");
    };
    let together = rig.start_together(&drivers);
    exchange(together.open_of(0), together.open_of(1), 0, 0, 0);
    // A sink that knows no protocol is given the frames as usual.
    exchange(together.open_of(0), together.open_of(1), 1, 1, 1);
    together.stop_in_order();
    let [source, sink] = drivers.map(|driver| rig.start(&driver));
    exchange(source.open(), sink.open(), 0, 1, 3);
    source.stop_in_order();
    sink.stop_in_order();
}

#[test]
fn a_pin_controls_the_foreign_pin_that_it_is_connected_to() {
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
