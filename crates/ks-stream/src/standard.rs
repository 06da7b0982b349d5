//! Properties of the documented sets that minidrivers answer, with the sizes that the header's macros give them.
//!
//! The class driver has nothing to answer these with. A minidriver puts [`PropertyItem::standard`] with its handlers into
//! its automation table; without it a request is refused like one for any item that is not there.
//!
//! Source: the pages of the property sets, and `DEFINE_KSPROPERTY_ITEM_*` of the header.

use crate::automation::PropertyItem;
use ks_abi::{
    Guid, KSPROPERTY_CONNECTION_ACQUIREORDERING, KSPROPERTY_CONNECTION_STARTAT, KSPROPERTY_MEDIASEEKING_AVAILABLE,
    KSPROPERTY_MEDIASEEKING_CAPABILITIES, KSPROPERTY_MEDIASEEKING_CONVERTTIMEFORMAT, KSPROPERTY_MEDIASEEKING_DURATION,
    KSPROPERTY_MEDIASEEKING_FORMATS, KSPROPERTY_MEDIASEEKING_POSITION, KSPROPERTY_MEDIASEEKING_POSITIONS,
    KSPROPERTY_MEDIASEEKING_PREROLL, KSPROPERTY_MEDIASEEKING_STOPPOSITION, KSPROPERTY_MEDIASEEKING_TIMEFORMAT,
    KSPROPERTY_MEMORY_TRANSPORT, KSPROPERTY_PIN_GLOBALCINSTANCES, KSPROPERTY_PIN_MODEDATAFORMATS,
    KSPROPERTY_PIN_PHYSICALCONNECTION, KSPROPERTY_PIN_PROPOSEDATAFORMAT2, KSPROPERTY_QUALITY_ERROR,
    KSPROPERTY_QUALITY_REPORT, KSPROPERTY_STREAM_DEGRADATION, KSPROPERTY_STREAM_FRAMETIME, KSPROPERTY_STREAM_PIPE_ID,
    KSPROPERTY_STREAM_PRESENTATIONEXTENT, KSPROPERTY_STREAM_PRESENTATIONTIME, KSPROPERTY_STREAM_QUALITY,
    KSPROPERTY_STREAM_RATE, KSPROPERTY_STREAM_RATECAPABILITY, KSPROPERTY_STREAM_TIMEFORMAT, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KSPROPSETID_MediaSeeking, KSPROPSETID_MemoryTransport,
    KSPROPSETID_Pin, KSPROPSETID_Quality, KSPROPSETID_Stream, KsDataFormat, KsError, KsFrameTime, KsIdentifier,
    KsMultipleItem, KsPinCInstances, KsQuality, KsQualityManager, KsRate, KsRateCapability, KsRelativeEvent, KsTime,
    KspPin, KspTimeFormat,
};

/// Bytes of a plain request.
const KSPROPERTY: usize = size_of::<KsIdentifier>();
/// Bytes of a request for a pin factory; what else it says stands behind them.
const KSP_PIN: usize = size_of::<KspPin>();

/// Where a property is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// On the filter.
    Filter,
    /// On the pin.
    Pin,
}

/// What the documentation says of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardProperty {
    /// The set.
    pub set: Guid,
    /// The item.
    pub id: u32,
    /// Where it is asked.
    pub target: Target,
    /// `KSPROPERTY_TYPE_GET` and `KSPROPERTY_TYPE_SET`, as it may be read and written.
    pub access: u32,
    /// Least bytes of a request.
    pub request_bytes: usize,
    /// Least bytes of data; 0 for data of variable size.
    pub data_bytes: usize,
}

const GET: u32 = KSPROPERTY_TYPE_GET;
const SET: u32 = KSPROPERTY_TYPE_SET;

const fn row(
    set: Guid,
    id: u32,
    target: Target,
    access: u32,
    request_bytes: usize,
    data_bytes: usize,
) -> StandardProperty {
    StandardProperty { set, id, target, access, request_bytes, data_bytes }
}

