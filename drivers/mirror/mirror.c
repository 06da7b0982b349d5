/*
 * mirror: shows each picture as in a mirror. A filter-centric AVStream minidriver: the process callback of the filter
 * is given the frames of both pins. Where the two pins share a frame it is changed in place, else it is copied over.
 */
#include "video.h"

enum { INPUT, OUTPUT, PINS };

#define RANGE(fourcc, bits) VIDEO_RANGE(fourcc, bits, 2, 2, 16384, 16384, 1, 36000000000LL)

static const KS_DATARANGE_VIDEO RangeNv12 = RANGE(FOURCC_NV12, 12);
static const KS_DATARANGE_VIDEO RangeYuy2 = RANGE(FOURCC_YUY2, 16);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12, (PKSDATARANGE)&RangeYuy2};

/* Pictures ----------------------------------------------------------------------------------------------------- */

/* Swaps units of `unit` bytes from both ends of a line; `in` and `out` may be the same line. */
static void MirrorLine(const UCHAR *in, PUCHAR out, LONG units, LONG unit)
{
    LONG left, right, byte;
    for (left = 0, right = units - 1; left <= right; left++, right--) {
        for (byte = 0; byte < unit; byte++) {
            UCHAR kept = in[left * unit + byte];
            out[left * unit + byte] = in[right * unit + byte];
            out[right * unit + byte] = kept;
        }
    }
}

/* The two luma samples of a YUY2 unit change places, too. */
static void SwapLuma(PUCHAR line, LONG width)
{
    LONG x;
    for (x = 0; x < width; x += 2, line += 4) {
        UCHAR kept = line[0];
        line[0] = line[2];
        line[2] = kept;
    }
}

static void Mirror(const PICTURE *picture, const UCHAR *in, PUCHAR out)
{
    LONG width = picture->Width, y;
    if (!picture->Nv12) {
        for (y = 0; y < picture->Height; y++, in += 2 * width, out += 2 * width) {
            MirrorLine(in, out, width / 2, 4);
            SwapLuma(out, width);
        }
        return;
    }
    for (y = 0; y < picture->Height; y++, in += width, out += width)
        MirrorLine(in, out, width, 1);
    for (y = 0; y < picture->Height; y += 2, in += width, out += width)
        MirrorLine(in, out, width / 2, 2);
}

/* One frame of each pin. */
static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN input, output;
    PICTURE *picture;
    ULONG header;

    UNREFERENCED_PARAMETER(Filter);
    if (!Index[INPUT].Count || !Index[OUTPUT].Count)
        return STATUS_PENDING;
    input = Index[INPUT].Pins[0];
    output = Index[OUTPUT].Pins[0];
    picture = input->Pin->Context;
    if (input->BytesAvailable >= picture->FrameBytes && output->BytesAvailable >= picture->FrameBytes) {
        Mirror(picture, input->Data, output->Data);
        output->BytesUsed = picture->FrameBytes;
    }
    if (output->InPlaceCounterpart != input) {
        /* In place the header is the same one, too. */
        PKSSTREAM_HEADER from = input->StreamPointer->StreamHeader, to = output->StreamPointer->StreamHeader;
        to->PresentationTime = from->PresentationTime;
        to->Duration = from->Duration;
        to->OptionsFlags = from->OptionsFlags;
        header = min(from->Size, to->Size);
        if (header > sizeof(KSSTREAM_HEADER))
            RtlCopyMemory(to + 1, from + 1, header - sizeof(KSSTREAM_HEADER));
    }
    /* Each frame is done whole, whatever its size. */
    input->BytesUsed = input->BytesAvailable;
    input->Terminate = TRUE;
    output->Terminate = TRUE;
    return STATUS_SUCCESS;
}

/* Formats ------------------------------------------------------------------------------------------------------ */

/* What one pin is connected with, the other must take. */
static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    PICTURE picture, other;
    PKSPIN pin;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(OldAttributes);
    UNREFERENCED_PARAMETER(Range);
    UNREFERENCED_PARAMETER(Attributes);
    PAGED_CODE();
    if (OldFormat)
        return STATUS_INVALID_DEVICE_STATE;
    status = ReadVideo(Pin->ConnectionFormat, &RangeNv12, &picture);
    if (!NT_SUCCESS(status))
        return status;
    pin = KsFilterGetFirstChildPin(KsPinGetParentFilter(Pin), Pin->Id == INPUT ? OUTPUT : INPUT);
    if (!pin)
        return STATUS_SUCCESS;
    status = ReadVideo(pin->ConnectionFormat, &RangeNv12, &other);
    if (!NT_SUCCESS(status))
        return status;
    if (other.Nv12 != picture.Nv12 || other.Width != picture.Width || other.Height != picture.Height)
        return STATUS_NO_MATCH;
    return STATUS_SUCCESS;
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    NTSTATUS status;
    PKSPIN pin;

    UNREFERENCED_PARAMETER(Context);
    PAGED_CODE();
    status = IntersectVideo(CallerRange, (const KS_DATARANGE_VIDEO *)OwnRange, Room, Data, DataSize);
    /* The other pin stays where it is while the filter control mutex is held. */
    KsFilterAcquireControl(filter);
    pin = KsFilterGetFirstChildPin(filter, Pin->PinId == INPUT ? OUTPUT : INPUT);
    /* What the other pin is connected with is the only format there is. */
    if (pin && !IsGuid(&pin->ConnectionFormat->SubFormat, &CallerRange->SubFormat))
        status = STATUS_NO_MATCH;
    if (pin && NT_SUCCESS(status))
        RtlCopyMemory(Data, pin->ConnectionFormat, sizeof(KS_DATAFORMAT_VIDEOINFOHEADER));
    KsFilterReleaseControl(filter);
    return status;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    PICTURE *picture;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(Irp);
    PAGED_CODE();
    picture = ExAllocatePoolWithTag(NonPagedPool, sizeof(*picture), 'rriM');
    if (!picture)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = KsAddItemToObjectBag(Pin->Bag, picture, NULL);
    if (!NT_SUCCESS(status)) {
        ExFreePool(picture);
        return status;
    }
    Pin->Context = picture;
    Pin->StreamHeaderSize = sizeof(KSSTREAM_HEADER) + sizeof(KS_FRAME_INFO);
    return ReadVideo(Pin->ConnectionFormat, &RangeNv12, picture);
}

/* Descriptors -------------------------------------------------------------------------------------------------- */

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER |
                                     KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
                                 4, 0, 2, 0x7fffffff);

static const KSPIN_DISPATCH PinDispatch = {.Create = OnPinCreate, .SetDataFormat = OnFormat};

#define PIN(flow)                                                                                                      \
    {                                                                                                                  \
        .Dispatch = &PinDispatch,                                                                                      \
        .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),                                                     \
                          .DataRanges = Ranges,                                                                        \
                          .DataFlow = (flow),                                                                          \
                          .Communication = KSPIN_COMMUNICATION_BOTH},                                                  \
        .InstancesPossible = 1, .InstancesNecessary = 1, .AllocatorFraming = &Framing, .IntersectHandler = OnIntersect \
    }

static const KSPIN_DESCRIPTOR_EX Pins[PINS] = {
    [INPUT] = PIN(KSPIN_DATAFLOW_IN),
    [OUTPUT] = PIN(KSPIN_DATAFLOW_OUT),
};

static const GUID Categories[] = {{CATEGORY_TRANSFORM_GUID}, {CATEGORY_VIDEO_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x02}};

static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};

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

DRIVER_OF_ONE_FILTER(Filter)
