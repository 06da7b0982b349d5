/* Pin factories, topology, create requests and stream requests of a driver that has plain structures only. */
#include "low_level.h"

#define PIN_CLASS L"{146F1A80-4791-11D0-A5D6-28DB04C10000}\\"

static const KSDATARANGE First = BYTES_RANGE(64), Second = BYTES_RANGE(128);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&First, (PKSDATARANGE)&Second};
static const GUID Category = {CATEGORY_CAPTURE_GUID};
static const KSPIN_INTERFACE Interfaces[] = {
    {{{{0x1A8766A0, 0x62CE, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}}, 0, 0}}}};

struct pin {
    KSPIN_DESCRIPTOR Pin;
    ULONG Own;
};

static const KSPIN_DESCRIPTOR Pins[] = {
    {1, Interfaces, 0, NULL, 2, Ranges, KSPIN_DATAFLOW_OUT, KSPIN_COMMUNICATION_SINK, &Category, NULL, {0}},
    {0, NULL, 0, NULL, 1, Ranges, KSPIN_DATAFLOW_IN, KSPIN_COMMUNICATION_SOURCE, NULL, NULL, {0}},
};
static struct pin LongPins[2];
static const GUID Nodes[] = {{0x61a3c2b4, 0x1b83, 0x4f0c, {0x9c, 0x4c, 0x0e, 0x6a, 0x5d, 0x9b, 0x7f, 0x03}}};
static const KSTOPOLOGY_CONNECTION Connections[] = {{(ULONG)-1, 1, 0, 1}, {0, 0, (ULONG)-1, 0}};
static KSTOPOLOGY Topology = {1, &Category, 1, Nodes, 2, Connections, NULL, 0};

static ULONG Asked, Accept;
static const KSDATARANGE *AskedRange, *AskedOwn;

