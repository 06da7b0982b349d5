//! The library as the commands use it: the only file that knows its types.

use ks_abi::{
    Guid, KSDATAFORMAT_SPECIFIER_VIDEOINFO2, KSDATAFORMAT_SUBTYPE_I420, KSDATAFORMAT_SUBTYPE_IYUV,
    KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SUBTYPE_RGB24, KSDATAFORMAT_SUBTYPE_RGB32, KSDATAFORMAT_SUBTYPE_UYVY,
    KSDATAFORMAT_SUBTYPE_YUY2, KSDATAFORMAT_TYPE_AUDIO, KSFILTER_NODE, KSINSTANCE_INDETERMINATE,
    KSPROPERTY_PIN_COMMUNICATION, KSPROPERTY_PIN_DATAFLOW, KSPROPERTY_TYPE_GET, KSPROPSETID_Pin,
    KsDataFormatVideoInfoHeader, KsDataFormatVideoInfoHeader2, KsPinCommunication, KsPinDataFlow, KsProperty,
    KsTopologyConnection, KspPin, NtStatus, STATUS_NOT_SUPPORTED,
};
use ks_broker::device_request::DeviceRequest;
use ks_broker::report::DriverReport;
use ks_broker::terminal::printable;
use ks_client::graph::capture::capture_one;
use ks_client::graph::excerpt::Excerpt;
use ks_client::graph::grammar::{self, Element, Graph};
use ks_client::graph::run::{ConnectionReport, ELEMENT_SETTINGS, GraphError, GraphRunner, Options, RunStatus};
use ks_client::{Agreed, Client, ClientError, DefaultLink, Filter, PinFactory, SetKind};
use ks_io::{Aspect, CancelCreates};
use ks_stream::{Hang, Watchdog};
use std::path::PathBuf;
use std::time::Duration;
use zerocopy::IntoBytes as _;

use crate::document::{
    Connection, FilterEntry, Gaps, InspectDocument, Instances, Latency, LeftBehind, Pin, Pipe, PipeNumber, RunDocument,
    Setting, Status, Topology, TopologyConnection,
};
use crate::drivers::{DriverArguments, Drivers};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::picture::{Layout, Lines, Picture};
use crate::progress::Progress;
use crate::{describe, drivers, output, suggest};

/// The engine in this process, with all built-in filters.
pub(crate) struct Engine {
    client: Client,
    drivers: Vec<Drivers>,
    /// Keeps the built-in drivers loaded.
    system: ks_filters::System,
    /// Over the callbacks of the built-in drivers.
    _watchdog: Option<Watchdog>,
}

/// How the drivers of files ended.
pub(crate) struct Ended {
    /// Of the command.
    pub(crate) failure: Option<Failure>,
    /// What they had not given back.
    pub(crate) left_behind: Vec<LeftBehind>,
    /// Of those that had ended before.
    pub(crate) reports: Vec<DriverReport>,
}

/// When a run ends at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) frames: Option<u64>,
    pub(crate) seconds: Option<f64>,
}

impl Engine {
    /// Starts the engine, for questions that end soon.
    pub(crate) fn boot() -> Result<Self, Failure> {
        Engine::start(None)
    }

    /// Starts the engine for streams. The filter of a built-in driver one of whose callbacks computes for longer than
    /// `limit` is given up by name; `None`: nobody watches. `stuck` is called where it is the main thread that computes,
    /// which does not come back.
    pub(crate) fn boot_watched(
        limit: Option<Duration>,
        stuck: impl Fn(&Failure) + Send + 'static,
    ) -> Result<Self, Failure> {
        let tell = move |hang: &Hang| {
            if hang.thread == u64::from(std::process::id()) {
                stuck(&Failure::job("go on with the graph", hang.reason.clone()));
            }
        };
        let watchdog = limit.map(|limit| Watchdog::telling(limit, tell)).transpose();
        Engine::start(watchdog.map_err(|error| Failure::job("start a thread to watch drivers", error.to_string()))?)
    }

