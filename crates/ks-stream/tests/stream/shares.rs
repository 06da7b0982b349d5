//! Splitters among the outputs of a source, and of a filter that copies, where nobody behind changes what he gets: outputs
//! share the frames of one.

use crate::copies::{Fan, note, place, sinks_change_frames};
use crate::framing::asks;
use crate::rig::{
    BOTH_WAYS, DOWN, FRAME_BYTES, FRAMES, Probe, Requests, Rig, SEEDS, Setup, UP, bring, create, filled, number, put,
    video,
};
use ks_abi::{KsDataFormat, KsPinDataFlow, KsState, STATUS_PENDING, STATUS_SUCCESS};
use ks_client::Format;
use ks_io::sync::{Arc, Mutex};
use ks_stream::{CopyRelationship, DataFormat, PinFlags};
use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use zerocopy::IntoBytes;

const SPLITTER: PinFlags = PinFlags::SPLITTER;
const DELEGATED: Option<CopyRelationship> = Some(CopyRelationship::Delegated);
const COPIED: Option<CopyRelationship> = Some(CopyRelationship::Copied);

/// For each sink what it saw of its frames.
type Pairs = Arc<Mutex<Vec<Vec<(u32, u32)>>>>;

fn rig(seed: u64, requests: Requests, last: u32) -> Rig {
    let rig = Rig::with(Setup { seed, requests, source_flags: SPLITTER, ..Setup::default() });
    rig.source.last.store(last, SeqCst);
    rig
}

/// The source numbers its frames, up to the number that is given back and that a test may raise, over all its pins and their
/// starts; each pin that its driver was called for is noted.
fn fill_on(rig: &Rig, last: u32) -> (Arc<AtomicU32>, Arc<Mutex<Vec<usize>>>) {
    let (next, last) = (AtomicU32::new(0), Arc::new(AtomicU32::new(last)));
    let filled: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (end, called) = (last.clone(), filled.clone());
    rig.source.script(move |_, pin| {
        called.lock().push(place(pin));
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if next.load(SeqCst) >= end.load(SeqCst) {
                return STATUS_PENDING;
            }
            put(&frame, next.fetch_add(1, SeqCst), false);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    (last, filled)
}

/// Ten frames more, from whichever output the driver fills.
fn go_on(rig: &Rig, last: &AtomicU32) {
    last.fetch_add(10, SeqCst);
    for pin in rig.source.pins.lock().iter().filter_map(Weak::upgrade) {
        pin.attempt_processing();
    }
    rig.settle();
}

/// How the frames of each output of a filter come about, in the order of their creation, and of which output.
fn relationships(probe: &Probe) -> Vec<(Option<CopyRelationship>, Option<usize>)> {
    let pins: Vec<_> = probe.pins.lock().iter().filter_map(Weak::upgrade).collect();
    let outputs = pins.into_iter().filter(|pin| pin.data_flow() == KsPinDataFlow::OUT);
    outputs.map(|pin| (pin.copy_relationship(), pin.first_branch().map(|first| place(&first)))).collect()
}

fn copies(outputs: &[ks_client::Pin]) -> Vec<u64> {
    outputs.iter().map(|pin| pin.statistics().unwrap().copies).collect()
}

#[test]
fn outputs_behind_which_nobody_changes_frames_share_those_of_the_first() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|requests| (seed, requests))) {
        let rig = rig(seed, requests, 25);
        let (seen, filled) = note(&rig, 3);
        let addresses: Arc<Mutex<Vec<BTreeSet<u64>>>> = Arc::new(Mutex::new(vec![BTreeSet::new(); 3]));
        let (log, known) = (seen.clone(), addresses.clone());
        rig.sink.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                if frame.data_used() > 0 {
                    log.lock()[place(pin)].extend(number(&frame));
                    known.lock()[place(pin)].extend(frame.buffer().map(|buffer| buffer.address()));
                }
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let fan = Fan::of(&rig, requests, "source", 0, 3);
        // The outputs leave STOP in the order of their creation, or the other way round.
        match seed % 2 {
            0 => fan.bring(&UP),
            _ => {
                for pin in fan.sinks.iter().chain(&fan.outputs) {
                    bring(pin, &UP[..1]);
                }
                fan.bring(&UP[1..]);
            }
        }
        rig.settle();
        let all: Vec<u32> = (0..25).collect();
        assert_eq!(*seen.lock(), [all.clone(), all.clone(), all], "seed {seed}, {requests:?}");
        assert!(filled.lock().iter().all(|pin| *pin == 0), "the driver fills the first only");
        assert_eq!(copies(&fan.outputs), [0, 0, 0]);
        assert_eq!(relationships(&rig.source), [(None, None), (DELEGATED, Some(0)), (DELEGATED, Some(0))]);
        let addresses = addresses.lock().clone();
        assert!(addresses[0].len() <= FRAMES as usize && addresses.iter().all(|own| *own == addresses[0]), "one pool");
        let passed: Vec<u64> = fan.outputs.iter().map(|pin| pin.statistics().unwrap().frames).collect();
        assert_eq!(passed, [25; 3], "each output counts what leaves it");
        fan.end(&rig);
    }
}

