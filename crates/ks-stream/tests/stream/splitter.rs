//! A splitter: one input, several outputs, the same frames for all.

use crate::injection::submit;
use crate::rig::{DOWN, FRAMES, Rig, SEEDS, Setup, UP, bring, create, number, take, wait};
use ks_abi::{
    Guid, IoControlCode, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER,
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSPROPERTY_TYPE_GET, KsAllocatorFraming,
    KsAllocatorFramingEx, KsPinDataFlow, KsProperty, KsState, STATUS_PENDING, USERKS_PIN_WISHES, USERKS_PROPSET_PIN,
    UserksPinWish,
};
use ks_client::{Filter, Pin};
use ks_io::sync::{Arc, Mutex};
use ks_stream::{ExtendedFraming, PinFlags};
use std::sync::atomic::Ordering::SeqCst;
use zerocopy::{FromBytes, IntoBytes};

const IN: KsPinDataFlow = KsPinDataFlow::IN;
const OUT: KsPinDataFlow = KsPinDataFlow::OUT;

fn rig(seed: u64, frames: u32) -> Rig {
    let middle_flags = [PinFlags::empty(), PinFlags::SPLITTER];
    let rig = Rig::with(Setup { seed, middle_flags, changer: true, ..Setup::default() });
    rig.source.last.store(frames, SeqCst);
    rig.middle.script(take);
    rig
}

/// A source into a splitter.
struct Trunk {
    source: Pin,
    input: Pin,
    splitter: Filter,
    _from: Filter,
}

impl Trunk {
    fn new(rig: &Rig) -> Trunk {
        let (from, splitter) = (rig.open("source"), rig.open("middle"));
        let input = create(&splitter, 0, IN, None);
        let source = create(&from, 0, OUT, Some(&input));
        Trunk { source, input, splitter, _from: from }
    }

    fn pins(&self) -> [&Pin; 2] {
        [&self.input, &self.source]
    }
}

/// An output of a splitter into a sink of its own.
struct Leaf {
    sink: Pin,
    output: Pin,
    _filter: Filter,
}

impl Leaf {
    fn new(rig: &Rig, splitter: &Filter) -> Leaf {
        let filter = rig.open("sink");
        let sink = create(&filter, 0, IN, None);
        let output = create(splitter, 1, OUT, Some(&sink));
        Leaf { sink, output, _filter: filter }
    }

    fn pins(&self) -> [&Pin; 2] {
        [&self.sink, &self.output]
    }
}

fn bring_all<'p>(pins: impl Iterator<Item = &'p Pin> + Clone, states: &[KsState]) {
    for state in states {
        pins.clone().for_each(|pin| pin.set_state(*state).unwrap());
    }
}

#[test]
fn frames_that_a_driver_injects_reach_every_branch_and_come_back_once() {
    for seed in SEEDS {
        let rig = rig(seed, 0);
        rig.source.injects.store(true, SeqCst);
        let trunk = Trunk::new(&rig);
        let leaves = [Leaf::new(&rig, &trunk.splitter), Leaf::new(&rig, &trunk.splitter)];
        bring_all(leaves.iter().flat_map(Leaf::pins).chain(trunk.pins()), &UP);
        let pin = rig.source.pin();
        let returned = || {
            let mut back = std::mem::take(&mut *rig.source.returned.lock());
            back.sort_by_key(|(context, _)| *context);
            back.into_iter().map(|(context, _)| context).collect::<Vec<_>>()
        };
        for number in 0..5 {
            submit(&pin, number).unwrap();
        }
        rig.settle();
        assert_eq!(counts(&rig, 5), [2; 5], "seed {seed}");
        assert_eq!(returned(), [100, 101, 102, 103, 104]);
        assert!(leaves.iter().all(|leaf| leaf.output.statistics().unwrap().copies == 0), "shares of the same bytes");
        // A stop of the head calls back what waits in the branches.
        rig.sink.script(wait);
        for number in 5..8 {
            submit(&pin, number).unwrap();
        }
        rig.settle();
        assert_eq!(returned(), [0; 0]);
        bring(&trunk.source, &DOWN);
        rig.settle();
        assert_eq!(returned(), [105, 106, 107], "seed {seed}");
        drop((pin, leaves, trunk));
        rig.assert_quiescent();
    }
}

/// How often each of the numbers was seen.
fn counts(rig: &Rig, frames: u32) -> Vec<usize> {
    let seen = rig.sink.seen_now();
    (0..frames).map(|number| seen.iter().filter(|one| **one == number).count()).collect()
}

