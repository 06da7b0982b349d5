/*
 * A driver that keeps a list of everything that it is told of its devices, its filters and its pins, and that refuses what
 * a client has it refuse. The list lives as long as the image, so that a device that is plugged in again tells of the one
 * before. It hooks the routines that AVStream has set for plug and play and power, and notes the requests that pass.
 *
 *   -DREFUSES=BITS    what it refuses from the start, and whether it holds creates
 *   -DBREAKS_ON_STOP  does not start again after a stop
 *   -DSTANDS_STILL    gives no frame after a change of power
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E70} */
static const GUID LifeSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x70}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E71} */
static const GUID OtherSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x71}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E72} */
static const GUID InterfaceId = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x72}};

enum { LOG_BYTES = 4096, ANSWER = 4096 };
enum { LIFE_LOG, LIFE_REFUSE, LIFE_FACTORIES, LIFE_MERGE, LIFE_NUMBER, LIFE_BUS, LIFE_POWER };
enum { REFUSE_STOP = 1, REFUSE_REMOVE = 2, REFUSE_POWER = 4, REFUSE_START = 8, REFUSE_POST_START = 16, PEND = 32, REFUSE_CREATE = 64,
       HOLD_PIN = 128, HOLD_FILTER = 256, POWER_IN_STOP = 512, OWNS_POLICY = 1024, CANCELABLE = 2048 };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

static char Log[LOG_BYTES];
static LONG LogUsed;
static KSPIN_LOCK LogLock;
#ifndef REFUSES
#define REFUSES 0
#endif
static volatile LONG Refused = REFUSES;
static PDRIVER_DISPATCH NextPnp, NextPower;
static PKSFILTERFACTORY Started;
static PKSDEVICE TheDevice;
static volatile BOOLEAN Asleep;

static void Note(const char *text)
{
    KIRQL level;
    KeAcquireSpinLock(&LogLock, &level);
    while (*text && LogUsed < LOG_BYTES - 2)
        Log[LogUsed++] = *text++;
    Log[LogUsed++] = ' ';
    KeReleaseSpinLock(&LogLock, level);
}

static void NoteNumbers(const char *what, ULONG from, ULONG to)
{
    char text[32];
    ULONG i = 0;
    while (what[i] && i < 24) {
        text[i] = what[i];
        i++;
    }
    text[i++] = (char)('0' + from);
    text[i++] = (char)('0' + to);
    text[i] = 0;
    Note(text);
}

static NTSTATUS Answer(LONG flag)
{
    return Refused & flag ? STATUS_DEVICE_BUSY : STATUS_SUCCESS;
}

/* The requests themselves ------------------------------------------------------------------------------------------ */

static NTSTATUS NTAPI OnPnpIrp(PDEVICE_OBJECT Device, PIRP Irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    if (stack->DeviceObject != Device)
        Note("wrong-device");
    NoteNumbers("irp", stack->MinorFunction >> 4, stack->MinorFunction & 15);
    return NextPnp(Device, Irp);
}

static VOID NTAPI OnPolicy(PDEVICE_OBJECT Device, UCHAR Minor, POWER_STATE State, PVOID Irp, PIO_STATUS_BLOCK Block)
{
    NoteNumbers("policy", State.DeviceState, Block->Status != STATUS_SUCCESS);
    NextPower(TheDevice->FunctionalDeviceObject, Irp);
}

static NTSTATUS NTAPI OnPowerIrp(PDEVICE_OBJECT Device, PIRP Irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    NoteNumbers("power-irp", stack->MinorFunction, stack->Parameters.Power.State.DeviceState);
    if ((Refused & OWNS_POLICY) && stack->MinorFunction == IRP_MN_SET_POWER &&
        stack->Parameters.Power.Type == SystemPowerState) {
        /* The request of the system ends when that of the device has. */
        POWER_STATE state = {.DeviceState = stack->Parameters.Power.State.SystemState == PowerSystemWorking ? PowerDeviceD0
                                                                                                            : PowerDeviceD3};
        IoMarkIrpPending(Irp);
        PoRequestPowerIrp(TheDevice->PhysicalDeviceObject, IRP_MN_SET_POWER, state, OnPolicy, Irp, NULL);
        return STATUS_PENDING;
    }
    return NextPower(Device, Irp);
}

/* The device ------------------------------------------------------------------------------------------------------- */

