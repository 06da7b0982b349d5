/*
 * A source, and sinks that bring the frames of their circuit: pin 1 must, pin 2 can.
 * What the routines of the allocator were called for is kept for the checks. FLAW is a defect of the allocator:
 * 1: it gives out one frame twice, 2: its frames are not aligned, 3: it does not start, 4: it has three frames only.
 */
#include "avs.h"

enum { TAG = 'marF', WANTED = 5, BYTES = 256, ALIGNMENT = 16, LAST = 100, MOST = 16 };
#ifndef FLAW
#define FLAW 0
#endif

static struct {
    PKSPIN Pin;
    KSALLOCATOR_FRAMING Framing;
    PVOID Frames[MOST];
    LONG Started, Allocated, Freed, Deleted, Closed, Early;
} Allocator;
static LONG Made, Seen, Foreign;

static NTSTATUS OnInitialize(PKSPIN Pin, PKSALLOCATOR_FRAMING Framing, PVOID *Context)
{
    PAGED_CODE();
    Allocator.Pin = Pin;
    Allocator.Framing = *Framing;
    Allocator.Started++;
    *Context = &Allocator.Framing;
    return FLAW == 3 ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

static void OnDelete(PVOID Context)
{
    if (Context == &Allocator.Framing)
        InterlockedIncrement(&Allocator.Deleted);
    if (Allocator.Freed != Allocator.Allocated || Allocator.Closed)
        InterlockedIncrement(&Allocator.Early);
}

static PVOID OnAllocate(PVOID Context)
{
    PKSALLOCATOR_FRAMING framing = Context;
    LONG at = Allocator.Allocated;

    if (at == MOST || (FLAW == 4 && at == 3))
        return NULL;
    if (FLAW == 1 && at == 1)
        return Allocator.Frames[0];
    Allocator.Frames[at] = ExAllocatePoolWithTag(NonPagedPool, framing->FrameSize + ALIGNMENT, TAG);
    if (!Allocator.Frames[at])
        return NULL;
    Allocator.Allocated++;
    return (PUCHAR)Allocator.Frames[at] + (FLAW == 2 ? 8 : 0);
}

static void OnFree(PVOID Context, PVOID Frame)
{
    if (Context != &Allocator.Framing || Allocator.Deleted || Allocator.Closed)
        InterlockedIncrement(&Allocator.Early);
    if (FLAW == 1 && Allocator.Freed == Allocator.Allocated)
        return;
    InterlockedIncrement(&Allocator.Freed);
    ExFreePoolWithTag((PUCHAR)Frame - (FLAW == 2 ? 8 : 0), TAG);
}

static NTSTATUS OnClose(PKSPIN Pin, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Irp);
    if (Pin == Allocator.Pin)
        InterlockedIncrement(&Allocator.Closed);
    return STATUS_SUCCESS;
}

static NTSTATUS OnFill(PKSPIN Pin)
{
    PKSSTREAM_POINTER edge;

    while (Made < LAST && (edge = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED)) != NULL) {
        *(PLONG)edge->StreamHeader->Data = ++Made;
        edge->StreamHeader->DataUsed = FRAME;
        if (Made == LAST)
            edge->StreamHeader->OptionsFlags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        KsStreamPointerUnlock(edge, TRUE);
    }
    return STATUS_PENDING;
}

static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER edge;

    while ((edge = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED)) != NULL) {
        BOOLEAN own = FALSE;
        LONG i;
        for (i = 0; i < Allocator.Allocated; i++)
            own |= edge->StreamHeader->Data == Allocator.Frames[i];
        if (*(PLONG)edge->StreamHeader->Data != ++Seen)
            Seen = -LAST;
        if (!own || edge->StreamHeader->FrameExtent != Allocator.Framing.FrameSize)
            Foreign++;
        KsStreamPointerUnlock(edge, TRUE);
    }
    return STATUS_PENDING;
}

/* 0: the allocator was started once, for what the pins agreed on, and no frame is back. */
static const char *Chosen(PKSPIN Pin)
{
    CHECK(Allocator.Pin == Pin && Allocator.Started == 1);
    CHECK(Allocator.Framing.Frames == WANTED && Allocator.Framing.FrameSize == BYTES);
    CHECK(Allocator.Framing.FileAlignment == ALIGNMENT - 1);
    /* As the memory that the framing names. */
    CHECK(Allocator.Framing.PoolType == (Pin->Id == 2 ? PagedPool : NonPagedPool));
    CHECK(Allocator.Framing.OptionsFlags & KSALLOCATOR_OPTIONF_SYSTEM_MEMORY);
    CHECK(Allocator.Allocated == (FLAW == 4 ? 3 : WANTED) && Allocator.Freed == 0 && Allocator.Deleted == 0);
    return NULL;
}

/* 1: the whole stream came by, in frames of the allocator. */
static const char *Streamed(PKSPIN Pin)
{
    CHECK(Seen == LAST && Foreign == 0);
    Made = Seen = 0;
    return NULL;
}

/* 2: the allocator was never started. */
static const char *PassedOver(PKSPIN Pin)
{
    CHECK(Allocator.Started == 0 && Allocator.Allocated == 0);
    CHECK(Seen == LAST && Foreign == LAST);
    Made = Seen = Foreign = 0;
    return NULL;
}

/* 3: everything is back, in order: each frame, then the allocator, then the pin. The next test begins anew. */
static const char *Returned(PKSPIN Pin)
{
    CHECK(Allocator.Started == 1 && Allocator.Deleted == (FLAW == 3 ? 0 : 1) && Allocator.Closed == 1);
    CHECK(Allocator.Freed == Allocator.Allocated && Allocator.Early == 0);
    RtlZeroMemory(&Allocator, sizeof(Allocator));
    Made = Seen = Foreign = 0;
    return NULL;
}

DEFINE_CHECKS(Chosen, Streamed, PassedOver, Returned);

#define SYSTEM STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED
#define STRICT KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY
static DECLARE_SIMPLE_FRAMING_EX(Must, SYSTEM, STRICT | KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, WANTED, ALIGNMENT - 1,
                                 BYTES, 4096);
static DECLARE_SIMPLE_FRAMING_EX(Can, STATIC_KSMEMORY_TYPE_KERNEL_PAGED, STRICT, WANTED, ALIGNMENT - 1, BYTES, 4096);

#define FRAMES_PIN(dispatch, flow, flags, framing) \
    { \
        .Dispatch = (dispatch), .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .Flags = (flags), .InstancesPossible = 1, .AllocatorFraming = (framing), \
    }

static const KSALLOCATOR_DISPATCH AllocatorDispatch = {OnInitialize, OnDelete, OnAllocate, OnFree};
static const KSPIN_DISPATCH OfSource = {.Process = OnFill};
static const KSPIN_DISPATCH OfSink = {.Close = OnClose, .Process = OnTake, .Allocator = &AllocatorDispatch};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    FRAMES_PIN(&OfSource, KSPIN_DATAFLOW_OUT, 0, NULL),
    FRAMES_PIN(&OfSink, KSPIN_DATAFLOW_IN, KSPIN_FLAG_GENERATE_EOS_EVENTS, &Must),
    FRAMES_PIN(&OfSink, KSPIN_DATAFLOW_IN, KSPIN_FLAG_GENERATE_EOS_EVENTS, &Can),
};
DEFINE_DRIVER(0x0d, NULL, Pins, NULL)
