/*
 * A filter-centric splitter that works in place: it adds one to the first byte of each frame, and takes as many frames a
 * call as there are by updating its process pins. The check runs on the input.
 */
#include "avs.h"

#ifndef OUTPUT_FLAGS
#define OUTPUT_FLAGS KSPIN_FLAG_SPLITTER
#endif

static ULONG Calls, Frames, Wrong;

/* The first output is the driver's affair; the others are delegated to it. */
static BOOLEAN Related(PKSPROCESSPIN_INDEXENTRY Outputs, PKSPROCESSPIN Input)
{
    PKSPROCESSPIN first = Outputs->Pins[0];
    PKSPIN source, branch;
    ULONG i;

    KsPinGetCopyRelationships(first->Pin, &source, &branch);
    if (source || branch || first->CopySource || first->DelegateBranch || first->InPlaceCounterpart != Input)
        return FALSE;
    for (i = 1; i < Outputs->Count; i++) {
        PKSPROCESSPIN later = Outputs->Pins[i];
        KsPinGetCopyRelationships(later->Pin, &source, &branch);
        if (source || branch != first->Pin || later->CopySource || later->DelegateBranch != first)
            return FALSE;
    }
    return Input->InPlaceCounterpart == first && Input->Data == first->Data;
}

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN in, first;
    UNREFERENCED_PARAMETER(Filter);
    if (!Index[0].Count || !Index[1].Count)
        return STATUS_PENDING;
    in = Index[0].Pins[0];
    first = Index[1].Pins[0];
    Calls++;
    do {
        Wrong += !Related(&Index[1], in) || in->BytesAvailable != FRAME;
        ((PUCHAR)in->Data)[0]++;
        first->BytesUsed = in->BytesUsed = in->BytesAvailable;
        in->Terminate = TRUE;
        Frames++;
    } while (KsProcessPinUpdate(in));
    /* Nothing is left, at either end. */
    Wrong += in->Data != NULL || in->BytesAvailable || first->Data != NULL || in->BytesUsed;
    return STATUS_PENDING;
}

/* 0: four frames in one call. */
static const char *FourInOne(PKSPIN Pin)
{
    UNREFERENCED_PARAMETER(Pin);
    CHECK(Wrong == 0);
    CHECK(Frames == 4);
    CHECK(Calls == 1);
    return NULL;
}

/* 1: an output behind the first of a splitter. */
static const char *Follows(PKSPIN Pin)
{
    PKSPIN source, branch;
    KsPinGetCopyRelationships(Pin, &source, &branch);
    CHECK(branch && branch != Pin && branch->Id == Pin->Id && !source);
    return NULL;
}

/* 2: the same where it is none. */
static const char *StandsAlone(PKSPIN Pin)
{
    PKSPIN source, branch;
    KsPinGetCopyRelationships(Pin, &source, &branch);
    CHECK(!branch && !source);
    return NULL;
}

DEFINE_CHECKS(FourInOne, Follows, StandsAlone);

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER |
                                     KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
                                 4, 0, FRAME, FRAME);

#define SHARED_PIN(flow, flags, count) \
    { \
        .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .Flags = (flags), .InstancesPossible = (count), .InstancesNecessary = 1, .AllocatorFraming = &Framing, \
    }

static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    SHARED_PIN(KSPIN_DATAFLOW_IN, 0, 1),
    SHARED_PIN(KSPIN_DATAFLOW_OUT, OUTPUT_FLAGS, 4),
};
DEFINE_DRIVER(0x0b, &FilterDispatch, Pins, NULL)
