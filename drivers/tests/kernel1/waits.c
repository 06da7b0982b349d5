/* Events, mutexes, semaphores, and waiting for them. */
#include "kernel1.h"

#undef KeWaitForMutexObject
#undef KeQuerySystemTime
FIND(VOID, KeQuerySystemTime, (PLARGE_INTEGER))

IMPORT(VOID, KeInitializeMutant, (PKMUTANT, BOOLEAN))
IMPORT(LONG, KeReleaseMutant, (PKMUTANT, LONG, BOOLEAN, BOOLEAN))
IMPORT(LONG, KeReadStateMutant, (PKMUTANT))
IMPORT(NTSTATUS, KeWaitForMutexObject, (PKMUTEX, KWAIT_REASON, KPROCESSOR_MODE, BOOLEAN, PLARGE_INTEGER))
IMPORT(BOOLEAN, KeAlertThread, (PKTHREAD, KPROCESSOR_MODE))
IMPORT(BOOLEAN, KeTestAlertThread, (KPROCESSOR_MODE))

TEST(KeInitializeEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    CHECK(KeReadStateEvent(&event) != 0);
    CHECK(poll(&event) == STATUS_SUCCESS);
    CHECK(poll(&event) == STATUS_SUCCESS);
    KeClearEvent(&event);
    CHECK(KeReadStateEvent(&event) == 0);
    CHECK(poll(&event) == STATUS_TIMEOUT);
    CHECK(KeSetEvent(&event, IO_NO_INCREMENT, FALSE) == 0);
    CHECK(KeSetEvent(&event, IO_NO_INCREMENT, FALSE) != 0);
    CHECK(KeResetEvent(&event) != 0);
    CHECK(KeResetEvent(&event) == 0);
    KeInitializeEvent(&event, SynchronizationEvent, FALSE);
    CHECK(poll(&event) == STATUS_TIMEOUT);
    KeSetEvent(&event, 0, FALSE);
    CHECK(poll(&event) == STATUS_SUCCESS);
    CHECK(poll(&event) == STATUS_TIMEOUT);
    PASS;
}
SAME(KeReadStateEvent, KeInitializeEvent)
SAME(KeClearEvent, KeInitializeEvent)
SAME(KeSetEvent, KeInitializeEvent)
SAME(KeResetEvent, KeInitializeEvent)

TEST(a_zeroed_event_is_one)
{
    KEVENT event;
    RtlZeroMemory(&event, sizeof event);
    CHECK(poll(&event) == STATUS_TIMEOUT);
    KeSetEvent(&event, 0, FALSE);
    CHECK(poll(&event) == STATUS_SUCCESS);
    PASS;
}

typedef struct {
    KEVENT ready, event;
    KEVENT answered;
    volatile LONG released;
    NTSTATUS status;
} PAIR;

static void wait_once(void *context)
{
    PAIR *pair = context;
    KeSetEvent(&pair->ready, 0, FALSE);
    if (wait_for(&pair->event) == STATUS_SUCCESS)
        InterlockedIncrement(&pair->released);
}

static void initialize(PAIR *pair, EVENT_TYPE type)
{
    KeInitializeEvent(&pair->ready, SynchronizationEvent, FALSE);
    KeInitializeEvent(&pair->event, type, FALSE);
    KeInitializeEvent(&pair->answered, NotificationEvent, FALSE);
    pair->released = 0;
}

/* Pulses until a thread, which says when it is about to wait, was let go: it may not wait yet when it says so. */
TEST(KePulseEvent)
{
    PAIR pair;
    SIDE side;
    initialize(&pair, NotificationEvent);
    CHECK(start(&side, wait_once, &pair));
    CHECK(wait_for(&pair.ready) == STATUS_SUCCESS);
    while (poll(&side.ended) == STATUS_TIMEOUT) {
        KePulseEvent(&pair.event, 0, FALSE);
        CHECK(KeReadStateEvent(&pair.event) == 0);
    }
    CHECK(pair.released == 1);
    PASS;
}

TEST(a_notification_event_lets_every_thread_go)
{
    PAIR pair;
    SIDE sides[3];
    initialize(&pair, NotificationEvent);
    for (int i = 0; i < 3; i++) {
        CHECK(start(&sides[i], wait_once, &pair));
        CHECK(wait_for(&pair.ready) == STATUS_SUCCESS);
    }
    KeSetEvent(&pair.event, 0, FALSE);
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    CHECK(pair.released == 3);
    PASS;
}

