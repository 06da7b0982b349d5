//! Pins: what a factory says of itself, and what a connection is made of.

use crate::define::{abi_consts, abi_enum, abi_struct};
use crate::guid::Guid;
use crate::guid::sets::{KSINTERFACESETID_Standard, KSMEDIUMSETID_Standard};
use crate::identifier::KsIdentifier;

/// How data moves over a connection.
#[doc(alias = "KSPIN_INTERFACE")]
pub type KsPinInterface = KsIdentifier;
/// What a connection runs over.
#[doc(alias = "KSPIN_MEDIUM")]
pub type KsPinMedium = KsIdentifier;

impl KsIdentifier {
    /// The interface of frames in stream headers.
    #[doc(alias = "KSINTERFACE_STANDARD_STREAMING")]
    pub const STANDARD_STREAMING: Self = Self::new(KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_STREAMING, 0);
    /// The interface of one buffer that is played or filled round and round.
    #[doc(alias = "KSINTERFACE_STANDARD_LOOPED_STREAMING")]
    pub const STANDARD_LOOPED_STREAMING: Self =
        Self::new(KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_LOOPED_STREAMING, 0);
    /// The interface of pins without data, which is not supported.
    #[doc(alias = "KSINTERFACE_STANDARD_CONTROL")]
    pub const STANDARD_CONTROL: Self = Self::new(KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_CONTROL, 0);
    /// The medium of requests through the I/O manager.
    #[doc(alias = "KSMEDIUM_STANDARD_DEVIO")]
    pub const STANDARD_DEVIO: Self = Self::new(KSMEDIUMSETID_Standard, KSMEDIUM_STANDARD_DEVIO, 0);
}

abi_consts! {
    "Interface or medium id"
    pub(crate) INTERFACES: u32 {
        /// Frames in stream headers.
        KSINTERFACE_STANDARD_STREAMING = 0,
        /// Frames that repeat until stopped.
        KSINTERFACE_STANDARD_LOOPED_STREAMING = 1,
        /// Control only.
        KSINTERFACE_STANDARD_CONTROL = 2,
        /// File positions.
        KSINTERFACE_FILEIO_STREAMING = 0,
        /// Any instance of the medium.
        KSMEDIUM_TYPE_ANYINSTANCE = 0,
        /// Requests through the I/O manager.
        KSMEDIUM_STANDARD_DEVIO = 0,
    }
}

abi_struct! {
    /// Importance of a connection: class, then subclass.
    pub struct KsPriority = "KSPRIORITY", "ns-ks-kspriority" {
        /// `KSPRIORITY_*`; zero is reserved.
        priority_class: u32 = "PriorityClass",
        /// From 1; zero is reserved.
        priority_sub_class: u32 = "PrioritySubClass",
    }
}

impl KsPriority {
    /// Normal class, subclass 1.
    pub const NORMAL: Self = Self { priority_class: KSPRIORITY_NORMAL, priority_sub_class: 1 };
}

abi_consts! {
    "Priority class"
    pub(crate) PRIORITIES: u32 {
        KSPRIORITY_LOW = 1,
        KSPRIORITY_NORMAL = 0x4000_0000,
        KSPRIORITY_HIGH = 0x8000_0000,
        /// Sole use of resources.
        KSPRIORITY_EXCLUSIVE = 0xFFFF_FFFF,
    }
}

abi_struct! {
    /// What a pin is created with; a [`crate::KsDataFormat`] follows it at once, and attributes may follow that.
    pub struct KsPinConnect = "KSPIN_CONNECT", "ns-ks-kspin_connect" {
        /// One of the interfaces the factory lists.
        interface: KsPinInterface = "Interface",
        /// One of the mediums the factory lists.
        medium: KsPinMedium = "Medium",
        /// The pin factory.
        pin_id: u32 = "PinId",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Handle of the sink pin that the new source pin connects to, or null: the client is the other end.
        pin_to_handle: u64 = "PinToHandle",
        /// Importance.
        priority: KsPriority = "Priority",
    }
}

