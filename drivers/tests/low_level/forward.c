/* Passing requests on, stack depth, and what is done by default about PnP and power. */
#include "low_level.h"

static DRIVER_OBJECT LowerDriver;
static PDEVICE_OBJECT Lower;
static KSDEVICE_HEADER Header;
static KSOBJECT_HEADER Object;
static ULONG Arrived, Powered;
static PFILE_OBJECT ArrivedFile;
static ULONG ArrivedCode;
static NTSTATUS Verdict;
static BOOLEAN Late;
static UCHAR ArrivedMinor;

static VOID NTAPI FinishLate(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    PIRP irp = first;
    irp->IoStatus.Status = Verdict;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
}

static KDPC LateDpc;

static NTSTATUS NTAPI LowerDispatch(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    Arrived++;
    ArrivedFile = stack->FileObject;
    ArrivedMinor = stack->MinorFunction;
    ArrivedCode = stack->Parameters.DeviceIoControl.IoControlCode;
    if (Late) {
        IoMarkIrpPending(irp);
        KeInitializeDpc(&LateDpc, FinishLate, NULL);
        KeInsertQueueDpc(&LateDpc, irp, NULL);
        return STATUS_PENDING;
    }
    irp->IoStatus.Status = Verdict;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return Verdict;
}

static const char *Start(ANSWER answer)
{
    int at;
    CHECK(MakeDevice(answer) == STATUS_SUCCESS);
    for (at = 0; at <= IRP_MJ_MAXIMUM_FUNCTION; at++)
        LowerDriver.MajorFunction[at] = LowerDispatch;
    LowerDriver.Type = 4;
    CHECK(IoCreateDevice(&LowerDriver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &Lower) == STATUS_SUCCESS);
    CHECK(KsAllocateDeviceHeader(&Header, 0, NULL) == STATUS_SUCCESS);
    *(KSDEVICE_HEADER *)Device->DeviceExtension = Header;
    Arrived = Powered = 0;
    Verdict = STATUS_SUCCESS;
    Late = FALSE;
    PASS;
}

static void Stop(void)
{
    KsFreeDeviceHeader(Header);
    DropDevice();
    IoDeleteDevice(Lower);
}

static FILE_OBJECT LowerFile;
static BOOLEAN Reuse;

static NTSTATUS Forward(PDEVICE_OBJECT device, PIRP irp)
{
    KsForwardIrp(irp, &LowerFile, Reuse);
    return STATUS_PENDING;
}

TEST(KsForwardIrp)
{
    const char *failed = Start(Forward);
    if (failed)
        return failed;
    LowerFile.DeviceObject = Lower;
    Verdict = STATUS_DEVICE_BUSY;
    /* There is one location only: it must be used again. */
    Reuse = FALSE;
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, NULL) == STATUS_INVALID_DEVICE_REQUEST && !Arrived);
    Reuse = TRUE;
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, NULL) == STATUS_DEVICE_BUSY && Arrived == 1);
    CHECK(ArrivedFile == &LowerFile && ArrivedCode == IOCTL_KS_METHOD);
    Reuse = FALSE;
    Device->StackSize = 2;
    CHECK(Ask(IOCTL_KS_RESET_STATE, NULL, 0, NULL, 0, NULL) == STATUS_DEVICE_BUSY && Arrived == 2);
    CHECK(ArrivedFile == &LowerFile && ArrivedCode == IOCTL_KS_RESET_STATE);
    LowerFile.DeviceObject = NULL;
    CHECK(Ask(IOCTL_KS_RESET_STATE, NULL, 0, NULL, 0, NULL) == STATUS_INVALID_DEVICE_REQUEST && Arrived == 2);
    Stop();
    PASS;
}

static KSSTACK_USE Use;
static NTSTATUS CatchResult;
static CCHAR LocationAfter;

static NTSTATUS Catch(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION next = IoGetNextIrpStackLocation(irp);
    CCHAR before = irp->CurrentLocation;
    if (Use == KsStackUseNewLocation) {
        next->MajorFunction = IRP_MJ_DEVICE_CONTROL;
        next->Parameters.DeviceIoControl.IoControlCode = 0x777;
    }
    CatchResult = KsForwardAndCatchIrp(Lower, irp, &LowerFile, Use);
    LocationAfter = irp->CurrentLocation - before;
    irp->IoStatus.Information = 5;
    return STATUS_NO_MATCH;
}

TEST(KsForwardAndCatchIrp)
{
    static const KSSTACK_USE uses[] = {KsStackCopyToNewLocation, KsStackReuseCurrentLocation, KsStackUseNewLocation};
    ULONG_PTR size;
    int late, at;
    const char *failed = Start(Catch);
    if (failed)
        return failed;
    Verdict = STATUS_DEVICE_BUSY;
    Use = KsStackCopyToNewLocation;
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, &size) == STATUS_NO_MATCH && !Arrived);
    CHECK(CatchResult == STATUS_INVALID_DEVICE_REQUEST);
    Device->StackSize = 2;
    for (late = 0; late < 2; late++) {
        for (at = 0; at < 3; at++) {
            Late = late;
            Use = uses[at];
            Arrived = 0;
            CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, &size) == STATUS_NO_MATCH && Arrived == 1 && size == 5);
            CHECK(CatchResult == STATUS_DEVICE_BUSY && LocationAfter == 0 && ArrivedFile == &LowerFile);
            CHECK(ArrivedCode == (Use == KsStackUseNewLocation ? 0x777 : IOCTL_KS_METHOD));
        }
    }
    Stop();
    PASS;
}

