//! Looped pins as their client sees them: the cyclic buffer that it shares with the driver, positions and notifications.

use crate::error::ClientError;
use crate::object::Object;
use crate::pin::{Pin, SharedEvent};
use ks_abi::{
    IoControlCode, KSPROPERTY_AUDIO_POSITION, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
    KSPROPERTY_RTAUDIO_HWLATENCY, KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Audio, KSPROPSETID_RtAudio, KsAudioPosition, KsProperty,
    KsRtAudioBuffer, KsRtAudioBufferProperty, KsRtAudioBufferPropertyWithNotification, KsRtAudioHwLatency,
    KsRtAudioHwRegister, KsRtAudioHwRegisterProperty, KsRtAudioNotificationEventProperty, STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
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
    notified: Option<(u32, SharedEvent)>,
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
        self.notified.as_ref().map(|(count, _)| self.bytes() / *count as usize)
    }

    /// The event that is set once or twice a cycle; it stays set until it is cleared.
    pub fn notification(&self) -> Option<&Event> {
        self.notified.as_ref().map(|(_, event)| &event.event)
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
        // Its place was looked at when it was mapped.
        let place = (self.page.address() - self.page.region().address()) as usize;
        self.page.region().shared_memory().map_or(0, |memory| memory.load_u64(place))
    }

    /// By how many bytes a reading may be off.
    pub fn accuracy_bytes(&self) -> u32 {
        self.accuracy_bytes
    }
}

impl Pin {
    /// Asks for the cyclic buffer of at least `bytes` bytes, with one or two notifications a cycle or none. A pin has one
    /// buffer. STATUS_NOT_SUPPORTED: the driver does not notify, or its memory is not mapped here.
    #[doc(alias = "KSPROPERTY_RTAUDIO_BUFFER")]
    #[doc(alias = "KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION")]
    pub fn looped_buffer(&self, bytes: u32, notifications: Option<u32>) -> Result<LoopedBuffer, ClientError> {
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
        let notified = match notifications {
            Some(count) => Some((count, register(object)?)),
            None => None,
        };
        Ok(LoopedBuffer { frame, notified })
    }

    /// Maps the position register, once in the life of the pin. STATUS_NOT_SUPPORTED: there is none to be mapped.
    #[doc(alias = "KSPROPERTY_RTAUDIO_POSITIONREGISTER")]
    pub fn position_register(&self) -> Result<PositionRegister, ClientError> {
        let (set, id) = (KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_POSITIONREGISTER);
        let property = KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let request = KsRtAudioHwRegisterProperty { property, ..Default::default() };
        let register: KsRtAudioHwRegister = self.object().property_at(request.as_bytes(), set, id)?;
        if register.width != 64 {
            return Err(self.object().error("read a register of 32 bits", STATUS_NOT_SUPPORTED));
        }
        let page = mapped(self.object(), register.register.0, 8)?;
        if !register.register.0.is_multiple_of(8) {
            return Err(self.object().error("read a register at an odd address", STATUS_NOT_SUPPORTED));
        }
        Ok(PositionRegister { page, accuracy_bytes: register.accuracy })
    }

    /// Where the stream is in its buffer.
    #[doc(alias = "KSPROPERTY_AUDIO_POSITION")]
    pub fn audio_position(&self) -> Result<KsAudioPosition, ClientError> {
        self.object().property(KSPROPSETID_Audio, KSPROPERTY_AUDIO_POSITION)
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

fn register(object: &Object) -> Result<SharedEvent, ClientError> {
    let event = SharedEvent::new(object.transport())?;
    let (set, id) = (KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT);
    let property = KsProperty::new(set, id, KSPROPERTY_TYPE_SET);
    let request = KsRtAudioNotificationEventProperty { property, notification_event: event.handle().0 };
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut []);
    match outcome.status {
        STATUS_SUCCESS => Ok(event),
        _ => Err(ClientError::new("register an event", object.name(), outcome)),
    }
}
