/* Faults where a property says so: a driver with a bug at a known line. */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E10} */
static const GUID FaultSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x10}};

enum { READ_NULL, WRITE_READ_ONLY, CALL_NULL, DIVIDE, ILLEGAL, BUGCHECK, FREE_TWICE, WAIT_AT_DISPATCH, STACK, PRIVILEGED,
       OVERRUN, STACK_IN_DPC, STACK_IN_WORK_ITEM, STACK_IN_THREAD };

static const ULONG Constant = 7;

static __attribute__((noinline)) ULONG ReadAt(volatile ULONG *address)
{
    return *address; /* the faulting line */
}

static __attribute__((noinline)) int Recurse(volatile int *depth)
{
    volatile char room[4096];
    room[0] = (char)*depth;
    (*depth)++;
    return Recurse(depth) + room[0];
}

static KDPC Dpc;
static WORK_QUEUE_ITEM WorkItem;

static VOID NTAPI OnDpc(PKDPC Unused, PVOID Context, PVOID First, PVOID Second)
{
    volatile int depth = 0;
    Recurse(&depth);
}

static VOID NTAPI OnWork(PVOID Context)
{
    volatile int depth = 0;
    Recurse(&depth);
}

/* Writes behind a block, and frees it: the allocator finds out. */
static __attribute__((noinline)) NTSTATUS Overrun(void)
{
    volatile UCHAR *block = ExAllocatePoolWithTag(NonPagedPool, 2000, 'eciw');
    int i;

    for (i = 0; block && i < 16; i++)
        block[2000 + i] = 0x41;
    ExFreePoolWithTag((PVOID)block, 'eciw');
    return STATUS_UNSUCCESSFUL;
}

static NTSTATUS OnFault(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    volatile ULONG zero = 0;
    volatile int depth = 0;
    KEVENT never;
    KIRQL level;
    PVOID block;
    HANDLE thread;

    switch (Request->Id) {
    case READ_NULL:
        return (NTSTATUS)ReadAt(NULL);
    case WRITE_READ_ONLY:
        *(volatile ULONG *)&Constant = 8;
        break;
    case CALL_NULL:
        ((void (*)(void))(ULONG_PTR)zero)();
        break;
    case DIVIDE:
        return (NTSTATUS)(Constant / zero);
    case ILLEGAL:
        __asm__ volatile("ud2");
        break;
    case BUGCHECK:
        KeBugCheckEx(0xDEAD, 1, 2, 3, 4);
    case FREE_TWICE:
        block = ExAllocatePoolWithTag(NonPagedPool, 64, 'eciw');
        ExFreePoolWithTag(block, 'eciw');
        ExFreePoolWithTag(block, 'eciw');
        break;
    case WAIT_AT_DISPATCH:
        KeInitializeEvent(&never, NotificationEvent, FALSE);
        KeRaiseIrql(DISPATCH_LEVEL, &level);
        KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
        break;
    case STACK:
        return Recurse(&depth);
    case PRIVILEGED:
        __asm__ volatile("cli");
        break;
    case OVERRUN:
        return Overrun();
    case STACK_IN_DPC:
        KeInitializeDpc(&Dpc, OnDpc, NULL);
        KeInsertQueueDpc(&Dpc, NULL, NULL);
        break;
    case STACK_IN_WORK_ITEM:
        ExInitializeWorkItem(&WorkItem, OnWork, NULL);
        ExQueueWorkItem(&WorkItem, DelayedWorkQueue);
        break;
    case STACK_IN_THREAD:
        return PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, OnWork, NULL);
    }
    return STATUS_SUCCESS;
}

#define ITEM(id) DEFINE_KSPROPERTY_ITEM(id, OnFault, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Properties[] = {
    ITEM(READ_NULL), ITEM(WRITE_READ_ONLY), ITEM(CALL_NULL), ITEM(DIVIDE), ITEM(ILLEGAL), ITEM(BUGCHECK),
    ITEM(FREE_TWICE), ITEM(WAIT_AT_DISPATCH), ITEM(STACK), ITEM(PRIVILEGED),
    ITEM(OVERRUN), ITEM(STACK_IN_DPC), ITEM(STACK_IN_WORK_ITEM), ITEM(STACK_IN_THREAD),
};
#include "misbehave.h"
MISBEHAVING_DRIVER(FaultSet, 0x10)
