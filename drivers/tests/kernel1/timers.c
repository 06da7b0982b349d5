/* Timers and deferred procedure calls. */
#include "kernel1.h"

#undef KeQueryInterruptTime
IMPORT(VOID, KeInitializeThreadedDpc, (PRKDPC, PKDEFERRED_ROUTINE, PVOID))
FIND(BOOLEAN, KeRemoveQueueDpcEx, (PRKDPC, BOOLEAN))
FIND(ULONG, KeShouldYieldProcessor, (void))
IMPORT(NTSTATUS, KeSetTargetProcessorDpcEx, (PRKDPC, PPROCESSOR_NUMBER))
IMPORT(LOGICAL, KeIsExecutingDpc, (void))
IMPORT(VOID, KeGenericCallDpc, (PKDEFERRED_ROUTINE, PVOID))
IMPORT(VOID, KeSignalCallDpcDone, (PVOID))
IMPORT(LOGICAL, KeSignalCallDpcSynchronize, (PVOID))
IMPORT(ULONG_PTR, KeIpiGenericCall, (PVOID, ULONG_PTR))
IMPORT(NTSTATUS, KeQueryDpcWatchdogInformation, (PKDPC_WATCHDOG_INFORMATION))
IMPORT(BOOLEAN, KeSetCoalescableTimer, (PKTIMER, LARGE_INTEGER, ULONG, ULONG, PKDPC))
IMPORT(ULONG, ExSetTimerResolution, (ULONG, BOOLEAN))
FIND(VOID, ExQueryTimerResolution, (PULONG, PULONG, PULONG))

typedef VOID NTAPI EX_CALLBACK_ROUTINE(PVOID timer, PVOID context);
FIND(PVOID, ExAllocateTimer, (EX_CALLBACK_ROUTINE *, PVOID, ULONG))
FIND(BOOLEAN, ExSetTimer, (PVOID, LONGLONG, LONGLONG, PVOID))
FIND(BOOLEAN, ExCancelTimer, (PVOID, PVOID))
FIND(BOOLEAN, ExDeleteTimer, (PVOID, BOOLEAN, BOOLEAN, PVOID))

typedef struct {
    KDPC dpc;
    KEVENT ran;
    volatile LONG count;
    KIRQL level;
    PVOID context, first, second;
    LOGICAL executing;
    KEVENT hold;
} COUNTER;

static VOID NTAPI count(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    COUNTER *counter = context;
    counter->context = dpc;
    counter->first = first;
    counter->second = second;
    counter->level = import_KeGetCurrentIrql();
    counter->executing = import_KeIsExecutingDpc();
    InterlockedIncrement(&counter->count);
    KeSetEvent(&counter->ran, 0, FALSE);
}

static void make(COUNTER *counter)
{
    RtlZeroMemory(counter, sizeof *counter);
    KeInitializeEvent(&counter->ran, SynchronizationEvent, FALSE);
    KeInitializeDpc(&counter->dpc, count, counter);
}

TEST(KeInsertQueueDpc)
{
    COUNTER counter;
    make(&counter);
    CHECK(KeInsertQueueDpc(&counter.dpc, (PVOID)11, (PVOID)22));
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    KeFlushQueuedDpcs();
    CHECK(counter.count == 1);
    CHECK(counter.level == DISPATCH_LEVEL);
    CHECK(counter.context == &counter.dpc);
    CHECK(counter.first == (PVOID)11 && counter.second == (PVOID)22);
    CHECK(counter.executing);
    CHECK(!import_KeIsExecutingDpc());
    CHECK(KeInsertQueueDpc(&counter.dpc, NULL, NULL));
    KeFlushQueuedDpcs();
    CHECK(counter.count == 2);
    PASS;
}
SAME(KeInitializeDpc, KeInsertQueueDpc)
SAME(KeFlushQueuedDpcs, KeInsertQueueDpc)
SAME(KeIsExecutingDpc, KeInsertQueueDpc)

/* Busy until it is told otherwise: what is queued behind it stays queued. */
static volatile LONG stop_spinning;
static VOID NTAPI spin(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    COUNTER *counter = context;
    KeSetEvent(&counter->ran, 0, FALSE);
    while (!stop_spinning)
        YieldProcessor();
}

