/* What Windows or its Driver Verifier would stop for; the test's Rust side reads the reports. */
#include "kernel2.h"

static NTSTATUS NTAPI keep(PDEVICE_OBJECT device, PIRP irp, PVOID context) { return STATUS_MORE_PROCESSING_REQUIRED; }

static PIRP request(void)
{
    PIRP irp = IoAllocateIrp(2, FALSE);
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    IoSetNextIrpStackLocation(irp);
    return irp;
}

TEST(completed_without_a_keeper)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    IoSetNextIrpStackLocation(irp);
    irp->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    IoFreeIrp(irp);
    PASS;
}

TEST(completed_as_pending)
{
    PIRP irp = request();
    irp->IoStatus.Status = STATUS_PENDING;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    IoFreeIrp(irp);
    PASS;
}

static VOID NTAPI never(PDEVICE_OBJECT device, PIRP irp) {}

TEST(completed_with_a_cancel_routine)
{
    PIRP irp = request();
    IoSetCancelRoutine(irp, never);
    irp->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    IoFreeIrp(irp);
    PASS;
}

TEST(freed_twice)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    IoFreeIrp(irp);
    IoFreeIrp(irp);
    PASS;
}

TEST(dereferenced_too_often)
{
    PDEVICE_OBJECT device;
    IoCreateDevice(NULL, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device);
    ObfReferenceObject(device);
    ObfDereferenceObject(device);
    ObfDereferenceObject(device);
    IoDeleteDevice(device);
    IoDeleteDevice(device);
    PASS;
}

TEST(freed_with_locked_pages)
{
    static char data[16];
    PMDL mdl = IoAllocateMdl(data, sizeof data, FALSE, FALSE, NULL);
    MmUnlockPages(mdl);
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess);
    IoFreeMdl(mdl);
    PASS;
}

TEST(probed_where_nothing_is)
{
    ProbeForRead((PVOID)0x10000, 4, 1);
    ProbeForWrite((PVOID)3, 4, 4);
    PASS;
}
