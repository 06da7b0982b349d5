//! When a pin processes, on which thread, and for how long.

use crate::rig::{FRAMES, Rig, SEEDS, Setup, UP, bring, create, fill, filled, frames, put, take, take_one, wait};
use ks_abi::{KsPinDataFlow, KsState, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_client::Client;
use ks_io::sync::Arc;
use ks_io::{Level, RequestorMode, Services, Ticks};
use ks_stream::PinFlags;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

fn with_source(flags: PinFlags) -> Rig {
    Rig::with(Setup { source_flags: flags, ..Setup::default() })
}

/// Process calls of a driver that takes nothing, after each of three reads.
fn calls_of_arrivals(flags: PinFlags) -> Vec<u64> {
    let rig = with_source(flags);
    rig.source.script(wait);
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let mut requests = Vec::new();
    (0..3)
        .map(|_| {
            requests.push(pin.read_stream(frames(&pin, 1)).unwrap());
            rig.settle();
            rig.source.calls()
        })
        .collect()
}

#[test]
fn an_arrival_in_the_empty_queue_triggers_and_a_flag_makes_it_every_one_or_none() {
    assert_eq!(calls_of_arrivals(PinFlags::empty()), [1, 1, 1]);
    assert_eq!(calls_of_arrivals(PinFlags::INITIATE_PROCESSING_ON_EVERY_ARRIVAL), [1, 2, 3]);
    assert_eq!(calls_of_arrivals(PinFlags::DO_NOT_INITIATE_PROCESSING), [0, 0, 0]);
    assert_eq!(calls_of_arrivals(PinFlags::ASYNCHRONOUS_PROCESSING), [1, 1, 1]);
}

#[test]
fn without_initiation_only_an_attempt_processes() {
    let rig = with_source(PinFlags::DO_NOT_INITIATE_PROCESSING);
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let request = pin.read_stream(frames(&pin, 1)).unwrap();
    bring(&pin, &[KsState::PAUSE, KsState::RUN]);
    rig.settle();
    assert!(!request.is_done());
    rig.source.pin().attempt_processing();
    assert!(request.is_done());
}

#[test]
fn a_run_only_pin_does_not_process_in_pause() {
    let rig = with_source(PinFlags::PROCESS_IN_RUN_STATE_ONLY);
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP[..2]);
    let request = pin.read_stream(frames(&pin, 1)).unwrap();
    rig.source.pin().attempt_processing();
    rig.settle();
    assert_eq!(rig.source.calls(), 0);
    pin.set_state(KsState::RUN).unwrap();
    assert!(request.wait().is_ok());
    pin.set_state(KsState::PAUSE).unwrap();
    let request = pin.read_stream(frames(&pin, 1)).unwrap();
    rig.settle();
    assert!(!request.is_done());
    pin.set_state(KsState::RUN).unwrap();
    assert!(request.wait().is_ok());
}

#[test]
fn success_calls_again_while_frames_are_left_and_pending_and_errors_wait() {
    for (status, wanted) in [(STATUS_SUCCESS, 5), (STATUS_PENDING, 1), (STATUS_UNSUCCESSFUL, 1)] {
        let rig = Rig::new(1);
        rig.sink.script(move |probe, pin| {
            let _ = take_one(probe, pin);
            status
        });
        let (_filter, pin) = rig.alone("sink");
        pin.set_state(KsState::ACQUIRE).unwrap();
        let request = pin.write_stream((0..5).map(|number| filled(&pin, number)).collect()).unwrap();
        bring(&pin, &UP[1..2]);
        rig.settle();
        assert_eq!(rig.sink.calls(), wanted, "{status}");
        assert_eq!(request.is_done(), wanted == 5);
        rig.sink.pin().attempt_processing();
        rig.settle();
        assert_eq!(rig.sink.calls(), (wanted + 1).min(5));
    }
}

#[test]
fn success_without_progress_does_not_loop() {
    let rig = Rig::new(1);
    rig.source.script(|_, pin| {
        drop(pin.leading_edge());
        STATUS_SUCCESS
    });
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let _request = pin.read_stream(frames(&pin, 2)).unwrap();
    rig.settle();
    assert_eq!(rig.source.calls(), 1);
}

#[test]
fn an_attempt_during_processing_is_honoured_when_the_callback_returns() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let inside = Arc::new(AtomicBool::new(false));
        rig.source.script(move |probe, pin| {
            assert!(!inside.swap(true, SeqCst), "a pin processes on one thread at a time");
            if probe.calls() < 4 {
                pin.attempt_processing();
            }
            if probe.calls() == 2 {
                // From another thread it counts as much.
                let other = pin.clone();
                let spawned = pin.services().spawn("other", move || other.attempt_processing_later()).unwrap();
                spawned.join();
            }
            inside.store(false, SeqCst);
            STATUS_PENDING
        });
        let (_filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let _request = pin.read_stream(frames(&pin, 1)).unwrap();
        rig.settle();
        assert!((4..=5).contains(&rig.source.calls()), "{} calls", rig.source.calls());
    }
}

