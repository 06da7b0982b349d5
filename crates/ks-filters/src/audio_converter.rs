//! `audio-converter`: PCM of one format into PCM of another: sample type, channels and rate.
//!
//! It processes as a whole filter: a frame of the input is converted into as many frames of the output as it takes. The
//! output may have any format that the input can become, and takes the one nearest to the input that the next filter
//! accepts; where that is the input's own, the bytes go through unchanged.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_DATATRANSFORM, KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY,
    KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, KsReset, KsState,
    NtStatus, STATUS_INVALID_DEVICE_STATE, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SHARING_VIOLATION, STATUS_SUCCESS,
};
use ks_io::sync::{Mutex, Weak};
use ks_io::{Aspect, RankedMutex, Refusal, StreamFrame, Ticks, Time};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterFlags, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance, ProcessPin, ProcessPins,
};

use crate::audio_format;
use crate::media::audio::{AudioFormat, MAX_CHANNELS, MAX_SAMPLE_RATE, SampleKind};
use crate::media::audio_conversion::{AudioConversion, More};
use crate::media::resample::rates_from;
use crate::pass_through::{INPUT, OUTPUT, straight};

/// The name of the filter.
pub const NAME: &str = "audio-converter";

/// Bytes of an output frame, less what is no whole block.
const FRAME_BYTES: usize = 64 * 1024;

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, audio_format::whole_ranges());
        pin.name = Some(name);
        pin.instances_necessary = 1;
        pin
    };
    let mut pins = vec![pin("In", KsPinDataFlow::IN), pin("Out", KsPinDataFlow::OUT)];
    // What the conversion holds back may be given when no frame is left.
    pins[0].flags = PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING;
    let categories = [KSCATEGORY_DATATRANSFORM, KSCATEGORY_AUDIO];
    let mut filter = FilterDescriptor::new(NAME, "Audio converter", &categories, pins, Arc::new(Dispatch));
    filter.connections = straight();
    // The end of a stream may come without data.
    filter.flags = FilterFlags::RECEIVE_ZERO_LENGTH_SAMPLES;
    filter
}

struct Dispatch;

impl FilterDispatch for Dispatch {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Instance { filter: Mutex::new(Arc::downgrade(filter)), stream: Arc::new(Mutex::new(None)) }))
    }
}

/// One stream, from its first frame to its end or STOP. Taken out while the filter processes, which the processing mutex
/// keeps to one thread.
type SharedStream = Arc<Mutex<Option<Stream>>>;

struct Instance {
    filter: Mutex<Weak<Filter>>,
    stream: SharedStream,
}

struct Stream {
    conversion: AudioConversion,
    input: AudioFormat,
    output: AudioFormat,
    /// Blocks of both since the stream began.
    read_blocks: u64,
    written_blocks: u64,
    /// A block of the input, and when it is presented.
    anchor: Option<(u64, Time)>,
    /// What is to be said of the next frame.
    discontinuity: u32,
}

/// How far a frame may be from the time that those before it give.
const TOLERANCE: Ticks = Ticks::from_millis(1);

impl Stream {
    fn new(input: &AudioFormat, output: &AudioFormat) -> Result<Self, String> {
        Ok(Self {
            conversion: AudioConversion::new(input, output).map_err(|problem| problem.to_string())?,
            input: *input,
            output: *output,
            read_blocks: 0,
            written_blocks: 0,
            anchor: None,
            discontinuity: 0,
        })
    }

    /// The times of the blocks follow from that of one of them, so that no rounding adds up; a frame that is elsewhere
    /// begins a new count.
    fn begin_frame(&mut self, frame: &StreamFrame) {
        let flags = frame.options_flags();
        self.discontinuity |=
            flags & (KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY | KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY);
        if flags & KSSTREAM_HEADER_OPTIONSF_TIMEVALID == 0 {
            return;
        }
        let time = frame.presentation_time();
        let expected = self.anchor.map(|anchor| time_from(anchor, self.read_blocks, self.input.sample_rate()));
        if expected
            .is_none_or(|expected| (time.0.saturating_sub(expected.0)).unsigned_abs() > TOLERANCE.0.unsigned_abs())
        {
            self.anchor = Some((self.read_blocks, time));
        }
    }

