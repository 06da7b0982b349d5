/* Asks for blocks of the sizes at which the allocator of its test faults: at once, and while the pool notes a block. */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E15} */
static const GUID AllocateSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x15}};

enum { ONE, MANY };

static __attribute__((noinline)) PVOID AllocateOne(void)
{
    PVOID block = ExAllocatePoolWithTag(NonPagedPool, 0xFA170, 'colA');
    return block ? (PUCHAR)block + 1 : NULL;
}

/* The table of blocks grows under the lock of the pool: that is the next block of another size. */
static __attribute__((noinline)) ULONG AllocateMany(void)
{
    ULONG count;
    for (count = 0; count < 100000 && ExAllocatePoolWithTag(NonPagedPool, 0xFA00, 'colA'); count++)
        ;
    return count;
}

static NTSTATUS OnAllocate(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    switch (Request->Id) {
    case ONE:
        return AllocateOne() ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    default:
        return AllocateMany() ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    }
}

#define ITEM(id) DEFINE_KSPROPERTY_ITEM(id, OnAllocate, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Properties[] = {ITEM(ONE), ITEM(MANY)};
#include "misbehave.h"
MISBEHAVING_DRIVER(AllocateSet, 0x15)
