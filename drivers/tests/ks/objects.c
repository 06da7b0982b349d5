/*
 * Calls every inline function of ks.h, and what stands behind them, on living objects. The checks run in the handlers of
 * two properties, one of the filter and one of the pin; each answers with what failed, or with nothing.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E20} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x20}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E21} */
static const GUID EventSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x21}};

enum { ANSWER = 200 };
enum { CHECK_FILTER, CHECK_PIN, CHECK_GATES, CHECK_BAGS, CHECK_UNLISTED, CHECK_LISTED, CHECK_EVENT, CHECK_ANY_SET, CHECK_REFUSED,
       CHECK_AGREED, CHECK_ASKED };

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

/* KSEVENTSETID_Connection */
static const GUID ConnectionSet = {0x7f4bcbe0, 0x9ea5, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}};

/* Who asked for each, and with which access. */
enum { UNASKED = 77 };
static struct {
    ULONG FilterCreate, FilterClose, PinCreate, Intersect, AddEvent, FilterAccess, PinAccess;
} Asked = {UNASKED, UNASKED, UNASKED, UNASKED, UNASKED, 0, 0};

static KSEVENT_ENTRY *Added;
static ULONG Freed[8];
static ULONG FreedCount;

/* Gates --------------------------------------------------------------------------------------------------------- */

static const char *Gates(void)
{
    KSGATE and = {0}, or = {0}, top = {0};
    KsGateInitialize(&top, 1, NULL, TRUE);
    KsGateInitializeOr(&or, &top);
    CHECK(!KsGateGetStateUnsafe(&or));
    CHECK(!KsGateGetStateUnsafe(&top));
    KsGateInitializeAnd(&and, &or);
    CHECK(KsGateGetStateUnsafe(&and) && KsGateGetStateUnsafe(&or) && KsGateGetStateUnsafe(&top));
    KsGateAddOnInputToAnd(&and);
    KsGateAddOffInputToAnd(&and);
    CHECK(!KsGateGetStateUnsafe(&and) && !KsGateGetStateUnsafe(&or) && !KsGateGetStateUnsafe(&top));
    KsGateTurnInputOn(&and);
    CHECK(KsGateGetStateUnsafe(&top));
    KsGateTurnInputOff(&and);
    KsGateRemoveOffInputFromAnd(&and);
    KsGateRemoveOnInputFromAnd(&and);
    CHECK(KsGateGetStateUnsafe(&top));
    KsGateAddOnInputToOr(&or);
    KsGateAddOffInputToOr(&or);
    CHECK(KsGateCaptureThreshold(&and));
    CHECK(!KsGateCaptureThreshold(&and));
    CHECK(KsGateGetStateUnsafe(&or));
    KsGateRemoveOnInputFromOr(&or);
    KsGateRemoveOffInputFromOr(&or);
    CHECK(!KsGateGetStateUnsafe(&or));
    KsGateTurnInputOn(&and);
    KsGateTerminateAnd(&and);
    KsGateTerminateOr(&or);
    return NULL;
}

/* Bags ---------------------------------------------------------------------------------------------------------- */

static void OnFree(PVOID Item)
{
    Freed[FreedCount++] = *(ULONG *)Item;
    ExFreePool(Item);
}

static ULONG *Item(ULONG number)
{
    ULONG *item = ExAllocatePoolWithTag(NonPagedPool, sizeof(ULONG), 'metI');
    if (item)
        *item = number;
    return item;
}

