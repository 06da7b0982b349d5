/*
 * Two filter factories, several open filters and several pins: what stands beside what, and the mutexes of the objects. The
 * second filter processes as a whole. Each check is a property of the filter.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E70} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x70}};

__declspec(dllimport) NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE, BOOLEAN, PLARGE_INTEGER);

enum { ANSWER = 200 };
enum { SIBLINGS, MUTEXES };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

/* The client has opened the first filter twice, this one first, and made two pins on it. Device and filter control mutex
 * are held, so that the tree stands still. */
static const char *Siblings(PKSFILTER Filter)
{
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(Filter), other;
    PKSDEVICE device = KsFilterGetDevice(Filter);
    PKSFILTER second;
    PKSPIN pin, next;

    CHECK(KsDeviceGetFirstChildFilterFactory(device) == factory && KsGetNextSibling(device) == NULL);
    other = KsFilterFactoryGetNextSiblingFilterFactory(factory);
    CHECK(other && other != factory && KsFilterFactoryGetParentDevice(other) == device);
    CHECK(KsGetNextSibling(factory) == other && KsFilterFactoryGetNextSiblingFilterFactory(other) == NULL);
    CHECK(KsFilterFactoryGetFirstChildFilter(factory) == Filter && KsFilterFactoryGetFirstChildFilter(other) == NULL);
    second = KsFilterGetNextSiblingFilter(Filter);
    CHECK(second && second != Filter && KsFilterGetParentFilterFactory(second) == factory);
    CHECK(KsGetNextSibling(Filter) == second && KsFilterGetNextSiblingFilter(second) == NULL);
    CHECK(KsFilterGetChildPinCount(Filter, 0) == 2 && KsFilterGetChildPinCount(Filter, 1) == 1);
    CHECK(KsFilterGetChildPinCount(Filter, 2) == 0);
    pin = KsFilterGetFirstChildPin(Filter, 0);
    CHECK(pin && pin->Id == 0 && KsPinGetParentFilter(pin) == Filter);
    next = KsPinGetNextSiblingPin(pin);
    CHECK(next && next != pin && next->Id == 0 && KsPinGetParentFilter(next) == Filter);
    CHECK(KsGetNextSibling(pin) == next && KsPinGetNextSiblingPin(next) == NULL);
    /* The pins of another factory are no siblings. */
    pin = KsFilterGetFirstChildPin(Filter, 1);
    CHECK(pin && pin->Id == 1 && KsPinGetNextSiblingPin(pin) == NULL && KsFilterGetFirstChildPin(Filter, 2) == NULL);
    return NULL;
}

/* The second filter has no pins; its own mutex is held. */
static const char *NoPins(PKSFILTER Second)
{
    CHECK(KsFilterGetChildPinCount(Second, 0) == 0 && KsFilterGetFirstChildPin(Second, 0) == NULL);
    return NULL;
}

static const char *Tree(PKSFILTER Filter)
{
    PKSDEVICE device = KsFilterGetDevice(Filter);
    const char *wrong;
    PKSFILTER second;

    KsAcquireDevice(device);
    KsFilterAcquireControl(Filter);
    wrong = Siblings(Filter);
    KsFilterReleaseControl(Filter);
    second = KsFilterGetNextSiblingFilter(Filter);
    if (!wrong && second) {
        KsFilterAcquireControl(second);
        wrong = NoPins(second);
        KsFilterReleaseControl(second);
    }
    KsReleaseDevice(device);
    return wrong;
}

/* A mutex by the routines that take it and give it back. */
struct rival {
    void (*Acquire)(PVOID Object);
    void (*Release)(PVOID Object);
    PVOID Object;
    KEVENT Began, Got;
};

