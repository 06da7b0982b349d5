//! A filter as its client sees it: pin factories, topology, settings, and the creation of pins.

use crate::error::ClientError;
use crate::format::{Format, Range, parse_ranges, range_list};
use crate::object::Object;
use crate::pin::Pin;
use ks_abi::{
    Guid, KSPROPERTY_PIN_CATEGORY, KSPROPERTY_PIN_CINSTANCES, KSPROPERTY_PIN_COMMUNICATION, KSPROPERTY_PIN_CTYPES,
    KSPROPERTY_PIN_DATAFLOW, KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_DATARANGES, KSPROPERTY_PIN_INTERFACES,
    KSPROPERTY_PIN_MEDIUMS, KSPROPERTY_PIN_NAME, KSPROPERTY_TOPOLOGY_CATEGORIES, KSPROPERTY_TOPOLOGY_CONNECTIONS,
    KSPROPERTY_TOPOLOGY_NODES, KSPROPERTY_TYPE_GET, KSPROPSETID_Pin, KSPROPSETID_Topology, KSSTRING_PIN,
    KsPinCInstances, KsPinCommunication, KsPinConnect, KsPinDataFlow, KsPinInterface, KsPinMedium, KsPriority,
    KsProperty, KsTopologyConnection, KspPin, STATUS_INVALID_PARAMETER, STATUS_PROPSET_NOT_FOUND,
    USERKS_PROPSET_SETTINGS, USERKS_SETTINGS_LIST,
};
use ks_io::{AccessMask, Aspect, Handle, Transport};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// An open filter.
#[derive(Debug)]
pub struct Filter {
    object: Object,
}

/// What a pin factory says of itself.
#[derive(Debug, Clone)]
pub struct PinFactory {
    /// Number of the factory.
    pub id: u32,
    /// Direction of the data.
    pub data_flow: KsPinDataFlow,
    /// Who issues the IRPs.
    pub communication: KsPinCommunication,
    /// Interfaces in order of preference.
    pub interfaces: Vec<KsPinInterface>,
    /// Mediums in order of preference.
    pub mediums: Vec<KsPinMedium>,
    /// Data ranges in order of preference.
    pub data_ranges: Vec<Range>,
    /// Category.
    pub category: Option<Guid>,
    /// Name.
    pub name: Option<String>,
    /// Possible and current instances.
    pub instances: KsPinCInstances,
}

/// One setting of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingInfo {
    /// Name.
    pub name: String,
    /// What values it takes.
    pub kind: String,
    /// Value of a fresh filter.
    pub default: String,
    /// What it does.
    pub help: String,
    /// Value now.
    pub value: String,
}

/// What a filter is made of.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Functional categories.
    pub categories: Vec<Guid>,
    /// Types of the nodes.
    pub nodes: Vec<Guid>,
    /// Connections of nodes and pins.
    pub connections: Vec<KsTopologyConnection>,
}

/// What a pin is to be created with.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// The pin factory.
    pub pin_id: u32,
    /// Interface.
    pub interface: KsPinInterface,
    /// Medium.
    pub medium: KsPinMedium,
    /// The pin that the new one connects to as IRP source; `None`: the client is the other end.
    pub pin_to: Option<&'a Pin>,
    /// Data format.
    pub format: &'a Format,
}

impl Connect<'_> {
    /// A KSPIN_CONNECT with the format right behind it.
    pub fn parameters(&self) -> Vec<u8> {
        let head = KsPinConnect {
            interface: self.interface,
            medium: self.medium,
            pin_id: self.pin_id,
            pin_to_handle: self.pin_to.map_or(0, |pin| pin.object().handle().0),
            priority: KsPriority::NORMAL,
            ..Default::default()
        };
        [head.as_bytes(), self.format.bytes()].concat()
    }
}

/// The access that a pin needs for its data, whoever sends the requests.
pub(crate) fn access_of(data_flow: KsPinDataFlow) -> AccessMask {
    match data_flow {
        KsPinDataFlow::IN => AccessMask::GENERIC_WRITE,
        _ => AccessMask::GENERIC_READ,
    }
}

impl Filter {
    pub(crate) fn new(transport: Arc<dyn Transport>, handle: Handle, name: String) -> Filter {
        Filter { object: Object::new(transport, handle, name) }
    }