TEST(a_synchronization_event_lets_one_thread_go_at_a_time)
{
    PAIR pair;
    SIDE sides[3];
    initialize(&pair, SynchronizationEvent);
    for (int i = 0; i < 3; i++) {
        CHECK(start(&sides[i], wait_once, &pair));
        CHECK(wait_for(&pair.ready) == STATUS_SUCCESS);
    }
    for (int i = 1; i <= 3; i++) {
        KeSetEvent(&pair.event, 0, FALSE);
        while (pair.released < i)
            YieldProcessor();
        CHECK(pair.released == i);
    }
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    CHECK(poll(&pair.event) == STATUS_TIMEOUT);
    PASS;
}

static void answer_many(void *context)
{
    PAIR *pair = context;
    for (int i = 0; i < 2000; i++) {
        if (wait_for(&pair->event) != STATUS_SUCCESS)
            return;
        pair->released++;
        KeSetEvent(&pair->ready, 0, FALSE);
    }
}

TEST(two_threads_hand_a_ball_to_and_fro)
{
    PAIR pair;
    SIDE side;
    initialize(&pair, SynchronizationEvent);
    CHECK(start(&side, answer_many, &pair));
    for (int i = 0; i < 2000; i++) {
        KeSetEvent(&pair.event, 0, FALSE);
        CHECK(wait_for(&pair.ready) == STATUS_SUCCESS);
        CHECK(pair.released == i + 1);
    }
    CHECK(join(&side));
    PASS;
}

TEST(KeInitializeSemaphore)
{
    KSEMAPHORE semaphore;
    KeInitializeSemaphore(&semaphore, 1, 3);
    CHECK(KeReadStateSemaphore(&semaphore) == 1);
    CHECK(poll(&semaphore) == STATUS_SUCCESS);
    CHECK(poll(&semaphore) == STATUS_TIMEOUT);
    CHECK(KeReleaseSemaphore(&semaphore, 0, 2, FALSE) == 0);
    CHECK(KeReleaseSemaphore(&semaphore, 0, 1, FALSE) == 2);
    CHECK(KeReadStateSemaphore(&semaphore) == 3);
    CHECK(poll(&semaphore) == STATUS_SUCCESS);
    CHECK(poll(&semaphore) == STATUS_SUCCESS);
    CHECK(poll(&semaphore) == STATUS_SUCCESS);
    CHECK(poll(&semaphore) == STATUS_TIMEOUT);
    PASS;
}
SAME(KeReadStateSemaphore, KeInitializeSemaphore)
SAME(KeReleaseSemaphore, KeInitializeSemaphore)

static void take_ten(void *context)
{
    for (int i = 0; i < 10; i++)
        if (wait_for(context) != STATUS_SUCCESS)
            return;
}

TEST(a_semaphore_lets_as_many_go_as_it_counts)
{
    KSEMAPHORE semaphore;
    SIDE sides[2];
    KeInitializeSemaphore(&semaphore, 0, 20);
    for (int i = 0; i < 2; i++)
        CHECK(start(&sides[i], take_ten, &semaphore));
    for (int i = 0; i < 20; i++)
        KeReleaseSemaphore(&semaphore, 0, 1, FALSE);
    for (int i = 0; i < 2; i++)
        CHECK(join(&sides[i]));
    CHECK(KeReadStateSemaphore(&semaphore) == 0);
    PASS;
}

static void try_mutex(void *context)
{
    PAIR *pair = context;
    LARGE_INTEGER now = {.QuadPart = 0};
    KMUTEX *mutex = (KMUTEX *)(pair + 1);
    pair->status = import_KeWaitForMutexObject(mutex, Executive, KernelMode, FALSE, &now);
    if (pair->status == STATUS_SUCCESS)
        KeReleaseMutex(mutex, FALSE);
}

TEST(KeInitializeMutex)
{
    struct {
        PAIR pair;
        KMUTEX mutex;
    } both;
    SIDE side;
    KeInitializeMutex(&both.mutex, 0);
    CHECK(KeReadStateMutex(&both.mutex) == 1);
    CHECK(wait_for(&both.mutex) == STATUS_SUCCESS);
    CHECK(KeAreApcsDisabled());
    CHECK(KeReadStateMutex(&both.mutex) == 0);
    CHECK(wait_for(&both.mutex) == STATUS_SUCCESS);
    CHECK(start(&side, try_mutex, &both.pair));
    CHECK(join(&side));
    CHECK(both.pair.status == STATUS_TIMEOUT);
    CHECK(KeReleaseMutex(&both.mutex, FALSE) != 0);
    CHECK(KeReadStateMutex(&both.mutex) == 0);
    CHECK(KeReleaseMutex(&both.mutex, FALSE) == 0);
    CHECK(!KeAreApcsDisabled());
    CHECK(KeReadStateMutex(&both.mutex) == 1);
    CHECK(start(&side, try_mutex, &both.pair));
    CHECK(join(&side));
    CHECK(both.pair.status == STATUS_SUCCESS);
    PASS;
}
SAME(KeReadStateMutex, KeInitializeMutex)
SAME(KeReleaseMutex, KeInitializeMutex)
SAME(KeWaitForMutexObject, KeInitializeMutex)

