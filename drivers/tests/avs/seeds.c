/*
 * What virtual time shows of a driver: two system threads that count without a lock, which loses counts in some orders, and
 * a delay of an hour.
 */
#include "avs.h"

enum { ROUNDS = 4, COUNTERS = 2 };
static const LONGLONG Hour = 36000000000LL;

static volatile LONG Count;
static KEVENT Told;

static void NTAPI CountUp(PVOID Context)
{
    (void)Context;
    for (int round = 0; round < ROUNDS; round++) {
        LONG before = Count;
        /* Whoever waits for this may run first, and so may the other counter. */
        KeSetEvent(&Told, 0, FALSE);
        Count = before + 1;
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* 0: both counters have run; the answer is a check's that failed if they lost a count. */
static const char *Counted(PKSPIN Pin)
{
    PVOID threads[COUNTERS];
    (void)Pin;
    KeInitializeEvent(&Told, SynchronizationEvent, FALSE);
    Count = 0;
    for (int i = 0; i < COUNTERS; i++) {
        HANDLE handle;
        CHECK(NT_SUCCESS(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CountUp, NULL)));
        CHECK(NT_SUCCESS(ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, &threads[i], NULL)));
        ZwClose(handle);
    }
    CHECK(NT_SUCCESS(KeWaitForMultipleObjects(COUNTERS, threads, WaitAll, Executive, KernelMode, FALSE, NULL, NULL)));
    for (int i = 0; i < COUNTERS; i++)
        ObDereferenceObject(threads[i]);
    CHECK(Count == COUNTERS * ROUNDS);
    return NULL;
}

/* 1: an hour passes, to the tick, and a timer that is due in it has expired. */
static const char *AnHour(PKSPIN Pin)
{
    KTIMER timer;
    LARGE_INTEGER interval, half, before, after;
    LONGLONG counted = KeQueryPerformanceCounter(NULL).QuadPart;
    (void)Pin;
    interval.QuadPart = -Hour;
    half.QuadPart = -Hour / 2;
    KeInitializeTimer(&timer);
    KeSetTimer(&timer, half, NULL);
    KeQuerySystemTime(&before);
    CHECK(KeDelayExecutionThread(KernelMode, FALSE, &interval) == STATUS_SUCCESS);
    KeQuerySystemTime(&after);
    CHECK(after.QuadPart - before.QuadPart == Hour);
    CHECK(KeQueryPerformanceCounter(NULL).QuadPart - counted == Hour);
    CHECK(KeReadStateTimer(&timer));
    return NULL;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    (void)Pin;
    return STATUS_PENDING;
}

DEFINE_CHECKS(Counted, AnHour);
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, 0, 1)};
DEFINE_DRIVER(0x2d, NULL, Pins, NULL)