    fn start(watchdog: Option<Watchdog>) -> Result<Self, Failure> {
        let system = ks_filters::system(ks_io::Services::real())
            .map_err(|error| Failure::job("start the engine", error.to_string()))?;
        Ok(Self { client: Client::new(system.session()), drivers: Vec::new(), system, _watchdog: watchdog })
    }

    /// Has a signal end opens that a driver holds, those that come later too.
    pub(crate) fn heed(&self, interrupt: &Interrupt) {
        let client = self.client.clone();
        interrupt.end_opens(move || client.cancel_creates(CancelCreates::FromNowOn));
    }

    /// Loads the driver files that a graph names.
    pub(crate) fn load_drivers(
        &mut self,
        graph: &mut Graph,
        text: &str,
        arguments: &DriverArguments,
    ) -> Result<(), Failure> {
        let elements: Vec<&mut Element> = graph.elements.iter_mut().filter(|one| one.is_driver_file()).collect();
        // With several files in one process, a refusal is of them all.
        let groups: Vec<Vec<&mut Element>> = match arguments.together {
            true if !elements.is_empty() => vec![elements],
            _ => elements.into_iter().map(|element| vec![element]).collect(),
        };
        for mut group in groups {
            let files: Vec<PathBuf> = group.iter().map(|element| PathBuf::from(&element.name)).collect();
            let at = group.first().map_or(0, |element| element.at);
            let links = self.load(&files, arguments).map_err(|failure| failure.at(place(text, at)))?;
            for (element, link) in group.iter_mut().zip(links) {
                element.opens = Some(link);
            }
        }
        Ok(())
    }

    /// The name by which a word opens a filter: a driver file is loaded for it.
    pub(crate) fn name_of(&mut self, word: &str, arguments: &DriverArguments) -> Result<String, Failure> {
        if !grammar::is_driver_file(word) {
            return Ok(word.to_owned());
        }
        let links = self.load(&[PathBuf::from(word)], arguments)?;
        Ok(links.into_iter().next().unwrap_or_else(|| word.to_owned()))
    }

    /// Symbolic links of the first filter of each file.
    fn load(&mut self, files: &[PathBuf], arguments: &DriverArguments) -> Result<Vec<String>, Failure> {
        let (drivers, filters) = Drivers::load(self.system.io(), &self.system.session(), files, arguments)?;
        self.drivers.push(drivers);
        Ok(filters.into_iter().map(|filter| filter.symbolic_link).collect())
    }

    /// Unloads the drivers of files. One that had ended before explains what failed, or is a failure of its own: its
    /// report is printed. What they left behind comes with it.
    pub(crate) fn unload(&mut self, failure: Option<Failure>) -> Ended {
        let unloaded: Vec<_> = self.drivers.drain(..).map(|drivers| drivers.unload()).collect();
        let (mut left_behind, mut reports, mut leak) = (Vec::new(), Vec::new(), None);
        for one in unloaded {
            for report in one.reports {
                output::complain(&report.to_string().trim_end());
                reports.push(report);
            }
            left_behind.extend(one.left_behind);
            leak = leak.or(one.failure);
        }
        let failure = match (failure, reports.first()) {
            (Some(failure), Some(report)) => {
                let why = format!("{} ({}: {})", failure.why, report.driver, report.kind);
                Some(Failure { why, ..failure })
            }
            (None, Some(report)) => Some(drivers::broken(report)),
            (failure, None) => failure.or(leak),
        };
        Ended { failure, left_behind, reports }
    }

    /// Sends a request of plug and play or power to the device of the driver whose file has this name.
    pub(crate) fn device_request(&self, name: &str, request: DeviceRequest) -> Result<(), NtStatus> {
        let answer = self.drivers.iter().find_map(|drivers| drivers.request(name, request));
        answer.unwrap_or(Err(STATUS_NOT_SUPPORTED))
    }

