//! What the command line may say.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use ks_client::DefaultLink;

use crate::drivers::DriverArguments;
use crate::failure::{Exit, Failure};
use crate::{output, suggest};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the job failed: a media file, a stream or a driver; with --fail-on-leak
       also a driver that has left something behind
  2    the request is wrong: a verb, an option, the text of a graph,
       an unknown filter, pin, property or value
  130  interrupted by Ctrl-C, with all files complete up to then
       (143 by SIGTERM, 129 by SIGHUP); a second one ends at once";

const RUN_HELP: &str = "\
A graph is filters with settings, linked by `!`; data flows from left to right:
  ks run 'test-camera width=1280 height=720 frames=150 ! y4m-writer path=a.y4m'
  ks run 'wav-reader path=in.wav ! wav-writer path=out.wav'
  ks run test-camera --seconds 2     a source alone ends in null-renderer
  ks run 'test-camera ! tee name=t ! y4m-writer path=a.y4m  t. ! null-renderer'

  name key=value ...   a filter and its settings; `ks inspect NAME` lists them
  name=t               labels a filter: `t.` is any pin of it, `t.1` its pin 1
  'a b' \"a b\"          quotes keep white space; a backslash inside makes the
                       next character an ordinary one
  ./my.sys             a word with `/` or ending in .sys is a driver file; each
                       is loaded into a process of its own

As settings, frames=N and seconds=S count at the pin of that filter; --frames
and --seconds stop any graph. A looped (WaveRT) pin has a buffer of two
seconds, or of cycle=S, such as cycle=0.02. A table of all connections ends the run on
standard output; progress shows on standard error when that is a terminal.

With --json, one document instead of the table:
  {status, connections: [{from, to, interface, medium, format, allocator,
   frames, bytes, copies, dropped, latency_ns: {p50, p99}}],
   pipes: [{pins, allocator: [{what, value, by}], memory, owner, why, notes}],
   elapsed_ns, left_behind: [{driver, what, tag, blocks, bytes}],
   reports: [{driver, kind, what, rule, request, called_from, stack, ...}],
   error}
status is completed, interrupted or failed. Only when it failed there is error:
{kind, doing, why, hint}, where kind is usage or job. A latency without frames
is null.";

/// Kernel Streaming in user space: list, inspect and run filters.
#[derive(Debug, Parser)]
#[command(name = "ks", version, after_help = EXIT_CODES, infer_long_args = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(RunArguments),
    Play(PlayArguments),
    Record(RecordArguments),
    List(ListArguments),
    Inspect(InspectArguments),
    Get(GetArguments),
    Set(SetArguments),
    Events(EventsArguments),
    Snapshot(SnapshotArguments),
    Pnp(PnpArguments),
    Default(DefaultArguments),
    /// Print the completion script of a shell
    #[command(after_help = "For bash: source <(ks completions bash)")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Build a graph of filters and stream through it
#[derive(Debug, Args)]
#[command(after_help = format!("{RUN_HELP}\n\n{EXIT_CODES}"))]
pub(crate) struct RunArguments {
    /// The graph, best in one pair of single quotes
    #[arg(required = true, value_name = "GRAPH")]
    pub(crate) graph: Vec<String>,

    /// Stop when N frames have reached each filter that data ends in
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,

    /// Stop after S seconds of the stream
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Also show each pipe: pins that share frames, and whose the frames are
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// Play a media file
#[derive(Debug, Args)]
#[command(after_help = format!("\
Reads WAV and Y4M files, and with the feature symphonia FLAC, MP3, Ogg Vorbis
and AAC. Without -o sound goes to the renderer that `ks default` has set, and to
null-renderer if there is none. A converter goes in between where it is needed.
  ks play song.wav -o copy.wav
  ks play song.wav -o 'wav-writer path=copy.wav rate=48000'
  ks play song.wav -o ./wavert.sys

--json prints what `ks run` prints.\n\n{EXIT_CODES}"))]
pub(crate) struct PlayArguments {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A .wav or .y4m file to write, or a filter with its settings
    #[arg(short, long, value_name = "FILE|FILTER")]
    pub(crate) output: Option<String>,

    /// Stop after N frames
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,

    /// Stop after S seconds of the stream
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// Record what a filter gives into a media file
#[derive(Debug, Args)]
#[command(after_help = format!("\
Until Ctrl-C, or as long as --seconds or --frames say. The end of the name says
how: sound is written to .wav files, pictures to .y4m files. A converter goes in
between where it is needed.
  ks record test-microphone -o tone.wav --seconds 2
  ks record ./camera.sys -o camera.y4m --frames 100

--json prints what `ks run` prints.\n\n{EXIT_CODES}"))]
pub(crate) struct RecordArguments {
    /// A filter, and settings for it if needed
    #[arg(required = true, value_name = "FILTER [KEY=VALUE]")]
    pub(crate) element: Vec<String>,

