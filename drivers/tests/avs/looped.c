/*
 * A looped pin over AVStream with KSPROPSETID_RtAudio of its own: it allocates pages, maps them for its client, and a timer
 * reads them as a converter would. It has no notification and no register, so its client polls the position.
 *
 * -DNOTIFY: it sets a client's events where a half of the buffer is done, and has a position register.
 * -DCAPTURE: the timer writes, each byte its place in the stream.
 * -DTOPOLOGY: it is heard through another filter of its device, which is behind a bridge pin: see looped_topology.h. With
 * -DRENDER it plays through one.
 * -DNARROW: the register has 32 bits.
 * -DPRIVATE: its pages are of the pool, which is nothing that a client could map.
 * -DKEEP: what it captures are the numbers of the blocks of four bytes, so that no two rounds of a buffer are alike; it keeps
 * what it played, and tells that by properties of its filter.
 */
#if defined(TOPOLOGY) && !defined(RENDER)
#define CAPTURE
#endif
#include "avs.h"

#define ITEM(id, handler, request, data) \
    DEFINE_KSPROPERTY_ITEM(id, handler, request, data, NULL, NULL, 0, NULL, NULL, 0)

/* {A855A48C-2F78-4729-9051-1968746B9EEF} and {45FFAAA0-6E1B-11D0-BCF2-444553540000}: ksmedia.h is not needed for more. */
static const GUID RtAudio = {0xa855a48c, 0x2f78, 0x4729, {0x90, 0x51, 0x19, 0x68, 0x74, 0x6b, 0x9e, 0xef}};
static const GUID Audio = {0x45ffaaa0, 0x6e1b, 0x11d0, {0xbc, 0xf2, 0x44, 0x45, 0x53, 0x54, 0x00, 0x00}};
enum {
    RT_BUFFER = 1, RT_HWLATENCY = 2, RT_POSITIONREGISTER = 3, RT_BUFFER_WITH_NOTIFICATION = 5, RT_REGISTER = 6,
    RT_UNREGISTER = 7, RT_PACKETCOUNT = 9, AUDIO_POSITION_ID = 5, BURST = 192, MOST_EVENTS = 4, REGISTER_PLACE = 64
};
#ifdef CAPTURE
#define FLOW KSPIN_DATAFLOW_OUT
#else
#define FLOW KSPIN_DATAFLOW_IN
#endif

typedef struct {
    KSPROPERTY Property;
    PVOID BaseAddress;
    ULONG RequestedBufferSize;
    ULONG NotificationCount;
} BUFFER_PROPERTY;
#define PLAIN_PROPERTY_BYTES FIELD_OFFSET(BUFFER_PROPERTY, NotificationCount)

typedef struct {
    PVOID BufferAddress;
    ULONG ActualBufferSize;
    LONG CallMemoryBarrier;
} BUFFER;

typedef struct {
    KSPROPERTY Property;
    HANDLE NotificationEvent;
} EVENT_PROPERTY;

typedef struct {
    PVOID Register;
    ULONG Width;
    ULONGLONG Numerator, Denominator;
    ULONG Accuracy;
} REGISTER;

static PMDL Pages, RegisterPage;
static PUCHAR SystemAddress, UserAddress;
static volatile ULONGLONG *PositionRegister;
#ifdef NARROW
/* Behind it stands something else. */
#define SHOW(position) \
    (((volatile ULONG *)PositionRegister)[0] = (position), ((volatile ULONG *)PositionRegister)[1] = 0xdeadbeef)
#else
#define SHOW(position) (*PositionRegister = (position))
#endif
static PUCHAR SystemRegister, UserRegister;
static ULONG Bytes, Stream, Packets;
static KSPIN_LOCK EventsLock;
static PKEVENT Events[MOST_EVENTS];
static volatile LONG Position, Sum;
static KTIMER Timer;
static KDPC Dpc;

#ifdef TOPOLOGY
#include "looped_topology.h"
#else
#ifdef KEEP
/* The byte of a place in blocks of four that count from 0. */
#define SAMPLE(place) ((UCHAR)((place) / 4 >> 8 * ((place) % 4)))
#else
#define SAMPLE(place) ((UCHAR)(place))
#endif
#define MUTED 0
#endif

#ifdef KEEP
enum { MOST_KEPT = 1 << 20 };
/* What was played. */
static UCHAR Kept[MOST_KEPT];
/* Bytes that were moved, and packets. */
static volatile ULONG Moved, Done;
#endif

/* What was played: so many bytes that are their place in the stream, and then silence, or what is neither. */
static ULONG Played, Silent, Others;