static NTSTATUS Intersection(PVOID data, ULONG room, PULONG size)
{
    *size = sizeof(KSDATAFORMAT);
    if (!room)
        return STATUS_BUFFER_OVERFLOW;
    if (room < sizeof(KSDATAFORMAT))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(data, &Second, sizeof(KSDATAFORMAT));
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Intersect(PIRP irp, PKSP_PIN pin, PKSDATARANGE range, PVOID data)
{
    ULONG size;
    NTSTATUS status;
    Asked++;
    AskedRange = range;
    if (range->SampleSize < Accept)
        return STATUS_NO_MATCH;
    status = Intersection(data, IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength, &size);
    irp->IoStatus.Information = size;
    return status;
}

static NTSTATUS NTAPI IntersectEx(PVOID context, PIRP irp, PKSP_PIN pin, PKSDATARANGE range, PKSDATARANGE own,
                                  ULONG room, PVOID data, PULONG size)
{
    Asked++;
    AskedOwn = own;
    if (context != &Asked || own->SampleSize < Accept)
        return STATUS_NO_MATCH;
    return Intersection(data, room, size);
}

typedef NTSTATUS (NTAPI INTERSECTION_EX)(PIRP, PKSP_PIN, PVOID, ULONG, const KSPIN_DESCRIPTOR *, ULONG, PVOID, PVOID);
/* The import library does not have it: whoever loads the driver gives its address. */
static INTERSECTION_EX *IntersectionEx;
__declspec(dllexport) void GiveIntersectionEx(INTERSECTION_EX *routine);
void GiveIntersectionEx(INTERSECTION_EX *routine)
{
    IntersectionEx = routine;
}

static BOOLEAN Extended, Plain;

static NTSTATUS NTAPI GetPin(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    if (request->Id != KSPROPERTY_PIN_DATAINTERSECTION)
        return KsPinPropertyHandler(irp, (PKSPROPERTY)request, data, 2, Pins);
    if (Plain)
        return IntersectionEx(irp, (PKSP_PIN)request, data, 2, Pins, sizeof Pins[0], NULL, NULL);
    if (!Extended)
        return KsPinDataIntersection(irp, (PKSP_PIN)request, data, 2, Pins, Intersect);
    return IntersectionEx(irp, (PKSP_PIN)request, data, 2, &LongPins[0].Pin, sizeof LongPins[0], (PVOID)IntersectEx,
                                   &Asked);
}

static NTSTATUS NTAPI GetTopology(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    return KsTopologyPropertyHandler(irp, (PKSPROPERTY)request, data, &Topology);
}

#define ITEM(id, handler, request, data) {id, {handler}, request, data, {NULL}, NULL, 0, NULL, NULL, 0}
static const GUID PinSet = {0x8C134960, 0x51AD, 0x11CF, {0x87, 0x8A, 0x94, 0xF8, 0x01, 0xC1, 0x00, 0x00}};
static const GUID TopologySet = {0x720D4AC0, 0x7533, 0x11D0, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static KSPROPERTY_ITEM PinItems[] = {
    ITEM(KSPROPERTY_PIN_CTYPES, GetPin, sizeof(KSPROPERTY), 4),
    ITEM(KSPROPERTY_PIN_DATAFLOW, GetPin, sizeof(KSP_PIN), 4),
    ITEM(KSPROPERTY_PIN_DATARANGES, GetPin, sizeof(KSP_PIN), 0),
    ITEM(KSPROPERTY_PIN_INTERFACES, GetPin, sizeof(KSP_PIN), 0),
    ITEM(KSPROPERTY_PIN_MEDIUMS, GetPin, sizeof(KSP_PIN), 0),
    ITEM(KSPROPERTY_PIN_COMMUNICATION, GetPin, sizeof(KSP_PIN), 4),
    ITEM(KSPROPERTY_PIN_CATEGORY, GetPin, sizeof(KSP_PIN), 16),
    ITEM(KSPROPERTY_PIN_DATAINTERSECTION, GetPin, sizeof(KSP_PIN) + sizeof(KSMULTIPLE_ITEM), 0),
};
static KSPROPERTY_ITEM TopologyItems[] = {
    ITEM(KSPROPERTY_TOPOLOGY_CATEGORIES, GetTopology, sizeof(KSPROPERTY), 0),
    ITEM(KSPROPERTY_TOPOLOGY_NODES, GetTopology, sizeof(KSPROPERTY), 0),
    ITEM(KSPROPERTY_TOPOLOGY_CONNECTIONS, GetTopology, sizeof(KSPROPERTY), 0),
    ITEM(KSPROPERTY_TOPOLOGY_NAME, GetTopology, sizeof(KSP_NODE), 0),
};
static const KSPROPERTY_SET Sets[] = {{&PinSet, RTL_NUMBER_OF(PinItems), PinItems, 0, NULL},
                                      {&TopologySet, RTL_NUMBER_OF(TopologyItems), TopologyItems, 0, NULL}};

static NTSTATUS Properties(PDEVICE_OBJECT device, PIRP irp)
{
    return KsPropertyHandler(irp, 2, Sets);
}

static NTSTATUS Get(const GUID *set, ULONG id, ULONG number, PVOID data, ULONG bytes, ULONG_PTR *size)
{
    KSP_PIN request = {0};
    Identify((KSIDENTIFIER *)&request, set, id, KSPROPERTY_TYPE_GET);
    request.PinId = number;
    return Ask(IOCTL_KS_PROPERTY, &request, sizeof request, data, bytes, size);
}

TEST(KsPinPropertyHandler)
{
    union {
        ULONG Number;
        GUID Guid;
        struct {
            KSMULTIPLE_ITEM Head;
            KSDATARANGE Ranges[2];
        } Ranges;
        struct {
            KSMULTIPLE_ITEM Head;
            KSIDENTIFIER One;
        } List;
    } answer;
    ULONG_PTR size;
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_CTYPES, 0, &answer, 4, &size) == STATUS_SUCCESS && answer.Number == 2 && size == 4);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_DATAFLOW, 1, &answer, 4, &size) == STATUS_SUCCESS);
    CHECK(answer.Number == KSPIN_DATAFLOW_IN);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_DATAFLOW, 2, &answer, 4, &size) == STATUS_INVALID_PARAMETER && size == 0);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_COMMUNICATION, 1, &answer, 4, &size) == STATUS_SUCCESS);
    CHECK(answer.Number == KSPIN_COMMUNICATION_SOURCE);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_DATARANGES, 0, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW);
    CHECK(size == sizeof answer.Ranges);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_DATARANGES, 0, &answer, sizeof answer.Ranges, &size) == STATUS_SUCCESS);
    CHECK(answer.Ranges.Head.Count == 2 && answer.Ranges.Ranges[1].SampleSize == 128);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_INTERFACES, 0, &answer, sizeof answer.List, &size) == STATUS_SUCCESS);
    CHECK(answer.List.Head.Count == 1 && IsGuid(&answer.List.One.Set, &Interfaces[0].Set));
    CHECK(Get(&PinSet, KSPROPERTY_PIN_MEDIUMS, 1, &answer, sizeof answer.List, &size) == STATUS_SUCCESS);
    CHECK(answer.List.Head.Count == 1);
    CHECK(Get(&PinSet, KSPROPERTY_PIN_CATEGORY, 0, &answer, 16, &size) == STATUS_SUCCESS);
    CHECK(IsGuid(&answer.Guid, &Category));
    CHECK(Get(&PinSet, KSPROPERTY_PIN_CATEGORY, 1, &answer, 16, &size) == STATUS_NOT_FOUND);
    DropDevice();
    PASS;
}