#[test]
fn attempts_without_end_do_not_keep_a_worker_or_a_client() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        rig.source.script(move |_, pin| {
            if !told.load(SeqCst) {
                pin.attempt_processing();
            }
            STATUS_PENDING
        });
        let (_filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        // The client's request comes back although its driver never rests.
        let request = pin.read_stream(frames(&pin, 1)).unwrap();
        stop.store(true, SeqCst);
        rig.settle();
        request.cancel();
        assert!(request.is_done());
    }
}

/// A delivery that notes whether this thread has processed the sink already.
struct Note {
    threads: Arc<ks_io::sync::Mutex<std::collections::HashSet<std::thread::ThreadId>>>,
    noted: Arc<ks_io::sync::Mutex<Option<bool>>>,
}

impl ks_io::Work for Note {
    fn run(self: std::sync::Arc<Self>) {
        let here = self.threads.lock().contains(&std::thread::current().id());
        *self.noted.lock() = Some(here);
    }
}

/// Is the sink processed in the same turn of the worker as the source, before what the source defers after it?
fn sink_runs_in_the_turn_of_its_source(seed: u64, sink_flags: PinFlags) -> bool {
    let rig = Rig::with(Setup { seed, sink_flags, ..Setup::default() });
    let (threads, noted) = (Arc::default(), Arc::default());
    let note = Arc::new(Note { threads: Arc::clone(&threads), noted: Arc::clone(&noted) });
    rig.source.script(move |probe, pin| {
        if probe.calls() == 2 {
            // The first frame is on its way: its delivery stands before this one.
            ks_io::deferred::run_later(note.clone());
        }
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        let number = probe.next.fetch_add(1, SeqCst);
        put(&frame, number, number == 999);
        frame.eject();
        STATUS_SUCCESS
    });
    rig.sink.script(move |probe, pin| {
        threads.lock().insert(std::thread::current().id());
        crate::rig::take(probe, pin)
    });
    let pair = rig.pair();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(rig.sink.seen_now().len(), 1000);
    drop(pair);
    rig.assert_quiescent();
    noted.lock().take().unwrap()
}

#[test]
fn an_asynchronous_pin_is_processed_by_a_work_item_of_its_own_also_on_a_worker() {
    for seed in SEEDS {
        assert!(sink_runs_in_the_turn_of_its_source(seed, PinFlags::empty()));
        assert!(!sink_runs_in_the_turn_of_its_source(seed, PinFlags::ASYNCHRONOUS_PROCESSING));
    }
}

#[test]
fn a_gate_that_the_driver_closed_holds_processing_until_it_opens() {
    let rig = Rig::new(1);
    let (_filter, pin) = rig.alone("source");
    rig.source.pin().and_gate().turn_input_off();
    bring(&pin, &UP);
    let request = pin.read_stream(frames(&pin, 1)).unwrap();
    rig.source.pin().attempt_processing();
    rig.settle();
    assert_eq!(rig.source.calls(), 0);
    rig.source.pin().and_gate().turn_input_on();
    rig.source.pin().attempt_processing();
    assert!(request.is_done());
}

#[test]
fn a_driver_that_panics_fails_its_pin_and_keeps_nobody_waiting() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, source_flags: PinFlags::ASYNCHRONOUS_PROCESSING, ..Setup::default() });
        rig.source.script(|_, pin| {
            let _locked = pin.leading_edge();
            std::panic::resume_unwind(Box::new("a bug of the driver"));
        });
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let request = pin.read_stream(frames(&pin, 2)).unwrap();
        assert_eq!(request.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
        assert!(pin.failure().unwrap().1.contains("panicked"));
        assert_eq!(rig.services().work_panics(), 0, "the worker's thread saw none of it");
        rig.source.script(fill);
        bring(&pin, &[KsState::STOP, KsState::RUN]);
        assert_eq!(pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap().len(), 1);
        drop((pin, filter));
        rig.settle();
        assert_eq!(rig.session.open_handles(), 0);
    }
}

/// Counts the frames that the calling thread fills.
fn count_own_frames(rig: &Rig) -> Arc<AtomicU32> {
    let (own, me) = (Arc::new(AtomicU32::new(0)), std::thread::current().id());
    let count = own.clone();
    rig.source.script(move |probe, pin| {
        let before = probe.next.load(SeqCst);
        let status = fill(probe, pin);
        if std::thread::current().id() == me {
            count.fetch_add(probe.next.load(SeqCst) - before, SeqCst);
        }
        status
    });
    own
}

/// The most that a thread fills in a turn: a frame is counted in the source and in the sink.
const FRAMES_OF_A_TURN: u32 = 64 / 2;

