/* System threads, work items, the process and the processors. */
#include "kernel1.h"

#undef PsGetCurrentProcess
#undef KeGetCurrentProcessorNumber
IMPORT(PKTHREAD, PsGetCurrentThread, (void))
IMPORT(HANDLE, PsGetThreadId, (PVOID))
IMPORT(BOOLEAN, PsIsSystemThread, (PVOID))
IMPORT(BOOLEAN, PsIsThreadTerminating, (PVOID))
FIND(NTSTATUS, PsGetThreadExitStatus, (PVOID))
FIND(NTSTATUS, IoCreateSystemThread, (PVOID, PHANDLE, ULONG, PVOID, HANDLE, PVOID, PKSTART_ROUTINE, PVOID))
IMPORT(KPRIORITY, KeQueryPriorityThread, (PKTHREAD))
IMPORT(LONG, KeSetBasePriorityThread, (PKTHREAD, LONG))
IMPORT(KPRIORITY, KeSetActualBasePriorityThread, (PKTHREAD, KPRIORITY))
IMPORT(ULONG, KeQueryRuntimeThread, (PKTHREAD, PULONG))
IMPORT(PVOID, PsGetCurrentProcess, (void))
IMPORT(PVOID, IoGetCurrentProcess, (void))
IMPORT(HANDLE, PsGetProcessId, (PVOID))
IMPORT(PVOID, PsGetThreadProcess, (PVOID))
IMPORT(HANDLE, PsGetThreadProcessId, (PVOID))
IMPORT(PVOID, PsGetCurrentThreadProcess, (void))
IMPORT(HANDLE, PsGetCurrentThreadProcessId, (void))
IMPORT(BOOLEAN, PsIsSystemProcess, (PVOID))
IMPORT(BOOLEAN, IoIsSystemThread, (PVOID))
IMPORT(PVOID, IoThreadToProcess, (PVOID))
IMPORT(KPROCESSOR_MODE, ExGetPreviousMode, (void))
IMPORT(VOID, KeStackAttachProcess, (PVOID, PVOID))
IMPORT(VOID, KeUnstackDetachProcess, (PVOID))
IMPORT(ULONG, KeQueryActiveProcessorCount, (PKAFFINITY))
IMPORT(ULONG, KeQueryActiveProcessorCountEx, (USHORT))
IMPORT(ULONG, KeQueryMaximumProcessorCount, (void))
IMPORT(ULONG, KeQueryMaximumProcessorCountEx, (USHORT))
IMPORT(KAFFINITY, KeQueryActiveProcessors, (void))
IMPORT(USHORT, KeQueryActiveGroupCount, (void))
IMPORT(USHORT, KeQueryMaximumGroupCount, (void))
IMPORT(KAFFINITY, KeQueryGroupAffinity, (USHORT))
FIND(ULONG, KeGetCurrentProcessorNumber, (void))
IMPORT(ULONG, KeGetCurrentProcessorNumberEx, (PPROCESSOR_NUMBER))
IMPORT(ULONG, KeGetProcessorIndexFromNumber, (PPROCESSOR_NUMBER))
IMPORT(NTSTATUS, KeGetProcessorNumberFromIndex, (ULONG, PPROCESSOR_NUMBER))
IMPORT(USHORT, KeGetCurrentNodeNumber, (void))
IMPORT(USHORT, KeQueryHighestNodeNumber, (void))
IMPORT(VOID, KeSetSystemAffinityThread, (KAFFINITY))
IMPORT(KAFFINITY, KeSetSystemAffinityThreadEx, (KAFFINITY))
IMPORT(VOID, KeRevertToUserAffinityThread, (void))
IMPORT(VOID, KeRevertToUserAffinityThreadEx, (KAFFINITY))
IMPORT(VOID, KeSetSystemGroupAffinityThread, (PGROUP_AFFINITY, PGROUP_AFFINITY))
IMPORT(VOID, KeRevertToUserGroupAffinityThread, (PGROUP_AFFINITY))
IMPORT(UCHAR, KeSetIdealProcessorThread, (PKTHREAD, UCHAR))
FIND(BOOLEAN, IoTryQueueWorkItem, (PIO_WORKITEM, PIO_WORKITEM_ROUTINE_EX, WORK_QUEUE_TYPE, PVOID))
extern PVOID *imported_process __asm__("__imp_PsInitialSystemProcess");
extern signed char *imported_processors __asm__("__imp_KeNumberProcessors");

