//! Automation tables: which properties, methods and events an object answers, and with which handlers.

use crate::event::{EventRequest, EventToken};
use crate::property::PropertyCall;
use crate::property_values::PropertyValues;
use ks_abi::{Guid, KsIdentifier, NtStatus};

/// A handler of one request on an object of type `T`.
///
/// STATUS_SOME_NOT_MAPPED of a property's handler says that it has done its part: the class driver's handler of the same
/// property, which it overrides, completes the request.
pub type Handler<T> = Box<dyn Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync>;

/// The sets that an object of type `T` answers. Of two tables for one object the driver's is searched first, item by
/// item, so a driver overrides what the class driver would answer.
#[doc(alias = "KSAUTOMATION_TABLE")]
pub struct AutomationTable<T> {
    /// Property sets.
    pub properties: Vec<PropertySet<T>>,
    /// Method sets.
    pub methods: Vec<MethodSet<T>>,
    /// Event sets.
    pub events: Vec<EventSet<T>>,
}

impl<T> Default for AutomationTable<T> {
    fn default() -> Self {
        AutomationTable { properties: Vec::new(), methods: Vec::new(), events: Vec::new() }
    }
}

impl<T> AutomationTable<T> {
    /// A table with property sets only.
    pub fn of_properties(properties: Vec<PropertySet<T>>) -> AutomationTable<T> {
        AutomationTable { properties, ..AutomationTable::default() }
    }
}

