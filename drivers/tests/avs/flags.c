/*
 * A filter for each flag of a pin's and of a filter's descriptor, and its like without the flag. All of them have the same
 * callbacks, which note how they were called: a client compares the notes.
 *
 * The reference of a filter tells what it is: the flags of its pin 0, the kind of filter, and the filter's own flags.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E90}: item 0 of a pin gives the NOTES, item 1 takes an ORDER. */
static const GUID FlagSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x90}};

enum { NOTES_ITEM, ORDER_ITEM };
enum { FRAME = 64, PIECE = 24, STRIDE = 32, NOBODY = 99 };
enum { IS_INPUT, IS_OUTPUT };

/* The kinds: pins that process, one of an interface that has no transport of its own, a filter that processes as a whole. */
enum { BY_PIN = 1, BY_PIN_OF_OWN_INTERFACE, WHOLE };

typedef struct {
    ULONG Calls;
    /* Of the last call: its level, whether it ran on the thread that the client marked, and within an attempt at DISPATCH. */
    ULONG Level, OnMarked, WithinAttempt;
    /* Frames taken; of the last one: what its offset counts, and whether its queue had a trailing edge. */
    ULONG Frames, Pieces, HasTrailing;
    ULONG Formats;
} NOTES;

enum { FORGET, MARK, LEAVE, CLOSE_GATE, OPEN_GATE, ATTEMPT, ATTEMPT_LATER, ATTEMPT_RAISED, KEEP, LET_GO, PASS_TRAILING, ATTACH_OR, ATTACH_AND };

static NOTES Notes;
static volatile PKTHREAD Marked, Attempting;
static BOOLEAN Leaves, Keeps;
static PKSSTREAM_POINTER Kept;
static KDPC Dpc;
static KEVENT Attempted;
static KSGATE Gate;

static void Note(void)
{
    Notes.Level = KeGetCurrentIrql();
    Notes.OnMarked = KeGetCurrentThread() == Marked;
    Notes.WithinAttempt = KeGetCurrentThread() == Attempting;
    Notes.Calls++;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;

    Note();
    if (Leaves)
        return STATUS_PENDING;
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        Notes.Frames++;
        Notes.Pieces = lead->OffsetIn.Count;
        Notes.HasTrailing = KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_UNLOCKED) != NULL;
        if (Keeps && NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &Kept)))
            Keeps = FALSE;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnProcessWhole(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    ULONG i;

    Note();
    if (Leaves)
        return STATUS_PENDING;
    for (i = 0; i < Index[IS_INPUT].Count; i++) {
        PKSPROCESSPIN in = Index[IS_INPUT].Pins[i];
        if (in->StreamPointer) {
            Notes.Frames++;
            in->BytesUsed = in->BytesAvailable;
            in->Terminate = TRUE;
        }
    }
    return STATUS_PENDING;
}

static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                         const KSATTRIBUTE_LIST *Attributes)
{
    Notes.Formats++;
    return STATUS_SUCCESS;
}

/* The filter of a pin if it processes as a whole; asked at PASSIVE_LEVEL. */
static PKSFILTER WholeOf(PKSPIN Pin)
{
    PKSFILTER filter = KsPinGetParentFilter(Pin);
    return filter->Descriptor->Dispatch ? filter : NULL;
}

static void Attempt(PKSPIN Pin, PKSFILTER Filter, BOOLEAN Later)
{
    if (Filter)
        KsFilterAttemptProcessing(Filter, Later);
    else
        KsPinAttemptProcessing(Pin, Later);
}

static VOID NTAPI OnDpc(PKDPC This, PVOID Pin, PVOID Filter, PVOID Unused)
{
    Attempting = KeGetCurrentThread();
    Attempt(Pin, Filter, FALSE);
    Attempting = NULL;
    KeSetEvent(&Attempted, IO_NO_INCREMENT, FALSE);
}

static PKSGATE GateOf(PKSPIN Pin)
{
    PKSFILTER filter = WholeOf(Pin);
    return filter ? KsFilterGetAndGate(filter) : KsPinGetAndGate(Pin);
}

