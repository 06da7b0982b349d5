//! Automation tables: which properties an object answers, and with which handlers.

use crate::property::PropertyCall;
use ks_abi::{Guid, KsIdentifier, NtStatus};

/// A handler of one request on an object of type `T`.
pub type Handler<T> = Box<dyn Fn(&T, &mut PropertyCall<'_>) -> NtStatus + Send + Sync>;

/// The sets that an object of type `T` answers. Of two tables for one object the driver's is searched first, item by
/// item, so a driver overrides what the class driver would answer.
#[doc(alias = "KSAUTOMATION_TABLE")]
pub struct AutomationTable<T> {
    /// Property sets.
    pub properties: Vec<PropertySet<T>>,
}

impl<T> Default for AutomationTable<T> {
    fn default() -> Self {
        AutomationTable { properties: Vec::new() }
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
}

/// Type and legal values of a property.
#[doc(alias = "KSPROPERTY_VALUES")]
#[derive(Debug, Clone)]
pub struct PropertyValues {
    /// Type: `KSPROPTYPESETID_General` and a VT_ number.
    pub value_type: KsIdentifier,
    /// Lists of legal values.
    pub members: Vec<PropertyMembers>,
}

/// One list of legal values.
#[doc(alias = "KSPROPERTY_MEMBERSLIST")]
#[derive(Debug, Clone)]
pub struct PropertyMembers {
    /// `KSPROPERTY_MEMBER_*`
    pub kind: u32,
    /// `KSPROPERTY_MEMBER_FLAG_*`
    pub flags: u32,
    /// Bytes of one member.
    pub member_bytes: u32,
    /// The members, one after the other.
    pub members: Vec<u8>,
}

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
}

impl<T> std::fmt::Debug for AutomationTable<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sets: Vec<_> = self.properties.iter().map(|set| (set.set, set.items.len())).collect();
        f.debug_struct("AutomationTable").field("properties", &sets).finish()
    }
}
