/*
 * synthcam: a camera without a camera. A pin-centric AVStream minidriver, as a driver for a real sensor would be
 * written: the process callback only takes frames in (it clones the leading edge), a timer's DPC fills one clone a
 * picture period, and a change of state waits until that DPC has seen it.
 *
 * Pictures: eight colour bars, a bright line that moves, and along the top a row of 32 squares that show the picture
 * number in binary, least significant bit at the left, white for one.
 */
#include "video.h"

#define TAG 'macS'
enum { WIDTH_LEAST = 64, HEIGHT_LEAST = 32, WIDTH_MOST = 1920, HEIGHT_MOST = 1080, FRAMES = 8 };

/* Data ranges -------------------------------------------------------------------------------------------------- */

#define RANGE(fourcc, bits)                                                                                            \
    VIDEO_RANGE(fourcc, bits, WIDTH_LEAST, HEIGHT_LEAST, WIDTH_MOST, HEIGHT_MOST, 10000000 / 240, 10000000)

static const KS_DATARANGE_VIDEO RangeNv12 = RANGE(FOURCC_NV12, 12);
static const KS_DATARANGE_VIDEO RangeYuy2 = RANGE(FOURCC_YUY2, 16);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12, (PKSDATARANGE)&RangeYuy2};

/* One pin ------------------------------------------------------------------------------------------------------ */

typedef struct {
    PKSPIN Pin;
    KTIMER Timer;
    KDPC Dpc;
    /* Guards Head, Tail and Waiting between the process callback and the DPC. */
    KSPIN_LOCK Lock;
    LIST_ENTRY Waiting;
    /* The DPC sets it when it has seen that Running is off. */
    KEVENT Stopped;
    volatile LONG Running;
    PICTURE Format;
    LONGLONG StartTime;
    LONGLONG Picture;
    LONGLONG Dropped;
    PIKSREFERENCECLOCK Clock;
} CAMERA;

/* Behind each clone. */
typedef struct {
    LIST_ENTRY Link;
    PKSSTREAM_POINTER Clone;
} WAITING;

static const UCHAR Luma[8] = {235, 210, 170, 145, 106, 81, 41, 16};
static const UCHAR BlueDifference[8] = {128, 16, 166, 54, 202, 90, 240, 128};
static const UCHAR RedDifference[8] = {128, 146, 16, 34, 222, 240, 110, 128};

static UCHAR LumaAt(const CAMERA *camera, LONG x, LONG y, LONG line, LONG square)
{
    if (y < square && x < 32 * square)
        return (camera->Picture >> (x / square)) & 1 ? 235 : 16;
    if (y == line)
        return 235;
    return Luma[x * 8 / camera->Format.Width];
}

/* Draws one picture; DISPATCH_LEVEL. */
static void Draw(const CAMERA *camera, PUCHAR out)
{
    LONG width = camera->Format.Width, height = camera->Format.Height;
    LONG square = width / 32, line = square + (LONG)(camera->Picture * 4 % (height - square));
    LONG x, y;

    for (y = 0; y < height; y++) {
        BOOLEAN plain = y >= square && y != line;
        BOOLEAN grey = !plain;
        /* A line of bars is the same as the last one of its kind. */
        SIZE_T stride = camera->Format.Nv12 ? width : 2 * width;
        PUCHAR row = out + y * stride;
        if (plain && y > square && y - 1 != line) {
            RtlCopyMemory(row, row - stride, stride);
            continue;
        }
        for (x = 0; x < width; x++) {
            UCHAR luma = LumaAt(camera, x, y, line, square);
            if (camera->Format.Nv12) {
                row[x] = luma;
            } else {
                const UCHAR *difference = x & 1 ? RedDifference : BlueDifference;
                row[2 * x] = luma;
                row[2 * x + 1] = grey ? 128 : difference[(x & ~1) * 8 / width];
            }
        }
    }
    if (!camera->Format.Nv12)
        return;
    out += width * height;
    for (y = 0; y < height; y += 2, out += width) {
        BOOLEAN grey = y < square || y == (line & ~1);
        for (x = 0; x < width; x += 2) {
            LONG bar = x * 8 / width;
            out[x] = grey ? 128 : BlueDifference[bar];
            out[x + 1] = grey ? 128 : RedDifference[bar];
        }
    }
}

static LONGLONG Now(const CAMERA *camera)
{
    LARGE_INTEGER now;
    if (camera->Clock)
        return camera->Clock->lpVtbl->GetTime(camera->Clock);
    KeQuerySystemTime(&now);
    return now.QuadPart - camera->StartTime;
}

