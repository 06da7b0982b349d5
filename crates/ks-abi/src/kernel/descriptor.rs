//! Descriptors and dispatch tables, which a minidriver hands to AVStream.

use crate::define::{abi_consts, abi_struct};
use crate::pin::{KsPinCommunication, KsPinDataFlow};
use crate::pointer::Ptr64;

abi_struct! {
    /// A device's routines.
    pub struct KsDeviceDispatch = "KSDEVICE_DISPATCH", "ns-ks-_ksdevice_dispatch" {
        /// The device was found.
        add: Ptr64 = "Add",
        /// It gets its resources.
        start: Ptr64 = "Start",
        /// It was started.
        post_start: Ptr64 = "PostStart",
        /// May it be stopped?
        query_stop: Ptr64 = "QueryStop",
        /// It will not be stopped.
        cancel_stop: Ptr64 = "CancelStop",
        /// It loses its resources.
        stop: Ptr64 = "Stop",
        /// May it be removed?
        query_remove: Ptr64 = "QueryRemove",
        /// It will not be removed.
        cancel_remove: Ptr64 = "CancelRemove",
        /// It is removed.
        remove: Ptr64 = "Remove",
        /// What can it do?
        query_capabilities: Ptr64 = "QueryCapabilities",
        /// It is gone.
        surprise_removal: Ptr64 = "SurpriseRemoval",
        /// May power change?
        query_power: Ptr64 = "QueryPower",
        /// Power changes.
        set_power: Ptr64 = "SetPower",
        /// Another driver asks for an interface.
        query_interface: Ptr64 = "QueryInterface",
    }
}

abi_struct! {
    /// A filter's routines.
    pub struct KsFilterDispatch = "KSFILTER_DISPATCH", "ns-ks-_ksfilter_dispatch" {
        /// A filter is opened.
        create: Ptr64 = "Create",
        /// It is closed.
        close: Ptr64 = "Close",
        /// Frames are there, on all pins.
        process: Ptr64 = "Process",
        /// All pins are reset.
        reset: Ptr64 = "Reset",
    }
}

abi_struct! {
    /// A pin's routines.
    pub struct KsPinDispatch = "KSPIN_DISPATCH", "ns-ks-_kspin_dispatch" {
        /// A pin is created.
        create: Ptr64 = "Create",
        /// It is closed.
        close: Ptr64 = "Close",
        /// Frames are there.
        process: Ptr64 = "Process",
        /// The pin is reset.
        reset: Ptr64 = "Reset",
        /// The format is set or changed.
        set_data_format: Ptr64 = "SetDataFormat",
        /// The state steps.
        set_device_state: Ptr64 = "SetDeviceState",
        /// A source was attached.
        connect: Ptr64 = "Connect",
        /// It was detached.
        disconnect: Ptr64 = "Disconnect",
        /// A [`KsClockDispatch`], or null.
        clock: Ptr64 = "Clock",
        /// A [`KsAllocatorDispatch`], or null.
        allocator: Ptr64 = "Allocator",
    }
}

abi_struct! {
    /// A clock's routines.
    pub struct KsClockDispatch = "KSCLOCK_DISPATCH", "ns-ks-_ksclock_dispatch" {
        /// Sets a timer on the clock.
        set_timer: Ptr64 = "SetTimer",
        /// Cancels it.
        cancel_timer: Ptr64 = "CancelTimer",
        /// Gives its time and the system's.
        correlated_time: Ptr64 = "CorrelatedTime",
        /// Gives its resolution.
        resolution: Ptr64 = "Resolution",
    }
}

abi_struct! {
    /// An allocator's routines.
    pub struct KsAllocatorDispatch = "KSALLOCATOR_DISPATCH", "ns-ks-_ksallocator_dispatch" {
        /// Starts the allocator.
        initialize_allocator: Ptr64 = "InitializeAllocator",
        /// Ends it.
        delete_allocator: Ptr64 = "DeleteAllocator",
        /// Allocates a frame.
        allocate: Ptr64 = "Allocate",
        /// Frees it.
        free: Ptr64 = "Free",
    }
}

abi_struct! {
    /// What a device is.
    pub struct KsDeviceDescriptor = "KSDEVICE_DESCRIPTOR", "ns-ks-_ksdevice_descriptor" {
        /// A [`KsDeviceDispatch`], or null.
        dispatch: Ptr64 = "Dispatch",
        /// Number of filter types.
        filter_descriptors_count: u32 = "FilterDescriptorsCount",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Array of pointers to [`KsFilterDescriptor`].
        filter_descriptors: Ptr64 = "FilterDescriptors",
        /// [`KSDEVICE_DESCRIPTOR_VERSION`] or later.
        version: u32 = "Version",
        /// `KSDEVICE_FLAG_*`, from [`KSDEVICE_DESCRIPTOR_VERSION_2`] on.
        flags: u32 = "",
    }
}

