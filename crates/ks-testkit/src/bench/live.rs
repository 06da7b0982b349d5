//! The cases that go by the clock: many live graphs at once, and how late a tick comes.

use super::streams::failed;
use super::{BenchError, Process, Reading, meter};
use ks_abi::{KsIdentifier, KsPinDataFlow, KsState};
use ks_client::{Client, Connect, Filter, Pin};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Dpc, Event, EventKind, Services, Signal, Ticks, Time, Timer, WaitOutcome};
use std::path::Path;
use std::sync::OnceLock;

/// What every graph has had before the measurement begins.
const SETTLING: Ticks = Ticks::from_millis(500);

/// See [`super::run`]: `live`. So many graphs of a microphone and a renderer that looks at nothing, each at 10 ms. Every
/// one of them must go on through the whole measurement.
pub(super) fn live(graphs: u64, milliseconds: u64) -> Result<Reading, BenchError> {
    let services = Services::real();
    let system = ks_filters::system(services.clone()).map_err(failed)?;
    // One graph first, so that what all of them share is there.
    let client = Client::new(system.session());
    drop(LiveGraph::open(&client)?);
    let empty = resident_bytes()?;
    let all: Vec<LiveGraph> = (0..graphs).map(|_| LiveGraph::open(&client)).collect::<Result<_, _>>()?;
    all.iter().try_for_each(LiveGraph::start)?;
    wait(&services, SETTLING);
    let count = || all.iter().map(LiveGraph::frames).collect::<Result<Vec<_>, _>>();
    let (before, switches) = (count()?, Threads::of_this_process()?.switches);
    let reading = meter("live", 1, || {
        wait(&services, Ticks::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX)));
        Ok(())
    })?;
    let threads = Threads::of_this_process()?;
    let resident_bytes = resident_bytes()?.saturating_sub(empty) / graphs;
    let passed: Vec<u64> = count()?.iter().zip(&before).map(|(after, before)| after - before).collect();
    let least = milliseconds / 10 / 2;
    if let Some(standing) = passed.iter().position(|frames| *frames < least) {
        let frames = passed[standing];
        return Err(failed(format!("graph {standing} had {frames} frames in {milliseconds} ms")));
    }
    let process = Process { resident_bytes, threads: threads.count, switches: threads.switches - switches };
    Ok(Reading { work: passed.iter().sum(), process: Some(process), ..reading })
}

/// A microphone and what takes its frames. The pins are closed before the filters.
struct LiveGraph {
    source: Pin,
    sink: Pin,
    _filters: [Filter; 2],
}

impl LiveGraph {
    fn open(client: &Client) -> Result<LiveGraph, BenchError> {
        let open = |name: &str| {
            let link = client.find(name).ok_or_else(|| failed(format!("no {name}")))?.symbolic_link;
            client.open(&link).map_err(failed)
        };
        let (from, to) = (open("test-microphone")?, open("null-renderer")?);
        let format = from.intersect(0, &to.data_ranges(0).map_err(failed)?).map_err(failed)?;
        let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
        let at = |pin_to| Connect { pin_id: 0, interface, medium, pin_to, format: &format };
        let sink = to.create_pin(at(None), KsPinDataFlow::IN).map_err(failed)?;
        let source = from.create_pin(at(Some(&sink)), KsPinDataFlow::OUT).map_err(failed)?;
        Ok(LiveGraph { source, sink, _filters: [from, to] })
    }

    fn start(&self) -> Result<(), BenchError> {
        [&self.sink, &self.source].into_iter().try_for_each(|pin| pin.set_state(KsState::RUN)).map_err(failed)
    }

    fn frames(&self) -> Result<u64, BenchError> {
        self.sink.statistics().map(|counters| counters.frames).map_err(failed)
    }
}

fn wait(services: &Services, time: Ticks) {
    let _ = services.delay_until(services.now() + time);
}

/// Memory of this process that is in memory.
fn resident_bytes() -> Result<u64, BenchError> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(failed)?;
    Ok(field(&text, "VmRSS:") * 1024)
}

