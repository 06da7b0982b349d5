//! What crosses the border of a driver's process besides frames: control of the pin at the other end, and time.

mod driver_rig;
mod support;

use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_STREAM_PRESENTATIONEXTENT, KSPROPERTY_STREAM_PRESENTATIONTIME,
    KSPROPERTY_STREAM_TIMEFORMAT, KSPROPERTY_TYPE_GET, KSPROPSETID_Stream, KsIdentifier, KsState, KsTime,
    STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MATCH,
};
use ks_client::{Clock, Filter, Format};
use std::process::Stdio;
use std::sync::Arc;
use zerocopy::IntoBytes;

use driver_rig::{Created, Rig, assert_nothing_runs, copied, create, hosts_of, of_tests, sample};
use support::{Ran, Scratch, ks, ks_command, tool};

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

/// Each of two devices from files of one name has a link of its own, and its clients open its device by it.
#[test]
fn the_link_of_a_driver_without_avstream_leads_to_its_own_device_in_every_process() {
    const KS10: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e10);
    let rig = Rig::new();
    let hosted = [rig.start(&sample("ks10")), rig.start(&sample("ks10"))];
    for one in &hosted {
        let filter = one.open();
        let (status, name) = driver_rig::ask(&filter, KS10, 1, KSPROPERTY_TYPE_GET, 512);
        assert!(status.is_success(), "{status}");
        let units: Vec<u16> = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let link = String::from_utf16(&units).expect("a link").replacen(r"\??\", r"\\?\", 1);
        assert!(link.eq_ignore_ascii_case(&one.link()), "{link}, not {}", one.link());
        let again = rig.client.open(&link).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.pins().expect("its pins").len(), 2);
    }
    assert_ne!(hosted[0].link(), hosted[1].link());
    hosted.into_iter().for_each(driver_rig::Hosted::stop_in_order);
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

/// What a check says, once the clock that it is about is in the state that it is asked in.
fn said_in_state(pin: &Created, check: u32) -> String {
    loop {
        // The test program's own limit ends a wait for a state that never comes.
        match said(pin, check) {
            words if words.contains("GetState") => std::thread::yield_now(),
            words => return words,
        }
    }
}

/// Has a pin go by another pin's clock.
#[track_caller]
fn follow(master: &Created, pin: &Created) -> Clock {
    let clock = master.pin.create_clock().expect("the pin has a clock");
    pin.pin.set_master_clock(Some(&clock)).expect("a clock of another process");
    clock
}

#[test]
fn a_driver_goes_by_the_clock_of_another_process() {
    let rig = Rig::new();
    let driver = of_tests("avs/follow", &[]);
    let (giving, taking) = (rig.start(&driver), rig.start(&driver));
    let (giver, taker) = (giving.open(), taking.open());
    let (master, pin) = (create(&giver, 1, None), create(&taker, 0, None));
    let clock = follow(&master, &pin);
    assert_eq!(said(&pin, 0), "");
    let go = |state| master.pin.set_state(state).unwrap_or_else(|error| panic!("{error}"));
    go(KsState::RUN);
    assert_eq!(said_in_state(&pin, 1), "");
    // The pin keeps the clock; its client need not.
    drop(clock);
    for (state, check) in [(KsState::PAUSE, 2), (KsState::RUN, 1), (KsState::PAUSE, 2)] {
        go(state);
        assert_eq!(said_in_state(&pin, check), "");
    }
    // The driver keeps what it was given, as long as it wants.
    pin.pin.set_master_clock(None).expect("no clock");
    go(KsState::RUN);
    assert_eq!(said_in_state(&pin, 1), "");
    go(KsState::STOP);
    assert_eq!(said(&pin, 4), "");

    // A clock of a driver's own time.
    let half = create(&giver, 2, None);
    let clock = follow(&half, &pin);
    for state in [KsState::STOP, KsState::RUN, KsState::STOP] {
        half.pin.set_state(state).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(said(&pin, 5), "");
    }
    pin.pin.set_master_clock(None).expect("no clock");
    drop((clock, half, master, pin, giver, taker));
    giving.stop_in_order();
    taking.stop_in_order();
}

