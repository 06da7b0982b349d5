//! Streams: the header of a frame, states, rates, quality and degradation.

use crate::define::{abi_consts, abi_enum, abi_struct};
use crate::identifier::KsProperty;
use crate::pin::KsPinInterface;
use crate::pointer::Ptr64;
use crate::status::NtStatus;

abi_struct! {
    /// A time in units of numerator / denominator 100-ns ticks.
    pub struct KsTime = "KSTIME", "ns-ks-kstime" {
        /// The time.
        time: i64 = "Time",
        /// Numerator of the unit; not zero.
        numerator: u32 = "Numerator",
        /// Denominator of the unit; not zero.
        denominator: u32 = "Denominator",
    }
}

impl KsTime {
    /// A time in 100-ns units.
    #[must_use]
    pub const fn from_100ns(time: i64) -> Self {
        Self { time, numerator: 1, denominator: 1 }
    }
}

abi_struct! {
    /// One frame of a stream request; headers form an array whose stride is `size`.
    pub struct KsStreamHeader = "KSSTREAM_HEADER", "ns-ks-ksstream_header" {
        /// Bytes of the header; more than 56 when it is extended.
        size: u32 = "Size",
        /// Flags whose meaning the format gives.
        type_specific_flags: u32 = "TypeSpecificFlags",
        /// When to present the frame; counts if `TIMEVALID` is set.
        presentation_time: KsTime = "PresentationTime",
        /// How long, in the same unit; counts if `DURATIONVALID` is set.
        duration: i64 = "Duration",
        /// Bytes of the buffer.
        frame_extent: u32 = "FrameExtent",
        /// Bytes of the buffer that hold data.
        data_used: u32 = "DataUsed",
        /// The buffer.
        data: Ptr64 = "Data",
        /// `KSSTREAM_HEADER_OPTIONSF_*`.
        options_flags: u32 = "OptionsFlags",
        /// Zero; on 64-bit systems only.
        reserved: u32 = "Reserved",
    }
}

abi_consts! {
    "Option of a stream header"
    pub(crate) OPTIONS: u32 {
        /// Decoding can start here.
        KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT = 0x1,
        /// The frame is not to be presented.
        KSSTREAM_HEADER_OPTIONSF_PREROLL = 0x2,
        /// Data is missing before this frame.
        KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY = 0x4,
        /// The buffer holds a new data format.
        KSSTREAM_HEADER_OPTIONSF_TYPECHANGED = 0x8,
        /// The presentation time counts.
        KSSTREAM_HEADER_OPTIONSF_TIMEVALID = 0x10,
        /// Time jumps after this frame.
        KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY = 0x40,
        /// The frame is completed at once when the pin pauses.
        KSSTREAM_HEADER_OPTIONSF_FLUSHONPAUSE = 0x80,
        /// The duration counts.
        KSSTREAM_HEADER_OPTIONSF_DURATIONVALID = 0x100,
        /// The last frame.
        KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM = 0x200,
        /// The data is copied through a buffer.
        KSSTREAM_HEADER_OPTIONSF_BUFFEREDTRANSFER = 0x400,
        /// The data is in video memory.
        KSSTREAM_HEADER_OPTIONSF_VRAM_DATA_TRANSFER = 0x800,
        /// Metadata follows the header.
        KSSTREAM_HEADER_OPTIONSF_METADATA = 0x1000,
        /// The last photo of a sequence.
        KSSTREAM_HEADER_OPTIONSF_ENDOFPHOTOSEQUENCE = 0x2000,
        /// Frame information follows the header.
        KSSTREAM_HEADER_OPTIONSF_FRAMEINFO = 0x4000,
        /// The sample is to be kept.
        KSSTREAM_HEADER_OPTIONSF_PERSIST_SAMPLE = 0x8000,
        /// The sample was kept.
        KSSTREAM_HEADER_OPTIONSF_SAMPLE_PERSISTED = 0x1_0000,
        /// Completions are numbered.
        KSSTREAM_HEADER_TRACK_COMPLETION_NUMBERS = 0x2_0000,
        /// The buffer is secure.
        KSSTREAM_HEADER_OPTIONSF_SECUREBUFFERTRANSFER = 0x4_0000,
        /// The buffer repeats until the stream stops.
        KSSTREAM_HEADER_OPTIONSF_LOOPEDDATA = 0x8000_0000,
    }
}

