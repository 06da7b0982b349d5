//! `video-converter`: pictures of one layout and size into those of another.
//!
//! It processes as a whole filter, a picture at a time. The output takes what is nearest to the input that the next
//! filter accepts: its layout, its size, and its rate always.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO, KsPinDataFlow, KsState, NtStatus, STATUS_BUFFER_TOO_SMALL,
    STATUS_DATA_ERROR, STATUS_INVALID_DEVICE_STATE, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SHARING_VIOLATION,
    STATUS_SUCCESS,
};
use ks_io::sync::{Mutex, Weak};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinId, PinInstance, ProcessPin, ProcessPins,
};

use crate::media::error::FieldError;
use crate::media::video::{ColorRange, MAX_DIMENSION, PixelLayout, VideoFormat};
use crate::media::video_conversion::{self, Matrix, VideoConversion};
use crate::pass_through::{INPUT, OUTPUT, straight};
use crate::settings::{self, ANY, HasSettings, Setting, Settings, Write, choice, number, or_any};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "video-converter";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, video_format::whole_ranges(&video_format::LAYOUTS));
        pin.name = Some(name);
        pin.instances_necessary = 1;
        pin
    };
    let pins = vec![pin("In", KsPinDataFlow::IN), pin("Out", KsPinDataFlow::OUT)];
    let categories = [KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO];
    let dispatch = Arc::new(Dispatch(Arc::new(settings::automation::<Instance>(SETTINGS))));
    let mut filter = FilterDescriptor::new(NAME, "Video converter", &categories, pins, dispatch);
    filter.connections = straight();
    filter
}

/// What the formats do not say.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    matrix: Matrix,
    range: ColorRange,
    /// What the output is to have; what is `None` may be anything.
    layout: Option<PixelLayout>,
    width: Option<u32>,
    height: Option<u32>,
}

const LAYOUTS: &[(&str, PixelLayout)] = &[
    ("i420", PixelLayout::I420),
    ("nv12", PixelLayout::Nv12),
    ("yuy2", PixelLayout::Yuy2),
    ("bgra", PixelLayout::Bgra),
    ("rgb24", PixelLayout::Rgb24),
];

const MATRICES: &[(&str, Matrix)] = &[("auto", Matrix::ByHeight), ("bt601", Matrix::Bt601), ("bt709", Matrix::Bt709)];
const RANGES: &[(&str, ColorRange)] =
    &[("auto", ColorRange::Unknown), ("limited", ColorRange::Limited), ("full", ColorRange::Full)];

static SETTINGS: &[Setting<Values>] = &[
    Setting {
        name: "matrix",
        kind: "auto|bt601|bt709",
        default: "auto",
        help: "by what luma and chroma are made of colours; auto: bt601 up to 576 rows, bt709 above",
        read: |values| name_of(MATRICES, values.matrix),
        write: Write::Value(|values, text| choice(text, MATRICES).map(|matrix| values.matrix = matrix)),
    },
    Setting {
        name: "range",
        kind: "auto|limited|full",
        default: "auto",
        help: "of luma and chroma, at both ends: 16 to 235 or 0 to 255; auto: limited",
        read: |values| name_of(RANGES, values.range),
        write: Write::Value(|values, text| choice(text, RANGES).map(|range| values.range = range)),
    },
    Setting {
        name: "format",
        kind: "any|i420|nv12|yuy2|bgra|rgb24",
        default: ANY,
        help: "layout of the pixels that it gives; any: what the next filter takes, its input's first",
        read: |values| values.layout.map_or_else(|| ANY.to_owned(), |layout| name_of(LAYOUTS, layout)),
        write: Write::Value(|values, text| {
            values.layout = or_any(text, |text| choice(text, LAYOUTS))?;
            Ok(())
        }),
    },
    Setting {
        name: "width",
        kind: "number|any",
        default: ANY,
        help: "pixels a row that it gives; with one side settled the other follows in proportion",
        read: |values| values.width.map_or_else(|| ANY.to_owned(), |width| width.to_string()),
        write: Write::Value(|values, text| {
            values.width = or_any(text, |text| number(text, 1..=MAX_DIMENSION))?;
            Ok(())
        }),
    },
    Setting {
        name: "height",
        kind: "number|any",
        default: ANY,
        help: "rows that it gives",
        read: |values| values.height.map_or_else(|| ANY.to_owned(), |height| height.to_string()),
        write: Write::Value(|values, text| {
            values.height = or_any(text, |text| number(text, 1..=MAX_DIMENSION))?;
            Ok(())
        }),
    },
];

