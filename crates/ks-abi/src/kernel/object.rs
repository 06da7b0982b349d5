//! Driver, device and file objects.

use super::dispatcher::{KDeviceQueue, KDpc, KEvent, ListEntry, UnicodeString, WaitContextBlock};
use crate::define::{abi_consts, abi_struct};
use crate::pointer::Ptr64;
use crate::status::NtStatus;

abi_struct! {
    /// A loaded driver.
    pub struct DriverObject = "DRIVER_OBJECT", "ns-wdm-_driver_object" {
        /// 4.
        object_type: i16 = "Type",
        /// Bytes of the object.
        object_size: i16 = "Size",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// First of the driver's devices.
        device_object: Ptr64 = "DeviceObject",
        /// Owned by the system.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Start of the image.
        driver_start: Ptr64 = "DriverStart",
        /// Bytes of the image.
        driver_size: u32 = "DriverSize",
        #[doc(hidden)]
        _padding3: u32 = "",
        /// The image's section.
        driver_section: Ptr64 = "DriverSection",
        /// A [`DriverExtension`].
        driver_extension: Ptr64 = "DriverExtension",
        /// Name of the object.
        driver_name: UnicodeString = "DriverName",
        /// Registry path of hardware information.
        hardware_database: Ptr64 = "HardwareDatabase",
        /// Fast I/O routines.
        fast_io_dispatch: Ptr64 = "FastIoDispatch",
        /// Entry point.
        driver_init: Ptr64 = "DriverInit",
        /// Start routine.
        driver_start_io: Ptr64 = "DriverStartIo",
        /// Unload routine.
        driver_unload: Ptr64 = "DriverUnload",
        /// Dispatch routines by `IRP_MJ_*`.
        major_function: [Ptr64; 28] = "MajorFunction",
    }
}

abi_struct! {
    /// The public part of a driver's extension.
    pub struct DriverExtension = "DRIVER_EXTENSION", "Windows kernel opaque structures" {
        /// The driver.
        driver_object: Ptr64 = "DriverObject",
        /// Called for each device.
        add_device: Ptr64 = "AddDevice",
        /// Times it was reinitialized.
        count: u32 = "Count",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Registry key of the service.
        service_key_name: UnicodeString = "ServiceKeyName",
    }
}

abi_struct! {
    /// A device.
    pub struct DeviceObject = "DEVICE_OBJECT", "ns-wdm-_device_object" [align(16)] {
        /// 3.
        object_type: i16 = "Type",
        /// Bytes with the extension.
        object_size: u16 = "Size",
        /// Open handles.
        reference_count: i32 = "ReferenceCount",
        /// The driver.
        driver_object: Ptr64 = "DriverObject",
        /// Next of the driver's devices.
        next_device: Ptr64 = "NextDevice",
        /// Device attached to this one.
        attached_device: Ptr64 = "AttachedDevice",
        /// Request being started.
        current_irp: Ptr64 = "CurrentIrp",
        /// Timer.
        timer: Ptr64 = "Timer",
        /// `DO_*`.
        flags: u32 = "Flags",
        /// `FILE_*` characteristics.
        characteristics: u32 = "Characteristics",
        /// Volume.
        vpb: Ptr64 = "Vpb",
        /// The driver's own part.
        device_extension: Ptr64 = "DeviceExtension",
        /// `FILE_DEVICE_*`.
        device_type: u32 = "DeviceType",
        /// Stack locations that a request needs.
        stack_size: i8 = "StackSize",
        #[doc(hidden)]
        _padding1: [u8; 3] = "",
        /// Queue for map registers.
        queue: WaitContextBlock = "Queue.Wcb" | "Queue.ListEntry",
        /// Alignment mask of buffers.
        alignment_requirement: u32 = "AlignmentRequirement",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Queue of requests.
        device_queue: KDeviceQueue = "DeviceQueue",
        /// The device's DPC.
        dpc: KDpc = "Dpc",
        /// Owned by the system.
        active_thread_count: u32 = "ActiveThreadCount",
        #[doc(hidden)]
        _padding3: u32 = "",
        /// Security.
        security_descriptor: Ptr64 = "SecurityDescriptor",
        /// Owned by the system.
        device_lock: KEvent = "DeviceLock",
        /// Bytes of a sector.
        sector_size: u16 = "SectorSize",
        /// Unused.
        spare1: u16 = "Spare1",
        #[doc(hidden)]
        _padding4: u32 = "",
        /// Owned by the system.
        device_object_extension: Ptr64 = "DeviceObjectExtension",
        /// Unused.
        reserved: Ptr64 = "Reserved",
        #[doc(hidden)]
        _padding5: u64 = "",
    }
}

