//! What a driver host runs: the engine, the drivers, and the connection to the process that started it.
//!
//! The order is the safety of it: descriptors that nobody meant to hand over are closed, the images are mapped, the
//! process is confined, and only then the first instruction of a driver runs.

use crate::device_request::ManagedDrivers;
use crate::files::ParentsFiles;
use crate::remote::Peer;
use crate::sandbox::{self, Limits};
use crate::terminal::printable;
use ks_io::{IoManager, Services};
use ks_nt::host::{Host, LoadError, LoadedDriver, MappedDriver, Unloaded};
use ks_nt::image::{MissingImport, MissingImports, Options};
use ks_nt::machine::{self, Fault, FaultKind, Halted, Place, Registers};
use ks_nt::ntoskrnl::registry::{self, RegistryError};
use ks_nt::ntoskrnl::{debug_print, file, pool, unload};
use ks_nt::report::{self, Report};
use ks_nt::running;
use ks_wire::Connection;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a host is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The drivers; they share the process.
    pub files: Vec<PathBuf>,
    /// What the device of each is called, so that the links that a driver publishes open it where the host was started
    /// from; a file that none is left for gives its own name.
    pub devices: Vec<String>,
    /// Whether imports that nothing exports are refused or answered by stubs.
    pub imports: Imports,
    /// Whether the process is confined.
    pub sandbox: Sandbox,
    /// Whether the drivers are held to the verifier's rules.
    pub verifier: Verifier,
}

/// Whether drivers are held to Driver Verifier's rules for AVStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verifier {
    /// Only what would stop Windows anyway is told.
    #[default]
    Off,
    /// A broken rule ends the host of a Windows driver, and stops the filter of a Rust minidriver.
    On,
}

/// What becomes of imports that nothing exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Imports {
    /// The driver is not loaded.
    #[default]
    Strict,
    /// They are reported when they are called, and answer STATUS_NOT_IMPLEMENTED.
    Permissive,
}

/// Whether a host is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// It is.
    #[default]
    On,
    /// It can do what its user can: for a debugger, and to show what the sandbox forbids.
    Off,
}

/// What a host reports when its drivers run.
pub(crate) const READY: &[u8] = b"ready";

/// The exit code of a host whose drivers could not be loaded.
pub const NOT_LOADED: u8 = 3;
/// The exit code of a host that was not started by this program.
pub const NOT_A_CHILD: u8 = 2;

/// Runs a host until the other side of its standard input ends. Returns the exit code of the process.
pub fn run(plan: &Plan) -> u8 {
    let Some(connection) = join() else { return NOT_A_CHILD };
    let io = IoManager::new(Services::real());
    let mapped = match prepare(&Host::new(io.clone()), plan) {
        Ok(mapped) => mapped,
        Err(error) => return refused(&error),
    };
    // Served before the drivers start, because DriverEntry may open a file.
    let managed = Arc::new(ManagedDrivers::default());
    let peer = match Peer::serve(&io, connection, managed.clone()) {
        Ok(peer) => Arc::new(peer),
        Err(error) => {
            complain(&format!("serve the connection: {error}"));
            return NOT_A_CHILD;
        }
    };
    let files = ParentsFiles::default();
    files.connect(&peer);
    file::set_file_service(Some(Arc::new(files)));
    let started: Result<Vec<LoadedDriver>, LoadError> = mapped.into_iter().map(MappedDriver::start).collect();
    let drivers = match started {
        Ok(drivers) => drivers,
        Err(error) => return refused(&error),
    };
    managed.manage(drivers);
    peer.report(READY);
    peer.wait_for_end();
    for driver in managed.release().into_iter().rev() {
        if let Unloaded::LeftBehind(left) = driver.unload() {
            complain(&format!("left-timers {}\nleft-work-items {}", left.timers, left.work_items));
            for thread in unload::system_threads() {
                let (image, offset) = thread.routine.in_image().unwrap_or(("", thread.routine.address()));
                complain(&format!("left-thread {} {image} {offset:x}", thread.processor_ms));
            }
        }
    }
    for leak in pool::leaks() {
        let tag: String = leak.tag.to_le_bytes().iter().map(|&byte| letter(byte)).collect();
        complain(&format!("leak {} {} {tag}", leak.blocks, leak.bytes));
    }
    0
}

/// Closes what nobody meant to hand over, and joins the connection on standard input.
pub(crate) fn join() -> Option<Connection> {
    machine::close_inherited(3);
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    match Connection::join(descriptor) {
        Ok(connection) => Some(connection),
        Err(error) => {
            complain(&format!("standard input is no connection of this program: {error}"));
            None
        }
    }
}

/// Tells why the drivers do not run.
pub(crate) fn refused(error: &dyn std::fmt::Display) -> u8 {
    complain(&format!("report load\nwhat {}\nend", error.to_string().replace('\n', "; ")));
    NOT_LOADED
}