TEST(KsTopologyPropertyHandler)
{
    struct {
        KSMULTIPLE_ITEM Head;
        KSTOPOLOGY_CONNECTION Connections[2];
    } connections;
    struct {
        KSMULTIPLE_ITEM Head;
        GUID One;
    } guids;
    WCHAR name[64];
    ULONG_PTR size;
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    CHECK(Get(&TopologySet, KSPROPERTY_TOPOLOGY_CATEGORIES, 0, &guids, sizeof guids, &size) == STATUS_SUCCESS);
    CHECK(guids.Head.Count == 1 && IsGuid(&guids.One, &Category));
    CHECK(Get(&TopologySet, KSPROPERTY_TOPOLOGY_NODES, 0, &guids, sizeof guids, &size) == STATUS_SUCCESS);
    CHECK(IsGuid(&guids.One, &Nodes[0]));
    CHECK(Get(&TopologySet, KSPROPERTY_TOPOLOGY_CONNECTIONS, 0, &connections, sizeof connections, &size) == STATUS_SUCCESS);
    CHECK(connections.Head.Count == 2 && connections.Connections[0].FromNode == (ULONG)-1);
    CHECK(connections.Connections[1].ToNodePin == 0 && size == sizeof connections);
    CHECK(Get(&TopologySet, KSPROPERTY_TOPOLOGY_NAME, 0, name, sizeof name, &size) == STATUS_SUCCESS && name[0] == L'{');
    CHECK(Get(&TopologySet, KSPROPERTY_TOPOLOGY_NAME, 1, name, sizeof name, &size) == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

static struct {
    KSP_PIN Pin;
    KSMULTIPLE_ITEM Head;
    KSDATARANGE Ranges[2];
} Wanted;

static NTSTATUS Meet(ULONG pin, PVOID data, ULONG bytes, ULONG_PTR *size)
{
    Asked = 0;
    Identify((KSIDENTIFIER *)&Wanted, &PinSet, KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_TYPE_GET);
    Wanted.Pin.PinId = pin;
    Wanted.Head.Count = 2;
    Wanted.Head.Size = sizeof Wanted.Head + sizeof Wanted.Ranges;
    return Ask(IOCTL_KS_PROPERTY, &Wanted, sizeof Wanted, data, bytes, size);
}

TEST(KsPinDataIntersection)
{
    KSDATAFORMAT format;
    ULONG_PTR size;
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    Extended = Plain = FALSE;
    Wanted.Ranges[0] = Wanted.Ranges[1] = First;
    Wanted.Ranges[1].SampleSize = 500;
    Accept = 500;
    CHECK(Meet(0, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == sizeof format && Asked == 3);
    CHECK(AskedRange->SampleSize == 500);
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_SUCCESS && size == sizeof format && format.SampleSize == 128);
    CHECK(Meet(0, &format, 8, &size) == STATUS_BUFFER_TOO_SMALL);
    Accept = 501;
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_NO_MATCH && Asked == 4);
    /* The handler never sees what cannot meet; a wildcard can. */
    Wanted.Ranges[0].MajorFormat = Wanted.Ranges[1].MajorFormat = SetA;
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_NO_MATCH && Asked == 0);
    Accept = 0;
    Wanted.Ranges[1].MajorFormat = NoSet;
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_SUCCESS && Asked == 1);
    CHECK(Meet(2, &format, sizeof format, &size) == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

TEST(KsPinDataIntersectionEx)
{
    KSDATAFORMAT format;
    ULONG_PTR size;
    CHECK(IntersectionEx);
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    LongPins[0].Pin = Pins[0];
    LongPins[1].Pin = Pins[1];
    Wanted.Ranges[0] = Wanted.Ranges[1] = First;
    Extended = TRUE;
    Plain = FALSE;
    Accept = 100;
    CHECK(Meet(0, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == sizeof format);
    CHECK(Asked == 2 && AskedOwn == &Second);
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_SUCCESS && size == sizeof format);
    CHECK(Meet(1, &format, sizeof format, &size) == STATUS_NO_MATCH && AskedOwn == &First);
    /* Without a handler the factory's range is the format. */
    Plain = TRUE;
    CHECK(Meet(0, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == sizeof format);
    CHECK(Meet(0, &format, sizeof format, &size) == STATUS_SUCCESS && format.SampleSize == 64);
    DropDevice();
    PASS;
}

/* A name with its parameters behind the class. */
static struct {
    WCHAR Class[39];
    UCHAR Parameters[512];
} Name;
static FILE_OBJECT File;
static enum { CONNECT, CLOCK, ALLOCATOR, NODE } Checked;
static PVOID Result;
static UCHAR Copied[sizeof(KSPIN_CONNECT) + sizeof(KSDATAFORMAT)];

static NTSTATUS Validate(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = STATUS_UNSUCCESSFUL;
    Result = NULL;
    switch (Checked) {
    case CONNECT:
        status = KsValidateConnectRequest(irp, 2, Pins, (PKSPIN_CONNECT *)&Result);
        break;
    case CLOCK:
        status = KsValidateClockCreateRequest(irp, (PKSCLOCK_CREATE *)&Result);
        break;
    case ALLOCATOR:
        status = KsValidateAllocatorCreateRequest(irp, (PKSALLOCATOR_FRAMING *)&Result);
        break;
    case NODE:
        status = KsValidateTopologyNodeCreateRequest(irp, &Topology, (PKSNODE_CREATE *)&Result);
        break;
    }
    if (NT_SUCCESS(status) && ((ULONG_PTR)Result % 8 || Result == (PVOID)Name.Parameters))
        return STATUS_DATATYPE_MISALIGNMENT;
    if (NT_SUCCESS(status) && Checked == CONNECT)
        RtlCopyMemory(Copied, Result, sizeof Copied);
    return status;
}

static NTSTATUS CreateWith(const void *parameters, ULONG bytes)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    NTSTATUS status;
    RtlCopyMemory(Name.Class, PIN_CLASS, sizeof Name.Class);
    RtlCopyMemory(Name.Parameters, parameters, bytes);
    File.FileName.Buffer = Name.Class;
    File.FileName.Length = File.FileName.MaximumLength = (USHORT)(sizeof Name.Class + bytes);
    status = SendMajor(irp, IRP_MJ_CREATE, 0, &File, NULL);
    if (irp->AssociatedIrp.SystemBuffer)
        ExFreePool(irp->AssociatedIrp.SystemBuffer);
    IoFreeIrp(irp);
    return status;
}

TEST(KsValidateConnectRequest)
{
    struct {
        KSPIN_CONNECT Connect;
        KSDATAFORMAT Format;
    } wanted;
    CHECK(MakeDevice(Validate) == STATUS_SUCCESS);
    Checked = CONNECT;
    RtlZeroMemory(&wanted, sizeof wanted);
    wanted.Connect.Interface = Interfaces[0];
    Identify((KSIDENTIFIER *)&wanted.Connect.Medium, &NoSet, 0, 0);
    wanted.Connect.Medium.Set.Data1 = 0x4747B320;
    wanted.Connect.Medium.Set.Data2 = 0x62CE;
    wanted.Connect.Medium.Set.Data3 = 0x11CF;
    RtlCopyMemory(wanted.Connect.Medium.Set.Data4, "\xA5\xD6\x28\xDB\x04\xC1\0\0", 8);
    wanted.Format = *(KSDATAFORMAT *)&First;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_SUCCESS);
    CHECK(((KSDATAFORMAT *)(Copied + sizeof(KSPIN_CONNECT)))->SampleSize == 64);
    CHECK(CreateWith(&wanted, sizeof wanted - 1) == STATUS_INVALID_BUFFER_SIZE);
    CHECK(CreateWith(&wanted, 70) == STATUS_INVALID_BUFFER_SIZE);
    /* An IRP sink takes no pin to connect to, and a source needs one. */
    wanted.Connect.PinToHandle = (HANDLE)4;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_INVALID_DEVICE_REQUEST);
    wanted.Connect.PinId = 1;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_SUCCESS);
    wanted.Connect.PinToHandle = NULL;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_INVALID_DEVICE_REQUEST);
    wanted.Connect.PinId = 2;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_INVALID_PARAMETER);
    wanted.Connect.PinId = 0;
    wanted.Connect.Interface.Id = 3;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_NO_MATCH);
    wanted.Connect.Interface.Id = 0;
    wanted.Format.MajorFormat = SetA;
    CHECK(CreateWith(&wanted, sizeof wanted) == STATUS_NO_MATCH);
    DropDevice();
    PASS;
}

