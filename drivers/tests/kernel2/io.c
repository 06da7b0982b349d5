/* Requests, device objects and MDLs. */
#include "kernel2.h"
#include <csq.h>

#define SYS __declspec(dllimport)
#undef IoCallDriver
#undef IoCompleteRequest
#undef ObDereferenceObject
SYS NTSTATUS NTAPI IoCallDriver(PDEVICE_OBJECT, PIRP);
SYS VOID NTAPI IoCompleteRequest(PIRP, CCHAR);
SYS LONG_PTR NTAPI ObDereferenceObject(PVOID);

static DRIVER_OBJECT lower_driver, upper_driver;
static int lower_calls, lower_pends, completions;
static PIRP held;

static NTSTATUS NTAPI lower_dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    lower_calls++;
    if (stack->DeviceObject != device)
        return STATUS_UNSUCCESSFUL;
    if (lower_pends) {
        IoMarkIrpPending(irp);
        held = irp;
        return STATUS_PENDING;
    }
    if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL && irp->AssociatedIrp.SystemBuffer) {
        ULONG *number = irp->AssociatedIrp.SystemBuffer;
        *number += 1;
        irp->IoStatus.Information = sizeof *number;
    } else if (stack->MajorFunction == IRP_MJ_READ && irp->AssociatedIrp.SystemBuffer) {
        *(char *)irp->AssociatedIrp.SystemBuffer = 'r';
        irp->IoStatus.Information = 1;
    } else if (stack->MajorFunction == IRP_MJ_WRITE && irp->MdlAddress) {
        char *data = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
        irp->IoStatus.Information = data[0];
    }
    irp->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI upper_completion(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    completions++;
    if (irp->PendingReturned)
        IoMarkIrpPending(irp);
    *(PDEVICE_OBJECT *)context = device;
    return STATUS_SUCCESS;
}

static PDEVICE_OBJECT seen_device;
static NTSTATUS NTAPI upper_dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    IoCopyCurrentIrpStackLocationToNext(irp);
    IoSetCompletionRoutine(irp, upper_completion, &seen_device, TRUE, TRUE, TRUE);
    return IofCallDriver(*(PDEVICE_OBJECT *)device->DeviceExtension, irp);
}

