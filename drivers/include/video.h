/*
 * What the sample drivers for video share: the headers in the order that they need, and the formats.
 */
#ifndef USERKS_VIDEO_H
#define USERKS_VIDEO_H

#include <ntddk.h>
#include <windef.h>
#include <punknown.h>
#include <ks.h>
/* mingw-w64's ksmedia.h needs it and does not say so. */
typedef WCHAR TCHAR;
#include <ksmedia.h>

#define FOURCC_NV12 0x3231564e
#define FOURCC_YUY2 0x32595559

/* The subtype of pixels that have a four-character code. */
#define FOURCC_GUID(fourcc) (fourcc), 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEO_GUID 0x73646976, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}
#define VIDEOINFO_GUID 0x05589f80, 0xc356, 0x11ce, {0xbf, 0x01, 0x00, 0xaa, 0x00, 0x55, 0x59, 0x5a}
#define CATEGORY_CAPTURE_GUID 0x65e8773d, 0x8f56, 0x11d0, {0xa3, 0xb9, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}
#define CATEGORY_VIDEO_GUID 0x6994ad05, 0x93ef, 0x11d0, {0xa3, 0xcc, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}
#define CATEGORY_TRANSFORM_GUID 0x2721ae20, 0x7e70, 0x11d0, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}

static const GUID SubtypeNv12 = {FOURCC_GUID(FOURCC_NV12)};
static const GUID SubtypeYuy2 = {FOURCC_GUID(FOURCC_YUY2)};

/* A data range: pictures of 640 by 480, or any even size between the two. */
#define VIDEO_RANGE(fourcc, bits, least_width, least_height, most_width, most_height, least_time, most_time)           \
    {                                                                                                                  \
        .DataRange = {{.FormatSize = sizeof(KS_DATARANGE_VIDEO),                                                       \
                       .SampleSize = 640 * 480 * (bits) / 8,                                                           \
                       .MajorFormat = {VIDEO_GUID},                                                                    \
                       .SubFormat = {FOURCC_GUID(fourcc)},                                                                         \
                       .Specifier = {VIDEOINFO_GUID}}},                                                                \
        .bFixedSizeSamples = TRUE, .StreamDescriptionFlags = KS_VIDEOSTREAM_CAPTURE,                                   \
        .ConfigCaps = {.guid = {VIDEOINFO_GUID},                                                                       \
                       .InputSize = {most_width, most_height},                                                         \
                       .MinCroppingSize = {least_width, least_height},                                                 \
                       .MaxCroppingSize = {most_width, most_height},                                                   \
                       .CropGranularityX = 2,                                                                          \
                       .CropGranularityY = 2,                                                                          \
                       .CropAlignX = 2,                                                                                \
                       .CropAlignY = 2,                                                                                \
                       .MinOutputSize = {least_width, least_height},                                                   \
                       .MaxOutputSize = {most_width, most_height},                                                     \
                       .OutputGranularityX = 2,                                                                        \
                       .OutputGranularityY = 2,                                                                        \
                       .MinFrameInterval = (least_time),                                                               \
                       .MaxFrameInterval = (most_time)},                                                               \
        .VideoInfoHeader = {.AvgTimePerFrame = 333333,                                                                 \
                            .bmiHeader = {.biSize = sizeof(KS_BITMAPINFOHEADER),                                       \
                                          .biWidth = 640,                                                              \
                                          .biHeight = 480,                                                             \
                                          .biPlanes = 1,                                                               \
                                          .biBitCount = (bits),                                                        \
                                          .biCompression = (fourcc),                                                   \
                                          .biSizeImage = 640 * 480 * (bits) / 8}}                                      \
    }

/* What a format says of its pictures. */
typedef struct {
    LONG Width, Height;
    ULONG FrameBytes;
    LONGLONG Interval;
    BOOLEAN Nv12;
} PICTURE;

static inline BOOLEAN IsGuid(const GUID *left, const GUID *right)
{
    return RtlCompareMemory(left, right, sizeof(GUID)) == sizeof(GUID);
}

