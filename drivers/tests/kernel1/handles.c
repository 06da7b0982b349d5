/* Events by handle and by name, waiting by handle, device queues. */
#include "kernel1.h"

IMPORT(NTSTATUS, ZwCreateEvent, (PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, EVENT_TYPE, BOOLEAN))
IMPORT(NTSTATUS, ZwOpenEvent, (PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES))
IMPORT(NTSTATUS, ZwSetEvent, (HANDLE, PLONG))
IMPORT(NTSTATUS, ZwResetEvent, (HANDLE, PLONG))
IMPORT(NTSTATUS, ZwClearEvent, (HANDLE))
IMPORT(NTSTATUS, ZwWaitForSingleObject, (HANDLE, BOOLEAN, PLARGE_INTEGER))
IMPORT(PKEVENT, IoCreateNotificationEvent, (PUNICODE_STRING, PHANDLE))
IMPORT(PKEVENT, IoCreateSynchronizationEvent, (PUNICODE_STRING, PHANDLE))
IMPORT(VOID, KeInitializeDeviceQueue, (PKDEVICE_QUEUE))
IMPORT(BOOLEAN, KeInsertDeviceQueue, (PKDEVICE_QUEUE, PKDEVICE_QUEUE_ENTRY))
IMPORT(BOOLEAN, KeInsertByKeyDeviceQueue, (PKDEVICE_QUEUE, PKDEVICE_QUEUE_ENTRY, ULONG))
IMPORT(PKDEVICE_QUEUE_ENTRY, KeRemoveDeviceQueue, (PKDEVICE_QUEUE))
IMPORT(PKDEVICE_QUEUE_ENTRY, KeRemoveByKeyDeviceQueue, (PKDEVICE_QUEUE, ULONG))
IMPORT(PKDEVICE_QUEUE_ENTRY, KeRemoveByKeyDeviceQueueIfBusy, (PKDEVICE_QUEUE, ULONG))
IMPORT(BOOLEAN, KeRemoveEntryDeviceQueue, (PKDEVICE_QUEUE, PKDEVICE_QUEUE_ENTRY))

static NTSTATUS poll_handle(HANDLE handle)
{
    LARGE_INTEGER now = {.QuadPart = 0};
    return import_ZwWaitForSingleObject(handle, FALSE, &now);
}

TEST(ZwCreateEvent)
{
    HANDLE handle = NULL;
    PVOID event = NULL;
    LONG before = 77;
    CHECK(import_ZwCreateEvent(&handle, EVENT_ALL_ACCESS, NULL, SynchronizationEvent, FALSE) == STATUS_SUCCESS);
    CHECK(handle != NULL);
    CHECK(poll_handle(handle) == STATUS_TIMEOUT);
    CHECK(import_ZwSetEvent(handle, &before) == STATUS_SUCCESS && before == 0);
    CHECK(import_ZwSetEvent(handle, &before) == STATUS_SUCCESS && before != 0);
    CHECK(poll_handle(handle) == STATUS_SUCCESS);
    CHECK(poll_handle(handle) == STATUS_TIMEOUT);
    CHECK(ObReferenceObjectByHandle(handle, EVENT_ALL_ACCESS, *ExEventObjectType, KernelMode, &event, NULL) == STATUS_SUCCESS);
    KeSetEvent(event, 0, FALSE);
    CHECK(import_ZwResetEvent(handle, &before) == STATUS_SUCCESS && before != 0);
    KeSetEvent(event, 0, FALSE);
    CHECK(import_ZwClearEvent(handle) == STATUS_SUCCESS);
    CHECK(poll(event) == STATUS_TIMEOUT);
    CHECK(ZwClose(handle) == STATUS_SUCCESS);
    KeSetEvent(event, 0, FALSE);
    ObDereferenceObject(event);
    CHECK(import_ZwSetEvent(handle, NULL) == STATUS_INVALID_HANDLE);
    CHECK(poll_handle(handle) == STATUS_INVALID_HANDLE);
    PASS;
}
SAME(ZwSetEvent, ZwCreateEvent)
SAME(ZwResetEvent, ZwCreateEvent)
SAME(ZwClearEvent, ZwCreateEvent)

static VOID NTAPI wait_and_end(PVOID context)
{
    wait_for(context);
}

TEST(ZwWaitForSingleObject)
{
    KEVENT go;
    HANDLE handle;
    KeInitializeEvent(&go, NotificationEvent, FALSE);
    CHECK(NT_SUCCESS(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, wait_and_end, &go)));
    CHECK(poll_handle(handle) == STATUS_TIMEOUT);
    KeSetEvent(&go, 0, FALSE);
    CHECK(import_ZwWaitForSingleObject(handle, FALSE, watchdog()) == STATUS_SUCCESS);
    CHECK(import_ZwWaitForSingleObject(handle, FALSE, NULL) == STATUS_SUCCESS);
    CHECK(ZwClose(handle) == STATUS_SUCCESS);
    PASS;
}

