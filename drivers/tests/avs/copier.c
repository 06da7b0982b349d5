/*
 * A filter-centric filter that copies, and whose output is a splitter; beside it a filter of sinks. The filter fills the
 * first output, and looks at how its process pins say that the others come about. Byte 0 of a frame is the sample size of the
 * format that it was filled under, byte 1 what came in. A sink of factory 0 reads its frames; one of factory 1 says that it
 * changes them, and does.
 */
#include "avs.h"

enum { SINKS = 4, NUMBERS = 64, LOST = 0xEE };

typedef struct {
    LONG Taken, Wrong;
    PVOID At[NUMBERS];
} SINK;

static SINK Sinks[SINKS];
static LONG SinkCount;
static ULONG Agreed = FRAME, NewSize;
static LONG Calls, Wrong, Delegated, Copied;

/* The first output is the driver's; each of the others follows the first, or one before it that follows the first. */
static BOOLEAN Related(PKSPROCESSPIN_INDEXENTRY Outputs)
{
    PKSPROCESSPIN first = Outputs->Pins[0];
    LONG delegated = 0, copied = 0;
    PKSPIN source, branch;
    ULONG i, j;

    KsPinGetCopyRelationships(first->Pin, &source, &branch);
    if (source || branch || first->CopySource || first->DelegateBranch)
        return FALSE;
    for (i = 1; i < Outputs->Count; i++) {
        PKSPROCESSPIN later = Outputs->Pins[i], of = later->DelegateBranch;
        KsPinGetCopyRelationships(later->Pin, &source, &branch);
        if (later->Data || later->BytesAvailable || !later->DelegateBranch == !later->CopySource)
            return FALSE;
        if (source != (later->CopySource ? later->CopySource->Pin : NULL) || branch != (of ? of->Pin : NULL))
            return FALSE;
        if (later->CopySource && later->CopySource != first)
            return FALSE;
        for (j = 0; of && Outputs->Pins[j] != of; j++)
            if (j == i)
                return FALSE;
        if (of && of->DelegateBranch)
            return FALSE;
        delegated += of != NULL;
        copied += later->CopySource != NULL;
    }
    Delegated = delegated;
    Copied = copied;
    return TRUE;
}

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN in, first;
    UCHAR *to;

    UNREFERENCED_PARAMETER(Filter);
    if (!Index[0].Count || !Index[1].Count)
        return STATUS_PENDING;
    in = Index[0].Pins[0];
    first = Index[1].Pins[0];
    Calls++;
    Wrong += Index[0].Count != 1 || !Related(&Index[1]);
    if (!in->Data || !first->Data) {
        Wrong++;
        return STATUS_PENDING;
    }
    if (NewSize) {
        /* Nothing of the input is used: the format goes first. */
        PKSDATAFORMAT format = first->Data;
        *format = *first->Pin->ConnectionFormat;
        format->SampleSize = Agreed = NewSize;
        NewSize = 0;
        first->StreamPointer->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
        first->BytesUsed = sizeof(KSDATAFORMAT);
        first->Terminate = TRUE;
        return STATUS_SUCCESS;
    }
    to = first->Data;
    to[0] = (UCHAR)Agreed;
    to[1] = *(PUCHAR)in->Data;
    first->BytesUsed = 2;
    in->BytesUsed = in->BytesAvailable;
    in->Terminate = first->Terminate = TRUE;
    return STATUS_SUCCESS;
}

/* The input's is what comes next at the output; the output's is what is filled from now on. */
static NTSTATUS OnSetDataFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                                const KSATTRIBUTE_LIST *Attributes)
{
    if (Pin->DataFlow == KSPIN_DATAFLOW_OUT)
        Agreed = Pin->ConnectionFormat->SampleSize;
    else if (Old)
        NewSize = Pin->ConnectionFormat->SampleSize;
    return STATUS_SUCCESS;
}

static NTSTATUS OnSinkCreate(PKSPIN Pin, PIRP Irp)
{
    if (SinkCount == SINKS)
        return STATUS_INSUFFICIENT_RESOURCES;
    Pin->Context = &Sinks[SinkCount++];
    RtlZeroMemory(Pin->Context, sizeof(SINK));
    return STATUS_SUCCESS;
}

