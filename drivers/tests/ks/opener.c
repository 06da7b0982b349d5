/*
 * A driver that uses another: it opens the filter whose link it is given, creates a pin on it and reads a frame.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E50} */
static const GUID OpenSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x50}};
static const GUID StandardInterface = {0x1A8766A0, 0x62CE, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID StandardMedium = {0x4747B320, 0x62CE, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID ConnectionSet = {0x1D58C920, 0xAC9B, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};

enum { FRAME = 64, CONNECTION_STATE = 0 };

static ULONG Numbers[2];

typedef struct {
    KSPIN_CONNECT Connect;
    KSDATAFORMAT Format;
} CONNECT;

static NTSTATUS SetState(PFILE_OBJECT File, KSSTATE State)
{
    KSPROPERTY property;
    ULONG returned;
    property.Set = ConnectionSet;
    property.Id = CONNECTION_STATE;
    property.Flags = KSPROPERTY_TYPE_SET;
    return KsSynchronousIoControlDevice(File, KernelMode, IOCTL_KS_PROPERTY, &property, sizeof(property), &State,
                                        sizeof(State), &returned);
}

static NTSTATUS Read(PFILE_OBJECT File)
{
    PUCHAR data = ExAllocatePoolWithTag(NonPagedPool, FRAME, 'daeR');
    KSSTREAM_HEADER header;
    IO_STATUS_BLOCK answer;
    KEVENT event;
    NTSTATUS status;

    if (!data)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(&header, sizeof(header));
    header.Size = sizeof(header);
    header.FrameExtent = FRAME;
    header.PresentationTime.Numerator = header.PresentationTime.Denominator = 1;
    header.Data = data;
    status = KsStreamIo(File, NULL, NULL, NULL, NULL, 0, &answer, &header, sizeof(header),
                        KSSTREAM_READ | KSSTREAM_SYNCHRONOUS, KernelMode);
    if (NT_SUCCESS(status))
        Numbers[0] = *(ULONG *)data;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    header.DataUsed = 0;
    if (NT_SUCCESS(status))
        status = KsStreamIo(File, &event, NULL, NULL, NULL, 0, &answer, &header, sizeof(header), KSSTREAM_READ,
                            KernelMode);
    if (status == STATUS_PENDING) {
        KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
        status = answer.Status;
    }
    if (NT_SUCCESS(status) && header.Data == data && header.DataUsed == sizeof(ULONG))
        Numbers[1] = *(ULONG *)data;
    ExFreePool(data);
    return status;
}

static NTSTATUS Use(HANDLE Filter, const KSDATARANGE *Range)
{
    CONNECT connect;
    HANDLE pin;
    PFILE_OBJECT file;
    NTSTATUS status;

    RtlZeroMemory(&connect, sizeof(connect));
    connect.Connect.Interface.Set = StandardInterface;
    connect.Connect.Medium.Set = StandardMedium;
    connect.Format = *Range;
    status = KsCreatePin(Filter, &connect.Connect, GENERIC_READ, &pin);
    if (!NT_SUCCESS(status))
        return status;
    status = ObReferenceObjectByHandle(pin, GENERIC_READ, *IoFileObjectType, KernelMode, (PVOID *)&file, NULL);
    if (NT_SUCCESS(status)) {
        status = SetState(file, KSSTATE_RUN);
        if (NT_SUCCESS(status))
            status = Read(file);
        if (NT_SUCCESS(status))
            status = SetState(file, KSSTATE_STOP);
        ObDereferenceObject(file);
    }
    ZwClose(pin);
    return status;
}

static const KSDATARANGE Range = BYTES_RANGE(FRAME);

/* The data is the link, without a terminator. */
static NTSTATUS OnOpen(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK answer;
    UNICODE_STRING name;
    HANDLE filter;
    NTSTATUS status;

    PAGED_CODE();
    name.Length = name.MaximumLength =
        (USHORT)IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    name.Buffer = Data;
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateFile(&filter, GENERIC_READ, &attributes, &answer, NULL, 0, 0, FILE_OPEN, 0, NULL, 0);
    if (!NT_SUCCESS(status))
        return status;
    status = Use(filter, &Range);
    ZwClose(filter);
    return status;
}

static NTSTATUS OnNumbers(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    RtlCopyMemory(Data, Numbers, sizeof(Numbers));
    Irp->IoStatus.Information = sizeof(Numbers);
    return STATUS_SUCCESS;
}

static ULONG CountInterfaces(const GUID *Category, PDEVICE_OBJECT Device)
{
    PWSTR links, link;
    ULONG count = 0;
    if (!NT_SUCCESS(IoGetDeviceInterfaces(Category, Device, 0, &links)))
        return ~0u;
    for (link = links; *link; link += wcslen(link) + 1)
        count++;
    ExFreePool(links);
    return count;
}

/* Capture interfaces of all devices and of our own, and our own that render. */
static NTSTATUS OnInterfaces(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    static const GUID capture = {CATEGORY_CAPTURE_GUID}, render = {CATEGORY_RENDER_GUID};
    PDEVICE_OBJECT own = KsFilterGetDevice(KsGetFilterFromIrp(Irp))->PhysicalDeviceObject;
    ULONG *counts = Data;
    counts[0] = CountInterfaces(&capture, NULL);
    counts[1] = CountInterfaces(&capture, own);
    counts[2] = CountInterfaces(&render, own);
    Irp->IoStatus.Information = 3 * sizeof(ULONG);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(2, OnInterfaces, sizeof(KSPROPERTY), 3 * sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(0, NULL, sizeof(KSPROPERTY), 0, OnOpen, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(1, OnNumbers, sizeof(KSPROPERTY), sizeof(Numbers), NULL, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&OpenSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};
static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x23}};
static const KSFILTER_DESCRIPTOR Filter = {
    .AutomationTable = &Automation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, 1, Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
