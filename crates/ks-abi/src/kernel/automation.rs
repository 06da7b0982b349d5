//! Automation: tables of properties, methods and events, and entries of enabled events.

use crate::define::{abi_consts, abi_enum, abi_struct};
use crate::identifier::{KsIdentifier, KsPropertyMembersHeader};
use crate::kernel::dispatcher::{KDpc, ListEntry};
use crate::pointer::Ptr64;

abi_struct! {
    /// An object's properties, methods and events.
    pub struct KsAutomationTable = "KSAUTOMATION_TABLE", "ns-ks-ksautomation_table_" {
        /// Number of property sets.
        property_sets_count: u32 = "PropertySetsCount",
        /// Stride of their items.
        property_item_size: u32 = "PropertyItemSize",
        /// Array of [`KsPropertySet`].
        property_sets: Ptr64 = "PropertySets",
        /// Number of method sets.
        method_sets_count: u32 = "MethodSetsCount",
        /// Stride of their items.
        method_item_size: u32 = "MethodItemSize",
        /// Array of [`KsMethodSet`].
        method_sets: Ptr64 = "MethodSets",
        /// Number of event sets.
        event_sets_count: u32 = "EventSetsCount",
        /// Stride of their items.
        event_item_size: u32 = "EventItemSize",
        /// Array of [`KsEventSet`].
        event_sets: Ptr64 = "EventSets",
    }
}

abi_struct! {
    /// A property set.
    pub struct KsPropertySet = "KSPROPERTY_SET", "ns-ks-ksproperty_set" {
        /// GUID of the set.
        set: Ptr64 = "Set",
        /// Number of properties.
        properties_count: u32 = "PropertiesCount",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Array of [`KsPropertyItem`].
        property_item: Ptr64 = "PropertyItem",
        /// Number of fast items.
        fast_io_count: u32 = "FastIoCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of [`KsFastPropertyItem`].
        fast_io_table: Ptr64 = "FastIoTable",
    }
}

abi_struct! {
    /// A property.
    pub struct KsPropertyItem = "KSPROPERTY_ITEM", "ns-ks-ksproperty_item" {
        /// The id.
        property_id: u32 = "PropertyId",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Reads it; or whether it can be read.
        get_property_handler: Ptr64 = "GetPropertyHandler" | "GetSupported",
        /// Fewest bytes of a request.
        min_property: u32 = "MinProperty",
        /// Fewest bytes of data.
        min_data: u32 = "MinData",
        /// Writes it; or whether it can be written.
        set_property_handler: Ptr64 = "SetPropertyHandler" | "SetSupported",
        /// A [`KsPropertyValues`], or null.
        values: Ptr64 = "Values",
        /// Number of related properties.
        relations_count: u32 = "RelationsCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of them.
        relations: Ptr64 = "Relations",
        /// Answers support requests, or null.
        support_handler: Ptr64 = "SupportHandler",
        /// Bytes when serialized; zero for never, one for unknown.
        serialized_size: u32 = "SerializedSize",
        #[doc(hidden)]
        _padding3: u32 = "",
    }
}

