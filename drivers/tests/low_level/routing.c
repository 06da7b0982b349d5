/* Creates and requests routed by device headers, object headers, create items and dispatch tables. */
#include "low_level.h"

static KSDEVICE_HEADER Header;
static FAST_IO_DISPATCH FastIo;
static ULONG Created, Closed, Controls, Reads, FreedItems;
static PVOID LastContext, LastItem, FreedContext;
static ACCESS_MASK LastAccess;

/* What FsContext points at: its first word is the header. */
struct object {
    KSOBJECT_HEADER Header;
    ULONG Number;
};

static NTSTATUS Finish(PIRP irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI OnControl(PDEVICE_OBJECT device, PIRP irp)
{
    Controls++;
    irp->IoStatus.Information = 17;
    return Finish(irp, STATUS_SUCCESS);
}

static NTSTATUS NTAPI OnRead(PDEVICE_OBJECT device, PIRP irp)
{
    Reads++;
    return Finish(irp, STATUS_END_OF_FILE);
}

static NTSTATUS NTAPI OnClose(PDEVICE_OBJECT device, PIRP irp)
{
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    struct object *object = file->FsContext;
    KsFreeObjectHeader(object->Header);
    ExFreePool(object);
    file->FsContext = NULL;
    Closed++;
    return Finish(irp, STATUS_SUCCESS);
}

static BOOLEAN NTAPI OnFastControl(PFILE_OBJECT file, BOOLEAN wait, PVOID in, ULONG in_bytes, PVOID out, ULONG out_bytes,
                                   ULONG code, PIO_STATUS_BLOCK status, PDEVICE_OBJECT device)
{
    status->Status = STATUS_SUCCESS;
    status->Information = in_bytes + out_bytes + code;
    return wait && device == Device;
}

static DEFINE_KSDISPATCH_TABLE(Table, OnControl, OnRead, KsDispatchInvalidDeviceRequest, KsDefaultDeviceIoCompletion,
                               OnClose, NULL, NULL, OnFastControl, KsDispatchFastReadFailure,
                               KsDispatchFastReadFailure);

static NTSTATUS NTAPI OnCreateChild(PDEVICE_OBJECT device, PIRP irp);
static KSOBJECT_CREATE_ITEM Children[2] = {{0}};

static NTSTATUS Create(PIRP irp, ULONG children, PKSOBJECT_CREATE_ITEM items)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    struct object *object = ExAllocatePoolWithTag(NonPagedPool, sizeof *object, 0x6c776f6b);
    NTSTATUS status = KsAllocateObjectHeader(&object->Header, children, items, irp, &Table);
    if (!NT_SUCCESS(status)) {
        ExFreePool(object);
        return Finish(irp, status);
    }
    stack->FileObject->FsContext = object;
    LastItem = KSCREATE_ITEM_IRP_STORAGE(irp);
    LastContext = KSCREATE_ITEM_IRP_STORAGE(irp)->Context;
    LastAccess = KsQueryObjectAccessMask(object->Header);
    Created++;
    return Finish(irp, KsQueryObjectCreateItem(object->Header) == LastItem ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL);
}

static NTSTATUS NTAPI OnCreate(PDEVICE_OBJECT device, PIRP irp)
{
    return Create(irp, 2, Children);
}

static NTSTATUS NTAPI OnCreateChild(PDEVICE_OBJECT device, PIRP irp)
{
    return Create(irp, 0, NULL);
}

static WCHAR FilterName[] = L"filter", AnyName[] = L"any";
static KSOBJECT_CREATE_ITEM Items[] = {
    DEFINE_KSCREATE_ITEMEX(OnCreate, FilterName, (PVOID)11, KSCREATE_ITEM_NOPARAMETERS),
    {NULL, NULL, {0, 0, NULL}, NULL, 0},
    {NULL, NULL, {0, 0, NULL}, NULL, 0},
};

static const char *Start(void)
{
    static const ULONG majors[] = {IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE,
                                   IRP_MJ_FLUSH_BUFFERS};
    ULONG at;
    CHECK(MakeDevice(NULL) == STATUS_SUCCESS);
    for (at = 0; at < RTL_NUMBER_OF(majors); at++)
        CHECK(KsSetMajorFunctionHandler(&Driver, majors[at]) == STATUS_SUCCESS);
    Items[1].Create = Items[2].Create = NULL;
    CHECK(KsAllocateDeviceHeader(&Header, RTL_NUMBER_OF(Items), Items) == STATUS_SUCCESS);
    *(KSDEVICE_HEADER *)Device->DeviceExtension = Header;
    Created = Closed = Controls = Reads = FreedItems = 0;
    PASS;
}