    /// Is there a filter of this name?
    pub(crate) fn has_filter(&self, name: &str) -> bool {
        self.client.find(name).is_some()
    }

    /// All filters, in the order of their names.
    pub(crate) fn filters(&self) -> Vec<FilterEntry> {
        let mut filters: Vec<FilterEntry> = Vec::new();
        for interface in self.client.interfaces(None) {
            let category = describe::guid(interface.category);
            match filters.iter_mut().find(|filter| filter.name == interface.reference) {
                Some(filter) => filter.categories.push(category),
                None => filters.push(FilterEntry {
                    name: interface.reference,
                    friendly_name: printable(&interface.friendly_name),
                    categories: vec![category],
                    symbolic_link: interface.symbolic_link,
                }),
            }
        }
        filters.sort_by(|a, b| a.name.cmp(&b.name));
        filters.iter_mut().for_each(|filter| filter.categories.sort());
        filters
    }

    /// All that can be said of a filter.
    pub(crate) fn inspect(&self, name: &str, pins: Pins) -> Result<InspectDocument, Failure> {
        let filter = self.open(name)?;
        let interface = self.client.find(name);
        let entry = interface.and_then(|interface| {
            self.filters().into_iter().find(|entry| entry.symbolic_link == interface.symbolic_link)
        });
        let entry = entry.or_else(|| self.filters().into_iter().find(|entry| entry.name == filter.name()));
        let failed = |error: ClientError| request_failure(&error);
        let topology = filter.topology().map_err(failed)?;
        let settings = filter.settings().map_err(failed)?.into_iter().map(|setting| Setting {
            name: printable(&setting.name),
            kind: printable(&setting.kind),
            default: printable(&setting.default),
            value: printable(&setting.value),
            help: printable(&setting.help),
        });
        Ok(InspectDocument {
            name: filter.name().to_owned(),
            friendly_name: entry.as_ref().map(|entry| entry.friendly_name.clone()).unwrap_or_default(),
            symbolic_link: entry.as_ref().map(|entry| entry.symbolic_link.clone()).unwrap_or_default(),
            categories: entry.map(|entry| entry.categories).unwrap_or_default(),
            pins: filter.pins().map_err(failed)?.iter().map(|one| answers(&filter, pin(one), pins)).collect(),
            topology: Topology {
                categories: topology.categories.iter().copied().map(describe::guid).collect(),
                nodes: topology.nodes.iter().copied().map(describe::guid).collect(),
                connections: topology.connections.iter().map(topology_connection).collect(),
            },
            settings: settings.collect(),
            properties: Self::items(filter.object(), SetKind::Property),
            methods: Self::items(filter.object(), SetKind::Method),
            events: Self::items(filter.object(), SetKind::Event),
        })
    }

    /// Whether an element offers data to whoever takes it, and takes none. One that cannot be opened is none.
    pub(crate) fn is_source(&self, element: &Element) -> bool {
        let Ok(filter) = self.client.open_by_name(element.opens.as_ref().unwrap_or(&element.name)) else {
            return false;
        };
        let Ok(count) = filter.pin_count() else { return false };
        let ask = |pin_id, id| {
            let property = KsProperty::new(KSPROPSETID_Pin, id, KSPROPERTY_TYPE_GET);
            let request = KspPin { property, pin_id, flags: 0 };
            filter.object().property_at::<u32>(request.as_bytes(), KSPROPSETID_Pin, id).ok()
        };
        // No connection is made of a bridge, or of what only describes itself.
        let connects = |pin_id: &u32| {
            let role = ask(*pin_id, KSPROPERTY_PIN_COMMUNICATION).map(KsPinCommunication);
            !matches!(role, Some(KsPinCommunication::BRIDGE | KsPinCommunication::NONE))
        };
        let mut flows = (0..count).filter(connects).map(|pin_id| ask(pin_id, KSPROPERTY_PIN_DATAFLOW)).peekable();
        flows.peek().is_some() && flows.all(|flow| flow == Some(KsPinDataFlow::OUT.0))
    }

