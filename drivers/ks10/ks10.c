/*
 * ks10: a Kernel Streaming driver without AVStream, as they were written before it. It has a device object, dispatch
 * tables, property tables and queues of its own, and takes from ks.sys only the routines below AVStream.
 *
 * Its filter has two pins of plain bytes. Pin 0 gives: to whoever reads from it, or, created for another pin, to that
 * pin, by requests that it sends there with IoCallDriver. Pin 1 takes what is written to it and keeps a sum.
 */
#include "bytes.h"

enum { PIN_GIVES, PIN_TAKES, PINS };
enum { FRAME_BYTES = 64, FRAMES_SENT = 100, TAG = 0x3031736b };

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E10}: item 0 of a pin, KS10_TOTALS; item 1 of the filter, the link that leads to it. */
static const GUID OwnSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x10}};

typedef struct {
    ULONGLONG Bytes;
    ULONGLONG Frames;
    ULONGLONG Sum;
} KS10_TOTALS;

/* What the device extension starts with is the header, and so are the contexts of file objects. */
typedef struct {
    KSDEVICE_HEADER Header;
    UNICODE_STRING Link;
} DEVICE;

typedef struct {
    KSOBJECT_HEADER Header;
    LONG Instances[PINS];
} FILTER;

typedef struct {
    KSOBJECT_HEADER Header;
    FILTER *Filter;
    PFILE_OBJECT FilterFile;
    ULONG Id;
    volatile KSSTATE State;
    KS10_TOTALS Totals;
    KSDATAFORMAT Format;
    /* Reads that wait for the pin to run. */
    LIST_ENTRY Reads;
    KSPIN_LOCK Lock;
    UCHAR Next;
    /* The pin that this one was created for, and the worker that sends to it. */
    PFILE_OBJECT Other;
    PDEVICE_OBJECT OtherDevice;
    PKSWORKER Worker;
    WORK_QUEUE_ITEM Item;
} PIN;

static const KSDATARANGE Range = BYTES_RANGE(FRAME_BYTES);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const GUID Capture = {CATEGORY_CAPTURE_GUID};
static const KSPIN_DESCRIPTOR Pins[PINS] = {
    {0, NULL, 0, NULL, 1, Ranges, KSPIN_DATAFLOW_OUT, KSPIN_COMMUNICATION_BOTH, &Capture, NULL, {0}},
    {0, NULL, 0, NULL, 1, Ranges, KSPIN_DATAFLOW_IN, KSPIN_COMMUNICATION_SINK, NULL, NULL, {0}},
};
static const KSTOPOLOGY Topology = {1, &Capture, 0, NULL, 0, NULL, NULL, 0};