static NTSTATUS OnAdd(PKSDEVICE Device)
{
    TheDevice = Device;
    Note("Add");
    return STATUS_SUCCESS;
}

static const KSFILTER_DESCRIPTOR UntilStop;

static VOID NTAPI OnFactorySleep(PKSFILTERFACTORY Factory, DEVICE_POWER_STATE State)
{
    NoteNumbers("factory-sleep", 0, State);
}

static VOID NTAPI OnFactoryWake(PKSFILTERFACTORY Factory, DEVICE_POWER_STATE State)
{
    NoteNumbers("factory-wake", 0, State);
}

typedef struct {
    VOID(NTAPI *ActiveCooling)(PKSDEVICE, BOOLEAN, ULONG *);
    VOID(NTAPI *PassiveCooling)(PKSDEVICE, ULONG, ULONG *);
} THERMAL_DISPATCH;
__declspec(dllimport) NTSTATUS NTAPI KsDeviceRegisterThermalDispatch(PKSDEVICE, const THERMAL_DISPATCH *);

/* The fan cools it down. */
static VOID NTAPI OnActiveCooling(PKSDEVICE Device, BOOLEAN Engaged, ULONG *State)
{
    NoteNumbers(Device == TheDevice ? "fan" : "wrong-fan", *State, Engaged);
    *State = !Engaged;
}

/* It is hot until it does half of its work. */
static VOID NTAPI OnPassiveCooling(PKSDEVICE Device, ULONG Percentage, ULONG *State)
{
    NoteNumbers(Device == TheDevice ? "limit" : "wrong-limit", *State, Percentage / 25);
    *State = Percentage > 50;
}

static NTSTATUS RegisterCooling(PKSDEVICE Device)
{
    static const THERMAL_DISPATCH none, both = {OnActiveCooling, OnPassiveCooling};
    if (KsDeviceRegisterThermalDispatch(NULL, NULL) != STATUS_INVALID_DEVICE_REQUEST ||
        KsDeviceRegisterThermalDispatch(Device, NULL) != STATUS_INVALID_DEVICE_REQUEST ||
        KsDeviceRegisterThermalDispatch(Device, &none) != STATUS_INVALID_DEVICE_REQUEST)
        Note("bad-cooling");
    return KsDeviceRegisterThermalDispatch(Device, &both);
}

static NTSTATUS OnStart(PKSDEVICE Device, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Raw)
{
    NTSTATUS status;
    if (IoGetCurrentIrpStackLocation(Irp)->MinorFunction != IRP_MN_START_DEVICE || Translated || Raw || Device->Started)
        Note("bad-start");
    Note("Start");
    if (Refused & REFUSE_START)
        return STATUS_DEVICE_BUSY;
    status = RegisterCooling(Device);
    if (!NT_SUCCESS(status))
        return status;
    /* Goes with the next stop. */
    KsAcquireDevice(Device);
    status = KsCreateFilterFactory(Device->FunctionalDeviceObject, &UntilStop, L"until-stop", NULL,
                                   KSCREATE_ITEM_FREEONSTOP, OnFactorySleep, OnFactoryWake, &Started);
    KsReleaseDevice(Device);
    return status;
}

static NTSTATUS OnPostStart(PKSDEVICE Device)
{
    Note("PostStart");
    return Answer(REFUSE_POST_START);
}

static NTSTATUS OnQueryStop(PKSDEVICE Device, PIRP Irp)
{
    Note("QueryStop");
    return Answer(REFUSE_STOP);
}

static void OnCancelStop(PKSDEVICE Device, PIRP Irp)
{
    Note("CancelStop");
}

static VOID NTAPI OnPoweredInStop(PDEVICE_OBJECT Device, UCHAR Minor, POWER_STATE State, PVOID Context, PIO_STATUS_BLOCK Block)
{
    NoteNumbers("in-stop", State.DeviceState, Block->Status != STATUS_SUCCESS);
    KeSetEvent(Context, IO_NO_INCREMENT, FALSE);
}

static void OnStop(PKSDEVICE Device, PIRP Irp)
{
    Note("Stop");
    if (Refused & POWER_IN_STOP) {
        POWER_STATE state = {.DeviceState = PowerDeviceD3};
        KEVENT ended;
        KeInitializeEvent(&ended, NotificationEvent, FALSE);
        PoRequestPowerIrp(Device->PhysicalDeviceObject, IRP_MN_SET_POWER, state, OnPoweredInStop, &ended, NULL);
        KeWaitForSingleObject(&ended, Executive, KernelMode, FALSE, NULL);
    }
#ifdef BREAKS_ON_STOP
    Refused |= REFUSE_START;
#endif
}