static VOID NTAPI Compete(PVOID Context)
{
    struct rival *rival = Context;
    KeSetEvent(&rival->Began, IO_NO_INCREMENT, FALSE);
    rival->Acquire(rival->Object);
    KeSetEvent(&rival->Got, IO_NO_INCREMENT, FALSE);
    rival->Release(rival->Object);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* Another thread gets the mutex when this one has given it back, and not before. */
static const char *Excludes(void (*Acquire)(PVOID), void (*Release)(PVOID), PVOID Object)
{
    struct rival rival = {.Acquire = Acquire, .Release = Release, .Object = Object};
    LARGE_INTEGER moment;
    BOOLEAN early;
    HANDLE thread;

    KeInitializeEvent(&rival.Began, NotificationEvent, FALSE);
    KeInitializeEvent(&rival.Got, NotificationEvent, FALSE);
    Acquire(Object);
    if (!NT_SUCCESS(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Compete, &rival))) {
        Release(Object);
        return "no thread";
    }
    KeWaitForSingleObject(&rival.Began, Executive, KernelMode, FALSE, NULL);
    moment.QuadPart = -200000;
    KeDelayExecutionThread(KernelMode, FALSE, &moment);
    early = KeReadStateEvent(&rival.Got) != 0;
    Release(Object);
    KeWaitForSingleObject(&rival.Got, Executive, KernelMode, FALSE, NULL);
    ZwWaitForSingleObject(thread, FALSE, NULL);
    ZwClose(thread);
    CHECK(!early);
    return NULL;
}

#define PAIR(name, type, acquire, release) \
    static void name##_Acquire(PVOID object) { acquire((type)object); } \
    static void name##_Release(PVOID object) { release((type)object); }
PAIR(Device, PKSDEVICE, KsAcquireDevice, KsReleaseDevice)
PAIR(Filter, PKSFILTER, KsFilterAcquireControl, KsFilterReleaseControl)
PAIR(Pin, PKSPIN, KsPinAcquireControl, KsPinReleaseControl)
PAIR(PinProcess, PKSPIN, KsPinAcquireProcessingMutex, KsPinReleaseProcessingMutex)
PAIR(FilterProcess, PKSFILTER, KsFilterAcquireProcessingMutex, KsFilterReleaseProcessingMutex)

static const char *Mutexes(PKSFILTER Filter)
{
    PKSPIN pin;
    const char *wrong;
    KsFilterAcquireControl(Filter);
    pin = KsFilterGetFirstChildPin(Filter, 0);
    KsFilterReleaseControl(Filter);
    wrong = Excludes(Device_Acquire, Device_Release, KsFilterGetDevice(Filter));
    if (!wrong)
        wrong = Excludes(Filter_Acquire, Filter_Release, Filter);
    if (!wrong && pin)
        wrong = Excludes(Pin_Acquire, Pin_Release, pin);
    if (!wrong && pin)
        wrong = Excludes(PinProcess_Acquire, PinProcess_Release, pin);
    if (!wrong && !pin)
        wrong = Excludes(FilterProcess_Acquire, FilterProcess_Release, Filter);
    return wrong;
}

static NTSTATUS Run(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    const char *wrong = Request->Id == SIBLINGS ? Tree(filter) : Mutexes(filter);
    ULONG i;
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        ((PCHAR)Data)[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(SIBLINGS, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(MUTEXES, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};

static const KSDATARANGE Range = BYTES_RANGE(64);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
#define PIN(count) \
    { \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_OUT, \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = (count), \
    }
static const KSPIN_DESCRIPTOR_EX Pins[] = {PIN(2), PIN(1), PIN(1)};

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    return STATUS_PENDING;
}

static const KSFILTER_DISPATCH WholeDispatch = {.Process = OnProcess};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
#define FILTER(reference, dispatch) \
    { \
        .Dispatch = (dispatch), .AutomationTable = &Automation, .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .ReferenceGuid = (reference), .PinDescriptorsCount = SIZEOF_ARRAY(Pins), .PinDescriptorSize = sizeof(Pins[0]), \
        .PinDescriptors = Pins, .CategoriesCount = SIZEOF_ARRAY(Categories), .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }
static const GUID References[] = {
    {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x70}},
    {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x71}},
};
static const KSFILTER_DESCRIPTOR ByPin = FILTER(&References[0], NULL), Whole = FILTER(&References[1], &WholeDispatch);
static const KSFILTER_DESCRIPTOR *const Filters[] = {&ByPin, &Whole};
static const KSDEVICE_DESCRIPTOR DeviceDescriptor = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor);
}