static NTSTATUS Order(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    PKSSTREAM_POINTER trail;

    switch (*(ULONG *)Data) {
    case FORGET:
        RtlZeroMemory(&Notes, sizeof(Notes));
        Notes.Level = NOBODY;
        Marked = NULL;
        Leaves = Keeps = FALSE;
        return STATUS_SUCCESS;
    case MARK:
        Marked = KeGetCurrentThread();
        return STATUS_SUCCESS;
    case LEAVE:
        Leaves = TRUE;
        return STATUS_SUCCESS;
    case CLOSE_GATE:
        KsGateTurnInputOff(GateOf(pin));
        return STATUS_SUCCESS;
    case OPEN_GATE:
        KsGateTurnInputOn(GateOf(pin));
        return STATUS_SUCCESS;
    case ATTEMPT:
        Attempt(pin, WholeOf(pin), FALSE);
        return STATUS_SUCCESS;
    case ATTEMPT_LATER:
        Attempt(pin, WholeOf(pin), TRUE);
        return STATUS_SUCCESS;
    case ATTEMPT_RAISED:
        KeInitializeEvent(&Attempted, NotificationEvent, FALSE);
        KeInitializeDpc(&Dpc, OnDpc, pin);
        KeInsertQueueDpc(&Dpc, WholeOf(pin), NULL);
        return KeWaitForSingleObject(&Attempted, Executive, KernelMode, FALSE, NULL);
    case KEEP:
        Keeps = TRUE;
        return STATUS_SUCCESS;
    case LET_GO:
        KsStreamPointerDelete(Kept);
        return STATUS_SUCCESS;
    case PASS_TRAILING:
        trail = KsPinGetTrailingEdgeStreamPointer(pin, KSSTREAM_POINTER_STATE_LOCKED);
        if (!trail)
            return STATUS_DEVICE_NOT_READY;
        KsStreamPointerUnlock(trail, TRUE);
        return STATUS_SUCCESS;
    case ATTACH_OR:
    case ATTACH_AND:
        RtlZeroMemory(&Gate, sizeof(Gate));
        if (*(ULONG *)Data == ATTACH_OR) {
            KsGateInitializeOr(&Gate, NULL);
            KsPinAttachOrGate(pin, &Gate);
        } else {
            KsGateInitializeAnd(&Gate, NULL);
            KsPinAttachAndGate(pin, &Gate);
        }
        /* Attached, it leads to the filter's gate. */
        if (!Gate.NextGate)
            return STATUS_INVALID_DEVICE_REQUEST;
        KsPinAttachOrGate(pin, NULL);
        return STATUS_SUCCESS;
    }
    return STATUS_INVALID_PARAMETER;
}

static NTSTATUS Tell(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    RtlCopyMemory(Data, &Notes, sizeof(Notes));
    Irp->IoStatus.Information = sizeof(Notes);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Items[] = {
    DEFINE_KSPROPERTY_ITEM(NOTES_ITEM, Tell, sizeof(KSPROPERTY), sizeof(NOTES), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(ORDER_ITEM, NULL, sizeof(KSPROPERTY), sizeof(ULONG), Order, NULL, 0, NULL, NULL, 0),
};
static const KSPROPERTY_SET Sets[] = {{&FlagSet, SIZEOF_ARRAY(Items), Items, 0, NULL}};
static const KSAUTOMATION_TABLE Automation = {1, sizeof(KSPROPERTY_ITEM), Sets};
static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const KSPIN_INTERFACE OwnInterfaces[] = {
    {{{{0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x91}}, 0, 0}}}};
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess, .SetDataFormat = OnFormat};
static const KSPIN_DISPATCH PinOfWhole = {.SetDataFormat = OnFormat};
static const KSFILTER_DISPATCH WholeDispatch = {.Process = OnProcessWhole};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};

