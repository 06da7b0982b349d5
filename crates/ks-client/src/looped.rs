//! Looped pins as their client sees them: the cyclic buffer that it shares with the driver, positions and notifications.

use crate::error::ClientError;
use crate::object::Object;
use crate::pin::{Pin, SharedEvent};
use ks_abi::{
    IoControlCode, KSPROPERTY_AUDIO_POSITION, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
    KSPROPERTY_RTAUDIO_HWLATENCY, KSPROPERTY_RTAUDIO_PACKETCOUNT, KSPROPERTY_RTAUDIO_PACKETVREGISTER,
    KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_RTAUDIO_SETWRITEPACKET, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Audio, KSPROPSETID_RtAudio, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsAudioPosition,
    KsProperty, KsRtAudioBuffer, KsRtAudioBufferProperty, KsRtAudioBufferPropertyWithNotification, KsRtAudioHwLatency,
    KsRtAudioHwRegister, KsRtAudioHwRegisterProperty, KsRtAudioNotificationEventProperty, KsRtAudioPacketVRegister,
    KsRtAudioPacketVRegisterProperty, KsRtAudioSetWritePacketInfo, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};
use ks_io::Event;
use ks_mem::Frame;
use zerocopy::IntoBytes;

/// The cyclic buffer of a looped pin. The driver uses it at the same time, so bytes are copied; where both meet, each byte
/// is old or new. The memory stays as long as this does, also when the pin is closed.
#[doc(alias = "KSRTAUDIO_BUFFER")]
#[derive(Debug)]
pub struct LoopedBuffer {
    frame: Frame,
    /// Notifications a cycle.
    notifications: Option<u32>,
    /// What is notified, where it is of this buffer alone.
    event: Option<SharedEvent>,
}

impl LoopedBuffer {
    /// How many bytes go round.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// Where they are, for who follows addresses.
    pub fn address(&self) -> u64 {
        self.frame.address()
    }

    /// Writes from `offset` on, and goes on at the beginning where the buffer ends. What is longer than the buffer is cut
    /// off.
    pub fn write(&self, offset: usize, data: &[u8]) {
        let (at, data) = (offset % self.bytes(), &data[..data.len().min(self.bytes())]);
        let (first, rest) = data.split_at(data.len().min(self.bytes() - at));
        let whole = self.frame.copy_in(at, first) && self.frame.copy_in(0, rest);
        debug_assert!(whole, "both pieces are inside of the buffer, which is lent to nobody");
    }

    /// Reads from `offset` on, round the end. Of what is longer than the buffer, the rest is left as it is.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let (at, count) = (offset % self.bytes(), into.len().min(self.bytes()));
        let (first, rest) = into[..count].split_at_mut(count.min(self.bytes() - at));
        let whole = self.frame.copy_out(at, first) && self.frame.copy_out(0, rest);
        debug_assert!(whole, "both pieces are inside of the buffer, which is lent to nobody");
    }

    /// Bytes from one notification to the next; `None`: the driver does not notify.
    pub fn packet_bytes(&self) -> Option<usize> {
        self.notifications.map(|count| self.bytes() / count as usize)
    }

    /// The event that is set once or twice a cycle; it stays set until it is cleared. `None` for a buffer of
    /// [`Pin::looped_buffer_on`] too.
    pub fn notification(&self) -> Option<&Event> {
        self.event.as_ref().map(|event| &event.event)
    }
}

/// A position register that was mapped: reading it asks nobody.
#[doc(alias = "KSRTAUDIO_HWREGISTER")]
#[derive(Debug)]
pub struct PositionRegister {
    page: Frame,
    accuracy_bytes: u32,
}

impl PositionRegister {
    /// The offset in the buffer that is being played or captured.
    pub fn offset(&self) -> u64 {
        number_at(&self.page)
    }

    /// By how many bytes a reading may be off.
    pub fn accuracy_bytes(&self) -> u32 {
        self.accuracy_bytes
    }
}

