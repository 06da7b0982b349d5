//! What AVStream does with the queues, gates and connections of a driver's pins, asked from driver code.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, IoControlCode, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSDATAFORMAT_ATTRIBUTES, KSEVENT_CLOCK_POSITION_MARK,
    KSEVENT_TYPE_ENABLE, KSEVENTF_EVENT_HANDLE, KSEVENTSETID_Clock, KSNAME_Clock, KSPROPERTY_CLOCK_TIME,
    KSPROPERTY_TYPE_GET, KSPROPSETID_Clock, KsAllocatorFraming, KsAttribute, KsEvent, KsEventData, KsEventTimeMark,
    KsIdentifier, KsMultipleItem, KsProperty, KsState,
};
use ks_client::{Connect, Format, Object, Pin};
use ks_io::AccessMask;
use ks_rig::{Rig, each_seed, play};
use zerocopy::IntoBytes;

/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];

/// What failed of a check of the driver's own.
fn failure(object: &Object, check: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

fn bring(pin: &Pin, states: &[KsState]) {
    states.iter().for_each(|state| pin.set_state(*state).unwrap());
}

#[test]
fn a_driver_keeps_frames_between_its_edges() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/edges.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        bring(&pin.pin, &UP);
        let read = pin.read(3);
        assert_eq!(failure(pin.pin.object(), 0), "");
        assert!(!read.is_done(), "the third frame is between the edges");
        assert_eq!(failure(pin.pin.object(), 1), "");
        let used: Vec<u32> = read.wait().unwrap().iter().map(|frame| frame.header.data_used).collect();
        assert_eq!(used, [10, 64, 0]);
        let read = pin.read(1);
        assert_eq!(failure(pin.pin.object(), 2), "");
        read.cancel();
        assert_eq!(read.wait().unwrap_err().status, ks_abi::STATUS_CANCELLED, "between the edges it can be cancelled");
        let other = rig.create(&filter, 1, None);
        assert_eq!(failure(other.pin.object(), 3), "");
        bring(&pin.pin, &DOWN);
        drop((pin, other, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_injects_frames_and_gets_them_back() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/inject.c");
        let filter = rig.open();
        let sink = rig.create(&filter, 2, None);
        let source = rig.create(&filter, 0, Some(&sink));
        assert_eq!(failure(source.pin.object(), 0), "", "in STOP");
        bring(&sink.pin, &UP);
        bring(&source.pin, &UP);
        assert_eq!(failure(source.pin.object(), 1), "");
        bring(&source.pin, &DOWN);
        bring(&sink.pin, &DOWN);
        drop((source, sink, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_is_told_of_each_request_that_came_round() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/inject.c");
        let filter = rig.open();
        let sink = rig.create(&filter, 2, None);
        let source = rig.create(&filter, 1, Some(&sink));
        bring(&sink.pin, &UP);
        bring(&source.pin, &UP);
        assert_eq!(failure(source.pin.object(), 2), "");
        bring(&source.pin, &DOWN);
        bring(&sink.pin, &DOWN);
        drop((source, sink, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_steps_through_the_mappings_of_its_frames() {
    each_seed(|| {
        mappings(&[]);
    });
}

#[test]
fn a_driver_steps_through_the_mappings_of_an_adapter_that_it_registered_by_its_device() {
    each_seed(|| {
        mappings(&["-DBY_INTERFACE"]);
    });
}

fn mappings(options: &[&str]) {
    let rig = Rig::start_with(&["tests/avs/mappings.c"], options);
    let filter = rig.open();
    let pin = rig.create(&filter, 0, None);
    bring(&pin.pin, &UP);
    let read = pin.read(2);
    assert_eq!(failure(pin.pin.object(), 0), "");
    let frames = read.wait().unwrap();
    assert_eq!(String::from_utf8_lossy(&frames[0].data()), ["a".repeat(24), "b".repeat(24), "c".repeat(16)].concat());
    assert_eq!(frames[1].header.data_used, 0);
    bring(&pin.pin, &DOWN);
    drop((pin, filter));
    rig.unload();
}

#[test]
fn pins_behind_a_drivers_gate_process_as_the_gate_says() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/gates.c");
        let filter = rig.open();
        let inputs = [rig.create(&filter, 0, None), rig.create(&filter, 0, None)];
        let output = rig.create(&filter, 1, None);
        let check = |number| assert_eq!(failure(output.pin.object(), number), "", "check {number}");
        let all = [&output.pin, &inputs[0].pin, &inputs[1].pin];
        check(0);
        all.iter().for_each(|pin| bring(pin, &UP));
        let read = output.read(1);
        inputs[1].write(&[1; 64]).wait().unwrap();
        read.wait().unwrap();
        check(2);
        all.iter().for_each(|pin| bring(pin, &DOWN));
        check(1);
        all.iter().for_each(|pin| bring(pin, &UP));
        let read = output.read(1);
        let first = inputs[0].write(&[1; 64]);
        check(3);
        inputs[1].write(&[1; 64]).wait().unwrap();
        first.wait().unwrap();
        read.wait().unwrap();
        check(4);
        all.iter().for_each(|pin| bring(pin, &DOWN));
        check(5);
        drop((inputs, output, filter));
        rig.unload();
    });
}

/// The flags of a frame without data reach a frame of the output that comes later, and the driver is not called.
#[test]
fn flags_without_data_pass_a_driver_by_and_wait_for_a_frame() {
    each_seed(|| {
        const GAP: u32 = ks_abi::KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY;
        const END: u32 = ks_abi::KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        let rig = Rig::start("tests/avs/passes.c");
        let filter = rig.open();
        let (input, output) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
        for pin in [&output, &input] {
            bring(&pin.pin, &UP);
        }
        let say = |flags| {
            let mut frame = input.pin.allocate(64).unwrap();
            assert!(frame.fill(&[]));
            frame.header.options_flags = flags;
            input.pin.write_stream(vec![frame]).unwrap().wait().unwrap();
        };
        say(GAP);
        let read = output.read(1).wait().unwrap();
        assert_eq!((read[0].data().len(), read[0].header.options_flags), (0, GAP));
        assert_eq!(failure(output.pin.object(), 0), "");
        // Data goes through the driver, and the end of the stream by it again.
        let read = output.read(1);
        input.write(&[5; 64]).wait().unwrap();
        assert_eq!(read.wait().unwrap()[0].data(), [5; 64]);
        assert_eq!(failure(output.pin.object(), 1), "");
        say(END);
        let read = output.read(1).wait().unwrap();
        assert_eq!((read[0].data().len(), read[0].header.options_flags), (0, END));
        for pin in [&input, &output] {
            bring(&pin.pin, &DOWN);
        }
        drop((input, output, filter));
        rig.unload();
    });
}

#[test]
fn a_filter_whose_pins_need_no_frames_is_called_by_a_change_of_state() {
    each_seed(|| {
        for (options, check) in [(&["-DNO_FRAMES"][..], 2), (&[], 0)] {
            let rig = Rig::start_with(&["tests/avs/passes.c"], options);
            let filter = rig.open();
            let (input, output) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
            bring(&output.pin, &UP[..2]);
            assert_eq!(failure(output.pin.object(), 0), "");
            bring(&input.pin, &UP[..2]);
            eventually(output.pin.object(), check);
            for pin in [&input, &output] {
                bring(&pin.pin, &DOWN[1..]);
            }
            drop((input, output, filter));
            rig.unload();
        }
    });
}

#[test]
fn a_codecs_input_waits_behind_the_end_of_a_stream_until_its_output_has_said_it() {
    each_seed(|| {
        const END: u32 = ks_abi::KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        for options in [&[][..], &["-DWHOLE"]] {
            let rig = Rig::start_with(&["tests/avs/ends.c"], options);
            let filter = rig.open();
            let (input, output) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
            for pin in [&output, &input] {
                bring(&pin.pin, &UP);
            }
            let mut last = input.pin.allocate(64).unwrap();
            assert!(last.fill(&[1; 64]));
            last.header.options_flags = END;
            input.pin.write_stream(vec![last]).unwrap().wait().unwrap();
            let next = [2, 3].map(|byte| input.write(&[byte; 64]));
            assert_eq!(failure(input.pin.object(), 0), "", "{options:?}");
            assert!(!next[0].is_done());
            let read = output.read(1);
            assert_eq!(failure(output.pin.object(), 1), "");
            assert_eq!(read.wait().unwrap()[0].header.options_flags & END, END);
            for request in next {
                request.wait().unwrap();
            }
            assert_eq!(failure(input.pin.object(), 2), "", "{options:?}");
            for pin in [&input, &output] {
                bring(&pin.pin, &DOWN);
            }
            drop((input, output, filter));
            rig.unload();
        }
    });
}

/// Checks that follow frames which travel on other threads: asked until they hold. The test program's own limit ends a
/// wait for what never comes.
fn eventually(object: &Object, check: u32) {
    while !failure(object, check).is_empty() {
        ks_rig::moment();
    }
}

#[test]
fn two_drivers_agree_an_interface_and_exchange_frames_without_requests() {
    each_seed(|| {
        let rig = Rig::start_all(&["tests/avs/exchange_source.c", "tests/avs/exchange_sink.c"]);
        let (from, to) = (rig.open_of(0), rig.open_of(1));
        for (sink_pin, of_source, of_sink) in [(0, 0, 0), (1, 1, 1)] {
            let sink = rig.create(&to, sink_pin, None);
            let source = rig.create(&from, 0, Some(&sink));
            bring(&sink.pin, &UP);
            bring(&source.pin, &UP);
            eventually(sink.pin.object(), of_sink);
            assert_eq!(failure(sink.pin.object(), 4), "");
            assert_eq!(failure(source.pin.object(), of_source), "", "sink {sink_pin}");
            bring(&source.pin, &DOWN);
            bring(&sink.pin, &DOWN);
            assert_eq!(failure(sink.pin.object(), 2), "");
        }
        // A client is the other end.
        let source = rig.create(&from, 0, None);
        bring(&source.pin, &UP);
        let read = source.read(1);
        assert_eq!(read.wait().unwrap()[0].data(), [0]);
        assert_eq!(failure(source.pin.object(), 2), "");
        bring(&source.pin, &DOWN);
        drop((source, from, to));
        rig.unload();
    });
}

#[test]
fn a_pins_own_clock_tells_its_time_and_sets_its_timers() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/clock.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        let object = pin.pin.object();
        assert_eq!(failure(object, 0), "");
        let transport = object.transport();
        let access = AccessMask::GENERIC_READ;
        let clock = transport.create(object.handle(), &KSNAME_Clock.to_string(), &[0; 4], access).unwrap();
        let request = KsProperty::new(KSPROPSETID_Clock, KSPROPERTY_CLOCK_TIME, KSPROPERTY_TYPE_GET);
        let mut time = [0; 8];
        let outcome = transport.device_io_control(clock, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut time);
        assert!(outcome.status.is_success());
        assert_eq!(i64::from_le_bytes(time), 1234, "a client of the clock object is told the driver's time");
        let (handle, event) = transport.create_event().unwrap();
        let mut mark = KsEventTimeMark { mark_time: 5000, ..KsEventTimeMark::default() };
        mark.event_data =
            KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..KsEventData::default() };
        let request = KsEvent::new(KSEVENTSETID_Clock, KSEVENT_CLOCK_POSITION_MARK, KSEVENT_TYPE_ENABLE);
        let mut data = mark.as_bytes().to_vec();
        let outcome = transport.device_io_control(clock, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), &mut data);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        bring(&pin.pin, &UP);
        let _ = event.wait();
        assert_eq!(failure(object, 1), "");
        bring(&pin.pin, &DOWN);
        let _ = transport.close(clock);
        let _ = transport.close(handle);
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_pins_own_allocator_serves_drivers() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/clock.c");
        let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
        let framing = |frame_size| KsAllocatorFraming { flags, frames: 2, frame_size, ..KsAllocatorFraming::default() };
        let filter = rig.open();
        let pin = rig.create(&filter, 1, None);
        let allocator = pin.pin.create_allocator(&framing(128)).unwrap();
        let frame = allocator.allocate().unwrap();
        assert_eq!(failure(pin.pin.object(), 4), "");
        allocator.free(frame).unwrap();
        drop((allocator, pin, filter));

        let filter = rig.open_as_driver();
        let pin = rig.create(&filter, 1, None);
        let refused = pin.pin.create_allocator(&framing(1000)).map(drop).unwrap_err();
        assert_eq!(refused.status, ks_abi::STATUS_INSUFFICIENT_RESOURCES, "as InitializeAllocator said");
        let allocator = pin.pin.create_allocator(&framing(128)).unwrap();
        let frames = [allocator.allocate().unwrap(), allocator.allocate().unwrap()];
        assert_ne!(frames[0], frames[1]);
        assert_eq!(failure(pin.pin.object(), 2), "");
        frames.into_iter().for_each(|frame| allocator.free(frame).unwrap());
        drop(allocator);
        assert_eq!(failure(pin.pin.object(), 3), "");
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_pins_clock_is_set_by_its_driver() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/clock.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 2, None);
        assert_eq!(failure(pin.pin.object(), 5), "");
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_pin_shows_the_attributes_of_its_format() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/edges.c");
        let filter = rig.open();
        let plain = rig.create(&filter, 0, None);
        assert_eq!(failure(plain.pin.object(), 5), "");
        let mut bytes = plain.format.bytes().to_vec();
        bytes[4..8].copy_from_slice(&KSDATAFORMAT_ATTRIBUTES.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let other = Guid::from_u128(1);
        bytes.extend(KsMultipleItem { size: 8 + 32 + 24, count: 2 }.as_bytes());
        bytes.extend(KsAttribute { size: 32, flags: 0, attribute: other }.as_bytes());
        bytes.extend(0x1122_3344_5566_7788u64.to_le_bytes());
        bytes.extend(KsAttribute { size: 24, flags: 0, attribute: CHECKS }.as_bytes());
        let format = Format::from_bytes(&bytes).unwrap();
        let factory = &filter.pins().unwrap()[1];
        let connect = Connect {
            pin_id: 1,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: None,
            format: &format,
        };
        let pin = filter.create_pin(connect, factory.data_flow).unwrap();
        assert_eq!(failure(pin.object(), 4), "");
        drop((pin, plain, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_updates_process_pins_and_sees_which_outputs_follow() {
    each_seed(|| {
        let rig = Rig::start_all(&["tests/avs/splitter.c", "drain/drain.c"]);
        let splitter = rig.open_of(0);
        let input = rig.create(&splitter, 0, None);
        let (mut pins, mut filters) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let drain = rig.open_of(1);
            let sink = rig.create(&drain, 0, None);
            let output = rig.create(&splitter, 1, Some(&sink));
            pins.extend([sink, output]);
            filters.push(drain);
        }
        let all = || pins.iter().chain([&input]);
        all().for_each(|pin| bring(&pin.pin, &UP[..1]));
        let requests: Vec<_> = (0..4u8).map(|first| input.write(&[first; 64])).collect();
        // The sinks take what comes; the filter processes when its input may, and all four frames are there.
        all().for_each(|pin| bring(&pin.pin, &UP[1..]));
        for (first, request) in (1u8..).zip(requests) {
            let back = request.wait().unwrap().remove(0).data();
            assert_eq!((back[0], back[1]), (first, first - 1), "changed where it was");
        }
        assert_eq!(failure(input.pin.object(), 0), "");
        for output in pins.iter().skip(1).step_by(2) {
            assert_eq!(output.pin.statistics().unwrap().copies, 0);
        }
        all().for_each(|pin| bring(&pin.pin, &DOWN));
        drop((input, pins, filters, splitter));
        rig.unload();
    });
}

/// A source, by its pins and as a whole: the driver fills the frames of one output, and each of three clients has them.
#[test]
fn what_a_driver_fills_for_the_first_output_of_a_splitter_is_copied_to_the_others() {
    each_seed(|| {
        for options in [&[][..], &["-DWHOLE"]] {
            let rig = Rig::start_with(&["tests/avs/copies.c"], options);
            let filter = rig.open();
            let outputs = [(); 3].map(|()| rig.create(&filter, 0, None));
            let reads: Vec<_> = outputs
                .iter()
                .map(|output| {
                    bring(&output.pin, &UP[..1]);
                    (0..9).map(|_| output.read(1)).collect::<Vec<_>>()
                })
                .collect();
            for state in &UP[1..] {
                outputs.iter().rev().for_each(|output| bring(&output.pin, &[*state]));
            }
            for reads in reads {
                let firsts: Vec<u8> = reads.into_iter().map(|read| read.wait().unwrap()[0].data()[0]).collect();
                assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6, 7, 8], "{options:?}");
            }
            assert_eq!(failure(outputs[0].pin.object(), 0), "", "{options:?}");
            let copies = outputs.iter().map(|output| output.pin.statistics().unwrap().copies).collect::<Vec<_>>();
            assert_eq!(copies, [0, 9, 9]);
            outputs.iter().for_each(|output| bring(&output.pin, &DOWN));
            drop((outputs, filter));
            rig.unload();
        }
    });
}

#[test]
fn drivers_agree_on_frames_by_their_framing_or_are_refused_by_name() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/framing.c");
        for (sink, status, words) in [
            (1, ks_abi::STATUS_INVALID_PARAMETER, ["asks for frames of at least 128 bytes", ".1 takes at most 100"]),
            (2, ks_abi::STATUS_NOT_SUPPORTED, [".2 asks for memory of the type", "there is system memory only"]),
        ] {
            let (from, to) = (rig.open(), rig.open());
            let sink = rig.create(&to, sink, None);
            let source = rig.create(&from, 0, Some(&sink));
            sink.pin.set_state(KsState::ACQUIRE).unwrap();
            let refused = source.pin.set_state(KsState::ACQUIRE).unwrap_err();
            assert_eq!(refused.status, status);
            assert!(words.iter().all(|word| refused.to_string().contains(word)), "{refused}");
            assert_eq!(source.pin.state().unwrap(), KsState::STOP);
        }
        let (from, to) = (rig.open(), rig.open());
        let sink = rig.create(&to, 3, None);
        let source = rig.create(&from, 0, Some(&sink));
        for pin in [&sink, &source] {
            bring(&pin.pin, &UP);
        }
        assert_eq!(failure(source.pin.object(), 0), "");
        let pipe = source.pin.pipe().unwrap();
        let agreed: Vec<_> = pipe.agreed.iter().map(|one| (&*one.what, one.value, one.by.rsplit('.').next())).collect();
        // The source asks for the size, and the sink for its steps, the number and the alignment.
        assert_eq!(agreed, [("frames", 9, Some("3")), ("bytes", 200, Some("0")), ("alignment", 512, Some("3"))]);
        for pin in [&sink, &source] {
            bring(&pin.pin, &DOWN);
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

#[test]
fn a_driver_routes_its_own_wire_and_enters_it_in_the_cache() {
    // What it enters stays in the registry of the process: it plays once.
    play(0, || {
        use ks_abi::{KSINTERFACE_STANDARD_CONTROL, KsPinDataFlow, STATUS_NO_MATCH, STATUS_NOT_SUPPORTED};
        let rig = Rig::start("tests/avs/wires.c");
        let filter = rig.open();
        let [out, into] = filter.pins().unwrap().try_into().unwrap();
        // A filter that describes no topology has one node in mind, which each pin meets at its number.
        let topology = filter.topology().unwrap();
        let ends =
            topology.connections.iter().map(|one| (one.from_node, one.from_node_pin, one.to_node, one.to_node_pin));
        let (_, whole) = (assert!(topology.nodes.is_empty()), ks_abi::KSFILTER_NODE);
        assert_eq!(ends.collect::<Vec<_>>(), [(0, 0, whole, 0), (whole, 1, 0, 1)]);
        let format = filter.intersect(0, &out.data_ranges).unwrap();
        let create = |id, interface, medium, pin_to: Option<&Pin>| {
            let flow = if id == 0 { KsPinDataFlow::OUT } else { KsPinDataFlow::IN };
            filter.create_pin(Connect { pin_id: id, interface, medium, pin_to, format: &format }, flow)
        };
        let (streaming, control, own) = (out.interfaces[0], out.interfaces[1], out.interfaces[2]);
        assert_eq!(control.id, KSINTERFACE_STANDARD_CONTROL);
        assert_eq!(create(1, control, into.mediums[2], None).unwrap_err().status, STATUS_NOT_SUPPORTED);
        // The wire of another device, and a wire beside the standard medium.
        for (sink, source) in [(into.mediums[1], out.mediums[0]), (into.mediums[2], out.mediums[0])] {
            let sink = create(1, streaming, sink, None).unwrap();
            assert_eq!(create(0, streaming, source, Some(&sink)).unwrap_err().status, STATUS_NO_MATCH);
        }
        let sink = create(1, streaming, into.mediums[0], None).unwrap();
        let source = create(0, streaming, out.mediums[0], Some(&sink)).unwrap();
        for pin in [&sink, &source] {
            pin.set_state(KsState::RUN).unwrap();
        }
        assert_eq!(failure(source.object(), 0), "");
        // An interface of the driver's own, over the standard medium, has no transport either.
        let other = create(1, own, into.mediums[2], None).unwrap();
        let written = other.write_stream(vec![other.allocate(64).unwrap()]).unwrap().wait();
        assert_eq!(written.unwrap_err().status, ks_abi::STATUS_INVALID_DEVICE_REQUEST);
        assert_eq!(failure(sink.object(), 1), "", "entered by itself");
        assert_eq!(failure(sink.object(), 2), "", "entered with its filter");
        for pin in [&source, &sink] {
            pin.set_state(KsState::STOP).unwrap();
        }
        drop((other, source, sink, filter));
        rig.unload();
    });
}

/// The host's script for looped devices, polled, with a driver that maps pages of its own; the buffer is used by its raw
/// address, through `/proc/self/mem`.
#[test]
fn an_audio_host_plays_into_the_pages_that_a_driver_maps() {
    each_seed(|| {
        use ks_abi::{
            KSPROPERTY_AUDIO_POSITION, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
            KSPROPERTY_RTAUDIO_HWLATENCY, KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_TYPE_SET, KSPROPSETID_Audio,
            KSPROPSETID_RtAudio, KsAudioPosition, KsRtAudioBuffer, KsRtAudioBufferPropertyWithNotification,
            KsRtAudioHwLatency, STATUS_INVALID_DEVICE_STATE, STATUS_NOT_FOUND, STATUS_NOT_SUPPORTED,
        };
        use std::os::unix::fs::FileExt;
        let rig = Rig::start("tests/avs/looped.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None).pin;
        let set = KSPROPSETID_RtAudio;
        let ask = |id| {
            let request = KsRtAudioBufferPropertyWithNotification {
                property: KsProperty::new(set, id, KSPROPERTY_TYPE_GET),
                requested_buffer_size: 5000,
                notification_count: 2,
                ..Default::default()
            };
            pin.object().property_at::<KsRtAudioBuffer>(request.as_bytes(), set, id)
        };
        let refused = ask(KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION).unwrap_err();
        assert_eq!(refused.status, STATUS_NOT_SUPPORTED);
        let buffer = ask(KSPROPERTY_RTAUDIO_BUFFER).unwrap();
        assert_eq!(buffer.actual_buffer_size, 8192, "whole pages");
        assert_eq!(ask(KSPROPERTY_RTAUDIO_BUFFER).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
        let latency: KsRtAudioHwLatency = pin.object().property(set, KSPROPERTY_RTAUDIO_HWLATENCY).unwrap();
        assert_eq!(latency.fifo_size, 192);
        let register = KsProperty::new(set, KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_TYPE_SET);
        let request = [register.as_bytes(), &[0; 8]].concat();
        let outcome = pin.object().control(IoControlCode::KS_PROPERTY, &request, &mut [0; 40]);
        assert_eq!(outcome.status, STATUS_NOT_FOUND);
        let position =
            || -> KsAudioPosition { pin.object().property(KSPROPSETID_Audio, KSPROPERTY_AUDIO_POSITION).unwrap() };
        assert_eq!(position(), KsAudioPosition::default());
        let memory = std::fs::File::options().read(true).write(true).open("/proc/self/mem").unwrap();
        memory.write_all_at(&[3; 8192], buffer.buffer_address.0).unwrap();
        bring(&pin, &UP);
        let services = pin.object().transport().services().clone();
        while !failure(pin.object(), 0).is_empty() || position().play_offset == 0 {
            let _ = services.delay_until(services.now() + ks_io::Ticks::from_millis(5));
        }
        let now = position();
        assert!(now.play_offset < 8192 && now.write_offset != now.play_offset, "{now:?}");
        bring(&pin, &[KsState::PAUSE, KsState::STOP]);
        assert_eq!(position().play_offset, 0);
        bring(&pin, &[KsState::PAUSE, KsState::STOP]);
        // Safe code finds the same pages by their address, and nothing beside them.
        let transport = pin.object().transport().clone();
        let pages = transport.frame_at(buffer.buffer_address.0, 8192).unwrap();
        let mut bytes = [0; 8192];
        assert!(pages.is_shared() && pages.copy_out(0, &mut bytes) && bytes == [3; 8192]);
        assert!(transport.frame_at(buffer.buffer_address.0, 8193).is_none());
        drop(pages);
        drop((pin, filter));
        assert!(transport.frame_at(buffer.buffer_address.0, 1).is_none(), "they went with the pin");
        rig.unload();
    });
}

/// The host's script with notification: the driver references the client's event and sets it in its DPC, and has a
/// position register in a page that it maps.
#[test]
fn an_audio_host_is_notified_by_the_event_that_a_driver_references() {
    each_seed(|| {
        use ks_abi::{
            KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT,
            KSPROPERTY_TYPE_SET, KSPROPSETID_RtAudio, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE,
            STATUS_INVALID_PARAMETER, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
        };
        let rig = Rig::start_with(&["tests/avs/looped.c"], &["-DNOTIFY"]);
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None).pin;
        assert_eq!(pin.looped_buffer(5000, Some(3)).unwrap_err().status, STATUS_UNSUCCESSFUL);
        let buffer = pin.looped_buffer(5000, Some(2)).unwrap();
        assert_eq!((buffer.bytes(), buffer.packet_bytes()), (8192, Some(4096)));
        assert_eq!(pin.looped_buffer(5000, None).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
        let register = pin.position_register().unwrap();
        assert_eq!((register.offset(), register.accuracy_bytes()), (0, 192));
        let transport = pin.object().transport().clone();
        let set = |id, handle: u64| {
            let property = KsProperty::new(KSPROPSETID_RtAudio, id, KSPROPERTY_TYPE_SET);
            let request = [property.as_bytes(), &handle.to_le_bytes()].concat();
            pin.object().control(IoControlCode::KS_PROPERTY, &request, &mut []).status
        };
        let (add, remove) =
            (KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT);
        let ((first, heard), (second, unheard)) =
            (transport.create_event().unwrap(), transport.create_event().unwrap());
        // Small numbers may be handles of the driver's own: they mean nothing here.
        for wild in [0, 4, 8, 0xDEAD, u64::MAX] {
            let known = [first.0, second.0].contains(&wild);
            assert!(known || set(add, wild) == STATUS_INVALID_HANDLE, "{wild:#x}");
        }
        assert_eq!(set(remove, first.0), STATUS_INVALID_HANDLE, "not registered");
        assert_eq!((set(add, first.0), set(add, second.0)), (STATUS_SUCCESS, STATUS_SUCCESS));
        assert_eq!(set(add, first.0), STATUS_INVALID_PARAMETER, "the driver knows the object again");
        assert_eq!(set(remove, second.0), STATUS_SUCCESS);
        assert_eq!(set(remove, second.0), STATUS_INVALID_HANDLE, "not any more");
        buffer.write(0, &[3; 8192]);
        bring(&pin, &UP);
        let _ = heard.wait();
        let event = buffer.notification().unwrap();
        for _ in 0..3 {
            let _ = event.wait();
            event.clear();
        }
        bring(&pin, &[KsState::PAUSE]);
        assert!(!unheard.is_set());
        assert_eq!(failure(pin.object(), 0), "", "it has read what was written");
        let offset = register.offset();
        assert_eq!(offset, pin.audio_position().unwrap().play_offset);
        assert!(offset < 8192);
        bring(&pin, &[KsState::STOP, KsState::PAUSE, KsState::STOP]);
        // The others are still registered: the driver lets go of them when the pin closes.
        drop((register, buffer, pin, filter));
        let gone = [first, second].map(|handle| transport.close(handle).status);
        assert_eq!(gone, [STATUS_SUCCESS; 2]);
        rig.unload();
    });
}

#[test]
fn a_camera_publishes_profiles_and_nothing_else_does() {
    each_seed(|| {
        for (options, check) in [(&["-DCAMERA", "-DBY_REFERENCE"][..], 0), (&["-DCAMERA"], 2), (&["-DBY_REFERENCE"], 1)]
        {
            let rig = Rig::start_with(&["tests/avs/profile.c"], options);
            let filter = rig.open();
            let pin = rig.create(&filter, 0, None).pin;
            assert_eq!(failure(pin.object(), check), "");
            drop((pin, filter));
            rig.unload();
        }
    });
}

#[test]
fn names_of_pins_and_nodes_are_those_that_the_registry_has_for_their_guids() {
    // What it registers stays in the registry of the process: it plays once.
    play(0, || {
        use ks_abi::{
            KSPROPERTY_PIN_NAME, KSPROPERTY_TOPOLOGY_NAME, KSPROPERTY_TYPE_GET, KSPROPSETID_Pin, KSPROPSETID_Topology,
        };
        let rig = Rig::start("tests/avs/names.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None).pin;
        // Both requests have a number and a word that is not used behind the identifier.
        let name = |set, id, number: u32| {
            let request =
                [KsProperty::new(set, id, KSPROPERTY_TYPE_GET).as_bytes(), &number.to_le_bytes(), &[0; 4]].concat();
            let mut answer = [0; 256];
            let outcome = filter.object().control(IoControlCode::KS_PROPERTY, &request, &mut answer);
            assert!(outcome.status.is_success(), "{}", outcome.status);
            let units: Vec<u16> = answer[..outcome.information]
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect();
            String::from_utf16(&units).unwrap().trim_end_matches('\0').to_owned()
        };
        let names = || {
            let node = |id| name(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_NAME, id);
            [name(KSPROPSETID_Pin, KSPROPERTY_PIN_NAME, 0), node(0), node(1), node(2)]
        };
        const OWN: &str = "{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4401}";
        const UNKNOWN: &str = "{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4402}";
        assert_eq!(names(), [OWN, OWN, "KSNODETYPE_VOLUME", UNKNOWN], "nobody has registered one");
        assert_eq!(failure(pin.object(), 0), "");
        assert_eq!(names(), ["Front panel", "Front panel", "KSNODETYPE_VOLUME", UNKNOWN]);
        drop((pin, filter));
        rig.unload();
    });
}

/// Frames whose times are in bytes of the stream: only what is counted by them in units of time shows that they are scaled.
#[test]
fn a_drivers_presentation_times_are_scaled_by_their_numerators_and_denominators() {
    each_seed(|| {
        use ks_abi::{KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsTime};
        const SECOND: i64 = 10_000_000;
        let rig = Rig::start("tests/avs/times.c");
        let filter = rig.open();
        let sink = rig.create(&filter, 0, None).pin;
        sink.set_limit(0, SECOND).unwrap();
        bring(&sink, &UP);
        let times = [(0, 10_000_000, 88_200), (44_100, 10_000_000, 88_200), (-3, 10, 4), (i64::MAX, u32::MAX, 1)];
        for (at, (time, numerator, denominator)) in times.into_iter().enumerate() {
            assert_eq!(sink.statistics().unwrap().ended, 0, "frame {at} is within a second");
            let mut frame = sink.allocate(64).unwrap();
            frame.header.presentation_time = KsTime { time, numerator, denominator };
            frame.header.options_flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID;
            assert!(frame.fill(&[0; 64]));
            sink.write_stream(vec![frame]).unwrap().wait().unwrap();
        }
        assert_eq!(sink.statistics().unwrap().ended, 1, "the last one lies beyond it, and nothing overflows");
        assert_eq!(failure(sink.object(), 0), "", "the driver sees what was written");
        bring(&sink, &DOWN);

        let source = rig.create(&filter, 1, None);
        source.pin.set_limit(0, SECOND).unwrap();
        bring(&source.pin, &UP);
        for frame in 0..4 {
            assert_eq!(source.pin.statistics().unwrap().ended, 0, "after {frame} frames of a quarter of a second");
            let header = source.read(1).wait().unwrap()[0].header;
            let wanted = KsTime { time: frame * 22_050, numerator: 10_000_000, denominator: 88_200 };
            assert_eq!(header.presentation_time, wanted);
            assert_ne!(header.options_flags & KSSTREAM_HEADER_OPTIONSF_TIMEVALID, 0);
        }
        let _ = source.read(1).wait();
        assert_eq!(source.pin.statistics().unwrap().ended, 1, "the fifth begins a second behind the first");
        bring(&source.pin, &DOWN);
        drop((sink, source, filter));
        rig.unload();
    });
}