#define BYTE(word, at) (UCHAR)((word) >> (8 * (at)))
#define FILTER(kind, pin_flags, filter_flags) \
    { \
        .Dispatch = (kind) == WHOLE ? &WholeDispatch : NULL, \
        .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .Flags = (filter_flags), \
        .ReferenceGuid = &(const GUID){(pin_flags), (kind), 0, \
                                       {BYTE(filter_flags, 3), BYTE(filter_flags, 2), BYTE(filter_flags, 1), \
                                        BYTE(filter_flags, 0), 0, 0, 0, 0x25}}, \
        .PinDescriptorsCount = 1, \
        .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX), \
        .PinDescriptors = &(const KSPIN_DESCRIPTOR_EX){ \
            .Dispatch = (kind) == WHOLE ? &PinOfWhole : &PinDispatch, \
            .AutomationTable = &Automation, \
            .PinDescriptor = {.InterfacesCount = (kind) == BY_PIN_OF_OWN_INTERFACE, .Interfaces = OwnInterfaces, \
                              .DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_IN, \
                              .Communication = KSPIN_COMMUNICATION_BOTH}, \
            .Flags = (pin_flags), .InstancesPossible = 2}, \
        .CategoriesCount = SIZEOF_ARRAY(Categories), \
        .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }

#define EVERY_PIN(X) \
    X(0) X(KSPIN_FLAG_DISPATCH_LEVEL_PROCESSING) X(KSPIN_FLAG_CRITICAL_PROCESSING) \
    X(KSPIN_FLAG_HYPERCRITICAL_PROCESSING) X(KSPIN_FLAG_ASYNCHRONOUS_PROCESSING) \
    X(KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING) X(KSPIN_FLAG_INITIATE_PROCESSING_ON_EVERY_ARRIVAL) \
    X(KSPIN_FLAG_ENFORCE_FIFO) X(KSPIN_FLAG_GENERATE_MAPPINGS) X(KSPIN_FLAG_DISTINCT_TRAILING_EDGE) \
    X(KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY) X(KSPIN_FLAG_DO_NOT_USE_STANDARD_TRANSPORT) \
    X(KSPIN_FLAG_DO_NOT_USE_STANDARD_TRANSPORT | KSPIN_FLAG_USE_STANDARD_TRANSPORT) X(KSPIN_FLAG_FIXED_FORMAT) \
    X(KSPIN_FLAG_GENERATE_EOS_EVENTS) X(KSPIN_FLAG_RENDERER) X(KSPIN_FLAG_IMPLEMENT_CLOCK) \
    X(KSPIN_FLAG_DENY_USERMODE_ACCESS)
#define EVERY_PIN_OF_WHOLE(X) \
    X(0) X(KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING) X(KSPIN_FLAG_SOME_FRAMES_REQUIRED_FOR_PROCESSING) \
    X(KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY) X(KSPIN_FLAG_PROCESS_IF_ANY_IN_RUN_STATE)
#define EVERY_FILTER(X) \
    X(KSFILTER_FLAG_DISPATCH_LEVEL_PROCESSING) X(KSFILTER_FLAG_CRITICAL_PROCESSING) \
    X(KSFILTER_FLAG_HYPERCRITICAL_PROCESSING) X(KSFILTER_FLAG_RECEIVE_ZERO_LENGTH_SAMPLES) \
    X(KSFILTER_FLAG_DENY_USERMODE_ACCESS)

static const KSFILTER_DESCRIPTOR Filters[] = {
#define OF_PIN(flags) FILTER(BY_PIN, flags, 0),
    EVERY_PIN(OF_PIN)
#define OF_WHOLE(flags) FILTER(WHOLE, flags, 0),
    EVERY_PIN_OF_WHOLE(OF_WHOLE)
#define OF_FILTER(flags) FILTER(WHOLE, 0, flags),
    EVERY_FILTER(OF_FILTER)
    FILTER(BY_PIN_OF_OWN_INTERFACE, 0, 0),
    FILTER(BY_PIN_OF_OWN_INTERFACE, KSPIN_FLAG_USE_STANDARD_TRANSPORT, 0),
};
static const KSFILTER_DESCRIPTOR *Listed[SIZEOF_ARRAY(Filters)];

static DMA_ADAPTER Adapter;

static NTSTATUS OnStart(PKSDEVICE Dev, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
    KsDeviceRegisterAdapterObject(Dev, (PADAPTER_OBJECT)&Adapter, PIECE, STRIDE);
    return STATUS_SUCCESS;
}

static const KSDEVICE_DISPATCH DeviceDispatch = {.Start = OnStart};
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {
    &DeviceDispatch, SIZEOF_ARRAY(Listed), Listed, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG i;

    for (i = 0; i < SIZEOF_ARRAY(Filters); i++)
        Listed[i] = &Filters[i];
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