impl Values {
    /// The sides that pictures of this size get; `None`: any.
    fn sides(&self, input: &VideoFormat) -> Option<(u32, u32)> {
        let (width, height) = (input.width(), input.height());
        match (self.width, self.height) {
            (None, None) => None,
            (Some(wide), Some(high)) => Some((wide, high)),
            (Some(wide), None) => Some((wide, video_format::in_proportion(height, width, wide))),
            (None, Some(high)) => Some((video_format::in_proportion(width, height, high), high)),
        }
    }

    /// Whether a picture is what was asked for; what is not.
    fn check(&self, input: &VideoFormat, output: &VideoFormat) -> Result<(), String> {
        if let Some(layout) = self.layout.filter(|layout| *layout != output.layout()) {
            return Err(format!("format={} is set, and it was asked for another layout", name_of(LAYOUTS, layout)));
        }
        match self.sides(input) {
            Some(sides) if sides != (output.width(), output.height()) => Err(format!(
                "{}x{} follows from width and height, and {}x{} was asked for",
                sides.0,
                sides.1,
                output.width(),
                output.height()
            )),
            _ => Ok(()),
        }
    }
}

fn name_of<T: PartialEq>(choices: &[(&str, T)], value: T) -> String {
    choices.iter().find(|(_, choice)| *choice == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

struct Dispatch(Arc<AutomationTable<Filter>>);

impl FilterDispatch for Dispatch {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let (settings, automation) = (Settings::new(NAME, Values::default()), self.0.clone());
        let filter = Mutex::new(Arc::downgrade(filter));
        Ok(Arc::new(Instance { filter, settings, automation, conversion: Arc::new(Mutex::new(None)) }))
    }
}

/// Made by the first picture of a stream. Taken out while the filter processes, which the processing mutex keeps to one
/// thread.
type SharedConversion = Arc<Mutex<Option<VideoConversion>>>;

struct Instance {
    filter: Mutex<Weak<Filter>>,
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
    conversion: SharedConversion,
}

impl HasSettings for Instance {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

fn no_match(problem: impl std::fmt::Display) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"))
}

impl Instance {
    fn format_of(&self, pin: PinId) -> Option<VideoFormat> {
        let filter = self.filter.lock().upgrade()?;
        let pin = filter.pins(pin).into_iter().next()?;
        video_format::parse(&pin.format()).ok()
    }

    fn conversion(&self, input: &Pin, output: &Pin) -> Result<VideoConversion, Refusal> {
        if let Some(conversion) = self.conversion.lock().take() {
            return Ok(conversion);
        }
        let values = self.settings.values();
        let format = |pin: &Pin| {
            let mut format = video_format::parse(&pin.format()).map_err(no_match)?;
            format.color_range = values.range;
            Ok(format)
        };
        VideoConversion::new(&format(input)?, &format(output)?, values.matrix).map_err(no_match)
    }

    fn convert(&self, pins: &ProcessPins<'_>, input: &ProcessPin<'_>, output: &ProcessPin<'_>) -> Result<(), Refusal> {
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return Ok(()) };
        let mut conversion = self.conversion(input.pin(), output.pin())?;
        let (used, bytes) = (from.data_used() as usize, conversion.output().frame_bytes());
        if (output.bytes_available() as usize) < bytes {
            let reason = format!("{NAME}: a picture has {bytes} bytes and a buffer {}", output.bytes_available());
            return Err(Refusal::new(STATUS_BUFFER_TOO_SMALL, Aspect::Memory, reason));
        }
        let no_memory = || {
            let reason = format!("{NAME}: a frame has no memory that can be used now");
            Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason)
        };
        {
            let data = from.buffer().and_then(|buffer| buffer.bytes(used)).ok_or_else(no_memory)?;
            let mut made = to.buffer().and_then(|buffer| buffer.bytes_mut(bytes)).ok_or_else(no_memory)?;
            conversion.convert(&data, &mut made).map_err(|problem: FieldError| {
                Refusal::new(STATUS_DATA_ERROR, Aspect::Driver, format!("{NAME}: {problem}"))
            })?;
        }
        *self.conversion.lock() = Some(conversion);
        to.set_options_flags(from.options_flags());
        to.set_presentation(from.presentation_time(), from.duration());
        output.set_bytes_used(bytes as u32);
        output.terminate();
        input.terminate();
        Ok(())
    }
}