static void Stamp(CAMERA *camera, PKSSTREAM_HEADER header)
{
    header->DataUsed = camera->Format.FrameBytes;
    header->PresentationTime.Time = Now(camera);
    header->PresentationTime.Numerator = 1;
    header->PresentationTime.Denominator = 1;
    header->Duration = camera->Format.Interval;
    header->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID |
                           KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT;
    if (header->Size >= sizeof(KSSTREAM_HEADER) + sizeof(KS_FRAME_INFO)) {
        PKS_FRAME_INFO info = (PKS_FRAME_INFO)(header + 1);
        info->ExtendedHeaderSize = sizeof(KS_FRAME_INFO);
        info->dwFrameFlags = KS_VIDEO_FLAG_FRAME;
        info->PictureNumber = camera->Picture + 1;
        info->DropCount = camera->Dropped;
    }
}

/* One picture period is over. */
static VOID NTAPI OnTimer(PKDPC Dpc, PVOID Context, PVOID Unused1, PVOID Unused2)
{
    CAMERA *camera = Context;
    WAITING *waiting = NULL;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Unused1);
    UNREFERENCED_PARAMETER(Unused2);
    if (!camera->Running) {
        KeSetEvent(&camera->Stopped, IO_NO_INCREMENT, FALSE);
        return;
    }
    KeAcquireSpinLockAtDpcLevel(&camera->Lock);
    if (!IsListEmpty(&camera->Waiting))
        waiting = CONTAINING_RECORD(RemoveHeadList(&camera->Waiting), WAITING, Link);
    KeReleaseSpinLockFromDpcLevel(&camera->Lock);

    if (!waiting) {
        camera->Dropped++;
    } else {
        PKSSTREAM_POINTER clone = waiting->Clone;
        if (clone->OffsetOut.Remaining >= camera->Format.FrameBytes) {
            Draw(camera, clone->OffsetOut.Data);
            Stamp(camera, clone->StreamHeader);
        } else {
            KsStreamPointerSetStatusCode(clone, STATUS_BUFFER_TOO_SMALL);
        }
        KsStreamPointerDelete(clone);
    }
    camera->Picture++;
}

/* Frames came: keep a clone of each, and let the leading edge go on. */
static NTSTATUS OnProcess(PKSPIN Pin)
{
    CAMERA *camera = Pin->Context;
    PKSSTREAM_POINTER leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    while (leading) {
        PKSSTREAM_POINTER clone;
        WAITING *waiting;
        KIRQL level;
        NTSTATUS status;
        if (!leading->StreamHeader->Data) {
            /* A header with flags only says nothing to a camera. */
            status = KsStreamPointerAdvance(leading);
        } else {
            status = KsStreamPointerClone(leading, NULL, sizeof(WAITING), &clone);
            if (!NT_SUCCESS(status)) {
                KsStreamPointerUnlock(leading, FALSE);
                break;
            }
            clone->StreamHeader->DataUsed = 0;
            waiting = clone->Context;
            waiting->Clone = clone;
            KeAcquireSpinLock(&camera->Lock, &level);
            InsertTailList(&camera->Waiting, &waiting->Link);
            KeReleaseSpinLock(&camera->Lock, level);
            status = KsStreamPointerAdvance(leading);
        }
        /* An edge that has run off the queue is unlocked. */
        if (!NT_SUCCESS(status))
            break;
    }
    return STATUS_PENDING;
}

static void DeleteClones(CAMERA *camera)
{
    KIRQL level;
    for (;;) {
        PLIST_ENTRY entry = NULL;
        KeAcquireSpinLock(&camera->Lock, &level);
        if (!IsListEmpty(&camera->Waiting))
            entry = RemoveHeadList(&camera->Waiting);
        KeReleaseSpinLock(&camera->Lock, level);
        if (!entry)
            return;
        KsStreamPointerDelete(CONTAINING_RECORD(entry, WAITING, Link)->Clone);
    }
}

static void Run(CAMERA *camera)
{
    LARGE_INTEGER due, now;
    KeQuerySystemTime(&now);
    camera->StartTime = now.QuadPart - camera->Picture * camera->Format.Interval;
    KeClearEvent(&camera->Stopped);
    camera->Running = TRUE;
    due.QuadPart = -camera->Format.Interval;
    KeSetTimerEx(&camera->Timer, due, (LONG)((camera->Format.Interval + 5000) / 10000), &camera->Dpc);
}

static void Pause(CAMERA *camera)
{
    camera->Running = FALSE;
    KeWaitForSingleObject(&camera->Stopped, Executive, KernelMode, FALSE, NULL);
    KeCancelTimer(&camera->Timer);
}

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    CAMERA *camera = Pin->Context;
    PAGED_CODE();

    switch (To) {
    case KSSTATE_STOP:
        if (camera->Clock) {
            camera->Clock->lpVtbl->Release(camera->Clock);
            camera->Clock = NULL;
        }
        DeleteClones(camera);
        camera->Picture = 0;
        camera->Dropped = 0;
        break;
    case KSSTATE_ACQUIRE:
        if (From == KSSTATE_STOP && !NT_SUCCESS(KsPinGetReferenceClockInterface(Pin, &camera->Clock)))
            camera->Clock = NULL;
        break;
    case KSSTATE_PAUSE:
        if (From == KSSTATE_RUN)
            Pause(camera);
        break;
    case KSSTATE_RUN:
        Run(camera);
        break;
    }
    return STATUS_SUCCESS;
}

