//! Filters that process as a whole: which frames they are given together, and what becomes of them.

use crate::rig::{
    BOTH_WAYS, FRAME_BYTES, Probe, Requests, Rig, SEEDS, Setup, UP, bring, create, filled, frames, numbers,
};
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsPinDataFlow, KsReset, KsState, NtStatus, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::Ticks;
use ks_io::sync::{Arc, Mutex};
use ks_stream::{CopyRelationship, Filter, PinFlags, ProcessPins};
use std::sync::atomic::Ordering::SeqCst;

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

/// Adds one to the fifth byte; in place where the frames are shared, else from one frame to the other.
fn transform(probe: &Probe, _: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
    let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else { return STATUS_PENDING };
    let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
    let used = input.bytes_available();
    let mut bytes = from.buffer().unwrap().read().unwrap()[..used as usize].to_vec();
    bytes[4] += 1;
    probe.seen.lock().push(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    to.buffer().unwrap().write().unwrap()[..used as usize].copy_from_slice(&bytes);
    if !pins.in_place(input, output) {
        to.set_options_flags(from.options_flags());
    }
    input.set_bytes_used(used);
    output.set_bytes_used(used);
    output.terminate();
    STATUS_SUCCESS
}

fn rig(seed: u64, in_place: bool, flags: [PinFlags; 2]) -> Rig {
    let middle_in_place = in_place.then_some((INPUT, OUTPUT));
    let rig = Rig::with(Setup { seed, middle_flags: flags, middle_in_place, ..Setup::default() });
    rig.middle.script_filter(transform);
    rig
}

/// The middle with a client at both ends, in RUN.
fn alone(rig: &Rig) -> (ks_client::Filter, ks_client::Pin, ks_client::Pin) {
    let middle = rig.open("middle");
    let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
    let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, None);
    for state in UP {
        bring(&output, &[state]);
        bring(&input, &[state]);
    }
    (middle, input, output)
}

#[test]
fn frames_pass_a_transform_in_order_in_place_and_copied() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|requests| (seed, requests))) {
        for middle_in_place in [Some((INPUT, OUTPUT)), None] {
            let rig = Rig::with(Setup { seed, requests, middle_in_place, ..Setup::default() });
            rig.middle.script_filter(transform);
            rig.source.last.store(25, SeqCst);
            let fifth = Arc::new(ks_io::sync::Mutex::new(Vec::new()));
            let noted = fifth.clone();
            rig.sink.script(move |probe, pin| {
                let mut edge = pin.leading_edge();
                while let Some(frame) = edge {
                    noted.lock().push(frame.buffer().unwrap().read().unwrap()[4]);
                    probe.seen.lock().extend(crate::rig::number(&frame));
                    edge = frame.advance();
                }
                STATUS_PENDING
            });
            let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
            let connect = |from: &ks_client::Filter, from_pin, to: &ks_client::Filter| match requests {
                Requests::FromSource => {
                    let sink = create(to, 0, KsPinDataFlow::IN, None);
                    (create(from, from_pin, KsPinDataFlow::OUT, Some(&sink)), sink)
                }
                Requests::FromSink => {
                    let source = create(from, from_pin, KsPinDataFlow::OUT, None);
                    let sink = create(to, 0, KsPinDataFlow::IN, Some(&source));
                    (source, sink)
                }
            };
            let (output, sink) = connect(&through, OUTPUT, &to);
            let (source, input) = connect(&from, 0, &through);
            for state in UP {
                for pin in [&sink, &output, &input, &source] {
                    bring(pin, &[state]);
                }
            }
            rig.settle();
            let expected: Vec<u32> = (0..25).collect();
            assert_eq!(rig.middle.seen_now(), expected, "seed {seed}, {requests:?}, {middle_in_place:?}");
            assert_eq!(rig.sink.seen_now(), expected, "seed {seed}, {requests:?}, {middle_in_place:?}");
            assert!(fifth.lock().iter().all(|&byte| byte == 1), "each frame passed the transform once");
            for pin in [&source, &input, &output, &sink] {
                bring(pin, &crate::rig::DOWN);
            }
            drop((source, input, output, sink, from, through, to));
            rig.assert_quiescent();
        }
    }
}