/// Behind one output of three a filter changes bytes in place: it alone has copies, and the others share.
#[test]
fn an_output_behind_which_frames_are_changed_gets_copies_and_the_others_share() {
    for (seed, changed) in SEEDS.flat_map(|seed| (0..3).map(move |changed| (seed, changed))) {
        let rig = rig(seed, Requests::FromSource, 25);
        let (_, filled) = note(&rig, 3);
        // What the filter in place has added, too.
        let seen: Pairs = Arc::new(Mutex::new(vec![Vec::new(); 3]));
        let log = seen.clone();
        rig.sink.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                if frame.data_used() > 0 {
                    let added = frame.buffer().and_then(|buffer| Some(buffer.read()?[4].into()));
                    log.lock()[place(pin)].push((number(&frame).unwrap(), added.unwrap()));
                }
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let (from, to, middle) = (rig.open("source"), rig.open("sink"), rig.open("middle"));
        let sinks = [(); 3].map(|()| create(&to, 0, KsPinDataFlow::IN, None));
        let (mut outputs, mut between) = (Vec::new(), Vec::new());
        for (at, sink) in sinks.iter().enumerate() {
            if at == changed {
                between.push(create(&middle, 1, KsPinDataFlow::OUT, Some(sink)));
                between.push(create(&middle, 0, KsPinDataFlow::IN, None));
            }
            let next = if at == changed { &between[1] } else { sink };
            outputs.push(create(&from, 0, KsPinDataFlow::OUT, Some(next)));
        }
        for state in UP {
            for pin in sinks.iter().chain(&between).chain(&outputs) {
                bring(pin, &[state]);
            }
        }
        rig.settle();
        assert!(filled.lock().iter().all(|pin| *pin == 0));
        for (at, seen) in seen.lock().iter().enumerate() {
            let added = u32::from(at == changed);
            let all: Vec<_> = (0..25).map(|number| (number, added)).collect();
            assert_eq!(*seen, all, "seed {seed}: {at} of {changed}");
        }
        let (related, expected) = match changed {
            0 => ([(None, None), (COPIED, Some(0)), (DELEGATED, Some(1))], [0, 25, 0]),
            1 => ([(None, None), (COPIED, Some(0)), (DELEGATED, Some(0))], [0, 25, 0]),
            _ => ([(None, None), (DELEGATED, Some(0)), (COPIED, Some(0))], [0, 0, 25]),
        };
        assert_eq!(relationships(&rig.source), related, "{changed}");
        assert_eq!(copies(&outputs), expected, "{changed}");
        for state in DOWN {
            for pin in outputs.iter().chain(&between).chain(&sinks) {
                bring(pin, &[state]);
            }
        }
        drop((outputs, between, sinks, from, to, middle));
        rig.assert_quiescent();
    }
}

