//! `bench`: goals of speed, each a ratio of ours to a peer that ran in between on the same machine.
//!
//! Only ratios are judged: both sides run in turn, A B A B, and the median of the rounds counts. What is compared is
//! processor time, user and system, of the whole program and its second process, where a goal names nothing else. The raw rows are kept in `target/bench/rows.csv`.

mod goals;
mod page;
mod peers;
mod report;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::Deserialize;

use crate::repo::{self, Outcome};
use goals::{GOALS, Goal, Side};
use peers::Programs;

const DEFAULT_ROUNDS: usize = 7;
const LEAST_ROUNDS: usize = 5;

/// The code with which our program says that a case is not there yet.
const NOT_YET: i32 = 3;

/// What the command line asks for.
struct Wish {
    goals: Vec<&'static Goal>,
    rounds: usize,
    form: Form,
    gate: Gate,
}

#[derive(Clone, Copy)]
enum Form {
    Table,
    Json,
    /// The table, and the same into docs/performance.md.
    Page,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Shown,
    Enforced,
}

/// The line of JSON that each program ends with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reading {
    case: String,
    work: u64,
    cpu_ns: u64,
    wall_ns: u64,
    /// How many times the bytes of a frame were copied; only our graph counts it.
    copies: Option<u64>,
    /// Memory of each graph, threads of the process, and how often they were switched: where many graphs live.
    resident_bytes: u64,
    threads: u64,
    switches: u64,
}

impl Reading {
    fn cpu_ns_each(&self) -> f64 {
        self.cpu_ns as f64 / self.work.max(1) as f64
    }

    fn wall_ns_each(&self) -> f64 {
        self.wall_ns as f64 / self.work.max(1) as f64
    }
}

/// How one goal came out.
struct Result {
    goal: &'static Goal,
    /// One value a round, in nanoseconds a unit of work; empty when our case is not there yet.
    ours: Vec<f64>,
    peer: Vec<f64>,
    copies: u64,
}

/// `cargo xtask bench [GOAL...] [--rounds N] [--json] [--write] [--gate]`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("bench", wish(arguments).and_then(|wish| bench(&wish)))
}

fn wish(arguments: &[String]) -> Outcome<Wish> {
    let mut wish = Wish { goals: Vec::new(), rounds: DEFAULT_ROUNDS, form: Form::Table, gate: Gate::Shown };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => wish.form = Form::Json,
            "--write" => wish.form = Form::Page,
            "--gate" => wish.gate = Gate::Enforced,
            "--rounds" => {
                let number = words.next().and_then(|word| word.parse().ok());
                wish.rounds = number
                    .filter(|rounds| *rounds >= LEAST_ROUNDS)
                    .ok_or_else(|| format!("--rounds takes a number of at least {LEAST_ROUNDS}"))?;
            }
            id => {
                let named: Vec<_> = GOALS.iter().filter(|goal| goal.id == id || goal.number == id).collect();
                if named.is_empty() {
                    let known: Vec<_> = GOALS.iter().map(|goal| goal.id).collect();
                    return Err(format!("no goal '{id}'; there are {}", known.join(", ")));
                }
                wish.goals.extend(named);
            }
        }
    }
    if wish.goals.is_empty() {
        wish.goals = GOALS.iter().collect();
    }
    Ok(wish)
}

fn bench(wish: &Wish) -> Outcome {
    let programs = peers::prepare()?;
    let mut rows = "round,goal,side,case,work,cpu_ns,wall_ns\n".to_owned();
    let mut results = Vec::new();
    let mut known = Known::default();
    for goal in &wish.goals {
        eprintln!("bench: goal {}: {}", goal.id, goal.what);
        results.push(measure(goal, wish.rounds, &programs, &mut known, &mut rows)?);
    }
    let path = repo::output_dir("bench")?.join("rows.csv");
    repo::write(&path, &rows)?;
    match wish.form {
        Form::Table => print!("{}", report::table(&results)),
        Form::Json => println!("{}", report::json(&results)),
        Form::Page => {
            print!("{}", report::table(&results));
            page::write(&results)?;
        }
    }
    eprintln!("bench: raw rows in {}", repo::relative(&path));
    let missed: Vec<_> = results.iter().filter(|result| !result.is_met()).map(|result| result.goal.id).collect();
    if missed.is_empty() || wish.gate == Gate::Shown { Ok(()) } else { Err(format!("missed: {}", missed.join(", "))) }
}

