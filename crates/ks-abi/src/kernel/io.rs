//! Requests: the I/O request packet, its stack locations, and memory descriptor lists.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::dispatcher::{DevicePowerState, ListEntry, SystemPowerState};
use crate::define::{abi_consts, abi_struct};
use crate::pointer::Ptr64;
use crate::status::NtStatus;

abi_struct! {
    /// How a request ended.
    pub struct IoStatusBlock = "IO_STATUS_BLOCK", "ns-wdm-_io_status_block" {
        /// The status.
        status: NtStatus = "Status" | "Pointer",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Bytes moved, or what the request defines.
        information: u64 = "Information",
    }
}

abi_struct! {
    /// An I/O request packet. Its stack locations follow at once, the one of the lowest driver first.
    pub struct Irp = "IRP", "ns-wdm-_irp" [align(16)] {
        /// 6.
        packet_type: i16 = "Type",
        /// Bytes with the stack locations.
        packet_size: u16 = "Size",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Chain of MDLs.
        mdl_address: Ptr64 = "MdlAddress",
        /// `IRP_*`.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// System buffer, master IRP, or count of associated IRPs.
        system_buffer: Ptr64 = "AssociatedIrp.SystemBuffer" | "AssociatedIrp.MasterIrp" | "AssociatedIrp.IrpCount",
        /// Link in the requesting thread's list.
        thread_list_entry: ListEntry = "ThreadListEntry",
        /// How it ended.
        io_status: IoStatusBlock = "IoStatus",
        /// Kernel or user.
        requestor_mode: u8 = "RequestorMode",
        /// A lower driver returned STATUS_PENDING.
        pending_returned: u8 = "PendingReturned",
        /// Number of stack locations.
        stack_count: i8 = "StackCount",
        /// Number of the current one, from 1; `StackCount` + 1 before the first driver.
        current_location: i8 = "CurrentLocation",
        /// Cancelled.
        cancel: u8 = "Cancel",
        /// Level at which the cancel lock was acquired.
        cancel_irql: u8 = "CancelIrql",
        /// Process of the completion APC.
        apc_environment: i8 = "ApcEnvironment",
        /// How the packet was allocated.
        allocation_flags: u8 = "AllocationFlags",
        /// Where the status is written at the end.
        user_iosb: Ptr64 = "UserIosb",
        /// Set at the end.
        user_event: Ptr64 = "UserEvent",
        /// Queued at the end; or the allocation size of a create.
        user_apc_routine: Ptr64 = "Overlay.AsynchronousParameters.UserApcRoutine" | "Overlay.AllocationSize",
        /// Its context.
        user_apc_context: Ptr64 = "Overlay.AsynchronousParameters.UserApcContext",
        /// Called on cancel.
        cancel_routine: Ptr64 = "CancelRoutine",
        /// The caller's output buffer.
        user_buffer: Ptr64 = "UserBuffer",
        /// The owning driver's.
        driver_context: [Ptr64; 4] = "Tail.Overlay.DriverContext" | "Tail.Overlay.DeviceQueueEntry" | "Tail.Apc" | "Tail.CompletionKey",
        /// The requesting thread.
        thread: Ptr64 = "Tail.Overlay.Thread",
        /// Extra buffer.
        auxiliary_buffer: Ptr64 = "Tail.Overlay.AuxiliaryBuffer",
        /// The owning driver's link.
        list_entry: ListEntry = "Tail.Overlay.ListEntry",
        /// The current stack location.
        current_stack_location: Ptr64 = "Tail.Overlay.CurrentStackLocation" | "Tail.Overlay.PacketType",
        /// The file object of the request.
        original_file_object: Ptr64 = "Tail.Overlay.OriginalFileObject",
        /// Owned by the system.
        irp_extension: Ptr64 = "",
    }
}