abi_struct! {
    /// Metadata behind a stream header.
    pub struct KsStreamMetadataInfo = "KSSTREAM_METADATA_INFO", "ns-ks-ksstream_metadata_info" {
        /// Bytes of the buffer.
        buffer_size: u32 = "BufferSize",
        /// Bytes used.
        used_size: u32 = "UsedSize",
        /// The client's address of the buffer.
        data: Ptr64 = "Data",
        /// The system's address of the buffer.
        system_va: Ptr64 = "SystemVa",
        /// Flags.
        flags: u32 = "Flags",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_enum! {
    /// State of a pin or clock.
    pub struct KsState: u32 = "KSSTATE", "ne-ks-ksstate" {
        /// Least resources.
        STOP = 0 => "KSSTATE_STOP",
        /// Resources are being acquired; no data.
        ACQUIRE = 1 => "KSSTATE_ACQUIRE",
        /// Ready; data may be queued.
        PAUSE = 2 => "KSSTATE_PAUSE",
        /// Streaming.
        RUN = 3 => "KSSTATE_RUN",
    }
}

abi_enum! {
    /// Whether a pin is in its reset state.
    pub struct KsReset: u32 = "KSRESET", "ne-ks-ksreset" {
        /// Cancels what is queued and refuses more.
        BEGIN = 0 => "KSRESET_BEGIN",
        /// Ends the reset state.
        END = 1 => "KSRESET_END",
    }
}

abi_struct! {
    /// A report of quality.
    pub struct KsQuality = "KSQUALITY", "ns-ks-ksquality" {
        /// What the quality manager gave when it was set.
        context: Ptr64 = "Context",
        /// Thousandths of the data that could be handled; 1000 is right.
        proportion: u32 = "Proportion",
        #[doc(hidden)]
        _padding: u32 = "",
        /// How late (positive) or early, in 100-ns units.
        delta_time: i64 = "DeltaTime",
    }
}

abi_struct! {
    /// A report of an error.
    pub struct KsError = "KSERROR", "ns-ks-kserror" {
        /// What the quality manager gave when it was set.
        context: Ptr64 = "Context",
        /// The error.
        status: NtStatus = "Status",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// To whom a pin reports quality.
    pub struct KsQualityManager = "KSQUALITY_MANAGER", "ns-ks-ksquality_manager" {
        /// Handle of the quality manager's sink.
        quality_manager: u64 = "QualityManager",
        /// Comes back in each report.
        context: Ptr64 = "Context",
    }
}

abi_struct! {
    /// Duration of a frame.
    pub struct KsFrameTime = "KSFRAMETIME", "ns-ks-ksframetime" {
        /// In 100-ns units.
        duration: i64 = "Duration",
        /// [`KSFRAMETIME_VARIABLESIZE`] or zero.
        frame_flags: u32 = "FrameFlags",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

/// Frame sizes vary.
pub const KSFRAMETIME_VARIABLESIZE: u32 = 1;

abi_struct! {
    /// A streaming rate over a span of presentation time.
    pub struct KsRate = "KSRATE", "ns-ks-ksrate" {
        /// Start of the span.
        presentation_start: i64 = "PresentationStart",
        /// Length of the span.
        duration: i64 = "Duration",
        /// How data is presented.
        interface: KsPinInterface = "Interface",
        /// Thousandths; 1000 is normal speed, negative is backwards.
        rate: i32 = "Rate",
        /// `KSRATE_*`.
        flags: u32 = "Flags",
    }
}

abi_consts! {
    "Flag of a rate"
    pub(crate) RATE_FLAGS: u32 {
        KSRATE_NOPRESENTATIONSTART = 1,
        KSRATE_NOPRESENTATIONDURATION = 2,
    }
}

abi_struct! {
    /// Asks which rate near the given one is possible.
    pub struct KsRateCapability = "KSRATE_CAPABILITY", "ns-ks-ksrate_capability" {
        /// The request.
        property: KsProperty = "Property",
        /// The rate wanted.
        rate: KsRate = "Rate",
    }
}

abi_consts! {
    "Standard degradation strategy"
    pub(crate) DEGRADATION: u32 {
        KSDEGRADE_STANDARD_SAMPLE = 0,
        KSDEGRADE_STANDARD_QUALITY = 1,
        KSDEGRADE_STANDARD_COMPUTATION = 2,
        KSDEGRADE_STANDARD_SKIP = 3,
    }
}