/// The register that counts packets, mapped: reading it asks nobody.
#[doc(alias = "KSRTAUDIO_PACKETVREGISTER")]
#[derive(Debug)]
pub struct PacketRegister {
    count: Frame,
}

impl PacketRegister {
    /// Packets that are complete since the stream began.
    pub fn completed(&self) -> u64 {
        number_at(&self.count)
    }
}

/// What a client says of a packet that it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenPacket {
    /// All of it is sound, and more follows.
    Whole,
    /// The stream ends after so many of its bytes.
    Last(u32),
}

impl Pin {
    /// Asks for the cyclic buffer of at least `bytes` bytes, with one or two notifications a cycle or none. A pin has one
    /// buffer. STATUS_NOT_SUPPORTED: the driver does not notify, or its memory is not mapped here.
    #[doc(alias = "KSPROPERTY_RTAUDIO_BUFFER")]
    #[doc(alias = "KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION")]
    pub fn looped_buffer(&self, bytes: u32, notifications: Option<u32>) -> Result<LoopedBuffer, ClientError> {
        let mut buffer = self.map_buffer(bytes, notifications)?;
        if notifications.is_some() {
            let event = SharedEvent::new(self.object().transport())?;
            self.register(&event)?;
            buffer.event = Some(event);
        }
        Ok(buffer)
    }

    /// The same, with one or two notifications a cycle of an event that there is already, so that one wait covers more.
    pub fn looped_buffer_on(
        &self,
        bytes: u32,
        notifications: u32,
        event: &SharedEvent,
    ) -> Result<LoopedBuffer, ClientError> {
        let buffer = self.map_buffer(bytes, Some(notifications))?;
        self.register(event)?;
        Ok(buffer)
    }

    fn map_buffer(&self, bytes: u32, notifications: Option<u32>) -> Result<LoopedBuffer, ClientError> {
        let (object, set) = (self.object(), KSPROPSETID_RtAudio);
        let property = |id| KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let buffer: KsRtAudioBuffer = match notifications {
            Some(notification_count) => {
                let id = KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION;
                let request = KsRtAudioBufferPropertyWithNotification {
                    property: property(id),
                    requested_buffer_size: bytes,
                    notification_count,
                    ..Default::default()
                };
                object.property_at(request.as_bytes(), set, id)?
            }
            None => {
                let id = KSPROPERTY_RTAUDIO_BUFFER;
                let property = property(id);
                let request = KsRtAudioBufferProperty { property, requested_buffer_size: bytes, ..Default::default() };
                object.property_at(request.as_bytes(), set, id)?
            }
        };
        let size = buffer.actual_buffer_size as usize;
        let frame = mapped(object, buffer.buffer_address.0, size)?;
        Ok(LoopedBuffer { frame, notifications, event: None })
    }

    fn register(&self, event: &SharedEvent) -> Result<(), ClientError> {
        self.name_event(KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, event, "register an event")
    }

    /// Takes the notifications of [`Pin::looped_buffer_on`] back.
    #[doc(alias = "KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT")]
    pub fn stop_notifying(&self, event: &SharedEvent) -> Result<(), ClientError> {
        self.name_event(KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, event, "take a notification back")
    }

