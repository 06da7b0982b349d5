//! States of a pipe of five filters of a Windows driver: refused by each pin in turn, asked from both ends at once, and an
//! ACQUIRE that takes its time.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState, NtStatus, STATUS_DEVICE_BUSY,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_SOME_NOT_MAPPED,
};
use ks_client::{Filter, Object};
use ks_rig::{Created, Rig, beside, each_seed, moment};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What the pins of `states.c` are told and tell.
const ROW: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e93);
const REFUSE: u32 = 0;
const STEPS: u32 = 1;
const ALLOW: u32 = 2;
const COUNTS: u32 = 3;
const END_ACQUIRE: u32 = 4;
const PENDS: u32 = 5;

const STATES: [KsState; 4] = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const SINGLE: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 3), (3, 2), (2, 1), (1, 0)];
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];
const MIDDLES: u32 = 3;

/// `STEP` of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable)]
#[repr(C)]
struct Step {
    from: u32,
    to: u32,
    device_state: u32,
    client_state: u32,
}

/// `ROW_COUNTS` of the driver.
#[derive(Debug, PartialEq, Eq, FromBytes, Immutable)]
#[repr(C)]
struct Counts {
    next: u32,
    frames: u32,
    out_of_order: u32,
    missing: u32,
    hops: u32,
}

fn tell<T: IntoBytes + Immutable>(object: &Object, id: u32, value: &T) {
    object.set_property(ROW, id, value).unwrap_or_else(|error| panic!("{error}"));
}

fn ask(object: &Object, id: u32) -> Vec<u8> {
    let request = KsIdentifier { set: ROW, id, flags: KSPROPERTY_TYPE_GET };
    let mut answer = vec![0; 16 << 10];
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    answer.truncate(outcome.information);
    answer
}

fn refuse(pin: &Created, from: KsState, to: KsState, status: NtStatus) {
    tell(pin.pin.object(), REFUSE, &[from.0, to.0, status.0]);
}

fn refuse_nothing(pin: &Created) {
    refuse(pin, KsState::STOP, KsState::STOP, NtStatus(0));
}

/// What KSPIN shows, and the steps that the driver was told since the last time.
fn steps(pin: &Created) -> ([u32; 2], Vec<Step>) {
    let bytes = ask(pin.pin.object(), STEPS);
    let (shown, steps) = <[u32; 2]>::read_from_prefix(&bytes).unwrap();
    (shown, steps.chunks_exact(size_of::<Step>()).map(|step| Step::read_from_bytes(step).unwrap()).collect())
}

fn counts(pin: &Created) -> Counts {
    Counts::read_from_bytes(&ask(pin.pin.object(), COUNTS)).unwrap()
}

/// A source, filters that work in place, a sink: the pins in the order of the data.
struct Row {
    pins: Vec<Created>,
    _filters: Vec<Filter>,
}

impl Row {
    fn new(rig: &Rig, sink_pin: u32) -> Row {
        let middle = (0..MIDDLES).map(|_| rig.open_filter(1));
        let filters: Vec<_> = [rig.open_filter(0)].into_iter().chain(middle).chain([rig.open_filter(2)]).collect();
        let mut pins = Vec::new();
        for (at, (from, to)) in filters.iter().zip(&filters[1..]).enumerate() {
            let last = at + 2 == filters.len();
            let sink = rig.create(to, if last { sink_pin } else { 0 }, None);
            let source = rig.create(from, u32::from(at > 0), Some(&sink));
            pins.extend([source, sink]);
        }
        Row { pins, _filters: filters }
    }

    fn source(&self) -> &Created {
        &self.pins[0]
    }

    fn sink(&self) -> &Created {
        self.pins.last().unwrap()
    }

    /// Up from the sink, down from the source.
    fn bring(&self, states: &[KsState]) {
        for state in states {
            let set = |one: &Created| one.pin.set_state(*state).unwrap_or_else(|error| panic!("{error}"));
            match self.sink().pin.state().unwrap() < *state {
                true => self.pins.iter().rev().for_each(set),
                false => self.pins.iter().for_each(set),
            }
        }
    }

    fn forget_steps(&self) {
        self.pins.iter().for_each(|pin| drop(steps(pin)));
    }

    /// So many frames go from end to end, each through every filter. Virtual time ends a wait for one that never comes.
    fn stream(&self, frames: u32) {
        let next = counts(self.source()).next + frames;
        tell(self.source().pin.object(), ALLOW, &frames);
        while counts(self.sink()).next < next {
            assert_eq!(self.sink().pin.failure(), None);
            moment();
        }
        let arrived = counts(self.sink());
        assert_eq!((arrived.next, arrived.out_of_order, arrived.hops), (next, 0, MIDDLES));
    }
}

fn told(from: KsState, to: KsState, device_state: KsState) -> Step {
    Step { from: from.0, to: to.0, device_state: device_state.0, client_state: to.0 }
}

