/*
 * Moves stream pointers over frames that a client has sent, from property handlers: nothing processes by itself.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E40} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x40}};

__declspec(dllimport) NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE, BOOLEAN, PLARGE_INTEGER);

enum { ANSWER = 200, FRAME = 64 };
enum { MOVE, WAIT, CANCELLED, TIMEOUT, MEET, MET, CIRCUIT, OFF, ON, STAY, LEFT, KEEP };
/* Of the filter: which way the kept clone goes. */
enum { BY_UNLOCK, BY_ADVANCE, BY_OFFSETS };
/* Which callback of a clone begins first, and takes its time. */
enum { TIMEOUT_FIRST, CANCEL_FIRST };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

static KEVENT TimedOut;
static LONG Cancelled, Late;
/* Callbacks that run, the most at a time, and how many have ended. */
static LONG Running, Most, Ended;
static ULONG Slow;

static const char *Move(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead, clone, second;
    PKSSTREAM_HEADER header;
    BOOLEAN first = FALSE, last = TRUE;
    LONG in = 0, out = 0;
    PMDL mdl;

    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(lead && lead->Pin == Pin && lead->Context == NULL);
    CHECK(lead->Offset == &lead->OffsetOut);
    CHECK(lead->OffsetOut.Count == FRAME && lead->OffsetOut.Remaining == FRAME);
    header = lead->StreamHeader;
    CHECK(header->FrameExtent == FRAME && header->DataUsed == 0 && lead->OffsetOut.Data == header->Data);
    CHECK(KsStreamPointerGetIrp(lead, &first, &last) && first && !last);
    mdl = KsStreamPointerGetMdl(lead);
    CHECK(mdl && MmGetMdlByteCount(mdl) == FRAME);
    CHECK(MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) == header->Data);
    CHECK(KsStreamPointerGetMdl(lead) == mdl);
    CHECK(NT_SUCCESS(KsPinGetAvailableByteCount(Pin, &in, &out)) && in == 0 && out == 3 * FRAME);

    CHECK(NT_SUCCESS(KsStreamPointerClone(lead, NULL, 40, &clone)));
    CHECK(clone->Context == clone + 1 && clone->Pin == Pin && clone->Offset == &clone->OffsetOut);
    RtlFillMemory(clone->Context, 40, 0xAB);
    CHECK(KsPinGetFirstCloneStreamPointer(Pin) == clone && KsStreamPointerGetNextClone(clone) == NULL);
    CHECK(KsStreamPointerGetNextClone(lead) == NULL);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(clone, 0, 10, FALSE)));
    CHECK(clone->OffsetOut.Remaining == FRAME - 10 && header->DataUsed == 10);
    CHECK(lead->OffsetOut.Remaining == FRAME);

    CHECK(NT_SUCCESS(KsStreamPointerAdvance(lead)));
    CHECK(lead->StreamHeader != header && clone->StreamHeader == header);
    KsStreamPointerUnlock(lead, FALSE);
    CHECK(KsStreamPointerAdvanceOffsets(lead, 0, 1, FALSE) == STATUS_DEVICE_NOT_READY);
    CHECK(KsStreamPointerGetIrp(lead, NULL, NULL) == NULL && KsStreamPointerGetMdl(lead) == NULL);
    CHECK(NT_SUCCESS(KsStreamPointerLock(lead)));

    CHECK(NT_SUCCESS(KsStreamPointerClone(clone, NULL, 0, &second)));
    CHECK(second->Context == NULL && second->OffsetOut.Remaining == FRAME - 10);
    CHECK(KsStreamPointerGetNextClone(clone) == second);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(second)));
    CHECK(second->StreamHeader == lead->StreamHeader && second->OffsetOut.Remaining == FRAME);
    KsStreamPointerUnlock(second, TRUE);
    KsStreamPointerDelete(second);
    CHECK(KsStreamPointerGetNextClone(clone) == NULL);
    KsStreamPointerDelete(clone);
    CHECK(KsPinGetFirstCloneStreamPointer(Pin) == NULL);

    CHECK(NT_SUCCESS(KsStreamPointerSetStatusCode(lead, STATUS_SUCCESS)));
    KsStreamPointerAdvanceOffsetsAndUnlock(lead, 0, 20, TRUE);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(lead)));
    CHECK(KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED) == NULL);
    CHECK(KsStreamPointerLock(lead) == STATUS_DEVICE_NOT_READY);
    return NULL;
}

static void OnTimeout(PKSSTREAM_POINTER Pointer)
{
    if (KeGetCurrentIrql() == DISPATCH_LEVEL && Pointer->Pin)
        KeSetEvent(&TimedOut, IO_NO_INCREMENT, FALSE);
}

static void OnCancel(PKSSTREAM_POINTER Pointer)
{
    if (KeGetCurrentIrql() == DISPATCH_LEVEL)
        InterlockedIncrement(&Cancelled);
    KsStreamPointerDelete(Pointer);
}