    /// Gives it another name for messages, which the pins that it makes from now on have too.
    pub(crate) fn rename(&mut self, name: String) {
        self.object.rename(name);
    }

    /// The handle and the raw requests.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Name for messages: the reference string.
    pub fn name(&self) -> &str {
        self.object.name()
    }

    /// Number of pin factories.
    pub fn pin_count(&self) -> Result<u32, ClientError> {
        self.object.property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES)
    }

    /// Everything that a pin factory says of itself.
    pub fn pin(&self, id: u32) -> Result<PinFactory, ClientError> {
        let object = &self.object;
        let request = |item| request(id, item);
        let set = KSPROPSETID_Pin;
        let name = object.property_bytes(request(KSPROPERTY_PIN_NAME).as_bytes(), set, KSPROPERTY_PIN_NAME).ok();
        Ok(PinFactory {
            id,
            data_flow: object.property_at(request(KSPROPERTY_PIN_DATAFLOW).as_bytes(), set, KSPROPERTY_PIN_DATAFLOW)?,
            communication: object.property_at(
                request(KSPROPERTY_PIN_COMMUNICATION).as_bytes(),
                set,
                KSPROPERTY_PIN_COMMUNICATION,
            )?,
            interfaces: object.property_list(
                request(KSPROPERTY_PIN_INTERFACES).as_bytes(),
                set,
                KSPROPERTY_PIN_INTERFACES,
            )?,
            mediums: object.property_list(request(KSPROPERTY_PIN_MEDIUMS).as_bytes(), set, KSPROPERTY_PIN_MEDIUMS)?,
            data_ranges: self.data_ranges(id)?,
            category: object
                .property_at(request(KSPROPERTY_PIN_CATEGORY).as_bytes(), set, KSPROPERTY_PIN_CATEGORY)
                .ok(),
            name: name.map(|bytes| utf16(&bytes)),
            instances: object.property_at(
                request(KSPROPERTY_PIN_CINSTANCES).as_bytes(),
                set,
                KSPROPERTY_PIN_CINSTANCES,
            )?,
        })
    }

    /// All pin factories.
    pub fn pins(&self) -> Result<Vec<PinFactory>, ClientError> {
        (0..self.pin_count()?).map(|id| self.pin(id)).collect()
    }

    /// The data ranges of a pin factory, now.
    pub fn data_ranges(&self, id: u32) -> Result<Vec<Range>, ClientError> {
        let request = request(id, KSPROPERTY_PIN_DATARANGES);
        let bytes = self.object.property_bytes(request.as_bytes(), KSPROPSETID_Pin, KSPROPERTY_PIN_DATARANGES)?;
        Ok(parse_ranges(&bytes))
    }

    /// The format that the pin factory makes of the first of `ranges` it shares.
    pub fn intersect(&self, id: u32, ranges: &[Range]) -> Result<Format, ClientError> {
        let mut request = request(id, KSPROPERTY_PIN_DATAINTERSECTION).as_bytes().to_vec();
        request.extend_from_slice(&range_list(ranges));
        let bytes = self.object.property_bytes(&request, KSPROPSETID_Pin, KSPROPERTY_PIN_DATAINTERSECTION)?;
        Format::from_bytes(&bytes).ok_or_else(|| {
            let reason = "the filter answered a data intersection with no whole format".to_string();
            ClientError::own("intersect", self.name(), STATUS_INVALID_PARAMETER, Aspect::FormatBlock, reason)
        })
    }

    /// Categories, nodes and connections.
    pub fn topology(&self) -> Result<Topology, ClientError> {
        let list = |id| KsProperty::new(KSPROPSETID_Topology, id, KSPROPERTY_TYPE_GET);
        let object = &self.object;
        Ok(Topology {
            categories: object.property_list(
                list(KSPROPERTY_TOPOLOGY_CATEGORIES).as_bytes(),
                KSPROPSETID_Topology,
                KSPROPERTY_TOPOLOGY_CATEGORIES,
            )?,
            nodes: object.property_list(
                list(KSPROPERTY_TOPOLOGY_NODES).as_bytes(),
                KSPROPSETID_Topology,
                KSPROPERTY_TOPOLOGY_NODES,
            )?,
            connections: object.property_list(
                list(KSPROPERTY_TOPOLOGY_CONNECTIONS).as_bytes(),
                KSPROPSETID_Topology,
                KSPROPERTY_TOPOLOGY_CONNECTIONS,
            )?,
        })
    }

    /// The settings of the filter with their values; none if it has no settings.
    pub fn settings(&self) -> Result<Vec<SettingInfo>, ClientError> {
        let set = USERKS_PROPSET_SETTINGS;
        let get = |id| KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        let list = match self.object.property_bytes(get(USERKS_SETTINGS_LIST).as_bytes(), set, USERKS_SETTINGS_LIST) {
            Ok(list) => String::from_utf8_lossy(&list).into_owned(),
            Err(error) if error.status == STATUS_PROPSET_NOT_FOUND => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut settings = Vec::new();
        for (index, line) in list.lines().enumerate() {
            let id = index as u32 + 1;
            let mut words = line.split('\t').map(str::to_string);
            let mut next = || words.next().unwrap_or_default();
            let (name, kind, default, help) = (next(), next(), next(), next());
            let value = self.object.property_bytes(get(id).as_bytes(), set, id)?;
            let value = String::from_utf8_lossy(&value).into_owned();
            settings.push(SettingInfo { name, kind, default, help, value });
        }
        Ok(settings)
    }

    /// Gives a setting a value, in text.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), ClientError> {
        let settings = self.settings()?;
        let Some(index) = settings.iter().position(|setting| setting.name == name) else {
            let known: Vec<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            let reason = format!("{} has no setting {name}; it has: {known}", self.name());
            let doing = format!("set {name}");
            return Err(ClientError::own(&doing, self.name(), STATUS_INVALID_PARAMETER, Aspect::Setting, reason));
        };
        let outcome = self.object.set_property(USERKS_PROPSET_SETTINGS, index as u32 + 1, value.as_bytes());
        outcome.map_err(|error| ClientError { doing: format!("set {name}={value}"), ..error })
    }

    /// Creates a pin whose other end is this client, with the first interface, medium and format that its factory offers.
    pub fn create_client_pin(&self, id: u32) -> Result<Pin, ClientError> {
        let factory = self.pin(id)?;
        let format = self.intersect(id, &factory.data_ranges)?;
        let (Some(&interface), Some(&medium)) = (factory.interfaces.first(), factory.mediums.first()) else {
            let doing = format!("create pin {id}");
            let reason = format!("{}.{id} has no interface or no medium", self.name());
            return Err(ClientError::own(&doing, self.name(), STATUS_INVALID_PARAMETER, Aspect::Interface, reason));
        };
        let connect = Connect { pin_id: id, interface, medium, pin_to: None, format: &format };
        self.create_pin(connect, factory.data_flow)
    }

    /// Creates a pin: the class string and the parameters, relative to the filter.
    ///
    /// The access asked for is the one that the direction of the data needs; both directions of IRPs ask the same.
    /// See [`crate::create`] for the functions.
    pub fn create_pin(&self, connect: Connect<'_>, data_flow: KsPinDataFlow) -> Result<Pin, ClientError> {
        let (access, parameters) = (access_of(data_flow), connect.parameters());
        let transport = self.object.transport();
        let class = KSSTRING_PIN;
        let name = format!("{}.{}", self.name(), connect.pin_id);
        match transport.create(self.object.handle(), class, &parameters, access) {
            Ok(handle) => Ok(Pin::new(Object::new(transport.clone(), handle, name), data_flow)),
            Err(outcome) => {
                Err(ClientError::new(format!("create pin {}", connect.pin_id), self.name().to_string(), outcome))
            }
        }
    }

    /// Opens a topology node of the filter, with the access that its requests need.
    pub fn create_node(&self, node: u32, access: AccessMask) -> Result<Object, ClientError> {
        self.object.create_node(node, access)
    }
}

fn request(pin_id: u32, item: u32) -> KspPin {
    KspPin { property: KsProperty::new(KSPROPSETID_Pin, item, KSPROPERTY_TYPE_GET), pin_id, flags: 0 }
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_string()
}
