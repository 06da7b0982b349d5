//! Gates between pins and their filter, and the flags that say which pins a filter waits for.

use crate::rig::{FRAME_BYTES, Rig, Setup, UP, bring, create, filled, frames};
use ks_abi::{KsPinDataFlow, KsState, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_PENDING};
use ks_client::StreamRequest;
use ks_io::sync::Arc;
use ks_stream::{AttachedGate, Gate, Pin, PinFlags};

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

/// A filter with two inputs and an output, of which a client is every other end.
struct Mixer {
    rig: Rig,
    _filter: ks_client::Filter,
    inputs: [ks_client::Pin; 2],
    output: ks_client::Pin,
    pins: [Arc<Pin>; 2],
}

impl Mixer {
    /// Each call takes what there is of the inputs, and one frame of the output.
    fn new(input_flags: PinFlags) -> Mixer {
        let middle_flags = [input_flags, PinFlags::empty()];
        let rig = Rig::with(Setup { middle_flags, middle_in_place: None, ..Setup::default() });
        rig.middle.script_filter(|probe, _, pins| {
            let mut any = false;
            for input in pins.of(INPUT) {
                if let Some(frame) = pins.frame(input) {
                    probe.seen.lock().extend(crate::rig::number(&frame));
                    input.set_bytes_used(input.bytes_available());
                    any = true;
                }
            }
            if let Some(output) = pins.of(OUTPUT).next().filter(|_| any) {
                output.set_bytes_used(FRAME_BYTES);
            }
            STATUS_PENDING
        });
        let filter = rig.open("middle");
        let inputs = [0, 1].map(|_| create(&filter, INPUT, KsPinDataFlow::IN, None));
        let output = create(&filter, OUTPUT, KsPinDataFlow::OUT, None);
        let pins = [0, 1].map(|index| rig.middle.pins.lock()[index].upgrade().unwrap());
        Mixer { rig, _filter: filter, inputs, output, pins }
    }

    fn run(&self) {
        for state in UP {
            [&self.output, &self.inputs[0], &self.inputs[1]].into_iter().for_each(|pin| bring(pin, &[state]));
        }
    }

    fn write(&self, input: usize, number: u32) -> StreamRequest {
        let pin = &self.inputs[input];
        let request = pin.write_stream(vec![filled(pin, number)]).unwrap();
        self.rig.settle();
        request
    }

    fn read(&self, count: usize) -> Vec<StreamRequest> {
        let read = |_| self.output.read_stream(frames(&self.output, 1)).unwrap();
        let requests = (0..count).map(read).collect();
        self.rig.settle();
        requests
    }

    fn seen(&self) -> Vec<u32> {
        self.rig.middle.seen_now()
    }

    /// The filter's own gate.
    fn gate(&self) -> Arc<Gate> {
        self.pins[0].filter().and_gate().unwrap().clone()
    }
}

fn lent(gate: &Arc<Gate>) -> Option<Arc<dyn AttachedGate>> {
    Some(Arc::new(gate.clone()))
}

#[test]
fn of_pins_behind_an_or_gate_one_that_is_ready_is_enough() {
    let mixer = Mixer::new(PinFlags::empty());
    let or = Gate::or().unwrap();
    mixer.pins.iter().for_each(|pin| pin.attach_or_gate(lent(&or)).unwrap());
    assert!(!or.is_open() && !mixer.gate().is_open(), "nothing is ready in STOP");
    mixer.run();
    let _reads = mixer.read(4);
    assert_eq!(mixer.rig.middle.calls(), 0, "a filter without frames waits");
    let write = mixer.write(1, 7);
    assert_eq!(mixer.seen(), [7], "the other has none");
    assert!(write.is_done() && !or.is_open(), "it is used up");
    drop((mixer.write(0, 8), mixer.write(1, 9)));
    assert_eq!(mixer.seen(), [7, 8, 9]);
    // Stopped, the second is not ready whatever it has.
    bring(&mixer.inputs[1], &[KsState::PAUSE, KsState::ACQUIRE, KsState::STOP]);
    drop(mixer.write(0, 10));
    assert_eq!(mixer.seen(), [7, 8, 9, 10]);
}

#[test]
fn pins_behind_an_and_gate_are_ready_together() {
    let mixer = Mixer::new(PinFlags::empty());
    let and = Gate::and().unwrap();
    mixer.pins.iter().for_each(|pin| pin.attach_and_gate(lent(&and)).unwrap());
    mixer.run();
    let _reads = mixer.read(4);
    let first = mixer.write(0, 1);
    assert_eq!(mixer.seen(), []);
    let second = mixer.write(1, 2);
    assert_eq!(mixer.seen(), [1, 2]);
    assert!(first.is_done() && second.is_done());
    // An input of the driver's own.
    and.turn_input_off();
    drop((mixer.write(0, 3), mixer.write(1, 4)));
    assert_eq!(mixer.seen(), [1, 2], "the driver holds it");
    and.turn_input_on();
    mixer.pins[0].attempt_processing();
    mixer.rig.settle();
    assert_eq!(mixer.seen(), [1, 2, 3, 4]);
}

