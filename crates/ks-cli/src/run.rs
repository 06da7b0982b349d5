//! `ks run`: builds a graph and streams through it.

use ks_client::graph::grammar::{self, Graph};

use crate::arguments::{RunArguments, graph_text};
use crate::document::{Connection, Pipe, RunDocument, Status};
use crate::drivers::DriverArguments;
use crate::engine::{Engine, Limits};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::progress::{Goal, ProgressLine};
use crate::table::{Align, Table};
use crate::{output, quantity};

/// Where a source alone ends.
const SINK: &str = "null-renderer";

pub(crate) fn perform(arguments: &RunArguments) -> Result<Exit, Failure> {
    let limits = Limits { frames: arguments.frames, seconds: arguments.seconds };
    let detail = if arguments.verbose { Detail::Pipes } else { Detail::Connections };
    let job = Job { limits, json: arguments.json, detail, drivers: &arguments.drivers };
    job.perform(|_| Ok(Draft { text: graph_text(&arguments.graph), converted: None }))
}

/// How a graph is streamed through, and told of.
pub(crate) struct Job<'a> {
    pub(crate) limits: Limits,
    pub(crate) json: bool,
    pub(crate) detail: Detail,
    pub(crate) drivers: &'a DriverArguments,
}

/// What the table of a run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What went over each connection.
    Connections,
    /// And what each pipe section is.
    Pipes,
}

/// The text of a graph.
pub(crate) struct Draft {
    pub(crate) text: String,
    /// What to take if the two filters of `text` have no format in common.
    pub(crate) converted: Option<String>,
}

impl Job<'_> {
    /// Streams through the graph that `draft` gives.
    pub(crate) fn perform(&self, draft: impl FnOnce(&Engine) -> Result<Draft, Failure>) -> Result<Exit, Failure> {
        match self.stream(draft) {
            Ok((document, failure, exit)) => {
                if self.json {
                    output::print_json(&document)?;
                } else if !document.connections.is_empty() {
                    output::print(&text(&document))?;
                    if self.detail == Detail::Pipes {
                        output::print(&pipes(&document.pipes))?;
                    }
                }
                failure.map_or(Ok(exit), Err)
            }
            Err(failure) => {
                if self.json {
                    output::print_json(&RunDocument::failed(&failure))?;
                }
                Err(failure)
            }
        }
    }

    fn stream(
        &self,
        draft: impl FnOnce(&Engine) -> Result<Draft, Failure>,
    ) -> Result<(RunDocument, Option<Failure>, Exit), Failure> {
        let interrupt = Interrupt::install().map_err(|error| Failure::job("listen for Ctrl-C", error.to_string()))?;
        let json = self.json;
        let mut engine = Engine::boot_watched(self.drivers.watchdog(), move |failure| {
            if json {
                let _ = output::print_json(&RunDocument::failed(failure));
            }
            failure.end_process();
        })?;
        engine.heed(&interrupt);
        let Draft { mut text, converted } = draft(&engine)?;
        let mut graph = parse(&text)?;
        engine.load_drivers(&mut graph, &text, self.drivers)?;
        if let Some(converted) = converted.filter(|_| !engine.agrees(&graph)) {
            graph = with_drivers_of(&graph, parse(&converted)?);
            text = converted;
            output::complain(&format!("note: the formats differ; running {graph}"));
        }
        if let [element] = graph.elements.as_slice()
            && element.name != SINK
            && engine.is_source(element)
        {
            graph.append(0, SINK);
            output::complain(&format!("note: the graph ends in a source; running {graph}"));
        }

        let line = if self.json { ProgressLine::silent() } else { ProgressLine::new(goal(&graph, self.limits)) };
        let (mut document, failure) =
            engine.run(&graph, &text, self.limits, &interrupt, &mut |progress| line.show(progress));
        line.clear();
        document.connections.iter().filter_map(gap_note).for_each(|note| output::complain(&note));
        let ended = engine.unload(failure);
        document.left_behind = ended.left_behind;
        document.reports = ended.reports;
        let failure = ended.failure;
        if let Some(failure) = &failure {
            // A driver that broke after all was done, or left something behind where that was not allowed.
            document.status = Status::Failed;
            document.error = Some(failure.into());
        }
        let exit = match (document.status, interrupt.signal()) {
            (Status::Interrupted, Some(signal)) => Exit::Signalled(signal),
            _ => Exit::Done,
        };
        Ok((document, failure, exit))
    }
}

fn parse(text: &str) -> Result<Graph, Failure> {
    grammar::parse(text).map_err(|error| Failure::grammar(&error, text))
}

