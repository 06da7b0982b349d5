/* Hangs where a property says so: in a loop, in a wait, in a DPC that is waited for, and in one that nobody waits for. */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E11} */
static const GUID HangSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x11}};

enum { LOOP, WAIT, DPC, DPC_ALONE };

static KTIMER Timer;
static KDPC Dpc;

static VOID NTAPI OnTimer(PKDPC Unused, PVOID Context, PVOID First, PVOID Second)
{
    for (;;)
        YieldProcessor();
}

static NTSTATUS OnHang(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    LARGE_INTEGER due = {.QuadPart = -1};
    KEVENT never;

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
    }
    return STATUS_SUCCESS;
}

#define ITEM(id) DEFINE_KSPROPERTY_ITEM(id, OnHang, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Properties[] = {ITEM(LOOP), ITEM(WAIT), ITEM(DPC), ITEM(DPC_ALONE)};
#include "misbehave.h"
MISBEHAVING_DRIVER(HangSet, 0x11)
