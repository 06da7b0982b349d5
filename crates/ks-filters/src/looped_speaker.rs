//! `looped-speaker`: plays the cyclic buffer that it shares with its client, and writes what it played to a WAV file if
//! asked to. A device as a WaveRT driver has one.

use std::path::PathBuf;
use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_REALTIME, KSCATEGORY_RENDER, KSNODETYPE_DAC, KSNODETYPE_SPEAKER, KsPinDataFlow,
    KsState,
};
use ks_io::Refusal;
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, LoopedStream,
    Pin, PinId, PinInstance, looped_automation,
};

use crate::audio_format;
use crate::bridge::{self, Side};
use crate::looped::engine::{Engine, Sound};
use crate::looped::{self, HasQuirks, Quirks};
use crate::media::audio::AudioFormat;
use crate::media::wav::WavWriter;
use crate::settings::{self, HasSettings, Setting, Settings, Write, file_refusal};

/// The name of the filter.
pub const NAME: &str = "looped-speaker";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pins = vec![
        looped::pin(KsPinDataFlow::IN, "Playback"),
        bridge::pin(Side::Sound, KSNODETYPE_SPEAKER, "Looped speaker"),
    ];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_RENDER, KSCATEGORY_REALTIME];
    let dispatch = Arc::new(LoopedSpeaker(Arc::new(settings::automation::<Speaker>(SETTINGS))));
    let mut filter = FilterDescriptor::new(NAME, "Looped speaker", &categories, pins, dispatch);
    filter.nodes = vec![KSNODETYPE_DAC];
    filter.connections = bridge::connections(Side::Sound);
    filter
}

struct LoopedSpeaker(Arc<AutomationTable<Filter>>);

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
        Ok(Arc::new(Speaker { settings: Settings::new(NAME, Values::default()), automation: self.0.clone() }))
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
        looped::accept(NAME, format).map(drop)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = looped::accept(NAME, &pin.format())?;
        let Values { path, quirks } = self.settings.values();
        let sound = Box::new(Cone { path, format, file: None });
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
        file.write(samples).map_err(|error| file_refusal(NAME, &error))
    }

    fn stop(&mut self) -> Result<(), Refusal> {
        match self.file.take() {
            Some(file) => file.finish().map_err(|error| file_refusal(NAME, &error)),
            None => Ok(()),
        }
    }
}
