//! The cases that open, connect and stream.

use super::filters::{self, Kind, Plan};
use super::{BenchError, Reading, meter};
use ks_abi::{KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KsIdentifier, KsPinDataFlow, KsState};
use ks_client::{Client, Connect, Filter, Format, Pin};
use ks_io::sync::Arc;
use ks_io::{IoManager, Services, WaitOutcome};
use ks_mem::{Frame, FramePool, PoolSpec, RegionTable};
use ks_stream::Device;

pub(super) fn failed(why: impl std::fmt::Display) -> BenchError {
    BenchError::Failed(why.to_string())
}

/// An engine with the bench filters and a client of it.
pub(super) struct Bench {
    devices: Vec<Arc<Device>>,
    io: Arc<IoManager>,
    client: Client,
    format: Format,
}

impl Bench {
    pub(super) fn new(plan: &Arc<Plan>) -> Result<Bench, BenchError> {
        Self::of(plan, Kind::ALL)
    }

    pub(super) fn of(plan: &Arc<Plan>, kinds: &[Kind]) -> Result<Bench, BenchError> {
        let io = IoManager::new(Services::real());
        let devices = filters::start(&io, plan, kinds).map_err(failed)?;
        let format = Format::from_bytes(filters::format(plan.frame_bytes).bytes());
        let format = format.ok_or_else(|| failed("the bench format is not whole"))?;
        Ok(Bench { devices, client: Client::new(io.session()), io, format })
    }

    pub(super) fn open(&self, name: &str) -> Result<Filter, BenchError> {
        let link = self.client.find(name).ok_or_else(|| failed("no bench filter"))?.symbolic_link;
        self.client.open(&link).map_err(failed)
    }

    /// Opens the first filter that is not the sink of this engine.
    pub(super) fn open_other(&self) -> Result<Filter, BenchError> {
        let mut all = self.client.interfaces(None).into_iter();
        let link = all.find(|one| one.reference != "sink").ok_or_else(|| failed("no filter came"))?.symbolic_link;
        self.client.open(&link).map_err(failed)
    }

    pub(super) fn io(&self) -> &Arc<IoManager> {
        &self.io
    }

    pub(super) fn pin(
        &self,
        filter: &Filter,
        id: u32,
        flow: KsPinDataFlow,
        to: Option<&Pin>,
    ) -> Result<Pin, BenchError> {
        let connect = Connect {
            pin_id: id,
            interface: KsIdentifier::STANDARD_STREAMING,
            medium: KsIdentifier::STANDARD_DEVIO,
            pin_to: to,
            format: &self.format,
        };
        filter.create_pin(connect, flow).map_err(failed)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.devices.iter().for_each(|device| device.surprise_remove());
    }
}

/// A chain of filters, connected; pins in the order of the data, closed before the filters.
pub(super) struct Chain {
    pins: Vec<Pin>,
    _filters: Vec<Filter>,
}

impl Chain {
    fn new(bench: &Bench, filters: u64) -> Result<Chain, BenchError> {
        let mut opened = vec![bench.open("source")?];
        let mut pins = Vec::new();
        for index in 1..filters {
            let next = bench.open(if index + 1 == filters { "sink" } else { "pass" })?;
            let sink = bench.pin(&next, 0, KsPinDataFlow::IN, None)?;
            let last = opened.last().ok_or_else(|| failed("a chain has a source"))?;
            let out = u32::from(index > 1);
            pins.push(bench.pin(last, out, KsPinDataFlow::OUT, Some(&sink))?);
            pins.push(sink);
            opened.push(next);
        }
        Ok(Chain { pins, _filters: opened })
    }

    /// A source of any engine, and the sink of this one.
    pub(super) fn of_two(bench: &Bench, source: Filter) -> Result<Chain, BenchError> {
        Chain::ending_in(bench, "sink", source)
    }

