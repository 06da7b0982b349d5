/* Forgets three blocks of two tags whenever its property is asked; with -DLEAKS_IN_ENTRY one in DriverEntry. */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E12} */
static const GUID LeakSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x12}};

static NTSTATUS OnLeak(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PVOID first = ExAllocatePoolWithTag(NonPagedPool, 100, '1kaL');
    PVOID second = ExAllocatePoolWithTag(PagedPool, 200, '1kaL');
    PVOID third = ExAllocatePoolWithTag(NonPagedPool, 5000, '2kaL');
    return first && second && third ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnLeak, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)};
#ifdef LEAKS_IN_ENTRY
#define ENTERED(DriverObject) (void)ExAllocatePoolWithTag(NonPagedPool, 300, '3kaL')
#endif
#include "misbehave.h"
MISBEHAVING_DRIVER(LeakSet, 0x12)
