//! What looped audio devices have in common: a stream that goes by the clock, whatever its client does, and the ways in
//! which devices differ that clients must cope with.

pub(crate) mod cursor;
pub(crate) mod engine;
mod packets;

use std::sync::Arc;

use ks_abi::{
    KSPROPERTY_PIN_PHYSICALCONNECTION, KSPROPSETID_Pin, KsIdentifier, KsPinCommunication, KsPinDataFlow, KspPin,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_NOT_FOUND,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, Filter, FilterInstance, Pin, PinDescriptor, PinId, PinInstance, PropertyCall,
    PropertyItem, PropertySet,
};

use crate::audio_format;
use crate::media::audio::{AudioFormat, SampleKind};
use crate::settings::{Setting, Write, boolean, choice};

/// The most channels of a stream.
pub(crate) const MOST_CHANNELS: u16 = 8;

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
        audio_format::kind_range(SampleKind::Int, MOST_CHANNELS, &(8..=32), &(8_000..=192_000)),
        audio_format::kind_range(SampleKind::Float, MOST_CHANNELS, &(32..=32), &(8_000..=192_000)),
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
    if audio.channels() > MOST_CHANNELS || !(8_000..=192_000).contains(&audio.sample_rate()) {
        let reason = format!("it has up to {MOST_CHANNELS} channels at 8000 to 192000 samples a second");
        return Err(no_match(reason));
    }
    Ok(audio)
}

/// KSPROPERTY_PIN_PHYSICALCONNECTION of a device whose bridge pin, pin 1, is wired to pin 0 of its topology filter.
pub(crate) fn wire(topology: &'static str) -> PropertySet<Filter> {
    let item = PropertyItem::standard(KSPROPSETID_Pin, KSPROPERTY_PIN_PHYSICALCONNECTION)
        .expect("invariant: a standard property")
        .get(move |filter: &Filter, call: &mut PropertyCall<'_>| {
            let pin = match call.request_as::<KspPin>() {
                Ok(request) => request.pin_id,
                Err(status) => return status,
            };
            match pin {
                0 => STATUS_NOT_FOUND,
                1 => match physical_connection(filter, topology, 0) {
                    Some(connection) => call.answer(&connection),
                    None => STATUS_NOT_FOUND,
                },
                _ => STATUS_INVALID_PARAMETER,
            }
        });
    PropertySet { set: KSPROPSETID_Pin, items: vec![item] }
}

/// The symbolic link of another filter of the same device, as a KSPIN_PHYSICALCONNECTION.
fn physical_connection(filter: &Filter, reference: &str, pin: PinId) -> Option<Vec<u8>> {
    let of_device =
        |one: &ks_io::InterfaceInfo| one.device == filter.device().device_name() && one.reference == reference;
    let link = filter.io().interfaces(Some(ks_abi::KSCATEGORY_TOPOLOGY)).into_iter().find(of_device)?.symbolic_link;
    let name: Vec<u8> = link.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let size = u32::try_from(8 + name.len()).ok()?;
    Some([size.to_le_bytes().as_slice(), &pin.to_le_bytes(), &name].concat())
}

/// The topology filter of a device: wires and one node. Nothing streams here.
pub(crate) struct Topology {
    pub(crate) node: AutomationTable<Filter>,
}

impl FilterInstance for Topology {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        // No pin gets here: all of them are bridges.
        let reason = format!("{} is a wire", pin.describe());
        Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::PinId, reason))
    }

    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        (node == 0).then_some(&self.node)
    }
}
