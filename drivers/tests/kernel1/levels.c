/* Levels, regions, spin locks of every kind. */
#include "kernel1.h"

IMPORT(KIRQL, KeRaiseIrqlToDpcLevel, (void))
FIND(VOID, KeRaiseIrql, (KIRQL, PKIRQL))
FIND(VOID, KfLowerIrql, (KIRQL))
FIND(KIRQL, KeRaiseIrqlToSynchLevel, (void))
FIND(VOID, KeInitializeSpinLock, (PKSPIN_LOCK))
IMPORT(KIRQL, KeAcquireSpinLockRaiseToSynch, (PKSPIN_LOCK))
IMPORT(BOOLEAN, KeTestSpinLock, (PKSPIN_LOCK))
IMPORT(BOOLEAN, KeTryToAcquireSpinLockAtDpcLevel, (PKSPIN_LOCK))
IMPORT(KIRQL, KeAcquireSpinLockForDpc, (PKSPIN_LOCK))
IMPORT(VOID, KeReleaseSpinLockForDpc, (PKSPIN_LOCK, KIRQL))
IMPORT(VOID, KeAcquireInStackQueuedSpinLockForDpc, (PKSPIN_LOCK, PKLOCK_QUEUE_HANDLE))
IMPORT(VOID, KeReleaseInStackQueuedSpinLockForDpc, (PKLOCK_QUEUE_HANDLE))
IMPORT(VOID, KeAcquireInStackQueuedSpinLockRaiseToSynch, (PKSPIN_LOCK, PKLOCK_QUEUE_HANDLE))
IMPORT(KIRQL, ExAcquireSpinLockExclusive, (volatile LONG *))
IMPORT(VOID, ExReleaseSpinLockExclusive, (volatile LONG *, KIRQL))
IMPORT(VOID, ExAcquireSpinLockExclusiveAtDpcLevel, (volatile LONG *))
IMPORT(VOID, ExReleaseSpinLockExclusiveFromDpcLevel, (volatile LONG *))
IMPORT(KIRQL, ExAcquireSpinLockShared, (volatile LONG *))
IMPORT(VOID, ExReleaseSpinLockShared, (volatile LONG *, KIRQL))
IMPORT(VOID, ExAcquireSpinLockSharedAtDpcLevel, (volatile LONG *))
IMPORT(VOID, ExReleaseSpinLockSharedFromDpcLevel, (volatile LONG *))
IMPORT(LONG, ExTryConvertSharedSpinLockExclusive, (volatile LONG *))
FIND(LONG, ExTryAcquireSpinLockExclusiveAtDpcLevel, (volatile LONG *))
FIND(LONG, ExTryAcquireSpinLockSharedAtDpcLevel, (volatile LONG *))

TEST(KeGetCurrentIrql)
{
    KIRQL old;
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    old = import_KfRaiseIrql(DISPATCH_LEVEL);
    CHECK(old == PASSIVE_LEVEL);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    CHECK(import_KfRaiseIrql(HIGH_LEVEL) == DISPATCH_LEVEL);
    CHECK(import_KeGetCurrentIrql() == HIGH_LEVEL);
    import_KeLowerIrql(APC_LEVEL);
    CHECK(import_KeGetCurrentIrql() == APC_LEVEL);
    find_KfLowerIrql()(PASSIVE_LEVEL);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    PASS;
}
SAME(KfRaiseIrql, KeGetCurrentIrql)
SAME(KeLowerIrql, KeGetCurrentIrql)
SAME(KfLowerIrql, KeGetCurrentIrql)

TEST(KeRaiseIrqlToDpcLevel)
{
    KIRQL old = 77;
    find_KeRaiseIrql()(APC_LEVEL, &old);
    CHECK(old == PASSIVE_LEVEL);
    CHECK(import_KeRaiseIrqlToDpcLevel() == APC_LEVEL);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    CHECK(find_KeRaiseIrqlToSynchLevel()() == DISPATCH_LEVEL);
    CHECK(import_KeGetCurrentIrql() > DISPATCH_LEVEL);
    import_KeLowerIrql(PASSIVE_LEVEL);
    PASS;
}
SAME(KeRaiseIrql, KeRaiseIrqlToDpcLevel)
SAME(KeRaiseIrqlToSynchLevel, KeRaiseIrqlToDpcLevel)

