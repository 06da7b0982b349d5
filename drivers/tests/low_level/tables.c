/* Tables of properties and methods over a driver's own requests. */
#include "low_level.h"

enum { LEVEL, NAME, LATER, ODD };
enum { TWICE, COUNT, PUT, TAKE };

struct wide_item {
    KSPROPERTY_ITEM Item;
    ULONG_PTR Own;
};

static ULONG Level;
static ULONG Limit;
static PIRP Pended;
static ULONG_PTR SeenOwn;
static PVOID SeenSet;
static ULONG SeenKind;
static ULONG Calls;

static NTSTATUS NTAPI GetLevel(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    KSP_NODE *node = (KSP_NODE *)request;
    Calls++;
    if ((ULONG_PTR)request % 8 || (ULONG_PTR)data % 8 || data != irp->AssociatedIrp.SystemBuffer)
        return STATUS_DATATYPE_MISALIGNMENT;
    SeenSet = (PVOID)KSPROPERTY_SET_IRP_STORAGE(irp);
    *(ULONG *)data = Level + node->NodeId;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI SetLevel(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    Calls++;
    if (*(ULONG *)data > 100)
        return STATUS_INVALID_PARAMETER;
    Level = *(ULONG *)data;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetName(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    irp->IoStatus.Information = 6;
    if (!stack->Parameters.DeviceIoControl.OutputBufferLength)
        return data ? STATUS_UNSUCCESSFUL : STATUS_BUFFER_OVERFLOW;
    if (stack->Parameters.DeviceIoControl.OutputBufferLength < 6)
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(data, "Minus", 6);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetLater(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    IoMarkIrpPending(irp);
    Pended = irp;
    return STATUS_PENDING;
}

static NTSTATUS NTAPI GetOdd(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    struct wide_item *item = (struct wide_item *)KSPROPERTY_ITEM_IRP_STORAGE(irp);
    SeenOwn = item ? item->Own : 0;
    return STATUS_SUCCESS;
}

static const ULONG Steps[] = {10, 20, 30};
static const KSPROPERTY_MEMBERSLIST Members[] = {{{KSPROPERTY_MEMBER_VALUES, sizeof(ULONG), 3, 0}, Steps}};
static const KSPROPERTY_VALUES Values = {
    {{{{0x97e99ba0, 0xbdea, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}}, VT_UI4, 0}}}, 1, Members};
static const KSPROPERTY Related[] = {{{{{0x61a3c2b4, 0x1b83, 0x4f0c, {0x9c, 0x4c, 0x0e, 0x6a, 0x5d, 0x9b, 0x7f, 0x01}}, NAME, 0}}}};

static KSPROPERTY_ITEM Items[] = {
    {LEVEL, {GetLevel}, sizeof(KSP_NODE), sizeof(ULONG), {SetLevel}, (PKSPROPERTY_VALUES)&Values, 1, (PKSPROPERTY)Related, NULL, 0},
    {NAME, {GetName}, sizeof(KSPROPERTY), 0, {NULL}, NULL, 0, NULL, NULL, 0},
    {LATER, {GetLater}, sizeof(KSPROPERTY), sizeof(ULONG), {NULL}, NULL, 0, NULL, NULL, 0},
};
static struct wide_item WideItems[] = {
    {{NAME, {GetName}, sizeof(KSPROPERTY), 0, {NULL}, NULL, 0, NULL, NULL, 0}, 1},
    {{ODD, {GetOdd}, sizeof(KSPROPERTY), 0, {NULL}, NULL, 0, NULL, NULL, 0}, 77},
};

static BOOLEAN NTAPI FastLevel(PFILE_OBJECT file, PKSIDENTIFIER request, ULONG request_bytes, PVOID data,
                               ULONG data_bytes, PIO_STATUS_BLOCK status)
{
    if (file != (PFILE_OBJECT)0x1000 || request_bytes != sizeof(KSPROPERTY) || data_bytes != sizeof(ULONG))
        return FALSE;
    *(ULONG *)data = 5;
    status->Status = STATUS_SUCCESS;
    status->Information = sizeof(ULONG);
    return TRUE;
}

static KSFASTPROPERTY_ITEM FastItems[] = {{LEVEL, {FastLevel}, {NULL}, 0}};
static const KSPROPERTY_SET Sets[] = {
    {&SetA, 3, Items, 1, FastItems},
};
static const KSPROPERTY_SET WideSets[] = {
    {&SetB, 2, (PKSPROPERTY_ITEM)WideItems, 0, NULL},
};

static NTSTATUS Properties(PDEVICE_OBJECT device, PIRP irp)
{
    irp->IoStatus.Status = STATUS_MORE_PROCESSING_REQUIRED;
    return KsPropertyHandler(irp, 1, Sets);
}

static NTSTATUS Property(ULONG id, ULONG flags, PVOID data, ULONG bytes, ULONG_PTR *information)
{
    KSP_NODE request;
    request.NodeId = 3;
    request.Reserved = 0;
    Identify((KSIDENTIFIER *)&request, &SetA, id, flags);
    return Ask(IOCTL_KS_PROPERTY, &request, sizeof request, data, bytes, information);
}

TEST(KsPropertyHandler)
{
    struct {
        KSPROPERTY_DESCRIPTION Head;
        KSPROPERTY_MEMBERSHEADER List;
        ULONG Steps[3];
    } described;
    struct {
        KSMULTIPLE_ITEM Head;
        KSIDENTIFIER Related;
    } relations;
    KSIDENTIFIER request;
    GUID set;
    ULONG value = 40;
    char name[8];
    ULONG_PTR size;

    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    Level = 0;
    Calls = 0;
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_SET, &value, 4, &size) == STATUS_SUCCESS && Level == 40 && size == 0);
    value = 0;
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_GET, &value, 4, &size) == STATUS_SUCCESS && value == 43 && size == 4);
    CHECK(SeenSet == (PVOID)&Sets[0] && Calls == 2);
    value = 101;
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_SET, &value, 4, &size) == STATUS_INVALID_PARAMETER && Level == 40);
    /* What is too short never reaches a handler. */
    Calls = 0;
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_SET, &value, 3, &size) == STATUS_BUFFER_TOO_SMALL && size == 0);
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_GET, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == 4);
    Identify(&request, &SetA, LEVEL, KSPROPERTY_TYPE_GET);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, &value, 4, &size) == STATUS_INVALID_BUFFER_SIZE);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, 20, &value, 4, &size) == STATUS_INVALID_BUFFER_SIZE && size == 0);
    CHECK(Calls == 0);
    /* The two calls of a name. */
    CHECK(Property(NAME, KSPROPERTY_TYPE_GET, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == 6);
    CHECK(Property(NAME, KSPROPERTY_TYPE_GET, name, 8, &size) == STATUS_SUCCESS && size == 6 && name[0] == 'M');
    CHECK(Property(NAME, KSPROPERTY_TYPE_SET, name, 6, &size) == STATUS_NOT_FOUND);
    CHECK(Property(99, KSPROPERTY_TYPE_GET, name, 6, &size) == STATUS_NOT_FOUND);
    /* What the table answers by itself. */
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_BASICSUPPORT, &value, 4, &size) == STATUS_SUCCESS && size == 4);
    CHECK(value == (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET | KSPROPERTY_TYPE_BASICSUPPORT));
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_BASICSUPPORT, &described, sizeof described, &size) == STATUS_SUCCESS);
    CHECK(size == (ULONG_PTR)((char *)(described.Steps + 3) - (char *)&described));
    CHECK(described.Head.DescriptionSize == size && described.Steps[1] == 20);
    CHECK(Property(LEVEL, KSPROPERTY_TYPE_RELATIONS, &relations, sizeof relations, &size) == STATUS_SUCCESS);
    CHECK(size == sizeof relations && relations.Head.Count == 1 && relations.Related.Id == NAME);
    Identify(&request, &SetA, 0, KSPROPERTY_TYPE_SETSUPPORT);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, NULL, 0, &size) == STATUS_SUCCESS);
    Identify(&request, &SetB, 0, KSPROPERTY_TYPE_SETSUPPORT);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, NULL, 0, &size) == (NTSTATUS)0xC0000230);
    Identify(&request, &NoSet, 0, KSPROPERTY_TYPE_SETSUPPORT);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, &set, sizeof set, &size) == STATUS_SUCCESS);
    CHECK(size == sizeof set && IsGuid(&set, &SetA));
    Identify(&request, &SetB, 0, KSPROPERTY_TYPE_GET);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, &value, 4, &size) == (NTSTATUS)0xC0000230);
    CHECK(Calls == 0);
    DropDevice();
    PASS;
}