#[test]
fn the_filter_waits_until_each_pin_has_a_frame() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    let (_filter, input, output) = alone(&rig);
    let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
    rig.settle();
    assert_eq!(rig.middle.calls(), 0, "no room for the output yet");
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let filled = read.wait().unwrap();
    assert_eq!(numbers(&filled), [7]);
    assert!(write.wait().is_ok());
    assert_eq!(rig.middle.calls(), 1);
}

#[test]
fn a_pin_that_needs_no_frame_does_not_hold_the_filter_back() {
    let rig = rig(1, false, [PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING, PinFlags::empty()]);
    rig.middle.script_filter(|_, _, pins| {
        let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
        assert_eq!((input.bytes_available(), pins.frame(input).is_none()), (0, true));
        output.set_bytes_used(output.bytes_available());
        STATUS_PENDING
    });
    let (_filter, _input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 1)).unwrap().wait().unwrap();
    assert_eq!(read[0].data().len(), FRAME_BYTES as usize);
}

#[test]
fn where_no_pin_needs_a_frame_a_change_of_state_calls_the_filter() {
    const NONE: PinFlags = PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING;
    for (flags, calls) in [([NONE; 2], 1), ([NONE, PinFlags::empty()], 0), ([PinFlags::empty(); 2], 0)] {
        let rig = rig(1, false, flags);
        rig.middle.script_filter(|_, _, pins| {
            assert!(pins.iter().count() == 2 && pins.iter().all(|pin| pins.frame(pin).is_none()));
            STATUS_PENDING
        });
        let middle = rig.open("middle");
        let pins = [create(&middle, INPUT, KsPinDataFlow::IN, None), create(&middle, OUTPUT, KsPinDataFlow::OUT, None)];
        pins.iter().for_each(|pin| bring(pin, &UP[..1]));
        bring(&pins[0], &UP[1..2]);
        rig.settle();
        assert_eq!(rig.middle.calls(), 0, "the other pin is on its way");
        bring(&pins[1], &UP[1..2]);
        rig.settle();
        assert_eq!(rig.middle.calls(), calls, "{flags:?}: at PAUSE");
    }
}

#[test]
fn a_stopped_pin_of_a_factory_that_needs_none_does_not_hold_the_filter_back() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    rig.middle.script_filter(|_, _, pins| {
        assert_eq!(pins.of(INPUT).count(), 0);
        pins.of(OUTPUT).next().unwrap().terminate();
        STATUS_SUCCESS
    });
    let middle = rig.open("middle");
    let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
    let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, None);
    bring(&output, &UP);
    assert!(output.read_stream(frames(&output, 1)).unwrap().wait().is_ok());
    // On its way up it does.
    bring(&input, &UP[..1]);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    rig.settle();
    assert!(!read.is_done());
    bring(&input, &crate::rig::DOWN[2..]);
    rig.middle.pins.lock().iter().find_map(std::sync::Weak::upgrade).unwrap().filter().attempt_processing();
    assert!(read.wait().is_ok());
}

#[test]
fn what_is_not_used_of_a_frame_is_given_again() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    rig.middle.script_filter(|probe, _, pins| {
        let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
        probe.seen.lock().push(input.bytes_available());
        input.set_bytes_used(16);
        output.set_bytes_used(32);
        STATUS_SUCCESS
    });
    let (_filter, input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 2)).unwrap();
    let write = input.write_stream(vec![filled(&input, 1)]).unwrap();
    assert!(write.wait().is_ok());
    assert!(read.wait().unwrap().iter().all(|frame| frame.data().len() == FRAME_BYTES as usize));
    assert_eq!(rig.middle.seen_now(), [64, 48, 32, 16]);
}

