//! The `ks` command: list, inspect and run Kernel Streaming filters.
#![forbid(unsafe_code)]

mod arguments;
mod ask;
mod default;
mod describe;
mod document;
mod drivers;
mod engine;
mod failure;
mod get;
mod inspect;
mod interrupt;
mod list;
mod media_file;
mod output;
mod picture;
mod play;
mod png_file;
mod pnp;
mod progress;
mod quantity;
mod run;
mod snapshot;
mod suggest;
mod table;
mod value;
mod welcome;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Verb};
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == drivers::HOST_VERB) {
        return host_drivers(arguments);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if !error.use_stderr() && !std::io::stdout().is_terminal() {
                return match output::print(&error.render().to_string()) {
                    Ok(()) => Exit::Done.into(),
                    Err(failure) => {
                        output::complain(&failure);
                        failure.exit.into()
                    }
                };
            }
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nothing is left to tell anyone when the text cannot be written.
            _ = error.print();
            if error.get(clap::error::ContextKind::SuggestedSubcommand).is_none()
                && let Some(hint) = arguments::closest_verb(&error)
            {
                output::complain(&format!("hint: {hint}"));
            }
            return exit.into();
        }
    };
    interrupt::survive_file_size_limit();
    match perform(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure);
            failure.exit.into()
        }
    }
}

/// The life of a driver host: this program, started by itself.
fn host_drivers(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match ks_broker::drivers::plan_of(arguments) {
        Some(plan) => ks_broker::driver_host::run(&plan).into(),
        None => {
            output::complain(&format!("`ks {}` is for this program alone", drivers::HOST_VERB));
            Exit::Usage.into()
        }
    }
}

fn perform(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.verb {
        None => welcome::perform(),
        Some(Verb::Run(arguments)) => run::perform(arguments),
        Some(Verb::Play(arguments)) => play::play(arguments),
        Some(Verb::Record(arguments)) => play::record(arguments),
        Some(Verb::List(arguments)) => list::perform(arguments),
        Some(Verb::Inspect(arguments)) => inspect::perform(arguments),
        Some(Verb::Pnp(arguments)) => pnp::perform(arguments),
        Some(Verb::Get(arguments)) => get::get(arguments),
        Some(Verb::Set(arguments)) => get::set(arguments),
        Some(Verb::Events(arguments)) => get::events(arguments),
        Some(Verb::Snapshot(arguments)) => snapshot::perform(arguments),
        Some(Verb::Default(arguments)) => default::perform(arguments),
        Some(Verb::Completions { shell }) => arguments::print_completions(*shell),
    }
}