#[test]
fn a_driver_hears_of_the_times_of_a_clock_in_another_process() {
    let rig = Rig::new();
    let driver = of_tests("avs/follow", &[]);
    ks_stream::Device::start(&rig.io, "camera", vec![Arc::new(ks_filters::test_camera::descriptor())])
        .expect("a device");
    let (giving, taking) = (rig.start(&driver), rig.start(&driver));
    let (giver, taker) = (giving.open(), taking.open());
    let far = create(&giver, 1, None);
    let camera = rig.client.open_by_name("test-camera").expect("the camera");
    let near = camera.create_client_pin(0).expect("a pin");
    let keeper = create(&taker, 3, None);
    for master in [&far.pin, &near] {
        let clock = master.create_clock().expect("the pin has a clock");
        keeper.pin.set_master_clock(Some(&clock)).expect("the driver takes it");
        master.set_state(KsState::RUN).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(said(&keeper, 6), "");
        master.set_state(KsState::STOP).unwrap_or_else(|error| panic!("{error}"));
        keeper.pin.set_master_clock(None).expect("the driver lets go");
    }
    drop((keeper, near, camera, far, giver, taker));
    giving.stop_in_order();
    taking.stop_in_order();
}

#[test]
fn a_driver_is_told_that_the_process_of_its_clock_has_ended() {
    let rig = Rig::new();
    let driver = of_tests("avs/follow", &[]);
    let (giving, taking) = (rig.start(&driver), rig.start(&driver));
    let (giver, taker) = (giving.open(), taking.open());
    let (master, pin) = (create(&giver, 1, None), create(&taker, 0, None));
    let clock = follow(&master, &pin);
    assert_eq!(said(&pin, 0), "");
    master.pin.set_state(KsState::RUN).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said_in_state(&pin, 1), "");
    tool("kill", &["-9", &giving.host.process_id().to_string()]).done();
    assert_eq!(said_in_state(&pin, 3), "");
    assert_eq!(said(&pin, 4), "");
    let again = pin.pin.set_master_clock(Some(&clock));
    assert_eq!(again.expect_err("the process has ended").status, STATUS_DEVICE_REMOVED);
    drop((clock, master, pin, giver, taker));
    taking.stop_in_order();
}

#[test]
fn a_graph_goes_by_one_clock_through_every_process() {
    let scratch = Scratch::new();
    let mirror = copied(&scratch, &sample("mirror"));
    // Each in a process of its own.
    let other = scratch.path("other.sys");
    std::fs::copy(&mirror, &other).expect("a copy of the driver");
    let graph = format!("test-camera width=64 height=48 ! {mirror} ! {other} ! null-renderer frames=10");
    let ran = ks(&["run", &graph, "--json"]).done();
    let document = ran.json();
    assert_eq!(document["clock"].as_str(), Some("test-camera.0"), "{ran}");
    assert_eq!(document.get("clock_refused"), None, "six pins in three processes go by it: {ran}");
}

/// The pin's format with another sample size.
fn sized(created: &Created, bytes: u32) -> Format {
    let mut format = created.format.bytes().to_vec();
    format[8..12].copy_from_slice(&bytes.to_le_bytes());
    Format::from_bytes(&format).expect("a format")
}

#[test]
fn a_driver_in_another_process_is_asked_before_the_format_of_its_stream_changes() {
    let rig = Rig::new();
    let driver = of_tests("avs/quality", &[]);
    let (giving, taking) = (rig.start(&driver), rig.start(&driver));
    let (from, to) = (giving.open(), taking.open());
    let sink = create(&to, 0, None);
    let source = create(&from, 1, Some(&sink));
    for pin in [&source, &sink] {
        assert_eq!(said(pin, 4), "");
    }
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        [&sink, &source].iter().for_each(|one| one.pin.set_state(state).unwrap_or_else(|error| panic!("{error}")));
    }
    let arrive = |frames| {
        assert_eq!(said(&source, 0), "", "three frames more");
        while sink.pin.statistics().expect("statistics").frames < frames {
            assert_eq!((source.pin.failure(), sink.pin.failure()), (None, None));
            std::thread::yield_now();
        }
    };
    arrive(3);
    // The driver of the sink says no to the proposal: no frame tells of the change, and the stream goes on.
    let refused = source.pin.set_format(&sized(&source, 13)).expect_err("the sink does not take it");
    assert_eq!(refused.status, STATUS_NO_MATCH);
    assert!(refused.reason().contains("does not take"), "{refused}");
    assert_eq!(source.pin.format().expect("a format").bytes(), source.format.bytes());
    arrive(6);
    let other = sized(&source, 20);
    source.pin.set_format(&other).expect("both take it");
    arrive(9);
    for pin in [&source.pin, &sink.pin] {
        assert_eq!(pin.format().expect("a format").bytes(), other.bytes());
    }
    for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
        [&source, &sink].iter().for_each(|one| one.pin.set_state(state).unwrap_or_else(|error| panic!("{error}")));
    }
    drop((source, sink, from, to));
    giving.stop_in_order();
    taking.stop_in_order();
}

