//! Where in its code a driver did what is a broken rule later only: made the clone that is never deleted, locked the edge
//! that is never unlocked. And whose the stream pointers were that are gone.
//!
//! All of it is for reports, and nothing is kept for drivers that are not verified.

use crate::ks::stream_pointer::Pointer;
use crate::verifier::is_enabled;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Where a driver called a routine. Kept inverted: a report looks at the words of the stack for callers, and a copy of a return
/// address that lies there would be a caller that is none.
#[derive(Clone, Copy)]
pub(super) struct Site(u64);

impl Site {
    pub(super) fn of(returns_to: u64) -> Site {
        Site(!returns_to)
    }

    /// An address within the instruction that called.
    pub(super) fn address(self) -> u64 {
        (!self.0).wrapping_sub(1)
    }
}

/// Stream pointers that are gone are remembered up to this many.
const MOST_GONE: usize = 256;

#[derive(Default)]
struct Known {
    /// Of living stream pointers, by their addresses: the call that made the clone, or locked the edge, last.
    places: HashMap<u64, Site>,
    /// Address and name of the pin, oldest first.
    gone: VecDeque<(u64, String)>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The driver's last call of a routine that is verified.
    static CALLED_FROM: Cell<Site> = const { Cell::new(Site(u64::MAX)) };
}

/// The driver calls a routine at this place of its code.
pub(super) fn called_from(place: Site) {
    CALLED_FROM.set(place);
}

/// The driver did something with a stream pointer there that it is to undo.
pub(super) fn set(pointer: u64, place: Site) {
    known().places.insert(pointer, place);
}

/// The last such place of a stream pointer that lives.
pub(super) fn last_of(pointer: u64) -> Option<u64> {
    known().places.get(&pointer).map(|place| place.address())
}

/// A clone was made by the call that is under way on this thread.
pub(crate) fn pointer_made(pointer: u64) {
    if is_enabled() {
        set(pointer, CALLED_FROM.get());
    }
}

/// A stream pointer was deleted, or its pin is closed.
pub(crate) fn pointer_gone(pointer: &Pointer) {
    if !is_enabled() {
        return;
    }
    let pin = pointer.pin().map(|pin| pin.name());
    let mut known = known();
    known.places.remove(&pointer.address());
    if let Some(pin) = pin {
        let surplus = (known.gone.len() + 1).saturating_sub(MOST_GONE);
        known.gone.drain(..surplus);
        known.gone.push_back((pointer.address(), pin));
    }
}

/// What a stream pointer was that is gone.
pub(super) fn owner_of_gone(pointer: u64) -> Option<String> {
    let known = known();
    let (_, pin) = known.gone.iter().rev().find(|(address, _)| *address == pointer)?;
    Some(format!("once a stream pointer of pin {pin}"))
}