#[test]
fn every_branch_gets_every_frame_and_none_is_copied() {
    for seed in SEEDS {
        let rig = rig(seed, 50);
        let places: Arc<Mutex<Vec<(u32, u64)>>> = Arc::default();
        let noted = places.clone();
        rig.sink.script(move |probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                let buffer = frame.buffer().unwrap();
                assert!(buffer.write().is_none(), "what is shared cannot be written");
                probe.seen.lock().extend(number(&frame));
                noted.lock().push((number(&frame).unwrap(), buffer.address()));
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let trunk = Trunk::new(&rig);
        let leaves: Vec<_> = (0..3).map(|_| Leaf::new(&rig, &trunk.splitter)).collect();
        let end =
            |leaf: &Leaf| leaf.sink.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
        let ends: Vec<_> = leaves.iter().map(end).collect();
        let pins = || leaves.iter().flat_map(Leaf::pins).chain(trunk.pins());
        for round in 0..2 {
            rig.sink.seen.lock().clear();
            places.lock().clear();
            bring_all(pins(), &UP);
            rig.settle();
            assert_eq!(counts(&rig, 50), [3; 50], "round {round}");
            assert!(ends.iter().all(|end| end.event().is_set()));
            ends.iter().for_each(|end| end.event().clear());
            for leaf in &leaves {
                let counters = leaf.sink.statistics().unwrap();
                assert_eq!((counters.frames, counters.copies, counters.ended), (50, 0, 1));
                let copies = leaf.output.statistics().unwrap();
                assert_eq!((copies.copies, copies.allocator_frames), (0, FRAMES));
            }
            let mut places = places.lock().clone();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 50, "all branches have a frame at one address");
            bring_all(pins(), &DOWN);
        }
        drop((ends, leaves, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn every_branch_gets_every_frame_of_an_allocator_that_was_named() {
    let rig = rig(1, 50);
    let trunk = Trunk::new(&rig);
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 3,
        frame_size: 4096,
        ..Default::default()
    };
    let allocator = trunk.input.create_allocator(&framing).unwrap();
    trunk.source.set_allocator(Some(&allocator)).unwrap();
    let leaves: Vec<_> = (0..2).map(|_| Leaf::new(&rig, &trunk.splitter)).collect();
    bring_all(leaves.iter().flat_map(Leaf::pins).chain(trunk.pins()), &UP);
    rig.settle();
    // Each of its frames is the first of a region of its own.
    assert_eq!(counts(&rig, 50), [2; 50]);
    assert_eq!(leaves[0].output.statistics().unwrap().allocator_frames, 3);
    drop((leaves, allocator, trunk));
    rig.assert_quiescent();
}

#[test]
fn a_splitter_without_branches_lets_its_frames_go() {
    let rig = rig(1, 50);
    let trunk = Trunk::new(&rig);
    bring_all(trunk.pins().into_iter(), &UP);
    rig.settle();
    assert_eq!(rig.middle.seen_now(), (0..50).collect::<Vec<_>>());
    drop(trunk);
    rig.assert_quiescent();
}

#[test]
fn a_branch_whose_filter_changes_its_frames_gets_copies_and_the_others_see_nothing_of_it() {
    for seed in SEEDS {
        let rig = rig(seed, 50);
        let fifths: Arc<Mutex<Vec<u8>>> = Arc::default();
        let noted = fifths.clone();
        rig.sink.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                noted.lock().push(frame.buffer().unwrap().read().unwrap()[4]);
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let trunk = Trunk::new(&rig);
        let plain = Leaf::new(&rig, &trunk.splitter);
        let (changer, filter) = (rig.open("changer"), rig.open("sink"));
        let changed_in = create(&changer, 0, IN, None);
        let output = create(&trunk.splitter, 1, OUT, Some(&changed_in));
        let sink = create(&filter, 0, IN, None);
        let changed_out = create(&changer, 1, OUT, Some(&sink));
        let changed = [&sink, &changed_out, &changed_in, &output];
        bring_all(changed.into_iter().chain(plain.pins()).chain(trunk.pins()), &UP);
        rig.settle();
        assert_eq!(rig.changer.seen_now(), (0..50).collect::<Vec<_>>());
        let ones = fifths.lock().iter().filter(|byte| **byte == 1).count();
        assert_eq!((ones, fifths.lock().len()), (50, 100), "one branch sees ones, the other zeros");
        assert_eq!(output.statistics().unwrap().copies, 50);
        assert_eq!(plain.output.statistics().unwrap().copies, 0);
        drop((sink, changed_out, changed_in, output, changer, filter, plain, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn a_sink_that_changes_its_frames_in_place_gets_copies_behind_a_splitter() {
    let rig = rig(1, 50);
    let simple = KsAllocatorFramingEx::simple(Guid::NULL, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 0, 0, 0, 0);
    let framing = ExtendedFraming { compression: simple.output_compression, items: simple.framing_item.to_vec() };
    *rig.sink.extended.lock() = Some(framing);
    rig.sink.script(|probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            probe.seen.lock().extend(number(&frame));
            frame.buffer().unwrap().write().expect("its own bytes").fill(0xff);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let trunk = Trunk::new(&rig);
    let leaves = [Leaf::new(&rig, &trunk.splitter), Leaf::new(&rig, &trunk.splitter)];
    bring_all(leaves.iter().flat_map(Leaf::pins).chain(trunk.pins()), &UP);
    rig.settle();
    assert_eq!(counts(&rig, 50), [2; 50]);
    assert!(leaves.iter().all(|leaf| leaf.output.statistics().unwrap().copies == 50));
    drop((leaves, trunk));
    rig.assert_quiescent();
}

#[test]
fn what_is_asked_of_a_splitter_that_is_connected_to_itself_ends() {
    let rig = rig(1, 0);
    let splitter = rig.open("middle");
    let input = create(&splitter, 0, IN, None);
    let output = create(&splitter, 1, OUT, Some(&input));
    let property = KsProperty::new(USERKS_PROPSET_PIN, USERKS_PIN_WISHES, KSPROPERTY_TYPE_GET);
    let request = [property.as_bytes(), 8u32.as_bytes()].concat();
    for pin in [&output, &input] {
        let mut answer = [0; 1000];
        let outcome = pin.object().control(IoControlCode::KS_PROPERTY, &request, &mut answer);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        let (first, rest) = UserksPinWish::read_from_prefix(&answer[..outcome.information]).unwrap();
        assert_eq!((first.after, first.frames), (u32::MAX, FRAMES));
        let name = (first.name_bytes as usize).next_multiple_of(4);
        let (second, _) = UserksPinWish::read_from_prefix(&rest[name..]).unwrap();
        assert_eq!(second.after, 0, "each pin has a wish, and once");
    }
    drop((output, input, splitter));
    rig.assert_quiescent();
}

#[test]
fn the_slowest_branch_holds_the_frames_until_it_stops() {
    for seed in SEEDS {
        let rig = rig(seed, 50);
        let trunk = Trunk::new(&rig);
        let (quick, slow) = (Leaf::new(&rig, &trunk.splitter), Leaf::new(&rig, &trunk.splitter));
        // In PAUSE with its gate closed the second takes frames and processes none.
        let sink = rig.sink.pin();
        sink.and_gate().turn_input_off();
        bring_all(slow.pins().into_iter().chain(quick.pins()).chain(trunk.pins()), &UP);
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..FRAMES).collect::<Vec<_>>(), "the other has what the circuit has");
        bring(&slow.sink, &[KsState::STOP]);
        rig.settle();
        assert_eq!(counts(&rig, 50), [1; 50]);
        sink.and_gate().turn_input_on();
        drop(sink);
        drop((quick, slow, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn a_branch_that_has_reached_its_limit_holds_nobody_up() {
    let rig = rig(2, 50);
    let trunk = Trunk::new(&rig);
    let (short, long) = (Leaf::new(&rig, &trunk.splitter), Leaf::new(&rig, &trunk.splitter));
    short.sink.set_limit(7, 0).unwrap();
    bring_all(short.pins().into_iter().chain(long.pins()).chain(trunk.pins()), &UP);
    rig.settle();
    assert_eq!(short.sink.statistics().unwrap().frames, 7);
    assert_eq!(long.sink.statistics().unwrap().frames, 50);
}

#[test]
fn a_branch_joins_and_leaves_a_running_stream() {
    for seed in SEEDS {
        let rig = rig(seed, 0);
        // Ten frames for each time that the test asks.
        rig.source.script(|probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                let number = probe.next.load(SeqCst);
                if number >= probe.last.load(SeqCst) {
                    return STATUS_PENDING;
                }
                probe.next.fetch_add(1, SeqCst);
                crate::rig::put(&frame, number, false);
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let go_on = |frames: u32| {
            rig.source.last.fetch_add(frames, SeqCst);
            rig.source.pin().attempt_processing();
            rig.settle();
        };
        let trunk = Trunk::new(&rig);
        let first = Leaf::new(&rig, &trunk.splitter);
        bring_all(first.pins().into_iter().chain(trunk.pins()), &UP);
        go_on(10);
        let second = Leaf::new(&rig, &trunk.splitter);
        bring_all(second.pins().into_iter(), &UP);
        go_on(10);
        assert_eq!(first.sink.statistics().unwrap().frames, 20);
        assert_eq!(second.sink.statistics().unwrap().frames, 10);
        // The output goes first, then in the next round the sink.
        let Leaf { sink, output, _filter: filter } = second;
        drop(output);
        go_on(10);
        drop((sink, filter));
        let third = Leaf::new(&rig, &trunk.splitter);
        bring_all(third.pins().into_iter(), &UP);
        go_on(10);
        let Leaf { sink, output, _filter: filter } = third;
        assert_eq!(sink.statistics().unwrap().frames, 10);
        drop((sink, filter));
        go_on(10);
        drop(output);
        go_on(10);
        assert_eq!(first.sink.statistics().unwrap().frames, 60, "no frame was lost to the circuit");
        drop((first, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn a_branch_that_is_closed_while_its_driver_holds_a_frame_gives_it_back_when_the_driver_lets_go() {
    for seed in SEEDS {
        let rig = rig(seed, 100);
        let trunk = Trunk::new(&rig);
        let plain = Leaf::new(&rig, &trunk.splitter);
        let holding = Leaf::new(&rig, &trunk.splitter);
        let held = Arc::downgrade(&rig.sink.pin());
        let mine = held.clone();
        rig.sink.script(move |probe, pin| {
            if std::ptr::eq(&**pin, mine.as_ptr())
                && let Some(frame) = pin.leading_edge()
            {
                probe.clones.lock().extend(frame.clone_pointer());
                drop(frame.advance());
                return STATUS_PENDING;
            }
            take(probe, pin)
        });
        bring_all(holding.pins().into_iter().chain(plain.pins()).chain(trunk.pins()), &UP);
        rig.settle();
        let before = plain.sink.statistics().unwrap().frames;
        assert!((u64::from(FRAMES)..100).contains(&before), "the clones hold the frames: {before}");
        // The close of the pin deletes the clones.
        drop(holding);
        rig.settle();
        assert_eq!(plain.sink.statistics().unwrap().frames, 100);
        drop((plain, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn a_splitter_behind_a_splitter_shares_the_same_frames() {
    for seed in SEEDS {
        let rig = rig(seed, 50);
        let trunk = Trunk::new(&rig);
        let plain = Leaf::new(&rig, &trunk.splitter);
        let inner = rig.open("middle");
        let input = create(&inner, 0, IN, None);
        let output = create(&trunk.splitter, 1, OUT, Some(&input));
        let leaves: Vec<_> = (0..2).map(|_| Leaf::new(&rig, &inner)).collect();
        let pins = || {
            let inner = [&input, &output];
            leaves.iter().flat_map(Leaf::pins).chain(inner).chain(plain.pins()).chain(trunk.pins())
        };
        bring_all(pins(), &UP);
        rig.settle();
        assert_eq!(counts(&rig, 50), [3; 50]);
        assert!(leaves.iter().all(|leaf| leaf.output.statistics().unwrap().copies == 0));
        bring_all(pins(), &DOWN);
        rig.sink.seen.lock().clear();
        bring_all(pins(), &UP);
        rig.settle();
        assert_eq!(counts(&rig, 50), [3; 50]);
        // The inner one goes while the outer one stays.
        drop((leaves, input, output, inner));
        drop((plain, trunk));
        rig.assert_quiescent();
    }
}

#[test]
fn a_refused_start_takes_the_branches_back_and_the_next_start_streams() {
    let rig = rig(3, 50);
    let trunk = Trunk::new(&rig);
    let leaf = Leaf::new(&rig, &trunk.splitter);
    let pins = || leaf.pins().into_iter().chain(trunk.pins());
    *rig.source.refuse.lock() = Some((KsState::ACQUIRE, KsState::PAUSE));
    bring_all(leaf.pins().into_iter().chain([&trunk.input]), &UP);
    // In one request: the steps that were agreed before are taken back, and with them the circuit.
    trunk.source.set_state(KsState::RUN).unwrap_err();
    *rig.source.refuse.lock() = None;
    rig.settle();
    assert_eq!(counts(&rig, 50), [0; 50]);
    bring_all(pins(), &[KsState::STOP]);
    bring_all(pins(), &UP);
    rig.settle();
    assert_eq!(counts(&rig, 50), [1; 50]);
    drop((leaf, trunk));
    rig.assert_quiescent();
}
