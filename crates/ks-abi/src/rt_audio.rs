//! Looped audio: the structures of KSPROPSETID_RtAudio, and positions.

use crate::define::abi_struct;
use crate::identifier::KsProperty;
use crate::pointer::Ptr64;

abi_struct! {
    /// Asks for a cyclic buffer.
    pub struct KsRtAudioBufferProperty = "KSRTAUDIO_BUFFER_PROPERTY", "ksrtaudio-buffer-property" {
        /// The request.
        property: KsProperty = "Property",
        /// Where the buffer should be; null for anywhere.
        base_address: Ptr64 = "BaseAddress",
        /// Bytes that are wanted.
        requested_buffer_size: u32 = "RequestedBufferSize",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// Asks for a cyclic buffer with notifications.
    pub struct KsRtAudioBufferPropertyWithNotification =
        "KSRTAUDIO_BUFFER_PROPERTY_WITH_NOTIFICATION", "ns-ksmedia-ksrtaudio_buffer_property_with_notification" {
        /// The request.
        property: KsProperty = "Property",
        /// Where the buffer should be; null for anywhere.
        base_address: Ptr64 = "BaseAddress",
        /// Bytes that are wanted.
        requested_buffer_size: u32 = "RequestedBufferSize",
        /// Notifications a cycle: 1 or 2.
        notification_count: u32 = "NotificationCount",
    }
}

abi_struct! {
    /// The cyclic buffer that was made.
    pub struct KsRtAudioBuffer = "KSRTAUDIO_BUFFER", "ns-ksmedia-ksrtaudio_buffer" {
        /// Its first byte.
        buffer_address: Ptr64 = "BufferAddress",
        /// Its bytes.
        actual_buffer_size: u32 = "ActualBufferSize",
        /// Whether the client must use memory barriers.
        call_memory_barrier: u32 = "CallMemoryBarrier",
    }
}

abi_struct! {
    /// What the hardware adds to the latency of a stream.
    pub struct KsRtAudioHwLatency = "KSRTAUDIO_HWLATENCY", "ns-ksmedia-ksrtaudio_hwlatency" {
        /// Bytes of its FIFO.
        fifo_size: u32 = "FifoSize",
        /// Delay of the chipset, in 100-ns units.
        chipset_delay: u32 = "ChipsetDelay",
        /// Delay of the codec, in 100-ns units.
        codec_delay: u32 = "CodecDelay",
    }
}

abi_struct! {
    /// Asks for a register.
    pub struct KsRtAudioHwRegisterProperty = "KSRTAUDIO_HWREGISTER_PROPERTY", "ns-ksmedia-ksrtaudio_hwregister_property" {
        /// The request.
        property: KsProperty = "Property",
        /// Where it should be; null for anywhere.
        base_address: Ptr64 = "BaseAddress",
    }
}

abi_struct! {
    /// A register that the client can read.
    pub struct KsRtAudioHwRegister = "KSRTAUDIO_HWREGISTER", "ns-ksmedia-ksrtaudio_hwregister" {
        /// Where it is.
        register: Ptr64 = "Register",
        /// Its bits: 32 or 64.
        width: u32 = "Width",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Of a clock: its frequency in Hz, times the denominator.
        numerator: u64 = "Numerator",
        /// Of a clock: see the numerator.
        denominator: u64 = "Denominator",
        /// How far a reading may be off: bytes of a position, steps of a clock.
        accuracy: u32 = "Accuracy",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_struct! {
    /// Registers or unregisters an event.
    pub struct KsRtAudioNotificationEventProperty =
        "KSRTAUDIO_NOTIFICATION_EVENT_PROPERTY", "ns-ksmedia-ksrtaudio_notification_event_property" {
        /// The request.
        property: KsProperty = "Property",
        /// Handle of the event.
        notification_event: u64 = "NotificationEvent",
    }
}

abi_struct! {
    /// A packet that was captured.
    pub struct KsRtAudioGetReadPacketInfo = "KSRTAUDIO_GETREADPACKET_INFO", "ns-ksmedia-ksrtaudio_getreadpacket_info" {
        /// Its number since the stream began.
        packet_number: u32 = "PacketNumber",
        /// Zero.
        flags: u32 = "Flags",
        /// Performance counter when its first sample was taken.
        performance_counter_value: u64 = "PerformanceCounterValue",
        /// Whether another one can be read at once.
        more_data: u32 = "MoreData",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// A packet that was written.
    pub struct KsRtAudioSetWritePacketInfo = "KSRTAUDIO_SETWRITEPACKET_INFO", "ns-ksmedia-ksrtaudio_setwritepacket_info" {
        /// Its number since the stream began.
        packet_number: u32 = "PacketNumber",
        /// KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM or zero.
        flags: u32 = "Flags",
        /// Bytes of the last packet.
        eos_packet_length: u32 = "EosPacketLength",
    }
}

abi_struct! {
    /// Asks for the registers that count packets.
    pub struct KsRtAudioPacketVRegisterProperty =
        "KSRTAUDIO_PACKETVREGISTER_PROPERTY", "ns-ksmedia-ksrtaudio_packetvregister_property" {
        /// The request.
        property: KsProperty = "Property",
        /// Where they should be; null for anywhere.
        base_address: Ptr64 = "BaseAddress",
    }
}

abi_struct! {
    /// The registers that count packets: addresses of three 64-bit numbers.
    pub struct KsRtAudioPacketVRegister = "KSRTAUDIO_PACKETVREGISTER", "ns-ksmedia-ksrtaudio_packetvregister" {
        /// Packets that are complete.
        completed_packet_count: Ptr64 = "CompletedPacketCount",
        /// Performance counter when the last of them was.
        completed_packet_qpc: Ptr64 = "CompletedPacketQPC",
        /// Both in one, to see whether they belong together.
        completed_packet_hash: Ptr64 = "CompletedPacketHash",
    }
}

abi_struct! {
    /// Where a stream is in its buffer.
    pub struct KsAudioPosition = "KSAUDIO_POSITION", "ns-ksmedia-ksaudio_position" {
        /// Byte that is being played or captured.
        play_offset: u64 = "PlayOffset",
        /// Byte from which on the client may write, or up to which it may read.
        write_offset: u64 = "WriteOffset",
    }
}

abi_struct! {
    /// What of a stream is heard.
    pub struct KsAudioPresentationPosition = "KSAUDIO_PRESENTATION_POSITION", "ns-ksmedia-ksaudio_presentation_position" {
        /// Blocks since the stream began.
        position_in_blocks: u64 = "u64PositionInBlocks",
        /// Performance counter at that position.
        qpc_position: u64 = "u64QPCPosition",
    }
}