    /// Says of an output frame when it is presented.
    fn describe(&mut self, frame: &StreamFrame, blocks: u64) {
        let mut flags = std::mem::take(&mut self.discontinuity);
        if let Some((block, time)) = self.anchor {
            let rate = self.output.sample_rate();
            // The anchor in blocks of the output.
            let block = u128::from(block) * u128::from(rate) / u128::from(self.input.sample_rate());
            let anchor = (u64::try_from(block).unwrap_or(u64::MAX), time);
            let begin = time_from(anchor, self.written_blocks, rate);
            let end = time_from(anchor, self.written_blocks + blocks, rate);
            frame.set_presentation(begin, Ticks(end.0.saturating_sub(begin.0)));
            flags |= KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        }
        frame.set_options_flags(flags);
    }
}

/// When a block is presented, from the time of another one.
fn time_from((block, time): (u64, Time), other: u64, rate: u32) -> Time {
    let blocks = i128::from(other) - i128::from(block);
    let ticks = (blocks * 10_000_000).div_euclid(i128::from(rate));
    Time(i64::try_from(i128::from(time.0) + ticks).unwrap_or(i64::MAX))
}

impl Instance {
    fn format_of(&self, pin: PinId) -> Option<AudioFormat> {
        let filter = self.filter.lock().upgrade()?;
        let pin = filter.pins(pin).into_iter().next()?;
        audio_format::parse(&pin.format()).ok()
    }

    fn needed_input(&self) -> Result<AudioFormat, Refusal> {
        self.format_of(INPUT).ok_or_else(|| {
            let reason = format!("{NAME}: its output follows from its input; connect pin {INPUT} first");
            Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::State, reason)
        })
    }

    /// Converts from frame to frame; whether there is more to do.
    fn convert(
        &self,
        pins: &ProcessPins<'_>,
        input: &ProcessPin<'_>,
        output: &ProcessPin<'_>,
        stream: &mut Stream,
    ) -> Result<Step, Refusal> {
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return Ok(Step::Wait) };
        let no_memory = || {
            let reason = format!("{NAME}: a frame has no memory that can be used now");
            Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason)
        };
        let available = input.bytes_available() as usize;
        let used = from.data_used() as usize;
        let more = match input.flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM {
            0 => More::Follows,
            _ => More::Ends,
        };
        if available == used {
            stream.begin_frame(&from);
        }
        let data = match used {
            0 => None,
            _ => Some(from.buffer().and_then(|buffer| buffer.bytes(used)).ok_or_else(no_memory)?),
        };
        let data = data.as_deref().and_then(|data| data.get(used.saturating_sub(available)..)).unwrap_or(&[]);
        let room = output.bytes_available() as usize;
        let done = {
            let mut bytes = to.buffer().and_then(|buffer| buffer.bytes_mut(room)).ok_or_else(no_memory)?;
            stream.conversion.convert(data, more, &mut bytes)
        };
        let (block_bytes, out_block_bytes) = (stream.input.block_bytes(), stream.output.block_bytes());
        stream.read_blocks += (done.read / block_bytes) as u64;
        let blocks = (done.written / out_block_bytes) as u64;
        // With room left there was nothing more to give.
        let is_drained = room - done.written >= out_block_bytes;
        let is_read = data.len() - done.read < block_bytes;
        let ends = is_read && is_drained && more == More::Ends;
        if blocks > 0 || ends || room < out_block_bytes {
            stream.describe(&to, blocks);
            stream.written_blocks += blocks;
            if ends {
                to.set_options_flags(to.options_flags() | KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
            }
            output.set_bytes_used(done.written as u32);
            output.terminate();
        }
        if is_read && (is_drained || more == More::Follows) {
            input.terminate();
        } else {
            // The last frame of a stream stays, by one byte, until all that was held back is given.
            input.set_bytes_used(done.read.min(available.saturating_sub(1)) as u32);
        }
        Ok(if ends { Step::End } else { Step::GoOn })
    }
}

