//! `video-invert` and `video-level`: filters that change each pixel by itself, in place.
//!
//! Both process as a whole, with the frames of both pins. Where the pins share a frame (they do when both are connected:
//! the frame is on its way through) it is changed where it is; where a client brings its own frames at either end, the
//! picture is copied over first.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO, KsPinDataFlow, NtStatus, STATUS_NO_MATCH, STATUS_PENDING,
    STATUS_SHARING_VIOLATION, STATUS_SUCCESS,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, StreamFrame};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinId, PinInstance, ProcessPin, ProcessPins,
};

use crate::media::effect::Effect;
use crate::media::video::VideoFormat;
use crate::pass_through::{self, INPUT, OUTPUT};
use crate::settings::{self, HasSettings, Setting, SettingError, Settings, Write, number};
use crate::video_format::{self, LAYOUTS};

/// The name of the filter that makes negatives.
pub const INVERT: &str = "video-invert";
/// The name of the filter that changes brightness and contrast.
pub const LEVEL: &str = "video-level";

/// What `video-invert` says of itself.
pub fn invert() -> FilterDescriptor {
    descriptor(INVERT, "Video negative", &[], |_| Effect::negative())
}

/// What `video-level` says of itself.
pub fn level() -> FilterDescriptor {
    descriptor(LEVEL, "Video level", LEVELS, |levels| Effect::level(levels.brightness, levels.contrast))
}

#[derive(Debug, Clone, Copy)]
struct Levels {
    brightness: i32,
    contrast: i32,
}

static LEVELS: &[Setting<Levels>] = &[
    Setting {
        name: "brightness",
        kind: "number",
        default: "0",
        help: "how much brighter, in percent of the way from black to white; -100 to 100",
        read: |levels| levels.brightness.to_string(),
        write: Write::Value(|levels, text| percent(text).map(|percent| levels.brightness = percent)),
    },
    Setting {
        name: "contrast",
        kind: "number",
        default: "100",
        help: "contrast in percent of what it was; 0 to 400",
        read: |levels| levels.contrast.to_string(),
        write: Write::Value(|levels, text| number(text, 0..=400).map(|percent| levels.contrast = percent as i32)),
    },
];

/// A whole number of percent with a sign.
fn percent(text: &str) -> Result<i32, SettingError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let percent = number(digits, 0..=100).map(|percent| sign * percent as i32);
    percent.map_err(|_| SettingError::Expected("a whole number from -100 to 100".into()))
}

fn descriptor(
    name: &'static str,
    friendly_name: &'static str,
    settings: &'static [Setting<Levels>],
    make: fn(&Levels) -> Effect,
) -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, video_format::whole_ranges(&LAYOUTS));
        pin.name = Some(name);
        pin.instances_necessary = 1;
        pin
    };
    let pins = vec![pin("In", KsPinDataFlow::IN), pin("Out", KsPinDataFlow::OUT)];
    let categories = [KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO];
    let automation = Arc::new(settings::automation::<Instance>(settings));
    let dispatch = Arc::new(Dispatch { name, automation, make });
    let mut filter = FilterDescriptor::new(name, friendly_name, &categories, pins, dispatch);
    filter.connections = pass_through::straight();
    filter.in_place = Some((INPUT, OUTPUT));
    filter
}

struct Dispatch {
    name: &'static str,
    automation: Arc<AutomationTable<Filter>>,
    make: fn(&Levels) -> Effect,
}

impl FilterDispatch for Dispatch {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let Dispatch { name, ref automation, make } = *self;
        let settings = Settings::new(name, Levels { brightness: 0, contrast: 100 });
        let automation = automation.clone();
        let formats = pass_through::Instance { name, filter: Mutex::new(Arc::downgrade(filter)) };
        Ok(Arc::new(Instance { formats, settings, automation, make, work: Mutex::default() }))
    }
}

struct Instance {
    /// Its output has the format of its input, as a filter that changes nothing.
    formats: pass_through::Instance,
    settings: Arc<Settings<Levels>>,
    automation: Arc<AutomationTable<Filter>>,
    make: fn(&Levels) -> Effect,
    /// Made with the first pin: settings and format do not change any more.
    work: Mutex<Option<Arc<(VideoFormat, Effect)>>>,
}

impl HasSettings for Instance {
    type Values = Levels;

    fn settings(&self) -> &Settings<Levels> {
        &self.settings
    }
}

impl Instance {
    fn parse(&self, format: &DataFormat) -> Result<VideoFormat, Refusal> {
        let refuse =
            |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{}: {problem}", self.formats.name));
        video_format::parse(format).map_err(refuse)
    }

    /// Changes one picture; `None`: somebody else has its bytes.
    fn change(&self, pins: &ProcessPins<'_>, input: &ProcessPin<'_>, output: &ProcessPin<'_>) -> Option<u32> {
        let work = self.work.lock().clone()?;
        let (format, effect) = &*work;
        let (from, to) = (pins.frame(input)?, pins.frame(output)?);
        let used = input.bytes_available().min(output.bytes_available());
        if pins.in_place(input, output) {
            effect.apply(format, &mut from.buffer()?.bytes_in_place(used as usize)?);
            return Some(used);
        }
        copy_header(&from, &to);
        let picture = from.buffer()?.bytes(used as usize)?;
        let mut changed = to.buffer()?.bytes_mut(used as usize)?;
        changed.copy_from_slice(&picture);
        effect.apply(format, &mut changed);
        Some(used)
    }
}

/// Time, flags and extension of one frame, for another.
fn copy_header(from: &StreamFrame, to: &StreamFrame) {
    to.set_presentation(from.presentation_time(), from.duration());
    to.set_options_flags(from.options_flags());
    let mut extension = [0; 256];
    let count = from.read_extension(&mut extension);
    to.write_extension(&extension[..count]);
}

impl FilterInstance for Instance {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        self.formats.data_ranges(pin)
    }

    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        match pin {
            OUTPUT => self.formats.intersect(pin, range, matching),
            _ => video_format::intersect_sink(self.formats.name, range, matching),
        }
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, range: &DataRange) -> Result<(), Refusal> {
        self.parse(format)?;
        self.formats.accept_format(pin, format, range)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = self.parse(&pin.format())?;
        *self.work.lock() = Some(Arc::new((format, (self.make)(&self.settings.values()))));
        Ok(Arc::new(EffectPin(format)))
    }

    fn is_filter_centric(&self) -> bool {
        true
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let Some(bytes) = self.change(pins, input, output) else {
            let reason = format!("{}: there is no memory that can be used now", self.formats.name);
            output.pin().fail(Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason));
            return STATUS_PENDING;
        };
        output.set_bytes_used(bytes);
        input.set_bytes_used(input.bytes_available());
        // Each frame is done whole, whatever its size.
        input.terminate();
        output.terminate();
        STATUS_SUCCESS
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

struct EffectPin(VideoFormat);

impl PinInstance for EffectPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(video_format::framing(&self.0))
    }
}