static const char *Bags(PKSFILTER Filter)
{
    KSOBJECT_BAG first, second;
    ULONG *one = Item(1), *two = Item(2), *three = Item(3);
    static const ULONG constant[2] = {7, 8};
    ULONG *edited = (ULONG *)constant, *kept;
    struct { KSOBJECT_BAG Bag; } owner;

    FreedCount = 0;
    CHECK(NT_SUCCESS(KsAllocateObjectBag(KsFilterGetDevice(Filter), &first)));
    CHECK(NT_SUCCESS(KsAllocateObjectBag(KsFilterGetDevice(Filter), &second)));
    CHECK(NT_SUCCESS(KsAddItemToObjectBag(first, one, OnFree)));
    CHECK(NT_SUCCESS(KsAddItemToObjectBag(first, two, OnFree)));
    CHECK(NT_SUCCESS(KsAddItemToObjectBag(first, three, NULL)));
    CHECK(NT_SUCCESS(KsCopyObjectBagItems(second, first)));
    CHECK(KsRemoveItemFromObjectBag(second, one, TRUE) == 2);
    CHECK(KsRemoveItemFromObjectBag(second, one, TRUE) == 0);
    CHECK(FreedCount == 0);
    CHECK(KsRemoveItemFromObjectBag(second, three, FALSE) == 2);
    CHECK(KsRemoveItemFromObjectBag(first, three, FALSE) == 1);
    ExFreePool(three);
    CHECK(NT_SUCCESS(KsAddItemToObjectBag(first, Item(3), NULL)));
    KsFreeObjectBag(second);
    CHECK(FreedCount == 0);
    KsFreeObjectBag(first);
    CHECK(FreedCount == 2 && Freed[0] == 2 && Freed[1] == 1);

    CHECK(NT_SUCCESS(KsAllocateObjectBag(KsFilterGetDevice(Filter), &owner.Bag)));
    CHECK(NT_SUCCESS(KsEdit(&owner, &edited, 'tidE')));
    CHECK(edited != constant && *edited == 7);
    kept = edited;
    *edited = 9;
    CHECK(NT_SUCCESS(KsEdit(&owner, &edited, 'tidE')));
    CHECK(edited == kept);
    CHECK(NT_SUCCESS(KsEditSized(&owner, &edited, 2 * sizeof(ULONG), sizeof(ULONG), 'tidE')));
    CHECK(edited[0] == 9 && edited[1] == 0);
    KsDiscard(&owner, edited);
    KsFreeObjectBag(owner.Bag);
    return NULL;
}

/* The tree ------------------------------------------------------------------------------------------------------ */

static const char *Filters(PIRP Irp)
{
    PKSFILTER filter = KsGetFilterFromIrp(Irp);
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(filter);
    PKSDEVICE device = KsFilterGetDevice(filter);
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(Irp)->FileObject;
    PUNICODE_STRING link;

    CHECK(filter && factory && device);
    CHECK(KsGetPinFromIrp(Irp) == NULL);
    CHECK(KsGetNodeIdFromIrp(Irp) == KSFILTER_NODE);
    CHECK(KsGetObjectTypeFromIrp(Irp) == KsObjectTypeFilter);
    CHECK(KsGetFilterFromFileObject(file) == filter);
    CHECK(KsGetObjectTypeFromFileObject(file) == KsObjectTypeFilter);
    CHECK(KsFilterFactoryGetParentDevice(factory) == device);
    CHECK(KsFilterFactoryGetDevice(factory) == device);
    /* The tree stands still while these are held. */
    KsAcquireDevice(device);
    KsFilterAcquireControl(filter);
    CHECK(KsDeviceGetFirstChildFilterFactory(device) == factory);
    CHECK(KsFilterFactoryGetNextSiblingFilterFactory(factory) == NULL);
    CHECK(KsFilterFactoryGetFirstChildFilter(factory) == filter);
    CHECK(KsFilterGetNextSiblingFilter(filter) == NULL);
    CHECK(KsGetDevice(device) == device);
    CHECK(KsGetParent(filter) == factory);
    CHECK(KsGetDeviceForDeviceObject(device->FunctionalDeviceObject) == device);
    CHECK(device->Started);
    CHECK(filter->Descriptor == factory->FilterDescriptor);
    CHECK(filter->Context == factory->Context);
    CHECK(KsFilterGetChildPinCount(filter, 0) == 1);
    CHECK(KsFilterGetFirstChildPin(filter, 0) == KsGetFirstChild(filter));
    CHECK(KsFilterGetFirstChildPin(filter, 1) == NULL);
    KsFilterReleaseControl(filter);
    KsReleaseDevice(device);
    CHECK(KsGateGetStateUnsafe(KsFilterGetAndGate(filter)));
    link = KsFilterFactoryGetSymbolicLink(factory);
    CHECK(link && link->Length && link->Buffer[0] == L'\\');
    CHECK(NT_SUCCESS(KsFilterFactorySetDeviceClassesState(factory, TRUE)));

    KsFilterAttemptProcessing(filter, FALSE);
    if (Added)
        KsFilterAddEvent(filter, Added);
    KsFilterGenerateEvents(filter, &EventSet, 0, 0, NULL, NULL, NULL);
    return NULL;
}

