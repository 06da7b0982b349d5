//! States of a pipe of five filters: asked from both ends, and refused by each pin in turn.

use crate::kit::*;
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsState, KsTime, STATUS_PENDING, STATUS_UNSUCCESSFUL,
};
use ks_io::Time;
use ks_io::sync::Arc;
use ks_stream::PinFlags;
use std::sync::atomic::Ordering::SeqCst;

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