#[test]
fn used_bytes_that_the_driver_writes_and_says_of_its_process_pin_are_used_once() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    rig.middle.script_filter(|_, _, pins| {
        let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
        let Some(frame) = pins.frame(output) else { return STATUS_PENDING };
        frame.set_data_used(10);
        input.set_bytes_used(input.bytes_available());
        output.set_bytes_used(10);
        output.terminate();
        STATUS_SUCCESS
    });
    let (_filter, input, output) = alone(&rig);
    let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
    let read = output.read_stream(frames(&output, 1)).unwrap().wait().unwrap();
    assert_eq!(read[0].header.data_used, 10);
    write.wait().unwrap();
}

#[test]
fn a_terminated_frame_goes_on_as_it_is() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    rig.middle.script_filter(|_, _, pins| {
        let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
        input.terminate();
        output.set_bytes_used(5);
        output.terminate();
        STATUS_PENDING
    });
    let (_filter, input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    assert!(input.write_stream(vec![filled(&input, 1)]).unwrap().wait().is_ok());
    assert_eq!(read.wait().unwrap()[0].data().len(), 5);
}

#[test]
fn a_frame_without_data_goes_by_the_minidriver_with_its_options() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    let (_filter, input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let mut end = input.allocate(FRAME_BYTES as usize).unwrap();
    assert!(end.fill(&[]));
    end.header.options_flags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
    assert!(input.write_stream(vec![end]).unwrap().wait().is_ok());
    let read = read.wait().unwrap();
    assert_eq!(read[0].data().len(), 0);
    assert_eq!(
        read[0].header.options_flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
        KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM
    );
    assert_eq!(rig.middle.calls(), 0);
}

#[test]
fn a_closed_filter_gate_holds_processing_back() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    let (_filter, input, output) = alone(&rig);
    let filter = rig.middle.pin().filter().clone();
    filter.and_gate().unwrap().turn_input_off();
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let write = input.write_stream(vec![filled(&input, 3)]).unwrap();
    rig.settle();
    assert_eq!(rig.middle.calls(), 0);
    filter.and_gate().unwrap().turn_input_on();
    filter.attempt_processing();
    assert_eq!(numbers(&read.wait().unwrap()), [3]);
    assert!(write.wait().is_ok());
}

#[test]
fn a_gate_that_the_driver_closed_at_one_pin_holds_the_filter_back() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    let (_filter, input, output) = alone(&rig);
    let pin = rig.middle.pin();
    pin.and_gate().turn_input_off();
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let write = input.write_stream(vec![filled(&input, 4)]).unwrap();
    rig.settle();
    assert_eq!(rig.middle.calls(), 0);
    pin.and_gate().turn_input_on();
    pin.attempt_processing();
    assert_eq!(numbers(&read.wait().unwrap()), [4]);
    assert!(write.wait().is_ok());
}

#[test]
fn what_the_output_used_of_a_shared_frame_is_what_goes_on() {
    let rig = rig(1, true, [PinFlags::empty(); 2]);
    rig.source.last.store(3, SeqCst);
    rig.middle.script_filter(|_, _, pins| {
        let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
        assert!(pins.in_place(input, output));
        output.set_bytes_used(5);
        output.terminate();
        STATUS_SUCCESS
    });
    rig.sink.script(|probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            probe.seen.lock().push(frame.data_used());
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let output = create(&through, OUTPUT, KsPinDataFlow::OUT, Some(&sink));
    let input = create(&through, INPUT, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
    for state in UP {
        for pin in [&sink, &output, &input, &source] {
            bring(pin, &[state]);
        }
    }
    rig.settle();
    assert_eq!(rig.sink.seen_now(), [5, 5, 5]);
}

#[test]
fn an_attempt_at_the_filter_processes_what_waits() {
    let rig = rig(1, false, [PinFlags::DO_NOT_INITIATE_PROCESSING; 2]);
    let (_filter, input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let _write = input.write_stream(vec![filled(&input, 9)]).unwrap();
    rig.settle();
    assert_eq!(rig.middle.calls(), 0);
    let filter = rig.middle.pin().filter().clone();
    filter.attempt_processing_later();
    assert_eq!(numbers(&read.wait().unwrap()), [9]);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let _write = input.write_stream(vec![filled(&input, 10)]).unwrap();
    rig.settle();
    assert!(!read.is_done(), "nobody has asked for it");
    filter.attempt_processing();
    assert_eq!(numbers(&read.wait().unwrap()), [10]);
}

#[test]
fn a_panic_in_the_filters_callback_fails_its_pins() {
    let rig = rig(1, false, [PinFlags::empty(); 2]);
    rig.middle.script_filter(|_, _, _| panic!("planted"));
    let (_filter, input, output) = alone(&rig);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let write = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        input.write_stream(vec![filled(&input, 1)]).map(|request| request.wait().is_err())
    }));
    drop(write);
    assert!(read.wait().is_err());
}

