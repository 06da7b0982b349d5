//! The drivers of a process: each host started, watched, and told about.

use crate::device_names::DeviceNames;
use crate::device_request::DeviceRequest;
use crate::driver_host::{self, Imports, Plan, READY, Sandbox, Verifier};
use crate::files::Files;
use crate::host_process::{ANSWERS_WHY, Ended, HostCommand, HostProcess, OutputSink, StartError};
use crate::remote::{Handler, Peer, PeerOptions};
use crate::report::{CodePlace, DriverReport, Remainder, ReportKind};
use crate::terminal::printable;
use ks_abi::{NtStatus, STATUS_DEVICE_REMOVED};
use ks_io::IoManager;
use ks_nt::ntoskrnl::folder::Folder;
use ks_wire::WireError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How drivers are hosted.
#[derive(Clone)]
pub struct Hosting {
    /// The program that hosts them.
    pub command: HostCommand,
    /// What becomes of imports that nothing exports.
    pub imports: Imports,
    /// Whether hosts are confined.
    pub sandbox: Sandbox,
    /// Whether drivers are held to the verifier's rules.
    pub verifier: Verifier,
    /// The folder that drivers find their files in, a folder a drive: `C/logs/a.txt` below it is `\??\C:\logs\a.txt`.
    /// `None`: they have no files.
    pub files: Option<PathBuf>,
    /// How long a driver may keep a request before its host is ended; `None`: for ever.
    pub watchdog: Option<Duration>,
    /// Takes the lines that drivers print.
    pub output: Option<OutputSink>,
}

/// The default of [`Hosting::watchdog`].
pub const WATCHDOG: Duration = Duration::from_secs(5);

/// Why a driver does not run.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The file.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why it cannot be read.
        error: std::io::Error,
    },
    /// The host process.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The host ended before its drivers ran.
    #[error("{}", .0.what)]
    Load(Box<DriverReport>),
    /// The host ended while its drivers started, in another way than by a refusal.
    #[error("{0}")]
    Broken(Box<DriverReport>),
    /// The connection, though the host lives.
    #[error("{driver}: connect to the driver host: {error}")]
    Wire {
        /// The driver.
        driver: String,
        /// Why.
        error: WireError,
    },
}

/// One host with its drivers.
pub struct DriverHost {
    files: Vec<PathBuf>,
    /// `None` once the host was stopped.
    peer: Mutex<Option<Arc<Peer>>>,
    service: Arc<Service>,
    process: Arc<HostProcess>,
    devices: Vec<String>,
    watch: Arc<Watch>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// What the watchdog and the host's owner share.
#[derive(Default)]
struct Watch {
    stopped: Mutex<bool>,
    changed: Condvar,
    /// Why the watchdog ended the host.
    hang: OnceLock<String>,
}

/// How long a host may take to unload its drivers.
const UNLOAD: Duration = Duration::from_secs(2);

/// How long requests of a host whose connection has ended wait for its end, and with it for the end of its report: no
/// less than an unload may take.
const LAST_WORDS: Duration = UNLOAD;

/// What is sent to a host that is about to be ended because a routine of its driver does not return.
pub(crate) const WHY: &[u8] = b"why";

/// What this side does for a host: its files, and the word that its drivers run.
struct Service {
    files: Files,
    process: Arc<HostProcess>,
    /// Its end is wanted: there is no report to wait for.
    stopping: AtomicBool,
    /// The drivers run, or never will.
    settled: Mutex<bool>,
    changed: Condvar,
}

impl Service {
    fn settle(&self) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn new(process: Arc<HostProcess>, files: Files) -> Service {
        let (settled, changed) = Default::default();
        Service { files, process, stopping: AtomicBool::new(false), settled, changed }
    }

    /// Waits until the drivers run or never will. False when `most` has passed before.
    fn wait(&self, most: Option<Duration>) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.unwrap_or(Duration::MAX);
        self.changed.wait_timeout_while(settled, most, |settled| !*settled).is_ok_and(|(settled, _)| *settled)
    }
}

impl Handler for Service {
    /// Whoever learns that a request was lost can ask why.
    fn ended(&self) {
        if !self.stopping.load(Ordering::Acquire) && !self.process.wait_for_report(LAST_WORDS) {
            // It lives on without a connection, and nothing can come of it; or it does not get to its end.
            self.process.kill();
            self.process.wait_for_report(LAST_WORDS);
        }
    }

