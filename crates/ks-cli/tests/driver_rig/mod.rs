//! Driver files made from their sources, and a host for them whose requests a test makes itself.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ks_abi::{Guid, IoControlCode, KsProperty, NtStatus};
use ks_broker::driver_host::{Imports, Sandbox, Verifier};
use ks_broker::drivers::{DriverError, DriverHost, Hosting};
use ks_broker::host_process::{Ended, HostCommand};
use ks_broker::minidriver_host::{self, DriverFiles, DriverStart};
use ks_client::{Client, Connect, Filter, Format, Pin, StreamRequest};
use ks_io::{IoManager, Services};
use ks_twins::{Files, Surroundings};
use zerocopy::IntoBytes;

use crate::support::{KS, Ran, Scratch, ks, tool};

/// The kinds of misuse that a driver's source says in so many words; the compiler need not.
const QUIET: [&str; 6] = [
    "-Wno-multichar",
    "-Wno-unused-function",
    "-Wno-unused-const-variable",
    "-Wno-missing-braces",
    "-Wno-missing-field-initializers",
    "-Wno-infinite-recursion",
];

/// One at a time builds; two would write the same file.
static BUILDS: Mutex<()> = Mutex::new(());

/// Where the sources of the drivers are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").canonicalize().expect("the drivers' directory")
}

/// The sample driver of this name.
pub(crate) fn sample(name: &str) -> String {
    let source = ["c", "cpp"].map(|extension| sources().join(name).join(name).with_extension(extension));
    let source = source.into_iter().find(|file| file.exists()).expect("the source of a sample");
    built(&format!("{name}.sys"), &source, &[])
}

/// What a test of a sample driver is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The Windows driver.
    Driver,
    /// Its twin in Rust, where the driver would be: in a process of its own, behind the same connection.
    Twin,
}

/// The name of the "test" whose process hosts twins when it is started as a host.
pub(crate) const HOSTS_TWINS: &str = "hosts_twins_when_it_is_told_to";

impl Subject {
    /// The file of the sample with this name. That of a twin is no driver: it names one.
    pub(crate) fn file(self, name: &str) -> String {
        match self {
            Subject::Driver => sample(name),
            Subject::Twin => {
                let _one = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
                let file = output().join("twins").join(name).with_extension("sys");
                std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory for twins");
                std::fs::write(&file, "no driver: the host has it\n").expect("a file that names a twin");
                path(&file).to_owned()
            }
        }
    }

    /// A copy of it in the directory of a test.
    pub(crate) fn copied(self, scratch: &Scratch, name: &str) -> String {
        copied(scratch, &self.file(name))
    }

    /// Runs `ks` with these arguments. Every driver of a test is verified.
    pub(crate) fn ks(self, arguments: &[&str]) -> Ran {
        let arguments = &[arguments, &["--verifier"]].concat();
        match self {
            Subject::Driver => ks(arguments),
            Subject::Twin => ks(&[&arguments[..], &["--host", &words(&self.command())]].concat()),
        }
    }

    /// How the subject is hosted, as [`hosting`].
    pub(crate) fn hosting(self) -> Hosting {
        Hosting { command: self.command(), ..hosting() }
    }

    fn command(self) -> HostCommand {
        match self {
            Subject::Driver => hosting().command,
            // The "test" of this very program finds what comes behind `--` by itself.
            Subject::Twin => {
                let words = [HOSTS_TWINS, "--exact", "--nocapture", "--", "driver-host"];
                let program = std::env::current_exe().expect("a test program");
                HostCommand { program, arguments: words.map(Into::into).to_vec() }
            }
        }
    }
}

/// As `--host` takes it, which adds the last word.
fn words(command: &HostCommand) -> String {
    let arguments = command.arguments.split_last().map_or(&[][..], |(_, rest)| rest);
    let arguments = arguments.iter().map(|word| word.to_str().expect("a word in UTF-8"));
    [path(&command.program)].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The life of a process that hosts twins; returns at once where this is a test program like any other.
pub(crate) fn host_twins() {
    let plan = ks_broker::drivers::plan_of(std::env::args_os().skip_while(|word| word != "driver-host").skip(1));
    let Some(plan) = plan else { return };
    let start = |driver: &DriverStart<'_>| {
        let name = Path::new(driver.name).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let files = Some(Arc::new(ParentsFiles(driver.files.clone())) as Arc<dyn Files>);
        let surroundings = Surroundings { settings: driver.settings.to_owned(), files };
        ks_twins::start(driver.io, name, driver.device, &surroundings).map(|device| vec![device])
    };
    // What the harness would still say would be said to nobody.
    std::process::exit(minidriver_host::run(&plan, &start).into());
}

struct ParentsFiles(DriverFiles);

impl Files for ParentsFiles {
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, NtStatus> {
        self.0.read(path, most)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), NtStatus> {
        self.0.write(path, bytes)
    }
}

