/*
 * A source whose output is a splitter: the first byte of each frame is its number. It ends after nine frames. Built with
 * -DWHOLE it is filter-centric; the check runs on the first output.
 */
#include "avs.h"

enum { LAST = 9 };
static LONG Next, Wrong;

static BOOLEAN Fill(PUCHAR Data, PKSSTREAM_HEADER Header)
{
    if (Next == LAST)
        return FALSE;
    Data[0] = (UCHAR)Next++;
    if (Next == LAST)
        Header->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
    return TRUE;
}

#ifdef WHOLE
static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN first = Index[0].Pins[0];
    PKSPIN source, branch;
    ULONG i;

    for (i = 0; i < Index[0].Count; i++) {
        PKSPROCESSPIN one = Index[0].Pins[i];
        KsPinGetCopyRelationships(one->Pin, &source, &branch);
        if (i)
            Wrong += one->CopySource != first || one->DelegateBranch || one->Data || source != first->Pin || branch;
        else
            Wrong += one->CopySource || one->DelegateBranch || !one->Data || source || branch;
    }
    if (!Fill(first->Data, first->StreamPointer->StreamHeader))
        return STATUS_PENDING;
    first->BytesUsed = first->BytesAvailable;
    return STATUS_SUCCESS;
}
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
#define FILTER_DISPATCH &FilterDispatch
static const KSPIN_DISPATCH PinDispatch;
#else
static NTSTATUS OnFill(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    PKSPIN source, branch;

    /* No callback comes for the second. */
    KsPinGetCopyRelationships(Pin, &source, &branch);
    Wrong += source || branch;
    while (lead) {
        if (!Fill(lead->StreamHeader->Data, lead->StreamHeader)) {
            KsStreamPointerUnlock(lead, FALSE);
            break;
        }
        lead->StreamHeader->DataUsed = lead->OffsetOut.Remaining;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}
#define FILTER_DISPATCH NULL
static const KSPIN_DISPATCH PinDispatch = {.Process = OnFill};
#endif

/* 0: the driver filled nine frames, those of its first output. */
static const char *Filled(PKSPIN Pin)
{
    CHECK(Wrong == 0);
    CHECK(Next == LAST);
    Next = 0;
    return NULL;
}

DEFINE_CHECKS(Filled);
static const KSPIN_DESCRIPTOR_EX Pins[] = {PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_SPLITTER, 3)};
DEFINE_DRIVER(0x23, FILTER_DISPATCH, Pins, NULL)
