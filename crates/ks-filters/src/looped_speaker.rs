//! `looped-speaker`: plays the cyclic buffer that it shares with its client, and writes what it played to a WAV file if
//! asked to. A device as a WaveRT driver has one: the sound goes on through a topology filter of the same device, behind a
//! bridge pin, where a node mutes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_REALTIME, KSCATEGORY_RENDER, KSCATEGORY_TOPOLOGY, KSNODETYPE_DAC, KSNODETYPE_MUTE,
    KSNODETYPE_SPEAKER, KSPROPERTY_AUDIO_MUTE, KSPROPSETID_Audio, KsPinDataFlow, KsState, KspNode,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, LoopedStream,
    Pin, PinId, PinInstance, PropertyCall, PropertyItem, PropertySet, looped_automation,
};

use crate::audio_format;
use crate::bridge::{self, Side};
use crate::looped::engine::{Engine, Sound};
use crate::looped::{self, HasQuirks, Quirks};
use crate::media::audio::AudioFormat;
use crate::media::wav::WavWriter;
use crate::settings::{self, HasSettings, Setting, Settings, Write, file_refusal};

/// The name of the filter, and of its device.
pub const NAME: &str = "looped-speaker";
/// The name of the topology filter on the same device.
pub const TOPOLOGY: &str = "looped-speaker-topology";

/// The most channels of a stream.
const CHANNELS: u32 = looped::MOST_CHANNELS as u32;
/// KSNODEPROPERTY_AUDIO_CHANNEL.Channel of all channels.
const ALL_CHANNELS: i32 = -1;

/// What both filters of the device say of themselves.
pub fn descriptors() -> Vec<FilterDescriptor> {
    let muted = Arc::new(Muted(AtomicU32::new(0)));
    let pins = vec![
        looped::pin(KsPinDataFlow::IN, "Playback"),
        bridge::pin(Side::Sound, KSCATEGORY_AUDIO, "Wire to the topology"),
    ];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_RENDER, KSCATEGORY_REALTIME];
    let mut automation = settings::automation::<Speaker>(SETTINGS);
    automation.properties.push(looped::wire(TOPOLOGY));
    let dispatch = Arc::new(LoopedSpeaker { muted: muted.clone(), automation: Arc::new(automation) });
    let mut wave = FilterDescriptor::new(NAME, "Looped speaker", &categories, pins, dispatch);
    wave.nodes = vec![KSNODETYPE_DAC];
    wave.connections = bridge::connections(Side::Sound);

    let pins = vec![
        bridge::pin(Side::Hearing, KSCATEGORY_AUDIO, "Wire from the converter"),
        bridge::pin(Side::Sound, KSNODETYPE_SPEAKER, "Looped speaker"),
    ];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_TOPOLOGY];
    let dispatch = Arc::new(TopologyDispatch(muted));
    let mut topology = FilterDescriptor::new(TOPOLOGY, "Looped speaker topology", &categories, pins, dispatch);
    topology.nodes = vec![KSNODETYPE_MUTE];
    topology.connections = bridge::connections(Side::Sound);
    vec![wave, topology]
}

/// The channels of the device that are not heard, one a bit.
#[derive(Debug)]
struct Muted(AtomicU32);

impl Muted {
    const ALL: u32 = (1 << CHANNELS) - 1;

    /// The bits of the channel that a request names: all, if it names none.
    fn channels(request: &[u8]) -> Option<u32> {
        let channel = request.get(size_of::<KspNode>()..).and_then(|rest| rest.first_chunk::<4>());
        match channel.map_or(ALL_CHANNELS, |bytes| i32::from_le_bytes(*bytes)) {
            ALL_CHANNELS => Some(Muted::ALL),
            channel => u32::try_from(channel).ok().filter(|channel| *channel < CHANNELS).map(|channel| 1 << channel),
        }
    }

    /// Silences whole blocks of samples.
    fn silence(&self, format: &AudioFormat, samples: &mut [u8]) {
        // Relaxed: which of two adjacent pieces hears a change first is no matter.
        let muted = self.0.load(Ordering::Relaxed);
        if muted == 0 {
            return;
        }
        let bytes = format.sample_bytes();
        // Samples of eight bits have no sign.
        let silence = if bytes == 1 { 0x80 } else { 0 };
        for block in samples.chunks_exact_mut(format.block_bytes()) {
            let heard = |channel: usize| muted & (1 << channel) == 0;
            let samples = block.chunks_exact_mut(bytes).enumerate();
            samples.filter(|(channel, _)| !heard(*channel)).for_each(|(_, sample)| sample.fill(silence));
        }
    }
}

struct LoopedSpeaker {
    muted: Arc<Muted>,
    automation: Arc<AutomationTable<Filter>>,
}