static NTSTATUS NTAPI keep(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    if (context)
        KeSetEvent(context, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

struct stack {
    PDEVICE_OBJECT lower, upper;
};

static NTSTATUS make(struct stack *stack)
{
    NTSTATUS status;
    int at;
    for (at = 0; at <= IRP_MJ_MAXIMUM_FUNCTION; at++) {
        lower_driver.MajorFunction[at] = lower_dispatch;
        upper_driver.MajorFunction[at] = upper_dispatch;
    }
    lower_driver.Type = upper_driver.Type = 4;
    lower_calls = lower_pends = completions = 0;
    held = NULL;
    status = IoCreateDevice(&lower_driver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &stack->lower);
    if (!NT_SUCCESS(status))
        return status;
    status = IoCreateDevice(&upper_driver, sizeof(PDEVICE_OBJECT), NULL, FILE_DEVICE_KS, 0, FALSE, &stack->upper);
    if (!NT_SUCCESS(status))
        return status;
    *(PDEVICE_OBJECT *)stack->upper->DeviceExtension = IoAttachDeviceToDeviceStack(stack->upper, stack->lower);
    return STATUS_SUCCESS;
}

static void drop(struct stack *stack)
{
    IoDetachDevice(stack->lower);
    IoDeleteDevice(stack->upper);
    IoDeleteDevice(stack->lower);
}

TEST(IoCreateDevice)
{
    PDEVICE_OBJECT a, b, c;
    UNICODE_STRING name;
    DRIVER_OBJECT driver = { 0 };
    RtlInitUnicodeString(&name, L"\\Device\\UserksTest");
    CHECK(IoCreateDevice(&driver, 32, &name, FILE_DEVICE_KS, FILE_DEVICE_SECURE_OPEN, FALSE, &a) == STATUS_SUCCESS);
    CHECK(IoCreateDevice(&driver, 0, &name, FILE_DEVICE_KS, 0, FALSE, &b) == STATUS_OBJECT_NAME_COLLISION);
    CHECK(IoCreateDevice(&driver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &c) == STATUS_SUCCESS);
    CHECK(a->Type == 3 && a->DriverObject == &driver && a->DeviceType == FILE_DEVICE_KS && a->StackSize == 1);
    CHECK(a->Flags & DO_DEVICE_INITIALIZING && a->Characteristics == FILE_DEVICE_SECURE_OPEN && !a->AttachedDevice);
    CHECK(a->DeviceExtension && !*(char *)a->DeviceExtension && !c->DeviceExtension);
    CHECK(driver.DeviceObject == c && c->NextDevice == a && !a->NextDevice);
    IoDeleteDevice(a);
    CHECK(driver.DeviceObject == c && !c->NextDevice);
    CHECK(IoCreateDevice(&driver, 0, &name, FILE_DEVICE_KS, 0, FALSE, &b) == STATUS_SUCCESS);
    IoDeleteDevice(b);
    IoDeleteDevice(c);
    CHECK(!driver.DeviceObject);
    PASS;
}
SAME(IoDeleteDevice, IoCreateDevice)

TEST(IoAttachDeviceToDeviceStack)
{
    struct stack s;
    CHECK(make(&s) == STATUS_SUCCESS);
    CHECK(s.lower->AttachedDevice == s.upper && s.upper->StackSize == 2 && IoGetAttachedDevice(s.lower) == s.upper);
    IoDetachDevice(s.lower);
    CHECK(!s.lower->AttachedDevice);
    CHECK(IoAttachDeviceToDeviceStack(s.upper, s.lower) == s.lower);
    drop(&s);
    PASS;
}
SAME(IoDetachDevice, IoAttachDeviceToDeviceStack)
SAME(IoGetAttachedDevice, IoAttachDeviceToDeviceStack)

TEST(IoAttachDeviceToDeviceStackSafe)
{
    struct stack s;
    PDEVICE_OBJECT to = NULL;
    CHECK(make(&s) == STATUS_SUCCESS);
    IoDetachDevice(s.lower);
    CHECK(IoAttachDeviceToDeviceStackSafe(s.upper, s.lower, &to) == STATUS_SUCCESS && to == s.lower);
    drop(&s);
    PASS;
}

TEST(IoAttachDevice)
{
    PDEVICE_OBJECT a, b, to;
    UNICODE_STRING name;
    RtlInitUnicodeString(&name, L"\\Device\\UserksAttach");
    CHECK(IoCreateDevice(&lower_driver, 0, &name, FILE_DEVICE_KS, 0, FALSE, &a) == STATUS_SUCCESS);
    CHECK(IoCreateDevice(&upper_driver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &b) == STATUS_SUCCESS);
    CHECK(IoAttachDevice(b, &name, &to) == STATUS_SUCCESS && to == a);
    IoDetachDevice(a);
    IoDeleteDevice(a);
    CHECK(IoAttachDevice(b, &name, &to) == STATUS_OBJECT_NAME_NOT_FOUND);
    IoDeleteDevice(b);
    PASS;
}

typedef PDEVICE_OBJECT NTAPI lower_of(PDEVICE_OBJECT);
TEST(IoGetLowerDeviceObject)
{
    struct stack s;
    CHECK(make(&s) == STATUS_SUCCESS);
    CHECK(((lower_of *)routine_of(L"IoGetLowerDeviceObject"))(s.upper) == s.lower);
    CHECK(!((lower_of *)routine_of(L"IoGetLowerDeviceObject"))(s.lower));
    ObfDereferenceObject(s.lower);
    CHECK(((lower_of *)routine_of(L"IoGetDeviceAttachmentBaseRef"))(s.upper) == s.lower);
    ObfDereferenceObject(s.lower);
    CHECK(IoGetAttachedDeviceReference(s.lower) == s.upper);
    ObfDereferenceObject(s.upper);
    drop(&s);
    PASS;
}
SAME(IoGetDeviceAttachmentBaseRef, IoGetLowerDeviceObject)
SAME(IoGetAttachedDeviceReference, IoGetLowerDeviceObject)

#define TYPE(name) (*(POBJECT_TYPE *)routine_of(L"" #name))

/* A device that is referenced lives on after it was deleted. */
TEST(ObfReferenceObject)
{
    PDEVICE_OBJECT device;
    CHECK(IoCreateDevice(&lower_driver, 8, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    ObfReferenceObject(device);
    CHECK(ObReferenceObjectByPointer(device, 0, TYPE(IoDriverObjectType), KernelMode) == STATUS_OBJECT_TYPE_MISMATCH);
    CHECK(ObReferenceObjectByPointer(device, 0, TYPE(IoDeviceObjectType), KernelMode) == STATUS_SUCCESS);
    IoDeleteDevice(device);
    *(char *)device->DeviceExtension = 1;
    ObfDereferenceObject(device);
    ObDereferenceObject(device);
    PASS;
}
SAME(ObfDereferenceObject, ObfReferenceObject)
SAME(ObDereferenceObject, ObfReferenceObject)
SAME(ObReferenceObjectByPointer, ObfReferenceObject)
SAME(IoDeviceObjectType, ObfReferenceObject)
SAME(IoDriverObjectType, ObfReferenceObject)

typedef NTSTATUS NTAPI reference_tag(PVOID, ACCESS_MASK, POBJECT_TYPE, KPROCESSOR_MODE, ULONG);
typedef LONG_PTR NTAPI with_tag(PVOID, ULONG);
typedef VOID NTAPI deferred(PVOID);
TEST(ObfReferenceObjectWithTag)
{
    PDEVICE_OBJECT device;
    CHECK(IoCreateDevice(&lower_driver, 8, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    CHECK(((reference_tag *)routine_of(L"ObReferenceObjectByPointerWithTag"))(device, 0, NULL, KernelMode, 'a') == STATUS_SUCCESS);
    ((with_tag *)routine_of(L"ObfReferenceObjectWithTag"))(device, 'a');
    ((with_tag *)routine_of(L"ObfReferenceObjectWithTag"))(device, 'a');
    ((with_tag *)routine_of(L"ObfDereferenceObjectWithTag"))(device, 'a');
    ((deferred *)routine_of(L"ObDereferenceObjectDeferDelete"))(device);
    ((with_tag *)routine_of(L"ObDereferenceObjectDeferDeleteWithTag"))(device, 'a');
    IoDeleteDevice(device);
    PASS;
}
SAME(ObfDereferenceObjectWithTag, ObfReferenceObjectWithTag)
SAME(ObReferenceObjectByPointerWithTag, ObfReferenceObjectWithTag)
SAME(ObDereferenceObjectDeferDelete, ObfReferenceObjectWithTag)
SAME(ObDereferenceObjectDeferDeleteWithTag, ObfReferenceObjectWithTag)

TEST(IoCreateSymbolicLink)
{
    UNICODE_STRING link, target;
    RtlInitUnicodeString(&link, L"\\DosDevices\\UserksLink");
    RtlInitUnicodeString(&target, L"\\Device\\Nowhere");
    CHECK(IoCreateSymbolicLink(&link, &target) == STATUS_SUCCESS);
    CHECK(IoCreateSymbolicLink(&link, &target) == STATUS_OBJECT_NAME_COLLISION);
    CHECK(IoDeleteSymbolicLink(&link) == STATUS_SUCCESS && IoDeleteSymbolicLink(&link) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(IoCreateUnprotectedSymbolicLink(&link, &target) == STATUS_SUCCESS && IoDeleteSymbolicLink(&link) == STATUS_SUCCESS);
    PASS;
}
SAME(IoDeleteSymbolicLink, IoCreateSymbolicLink)
SAME(IoCreateUnprotectedSymbolicLink, IoCreateSymbolicLink)

TEST(IoAllocateDriverObjectExtension)
{
    /* One key a call: the extension stays with the driver object. */
    static char keys[2], *next_key = keys;
    static DRIVER_OBJECT driver;
    char *key = next_key++;
    PVOID extension, again;
    CHECK(!IoGetDriverObjectExtension(&driver, key));
    CHECK(IoAllocateDriverObjectExtension(&driver, key, 16, &extension) == STATUS_SUCCESS && extension);
    CHECK(IoGetDriverObjectExtension(&driver, key) == extension && !*(char *)extension);
    CHECK(IoAllocateDriverObjectExtension(&driver, key, 16, &again) == STATUS_OBJECT_NAME_COLLISION && !again);
    PASS;
}
SAME(IoGetDriverObjectExtension, IoAllocateDriverObjectExtension)

TEST(IoRegisterShutdownNotification)
{
    struct stack s;
    CHECK(make(&s) == STATUS_SUCCESS);
    CHECK(IoRegisterShutdownNotification(s.upper) == STATUS_SUCCESS);
    CHECK(IoRegisterLastChanceShutdownNotification(s.upper) == STATUS_SUCCESS);
    IoUnregisterShutdownNotification(s.upper);
    drop(&s);
    PASS;
}
SAME(IoRegisterLastChanceShutdownNotification, IoRegisterShutdownNotification)
SAME(IoUnregisterShutdownNotification, IoRegisterShutdownNotification)

static VOID NTAPI again(PDRIVER_OBJECT driver, PVOID context, ULONG count) {}
TEST(IoRegisterDriverReinitialization)
{
    IoRegisterDriverReinitialization(&lower_driver, again, NULL);
    IoRegisterBootDriverReinitialization(&lower_driver, again, NULL);
    PASS;
}
SAME(IoRegisterBootDriverReinitialization, IoRegisterDriverReinitialization)

typedef VOID NTAPI start_attributes(PDEVICE_OBJECT, BOOLEAN, BOOLEAN);
TEST(IoSetStartIoAttributes)
{
    ((start_attributes *)routine_of(L"IoSetStartIoAttributes"))(NULL, TRUE, FALSE);
    PASS;
}

TEST(IoIsWdmVersionAvailable)
{
    CHECK(IoIsWdmVersionAvailable(1, 0x10) && IoIsWdmVersionAvailable(6, 0) && !IoIsWdmVersionAvailable(7, 0));
    PASS;
}

TEST(IoGetConfigurationInformation)
{
    CHECK(IoGetConfigurationInformation()->DiskCount == 0);
    PASS;
}

TEST(IoAllocateIrp)
{
    PIRP irp = IoAllocateIrp(3, FALSE);
    CHECK(irp && irp->Type == 6 && irp->StackCount == 3 && irp->CurrentLocation == 4 && !irp->MdlAddress);
    CHECK((char *)irp->Tail.Overlay.CurrentStackLocation - (char *)irp == 208 + 3 * 72 && irp->Size == 208 + 3 * 72);
    IoFreeIrp(irp);
    PASS;
}
SAME(IoFreeIrp, IoAllocateIrp)

typedef PIRP NTAPI allocate_ex(PDEVICE_OBJECT, CCHAR, BOOLEAN);
TEST(IoAllocateIrpEx)
{
    PIRP irp = ((allocate_ex *)routine_of(L"IoAllocateIrpEx"))(NULL, 2, FALSE);
    CHECK(irp && irp->StackCount == 2);
    IoFreeIrp(irp);
    PASS;
}

TEST(IoInitializeIrp)
{
    static char memory[16 + 208 + 72];
    PIRP irp = (PIRP)(((ULONG_PTR)memory + 15) & ~15ULL);
    irp->Cancel = TRUE;
    IoInitializeIrp(irp, 208 + 72, 1);
    CHECK(irp->Type == 6 && irp->Size == 208 + 72 && irp->StackCount == 1 && irp->CurrentLocation == 2 && !irp->Cancel);
    PASS;
}

TEST(IofCallDriver)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    CHECK(make(&s) == STATUS_SUCCESS);
    irp = IoAllocateIrp(s.upper->StackSize, FALSE);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    seen_device = NULL;
    IoSetCompletionRoutine(irp, keep, &event, TRUE, TRUE, TRUE);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS);
    CHECK(lower_calls == 1 && completions == 1 && seen_device == s.upper && KeReadStateEvent(&event));
    CHECK(irp->CurrentLocation == 3 && irp->IoStatus.Status == STATUS_SUCCESS);
    IoReuseIrp(irp, STATUS_UNSUCCESSFUL);
    CHECK(irp->CurrentLocation == 3 && irp->IoStatus.Status == STATUS_UNSUCCESSFUL && irp->StackCount == 2);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    CHECK(IoCallDriver(s.upper, irp) == STATUS_SUCCESS && lower_calls == 2);
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}
SAME(IoCallDriver, IofCallDriver)
SAME(IoReuseIrp, IofCallDriver)

/* A request that a lower driver holds: it returns pending, and its completion says so all the way up. */
TEST(IofCompleteRequest)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    CHECK(make(&s) == STATUS_SUCCESS);
    lower_pends = 1;
    irp = IoAllocateIrp(s.upper->StackSize, FALSE);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    IoSetCompletionRoutine(irp, keep, &event, TRUE, TRUE, TRUE);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_PENDING && held == irp && completions == 0);
    irp->IoStatus.Status = STATUS_DEVICE_NOT_READY;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    CHECK(completions == 1 && KeReadStateEvent(&event) && irp->PendingReturned);
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}
SAME(IoCompleteRequest, IofCompleteRequest)

TEST(IoSetCompletionRoutineEx)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    CHECK(make(&s) == STATUS_SUCCESS);
    irp = IoAllocateIrp(s.lower->StackSize, FALSE);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    CHECK(IoSetCompletionRoutineEx(s.lower, irp, keep, &event, TRUE, FALSE, TRUE) == STATUS_SUCCESS);
    CHECK(IoGetNextIrpStackLocation(irp)->Control == (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_CANCEL));
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    CHECK(IofCallDriver(s.lower, irp) == STATUS_SUCCESS && KeReadStateEvent(&event));
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}

TEST(IoBuildDeviceIoControlRequest)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    IO_STATUS_BLOCK block = { { 0 } };
    ULONG input = 41, output = 0;
    CHECK(make(&s) == STATUS_SUCCESS);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    irp = IoBuildDeviceIoControlRequest(CTL_CODE(FILE_DEVICE_KS, 1, METHOD_BUFFERED, FILE_ANY_ACCESS), s.upper, &input,
                                        sizeof input, &output, sizeof output, FALSE, &event, &block);
    CHECK(irp && IoGetNextIrpStackLocation(irp)->Parameters.DeviceIoControl.InputBufferLength == 4);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS && KeReadStateEvent(&event));
    CHECK(output == 42 && input == 41 && block.Status == STATUS_SUCCESS && block.Information == 4);
    drop(&s);
    PASS;
}

