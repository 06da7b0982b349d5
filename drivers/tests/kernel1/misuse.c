/* Rules broken on purpose, one a routine. The Rust side takes the reports and lets the driver go on. */
#include "kernel1.h"

NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE, BOOLEAN, PLARGE_INTEGER);
FIND(PVOID, ExAllocatePool2, (ULONGLONG, SIZE_T, ULONG))

#define BREAKS(name) __declspec(dllexport) void breaks_##name(void); void breaks_##name(void)

static VOID NTAPI nothing(PKDPC dpc, PVOID context, PVOID first, PVOID second) {}

static VOID NTAPI raises(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    import_KeLowerIrql(PASSIVE_LEVEL);
}

BREAKS(a_wait_at_dispatch)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    import_KfRaiseIrql(DISPATCH_LEVEL);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
    import_KeLowerIrql(PASSIVE_LEVEL);
}

BREAKS(a_wait_for_nothing)
{
    ULONGLONG memory[8] = {0xAB, 0, 0, 0};
    KeWaitForSingleObject(memory, Executive, KernelMode, FALSE, NULL);
}

BREAKS(a_wait_for_too_many)
{
    KEVENT event;
    PVOID objects[4] = {&event, &event, &event, &event};
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    KeWaitForMultipleObjects(4, objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
}

BREAKS(raising_down)
{
    import_KfRaiseIrql(DISPATCH_LEVEL);
    import_KfRaiseIrql(APC_LEVEL);
    import_KeLowerIrql(PASSIVE_LEVEL);
}

BREAKS(lowering_up)
{
    import_KeLowerIrql(APC_LEVEL);
    import_KeLowerIrql(PASSIVE_LEVEL);
}

BREAKS(a_spin_lock_that_is_not_held)
{
    KSPIN_LOCK lock = 0;
    import_KfRaiseIrql(DISPATCH_LEVEL);
    KeReleaseSpinLock(&lock, PASSIVE_LEVEL);
}

BREAKS(a_spin_lock_that_is_held_already)
{
    KSPIN_LOCK lock = 0;
    KIRQL old;
    KeAcquireSpinLock(&lock, &old);
    KeAcquireSpinLockAtDpcLevel(&lock);
    KeReleaseSpinLock(&lock, old);
}

BREAKS(a_mutex_of_nobody)
{
    KMUTEX mutex;
    KeInitializeMutex(&mutex, 0);
    KeReleaseMutex(&mutex, FALSE);
}

BREAKS(a_fast_mutex_twice)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    ExAcquireFastMutexUnsafe(&mutex);
    ExReleaseFastMutex(&mutex);
}

BREAKS(a_semaphore_over_its_limit)
{
    KSEMAPHORE semaphore;
    KeInitializeSemaphore(&semaphore, 1, 2);
    KeReleaseSemaphore(&semaphore, 0, 2, FALSE);
}

BREAKS(a_resource_of_another)
{
    ERESOURCE resource;
    ExInitializeResourceLite(&resource);
    ExReleaseResourceLite(&resource);
    ExDeleteResourceLite(&resource);
}

BREAKS(a_region_that_was_not_entered)
{
    KeLeaveCriticalRegion();
}

BREAKS(a_second_free)
{
    PVOID memory = ExAllocatePoolWithTag(NonPagedPool, 100, TAG);
    ExFreePoolWithTag(memory, TAG);
    ExFreePoolWithTag(memory, TAG);
}

BREAKS(a_free_of_the_stack)
{
    ULONGLONG memory[8];
    ExFreePool(memory);
}

BREAKS(a_free_of_the_middle)
{
    char *memory = ExAllocatePoolWithTag(NonPagedPool, 100, TAG);
    ExFreePool(memory + 16);
    ExFreePool(memory);
}

BREAKS(a_free_under_another_tag)
{
    PVOID memory = ExAllocatePoolWithTag(NonPagedPool, 100, TAG);
    ExFreePoolWithTag(memory, TAG + 1);
}

BREAKS(an_allocation_without_a_tag)
{
    ExFreePool(ExAllocatePoolWithTag(NonPagedPool, 100, 0));
}

BREAKS(paged_pool_at_dispatch)
{
    PVOID memory;
    import_KfRaiseIrql(DISPATCH_LEVEL);
    memory = ExAllocatePoolWithTag(PagedPool, 100, TAG);
    import_KeLowerIrql(PASSIVE_LEVEL);
    ExFreePool(memory);
}

