//! What looped audio devices have in common: a stream that goes by the clock, whatever its client does, and the ways in
//! which devices differ that clients must cope with.

pub(crate) mod cursor;
pub(crate) mod engine;
mod packets;

use ks_abi::{KSPROPSETID_Pin, KsIdentifier, KsPinCommunication, KsPinDataFlow, STATUS_NO_MATCH};
use ks_io::{Aspect, Refusal};
use ks_stream::{DataFormat, PinDescriptor, PinId};

use crate::audio_format;
use crate::media::audio::{AudioFormat, SampleKind};
use crate::settings::{Setting, Write, boolean, choice};

/// How a device answers what not every device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// It notifies its client.
    pub(crate) notifications: bool,
    pub(crate) sizes: Sizes,
    /// Its registers can be mapped.
    pub(crate) registers: bool,
}

/// What becomes of a buffer size that does not suit the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// It is rounded up to whole blocks.
    Rounded,
    /// It is refused, if it is no multiple of 128 and of a block.
    Strict,
}

const SIZES: &[(&str, Sizes)] = &[("rounded", Sizes::Rounded), ("strict", Sizes::Strict)];

impl Default for Quirks {
    fn default() -> Self {
        Quirks { notifications: true, sizes: Sizes::Rounded, registers: true }
    }
}

/// Values that have quirks among them.
pub(crate) trait HasQuirks {
    fn quirks(&mut self) -> &mut Quirks;
    fn quirks_now(&self) -> Quirks;
}

/// The setting `notifications`.
pub(crate) const fn notifications<V: HasQuirks>() -> Setting<V> {
    Setting {
        name: "notifications",
        kind: "true|false",
        default: "true",
        help: "the device sets events once or twice a cycle",
        read: |values| values.quirks_now().notifications.to_string(),
        write: Write::Value(|values, text| boolean(text).map(|on| values.quirks().notifications = on)),
    }
}

/// The setting `sizes`.
pub(crate) const fn sizes<V: HasQuirks>() -> Setting<V> {
    Setting {
        name: "sizes",
        kind: "rounded|strict",
        default: "rounded",
        help: "a buffer of an odd size is rounded up, or refused if no multiple of 128 bytes and of a block",
        read: |values| {
            let name = SIZES.iter().find(|(_, sizes)| *sizes == values.quirks_now().sizes);
            name.map_or_else(String::new, |(name, _)| (*name).to_owned())
        },
        write: Write::Value(|values, text| choice(text, SIZES).map(|sizes| values.quirks().sizes = sizes)),
    }
}

/// The setting `registers`.
pub(crate) const fn registers<V: HasQuirks>() -> Setting<V> {
    Setting {
        name: "registers",
        kind: "true|false",
        default: "true",
        help: "the registers of position and clock can be mapped",
        read: |values| values.quirks_now().registers.to_string(),
        write: Write::Value(|values, text| boolean(text).map(|on| values.quirks().registers = on)),
    }
}

/// The streaming pin of a looped device.
pub(crate) fn pin(flow: KsPinDataFlow, name: &'static str) -> PinDescriptor {
    let ranges = vec![
        audio_format::kind_range(SampleKind::Int, 8, &(8..=32), &(8_000..=192_000)),
        audio_format::kind_range(SampleKind::Float, 8, &(32..=32), &(8_000..=192_000)),
    ];
    PinDescriptor {
        interfaces: vec![KsIdentifier::STANDARD_LOOPED_STREAMING],
        communication: KsPinCommunication::SINK,
        name: Some(name),
        ..PinDescriptor::new(flow, ranges)
    }
}

/// The format of a pin of the filter `owner`, if the device has it.
pub(crate) fn accept(owner: &str, format: &DataFormat) -> Result<AudioFormat, Refusal> {
    let no_match = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"));
    let audio = audio_format::parse(format).map_err(no_match)?;
    if audio.channels() > 8 || !(8_000..=192_000).contains(&audio.sample_rate()) {
        return Err(no_match("it has up to 8 channels at 8000 to 192000 samples a second".into()));
    }
    Ok(audio)
}

/// The symbolic link of another filter of the same device, as a KSPIN_PHYSICALCONNECTION.
pub(crate) fn physical_connection(filter: &ks_stream::Filter, reference: &str, pin: PinId) -> Option<Vec<u8>> {
    let of_device =
        |one: &ks_io::InterfaceInfo| one.device == filter.device().device_name() && one.reference == reference;
    let link = filter.io().interfaces(Some(ks_abi::KSCATEGORY_TOPOLOGY)).into_iter().find(of_device)?.symbolic_link;
    let name: Vec<u8> = link.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let size = u32::try_from(8 + name.len()).ok()?;
    Some([size.to_le_bytes().as_slice(), &pin.to_le_bytes(), &name].concat())
}

/// The set that physical connections are asked by.
pub(crate) const PHYSICAL_SET: ks_abi::Guid = KSPROPSETID_Pin;