static NTSTATUS OnQueryRemove(PKSDEVICE Device, PIRP Irp)
{
    Note("QueryRemove");
    return Answer(REFUSE_REMOVE);
}

static void OnCancelRemove(PKSDEVICE Device, PIRP Irp)
{
    Note("CancelRemove");
}

/* A create that is held goes on behind the removal of its device. */
static KEVENT Removed, WentOn;
static volatile LONG Held;

static void OnRemove(PKSDEVICE Device, PIRP Irp)
{
    Note("Remove");
    if (InterlockedExchange(&Held, 0)) {
        Refused = 0;
        KeSetEvent(&Removed, IO_NO_INCREMENT, FALSE);
        KeWaitForSingleObject(&WentOn, Executive, KernelMode, FALSE, NULL);
    }
}

static NTSTATUS OnQueryCapabilities(PKSDEVICE Device, PIRP Irp, PDEVICE_CAPABILITIES Capabilities)
{
    if (Capabilities->Size != sizeof(*Capabilities) || Capabilities->Version != 1 ||
        Capabilities->DeviceState[PowerSystemWorking] != PowerDeviceD0)
        Note("bad-capabilities");
    Capabilities->SurpriseRemovalOK = 1;
    Capabilities->D3Latency = 77;
    return STATUS_SUCCESS;
}

static void OnSurpriseRemoval(PKSDEVICE Device, PIRP Irp)
{
    Note("SurpriseRemoval");
}

static NTSTATUS OnQueryPower(PKSDEVICE Device, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From,
                             SYSTEM_POWER_STATE SystemTo, SYSTEM_POWER_STATE SystemFrom, POWER_ACTION Action)
{
    if (Device->DevicePowerState != From || Device->SystemPowerState != PowerSystemWorking)
        Note("bad-power");
    NoteNumbers("QueryPower", From, To);
    return Answer(REFUSE_POWER);
}

static volatile LONG Next;
static NTSTATUS AskForPower(ULONG Minor, ULONG State);

static void OnSetPower(PKSDEVICE Device, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From)
{
    ULONG next = InterlockedExchange(&Next, 0);
    if (IoGetCurrentIrpStackLocation(Irp)->MinorFunction != IRP_MN_SET_POWER || Device->DevicePowerState != From)
        Note("bad-power");
    NoteNumbers("SetPower", From, To);
    if (next)
        AskForPower(IRP_MN_SET_POWER, next);
#ifdef STANDS_STILL
    Asleep = TRUE;
#endif
}

static NTSTATUS OnQueryInterface(PKSDEVICE Device, PIRP Irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(Irp);
    PINTERFACE given = stack->Parameters.QueryInterface.Interface;
    if (!IsGuid(stack->Parameters.QueryInterface.InterfaceType, &InterfaceId))
        return STATUS_NOT_SUPPORTED;
    if (stack->Parameters.QueryInterface.Size < sizeof(*given))
        return STATUS_BUFFER_TOO_SMALL;
    given->Size = sizeof(*given);
    given->Version = stack->Parameters.QueryInterface.Version + 1;
    return STATUS_SUCCESS;
}

/* Answers that come later ------------------------------------------------------------------------------------------ */

typedef struct {
    WORK_QUEUE_ITEM Item;
    PIRP Irp;
    NTSTATUS Status;
} LATER;

static VOID NTAPI OnLater(PVOID Context)
{
    LATER *later = Context;
    PKSPIN pin = KsGetPinFromIrp(later->Irp);
    PKSFILTER filter = KsGetFilterFromIrp(later->Irp);
    /* The routine that has pended has given its mutexes back. */
    KsAcquireDevice(KsFilterGetDevice(filter));
    KsFilterAcquireControl(filter);
    Note(pin ? "pin-completes" : "completes");
    KsFilterReleaseControl(filter);
    KsReleaseDevice(KsFilterGetDevice(filter));
    later->Irp->IoStatus.Status = later->Status;
    KsCompletePendingRequest(later->Irp);
    ExFreePool(later);
}