abi_struct! {
    /// What a device can do, as bus and drivers say it.
    pub struct DeviceCapabilities = "DEVICE_CAPABILITIES", "ns-wdm-_device_capabilities" {
        /// Bytes of this structure.
        size: u16 = "Size",
        /// 1.
        version: u16 = "Version",
        /// Bits: DeviceD1 is 1, DeviceD2 2, Removable 0x10, SurpriseRemovalOK 0x200.
        flags: u32 = "",
        /// Where on its bus it is; all ones if that is not known.
        address: u32 = "Address",
        /// Its number for a person; all ones if it has none.
        ui_number: u32 = "UINumber",
        /// The highest power state in each system power state.
        device_state: [DevicePowerState; 7] = "DeviceState",
        /// The lowest system state from which it wakes the system.
        system_wake: SystemPowerState = "SystemWake",
        /// The lowest device state from which it does.
        device_wake: DevicePowerState = "DeviceWake",
        /// How long it takes from D1 to D0, in 100-microsecond units.
        d1_latency: u32 = "D1Latency",
        /// From D2.
        d2_latency: u32 = "D2Latency",
        /// From D3.
        d3_latency: u32 = "D3Latency",
    }
}

abi_struct! {
    /// One driver's part of a request.
    pub struct IoStackLocation = "IO_STACK_LOCATION", "ns-wdm-_io_stack_location" {
        /// `IRP_MJ_*`.
        major_function: u8 = "MajorFunction",
        /// `IRP_MN_*`.
        minor_function: u8 = "MinorFunction",
        /// `SL_*` of the function.
        flags: u8 = "Flags",
        /// `SL_PENDING_RETURNED` and the `SL_INVOKE_ON_*`.
        control: u8 = "Control",
        #[doc(hidden)]
        _padding: u32 = "",
        /// By function; see the views.
        parameters: [u64; 4] = "Parameters",
        /// The device.
        device_object: Ptr64 = "DeviceObject",
        /// The file object.
        file_object: Ptr64 = "FileObject",
        /// Called on the way up.
        completion_routine: Ptr64 = "CompletionRoutine",
        /// Its context.
        context: Ptr64 = "Context",
    }
    also {
        "Parameters.Others.Argument1" = parameter(0),
        "Parameters.Others.Argument2" = parameter(8),
        "Parameters.Others.Argument3" = parameter(16),
        "Parameters.Others.Argument4" = parameter(24),
        "Parameters.DeviceIoControl.OutputBufferLength" = parameter(offset_of!(DeviceIoControlParameters, output_buffer_length)),
        "Parameters.DeviceIoControl.InputBufferLength" = parameter(offset_of!(DeviceIoControlParameters, input_buffer_length)),
        "Parameters.DeviceIoControl.IoControlCode" = parameter(offset_of!(DeviceIoControlParameters, io_control_code)),
        "Parameters.DeviceIoControl.Type3InputBuffer" = parameter(offset_of!(DeviceIoControlParameters, type3_input_buffer)),
        "Parameters.Create.SecurityContext" = parameter(offset_of!(CreateParameters, security_context)),
        "Parameters.Create.Options" = parameter(offset_of!(CreateParameters, options)),
        "Parameters.Create.FileAttributes" = parameter(offset_of!(CreateParameters, file_attributes)),
        "Parameters.Create.ShareAccess" = parameter(offset_of!(CreateParameters, share_access)),
        "Parameters.Create.EaLength" = parameter(offset_of!(CreateParameters, ea_length)),
        "Parameters.Read.Length" = parameter(offset_of!(ReadWriteParameters, length)),
        "Parameters.Read.Key" = parameter(offset_of!(ReadWriteParameters, key)),
        "Parameters.Read.ByteOffset" = parameter(offset_of!(ReadWriteParameters, byte_offset)),
        "Parameters.QueryInterface.InterfaceType" = parameter(0),
        "Parameters.QueryInterface.Size" = parameter(8),
        "Parameters.QueryInterface.Version" = parameter(10),
        "Parameters.QueryInterface.Interface" = parameter(16),
        "Parameters.QueryInterface.InterfaceSpecificData" = parameter(24),
        "Parameters.StartDevice.AllocatedResources" = parameter(0),
        "Parameters.StartDevice.AllocatedResourcesTranslated" = parameter(8),
    }
}

