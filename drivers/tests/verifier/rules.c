/*
 * One driver with a defect for each rule of the verifier: built with -DRULE=3 it breaks V03, with -DRULE=0 none. With
 * -DHANGS_IN_PROCESS its process callback does not return; with -DRETURNS_IN=1 and up a callback has a wrong status; with
 * -DEVERY_WAY its first check breaks rules in every way that the defects do not. A source (pin 0) and a sink (pin 1);
 * property 0 of CheckSet on either runs OnCheck.
 */
#include "../avs/avs.h"

#ifndef RULE
#define RULE 0
#endif
/* A callback, by its number in the test, that returns what it may not. */
#ifndef RETURNS_IN
#define RETURNS_IN 0
#endif

enum { SOURCE, SINK, MOST_FRAMES = 12 };

static LONG Made;
/* The source has been called. */
static KEVENT Processed;

/* Fills and sends on what is at the leading edge. */
static __attribute__((noinline)) NTSTATUS Process(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;
#ifdef HANGS_IN_PROCESS
    for (;;)
        YieldProcessor();
#endif
#if RULE == 11
    /* The processing mutex is held. */
    KsPinAcquireControl(Pin);
#endif
#if RULE == 3
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_UNLOCKED);
    if (lead)
        KsStreamPointerUnlock(lead, FALSE);
#endif
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (!lead)
        return STATUS_PENDING;
#if RULE == 4
    if (Pin->Id == SOURCE)
        return STATUS_PENDING;
#endif
#if RULE == 2
    if (Pin->Id == SOURCE) {
        PKSSTREAM_POINTER forgotten;
        (void)KsStreamPointerClone(lead, NULL, 0, &forgotten);
    }
#endif
#if RULE == 12
    {
        PKSSTREAM_POINTER clone;
        if (NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &clone))) {
            KsStreamPointerDelete(clone);
            KsStreamPointerDelete(clone);
        }
    }
#endif
#if RULE == 20
    {
        PIRP irp = KsStreamPointerGetIrp(lead, NULL, NULL);
        irp->IoStatus.Status = STATUS_SUCCESS;
        IoCompleteRequest(irp, IO_NO_INCREMENT);
    }
#endif
#if RULE == 0
    {
        PKSSTREAM_POINTER clone;
        if (NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &clone))) {
            KsStreamPointerUnlock(clone, FALSE);
            (void)KsStreamPointerLock(clone);
            KsStreamPointerDelete(clone);
        }
    }
#endif
    for (;;) {
        if (Pin->Id == SOURCE) {
            if (InterlockedIncrement(&Made) > MOST_FRAMES) {
                KsStreamPointerUnlock(lead, FALSE);
                return STATUS_PENDING;
            }
            lead->StreamHeader->DataUsed = FRAME;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            return STATUS_PENDING;
    }
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    NTSTATUS status = Process(Pin);
#if RETURNS_IN == 14
    status = STATUS_TIMEOUT;
#endif
    if (Pin->Id == SOURCE)
        KeSetEvent(&Processed, IO_NO_INCREMENT, FALSE);
    return status;
}

static NTSTATUS OnSetDeviceState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
#if RULE == 5 || RETURNS_IN == 15
    return STATUS_PENDING;
#elif RULE == 8
    KIRQL old;
    KeRaiseIrql(APC_LEVEL, &old);
#endif
    if (Pin->Id == SOURCE && To == KSSTATE_ACQUIRE && From == KSSTATE_STOP)
        Made = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS OnHandshake(PKSPIN Pin, PKSHANDSHAKE In, PKSHANDSHAKE Out)
{
    return RETURNS_IN == 19 ? STATUS_PENDING : STATUS_SUCCESS;
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE DataRange, PKSDATARANGE Matching, ULONG Room,
                            PVOID Data, PULONG Bytes)
{
    *Bytes = sizeof(KSDATAFORMAT);
    if (!Room)
        return RETURNS_IN == 20 ? STATUS_PENDING : STATUS_BUFFER_OVERFLOW;
    *(PKSDATAFORMAT)Data = *Matching;
    /* 21: it has said how large it is, and then does not fill it. */
    return RETURNS_IN == 21 ? STATUS_PENDING : STATUS_SUCCESS;
}

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    KsPinRegisterHandshakeCallback(Pin, OnHandshake);
#if RULE == 18 || RETURNS_IN == 16
    Irp->IoStatus.Status = STATUS_SUCCESS;
    KsCompletePendingRequest(Irp);
    return STATUS_PENDING;
#else
    return STATUS_SUCCESS;