    fn name_event(&self, id: u32, event: &SharedEvent, doing: &str) -> Result<(), ClientError> {
        let property = KsProperty::new(KSPROPSETID_RtAudio, id, KSPROPERTY_TYPE_SET);
        let request = KsRtAudioNotificationEventProperty { property, notification_event: event.handle().0 };
        let outcome = self.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut []);
        match outcome.status {
            STATUS_SUCCESS => Ok(()),
            _ => Err(ClientError::new(doing, self.name(), outcome)),
        }
    }

    /// Maps the position register, once in the life of the pin. STATUS_NOT_SUPPORTED: there is none to be mapped.
    #[doc(alias = "KSPROPERTY_RTAUDIO_POSITIONREGISTER")]
    pub fn position_register(&self) -> Result<PositionRegister, ClientError> {
        let (set, id) = (KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_POSITIONREGISTER);
        let property = KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let request = KsRtAudioHwRegisterProperty { property, ..Default::default() };
        let register: KsRtAudioHwRegister = self.object().property_at(request.as_bytes(), set, id)?;
        if !matches!(register.width, 32 | 64) {
            let doing = format!("read a register of {} bits", register.width);
            return Err(self.object().error(&doing, STATUS_NOT_SUPPORTED));
        }
        let page = register_at(self.object(), register.register.0, register.width as usize / 8)?;
        Ok(PositionRegister { page, accuracy_bytes: register.accuracy })
    }

    /// Where the stream is in its buffer.
    #[doc(alias = "KSPROPERTY_AUDIO_POSITION")]
    pub fn audio_position(&self) -> Result<KsAudioPosition, ClientError> {
        self.object().property(KSPROPSETID_Audio, KSPROPERTY_AUDIO_POSITION)
    }

    /// Maps the register that counts packets, once in the life of the pin. STATUS_NOT_SUPPORTED: there is none, or the
    /// buffer is without notification.
    #[doc(alias = "KSPROPERTY_RTAUDIO_PACKETVREGISTER")]
    pub fn packet_register(&self) -> Result<PacketRegister, ClientError> {
        let (set, id) = (KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_PACKETVREGISTER);
        let property = KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let request = KsRtAudioPacketVRegisterProperty { property, ..Default::default() };
        let registers: KsRtAudioPacketVRegister = self.object().property_at(request.as_bytes(), set, id)?;
        Ok(PacketRegister { count: register_at(self.object(), registers.completed_packet_count.0, 8)? })
    }

    /// Packets that a render pin has played since the stream began. It wraps.
    #[doc(alias = "KSPROPERTY_RTAUDIO_PACKETCOUNT")]
    pub fn packet_count(&self) -> Result<u32, ClientError> {
        self.object().property(KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_PACKETCOUNT)
    }

    /// Tells a render pin that the packet of this number is in the buffer. STATUS_DATA_LATE_ERROR: it is being played or
    /// was; STATUS_DATA_OVERRUN: one before it is still to be played in its place.
    #[doc(alias = "KSPROPERTY_RTAUDIO_SETWRITEPACKET")]
    pub fn packet_written(&self, packet_number: u32, packet: WrittenPacket) -> Result<(), ClientError> {
        let (flags, eos_packet_length) = match packet {
            WrittenPacket::Whole => (0, 0),
            WrittenPacket::Last(bytes) => (KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, bytes),
        };
        let info = KsRtAudioSetWritePacketInfo { packet_number, flags, eos_packet_length };
        self.object().set_property(KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_SETWRITEPACKET, &info)
    }

    /// What the hardware adds to the latency of the stream.
    #[doc(alias = "KSPROPERTY_RTAUDIO_HWLATENCY")]
    pub fn hardware_latency(&self) -> Result<KsRtAudioHwLatency, ClientError> {
        self.object().property(KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_HWLATENCY)
    }
}

/// The memory at an address that an answer has; a driver may say anything.
fn mapped(object: &Object, address: u64, bytes: usize) -> Result<Frame, ClientError> {
    let frame = object.transport().frame_at(address, bytes);
    // What others may write is never lent as a slice; private memory at a driver's address would be.
    frame.filter(Frame::is_shared).ok_or_else(|| object.error("map memory of the driver", STATUS_NOT_SUPPORTED))
}

/// A register of four or eight bytes at an address that an answer has.
fn register_at(object: &Object, address: u64, bytes: usize) -> Result<Frame, ClientError> {
    let frame = mapped(object, address, bytes)?;
    match address.is_multiple_of(bytes as u64) {
        true => Ok(frame),
        false => Err(object.error("read a register at an odd address", STATUS_NOT_SUPPORTED)),
    }
}

/// Its place was looked at when it was mapped.
fn number_at(register: &Frame) -> u64 {
    let place = (register.address() - register.region().address()) as usize;
    register.region().shared_memory().map_or(0, |memory| match register.len() {
        4 => memory.load_u32(place).into(),
        _ => memory.load_u64(place),
    })
}