#[test]
fn a_graph_goes_by_the_clock_that_a_driver_offers() {
    let scratch = Scratch::new();
    let pulse = copied(&scratch, &of_tests("avs/pulse", &[]));
    let (driver, camera) = (format!("{pulse} ! null-renderer frames=10"), "test-camera ! null-renderer frames=5");
    let graphs = [
        (driver.clone(), "pulse.0"),
        (format!("{driver} {camera}"), "pulse.0"),
        (format!("{camera} {driver}"), "test-camera.0"),
    ];
    for (graph, clock) in graphs {
        let ran = ks(&["run", &graph, "--json"]).done();
        let document = ran.json();
        assert_eq!(document["clock"].as_str(), Some(clock), "the first source that has one: {ran}");
        assert_eq!(document.get("clock_refused"), None, "every pin goes by it: {ran}");
    }
}

/// A live camera waits for times of a clock that is there no more.
#[test]
fn a_graph_whose_clock_dies_ends_and_names_it() {
    let scratch = Scratch::new();
    let (pulse, file) = (copied(&scratch, &of_tests("avs/pulse", &[])), scratch.path("by-its-clock.y4m"));
    let picture = 64 * 48 * 3 / 2;
    let graph = format!("{pulse} ! null-renderer test-camera width=64 height=48 live=true ! y4m-writer path={file}");
    let run = ks_command(&["run", &graph]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ks runs");
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < 3 * picture {
        std::thread::yield_now();
    }
    for host in hosts_of(scratch.directory()) {
        tool("kill", &["-9", &host.to_string()]).done();
    }
    let ran = Ran::from(run.wait_with_output().expect("the end"));
    let ran = ran.refused(1, &["pulse.sys", "signal 9"]);
    assert!(format!("{ran}").contains("clock: pulse.0"), "{ran}");
    let bytes = std::fs::read(&file).expect("the file");
    let header = bytes.iter().position(|byte| *byte == b'\n').expect("a header") as u64 + 1;
    assert_eq!((bytes.len() as u64 - header) % (6 + picture), 0, "whole frames\n{ran}");
    assert_nothing_runs(&scratch);
}

/// Of 8-bit stereo at 44.1 kHz, whose times are counted in bytes: 88,200 a second.
#[test]
fn times_in_the_units_of_a_stream_are_the_same_in_every_process() {
    let rig = Rig::new();
    let driver = of_tests("avs/times", &[]);
    let (giving, taking) = (rig.start(&driver), rig.start(&driver));
    let (from, to) = (giving.open(), taking.open());
    let sink = create(&to, 0, None);
    let source = create(&from, 1, Some(&sink));
    let object = source.pin.object();
    let time = |quarters: i64| KsTime { time: quarters * 22_050, numerator: 10_000_000, denominator: 88_200 };
    let now = || object.property::<KsTime>(KSPROPSETID_Stream, KSPROPERTY_STREAM_PRESENTATIONTIME).expect("a time");
    assert_eq!(now(), time(0));
    let extent = object.property::<i64>(KSPROPSETID_Stream, KSPROPERTY_STREAM_PRESENTATIONEXTENT);
    assert_eq!(extent.expect("an extent"), 882_000, "in the same units");
    let format = object.property::<Guid>(KSPROPSETID_Stream, KSPROPERTY_STREAM_TIMEFORMAT).expect("a format");
    assert_eq!(format, ks_abi::KSTIME_FORMAT_BYTE);
    // A limit of real time ends at the frame that reaches it, a second behind the first.
    sink.pin.set_limit(0, 10_000_000).expect("a limit");
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        [&sink, &source].iter().for_each(|one| one.pin.set_state(state).unwrap_or_else(|error| panic!("{error}")));
    }
    while sink.pin.statistics().expect("statistics").ended == 0 {
        std::thread::yield_now();
    }
    assert_eq!(said(&sink, 1), "", "the driver sees what the other has written");
    assert_eq!(sink.pin.statistics().expect("statistics").frames, 5, "the fifth begins a second behind the first");
    for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
        [&source, &sink].iter().for_each(|one| one.pin.set_state(state).unwrap_or_else(|error| panic!("{error}")));
    }
    assert!(now().time >= time(5).time && now().denominator == 88_200);
    drop((source, sink, from, to));
    giving.stop_in_order();
    taking.stop_in_order();
}