TEST(KeInitializeMutant)
{
    KMUTANT mutant;
    import_KeInitializeMutant(&mutant, TRUE);
    CHECK(import_KeReadStateMutant(&mutant) == 0);
    CHECK(!KeAreApcsDisabled());
    CHECK(import_KeReleaseMutant(&mutant, 0, FALSE, FALSE) == 0);
    CHECK(import_KeReadStateMutant(&mutant) == 1);
    PASS;
}
SAME(KeReadStateMutant, KeInitializeMutant)
SAME(KeReleaseMutant, KeInitializeMutant)

typedef struct {
    KMUTEX mutex;
    volatile LONG count;
} COUNTED;

static void count_under_mutex(void *context)
{
    COUNTED *counted = context;
    for (int i = 0; i < 2000; i++) {
        if (wait_for(&counted->mutex) != STATUS_SUCCESS)
            return;
        counted->count = counted->count + 1;
        KeReleaseMutex(&counted->mutex, FALSE);
    }
}

TEST(a_mutex_excludes_other_threads)
{
    COUNTED counted;
    SIDE sides[3];
    counted.count = 0;
    KeInitializeMutex(&counted.mutex, 0);
    for (int i = 0; i < 3; i++)
        CHECK(start(&sides[i], count_under_mutex, &counted));
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    CHECK(counted.count == 6000);
    PASS;
}

TEST(KeWaitForMultipleObjects)
{
    KEVENT first, second;
    KSEMAPHORE semaphore;
    PVOID objects[3] = {&first, &second, &semaphore};
    KWAIT_BLOCK blocks[3];
    LARGE_INTEGER now = {.QuadPart = 0}, soon = milliseconds(5);
    KeInitializeEvent(&first, SynchronizationEvent, FALSE);
    KeInitializeEvent(&second, NotificationEvent, FALSE);
    KeInitializeSemaphore(&semaphore, 0, 5);
    CHECK(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, &now, NULL) == STATUS_TIMEOUT);
    KeReleaseSemaphore(&semaphore, 0, 2, FALSE);
    CHECK(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, &now, NULL) == STATUS_WAIT_2);
    KeSetEvent(&second, 0, FALSE);
    CHECK(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, &now, NULL) == STATUS_WAIT_1);
    CHECK(KeWaitForMultipleObjects(3, objects, WaitAll, Executive, KernelMode, FALSE, &soon, blocks) == STATUS_TIMEOUT);
    CHECK(KeReadStateSemaphore(&semaphore) == 1);
    KeSetEvent(&first, 0, FALSE);
    CHECK(KeWaitForMultipleObjects(3, objects, WaitAll, Executive, KernelMode, FALSE, watchdog(), blocks) == STATUS_SUCCESS);
    CHECK(KeReadStateEvent(&first) == 0);
    CHECK(KeReadStateEvent(&second) != 0);
    CHECK(KeReadStateSemaphore(&semaphore) == 0);
    PASS;
}

typedef struct {
    KEVENT ready, a, b;
    NTSTATUS status;
} TWO;

static void wait_all(void *context)
{
    TWO *two = context;
    PVOID objects[2] = {&two->a, &two->b};
    KeSetEvent(&two->ready, 0, FALSE);
    two->status = KeWaitForMultipleObjects(2, objects, WaitAll, Executive, KernelMode, FALSE, watchdog(), NULL);
}

static void wait_any(void *context)
{
    TWO *two = context;
    PVOID objects[2] = {&two->a, &two->b};
    KeSetEvent(&two->ready, 0, FALSE);
    two->status = KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, watchdog(), NULL);
}

TEST(a_blocked_wait_for_all_takes_nothing_before_all_are_there)
{
    TWO two;
    SIDE side;
    LARGE_INTEGER moment = milliseconds(2);
    KeInitializeEvent(&two.ready, NotificationEvent, FALSE);
    KeInitializeEvent(&two.a, SynchronizationEvent, FALSE);
    KeInitializeEvent(&two.b, SynchronizationEvent, FALSE);
    CHECK(start(&side, wait_all, &two));
    CHECK(wait_for(&two.ready) == STATUS_SUCCESS);
    KeSetEvent(&two.a, 0, FALSE);
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    CHECK(KeReadStateEvent(&two.a) != 0);
    KeSetEvent(&two.b, 0, FALSE);
    CHECK(join(&side));
    CHECK(two.status == STATUS_SUCCESS);
    CHECK(KeReadStateEvent(&two.a) == 0);
    CHECK(KeReadStateEvent(&two.b) == 0);
    PASS;
}

