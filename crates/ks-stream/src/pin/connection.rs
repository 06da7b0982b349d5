//! What a pin is connected to, and the other end of it.

use super::Pin;
use crate::foreign::ForeignPeer;
use crate::injection::Homecoming;
use ks_io::FileObject;
use ks_io::sync::{Arc, Weak};

/// What a pin is connected to.
#[derive(Default)]
pub(super) enum Connection {
    /// The client is the other end.
    #[default]
    Client,
    /// This pin was created with the other's handle: it keeps the other's file object.
    To { file: Arc<FileObject>, pin: Option<Arc<Pin>> },
    /// The other pin was created with this one's handle.
    From { pin: Weak<Pin> },
}

impl Pin {
    /// The other end, when it is an AVStream pin.
    #[doc(alias = "KsPinGetConnectedPinInterface")]
    pub fn peer(&self) -> Option<Arc<Pin>> {
        match &*self.connection.lock() {
            Connection::To { pin, .. } => pin.clone(),
            Connection::From { pin } => pin.upgrade(),
            Connection::Client => None,
        }
    }

    /// True while the pin is connected to another pin.
    pub fn is_connected(&self) -> bool {
        match &*self.connection.lock() {
            Connection::To { .. } => true,
            Connection::From { pin } => pin.strong_count() > 0,
            Connection::Client => false,
        }
    }

    /// The file object of the connected sink; IRP source pins only.
    // ks-coverage: KsPinGetConnectedPinFileObject done test=a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to
    #[doc(alias = "KsPinGetConnectedPinFileObject")]
    pub fn connected_file(&self) -> Option<Arc<FileObject>> {
        match &*self.connection.lock() {
            Connection::To { file, .. } => Some(file.clone()),
            _ => None,
        }
    }

    /// The other end, when frames go there from queue to queue.
    pub(crate) fn transport_peer(&self) -> Option<Arc<Pin>> {
        self.peer().filter(|peer| self.queue.is_some() && peer.queue.is_some())
    }

    /// The file object of the foreign pin that frames of this one are sent to, or asked from.
    pub(crate) fn foreign_file(&self) -> Option<Arc<FileObject>> {
        // A pin of a private wire sends nothing.
        self.queue.as_ref()?;
        match &*self.connection.lock() {
            Connection::To { file, pin: None } => Some(file.clone()),
            _ => None,
        }
    }

    /// The other end, when requests are sent to it.
    pub(crate) fn foreign_peer(self: &Arc<Pin>, home: &Option<Arc<Homecoming>>) -> Option<Arc<ForeignPeer>> {
        Some(ForeignPeer::new(self, self.foreign_file()?, home.clone()))
    }

    /// The pin on the other side of a filter that works in place, and is no splitter.
    pub(crate) fn in_place_counterpart(&self) -> Option<Arc<Pin>> {
        let (input, output) = self.filter.descriptor().in_place()?;
        if self.filter.splits_in_place() {
            return None;
        }
        let other = match self.id() {
            id if id == input => output,
            id if id == output => input,
            _ => return None,
        };
        self.filter.pins(other).into_iter().next()
    }
}
