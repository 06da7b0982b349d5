//! Closing: in every order and state, nothing is lost and nothing stays.

use crate::rig::{
    BOTH_WAYS, FRAMES, Pair, Requests, Rig, SEEDS, Setup, UP, bring, create, fill, frames, put, video, wait,
};
use ks_abi::{
    IoControlCode, KSNAME_Pin, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KsIdentifier,
    KsPinConnect, KsPinDataFlow, KsPriority, KsProperty, KsState, STATUS_CANCELLED, STATUS_INVALID_HANDLE,
    STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::{AccessMask, Handle, Transport};
use std::sync::atomic::Ordering::SeqCst;
use zerocopy::IntoBytes;

fn position(log: &[String], call: &str) -> usize {
    let found: Vec<_> = log.iter().enumerate().filter(|(_, known)| *known == call).map(|(at, _)| at).collect();
    assert_eq!(found.len(), 1, "{call} comes once in {log:?}");
    found[0]
}

#[derive(Clone, Copy, Debug)]
enum First {
    Source,
    Sink,
    FilterOfSource,
    FilterOfSink,
}

#[test]
fn a_pair_closes_in_any_order_and_state_and_direction() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            for states in 0..=UP.len() {
                for first in [First::Source, First::Sink, First::FilterOfSource, First::FilterOfSink] {
                    close_pair(seed, requests, states, first);
                }
            }
        }
    }
}

fn close_pair(seed: u64, requests: Requests, states: usize, first: First) {
    let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
    let Pair { sink, source, mut filters } = rig.pair();
    for &state in &UP[..states] {
        sink.set_state(state).unwrap();
        source.set_state(state).unwrap();
    }
    if seed.is_multiple_of(2) {
        rig.settle_a_little();
    }
    match first {
        First::Source => {
            drop(source);
            rig.settle_a_little();
            drop((sink, filters));
        }
        First::Sink => {
            drop(sink);
            rig.settle_a_little();
            drop((source, filters));
        }
        First::FilterOfSource => {
            drop(filters.remove(0));
            rig.settle_a_little();
            drop((source, sink, filters));
        }
        First::FilterOfSink => {
            drop(filters.remove(1));
            rig.settle_a_little();
            drop((sink, source, filters));
        }
    }
    rig.assert_quiescent();
    let log = rig.take_log();
    for name in ["source", "sink"] {
        assert!(position(&log, &format!("{name}.0 close")) < position(&log, &format!("{name} close")), "{log:?}");
    }
    // The pin that was connected to is let go of before it closes.
    let (irp_source, irp_sink) = match requests {
        Requests::FromSource => ("source.0", "sink.0"),
        Requests::FromSink => ("sink.0", "source.0"),
    };
    let disconnect = position(&log, &format!("{irp_sink} disconnect"));
    assert!(position(&log, &format!("{irp_sink} connect")) < disconnect);
    assert!(disconnect < position(&log, &format!("{irp_sink} close")), "{log:?}");
    assert!(!log.contains(&format!("{irp_source} connect")));
    // Every pin that left STOP came back to it in single steps before its close.
    for name in ["source.0", "sink.0"] {
        let steps: Vec<_> = log.iter().filter(|call| call.starts_with(name) && call.contains("->")).collect();
        assert_eq!(steps.len(), 2 * states, "{steps:?}");
        let close = position(&log, &format!("{name} close"));
        assert!(steps.iter().all(|step| log.iter().rposition(|call| call == *step).unwrap() < close));
    }
}

impl Rig {
    fn settle_a_little(&self) {
        for _ in 0..3 {
            self.services().yield_now();
        }
    }
}

#[test]
fn an_irp_sink_stays_until_its_source_lets_go() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
            let Pair { sink, source, filters } = rig.pair();
            for state in UP {
                sink.set_state(state).unwrap();
                source.set_state(state).unwrap();
            }
            let (irp_sink, irp_source, name) = match requests {
                Requests::FromSource => (sink, source, "sink.0"),
                Requests::FromSink => (source, sink, "source.0"),
            };
            let handle = irp_sink.object().handle();
            drop(irp_sink);
            rig.settle();
            let log = rig.take_log();
            assert!(!log.contains(&format!("{name} disconnect")) && !log.contains(&format!("{name} close")));
            assert_eq!(rig.session.close(handle).status, STATUS_INVALID_HANDLE);
            // The end that is left has nobody to stream with, and can still be told its states.
            let (taken, made) = (rig.sink.seen_now().len(), rig.source.seen_now().len());
            rig.settle();
            assert_eq!((rig.sink.seen_now().len(), rig.source.seen_now().len()), (taken, made));
            bring(&irp_source, &[KsState::STOP]);
            drop(irp_source);
            rig.settle();
            let log = rig.take_log();
            assert!(position(&log, &format!("{name} disconnect")) < position(&log, &format!("{name} close")));
            drop(filters);
            rig.assert_quiescent();
        }
    }
}

