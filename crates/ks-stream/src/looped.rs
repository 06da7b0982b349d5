//! Looped pins: a cyclic buffer that the client and the driver share, its registers and its events.
//!
//! No frame and no IRP passes such a pin. The client asks for a buffer by KSPROPSETID_RtAudio, gets its address and moves
//! samples there while the driver does; how far the driver is, it learns from a register, a property, or an event that is
//! set once or twice a cycle. What is here is the port driver's half: memory, registers, events and the checks of the
//! requests. The driver's half is a [`LoopedStream`].
//!
//! Source: kspropsetid-rtaudio, ns-ksmedia-ksrtaudio_buffer, nn-portcls-iminiportwavertstream.

pub(crate) mod properties;

use ks_abi::{
    KsAudioPosition, KsAudioPresentationPosition, KsRtAudioGetReadPacketInfo, KsRtAudioHwLatency,
    KsRtAudioSetWritePacketInfo, NtStatus, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Event, Refusal, Time};
use ks_mem::{Cut, Frame, Region, RegionOwner, RegionTable, SharedMemory};

/// The most bytes of a cyclic buffer.
pub const MOST_LOOPED_BYTES: u32 = 16 << 20;
/// The most events of a pin.
const MOST_EVENTS: usize = 16;
const PAGE_BYTES: usize = 4096;

/// What the driver of a looped pin does. Every routine is called at PASSIVE level with no mutex held, by any thread, and
/// several may run at once.
#[doc(alias = "IMiniportWaveRTStream")]
#[doc(alias = "IMiniportWaveRTStreamNotification")]
pub trait LoopedStream: Send + Sync {
    /// How large the buffer becomes that the client asks for: at least as large. STATUS_NOT_SUPPORTED refuses
    /// notifications, STATUS_UNSUCCESSFUL what the hardware cannot do.
    #[doc(alias = "AllocateAudioBuffer")]
    fn buffer_bytes(&self, wish: BufferWish) -> Result<u32, Refusal>;

    /// The pin has its buffer from now on.
    fn buffer_made(&self, buffer: &Arc<CyclicBuffer>);

    /// Can it notify its client? The answer to KSPROPERTY_RTAUDIO_QUERY_NOTIFICATION_SUPPORT.
    fn notifies(&self) -> bool {
        true
    }

    /// Where the stream is in its buffer now; zero before it runs.
    #[doc(alias = "GetPosition")]
    fn position(&self) -> KsAudioPosition;

    /// What the hardware adds to the latency.
    #[doc(alias = "GetHWLatency")]
    fn latency(&self) -> KsRtAudioHwLatency;

    /// By how many bytes a reading of the position register may be off; `None`: it has none that can be mapped.
    #[doc(alias = "GetPositionRegister")]
    fn position_register(&self) -> Option<u32> {
        None
    }

    /// The clock register; `None`: it has none that can be mapped.
    #[doc(alias = "GetClockRegister")]
    fn clock_register(&self) -> Option<ClockRegister> {
        None
    }

    /// Packets that have left the buffer of a render pin.
    #[doc(alias = "GetPacketCount")]
    fn packet_count(&self) -> Result<u32, NtStatus> {
        Err(STATUS_NOT_SUPPORTED)
    }

    /// What of a render stream is heard.
    #[doc(alias = "GetOutputStreamPresentationPosition")]
    fn presentation_position(&self) -> Result<KsAudioPresentationPosition, NtStatus> {
        Err(STATUS_NOT_SUPPORTED)
    }

    /// The client has written a packet of a render stream. STATUS_DATA_LATE_ERROR: it is being played or was;
    /// STATUS_DATA_OVERRUN: the buffer has no place for it yet; STATUS_INVALID_DEVICE_STATE: the end was written.
    #[doc(alias = "SetWritePacket")]
    fn write_packet(&self, packet: &KsRtAudioSetWritePacketInfo) -> NtStatus {
        let _ = packet;
        STATUS_NOT_SUPPORTED
    }

    /// The next captured packet that the client has not asked for; STATUS_DEVICE_NOT_READY: there is none.
    #[doc(alias = "GetReadPacket")]
    fn read_packet(&self) -> Result<KsRtAudioGetReadPacketInfo, NtStatus> {
        Err(STATUS_NOT_SUPPORTED)
    }
}

/// A buffer as its client asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferWish {
    /// Bytes, above zero.
    pub bytes: u32,
    /// Notifications a cycle, 1 or 2; `None`: the client will not be notified.
    pub notifications: Option<u32>,
}

/// A wall clock that the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRegister {
    /// Steps in a second, times the denominator.
    pub numerator: u64,
    /// See the numerator.
    pub denominator: u64,
    /// Steps between two changes.
    pub accuracy: u32,
}

/// The buffer of a looped pin. Client and driver use it at the same time, so bytes are copied in and out, each old or
/// new where both meet.
#[doc(alias = "KSRTAUDIO_BUFFER")]
#[derive(Debug)]
pub struct CyclicBuffer {
    frame: Frame,
    notifications: Option<u32>,
}

impl CyclicBuffer {
    fn new(table: &RegionTable, client: u64, bytes: u32, notifications: Option<u32>) -> Option<CyclicBuffer> {
        let frame = shared_frame(table, client, "ks-looped-buffer", bytes as usize)?;
        Some(CyclicBuffer { frame, notifications })
    }

    /// The bytes, for [`Frame::copy_in`] and [`Frame::copy_out`].
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// How many there are.
    pub fn bytes(&self) -> u64 {
        self.frame.len() as u64
    }

