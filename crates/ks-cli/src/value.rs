//! Values of properties as text: by what the headers say of a property, by what it says of itself, else as hexadecimal
//! digits.

use ks_abi::{
    Guid, KSFILTER_NODE, KsIdentifier, KsMultipleItem, KsPinCInstances, KsPinCommunication, KsPinDataFlow, KsState,
    KsTopologyConnection,
};
use ks_client::{Members, PropertyDescription};
use zerocopy::FromBytes as _;

use crate::describe;

/// How a value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Unsigned,
    Signed,
    Wide,
    Bool,
    Guid,
    State,
    Flow,
    Communication,
    Instances,
    Text,
    Guids,
    Identifiers,
    Ranges,
    Format,
    Connections,
    Wire,
    Bytes,
}

/// Names of the properties whose values are known, and their units. The name is matched without its `KSPROPERTY_`.
const SHAPES: &[(&str, Shape, &str)] = &[
    ("PIN_CTYPES", Shape::Unsigned, ""),
    ("PIN_CINSTANCES", Shape::Instances, ""),
    ("PIN_GLOBALCINSTANCES", Shape::Instances, ""),
    ("PIN_NECESSARYINSTANCES", Shape::Unsigned, ""),
    ("PIN_DATAFLOW", Shape::Flow, ""),
    ("PIN_COMMUNICATION", Shape::Communication, ""),
    ("PIN_DATARANGES", Shape::Ranges, ""),
    ("PIN_CONSTRAINEDDATARANGES", Shape::Ranges, ""),
    ("PIN_INTERFACES", Shape::Identifiers, ""),
    ("PIN_MEDIUMS", Shape::Identifiers, ""),
    ("PIN_CATEGORY", Shape::Guid, ""),
    ("PIN_NAME", Shape::Text, ""),
    ("PIN_PHYSICALCONNECTION", Shape::Wire, ""),
    ("TOPOLOGY_CATEGORIES", Shape::Guids, ""),
    ("TOPOLOGY_NODES", Shape::Guids, ""),
    ("TOPOLOGY_CONNECTIONS", Shape::Connections, ""),
    ("TOPOLOGY_NAME", Shape::Text, ""),
    ("CONNECTION_STATE", Shape::State, ""),
    ("CONNECTION_DATAFORMAT", Shape::Format, ""),
    ("STREAMINTERFACE_HEADERSIZE", Shape::Unsigned, "bytes"),
    ("STREAM_TIMEFORMAT", Shape::Guid, ""),
    ("STREAM_PRESENTATIONEXTENT", Shape::Wide, ""),
    ("MEDIASEEKING_POSITION", Shape::Wide, ""),
    ("MEDIASEEKING_STOPPOSITION", Shape::Wide, ""),
    ("MEDIASEEKING_DURATION", Shape::Wide, ""),
    ("MEDIASEEKING_PREROLL", Shape::Wide, ""),
    ("MEDIASEEKING_FORMATS", Shape::Guids, ""),
    ("AUDIO_VOLUMELEVEL", Shape::Signed, "1/65536 dB"),
    ("AUDIO_PEAKMETER", Shape::Signed, "1/65536 dB"),
    ("AUDIO_BASS", Shape::Signed, "1/65536 dB"),
    ("AUDIO_MID", Shape::Signed, "1/65536 dB"),
    ("AUDIO_TREBLE", Shape::Signed, "1/65536 dB"),
    ("AUDIO_MUTE", Shape::Bool, ""),
    ("AUDIO_AGC", Shape::Bool, ""),
    ("AUDIO_LOUDNESS", Shape::Bool, ""),
    ("AUDIO_BASS_BOOST", Shape::Bool, ""),
    ("AUDIO_SAMPLING_RATE", Shape::Unsigned, "Hz"),
    ("AUDIO_MUX_SOURCE", Shape::Unsigned, "input pin of the node"),
    ("AUDIO_CPU_RESOURCES", Shape::Unsigned, ""),
];

/// VT_ numbers of KSPROPTYPESETID_General.
mod vt {
    pub(super) const I4: u32 = 3;
    pub(super) const BOOL: u32 = 11;
    pub(super) const UI4: u32 = 19;
    pub(super) const I8: u32 = 20;
    pub(super) const UI8: u32 = 21;
    pub(super) const INT: u32 = 22;
    pub(super) const UINT: u32 = 23;
    pub(super) const CLSID: u32 = 72;
}

/// How the value of a property is read, and its unit. What a property says of its type goes before nothing at all.
pub(crate) fn shape(name: Option<&str>, told: Option<&PropertyDescription>) -> (Shape, &'static str) {
    let short = name.and_then(|name| name.strip_prefix("KSPROPERTY_"));
    if let Some((_, shape, unit)) = SHAPES.iter().find(|(known, _, _)| Some(*known) == short) {
        return (*shape, unit);
    }
    let shape = match told.and_then(|told| told.variant) {
        Some(vt::I4 | vt::INT) => Shape::Signed,
        Some(vt::UI4 | vt::UINT) => Shape::Unsigned,
        Some(vt::BOOL) => Shape::Bool,
        Some(vt::I8 | vt::UI8) => Shape::Wide,
        Some(vt::CLSID) => Shape::Guid,
        _ => Shape::Bytes,
    };
    (shape, "")
}

