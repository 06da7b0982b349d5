//! Building a graph from its text's parts, and taking it through its states.

use super::clock;
pub use super::element::ELEMENT_SETTINGS;
use super::element::{self, limit_of};
pub use super::error::GraphError;
use super::looped::{self, Pump};
use super::negotiate::{self, Connected};
use super::order::{connect_order, has_outputs};
use super::spec::{Element, Graph, PinRef};
use crate::client::Client;
use crate::default_links::DefaultLink;
use crate::error::ClientError;
use crate::filter::{Filter, PinFactory};
use crate::format::Format;
use crate::pin::{PinEvent, SharedEvent};
use crate::pipe_report::PipeReport;
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KsPinCommunication, KsPinDataFlow, KsState,
    STATUS_DEVICE_REMOVED, STATUS_INVALID_DEVICE_REQUEST, USERKS_EVENT_PIN_FAILED, USERKS_EVENTSET_PIN, describe,
};
use ks_io::{Event, Ticks, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a run ends although its sources would go on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Options {
    /// At so many frames at each last pin.
    pub frames: Option<u64>,
    /// At so much presentation time at each last pin, in seconds.
    pub seconds: Option<f64>,
    /// How much sound the buffer of a looped pin holds; `None`: two seconds.
    pub cycle: Option<Ticks>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Frames that have reached the last pins (the most of them).
    pub frames: u64,
    /// Frames dropped so far, over all pins.
    pub drops: u64,
    /// Time since the run started.
    pub elapsed: Ticks,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// The stream came to its end at every last pin.
    Completed,
    /// [`StopHandle::stop`] ended it; what was written is whole.
    Stopped,
    /// Streaming failed.
    Failed,
}

/// What went over the connections.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it ended.
    pub status: RunStatus,
    /// Why it failed.
    pub error: Option<GraphError>,
    /// The connections in the order of the text.
    pub connections: Vec<ConnectionReport>,
    /// The pin whose clock the graph went by, `filter.pin`; `None`: no pin has one.
    pub clock: Option<String>,
    /// Pins that do not go by it, each with the reason.
    pub clock_refused: Vec<String>,
    /// Time in RUN.
    pub elapsed_ns: u64,
}

/// What went over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The data source, `filter.pin`.
    pub from: String,
    /// The data sink.
    pub to: String,
    /// Interface.
    pub interface: String,
    /// Medium.
    pub medium: String,
    /// Format.
    pub format: String,
    /// Frames and bytes of the allocator, `8 x 1382400`; `-` where the frames are those of whoever sends the requests.
    pub allocator: String,
    /// The pipe section that the source's frames go through.
    pub pipe: PipeReport,
    /// Frames with data that reached the sink.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames whose bytes the engine copied.
    pub copies: u64,
    /// Frames that the source could not deliver in time.
    pub dropped: u64,
    /// Median latency from source to sink.
    pub latency_p50_ns: u64,
    /// Latency that 99 of 100 frames stay below.
    pub latency_p99_ns: u64,
    /// Of a connection with a looped pin, whose other end is this client: where sound was late.
    pub looped: Option<LoopedReport>,
}

/// Where the sound of a looped pin has gaps: the client was late, or what is at the other pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopedReport {
    /// How many there are.
    pub gaps: u64,
    /// Their bytes: of a render pin those that were played and are no sound, of a capture pin those that were lost.
    pub gap_bytes: u64,
    /// The same, as time.
    pub gap_ns: u64,
}

/// Stops a run from another thread. A clone stops the same run.
#[derive(Debug, Clone)]
pub struct StopHandle {
    asked: Arc<AtomicBool>,
    wake: Event,
}

impl StopHandle {
    /// Asks the run to end now. It still finishes its files.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.wake.set();
    }
}

/// A graph whose filters are open and connected.
///
/// Fields are dropped in order: source pins before sink pins, pins before their filters.
#[derive(Debug)]
pub struct GraphRunner {
    connections: Vec<Connected>,
    /// Ends of the stream at the last pins, by index of the connection.
    ends: Vec<(usize, PinEvent)>,
    filters: Vec<Filter>,
    wake: SharedEvent,
    asked: Arc<AtomicBool>,
    client: Client,
}

