//! Requests to property, method and event sets: the identifier every request starts with, and what a property can tell
//! about itself.

use crate::define::{abi_consts, abi_struct};
use crate::guid::Guid;
use crate::pointer::Ptr64;

abi_struct! {
    /// A set, an item of it, and flags: the start of every property, method and event request, and the identity of
    /// interfaces, mediums and degradation strategies.
    pub struct KsIdentifier = "KSIDENTIFIER", "ns-ks-ksidentifier" [align(8)] {
        /// The set.
        set: Guid = "Set",
        /// The item within the set.
        id: u32 = "Id",
        /// What is asked, or zero for identities.
        flags: u32 = "Flags",
    }
}

impl KsIdentifier {
    /// An identifier of its three parts.
    #[must_use]
    pub const fn new(set: Guid, id: u32, flags: u32) -> Self {
        Self { set, id, flags }
    }
}

/// A property request.
#[doc(alias = "KSPROPERTY")]
pub type KsProperty = KsIdentifier;
/// A method request.
#[doc(alias = "KSMETHOD")]
pub type KsMethod = KsIdentifier;
/// An event request.
#[doc(alias = "KSEVENT")]
pub type KsEvent = KsIdentifier;
/// A degradation strategy; `flags` says how much of it.
#[doc(alias = "KSDEGRADE")]
pub type KsDegrade = KsIdentifier;

abi_consts! {
    "Flag of a property request"
    pub(crate) PROPERTY_TYPES: u32 {
        /// Reads the value.
        KSPROPERTY_TYPE_GET = 0x1,
        /// Writes the value.
        KSPROPERTY_TYPE_SET = 0x2,
        /// Asks for the size of the payload.
        KSPROPERTY_TYPE_GETPAYLOADSIZE = 0x4,
        /// Asks whether the set is supported; with a null set, for all supported sets.
        KSPROPERTY_TYPE_SETSUPPORT = 0x100,
        /// Asks for access flags and description.
        KSPROPERTY_TYPE_BASICSUPPORT = 0x200,
        /// Asks for related properties.
        KSPROPERTY_TYPE_RELATIONS = 0x400,
        /// Serializes a set.
        KSPROPERTY_TYPE_SERIALIZESET = 0x800,
        /// Writes a serialized set.
        KSPROPERTY_TYPE_UNSERIALIZESET = 0x1000,
        /// Serializes in the driver's own form.
        KSPROPERTY_TYPE_SERIALIZERAW = 0x2000,
        /// Writes the driver's own serialized form.
        KSPROPERTY_TYPE_UNSERIALIZERAW = 0x4000,
        /// Asks for the serialized size.
        KSPROPERTY_TYPE_SERIALIZESIZE = 0x8000,
        /// Asks for default values.
        KSPROPERTY_TYPE_DEFAULTVALUES = 0x1_0000,
        /// Asks for handling before other requests.
        KSPROPERTY_TYPE_HIGHPRIORITY = 0x0800_0000,
        /// The request names a node; or-ed to another flag.
        KSPROPERTY_TYPE_TOPOLOGY = 0x1000_0000,
        /// The request stays in the scope of the frame server's filter.
        KSPROPERTY_TYPE_FSFILTERSCOPE = 0x4000_0000,
        /// The payload is copied.
        KSPROPERTY_TYPE_COPYPAYLOAD = 0x8000_0000,
    }
}

abi_consts! {
    "Flag of a method request, or type of a method item"
    pub(crate) METHOD_TYPES: u32 {
        /// Item: no data.
        KSMETHOD_TYPE_NONE = 0x0,
        /// Item: the handler reads the data.
        KSMETHOD_TYPE_READ = 0x1,
        /// Item: the handler writes the data.
        KSMETHOD_TYPE_WRITE = 0x2,
        /// Item: both.
        KSMETHOD_TYPE_MODIFY = 0x3,
        /// Item: the data is mapped, not copied.
        KSMETHOD_TYPE_SOURCE = 0x4,
        /// Request: calls the method.
        KSMETHOD_TYPE_SEND = 0x1,
        /// Request: asks whether the set is supported.
        KSMETHOD_TYPE_SETSUPPORT = 0x100,
        /// Request: asks for the item's type.
        KSMETHOD_TYPE_BASICSUPPORT = 0x200,
        /// Request: names a node; or-ed to another flag.
        KSMETHOD_TYPE_TOPOLOGY = 0x1000_0000,
    }
}