    /// Whether the first two elements of a graph have a format in common. Where that cannot be told, the graph is left to
    /// say why.
    pub(crate) fn agrees(&self, graph: &Graph) -> bool {
        let open = |index: usize| {
            let element = graph.elements.get(index)?;
            let filter = self.client.open_by_name(element.opens.as_ref().unwrap_or(&element.name)).ok()?;
            for setting in element.settings.iter().filter(|setting| !ELEMENT_SETTINGS.contains(&setting.key.as_str())) {
                filter.set_setting(&setting.key, &setting.value).ok()?;
            }
            Some(filter)
        };
        let factory = |filter: &Filter, flow| filter.pins().ok()?.into_iter().find(|pin| pin.data_flow == flow);
        let Some((from, to)) = open(0).zip(open(1)) else { return true };
        let (Some(source), Some(sink)) = (factory(&from, KsPinDataFlow::OUT), factory(&to, KsPinDataFlow::IN)) else {
            return true;
        };
        from.intersect(source.id, &sink.data_ranges).is_ok() || to.intersect(sink.id, &source.data_ranges).is_ok()
    }

    /// Builds a graph, streams through it and takes it apart. What went over the connections up to a failure is in the
    /// document that comes with it.
    pub(crate) fn run(
        &self,
        graph: &Graph,
        text: &str,
        limits: Limits,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(Progress),
    ) -> (RunDocument, Option<Failure>) {
        let options = Options { frames: limits.frames, seconds: limits.seconds, ..Options::default() };
        let runner = match GraphRunner::build(&self.client, graph, options) {
            Ok(runner) => runner,
            Err(error) if interrupt.signal().is_some() && error.is_cancelled() => {
                return (RunDocument::interrupted(), None);
            }
            Err(error) => {
                let failure = graph_failure(&error, text);
                return (RunDocument::failed(&failure), Some(failure));
            }
        };
        let stop = runner.stop_handle();
        interrupt.on_signal(move || stop.stop());
        let report = runner.run(&mut |now| {
            progress(Progress {
                frames: now.frames,
                drops: now.drops,
                elapsed_ns: now.elapsed.as_nanos().max(0).cast_unsigned(),
            });
        });
        let failure = report.error.as_ref().map(|error| graph_failure(error, text));
        let document = RunDocument {
            status: match report.status {
                RunStatus::Completed => Status::Completed,
                RunStatus::Stopped => Status::Interrupted,
                RunStatus::Failed => Status::Failed,
            },
            pipes: pipes(&report.connections),
            connections: report.connections.into_iter().map(connection).collect(),
            clock: report.clock,
            clock_refused: report.clock_refused,
            elapsed_ns: report.elapsed_ns,
            left_behind: Vec::new(),
            reports: Vec::new(),
            error: failure.as_ref().map(Into::into),
        };
        (document, failure)
    }