    /// Notifications a cycle; `None`: the client is not notified.
    pub fn notifications(&self) -> Option<u32> {
        self.notifications
    }

    /// Bytes from one notification to the next.
    pub fn packet_bytes(&self) -> Option<u64> {
        self.notifications.map(|count| self.bytes() / u64::from(count))
    }
}

/// Memory that this client can name by its address, page aligned.
fn shared_frame(table: &RegionTable, client: u64, name: &str, bytes: usize) -> Option<Frame> {
    let memory = SharedMemory::create(name, bytes).ok()?;
    let region = Region::over_shared(memory, Cut { frames: 1, frame_bytes: bytes, stride_bytes: bytes }).ok()?;
    table.register_for(RegionOwner::Client(client), &region);
    region.part(region.address(), bytes)
}

/// The registers of a pin that its client has mapped: one page each.
#[derive(Debug, Default)]
struct Registers {
    position: Option<Frame>,
    clock: Option<Frame>,
    packets: Option<Frame>,
}

/// Offsets of the three numbers in the page of packets.
mod packet_page {
    pub(super) const COUNT: usize = 0;
    pub(super) const TIME: usize = 8;
    pub(super) const HASH: usize = 16;
}

/// What the class driver keeps of a looped pin. The driver makes one in [`crate::FilterInstance::create_pin`] and frees
/// it in [`crate::PinInstance::close`].
#[derive(Debug, Default)]
pub struct LoopedPin {
    /// A leaf.
    buffer: Mutex<Option<Arc<CyclicBuffer>>>,
    /// A leaf.
    registers: Mutex<Registers>,
    /// By their handles. Under it events are set, as by [`crate::Pin::generate_events`].
    events: Mutex<Vec<(u64, Event)>>,
}

impl LoopedPin {
    /// A pin without a buffer.
    pub fn new() -> Arc<LoopedPin> {
        Arc::default()
    }

    /// The buffer, once the client has asked for it.
    pub fn buffer(&self) -> Option<Arc<CyclicBuffer>> {
        self.buffer.lock().clone()
    }

    /// Sets every registered event: a packet is complete.
    pub fn notify(&self) {
        for (_, event) in self.events.lock().iter() {
            event.set();
        }
    }

    /// How many events are registered.
    pub fn event_count(&self) -> usize {
        self.events.lock().len()
    }

    /// Shows this offset in the position register, if the client has mapped it.
    pub fn show_position(&self, offset: u64) {
        store(self.registers.lock().position.as_ref(), 0, offset);
    }

    /// Shows this count of steps in the clock register, if the client has mapped it.
    pub fn show_clock(&self, steps: u64) {
        store(self.registers.lock().clock.as_ref(), 0, steps);
    }

    /// Does the client read the clock register?
    pub fn shows_clock(&self) -> bool {
        self.registers.lock().clock.is_some()
    }

    /// Shows in the registers of packets that so many are complete, the last since `time`.
    pub fn show_packets(&self, count: u64, time: Time) {
        let registers = self.registers.lock();
        let time = time.0.cast_unsigned();
        let low = u64::from(u32::MAX);
        // The hash is written last, and read last it belongs to what was read before or to something newer.
        store(registers.packets.as_ref(), packet_page::COUNT, count);
        store(registers.packets.as_ref(), packet_page::TIME, time);
        store(registers.packets.as_ref(), packet_page::HASH, (time & low) << 32 | count & low);
    }

    /// The pin closes: buffer, registers and events are let go.
    pub fn free(&self) {
        let buffer = self.buffer.lock().take();
        let registers = std::mem::take(&mut *self.registers.lock());
        let events = std::mem::take(&mut *self.events.lock());
        drop((buffer, registers, events));
    }

    /// Makes the one buffer of the pin, of as many bytes as the driver says.
    fn make_buffer(&self, make: impl FnOnce() -> Option<CyclicBuffer>) -> Result<Arc<CyclicBuffer>, NtStatus> {
        if self.buffer.lock().is_some() {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        // Not under the lock: memory is mapped.
        let buffer = Arc::new(make().ok_or(STATUS_INSUFFICIENT_RESOURCES)?);
        let mut place = self.buffer.lock();
        if place.is_some() {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        *place = Some(buffer.clone());
        Ok(buffer)
    }

    fn register(&self, handle: u64, event: Option<Event>) -> NtStatus {
        match self.buffer() {
            None => return STATUS_DEVICE_NOT_READY,
            Some(buffer) if buffer.notifications().is_none() => return STATUS_NOT_SUPPORTED,
            Some(_) => {}
        }
        let Some(event) = event else { return STATUS_INVALID_HANDLE };
        let mut events = self.events.lock();
        if events.iter().any(|(known, _)| *known == handle) {
            return STATUS_INVALID_PARAMETER;
        }
        if events.len() >= MOST_EVENTS {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        events.push((handle, event));
        STATUS_SUCCESS
    }

    fn unregister(&self, handle: u64) -> NtStatus {
        let mut events = self.events.lock();
        let Some(at) = events.iter().position(|(known, _)| *known == handle) else { return STATUS_NOT_FOUND };
        let gone = events.remove(at);
        drop(events);
        drop(gone);
        STATUS_SUCCESS
    }
}

fn store(page: Option<&Frame>, offset: usize, value: u64) {
    if let Some(memory) = page.and_then(|page| page.region().shared_memory()) {
        memory.store_u64(offset, value);
    }
}
