/*
 * negative: shows each picture with its brightness turned over. A filter-centric minidriver that copies: its pins never
 * share frames, so each output frame is made from an input frame.
 */
#include "video.h"

enum { INPUT, OUTPUT, PINS };

#define RANGE(fourcc, bits) VIDEO_RANGE(fourcc, bits, 2, 2, 16384, 16384, 1, 36000000000LL)

static const KS_DATARANGE_VIDEO RangeNv12 = RANGE(FOURCC_NV12, 12);
static const KS_DATARANGE_VIDEO RangeYuy2 = RANGE(FOURCC_YUY2, 16);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12, (PKSDATARANGE)&RangeYuy2};

/* 16 to 235 is turned over; what lies outside stays outside. */
static void TurnOver(const PICTURE *picture, const UCHAR *in, PUCHAR out)
{
    ULONG luma = (ULONG)picture->Width * picture->Height, i;
    if (picture->Nv12) {
        for (i = 0; i < luma; i++)
            out[i] = 251 - in[i];
        RtlCopyMemory(out + luma, in + luma, picture->FrameBytes - luma);
    } else {
        for (i = 0; i < 2 * luma; i += 2) {
            out[i] = 251 - in[i];
            out[i + 1] = in[i + 1];
        }
    }
}

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN input, output;
    PKSSTREAM_HEADER from, to;
    PICTURE *picture;

    if (!Index[INPUT].Count || !Index[OUTPUT].Count)
        return STATUS_PENDING;
    input = Index[INPUT].Pins[0];
    output = Index[OUTPUT].Pins[0];
    picture = input->Pin->Context;
    from = input->StreamPointer->StreamHeader;
    to = output->StreamPointer->StreamHeader;
    to->PresentationTime = from->PresentationTime;
    to->Duration = from->Duration;
    to->OptionsFlags = from->OptionsFlags;
    if (input->BytesAvailable >= picture->FrameBytes && output->BytesAvailable >= picture->FrameBytes) {
        TurnOver(picture, input->Data, output->Data);
        output->BytesUsed = picture->FrameBytes;
    }
    input->BytesUsed = input->BytesAvailable;
    output->Terminate = TRUE;
    return STATUS_SUCCESS;
}

static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    PICTURE picture;
    PAGED_CODE();
    return OldFormat ? STATUS_INVALID_DEVICE_STATE : ReadVideo(Pin->ConnectionFormat, &RangeNv12, &picture);
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    NTSTATUS status;
    PKSPIN pin;

    PAGED_CODE();
    status = IntersectVideo(CallerRange, (const KS_DATARANGE_VIDEO *)OwnRange, Room, Data, DataSize);
    /* The other pin stays where it is while the filter control mutex is held. */
    KsFilterAcquireControl(filter);
    pin = KsFilterGetFirstChildPin(filter, Pin->PinId == INPUT ? OUTPUT : INPUT);
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

    PAGED_CODE();
    picture = ExAllocatePoolWithTag(NonPagedPool, sizeof(*picture), 'ageN');
    if (!picture)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = KsAddItemToObjectBag(Pin->Bag, picture, NULL);
    if (!NT_SUCCESS(status)) {
        ExFreePool(picture);
        return status;
    }
    Pin->Context = picture;
    return ReadVideo(Pin->ConnectionFormat, &RangeNv12, picture);
}

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 4, 0,
                                 2, 0x7fffffff);

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
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x03}};

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
