//! The sample drivers of `drivers/` as Rust minidrivers, one file a driver: to compare, and to begin from.
//!
//! A twin has the pins, formats, properties and frames of its driver in C, and passes the same acceptance tests
//! (`crates/ks-cli/tests/drivers_stream.rs`). What C does by routines of `ks.sys` it does by methods of `ks-stream`; what
//! C does by routines of the kernel it does by the standard library or by `ks-io`. Where Rust needs something that a
//! driver in C has to do by hand (pool memory, object bags, reference counts, the order of a close), nothing is written.
//!
//! [`start`] makes a device of one. The example `twins` of this crate is a program that hosts them, each where its `.sys`
//! would be.
#![forbid(unsafe_code)]

mod agile;
mod bytes;
mod counter;
mod drain;
mod mirror;
mod negative;
mod notebook;
mod pacer;
mod panel;
mod relay;
mod synthcam;
mod video;

use std::sync::Arc;

use ks_abi::NtStatus;
use ks_io::IoManager;
use ks_stream::{Device, FilterDescriptor};

/// What a driver finds when its device starts, beside the engine.
#[derive(Default)]
pub struct Surroundings {
    /// Its settings, as TOML: the text that is the registry of a Windows driver.
    pub settings: String,
    /// Its files; `None`: it has none. The class driver has no service for files, so whoever starts the device hands
    /// them over.
    pub files: Option<Arc<dyn Files>>,
}

/// The files of a driver, by paths such as `C/note.txt`.
pub trait Files: Send + Sync {
    /// The first `most` bytes of a file.
    ///
    /// # Errors
    /// The status with which opening or reading it fails.
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, NtStatus>;

    /// Makes a file, or replaces what is in it.
    ///
    /// # Errors
    /// The status with which opening or writing it fails.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), NtStatus>;
}

/// Makes what a driver's filter says of itself.
type Describe = fn(&Surroundings) -> Result<FilterDescriptor, String>;

const TWINS: &[(&str, Describe)] = &[
    ("agile", agile::descriptor),
    ("counter", counter::descriptor),
    ("drain", drain::descriptor),
    ("mirror", mirror::descriptor),
    ("negative", negative::descriptor),
    ("notebook", notebook::descriptor),
    ("pacer", pacer::descriptor),
    ("panel", panel::descriptor),
    ("relay", relay::descriptor),
    ("synthcam", synthcam::descriptor),
];

/// Names of the drivers that have a twin.
pub fn names() -> impl Iterator<Item = &'static str> {
    TWINS.iter().map(|(name, _)| *name)
}

/// Starts the twin of `driver` as a device with the name `device`.
///
/// # Errors
/// There is no such twin, its settings are no TOML, or there is no memory; in words.
pub fn start(
    io: &Arc<IoManager>,
    driver: &str,
    device: &str,
    surroundings: &Surroundings,
) -> Result<Arc<Device>, String> {
    let (_, describe) = TWINS.iter().find(|(name, _)| *name == driver).ok_or_else(|| {
        let known: Vec<_> = names().collect();
        format!("no driver `{driver}`; there are {}", known.join(", "))
    })?;
    let filter = describe(surroundings)?;
    Device::start(io, device, vec![Arc::new(filter)]).map_err(|status| format!("start the device: {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_io::{Services, Transport as _};

    #[test]
    fn every_twin_starts_a_device_with_an_interface() {
        let io = IoManager::new(Services::virtual_time(1));
        let start = |name: &str| super::start(&io, name, &format!("{name}.sys"), &Surroundings::default());
        let devices: Vec<_> = names().map(|name| start(name).unwrap()).collect();
        for device in &devices {
            let own = |one: &ks_io::InterfaceInfo| one.device == device.device_name();
            assert!(io.session().interfaces(None).iter().any(own), "{}", device.device_name());
        }
    }

    #[test]
    fn an_unknown_driver_is_refused_with_the_known_ones() {
        let io = IoManager::new(Services::virtual_time(1));
        let error = start(&io, "none", "none.sys", &Surroundings::default()).unwrap_err();
        assert!(error.contains("`none`") && names().all(|name| error.contains(name)), "{error}");
    }
}