#[test]
fn a_frame_of_an_asynchronous_pin_has_its_whole_filter_process_on_a_worker() {
    for (flag, is_here) in [(PinFlags::empty(), true), (PinFlags::ASYNCHRONOUS_PROCESSING, false)] {
        let rig = rig(1, false, [flag, PinFlags::empty()]);
        let threads = Arc::new(Mutex::new(Vec::new()));
        let noted = threads.clone();
        rig.middle.script_filter(move |probe, filter, pins| {
            noted.lock().push(std::thread::current().id());
            transform(probe, filter, pins)
        });
        let (_filter, input, output) = alone(&rig);
        let read = output.read_stream(frames(&output, 1)).unwrap();
        rig.settle();
        threads.lock().clear();
        let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
        read.wait().unwrap();
        write.wait().unwrap();
        let (threads, me) = (threads.lock().clone(), std::thread::current().id());
        assert!(!threads.is_empty());
        assert_eq!(threads.contains(&me), is_here, "{flag:?}");
    }
}

#[test]
fn an_update_takes_what_was_used_and_gives_what_comes_next() {
    for seed in SEEDS {
        let rig = rig(seed, true, [PinFlags::empty(); 2]);
        let available: Arc<Mutex<Vec<(u32, bool)>>> = Arc::default();
        let noted = available.clone();
        rig.middle.script_filter(move |probe, filter, pins| {
            let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
            // The first quarter, in a call of its own.
            input.set_bytes_used(FRAME_BYTES / 4);
            noted.lock().push((input.bytes_available(), pins.update(input)));
            noted.lock().push((input.bytes_available(), true));
            {
                let _held = pins.frame(output);
                assert!(!pins.update(output), "while its frame is held nothing is taken from it");
            }
            input.set_bytes_used(input.bytes_available());
            pins.update(input);
            let mut goes_on = pins.of(INPUT).all(|input| pins.frame(input).is_some());
            while goes_on {
                let status = transform(probe, filter, pins);
                assert_eq!(status, STATUS_SUCCESS);
                goes_on = pins.update(input) & pins.update(output);
            }
            STATUS_PENDING
        });
        let middle = rig.open("middle");
        let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
        let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, None);
        for pin in [&output, &input] {
            bring(pin, &UP[..1]);
        }
        // All is there before the filter may process.
        let reads = output.read_stream(frames(&output, 3)).unwrap();
        let writes: Vec<_> = (0..4).map(|number| input.write_stream(vec![filled(&input, number)]).unwrap()).collect();
        for state in &UP[1..] {
            bring(&output, &[*state]);
            bring(&input, &[*state]);
        }
        let read = reads.wait().unwrap();
        assert_eq!(numbers(&read), [1, 2, 3], "each update gave the next frame of both pins");
        assert!(read.iter().all(|frame| frame.data()[4] == 1));
        writes.into_iter().for_each(|write| drop(write.wait().unwrap()));
        assert_eq!(rig.middle.calls(), 1, "in one call");
        let quarters = [(FRAME_BYTES, true), (FRAME_BYTES * 3 / 4, true)];
        assert_eq!(available.lock()[..2], quarters, "the rest of the frame is offered again");
        drop((middle, input, output));
        rig.assert_quiescent();
    }
}