abi_struct! {
    /// What a filter is.
    pub struct KsFilterDescriptor = "KSFILTER_DESCRIPTOR", "ns-ks-_ksfilter_descriptor" {
        /// A [`KsFilterDispatch`], or null.
        dispatch: Ptr64 = "Dispatch",
        /// A [`crate::kernel::KsAutomationTable`], or null.
        automation_table: Ptr64 = "AutomationTable",
        /// [`KSFILTER_DESCRIPTOR_VERSION`].
        version: u32 = "Version",
        /// `KSFILTER_FLAG_*`.
        flags: u32 = "Flags",
        /// GUID whose text is the reference string.
        reference_guid: Ptr64 = "ReferenceGuid",
        /// Number of pin factories.
        pin_descriptors_count: u32 = "PinDescriptorsCount",
        /// Stride of the array.
        pin_descriptor_size: u32 = "PinDescriptorSize",
        /// Array of [`KsPinDescriptorEx`].
        pin_descriptors: Ptr64 = "PinDescriptors",
        /// Number of categories.
        categories_count: u32 = "CategoriesCount",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Array of GUIDs.
        categories: Ptr64 = "Categories",
        /// Number of nodes.
        node_descriptors_count: u32 = "NodeDescriptorsCount",
        /// Stride of the array.
        node_descriptor_size: u32 = "NodeDescriptorSize",
        /// Array of [`KsNodeDescriptor`].
        node_descriptors: Ptr64 = "NodeDescriptors",
        /// Number of connections; zero for the default ones.
        connections_count: u32 = "ConnectionsCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of `KSTOPOLOGY_CONNECTION`.
        connections: Ptr64 = "Connections",
        /// A `KSCOMPONENTID`, or null.
        component_id: Ptr64 = "ComponentId",
    }
}

abi_struct! {
    /// What a pin factory can do.
    pub struct KsPinDescriptor = "KSPIN_DESCRIPTOR", "ns-ks-kspin_descriptor" {
        /// Number of interfaces; zero for standard streaming.
        interfaces_count: u32 = "InterfacesCount",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Array of them.
        interfaces: Ptr64 = "Interfaces",
        /// Number of mediums; zero for standard device I/O.
        mediums_count: u32 = "MediumsCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of them.
        mediums: Ptr64 = "Mediums",
        /// Number of data ranges.
        data_ranges_count: u32 = "DataRangesCount",
        #[doc(hidden)]
        _padding3: u32 = "",
        /// Array of pointers to them.
        data_ranges: Ptr64 = "DataRanges",
        /// Direction of data.
        data_flow: KsPinDataFlow = "DataFlow",
        /// Direction of stream requests.
        communication: KsPinCommunication = "Communication",
        /// GUID of the category, or null.
        category: Ptr64 = "Category",
        /// GUID of the name, or null.
        name: Ptr64 = "Name",
        /// Number of ranges that are possible now.
        constrained_data_ranges_count: u32 = "ConstrainedDataRangesCount" | "Reserved",
        #[doc(hidden)]
        _padding4: u32 = "",
        /// Array of pointers to them.
        constrained_data_ranges: Ptr64 = "ConstrainedDataRanges",
    }
}

abi_struct! {
    /// What a pin is.
    pub struct KsPinDescriptorEx = "KSPIN_DESCRIPTOR_EX", "ns-ks-_kspin_descriptor_ex" {
        /// A [`KsPinDispatch`], or null.
        dispatch: Ptr64 = "Dispatch",
        /// A [`crate::kernel::KsAutomationTable`], or null.
        automation_table: Ptr64 = "AutomationTable",
        /// What the factory can do.
        pin_descriptor: KsPinDescriptor = "PinDescriptor",
        /// `KSPIN_FLAG_*`.
        flags: u32 = "Flags",
        /// Most instances.
        instances_possible: u32 = "InstancesPossible",
        /// Instances needed before a filter processes.
        instances_necessary: u32 = "InstancesNecessary",
        #[doc(hidden)]
        _padding: u32 = "",
        /// A `KSALLOCATOR_FRAMING_EX`, or null.
        allocator_framing: Ptr64 = "AllocatorFraming",
        /// Called to intersect data ranges.
        intersect_handler: Ptr64 = "IntersectHandler",
    }
}

abi_struct! {
    /// What a topology node is.
    pub struct KsNodeDescriptor = "KSNODE_DESCRIPTOR", "ns-ks-_ksnode_descriptor" {
        /// A [`crate::kernel::KsAutomationTable`], or null.
        automation_table: Ptr64 = "AutomationTable",
        /// GUID of the type.
        node_type: Ptr64 = "Type",
        /// GUID of the name, or null.
        name: Ptr64 = "Name",
    }
}