abi_struct! {
    /// Security of a create request.
    pub struct IoSecurityContext = "IO_SECURITY_CONTEXT", "ns-wdm-_io_security_context" {
        /// Quality of service.
        security_qos: Ptr64 = "SecurityQos",
        /// The access being granted.
        access_state: Ptr64 = "AccessState",
        /// The access wanted.
        desired_access: u32 = "DesiredAccess",
        /// All create options.
        full_create_options: u32 = "FullCreateOptions",
    }
}

abi_struct! {
    /// A memory descriptor list; its page frame numbers follow at once.
    pub struct Mdl = "MDL", "ns-wdm-_mdl" {
        /// Next in the chain.
        next: Ptr64 = "Next",
        /// Bytes with the page frame numbers.
        size: i16 = "Size",
        /// `MDL_*`.
        flags: i16 = "MdlFlags",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Process of the addresses.
        process: Ptr64 = "Process",
        /// System address, when mapped.
        mapped_system_va: Ptr64 = "MappedSystemVa",
        /// Page of the start.
        start_va: Ptr64 = "StartVa",
        /// Bytes described.
        byte_count: u32 = "ByteCount",
        /// Offset of the start in its page.
        byte_offset: u32 = "ByteOffset",
    }
}

/// Offset of a byte of `Parameters` in an `IO_STACK_LOCATION`.
const fn parameter(offset: usize) -> usize {
    offset_of!(IoStackLocation, parameters) + offset
}

/// Parameters of `IRP_MJ_DEVICE_CONTROL` and `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
#[doc(alias = "DeviceIoControl")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceIoControlParameters {
    /// Bytes of the output buffer.
    pub output_buffer_length: u32,
    #[doc(hidden)]
    pub _padding1: u32,
    /// Bytes of the input buffer.
    pub input_buffer_length: u32,
    #[doc(hidden)]
    pub _padding2: u32,
    /// The code.
    pub io_control_code: u32,
    #[doc(hidden)]
    pub _padding3: u32,
    /// The caller's input buffer, for `METHOD_NEITHER`.
    pub type3_input_buffer: Ptr64,
}

/// Parameters of `IRP_MJ_CREATE`.
#[doc(alias = "Create")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateParameters {
    /// An [`IoSecurityContext`].
    pub security_context: Ptr64,
    /// Create options, and the disposition in the top byte.
    pub options: u32,
    #[doc(hidden)]
    pub _padding1: u32,
    /// File attributes.
    pub file_attributes: u16,
    /// Share access.
    pub share_access: u16,
    #[doc(hidden)]
    pub _padding2: u32,
    /// Bytes of extended attributes.
    pub ea_length: u32,
    #[doc(hidden)]
    pub _padding3: u32,
}

/// Parameters of `IRP_MJ_READ` and `IRP_MJ_WRITE`.
#[doc(alias = "Read")]
#[doc(alias = "Write")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReadWriteParameters {
    /// Bytes to move.
    pub length: u32,
    #[doc(hidden)]
    pub _padding1: u32,
    /// Byte-range lock key.
    pub key: u32,
    #[doc(hidden)]
    pub _padding2: u32,
    /// Where in the file.
    pub byte_offset: i64,
    #[doc(hidden)]
    pub _padding3: u64,
}

impl IoStackLocation {
    /// The parameters of a device control request.
    #[must_use]
    pub const fn device_io_control(&self) -> DeviceIoControlParameters {
        zerocopy::transmute!(self.parameters)
    }

    /// Sets the parameters of a device control request.
    pub const fn set_device_io_control(&mut self, parameters: DeviceIoControlParameters) {
        self.parameters = zerocopy::transmute!(parameters);
    }

    /// The parameters of a create request.
    #[must_use]
    pub const fn create(&self) -> CreateParameters {
        zerocopy::transmute!(self.parameters)
    }

