/*
 * mirror: shows each picture as in a mirror. A filter-centric AVStream minidriver: the process callback of the filter
 * is given the frames of both pins. Where the two pins share a frame it is changed in place, else it is copied over.
 */
#include <ntddk.h>
#include <windef.h>
#include <punknown.h>
#include <ks.h>
/* mingw-w64's ksmedia.h needs it and does not say so. */
typedef WCHAR TCHAR;
#include <ksmedia.h>

#define FOURCC_NV12 0x3231564e
#define FOURCC_YUY2 0x32595559

enum { INPUT, OUTPUT, PINS };

#define NV12_GUID 0x3231564e, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define YUY2_GUID 0x32595559, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEO_GUID 0x73646976, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEOINFO_GUID 0x05589f80, 0xc356, 0x11ce, {0xbf, 0x01, 0x00, 0xaa, 0x00, 0x55, 0x59, 0x5a}

static const GUID SubtypeNv12 = {NV12_GUID};
static const GUID SubtypeYuy2 = {YUY2_GUID};

#define RANGE(subtype, fourcc, bits)                                                                                   \
    {                                                                                                                  \
        .DataRange = {{.FormatSize = sizeof(KS_DATARANGE_VIDEO),                                                       \
                       .SampleSize = 640 * 480 * (bits) / 8,                                                           \
                       .MajorFormat = {VIDEO_GUID},                                                                    \
                       .SubFormat = {subtype},                                                                         \
                       .Specifier = {VIDEOINFO_GUID}}},                                                                \
        .bFixedSizeSamples = TRUE, .StreamDescriptionFlags = KS_VIDEOSTREAM_CAPTURE,                                   \
        .ConfigCaps = {.guid = {VIDEOINFO_GUID},                                                                       \
                       .InputSize = {16384, 16384},                                                                    \
                       .MinCroppingSize = {2, 2},                                                                      \
                       .MaxCroppingSize = {16384, 16384},                                                              \
                       .CropGranularityX = 2,                                                                          \
                       .CropGranularityY = 2,                                                                          \
                       .CropAlignX = 2,                                                                                \
                       .CropAlignY = 2,                                                                                \
                       .MinOutputSize = {2, 2},                                                                        \
                       .MaxOutputSize = {16384, 16384},                                                                \
                       .OutputGranularityX = 2,                                                                        \
                       .OutputGranularityY = 2,                                                                        \
                       .MinFrameInterval = 1,                                                                          \
                       .MaxFrameInterval = 36000000000LL},                                                             \
        .VideoInfoHeader = {.AvgTimePerFrame = 333333,                                                                 \
                            .bmiHeader = {.biSize = sizeof(KS_BITMAPINFOHEADER),                                       \
                                          .biWidth = 640,                                                              \
                                          .biHeight = 480,                                                             \
                                          .biPlanes = 1,                                                               \
                                          .biBitCount = (bits),                                                        \
                                          .biCompression = (fourcc),                                                   \
                                          .biSizeImage = 640 * 480 * (bits) / 8}}                                      \
    }

static const KS_DATARANGE_VIDEO RangeNv12 = RANGE(NV12_GUID, FOURCC_NV12, 12);
static const KS_DATARANGE_VIDEO RangeYuy2 = RANGE(YUY2_GUID, FOURCC_YUY2, 16);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12, (PKSDATARANGE)&RangeYuy2};

/* Pictures ----------------------------------------------------------------------------------------------------- */

typedef struct {
    LONG Width, Height;
    ULONG FrameBytes;
    BOOLEAN Nv12;
} PICTURE;

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

static BOOLEAN IsGuid(const GUID *left, const GUID *right)
{
    return RtlCompareMemory(left, right, sizeof(GUID)) == sizeof(GUID);
}

static NTSTATUS ReadFormat(const KSDATAFORMAT *format, PICTURE *picture)
{
    const KS_DATAFORMAT_VIDEOINFOHEADER *video = (const KS_DATAFORMAT_VIDEOINFOHEADER *)format;
    const KS_BITMAPINFOHEADER *bitmap = &video->VideoInfoHeader.bmiHeader;

    if (format->FormatSize < sizeof(*video))
        return STATUS_NO_MATCH;
    picture->Nv12 = IsGuid(&format->SubFormat, &SubtypeNv12);
    if (!picture->Nv12 && !IsGuid(&format->SubFormat, &SubtypeYuy2))
        return STATUS_NO_MATCH;
    if (bitmap->biWidth < 2 || bitmap->biWidth > 16384 || bitmap->biWidth % 2 || bitmap->biHeight < 2 ||
        bitmap->biHeight > 16384 || bitmap->biHeight % 2)
        return STATUS_NO_MATCH;
    picture->Width = bitmap->biWidth;
    picture->Height = bitmap->biHeight;
    picture->FrameBytes = (ULONG)picture->Width * picture->Height * (picture->Nv12 ? 12 : 16) / 8;
    return STATUS_SUCCESS;
}

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
    status = ReadFormat(Pin->ConnectionFormat, &picture);
    if (!NT_SUCCESS(status))
        return status;
    pin = KsFilterGetFirstChildPin(KsPinGetParentFilter(Pin), Pin->Id == INPUT ? OUTPUT : INPUT);
    if (!pin)
        return STATUS_SUCCESS;
    status = ReadFormat(pin->ConnectionFormat, &other);
    if (!NT_SUCCESS(status))
        return status;
    if (other.Nv12 != picture.Nv12 || other.Width != picture.Width || other.Height != picture.Height)
        return STATUS_NO_MATCH;
    return STATUS_SUCCESS;
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    const KS_DATARANGE_VIDEO *wanted = (const KS_DATARANGE_VIDEO *)CallerRange;
    PKS_DATAFORMAT_VIDEOINFOHEADER format = Data;
    PKSPIN pin;

    UNREFERENCED_PARAMETER(Context);
    PAGED_CODE();
    if (CallerRange->FormatSize < sizeof(*wanted) || !IsGuid(&CallerRange->SubFormat, &OwnRange->SubFormat))
        return STATUS_NO_MATCH;
    pin = KsFilterGetFirstChildPin(KsGetFilterFromIrp(Irp), Pin->PinId == INPUT ? OUTPUT : INPUT);
    /* What the other pin is connected with is the only format there is. */
    if (pin && !IsGuid(&pin->ConnectionFormat->SubFormat, &CallerRange->SubFormat))
        return STATUS_NO_MATCH;
    *DataSize = sizeof(*format);
    if (Room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (Room < sizeof(*format))
        return STATUS_BUFFER_TOO_SMALL;
    if (pin) {
        RtlCopyMemory(format, pin->ConnectionFormat, sizeof(*format));
        return STATUS_SUCCESS;
    }
    RtlCopyMemory(&format->DataFormat, &wanted->DataRange, sizeof(KSDATAFORMAT));
    format->DataFormat.FormatSize = sizeof(*format);
    RtlCopyMemory(&format->VideoInfoHeader, &wanted->VideoInfoHeader, sizeof(KS_VIDEOINFOHEADER));
    format->DataFormat.SampleSize = format->VideoInfoHeader.bmiHeader.biSizeImage;
    return STATUS_SUCCESS;
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
    return ReadFormat(Pin->ConnectionFormat, picture);
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

static const GUID Categories[] = {
    {0x2721ae20, 0x7e70, 0x11d0, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}}, /* KSCATEGORY_DATATRANSFORM */
    {0x6994ad05, 0x93ef, 0x11d0, {0xa3, 0xcc, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}, /* KSCATEGORY_VIDEO */
};
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