abi_enum! {
    /// Direction of data at a pin.
    pub struct KsPinDataFlow: u32 = "KSPIN_DATAFLOW", "ne-ks-kspin_dataflow" {
        /// Data flows into the pin.
        IN = 1 => "KSPIN_DATAFLOW_IN",
        /// Data flows out of the pin.
        OUT = 2 => "KSPIN_DATAFLOW_OUT",
    }
}

abi_enum! {
    /// Direction of stream requests (IRPs) at a pin, independent of the direction of data.
    pub struct KsPinCommunication: u32 = "KSPIN_COMMUNICATION", "ne-ks-kspin_communication" {
        /// No connection is possible.
        NONE = 0 => "KSPIN_COMMUNICATION_NONE",
        /// The pin receives requests.
        SINK = 1 => "KSPIN_COMMUNICATION_SINK",
        /// The pin sends requests.
        SOURCE = 2 => "KSPIN_COMMUNICATION_SOURCE",
        /// Either, as the connection is made.
        BOTH = 3 => "KSPIN_COMMUNICATION_BOTH",
        /// A way out of Kernel Streaming; no connection is possible.
        BRIDGE = 4 => "KSPIN_COMMUNICATION_BRIDGE",
    }
}

abi_struct! {
    /// How many instances of a pin factory there may be and are.
    pub struct KsPinCInstances = "KSPIN_CINSTANCES", "ns-ks-kspin_cinstances" {
        /// Most; [`KSINSTANCE_INDETERMINATE`] when there is no limit.
        possible_count: u32 = "PossibleCount",
        /// Now.
        current_count: u32 = "CurrentCount",
    }
}

/// No limit on instances.
pub const KSINSTANCE_INDETERMINATE: u32 = u32::MAX;

abi_struct! {
    /// Head of a physical connection; the symbolic link name of the other filter follows, zero-terminated UTF-16.
    ///
    /// The header declares one element of the name here, which with padding makes 12 bytes; the name starts at offset 8.
    pub struct KsPinPhysicalConnection = "KSPIN_PHYSICALCONNECTION", "ns-ks-kspin_physicalconnection" {
        /// Bytes of the structure with the name.
        size: u32 = "Size",
        /// Pin of the other filter.
        pin: u32 = "Pin",
        /// First UTF-16 unit of the name.
        symbolic_link_name: [u16; 1] = "SymbolicLinkName",
        #[doc(hidden)]
        _padding: u16 = "",
    }
}

/// Text of a pin create request's object class.
pub const KSSTRING_PIN: &str = "{146F1A80-4791-11D0-A5D6-28DB04C10000}";
/// Text of a filter create request's object class.
pub const KSSTRING_FILTER: &str = "{9B365890-165F-11D0-A195-0020AFD156E4}";
/// Text of a clock create request's object class.
pub const KSSTRING_CLOCK: &str = "{53172480-4791-11D0-A5D6-28DB04C10000}";
/// Text of an allocator create request's object class.
pub const KSSTRING_ALLOCATOR: &str = "{642F5D00-4791-11D0-A5D6-28DB04C10000}";
/// Text of the object class of an allocator created with `KSALLOCATOR_FRAMING_EX`.
pub const KSSTRING_ALLOCATOR_EX: &str = "{091BB63B-603F-11D1-B067-00A0C9062802}";
/// Text of a topology node create request's object class.
pub const KSSTRING_TOPOLOGY_NODE: &str = "{0621061A-EE75-11D0-B915-00A0C9223196}";

/// Which of the object classes a class string names, if it is one of the known six.
#[must_use]
pub fn object_class(text: &str) -> Option<Guid> {
    use crate::guid::names::{
        KSNAME_Allocator, KSNAME_AllocatorEx, KSNAME_Clock, KSNAME_Filter, KSNAME_Pin, KSNAME_TopologyNode,
    };
    let guid: Guid = text.parse().ok()?;
    [KSNAME_Filter, KSNAME_Pin, KSNAME_Clock, KSNAME_Allocator, KSNAME_AllocatorEx, KSNAME_TopologyNode]
        .contains(&guid)
        .then_some(guid)
}