#[test]
fn a_step_that_any_pin_of_a_driver_refuses_leaves_that_pin_and_the_stream_as_they_were() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/states.c");
        for at in 0..8 {
            let row = Row::new(&rig, 0);
            for (round, (from, to)) in SINGLE.into_iter().enumerate() {
                let (from, to) = (STATES[from], STATES[to]);
                row.bring(&STATES.into_iter().filter(|one| *one > KsState::STOP && *one <= from).collect::<Vec<_>>());
                row.forget_steps();
                refuse(&row.pins[at], from, to, STATUS_INSUFFICIENT_RESOURCES);
                let case = format!("pin {at} refuses {from} to {to}");
                for (index, pin) in row.pins.iter().enumerate().rev() {
                    let outcome = pin.pin.set_state(to).map_err(|error| error.status);
                    let (wanted, is) = match index == at {
                        true => (Err(STATUS_INSUFFICIENT_RESOURCES), from),
                        false => (Ok(()), to),
                    };
                    assert_eq!((outcome, pin.pin.state().unwrap()), (wanted, is), "{case}");
                    // The step with DeviceState and ClientState as the driver is asked, and both as they are behind it.
                    assert_eq!(steps(pin), ([is.0; 2], vec![told(from, to, to)]), "{case}: pin {index}");
                }
                // The client takes the others back, as a graph does, and all of them stream.
                row.pins.iter().for_each(|pin| pin.pin.set_state(from).unwrap());
                refuse_nothing(&row.pins[at]);
                row.bring(&STATES.into_iter().filter(|one| *one > from).collect::<Vec<_>>());
                row.stream(12);
                let arrived = counts(row.sink());
                assert_eq!((arrived.frames, arrived.missing), (12 * (round as u32 + 1), 0), "{case}");
                row.bring(&DOWN);
            }
        }
        rig.unload();
    });
}

#[test]
fn steps_before_the_one_that_a_driver_refuses_are_taken_back() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/states.c");
        let [stop, acquire, pause, run] = STATES;
        let row = Row::new(&rig, 0);
        for (at, pin) in row.pins.iter().enumerate() {
            refuse(pin, acquire, pause, STATUS_DEVICE_BUSY);
            assert_eq!(pin.pin.set_state(run).unwrap_err().status, STATUS_DEVICE_BUSY, "pin {at}");
            let back = vec![told(stop, acquire, run), told(acquire, pause, run), told(acquire, stop, run)];
            assert_eq!(steps(pin), ([stop.0; 2], back), "pin {at}");
            refuse_nothing(pin);
            row.bring(&UP);
            row.stream(4);
            row.bring(&DOWN);
            row.forget_steps();
        }
        drop(row);
        rig.unload();
    });
}

#[test]
fn a_pipe_of_a_driver_that_is_asked_for_states_from_both_ends_at_once_streams() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/states.c");
        for round in 0..3u64 {
            let row = Arc::new(Row::new(&rig, 0));
            row.bring(&UP);
            tell(row.source().pin.object(), ALLOW, &100u32);
            let clients = [0, 1].map(|end| {
                let row = row.clone();
                let mut dice = round * 2 + end + 1;
                beside(move || {
                    for _ in 0..40 {
                        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let state = STATES[(dice >> 33) as usize % 4];
                        // One goes from the source down, the other from the sink up.
                        for step in 0..8 {
                            let at = if end == 0 { step } else { 7 - step };
                            row.pins[at].pin.set_state(state).unwrap_or_else(|error| panic!("{error}"));
                        }
                    }
                })
            });
            clients.into_iter().for_each(|client| client.join());
            row.pins.iter().rev().for_each(|pin| pin.pin.set_state(KsState::RUN).unwrap());
            for (at, pin) in row.pins.iter().enumerate() {
                let (shown, steps) = steps(pin);
                assert_eq!(shown, [KsState::RUN.0; 2], "pin {at}");
                let mut now = KsState::STOP.0;
                for step in steps {
                    assert_eq!((step.from, step.client_state), (now, step.to), "pin {at}: one step after the other");
                    assert_eq!(step.from.abs_diff(step.to), 1, "pin {at}");
                    now = step.to;
                }
                assert_eq!(now, KsState::RUN.0, "pin {at}");
            }
            // What was under way when a pin went to STOP is gone; what comes now arrives.
            while counts(row.source()).next < 100 {
                moment();
            }
            row.stream(10);
            row.bring(&DOWN);
        }
        rig.unload();
    });
}

#[test]
fn an_acquire_that_a_driver_pends_is_completed_by_the_class_driver_and_the_pin_streams() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/states.c");
        for fails in [false, true, false] {
            let row = Arc::new(Row::new(&rig, 1));
            let acquires = {
                let row = row.clone();
                beside(move || row.sink().pin.set_state(KsState::ACQUIRE).map_err(|error| error.status))
            };
            let sink = row.sink();
            while ask(sink.pin.object(), PENDS) != 1u32.to_le_bytes() {
                moment();
            }
            // The driver has not been told of a step; the pin answers, and the others go on.
            assert_eq!(sink.pin.state().unwrap(), KsState::STOP, "and not what the driver's handler has written");
            assert_eq!(steps(sink), ([KsState::STOP.0; 2], vec![]));
            let others = &row.pins[..row.pins.len() - 1];
            others.iter().rev().for_each(|pin| pin.pin.set_state(KsState::ACQUIRE).unwrap());
            let ends = if fails { STATUS_INSUFFICIENT_RESOURCES } else { STATUS_SOME_NOT_MAPPED };
            tell(sink.pin.object(), END_ACQUIRE, &ends.0);
            let outcome = acquires.join();
            if fails {
                assert_eq!(outcome, Err(STATUS_INSUFFICIENT_RESOURCES));
                assert_eq!((sink.pin.state().unwrap(), steps(sink).1), (KsState::STOP, vec![]));
                others.iter().for_each(|pin| pin.pin.set_state(KsState::STOP).unwrap());
                continue;
            }
            assert_eq!((outcome, sink.pin.state().unwrap()), (Ok(()), KsState::ACQUIRE));
            let step = told(KsState::STOP, KsState::ACQUIRE, KsState::ACQUIRE);
            assert_eq!(steps(sink), ([KsState::ACQUIRE.0; 2], vec![step]), "the class driver's step");
            row.bring(&[KsState::PAUSE, KsState::RUN]);
            row.stream(12);
            row.bring(&DOWN);
        }
        rig.unload();
    });
}