TEST(KeAreApcsDisabled)
{
    CHECK(!KeAreApcsDisabled());
    CHECK(!KeAreAllApcsDisabled());
    KeEnterCriticalRegion();
    KeEnterCriticalRegion();
    KeLeaveCriticalRegion();
    CHECK(KeAreApcsDisabled());
    CHECK(!KeAreAllApcsDisabled());
    KeLeaveCriticalRegion();
    CHECK(!KeAreApcsDisabled());
    KeEnterGuardedRegion();
    CHECK(KeAreApcsDisabled());
    CHECK(KeAreAllApcsDisabled());
    KeLeaveGuardedRegion();
    CHECK(!KeAreAllApcsDisabled());
    import_KfRaiseIrql(APC_LEVEL);
    CHECK(KeAreAllApcsDisabled());
    import_KeLowerIrql(PASSIVE_LEVEL);
    PASS;
}
SAME(KeAreAllApcsDisabled, KeAreApcsDisabled)
SAME(KeEnterCriticalRegion, KeAreApcsDisabled)
SAME(KeLeaveCriticalRegion, KeAreApcsDisabled)
SAME(KeEnterGuardedRegion, KeAreApcsDisabled)
SAME(KeLeaveGuardedRegion, KeAreApcsDisabled)

TEST(KeAcquireSpinLockRaiseToDpc)
{
    KSPIN_LOCK lock = 1;
    KIRQL old;
    find_KeInitializeSpinLock()(&lock);
    CHECK(import_KeTestSpinLock(&lock));
    KeAcquireSpinLock(&lock, &old);
    CHECK(old == PASSIVE_LEVEL);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    CHECK(!import_KeTestSpinLock(&lock));
    CHECK(!import_KeTryToAcquireSpinLockAtDpcLevel(&lock));
    KeReleaseSpinLock(&lock, old);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(import_KeTestSpinLock(&lock));
    CHECK(lock == 0);
    old = import_KeAcquireSpinLockRaiseToSynch(&lock);
    CHECK(import_KeGetCurrentIrql() > DISPATCH_LEVEL);
    KeReleaseSpinLock(&lock, old);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    PASS;
}
SAME(KeInitializeSpinLock, KeAcquireSpinLockRaiseToDpc)
SAME(KeTestSpinLock, KeAcquireSpinLockRaiseToDpc)
SAME(KeReleaseSpinLock, KeAcquireSpinLockRaiseToDpc)
SAME(KeAcquireSpinLockRaiseToSynch, KeAcquireSpinLockRaiseToDpc)

TEST(KeAcquireSpinLockAtDpcLevel)
{
    KSPIN_LOCK lock = 0;
    KIRQL old = import_KfRaiseIrql(DISPATCH_LEVEL), before;
    KeAcquireSpinLockAtDpcLevel(&lock);
    CHECK(!import_KeTestSpinLock(&lock));
    KeReleaseSpinLockFromDpcLevel(&lock);
    CHECK(import_KeTryToAcquireSpinLockAtDpcLevel(&lock));
    KeReleaseSpinLockFromDpcLevel(&lock);
    before = import_KeAcquireSpinLockForDpc(&lock);
    CHECK(before == DISPATCH_LEVEL);
    import_KeReleaseSpinLockForDpc(&lock, before);
    CHECK(import_KeTestSpinLock(&lock));
    import_KeLowerIrql(old);
    PASS;
}
SAME(KeReleaseSpinLockFromDpcLevel, KeAcquireSpinLockAtDpcLevel)
SAME(KeTryToAcquireSpinLockAtDpcLevel, KeAcquireSpinLockAtDpcLevel)
SAME(KeAcquireSpinLockForDpc, KeAcquireSpinLockAtDpcLevel)
SAME(KeReleaseSpinLockForDpc, KeAcquireSpinLockAtDpcLevel)

TEST(KeAcquireInStackQueuedSpinLock)
{
    KSPIN_LOCK lock = 0;
    KLOCK_QUEUE_HANDLE handle;
    KIRQL old;
    KeAcquireInStackQueuedSpinLock(&lock, &handle);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    CHECK(!import_KeTestSpinLock(&lock));
    KeReleaseInStackQueuedSpinLock(&handle);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(import_KeTestSpinLock(&lock));
    import_KeAcquireInStackQueuedSpinLockRaiseToSynch(&lock, &handle);
    CHECK(import_KeGetCurrentIrql() > DISPATCH_LEVEL);
    KeReleaseInStackQueuedSpinLock(&handle);
    old = import_KfRaiseIrql(DISPATCH_LEVEL);
    KeAcquireInStackQueuedSpinLockAtDpcLevel(&lock, &handle);
    CHECK(!import_KeTestSpinLock(&lock));
    KeReleaseInStackQueuedSpinLockFromDpcLevel(&handle);
    CHECK(import_KeTestSpinLock(&lock));
    import_KeAcquireInStackQueuedSpinLockForDpc(&lock, &handle);
    CHECK(!import_KeTestSpinLock(&lock));
    import_KeReleaseInStackQueuedSpinLockForDpc(&handle);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    import_KeLowerIrql(old);
    PASS;
}
SAME(KeReleaseInStackQueuedSpinLock, KeAcquireInStackQueuedSpinLock)
SAME(KeAcquireInStackQueuedSpinLockRaiseToSynch, KeAcquireInStackQueuedSpinLock)
SAME(KeAcquireInStackQueuedSpinLockAtDpcLevel, KeAcquireInStackQueuedSpinLock)
SAME(KeReleaseInStackQueuedSpinLockFromDpcLevel, KeAcquireInStackQueuedSpinLock)
SAME(KeAcquireInStackQueuedSpinLockForDpc, KeAcquireInStackQueuedSpinLock)
SAME(KeReleaseInStackQueuedSpinLockForDpc, KeAcquireInStackQueuedSpinLock)

