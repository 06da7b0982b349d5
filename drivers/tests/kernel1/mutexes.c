/* Fast and guarded mutexes, resources, rundown protection, remove locks. */
#include "kernel1.h"

FIND(VOID, ExInitializeFastMutex, (PFAST_MUTEX))
IMPORT(VOID, ExEnterCriticalRegionAndAcquireFastMutexUnsafe, (PFAST_MUTEX))
IMPORT(VOID, ExReleaseFastMutexUnsafeAndLeaveCriticalRegion, (PFAST_MUTEX))
FIND(BOOLEAN, ExTryToAcquireResourceExclusiveLite, (PERESOURCE))
IMPORT(PVOID, ExEnterCriticalRegionAndAcquireResourceExclusive, (PERESOURCE))
IMPORT(PVOID, ExEnterCriticalRegionAndAcquireResourceShared, (PERESOURCE))
IMPORT(PVOID, ExEnterCriticalRegionAndAcquireSharedWaitForExclusive, (PERESOURCE))
IMPORT(VOID, ExReleaseResourceAndLeaveCriticalRegion, (PERESOURCE))
IMPORT(VOID, ExSetResourceOwnerPointerEx, (PERESOURCE, PVOID, ULONG))
IMPORT(VOID, ExDisableResourceBoostLite, (PERESOURCE))

typedef struct {
    FAST_MUTEX fast;
    KGUARDED_MUTEX guarded;
    ERESOURCE resource;
    volatile LONG count[3];
    LONG answer;
} SHARED;

static void try_others(void *context)
{
    SHARED *shared = context;
    shared->answer = 0;
    if (ExTryToAcquireFastMutex(&shared->fast)) {
        ExReleaseFastMutex(&shared->fast);
        shared->answer |= 1;
    }
    if (KeTryToAcquireGuardedMutex(&shared->guarded)) {
        KeReleaseGuardedMutex(&shared->guarded);
        shared->answer |= 2;
    }
}

static int others_get(SHARED *shared)
{
    SIDE side;
    if (!start_work(&side, try_others, shared) || !join(&side))
        return -1;
    return shared->answer;
}

TEST(ExAcquireFastMutex)
{
    SHARED shared;
    ExInitializeFastMutex(&shared.fast);
    KeInitializeGuardedMutex(&shared.guarded);
    CHECK(others_get(&shared) == 3);
    ExAcquireFastMutex(&shared.fast);
    CHECK(import_KeGetCurrentIrql() == APC_LEVEL);
    CHECK(shared.fast.Owner == import_KeGetCurrentThread());
    CHECK(others_get(&shared) == 2);
    ExReleaseFastMutex(&shared.fast);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(shared.fast.Owner == NULL);
    CHECK(ExTryToAcquireFastMutex(&shared.fast));
    CHECK(import_KeGetCurrentIrql() == APC_LEVEL);
    CHECK(!ExTryToAcquireFastMutex(&shared.fast));
    CHECK(import_KeGetCurrentIrql() == APC_LEVEL);
    ExReleaseFastMutex(&shared.fast);
    find_ExInitializeFastMutex()(&shared.fast);
    KeEnterCriticalRegion();
    ExAcquireFastMutexUnsafe(&shared.fast);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(others_get(&shared) == 2);
    ExReleaseFastMutexUnsafe(&shared.fast);
    KeLeaveCriticalRegion();
    import_ExEnterCriticalRegionAndAcquireFastMutexUnsafe(&shared.fast);
    CHECK(KeAreApcsDisabled());
    CHECK(others_get(&shared) == 2);
    import_ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(&shared.fast);
    CHECK(!KeAreApcsDisabled());
    CHECK(others_get(&shared) == 3);
    PASS;
}
SAME(ExInitializeFastMutex, ExAcquireFastMutex)
SAME(ExReleaseFastMutex, ExAcquireFastMutex)
SAME(ExTryToAcquireFastMutex, ExAcquireFastMutex)
SAME(ExAcquireFastMutexUnsafe, ExAcquireFastMutex)
SAME(ExReleaseFastMutexUnsafe, ExAcquireFastMutex)
SAME(ExEnterCriticalRegionAndAcquireFastMutexUnsafe, ExAcquireFastMutex)
SAME(ExReleaseFastMutexUnsafeAndLeaveCriticalRegion, ExAcquireFastMutex)

