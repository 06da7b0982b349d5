/* The pool, lookaside lists, and lists that threads share. */
#include "kernel1.h"

#undef ExInterlockedPushEntrySList
#undef ExInterlockedPopEntrySList
#undef ExInterlockedFlushSList
#undef InterlockedPushEntrySList
#undef InterlockedPopEntrySList
#undef InterlockedFlushSList
FIND(PVOID, ExAllocatePool2, (ULONGLONG, SIZE_T, ULONG))
FIND(PVOID, ExAllocatePool3, (ULONGLONG, SIZE_T, ULONG, PVOID, ULONG))
FIND(VOID, ExFreePool2, (PVOID, ULONG, PVOID, ULONG))
FIND(VOID, RtlInitializeSListHead, (PSLIST_HEADER))
FIND(PSLIST_ENTRY, RtlFirstEntrySList, (PSLIST_HEADER))
FIND(PSLIST_ENTRY, ExInterlockedPushEntrySList, (PSLIST_HEADER, PSLIST_ENTRY, PKSPIN_LOCK))
FIND(PSLIST_ENTRY, ExInterlockedPopEntrySList, (PSLIST_HEADER, PKSPIN_LOCK))
FIND(PSLIST_ENTRY, ExInterlockedFlushSList, (PSLIST_HEADER))
FIND(PSLIST_ENTRY, InterlockedPushEntrySList, (PSLIST_HEADER, PSLIST_ENTRY))
FIND(PSLIST_ENTRY, InterlockedPopEntrySList, (PSLIST_HEADER))
FIND(PSLIST_ENTRY, InterlockedFlushSList, (PSLIST_HEADER))
IMPORT(PVOID, ExAllocateFromPagedLookasideList, (PVOID))
IMPORT(VOID, ExFreeToPagedLookasideList, (PVOID, PVOID))
FIND(PVOID, ExAllocateFromNPagedLookasideList, (PVOID))
FIND(VOID, ExFreeToNPagedLookasideList, (PVOID, PVOID))
FIND(PVOID, ExAllocateFromLookasideListEx, (PVOID))
FIND(VOID, ExFreeToLookasideListEx, (PVOID, PVOID))
IMPORT(PVOID, ExAllocatePool, (ULONG, SIZE_T))
IMPORT(PVOID, ExAllocatePoolWithQuota, (ULONG, SIZE_T))
IMPORT(PVOID, ExAllocatePoolWithQuotaTag, (ULONG, SIZE_T, ULONG))
IMPORT(PVOID, ExAllocatePoolWithTagPriority, (ULONG, SIZE_T, ULONG, ULONG))
IMPORT(SIZE_T, ExQueryPoolBlockSize, (PVOID, PBOOLEAN))
IMPORT(VOID, ExFreePool, (PVOID))
IMPORT(PVOID, MmAllocateContiguousMemorySpecifyCacheNode, (SIZE_T, ULONGLONG, ULONGLONG, ULONGLONG, ULONG, ULONG))
FIND(PVOID, MmAllocateContiguousNodeMemory, (SIZE_T, ULONGLONG, ULONGLONG, ULONGLONG, ULONG, ULONG))
IMPORT(PVOID, MmAllocateContiguousMemorySpecifyCache, (SIZE_T, ULONGLONG, ULONGLONG, ULONGLONG, ULONG))
IMPORT(PVOID, MmAllocateContiguousMemory, (SIZE_T, ULONGLONG))
IMPORT(VOID, MmFreeContiguousMemory, (PVOID))
IMPORT(VOID, MmFreeContiguousMemorySpecifyCache, (PVOID, SIZE_T, ULONG))
IMPORT(PVOID, MmAllocateNonCachedMemory, (SIZE_T))
IMPORT(VOID, MmFreeNonCachedMemory, (PVOID, SIZE_T))
IMPORT(PVOID, MmLockPagableDataSection, (PVOID))
IMPORT(PVOID, MmLockPagableImageSection, (PVOID))
IMPORT(VOID, MmLockPagableSectionByHandle, (PVOID))
IMPORT(VOID, MmUnlockPagableImageSection, (PVOID))
IMPORT(PVOID, MmPageEntireDriver, (PVOID))
IMPORT(VOID, MmResetDriverPaging, (PVOID))
IMPORT(ULONG, MmQuerySystemSize, (void))
IMPORT(BOOLEAN, MmIsThisAnNtAsSystem, (void))
IMPORT(LOGICAL, MmIsDriverVerifying, (PVOID))
IMPORT(LOGICAL, MmIsDriverVerifyingByAddress, (PVOID))
IMPORT(NTSTATUS, MmIsVerifierEnabled, (PULONG))