TEST(KeRemoveQueueDpc)
{
    COUNTER counter, other, urgent;
    KDPC spinner;
    make(&counter);
    make(&other);
    make(&urgent);
    stop_spinning = 0;
    KeInitializeDpc(&spinner, spin, &counter);
    CHECK(KeInsertQueueDpc(&spinner, NULL, NULL));
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    CHECK(!KeRemoveQueueDpc(&spinner));
    CHECK(KeInsertQueueDpc(&counter.dpc, NULL, NULL));
    CHECK(!KeInsertQueueDpc(&counter.dpc, NULL, NULL));
    CHECK(KeInsertQueueDpc(&other.dpc, NULL, NULL));
    KeSetImportanceDpc(&urgent.dpc, HighImportance);
    KeSetTargetProcessorDpc(&urgent.dpc, 0);
    CHECK(KeInsertQueueDpc(&urgent.dpc, &other, NULL));
    CHECK(find_KeShouldYieldProcessor()());
    CHECK(KeRemoveQueueDpc(&counter.dpc));
    CHECK(!KeRemoveQueueDpc(&counter.dpc));
    CHECK(find_KeRemoveQueueDpcEx()(&other.dpc, FALSE));
    stop_spinning = 1;
    KeFlushQueuedDpcs();
    CHECK(counter.count == 0);
    CHECK(other.count == 0);
    CHECK(urgent.count == 1);
    CHECK(!find_KeRemoveQueueDpcEx()(&urgent.dpc, TRUE));
    PASS;
}
SAME(KeRemoveQueueDpcEx, KeRemoveQueueDpc)
SAME(KeSetImportanceDpc, KeRemoveQueueDpc)
SAME(KeSetTargetProcessorDpc, KeRemoveQueueDpc)
SAME(KeShouldYieldProcessor, KeRemoveQueueDpc)

