//! `delay`: every frame so many milliseconds later, by the time of the stream.
//!
//! Frames wait here as copies, so that neither end of the graph is short of buffers meanwhile. A frame goes on when one
//! has come that is later by the delay, or the stream ends; what is told of its presentation is later by the delay, too.
//! A live stream is so held back for that time, and a file loses no time at all. Frames that carry no time are taken to
//! be presented when they come.

use std::collections::VecDeque;
use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_DATATRANSFORM, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow,
    KsReset, KsState, NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_PENDING, STATUS_SHARING_VIOLATION, STATUS_SUCCESS,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, RankedMutex, Refusal, Ticks, Time};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterFlags, FilterInstance,
    Framing, Pin, PinDescriptor, PinFlags, PinId, PinInstance, ProcessPin, ProcessPins,
};

use crate::null_renderer::any;
use crate::pass_through::{self, INPUT, OUTPUT};
use crate::settings::{self, HasSettings, Setting, Settings, Write, number};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "delay";

/// The most bytes that wait: beyond it frames go on before their time.
const MOST_HELD_BYTES: usize = 512 << 20;
/// Bytes of a frame of sound, or of a format that tells no size.
const USUAL_FRAME_BYTES: u32 = 64 << 10;
const LONGEST_MS: u32 = 600_000;

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, vec![any()]);
        pin.name = Some(name);
        pin.instances_necessary = 1;
        // What waits goes on without a frame that comes, and comes in without one that goes.
        pin.flags = PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING;
        pin
    };
    let pins = vec![pin("In", KsPinDataFlow::IN), pin("Out", KsPinDataFlow::OUT)];
    let dispatch = Arc::new(Dispatch(Arc::new(settings::automation::<Instance>(SETTINGS))));
    let mut filter = FilterDescriptor::new(NAME, "Delay", &[KSCATEGORY_DATATRANSFORM], pins, dispatch);
    filter.connections = pass_through::straight();
    // The end of a stream may come without data.
    filter.flags = FilterFlags::RECEIVE_ZERO_LENGTH_SAMPLES;
    filter
}

#[derive(Debug, Clone, Copy)]
struct Values {
    ms: u32,
}

static SETTINGS: &[Setting<Values>] = &[Setting {
    name: "ms",
    kind: "number",
    default: "100",
    help: "milliseconds by which everything is later, up to 600000; at most 512 MiB wait",
    read: |values| values.ms.to_string(),
    write: Write::Value(|values, text| number(text, 0..=LONGEST_MS).map(|ms| values.ms = ms)),
}];

struct Dispatch(Arc<AutomationTable<Filter>>);

impl FilterDispatch for Dispatch {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let (settings, automation) = (Settings::new(NAME, Values { ms: 100 }), self.0.clone());
        let formats = pass_through::Instance { name: NAME, filter: Mutex::new(Arc::downgrade(filter)) };
        Ok(Arc::new(Instance { formats, settings, automation, line: Arc::default() }))
    }
}

struct Instance {
    /// Its output has the format of its input, as a filter that changes nothing.
    formats: pass_through::Instance,
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
    line: Arc<Mutex<Line>>,
}

impl HasSettings for Instance {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

/// The frames that wait.
#[derive(Default)]
struct Line {
    frames: VecDeque<Held>,
    bytes: usize,
    /// The latest time that a frame came with.
    latest: Option<Time>,
    /// Buffers of frames that are gone, for those to come.
    spare: Vec<Vec<u8>>,
}

struct Held {
    data: Vec<u8>,
    /// How much of it has gone on, in pieces that fit.
    sent: usize,
    time: Time,
    duration: Ticks,
    flags: u32,
}

/// What a step came to.
#[derive(PartialEq)]
enum Step {
    Nothing,
    Something,
}

impl Line {
    /// Does the first frame go on?
    fn is_due(&self, delay: Ticks) -> bool {
        let Some(first) = self.frames.front() else { return false };
        let ended = self.frames.back().is_some_and(|last| last.flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0);
        let late = self.latest.is_some_and(|latest| latest.since(first.time) >= delay);
        ended || late || self.bytes > MOST_HELD_BYTES
    }

    fn clear(&mut self) {
        *self = Line::default();
    }

