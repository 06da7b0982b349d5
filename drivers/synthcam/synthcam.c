/*
 * synthcam: a camera without a camera. A pin-centric AVStream minidriver, as a driver for a real sensor would be
 * written: the process callback only takes frames in (it clones the leading edge), a timer's DPC fills one clone a
 * picture period, and a change of state waits until that DPC has seen it.
 *
 * Pictures: eight colour bars, a bright line that moves, and along the top a row of 32 squares that show the picture
 * number in binary, least significant bit at the left, white for one.
 */
#include <ntddk.h>
#include <windef.h>
#include <punknown.h>
#include <ks.h>
/* mingw-w64's ksmedia.h needs it and does not say so. */
typedef WCHAR TCHAR;
#include <ksmedia.h>

#define TAG 'macS'
#define FOURCC_NV12 0x3231564e
#define FOURCC_YUY2 0x32595559

enum { WIDTH_LEAST = 64, HEIGHT_LEAST = 32, WIDTH_MOST = 1920, HEIGHT_MOST = 1080, FRAMES = 8 };

/* Data ranges -------------------------------------------------------------------------------------------------- */

#define NV12_GUID 0x3231564e, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define YUY2_GUID 0x32595559, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEO_GUID 0x73646976, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEOINFO_GUID 0x05589f80, 0xc356, 0x11ce, {0xbf, 0x01, 0x00, 0xaa, 0x00, 0x55, 0x59, 0x5a}

static const GUID SubtypeNv12 = {NV12_GUID};
static const GUID SubtypeYuy2 = {YUY2_GUID};

#define RANGE(subtype, fourcc, bits, width, height)                                                                    \
    {                                                                                                                  \
        .DataRange = {{.FormatSize = sizeof(KS_DATARANGE_VIDEO),                                                       \
                       .SampleSize = (width) * (height) * (bits) / 8,                                                  \
                       .MajorFormat = {VIDEO_GUID},                                                                    \
                       .SubFormat = {subtype},                                                                         \
                       .Specifier = {VIDEOINFO_GUID}}},                                                                \
        .bFixedSizeSamples = TRUE, .StreamDescriptionFlags = KS_VIDEOSTREAM_CAPTURE,                                   \
        .ConfigCaps = {.guid = {VIDEOINFO_GUID},                                                                       \
                       .InputSize = {WIDTH_MOST, HEIGHT_MOST},                                                         \
                       .MinCroppingSize = {WIDTH_LEAST, HEIGHT_LEAST},                                                 \
                       .MaxCroppingSize = {WIDTH_MOST, HEIGHT_MOST},                                                   \
                       .CropGranularityX = 2,                                                                          \
                       .CropGranularityY = 2,                                                                          \
                       .CropAlignX = 2,                                                                                \
                       .CropAlignY = 2,                                                                                \
                       .MinOutputSize = {WIDTH_LEAST, HEIGHT_LEAST},                                                   \
                       .MaxOutputSize = {WIDTH_MOST, HEIGHT_MOST},                                                     \
                       .OutputGranularityX = 2,                                                                        \
                       .OutputGranularityY = 2,                                                                        \
                       .MinFrameInterval = 10000000 / 240,                                                             \
                       .MaxFrameInterval = 10000000},                                                                  \
        .VideoInfoHeader = {.AvgTimePerFrame = 333333,                                                                 \
                            .bmiHeader = {.biSize = sizeof(KS_BITMAPINFOHEADER),                                       \
                                          .biWidth = (width),                                                          \
                                          .biHeight = (height),                                                        \
                                          .biPlanes = 1,                                                               \
                                          .biBitCount = (bits),                                                        \
                                          .biCompression = (fourcc),                                                   \
                                          .biSizeImage = (width) * (height) * (bits) / 8}}                             \
    }

static const KS_DATARANGE_VIDEO RangeNv12 = RANGE(NV12_GUID, FOURCC_NV12, 12, 640, 480);
static const KS_DATARANGE_VIDEO RangeYuy2 = RANGE(YUY2_GUID, FOURCC_YUY2, 16, 640, 480);
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
    LONGLONG Interval;
    LONGLONG StartTime;
    LONGLONG Picture;
    LONGLONG Dropped;
    LONG Width, Height;
    ULONG FrameBytes;
    BOOLEAN Nv12;
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
    return Luma[x * 8 / camera->Width];
}

