//! GUIDs: the type, its text form, and the names of the known ones.
//!
//! The constants keep the header's spelling and are grouped by what they name; all of them are re-exported at the
//! crate root.

use core::fmt;
use core::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Defines GUID constants and the table that [`Guid::name`] searches.
macro_rules! guids {
    ($($doc:literal $name:ident = $value:literal;)+) => {
        $(
            #[doc = $doc]
            pub const $name: Guid = Guid::from_u128($value);
        )+
        /// Name and value of each constant of this module, in header spelling.
        pub(crate) const TABLE: &[(&str, Guid)] = &[$((stringify!($name), $name)),+];
    };
}

#[allow(non_upper_case_globals, reason = "constants keep the spelling of the Windows headers")]
pub mod categories;
#[allow(non_upper_case_globals, reason = "constants keep the spelling of the Windows headers")]
pub mod formats;
#[allow(non_upper_case_globals, reason = "constants keep the spelling of the Windows headers")]
pub mod names;
pub mod nodes;
#[allow(non_upper_case_globals, reason = "constants keep the spelling of the Windows headers")]
pub mod sets;

/// A globally unique identifier in Windows memory order (16 bytes, alignment 4).
///
/// Source: ns-guiddef-guid.
#[doc(alias = "GUID")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Guid {
    /// First group of the text form.
    pub data1: u32,
    /// Second group.
    pub data2: u16,
    /// Third group.
    pub data3: u16,
    /// Last two groups, byte by byte.
    pub data4: [u8; 8],
}

/// The null GUID: the wildcard of data ranges and the set that asks for all supported sets.
pub const GUID_NULL: Guid = Guid::NULL;
/// Wildcard major format of a data range.
pub const KSDATAFORMAT_TYPE_WILDCARD: Guid = Guid::NULL;
/// Wildcard sub-format of a data range.
pub const KSDATAFORMAT_SUBTYPE_WILDCARD: Guid = Guid::NULL;
/// Wildcard specifier of a data range.
pub const KSDATAFORMAT_SPECIFIER_WILDCARD: Guid = Guid::NULL;
/// No time format.
pub const KSTIME_FORMAT_NONE: Guid = Guid::NULL;
/// Any memory type.
pub const KSMEMORY_TYPE_WILDCARD: Guid = Guid::NULL;
/// A memory type that does not matter.
pub const KSMEMORY_TYPE_DONT_CARE: Guid = Guid::NULL;
/// A bus type that does not matter.
pub const KS_TYPE_DONT_CARE: Guid = Guid::NULL;

/// The tail that FOURCC and wave format tag GUIDs share; its own first group is 0.
const FORMAT_TAG_BASE: Guid = Guid::from_u128(0x00000000_0000_0010_8000_00AA00389B71);

impl Guid {
    /// The GUID of zeros.
    pub const NULL: Self = Self::from_u128(0);

    /// The GUID whose text form, read as one hexadecimal number, is `value`.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        let [a, b, c, d, e, f, g, h, data4 @ ..] = value.to_be_bytes();
        Self {
            data1: u32::from_be_bytes([a, b, c, d]),
            data2: u16::from_be_bytes([e, f]),
            data3: u16::from_be_bytes([g, h]),
            data4,
        }
    }

    /// The inverse of [`Guid::from_u128`].
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        let [a, b, c, d] = self.data1.to_be_bytes();
        let [e, f] = self.data2.to_be_bytes();
        let [g, h] = self.data3.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = self.data4;
        u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The GUID that stands for a FOURCC or a wave format tag: `tag` followed by the fixed tail
    /// `-0000-0010-8000-00AA00389B71`.
    #[must_use]
    #[doc(alias = "DEFINE_WAVEFORMATEX_GUID")]
    pub const fn from_format_tag(tag: u32) -> Self {
        Self { data1: tag, ..FORMAT_TAG_BASE }
    }

    /// The FOURCC or wave format tag this GUID stands for, if it has the fixed tail.
    #[must_use]
    #[doc(alias = "IS_VALID_WAVEFORMATEX_GUID")]
    pub fn format_tag(self) -> Option<u32> {
        (Self { data1: 0, ..self } == FORMAT_TAG_BASE).then_some(self.data1)
    }

    /// Whether this is the null GUID.
    #[must_use]
    pub fn is_null(self) -> bool {
        self == Self::NULL
    }

    /// The header's name of a known GUID. Where several names share a value, the most specific group wins: sets,
    /// categories, formats, names, nodes.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        if self.is_null() {
            return Some("GUID_NULL");
        }
        known_guids().find(|(_, guid)| *guid == self).map(|(name, _)| name)
    }
}

