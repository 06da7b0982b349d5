//! States of a pipe of five filters: asked from both ends, and refused by each pin in turn.

use crate::kit::*;
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPSETID_Connection,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, KsState, KsTime,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_PENDING, STATUS_SOME_NOT_MAPPED, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Arc;
use ks_io::{EventKind, Signal, Ticks, Time};
use ks_stream::{AutomationTable, Pin, PinFlags, PropertyCall, PropertyItem, PropertySet};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const STATES: [KsState; 4] = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

/// The filter of a pin in a row of five, and its number there.
fn owner(row: &Row, at: usize) -> (&Arc<Probe>, u32) {
    let filter = at.div_ceil(2);
    (&row.probes[filter], u32::from(filter > 0 && at.is_multiple_of(2)))
}

#[test]
fn a_step_that_any_pin_of_five_filters_refuses_leaves_that_pin_and_the_stream_as_they_were() {
    for at in 0..8 {
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 2), (2, 1), (1, 0)] {
            let row = Row::plain(at as u64 + 1, 3);
            let graph = row.connect();
            let (from, to) = (STATES[from], STATES[to]);
            graph.bring(
                &STATES.into_iter().filter(|state| *state > KsState::STOP && *state <= from).collect::<Vec<_>>(),
            );
            let (probe, id) = owner(&row, at);
            *probe.refuse_step.lock() = Some((id, from, to));
            let case = format!("{}.{id} refuses {from} to {to}", probe.name);
            assert_eq!(graph.pins[at].name(), format!("{}.{id}", probe.name));
            for pin in graph.pins.iter().rev() {
                let outcome = pin.set_state(to).map_err(|error| error.status);
                let refuses = pin.name() == graph.pins[at].name();
                assert_eq!(outcome, if refuses { Err(STATUS_UNSUCCESSFUL) } else { Ok(()) }, "{case}");
                assert_eq!(pin.state().unwrap(), if refuses { from } else { to }, "{case}");
            }
            // The client takes the others back, as a graph does, and all of them stream.
            graph.pins.iter().for_each(|pin| pin.set_state(from).unwrap());
            *probe.refuse_step.lock() = None;
            let up: Vec<_> = STATES.into_iter().filter(|state| *state > from).collect();
            graph.bring(&up);
            row.source().allow(12);
            row.settle();
            assert_eq!(row.sink().seen.lock().len(), 12, "{case}");
            graph.bring(&DOWN);
            assert_eq!(row.source().pin().allocator_report().frames, FRAMES, "{case}");
        }
    }
}

/// The callback runs while the client takes its pin below PAUSE, and has more frames when it returns: the worker has the
/// gate all the time, so only what it looks at under the processing mutex keeps it from going on.
#[test]
fn a_pin_that_leaves_its_state_is_not_processed_again_when_its_callback_returns() {
    for seed in 0..8 {
        let row = Row::plain(seed, 0);
        let graph = row.connect();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        row.sink().script(move |probe, pin| {
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            if counted.fetch_add(1, SeqCst) == 0 {
                let services = pin.services();
                let _ = services.delay_until(services.now() + Ticks::from_millis(5));
            }
            probe.check(&frame);
            frame.eject();
            STATUS_SUCCESS
        });
        let told_at = Arc::new(AtomicU32::new(0));
        let (known, told) = (calls.clone(), told_at.clone());
        graph.bring(&[KsState::ACQUIRE, KsState::PAUSE]);
        row.source().allow(4);
        *row.sink().on_state.lock() = Some(Arc::new(move |_| told.store(known.load(SeqCst), SeqCst)));
        graph.source().set_state(KsState::RUN).unwrap();
        // The sink is inside of its first callback now.
        row.settle();
        assert_eq!(calls.load(SeqCst), 1, "seed {seed}");
        graph.sink().set_state(KsState::ACQUIRE).unwrap();
        row.settle();
        let frames = row.sink().seen.lock().len();
        assert_eq!((told_at.load(SeqCst), calls.load(SeqCst), frames), (1, 1, 1), "seed {seed}: nothing below PAUSE");
        graph.sink().set_state(KsState::RUN).unwrap();
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), 4, "seed {seed}: what waited comes when it is back");
    }
}

