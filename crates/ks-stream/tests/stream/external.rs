//! Sections whose frames come from outside: a client or another driver sends them in, and they go on through filters that
//! work in place and through splitters, where they are.

use crate::foreign::{Joined, Plain, close};
use crate::rig::{DOWN, FRAMES, Rig, SEEDS, Setup, UP, bring, create, filled, number, take, wait};
use ks_abi::{
    IoControlCode, KsPinDataFlow, KsState, STATUS_CANCELLED, STATUS_INVALID_DEVICE_STATE, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::{Filter, Pin, StreamRequest};
use ks_io::sync::{Arc, Mutex};
use ks_stream::PinFlags;
use std::sync::atomic::Ordering::SeqCst;

const IN: KsPinDataFlow = KsPinDataFlow::IN;
const OUT: KsPinDataFlow = KsPinDataFlow::OUT;

/// The middle, whose input a client writes to, and sinks behind its outputs.
struct Entered {
    entry: Pin,
    outputs: Vec<Pin>,
    sinks: Vec<Pin>,
    _filters: Vec<Filter>,
}

impl Entered {
    fn new(rig: &Rig, sinks: usize) -> Entered {
        let middle = rig.open("middle");
        let entry = create(&middle, 0, IN, None);
        let mut entered = Entered { entry, outputs: Vec::new(), sinks: Vec::new(), _filters: Vec::new() };
        for _ in 0..sinks {
            let filter = rig.open("sink");
            let sink = create(&filter, 0, IN, None);
            entered.outputs.push(create(&middle, 1, OUT, Some(&sink)));
            entered.sinks.push(sink);
            entered._filters.push(filter);
        }
        entered._filters.push(middle);
        entered
    }

    fn bring(&self, states: &[KsState]) {
        for state in states {
            let pins = self.sinks.iter().chain(&self.outputs).chain([&self.entry]);
            pins.for_each(|pin| pin.set_state(*state).unwrap());
        }
    }

    fn write(&self, number: u32) -> StreamRequest {
        self.entry.write_stream(vec![filled(&self.entry, number)]).unwrap()
    }
}

fn splitter(seed: u64) -> Rig {
    let middle_flags = [PinFlags::empty(), PinFlags::SPLITTER];
    let rig = Rig::with(Setup { seed, middle_flags, changer: true, ..Setup::default() });
    rig.middle.script(take);
    rig
}

#[test]
fn a_clients_frames_go_through_a_filter_in_place_and_come_back_from_its_sink() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let places: Arc<Mutex<Vec<u64>>> = Arc::default();
        let noted = places.clone();
        rig.sink.script(move |probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                noted.lock().push(frame.buffer().unwrap().address());
                probe.seen.lock().extend(number(&frame));
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let entered = Entered::new(&rig, 1);
        entered.bring(&UP);
        // Several frames a request go the same way as one.
        for (first, count) in [(0, 1), (1, 3), (4, 2)] {
            let frames: Vec<_> = (first..first + count).map(|number| filled(&entered.entry, number)).collect();
            let sent: Vec<u64> = frames.iter().map(|frame| frame.buffer().address()).collect();
            let back = entered.entry.write_stream(frames).unwrap().wait().unwrap();
            assert_eq!(std::mem::take(&mut *places.lock()), sent, "the sink has the client's own memory");
            assert!(back.iter().all(|frame| frame.data()[4] == 1), "the filter changed it there");
        }
        assert_eq!(rig.middle.seen_now(), (0..6).collect::<Vec<_>>());
        assert_eq!(rig.sink.seen_now(), (0..6).collect::<Vec<_>>());
        let counters = entered.sinks[0].statistics().unwrap();
        assert_eq!((counters.frames, counters.copies, counters.allocator_frames), (6, 0, 0), "no allocator is needed");
        entered.bring(&DOWN);
        drop(entered);
        rig.assert_quiescent();
    }
}

#[test]
fn a_clients_request_is_cancelled_wherever_it_waits() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.sink.script(wait);
        let entered = Entered::new(&rig, 1);
        entered.bring(&UP);
        let requests = [entered.write(0), entered.write(1), entered.write(2)];
        rig.settle();
        assert_eq!(rig.middle.seen_now(), [0, 1, 2], "they wait behind the filter");
        assert!(requests.iter().all(|request| !request.is_done()));
        requests[1].cancel();
        let [first, second, third] = requests;
        assert_eq!(second.wait().unwrap_err().status, STATUS_CANCELLED);
        assert!(!first.is_done() && !third.is_done());
        rig.sink.script(take);
        rig.sink.pin().attempt_processing();
        first.wait().unwrap();
        third.wait().unwrap();
        assert_eq!(rig.sink.seen_now(), [0, 2]);
        drop(entered);
        rig.assert_quiescent();
    }
}

