//! Packets of a cyclic buffer: one a notification.
//!
//! Source: ksproperty-rtaudio-packetcount, -getreadpacket, -setwritepacket, nf-portcls-iminiportwavertoutputstream-setwritepacket.

use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsRtAudioGetReadPacketInfo, KsRtAudioSetWritePacketInfo, NtStatus,
    STATUS_DATA_LATE_ERROR, STATUS_DATA_OVERRUN, STATUS_DEVICE_NOT_READY, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::Time;

/// How many beginnings of packets are remembered: more than a buffer holds.
const REMEMBERED: usize = 4;

/// The packets of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets {
    bytes: u64,
    /// How many the buffer holds.
    count: u64,
    completed: u64,
    /// The first that the client has not asked for.
    unread: u64,
    begun: [Time; REMEMBERED],
    /// Where the stream ends, in bytes, once the client has said so.
    end: Option<u64>,
}

impl Packets {
    /// Packets of so many bytes, as many as a buffer holds.
    pub(crate) fn new(bytes: u64, count: u64) -> Packets {
        Packets { bytes, count, completed: 0, unread: 0, begun: [Time::ORIGIN; REMEMBERED], end: None }
    }

    /// None has passed.
    pub(crate) fn rewind(&mut self) {
        *self = Packets::new(self.bytes, self.count);
    }

    /// Bytes of one.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many have passed.
    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// The end of the stream in bytes, if it is known.
    pub(crate) fn end(&self) -> Option<u64> {
        self.end
    }

    /// The next one begins: at the beginning of the stream, or when the one before is complete.
    pub(crate) fn begin(&mut self, time: Time) {
        self.begun[self.completed as usize % REMEMBERED] = time;
    }

    /// One is complete, and the next begins.
    pub(crate) fn complete(&mut self, time: Time) {
        self.completed += 1;
        self.begin(time);
    }

    /// The oldest whole packet that the client has not asked for. One that is being overwritten is lost; of a buffer
    /// that holds one packet only, that is the last one itself, which is given all the same.
    pub(crate) fn read(&mut self) -> Result<KsRtAudioGetReadPacketInfo, NtStatus> {
        let whole = (self.count - 1).max(1);
        let oldest = self.unread.max(self.completed.saturating_sub(whole));
        if oldest >= self.completed {
            return Err(STATUS_DEVICE_NOT_READY);
        }
        self.unread = oldest + 1;
        Ok(KsRtAudioGetReadPacketInfo {
            // It wraps, as a ULONG does.
            packet_number: oldest as u32,
            performance_counter_value: self.begun[oldest as usize % REMEMBERED].0.cast_unsigned(),
            more_data: u32::from(self.unread < self.completed),
            ..Default::default()
        })
    }

    /// The client has written one; `begun`: the stream has, so that one is being played.
    pub(crate) fn write(&mut self, packet: &KsRtAudioSetWritePacketInfo, begun: bool, block_bytes: u64) -> NtStatus {
        let ends = packet.flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0;
        let length = u64::from(packet.eos_packet_length);
        if packet.flags & !KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0
            || ends && (length > self.bytes || !length.is_multiple_of(block_bytes))
        {
            return STATUS_INVALID_PARAMETER;
        }
        if self.end.is_some() {
            return STATUS_INVALID_DEVICE_STATE;
        }
        let number = u64::from(packet.packet_number);
        if number < self.completed + u64::from(begun) {
            return STATUS_DATA_LATE_ERROR;
        }
        if number >= self.completed + self.count {
            return STATUS_DATA_OVERRUN;
        }
        if ends {
            self.end = Some(number * self.bytes + length);
        }
        STATUS_SUCCESS
    }
}
