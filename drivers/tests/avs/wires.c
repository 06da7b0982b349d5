/*
 * Two pins of a private wire, beside the standard medium: data goes from one to the other by the driver's own bus, which the
 * source finds through the file object that it is connected to. The mediums are entered in the medium cache.
 */
#include "avs.h"

/* {5D9A1C40-3B7E-4E55-9C1A-70C2A5E9F101} */
#define WIRE {0x5d9a1c40, 0x3b7e, 0x4e55, {0x9c, 0x1a, 0x70, 0xc2, 0xa5, 0xe9, 0xf1, 0x01}}
#define CACHE L"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediumCache\\{5D9A1C40-3B7E-4E55-9C1A-70C2A5E9F101}"

#define STANDARD_MEDIUM {.Set = {STATIC_KSMEDIUMSETID_Standard}, .Id = KSMEDIUM_STANDARD_DEVIO}
static const KSPIN_MEDIUM SourceMediums[] = {{.Set = WIRE, .Id = 0x1f}, STANDARD_MEDIUM};
static const KSPIN_MEDIUM SinkMediums[] = {{.Set = WIRE, .Id = 0x1f}, {.Set = WIRE, .Id = 0x20}, STANDARD_MEDIUM};
static const KSPIN_INTERFACE Interfaces[] = {
    {.Set = {STATIC_KSINTERFACESETID_Standard}, .Id = KSINTERFACE_STANDARD_STREAMING},
    {.Set = {STATIC_KSINTERFACESETID_Standard}, .Id = KSINTERFACE_STANDARD_CONTROL},
    {.Set = WIRE, .Id = 3},
};

static PKSPIN Connected;
static ULONG Received, Processed;
static KSSTATE Before;

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    PFILE_OBJECT file;

    if (To != KSSTATE_RUN || Pin->DataFlow != KSPIN_DATAFLOW_OUT)
        return STATUS_SUCCESS;
    Before = From;
    file = KsPinGetConnectedPinFileObject(Pin);
    Connected = file ? KsGetPinFromFileObject(file) : NULL;
    if (Connected && Connected->ConnectionMedium.Id == Pin->ConnectionMedium.Id)
        Received++;
    return STATUS_SUCCESS;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    Processed++;
    return STATUS_PENDING;
}

/* 0: the source of a private wire. */
static const char *Wired(PKSPIN Pin)
{
    CHECK(Pin->ConnectionMedium.Id == 0x1f && !Pin->ConnectionIsExternal);
    CHECK(Before == KSSTATE_STOP && Pin->DeviceState == KSSTATE_RUN);
    CHECK(Connected && Connected != Pin && Connected->DataFlow == KSPIN_DATAFLOW_IN && Received == 1);
    CHECK(!KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED));
    CHECK(!Processed);
    return NULL;
}

static BOOLEAN Cached(PCWSTR Name, PUNICODE_STRING Value, ULONG Direction)
{
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    HANDLE key;
    NTSTATUS status;
    ULONG length;
    struct {
        KEY_VALUE_PARTIAL_INFORMATION Information;
        UCHAR More[8];
    } found;

    RtlInitUnicodeString(&name, Name);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
        return FALSE;
    status = ZwQueryValueKey(key, Value, KeyValuePartialInformation, &found, sizeof(found), &length);
    ZwClose(key);
    return NT_SUCCESS(status) && found.Information.Type == REG_DWORD && found.Information.DataLength == 4 &&
           *(PULONG)found.Information.Data == Direction;
}

/* 1: one medium, as a driver enters those of filters without pins. */
static const char *Entered(PKSPIN Pin)
{
    UNICODE_STRING link, empty;
    KSPIN_MEDIUM medium = SourceMediums[0];

    RtlInitUnicodeString(&link, L"\\??\\a#tuner#of#tests");
    RtlInitUnicodeString(&empty, L"");
    medium.Id = 0xab;
    medium.Flags = 2;
    CHECK(!Cached(CACHE L"\\ab\\2", &link, 0));
    CHECK(KsCacheMedium(&link, &medium, 0) == STATUS_SUCCESS && Cached(CACHE L"\\ab\\2", &link, 0));
    CHECK(KsCacheMedium(&link, &medium, 1) == STATUS_SUCCESS && Cached(CACHE L"\\ab\\2", &link, 1));
    CHECK(KsCacheMedium(&link, &medium, 2) == STATUS_INVALID_PARAMETER);
    CHECK(KsCacheMedium(NULL, &medium, 1) == STATUS_INVALID_PARAMETER);
    CHECK(KsCacheMedium(&empty, &medium, 1) == STATUS_INVALID_PARAMETER);
    CHECK(KsCacheMedium(&link, NULL, 1) == STATUS_INVALID_PARAMETER);
    return NULL;
}

/* 2: all of a filter, and of a descriptor that it may have later. */
static const char *Updated(PKSPIN Pin)
{
    static const GUID other[] = {WIRE};
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(KsPinGetParentFilter(Pin));
    PUNICODE_STRING link = (PUNICODE_STRING)KsFilterFactoryGetSymbolicLink(factory);
    KSFILTER_DESCRIPTOR later = *factory->FilterDescriptor;

    CHECK(!Cached(CACHE L"\\20\\0", link, 0));
    CHECK(KsFilterFactoryUpdateCacheData(factory, NULL) == STATUS_SUCCESS);
    CHECK(Cached(CACHE L"\\20\\0", link, 0));
    /* Both ends of a wire in one filter: the last that was entered is the sink. */
    CHECK(Cached(CACHE L"\\1f\\0", link, 0));
    later.PinDescriptorsCount = 1;
    CHECK(KsFilterFactoryUpdateCacheData(factory, &later) == STATUS_SUCCESS);
    CHECK(Cached(CACHE L"\\1f\\0", link, 1));
    later.Categories = other;
    CHECK(KsFilterFactoryUpdateCacheData(factory, &later) == STATUS_INVALID_PARAMETER);
    return NULL;
}

DEFINE_CHECKS(Wired, Entered, Updated);
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess, .SetDeviceState = OnState};
#define WIRED_PIN(flow, mediums) \
    { \
        .Dispatch = &PinDispatch, .AutomationTable = &Automation, \
        .PinDescriptor = {.InterfacesCount = SIZEOF_ARRAY(Interfaces), .Interfaces = Interfaces, \
                          .MediumsCount = SIZEOF_ARRAY(mediums), .Mediums = mediums, \
                          .DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 4, \
    }
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    WIRED_PIN(KSPIN_DATAFLOW_OUT, SourceMediums), WIRED_PIN(KSPIN_DATAFLOW_IN, SinkMediums)};
DEFINE_DRIVER(0x21, NULL, Pins, NULL)
