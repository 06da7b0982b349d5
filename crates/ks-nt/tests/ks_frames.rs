//! Drivers whose pins bring the frames of a circuit by an allocator of their own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection,
    KSPROPERTY_TYPE_GET, KsAllocatorFraming, KsIdentifier, KsState, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NOT_SUPPORTED,
};
use ks_client::{Filter, Object, Pin};
use ks_io::WaitOutcome;
use ks_rig::{Created, Rig, each_seed};
use zerocopy::IntoBytes;

const DRIVER: &str = "tests/avs/frames.c";
/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
const MUST: u32 = 1;
const CAN: u32 = 2;
const CHOSEN: u32 = 0;
const STREAMED: u32 = 1;
const PASSED_OVER: u32 = 2;
const RETURNED: u32 = 3;

/// What failed of a check of the driver's own.
fn failure(object: &Object, check: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// The driver's source, connected to one of its sinks.
struct Pair {
    source: Created,
    sink: Created,
    _filters: [Filter; 2],
}

impl Pair {
    fn new(rig: &Rig, id: u32) -> Pair {
        Pair::of([rig.open(), rig.open()], rig, id)
    }

    fn of(filters: [Filter; 2], rig: &Rig, id: u32) -> Pair {
        let sink = rig.create(&filters[1], id, None);
        let source = rig.create(&filters[0], 0, Some(&sink));
        Pair { source, sink, _filters: filters }
    }

    fn pins(&self) -> [&Pin; 2] {
        [&self.sink.pin, &self.source.pin]
    }

    /// From STOP to the end of the stream, and back.
    fn stream(&self) {
        let ended = self.sink.pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            self.pins().iter().for_each(|pin| pin.set_state(state).unwrap());
        }
        assert_eq!(ended.event().wait(), WaitOutcome::Signalled);
        for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
            self.pins().iter().rev().for_each(|pin| pin.set_state(state).unwrap());
        }
    }

    /// Why the start was refused.
    fn refused(&self) -> ks_client::ClientError {
        self.sink.pin.set_state(KsState::ACQUIRE).unwrap();
        let refused = self.source.pin.set_state(KsState::ACQUIRE).unwrap_err();
        assert_eq!(self.source.pin.state().unwrap(), KsState::STOP);
        self.sink.pin.set_state(KsState::STOP).unwrap();
        refused
    }

    fn why_its_frames(&self) -> String {
        self.source.pin.pipe().unwrap().why
    }
}

/// Everything is back with the driver, or comes back: a worker that was the last to have to do with a pin closes it.
fn assert_returned(rig: &Rig) {
    let filter = rig.open();
    let pin = rig.create(&filter, 0, None);
    let mut wrong = failure(pin.pin.object(), RETURNED);
    for _ in 0..100_000 {
        if wrong.is_empty() {
            return;
        }
        ks_rig::moment();
        wrong = failure(pin.pin.object(), RETURNED);
    }
    panic!("{wrong}");
}

#[test]
fn a_pin_of_a_driver_brings_the_frames_of_its_circuit_and_gets_them_back() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        for (id, why) in [(MUST, "must allocate"), (CAN, "can allocate")] {
            let pair = Pair::new(&rig, id);
            // Frames stay with a circuit that is stopped, and are not made again.
            for _ in 0..3 {
                pair.stream();
                assert_eq!(failure(pair.sink.pin.object(), CHOSEN), "", "{why}");
                assert_eq!(failure(pair.sink.pin.object(), STREAMED), "", "{why}");
                assert_eq!(pair.why_its_frames(), why);
            }
            drop(pair);
            assert_returned(&rig);
        }
        rig.unload();
    });
}

#[test]
fn frames_go_back_before_their_pin_closes_whoever_closes_first() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        for sink_first in [true, false] {
            let Pair { source, sink, _filters: filters } = {
                let pair = Pair::new(&rig, MUST);
                for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
                    pair.pins().iter().for_each(|pin| pin.set_state(state).unwrap());
                }
                pair
            };
            if sink_first {
                drop(sink);
                drop(source);
            } else {
                drop(source);
                drop(sink);
            }
            drop(filters);
            assert_returned(&rig);
        }
        rig.unload();
    });
}

#[test]
fn an_allocator_that_a_client_named_goes_before_that_of_a_pin_which_is_never_started() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let pair = Pair::new(&rig, MUST);
        let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
        let framing = KsAllocatorFraming {
            flags,
            frames: 6,
            frame_size: 512,
            file_alignment: 63,
            ..KsAllocatorFraming::default()
        };
        let allocator = pair.sink.pin.create_allocator(&framing).unwrap();
        pair.source.pin.set_allocator(Some(&allocator)).unwrap();
        pair.stream();
        assert_eq!(failure(pair.sink.pin.object(), PASSED_OVER), "");
        drop((allocator, pair));
        rig.unload();
    });
}

#[test]
fn an_allocator_object_of_a_drivers_own_lends_to_circuits() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let pair = Pair::of([rig.open_as_driver(), rig.open_as_driver()], &rig, CAN);
        let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
        // PagedPool, as the pin asks for.
        let framing = KsAllocatorFraming {
            flags,
            pool_type: 1,
            frames: 5,
            frame_size: 256,
            file_alignment: 15,
            ..KsAllocatorFraming::default()
        };
        let allocator = pair.sink.pin.create_allocator(&framing).unwrap();
        pair.source.pin.set_allocator(Some(&allocator)).unwrap();
        pair.stream();
        assert_eq!(failure(pair.sink.pin.object(), CHOSEN), "");
        assert_eq!(failure(pair.sink.pin.object(), STREAMED), "");
        assert_eq!(pair.why_its_frames(), "named by a client");
        drop((allocator, pair));
        assert_returned(&rig);
        rig.unload();
    });
}

#[test]
fn frames_that_cannot_be_used_refuse_the_start_and_go_back() {
    each_seed(|| {
        for (flaw, status) in [
            ("-DFLAW=1", STATUS_NOT_SUPPORTED),
            ("-DFLAW=2", STATUS_NOT_SUPPORTED),
            ("-DFLAW=3", STATUS_INSUFFICIENT_RESOURCES),
        ] {
            let rig = Rig::start_with(&[DRIVER], &[flaw]);
            let pair = Pair::new(&rig, MUST);
            let refused = pair.refused();
            assert_eq!(refused.status, status, "{flaw}: {refused}");
            drop(pair);
            assert_returned(&rig);
            rig.unload();
        }
    });
}

#[test]
fn a_driver_that_has_fewer_frames_than_were_asked_for_streams_with_those() {
    each_seed(|| {
        let rig = Rig::start_with(&[DRIVER], &["-DFLAW=4"]);
        let pair = Pair::new(&rig, MUST);
        pair.stream();
        assert_eq!(failure(pair.sink.pin.object(), CHOSEN), "");
        assert_eq!(failure(pair.sink.pin.object(), STREAMED), "");
        assert_eq!(pair.sink.pin.statistics().unwrap().allocator_frames, 3);
        drop(pair);
        assert_returned(&rig);
        rig.unload();
    });
}