TEST(IoBuildSynchronousFsdRequest)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    IO_STATUS_BLOCK block = { { 0 } };
    LARGE_INTEGER offset;
    char data[] = "xyz";
    CHECK(make(&s) == STATUS_SUCCESS);
    offset.QuadPart = 7;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    s.upper->Flags |= DO_BUFFERED_IO;
    irp = IoBuildSynchronousFsdRequest(IRP_MJ_READ, s.upper, data, 3, &offset, &event, &block);
    CHECK(irp && IoGetNextIrpStackLocation(irp)->Parameters.Read.ByteOffset.QuadPart == 7);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS && same_text(data, "ryz") && block.Information == 1);
    s.upper->Flags = s.upper->Flags & ~DO_BUFFERED_IO | DO_DIRECT_IO;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    irp = IoBuildSynchronousFsdRequest(IRP_MJ_WRITE, s.upper, data, 3, NULL, &event, &block);
    CHECK(irp && irp->MdlAddress && irp->MdlAddress->MdlFlags & MDL_PAGES_LOCKED);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS && block.Information == 'r' && KeReadStateEvent(&event));
    drop(&s);
    PASS;
}

TEST(IoBuildAsynchronousFsdRequest)
{
    struct stack s;
    PIRP irp;
    char data[] = "xyz";
    CHECK(make(&s) == STATUS_SUCCESS);
    irp = IoBuildAsynchronousFsdRequest(IRP_MJ_WRITE, s.upper, data, 3, NULL, NULL);
    CHECK(irp && irp->UserBuffer == data && IoGetNextIrpStackLocation(irp)->Parameters.Write.Length == 3);
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS);
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}

