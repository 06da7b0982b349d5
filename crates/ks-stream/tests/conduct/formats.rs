//! The format of a running stream changes: by its source, and by clients at either end.

use crate::kit::*;
use ks_abi::{
    KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, KSPROPSETID_Connection, KsReset, KsState, NtStatus, STATUS_DEVICE_BUSY,
    STATUS_NO_MATCH, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex};
use ks_stream::{AutomationTable, DataFormat, Pin, PinFlags, PropertyCall, PropertyItem, PropertySet};
use std::sync::atomic::Ordering::SeqCst;

/// Fills what it is allowed to, and changes its format in between as `formats` says.
fn fill_and_change(formats: &Mutex<Vec<u32>>, probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    loop {
        let next = formats.lock().pop();
        if let Some(index) = next {
            // A refusal leaves it in the old format, in which it goes on.
            let _ = pin.change_stream_format(format(index));
        }
        if probe.allowed.load(SeqCst) == 0 {
            return STATUS_PENDING;
        }
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        probe.allowed.fetch_sub(1, SeqCst);
        put(probe, &frame);
        frame.eject();
    }
}

#[test]
fn a_source_changes_its_format_and_everybody_behind_follows_in_the_same_place() {
    for seed in 1..6 {
        let row = Row::plain(seed, 2);
        let formats = Arc::new(Mutex::new(Vec::new()));
        let plan = formats.clone();
        row.source().script(move |probe, pin| fill_and_change(&plan, probe, pin));
        let graph = row.connect();
        graph.bring(&UP);
        row.source().allow(10);
        row.settle();
        for index in [3, 1, 4] {
            formats.lock().push(index);
            row.source().allow(10);
            row.settle();
            let agreed: Vec<u32> = row.probes.iter().map(|probe| probe.agreed.load(SeqCst)).collect();
            assert_eq!(agreed, [index; 4], "every filter, through those that work in place");
            assert!(graph.pins.iter().all(|pin| index_at(pin) == index), "every pin");
        }
        assert_eq!(*row.sink().seen.lock(), (0..40).collect::<Vec<_>>(), "the change itself is no frame of the stream");
        assert_eq!(graph.sink().statistics().unwrap().frames, 40);
        assert_eq!(row.mismatches(), 0);
    }
}

#[test]
fn a_client_changes_the_format_at_any_pin_of_a_running_circuit() {
    for seed in 1..6 {
        let row = Row::plain(seed, 1);
        let graph = row.connect();
        graph.bring(&UP);
        for (at, pin) in graph.pins.iter().enumerate() {
            row.source().allow(7);
            let index = 1 + at as u32;
            pin.set_format(&client_format(index)).unwrap();
            row.source().allow(7);
            row.settle();
            assert!(graph.pins.iter().all(|pin| index_at(pin) == index), "asked at {}", pin.name());
        }
        assert_eq!(row.sink().seen.lock().len(), 7 * 2 * graph.pins.len());
        assert_eq!(row.mismatches(), 0);
    }
}

#[test]
fn a_filter_that_would_refuse_leaves_the_old_stream_running_without_loss() {
    for seed in 1..6 {
        for who in 0..3 {
            let row = Row::plain(seed, 1);
            let refusing = &row.probes[who];
            let list = if who == 0 { &refusing.refuses } else { &refusing.would_not };
            *list.lock() = vec![2];
            let graph = row.connect();
            graph.bring(&UP);
            for pin in &graph.pins {
                row.source().allow(5);
                let refused = pin.set_format(&client_format(2)).unwrap_err();
                assert_eq!(refused.status, STATUS_NO_MATCH);
                assert!(refused.reason().contains("format 2 is not taken"), "{}", refused.reason());
            }
            row.settle();
            assert_eq!(*row.sink().seen.lock(), (0..20).collect::<Vec<_>>());
            assert!(graph.pins.iter().all(|pin| index_at(pin) == 0));
            assert_eq!(row.mismatches(), 0);
            graph.source().set_format(&client_format(1)).unwrap();
            row.source().allow(1);
            row.settle();
            assert_eq!(index_at(graph.sink()), 1);
        }
    }
}