/// Every named GUID of this crate with its header spelling; some values occur under several names.
pub fn known_guids() -> impl Iterator<Item = (&'static str, Guid)> {
    [sets::TABLE, categories::TABLE, formats::TABLE, names::TABLE, nodes::TABLE].into_iter().flatten().copied()
}

impl fmt::Display for Guid {
    /// The registry form: `{8C134960-51AD-11CF-878A-94F801C10000}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.data4;
        write!(
            f,
            "{{{:08X}-{:04X}-{:04X}-{a:02X}{b:02X}-{c:02X}{d:02X}{e:02X}{g:02X}{h:02X}{i:02X}}}",
            self.data1, self.data2, self.data3
        )
    }
}

impl fmt::Debug for Guid {
    /// The name of a known GUID, else the registry form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => fmt::Display::fmt(self, f),
        }
    }
}

/// The text is not a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseGuidError;

impl fmt::Display for ParseGuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a GUID; expected a form like {8C134960-51AD-11CF-878A-94F801C10000}")
    }
}

impl core::error::Error for ParseGuidError {}

impl FromStr for Guid {
    type Err = ParseGuidError;

    /// Reads the registry form, in either case, with or without braces.
    fn from_str(text: &str) -> Result<Self, ParseGuidError> {
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or(ParseGuidError)?,
            None => text,
        };
        if inner.len() != 36 {
            return Err(ParseGuidError);
        }
        let mut value = 0_u128;
        for (at, byte) in inner.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(ParseGuidError);
                }
            } else {
                let digit = char::from(byte).to_digit(16).ok_or(ParseGuidError)?;
                value = value << 4 | u128::from(digit);
            }
        }
        Ok(Self::from_u128(value))
    }
}

#[cfg(test)]
mod tests {
    use super::sets::KSPROPSETID_Pin;
    use super::*;

    #[test]
    fn text_form_is_the_registry_form_and_reads_back() {
        let text = "{8C134960-51AD-11CF-878A-94F801C10000}";
        assert_eq!(KSPROPSETID_Pin.to_string(), text);
        assert_eq!(text.parse(), Ok(KSPROPSETID_Pin));
        assert_eq!("8c134960-51ad-11cf-878a-94f801c10000".parse(), Ok(KSPROPSETID_Pin));
    }

    #[test]
    fn text_that_is_nearly_a_guid_is_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{8C134960-51AD-11CF-878A-94F801C10000",
            "8C134960-51AD-11CF-878A-94F801C10000}",
            "{8C134960-51AD-11CF-878A-94F801C1000}",
            "{8C134960-51AD-11CF-878A-94F801C100000}",
            "{+C134960-51AD-11CF-878A-94F801C10000}",
            "{8C134960-51AD-11CF-878A-94F801C10000-00}",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(ParseGuidError), "{text}");
        }
    }

    #[test]
    fn memory_order_is_that_of_windows() {
        let bytes = [0x60, 0x49, 0x13, 0x8C, 0xAD, 0x51, 0xCF, 0x11, 0x87, 0x8A, 0x94, 0xF8, 0x01, 0xC1, 0, 0];
        assert_eq!(KSPROPSETID_Pin.as_bytes(), bytes);
        assert_eq!(Guid::from_u128(KSPROPSETID_Pin.to_u128()), KSPROPSETID_Pin);
    }

    #[test]
    fn known_guids_have_names() {
        assert_eq!(KSPROPSETID_Pin.name(), Some("KSPROPSETID_Pin"));
        assert_eq!(Guid::NULL.name(), Some("GUID_NULL"));
        assert_eq!(Guid::from_u128(1).name(), None);
    }

    #[test]
    fn format_tags_round_trip() {
        assert_eq!(Guid::from_format_tag(1), formats::KSDATAFORMAT_SUBTYPE_PCM);
        assert_eq!(formats::KSDATAFORMAT_SUBTYPE_NV12.format_tag(), Some(u32::from_le_bytes(*b"NV12")));
        assert_eq!(KSPROPSETID_Pin.format_tag(), None);
    }
}
