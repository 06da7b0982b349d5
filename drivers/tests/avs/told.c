/*
 * Notes what it is told of its filters and pins: of contexts, connections and resets. The pins of one filter process by
 * themselves, the other filter processes as a whole. Pin 0 gives, pin 1 takes.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E92}: item 0 of a filter gives the notes since the last time. */
static const GUID ToldSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x92}};

enum { FRAME = 64, MOST = 1000, PINS = 2 };

static char Log[MOST];
static ULONG Used;
static KSPIN_LOCK Lock;
/* What the contexts point to. */
static ULONG OfFilter, OfPin[PINS];

static void Note(const char *Text)
{
    KIRQL level;

    KeAcquireSpinLock(&Lock, &level);
    if (Used)
        Log[Used++] = ' ';
    while (*Text && Used < MOST - 2)
        Log[Used++] = *Text++;
    KeReleaseSpinLock(&Lock, level);
}

static void NotePin(const char *Text, PKSPIN Pin)
{
    char text[24];
    ULONG i;

    for (i = 0; Text[i] && i < 22; i++)
        text[i] = Text[i];
    text[i++] = (char)('0' + Pin->Id);
    text[i] = 0;
    Note(text);
    if (KeGetCurrentIrql() != PASSIVE_LEVEL)
        Note("raised");
}

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
    Filter->Context = &OfFilter;
    Note("filter-create");
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterClose(PKSFILTER Filter, PIRP Irp)
{
    if (Filter->Context != &OfFilter)
        Note("filter-lost-context");
    Note("filter-close");
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterReset(PKSFILTER Filter)
{
    Note("filter-reset");
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    return STATUS_PENDING;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    if (Pin->Context != &OfFilter)
        Note("no-context-of-filter");
    Pin->Context = &OfPin[Pin->Id];
    NotePin("create", Pin);
    return STATUS_SUCCESS;
}

static void SeeContext(PKSPIN Pin)
{
    if (Pin->Context != &OfPin[Pin->Id] || KsPinGetParentFilter(Pin)->Context != &OfFilter)
        Note("lost-context");
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    SeeContext(Pin);
    NotePin("close", Pin);
    return STATUS_SUCCESS;
}

static NTSTATUS OnConnect(PKSPIN Pin)
{
    SeeContext(Pin);
    if (Pin->ConnectionIsExternal)
        Note("external");
    NotePin("connect", Pin);
    return STATUS_SUCCESS;
}

static void OnDisconnect(PKSPIN Pin)
{
    SeeContext(Pin);
    NotePin("disconnect", Pin);
}

static void OnPinReset(PKSPIN Pin)
{
    NotePin(Pin->ResetState == KSRESET_BEGIN ? "reset-begin" : "reset-end", Pin);
}

static NTSTATUS OnPinProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

static NTSTATUS Tell(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    KIRQL level;

    KeAcquireSpinLock(&Lock, &level);
    RtlCopyMemory(Data, Log, Used);
    Irp->IoStatus.Information = Used;
    Used = 0;
    KeReleaseSpinLock(&Lock, level);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Items[] = {
    DEFINE_KSPROPERTY_ITEM(0, Tell, sizeof(KSPROPERTY), MOST, NULL, NULL, 0, NULL, NULL, 0),
};
static const KSPROPERTY_SET Sets[] = {{&ToldSet, SIZEOF_ARRAY(Items), Items, 0, NULL}};
static const KSAUTOMATION_TABLE Automation = {1, sizeof(KSPROPERTY_ITEM), Sets};
static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const KSPIN_DISPATCH ByPin = {
    .Create = OnPinCreate, .Close = OnPinClose, .Connect = OnConnect, .Disconnect = OnDisconnect,
    .Reset = OnPinReset, .Process = OnPinProcess};
static const KSPIN_DISPATCH OfWhole = {
    .Create = OnPinCreate, .Close = OnPinClose, .Connect = OnConnect, .Disconnect = OnDisconnect, .Reset = OnPinReset};
static const KSFILTER_DISPATCH Plain = {.Create = OnFilterCreate, .Close = OnFilterClose, .Reset = OnFilterReset};
static const KSFILTER_DISPATCH Whole = {
    .Create = OnFilterCreate, .Close = OnFilterClose, .Reset = OnFilterReset, .Process = OnFilterProcess};

#define TOLD_PIN(dispatch, flow) \
    { \
        .Dispatch = &(dispatch), \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, \
    }
#define TOLD_FILTER(dispatch, pins, number) \
    { \
        .Dispatch = &(dispatch), .AutomationTable = &Automation, .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .ReferenceGuid = &(const GUID){0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, (number)}}, \
        .PinDescriptorsCount = PINS, .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX), .PinDescriptors = (pins), \
        .CategoriesCount = 1, .Categories = Categories, .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }
static const KSPIN_DESCRIPTOR_EX PinsAlone[PINS] = {
    TOLD_PIN(ByPin, KSPIN_DATAFLOW_OUT), TOLD_PIN(ByPin, KSPIN_DATAFLOW_IN)};
static const KSPIN_DESCRIPTOR_EX PinsTogether[PINS] = {
    TOLD_PIN(OfWhole, KSPIN_DATAFLOW_OUT), TOLD_PIN(OfWhole, KSPIN_DATAFLOW_IN)};
static const KSFILTER_DESCRIPTOR PlainFilter = TOLD_FILTER(Plain, PinsAlone, 0x26);
static const KSFILTER_DESCRIPTOR WholeFilter = TOLD_FILTER(Whole, PinsTogether, 0x27);
static const KSFILTER_DESCRIPTOR *const Filters[] = {&PlainFilter, &WholeFilter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    KeInitializeSpinLock(&Lock);
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