static NTSTATUS Later(PIRP Irp, const char *what, NTSTATUS status)
{
    LATER *later;
    Note(what);
    if (!(Refused & PEND))
        return status;
    later = ExAllocatePoolWithTag(NonPagedPool, sizeof(*later), 'efiL');
    if (!later)
        return STATUS_INSUFFICIENT_RESOURCES;
    later->Irp = Irp;
    later->Status = status;
    ExInitializeWorkItem(&later->Item, OnLater, later);
    IoMarkIrpPending(Irp);
    ExQueueWorkItem(&later->Item, DelayedWorkQueue);
    return STATUS_PENDING;
}

static VOID NTAPI OnRemoved(PVOID Context)
{
    LATER *later = Context;
    KeWaitForSingleObject(&Removed, Executive, KernelMode, FALSE, NULL);
    later->Irp->IoStatus.Status = STATUS_SUCCESS;
    KsCompletePendingRequest(later->Irp);
    ExFreePool(later);
    Note("late");
    KeSetEvent(&WentOn, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnCancelled(PDEVICE_OBJECT Device, PIRP Irp)
{
    IoReleaseCancelSpinLock(Irp->CancelIrql);
    Note("cancelled");
    Irp->IoStatus.Status = STATUS_CANCELLED;
    KsCompletePendingRequest(Irp);
}

/* Pends until the client cancels. */
static NTSTATUS HoldUntilCancelled(PIRP Irp, const char *what)
{
    IoMarkIrpPending(Irp);
    Note(what);
    IoSetCancelRoutine(Irp, OnCancelled);
    if (Irp->Cancel && IoSetCancelRoutine(Irp, NULL)) {
        Note("was-cancelled");
        Irp->IoStatus.Status = STATUS_CANCELLED;
        KsCompletePendingRequest(Irp);
    }
    return STATUS_PENDING;
}

/* Pends until the device is removed. */
static NTSTATUS Hold(PIRP Irp, const char *what)
{
    LATER *later;
    if (Refused & CANCELABLE)
        return HoldUntilCancelled(Irp, what);
    later = ExAllocatePoolWithTag(NonPagedPool, sizeof(*later), 'efiL');
    if (!later)
        return STATUS_INSUFFICIENT_RESOURCES;
    KeInitializeEvent(&Removed, NotificationEvent, FALSE);
    KeInitializeEvent(&WentOn, NotificationEvent, FALSE);
    Held = 1;
    later->Irp = Irp;
    ExInitializeWorkItem(&later->Item, OnRemoved, later);
    IoMarkIrpPending(Irp);
    ExQueueWorkItem(&later->Item, DelayedWorkQueue);
    Note(what);
    return STATUS_PENDING;
}

/* Pins and filters ------------------------------------------------------------------------------------------------- */

static VOID NTAPI OnPinSleep(PKSPIN Pin, DEVICE_POWER_STATE State)
{
    NoteNumbers("pin-sleep", Pin->ClientState, State);
}

static VOID NTAPI OnPinWake(PKSPIN Pin, DEVICE_POWER_STATE State)
{
    NoteNumbers("pin-wake", Pin->ClientState, State);
}

static VOID NTAPI OnFilterSleep(PKSFILTER Filter, DEVICE_POWER_STATE State)
{
    NoteNumbers("filter-sleep", 0, State);
}

static VOID NTAPI OnFilterWake(PKSFILTER Filter, DEVICE_POWER_STATE State)
{
    NoteNumbers("filter-wake", 0, State);
}

static void NTAPI OnDiscarded(PVOID Item)
{
    NoteNumbers("item", 0, (ULONG)(ULONG_PTR)Item);
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    ULONG i;
    KsPinRegisterPowerCallbacks(Pin, OnPinSleep, OnPinWake);
    for (i = 1; i < 3; i++)
        KsAddItemToObjectBag(Pin->Bag, (PVOID)(ULONG_PTR)i, OnDiscarded);
    if (Refused & HOLD_PIN)
        return Hold(Irp, "pin-held");
    return Later(Irp, "pin-create", Refused & REFUSE_CREATE ? STATUS_DEVICE_BUSY : STATUS_SUCCESS);
}

static NTSTATUS OnPinClose(PKSPIN Pin, PIRP Irp)
{
    return Later(Irp, "pin-close", STATUS_SUCCESS);
}

static NTSTATUS OnPinState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    NoteNumbers("pin", From, To);
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER edge = Asleep ? NULL : KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (!edge)
        return STATUS_PENDING;
    *(ULONG *)edge->StreamHeader->Data = (ULONG)(ULONG_PTR)Pin->Context;
    Pin->Context = (PVOID)((ULONG_PTR)Pin->Context + 1);
    edge->StreamHeader->DataUsed = edge->StreamHeader->FrameExtent;
    KsStreamPointerAdvanceOffsetsAndUnlock(edge, 0, edge->StreamHeader->FrameExtent, TRUE);
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
    KsFilterRegisterPowerCallbacks(Filter, OnFilterSleep, OnFilterWake);
    KsAddItemToObjectBag(Filter->Bag, (PVOID)(ULONG_PTR)9, OnDiscarded);
    if (Refused & HOLD_FILTER)
        return Hold(Irp, "filter-held");
    return Later(Irp, "filter-create", STATUS_SUCCESS);
}

static NTSTATUS OnFilterClose(PKSFILTER Filter, PIRP Irp)
{
    return Later(Irp, "filter-close", STATUS_SUCCESS);
}

static NTSTATUS OnFilterProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    return STATUS_PENDING;
}