#define POOL_ZERO_ALLOCATION 1024
#define FLAG_UNINITIALIZED 2ull
#define FLAG_NON_PAGED 0x40ull
#define FLAG_NON_PAGED_EXECUTE 0x80ull
#define FLAG_PAGED 0x100ull

static int is_zero(const char *memory, SIZE_T bytes)
{
    while (bytes--)
        if (memory[bytes])
            return 0;
    return 1;
}

static void fill(PVOID memory, SIZE_T bytes)
{
    for (SIZE_T i = 0; i < bytes; i++)
        ((volatile char *)memory)[i] = (char)0xA5;
}

static int aligned(PVOID memory, ULONG_PTR to)
{
    return memory != NULL && ((ULONG_PTR)memory & (to - 1)) == 0;
}

TEST(ExAllocatePoolWithTag)
{
    static const SIZE_T sizes[] = {1, 16, 24, 100, 4095, 4096, 5000, 100000};
    for (int i = 0; i < 8; i++) {
        PVOID memory = ExAllocatePoolWithTag(i % 2 ? PagedPool : NonPagedPoolNx, sizes[i], TAG);
        CHECK(aligned(memory, sizes[i] >= 4096 ? 4096 : 16));
        fill(memory, sizes[i]);
        ExFreePoolWithTag(memory, TAG);
        memory = ExAllocatePoolWithTag(NonPagedPoolNx | POOL_ZERO_ALLOCATION, sizes[i], TAG);
        CHECK(memory != NULL && is_zero(memory, sizes[i]));
        ExFreePoolWithTag(memory, 0);
    }
    CHECK(ExAllocatePoolWithTag(NonPagedPool, ~(SIZE_T)0 >> 2, TAG) == NULL);
    PASS;
}
SAME(ExFreePoolWithTag, ExAllocatePoolWithTag)

TEST(ExAllocatePool)
{
    BOOLEAN charged = 77;
    PVOID first = import_ExAllocatePool(NonPagedPool, 40), second = import_ExAllocatePoolWithQuota(PagedPool, 40);
    PVOID third = import_ExAllocatePoolWithQuotaTag(PagedPool | 8, 5000, TAG);
    PVOID fourth = import_ExAllocatePoolWithTagPriority(NonPagedPoolNx, 40, TAG, NormalPoolPriority);
    CHECK(aligned(first, 16) && aligned(second, 16) && aligned(third, 4096) && aligned(fourth, 16));
    CHECK(import_ExQueryPoolBlockSize(third, &charged) >= 5000);
    CHECK(!charged);
    import_ExFreePool(first);
    import_ExFreePool(second);
    import_ExFreePool(third);
    import_ExFreePool(fourth);
    CHECK(import_ExAllocatePoolWithQuotaTag(PagedPool | 8, ~(SIZE_T)0, TAG) == NULL);
    PASS;
}
SAME(ExAllocatePoolWithQuota, ExAllocatePool)
SAME(ExAllocatePoolWithQuotaTag, ExAllocatePool)
SAME(ExAllocatePoolWithTagPriority, ExAllocatePool)
SAME(ExQueryPoolBlockSize, ExAllocatePool)
SAME(ExFreePool, ExAllocatePool)

TEST(ExAllocatePool2)
{
    static const ULONGLONG flags[] = {FLAG_NON_PAGED, FLAG_PAGED, FLAG_NON_PAGED_EXECUTE};
    for (int i = 0; i < 3; i++) {
        PVOID memory = find_ExAllocatePool2()(flags[i] | FLAG_UNINITIALIZED, 200, TAG);
        CHECK(aligned(memory, 16));
        fill(memory, 200);
        ExFreePoolWithTag(memory, TAG);
        memory = find_ExAllocatePool2()(flags[i], 200, TAG);
        CHECK(memory != NULL && is_zero(memory, 200));
        find_ExFreePool2()(memory, TAG, NULL, 0);
        memory = find_ExAllocatePool3()(flags[i], 4096, TAG, NULL, 0);
        CHECK(aligned(memory, 4096) && is_zero(memory, 4096));
        ExFreePool(memory);
    }
    CHECK(find_ExAllocatePool2()(0, 200, TAG) == NULL);
    CHECK(find_ExAllocatePool2()(FLAG_PAGED | FLAG_NON_PAGED, 200, TAG) == NULL);
    CHECK(find_ExAllocatePool2()(FLAG_PAGED, 200, 0) == NULL);
    CHECK(find_ExAllocatePool2()(FLAG_PAGED, ~(SIZE_T)0, TAG) == NULL);
    PASS;
}
SAME(ExAllocatePool3, ExAllocatePool2)
SAME(ExFreePool2, ExAllocatePool2)

