/* Memory descriptor lists and addresses. */
#include "kernel2.h"

static __attribute__((aligned(4096))) char memory[3 * 4096];

TEST(IoAllocateMdl)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    PMDL a = IoAllocateMdl(memory + 100, 5000, FALSE, FALSE, irp), b = IoAllocateMdl(memory, 10, TRUE, FALSE, irp);
    CHECK(a && b && irp->MdlAddress == a && a->Next == b && !b->Next);
    CHECK(a->StartVa == memory && a->ByteOffset == 100 && a->ByteCount == 5000 && a->Size == 48 + 2 * 8);
    CHECK(MmGetMdlVirtualAddress(a) == memory + 100 && MmGetMdlByteCount(a) == 5000 && MmGetMdlByteOffset(a) == 100);
    irp->MdlAddress = NULL;
    IoFreeMdl(a);
    IoFreeMdl(b);
    IoFreeIrp(irp);
    PASS;
}
SAME(IoFreeMdl, IoAllocateMdl)

TEST(MmSizeOfMdl)
{
    CHECK(MmSizeOfMdl(memory, 4096) == 56 && MmSizeOfMdl(memory + 1, 4096) == 64);
    PASS;
}

TEST(MmBuildMdlForNonPagedPool)
{
    PMDL mdl = IoAllocateMdl(memory + 100, 5000, FALSE, FALSE, NULL);
    MmBuildMdlForNonPagedPool(mdl);
    CHECK(mdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL && MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) == memory + 100);
    CHECK(MmGetMdlPfnArray(mdl)[0] == (ULONG_PTR)memory >> 12 && MmGetMdlPfnArray(mdl)[1] == ((ULONG_PTR)memory >> 12) + 1);
    IoFreeMdl(mdl);
    PASS;
}

TEST(MmProbeAndLockPages)
{
    PMDL mdl = IoAllocateMdl(memory + 100, 5000, FALSE, FALSE, NULL);
    PVOID address;
    MmProbeAndLockPages(mdl, KernelMode, IoModifyAccess);
    CHECK(mdl->MdlFlags & MDL_PAGES_LOCKED && mdl->MdlFlags & MDL_WRITE_OPERATION);
    address = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    CHECK(address == memory + 100 && mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA && mdl->MappedSystemVa == address);
    MmUnmapLockedPages(address, mdl);
    CHECK(!(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA));
    CHECK(MmMapLockedPages(mdl, KernelMode) == memory + 100);
    CHECK(MmProtectMdlSystemAddress(mdl, PAGE_READONLY) == STATUS_SUCCESS);
    MmUnlockPages(mdl);
    CHECK(!(mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA)));
    IoFreeMdl(mdl);
    PASS;
}
SAME(MmUnlockPages, MmProbeAndLockPages)
SAME(MmMapLockedPages, MmProbeAndLockPages)
SAME(MmMapLockedPagesSpecifyCache, MmProbeAndLockPages)
SAME(MmUnmapLockedPages, MmProbeAndLockPages)
SAME(MmProtectMdlSystemAddress, MmProbeAndLockPages)

TEST(IoBuildPartialMdl)
{
    PMDL source = IoAllocateMdl(memory, 8192, FALSE, FALSE, NULL), target = IoAllocateMdl(memory, 8192, FALSE, FALSE, NULL);
    MmBuildMdlForNonPagedPool(source);
    IoBuildPartialMdl(source, target, memory + 4196, 50);
    CHECK(target->StartVa == memory + 4096 && target->ByteOffset == 100 && target->ByteCount == 50);
    CHECK(target->MdlFlags & MDL_PARTIAL && MmGetSystemAddressForMdlSafe(target, NormalPagePriority) == memory + 4196);
    IoBuildPartialMdl(source, target, memory + 4196, 0);
    CHECK(target->ByteCount == 8192 - 4196);
    IoFreeMdl(target);
    IoFreeMdl(source);
    PASS;
}

TEST(MmAllocatePagesForMdl)
{
    PHYSICAL_ADDRESS low, high, skip;
    PMDL mdl;
    char *data;
    low.QuadPart = skip.QuadPart = 0;
    high.QuadPart = -1;
    mdl = MmAllocatePagesForMdl(low, high, skip, 5000);
    CHECK(mdl && MmGetMdlByteCount(mdl) == 8192);
    data = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    CHECK(data && !data[0] && !data[8191]);
    data[8191] = 1;
    MmUnmapLockedPages(data, mdl);
    MmFreePagesFromMdl(mdl);
    ExFreePool(mdl);
    mdl = MmAllocatePagesForMdlEx(low, high, skip, 4096, MmCached, 0);
    CHECK(mdl && MmGetMdlByteCount(mdl) == 4096);
    MmFreePagesFromMdl(mdl);
    ExFreePool(mdl);
    PASS;
}
SAME(MmAllocatePagesForMdlEx, MmAllocatePagesForMdl)
SAME(MmFreePagesFromMdl, MmAllocatePagesForMdl)

TEST(MmGetPhysicalAddress)
{
    PHYSICAL_ADDRESS a = MmGetPhysicalAddress(memory), b = MmGetPhysicalAddress(memory + 10);
    CHECK(a.QuadPart && b.QuadPart == a.QuadPart + 10 && MmGetVirtualForPhysical(b) == memory + 10);
    PASS;
}
SAME(MmGetVirtualForPhysical, MmGetPhysicalAddress)

TEST(MmIsAddressValid)
{
    CHECK(MmIsAddressValid(memory) && !MmIsAddressValid(NULL) && !MmIsAddressValid((PVOID)0x10000));
    CHECK(!MmIsAddressValid((PVOID)~0ULL));
    PASS;
}

TEST(MmIsNonPagedSystemAddressValid)
{
    CHECK(((BOOLEAN (NTAPI *)(PVOID))routine_of(L"MmIsNonPagedSystemAddressValid"))(memory));
    PASS;
}

TEST(MmMapIoSpace)
{
    PHYSICAL_ADDRESS address;
    address.QuadPart = 0xF0000000;
    CHECK(!MmMapIoSpace(address, 4096, MmNonCached));
    MmUnmapIoSpace(NULL, 0);
    PASS;
}
SAME(MmUnmapIoSpace, MmMapIoSpace)

TEST(ProbeForRead)
{
    ProbeForRead(memory, sizeof memory, 16);
    ProbeForRead(NULL, 0, 1);
    ProbeForWrite(memory, sizeof memory, 1);
    PASS;
}
SAME(ProbeForWrite, ProbeForRead)