typedef struct {
    KEVENT go, done;
    PVOID thread;
    HANDLE id;
    KIRQL level;
    LONG depth;
    NTSTATUS status;
} STATE;

static void make(STATE *state)
{
    RtlZeroMemory(state, sizeof *state);
    KeInitializeEvent(&state->go, NotificationEvent, FALSE);
    KeInitializeEvent(&state->done, NotificationEvent, FALSE);
}

static VOID NTAPI report_and_return(PVOID context)
{
    STATE *state = context;
    state->thread = import_PsGetCurrentThread();
    state->id = PsGetCurrentThreadId();
    state->level = import_KeGetCurrentIrql();
    KeSetEvent(&state->done, 0, FALSE);
    wait_for(&state->go);
}

TEST(PsCreateSystemThread)
{
    STATE state;
    HANDLE handle = NULL;
    CLIENT_ID id;
    make(&state);
    CHECK(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, &id, report_and_return, &state) == STATUS_SUCCESS);
    CHECK(handle != NULL);
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(state.thread != import_PsGetCurrentThread());
    CHECK(state.level == PASSIVE_LEVEL);
    CHECK(state.id == id.UniqueThread);
    CHECK(state.id != PsGetCurrentThreadId());
    CHECK(import_PsGetThreadId(state.thread) == state.id);
    CHECK(id.UniqueProcess == PsGetCurrentProcessId());
    CHECK(import_PsIsSystemThread(state.thread));
    CHECK(import_IoIsSystemThread(state.thread));
    CHECK(!import_PsIsThreadTerminating(state.thread));
    CHECK(find_PsGetThreadExitStatus()(state.thread) == STATUS_PENDING);
    KeSetEvent(&state.go, 0, FALSE);
    CHECK(wait_for(state.thread) == STATUS_SUCCESS);
    CHECK(import_PsIsThreadTerminating(state.thread));
    CHECK(find_PsGetThreadExitStatus()(state.thread) == STATUS_SUCCESS);
    PASS;
}
SAME(PsGetThreadId, PsCreateSystemThread)
SAME(PsGetCurrentThreadId, PsCreateSystemThread)
SAME(PsIsSystemThread, PsCreateSystemThread)
SAME(IoIsSystemThread, PsCreateSystemThread)
SAME(PsIsThreadTerminating, PsCreateSystemThread)
SAME(PsGetThreadExitStatus, PsCreateSystemThread)

static void __attribute__((noinline)) terminate_deep(STATE *state, int depth)
{
    volatile char frame[64];
    frame[0] = (char)depth;
    state->depth = depth;
    if (depth < 30) {
        terminate_deep(state, depth + 1);
    } else {
        KeSetEvent(&state->done, 0, FALSE);
        PsTerminateSystemThread(STATUS_NO_SUCH_DEVICE);
    }
    frame[1] = frame[0];
}

static VOID NTAPI terminate(PVOID context)
{
    STATE *state = context;
    state->thread = import_PsGetCurrentThread();
    terminate_deep(state, 0);
    state->depth = -1;
}

TEST(PsTerminateSystemThread)
{
    STATE state;
    HANDLE handle;
    make(&state);
    CHECK(find_IoCreateSystemThread()(NULL, &handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, terminate, &state) == STATUS_SUCCESS);
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(wait_for(state.thread) == STATUS_SUCCESS);
    CHECK(state.depth == 30);
    CHECK(find_PsGetThreadExitStatus()(state.thread) == STATUS_NO_SUCH_DEVICE);
    PASS;
}
SAME(IoCreateSystemThread, PsTerminateSystemThread)

