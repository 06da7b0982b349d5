/*
 * Pin 0 has a clock of the driver's: a counter that goes on only by the timers that are set on it. Pin 1 has an allocator
 * of the driver's, pin 2 the clock of the class driver.
 */
#include "avs.h"

enum { SYSTEM = 777, TAG = 'sldA' };

static LONGLONG Now;
static LONG TimersSet, TimersCancelled;
static LONGLONG LastDue;

static BOOLEAN OnSetTimer(PKSPIN Pin, PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc)
{
    LARGE_INTEGER soon;
    if (DueTime.QuadPart < 0) {
        InterlockedIncrement(&TimersSet);
        LastDue = -DueTime.QuadPart;
        /* The time is there when the timer is. */
        Now += LastDue;
    }
    soon.QuadPart = -1;
    return KeSetTimer(Timer, soon, Dpc);
}

static BOOLEAN OnCancelTimer(PKSPIN Pin, PKTIMER Timer)
{
    InterlockedIncrement(&TimersCancelled);
    return KeCancelTimer(Timer);
}

static LONGLONG FASTCALL OnCorrelatedTime(PKSPIN Pin, PLONGLONG SystemTime)
{
    *SystemTime = SYSTEM;
    return Now;
}

static void OnResolution(PKSPIN Pin, PKSRESOLUTION Resolution)
{
    Resolution->Granularity = 40;
    Resolution->Error = 3;
}

/* 0: what the driver itself sees of its clock. */
static const char *OwnClock(PKSPIN Pin)
{
    PIKSREFERENCECLOCK clock;
    KSRESOLUTION resolution = {0, 0};
    LONGLONG system = 0;

    Now = 1234;
    TimersSet = TimersCancelled = 0;
    CHECK(NT_SUCCESS(KsPinGetReferenceClockInterface(Pin, &clock)));
    CHECK(clock->lpVtbl->GetTime(clock) == 1234);
    CHECK(clock->lpVtbl->GetCorrelatedTime(clock, &system) == 1234 && system == SYSTEM);
    CHECK(NT_SUCCESS(clock->lpVtbl->GetResolution(clock, &resolution)));
    CHECK(resolution.Granularity == 40 && resolution.Error == 3);
    CHECK(clock->lpVtbl->Release(clock) == 0);
    return NULL;
}

/* 1: a mark at 5000 has been signalled. */
static const char *Timed(PKSPIN Pin)
{
    CHECK(TimersSet >= 1 && LastDue == 5000 - 1234 && Now == 5000);
    return NULL;
}

static struct {
    PKSPIN Pin;
    KSALLOCATOR_FRAMING Framing;
    LONG Allocated, Freed, Deleted;
} Allocator;

static NTSTATUS OnInitialize(PKSPIN Pin, PKSALLOCATOR_FRAMING Framing, PVOID *Context)
{
    if (Framing->FrameSize == 1000)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(&Allocator, sizeof(Allocator));
    Allocator.Pin = Pin;
    Allocator.Framing = *Framing;
    *Context = &Allocator;
    return STATUS_SUCCESS;
}

static void OnDelete(PVOID Context)
{
    if (Context == &Allocator)
        InterlockedIncrement(&Allocator.Deleted);
}

static PVOID OnAllocate(PVOID Context)
{
    InterlockedIncrement(&Allocator.Allocated);
    return Context == &Allocator ? ExAllocatePoolWithTag(NonPagedPool, Allocator.Framing.FrameSize, TAG) : NULL;
}

static void OnFree(PVOID Context, PVOID Frame)
{
    InterlockedIncrement(&Allocator.Freed);
    ExFreePoolWithTag(Frame, TAG);
}

/* 2: two frames are out. */
static const char *InUse(PKSPIN Pin)
{
    CHECK(Allocator.Pin == Pin && Allocator.Framing.Frames == 2 && Allocator.Framing.FrameSize == 128);
    CHECK(Allocator.Allocated == 2 && Allocator.Freed == 0 && Allocator.Deleted == 0);
    return NULL;
}

/* 3: the allocator is closed. */
static const char *Gone(PKSPIN Pin)
{
    CHECK(Allocator.Allocated == 2 && Allocator.Freed == 2 && Allocator.Deleted == 1);
    return NULL;
}

/* 4: one of user mode was never the driver's. */
static const char *Untouched(PKSPIN Pin)
{
    CHECK(Allocator.Allocated == 0 && Allocator.Pin == NULL);
    return NULL;
}

/* 5: the clock of the class driver is set. */
static const char *SetTime(PKSPIN Pin)
{
    PIKSREFERENCECLOCK clock;

    KsPinSetPinClockTime(Pin, 4242);
    CHECK(NT_SUCCESS(KsPinGetReferenceClockInterface(Pin, &clock)));
    CHECK(clock->lpVtbl->GetTime(clock) == 4242);
    KsPinSetPinClockTime(Pin, 0);
    CHECK(clock->lpVtbl->GetTime(clock) == 0);
    CHECK(clock->lpVtbl->Release(clock) == 0);
    return NULL;
}

DEFINE_CHECKS(OwnClock, Timed, InUse, Gone, Untouched, SetTime);
static const KSCLOCK_DISPATCH ClockDispatch = {OnSetTimer, OnCancelTimer, OnCorrelatedTime, OnResolution};
static const KSALLOCATOR_DISPATCH AllocatorDispatch = {OnInitialize, OnDelete, OnAllocate, OnFree};
static const KSPIN_DISPATCH WithClock = {.Clock = &ClockDispatch};
static const KSPIN_DISPATCH WithAllocator = {.Allocator = &AllocatorDispatch};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&WithClock, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_IMPLEMENT_CLOCK, 1),
    PIN(&WithAllocator, KSPIN_DATAFLOW_IN, 0, 1),
    PIN(NULL, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_IMPLEMENT_CLOCK, 1),
};
DEFINE_DRIVER(0x07, NULL, Pins, NULL)
