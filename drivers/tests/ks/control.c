/*
 * Uses IKsControl: of its own filter and pins by their outer unknowns, and of what a pin is connected to. Each check is a
 * property, and answers with what failed, or with nothing.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E60} */
static const GUID ControlSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x60}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E61} */
static const GUID ControlMethods = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x61}};

static const GUID Unknown = {0x00000000, 0x0000, 0x0000, {0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}};
static const GUID Control = {STATIC_IID_IKsControl};
static const GUID Allocator = {0x8da64899, 0xc0d9, 0x11d0, {0x84, 0x13, 0x00, 0x00, 0xf8, 0x22, 0xfe, 0x8a}};
static const GUID PinSet = {0x8c134960, 0x51ad, 0x11cf, {0x87, 0x8a, 0x94, 0xf8, 0x01, 0xc1, 0x00, 0x00}};
static const GUID Connection = {0x1d58c920, 0xac9b, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}};

enum { ANSWER = 200 };
enum { CHECK_FILTER, CHECK_PIN, CHECK_PEERS, CHECK_FOREIGN, CHECK_FOREIGN_SINK, VALUE, IDENTITY, CHECK_PACKETS };
enum { TWICE };

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

static ULONG Value = 7;

static NTSTATUS Get(IKsControl *control, const GUID *set, ULONG id, PVOID data, ULONG length, ULONG *returned)
{
    KSPROPERTY property = {{{*set, id, KSPROPERTY_TYPE_GET}}};
    return control->lpVtbl->KsProperty(control, &property, sizeof(property), data, length, returned);
}

/* A property, a method and an event set of an object whose items are those below. */
static const char *Requests(IKsControl *control)
{
    KSPROPERTY property = {{{ControlSet, VALUE, KSPROPERTY_TYPE_SET}}};
    KSMETHOD method = {{{ControlMethods, TWICE, KSMETHOD_TYPE_SEND}}};
    KSEVENT event = {{{ControlSet, 0, KSEVENT_TYPE_SETSUPPORT}}};
    KSEVENTDATA data = {0};
    ULONG value = 0, returned = 99, number = 21;

    CHECK(NT_SUCCESS(Get(control, &ControlSet, VALUE, &value, sizeof(value), &returned)));
    CHECK(returned == sizeof(value) && value == Value);
    CHECK(Get(control, &ControlSet, VALUE, NULL, 0, &returned) == STATUS_BUFFER_OVERFLOW && returned == sizeof(value));
    value = 40;
    CHECK(NT_SUCCESS(control->lpVtbl->KsProperty(control, &property, sizeof(property), &value, sizeof(value), NULL)));
    CHECK(Value == 40);
    Value = 7;
    CHECK(Get(control, &Allocator, 0, &value, sizeof(value), &returned) == STATUS_PROPSET_NOT_FOUND && !returned);
    CHECK(control->lpVtbl->KsProperty(control, &property, 4, &value, sizeof(value), NULL) == STATUS_INVALID_BUFFER_SIZE);

    CHECK(NT_SUCCESS(
        control->lpVtbl->KsMethod(control, &method, sizeof(method), &number, sizeof(number), &returned)));
    CHECK(number == 42 && returned == sizeof(number));

    CHECK(NT_SUCCESS(control->lpVtbl->KsEvent(control, &event, sizeof(event), NULL, 0, &returned)));
    event.Set = Allocator;
    CHECK(control->lpVtbl->KsEvent(control, &event, sizeof(event), NULL, 0, &returned) == STATUS_PROPSET_NOT_FOUND);
    event.Flags = KSEVENT_TYPE_ENABLE;
    CHECK(control->lpVtbl->KsEvent(control, &event, sizeof(event), &data, sizeof(data), &returned)
          == STATUS_PROPSET_NOT_FOUND);
    CHECK(control->lpVtbl->KsEvent(control, &event, 8, &data, sizeof(data), &returned) == STATUS_INVALID_BUFFER_SIZE);
    CHECK(control->lpVtbl->KsEvent(control, NULL, 0, &data, sizeof(data), &returned) == STATUS_UNSUCCESSFUL);
    return NULL;
}