/// A driver that has no other way to be asked answers the property of the proposed format.
#[test]
fn a_pin_that_answers_a_proposal_itself_is_asked_before_the_change() {
    for seed in 1..6 {
        let row = Row::plain(seed, 1);
        let item =
            PropertyItem::new(KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT).set(|_: &Pin, call: &mut PropertyCall<'_>| {
                match DataFormat::parse(call.data()) {
                    Ok((proposed, _)) if index_of(&proposed) == 2 => STATUS_NO_MATCH,
                    _ => STATUS_SUCCESS,
                }
            });
        let sets = vec![PropertySet { set: KSPROPSETID_Connection, items: vec![item] }];
        *row.sink().automation.lock() = Some(Arc::new(AutomationTable::of_properties(sets)));
        *row.sink().refuses.lock() = vec![2];
        let graph = row.connect();
        graph.bring(&UP);
        row.source().allow(5);
        let refused = graph.source().set_format(&client_format(2)).unwrap_err();
        assert_eq!(refused.status, STATUS_NO_MATCH);
        assert!(refused.reason().contains("sink.0: its driver does not take"), "{}", refused.reason());
        row.source().allow(5);
        row.settle();
        assert_eq!((row.sink().seen.lock().len(), graph.sink().failure()), (10, None), "the old stream runs on");
        graph.source().set_format(&client_format(1)).unwrap();
        row.source().allow(5);
        row.settle();
        assert_eq!((row.sink().seen.lock().len(), index_at(graph.sink()), row.mismatches()), (15, 1, 0));
    }
}

/// One that says yes before and no when the change comes: nothing of the new format reaches it, and the client is told.
#[test]
fn a_filter_that_refuses_late_fails_before_a_frame_of_the_new_format() {
    for seed in 1..6 {
        let row = Row::plain(seed, 1);
        *row.sink().refuses.lock() = vec![2];
        let graph = row.connect();
        graph.bring(&UP);
        row.source().allow(5);
        row.settle();
        graph.source().set_format(&client_format(2)).unwrap();
        row.source().allow(20);
        row.settle();
        assert_eq!(*row.sink().seen.lock(), (0..5).collect::<Vec<_>>());
        let (status, reason) = graph.sink().failure().unwrap();
        assert_eq!(status, STATUS_NO_MATCH);
        assert!(reason.contains("format 2"), "{reason}");
        assert_eq!(row.mismatches(), 0);
    }
}

#[test]
fn a_fixed_format_a_large_frame_and_a_held_frame_are_reasons_to_refuse() {
    let row = Row::new(1, 1, |filter| {
        if filter.reference == "middle" {
            filter.pins[1].flags |= PinFlags::FIXED_FORMAT;
        }
    });
    let graph = row.connect();
    graph.bring(&UP);
    let refused = graph.source().set_format(&client_format(1)).unwrap_err();
    assert!(refused.reason().contains("middle.1 keeps the format"), "{}", refused.reason());

    let row = Row::plain(1, 0);
    let graph = row.connect();
    graph.bring(&UP);
    let mut bytes = format(1).bytes().to_vec();
    bytes[8..12].copy_from_slice(&(FRAME_BYTES + 1).to_le_bytes());
    let large = ks_client::Format::from_bytes(&bytes).unwrap();
    let refused = graph.source().set_format(&large).unwrap_err();
    assert_eq!(refused.status, STATUS_DEVICE_BUSY);
    assert!(refused.reason().contains("have 256 bytes and the new format needs 257"), "{}", refused.reason());
    graph.bring(&DOWN);
    graph.source().set_format(&large).unwrap();
    assert_eq!(graph.sink().format().unwrap().bytes(), large.bytes(), "in STOP both ends of the connection change");

    let clones = Arc::new(Mutex::new(Vec::new()));
    let kept = clones.clone();
    row.source().script(move |_, pin| {
        if let Some(frame) = pin.leading_edge() {
            kept.lock().push(frame.clone_pointer().unwrap());
            frame.eject();
        }
        STATUS_PENDING
    });
    graph.bring(&UP);
    row.settle();
    let refused = graph.source().set_format(&client_format(1)).unwrap_err();
    assert_eq!(refused.status, STATUS_DEVICE_BUSY);
    row.source().script(fill);
    let held = std::mem::take(&mut *clones.lock());
    drop(held);
    graph.source().set_format(&client_format(1)).unwrap();
}

