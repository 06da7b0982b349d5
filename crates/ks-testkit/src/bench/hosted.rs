//! The cases with a second process: this very program, which serves filters to the first one.

use super::filters::{self, Kind, Plan};
use super::streams::{Bench, Chain, failed};
use super::{BenchError, Reading, meter};
use ks_abi::{KsDataFormat, KsIdentifier, KsState, STATUS_DEVICE_REMOVED};
use ks_broker::driver_host::{self, Imports, Sandbox, Verifier};
use ks_broker::drivers::{self, DriverHost, Hosting};
use ks_broker::host_process::HostCommand;
use ks_broker::remote::{Handler, Peer};
use ks_broker::sandbox::{self, Limits};
use ks_client::{Client, Connect, Filter, Pin, StreamFrame};
use ks_io::sync::Arc;
use ks_io::{IoManager, Services};
use ks_twins::Surroundings;
use ks_wire::Connection;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The first argument of a process that only serves.
pub const SERVE: &str = "serve";

/// The first argument of a process that hosts a driver.
pub const DRIVER_HOST: &str = "driver-host";

struct Quiet;

impl Handler for Quiet {}

/// What such a process does: `source BYTES DEPTH`, or `twin`. It is confined as the host of a driver is.
///
/// # Errors
/// Words that it does not know, and a standard input that is no connection.
pub fn serve(words: &[String]) -> Result<(), BenchError> {
    let io = IoManager::new(Services::real());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _devices = match words.as_slice() {
        ["source", frame_bytes, depth] => {
            let number = |word: &str| word.parse().map_err(|_| BenchError::Usage);
            let plan = Plan::endless(number(frame_bytes)?, Some(number(depth)?));
            filters::start(&io, &plan, &[Kind::Source]).map_err(failed)?
        }
        ["twin"] => vec![ks_twins::start(&io, "counter", "twin", &Surroundings::default()).map_err(failed)?],
        _ => return Err(BenchError::Usage),
    };
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let connection = Connection::join(descriptor).map_err(failed)?;
    sandbox::confine(Limits::default()).map_err(failed)?;
    Peer::serve(&io, connection, Arc::new(Quiet)).map_err(failed)?.wait();
    Ok(())
}

/// What a process that hosts a driver does; the exit code.
pub fn host_driver(words: &[String]) -> u8 {
    match drivers::plan_of(words.iter().map(OsString::from)) {
        Some(plan) => driver_host::run(&plan),
        None => driver_host::NOT_A_CHILD,
    }
}

/// See [`super::run`]: `across`.
pub(super) fn across(frame_bytes: u64, depth: u64, buffers: u64) -> Result<Reading, BenchError> {
    let bytes = u32::try_from(frame_bytes).map_err(|_| BenchError::Usage)?;
    let depth = u32::try_from(depth).map_err(|_| BenchError::Usage)?;
    let words = ["source", &bytes.to_string(), &depth.to_string()];
    measure("across", &Plan::endless(bytes, Some(depth)), &words, buffers)
}

/// See [`super::run`]: `property_across`.
pub(super) fn property_across(count: u64) -> Result<Reading, BenchError> {
    let bench = Bench::of(&Plan::endless(4096, Some(1)), &[])?;
    let other = Other::start(&bench, &["source", "4096", "1"])?;
    let filter = bench.open_other()?;
    let get = super::getter(&filter);
    (0..1000).try_for_each(|_| get())?;
    measure_with(other.child.id(), "property_across", count, || (0..count).try_for_each(|_| get()))
}

/// The plan of the sink for `counter` and for its twin: the size and the number of their frames.
fn counter_plan() -> Arc<Plan> {
    Plan::endless(64, Some(4))
}

/// See [`super::run`]: `twin`.
pub(super) fn twin(buffers: u64) -> Result<Reading, BenchError> {
    measure("twin", &counter_plan(), &["twin"], buffers)
}

/// See [`super::run`]: `driver`.
pub(super) fn driver(file: &Path, buffers: u64) -> Result<Reading, BenchError> {
    let bench = Bench::of(&counter_plan(), &[Kind::Sink])?;
    let host = start(bench.io(), file)?;
    measure_chain("driver", &bench, host.process_id(), buffers)
}