/* Draws one picture; DISPATCH_LEVEL. */
static void Draw(const CAMERA *camera, PUCHAR out)
{
    LONG width = camera->Width, height = camera->Height;
    LONG square = width / 32, line = square + (LONG)(camera->Picture * 4 % (height - square));
    LONG x, y;

    for (y = 0; y < height; y++) {
        BOOLEAN plain = y >= square && y != line;
        BOOLEAN grey = !plain;
        /* A line of bars is the same as the last one of its kind. */
        SIZE_T stride = camera->Nv12 ? width : 2 * width;
        PUCHAR row = out + y * stride;
        if (plain && y > square && y - 1 != line) {
            RtlCopyMemory(row, row - stride, stride);
            continue;
        }
        for (x = 0; x < width; x++) {
            UCHAR luma = LumaAt(camera, x, y, line, square);
            if (camera->Nv12) {
                row[x] = luma;
            } else {
                const UCHAR *difference = x & 1 ? RedDifference : BlueDifference;
                row[2 * x] = luma;
                row[2 * x + 1] = grey ? 128 : difference[(x & ~1) * 8 / width];
            }
        }
    }
    if (!camera->Nv12)
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
    header->DataUsed = camera->FrameBytes;
    header->PresentationTime.Time = Now(camera);
    header->PresentationTime.Numerator = 1;
    header->PresentationTime.Denominator = 1;
    header->Duration = camera->Interval;
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
        if (clone->OffsetOut.Remaining >= camera->FrameBytes) {
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
    camera->StartTime = now.QuadPart - camera->Picture * camera->Interval;
    KeClearEvent(&camera->Stopped);
    camera->Running = TRUE;
    due.QuadPart = -camera->Interval;
    KeSetTimerEx(&camera->Timer, due, (LONG)((camera->Interval + 5000) / 10000), &camera->Dpc);
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

static BOOLEAN IsGuid(const GUID *left, const GUID *right)
{
    return RtlCompareMemory(left, right, sizeof(GUID)) == sizeof(GUID);
}

/* Is it a format that the camera can deliver? */
static NTSTATUS CheckFormat(const KSDATAFORMAT *format)
{
    const KS_DATAFORMAT_VIDEOINFOHEADER *video = (const KS_DATAFORMAT_VIDEOINFOHEADER *)format;
    const KS_BITMAPINFOHEADER *bitmap = &video->VideoInfoHeader.bmiHeader;
    BOOLEAN nv12;

    if (format->FormatSize < sizeof(*video))
        return STATUS_NO_MATCH;
    nv12 = IsGuid(&format->SubFormat, &SubtypeNv12);
    if (!nv12 && !IsGuid(&format->SubFormat, &SubtypeYuy2))
        return STATUS_NO_MATCH;
    if (bitmap->biCompression != (nv12 ? FOURCC_NV12 : FOURCC_YUY2) || bitmap->biBitCount != (nv12 ? 12 : 16))
        return STATUS_NO_MATCH;
    if (bitmap->biWidth < WIDTH_LEAST || bitmap->biWidth > WIDTH_MOST || bitmap->biWidth % 2 ||
        bitmap->biHeight < HEIGHT_LEAST || bitmap->biHeight > HEIGHT_MOST || bitmap->biHeight % 2)
        return STATUS_NO_MATCH;
    if (bitmap->biSizeImage < (ULONG)bitmap->biWidth * bitmap->biHeight * bitmap->biBitCount / 8)
        return STATUS_NO_MATCH;
    if (video->VideoInfoHeader.AvgTimePerFrame < RangeNv12.ConfigCaps.MinFrameInterval ||
        video->VideoInfoHeader.AvgTimePerFrame > RangeNv12.ConfigCaps.MaxFrameInterval)
        return STATUS_NO_MATCH;
    return STATUS_SUCCESS;
}

static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    UNREFERENCED_PARAMETER(OldAttributes);
    UNREFERENCED_PARAMETER(Range);
    UNREFERENCED_PARAMETER(Attributes);
    PAGED_CODE();
    /* A living pin keeps its format: its frames have that size. */
    if (OldFormat)
        return STATUS_INVALID_DEVICE_STATE;
    return CheckFormat(Pin->ConnectionFormat);
}

static LONG Clamp(LONG value, LONG least, LONG most)
{
    return value < least ? least : value > most ? most : value & ~1;
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    const KS_DATARANGE_VIDEO *wanted = (const KS_DATARANGE_VIDEO *)CallerRange;
    const KS_DATARANGE_VIDEO *own = (const KS_DATARANGE_VIDEO *)OwnRange;
    PKS_DATAFORMAT_VIDEOINFOHEADER format = Data;
    PKS_VIDEOINFOHEADER video;
    LONG width, height;

    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(Irp);
    UNREFERENCED_PARAMETER(Pin);
    PAGED_CODE();
    if (CallerRange->FormatSize < sizeof(*wanted) || !IsGuid(&CallerRange->SubFormat, &OwnRange->SubFormat))
        return STATUS_NO_MATCH;
    *DataSize = sizeof(*format);
    if (Room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (Room < sizeof(*format))
        return STATUS_BUFFER_TOO_SMALL;

    width = Clamp(wanted->VideoInfoHeader.bmiHeader.biWidth, WIDTH_LEAST, WIDTH_MOST);
    height = Clamp(wanted->VideoInfoHeader.bmiHeader.biHeight, HEIGHT_LEAST, HEIGHT_MOST);
    RtlCopyMemory(&format->DataFormat, &own->DataRange, sizeof(KSDATAFORMAT));
    format->DataFormat.FormatSize = sizeof(*format);
    video = &format->VideoInfoHeader;
    RtlCopyMemory(video, &own->VideoInfoHeader, sizeof(*video));
    video->bmiHeader.biWidth = width;
    video->bmiHeader.biHeight = height;
    video->bmiHeader.biSizeImage = (ULONG)width * height * video->bmiHeader.biBitCount / 8;
    format->DataFormat.SampleSize = video->bmiHeader.biSizeImage;
    if (wanted->VideoInfoHeader.AvgTimePerFrame >= own->ConfigCaps.MinFrameInterval &&
        wanted->VideoInfoHeader.AvgTimePerFrame <= own->ConfigCaps.MaxFrameInterval)
        video->AvgTimePerFrame = wanted->VideoInfoHeader.AvgTimePerFrame;
    video->dwBitRate = (ULONG)(video->bmiHeader.biSizeImage * 8ULL * 10000000ULL / video->AvgTimePerFrame);
    return STATUS_SUCCESS;
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
    const KS_VIDEOINFOHEADER *video = &((PKS_DATAFORMAT_VIDEOINFOHEADER)Pin->ConnectionFormat)->VideoInfoHeader;
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
    camera->Width = video->bmiHeader.biWidth;
    camera->Height = video->bmiHeader.biHeight;
    camera->Nv12 = IsGuid(&Pin->ConnectionFormat->SubFormat, &SubtypeNv12);
    camera->FrameBytes = (ULONG)camera->Width * camera->Height * (camera->Nv12 ? 12 : 16) / 8;
    camera->Interval = video->AvgTimePerFrame;
    KeInitializeSpinLock(&camera->Lock);
    InitializeListHead(&camera->Waiting);
    KeInitializeEvent(&camera->Stopped, NotificationEvent, FALSE);
    KeInitializeTimerEx(&camera->Timer, NotificationTimer);
    KeInitializeDpc(&camera->Dpc, OnTimer, camera);
    Pin->Context = camera;
    Pin->StreamHeaderSize = sizeof(KSSTREAM_HEADER) + sizeof(KS_FRAME_INFO);
    return FitFraming(Pin, camera->FrameBytes);
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

static const GUID Categories[] = {
    {0x65e8773d, 0x8f56, 0x11d0, {0xa3, 0xb9, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}, /* KSCATEGORY_CAPTURE */
    {0x6994ad05, 0x93ef, 0x11d0, {0xa3, 0xcc, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}, /* KSCATEGORY_VIDEO */
};
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

static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};

static const KSDEVICE_DESCRIPTOR Device = {
    .FilterDescriptorsCount = SIZEOF_ARRAY(Filters),
    .FilterDescriptors = Filters,
    .Version = KSDEVICE_DESCRIPTOR_VERSION,
};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