TEST(MmAllocateContiguousMemory)
{
    PVOID memory = import_MmAllocateContiguousMemory(100, ~0ull);
    CHECK(aligned(memory, 4096));
    fill(memory, 100);
    import_MmFreeContiguousMemory(memory);
    memory = import_MmAllocateContiguousMemorySpecifyCache(10000, 0, ~0ull, 0, 1);
    CHECK(aligned(memory, 4096));
    import_MmFreeContiguousMemorySpecifyCache(memory, 10000, 1);
    memory = import_MmAllocateContiguousMemorySpecifyCacheNode(10000, 0, ~0ull, 0, 1, 0);
    CHECK(aligned(memory, 4096));
    import_MmFreeContiguousMemory(memory);
    memory = find_MmAllocateContiguousNodeMemory()(10000, 0, ~0ull, 0, 4, 0);
    CHECK(aligned(memory, 4096));
    import_MmFreeContiguousMemory(memory);
    memory = import_MmAllocateNonCachedMemory(5000);
    CHECK(aligned(memory, 4096));
    import_MmFreeNonCachedMemory(memory, 5000);
    PASS;
}
SAME(MmAllocateContiguousMemorySpecifyCache, MmAllocateContiguousMemory)
SAME(MmAllocateContiguousMemorySpecifyCacheNode, MmAllocateContiguousMemory)
SAME(MmAllocateContiguousNodeMemory, MmAllocateContiguousMemory)
SAME(MmFreeContiguousMemory, MmAllocateContiguousMemory)
SAME(MmFreeContiguousMemorySpecifyCache, MmAllocateContiguousMemory)
SAME(MmAllocateNonCachedMemory, MmAllocateContiguousMemory)
SAME(MmFreeNonCachedMemory, MmAllocateContiguousMemory)

TEST(MmLockPagableDataSection)
{
    static int somewhere;
    ULONG flags = 77;
    PVOID section = import_MmLockPagableDataSection(&somewhere);
    CHECK(section != NULL);
    import_MmLockPagableSectionByHandle(section);
    import_MmUnlockPagableImageSection(section);
    import_MmUnlockPagableImageSection(section);
    CHECK(import_MmLockPagableImageSection(&somewhere) != NULL);
    CHECK(import_MmPageEntireDriver(&somewhere) != NULL);
    import_MmResetDriverPaging(&somewhere);
    CHECK(import_MmQuerySystemSize() <= 2);
    CHECK(!import_MmIsThisAnNtAsSystem());
    CHECK(!import_MmIsDriverVerifying(NULL));
    CHECK(!import_MmIsDriverVerifyingByAddress(&somewhere));
    CHECK(!NT_SUCCESS(import_MmIsVerifierEnabled(&flags)));
    CHECK(flags == 0);
    PASS;
}
SAME(MmLockPagableSectionByHandle, MmLockPagableDataSection)
SAME(MmLockPagableImageSection, MmLockPagableDataSection)
SAME(MmUnlockPagableImageSection, MmLockPagableDataSection)
SAME(MmPageEntireDriver, MmLockPagableDataSection)
SAME(MmResetDriverPaging, MmLockPagableDataSection)
SAME(MmQuerySystemSize, MmLockPagableDataSection)
SAME(MmIsThisAnNtAsSystem, MmLockPagableDataSection)
SAME(MmIsDriverVerifying, MmLockPagableDataSection)
SAME(MmIsDriverVerifyingByAddress, MmLockPagableDataSection)
SAME(MmIsVerifierEnabled, MmLockPagableDataSection)

static int allocated, freed;

static PVOID NTAPI my_allocate(POOL_TYPE type, SIZE_T bytes, ULONG tag)
{
    allocated++;
    return ExAllocatePoolWithTag(type, bytes, tag);
}

static VOID NTAPI my_free(PVOID memory)
{
    freed++;
    ExFreePoolWithTag(memory, TAG);
}

