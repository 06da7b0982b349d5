/*
 * A filter whose pin and nodes have names by GUIDs: one that its driver registers, one that is a constant of the headers, one
 * that nobody knows.
 */
#include "avs.h"

/* {5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4401} and, registered by nobody, ...4402 */
static const GUID Own = {0x5b3e6e1a, 0x0b57, 0x4c41, {0x8f, 0x1c, 0x3d, 0x2a, 0x3a, 0x7e, 0x44, 0x01}};
static const GUID Unknown = {0x5b3e6e1a, 0x0b57, 0x4c41, {0x8f, 0x1c, 0x3d, 0x2a, 0x3a, 0x7e, 0x44, 0x02}};
/* KSNODETYPE_VOLUME */
static const GUID Volume = {0x3a5acc00, 0xc557, 0x11d0, {0x8a, 0x2b, 0x00, 0xa0, 0xc9, 0x25, 0x5a, 0xc1}};

#define CATEGORIES L"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediaCategories"
#define KEY CATEGORIES L"\\{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4401}"

/* 0: as the driver's INF would. */
static const char *Registers(PKSPIN Pin)
{
    static WCHAR name[] = L"Front panel";

    CHECK(RtlCreateRegistryKey(RTL_REGISTRY_ABSOLUTE, CATEGORIES) == STATUS_SUCCESS);
    CHECK(RtlCreateRegistryKey(RTL_REGISTRY_ABSOLUTE, KEY) == STATUS_SUCCESS);
    CHECK(RtlWriteRegistryValue(RTL_REGISTRY_ABSOLUTE, KEY, L"Name", REG_SZ, name, sizeof(name)) == STATUS_SUCCESS);
    return NULL;
}

DEFINE_CHECKS(Registers);
static const KSPIN_DISPATCH PinDispatch = {0};
static const KSPIN_DESCRIPTOR_EX Pins[] = {{
    .Dispatch = &PinDispatch, .AutomationTable = &Automation,
    .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_OUT,
                      .Communication = KSPIN_COMMUNICATION_BOTH, .Name = &Own},
    .InstancesPossible = 1,
}};
static const KSNODE_DESCRIPTOR Nodes[] = {{NULL, &Volume, &Own}, {NULL, &Volume, NULL}, {NULL, &Volume, &Unknown}};
static const KSFILTER_DESCRIPTOR Filter = {
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Own,
    .PinDescriptorsCount = 1,
    .PinDescriptorSize = sizeof(Pins[0]),
    .PinDescriptors = Pins,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorsCount = SIZEOF_ARRAY(Nodes),
    .NodeDescriptorSize = sizeof(Nodes[0]),
    .NodeDescriptors = Nodes,
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, 1, Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