#[test]
fn an_open_gate_in_front_of_the_attached_one_makes_every_pin_ready() {
    let mixer = Mixer::new(PinFlags::empty());
    let or = Gate::or().unwrap();
    mixer.pins.iter().for_each(|pin| pin.attach_or_gate(lent(&or)).unwrap());
    let own = Gate::and().unwrap();
    assert!(own.attach(&or));
    or.turn_input_on();
    mixer.run();
    let _reads = mixer.read(1);
    assert!(mixer.rig.middle.calls() > 0, "the driver wants to be called without frames");
    own.turn_input_off();
    let calls = mixer.rig.middle.calls();
    mixer.pins[0].attempt_processing();
    mixer.rig.settle();
    assert_eq!(mixer.rig.middle.calls(), calls, "three gates in a row are closed");
    drop(mixer.write(1, 5));
    assert_eq!(mixer.seen(), [5]);
}

#[test]
fn a_detached_and_a_closed_pin_leave_the_gates_as_they_were() {
    for way in 0..2 {
        let Mixer { rig, _filter, inputs: [first, second], output, pins } = Mixer::new(PinFlags::empty());
        let (and, or, gate) = (Gate::and().unwrap(), Gate::or().unwrap(), pins[0].filter().and_gate().unwrap().clone());
        pins[0].attach_and_gate(lent(&and)).unwrap();
        pins[1].attach_or_gate(lent(&or)).unwrap();
        assert!(!and.is_open() && !or.is_open() && !gate.is_open());
        pins[1].attach_and_gate(lent(&and)).unwrap();
        assert!(!gate.is_open(), "the last gate replaces the one before");
        if way == 0 {
            pins.iter().for_each(|pin| pin.attach_and_gate(None).unwrap());
            drop(pins);
        } else {
            drop(pins);
            drop((first, second));
            rig.settle();
        }
        assert!(and.is_open() && !or.is_open() && gate.is_open());
        // Nothing leads to the filter's gate any more.
        and.turn_input_off();
        assert!(gate.is_open());
        drop(output);
    }
}

#[test]
fn gates_are_attached_in_stop_and_to_filters_that_process_as_a_whole() {
    let mixer = Mixer::new(PinFlags::empty());
    mixer.run();
    let gate = Gate::and().unwrap();
    assert_eq!(mixer.pins[0].attach_and_gate(lent(&gate)), Err(STATUS_INVALID_DEVICE_STATE));
    let (_filter, _client) = mixer.rig.alone("source");
    assert_eq!(mixer.rig.source.pin().attach_or_gate(lent(&gate)), Err(STATUS_INVALID_DEVICE_REQUEST));
}

/// The flag is an OR gate already.
#[test]
fn no_gate_is_attached_to_a_pin_of_which_some_frames_are_required() {
    let mixer = Mixer::new(PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING);
    let (and, or) = (Gate::and().unwrap(), Gate::or().unwrap());
    assert_eq!(mixer.pins[0].attach_and_gate(lent(&and)), Err(STATUS_INVALID_DEVICE_REQUEST));
    assert_eq!(mixer.pins[0].attach_or_gate(lent(&or)), Err(STATUS_INVALID_DEVICE_REQUEST));
    assert!(and.is_open() && !or.is_open() && mixer.gate().is_open(), "they are as they were");
    mixer.run();
    let _reads = mixer.read(1);
    let _write = mixer.write(1, 6);
    assert_eq!(mixer.seen(), [6]);
}

#[test]
fn a_frame_of_one_pin_is_enough_where_some_frames_are_required() {
    for (flags, wanted) in [(PinFlags::empty(), vec![]), (PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING, vec![6])] {
        let mixer = Mixer::new(flags);
        mixer.run();
        let _reads = mixer.read(1);
        let _write = mixer.write(0, 6);
        assert_eq!(mixer.seen(), wanted, "{flags:?}");
    }
}

#[test]
fn a_pin_for_run_only_stops_its_filter_below_and_one_of_several_in_run_may_be_enough() {
    let run_only = PinFlags::PROCESS_IN_RUN_STATE_ONLY | PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING;
    let any = PinFlags::PROCESS_IF_ANY_IN_RUN_STATE | PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING;
    for (flags, with_one, with_both) in [(run_only, vec![], vec![6]), (any, vec![6], vec![6])] {
        let mixer = Mixer::new(flags);
        let up: [KsState; 2] = [KsState::ACQUIRE, KsState::PAUSE];
        bring(&mixer.output, &UP);
        mixer.inputs.iter().for_each(|pin| bring(pin, &up));
        let _reads = mixer.read(1);
        let _write = mixer.write(0, 6);
        assert_eq!(mixer.seen(), [], "{flags:?}: none is in RUN");
        bring(&mixer.inputs[0], &[KsState::RUN]);
        mixer.rig.settle();
        assert_eq!(mixer.seen(), with_one, "{flags:?}");
        bring(&mixer.inputs[1], &[KsState::RUN]);
        mixer.rig.settle();
        assert_eq!(mixer.seen(), with_both, "{flags:?}");
    }
}
