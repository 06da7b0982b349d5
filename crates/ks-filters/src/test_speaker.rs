//! `test-speaker`: takes audio as a loudspeaker does, at the pace of its samples or as fast as it comes, and throws it
//! away. A frame goes back when its last sample has been heard.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_RENDER, KSNODETYPE_DAC, KSNODETYPE_SPEAKER, KsPinDataFlow, KsState, NtStatus,
    STATUS_NO_MATCH, STATUS_PENDING,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, Ticks};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};

use crate::audio_format;
use crate::bridge::{self, Side};
use crate::live::Beat;
use crate::media::audio::{AudioFormat, SampleKind};
use crate::settings::{self, HasSettings, Setting, Settings, Write, boolean};

/// The name of the filter.
pub const NAME: &str = "test-speaker";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let ranges = vec![
        audio_format::kind_range(SampleKind::Int, 8, &(8..=32), &(8_000..=192_000)),
        audio_format::kind_range(SampleKind::Float, 8, &(32..=32), &(8_000..=192_000)),
    ];
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, ranges);
    pin.name = Some("Playback");
    pin.flags = PinFlags::RENDERER | PinFlags::IMPLEMENT_CLOCK;
    let pins = vec![pin, bridge::pin(Side::Sound, KSNODETYPE_SPEAKER, "Test speaker")];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_RENDER];
    let dispatch = Arc::new(TestSpeaker(Arc::new(settings::automation::<Speaker>(SETTINGS))));
    let mut filter = FilterDescriptor::new(NAME, "Test speaker", &categories, pins, dispatch);
    filter.nodes = vec![KSNODETYPE_DAC];
    filter.connections = bridge::connections(Side::Sound);
    filter
}

struct TestSpeaker(Arc<AutomationTable<Filter>>);

#[derive(Clone)]
struct Values {
    live: bool,
}

static SETTINGS: &[Setting<Values>] = &[Setting {
    name: "live",
    kind: "true|false",
    default: "true",
    help: "samples are heard at their times, or as fast as they come",
    read: |values| values.live.to_string(),
    write: Write::Value(|values, text| boolean(text).map(|live| values.live = live)),
}];

impl FilterDispatch for TestSpeaker {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Speaker { settings: Settings::new(NAME, Values { live: true }), automation: self.0.clone() }))
    }
}

struct Speaker {
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
}

impl HasSettings for Speaker {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

impl FilterInstance for Speaker {
    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        bridge::refuse(NAME, pin)?;
        audio_format::intersect_sink(NAME, range, matching)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let audio = audio_format::parse(format).map_err(no_match)?;
        if audio.channels() > 8 || !(8_000..=192_000).contains(&audio.sample_rate()) {
            return Err(no_match("it plays up to 8 channels at 8000 to 192000 samples a second".into()));
        }
        Ok(())
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = audio_format::parse(&pin.format()).map_err(no_match)?;
        let live = self.settings.values().live;
        Ok(Arc::new(SpeakerPin { format, live, beat: Beat::new(pin), playing: Mutex::default() }))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

fn no_match(problem: String) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"))
}

struct SpeakerPin {
    format: AudioFormat,
    live: bool,
    beat: Beat,
    playing: Mutex<Playing>,
}

/// Where the sound is, in stream time.
#[derive(Debug, Clone, Copy, Default)]
struct Playing {
    /// The end of the frame that is being heard.
    end: Option<Ticks>,
    /// The end of the frame before it, while no gap was between.
    silent_from: Option<Ticks>,
}

impl PinInstance for SpeakerPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        let packet_blocks = self.format.sample_rate().div_ceil(100) as usize;
        Some(Framing { frames: 8, frame_bytes: (packet_blocks * self.format.block_bytes()) as u32, alignment: 64 })
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.beat.set_state(pin, to, from)?;
        if to == KsState::ACQUIRE && from == KsState::STOP {
            *self.playing.lock() = Playing::default();
        }
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut playing = *self.playing.lock();
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if self.live && frame.data_used() > 0 {
                let now = self.beat.time(pin, playing.end.or(playing.silent_from).unwrap_or(Ticks(0)));
                let blocks = frame.data_used() as usize / self.format.block_bytes().max(1);
                let length = Ticks(i64::try_from(self.format.block_time_100ns(blocks as u64)).unwrap_or(i64::MAX));
                // A frame that finds silence is heard from now on, and one behind another from the other's end.
                let end = *playing.end.get_or_insert(playing.silent_from.unwrap_or(now) + length);
                if end > now {
                    if let Err(refusal) = self.beat.wake_at(pin, end) {
                        pin.fail(refusal);
                    }
                    *self.playing.lock() = playing;
                    return STATUS_PENDING;
                }
                playing = Playing { end: None, silent_from: Some(end) };
            }
            leading = frame.advance();
        }
        *self.playing.lock() = Playing::default();
        STATUS_PENDING
    }
}
