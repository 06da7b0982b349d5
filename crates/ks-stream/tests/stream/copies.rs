//! Splitters among the outputs of a source, and of a filter that copies, where those behind change what they get: each
//! output has frames of its own.

use crate::rig::{
    BOTH_WAYS, DOWN, FRAMES, Probe, Requests, Rig, SEEDS, Setup, UP, bring, create, filled, frames, number, numbers,
    put,
};
use ks_abi::{
    KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, KSMEMORY_TYPE_SYSTEM, KsAllocatorFramingEx, KsPinDataFlow, KsState,
    STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::Pin;
use ks_io::sync::{Arc, Mutex};
use ks_stream::{CopyRelationship, ExtendedFraming, PinFlags};
use std::sync::atomic::Ordering::SeqCst;

const SPLITTER: PinFlags = PinFlags::SPLITTER;

/// Numbers that each of the sink's pins saw, by the order of their creation.
pub type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

/// Each pin of the sink says that it changes its frames.
pub fn sinks_change_frames(rig: &Rig) {
    let changes = KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER;
    let framing = KsAllocatorFramingEx::simple(KSMEMORY_TYPE_SYSTEM, changes, FRAMES, 0, 0, 0);
    let items = framing.framing_item.to_vec();
    *rig.sink.extended.lock() = Some(ExtendedFraming { compression: framing.output_compression, items });
}

/// The position of a pin among those of its factory.
pub fn place(pin: &Arc<ks_stream::Pin>) -> usize {
    pin.filter().pins(pin.id()).iter().position(|known| Arc::ptr_eq(known, pin)).unwrap()
}

/// Sinks of one filter note what they see; the pins of the source that its driver was called for are noted, too.
pub fn note(rig: &Rig, sinks: usize) -> (Seen, Arc<Mutex<Vec<usize>>>) {
    let seen: Seen = Arc::new(Mutex::new(vec![Vec::new(); sinks]));
    let filled: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (log, called) = (seen.clone(), filled.clone());
    rig.sink.script(move |_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if frame.data_used() > 0 {
                log.lock()[place(pin)].extend(number(&frame));
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    rig.source.script(move |probe, pin| {
        called.lock().push(place(pin));
        crate::rig::fill(probe, pin)
    });
    (seen, filled)
}

/// Outputs of one open filter, each connected to a sink of its own.
pub struct Fan {
    pub outputs: Vec<Pin>,
    pub sinks: Vec<Pin>,
    pub filters: Vec<ks_client::Filter>,
}

impl Fan {
    pub fn of(rig: &Rig, requests: Requests, from: &str, output: u32, count: usize) -> Fan {
        let (from, to) = (rig.open(from), rig.open("sink"));
        let (mut outputs, mut sinks) = (Vec::new(), Vec::new());
        for _ in 0..count {
            match requests {
                Requests::FromSource => {
                    let sink = create(&to, 0, KsPinDataFlow::IN, None);
                    outputs.push(create(&from, output, KsPinDataFlow::OUT, Some(&sink)));
                    sinks.push(sink);
                }
                Requests::FromSink => {
                    let source = create(&from, output, KsPinDataFlow::OUT, None);
                    sinks.push(create(&to, 0, KsPinDataFlow::IN, Some(&source)));
                    outputs.push(source);
                }
            }
        }
        Fan { outputs, sinks, filters: vec![from, to] }
    }

    pub fn bring(&self, states: &[KsState]) {
        for state in states {
            for pin in self.sinks.iter().chain(self.outputs.iter().rev()) {
                bring(pin, &[*state]);
            }
        }
    }

    pub fn end(self, rig: &Rig) {
        for state in DOWN {
            for pin in self.outputs.iter().chain(&self.sinks) {
                bring(pin, &[state]);
            }
        }
        drop((self.outputs, self.sinks, self.filters));
        rig.assert_quiescent();
    }
}

#[test]
fn what_a_source_fills_for_its_first_output_is_copied_to_the_others() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|requests| (seed, requests))) {
        let rig = Rig::with(Setup { seed, requests, source_flags: SPLITTER, ..Setup::default() });
        rig.source.last.store(25, SeqCst);
        sinks_change_frames(&rig);
        let (seen, filled) = note(&rig, 3);
        let fan = Fan::of(&rig, requests, "source", 0, 3);
        fan.bring(&UP);
        rig.settle();
        let all: Vec<u32> = (0..25).collect();
        assert_eq!(*seen.lock(), [all.clone(), all.clone(), all], "seed {seed}, {requests:?}");
        assert!(filled.lock().iter().all(|pin| *pin == 0), "the driver fills the first only");
        let copies: Vec<u64> = fan.outputs.iter().map(|pin| pin.statistics().unwrap().copies).collect();
        assert_eq!(copies, [0, 25, 25]);
        let pins = rig.source.pins.lock().iter().filter_map(std::sync::Weak::upgrade).collect::<Vec<_>>();
        let relationships: Vec<_> = pins.iter().map(|pin| pin.copy_relationship()).collect();
        assert_eq!(relationships, [None, Some(CopyRelationship::Copied), Some(CopyRelationship::Copied)]);
        drop(pins);
        fan.end(&rig);
    }
}