static void Stop(void)
{
    KsFreeDeviceHeader(Header);
    DropDevice();
}

static NTSTATUS Open(PFILE_OBJECT file, PFILE_OBJECT parent, PWSTR name)
{
    IO_SECURITY_CONTEXT security = {NULL, NULL, FILE_READ_DATA, 0};
    RtlZeroMemory(file, sizeof *file);
    file->Type = 5;
    file->DeviceObject = Device;
    file->RelatedFileObject = parent;
    RtlInitUnicodeString(&file->FileName, name);
    return Major(IRP_MJ_CREATE, 0, file, &security);
}

TEST(KsAllocateObjectHeader)
{
    FILE_OBJECT filter, child;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(Open(&filter, NULL, L"\\nothing") == STATUS_OBJECT_NAME_NOT_FOUND && !Created);
    CHECK(Open(&filter, NULL, L"\\FILTER\\parameters") == STATUS_OBJECT_NAME_NOT_FOUND && !Created);
    CHECK(Open(&filter, NULL, L"\\FILTER") == STATUS_SUCCESS && Created == 1);
    CHECK(LastContext == (PVOID)11 && LastItem == &Items[0] && LastAccess == FILE_READ_DATA);
    CHECK(Major(IRP_MJ_DEVICE_CONTROL, 0, &filter, NULL) == STATUS_SUCCESS && Controls == 1);
    CHECK(Major(IRP_MJ_READ, 0, &filter, NULL) == STATUS_END_OF_FILE && Reads == 1);
    CHECK(Major(IRP_MJ_WRITE, 0, &filter, NULL) == STATUS_INVALID_DEVICE_REQUEST);
    /* Children come from the items of the object, with what follows their class as parameters. */
    Children[0].Create = Children[1].Create = NULL;
    CHECK(KsAddObjectCreateItemToObjectHeader(*(KSOBJECT_HEADER *)filter.FsContext, OnCreateChild, (PVOID)5, L"{pin}",
                                              NULL) == STATUS_SUCCESS);
    CHECK(Open(&child, &filter, L"{clock}\\") == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(Open(&child, &filter, L"{pin}\\\x1234\x0001") == STATUS_SUCCESS && Created == 2 && LastContext == (PVOID)5);
    CHECK(Major(IRP_MJ_CLOSE, 0, &child, NULL) == STATUS_SUCCESS && Closed == 1);
    CHECK(Major(IRP_MJ_CLOSE, 0, &filter, NULL) == STATUS_SUCCESS && Closed == 2);
    /* A file object that was never made can be closed, and answers nothing. */
    CHECK(Major(IRP_MJ_DEVICE_CONTROL, 0, &filter, NULL) == STATUS_INVALID_DEVICE_REQUEST);
    CHECK(Major(IRP_MJ_CLOSE, 0, &filter, NULL) == STATUS_SUCCESS && Closed == 2);
    Stop();
    PASS;
}
SAME(KsFreeObjectHeader, KsAllocateObjectHeader)
SAME(KsQueryObjectAccessMask, KsAllocateObjectHeader)
SAME(KsQueryObjectCreateItem, KsAllocateObjectHeader)
SAME(KsSetMajorFunctionHandler, KsAllocateObjectHeader)
SAME(KsAddObjectCreateItemToObjectHeader, KsAllocateObjectHeader)
SAME(KsDispatchInvalidDeviceRequest, KsAllocateObjectHeader)

TEST(KsSetMajorFunctionHandler_refuses)
{
    const char *failed = Start();
    PFAST_IO_DEVICE_CONTROL control;
    FILE_OBJECT filter;
    IO_STATUS_BLOCK status;
    if (failed)
        return failed;
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_PNP) == STATUS_INVALID_PARAMETER);
    CHECK(KsSetMajorFunctionHandler(&Driver, 0x123) == STATUS_INVALID_PARAMETER);
    Driver.FastIoDispatch = NULL;
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_READ | KSDISPATCH_FASTIO) == STATUS_INVALID_PARAMETER);
    Driver.FastIoDispatch = &FastIo;
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_CLOSE | KSDISPATCH_FASTIO) == STATUS_INVALID_PARAMETER);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_READ | KSDISPATCH_FASTIO) == STATUS_SUCCESS && FastIo.FastIoRead);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_WRITE | KSDISPATCH_FASTIO) == STATUS_SUCCESS && FastIo.FastIoWrite);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_DEVICE_CONTROL | KSDISPATCH_FASTIO) == STATUS_SUCCESS);
    control = FastIo.FastIoDeviceControl;
    CHECK(Open(&filter, NULL, L"\\filter") == STATUS_SUCCESS);
    CHECK(control(&filter, TRUE, NULL, 3, NULL, 4, 5, &status, Device) && status.Information == 12);
    CHECK(!FastIo.FastIoRead(&filter, NULL, 1, TRUE, 0, NULL, &status, Device));
    CHECK(!FastIo.FastIoWrite(&filter, NULL, 1, TRUE, 0, NULL, &status, Device));
    CHECK(!KsDispatchFastIoDeviceControlFailure(&filter, TRUE, NULL, 0, NULL, 0, 0, &status, Device));
    CHECK(Major(IRP_MJ_CLOSE, 0, &filter, NULL) == STATUS_SUCCESS);
    CHECK(!control(&filter, TRUE, NULL, 3, NULL, 4, 5, &status, Device));
    Driver.FastIoDispatch = NULL;
    Stop();
    PASS;
}
SAME(KsDispatchFastIoDeviceControlFailure, KsSetMajorFunctionHandler_refuses)
SAME(KsDispatchFastReadFailure, KsSetMajorFunctionHandler_refuses)