/// What follows a step of the conversion.
enum Step {
    GoOn,
    Wait,
    End,
}

impl FilterInstance for Instance {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        let input = (pin == OUTPUT).then(|| self.format_of(INPUT)).flatten()?;
        let (low, high) = rates_from(input.sample_rate());
        let rates = low..=high.min(MAX_SAMPLE_RATE);
        let int = audio_format::kind_range(SampleKind::Int, MAX_CHANNELS, &(8..=32), &rates);
        let float = audio_format::kind_range(SampleKind::Float, MAX_CHANNELS, &(32..=64), &rates);
        Some(match input.sample_kind() {
            SampleKind::Int => vec![int, float],
            SampleKind::Float => vec![float, int],
        })
    }

    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        match pin {
            OUTPUT => audio_format::nearest(NAME, &self.needed_input()?, range, matching),
            _ => audio_format::intersect_sink(NAME, range, matching),
        }
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"));
        let asked = audio_format::parse(format).map_err(refuse)?;
        let other = self.format_of(if pin == OUTPUT { INPUT } else { OUTPUT });
        let Some(other) = other else { return Ok(()) };
        let (low, high) = rates_from(other.sample_rate());
        if !(low..=high).contains(&asked.sample_rate()) {
            let (one, other) = (asked.sample_rate(), other.sample_rate());
            return Err(refuse(format!("{one} and {other} samples a second are too far apart")));
        }
        Ok(())
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let framing = match pin.data_flow() {
            KsPinDataFlow::OUT => {
                let format = audio_format::parse(&pin.format()).map_err(|problem| {
                    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"))
                })?;
                let frame_bytes = FRAME_BYTES - FRAME_BYTES % format.block_bytes();
                Some(Framing { frames: 8, frame_bytes: frame_bytes as u32, alignment: 64 })
            }
            _ => None,
        };
        Ok(Arc::new(ConverterPin { framing, stream: self.stream.clone() }))
    }

    fn is_filter_centric(&self) -> bool {
        true
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let taken = self.stream.lock().take();
        let stream = match taken {
            Some(stream) => Ok(stream),
            None => audio_format::parse(&input.pin().format())
                .and_then(|from| audio_format::parse(&output.pin().format()).and_then(|to| Stream::new(&from, &to))),
        };
        let outcome = stream
            .map_err(|problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}")))
            .and_then(|mut stream| {
                let step = self.convert(pins, input, output, &mut stream)?;
                if !matches!(step, Step::End) {
                    *self.stream.lock() = Some(stream);
                }
                Ok(step)
            });
        match outcome {
            Ok(Step::Wait) => STATUS_PENDING,
            Ok(Step::GoOn | Step::End) => STATUS_SUCCESS,
            Err(refusal) => {
                output.pin().fail(refusal);
                STATUS_PENDING
            }
        }
    }
}

struct ConverterPin {
    framing: Option<Framing>,
    stream: SharedStream,
}

impl PinInstance for ConverterPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        self.framing
    }

    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        if to == KsState::STOP || from == KsState::STOP {
            let stream = self.stream.lock().take();
            drop(stream);
        }
        Ok(())
    }

    /// What the conversion holds back is of the stream before.
    fn reset(&self, pin: &Arc<Pin>) {
        if pin.reset_state() == KsReset::BEGIN {
            let _quiet = pin.filter().processing_mutex().map(RankedMutex::hold);
            let stream = self.stream.lock().take();
            drop(stream);
        }
    }
}
