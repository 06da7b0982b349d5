/*
 * One driver that goes wrong where its service key says: value `In` is a callback by its number, `How` what it does there.
 * A source (pin 0) and a sink (pin 1).
 */
#include "../avs/avs.h"

/* The test has their names. */
enum {
    ENTRY = 1, ADD, START, POST_START, QUERY_STOP, CANCEL_STOP, STOP, QUERY_REMOVE, CANCEL_REMOVE, REMOVE,
    SURPRISE_REMOVAL, QUERY_POWER, SET_POWER, FILTER_CREATE, FILTER_CLOSE, PIN_CREATE, PIN_CLOSE,
    PROCESS, SET_DATA_FORMAT, SET_DEVICE_STATE, CONNECT, DISCONNECT, INTERSECT, GET, UNLOAD,
};
enum { CALL_NULL, BREAKPOINT, STACK, WILD, DEAD };

enum { SOURCE, SINK, MOST_FRAMES = 4 };

static ULONG In, How;
static LONG Made;
/* The source has been called. */
static KEVENT Processed;

static __attribute__((noinline)) int Recurse(volatile int *depth)
{
    volatile char room[4096];
    room[0] = (char)*depth;
    (*depth)++;
    return Recurse(depth) + room[0];
}

static __attribute__((noinline)) void GoWrong(void)
{
    volatile ULONG_PTR zero = 0, wild = 0xFFFF800000001000;
    volatile int depth = 0;
    switch (How) {
    case CALL_NULL:
        ((void (*)(void))zero)();
        break;
    case BREAKPOINT:
        __asm__ volatile("int3");
        break;
    case STACK:
        Recurse(&depth);
        break;
    case WILD:
        *(volatile ULONG *)wild = 1;
        break;
    case DEAD:
        (void)KsGetDevice(&In);
        break;
    }
}

static void At(ULONG Callback)
{
    if (In == Callback)
        GoWrong();
}

static ULONG Setting(PUNICODE_STRING RegistryPath, PCWSTR Value)
{
    UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
    PKEY_VALUE_PARTIAL_INFORMATION value = (PVOID)room;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name;
    HANDLE key;
    ULONG used, found = 0;

    InitializeObjectAttributes(&attributes, RegistryPath, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
        return 0;
    RtlInitUnicodeString(&name, Value);
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof(room), &used)) &&
        value->Type == REG_DWORD)
        found = *(PULONG)value->Data;
    ZwClose(key);
    return found;
}

/* Devices ------------------------------------------------------------------------------------------------------------ */

static NTSTATUS OnAdd(PKSDEVICE Device)
{
    At(ADD);
    return STATUS_SUCCESS;
}

static NTSTATUS OnStart(PKSDEVICE Device, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
    At(START);
    return STATUS_SUCCESS;
}

static NTSTATUS OnPostStart(PKSDEVICE Device)
{
    At(POST_START);
    return STATUS_SUCCESS;
}

#define ANSWERING(Name, NUMBER) \
    static NTSTATUS Name(PKSDEVICE Device, PIRP Irp) \
    { \
        At(NUMBER); \
        return STATUS_SUCCESS; \
    }
#define TOLD(Name, NUMBER) \
    static void Name(PKSDEVICE Device, PIRP Irp) \
    { \
        At(NUMBER); \
    }
ANSWERING(OnQueryStop, QUERY_STOP)
ANSWERING(OnQueryRemove, QUERY_REMOVE)
TOLD(OnCancelStop, CANCEL_STOP)
TOLD(OnStop, STOP)
TOLD(OnCancelRemove, CANCEL_REMOVE)
TOLD(OnRemove, REMOVE)
TOLD(OnSurpriseRemoval, SURPRISE_REMOVAL)

static NTSTATUS OnQueryPower(PKSDEVICE Device, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From,
                             SYSTEM_POWER_STATE SystemTo, SYSTEM_POWER_STATE SystemFrom, POWER_ACTION Action)
{
    At(QUERY_POWER);
    return STATUS_SUCCESS;
}

static void OnSetPower(PKSDEVICE Device, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From)
{
    At(SET_POWER);
}

/* Filters and pins --------------------------------------------------------------------------------------------------- */

#define OF(OBJECT, Name, NUMBER) \
    static NTSTATUS Name(OBJECT Object, PIRP Irp) \
    { \
        At(NUMBER); \
        return STATUS_SUCCESS; \
    }
