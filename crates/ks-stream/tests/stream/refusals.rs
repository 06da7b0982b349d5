//! Refused state changes of a graph: allocator, states and routes are as they were, and the graph works.

use crate::rig::{FRAME_BYTES, FRAMES, Probe, Rig, SEEDS, UP, create, wait};
use ks_abi::{KsPinDataFlow, KsState, STATUS_INVALID_PARAMETER, STATUS_UNSUCCESSFUL};
use ks_io::sync::{Arc, Mutex};
use ks_stream::{AllocatorReport, Pin};
use std::sync::atomic::Ordering::SeqCst;

const STATES: [KsState; 4] = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const NOTHING: AllocatorReport = AllocatorReport { frames: 0, frame_bytes: 0 };

/// Source, a filter that works in place, and sink: four pins in the order of the data.
struct Graph {
    clients: Vec<ks_client::Pin>,
    pins: Vec<Arc<Pin>>,
    filters: Vec<ks_client::Filter>,
}

impl Graph {
    fn new(rig: &Rig) -> Graph {
        rig.source.last.store(50, SeqCst);
        let filters = vec![rig.open("source"), rig.open("middle"), rig.open("sink")];
        let engine = |probe: &Probe| probe.pin();
        let sink = create(&filters[2], 0, KsPinDataFlow::IN, None);
        let middle_out = create(&filters[1], 1, KsPinDataFlow::OUT, Some(&sink));
        let out = engine(&rig.middle);
        let middle_in = create(&filters[1], 0, KsPinDataFlow::IN, None);
        let source = create(&filters[0], 0, KsPinDataFlow::OUT, Some(&middle_in));
        let pins = vec![engine(&rig.source), engine(&rig.middle), out, engine(&rig.sink)];
        Graph { clients: vec![source, middle_in, middle_out, sink], pins, filters }
    }

    /// What a refusal must leave as it was.
    fn snapshot(&self) -> Vec<(KsState, KsState, KsState, AllocatorReport, bool)> {
        self.pins
            .iter()
            .zip(&self.clients)
            .map(|(pin, client)| {
                let told = client.state().unwrap();
                (told, pin.state(), pin.device_state(), pin.allocator_report(), pin.failure().is_some())
            })
            .collect()
    }

    fn bring_all(&self, state: KsState) {
        self.clients.iter().rev().for_each(|pin| pin.set_state(state).unwrap());
    }

    /// Every frame arrives, so the circuit has not lost one.
    fn streams(&self, rig: &Rig) {
        self.bring_all(KsState::STOP);
        rig.sink.seen.lock().clear();
        UP.into_iter().for_each(|state| self.bring_all(state));
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..50).collect::<Vec<u32>>());
    }
}

fn probe_of(rig: &Rig, index: usize) -> &Arc<Probe> {
    [&rig.source, &rig.middle, &rig.middle, &rig.sink][index]
}

fn steps(from: KsState, to: KsState) -> Vec<(KsState, KsState)> {
    (from.0..to.0).map(|n| (KsState(n), KsState(n + 1))).collect()
}

#[test]
fn a_refusal_at_any_pin_of_a_graph_leaves_everything_as_it_was() {
    // The others are stopped, or run and wait for the one that refuses.
    for others in [KsState::STOP, KsState::ACQUIRE, KsState::RUN] {
        for victim in 0..4 {
            for from in &STATES[..3] {
                for (index, refused) in steps(*from, KsState::RUN).into_iter().enumerate() {
                    let rig = Rig::new(1 + index as u64);
                    let graph = Graph::new(&rig);
                    for (other, pin) in graph.clients.iter().enumerate().rev() {
                        pin.set_state(if other == victim { *from } else { others }).unwrap();
                    }
                    rig.settle();
                    let before = graph.snapshot();
                    let probe = probe_of(&rig, victim);
                    *probe.refuse.lock() = Some(refused);
                    let error = graph.clients[victim].set_state(KsState::RUN).unwrap_err();
                    assert_eq!(error.status, STATUS_UNSUCCESSFUL);
                    rig.settle();
                    assert_eq!(graph.snapshot(), before, "pin {victim} refused {} to {}", refused.0, refused.1);
                    *probe.refuse.lock() = None;
                    graph.streams(&rig);
                    drop(graph);
                    rig.assert_quiescent();
                }
            }
        }
    }
}

#[test]
fn while_it_is_asked_a_driver_sees_the_step_and_nobody_else_does() {
    let rig = Rig::new(1);
    let graph = Graph::new(&rig);
    graph.clients.iter().skip(1).rev().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let (into, session) = (seen.clone(), rig.session.clone());
    let handle = graph.clients[0].object().handle();
    *rig.source.on_state.lock() = Some(Box::new(move |pin| {
        // A client that asks meanwhile.
        let session = session.clone();
        let asked = Arc::new(Mutex::new(None));
        let answer = asked.clone();
        let ask = move || *answer.lock() = Some(crate::rig::state_of(&session, handle));
        pin.services().spawn("client", ask).unwrap().join();
        let told = asked.lock().take().unwrap();
        into.lock().push((pin.state(), pin.device_state(), told, pin.allocator_report().frames));
    }));
    graph.clients[0].set_state(KsState::RUN).unwrap();
    let [stop, acquire, pause, run] = STATES;
    assert_eq!(
        *seen.lock(),
        [(acquire, run, stop, 0), (pause, run, acquire, FRAMES), (run, run, pause, FRAMES)],
        "the circuit is bound when the driver has agreed to acquire"
    );
    *rig.source.on_state.lock() = None;
    graph.streams(&rig);
}

