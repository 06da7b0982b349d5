//! The handshake between two pins, and the private interfaces that it may end in.
//!
//! Pins that are connected as AVStream peers offer each other protocols by [`Pin::handshake`]; a driver offers one to a pin
//! that is not connected yet by IOCTL_KS_HANDSHAKE, which user mode cannot send. The class driver answers its own
//! protocol, by which its pins recognise each other; every other is the minidriver's.
//!
//! Source: nf-ks-kspinhandshake, ni-ks-ioctl_ks_handshake, nf-ks-kspingetconnectedpininterface.

use crate::pin::{PEER_PROTOCOL, Pin};
use ks_abi::{
    Guid, KsHandshake, NtStatus, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_NOINTERFACE, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Arc;
use ks_io::{Dispatched, Irp, Level, RequestorMode};
use std::any::Any;
use zerocopy::FromBytes;

/// An interface of a Rust minidriver: the two sides know its type, and get at it by a downcast.
pub type Interface = Arc<dyn Any + Send + Sync>;

impl Pin {
    /// Offers a protocol to the pin that this one is connected to; what that answers if it accepts.
    ///
    /// STATUS_INVALID_DEVICE_REQUEST: it refuses, or there is none: a client or a foreign pin is the other end, to which
    /// nothing private can be said. STATUS_INVALID_DEVICE_STATE: above PASSIVE level. Callable from both ends, with the mutexes of this filter held.
    ///
    /// Decision: a foreign pin is not asked, though it may be AVStream's in another process: what a handshake hands over
    /// are addresses.
    // ks-coverage: KsPinHandshake done test=two_filters_agree_an_interface_and_exchange_frames_without_requests,two_drivers_agree_an_interface_and_exchange_frames_without_requests
    #[doc(alias = "KsPinHandshake")]
    pub fn handshake(&self, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        if Level::current() != Level::Passive {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        self.peer().ok_or(STATUS_INVALID_DEVICE_REQUEST)?.answer_handshake(offer)
    }

    fn answer_handshake(self: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        if offer.protocol_id == PEER_PROTOCOL || self.is_gone() {
            return Err(STATUS_INVALID_DEVICE_REQUEST);
        }
        self.instance().ok_or(STATUS_INVALID_DEVICE_REQUEST)?.handshake(self, offer)
    }

    /// An interface of the connected pin. STATUS_UNSUCCESSFUL: the other end is no AVStream pin; STATUS_NOINTERFACE: it
    /// has no such interface.
    #[doc(alias = "KsPinGetConnectedPinInterface")]
    pub fn connected_pin_interface(&self, id: Guid) -> Result<Interface, NtStatus> {
        let peer = self.peer().ok_or(STATUS_UNSUCCESSFUL)?;
        peer.instance().and_then(|instance| instance.interface(&peer, id)).ok_or(STATUS_NOINTERFACE)
    }

    /// An interface of the filter of the connected pin; errors as [`Pin::connected_pin_interface`].
    // ks-coverage: KsPinGetConnectedFilterInterface done test=either_end_offers_and_a_client_is_no_end_for_it
    #[doc(alias = "KsPinGetConnectedFilterInterface")]
    pub fn connected_filter_interface(&self, id: Guid) -> Result<Interface, NtStatus> {
        let peer = self.peer().ok_or(STATUS_UNSUCCESSFUL)?;
        let filter = peer.filter();
        filter.instance().and_then(|instance| instance.interface(filter, id)).ok_or(STATUS_NOINTERFACE)
    }

    /// IOCTL_KS_HANDSHAKE, for a pin that is not connected: only from the class driver or another driver, exact sizes.
    // ks-coverage: KsPinRegisterHandshakeCallback done test=a_driver_offers_a_protocol_to_an_unconnected_pin_and_user_mode_cannot,two_drivers_agree_an_interface_and_exchange_frames_without_requests
    pub(crate) fn handshake_request(&self, mut irp: Irp) -> Dispatched {
        if irp.origin().mode() == RequestorMode::User {
            return irp.done(STATUS_INVALID_DEVICE_REQUEST);
        }
        let bytes = size_of::<KsHandshake>();
        let parts = irp.parts();
        if parts.input.len() != bytes || parts.output.limit() != bytes {
            return irp.done(STATUS_INVALID_BUFFER_SIZE);
        }
        let Ok(offer) = KsHandshake::read_from_bytes(parts.input) else {
            return irp.done(STATUS_INVALID_BUFFER_SIZE);
        };
        if self.is_connected() || self.is_gone() {
            return irp.done(STATUS_INVALID_DEVICE_REQUEST);
        }
        let answer = match self.me() {
            _ if offer.protocol_id == PEER_PROTOCOL => Ok(offer),
            Some(me) => me.answer_handshake(&offer),
            None => Err(STATUS_INVALID_DEVICE_REQUEST),
        };
        let status = match answer {
            Ok(answer) => irp.parts().output.answer_value(&answer),
            Err(status) => status,
        };
        irp.done(status)
    }
}
