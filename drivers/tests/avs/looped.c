/*
 * A looped render pin over AVStream with KSPROPSETID_RtAudio of its own: it allocates pages, maps them for its client, and a
 * timer reads them as a converter would. It has no notification and no register, so its client polls the position.
 */
#include "avs.h"

/* {A855A48C-2F78-4729-9051-1968746B9EEF} and {45FFAAA0-6E1B-11D0-BCF2-444553540000}: ksmedia.h is not needed for more. */
static const GUID RtAudio = {0xa855a48c, 0x2f78, 0x4729, {0x90, 0x51, 0x19, 0x68, 0x74, 0x6b, 0x9e, 0xef}};
static const GUID Audio = {0x45ffaaa0, 0x6e1b, 0x11d0, {0xbc, 0xf2, 0x44, 0x45, 0x53, 0x54, 0x00, 0x00}};
enum { RT_BUFFER = 1, RT_HWLATENCY = 2, RT_BUFFER_WITH_NOTIFICATION = 5, AUDIO_POSITION_ID = 5, BURST = 192 };

typedef struct {
    KSPROPERTY Property;
    PVOID BaseAddress;
    ULONG RequestedBufferSize;
} BUFFER_PROPERTY;

typedef struct {
    PVOID BufferAddress;
    ULONG ActualBufferSize;
    LONG CallMemoryBarrier;
} BUFFER;

static PMDL Pages;
static PUCHAR SystemAddress, UserAddress;
static ULONG Bytes;
static volatile LONG Position, Sum;
static KTIMER Timer;
static KDPC Dpc;

static VOID NTAPI OnTimer(PKDPC This, PVOID Context, PVOID First, PVOID Second)
{
    ULONG i, at = Position;

    for (i = 0; i < BURST; i++, at = (at + 1) % Bytes)
        Sum += SystemAddress[at];
    Position = at;
}

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    LARGE_INTEGER due = {.QuadPart = -10000};

    if (To == KSSTATE_RUN && Pages)
        KeSetTimerEx(&Timer, due, 1, &Dpc);
    if (From == KSSTATE_RUN) {
        KeCancelTimer(&Timer);
        KeFlushQueuedDpcs();
    }
    if (To == KSSTATE_STOP)
        Position = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    KeInitializeTimer(&Timer);
    KeInitializeDpc(&Dpc, OnTimer, NULL);
    Position = Sum = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS OnClose(PKSPIN Pin, PIRP Irp)
{
    KeCancelTimer(&Timer);
    KeFlushQueuedDpcs();
    if (Pages) {
        MmUnmapLockedPages(UserAddress, Pages);
        MmUnmapLockedPages(SystemAddress, Pages);
        MmFreePagesFromMdl(Pages);
        ExFreePool(Pages);
        Pages = NULL;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS GetBuffer(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    BUFFER_PROPERTY *asked = (BUFFER_PROPERTY *)Request;
    BUFFER *buffer = Data;
    PHYSICAL_ADDRESS low = {.QuadPart = 0}, high = {.QuadPart = -1}, skip = {.QuadPart = 0};

    if (Pages)
        return STATUS_INVALID_DEVICE_STATE;
    if (asked->BaseAddress || !asked->RequestedBufferSize || asked->RequestedBufferSize > 1 << 20)
        return STATUS_UNSUCCESSFUL;
    Bytes = (asked->RequestedBufferSize + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    Pages = MmAllocatePagesForMdlEx(low, high, skip, Bytes, MmCached, MM_ALLOCATE_FULLY_REQUIRED);
    if (!Pages)
        return STATUS_INSUFFICIENT_RESOURCES;
    SystemAddress = MmMapLockedPagesSpecifyCache(Pages, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    UserAddress = MmMapLockedPagesSpecifyCache(Pages, UserMode, MmCached, NULL, FALSE, NormalPagePriority);
    buffer->BufferAddress = UserAddress;
    buffer->ActualBufferSize = Bytes;
    buffer->CallMemoryBarrier = FALSE;
    Irp->IoStatus.Information = sizeof(BUFFER);
    return STATUS_SUCCESS;
}

static NTSTATUS GetLatency(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PULONG latency = Data;

    latency[0] = BURST;
    latency[1] = latency[2] = 0;
    Irp->IoStatus.Information = 3 * sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS GetPosition(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PULONGLONG position = Data;

    position[0] = Position;
    position[1] = Pages ? (Position + BURST * (KSSTATE_RUN == KsGetPinFromIrp(Irp)->DeviceState)) % Bytes : 0;
    Irp->IoStatus.Information = 2 * sizeof(ULONGLONG);
    return STATUS_SUCCESS;
}

static NTSTATUS Refuse(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return STATUS_NOT_SUPPORTED;
}

/* 0: it has read something else than silence. */
static const char *Heard(PKSPIN Pin)
{
    CHECK(Sum);
    CHECK(UserAddress && Bytes);
    return NULL;
}

static const CHECK_ROUTINE Checks[] = {Heard};
#define ITEM(id, handler, request, data) \
    DEFINE_KSPROPERTY_ITEM(id, handler, request, data, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM RtAudioItems[] = {
    ITEM(RT_BUFFER, GetBuffer, sizeof(BUFFER_PROPERTY), sizeof(BUFFER)),
    ITEM(RT_BUFFER_WITH_NOTIFICATION, Refuse, sizeof(BUFFER_PROPERTY), sizeof(BUFFER)),
    ITEM(RT_HWLATENCY, GetLatency, sizeof(KSPROPERTY), 3 * sizeof(ULONG)),
};
static const KSPROPERTY_ITEM AudioItems[] = {ITEM(AUDIO_POSITION_ID, GetPosition, sizeof(KSPROPERTY), 16)};
static const KSPROPERTY_SET Sets[] = {
    {&CheckSet, 1, CheckItems, 0, NULL},
    {&RtAudio, SIZEOF_ARRAY(RtAudioItems), RtAudioItems, 0, NULL},
    {&Audio, SIZEOF_ARRAY(AudioItems), AudioItems, 0, NULL},
};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(Sets), sizeof(KSPROPERTY_ITEM), Sets};
static const KSPIN_INTERFACE Interfaces[] = {
    {.Set = {STATIC_KSINTERFACESETID_Standard}, .Id = KSINTERFACE_STANDARD_LOOPED_STREAMING}};
static const KSPIN_DISPATCH PinDispatch = {.Create = OnCreate, .Close = OnClose, .SetDeviceState = OnState};
static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch, .AutomationTable = &Automation,
    .PinDescriptor = {.InterfacesCount = 1, .Interfaces = Interfaces, .DataRangesCount = 1, .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_IN, .Communication = KSPIN_COMMUNICATION_SINK},
    .InstancesPossible = 1,
}};
DEFINE_DRIVER(0x22, NULL, Pins, NULL)
