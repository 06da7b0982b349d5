/*
 * pacer: a grey picture that grows brighter, one level a frame. A filter-centric capture minidriver: its process
 * callback wants no frame to run, is attempted by a timer's DPC, answers STATUS_PENDING always, and lets each frame go
 * by terminating it.
 */
#include "video.h"

typedef struct {
    PKSFILTER Filter;
    KTIMER Timer;
    KDPC Dpc;
    PICTURE Picture;
    /* The DPC adds what is due, the process callback takes it. */
    volatile LONG Due;
    ULONG Frames;
    ULONG Missed;
} PACER;

static const KS_DATARANGE_VIDEO RangeNv12 = VIDEO_RANGE(FOURCC_NV12, 12, 16, 16, 1920, 1080, 10000, 10000000);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12};

static VOID NTAPI OnTimer(PKDPC Dpc, PVOID Context, PVOID Unused1, PVOID Unused2)
{
    PACER *pacer = Context;
    InterlockedIncrement(&pacer->Due);
    KsFilterAttemptProcessing(pacer->Filter, TRUE);
}

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN output;
    PACER *pacer;
    LONGLONG now;

    if (!Index[0].Count)
        return STATUS_PENDING;
    output = Index[0].Pins[0];
    pacer = output->Pin->Context;
    /* Also a state change calls, and a frame that arrives. */
    if (!InterlockedExchange(&pacer->Due, 0))
        return STATUS_PENDING;
    if (!output->StreamPointer || output->BytesAvailable < pacer->Picture.FrameBytes) {
        pacer->Missed++;
        return STATUS_PENDING;
    }
    RtlFillMemory(output->Data, pacer->Picture.FrameBytes, (UCHAR)pacer->Frames);
    now = pacer->Frames * pacer->Picture.Interval;
    output->StreamPointer->StreamHeader->PresentationTime.Time = now;
    output->StreamPointer->StreamHeader->PresentationTime.Numerator = 1;
    output->StreamPointer->StreamHeader->PresentationTime.Denominator = 1;
    output->StreamPointer->StreamHeader->Duration = pacer->Picture.Interval;
    output->StreamPointer->StreamHeader->OptionsFlags =
        KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
    output->BytesUsed = pacer->Picture.FrameBytes;
    output->Terminate = TRUE;
    pacer->Frames++;
    return STATUS_PENDING;
}

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    PACER *pacer = Pin->Context;
    PAGED_CODE();
    if (To == KSSTATE_RUN) {
        LARGE_INTEGER due;
        due.QuadPart = -pacer->Picture.Interval;
        KeSetTimerEx(&pacer->Timer, due, (LONG)((pacer->Picture.Interval + 5000) / 10000), &pacer->Dpc);
    } else if (From == KSSTATE_RUN) {
        KeCancelTimer(&pacer->Timer);
        KeFlushQueuedDpcs();
    } else if (To == KSSTATE_STOP) {
        pacer->Frames = 0;
        pacer->Due = 0;
    }
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
    PAGED_CODE();
    return IntersectVideo(CallerRange, (const KS_DATARANGE_VIDEO *)OwnRange, Room, Data, DataSize);
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    PACER *pacer;
    NTSTATUS status;

    PAGED_CODE();
    pacer = ExAllocatePoolWithTag(NonPagedPool, sizeof(*pacer), 'ecaP');
    if (!pacer)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(pacer, sizeof(*pacer));
    status = KsAddItemToObjectBag(Pin->Bag, pacer, NULL);
    if (!NT_SUCCESS(status)) {
        ExFreePool(pacer);
        return status;
    }
    pacer->Filter = KsPinGetParentFilter(Pin);
    KeInitializeTimer(&pacer->Timer);
    KeInitializeDpc(&pacer->Dpc, OnTimer, pacer);
    Pin->Context = pacer;
    return ReadVideo(Pin->ConnectionFormat, &RangeNv12, &pacer->Picture);
}

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 4,
                                 0, 2, 1920 * 1080 * 2);

static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnPinCreate,
    .SetDataFormat = OnFormat,
    .SetDeviceState = OnState,
};

static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING | KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING |
             KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY,
    .InstancesPossible = 1,
    .AllocatorFraming = &Framing,
    .IntersectHandler = OnIntersect,
}};

static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}, {CATEGORY_VIDEO_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x04}};

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
