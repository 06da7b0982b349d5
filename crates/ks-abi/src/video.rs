//! Video formats and ranges, and the frame information behind a video stream header.

use crate::define::{abi_consts, abi_struct};
use crate::format::{KsDataFormat, KsDataRange};
use crate::guid::Guid;

abi_struct! {
    /// A rectangle; right and bottom lie just outside.
    pub struct Rect = "RECT", "ns-windef-rect" {
        /// Left edge.
        left: i32 = "left",
        /// Top edge.
        top: i32 = "top",
        /// Just right of the right edge.
        right: i32 = "right",
        /// Just below the bottom edge.
        bottom: i32 = "bottom",
    }
}

abi_struct! {
    /// Width and height.
    pub struct Size = "SIZE", "ns-windef-size" {
        /// Width.
        width: i32 = "cx",
        /// Height.
        height: i32 = "cy",
    }
}

abi_struct! {
    /// The picture of a video format.
    pub struct KsBitmapInfoHeader = "KS_BITMAPINFOHEADER", "ns-ksmedia-tagks_bitmapinfoheader" {
        /// Bytes of this structure and what belongs to it; 40 at least.
        size: u32 = "biSize",
        /// Width in pixels.
        width: i32 = "biWidth",
        /// Height in pixels; for RGB, positive means bottom row first and negative top row first.
        height: i32 = "biHeight",
        /// One.
        planes: u16 = "biPlanes",
        /// Bits of one pixel on average.
        bit_count: u16 = "biBitCount",
        /// `KS_BI_*` or a FOURCC.
        compression: u32 = "biCompression",
        /// Bytes of the picture.
        size_image: u32 = "biSizeImage",
        /// Horizontal resolution.
        x_pels_per_meter: i32 = "biXPelsPerMeter",
        /// Vertical resolution.
        y_pels_per_meter: i32 = "biYPelsPerMeter",
        /// Palette entries used.
        clr_used: u32 = "biClrUsed",
        /// Palette entries that matter.
        clr_important: u32 = "biClrImportant",
    }
}

abi_consts! {
    "Compression of a picture"
    pub(crate) COMPRESSION: u32 {
        KS_BI_RGB = 0,
        KS_BI_RLE8 = 1,
        KS_BI_RLE4 = 2,
        KS_BI_BITFIELDS = 3,
    }
}

/// The FOURCC of four characters, for example `fourcc(b"NV12")`.
#[must_use]
#[doc(alias = "MAKEFOURCC")]
pub const fn fourcc(code: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*code)
}

abi_struct! {
    /// A video format: rectangles, rates and picture.
    pub struct KsVideoInfoHeader = "KS_VIDEOINFOHEADER", "ns-ksmedia-tagks_videoinfoheader" {
        /// Part of the source picture that is used; empty for all.
        source: Rect = "rcSource",
        /// Part of the destination that is filled; empty for all.
        target: Rect = "rcTarget",
        /// Bits in a second, about.
        bit_rate: u32 = "dwBitRate",
        /// Bit errors in a second.
        bit_error_rate: u32 = "dwBitErrorRate",
        /// Frame duration in 100-ns units.
        avg_time_per_frame: i64 = "AvgTimePerFrame",
        /// The picture.
        bitmap: KsBitmapInfoHeader = "bmiHeader",
    }
}

abi_struct! {
    /// A video format with interlacing and aspect ratio.
    pub struct KsVideoInfoHeader2 = "KS_VIDEOINFOHEADER2", "ns-ksmedia-tagks_videoinfoheader2" {
        /// Part of the source picture that is used; empty for all.
        source: Rect = "rcSource",
        /// Part of the destination that is filled; empty for all.
        target: Rect = "rcTarget",
        /// Bits in a second, about.
        bit_rate: u32 = "dwBitRate",
        /// Bit errors in a second.
        bit_error_rate: u32 = "dwBitErrorRate",
        /// Frame duration in 100-ns units.
        avg_time_per_frame: i64 = "AvgTimePerFrame",
        /// Interlacing.
        interlace_flags: u32 = "dwInterlaceFlags",
        /// Copy protection.
        copy_protect_flags: u32 = "dwCopyProtectFlags",
        /// Width of the picture's aspect.
        pict_aspect_ratio_x: u32 = "dwPictAspectRatioX",
        /// Height of the picture's aspect.
        pict_aspect_ratio_y: u32 = "dwPictAspectRatioY",
        /// Zero.
        reserved1: u32 = "dwReserved1",
        /// Zero.
        reserved2: u32 = "dwReserved2",
        /// The picture.
        bitmap: KsBitmapInfoHeader = "bmiHeader",
    }
}

