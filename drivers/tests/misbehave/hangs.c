/*
 * Hangs where a property says so: in a loop, in a wait, in a DPC that is waited for, in one and in a work item that nobody
 * waits for, and in a work item that waits, which is no crime. A thread of its own may run for as long as it likes; with
 * -DHANGS_IN_UNLOAD the unload waits for ever.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E11} */
static const GUID HangSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x11}};

enum { LOOP, WAIT, DPC, DPC_ALONE, WORK_ITEM_ALONE, WORK_ITEM_WAITS, THREAD_ALONE };

static KTIMER Timer;
static KDPC Dpc;

static VOID NTAPI OnTimer(PKDPC Unused, PVOID Context, PVOID First, PVOID Second)
{
    for (;;)
        YieldProcessor();
}

static WORK_QUEUE_ITEM WorkItem;
static KEVENT Never;

static VOID NTAPI OnWork(PVOID Context)
{
    for (;;)
        YieldProcessor();
}

static VOID NTAPI OnWorkThatWaits(PVOID Context)
{
    KeWaitForSingleObject(&Never, Executive, KernelMode, FALSE, NULL);
}

static NTSTATUS OnHang(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    LARGE_INTEGER due = {.QuadPart = -1};
    KEVENT never;
    HANDLE thread;

    switch (Request->Id) {
    case LOOP:
        for (;;)
            YieldProcessor();
    case WAIT:
        KeInitializeEvent(&never, NotificationEvent, FALSE);
        KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
        break;
    case DPC:
        KeInitializeTimer(&Timer);
        KeInitializeDpc(&Dpc, OnTimer, NULL);
        KeSetTimer(&Timer, due, &Dpc);
        KeFlushQueuedDpcs();
        KeInitializeEvent(&never, NotificationEvent, FALSE);
        KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
        break;
    case DPC_ALONE:
        KeInitializeTimer(&Timer);
        KeInitializeDpc(&Dpc, OnTimer, NULL);
        KeSetTimer(&Timer, due, &Dpc);
        break;
    case WORK_ITEM_ALONE:
        ExInitializeWorkItem(&WorkItem, OnWork, NULL);
        ExQueueWorkItem(&WorkItem, DelayedWorkQueue);
        break;
    case WORK_ITEM_WAITS:
        KeInitializeEvent(&Never, NotificationEvent, FALSE);
        ExInitializeWorkItem(&WorkItem, OnWorkThatWaits, NULL);
        ExQueueWorkItem(&WorkItem, DelayedWorkQueue);
        break;
    case THREAD_ALONE:
        return PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, OnWork, NULL);
    }
    return STATUS_SUCCESS;
}

#define ITEM(id) DEFINE_KSPROPERTY_ITEM(id, OnHang, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Properties[] = {ITEM(LOOP), ITEM(WAIT), ITEM(DPC), ITEM(DPC_ALONE),
                                             ITEM(WORK_ITEM_ALONE), ITEM(WORK_ITEM_WAITS), ITEM(THREAD_ALONE)};

#ifdef HANGS_IN_UNLOAD
static VOID NTAPI OnUnload(PDRIVER_OBJECT DriverObject)
{
    KeInitializeEvent(&Never, NotificationEvent, FALSE);
    KeWaitForSingleObject(&Never, Executive, KernelMode, FALSE, NULL);
}
#define ENTERED(DriverObject) ((DriverObject)->DriverUnload = OnUnload)
#endif
#include "misbehave.h"
MISBEHAVING_DRIVER(HangSet, 0x11)
