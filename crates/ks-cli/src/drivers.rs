//! Driver files on the command line: each is loaded into a process of its own, or all into one.

use clap::Args;
use ks_abi::NtStatus;
use ks_broker::device_request::DeviceRequest;
use ks_broker::driver_host::{Imports, Sandbox, Verifier};
use ks_broker::drivers::{DriverError, DriverHost, Hosting, WATCHDOG};
use ks_broker::host_process::HostCommand;
use ks_broker::report::DriverReport;
use ks_broker::terminal::printable;
use ks_io::{InterfaceInfo, IoManager, Session, Transport as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::document::LeftBehind;
use crate::failure::Failure;
use crate::output;

/// The first argument of a process that hosts drivers. It is for this program alone.
pub(crate) const HOST_VERB: &str = "driver-host";

/// How driver files are hosted.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Driver files")]
pub(crate) struct DriverArguments {
    /// Load all driver files into one process
    #[arg(long)]
    pub(crate) together: bool,

    /// Load a driver whose imports are not all implemented; a call of one is told
    #[arg(long)]
    pub(crate) permissive: bool,

    /// End a driver that keeps a request for S seconds; 0 never does
    #[arg(long, value_name = "S", default_value_t = WATCHDOG.as_secs_f64(), value_parser = watchdog)]
    pub(crate) watchdog: f64,

    /// Let drivers have files below DIR: a folder a drive letter
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,

    /// Fail if a driver has not given back memory, timers, work items or threads at its unload
    #[arg(long)]
    pub(crate) fail_on_leak: bool,

    /// Hold drivers to Driver Verifier's rules for AVStream
    #[arg(long)]
    pub(crate) verifier: bool,

    /// Let drivers do what you may do, for a debugger
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    /// Have COMMAND, a program and its first arguments, host the drivers: Rust minidrivers of your own, or a wrapper
    #[arg(long, value_name = "COMMAND", value_parser = host)]
    pub(crate) host: Option<HostCommand>,
}

impl DriverArguments {
    /// How long a callback may compute, or a driver keep a request.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        (self.watchdog > 0.0).then(|| Duration::from_secs_f64(self.watchdog))
    }
}

/// A host is started in another directory, so a path is made absolute.
fn host(text: &str) -> Result<HostCommand, String> {
    let mut words = text.split_whitespace();
    let program = words.next().ok_or("expected a program")?;
    let program = match program.contains('/') {
        true => std::path::absolute(program).map_err(|error| error.to_string())?,
        false => program.into(),
    };
    let arguments = words.map(Into::into).chain([HOST_VERB.into()]).collect();
    Ok(HostCommand { program, arguments })
}

fn watchdog(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 86400".into()),
    }
}

/// The loaded drivers of a command.
#[derive(Debug)]
pub(crate) struct Drivers {
    hosts: Vec<DriverHost>,
    leaks: Leaks,
}

/// What becomes of a command whose drivers leave something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaks {
    Told,
    Failure,
}

/// What was found when drivers were unloaded.
#[derive(Debug, Default)]
pub(crate) struct Unloaded {
    /// Of those that had ended before.
    pub(crate) reports: Vec<DriverReport>,
    /// What they had not given back.
    pub(crate) left_behind: Vec<LeftBehind>,
    /// That is a failure, if it was asked to be one.
    pub(crate) failure: Option<Failure>,
}

impl Drivers {
    /// Loads `files`, and says which filter each stands for: the first that it offers.
    pub(crate) fn load(
        io: &Arc<IoManager>,
        session: &Arc<Session>,
        files: &[PathBuf],
        arguments: &DriverArguments,
    ) -> Result<(Drivers, Vec<InterfaceInfo>), Failure> {
        if arguments.verifier {
            // Of the built-in filters too.
            ks_stream::verifier::enable();
        }
        let command = match &arguments.host {
            Some(command) => command.clone(),
            None => this_program()?,
        };
        let hosting = Hosting {
            command,
            imports: if arguments.permissive { Imports::Permissive } else { Imports::Strict },
            sandbox: if arguments.no_sandbox { Sandbox::Off } else { Sandbox::On },
            verifier: if arguments.verifier { Verifier::On } else { Verifier::Off },
            files: arguments.files.clone(),
            watchdog: arguments.watchdog(),
            output: None,
        };
        let groups: Vec<&[PathBuf]> =
            if arguments.together && !files.is_empty() { vec![files] } else { files.chunks(1).collect() };
        let leaks = if arguments.fail_on_leak { Leaks::Failure } else { Leaks::Told };
        let mut drivers = Drivers { hosts: Vec::new(), leaks };
        let mut filters = Vec::new();
        for group in groups {
            let name = names(group);
            let output = name.clone();
            let hosting = Hosting {
                output: Some(Arc::new(move |line: &str| output::complain(&format!("{output}: {line}")))),
                ..hosting.clone()
            };
            let host = DriverHost::start(io, &hosting, group).map_err(|error| load_failure(&name, &error))?;
            let all = session.interfaces(None);
            for file in group {
                filters.push(filter_of(file, host.devices(), &all)?);
            }
            drivers.hosts.push(host);
        }
        Ok((drivers, filters))
    }