/// Does a property, method or event request name a topology node?
pub(crate) fn is_for_node(request: &[u8]) -> bool {
    let flags = request.get(20..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    flags & ks_abi::KSPROPERTY_TYPE_TOPOLOGY != 0
}

/// The node that a request names (`KSP_NODE.NodeId`, `KSM_NODE.NodeId`).
pub(crate) fn node_of(request: &[u8]) -> Option<u32> {
    let bytes = request.get(24..32)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// One method set.
#[doc(alias = "KSMETHOD_SET")]
pub struct MethodSet<T> {
    /// The set.
    pub set: Guid,
    /// Its items.
    pub items: Vec<MethodItem<T>>,
}

/// One method: its handler, the least sizes of request and data, and its type.
#[doc(alias = "KSMETHOD_ITEM")]
pub struct MethodItem<T> {
    /// Identifier in its set.
    pub id: u32,
    /// Runs it.
    pub handler: Handler<T>,
    /// Least bytes of the request structure; at least a `KSMETHOD`.
    pub min_method_bytes: usize,
    /// Least bytes of data.
    pub min_data_bytes: usize,
    /// `KSMETHOD_TYPE_*`: which way the data goes; the answer to BASICSUPPORT.
    pub kind: u32,
}

impl<T> MethodItem<T> {
    /// A method with a plain `KSMETHOD` as request and data of variable size.
    pub fn new(
        id: u32,
        kind: u32,
        handler: impl Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync + 'static,
    ) -> MethodItem<T> {
        let min_method_bytes = size_of::<KsIdentifier>();
        MethodItem { id, handler: Box::new(handler), min_method_bytes, min_data_bytes: 0, kind }
    }

    /// The request has at least this many bytes.
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.min_method_bytes = bytes.max(size_of::<KsIdentifier>());
        self
    }

    /// The data has at least this many bytes.
    pub fn data_bytes(mut self, bytes: usize) -> Self {
        self.min_data_bytes = bytes;
        self
    }
}

/// One event set.
#[doc(alias = "KSEVENT_SET")]
pub struct EventSet<T> {
    /// The set.
    pub set: Guid,
    /// Its items.
    pub items: Vec<EventItem<T>>,
}

/// Agrees to an event that is being enabled or asked for, or refuses it.
pub type AddEvent<T> = Box<dyn Fn(&T, &EventRequest<'_>) -> NtStatus + Send + Sync>;
/// Hears that an event is enabled no more.
pub type RemoveEvent<T> = Box<dyn Fn(&T, EventToken) + Send + Sync>;

/// One event that an object raises.
#[doc(alias = "KSEVENT_ITEM")]
pub struct EventItem<T> {
    /// Identifier in its set.
    pub id: u32,
    /// Least bytes of the event data; at least a `KSEVENTDATA`.
    pub min_data_bytes: usize,
    /// Asked when a client enables it; `None`: always agreed.
    #[doc(alias = "AddHandler")]
    pub add: Option<AddEvent<T>>,
    /// Told when it is disabled, by whatever way.
    #[doc(alias = "RemoveHandler")]
    pub remove: Option<RemoveEvent<T>>,
    /// Says whether the event is supported now, for KSEVENT_TYPE_BASICSUPPORT; `None`: it is. The request has no event
    /// data and its token is none.
    #[doc(alias = "SupportHandler")]
    pub support: Option<AddEvent<T>>,
}

impl<T> EventItem<T> {
    /// An event that any client may enable.
    pub fn new(id: u32) -> EventItem<T> {
        EventItem { id, min_data_bytes: size_of::<ks_abi::KsEventData>(), add: None, remove: None, support: None }
    }
}

/// One property set.
#[doc(alias = "KSPROPERTY_SET")]
pub struct PropertySet<T> {
    /// The set.
    pub set: Guid,
    /// Its items.
    pub items: Vec<PropertyItem<T>>,
}

/// One property: its handlers, the least sizes of request and data, and what it says of itself.
#[doc(alias = "KSPROPERTY_ITEM")]
pub struct PropertyItem<T> {
    /// Identifier in its set.
    pub id: u32,
    /// Answers a GET; `None`: not readable.
    pub get: Option<Handler<T>>,
    /// Takes a SET; `None`: not writable.
    pub set: Option<Handler<T>>,
    /// Least bytes of the request structure; at least a `KSPROPERTY`.
    pub min_property_bytes: usize,
    /// Least bytes of data; 0 for data of variable size.
    pub min_data_bytes: usize,
    /// Type and legal values, for BASICSUPPORT.
    pub values: Option<PropertyValues>,
    /// Related properties, for RELATIONS.
    pub relations: Vec<KsIdentifier>,
    /// Serializes and unserializes in a form of the driver's own; `None`: SERIALIZERAW and UNSERIALIZERAW fail.
    #[doc(alias = "SupportHandler")]
    pub support: Option<Handler<T>>,
    /// Bytes of the value in a serialized set: 0 keeps it out, [`SERIALIZED_BY_SIZE_QUERY`] asks the property.
    #[doc(alias = "SerializedSize")]
    pub serialized_bytes: u32,
}

/// A property's serialized size is not known and is asked of the property each time.
pub const SERIALIZED_BY_SIZE_QUERY: u32 = 1;

impl<T> PropertyItem<T> {
    /// An item with a plain `KSPROPERTY` as request and data of variable size, and no handler yet.
    pub fn new(id: u32) -> PropertyItem<T> {
        PropertyItem {
            id,
            get: None,
            set: None,
            min_property_bytes: size_of::<KsIdentifier>(),
            min_data_bytes: 0,
            values: None,
            relations: Vec::new(),
            support: None,
            serialized_bytes: 0,
        }
    }

    /// The request has at least this many bytes.
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.min_property_bytes = bytes.max(size_of::<KsIdentifier>());
        self
    }

    /// The data has at least this many bytes.
    pub fn data_bytes(mut self, bytes: usize) -> Self {
        self.min_data_bytes = bytes;
        self
    }

    /// How it is read.
    pub fn get(mut self, handler: impl Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync + 'static) -> Self {
        self.get = Some(Box::new(handler));
        self
    }

    /// How it is written.
    pub fn set(mut self, handler: impl Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync + 'static) -> Self {
        self.set = Some(Box::new(handler));
        self
    }

    /// What values it takes.
    pub fn values(mut self, values: PropertyValues) -> Self {
        self.values = Some(values);
        self
    }

    /// Which properties a change of this one may change.
    pub fn relations(mut self, relations: impl Into<Vec<KsIdentifier>>) -> Self {
        self.relations = relations.into();
        self
    }

    /// Makes it a part of its set's serialized form, with so many bytes.
    pub fn serialized_bytes(mut self, bytes: u32) -> Self {
        self.serialized_bytes = bytes;
        self
    }

    /// How it is serialized and unserialized in a form of its own: told apart by the flags of the request.
    pub fn support(mut self, handler: impl Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync + 'static) -> Self {
        self.support = Some(Box::new(handler));
        self
    }
}

impl<T> std::fmt::Debug for AutomationTable<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sets: Vec<_> = self.properties.iter().map(|set| (set.set, set.items.len())).collect();
        f.debug_struct("AutomationTable").field("properties", &sets).finish_non_exhaustive()
    }
}