static BOOLEAN OnGenerate(PVOID Context, PKSEVENT_ENTRY Entry)
{
    UNREFERENCED_PARAMETER(Entry);
    *(ULONG *)Context += KeGetCurrentIrql() == DISPATCH_LEVEL;
    return TRUE;
}

static const char *Pins(PIRP Irp)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(Irp)->FileObject;
    PIKSREFERENCECLOCK clock;
    PKSGATE gate;
    ULONG generated = 0;
    LONG in = -1, out = -1;

    CHECK(pin);
    CHECK(KsGetFilterFromIrp(Irp) == KsPinGetParentFilter(pin));
    CHECK(KsGetObjectTypeFromIrp(Irp) == KsObjectTypePin);
    CHECK(KsGetPinFromFileObject(file) == pin);
    CHECK(KsGetObjectTypeFromFileObject(file) == KsObjectTypePin);
    CHECK(KsPinGetDevice(pin) == KsGetDevice(pin));
    KsPinAcquireControl(pin);
    CHECK(KsPinGetNextSiblingPin(pin) == NULL);
    CHECK(KsGetNextSibling(pin) == NULL);
    CHECK(KsGetFirstChild(pin) == NULL);
    KsPinReleaseControl(pin);
    CHECK(pin->Id == 0 && pin->DataFlow == KSPIN_DATAFLOW_OUT && pin->Communication == KSPIN_COMMUNICATION_SINK);
    CHECK(pin->ConnectionFormat->FormatSize == sizeof(KSDATAFORMAT));
    CHECK(pin->ConnectionIsExternal);
    CHECK(pin->StreamHeaderSize == sizeof(KSSTREAM_HEADER));
    CHECK(pin->ClientState == KSSTATE_STOP && pin->ResetState == KSRESET_END);

    KsPinAcquireProcessingMutex(pin);
    KsPinReleaseProcessingMutex(pin);
    gate = KsPinGetAndGate(pin);
    CHECK(gate && !KsGateGetStateUnsafe(gate));
    CHECK(KsPinGetLeadingEdgeStreamPointer(pin, KSSTREAM_POINTER_STATE_LOCKED) == NULL);
    CHECK(KsPinGetLeadingEdgeStreamPointer(pin, KSSTREAM_POINTER_STATE_UNLOCKED)->Pin == pin);
    CHECK(KsPinGetFirstCloneStreamPointer(pin) == NULL);
    CHECK(NT_SUCCESS(KsPinGetAvailableByteCount(pin, &in, &out)) && in == 0 && out == 0);
    CHECK(KsPinGetConnectedPinFileObject(pin) == NULL && KsPinGetConnectedPinDeviceObject(pin) == NULL);
    KsPinAttemptProcessing(pin, FALSE);
    KsPinAttemptProcessing(pin, TRUE);
    KsPinGenerateEvents(pin, &EventSet, 0, 0, NULL, OnGenerate, &generated);
    if (Added)
        KsPinAddEvent(pin, Added);
    CHECK(generated == (Added ? 1 : 0));

    CHECK(NT_SUCCESS(KsPinGetReferenceClockInterface(pin, &clock)));
    {
        LONGLONG system = -1;
        KSRESOLUTION resolution = {0, 1};
        KSSTATE state = KSSTATE_RUN;
        PVOID again = NULL;
        static const GUID unknown = {0x00000000, 0x0000, 0x0000, {0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}};
        CHECK(clock->lpVtbl->GetTime(clock) == 0);
        CHECK(clock->lpVtbl->GetCorrelatedTime(clock, &system) == 0 && system >= 0);
        CHECK(clock->lpVtbl->GetPhysicalTime(clock) >= system);
        CHECK(clock->lpVtbl->GetCorrelatedPhysicalTime(clock, &system) == system);
        CHECK(NT_SUCCESS(clock->lpVtbl->GetResolution(clock, &resolution)) && resolution.Granularity == 1);
        CHECK(NT_SUCCESS(clock->lpVtbl->GetState(clock, &state)) && state == KSSTATE_STOP);
        CHECK(NT_SUCCESS(clock->lpVtbl->QueryInterface(clock, &unknown, &again)) && again == clock);
        CHECK(!NT_SUCCESS(clock->lpVtbl->QueryInterface(clock, &EventSet, &again)) && !again);
        CHECK(clock->lpVtbl->AddRef(clock) == 3);
        CHECK(clock->lpVtbl->Release(clock) == 2);
        CHECK(clock->lpVtbl->Release(clock) == 1);
        CHECK(clock->lpVtbl->Release(clock) == 0);
    }
    return NULL;
}