TEST(a_thread_is_referenced_by_its_handle)
{
    KEVENT go;
    HANDLE handle;
    PVOID thread = NULL;
    KeInitializeEvent(&go, NotificationEvent, FALSE);
    CHECK(NT_SUCCESS(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, wait_and_end, &go)));
    CHECK(ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, *PsThreadType, KernelMode, &thread, NULL) == STATUS_SUCCESS);
    CHECK(ZwClose(handle) == STATUS_SUCCESS);
    CHECK(poll(thread) == STATUS_TIMEOUT);
    KeSetEvent(&go, 0, FALSE);
    CHECK(wait_for(thread) == STATUS_SUCCESS);
    ObDereferenceObject(thread);
    PASS;
}

TEST(IoCreateNotificationEvent)
{
    UNICODE_STRING name, other;
    OBJECT_ATTRIBUTES attributes;
    HANDLE first, second, third;
    RtlInitUnicodeString(&name, L"\\BaseNamedObjects\\Kernel1");
    RtlInitUnicodeString(&other, L"\\BaseNamedObjects\\Kernel1Sync");
    PKEVENT event = import_IoCreateNotificationEvent(&name, &first);
    CHECK(event != NULL && KeReadStateEvent(event) != 0);
    CHECK(import_IoCreateNotificationEvent(&name, &second) == event);
    KeClearEvent(event);
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, NULL);
    CHECK(import_ZwOpenEvent(&third, EVENT_ALL_ACCESS, &attributes) == STATUS_SUCCESS);
    CHECK(poll_handle(third) == STATUS_TIMEOUT);
    CHECK(import_ZwSetEvent(third, NULL) == STATUS_SUCCESS);
    CHECK(poll(event) == STATUS_SUCCESS);
    ZwClose(first);
    CHECK(import_ZwCreateEvent(&first, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE) == STATUS_OBJECT_NAME_COLLISION);
    ZwClose(second);
    ZwClose(third);
    CHECK(import_ZwOpenEvent(&third, EVENT_ALL_ACCESS, &attributes) == STATUS_OBJECT_NAME_NOT_FOUND);
    event = import_IoCreateSynchronizationEvent(&other, &first);
    CHECK(poll(event) == STATUS_SUCCESS);
    CHECK(poll(event) == STATUS_TIMEOUT);
    ZwClose(first);
    PASS;
}
SAME(IoCreateSynchronizationEvent, IoCreateNotificationEvent)
SAME(ZwOpenEvent, IoCreateNotificationEvent)

TEST(KeInitializeDeviceQueue)
{
    KDEVICE_QUEUE queue;
    KDEVICE_QUEUE_ENTRY entries[5];
    import_KeInitializeDeviceQueue(&queue);
    CHECK(import_KeRemoveByKeyDeviceQueueIfBusy(&queue, 0) == NULL);
    CHECK(!import_KeInsertDeviceQueue(&queue, &entries[0]));
    CHECK(import_KeInsertByKeyDeviceQueue(&queue, &entries[1], 10));
    CHECK(import_KeInsertByKeyDeviceQueue(&queue, &entries[2], 30));
    CHECK(import_KeInsertByKeyDeviceQueue(&queue, &entries[3], 20));
    CHECK(import_KeInsertByKeyDeviceQueue(&queue, &entries[4], 20));
    CHECK(import_KeRemoveByKeyDeviceQueue(&queue, 15) == &entries[3]);
    CHECK(import_KeRemoveEntryDeviceQueue(&queue, &entries[2]));
    CHECK(!import_KeRemoveEntryDeviceQueue(&queue, &entries[2]));
    CHECK(import_KeRemoveByKeyDeviceQueueIfBusy(&queue, 99) == &entries[1]);
    CHECK(import_KeRemoveDeviceQueue(&queue) == &entries[4]);
    CHECK(import_KeRemoveDeviceQueue(&queue) == NULL);
    CHECK(!import_KeInsertDeviceQueue(&queue, &entries[0]));
    CHECK(import_KeInsertDeviceQueue(&queue, &entries[1]));
    CHECK(import_KeInsertDeviceQueue(&queue, &entries[2]));
    CHECK(import_KeRemoveDeviceQueue(&queue) == &entries[1]);
    CHECK(import_KeRemoveDeviceQueue(&queue) == &entries[2]);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    PASS;
}
SAME(KeInsertDeviceQueue, KeInitializeDeviceQueue)
SAME(KeInsertByKeyDeviceQueue, KeInitializeDeviceQueue)
SAME(KeRemoveDeviceQueue, KeInitializeDeviceQueue)
SAME(KeRemoveByKeyDeviceQueue, KeInitializeDeviceQueue)
SAME(KeRemoveByKeyDeviceQueueIfBusy, KeInitializeDeviceQueue)
SAME(KeRemoveEntryDeviceQueue, KeInitializeDeviceQueue)
