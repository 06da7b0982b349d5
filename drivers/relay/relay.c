/*
 * relay: shows the pictures of another camera with their brightness turned over. A driver that opens and uses another
 * filter: it finds one by its device interface, creates a pin on it, keeps reads waiting there, and gives what came to
 * its own capture pin.
 *
 * The link of the other filter is the value `Source` below `Parameters` in its registry key. Without one it tries each
 * interface of the category of capture filters, in which it is not itself.
 */
#include "video.h"

#define TAG 'aleR'
/* Reads that wait at the other filter, and frames of our own; the most that a stream header has behind it. */
enum { READS = 8, EXTENSION = 256 };

static const KS_DATARANGE_VIDEO RangeNv12 = VIDEO_RANGE(FOURCC_NV12, 12, 64, 32, 1920, 1080, 10000000 / 240, 10000000);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&RangeNv12};

static const GUID CaptureCategory = {CATEGORY_CAPTURE_GUID};
static const GUID StandardInterface = {0x1a8766a0, 0x62ce, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}};
static const GUID StandardMedium = {0x4747b320, 0x62ce, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}};
static const GUID ConnectionSet = {0x1d58c920, 0xac9b, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}};

static const GUID InterfaceSet = {0x1fdd8ee1, 0x9cd3, 0x11d0, {0x82, 0xaa, 0x00, 0x00, 0xf8, 0x22, 0xfe, 0x8a}};

/* As the registry has it; empty: none. */
static WCHAR SourceLink[256];

/* One read at the other filter. Its bytes go straight into the frame under the clone. */
typedef struct {
    PKSSTREAM_POINTER Clone;
    KSSTREAM_HEADER Header;
    UCHAR Extension[EXTENSION];
    IO_STATUS_BLOCK Answer;
    KEVENT Done;
} READ;

typedef struct {
    PKSPIN Pin;
    PICTURE Format;
    HANDLE Filter;
    HANDLE Source;
    PFILE_OBJECT File;
    /* Of the other pin's stream headers. */
    ULONG HeaderSize;
    /* A ring: the process callback fills it, the thread empties it in the same order. */
    READ Reads[READS];
    ULONG Sent, Finished;
    KSEMAPHORE Waiting;
    volatile LONG Free;
    PVOID Thread;
} RELAY;

/* The other filter ---------------------------------------------------------------------------------------------- */

static NTSTATUS SetSourceState(RELAY *relay, KSSTATE state)
{
    KSPROPERTY property;
    ULONG returned;
    property.Set = ConnectionSet;
    property.Id = KSPROPERTY_CONNECTION_STATE;
    property.Flags = KSPROPERTY_TYPE_SET;
    return KsSynchronousIoControlDevice(relay->File, KernelMode, IOCTL_KS_PROPERTY, &property, sizeof(property), &state,
                                        sizeof(state), &returned);
}

/* A pin can have more to say of a frame than fits into the plain header, and takes no shorter ones. */
static NTSTATUS ReadHeaderSize(RELAY *relay)
{
    KSPROPERTY property;
    ULONG size = 0, returned;
    NTSTATUS status;
    property.Set = InterfaceSet;
    property.Id = KSPROPERTY_STREAMINTERFACE_HEADERSIZE;
    property.Flags = KSPROPERTY_TYPE_GET;
    status = KsSynchronousIoControlDevice(relay->File, KernelMode, IOCTL_KS_PROPERTY, &property, sizeof(property),
                                          &size, sizeof(size), &returned);
    if (!NT_SUCCESS(status))
        return status;
    relay->HeaderSize = size ? size : sizeof(KSSTREAM_HEADER);
    return relay->HeaderSize <= sizeof(KSSTREAM_HEADER) + EXTENSION ? STATUS_SUCCESS : STATUS_NOT_SUPPORTED;
}

static void CloseSource(RELAY *relay)
{
    if (relay->File)
        ObDereferenceObject(relay->File);
    if (relay->Source)
        ZwClose(relay->Source);
    if (relay->Filter)
        ZwClose(relay->Filter);
    relay->File = NULL;
    relay->Source = relay->Filter = NULL;
}

/* Opens the filter with this link and creates its first pin, with the format of ours. */
static NTSTATUS OpenSource(RELAY *relay, PCWSTR link)
{
    struct {
        KSPIN_CONNECT Connect;
        KS_DATAFORMAT_VIDEOINFOHEADER Format;
    } connect;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK answer;
    UNICODE_STRING name;
    NTSTATUS status;

    RtlInitUnicodeString(&name, link);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateFile(&relay->Filter, GENERIC_READ, &attributes, &answer, NULL, 0, 0, FILE_OPEN, 0, NULL, 0);
    if (NT_SUCCESS(status)) {
        RtlZeroMemory(&connect.Connect, sizeof(connect.Connect));
        connect.Connect.Interface.Set = StandardInterface;
        connect.Connect.Medium.Set = StandardMedium;
        connect.Connect.Priority.PriorityClass = KSPRIORITY_NORMAL;
        connect.Connect.Priority.PrioritySubClass = 1;
        RtlCopyMemory(&connect.Format, relay->Pin->ConnectionFormat, sizeof(connect.Format));
        status = KsCreatePin(relay->Filter, &connect.Connect, GENERIC_READ, &relay->Source);
    }
    if (NT_SUCCESS(status))
        status = ObReferenceObjectByHandle(relay->Source, GENERIC_READ, *IoFileObjectType, KernelMode,
                                           (PVOID *)&relay->File, NULL);
    if (NT_SUCCESS(status))
        status = ReadHeaderSize(relay);
    if (!NT_SUCCESS(status))
        CloseSource(relay);
    return status;
}