/// Runs both sides in turn; the first round warms the machine and is not counted.
fn measure(
    goal: &'static Goal,
    rounds: usize,
    programs: &Programs,
    known: &mut Known,
    rows: &mut String,
) -> Outcome<Result> {
    let mut result = Result { goal, ours: Vec::new(), peer: Vec::new(), copies: 0 };
    for round in 0..=rounds {
        let mut record = |side: &str, readings: &[Reading]| {
            for Reading { case, work, cpu_ns, wall_ns, .. } in readings {
                let _ = writeln!(rows, "{round},{},{side},{case},{work},{cpu_ns},{wall_ns}", goal.id);
            }
        };
        let Some(ours) = known.readings(&goal.ours, round, programs)? else {
            return Ok(Result { goal, ours: Vec::new(), peer: Vec::new(), copies: 0 });
        };
        record("ours", &ours);
        let Some(peer) = known.readings(&goal.peer, round, programs)? else {
            return Ok(Result { goal, ours: Vec::new(), peer: Vec::new(), copies: 0 });
        };
        record("peer", &peer);
        result.copies += ours.iter().filter_map(|reading| reading.copies).sum::<u64>();
        if round > 0 {
            result.ours.push(goal.ours.value(&ours));
            result.peer.push(goal.peer.value(&peer));
        }
    }
    Ok(result)
}

/// What programs that run for long have told, round by round: several goals look at one run of them.
#[derive(Default)]
struct Known(Vec<(&'static [&'static str], usize, Vec<Reading>)>);

impl Known {
    fn readings(&mut self, side: &Side, round: usize, programs: &Programs) -> Outcome<Option<Vec<Reading>>> {
        if !side.reduce.shares_runs() {
            return readings(side, programs);
        }
        if let Some((_, _, told)) = self.0.iter().find(|(words, at, _)| *words == side.commands && *at == round) {
            return Ok(Some(told.clone()));
        }
        let told = readings(side, programs)?;
        self.0.extend(told.clone().map(|told| (side.commands, round, told)));
        Ok(told)
    }
}

/// Runs the programs of one side; none when one says that its case is not there yet.
fn readings(side: &Side, programs: &Programs) -> Outcome<Option<Vec<Reading>>> {
    let mut readings = Vec::new();
    for line in side.commands {
        let mut words = line.split_whitespace();
        let path: PathBuf = programs.path(words.next().unwrap_or_default());
        let mut command = Command::new(path);
        command.args(words.map(|word| programs.argument(word)));
        let done = command.output().map_err(|error| format!("{}: {error}", repo::shown(&command)))?;
        if done.status.code() == Some(NOT_YET) {
            return Ok(None);
        }
        let shown = repo::shown(&command);
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("{shown} ended with {}\n{said}", done.status));
        }
        let text = String::from_utf8_lossy(&done.stdout);
        let last = text.lines().last().unwrap_or_default();
        readings.push(serde_json::from_str(last).map_err(|error| format!("{shown}: {error}: {last}"))?);
    }
    Ok(Some(readings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_goal_is_named_by_its_number_or_its_id() {
        let wish = wish(&words("7")).unwrap();
        assert_eq!(wish.goals.iter().map(|goal| goal.id).collect::<Vec<_>>(), ["7a", "7b"]);
    }

    #[test]
    fn too_few_rounds_and_unknown_goals_are_refused() {
        assert!(wish(&words("--rounds 4")).is_err());
        assert!(wish(&words("99")).is_err());
    }

    #[test]
    fn a_reading_without_copies_is_read() {
        let line = r#"{"case":"getppid","work":4,"cpu_ns":600,"wall_ns":700}"#;
        let reading: Reading = serde_json::from_str(line).unwrap();
        assert_eq!(reading.cpu_ns_each(), 150.0);
        assert_eq!(reading.copies, None);
    }
}
