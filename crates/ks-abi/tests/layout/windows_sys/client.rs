//! Structures of the client half as windows-sys has them; a member is `"our spelling" => its path there`.

use crate::windows_sys::structures;
use crate::{Facts, Key};

pub(super) fn add(facts: &mut Facts) {
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSIDENTIFIER:
        "Set" => Anonymous.Anonymous.Set, "Id" => Anonymous.Anonymous.Id, "Flags" => Anonymous.Anonymous.Flags,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSP_PIN:
        "Property" => Property, "PinId" => PinId, "Reserved" => Anonymous.Reserved, "Flags" => Anonymous.Flags,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSP_NODE:
        "Property" => Property, "NodeId" => NodeId, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSM_NODE:
        "Method" => Method, "NodeId" => NodeId, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSE_NODE:
        "Event" => Event, "NodeId" => NodeId, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSP_TIMEFORMAT:
        "Property" => Property, "SourceFormat" => SourceFormat, "TargetFormat" => TargetFormat, "Time" => Time,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSMULTIPLE_ITEM:
        "Size" => Size, "Count" => Count,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_DESCRIPTION:
        "AccessFlags" => AccessFlags, "DescriptionSize" => DescriptionSize, "PropTypeSet" => PropTypeSet,
        "MembersListCount" => MembersListCount, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_MEMBERSHEADER:
        "MembersFlags" => MembersFlags, "MembersSize" => MembersSize, "MembersCount" => MembersCount,
        "Flags" => Flags,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_BOUNDS_LONG:
        "SignedMinimum" => Anonymous1.SignedMinimum, "UnsignedMinimum" => Anonymous2.UnsignedMinimum,
        "SignedMaximum" => Anonymous1.SignedMaximum, "UnsignedMaximum" => Anonymous2.UnsignedMaximum,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_BOUNDS_LONGLONG:
        "SignedMinimum" => Anonymous1.SignedMinimum, "UnsignedMinimum" => Anonymous2.UnsignedMinimum,
        "SignedMaximum" => Anonymous1.SignedMaximum, "UnsignedMaximum" => Anonymous2.UnsignedMaximum,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_STEPPING_LONG:
        "SteppingDelta" => SteppingDelta, "Reserved" => Reserved, "Bounds" => Bounds,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_STEPPING_LONGLONG:
        "SteppingDelta" => SteppingDelta, "Bounds" => Bounds,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_SERIALHDR:
        "PropertySet" => PropertySet, "Count" => Count,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPROPERTY_SERIAL:
        "PropTypeSet" => PropTypeSet, "Id" => Id, "PropertyLength" => PropertyLength,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRELATIVEEVENT:
        "Size" => Size, "Flags" => Flags, "ObjectHandle" => Anonymous.ObjectHandle,
        "ObjectPointer" => Anonymous.ObjectPointer, "Reserved" => Reserved, "Event" => Event,
        "EventData" => EventData,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPRIORITY:
        "PriorityClass" => PriorityClass, "PrioritySubClass" => PrioritySubClass,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPIN_CONNECT:
        "Interface" => Interface, "Medium" => Medium, "PinId" => PinId, "PinToHandle" => PinToHandle,
        "Priority" => Priority,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPIN_CINSTANCES:
        "PossibleCount" => PossibleCount, "CurrentCount" => CurrentCount,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSPIN_PHYSICALCONNECTION:
        "Size" => Size, "Pin" => Pin, "SymbolicLinkName" => SymbolicLinkName,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSDATAFORMAT:
        "FormatSize" => Anonymous.FormatSize, "Flags" => Anonymous.Flags, "SampleSize" => Anonymous.SampleSize,
        "Reserved" => Anonymous.Reserved, "MajorFormat" => Anonymous.MajorFormat, "SubFormat" => Anonymous.SubFormat,
        "Specifier" => Anonymous.Specifier,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSATTRIBUTE:
        "Size" => Size, "Flags" => Flags, "Attribute" => Attribute,
    }
    structures! { facts, windows_sys::Win32::Media::Audio::WAVEFORMATEX:
        "wFormatTag" => wFormatTag, "nChannels" => nChannels, "nSamplesPerSec" => nSamplesPerSec,
        "nAvgBytesPerSec" => nAvgBytesPerSec, "nBlockAlign" => nBlockAlign, "wBitsPerSample" => wBitsPerSample,
        "cbSize" => cbSize,
    }
    structures! { facts, windows_sys::Win32::Media::Audio::WAVEFORMATEXTENSIBLE:
        "Format" => Format, "Samples.wValidBitsPerSample" => Samples.wValidBitsPerSample,
        "Samples.wSamplesPerBlock" => Samples.wSamplesPerBlock, "dwChannelMask" => dwChannelMask,
        "SubFormat" => SubFormat,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSDATARANGE_AUDIO:
        "DataRange" => DataRange, "MaximumChannels" => MaximumChannels,
        "MinimumBitsPerSample" => MinimumBitsPerSample, "MaximumBitsPerSample" => MaximumBitsPerSample,
        "MinimumSampleFrequency" => MinimumSampleFrequency, "MaximumSampleFrequency" => MaximumSampleFrequency,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_BUFFER_PROPERTY:
        "Property" => Property,
        "BaseAddress" => BaseAddress,
        "RequestedBufferSize" => RequestedBufferSize,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_BUFFER_PROPERTY_WITH_NOTIFICATION:
        "Property" => Property,
        "BaseAddress" => BaseAddress,
        "RequestedBufferSize" => RequestedBufferSize,
        "NotificationCount" => NotificationCount,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_BUFFER:
        "BufferAddress" => BufferAddress,
        "ActualBufferSize" => ActualBufferSize,
        "CallMemoryBarrier" => CallMemoryBarrier,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_HWLATENCY:
        "FifoSize" => FifoSize,
        "ChipsetDelay" => ChipsetDelay,
        "CodecDelay" => CodecDelay,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_HWREGISTER_PROPERTY:
        "Property" => Property,
        "BaseAddress" => BaseAddress,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_HWREGISTER:
        "Register" => Register,
        "Width" => Width,
        "Numerator" => Numerator,
        "Denominator" => Denominator,
        "Accuracy" => Accuracy,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_NOTIFICATION_EVENT_PROPERTY:
        "Property" => Property,
        "NotificationEvent" => NotificationEvent,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_GETREADPACKET_INFO:
        "PacketNumber" => PacketNumber,
        "Flags" => Flags,
        "PerformanceCounterValue" => PerformanceCounterValue,
        "MoreData" => MoreData,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_SETWRITEPACKET_INFO:
        "PacketNumber" => PacketNumber,
        "Flags" => Flags,
        "EosPacketLength" => EosPacketLength,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_PACKETVREGISTER_PROPERTY:
        "Property" => Property,
        "BaseAddress" => BaseAddress,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRTAUDIO_PACKETVREGISTER:
        "CompletedPacketCount" => CompletedPacketCount,
        "CompletedPacketQPC" => CompletedPacketQPC,
        "CompletedPacketHash" => CompletedPacketHash,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSAUDIO_POSITION:
        "PlayOffset" => PlayOffset,
        "WriteOffset" => WriteOffset,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSAUDIO_PRESENTATION_POSITION:
        "u64PositionInBlocks" => u64PositionInBlocks,
        "u64QPCPosition" => u64QPCPosition,
    }
    structures! { facts, windows_sys::Win32::Foundation::RECT:
        "left" => left, "top" => top, "right" => right, "bottom" => bottom,
    }
    structures! { facts, windows_sys::Win32::Foundation::SIZE:
        "cx" => cx, "cy" => cy,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_BITMAPINFOHEADER:
        "biSize" => biSize, "biWidth" => biWidth, "biHeight" => biHeight, "biPlanes" => biPlanes,
        "biBitCount" => biBitCount, "biCompression" => biCompression, "biSizeImage" => biSizeImage,
        "biXPelsPerMeter" => biXPelsPerMeter, "biYPelsPerMeter" => biYPelsPerMeter, "biClrUsed" => biClrUsed,
        "biClrImportant" => biClrImportant,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_VIDEOINFOHEADER:
        "rcSource" => rcSource, "rcTarget" => rcTarget, "dwBitRate" => dwBitRate, "dwBitErrorRate" => dwBitErrorRate,
        "AvgTimePerFrame" => AvgTimePerFrame, "bmiHeader" => bmiHeader,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_VIDEOINFOHEADER2:
        "rcSource" => rcSource, "rcTarget" => rcTarget, "dwBitRate" => dwBitRate, "dwBitErrorRate" => dwBitErrorRate,
        "AvgTimePerFrame" => AvgTimePerFrame, "dwInterlaceFlags" => dwInterlaceFlags,
        "dwCopyProtectFlags" => dwCopyProtectFlags, "dwPictAspectRatioX" => dwPictAspectRatioX,
        "dwPictAspectRatioY" => dwPictAspectRatioY, "dwReserved1" => Anonymous.dwReserved1,
        "dwReserved2" => dwReserved2, "bmiHeader" => bmiHeader,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_DATAFORMAT_VIDEOINFOHEADER:
        "DataFormat" => DataFormat, "VideoInfoHeader" => VideoInfoHeader,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_DATAFORMAT_VIDEOINFOHEADER2:
        "DataFormat" => DataFormat, "VideoInfoHeader2" => VideoInfoHeader2,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_VIDEO_STREAM_CONFIG_CAPS:
        "guid" => guid, "VideoStandard" => VideoStandard, "InputSize" => InputSize,
        "MinCroppingSize" => MinCroppingSize, "MaxCroppingSize" => MaxCroppingSize,
        "CropGranularityX" => CropGranularityX, "CropGranularityY" => CropGranularityY, "CropAlignX" => CropAlignX,
        "CropAlignY" => CropAlignY, "MinOutputSize" => MinOutputSize, "MaxOutputSize" => MaxOutputSize,
        "OutputGranularityX" => OutputGranularityX, "OutputGranularityY" => OutputGranularityY,
        "StretchTapsX" => StretchTapsX, "StretchTapsY" => StretchTapsY, "ShrinkTapsX" => ShrinkTapsX,
        "ShrinkTapsY" => ShrinkTapsY, "MinFrameInterval" => MinFrameInterval, "MaxFrameInterval" => MaxFrameInterval,
        "MinBitsPerSecond" => MinBitsPerSecond, "MaxBitsPerSecond" => MaxBitsPerSecond,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_DATARANGE_VIDEO:
        "DataRange" => DataRange, "bFixedSizeSamples" => bFixedSizeSamples,
        "bTemporalCompression" => bTemporalCompression, "StreamDescriptionFlags" => StreamDescriptionFlags,
        "MemoryAllocationFlags" => MemoryAllocationFlags, "ConfigCaps" => ConfigCaps,
        "VideoInfoHeader" => VideoInfoHeader,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_DATARANGE_VIDEO2:
        "DataRange" => DataRange, "bFixedSizeSamples" => bFixedSizeSamples,
        "bTemporalCompression" => bTemporalCompression, "StreamDescriptionFlags" => StreamDescriptionFlags,
        "MemoryAllocationFlags" => MemoryAllocationFlags, "ConfigCaps" => ConfigCaps,
        "VideoInfoHeader" => VideoInfoHeader,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_FRAME_INFO:
        "ExtendedHeaderSize" => ExtendedHeaderSize, "dwFrameFlags" => dwFrameFlags, "PictureNumber" => PictureNumber,
        "DropCount" => DropCount, "hDirectDraw" => hDirectDraw, "hSurfaceHandle" => hSurfaceHandle,
        "DirectDrawRect" => DirectDrawRect, "lSurfacePitch" => Anonymous1.lSurfacePitch,
        "Reserved1" => Anonymous1.Reserved1, "Reserved2" => Reserved2,
        "FrameCompletionNumber" => Anonymous2.FrameCompletionNumber, "Reserved3" => Anonymous2.Anonymous.Reserved3,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSTIME:
        "Time" => Time, "Numerator" => Numerator, "Denominator" => Denominator,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSSTREAM_HEADER:
        "Size" => Size, "TypeSpecificFlags" => TypeSpecificFlags, "PresentationTime" => PresentationTime,
        "Duration" => Duration, "FrameExtent" => FrameExtent, "DataUsed" => DataUsed, "Data" => Data,
        "OptionsFlags" => OptionsFlags, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSSTREAM_METADATA_INFO:
        "BufferSize" => BufferSize, "UsedSize" => UsedSize, "Data" => Data, "SystemVa" => SystemVa, "Flags" => Flags,
        "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSQUALITY:
        "Context" => Context, "Proportion" => Proportion, "DeltaTime" => DeltaTime,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSERROR:
        "Context" => Context, "Status" => Status,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSQUALITY_MANAGER:
        "QualityManager" => QualityManager, "Context" => Context,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSFRAMETIME:
        "Duration" => Duration, "FrameFlags" => FrameFlags, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRATE:
        "PresentationStart" => PresentationStart, "Duration" => Duration, "Interface" => Interface, "Rate" => Rate,
        "Flags" => Flags,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRATE_CAPABILITY:
        "Property" => Property, "Rate" => Rate,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSALLOCATOR_FRAMING:
        "OptionsFlags" => Anonymous1.OptionsFlags, "RequirementsFlags" => Anonymous1.RequirementsFlags,
        "PoolType" => PoolType, "Frames" => Frames, "FrameSize" => FrameSize,
        "FileAlignment" => Anonymous2.FileAlignment, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_FRAMING_RANGE:
        "MinFrameSize" => MinFrameSize, "MaxFrameSize" => MaxFrameSize, "Stepping" => Stepping,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_FRAMING_RANGE_WEIGHTED:
        "Range" => Range, "InPlaceWeight" => InPlaceWeight, "NotInPlaceWeight" => NotInPlaceWeight,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_COMPRESSION:
        "RatioNumerator" => RatioNumerator, "RatioDenominator" => RatioDenominator,
        "RatioConstantMargin" => RatioConstantMargin,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KS_FRAMING_ITEM:
        "MemoryType" => MemoryType, "BusType" => BusType, "MemoryFlags" => MemoryFlags, "BusFlags" => BusFlags,
        "Flags" => Flags, "Frames" => Frames, "FileAlignment" => Anonymous.FileAlignment,
        "MemoryTypeWeight" => MemoryTypeWeight, "PhysicalRange" => PhysicalRange, "FramingRange" => FramingRange,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSALLOCATOR_FRAMING_EX:
        "CountItems" => CountItems, "PinFlags" => PinFlags, "OutputCompression" => OutputCompression,
        "PinWeight" => PinWeight, "FramingItem" => FramingItem,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSSTREAMALLOCATOR_STATUS:
        "Framing" => Framing, "AllocatedFrames" => AllocatedFrames, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSSTREAMALLOCATOR_STATUS_EX:
        "Framing" => Framing, "AllocatedFrames" => AllocatedFrames, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSCLOCK_CREATE:
        "CreateFlags" => CreateFlags,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSCORRELATED_TIME:
        "Time" => Time, "SystemTime" => SystemTime,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSRESOLUTION:
        "Granularity" => Granularity, "Error" => Error,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSTOPOLOGY_CONNECTION:
        "FromNode" => FromNode, "FromNodePin" => FromNodePin, "ToNode" => ToNode, "ToNodePin" => ToNodePin,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSTOPOLOGY:
        "CategoriesCount" => CategoriesCount, "Categories" => Categories, "TopologyNodesCount" => TopologyNodesCount,
        "TopologyNodes" => TopologyNodes, "TopologyConnectionsCount" => TopologyConnectionsCount,
        "TopologyConnections" => TopologyConnections, "TopologyNodesNames" => TopologyNodesNames,
        "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSNODE_CREATE:
        "CreateFlags" => CreateFlags, "Node" => Node,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSCOMPONENTID:
        "Manufacturer" => Manufacturer, "Product" => Product, "Component" => Component, "Name" => Name,
        "Version" => Version, "Revision" => Revision,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSEVENTDATA:
        "NotificationType" => NotificationType, "EventHandle.Event" => Anonymous.EventHandle.Event,
        "SemaphoreHandle.Semaphore" => Anonymous.SemaphoreHandle.Semaphore,
        "Alignment.Unused" => Anonymous.Alignment.Unused, "EventHandle.Reserved" => Anonymous.EventHandle.Reserved,
        "SemaphoreHandle.Reserved" => Anonymous.SemaphoreHandle.Reserved,
        "Alignment.Alignment" => Anonymous.Alignment.Alignment,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSEVENT_TIME_MARK:
        "EventData" => EventData, "MarkTime" => MarkTime,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSEVENT_TIME_INTERVAL:
        "EventData" => EventData, "TimeBase" => TimeBase, "Interval" => Interval,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSINTERVAL:
        "TimeBase" => TimeBase, "Interval" => Interval,
    }
    structures! { facts, windows_sys::Win32::Media::KernelStreaming::KSQUERYBUFFER:
        "Event" => Event, "EventData" => EventData, "Reserved" => Reserved,
    }
    structures! { facts, windows_sys::Win32::Foundation::UNICODE_STRING:
        "Length" => Length, "MaximumLength" => MaximumLength, "Buffer" => Buffer,
    }
}
