/*
 * A filter that grows when it is opened: it adds a pin factory, a node and connections to itself, merges an automation
 * table, and pends its Create until a worker completes it. A property runs checks of workers and lists.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E30} */
static const GUID FirstSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x30}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E31} */
static const GUID SecondSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x31}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E32} */
static const GUID NodeKind = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x32}};

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E33} */
static const GUID NumberedSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x33}};

enum { ANSWER = 200 };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

static PKSWORKER Completer;
static WORK_QUEUE_ITEM CompleteItem;
static PIRP Pended;

typedef struct {
    PKSWORKER Worker;
    KEVENT Ran;
    LONG Runs;
} COUNTED;

static VOID NTAPI OnCounted(PVOID Context)
{
    COUNTED *counted = Context;
    do
        /* Counted a second time while it runs, it runs a second time. */
        if (counted->Runs++ == 0)
            KsIncrementCountedWorker(counted->Worker);
    while (KsDecrementCountedWorker(counted->Worker));
    KeSetEvent(&counted->Ran, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnPlain(PVOID Context)
{
    InterlockedIncrement((LONG *)Context);
}

static const char *Workers(void)
{
    COUNTED counted = {NULL};
    WORK_QUEUE_ITEM item, items[3];
    PKSWORKER worker;
    LONG runs = 0, i;

    KeInitializeEvent(&counted.Ran, NotificationEvent, FALSE);
    ExInitializeWorkItem(&item, OnCounted, &counted);
    CHECK(NT_SUCCESS(KsRegisterCountedWorker(DelayedWorkQueue, &item, &counted.Worker)));
    CHECK(KsIncrementCountedWorker(counted.Worker) == 1);
    KeWaitForSingleObject(&counted.Ran, Executive, KernelMode, FALSE, NULL);
    KsUnregisterWorker(counted.Worker);
    CHECK(counted.Runs == 2);

    CHECK(NT_SUCCESS(KsRegisterWorker(CriticalWorkQueue, &worker)));
    for (i = 0; i < 3; i++) {
        ExInitializeWorkItem(&items[i], OnPlain, &runs);
        CHECK(NT_SUCCESS(KsQueueWorkItem(worker, &items[i])));
    }
    KsUnregisterWorker(worker);
    CHECK(runs == 3);
    CHECK(!NT_SUCCESS(KsRegisterWorker((WORK_QUEUE_TYPE)77, &worker)));
    return NULL;
}

static NTSTATUS OnWorkers(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const char *wrong = Workers();
    ULONG i;
    PAGED_CODE();
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        ((PCHAR)Data)[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static NTSTATUS OnList(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    static const ULONGLONG list[3] = {5, 6, 7};
    PAGED_CODE();
    return KsHandleSizedListQuery(Irp, SIZEOF_ARRAY(list), sizeof(list[0]), list);
}

/* Answered later, from a worker. */
static NTSTATUS OnLater(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = 99;
    Irp->IoStatus.Information = sizeof(ULONG);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    IoMarkIrpPending(Irp);
    Pended = Irp;
    KsQueueWorkItem(Completer, &CompleteItem);
    return STATUS_PENDING;
}

static VOID NTAPI OnComplete(PVOID Context)
{
    PIRP irp = Pended;
    irp->IoStatus.Status = STATUS_SUCCESS;
    if (IoGetCurrentIrpStackLocation(irp)->MajorFunction == IRP_MJ_CREATE)
        KsCompletePendingRequest(irp);
    else
        IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static NTSTATUS OnNumber(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    /* Who asks is in the set: the first of two tables wins. */
    *(ULONG *)Data = KsGetNodeIdFromIrp(Irp) == KSFILTER_NODE ? 1 : 100 + KsGetNodeIdFromIrp(Irp);
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnOther(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = 2;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnEdit(PIRP Irp, PKSIDENTIFIER Request, PVOID Data);
static NTSTATUS OnEditNode(PIRP Irp, PKSIDENTIFIER Request, PVOID Data);

static const KSPROPERTY_ITEM FirstItems[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnNumber, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(1, OnWorkers, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(2, OnList, sizeof(KSPROPERTY), 0, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(3, OnLater, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(4, NULL, sizeof(KSPROPERTY), sizeof(ULONG), OnEdit, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(5, NULL, sizeof(KSPROPERTY), sizeof(ULONG), OnEditNode, NULL, 0, NULL, NULL, 0),
};
static const KSPROPERTY_ITEM SecondItems[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnOther, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(9, OnOther, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(FirstSets){
    DEFINE_KSPROPERTY_SET(&FirstSet, SIZEOF_ARRAY(FirstItems), FirstItems, 0, NULL)};
static DEFINE_KSPROPERTY_SET_TABLE(SecondSets){
    DEFINE_KSPROPERTY_SET(&FirstSet, SIZEOF_ARRAY(SecondItems), SecondItems, 0, NULL),
    DEFINE_KSPROPERTY_SET(&SecondSet, SIZEOF_ARRAY(SecondItems), SecondItems, 0, NULL)};
static KSAUTOMATION_TABLE FirstTable = {SIZEOF_ARRAY(FirstSets), sizeof(KSPROPERTY_ITEM), FirstSets};
static KSAUTOMATION_TABLE SecondTable = {SIZEOF_ARRAY(SecondSets), sizeof(KSPROPERTY_ITEM), SecondSets};

/* A set whose one item knows its number: it is asked for it by the item of the request. */
typedef struct {
    KSPROPERTY_SET Sets[2];
    KSPROPERTY_ITEM Item;
    ULONG Number;
} NUMBERED;

static NTSTATUS OnNumbered(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = CONTAINING_RECORD(KSPROPERTY_ITEM_IRP_STORAGE(Irp), NUMBERED, Item)->Number;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

/*
 * Edits the table that `Place` names so that it has the numbered set, beside the first. The table is edited in place; every
 * other time it and its set are discarded first, so that the next stand in memory that the last were in.
 */
static NTSTATUS Edit(PKSFILTER Filter, const KSAUTOMATION_TABLE **Place, NUMBERED **Last, ULONG Number)
{
    static const KSPROPERTY_ITEM item =
        DEFINE_KSPROPERTY_ITEM(0, OnNumbered, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0);
    KSAUTOMATION_TABLE *table;
    NUMBERED *numbered;
    NTSTATUS status;

    if (*Last && Number % 2) {
        KsDiscard(Filter, (PVOID)*Place);
        KsDiscard(Filter, *Last);
        *Place = &FirstTable;
    }
    numbered = ExAllocatePoolWithTag(NonPagedPool, sizeof(*numbered), 'bmuN');
    if (!numbered)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(numbered, sizeof(*numbered));
    numbered->Sets[0] = FirstSets[0];
    numbered->Sets[1].Set = &NumberedSet;
    numbered->Sets[1].PropertiesCount = 1;
    numbered->Sets[1].PropertyItem = &numbered->Item;
    RtlCopyMemory(&numbered->Item, &item, sizeof(item));
    numbered->Number = Number;
    status = KsAddItemToObjectBag(Filter->Bag, numbered, NULL);
    if (NT_SUCCESS(status))
        status = KsEdit(Filter, Place, 'lbaT');
    if (!NT_SUCCESS(status))
        return status;
    table = (KSAUTOMATION_TABLE *)*Place;
    table->PropertySetsCount = SIZEOF_ARRAY(numbered->Sets);
    table->PropertyItemSize = sizeof(KSPROPERTY_ITEM);
    table->PropertySets = numbered->Sets;
    *Last = numbered;
    return STATUS_SUCCESS;
}

static NTSTATUS OnEdit(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    static NUMBERED *last;
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    NTSTATUS status;

    KsFilterAcquireControl(filter);
    status = Edit(filter, &((KSFILTER_DESCRIPTOR *)filter->Descriptor)->AutomationTable, &last, *(ULONG *)Data);
    KsFilterReleaseControl(filter);
    return status;
}

/* The same for the table of the node, whose descriptor is the filter's own. */
static NTSTATUS OnEditNode(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    static NUMBERED *last;
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    NTSTATUS status;

    KsFilterAcquireControl(filter);
    status = Edit(filter, &((KSNODE_DESCRIPTOR *)filter->Descriptor->NodeDescriptors)->AutomationTable, &last,
                  *(ULONG *)Data);
    KsFilterReleaseControl(filter);
    return status;
}

static const KSDATARANGE Range = BYTES_RANGE(32);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const KSPIN_DESCRIPTOR_EX Grown = {
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_IN,
                      .Communication = KSPIN_COMMUNICATION_SINK},
    .InstancesPossible = 1,
};
static const KSNODE_DESCRIPTOR Node = {&FirstTable, &NodeKind, NULL};

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
    PKSAUTOMATION_TABLE merged = NULL;
    KSTOPOLOGY_CONNECTION connections[2] = {{KSFILTER_NODE, 0, 0, 1}, {0, 0, KSFILTER_NODE, 1}};
    ULONG pin = 77, node = 77;

    if (!NT_SUCCESS(KsFilterCreatePinFactory(Filter, &Grown, &pin)) || pin != 0)
        return STATUS_UNSUCCESSFUL;
    if (!NT_SUCCESS(KsFilterCreatePinFactory(Filter, &Grown, &pin)) || pin != 1)
        return STATUS_UNSUCCESSFUL;
    if (!NT_SUCCESS(KsFilterCreateNode(Filter, &Node, &node)) || node != 0)
        return STATUS_UNSUCCESSFUL;
    if (!NT_SUCCESS(KsFilterAddTopologyConnections(Filter, 2, connections)))
        return STATUS_UNSUCCESSFUL;
    /* More than can be counted. */
    ((KSFILTER_DESCRIPTOR *)Filter->Descriptor)->ConnectionsCount = ~0u;
    if (KsFilterAddTopologyConnections(Filter, 2, connections) != STATUS_INVALID_PARAMETER)
        return STATUS_UNSUCCESSFUL;
    ((KSFILTER_DESCRIPTOR *)Filter->Descriptor)->ConnectionsCount = 2;
    if (!NT_SUCCESS(KsMergeAutomationTables(&merged, NULL, NULL, Filter->Bag)) || merged)
        return STATUS_UNSUCCESSFUL;
    if (!NT_SUCCESS(KsMergeAutomationTables(&merged, &FirstTable, &SecondTable, Filter->Bag)) || !merged)
        return STATUS_UNSUCCESSFUL;
    ((KSFILTER_DESCRIPTOR *)Filter->Descriptor)->AutomationTable = merged;
    IoMarkIrpPending(Irp);
    Pended = Irp;
    KsQueueWorkItem(Completer, &CompleteItem);
    return STATUS_PENDING;
}

static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate};
static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x21}};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};

/* The factory is made when the device starts, as a driver does that looks at its hardware first. */
static NTSTATUS OnStart(PKSDEVICE Device, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Raw)
{
    PKSFILTERFACTORY factory = NULL;
    NTSTATUS status;
    if (IoGetCurrentIrpStackLocation(Irp)->MinorFunction != IRP_MN_START_DEVICE || Device->Started)
        return STATUS_UNSUCCESSFUL;
    KsAcquireDevice(Device);
    status = KsCreateFilterFactory(Device->FunctionalDeviceObject, &Filter, L"growing", NULL, 0, NULL, NULL, &factory);
    KsReleaseDevice(Device);
    if (NT_SUCCESS(status) && !factory)
        return STATUS_UNSUCCESSFUL;
    ExInitializeWorkItem(&CompleteItem, OnComplete, NULL);
    return NT_SUCCESS(status) ? KsRegisterWorker(DelayedWorkQueue, &Completer) : status;
}

static void OnRemove(PKSDEVICE Device, PIRP Irp)
{
    KsUnregisterWorker(Completer);
}

static const KSDEVICE_DISPATCH DeviceDispatch = {.Start = OnStart, .Remove = OnRemove};
static const KSDEVICE_DESCRIPTOR Device = {&DeviceDispatch, 0, NULL, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
