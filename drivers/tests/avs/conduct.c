/*
 * Pin 0 takes frames and pin 1 fills them, each of the format that it agreed to last: the first byte of a frame is the
 * sample size of that format. Pin 1 changes it in the stream, and ends the stream. The topology leads from pin 0 to pin 1;
 * a property adds pin factories, nodes and connections while the filter is open. Pin 2 answers its state by itself, later.
 */
#include "avs.h"

enum { REFUSED = 13, BOTH = 2 };

static ULONG Agreed[BOTH];
static LONG Mismatches, Taken, Resets[BOTH], LastReset[BOTH];
static LONG ChangeTo, Allowed, EndNext;

/* 0 of a pin that takes frames, 1 of one that fills them. */
static ULONG Way(PKSPIN Pin)
{
    return Pin->DataFlow == KSPIN_DATAFLOW_OUT;
}

static ULONG SizeOf(PKSDATAFORMAT Format)
{
    return Format->SampleSize;
}

static NTSTATUS OnSetDataFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                                const KSATTRIBUTE_LIST *Attributes)
{
    if (Pin->ConnectionFormat->SampleSize == REFUSED)
        return STATUS_NO_MATCH;
    Agreed[Way(Pin)] = SizeOf(Pin->ConnectionFormat);
    return STATUS_SUCCESS;
}

