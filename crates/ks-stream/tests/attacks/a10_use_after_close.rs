//! A10, use after the close: close, read, set state, cancel and removal meet in all pairs and triples, and a handle that was
//! closed stays closed however often its place is used again.

use crate::rig::{FRAME_BYTES, Requests, Rig, Setup, UP, bring};
use crate::support::specimen::{OUT, bench, pin_create};
use ks_abi::*;
use ks_io::{Handle, Request, Session, Transport};
use ks_stream::Device;
use std::sync::{Arc, Mutex};

/// What one thread does to the pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Close,
    Read,
    SetState,
    Cancel,
    Remove,
}

const ACTS: [Act; 5] = [Act::Close, Act::Read, Act::SetState, Act::Cancel, Act::Remove];
const SEEDS: u64 = 40;

/// What the threads share.
struct Target {
    session: Arc<Session>,
    device: Arc<Device>,
    pin: Handle,
    memory: ks_mem::Frame,
    requests: Mutex<Vec<Request>>,
}

impl Target {
    fn read(&self) {
        let header = KsStreamHeader {
            size: 56,
            presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
            frame_extent: FRAME_BYTES,
            data: Ptr64(self.memory.address()),
            ..Default::default()
        };
        let list = crate::bytes_of(&header);
        let request = self.session.submit(self.pin, IoControlCode::KS_READ_STREAM, &[], list);
        self.requests.lock().unwrap().push(request);
    }

    fn act(&self, act: Act) {
        match act {
            Act::Close => assert_eq!(self.session.close(self.pin).status, STATUS_SUCCESS, "it is closed once"),
            Act::Read => (0..3).for_each(|_| self.read()),
            Act::SetState => {
                for state in [KsState::STOP, KsState::ACQUIRE, KsState::RUN] {
                    let request = crate::bytes_of(&KsProperty::new(
                        KSPROPSETID_Connection,
                        KSPROPERTY_CONNECTION_STATE,
                        KSPROPERTY_TYPE_SET,
                    ));
                    let mut state = state.0.to_le_bytes();
                    let code = IoControlCode::KS_PROPERTY;
                    let _ = self.session.device_io_control(self.pin, code, &request, &mut state);
                }
            }
            Act::Cancel => {
                let _ = self.session.cancel_all(self.pin);
            }
            Act::Remove => self.device.surprise_remove(),
        }
    }
}

fn meet(acts: &[Act], seed: u64) {
    let rig = Rig::with(Setup { seed, requests: Requests::FromSource, ..Setup::default() });
    let (filter, pin) = rig.alone("source");
    rig.source.script(crate::rig::wait);
    bring(&pin, &UP);
    let target = Arc::new(Target {
        session: rig.session.clone(),
        device: rig.devices[0].clone(),
        pin: pin.object().handle(),
        memory: rig.session.allocate(FRAME_BYTES as usize, 64).unwrap(),
        requests: Mutex::default(),
    });
    target.read();
    let threads: Vec<_> = acts
        .iter()
        .map(|act| {
            let (target, act) = (target.clone(), *act);
            rig.services().spawn("acts", move || target.act(act)).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join();
    }
    let what = format!("{acts:?}, seed {seed}");
    let ended = acts.contains(&Act::Close) || acts.contains(&Act::Remove);
    if !ended {
        let _ = rig.session.cancel_all(target.pin);
    }
    rig.settle();
    for request in std::mem::take(&mut *target.requests.lock().unwrap()) {
        // Exactly one completion each: it is there, and it can be taken once.
        assert!(request.is_done(), "{what}: a request waits for ever");
        let status = request.wait().outcome.status;
        let allowed = [
            STATUS_CANCELLED,
            STATUS_DEVICE_REMOVED,
            STATUS_FILE_CLOSED,
            STATUS_INVALID_HANDLE,
            STATUS_INVALID_DEVICE_STATE,
            STATUS_DEVICE_NOT_READY,
        ];
        assert!(allowed.contains(&status), "{what}: {status}");
    }
    if acts.contains(&Act::Close) {
        let again = rig.session.device_io_control(target.pin, IoControlCode::KS_RESET_STATE, &[0; 4], &mut []);
        assert_eq!(again.status, STATUS_INVALID_HANDLE, "{what}");
    }
    drop(target);
    drop((pin, filter));
    rig.assert_quiescent();
}

#[test]
fn a10_every_pair_meets_and_each_request_ends_once() {
    for (index, one) in ACTS.iter().enumerate() {
        for other in &ACTS[index + 1..] {
            (0..SEEDS).for_each(|seed| meet(&[*one, *other], seed));
        }
    }
}

#[test]
fn a10_every_three_meet_and_each_request_ends_once() {
    for (index, one) in ACTS.iter().enumerate() {
        for (next, other) in ACTS.iter().enumerate().skip(index + 1) {
            for third in &ACTS[next + 1..] {
                (0..SEEDS).for_each(|seed| meet(&[*one, *other, *third], seed));
            }
        }
    }
}

#[test]
fn a10_a_stale_handle_stays_invalid_however_often_its_place_is_used() {
    let bench = bench();
    let stale = bench.create(&pin_create(OUT)).unwrap();
    assert_eq!(bench.session.close(stale).status, STATUS_SUCCESS);
    for round in 0..1_u32 << 20 {
        let (event, _) = bench.session.create_event().unwrap();
        assert_ne!(event, stale, "round {round}");
        if round % 1024 == 0 {
            let asked = bench.session.device_io_control(stale, IoControlCode::KS_RESET_STATE, &[0; 4], &mut []);
            assert_eq!(asked.status, STATUS_INVALID_HANDLE, "round {round}");
        }
        assert_eq!(bench.session.close(event).status, STATUS_SUCCESS);
    }
    assert_eq!(bench.session.close(stale).status, STATUS_INVALID_HANDLE);
}
