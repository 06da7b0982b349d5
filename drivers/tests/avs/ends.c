/*
 * A codec that takes what comes at pin 0, and says the end of the stream at pin 1 when a check asks for it. Its topology
 * leads from the one to the other. Built with -DWHOLE it is filter-centric.
 */
#include "avs.h"

static LONG Taken, SayEnd;

#ifdef WHOLE
static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN in = Index[0].Count ? Index[0].Pins[0] : NULL, out = Index[1].Count ? Index[1].Pins[0] : NULL;

    if (in && in->StreamPointer) {
        InterlockedIncrement(&Taken);
        in->Terminate = TRUE;
    }
    if (out && out->StreamPointer && InterlockedExchange(&SayEnd, 0)) {
        out->StreamPointer->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        out->Terminate = TRUE;
    }
    return STATUS_SUCCESS;
}
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
#define FILTER_DISPATCH &FilterDispatch
static const KSPIN_DISPATCH InDispatch, OutDispatch;
#else
static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        InterlockedIncrement(&Taken);
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnFill(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (lead && InterlockedExchange(&SayEnd, 0)) {
        lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        KsStreamPointerUnlock(lead, TRUE);
    } else if (lead) {
        KsStreamPointerUnlock(lead, FALSE);
    }
    return STATUS_PENDING;
}
#define FILTER_DISPATCH NULL
static const KSPIN_DISPATCH InDispatch = {.Process = OnTake}, OutDispatch = {.Process = OnFill};
#endif

/* 0: the first stream of one frame was taken, and no more. */
static const char *First(PKSPIN Pin)
{
    CHECK(Taken == 1);
    return NULL;
}

/* 1: the next frame of the output says the end. */
static const char *Say(PKSPIN Pin)
{
    SayEnd = 1;
    KsPinAttemptProcessing(Pin, TRUE);
    return NULL;
}

/* 2: the second stream was taken, too. */
static const char *Second(PKSPIN Pin)
{
    CHECK(Taken == 3);
    return NULL;
}

DEFINE_CHECKS(First, Say, Second);
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&InDispatch, KSPIN_DATAFLOW_IN, KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING, 1),
    PIN(&OutDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING, 1),
};
static const KSTOPOLOGY_CONNECTION Connections[] = {{KSFILTER_NODE, 0, KSFILTER_NODE, 1}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x22}};
static const KSFILTER_DESCRIPTOR FilterDescriptor = {
    .Dispatch = FILTER_DISPATCH,
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
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {NULL, 1, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