TEST(IoMakeAssociatedIrp)
{
    struct stack s;
    PIRP master, child[2];
    KEVENT event;
    int at;
    CHECK(make(&s) == STATUS_SUCCESS);
    master = IoAllocateIrp(s.upper->StackSize, FALSE);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    IoSetCompletionRoutine(master, keep, &event, TRUE, TRUE, TRUE);
    IoSetNextIrpStackLocation(master);
    master->AssociatedIrp.IrpCount = 2;
    for (at = 0; at < 2; at++) {
        child[at] = IoMakeAssociatedIrp(master, s.lower->StackSize);
        CHECK(child[at] && child[at]->AssociatedIrp.MasterIrp == master && child[at]->Flags & IRP_ASSOCIATED_IRP);
        IoGetNextIrpStackLocation(child[at])->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    }
    CHECK(IofCallDriver(s.lower, child[0]) == STATUS_SUCCESS && !KeReadStateEvent(&event));
    CHECK(IofCallDriver(s.lower, child[1]) == STATUS_SUCCESS && KeReadStateEvent(&event));
    IoFreeIrp(master);
    drop(&s);
    PASS;
}

static int forwards;
static NTSTATUS NTAPI forward(PDEVICE_OBJECT device, PIRP irp)
{
    BOOLEAN sent = IoForwardIrpSynchronously(*(PDEVICE_OBJECT *)device->DeviceExtension, irp);
    forwards += sent;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}