abi_consts! {
    "Version of a descriptor"
    pub(crate) VERSIONS: u32 {
        KSDEVICE_DESCRIPTOR_VERSION = 0x100,
        /// With flags.
        KSDEVICE_DESCRIPTOR_VERSION_2 = 0x110,
        /// From here on, the device's QueryInterface routine is used.
        MIN_DEV_VER_FOR_QI = 0x100,
        /// From here on, the device's flags are used.
        MIN_DEV_VER_FOR_FLAGS = 0x110,
        KSFILTER_DESCRIPTOR_VERSION = 0xFFFF_FFFF,
    }
}

abi_consts! {
    "Flag of a device"
    pub(crate) DEVICE_FLAGS: u32 {
        KSDEVICE_FLAG_ENABLE_REMOTE_WAKEUP = 0x1,
    }
}

abi_consts! {
    "Flag of a filter"
    pub(crate) FILTER_FLAGS: u32 {
        /// Process may be called at DISPATCH_LEVEL.
        KSFILTER_FLAG_DISPATCH_LEVEL_PROCESSING = 0x1,
        /// Work goes to a critical queue.
        KSFILTER_FLAG_CRITICAL_PROCESSING = 0x2,
        /// Work goes to a hypercritical queue.
        KSFILTER_FLAG_HYPERCRITICAL_PROCESSING = 0x4,
        /// Frames without data are delivered.
        KSFILTER_FLAG_RECEIVE_ZERO_LENGTH_SAMPLES = 0x8,
        /// The reference GUID comes first.
        KSFILTER_FLAG_PRIORITIZE_REFERENCEGUID = 0x10,
        /// User mode may not open it.
        KSFILTER_FLAG_DENY_USERMODE_ACCESS = 0x8000_0000,
    }
}

abi_consts! {
    "Flag of a pin"
    pub(crate) PIN_FLAGS: u32 {
        /// Process may be called at DISPATCH_LEVEL.
        KSPIN_FLAG_DISPATCH_LEVEL_PROCESSING = 0x1,
        /// Work goes to a critical queue.
        KSPIN_FLAG_CRITICAL_PROCESSING = 0x2,
        /// Work goes to a hypercritical queue.
        KSPIN_FLAG_HYPERCRITICAL_PROCESSING = 0x4,
        /// Process is always called from a worker.
        KSPIN_FLAG_ASYNCHRONOUS_PROCESSING = 0x8,
        /// Arriving frames do not start processing.
        KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING = 0x10,
        /// Every arriving frame starts processing, not only the first.
        KSPIN_FLAG_INITIATE_PROCESSING_ON_EVERY_ARRIVAL = 0x20,
        /// The pin may be processed without frames.
        KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING = 0x40,
        /// Requests are handled in order.
        KSPIN_FLAG_ENFORCE_FIFO = 0x80,
        /// Stream pointers get scatter/gather mappings.
        KSPIN_FLAG_GENERATE_MAPPINGS = 0x100,
        /// The queue has a trailing edge.
        KSPIN_FLAG_DISTINCT_TRAILING_EDGE = 0x200,
        /// Process is called in RUN only.
        KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY = 0x1_0000,
        /// Frames are shared among output pins.
        KSPIN_FLAG_SPLITTER = 0x2_0000,
        /// The standard transport is used always.
        KSPIN_FLAG_USE_STANDARD_TRANSPORT = 0x4_0000,
        /// The standard transport is used never.
        KSPIN_FLAG_DO_NOT_USE_STANDARD_TRANSPORT = 0x8_0000,
        /// The format cannot change.
        KSPIN_FLAG_FIXED_FORMAT = 0x10_0000,
        /// End of stream raises its event.
        KSPIN_FLAG_GENERATE_EOS_EVENTS = 0x20_0000,
        /// The two flags of a renderer.
        KSPIN_FLAG_RENDERER = KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY | KSPIN_FLAG_GENERATE_EOS_EVENTS,
        /// The pin has a clock.
        KSPIN_FLAG_IMPLEMENT_CLOCK = 0x40_0000,
        /// One instance with frames is enough.
        KSPIN_FLAG_SOME_FRAMES_REQUIRED_FOR_PROCESSING = 0x80_0000,
        /// One instance in RUN is enough.
        KSPIN_FLAG_PROCESS_IF_ANY_IN_RUN_STATE = 0x100_0000,
        /// User mode may not create it.
        KSPIN_FLAG_DENY_USERMODE_ACCESS = 0x8000_0000,
    }
}