/* An event whose AddHandler leaves the list to the driver: raised with its object only once it was added. */
static const char *Raise(PIRP Irp, BOOLEAN Adds)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    PKSFILTER filter = KsGetFilterFromIrp(Irp);

    CHECK(Added);
    if (pin) {
        if (Adds)
            KsPinAddEvent(pin, Added);
        KsPinGenerateEvents(pin, &EventSet, 1, 0, NULL, NULL, NULL);
    } else {
        if (Adds)
            KsFilterAddEvent(filter, Added);
        KsFilterGenerateEvents(filter, &EventSet, 1, 0, NULL, NULL, NULL);
    }
    return NULL;
}

typedef struct {
    ULONG Calls, Right;
    BOOLEAN Agrees;
} CHOICE;

static BOOLEAN OnChoose(PVOID Context, PKSEVENT_ENTRY Entry)
{
    CHOICE *choice = Context;
    choice->Calls++;
    choice->Right += IsGuid(Entry->EventSet->Set, &ConnectionSet) && Entry->EventItem->EventId == KSEVENT_CONNECTION_ENDOFSTREAM &&
                     Entry->NotificationType == KSEVENTF_EVENT_HANDLE && Entry->FileObject &&
                     Entry->EventData->NotificationType == KSEVENTF_EVENT_HANDLE && !Entry->Object &&
                     KeGetCurrentIrql() == DISPATCH_LEVEL;
    return choice->Agrees;
}

/* The client has enabled an event of the class driver's: by its id in whatever set, and by the word of a callback. */
static const char *RaiseBuiltIn(PKSPIN Pin, ULONG Check)
{
    CHOICE choice = {0, 0, Check == CHECK_AGREED};

    if (Check == CHECK_ANY_SET) {
        KsPinGenerateEvents(Pin, NULL, KSEVENT_CONNECTION_ENDOFSTREAM, 0, NULL, NULL, NULL);
        return NULL;
    }
    KsPinGenerateEvents(Pin, NULL, KSEVENT_CONNECTION_ENDOFSTREAM, 0, NULL, OnChoose, &choice);
    CHECK(choice.Calls == 1 && choice.Right == 1);
    /* Neither that of another set nor another of the set is shown. */
    KsPinGenerateEvents(Pin, &EventSet, KSEVENT_CONNECTION_ENDOFSTREAM, 0, NULL, OnChoose, &choice);
    KsPinGenerateEvents(Pin, &ConnectionSet, KSEVENT_CONNECTION_DATADISCONTINUITY, 0, NULL, OnChoose, &choice);
    CHECK(choice.Calls == 1);
    return NULL;
}

/* The event of whoever has enabled item 0: by the entry and by the handle in its data it is one, and the client's. */
static const char *ClientsEvent(void)
{
    PKEVENT event;

    CHECK(Added && Added->Object && Added->NotificationType == KSEVENTF_EVENT_HANDLE);
    CHECK(NT_SUCCESS(ObReferenceObjectByHandle(Added->EventData->EventHandle.Event, EVENT_MODIFY_STATE, *ExEventObjectType,
                                               UserMode, (PVOID *)&event, NULL)));
    CHECK(event == Added->Object);
    ObDereferenceObject(event);
    CHECK(!KeReadStateEvent(event));
    CHECK(NT_SUCCESS(KsGenerateEvent(Added)));
    CHECK(KeReadStateEvent(event));
    CHECK(KeResetEvent(event));
    return NULL;
}