static NTSTATUS NTAPI FinishLater(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    if (request->Id != LATER || !IsGuid(&request->Set, &SetA))
        return STATUS_UNSUCCESSFUL;
    *(ULONG *)data = 1234;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

TEST(KsDispatchSpecificProperty)
{
    struct asked asked;
    KSIDENTIFIER request;
    ULONG value = 0;
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    Identify(&request, &SetA, LATER, KSPROPERTY_TYPE_GET);
    CHECK(Send(&asked, IOCTL_KS_PROPERTY, &request, sizeof request, &value, sizeof value) == STATUS_PENDING);
    CHECK(Pended == asked.Irp && !KeReadStateEvent(&asked.Done) && value == 0);
    Pended->IoStatus.Status = KsDispatchSpecificProperty(Pended, FinishLater);
    CHECK(Pended->IoStatus.Status == STATUS_SUCCESS);
    IofCompleteRequest(Pended, IO_NO_INCREMENT);
    KeWaitForSingleObject(&asked.Done, Executive, KernelMode, FALSE, NULL);
    CHECK(asked.Status.Status == STATUS_SUCCESS && asked.Status.Information == 4 && value == 1234);
    DropDevice();
    PASS;
}

static char Window[256];
static ULONG AllocatedBytes;
static BOOLEAN AllocatedInput;

static NTSTATUS NTAPI Allocate(PIRP irp, ULONG bytes, BOOLEAN input)
{
    AllocatedBytes = bytes;
    AllocatedInput = input;
    if (bytes > sizeof Window)
        return STATUS_NO_MEMORY;
    irp->AssociatedIrp.SystemBuffer = Window;
    return STATUS_SUCCESS;
}

static ULONG WideSize;
static NTSTATUS WideProperties(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = KsPropertyHandlerWithAllocator(irp, 1, WideSets, Allocate, WideSize);
    Limit = irp->Flags & (IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER);
    return status;
}

TEST(KsPropertyHandlerWithAllocator)
{
    KSIDENTIFIER request;
    ULONG_PTR size;
    char answer[16] = {0};
    CHECK(MakeDevice(WideProperties) == STATUS_SUCCESS);
    Identify(&request, &SetB, ODD, KSPROPERTY_TYPE_GET);
    WideSize = sizeof(struct wide_item);
    SeenOwn = 0;
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, answer, 10, &size) == STATUS_SUCCESS && SeenOwn == 77);
    CHECK(AllocatedBytes == 16 + sizeof request && AllocatedInput && !Limit);
    /* The driver's buffer is the driver's: what is in it goes back to the caller by the driver. */
    Identify(&request, &SetB, NAME, KSPROPERTY_TYPE_GET);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, answer, 10, &size) == STATUS_SUCCESS && size == 6);
    CHECK(Window[0] == 'M' && answer[0] == 0);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, answer, 400, &size) == STATUS_NO_MEMORY && size == 0);
    WideSize = sizeof(struct wide_item) - 4;
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, answer, 10, &size) == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