/// A driver of `drivers/tests/misbehave`, with options for its build. It has a name of its own.
pub(crate) fn misbehaving(name: &str, options: &[&str]) -> String {
    of_tests(&format!("misbehave/{name}"), options)
}

/// A driver of `drivers/tests`, with options for its build. It has a name of its own.
pub(crate) fn of_tests(source: &str, options: &[&str]) -> String {
    let name = source.rsplit('/').next().unwrap_or(source);
    let words: String = options.iter().flat_map(|option| option.chars()).filter(char::is_ascii_alphanumeric).collect();
    let file = if words.is_empty() { format!("{name}.sys") } else { format!("{name}-{words}.sys") };
    built(&file, &sources().join("tests").join(source).with_extension("c"), options)
}

/// Where the drivers of this test program are: of its own for each, because programs may run at once.
fn output() -> PathBuf {
    let program = std::env::current_exe().expect("a test program");
    let name = program.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8");
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    program.ancestors().nth(3).expect("the target directory").join("drivers").join(name)
}

fn built(file: &str, source: &Path, options: &[&str]) -> String {
    let _one = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let output = output();
    std::fs::create_dir_all(&output).expect("a directory for drivers");
    let driver = output.join(file);
    let shown = driver.to_str().expect("a path in UTF-8").to_owned();
    let definitions = Some(source.with_extension("def")).filter(|file| file.exists());
    if is_current(&driver, source) {
        return shown;
    }
    let mut command = Command::new(sources().join("build.sh"));
    command.args(QUIET).args(options).arg("-o").arg(&driver).arg(source);
    if let Some(definitions) = definitions {
        let library = driver.with_extension("a");
        let words = ["-d", path(&definitions), "-l", path(&library)];
        tool("x86_64-w64-mingw32-dlltool", &words).done();
        command.arg(library);
    }
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?} failed; `cargo xtask setup` installs what it needs\n{text}");
    shown
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Newer than its source, each header and the script?
fn is_current(driver: &Path, source: &Path) -> bool {
    let modified = |path: &Path| -> Option<SystemTime> { std::fs::metadata(path).ok()?.modified().ok() };
    let Some(made) = modified(driver) else { return false };
    let headers = [Some(sources().join("include")), source.parent().map(Path::to_owned)];
    let headers = headers.iter().flatten().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut parts: Vec<PathBuf> = headers.map(|entry| entry.path()).collect();
    parts.extend([sources().join("build.sh"), source.to_owned()]);
    parts.iter().all(|part| modified(part).is_some_and(|part| part < made))
}

/// A copy of a driver in the directory of a test, by which its processes are told from those of other tests.
pub(crate) fn copied(scratch: &Scratch, driver: &str) -> String {
    let name = Path::new(driver).file_name().expect("a name").to_str().expect("a name in UTF-8");
    let copy = scratch.path(name);
    std::fs::copy(driver, &copy).expect("a copy of the driver");
    copy
}

/// Processes that host a driver file of this directory.
pub(crate) fn hosts_of(directory: &Path) -> Vec<u32> {
    let mark = directory.canonicalize().expect("a directory");
    let mark = format!("{}/", path(&mark));
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let hosts_it = |number: &u32| {
        let words = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words.iter().any(|word| word == "driver-host") && words.iter().any(|word| word.starts_with(&mark))
    };
    numbers.filter(hosts_it).collect()
}

/// Asserts that no process hosts a driver that was copied to the directory of this test.
#[track_caller]
pub(crate) fn assert_nothing_runs(scratch: &Scratch) {
    let hosts = hosts_of(scratch.directory());
    assert!(hosts.is_empty(), "still running: {hosts:?}");
}

/// Is there a process of this number, be it one that waits to be collected?
pub(crate) fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// How the drivers of a test are hosted, unless it says else: confined, verified, without a watchdog.
pub(crate) fn hosting() -> Hosting {
    Hosting {
        command: HostCommand { program: KS.into(), arguments: vec!["driver-host".into()] },
        imports: Imports::Strict,
        sandbox: Sandbox::On,
        verifier: Verifier::On,
        files: None,
        watchdog: None,
        output: None,
    }
}

/// An engine, and drivers that are hosted for it, each in a process of its own.
pub(crate) struct Rig {
    pub(crate) io: Arc<IoManager>,
    pub(crate) client: Client,
}

/// A driver in its process.
pub(crate) struct Hosted {
    pub(crate) host: DriverHost,
    client: Client,
}