static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (lead->StreamHeader->DataUsed) {
            if (*(PUCHAR)lead->OffsetIn.Data != Agreed[0])
                InterlockedIncrement(&Mismatches);
            InterlockedIncrement(&Taken);
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

/* Fills as many frames as a check allowed, and says first what they will be. */
static NTSTATUS OnFill(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (ChangeTo) {
            PKSDATAFORMAT format = (PKSDATAFORMAT)lead->OffsetOut.Data;
            *format = *Pin->ConnectionFormat;
            format->SampleSize = Agreed[1] = ChangeTo;
            lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
            lead->StreamHeader->DataUsed = sizeof(KSDATAFORMAT);
            ChangeTo = 0;
        } else if (Allowed > 0) {
            Allowed--;
            *(PUCHAR)lead->OffsetOut.Data = (UCHAR)Agreed[1];
            lead->StreamHeader->DataUsed = 1;
            if (EndNext) {
                lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
                EndNext = 0;
            }
        } else {
            KsStreamPointerUnlock(lead, FALSE);
            break;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static void OnReset(PKSPIN Pin)
{
    InterlockedIncrement(&Resets[Way(Pin)]);
    LastReset[Way(Pin)] = Pin->ResetState;
}

/* 0: three frames, of the sizes 64 and 32, came under their formats, and KSPIN shows the last. */
static const char *Followed(PKSPIN Pin)
{
    CHECK(Mismatches == 0 && Taken == 3);
    CHECK(Agreed[0] == 32 && SizeOf(Pin->ConnectionFormat) == 32);
    return NULL;
}

/* 1: the next frames are of size 32. */
static const char *Change(PKSPIN Pin)
{
    ChangeTo = 32;
    Allowed = 2;
    KsPinAttemptProcessing(Pin, TRUE);
    return NULL;
}

/* 2: what the driver said in its stream is what its pin shows. */
static const char *Changed(PKSPIN Pin)
{
    CHECK(ChangeTo == 0);
    CHECK(SizeOf(Pin->ConnectionFormat) == 32);
    return NULL;
}

/* 3: two frames more came, all under their formats. */
static const char *Arrived(PKSPIN Pin)
{
    CHECK(Taken == 2 && Mismatches == 0);
    CHECK(Agreed[0] == 32 && SizeOf(Pin->ConnectionFormat) == 32);
    return NULL;
}

/* 4: a reset of pin 0 reached pin 1, its end too. */
static const char *WereReset(PKSPIN Pin)
{
    CHECK(Resets[0] == 2 && Resets[1] == 2);
    CHECK(LastReset[0] == KSRESET_END && LastReset[1] == KSRESET_END);
    return NULL;
}

static const KSPIN_DISPATCH TakeDispatch = {.Process = OnTake, .Reset = OnReset, .SetDataFormat = OnSetDataFormat};
static const KSPIN_DESCRIPTOR_EX Grown;
static const GUID NodeKind = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x32}};
static const KSNODE_DESCRIPTOR Node = {NULL, &NodeKind, NULL};

/* 5: the filter gets a pin factory, a node and two connections. */
static const char *GrowControlled(PKSFILTER filter)
{
    ULONG pin = 0, node = 77;
    KSTOPOLOGY_CONNECTION connections[2] = {{KSFILTER_NODE, 3, 0, 1}, {0, 0, KSFILTER_NODE, 1}};

    CHECK(NT_SUCCESS(KsFilterCreatePinFactory(filter, &Grown, &pin)) && pin == 3);
    CHECK(NT_SUCCESS(KsFilterCreateNode(filter, &Node, &node)) && node == 0);
    CHECK(NT_SUCCESS(KsFilterAddTopologyConnections(filter, 2, connections)));
    return NULL;
}

static const char *Grow(PKSPIN Pin)
{
    PKSFILTER filter = KsPinGetParentFilter(Pin);
    const char *wrong;

    KsFilterAcquireControl(filter);
    wrong = GrowControlled(filter);
    KsFilterReleaseControl(filter);
    return wrong;
}

/* 6: as before anything came. */
static const char *Forget(PKSPIN Pin)
{
    Mismatches = Taken = ChangeTo = Allowed = 0;
    RtlZeroMemory(Resets, sizeof(Resets));
    LastReset[0] = LastReset[1] = -1;
    return NULL;
}

/* 7: of pin 1: the next frame is its last. Of pin 0: pin 1 was told of the end of a reset for that, and nobody of more. */
static const char *End(PKSPIN Pin)
{
    if (Way(Pin)) {
        EndNext = Allowed = 1;
        KsPinAttemptProcessing(Pin, TRUE);
        return NULL;
    }
    CHECK(EndNext == 0 && Resets[0] == 0 && Resets[1] == 1);
    CHECK(LastReset[1] == KSRESET_END);
    return NULL;
}

DEFINE_CHECKS(Followed, Change, Changed, Arrived, WereReset, Grow, Forget, End);

static WORK_QUEUE_ITEM Item;
static PKSWORKER Worker;
static PIRP Pended;
static LONG Acquired;

static VOID NTAPI OnLater(PVOID Context)
{
    PIRP irp = Pended;
    InterlockedIncrement(&Acquired);
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    KsCompletePendingRequest(irp);
}

/* ACQUIRE takes its time; the other states are there at once. */
static NTSTATUS OnSetState(PIRP Irp, PKSIDENTIFIER Request, PKSSTATE State)
{
    if (*State != KSSTATE_ACQUIRE)
        return STATUS_SUCCESS;
    IoMarkIrpPending(Irp);
    Pended = Irp;
    KsQueueWorkItem(Worker, &Item);
    return STATUS_PENDING;
}

static NTSTATUS OnGetState(PIRP Irp, PKSIDENTIFIER Request, PKSSTATE State)
{
    *State = Acquired ? KSSTATE_ACQUIRE : KSSTATE_STOP;
    Irp->IoStatus.Information = sizeof(*State);
    return STATUS_SUCCESS;
}

static const GUID ConnectionSet = {STATIC_KSPROPSETID_Connection};
static const KSPROPERTY_ITEM StateItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_CONNECTION_STATE, (PFNKSHANDLER)OnGetState, sizeof(KSPROPERTY), sizeof(KSSTATE),
                           (PFNKSHANDLER)OnSetState, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_SET StateSets[] = {{&ConnectionSet, 1, StateItems, 0, NULL}};
static const KSAUTOMATION_TABLE StateAutomation = {1, sizeof(KSPROPERTY_ITEM), StateSets};

static const KSPIN_DISPATCH FillDispatch = {.Process = OnFill, .Reset = OnReset, .SetDataFormat = OnSetDataFormat};
static const KSPIN_DISPATCH NoDispatch;
static const KSPIN_DESCRIPTOR_EX Grown = PIN(&TakeDispatch, KSPIN_DATAFLOW_IN, 0, 1);
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&TakeDispatch, KSPIN_DATAFLOW_IN, 0, 1),
    PIN(&FillDispatch, KSPIN_DATAFLOW_OUT, 0, 1),
    {
        .Dispatch = &NoDispatch, .AutomationTable = &StateAutomation,
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_IN,
                          .Communication = KSPIN_COMMUNICATION_BOTH},
        .InstancesPossible = 1,
    },
};
static const KSTOPOLOGY_CONNECTION Connections[] = {{KSFILTER_NODE, 0, KSFILTER_NODE, 1}};

static NTSTATUS OnStart(PKSDEVICE Device, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Raw)
{
    ExInitializeWorkItem(&Item, OnLater, NULL);
    return KsRegisterWorker(DelayedWorkQueue, &Worker);
}

static void OnRemove(PKSDEVICE Device, PIRP Irp)
{
    KsUnregisterWorker(Worker);
}

static const KSDEVICE_DISPATCH DeviceDispatch = {.Start = OnStart, .Remove = OnRemove};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x80}};
static const KSFILTER_DESCRIPTOR FilterDescriptor = {
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = SIZEOF_ARRAY(Pins),
    .PinDescriptorSize = sizeof(Pins[0]),
    .PinDescriptors = Pins,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
    .ConnectionsCount = SIZEOF_ARRAY(Connections),
    .Connections = Connections,
};
static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&FilterDescriptor};
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {&DeviceDispatch, 1, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