TEST(ExAcquireSpinLockExclusive)
{
    volatile LONG lock = 0;
    KIRQL old = import_ExAcquireSpinLockExclusive(&lock);
    CHECK(old == PASSIVE_LEVEL);
    CHECK(import_KeGetCurrentIrql() == DISPATCH_LEVEL);
    CHECK(!find_ExTryAcquireSpinLockSharedAtDpcLevel()(&lock));
    CHECK(!find_ExTryAcquireSpinLockExclusiveAtDpcLevel()(&lock));
    import_ExReleaseSpinLockExclusive(&lock, old);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(lock == 0);
    old = import_ExAcquireSpinLockShared(&lock);
    import_ExAcquireSpinLockSharedAtDpcLevel(&lock);
    CHECK(!import_ExTryConvertSharedSpinLockExclusive(&lock));
    import_ExReleaseSpinLockSharedFromDpcLevel(&lock);
    CHECK(import_ExTryConvertSharedSpinLockExclusive(&lock));
    CHECK(!find_ExTryAcquireSpinLockSharedAtDpcLevel()(&lock));
    import_ExReleaseSpinLockExclusiveFromDpcLevel(&lock);
    import_ExAcquireSpinLockExclusiveAtDpcLevel(&lock);
    import_ExReleaseSpinLockExclusiveFromDpcLevel(&lock);
    CHECK(find_ExTryAcquireSpinLockSharedAtDpcLevel()(&lock));
    CHECK(find_ExTryAcquireSpinLockSharedAtDpcLevel()(&lock));
    import_ExReleaseSpinLockSharedFromDpcLevel(&lock);
    import_ExReleaseSpinLockShared(&lock, old);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(lock == 0);
    import_KfRaiseIrql(DISPATCH_LEVEL);
    CHECK(find_ExTryAcquireSpinLockExclusiveAtDpcLevel()(&lock));
    import_ExReleaseSpinLockExclusive(&lock, PASSIVE_LEVEL);
    PASS;
}
SAME(ExReleaseSpinLockExclusive, ExAcquireSpinLockExclusive)
SAME(ExAcquireSpinLockExclusiveAtDpcLevel, ExAcquireSpinLockExclusive)
SAME(ExReleaseSpinLockExclusiveFromDpcLevel, ExAcquireSpinLockExclusive)
SAME(ExAcquireSpinLockShared, ExAcquireSpinLockExclusive)
SAME(ExReleaseSpinLockShared, ExAcquireSpinLockExclusive)
SAME(ExAcquireSpinLockSharedAtDpcLevel, ExAcquireSpinLockExclusive)
SAME(ExReleaseSpinLockSharedFromDpcLevel, ExAcquireSpinLockExclusive)
SAME(ExTryConvertSharedSpinLockExclusive, ExAcquireSpinLockExclusive)
SAME(ExTryAcquireSpinLockExclusiveAtDpcLevel, ExAcquireSpinLockExclusive)
SAME(ExTryAcquireSpinLockSharedAtDpcLevel, ExAcquireSpinLockExclusive)

typedef struct {
    KSPIN_LOCK lock;
    volatile LONG readers_and_writers;
    volatile LONG pair[2];
    volatile LONG torn;
} CONTENDED;

#define ROUNDS 20000

static void count_under_locks(void *context)
{
    CONTENDED *shared = context;
    for (int round = 0; round < ROUNDS; round++) {
        KLOCK_QUEUE_HANDLE handle;
        KIRQL old;
        KeAcquireInStackQueuedSpinLock(&shared->lock, &handle);
        shared->pair[0] = shared->pair[0] + 1;
        KeReleaseInStackQueuedSpinLock(&handle);
        old = import_ExAcquireSpinLockExclusive(&shared->readers_and_writers);
        shared->pair[1] = shared->pair[1] + 1;
        import_ExReleaseSpinLockExclusive(&shared->readers_and_writers, old);
        old = import_ExAcquireSpinLockShared(&shared->readers_and_writers);
        LONG first = shared->pair[1];
        if (first != shared->pair[1])
            shared->torn = 1;
        import_ExReleaseSpinLockShared(&shared->readers_and_writers, old);
    }
}

TEST(locks_exclude_each_other_s_threads)
{
    CONTENDED shared = {0};
    SIDE sides[3];
    for (int i = 0; i < 3; i++)
        CHECK(start(&sides[i], count_under_locks, &shared));
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    CHECK(shared.pair[0] == 3 * ROUNDS);
    CHECK(shared.pair[1] == 3 * ROUNDS);
    CHECK(!shared.torn);
    CHECK(shared.lock == 0);
    PASS;
}
