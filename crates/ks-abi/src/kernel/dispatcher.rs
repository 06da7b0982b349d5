//! Objects of the kernel's dispatcher and the little structures around them: lists, strings, events, timers, DPCs.

use crate::define::{abi_consts, abi_enum, abi_struct};
use crate::pointer::Ptr64;

abi_struct! {
    /// A link of a doubly linked list, or its head.
    pub struct ListEntry = "LIST_ENTRY", "ns-ntdef-list_entry" {
        /// Next entry.
        next: Ptr64 = "Flink",
        /// Previous entry.
        previous: Ptr64 = "Blink",
    }
}

abi_struct! {
    /// A counted UTF-16 string.
    pub struct UnicodeString = "UNICODE_STRING", "ns-ntdef-_unicode_string" {
        /// Bytes used, without a terminator.
        length: u16 = "Length",
        /// Bytes of the buffer.
        maximum_length: u16 = "MaximumLength",
        #[doc(hidden)]
        _padding: u32 = "",
        /// The characters.
        buffer: Ptr64 = "Buffer",
    }
}

abi_struct! {
    /// What every waitable object starts with.
    pub struct DispatcherHeader = "DISPATCHER_HEADER", "ns-wdm-_dispatcher_header" {
        /// Kind of object.
        object_type: u8 = "Type",
        /// Depends on the kind.
        control: u8 = "",
        /// Size in 32-bit words.
        object_size: u8 = "Size",
        /// Depends on the kind.
        flags: u8 = "",
        /// Signalled when greater than zero.
        signal_state: i32 = "SignalState",
        /// Waiters.
        wait_list_head: ListEntry = "WaitListHead",
    }
}

abi_struct! {
    /// An event.
    pub struct KEvent = "KEVENT", "Windows kernel opaque structures" {
        /// All of it.
        header: DispatcherHeader = "Header",
    }
}