#[test]
fn no_client_thread_pumps_a_circuit() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.last.store(1000, SeqCst);
        let own = count_own_frames(&rig);
        rig.sink.script(take);
        let pair = rig.pair();
        // The change of state that lets the frames go is followed by one turn.
        pair.bring(&UP[..2]);
        let turn = own.load(SeqCst);
        assert!((1..=FRAMES_OF_A_TURN).contains(&turn), "{turn} frames");
        // No later request is.
        pair.bring(&[KsState::RUN]);
        (0..10).for_each(|_| rig.source.pin().attempt_processing());
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..1000).collect::<Vec<_>>());
        assert_eq!(own.load(SeqCst), turn);
        drop(pair);
        rig.assert_quiescent();
    }
}

#[test]
fn a_stream_that_ends_in_its_first_turn_needs_no_other_thread() {
    let rig = Rig::new(1);
    rig.source.last.store(2, SeqCst);
    let pair = rig.pair();
    pair.bring(&UP);
    assert_eq!(rig.sink.seen_now(), [0, 1], "before anybody waits");
    let me = std::thread::current().id();
    for probe in [&rig.source, &rig.sink] {
        assert_eq!(*probe.threads.lock(), [me].into());
    }
    drop(pair);
    rig.assert_quiescent();
}

#[test]
fn a_callback_that_takes_long_ends_the_first_turn() {
    let rig = Rig::new(1);
    rig.source.last.store(2, SeqCst);
    let slow = rig.services().clone();
    rig.source.script(move |probe, pin| {
        let _ = slow.delay_until(slow.now() + Ticks(1000));
        fill(probe, pin)
    });
    let pair = rig.pair();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(rig.sink.seen_now(), [0, 1]);
    let me = std::thread::current().id();
    assert!(rig.source.threads.lock().contains(&me));
    assert!(!rig.sink.threads.lock().contains(&me), "the client is let go");
    drop(pair);
    rig.assert_quiescent();
}

#[test]
fn threads_that_work_for_others_give_no_first_turn() {
    let me = std::thread::current().id();
    // A driver's session, as that of a client of another process.
    let rig = Rig::new(1);
    rig.source.last.store(2, SeqCst);
    let driver = Client::new(rig.io.session_as(RequestorMode::User));
    let open = |name| driver.open_by_name(name).unwrap();
    let (from, to) = (open("source"), open("sink"));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&sink));
    for state in UP {
        sink.set_state(state).unwrap();
        source.set_state(state).unwrap();
    }
    rig.settle();
    assert_eq!(rig.sink.seen_now(), [0, 1]);
    assert!([&rig.source, &rig.sink].iter().all(|probe| !probe.threads.lock().contains(&me)));
    drop((source, sink, from, to, driver));
    rig.assert_quiescent();
    // A pin that asks for a worker.
    let rig = with_source(PinFlags::ASYNCHRONOUS_PROCESSING);
    rig.source.last.store(2, SeqCst);
    let pair = rig.pair();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(rig.sink.seen_now(), [0, 1]);
    assert!(!rig.source.threads.lock().contains(&me));
    drop(pair);
    rig.assert_quiescent();
}

#[test]
fn an_attempt_at_dispatch_level_is_left_to_a_worker() {
    let rig = Rig::new(1);
    let (_filter, pin) = rig.alone("source");
    rig.source.script(|probe, pin| {
        assert_eq!(Level::current(), Level::Passive);
        fill(probe, pin)
    });
    rig.source.pin().and_gate().turn_input_off();
    bring(&pin, &UP);
    let request = pin.read_stream(frames(&pin, 1)).unwrap();
    rig.source.pin().and_gate().turn_input_on();
    {
        let _raised = Level::Dispatch.raise();
        rig.source.pin().attempt_processing();
        assert_eq!(rig.source.calls(), 0);
    }
    assert_eq!(request.wait().unwrap().len(), 1);
}

/// Two endless circuits: both go on for as long as it takes the slower one to see enough frames.
#[test]
fn a_budget_lets_the_other_circuits_run() {
    const ENOUGH: u32 = 2_000;
    for seed in SEEDS {
        let services = Services::virtual_time(seed);
        let rigs: Vec<_> = (0..6).map(|_| Rig::on(services.clone(), Setup { seed, ..Setup::default() })).collect();
        let going = Arc::new(AtomicU32::new(rigs.len() as u32));
        let mut pairs = Vec::new();
        for rig in &rigs {
            rig.source.last.store(u32::MAX, SeqCst);
            let going = going.clone();
            rig.source.script(move |probe, pin| {
                let mut edge = pin.leading_edge();
                while let Some(frame) = edge {
                    let number = probe.next.fetch_add(1, SeqCst);
                    if number == ENOUGH {
                        going.fetch_sub(1, SeqCst);
                    }
                    // None ends before all have had enough.
                    if going.load(SeqCst) == 0 {
                        return STATUS_PENDING;
                    }
                    put(&frame, number, false);
                    edge = frame.advance();
                }
                STATUS_PENDING
            });
            rig.sink.script(take_one);
            pairs.push(rig.pair());
        }
        pairs.iter().for_each(|pair| pair.bring(&UP));
        rigs[0].settle();
        assert_eq!(going.load(SeqCst), 0);
        drop(pairs);
        rigs.iter().for_each(Rig::assert_quiescent);
    }
    let _ = FRAMES;
}
