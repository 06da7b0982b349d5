//! A driver host whose drivers are the Rust twins of the samples: it takes the place of the one for Windows drivers.
//!
//!     cargo build --release -p ks-twins --example twins
//!     ks run --host target/release/examples/twins 'drivers/synthcam.sys ! y4m-writer path=camera.y4m frames=150'
//!
//! The name of the file says which driver is meant; nothing of `synthcam.sys` is loaded here.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ks_abi::NtStatus;
use ks_broker::drivers::plan_of;
use ks_broker::minidriver_host::{self, DriverFiles, DriverStart};
use ks_stream::Device;
use ks_twins::{Files, Surroundings};

struct ParentsFiles(DriverFiles);

impl Files for ParentsFiles {
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, NtStatus> {
        self.0.read(path, most)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), NtStatus> {
        self.0.write(path, bytes)
    }
}

fn start(driver: &DriverStart<'_>) -> Result<Vec<Arc<Device>>, String> {
    let name = Path::new(driver.name).file_stem().unwrap_or_default().to_string_lossy();
    let files = Arc::new(ParentsFiles(driver.files.clone()));
    let surroundings = Surroundings { settings: driver.settings.to_owned(), files: Some(files) };
    ks_twins::start(driver.io, &name, driver.device, &surroundings).map(|device| vec![device])
}

fn main() -> ExitCode {
    // `driver-host` comes first.
    match plan_of(std::env::args_os().skip(2)) {
        Some(plan) => minidriver_host::run(&plan, &start).into(),
        None => {
            eprintln!("this program is started by `ks run --host`");
            ExitCode::from(2)
        }
    }
}