static NTSTATUS NTAPI OnPower(PVOID context, PIRP irp)
{
    Powered += (ULONG)(ULONG_PTR)context;
    return STATUS_SUCCESS;
}

static NTSTATUS PassPower(PDEVICE_OBJECT device, PIRP irp)
{
    KsDefaultDispatchPower(device, irp);
    return STATUS_PENDING;
}

static NTSTATUS PassOn(PDEVICE_OBJECT device, PIRP irp)
{
    KsDefaultForwardIrp(device, irp);
    return STATUS_PENDING;
}

static NTSTATUS PassPnp(PDEVICE_OBJECT device, PIRP irp)
{
    KsDefaultDispatchPnp(device, irp);
    return STATUS_PENDING;
}

static NTSTATUS Make(PDEVICE_OBJECT device, PIRP irp)
{
    static const KSDISPATCH_TABLE table;
    return KsAllocateObjectHeader(&Object, 0, NULL, irp, &table);
}

TEST(KsRecalculateStackDepth)
{
    const char *failed = Start(Make);
    FILE_OBJECT file = {0};
    IO_SECURITY_CONTEXT security = {0};
    if (failed)
        return failed;
    CHECK(Major(IRP_MJ_CREATE, 0, &file, &security) == STATUS_SUCCESS && Object);
    CHECK(!KsQueryDevicePnpObject(Header));
    KsSetDevicePnpAndBaseObject(Header, NULL, Device);
    Device->StackSize = 9;
    KsRecalculateStackDepth(Header, TRUE);
    CHECK(Device->StackSize == 1);
    Lower->StackSize = 4;
    KsSetTargetDeviceObject(Object, Lower);
    KsRecalculateStackDepth(Header, FALSE);
    CHECK(Device->StackSize == 1);
    KsSetTargetState(Object, KSTARGET_STATE_ENABLED);
    KsRecalculateStackDepth(Header, FALSE);
    CHECK(Device->StackSize == 5);
    KsRecalculateStackDepth(Header, TRUE);
    CHECK(Device->StackSize == 4);
    KsSetTargetState(Object, KSTARGET_STATE_DISABLED);
    KsSetDevicePnpAndBaseObject(Header, Lower, Device);
    CHECK(KsQueryDevicePnpObject(Header) == Lower);
    Lower->StackSize = 2;
    KsRecalculateStackDepth(Header, FALSE);
    CHECK(Device->StackSize == 3);
    KsFreeObjectHeader(Object);
    Stop();
    PASS;
}
SAME(KsSetTargetDeviceObject, KsRecalculateStackDepth)
SAME(KsSetTargetState, KsRecalculateStackDepth)
SAME(KsSetDevicePnpAndBaseObject, KsRecalculateStackDepth)
SAME(KsQueryDevicePnpObject, KsRecalculateStackDepth)

TEST(KsDefaultDispatchPower)
{
    const char *failed = Start(Make);
    FILE_OBJECT file = {0};
    IO_SECURITY_CONTEXT security = {0};
    if (failed)
        return failed;
    CHECK(Major(IRP_MJ_CREATE, 0, &file, &security) == STATUS_SUCCESS && Object);
    Answer = PassPower;
    KsSetPowerDispatch(Object, OnPower, (PVOID)3);
    CHECK(Major(IRP_MJ_POWER, 2, NULL, NULL) == STATUS_INVALID_DEVICE_REQUEST && Powered == 3);
    KsSetDevicePnpAndBaseObject(Header, Lower, Device);
    Verdict = STATUS_SUCCESS;
    CHECK(Major(IRP_MJ_POWER, 2, NULL, NULL) == STATUS_SUCCESS && Powered == 6 && Arrived == 1 && ArrivedMinor == 2);
    KsSetPowerDispatch(Object, NULL, NULL);
    CHECK(Major(IRP_MJ_POWER, 2, NULL, NULL) == STATUS_SUCCESS && Powered == 6 && Arrived == 2);
    KsFreeObjectHeader(Object);
    Stop();
    PASS;
}
SAME(KsSetPowerDispatch, KsDefaultDispatchPower)

TEST(KsDefaultForwardIrp)
{
    const char *failed = Start(PassOn);
    if (failed)
        return failed;
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, NULL) == STATUS_INVALID_DEVICE_REQUEST && !Arrived);
    KsSetDevicePnpAndBaseObject(Header, Lower, Device);
    Verdict = STATUS_DEVICE_BUSY;
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, NULL) == STATUS_DEVICE_BUSY && ArrivedCode == IOCTL_KS_METHOD);
    Stop();
    PASS;
}

TEST(KsDefaultDispatchPnp)
{
    const char *failed = Start(PassPnp);
    if (failed)
        return failed;
    KsSetDevicePnpAndBaseObject(Header, Lower, Device);
    CHECK(IoAttachDeviceToDeviceStack(Device, Lower) == Lower);
    CHECK(Major(IRP_MJ_PNP, IRP_MN_START_DEVICE, NULL, NULL) == STATUS_SUCCESS && Arrived == 1);
    CHECK(Lower->AttachedDevice == Device);
    CHECK(Major(IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE, NULL, NULL) == STATUS_SUCCESS && Arrived == 2);
    CHECK(!Lower->AttachedDevice && !Driver.DeviceObject && ArrivedMinor == IRP_MN_REMOVE_DEVICE);
    IoDeleteDevice(Lower);
    PASS;
}
