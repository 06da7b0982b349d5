//! `test-microphone`: a sine, white noise or silence, live or as fast as it is taken.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_CAPTURE, KSNODETYPE_ADC, KSNODETYPE_MICROPHONE,
    KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID,
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, KsState, NtStatus, STATUS_BUFFER_TOO_SMALL,
    STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_PENDING,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, StreamFrame, Ticks, Time};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};

use crate::audio_format;
use crate::bridge::{self, Side};
use crate::live::{Beat, Pace};
use crate::media::FieldError;
use crate::media::audio::{AudioFormat, SampleKind};
use crate::media::tone::{Signal, Tone};
use crate::settings::{self, HasSettings, Setting, SettingError, Settings, Write, boolean, choice, number};

/// The name of the filter.
pub const NAME: &str = "test-microphone";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, Vec::new());
    pin.name = Some("Capture");
    pin.flags = PinFlags::PROCESS_IN_RUN_STATE_ONLY | PinFlags::IMPLEMENT_CLOCK;
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_CAPTURE];
    let dispatch = Arc::new(TestMicrophone(Arc::new(settings::automation::<Microphone>(SETTINGS))));
    let pins = vec![pin, bridge::pin(Side::Hearing, KSNODETYPE_MICROPHONE, "Test microphone")];
    let mut filter = FilterDescriptor::new(NAME, "Test microphone", &categories, pins, dispatch);
    filter.nodes = vec![KSNODETYPE_ADC];
    filter.connections = bridge::connections(Side::Hearing);
    filter
}

struct TestMicrophone(Arc<AutomationTable<Filter>>);

impl FilterDispatch for TestMicrophone {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let values = Values {
            rate: 48_000,
            channels: 2,
            sample: (SampleKind::Int, 16),
            kind: Kind::Sine,
            frequency_mhz: 997_000,
            level_db: crate::media::tone::DEFAULT_LEVEL_DB,
            seed: 1,
            live: true,
        };
        Ok(Arc::new(Microphone { settings: Settings::new(NAME, values), automation: self.0.clone() }))
    }
}

#[derive(Clone)]
struct Values {
    rate: u32,
    channels: u16,
    sample: (SampleKind, u16),
    kind: Kind,
    frequency_mhz: u64,
    level_db: f64,
    seed: u32,
    live: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sine,
    Noise,
    Silence,
}

const KINDS: &[(&str, Kind)] = &[("sine", Kind::Sine), ("noise", Kind::Noise), ("silence", Kind::Silence)];
const SAMPLES: &[(&str, (SampleKind, u16))] = &[
    ("u8", (SampleKind::Int, 8)),
    ("s16", (SampleKind::Int, 16)),
    ("s24", (SampleKind::Int, 24)),
    ("s32", (SampleKind::Int, 32)),
    ("f32", (SampleKind::Float, 32)),
    ("f64", (SampleKind::Float, 64)),
];

static SETTINGS: &[Setting<Values>] = &[
    Setting {
        name: "rate",
        kind: "number",
        default: "48000",
        help: "samples a second, 1000 to 768000",
        read: |values| values.rate.to_string(),
        write: Write::Value(|values, text| number(text, 1000..=768_000).map(|rate| values.rate = rate)),
    },
    Setting {
        name: "channels",
        kind: "number",
        default: "2",
        help: "1 to 8",
        read: |values| values.channels.to_string(),
        write: Write::Value(|values, text| number(text, 1..=8).map(|channels| values.channels = channels as u16)),
    },
    Setting {
        name: "format",
        kind: "u8|s16|s24|s32|f32|f64",
        default: "s16",
        help: "type of a sample: integer or float, and its bits",
        read: |values| name_of(SAMPLES, values.sample),
        write: Write::Value(|values, text| choice(text, SAMPLES).map(|sample| values.sample = sample)),
    },
    Setting {
        name: "signal",
        kind: "sine|noise|silence",
        default: "sine",
        help: "what is heard",
        read: |values| name_of(KINDS, values.kind),
        write: Write::Value(|values, text| choice(text, KINDS).map(|kind| values.kind = kind)),
    },
    Setting {
        name: "frequency",
        kind: "number",
        default: "997",
        help: "of the sine, in Hz, with up to three decimals, at most half the rate",
        read: |values| (values.frequency_mhz as f64 / 1000.0).to_string(),
        write: Write::Value(|values, text| {
            let frequency = decimal(text, 0.0..=384_000.0, "Hz")?;
            values.frequency_mhz = (frequency * 1000.0).round() as u64;
            Ok(())
        }),
    },
    Setting {
        name: "level",
        kind: "number",
        default: "-6",
        help: "of the peaks, in dB relative to full scale, 0 or less",
        read: |values| values.level_db.to_string(),
        write: Write::Value(|values, text| decimal(text, -200.0..=0.0, "dB").map(|level| values.level_db = level)),
    },
    Setting {
        name: "seed",
        kind: "number",
        default: "1",
        help: "which noise",
        read: |values| values.seed.to_string(),
        write: Write::Value(|values, text| number(text, 0..=u32::MAX).map(|seed| values.seed = seed)),
    },
    Setting {
        name: "live",
        kind: "true|false",
        default: "true",
        help: "samples come at their times, or as fast as they are taken",
        read: |values| values.live.to_string(),
        write: Write::Value(|values, text| boolean(text).map(|live| values.live = live)),
    },
];