/* Properties ------------------------------------------------------------------------------------------------------- */

static NTSTATUS Tell(PIRP Irp, PVOID Data, const char *text, ULONG bytes)
{
    if (bytes > IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength)
        bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    RtlCopyMemory(Data, text, bytes);
    Irp->IoStatus.Information = bytes;
    return STATUS_SUCCESS;
}

static NTSTATUS OnLog(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    NTSTATUS status = Tell(Irp, Data, Log, LogUsed);
    LogUsed = 0;
    return status;
}

static NTSTATUS OnRefuse(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    Refused = *(LONG *)Data;
    return STATUS_SUCCESS;
}

/* Bytes that a bus without a configuration space has given and taken, and whether the buffer is as it was. */
static NTSTATUS OnBus(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG bytes = 0x12345678;
    PKSDEVICE device = KsFilterGetDevice(KsGetFilterFromIrp(Irp));
    ULONG moved = KsDeviceGetBusData(device, 0, &bytes, 0, sizeof(bytes));
    moved += KsDeviceSetBusData(device, 0, &bytes, 4, sizeof(bytes));
    *(ULONG *)Data = bytes == 0x12345678 ? moved : 99;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static VOID NTAPI OnPowered(PDEVICE_OBJECT Device, UCHAR Minor, POWER_STATE State, PVOID Context, PIO_STATUS_BLOCK Block)
{
    if (Device != TheDevice->PhysicalDeviceObject || Context != TheDevice)
        Note("bad-completion");
    NoteNumbers(Minor == IRP_MN_SET_POWER ? "powered" : "asked", State.DeviceState, Block->Status != STATUS_SUCCESS);
}

static NTSTATUS AskForPower(ULONG Minor, ULONG State)
{
    POWER_STATE state = {.DeviceState = (DEVICE_POWER_STATE)State};
    NTSTATUS status = PoRequestPowerIrp(TheDevice->PhysicalDeviceObject, (UCHAR)Minor, state, OnPowered, TheDevice, NULL);
    return status == STATUS_PENDING ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}

/* Asks for a power state of its device by itself: the lowest byte, and in the midst of that for the next one. The third
 * says that it is a query. */
static NTSTATUS OnPower(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const UCHAR *bytes = Data;
    Next = bytes[1];
    return AskForPower(bytes[2] ? IRP_MN_QUERY_POWER : IRP_MN_SET_POWER, bytes[0]);
}

static PKSFILTERFACTORY Dynamic;
static const KSFILTER_DESCRIPTOR Added;

/* One step of the life of a factory that comes while the device runs: which, the client says. */
static NTSTATUS OnFactories(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSDEVICE device = KsFilterGetDevice(KsGetFilterFromIrp(Irp));
    NTSTATUS status = STATUS_INVALID_PARAMETER;
    KsAcquireDevice(device);
    switch (*(ULONG *)Data) {
    case 0:
        status = KsCreateFilterFactory(device->FunctionalDeviceObject, &Added, L"added", NULL, 0, NULL, NULL, &Dynamic);
        break;
    case 1:
        status = KsFilterFactorySetDeviceClassesState(Dynamic, TRUE);
        break;
    case 2:
        status = KsFilterFactorySetDeviceClassesState(Dynamic, FALSE);
        break;
    case 3:
        status = KsFilterFactoryAddCreateItem(Dynamic, L"another-name", NULL, 0);
        break;
    case 4:
        status = KsDeleteFilterFactory(Dynamic);
        break;
    }
    KsReleaseDevice(device);
    return status;
}

static NTSTATUS OnNumber(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = 1;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnOtherNumber(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = 2;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM OtherItems[] = {
    DEFINE_KSPROPERTY_ITEM(LIFE_NUMBER, OnOtherNumber, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(OtherSets){
    DEFINE_KSPROPERTY_SET(&LifeSet, SIZEOF_ARRAY(OtherItems), OtherItems, 0, NULL),
    DEFINE_KSPROPERTY_SET(&OtherSet, SIZEOF_ARRAY(OtherItems), OtherItems, 0, NULL)};
static KSAUTOMATION_TABLE OtherTable = {SIZEOF_ARRAY(OtherSets), sizeof(KSPROPERTY_ITEM), OtherSets};

/* Gives a living pin a descriptor of its own, whose table is its old one merged with another. */
static const char *Merge(PKSPIN Pin)
{
    const KSPIN_DESCRIPTOR_EX *before = Pin->Descriptor;
    PKSAUTOMATION_TABLE copy = NULL, merged = NULL, own = NULL;
    PVOID plain;

    CHECK(NT_SUCCESS(KsEdit(Pin, &Pin->Descriptor, 'efiL')));
    CHECK(Pin->Descriptor != before);
    CHECK(RtlCompareMemory(Pin->Descriptor, before, sizeof(*before)) == sizeof(*before));
    /* Of one table a copy is made. */
    CHECK(NT_SUCCESS(KsMergeAutomationTables(&copy, NULL, &OtherTable, Pin->Bag)));
    CHECK(copy && copy != &OtherTable && copy->PropertySetsCount == 2);
    CHECK(NT_SUCCESS(KsMergeAutomationTables(&merged, (PKSAUTOMATION_TABLE)before->AutomationTable, copy, Pin->Bag)));
    /* Its input has left the bag; what it made is in it. */
    CHECK(KsRemoveItemFromObjectBag(Pin->Bag, copy, FALSE) == 0);
    /* Without a bag it is the driver's to free. */
    CHECK(NT_SUCCESS(KsMergeAutomationTables(&own, merged, NULL, NULL)));
    CHECK(own->PropertySetsCount == merged->PropertySetsCount);
    plain = own;
    CHECK(KsRemoveItemFromObjectBag(Pin->Bag, plain, FALSE) == 0);
    ExFreePool(plain);
    ((KSPIN_DESCRIPTOR_EX *)Pin->Descriptor)->AutomationTable = merged;
    /* The descriptor that others share is as it was. */
    CHECK(before->AutomationTable != merged);
    return "";
}

static NTSTATUS OnMerge(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    const char *wrong;
    ULONG bytes = 0;
    /* The mutex of the pin's bag. */
    KsPinAcquireControl(pin);
    wrong = Merge(pin);
    KsPinReleaseControl(pin);
    while (wrong[bytes])
        bytes++;
    return Tell(Irp, Data, wrong, bytes);
}

static const KSPROPERTY_ITEM FilterItems[] = {
    DEFINE_KSPROPERTY_ITEM(LIFE_LOG, OnLog, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LIFE_REFUSE, NULL, sizeof(KSPROPERTY), sizeof(LONG), OnRefuse, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LIFE_FACTORIES, NULL, sizeof(KSPROPERTY), sizeof(ULONG), OnFactories, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LIFE_POWER, NULL, sizeof(KSPROPERTY), sizeof(ULONG), OnPower, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LIFE_BUS, OnBus, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(FilterSets){
    DEFINE_KSPROPERTY_SET(&LifeSet, SIZEOF_ARRAY(FilterItems), FilterItems, 0, NULL)};
/* KSEVENTSETID_Device, and its events of heat. */
static const GUID DeviceEvents = {0x288296ec, 0x9f94, 0x41b4, {0xa1, 0x53, 0xaa, 0x31, 0xae, 0xec, 0xb3, 0x3f}};
static const KSEVENT_ITEM EventItems[] = {
    DEFINE_KSEVENT_ITEM(2, sizeof(KSEVENTDATA), 0, NULL, NULL, NULL),
    DEFINE_KSEVENT_ITEM(3, sizeof(KSEVENTDATA), 0, NULL, NULL, NULL),
};
static DEFINE_KSEVENT_SET_TABLE(EventSets){DEFINE_KSEVENT_SET(&DeviceEvents, SIZEOF_ARRAY(EventItems), EventItems)};
static DEFINE_KSAUTOMATION_TABLE(FilterTable){
    DEFINE_KSAUTOMATION_PROPERTIES(FilterSets),
    DEFINE_KSAUTOMATION_METHODS_NULL,
    DEFINE_KSAUTOMATION_EVENTS(EventSets),
};
static const KSPROPERTY_ITEM PinItems[] = {
    DEFINE_KSPROPERTY_ITEM(LIFE_MERGE, OnMerge, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(LIFE_NUMBER, OnNumber, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PinSets){
    DEFINE_KSPROPERTY_SET(&LifeSet, SIZEOF_ARRAY(PinItems), PinItems, 0, NULL)};
static DEFINE_KSAUTOMATION_TABLE(PinTable){
    DEFINE_KSAUTOMATION_PROPERTIES(PinSets),
    DEFINE_KSAUTOMATION_METHODS_NULL,
    DEFINE_KSAUTOMATION_EVENTS_NULL,
};

static const KSPIN_DISPATCH PinDispatch = {
    .Create = OnPinCreate,
    .Close = OnPinClose,
    .Process = OnPinProcess,
    .SetDeviceState = OnPinState,
};
static const KSDATARANGE Range = BYTES_RANGE(32);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
#define CAPTURE_PIN(dispatch) \
    { \
        .Dispatch = dispatch, .AutomationTable = &PinTable, \
        .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges), .DataRanges = Ranges, \
                          .DataFlow = KSPIN_DATAFLOW_OUT, .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 4, \
    }
static const KSPIN_DESCRIPTOR_EX Pins[] = {CAPTURE_PIN(&PinDispatch)};
static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate, .Close = OnFilterClose};
static const KSFILTER_DISPATCH CentricDispatch = {.Create = OnFilterCreate, .Close = OnFilterClose, .Process = OnFilterProcess};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
#define DESCRIPTOR(reference, dispatch) \
    { \
        .Dispatch = dispatch, .AutomationTable = &FilterTable, .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .ReferenceGuid = reference, .PinDescriptorsCount = SIZEOF_ARRAY(Pins), \
        .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX), .PinDescriptors = Pins, \
        .CategoriesCount = SIZEOF_ARRAY(Categories), .Categories = Categories, \
    }
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x70}};
static const GUID CentricReference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x71}};
static const KSFILTER_DESCRIPTOR Filter = DESCRIPTOR(&Reference, &FilterDispatch);
static const KSFILTER_DESCRIPTOR Centric = DESCRIPTOR(&CentricReference, &CentricDispatch);
static const KSFILTER_DESCRIPTOR UntilStop = DESCRIPTOR(NULL, NULL);
static const KSFILTER_DESCRIPTOR Added = DESCRIPTOR(NULL, NULL);
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter, &Centric};

static const KSDEVICE_DISPATCH DeviceDispatch = {
    .Add = OnAdd,
    .Start = OnStart,
    .PostStart = OnPostStart,
    .QueryStop = OnQueryStop,
    .CancelStop = OnCancelStop,
    .Stop = OnStop,
    .QueryRemove = OnQueryRemove,
    .CancelRemove = OnCancelRemove,
    .Remove = OnRemove,
    .QueryCapabilities = OnQueryCapabilities,
    .SurpriseRemoval = OnSurpriseRemoval,
    .QueryPower = OnQueryPower,
    .SetPower = OnSetPower,
    .QueryInterface = OnQueryInterface,
};
static const KSDEVICE_DESCRIPTOR Device = {&DeviceDispatch, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status = KsInitializeDriver(DriverObject, RegistryPath, &Device);
    KeInitializeSpinLock(&LogLock);
    NextPnp = DriverObject->MajorFunction[IRP_MJ_PNP];
    NextPower = DriverObject->MajorFunction[IRP_MJ_POWER];
    DriverObject->MajorFunction[IRP_MJ_PNP] = OnPnpIrp;
    DriverObject->MajorFunction[IRP_MJ_POWER] = OnPowerIrp;
    return status;
}
