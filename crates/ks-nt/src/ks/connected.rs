//! The file object and the device of the pin that a source pin is connected to, for a driver's own requests to it.
//!
//! A pin of a driver in this process has its own; for a pin of a driver without AVStream, or of another process, the
//! engine's file object is shown, whose device object takes the requests.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::engine_device;
use crate::ks::engine_file::{self, EngineFile};
use crate::ks::objects::{self, Object};
use crate::ks::pin::HostedPin;
use crate::ntoskrnl::object_manager::Object as _;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsPinGetConnectedPinFileObject, KsPinGetConnectedPinDeviceObject);

/// The connected pin as a file that the driver of a pin has been shown; it is there as long as that pin.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Option<Arc<EngineFile>>>);

/// What a driver may send requests to.
enum Connected {
    Hosted(Arc<HostedPin>),
    Foreign(Arc<EngineFile>),
}

fn connected(pin: Address, routine: &'static str) -> Option<Connected> {
    let hosted = objects::pin(pin, routine)?;
    let pin = hosted.engine()?;
    let file = pin.connected_file()?;
    if let Some(peer) = pin.peer()
        && let Some(Object::Pin(peer)) = objects::find(Address(peer.address()))
    {
        return Some(Connected::Hosted(peer));
    }
    let mut shown = hosted.shown().0.lock().unwrap_or_else(PoisonError::into_inner);
    if shown.is_none() {
        *shown = engine_file::shown(&file).ok();
    }
    shown.clone().map(Connected::Foreign)
}

// ks-coverage: KsPinGetConnectedPinFileObject done test=a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsPinGetConnectedPinFileObject(pin: Address) -> u64 {
    match connected(pin, "KsPinGetConnectedPinFileObject") {
        Some(Connected::Hosted(peer)) => peer.file_object(),
        Some(Connected::Foreign(file)) => file.address() as u64,
        None => 0,
    }
}

// ks-coverage: KsPinGetConnectedPinDeviceObject done test=a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsPinGetConnectedPinDeviceObject(pin: Address) -> u64 {
    match connected(pin, "KsPinGetConnectedPinDeviceObject") {
        Some(Connected::Hosted(peer)) => peer.filter().device().functional(),
        Some(Connected::Foreign(_)) => engine_device::address().unwrap_or(0),
        None => 0,
    }
}