/* Aggregation: an object of the driver's answers for interfaces that AVStream does not know. */
static HRESULT NTAPI Query(IUnknown *This, REFIID Id, PVOID *Interface)
{
    *Interface = RtlCompareMemory(Id, &EventSet, sizeof(GUID)) == sizeof(GUID) ? This : NULL;
    return *Interface ? STATUS_SUCCESS : STATUS_NOT_IMPLEMENTED;
}

static ULONG NTAPI Count(IUnknown *This)
{
    UNREFERENCED_PARAMETER(This);
    return 1;
}

static struct { PVOID Query, AddRef, Release; } ClientMethods = {Query, Count, Count};
static struct { PVOID Methods; } Client = {&ClientMethods};

static const char *Aggregates(PVOID object, PUNKNOWN outer)
{
    PVOID found = NULL;
    CHECK(outer && KsGetOuterUnknown(object) == outer);
    CHECK(NT_SUCCESS(outer->lpVtbl->QueryInterface(outer, &EventSet, &found)) && found == &Client);
    CHECK(!NT_SUCCESS(outer->lpVtbl->QueryInterface(outer, &CheckSet, &found)));
    return NULL;
}

static const char *Aggregation(PKSPIN pin)
{
    PKSFILTER filter = KsPinGetParentFilter(pin);
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(filter);
    PKSDEVICE device = KsPinGetDevice(pin);
    PUNKNOWN client = (PUNKNOWN)&Client;
    const char *wrong = Aggregates(pin, KsPinRegisterAggregatedClientUnknown(pin, client));
    if (!wrong)
        wrong = Aggregates(filter, KsFilterRegisterAggregatedClientUnknown(filter, client));
    if (!wrong)
        wrong = Aggregates(factory, KsFilterFactoryRegisterAggregatedClientUnknown(factory, client));
    if (!wrong)
        wrong = Aggregates(device, KsDeviceRegisterAggregatedClientUnknown(device, client));
    CHECK(wrong || (KsPinGetOuterUnknown(pin) && KsFilterGetOuterUnknown(filter)));
    CHECK(wrong || (KsFilterFactoryGetOuterUnknown(factory) && KsDeviceGetOuterUnknown(device)));
    return wrong;
}

/* Handlers ------------------------------------------------------------------------------------------------------ */