/// How often progress is told, in 100-ns units.
const PROGRESS_INTERVAL: Ticks = Ticks::from_millis(100);

impl GraphRunner {
    /// Opens the filters, sets what the text sets, and connects pin to pin.
    pub fn build(client: &Client, graph: &Graph, options: Options) -> Result<GraphRunner, GraphError> {
        // Before a file is opened, for writers overwrite theirs.
        let limits = graph.elements.iter().map(limit_of).collect::<Result<Vec<_>, _>>()?;
        let filters = open_filters(client, graph)?;
        let wake = SharedEvent::new(client.transport())?;
        let order = connect_order(graph);
        let mut taken: Vec<Vec<u32>> = vec![Vec::new(); filters.len()];
        let mut made: Vec<Option<Connected>> = graph.links.iter().map(|_| None).collect();
        let mut arriving: Vec<Option<Format>> = vec![None; filters.len()];
        for index in order {
            let link = &graph.links[index];
            let (from, to) = (&filters[link.from.element], &filters[link.to.element]);
            let source = choose(from, &link.from, KsPinDataFlow::OUT, &taken[link.from.element])?;
            let sink = choose(to, &link.to, KsPinDataFlow::IN, &taken[link.to.element])?;
            taken[link.from.element].push(source.id);
            taken[link.to.element].push(sink.id);
            let (source, sink, arriving_here) = ((from, &source), (to, &sink), arriving[link.from.element].as_ref());
            // What the looped end of a link says goes first; a link has one at most.
            let cycle = limits[link.from.element].cycle.or(limits[link.to.element].cycle).or(options.cycle);
            let cycle = cycle.unwrap_or(looped::CYCLE);
            let connected = match looped::connect(source, sink, arriving_here, &wake, cycle) {
                Some(connected) => connected?,
                None => negotiate::connect(source.0, source.1, sink.0, sink.1, arriving_here)?,
            };
            connected.source.tell_name(from.name());
            connected.sink.tell_name(to.name());
            arriving[link.to.element].get_or_insert_with(|| connected.format.clone());
            made[index] = Some(connected);
        }
        let connections: Vec<Connected> = made.into_iter().flatten().collect();
        if let Some((index, element)) = graph.elements.iter().enumerate().find(|(index, _)| taken[*index].is_empty()) {
            return Err(GraphError::Unconnected { filter: filters[index].name().to_string(), at: element.at });
        }
        element::refuse_idle_cycles(graph, &limits, |link| connections[link].looped.is_some())?;
        let mut runner = GraphRunner {
            connections,
            ends: Vec::new(),
            filters,
            wake,
            asked: Arc::new(AtomicBool::new(false)),
            client: client.clone(),
        };
        runner.set_limits(graph, &limits, options)?;
        runner.watch(graph)?;
        Ok(runner)
    }