/// A value for a person. One that is not as long as its shape is shown as its bytes.
pub(crate) fn text(shape: Shape, bytes: &[u8]) -> String {
    let known = match shape {
        Shape::Unsigned => word(bytes).map(|word| word.to_string()),
        Shape::Signed => word(bytes).map(|word| word.cast_signed().to_string()),
        Shape::Wide => i64::read_from_bytes(bytes).ok().map(|wide| wide.to_string()),
        Shape::Bool => word(bytes).map(|word| (word != 0).to_string()),
        Shape::Guid => Guid::read_from_bytes(bytes).ok().map(describe::guid),
        Shape::State => word(bytes).map(|word| KsState(word).to_string()),
        Shape::Flow => word(bytes).map(|word| match KsPinDataFlow(word) {
            KsPinDataFlow::IN => "in".into(),
            KsPinDataFlow::OUT => "out".into(),
            KsPinDataFlow(other) => other.to_string(),
        }),
        Shape::Communication => word(bytes).map(|word| match KsPinCommunication(word) {
            KsPinCommunication::NONE => "none".into(),
            KsPinCommunication::SINK => "sink".into(),
            KsPinCommunication::SOURCE => "source".into(),
            KsPinCommunication::BOTH => "both".into(),
            KsPinCommunication::BRIDGE => "bridge".into(),
            KsPinCommunication(other) => other.to_string(),
        }),
        Shape::Instances => KsPinCInstances::read_from_bytes(bytes).ok().map(|told| match told.possible_count {
            u32::MAX => format!("{} now, no limit", told.current_count),
            most => format!("{} now, at most {most}", told.current_count),
        }),
        Shape::Text => Some(utf16(bytes)),
        Shape::Guids => items::<Guid>(bytes).map(|all| joined(all.into_iter().map(describe::guid))),
        Shape::Identifiers => items::<KsIdentifier>(bytes)
            .map(|all| joined(all.into_iter().map(|one| format!("{}:{}", describe::guid(one.set), one.id)))),
        Shape::Ranges => Some(joined(ranges(bytes).into_iter().map(ks_abi::describe::range))),
        Shape::Format => Some(ks_abi::describe::format(bytes)),
        Shape::Connections => items::<KsTopologyConnection>(bytes).map(|all| joined(all.iter().map(connection))),
        Shape::Wire => wire(bytes),
        Shape::Bytes => None,
    };
    known.unwrap_or_else(|| hex(bytes))
}

/// The bytes of a value as a person gives it, or what would be one.
pub(crate) fn parse(shape: Shape, text: &str) -> Result<Vec<u8>, String> {
    let number = |least: i128, most: i128| {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        parsed.filter(|value| (least..=most).contains(value)).ok_or(format!("a number from {least} to {most}"))
    };
    match shape {
        Shape::Unsigned | Shape::Flow | Shape::Communication => {
            Ok((number(0, u32::MAX.into())? as u32).to_le_bytes().into())
        }
        Shape::Signed => Ok((number(i32::MIN.into(), i32::MAX.into())? as i32).to_le_bytes().into()),
        Shape::Wide => Ok((number(i64::MIN.into(), i64::MAX.into())? as i64).to_le_bytes().into()),
        Shape::Bool => match text {
            "true" | "1" => Ok(1u32.to_le_bytes().into()),
            "false" | "0" => Ok(0u32.to_le_bytes().into()),
            _ => Err("true or false".into()),
        },
        Shape::State => {
            let states = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
            let state = states.into_iter().find(|state| state.to_string().eq_ignore_ascii_case(text));
            state.map(|state| state.0.to_le_bytes().into()).ok_or("STOP, ACQUIRE, PAUSE or RUN".into())
        }
        Shape::Guid => {
            let known = ks_abi::known_guids().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, guid)| guid);
            let guid = known.or_else(|| text.parse::<Guid>().ok()).ok_or("a GUID, or the header's name of one")?;
            Ok(zerocopy::IntoBytes::as_bytes(&guid).to_vec())
        }
        Shape::Text => Ok(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()),
        _ => {
            let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let digits = digits.strip_prefix("0x").unwrap_or(&digits);
            let pairs = digits.as_bytes().chunks(2);
            let bytes: Option<Vec<u8>> = pairs
                .map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2))
                .map(|pair| u8::from_str_radix(pair?, 16).ok())
                .collect();
            bytes.filter(|bytes| !bytes.is_empty()).ok_or("the bytes in hexadecimal digits, such as 0x01000000".into())
        }
    }
}

/// The legal values of a property for a person.
pub(crate) fn members(shape: Shape, told: &PropertyDescription) -> Vec<String> {
    let one = |member: &Members| match member {
        Members::Range { minimum, maximum, step: 0 } => format!("{minimum} to {maximum}"),
        Members::Range { minimum, maximum, step } => format!("{minimum} to {maximum} by {step}"),
        Members::Value(bytes) => text(shape, bytes),
    };
    told.members.iter().map(one).collect()
}