/// Why the drivers do not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{file}: {error}")]
    Read { file: String, error: std::io::Error },
    #[error("{file}: {error}")]
    Registry { file: String, error: RegistryError },
    #[error("confine the driver host: {0}")]
    Sandbox(#[from] sandbox::SandboxError),
}

/// Maps the drivers and confines the process.
fn prepare(host: &Host, plan: &Plan) -> Result<Vec<MappedDriver>, HostError> {
    let missing_imports = match plan.imports {
        Imports::Strict => MissingImports::Refuse,
        Imports::Permissive => MissingImports::Stub,
    };
    let options = Options { missing_imports, ..Options::default() };
    if plan.verifier == Verifier::On {
        // Before the images are bound.
        ks_nt::verifier::enable();
    }
    let mut mapped = Vec::new();
    for (at, file) in plan.files.iter().enumerate() {
        mapped.push(map(host, file, &plan.device(at), options)?);
    }
    machine::set_fault_reporter(on_fault);
    machine::set_hang_teller(on_hang);
    report::set_reporter(Some(Arc::new(on_misuse)));
    ks_nt::image::set_missing_import_reporter(on_missing_import);
    debug_print::set_sink(|text| print(&text.text));
    confine(plan.sandbox)?;
    Ok(mapped)
}

/// Confines the process, if it is to be.
pub(crate) fn confine(sandbox: Sandbox) -> Result<(), HostError> {
    if sandbox == Sandbox::On {
        let confined = sandbox::confine(Limits::default())?;
        if !confined.landlock {
            print("the kernel has no Landlock: the filter of system calls stands alone");
        }
    }
    Ok(())
}

fn map(host: &Host, file: &Path, device: &str, options: Options) -> Result<MappedDriver, HostError> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| HostError::Read { file: shown.clone(), error })?;
    let name = name_of(file);
    let (beside, text) = settings_of(file)?;
    let service = name.strip_suffix(".sys").unwrap_or(&name);
    registry::load(service, &text)
        .map_err(|error| HostError::Registry { file: beside.display().to_string(), error })?;
    Ok(host.map_for(&name, device, &bytes, options)?)
}

impl Plan {
    /// What the device of a file is called.
    pub(crate) fn device(&self, at: usize) -> String {
        self.devices.get(at).cloned().or_else(|| self.files.get(at).map(|file| name_of(file))).unwrap_or_default()
    }
}

/// The name of a driver's file, in the form in which it is sent and shown. Where it is free, the device is called so.
pub(crate) fn name_of(file: &Path) -> String {
    printable(&file.file_name().unwrap_or(file.as_os_str()).to_string_lossy())
}

/// `synthcam.toml` beside `synthcam.sys` and its text: what is in the registry of the driver. No file is an empty one.
pub(crate) fn settings_of(file: &Path) -> Result<(PathBuf, String), HostError> {
    let beside = file.with_extension("toml");
    match std::fs::read_to_string(&beside) {
        Ok(text) => Ok((beside, text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((beside, String::new())),
        Err(error) => Err(HostError::Read { file: beside.display().to_string(), error }),
    }
}

/// A line to standard output. Nobody is left to be told if it cannot be written.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    for line in text.lines() {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn letter(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
}

/// Text of a dying process: it allocates nothing.
struct FixedText {
    bytes: [u8; 8192],
    used: usize,
}

impl std::fmt::Write for FixedText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.used;
        let count = room.min(text.len());
        self.bytes[self.used..self.used + count].copy_from_slice(&text.as_bytes()[..count]);
        self.used += count;
        Ok(())
    }
}

impl FixedText {
    const fn new() -> FixedText {
        FixedText { bytes: [0; 8192], used: 0 }
    }

    /// Straight to the descriptor: the lock of the standard stream may be held by the thread that faulted.
    fn send(&mut self) {
        let mut rest = &self.bytes[..self.used];
        while let Ok(count @ 1..) = rustix::io::write(std::io::stderr().as_fd(), rest) {
            rest = &rest[count..];
        }
        self.used = 0;
    }
}

/// In a signal handler, maybe inside of the allocator or with any lock held: it allocates nothing and takes no lock.
fn on_fault(fault: &Fault) -> ! {
    let mut text = FixedText::new();
    let _ = writeln!(text, "report fault\nwhat {}\nlevel {}", fault.kind, fault.irql);
    let _ = writeln!(text, "thread {}", report::thread());
    if let Some((image, offset)) = fault.at.in_image() {
        let _ = writeln!(text, "at {image} {offset:x}");
    }
    if let Some((image, offset)) = fault.called_from.as_ref().and_then(Place::in_image) {
        let _ = writeln!(text, "called-from {image} {offset:x}");
    }
    // What is in an image is where it is; of the rest it matters who called.
    if fault.at.in_image().is_none() || matches!(fault.kind, FaultKind::StackOverflow { .. }) {
        write_callers(&mut text, machine::callers_of(fault));
    }
    if let Some(in_hand) = report::in_hand() {
        let _ = writeln!(text, "request {in_hand}");
    }
    write_registers(&mut text, &fault.registers);
    text.send();
    write_events(&mut text, report::recent());
    let _ = text.write_str("end\n");
    text.send();
    report::end_process()
}