/* Leaves an unlocked clone on the frame, for the client to cancel under. */
static const char *Wait(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), clone;

    KeInitializeEvent(&TimedOut, NotificationEvent, FALSE);
    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, OnCancel, 0, &clone)));
    KsStreamPointerUnlock(clone, FALSE);
    KsStreamPointerUnlock(lead, TRUE);
    KsStreamPointerScheduleTimeout(clone, OnTimeout, 100000000000ULL);
    KsStreamPointerScheduleTimeout(clone, OnTimeout, 10000);
    KeWaitForSingleObject(&TimedOut, Executive, KernelMode, FALSE, NULL);
    KsStreamPointerCancelTimeout(clone);
    return NULL;
}

static void OnLate(PKSSTREAM_POINTER Pointer)
{
    InterlockedIncrement(&Late);
}

/* A timeout that was cancelled does not come, though one of a later time does. */
static const char *Timeout(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), first, second;

    KeInitializeEvent(&TimedOut, NotificationEvent, FALSE);
    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &first)));
    CHECK(NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &second)));
    KsStreamPointerScheduleTimeout(first, OnLate, 3000000);
    KsStreamPointerCancelTimeout(first);
    KsStreamPointerCancelTimeout(first);
    KsStreamPointerScheduleTimeout(second, OnTimeout, 3100000);
    KeWaitForSingleObject(&TimedOut, Executive, KernelMode, FALSE, NULL);
    KsStreamPointerDelete(first);
    KsStreamPointerDelete(second);
    KsStreamPointerUnlock(lead, TRUE);
    CHECK(!Late);
    return NULL;
}

/* Deletes its clone, as its timeout and its cancel both do: whichever comes is to be the only one. */
static void Ends(PKSSTREAM_POINTER Pointer, ULONG StallMs)
{
    LONG running = InterlockedIncrement(&Running);
    if (running > Most)
        Most = running;
    KeSetEvent(&TimedOut, IO_NO_INCREMENT, FALSE);
    while (StallMs--)
        KeStallExecutionProcessor(1000);
    InterlockedIncrement(&Ended);
    InterlockedDecrement(&Running);
    KsStreamPointerDelete(Pointer);
}

static void TimeoutEnds(PKSSTREAM_POINTER Pointer)
{
    Ends(Pointer, Slow == TIMEOUT_FIRST ? 400 : 0);
}

static void CancelEnds(PKSSTREAM_POINTER Pointer)
{
    Ends(Pointer, Slow == CANCEL_FIRST ? 400 : 0);
}

/* Leaves a clone with a timeout on the frame. Returns when the timeout is being told, if that is to be first. */
static const char *Meet(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), clone;

    KeInitializeEvent(&TimedOut, NotificationEvent, FALSE);
    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, CancelEnds, 0, &clone)));
    KsStreamPointerUnlock(clone, FALSE);
    KsStreamPointerUnlock(lead, TRUE);
    KsStreamPointerScheduleTimeout(clone, TimeoutEnds, Slow == TIMEOUT_FIRST ? 0 : 2000000);
    if (Slow == TIMEOUT_FIRST)
        KeWaitForSingleObject(&TimedOut, Executive, KernelMode, FALSE, NULL);
    return NULL;
}

/* Where the pin is a source of a circuit, whose frames are out of its queue while the edge has them locked. */
static const char *Circuit(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), clone;
    PIRP first, second;

    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &clone)));
    first = KsStreamPointerGetIrp(lead, NULL, NULL);
    CHECK(first && KsStreamPointerGetIrp(clone, NULL, NULL) == first);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(lead)));
    second = KsStreamPointerGetIrp(lead, NULL, NULL);
    CHECK(second && second != first && KsStreamPointerGetIrp(clone, NULL, NULL) == first);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(clone)));
    CHECK(clone->StreamHeader == lead->StreamHeader && KsStreamPointerGetIrp(clone, NULL, NULL) == second);
    KsStreamPointerDelete(clone);
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

static PKSSTREAM_POINTER Kept;

/* The clone goes off the only frame, where the next is to come. */
static const char *Off(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &Kept)));
    KsStreamPointerUnlock(Kept, FALSE);
    KsStreamPointerUnlock(lead, TRUE);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(Kept)));
    CHECK(KsStreamPointerLock(Kept) == STATUS_DEVICE_NOT_READY);
    return NULL;
}

/* It has come. */
static const char *On(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    CHECK(lead && NT_SUCCESS(KsStreamPointerLock(Kept)) && Kept->StreamHeader == lead->StreamHeader);
    CHECK(Kept->OffsetOut.Remaining == FRAME && Kept->OffsetOut.Data == lead->OffsetOut.Data);
    KsStreamPointerDelete(Kept);
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

/* A locked clone stays on the frame at the edge, for the client to cancel under. */
static const char *Stay(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &Kept)));
    KsStreamPointerUnlock(lead, FALSE);
    return NULL;
}

