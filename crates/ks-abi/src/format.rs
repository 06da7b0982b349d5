//! Data formats and data ranges, and their attributes.

use crate::define::{abi_consts, abi_struct};
use crate::guid::Guid;

abi_struct! {
    /// A data format, or (as [`KsDataRange`]) a range of formats; `format_size` includes the specifier's block that
    /// follows.
    pub struct KsDataFormat = "KSDATAFORMAT", "ns-ks-ksdataformat~r1" [align(8)] {
        /// Bytes of this structure and the block that follows; at least 64.
        format_size: u32 = "FormatSize",
        /// `KSDATAFORMAT_*` or `KSDATARANGE_*` flags.
        flags: u32 = "Flags",
        /// Bytes of one sample; zero when they vary.
        sample_size: u32 = "SampleSize",
        /// Zero.
        reserved: u32 = "Reserved",
        /// Kind of data, for example audio.
        major_format: Guid = "MajorFormat",
        /// Encoding, for example PCM.
        sub_format: Guid = "SubFormat",
        /// What the block that follows is.
        specifier: Guid = "Specifier",
    }
}

/// A range of data formats; the same layout, and null GUIDs are wildcards.
#[doc(alias = "KSDATARANGE")]
pub type KsDataRange = KsDataFormat;

impl KsDataFormat {
    /// Bytes of the structure alone.
    pub const BYTES: u32 = 64;

    /// A format without flags whose specifier block has `block_bytes` bytes.
    #[must_use]
    pub const fn new(major_format: Guid, sub_format: Guid, specifier: Guid, block_bytes: u32) -> Self {
        Self {
            format_size: Self::BYTES.saturating_add(block_bytes),
            flags: 0,
            sample_size: 0,
            reserved: 0,
            major_format,
            sub_format,
            specifier,
        }
    }
}

abi_consts! {
    "Flag of a data format or data range"
    pub(crate) FLAGS: u32 {
        /// Samples depend on other samples.
        KSDATAFORMAT_TEMPORAL_COMPRESSION = 1,
        /// An attribute list follows the format.
        KSDATAFORMAT_ATTRIBUTES = 2,
        /// An attribute list follows the range.
        KSDATARANGE_ATTRIBUTES = 2,
        /// Some of the attributes are required.
        KSDATARANGE_REQUIRED_ATTRIBUTES = 4,
        /// Of an attribute: it must be matched.
        KSATTRIBUTE_REQUIRED = 1,
    }
}

abi_struct! {
    /// Head of one attribute of a format or range; its own data follows.
    pub struct KsAttribute = "KSATTRIBUTE", "ns-ks-ksattribute" {
        /// Bytes with the data that follows; at least 24.
        size: u32 = "Size",
        /// [`KSATTRIBUTE_REQUIRED`] or zero.
        flags: u32 = "Flags",
        /// The attribute.
        attribute: Guid = "Attribute",
    }
}