/// What the pins behind a later output ask of the frames counts for those of the first, if all agree; if not, it has its own.
#[test]
fn outputs_share_frames_that_do_for_the_pins_behind_both() {
    for (seed, agree) in SEEDS.flat_map(|seed| [(seed, true), (seed, false)]) {
        let setup = Setup { seed, source_flags: SPLITTER, middle_in_place: None, ..Setup::default() };
        let rig = Rig::with(setup);
        rig.source.last.store(25, SeqCst);
        rig.middle.script(crate::rig::take);
        let (least, most) = if agree { (100, 0) } else { (100, 80) };
        *rig.middle.extended.lock() = Some(asks(0, 9, 255, (least, 0)));
        *rig.sink.extended.lock() = Some(asks(0, 3, 0, (16, most)));
        let (from, to, middle) = (rig.open("source"), rig.open("sink"), rig.open("middle"));
        let sinks = [create(&to, 0, KsPinDataFlow::IN, None), create(&middle, 0, KsPinDataFlow::IN, None)];
        let outputs = [0, 1].map(|at| create(&from, 0, KsPinDataFlow::OUT, Some(&sinks[at])));
        for state in UP {
            for pin in sinks.iter().chain(&outputs) {
                bring(pin, &[state]);
            }
        }
        rig.settle();
        let all: Vec<u32> = (0..25).collect();
        assert_eq!([rig.sink.seen_now(), rig.middle.seen_now()], [all.clone(), all], "seed {seed}, {agree}");
        let pools = [0, 1].map(|at| {
            let has = sinks[at].statistics().unwrap();
            (has.allocator_frames, has.allocator_frame_bytes)
        });
        if agree {
            assert_eq!(pools, [(9, 100); 2], "seed {seed}: one pool");
            assert_eq!(relationships(&rig.source)[1], (DELEGATED, Some(0)));
        } else {
            assert_eq!(pools[1], (9, 100), "seed {seed}");
            assert_eq!(pools[0].1, FRAME_BYTES);
            assert_eq!(relationships(&rig.source)[1], (COPIED, Some(0)));
        }
        assert_eq!(copies(&outputs), [0, if agree { 0 } else { 25 }]);
        for state in DOWN {
            for pin in outputs.iter().chain(&sinks) {
                bring(pin, &[state]);
            }
        }
        drop((outputs, sinks, from, to, middle));
        rig.assert_quiescent();
    }
}

/// What becomes of the pins while all frames are with a sink that does not process yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    GoesOn,
    Stops,
    Closes,
    /// The sink of the first stops and starts: its frames go back to their head, and must not be filled.
    FirstSinkRestarts,
    /// The first output does, too.
    FirstRestarts,
}

#[test]
fn a_frame_is_not_filled_anew_while_a_share_of_it_is_out() {
    let all = [Then::GoesOn, Then::Stops, Then::Closes, Then::FirstSinkRestarts, Then::FirstRestarts];
    for (seed, then) in SEEDS.flat_map(|seed| all.map(|then| (seed, then))) {
        let rig = rig(seed, Requests::FromSource, 0);
        let (seen, _) = note(&rig, 2);
        fill_on(&rig, 25);
        let mut fan = Fan::of(&rig, Requests::FromSource, "source", 0, 2);
        fan.bring(&UP[..1]);
        bring(&fan.sinks[0], &UP[1..]);
        for output in &fan.outputs {
            bring(output, &UP[1..]);
        }
        rig.settle();
        assert_eq!(seen.lock()[0].len(), FRAMES as usize, "seed {seed}: all frames are with the second");
        match then {
            Then::GoesOn => {}
            Then::Stops => bring(&fan.outputs[1], &DOWN),
            Then::Closes => drop(fan.outputs.pop()),
            Then::FirstSinkRestarts => {
                bring(&fan.sinks[0], &DOWN);
                bring(&fan.sinks[0], &UP);
            }
            Then::FirstRestarts => {
                bring(&fan.outputs[0], &DOWN);
                bring(&fan.outputs[0], &UP);
            }
        }
        rig.settle();
        bring(&fan.sinks[1], &UP[1..]);
        rig.settle();
        let seen = seen.lock().clone();
        let whole: Vec<u32> = (0..25).collect();
        let [first, second] = &seen[..] else { unreachable!() };
        match then {
            Then::FirstRestarts => {
                // Meanwhile the second has frames of its own filled.
                assert_eq!(*second, whole, "seed {seed}");
                assert!(
                    first.is_sorted_by(|one, next| one < next) && first.last() == Some(&24),
                    "seed {seed}: {first:?}"
                );
            }
            _ => assert_eq!(*first, whole, "seed {seed}, {then:?}"),
        }
        match then {
            Then::GoesOn | Then::FirstSinkRestarts => assert_eq!(*second, whole, "seed {seed}, {then:?}"),
            _ => assert!(whole.starts_with(second), "seed {seed}, {then:?}: {second:?}"),
        }
        fan.end(&rig);
    }
}

