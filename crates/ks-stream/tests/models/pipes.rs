//! Changes of state in a pipe: each pin of five filters refuses in turn, and two clients change it from both ends.

use super::{FRAME_BYTES, FRAMES, check_times, thread, until, video};
use ks_abi::{
    IoControlCode, KSCATEGORY_CAPTURE, KSNAME_Pin, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KsIdentifier, KsPinConnect, KsPinDataFlow, KsPriority, KsProperty,
    KsReset, KsState, NtStatus, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{
    AccessMask, Aspect, Handle, IoManager, Refusal, RequestorMode, Services, Session, Transport, dropped_irps,
};
use ks_stream::{
    Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor, PinInstance,
};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use zerocopy::IntoBytes;

const NAMES: [&str; 5] = ["source", "second", "third", "fourth", "sink"];

/// One filter of the pipe: what its pins are told, and what they refuse.
#[derive(Default)]
struct Stage {
    /// The last filter's pin counts what arrives, the first one's what it sends.
    frames: AtomicUsize,
    is_source: bool,
    /// Of each pin: the state that its driver knows, and whether it is being told of another.
    state: [AtomicU32; 2],
    inside: [AtomicBool; 2],
    /// The pin and the step that is refused.
    refuses: Mutex<Option<(u32, KsState, KsState)>>,
    pins: Mutex<Vec<Arc<Pin>>>,
}

struct Part(Arc<Stage>);

impl FilterDispatch for Part {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Part(self.0.clone())))
    }
}

impl FilterInstance for Part {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.pins.lock().push(pin.clone());
        Ok(Arc::new(Part(self.0.clone())))
    }
}

impl PinInstance for Part {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            assert!(self.0.state[pin.id() as usize].load(Ordering::SeqCst) >= KsState::PAUSE.0, "frames before PAUSE");
            if self.0.is_source && self.0.frames.load(Ordering::SeqCst) >= 2 * FRAMES {
                return STATUS_PENDING;
            }
            frame.set_data_used(FRAME_BYTES);
            self.0.frames.fetch_add(1, Ordering::SeqCst);
            edge = frame.advance();
        }
        STATUS_PENDING
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        let id = pin.id() as usize;
        assert!(!self.0.inside[id].swap(true, Ordering::SeqCst), "a pin is told of two steps at once");
        assert_eq!(self.0.state[id].load(Ordering::SeqCst), from.0, "a step begins where the last one ended");
        assert_eq!(to.0.abs_diff(from.0), 1, "a pin is told of single steps");
        let refused = *self.0.refuses.lock() == Some((pin.id(), from, to));
        if !refused {
            self.0.state[id].store(to.0, Ordering::SeqCst);
        }
        self.0.inside[id].store(false, Ordering::SeqCst);
        match refused {
            true => Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "told to refuse")),
            false => Ok(()),
        }
    }

    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: FRAMES as u32, frame_bytes: FRAME_BYTES, alignment: 64 })
    }

    fn close(&self, pin: &Pin) {
        let state = self.0.state[pin.id() as usize].load(Ordering::SeqCst);
        assert_eq!(state, KsState::STOP.0, "a pin closes in STOP");
    }
}

/// A source, filters that work in place, and a sink.
struct Pipe {
    session: Arc<Session>,
    devices: Vec<Arc<Device>>,
    stages: Vec<Arc<Stage>>,
    /// All pins from the sink to the source, each with its filter and its number there.
    pins: Vec<(Handle, usize, u32)>,
    dropped_before: u64,
}