    /// One frame of a video source.
    pub(crate) fn capture(&self, element: &Element, text: &str) -> Result<Picture, Failure> {
        let filter = self.open(element.opens.as_ref().unwrap_or(&element.name))?;
        for setting in &element.settings {
            filter.set_setting(&setting.key, &setting.value).map_err(|error| {
                let known =
                    filter.settings().map_or_else(|_| Vec::new(), |all| all.into_iter().map(|s| s.name).collect());
                let error = GraphError::Setting {
                    filter: filter.name().to_owned(),
                    key: setting.key.clone(),
                    value: setting.value.clone(),
                    at: setting.at,
                    known,
                    error,
                };
                graph_failure(&error, text)
            })?;
        }
        let doing = format!("take a picture of `{}`", element.name);
        let captured = capture_one(&filter).map_err(|error| match error {
            GraphError::Request(error) => Failure { doing: doing.clone(), ..request_failure(&error) },
            error => graph_failure(&error, text),
        })?;
        let bitmap = match captured.format.head().specifier {
            KSDATAFORMAT_SPECIFIER_VIDEOINFO2 => {
                captured.format.read::<KsDataFormatVideoInfoHeader2>().map(|video| video.video_info.bitmap)
            }
            _ => captured.format.read::<KsDataFormatVideoInfoHeader>().map(|video| video.video_info.bitmap),
        };
        let sub_format = captured.format.head().sub_format;
        let layout = bitmap.and_then(|bitmap| layout(sub_format, bitmap.height));
        let Some((bitmap, layout)) = bitmap.zip(layout) else {
            let why = format!(
                "it gives {}, and pictures are made of I420, NV12, YUY2, UYVY, RGB24 and RGB32",
                captured.format.describe()
            );
            return Err(Failure::job(doing, why));
        };
        Ok(Picture {
            width: bitmap.width.unsigned_abs(),
            height: bitmap.height.unsigned_abs(),
            layout,
            bytes: captured.bytes,
        })
    }

    /// The name by which a filter can be found again that takes audio, or why it is no default renderer.
    pub(crate) fn renderer(&self, name: &str) -> Result<String, Failure> {
        let doing = || format!("make `{name}` the default renderer");
        if DefaultLink::named(name).is_some() {
            return Err(Failure::usage(doing(), "it is a link itself"));
        }
        let filter = self.open(name)?;
        let takes_audio = |pin: &PinFactory| {
            let major = |range: &ks_client::Range| range.head().major_format;
            let audio = |major: Guid| major == KSDATAFORMAT_TYPE_AUDIO || major.is_null();
            let connects = !matches!(pin.communication, KsPinCommunication::BRIDGE | KsPinCommunication::NONE);
            connects && pin.data_flow == KsPinDataFlow::IN && pin.data_ranges.iter().map(major).any(audio)
        };
        let pins = filter.pins().map_err(|error| request_failure(&error))?;
        if !pins.iter().any(takes_audio) {
            return Err(Failure::usage(doing(), "no pin of it takes audio")
                .with_hint(format!("`ks inspect {}` shows its pins", filter.name())));
        }
        match self.client.find(name) {
            Some(interface) if !interface.reference.is_empty() => Ok(interface.reference),
            _ => Ok(filter.name().to_owned()),
        }
    }

    pub(crate) fn open(&self, name: &str) -> Result<Filter, Failure> {
        if DefaultLink::named(name).is_none() && self.client.find(name).is_none() {
            let known: Vec<String> = self.filters().into_iter().map(|filter| filter.name).collect();
            return Err(unknown_filter(name, &known));
        }
        self.client.open_by_name(name).map_err(|error| request_failure(&error))
    }
}

/// Whether pins are created to see what they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pins {
    Described,
    Created,
}

/// A pin factory with what a pin of it answers, where one can be created.
fn answers(filter: &Filter, pin: Pin, pins: Pins) -> Pin {
    let created = match pins {
        Pins::Created => filter.create_client_pin(pin.id).ok(),
        Pins::Described => None,
    };
    let items = |kind| created.as_ref().map_or_else(Vec::new, |pin| Engine::items(pin.object(), kind));
    Pin { properties: items(SetKind::Property), methods: items(SetKind::Method), events: items(SetKind::Event), ..pin }
}