    /// Sets the parameters of a create request.
    pub const fn set_create(&mut self, parameters: CreateParameters) {
        self.parameters = zerocopy::transmute!(parameters);
    }

    /// The parameters of a read or write request.
    #[must_use]
    pub const fn read_write(&self) -> ReadWriteParameters {
        zerocopy::transmute!(self.parameters)
    }

    /// Sets the parameters of a read or write request.
    pub const fn set_read_write(&mut self, parameters: ReadWriteParameters) {
        self.parameters = zerocopy::transmute!(parameters);
    }
}

abi_consts! {
    "Major function of a request"
    pub(crate) MAJOR_FUNCTIONS: u8 {
        IRP_MJ_CREATE = 0x00,
        IRP_MJ_CREATE_NAMED_PIPE = 0x01,
        IRP_MJ_CLOSE = 0x02,
        IRP_MJ_READ = 0x03,
        IRP_MJ_WRITE = 0x04,
        IRP_MJ_QUERY_INFORMATION = 0x05,
        IRP_MJ_SET_INFORMATION = 0x06,
        IRP_MJ_QUERY_EA = 0x07,
        IRP_MJ_SET_EA = 0x08,
        IRP_MJ_FLUSH_BUFFERS = 0x09,
        IRP_MJ_QUERY_VOLUME_INFORMATION = 0x0A,
        IRP_MJ_SET_VOLUME_INFORMATION = 0x0B,
        IRP_MJ_DIRECTORY_CONTROL = 0x0C,
        IRP_MJ_FILE_SYSTEM_CONTROL = 0x0D,
        IRP_MJ_DEVICE_CONTROL = 0x0E,
        IRP_MJ_INTERNAL_DEVICE_CONTROL = 0x0F,
        IRP_MJ_SHUTDOWN = 0x10,
        IRP_MJ_LOCK_CONTROL = 0x11,
        IRP_MJ_CLEANUP = 0x12,
        IRP_MJ_CREATE_MAILSLOT = 0x13,
        IRP_MJ_QUERY_SECURITY = 0x14,
        IRP_MJ_SET_SECURITY = 0x15,
        IRP_MJ_POWER = 0x16,
        IRP_MJ_SYSTEM_CONTROL = 0x17,
        IRP_MJ_DEVICE_CHANGE = 0x18,
        IRP_MJ_QUERY_QUOTA = 0x19,
        IRP_MJ_SET_QUOTA = 0x1A,
        IRP_MJ_PNP = 0x1B,
        IRP_MJ_MAXIMUM_FUNCTION = 0x1B,
    }
}

/// The header's name of a major function.
#[must_use]
pub fn major_function_name(major_function: u8) -> Option<&'static str> {
    MAJOR_FUNCTIONS.iter().find(|(_, value)| *value == u64::from(major_function)).map(|(name, _)| *name)
}

abi_consts! {
    "Minor function of a plug and play or power request"
    pub(crate) MINOR_FUNCTIONS: u8 {
        IRP_MN_START_DEVICE = 0x00,
        IRP_MN_QUERY_REMOVE_DEVICE = 0x01,
        IRP_MN_REMOVE_DEVICE = 0x02,
        IRP_MN_CANCEL_REMOVE_DEVICE = 0x03,
        IRP_MN_STOP_DEVICE = 0x04,
        IRP_MN_QUERY_STOP_DEVICE = 0x05,
        IRP_MN_CANCEL_STOP_DEVICE = 0x06,
        IRP_MN_QUERY_DEVICE_RELATIONS = 0x07,
        IRP_MN_QUERY_INTERFACE = 0x08,
        IRP_MN_QUERY_CAPABILITIES = 0x09,
        IRP_MN_QUERY_RESOURCES = 0x0A,
        IRP_MN_QUERY_RESOURCE_REQUIREMENTS = 0x0B,
        IRP_MN_QUERY_DEVICE_TEXT = 0x0C,
        IRP_MN_FILTER_RESOURCE_REQUIREMENTS = 0x0D,
        IRP_MN_READ_CONFIG = 0x0F,
        IRP_MN_WRITE_CONFIG = 0x10,
        IRP_MN_QUERY_ID = 0x13,
        IRP_MN_QUERY_PNP_DEVICE_STATE = 0x14,
        IRP_MN_SURPRISE_REMOVAL = 0x17,
        IRP_MN_WAIT_WAKE = 0x00,
        IRP_MN_POWER_SEQUENCE = 0x01,
        IRP_MN_SET_POWER = 0x02,
        IRP_MN_QUERY_POWER = 0x03,
    }
}