#[test]
fn when_the_output_that_leads_stops_the_next_has_frames_of_its_own_and_the_others_share_those() {
    for seed in SEEDS {
        let rig = rig(seed, Requests::FromSource, 0);
        let (seen, _) = note(&rig, 3);
        let (last, filled) = fill_on(&rig, 0);
        let fan = Fan::of(&rig, Requests::FromSource, "source", 0, 3);
        fan.bring(&UP);
        go_on(&rig, &last);
        bring(&fan.outputs[0], &DOWN);
        filled.lock().clear();
        go_on(&rig, &last);
        assert_eq!(relationships(&rig.source)[1..], [(None, None), (DELEGATED, Some(1))], "seed {seed}");
        assert!(filled.lock().iter().all(|pin| *pin == 1), "seed {seed}: {:?}", filled.lock());
        let lens: Vec<usize> = seen.lock().iter().map(Vec::len).collect();
        assert_eq!(lens, [10, 20, 20], "seed {seed}");
        // Frames of its own are in use, so what the first fills is copied to them, and the third shares with the first.
        bring(&fan.outputs[0], &UP);
        go_on(&rig, &last);
        let related = [(None, None), (COPIED, Some(0)), (DELEGATED, Some(0))];
        assert_eq!(relationships(&rig.source), related, "seed {seed}");
        let seen = seen.lock().clone();
        let whole: Vec<u32> = (0..30).collect();
        assert_eq!(seen[1..], [whole.clone(), whole], "seed {seed}: no frame is missed, and none comes twice");
        assert_eq!(seen[0], (0..10).chain(20..30).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(copies(&fan.outputs), [0, 10, 0]);
        fan.end(&rig);
    }
}

/// A filter that copies, as a whole: the process pins of the later outputs name the first by DelegateBranch.
#[test]
fn a_filter_that_processes_as_a_whole_sees_that_later_outputs_are_delegated() {
    for seed in SEEDS {
        let middle_flags = [PinFlags::empty(), SPLITTER];
        let rig = Rig::with(Setup { seed, middle_flags, middle_in_place: None, ..Setup::default() });
        let (seen, _) = note(&rig, 2);
        rig.middle.script_filter(|probe: &Probe, _, pins| {
            let (Some(input), Some(output)) = (pins.of(0).next(), pins.of(1).next()) else { return STATUS_PENDING };
            for later in pins.of(1).skip(1) {
                let (relationship, of) = pins.follows(later).unwrap();
                assert_eq!((relationship, of.address()), (CopyRelationship::Delegated, output.address()));
                assert!(pins.frame(later).is_none() && later.bytes_available() == 0 && !pins.update(later));
            }
            let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
            let number = number(&from).unwrap();
            put(&to, number, false);
            to.set_data_used(0);
            probe.seen.lock().push(number);
            drop((from, to));
            input.set_bytes_used(input.bytes_available());
            output.set_bytes_used(output.bytes_available());
            STATUS_SUCCESS
        });
        let fan = Fan::of(&rig, Requests::FromSource, "middle", 1, 2);
        let input = create(&fan.filters[0], 0, KsPinDataFlow::IN, None);
        fan.bring(&UP);
        bring(&input, &UP);
        let writes: Vec<_> = (0..9).map(|at| input.write_stream(vec![filled(&input, at)]).unwrap()).collect();
        for write in writes {
            write.wait().unwrap();
        }
        rig.settle();
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(*seen.lock(), [all.clone(), all], "seed {seed}");
        assert_eq!(copies(&fan.outputs), [0, 0]);
        bring(&input, &DOWN);
        drop(input);
        fan.end(&rig);
    }
}

/// The format of the rig with another sample size.
fn sized(bytes: u32) -> DataFormat {
    let head = KsDataFormat { sample_size: bytes, ..*video().head() };
    DataFormat::new(head, &[])
}

/// Who changes the format.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// The driver, in its stream.
    Driver,
    /// A client, at an output.
    Output(usize),
    /// A client, at a sink.
    Sink(usize),
}