/* The source that the registry names, else the first capture filter that takes our format. */
static NTSTATUS FindSource(RELAY *relay)
{
    NTSTATUS status;
    PWSTR links, link;

    if (SourceLink[0])
        return OpenSource(relay, SourceLink);
    status = IoGetDeviceInterfaces(&CaptureCategory, NULL, 0, &links);
    if (!NT_SUCCESS(status))
        return status;
    status = STATUS_OBJECT_NAME_NOT_FOUND;
    for (link = links; *link; link += wcslen(link) + 1) {
        status = OpenSource(relay, link);
        if (NT_SUCCESS(status))
            break;
    }
    ExFreePool(links);
    return status;
}

/* Pictures ------------------------------------------------------------------------------------------------------ */

/* A read is done: its picture is turned over where it lies, and the frame goes on. */
static void Finish(RELAY *relay, READ *read)
{
    PKSSTREAM_HEADER header = read->Clone->StreamHeader;
    PUCHAR luma = read->Header.Data;
    ULONG i;

    if (NT_SUCCESS(read->Answer.Status) && read->Header.DataUsed >= relay->Format.FrameBytes) {
        for (i = 0; i < (ULONG)relay->Format.Width * relay->Format.Height; i++)
            luma[i] = 251 - luma[i];
        header->DataUsed = relay->Format.FrameBytes;
        header->PresentationTime = read->Header.PresentationTime;
        header->Duration = read->Header.Duration;
        header->OptionsFlags = read->Header.OptionsFlags;
    } else {
        KsStreamPointerSetStatusCode(read->Clone, NT_SUCCESS(read->Answer.Status) ? STATUS_BUFFER_TOO_SMALL
                                                                                 : read->Answer.Status);
    }
    KsStreamPointerDelete(read->Clone);
    read->Clone = NULL;
}

/* Waits for the reads one after the other. An item of the semaphore without a read is the end. */
static VOID NTAPI ReaderThread(PVOID Context)
{
    RELAY *relay = Context;
    for (;;) {
        READ *read = &relay->Reads[relay->Finished % READS];
        KeWaitForSingleObject(&relay->Waiting, Executive, KernelMode, FALSE, NULL);
        if (!read->Clone)
            break;
        KeWaitForSingleObject(&read->Done, Executive, KernelMode, FALSE, NULL);
        Finish(relay, read);
        relay->Finished++;
        /* Where the ring was full, a frame may wait for its place. */
        if (InterlockedIncrement(&relay->Free) == 1)
            KsPinAttemptProcessing(relay->Pin, TRUE);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* Sends a read that fills the frame of a clone. */
static void Send(RELAY *relay, PKSSTREAM_POINTER clone)
{
    READ *read = &relay->Reads[relay->Sent++ % READS];
    NTSTATUS status;

    InterlockedDecrement(&relay->Free);
    read->Clone = clone;
    KeClearEvent(&read->Done);
    RtlZeroMemory(&read->Header, relay->HeaderSize);
    read->Header.Size = relay->HeaderSize;
    read->Header.PresentationTime.Numerator = read->Header.PresentationTime.Denominator = 1;
    read->Header.FrameExtent = clone->OffsetOut.Remaining;
    read->Header.Data = clone->OffsetOut.Data;
    status = KsStreamIo(relay->File, &read->Done, NULL, NULL, NULL, 0, &read->Answer, &read->Header,
                        relay->HeaderSize, KSSTREAM_READ, KernelMode);
    /* What was not taken ends here. */
    if (status != STATUS_PENDING) {
        read->Answer.Status = status;
        KeSetEvent(&read->Done, IO_NO_INCREMENT, FALSE);
    }
    KeReleaseSemaphore(&relay->Waiting, IO_NO_INCREMENT, 1, FALSE);
}

/* Frames came: each is sent to be filled, as far as there are places. */
static NTSTATUS OnProcess(PKSPIN Pin)
{
    RELAY *relay = Pin->Context;
    PKSSTREAM_POINTER leading, clone;

    while (relay->Free > 0) {
        leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
        if (!leading)
            break;
        if (leading->StreamHeader->Data) {
            if (!NT_SUCCESS(KsStreamPointerClone(leading, NULL, 0, &clone))) {
                KsStreamPointerUnlock(leading, FALSE);
                break;
            }
            clone->StreamHeader->DataUsed = 0;
            Send(relay, clone);
        }
        KsStreamPointerUnlock(leading, TRUE);
    }
    return STATUS_PENDING;
}

/* States -------------------------------------------------------------------------------------------------------- */

static NTSTATUS StartReading(RELAY *relay)
{
    HANDLE thread;
    NTSTATUS status;

    relay->Sent = relay->Finished = 0;
    relay->Free = READS;
    KeInitializeSemaphore(&relay->Waiting, 0, READS + 1);
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, ReaderThread, relay);
    if (!NT_SUCCESS(status))
        return status;
    status = ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, NULL, KernelMode, &relay->Thread, NULL);
    ZwClose(thread);
    return status;
}