    /// The file to write; one that exists is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Stop after N frames
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,

    /// Stop after S seconds of the stream
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// Stop, remove and power down a driver's device while it streams
#[derive(Debug, Args)]
#[command(after_help = format!("\
Runs the graph, sends the request to the device of its first driver file in
mid-stream, and streams on:
  ks pnp './camera.sys ! null-renderer'
  ks pnp ./camera.sys --test rebalance,sleep --frames 60 --json

  cancel-stop        asks whether the device may be stopped, and cancels that
  rebalance          stops it and starts it anew
  cancel-remove      asks whether it may be removed, and cancels that
  sleep              takes it to D3 and back to D0
  system-sleep       has the system sleep and wake, and the device with it
  disable-enable     removes it between two runs, and adds it again
  surprise-removal   pulls it out, and plugs it in again
  thermal            has it cool itself and do half of its work, and goes back;
                     only where it is named

Each test passes if frames come afterwards. A driver may refuse a request; that
is told and is no failure. The first failure ends the tests with exit code 1.

With --json, one document instead of the table:
  {{driver, tests: [{{test, outcome, status, frames_before, frames_after, why}}],
   left_behind, error}}
outcome is passed, refused or failed.\n\n{EXIT_CODES}"))]
pub(crate) struct PnpArguments {
    /// The graph, best in one pair of single quotes, or a driver file
    #[arg(required = true, value_name = "GRAPH")]
    pub(crate) graph: Vec<String>,

    /// Only these tests, in this order
    #[arg(long = "test", value_name = "TEST", value_delimiter = ',')]
    pub(crate) tests: Vec<PnpTest>,

    /// Test the device of FILE, one of the graph's driver files; else that of the first
    #[arg(long, value_name = "FILE")]
    pub(crate) driver: Option<String>,

    /// Stream N frames before and after each request
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: u64,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// A test of `ks pnp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PnpTest {
    CancelStop,
    Rebalance,
    CancelRemove,
    Sleep,
    SystemSleep,
    DisableEnable,
    SurpriseRemoval,
    Thermal,
}

impl PnpTest {
    /// Those that every driver passes or refuses; a driver whose device is cooled is told so by name.
    pub(crate) const ALL: [PnpTest; 7] = [
        PnpTest::CancelStop,
        PnpTest::Rebalance,
        PnpTest::CancelRemove,
        PnpTest::Sleep,
        PnpTest::SystemSleep,
        PnpTest::DisableEnable,
        PnpTest::SurpriseRemoval,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            PnpTest::CancelStop => "cancel-stop",
            PnpTest::Rebalance => "rebalance",
            PnpTest::CancelRemove => "cancel-remove",
            PnpTest::Sleep => "sleep",
            PnpTest::SystemSleep => "system-sleep",
            PnpTest::DisableEnable => "disable-enable",
            PnpTest::SurpriseRemoval => "surprise-removal",
            PnpTest::Thermal => "thermal",
        }
    }
}

/// List the filters and their categories
#[derive(Debug, Args)]
#[command(after_help = format!("\
With --json, one document:
  {{filters: [{{name, friendly_name, categories, symbolic_link}}]}}\n\n{EXIT_CODES}"))]
pub(crate) struct ListArguments {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the pins, formats, topology and settings of a filter
#[derive(Debug, Args)]
#[command(after_help = format!("\
With --json, one document:
  {{name, friendly_name, symbolic_link, categories,
   pins: [{{id, name, category, data_flow, communication, interfaces, mediums,
           formats, instances: {{current, possible}}}}],
   topology: {{categories, nodes,
              connections: [{{from_node, from_pin, to_node, to_pin}}]}},
   settings: [{{name, kind, default, value, help}}],
   properties: [{{set, id, name, access, unit, values, default}}],
   methods, events: the same}}
With --pins, each pin has properties, methods and events, too.\n\n{EXIT_CODES}"))]
pub(crate) struct InspectArguments {
    /// A name as `ks list` shows it, a symbolic link, or a driver file
    #[arg(value_name = "FILTER")]
    pub(crate) filter: String,

    /// Create each pin that can be created, and show what it answers
    #[arg(long)]
    pub(crate) pins: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// What a request is for.
#[derive(Debug, Args)]
pub(crate) struct TargetArguments {
    /// A filter, or FILTER.N for a pin of it; a driver file as well
    #[arg(value_name = "FILTER[.PIN]")]
    pub(crate) filter: String,

    /// Ask the topology node N
    #[arg(long, value_name = "N")]
    pub(crate) node: Option<u32>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

const ITEM_HELP: &str = "\
A property or event is a name of the headers in any case, with or without its
KSPROPERTY_ or KSEVENT_, such as pin-ctypes; or SET:NUMBER, where SET is a GUID
in braces or the header's name of one. Of pin factories (KSPROPSETID_Pin) the
filter is asked; for anything else of FILTER.N a pin is created in the first
format that it offers.";

/// Read a property of a filter, a pin or a node
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example: ks get test-camera.0 connection-dataformat

{ITEM_HELP}

With --json, one document:
  {{object, property, set, id, value, unit, bytes, values, default}}\n\n{EXIT_CODES}"))]
pub(crate) struct GetArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,