typedef BOOLEAN NTAPI forward_and_catch(PDEVICE_OBJECT, PIRP);
static NTSTATUS NTAPI forward_caught(PDEVICE_OBJECT device, PIRP irp)
{
    forwards += ((forward_and_catch *)routine_of(L"IoForwardAndCatchIrp"))(*(PDEVICE_OBJECT *)device->DeviceExtension, irp);
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

TEST(IoForwardIrpSynchronously)
{
    struct stack s;
    PIRP irp;
    CHECK(make(&s) == STATUS_SUCCESS);
    upper_driver.MajorFunction[IRP_MJ_FLUSH_BUFFERS] = forward;
    irp = IoAllocateIrp(s.upper->StackSize, FALSE);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    forwards = 0;
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS && forwards == 1 && lower_calls == 1);
    upper_driver.MajorFunction[IRP_MJ_FLUSH_BUFFERS] = forward_caught;
    IoReuseIrp(irp, STATUS_SUCCESS);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    CHECK(IofCallDriver(s.upper, irp) == STATUS_SUCCESS && forwards == 2 && lower_calls == 2);
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}
SAME(IoForwardAndCatchIrp, IoForwardIrpSynchronously)

static PIRP cancelled;
static KIRQL cancel_level;
static VOID NTAPI on_cancel(PDEVICE_OBJECT device, PIRP irp)
{
    cancel_level = irp->CancelIrql;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    cancelled = irp;
    irp->IoStatus.Status = STATUS_CANCELLED;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
}

