//! The audio host: what it reads of every device.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::client::*;
use ks_abi::*;
use ks_io::{Handle, InterfaceInfo, Transport};
use zerocopy::{FromBytes, IntoBytes};

/// What the audio host keeps of a streaming pin, one for each place that its sound comes from or goes to.
#[derive(Debug, PartialEq)]
pub(crate) struct AudioPin {
    pub(crate) id: u32,
    pub(crate) flow: KsPinDataFlow,
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    pub(crate) bits: u16,
    pub(crate) endpoint: String,
    pub(crate) category: Guid,
    /// The input of a multiplexer that it comes by.
    pub(crate) mux: Option<MuxInput>,
}

/// An input of a multiplexer of a topology filter.
#[derive(Debug, PartialEq)]
pub(crate) struct MuxInput {
    /// The filter's symbolic link.
    pub(crate) filter: String,
    pub(crate) node: u32,
    pub(crate) pin: u32,
}

/// Which path the host takes with a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Path {
    /// Stream requests.
    Cyclic,
    /// A cyclic buffer, of devices in KSCATEGORY_REALTIME.
    Looped,
}

impl AudioPin {
    /// The 104 bytes of the extensible format that the host opens the pin with.
    pub(crate) fn format(&self) -> Vec<u8> {
        let block = self.channels * (self.bits / 8);
        let head = KsDataFormat {
            format_size: 104,
            sample_size: u32::from(block),
            ..KsDataFormat::new(
                KSDATAFORMAT_TYPE_AUDIO,
                KSDATAFORMAT_SUBTYPE_PCM,
                KSDATAFORMAT_SPECIFIER_WAVEFORMATEX,
                0,
            )
        };
        let mut format = head.as_bytes().to_vec();
        format.extend(0xFFFE_u16.to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.rate.to_le_bytes());
        format.extend((self.rate * u32::from(block)).to_le_bytes());
        format.extend(block.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        format.extend(22_u16.to_le_bytes());
        format.extend(self.bits.to_le_bytes());
        format.extend(((1_u32 << self.channels) - 1).to_le_bytes());
        format.extend(KSDATAFORMAT_SUBTYPE_PCM.as_bytes());
        assert_eq!(format.len(), 104);
        format[..4].copy_from_slice(&104_u32.to_le_bytes());
        format
    }
}

/// A zero-terminated UTF-16 text.
fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units[..units.iter().position(|unit| *unit == 0).unwrap()]).unwrap()
}

/// The host's favourite rates, best first.
const RATES: [u32; 13] = [44100, 48000, 88200, 96000, 192_000, 32000, 24000, 22050, 16000, 12000, 11025, 9600, 8000];

/// The audio ranges of a list, as the host steps through it: by FormatSize, without alignment.
pub(crate) fn audio_ranges(list: &[u8]) -> Vec<KsDataRangeAudio> {
    let (size, count) = (word(list, 0) as usize, word(list, 4));
    assert_eq!(size, list.len());
    let mut at = 8;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (head, _) = KsDataFormat::read_from_prefix(&list[at..]).unwrap();
        if head.major_format == KSDATAFORMAT_TYPE_AUDIO && head.specifier == KSDATAFORMAT_SPECIFIER_WAVEFORMATEX {
            assert_eq!(head.format_size, 88, "an audio range keeps the next one aligned");
            ranges.push(KsDataRangeAudio::read_from_prefix(&list[at..]).unwrap().0);
        }
        at += head.format_size as usize;
    }
    ranges
}

impl Client {
    /// Follows the connections from one pin of the filter to the pin at the other end; forwards or backwards.
    fn connected_pin(&self, connections: &[KsTopologyConnection], start: u32, forwards: bool) -> Option<u32> {
        let mut node = None;
        for _ in 0..=connections.len() {
            let next = connections.iter().find(|one| {
                let (from, from_pin) =
                    if forwards { (one.from_node, one.from_node_pin) } else { (one.to_node, one.to_node_pin) };
                match node {
                    None => from == KSFILTER_NODE && from_pin == start,
                    Some(node) => from == node,
                }
            })?;
            let (to, to_pin) =
                if forwards { (next.to_node, next.to_node_pin) } else { (next.from_node, next.from_node_pin) };
            if to == KSFILTER_NODE {
                return Some(to_pin);
            }
            node = Some(to);
        }
        None
    }