#[test]
fn a_pin_of_the_section_that_stops_or_closes_ends_the_requests_that_it_has() {
    for (seed, closes) in SEEDS.flat_map(|seed| [(seed, false), (seed, true)]) {
        let rig = Rig::new(seed);
        rig.sink.script(wait);
        let mut entered = Entered::new(&rig, 1);
        entered.bring(&UP);
        let requests = [entered.write(0), entered.write(1)];
        rig.settle();
        if closes {
            drop(entered.sinks.remove(0));
        } else {
            bring(&entered.sinks[0], &DOWN);
        }
        for request in requests {
            assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        }
        let late = entered.write(2);
        if closes {
            late.wait().expect("the section ends at its entry now");
        } else {
            assert_eq!(late.wait().unwrap_err().status, STATUS_INVALID_DEVICE_STATE, "the sink does not take it");
            rig.sink.script(take);
            bring(&entered.sinks[0], &UP);
            entered.write(3).wait().unwrap();
            assert_eq!(rig.sink.seen_now(), [3]);
        }
        drop(entered);
        rig.assert_quiescent();
    }
}

#[test]
fn branches_share_a_clients_frame_and_the_slower_one_decides_when_it_is_back() {
    for seed in SEEDS {
        let rig = splitter(seed);
        let held: Arc<Mutex<Vec<Arc<ks_stream::Pin>>>> = Arc::default();
        let slow = held.clone();
        rig.sink.script(move |probe, pin| {
            // The first pin that is asked is the slow one: it keeps its frames until it is told.
            let mut slow = slow.lock();
            if slow.is_empty() {
                slow.push(pin.clone());
            }
            let waits = slow.len() == 1 && Arc::ptr_eq(&slow[0], pin);
            drop(slow);
            if waits { STATUS_PENDING } else { take(probe, pin) }
        });
        let entered = Entered::new(&rig, 2);
        entered.bring(&UP);
        let requests = [entered.write(0), entered.write(1)];
        rig.settle();
        assert_eq!(rig.sink.seen_now(), [0, 1], "the quick branch is through");
        assert!(requests.iter().all(|request| !request.is_done()), "the slow one has both");
        let pin = held.lock()[0].clone();
        held.lock().push(pin.clone());
        pin.attempt_processing();
        drop(pin);
        held.lock().truncate(2);
        for request in requests {
            request.wait().unwrap();
        }
        assert_eq!(rig.sink.seen_now(), [0, 1, 0, 1]);
        for (sink, output) in entered.sinks.iter().zip(&entered.outputs) {
            assert_eq!((sink.statistics().unwrap().frames, output.statistics().unwrap().copies), (2, 0));
        }
        held.lock().clear();
        entered.bring(&DOWN);
        drop(entered);
        rig.assert_quiescent();
    }
}

