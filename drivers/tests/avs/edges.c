/*
 * A queue with a distinct trailing edge: frames that the leading edge has passed stay until the trailing edge passes
 * them. Pin 0 has one, pin 1 has none. Nothing processes by itself.
 */
#include "avs.h"

static NTSTATUS OnProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

/* The client has sent three frames in one request. */
static const char *Window(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead, trail, clone;
    PKSSTREAM_HEADER first, second;
    BOOLEAN is_first = FALSE, is_last = TRUE;
    LONG in = 0, out = 0;
    PMDL mdl;

    trail = KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_UNLOCKED);
    lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(trail && lead && trail != lead && trail->Pin == Pin && trail->Context == NULL);
    CHECK(trail->Offset == &trail->OffsetOut);
    first = lead->StreamHeader;
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(lead)));
    second = lead->StreamHeader;
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(lead)));
    CHECK(KsStreamPointerAdvance(lead) == STATUS_DEVICE_NOT_READY);
    CHECK(NT_SUCCESS(KsPinGetAvailableByteCount(Pin, &in, &out)) && out == 0);

    CHECK(KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED) == trail);
    CHECK(trail->StreamHeader == first && trail->OffsetOut.Remaining == FRAME);
    CHECK(KsStreamPointerGetIrp(trail, &is_first, &is_last) && is_first && !is_last);
    mdl = KsStreamPointerGetMdl(trail);
    CHECK(mdl && MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) == first->Data);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(trail, 0, 10, FALSE)) && first->DataUsed == 10);
    CHECK(NT_SUCCESS(KsStreamPointerClone(trail, NULL, 8, &clone)));
    CHECK(clone->StreamHeader == first && clone->OffsetOut.Remaining == FRAME - 10 && clone->Context);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(trail)) && trail->StreamHeader == second);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(trail, 0, FRAME, FALSE)) && second->DataUsed == FRAME);
    CHECK(trail->StreamHeader != second && trail->OffsetOut.Remaining == FRAME);
    KsStreamPointerDelete(clone);
    KsStreamPointerUnlock(trail, FALSE);
    CHECK(KsStreamPointerSetStatusCode(trail, STATUS_SUCCESS) == STATUS_DEVICE_NOT_READY);
    CHECK(KsStreamPointerGetIrp(trail, NULL, NULL) == NULL);
    return NULL;
}

/* The last frame of the request goes. */
static const char *Rest(PKSPIN Pin)
{
    PKSSTREAM_POINTER trail = KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(trail);
    KsStreamPointerUnlock(trail, TRUE);
    CHECK(KsStreamPointerLock(trail) == STATUS_DEVICE_NOT_READY);
    CHECK(NT_SUCCESS(KsStreamPointerAdvance(trail)));
    CHECK(KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED) == NULL);
    return NULL;
}

static const char *PassLeading(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(lead);
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

static const char *None(PKSPIN Pin)
{
    CHECK(KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_UNLOCKED) == NULL);
    CHECK(KsPinGetTrailingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED) == NULL);
    return NULL;
}

/* The client's format has two attributes, of 32 and 24 bytes. */
static const char *Attributes(PKSPIN Pin)
{
    PKSATTRIBUTE_LIST list = Pin->AttributeList;
    CHECK(list && list->Count == 2 && list->Attributes);
    CHECK(list->Attributes[0]->Size == 32 && *(PULONGLONG)(list->Attributes[0] + 1) == 0x1122334455667788ULL);
    CHECK(list->Attributes[1]->Size == 24 && IsGuid(&list->Attributes[1]->Attribute, &CheckSet));
    return NULL;
}

static const char *NoAttributes(PKSPIN Pin)
{
    CHECK(Pin->AttributeList == NULL);
    return NULL;
}

DEFINE_CHECKS(Window, Rest, PassLeading, None, Attributes, NoAttributes);
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING | KSPIN_FLAG_DISTINCT_TRAILING_EDGE, 1),
    PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING, 1),
};
DEFINE_DRIVER(0x01, NULL, Pins, NULL)