TEST(KeSetTargetProcessorDpcEx)
{
    COUNTER counter;
    PROCESSOR_NUMBER number = {0, 0, 0};
    make(&counter);
    CHECK(import_KeSetTargetProcessorDpcEx(&counter.dpc, &number) == STATUS_SUCCESS);
    number.Group = 7;
    CHECK(import_KeSetTargetProcessorDpcEx(&counter.dpc, &number) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(KeInitializeThreadedDpc)
{
    COUNTER counter;
    make(&counter);
    import_KeInitializeThreadedDpc(&counter.dpc, count, &counter);
    CHECK(KeInsertQueueDpc(&counter.dpc, (PVOID)1, (PVOID)2));
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    KeFlushQueuedDpcs();
    CHECK(counter.count == 1);
    CHECK(counter.level == PASSIVE_LEVEL);
    CHECK(counter.executing);
    PASS;
}

static volatile LONG generic_calls;
static KIRQL generic_level;
static VOID NTAPI generic(PKDPC dpc, PVOID context, PVOID done, PVOID barrier)
{
    generic_level = import_KeGetCurrentIrql();
    if (import_KeSignalCallDpcSynchronize(barrier))
        InterlockedAdd(&generic_calls, (LONG)(LONG_PTR)context);
    import_KeSignalCallDpcSynchronize(barrier);
    import_KeSignalCallDpcDone(done);
}

TEST(KeGenericCallDpc)
{
    generic_calls = 0;
    import_KeGenericCallDpc(generic, (PVOID)5);
    CHECK(generic_calls == 5);
    CHECK(generic_level == DISPATCH_LEVEL);
    PASS;
}
SAME(KeSignalCallDpcDone, KeGenericCallDpc)
SAME(KeSignalCallDpcSynchronize, KeGenericCallDpc)

static ULONG_PTR NTAPI broadcast(ULONG_PTR argument)
{
    return import_KeGetCurrentIrql() > DISPATCH_LEVEL ? argument + 1 : 0;
}

TEST(KeIpiGenericCall)
{
    CHECK(import_KeIpiGenericCall(broadcast, 41) == 42);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    PASS;
}

TEST(KeQueryDpcWatchdogInformation)
{
    KDPC_WATCHDOG_INFORMATION information;
    information.DpcTimeLimit = 77;
    CHECK(import_KeQueryDpcWatchdogInformation(&information) == STATUS_SUCCESS);
    CHECK(information.DpcTimeLimit == 0);
    PASS;
}

TEST(KeSetTimer)
{
    KTIMER timer;
    COUNTER counter;
    make(&counter);
    KeInitializeTimer(&timer);
    CHECK(!KeReadStateTimer(&timer));
    CHECK(!KeCancelTimer(&timer));
    ULONGLONG before = KeQueryUnbiasedInterruptTime();
    CHECK(!KeSetTimer(&timer, milliseconds(10), &counter.dpc));
    CHECK(wait_for(&timer) == STATUS_SUCCESS);
    CHECK(KeQueryUnbiasedInterruptTime() - before >= 100000);
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    CHECK(counter.level == DISPATCH_LEVEL);
    CHECK(KeReadStateTimer(&timer));
    CHECK(poll(&timer) == STATUS_SUCCESS);
    CHECK(!KeSetTimer(&timer, milliseconds(1000000), &counter.dpc));
    CHECK(!KeReadStateTimer(&timer));
    CHECK(KeSetTimer(&timer, milliseconds(1000000), &counter.dpc));
    CHECK(KeCancelTimer(&timer));
    CHECK(!KeCancelTimer(&timer));
    CHECK(poll(&timer) == STATUS_TIMEOUT);
    KeFlushQueuedDpcs();
    CHECK(counter.count == 1);
    PASS;
}
SAME(KeInitializeTimer, KeSetTimer)
SAME(KeReadStateTimer, KeSetTimer)
SAME(KeCancelTimer, KeSetTimer)

TEST(KeSetTimerEx)
{
    KTIMER timer;
    COUNTER counter;
    make(&counter);
    KeInitializeTimerEx(&timer, SynchronizationTimer);
    KeSetTimerEx(&timer, milliseconds(1), 2, &counter.dpc);
    for (int i = 0; i < 5; i++)
        CHECK(wait_for(&timer) == STATUS_SUCCESS);
    CHECK(KeCancelTimer(&timer));
    KeFlushQueuedDpcs();
    LONG seen = counter.count;
    CHECK(seen >= 1);
    LARGE_INTEGER moment = milliseconds(8);
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    CHECK(counter.count == seen);
    PASS;
}
SAME(KeInitializeTimerEx, KeSetTimerEx)

TEST(KeSetCoalescableTimer)
{
    KTIMER timer;
    LARGE_INTEGER past = {.QuadPart = 0};
    KeInitializeTimerEx(&timer, NotificationTimer);
    CHECK(!import_KeSetCoalescableTimer(&timer, milliseconds(1), 3, 2, NULL));
    CHECK(wait_for(&timer) == STATUS_SUCCESS);
    CHECK(import_KeSetCoalescableTimer(&timer, past, 0, 0, NULL));
    CHECK(KeReadStateTimer(&timer));
    CHECK(!KeCancelTimer(&timer));
    PASS;
}

TEST(a_timer_may_be_set_from_its_own_dpc_and_be_due_at_a_time_of_day)
{
    KTIMER timer;
    COUNTER counter;
    LARGE_INTEGER due;
    make(&counter);
    KeInitializeTimer(&timer);
    RtlTimeFieldsToTime(&(TIME_FIELDS){2001, 1, 1, 0, 0, 0, 0, 0}, &due);
    KeSetTimer(&timer, due, &counter.dpc);
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    CHECK(poll(&timer) == STATUS_SUCCESS);
    PASS;
}

TEST(ExSetTimerResolution)
{
    ULONG maximum = 0, minimum = 0, current = 0;
    CHECK(import_ExSetTimerResolution(10000, TRUE) != 0);
    CHECK(import_ExSetTimerResolution(0, FALSE) != 0);
    find_ExQueryTimerResolution()(&maximum, &minimum, &current);
    CHECK(maximum >= current && current >= minimum && minimum > 0);
    PASS;
}
SAME(ExQueryTimerResolution, ExSetTimerResolution)

static VOID NTAPI ex_expired(PVOID timer, PVOID context)
{
    COUNTER *counter = context;
    counter->context = timer;
    counter->level = import_KeGetCurrentIrql();
    InterlockedIncrement(&counter->count);
    KeSetEvent(&counter->ran, 0, FALSE);
}

static VOID NTAPI ex_deleted(PVOID context)
{
    COUNTER *counter = context;
    KeSetEvent(&counter->hold, 0, FALSE);
}

TEST(ExAllocateTimer)
{
    struct {
        ULONG version, reserved;
        VOID (NTAPI *callback)(PVOID);
        PVOID context;
    } parameters = {0, 0, ex_deleted, NULL};
    COUNTER counter;
    make(&counter);
    KeInitializeEvent(&counter.hold, NotificationEvent, FALSE);
    parameters.context = &counter;
    PVOID timer = find_ExAllocateTimer()(ex_expired, &counter, 4);
    CHECK(timer != NULL);
    CHECK(!find_ExSetTimer()(timer, -10000, 0, NULL));
    CHECK(wait_for(timer) == STATUS_SUCCESS);
    CHECK(poll(timer) == STATUS_TIMEOUT);
    CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    CHECK(counter.context == timer);
    CHECK(counter.level == DISPATCH_LEVEL);
    CHECK(!find_ExCancelTimer()(timer, NULL));
    find_ExSetTimer()(timer, -10000, 20000, NULL);
    for (int i = 0; i < 3; i++)
        CHECK(wait_for(&counter.ran) == STATUS_SUCCESS);
    CHECK(find_ExCancelTimer()(timer, NULL));
    CHECK(!find_ExSetTimer()(timer, -10000000000LL, 0, NULL));
    CHECK(find_ExDeleteTimer()(timer, TRUE, TRUE, &parameters));
    CHECK(wait_for(&counter.hold) == STATUS_SUCCESS);
    PVOID silent = find_ExAllocateTimer()(NULL, NULL, 1ul << 31);
    find_ExSetTimer()(silent, -10000, 0, NULL);
    CHECK(wait_for(silent) == STATUS_SUCCESS);
    CHECK(poll(silent) == STATUS_SUCCESS);
    CHECK(!find_ExDeleteTimer()(silent, TRUE, FALSE, NULL));
    PASS;
}
SAME(ExSetTimer, ExAllocateTimer)
SAME(ExCancelTimer, ExAllocateTimer)
SAME(ExDeleteTimer, ExAllocateTimer)