static void NTAPI ItemFreed(PKSOBJECT_CREATE_ITEM item)
{
    FreedItems++;
    FreedContext = item->Context;
}

BOOLEAN NTAPI KsiQueryObjectCreateItemsPresent(KSDEVICE_HEADER);

TEST(KsAllocateDeviceHeader)
{
    FILE_OBJECT filter;
    UNICODE_STRING name;
    WCHAR spoiled[] = L"copied";
    KSOBJECT_CREATE_ITEM item = {OnCreate, (PVOID)31, {12, 14, spoiled}, NULL, 0};
    static KSOBJECT_CREATE_ITEM wild = DEFINE_KSCREATE_ITEMEX(OnCreate, AnyName, (PVOID)99, KSCREATE_ITEM_WILDCARD);
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(KsiQueryObjectCreateItemsPresent(Header));
    CHECK(KsAddObjectCreateItemToDeviceHeader(Header, OnCreate, (PVOID)21, L"second", NULL) == STATUS_SUCCESS);
    CHECK(KsAddObjectCreateItemToDeviceHeader(Header, OnCreate, (PVOID)22, L"third", NULL) == STATUS_SUCCESS);
    CHECK(KsAddObjectCreateItemToDeviceHeader(Header, OnCreate, NULL, L"x", NULL) == STATUS_ALLOTTED_SPACE_EXCEEDED);
    CHECK(Open(&filter, NULL, L"\\second\\with") == STATUS_SUCCESS && LastContext == (PVOID)21);
    Major(IRP_MJ_CLOSE, 0, &filter, NULL);
    /* A copy lives on its own, and its end is told. */
    CHECK(KsAllocateObjectCreateItem(Header, &item, TRUE, ItemFreed) == STATUS_SUCCESS);
    spoiled[0] = L'x';
    CHECK(Open(&filter, NULL, L"\\copied") == STATUS_SUCCESS && LastContext == (PVOID)31 && LastItem != &item);
    Major(IRP_MJ_CLOSE, 0, &filter, NULL);
    RtlInitUnicodeString(&name, L"Copied");
    CHECK(KsFreeObjectCreateItem(Header, &name) == STATUS_SUCCESS && FreedItems == 1 && FreedContext == (PVOID)31);
    CHECK(KsFreeObjectCreateItem(Header, &name) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(Open(&filter, NULL, L"\\copied") == STATUS_OBJECT_NAME_NOT_FOUND);
    /* A wildcard is the last resort, and takes whatever comes. */
    CHECK(KsAllocateObjectCreateItem(Header, &wild, FALSE, NULL) == STATUS_SUCCESS);
    CHECK(Open(&filter, NULL, L"\\copied\\more") == STATUS_SUCCESS && LastContext == (PVOID)99 && LastItem == &wild);
    Major(IRP_MJ_CLOSE, 0, &filter, NULL);
    CHECK(Open(&filter, NULL, L"\\third") == STATUS_SUCCESS && LastContext == (PVOID)22);
    Major(IRP_MJ_CLOSE, 0, &filter, NULL);
    CHECK(KsFreeObjectCreateItemsByContext(Header, (PVOID)99) == STATUS_SUCCESS);
    CHECK(KsFreeObjectCreateItemsByContext(Header, (PVOID)99) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(Open(&filter, NULL, L"\\copied") == STATUS_OBJECT_NAME_NOT_FOUND);
    Stop();
    CHECK(KsAllocateDeviceHeader(&Header, 0, NULL) == STATUS_SUCCESS && !KsiQueryObjectCreateItemsPresent(Header));
    item.ObjectClass.Buffer = spoiled;
    CHECK(KsAllocateObjectCreateItem(Header, &item, TRUE, ItemFreed) == STATUS_SUCCESS);
    KsFreeDeviceHeader(Header);
    CHECK(FreedItems == 2);
    PASS;
}
SAME(KsFreeDeviceHeader, KsAllocateDeviceHeader)
SAME(KsAddObjectCreateItemToDeviceHeader, KsAllocateDeviceHeader)
SAME(KsAllocateObjectCreateItem, KsAllocateDeviceHeader)
SAME(KsFreeObjectCreateItem, KsAllocateDeviceHeader)
SAME(KsFreeObjectCreateItemsByContext, KsAllocateDeviceHeader)
SAME(KsiQueryObjectCreateItemsPresent, KsAllocateDeviceHeader)

static NTSTATUS ByDefault(PDEVICE_OBJECT device, PIRP irp)
{
    KsDefaultDeviceIoCompletion(device, irp);
    return STATUS_PENDING;
}

TEST(KsDefaultDeviceIoCompletion)
{
    CHECK(MakeDevice(ByDefault) == STATUS_SUCCESS);
    CHECK(Ask(IOCTL_KS_PROPERTY, NULL, 0, NULL, 0, NULL) == (NTSTATUS)0xC0000230);
    CHECK(Ask(IOCTL_KS_METHOD, NULL, 0, NULL, 0, NULL) == (NTSTATUS)0xC0000230);
    CHECK(Ask(IOCTL_KS_ENABLE_EVENT, NULL, 0, NULL, 0, NULL) == (NTSTATUS)0xC0000230);
    CHECK(Ask(IOCTL_KS_RESET_STATE, NULL, 0, NULL, 0, NULL) == STATUS_SUCCESS);
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, NULL, 0, NULL) == STATUS_INVALID_DEVICE_REQUEST);
    DropDevice();
    PASS;
}

