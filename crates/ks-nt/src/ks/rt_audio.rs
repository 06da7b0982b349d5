//! Requests of KSPROPSETID_RtAudio that a driver answers itself: they name an event of the client, or give it addresses of
//! pages that the driver has mapped for it.
//!
//! Source: kspropsetid-rtaudio.

use crate::ks::client_event::ClientEvent;
use crate::ks::irp::Target;
use crate::ks::pin::HostedPin;
use crate::ntoskrnl::mdl_pages;
use crate::ntoskrnl::object_manager::OpenHandle;
use ks_abi::{
    KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION, KSPROPERTY_RTAUDIO_CLOCKREGISTER,
    KSPROPERTY_RTAUDIO_PACKETVREGISTER, KSPROPERTY_RTAUDIO_POSITIONREGISTER,
    KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_RtAudio, KsProperty, NtStatus, STATUS_INSUFFICIENT_RESOURCES,
};
use ks_mem::{Block, RegionOwner};
use ks_stream::PropertyCall;
use std::sync::Arc;

/// Where a KSRTAUDIO_NOTIFICATION_EVENT_PROPERTY has its handle.
const EVENT: usize = size_of::<KsProperty>();

/// What is left to do when the driver has answered.
pub(super) enum Exchange {
    Nothing,
    /// The driver may have taken this event.
    Registers(Arc<HostedPin>, u64, OpenHandle),
    /// The driver may have given this event back.
    Unregisters(Arc<HostedPin>, u64),
    /// So many addresses stand at the start of the answer.
    Maps(Arc<HostedPin>, usize),
}

impl Exchange {
    /// Before the driver is asked: names the client's event in `request` by a handle of the driver's world, where there is
    /// one.
    pub(super) fn begin(target: &Target, call: &PropertyCall<'_>, request: &Block) -> Result<Exchange, NtStatus> {
        let property = call.property();
        if property.set != KSPROPSETID_RtAudio || property.flags & (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET) == 0 {
            return Ok(Exchange::Nothing);
        }
        let Target::Pin(pin) = target else { return Ok(Exchange::Nothing) };
        match property.id {
            KSPROPERTY_RTAUDIO_BUFFER
            | KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION
            | KSPROPERTY_RTAUDIO_POSITIONREGISTER
            | KSPROPERTY_RTAUDIO_CLOCKREGISTER => Ok(Exchange::Maps(pin.clone(), 1)),
            KSPROPERTY_RTAUDIO_PACKETVREGISTER => Ok(Exchange::Maps(pin.clone(), 3)),
            KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT | KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT => {
                let Some(theirs) = call.request().get(EVENT..).and_then(|rest| rest.first_chunk()) else {
                    return Ok(Exchange::Nothing);
                };
                let theirs = u64::from_le_bytes(*theirs);
                let registers = property.id == KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT;
                let (own, exchange) = event(pin, call, theirs, registers)?;
                // Never the client's number, which may be a handle of the driver's own.
                request.store_u64(EVENT, own);
                Ok(exchange)
            }
            _ => Ok(Exchange::Nothing),
        }
    }

    /// The driver has answered.
    pub(super) fn end(self, call: &PropertyCall<'_>, status: NtStatus, data: &Block, filled: usize) {
        if !status.is_success() {
            return;
        }
        match self {
            Exchange::Nothing => {}
            Exchange::Registers(pin, theirs, own) => pin.client_events().add(theirs, own),
            Exchange::Unregisters(pin, theirs) => pin.client_events().remove(theirs),
            Exchange::Maps(pin, addresses) => {
                let Some(pin) = pin.engine() else { return };
                let owner = RegionOwner::Client(call.origin().client());
                for at in (0..addresses).map(|index| 8 * index).filter(|at| at + 8 <= filled) {
                    if let Some(region) = mdl_pages::mapped_for_user(data.load_u64(at)) {
                        pin.io().regions().register_for(owner, &region);
                    }
                }
            }
        }
    }
}

/// The driver's handle for an event that a request names, 0 for none, and what to do afterwards.
fn event(
    pin: &Arc<HostedPin>,
    call: &PropertyCall<'_>,
    theirs: u64,
    registers: bool,
) -> Result<(u64, Exchange), NtStatus> {
    let known = pin.client_events().handle(theirs);
    if !registers {
        return Ok(known.map_or((0, Exchange::Nothing), |own| (own, Exchange::Unregisters(pin.clone(), theirs))));
    }
    if let Some(own) = known {
        return Ok((own, Exchange::Nothing));
    }
    let Some(event) = call.file_object().and_then(|file| file.event_by_handle(theirs)) else {
        return Ok((0, Exchange::Nothing));
    };
    if !pin.client_events().has_room() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    let own = ClientEvent::open(event)?;
    Ok((own.handle(), Exchange::Registers(pin.clone(), theirs, own)))
}