/* The header's own inline routines, which read the list. */
TEST(ExInitializeNPagedLookasideList)
{
    NPAGED_LOOKASIDE_LIST list;
    PVOID entries[3];
    CHECK(sizeof list == 128);
    ExInitializeNPagedLookasideList(&list, NULL, NULL, 0, 40, TAG, 0);
    for (int i = 0; i < 3; i++) {
        entries[i] = ExAllocateFromNPagedLookasideList(&list);
        CHECK(aligned(entries[i], 16));
        fill(entries[i], 40);
    }
    CHECK(list.L.TotalAllocates == 3 && list.L.AllocateMisses == 3);
    for (int i = 0; i < 3; i++)
        ExFreeToNPagedLookasideList(&list, entries[i]);
    CHECK(ExQueryDepthSList(&list.L.ListHead) == 3);
    CHECK(ExAllocateFromNPagedLookasideList(&list) == entries[2]);
    CHECK(list.L.AllocateMisses == 3);
    ExFreeToNPagedLookasideList(&list, entries[2]);
    ExDeleteNPagedLookasideList(&list);
    allocated = freed = 0;
    ExInitializeNPagedLookasideList(&list, my_allocate, my_free, 0, 8, TAG, 0);
    entries[0] = find_ExAllocateFromNPagedLookasideList()(&list);
    CHECK(entries[0] != NULL && allocated == 1);
    find_ExFreeToNPagedLookasideList()(&list, entries[0]);
    CHECK(freed == 0);
    ExDeleteNPagedLookasideList(&list);
    CHECK(freed == 1);
    PASS;
}
SAME(ExDeleteNPagedLookasideList, ExInitializeNPagedLookasideList)
SAME(ExAllocateFromNPagedLookasideList, ExInitializeNPagedLookasideList)
SAME(ExFreeToNPagedLookasideList, ExInitializeNPagedLookasideList)

TEST(a_full_lookaside_list_frees)
{
    NPAGED_LOOKASIDE_LIST list;
    PVOID chain = NULL;
    allocated = freed = 0;
    ExInitializeNPagedLookasideList(&list, my_allocate, my_free, 0, 64, TAG, 0);
    for (int i = 0; i < 300; i++) {
        PVOID *entry = ExAllocateFromNPagedLookasideList(&list);
        CHECK(entry != NULL);
        entry[3] = chain;
        chain = entry;
    }
    while (chain) {
        PVOID *entry = chain;
        chain = entry[3];
        ExFreeToNPagedLookasideList(&list, entry);
    }
    CHECK(allocated == 300);
    CHECK(freed > 0 && freed == 300 - ExQueryDepthSList(&list.L.ListHead));
    ExDeleteNPagedLookasideList(&list);
    CHECK(freed == 300);
    PASS;
}

TEST(ExInitializePagedLookasideList)
{
    PAGED_LOOKASIDE_LIST list;
    ExInitializePagedLookasideList(&list, NULL, NULL, 0, 5000, TAG, 0);
    PVOID first = ExAllocateFromPagedLookasideList(&list);
    CHECK(aligned(first, 4096));
    ExFreeToPagedLookasideList(&list, first);
    PVOID second = import_ExAllocateFromPagedLookasideList(&list);
    CHECK(second == first);
    import_ExFreeToPagedLookasideList(&list, second);
    ExDeletePagedLookasideList(&list);
    PASS;
}
SAME(ExDeletePagedLookasideList, ExInitializePagedLookasideList)
SAME(ExAllocateFromPagedLookasideList, ExInitializePagedLookasideList)
SAME(ExFreeToPagedLookasideList, ExInitializePagedLookasideList)

static PVOID NTAPI my_allocate_ex(POOL_TYPE type, SIZE_T bytes, ULONG tag, PLOOKASIDE_LIST_EX list)
{
    allocated += list->L.Size == bytes;
    return ExAllocatePoolWithTag(type, bytes, tag);
}

static VOID NTAPI my_free_ex(PVOID memory, PLOOKASIDE_LIST_EX list)
{
    freed += list->L.Tag == TAG;
    ExFreePoolWithTag(memory, TAG);
}