abi_struct! {
    /// An open instance of a device: for Kernel Streaming, a filter, pin, clock, allocator or node.
    pub struct FileObject = "FILE_OBJECT", "ns-wdm-_file_object" {
        /// 5.
        object_type: i16 = "Type",
        /// Bytes of the object.
        object_size: i16 = "Size",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// The device.
        device_object: Ptr64 = "DeviceObject",
        /// Volume.
        vpb: Ptr64 = "Vpb",
        /// The driver's; Kernel Streaming keeps its object header here.
        fs_context: Ptr64 = "FsContext",
        /// The driver's.
        fs_context2: Ptr64 = "FsContext2",
        /// Owned by file systems.
        section_object_pointer: Ptr64 = "SectionObjectPointer",
        /// Owned by the cache.
        private_cache_map: Ptr64 = "PrivateCacheMap",
        /// Status of the last request.
        final_status: NtStatus = "FinalStatus",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// The parent, during create.
        related_file_object: Ptr64 = "RelatedFileObject",
        /// A lock was taken.
        lock_operation: u8 = "LockOperation",
        /// To be deleted.
        delete_pending: u8 = "DeletePending",
        /// Opened for reading.
        read_access: u8 = "ReadAccess",
        /// Opened for writing.
        write_access: u8 = "WriteAccess",
        /// Opened for deleting.
        delete_access: u8 = "DeleteAccess",
        /// Shared for reading.
        shared_read: u8 = "SharedRead",
        /// Shared for writing.
        shared_write: u8 = "SharedWrite",
        /// Shared for deleting.
        shared_delete: u8 = "SharedDelete",
        /// `FO_*`.
        flags: u32 = "Flags",
        #[doc(hidden)]
        _padding3: u32 = "",
        /// The name after the device; for a sub-object, its class and parameters.
        file_name: UnicodeString = "FileName",
        /// Position of synchronous requests.
        current_byte_offset: i64 = "CurrentByteOffset",
        /// Threads that wait for the object.
        waiters: u32 = "Waiters",
        /// A synchronous request is under way.
        busy: u32 = "Busy",
        /// Last byte-range lock.
        last_lock: Ptr64 = "LastLock",
        /// Waited for by synchronous requests.
        lock: KEvent = "Lock",
        /// Set when a request ends.
        event: KEvent = "Event",
        /// Completion port.
        completion_context: Ptr64 = "CompletionContext",
        /// Guards the list.
        irp_list_lock: u64 = "IrpListLock",
        /// Requests of the object.
        irp_list: ListEntry = "IrpList",
        /// Owned by the system.
        file_object_extension: Ptr64 = "FileObjectExtension",
    }
}

abi_consts! {
    "Flag of a device"
    pub(crate) DEVICE_FLAGS: u32 {
        DO_BUFFERED_IO = 0x4,
        DO_EXCLUSIVE = 0x8,
        DO_DIRECT_IO = 0x10,
        DO_DEVICE_INITIALIZING = 0x80,
        DO_BUS_ENUMERATED_DEVICE = 0x1000,
        DO_POWER_PAGABLE = 0x2000,
        DO_POWER_INRUSH = 0x4000,
    }
}