TEST(KsValidateClockCreateRequest)
{
    KSCLOCK_CREATE clock = {0};
    KSNODE_CREATE node = {0, 0};
    KSALLOCATOR_FRAMING framing = {{0}, NonPagedPool, 4, 4096, FILE_64_BYTE_ALIGNMENT, 0};
    CHECK(MakeDevice(Validate) == STATUS_SUCCESS);
    Checked = CLOCK;
    CHECK(CreateWith(&clock, sizeof clock) == STATUS_SUCCESS);
    CHECK(CreateWith(&clock, 3) == STATUS_INVALID_BUFFER_SIZE);
    clock.CreateFlags = 1;
    CHECK(CreateWith(&clock, sizeof clock) == STATUS_INVALID_PARAMETER);
    Checked = NODE;
    CHECK(CreateWith(&node, sizeof node) == STATUS_SUCCESS);
    node.Node = 1;
    CHECK(CreateWith(&node, sizeof node) == STATUS_INVALID_PARAMETER);
    node.Node = 0;
    node.CreateFlags = 2;
    CHECK(CreateWith(&node, sizeof node) == STATUS_INVALID_PARAMETER);
    CHECK(CreateWith(&node, 7) == STATUS_INVALID_BUFFER_SIZE);
    Checked = ALLOCATOR;
    CHECK(CreateWith(&framing, sizeof framing) == STATUS_SUCCESS);
    framing.FileAlignment = 62;
    CHECK(CreateWith(&framing, sizeof framing) == STATUS_INVALID_PARAMETER);
    CHECK(CreateWith(&framing, sizeof framing - 4) == STATUS_INVALID_BUFFER_SIZE);
    DropDevice();
    PASS;
}
SAME(KsValidateTopologyNodeCreateRequest, KsValidateClockCreateRequest)
SAME(KsValidateAllocatorCreateRequest, KsValidateClockCreateRequest)

