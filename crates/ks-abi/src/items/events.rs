//! Ids of events.

use super::Item;
use crate::guid::sets::*;

items! {
    "Id of a event of [`KSEVENTSETID_Clock`]" CLOCK: KSEVENTSETID_Clock {
        KSEVENT_CLOCK_INTERVAL_MARK = 0,
        KSEVENT_CLOCK_POSITION_MARK = 1,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_Connection`]" CONNECTION: KSEVENTSETID_Connection {
        KSEVENT_CONNECTION_POSITIONUPDATE = 0,
        KSEVENT_CONNECTION_DATADISCONTINUITY = 1,
        KSEVENT_CONNECTION_TIMEDISCONTINUITY = 2,
        KSEVENT_CONNECTION_PRIORITY = 3,
        KSEVENT_CONNECTION_ENDOFSTREAM = 4,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_StreamAllocator`]" STREAMALLOCATOR: KSEVENTSETID_StreamAllocator {
        KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME = 0,
        KSEVENT_STREAMALLOCATOR_FREEFRAME = 1,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_Device`]" DEVICE: KSEVENTSETID_Device {
        KSEVENT_DEVICE_LOST = 0,
        KSEVENT_DEVICE_PREEMPTED = 1,
        KSEVENT_DEVICE_THERMAL_HIGH = 2,
        KSEVENT_DEVICE_THERMAL_LOW = 3,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_PinCapsChange`]" PINCAPSCHANGE: KSEVENTSETID_PinCapsChange {
        KSEVENT_PINCAPS_FORMATCHANGE = 0,
        KSEVENT_PINCAPS_JACKINFOCHANGE = 1,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_VolumeLimit`]" VOLUMELIMIT: KSEVENTSETID_VolumeLimit {
        KSEVENT_VOLUMELIMIT_CHANGED = 0,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_DynamicFormatChange`]" DYNAMICFORMATCHANGE: KSEVENTSETID_DynamicFormatChange {
        KSEVENT_DYNAMIC_FORMAT_CHANGE = 0,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_AudioControlChange`]" AUDIOCONTROLCHANGE: KSEVENTSETID_AudioControlChange {
        KSEVENT_CONTROL_CHANGE = 0,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_LoopedStreaming`]" LOOPEDSTREAMING: KSEVENTSETID_LoopedStreaming {
        KSEVENT_LOOPEDSTREAMING_POSITION = 0,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_VIDCAPNotify`]" VIDCAPNOTIFY: KSEVENTSETID_VIDCAPNotify {
        KSEVENT_VIDCAPTOSTI_EXT_TRIGGER = 0,
        KSEVENT_VIDCAP_AUTO_UPDATE = 1,
        KSEVENT_VIDCAP_SEARCH = 2,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_CameraAsyncControl`]" CAMERAASYNCCONTROL: KSEVENTSETID_CameraAsyncControl {
        KSEVENT_CAMERACONTROL_FOCUS = 0,
        KSEVENT_CAMERACONTROL_ZOOM = 1,
    }
}

items! {
    "Id of a event of [`KSEVENTSETID_CameraEvent`]" CAMERAEVENT: KSEVENTSETID_CameraEvent {
        KSEVENT_PHOTO_SAMPLE_SCANNED = 0,
    }
}

/// The items of this module.
pub(super) const TABLES: &[&[Item]] = &[
    CLOCK,
    CONNECTION,
    STREAMALLOCATOR,
    DEVICE,
    PINCAPSCHANGE,
    VOLUMELIMIT,
    DYNAMICFORMATCHANGE,
    AUDIOCONTROLCHANGE,
    LOOPEDSTREAMING,
    VIDCAPNOTIFY,
    CAMERAASYNCCONTROL,
    CAMERAEVENT,
];
