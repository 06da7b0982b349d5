/*
 * A driver that opens a filter of its own kind, and below it what a client can: an allocator and a clock on a pin, and a
 * topology node; and that calls the routines of the first two.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E60} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x60}};
static const GUID NodeSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x61}};
static const GUID StandardInterface = {0x1A8766A0, 0x62CE, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID StandardMedium = {0x4747B320, 0x62CE, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID ConnectionSet = {0x1D58C920, 0xAC9B, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID ClockSet = {0xDF12A4C0, 0xAC17, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID AllocatorSet = {0xcf6e4342, 0xec87, 0x11cf, {0xa1, 0x30, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}};
static const GUID AllocatorMethods = {0xcf6e4341, 0xec87, 0x11cf, {0xa1, 0x30, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}};

enum { ANSWER = 200, FRAME = 100, LINK_BYTES = 512 };
enum { LINK, ALLOCATOR, CLOCK, NODE };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)
#define NOTHING ((HANDLE)0x5A5A)

static WCHAR Link[LINK_BYTES / sizeof(WCHAR)];
static USHORT LinkBytes;

typedef struct {
    KSPIN_CONNECT Connect;
    KSDATAFORMAT Format;
} CONNECT;

static NTSTATUS Ask(PFILE_OBJECT File, ULONG Code, const GUID *Set, ULONG Id, ULONG Flags, PVOID Data, ULONG Bytes)
{
    KSIDENTIFIER request;
    ULONG returned;
    request.Set = *Set;
    request.Id = Id;
    request.Flags = Flags;
    return KsSynchronousIoControlDevice(File, KernelMode, Code, &request, sizeof(request), Data, Bytes, &returned);
}

static PFILE_OBJECT FileOf(HANDLE Handle)
{
    PFILE_OBJECT file = NULL;
    ObReferenceObjectByHandle(Handle, GENERIC_READ, *IoFileObjectType, KernelMode, (PVOID *)&file, NULL);
    return file;
}

static const char *CheckAllocator(HANDLE Pin)
{
    KSSTREAMALLOCATOR_FUNCTIONTABLE table = {NULL, NULL};
    KSSTREAMALLOCATOR_STATUS status;
    KSALLOCATOR_FRAMING framing;
    HANDLE handle = NOTHING;
    PFILE_OBJECT file;
    PVOID first = NULL, second = NULL, third = &framing;
    KIRQL level;
    NTSTATUS answer;

    RtlZeroMemory(&framing, sizeof(framing));
    framing.Frames = 2;
    framing.FrameSize = FRAME;
    framing.FileAlignment = FILE_64_BYTE_ALIGNMENT;
    CHECK(KsCreateAllocator(Pin, &framing, &handle) == STATUS_INVALID_PARAMETER && handle == NOTHING);
    framing.OptionsFlags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
    CHECK(KsCreateAllocator(Pin, &framing, &handle) == STATUS_SUCCESS && handle != NOTHING);
    file = FileOf(handle);
    CHECK(file != NULL);
    CHECK(Ask(file, IOCTL_KS_PROPERTY, &AllocatorSet, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_TYPE_GET,
              &table, sizeof(table) - 1) == STATUS_BUFFER_TOO_SMALL);
    CHECK(Ask(file, IOCTL_KS_PROPERTY, &AllocatorSet, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_TYPE_GET,
              &table, sizeof(table)) == STATUS_SUCCESS);
    CHECK(table.AllocateFrame && table.FreeFrame);
    /* The routines are for any level up to DISPATCH_LEVEL, and do not wait. */
    KeRaiseIrql(DISPATCH_LEVEL, &level);
    answer = table.AllocateFrame(file, &first);
    KeLowerIrql(level);
    CHECK(answer == STATUS_SUCCESS && first && (ULONG_PTR)first % 64 == 0);
    RtlFillMemory(first, FRAME, 0xA5);
    CHECK(table.AllocateFrame(file, &second) == STATUS_SUCCESS && second && second != first);
    CHECK(!NT_SUCCESS(table.AllocateFrame(file, &third)) && third == NULL);
    CHECK(Ask(file, IOCTL_KS_PROPERTY, &AllocatorSet, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET, &status,
              sizeof(status)) == STATUS_SUCCESS);
    CHECK(status.AllocatedFrames == 2 && status.Framing.FrameSize == FRAME && status.Framing.Frames == 2);
    /* Freed by one form, allocated by the other. */
    table.FreeFrame(file, second);
    CHECK(Ask(file, IOCTL_KS_METHOD, &AllocatorMethods, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE, &third,
              sizeof(third)) == STATUS_SUCCESS && third == second);
    CHECK(Ask(file, IOCTL_KS_METHOD, &AllocatorMethods, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ, &first,
              sizeof(first)) == STATUS_SUCCESS);
    CHECK(table.AllocateFrame(file, &third) == STATUS_SUCCESS && third == first);
    ObDereferenceObject(file);
    ZwClose(handle);
    return NULL;
}