TEST(KsValidateAllocatorFramingEx)
{
    KSALLOCATOR_FRAMING_EX own, wanted;
    RtlZeroMemory(&own, sizeof own);
    own.CountItems = 1;
    own.FramingItem[0].MemoryType = SetA;
    own.FramingItem[0].FramingRange.Range.MinFrameSize = 100;
    own.FramingItem[0].FramingRange.Range.MaxFrameSize = 200;
    wanted = own;
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted, &own) == STATUS_SUCCESS);
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted - 1, &own) == STATUS_INVALID_BUFFER_SIZE);
    wanted.FramingItem[0].FramingRange.Range.MinFrameSize = 201;
    wanted.FramingItem[0].FramingRange.Range.MaxFrameSize = 300;
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted, &own) == STATUS_INVALID_PARAMETER);
    wanted = own;
    wanted.FramingItem[0].MemoryType = SetB;
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted, &own) == STATUS_INVALID_PARAMETER);
    wanted = own;
    wanted.CountItems = 0;
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted, &own) == STATUS_INVALID_PARAMETER);
    wanted.CountItems = 0x40000000;
    CHECK(KsValidateAllocatorFramingEx(&wanted, sizeof wanted, &own) == STATUS_INVALID_BUFFER_SIZE);
    PASS;
}

