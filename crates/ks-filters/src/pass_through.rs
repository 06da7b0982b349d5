//! `pass-through`: hands every frame on as it is, in place. The shortest filter with two pins.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_DATATRANSFORM, KSFILTER_NODE, KsDataFormat, KsPinDataFlow, KsState, KsTopologyConnection, NtStatus,
    STATUS_INVALID_DEVICE_STATE, STATUS_NO_MATCH, STATUS_PENDING,
};
use ks_io::sync::{Mutex, Weak};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Pin, PinDescriptor, PinId,
    PinInstance,
};

use crate::audio_format;
use crate::null_renderer::{any, intersect_any};
use crate::video_format::{self, Block};

/// The name of the filter.
pub const NAME: &str = "pass-through";

pub(crate) const INPUT: PinId = 0;
pub(crate) const OUTPUT: PinId = 1;

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, vec![any()]);
        pin.name = Some(name);
        pin
    };
    let pins = vec![pin("In", KsPinDataFlow::IN), pin("Out", KsPinDataFlow::OUT)];
    let categories = [KSCATEGORY_DATATRANSFORM];
    let mut filter = FilterDescriptor::new(NAME, "Pass-through", &categories, pins, Arc::new(PassThrough));
    filter.connections = straight();
    filter.in_place = Some((INPUT, OUTPUT));
    filter.modifies_in_place = false;
    filter
}

/// The topology of a filter whose input leads to its output, and to nothing else: a flush goes that way.
pub(crate) fn straight() -> Vec<KsTopologyConnection> {
    vec![KsTopologyConnection {
        from_node: KSFILTER_NODE,
        from_node_pin: INPUT,
        to_node: KSFILTER_NODE,
        to_node_pin: OUTPUT,
    }]
}

struct PassThrough;

impl FilterDispatch for PassThrough {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Instance { name: NAME, filter: Mutex::new(Arc::downgrade(filter)) }))
    }
}

/// A filter whose outputs have the format of its input, and its frames.
pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) filter: Mutex<Weak<Filter>>,
}

impl Instance {
    /// The format of the input pin, if there is one: the output can have no other.
    fn input_format(&self) -> Option<DataFormat> {
        let filter = self.filter.lock().upgrade()?;
        let input = filter.pins(INPUT).into_iter().next()?;
        Some(input.format())
    }

    fn needed_input(&self) -> Result<DataFormat, Refusal> {
        self.input_format().ok_or_else(|| {
            let name = self.name;
            let reason = format!("{name}: its output has the format of its input; connect pin {INPUT} first");
            Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::State, reason)
        })
    }
}

/// The range that holds a format, and as little else as can be said.
fn range_of(format: &DataFormat) -> DataRange {
    if let (Ok(video), Some(block)) = (video_format::parse(format), Block::named(format.head().specifier)) {
        return video_format::exact_range_in(&video, block);
    }
    if let Ok(audio) = audio_format::parse(format) {
        return audio_format::exact_range(&audio);
    }
    DataFormat::new(KsDataFormat { flags: 0, ..*format.head() }, &[])
}

impl FilterInstance for Instance {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        match pin {
            OUTPUT => self.input_format().map(|format| vec![range_of(&format)]),
            _ => None,
        }
    }

    fn intersect(&self, pin: PinId, range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        match pin {
            OUTPUT => self.needed_input(),
            _ => intersect_any(self.name, range),
        }
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        if pin == OUTPUT && self.needed_input()?.format_bytes() != format.format_bytes() {
            let reason = format!("{}: its output has the format of its input, and no other", self.name);
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, reason));
        }
        Ok(())
    }

    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(PassPin(self.name)))
    }
}

struct PassPin(&'static str);

impl PinInstance for PassPin {
    /// The frames are those of the input, which can go to a connected pin; a client's own would never be filled.
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        if to == KsState::ACQUIRE && pin.id() == OUTPUT && !pin.is_connected() {
            let reason = format!(
                "{}: pin {OUTPUT} sends on the frames of pin {INPUT}, so it must be connected to a pin",
                self.0
            );
            return Err(Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::State, reason));
        }
        Ok(())
    }

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