#[test]
fn an_update_of_a_shared_frame_sends_it_on_and_shows_the_next_at_both_pins() {
    for seed in SEEDS {
        let rig = rig(seed, true, [PinFlags::empty(); 2]);
        rig.source.last.store(12, SeqCst);
        rig.middle.script_filter(|probe, filter, pins| {
            let (input, output) = (pins.of(INPUT).next().unwrap(), pins.of(OUTPUT).next().unwrap());
            loop {
                assert!(pins.in_place(input, output));
                assert_eq!(pins.frame(input).unwrap().header_address(), pins.frame(output).unwrap().header_address());
                input.terminate();
                assert_eq!(transform(probe, filter, pins), STATUS_SUCCESS);
                // Either of the two moves both.
                let more = pins.update(output);
                assert_eq!(more, pins.frame(input).is_some());
                if !more {
                    return STATUS_PENDING;
                }
            }
        });
        let (from, middle, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
        let sink = create(&to, 0, KsPinDataFlow::IN, None);
        let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, Some(&sink));
        let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
        let source = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
        for state in UP {
            [&sink, &output, &input, &source].into_iter().for_each(|pin| bring(pin, &[state]));
        }
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..12).collect::<Vec<_>>());
        assert!(rig.middle.calls() < 12, "several frames a call: {}", rig.middle.calls());
        drop((sink, output, input, source, from, middle, to));
        rig.assert_quiescent();
    }
}

#[test]
fn a_filter_is_told_of_each_reset_and_flush_of_a_pin_if_it_processes_as_a_whole() {
    for (is_whole, wanted) in [(true, [1, 1, 2, 3]), (false, [0; 4])] {
        let rig = Rig::with(Setup { middle_in_place: None, ..Setup::default() });
        if is_whole {
            rig.middle.script_filter(transform);
        }
        let (_middle, input, _output) = alone(&rig);
        rig.take_log();
        let mut told = 0;
        let mut after = |step: &dyn Fn()| {
            step();
            told += rig.take_log().iter().filter(|call| *call == "middle reset").count();
            told
        };
        let seen = [
            after(&|| input.reset(KsReset::BEGIN).unwrap()),
            after(&|| input.reset(KsReset::BEGIN).unwrap()),
            after(&|| input.reset(KsReset::END).unwrap()),
            // What is queued goes with the state.
            after(&|| bring(&input, &[KsState::PAUSE, KsState::ACQUIRE, KsState::STOP])),
        ];
        assert_eq!(seen, wanted, "{is_whole}");
    }
}