impl FilterInstance for Instance {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        let input = (pin == OUTPUT).then(|| self.format_of(INPUT)).flatten()?;
        let values = self.settings.values();
        Some(video_format::converted_ranges(&input, values.layout, values.sides(&input)))
    }

    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        if pin != OUTPUT {
            return video_format::intersect_sink(NAME, range, matching);
        }
        let input = self.format_of(INPUT).ok_or_else(|| {
            let reason = format!("{NAME}: its output follows from its input; connect pin {INPUT} first");
            Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::State, reason)
        })?;
        video_format::nearest(NAME, &input, range, matching, self.settings.values().sides(&input))
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let asked = video_format::parse(format).map_err(no_match)?;
        let other = self.format_of(if pin == OUTPUT { INPUT } else { OUTPUT }).unwrap_or(asked);
        if other.frame_rate != asked.frame_rate {
            return Err(no_match("both ends have the same rate, and no other"));
        }
        let (input, output) = if pin == OUTPUT { (other, asked) } else { (asked, other) };
        if pin == OUTPUT {
            self.settings
                .values()
                .check(&input, &output)
                .map_err(|problem| Refusal::new(STATUS_NO_MATCH, Aspect::Setting, format!("{NAME}: {problem}")))?;
        }
        video_conversion::check(&input, &output).map_err(no_match)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = video_format::parse(&pin.format()).map_err(no_match)?;
        let framing = Mutex::new(video_format::framing(&format));
        Ok(Arc::new(ConverterPin { framing, conversion: self.conversion.clone() }))
    }

    fn is_filter_centric(&self) -> bool {
        true
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        match self.convert(pins, input, output) {
            Ok(()) => STATUS_SUCCESS,
            Err(refusal) => {
                output.pin().fail(refusal);
                STATUS_PENDING
            }
        }
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

struct ConverterPin {
    framing: Mutex<Framing>,
    conversion: SharedConversion,
}

impl PinInstance for ConverterPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(*self.framing.lock())
    }

    /// What comes may change as long as it can be made into what goes, and the other way round.
    fn would_take(&self, pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        let new = video_format::parse(new).map_err(no_match)?;
        let other = if pin.id() == OUTPUT { INPUT } else { OUTPUT };
        let Some(other) = pin.filter().pins(other).into_iter().next() else { return Ok(()) };
        let other = video_format::parse(&other.format()).map_err(no_match)?;
        if other.frame_rate != new.frame_rate {
            return Err(no_match("both ends have the same rate, and no other"));
        }
        let (input, output) = if pin.id() == OUTPUT { (other, new) } else { (new, other) };
        video_conversion::check(&input, &output).map_err(no_match)
    }

    fn set_data_format(&self, pin: &Arc<Pin>, _old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        self.would_take(pin, new)?;
        *self.framing.lock() = video_format::framing(&video_format::parse(new).map_err(no_match)?);
        // The next picture makes another.
        let conversion = self.conversion.lock().take();
        drop(conversion);
        Ok(())
    }

    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        if to == KsState::STOP {
            let conversion = self.conversion.lock().take();
            drop(conversion);
        }
        Ok(())
    }
}