BREAKS(a_free_of_a_timer_that_is_set)
{
    PKTIMER timer = ExAllocatePoolWithTag(NonPagedPool, sizeof *timer, TAG);
    KeInitializeTimer(timer);
    KeSetTimer(timer, milliseconds(10000000), NULL);
    ExFreePool(timer);
}

BREAKS(a_dpc_that_changes_the_level)
{
    static KDPC dpc;
    KeInitializeDpc(&dpc, raises, NULL);
    KeInsertQueueDpc(&dpc, NULL, NULL);
    KeFlushQueuedDpcs();
}

BREAKS(a_dpc_that_was_not_initialized)
{
    static KDPC dpc;
    KeInsertQueueDpc(&dpc, NULL, NULL);
    KeFlushQueuedDpcs();
}

BREAKS(a_timer_initialized_while_it_is_set)
{
    KTIMER timer;
    KDPC dpc;
    KeInitializeDpc(&dpc, nothing, NULL);
    KeInitializeTimer(&timer);
    KeSetTimer(&timer, milliseconds(10000000), &dpc);
    KeInitializeTimer(&timer);
}

static KEVENT item_may_end, item_runs;
static VOID NTAPI block_worker(PVOID context)
{
    KeSetEvent(&item_runs, 0, FALSE);
    wait_for(&item_may_end);
}

BREAKS(a_work_item_queued_twice)
{
    WORK_QUEUE_ITEM blocker, item;
    KeInitializeEvent(&item_may_end, NotificationEvent, FALSE);
    KeInitializeEvent(&item_runs, SynchronizationEvent, FALSE);
    ExInitializeWorkItem(&blocker, block_worker, NULL);
    ExInitializeWorkItem(&item, block_worker, NULL);
    ExQueueWorkItem(&blocker, CriticalWorkQueue);
    wait_for(&item_runs);
    ExQueueWorkItem(&item, CriticalWorkQueue);
    ExQueueWorkItem(&item, CriticalWorkQueue);
    KeSetEvent(&item_may_end, 0, FALSE);
    wait_for(&item_runs);
}

static VOID NTAPI keep_mutex(PVOID mutex)
{
    wait_for(mutex);
}

BREAKS(a_thread_that_keeps_a_mutex)
{
    static KMUTEX mutex;
    HANDLE handle;
    PVOID thread;
    KeInitializeMutex(&mutex, 0);
    PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, keep_mutex, &mutex);
    ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, &thread, NULL);
    wait_for(thread);
    ObDereferenceObject(thread);
    ZwClose(handle);
}

BREAKS(a_rundown_released_too_often)
{
    EX_RUNDOWN_REF protection;
    ExInitializeRundownProtection(&protection);
    ExReleaseRundownProtection(&protection);
}

BREAKS(a_remove_lock_released_too_often)
{
    IO_REMOVE_LOCK lock;
    IoInitializeRemoveLock(&lock, TAG, 0, 0);
    IoReleaseRemoveLock(&lock, NULL);
    IoReleaseRemoveLock(&lock, NULL);
}

BREAKS(a_delay_at_dispatch)
{
    LARGE_INTEGER moment = milliseconds(1);
    import_KfRaiseIrql(DISPATCH_LEVEL);
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    import_KeLowerIrql(PASSIVE_LEVEL);
}

/* Blocks that nobody frees. */
__declspec(dllexport) void leak(void);
void leak(void)
{
    ExAllocatePoolWithTag(NonPagedPool, 100, 0x6B61654C);
    ExAllocatePoolWithTag(PagedPool, 5000, 0x6B61654C);
    find_ExAllocatePool2()(0x40, 24, 0x6B616552);
}

/* A timer that nobody cancels and a thread that nobody ends. */
static VOID NTAPI stay(PVOID context)
{
    wait_for(context);
}

static KEVENT thread_may_end;
static HANDLE left_thread;

__declspec(dllexport) void leave_behind(void);
void leave_behind(void)
{
    static KTIMER timer;
    KeInitializeTimer(&timer);
    KeSetTimerEx(&timer, milliseconds(10000000), 5, NULL);
    KeInitializeEvent(&thread_may_end, NotificationEvent, FALSE);
    PsCreateSystemThread(&left_thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, stay, &thread_may_end);
}

__declspec(dllexport) void end_what_was_left(void);
void end_what_was_left(void)
{
    KeSetEvent(&thread_may_end, 0, FALSE);
    ZwWaitForSingleObject(left_thread, FALSE, NULL);
    ZwClose(left_thread);
}