abi_consts! {
    "Flag of an event request"
    pub(crate) EVENT_TYPES: u32 {
        /// Enables until disabled.
        KSEVENT_TYPE_ENABLE = 0x1,
        /// Enables for one time.
        KSEVENT_TYPE_ONESHOT = 0x2,
        /// Enables with queued data.
        KSEVENT_TYPE_ENABLEBUFFERED = 0x4,
        /// Asks whether the set is supported.
        KSEVENT_TYPE_SETSUPPORT = 0x100,
        /// Asks what the event supports.
        KSEVENT_TYPE_BASICSUPPORT = 0x200,
        /// Takes queued data.
        KSEVENT_TYPE_QUERYBUFFER = 0x400,
        /// The request names a node; or-ed to another flag.
        KSEVENT_TYPE_TOPOLOGY = 0x1000_0000,
    }
}

abi_struct! {
    /// A property request to a pin factory, sent to the filter.
    pub struct KspPin = "KSP_PIN", "ns-ks-ksp_pin" {
        /// The request.
        property: KsProperty = "Property",
        /// The pin factory.
        pin_id: u32 = "PinId",
        /// Reserved; bit 0 says that the client understands attributes of ranges.
        flags: u32 = "Reserved" | "Flags",
    }
}

abi_struct! {
    /// A property request to a topology node.
    pub struct KspNode = "KSP_NODE", "ns-ks-ksp_node" {
        /// The request.
        property: KsProperty = "Property",
        /// The node.
        node_id: u32 = "NodeId",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// A method request to a topology node.
    pub struct KsmNode = "KSM_NODE", "ns-ks-ksm_node" {
        /// The request.
        method: KsMethod = "Method",
        /// The node.
        node_id: u32 = "NodeId",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// An event request to a topology node.
    pub struct KseNode = "KSE_NODE", "ns-ks-kse_node" {
        /// The request.
        event: KsEvent = "Event",
        /// The node.
        node_id: u32 = "NodeId",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// Asks to convert a time between two formats.
    pub struct KspTimeFormat = "KSP_TIMEFORMAT", "ns-ks-ksp_timeformat" {
        /// The request.
        property: KsProperty = "Property",
        /// Format of `time`; null for the current one.
        source_format: Guid = "SourceFormat",
        /// Format wanted; null for the current one.
        target_format: Guid = "TargetFormat",
        /// The time.
        time: i64 = "Time",
    }
}

abi_struct! {
    /// Head of a list: its bytes with this head, and how many items follow.
    pub struct KsMultipleItem = "KSMULTIPLE_ITEM", "ns-ks-ksmultiple_item" {
        /// Bytes of head and items.
        size: u32 = "Size",
        /// Number of items.
        count: u32 = "Count",
    }
}

abi_struct! {
    /// What a property allows and what values it takes: the answer to a basic support request.
    pub struct KsPropertyDescription = "KSPROPERTY_DESCRIPTION", "ns-ks-ksproperty_description" {
        /// `KSPROPERTY_TYPE_*` of the accesses that are possible.
        access_flags: u32 = "AccessFlags",
        /// Bytes of the whole answer.
        description_size: u32 = "DescriptionSize",
        /// Type of the value: `KSPROPTYPESETID_General` and a VARENUM, or zero.
        prop_type_set: KsIdentifier = "PropTypeSet",
        /// Number of member lists that follow.
        members_list_count: u32 = "MembersListCount",
        /// Zero.
        reserved: u32 = "Reserved",
    }
}

abi_struct! {
    /// Head of one member list of a description.
    pub struct KsPropertyMembersHeader = "KSPROPERTY_MEMBERSHEADER", "ns-ks-ksproperty_membersheader" {
        /// `KSPROPERTY_MEMBER_*`: what the members are.
        members_flags: u32 = "MembersFlags",
        /// Bytes of one member.
        members_size: u32 = "MembersSize",
        /// Number of members.
        members_count: u32 = "MembersCount",
        /// `KSPROPERTY_MEMBER_FLAG_*`.
        flags: u32 = "Flags",
    }
}

abi_consts! {
    "Kind or flag of a member list"
    pub(crate) MEMBERS: u32 {
        /// Members are bounds.
        KSPROPERTY_MEMBER_RANGES = 1,
        /// Members are bounds with a step.
        KSPROPERTY_MEMBER_STEPPEDRANGES = 2,
        /// Members are values.
        KSPROPERTY_MEMBER_VALUES = 3,
        /// Members are defaults.
        KSPROPERTY_MEMBER_FLAG_DEFAULT = 1,
        /// One member for each channel.
        KSPROPERTY_MEMBER_FLAG_BASICSUPPORT_MULTICHANNEL = 2,
        /// All channels are alike.
        KSPROPERTY_MEMBER_FLAG_BASICSUPPORT_UNIFORM = 4,
    }
}

abi_struct! {
    /// Bounds of a 32-bit value; signed or unsigned as the value's type says.
    pub struct KsPropertyBoundsLong = "KSPROPERTY_BOUNDS_LONG", "ns-ks-ksproperty_bounds_long" {
        /// Least value.
        minimum: i32 = "SignedMinimum" | "UnsignedMinimum",
        /// Greatest value.
        maximum: i32 = "SignedMaximum" | "UnsignedMaximum",
    }
}

abi_struct! {
    /// Bounds of a 64-bit value; signed or unsigned as the value's type says.
    pub struct KsPropertyBoundsLongLong = "KSPROPERTY_BOUNDS_LONGLONG", "ns-ks-ksproperty_bounds_longlong" {
        /// Least value.
        minimum: i64 = "SignedMinimum" | "UnsignedMinimum",
        /// Greatest value.
        maximum: i64 = "SignedMaximum" | "UnsignedMaximum",
    }
}

abi_struct! {
    /// Bounds of a 32-bit value with a step.
    pub struct KsPropertySteppingLong = "KSPROPERTY_STEPPING_LONG", "ns-ks-ksproperty_stepping_long" {
        /// The step.
        stepping_delta: u32 = "SteppingDelta",
        /// Zero.
        reserved: u32 = "Reserved",
        /// The bounds.
        bounds: KsPropertyBoundsLong = "Bounds",
    }
}

abi_struct! {
    /// Bounds of a 64-bit value with a step.
    pub struct KsPropertySteppingLongLong = "KSPROPERTY_STEPPING_LONGLONG", "ns-ks-ksproperty_stepping_longlong" {
        /// The step.
        stepping_delta: u64 = "SteppingDelta",
        /// The bounds.
        bounds: KsPropertyBoundsLongLong = "Bounds",
    }
}

abi_struct! {
    /// Head of a serialized set.
    pub struct KsPropertySerialHeader = "KSPROPERTY_SERIALHDR", "ns-ks-ksproperty_serialhdr" [packed(1)] {
        /// The set.
        property_set: Guid = "PropertySet",
        /// Number of properties that follow.
        count: u32 = "Count",
    }
}

abi_struct! {
    /// Head of one property of a serialized set; its data follows, padded to four bytes.
    pub struct KsPropertySerial = "KSPROPERTY_SERIAL", "ns-ks-ksproperty_serial" {
        /// Type of the value.
        prop_type_set: KsIdentifier = "PropTypeSet",
        /// The property.
        id: u32 = "Id",
        /// Bytes of data, without padding.
        property_length: u32 = "PropertyLength",
    }
}

abi_struct! {
    /// What happened, somewhere else, that starts a stream.
    pub struct KsRelativeEvent = "KSRELATIVEEVENT", "ns-ks-ksrelativeevent" {
        /// Bytes of this structure.
        size: u32 = "Size",
        /// `KSRELATIVEEVENT_FLAG_*`.
        flags: u32 = "Flags",
        /// Handle or pointer of the object that has the event.
        object: u64 = "ObjectHandle" | "ObjectPointer",
        /// Zero.
        reserved: Ptr64 = "Reserved",
        /// The event.
        event: KsEvent = "Event",
        /// Its data.
        event_data: crate::event::KsEventData = "EventData",
    }
}

abi_consts! {
    "How a relative event names its object"
    pub(crate) RELATIVE_EVENT: u32 {
        /// By handle.
        KSRELATIVEEVENT_FLAG_HANDLE = 1,
        /// By pointer.
        KSRELATIVEEVENT_FLAG_POINTER = 2,
    }
}
