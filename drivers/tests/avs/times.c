/*
 * Times in the units of a stream: of 8-bit stereo at 44.1 kHz, which has 88,200 bytes a second. Pin 0 takes frames and keeps
 * their times; pin 1 gives frames of a quarter of a second.
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

DEFINE_CHECKS(Kept);
static const KSPIN_DISPATCH TakeDispatch = {.Process = OnTake};
static const KSPIN_DISPATCH GiveDispatch = {.Process = OnGive};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&TakeDispatch, KSPIN_DATAFLOW_IN, 0, 1),
    PIN(&GiveDispatch, KSPIN_DATAFLOW_OUT, 0, 1),
};
DEFINE_DRIVER(0x25, NULL, Pins, NULL)