impl Pipe {
    fn of(filters: usize) -> Arc<Pipe> {
        let dropped_before = dropped_irps();
        let io = IoManager::new(Services::real());
        let mut pipe = Pipe {
            session: io.session_as(RequestorMode::User),
            devices: Vec::new(),
            stages: Vec::new(),
            pins: Vec::new(),
            dropped_before,
        };
        let pin = |flow| PinDescriptor::new(flow, vec![video()]);
        let mut opened = Vec::new();
        for place in 0..filters {
            let name = if place + 1 == filters { NAMES[4] } else { NAMES[place] };
            let pins = match name {
                "source" => vec![pin(KsPinDataFlow::OUT)],
                "sink" => vec![pin(KsPinDataFlow::IN)],
                _ => vec![pin(KsPinDataFlow::IN), pin(KsPinDataFlow::OUT)],
            };
            let stage = Arc::new(Stage { is_source: place == 0, ..Stage::default() });
            let part = Arc::new(Part(stage.clone()));
            let mut descriptor = FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, part);
            descriptor.in_place = (place > 0 && place + 1 < filters).then_some((0, 1));
            pipe.devices.push(Device::start(&io, name, vec![Arc::new(descriptor)]).unwrap());
            pipe.stages.push(stage);
            let known = io.interfaces(None).into_iter().find(|known| known.reference == name).unwrap();
            opened.push(pipe.session.open(&known.symbolic_link, AccessMask::GENERIC_ALL).unwrap());
        }
        let mut to = 0;
        for place in (0..filters).rev() {
            // The input first: the output of the filter before is connected to it.
            let output = u32::from(place > 0);
            if place + 1 < filters {
                let pin = pipe.create(opened[place], output, to);
                pipe.pins.push((pin, place, output));
            }
            if place > 0 {
                let pin = pipe.create(opened[place], 0, 0);
                pipe.pins.push((pin, place, 0));
                to = pin.0;
            }
        }
        Arc::new(pipe)
    }

    fn create(&self, filter: Handle, pin_id: u32, to: u64) -> Handle {
        let head = KsPinConnect {
            interface: KsIdentifier::STANDARD_STREAMING,
            medium: KsIdentifier::STANDARD_DEVIO,
            pin_id,
            pin_to_handle: to,
            priority: KsPriority::NORMAL,
            ..Default::default()
        };
        let parameters = [head.as_bytes(), video().bytes()].concat();
        let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
        self.session.create(filter, &KSNAME_Pin.to_string(), &parameters, access).unwrap()
    }

    fn set_state(&self, pin: Handle, state: KsState) -> NtStatus {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        let code = IoControlCode::KS_PROPERTY;
        self.session.device_io_control(pin, code, request.as_bytes(), &mut state.0.to_le_bytes()).status
    }

    fn state(&self, pin: Handle) -> u32 {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET);
        let mut state = [0; 4];
        let code = IoControlCode::KS_PROPERTY;
        assert_eq!(self.session.device_io_control(pin, code, request.as_bytes(), &mut state).status, STATUS_SUCCESS);
        u32::from_le_bytes(state)
    }

    /// What the pin tells is what its driver agreed to.
    fn agrees(&self, &(pin, stage, id): &(Handle, usize, u32)) {
        let told = self.stages[stage].state[id as usize].load(Ordering::SeqCst);
        assert_eq!(self.state(pin), told, "pin {id} of filter {stage}");
    }

    /// Streams from STOP to the source's last frame and down again; every frame of the circuit is home in between.
    fn streams(&self) {
        self.stages[0].frames.store(0, Ordering::SeqCst);
        for (pin, ..) in &self.pins {
            assert_eq!(self.set_state(*pin, KsState::RUN), STATUS_SUCCESS);
        }
        let head = self.stages[0].pins.lock()[0].clone();
        until(|| self.stages[0].frames.load(Ordering::SeqCst) == 2 * FRAMES && head.queued_requests() == FRAMES);
        drop(head);
        self.stop();
    }

    fn stop(&self) {
        for (pin, ..) in self.pins.iter().rev() {
            assert_eq!(self.set_state(*pin, KsState::STOP), STATUS_SUCCESS, "a pipe can be stopped from every state");
        }
    }

    fn end(self: Arc<Pipe>) {
        let Pipe { session, devices, stages, dropped_before, .. } = Arc::into_inner(self).unwrap();
        let pins: Vec<_> = stages.iter().flat_map(|stage| std::mem::take(&mut *stage.pins.lock())).collect();
        drop(session);
        assert!(pins.iter().all(|pin| pin.queued_requests() == 0));
        drop(pins);
        for device in devices {
            until(|| device.open_filters() == 0);
            device.surprise_remove();
        }
        assert_eq!(dropped_irps(), dropped_before);
    }
}

#[test]
fn a_step_that_any_pin_of_five_filters_refuses_leaves_the_pipe_as_it_was() {
    const STEPS: [(KsState, KsState); 3] =
        [(KsState::STOP, KsState::ACQUIRE), (KsState::ACQUIRE, KsState::PAUSE), (KsState::PAUSE, KsState::RUN)];
    static TURN: AtomicUsize = AtomicUsize::new(0);
    check_times(480, || {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let pipe = Pipe::of(5);
        let chosen = turn % pipe.pins.len();
        let (from, to) = STEPS[turn / pipe.pins.len() % 3];
        let (_, stage, id) = pipe.pins[chosen];
        *pipe.stages[stage].refuses.lock() = Some((id, from, to));
        // Somebody else resets the sink meanwhile: frames that have started go back.
        let other = pipe.clone();
        let resets = thread::spawn(move || {
            for reset in [KsReset::BEGIN, KsReset::END] {
                let (code, reset) = (IoControlCode::KS_RESET_STATE, reset.0.to_le_bytes());
                let _ = other.session.device_io_control(other.pins[0].0, code, &reset, &mut []);
            }
        });
        for (place, (pin, ..)) in pipe.pins.iter().enumerate() {
            let status = pipe.set_state(*pin, KsState::RUN);
            let expected = if place == chosen { STATUS_UNSUCCESSFUL } else { STATUS_SUCCESS };
            assert_eq!(status, expected, "pin {place}, of which {chosen} refuses");
            let state = if place == chosen { KsState::STOP } else { KsState::RUN };
            assert_eq!(pipe.state(*pin), state.0, "what it began, it takes back");
        }
        resets.join().unwrap();
        pipe.pins.iter().for_each(|pin| pipe.agrees(pin));
        pipe.stop();
        *pipe.stages[stage].refuses.lock() = None;
        pipe.streams();
        pipe.end();
    });
}