/* Formats ------------------------------------------------------------------------------------------------------ */

static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    PICTURE picture;

    UNREFERENCED_PARAMETER(OldAttributes);
    UNREFERENCED_PARAMETER(Range);
    UNREFERENCED_PARAMETER(Attributes);
    PAGED_CODE();
    /* A living pin keeps its format: its frames have that size. */
    if (OldFormat)
        return STATUS_INVALID_DEVICE_STATE;
    return ReadVideo(Pin->ConnectionFormat, &RangeNv12, &picture);
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(Irp);
    UNREFERENCED_PARAMETER(Pin);
    PAGED_CODE();
    return IntersectVideo(CallerRange, (const KS_DATARANGE_VIDEO *)OwnRange, Room, Data, DataSize);
}

/* Pin: life ---------------------------------------------------------------------------------------------------- */

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
                                 FRAMES, 0, 2, WIDTH_MOST *HEIGHT_MOST * 2);

/* The frames of this connection have one size: say so in a copy of the framing that belongs to the pin. */
static NTSTATUS FitFraming(PKSPIN Pin, ULONG bytes)
{
    PKSALLOCATOR_FRAMING_EX framing;
    NTSTATUS status = KsEdit(Pin, &Pin->Descriptor, TAG);
    if (!NT_SUCCESS(status))
        return status;
    status = KsEdit(Pin, &Pin->Descriptor->AllocatorFraming, TAG);
    if (!NT_SUCCESS(status))
        return status;
    framing = (PKSALLOCATOR_FRAMING_EX)Pin->Descriptor->AllocatorFraming;
    framing->FramingItem[0].Frames = FRAMES;
    framing->FramingItem[0].PhysicalRange.MinFrameSize = bytes;
    framing->FramingItem[0].PhysicalRange.MaxFrameSize = bytes;
    framing->FramingItem[0].FramingRange.Range.MinFrameSize = bytes;
    framing->FramingItem[0].FramingRange.Range.MaxFrameSize = bytes;
    framing->FramingItem[0].FramingRange.Range.Stepping = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    CAMERA *camera;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(Irp);
    PAGED_CODE();
    camera = ExAllocatePoolWithTag(NonPagedPool, sizeof(*camera), TAG);
    if (!camera)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(camera, sizeof(*camera));
    /* The bag frees it with the pin, also when what follows fails. */
    status = KsAddItemToObjectBag(Pin->Bag, camera, NULL);
    if (!NT_SUCCESS(status)) {
        ExFreePoolWithTag(camera, TAG);
        return status;
    }
    camera->Pin = Pin;
    status = ReadVideo(Pin->ConnectionFormat, &RangeNv12, &camera->Format);
    if (!NT_SUCCESS(status))
        return status;
    KeInitializeSpinLock(&camera->Lock);
    InitializeListHead(&camera->Waiting);
    KeInitializeEvent(&camera->Stopped, NotificationEvent, FALSE);
    KeInitializeTimerEx(&camera->Timer, NotificationTimer);
    KeInitializeDpc(&camera->Dpc, OnTimer, camera);
    Pin->Context = camera;
    Pin->StreamHeaderSize = sizeof(KSSTREAM_HEADER) + sizeof(KS_FRAME_INFO);
    return FitFraming(Pin, camera->Format.FrameBytes);
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Irp);
    PAGED_CODE();
    DeleteClones(Pin->Context);
    return STATUS_SUCCESS;
}

/* Descriptors -------------------------------------------------------------------------------------------------- */

static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnPinCreate,
    .Close = OnPinClose,
    .Process = OnProcess,
    .SetDataFormat = OnFormat,
    .SetDeviceState = OnState,
};

static const GUID PinCategory = {0xfb6c4281, 0x0353, 0x11d1, {0x90, 0x5f, 0x00, 0x00, 0xc0, 0xcc, 0x16, 0xba}};

static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH,
                      .Category = &PinCategory},
    .Flags = KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY,
    .InstancesPossible = 1,
    .AllocatorFraming = &Framing,
    .IntersectHandler = OnIntersect,
}};

static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}, {CATEGORY_VIDEO_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x01}};

static const KSFILTER_DISPATCH FilterDispatch = {NULL, NULL, NULL, NULL};

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
