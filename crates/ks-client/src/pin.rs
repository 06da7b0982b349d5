//! A pin as its client sees it: state, streams, events and counters.

use crate::allocator::Allocator;
use crate::clock::Clock;
use crate::discover::Scope;
use crate::error::ClientError;
use crate::format::Format;
use crate::object::Object;
use crate::stream::{StreamFrame, StreamRequest};
use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_ENABLE, KSEVENTF_EVENT_HANDLE, KSNAME_Allocator, KSNAME_Clock,
    KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, KSPROPERTY_CONNECTION_STATE,
    KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_STREAMINTERFACE_HEADERSIZE,
    KSPROPERTY_TYPE_GET, KSPROPSETID_Connection, KSPROPSETID_Stream, KSPROPSETID_StreamInterface, KsAllocatorFraming,
    KsClockCreate, KsEvent, KsEventData, KsPinDataFlow, KsProperty, KsReset, KsState, KsStreamHeader, NtStatus,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, USERKS_PIN_FAILURE, USERKS_PIN_LATENCY,
    USERKS_PIN_LIMIT, USERKS_PIN_STATISTICS, USERKS_PROPSET_PIN, UserksPinLimit, UserksPinStatistics,
};
use ks_io::{AccessMask, Event, Handle};
use zerocopy::IntoBytes;

/// An open pin. Dropping it closes its handle, which ends its requests and its connection.
#[derive(Debug)]
pub struct Pin {
    object: Object,
    data_flow: KsPinDataFlow,
}

/// An event that the pin signals; it is disabled when the pin's handle is closed. Dropping it closes its handle.
pub struct PinEvent {
    object: SharedEvent,
    /// Its address is the identity of the event.
    data: Box<KsEventData>,
}

impl Pin {
    pub(crate) fn new(object: Object, data_flow: KsPinDataFlow) -> Pin {
        Pin { object, data_flow }
    }

    /// The handle and the raw requests.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// `filter.0`, for messages.
    pub fn name(&self) -> &str {
        self.object.name()
    }

    /// Direction of the data.
    pub fn data_flow(&self) -> KsPinDataFlow {
        self.data_flow
    }