fn pin(pin: &PinFactory) -> Pin {
    Pin {
        id: pin.id,
        name: pin.name.as_deref().map(printable),
        category: pin.category.map(describe::guid),
        data_flow: match pin.data_flow {
            KsPinDataFlow::IN => "in".into(),
            KsPinDataFlow::OUT => "out".into(),
            KsPinDataFlow(other) => other.to_string(),
        },
        communication: match pin.communication {
            KsPinCommunication::NONE => "none".into(),
            KsPinCommunication::SINK => "sink".into(),
            KsPinCommunication::SOURCE => "source".into(),
            KsPinCommunication::BOTH => "both".into(),
            KsPinCommunication::BRIDGE => "bridge".into(),
            KsPinCommunication(other) => other.to_string(),
        },
        interfaces: pin.interfaces.iter().copied().map(ks_abi::describe::interface).collect(),
        mediums: pin.mediums.iter().copied().map(ks_abi::describe::medium).collect(),
        formats: pin.data_ranges.iter().map(|range| range.describe_range()).collect(),
        instances: Instances {
            current: pin.instances.current_count,
            possible: Some(pin.instances.possible_count).filter(|count| *count != KSINSTANCE_INDETERMINATE),
        },
        ..Pin::default()
    }
}

fn topology_connection(connection: &KsTopologyConnection) -> TopologyConnection {
    let node = |node: u32| Some(node).filter(|node| *node != KSFILTER_NODE);
    TopologyConnection {
        from_node: node(connection.from_node),
        from_pin: connection.from_node_pin,
        to_node: node(connection.to_node),
        to_pin: connection.to_node_pin,
    }
}

/// The pipe sections that the connections belong to, each once.
fn pipes(connections: &[ConnectionReport]) -> Vec<Pipe> {
    let mut pipes: Vec<Pipe> = Vec::new();
    for report in connections.iter().map(|connection| &connection.pipe).filter(|pipe| !pipe.pins.is_empty()) {
        let number =
            |agreed: &Agreed| PipeNumber { what: agreed.what.clone(), value: agreed.value, by: agreed.by.clone() };
        let pipe = Pipe {
            pins: report.pins.clone(),
            allocator: report.agreed.iter().map(number).collect(),
            memory: report.memory.clone(),
            owner: report.owner.clone(),
            why: report.why.clone(),
            notes: report.notes.clone(),
        };
        if !pipes.contains(&pipe) {
            pipes.push(pipe);
        }
    }
    pipes
}

fn connection(report: ConnectionReport) -> Connection {
    let latency = |ns: u64| Some(ns).filter(|&ns| ns > 0);
    Connection {
        latency_ns: Latency { p50: latency(report.latency_p50_ns), p99: latency(report.latency_p99_ns) },
        from: report.from,
        to: report.to,
        interface: report.interface,
        medium: report.medium,
        format: report.format,
        allocator: report.allocator,
        frames: report.frames,
        bytes: report.bytes,
        copies: report.copies,
        dropped: report.dropped,
        gaps: report.looped.map(|looped| Gaps {
            count: looped.gaps,
            bytes: looped.gap_bytes,
            duration_ns: looped.gap_ns,
        }),
    }
}

fn layout(sub_format: Guid, height: i32) -> Option<Layout> {
    let lines = if height < 0 { Lines::TopDown } else { Lines::BottomUp };
    match sub_format {
        KSDATAFORMAT_SUBTYPE_I420 | KSDATAFORMAT_SUBTYPE_IYUV => Some(Layout::I420),
        KSDATAFORMAT_SUBTYPE_NV12 => Some(Layout::Nv12),
        KSDATAFORMAT_SUBTYPE_YUY2 => Some(Layout::Yuy2),
        KSDATAFORMAT_SUBTYPE_UYVY => Some(Layout::Uyvy),
        KSDATAFORMAT_SUBTYPE_RGB24 => Some(Layout::Bgr24(lines)),
        KSDATAFORMAT_SUBTYPE_RGB32 => Some(Layout::Bgr32(lines)),
        _ => None,
    }
}

