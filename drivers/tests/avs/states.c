/*
 * Filters in a row: a source, one that works in place, and a sink. Each pin notes the steps of its state with what KSPIN
 * shows then, and refuses the one that it is told to refuse. Frames are numbered; each filter between the ends counts itself
 * in them. Pin 1 of the sink answers requests for its state itself: ACQUIRE pends until a client says how it ends, and what
 * else there is to do it leaves to the class driver.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E93} */
static const GUID RowSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x93}};

enum { REFUSE, STEPS, ALLOW, COUNTS, END_ACQUIRE, PENDS };
enum { FRAME = 64, MOST_STEPS = 600, TAG = 'tatS', INPUT = 0, OUTPUT = 1 };

typedef struct {
    ULONG From, To;
    NTSTATUS Status;
} REFUSAL;

typedef struct {
    ULONG From, To, DeviceState, ClientState;
} STEP;

typedef struct {
    /* Of a source: filled so far. Of a sink: one more than the last number. */
    ULONG Next;
    /* Of a sink. */
    ULONG Frames, OutOfOrder, Missing, Hops;
} ROW_COUNTS;

typedef struct {
    REFUSAL Refusal;
    ROW_COUNTS Counts;
    LONG Allowed;
    ULONG StepCount;
    STEP Steps[MOST_STEPS];
} ROW_PIN;

typedef struct {
    ULONG Number, Hops;
} PAYLOAD;

/* The request for ACQUIRE that pends. */
static PIRP volatile Pended;

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    ROW_PIN *row = ExAllocatePoolWithTag(NonPagedPool, sizeof(*row), TAG);

    if (!row)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(row, sizeof(*row));
    Pin->Context = row;
    return STATUS_SUCCESS;
}

static NTSTATUS OnClose(PKSPIN Pin, PIRP Irp)
{
    ExFreePoolWithTag(Pin->Context, TAG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnSetDeviceState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    ROW_PIN *row = Pin->Context;

    if (row->StepCount < MOST_STEPS) {
        STEP step = {From, To, Pin->DeviceState, Pin->ClientState};
        row->Steps[row->StepCount++] = step;
    }
    if (row->Refusal.From != row->Refusal.To && row->Refusal.From == From && row->Refusal.To == To)
        return row->Refusal.Status;
    return STATUS_SUCCESS;
}

static NTSTATUS OnFill(PKSPIN Pin)
{
    ROW_PIN *row = Pin->Context;
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    while (lead) {
        if (row->Allowed <= 0) {
            KsStreamPointerUnlock(lead, FALSE);
            break;
        }
        InterlockedDecrement(&row->Allowed);
        ((PAYLOAD *)lead->OffsetOut.Data)->Number = row->Counts.Next++;
        ((PAYLOAD *)lead->OffsetOut.Data)->Hops = 0;
        lead->StreamHeader->DataUsed = FRAME;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnTake(PKSPIN Pin)
{
    ROW_COUNTS *counts = &((ROW_PIN *)Pin->Context)->Counts;
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    while (lead) {
        if (lead->StreamHeader->DataUsed) {
            PAYLOAD *payload = (PAYLOAD *)lead->OffsetIn.Data;
            counts->Frames++;
            counts->OutOfOrder += payload->Number < counts->Next;
            counts->Missing += payload->Number > counts->Next ? payload->Number - counts->Next : 0;
            counts->Next = payload->Number + 1;
            counts->Hops = payload->Hops;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnPass(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN input, output;

    if (!Index[INPUT].Count || !Index[OUTPUT].Count)
        return STATUS_PENDING;
    input = Index[INPUT].Pins[0];
    output = Index[OUTPUT].Pins[0];
    if (input->BytesAvailable)
        ((PAYLOAD *)output->Data)->Hops = ((PAYLOAD *)input->Data)->Hops + 1;
    output->BytesUsed = input->BytesUsed = input->BytesAvailable;
    input->Terminate = output->Terminate = TRUE;
    return STATUS_SUCCESS;
}

static NTSTATUS SetRefusal(PIRP Irp, PKSIDENTIFIER Request, REFUSAL *Refusal)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);

    KsPinAcquireControl(pin);
    ((ROW_PIN *)pin->Context)->Refusal = *Refusal;
    KsPinReleaseControl(pin);
    return STATUS_SUCCESS;
}

/* What KSPIN shows now, and the steps since the last time. */
static NTSTATUS GetSteps(PIRP Irp, PKSIDENTIFIER Request, PULONG Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    ROW_PIN *row = pin->Context;

    KsPinAcquireControl(pin);
    Data[0] = pin->DeviceState;
    Data[1] = pin->ClientState;
    RtlCopyMemory(&Data[2], row->Steps, row->StepCount * sizeof(STEP));
    Irp->IoStatus.Information = 2 * sizeof(ULONG) + row->StepCount * sizeof(STEP);
    row->StepCount = 0;
    KsPinReleaseControl(pin);
    return STATUS_SUCCESS;
}

static NTSTATUS Allow(PIRP Irp, PKSIDENTIFIER Request, PULONG Frames)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);

    InterlockedExchangeAdd(&((ROW_PIN *)pin->Context)->Allowed, *Frames);
    KsPinAttemptProcessing(pin, TRUE);
    return STATUS_SUCCESS;
}

static NTSTATUS GetCounts(PIRP Irp, PKSIDENTIFIER Request, ROW_COUNTS *Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);

    KsPinAcquireProcessingMutex(pin);
    *Data = ((ROW_PIN *)pin->Context)->Counts;
    KsPinReleaseProcessingMutex(pin);
    Irp->IoStatus.Information = sizeof(*Data);
    return STATUS_SUCCESS;
}

static NTSTATUS EndAcquire(PIRP Irp, PKSIDENTIFIER Request, NTSTATUS *Status)
{
    PIRP irp = InterlockedExchangePointer((PVOID *)&Pended, NULL);

    if (!irp)
        return STATUS_INVALID_DEVICE_STATE;
    irp->IoStatus.Status = *Status;
    irp->IoStatus.Information = 0;
    KsCompletePendingRequest(irp);
    return STATUS_SUCCESS;
}

static NTSTATUS GetPends(PIRP Irp, PKSIDENTIFIER Request, PULONG Data)
{
    *Data = Pended != NULL;
    Irp->IoStatus.Information = sizeof(*Data);
    return STATUS_SUCCESS;
}

static NTSTATUS OnSetState(PIRP Irp, PKSIDENTIFIER Request, KSSTATE *State)
{
    if (*State != KSSTATE_ACQUIRE || KsGetPinFromIrp(Irp)->ClientState != KSSTATE_STOP)
        return STATUS_SOME_NOT_MAPPED;
    IoMarkIrpPending(Irp);
    Pended = Irp;
    return STATUS_PENDING;
}

/* What it has written is not what the client is told. */
static NTSTATUS OnGetState(PIRP Irp, PKSIDENTIFIER Request, KSSTATE *State)
{
    *State = 77;
    Irp->IoStatus.Information = sizeof(*State);
    return STATUS_SOME_NOT_MAPPED;
}

#define READ(id, handler, bytes) \
    DEFINE_KSPROPERTY_ITEM(id, (PFNKSHANDLER)(handler), sizeof(KSPROPERTY), bytes, NULL, NULL, 0, NULL, NULL, 0)
#define WRITE(id, handler, bytes) \
    DEFINE_KSPROPERTY_ITEM(id, NULL, sizeof(KSPROPERTY), bytes, (PFNKSHANDLER)(handler), NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Items[] = {
    WRITE(REFUSE, SetRefusal, sizeof(REFUSAL)),
    READ(STEPS, GetSteps, 2 * sizeof(ULONG) + MOST_STEPS * sizeof(STEP)),
    WRITE(ALLOW, Allow, sizeof(ULONG)),
    READ(COUNTS, GetCounts, sizeof(ROW_COUNTS)),
    WRITE(END_ACQUIRE, EndAcquire, sizeof(NTSTATUS)),
    READ(PENDS, GetPends, sizeof(ULONG)),
};
static const GUID ConnectionSet = {STATIC_KSPROPSETID_Connection};
static const KSPROPERTY_ITEM StateItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_CONNECTION_STATE, (PFNKSHANDLER)OnGetState, sizeof(KSPROPERTY), sizeof(KSSTATE),
                           (PFNKSHANDLER)OnSetState, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_SET Sets[] = {
    {&RowSet, SIZEOF_ARRAY(Items), Items, 0, NULL},
    {&ConnectionSet, SIZEOF_ARRAY(StateItems), StateItems, 0, NULL},
};
static const KSAUTOMATION_TABLE Automation = {1, sizeof(KSPROPERTY_ITEM), Sets};
static const KSAUTOMATION_TABLE WithState = {2, sizeof(KSPROPERTY_ITEM), Sets};

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 4,
                                 0, FRAME, FRAME);
static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};

