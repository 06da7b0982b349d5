/*
 * A wave filter and a topology filter of one device, joined at a bridge pin, as an audio host expects them: the wave filter's
 * bridge pin tells by KSPROPERTY_PIN_PHYSICALCONNECTION where it goes on, and a multiplexer of the topology filter says
 * which input is heard. Bytes of the microphone count up, those of the line count down.
 *
 * -DRENDER: the sound goes the other way, to a speaker behind a node that mutes it.
 */
#ifndef USERKS_LOOPED_TOPOLOGY_H
#define USERKS_LOOPED_TOPOLOGY_H

enum { STREAM_PIN, WAVE_BRIDGE_PIN };
enum { TOPOLOGY_BRIDGE_PIN, MICROPHONE_PIN, LINE_PIN, SPEAKER_PIN = MICROPHONE_PIN };
enum { MUX_SOURCE_ID = 12, MUTE_ID = 13, LINK_BYTES = 512 };

#define TYPE_AUDIO {0x73647561, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}}
static const GUID NodeAdc = {0x4d837fe0, 0xc555, 0x11d0, {0x8a, 0x2b, 0x00, 0xa0, 0xc9, 0x25, 0x5a, 0xc1}};
static const GUID NodeMux = {0x2ceaf780, 0xc556, 0x11d0, {0x8a, 0x2b, 0x00, 0xa0, 0xc9, 0x25, 0x5a, 0xc1}};
static const GUID Microphone = {0xdff21be1, 0xf70f, 0x11d0, {0xb9, 0x17, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}};
static const GUID LineConnector = {0xdff21fe3, 0xf70f, 0x11d0, {0xb9, 0x17, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}};
static const GUID NodeDac = {0x507ae360, 0xc554, 0x11d0, {0x8a, 0x2b, 0x00, 0xa0, 0xc9, 0x25, 0x5a, 0xc1}};
static const GUID NodeMute = {0x02b223c0, 0xc557, 0x11d0, {0x8a, 0x2b, 0x00, 0xa0, 0xc9, 0x25, 0x5a, 0xc1}};
static const GUID Speaker = {0xdff21ce1, 0xf70f, 0x11d0, {0xb9, 0x17, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}};
static const GUID PinSet = {STATIC_KSPROPSETID_Pin};
/* {5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4411}, ...4412 and ...4413: what the driver calls its inputs, and its output. */
static const GUID SpeakerName = {0x5b3e6e1a, 0x0b57, 0x4c41, {0x8f, 0x1c, 0x3d, 0x2a, 0x3a, 0x7e, 0x44, 0x13}};
static const GUID MicrophoneName = {0x5b3e6e1a, 0x0b57, 0x4c41, {0x8f, 0x1c, 0x3d, 0x2a, 0x3a, 0x7e, 0x44, 0x11}};
static const GUID LineName = {0x5b3e6e1a, 0x0b57, 0x4c41, {0x8f, 0x1c, 0x3d, 0x2a, 0x3a, 0x7e, 0x44, 0x12}};
static const GUID WaveReference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x23}};
static const GUID TopologyReference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, 0x24}};

/* 16 bits, stereo, 48 kHz: a BURST is a millisecond of it. */
static const struct {
    KSDATARANGE Head;
    ULONG MaximumChannels, MinimumBits, MaximumBits, MinimumFrequency, MaximumFrequency;
} AudioRange = {
    {{88, 0, 0, 0, TYPE_AUDIO, {0x00000001, 0x0000, 0x0010, {0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}},
      {0x05589f81, 0xc356, 0x11ce, {0xbf, 0x01, 0x00, 0xaa, 0x00, 0x55, 0x59, 0x5a}}}},
    2, 16, 16, 48000, 48000};