fn name_of<T: PartialEq>(choices: &[(&str, T)], value: T) -> String {
    choices.iter().find(|(_, choice)| *choice == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

fn decimal(text: &str, range: std::ops::RangeInclusive<f64>, unit: &str) -> Result<f64, SettingError> {
    let parsed = text.parse().ok().filter(|value| range.contains(value));
    parsed.ok_or_else(|| SettingError::Expected(format!("a number from {} to {} {unit}", range.start(), range.end())))
}

impl Values {
    fn format(&self) -> Result<AudioFormat, FieldError> {
        match self.sample {
            (SampleKind::Int, bits) => AudioFormat::int(bits, self.channels, self.rate),
            (SampleKind::Float, bits) => AudioFormat::float(bits, self.channels, self.rate),
        }
    }

    fn tone(&self, format: &AudioFormat) -> Result<Tone, FieldError> {
        let signal = match self.kind {
            Kind::Sine => Signal::Sine { frequency_mhz: self.frequency_mhz },
            Kind::Noise => Signal::Noise { seed: self.seed.into() },
            Kind::Silence => Signal::Silence,
        };
        Tone::new(signal, self.level_db, format)
    }
}

struct Microphone {
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
}

impl HasSettings for Microphone {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

impl Microphone {
    fn format(&self) -> Result<AudioFormat, Refusal> {
        self.settings.values().format().map_err(|problem| no_match(problem.to_string()))
    }
}

impl FilterInstance for Microphone {
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        (pin == 0).then(|| self.format().iter().map(audio_format::exact_range).collect())
    }

    fn intersect(&self, pin: PinId, range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        bridge::refuse(NAME, pin)?;
        audio_format::intersect_source(NAME, &self.format()?, range)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let asked = audio_format::parse(format).map_err(no_match)?;
        let own = self.format()?;
        if asked.with_channel_mask(0) == own {
            return Ok(());
        }
        Err(no_match("the format asked for is not the one that is set; set rate, channels and format".into()))
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let values = self.settings.values();
        let format = self.format()?;
        let tone = values
            .tone(&format)
            .map_err(|problem| Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, format!("{NAME}: {problem}")))?;
        Ok(Arc::new(MicrophonePin { tone, live: values.live, beat: Beat::new(pin), stream: Mutex::new(None) }))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

fn no_match(problem: String) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"))
}

struct MicrophonePin {
    tone: Tone,
    live: bool,
    beat: Beat,
    /// Taken out while the pin processes, which the processing mutex keeps to one thread.
    stream: Mutex<Option<Stream>>,
}

/// What lives from ACQUIRE to STOP.
#[derive(Default)]
struct Stream {
    /// Counts packets of 10 ms.
    pace: Pace,
    /// The next block of the signal; it lies in the next packet.
    next_block: u64,
    /// Packets were dropped since the last one that was delivered.
    gap: bool,
}

/// What a live microphone needs itself: a frame that waits for its time, one that is under way, and one to spare. A pin that
/// may be slow to give frames back asks for more, as the writers do.
const LIVE_FRAMES: u32 = 3;
/// Where all frames are filled at once.
const FRAMES: u32 = 8;

/// Packets a second.
const PACKET_RATE: u64 = 100;
/// A packet's time.
const PACKET: Ticks = Ticks(Ticks::SECOND.0 / PACKET_RATE as i64);

impl MicrophonePin {
    /// The first block of a packet. Packets of rates that are no multiple of 100 differ by one block, so that they do
    /// not drift.
    fn packet_start(&self, packet: u64) -> u64 {
        let rate = u64::from(self.tone.format().sample_rate());
        if let Some(scaled) = packet.checked_mul(rate) {
            return scaled / PACKET_RATE;
        }
        u64::try_from(u128::from(packet) * u128::from(rate) / u128::from(PACKET_RATE)).unwrap_or(u64::MAX)
    }

    fn fill_frames(&self, pin: &Arc<Pin>, stream: &mut Stream) {
        // A packet can be had when its last sample was taken.
        let begin = |packet: u64| PACKET * i64::try_from(packet).unwrap_or(i64::MAX);
        let due = |packet: u64| begin(packet.saturating_add(1));
        // One look at the clock does for a turn: a packet that comes due while others are filled has the pin woken at once.
        let mut looked = None;
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if self.live {
                let now = *looked.get_or_insert_with(|| self.beat.time(pin, begin(stream.pace.next())));
                let missed = stream.pace.pass_missed(now, due);
                if missed > 0 {
                    stream.next_block = self.packet_start(stream.pace.next());
                    stream.gap = true;
                    pin.count_drops(missed);
                }
                let due = due(stream.pace.next());
                if due > now {
                    drop(frame);
                    if let Err(refusal) = self.beat.wake_at(pin, due) {
                        pin.fail(refusal);
                    }
                    return;
                }
            }
            if !self.fill(&frame, stream) {
                // The request of a client, with a buffer that no block fits into; the stream goes on.
                frame.set_status_code(STATUS_BUFFER_TOO_SMALL);
            }
            leading = frame.advance();
        }
        if self.live {
            stream.pace.starve(self.beat.time(pin, begin(stream.pace.next())));
        }
    }

    /// Fills a frame with the next packet, or what fits of it; false if not even one block does.
    fn fill(&self, frame: &StreamFrame, stream: &mut Stream) -> bool {
        let format = self.tone.format();
        let packet_end = self.packet_start(stream.pace.next() + 1);
        let packet_bytes = (packet_end - stream.next_block) as usize * format.block_bytes();
        let room = (frame.frame_extent() as usize).min(packet_bytes);
        let used = match frame.buffer().and_then(|buffer| buffer.bytes_mut(room)) {
            Some(mut bytes) => self.tone.fill(stream.next_block, &mut bytes),
            None => 0,
        };
        if used == 0 {
            return false;
        }
        let end = stream.next_block + (used / format.block_bytes()) as u64;
        let time = |block| Ticks(i64::try_from(format.block_time_100ns(block)).unwrap_or(i64::MAX));
        let (from, to) = (time(stream.next_block), time(end));
        let mut flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        if std::mem::take(&mut stream.gap) {
            flags |= KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY;
        }
        frame.set_presentation(Time((from + self.beat.origin()).0), to + -from);
        frame.set_options_flags(flags);
        frame.set_data_used(used as u32);
        stream.next_block = end;
        if end == packet_end {
            stream.pace.advance();
        }
        true
    }
}

impl PinInstance for MicrophonePin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        let format = self.tone.format();
        let packet_blocks = u64::from(format.sample_rate()).div_ceil(PACKET_RATE) as usize;
        let frames = if self.live { LIVE_FRAMES } else { FRAMES };
        Some(Framing { frames, frame_bytes: (packet_blocks * format.block_bytes()) as u32, alignment: 64 })
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.beat.set_state(pin, to, from)?;
        if to == KsState::ACQUIRE && from == KsState::STOP {
            *self.stream.lock() = Some(Stream::default());
        } else if to == KsState::STOP {
            *self.stream.lock() = None;
        }
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(mut stream) = self.stream.lock().take() else { return STATUS_PENDING };
        self.fill_frames(pin, &mut stream);
        *self.stream.lock() = Some(stream);
        STATUS_PENDING
    }
}