#define ROW_ENDS(routine) \
    {.Create = OnCreate, .Close = OnClose, .SetDeviceState = OnSetDeviceState, .Process = (routine)}
static const KSPIN_DISPATCH FillDispatch = ROW_ENDS(OnFill);
static const KSPIN_DISPATCH TakeDispatch = ROW_ENDS(OnTake);
static const KSPIN_DISPATCH PassDispatch = ROW_ENDS(NULL);
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnPass};

#define ROW_OF(dispatch, table, flow, framing) \
    { \
        .Dispatch = &(dispatch), .AutomationTable = &(table), \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .AllocatorFraming = (framing), \
    }
static const KSPIN_DESCRIPTOR_EX SourcePins[] = {ROW_OF(FillDispatch, Automation, KSPIN_DATAFLOW_OUT, NULL)};
static const KSPIN_DESCRIPTOR_EX InPlacePins[] = {
    [INPUT] = ROW_OF(PassDispatch, Automation, KSPIN_DATAFLOW_IN, &Framing),
    [OUTPUT] = ROW_OF(PassDispatch, Automation, KSPIN_DATAFLOW_OUT, &Framing),
};
static const KSPIN_DESCRIPTOR_EX SinkPins[] = {
    ROW_OF(TakeDispatch, Automation, KSPIN_DATAFLOW_IN, NULL),
    ROW_OF(TakeDispatch, WithState, KSPIN_DATAFLOW_IN, NULL),
};
#define ROW_FILTER(dispatch, pins, number) \
    { \
        .Dispatch = (dispatch), .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .ReferenceGuid = &(const GUID){0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, (number)}}, \
        .PinDescriptorsCount = SIZEOF_ARRAY(pins), .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX), \
        .PinDescriptors = (pins), .CategoriesCount = 1, .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }
static const KSFILTER_DESCRIPTOR SourceFilter = ROW_FILTER(NULL, SourcePins, 0x90);
static const KSFILTER_DESCRIPTOR InPlaceFilter = ROW_FILTER(&FilterDispatch, InPlacePins, 0x91);
static const KSFILTER_DESCRIPTOR SinkFilter = ROW_FILTER(NULL, SinkPins, 0x92);
static const KSFILTER_DESCRIPTOR *const Filters[] = {&SourceFilter, &InPlaceFilter, &SinkFilter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
