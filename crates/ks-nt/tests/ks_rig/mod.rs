//! A hosted driver and a client of it, in one process: in virtual time, where a test says so by [`each_seed`].
#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier};
use ks_client::{Client, Connect, Filter, Format, Object, Pin, StreamRequest};
use ks_io::{IoManager, RequestorMode, Services, Spawned, Ticks};
use ks_nt::host::{Host, LoadedDriver, Unloaded};
use ks_nt::image::Options;
use ks_nt::ntoskrnl::scheduler::VirtualTime;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};
use zerocopy::IntoBytes;

/// Orders in which each scene runs.
const SEEDS: u64 = 3;

thread_local! {
    /// The virtual time of the scene that runs on this thread.
    static SERVICES: RefCell<Option<Services>> = const { RefCell::new(None) };
}

/// Plays a scene in virtual time, once with each of several seeds. A panic tells its seed, and `KS_SEED` in the environment
/// plays it with that one. The kernel is the process's, so that one scene plays at a time.
pub(crate) fn each_seed(mut scene: impl FnMut()) {
    let seeds = if std::env::var_os("KS_SEED").is_some() { 1 } else { SEEDS };
    (0..seeds).for_each(|seed| play(seed, &mut scene));
}

/// Plays a scene once, in the order of a seed.
pub(crate) fn play(seed: u64, scene: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let services = Services::virtual_time(seed);
    let time = VirtualTime::of(&services);
    SERVICES.set(Some(services.clone()));
    scene();
    SERVICES.take();
    drop(time);
    assert_eq!(services.deadlock_report(), None, "seed {seed}");
    assert_eq!(services.work_panics(), 0, "seed {seed}");
}

fn services() -> Services {
    SERVICES.with_borrow(Clone::clone).unwrap_or_else(Services::real)
}

/// Lets others run before the caller looks again: mostly at the same instant, now and then a little later.
pub(crate) fn moment() {
    thread_local! {
        static LOOKS: Cell<u32> = const { Cell::new(0) };
    }
    let services = SERVICES.with_borrow(Clone::clone).expect("a scene of `each_seed`");
    LOOKS.set(LOOKS.get() + 1);
    if LOOKS.get().is_multiple_of(64) {
        let _ = services.delay_until(services.now() + Ticks::MILLISECOND);
    } else {
        services.yield_now();
    }
}

/// Runs on another thread of the scene.
pub(crate) fn beside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Spawned<T> {
    services().spawn("beside", act).unwrap()
}

/// Drivers, loaded and started.
pub(crate) struct Rig {
    client: Client,
    /// As of a driver.
    kernel: Client,
    drivers: Vec<LoadedDriver>,
}

/// A pin and the bytes of its frames.
pub(crate) struct Created {
    pub(crate) pin: Pin,
    pub(crate) format: Format,
    pub(crate) bytes: usize,
}

impl Rig {
    /// Builds and starts the driver of a source below `drivers/`.
    pub(crate) fn start(source: &str) -> Rig {
        Rig::start_all(&[source])
    }

    /// Builds and starts several drivers in one engine.
    pub(crate) fn start_all(sources: &[&str]) -> Rig {
        Rig::start_with(sources, &[])
    }

    /// As [`Rig::start_all`], built with options for the compiler.
    pub(crate) fn start_with(sources: &[&str], options: &[&str]) -> Rig {
        // Every driver of a test is verified.
        ks_nt::verifier::enable();
        let io = IoManager::new(services());
        let host = Host::new(io.clone());
        let load = |source: &&str| host.load(&build(source, options), Options::default());
        let drivers = sources.iter().map(load).collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"));
        let kernel = Client::new(io.session_as(RequestorMode::Kernel));
        Rig { client: Client::new(io.session()), kernel, drivers }
    }

    /// Opens the first driver's first filter.
    pub(crate) fn open(&self) -> Filter {
        self.open_of(0)
    }

    /// Opens a filter of the first driver.
    pub(crate) fn open_filter(&self, filter: usize) -> Filter {
        self.client.open_by_name(&self.drivers[0].filters()[filter]).unwrap()
    }

    /// Opens the first driver's first filter as another driver.
    pub(crate) fn open_as_driver(&self) -> Filter {
        self.kernel.open_by_name(&self.drivers[0].filters()[0]).unwrap()
    }

    /// Opens the first filter of a driver.
    pub(crate) fn open_of(&self, driver: usize) -> Filter {
        self.client.open_by_name(&self.drivers[driver].filters()[0]).unwrap()
    }

    /// As [`Rig::open_of`], if the driver agrees.
    pub(crate) fn try_open(&self, driver: usize) -> Result<Filter, ks_client::ClientError> {
        self.try_open_named(&self.drivers[driver].filters()[0])
    }

    /// Opens a filter by its reference string.
    pub(crate) fn try_open_named(&self, name: &str) -> Result<Filter, ks_client::ClientError> {
        self.client.open_by_name(name)
    }

    /// As [`Rig::try_open_named`], as another driver.
    pub(crate) fn try_open_named_as_driver(&self, name: &str) -> Result<Filter, ks_client::ClientError> {
        self.kernel.open_by_name(name)
    }