static const char *CheckClock(HANDLE Pin)
{
    KSCLOCK_FUNCTIONTABLE table;
    KSCLOCK_CREATE create = {1};
    HANDLE handle = NOTHING;
    PFILE_OBJECT file, pin;
    KSSTATE state = KSSTATE_RUN;
    LARGE_INTEGER wait;
    LONGLONG system = 0, physical, now;

    CHECK(KsCreateClock(Pin, &create, &handle) == STATUS_INVALID_PARAMETER && handle == NOTHING);
    create.CreateFlags = 0;
    CHECK(KsCreateClock(Pin, &create, &handle) == STATUS_SUCCESS && handle != NOTHING);
    file = FileOf(handle);
    pin = FileOf(Pin);
    CHECK(file && pin);
    CHECK(Ask(file, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_FUNCTIONTABLE, KSPROPERTY_TYPE_GET, &table,
              sizeof(table)) == STATUS_SUCCESS);
    CHECK(table.GetTime && table.GetPhysicalTime && table.GetCorrelatedTime && table.GetCorrelatedPhysicalTime);
    CHECK(table.GetTime(file) == 0);
    CHECK(Ask(pin, IOCTL_KS_PROPERTY, &ConnectionSet, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET, &state,
              sizeof(state)) == STATUS_SUCCESS);
    physical = table.GetPhysicalTime(file);
    wait.QuadPart = -20000;
    KeDelayExecutionThread(KernelMode, FALSE, &wait);
    now = table.GetCorrelatedTime(file, &system);
    CHECK(now >= 20000 && system >= physical + 20000);
    CHECK(table.GetTime(file) >= now);
    CHECK(table.GetCorrelatedPhysicalTime(file, &system) == system && system >= physical + 20000);
    state = KSSTATE_STOP;
    CHECK(Ask(pin, IOCTL_KS_PROPERTY, &ConnectionSet, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET, &state,
              sizeof(state)) == STATUS_SUCCESS);
    CHECK(table.GetTime(file) == 0);
    ObDereferenceObject(pin);
    ObDereferenceObject(file);
    ZwClose(handle);
    return NULL;
}

static const char *CheckNode(HANDLE Filter, HANDLE Pin)
{
    KSNODE_CREATE create = {0, 1};
    HANDLE handle = NOTHING;
    PFILE_OBJECT file;
    ULONG number = 0;

    CHECK(KsCreateTopologyNode(Filter, &create, GENERIC_READ, &handle) == STATUS_INVALID_PARAMETER && handle == NOTHING);
    create.Node = 0;
    CHECK(KsCreateTopologyNode(Pin, &create, GENERIC_READ, &handle) == STATUS_SUCCESS && handle != NOTHING);
    ZwClose(handle);
    CHECK(KsCreateTopologyNode(Filter, &create, GENERIC_READ, &handle) == STATUS_SUCCESS);
    file = FileOf(handle);
    CHECK(file != NULL);
    CHECK(Ask(file, IOCTL_KS_PROPERTY, &NodeSet, 0, KSPROPERTY_TYPE_GET, &number, sizeof(number)) == STATUS_SUCCESS);
    CHECK(number == 77);
    ObDereferenceObject(file);
    ZwClose(handle);
    return NULL;
}

static const KSDATARANGE Range = BYTES_RANGE(FRAME);

static const char *Check(ULONG What)
{
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK answer;
    UNICODE_STRING name;
    HANDLE filter, pin;
    CONNECT connect;
    const char *wrong;

    name.Length = name.MaximumLength = LinkBytes;
    name.Buffer = Link;
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, NULL, NULL);
    CHECK(NT_SUCCESS(ZwCreateFile(&filter, GENERIC_READ, &attributes, &answer, NULL, 0, 0, FILE_OPEN, 0, NULL, 0)));
    RtlZeroMemory(&connect, sizeof(connect));
    connect.Connect.Interface.Set = StandardInterface;
    connect.Connect.Medium.Set = StandardMedium;
    connect.Format = Range;
    CHECK(NT_SUCCESS(KsCreatePin(filter, &connect.Connect, GENERIC_READ, &pin)));
    wrong = What == ALLOCATOR ? CheckAllocator(pin) : What == CLOCK ? CheckClock(pin) : CheckNode(filter, pin);
    ZwClose(pin);
    ZwClose(filter);
    return wrong;
}

/* The data is the link of the filter, without a terminator. */
static NTSTATUS OnLink(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    PAGED_CODE();
    if (bytes > LINK_BYTES)
        return STATUS_INVALID_BUFFER_SIZE;
    RtlCopyMemory(Link, Data, bytes);
    LinkBytes = (USHORT)bytes;
    return STATUS_SUCCESS;
}

static NTSTATUS OnCheck(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const char *wrong = Check(Request->Id);
    ULONG i;
    PAGED_CODE();
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        ((PCHAR)Data)[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static NTSTATUS OnNode(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = 77;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(LINK, NULL, sizeof(KSPROPERTY), 0, OnLink, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(ALLOCATOR, OnCheck, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CLOCK, OnCheck, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(NODE, OnCheck, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};

static const KSPROPERTY_ITEM NodeProperties[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnNode, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(NodeSets){
    DEFINE_KSPROPERTY_SET(&NodeSet, SIZEOF_ARRAY(NodeProperties), NodeProperties, 0, NULL)};
static const KSAUTOMATION_TABLE NodeAutomation = {SIZEOF_ARRAY(NodeSets), sizeof(KSPROPERTY_ITEM), NodeSets};
static const KSNODE_DESCRIPTOR Nodes[] = {{&NodeAutomation, &NodeSet, NULL}};

static NTSTATUS OnProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const KSPIN_DESCRIPTOR_EX PinDescriptors[] = {{
    .Dispatch = &PinDispatch,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_IMPLEMENT_CLOCK,
    .InstancesPossible = 1,
}};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x2b}};
static const KSFILTER_DESCRIPTOR Filter = {
    .AutomationTable = &Automation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = SIZEOF_ARRAY(PinDescriptors),
    .PinDescriptorSize = sizeof(PinDescriptors[0]),
    .PinDescriptors = PinDescriptors,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorsCount = SIZEOF_ARRAY(Nodes),
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
    .NodeDescriptors = Nodes,
};
static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, 1, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