abi_struct! {
    /// A data format with a video format.
    pub struct KsDataFormatVideoInfoHeader = "KS_DATAFORMAT_VIDEOINFOHEADER", "ns-ksmedia-tagks_dataformat_videoinfoheader" {
        /// The format in general.
        data_format: KsDataFormat = "DataFormat",
        /// The video format.
        video_info: KsVideoInfoHeader = "VideoInfoHeader",
    }
}

abi_struct! {
    /// A data format with a video format of the second kind.
    pub struct KsDataFormatVideoInfoHeader2 = "KS_DATAFORMAT_VIDEOINFOHEADER2", "ns-ksmedia-tagks_dataformat_videoinfoheader2" {
        /// The format in general.
        data_format: KsDataFormat = "DataFormat",
        /// The video format.
        video_info: KsVideoInfoHeader2 = "VideoInfoHeader2",
    }
}

abi_struct! {
    /// What sizes and rates a video range covers.
    pub struct KsVideoStreamConfigCaps = "KS_VIDEO_STREAM_CONFIG_CAPS", "ns-ksmedia-_ks_video_stream_config_caps" {
        /// The specifier of the format.
        guid: Guid = "guid",
        /// `KS_AnalogVideoStandard` bits, or zero.
        video_standard: u32 = "VideoStandard",
        /// Size of the source.
        input_size: Size = "InputSize",
        /// Least part of the source.
        min_cropping_size: Size = "MinCroppingSize",
        /// Largest part of the source.
        max_cropping_size: Size = "MaxCroppingSize",
        /// Step of the part's width.
        crop_granularity_x: i32 = "CropGranularityX",
        /// Step of the part's height.
        crop_granularity_y: i32 = "CropGranularityY",
        /// Step of the part's left edge.
        crop_align_x: i32 = "CropAlignX",
        /// Step of the part's top edge.
        crop_align_y: i32 = "CropAlignY",
        /// Least picture.
        min_output_size: Size = "MinOutputSize",
        /// Largest picture.
        max_output_size: Size = "MaxOutputSize",
        /// Step of the picture's width.
        output_granularity_x: i32 = "OutputGranularityX",
        /// Step of the picture's height.
        output_granularity_y: i32 = "OutputGranularityY",
        /// Quality of stretching, horizontally.
        stretch_taps_x: i32 = "StretchTapsX",
        /// Quality of stretching, vertically.
        stretch_taps_y: i32 = "StretchTapsY",
        /// Quality of shrinking, horizontally.
        shrink_taps_x: i32 = "ShrinkTapsX",
        /// Quality of shrinking, vertically.
        shrink_taps_y: i32 = "ShrinkTapsY",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Shortest frame in 100-ns units.
        min_frame_interval: i64 = "MinFrameInterval",
        /// Longest frame in 100-ns units.
        max_frame_interval: i64 = "MaxFrameInterval",
        /// Lowest bit rate.
        min_bits_per_second: i32 = "MinBitsPerSecond",
        /// Highest bit rate.
        max_bits_per_second: i32 = "MaxBitsPerSecond",
    }
}

abi_struct! {
    /// A range of video formats, with its default.
    pub struct KsDataRangeVideo = "KS_DATARANGE_VIDEO", "ns-ksmedia-tagks_datarange_video" {
        /// The range in general.
        data_range: KsDataRange = "DataRange",
        /// All samples have one size: 0 or 1.
        fixed_size_samples: u32 = "bFixedSizeSamples",
        /// Not all frames are key frames: 0 or 1.
        temporal_compression: u32 = "bTemporalCompression",
        /// `KS_VIDEOSTREAM_*`.
        stream_description_flags: u32 = "StreamDescriptionFlags",
        /// `KS_VIDEO_ALLOC_*`.
        memory_allocation_flags: u32 = "MemoryAllocationFlags",
        /// Sizes and rates.
        config_caps: KsVideoStreamConfigCaps = "ConfigCaps",
        /// The default format.
        video_info: KsVideoInfoHeader = "VideoInfoHeader",
    }
}

