//! A driver without AVStream: opened by clients, and connected to pins of AVStream as a foreign peer.

mod ks_rig;

use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState, STATUS_CANCELLED, STATUS_INVALID_DEVICE_STATE,
};
use ks_io::CancelCreates;
use ks_rig::{Created, Rig, each_seed};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The totals of a pin of ks10 and of drain: bytes, frames and their sum.
const KS10: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e10);
const DRAIN: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e01);

fn totals(pin: &Created, set: Guid) -> [u64; 3] {
    pin.pin.object().property(set, 0).expect("the totals of a pin")
}

/// Waits until a pin has that many frames.
fn wait_for_frames(pin: &Created, set: Guid, frames: u64) -> [u64; 3] {
    loop {
        let totals = totals(pin, set);
        if totals[1] >= frames {
            return totals;
        }
        ks_rig::moment();
    }
}

#[test]
fn a_client_inspects_opens_and_reads_a_driver_without_avstream() {
    each_seed(|| {
        let rig = Rig::start("ks10/ks10.c");
        let filter = rig.open();
        let pins = filter.pins().expect("the pins");
        assert_eq!(pins.len(), 2);
        let pin = rig.create(&filter, 0, None);
        assert_eq!(pin.bytes, 64);
        assert!(rig.try_create(&filter, 0, None).is_err(), "there is one instance of it");
        let refused = pin.read(1).wait().expect_err("the pin is stopped");
        assert_eq!(refused.status, STATUS_INVALID_DEVICE_STATE);
        for state in [KsState::ACQUIRE, KsState::PAUSE] {
            pin.pin.set_state(state).expect("a step up");
        }
        // Reads wait for the pin to run, and can be cancelled where they wait.
        let (first, second) = (pin.read(2), pin.read(1));
        second.cancel();
        assert_eq!(second.wait().expect_err("it was cancelled").status, STATUS_CANCELLED);
        pin.pin.set_state(KsState::RUN).expect("the pin runs");
        let frames: Vec<Vec<u8>> = first.wait().expect("two frames").into_iter().map(|frame| frame.data()).collect();
        assert_eq!(frames, [vec![0u8; 64], vec![1u8; 64]]);
        let third = pin.read(1).wait().expect("a frame").remove(0).data();
        assert_eq!(third, [2; 64]);
        pin.pin.set_state(KsState::PAUSE).expect("the pin pauses");
        let left = pin.read(1);
        pin.pin.set_state(KsState::STOP).expect("the pin stops");
        assert_eq!(left.wait().expect_err("a stop ends what waits").status, STATUS_CANCELLED);
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_create_that_a_driver_without_avstream_holds_ends_when_its_client_cancels_it() {
    each_seed(|| {
        let rig = Rig::start_with(&["ks10/ks10.c"], &["-DHOLDS_PINS"]);
        let filter = Arc::new(rig.open());
        for which in [CancelCreates::UnderWay, CancelCreates::FromNowOn, CancelCreates::FromNowOn] {
            let client = rig.client();
            let held = filter.clone();
            let creates = ks_rig::beside(move || Created::try_new(&held, 0, None).map(drop));
            while !creates.is_ended() {
                client.cancel_creates(which);
                ks_rig::moment();
            }
            let created = creates.join();
            assert_eq!(created.expect_err("it is held").status, STATUS_CANCELLED, "{which:?}");
        }
        drop(filter);
        drop(rig.open());
        rig.unload();
    });
}

#[test]
fn an_avstream_source_writes_to_a_pin_without_avstream() {
    each_seed(|| {
        let rig = Rig::start_all(&["counter/counter.cpp", "ks10/ks10.c"]);
        let (source, sink) = (rig.open_of(0), rig.open_of(1));
        let input = rig.create(&sink, 1, None);
        let output = rig.create(&source, 0, Some(&input));
        for pin in [&input, &output] {
            pin.pin.set_state(KsState::RUN).expect("the pin runs");
        }
        let [bytes, frames, sum] = wait_for_frames(&input, KS10, 20);
        assert_eq!(bytes, 4 * frames, "a count has four bytes");
        assert!(sum > 0);
        for pin in [&output, &input] {
            pin.pin.set_state(KsState::STOP).expect("the pin stops");
        }
        drop((output, input, source, sink));
        rig.unload();
    });
}

#[test]
fn a_pin_without_avstream_sends_requests_to_an_avstream_sink() {
    each_seed(|| {
        let rig = Rig::start_all(&["ks10/ks10.c", "drain/drain.c"]);
        let (source, sink) = (rig.open_of(0), rig.open_of(1));
        let input = rig.create(&sink, 0, None);
        let output = rig.create(&source, 0, Some(&input));
        for pin in [&input, &output] {
            pin.pin.set_state(KsState::RUN).expect("the pin runs");
        }
        let expected = (0..100u64).map(|frame| 64 * frame).sum::<u64>();
        assert_eq!(wait_for_frames(&input, DRAIN, 100), [6400, 100, expected], "all that was sent has arrived");
        assert_eq!(wait_for_frames(&output, KS10, 100), [6400, 100, 0], "and was given back");
        for pin in [&output, &input] {
            pin.pin.set_state(KsState::STOP).expect("the pin stops");
        }
        drop((output, input, source, sink));
        rig.unload();
    });
}

#[test]
fn a_driver_without_avstream_can_be_pulled_out() {
    each_seed(|| {
        let rig = Rig::start("ks10/ks10.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::PAUSE).expect("the pin pauses");
        rig.surprise_remove();
        assert_eq!(pin.pin.state().expect_err("it is gone").status, ks_abi::STATUS_DEVICE_REMOVED);
        drop((pin, filter));
        rig.unload();
    });
}

/// What failed of a check of the AVStream drivers in `tests/avs`.
fn failure(pin: &Created, check: u32) -> String {
    const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = pin.pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8_lossy(&answer[..outcome.information]).into_owned()
}

/// KSPIN.ConnectionIsExternal, whichever of the two sends the requests; either end closes first while both run.
#[test]
fn an_avstream_pin_knows_its_other_end_as_foreign_and_either_closes_first() {
    each_seed(|| {
        const IS_FOREIGN: u32 = 3;
        let rig = Rig::start_all(&["tests/avs/exchange_source.c", "tests/avs/exchange_sink.c", "ks10/ks10.c"]);
        for (from, to) in [(0, 2), (2, 1)] {
            for sink_first in [true, false] {
                let (source_filter, sink_filter) = (rig.open_of(from), rig.open_of(to));
                let sink = rig.create(&sink_filter, 1, None);
                let source = rig.create(&source_filter, 0, Some(&sink));
                for pin in [&sink, &source] {
                    pin.pin.set_state(KsState::RUN).expect("the pin runs");
                }
                let (old, new) = if from == 2 { (&source, &sink) } else { (&sink, &source) };
                wait_for_frames(old, KS10, 10);
                assert_eq!(failure(new, IS_FOREIGN), "", "from {from}");
                let (first, second) = if sink_first { (sink, source) } else { (source, sink) };
                drop(first);
                second.pin.set_state(KsState::STOP).expect("who is left can be stopped");
                drop((second, source_filter, sink_filter));
            }
        }
        rig.unload();
    });
}