static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    SINK *sink = Pin->Context;

    while (lead) {
        if (lead->StreamHeader->DataUsed) {
            UCHAR *bytes = lead->StreamHeader->Data;
            sink->Wrong += bytes[0] != (UCHAR)Pin->ConnectionFormat->SampleSize || lead->StreamHeader->DataUsed != 2;
            sink->Wrong += bytes[1] != sink->Taken;
            if (sink->Taken < NUMBERS)
                sink->At[sink->Taken] = bytes;
            if (Pin->Id == 1)
                bytes[0] = bytes[1] = LOST;
            sink->Taken++;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

/* 0 of a sink: nine frames came, each once and as it was filled, under its format. */
static const char *TookNine(PKSPIN Pin)
{
    SINK *sink = Pin->Context;
    CHECK(sink->Wrong == 0);
    CHECK(sink->Taken == 9);
    return NULL;
}

/* 1 of the input: of three outputs one is delegated and one has copies. */
static const char *SharesAndCopies(PKSPIN Pin)
{
    CHECK(Wrong == 0 && Calls);
    CHECK(Delegated == 1 && Copied == 1);
    return NULL;
}

/* 2 of a sink: its frames were where those of the sink that was created before it were, each of them. */
static const char *SameFrames(PKSPIN Pin)
{
    SINK *sink = Pin->Context, *before = sink - 1;
    int i;
    CHECK(sink > Sinks);
    for (i = 0; i < 9; i++)
        CHECK(sink->At[i] && sink->At[i] == before->At[i]);
    return NULL;
}

/* 3: as before anything came; pins that live keep their places. */
static const char *Forget(PKSPIN Pin)
{
    SinkCount = Calls = Wrong = Delegated = Copied = 0;
    Agreed = FRAME;
    NewSize = 0;
    return NULL;
}

/* 4 of a sink: eighteen frames, the last of samples of 48 bytes. */
static const char *TookEighteen(PKSPIN Pin)
{
    SINK *sink = Pin->Context;
    CHECK(sink->Wrong == 0);
    CHECK(sink->Taken == 18);
    CHECK(Pin->ConnectionFormat->SampleSize == 48);
    return NULL;
}

/* 5 of an output: what KSPIN shows. */
static const char *Shows(PKSPIN Pin)
{
    CHECK(Pin->ConnectionFormat->SampleSize == 48);
    return NULL;
}

DEFINE_CHECKS(TookNine, SharesAndCopies, SameFrames, Forget, TookEighteen, Shows);

static DECLARE_SIMPLE_FRAMING_EX(Changing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 4, 0,
                                 FRAME, FRAME);

static const KSPIN_DISPATCH CopierDispatch = {.SetDataFormat = OnSetDataFormat};
static const KSPIN_DISPATCH SinkDispatch = {.Create = OnSinkCreate, .Process = OnTake, .SetDataFormat = OnSetDataFormat};
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX CopierPins[] = {
    PIN(&CopierDispatch, KSPIN_DATAFLOW_IN, 0, 1),
    PIN(&CopierDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_SPLITTER, 3),
};
static const KSPIN_DESCRIPTOR_EX SinkPins[] = {
    PIN(&SinkDispatch, KSPIN_DATAFLOW_IN, 0, SINKS),
    {
        .Dispatch = &SinkDispatch, .AutomationTable = &Automation,
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_IN,
                          .Communication = KSPIN_COMMUNICATION_BOTH},
        .InstancesPossible = SINKS, .AllocatorFraming = &Changing,
    },
};
static const GUID CopierReference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x90}};
static const GUID SinkReference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x91}};

#define FILTER(dispatch, reference, pins) \
    { \
        .Dispatch = (dispatch), .Version = KSFILTER_DESCRIPTOR_VERSION, .ReferenceGuid = &(reference), \
        .PinDescriptorsCount = SIZEOF_ARRAY(pins), .PinDescriptorSize = sizeof((pins)[0]), .PinDescriptors = (pins), \
        .CategoriesCount = SIZEOF_ARRAY(Categories), .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }
static const KSFILTER_DESCRIPTOR Copier = FILTER(&FilterDispatch, CopierReference, CopierPins);
static const KSFILTER_DESCRIPTOR Sink = FILTER(NULL, SinkReference, SinkPins);
static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&Copier, &Sink};
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {NULL, 2, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