static NTSTATUS Finish(PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static PVOID Object(PIRP Irp)
{
    return IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
}

/* ---- The filter's properties ---- */

static NTSTATUS NTAPI GetPin(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return KsPinPropertyHandler(Irp, (PKSPROPERTY)Request, Data, PINS, Pins);
}

static NTSTATUS NTAPI GetInstances(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    FILTER *filter = Object(Irp);
    ULONG id = ((PKSP_PIN)Request)->PinId;
    if (id >= PINS)
        return STATUS_INVALID_PARAMETER;
    ((PKSPIN_CINSTANCES)Data)->PossibleCount = 1;
    ((PKSPIN_CINSTANCES)Data)->CurrentCount = filter->Instances[id];
    Irp->IoStatus.Information = sizeof(KSPIN_CINSTANCES);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Intersect(PIRP Irp, PKSP_PIN Pin, PKSDATARANGE Wanted, PVOID Data)
{
    ULONG room = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    Irp->IoStatus.Information = sizeof(KSDATAFORMAT);
    if (!room)
        return STATUS_BUFFER_OVERFLOW;
    if (room < sizeof(KSDATAFORMAT))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Data, &Range, sizeof(KSDATAFORMAT));
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetIntersection(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return KsPinDataIntersection(Irp, (PKSP_PIN)Request, Data, PINS, Pins, Intersect);
}

static NTSTATUS NTAPI GetLink(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    DEVICE *device = stack->DeviceObject->DeviceExtension;
    ULONG room = stack->Parameters.DeviceIoControl.OutputBufferLength;
    Irp->IoStatus.Information = device->Link.Length;
    if (!room)
        return STATUS_BUFFER_OVERFLOW;
    if (room < device->Link.Length)
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Data, device->Link.Buffer, device->Link.Length);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetTopology(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return KsTopologyPropertyHandler(Irp, (PKSPROPERTY)Request, Data, &Topology);
}

#define READABLE(id, handler, request, data) {id, {handler}, request, data, {NULL}, NULL, 0, NULL, NULL, 0}
static const GUID PinSet = {0x8C134960, 0x51AD, 0x11CF, {0x87, 0x8A, 0x94, 0xF8, 0x01, 0xC1, 0x00, 0x00}};
static const GUID TopologySet = {0x720D4AC0, 0x7533, 0x11D0, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const KSPROPERTY_ITEM PinItems[] = {
    READABLE(KSPROPERTY_PIN_CINSTANCES, GetInstances, sizeof(KSP_PIN), sizeof(KSPIN_CINSTANCES)),
    READABLE(KSPROPERTY_PIN_CTYPES, GetPin, sizeof(KSPROPERTY), sizeof(ULONG)),
    READABLE(KSPROPERTY_PIN_DATAFLOW, GetPin, sizeof(KSP_PIN), sizeof(KSPIN_DATAFLOW)),
    READABLE(KSPROPERTY_PIN_DATARANGES, GetPin, sizeof(KSP_PIN), 0),
    READABLE(KSPROPERTY_PIN_DATAINTERSECTION, GetIntersection, sizeof(KSP_PIN) + sizeof(KSMULTIPLE_ITEM), 0),
    READABLE(KSPROPERTY_PIN_INTERFACES, GetPin, sizeof(KSP_PIN), 0),
    READABLE(KSPROPERTY_PIN_MEDIUMS, GetPin, sizeof(KSP_PIN), 0),
    READABLE(KSPROPERTY_PIN_COMMUNICATION, GetPin, sizeof(KSP_PIN), sizeof(KSPIN_COMMUNICATION)),
    READABLE(KSPROPERTY_PIN_NECESSARYINSTANCES, GetPin, sizeof(KSP_PIN), sizeof(ULONG)),
    READABLE(KSPROPERTY_PIN_CATEGORY, GetPin, sizeof(KSP_PIN), sizeof(GUID)),
    READABLE(KSPROPERTY_PIN_NAME, GetPin, sizeof(KSP_PIN), 0),
};
static const KSPROPERTY_ITEM TopologyItems[] = {
    READABLE(KSPROPERTY_TOPOLOGY_CATEGORIES, GetTopology, sizeof(KSPROPERTY), 0),
    READABLE(KSPROPERTY_TOPOLOGY_NODES, GetTopology, sizeof(KSPROPERTY), 0),
    READABLE(KSPROPERTY_TOPOLOGY_CONNECTIONS, GetTopology, sizeof(KSPROPERTY), 0),
};
static const KSPROPERTY_ITEM LinkItems[] = {READABLE(1, GetLink, sizeof(KSPROPERTY), 0)};
static const KSPROPERTY_SET FilterSets[] = {
    {&OwnSet, SIZEOF_ARRAY(LinkItems), LinkItems, 0, NULL},
    {&PinSet, SIZEOF_ARRAY(PinItems), PinItems, 0, NULL},
    {&TopologySet, SIZEOF_ARRAY(TopologyItems), TopologyItems, 0, NULL},
};

static NTSTATUS NTAPI FilterControl(PDEVICE_OBJECT Device, PIRP Irp)
{
    if (IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.IoControlCode != IOCTL_KS_PROPERTY)
        return KsDefaultDeviceIoCompletion(Device, Irp);
    return Finish(Irp, KsPropertyHandler(Irp, SIZEOF_ARRAY(FilterSets), FilterSets));
}

/* ---- The pins ---- */

/* Fills the frames of a read that has been probed. */
static void Fill(PIN *Pin, PIRP Irp)
{
    ULONG bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    PKSSTREAM_HEADER header = Irp->AssociatedIrp.SystemBuffer, end = (PKSSTREAM_HEADER)((PUCHAR)header + bytes);
    PMDL mdl = Irp->MdlAddress;
    for (; header < end; header++) {
        if (!header->FrameExtent)
            continue;
        RtlFillMemory(MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority), header->FrameExtent, Pin->Next++);
        header->DataUsed = header->FrameExtent;
        mdl = mdl->Next;
    }
    Irp->IoStatus.Information = bytes;
    Finish(Irp, STATUS_SUCCESS);
}

static void Serve(PIN *Pin)
{
    PIRP irp;
    while (Pin->State == KSSTATE_RUN &&
           (irp = KsRemoveIrpFromCancelableQueue(&Pin->Reads, &Pin->Lock, KsListEntryHead, KsAcquireAndRemove)))
        Fill(Pin, irp);
}

static NTSTATUS Read(PIN *Pin, PIRP Irp)
{
    NTSTATUS status;
    if (Pin->Id != PIN_GIVES || Pin->Other)
        return Finish(Irp, STATUS_INVALID_DEVICE_REQUEST);
    if (Pin->State == KSSTATE_STOP)
        return Finish(Irp, STATUS_INVALID_DEVICE_STATE);
    status = KsProbeStreamIrp(Irp,
                              KSSTREAM_READ | KSPROBE_ALLOCATEMDL | KSPROBE_PROBEANDLOCK | KSPROBE_SYSTEMADDRESS,
                              sizeof(KSSTREAM_HEADER));
    if (!NT_SUCCESS(status))
        return Finish(Irp, status);
    IoMarkIrpPending(Irp);
    KsAddIrpToCancelableQueue(&Pin->Reads, &Pin->Lock, Irp, KsListEntryTail, NULL);
    Serve(Pin);
    return STATUS_PENDING;
}

static NTSTATUS Write(PIN *Pin, PIRP Irp)
{
    ULONG bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength, at;
    PKSSTREAM_HEADER header, end;
    PUCHAR data;
    PMDL mdl;
    NTSTATUS status;
    if (Pin->Id != PIN_TAKES)
        return Finish(Irp, STATUS_INVALID_DEVICE_REQUEST);
    if (Pin->State == KSSTATE_STOP)
        return Finish(Irp, STATUS_INVALID_DEVICE_STATE);
    status = KsProbeStreamIrp(Irp,
                              KSSTREAM_WRITE | KSPROBE_ALLOCATEMDL | KSPROBE_PROBEANDLOCK | KSPROBE_SYSTEMADDRESS,
                              sizeof(KSSTREAM_HEADER));
    if (!NT_SUCCESS(status))
        return Finish(Irp, status);
    header = Irp->AssociatedIrp.SystemBuffer;
    end = (PKSSTREAM_HEADER)((PUCHAR)header + bytes);
    for (mdl = Irp->MdlAddress; header < end; header++) {
        if (!header->FrameExtent)
            continue;
        data = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
        for (at = 0; at < header->DataUsed; at++)
            Pin->Totals.Sum += data[at];
        Pin->Totals.Bytes += header->DataUsed;
        Pin->Totals.Frames++;
        mdl = mdl->Next;
    }
    return Finish(Irp, STATUS_SUCCESS);
}

static NTSTATUS NTAPI Sent(PDEVICE_OBJECT Device, PIRP Irp, PVOID Done)
{
    KeSetEvent(Done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

/* Sends one frame to the other pin and waits until that has taken it. */
static NTSTATUS SendFrame(PIN *Pin, PUCHAR Frame)
{
    KSSTREAM_HEADER header = {.Size = sizeof header, .Data = Frame, .FrameExtent = FRAME_BYTES, .DataUsed = FRAME_BYTES};
    PIRP irp = IoAllocateIrp(Pin->OtherDevice->StackSize, FALSE);
    PIO_STACK_LOCATION next;
    KEVENT done;
    NTSTATUS status;
    if (!irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    header.PresentationTime.Numerator = header.PresentationTime.Denominator = 1;
    RtlFillMemory(Frame, FRAME_BYTES, Pin->Next++);
    KeInitializeEvent(&done, NotificationEvent, FALSE);
    next = IoGetNextIrpStackLocation(irp);
    next->MajorFunction = IRP_MJ_DEVICE_CONTROL;
    next->FileObject = Pin->Other;
    next->Parameters.DeviceIoControl.IoControlCode = IOCTL_KS_WRITE_STREAM;
    next->Parameters.DeviceIoControl.OutputBufferLength = sizeof header;
    irp->UserBuffer = &header;
    irp->RequestorMode = KernelMode;
    IoSetCompletionRoutine(irp, Sent, &done, TRUE, TRUE, TRUE);
    IoCallDriver(Pin->OtherDevice, irp);
    KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
    status = irp->IoStatus.Status;
    IoFreeIrp(irp);
    if (NT_SUCCESS(status)) {
        Pin->Totals.Frames++;
        Pin->Totals.Bytes += FRAME_BYTES;
    }
    return status;
}

static VOID NTAPI SendAll(PVOID Context)
{
    PIN *pin = Context;
    PUCHAR frame = ExAllocatePoolWithTag(NonPagedPool, FRAME_BYTES, TAG);
    ULONG sent;
    for (sent = 0; frame && sent < FRAMES_SENT && pin->State == KSSTATE_RUN; sent++)
        if (!NT_SUCCESS(SendFrame(pin, frame)))
            break;
    if (frame)
        ExFreePool(frame);
}

static NTSTATUS NTAPI GetState(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PIN *pin = Object(Irp);
    *(KSSTATE *)Data = pin->State;
    Irp->IoStatus.Information = sizeof(KSSTATE);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI SetState(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PIN *pin = Object(Irp);
    KSSTATE state = *(KSSTATE *)Data;
    DEVICE *device = IoGetCurrentIrpStackLocation(Irp)->DeviceObject->DeviceExtension;
    if (state > KSSTATE_RUN)
        return STATUS_INVALID_PARAMETER;
    if (pin->Other && pin->State == KSSTATE_STOP && state != KSSTATE_STOP) {
        KsSetTargetState(pin->Header, KSTARGET_STATE_ENABLED);
        KsRecalculateStackDepth(device->Header, FALSE);
    }
    if (pin->Other && pin->State != KSSTATE_STOP && state == KSSTATE_STOP)
        KsSetTargetState(pin->Header, KSTARGET_STATE_DISABLED);
    pin->State = state;
    if (state == KSSTATE_STOP)
        KsCancelIo(&pin->Reads, &pin->Lock);
    if (state == KSSTATE_RUN && pin->Other)
        return KsQueueWorkItem(pin->Worker, &pin->Item);
    Serve(pin);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetFormat(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PIN *pin = Object(Irp);
    RtlCopyMemory(Data, &pin->Format, sizeof(KSDATAFORMAT));
    Irp->IoStatus.Information = sizeof(KSDATAFORMAT);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetTotals(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PIN *pin = Object(Irp);
    *(KS10_TOTALS *)Data = pin->Totals;
    Irp->IoStatus.Information = sizeof(KS10_TOTALS);
    return STATUS_SUCCESS;
}

static const GUID ConnectionSet = {0x1D58C920, 0xAC9B, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const KSPROPERTY_ITEM ConnectionItems[] = {
    {KSPROPERTY_CONNECTION_STATE, {GetState}, sizeof(KSPROPERTY), sizeof(KSSTATE), {SetState}, NULL, 0, NULL, NULL, 0},
    READABLE(KSPROPERTY_CONNECTION_DATAFORMAT, GetFormat, sizeof(KSPROPERTY), sizeof(KSDATAFORMAT)),
};
static const KSPROPERTY_ITEM OwnItems[] = {READABLE(0, GetTotals, sizeof(KSPROPERTY), sizeof(KS10_TOTALS))};
static const KSPROPERTY_SET PinSets[] = {
    {&ConnectionSet, SIZEOF_ARRAY(ConnectionItems), ConnectionItems, 0, NULL},
    {&OwnSet, SIZEOF_ARRAY(OwnItems), OwnItems, 0, NULL},
};

static NTSTATUS NTAPI PinControl(PDEVICE_OBJECT Device, PIRP Irp)
{
    switch (IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_KS_PROPERTY:
        return Finish(Irp, KsPropertyHandler(Irp, SIZEOF_ARRAY(PinSets), PinSets));
    case IOCTL_KS_READ_STREAM:
        return Read(Object(Irp), Irp);
    case IOCTL_KS_WRITE_STREAM:
        return Write(Object(Irp), Irp);
    default:
        return KsDefaultDeviceIoCompletion(Device, Irp);
    }
}

static NTSTATUS NTAPI PinClose(PDEVICE_OBJECT Device, PIRP Irp)
{
    PIN *pin = Object(Irp);
    pin->State = KSSTATE_STOP;
    KsCancelIo(&pin->Reads, &pin->Lock);
    if (pin->Worker)
        KsUnregisterWorker(pin->Worker);
    InterlockedDecrement(&pin->Filter->Instances[pin->Id]);
    if (pin->Other) {
        KsSetTargetDeviceObject(pin->Header, NULL);
        ObDereferenceObject(pin->Other);
    }
    ObDereferenceObject(pin->FilterFile);
    KsFreeObjectHeader(pin->Header);
    ExFreePool(pin);
    return Finish(Irp, STATUS_SUCCESS);
}

static DEFINE_KSDISPATCH_TABLE(PinTable, PinControl, KsDispatchInvalidDeviceRequest, KsDispatchInvalidDeviceRequest,
                               KsDispatchInvalidDeviceRequest, PinClose, KsDispatchInvalidDeviceRequest,
                               KsDispatchInvalidDeviceRequest, KsDispatchFastIoDeviceControlFailure,
                               KsDispatchFastReadFailure, KsDispatchFastReadFailure);

static NTSTATUS MakePin(PIRP Irp, PKSPIN_CONNECT Connect)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    FILTER *filter = stack->FileObject->RelatedFileObject->FsContext;
    PIN *pin = ExAllocatePoolWithTag(NonPagedPool, sizeof *pin, TAG);
    NTSTATUS status;
    if (!pin)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(pin, sizeof *pin);
    pin->Filter = filter;
    pin->FilterFile = stack->FileObject->RelatedFileObject;
    pin->Id = Connect->PinId;
    pin->Format = *(PKSDATAFORMAT)(Connect + 1);
    InitializeListHead(&pin->Reads);
    KeInitializeSpinLock(&pin->Lock);
    status = KsAllocateObjectHeader(&pin->Header, 0, NULL, Irp, &PinTable);
    if (NT_SUCCESS(status) && Connect->PinToHandle) {
        status = ObReferenceObjectByHandle(Connect->PinToHandle, 0, *IoFileObjectType, KernelMode,
                                           (PVOID *)&pin->Other, NULL);
        if (NT_SUCCESS(status)) {
            pin->OtherDevice = IoGetRelatedDeviceObject(pin->Other);
            KsSetTargetDeviceObject(pin->Header, pin->OtherDevice);
            ExInitializeWorkItem(&pin->Item, SendAll, pin);
            status = KsRegisterWorker(DelayedWorkQueue, &pin->Worker);
        }
    }
    if (!NT_SUCCESS(status)) {
        if (pin->Other)
            ObDereferenceObject(pin->Other);
        if (pin->Header)
            KsFreeObjectHeader(pin->Header);
        ExFreePool(pin);
        return status;
    }
    ObReferenceObject(pin->FilterFile);
    stack->FileObject->FsContext = pin;
    return STATUS_SUCCESS;
}

#ifdef HOLDS_PINS
/* Creates that wait until their client cancels them. */
static LIST_ENTRY Held;
static KSPIN_LOCK HeldLock;

static NTSTATUS Hold(PIRP Irp)
{
    if (!Held.Flink)
        InitializeListHead(&Held);
    KsAddIrpToCancelableQueue(&Held, &HeldLock, Irp, KsListEntryTail, NULL);
    return STATUS_PENDING;
}
#endif

static NTSTATUS NTAPI CreatePin(PDEVICE_OBJECT Device, PIRP Irp)
{
    FILTER *filter = IoGetCurrentIrpStackLocation(Irp)->FileObject->RelatedFileObject->FsContext;
    PKSPIN_CONNECT connect;
    NTSTATUS status = KsValidateConnectRequest(Irp, PINS, Pins, &connect);
    if (!NT_SUCCESS(status))
        return Finish(Irp, status);
#ifdef HOLDS_PINS
    return Hold(Irp);
#endif
    if (InterlockedIncrement(&filter->Instances[connect->PinId]) > 1)
        status = STATUS_INVALID_DEVICE_STATE;
    else
        status = MakePin(Irp, connect);
    if (!NT_SUCCESS(status))
        InterlockedDecrement(&filter->Instances[connect->PinId]);
    return Finish(Irp, status);
}

/* ---- The filter ---- */

static NTSTATUS NTAPI FilterClose(PDEVICE_OBJECT Device, PIRP Irp)
{
    FILTER *filter = Object(Irp);
    KsFreeObjectHeader(filter->Header);
    ExFreePool(filter);
    return Finish(Irp, STATUS_SUCCESS);
}

static WCHAR PinName[] = KSSTRING_Pin, FilterName[] = L"ks10";
static KSOBJECT_CREATE_ITEM FilterItems[] = {DEFINE_KSCREATE_ITEM(CreatePin, PinName, NULL)};
static DEFINE_KSDISPATCH_TABLE(FilterTable, FilterControl, KsDispatchInvalidDeviceRequest,
                               KsDispatchInvalidDeviceRequest, KsDispatchInvalidDeviceRequest, FilterClose,
                               KsDispatchInvalidDeviceRequest, KsDispatchInvalidDeviceRequest,
                               KsDispatchFastIoDeviceControlFailure, KsDispatchFastReadFailure,
                               KsDispatchFastReadFailure);

static NTSTATUS NTAPI CreateFilter(PDEVICE_OBJECT Device, PIRP Irp)
{
    FILTER *filter = ExAllocatePoolWithTag(NonPagedPool, sizeof *filter, TAG);
    NTSTATUS status;
    if (!filter)
        return Finish(Irp, STATUS_INSUFFICIENT_RESOURCES);
    RtlZeroMemory(filter, sizeof *filter);
    status = KsAllocateObjectHeader(&filter->Header, SIZEOF_ARRAY(FilterItems), FilterItems, Irp, &FilterTable);
    if (NT_SUCCESS(status))
        IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext = filter;
    else
        ExFreePool(filter);
    return Finish(Irp, status);
}

/* ---- The device ---- */

static KSOBJECT_CREATE_ITEM DeviceItems[] = {DEFINE_KSCREATE_ITEM(CreateFilter, FilterName, NULL)};

static NTSTATUS NTAPI AddDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Physical)
{
    PDEVICE_OBJECT device, lower;
    DEVICE *own;
    UNICODE_STRING reference;
    NTSTATUS status = IoCreateDevice(Driver, sizeof *own, NULL, FILE_DEVICE_KS, 0, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    own = device->DeviceExtension;
    status = KsAllocateDeviceHeader(&own->Header, SIZEOF_ARRAY(DeviceItems), DeviceItems);
    if (NT_SUCCESS(status)) {
        RtlInitUnicodeString(&reference, FilterName);
        status = IoRegisterDeviceInterface(Physical, &Capture, &reference, &own->Link);
        if (!NT_SUCCESS(status))
            KsFreeDeviceHeader(own->Header);
    }
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    lower = IoAttachDeviceToDeviceStack(device, Physical);
    KsSetDevicePnpAndBaseObject(own->Header, lower, device);
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Pnp(PDEVICE_OBJECT Device, PIRP Irp)
{
    DEVICE *own = Device->DeviceExtension;
    switch (IoGetCurrentIrpStackLocation(Irp)->MinorFunction) {
    case IRP_MN_START_DEVICE:
        IoSetDeviceInterfaceState(&own->Link, TRUE);
        break;
    case IRP_MN_SURPRISE_REMOVAL:
        IoSetDeviceInterfaceState(&own->Link, FALSE);
        break;
    case IRP_MN_REMOVE_DEVICE:
        IoSetDeviceInterfaceState(&own->Link, FALSE);
        RtlFreeUnicodeString(&own->Link);
        break;
    }
    return KsDefaultDispatchPnp(Device, Irp);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path)
{
    Driver->DriverExtension->AddDevice = AddDevice;
    Driver->DriverUnload = KsNullDriverUnload;
    Driver->MajorFunction[IRP_MJ_PNP] = Pnp;
    Driver->MajorFunction[IRP_MJ_POWER] = KsDefaultDispatchPower;
    KsSetMajorFunctionHandler(Driver, IRP_MJ_CREATE);
    KsSetMajorFunctionHandler(Driver, IRP_MJ_CLOSE);
    KsSetMajorFunctionHandler(Driver, IRP_MJ_DEVICE_CONTROL);
    return STATUS_SUCCESS;
}
