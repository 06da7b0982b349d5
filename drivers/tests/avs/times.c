/*
 * Times in the units of a stream: of 8-bit stereo at 44.1 kHz, which has 88,200 bytes a second. Pin 0 takes frames and keeps
 * their times; pin 1 gives frames of a quarter of a second, and tells the time, the extent and the format of its times by
 * properties.
 */
#include "avs.h"

enum { UNITS_A_SECOND = 10000000, BYTES_A_SECOND = 88200, QUARTER = BYTES_A_SECOND / 4, MOST = 8 };

static KSTIME Seen[MOST];
static ULONG SeenCount, Given;

static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (SeenCount < MOST)
            Seen[SeenCount++] = lead->StreamHeader->PresentationTime;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnGive(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        KSTIME time = {(LONGLONG)Given++ * QUARTER, UNITS_A_SECOND, BYTES_A_SECOND};
        lead->StreamHeader->PresentationTime = time;
        lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID;
        lead->StreamHeader->DataUsed = lead->StreamHeader->FrameExtent;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static BOOLEAN Is(ULONG Which, LONGLONG Time, ULONG Numerator, ULONG Denominator)
{
    return Seen[Which].Time == Time && Seen[Which].Numerator == Numerator && Seen[Which].Denominator == Denominator;
}

/* 0: the times are as the client has written them. */
static const char *Kept(PKSPIN Pin)
{
    CHECK(SeenCount == 4);
    CHECK(Is(0, 0, UNITS_A_SECOND, BYTES_A_SECOND));
    CHECK(Is(1, 44100, UNITS_A_SECOND, BYTES_A_SECOND));
    CHECK(Is(2, -3, 10, 4));
    CHECK(Is(3, 0x7fffffffffffffff, 0xffffffff, 1));
    return NULL;
}

/* 1: the times of four frames are as pin 1 of the other filter has written them. */
static const char *Crossed(PKSPIN Pin)
{
    ULONG i;

    CHECK(SeenCount >= 4);
    for (i = 0; i < 4; i++)
        CHECK(Is(i, (LONGLONG)i * QUARTER, UNITS_A_SECOND, BYTES_A_SECOND));
    return NULL;
}

DEFINE_CHECKS(Kept, Crossed);

static NTSTATUS GetTime(PIRP Irp, PKSIDENTIFIER Request, PKSTIME Time)
{
    KSTIME time = {(LONGLONG)Given * QUARTER, UNITS_A_SECOND, BYTES_A_SECOND};

    *Time = time;
    Irp->IoStatus.Information = sizeof(*Time);
    return STATUS_SUCCESS;
}

/* Ten seconds, in the units of the presentation time. */
static NTSTATUS GetExtent(PIRP Irp, PKSIDENTIFIER Request, PLONGLONG Extent)
{
    *Extent = 10 * BYTES_A_SECOND;
    Irp->IoStatus.Information = sizeof(*Extent);
    return STATUS_SUCCESS;
}

/* Bytes. */
static NTSTATUS GetFormat(PIRP Irp, PKSIDENTIFIER Request, GUID *Format)
{
    static const GUID bytes = {0x7b785571, 0x8c82, 0x11cf, {0xbc, 0x0c, 0x00, 0xaa, 0x00, 0xac, 0x74, 0xf6}};

    *Format = bytes;
    Irp->IoStatus.Information = sizeof(*Format);
    return STATUS_SUCCESS;
}

#define STREAM_ITEM(id, handler, bytes) \
    DEFINE_KSPROPERTY_ITEM(id, (PFNKSHANDLER)(handler), sizeof(KSPROPERTY), bytes, NULL, NULL, 0, NULL, NULL, 0)
static const GUID StreamSet = {STATIC_KSPROPSETID_Stream};
static const KSPROPERTY_ITEM StreamItems[] = {
    STREAM_ITEM(KSPROPERTY_STREAM_TIMEFORMAT, GetFormat, sizeof(GUID)),
    STREAM_ITEM(KSPROPERTY_STREAM_PRESENTATIONTIME, GetTime, sizeof(KSTIME)),
    STREAM_ITEM(KSPROPERTY_STREAM_PRESENTATIONEXTENT, GetExtent, sizeof(LONGLONG)),
};
static const KSPROPERTY_SET GiveSets[] = {{&StreamSet, SIZEOF_ARRAY(StreamItems), StreamItems, 0, NULL}};
static const KSAUTOMATION_TABLE GiveAutomation = {1, sizeof(KSPROPERTY_ITEM), GiveSets};
static const KSPIN_DISPATCH TakeDispatch = {.Process = OnTake};
static const KSPIN_DISPATCH GiveDispatch = {.Process = OnGive};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&TakeDispatch, KSPIN_DATAFLOW_IN, 0, 1),
    {
        .Dispatch = &GiveDispatch, .AutomationTable = &GiveAutomation,
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_OUT,
                          .Communication = KSPIN_COMMUNICATION_BOTH},
        .InstancesPossible = 1,
    },
};
DEFINE_DRIVER(0x25, NULL, Pins, NULL)