TEST(KsFastPropertyHandler)
{
    KSIDENTIFIER request;
    IO_STATUS_BLOCK status = {{STATUS_UNSUCCESSFUL}, 99};
    ULONG value = 0;
    PFILE_OBJECT file = (PFILE_OBJECT)0x1000;
    Identify(&request, &SetA, LEVEL, KSPROPERTY_TYPE_GET);
    CHECK(KsFastPropertyHandler(file, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    CHECK(value == 5 && status.Status == STATUS_SUCCESS && status.Information == 4);
    CHECK(!KsFastPropertyHandler(NULL, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    request.Flags = KSPROPERTY_TYPE_SET;
    CHECK(!KsFastPropertyHandler(file, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    request.Flags = KSPROPERTY_TYPE_BASICSUPPORT;
    CHECK(!KsFastPropertyHandler(file, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    Identify(&request, &SetA, NAME, KSPROPERTY_TYPE_GET);
    CHECK(!KsFastPropertyHandler(file, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    Identify(&request, &SetB, LEVEL, KSPROPERTY_TYPE_GET);
    CHECK(!KsFastPropertyHandler(file, (PKSPROPERTY)&request, sizeof request, &value, 4, &status, 1, Sets));
    CHECK(!KsFastPropertyHandler(file, (PKSPROPERTY)&request, 8, &value, 4, &status, 1, Sets));
    PASS;
}

static NTSTATUS NTAPI Double(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    if (!IsGuid(KSMETHOD_SET_IRP_STORAGE(irp)->Set, &SetA))
        return STATUS_UNSUCCESSFUL;
    SeenKind = (ULONG)(ULONG_PTR)KSMETHOD_TYPE_IRP_STORAGE(irp);
    *(ULONG *)data *= 2;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Count(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    Calls++;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Put(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    Level = *(ULONG *)data;
    *(ULONG *)data = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Take(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    *(ULONG *)data = 66;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static BOOLEAN NTAPI FastCount(PFILE_OBJECT file, PKSIDENTIFIER request, ULONG request_bytes, PVOID data,
                               ULONG data_bytes, PIO_STATUS_BLOCK status)
{
    Calls += 10;
    status->Status = STATUS_SUCCESS;
    return TRUE;
}

static KSMETHOD_ITEM MethodItems[] = {
    {TWICE, {Double}, sizeof(KSMETHOD), sizeof(ULONG), NULL, KSMETHOD_TYPE_MODIFY},
    {COUNT, {Count}, sizeof(KSMETHOD), 0, NULL, KSMETHOD_TYPE_NONE},
    {PUT, {Put}, sizeof(KSMETHOD), sizeof(ULONG), NULL, KSMETHOD_TYPE_READ},
    {TAKE, {Take}, sizeof(KSMETHOD), sizeof(ULONG), NULL, KSMETHOD_TYPE_WRITE},
};
static KSFASTMETHOD_ITEM FastMethodItems[] = {{COUNT, {FastCount}}};
static const KSMETHOD_SET MethodSets[] = {{&SetA, 4, MethodItems, 1, FastMethodItems}};

static NTSTATUS Methods(PDEVICE_OBJECT device, PIRP irp)
{
    return KsMethodHandler(irp, 1, MethodSets);
}

static NTSTATUS Method(ULONG id, ULONG flags, PVOID data, ULONG bytes, ULONG_PTR *information)
{
    KSIDENTIFIER request;
    Identify(&request, &SetA, id, flags);
    return Ask(IOCTL_KS_METHOD, &request, sizeof request, data, bytes, information);
}

TEST(KsMethodHandler)
{
    ULONG value = 21;
    ULONG_PTR size;
    CHECK(MakeDevice(Methods) == STATUS_SUCCESS);
    CHECK(Method(TWICE, KSMETHOD_TYPE_SEND, &value, 4, &size) == STATUS_SUCCESS && value == 42 && size == 4);
    CHECK(SeenKind == KSMETHOD_TYPE_MODIFY);
    Calls = 0;
    CHECK(Method(COUNT, KSMETHOD_TYPE_SEND, NULL, 0, &size) == STATUS_SUCCESS && Calls == 1 && size == 0);
    /* What the method only reads is a copy, and what it only writes starts out as anything. */
    CHECK(Method(PUT, KSMETHOD_TYPE_SEND, &value, 4, &size) == STATUS_SUCCESS && Level == 42 && value == 42);
    CHECK(Method(TAKE, KSMETHOD_TYPE_SEND, &value, 4, &size) == STATUS_SUCCESS && value == 66);
    CHECK(Method(TWICE, KSMETHOD_TYPE_SEND, &value, 2, &size) == STATUS_BUFFER_TOO_SMALL && value == 66);
    CHECK(Method(TAKE, KSMETHOD_TYPE_BASICSUPPORT, &value, 4, &size) == STATUS_SUCCESS && value == KSMETHOD_TYPE_WRITE);
    CHECK(Method(9, KSMETHOD_TYPE_SEND, &value, 4, &size) == STATUS_NOT_FOUND);
    CHECK(Method(0, KSMETHOD_TYPE_SETSUPPORT, NULL, 0, &size) == STATUS_SUCCESS);
    DropDevice();
    PASS;
}

static NTSTATUS NTAPI Again(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    *(ULONG *)data += request->Id + 1;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS MethodsTwice(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = KsMethodHandlerWithAllocator(irp, 1, MethodSets, NULL, sizeof(KSMETHOD_ITEM));
    if ((PVOID)KSMETHOD_ITEM_IRP_STORAGE(irp) != (PVOID)&MethodItems[TWICE])
        return STATUS_UNSUCCESSFUL;
    return NT_SUCCESS(status) ? KsDispatchSpecificMethod(irp, Again) : status;
}

TEST(KsMethodHandlerWithAllocator)
{
    ULONG value = 10;
    ULONG_PTR size;
    CHECK(MakeDevice(MethodsTwice) == STATUS_SUCCESS);
    CHECK(Method(TWICE, KSMETHOD_TYPE_SEND, &value, 4, &size) == STATUS_SUCCESS && value == 21 && size == 4);
    DropDevice();
    PASS;
}
SAME(KsDispatchSpecificMethod, KsMethodHandlerWithAllocator)

TEST(KsFastMethodHandler)
{
    KSIDENTIFIER request;
    IO_STATUS_BLOCK status = {{STATUS_UNSUCCESSFUL}, 99};
    Calls = 0;
    Identify(&request, &SetA, COUNT, KSMETHOD_TYPE_SEND);
    CHECK(KsFastMethodHandler(NULL, (PKSMETHOD)&request, sizeof request, NULL, 0, &status, 1, MethodSets));
    CHECK(Calls == 10 && status.Status == STATUS_SUCCESS && status.Information == 0);
    request.Id = TWICE;
    CHECK(!KsFastMethodHandler(NULL, (PKSMETHOD)&request, sizeof request, NULL, 0, &status, 1, MethodSets));
    request.Id = COUNT;
    request.Flags = KSMETHOD_TYPE_BASICSUPPORT;
    CHECK(!KsFastMethodHandler(NULL, (PKSMETHOD)&request, sizeof request, NULL, 0, &status, 1, MethodSets));
    PASS;
}
