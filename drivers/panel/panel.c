/*
 * panel: a filter without pins that is all knobs. Properties with values, ranges and relations, a method, an event that
 * is raised when a value changes, and a topology node with a property of its own.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E02} */
static const GUID PanelSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x02}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E03} */
static const GUID PanelMethods = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x03}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E04} */
static const GUID PanelEvents = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x04}};
/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E05} */
static const GUID PanelNode = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x05}};

enum { LEVEL, NAME, FAILING };
enum { ADD };
enum { CHANGED };

typedef struct {
    LONG Level;
    LONG NodeLevel;
    CHAR Name[32];
    ULONG NameBytes;
    LONG Enabled;
} PANEL;

static const KSPROPERTY_STEPPING_LONG LevelRange = {5, 0, {{-100, 100}}};
static const LONG LevelDefault = 10;
static const KSPROPERTY_MEMBERSLIST LevelMembers[] = {
    {{KSPROPERTY_MEMBER_STEPPEDRANGES, sizeof(LevelRange), 1, 0}, (PVOID)&LevelRange},
    {{KSPROPERTY_MEMBER_VALUES, sizeof(LevelDefault), 1, KSPROPERTY_MEMBER_FLAG_DEFAULT}, (PVOID)&LevelDefault},
};
/* VT_I4 */
static const KSPROPERTY_VALUES LevelValues = {{{{{0x97e99ba0, 0xbdea, 0x11cf, {0xa5, 0xd6, 0x28, 0xdb, 0x04, 0xc1, 0x00, 0x00}}, 3, 0}}}, SIZEOF_ARRAY(LevelMembers), LevelMembers};
static const KSPROPERTY LevelRelations[] = {{{{{0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x02}}, NAME, 0}}}};

static PANEL *PanelOf(PIRP Irp)
{
    return KsGetFilterFromIrp(Irp)->Context;
}

static NTSTATUS GetLevel(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    *(LONG *)Data = PanelOf(Irp)->Level;
    Irp->IoStatus.Information = sizeof(LONG);
    return STATUS_SUCCESS;
}

static NTSTATUS SetLevel(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PANEL *panel = PanelOf(Irp);
    LONG level = *(LONG *)Data;
    PAGED_CODE();
    if (level < LevelRange.Bounds.SignedMinimum || level > LevelRange.Bounds.SignedMaximum || level % 5)
        return STATUS_INVALID_PARAMETER;
    panel->Level = level;
    KsFilterGenerateEvents(KsGetFilterFromIrp(Irp), &PanelEvents, CHANGED, 0, NULL, NULL, NULL);
    return STATUS_SUCCESS;
}

/* Of variable size: says how much it needs. */
static NTSTATUS GetName(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PANEL *panel = PanelOf(Irp);
    ULONG room = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    PAGED_CODE();
    Irp->IoStatus.Information = panel->NameBytes;
    if (room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (room < panel->NameBytes)
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Data, panel->Name, panel->NameBytes);
    return STATUS_SUCCESS;
}

static NTSTATUS SetName(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PANEL *panel = PanelOf(Irp);
    ULONG bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    PAGED_CODE();
    if (bytes > sizeof(panel->Name))
        return STATUS_INVALID_BUFFER_SIZE;
    RtlCopyMemory(panel->Name, Data, bytes);
    panel->NameBytes = bytes;
    return STATUS_SUCCESS;
}

static NTSTATUS Fail(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return STATUS_DEVICE_BUSY;
}

/* Adds the number that follows the method to the one in the data. */
typedef struct {
    KSMETHOD Method;
    ULONG Addend;
} ADD_METHOD;

static NTSTATUS OnAdd(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    *(ULONG *)Data += ((ADD_METHOD *)Request)->Addend;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS OnAddEvent(PIRP Irp, PKSEVENTDATA EventData, PKSEVENT_ENTRY EventEntry)
{
    NTSTATUS status = KsDefaultAddEventHandler(Irp, EventData, EventEntry);
    if (NT_SUCCESS(status))
        InterlockedIncrement(&PanelOf(Irp)->Enabled);
    return status;
}

static NTSTATUS GetNodeLevel(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    *(LONG *)Data = PanelOf(Irp)->NodeLevel + 1000 * (LONG)((PKSP_NODE)Request)->NodeId;
    Irp->IoStatus.Information = sizeof(LONG);
    return STATUS_SUCCESS;
}

static NTSTATUS SetNodeLevel(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    PanelOf(Irp)->NodeLevel = *(LONG *)Data;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(LEVEL, GetLevel, sizeof(KSPROPERTY), sizeof(LONG), SetLevel, &LevelValues, 1, LevelRelations,
                           NULL, sizeof(LONG)),
    DEFINE_KSPROPERTY_ITEM(NAME, GetName, sizeof(KSPROPERTY), 0, SetName, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(FAILING, Fail, sizeof(KSPROPERTY), 0, Fail, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&PanelSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static DEFINE_KSMETHOD_TABLE(Methods){
    DEFINE_KSMETHOD_ITEM(ADD, KSMETHOD_TYPE_MODIFY, OnAdd, sizeof(ADD_METHOD), sizeof(ULONG), NULL)};
static DEFINE_KSMETHOD_SET_TABLE(MethodSets){
    DEFINE_KSMETHOD_SET(&PanelMethods, SIZEOF_ARRAY(Methods), Methods, 0, NULL)};
static const KSEVENT_ITEM Events[] = {{CHANGED, sizeof(KSEVENTDATA), 0, OnAddEvent, NULL, NULL}};
static const KSEVENT_SET EventSets[] = {{&PanelEvents, SIZEOF_ARRAY(Events), Events}};
static const KSAUTOMATION_TABLE FilterAutomation = {
    SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets, SIZEOF_ARRAY(MethodSets), sizeof(KSMETHOD_ITEM),
    MethodSets,                 SIZEOF_ARRAY(EventSets), sizeof(KSEVENT_ITEM),                  EventSets};

static const KSPROPERTY_ITEM NodeProperties[] = {
    DEFINE_KSPROPERTY_ITEM(LEVEL, GetNodeLevel, sizeof(KSP_NODE), sizeof(LONG), SetNodeLevel, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(NodePropertySets){
    DEFINE_KSPROPERTY_SET(&PanelSet, SIZEOF_ARRAY(NodeProperties), NodeProperties, 0, NULL)};
static const KSAUTOMATION_TABLE NodeAutomation = {SIZEOF_ARRAY(NodePropertySets), sizeof(KSPROPERTY_ITEM),
                                                  NodePropertySets};
static const KSNODE_DESCRIPTOR Nodes[] = {{NULL, &PanelNode, NULL}, {&NodeAutomation, &PanelNode, &PanelNode}};

static NTSTATUS OnFilterCreate(PKSFILTER Filter, PIRP Irp)
{
    PANEL *panel;
    PAGED_CODE();
    panel = ExAllocatePoolWithTag(PagedPool, sizeof(*panel), 'enaP');
    if (!panel)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(panel, sizeof(*panel));
    panel->Level = LevelDefault;
    RtlCopyMemory(panel->Name, "panel", 6);
    panel->NameBytes = 6;
    Filter->Context = panel;
    return KsAddItemToObjectBag(Filter->Bag, panel, NULL);
}

static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x06}};

static const KSFILTER_DISPATCH FilterDispatch = {.Create = OnFilterCreate};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .AutomationTable = &FilterAutomation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorsCount = SIZEOF_ARRAY(Nodes),
    .NodeDescriptorSize = sizeof(Nodes[0]),
    .NodeDescriptors = Nodes,
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