    /// Sends a request of plug and play or power to the devices of the driver whose file has this name; `None`: there is no
    /// such file.
    pub(crate) fn request(&self, name: &str, request: DeviceRequest) -> Option<Result<(), NtStatus>> {
        let files = self.hosts.iter().flat_map(|host| host.files().iter().map(move |file| (host, file)));
        let mut named = files.filter(|(_, file)| names(std::slice::from_ref(*file)) == name);
        named.next().map(|(host, file)| host.request(file, request))
    }

    /// Unloads all drivers. What they have not given back is told.
    pub(crate) fn unload(&self) -> Unloaded {
        let mut unloaded = Unloaded::default();
        for host in &self.hosts {
            let driver = names(host.files());
            let ended = host.stop();
            let before = unloaded.left_behind.len();
            for leak in ended.leaks {
                output::complain(&format!("{driver}: not given back at the unload: {leak}"));
                unloaded.left_behind.push(LeftBehind::memory(&driver, leak));
            }
            for remainder in ended.remainders {
                output::complain(&format!("{driver}: left behind at the unload: {remainder}"));
                unloaded.left_behind.push(LeftBehind::other(&driver, remainder.to_string()));
            }
            if self.leaks == Leaks::Failure && unloaded.left_behind.len() > before {
                let why = "it has left behind what is told above".to_owned();
                unloaded.failure = unloaded.failure.or(Some(Failure::job(format!("unload `{driver}` whole"), why)));
            }
            unloaded.reports.extend(ended.report);
        }
        unloaded
    }
}

fn this_program() -> Result<HostCommand, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::job("find this program, to start a driver host", error.to_string()))?;
    Ok(HostCommand { program, arguments: vec![HOST_VERB.into()] })
}

/// The failure of a command whose driver broke: the report is what matters.
pub(crate) fn broken(report: &DriverReport) -> Failure {
    let why = format!("{}: {}", report.kind, report.what);
    Failure::job(format!("go on with `{}`", report.driver), why)
}

fn names(files: &[PathBuf]) -> String {
    let names = files.iter().map(|file| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy());
    names.collect::<Vec<_>>().join(" and ")
}

fn load_failure(name: &str, error: &DriverError) -> Failure {
    if let DriverError::Broken(report) = error {
        output::complain(&report.to_string());
        return broken(report);
    }
    let why = error.to_string().replace("; ", "\n  ");
    let failure = Failure::job(format!("load the driver `{name}`"), why);
    match error {
        DriverError::File { .. } => failure.with_hint("give the path of a driver's file"),
        DriverError::Load(report) if report.what.contains("imports are not implemented") => {
            failure.with_hint("--permissive loads it and tells when one of them is called")
        }
        _ => failure,
    }
}

/// The first filter of the driver in `file`. Several drivers of one process have a device each, named after the file.
fn filter_of(file: &PathBuf, devices: &[String], all: &[InterfaceInfo]) -> Result<InterfaceInfo, Failure> {
    let name = names(std::slice::from_ref(file));
    let own = |one: &&InterfaceInfo| devices.len() == 1 || one.device.starts_with(&printable(&name));
    let found = all.iter().filter(|one| devices.contains(&one.device)).find(own);
    found.cloned().ok_or_else(|| {
        Failure::job(format!("use the driver `{name}`"), "it offers no filter".to_owned())
            .with_hint("a filter descriptor without categories registers no device interface")
    })
}