static ULONG ProbeFlags, ProbeHeader, MdlCount, ExtraCount;
static PVOID MdlAddress;
static BOOLEAN Twice;
static UCHAR Frames[2][64];

struct wide_header {
    KSSTREAM_HEADER Header;
    ULONG_PTR Own;
};

static NTSTATUS Probe(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = KsProbeStreamIrp(irp, ProbeFlags, ProbeHeader);
    PKSSTREAM_HEADER header = irp->AssociatedIrp.SystemBuffer;
    PMDL mdl = irp->MdlAddress;
    PUCHAR extra;
    if (!NT_SUCCESS(status))
        return status;
    if (Twice && KsProbeStreamIrp(irp, ProbeFlags, ProbeHeader) != STATUS_SUCCESS)
        return STATUS_UNSUCCESSFUL;
    if (irp->MdlAddress != mdl || header == irp->UserBuffer)
        return STATUS_UNSUCCESSFUL;
    MdlAddress = mdl && ProbeFlags & KSPROBE_SYSTEMADDRESS ? MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) : NULL;
    for (MdlCount = 0; mdl; mdl = mdl->Next)
        MdlCount++;
    if (ExtraCount) {
        if (KsAllocateExtraData(irp, 12, (PVOID *)&extra) != STATUS_INVALID_PARAMETER)
            return STATUS_UNSUCCESSFUL;
        status = KsAllocateExtraData(irp, 16, (PVOID *)&extra);
        if (!NT_SUCCESS(status))
            return status;
        status = ((PKSSTREAM_HEADER)(extra + sizeof(KSSTREAM_HEADER) + 16))->Data == Frames[1] ? STATUS_SUCCESS
                                                                                                : STATUS_UNSUCCESSFUL;
        ExFreePool(extra);
    }
    if (!(ProbeFlags & KSPROBE_STREAMWRITE)) {
        header->DataUsed = 7;
        irp->IoStatus.Information = IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength;
    }
    return status;
}

static void Header(PKSSTREAM_HEADER header, ULONG size, PVOID data)
{
    RtlZeroMemory(header, sizeof *header);
    header->Size = size;
    header->PresentationTime.Numerator = header->PresentationTime.Denominator = 1;
    header->Data = data;
    header->FrameExtent = data ? sizeof Frames[0] : 0;
}

