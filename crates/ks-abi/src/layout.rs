//! The layouts of all structures in the header's own spelling, and all constants: what tools print and tests compare.

use crate::kernel::*;
use crate::*;

/// Where one structure's bytes lie, under the names of the Windows headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The structure's name, for example `KSPIN_CONNECT`.
    pub name: &'static str,
    /// Size in bytes on x64.
    pub size: usize,
    /// Alignment in bytes on x64.
    pub align: usize,
    /// The members in order of definition; padding is left out.
    pub fields: Vec<Field>,
}

/// One member of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The member's name; a path such as `Tail.Overlay.Thread` where it is nested.
    pub name: &'static str,
    /// Offset in bytes from the start of the structure.
    pub offset: usize,
}

impl Layout {
    pub(crate) fn new(name: &'static str, size: usize, align: usize, fields: &[(&'static str, usize)]) -> Self {
        let fields =
            fields.iter().filter(|(name, _)| !name.is_empty()).map(|&(name, offset)| Field { name, offset }).collect();
        Self { name, size, align, fields }
    }
}

/// A structure that knows its layout; implemented by the macro that defines it.
pub(crate) trait Described {
    fn layout() -> Layout;
}

/// The layouts of all structures, in the order of the modules that define them.
#[must_use]
pub fn layouts() -> Vec<Layout> {
    macro_rules! list {
        ($($name:ident,)+) => { vec![$($name::layout()),+] };
    }
    list![
        KsIdentifier,
        KspPin,
        KspNode,
        KsmNode,
        KseNode,
        KspTimeFormat,
        KsMultipleItem,
        KsPropertyDescription,
        KsPropertyMembersHeader,
        KsPropertyBoundsLong,
        KsPropertyBoundsLongLong,
        KsPropertySteppingLong,
        KsPropertySteppingLongLong,
        KsPropertySerialHeader,
        KsPropertySerial,
        KsRelativeEvent,
        KsPriority,
        KsPinConnect,
        KsPinCInstances,
        KsPinPhysicalConnection,
        KsDataFormat,
        KsAttribute,
        WaveFormatEx,
        WaveFormatExtensible,
        KsDataFormatWaveFormatEx,
        KsDataFormatWaveFormatExtensible,
        KsDataRangeAudio,
        KsRtAudioBufferProperty,
        KsRtAudioBufferPropertyWithNotification,
        KsRtAudioBuffer,
        KsRtAudioHwLatency,
        KsRtAudioHwRegisterProperty,
        KsRtAudioHwRegister,
        KsRtAudioNotificationEventProperty,
        KsRtAudioGetReadPacketInfo,
        KsRtAudioSetWritePacketInfo,
        KsRtAudioPacketVRegisterProperty,
        KsRtAudioPacketVRegister,
        KsAudioPosition,
        KsAudioPresentationPosition,
        Rect,
        Size,
        KsBitmapInfoHeader,
        KsVideoInfoHeader,
        KsVideoInfoHeader2,
        KsDataFormatVideoInfoHeader,
        KsDataFormatVideoInfoHeader2,
        KsVideoStreamConfigCaps,
        KsDataRangeVideo,
        KsDataRangeVideo2,
        KsFrameInfo,
        KsTime,
        KsStreamHeader,
        KsStreamMetadataInfo,
        KsQuality,
        KsError,
        KsQualityManager,
        KsFrameTime,
        KsRate,
        KsRateCapability,
        KsAllocatorFraming,
        KsFramingRange,
        KsFramingRangeWeighted,
        KsCompression,
        KsFramingItem,
        KsAllocatorFramingEx,
        KsStreamAllocatorStatus,
        KsStreamAllocatorStatusEx,
        KsClockCreate,
        KsCorrelatedTime,
        KsResolution,
        KsTopologyConnection,
        KsTopology,
        KsNodeCreate,
        KsComponentId,
        KsEventData,
        KsEventTimeMark,
        KsEventTimeInterval,
        KsInterval,
        KsQueryBuffer,
        KsHandshake,
        ListEntry,
        UnicodeString,
        DispatcherHeader,
        KEvent,
        KSemaphore,
        KMutant,
        KDpc,
        KTimer,
        FastMutex,
        WorkQueueItem,
        KApc,
        KDeviceQueueEntry,
        KDeviceQueue,
        WaitContextBlock,
        IoStatusBlock,
        Irp,
        IoStackLocation,
        DeviceCapabilities,
        IoSecurityContext,
        Mdl,
        DriverObject,
        DriverExtension,
        DeviceObject,
        FileObject,
        KsDevice,
        KsFilterFactory,
        KsFilter,
        KsPin,
        KsMapping,
        KsStreamPointerOffset,
        KsStreamPointer,
        KsProcessPin,
        KsProcessPinIndexEntry,
        KsGate,
        KsDeviceDispatch,
        KsFilterDispatch,
        KsPinDispatch,
        KsClockDispatch,
        KsAllocatorDispatch,
        KsDeviceDescriptor,
        KsFilterDescriptor,
        KsPinDescriptor,
        KsPinDescriptorEx,
        KsNodeDescriptor,
        KsAutomationTable,
        KsPropertySet,
        KsPropertyItem,
        KsFastPropertyItem,
        KsPropertyValues,
        KsPropertyMembersList,
        KsMethodSet,
        KsMethodItem,
        KsFastMethodItem,
        KsEventSet,
        KsEventItem,
        KsDpcItem,
        KsBufferItem,
        KsEventEntry,
        KsObjectCreateItem,
        KsObjectCreate,
        KsDispatchTable,
        KsAttributeList,
        KsStreamAllocatorFunctionTable,
        KsClockFunctionTable,
    ]
}