struct Threads {
    count: u64,
    switches: u64,
}

impl Threads {
    fn of_this_process() -> Result<Threads, BenchError> {
        let mut all = Threads { count: 0, switches: 0 };
        for thread in std::fs::read_dir(Path::new("/proc/self/task")).map_err(failed)?.flatten() {
            // One that ended meanwhile has no file.
            let text = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            all.count += 1;
            all.switches += field(&text, "voluntary_ctxt_switches:") + field(&text, "nonvoluntary_ctxt_switches:");
        }
        Ok(all)
    }
}

/// The number behind a word at the start of a line of /proc; 0 when it is not there.
fn field(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// See [`super::run`]: `pace`. A timer that is set anew in each of its expirations, a period on. The time that passed is how
/// late the 99th of each hundred was.
pub(super) fn pace(period_us: u64, count: u64) -> Result<Reading, BenchError> {
    let services = Services::real();
    let period = Ticks(i64::try_from(period_us).ok().and_then(|us| us.checked_mul(10)).ok_or(BenchError::Usage)?);
    let done = services.event(EventKind::Notification, Signal::Clear);
    let beat = Arc::new(Beat {
        services: services.clone(),
        done: done.clone(),
        timer: OnceLock::new(),
        period,
        left: Mutex::new(Left { due: Time::ORIGIN, count, late_ns: Vec::with_capacity(count as usize) }),
    });
    let timer = beat.timer.get_or_init(|| services.timer(beat.clone()));
    let reading = meter("pace", 1, || {
        let due = services.now() + period;
        beat.left.lock().due = due;
        let _ = timer.set(due, None);
        match done.wait() {
            WaitOutcome::Signalled => Ok(()),
            other => Err(failed(format!("the timer stopped: {other:?}"))),
        }
    })?;
    let mut late_ns = std::mem::take(&mut beat.left.lock().late_ns);
    late_ns.sort_unstable();
    let rank = (late_ns.len() * 99).saturating_sub(1) / 100;
    let wall_ns = late_ns.get(rank).copied().ok_or_else(|| failed("the timer never expired"))?;
    Ok(Reading { wall_ns, ..reading })
}

struct Beat {
    services: Services,
    done: Event,
    timer: OnceLock<Timer>,
    period: Ticks,
    left: Mutex<Left>,
}

struct Left {
    due: Time,
    count: u64,
    late_ns: Vec<u64>,
}

impl Dpc for Beat {
    fn expired(self: Arc<Self>, _now: Time) {
        let mut left = self.left.lock();
        let late = self.services.now().since(left.due).as_nanos();
        left.late_ns.push(late.max(0).cast_unsigned());
        left.count -= 1;
        if left.count == 0 {
            return self.done.set();
        }
        left.due += self.period;
        if let Some(timer) = self.timer.get() {
            let _ = timer.set(left.due, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_read_by_their_words() {
        let text = "VmRSS:\t    1234 kB\nThreads:\t3\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!((field(text, "VmRSS:"), field(text, "voluntary_ctxt_switches:")), (1234, 7));
        assert_eq!((field(text, "nonvoluntary_ctxt_switches:"), field(text, "none:")), (2, 0));
    }

    #[test]
    fn live_graphs_stream_and_their_process_is_told() {
        let services = Services::real();
        let system = ks_filters::system(services.clone()).unwrap();
        let client = Client::new(system.session());
        let all: Vec<LiveGraph> = (0..3).map(|_| LiveGraph::open(&client).unwrap()).collect();
        all.iter().for_each(|graph| graph.start().unwrap());
        while all.iter().any(|graph| graph.frames().unwrap() == 0) {
            wait(&services, Ticks::MILLISECOND);
        }
        let threads = Threads::of_this_process().unwrap();
        assert!(threads.count >= 2 && threads.switches > 0 && resident_bytes().unwrap() > 0);
    }

    #[test]
    fn a_beat_tells_how_late_it_was() {
        assert!(pace(200, 20).unwrap().wall_ns > 0);
    }
}