/// What there is to say of a looped pin whose client was late.
fn gap_note(connection: &Connection) -> Option<String> {
    let gaps = connection.gaps.filter(|gaps| gaps.count > 0)?;
    let (count, duration) = (quantity::plural(gaps.count, "gap"), quantity::duration(gaps.duration_ns));
    let Connection { from, to, .. } = connection;
    Some(format!("note: the sound from {from} to {to} has {count}, {duration} together: it was not carried in time"))
}

/// A graph with the same driver files, which are loaded already.
fn with_drivers_of(loaded: &Graph, mut graph: Graph) -> Graph {
    let mut links = loaded.elements.iter().filter(|element| element.is_driver_file());
    for element in graph.elements.iter_mut().filter(|element| element.is_driver_file()) {
        element.opens = links.next().and_then(|element| element.opens.clone());
    }
    graph
}

/// What the run works towards, as far as the text says: the limit that is reached first is found out by running.
fn goal(graph: &Graph, limits: Limits) -> Goal {
    let settings = |key: &'static str| graph.elements.iter().filter_map(move |element| element.setting(key));
    let frames = settings("frames").filter_map(|setting| setting.value.parse().ok());
    let seconds = settings("seconds").filter_map(|setting| setting.value.parse().ok());
    if let Some(frames) = frames.chain(limits.frames).filter(|frames| *frames > 0).min() {
        return Goal::Frames(frames);
    }
    match seconds.chain(limits.seconds).filter(|seconds: &f64| *seconds > 0.0).min_by(f64::total_cmp) {
        Some(seconds) => Goal::Nanoseconds((seconds * 1e9) as u64),
        None => Goal::Unknown,
    }
}