OF(PKSFILTER, OnFilterCreate, FILTER_CREATE)
OF(PKSFILTER, OnFilterClose, FILTER_CLOSE)
OF(PKSPIN, OnPinCreate, PIN_CREATE)
OF(PKSPIN, OnPinClose, PIN_CLOSE)

static NTSTATUS OnProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead;
    At(PROCESS);
    while ((lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED)) != NULL) {
        if (Pin->Id == SOURCE) {
            if (InterlockedIncrement(&Made) > MOST_FRAMES) {
                KsStreamPointerUnlock(lead, FALSE);
                break;
            }
            lead->StreamHeader->DataUsed = FRAME;
        }
        KsStreamPointerUnlock(lead, TRUE);
    }
    if (Pin->Id == SOURCE)
        KeSetEvent(&Processed, IO_NO_INCREMENT, FALSE);
    return STATUS_PENDING;
}

static NTSTATUS OnSetDataFormat(PKSPIN Pin, PKSDATAFORMAT OldFormat, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                                const KSATTRIBUTE_LIST *AttributeRange)
{
    At(SET_DATA_FORMAT);
    return STATUS_SUCCESS;
}

static NTSTATUS OnSetDeviceState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    At(SET_DEVICE_STATE);
    return STATUS_SUCCESS;
}

static NTSTATUS OnConnect(PKSPIN Pin)
{
    At(CONNECT);
    return STATUS_SUCCESS;
}

static void OnDisconnect(PKSPIN Pin)
{
    At(DISCONNECT);
}

static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE DataRange, PKSDATARANGE Matching, ULONG Room,
                            PVOID Data, PULONG Bytes)
{
    At(INTERSECT);
    *Bytes = sizeof(KSDATAFORMAT);
    if (!Room)
        return STATUS_BUFFER_OVERFLOW;
    *(PKSDATAFORMAT)Data = *Matching;
    return STATUS_SUCCESS;
}

static const char *OnCheck(PKSPIN Pin)
{
    At(GET);
    return NULL;
}

/* Waits until the source has been called. */
static const char *OnWait(PKSPIN Pin)
{
    LARGE_INTEGER most = {.QuadPart = -100000000};
    CHECK(KeWaitForSingleObject(&Processed, Executive, KernelMode, FALSE, &most) == STATUS_SUCCESS);
    return NULL;
}

DEFINE_CHECKS(OnCheck, OnWait);
static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnPinCreate, .Close = OnPinClose, .Process = OnProcess, .SetDataFormat = OnSetDataFormat,
    .SetDeviceState = OnSetDeviceState, .Connect = OnConnect, .Disconnect = OnDisconnect};
#define ASKED_PIN(flow) \
    { \
        .Dispatch = &PinDispatch, .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .IntersectHandler = OnIntersect, \
    }
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    ASKED_PIN(KSPIN_DATAFLOW_OUT),
    ASKED_PIN(KSPIN_DATAFLOW_IN),
};
static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate, .Close = OnFilterClose};
static const KSDEVICE_DISPATCH DeviceDispatch = {
    .Add = OnAdd, .Start = OnStart, .PostStart = OnPostStart, .QueryStop = OnQueryStop, .CancelStop = OnCancelStop,
    .Stop = OnStop, .QueryRemove = OnQueryRemove, .CancelRemove = OnCancelRemove, .Remove = OnRemove,
    .SurpriseRemoval = OnSurpriseRemoval, .QueryPower = OnQueryPower, .SetPower = OnSetPower};

/* The class driver's, which runs behind the driver's own. */
static PDRIVER_UNLOAD ClassUnload;

static VOID NTAPI OnUnload(PDRIVER_OBJECT DriverObject)
{
    At(UNLOAD);
    if (ClassUnload)
        ClassUnload(DriverObject);
}

#define DriverEntry StartDriver
DEFINE_DRIVER(0x2a, &FilterDispatch, Pins, &DeviceDispatch)
#undef DriverEntry

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status;
    KeInitializeEvent(&Processed, NotificationEvent, FALSE);
    In = Setting(RegistryPath, L"In");
    How = Setting(RegistryPath, L"How");
    At(ENTRY);
    status = StartDriver(DriverObject, RegistryPath);
    ClassUnload = DriverObject->DriverUnload;
    DriverObject->DriverUnload = OnUnload;
    return status;
}
