//! What userks adds to the vocabulary: a property and an event set of its own for pins, and one for settings of filters.

use crate::allocator::{KsCompression, KsFramingRange};
use crate::define::abi_struct;
use crate::guid::Guid;
use crate::identifier::KsProperty;
use crate::stream::KsState;

/// Property set of every pin: counters, limits, failures.
pub const USERKS_PROPSET_PIN: Guid = Guid::from_u128(0x6f0f0a5a_9c1e_4b6d_8d0e_5f4c2a717e02);
/// GET: [`UserksPinStatistics`].
pub const USERKS_PIN_STATISTICS: u32 = 0;
/// SET: [`UserksPinLimit`].
pub const USERKS_PIN_LIMIT: u32 = 1;
/// SET, a ULONG of 1: measure the latency of frames from here on.
pub const USERKS_PIN_LATENCY: u32 = 2;
/// GET: the status (a ULONG) and the reason (UTF-8) with which streaming failed; STATUS_NOT_FOUND when it did not.
pub const USERKS_PIN_FAILURE: u32 = 3;
/// GET: the pipe section of the pin as UTF-8, one fact a line, its words separated by tabs: `pins`, `frames`, `bytes`,
/// `alignment`, `memory`, `owner`, `note`. Empty before the pin has left STOP.
pub const USERKS_PIN_PIPE: u32 = 4;
/// SET, 1 to 256 bytes of UTF-8 without control characters: what the pin's filter is called in messages from here on. A filter
/// keeps the first name that it is given; another gives STATUS_INVALID_DEVICE_STATE.
pub const USERKS_PIN_LABEL: u32 = 5;
/// GET, with a ULONG behind the KSPROPERTY: what each pin of the section that the pin heads asks of its frames, itself first,
/// as [`UserksPinWish`] structures with their names. The number says over how many more borders others are asked.
pub const USERKS_PIN_WISHES: u32 = 6;

/// Event set of every pin.
pub const USERKS_EVENTSET_PIN: Guid = Guid::from_u128(0x6f0f0a5a_9c1e_4b6d_8d0e_5f4c2a717e03);
/// Streaming failed, or the device is gone.
pub const USERKS_EVENT_PIN_FAILED: u32 = 0;

/// Property set of a filter's settings. Item 0 is the list of settings; item n is the n-th setting, GET and SET as UTF-8
/// text.
pub const USERKS_PROPSET_SETTINGS: Guid = Guid::from_u128(0x6f0f0a5a_9c1e_4b6d_8d0e_5f4c2a717e04);
/// GET: the settings, one a line: name, kind, default and help, separated by tabs, UTF-8.
pub const USERKS_SETTINGS_LIST: u32 = 0;

/// Property set of every clock object, for class drivers: how a pin follows a clock that is in another process.
pub const USERKS_PROPSET_CLOCK: Guid = Guid::from_u128(0x6f0f0a5a_9c1e_4b6d_8d0e_5f4c2a717e05);
/// GET of kernel mode, with a [`UserksClockFollow`]: [`UserksClockReading`], as soon as the clock has another version than
/// the one that is named.
pub const USERKS_CLOCK_FOLLOW: u32 = 0;
/// The clock has a time of its own, of which the reading is a sample; otherwise it counts the machine's time in RUN, and the
/// reading says all.
pub const USERKS_CLOCK_SAMPLED: u32 = 1;

abi_struct! {
    /// Asks for what a clock shows, once it is other than the version that is known.
    pub struct UserksClockFollow = "USERKS_CLOCK_FOLLOW", "none: userks' own" {
        /// The property.
        property: KsProperty = "Property",
        /// The version that is known; 0: none.
        version: u64 = "Version",
    }
}

abi_struct! {
    /// What a clock shows, and how it goes on.
    pub struct UserksClockReading = "USERKS_CLOCK_READING", "none: userks' own" {
        /// Another one after each change of the state and each setting of the time; never 0.
        version: u64 = "Version",
        /// Stream time in 100-ns units, at the moment `since`.
        time: i64 = "Time",
        /// A moment on the machine's monotonic clock, in 100-ns units.
        since: i64 = "Since",
        /// Granularity in 100-ns units.
        granularity: i64 = "Granularity",
        /// Error in 100-ns units.
        error: i64 = "Error",
        /// The state.
        state: KsState = "State",
        /// `USERKS_CLOCK_SAMPLED` or 0.
        flags: u32 = "Flags",
    }
}

abi_struct! {
    /// What has passed a pin.
    pub struct UserksPinStatistics = "USERKS_PIN_STATISTICS", "none: userks' own" {
        /// Frames with data.
        frames: u64 = "Frames",
        /// Bytes of data.
        bytes: u64 = "Bytes",
        /// Frames that the driver could not deliver in time.
        dropped: u64 = "Dropped",
        /// Frames whose bytes the engine copied.
        copies: u64 = "Copies",
        /// Median latency from data source to data sink, in nanoseconds; 0: not measured.
        latency_p50_ns: u64 = "LatencyP50",
        /// Latency that 99 of 100 frames stay below, in nanoseconds.
        latency_p99_ns: u64 = "LatencyP99",
        /// Frames of the section's allocator.
        allocator_frames: u32 = "AllocatorFrames",
        /// Bytes of one of them.
        allocator_frame_bytes: u32 = "AllocatorFrameBytes",
        /// 1 when the end of the stream has passed.
        ended: u32 = "Ended",
        /// 1 when streaming failed.
        failed: u32 = "Failed",
    }
}

abi_struct! {
    /// Where a stream ends although its source would go on. Zero: no limit.
    pub struct UserksPinLimit = "USERKS_PIN_LIMIT", "none: userks' own" {
        /// The stream ends with this many frames.
        frames: u64 = "Frames",
        /// The stream ends when this much presentation time has passed, in 100-ns units.
        time_100ns: i64 = "Time",
    }
}

abi_struct! {
    /// What a pin asks of the frames of its section. Its name follows as UTF-8, filled with zeros up to a multiple of four.
    pub struct UserksPinWish = "USERKS_PIN_WISH", "none: userks' own" {
        /// The wish of the pin whose frames come here, by its place in the list; 0xFFFFFFFF: none.
        after: u32 = "After",
        /// Bytes of the name.
        name_bytes: u32 = "NameBytes",
        /// KSALLOCATOR_REQUIREMENTF_* and KSALLOCATOR_FLAG_*.
        flags: u32 = "Flags",
        /// Frames; 0: no opinion.
        frames: u32 = "Frames",
        /// The fewest bytes of a frame.
        bytes: u32 = "Bytes",
        /// Alignment in bytes; 0: no opinion.
        alignment: u32 = "Alignment",
        /// 1 when its filter changes the frames.
        is_modified: u32 = "IsModified",
        /// Sizes that it takes.
        range: KsFramingRange = "Range",
        /// Sizes that its device takes.
        physical: KsFramingRange = "Physical",
        /// What its filter makes of a size before the frame comes here.
        compression: KsCompression = "Compression",
        /// A kind of memory that no process has, and which it needs; null: it can use a process's.
        other_memory: Guid = "OtherMemory",
    }
}
