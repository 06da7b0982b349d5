/*
 * A source that offers a private protocol on its way to ACQUIRE. Accepted, it gives its frames to the interface of the
 * connected pin; refused, or with another kind of end, it fills frames as any other. A frame without data ends the stream in
 * either case.
 */
#include "exchange.h"

static NTSTATUS Answer, Query;
static KSHANDSHAKE Agreed;
static EXCHANGE *Sink;
static ULONG Made;
static BOOLEAN Ended;

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    KSHANDSHAKE offer = {Protocol, (PVOID)(ULONG_PTR)VERSION, Pin};

    if (To == KSSTATE_ACQUIRE && From == KSSTATE_STOP) {
        Sink = NULL;
        Made = 0;
        Ended = FALSE;
        RtlZeroMemory(&Agreed, sizeof(Agreed));
        Answer = KsPinHandshake(Pin, &offer, &Agreed);
        Query = KsPinGetConnectedPinInterface(Pin, &ExchangeId, (PVOID *)&Sink);
    }
    if (To == KSSTATE_STOP && Sink) {
        Sink->Methods->Release(Sink);
        Sink = NULL;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;

    while (Sink && Made < FRAMES)
        Sink->Methods->Put(Sink, (UCHAR)Made++);
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead && !Ended) {
        if (Made < FRAMES) {
            *(PUCHAR)lead->OffsetOut.Data = (UCHAR)Made++;
            lead->StreamHeader->DataUsed = 1;
        } else {
            lead->StreamHeader->DataUsed = 0;
            lead->StreamHeader->OptionsFlags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
            Ended = TRUE;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            return STATUS_PENDING;
    }
    if (lead)
        KsStreamPointerUnlock(lead, FALSE);
    return STATUS_PENDING;
}

/* 0: the sink accepted. */
static const char *Accepted(PKSPIN Pin)
{
    KSHANDSHAKE other = {ExchangeId, NULL, NULL}, out;
    CHECK(!Pin->ConnectionIsExternal);
    CHECK(Answer == STATUS_SUCCESS && Query == STATUS_SUCCESS && Sink);
    CHECK(IsGuid(&Agreed.ProtocolId, &Protocol));
    CHECK(Agreed.Argument1 == (PVOID)(ULONG_PTR)(VERSION - 1) && Agreed.Argument2 == Pin);
    CHECK(KsPinHandshake(Pin, &other, &out) == STATUS_INVALID_DEVICE_REQUEST);
    CHECK(KsPinGetConnectedPinFileObject(Pin) && KsPinGetConnectedPinDeviceObject(Pin));
    CHECK(Made == FRAMES);
    return NULL;
}

/* 1: it refused, and has no such interface. */
static const char *Refused(PKSPIN Pin)
{
    CHECK(!Pin->ConnectionIsExternal);
    CHECK(Answer == STATUS_INVALID_DEVICE_REQUEST && !NT_SUCCESS(Query) && !Sink);
    CHECK(Made == FRAMES);
    return NULL;
}

/* 2: nobody who could be asked is there. */
static const char *Foreign(PKSPIN Pin)
{
    CHECK(Pin->ConnectionIsExternal);
    CHECK(Answer == STATUS_INVALID_DEVICE_REQUEST && Query == STATUS_UNSUCCESSFUL && !Sink);
    return NULL;
}

/* 3: the sink is in another process, and the frames went to its queue. */
static const char *Distant(PKSPIN Pin)
{
    CHECK(Pin->ConnectionIsExternal);
    CHECK(Answer == STATUS_INVALID_DEVICE_REQUEST && !NT_SUCCESS(Query) && !Sink);
    CHECK(KsPinGetConnectedPinFileObject(Pin) && KsPinGetConnectedPinDeviceObject(Pin));
    CHECK(Made == FRAMES);
    return NULL;
}

DEFINE_CHECKS(Accepted, Refused, Foreign, Distant);
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess, .SetDeviceState = OnState};
static const KSPIN_DESCRIPTOR_EX Pins[] = {PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, 0, 1)};
DEFINE_DRIVER(0x05, NULL, Pins, NULL)
