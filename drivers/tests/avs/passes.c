/*
 * A filter-centric filter that copies, whose output needs no frame for it to process. Built with -DNO_FRAMES its input
 * needs none either; with -DFEW=n it copies the first n bytes of a frame, and says so in the header as well.
 */
#include "avs.h"

#ifdef NO_FRAMES
#define INPUT_FLAGS KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING
#else
#define INPUT_FLAGS 0
#endif
#define OUTPUT_FLAGS KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING | KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING

static LONG Calls, Empty;

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN in = Index[0].Count ? Index[0].Pins[0] : NULL, out = Index[1].Count ? Index[1].Pins[0] : NULL;

    InterlockedIncrement(&Calls);
    if (in && out && !in->StreamPointer && !out->StreamPointer)
        InterlockedIncrement(&Empty);
    if (!in || !out || !in->BytesAvailable || !out->BytesAvailable)
        return STATUS_PENDING;
    RtlCopyMemory(out->Data, in->Data, in->BytesAvailable);
    out->BytesUsed = in->BytesUsed = in->BytesAvailable;
#ifdef FEW
    out->StreamPointer->StreamHeader->DataUsed = out->BytesUsed = FEW;
#endif
    out->Terminate = TRUE;
    return STATUS_SUCCESS;
}

/* 0: what came went by the driver. */
static const char *NotCalled(PKSPIN Pin)
{
    CHECK(Calls == 0);
    return NULL;
}

/* 1: called, and saw frames. */
static const char *Called(PKSPIN Pin)
{
    CHECK(Calls > 0 && Empty == 0);
    return NULL;
}

/* 2: called once, with no frame. */
static const char *CalledWithout(PKSPIN Pin)
{
    CHECK(Calls == 1 && Empty == 1);
    return NULL;
}

DEFINE_CHECKS(NotCalled, Called, CalledWithout);
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(NULL, KSPIN_DATAFLOW_IN, INPUT_FLAGS, 1),
    PIN(NULL, KSPIN_DATAFLOW_OUT, OUTPUT_FLAGS, 1),
};
DEFINE_DRIVER(0x21, &FilterDispatch, Pins, NULL)
