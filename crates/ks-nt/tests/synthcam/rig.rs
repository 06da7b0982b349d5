//! A hosted driver and a client of it, in one process.
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_abi::KsPinDataFlow;
use ks_client::{Client, Connect, Filter, Pin};
use ks_io::{IoManager, Services};
use ks_nt::host::{Host, LoadedDriver, Unloaded};
use ks_nt::image::Options;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A driver, loaded and started.
pub(crate) struct Rig {
    client: Client,
    driver: LoadedDriver,
}

/// A pin and the bytes of its frames.
pub(crate) struct Created {
    pub(crate) pin: Pin,
    pub(crate) bytes: usize,
}

impl Rig {
    /// Builds and starts the driver of a source below `drivers/`.
    pub(crate) fn start(source: &str) -> Rig {
        let io = IoManager::new(Services::real());
        let path = build(source);
        let driver = Host::new(Arc::clone(&io)).load(&path, Options::default());
        let driver = driver.unwrap_or_else(|error| panic!("{error}"));
        let client = Client::new(io.session());
        Rig { client, driver }
    }

    /// Opens the driver's first filter.
    pub(crate) fn open(&self) -> Filter {
        self.client.open_by_name(&self.driver.filters()[0]).unwrap()
    }

    /// Creates an output pin with the format that the driver prefers.
    pub(crate) fn create(&self, filter: &Filter, id: u32) -> Created {
        let factory = &filter.pins().unwrap()[id as usize];
        let format = filter.intersect(id, &factory.data_ranges).unwrap();
        let connect = Connect {
            pin_id: id,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: None,
            format: &format,
        };
        let pin = filter.create_pin(connect, KsPinDataFlow::OUT).unwrap_or_else(|error| panic!("{error}"));
        Created { pin, bytes: format.head().sample_size as usize }
    }

    /// Unloads the driver; nobody has it open.
    pub(crate) fn unload(self) {
        drop(self.client);
        assert_eq!(self.driver.unload(), Unloaded::Gone);
    }
}

/// The number that a picture shows along its top, least significant bit at the left.
pub(crate) fn picture_number(picture: &[u8], width: usize) -> u32 {
    let square = width / 32;
    (0..32).filter(|bit| picture[bit * square + square / 2] > 128).fold(0, |number, bit| number | 1 << bit)
}

/// Builds a sample driver beside the test program. Test programs may do so at a time: each replaces the file whole.
fn build(source: &str) -> PathBuf {
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").canonicalize().unwrap();
    let program = std::env::current_exe().unwrap();
    let output = program.ancestors().nth(3).unwrap().join("drivers");
    std::fs::create_dir_all(&output).unwrap();
    let built = output.join(Path::new(source).with_extension("sys").file_name().unwrap());
    let mut command = Command::new(drivers.join("build.sh"));
    command.arg("-o").arg(&built).arg(drivers.join(source)).current_dir(&drivers);
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?} failed; `cargo xtask setup` installs what it needs\n{text}");
    built
}