TEST(KeAcquireGuardedMutex)
{
    SHARED shared;
    ExInitializeFastMutex(&shared.fast);
    KeInitializeGuardedMutex(&shared.guarded);
    KeAcquireGuardedMutex(&shared.guarded);
    CHECK(KeAreAllApcsDisabled());
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(others_get(&shared) == 1);
    KeReleaseGuardedMutex(&shared.guarded);
    CHECK(!KeAreAllApcsDisabled());
    CHECK(KeTryToAcquireGuardedMutex(&shared.guarded));
    CHECK(!KeTryToAcquireGuardedMutex(&shared.guarded));
    KeReleaseGuardedMutex(&shared.guarded);
    CHECK(!KeAreAllApcsDisabled());
    KeEnterGuardedRegion();
    KeAcquireGuardedMutexUnsafe(&shared.guarded);
    CHECK(others_get(&shared) == 1);
    KeReleaseGuardedMutexUnsafe(&shared.guarded);
    KeLeaveGuardedRegion();
    CHECK(others_get(&shared) == 3);
    PASS;
}
SAME(KeInitializeGuardedMutex, KeAcquireGuardedMutex)
SAME(KeReleaseGuardedMutex, KeAcquireGuardedMutex)
SAME(KeTryToAcquireGuardedMutex, KeAcquireGuardedMutex)
SAME(KeAcquireGuardedMutexUnsafe, KeAcquireGuardedMutex)
SAME(KeReleaseGuardedMutexUnsafe, KeAcquireGuardedMutex)

static void count_under_all(void *context)
{
    SHARED *shared = context;
    for (int i = 0; i < 3000; i++) {
        ExAcquireFastMutex(&shared->fast);
        shared->count[0] = shared->count[0] + 1;
        ExReleaseFastMutex(&shared->fast);
        KeAcquireGuardedMutex(&shared->guarded);
        shared->count[1] = shared->count[1] + 1;
        KeReleaseGuardedMutex(&shared->guarded);
        KeEnterCriticalRegion();
        ExAcquireResourceExclusiveLite(&shared->resource, TRUE);
        shared->count[2] = shared->count[2] + 1;
        ExReleaseResourceLite(&shared->resource);
        ExAcquireResourceSharedLite(&shared->resource, TRUE);
        ExReleaseResourceLite(&shared->resource);
        KeLeaveCriticalRegion();
    }
}

TEST(mutexes_and_resources_exclude_other_threads)
{
    SHARED shared;
    SIDE sides[3];
    shared.count[0] = shared.count[1] = shared.count[2] = 0;
    ExInitializeFastMutex(&shared.fast);
    KeInitializeGuardedMutex(&shared.guarded);
    ExInitializeResourceLite(&shared.resource);
    for (int i = 0; i < 3; i++)
        CHECK(start(&sides[i], count_under_all, &shared));
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    for (int i = 0; i < 3; i++)
        CHECK(shared.count[i] == 9000);
    ExDeleteResourceLite(&shared.resource);
    PASS;
}

/* What another thread could have: 1 alone, 2 together. */
static void try_resource(void *context)
{
    SHARED *shared = context;
    shared->answer = 0;
    KeEnterCriticalRegion();
    if (find_ExTryToAcquireResourceExclusiveLite()(&shared->resource)) {
        ExReleaseResourceLite(&shared->resource);
        shared->answer |= 1;
    }
    if (ExAcquireResourceSharedLite(&shared->resource, FALSE)) {
        ExReleaseResourceLite(&shared->resource);
        shared->answer |= 2;
    }
    KeLeaveCriticalRegion();
}

static int other_may_have(SHARED *shared)
{
    SIDE side;
    if (!start(&side, try_resource, shared) || !join(&side))
        return -1;
    return shared->answer;
}