#endif
}

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
#if RETURNS_IN == 9
    Irp->IoStatus.Status = STATUS_SUCCESS;
    KsCompletePendingRequest(Irp);
    return STATUS_PENDING;
#endif
#if RULE == 7
    KIRQL old;
    KeRaiseIrql(APC_LEVEL, &old);
#endif
    return STATUS_SUCCESS;
}

static NTSTATUS OnStart(PKSDEVICE Device, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
    KeInitializeEvent(&Processed, NotificationEvent, FALSE);
#if RETURNS_IN == 2
    return STATUS_PENDING;
#endif
#if RULE == 6
    KIRQL old;
    KeRaiseIrql(APC_LEVEL, &old);
#endif
    return STATUS_SUCCESS;
}

/* Answers with what only one of them may not ------------------------------------------------------------------------- */

#define ANSWER_OF(number, status) (RETURNS_IN == (number) ? (status) : STATUS_SUCCESS)

static NTSTATUS OnAdd(PKSDEVICE Device)
{
    return ANSWER_OF(1, STATUS_PENDING);
}

static NTSTATUS OnPostStart(PKSDEVICE Device)
{
    return ANSWER_OF(3, STATUS_PENDING);
}

static NTSTATUS OnQueryStop(PKSDEVICE Device, PIRP Irp)
{
    return ANSWER_OF(4, STATUS_PENDING);
}

static NTSTATUS OnQueryRemove(PKSDEVICE Device, PIRP Irp)
{
    return ANSWER_OF(5, STATUS_PENDING);
}

static NTSTATUS OnQueryCapabilities(PKSDEVICE Device, PIRP Irp, PDEVICE_CAPABILITIES Capabilities)
{
    return ANSWER_OF(6, STATUS_PENDING);
}

static NTSTATUS OnQueryPower(PKSDEVICE Device, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From,
                             SYSTEM_POWER_STATE SystemTo, SYSTEM_POWER_STATE SystemFrom, POWER_ACTION Action)
{
    return ANSWER_OF(7, STATUS_PENDING);
}

static NTSTATUS OnQueryInterface(PKSDEVICE Device, PIRP Irp)
{
    return RETURNS_IN == 8 ? STATUS_PENDING : STATUS_NOT_SUPPORTED;
}

static NTSTATUS OnSetDataFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                                const KSATTRIBUTE_LIST *AttributeRange)
{
    return ANSWER_OF(10, STATUS_PENDING);
}

static NTSTATUS OnConnect(PKSPIN Pin)
{
    return ANSWER_OF(11, STATUS_PENDING);
}

static NTSTATUS Closed(ULONG Number, PIRP Irp)
{
    if (RETURNS_IN == Number)
        return STATUS_TIMEOUT;
    if (RETURNS_IN == Number + 1) {
        KsCompletePendingRequest(Irp);
        return STATUS_PENDING;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    return Closed(12, Irp);
}

static NTSTATUS OnFilterClose(PKSFILTER Filter, PIRP Irp)
{
    return Closed(17, Irp);
}

#ifdef EVERY_WAY
static const KSNODE_DESCRIPTOR Node;
static const KSPIN_DESCRIPTOR_EX *AnotherPin(void);

/* Each of these is a broken rule; the test has them in this order. */
static const char *BreakEveryRule(PKSPIN Pin)
{
    PKSFILTER filter = KsPinGetParentFilter(Pin);
    PKSDEVICE device = KsPinGetDevice(Pin);
    PKSAUTOMATION_TABLE merged = NULL;
    PKSSTREAM_POINTER lead;
    PVOID item = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 'kcRV');
    KIRQL old;
    ULONG id;

    KsReleaseDevice(device);
    KsPinAcquireControl(Pin);
    KsPinAcquireControl(Pin);
    KsPinReleaseControl(Pin);
    KsPinReleaseControl(Pin);
    KsPinAcquireProcessingMutex(Pin);
    KsPinAcquireProcessingMutex(Pin);
    KsPinReleaseProcessingMutex(Pin);
    KsPinReleaseProcessingMutex(Pin);

    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_UNLOCKED);
    KsStreamPointerDelete(lead);
    KsStreamPointerDelete(NULL);
    KsStreamPointerUnlock(lead, TRUE);
    (void)KsStreamPointerAdvanceOffsetsAndUnlock(lead, 0, 0, FALSE);

    KeRaiseIrql(APC_LEVEL, &old);
    (void)KsGetParent(Pin);
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    KsCancelIo(NULL, NULL);
    KeLowerIrql(PASSIVE_LEVEL);

    (void)KsFilterGetChildPinCount(filter, SOURCE);
    (void)KsFilterGetFirstChildPin(filter, SOURCE);
    (void)KsPinGetNextSiblingPin(Pin);
    (void)KsGetFirstChild(device);
    (void)KsGetNextSibling(filter);
    (void)KsAddItemToObjectBag(filter->Bag, item, NULL);
    (void)KsCopyObjectBagItems(Pin->Bag, filter->Bag);
    (void)_KsEdit(filter->Bag, &item, 16, 16, 'kcRV');
    (void)KsRemoveItemFromObjectBag(filter->Bag, item, TRUE);
    (void)KsMergeAutomationTables(&merged, NULL, NULL, Pin->Bag);
    (void)KsFilterAddTopologyConnections(filter, 0, NULL);
    (void)KsFilterCreateNode(filter, &Node, &id);
    (void)KsFilterCreatePinFactory(filter, AnotherPin(), &id);

    KsAcquireDevice(device);
    KsPinAcquireControl(Pin);
    KsPinAcquireProcessingMutex(Pin);
    return NULL;
}
#endif

