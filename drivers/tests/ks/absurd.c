/*
 * Descriptors that cannot be, one kind a build: -DCASE=n.
 */
#include "bytes.h"

static const KSDATARANGE Range = BYTES_RANGE(64);
static const KSDATARANGE Short = {{3}};
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
static const PKSDATARANGE ShortRanges[] = {(PKSDATARANGE)&Short};
static const PKSDATARANGE NullRanges[] = {NULL};
static KSPIN_DESCRIPTOR_EX Pins[1];
static KSFILTER_DESCRIPTOR Filter;
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSFILTER_DESCRIPTOR *const NullFilters[] = {NULL};
static KSDEVICE_DISPATCH Dispatch;
static const KSNODE_DESCRIPTOR Nodes[] = {{NULL, NULL, (GUID *)0x1234}};
static KSDEVICE_DESCRIPTOR Device = {&Dispatch, 1, Filters, KSDEVICE_DESCRIPTOR_VERSION};

static NTSTATUS OnAdd(PKSDEVICE Unused)
{
    return STATUS_DEVICE_BUSY;
}

static NTSTATUS OnStart(PKSDEVICE Unused, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Raw)
{
    return STATUS_DEVICE_NOT_READY;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    Pins[0].PinDescriptor.DataRangesCount = 1;
    Pins[0].PinDescriptor.DataRanges = Ranges;
    Pins[0].PinDescriptor.DataFlow = KSPIN_DATAFLOW_OUT;
    Pins[0].PinDescriptor.Communication = KSPIN_COMMUNICATION_BOTH;
    Pins[0].InstancesPossible = 1;
    Filter.Version = KSFILTER_DESCRIPTOR_VERSION;
    Filter.PinDescriptorsCount = 1;
    Filter.PinDescriptorSize = sizeof(Pins[0]);
    Filter.PinDescriptors = Pins;
    switch (CASE) {
    case 1: Filter.PinDescriptorsCount = 0x40000000; break;
    case 2: Filter.PinDescriptors = NULL; break;
    case 3: Filter.PinDescriptorSize = 12; break;
    case 4: Device.FilterDescriptors = NullFilters; break;
    case 5: Pins[0].PinDescriptor.DataRanges = ShortRanges; break;
    case 6: Pins[0].PinDescriptor.DataRanges = NullRanges; break;
    case 7: Pins[0].PinDescriptor.DataFlow = 9; break;
    case 8: Filter.Categories = (GUID *)0x1234, Filter.CategoriesCount = 2; break;
    case 9: Filter.AutomationTable = (PKSAUTOMATION_TABLE)0x10; break;
    case 10: return STATUS_INSUFFICIENT_RESOURCES;
    case 11: return STATUS_SUCCESS;
    case 12: Dispatch.Add = OnAdd; break;
    case 13: Dispatch.Start = OnStart; break;
    case 14: Device.FilterDescriptorsCount = 0xFFFFFFFF; break;
    case 15:
        Filter.NodeDescriptorsCount = 1;
        Filter.NodeDescriptorSize = sizeof(Nodes[0]);
        Filter.NodeDescriptors = Nodes;
        break;
    }
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
