//! `ks pnp`: stops, removes and powers down the device of a driver while it streams, and tells whether it works afterwards.

use ks_abi::{NtStatus, STATUS_UNSUCCESSFUL};
use ks_broker::device_request::DeviceRequest;
use ks_client::graph::grammar::{self, Graph};

use crate::arguments::{PnpArguments, PnpTest, graph_text};
use crate::document::{PnpDocument, PnpOutcome, PnpResult};
use crate::engine::{Engine, Limits};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::{Goal, Progress, ProgressLine};
use crate::table::{Align, Table};

/// How long a stream may stand still before a test fails.
const STILL_NS: u64 = 5_000_000_000;

pub(crate) fn perform(arguments: &PnpArguments) -> Result<Exit, Failure> {
    let (document, failure) = match tested(arguments) {
        Ok(done) => done,
        Err(failure) => (PnpDocument::failed(&failure), Some(failure)),
    };
    if arguments.json {
        output::print_json(&document)?;
    } else if !document.tests.is_empty() {
        output::print(&text(&document))?;
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

fn tested(arguments: &PnpArguments) -> Result<(PnpDocument, Option<Failure>), Failure> {
    let interrupt = Interrupt::install().map_err(|error| Failure::job("listen for Ctrl-C", error.to_string()))?;
    let mut engine = Engine::boot_watched(arguments.drivers.watchdog(), Failure::end_process)?;
    engine.heed(&interrupt);
    let text = graph_text(&arguments.graph);
    let mut graph = grammar::parse(&text).map_err(|error| Failure::grammar(&error, &text))?;
    engine.load_drivers(&mut graph, &text, &arguments.drivers)?;
    let files: Vec<&str> =
        graph.elements.iter().filter(|one| one.is_driver_file()).map(|one| one.name.as_str()).collect();
    if files.is_empty() {
        let failure = Failure::usage("test a driver", "the graph names no driver file");
        return Err(failure.with_hint("ks pnp './my.sys ! null-renderer'"));
    }
    let wanted =
        |file: &&str| arguments.driver.as_ref().is_none_or(|wanted| [*file, file_name(file)].contains(&&**wanted));
    let Some(driver) = files.iter().copied().find(wanted).map(str::to_owned) else {
        let names: Vec<&str> = files.iter().map(|file| file_name(file)).collect();
        let why = format!("the graph names no such driver file; there are: {}", names.join(", "));
        return Err(Failure::usage(format!("test `{}`", arguments.driver.as_deref().unwrap_or_default()), why));
    };
    if let [element] = graph.elements.as_slice()
        && engine.is_source(element)
    {
        graph.append(0, "null-renderer");
    }
    let tests = if arguments.tests.is_empty() { PnpTest::ALL.to_vec() } else { arguments.tests.clone() };
    let mut results = Vec::new();
    for test in tests {
        if interrupt.signal().is_some() {
            break;
        }
        let bench = Bench {
            engine: &engine,
            device_of: file_name(&driver),
            graph: &graph,
            text: &text,
            frames: arguments.frames,
            interrupt: &interrupt,
        };
        let line = match arguments.json {
            true => ProgressLine::silent(),
            false => ProgressLine::new(Goal::Frames(2 * arguments.frames)),
        };
        let result = bench.perform(test, &line);
        line.clear();
        let failed = result.outcome == PnpOutcome::Failed;
        results.push(result);
        if failed {
            // What the next would find is no news of its own.
            break;
        }
    }
    let failed = results.iter().find(|result| result.outcome == PnpOutcome::Failed);
    let failure = failed.map(|result| {
        let why = result.why.clone().unwrap_or_default();
        Failure::job(format!("pass `{}` with `{driver}`", result.test), why)
    });
    let ended = engine.unload(failure);
    let (failure, left_behind) = (ended.failure, ended.left_behind);
    if let (None, Some(signal)) = (&failure, interrupt.signal()) {
        let failure = Failure::job("test to the end", format!("signal {signal} came"));
        return Ok((
            PnpDocument { driver, tests: results, left_behind, error: Some((&failure).into()) },
            Some(failure),
        ));
    }
    let error = failure.as_ref().map(Into::into);
    Ok((PnpDocument { driver, tests: results, left_behind, error }, failure))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What a test runs with.
struct Bench<'a> {
    engine: &'a Engine,
    /// The name of the file whose driver's device is tested.
    device_of: &'a str,
    graph: &'a Graph,
    text: &'a str,
    frames: u64,
    interrupt: &'a Interrupt,
}

/// How a stream went that requests were sent into.
struct Streamed {
    before: u64,
    after: u64,
    /// Of the requests that were sent, in their order.
    answers: Vec<Result<(), NtStatus>>,
    /// Why it ended early.
    broke: Option<String>,
}

impl Bench<'_> {
    fn perform(&self, test: PnpTest, line: &ProgressLine) -> PnpResult {
        let requests: &[DeviceRequest] = match test {
            PnpTest::CancelStop => &[DeviceRequest::CancelStop],
            PnpTest::Rebalance => &[DeviceRequest::Rebalance],
            PnpTest::CancelRemove => &[DeviceRequest::CancelRemove],
            PnpTest::Sleep => &[DeviceRequest::Sleep, DeviceRequest::Wake],
            PnpTest::SystemSleep => &[DeviceRequest::SystemSleep, DeviceRequest::SystemWake],
            PnpTest::DisableEnable => &[],
            PnpTest::SurpriseRemoval => &[DeviceRequest::SurpriseRemoval],
            PnpTest::Thermal => &[
                DeviceRequest::EngageCooling,
                DeviceRequest::Throttle,
                DeviceRequest::Unthrottle,
                DeviceRequest::DisengageCooling,
            ],
        };
        let streamed = self.stream(requests, line);
        match test {
            PnpTest::DisableEnable => self.disable_enable(streamed, line),
            PnpTest::SurpriseRemoval => self.plugged_in_again(streamed, line),
            _ => judged(test, streamed),
        }
    }

    /// Streams, sends the requests in mid-stream, one at each look, and streams on.
    fn stream(&self, requests: &[DeviceRequest], line: &ProgressLine) -> Streamed {
        let mut streamed = Streamed { before: 0, after: 0, answers: Vec::new(), broke: None };
        let mut still = Progress::default();
        let mut stands_still = false;
        let mut look = |now: Progress| {
            line.show(now);
            if now.frames != still.frames {
                still = now;
            } else if now.elapsed_ns.saturating_sub(still.elapsed_ns) > STILL_NS {
                stands_still = true;
                return self.interrupt.stop();
            }
            if streamed.answers.len() < requests.len() {
                if now.frames >= self.frames || !streamed.answers.is_empty() {
                    streamed.answers.push(self.engine.device_request(self.device_of, requests[streamed.answers.len()]));
                }
                streamed.before = now.frames;
                // A request takes its time.
                still = now;
            } else if requests.is_empty() {
                streamed.before = now.frames;
                if now.frames >= self.frames {
                    self.interrupt.stop();
                }
            } else if now.frames >= streamed.before + self.frames {
                self.interrupt.stop();
            }
            streamed.after = now.frames.saturating_sub(streamed.before);
        };
        let (_, failure) = self.engine.run(self.graph, self.text, Limits::default(), self.interrupt, &mut look);
        streamed.broke = match failure {
            Some(failure) => Some(format!("{}: {}", failure.doing, failure.why)),
            None if stands_still => Some(format!("no frame came for {} s", STILL_NS / 1_000_000_000)),
            None if streamed.answers.len() < requests.len() && self.interrupt.signal().is_none() => {
                Some("the graph ended before the request was sent: give it no `frames=` or `seconds=`".into())
            }
            None => None,
        };
        streamed
    }

    fn disable_enable(&self, streamed: Streamed, line: &ProgressLine) -> PnpResult {
        let test = PnpTest::DisableEnable;
        if streamed.broke.is_some() {
            return judged(test, streamed);
        }
        match self.engine.device_request(self.device_of, DeviceRequest::Disable) {
            Ok(()) => self.works_again(test, streamed.before, line),
            Err(status) => {
                // It said no, so it is to work as before.
                let again = self.stream(&[], line);
                let result = judged(test, Streamed { before: streamed.before, after: again.before, ..again });
                match result.outcome {
                    PnpOutcome::Passed => PnpResult { outcome: PnpOutcome::Refused, status: shown(status), ..result },
                    _ => result,
                }
            }
        }
    }

    fn plugged_in_again(&self, streamed: Streamed, line: &ProgressLine) -> PnpResult {
        let test = PnpTest::SurpriseRemoval;
        let removed = streamed.answers.first() == Some(&Ok(()));
        if !removed || streamed.broke.is_none() {
            let why = streamed.broke.clone().unwrap_or_else(|| "the stream went on without its device".into());
            return judged(test, Streamed { broke: Some(why), ..streamed });
        }
        self.works_again(test, streamed.before, line)
    }

    /// Enables the driver's device and streams once more.
    fn works_again(&self, test: PnpTest, before: u64, line: &ProgressLine) -> PnpResult {
        if let Err(status) = self.engine.device_request(self.device_of, DeviceRequest::Enable) {
            let why = Some(format!("the device does not start again: {status}"));
            return judged(test, Streamed { before, after: 0, answers: vec![Err(status)], broke: why });
        }
        let again = self.stream(&[], line);
        judged(test, Streamed { before, after: again.before, ..again })
    }
}

fn shown(status: NtStatus) -> Option<String> {
    Some(status.to_string())
}

/// A driver may refuse; it may not stop to work.
fn judged(test: PnpTest, streamed: Streamed) -> PnpResult {
    let Streamed { before: frames_before, after: frames_after, answers, broke: why } = streamed;
    let refused = answers.into_iter().find_map(Result::err);
    // Where everybody else agreed, somebody has the device open: that is not the driver's refusal.
    let outcome = match (&why, refused) {
        (Some(_), _) => PnpOutcome::Failed,
        (None, Some(status)) if test == PnpTest::CancelRemove && status == STATUS_UNSUCCESSFUL => PnpOutcome::Passed,
        (None, Some(_)) => PnpOutcome::Refused,
        (None, None) => PnpOutcome::Passed,
    };
    PnpResult { test: test.name(), outcome, status: refused.and_then(shown), frames_before, frames_after, why }
}

fn text(document: &PnpDocument) -> String {
    let mut table = Table::new(&[
        ("test", Align::Left),
        ("outcome", Align::Left),
        ("status", Align::Left),
        ("frames before", Align::Right),
        ("after", Align::Right),
    ]);
    for result in &document.tests {
        table.row([
            result.test.to_owned(),
            result.outcome.word().to_owned(),
            result.status.clone().unwrap_or_else(|| "-".to_owned()),
            result.frames_before.to_string(),
            result.frames_after.to_string(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_abi::STATUS_DEVICE_BUSY;

    fn streamed(answers: Vec<Result<(), NtStatus>>, broke: Option<&str>) -> Streamed {
        Streamed { before: 30, after: 31, answers, broke: broke.map(Into::into) }
    }

    #[test]
    fn a_driver_may_refuse_and_may_not_break() {
        let outcome = |test, answers, broke| judged(test, streamed(answers, broke)).outcome;
        assert_eq!(outcome(PnpTest::Rebalance, vec![Ok(())], None), PnpOutcome::Passed);
        assert_eq!(outcome(PnpTest::Rebalance, vec![Err(STATUS_DEVICE_BUSY)], None), PnpOutcome::Refused);
        assert_eq!(outcome(PnpTest::Rebalance, vec![Ok(())], Some("no frame came")), PnpOutcome::Failed);
        assert_eq!(outcome(PnpTest::CancelRemove, vec![Err(STATUS_UNSUCCESSFUL)], None), PnpOutcome::Passed);
        assert_eq!(outcome(PnpTest::Sleep, vec![Ok(()), Err(STATUS_DEVICE_BUSY)], None), PnpOutcome::Refused);
    }

    #[test]
    fn the_table_has_a_line_a_test() {
        let tests = vec![judged(PnpTest::Rebalance, streamed(vec![Err(STATUS_DEVICE_BUSY)], None))];
        let document = PnpDocument { driver: "a.sys".into(), tests, left_behind: Vec::new(), error: None };
        let text = text(&document);
        assert!(
            text.contains("rebalance") && text.contains("refused") && text.contains("STATUS_DEVICE_BUSY"),
            "{text}"
        );
    }
}