    /// Stops this run from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { asked: self.asked.clone(), wake: self.wake.event.clone() }
    }

    /// The pin names and formats that were agreed on, before anything runs.
    pub fn describe(&self) -> Vec<String> {
        let words = |one: &Connected| format!("{} ! {}: {}", one.source.name(), one.sink.name(), one.format.describe());
        self.connections.iter().map(words).collect()
    }

    /// Takes the graph through STOP, ACQUIRE, PAUSE, RUN and back, and tells progress on the way.
    pub fn run(&self, progress: &mut dyn FnMut(&Progress)) -> Report {
        let services = self.client.transport().services().clone();
        let mut pumps: Vec<Option<Pump<'_>>> = self.connections.iter().map(|one| Pump::of(one, &self.wake)).collect();
        let mut started = services.now();
        let master = clock::elect(&self.connections);
        let mut failure = None;
        let mut highest = KsState::STOP;
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            highest = state;
            if state == KsState::RUN {
                started = services.now();
            }
            if let Err(error) = self.set_state(state) {
                failure = Some(GraphError::Request(error));
                break;
            }
        }
        let mut status = RunStatus::Failed;
        if failure.is_none() {
            (status, failure) = self.stream(started, &mut pumps, progress);
        }
        let elapsed = services.now().since(started);
        // A pin that could not follow is not asked to go up again.
        let below = |state: &KsState| state.0 < highest.0;
        for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP].into_iter().filter(below) {
            // On the way down every pin is asked, whatever the others say.
            if let Err(error) = self.set_state_down(state)
                && failure.is_none()
                && status != RunStatus::Failed
            {
                status = RunStatus::Failed;
                failure = Some(GraphError::Request(error));
            }
        }
        if failure.is_none()
            && let Some(late) = self.failure()
        {
            // A file that could not be finished shows only now.
            status = RunStatus::Failed;
            failure = Some(late);
        }
        if master.is_some() {
            clock::release(&self.connections);
        }
        let (clock, clock_refused) = master.map(|master| (master.pin, master.refused)).unzip();
        let clock_refused = clock_refused.unwrap_or_default();
        progress(&self.progress(elapsed, &pumps));
        let connections = self.connections.iter().zip(&pumps).map(|(one, pump)| report(one, pump.as_ref())).collect();
        let elapsed_ns = elapsed.as_nanos().max(0).cast_unsigned();
        Report { status, error: failure, connections, clock, clock_refused, elapsed_ns }
    }

    fn stream(
        &self,
        started: Time,
        pumps: &mut [Option<Pump<'_>>],
        progress: &mut dyn FnMut(&Progress),
    ) -> (RunStatus, Option<GraphError>) {
        let services = self.client.transport().services();
        loop {
            if let Some(failure) = self.failure() {
                return (RunStatus::Failed, Some(failure));
            }
            if self.asked.load(Ordering::SeqCst) {
                return (RunStatus::Stopped, None);
            }
            let mut until = services.now() + PROGRESS_INTERVAL;
            for pump in pumps.iter_mut().flatten() {
                match pump.step(services.now()) {
                    Ok(again) => until = again.map_or(until, |again| until.min(again)),
                    // What the pin says of itself says more.
                    Err(error) => return (RunStatus::Failed, Some(self.failure().unwrap_or(error))),
                }
            }
            if self.has_ended(pumps) {
                return (RunStatus::Completed, None);
            }
            progress(&self.progress(services.now().since(started), pumps));
            let _ = self.wake.event.wait_until(until);
            self.wake.event.clear();
        }
    }

    /// Sinks first on the way up: a source that streams finds its sink ready. A looped pin that renders runs when there is
    /// sound in its buffer.
    fn set_state(&self, state: KsState) -> Result<(), ClientError> {
        for one in self.connections.iter().rev() {
            if state != KsState::RUN || !one.plays_looped() {
                one.sink.set_state(state)?;
            }
            one.source.set_state(state)?;
        }
        Ok(())
    }

    /// Sources first on the way down: nothing is sent to a sink that is down already.
    fn set_state_down(&self, state: KsState) -> Result<(), ClientError> {
        let mut first = Ok(());
        for one in &self.connections {
            for pin in [&one.source, &one.sink] {
                let outcome = pin.set_state(state);
                if first.is_ok() {
                    first = outcome;
                }
            }
        }
        first
    }

    fn has_ended(&self, pumps: &[Option<Pump<'_>>]) -> bool {
        let mut ends = self.ends.iter().map(|(_, end)| end.event().is_set());
        let mut played = pumps.iter().flatten().filter_map(Pump::has_ended).peekable();
        (!self.ends.is_empty() || played.peek().is_some()) && ends.all(|end| end) && played.all(|end| end)
    }

    fn failure(&self) -> Option<GraphError> {
        for one in &self.connections {
            for pin in [&one.source, &one.sink] {
                if let Some((status, reason)) = pin.failure() {
                    return Some(GraphError::Stream { pin: pin.name().to_string(), status, reason });
                }
                if let Err(error) = pin.statistics()
                    && error.status == STATUS_DEVICE_REMOVED
                {
                    let reason = "the device was removed".to_string();
                    return Some(GraphError::Stream { pin: pin.name().to_string(), status: error.status, reason });
                }
            }
        }
        None
    }

    fn progress(&self, elapsed: Ticks, pumps: &[Option<Pump<'_>>]) -> Progress {
        let mut progress = Progress { elapsed, ..Progress::default() };
        for (one, pump) in self.connections.iter().zip(pumps) {
            if let Some(pump) = pump {
                progress.frames = progress.frames.max(pump.counted().frames);
                progress.drops += pump.counted().gaps;
            }
            if let Ok(counters) = one.sink.statistics() {
                progress.frames = progress.frames.max(counters.frames);
            }
            if let Ok(counters) = one.source.statistics() {
                progress.drops += counters.dropped;
            }
        }
        progress
    }

    /// `frames` and `seconds` of an element count at its pins; the run's own count at each last pin.
    ///
    /// A connection with a looped pin ends to the byte, for all that its two pins are told.
    fn set_limits(&mut self, graph: &Graph, limits: &[Options], options: Options) -> Result<(), GraphError> {
        let has_outputs = has_outputs(graph);
        for (link, one) in graph.links.iter().zip(&mut self.connections) {
            if let Some(looped) = &mut one.looped {
                let last = if has_outputs[link.to.element] { Options::default() } else { options };
                let ends = [limits[link.from.element], limits[link.to.element], last];
                looped.set_limit(ends.into_iter().fold(Options::default(), |limit, one| Options {
                    frames: tighter(limit.frames, one.frames),
                    seconds: tighter(limit.seconds, one.seconds),
                    cycle: None,
                }));
                continue;
            }
            for (element, pin) in [(link.from.element, &one.source), (link.to.element, &one.sink)] {
                let mut limit = Options { cycle: None, ..limits[element] };
                let last = std::ptr::eq(pin, &one.sink) && !has_outputs[link.to.element];
                if last {
                    limit.frames = tighter(limit.frames, options.frames);
                    limit.seconds = tighter(limit.seconds, options.seconds);
                }
                if limit != Options::default() {
                    let time_100ns = limit.seconds.map_or(0, |seconds| (seconds * 1e7).round() as i64);
                    pin.set_limit(limit.frames.unwrap_or(0), time_100ns)?;
                }
            }
        }
        Ok(())
    }

    /// Enables the events of failures, and of the end at each last pin.
    fn watch(&mut self, graph: &Graph) -> Result<(), GraphError> {
        let has_outputs = has_outputs(graph);
        for (index, (link, one)) in graph.links.iter().zip(&self.connections).enumerate() {
            for pin in [&one.source, &one.sink] {
                pin.enable_event_on(&self.wake, USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED)?;
                match pin.measure_latency() {
                    // A pin of a private wire: no frame of it passes the engine.
                    Err(error) if error.status == STATUS_INVALID_DEVICE_REQUEST => {}
                    outcome => outcome?,
                }
            }
            if !has_outputs[link.to.element] && !one.plays_looped() {
                let (set, id) = (KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM);
                // Before the wake-up, which is raised after it: who wakes must find the end.
                self.ends.push((index, one.sink.enable_event(set, id)?));
                one.sink.enable_event_on(&self.wake, set, id)?;
            }
        }
        Ok(())
    }

    /// The open filters, in the order of the text.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }
}

impl Drop for GraphRunner {
    fn drop(&mut self) {
        for one in &self.connections {
            if let Some(looped) = &one.looped {
                looped.release(one.looped_pin(), &self.wake);
            }
        }
    }
}

fn tighter<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn open_filters(client: &Client, graph: &Graph) -> Result<Vec<Filter>, GraphError> {
    let mut filters = Vec::new();
    for element in &graph.elements {
        if element.is_driver_file() && element.opens.is_none() {
            return Err(GraphError::DriverFile { name: element.name.clone(), at: element.at });
        }
        let name = element.opens.as_ref().unwrap_or(&element.name);
        if DefaultLink::named(name).is_some() {
            // The error says where the link leads.
            client.named(name)?;
        }
        let Some(interface) = client.find(name) else {
            let mut known: Vec<String> = client.interfaces(None).into_iter().map(|one| one.reference).collect();
            known.sort();
            known.dedup();
            return Err(GraphError::UnknownFilter { name: element.name.clone(), at: element.at, known });
        };
        let mut filter = client.open(&interface.symbolic_link)?;
        if let Some(name) = name_of_its_own(&filters, filter.name(), element) {
            filter.rename(name);
        }
        for setting in element.settings.iter().filter(|setting| !ELEMENT_SETTINGS.contains(&setting.key.as_str())) {
            if let Err(error) = filter.set_setting(&setting.key, &setting.value) {
                let known =
                    filter.settings().map_or_else(|_| Vec::new(), |all| all.into_iter().map(|s| s.name).collect());
                return Err(GraphError::Setting {
                    filter: filter.name().to_string(),
                    key: setting.key.clone(),
                    value: setting.value.clone(),
                    at: setting.at,
                    known,
                    error,
                });
            }
        }
        filters.push(filter);
    }
    Ok(filters)
}

/// What to call a filter whose name another one of the graph has already: by its label, or by a number.
fn name_of_its_own(others: &[Filter], name: &str, element: &Element) -> Option<String> {
    let is_taken = |wanted: &str| others.iter().any(|other| other.name() == wanted);
    if !is_taken(name) {
        return None;
    }
    let labelled = element.label.iter().map(|label| format!("{name} {label}"));
    let numbered = (2_usize..).map(|number| format!("{name}-{number}"));
    labelled.chain(numbered).find(|wanted| !is_taken(wanted))
}

fn choose(filter: &Filter, wanted: &PinRef, data_flow: KsPinDataFlow, taken: &[u32]) -> Result<PinFactory, GraphError> {
    let pins = filter.pins()?;
    let direction = if data_flow == KsPinDataFlow::OUT { "output" } else { "input" };
    let error = |reason: String| GraphError::Pin { filter: filter.name().to_string(), at: wanted.at, reason };
    let listed = || {
        let words = |pin: &PinFactory| {
            format!("{}.{} ({})", filter.name(), pin.id, if pin.data_flow == KsPinDataFlow::OUT { "out" } else { "in" })
        };
        pins.iter().map(words).collect::<Vec<_>>().join(", ")
    };
    if let Some(id) = wanted.pin {
        return match pins.iter().find(|pin| pin.id == id) {
            None => Err(error(format!("{} has no pin {id}; it has: {}", filter.name(), listed()))),
            Some(pin) if pin.data_flow != data_flow => {
                Err(error(format!("{}.{id} is no {direction}; the pins are: {}", filter.name(), listed())))
            }
            Some(pin) => Ok(pin.clone()),
        };
    }
    let free = |pin: &&PinFactory| {
        let full = pin.instances.current_count >= pin.instances.possible_count;
        pin.data_flow == data_flow && !full && (!taken.contains(&pin.id) || pin.instances.possible_count > 1)
    };
    let is_wire = |pin: &&PinFactory| pin.data_flow == data_flow && pin.communication == KsPinCommunication::BRIDGE;
    match pins.iter().find(free) {
        Some(pin) => Ok(pin.clone()),
        None if pins.iter().any(|pin| is_wire(&pin))
            && !pins.iter().any(|pin| pin.data_flow == data_flow && !is_wire(&pin)) =>
        {
            let reason = format!(
                "{}: each {direction} of it is a bridge, where sound goes on by a wire and no stream",
                filter.name()
            );
            Err(error(format!("{reason}; its pins are: {}", listed())))
        }
        None => Err(error(format!("{} has no free {direction}; its pins are: {}", filter.name(), listed()))),
    }
}

fn report(one: &Connected, pump: Option<&Pump<'_>>) -> ConnectionReport {
    let sink = one.sink.statistics().unwrap_or_default();
    let source = one.source.statistics().unwrap_or_default();
    let carried = pump.map(Pump::counted).unwrap_or_default();
    ConnectionReport {
        from: one.source.name().to_string(),
        to: one.sink.name().to_string(),
        interface: describe::interface(one.interface),
        medium: describe::medium(one.medium),
        format: one.format.describe(),
        allocator: match (&one.looped, source.allocator_frames) {
            (Some(looped), _) => looped.describe(),
            (None, 0) => "-".to_owned(),
            (None, frames) => format!("{frames} x {}", source.allocator_frame_bytes),
        },
        pipe: one.source.pipe().unwrap_or_default(),
        frames: if pump.is_some() { carried.frames } else { sink.frames },
        bytes: if pump.is_some() { carried.bytes } else { sink.bytes },
        copies: sink.copies + source.copies,
        dropped: source.dropped + carried.gaps,
        latency_p50_ns: sink.latency_p50_ns,
        latency_p99_ns: sink.latency_p99_ns,
        looped: pump.map(Pump::report),
    }
}