    /// The property
    #[arg(value_name = "PROPERTY")]
    pub(crate) property: String,
}

/// Write a property, and read it again
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example: ks set test-camera.0 connection-state acquire

{ITEM_HELP}
A value is a number, true or false, a state, a GUID or its name, text, or the
bytes in hexadecimal digits, as the property needs. It lives as long as the
filter is open, which is until this command ends.

With --json, one document:
  {{object, property, set, id, value, unit, bytes, values, default}}\n\n{EXIT_CODES}"))]
pub(crate) struct SetArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,

    /// The property
    #[arg(value_name = "PROPERTY")]
    pub(crate) property: String,

    /// The value
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: String,
}

/// Wait for an event of a filter, a pin or a node
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example: ks events ./my.sys vidcap-auto-update --count 3 --timeout 60

{ITEM_HELP}

With --json, one document: {{object, event, at_ns, complete}}\n\n{EXIT_CODES}"))]
pub(crate) struct EventsArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,

    /// The event
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,

    /// End after N events
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,

    /// Fail if they have not come after S seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) timeout: Option<f64>,

    /// Bring the pin to RUN while waiting
    #[arg(long)]
    pub(crate) run: bool,
}

/// Read one frame of a filter and write it as a PNG picture
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example: ks snapshot test-camera width=640 height=480 -o frame.png
The picture replaces FILE only when it is complete; a device or a pipe is written to.\n\n{EXIT_CODES}"))]
pub(crate) struct SnapshotArguments {
    /// A filter, and settings for it if needed
    #[arg(required = true, value_name = "FILTER [KEY=VALUE]")]
    pub(crate) element: Vec<String>,

    /// The picture to write
    #[arg(short, long, value_name = "FILE.png")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) drivers: DriverArguments,
}

/// Set, show or clear the filter that a default link leads to
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example: ks default set audio-renderer wav-writer
A client, or a graph, that opens \\\\.\\filters\\audio\\default renderer then gets that filter.
The links stand in $XDG_CONFIG_HOME/userks/defaults.toml (~/.config/userks/defaults.toml).\n\n{EXIT_CODES}"))]
pub(crate) struct DefaultArguments {
    #[command(subcommand)]
    pub(crate) action: DefaultAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DefaultAction {
    /// Lead a link to a filter
    Set {
        /// audio-renderer: where audio goes that names no device
        #[arg(value_name = "LINK")]
        link: LinkWord,
        /// A name as `ks list` shows it
        #[arg(value_name = "FILTER")]
        filter: String,
    },
    /// Show where the links lead
    #[command(after_help = "\
With --json, one document:
  {file, defaults: [{kind, link, filter, exists}]}; filter is null when it is not set")]
    Show {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Lead a link, or all, to nothing
    Clear {
        /// Only this link
        #[arg(value_name = "LINK")]
        link: Option<LinkWord>,
    },
}

/// A default link by its word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkWord(pub(crate) DefaultLink);

impl ValueEnum for LinkWord {
    fn value_variants<'a>() -> &'a [Self] {
        const { &[LinkWord(DefaultLink::AudioRenderer)] }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.word()))
    }
}

/// The verb that a word may have meant.
pub(crate) fn closest_verb(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let command = Arguments::command();
    suggest::did_you_mean(word, command.get_subcommands().map(clap::Command::get_name))
}

pub(crate) fn print_completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ks", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// The words of a graph as one text. A shell took the quotes of `path='a b'` away when the graph came in several
/// words, so that a value with white space gets them back.
pub(crate) fn graph_text(words: &[String]) -> String {
    if let [text] = words {
        return text.clone();
    }
    let quoted = |word: &String| match word.split_once('=') {
        Some((key, value))
            if value.contains(char::is_whitespace)
                && !value.starts_with(['"', '\''])
                && !key.contains(|c: char| c.is_whitespace() || c == '/') =>
        {
            format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => word.clone(),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("expected a number of seconds above 0, such as 2 or 0.5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[&str]) -> String {
        graph_text(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn one_word_is_the_graph_as_it_is() {
        assert_eq!(text(&["a b=c d ! e"]), "a b=c d ! e");
    }

    #[test]
    fn several_words_make_one_graph_and_values_keep_their_white_space() {
        assert_eq!(text(&["a", "path=x y \"z\"", "!", "b"]), r#"a path="x y \"z\"" ! b"#);
        assert_eq!(text(&["a w=1", "! b", "path='x y'"]), "a w=1 ! b path='x y'");
    }

    #[test]
    fn seconds_are_a_number_above_zero() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "1s", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