    /// Brings the pin to a state; the engine takes the steps between.
    pub fn set_state(&self, state: KsState) -> Result<(), ClientError> {
        let outcome = self.object.set_property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, &state);
        outcome.map_err(|error| ClientError { doing: format!("set the state {state}"), ..error })
    }

    /// The state that the pin is in.
    pub fn state(&self) -> Result<KsState, ClientError> {
        self.object.property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE)
    }

    /// The format of the connection.
    pub fn format(&self) -> Result<Format, ClientError> {
        let (set, id) = (KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT);
        let request = KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let bytes = self.object.property_bytes(request.as_bytes(), set, id)?;
        Format::from_bytes(&bytes).ok_or_else(|| self.object.error("read the format", STATUS_INVALID_PARAMETER))
    }

    /// Changes the format. Of a pin in a circuit all pins change, in the place of the stream at which the pin that fills
    /// the frames is now; a refusal by any of them leaves the old stream running.
    #[doc(alias = "KSPROPERTY_CONNECTION_DATAFORMAT")]
    pub fn set_format(&self, format: &Format) -> Result<(), ClientError> {
        let (set, id) = (KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT);
        self.object.set_property(set, id, format.bytes())
    }

    /// Asks whether the pin's data ranges hold a format; changes nothing.
    #[doc(alias = "KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT")]
    pub fn propose_format(&self, format: &Format) -> Result<(), ClientError> {
        let (set, id) = (KSPROPSETID_Connection, KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT);
        self.object.set_property(set, id, format.bytes())
    }

    /// Bytes of each stream header, extension included. A pin that does not know the question, because its driver has no
    /// AVStream, takes plain headers.
    pub fn header_bytes(&self) -> Result<u32, ClientError> {
        match self.object.property(KSPROPSETID_StreamInterface, KSPROPERTY_STREAMINTERFACE_HEADERSIZE) {
            Err(error) if matches!(error.status, STATUS_PROPSET_NOT_FOUND | STATUS_NOT_FOUND) => {
                Ok(size_of::<KsStreamHeader>() as u32)
            }
            answer => answer,
        }
    }

    /// Cancels what is queued and refuses more until the reset ends.
    pub fn reset(&self, reset: KsReset) -> Result<(), ClientError> {
        let outcome = self.object.control(IoControlCode::KS_RESET_STATE, reset.as_bytes(), &mut []);
        match outcome.status.is_success() {
            true => Ok(()),
            false => Err(ClientError::new("reset", self.name(), outcome)),
        }
    }

    /// Asks for frames: one request with a header for each of `frames`. It runs until they are filled; see
    /// [`StreamRequest`] for waiting, polling and cancelling. Several may be in flight.
    #[doc(alias = "IOCTL_KS_READ_STREAM")]
    pub fn read_stream(&self, frames: Vec<StreamFrame>) -> Result<StreamRequest, ClientError> {
        StreamRequest::send(&self.object, IoControlCode::KS_READ_STREAM, self.header_bytes()?, frames)
    }

    /// Sends frames: one request with a header for each of `frames`.
    #[doc(alias = "IOCTL_KS_WRITE_STREAM")]
    pub fn write_stream(&self, frames: Vec<StreamFrame>) -> Result<StreamRequest, ClientError> {
        StreamRequest::send(&self.object, IoControlCode::KS_WRITE_STREAM, self.header_bytes()?, frames)
    }

    /// A buffer of this client for a stream request.
    pub fn allocate(&self, bytes: usize) -> Result<StreamFrame, ClientError> {
        match self.object.transport().allocate(bytes, 64) {
            Ok(buffer) => Ok(StreamFrame::new(buffer)),
            Err(_) => {
                let doing = format!("allocate a frame of {bytes} bytes");
                Err(self.object.error(&doing, ks_abi::STATUS_INSUFFICIENT_RESOURCES))
            }
        }
    }

    /// Creates an allocator for the frames of this pin, which takes requests.
    pub fn create_allocator(&self, framing: &KsAllocatorFraming) -> Result<Allocator, ClientError> {
        let access = AccessMask::GENERIC_READ;
        self.object.create(KSNAME_Allocator, framing.as_bytes(), access, "allocator").map(Allocator::new)
    }

    /// Opens the clock of this pin.
    pub fn create_clock(&self) -> Result<Clock, ClientError> {
        let parameters = KsClockCreate { create_flags: 0 };
        self.object.create(KSNAME_Clock, parameters.as_bytes(), AccessMask::GENERIC_READ, "clock").map(Clock::new)
    }

    /// Opens a topology node on this pin's stream.
    pub fn create_node(&self, node: u32, access: AccessMask) -> Result<Object, ClientError> {
        self.object.create_node(node, access)
    }

    /// Has the pin follow a clock, its own or another's; `None`: none. In STOP only.
    #[doc(alias = "KSPROPERTY_STREAM_MASTERCLOCK")]
    pub fn set_master_clock(&self, clock: Option<&Clock>) -> Result<(), ClientError> {
        let handle = clock.map_or(0, |clock| clock.object().handle().0);
        self.object.set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, &handle)
    }

    /// Names the allocator of the pin's frames; `None`: the engine's. In STOP only.
    #[doc(alias = "KSPROPERTY_STREAM_ALLOCATOR")]
    pub fn set_allocator(&self, allocator: Option<&Allocator>) -> Result<(), ClientError> {
        let handle = allocator.map_or(0, |allocator| allocator.object().handle().0);
        self.object.set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_ALLOCATOR, &handle)
    }

    /// Enables an event; it signals each time until the pin is closed or [`Pin::disable_event`] is called.
    #[doc(alias = "IOCTL_KS_ENABLE_EVENT")]
    pub fn enable_event(&self, set: Guid, id: u32) -> Result<PinEvent, ClientError> {
        self.object.enable_event(Scope::Object, set, id)
    }

    /// Enables an event on an event object that exists already, so that one wait covers several pins.
    pub fn enable_event_on(&self, shared: &SharedEvent, set: Guid, id: u32) -> Result<(), ClientError> {
        let mut data =
            KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: shared.handle.0, ..Default::default() };
        let request = KsEvent::new(set, id, KSEVENT_TYPE_ENABLE);
        let outcome = self.object.control(IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes());
        match outcome.status.is_success() {
            true => Ok(()),
            false => Err(ClientError::new("enable an event", self.name(), outcome)),
        }
    }

    /// Disables an event that [`Pin::enable_event`] enabled.
    #[doc(alias = "IOCTL_KS_DISABLE_EVENT")]
    pub fn disable_event(&self, event: PinEvent) -> Result<(), ClientError> {
        let outcome = self.object.control(IoControlCode::KS_DISABLE_EVENT, event.data.as_bytes(), &mut []);
        match outcome.status.is_success() {
            true => Ok(()),
            false => Err(ClientError::new("disable an event", self.name(), outcome)),
        }
    }

    /// What has passed the pin.
    pub fn statistics(&self) -> Result<UserksPinStatistics, ClientError> {
        self.object.property(USERKS_PROPSET_PIN, USERKS_PIN_STATISTICS)
    }

    /// Ends the stream at this pin after so many frames or 100-ns units of presentation time; 0: no limit.
    pub fn set_limit(&self, frames: u64, time_100ns: i64) -> Result<(), ClientError> {
        self.object.set_property(USERKS_PROPSET_PIN, USERKS_PIN_LIMIT, &UserksPinLimit { frames, time_100ns })
    }

    /// Measures how long frames take from their source to their sink; to be set on both pins of a connection.
    pub fn measure_latency(&self) -> Result<(), ClientError> {
        self.object.set_property(USERKS_PROPSET_PIN, USERKS_PIN_LATENCY, &1u32)
    }

    /// Status and reason with which streaming failed, if it did.
    pub fn failure(&self) -> Option<(NtStatus, String)> {
        let request = KsProperty::new(USERKS_PROPSET_PIN, USERKS_PIN_FAILURE, KSPROPERTY_TYPE_GET);
        let bytes = self.object.property_bytes(request.as_bytes(), USERKS_PROPSET_PIN, USERKS_PIN_FAILURE).ok()?;
        let (status, reason) = bytes.split_first_chunk::<4>()?;
        Some((NtStatus(u32::from_le_bytes(*status)), String::from_utf8_lossy(reason).into_owned()))
    }
}