static VOID Play(UCHAR Sample)
{
    if (MUTED)
        return;
    Sum += Sample;
    if (Sample == (UCHAR)Played && !Silent && !Others)
        Played++;
    else if (Sample)
        Others++;
    else
        Silent++;
}

/* A millisecond of the device. */
static VOID Burst(VOID)
{
    ULONG i, at = Position;

    for (i = 0; i < BURST; i++, at = (at + 1) % Bytes) {
#ifdef CAPTURE
        SystemAddress[at] = SAMPLE(Stream);
        Stream++;
        Sum = 1;
#else
        Play(SystemAddress[at]);
#ifdef KEEP
        if (Moved + i < MOST_KEPT)
            Kept[Moved + i] = SystemAddress[at];
#endif
#endif
    }
#ifdef KEEP
    Moved += BURST;
#endif
    if (PositionRegister)
        SHOW(at);
    /* Of one packet a cycle the end is where the buffer begins anew. */
    if (Packets && (at < (ULONG)Position || at / (Bytes / Packets) != (ULONG)Position / (Bytes / Packets))) {
#ifdef KEEP
        Done++;
#endif
        KeAcquireSpinLockAtDpcLevel(&EventsLock);
        for (i = 0; i < MOST_EVENTS; i++)
            if (Events[i])
                KeSetEvent(Events[i], 0, FALSE);
        KeReleaseSpinLockFromDpcLevel(&EventsLock);
    }
    Position = at;
}

#ifdef KEEP
/* Since when it runs, and the milliseconds of that which have passed. */
static LONGLONG Begun;
static ULONG Passed;

static LONGLONG Milliseconds(VOID)
{
    LARGE_INTEGER second, now = KeQueryPerformanceCounter(&second);
    return now.QuadPart / (second.QuadPart / 1000);
}
#endif

static VOID NTAPI OnTimer(PKDPC This, PVOID Context, PVOID First, PVOID Second)
{
#ifdef KEEP
    /* A device keeps its rate, though its timer may come late. */
    for (; Passed < Milliseconds() - Begun; Passed++)
#endif
        Burst();
}

static NTSTATUS OnState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    LARGE_INTEGER due = {.QuadPart = -10000};

    if (To == KSSTATE_RUN && Pages) {
#ifdef KEEP
        Begun = Milliseconds();
        Passed = 0;
#endif
        KeSetTimerEx(&Timer, due, 1, &Dpc);
    }
    if (From == KSSTATE_RUN) {
        KeCancelTimer(&Timer);
        KeFlushQueuedDpcs();
    }
    if (To == KSSTATE_STOP) {
        Position = 0;
        if (Played)
            DbgPrint("played %u bytes in their order, %u of silence and %u others behind\n", Played, Silent, Others);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    KeInitializeTimer(&Timer);
    KeInitializeDpc(&Dpc, OnTimer, NULL);
    KeInitializeSpinLock(&EventsLock);
    Position = Sum = Stream = Packets = Played = Silent = Others = 0;
    return STATUS_SUCCESS;
}

static PMDL NewPages(ULONG Size)
{
#ifdef PRIVATE
    PVOID memory = ExAllocatePoolWithTag(NonPagedPoolNx, Size, 'pool');
    PMDL list = IoAllocateMdl(memory, Size, FALSE, FALSE, NULL);
    RtlZeroMemory(memory, Size);
    MmBuildMdlForNonPagedPool(list);
    return list;
#else
    PHYSICAL_ADDRESS low = {.QuadPart = 0}, high = {.QuadPart = -1}, skip = {.QuadPart = 0};

    return MmAllocatePagesForMdlEx(low, high, skip, Size, MmCached, MM_ALLOCATE_FULLY_REQUIRED);
#endif
}

static void FreePages(PMDL List)
{
#ifdef PRIVATE
    ExFreePool(MmGetMdlVirtualAddress(List));
    IoFreeMdl(List);
#else
    MmFreePagesFromMdl(List);
    ExFreePool(List);
#endif
}

