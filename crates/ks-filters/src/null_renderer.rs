//! `null-renderer`: takes every format, and throws the data away.

use std::sync::Arc;

use ks_abi::{
    Guid, KSCATEGORY_RENDER, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SPECIFIER_VIDEOINFO,
    KSDATAFORMAT_SPECIFIER_VIDEOINFO2, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KsDataFormat, KsPinDataFlow, NtStatus,
    STATUS_PENDING,
};
use ks_io::Refusal;
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Pin, PinDescriptor, PinFlags,
    PinId, PinInstance,
};

use crate::{audio_format, video_format};

/// The name of the filter.
pub const NAME: &str = "null-renderer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, vec![any()]);
    pin.name = Some("Anything");
    pin.flags = PinFlags::RENDERER;
    FilterDescriptor::new(NAME, "Null renderer", &[KSCATEGORY_RENDER], vec![pin], Arc::new(NullRenderer))
}

/// The range that holds every format.
pub(crate) fn any() -> DataRange {
    DataFormat::new(KsDataFormat::new(Guid::NULL, Guid::NULL, Guid::NULL, 0), &[])
}

/// A complete format out of the client's range, for a pin that takes any.
pub(crate) fn intersect_any(owner: &str, range: &DataRange) -> Result<DataFormat, Refusal> {
    let head = range.head();
    match head.specifier {
        KSDATAFORMAT_SPECIFIER_VIDEOINFO | KSDATAFORMAT_SPECIFIER_VIDEOINFO2 => {
            video_format::intersect_sink(owner, range, &any())
        }
        KSDATAFORMAT_SPECIFIER_WAVEFORMATEX => audio_format::intersect_sink(owner, range, &any()),
        // A format without a block: what the client says, and nothing more.
        _ => {
            let bare = KsDataFormat::new(head.major_format, head.sub_format, KSDATAFORMAT_SPECIFIER_NONE, 0);
            Ok(DataFormat::new(KsDataFormat { sample_size: head.sample_size, ..bare }, &[]))
        }
    }
}

struct NullRenderer;

impl FilterDispatch for NullRenderer {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(NullRenderer))
    }
}

impl FilterInstance for NullRenderer {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(NullRenderer))
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        intersect_any(NAME, range)
    }
}

impl PinInstance for NullRenderer {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            leading = frame.advance();
        }
        STATUS_PENDING
    }

    /// Any format is as good as another.
    fn would_take(&self, _pin: &Arc<Pin>, _new: &DataFormat) -> Result<(), Refusal> {
        Ok(())
    }

    fn set_data_format(&self, _pin: &Arc<Pin>, _old: &DataFormat, _new: &DataFormat) -> Result<(), Refusal> {
        Ok(())
    }
}