    fn take(&mut self, pins: &ProcessPins<'_>, input: &ProcessPin<'_>) -> Result<Step, Refusal> {
        let Some(frame) = pins.frame(input) else { return Ok(Step::Nothing) };
        let used = frame.data_used() as usize;
        let mut data = self.spare.pop().unwrap_or_default();
        data.clear();
        if used > 0 {
            let bytes = frame.buffer().and_then(|buffer| buffer.bytes(used)).ok_or_else(no_memory)?;
            data.try_reserve(used).map_err(|_| no_memory())?;
            data.extend_from_slice(&bytes);
        }
        let flags = frame.options_flags();
        let time = match flags & KSSTREAM_HEADER_OPTIONSF_TIMEVALID {
            0 => input.pin().services().now(),
            _ => frame.presentation_time(),
        };
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        self.bytes += used;
        self.frames.push_back(Held { data, sent: 0, time, duration: frame.duration(), flags });
        input.terminate();
        Ok(Step::Something)
    }

    fn give(&mut self, pins: &ProcessPins<'_>, output: &ProcessPin<'_>, delay: Ticks) -> Result<Step, Refusal> {
        let (Some(to), Some(first)) = (pins.frame(output), self.frames.front_mut()) else { return Ok(Step::Nothing) };
        let room = output.bytes_available() as usize;
        let left = first.data.len() - first.sent;
        // Only sound may be cut, and only between two blocks; the format's sample is a block.
        let sample = output.pin().format().head().sample_size as usize;
        let piece = match left <= room {
            true => left,
            false if sample > 0 && room >= sample => room - room % sample,
            false => {
                let reason = format!("{NAME}: a frame of {left} bytes came, and one of {room} takes it on");
                return Err(Refusal::new(STATUS_BUFFER_TOO_SMALL, Aspect::Memory, reason));
            }
        };
        if piece > 0 {
            let mut bytes = to.buffer().and_then(|buffer| buffer.bytes_mut(piece)).ok_or_else(no_memory)?;
            bytes.copy_from_slice(&first.data[first.sent..first.sent + piece]);
        }
        let part = |bytes: usize| match first.data.len() {
            0 => Ticks::ZERO,
            all => Ticks((i128::from(first.duration.0) * bytes as i128 / all as i128) as i64),
        };
        let (begin, end) = (part(first.sent), part(first.sent + piece));
        let is_last = first.sent + piece == first.data.len();
        let flags = if is_last { first.flags } else { first.flags & !KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM };
        let duration = if first.data.is_empty() { first.duration } else { end - begin };
        to.set_presentation(first.time + begin + delay, duration);
        to.set_options_flags(flags);
        output.set_bytes_used(piece as u32);
        output.terminate();
        first.sent += piece;
        self.bytes -= piece;
        if is_last && let Some(gone) = self.frames.pop_front() {
            if gone.flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0 {
                // What comes now is the next stream.
                self.latest = None;
            }
            self.spare.push(gone.data);
        }
        Ok(Step::Something)
    }
}

fn no_memory() -> Refusal {
    Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, format!("{NAME}: there is no memory that can be used now"))
}

impl FilterInstance for Instance {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        self.formats.data_ranges(pin)
    }

    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        self.formats.intersect(pin, range, matching)
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, range: &DataRange) -> Result<(), Refusal> {
        self.formats.accept_format(pin, format, range)
    }

    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(DelayPin { line: self.line.clone() }))
    }

    fn is_filter_centric(&self) -> bool {
        true
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let delay = Ticks::from_millis(self.settings.values().ms.into());
        let mut line = self.line.lock();
        let step = match line.is_due(delay) {
            true => line.give(pins, output, delay),
            false => line.take(pins, input),
        };
        drop(line);
        match step {
            Ok(Step::Something) => STATUS_SUCCESS,
            Ok(Step::Nothing) => STATUS_PENDING,
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

struct DelayPin {
    line: Arc<Mutex<Line>>,
}

impl PinInstance for DelayPin {
    fn framing(&self, pin: &Pin) -> Option<Framing> {
        let format = pin.format();
        Some(match video_format::parse(&format) {
            Ok(video) => video_format::framing(&video),
            Err(_) => {
                let sample = format.head().sample_size.max(1);
                let frame_bytes = USUAL_FRAME_BYTES.max(sample);
                Framing { frames: 8, frame_bytes: frame_bytes - frame_bytes % sample, alignment: 64 }
            }
        })
    }

    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        if to == KsState::STOP {
            self.line.lock().clear();
        }
        Ok(())
    }

    /// What waits is of the stream before.
    fn reset(&self, pin: &Arc<Pin>) {
        if pin.reset_state() == KsReset::BEGIN {
            let _quiet = pin.filter().processing_mutex().map(RankedMutex::hold);
            self.line.lock().clear();
        }
    }
}