/// How long the thread that does not return may take to halt.
const HALTS_MS: i32 = 500;

/// The parent is about to end this process, because a routine of a driver does not return: which, on what object, where.
/// Without a word where that cannot be found out.
pub(crate) fn tell_of_hang() {
    let Some(thread) = running::endless_thread() else { return };
    if let Some(halted) = machine::halt(thread, HALTS_MS) {
        on_hang(&halted)
    }
}

/// On any thread; in the signal handler of the one that does not return, where the parent could not ask otherwise.
fn on_hang(halted: &Halted) -> ! {
    report::claim_end();
    let routine = halted.in_hand.map_or("a routine of the driver", |in_hand| in_hand.routine);
    let mut text = FixedText::new();
    let _ = write!(text, "report hang\nwhat {routine}");
    // In the handler of a thread that is in the driver's own code, no lock is held and the allocator is not in use.
    let is_safe = halted.at.in_image().is_some() || report::thread() != halted.thread;
    if is_safe && let Some(object) = halted.in_hand.and_then(|in_hand| in_hand.object()) {
        let _ = write!(text, " of {object}");
    }
    let _ = writeln!(text, " does not return\nlevel {}\nthread {}", halted.irql, halted.thread);
    if let Some((image, offset)) = halted.at.in_image() {
        let _ = writeln!(text, "at {image} {offset:x}");
    }
    write_callers(&mut text, halted.callers());
    if let Some(in_hand) = halted.in_hand {
        let _ = writeln!(text, "request {in_hand}");
    }
    write_registers(&mut text, &halted.registers);
    text.send();
    write_events(&mut text, report::recent());
    let _ = text.write_str("end\n");
    text.send();
    report::end_process()
}

fn write_registers(text: &mut FixedText, all: &Registers) {
    let mut registers = Lines { text, prefix: "register ", at_start: true };
    let _ = write!(registers, "{all}");
    let _ = text.write_str("\n");
}

fn write_callers(text: &mut FixedText, callers: impl Iterator<Item = Place>) {
    for place in callers {
        if let Some((image, offset)) = place.in_image() {
            let _ = writeln!(text, "caller {image} {offset:x}");
        }
    }
}

/// Puts a prefix before each line.
struct Lines<'t> {
    text: &'t mut FixedText,
    prefix: &'static str,
    at_start: bool,
}

impl std::fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for part in text.split_inclusive('\n') {
            if std::mem::replace(&mut self.at_start, part.ends_with('\n')) {
                self.text.write_str(self.prefix)?;
            }
            self.text.write_str(part)?;
        }
        Ok(())
    }
}

fn write_events(text: &mut FixedText, events: impl Iterator<Item = report::Event>) {
    for event in events {
        let [first, second] = event.details;
        let (seconds, micros) = (event.time / 10_000_000, event.time % 10_000_000 / 10);
        let _ = writeln!(
            text,
            "event {seconds}.{micros:06} thread {} level {} {} {first:#x} {second:#x}",
            event.thread, event.irql, event.what
        );
        if text.used > text.bytes.len() / 2 {
            text.send();
        }
    }
}

/// On the thread that broke the rule. A host lets no driver go on after it.
fn on_misuse(report: &Report) {
    report::claim_end();
    let mut text = FixedText::new();
    let kind = if report.routine.starts_with("KeBugCheck") { "bug-check" } else { "misuse" };
    let _ = writeln!(text, "report {kind}\nwhat {}: {} ({})", report.routine, report.what, report.code);
    if let Some(rule) = report.rule {
        let _ = writeln!(text, "rule {rule}");
    }
    let _ = writeln!(text, "level {}\nthread {}", report.irql, report.thread);
    match report.place() {
        // What is over is on no stack: what may still lie there is of other calls.
        Some(place) => {
            if let Some((image, offset)) = place.in_image() {
                let _ = writeln!(text, "at {image} {offset:x}");
            }
        }
        None => write_callers(&mut text, machine::callers()),
    }
    if let Some(in_hand) = report::in_hand() {
        let _ = writeln!(text, "request {in_hand}");
    }
    text.send();
    write_events(&mut text, report.events.iter().copied());
    let _ = text.write_str("end\n");
    text.send();
    report::end_process()
}

fn on_missing_import(image: &str, import: &MissingImport) {
    print(&format!("{image} called {import}, which nothing exports: STATUS_NOT_IMPLEMENTED"));
}