TEST(IoCancelIrp)
{
    struct stack s;
    PIRP irp;
    KEVENT event;
    CHECK(make(&s) == STATUS_SUCCESS);
    lower_pends = 1;
    cancelled = NULL;
    irp = IoAllocateIrp(s.lower->StackSize, FALSE);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_FLUSH_BUFFERS;
    IoSetCompletionRoutine(irp, keep, &event, FALSE, FALSE, TRUE);
    CHECK(IofCallDriver(s.lower, irp) == STATUS_PENDING);
    IoSetCancelRoutine(irp, on_cancel);
    CHECK(IoCancelIrp(irp) && cancelled == irp && irp->Cancel && KeReadStateEvent(&event));
    CHECK(cancel_level == PASSIVE_LEVEL && KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(irp->IoStatus.Status == STATUS_CANCELLED);
    IoReuseIrp(irp, STATUS_SUCCESS);
    CHECK(!IoCancelIrp(irp) && irp->Cancel);
    IoFreeIrp(irp);
    drop(&s);
    PASS;
}

TEST(IoAcquireCancelSpinLock)
{
    KIRQL level;
    IoAcquireCancelSpinLock(&level);
    CHECK(level == PASSIVE_LEVEL && KeGetCurrentIrql() == DISPATCH_LEVEL);
    IoReleaseCancelSpinLock(level);
    CHECK(KeGetCurrentIrql() == PASSIVE_LEVEL);
    PASS;
}
SAME(IoReleaseCancelSpinLock, IoAcquireCancelSpinLock)

TEST(IoGetTopLevelIrp)
{
    CHECK(!IoGetTopLevelIrp());
    IoSetTopLevelIrp((PIRP)1);
    CHECK(IoGetTopLevelIrp() == (PIRP)1);
    IoSetTopLevelIrp(NULL);
    PASS;
}
SAME(IoSetTopLevelIrp, IoGetTopLevelIrp)

typedef NTSTATUS NTAPI session_id(PIRP, PULONG);
TEST(IoIs32bitProcess)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    ULONG session = 7;
    CHECK(!IoIs32bitProcess(irp));
    CHECK(((ULONG (NTAPI *)(PIRP))routine_of(L"IoGetRequestorProcessId"))(irp) == 4);
    CHECK(((session_id *)routine_of(L"IoGetRequestorSessionId"))(irp, &session) == STATUS_SUCCESS && !session);
    CHECK(!((BOOLEAN (NTAPI *)(PIRP))routine_of(L"IoIsOperationSynchronous"))(irp));
    IoFreeIrp(irp);
    PASS;
}
SAME(IoGetRequestorProcessId, IoIs32bitProcess)
SAME(IoGetRequestorSessionId, IoIs32bitProcess)
SAME(IoIsOperationSynchronous, IoIs32bitProcess)