/// F8: three who change the format at random, five formats of which each filter refuses one at times, with states and
/// resets in between; each frame carries the number of the format that it was made in.
#[test]
fn no_frame_is_ever_delivered_under_the_wrong_format() {
    let (mut changes, mut frames, mut refusals) = (0u32, 0usize, 0u32);
    for seed in 0..120 {
        let row = Row::plain(seed, 1);
        let mut dice = Dice(seed.wrapping_mul(77) + 5);
        let formats = Arc::new(Mutex::new(Vec::new()));
        let plan = formats.clone();
        row.source().script(move |probe, pin| fill_and_change(&plan, probe, pin));
        let graph = row.connect();
        graph.bring(&UP);
        for round in 0..600 {
            row.source().allow(dice.roll(4));
            let note = |what: String| row.log.lock().push(what);
            let index = dice.roll(FORMATS);
            match dice.roll(12) {
                0..=4 => {
                    note(format!("the source is to change to {index}"));
                    formats.lock().push(index);
                    changes += 1;
                }
                5..=8 => {
                    let pin = &graph.pins[dice.roll(4) as usize];
                    note(format!("client: format {index} at {}", pin.name()));
                    match pin.set_format(&client_format(index)) {
                        Ok(()) => changes += 1,
                        Err(_) => refusals += 1,
                    }
                }
                9 => {
                    let probe = &row.probes[dice.roll(3) as usize];
                    *probe.would_not.lock() = if dice.roll(2) == 0 { vec![index] } else { Vec::new() };
                }
                10 => {
                    let pin = &graph.pins[dice.roll(4) as usize];
                    let state = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN][dice.roll(4) as usize];
                    note(format!("client: {state} of {}", pin.name()));
                    pin.set_state(state).unwrap();
                }
                _ => {
                    let pin = &graph.pins[dice.roll(4) as usize];
                    note(format!("client: reset of {}", pin.name()));
                    pin.reset(KsReset::BEGIN).unwrap();
                    pin.reset(KsReset::END).unwrap();
                }
            }
            if dice.roll(3) == 0 {
                row.settle();
            }
            let log = row.log.lock();
            if let Some(at) = log.iter().position(|line| line.contains(" under ")) {
                let before = &log[at.saturating_sub(80)..=at];
                panic!("seed {seed}, round {round}: {before:#?}");
            }
        }
        // Whatever came before, the stream goes on.
        row.probes.iter().for_each(|probe| probe.would_not.lock().clear());
        graph.bring(&[KsState::RUN]);
        row.settle();
        assert_eq!(row.source().allowed.load(SeqCst), 0, "seed {seed}: nothing is held up");
        let before = row.sink().seen.lock().len();
        graph.source().set_format(&client_format(dice.roll(FORMATS))).unwrap();
        row.source().allow(8);
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), before + 8, "seed {seed}");
        assert_eq!(row.mismatches(), 0, "seed {seed}");
        let numbers = row.sink().seen.lock().clone();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: in order");
        frames += numbers.len();
    }
    assert!(
        changes > 36_000 && refusals > 3000 && frames > 12_000,
        "{changes} changes, {refusals} refusals, {frames} frames"
    );
}