static NTSTATUS ByTable(PDEVICE_OBJECT device, PIRP irp)
{
    KsDispatchIrp(device, irp);
    return STATUS_PENDING;
}

TEST(KsDispatchIrp)
{
    FILE_OBJECT filter;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(Open(&filter, NULL, L"\\filter") == STATUS_SUCCESS);
    /* The driver's own dispatch routine decides, and passes the request on. */
    Answer = ByTable;
    Driver.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Dispatch;
    CHECK(Major(IRP_MJ_DEVICE_CONTROL, 0, &filter, NULL) == STATUS_SUCCESS && Controls == 1);
    CHECK(Major(IRP_MJ_CLOSE, 0, &filter, NULL) == STATUS_SUCCESS && Closed == 1);
    Stop();
    PASS;
}

/* A self-relative descriptor with an owner of one authority. */
static const UCHAR Descriptor[32] = {1, 0, 0, 0x80, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                     1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};

static NTSTATUS Security(UCHAR major, PFILE_OBJECT file, PVOID second, PVOID user)
{
    PIRP irp = IoAllocateIrp(Device->StackSize, FALSE);
    NTSTATUS status;
    irp->UserBuffer = user;
    IoGetNextIrpStackLocation(irp)->Parameters.Others.Argument2 = second;
    status = SendMajor(irp, major, 0, file, (PVOID)(ULONG_PTR)OWNER_SECURITY_INFORMATION);
    IoFreeIrp(irp);
    return status;
}