/* A cancel-safe queue over a list. */
struct queue {
    IO_CSQ csq;
    LIST_ENTRY list;
    KSPIN_LOCK lock;
    int cancelled;
};

static VOID NTAPI queue_insert(PIO_CSQ csq, PIRP irp)
{
    InsertTailList(&CONTAINING_RECORD(csq, struct queue, csq)->list, &irp->Tail.Overlay.ListEntry);
}

static NTSTATUS NTAPI queue_insert_ex(PIO_CSQ csq, PIRP irp, PVOID context)
{
    if (context)
        return STATUS_DEVICE_BUSY;
    queue_insert(csq, irp);
    return STATUS_SUCCESS;
}

static VOID NTAPI queue_remove(PIO_CSQ csq, PIRP irp)
{
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
}

static PIRP NTAPI queue_peek(PIO_CSQ csq, PIRP irp, PVOID context)
{
    struct queue *queue = CONTAINING_RECORD(csq, struct queue, csq);
    PLIST_ENTRY entry = irp ? irp->Tail.Overlay.ListEntry.Flink : queue->list.Flink;
    return entry == &queue->list ? NULL : CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry);
}

static VOID NTAPI queue_acquire(PIO_CSQ csq, PKIRQL level)
{
    KeAcquireSpinLock(&CONTAINING_RECORD(csq, struct queue, csq)->lock, level);
}