/// See [`super::run`]: `first_frame`. The time that passed is without the period of each frame.
pub(super) fn first_frame(file: &Path, count: u64) -> Result<Reading, BenchError> {
    let mut periods_ns = 0;
    let once = |periods_ns: &mut u64| {
        let io = IoManager::new(Services::real());
        let host = start(&io, file)?;
        let client = Client::new(io.session());
        let interface = client.interfaces(None).into_iter().next().ok_or_else(|| failed("no filter came"))?;
        let filter = client.open(&interface.symbolic_link).map_err(failed)?;
        let (pin, period_ns) = read_one(&filter)?;
        *periods_ns += period_ns;
        Ok((pin, filter, host))
    };
    // One first, so that the files are in memory.
    drop(once(&mut 0)?);
    // They stop and end after the measurement.
    let mut running = Vec::new();
    let reading = meter("first_frame", count, || {
        (0..count).try_for_each(|_| once(&mut periods_ns).map(|one| running.push(one)))
    })?;
    Ok(Reading { wall_ns: reading.wall_ns.saturating_sub(periods_ns), ..reading })
}

/// See [`super::run`]: `host_death`. The time is that from the kill of a driver's process to the end of a request that
/// waits for it.
pub(super) fn host_death(file: &Path, count: u64) -> Result<Reading, BenchError> {
    let mut waited = Duration::ZERO;
    let reading = meter("host_death", count, || {
        for _ in 0..count {
            let io = IoManager::new(Services::real());
            let host = start(&io, file)?;
            let client = Client::new(io.session());
            let interface = client.interfaces(None).into_iter().next().ok_or_else(|| failed("no filter came"))?;
            let filter = client.open(&interface.symbolic_link).map_err(failed)?;
            let (pin, frame, _) = paused(&filter)?;
            let request = pin.read_stream(vec![frame]).map_err(failed)?;
            let process = i32::try_from(host.process_id()).ok().and_then(Pid::from_raw);
            let begun = Instant::now();
            kill_process(process.ok_or_else(|| failed("no process"))?, Signal::KILL).map_err(failed)?;
            let Err(error) = request.wait() else { return Err(failed("a frame came from a dead driver")) };
            waited += begun.elapsed();
            if error.status != STATUS_DEVICE_REMOVED {
                return Err(failed(error));
            }
        }
        Ok(())
    })?;
    Ok(Reading { wall_ns: u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), ..reading })
}

/// Creates the first pin of a filter and reads a frame of it; the pin runs, and the period of its frames.
fn read_one(filter: &Filter) -> Result<(Pin, u64), BenchError> {
    let (pin, frame, period_ns) = paused(filter)?;
    let request = pin.read_stream(vec![frame]).map_err(failed)?;
    pin.set_state(KsState::RUN).map_err(failed)?;
    let frames = request.wait().map_err(failed)?;
    if frames.iter().all(|frame| frame.data().is_empty()) {
        return Err(failed("the first frame is empty"));
    }
    Ok((pin, period_ns))
}

/// The first pin of a filter in PAUSE, memory for a frame of it, and the period of its frames.
fn paused(filter: &Filter) -> Result<(Pin, StreamFrame, u64), BenchError> {
    let factory = filter.pin(0).map_err(failed)?;
    let format = filter.intersect(0, &factory.data_ranges).map_err(failed)?;
    let period_ns = period_ns(format.bytes()).ok_or_else(|| failed("the format has no period"))?;
    let connect = Connect {
        pin_id: 0,
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_to: None,
        format: &format,
    };
    let pin = filter.create_pin(connect, factory.data_flow).map_err(failed)?;
    let frame = pin.allocate(format.head().sample_size as usize).map_err(failed)?;
    pin.set_state(KsState::PAUSE).map_err(failed)?;
    Ok((pin, frame, period_ns))
}