abi_struct! {
    /// A counting semaphore.
    pub struct KSemaphore = "KSEMAPHORE", "Windows kernel opaque structures" {
        /// The state.
        header: DispatcherHeader = "Header",
        /// Greatest count.
        limit: i32 = "Limit",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_struct! {
    /// A mutex (`KMUTEX`).
    pub struct KMutant = "KMUTANT", "Windows kernel opaque structures" {
        /// The state.
        header: DispatcherHeader = "Header",
        /// Link in the owner's list.
        mutant_list_entry: ListEntry = "MutantListEntry",
        /// Owner.
        owner_thread: Ptr64 = "OwnerThread",
        /// The owner ended.
        abandoned: u8 = "Abandoned",
        /// Kernel APCs are off while owned.
        apc_disable: u8 = "ApcDisable",
        #[doc(hidden)]
        _padding: [u8; 6] = "",
    }
}

abi_struct! {
    /// A deferred procedure call.
    pub struct KDpc = "KDPC", "Windows kernel opaque structures" {
        /// Kind of object.
        object_type: u8 = "Type",
        /// Low, medium or high.
        importance: u8 = "Importance",
        /// Target processor.
        number: u16 = "Number",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Link in the queue.
        dpc_list_entry: ListEntry = "DpcListEntry",
        /// What is called.
        deferred_routine: Ptr64 = "DeferredRoutine",
        /// Its context.
        deferred_context: Ptr64 = "DeferredContext",
        /// First argument of the queuer.
        system_argument1: Ptr64 = "SystemArgument1",
        /// Second argument of the queuer.
        system_argument2: Ptr64 = "SystemArgument2",
        /// The queue it is in.
        dpc_data: Ptr64 = "DpcData",
    }
}

abi_struct! {
    /// A timer.
    pub struct KTimer = "KTIMER", "Windows kernel opaque structures" {
        /// The state.
        header: DispatcherHeader = "Header",
        /// When it expires.
        due_time: u64 = "DueTime",
        /// Link in the timer table.
        timer_list_entry: ListEntry = "TimerListEntry",
        /// Queued when it expires.
        dpc: Ptr64 = "Dpc",
        /// Processor of the timer table.
        processor: u32 = "Processor",
        /// Milliseconds, or zero.
        period: u32 = "Period",
    }
}

abi_struct! {
    /// A fast mutex.
    pub struct FastMutex = "FAST_MUTEX", "Windows kernel opaque structures" {
        /// One when free.
        count: i32 = "Count",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Owner.
        owner: Ptr64 = "Owner",
        /// Times it was contended.
        contention: u32 = "Contention",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// What waiters wait for.
        event: KEvent = "Event",
        /// Level to go back to.
        old_irql: u32 = "OldIrql",
        #[doc(hidden)]
        _padding3: u32 = "",
    }
}

abi_struct! {
    /// A work item of the system's worker threads.
    pub struct WorkQueueItem = "WORK_QUEUE_ITEM", "ns-wdm-_work_queue_item" {
        /// Link in the queue.
        list: ListEntry = "List",
        /// What is called.
        worker_routine: Ptr64 = "WorkerRoutine",
        /// Its argument.
        parameter: Ptr64 = "Parameter",
    }
}

abi_struct! {
    /// An asynchronous procedure call.
    pub struct KApc = "KAPC", "Windows kernel opaque structures" {
        /// Kind of object.
        object_type: u8 = "Type",
        /// Unused.
        spare_byte0: u8 = "SpareByte0",
        /// Bytes of the object.
        object_size: u8 = "Size",
        /// Unused.
        spare_byte1: u8 = "SpareByte1",
        /// Unused.
        spare_long0: u32 = "SpareLong0",
        /// Target thread.
        thread: Ptr64 = "Thread",
        /// Link in the thread's queue.
        apc_list_entry: ListEntry = "ApcListEntry",
        /// Called at APC level.
        kernel_routine: Ptr64 = "KernelRoutine",
        /// Called when the thread ends first.
        rundown_routine: Ptr64 = "RundownRoutine",
        /// Called at passive level.
        normal_routine: Ptr64 = "NormalRoutine",
        /// Its context.
        normal_context: Ptr64 = "NormalContext",
        /// First argument of the queuer.
        system_argument1: Ptr64 = "SystemArgument1",
        /// Second argument of the queuer.
        system_argument2: Ptr64 = "SystemArgument2",
        /// Which process it belongs to.
        apc_state_index: i8 = "ApcStateIndex",
        /// Kernel or user.
        apc_mode: u8 = "ApcMode",
        /// In a queue.
        inserted: u8 = "Inserted",
        #[doc(hidden)]
        _padding: [u8; 5] = "",
    }
}

abi_struct! {
    /// A link of a device queue.
    pub struct KDeviceQueueEntry = "KDEVICE_QUEUE_ENTRY", "ns-wdm-_kdevice_queue_entry" {
        /// The link.
        device_list_entry: ListEntry = "DeviceListEntry",
        /// Order.
        sort_key: u32 = "SortKey",
        /// In the queue.
        inserted: u8 = "Inserted",
        #[doc(hidden)]
        _padding: [u8; 3] = "",
    }
}

abi_struct! {
    /// A device queue.
    pub struct KDeviceQueue = "KDEVICE_QUEUE", "Windows kernel opaque structures" {
        /// Kind of object.
        object_type: i16 = "Type",
        /// Bytes of the object.
        object_size: i16 = "Size",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// The queue.
        device_list_head: ListEntry = "DeviceListHead",
        /// Its spin lock.
        lock: u64 = "Lock",
        /// The device is busy.
        busy: u8 = "Busy",
        #[doc(hidden)]
        _padding2: [u8; 7] = "",
    }
}

abi_struct! {
    /// Wait for map registers.
    pub struct WaitContextBlock = "WAIT_CONTEXT_BLOCK", "ns-wdm-_wait_context_block" {
        /// Link in the queue.
        wait_queue_entry: KDeviceQueueEntry = "WaitQueueEntry",
        /// Called when registers are there.
        device_routine: Ptr64 = "DeviceRoutine",
        /// Its context.
        device_context: Ptr64 = "DeviceContext",
        /// How many.
        number_of_map_registers: u32 = "NumberOfMapRegisters",
        #[doc(hidden)]
        _padding: u32 = "",
        /// The device.
        device_object: Ptr64 = "DeviceObject",
        /// Its current IRP.
        current_irp: Ptr64 = "CurrentIrp",
        /// The DPC.
        buffer_chaining_dpc: Ptr64 = "BufferChainingDpc",
    }
}

abi_enum! {
    /// Processor mode of a requestor.
    pub struct KProcessorMode: u8 = "KPROCESSOR_MODE", "previous mode" {
        /// Trusted.
        KERNEL = 0 => "KernelMode",
        /// To be probed.
        USER = 1 => "UserMode",
    }
}

abi_enum! {
    /// Power state of a device.
    pub struct DevicePowerState: u32 = "DEVICE_POWER_STATE", "ne-wdm-_device_power_state" {
        /// Not known.
        UNSPECIFIED = 0 => "PowerDeviceUnspecified",
        /// On.
        D0 = 1 => "PowerDeviceD0",
        /// Light sleep.
        D1 = 2 => "PowerDeviceD1",
        /// Deeper sleep.
        D2 = 3 => "PowerDeviceD2",
        /// Off.
        D3 = 4 => "PowerDeviceD3",
    }
}

abi_enum! {
    /// Power state of the system.
    pub struct SystemPowerState: u32 = "SYSTEM_POWER_STATE", "ne-wdm-_system_power_state" {
        /// Not known.
        UNSPECIFIED = 0 => "PowerSystemUnspecified",
        /// On.
        WORKING = 1 => "PowerSystemWorking",
        /// Sleep.
        SLEEPING1 = 2 => "PowerSystemSleeping1",
        /// Deeper sleep.
        SLEEPING2 = 3 => "PowerSystemSleeping2",
        /// Deepest sleep.
        SLEEPING3 = 4 => "PowerSystemSleeping3",
        /// Hibernated.
        HIBERNATE = 5 => "PowerSystemHibernate",
        /// Off.
        SHUTDOWN = 6 => "PowerSystemShutdown",
    }
}

abi_consts! {
    "Execution level"
    pub(crate) LEVELS: u8 {
        PASSIVE_LEVEL = 0,
        APC_LEVEL = 1,
        DISPATCH_LEVEL = 2,
        HIGH_LEVEL = 15,
    }
}

abi_enum! {
    /// Kind of kernel memory.
    pub struct PoolType: u32 = "POOL_TYPE", "ne-wdm-_pool_type" {
        /// Always resident, executable.
        NON_PAGED = 0 => "NonPagedPool",
        /// May be paged out.
        PAGED = 1 => "PagedPool",
        /// Always resident, never fails.
        NON_PAGED_MUST_SUCCEED = 2 => "NonPagedPoolMustSucceed",
        /// Always resident, aligned to cache lines.
        NON_PAGED_CACHE_ALIGNED = 4 => "NonPagedPoolCacheAligned",
        /// May be paged out, aligned to cache lines.
        PAGED_CACHE_ALIGNED = 5 => "PagedPoolCacheAligned",
        /// Always resident, not executable.
        NON_PAGED_NX = 512 => "NonPagedPoolNx",
    }
}