static const KSDATARANGE WireRange = {
    {sizeof(KSDATARANGE), 0, 0, 0, TYPE_AUDIO, {0x6dba3190, 0x67bd, 0x11cf, {0xa0, 0xf7, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}},
     {0x0f6417d6, 0xc318, 0x11d0, {0xa4, 0x3f, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}}};
static const PKSDATARANGE AudioRanges[] = {(PKSDATARANGE)&AudioRange};
static const PKSDATARANGE WireRanges[] = {(PKSDATARANGE)&WireRange};

static volatile ULONG HeardPin = MICROPHONE_PIN;
static volatile ULONG Muted;
#ifdef KEEP
#define SAMPLE(place) ((UCHAR)((place) / 4 >> 8 * ((place) % 4)))
#else
#define SAMPLE(place) ((UCHAR)(HeardPin == LINE_PIN ? ~(place) : (place)))
#endif
#define MUTED Muted

/* The wave filter -------------------------------------------------------------------------------------------------- */

static WCHAR TopologyLink[LINK_BYTES / sizeof(WCHAR)];
static ULONG TopologyLinkBytes;

/* The device's mutex is held here, as who walks through its factories needs it. */
static NTSTATUS OnWaveCreate(PKSFILTER Filter, PIRP Irp)
{
    PKSFILTERFACTORY one = KsDeviceGetFirstChildFilterFactory(KsFilterGetDevice(Filter));
    PUNICODE_STRING link;

    while (one && one->FilterDescriptor->ReferenceGuid != &TopologyReference)
        one = KsFilterFactoryGetNextSiblingFilterFactory(one);
    link = one ? KsFilterFactoryGetSymbolicLink(one) : NULL;
    if (!link || link->Length > LINK_BYTES - sizeof(WCHAR))
        return STATUS_NO_SUCH_DEVICE;
    RtlCopyMemory(TopologyLink, link->Buffer, link->Length);
    TopologyLink[link->Length / sizeof(WCHAR)] = 0;
    TopologyLinkBytes = link->Length + sizeof(WCHAR);
    return STATUS_SUCCESS;
}

static NTSTATUS PhysicalConnection(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSPIN_PHYSICALCONNECTION wire = Data;
    ULONG room = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG size = FIELD_OFFSET(KSPIN_PHYSICALCONNECTION, SymbolicLinkName) + TopologyLinkBytes;

    if (((PKSP_PIN)Request)->PinId != WAVE_BRIDGE_PIN)
        return STATUS_NOT_FOUND;
    if (room && room < size)
        return STATUS_BUFFER_TOO_SMALL;
    Irp->IoStatus.Information = size;
    if (!room)
        return STATUS_BUFFER_OVERFLOW;
    wire->Size = size;
    wire->Pin = TOPOLOGY_BRIDGE_PIN;
    RtlCopyMemory(wire->SymbolicLinkName, TopologyLink, TopologyLinkBytes);
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM WaveItems[] = {DEFINE_KSPROPERTY_ITEM_PIN_PHYSICALCONNECTION(PhysicalConnection)};
#ifdef KEEP
#define WAVE_AUTOMATION &KeptAutomation
#else
#define WAVE_AUTOMATION &WaveAutomation
#endif
static const KSPROPERTY_SET WaveSets[] = {{&PinSet, SIZEOF_ARRAY(WaveItems), WaveItems, 0, NULL}};
static const KSAUTOMATION_TABLE WaveAutomation = {SIZEOF_ARRAY(WaveSets), sizeof(KSPROPERTY_ITEM), WaveSets};
static const KSFILTER_DISPATCH WaveDispatch = {.Create = OnWaveCreate};
#ifdef RENDER
#define WAVE_NODE NodeDac
#define WAVE_FROM STREAM_PIN
#define WAVE_TO WAVE_BRIDGE_PIN
#define WAVE_CATEGORY {0x65e8773e, 0x8f56, 0x11d0, {0xa3, 0xb9, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}
#define BRIDGE_FLOW KSPIN_DATAFLOW_OUT
#else
#define WAVE_NODE NodeAdc
#define WAVE_FROM WAVE_BRIDGE_PIN
#define WAVE_TO STREAM_PIN
#define WAVE_CATEGORY {CATEGORY_CAPTURE_GUID}
#define BRIDGE_FLOW KSPIN_DATAFLOW_IN
#endif
static const KSNODE_DESCRIPTOR WaveNodes[] = {{NULL, &WAVE_NODE, NULL}};
static const KSTOPOLOGY_CONNECTION WaveConnections[] = {
    {KSFILTER_NODE, WAVE_FROM, 0, 1}, {0, 0, KSFILTER_NODE, WAVE_TO}};
/* KSCATEGORY_AUDIO, KSCATEGORY_CAPTURE or KSCATEGORY_RENDER, KSCATEGORY_REALTIME */
static const GUID WaveCategories[] = {
    {0x6994ad04, 0x93ef, 0x11d0, {0xa3, 0xcc, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}},
    WAVE_CATEGORY,
    {0xeb115ffc, 0x10c8, 0x4964, {0x83, 0x1d, 0x6d, 0xcb, 0x02, 0xe6, 0xf2, 0x3f}}};

/* The topology filter ---------------------------------------------------------------------------------------------- */

#ifdef RENDER
static NTSTATUS GetMute(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = Muted;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS SetMute(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    Muted = *(ULONG *)Data;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM MuteItems[] = {DEFINE_KSPROPERTY_ITEM(
    MUTE_ID, GetMute, sizeof(KSP_NODE), sizeof(ULONG), SetMute, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_SET MuteSets[] = {{&Audio, SIZEOF_ARRAY(MuteItems), MuteItems, 0, NULL}};
static const KSAUTOMATION_TABLE MuteAutomation = {SIZEOF_ARRAY(MuteSets), sizeof(KSPROPERTY_ITEM), MuteSets};
static const KSNODE_DESCRIPTOR TopologyNodes[] = {{&MuteAutomation, &NodeMute, NULL}};
static const KSTOPOLOGY_CONNECTION TopologyConnections[] = {
    {KSFILTER_NODE, TOPOLOGY_BRIDGE_PIN, 0, 1}, {0, 0, KSFILTER_NODE, SPEAKER_PIN}};
#else
static NTSTATUS GetMux(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(ULONG *)Data = HeardPin;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS SetMux(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG pin = *(ULONG *)Data;

    if (pin != MICROPHONE_PIN && pin != LINE_PIN)
        return STATUS_INVALID_PARAMETER;
    HeardPin = pin;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM MuxItems[] = {DEFINE_KSPROPERTY_ITEM(
    MUX_SOURCE_ID, GetMux, sizeof(KSP_NODE), sizeof(ULONG), SetMux, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_SET MuxSets[] = {{&Audio, SIZEOF_ARRAY(MuxItems), MuxItems, 0, NULL}};
static const KSAUTOMATION_TABLE MuxAutomation = {SIZEOF_ARRAY(MuxSets), sizeof(KSPROPERTY_ITEM), MuxSets};
static const KSNODE_DESCRIPTOR TopologyNodes[] = {{&MuxAutomation, &NodeMux, NULL}};
static const KSTOPOLOGY_CONNECTION TopologyConnections[] = {
    {KSFILTER_NODE, MICROPHONE_PIN, 0, MICROPHONE_PIN}, {KSFILTER_NODE, LINE_PIN, 0, LINE_PIN},
    {0, 0, KSFILTER_NODE, TOPOLOGY_BRIDGE_PIN}};
#endif
/* KSCATEGORY_AUDIO, KSCATEGORY_TOPOLOGY */
static const GUID TopologyCategories[] = {
    {0x6994ad04, 0x93ef, 0x11d0, {0xa3, 0xcc, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}},
    {0xdda54a40, 0x1e4c, 0x11d1, {0xa0, 0x50, 0x40, 0x57, 0x05, 0xc1, 0x00, 0x00}}};
#define BRIDGE_PIN(flow, category, name) \
    { \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = WireRanges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BRIDGE, .Category = (category), .Name = (name)} \
    }
static const KSPIN_DESCRIPTOR_EX TopologyPins[] = {
#ifdef RENDER
    BRIDGE_PIN(KSPIN_DATAFLOW_IN, NULL, NULL),
    BRIDGE_PIN(KSPIN_DATAFLOW_OUT, &Speaker, &SpeakerName),
#else
    BRIDGE_PIN(KSPIN_DATAFLOW_OUT, NULL, NULL),
    BRIDGE_PIN(KSPIN_DATAFLOW_IN, &Microphone, &MicrophoneName),
    BRIDGE_PIN(KSPIN_DATAFLOW_IN, &LineConnector, &LineName),
#endif
};

/* The device ------------------------------------------------------------------------------------------------------- */

#define CATEGORIES L"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediaCategories"

static void RegisterName(PCWSTR Key, PWSTR Name, ULONG NameBytes)
{
    RtlCreateRegistryKey(RTL_REGISTRY_ABSOLUTE, (PWSTR)Key);
    RtlWriteRegistryValue(RTL_REGISTRY_ABSOLUTE, Key, L"Name", REG_SZ, Name, NameBytes);
}

#define FILTER(reference, dispatch, table, pins, categories, nodes, connections) \
    { \
        .Dispatch = (dispatch), .AutomationTable = (table), .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .ReferenceGuid = (reference), .PinDescriptorsCount = SIZEOF_ARRAY(pins), .PinDescriptorSize = sizeof(pins[0]), \
        .PinDescriptors = pins, .CategoriesCount = SIZEOF_ARRAY(categories), .Categories = categories, \
        .NodeDescriptorsCount = SIZEOF_ARRAY(nodes), .NodeDescriptorSize = sizeof(nodes[0]), .NodeDescriptors = nodes, \
        .ConnectionsCount = SIZEOF_ARRAY(connections), .Connections = connections, \
    }
#define DEFINE_LOOPED_DRIVER \
    static const KSPIN_DESCRIPTOR_EX WavePins[] = {LOOPED_PIN(AudioRanges), BRIDGE_PIN(BRIDGE_FLOW, NULL, NULL)}; \
    static const KSFILTER_DESCRIPTOR WaveFilter = \
        FILTER(&WaveReference, &WaveDispatch, WAVE_AUTOMATION, WavePins, WaveCategories, WaveNodes, WaveConnections); \
    static const KSFILTER_DESCRIPTOR TopologyFilter = \
        FILTER(&TopologyReference, NULL, NULL, TopologyPins, TopologyCategories, TopologyNodes, TopologyConnections); \
    static const KSFILTER_DESCRIPTOR *const LoopedFilters[] = {&WaveFilter, &TopologyFilter}; \
    static const KSDEVICE_DESCRIPTOR LoopedDevice = { \
        NULL, SIZEOF_ARRAY(LoopedFilters), LoopedFilters, KSDEVICE_DESCRIPTOR_VERSION}; \
    NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) \
    { \
        static WCHAR microphone[] = L"Front microphone", line[] = L"Rear line", speaker[] = L"Desk speaker"; \
        RtlCreateRegistryKey(RTL_REGISTRY_ABSOLUTE, CATEGORIES); \
        RegisterName(CATEGORIES L"\\{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4411}", microphone, sizeof(microphone)); \
        RegisterName(CATEGORIES L"\\{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4412}", line, sizeof(line)); \
        RegisterName(CATEGORIES L"\\{5B3E6E1A-0B57-4C41-8F1C-3D2A3A7E4413}", speaker, sizeof(speaker)); \
        return KsInitializeDriver(DriverObject, RegistryPath, &LoopedDevice); \
    }

#endif