#[test]
fn later_outputs_of_a_splitter_follow_the_first() {
    type Seen = Vec<Option<(CopyRelationship, u64)>>;
    for seed in SEEDS {
        let middle_flags = [PinFlags::empty(), PinFlags::SPLITTER];
        let rig = Rig::with(Setup { seed, middle_flags, changer: true, ..Setup::default() });
        rig.source.last.store(8, SeqCst);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let noted = seen.clone();
        rig.middle.script_filter(move |_, _, pins| {
            let input = pins.of(INPUT).next().unwrap();
            let outputs: Vec<_> = pins.of(OUTPUT).collect();
            let relations = outputs.iter().map(|output| {
                let follows = pins.follows(output).map(|(relationship, first)| (relationship, first.pin().address()));
                assert_eq!(follows.map(|(relationship, _)| relationship), output.pin().copy_relationship());
                assert_eq!(pins.in_place(input, output), follows.is_none(), "the driver works on the first only");
                follows
            });
            *noted.lock() = relations.collect();
            let first = outputs[0];
            first.set_bytes_used(first.bytes_available());
            input.terminate();
            STATUS_SUCCESS
        });
        let (from, middle) = (rig.open("source"), rig.open("middle"));
        let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
        let source = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
        let (mut pins, mut filters) = (Vec::new(), Vec::new());
        for changes in [false, false, true] {
            let sink_filter = rig.open("sink");
            let mut sink = create(&sink_filter, 0, KsPinDataFlow::IN, None);
            filters.push(sink_filter);
            if changes {
                let changer = rig.open("changer");
                let changed = create(&changer, OUTPUT, KsPinDataFlow::OUT, Some(&sink));
                pins.extend([sink, changed]);
                sink = create(&changer, INPUT, KsPinDataFlow::IN, None);
                filters.push(changer);
            }
            let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, Some(&sink));
            pins.extend([sink, output]);
        }
        pins.extend([input, source]);
        for state in UP {
            pins.iter().for_each(|pin| bring(pin, &[state]));
        }
        rig.settle();
        assert_eq!(rig.sink.seen_now().len(), 24, "each branch has all eight");
        let first = rig.middle.pins.lock().iter().filter_map(std::sync::Weak::upgrade).find(|pin| pin.id() == OUTPUT);
        let first = first.unwrap().address();
        let wanted = [None, Some((CopyRelationship::Delegated, first)), Some((CopyRelationship::Copied, first))];
        assert_eq!(*seen.lock(), wanted);
        drop((pins, filters, from, middle));
        rig.assert_quiescent();
    }
}

#[test]
fn a_timer_and_an_alarm_of_a_pin_have_its_whole_filter_process() {
    let later = |rig: &Rig, ticks: i64| rig.services().now() + Ticks(ticks);
    for id in [INPUT, OUTPUT] {
        let rig = rig(1, false, [PinFlags::IMPLEMENT_CLOCK; 2]);
        // It has frames, and waits for something else.
        rig.middle.script_filter(|probe, _, pins| {
            probe.threads.lock().insert(std::thread::current().id());
            assert_eq!((pins.of(INPUT).count(), pins.of(OUTPUT).count()), (1, 1), "all of its pins");
            STATUS_PENDING
        });
        let (filter, input, output) = alone(&rig);
        let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
        let read = output.read_stream(frames(&output, 1)).unwrap();
        rig.settle();
        let before = rig.middle.calls();
        assert!(before > 0);
        rig.middle.threads.lock().clear();
        let pins: Vec<_> = rig.middle.pins.lock().iter().filter_map(|pin| pin.upgrade()).collect();
        let pin = pins.into_iter().find(|pin| pin.id() == id).unwrap();
        let attempt = pin.timed_attempt();
        let timer = rig.services().timer(attempt.clone());
        let due = later(&rig, 50_000);
        timer.set(due, None);
        let _ = rig.services().delay_until(due + Ticks(-1));
        assert_eq!(rig.middle.calls(), before, "a tick before");
        let _ = rig.services().delay_until(due + Ticks(1));
        assert_eq!(rig.middle.calls(), before + 1);
        // The alarm of a clock is kept as the timer is.
        let clock = pin.reference_clock().unwrap();
        let alarm = clock.alarm(attempt.clone());
        alarm.set(clock.time() + Ticks(30_000)).unwrap();
        let due = later(&rig, 30_000);
        let _ = rig.services().delay_until(due + Ticks(-1));
        assert_eq!(rig.middle.calls(), before + 1);
        let _ = rig.services().delay_until(due + Ticks(1));
        assert_eq!(rig.middle.calls(), before + 2);
        let tester = std::thread::current().id();
        assert!(!rig.middle.threads.lock().contains(&tester), "a worker processes");
        // What wakes the pin keeps neither it nor its filter.
        drop((pin, write, read, input, output, filter));
        assert_eq!(rig.middle.pins.lock().iter().filter(|pin| pin.strong_count() > 0).count(), 0);
        timer.set(later(&rig, 10), None);
        let _ = rig.services().delay_until(later(&rig, 1000));
        assert_eq!(rig.middle.calls(), before + 2);
    }
}
