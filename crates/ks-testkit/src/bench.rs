//! The cases of `ks-bench`: each sets its scene, then works under the meter.

mod filters;
mod hosted;
mod live;
mod media;
mod streams;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use hosted::{DRIVER_HOST, SERVE, host_driver, serve};

use ks_abi::{
    IoControlCode, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Pin, KsIdentifier,
};

use rustix::time::{ClockId, clock_gettime};
use zerocopy::IntoBytes;

/// What a case did, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The name of the case.
    pub case: &'static str,
    /// Units of work done.
    pub work: u64,
    /// Processor time of the whole process, user and system.
    pub cpu_ns: u64,
    /// Time that passed.
    pub wall_ns: u64,
    /// How many times the bytes of a frame were copied, in cases that move frames.
    pub copies: Option<u64>,
    /// What the process had, in cases with many graphs.
    pub process: Option<Process>,
}

/// What a process of many graphs has and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Memory of each graph that is in memory.
    pub resident_bytes: u64,
    /// Threads of the process.
    pub threads: u64,
    /// How often they were switched while they were measured.
    pub switches: u64,
}

/// One line of JSON.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, work, cpu_ns, wall_ns, copies, process } = self;
        write!(f, "{{\"case\":\"{case}\",\"work\":{work},\"cpu_ns\":{cpu_ns},\"wall_ns\":{wall_ns}")?;
        if let Some(copies) = copies {
            write!(f, ",\"copies\":{copies}")?;
        }
        if let Some(Process { resident_bytes, threads, switches }) = process {
            write!(f, ",\"resident_bytes\":{resident_bytes},\"threads\":{threads},\"switches\":{switches}")?;
        }
        f.write_str("}")
    }
}

/// Why a case has no reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchError {
    /// The case is not written yet.
    NotYet,
    /// An unknown case, or arguments that are not positive numbers.
    Usage,
    /// The work itself failed.
    Failed(String),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet => f.write_str("not yet"),
            Self::Usage => {
                f.write_str("graph FILTERS BYTES BUFFERS | fanout BRANCHES BYTES BUFFERS | touch BYTES BUFFERS | ")?;
                f.write_str("hop DEPTH BYTES BUFFERS | live GRAPHS MILLISECONDS | pace MICROSECONDS COUNT | ")?;
                f.write_str("property_get COUNT | property_set COUNT | setup COUNT | stream COUNT GRAPH | ")?;
                f.write_str("across BYTES DEPTH BUFFERS | property_across COUNT | twin BUFFERS | ")?;
                f.write_str("driver FILE BUFFERS | first_frame FILE COUNT | host_death FILE COUNT")
            }
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BenchError {}

/// Runs the case that the words name.
///
/// # Errors
/// Words that name no case, a case that is not there yet, or work that failed.
pub fn run(words: &[String]) -> Result<Reading, BenchError> {
    let (case, rest) = words.split_first().ok_or(BenchError::Usage)?;
    if let ("driver" | "first_frame" | "host_death", [file, count]) = (case.as_str(), rest) {
        let count = count.parse().ok().filter(|count| *count > 0).ok_or(BenchError::Usage)?;
        let measure = match case.as_str() {
            "driver" => hosted::driver,
            "first_frame" => hosted::first_frame,
            _ => hosted::host_death,
        };
        return measure(file.as_ref(), count);
    }
    if let ("stream", [count, words @ ..]) = (case.as_str(), rest) {
        let count = count.parse().ok().filter(|count| *count > 0).ok_or(BenchError::Usage)?;
        return media::stream(count, &words.join(" "));
    }
    let numbers: Option<Vec<u64>> = rest.iter().map(|word| word.parse().ok().filter(|number| *number > 0)).collect();
    match (case.as_str(), numbers.as_deref()) {
        ("graph", Some(&[filters, frame_bytes, buffers])) => streams::graph(filters, frame_bytes, buffers),
        ("hop", Some(&[depth, frame_bytes, buffers])) => streams::hop(depth, frame_bytes, buffers),
        ("live", Some(&[graphs, milliseconds])) => live::live(graphs, milliseconds),
        ("pace", Some(&[period_us, count])) => live::pace(period_us, count),
        ("touch", Some(&[frame_bytes, buffers])) => streams::touch(frame_bytes, buffers),
        ("fanout", Some(&[branches, frame_bytes, buffers])) => streams::fanout(branches, frame_bytes, buffers),
        ("property_get", Some(&[count])) => property_get(count),
        ("property_set", Some(&[count])) => property_set(count),
        ("setup", Some(&[count])) => streams::setup(count),
        ("across", Some(&[frame_bytes, depth, buffers])) => hosted::across(frame_bytes, depth, buffers),
        ("property_across", Some(&[count])) => hosted::property_across(count),
        ("twin", Some(&[buffers])) => hosted::twin(buffers),
        _ => Err(BenchError::Usage),
    }
}

