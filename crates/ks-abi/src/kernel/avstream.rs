//! The public parts of AVStream's objects, which minidrivers read and write directly.

use crate::define::{abi_enum, abi_struct};
use crate::kernel::dispatcher::{DevicePowerState, SystemPowerState};
use crate::pin::{KsPinCommunication, KsPinDataFlow, KsPinInterface, KsPinMedium, KsPriority};
use crate::pointer::Ptr64;
use crate::stream::{KsReset, KsState};

abi_struct! {
    /// A device.
    pub struct KsDevice = "KSDEVICE", "ns-ks-_ksdevice" {
        /// A [`crate::kernel::KsDeviceDescriptor`].
        descriptor: Ptr64 = "Descriptor",
        /// The object bag.
        bag: Ptr64 = "Bag",
        /// The minidriver's.
        context: Ptr64 = "Context",
        /// The device object.
        functional_device_object: Ptr64 = "FunctionalDeviceObject",
        /// The bus's device object.
        physical_device_object: Ptr64 = "PhysicalDeviceObject",
        /// Where requests go on.
        next_device_object: Ptr64 = "NextDeviceObject",
        /// Started, and so open to creates.
        started: u8 = "Started",
        #[doc(hidden)]
        _padding1: [u8; 3] = "",
        /// Power of the system.
        system_power_state: SystemPowerState = "SystemPowerState",
        /// Power of the device.
        device_power_state: DevicePowerState = "DevicePowerState",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_struct! {
    /// A filter factory.
    pub struct KsFilterFactory = "KSFILTERFACTORY", "ns-ks-_ksfilterfactory" {
        /// A [`crate::kernel::KsFilterDescriptor`].
        filter_descriptor: Ptr64 = "FilterDescriptor",
        /// The object bag.
        bag: Ptr64 = "Bag",
        /// The minidriver's.
        context: Ptr64 = "Context",
    }
}

abi_struct! {
    /// A filter.
    pub struct KsFilter = "KSFILTER", "ns-ks-_ksfilter" {
        /// A [`crate::kernel::KsFilterDescriptor`].
        descriptor: Ptr64 = "Descriptor",
        /// The object bag.
        bag: Ptr64 = "Bag",
        /// The minidriver's.
        context: Ptr64 = "Context",
    }
}

abi_struct! {
    /// A pin.
    pub struct KsPin = "KSPIN", "ns-ks-_kspin" {
        /// A [`crate::kernel::KsPinDescriptorEx`].
        descriptor: Ptr64 = "Descriptor",
        /// The object bag.
        bag: Ptr64 = "Bag",
        /// The minidriver's.
        context: Ptr64 = "Context",
        /// The pin factory.
        id: u32 = "Id",
        /// Direction of stream requests.
        communication: KsPinCommunication = "Communication",
        /// The other end is no AVStream pin.
        connection_is_external: u8 = "ConnectionIsExternal",
        #[doc(hidden)]
        _padding1: [u8; 7] = "",
        /// The interface.
        connection_interface: KsPinInterface = "ConnectionInterface",
        /// The medium.
        connection_medium: KsPinMedium = "ConnectionMedium",
        /// The priority.
        connection_priority: KsPriority = "ConnectionPriority",
        /// The data format.
        connection_format: Ptr64 = "ConnectionFormat",
        /// Its attributes, or null.
        attribute_list: Ptr64 = "AttributeList",
        /// Bytes of each stream header.
        stream_header_size: u32 = "StreamHeaderSize",
        /// Direction of data.
        data_flow: KsPinDataFlow = "DataFlow",
        /// What the pin was last told.
        device_state: KsState = "DeviceState",
        /// Whether it is in the reset state.
        reset_state: KsReset = "ResetState",
        /// What the client last asked for.
        client_state: KsState = "ClientState",
        #[doc(hidden)]
        _padding2: u32 = "",
    }
}

abi_struct! {
    /// One element of a scatter/gather list.
    pub struct KsMapping = "KSMAPPING", "ns-ks-_ksmapping" {
        /// Where.
        physical_address: u64 = "PhysicalAddress",
        /// How many bytes.
        byte_count: u32 = "ByteCount",
        /// Unused.
        alignment: u32 = "Alignment",
    }
}

abi_struct! {
    /// Progress of a stream pointer through its frame, for input or output.
    pub struct KsStreamPointerOffset = "KSSTREAM_POINTER_OFFSET", "ns-ks-_ksstream_pointer_offset" {
        /// Next byte or mapping.
        data: Ptr64 = "Data" | "Mappings",
        /// Bytes or mappings of the frame.
        count: u32 = "Count",
        /// Bytes or mappings left.
        remaining: u32 = "Remaining",
    }
}

abi_struct! {
    /// A place in a pin's queue.
    pub struct KsStreamPointer = "KSSTREAM_POINTER", "ns-ks-_ksstream_pointer" {
        /// A clone's context.
        context: Ptr64 = "Context",
        /// The pin.
        pin: Ptr64 = "Pin",
        /// The frame's header, while locked.
        stream_header: Ptr64 = "StreamHeader",
        /// The offset of the pin's direction.
        offset: Ptr64 = "Offset",
        /// Input.
        offset_in: KsStreamPointerOffset = "OffsetIn",
        /// Output.
        offset_out: KsStreamPointerOffset = "OffsetOut",
    }
}

abi_struct! {
    /// A pin's part in one call of a filter's process routine.
    pub struct KsProcessPin = "KSPROCESSPIN", "ns-ks-_ksprocesspin" {
        /// The pin.
        pin: Ptr64 = "Pin",
        /// Its leading edge.
        stream_pointer: Ptr64 = "StreamPointer",
        /// The pin that shares the frame.
        in_place_counterpart: Ptr64 = "InPlaceCounterpart",
        /// The pin that passes the frame on.
        delegate_branch: Ptr64 = "DelegateBranch",
        /// The pin to copy from.
        copy_source: Ptr64 = "CopySource",
        /// The data.
        data: Ptr64 = "Data",
        /// Bytes there.
        bytes_available: u32 = "BytesAvailable",
        /// Bytes the minidriver used.
        bytes_used: u32 = "BytesUsed",
        /// The header's options.
        flags: u32 = "Flags",
        /// The frame is done, used up or not.
        terminate: u8 = "Terminate",
        #[doc(hidden)]
        _padding: [u8; 3] = "",
    }
}

abi_struct! {
    /// A factory's pins in one call of a filter's process routine.
    pub struct KsProcessPinIndexEntry = "KSPROCESSPIN_INDEXENTRY", "ns-ks-_ksprocesspin_indexentry" {
        /// Array of pointers to [`KsProcessPin`].
        pins: Ptr64 = "Pins",
        /// Number of them.
        count: u32 = "Count",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// A gate: open while its count is positive. Drivers work on it inline, with atomic operations.
    pub struct KsGate = "KSGATE", "ns-ks-_ksgate" {
        /// The count.
        count: i32 = "Count",
        #[doc(hidden)]
        _padding: u32 = "",
        /// The gate it is an input of.
        next_gate: Ptr64 = "NextGate",
    }
}

abi_enum! {
    /// Type of an AVStream object.
    pub struct KsObjectType: u32 = "KSOBJECTTYPE", "ne-ks-ksobjecttype" {
        /// A device.
        DEVICE = 0 => "KsObjectTypeDevice",
        /// A filter factory.
        FILTER_FACTORY = 1 => "KsObjectTypeFilterFactory",
        /// A filter.
        FILTER = 2 => "KsObjectTypeFilter",
        /// A pin.
        PIN = 3 => "KsObjectTypePin",
    }
}

abi_enum! {
    /// Whether a stream pointer is locked.
    pub struct KsStreamPointerState: u32 = "KSSTREAM_POINTER_STATE", "ne-ks-ksstream_pointer_state" {
        /// The frame may be cancelled.
        UNLOCKED = 0 => "KSSTREAM_POINTER_STATE_UNLOCKED",
        /// The frame stays.
        LOCKED = 1 => "KSSTREAM_POINTER_STATE_LOCKED",
    }
}