TEST(ExInitializeResourceLite)
{
    SHARED shared;
    CHECK(ExInitializeResourceLite(&shared.resource) == STATUS_SUCCESS);
    import_ExDisableResourceBoostLite(&shared.resource);
    CHECK(other_may_have(&shared) == 3);
    KeEnterCriticalRegion();
    CHECK(ExAcquireResourceExclusiveLite(&shared.resource, TRUE));
    CHECK(ExAcquireResourceExclusiveLite(&shared.resource, FALSE));
    CHECK(ExIsResourceAcquiredExclusiveLite(&shared.resource));
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 2);
    CHECK(other_may_have(&shared) == 0);
    ExReleaseResourceLite(&shared.resource);
    CHECK(other_may_have(&shared) == 0);
    ExConvertExclusiveToSharedLite(&shared.resource);
    CHECK(!ExIsResourceAcquiredExclusiveLite(&shared.resource));
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 1);
    CHECK(other_may_have(&shared) == 2);
    CHECK(!ExAcquireResourceExclusiveLite(&shared.resource, FALSE));
    CHECK(ExAcquireSharedStarveExclusive(&shared.resource, TRUE));
    CHECK(ExAcquireSharedWaitForExclusive(&shared.resource, TRUE));
    CHECK(ExAcquireResourceSharedLite(&shared.resource, TRUE));
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 4);
    for (int i = 0; i < 4; i++)
        ExReleaseResourceForThreadLite(&shared.resource, ExGetCurrentResourceThread());
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 0);
    CHECK(ExGetExclusiveWaiterCount(&shared.resource) == 0);
    CHECK(ExGetSharedWaiterCount(&shared.resource) == 0);
    KeLeaveCriticalRegion();
    CHECK(other_may_have(&shared) == 3);
    CHECK(ExReinitializeResourceLite(&shared.resource) == STATUS_SUCCESS);
    CHECK(ExDeleteResourceLite(&shared.resource) == STATUS_SUCCESS);
    PASS;
}
#define RESOURCE(name) SAME(name, ExInitializeResourceLite)
RESOURCE(ExDisableResourceBoostLite)
RESOURCE(ExAcquireResourceExclusiveLite)
RESOURCE(ExTryToAcquireResourceExclusiveLite)
RESOURCE(ExIsResourceAcquiredExclusiveLite)
RESOURCE(ExIsResourceAcquiredSharedLite)
RESOURCE(ExReleaseResourceLite)
RESOURCE(ExConvertExclusiveToSharedLite)
RESOURCE(ExAcquireSharedStarveExclusive)
RESOURCE(ExAcquireSharedWaitForExclusive)
RESOURCE(ExAcquireResourceSharedLite)
RESOURCE(ExReleaseResourceForThreadLite)
RESOURCE(ExReinitializeResourceLite)
RESOURCE(ExDeleteResourceLite)

static void want_alone(void *context)
{
    SHARED *shared = context;
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&shared->resource, TRUE);
    shared->answer = 1;
    ExReleaseResourceLite(&shared->resource);
    KeLeaveCriticalRegion();
}

TEST(ExGetExclusiveWaiterCount)
{
    SHARED shared;
    SIDE side, others;
    shared.answer = 0;
    ExInitializeResourceLite(&shared.resource);
    KeEnterCriticalRegion();
    ExAcquireResourceSharedLite(&shared.resource, TRUE);
    CHECK(start(&side, want_alone, &shared));
    while (ExGetExclusiveWaiterCount(&shared.resource) == 0)
        YieldProcessor();
    CHECK(shared.answer == 0);
    /* Who has it already has it again; who does not waits behind the one that wants it alone. */
    CHECK(ExAcquireResourceSharedLite(&shared.resource, FALSE));
    CHECK(!ExAcquireSharedWaitForExclusive(&shared.resource, FALSE));
    CHECK(ExAcquireSharedStarveExclusive(&shared.resource, FALSE));
    CHECK(start(&others, try_resource, &shared) && join(&others));
    CHECK(shared.answer == 0);
    CHECK(ExGetSharedWaiterCount(&shared.resource) == 0);
    for (int i = 0; i < 3; i++)
        ExReleaseResourceLite(&shared.resource);
    KeLeaveCriticalRegion();
    CHECK(join(&side));
    CHECK(shared.answer == 1);
    ExDeleteResourceLite(&shared.resource);
    PASS;
}
SAME(ExGetSharedWaiterCount, ExGetExclusiveWaiterCount)

