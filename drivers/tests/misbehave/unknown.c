/* Imports what no kernel exports; calls it where its property says so. Built with unknown.def for the import. */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E13} */
static const GUID UnknownSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x13}};

NTSYSAPI NTSTATUS NTAPI HalAllocateQuantumChannel(ULONG Count);
NTSYSAPI NTSTATUS NTAPI KeEntangleProcessors(PVOID First, PVOID Second);

static NTSTATUS OnCall(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return Request->Id == 0 ? HalAllocateQuantumChannel(3) : KeEntangleProcessors(Irp, Data);
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnCall, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(1, OnCall, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0)};
#include "misbehave.h"
MISBEHAVING_DRIVER(UnknownSet, 0x13)