#[test]
fn a_change_of_format_reaches_every_output_of_a_splitter_in_its_place() {
    let all = [By::Driver, By::Output(0), By::Output(1), By::Sink(0), By::Sink(1)];
    let cases = SEEDS.flat_map(|seed| all.map(|by| (seed, by))).flat_map(|case| [(case, false), (case, true)]);
    for ((seed, by), copied) in cases {
        let what = format!("seed {seed}, {by:?}, copied: {copied}");
        let rig = rig(seed, Requests::FromSource, 0);
        for probe in [&rig.source, &rig.sink] {
            probe.takes_formats.store(true, SeqCst);
        }
        if copied {
            sinks_change_frames(&rig);
        }
        // Each frame says of which format it is, and each sink under which it saw it.
        let seen: Pairs = Arc::new(Mutex::new(vec![Vec::new(); 2]));
        let log = seen.clone();
        rig.sink.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                if frame.data_used() > 0 {
                    log.lock()[place(pin)].push((number(&frame).unwrap(), pin.format().head().sample_size));
                }
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let change = Arc::new(Mutex::new(None));
        let planned = change.clone();
        rig.source.script(move |probe, pin| {
            if let Some(bytes) = planned.lock().take() {
                pin.change_stream_format(sized(bytes)).unwrap();
            }
            while probe.last.load(SeqCst) > 0 {
                let Some(frame) = pin.leading_edge() else { break };
                probe.last.fetch_sub(1, SeqCst);
                put(&frame, pin.format().head().sample_size, false);
                frame.eject();
            }
            STATUS_PENDING
        });
        let fan = Fan::of(&rig, Requests::FromSource, "source", 0, 2);
        let go_on = || {
            rig.source.last.fetch_add(6, SeqCst);
            for pin in rig.source.pins.lock().iter().filter_map(Weak::upgrade) {
                pin.attempt_processing();
            }
            rig.settle();
        };
        fan.bring(&UP);
        go_on();
        let new = Format::from_bytes(sized(32).bytes()).unwrap();
        match by {
            By::Driver => *change.lock() = Some(32),
            By::Output(at) => fan.outputs[at].set_format(&new).unwrap(),
            By::Sink(at) => fan.sinks[at].set_format(&new).unwrap(),
        }
        go_on();
        let expected: Vec<_> = [(FRAME_BYTES, FRAME_BYTES); 6].into_iter().chain([(32, 32); 6]).collect();
        for seen in &*seen.lock() {
            assert_eq!(*seen, expected, "{what}");
        }
        for pin in fan.outputs.iter().chain(&fan.sinks) {
            assert_eq!(pin.format().unwrap().bytes(), new.bytes(), "{what}: {}", pin.name());
        }
        assert_eq!(copies(&fan.outputs)[1] > 0, copied, "{what}");
        // One that stands meanwhile is brought to the format when it starts.
        bring(&fan.outputs[1], &DOWN);
        bring(&fan.sinks[1], &DOWN);
        *change.lock() = Some(48);
        go_on();
        bring(&fan.sinks[1], &UP);
        bring(&fan.outputs[1], &UP);
        go_on();
        assert_eq!(seen.lock()[1][12..], [(48, 48); 6], "{what}");
        fan.end(&rig);
    }
}

/// A sink behind a later output is asked before the format changes, as one behind the first is.
#[test]
fn a_format_that_a_sink_of_any_output_does_not_take_changes_nothing() {
    let rig = rig(1, Requests::FromSource, 5);
    let (seen, _) = note(&rig, 2);
    let fan = Fan::of(&rig, Requests::FromSource, "source", 0, 2);
    fan.bring(&UP);
    rig.settle();
    let mut head = *video().head();
    head.sub_format = ks_abi::Guid::from_u128(1);
    let other = Format::from_bytes(head.as_bytes()).unwrap();
    for pin in fan.outputs.iter().chain(&fan.sinks) {
        let refused = pin.set_format(&other).unwrap_err();
        assert_eq!(refused.status, ks_abi::STATUS_NO_MATCH, "{refused}");
        assert_eq!(pin.format().unwrap().bytes(), video().bytes());
        assert_eq!(pin.state().unwrap(), KsState::RUN);
    }
    assert_eq!(seen.lock().iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
    fan.end(&rig);
}