/// What becomes of an output whose frames are all with a sink that does not process yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    GoesOn,
    Stops,
    Closes,
}

#[test]
fn the_slowest_output_sets_the_pace_until_it_stops_or_closes() {
    for (seed, then) in SEEDS.flat_map(|seed| [(seed, Then::GoesOn), (seed, Then::Stops), (seed, Then::Closes)]) {
        let rig = Rig::with(Setup { seed, source_flags: SPLITTER, ..Setup::default() });
        rig.source.last.store(25, SeqCst);
        sinks_change_frames(&rig);
        let (seen, _) = note(&rig, 2);
        let mut fan = Fan::of(&rig, Requests::FromSource, "source", 0, 2);
        fan.bring(&UP[..1]);
        bring(&fan.sinks[0], &UP[1..]);
        for output in &fan.outputs {
            bring(output, &UP[1..]);
        }
        rig.settle();
        assert_eq!(seen.lock()[0].len(), FRAMES as usize, "seed {seed}: as many as the second has frames");
        match then {
            Then::GoesOn => bring(&fan.sinks[1], &UP[1..]),
            Then::Stops => bring(&fan.outputs[1], &DOWN),
            Then::Closes => drop(fan.outputs.pop()),
        }
        rig.settle();
        let all: Vec<u32> = (0..25).collect();
        assert_eq!(seen.lock()[0], all, "seed {seed}, {then:?}");
        if then == Then::GoesOn {
            assert_eq!(seen.lock()[1], all, "seed {seed}: it misses nothing");
        }
        fan.end(&rig);
    }
}

#[test]
fn when_the_first_output_stops_the_driver_fills_the_next() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, source_flags: SPLITTER, ..Setup::default() });
        sinks_change_frames(&rig);
        let (seen, filled) = note(&rig, 2);
        rig.source.last.store(10, SeqCst);
        let fan = Fan::of(&rig, Requests::FromSource, "source", 0, 2);
        // The first is created, and does not stream.
        for pin in [&fan.sinks[1], &fan.outputs[1]] {
            bring(pin, &UP);
        }
        rig.settle();
        let lens: Vec<usize> = seen.lock().iter().map(Vec::len).collect();
        assert_eq!(lens, [0, 10], "seed {seed}");
        assert!(filled.lock().iter().all(|pin| *pin == 1));
        bring(&fan.outputs[1], &DOWN);
        bring(&fan.sinks[1], &DOWN);
        rig.source.next.store(0, SeqCst);
        fan.bring(&UP);
        rig.settle();
        let seen = seen.lock().clone();
        assert_eq!(seen[0], (0..10).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(seen[0], seen[1][10..], "seed {seed}: beside the first it follows");
        fan.end(&rig);
    }
}

/// The client of the second reads into less memory than the first has data.
#[test]
fn a_copy_that_does_not_fit_is_refused_to_its_client_and_holds_nobody_up() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, source_flags: SPLITTER, ..Setup::default() });
        let source = rig.open("source");
        let [first, second] = [(); 2].map(|()| create(&source, 0, KsPinDataFlow::OUT, None));
        bring(&second, &UP);
        bring(&first, &UP);
        let small = second.read_stream(vec![second.allocate(8).unwrap()]).unwrap();
        let read = first.read_stream(frames(&first, 1)).unwrap();
        assert_eq!(numbers(&read.wait().unwrap()), [0]);
        assert_eq!(small.wait().unwrap_err().status, STATUS_BUFFER_TOO_SMALL);
        let next = second.read_stream(frames(&second, 1)).unwrap();
        let read = first.read_stream(frames(&first, 1)).unwrap();
        assert_eq!(numbers(&read.wait().unwrap()), numbers(&next.wait().unwrap()));
        assert_eq!(second.statistics().unwrap().copies, 1);
        bring(&first, &DOWN);
        bring(&second, &DOWN);
        drop((first, second, source));
        rig.assert_quiescent();
    }
}