/// A pin and the bytes of its frames.
pub(crate) struct Created {
    pub(crate) pin: Pin,
    pub(crate) format: Format,
    pub(crate) bytes: usize,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let io = IoManager::new(Services::real());
        let client = Client::new(io.session());
        Rig { io, client }
    }

    /// Starts a host for a driver file.
    pub(crate) fn try_start(&self, hosting: &Hosting, driver: &str) -> Result<Hosted, DriverError> {
        let host = DriverHost::start(&self.io, hosting, &[PathBuf::from(driver)])?;
        Ok(Hosted { host, client: self.client.clone() })
    }

    /// Starts one confined host for several driver files, as `--together` does.
    #[track_caller]
    pub(crate) fn start_together(&self, drivers: &[String]) -> Hosted {
        let files: Vec<PathBuf> = drivers.iter().map(PathBuf::from).collect();
        let host = DriverHost::start(&self.io, &hosting(), &files).unwrap_or_else(|error| panic!("{error}"));
        Hosted { host, client: self.client.clone() }
    }

    /// Starts a confined host for a driver file.
    #[track_caller]
    pub(crate) fn start(&self, driver: &str) -> Hosted {
        self.try_start(&hosting(), driver).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a confined host for a sample driver, or for its twin.
    #[track_caller]
    pub(crate) fn start_sample(&self, subject: Subject, name: &str) -> Hosted {
        self.try_start(&subject.hosting(), &subject.file(name)).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Hosted {
    /// Opens its first filter.
    #[track_caller]
    pub(crate) fn open(&self) -> Filter {
        self.open_of(0)
    }

    /// As [`Hosted::open`], if the driver agrees.
    pub(crate) fn try_open(&self) -> Option<Filter> {
        let interfaces = self.client.interfaces(None);
        let device = &self.host.devices()[0];
        self.client.open(&interfaces.iter().find(|one| one.device == *device)?.symbolic_link).ok()
    }

    /// Opens the first filter of one of its drivers.
    #[track_caller]
    pub(crate) fn open_of(&self, driver: usize) -> Filter {
        self.client.open(&self.link_of(driver)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The symbolic link of its first filter.
    #[track_caller]
    pub(crate) fn link(&self) -> String {
        self.link_of(0)
    }

    #[track_caller]
    fn link_of(&self, driver: usize) -> String {
        let interfaces = self.client.interfaces(None);
        let device = &self.host.devices()[driver];
        let own = interfaces.into_iter().find(|one| one.device == *device).expect("a filter of the host");
        own.symbolic_link
    }

    /// Opens the filter of its first driver whose reference string ends so.
    #[track_caller]
    pub(crate) fn open_named(&self, end: &str) -> Filter {
        let interfaces = self.client.interfaces(None);
        let device = &self.host.devices()[0];
        let is_it = |one: &&ks_io::InterfaceInfo| one.device == *device && one.reference.to_lowercase().ends_with(end);
        let own = interfaces.iter().find(is_it).expect("a filter of the host");
        self.client.open(&own.symbolic_link).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Ends it. Nothing of it is left.
    pub(crate) fn stop(self) -> Ended {
        let process = self.host.process_id();
        let ended = self.host.stop();
        assert!(!is_running(process), "the host is gone when its end is told");
        ended
    }

    /// Ends it in good order: no report, nothing that was not given back.
    #[track_caller]
    pub(crate) fn stop_in_order(self) {
        let ended = self.stop();
        assert!(ended.report.is_none() && ended.leaks.is_empty(), "{ended:?}");
    }
}

/// Creates a pin with the format that the driver prefers, or with that of the pin that it connects to.
#[track_caller]
pub(crate) fn create(filter: &Filter, id: u32, pin_to: Option<&Created>) -> Created {
    let factory = &filter.pins().expect("pin factories")[id as usize];
    let format = match pin_to {
        Some(other) => other.format.clone(),
        None => filter.intersect(id, &factory.data_ranges).expect("a format"),
    };
    let connect = Connect {
        pin_id: id,
        interface: factory.interfaces[0],
        medium: factory.mediums[0],
        pin_to: pin_to.map(|other| &other.pin),
        format: &format,
    };
    let pin = filter.create_pin(connect, factory.data_flow).unwrap_or_else(|error| panic!("{error}"));
    let bytes = format.head().sample_size as usize;
    Created { pin, format, bytes }
}

impl Created {
    /// That many empty frames, sent to be filled.
    #[track_caller]
    pub(crate) fn read(&self, frames: usize) -> StreamRequest {
        let frames = (0..frames).map(|_| self.pin.allocate(self.bytes).expect("a frame")).collect();
        self.pin.read_stream(frames).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One frame with these bytes, sent to be used.
    #[track_caller]
    pub(crate) fn write(&self, bytes: &[u8]) -> StreamRequest {
        let mut frame = self.pin.allocate(bytes.len().max(1)).expect("a frame");
        assert!(frame.fill(bytes));
        self.pin.write_stream(vec![frame]).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Asks for a property and says how it ended, with the bytes that came.
pub(crate) fn ask(filter: &Filter, set: Guid, id: u32, flags: u32, room: usize) -> (NtStatus, Vec<u8>) {
    let mut answer = vec![0; room];
    let request = KsProperty::new(set, id, flags);
    let outcome = filter.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    if outcome.status.is_success() {
        answer.truncate(outcome.information);
    }
    (outcome.status, answer)
}

/// A watchdog's limit.
pub(crate) const ONE_SECOND: Duration = Duration::from_secs(1);