/// Reads a property of four bytes `count` times through the whole request path.
fn property_get(count: u64) -> Result<Reading, BenchError> {
    let bench = streams::Bench::new(&filters::Plan::new(4096, 1))?;
    let filter = bench.open("source")?;
    let get = getter(&filter);
    (0..1000).try_for_each(|_| get())?;
    meter("property_get", count, || (0..count).try_for_each(|_| get()))
}

/// Reads how many pin types a filter of one pin has.
fn getter(filter: &ks_client::Filter) -> impl Fn() -> Result<(), BenchError> {
    let object = filter.object();
    let request = KsIdentifier::new(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
    move || {
        let mut answer = [0; 4];
        let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
        match (outcome.status.is_success(), u32::from_le_bytes(answer)) {
            (true, 1) => Ok(()),
            _ => Err(streams::failed(outcome.status)),
        }
    }
}

/// Set: no clock is read, and every reading is zero. Under valgrind, whose vDSO is not one that can be read, the clocks are
/// of no use anyway.
static UNMETERED: AtomicBool = AtomicBool::new(false);

/// From now on no clock is read, see [`meter`].
pub fn read_no_clocks() {
    UNMETERED.store(true, Ordering::Relaxed);
}

/// Writes a property of four bytes `count` times through the whole request path, and reads it at the end.
fn property_set(count: u64) -> Result<Reading, BenchError> {
    let bench = streams::Bench::of(&filters::Plan::new(4096, 1), &[filters::Kind::Settable])?;
    let filter = bench.open("settable")?;
    let object = filter.object();
    let control = |verb, value: &mut [u8; 4]| {
        let request = KsIdentifier::new(filters::SETTABLE_SET, filters::SETTABLE_VALUE, verb);
        let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), value);
        if outcome.status.is_success() { Ok(()) } else { Err(streams::failed(outcome.status)) }
    };
    let set = |number: u64| control(KSPROPERTY_TYPE_SET, &mut (number as u32).to_le_bytes());
    (0..1000).try_for_each(set)?;
    let reading = meter("property_set", count, || (0..count).try_for_each(set))?;
    let mut last = [0; 4];
    control(KSPROPERTY_TYPE_GET, &mut last)?;
    match u64::from(u32::from_le_bytes(last)) == (count - 1) & u64::from(u32::MAX) {
        true => Ok(reading),
        false => Err(BenchError::Failed("the last value that was set is not the one that is read".into())),
    }
}

/// Does `work` and reads both clocks around it.
pub fn meter<E>(case: &'static str, work: u64, action: impl FnOnce() -> Result<(), E>) -> Result<Reading, E> {
    let (cpu, wall) = (now(ClockId::ProcessCPUTime), now(ClockId::Monotonic));
    action()?;
    let (cpu_end, wall_end) = (now(ClockId::ProcessCPUTime), now(ClockId::Monotonic));
    Ok(Reading {
        case,
        work,
        cpu_ns: nanoseconds(cpu_end.saturating_sub(cpu)),
        wall_ns: nanoseconds(wall_end.saturating_sub(wall)),
        copies: None,
        process: None,
    })
}

fn now(clock: ClockId) -> Duration {
    if UNMETERED.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_that_name_no_case_are_refused() {
        for line in ["", "nothing 1", "graph 3 4096", "graph 3 4096 0", "setup -1", "property_get many"] {
            assert_eq!(run(&words(line)), Err(BenchError::Usage), "{line}");
        }
    }

    #[test]
    fn the_meter_counts_the_work_between_its_two_readings() {
        let reading = meter("spin", 7, || {
            (0..100_000_u64).fold(0, |sum, value| std::hint::black_box(sum ^ value));
            Ok::<(), BenchError>(())
        })
        .unwrap();
        assert_eq!((reading.case, reading.work), ("spin", 7));
        assert!(reading.cpu_ns > 0 && reading.wall_ns > 0);
    }

    #[test]
    fn a_reading_prints_as_one_line_of_json() {
        let reading = Reading { case: "graph", work: 2, cpu_ns: 3, wall_ns: 4, copies: Some(0), process: None };
        assert_eq!(reading.to_string(), r#"{"case":"graph","work":2,"cpu_ns":3,"wall_ns":4,"copies":0}"#);
        let process = Some(Process { resident_bytes: 5, threads: 6, switches: 7 });
        let text = Reading { copies: None, process, ..reading }.to_string();
        assert!(text.ends_with(r#""wall_ns":4,"resident_bytes":5,"threads":6,"switches":7}"#), "{text}");
    }
}