#[test]
fn a_step_down_that_any_pin_of_five_filters_refuses_leaves_the_pipe_streaming() {
    const STEPS: [(KsState, KsState); 3] =
        [(KsState::RUN, KsState::PAUSE), (KsState::PAUSE, KsState::ACQUIRE), (KsState::ACQUIRE, KsState::STOP)];
    static TURN: AtomicUsize = AtomicUsize::new(0);
    check_times(240, || {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let pipe = Pipe::of(5);
        let chosen = turn % pipe.pins.len();
        let (from, to) = STEPS[turn / pipe.pins.len() % 3];
        let (pin, stage, id) = pipe.pins[chosen];
        for (pin, ..) in &pipe.pins {
            assert_eq!(pipe.set_state(*pin, KsState::RUN), STATUS_SUCCESS);
        }
        *pipe.stages[stage].refuses.lock() = Some((id, from, to));
        // Another client asks for what the pin is in, and gets it whatever the first one has come to.
        let other = pipe.clone();
        let affirms = thread::spawn(move || assert_eq!(other.set_state(pin, KsState::RUN), STATUS_SUCCESS));
        assert_eq!(pipe.set_state(pin, KsState::STOP), STATUS_UNSUCCESSFUL);
        affirms.join().unwrap();
        assert_eq!(pipe.state(pin), KsState::RUN.0, "what it gave up, it takes up again");
        pipe.pins.iter().for_each(|pin| pipe.agrees(pin));
        // Frames that a flush on the way down sent home are on their way again, and none is missing.
        let head = pipe.stages[0].pins.lock()[0].clone();
        until(|| head.queued_requests() == FRAMES);
        pipe.stages[0].frames.store(0, Ordering::SeqCst);
        head.attempt_processing();
        until(|| pipe.stages[0].frames.load(Ordering::SeqCst) == 2 * FRAMES && head.queued_requests() == FRAMES);
        drop(head);
        *pipe.stages[stage].refuses.lock() = None;
        pipe.stop();
        pipe.streams();
        pipe.end();
    });
}

#[test]
fn two_clients_at_both_ends_meet_a_pin_that_refuses_a_step() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    check_times(600, || {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let pipe = Pipe::of(3);
        let chosen = turn % pipe.pins.len();
        let lower = KsState((turn / pipe.pins.len() % 3) as u32);
        let upper = KsState(lower.0 + 1);
        let (from, to) = if turn / pipe.pins.len() / 3 % 2 == 0 { (lower, upper) } else { (upper, lower) };
        let (_, stage, id) = pipe.pins[chosen];
        *pipe.stages[stage].refuses.lock() = Some((id, from, to));
        let walk = |from_the_sink: bool, states: [KsState; 3]| {
            let pipe = pipe.clone();
            thread::spawn(move || {
                for state in states {
                    for place in 0..pipe.pins.len() {
                        let place = if from_the_sink { place } else { pipe.pins.len() - 1 - place };
                        let status = pipe.set_state(pipe.pins[place].0, state);
                        let may_refuse = place == chosen;
                        assert!(
                            status == STATUS_SUCCESS || (may_refuse && status == STATUS_UNSUCCESSFUL),
                            "pin {place}, of which {chosen} refuses: {status}"
                        );
                    }
                }
            })
        };
        let clients = [
            walk(true, [KsState::RUN, KsState::ACQUIRE, KsState::RUN]),
            walk(false, [KsState::PAUSE, KsState::STOP, KsState::PAUSE]),
        ];
        clients.into_iter().for_each(|client| client.join().unwrap());
        pipe.pins.iter().for_each(|pin| pipe.agrees(pin));
        *pipe.stages[stage].refuses.lock() = None;
        pipe.stop();
        pipe.streams();
        pipe.end();
    });
}

#[test]
fn two_clients_change_the_state_of_a_pipe_from_both_ends() {
    check_times(1_000, || {
        let pipe = Pipe::of(3);
        let walk = |from_the_sink: bool, states: [KsState; 3]| {
            let pipe = pipe.clone();
            thread::spawn(move || {
                for state in states {
                    let mut pins = pipe.pins.clone();
                    if !from_the_sink {
                        pins.reverse();
                    }
                    for (pin, ..) in pins {
                        // The other may have asked for another state meanwhile; each request is whole.
                        assert_eq!(pipe.set_state(pin, state), STATUS_SUCCESS);
                    }
                }
            })
        };
        let clients = [
            walk(true, [KsState::RUN, KsState::ACQUIRE, KsState::RUN]),
            walk(false, [KsState::PAUSE, KsState::STOP, KsState::PAUSE]),
        ];
        clients.into_iter().for_each(|client| client.join().unwrap());
        pipe.pins.iter().for_each(|pin| pipe.agrees(pin));
        pipe.stop();
        pipe.streams();
        pipe.end();
    });
}