TEST(ExInitializeLookasideListEx)
{
    LOOKASIDE_LIST_EX list;
    CHECK(ExInitializeLookasideListEx(&list, NULL, NULL, NonPagedPoolNx, 0, 40, TAG, 0) == STATUS_SUCCESS);
    PVOID first = ExAllocateFromLookasideListEx(&list);
    CHECK(aligned(first, 16));
    ExFreeToLookasideListEx(&list, first);
    ExFlushLookasideListEx(&list);
    CHECK(ExQueryDepthSList(&list.L.ListHead) == 0);
    ExDeleteLookasideListEx(&list);
    allocated = freed = 0;
    CHECK(ExInitializeLookasideListEx(&list, my_allocate_ex, my_free_ex, PagedPool, 2, 40, TAG, 0) == STATUS_SUCCESS);
    first = find_ExAllocateFromLookasideListEx()(&list);
    CHECK(allocated == 1);
    find_ExFreeToLookasideListEx()(&list, first);
    ExFreeToLookasideListEx(&list, ExAllocateFromLookasideListEx(&list));
    CHECK(allocated == 1 && freed == 0);
    ExDeleteLookasideListEx(&list);
    CHECK(freed == 1);
    CHECK(!NT_SUCCESS(ExInitializeLookasideListEx(&list, NULL, NULL, PagedPool, 3, 40, TAG, 0)));
    CHECK(!NT_SUCCESS(ExInitializeLookasideListEx(&list, NULL, NULL, PagedPool, 0, 40, TAG, 4)));
    PASS;
}
SAME(ExAllocateFromLookasideListEx, ExInitializeLookasideListEx)
SAME(ExFreeToLookasideListEx, ExInitializeLookasideListEx)
SAME(ExFlushLookasideListEx, ExInitializeLookasideListEx)
SAME(ExDeleteLookasideListEx, ExInitializeLookasideListEx)

typedef struct DECLSPEC_ALIGN(16) {
    SLIST_ENTRY link;
    LONG value;
} ENTRY;

TEST(ExpInterlockedPushEntrySList)
{
    SLIST_HEADER head;
    ENTRY entries[4];
    KSPIN_LOCK lock = 0;
    fill(&head, sizeof head);
    InitializeSListHead(&head);
    CHECK(ExpInterlockedPopEntrySList(&head) == NULL);
    CHECK(ExpInterlockedPushEntrySList(&head, &entries[0].link) == NULL);
    CHECK(ExpInterlockedPushEntrySList(&head, &entries[1].link) == &entries[0].link);
    CHECK(find_ExInterlockedPushEntrySList()(&head, &entries[2].link, &lock) == &entries[1].link);
    CHECK(find_InterlockedPushEntrySList()(&head, &entries[3].link) == &entries[2].link);
    CHECK(ExQueryDepthSList(&head) == 4);
    CHECK(find_RtlFirstEntrySList()(&head) == &entries[3].link);
    CHECK(ExpInterlockedPopEntrySList(&head) == &entries[3].link);
    CHECK(find_ExInterlockedPopEntrySList()(&head, &lock) == &entries[2].link);
    CHECK(find_InterlockedPopEntrySList()(&head) == &entries[1].link);
    CHECK(ExpInterlockedPushEntrySList(&head, &entries[1].link) == &entries[0].link);
    CHECK(ExpInterlockedFlushSList(&head) == &entries[1].link);
    CHECK(entries[1].link.Next == &entries[0].link && entries[0].link.Next == NULL);
    CHECK(ExQueryDepthSList(&head) == 0);
    CHECK(find_ExInterlockedFlushSList()(&head) == NULL);
    fill(&head, sizeof head);
    find_RtlInitializeSListHead()(&head);
    find_InterlockedPushEntrySList()(&head, &entries[0].link);
    CHECK(find_InterlockedFlushSList()(&head) == &entries[0].link);
    PASS;
}
#define SLIST(name) SAME(name, ExpInterlockedPushEntrySList)
SLIST(InitializeSListHead)
SLIST(RtlInitializeSListHead)
SLIST(ExpInterlockedPopEntrySList)
SLIST(ExpInterlockedFlushSList)
SLIST(ExInterlockedPushEntrySList)
SLIST(ExInterlockedPopEntrySList)
SLIST(ExInterlockedFlushSList)
SLIST(InterlockedPushEntrySList)
SLIST(InterlockedPopEntrySList)
SLIST(InterlockedFlushSList)
SLIST(ExQueryDepthSList)
SLIST(RtlFirstEntrySList)

typedef struct {
    SLIST_HEADER head;
    LIST_ENTRY list;
    KSPIN_LOCK lock;
    volatile LONG moved;
} MOVED;