/// A client that closes nothing itself: it has raw handles and a session.
struct Mortal {
    session: std::sync::Arc<ks_io::Session>,
    pins: Vec<Handle>,
}

impl Mortal {
    fn new(rig: &Rig, requests: Requests) -> Mortal {
        let session = rig.io.session();
        let open = |name: &str| {
            let link = session.interfaces(None).into_iter().find(|one| one.reference == name).unwrap().symbolic_link;
            session.open(&link, AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)).unwrap()
        };
        let create = |filter: Handle, to: u64, access| {
            let head = KsPinConnect {
                interface: KsIdentifier::STANDARD_STREAMING,
                medium: KsIdentifier::STANDARD_DEVIO,
                pin_to_handle: to,
                priority: KsPriority::NORMAL,
                ..Default::default()
            };
            let mut parameters = head.as_bytes().to_vec();
            parameters.extend_from_slice(video().bytes());
            session.create(filter, &KSNAME_Pin.to_string(), &parameters, access).unwrap()
        };
        let (from, to) = (open("source"), open("sink"));
        let (read, write) = (AccessMask::GENERIC_READ, AccessMask::GENERIC_WRITE);
        let pins = match requests {
            Requests::FromSource => {
                let sink = create(to, 0, write);
                vec![sink, create(from, sink.0, read)]
            }
            Requests::FromSink => {
                let source = create(from, 0, read);
                vec![create(to, source.0, write), source]
            }
        };
        Mortal { session, pins }
    }

    fn bring(&self, states: &[KsState]) {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        for state in states {
            for pin in &self.pins {
                let mut data = state.as_bytes().to_vec();
                let code = IoControlCode::KS_PROPERTY;
                let outcome = self.session.device_io_control(*pin, code, request.as_bytes(), &mut data);
                assert_eq!(outcome.status, STATUS_SUCCESS);
            }
        }
    }
}

#[test]
fn a_session_that_is_dropped_in_mid_stream_takes_everything_with_it() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            for states in 0..=UP.len() {
                let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
                rig.source.last.store(1000, SeqCst);
                let client = Mortal::new(&rig, requests);
                client.bring(&UP[..states]);
                rig.settle_a_little();
                drop(client);
                rig.assert_quiescent();
                let log = rig.take_log();
                for name in ["source", "sink"] {
                    let (pin, filter) = (format!("{name}.0 close"), format!("{name} close"));
                    assert!(position(&log, &pin) < position(&log, &filter), "{log:?}");
                }
            }
        }
    }
}

#[test]
fn closing_a_pin_cancels_its_pending_reads_and_closing_its_filter_does_not() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let requests: Vec<_> = (1..4).map(|count| pin.read_stream(frames(&pin, count)).unwrap()).collect();
        drop(filter);
        rig.settle();
        assert!(requests.iter().all(|request| !request.is_done()));
        drop(pin);
        for request in requests {
            assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        }
        rig.assert_quiescent();
    }
}

#[test]
fn a_pin_that_is_closed_while_it_processes_closes_when_the_callback_has_returned() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let services = rig.services().clone();
        let log = rig.log.clone();
        let slow = services.clone();
        rig.source.script(move |probe, pin| {
            let status = fill(probe, pin);
            // The callback takes its time: the client closes in the middle.
            let _ = slow.delay_until(slow.now() + ks_io::Ticks::from_secs(1));
            log.lock().push("process returns".into());
            status
        });
        let Pair { sink, source, filters } = rig.pair();
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        let _ = services.delay_until(services.now() + ks_io::Ticks::from_millis(500));
        drop((source, sink, filters));
        rig.assert_quiescent();
        let log = rig.take_log();
        let close = position(&log, "source.0 close");
        assert!(log.iter().rposition(|call| call == "process returns").unwrap() < close, "{log:?}");
    }
}

#[test]
fn a_closed_pin_waits_for_the_clones_that_its_driver_has() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(|probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                put(&frame, probe.next.fetch_add(1, SeqCst), false);
                probe.clones.lock().push(frame.clone_pointer().unwrap());
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let Pair { sink, source, filters } = rig.pair();
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(rig.source.clones.lock().len(), FRAMES as usize);
        drop(source);
        rig.settle();
        // The frames that the driver still holds are given back when it lets go, also after the close.
        rig.source.clones.lock().clear();
        drop((sink, filters));
        rig.assert_quiescent();
    }
}

