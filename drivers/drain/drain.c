/*
 * drain: takes bytes and keeps a sum of them. A pin-centric renderer: it consumes what has arrived by offsets, raises
 * the end of the stream by the class driver's flag, and tells by a property how much it has taken.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E01}: item 0, DRAIN_TOTALS. */
static const GUID DrainSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x01}};

typedef struct {
    ULONGLONG Bytes;
    ULONGLONG Frames;
    ULONGLONG Sum;
} DRAIN_TOTALS;

static const KSDATARANGE Range = BYTES_RANGE(4096);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};

static NTSTATUS OnProcess(PKSPIN Pin)
{
    DRAIN_TOTALS *totals = Pin->Context;
    PKSSTREAM_POINTER leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    while (leading) {
        ULONG count = leading->OffsetIn.Remaining, i;
        const UCHAR *bytes = leading->OffsetIn.Data;
        for (i = 0; i < count; i++)
            totals->Sum += bytes[i];
        totals->Bytes += count;
        totals->Frames++;
        /* Nothing remains, so this goes to the next frame; a frame without bytes has to be told to go. */
        if (count ? !NT_SUCCESS(KsStreamPointerAdvanceOffsets(leading, count, 0, FALSE))
                  : !NT_SUCCESS(KsStreamPointerAdvance(leading)))
            break;
        leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    }
    return STATUS_PENDING;
}

static NTSTATUS OnTotals(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    PAGED_CODE();
    if (!pin)
        return STATUS_INVALID_DEVICE_REQUEST;
    KsPinAcquireProcessingMutex(pin);
    RtlCopyMemory(Data, pin->Context, sizeof(DRAIN_TOTALS));
    KsPinReleaseProcessingMutex(pin);
    Irp->IoStatus.Information = sizeof(DRAIN_TOTALS);
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    PAGED_CODE();
    Pin->Context = ExAllocatePoolWithTag(NonPagedPool, sizeof(DRAIN_TOTALS), 'iarD');
    if (!Pin->Context)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(Pin->Context, sizeof(DRAIN_TOTALS));
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    PAGED_CODE();
    ExFreePoolWithTag(Pin->Context, 'iarD');
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnTotals, sizeof(KSPROPERTY), sizeof(DRAIN_TOTALS), NULL, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&DrainSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE PinAutomation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 8,
                                 0, 1, 4096);

static const KSPIN_DISPATCH PinDispatch = {.Create = OnPinCreate, .Close = OnPinClose, .Process = OnProcess};

static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .AutomationTable = &PinAutomation,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_IN,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_RENDERER,
    .InstancesPossible = 4,
    .AllocatorFraming = &Framing,
}};

static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x05}};

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