/// Every property of these sets that minidrivers answer.
#[rustfmt::skip]
pub const STANDARD_PROPERTIES: &[StandardProperty] = &[
    // ks-coverage: KSPROPERTY_PIN_GLOBALCINSTANCES minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Pin, KSPROPERTY_PIN_GLOBALCINSTANCES, Target::Filter, GET, KSP_PIN, size_of::<KsPinCInstances>()),
    // ks-coverage: KSPROPERTY_PIN_PHYSICALCONNECTION minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Pin, KSPROPERTY_PIN_PHYSICALCONNECTION, Target::Filter, GET, KSP_PIN, 0),
    // ks-coverage: KSPROPERTY_PIN_PROPOSEDATAFORMAT2 minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Pin, KSPROPERTY_PIN_PROPOSEDATAFORMAT2, Target::Filter, GET, KSP_PIN + size_of::<KsMultipleItem>(), size_of::<KsDataFormat>()),
    // ks-coverage: KSPROPERTY_PIN_MODEDATAFORMATS minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Pin, KSPROPERTY_PIN_MODEDATAFORMATS, Target::Filter, GET, KSP_PIN + size_of::<Guid>(), 0),
    // ks-coverage: KSPROPERTY_CONNECTION_ACQUIREORDERING minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_ACQUIREORDERING, Target::Pin, GET, KSPROPERTY, 4),
    // ks-coverage: KSPROPERTY_CONNECTION_STARTAT minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STARTAT, Target::Pin, SET, KSPROPERTY, size_of::<KsRelativeEvent>()),
    // ks-coverage: KSPROPERTY_STREAM_QUALITY done test=a_minidriver_answers_every_standard_property,complaints_of_a_sink_reach_the_manager_from_inside_its_callback
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_QUALITY, Target::Pin, SET, KSPROPERTY, size_of::<KsQualityManager>()),
    // ks-coverage: KSPROPERTY_STREAM_DEGRADATION minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_DEGRADATION, Target::Pin, GET | SET, KSPROPERTY, 0),
    // ks-coverage: KSPROPERTY_STREAM_TIMEFORMAT done test=a_minidriver_answers_every_standard_property,times_in_the_units_of_a_stream_are_the_same_in_every_process
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_TIMEFORMAT, Target::Pin, GET, KSPROPERTY, size_of::<Guid>()),
    // ks-coverage: KSPROPERTY_STREAM_PRESENTATIONTIME done test=a_minidriver_answers_every_standard_property,times_in_the_units_of_a_stream_are_the_same_in_every_process
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_PRESENTATIONTIME, Target::Pin, GET | SET, KSPROPERTY, size_of::<KsTime>()),
    // ks-coverage: KSPROPERTY_STREAM_PRESENTATIONEXTENT done test=a_minidriver_answers_every_standard_property,times_in_the_units_of_a_stream_are_the_same_in_every_process
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_PRESENTATIONEXTENT, Target::Pin, GET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_STREAM_FRAMETIME minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_FRAMETIME, Target::Pin, GET, KSPROPERTY, size_of::<KsFrameTime>()),
    // ks-coverage: KSPROPERTY_STREAM_RATECAPABILITY done test=a_minidriver_answers_every_standard_property,a_rate_lives_in_pause_and_run_and_the_nominal_one_is_never_refused,a_drivers_stream_goes_at_the_rate_that_its_client_sets
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_RATECAPABILITY, Target::Pin, GET, size_of::<KsRateCapability>(), size_of::<KsRate>()),
    // ks-coverage: KSPROPERTY_STREAM_RATE done test=a_minidriver_answers_every_standard_property,a_rate_lives_in_pause_and_run_and_the_nominal_one_is_never_refused,a_drivers_stream_goes_at_the_rate_that_its_client_sets
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_RATE, Target::Pin, GET | SET, KSPROPERTY, size_of::<KsRate>()),
    // ks-coverage: KSPROPERTY_STREAM_PIPE_ID minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_Stream, KSPROPERTY_STREAM_PIPE_ID, Target::Pin, GET | SET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_QUALITY_REPORT done test=a_minidriver_answers_every_standard_property,complaints_of_a_sink_reach_the_manager_from_inside_its_callback,a_driver_complains_to_the_manager_that_its_client_named_and_another_pin_hears_it
    row(KSPROPSETID_Quality, KSPROPERTY_QUALITY_REPORT, Target::Pin, GET | SET, KSPROPERTY, size_of::<KsQuality>()),
    // ks-coverage: KSPROPERTY_QUALITY_ERROR done test=a_minidriver_answers_every_standard_property,complaints_of_a_sink_reach_the_manager_from_inside_its_callback
    row(KSPROPSETID_Quality, KSPROPERTY_QUALITY_ERROR, Target::Pin, GET | SET, KSPROPERTY, size_of::<KsError>()),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_CAPABILITIES minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_CAPABILITIES, Target::Filter, GET, KSPROPERTY, 4),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_FORMATS minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_FORMATS, Target::Filter, GET, KSPROPERTY, 0),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_TIMEFORMAT minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_TIMEFORMAT, Target::Filter, GET | SET, KSPROPERTY, size_of::<Guid>()),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_POSITION minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_POSITION, Target::Filter, GET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_STOPPOSITION minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_STOPPOSITION, Target::Filter, GET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_POSITIONS minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_POSITIONS, Target::Filter, SET, KSPROPERTY, 24),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_DURATION minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_DURATION, Target::Filter, GET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_AVAILABLE minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_AVAILABLE, Target::Filter, GET, KSPROPERTY, 16),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_PREROLL minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_PREROLL, Target::Filter, GET, KSPROPERTY, 8),
    // ks-coverage: KSPROPERTY_MEDIASEEKING_CONVERTTIMEFORMAT minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MediaSeeking, KSPROPERTY_MEDIASEEKING_CONVERTTIMEFORMAT, Target::Filter, GET, size_of::<KspTimeFormat>(), 8),
    // ks-coverage: KSPROPERTY_MEMORY_TRANSPORT minidriver test=a_minidriver_answers_every_standard_property
    row(KSPROPSETID_MemoryTransport, KSPROPERTY_MEMORY_TRANSPORT, Target::Pin, SET, KSPROPERTY, 4),
];

/// What the documentation says of a property that minidrivers answer.
pub fn standard_property(set: Guid, id: u32) -> Option<&'static StandardProperty> {
    STANDARD_PROPERTIES.iter().find(|known| known.set == set && known.id == id)
}

impl<T> PropertyItem<T> {
    /// An item with the sizes that the documentation gives this property, and no handler yet; `None` for one that is none
    /// of a minidriver's.
    pub fn standard(set: Guid, id: u32) -> Option<PropertyItem<T>> {
        let known = standard_property(set, id)?;
        Some(PropertyItem::new(id).request_bytes(known.request_bytes).data_bytes(known.data_bytes))
    }
}