    fn report(&self, bytes: &[u8]) {
        if bytes == READY {
            self.settle();
        }
    }

    fn service(&self, operation: u32, body: &[u8]) -> (NtStatus, Vec<u8>) {
        self.files.answer(operation, body)
    }
}

impl DriverHost {
    /// Starts a host for `files`, which share its process, and registers their filters in `io`.
    pub fn start(io: &Arc<IoManager>, hosting: &Hosting, files: &[PathBuf]) -> Result<DriverHost, DriverError> {
        let files: Result<Vec<PathBuf>, DriverError> = files.iter().map(|file| absolute(file)).collect();
        let files = files?;
        let driver = shown(&files);
        let folder = hosting.files.as_deref().map(open_folder).transpose()?;
        // Until the devices are registered under them.
        let names = DeviceNames::reserve(io, &files);
        let plan = Plan {
            files: files.clone(),
            devices: names.names().to_vec(),
            imports: hosting.imports,
            sandbox: hosting.sandbox,
            verifier: hosting.verifier,
        };
        let (process, connection) =
            HostProcess::start(&hosting.command, &arguments(&plan), &driver, hosting.output.clone())?;
        let process = Arc::new(process);
        let failed = |error| DriverError::Wire { driver: driver.clone(), error };
        let service = Arc::new(Service::new(process.clone(), Files::new(folder)));
        let peer = Peer::start(io, connection, PeerOptions { handler: service.clone(), ..PeerOptions::default() });
        let peer = Arc::new(peer.map_err(failed)?);
        let ended = service.clone();
        peer.on_death(move |_| ended.settle());
        if !service.wait(hosting.watchdog) {
            end_with_reason(&peer, &process);
            let limit_ms = hosting.watchdog.unwrap_or_default().as_millis();
            let what = format!("it has not started within {limit_ms} ms");
            let report = hung(driver, what, process.end(Duration::ZERO).report);
            return Err(DriverError::Broken(Box::new(name_places(report, &files))));
        }
        let devices = match peer.register_devices() {
            Ok(devices) => devices,
            Err(error) => {
                // It has ended, or it is of no use.
                let report = process.end(Duration::from_secs(1)).report.map(|report| name_places(report, &files));
                return Err(match report {
                    Some(report) if report.kind == ReportKind::Load => DriverError::Load(Box::new(report)),
                    Some(report) => DriverError::Broken(Box::new(report)),
                    None => failed(error),
                });
            }
        };
        drop(names);
        let watch = Arc::new(Watch::default());
        let watcher = hosting.watchdog.and_then(|limit| {
            let (peer, process, watch) = (Arc::downgrade(&peer), process.clone(), watch.clone());
            let run = move || watch.run(limit, &|| peer.upgrade(), &process);
            std::thread::Builder::new().name("ks-watchdog".to_owned()).spawn(run).ok()
        });
        let (peer, watcher) = (Mutex::new(Some(peer)), Mutex::new(watcher));
        Ok(DriverHost { files, peer, service, process, devices, watch, watcher })
    }

    /// The drivers' files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Names of the devices that it registered.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// The system's number of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request of plug and play or of power to the devices of the driver from `file`, one of [`DriverHost::files`].
    /// STATUS_NOT_SUPPORTED: it has none, or is not of AVStream; STATUS_DEVICE_REMOVED: the host has ended; else what
    /// refused.
    pub fn request(&self, file: &Path, request: DeviceRequest) -> Result<(), NtStatus> {
        // Not under the lock: a driver may take its time.
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let peer = peer.ok_or(STATUS_DEVICE_REMOVED)?;
        peer.service(request.operation(), driver_host::name_of(file).as_bytes()).map(|_| ())
    }

    /// Has the host ended, or has it begun to say why it will?
    pub fn has_ended(&self) -> bool {
        self.process.has_reported()
    }