/// A driver whose ACQUIRE takes long answers the property itself: its item wins over the class driver's.
#[test]
fn an_acquire_that_takes_long_keeps_nobody_waiting_but_its_client() {
    for (seed, outcome) in [(1, STATUS_SUCCESS), (2, STATUS_UNSUCCESSFUL), (3, STATUS_SUCCESS)] {
        let row = Row::plain(seed, 0);
        let services = row.io.services().clone();
        let [begun, ready] = [(); 2].map(|()| services.event(EventKind::Notification, Signal::Clear));
        let current = Arc::new(AtomicU32::new(KsState::STOP.0));
        let (is, becomes) = (current.clone(), current.clone());
        let (reached, wait) = (begun.clone(), ready.clone());
        let item = PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
            .data_bytes(size_of::<KsState>())
            .get(move |_: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&is.load(SeqCst)))
            .set(move |_: &Pin, call: &mut PropertyCall<'_>| {
                let Ok(asked) = call.data_as::<u32>() else { return STATUS_UNSUCCESSFUL };
                if asked == KsState::ACQUIRE.0 {
                    reached.set();
                    let _ = wait.wait();
                }
                if outcome == STATUS_SUCCESS {
                    becomes.store(asked, SeqCst);
                }
                outcome
            });
        let sets = vec![PropertySet { set: KSPROPSETID_Connection, items: vec![item] }];
        *row.sink().automation.lock() = Some(Arc::new(AutomationTable::of_properties(sets)));
        let (slow, other) = (row.open("sink"), row.open("source"));
        let pin = Arc::new(create(&slow, 0, KsPinDataFlow::IN, None).unwrap());
        let client = pin.clone();
        let acquires = services
            .spawn("client", move || {
                let status = client.set_state(KsState::ACQUIRE).map_or_else(|error| error.status, |()| STATUS_SUCCESS);
                assert_eq!(status, outcome);
            })
            .unwrap();
        let _ = begun.wait();
        // The pin and its filter answer, and another filter streams.
        assert_eq!(pin.state().unwrap(), KsState::STOP, "the old state, until the driver is there");
        assert_eq!((index_at(&pin), slow.pin_count().unwrap()), (0, 1));
        let streams = create(&other, 0, KsPinDataFlow::OUT, None).unwrap();
        streams.set_state(KsState::RUN).unwrap();
        row.source().allow(1);
        let read = streams.read_stream(vec![streams.allocate(FRAME_BYTES as usize).unwrap()]).unwrap();
        assert_eq!(read.wait().unwrap()[0].data().len(), FRAME_BYTES as usize);
        ready.set();
        acquires.join();
        let reached = if outcome == STATUS_SUCCESS { KsState::ACQUIRE } else { KsState::STOP };
        assert_eq!(pin.state().unwrap(), reached);
    }
}

/// The driver acquires in its own handler, where nobody waits for it, and leaves the step itself to the class driver: no
/// SetDeviceState may pend.
#[test]
fn a_driver_that_acquired_in_its_own_time_leaves_the_step_to_the_class_driver_and_streams() {
    for seed in 0..6 {
        let row = Row::plain(seed, 3);
        let services = row.io.services().clone();
        let [begun, ready] = [(); 2].map(|()| services.event(EventKind::Synchronization, Signal::Clear));
        let fails = Arc::new(AtomicU32::new(1));
        let (reached, wait, failing) = (begun.clone(), ready.clone(), fails.clone());
        let item = PropertyItem::new(KSPROPERTY_CONNECTION_STATE).data_bytes(size_of::<KsState>()).set(
            move |pin: &Pin, call: &mut PropertyCall<'_>| {
                if call.data_as() == Ok(KsState::ACQUIRE.0) && pin.state() == KsState::STOP {
                    reached.set();
                    let _ = wait.wait();
                    if failing.swap(0, SeqCst) != 0 {
                        return STATUS_INSUFFICIENT_RESOURCES;
                    }
                }
                STATUS_SOME_NOT_MAPPED
            },
        );
        let item = item.get(|_: &Pin, _: &mut PropertyCall<'_>| STATUS_SOME_NOT_MAPPED);
        let sets = vec![PropertySet { set: KSPROPSETID_Connection, items: vec![item] }];
        *row.sink().automation.lock() = Some(Arc::new(AutomationTable::of_properties(sets)));
        let graph = Arc::new(row.connect());
        let steps = |row: &Row| row.take_log().into_iter().filter(|what| what.starts_with("sink")).collect::<Vec<_>>();
        for outcome in [Err(STATUS_INSUFFICIENT_RESOURCES), Ok(())] {
            steps(&row);
            let client = graph.clone();
            let acquires = services
                .spawn("client", move || {
                    let ended = client.sink().set_state(KsState::ACQUIRE).map_err(|error| error.status);
                    assert_eq!(ended, outcome);
                })
                .unwrap();
            let _ = begun.wait();
            assert_eq!(graph.sink().state().unwrap(), KsState::STOP, "seed {seed}: the old state until it is there");
            graph.pins[..7].iter().rev().for_each(|pin| pin.set_state(KsState::ACQUIRE).unwrap());
            assert_eq!(steps(&row), [""; 0], "seed {seed}: the pin itself is told of nothing yet");
            ready.set();
            acquires.join();
            let (state, told): (_, &[&str]) = match outcome {
                Ok(()) => (KsState::ACQUIRE, &["sink.0 STOP->ACQUIRE"]),
                Err(_) => (KsState::STOP, &[]),
            };
            assert_eq!(
                (graph.sink().state().unwrap(), steps(&row)),
                (state, told.iter().map(|one| (*one).into()).collect())
            );
            if outcome.is_err() {
                graph.pins[..7].iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
            }
        }
        graph.bring(&[KsState::PAUSE, KsState::RUN]);
        row.source().allow(12);
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), 12, "seed {seed}");
        graph.bring(&DOWN);
    }
}