TEST(a_thread_that_no_driver_started_does_not_terminate)
{
    CHECK(PsTerminateSystemThread(STATUS_SUCCESS) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(KeGetCurrentThread)
{
    PKTHREAD thread = import_KeGetCurrentThread();
    CHECK(thread != NULL);
    CHECK(thread == import_PsGetCurrentThread());
    CHECK(thread == import_KeGetCurrentThread());
    CHECK(poll(thread) == STATUS_TIMEOUT);
    PASS;
}
SAME(PsGetCurrentThread, KeGetCurrentThread)

TEST(KeSetPriorityThread)
{
    PKTHREAD thread = import_KeGetCurrentThread();
    KPRIORITY before = KeSetPriorityThread(thread, LOW_REALTIME_PRIORITY);
    CHECK(import_KeQueryPriorityThread(thread) == LOW_REALTIME_PRIORITY);
    CHECK(KeSetPriorityThread(thread, before) == LOW_REALTIME_PRIORITY);
    CHECK(import_KeSetBasePriorityThread(thread, 2) == 0);
    CHECK(import_KeQueryPriorityThread(thread) == before + 2);
    CHECK(import_KeSetBasePriorityThread(thread, 0) == 2);
    CHECK(import_KeSetActualBasePriorityThread(thread, before) == before);
    PASS;
}
SAME(KeQueryPriorityThread, KeSetPriorityThread)
SAME(KeSetBasePriorityThread, KeSetPriorityThread)
SAME(KeSetActualBasePriorityThread, KeSetPriorityThread)

TEST(KeQueryRuntimeThread)
{
    ULONG user = 77;
    ULONG first = import_KeQueryRuntimeThread(import_KeGetCurrentThread(), &user);
    CHECK(user == 0);
    CHECK(import_KeQueryRuntimeThread(import_KeGetCurrentThread(), &user) >= first);
    PASS;
}

TEST(PsGetCurrentProcess)
{
    char state[64];
    PVOID process = import_PsGetCurrentProcess(), thread = import_PsGetCurrentThread();
    CHECK(process != NULL);
    CHECK(import_IoGetCurrentProcess() == process);
    CHECK(*imported_process == process);
    CHECK(import_PsGetProcessId(process) == PsGetCurrentProcessId());
    CHECK(import_PsGetThreadProcess(thread) == process);
    CHECK(import_PsGetThreadProcessId(thread) == PsGetCurrentProcessId());
    CHECK(import_PsGetCurrentThreadProcess() == process);
    CHECK(import_PsGetCurrentThreadProcessId() == PsGetCurrentProcessId());
    CHECK(import_IoThreadToProcess(thread) == process);
    CHECK(import_PsIsSystemProcess(process));
    CHECK(import_ExGetPreviousMode() == KernelMode);
    import_KeStackAttachProcess(process, state);
    CHECK(import_PsGetCurrentProcess() == process);
    import_KeUnstackDetachProcess(state);
    PASS;
}
SAME(PsInitialSystemProcess, PsGetCurrentProcess)
SAME(IoGetCurrentProcess, PsGetCurrentProcess)
SAME(PsGetCurrentProcessId, PsGetCurrentProcess)
SAME(PsGetProcessId, PsGetCurrentProcess)
SAME(PsGetThreadProcess, PsGetCurrentProcess)
SAME(PsGetThreadProcessId, PsGetCurrentProcess)
SAME(PsGetCurrentThreadProcess, PsGetCurrentProcess)
SAME(PsGetCurrentThreadProcessId, PsGetCurrentProcess)
SAME(IoThreadToProcess, PsGetCurrentProcess)
SAME(PsIsSystemProcess, PsGetCurrentProcess)
SAME(ExGetPreviousMode, PsGetCurrentProcess)
SAME(KeStackAttachProcess, PsGetCurrentProcess)
SAME(KeUnstackDetachProcess, PsGetCurrentProcess)

TEST(KeQueryActiveProcessorCount)
{
    KAFFINITY active = 0;
    PROCESSOR_NUMBER number = {9, 9, 9};
    ULONG count = import_KeQueryActiveProcessorCount(&active);
    CHECK(count >= 1 && count <= 64);
    CHECK(active != 0 && (active & 1));
    CHECK(import_KeQueryActiveProcessors() == active);
    CHECK(import_KeQueryGroupAffinity(0) == active);
    CHECK(import_KeQueryGroupAffinity(1) == 0);
    CHECK(import_KeQueryActiveProcessorCountEx(0) == count);
    CHECK(import_KeQueryActiveProcessorCountEx(0xFFFF) == count);
    CHECK(import_KeQueryMaximumProcessorCount() >= count);
    CHECK(import_KeQueryMaximumProcessorCountEx(0xFFFF) >= count);
    CHECK(import_KeQueryActiveGroupCount() == 1);
    CHECK(import_KeQueryMaximumGroupCount() == 1);
    CHECK(find_KeGetCurrentProcessorNumber()() < count);
    CHECK(import_KeGetCurrentProcessorNumberEx(&number) < count);
    CHECK(number.Group == 0 && number.Number < count);
    CHECK(import_KeGetProcessorIndexFromNumber(&number) == number.Number);
    CHECK(import_KeGetProcessorNumberFromIndex(0, &number) == STATUS_SUCCESS);
    CHECK(number.Number == 0);
    CHECK(import_KeGetProcessorNumberFromIndex(count, &number) == STATUS_INVALID_PARAMETER);
    number.Group = 3;
    CHECK(import_KeGetProcessorIndexFromNumber(&number) == ~0u);
    CHECK(import_KeGetCurrentNodeNumber() <= import_KeQueryHighestNodeNumber());
    CHECK(*imported_processors >= 1);
    PASS;
}
SAME(KeNumberProcessors, KeQueryActiveProcessorCount)
SAME(KeQueryActiveProcessors, KeQueryActiveProcessorCount)
SAME(KeQueryGroupAffinity, KeQueryActiveProcessorCount)
SAME(KeQueryActiveProcessorCountEx, KeQueryActiveProcessorCount)
SAME(KeQueryMaximumProcessorCount, KeQueryActiveProcessorCount)
SAME(KeQueryMaximumProcessorCountEx, KeQueryActiveProcessorCount)
SAME(KeQueryActiveGroupCount, KeQueryActiveProcessorCount)
SAME(KeQueryMaximumGroupCount, KeQueryActiveProcessorCount)
SAME(KeGetCurrentProcessorNumber, KeQueryActiveProcessorCount)
SAME(KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCount)
SAME(KeGetProcessorIndexFromNumber, KeQueryActiveProcessorCount)
SAME(KeGetProcessorNumberFromIndex, KeQueryActiveProcessorCount)
SAME(KeGetCurrentNodeNumber, KeQueryActiveProcessorCount)
SAME(KeQueryHighestNodeNumber, KeQueryActiveProcessorCount)

TEST(KeSetSystemAffinityThreadEx)
{
    GROUP_AFFINITY affinity = {1, 0, {0, 0, 0}}, previous = {0, 9, {9, 9, 9}};
    KAFFINITY before = import_KeSetSystemAffinityThreadEx(1);
    CHECK(before != 0);
    import_KeRevertToUserAffinityThreadEx(before);
    import_KeSetSystemAffinityThread(1);
    import_KeRevertToUserAffinityThread();
    import_KeSetSystemGroupAffinityThread(&affinity, &previous);
    CHECK(previous.Mask != 0 && previous.Group == 0);
    import_KeRevertToUserGroupAffinityThread(&previous);
    CHECK(import_KeSetIdealProcessorThread(import_KeGetCurrentThread(), 0) == 0);
    PASS;
}
SAME(KeSetSystemAffinityThread, KeSetSystemAffinityThreadEx)
SAME(KeRevertToUserAffinityThread, KeSetSystemAffinityThreadEx)
SAME(KeRevertToUserAffinityThreadEx, KeSetSystemAffinityThreadEx)
SAME(KeSetSystemGroupAffinityThread, KeSetSystemAffinityThreadEx)
SAME(KeRevertToUserGroupAffinityThread, KeSetSystemAffinityThreadEx)
SAME(KeSetIdealProcessorThread, KeSetSystemAffinityThreadEx)

static VOID NTAPI work(PVOID context)
{
    STATE *state = context;
    state->level = import_KeGetCurrentIrql();
    state->thread = import_PsGetCurrentThread();
    InterlockedIncrement(&state->depth);
    KeSetEvent(&state->done, 0, FALSE);
}

TEST(ExQueueWorkItem)
{
    STATE state;
    WORK_QUEUE_ITEM item;
    static const WORK_QUEUE_TYPE queues[] = {DelayedWorkQueue, CriticalWorkQueue, HyperCriticalWorkQueue};
    for (int i = 0; i < 3; i++) {
        make(&state);
        ExInitializeWorkItem(&item, work, &state);
        import_KfRaiseIrql(DISPATCH_LEVEL);
        ExQueueWorkItem(&item, queues[i]);
        import_KeLowerIrql(PASSIVE_LEVEL);
        CHECK(wait_for(&state.done) == STATUS_SUCCESS);
        CHECK(state.depth == 1);
        CHECK(state.level == PASSIVE_LEVEL);
        CHECK(state.thread != import_PsGetCurrentThread());
        CHECK(item.List.Flink == NULL);
    }
    PASS;
}

/* Ten items that each wait for the last of them. */
static VOID NTAPI work_that_waits(PVOID context)
{
    STATE *state = context;
    if (InterlockedIncrement(&state->depth) == 10)
        KeSetEvent(&state->go, 0, FALSE);
    wait_for(&state->go);
    if (InterlockedDecrement(&state->depth) == 0)
        KeSetEvent(&state->done, 0, FALSE);
}

TEST(delayed_items_may_wait_for_each_other)
{
    STATE state;
    WORK_QUEUE_ITEM items[10];
    make(&state);
    for (int i = 0; i < 10; i++) {
        ExInitializeWorkItem(&items[i], work_that_waits, &state);
        ExQueueWorkItem(&items[i], DelayedWorkQueue);
    }
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    PASS;
}

static VOID NTAPI io_work(PDEVICE_OBJECT device, PVOID context)
{
    STATE *state = context;
    state->thread = device;
    state->depth++;
    KeSetEvent(&state->done, 0, FALSE);
}

static VOID NTAPI io_work_ex(PVOID object, PVOID context, PIO_WORKITEM item)
{
    STATE *state = context;
    state->thread = object;
    state->id = item;
    state->depth++;
    wait_for(&state->go);
    /* The last: the state is on the stack of who waits for this. */
    KeSetEvent(&state->done, 0, FALSE);
}

TEST(IoAllocateWorkItem)
{
    STATE state;
    PDEVICE_OBJECT device = (PDEVICE_OBJECT)&state;
    PIO_WORKITEM item = IoAllocateWorkItem(device);
    CHECK(item != NULL);
    make(&state);
    IoQueueWorkItem(item, io_work, DelayedWorkQueue, &state);
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(state.thread == device && state.depth == 1);
    KeClearEvent(&state.done);
    KeSetEvent(&state.go, 0, FALSE);
    IoQueueWorkItemEx(item, io_work_ex, CriticalWorkQueue, &state);
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(state.id == (HANDLE)item && state.depth == 2);
    KeClearEvent(&state.done);
    CHECK(find_IoTryQueueWorkItem()(item, io_work_ex, DelayedWorkQueue, &state));
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(state.depth == 3);
    IoFreeWorkItem(item);
    PASS;
}
SAME(IoQueueWorkItem, IoAllocateWorkItem)
SAME(IoQueueWorkItemEx, IoAllocateWorkItem)
SAME(IoTryQueueWorkItem, IoAllocateWorkItem)
SAME(IoFreeWorkItem, IoAllocateWorkItem)

TEST(IoInitializeWorkItem)
{
    STATE state;
    ULONG bytes = IoSizeofWorkItem();
    PIO_WORKITEM item = ExAllocatePoolWithTag(NonPagedPool, bytes, TAG);
    CHECK(item != NULL);
    make(&state);
    IoInitializeWorkItem(&state, item);
    IoQueueWorkItem(item, io_work, DelayedWorkQueue, &state);
    CHECK(wait_for(&state.done) == STATUS_SUCCESS);
    CHECK(state.thread == &state);
    IoUninitializeWorkItem(item);
    ExFreePoolWithTag(item, TAG);
    PASS;
}
SAME(IoSizeofWorkItem, IoInitializeWorkItem)
SAME(IoUninitializeWorkItem, IoInitializeWorkItem)
