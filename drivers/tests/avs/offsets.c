/*
 * Offsets that go over the end of a request, on a pin that fills frames and on one that takes them, by bytes and by
 * mappings. Nothing processes by itself.
 */
#include "avs.h"

enum { PART = 40, PIECE = 24, STRIDE = 32 };

static DMA_ADAPTER Adapter;

static NTSTATUS OnStart(PKSDEVICE Dev, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
    KsDeviceRegisterAdapterObject(Dev, (PADAPTER_OBJECT)&Adapter, PIECE, STRIDE);
    return STATUS_SUCCESS;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

static BOOLEAN Available(PKSPIN Pin, LONG In, LONG Out)
{
    LONG in = -1, out = -1;
    return NT_SUCCESS(KsPinGetAvailableByteCount(Pin, &in, &out)) && in == In && (Out < 0 || out == Out);
}

/* 0: of two requests with an empty frame each. */
static const char *Fill(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;
    PKSSTREAM_HEADER first, second;
    PIRP irp;

    CHECK(Available(Pin, 0, 2 * FRAME));
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(lead && lead->Offset == &lead->OffsetOut);
    first = lead->StreamHeader;
    irp = KsStreamPointerGetIrp(lead, NULL, NULL);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 0, 24, FALSE)));
    CHECK(lead->StreamHeader == first && first->DataUsed == 24);
    CHECK(lead->OffsetOut.Data == (PUCHAR)first->Data + 24 && lead->OffsetOut.Remaining == FRAME - 24);
    CHECK(lead->OffsetOut.Count == FRAME && Available(Pin, 24, 2 * FRAME - 24));
    RtlFillMemory(lead->OffsetOut.Data, FRAME - 24, 'x');
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 0, FRAME - 24, FALSE)));
    second = lead->StreamHeader;
    CHECK(second != first && KsStreamPointerGetIrp(lead, NULL, NULL) != irp);
    CHECK(lead->OffsetOut.Data == second->Data && lead->OffsetOut.Remaining == FRAME && second->DataUsed == 0);
    CHECK(Available(Pin, 0, FRAME));
    KsStreamPointerAdvanceOffsetsAndUnlock(lead, 0, 1, TRUE);
    CHECK(Available(Pin, 0, 0));
    CHECK(KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED) == NULL);
    return NULL;
}

/* 1: of two requests, the first with PART bytes of 1, the second with a whole frame of 2. */
static const char *Take(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;
    PKSSTREAM_HEADER first, second;
    PIRP irp;

    CHECK(Available(Pin, PART + FRAME, -1));
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(lead && lead->Offset == &lead->OffsetIn);
    first = lead->StreamHeader;
    irp = KsStreamPointerGetIrp(lead, NULL, NULL);
    CHECK(lead->OffsetIn.Count == PART && lead->OffsetIn.Remaining == PART && lead->OffsetIn.Data[0] == 1);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 16, 0, FALSE)));
    CHECK(lead->StreamHeader == first && first->DataUsed == PART);
    CHECK(lead->OffsetIn.Data == (PUCHAR)first->Data + 16 && lead->OffsetIn.Remaining == PART - 16);
    CHECK(Available(Pin, PART + FRAME - 16, -1));
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, PART - 16, 0, FALSE)));
    second = lead->StreamHeader;
    CHECK(second != first && KsStreamPointerGetIrp(lead, NULL, NULL) != irp);
    CHECK(lead->OffsetIn.Data == second->Data && lead->OffsetIn.Remaining == FRAME && lead->OffsetIn.Data[0] == 2);
    CHECK(Available(Pin, FRAME, -1));
    CHECK(KsStreamPointerAdvanceOffsets(lead, FRAME, 0, FALSE) == STATUS_DEVICE_NOT_READY);
    CHECK(Available(Pin, 0, -1));
    return NULL;
}

/* 2: the same two requests, as an adapter sees them that takes 24 bytes at a time. */
static const char *TakeMappings(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;
    PKSSTREAM_HEADER first, second;

    CHECK(Available(Pin, PART + FRAME, -1));
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(lead && lead->OffsetIn.Count == 2 && lead->OffsetIn.Remaining == 2);
    first = lead->StreamHeader;
    CHECK(lead->OffsetIn.Mappings->PhysicalAddress.QuadPart == (LONGLONG)(ULONG_PTR)first->Data);
    CHECK(lead->OffsetIn.Mappings->ByteCount == PIECE);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 1, 0, FALSE)));
    CHECK(lead->StreamHeader == first && lead->OffsetIn.Remaining == 1);
    CHECK(lead->OffsetIn.Mappings->PhysicalAddress.QuadPart == (LONGLONG)(ULONG_PTR)first->Data + PIECE);
    CHECK(lead->OffsetIn.Mappings->ByteCount == PART - PIECE);
    CHECK(Available(Pin, PART + FRAME - PIECE, -1));
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 1, 0, FALSE)));
    second = lead->StreamHeader;
    CHECK(second != first && lead->OffsetIn.Count == 3 && lead->OffsetIn.Remaining == 3);
    CHECK(lead->OffsetIn.Mappings->PhysicalAddress.QuadPart == (LONGLONG)(ULONG_PTR)second->Data);
    CHECK(*(PUCHAR)(ULONG_PTR)lead->OffsetIn.Mappings->PhysicalAddress.QuadPart == 2);
    CHECK(KsStreamPointerAdvanceOffsets(lead, 3, 0, FALSE) == STATUS_DEVICE_NOT_READY);
    CHECK(Available(Pin, 0, -1));
    return NULL;
}

/* 3: of an empty frame, which is of no use. */
static const char *Fail(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);

    CHECK(lead && NT_SUCCESS(KsStreamPointerSetStatusCode(lead, STATUS_UNSUCCESSFUL)));
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

/* 4: of three requests with an empty frame each. The driver says itself how many bytes are used. */
static const char *Short(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), clone;

    CHECK(lead);
    lead->StreamHeader->DataUsed = 10;
    KsStreamPointerAdvanceOffsetsAndUnlock(lead, 0, 10, TRUE);
    CHECK(NT_SUCCESS(KsStreamPointerLock(lead)));
    lead->StreamHeader->DataUsed = 11;
    /* The rest is passed, and not filled. */
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 0, lead->OffsetOut.Remaining, FALSE)));
    CHECK(NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &clone)));
    KsStreamPointerUnlock(lead, TRUE);
    clone->StreamHeader->DataUsed = 12;
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(clone, 0, 12, FALSE)) && clone->StreamHeader->DataUsed == 12);
    KsStreamPointerDelete(clone);
    return NULL;
}

DEFINE_CHECKS(Fill, Take, TakeMappings, Fail, Short);
static const KSDEVICE_DISPATCH DeviceDispatch = {.Start = OnStart};
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING, 1),
    PIN(&PinDispatch, KSPIN_DATAFLOW_IN, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING, 1),
    PIN(&PinDispatch, KSPIN_DATAFLOW_IN, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING | KSPIN_FLAG_GENERATE_MAPPINGS, 1),
};
DEFINE_DRIVER(0x28, NULL, Pins, &DeviceDispatch)