TEST(ExEnterCriticalRegionAndAcquireResourceExclusive)
{
    SHARED shared;
    ExInitializeResourceLite(&shared.resource);
    import_ExEnterCriticalRegionAndAcquireResourceExclusive(&shared.resource);
    CHECK(KeAreApcsDisabled());
    CHECK(ExIsResourceAcquiredExclusiveLite(&shared.resource));
    import_ExReleaseResourceAndLeaveCriticalRegion(&shared.resource);
    CHECK(!KeAreApcsDisabled());
    import_ExEnterCriticalRegionAndAcquireResourceShared(&shared.resource);
    import_ExEnterCriticalRegionAndAcquireSharedWaitForExclusive(&shared.resource);
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 2);
    import_ExReleaseResourceAndLeaveCriticalRegion(&shared.resource);
    import_ExReleaseResourceAndLeaveCriticalRegion(&shared.resource);
    CHECK(!KeAreApcsDisabled());
    ExDeleteResourceLite(&shared.resource);
    PASS;
}
SAME(ExEnterCriticalRegionAndAcquireResourceShared, ExEnterCriticalRegionAndAcquireResourceExclusive)
SAME(ExEnterCriticalRegionAndAcquireSharedWaitForExclusive, ExEnterCriticalRegionAndAcquireResourceExclusive)
SAME(ExReleaseResourceAndLeaveCriticalRegion, ExEnterCriticalRegionAndAcquireResourceExclusive)

static void release_for_pointer(void *context)
{
    SHARED *shared = context;
    ExReleaseResourceForThreadLite(&shared->resource, (ERESOURCE_THREAD)((ULONG_PTR)shared | 3));
}

TEST(ExSetResourceOwnerPointer)
{
    SHARED shared;
    SIDE side;
    PVOID owner = (PVOID)((ULONG_PTR)&shared | 3);
    ExInitializeResourceLite(&shared.resource);
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&shared.resource, TRUE);
    ExSetResourceOwnerPointer(&shared.resource, owner);
    CHECK(!ExIsResourceAcquiredExclusiveLite(&shared.resource));
    CHECK(start(&side, release_for_pointer, &shared) && join(&side));
    ExAcquireResourceSharedLite(&shared.resource, TRUE);
    import_ExSetResourceOwnerPointerEx(&shared.resource, owner, 0);
    CHECK(ExIsResourceAcquiredSharedLite(&shared.resource) == 0);
    CHECK(start(&side, release_for_pointer, &shared) && join(&side));
    KeLeaveCriticalRegion();
    CHECK(other_may_have(&shared) == 3);
    ExDeleteResourceLite(&shared.resource);
    PASS;
}
SAME(ExSetResourceOwnerPointerEx, ExSetResourceOwnerPointer)

typedef struct {
    EX_RUNDOWN_REF protection;
    PEX_RUNDOWN_REF_CACHE_AWARE cache_aware;
    volatile LONG over;
} RUNDOWN;

static void run_down(void *context)
{
    RUNDOWN *rundown = context;
    ExWaitForRundownProtectionRelease(&rundown->protection);
    rundown->over = 1;
    ExWaitForRundownProtectionReleaseCacheAware(rundown->cache_aware);
    rundown->over = 2;
}

TEST(ExAcquireRundownProtection)
{
    RUNDOWN rundown;
    SIDE side;
    LARGE_INTEGER moment = milliseconds(2);
    rundown.over = 0;
    ExInitializeRundownProtection(&rundown.protection);
    rundown.cache_aware = ExAllocateCacheAwareRundownProtection(NonPagedPool, TAG);
    CHECK(rundown.cache_aware != NULL);
    CHECK(ExAcquireRundownProtection(&rundown.protection));
    CHECK(ExAcquireRundownProtectionEx(&rundown.protection, 3));
    CHECK(ExAcquireRundownProtectionCacheAware(rundown.cache_aware));
    CHECK(ExAcquireRundownProtectionCacheAwareEx(rundown.cache_aware, 2));
    ExReleaseRundownProtectionEx(&rundown.protection, 2);
    CHECK(start(&side, run_down, &rundown));
    while (ExAcquireRundownProtection(&rundown.protection))
        ExReleaseRundownProtection(&rundown.protection);
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    CHECK(rundown.over == 0);
    ExReleaseRundownProtection(&rundown.protection);
    CHECK(rundown.over == 0);
    ExReleaseRundownProtection(&rundown.protection);
    while (ExAcquireRundownProtectionCacheAware(rundown.cache_aware))
        ExReleaseRundownProtectionCacheAware(rundown.cache_aware);
    CHECK(rundown.over == 1);
    ExReleaseRundownProtectionCacheAwareEx(rundown.cache_aware, 2);
    ExReleaseRundownProtectionCacheAware(rundown.cache_aware);
    CHECK(join(&side));
    CHECK(rundown.over == 2);
    ExRundownCompleted(&rundown.protection);
    ExRundownCompletedCacheAware(rundown.cache_aware);
    CHECK(!ExAcquireRundownProtection(&rundown.protection));
    CHECK(!ExAcquireRundownProtectionCacheAware(rundown.cache_aware));
    ExReInitializeRundownProtection(&rundown.protection);
    ExReInitializeRundownProtectionCacheAware(rundown.cache_aware);
    CHECK(ExAcquireRundownProtection(&rundown.protection));
    CHECK(ExAcquireRundownProtectionCacheAware(rundown.cache_aware));
    ExReleaseRundownProtection(&rundown.protection);
    ExReleaseRundownProtectionCacheAware(rundown.cache_aware);
    ExWaitForRundownProtectionRelease(&rundown.protection);
    ExFreeCacheAwareRundownProtection(rundown.cache_aware);
    PASS;
}
#define RUN_DOWN(name) SAME(name, ExAcquireRundownProtection)
RUN_DOWN(ExInitializeRundownProtection)
RUN_DOWN(ExAllocateCacheAwareRundownProtection)
RUN_DOWN(ExAcquireRundownProtectionEx)
RUN_DOWN(ExAcquireRundownProtectionCacheAware)
RUN_DOWN(ExAcquireRundownProtectionCacheAwareEx)
RUN_DOWN(ExReleaseRundownProtection)
RUN_DOWN(ExReleaseRundownProtectionEx)
RUN_DOWN(ExReleaseRundownProtectionCacheAware)
RUN_DOWN(ExReleaseRundownProtectionCacheAwareEx)
RUN_DOWN(ExWaitForRundownProtectionRelease)
RUN_DOWN(ExWaitForRundownProtectionReleaseCacheAware)
RUN_DOWN(ExRundownCompleted)
RUN_DOWN(ExRundownCompletedCacheAware)
RUN_DOWN(ExReInitializeRundownProtection)
RUN_DOWN(ExReInitializeRundownProtectionCacheAware)
RUN_DOWN(ExFreeCacheAwareRundownProtection)

