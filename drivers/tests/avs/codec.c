/*
 * A decoder whose stream changes while it runs. A packet of pin 0 has in its first byte how large a sample it decodes to, in
 * units of 32 bytes, and the sample of pin 1 is full of its second byte. Format 1 of pin 0 has packets of one unit, format 2
 * of two, and format 3 of either kind; there is no other. Where what pin 1 has does not fit, the driver says so by
 * KSEVENT_DYNAMIC_FORMAT_CHANGE and waits: when it is told of a format that needs another, and when it finds a packet that does.
 */
#include "bytes.h"

enum { INPUT, OUTPUT, PINS };
enum { PACKET = 16, UNIT = 32, LARGE = 2, FORMATS = 3, TAG = 'cdoC' };

/* KSDATAFORMAT_TYPE_STREAM, and a subformat with a number in its last byte: of pin 0 from 0x10 on, of pin 1 from 0x20 on. */
#define STREAM {0xe436eb83, 0x524f, 0x11ce, {0x9f, 0x53, 0x00, 0x20, 0xaf, 0x0b, 0xa7, 0x70}}
#define NUMBERED(number) {0x5c0dec00, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, (number)}}
#define NO_SPECIFIER {0x0f6417d6, 0xc318, 0x11d0, {0xa4, 0x3f, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}
#define RANGE_OF(subformat, bytes) {{sizeof(KSDATARANGE), 0, (bytes), 0, STREAM, subformat, NO_SPECIFIER}}

static const KSDATARANGE Packets = RANGE_OF({0}, PACKET);
static const KSDATARANGE Small = RANGE_OF(NUMBERED(0x21), UNIT);
static const KSDATARANGE Large = RANGE_OF(NUMBERED(0x22), LARGE *UNIT);
static const PKSDATARANGE InputRanges[] = {(PKSDATARANGE)&Packets};
static const PKSDATARANGE OutputRanges[] = {(PKSDATARANGE)&Small, (PKSDATARANGE)&Large};
static const GUID DynamicFormatChange = {0x162ac456, 0x83d7, 0x4239, {0x96, 0xdf, 0xc7, 0x5f, 0xfa, 0x13, 0x8b, 0xc6}};

/* What pin 0 agreed to, the units that pin 1 agreed to, and those that it should have. */
static LONG InputFormat, Units, Wanted;

/* The number of a format of pin 0; 0 for one that there is not. */
static ULONG NumberOf(const KSDATAFORMAT *Format)
{
    ULONG number = Format->SubFormat.Data4[7] - 0x10;

    return Format->FormatSize == sizeof(KSDATAFORMAT) && number <= FORMATS ? number : 0;
}

/* The ranges of pin 1 are those that the format of pin 0 leads to: filter control mutex held. */
static NTSTATUS Prefer(PKSPIN Output)
{
    PKSPIN_DESCRIPTOR_EX descriptor;
    NTSTATUS status = KsEdit(Output, &Output->Descriptor, TAG);

    if (!NT_SUCCESS(status))
        return status;
    descriptor = (PKSPIN_DESCRIPTOR_EX)Output->Descriptor;
    descriptor->PinDescriptor.DataRanges = &OutputRanges[InputFormat == LARGE];
    descriptor->PinDescriptor.DataRangesCount = InputFormat == FORMATS ? 2 : 1;
    return STATUS_SUCCESS;
}

static void AskFor(PKSPIN Output, LONG Kind)
{
    if (InterlockedExchange(&Wanted, Kind) != Kind)
        KsPinGenerateEvents(Output, &DynamicFormatChange, 0, 0, NULL, NULL, NULL);
}

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN input, output;
    const UCHAR *packet;

    if (!Index[INPUT].Count || !Index[OUTPUT].Count)
        return STATUS_PENDING;
    input = Index[INPUT].Pins[0];
    output = Index[OUTPUT].Pins[0];
    packet = input->Data;
    if (packet[0] != Units || output->BytesAvailable < (ULONG)Units * UNIT) {
        AskFor(output->Pin, packet[0]);
        return STATUS_PENDING;
    }
    RtlFillMemory(output->Data, Units * UNIT, packet[1]);
    output->BytesUsed = Units * UNIT;
    input->BytesUsed = input->BytesAvailable;
    input->Terminate = output->Terminate = TRUE;
    return STATUS_SUCCESS;
}

