//! Frame allocators: framing, compression and status.

use crate::define::{abi_consts, abi_struct};
use crate::guid::Guid;

abi_struct! {
    /// What an allocator is created with, or what a pin asks of one.
    pub struct KsAllocatorFraming = "KSALLOCATOR_FRAMING", "ns-ks-ksallocator_framing" {
        /// `KSALLOCATOR_OPTIONF_*` on create, `KSALLOCATOR_REQUIREMENTF_*` in an answer.
        flags: u32 = "OptionsFlags" | "RequirementsFlags",
        /// `POOL_TYPE` of kernel memory.
        pool_type: u32 = "PoolType",
        /// Most frames outstanding; zero for any.
        frames: u32 = "Frames",
        /// Bytes of a frame; zero for any.
        frame_size: u32 = "FrameSize",
        /// Alignment mask (alignment less one).
        file_alignment: u32 = "FileAlignment",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// Bounds of a frame's bytes.
    pub struct KsFramingRange = "KS_FRAMING_RANGE", "ns-ks-ks_framing_range" {
        /// Fewest bytes.
        min_frame_size: u32 = "MinFrameSize",
        /// Most bytes.
        max_frame_size: u32 = "MaxFrameSize",
        /// The step.
        stepping: u32 = "Stepping",
    }
}

abi_struct! {
    /// Bounds with weights.
    pub struct KsFramingRangeWeighted = "KS_FRAMING_RANGE_WEIGHTED", "ns-ks-ks_framing_range_weighted" {
        /// The bounds.
        range: KsFramingRange = "Range",
        /// Zero.
        in_place_weight: u32 = "InPlaceWeight",
        /// Zero.
        not_in_place_weight: u32 = "NotInPlaceWeight",
    }
}

abi_struct! {
    /// How many output bytes come of input bytes.
    pub struct KsCompression = "KS_COMPRESSION", "ns-ks-ks_compression" {
        /// Numerator.
        ratio_numerator: u32 = "RatioNumerator",
        /// Denominator.
        ratio_denominator: u32 = "RatioDenominator",
        /// Bytes in addition.
        ratio_constant_margin: u32 = "RatioConstantMargin",
    }
}

abi_struct! {
    /// Framing for one type of memory.
    pub struct KsFramingItem = "KS_FRAMING_ITEM", "ns-ks-ks_framing_item" {
        /// `KSMEMORY_TYPE_*`.
        memory_type: Guid = "MemoryType",
        /// The bus.
        bus_type: Guid = "BusType",
        /// Flags of the memory type.
        memory_flags: u32 = "MemoryFlags",
        /// Flags of the bus.
        bus_flags: u32 = "BusFlags",
        /// `KSALLOCATOR_FLAG_*` and `KSALLOCATOR_REQUIREMENTF_*`.
        flags: u32 = "Flags",
        /// Frames wanted.
        frames: u32 = "Frames",
        /// Alignment mask (alignment less one).
        file_alignment: u32 = "FileAlignment",
        /// Preference among memory types.
        memory_type_weight: u32 = "MemoryTypeWeight",
        /// Bounds of the hardware.
        physical_range: KsFramingRange = "PhysicalRange",
        /// Bounds wanted.
        framing_range: KsFramingRangeWeighted = "FramingRange",
    }
}

abi_struct! {
    /// Extended framing; `count_items` items, of which the first is part of this structure.
    pub struct KsAllocatorFramingEx = "KSALLOCATOR_FRAMING_EX", "ns-ks-ksallocator_framing_ex" {
        /// Number of items.
        count_items: u32 = "CountItems",
        /// Zero.
        pin_flags: u32 = "PinFlags",
        /// Expansion between this pin and the filter's other side.
        output_compression: KsCompression = "OutputCompression",
        /// Zero.
        pin_weight: u32 = "PinWeight",
        /// The first item.
        framing_item: [KsFramingItem; 1] = "FramingItem",
    }
}

impl KsAllocatorFramingEx {
    /// One item, no compression and no bounds of the hardware.
    #[must_use]
    #[doc(alias = "DECLARE_SIMPLE_FRAMING_EX")]
    pub const fn simple(
        memory_type: Guid,
        flags: u32,
        frames: u32,
        file_alignment: u32,
        min_frame_size: u32,
        max_frame_size: u32,
    ) -> Self {
        Self {
            count_items: 1,
            pin_flags: 0,
            output_compression: KsCompression { ratio_numerator: 1, ratio_denominator: 1, ratio_constant_margin: 0 },
            pin_weight: 0,
            framing_item: [KsFramingItem {
                memory_type,
                bus_type: Guid::NULL,
                memory_flags: 0,
                bus_flags: 0,
                flags,
                frames,
                file_alignment,
                memory_type_weight: 0,
                physical_range: KsFramingRange { min_frame_size: 0, max_frame_size: u32::MAX, stepping: 1 },
                framing_range: KsFramingRangeWeighted {
                    range: KsFramingRange { min_frame_size, max_frame_size, stepping: 1 },
                    in_place_weight: 0,
                    not_in_place_weight: 0,
                },
            }],
        }
    }
}

abi_struct! {
    /// An allocator's framing and how many frames are out.
    pub struct KsStreamAllocatorStatus = "KSSTREAMALLOCATOR_STATUS", "ns-ks-ksstreamallocator_status" {
        /// Framing at creation.
        framing: KsAllocatorFraming = "Framing",
        /// Frames out.
        allocated_frames: u32 = "AllocatedFrames",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// The same with extended framing.
    pub struct KsStreamAllocatorStatusEx = "KSSTREAMALLOCATOR_STATUS_EX", "ns-ks-ksstreamallocator_status_ex" {
        /// Framing at creation.
        framing: KsAllocatorFramingEx = "Framing",
        /// Frames out.
        allocated_frames: u32 = "AllocatedFrames",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_consts! {
    "Option, requirement or flag of allocator framing"
    pub(crate) FLAGS: u32 {
        /// Requirement: the pin changes frames in place.
        KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER = 0x1,
        /// Requirement: frames are in system memory.
        KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY = 0x2,
        /// Requirement: frames are kept whole downstream.
        KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY = 0x4,
        /// Requirement: this pin must allocate.
        KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE = 0x8,
        /// Requirement: system memory by the pin's own allocation.
        KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY_CUSTOM_ALLOCATION = 0x10,
        /// Requirement: none of it is strict.
        KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY = 0x8000_0000,
        /// Option: compatible with what is asked.
        KSALLOCATOR_OPTIONF_COMPATIBLE = 0x1,
        /// Option: system memory.
        KSALLOCATOR_OPTIONF_SYSTEM_MEMORY = 0x2,
        /// All options.
        KSALLOCATOR_OPTIONF_VALID = 0x3,
        /// Flag: reads may be partial.
        KSALLOCATOR_FLAG_PARTIAL_READ_SUPPORT = 0x10,
        /// Flag: memory of a device.
        KSALLOCATOR_FLAG_DEVICE_SPECIFIC = 0x20,
        /// Flag: can allocate.
        KSALLOCATOR_FLAG_CAN_ALLOCATE = 0x40,
        /// Flag: the size ratio must hold.
        KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO = 0x80,
        /// Flag: frames may be split.
        KSALLOCATOR_FLAG_NO_FRAME_INTEGRITY = 0x100,
        /// Flag: more than one output.
        KSALLOCATOR_FLAG_MULTIPLE_OUTPUT = 0x200,
        /// Flag: part of a cycle.
        KSALLOCATOR_FLAG_CYCLE = 0x400,
        /// Flag: an allocator exists.
        KSALLOCATOR_FLAG_ALLOCATOR_EXISTS = 0x800,
        /// Flag: input and output ranges are independent.
        KSALLOCATOR_FLAG_INDEPENDENT_RANGES = 0x1000,
        /// Flag: steps matter.
        KSALLOCATOR_FLAG_ATTENTION_STEPPING = 0x2000,
        /// Flag: MDLs may be cached.
        KSALLOCATOR_FLAG_ENABLE_CACHED_MDL = 0x4000,
        /// Flag: rows need a pitch.
        KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED = 0x8000,
    }
}