    /// One of the drivers.
    pub(crate) fn driver(&self, driver: usize) -> &LoadedDriver {
        &self.drivers[driver]
    }

    /// Link of the first filter of a driver.
    pub(crate) fn link_of(&self, driver: usize) -> String {
        self.client.find(&self.drivers[driver].filters()[0]).unwrap().symbolic_link
    }

    /// Creates a pin with the format that the driver prefers, or with that of the pin that it connects to.
    pub(crate) fn create(&self, filter: &Filter, id: u32, pin_to: Option<&Created>) -> Created {
        self.try_create(filter, id, pin_to).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Rig::create`], if the driver agrees.
    pub(crate) fn try_create(
        &self,
        filter: &Filter,
        id: u32,
        pin_to: Option<&Created>,
    ) -> Result<Created, ks_client::ClientError> {
        Created::try_new(filter, id, pin_to)
    }

    /// A client of its own, which another thread may have.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Pulls the devices of all drivers out.
    pub(crate) fn surprise_remove(&self) {
        self.drivers.iter().for_each(LoadedDriver::surprise_remove);
    }

    /// Unloads the drivers; nobody has them open.
    pub(crate) fn unload(self) {
        drop((self.client, self.kernel));
        for driver in self.drivers {
            assert_eq!(driver.unload(), Unloaded::Gone);
        }
    }
}

impl Created {
    /// As [`Rig::try_create`], which needs no rig.
    pub(crate) fn try_new(
        filter: &Filter,
        id: u32,
        pin_to: Option<&Created>,
    ) -> Result<Created, ks_client::ClientError> {
        let factory = &filter.pins().unwrap()[id as usize];
        let format = match pin_to {
            Some(other) => other.format.clone(),
            None => filter.intersect(id, &factory.data_ranges)?,
        };
        let connect = Connect {
            pin_id: id,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: pin_to.map(|other| &other.pin),
            format: &format,
        };
        let pin = filter.create_pin(connect, factory.data_flow)?;
        let bytes = format.head().sample_size as usize;
        Ok(Created { pin, format, bytes })
    }

    /// That many empty frames, sent to be filled.
    pub(crate) fn read(&self, frames: usize) -> StreamRequest {
        let frames = (0..frames).map(|_| self.pin.allocate(self.bytes).unwrap()).collect();
        self.pin.read_stream(frames).unwrap()
    }

    /// One frame with these bytes, sent to be used.
    pub(crate) fn write(&self, bytes: &[u8]) -> StreamRequest {
        let mut frame = self.pin.allocate(bytes.len().max(1)).unwrap();
        assert!(frame.fill(bytes));
        self.pin.write_stream(vec![frame]).unwrap()
    }
}

/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);

/// What a driver's own check of an object says has failed.
pub(crate) fn failure(object: &Object, check: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// Frames travel on other threads: asked until it holds. The test program's own limit ends a wait for what never comes.
pub(crate) fn eventually(object: &Object, check: u32) {
    while !failure(object, check).is_empty() {
        moment();
    }
}

/// The pin's format with another sample size.
pub(crate) fn sized(created: &Created, bytes: u32) -> Format {
    let mut format = created.format.bytes().to_vec();
    format[8..12].copy_from_slice(&bytes.to_le_bytes());
    Format::from_bytes(&format).unwrap()
}

/// The number that a picture shows along its top, least significant bit at the left.
pub(crate) fn picture_number(picture: &[u8], width: usize) -> u32 {
    let square = width / 32;
    (0..32).filter(|bit| picture[bit * square + square / 2] > 128).fold(0, |number, bit| number | 1 << bit)
}

/// Why a driver, built with an option for its compiler, does not load.
pub(crate) fn refused(source: &str, option: &str) -> String {
    let host = Host::new(IoManager::new(Services::real()));
    host.load(&build(source, &[option]), Options::default()).unwrap_err().to_string()
}

/// Builds a driver beside the test program, once in a run of it. Test programs may do so at a time: each replaces the file
/// whole.
fn build(source: &str, options: &[&str]) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{source} {}", options.join(" "));
    built.entry(key).or_insert_with(|| build_anew(source, options)).clone()
}

fn build_anew(source: &str, options: &[&str]) -> PathBuf {
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").canonicalize().unwrap();
    let program = std::env::current_exe().unwrap();
    let variant: String = options.concat().chars().filter(char::is_ascii_alphanumeric).collect();
    let output = program.ancestors().nth(3).unwrap().join("drivers").join(variant);
    std::fs::create_dir_all(&output).unwrap();
    let built = output.join(Path::new(source).with_extension("sys").file_name().unwrap());
    let mut command = Command::new(drivers.join("build.sh"));
    command.args(options).arg("-o").arg(&built).arg(drivers.join(source)).current_dir(&drivers);
    let definitions = drivers.join(source).with_extension("def");
    if definitions.exists() {
        // Names that the import library of ks.sys does not list.
        let library = built.with_extension("a");
        let mut tool = Command::new("x86_64-w64-mingw32-dlltool");
        assert!(tool.arg("-d").arg(&definitions).arg("-l").arg(&library).status().unwrap().success());
        command.arg(library);
    }
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?} failed; `cargo xtask setup` installs what it needs\n{text}");
    built
}
