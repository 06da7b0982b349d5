/*
 * A source and sinks that ask different things of the allocator of their pipe. The check runs on the source, and looks at
 * the frame that it is given.
 */
#include "avs.h"

enum { ALIGNMENT = 512, FRAMES_WANTED = 9 };

/* 0: the frame is as the pins agreed. */
static const char *Agreed(PKSPIN Pin)
{
    PKSSTREAM_POINTER edge = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    CHECK(edge);
    /* The least that is enough for all, on a step of the second sink above its own least. */
    CHECK(edge->StreamHeader->FrameExtent == 200);
    CHECK(((ULONG_PTR)edge->StreamHeader->Data & (ALIGNMENT - 1)) == 0);
    KsStreamPointerUnlock(edge, FALSE);
    return NULL;
}

DEFINE_CHECKS(Agreed);

#define SYSTEM STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED
#define STRICT KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY

static DECLARE_SIMPLE_FRAMING_EX(OfSource, SYSTEM, STRICT, 4, 0, 128, 4096);
static DECLARE_SIMPLE_FRAMING_EX(OfSmall, SYSTEM, STRICT, 4, 0, 1, 100);
static DECLARE_SIMPLE_FRAMING_EX(OfCard, STATIC_KSMEMORY_TYPE_DEVICE_UNKNOWN, 0, 4, 0, 1, 4096);

/* Two kinds of memory, of which a process has one; that counts, though it weighs less. */
static const struct {
    KSALLOCATOR_FRAMING_EX First;
    KS_FRAMING_ITEM Second;
} OfStepping = {
    .First = {.CountItems = 2,
              .OutputCompression = {1, 1, 0},
              .FramingItem = {{.MemoryType = {STATIC_KSMEMORY_TYPE_DEVICE_UNKNOWN},
                               .Frames = 77,
                               .MemoryTypeWeight = 5,
                               .FramingRange = {.Range = {1, 4096, 1}}}}},
    .Second = {.MemoryType = {SYSTEM},
               .Flags = STRICT,
               .Frames = FRAMES_WANTED,
               .FileAlignment = ALIGNMENT - 1,
               .MemoryTypeWeight = 1,
               .FramingRange = {.Range = {50, 4096, 75}}},
};

#define ASKING_PIN(flow, framing) \
    { \
        .Dispatch = &PinDispatch, .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .AllocatorFraming = (const KSALLOCATOR_FRAMING_EX *)&(framing), \
    }

static NTSTATUS OnProcess(PKSPIN Pin)
{
    UNREFERENCED_PARAMETER(Pin);
    return STATUS_PENDING;
}

static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    ASKING_PIN(KSPIN_DATAFLOW_OUT, OfSource),
    ASKING_PIN(KSPIN_DATAFLOW_IN, OfSmall),
    ASKING_PIN(KSPIN_DATAFLOW_IN, OfCard),
    ASKING_PIN(KSPIN_DATAFLOW_IN, OfStepping),
};
DEFINE_DRIVER(0x0c, NULL, Pins, NULL)