#[test]
fn a_branch_that_changes_a_clients_frames_gets_copies_of_them() {
    for seed in SEEDS {
        let rig = splitter(seed);
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
        let mut entered = Entered::new(&rig, 1);
        let (changer, filter) = (rig.open("changer"), rig.open("sink"));
        let sink = create(&filter, 0, IN, None);
        let changed_out = create(&changer, 1, OUT, Some(&sink));
        let changed_in = create(&changer, 0, IN, None);
        let branch = create(&entered._filters[1], 1, OUT, Some(&changed_in));
        entered.sinks.extend([sink, changed_in]);
        entered.outputs.extend([changed_out, branch]);
        entered.bring(&UP);
        let back = entered.write(0).wait().unwrap();
        assert_eq!(back[0].data()[4], 0, "the client's memory is as it was");
        let mut fifths = fifths.lock().clone();
        fifths.sort_unstable();
        assert_eq!(fifths, [0, 1]);
        let copies: Vec<u64> = entered.outputs.iter().map(|pin| pin.statistics().unwrap().copies).collect();
        assert_eq!(copies, [0, 0, 1]);
        entered.bring(&DOWN);
        drop((entered, changer, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_clients_frames_go_through_a_filter_in_place_to_a_plain_sink() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let plain = Plain::start(&rig);
        let joined = Joined::new(&rig, "middle", OUT);
        let entry = create(&joined.filter, 0, IN, None);
        for state in UP {
            joined.pin.bring(&[state]);
            bring(&entry, &[state]);
        }
        let write = |number| entry.write_stream(vec![filled(&entry, number)]).unwrap();
        let requests = [write(0), write(1), write(2)];
        rig.settle();
        assert_eq!(plain.queue.len(), 3, "one request for each");
        assert!(requests.iter().all(|request| !request.is_done()));
        requests[1].cancel();
        let [first, second, third] = requests;
        assert_eq!(second.wait().unwrap_err().status, STATUS_CANCELLED, "the request in its place was cancelled");
        assert_eq!(plain.queue.len(), 2);
        assert!(plain.serve(STATUS_SUCCESS) && plain.serve(STATUS_UNSUCCESSFUL));
        let back = first.wait().unwrap();
        assert_eq!(back[0].data()[4], 1);
        assert_eq!(third.wait().unwrap_err().status, STATUS_UNSUCCESSFUL, "the status of the far end");
        assert_eq!(*plain.seen.lock(), [0]);
        bring(&entry, &DOWN);
        joined.pin.bring(&DOWN);
        drop(entry);
        close(rig, joined, &plain);
    }
}

#[test]
fn frames_that_are_asked_of_a_plain_source_go_through_a_filter_in_place_and_are_asked_for_again() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let plain = Plain::start(&rig);
        let joined = Joined::new(&rig, "middle", IN);
        let filter = rig.open("sink");
        let sink = create(&filter, 0, IN, None);
        let output = create(&joined.filter, 1, OUT, Some(&sink));
        for state in UP {
            bring(&sink, &[state]);
            bring(&output, &[state]);
            joined.pin.bring(&[state]);
        }
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize);
        for _ in 0..50 {
            assert!(plain.serve(STATUS_SUCCESS));
            rig.settle();
        }
        assert_eq!(rig.middle.seen_now(), (0..50).collect::<Vec<_>>());
        assert_eq!(rig.sink.seen_now(), (0..50).collect::<Vec<_>>());
        assert_eq!(plain.queue.len(), FRAMES as usize, "all frames are with the source again");
        assert!(plain.codes.lock().iter().all(|code| *code == IoControlCode::KS_READ_STREAM));
        assert_eq!(sink.statistics().unwrap().copies, 0);
        assert_eq!(sink.statistics().unwrap().allocator_frames, FRAMES, "the section is that of the asking pin");
        // A stop keeps the frames, and the next start asks again.
        joined.pin.bring(&DOWN);
        while plain.serve(STATUS_SUCCESS) {
            rig.settle();
        }
        assert_eq!(rig.sink.seen_now().len(), 50, "a stopped pin takes nothing");
        joined.pin.bring(&UP);
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize);
        bring(&sink, &DOWN);
        bring(&output, &DOWN);
        joined.pin.bring(&DOWN);
        drop((sink, output, filter));
        close(rig, joined, &plain);
    }
}

#[test]
fn frames_of_a_plain_source_come_by_a_filter_in_place_to_the_branches_of_a_splitter() {
    for seed in SEEDS {
        let rig = splitter(seed);
        let plain = Plain::start(&rig);
        // The changer works in place; behind it is the splitter.
        let joined = Joined::new(&rig, "changer", IN);
        let entered = Entered::new(&rig, 2);
        let output = create(&joined.filter, 1, OUT, Some(&entered.entry));
        for state in UP {
            entered.bring(&[state]);
            bring(&output, &[state]);
            joined.pin.bring(&[state]);
        }
        rig.settle();
        for _ in 0..20 {
            assert!(plain.serve(STATUS_SUCCESS));
            rig.settle();
        }
        let counts = |wanted| rig.sink.seen_now().into_iter().filter(|seen| *seen == wanted).count();
        assert!((0..20).all(|number| counts(number) == 2), "{:?}", rig.sink.seen_now());
        assert_eq!(plain.queue.len(), FRAMES as usize);
        assert!(plain.requests.load(SeqCst) >= 20);
        entered.bring(&DOWN);
        bring(&output, &DOWN);
        joined.pin.bring(&DOWN);
        drop((entered, output));
        close(rig, joined, &plain);
    }
}