/// The period that the VIDEOINFOHEADER of a format says.
fn period_ns(format: &[u8]) -> Option<u64> {
    let at = size_of::<KsDataFormat>() + AVERAGE_TIME_A_FRAME;
    let bytes = format.get(at..at + 8)?.try_into().ok()?;
    u64::from_le_bytes(bytes).checked_mul(100)
}

/// Offset of `AvgTimePerFrame` in VIDEOINFOHEADER.
const AVERAGE_TIME_A_FRAME: usize = 40;

fn start(io: &Arc<IoManager>, file: &Path) -> Result<DriverHost, BenchError> {
    let hosting = Hosting {
        command: HostCommand { program: program()?, arguments: vec![DRIVER_HOST.into()] },
        imports: Imports::Strict,
        sandbox: Sandbox::On,
        verifier: Verifier::Off,
        files: None,
        watchdog: Some(drivers::WATCHDOG),
        output: None,
    };
    DriverHost::start(io, &hosting, &[file.to_owned()]).map_err(failed)
}

fn measure(case: &'static str, plan: &Arc<Plan>, words: &[&str], buffers: u64) -> Result<Reading, BenchError> {
    let bench = Bench::of(plan, &[Kind::Sink])?;
    let other = Other::start(&bench, words)?;
    let outcome = measure_chain(case, &bench, other.child.id(), buffers);
    // It names the cause where there is one.
    match (outcome, other.peer.death()) {
        (Err(error), Some(death)) => Err(failed(format!("{error}; the other process: {:?}", death.cause))),
        (outcome, _) => outcome,
    }
}

/// Streams from the only filter that is not the sink, and counts the processor time of that process too.
fn measure_chain(case: &'static str, bench: &Bench, process: u32, buffers: u64) -> Result<Reading, BenchError> {
    let chain = Chain::of_two(bench, bench.open_other()?)?;
    // A short stream first, so that memory and threads are there.
    chain.stream(1000.min(buffers))?;
    measure_with(process, case, buffers, || chain.stream(buffers))
}

/// Counts the processor time of that process too.
fn measure_with(
    process: u32,
    case: &'static str,
    work: u64,
    action: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Reading, BenchError> {
    let before = cpu_ns_of(process)?;
    let reading = meter(case, work, action)?;
    let there = cpu_ns_of(process)?.saturating_sub(before);
    Ok(Reading { cpu_ns: reading.cpu_ns + there, ..reading })
}

/// Processor time of all living threads of a process, user and system.
fn cpu_ns_of(process: u32) -> Result<u64, BenchError> {
    let threads = std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("task")).map_err(failed)?;
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Ok(times.sum())
}

/// The other process and the connection to it.
struct Other {
    child: Child,
    peer: Peer,
}

impl Other {
    fn start(bench: &Bench, words: &[&str]) -> Result<Other, BenchError> {
        let (ours, theirs) = Connection::pair().map_err(failed)?;
        let mut command = Command::new(program()?);
        command.arg(SERVE).args(words).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        match Peer::attach(bench.io(), ours, Arc::new(Quiet)) {
            Ok(peer) => Ok(Other { child, peer }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(error))
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program.
fn program() -> Result<PathBuf, BenchError> {
    std::env::current_exe().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_told_nothing_it_knows_does_not_serve() {
        for line in ["", "source 1", "source x 1", "sink"] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(serve(&words), Err(BenchError::Usage), "{line}");
        }
    }

    #[test]
    fn the_period_of_a_picture_is_in_its_format() {
        let mut format = vec![0; 200];
        format[104..112].copy_from_slice(&333_333_u64.to_le_bytes());
        assert_eq!(period_ns(&format), Some(33_333_300));
        assert_eq!(period_ns(&format[..64]), None);
    }

    #[test]
    fn the_processor_time_of_a_process_grows_with_its_work() {
        // A process of its own: here threads of other tests end, and take their time along.
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = cpu_ns_of(busy.id()).unwrap();
        let mut readings = std::iter::repeat_with(|| cpu_ns_of(busy.id()).unwrap());
        assert!(readings.find(|now| *now != before).is_some_and(|now| now > before));
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(cpu_ns_of(busy.id()).is_err(), "its time ends with it");
    }
}