impl Object {
    /// Enables an event of the object or of one of its nodes; it signals each time until the object is closed.
    pub fn enable_event(&self, scope: Scope, set: Guid, id: u32) -> Result<PinEvent, ClientError> {
        let doing =
            || ks_abi::event_name(set, id).map_or_else(|| format!("enable event {id}"), |n| format!("enable {n}"));
        let mut enabled = PinEvent { object: SharedEvent::new(self.transport())?, data: Box::default() };
        enabled.data.notification_type = KSEVENTF_EVENT_HANDLE;
        enabled.data.object = enabled.object.handle.0;
        let request = scope.request(set, id, KSEVENT_TYPE_ENABLE);
        let outcome = self.control(IoControlCode::KS_ENABLE_EVENT, &request, enabled.data.as_mut_bytes());
        match outcome.status.is_success() {
            true => Ok(enabled),
            false => Err(ClientError::new(doing(), self.name(), outcome)),
        }
    }
}

impl PinEvent {
    /// The event to wait for.
    pub fn event(&self) -> &Event {
        &self.object.event
    }
}

impl std::fmt::Debug for PinEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinEvent").field("handle", &self.object.handle).finish_non_exhaustive()
    }
}

/// An event object of this client, for several pins.
pub struct SharedEvent {
    /// The event to wait for.
    pub event: Event,
    handle: Handle,
    transport: std::sync::Arc<dyn ks_io::Transport>,
}

impl SharedEvent {
    /// A new event object.
    pub fn new(transport: &std::sync::Arc<dyn ks_io::Transport>) -> Result<SharedEvent, ClientError> {
        let made = transport.create_event();
        let (handle, event) = made.map_err(|outcome| ClientError::new("create an event", "the client", outcome))?;
        Ok(SharedEvent { event, handle, transport: transport.clone() })
    }

    /// The handle that names it in requests.
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for SharedEvent {
    fn drop(&mut self) {
        let _ = self.transport.close(self.handle);
    }
}

impl std::fmt::Debug for SharedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedEvent").field("handle", &self.handle).finish_non_exhaustive()
    }
}
