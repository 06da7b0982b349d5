/*
 * agile: takes another format while it runs. Its frames are full of one byte, the sample size of the format that they
 * were made in; a frame of a new format begins with the next one.
 */
#include "bytes.h"

static const KSDATARANGE Small = BYTES_RANGE(16);
static const KSDATARANGE Large = BYTES_RANGE(64);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Small, (PKSDATARANGE)&Large};

typedef struct {
    ULONG SampleSize;
    /* Changes made while the pin was above STOP. */
    ULONG Changes;
} AGILE;

static NTSTATUS OnProcess(PKSPIN Pin)
{
    AGILE *agile = Pin->Context;
    PKSSTREAM_POINTER leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (!leading)
        return STATUS_PENDING;
    RtlFillMemory(leading->OffsetOut.Data, leading->OffsetOut.Remaining, (UCHAR)agile->SampleSize);
    leading->StreamHeader->Duration = agile->Changes;
    KsStreamPointerAdvanceOffsetsAndUnlock(leading, 0, leading->OffsetOut.Remaining, TRUE);
    return STATUS_SUCCESS;
}

static BOOLEAN IsKnown(const KSDATAFORMAT *format)
{
    return format->FormatSize == sizeof(KSDATAFORMAT) && (format->SampleSize == 16 || format->SampleSize == 64);
}

/* Before the pin exists there is nothing to change; later the next frame has the new size. */
static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    AGILE *agile = Pin->Context;
    PAGED_CODE();
    if (!IsKnown(Pin->ConnectionFormat))
        return STATUS_NO_MATCH;
    if (!OldFormat)
        return STATUS_SUCCESS;
    KsPinAcquireProcessingMutex(Pin);
    agile->SampleSize = Pin->ConnectionFormat->SampleSize;
    if (Pin->DeviceState > KSSTATE_STOP)
        agile->Changes++;
    KsPinReleaseProcessingMutex(Pin);
    return STATUS_SUCCESS;
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    PAGED_CODE();
    *DataSize = sizeof(KSDATAFORMAT);
    if (Room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (Room < sizeof(KSDATAFORMAT))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Data, OwnRange, sizeof(KSDATAFORMAT));
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    AGILE *agile;
    PAGED_CODE();
    agile = ExAllocatePoolWithTag(NonPagedPool, sizeof(*agile), 'ligA');
    if (!agile)
        return STATUS_INSUFFICIENT_RESOURCES;
    agile->SampleSize = Pin->ConnectionFormat->SampleSize;
    agile->Changes = 0;
    Pin->Context = agile;
    return KsAddItemToObjectBag(Pin->Bag, agile, NULL);
}

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 4,
                                 0, 64, 64);

static const KSPIN_DISPATCH PinDispatch = {.Create = OnPinCreate, .Process = OnProcess, .SetDataFormat = OnFormat};
static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .InstancesPossible = 1,
    .AllocatorFraming = &Framing,
    .IntersectHandler = OnIntersect,
}};

static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x09}};
static const KSFILTER_DISPATCH FilterDispatch = {NULL};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
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