#[derive(Clone, Default)]
struct Values {
    path: Option<PathBuf>,
    quirks: Quirks,
}

impl HasQuirks for Values {
    fn quirks(&mut self) -> &mut Quirks {
        &mut self.quirks
    }

    fn quirks_now(&self) -> Quirks {
        self.quirks
    }
}

static SETTINGS: &[Setting<Values>] = &[
    Setting {
        name: "path",
        kind: "text",
        default: "",
        help: "a WAV file of what is played from RUN to STOP; one that exists is overwritten",
        read: |values| values.path.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        write: Write::Value(|values, text| {
            values.path = (!text.is_empty()).then(|| text.into());
            Ok(())
        }),
    },
    looped::notifications(),
    looped::sizes(),
    looped::registers(),
];

impl FilterDispatch for LoopedSpeaker {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(NAME, Values::default());
        Ok(Arc::new(Speaker { settings, automation: self.automation.clone(), muted: self.muted.clone() }))
    }
}

struct Speaker {
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
    muted: Arc<Muted>,
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
        looped::accept(NAME, format).map(drop)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = looped::accept(NAME, &pin.format())?;
        let Values { path, quirks } = self.settings.values();
        let sound = Box::new(Cone { path, format, file: None, muted: self.muted.clone() });
        Ok(SpeakerPin::create(pin, Engine::new(pin, format, quirks, sound)))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

/// A pin over an engine; the microphone has the same.
pub(crate) struct SpeakerPin {
    engine: Arc<Engine>,
    automation: AutomationTable<Pin>,
}

impl SpeakerPin {
    pub(crate) fn create(pin: &Arc<Pin>, engine: Arc<Engine>) -> Arc<SpeakerPin> {
        let stream: Arc<dyn LoopedStream> = engine.clone();
        let automation = looped_automation(pin.data_flow(), engine.looped(), &stream);
        Arc::new(SpeakerPin { engine, automation })
    }
}

impl PinInstance for SpeakerPin {
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.engine.set_state(pin, to, from)
    }

    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        Some(&self.automation)
    }

    fn close(&self, _pin: &Pin) {
        self.engine.close();
    }
}

/// Where the sound goes.
struct Cone {
    path: Option<PathBuf>,
    format: AudioFormat,
    file: Option<WavWriter>,
    muted: Arc<Muted>,
}

impl Sound for Cone {
    fn start(&mut self) -> Result<(), Refusal> {
        // Not on the way to ACQUIRE: clients acquire and stop once more before they close, and the file is to stay.
        if self.file.is_none()
            && let Some(path) = &self.path
        {
            self.file = Some(WavWriter::create(path, &self.format).map_err(|error| file_refusal(NAME, &error))?);
        }
        Ok(())
    }

    fn pass(&mut self, _first: u64, samples: &mut [u8]) -> Result<(), Refusal> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.muted.silence(&self.format, samples);
        file.write(samples).map_err(|error| file_refusal(NAME, &error))
    }

    fn stop(&mut self) -> Result<(), Refusal> {
        match self.file.take() {
            Some(file) => file.finish().map_err(|error| file_refusal(NAME, &error)),
            None => Ok(()),
        }
    }
}

struct TopologyDispatch(Arc<Muted>);

impl FilterDispatch for TopologyDispatch {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let (reader, writer) = (self.0.clone(), self.0.clone());
        let mute = PropertyItem::new(KSPROPERTY_AUDIO_MUTE)
            .request_bytes(size_of::<KspNode>())
            .data_bytes(4)
            .get(move |_: &Filter, call: &mut PropertyCall<'_>| match Muted::channels(call.request()) {
                Some(channels) => {
                    call.answer_value(&u32::from(reader.0.load(Ordering::Relaxed) & channels == channels))
                }
                None => call.refuse(no_such_channel()),
            })
            .set(move |_: &Filter, call: &mut PropertyCall<'_>| {
                match (Muted::channels(call.request()), call.data_as()) {
                    (None, _) => call.refuse(no_such_channel()),
                    (_, Err(status)) => status,
                    (Some(channels), Ok(0_u32)) => {
                        writer.0.fetch_and(!channels, Ordering::Relaxed);
                        STATUS_SUCCESS
                    }
                    (Some(channels), Ok(_)) => {
                        writer.0.fetch_or(channels, Ordering::Relaxed);
                        STATUS_SUCCESS
                    }
                }
            });
        let node = AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Audio, items: vec![mute] }]);
        Ok(Arc::new(looped::Topology { node }))
    }
}

fn no_such_channel() -> Refusal {
    let last = CHANNELS - 1;
    let reason = format!("{TOPOLOGY}: it mutes channels 0 to {last}, or all, which are {ALL_CHANNELS}");
    Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, reason)
}