    fn ending_in(bench: &Bench, sink: &str, source: Filter) -> Result<Chain, BenchError> {
        let sink = bench.open(sink)?;
        let to = bench.pin(&sink, 0, KsPinDataFlow::IN, None)?;
        let from = bench.pin(&source, 0, KsPinDataFlow::OUT, Some(&to))?;
        Ok(Chain { pins: vec![from, to], _filters: vec![source, sink] })
    }

    /// Streams so many frames of a source that has no end, and stops.
    pub(super) fn stream(&self, frames: u64) -> Result<(), BenchError> {
        self.sink()?.set_limit(frames, 0).map_err(failed)?;
        self.run_to_end()?;
        let counters = self.sink()?.statistics().map_err(failed)?;
        self.set_state(KsState::STOP)?;
        if counters.frames == frames {
            return Ok(());
        }
        Err(failed(format!("{} of {frames} frames reached the sink", counters.frames)))
    }

    fn set_state(&self, state: KsState) -> Result<(), BenchError> {
        // The data sinks first on the way up.
        self.pins.iter().rev().try_for_each(|pin| pin.set_state(state)).map_err(failed)
    }

    fn sink(&self) -> Result<&Pin, BenchError> {
        self.pins.last().ok_or_else(|| failed("a chain has a sink"))
    }

    fn run_to_end(&self) -> Result<(), BenchError> {
        let end = self.sink()?.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).map_err(failed)?;
        self.set_state(KsState::RUN)?;
        match end.event().wait() {
            WaitOutcome::Signalled => Ok(()),
            other => Err(failed(format!("the stream did not end: {other:?}"))),
        }
    }
}

/// See [`super::run`]: `graph`.
pub(super) fn graph(filters: u64, frame_bytes: u64, buffers: u64) -> Result<Reading, BenchError> {
    if filters < 2 {
        return Err(BenchError::Usage);
    }
    let frame_bytes = u32::try_from(frame_bytes).map_err(|_| BenchError::Usage)?;
    let plan = Plan::new(frame_bytes, 1000.min(buffers));
    let bench = Bench::new(&plan)?;
    let chain = Chain::new(&bench, filters)?;
    // A short stream first, so that memory and threads are there.
    chain.run_to_end()?;
    chain.set_state(KsState::STOP)?;
    plan.frames.store(buffers, std::sync::atomic::Ordering::SeqCst);
    let reading = meter("graph", buffers, || chain.run_to_end())?;
    let counters = chain.sink()?.statistics().map_err(failed)?;
    if counters.frames != buffers {
        return Err(failed(format!("{} of {buffers} frames reached the sink", counters.frames)));
    }
    chain.set_state(KsState::STOP)?;
    Ok(Reading { copies: Some(counters.copies), ..reading })
}

/// See [`super::run`]: `hop`. A source and a sink that looks at no byte, each on a worker of a work queue of its own, with at
/// most `depth` frames between them.
pub(super) fn hop(depth: u64, frame_bytes: u64, buffers: u64) -> Result<Reading, BenchError> {
    let (depth, frame_bytes) = match (u32::try_from(depth), u32::try_from(frame_bytes)) {
        (Ok(depth), Ok(frame_bytes)) => (depth, frame_bytes),
        _ => return Err(BenchError::Usage),
    };
    let plan = Plan::across_threads(frame_bytes, depth, 1000.min(buffers));
    let bench = Bench::of(&plan, &[Kind::Source, Kind::Drain])?;
    let chain = Chain::ending_in(&bench, "drain", bench.open("source")?)?;
    chain.run_to_end()?;
    chain.set_state(KsState::STOP)?;
    plan.frames.store(buffers, std::sync::atomic::Ordering::SeqCst);
    let reading = meter("hop", buffers, || chain.run_to_end())?;
    let counters = chain.sink()?.statistics().map_err(failed)?;
    if counters.frames != buffers {
        return Err(failed(format!("{} of {buffers} frames reached the sink", counters.frames)));
    }
    chain.set_state(KsState::STOP)?;
    Ok(Reading { copies: Some(counters.copies), ..reading })
}