static NTSTATUS Run(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const char *wrong = "no such check";
    PCHAR answer = Data;
    ULONG i;
    PAGED_CODE();
    switch (Request->Id) {
    case CHECK_FILTER:
        wrong = Filters(Irp);
        break;
    case CHECK_PIN:
        wrong = Pins(Irp);
        if (!wrong)
            wrong = Aggregation(KsGetPinFromIrp(Irp));
        break;
    case CHECK_GATES:
        wrong = Gates();
        break;
    case CHECK_BAGS:
        wrong = Bags(KsGetFilterFromIrp(Irp));
        break;
    case CHECK_UNLISTED:
    case CHECK_LISTED:
        wrong = Raise(Irp, Request->Id == CHECK_LISTED);
        break;
    case CHECK_EVENT:
        wrong = ClientsEvent();
        break;
    case CHECK_ANY_SET:
    case CHECK_REFUSED:
    case CHECK_AGREED:
        wrong = RaiseBuiltIn(KsGetPinFromIrp(Irp), Request->Id);
        break;
    }
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        answer[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static NTSTATUS OnAsked(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    RtlCopyMemory(Data, &Asked, sizeof(Asked));
    Irp->IoStatus.Information = sizeof(Asked);
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
    Asked.FilterCreate = Irp->RequestorMode;
    Asked.FilterAccess = IoGetCurrentIrpStackLocation(Irp)->Parameters.Create.SecurityContext->DesiredAccess;
    return STATUS_SUCCESS;
}

static NTSTATUS OnFilterClose(PKSFILTER Filter, PIRP Irp)
{
    Asked.FilterClose = Irp->RequestorMode;
    return STATUS_SUCCESS;
}

static NTSTATUS OnPinCreate(PKSPIN Pin, PIRP Irp)
{
    Asked.PinCreate = Irp->RequestorMode;
    Asked.PinAccess = IoGetCurrentIrpStackLocation(Irp)->Parameters.Create.SecurityContext->DesiredAccess;
    return STATUS_SUCCESS;
}

static const KSDATARANGE Twin;

/* Of two equal ranges only the second has formats: they are told apart by their addresses. */
static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE DataRange, PKSDATARANGE Matching,
                            ULONG DataBufferSize, PVOID Data, PULONG DataSize)
{
    Asked.Intersect = Irp->RequestorMode;
    if (Matching != &Twin)
        return STATUS_NO_MATCH;
    *DataSize = sizeof(KSDATAFORMAT);
    if (DataBufferSize == 0)
        return STATUS_BUFFER_OVERFLOW;
    RtlCopyMemory(Data, Matching, sizeof(KSDATAFORMAT));
    return STATUS_SUCCESS;
}

static const KSEVENT_SET EventSets[];
static const KSEVENT_ITEM Events[];

/* Item 2 is not supported now. */
static NTSTATUS OnSupport(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    if (KSEVENT_SET_IRP_STORAGE(Irp) != EventSets || KSEVENT_ITEM_IRP_STORAGE(Irp) != &Events[2] || Request->Id != 2)
        return STATUS_UNSUCCESSFUL;
    return Irp->RequestorMode == UserMode ? STATUS_DEVICE_BUSY : STATUS_SUCCESS;
}

static NTSTATUS OnAdd(PIRP Irp, PKSEVENTDATA EventData, PKSEVENT_ENTRY EventEntry)
{
    NTSTATUS status = KsDefaultAddEventHandler(Irp, EventData, EventEntry);
    Asked.AddEvent = Irp->RequestorMode;
    if (NT_SUCCESS(status))
        Added = EventEntry;
    return status;
}

static NTSTATUS OnAddUnlisted(PIRP Irp, PKSEVENTDATA EventData, PKSEVENT_ENTRY EventEntry)
{
    Added = EventEntry;
    return STATUS_SUCCESS;
}

static void OnRemove(PFILE_OBJECT FileObject, PKSEVENT_ENTRY EventEntry)
{
    UNREFERENCED_PARAMETER(FileObject);
    RemoveEntryList(&EventEntry->ListEntry);
    if (Added == EventEntry)
        Added = NULL;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(CHECK_FILTER, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_PIN, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_GATES, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_UNLISTED, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_LISTED, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_EVENT, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_ANY_SET, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_REFUSED, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_AGREED, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_ASKED, OnAsked, sizeof(KSPROPERTY), sizeof(Asked), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(CHECK_BAGS, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSEVENT_ITEM Events[] = {{0, sizeof(KSEVENTDATA), 16, OnAdd, OnRemove, NULL},
                                      {1, sizeof(KSEVENTDATA), 0, OnAddUnlisted, OnRemove, NULL},
                                      {2, sizeof(KSEVENTDATA), 0, OnAddUnlisted, OnRemove, OnSupport}};
static const KSEVENT_SET EventSets[] = {{&EventSet, SIZEOF_ARRAY(Events), Events}};
static const KSAUTOMATION_TABLE Automation = {
    SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets, 0, 0, NULL,
    SIZEOF_ARRAY(EventSets),    sizeof(KSEVENT_ITEM),    EventSets};

static const KSDATARANGE Range = BYTES_RANGE(64);
static const KSDATARANGE Twin = BYTES_RANGE(64);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range, (PKSDATARANGE)&Twin};
static const KSPIN_DISPATCH PinDispatch = {.Create = OnPinCreate};
static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate, .Close = OnFilterClose};
static const KSPIN_DESCRIPTOR_EX PinDescriptors[] = {{
    .Dispatch = &PinDispatch,
    .AutomationTable = &Automation,
    .IntersectHandler = OnIntersect,
    .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),
                      .DataRanges = Ranges,
                      .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH},
    .Flags = KSPIN_FLAG_IMPLEMENT_CLOCK | KSPIN_FLAG_GENERATE_EOS_EVENTS,
    .InstancesPossible = 1,
}};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x20}};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .AutomationTable = &Automation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = SIZEOF_ARRAY(PinDescriptors),
    .PinDescriptorSize = sizeof(PinDescriptors[0]),
    .PinDescriptors = PinDescriptors,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, 1, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