abi_consts! {
    "Control flag of a stack location"
    pub(crate) CONTROL: u8 {
        SL_PENDING_RETURNED = 0x01,
        SL_ERROR_RETURNED = 0x02,
        SL_INVOKE_ON_CANCEL = 0x20,
        SL_INVOKE_ON_SUCCESS = 0x40,
        SL_INVOKE_ON_ERROR = 0x80,
    }
}

abi_consts! {
    "Flag of a request"
    pub(crate) IRP_FLAGS: u32 {
        IRP_NOCACHE = 0x1,
        IRP_PAGING_IO = 0x2,
        IRP_SYNCHRONOUS_API = 0x4,
        IRP_ASSOCIATED_IRP = 0x8,
        IRP_BUFFERED_IO = 0x10,
        IRP_DEALLOCATE_BUFFER = 0x20,
        IRP_INPUT_OPERATION = 0x40,
        IRP_CREATE_OPERATION = 0x80,
        IRP_READ_OPERATION = 0x100,
        IRP_WRITE_OPERATION = 0x200,
        IRP_CLOSE_OPERATION = 0x400,
        IRP_DEFER_IO_COMPLETION = 0x800,
    }
}

abi_consts! {
    "Flag of a memory descriptor list"
    pub(crate) MDL_FLAGS: u16 {
        MDL_MAPPED_TO_SYSTEM_VA = 0x1,
        MDL_PAGES_LOCKED = 0x2,
        MDL_SOURCE_IS_NONPAGED_POOL = 0x4,
        MDL_ALLOCATED_FIXED_SIZE = 0x8,
        MDL_PARTIAL = 0x10,
        MDL_PARTIAL_HAS_BEEN_MAPPED = 0x20,
        MDL_IO_PAGE_READ = 0x40,
        MDL_WRITE_OPERATION = 0x80,
        MDL_PARENT_MAPPED_SYSTEM_VA = 0x100,
        MDL_IO_SPACE = 0x800,
        MDL_MAPPING_CAN_FAIL = 0x2000,
    }
}

abi_consts! {
    "Object type of an I/O manager structure"
    pub(crate) OBJECT_TYPES: u16 {
        IO_TYPE_DEVICE = 3,
        IO_TYPE_DRIVER = 4,
        IO_TYPE_FILE = 5,
        IO_TYPE_IRP = 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_control_parameters_sit_at_8_16_and_24() {
        let mut location = IoStackLocation::default();
        let parameters = DeviceIoControlParameters {
            output_buffer_length: 1,
            input_buffer_length: 2,
            io_control_code: 3,
            type3_input_buffer: Ptr64(4),
            ..DeviceIoControlParameters::default()
        };
        location.set_device_io_control(parameters);
        let bytes = location.as_bytes();
        assert_eq!([bytes[8], bytes[16], bytes[24], bytes[32]], [1, 2, 3, 4]);
        assert_eq!(location.device_io_control(), parameters);
    }

    #[test]
    fn packet_and_stack_location_have_their_public_sizes() {
        assert_eq!((size_of::<Irp>(), align_of::<Irp>()), (208, 16));
        assert_eq!(size_of::<IoStackLocation>(), 72);
        assert_eq!(offset_of!(Irp, driver_context), 120);
    }
}