/// See [`super::run`]: `fanout`. A source, a splitter, and a sink at each branch.
pub(super) fn fanout(branches: u64, frame_bytes: u64, buffers: u64) -> Result<Reading, BenchError> {
    let frame_bytes = u32::try_from(frame_bytes).map_err(|_| BenchError::Usage)?;
    let plan = Plan::new(frame_bytes, 1000.min(buffers));
    let bench = Bench::of(&plan, &[Kind::Source, Kind::Split, Kind::Drain])?;
    let (source, split) = (bench.open("source")?, bench.open("split")?);
    let input = bench.pin(&split, 0, KsPinDataFlow::IN, None)?;
    let mut pins = vec![bench.pin(&source, 0, KsPinDataFlow::OUT, Some(&input))?, input];
    let mut filters = vec![source, split];
    for _ in 0..branches {
        let sink = bench.open("drain")?;
        let to = bench.pin(&sink, 0, KsPinDataFlow::IN, None)?;
        pins.push(bench.pin(&filters[1], 1, KsPinDataFlow::OUT, Some(&to))?);
        pins.push(to);
        filters.push(sink);
    }
    let chain = Chain { pins, _filters: filters };
    let sinks = || chain.pins.iter().skip(3).step_by(2);
    let run = || {
        // The branches end in no order that is told.
        let ends: Result<Vec<_>, _> =
            sinks().map(|sink| sink.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM)).collect();
        let ends = ends.map_err(failed)?;
        chain.set_state(KsState::RUN)?;
        ends.iter().try_for_each(|end| match end.event().wait() {
            WaitOutcome::Signalled => Ok(()),
            other => Err(failed(format!("the stream did not end: {other:?}"))),
        })
    };
    run()?;
    chain.set_state(KsState::STOP)?;
    plan.frames.store(buffers, std::sync::atomic::Ordering::SeqCst);
    let reading = meter("fanout", buffers, run)?;
    let mut copies = 0;
    for sink in sinks() {
        let counters = sink.statistics().map_err(failed)?;
        if counters.frames != buffers {
            return Err(failed(format!("{} of {buffers} frames reached a sink", counters.frames)));
        }
        copies += counters.copies;
    }
    for output in chain.pins.iter().skip(2).step_by(2) {
        copies += output.statistics().map_err(failed)?.copies;
    }
    chain.set_state(KsState::STOP)?;
    Ok(Reading { copies: Some(copies), ..reading })
}

/// See [`super::run`]: `touch`. The frames of a circuit in turn, read as the sink of [`graph`] reads them, without an
/// engine.
pub(super) fn touch(frame_bytes: u64, buffers: u64) -> Result<Reading, BenchError> {
    let frame_bytes = usize::try_from(frame_bytes).map_err(|_| BenchError::Usage)?;
    let spec = PoolSpec { frames: filters::FRAMES as usize, frame_bytes, alignment: 64 };
    let pool = FramePool::new(spec, &RegionTable::new()).map_err(failed)?;
    let circuit: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
    meter("touch", buffers, || {
        let mut frames = circuit.iter().cycle();
        for _ in 0..buffers {
            let sum = frames.next().and_then(Frame::read).map_or(0, |bytes| filters::byte_of_every_page(&bytes));
            std::hint::black_box(sum);
        }
        Ok(())
    })
}

/// See [`super::run`]: `setup`.
pub(super) fn setup(count: u64) -> Result<Reading, BenchError> {
    let plan = Plan::new(4096, 1);
    let bench = Bench::new(&plan)?;
    let once = || {
        let chain = Chain::new(&bench, 3)?;
        chain.run_to_end()?;
        chain.set_state(KsState::STOP)
    };
    once()?;
    meter("setup", count, || (0..count).try_for_each(|_| once()))
}
