/*
 * Pins whose framings differ in their flags, on three filters: sources and sinks; one that copies and one that works in place,
 * which both insist on three bytes for two. Nothing is processed: what the pins agree on is seen from outside.
 */
#include "avs.h"

#ifndef KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED
#define KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED 0x00008000
#endif

/* 0: the pin is there. */
static const char *Present(PKSPIN Pin)
{
    CHECK(Pin);
    return NULL;
}

DEFINE_CHECKS(Present);

#define SYSTEM KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY
#define INSIST KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO
#define FRAMING(name, flags, alignment, least, most, over, under) \
    static const KSALLOCATOR_FRAMING_EX name = { \
        .CountItems = 1, \
        .OutputCompression = {(over), (under), 0}, \
        .FramingItem = {{.MemoryType = {STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED}, \
                         .Flags = SYSTEM | (flags), \
                         .Frames = 4, \
                         .FileAlignment = (alignment), \
                         .FramingRange = {.Range = {(least), (most), 1}}}}, \
    }

FRAMING(Plain, 0, 0, 1, 4096, 1, 1);
FRAMING(Whole, KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY, 0, 1, 4096, 1, 1);
FRAMING(Changing, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 0, 1, 4096, 1, 1);
FRAMING(Modest, KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 0, 1, 40, 1, 1);
FRAMING(Pitch, KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED, 1023, 1, 4096, 1, 1);
FRAMING(Narrow, 0, 0, 1, 95, 1, 1);
FRAMING(Insisting, INSIST, 0, 1, 4096, 3, 2);
FRAMING(InsistingInPlace, INSIST | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 0, 1, 4096, 3, 2);
FRAMING(Advising, 0, 0, 1, 4096, 3, 2);

static NTSTATUS OnProcess(PKSPIN Pin)
{
    UNREFERENCED_PARAMETER(Pin);
    return STATUS_PENDING;
}

static NTSTATUS OnWhole(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    UNREFERENCED_PARAMETER(Filter);
    UNREFERENCED_PARAMETER(Index);
    return STATUS_PENDING;
}

static const KSPIN_DISPATCH Waiting = {.Process = OnProcess};
static const KSPIN_DISPATCH None;
static const KSFILTER_DISPATCH WholeDispatch = {.Process = OnWhole};

#define WISH(dispatch, flow, framing) \
    { \
        .Dispatch = &(dispatch), .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .AllocatorFraming = &(framing), \
    }
#define SOURCE(framing) WISH(Waiting, KSPIN_DATAFLOW_OUT, framing)
#define SINK(framing) WISH(Waiting, KSPIN_DATAFLOW_IN, framing)

static const KSPIN_DESCRIPTOR_EX Ends[] = {
    SOURCE(Plain), SOURCE(Whole), SINK(Plain), SINK(Changing), SINK(Modest), SINK(Pitch), SINK(Narrow),
};
static const KSPIN_DESCRIPTOR_EX Copies[] = {
    WISH(None, KSPIN_DATAFLOW_IN, Plain), WISH(None, KSPIN_DATAFLOW_OUT, Insisting),
};
static const KSPIN_DESCRIPTOR_EX InPlace[] = {
    WISH(None, KSPIN_DATAFLOW_IN, Changing), WISH(None, KSPIN_DATAFLOW_OUT, InsistingInPlace),
};
static const KSPIN_DESCRIPTOR_EX Advised[] = {
    WISH(None, KSPIN_DATAFLOW_IN, Plain), WISH(None, KSPIN_DATAFLOW_OUT, Advising),
};

#define REFERENCE(n) {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, (n)}}
static const GUID References[] = {REFERENCE(0x94), REFERENCE(0x95), REFERENCE(0x96), REFERENCE(0x97)};
#define FILTER(dispatch, number, pins) \
    { \
        .Dispatch = (dispatch), .Version = KSFILTER_DESCRIPTOR_VERSION, .ReferenceGuid = &References[number], \
        .PinDescriptorsCount = SIZEOF_ARRAY(pins), .PinDescriptorSize = sizeof((pins)[0]), .PinDescriptors = (pins), \
        .CategoriesCount = SIZEOF_ARRAY(Categories), .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }
static const KSFILTER_DESCRIPTOR Filters[] = {
    FILTER(NULL, 0, Ends), FILTER(&WholeDispatch, 1, Copies), FILTER(&WholeDispatch, 2, InPlace),
    FILTER(&WholeDispatch, 3, Advised),
};
static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&Filters[0], &Filters[1], &Filters[2], &Filters[3]};
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {NULL, 4, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