fn graph_failure(error: &GraphError, text: &str) -> Failure {
    let failure = |doing: String, why: String| match error.is_usage() {
        true => Failure::usage(doing, why),
        false => Failure::job(doing, why),
    };
    match error {
        GraphError::UnknownFilter { name, at, known } => unknown_filter(name, known).at(place(text, *at)),
        GraphError::DriverFile { name, at } => {
            failure(format!("open the driver file `{name}`"), "it was not loaded".into()).at(place(text, *at))
        }
        GraphError::Setting { filter, key, value, at, known, error } => {
            let hint = match known.contains(key) || ELEMENT_SETTINGS.contains(&key.as_str()) {
                true => None,
                false => suggest::did_you_mean(key, known.iter().map(String::as_str).chain(ELEMENT_SETTINGS)),
            };
            let why = without_name(error.reason(), filter);
            let failure = failure(format!("set `{key}={value}` of {filter}"), why).at(place(text, *at));
            match hint {
                Some(hint) => failure.with_hint(hint),
                None if ELEMENT_SETTINGS.contains(&key.as_str()) => failure.with_hint("`ks help run` explains it"),
                None if error.status == ks_abi::STATUS_INVALID_PARAMETER => {
                    failure.with_hint(format!("`ks inspect {filter}` lists its settings and what they take"))
                }
                None => failure,
            }
        }
        GraphError::Pin { filter, at, reason } => failure(format!("find the pin of {filter}"), reason.clone())
            .at(place(text, *at))
            .with_hint(format!("`ks inspect {filter}` shows its pins")),
        GraphError::Connect { from, to, error } => Failure {
            doing: format!("connect {from} to {to}"),
            hint: match error.aspect() {
                Some(Aspect::File | Aspect::Device) => None,
                Some(Aspect::Setting) => Some("`ks inspect` lists the settings of a filter".into()),
                Some(Aspect::Interface) if error.reason().contains("looped") => {
                    Some("`audio-converter` between them takes the sound of the one and gives it to the other".into())
                }
                _ => Some("`ks inspect` shows what the pins of a filter offer and take".into()),
            },
            ..request_failure(error)
        },
        GraphError::Unconnected { filter, at } => {
            failure("build the graph".into(), format!("{filter} is connected to nothing"))
                .at(place(text, *at))
                .with_hint("link it to another filter with `!`")
        }
        GraphError::Stream { pin, reason, .. } => {
            let filter = pin.rsplit_once('.').map_or(pin.as_str(), |(filter, _)| filter);
            failure(format!("stream through {pin}"), without_name(reason.clone(), filter))
        }
        GraphError::Request(error) => request_failure(error),
    }
}

fn unknown_filter(name: &str, known: &[String]) -> Failure {
    if name == "audio-reader" {
        // It is there with the feature only.
        return Failure::usage(format!("open the filter `{name}`"), "this `ks` was built without it")
            .with_hint(crate::media_file::FEATURE);
    }
    let hint = suggest::did_you_mean(name, known.iter().map(String::as_str));
    Failure::usage(format!("open the filter `{name}`"), "there is none of this name")
        .with_hint(hint.map_or("`ks list` shows the filters there are".into(), |hint| hint + " `ks list` shows all"))
}

/// A setting that is missing or does not fit is the fault of the request; the rest is that of the work.
pub(crate) fn request_failure(error: &ClientError) -> Failure {
    let doing = format!("{} of {}", error.doing, error.object);
    let why = without_name(error.reason(), &error.object);
    match error.aspect() {
        Some(Aspect::Setting) => Failure::usage(doing, why),
        // Only a default link is opened by a name that was not looked up before.
        Some(Aspect::Name) if DefaultLink::named(&error.object).is_some() => Failure::usage(doing, why)
            .with_hint("`ks default show` shows where the links lead, `ks default set` changes it"),
        _ => Failure::job(doing, why),
    }
}

/// A reason as it stands behind the name of who gives it.
fn without_name(reason: String, name: &str) -> String {
    reason.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).map(str::to_owned).unwrap_or(reason)
}

/// The word of the text that starts at this byte.
fn place(text: &str, at: usize) -> Excerpt {
    let word = text.get(at..).and_then(|rest| rest.split_whitespace().next()).unwrap_or("");
    Excerpt::new(text, at..at.saturating_add(word.len()))
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