/* The edge has gone on. */
static const char *Left(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    CHECK(lead && lead->StreamHeader != Kept->StreamHeader);
    KsStreamPointerDelete(Kept);
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

static KEVENT Go, Gone;
static ULONG Way;
/* The pin whose Close deletes the kept clone. */
static PKSPIN Closing;
static HANDLE Thread;

/* Lets the last frame of a closed pin go. */
static VOID NTAPI LetGo(PVOID Context)
{
    KeWaitForSingleObject(&Go, Executive, KernelMode, FALSE, NULL);
    if (Way == BY_UNLOCK)
        KsStreamPointerUnlock(Kept, TRUE);
    else if (Way == BY_ADVANCE)
        KsStreamPointerAdvance(Kept);
    else
        KsStreamPointerAdvanceOffsetsAndUnlock(Kept, 0, FRAME, FALSE);
    KeSetEvent(&Gone, IO_NO_INCREMENT, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static const char *Keep(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    KeInitializeEvent(&Go, NotificationEvent, FALSE);
    KeInitializeEvent(&Gone, NotificationEvent, FALSE);
    CHECK(lead && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &Kept)));
    KsStreamPointerUnlock(lead, TRUE);
    Closing = Pin;
    CHECK(NT_SUCCESS(PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, LetGo, NULL)));
    return NULL;
}

static LONG PinsClosed;

static NTSTATUS OnClose(PKSPIN Pin, PIRP Irp)
{
    InterlockedIncrement(&PinsClosed);
    if (Pin == Closing) {
        Closing = NULL;
        KsStreamPointerDelete(Kept);
    }
    return STATUS_SUCCESS;
}

/* The client has closed the pin: 0, or what is wrong. */
static NTSTATUS OnLetGo(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    LARGE_INTEGER most;

    most.QuadPart = -100000000;
    Way = Request->Id;
    PinsClosed = 0;
    KeSetEvent(&Go, IO_NO_INCREMENT, FALSE);
    *(ULONG *)Data = KeWaitForSingleObject(&Gone, Executive, KernelMode, FALSE, &most) == STATUS_SUCCESS ? 0 : 1;
    if (*(ULONG *)Data == 0)
        ZwWaitForSingleObject(Thread, FALSE, NULL);
    ZwClose(Thread);
    *(ULONG *)Data |= PinsClosed == 1 ? 0 : 2;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnMet(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ((LONG *)Data)[0] = Most;
    ((LONG *)Data)[1] = Ended;
    Most = Ended = 0;
    Slow = CANCEL_FIRST;
    Irp->IoStatus.Information = 2 * sizeof(LONG);
    return STATUS_SUCCESS;
}

static NTSTATUS Run(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    const char *wrong = Request->Id == MOVE   ? Move(pin)
                        : Request->Id == WAIT ? Wait(pin)
                        : Request->Id == MEET ? Meet(pin)
                        : Request->Id == CIRCUIT ? Circuit(pin)
                        : Request->Id == OFF ? Off(pin)
                        : Request->Id == ON ? On(pin)
                        : Request->Id == STAY ? Stay(pin)
                        : Request->Id == LEFT ? Left(pin)
                        : Request->Id == KEEP ? Keep(pin)
                                              : Timeout(pin);
    ULONG i;
    PAGED_CODE();
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        ((PCHAR)Data)[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static NTSTATUS OnCancelled(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(LONG *)Data = Cancelled;
    Irp->IoStatus.Information = sizeof(LONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(MOVE, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(WAIT, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(TIMEOUT, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(MEET, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(MET, OnMet, sizeof(KSPROPERTY), 2 * sizeof(LONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CANCELLED, OnCancelled, sizeof(KSPROPERTY), sizeof(LONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CIRCUIT, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(OFF, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(ON, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(STAY, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LEFT, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(KEEP, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};

static const KSPROPERTY_ITEM FilterProperties[] = {
    DEFINE_KSPROPERTY_ITEM(BY_UNLOCK, OnLetGo, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(BY_ADVANCE, OnLetGo, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(BY_OFFSETS, OnLetGo, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(FilterSets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(FilterProperties), FilterProperties, 0, NULL)};
static const KSAUTOMATION_TABLE FilterAutomation = {SIZEOF_ARRAY(FilterSets), sizeof(KSPROPERTY_ITEM), FilterSets};

static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess, .Close = OnClose};
static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .AutomationTable = &Automation,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING,
    .InstancesPossible = 1,
}};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x22}};
static const KSFILTER_DESCRIPTOR Filter = {
    .AutomationTable = &FilterAutomation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = SIZEOF_ARRAY(Pins),
    .PinDescriptorSize = sizeof(Pins[0]),
    .PinDescriptors = Pins,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, 1, Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