#[test]
fn a_circuit_that_was_there_before_a_refused_start_is_there_after_it() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let graph = Graph::new(&rig);
        graph.streams(&rig);
        graph.bring_all(KsState::STOP);
        let old = AllocatorReport { frames: FRAMES, frame_bytes: FRAME_BYTES };
        assert_eq!(graph.pins[3].allocator_report(), old);
        // The next circuit would have more frames.
        rig.source.frames.store(FRAMES + 3, SeqCst);
        *rig.source.refuse.lock() = Some((KsState::PAUSE, KsState::RUN));
        graph.clients.iter().skip(1).rev().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        for _ in 0..3 {
            assert_eq!(graph.clients[0].set_state(KsState::RUN).unwrap_err().status, STATUS_UNSUCCESSFUL);
            rig.settle();
            assert!(graph.pins.iter().all(|pin| pin.allocator_report() == old));
        }
        rig.source.frames.store(0, SeqCst);
        *rig.source.refuse.lock() = None;
        graph.streams(&rig);
        graph.bring_all(KsState::STOP);
        rig.source.frames.store(FRAMES + 3, SeqCst);
        graph.streams(&rig);
        assert!(graph.pins.iter().all(|pin| pin.allocator_report().frames == FRAMES + 3));
        drop(graph);
        rig.assert_quiescent();
    }
}

/// The frames of a refused circuit that a pin downstream still has go when they come back; those of the circuit that is
/// there again come back to it, also if they do so while the driver is asked.
#[test]
fn frames_under_way_find_their_own_circuit_after_a_refused_start() {
    for seed in SEEDS {
        for while_asked in [false, true] {
            let rig = Rig::new(seed);
            let graph = Graph::new(&rig);
            rig.sink.script(wait);
            UP.into_iter().for_each(|state| graph.bring_all(state));
            rig.settle();
            assert_eq!(graph.pins[3].queued_requests(), FRAMES as usize);
            graph.clients[0].set_state(KsState::STOP).unwrap();
            rig.source.frames.store(FRAMES + 3, SeqCst);
            *rig.source.refuse.lock() = Some((KsState::PAUSE, KsState::RUN));
            let sink = rig.sink.clone();
            let let_go = move |pin: &Pin| {
                sink.script(crate::rig::take);
                sink.pin().attempt_processing_later();
                let services = pin.services();
                let _ = services.delay_until(services.now() + ks_io::Ticks::MILLISECOND);
            };
            if while_asked {
                let let_go = let_go.clone();
                *rig.source.on_state.lock() = Some(Box::new(move |pin| {
                    if pin.state() == KsState::RUN {
                        let_go(pin);
                    }
                }));
            }
            assert!(graph.clients[0].set_state(KsState::RUN).is_err());
            rig.settle();
            *rig.source.on_state.lock() = None;
            *rig.source.refuse.lock() = None;
            rig.source.frames.store(0, SeqCst);
            let_go(&graph.pins[3]);
            graph.streams(&rig);
            assert_eq!(graph.clients[3].statistics().unwrap().allocator_frames, FRAMES);
            graph.bring_all(KsState::STOP);
            graph.clients.iter().rev().for_each(|pin| pin.set_state(KsState::ACQUIRE).unwrap());
            assert_eq!(graph.pins[0].queued_requests(), FRAMES as usize, "no frame of the circuit is lost");
            drop(graph);
            rig.assert_quiescent();
        }
    }
}

#[test]
fn a_failure_stays_with_a_refused_start_and_goes_with_the_next_stream() {
    let rig = Rig::new(1);
    let graph = Graph::new(&rig);
    let failure = ks_io::Refusal::new(STATUS_INVALID_PARAMETER, ks_io::Aspect::Driver, "told to fail");
    graph.pins[0].fail(failure.clone());
    *rig.source.refuse.lock() = Some((KsState::STOP, KsState::ACQUIRE));
    assert!(graph.clients[0].set_state(KsState::RUN).is_err());
    assert_eq!(graph.pins[0].failure().unwrap().reason, failure.reason);
    *rig.source.refuse.lock() = None;
    graph.streams(&rig);
    assert!(graph.pins[0].failure().is_none());
}

#[test]
fn a_circuit_has_no_more_memory_than_its_device_allows() {
    let rig = Rig::new(1);
    let graph = Graph::new(&rig);
    let device = &rig.devices[0];
    let needed = u64::from(FRAMES * FRAME_BYTES);
    device.set_most_circuit_bytes(needed - 1);
    let error = graph.clients[0].set_state(KsState::ACQUIRE).unwrap_err();
    assert_eq!(error.status, STATUS_INVALID_PARAMETER);
    assert_eq!(graph.pins[0].allocator_report(), NOTHING);
    assert!(!rig.take_log().contains(&"source.0 STOP->ACQUIRE".to_string()), "the driver is not asked");
    device.set_most_circuit_bytes(needed);
    graph.streams(&rig);
}