abi_struct! {
    /// A property for fast I/O.
    pub struct KsFastPropertyItem = "KSFASTPROPERTY_ITEM", "ns-ks-ksfastproperty_item" {
        /// The id.
        property_id: u32 = "PropertyId",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Reads it.
        get_property_handler: Ptr64 = "GetPropertyHandler" | "GetSupported",
        /// Writes it.
        set_property_handler: Ptr64 = "SetPropertyHandler" | "SetSupported",
        /// Zero.
        reserved: u32 = "Reserved",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_struct! {
    /// The values a property takes.
    pub struct KsPropertyValues = "KSPROPERTY_VALUES", "ns-ks-ksproperty_values" {
        /// Type of the value.
        prop_type_set: KsIdentifier = "PropTypeSet",
        /// Number of lists.
        members_list_count: u32 = "MembersListCount",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Array of [`KsPropertyMembersList`].
        members_list: Ptr64 = "MembersList",
    }
}

abi_struct! {
    /// One list of values or ranges.
    pub struct KsPropertyMembersList = "KSPROPERTY_MEMBERSLIST", "ns-ks-ksproperty_memberslist" {
        /// What the members are.
        members_header: KsPropertyMembersHeader = "MembersHeader",
        /// The members.
        members: Ptr64 = "Members",
    }
}

abi_struct! {
    /// A method set.
    pub struct KsMethodSet = "KSMETHOD_SET", "ns-ks-ksmethod_set" {
        /// GUID of the set.
        set: Ptr64 = "Set",
        /// Number of methods.
        methods_count: u32 = "MethodsCount",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Array of [`KsMethodItem`].
        method_item: Ptr64 = "MethodItem",
        /// Number of fast items.
        fast_io_count: u32 = "FastIoCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of [`KsFastMethodItem`].
        fast_io_table: Ptr64 = "FastIoTable",
    }
}

abi_struct! {
    /// A method.
    pub struct KsMethodItem = "KSMETHOD_ITEM", "ns-ks-ksmethod_item" {
        /// The id.
        method_id: u32 = "MethodId",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Does it.
        method_handler: Ptr64 = "MethodHandler" | "MethodSupported",
        /// Fewest bytes of a request.
        min_method: u32 = "MinMethod",
        /// Fewest bytes of data.
        min_data: u32 = "MinData",
        /// Answers support requests, or null.
        support_handler: Ptr64 = "SupportHandler",
        /// `KSMETHOD_TYPE_*` of the item.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_struct! {
    /// A method for fast I/O.
    pub struct KsFastMethodItem = "KSFASTMETHOD_ITEM", "ns-ks-ksfastmethod_item" {
        /// The id.
        method_id: u32 = "MethodId",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Does it.
        method_handler: Ptr64 = "MethodHandler" | "MethodSupported",
    }
}

abi_struct! {
    /// An event set.
    pub struct KsEventSet = "KSEVENT_SET", "ns-ks-ksevent_set" {
        /// GUID of the set.
        set: Ptr64 = "Set",
        /// Number of events.
        events_count: u32 = "EventsCount",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Array of [`KsEventItem`].
        event_item: Ptr64 = "EventItem",
    }
}

abi_struct! {
    /// An event.
    pub struct KsEventItem = "KSEVENT_ITEM", "ns-ks-ksevent_item" {
        /// The id.
        event_id: u32 = "EventId",
        /// Fewest bytes of event data.
        data_input: u32 = "DataInput",
        /// Bytes behind an entry.
        extra_entry_data: u32 = "ExtraEntryData",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Called to enable it, or null.
        add_handler: Ptr64 = "AddHandler",
        /// Called when it is disabled, or null.
        remove_handler: Ptr64 = "RemoveHandler",
        /// Answers support requests, or null.
        support_handler: Ptr64 = "SupportHandler",
    }
}

abi_struct! {
    /// How an event's DPC is queued.
    pub struct KsDpcItem = "KSDPC_ITEM", "ns-ks-ksdpc_item" {
        /// The DPC.
        dpc: KDpc = "Dpc",
        /// Users.
        reference_count: u32 = "ReferenceCount",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Guards it.
        access_lock: u64 = "AccessLock",
    }
}

abi_struct! {
    /// How an event's data is queued.
    pub struct KsBufferItem = "KSBUFFER_ITEM", "ns-ks-ksbuffer_item" {
        /// The DPC.
        dpc_item: KsDpcItem = "DpcItem",
        /// The data.
        buffer_list: ListEntry = "BufferList",
    }
}

abi_struct! {
    /// An enabled event; `extra_entry_data` bytes of the item follow.
    pub struct KsEventEntry = "KSEVENT_ENTRY", "ns-ks-_ksevent_entry" {
        /// Link in the object's list.
        list_entry: ListEntry = "ListEntry",
        /// What to notify.
        object: Ptr64 = "Object",
        /// A [`KsDpcItem`] or [`KsBufferItem`].
        dpc_item: Ptr64 = "DpcItem" | "BufferItem",
        /// The client's event data.
        event_data: Ptr64 = "EventData",
        /// `KSEVENTF_*`.
        notification_type: u32 = "NotificationType",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// The [`KsEventSet`].
        event_set: Ptr64 = "EventSet",
        /// The [`KsEventItem`].
        event_item: Ptr64 = "EventItem",
        /// The object that enabled it.
        file_object: Ptr64 = "FileObject",
        /// What a semaphore is raised by.
        semaphore_adjustment: u32 = "SemaphoreAdjustment",
        /// Zero.
        reserved: u32 = "Reserved",
        /// `KSEVENT_ENTRY_*`.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_consts! {
    "Flag of an enabled event"
    pub(crate) ENTRY_FLAGS: u32 {
        KSEVENT_ENTRY_DELETED = 1,
        KSEVENT_ENTRY_ONESHOT = 2,
        KSEVENT_ENTRY_BUFFERED = 4,
    }
}

abi_enum! {
    /// Lock that guards a list of events.
    pub struct KsEventsLockType: u32 = "KSEVENTS_LOCKTYPE", "ne-ks-ksevents_locktype" {
        /// None.
        NONE = 0 => "KSEVENTS_NONE",
        /// A spin lock.
        SPINLOCK = 1 => "KSEVENTS_SPINLOCK",
        /// A mutex.
        MUTEX = 2 => "KSEVENTS_MUTEX",
        /// A fast mutex.
        FMUTEX = 3 => "KSEVENTS_FMUTEX",
        /// A fast mutex, taken at APC_LEVEL.
        FMUTEXUNSAFE = 4 => "KSEVENTS_FMUTEXUNSAFE",
        /// An interrupt's lock.
        INTERRUPT = 5 => "KSEVENTS_INTERRUPT",
        /// A resource.
        ERESOURCE = 6 => "KSEVENTS_ERESOURCE",
    }
}