static void move_about(void *context)
{
    MOVED *moved = context;
    for (int i = 0; i < 5000; i++) {
        PSLIST_ENTRY entry = ExpInterlockedPopEntrySList(&moved->head);
        if (entry) {
            InterlockedIncrement(&moved->moved);
            ExpInterlockedPushEntrySList(&moved->head, entry);
        }
        PLIST_ENTRY link = ExInterlockedRemoveHeadList(&moved->list, &moved->lock);
        if (link)
            ExInterlockedInsertTailList(&moved->list, link, &moved->lock);
    }
}

TEST(lists_lose_nothing_between_threads)
{
    static MOVED moved;
    ENTRY entries[8];
    LIST_ENTRY links[8];
    SIDE sides[3];
    int found = 0;
    InitializeSListHead(&moved.head);
    InitializeListHead(&moved.list);
    for (int i = 0; i < 8; i++) {
        ExpInterlockedPushEntrySList(&moved.head, &entries[i].link);
        InsertTailList(&moved.list, &links[i]);
    }
    for (int i = 0; i < 3; i++)
        CHECK(start(&sides[i], move_about, &moved));
    for (int i = 0; i < 3; i++)
        CHECK(join(&sides[i]));
    CHECK(ExQueryDepthSList(&moved.head) == 8);
    for (PSLIST_ENTRY entry = ExpInterlockedFlushSList(&moved.head); entry; entry = entry->Next)
        found++;
    CHECK(found == 8);
    for (PLIST_ENTRY link = moved.list.Flink; link != &moved.list; link = link->Flink)
        found++;
    CHECK(found == 16);
    CHECK(moved.moved > 0);
    PASS;
}

TEST(ExInterlockedInsertHeadList)
{
    LIST_ENTRY head, a, b, c;
    KSPIN_LOCK lock = 0;
    InitializeListHead(&head);
    CHECK(ExInterlockedRemoveHeadList(&head, &lock) == NULL);
    CHECK(ExInterlockedInsertHeadList(&head, &a, &lock) == NULL);
    CHECK(ExInterlockedInsertHeadList(&head, &b, &lock) == &a);
    CHECK(ExInterlockedInsertTailList(&head, &c, &lock) == &a);
    CHECK(head.Flink == &b && b.Flink == &a && a.Flink == &c && c.Flink == &head);
    CHECK(head.Blink == &c && c.Blink == &a && a.Blink == &b && b.Blink == &head);
    CHECK(ExInterlockedRemoveHeadList(&head, &lock) == &b);
    CHECK(ExInterlockedRemoveHeadList(&head, &lock) == &a);
    CHECK(ExInterlockedRemoveHeadList(&head, &lock) == &c);
    CHECK(IsListEmpty(&head));
    CHECK(ExInterlockedInsertTailList(&head, &c, &lock) == NULL);
    CHECK(import_KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(lock == 0);
    PASS;
}
SAME(ExInterlockedInsertTailList, ExInterlockedInsertHeadList)
SAME(ExInterlockedRemoveHeadList, ExInterlockedInsertHeadList)

TEST(ExInterlockedPushEntryList)
{
    SINGLE_LIST_ENTRY head = {NULL}, a, b;
    KSPIN_LOCK lock = 0;
    CHECK(ExInterlockedPopEntryList(&head, &lock) == NULL);
    CHECK(ExInterlockedPushEntryList(&head, &a, &lock) == NULL);
    CHECK(ExInterlockedPushEntryList(&head, &b, &lock) == &a);
    CHECK(ExInterlockedPopEntryList(&head, &lock) == &b);
    CHECK(ExInterlockedPopEntryList(&head, &lock) == &a);
    CHECK(head.Next == NULL);
    PASS;
}
SAME(ExInterlockedPopEntryList, ExInterlockedPushEntryList)

TEST(ExInterlockedAddLargeInteger)
{
    LARGE_INTEGER value = {.QuadPart = 0xFFFFFFFFLL}, one = {.QuadPart = 1};
    ULONG small = 40;
    KSPIN_LOCK lock = 0;
    CHECK(ExInterlockedAddLargeInteger(&value, one, &lock).QuadPart == 0xFFFFFFFFLL);
    CHECK(value.QuadPart == 0x100000000LL);
    CHECK(ExInterlockedAddUlong(&small, 2, &lock) == 40);
    CHECK(small == 42);
    PASS;
}
SAME(ExInterlockedAddUlong, ExInterlockedAddLargeInteger)