/// What the pins of `states.c` are told and tell.
mod row {
    use super::*;

    const ROW: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e93);
    const REFUSE: u32 = 0;
    const STEPS: u32 = 1;
    const ALLOW: u32 = 2;
    const COUNTS: u32 = 3;

    fn ask(pin: &Created, id: u32) -> Vec<u32> {
        let request = KsIdentifier { set: ROW, id, flags: KSPROPERTY_TYPE_GET };
        let mut answer = vec![0; 16 << 10];
        let outcome = pin.pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        let words = answer[..outcome.information].chunks_exact(4);
        words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    }

    pub(super) fn refuse(pin: &Created, from: KsState, to: KsState) {
        let refusal = [from.0, to.0, STATUS_INSUFFICIENT_RESOURCES.0];
        pin.pin.object().set_property(ROW, REFUSE, &refusal).expect("the driver listens");
    }

    /// DeviceState and ClientState, and behind them of each step what it led from and to, and what both were then.
    pub(super) fn steps(pin: &Created) -> Vec<u32> {
        ask(pin, STEPS)
    }

    pub(super) fn allow(pin: &Created, frames: u32) {
        pin.pin.object().set_property(ROW, ALLOW, &frames).expect("the driver listens");
    }

    /// Frames that arrived, how many out of order, how many missing, and through how many filters the last one came.
    pub(super) fn arrived(pin: &Created) -> [u32; 4] {
        ask(pin, COUNTS)[1..].try_into().expect("five numbers")
    }
}

/// A source and a sink in one process, and between them a filter of another that works in place.
#[test]
fn a_step_that_a_pin_of_any_process_refuses_is_told_and_leaves_the_pipe_as_it_was() {
    const STATES: [KsState; 4] = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
    let rig = Rig::new();
    let driver = of_tests("avs/states", &[]);
    let (ends, between) = (rig.start(&driver), rig.start(&driver));
    let filters = [ends.open_named("0d90}"), between.open_named("0d91}"), ends.open_named("0d92}")];
    let sink = create(&filters[2], 0, None);
    let out = create(&filters[1], 1, Some(&sink));
    let input = create(&filters[1], 0, None);
    let source = create(&filters[0], 0, Some(&input));
    let pins = [source, input, out, sink];
    let set = |pin: &Created, state| pin.pin.set_state(state).unwrap_or_else(|error| panic!("{error}"));
    let mut frames = 0;
    for at in 0..pins.len() {
        for (from, to) in STATES.into_iter().zip(&STATES[1..]) {
            let case = format!("pin {at} refuses {from} to {to}");
            for state in STATES.into_iter().filter(|state| *state > KsState::STOP && *state <= from) {
                pins.iter().rev().for_each(|pin| set(pin, state));
            }
            pins.iter().for_each(|pin| drop(row::steps(pin)));
            row::refuse(&pins[at], from, *to);
            for (index, pin) in pins.iter().enumerate().rev() {
                let outcome = pin.pin.set_state(*to).map_err(|error| error.status);
                let (wanted, is) = if index == at { (Err(STATUS_INSUFFICIENT_RESOURCES), from) } else { (Ok(()), *to) };
                assert_eq!((outcome, pin.pin.state().expect("a state")), (wanted, is), "{case}");
                assert_eq!(row::steps(pin), [is.0, is.0, from.0, to.0, to.0, to.0], "{case}: pin {index}");
            }
            pins.iter().for_each(|pin| set(pin, from));
            row::refuse(&pins[at], KsState::STOP, KsState::STOP);
            for state in STATES.into_iter().filter(|state| *state > from) {
                pins.iter().rev().for_each(|pin| set(pin, state));
            }
            frames += 8;
            row::allow(&pins[0], 8);
            // The test program's own limit ends a wait for what never comes.
            while row::arrived(&pins[3])[0] < frames {
                assert_eq!(pins.iter().find_map(|pin| pin.pin.failure()), None, "{case}");
                std::thread::yield_now();
            }
            assert_eq!(row::arrived(&pins[3]), [frames, 0, 0, 1], "{case}");
            for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
                pins.iter().for_each(|pin| set(pin, state));
            }
        }
    }
    drop((pins, filters));
    for hosted in [ends, between] {
        hosted.stop_in_order();
    }
}