fn text(document: &RunDocument) -> String {
    let mut table = Table::new(&[
        ("connection", Align::Left),
        ("interface", Align::Left),
        ("medium", Align::Left),
        ("format", Align::Left),
        ("allocator", Align::Left),
        ("frames", Align::Right),
        ("bytes", Align::Right),
        ("copies", Align::Right),
        ("drops", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
    ]);
    for connection in &document.connections {
        table.row(row(connection));
    }
    let end = match document.status {
        Status::Completed => "completed",
        Status::Interrupted => "interrupted",
        Status::Failed => "failed",
    };
    let clock = document.clock.as_ref().map_or_else(String::new, |pin| format!("clock: {pin}\n"));
    format!("{}\n{end} in {}\n{clock}", table.text(), quantity::duration(document.elapsed_ns))
}

/// Each pipe section: its pins, what they agreed on, whose the frames are and why.
fn pipes(pipes: &[Pipe]) -> String {
    let mut text = String::new();
    for pipe in pipes {
        text += &format!("\npipe {}\n", pipe.pins.join(" > "));
        let by = |by: &str| if by.is_empty() { String::new() } else { format!(" ({by})") };
        let numbers = pipe.allocator.iter().map(|number| format!("{} {}{}", number.what, number.value, by(&number.by)));
        let numbers: Vec<String> = numbers.collect();
        if !numbers.is_empty() {
            text += &format!("  {}; memory {}\n", numbers.join(", "), pipe.memory);
        }
        let owner = if pipe.owner.is_empty() { String::new() } else { format!("{}: ", pipe.owner) };
        text += &format!("  frames of {owner}{}\n", pipe.why);
        for note in &pipe.notes {
            text += &format!("  {note}\n");
        }
    }
    text
}

fn row(connection: &Connection) -> [String; 11] {
    let latency = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), quantity::duration);
    [
        format!("{} -> {}", connection.from, connection.to),
        connection.interface.clone(),
        connection.medium.clone(),
        connection.format.clone(),
        connection.allocator.clone(),
        quantity::count(connection.frames),
        quantity::bytes(connection.bytes),
        quantity::count(connection.copies),
        quantity::count(connection.dropped),
        latency(connection.latency_ns.p50),
        latency(connection.latency_ns.p99),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Gaps, Latency, PipeNumber};

    fn document() -> RunDocument {
        RunDocument {
            status: Status::Completed,
            connections: vec![Connection {
                from: "test-camera.0".into(),
                to: "y4m-writer.0".into(),
                interface: "standard streaming".into(),
                medium: "standard devio".into(),
                format: "video I420 1280x720 @30".into(),
                allocator: "4 x 1.3 MB".into(),
                frames: 150,
                bytes: 207_360_000,
                copies: 0,
                dropped: 0,
                latency_ns: Latency { p50: Some(12_345), p99: None },
                gaps: None,
            }],
            pipes: Vec::new(),
            clock: None,
            clock_refused: Vec::new(),
            elapsed_ns: 5_010_000_000,
            left_behind: Vec::new(),
            reports: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn the_table_shows_what_went_over_each_connection() {
        assert_eq!(
            text(&document()),
            "connection                     interface           medium          format                   allocator   \
             frames   bytes  copies  drops      p50  p99\n\
             test-camera.0 -> y4m-writer.0  standard streaming  standard devio  video I420 1280x720 @30  4 x 1.3 MB  \
             \u{20}  150  207 MB       0      0  12.3 µs    -\n\ncompleted in 5.01 s\n"
        );
    }

    #[test]
    fn gaps_of_a_looped_pin_are_told_where_there_are_any() {
        let mut connection = document().connections.remove(0);
        assert_eq!(gap_note(&connection), None);
        connection.gaps = Some(Gaps::default());
        assert_eq!(gap_note(&connection), None);
        connection.gaps = Some(Gaps { count: 2, bytes: 5760, duration_ns: 30_000_000 });
        let note = "note: the sound from test-camera.0 to y4m-writer.0 has 2 gaps, 30.0 ms together: it was not carried in \
                    time";
        assert_eq!(gap_note(&connection).as_deref(), Some(note));
        let json = serde_json::to_value(&connection).expect("a document");
        assert_eq!(json["gaps"], serde_json::json!({"count": 2, "bytes": 5760, "duration_ns": 30_000_000}));
    }

    #[test]
    fn a_pipe_is_shown_with_who_decided_what() {
        let number = |what: &str, value, by: &str| PipeNumber { what: what.into(), value, by: by.into() };
        let own = Pipe {
            pins: vec!["test-camera.0".into(), "tee.0".into()],
            allocator: vec![number("frames", 8, "tee.0"), number("bytes", 460_800, "test-camera.0")],
            memory: "of this process".into(),
            owner: "test-camera.0".into(),
            why: "heads the section".into(),
            notes: vec!["not met: mirror.0 takes at most 512".into()],
        };
        let lent = Pipe { pins: vec!["mirror.0".into()], why: "whoever sends the requests".into(), ..Pipe::default() };
        assert_eq!(
            pipes(&[own, lent]),
            "\npipe test-camera.0 > tee.0\n  frames 8 (tee.0), bytes 460800 (test-camera.0); memory of this process\n  \
             frames of test-camera.0: heads the section\n  not met: mirror.0 takes at most 512\n\npipe mirror.0\n  \
             frames of whoever sends the requests\n"
        );
    }

    #[test]
    fn the_document_has_stable_names() {
        let json = serde_json::to_value(document()).expect("a document");
        assert_eq!(json["status"], "completed");
        assert_eq!(json["elapsed_ns"], 5_010_000_000_u64);
        assert!(json.get("error").is_none());
        let connection = json["connections"][0].as_object().expect("an object");
        let keys: Vec<&str> = connection.keys().map(String::as_str).collect();
        for key in ["from", "to", "interface", "medium", "format", "allocator", "frames", "bytes", "copies", "dropped"]
        {
            assert!(keys.contains(&key), "{key}");
        }
        assert_eq!(connection["latency_ns"], serde_json::json!({"p50": 12_345, "p99": null}));
    }

    #[test]
    fn a_failed_run_is_a_document_too() {
        let failure = Failure::usage("open the filter `x`", "there is none").with_hint("try another");
        let json = serde_json::to_value(RunDocument::failed(&failure)).expect("a document");
        let error = serde_json::json!({
            "kind": "usage", "doing": "open the filter `x`", "why": "there is none", "hint": "try another"
        });
        assert_eq!(json, serde_json::json!({"status": "failed", "connections": [], "elapsed_ns": 0, "error": error}));
    }

    #[test]
    fn the_goal_is_the_limit_that_the_text_tells() {
        let goal_of = |text: &str, limits| goal(&grammar::parse(text).expect("a graph"), limits);
        let none = Limits::default();
        assert_eq!(goal_of("test-camera frames=150", none), Goal::Frames(150));
        assert_eq!(goal_of("test-camera frames=150", Limits { frames: Some(9), seconds: Some(1.0) }), Goal::Frames(9));
        assert_eq!(goal_of("test-microphone seconds=2", none), Goal::Nanoseconds(2_000_000_000));
        assert_eq!(goal_of("test-microphone seconds=x", none), Goal::Unknown);
    }
}