#[test]
fn requests_from_both_ends_at_once_leave_a_pipe_that_streams() {
    for seed in 0..30 {
        let row = Row::plain(seed, 3);
        let graph = Arc::new(row.connect());
        graph.bring(&UP);
        let mut threads = Vec::new();
        for end in [0, 7] {
            let graph = graph.clone();
            let mut dice = Dice(seed * 2 + end as u64);
            let body = move || {
                for _ in 0..40 {
                    // One goes from the source down, the other from the sink up.
                    let state = STATES[dice.roll(4) as usize];
                    for step in 0..8 {
                        let at = if end == 0 { step } else { 7 - step };
                        graph.pins[at].set_state(state).unwrap();
                    }
                }
            };
            threads.push(row.io.services().spawn("client", body).unwrap());
        }
        row.source().allow(100);
        threads.into_iter().for_each(|thread| thread.join());
        graph.bring(&[KsState::RUN]);
        row.settle();
        let before = row.sink().seen.lock().len();
        assert_eq!(row.source().allowed.load(SeqCst), 0, "seed {seed}");
        row.source().allow(10);
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), before + 10, "seed {seed}");
        for (pin, probe) in [(graph.source(), row.source()), (graph.sink(), row.sink())] {
            let engine = probe.pin();
            assert_eq!(
                (pin.state().unwrap(), engine.state(), engine.device_state()),
                (KsState::RUN, KsState::RUN, KsState::RUN)
            );
        }
    }
}

#[test]
fn the_end_of_the_stream_is_an_event_at_both_ends() {
    for seed in 1..6 {
        let row = Row::new(seed, 0, |filter| filter.pins[0].flags |= PinFlags::GENERATE_EOS_EVENTS);
        row.source().script(|probe, pin| {
            while let Some(frame) = pin.leading_edge() {
                let number = probe.next.load(SeqCst);
                if number == 5 {
                    return STATUS_PENDING;
                }
                put(probe, &frame);
                if number == 4 {
                    frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
                }
                frame.eject();
            }
            STATUS_PENDING
        });
        let graph = row.connect();
        let ends = [graph.source(), graph.sink()]
            .map(|pin| pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap());
        graph.bring(&UP);
        row.settle();
        assert!(ends.iter().all(|end| end.event().is_set()), "seed {seed}");
        assert_eq!(row.sink().seen.lock().len(), 5);
    }
}

/// Times in the units of the stream: a byte of 8-bit stereo at 44.1 kHz is 10,000,000 / 88,200 units of 100 ns.
#[test]
fn a_presentation_time_is_scaled_by_its_numerator_and_then_its_denominator() {
    let row = Row::plain(1, 0);
    let times = Arc::new(ks_io::sync::Mutex::new(Vec::new()));
    let seen = times.clone();
    row.sink().script(move |_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            seen.lock().push(frame.presentation_time());
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let filter = row.open("sink");
    let pin = create(&filter, 0, ks_abi::KsPinDataFlow::IN, None).unwrap();
    // A limit of one second of presentation time ends at the frame that reaches it.
    pin.set_limit(0, 10_000_000).unwrap();
    pin.set_state(KsState::RUN).unwrap();
    for (bytes, numerator, denominator) in
        [(0, 10_000_000, 88_200), (44_100, 10_000_000, 88_200), (-3, 10, 4), (i64::MAX, u32::MAX, 1)]
    {
        let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
        frame.header.presentation_time = KsTime { time: bytes, numerator, denominator };
        frame.header.options_flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID;
        assert!(frame.fill(&[0; 8]));
        pin.write_stream(vec![frame]).unwrap().wait().unwrap();
    }
    let expected = [Time(0), Time(5_000_000), Time(-7), Time(i64::MAX)];
    assert_eq!(*times.lock(), expected, "nothing overflows, and what is left over is cut off");
    assert_eq!(pin.statistics().unwrap().ended, 1, "the last one lies beyond the limit");
}