TEST(ExInitializeRundownProtectionCacheAware)
{
    SIZE_T bytes = ExSizeOfRundownProtectionCacheAware();
    PEX_RUNDOWN_REF_CACHE_AWARE protection = ExAllocatePoolWithTag(NonPagedPool, bytes, TAG);
    CHECK(protection != NULL);
    ExInitializeRundownProtectionCacheAware(protection, bytes);
    CHECK(ExAcquireRundownProtectionCacheAware(protection));
    ExReleaseRundownProtectionCacheAware(protection);
    ExFreePoolWithTag(protection, TAG);
    PASS;
}
SAME(ExSizeOfRundownProtectionCacheAware, ExInitializeRundownProtectionCacheAware)

typedef struct {
    IO_REMOVE_LOCK lock;
    volatile LONG over;
} REMOVED;

static void remove_device(void *context)
{
    REMOVED *removed = context;
    if (NT_SUCCESS(IoAcquireRemoveLock(&removed->lock, removed))) {
        IoReleaseRemoveLockAndWait(&removed->lock, removed);
        removed->over = 1;
    }
}

TEST(IoInitializeRemoveLockEx)
{
    REMOVED removed;
    SIDE side;
    LARGE_INTEGER moment = milliseconds(2);
    removed.over = 0;
    IoInitializeRemoveLock(&removed.lock, TAG, 0, 0);
    CHECK(IoAcquireRemoveLock(&removed.lock, NULL) == STATUS_SUCCESS);
    CHECK(IoAcquireRemoveLock(&removed.lock, NULL) == STATUS_SUCCESS);
    IoReleaseRemoveLock(&removed.lock, NULL);
    CHECK(start(&side, remove_device, &removed));
    while (IoAcquireRemoveLock(&removed.lock, NULL) == STATUS_SUCCESS)
        IoReleaseRemoveLock(&removed.lock, NULL);
    CHECK(IoAcquireRemoveLock(&removed.lock, NULL) == STATUS_DELETE_PENDING);
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    CHECK(removed.over == 0);
    IoReleaseRemoveLock(&removed.lock, NULL);
    CHECK(join(&side));
    CHECK(removed.over == 1);
    CHECK(IoAcquireRemoveLock(&removed.lock, NULL) == STATUS_DELETE_PENDING);
    PASS;
}
SAME(IoAcquireRemoveLockEx, IoInitializeRemoveLockEx)
SAME(IoReleaseRemoveLockEx, IoInitializeRemoveLockEx)
SAME(IoReleaseRemoveLockAndWaitEx, IoInitializeRemoveLockEx)