static NTSTATUS OnClose(PKSPIN Pin, PIRP Irp)
{
    ULONG i;

    KeCancelTimer(&Timer);
    KeFlushQueuedDpcs();
    for (i = 0; i < MOST_EVENTS; i++) {
        if (Events[i])
            ObDereferenceObject(Events[i]);
        Events[i] = NULL;
    }
    if (Pages) {
        MmUnmapLockedPages(UserAddress, Pages);
        MmUnmapLockedPages(SystemAddress, Pages);
        FreePages(Pages);
        Pages = NULL;
    }
    if (RegisterPage) {
        MmUnmapLockedPages(UserRegister, RegisterPage);
        MmUnmapLockedPages(SystemRegister, RegisterPage);
        FreePages(RegisterPage);
        RegisterPage = NULL;
        PositionRegister = NULL;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS GetBuffer(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    BUFFER_PROPERTY *asked = (BUFFER_PROPERTY *)Request;
    BUFFER *buffer = Data;

    if (Pages)
        return STATUS_INVALID_DEVICE_STATE;
    if (asked->BaseAddress || !asked->RequestedBufferSize || asked->RequestedBufferSize > 1 << 20)
        return STATUS_UNSUCCESSFUL;
    Bytes = (asked->RequestedBufferSize + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    Pages = NewPages(Bytes);
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

#ifdef NOTIFY
static NTSTATUS GetNotifyingBuffer(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG count = ((BUFFER_PROPERTY *)Request)->NotificationCount;
    NTSTATUS status;

    if (count != 1 && count != 2)
        return STATUS_UNSUCCESSFUL;
    status = GetBuffer(Irp, Request, Data);
    if (NT_SUCCESS(status))
        Packets = count;
    return status;
}

static NTSTATUS GetRegister(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    REGISTER *answer = Data;

    if (RegisterPage)
        return STATUS_INVALID_DEVICE_STATE;
    RegisterPage = NewPages(PAGE_SIZE);
    if (!RegisterPage)
        return STATUS_INSUFFICIENT_RESOURCES;
    SystemRegister = MmMapLockedPagesSpecifyCache(RegisterPage, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    UserRegister = MmMapLockedPagesSpecifyCache(RegisterPage, UserMode, MmCached, NULL, FALSE, NormalPagePriority);
    /* The register is not at the start of its page. */
    PositionRegister = (volatile ULONGLONG *)(SystemRegister + REGISTER_PLACE);
    SHOW(Position);
    RtlZeroMemory(answer, sizeof(REGISTER));
    answer->Register = UserRegister + REGISTER_PLACE;
#ifdef NARROW
    answer->Width = 32;
#else
    answer->Width = 64;
#endif
    answer->Accuracy = BURST;
    Irp->IoStatus.Information = sizeof(REGISTER);
    return STATUS_SUCCESS;
}

static PKEVENT Swap(PKEVENT From, PKEVENT To)
{
    KIRQL old;
    ULONG i;

    KeAcquireSpinLock(&EventsLock, &old);
    for (i = 0; i < MOST_EVENTS && Events[i] != From; i++)
        ;
    if (i < MOST_EVENTS)
        Events[i] = To;
    KeReleaseSpinLock(&EventsLock, old);
    return i < MOST_EVENTS ? From : NULL;
}

static NTSTATUS ClientsEvent(PKSIDENTIFIER Request, PIRP Irp, PKEVENT *Event)
{
    return ObReferenceObjectByHandle(((EVENT_PROPERTY *)Request)->NotificationEvent, EVENT_MODIFY_STATE, *ExEventObjectType,
                                     Irp->RequestorMode, (PVOID *)Event, NULL);
}

static NTSTATUS Register(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKEVENT event;
    ULONG i;
    NTSTATUS status = ClientsEvent(Request, Irp, &event);

    Irp->IoStatus.Information = 0;
    if (!NT_SUCCESS(status))
        return status;
    for (i = 0; i < MOST_EVENTS; i++) {
        if (Events[i] == event) {
            ObDereferenceObject(event);
            return STATUS_INVALID_PARAMETER;
        }
        if (!Events[i]) {
            Events[i] = event;
            return STATUS_SUCCESS;
        }
    }
    ObDereferenceObject(event);
    return STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS Unregister(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKEVENT event;
    NTSTATUS status = ClientsEvent(Request, Irp, &event);

    Irp->IoStatus.Information = 0;
    if (!NT_SUCCESS(status))
        return status;
    status = Swap(event, NULL) ? STATUS_SUCCESS : STATUS_NOT_FOUND;
    if (NT_SUCCESS(status))
        ObDereferenceObject(event);
    ObDereferenceObject(event);
    return status;
}
#else
static NTSTATUS Refuse(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return STATUS_NOT_SUPPORTED;
}
#endif

/* 0: it has read something else than silence. */
static const char *Heard(PKSPIN Pin)
{
    CHECK(Sum);
    CHECK(UserAddress && Bytes);
    return NULL;
}

#ifdef NOTIFY
/* 1 to 4: what becomes of the first event that was registered. */
static const char *Set(PKSPIN Pin)
{
    CHECK(Events[0]);
    CHECK(!KeReadStateEvent(Events[0]));
    CHECK(!KeSetEvent(Events[0], 0, FALSE));
    return NULL;
}

static const char *Clear(PKSPIN Pin)
{
    CHECK(KeReadStateEvent(Events[0]));
    KeClearEvent(Events[0]);
    CHECK(!KeReadStateEvent(Events[0]));
    return NULL;
}

static const char *Reset(PKSPIN Pin)
{
    CHECK(KeResetEvent(Events[0]));
    CHECK(!KeResetEvent(Events[0]));
    return NULL;
}

static const char *Pulse(PKSPIN Pin)
{
    CHECK(!KePulseEvent(Events[0], 0, FALSE));
    CHECK(!KeReadStateEvent(Events[0]));
    return NULL;
}

static const CHECK_ROUTINE Checks[] = {Heard, Set, Clear, Reset, Pulse};
#else
static const CHECK_ROUTINE Checks[] = {Heard};
#endif
#ifdef KEEP
static NTSTATUS GetPacketCount(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = Done;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}
#endif
static const KSPROPERTY_ITEM RtAudioItems[] = {
#ifdef KEEP
    ITEM(RT_PACKETCOUNT, GetPacketCount, sizeof(KSPROPERTY), sizeof(ULONG)),
#endif
    ITEM(RT_BUFFER, GetBuffer, PLAIN_PROPERTY_BYTES, sizeof(BUFFER)),
#ifdef NOTIFY
    ITEM(RT_BUFFER_WITH_NOTIFICATION, GetNotifyingBuffer, sizeof(BUFFER_PROPERTY), sizeof(BUFFER)),
    ITEM(RT_POSITIONREGISTER, GetRegister, sizeof(KSPROPERTY) + sizeof(PVOID), sizeof(REGISTER)),
    DEFINE_KSPROPERTY_ITEM(RT_REGISTER, Register, sizeof(EVENT_PROPERTY), 0, Register, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(RT_UNREGISTER, Unregister, sizeof(EVENT_PROPERTY), 0, Unregister, NULL, 0, NULL, NULL, 0),
#else
    ITEM(RT_BUFFER_WITH_NOTIFICATION, Refuse, sizeof(BUFFER_PROPERTY), sizeof(BUFFER)),
#endif
    ITEM(RT_HWLATENCY, GetLatency, sizeof(KSPROPERTY), 3 * sizeof(ULONG)),
};
static const KSPROPERTY_ITEM AudioItems[] = {ITEM(AUDIO_POSITION_ID, GetPosition, sizeof(KSPROPERTY), 16)};
static const KSPROPERTY_SET Sets[] = {
    {&CheckSet, SIZEOF_ARRAY(Checks), CheckItems, 0, NULL},
    {&RtAudio, SIZEOF_ARRAY(RtAudioItems), RtAudioItems, 0, NULL},
    {&Audio, SIZEOF_ARRAY(AudioItems), AudioItems, 0, NULL},
};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(Sets), sizeof(KSPROPERTY_ITEM), Sets};
static const KSPIN_INTERFACE Interfaces[] = {
    {.Set = {STATIC_KSINTERFACESETID_Standard}, .Id = KSINTERFACE_STANDARD_LOOPED_STREAMING}};
static const KSPIN_DISPATCH PinDispatch = {.Create = OnCreate, .Close = OnClose, .SetDeviceState = OnState};
#define LOOPED_PIN(ranges) \
    { \
        .Dispatch = &PinDispatch, .AutomationTable = &Automation, \
        .PinDescriptor = {.InterfacesCount = 1, .Interfaces = Interfaces, .DataRangesCount = 1, .DataRanges = (ranges), \
                          .DataFlow = FLOW, .Communication = KSPIN_COMMUNICATION_SINK}, \
        .InstancesPossible = 1, \
    }
#ifdef KEEP
/* Properties 0 and 1 of a set of the filter: how many bytes were moved, and those that were played. */
static NTSTATUS GetMoved(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = Moved;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS GetKept(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG room = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;

    Irp->IoStatus.Information = room < Moved ? room : Moved;
    RtlCopyMemory(Data, Kept, Irp->IoStatus.Information);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM KeptItems[] = {
    ITEM(0, GetMoved, sizeof(KSPROPERTY), sizeof(ULONG)), ITEM(1, GetKept, sizeof(KSPROPERTY), 1)};
static const KSPROPERTY_SET KeptSets[] = {{&CheckSet, SIZEOF_ARRAY(KeptItems), KeptItems, 0, NULL}};
static const KSAUTOMATION_TABLE KeptAutomation = {SIZEOF_ARRAY(KeptSets), sizeof(KSPROPERTY_ITEM), KeptSets};
#endif
#ifdef TOPOLOGY
DEFINE_LOOPED_DRIVER
#else
static const KSPIN_DESCRIPTOR_EX Pins[] = {LOOPED_PIN(Ranges)};
DEFINE_DRIVER(0x22, NULL, Pins, NULL)
#endif
