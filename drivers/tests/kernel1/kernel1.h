/*
 * What the drivers of this directory share. Every name that the kernel's files of levels, locks, waits, timers, threads,
 * memory and lists export has a TEST of its own name; SAME gives a name the test of another, which calls both.
 */
#ifndef USERKS_KERNEL1_H
#define USERKS_KERNEL1_H

#include <ntddk.h>
#include "testing.h"

#define SAME(name, other) TEST(name) { return test_##other(); }

/* A routine that the headers have inline or under other types, called as an import all the same. */
#define IMPORT(type, name, arguments) extern type NTAPI import_##name arguments __asm__(#name);

/* A routine that the import library does not have; found as a driver of many versions of Windows finds it. */
#define FIND(type, name, arguments) \
    typedef type NTAPI name##_t arguments; \
    static inline name##_t *find_##name(void) \
    { \
        UNICODE_STRING string; \
        RtlInitUnicodeString(&string, L"" #name); \
        return (name##_t *)MmGetSystemRoutineAddress(&string); \
    }

IMPORT(KIRQL, KeGetCurrentIrql, (void))
IMPORT(KIRQL, KfRaiseIrql, (KIRQL))
IMPORT(VOID, KeLowerIrql, (KIRQL))
IMPORT(PKTHREAD, KeGetCurrentThread, (void))

/* The tag of what these drivers allocate: Test. */
#define TAG 0x74736554

/* So long that only a hang takes it: ten seconds. */
static inline PLARGE_INTEGER watchdog(void)
{
    static LARGE_INTEGER ten_seconds = {.QuadPart = -100000000LL};
    return &ten_seconds;
}

static inline LARGE_INTEGER milliseconds(LONG count)
{
    LARGE_INTEGER due = {.QuadPart = -10000LL * count};
    return due;
}

static inline NTSTATUS wait_for(PVOID object)
{
    return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, watchdog());
}

/* STATUS_TIMEOUT or not: asks and does not wait. */
static inline NTSTATUS poll(PVOID object)
{
    LARGE_INTEGER now = {.QuadPart = 0};
    return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &now);
}

/* Runs a routine on another thread. join waits for its end. */
typedef struct {
    KEVENT ended;
    void (*routine)(void *);
    void *context;
    WORK_QUEUE_ITEM item;
} SIDE;

static inline VOID NTAPI side_main(PVOID context)
{
    SIDE *side = context;
    side->routine(side->context);
    KeSetEvent(&side->ended, 0, FALSE);
}

static inline int start(SIDE *side, void (*routine)(void *), void *context)
{
    HANDLE handle;
    KeInitializeEvent(&side->ended, NotificationEvent, FALSE);
    side->routine = routine;
    side->context = context;
    return NT_SUCCESS(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, side_main, side));
}

/* As start, on a worker thread: also above PASSIVE_LEVEL, where no thread can be started. */
static inline int start_work(SIDE *side, void (*routine)(void *), void *context)
{
    KeInitializeEvent(&side->ended, NotificationEvent, FALSE);
    side->routine = routine;
    side->context = context;
    ExInitializeWorkItem(&side->item, side_main, side);
    ExQueueWorkItem(&side->item, DelayedWorkQueue);
    return 1;
}

static inline int join(SIDE *side)
{
    return wait_for(&side->ended) == STATUS_SUCCESS;
}

#endif