TEST(KsDispatchQuerySecurity)
{
    static DEFINE_KSDISPATCH_TABLE(secured, OnControl, OnRead, OnRead, OnRead, OnClose, KsDispatchQuerySecurity,
                                   KsDispatchSetSecurity, NULL, NULL, NULL);
    FILE_OBJECT filter;
    UCHAR read[40] = {0};
    PSECURITY_DESCRIPTOR made;
    struct object *object;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_QUERY_SECURITY) == STATUS_SUCCESS);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_SET_SECURITY) == STATUS_SUCCESS);
    CHECK(Open(&filter, NULL, L"\\filter") == STATUS_SUCCESS);
    CHECK(Security(IRP_MJ_QUERY_SECURITY, &filter, (PVOID)40, read) == STATUS_INVALID_DEVICE_REQUEST);
    object = filter.FsContext;
    CHECK(!Items[0].SecurityDescriptor);
    /* The same object, with a table that knows of security. */
    KsFreeObjectHeader(object->Header);
    {
        PIRP irp = IoAllocateIrp(1, FALSE);
        IoSetNextIrpStackLocation(irp);
        IoGetCurrentIrpStackLocation(irp)->DeviceObject = Device;
        KSCREATE_ITEM_IRP_STORAGE(irp) = &Items[0];
        CHECK(KsAllocateObjectHeader(&object->Header, 0, NULL, irp, &secured) == STATUS_SUCCESS);
        IoFreeIrp(irp);
    }
    CHECK(Security(IRP_MJ_QUERY_SECURITY, &filter, (PVOID)40, read) == STATUS_NO_SECURITY_ON_OBJECT);
    CHECK(Security(IRP_MJ_SET_SECURITY, &filter, (PVOID)&Items[0], NULL) == STATUS_INVALID_PARAMETER);
    CHECK(Security(IRP_MJ_SET_SECURITY, &filter, (PVOID)Descriptor, NULL) == STATUS_SUCCESS);
    CHECK(Items[0].SecurityDescriptor && Items[0].SecurityDescriptor != (PVOID)Descriptor);
    CHECK(Items[0].Flags & KSCREATE_ITEM_SECURITYCHANGED);
    CHECK(Security(IRP_MJ_QUERY_SECURITY, &filter, (PVOID)31, read) == STATUS_BUFFER_OVERFLOW && !read[0]);
    CHECK(Security(IRP_MJ_QUERY_SECURITY, &filter, (PVOID)40, read) == STATUS_SUCCESS && read[28] == 18 && !read[32]);
    CHECK(KsCreateDefaultSecurity(Items[0].SecurityDescriptor, &made) == STATUS_SUCCESS);
    CHECK(made != Items[0].SecurityDescriptor && ((PUCHAR)made)[28] == 18);
    ExFreePool(made);
    CHECK(KsCreateDefaultSecurity(NULL, &made) == STATUS_SUCCESS && ((PUCHAR)made)[0] == 1);
    ExFreePool(made);
    KsAcquireDeviceSecurityLock(Header, FALSE);
    KsAcquireDeviceSecurityLock(Header, FALSE);
    KsReleaseDeviceSecurityLock(Header);
    KsReleaseDeviceSecurityLock(Header);
    KsAcquireDeviceSecurityLock(Header, TRUE);
    KsReleaseDeviceSecurityLock(Header);
    ExFreePool(Items[0].SecurityDescriptor);
    Items[0].SecurityDescriptor = NULL;
    Items[0].Flags = KSCREATE_ITEM_NOPARAMETERS;
    CHECK(Major(IRP_MJ_CLOSE, 0, &filter, NULL) == STATUS_SUCCESS);
    Stop();
    PASS;
}
SAME(KsDispatchSetSecurity, KsDispatchQuerySecurity)
SAME(KsCreateDefaultSecurity, KsDispatchQuerySecurity)
SAME(KsAcquireDeviceSecurityLock, KsDispatchQuerySecurity)
SAME(KsReleaseDeviceSecurityLock, KsDispatchQuerySecurity)
