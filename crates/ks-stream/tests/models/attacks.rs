//! A10, use after the close: close, read, change of state, cancel and removal of one pin, in all pairs and triples.

use super::{World, all, beside, check_times, take_none};
use ks_abi::{
    KsState, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_FILE_CLOSED, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_HANDLE, STATUS_SUCCESS,
};
use ks_io::Transport;
use ks_io::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Close,
    Read,
    SetState,
    Cancel,
    Remove,
}

const ACTS: [Act; 5] = [Act::Close, Act::Read, Act::SetState, Act::Cancel, Act::Remove];

fn meet(acts: &[Act]) {
    let (world, pin) = World::reader(take_none);
    world.bring(pin, KsState::PAUSE);
    let reads = Arc::new(Mutex::new(vec![world.read(pin, 1)]));
    let threads = acts.iter().map(|act| {
        let (act, reads) = (*act, reads.clone());
        beside(&world, move |world| match act {
            Act::Close => assert_eq!(world.session.close(pin).status, STATUS_SUCCESS, "it is closed once"),
            Act::Read => {
                let read = world.read(pin, 1);
                reads.lock().push(read);
            }
            Act::SetState => {
                for state in [KsState::STOP, KsState::ACQUIRE] {
                    let _ = world.set_state(pin, state);
                }
            }
            Act::Cancel => {
                let _ = world.session.cancel_all(pin);
            }
            Act::Remove => world.devices[0].surprise_remove(),
        })
    });
    all(threads.collect());
    if acts.contains(&Act::Close) {
        assert_eq!(world.set_state(pin, KsState::STOP), STATUS_INVALID_HANDLE, "{acts:?}");
    } else if !acts.contains(&Act::Remove) {
        let _ = world.session.cancel_all(pin);
    }
    for read in std::mem::take(&mut *reads.lock()) {
        let status = read.status();
        let allowed = [
            STATUS_CANCELLED,
            STATUS_DEVICE_REMOVED,
            STATUS_FILE_CLOSED,
            STATUS_INVALID_HANDLE,
            STATUS_INVALID_DEVICE_STATE,
        ];
        assert!(allowed.contains(&status), "{acts:?}: {status}");
    }
    world.end();
}

#[test]
fn a10_every_pair_of_acts_ends_each_request_once() {
    for (index, one) in ACTS.into_iter().enumerate() {
        for other in ACTS.into_iter().skip(index + 1) {
            check_times(500, move || meet(&[one, other]));
        }
    }
}

#[test]
fn a10_every_three_acts_end_each_request_once() {
    for (index, one) in ACTS.into_iter().enumerate() {
        for (next, other) in ACTS.into_iter().enumerate().skip(index + 1) {
            for third in ACTS.into_iter().skip(next + 1) {
                check_times(500, move || meet(&[one, other, third]));
            }
        }
    }
}