/// Clients read from both; a read whose frames wait for the other's can be cancelled.
#[test]
fn a_clients_reads_are_copied_and_can_be_cancelled_while_they_wait() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, source_flags: SPLITTER, ..Setup::default() });
        let source = rig.open("source");
        let [first, second] = [(); 2].map(|()| create(&source, 0, KsPinDataFlow::OUT, None));
        bring(&second, &UP);
        bring(&first, &UP);
        let read = first.read_stream(frames(&first, 3)).unwrap();
        rig.settle();
        assert!(!read.is_done(), "the other has no frames for its copies");
        let copies = second.read_stream(frames(&second, 2)).unwrap();
        assert_eq!(numbers(&copies.wait().unwrap()), [0, 1]);
        assert!(!read.is_done());
        let copies = second.read_stream(frames(&second, 2)).unwrap();
        assert_eq!(numbers(&read.wait().unwrap()), [0, 1, 2]);
        assert!(!copies.is_done(), "one of its two frames is filled");
        let next = first.read_stream(frames(&first, 2)).unwrap();
        assert_eq!(numbers(&copies.wait().unwrap()), [2, 3]);
        rig.settle();
        assert!(!next.is_done());
        next.cancel();
        assert_eq!(next.wait().unwrap_err().status, STATUS_CANCELLED);
        // What comes behind a cancelled one goes on.
        let last = first.read_stream(frames(&first, 1)).unwrap();
        let copies = second.read_stream(frames(&second, 1)).unwrap();
        assert_eq!(numbers(&copies.wait().unwrap()), numbers(&last.wait().unwrap()));
        // A stop of the first gives back what waits.
        let waits = first.read_stream(frames(&first, 1)).unwrap();
        rig.settle();
        assert!(!waits.is_done());
        bring(&first, &DOWN);
        assert_eq!(waits.wait().unwrap_err().status, STATUS_CANCELLED);
        drop((first, second, source));
        rig.assert_quiescent();
    }
}

/// A filter that copies, as a whole: its process callback sees all outputs, and fills the first.
#[test]
fn a_filter_that_processes_as_a_whole_fills_the_first_output_and_sees_that_the_others_follow() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|requests| (seed, requests))) {
        let middle_flags = [PinFlags::empty(), SPLITTER];
        let setup = Setup { seed, requests, middle_flags, middle_in_place: None, ..Setup::default() };
        let rig = Rig::with(setup);
        sinks_change_frames(&rig);
        let (seen, _) = note(&rig, 2);
        rig.middle.script_filter(|probe: &Probe, _, pins| {
            let (Some(input), Some(output)) = (pins.of(0).next(), pins.of(1).next()) else { return STATUS_PENDING };
            for (at, later) in pins.of(1).enumerate().skip(1) {
                let (relationship, of) = pins.follows(later).unwrap();
                assert_eq!((relationship, of.address()), (CopyRelationship::Copied, output.address()), "{at}");
                assert!(pins.frame(later).is_none() && later.bytes_available() == 0 && !pins.update(later));
            }
            assert!(pins.follows(output).is_none());
            let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
            let number = number(&from).unwrap();
            put(&to, number, from.options_flags() & ks_abi::KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0);
            to.set_data_used(0);
            probe.seen.lock().push(number);
            drop((from, to));
            input.set_bytes_used(input.bytes_available());
            output.set_bytes_used(output.bytes_available());
            STATUS_SUCCESS
        });
        let fan = Fan::of(&rig, requests, "middle", 1, 2);
        let input = create(&fan.filters[0], 0, KsPinDataFlow::IN, None);
        fan.bring(&UP);
        bring(&input, &UP);
        let writes: Vec<_> = (0..9).map(|at| input.write_stream(vec![filled(&input, at)]).unwrap()).collect();
        for write in writes {
            write.wait().unwrap();
        }
        rig.settle();
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(rig.middle.seen_now(), all, "once each");
        assert_eq!(*seen.lock(), [all.clone(), all], "seed {seed}, {requests:?}");
        bring(&input, &DOWN);
        drop(input);
        fan.end(&rig);
    }
}