static void StopReading(RELAY *relay)
{
    if (!relay->Thread)
        return;
    KeReleaseSemaphore(&relay->Waiting, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(relay->Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(relay->Thread);
    relay->Thread = NULL;
}

/* The other pin goes the same steps. In STOP it gives up the reads that it has, and the thread sees them all end. */
static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    RELAY *relay = Pin->Context;
    NTSTATUS status;
    PAGED_CODE();

    if (From == KSSTATE_STOP) {
        status = StartReading(relay);
        if (!NT_SUCCESS(status))
            return status;
    }
    status = SetSourceState(relay, To);
    if (To == KSSTATE_STOP || (From == KSSTATE_STOP && !NT_SUCCESS(status)))
        StopReading(relay);
    return status;
}

/* Formats and life ---------------------------------------------------------------------------------------------- */

static NTSTATUS OnFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes,
                         const KSDATARANGE *Range, const KSATTRIBUTE_LIST *Attributes)
{
    PICTURE picture;
    PAGED_CODE();
    return OldFormat ? STATUS_INVALID_DEVICE_STATE : ReadVideo(Pin->ConnectionFormat, &RangeNv12, &picture);
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    PAGED_CODE();
    return IntersectVideo(CallerRange, (const KS_DATARANGE_VIDEO *)OwnRange, Room, Data, DataSize);
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    RELAY *relay;
    NTSTATUS status;
    ULONG i;

    PAGED_CODE();
    relay = ExAllocatePoolWithTag(NonPagedPool, sizeof(*relay), TAG);
    if (!relay)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(relay, sizeof(*relay));
    status = KsAddItemToObjectBag(Pin->Bag, relay, NULL);
    if (!NT_SUCCESS(status)) {
        ExFreePoolWithTag(relay, TAG);
        return status;
    }
    relay->Pin = Pin;
    for (i = 0; i < READS; i++)
        KeInitializeEvent(&relay->Reads[i].Done, NotificationEvent, FALSE);
    status = ReadVideo(Pin->ConnectionFormat, &RangeNv12, &relay->Format);
    if (!NT_SUCCESS(status))
        return status;
    status = FindSource(relay);
    if (!NT_SUCCESS(status)) {
        DbgPrint("relay: no source of its pictures: 0x%x\n", status);
        return status;
    }
    Pin->Context = relay;
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    RELAY *relay = Pin->Context;
    PAGED_CODE();
    StopReading(relay);
    CloseSource(relay);
    return STATUS_SUCCESS;
}

/* Descriptors --------------------------------------------------------------------------------------------------- */

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY,
                                 READS, 0, 2, 1920 * 1080 * 2);

static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnPinCreate,
    .Close = OnPinClose,
    .Process = OnProcess,
    .SetDataFormat = OnFormat,
    .SetDeviceState = OnState,
};

static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .InstancesPossible = 1,
    .AllocatorFraming = &Framing,
    .IntersectHandler = OnIntersect,
}};

static const GUID Categories[] = {{CATEGORY_VIDEO_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x0a}};

static const KSFILTER_DISPATCH FilterDispatch = {NULL};

static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = SIZEOF_ARRAY(Pins),
    .PinDescriptorSize = sizeof(Pins[0]),
    .PinDescriptors = Pins,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

static void ReadSource(PUNICODE_STRING RegistryPath)
{
    UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(SourceLink)];
    PKEY_VALUE_PARTIAL_INFORMATION value = (PVOID)room;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING path, name;
    WCHAR text[256];
    HANDLE key;
    ULONG used;

    path.Buffer = text;
    path.Length = 0;
    path.MaximumLength = sizeof(text);
    if (!NT_SUCCESS(RtlAppendUnicodeStringToString(&path, RegistryPath)) ||
        !NT_SUCCESS(RtlAppendUnicodeToString(&path, L"\\Parameters")))
        return;
    InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
        return;
    RtlInitUnicodeString(&name, L"Source");
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof(room), &used)) &&
        value->Type == REG_SZ)
        RtlCopyMemory(SourceLink, value->Data, min(value->DataLength, sizeof(SourceLink) - sizeof(WCHAR)));
    ZwClose(key);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ReadSource(RegistryPath);
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