TEST(KsProbeStreamIrp)
{
    KSSTREAM_HEADER headers[2];
    struct wide_header wide;
    ULONG_PTR size;
    CHECK(MakeDevice(Probe) == STATUS_SUCCESS);
    Twice = TRUE;
    ExtraCount = 0;
    ProbeHeader = sizeof(KSSTREAM_HEADER);
    ProbeFlags = KSPROBE_STREAMREAD | KSPROBE_ALLOCATEMDL | KSPROBE_PROBEANDLOCK | KSPROBE_SYSTEMADDRESS;
    Header(&headers[0], sizeof headers[0], Frames[0]);
    Header(&headers[1], sizeof headers[1], Frames[1]);
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_SUCCESS);
    CHECK(MdlCount == 2 && MdlAddress == Frames[0] && size == sizeof headers && headers[0].DataUsed == 7);
    headers[0].DataUsed = 0;
    /* Frames without bytes have no MDL. */
    Header(&headers[1], sizeof headers[1], NULL);
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_SUCCESS && MdlCount == 1);
    headers[0].DataUsed = 0;
    ProbeFlags = KSPROBE_STREAMREAD;
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_SUCCESS && MdlCount == 0);
    /* What a header says must fit. */
    headers[0].DataUsed = 0;
    headers[1].Size = sizeof headers[1] + 8;
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_INVALID_BUFFER_SIZE);
    headers[1].Size = sizeof headers[1];
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers - 8, &size) == STATUS_INVALID_BUFFER_SIZE);
    headers[0].DataUsed = 65;
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_INVALID_PARAMETER);
    ProbeFlags = KSPROBE_STREAMWRITE | KSPROBE_ALLOCATEMDL | KSPROBE_PROBEANDLOCK;
    headers[0].DataUsed = 64;
    CHECK(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_SUCCESS && MdlCount == 1);
    CHECK(headers[0].DataUsed == 64);
    /* Without a size each header says its own; with one all are extended. */
    Header(&wide.Header, sizeof wide, Frames[0]);
    ProbeHeader = 0;
    CHECK(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, &wide, sizeof wide, &size) == STATUS_SUCCESS);
    ProbeHeader = sizeof wide;
    CHECK(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, &wide, sizeof wide, &size) == STATUS_SUCCESS);
    /* A new format comes alone and not extended, where it may. */
    Header(&headers[0], sizeof headers[0], Frames[0]);
    headers[0].OptionsFlags = KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
    headers[0].DataUsed = 64;
    CHECK(!NT_SUCCESS(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, headers, sizeof headers[0], &size)));
    ProbeFlags |= KSPROBE_ALLOWFORMATCHANGE;
    CHECK(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, headers, sizeof headers[0], &size) == STATUS_SUCCESS);
    CHECK(Ask(IOCTL_KS_WRITE_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_INVALID_BUFFER_SIZE);
    DropDevice();
    PASS;
}

TEST(KsAllocateExtraData)
{
    KSSTREAM_HEADER headers[2];
    ULONG_PTR size;
    CHECK(MakeDevice(Probe) == STATUS_SUCCESS);
    Twice = FALSE;
    ExtraCount = 1;
    ProbeHeader = sizeof(KSSTREAM_HEADER);
    ProbeFlags = KSPROBE_STREAMREAD;
    Header(&headers[0], sizeof headers[0], Frames[0]);
    Header(&headers[1], sizeof headers[1], Frames[1]);
    CHECK(Ask(IOCTL_KS_READ_STREAM, NULL, 0, headers, sizeof headers, &size) == STATUS_SUCCESS);
    DropDevice();
    PASS;
}

static KSRESET Reset;
static NTSTATUS OnReset(PDEVICE_OBJECT device, PIRP irp)
{
    return KsAcquireResetValue(irp, &Reset);
}

TEST(KsAcquireResetValue)
{
    ULONG value = KSRESET_END;
    CHECK(MakeDevice(OnReset) == STATUS_SUCCESS);
    Reset = KSRESET_BEGIN;
    CHECK(Ask(IOCTL_KS_RESET_STATE, &value, sizeof value, NULL, 0, NULL) == STATUS_SUCCESS && Reset == KSRESET_END);
    value = KSRESET_BEGIN;
    CHECK(Ask(IOCTL_KS_RESET_STATE, &value, sizeof value, NULL, 0, NULL) == STATUS_SUCCESS && Reset == KSRESET_BEGIN);
    value = 9;
    CHECK(Ask(IOCTL_KS_RESET_STATE, &value, sizeof value, NULL, 0, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(Ask(IOCTL_KS_RESET_STATE, &value, 2, NULL, 0, NULL) == STATUS_INVALID_BUFFER_SIZE);
    CHECK(Ask(IOCTL_KS_METHOD, &value, sizeof value, NULL, 0, NULL) == STATUS_INVALID_DEVICE_REQUEST);
    DropDevice();
    PASS;
}