/* The ways in which a driver hears of an event; the entry is that of the object behind the interface. */
static KSEVENT_ENTRY *Added;
static volatile LONG Calls;

static VOID NTAPI OnDpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    InterlockedIncrement(&Calls);
    KeSetEvent(context, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnWork(PVOID context)
{
    InterlockedExchangeAdd(&Calls, 10);
    KeSetEvent(context, IO_NO_INCREMENT, FALSE);
}

static NTSTATUS Enable(IKsControl *control, ULONG flags, KSEVENTDATA *data)
{
    KSEVENT event = {{{ControlSet, 0, flags}}};
    return control->lpVtbl->KsEvent(control, &event, sizeof(event), data, sizeof(*data), NULL);
}

static const char *Events(IKsControl *control)
{
    KSEVENTDATA by_object = {0}, by_semaphore = {0}, by_dpc = {0}, by_work = {0}, wrong = {0};
    WORK_QUEUE_ITEM work;
    KSEMAPHORE semaphore;
    KEVENT event, called;
    KDPC dpc;

    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeInitializeEvent(&called, SynchronizationEvent, FALSE);
    KeInitializeSemaphore(&semaphore, 0, 10);
    KeInitializeDpc(&dpc, OnDpc, &called);
    ExInitializeWorkItem(&work, OnWork, &called);
    Calls = 0;
    by_object.NotificationType = KSEVENTF_EVENT_OBJECT;
    by_object.EventObject.Event = &event;
    CHECK(NT_SUCCESS(Enable(control, KSEVENT_TYPE_ENABLE, &by_object)) && Added && !KeReadStateEvent(&event));
    /* The data is the driver's, and names the event; it is not changed. */
    CHECK(by_object.NotificationType == KSEVENTF_EVENT_OBJECT && by_object.EventObject.Event == &event);
    CHECK(NT_SUCCESS(KsGenerateEvent(Added)) && KeReadStateEvent(&event));
    KeClearEvent(&event);
    CHECK(NT_SUCCESS(control->lpVtbl->KsEvent(control, NULL, 0, &by_object, sizeof(by_object), NULL)) && !Added);
    CHECK(control->lpVtbl->KsEvent(control, NULL, 0, &by_object, 0, NULL) == STATUS_UNSUCCESSFUL);

    by_semaphore.NotificationType = KSEVENTF_SEMAPHORE_OBJECT;
    by_semaphore.SemaphoreObject.Semaphore = &semaphore;
    by_semaphore.SemaphoreObject.Adjustment = 3;
    CHECK(NT_SUCCESS(Enable(control, KSEVENT_TYPE_ONESHOT, &by_semaphore)) && Added);
    CHECK(NT_SUCCESS(KsGenerateEvent(Added)) && KeReadStateSemaphore(&semaphore) == 3);
    CHECK(NT_SUCCESS(KsGenerateEvent(Added)) && KeReadStateSemaphore(&semaphore) == 3);

    by_dpc.NotificationType = KSEVENTF_DPC;
    by_dpc.Dpc.Dpc = &dpc;
    CHECK(NT_SUCCESS(Enable(control, KSEVENT_TYPE_ENABLE, &by_dpc)) && NT_SUCCESS(KsGenerateEvent(Added)));
    KeWaitForSingleObject(&called, Executive, KernelMode, FALSE, NULL);
    CHECK(Calls == 1);
    by_work.NotificationType = KSEVENTF_WORKITEM;
    by_work.WorkItem.WorkQueueItem = &work;
    by_work.WorkItem.WorkQueueType = DelayedWorkQueue;
    CHECK(NT_SUCCESS(Enable(control, KSEVENT_TYPE_ENABLE, &by_work)) && NT_SUCCESS(KsGenerateEvent(Added)));
    KeWaitForSingleObject(&called, Executive, KernelMode, FALSE, NULL);
    CHECK(Calls == 11);

    wrong.NotificationType = KSEVENTF_EVENT_HANDLE;
    wrong.EventHandle.Event = (HANDLE)0x7770;
    CHECK(Enable(control, KSEVENT_TYPE_ENABLE, &wrong) == STATUS_INVALID_HANDLE);
    wrong.NotificationType = 0x4000;
    CHECK(Enable(control, KSEVENT_TYPE_ENABLE, &wrong) == STATUS_INVALID_PARAMETER);
    /* All that are left. */
    CHECK(NT_SUCCESS(control->lpVtbl->KsEvent(control, NULL, 0, NULL, 0, NULL)) && !Added);
    return NULL;
}

/* What COM asks of an object: one identity, and a count for each interface. */
static const char *Identity(PUNKNOWN outer, IKsControl *control)
{
    PVOID found = &found;

    CHECK(NT_SUCCESS(control->lpVtbl->QueryInterface(control, &Unknown, &found)) && found == outer);
    CHECK(NT_SUCCESS(control->lpVtbl->QueryInterface(control, &Control, &found)) && found == control);
    CHECK(control->lpVtbl->AddRef(control) == 3);
    CHECK(control->lpVtbl->Release(control) == 2 && control->lpVtbl->Release(control) == 1);
    /* An interface of the proxy, which has no half in the kernel. */
    CHECK(control->lpVtbl->QueryInterface(control, &Allocator, &found) == STATUS_NOINTERFACE && !found);
    outer->lpVtbl->Release(outer);
    return NULL;
}

static const char *Own(PUNKNOWN outer)
{
    IKsControl *control = NULL;
    const char *wrong;

    CHECK(outer && NT_SUCCESS(outer->lpVtbl->QueryInterface(outer, &Control, (PVOID *)&control)) && control);
    wrong = Identity(outer, control);
    if (!wrong)
        wrong = Requests(control);
    if (!wrong)
        wrong = Events(control);
    CHECK(wrong || control->lpVtbl->Release(control) == 0);
    return wrong;
}

static const char *Filters(PKSFILTER filter)
{
    PUNKNOWN factory = KsFilterFactoryGetOuterUnknown(KsFilterGetParentFilterFactory(filter));
    PUNKNOWN device = KsDeviceGetOuterUnknown(KsFilterGetDevice(filter));
    PVOID found = &found;

    CHECK(KsFilterGetOuterUnknown(filter) == KsFilterGetOuterUnknown(filter));
    CHECK(factory && factory->lpVtbl->QueryInterface(factory, &Control, &found) == STATUS_NOINTERFACE && !found);
    CHECK(device && device->lpVtbl->QueryInterface(device, &Control, &found) == STATUS_NOINTERFACE && !found);
    return Own(KsFilterGetOuterUnknown(filter));
}

/* Both pins are of this driver: what is connected is the object itself. */
static const char *Peers(PKSPIN pin)
{
    IKsControl *control = NULL;
    PUNKNOWN unknown = NULL;
    ULONG_PTR other = 0;
    ULONG count = 0;
    const char *wrong;

    CHECK(!pin->ConnectionIsExternal);
    CHECK(NT_SUCCESS(KsPinGetConnectedPinInterface(pin, &Control, (PVOID *)&control)));
    CHECK(NT_SUCCESS(Get(control, &ControlSet, IDENTITY, &other, sizeof(other), &count)));
    CHECK(other && other != (ULONG_PTR)pin && ((PKSPIN)other)->Id != pin->Id);
    CHECK(NT_SUCCESS(KsPinGetConnectedPinInterface(pin, &Unknown, (PVOID *)&unknown)));
    CHECK(unknown == KsPinGetOuterUnknown((PKSPIN)other));
    wrong = Identity(unknown, control);
    if (!wrong)
        wrong = Requests(control);
    CHECK(wrong || control->lpVtbl->Release(control) == 0);
    unknown->lpVtbl->Release(unknown);
    if (wrong)
        return wrong;

    CHECK(NT_SUCCESS(KsPinGetConnectedFilterInterface(pin, &Control, (PVOID *)&control)));
    CHECK(NT_SUCCESS(Get(control, &ControlSet, IDENTITY, &other, sizeof(other), &count)));
    CHECK(other && other != (ULONG_PTR)KsPinGetParentFilter(pin));
    CHECK(NT_SUCCESS(Get(control, &PinSet, KSPROPERTY_PIN_CTYPES, &count, sizeof(count), NULL)) && count == 2);
    wrong = Requests(control);
    CHECK(wrong || control->lpVtbl->Release(control) == 0);
    return wrong;
}

/* The other pin is in another process: an interface stands for it. */
static const char *Foreign(PKSPIN pin)
{
    IKsControl *control = NULL;
    KSSTATE state = KSSTATE_RUN;
    PVOID found = &found;
    ULONG returned = 0;

    CHECK(pin->ConnectionIsExternal);
    CHECK(NT_SUCCESS(KsPinGetConnectedPinInterface(pin, &Control, (PVOID *)&control)));
    CHECK(NT_SUCCESS(Get(control, &Connection, KSPROPERTY_CONNECTION_STATE, &state, sizeof(state), &returned)));
    CHECK(returned == sizeof(state) && state == KSSTATE_STOP);
    CHECK(Get(control, &ControlSet, VALUE, &state, sizeof(state), &returned) == STATUS_PROPSET_NOT_FOUND);
    CHECK(NT_SUCCESS(control->lpVtbl->QueryInterface(control, &Unknown, &found)) && found == control);
    CHECK(control->lpVtbl->Release(control) == 1 && control->lpVtbl->Release(control) == 0);
    CHECK(KsPinGetConnectedPinInterface(pin, &Allocator, &found) == STATUS_NOINTERFACE && !found);
    CHECK(KsPinGetConnectedFilterInterface(pin, &Control, &found) == STATUS_NOINTERFACE && !found);
    return NULL;
}

/* A pin that others send requests to does not know who they are. */
static const char *ForeignSink(PKSPIN pin)
{
    PVOID found = &found;

    CHECK(pin->ConnectionIsExternal);
    CHECK(KsPinGetConnectedPinInterface(pin, &Control, &found) == STATUS_UNSUCCESSFUL && !found);
    CHECK(KsPinGetConnectedFilterInterface(pin, &Control, &found) == STATUS_UNSUCCESSFUL && !found);
    return NULL;
}

static NTSTATUS Ask(PFILE_OBJECT file, PDEVICE_OBJECT device, KSPROPERTY *property, PVOID data, ULONG bytes)
{
    IO_STATUS_BLOCK answer = {{0}, 0};
    PIRP irp;
    KEVENT done;

    KeInitializeEvent(&done, NotificationEvent, FALSE);
    irp = IoBuildDeviceIoControlRequest(IOCTL_KS_PROPERTY, device, property, sizeof(*property), data, bytes, FALSE, &done,
                                        &answer);
    if (!irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    IoGetNextIrpStackLocation(irp)->FileObject = file;
    IoCallDriver(device, irp);
    KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
    return answer.Status;
}

/* Requests of the driver's own, by packets, to the pin that one of its own is connected to. */
static const char *Packets(PKSPIN pin)
{
    PFILE_OBJECT file = KsPinGetConnectedPinFileObject(pin);
    PDEVICE_OBJECT device = KsPinGetConnectedPinDeviceObject(pin);
    KSPROPERTY state_of = {{{Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET}}};
    KSPROPERTY value_of = {{{ControlSet, VALUE, KSPROPERTY_TYPE_GET}}};
    KSSTATE state = KSSTATE_RUN;
    ULONG value = 0;
    NTSTATUS answer;

    CHECK(file && device && file == KsPinGetConnectedPinFileObject(pin));
    CHECK(NT_SUCCESS(Ask(file, device, &state_of, &state, sizeof(state))) && state == KSSTATE_STOP);
    answer = Ask(file, device, &value_of, &value, sizeof(value));
    if (pin->ConnectionIsExternal) {
        CHECK(answer == STATUS_PROPSET_NOT_FOUND);
    } else {
        CHECK(answer == STATUS_SUCCESS && value == Value);
        CHECK(KsGetPinFromFileObject(file) && KsGetPinFromFileObject(file) != pin);
        /* A file object that nobody opened is no object. */
        CHECK(Ask((PFILE_OBJECT)&Calls, device, &state_of, &state, sizeof(state)) == STATUS_INVALID_DEVICE_REQUEST);
    }
    return NULL;
}

static NTSTATUS Run(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const char *wrong = "no such check";
    PKSPIN pin = KsGetPinFromIrp(Irp);
    PCHAR answer = Data;
    ULONG i;

    switch (Request->Id) {
    case CHECK_FILTER:
        wrong = Filters(KsGetFilterFromIrp(Irp));
        break;
    case CHECK_PIN:
        wrong = Own(KsPinGetOuterUnknown(pin));
        break;
    case CHECK_PEERS:
        wrong = Peers(pin);
        break;
    case CHECK_FOREIGN:
        wrong = Foreign(pin);
        break;
    case CHECK_PACKETS:
        wrong = Packets(pin);
        break;
    case CHECK_FOREIGN_SINK:
        wrong = ForeignSink(pin);
        break;
    }
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        answer[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

static NTSTATUS GetValue(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = Value;
    return Irp->RequestorMode == KernelMode ? STATUS_SUCCESS : STATUS_ACCESS_DENIED;
}

static NTSTATUS SetValue(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    Value = *(ULONG *)Data;
    return STATUS_SUCCESS;
}

/* The address of the object that was asked. */
static NTSTATUS GetIdentity(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN pin = KsGetPinFromIrp(Irp);
    *(PVOID *)Data = pin ? (PVOID)pin : (PVOID)KsGetFilterFromIrp(Irp);
    return STATUS_SUCCESS;
}

static NTSTATUS OnDouble(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data *= 2;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnAdd(PIRP Irp, PKSEVENTDATA EventData, PKSEVENT_ENTRY EventEntry)
{
    NTSTATUS status = KsDefaultAddEventHandler(Irp, EventData, EventEntry);
    if (NT_SUCCESS(status))
        Added = EventEntry;
    return status;
}

static void OnRemove(PFILE_OBJECT FileObject, PKSEVENT_ENTRY EventEntry)
{
    RemoveEntryList(&EventEntry->ListEntry);
    if (Added == EventEntry)
        Added = NULL;
}

#define RUN(id) DEFINE_KSPROPERTY_ITEM(id, Run, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM Properties[] = {
    RUN(CHECK_FILTER), RUN(CHECK_PIN), RUN(CHECK_PEERS), RUN(CHECK_FOREIGN), RUN(CHECK_FOREIGN_SINK), RUN(CHECK_PACKETS),
    DEFINE_KSPROPERTY_ITEM(VALUE, GetValue, sizeof(KSPROPERTY), sizeof(ULONG), SetValue, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(IDENTITY, GetIdentity, sizeof(KSPROPERTY), sizeof(PVOID), NULL, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&ControlSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static DEFINE_KSMETHOD_TABLE(Methods){
    DEFINE_KSMETHOD_ITEM(TWICE, KSMETHOD_TYPE_MODIFY, OnDouble, sizeof(KSMETHOD), sizeof(ULONG), NULL)};
static DEFINE_KSMETHOD_SET_TABLE(MethodSets){
    DEFINE_KSMETHOD_SET(&ControlMethods, SIZEOF_ARRAY(Methods), Methods, 0, NULL)};
static const KSEVENT_ITEM EventItems[] = {{0, sizeof(KSEVENTDATA), 0, OnAdd, OnRemove, NULL}};
static const KSEVENT_SET EventSets[] = {{&ControlSet, SIZEOF_ARRAY(EventItems), EventItems}};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets,
                                              SIZEOF_ARRAY(MethodSets),   sizeof(KSMETHOD_ITEM),   MethodSets,
                                              SIZEOF_ARRAY(EventSets),    sizeof(KSEVENT_ITEM),    EventSets};

static const KSDATARANGE Range = BYTES_RANGE(64);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
#define PIN(flow)                                                                                                      \
    {                                                                                                                  \
        .AutomationTable = &Automation,                                                                                \
        .PinDescriptor = {.DataRangesCount = SIZEOF_ARRAY(Ranges),                                                     \
                          .DataRanges = Ranges,                                                                        \
                          .DataFlow = (flow),                                                                          \
                          .Communication = KSPIN_COMMUNICATION_BOTH},                                                  \
        .InstancesPossible = 1,                                                                                        \
    }
static const KSPIN_DESCRIPTOR_EX PinDescriptors[] = {PIN(KSPIN_DATAFLOW_OUT), PIN(KSPIN_DATAFLOW_IN)};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x60}};
static const KSFILTER_DESCRIPTOR Filter = {
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
