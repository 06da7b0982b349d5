//! Structures of the kernel half as windows-sys has them; a member is `"our spelling" => its path there`.

use crate::windows_sys::structures;
use crate::{Facts, Key};

pub(super) fn add(facts: &mut Facts) {
    structures! { facts, windows_sys::Win32::System::Kernel::LIST_ENTRY:
        "Flink" => Flink, "Blink" => Blink,
    }
    structures! { facts, windows_sys::Wdk::Foundation::DISPATCHER_HEADER:
        "Type" => Anonymous.Anonymous2.Type, "Size" => Anonymous.Anonymous2.Size, "SignalState" => SignalState,
        "WaitListHead" => WaitListHead,
    }
    structures! { facts, windows_sys::Wdk::Foundation::KEVENT:
        "Header" => Header,
    }
    structures! { facts, windows_sys::Wdk::System::SystemServices::KSEMAPHORE:
        "Header" => Header, "Limit" => Limit,
    }
    structures! { facts, windows_sys::Wdk::Foundation::KMUTANT:
        "Header" => Header, "MutantListEntry" => MutantListEntry, "OwnerThread" => OwnerThread,
        "ApcDisable" => ApcDisable,
    }
    structures! { facts, windows_sys::Wdk::Foundation::KDPC:
        "Type" => Anonymous.Anonymous.Type, "Importance" => Anonymous.Anonymous.Importance,
        "Number" => Anonymous.Anonymous.Number, "DpcListEntry" => DpcListEntry, "DeferredRoutine" => DeferredRoutine,
        "DeferredContext" => DeferredContext, "SystemArgument1" => SystemArgument1,
        "SystemArgument2" => SystemArgument2, "DpcData" => DpcData,
    }
    structures! { facts, windows_sys::Wdk::System::SystemServices::KTIMER:
        "Header" => Header, "DueTime" => DueTime, "TimerListEntry" => TimerListEntry, "Dpc" => Dpc,
        "Period" => Period,
    }
    structures! { facts, windows_sys::Wdk::Foundation::FAST_MUTEX:
        "Count" => Count, "Owner" => Owner, "Contention" => Contention, "Event" => Event, "OldIrql" => OldIrql,
    }
    structures! { facts, windows_sys::Wdk::Foundation::WORK_QUEUE_ITEM:
        "List" => List, "WorkerRoutine" => WorkerRoutine, "Parameter" => Parameter,
    }
    structures! { facts, windows_sys::Wdk::System::SystemServices::KAPC:
        "Type" => Type, "Size" => Size, "SpareByte1" => SpareByte1, "SpareLong0" => SpareLong0, "Thread" => Thread,
        "ApcListEntry" => ApcListEntry, "NormalContext" => NormalContext, "SystemArgument1" => SystemArgument1,
        "SystemArgument2" => SystemArgument2, "ApcStateIndex" => ApcStateIndex, "ApcMode" => ApcMode,
        "Inserted" => Inserted,
    }
    structures! { facts, windows_sys::Wdk::System::SystemServices::KDEVICE_QUEUE_ENTRY:
        "DeviceListEntry" => DeviceListEntry, "SortKey" => SortKey, "Inserted" => Inserted,
    }
    structures! { facts, windows_sys::Wdk::Foundation::KDEVICE_QUEUE:
        "Type" => Type, "Size" => Size, "DeviceListHead" => DeviceListHead, "Lock" => Lock, "Busy" => Busy,
    }
    structures! { facts, windows_sys::Wdk::System::SystemServices::WAIT_CONTEXT_BLOCK:
        "WaitQueueEntry" => Anonymous.WaitQueueEntry, "DeviceRoutine" => DeviceRoutine,
        "DeviceContext" => DeviceContext, "NumberOfMapRegisters" => NumberOfMapRegisters,
        "DeviceObject" => DeviceObject, "CurrentIrp" => CurrentIrp, "BufferChainingDpc" => BufferChainingDpc,
    }
    structures! { facts, windows_sys::Win32::System::IO::IO_STATUS_BLOCK:
        "Status" => Anonymous.Status, "Pointer" => Anonymous.Pointer, "Information" => Information,
    }
    structures! { facts, windows_sys::Wdk::Foundation::IRP:
        "Type" => Type, "Size" => Size, "MdlAddress" => MdlAddress, "Flags" => Flags,
        "AssociatedIrp.SystemBuffer" => AssociatedIrp.SystemBuffer,
        "AssociatedIrp.MasterIrp" => AssociatedIrp.MasterIrp, "AssociatedIrp.IrpCount" => AssociatedIrp.IrpCount,
        "ThreadListEntry" => ThreadListEntry, "IoStatus" => IoStatus, "RequestorMode" => RequestorMode,
        "PendingReturned" => PendingReturned, "StackCount" => StackCount, "CurrentLocation" => CurrentLocation,
        "Cancel" => Cancel, "CancelIrql" => CancelIrql, "ApcEnvironment" => ApcEnvironment,
        "AllocationFlags" => AllocationFlags, "UserIosb" => Anonymous.UserIosb, "UserEvent" => UserEvent,
        "Overlay.AsynchronousParameters.UserApcRoutine" => Overlay.AsynchronousParameters.Anonymous1.UserApcRoutine,
        "Overlay.AllocationSize" => Overlay.AllocationSize,
        "Overlay.AsynchronousParameters.UserApcContext" => Overlay.AsynchronousParameters.Anonymous2.UserApcContext,
        "CancelRoutine" => CancelRoutine, "UserBuffer" => UserBuffer,
        "Tail.Overlay.DriverContext" => Tail.Overlay.Anonymous1.Anonymous.DriverContext,
        "Tail.Overlay.DeviceQueueEntry" => Tail.Overlay.Anonymous1.DeviceQueueEntry, "Tail.Apc" => Tail.Apc,
        "Tail.CompletionKey" => Tail.CompletionKey, "Tail.Overlay.Thread" => Tail.Overlay.Thread,
        "Tail.Overlay.AuxiliaryBuffer" => Tail.Overlay.AuxiliaryBuffer,
        "Tail.Overlay.ListEntry" => Tail.Overlay.Anonymous2.ListEntry,
        "Tail.Overlay.CurrentStackLocation" => Tail.Overlay.Anonymous2.Anonymous.CurrentStackLocation,
        "Tail.Overlay.PacketType" => Tail.Overlay.Anonymous2.Anonymous.PacketType,
        "Tail.Overlay.OriginalFileObject" => Tail.Overlay.OriginalFileObject,
    }
    structures! { facts, windows_sys::Wdk::Foundation::IO_STACK_LOCATION:
        "MajorFunction" => MajorFunction, "MinorFunction" => MinorFunction, "Flags" => Flags, "Control" => Control,
        "Parameters" => Parameters, "DeviceObject" => DeviceObject, "FileObject" => FileObject,
        "CompletionRoutine" => CompletionRoutine, "Context" => Context,
        "Parameters.Others.Argument1" => Parameters.Others.Argument1,
        "Parameters.Others.Argument2" => Parameters.Others.Argument2,
        "Parameters.Others.Argument3" => Parameters.Others.Argument3,
        "Parameters.Others.Argument4" => Parameters.Others.Argument4,
        "Parameters.DeviceIoControl.OutputBufferLength" => Parameters.DeviceIoControl.OutputBufferLength,
        "Parameters.DeviceIoControl.InputBufferLength" => Parameters.DeviceIoControl.InputBufferLength,
        "Parameters.DeviceIoControl.IoControlCode" => Parameters.DeviceIoControl.IoControlCode,
        "Parameters.DeviceIoControl.Type3InputBuffer" => Parameters.DeviceIoControl.Type3InputBuffer,
        "Parameters.Create.SecurityContext" => Parameters.Create.SecurityContext,
        "Parameters.Create.Options" => Parameters.Create.Options,
        "Parameters.Create.FileAttributes" => Parameters.Create.FileAttributes,
        "Parameters.Create.ShareAccess" => Parameters.Create.ShareAccess,
        "Parameters.Create.EaLength" => Parameters.Create.EaLength,
        "Parameters.Read.Length" => Parameters.Read.Length, "Parameters.Read.Key" => Parameters.Read.Key,
        "Parameters.Read.ByteOffset" => Parameters.Read.ByteOffset,
        "Parameters.QueryInterface.InterfaceType" => Parameters.QueryInterface.InterfaceType,
        "Parameters.QueryInterface.Size" => Parameters.QueryInterface.Size,
        "Parameters.QueryInterface.Version" => Parameters.QueryInterface.Version,
        "Parameters.QueryInterface.Interface" => Parameters.QueryInterface.Interface,
        "Parameters.QueryInterface.InterfaceSpecificData" => Parameters.QueryInterface.InterfaceSpecificData,
        "Parameters.StartDevice.AllocatedResources" => Parameters.StartDevice.AllocatedResources,
        "Parameters.StartDevice.AllocatedResourcesTranslated" => Parameters.StartDevice.AllocatedResourcesTranslated,
    }
    structures! { facts, windows_sys::Wdk::Foundation::IO_SECURITY_CONTEXT:
        "SecurityQos" => SecurityQos, "AccessState" => AccessState, "DesiredAccess" => DesiredAccess,
        "FullCreateOptions" => FullCreateOptions,
    }
    structures! { facts, windows_sys::Wdk::Foundation::MDL:
        "Next" => Next, "Size" => Size, "MdlFlags" => MdlFlags, "Process" => Process,
        "MappedSystemVa" => MappedSystemVa, "StartVa" => StartVa, "ByteCount" => ByteCount,
        "ByteOffset" => ByteOffset,
    }
    structures! { facts, windows_sys::Wdk::Foundation::DRIVER_OBJECT:
        "Type" => Type, "Size" => Size, "DeviceObject" => DeviceObject, "Flags" => Flags,
        "DriverStart" => DriverStart, "DriverSize" => DriverSize, "DriverSection" => DriverSection,
        "DriverExtension" => DriverExtension, "DriverName" => DriverName, "HardwareDatabase" => HardwareDatabase,
        "FastIoDispatch" => FastIoDispatch, "DriverInit" => DriverInit, "DriverStartIo" => DriverStartIo,
        "DriverUnload" => DriverUnload, "MajorFunction" => MajorFunction,
    }
    structures! { facts, windows_sys::Wdk::Foundation::DRIVER_EXTENSION:
        "DriverObject" => DriverObject, "AddDevice" => AddDevice, "Count" => Count,
        "ServiceKeyName" => ServiceKeyName,
    }
    structures! { facts, windows_sys::Wdk::Foundation::DEVICE_OBJECT:
        "Type" => Type, "Size" => Size, "ReferenceCount" => ReferenceCount, "DriverObject" => DriverObject,
        "NextDevice" => NextDevice, "AttachedDevice" => AttachedDevice, "CurrentIrp" => CurrentIrp, "Timer" => Timer,
        "Flags" => Flags, "Characteristics" => Characteristics, "Vpb" => Vpb, "DeviceExtension" => DeviceExtension,
        "DeviceType" => DeviceType, "StackSize" => StackSize, "Queue.Wcb" => Queue.Wcb,
        "Queue.ListEntry" => Queue.ListEntry, "AlignmentRequirement" => AlignmentRequirement,
        "DeviceQueue" => DeviceQueue, "Dpc" => Dpc, "ActiveThreadCount" => ActiveThreadCount,
        "SecurityDescriptor" => SecurityDescriptor, "DeviceLock" => DeviceLock, "SectorSize" => SectorSize,
        "Spare1" => Spare1, "DeviceObjectExtension" => DeviceObjectExtension, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Wdk::Foundation::FILE_OBJECT:
        "Type" => Type, "Size" => Size, "DeviceObject" => DeviceObject, "Vpb" => Vpb, "FsContext" => FsContext,
        "FsContext2" => FsContext2, "SectionObjectPointer" => SectionObjectPointer,
        "PrivateCacheMap" => PrivateCacheMap, "FinalStatus" => FinalStatus, "RelatedFileObject" => RelatedFileObject,
        "LockOperation" => LockOperation, "DeletePending" => DeletePending, "ReadAccess" => ReadAccess,
        "WriteAccess" => WriteAccess, "DeleteAccess" => DeleteAccess, "SharedRead" => SharedRead,
        "SharedWrite" => SharedWrite, "SharedDelete" => SharedDelete, "Flags" => Flags, "FileName" => FileName,
        "CurrentByteOffset" => CurrentByteOffset, "Waiters" => Waiters, "Busy" => Busy, "LastLock" => LastLock,
        "Lock" => Lock, "Event" => Event, "CompletionContext" => CompletionContext, "IrpListLock" => IrpListLock,
        "IrpList" => IrpList, "FileObjectExtension" => FileObjectExtension,
    }
}
