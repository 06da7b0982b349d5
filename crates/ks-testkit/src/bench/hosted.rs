//! The cases with a second process: this very program, which serves filters to the first one.

use super::filters::{self, Kind, Plan};
use super::streams::{Bench, Chain, failed};
use super::{BenchError, Reading, meter, twin};
use ks_broker::remote::{Handler, Peer};
use ks_broker::sandbox::{self, Limits};
use ks_io::sync::Arc;
use ks_io::{IoManager, Services};
use ks_wire::Connection;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The first argument of a process that only serves.
pub const SERVE: &str = "serve";

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
            filters::start(&io, &plan, &[Kind::Source])
        }
        ["twin"] => twin::start(&io),
        _ => return Err(BenchError::Usage),
    }
    .map_err(failed)?;
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let connection = Connection::join(descriptor).map_err(failed)?;
    sandbox::confine(Limits::default()).map_err(failed)?;
    Peer::serve(&io, connection, Arc::new(Quiet)).map_err(failed)?.wait();
    Ok(())
}

/// See [`super::run`]: `across`.
pub(super) fn across(frame_bytes: u64, depth: u64, buffers: u64) -> Result<Reading, BenchError> {
    let bytes = u32::try_from(frame_bytes).map_err(|_| BenchError::Usage)?;
    let depth = u32::try_from(depth).map_err(|_| BenchError::Usage)?;
    let words = ["source", &bytes.to_string(), &depth.to_string()];
    measure("across", &Plan::endless(bytes, Some(depth)), &words, buffers)
}

/// See [`super::run`]: `twin`.
pub(super) fn twin(buffers: u64) -> Result<Reading, BenchError> {
    measure("twin", &twin::plan(), &["twin"], buffers)
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
pub(super) fn measure_chain(
    case: &'static str,
    bench: &Bench,
    process: u32,
    buffers: u64,
) -> Result<Reading, BenchError> {
    let chain = Chain::of_two(bench, bench.open_other()?)?;
    // A short stream first, so that memory and threads are there.
    chain.stream(1000.min(buffers))?;
    let before = cpu_ns_of(process)?;
    let reading = meter(case, buffers, || chain.stream(buffers))?;
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
pub(super) fn program() -> Result<PathBuf, BenchError> {
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
    fn the_processor_time_of_a_process_grows_with_its_work() {
        let before = cpu_ns_of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_ns_of(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_ns_of(std::process::id()).unwrap() > before);
    }
}
