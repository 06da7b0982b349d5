//! Builds a driver of tests from its C source, loads it into this process and calls it.
//!
//! ```ignore
//! let driver = Driver::of_tests("image/first.c");
//! driver.run_all_tests();
//! ```
#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{fs, process};

use ks_nt::exports;
use ks_nt::image::{Image, Options};

/// A loaded driver.
pub(crate) struct Driver {
    image: Image,
}

/// A name that the test itself exports to the driver, and its address.
pub(crate) type Extra = (&'static str, *const ());

impl Driver {
    /// Builds `drivers/tests/SOURCE`, loads it with what the crate exports, and calls nothing.
    pub(crate) fn of_tests(source: &str) -> Self {
        Self::with(source, &[], Options::default())
    }

    /// As [`Driver::of_tests`], with exports of the test's own, which come first.
    pub(crate) fn with(source: &str, extra: &[Extra], options: Options) -> Self {
        Self::load(&build(&[], &[source]), extra, options)
    }

    /// Loads a driver that is built.
    pub(crate) fn load(path: &Path, extra: &[Extra], options: Options) -> Self {
        let bytes = fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let resolver = |_: &str, name: &str| {
            let own = extra.iter().find(|(known, _)| *known == name).map(|(_, address)| *address as u64);
            own.or_else(|| exports::find(name).map(|export| export.target.address()))
        };
        match Image::load(name, &bytes, &resolver, options) {
            Ok(image) => Self { image },
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Calls the entry point and returns its status.
    pub(crate) fn enter(&self, driver_object: *mut (), registry_path: *mut ()) -> u32 {
        type Entry = unsafe extern "win64" fn(*mut (), *mut ()) -> u32;
        ks_nt::machine::enter_thread();
        // SAFETY: the image is a driver of this repository's; its entry point has this signature.
        let entry = unsafe { std::mem::transmute::<*const (), Entry>(self.image.entry() as *const ()) };
        // SAFETY: as above; it takes what the test gives.
        unsafe { entry(driver_object, registry_path) }
    }

    /// Address of an export of the driver.
    pub(crate) fn export(&self, name: &str) -> *const () {
        let address = self.image.export(name);
        address.unwrap_or_else(|| panic!("{} does not export {name}", self.image.name())) as *const ()
    }

    /// Calls an export that takes up to four words and returns one.
    pub(crate) fn call(&self, name: &str, arguments: [u64; 4]) -> u64 {
        type Routine = unsafe extern "win64" fn(u64, u64, u64, u64) -> u64;
        ks_nt::machine::enter_thread();
        // SAFETY: the address is code of the image; unused arguments are in registers.
        let routine = unsafe { std::mem::transmute::<*const (), Routine>(self.export(name)) };
        let [first, second, third, fourth] = arguments;
        // SAFETY: the test knows what its driver's routine takes.
        unsafe { routine(first, second, third, fourth) }
    }

    /// Calls `TEST(name)` and returns what failed.
    pub(crate) fn outcome(&self, name: &str) -> Result<(), String> {
        let text = self.call(&format!("test_{name}"), [0; 4]) as *const c_char;
        if text.is_null() {
            return Ok(());
        }
        // SAFETY: a test returns NULL or a string of its image.
        Err(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    /// Calls `TEST(name)`.
    #[track_caller]
    pub(crate) fn run_test(&self, name: &str) {
        if let Err(failure) = self.outcome(name) {
            panic!("{name}: {failure}");
        }
    }

    /// Calls every `TEST` of the driver, in the order of their names, and reports all that fail.
    #[track_caller]
    pub(crate) fn run_all_tests(&self) {
        let names: Vec<_> = self.image.exports().filter_map(|name| name.strip_prefix("test_")).collect();
        assert!(!names.is_empty(), "{} has no tests", self.image.name());
        let failed = names.iter().filter_map(|name| Some(format!("{name}: {}", self.outcome(name).err()?)));
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), names.len(), failed.join("\n"));
    }
}

/// Where the drivers' sources are.
pub(crate) fn drivers_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").canonicalize().unwrap()
}

/// Builds a driver of `drivers/tests` with `drivers/build.sh` unless it is newer than every file it could be made of.
/// The driver has the name of its first source and of the options. Test programs may build the same one at a time: each
/// replaces it whole.
pub(crate) fn build(options: &[&str], sources: &[&str]) -> PathBuf {
    let drivers = drivers_dir();
    let stem = Path::new(sources[0]).with_extension("").to_string_lossy().replace('/', "-");
    let options_name: String =
        options.iter().flat_map(|option| option.chars()).filter(char::is_ascii_alphanumeric).collect();
    let name = if options.is_empty() { format!("{stem}.sys") } else { format!("{stem}-{options_name}.sys") };
    let built = output_dir().join(name);
    let sources: Vec<_> = sources.iter().map(|source| drivers.join("tests").join(source)).collect();
    if is_current(&built, &sources, &drivers) {
        return built;
    }
    let mut command = Command::new(drivers.join("build.sh"));
    command.args(options).arg("-o").arg(&built).args(&sources).current_dir(&drivers);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; `cargo xtask setup` installs what it needs\n{said}");
    eprint!("{said}");
    built
}

/// `<target>/drivers`, beside the profile's directory with this test program.
fn output_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let dir = target.join("drivers");
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn is_current(built: &Path, sources: &[PathBuf], drivers: &Path) -> bool {
    let Some(made) = modified(built) else {
        return false;
    };
    let headers = [drivers.join("include"), sources[0].parent().unwrap().to_owned()];
    let headers = headers.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
    let headers = headers.map(|entry| entry.unwrap().path());
    let headers = headers.filter(|path| path.extension().is_some_and(|extension| extension == "h"));
    let parts = sources.iter().cloned().chain(headers).chain([drivers.join("build.sh")]);
    parts.into_iter().all(|part| modified(&part).is_some_and(|part| part < made))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Writes bytes to a file of this process's own, for tests of messages that name a file.
pub(crate) fn temporary_file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = output_dir().join(format!("{}-{name}", process::id()));
    fs::write(&path, bytes).unwrap();
    path
}