#[test]
fn a_driver_that_refuses_to_stop_is_closed_all_the_same() {
    for seed in SEEDS {
        for refused in
            [(KsState::RUN, KsState::PAUSE), (KsState::PAUSE, KsState::ACQUIRE), (KsState::ACQUIRE, KsState::STOP)]
        {
            let rig = Rig::new(seed);
            let Pair { sink, source, filters } = rig.pair();
            for state in UP {
                sink.set_state(state).unwrap();
                source.set_state(state).unwrap();
            }
            *rig.source.refuse.lock() = Some(refused);
            drop((source, sink));
            rig.settle();
            let calls = rig.source.calls();
            rig.settle();
            assert_eq!(rig.source.calls(), calls, "a closed pin does not process");
            drop(filters);
            rig.assert_quiescent();
        }
    }
}

#[test]
fn a_source_is_connected_anew_after_its_sink_was_closed() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, requests: Requests::FromSink, ..Setup::default() });
        let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
        let source = create(&from, 0, KsPinDataFlow::OUT, None);
        for round in 0..4 {
            rig.source.last.store(50, SeqCst);
            rig.sink.seen.lock().clear();
            let middle_in = create(&through, 0, KsPinDataFlow::IN, Some(&source));
            let middle_out = create(&through, 1, KsPinDataFlow::OUT, None);
            let sink = create(&to, 0, KsPinDataFlow::IN, Some(&middle_out));
            for state in UP {
                for pin in [&sink, &middle_out, &middle_in, &source] {
                    pin.set_state(state).unwrap();
                }
            }
            rig.settle();
            assert_eq!(rig.sink.seen_now().len(), 50, "round {round}: every frame of the circuit is still there");
            assert_eq!(source.statistics().unwrap().allocator_frames, FRAMES);
            if round % 2 == 0 {
                drop(sink);
                drop((middle_out, middle_in));
            } else {
                drop(middle_in);
                drop((sink, middle_out));
            }
            source.set_state(KsState::STOP).unwrap();
        }
        drop((source, from, through, to));
        rig.assert_quiescent();
    }
}

/// Frames that a driver still has when its pin is disconnected come back to the head of the circuit.
#[test]
fn frames_that_a_disconnected_pin_gives_back_late_serve_the_next_connection() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, requests: Requests::FromSink, ..Setup::default() });
        rig.source.last.store(50, SeqCst);
        let (from, to) = (rig.open("source"), rig.open("sink"));
        let source = create(&from, 0, KsPinDataFlow::OUT, None);
        // The sink keeps a clone of every frame that it gets, so none comes back.
        rig.sink.script(|probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                probe.clones.lock().extend(frame.clone_pointer());
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let sink = create(&to, 0, KsPinDataFlow::IN, Some(&source));
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(rig.sink.clones.lock().len(), FRAMES as usize, "every frame is in the driver's hands");
        let clones = std::mem::take(&mut *rig.sink.clones.lock());
        drop(sink);
        rig.settle();
        drop(clones);
        source.set_state(KsState::STOP).unwrap();
        rig.sink.script(crate::rig::take);
        let sink = create(&to, 0, KsPinDataFlow::IN, Some(&source));
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(rig.sink.seen_now().len(), 50);
        assert_eq!(source.statistics().unwrap().allocator_frames, FRAMES);
        drop((sink, source, from, to));
        // The sink's pin was closed before.
        rig.expect_broken(ks_stream::Rule::StreamPointerClone);
        rig.assert_quiescent();
    }
}

#[test]
fn a_driver_that_waits_in_a_state_change_sees_another_pin_close_after_it() {
    let rig = Rig::new(1);
    let filter = rig.open("source");
    let first = create(&filter, 0, KsPinDataFlow::OUT, None);
    let second = std::sync::Mutex::new(Some(create(&filter, 0, KsPinDataFlow::OUT, None)));
    let log = rig.log.clone();
    *rig.source.on_state.lock() = Some(Box::new(move |pin| {
        // The close needs the control mutex, which this callback holds.
        if let Some(second) = second.lock().unwrap().take() {
            drop(second);
            let services = pin.filter().device().io().services();
            let _ = services.delay_until(services.now() + ks_io::Ticks::MILLISECOND);
            log.lock().push("waited".into());
        }
    }));
    rig.take_log();
    first.set_state(KsState::ACQUIRE).unwrap();
    let seen = rig.take_log();
    assert_eq!(seen.iter().filter(|call| call.ends_with("close")).count(), 1, "{seen:?}");
    assert!(seen.iter().position(|call| call.ends_with("close")) > seen.iter().position(|call| call == "waited"));
    drop((first, filter));
    rig.assert_quiescent();
}
