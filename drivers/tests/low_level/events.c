/* Events on a driver's own lists. */
#include "low_level.h"

SYS NTSTATUS NTAPI ZwCreateEvent(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, EVENT_TYPE, BOOLEAN);

enum { PLAIN, COUNTED, REFUSED };

struct counted {
    KSEVENT_ENTRY Entry;
    ULONG Own;
};

static LIST_ENTRY Events;
static KSPIN_LOCK SpinLock;
static KMUTEX Mutex;
static FAST_MUTEX FastMutex;
static ERESOURCE Resource;
static KSEVENTS_LOCKTYPE LockType;
static PVOID Lock;
static ULONG Added, Removed, ItemSize;
static PKSEVENT_ENTRY LastEntry;
static PVOID LastItem;

static NTSTATUS NTAPI OnAdd(PIRP irp, PKSEVENTDATA data, PKSEVENT_ENTRY entry)
{
    Added++;
    LastEntry = entry;
    LastItem = ItemSize ? (PVOID)KSEVENT_ITEM_IRP_STORAGE(irp) : NULL;
    if (KSEVENT_ENTRY_IRP_STORAGE(irp) != entry || ((struct counted *)entry)->Own)
        return STATUS_UNSUCCESSFUL;
    ((struct counted *)entry)->Own = 77;
    InsertHeadList(&Events, &entry->ListEntry);
    return STATUS_SUCCESS;
}

static VOID NTAPI OnRemove(PFILE_OBJECT file, PKSEVENT_ENTRY entry)
{
    Removed++;
    if (entry->FileObject == file && ((struct counted *)entry)->Own == 77)
        RemoveEntryList(&entry->ListEntry);
}

static const KSEVENT_SET Sets[];
static const KSEVENT_ITEM Items[];

/* Supported for whoever asks with this request's own item. */
static NTSTATUS NTAPI OnSupport(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    if (KSEVENT_SET_IRP_STORAGE(irp) != Sets || request->Id != REFUSED)
        return STATUS_UNSUCCESSFUL;
    if (ItemSize && KSEVENT_ITEM_IRP_STORAGE(irp) != &Items[REFUSED])
        return STATUS_UNSUCCESSFUL;
    return STATUS_DEVICE_NOT_READY;
}

static NTSTATUS NTAPI OnRefuse(PIRP irp, PKSEVENTDATA data, PKSEVENT_ENTRY entry)
{
    return STATUS_DEVICE_BUSY;
}

static const KSEVENT_ITEM Items[] = {
    {PLAIN, sizeof(KSEVENTDATA), 0, NULL, NULL, NULL},
    {COUNTED, sizeof(KSEVENTDATA) + 8, sizeof(struct counted) - sizeof(KSEVENT_ENTRY), OnAdd, OnRemove, NULL},
    {REFUSED, sizeof(KSEVENTDATA), 0, OnRefuse, NULL, OnSupport},
};
static const KSEVENT_SET Sets[] = {{&SetA, 3, Items}};

static NTSTATUS Control(PDEVICE_OBJECT device, PIRP irp)
{
    if (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.IoControlCode == IOCTL_KS_DISABLE_EVENT)
        return KsDisableEvent(irp, &Events, LockType, Lock);
    if (ItemSize)
        return KsEnableEventWithAllocator(irp, 1, Sets, &Events, LockType, Lock, NULL, ItemSize);
    return KsEnableEvent(irp, 1, Sets, &Events, LockType, Lock);
}

static const char *Start(void)
{
    InitializeListHead(&Events);
    Added = Removed = ItemSize = 0;
    LockType = KSEVENTS_SPINLOCK;
    Lock = &SpinLock;
    KeInitializeSpinLock(&SpinLock);
    CHECK(MakeDevice(Control) == STATUS_SUCCESS);
    PASS;
}

struct wide_data {
    KSEVENTDATA Data;
    ULONGLONG More;
};

static void Object(struct wide_data *data, ULONG type, PVOID object)
{
    RtlZeroMemory(data, sizeof *data);
    data->Data.NotificationType = type;
    data->Data.EventObject.Event = object;
}

static NTSTATUS Enable(ULONG id, ULONG flags, PVOID data, ULONG bytes)
{
    KSIDENTIFIER request;
    Identify(&request, &SetA, id, flags);
    return Ask(IOCTL_KS_ENABLE_EVENT, &request, sizeof request, data, bytes, NULL);
}

static NTSTATUS Disable(PVOID data, ULONG bytes)
{
    return Ask(IOCTL_KS_DISABLE_EVENT, data, bytes, NULL, 0, NULL);
}