    /// The connections and the nodes of a filter; both lists may be empty.
    fn topology(&self, filter: Handle) -> (Vec<KsTopologyConnection>, Vec<Guid>) {
        let list = self.sized(filter, &property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_CONNECTIONS)).unwrap();
        let connections: Vec<KsTopologyConnection> =
            list[8..].chunks_exact(16).map(|one| KsTopologyConnection::read_from_bytes(one).unwrap()).collect();
        assert_eq!(connections.len(), word(&list, 4) as usize);
        let nodes = self.sized(filter, &property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_NODES)).unwrap();
        assert_eq!(nodes.len(), 8 + 16 * word(&nodes, 4) as usize);
        (connections, nodes[8..].chunks_exact(16).map(|one| Guid::read_from_bytes(one).unwrap()).collect())
    }

    /// All that the host reads of a filter. The pins that it can use come back.
    pub(crate) fn audio_filter(&self, filter: Handle, path: Path) -> Vec<AudioPin> {
        let count: u32 = self.fixed(filter, &property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES)).unwrap();
        let (connections, _) = self.topology(filter);
        let _optional = self.fixed::<KsComponentId>(filter, &property(KSPROPSETID_General, 0));
        (0..count).flat_map(|id| self.audio_pin(filter, id, &connections, path).unwrap_or_default()).collect()
    }

    /// Name and category of a pin at the end of a topology.
    fn endpoint(&self, filter: Handle, pin: u32) -> (String, Guid) {
        let category = self.fixed(filter, &of_pin(KSPROPERTY_PIN_CATEGORY, pin)).unwrap();
        let (outcome, name) = self.ask(filter, &of_pin(KSPROPERTY_PIN_NAME, pin), 260);
        assert!(outcome.status.is_success());
        (text(&name), category)
    }

    /// Where the sound behind a bridge pin comes from or goes to: one place an input of a multiplexer.
    fn endpoints(&self, filter: Handle, bridge: u32, forwards: bool) -> Vec<(String, Guid, Option<MuxInput>)> {
        let Ok(physical) = self.sized(filter, &of_pin(KSPROPERTY_PIN_PHYSICALCONNECTION, bridge)) else {
            // No wire to another filter: the name of the bridge pin, in a buffer of 260 bytes, then its category.
            let (name, category) = self.endpoint(filter, bridge);
            return vec![(name, category, None)];
        };
        assert_eq!(word(&physical, 0) as usize, physical.len());
        // A name as the kernel has it; programs write it otherwise.
        let (pin, link) = (word(&physical, 4), text(&physical[8..]).replacen(r"\??\", r"\\?\", 1));
        let topology = self.session.open(&link, READ_WRITE).unwrap();
        let (connections, nodes) = self.topology(topology);
        let near = |one: &KsTopologyConnection| {
            if forwards { (one.from_node, one.from_node_pin) } else { (one.to_node, one.to_node_pin) }
        };
        let far = |one: &KsTopologyConnection| {
            if forwards { (one.to_node, one.to_node_pin) } else { (one.from_node, one.from_node_pin) }
        };
        let mut found = Vec::new();
        let first = connections.iter().find(|one| near(one) == (KSFILTER_NODE, pin)).unwrap();
        let (node, _) = far(first);
        if nodes[node as usize] != KSNODETYPE_MUX {
            // The one kind of node that the host makes devices of; through others it goes on to the end.
            let end = self.connected_pin(&connections, pin, forwards).unwrap();
            let (name, category) = self.endpoint(topology, end);
            assert!(self.session.close(topology).status.is_success());
            return vec![(name, category, None)];
        }
        for input in connections.iter().filter(|one| near(one).0 == node && far(one).0 == KSFILTER_NODE) {
            let (name, category) = self.endpoint(topology, far(input).1);
            found.push((name, category, Some(MuxInput { filter: link.clone(), node, pin: near(input).1 })));
        }
        assert!(self.session.close(topology).status.is_success());
        found
    }

    fn audio_pin(
        &self,
        filter: Handle,
        id: u32,
        connections: &[KsTopologyConnection],
        path: Path,
    ) -> Option<Vec<AudioPin>> {
        let communication: KsPinCommunication = self.fixed(filter, &of_pin(KSPROPERTY_PIN_COMMUNICATION, id)).unwrap();
        if communication != KsPinCommunication::SINK && communication != KsPinCommunication::BOTH {
            return None;
        }
        let flow: KsPinDataFlow = self.fixed(filter, &of_pin(KSPROPERTY_PIN_DATAFLOW, id)).unwrap();
        let identities = |item| {
            let list = self.sized(filter, &of_pin(item, id)).unwrap();
            list[8..].chunks_exact(24).map(|one| KsIdentifier::read_from_bytes(one).unwrap()).collect::<Vec<_>>()
        };
        let interfaces = identities(KSPROPERTY_PIN_INTERFACES);
        let has = |id| interfaces.iter().any(|one| one.set == KSINTERFACESETID_Standard && one.id == id);
        match path {
            Path::Cyclic => assert!(has(KSINTERFACE_STANDARD_STREAMING)),
            Path::Looped => assert!(has(KSINTERFACE_STANDARD_LOOPED_STREAMING)),
        }
        let mediums = identities(KSPROPERTY_PIN_MEDIUMS);
        assert!(mediums.iter().any(|one| one.set == KSMEDIUMSETID_Standard && one.id == 0));
        let ranges = audio_ranges(&self.sized(filter, &of_pin(KSPROPERTY_PIN_DATARANGES, id)).unwrap());
        let best = ranges.first()?;
        let instances: KsPinCInstances = self.fixed(filter, &of_pin(KSPROPERTY_PIN_CINSTANCES, id)).unwrap();
        assert!(instances.current_count < instances.possible_count);
        let rate = *RATES.iter().find(|rate| {
            ranges.iter().any(|one| (one.minimum_sample_frequency..=one.maximum_sample_frequency).contains(rate))
        })?;
        let bridge = self.connected_pin(connections, id, flow == KsPinDataFlow::IN)?;
        let channels = best.maximum_channels.min(2) as u16;
        let bits = if best.minimum_bits_per_sample <= 16 { 16 } else { best.minimum_bits_per_sample as u16 };
        let pins = self.endpoints(filter, bridge, flow == KsPinDataFlow::IN).into_iter();
        let make = |(endpoint, category, mux)| AudioPin { id, flow, rate, channels, bits, endpoint, category, mux };
        Some(pins.map(make).collect())
    }

    /// What the host finds: streaming pins of interfaces of KSCATEGORY_AUDIO that capture or render.
    pub(crate) fn audio_devices(&self, path: Path) -> Vec<(InterfaceInfo, AudioPin)> {
        let mut devices = Vec::new();
        for interface in self.session.interfaces(Some(KSCATEGORY_AUDIO)) {
            let (renders, captures) =
                (self.alias(&interface, KSCATEGORY_RENDER), self.alias(&interface, KSCATEGORY_CAPTURE));
            if !renders && !captures {
                continue;
            }
            if self.alias(&interface, KSCATEGORY_REALTIME) != (path == Path::Looped) {
                continue;
            }
            assert!(!interface.friendly_name.is_empty());
            let filter = self.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
            devices.extend(self.audio_filter(filter, path).into_iter().map(|pin| (interface.clone(), pin)));
            assert!(self.session.close(filter).status.is_success());
        }
        devices
    }
}