TEST(a_blocked_wait_for_any_says_which)
{
    TWO two;
    SIDE side;
    KeInitializeEvent(&two.ready, NotificationEvent, FALSE);
    KeInitializeEvent(&two.a, SynchronizationEvent, FALSE);
    KeInitializeEvent(&two.b, SynchronizationEvent, FALSE);
    CHECK(start(&side, wait_any, &two));
    CHECK(wait_for(&two.ready) == STATUS_SUCCESS);
    KeSetEvent(&two.b, 0, FALSE);
    CHECK(join(&side));
    CHECK(two.status == STATUS_WAIT_1);
    CHECK(KeReadStateEvent(&two.b) == 0);
    PASS;
}

TEST(KeWaitForSingleObject)
{
    KEVENT event;
    LARGE_INTEGER relative = milliseconds(10), absolute;
    ULONGLONG before, after;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    before = KeQueryUnbiasedInterruptTime();
    CHECK(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &relative) == STATUS_TIMEOUT);
    after = KeQueryUnbiasedInterruptTime();
    CHECK(after - before >= 100000);
    find_KeQuerySystemTime()(&absolute);
    absolute.QuadPart += 100000;
    CHECK(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &absolute) == STATUS_TIMEOUT);
    CHECK(KeQueryUnbiasedInterruptTime() - after >= 90000);
    absolute.QuadPart = 1;
    CHECK(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &absolute) == STATUS_TIMEOUT);
    import_KfRaiseIrql(DISPATCH_LEVEL);
    CHECK(poll(&event) == STATUS_TIMEOUT);
    KeSetEvent(&event, 0, FALSE);
    CHECK(poll(&event) == STATUS_SUCCESS);
    import_KeLowerIrql(PASSIVE_LEVEL);
    CHECK(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL) == STATUS_SUCCESS);
    PASS;
}

TEST(KeDelayExecutionThread)
{
    LARGE_INTEGER interval = milliseconds(10), none = {.QuadPart = 0};
    ULONGLONG before = KeQueryUnbiasedInterruptTime();
    CHECK(KeDelayExecutionThread(KernelMode, FALSE, &interval) == STATUS_SUCCESS);
    CHECK(KeQueryUnbiasedInterruptTime() - before >= 100000);
    CHECK(KeDelayExecutionThread(KernelMode, FALSE, &none) == STATUS_SUCCESS);
    PASS;
}

typedef struct {
    KEVENT ready, never;
    PKTHREAD thread;
    NTSTATUS wait, delay, deaf;
} ALERTED;

static void be_alerted(void *context)
{
    ALERTED *alerted = context;
    LARGE_INTEGER moment = milliseconds(1);
    alerted->thread = import_KeGetCurrentThread();
    KeSetEvent(&alerted->ready, 0, FALSE);
    alerted->wait = KeWaitForSingleObject(&alerted->never, Executive, KernelMode, TRUE, watchdog());
    import_KeAlertThread(import_KeGetCurrentThread(), KernelMode);
    alerted->deaf = KeWaitForSingleObject(&alerted->never, Executive, KernelMode, FALSE, &moment);
    alerted->delay = KeDelayExecutionThread(KernelMode, TRUE, watchdog());
}

TEST(KeAlertThread)
{
    ALERTED alerted;
    SIDE side;
    KeInitializeEvent(&alerted.ready, NotificationEvent, FALSE);
    KeInitializeEvent(&alerted.never, NotificationEvent, FALSE);
    CHECK(start(&side, be_alerted, &alerted));
    CHECK(wait_for(&alerted.ready) == STATUS_SUCCESS);
    import_KeAlertThread(alerted.thread, KernelMode);
    CHECK(join(&side));
    CHECK(alerted.wait == STATUS_ALERTED);
    CHECK(alerted.deaf == STATUS_TIMEOUT);
    CHECK(alerted.delay == STATUS_ALERTED);
    CHECK(!import_KeTestAlertThread(KernelMode));
    CHECK(!import_KeAlertThread(import_KeGetCurrentThread(), KernelMode));
    CHECK(import_KeAlertThread(import_KeGetCurrentThread(), KernelMode));
    CHECK(import_KeTestAlertThread(KernelMode));
    CHECK(!import_KeTestAlertThread(KernelMode));
    PASS;
}
SAME(KeTestAlertThread, KeAlertThread)