TEST(KsEnableEvent)
{
    struct wide_data first, second;
    KEVENT one, two;
    KSIDENTIFIER request;
    const char *failed = Start();
    if (failed)
        return failed;
    KeInitializeEvent(&one, NotificationEvent, FALSE);
    KeInitializeEvent(&two, NotificationEvent, FALSE);
    Object(&first, KSEVENTF_EVENT_OBJECT, &one);
    Object(&second, KSEVENTF_EVENT_OBJECT, &two);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &first, sizeof(KSEVENTDATA) - 1) == STATUS_BUFFER_TOO_SMALL);
    CHECK(Enable(9, KSEVENT_TYPE_ENABLE, &first, sizeof(KSEVENTDATA)) == STATUS_NOT_FOUND);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT, &first, sizeof first) == STATUS_INVALID_PARAMETER);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_BASICSUPPORT, NULL, 0) == STATUS_SUCCESS);
    CHECK(Enable(REFUSED, KSEVENT_TYPE_BASICSUPPORT, NULL, 0) == STATUS_DEVICE_NOT_READY);
    CHECK(Enable(0, KSEVENT_TYPE_SETSUPPORT, NULL, 0) == STATUS_SUCCESS);
    Identify(&request, &SetB, PLAIN, KSEVENT_TYPE_ENABLE);
    CHECK(Ask(IOCTL_KS_ENABLE_EVENT, &request, sizeof request, &first, sizeof first, NULL) == (NTSTATUS)0xC0000230);
    CHECK(IsListEmpty(&Events));
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &first, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    CHECK(!IsListEmpty(&Events) && CONTAINING_RECORD(Events.Flink, KSEVENT_ENTRY, ListEntry)->EventItem == &Items[PLAIN]);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &second, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    /* One by its entry, all by set and item. */
    CHECK(KsGenerateEvent(CONTAINING_RECORD(Events.Flink, KSEVENT_ENTRY, ListEntry)) == STATUS_SUCCESS);
    CHECK(KeReadStateEvent(&one) && !KeReadStateEvent(&two));
    KeClearEvent(&one);
    KsGenerateEventList((GUID *)&SetA, COUNTED, &Events, LockType, Lock);
    CHECK(!KeReadStateEvent(&one) && !KeReadStateEvent(&two));
    KsGenerateEventList((GUID *)&SetB, PLAIN, &Events, LockType, Lock);
    CHECK(!KeReadStateEvent(&one));
    KsGenerateEventList(NULL, PLAIN, &Events, LockType, Lock);
    CHECK(KeReadStateEvent(&one) && KeReadStateEvent(&two));
    /* An event is named by the address of its data. */
    KeClearEvent(&one);
    KeClearEvent(&two);
    CHECK(Disable(&second, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    CHECK(Disable(&second, sizeof(KSEVENTDATA)) == STATUS_UNSUCCESSFUL);
    KsGenerateEventList(NULL, PLAIN, &Events, LockType, Lock);
    CHECK(KeReadStateEvent(&one) && !KeReadStateEvent(&two));
    CHECK(Disable(NULL, 0) == STATUS_SUCCESS && IsListEmpty(&Events));
    DropDevice();
    PASS;
}
SAME(KsDisableEvent, KsEnableEvent)

TEST(KsEnableEventWithAllocator)
{
    struct wide_data data;
    KEVENT event;
    PKSEVENT_ENTRY entry;
    const char *failed = Start();
    if (failed)
        return failed;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    Object(&data, KSEVENTF_EVENT_OBJECT, &event);
    ItemSize = sizeof(KSEVENT_ITEM);
    CHECK(Enable(COUNTED, KSEVENT_TYPE_ENABLE, &data, sizeof(KSEVENTDATA)) == STATUS_BUFFER_TOO_SMALL && !Added);
    CHECK(Enable(REFUSED, KSEVENT_TYPE_BASICSUPPORT, NULL, 0) == STATUS_DEVICE_NOT_READY);
    CHECK(Enable(REFUSED, KSEVENT_TYPE_ENABLE, &data, sizeof data) == STATUS_DEVICE_BUSY && IsListEmpty(&Events));
    CHECK(Enable(COUNTED, KSEVENT_TYPE_ONESHOT, &data, sizeof data) == STATUS_SUCCESS && Added == 1);
    entry = LastEntry;
    CHECK(entry->Flags & KSEVENT_ENTRY_ONESHOT && LastItem == &Items[COUNTED] && Events.Flink == &entry->ListEntry);
    /* It is told once. */
    CHECK(KsGenerateEvent(entry) == STATUS_SUCCESS && KeReadStateEvent(&event));
    KeClearEvent(&event);
    CHECK(KsGenerateEvent(entry) == STATUS_SUCCESS && !KeReadStateEvent(&event));
    CHECK(Disable(&data, sizeof data) == STATUS_SUCCESS && Removed == 1 && IsListEmpty(&Events));
    ItemSize = sizeof(KSEVENT_ITEM) + 4;
    CHECK(Enable(COUNTED, KSEVENT_TYPE_ENABLE, &data, sizeof data) == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

static ULONG Ran;
static PVOID RanWith;
static KEVENT RanEvent;

static VOID NTAPI OnDpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    Ran++;
    RanWith = first;
    KeSetEvent(&RanEvent, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnWork(PVOID context)
{
    Ran += 10;
    KeSetEvent(&RanEvent, IO_NO_INCREMENT, FALSE);
}

TEST(KsFreeEventList)
{
    static const KSEVENTS_LOCKTYPE types[] = {KSEVENTS_NONE,         KSEVENTS_SPINLOCK, KSEVENTS_MUTEX, KSEVENTS_FMUTEX,
                                              KSEVENTS_FMUTEXUNSAFE, KSEVENTS_ERESOURCE};
    PVOID locks[] = {NULL, &SpinLock, &Mutex, &FastMutex, &FastMutex, &Resource};
    struct wide_data dpc_data, work_data, event_data, semaphore_data;
    KDPC dpc;
    WORK_QUEUE_ITEM work;
    KEVENT event;
    KSEMAPHORE semaphore;
    HANDLE handle;
    OBJECT_ATTRIBUTES attributes;
    ULONG at;
    const char *failed = Start();
    if (failed)
        return failed;
    KeInitializeMutex(&Mutex, 0);
    ExInitializeFastMutex(&FastMutex);
    ExInitializeResourceLite(&Resource);
    KeInitializeEvent(&RanEvent, SynchronizationEvent, FALSE);
    KeInitializeDpc(&dpc, OnDpc, NULL);
    ExInitializeWorkItem(&work, OnWork, NULL);
    KeInitializeSemaphore(&semaphore, 0, 100);
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    CHECK(ZwCreateEvent(&handle, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE) == STATUS_SUCCESS);
    for (at = 0; at < RTL_NUMBER_OF(types); at++) {
        LockType = types[at];
        Lock = locks[at];
        Ran = 0;
        Object(&dpc_data, KSEVENTF_DPC, &dpc);
        Object(&work_data, KSEVENTF_WORKITEM, &work);
        work_data.Data.WorkItem.WorkQueueType = DelayedWorkQueue;
        Object(&semaphore_data, KSEVENTF_SEMAPHORE_OBJECT, &semaphore);
        semaphore_data.Data.SemaphoreObject.Adjustment = 3;
        Object(&event_data, KSEVENTF_EVENT_HANDLE, handle);
        CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &dpc_data, sizeof dpc_data) == STATUS_SUCCESS);
        KsGenerateEventList(NULL, PLAIN, &Events, LockType, Lock);
        KeWaitForSingleObject(&RanEvent, Executive, KernelMode, FALSE, NULL);
        CHECK(Ran == 1 && RanWith == (PVOID)CONTAINING_RECORD(Events.Flink, KSEVENT_ENTRY, ListEntry));
        CHECK(Disable(&dpc_data, sizeof dpc_data) == STATUS_SUCCESS && IsListEmpty(&Events));
        CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &work_data, sizeof work_data) == STATUS_SUCCESS);
        CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &semaphore_data, sizeof semaphore_data) == STATUS_SUCCESS);
        CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &event_data, sizeof event_data) == STATUS_SUCCESS);
        KsGenerateEventList((GUID *)&SetA, PLAIN, &Events, LockType, Lock);
        KeWaitForSingleObject(&RanEvent, Executive, KernelMode, FALSE, NULL);
        CHECK(Ran == 11 && KeReadStateSemaphore(&semaphore) == (LONG)(3 * (at + 1)));
        /* Those of another file object stay. */
        KsFreeEventList((PFILE_OBJECT)0x1000, &Events, LockType, Lock);
        CHECK(!IsListEmpty(&Events));
        KsFreeEventList(NULL, &Events, LockType, Lock);
        CHECK(IsListEmpty(&Events) && KeGetCurrentIrql() == PASSIVE_LEVEL);
    }
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    Object(&event_data, KSEVENTF_EVENT_HANDLE, (PVOID)0x7770);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &event_data, sizeof event_data) == STATUS_INVALID_HANDLE);
    Object(&event_data, 0x4000, &event);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &event_data, sizeof event_data) == STATUS_INVALID_PARAMETER);
    ZwClose(handle);
    ExDeleteResourceLite(&Resource);
    DropDevice();
    PASS;
}

