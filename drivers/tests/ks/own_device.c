/*
 * A driver with an AddDevice of its own: by KsCreateDevice, or with INITIALIZE on a device object that it makes itself. The
 * client finds a filter that answers. With ALONE it does without KsInitializeDriver, too.
 */
#include "bytes.h"

#ifdef ALONE
#define INITIALIZE
#endif

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E80} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x80}};

static PKSDEVICE Made;
static BOOLEAN Started;
static LONG Powers;

static NTSTATUS OnStart(PKSDEVICE Dev, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
    Started = Dev == Made;
    return STATUS_SUCCESS;
}

static void OnSetPower(PKSDEVICE Dev, PIRP Irp, DEVICE_POWER_STATE To, DEVICE_POWER_STATE From)
{
    if (Dev == Made)
        Powers++;
}

/* How often did its power change? */
static NTSTATUS OnAskPowers(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(LONG *)Data = Powers;
    return STATUS_SUCCESS;
}

/* Is the device that was made the one that was started, and that of the filter? */
static NTSTATUS OnAsk(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = Started && KsFilterGetDevice(KsGetFilterFromIrp(Irp)) == Made;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(0, OnAsk, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(1, OnAskPowers, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0)};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&CheckSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x80}};
static const KSFILTER_DESCRIPTOR Filter = {
    .AutomationTable = &Automation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DISPATCH Dispatch = {.Start = OnStart, .SetPower = OnSetPower};
static const KSDEVICE_DESCRIPTOR Descriptor = {&Dispatch, 1, Filters, KSDEVICE_DESCRIPTOR_VERSION};

#ifdef INITIALIZE
static NTSTATUS NTAPI AddDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Physical)
{
    PDEVICE_OBJECT device, lower;
    NTSTATUS status = IoCreateDevice(Driver, sizeof(PVOID), NULL, FILE_DEVICE_KS, 0, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    lower = IoAttachDeviceToDeviceStack(device, Physical);
    status = KsInitializeDevice(device, Physical, lower, &Descriptor);
    if (!NT_SUCCESS(status))
        return status;
    /* It can be taken back, and done again. */
    if (!KsGetDeviceForDeviceObject(device))
        return STATUS_NO_SUCH_DEVICE;
    KsTerminateDevice(device);
    if (KsGetDeviceForDeviceObject(device))
        return STATUS_DEVICE_BUSY;
    status = KsInitializeDevice(device, Physical, lower, &Descriptor);
    Made = KsGetDeviceForDeviceObject(device);
    if (Made && (Made->FunctionalDeviceObject != device || Made->NextDeviceObject != lower))
        return STATUS_UNSUCCESSFUL;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return status;
}
#else
static NTSTATUS NTAPI AddDevice(PDRIVER_OBJECT Driver, PDEVICE_OBJECT Physical)
{
    return KsCreateDevice(Driver, Physical, &Descriptor, 64, &Made);
}
#endif

#ifdef ALONE
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    DriverObject->DriverExtension->AddDevice = AddDevice;
    DriverObject->DriverUnload = KsNullDriverUnload;
    return STATUS_SUCCESS;
}
#else
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status = KsInitializeDriver(DriverObject, RegistryPath, &Descriptor);
    DriverObject->DriverExtension->AddDevice = AddDevice;
    return status;
}
#endif
