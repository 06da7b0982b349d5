//! Structures and constants of the low-level class driver routines: create items, dispatch tables, request queues.

use crate::define::{abi_consts, abi_enum, abi_struct};
use crate::kernel::dispatcher::UnicodeString;
use crate::pointer::Ptr64;

abi_struct! {
    /// What can be created under a device or object, and who creates it.
    pub struct KsObjectCreateItem = "KSOBJECT_CREATE_ITEM", "ns-ks-ksobject_create_item" {
        /// The create routine.
        create: Ptr64 = "Create",
        /// The driver's.
        context: Ptr64 = "Context",
        /// The class, which a create request's name is compared with.
        object_class: UnicodeString = "ObjectClass",
        /// Security.
        security_descriptor: Ptr64 = "SecurityDescriptor",
        /// `KSCREATE_ITEM_*`.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// A table of create items.
    pub struct KsObjectCreate = "KSOBJECT_CREATE", "ns-ks-ksobject_create" {
        /// Number of items.
        create_items_count: u32 = "CreateItemsCount",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Array of [`KsObjectCreateItem`].
        create_items_list: Ptr64 = "CreateItemsList",
    }
}

abi_struct! {
    /// An object's routines for requests.
    pub struct KsDispatchTable = "KSDISPATCH_TABLE", "ns-ks-ksdispatch_table" {
        /// Device control.
        device_io_control: Ptr64 = "DeviceIoControl",
        /// Read.
        read: Ptr64 = "Read",
        /// Write.
        write: Ptr64 = "Write",
        /// Flush.
        flush: Ptr64 = "Flush",
        /// Close.
        close: Ptr64 = "Close",
        /// Query security.
        query_security: Ptr64 = "QuerySecurity",
        /// Set security.
        set_security: Ptr64 = "SetSecurity",
        /// Fast device control.
        fast_device_io_control: Ptr64 = "FastDeviceIoControl",
        /// Fast read.
        fast_read: Ptr64 = "FastRead",
        /// Fast write.
        fast_write: Ptr64 = "FastWrite",
    }
}

abi_struct! {
    /// The attributes of a range, for a driver.
    pub struct KsAttributeList = "KSATTRIBUTE_LIST", "ns-ks-ksattribute_list" {
        /// Number of attributes.
        count: u32 = "Count",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Array of pointers to `KSATTRIBUTE`.
        attributes: Ptr64 = "Attributes",
    }
}

abi_struct! {
    /// An allocator's functions, for other drivers.
    pub struct KsStreamAllocatorFunctionTable = "KSSTREAMALLOCATOR_FUNCTIONTABLE", "ns-ks-ksstreamallocator_functiontable" {
        /// Allocates a frame.
        allocate_frame: Ptr64 = "AllocateFrame",
        /// Frees it.
        free_frame: Ptr64 = "FreeFrame",
    }
}

abi_struct! {
    /// A clock's functions, for other drivers.
    pub struct KsClockFunctionTable = "KSCLOCK_FUNCTIONTABLE", "ns-ks-ksclock_functiontable" {
        /// Presentation time.
        get_time: Ptr64 = "GetTime",
        /// Physical time.
        get_physical_time: Ptr64 = "GetPhysicalTime",
        /// Presentation and system time.
        get_correlated_time: Ptr64 = "GetCorrelatedTime",
        /// Physical and system time.
        get_correlated_physical_time: Ptr64 = "GetCorrelatedPhysicalTime",
    }
}

abi_consts! {
    "Flag of a create item"
    pub(crate) CREATE_ITEM_FLAGS: u32 {
        /// The security descriptor was changed.
        KSCREATE_ITEM_SECURITYCHANGED = 0x1,
        /// The item takes every class that no other takes.
        KSCREATE_ITEM_WILDCARD = 0x2,
        /// A create with parameters fails.
        KSCREATE_ITEM_NOPARAMETERS = 0x4,
        /// The item is freed when the device stops.
        KSCREATE_ITEM_FREEONSTOP = 0x8,
    }
}

abi_consts! {
    "Flag of stream request probing"
    pub(crate) PROBE_FLAGS: u32 {
        KSPROBE_STREAMREAD = 0x0,
        KSPROBE_STREAMWRITE = 0x1,
        KSPROBE_ALLOCATEMDL = 0x10,
        KSPROBE_PROBEANDLOCK = 0x20,
        KSPROBE_SYSTEMADDRESS = 0x40,
        KSPROBE_ALLOWFORMATCHANGE = 0x80,
        KSPROBE_MODIFY = 0x200,
        KSPROBE_STREAMWRITEMODIFY = KSPROBE_MODIFY | KSPROBE_STREAMWRITE,
        KSSTREAM_READ = KSPROBE_STREAMREAD,
        KSSTREAM_WRITE = KSPROBE_STREAMWRITE,
        KSSTREAM_PAGED_DATA = 0x0,
        KSSTREAM_NONPAGED_DATA = 0x100,
        KSSTREAM_SYNCHRONOUS = 0x1000,
        KSSTREAM_FAILUREEXCEPTION = 0x2000,
        KSDISPATCH_FASTIO = 0x8000_0000,
    }
}

abi_enum! {
    /// Where in a queue a request goes or is taken.
    pub struct KsListEntryLocation: u32 = "KSLIST_ENTRY_LOCATION", "ne-ks-kslist_entry_location" {
        /// The end.
        TAIL = 0 => "KsListEntryTail",
        /// The start.
        HEAD = 1 => "KsListEntryHead",
    }
}

abi_enum! {
    /// How a request is taken from a cancelable queue.
    pub struct KsIrpRemovalOperation: u32 = "KSIRP_REMOVAL_OPERATION", "ne-ks-ksirp_removal_operation" {
        /// It stays in the queue, without its cancel routine.
        ACQUIRE_ONLY = 0 => "KsAcquireOnly",
        /// It leaves the queue.
        ACQUIRE_AND_REMOVE = 1 => "KsAcquireAndRemove",
        /// As the first, and only this position is tried.
        ACQUIRE_ONLY_SINGLE_ITEM = 2 => "KsAcquireOnlySingleItem",
        /// As the second, and only this position is tried.
        ACQUIRE_AND_REMOVE_ONLY_SINGLE_ITEM = 3 => "KsAcquireAndRemoveOnlySingleItem",
    }
}

abi_enum! {
    /// What becomes of the stack location when a request is forwarded.
    pub struct KsStackUse: u32 = "KSSTACK_USE", "ne-ks-ksstack_use" {
        /// It is copied to the next.
        COPY_TO_NEW_LOCATION = 0 => "KsStackCopyToNewLocation",
        /// It is used again.
        REUSE_CURRENT_LOCATION = 1 => "KsStackReuseCurrentLocation",
        /// The next is used as it is.
        USE_NEW_LOCATION = 2 => "KsStackUseNewLocation",
    }
}

abi_enum! {
    /// Whether an object forwards to its target.
    pub struct KsTargetState: u32 = "KSTARGET_STATE", "ne-ks-kstarget_state" {
        /// It does not.
        DISABLED = 0 => "KSTARGET_STATE_DISABLED",
        /// It does.
        ENABLED = 1 => "KSTARGET_STATE_ENABLED",
    }
}

abi_enum! {
    /// When a completion routine is invoked; the values are bits.
    pub struct KsCompletionInvocation: u32 = "KSCOMPLETION_INVOCATION", "ne-ks-kscompletion_invocation" {
        /// After success.
        ON_SUCCESS = 1 => "KsInvokeOnSuccess",
        /// After an error.
        ON_ERROR = 2 => "KsInvokeOnError",
        /// After a cancel.
        ON_CANCEL = 4 => "KsInvokeOnCancel",
    }
}