static NTSTATUS Fetch(PVOID data, ULONG id, PVOID out, ULONG out_bytes, ULONG_PTR *size)
{
    struct {
        KSIDENTIFIER Event;
        PVOID EventData;
        PVOID Reserved;
    } query;
    Identify(&query.Event, &SetA, id, KSEVENT_TYPE_QUERYBUFFER);
    query.EventData = data;
    query.Reserved = NULL;
    return Ask(IOCTL_KS_ENABLE_EVENT, &query, sizeof query, out, out_bytes, size);
}

TEST(KsGenerateDataEvent)
{
    struct wide_data buffered, silent, plain;
    KEVENT event;
    ULONG number = 7, got = 0;
    ULONGLONG wide = 0;
    ULONG_PTR size = 0;
    PKSEVENT_ENTRY entry;
    const char *failed = Start();
    if (failed)
        return failed;
    KeInitializeEvent(&event, SynchronizationEvent, FALSE);
    Object(&buffered, KSEVENTF_EVENT_OBJECT, &event);
    Object(&plain, KSEVENTF_EVENT_OBJECT, &event);
    /* The client of a buffered event may look when it likes; that of any other has to be told. */
    Object(&silent, 0, NULL);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &silent, sizeof(KSEVENTDATA)) == STATUS_INVALID_PARAMETER);
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLEBUFFERED, &silent, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    entry = CONTAINING_RECORD(Events.Flink, KSEVENT_ENTRY, ListEntry);
    CHECK(entry->Flags == KSEVENT_ENTRY_BUFFERED);
    CHECK(KsGenerateDataEvent(entry, sizeof number, &number) == STATUS_SUCCESS && !KeReadStateEvent(&event));
    CHECK(Fetch(&silent, PLAIN, &got, sizeof got, &size) == STATUS_SUCCESS && got == 7 && size == sizeof got);
    CHECK(Fetch(&silent, PLAIN, &got, sizeof got, &size) == STATUS_NO_MORE_ENTRIES);
    CHECK(Disable(&silent, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    CHECK(Fetch(&silent, PLAIN, &got, sizeof got, &size) == STATUS_NOT_FOUND);
    /* In order, one at a time, and kept until there is room for it. */
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ENABLEBUFFERED, &buffered, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    entry = CONTAINING_RECORD(Events.Flink, KSEVENT_ENTRY, ListEntry);
    CHECK(KsGenerateDataEvent(entry, sizeof number, &number) == STATUS_SUCCESS && KeReadStateEvent(&event));
    wide = 0x123456789;
    CHECK(KsGenerateDataEvent(entry, sizeof wide, &wide) == STATUS_SUCCESS);
    wide = 0;
    CHECK(Fetch(&buffered, COUNTED, &got, sizeof got, &size) == STATUS_NOT_FOUND);
    CHECK(Fetch(&buffered, PLAIN, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == sizeof number);
    CHECK(Fetch(&buffered, PLAIN, &got, 2, &size) == STATUS_BUFFER_TOO_SMALL);
    got = 0;
    CHECK(Fetch(&buffered, PLAIN, &got, sizeof got, &size) == STATUS_SUCCESS && got == 7);
    CHECK(Fetch(&buffered, PLAIN, &wide, sizeof wide, &size) == STATUS_SUCCESS && wide == 0x123456789);
    for (number = 0; number < 64; number++)
        CHECK(KsGenerateDataEvent(entry, sizeof number, &number) == STATUS_SUCCESS);
    CHECK(KsGenerateDataEvent(entry, sizeof number, &number) == STATUS_INSUFFICIENT_RESOURCES);
    /* Without the flag data goes nowhere, and the client is told. */
    CHECK(Enable(PLAIN, KSEVENT_TYPE_ENABLE, &plain, sizeof(KSEVENTDATA)) == STATUS_SUCCESS);
    entry = CONTAINING_RECORD(Events.Blink, KSEVENT_ENTRY, ListEntry);
    KeClearEvent(&event);
    CHECK(KsGenerateDataEvent(entry, sizeof number, &number) == STATUS_SUCCESS && KeReadStateEvent(&event));
    CHECK(Fetch(&plain, PLAIN, &got, sizeof got, &size) == STATUS_INVALID_PARAMETER);
    CHECK(Disable(NULL, 0) == STATUS_SUCCESS && IsListEmpty(&Events));
    DropDevice();
    PASS;
}
