/*
 * A source with a clock of its own, by which it stamps its frames: what the clock shows when a frame is made, and behind it in
 * the frame how often the clock was read. Its stream does not end.
 */
#include "bytes.h"

enum { FRAME = 64, HUNDREDS = 10000000 };

static volatile LONG Reads;

/* Twice as fast as the machine. */
static LONGLONG FASTCALL OnCorrelatedTime(PKSPIN Pin, PLONGLONG SystemTime)
{
    LARGE_INTEGER frequency, now = KeQueryPerformanceCounter(&frequency);

    InterlockedIncrement(&Reads);
    *SystemTime = now.QuadPart * (HUNDREDS / frequency.QuadPart);
    return 2 * *SystemTime;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    PIKSREFERENCECLOCK clock;
    NTSTATUS status;

    if (!lead)
        return STATUS_PENDING;
    status = KsPinGetReferenceClockInterface(Pin, &clock);
    if (!NT_SUCCESS(status)) {
        KsStreamPointerUnlock(lead, FALSE);
        return STATUS_PENDING;
    }
    lead->StreamHeader->PresentationTime.Time = clock->lpVtbl->GetTime(clock);
    lead->StreamHeader->PresentationTime.Numerator = lead->StreamHeader->PresentationTime.Denominator = 1;
    lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID;
    clock->lpVtbl->Release(clock);
    *(PLONG)lead->OffsetOut.Data = Reads;
    KsStreamPointerAdvanceOffsetsAndUnlock(lead, 0, FRAME, TRUE);
    return STATUS_SUCCESS;
}

static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const KSCLOCK_DISPATCH ClockDispatch = {.CorrelatedTime = OnCorrelatedTime};
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess, .Clock = &ClockDispatch};
static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 4,
                                 0, FRAME, FRAME);
static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_IMPLEMENT_CLOCK, .InstancesPossible = 1, .AllocatorFraming = &Framing,
}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x94}};
static const KSFILTER_DESCRIPTOR Filter = {
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
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