/// Hexadecimal digits, with the number of bytes where they are cut off.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const MOST_SHOWN: usize = 64;
    let digits: String = bytes.iter().take(MOST_SHOWN).map(|byte| format!("{byte:02x}")).collect();
    match bytes.len() {
        0 => "no bytes".into(),
        all if all > MOST_SHOWN => format!("0x{digits}... ({all} bytes)"),
        _ => format!("0x{digits}"),
    }
}

/// `pin 0 -> node 0 pin 1`.
fn connection(one: &KsTopologyConnection) -> String {
    let end = |node: u32, pin: u32| match node {
        KSFILTER_NODE => format!("pin {pin}"),
        node => format!("node {node} pin {pin}"),
    };
    format!("{} -> {}", end(one.from_node, one.from_node_pin), end(one.to_node, one.to_node_pin))
}

/// A KSPIN_PHYSICALCONNECTION: its size, the pin, and the link of the filter that has it.
fn wire(bytes: &[u8]) -> Option<String> {
    let (pin, link) = (word(bytes.get(4..8)?)?, utf16(bytes.get(8..)?));
    (word(bytes.get(..4)?)? as usize == bytes.len()).then(|| format!("pin {pin} of {link}"))
}

fn word(bytes: &[u8]) -> Option<u32> {
    u32::read_from_bytes(bytes).ok()
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

fn items<T: zerocopy::FromBytes>(bytes: &[u8]) -> Option<Vec<T>> {
    let (_, rest) = KsMultipleItem::read_from_prefix(bytes).ok()?;
    rest.chunks(size_of::<T>()).map(|one| T::read_from_bytes(one).ok()).collect()
}

/// The ranges of a list, each at a multiple of eight.
fn ranges(bytes: &[u8]) -> Vec<&[u8]> {
    let mut ranges = Vec::new();
    let mut rest = bytes.get(size_of::<KsMultipleItem>()..).unwrap_or_default();
    while let Some(size) = rest.first_chunk().map(|size| u32::from_le_bytes(*size) as usize)
        && size >= 64
        && let Some(range) = rest.get(..size)
    {
        ranges.push(range);
        rest = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
    ranges
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_name_by_type_and_else_as_digits() {
        assert_eq!(shape(Some("KSPROPERTY_AUDIO_VOLUMELEVEL"), None), (Shape::Signed, "1/65536 dB"));
        let told = PropertyDescription { variant: Some(vt::BOOL), ..Default::default() };
        assert_eq!(shape(None, Some(&told)), (Shape::Bool, ""));
        assert_eq!(text(Shape::Signed, &(-1_i32).to_le_bytes()), "-1");
        assert_eq!(text(Shape::State, &3_u32.to_le_bytes()), KsState::RUN.to_string());
        assert_eq!(text(Shape::Unsigned, &[1, 2, 3]), "0x010203", "a value of another length");
        assert_eq!(text(Shape::Bytes, &[]), "no bytes");
        assert!(text(Shape::Bytes, &[7; 100]).ends_with("(100 bytes)"));
    }

    #[test]
    fn topologies_are_shown_as_ks_inspect_shows_them() {
        let mut list = [40_u32, 2, KSFILTER_NODE, 0, 0, 1, 0, 0, KSFILTER_NODE, 1].map(u32::to_le_bytes).concat();
        assert_eq!(text(Shape::Connections, &list), "pin 0 -> node 0 pin 1, node 0 pin 0 -> pin 1");
        list.pop();
        assert!(text(Shape::Connections, &list).starts_with("0x28"), "cut off");
        let wire = [&[14, 0, 0, 0, 2, 0, 0, 0][..], b"a\0b\0\0\0"].concat();
        assert_eq!(text(Shape::Wire, &wire), "pin 2 of ab");
        assert!(text(Shape::Wire, &wire[..13]).starts_with("0x0e"), "its size says otherwise");
    }

    #[test]
    fn what_is_shown_can_be_given() {
        for (shape, value) in [
            (Shape::Unsigned, "42"),
            (Shape::Signed, "-42"),
            (Shape::Wide, "-9000000000"),
            (Shape::Bool, "true"),
            (Shape::Guid, "{00000001-0000-0000-0000-000000000000}"),
            (Shape::Text, "a name"),
            (Shape::Bytes, "0x010203"),
        ] {
            assert_eq!(text(shape, &parse(shape, value).unwrap()), value);
        }
        assert_eq!(parse(Shape::State, "run").unwrap(), 3_u32.to_le_bytes());
        assert_eq!(parse(Shape::Unsigned, "0x10").unwrap(), 16_u32.to_le_bytes());
        for (shape, value) in [
            (Shape::Unsigned, "-1"),
            (Shape::Unsigned, "4294967296"),
            (Shape::Bool, "yes"),
            (Shape::State, "walk"),
            (Shape::Guid, "x"),
            (Shape::Bytes, "0x1"),
            (Shape::Bytes, "0xzz"),
            (Shape::Bytes, ""),
        ] {
            assert!(parse(shape, value).is_err(), "{value}");
        }
    }
}