static NTSTATUS OnInputFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                              const KSATTRIBUTE_LIST *Attributes)
{
    ULONG number = NumberOf(Pin->ConnectionFormat);
    PKSPIN output;
    NTSTATUS status;

    if (!number)
        return STATUS_NO_MATCH;
    InputFormat = number;
    /* Before the pin is there, nobody has a format that would have to change. */
    output = Old ? KsFilterGetFirstChildPin(KsPinGetParentFilter(Pin), OUTPUT) : NULL;
    if (!output) {
        Wanted = number == LARGE ? LARGE : 1;
        return STATUS_SUCCESS;
    }
    status = Prefer(output);
    if (NT_SUCCESS(status) && number != FORMATS && (LONG)number != Units)
        AskFor(output, number);
    return status;
}

static NTSTATUS OnPropose(PIRP Irp, PKSIDENTIFIER Request, PKSDATAFORMAT Format)
{
    return NumberOf(Format) ? STATUS_SUCCESS : STATUS_NO_MATCH;
}

/* The class driver calls this with a range of the pin's that the format lies in. */
static NTSTATUS OnOutputFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                               const KSATTRIBUTE_LIST *Attributes)
{
    if (Range->SampleSize != Pin->ConnectionFormat->SampleSize || (LONG)Range->SampleSize != Wanted * UNIT)
        return STATUS_NO_MATCH;
    Units = Wanted;
    return STATUS_SUCCESS;
}

/* Pin 1 prefers what is wanted, whichever of its ranges is asked for. */
static NTSTATUS OnIntersect(PVOID Context, PIRP Irp, PKSP_PIN Pin, PKSDATARANGE CallerRange, PKSDATARANGE OwnRange,
                            ULONG Room, PVOID Data, PULONG DataSize)
{
    *DataSize = sizeof(KSDATAFORMAT);
    if (Room == 0)
        return STATUS_BUFFER_OVERFLOW;
    if (Room < sizeof(KSDATAFORMAT))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Data, Wanted == LARGE ? &Large : &Small, sizeof(KSDATAFORMAT));
    return STATUS_SUCCESS;
}

static const GUID ConnectionSet = {STATIC_KSPROPSETID_Connection};
static const KSPROPERTY_ITEM ProposeItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, NULL, sizeof(KSPROPERTY), sizeof(KSDATAFORMAT),
                           (PFNKSHANDLER)OnPropose, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_SET ProposeSets[] = {{&ConnectionSet, SIZEOF_ARRAY(ProposeItems), ProposeItems, 0, NULL}};
static const KSAUTOMATION_TABLE InputAutomation = {1, sizeof(KSPROPERTY_ITEM), ProposeSets};
static const KSEVENT_ITEM EventItems[] = {DEFINE_KSEVENT_ITEM(0, sizeof(KSEVENTDATA), 0, NULL, NULL, NULL)};
static const KSEVENT_SET EventSets[] = {DEFINE_KSEVENT_SET(&DynamicFormatChange, SIZEOF_ARRAY(EventItems), EventItems)};
static const KSAUTOMATION_TABLE OutputAutomation = {
    .EventSetsCount = 1, .EventItemSize = sizeof(KSEVENT_ITEM), .EventSets = EventSets};

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 4, 0,
                                 LARGE *UNIT, LARGE *UNIT);
static const KSPIN_DISPATCH InputDispatch = {.SetDataFormat = OnInputFormat};
static const KSPIN_DISPATCH OutputDispatch = {.SetDataFormat = OnOutputFormat};
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};

#define CODEC_PIN(way, ranges, count, flow) \
    { \
        .Dispatch = &way##Dispatch, .AutomationTable = &way##Automation, \
        .PinDescriptor = {.DataRangesCount = (count), .DataRanges = (ranges), .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .AllocatorFraming = &Framing, .IntersectHandler = OnIntersect, \
    }
static const KSPIN_DESCRIPTOR_EX Pins[PINS] = {
    [INPUT] = CODEC_PIN(Input, InputRanges, 1, KSPIN_DATAFLOW_IN),
    [OUTPUT] = CODEC_PIN(Output, OutputRanges, 1, KSPIN_DATAFLOW_OUT),
};
static const GUID Categories[] = {{CATEGORY_CAPTURE_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x93}};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorsCount = PINS,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .PinDescriptors = Pins,
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
