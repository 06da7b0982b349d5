//! `looped-microphone`: fills the cyclic buffer that it shares with its client. What is heard comes from a topology filter of
//! the same device, behind a bridge pin, where a multiplexer chooses between a microphone and a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ks_abi::{
    KSCATEGORY_AUDIO, KSCATEGORY_CAPTURE, KSCATEGORY_REALTIME, KSCATEGORY_TOPOLOGY, KSFILTER_NODE, KSNODETYPE_ADC,
    KSNODETYPE_LINE_CONNECTOR, KSNODETYPE_MICROPHONE, KSNODETYPE_MUX, KSPROPERTY_AUDIO_MUX_SOURCE, KSPROPSETID_Audio,
    KsPinDataFlow, KsTopologyConnection, KspNode, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Pin, PinId,
    PinInstance, PropertyCall, PropertyItem, PropertySet,
};

use crate::audio_format;
use crate::bridge::{self, Side};
use crate::looped::engine::{Engine, Sound};
use crate::looped::{self, HasQuirks, Quirks};
use crate::looped_speaker::SpeakerPin;
use crate::media::tone::{DEFAULT_LEVEL_DB, Signal, Tone};
use crate::settings::{self, HasSettings, Setting, Settings};

/// The name of the filter, and of its device.
pub const NAME: &str = "looped-microphone";
/// The name of the topology filter on the same device.
pub const TOPOLOGY: &str = "looped-microphone-topology";

/// Input pin of the multiplexer and of the topology filter for the microphone.
const MICROPHONE: u32 = 1;
/// The same for the line.
const LINE: u32 = 2;

/// What both filters of the device say of themselves.
pub fn descriptors() -> Vec<FilterDescriptor> {
    let mux = Arc::new(Mux(AtomicU32::new(MICROPHONE)));
    let pins = vec![
        looped::pin(KsPinDataFlow::OUT, "Capture"),
        bridge::pin(Side::Hearing, KSCATEGORY_AUDIO, "Wire from the topology"),
    ];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_CAPTURE, KSCATEGORY_REALTIME];
    let mut automation = settings::automation::<Microphone>(SETTINGS);
    automation.properties.push(looped::wire(TOPOLOGY));
    let dispatch = Arc::new(LoopedMicrophone { mux: mux.clone(), automation: Arc::new(automation) });
    let mut wave = FilterDescriptor::new(NAME, "Looped microphone", &categories, pins, dispatch);
    wave.nodes = vec![KSNODETYPE_ADC];
    wave.connections = bridge::connections(Side::Hearing);

    let pins = vec![
        bridge::pin(Side::Sound, KSCATEGORY_AUDIO, "Wire to the converter"),
        bridge::pin(Side::Hearing, KSNODETYPE_MICROPHONE, "Looped microphone"),
        bridge::pin(Side::Hearing, KSNODETYPE_LINE_CONNECTOR, "Looped line"),
    ];
    let categories = [KSCATEGORY_AUDIO, KSCATEGORY_TOPOLOGY];
    let dispatch = Arc::new(TopologyDispatch(mux));
    let mut topology = FilterDescriptor::new(TOPOLOGY, "Looped microphone topology", &categories, pins, dispatch);
    topology.nodes = vec![KSNODETYPE_MUX];
    let input =
        |pin| KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: pin, to_node: 0, to_node_pin: pin };
    let output = KsTopologyConnection { from_node: 0, from_node_pin: 0, to_node: KSFILTER_NODE, to_node_pin: 0 };
    topology.connections = vec![input(MICROPHONE), input(LINE), output];
    vec![wave, topology]
}

/// What the multiplexer of the device passes: the number of its input pin.
#[derive(Debug)]
struct Mux(AtomicU32);

struct LoopedMicrophone {
    mux: Arc<Mux>,
    automation: Arc<AutomationTable<Filter>>,
}

#[derive(Clone, Default)]
struct Values {
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

static SETTINGS: &[Setting<Values>] = &[looped::notifications(), looped::sizes(), looped::registers()];

impl FilterDispatch for LoopedMicrophone {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(NAME, Values::default());
        Ok(Arc::new(Microphone { settings, automation: self.automation.clone(), mux: self.mux.clone() }))
    }
}

struct Microphone {
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
    mux: Arc<Mux>,
}

impl HasSettings for Microphone {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

impl FilterInstance for Microphone {
    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        bridge::refuse(NAME, pin)?;
        audio_format::intersect_sink(NAME, range, matching)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        looped::accept(NAME, format).map(drop)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = looped::accept(NAME, &pin.format())?;
        let tone = |signal| {
            Tone::new(signal, DEFAULT_LEVEL_DB, &format).map_err(|problem| {
                Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, format!("{NAME}: {problem}"))
            })
        };
        let air = Air {
            microphone: tone(Signal::SINE_997_HZ)?,
            line: tone(Signal::Noise { seed: 1 })?,
            mux: self.mux.clone(),
        };
        Ok(SpeakerPin::create(pin, Engine::new(pin, format, self.settings.values().quirks, Box::new(air))))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

/// Where the sound comes from: a tone of 997 Hz in front of the microphone, and noise on the line.
struct Air {
    microphone: Tone,
    line: Tone,
    mux: Arc<Mux>,
}

impl Sound for Air {
    fn start(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn pass(&mut self, first: u64, samples: &mut [u8]) -> Result<(), Refusal> {
        // Relaxed: which of two adjacent pieces hears a change first is no matter.
        let source = if self.mux.0.load(Ordering::Relaxed) == LINE { &self.line } else { &self.microphone };
        source.fill(first, samples);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
}

struct TopologyDispatch(Arc<Mux>);

impl FilterDispatch for TopologyDispatch {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let (reader, writer) = (self.0.clone(), self.0.clone());
        // ks-coverage: KSPROPERTY_AUDIO_MUX_SOURCE done test=a_host_captures_from_each_input_of_a_multiplexer
        let source = PropertyItem::new(KSPROPERTY_AUDIO_MUX_SOURCE)
            .request_bytes(size_of::<KspNode>())
            .data_bytes(4)
            .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer_value(&reader.0.load(Ordering::Relaxed)))
            .set(move |_: &Filter, call: &mut PropertyCall<'_>| match call.data_as::<u32>() {
                Ok(pin @ (MICROPHONE | LINE)) => {
                    writer.0.store(pin, Ordering::Relaxed);
                    STATUS_SUCCESS
                }
                Ok(pin) => {
                    let reason =
                        format!("{TOPOLOGY}: the multiplexer has inputs {MICROPHONE} and {LINE}, and no {pin}");
                    call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, reason))
                }
                Err(status) => status,
            });
        let node = AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Audio, items: vec![source] }]);
        Ok(Arc::new(looped::Topology { node }))
    }
}