abi_struct! {
    /// A range of video formats of the second kind, with its default.
    pub struct KsDataRangeVideo2 = "KS_DATARANGE_VIDEO2", "ns-ksmedia-tagks_datarange_video2" {
        /// The range in general.
        data_range: KsDataRange = "DataRange",
        /// All samples have one size: 0 or 1.
        fixed_size_samples: u32 = "bFixedSizeSamples",
        /// Not all frames are key frames: 0 or 1.
        temporal_compression: u32 = "bTemporalCompression",
        /// `KS_VIDEOSTREAM_*`.
        stream_description_flags: u32 = "StreamDescriptionFlags",
        /// `KS_VIDEO_ALLOC_*`.
        memory_allocation_flags: u32 = "MemoryAllocationFlags",
        /// Sizes and rates.
        config_caps: KsVideoStreamConfigCaps = "ConfigCaps",
        /// The default format.
        video_info: KsVideoInfoHeader2 = "VideoInfoHeader",
    }
}

abi_consts! {
    "Interlacing of a video format"
    pub(crate) INTERLACE_FLAGS: u32 {
        KS_INTERLACE_IsInterlaced = 0x1,
        KS_INTERLACE_1FieldPerSample = 0x2,
        KS_INTERLACE_Field1First = 0x4,
        KS_INTERLACE_UNUSED = 0x8,
        KS_INTERLACE_FieldPatternMask = 0x30,
        KS_INTERLACE_FieldPatField1Only = 0,
        KS_INTERLACE_FieldPatField2Only = 0x10,
        KS_INTERLACE_FieldPatBothRegular = 0x20,
        KS_INTERLACE_FieldPatBothIrregular = 0x30,
        KS_INTERLACE_DisplayModeMask = 0xC0,
        KS_INTERLACE_DisplayModeBobOnly = 0,
        KS_INTERLACE_DisplayModeWeaveOnly = 0x40,
        KS_INTERLACE_DisplayModeBobOrWeave = 0x80,
    }
}

abi_consts! {
    "Kind of a video stream"
    pub(crate) STREAM_KINDS: u32 {
        KS_VIDEOSTREAM_PREVIEW = 0x1,
        KS_VIDEOSTREAM_CAPTURE = 0x2,
        KS_VIDEOSTREAM_VBI = 0x10,
        KS_VIDEOSTREAM_NABTS = 0x20,
        KS_VIDEOSTREAM_CC = 0x100,
        KS_VIDEOSTREAM_EDS = 0x200,
        KS_VIDEOSTREAM_TELETEXT = 0x400,
        KS_VIDEOSTREAM_STILL = 0x1000,
        KS_VIDEOSTREAM_IS_VPE = 0x8000,
        KS_VIDEO_ALLOC_VPE_SYSTEM = 1,
        KS_VIDEO_ALLOC_VPE_DISPLAY = 2,
        KS_VIDEO_ALLOC_VPE_AGP = 4,
    }
}

abi_struct! {
    /// What a capture pin tells of a frame: it stands behind the stream header, in the extended header.
    pub struct KsFrameInfo = "KS_FRAME_INFO", "ns-ksmedia-tagks_frame_info" {
        /// Bytes of this structure.
        extended_header_size: u32 = "ExtendedHeaderSize",
        /// `KS_VIDEO_FLAG_*`.
        frame_flags: u32 = "dwFrameFlags",
        /// Number of the frame since RUN, dropped ones counted.
        picture_number: i64 = "PictureNumber",
        /// Frames dropped since RUN.
        drop_count: i64 = "DropCount",
        /// Kernel handle of the DirectDraw object.
        direct_draw: u64 = "hDirectDraw",
        /// Kernel handle of the surface.
        surface: u64 = "hSurfaceHandle",
        /// Locked part of the surface.
        direct_draw_rect: Rect = "DirectDrawRect",
        /// Bytes from row to row of the surface.
        surface_pitch: i32 = "lSurfacePitch" | "Reserved1",
        /// Zero.
        reserved2: u32 = "Reserved2",
        /// Number of the frame's completion, when the pin tracks it.
        frame_completion_number: u64 = "FrameCompletionNumber" | "Reserved3",
    }
}

abi_consts! {
    "Flag of a video frame"
    pub(crate) FRAME_FLAGS: u32 {
        KS_VIDEO_FLAG_FRAME = 0,
        KS_VIDEO_FLAG_FIELD1 = 1,
        KS_VIDEO_FLAG_FIELD2 = 2,
        KS_VIDEO_FLAG_FIELD_MASK = 3,
        KS_VIDEO_FLAG_FIELD1FIRST = 4,
        KS_VIDEO_FLAG_WEAVE = 8,
        KS_VIDEO_FLAG_I_FRAME = 0,
        KS_VIDEO_FLAG_P_FRAME = 0x10,
        KS_VIDEO_FLAG_B_FRAME = 0x20,
        KS_VIDEO_FLAG_IPB_MASK = 0x30,
        KS_VIDEO_FLAG_REPEAT_FIELD = 0x40,
    }
}