    /// Ends the host: in good order where it still works. Says why it had ended before, and what its drivers had not
    /// given back. Further calls say nothing.
    pub fn stop(&self) -> Ended {
        self.watch.stop();
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = watcher.join();
        }
        let Some(peer) = self.peer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ended::default();
        };
        self.service.stopping.store(true, Ordering::Release);
        drop(peer);
        let hang = self.watch.hang.get().cloned();
        let grace = if hang.is_some() { Duration::ZERO } else { UNLOAD };
        let mut ended = self.process.end(grace);
        let late = || format!("its unload has not returned within {} ms", UNLOAD.as_millis());
        let hang = hang.or_else(|| ended.overdue.then(late));
        // A host that could still say what it did was not ended for nothing.
        let broke = |report: &DriverReport| !matches!(report.kind, ReportKind::Ended | ReportKind::Hang);
        if let Some(what) = hang.filter(|_| !ended.report.as_ref().is_some_and(broke)) {
            ended.report = Some(hung(shown(&self.files), what, ended.report));
        }
        ended.report = ended.report.map(|report| name_places(report, &self.files));
        for remainder in &mut ended.remainders {
            if let Remainder::Thread { routine: Some(routine), .. } = remainder
                && let Some(bytes) = file_of(routine, &self.files)
            {
                describe(routine, &bytes, routine.offset);
            }
        }
        ended
    }
}

impl Drop for DriverHost {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl std::fmt::Debug for DriverHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverHost").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Watch {
    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Asks for a sign of life four times a limit. A request that is executing for longer than the limit is a hang, and
    /// so is no answer for as long.
    fn run(&self, limit: Duration, peer: &dyn Fn() -> Option<Arc<Peer>>, process: &HostProcess) {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut asked = 0u64;
        let mut unanswered = 0;
        loop {
            let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(stopped, limit / 4, |stopped| !*stopped);
            if waited.is_ok_and(|(stopped, _)| *stopped) {
                return;
            }
            let Some(peer) = peer() else { return };
            if peer.death().is_some() {
                return;
            }
            let answer = peer.last_heartbeat();
            let hang = match answer {
                Some(answer) if answer.executing > 0 && answer.oldest_ms >= limit_ms => Some(format!(
                    "a request, a DPC or a work item has been running for {} ms (the watchdog allows {limit_ms} ms)",
                    answer.oldest_ms
                )),
                Some(answer) if answer.number == asked => {
                    unanswered = 0;
                    None
                }
                // Nothing was asked yet.
                None if asked == 0 => None,
                _ => {
                    unanswered += 1;
                    (unanswered > 5).then(|| format!("the host gave no sign of life for {limit_ms} ms"))
                }
            };
            if let Some(what) = hang {
                let _ = self.hang.set(what);
                end_with_reason(&peer, process);
                return;
            }
            if unanswered == 0 {
                asked += 1;
                peer.ask_heartbeat(asked);
            }
        }
    }
}

/// Ends a host in which something does not return. It is asked first what that is.
fn end_with_reason(peer: &Peer, process: &HostProcess) {
    peer.report(WHY);
    if !process.wait_for_report(ANSWERS_WHY) {
        // Who would have read it may be who does not return.
        process.ask_why();
        process.wait_for_report(ANSWERS_WHY);
    }
    process.kill();
}

/// The report of a hang: what the host said of it, and what the watchdog saw.
fn hung(driver: String, seen: String, said: Option<DriverReport>) -> DriverReport {
    let said = said.unwrap_or_default();
    let what = if said.kind == ReportKind::Hang { format!("{}: {seen}", said.what) } else { seen };
    DriverReport { driver, kind: ReportKind::Hang, what, ..said }
}

/// No larger file is read.
const MOST_FILE_BYTES: u64 = 256 << 20;

fn absolute(file: &Path) -> Result<PathBuf, DriverError> {
    // Opened here too, so that a file that is not there is told before a process is made for it.
    let failed = |error| DriverError::File { file: file.to_owned(), error };
    let found = std::fs::canonicalize(file).map_err(failed)?;
    let about = std::fs::metadata(&found).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(std::io::Error::other("it is no ordinary file")));
    }
    if about.len() > MOST_FILE_BYTES {
        return Err(failed(std::io::Error::other(format!("it has {} bytes, which no driver has", about.len()))));
    }
    std::fs::File::open(&found).map_err(failed)?;
    Ok(found)
}

fn open_folder(path: &Path) -> Result<Folder, DriverError> {
    Folder::open(path).map_err(|error| DriverError::File { file: path.to_owned(), error })
}

fn shown(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|file| file.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" and ")
}

