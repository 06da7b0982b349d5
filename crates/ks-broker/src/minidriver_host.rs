//! A driver host whose drivers are Rust minidrivers: part of its program, and asked for by the names of files.
//!
//! To the process that starts it, it is the host of Windows drivers, in all but what a driver is: the same arguments, the
//! same connection and sandbox, the same word when the drivers run, the same end. So a program that calls [`run`] takes
//! the place of a [`crate::host_process::HostCommand`]'s.

use crate::driver_host::{self, NOT_A_CHILD, Plan, READY, Verifier, complain, confine, name_of, refused, settings_of};
use crate::drivers::{WATCHDOG, WHY};
use crate::files::ParentsFiles;
use crate::remote::{Handler, Peer};
use ks_abi::NtStatus;
use ks_io::{IoManager, Services};
use ks_nt::ntoskrnl::file::{FileRequest, FileService, HostFile};
use ks_stream::{Device, Watchdog};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A driver that is to start.
pub struct DriverStart<'s> {
    /// The engine for its devices.
    pub io: &'s Arc<IoManager>,
    /// The name of its file.
    pub name: &'s str,
    /// The name that its first device is to have: whoever asked for the file knows it by this, and the links of its
    /// interfaces open it there.
    pub device: &'s str,
    /// The text of the file beside it whose name ends in `.toml`, which is the registry of a Windows driver.
    pub settings: &'s str,
    /// Its files.
    pub files: DriverFiles,
}

/// The files of a driver, which the process that started the host opens for it below one folder: `C/note.txt` for
/// `\??\C:\note.txt`. There are none where that process has no such folder.
#[derive(Clone)]
pub struct DriverFiles(ParentsFiles);

/// `GENERIC_READ` and `FILE_OPEN`.
const READ: (u32, u32) = (0x8000_0000, 1);
/// `GENERIC_WRITE` and `FILE_OVERWRITE_IF`.
const WRITE: (u32, u32) = (0x4000_0000, 5);
/// `FILE_NON_DIRECTORY_FILE`
const NO_FOLDER: u32 = 0x40;

impl DriverFiles {
    /// The first `most` bytes of a file.
    ///
    /// # Errors
    /// The status with which a driver's ZwCreateFile or ZwReadFile would end.
    pub fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, NtStatus> {
        let file = self.open(path, READ)?;
        let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(most)];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Makes a file, or replaces what is in it.
    ///
    /// # Errors
    /// As for [`DriverFiles::read`].
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), NtStatus> {
        self.open(path, WRITE)?.write_at(bytes, 0).map(drop)
    }

    fn open(&self, path: &str, (access, disposition): (u32, u32)) -> Result<Box<dyn HostFile>, NtStatus> {
        let request = FileRequest { path: path.to_owned(), access, disposition, options: NO_FOLDER };
        self.0.open(&request).map(|(file, _)| file)
    }
}

/// Starts the devices of a driver, or says why not.
pub type StartDriver<'s> = &'s dyn Fn(&DriverStart<'_>) -> Result<Vec<Arc<Device>>, String>;

/// The devices that run here.
#[derive(Default)]
struct Devices(Mutex<Vec<Arc<Device>>>);

impl Devices {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Device>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Devices {
    /// The watchdog here has named the callback that does not return, if it is one that computes.
    fn report(&self, bytes: &[u8]) {
        if bytes == WHY
            && let Some(stop) = self.all().iter().flat_map(|device| device.stops()).last()
        {
            complain(&format!("report hang\nwhat {}\nend", stop.replace('\n', "; ")));
        }
    }
}

/// Runs a host until the other side of its standard input ends; `start` is asked for each file of the plan, in the
/// confined process. Returns the exit code of the process. What a minidriver prints is what a Windows driver prints.
pub fn run(plan: &Plan, start: StartDriver<'_>) -> u8 {
    let Some(connection) = driver_host::join() else { return NOT_A_CHILD };
    let settings: Result<Vec<_>, _> = plan.files.iter().map(|file| settings_of(file)).collect();
    let settings = match settings.and_then(|settings| confine(plan.sandbox).map(|()| settings)) {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    if plan.verifier == Verifier::On {
        ks_stream::verifier::enable();
    }
    // Without a thread for it, nobody watches.
    let _watchdog = Watchdog::start(WATCHDOG);
    let io = IoManager::new(Services::real());
    // Served before the drivers start, because one may open a file at once.
    let running = Arc::new(Devices::default());
    let peer = match Peer::serve(&io, connection, running.clone()) {
        Ok(peer) => Arc::new(peer),
        Err(error) => return refused(&error),
    };
    let files = ParentsFiles::default();
    files.connect(&peer);
    for (at, (file, (_, settings))) in plan.files.iter().zip(&settings).enumerate() {
        let (name, device) = (name_of(file), plan.device(at));
        let files = DriverFiles(files.clone());
        match start(&DriverStart { io: &io, name: &name, device: &device, settings, files }) {
            Ok(started) => running.all().extend(started),
            Err(error) => return refused(&format!("{name}: {error}")),
        }
    }
    peer.report(READY);
    peer.wait_for_end();
    let devices = std::mem::take(&mut *running.all());
    devices.iter().rev().for_each(|device| device.surprise_remove());
    0
}