static VOID NTAPI queue_release(PIO_CSQ csq, KIRQL level)
{
    KeReleaseSpinLock(&CONTAINING_RECORD(csq, struct queue, csq)->lock, level);
}

static VOID NTAPI queue_complete(PIO_CSQ csq, PIRP irp)
{
    CONTAINING_RECORD(csq, struct queue, csq)->cancelled++;
}

static PIRP waiting_irp(void)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    IoSetNextIrpStackLocation(irp);
    return irp;
}

TEST(IoCsqInsertIrp)
{
    struct queue queue = { 0 };
    IO_CSQ_IRP_CONTEXT context;
    PIRP a = waiting_irp(), b = waiting_irp(), c = waiting_irp();
    InitializeListHead(&queue.list);
    CHECK(IoCsqInitialize(&queue.csq, queue_insert, queue_remove, queue_peek, queue_acquire, queue_release, queue_complete) == STATUS_SUCCESS);
    IoCsqInsertIrp(&queue.csq, a, NULL);
    IoCsqInsertIrp(&queue.csq, b, &context);
    CHECK(IoGetCurrentIrpStackLocation(a)->Control & SL_PENDING_RETURNED);
    CHECK(IoCsqRemoveIrp(&queue.csq, &context) == b && !IoCsqRemoveIrp(&queue.csq, &context));
    CHECK(IoCsqRemoveNextIrp(&queue.csq, NULL) == a && !IoCsqRemoveNextIrp(&queue.csq, NULL));
    IoCsqInsertIrp(&queue.csq, a, &context);
    CHECK(IoCancelIrp(a) && queue.cancelled == 1 && IsListEmpty(&queue.list) && !IoCsqRemoveIrp(&queue.csq, &context));
    c->Cancel = TRUE;
    IoCsqInsertIrp(&queue.csq, c, NULL);
    CHECK(queue.cancelled == 2 && IsListEmpty(&queue.list));
    CHECK(KeGetCurrentIrql() == PASSIVE_LEVEL);
    IoFreeIrp(a);
    IoFreeIrp(b);
    IoFreeIrp(c);
    PASS;
}
SAME(IoCsqInitialize, IoCsqInsertIrp)
SAME(IoCsqRemoveIrp, IoCsqInsertIrp)
SAME(IoCsqRemoveNextIrp, IoCsqInsertIrp)

TEST(IoCsqInsertIrpEx)
{
    struct queue queue = { 0 };
    PIRP irp = waiting_irp();
    InitializeListHead(&queue.list);
    CHECK(IoCsqInitializeEx(&queue.csq, queue_insert_ex, queue_remove, queue_peek, queue_acquire, queue_release, queue_complete) == STATUS_SUCCESS);
    CHECK(IoCsqInsertIrpEx(&queue.csq, irp, NULL, &queue) == STATUS_DEVICE_BUSY);
    CHECK(!(IoGetCurrentIrpStackLocation(irp)->Control & SL_PENDING_RETURNED));
    CHECK(IoCsqInsertIrpEx(&queue.csq, irp, NULL, NULL) == STATUS_SUCCESS && IoCsqRemoveNextIrp(&queue.csq, NULL) == irp);
    IoFreeIrp(irp);
    PASS;
}
SAME(IoCsqInitializeEx, IoCsqInsertIrpEx)