/// The arguments by which [`plan_of`] finds the plan again.
fn arguments(plan: &Plan) -> Vec<OsString> {
    let mut arguments = Vec::new();
    if plan.imports == Imports::Permissive {
        arguments.push(PERMISSIVE.into());
    }
    if plan.sandbox == Sandbox::Off {
        arguments.push(NO_SANDBOX.into());
    }
    if plan.verifier == Verifier::On {
        arguments.push(VERIFIER.into());
    }
    arguments.extend(plan.devices.iter().flat_map(|device| [DEVICE.into(), device.into()]));
    arguments.push("--".into());
    arguments.extend(plan.files.iter().map(|file| file.clone().into_os_string()));
    arguments
}

const PERMISSIVE: &str = "--permissive";
const NO_SANDBOX: &str = "--no-sandbox";
const VERIFIER: &str = "--verifier";
/// The next argument is the name of a device.
const DEVICE: &str = "--device";

/// The plan that the parent wrote into the arguments of a host; `None` if they are not of its making.
pub fn plan_of(arguments: impl IntoIterator<Item = OsString>) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some(DEVICE) => plan.devices.push(arguments.next()?.into_string().ok()?),
            Some(PERMISSIVE) => plan.imports = Imports::Permissive,
            Some(NO_SANDBOX) => plan.sandbox = Sandbox::Off,
            Some(VERIFIER) => plan.verifier = Verifier::On,
            Some("--") => {
                plan.files = arguments.map(PathBuf::from).collect();
                return Some(plan);
            }
            _ => return None,
        }
    }
    None
}

/// Puts symbols and lines to the places of a report, from the driver's file.
fn name_places(mut report: DriverReport, files: &[PathBuf]) -> DriverReport {
    let callers = std::mem::take(&mut report.callers);
    let follows_call = |place: &CodePlace| {
        let bytes = file_of(place, files);
        bytes.is_some_and(|bytes| ks_nt::image::follows_call(&bytes, place.offset))
    };
    // What else lies on a stack is no caller.
    let mut calls = report.called_from.into_iter().chain(callers).filter(follows_call);
    report.called_from = calls.next();
    if report.rule.is_some() || report.kind == ReportKind::Hang {
        report.stack = calls.collect();
    }
    // A return address belongs to the call before it.
    let named = report.at.iter_mut().map(|place| (place, 0));
    for (place, back) in named.chain(report.called_from.iter_mut().chain(&mut report.stack).map(|place| (place, 1))) {
        if let Some(bytes) = file_of(place, files) {
            describe(place, &bytes, place.offset.saturating_sub(back));
        }
    }
    report
}

/// A name of an image that is shorter has not been cut.
const LEAST_CUT_BYTES: usize = 61;

fn file_of(place: &CodePlace, files: &[PathBuf]) -> Option<Vec<u8>> {
    let is_named = |file: &&PathBuf| {
        let name = printable(&file.file_name().unwrap_or_default().to_string_lossy());
        // The host keeps the beginning of a long name.
        name == place.image || place.image.len() >= LEAST_CUT_BYTES && name.starts_with(&place.image)
    };
    let named = files.iter().find(is_named)?;
    std::fs::read(named).ok()
}

fn describe(place: &mut CodePlace, bytes: &[u8], offset: u64) {
    let description = ks_nt::image::describe(bytes, offset);
    place.symbol = description.symbol.map(|(name, distance)| format!("{name}+{distance:#x}"));
    place.line = description.line.map(|(file, line)| format!("{file}:{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_arguments() {
        for (imports, sandbox, verifier) in
            [(Imports::Strict, Sandbox::Off, Verifier::On), (Imports::Permissive, Sandbox::On, Verifier::Off)]
        {
            let (files, devices) = (vec!["/a b.sys".into(), "/--.sys".into()], vec!["a b.sys-2".into(), "--".into()]);
            let plan = Plan { files, devices, imports, sandbox, verifier };
            assert_eq!(plan_of(arguments(&plan)), Some(plan));
        }
        assert_eq!(plan_of(["--else".into()]), None);
        assert_eq!(plan_of(["--device".into()]), None);
        assert_eq!(plan_of([]), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_told_without_a_process() {
        let io = IoManager::new(ks_io::Services::real());
        let command = HostCommand { program: "/no/such/program".into(), arguments: Vec::new() };
        let (imports, sandbox, verifier) = (Imports::Strict, Sandbox::On, Verifier::On);
        let hosting = Hosting { command, imports, sandbox, verifier, files: None, watchdog: None, output: None };
        let error = DriverHost::start(&io, &hosting, &["/no/such/driver.sys".into()]).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/driver.sys: No such file or directory (os error 2)");
    }
}