/* Reads a format; STATUS_NO_MATCH for one that is no NV12 or YUY2 picture of an even size in the range's limits. */
static inline NTSTATUS ReadVideo(const KSDATAFORMAT *format, const KS_DATARANGE_VIDEO *limits, PICTURE *picture)
{
    const KS_DATAFORMAT_VIDEOINFOHEADER *video = (const KS_DATAFORMAT_VIDEOINFOHEADER *)format;
    const KS_BITMAPINFOHEADER *bitmap = &video->VideoInfoHeader.bmiHeader;
    const KS_VIDEO_STREAM_CONFIG_CAPS *caps = &limits->ConfigCaps;

    if (format->FormatSize < sizeof(*video))
        return STATUS_NO_MATCH;
    picture->Nv12 = IsGuid(&format->SubFormat, &SubtypeNv12);
    if (!picture->Nv12 && !IsGuid(&format->SubFormat, &SubtypeYuy2))
        return STATUS_NO_MATCH;
    if (bitmap->biCompression != (picture->Nv12 ? FOURCC_NV12 : FOURCC_YUY2) ||
        bitmap->biBitCount != (picture->Nv12 ? 12 : 16))
        return STATUS_NO_MATCH;
    if (bitmap->biWidth < caps->MinOutputSize.cx || bitmap->biWidth > caps->MaxOutputSize.cx || bitmap->biWidth % 2 ||
        bitmap->biHeight < caps->MinOutputSize.cy || bitmap->biHeight > caps->MaxOutputSize.cy ||
        bitmap->biHeight % 2)
        return STATUS_NO_MATCH;
    if (video->VideoInfoHeader.AvgTimePerFrame < caps->MinFrameInterval ||
        video->VideoInfoHeader.AvgTimePerFrame > caps->MaxFrameInterval)
        return STATUS_NO_MATCH;
    picture->Width = bitmap->biWidth;
    picture->Height = bitmap->biHeight;
    picture->FrameBytes = (ULONG)picture->Width * picture->Height * (picture->Nv12 ? 12 : 16) / 8;
    picture->Interval = video->VideoInfoHeader.AvgTimePerFrame;
    return bitmap->biSizeImage < picture->FrameBytes ? STATUS_NO_MATCH : STATUS_SUCCESS;
}

static inline LONG EvenBetween(LONG value, LONG least, LONG most)
{
    return value < least ? least : value > most ? most : value & ~1;
}

/* The format in `own` that comes nearest to what the caller names in its range; the work of an intersect handler. */
static inline NTSTATUS IntersectVideo(const KSDATARANGE *caller, const KS_DATARANGE_VIDEO *own, ULONG room, PVOID data,
                                      PULONG size)
{
    const KS_DATARANGE_VIDEO *wanted = (const KS_DATARANGE_VIDEO *)caller;
    const KS_VIDEO_STREAM_CONFIG_CAPS *caps = &own->ConfigCaps;
    PKS_DATAFORMAT_VIDEOINFOHEADER format = data;
    PKS_VIDEOINFOHEADER video = &format->VideoInfoHeader;

    if (caller->FormatSize < sizeof(*wanted) || !IsGuid(&caller->SubFormat, &own->DataRange.SubFormat))
        return STATUS_NO_MATCH;
    *size = sizeof(*format);
    if (room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (room < sizeof(*format))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(&format->DataFormat, &own->DataRange, sizeof(KSDATAFORMAT));
    RtlCopyMemory(video, &own->VideoInfoHeader, sizeof(*video));
    video->bmiHeader.biWidth =
        EvenBetween(wanted->VideoInfoHeader.bmiHeader.biWidth, caps->MinOutputSize.cx, caps->MaxOutputSize.cx);
    video->bmiHeader.biHeight =
        EvenBetween(wanted->VideoInfoHeader.bmiHeader.biHeight, caps->MinOutputSize.cy, caps->MaxOutputSize.cy);
    video->bmiHeader.biSizeImage =
        (ULONG)video->bmiHeader.biWidth * video->bmiHeader.biHeight * video->bmiHeader.biBitCount / 8;
    format->DataFormat.FormatSize = sizeof(*format);
    format->DataFormat.SampleSize = video->bmiHeader.biSizeImage;
    if (wanted->VideoInfoHeader.AvgTimePerFrame >= caps->MinFrameInterval &&
        wanted->VideoInfoHeader.AvgTimePerFrame <= caps->MaxFrameInterval)
        video->AvgTimePerFrame = wanted->VideoInfoHeader.AvgTimePerFrame;
    video->dwBitRate = (ULONG)(video->bmiHeader.biSizeImage * 8ULL * 10000000ULL / video->AvgTimePerFrame);
    return STATUS_SUCCESS;
}

/* One filter, one device, and the entry of the driver. */
#define DRIVER_OF_ONE_FILTER(filter)                                                                                   \
    static const KSFILTER_DESCRIPTOR *const Filters[] = {&filter};                                                     \
    static const KSDEVICE_DESCRIPTOR Device = {                                                                        \
        .FilterDescriptorsCount = SIZEOF_ARRAY(Filters),                                                               \
        .FilterDescriptors = Filters,                                                                                  \
        .Version = KSDEVICE_DESCRIPTOR_VERSION,                                                                        \
    };                                                                                                                 \
    NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)                              \
    {                                                                                                                  \
        return KsInitializeDriver(DriverObject, RegistryPath, &Device);                                                \
    }

#endif