static const char *OnCheck(PKSPIN Pin)
{
#ifdef EVERY_WAY
    static LONG checks;
    if (InterlockedIncrement(&checks) == 1)
        return BreakEveryRule(Pin);
    return NULL;
#elif RULE == 1
    KsAcquireDevice(KsPinGetDevice(Pin));
#elif RULE == 9
    KIRQL old;
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    (void)KsPinGetDevice(Pin);
    KeLowerIrql(old);
#elif RULE == 10
    KsPinReleaseControl(Pin);
#elif RULE == 19
    PVOID item = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 'kcRV');
    CHECK(item && NT_SUCCESS(KsAddItemToObjectBag(Pin->Bag, item, NULL)));
#elif RULE == 21
    PKSSTREAM_POINTER lead = NULL;
    if (Pin->Id == SOURCE && Pin->ClientState == KSSTATE_ACQUIRE)
        lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (lead) {
        lead->StreamHeader->DataUsed = FRAME;
        KsStreamPointerUnlock(lead, TRUE);
    }
#elif RULE == 0
    PVOID item = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 'kcRV');
    PKSDEVICE device = KsPinGetDevice(Pin);
    NTSTATUS status;
    KsAcquireDevice(device);
    KsPinAcquireControl(Pin);
    status = item ? KsAddItemToObjectBag(Pin->Bag, item, NULL) : STATUS_INSUFFICIENT_RESOURCES;
    KsPinReleaseControl(Pin);
    KsReleaseDevice(device);
    CHECK(NT_SUCCESS(status));
    if (Pin->Id == SOURCE) {
        KSHANDSHAKE offer = {CheckSet, NULL, NULL}, answer;
        status = KsPinHandshake(Pin, &offer, &answer);
        CHECK(status == (RETURNS_IN == 19 ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS));
#if RETURNS_IN == 19
        /* Its filter stands still now: nobody is to wait for it. */
        KeSetEvent(&Processed, IO_NO_INCREMENT, FALSE);
#endif
    }
#endif
    return NULL;
}

/* Waits until the source has been called. */
static const char *OnWait(PKSPIN Pin)
{
    LARGE_INTEGER most = {.QuadPart = -100000000};
    CHECK(KeWaitForSingleObject(&Processed, Executive, KernelMode, FALSE, &most) == STATUS_SUCCESS);
    return NULL;
}

DEFINE_CHECKS(OnCheck, OnWait);
static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnCreate, .Close = OnPinClose, .Process = OnProcess, .SetDeviceState = OnSetDeviceState,
    .SetDataFormat = OnSetDataFormat, .Connect = OnConnect};
#define ASKED_PIN(flow) \
    { \
        .Dispatch = &PinDispatch, .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .IntersectHandler = OnIntersect, \
    }
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    ASKED_PIN(KSPIN_DATAFLOW_OUT),
    ASKED_PIN(KSPIN_DATAFLOW_IN),
};
#ifdef EVERY_WAY
static const KSPIN_DESCRIPTOR_EX *AnotherPin(void)
{
    return &Pins[SINK];
}
#endif
static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate, .Close = OnFilterClose};
static const KSDEVICE_DISPATCH DeviceDispatch = {
    .Add = OnAdd, .Start = OnStart, .PostStart = OnPostStart, .QueryStop = OnQueryStop, .QueryRemove = OnQueryRemove,
    .QueryCapabilities = OnQueryCapabilities, .QueryPower = OnQueryPower, .QueryInterface = OnQueryInterface};
DEFINE_DRIVER(0x21, &FilterDispatch, Pins, &DeviceDispatch)
