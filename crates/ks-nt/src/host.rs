//! Loads a driver's file, makes its device, and takes both down again.

use crate::exports;
use crate::image::{Image, ImageError, Options};
use crate::ks::address::{Address, Routine, status};
use crate::ks::device::HostedDevice;
use crate::ks::engine_file;
use crate::ks::kernel::KernelDevice;
use crate::ks::low_level::wdm_device::WdmDevice;
use crate::ks::pnp;
use crate::machine;
use crate::ntoskrnl::io_interface;
use crate::ntoskrnl::power::PowerEnded;
use crate::ntoskrnl::unload::{self, LeftBehind};
use crate::verifier;
use ks_abi::kernel::{
    DevicePowerState, DriverExtension, DriverObject, IO_TYPE_DRIVER, IRP_MJ_DEVICE_CONTROL, IRP_MJ_PNP,
    IRP_MN_QUERY_INTERFACE, UnicodeString,
};
use ks_abi::{Guid, NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::IoManager;
use ks_mem::Block;
use ks_stream::{Device, Removal};
use std::collections::HashMap;
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Why a driver could not be loaded. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no driver that can be hosted.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is no memory for the driver's objects.
    #[error("{file}: no memory for the driver's objects")]
    Memory {
        /// The file.
        file: String,
    },
    /// A routine of the driver failed.
    #[error("{file}: {routine} failed with {status}{}{}", if .reason.is_empty() { "" } else { ": " }, .reason)]
    Routine {
        /// The file.
        file: String,
        /// DriverEntry, AddDevice, Start or PostStart.
        routine: &'static str,
        /// What it returned.
        status: NtStatus,
        /// What is wrong with what it asked for, where that is known.
        reason: String,
    },
    /// The driver initialised itself but drives nothing.
    #[error("{file}: {reason}")]
    NoDevice {
        /// The file.
        file: String,
        /// What is missing.
        reason: &'static str,
    },
}

/// Hosts drivers for one engine.
///
/// There is one kernel a process: several hosts share its pool, its timers and its table of live objects.
#[derive(Debug, Clone)]
pub struct Host {
    io: Arc<IoManager>,
}

impl Host {
    /// A host whose drivers' filters are opened through `io`.
    ///
    /// The drivers also find the other filters of this engine by the links of their interfaces.
    pub fn new(io: Arc<IoManager>) -> Host {
        engine_file::serve(&io);
        Host { io }
    }

    /// Loads a driver from a file.
    pub fn load(&self, file: &Path, options: Options) -> Result<LoadedDriver, LoadError> {
        let shown = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|source| LoadError::File { file: shown.clone(), source })?;
        let name = file.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        self.load_bytes(&name, &bytes, options)
    }

    /// Loads a driver from the bytes of a file of this name: maps it, runs DriverEntry, adds and starts its device.
    pub fn load_bytes(&self, name: &str, bytes: &[u8], options: Options) -> Result<LoadedDriver, LoadError> {
        self.map(name, bytes, options)?.start()
    }

    /// Maps a driver and runs nothing of it. What it needs of the system is done then: a host confines itself before it
    /// starts the driver.
    pub fn map(&self, name: &str, bytes: &[u8], options: Options) -> Result<MappedDriver, LoadError> {
        self.map_for(name, name, bytes, options)
    }

    /// The same, for a driver whose device has another name than its file: whoever opens its filters knows them by that.
    pub fn map_for(&self, name: &str, device: &str, bytes: &[u8], options: Options) -> Result<MappedDriver, LoadError> {
        machine::enter_thread();
        let resolver = |_: &str, name: &str| exports::find(name).map(verifier::address_of);
        let image = Image::load(name, bytes, &resolver, options)?;
        let driver = Driver::new(self.io.clone(), (name, device), &image)
            .map_err(|_| LoadError::Memory { file: name.into() })?;
        Ok(MappedDriver { image, driver })
    }
}

/// A driver that is in memory and has not run.
#[derive(Debug)]
pub struct MappedDriver {
    image: Image,
    driver: Arc<Driver>,
}

impl MappedDriver {
    /// Runs DriverEntry, adds and starts the device.
    pub fn start(self) -> Result<LoadedDriver, LoadError> {
        machine::enter_thread();
        let mut loaded = LoadedDriver { image: Some(self.image), driver: self.driver };
        match loaded.bring_up() {
            Ok(()) => Ok(loaded),
            Err(error) => {
                loaded.take_down();
                Err(error)
            }
        }
    }
}

/// A driver that runs.
#[derive(Debug)]
pub struct LoadedDriver {
    /// `None` only while it is being unloaded.
    image: Option<Image>,
    driver: Arc<Driver>,
}

/// How an unload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unloaded {
    /// The driver has let go of everything and is no longer in memory.
    Gone,
    /// The driver is unloaded, and left what would have called into it. Threads and work items cannot be stopped: with
    /// any of these its code stays in memory. Told when the last driver of the process goes.
    LeftBehind(LeftBehind),
    /// Somebody still has that many of its filters open; its code stays in memory for them.
    StillOpen {
        /// Filters that are open.
        filters: usize,
    },
}

impl LoadedDriver {
    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.driver.name
    }

    /// Names of the filters that it offers: their reference strings.
    pub fn filters(&self) -> Vec<String> {
        use ks_stream::DescribeFilter;
        let factories = self.driver.devices().into_iter().flat_map(|device| device.factories());
        let own = factories.map(|factory| factory.view().reference().into_owned());
        own.chain(self.driver.wdm_device().iter().flat_map(|device| device.references())).collect()
    }

    /// The image, for reports.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// The device goes without notice, as one that is pulled out: its requests end, nothing new is opened.
    pub fn surprise_remove(&self) {
        machine::enter_thread();
        self.devices().iter().for_each(|device| device.surprise_remove());
        if let Some(device) = self.driver.wdm_device() {
            device.surprise();
        }
    }

    /// The AVStream devices of the driver: by them they are stopped, started, put to sleep and removed. One that is gone
    /// is not among them.
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.driver.devices().iter().map(|device| device.engine().clone()).collect()
    }

    /// Gives the driver another device, as a user who enables it or plugs it in: AddDevice, then the start.
    pub fn add_device(&self) -> Result<(), LoadError> {
        machine::enter_thread();
        let before = self.driver.devices();
        let Some(add_device) = Routine::optional(self.driver.add_device_routine(), "AddDevice") else {
            return Err(LoadError::NoDevice { file: self.driver.name.clone(), reason: "it has no AddDevice routine" });
        };
        let answer = status(add_device.call2(self.driver.object(), self.driver.physical()));
        self.driver.check("AddDevice", answer)?;
        let added = self.driver.devices().into_iter().filter(|new| !before.iter().any(|old| Arc::ptr_eq(old, new)));
        for device in added {
            device.start().map_err(|(routine, status)| self.driver.failure(routine, status))?;
        }
        Ok(())
    }

    /// Asks the stack of the driver's device for an interface of that many bytes, as another driver does. The driver
    /// counts a reference, which is its own affair.
    #[doc(alias = "IRP_MN_QUERY_INTERFACE")]
    pub fn query_interface(&self, id: Guid, version: u16, bytes: u16) -> Result<Vec<u8>, NtStatus> {
        let answer = Block::zeroed(usize::from(bytes.max(8)), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let asked = Block::zeroed(16, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        asked.write(0, &id);
        let sizes = u64::from(bytes) | u64::from(version) << 16;
        let parameters = [asked.address(), sizes, answer.address(), 0];
        let status = pnp::send(self.driver.physical(), IRP_MJ_PNP, IRP_MN_QUERY_INTERFACE, parameters);
        if !status.is_success() {
            return Err(status);
        }
        let mut given = vec![0; usize::from(bytes)];
        answer.read_bytes(0, &mut given);
        Ok(given)
    }

    /// Removes the device and unloads the driver. Clients should have closed their handles before.
    pub fn unload(mut self) -> Unloaded {
        self.take_down()
    }

    fn bring_up(&mut self) -> Result<(), LoadError> {
        let file = self.driver.name.clone();
        let entry = self.image.as_ref().map_or(0, Image::entry);
        let Some(entry) = Routine::optional(Address(entry), "DriverEntry") else {
            return Err(LoadError::NoDevice { file, reason: "the image has no entry point" });
        };
        let answer = status(entry.call2(self.driver.object(), self.driver.registry_path()));
        self.driver.check("DriverEntry", answer)?;
        let Some(add_device) = Routine::optional(self.driver.add_device_routine(), "AddDevice") else {
            return Err(LoadError::NoDevice {
                file,
                reason: "DriverEntry set no AddDevice routine (a driver that calls KsInitializeDriver has one)",
            });
        };
        io_interface::name_device(self.driver.physical(), self.driver.device_name());
        let answer = status(add_device.call2(self.driver.object(), self.driver.physical()));
        self.driver.check("AddDevice", answer)?;
        let devices = self.driver.devices();
        if devices.is_empty() && self.driver.has_device_objects() {
            // A driver without AVStream answers the requests of a device by itself.
            let (io, name) = (self.driver.io(), self.driver.device_name());
            let started = WdmDevice::start(io, name, self.driver.friendly_name(0), self.driver.physical());
            let device = started.map_err(|status| self.driver.failure("the start of the device", status))?;
            self.driver.set_wdm_device(Some(device));
            return Ok(());
        }
        if devices.is_empty() {
            return Err(LoadError::NoDevice { file, reason: "AddDevice created no device" });
        }
        for device in devices {
            device.start().map_err(|(routine, status)| self.driver.failure(routine, status))?;
        }
        Ok(())
    }

    fn take_down(&mut self) -> Unloaded {
        let Some(image) = self.image.take() else { return Unloaded::Gone };
        machine::enter_thread();
        let devices = self.driver.devices();
        let mut open = 0;
        for device in devices.iter().rev() {
            if let Removal::Waits { filters } = device.engine().remove_device() {
                open += filters.max(1);
            }
        }
        let wdm = self.driver.wdm_device();
        let open = open + wdm.as_ref().map_or(0, |device| device.files_that_stay_open());
        if open > 0 {
            // Its code is still called when those handles close: it stays where it is for good.
            std::mem::forget((image, self.driver.clone()));
            return Unloaded::StillOpen { filters: open };
        }
        if let Some(device) = wdm {
            device.take_down();
            self.driver.set_wdm_device(None);
        }
        io_interface::forget_device(self.driver.physical());
        if let Some(unload) = Routine::optional(self.driver.unload_routine(), "DriverUnload") {
            unload.call1(self.driver.object());
        }
        let loading = lock_loading();
        if self.driver.forget() > 0 {
            return Unloaded::Gone;
        }
        // The kernel does not know which driver set a timer, so it is asked when there is none left.
        let left = unload::left_behind();
        drop(loading);
        if left.threads > 0 || left.work_items > 0 {
            std::mem::forget(image);
        }
        if left == LeftBehind::default() { Unloaded::Gone } else { Unloaded::LeftBehind(left) }
    }
}

impl Drop for LoadedDriver {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// A driver as `ks.sys` knows it, found by the address of its DRIVER_OBJECT.
pub(crate) struct Driver {
    block: Block,
    physical: KernelDevice,
    io: Arc<IoManager>,
    name: String,
    /// What its device is called.
    device: String,
    registry_path: u64,
    /// The descriptor of KsInitializeDriver.
    descriptor: AtomicU64,
    devices: Mutex<Vec<Arc<HostedDevice>>>,
    /// The stack of a driver without AVStream.
    wdm: Mutex<Option<Arc<WdmDevice>>>,
    /// Why a routine of `ks.sys` refused what the driver asked for.
    refusal: Mutex<Option<String>>,
}

static DRIVERS: LazyLock<Mutex<HashMap<u64, Weak<Driver>>>> = LazyLock::new(|| Mutex::new(HashMap::new()));

/// Changes the power of the AVStream device that a stack with this device object has, or asks for it; `None`: it has none.
pub(crate) fn request_power(of: u64, minor: u8, to: u32, ended: PowerEnded) -> Option<NtStatus> {
    pnp::request_power(Address(of), minor, DevicePowerState(to), ended)
}

/// Names of the AVStream devices over a physical device object, or of all for 0.
pub(crate) fn device_names(physical: u64) -> Vec<String> {
    let known: Vec<Arc<Driver>> = drivers().values().filter_map(Weak::upgrade).collect();
    let meant = known.iter().filter(|driver| physical == 0 || driver.physical() == physical);
    meant.flat_map(|driver| driver.devices()).map(|device| device.engine().device_name().to_owned()).collect()
}

/// IRP_MJ_MAXIMUM_FUNCTION + 1
const MAJOR_FUNCTIONS: usize = 28;
const EXTENSION: usize = size_of::<DriverObject>();
const REGISTRY_PATH: usize = EXTENSION + size_of::<DriverExtension>();
const TEXT: usize = REGISTRY_PATH + size_of::<UnicodeString>();

impl Driver {
    fn new(io: Arc<IoManager>, (name, device): (&str, &str), image: &Image) -> Result<Arc<Driver>, NtStatus> {
        let service = name.strip_suffix(".sys").unwrap_or(name);
        let path: Vec<u16> =
            format!(r"\Registry\Machine\System\CurrentControlSet\Services\{service}").encode_utf16().collect();
        let text_bytes = u16::try_from(2 * path.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let block = Block::zeroed(TEXT + usize::from(text_bytes) + 2, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let address = block.address();
        let path_at = |skip: usize| UnicodeString {
            length: text_bytes - 2 * skip as u16,
            maximum_length: text_bytes + 2 - 2 * skip as u16,
            buffer: Ptr64(address + (TEXT + 2 * skip) as u64),
            ..UnicodeString::default()
        };
        let service_at = path.len() - service.encode_utf16().count();
        let object = DriverObject {
            object_type: IO_TYPE_DRIVER as i16,
            object_size: size_of::<DriverObject>() as i16,
            driver_start: Ptr64(image.base()),
            driver_size: image.bytes() as u32,
            driver_extension: Ptr64(address + EXTENSION as u64),
            driver_name: path_at(service_at),
            driver_init: Ptr64(image.entry()),
            ..DriverObject::default()
        };
        block.write(0, &object);
        let extension = DriverExtension {
            driver_object: Ptr64(address),
            service_key_name: path_at(service_at),
            ..DriverExtension::default()
        };
        block.write(EXTENSION, &extension);
        block.write(REGISTRY_PATH, &path_at(0));
        for (at, unit) in path.into_iter().enumerate() {
            block.store_u16(TEXT + 2 * at, unit);
        }
        let driver = Arc::new(Driver {
            physical: KernelDevice::new(0, 0)?,
            registry_path: address + REGISTRY_PATH as u64,
            block,
            io,
            name: name.to_owned(),
            device: device.to_owned(),
            descriptor: AtomicU64::new(0),
            devices: Mutex::new(Vec::new()),
            wdm: Mutex::new(None),
            refusal: Mutex::new(None),
        });
        let _loading = lock_loading();
        drivers().insert(address, Arc::downgrade(&driver));
        Ok(driver)
    }

    /// The driver of a DRIVER_OBJECT.
    pub(crate) fn find(object: u64) -> Option<Arc<Driver>> {
        drivers().get(&object).and_then(Weak::upgrade)
    }

    /// Forgets the driver; how many others there are.
    fn forget(&self) -> usize {
        let mut drivers = drivers();
        drivers.remove(&self.object());
        drivers.len()
    }

    /// Address of the DRIVER_OBJECT.
    pub(crate) fn object(&self) -> u64 {
        self.block.address()
    }

    fn registry_path(&self) -> u64 {
        self.registry_path
    }

    /// Address of the bus's device object.
    fn physical(&self) -> u64 {
        self.physical.address()
    }

    pub(crate) fn io(&self) -> &Arc<IoManager> {
        &self.io
    }

    pub(crate) fn device_name(&self) -> &str {
        &self.device
    }

    /// KsInitializeDriver: the routines that AVStream puts into the driver object, and what it remembers.
    pub(crate) fn initialize(&self, descriptor: u64, add_device: u64, unload: u64, invalid: u64, control: u64) {
        self.descriptor.store(descriptor, Ordering::SeqCst);
        self.block.store_u64(EXTENSION + offset_of!(DriverExtension, add_device), add_device);
        self.block.store_u64(offset_of!(DriverObject, driver_unload), unload);
        for major in 0..MAJOR_FUNCTIONS {
            let dispatch = if major == usize::from(IRP_MJ_DEVICE_CONTROL) { control } else { invalid };
            self.block.store_u64(offset_of!(DriverObject, major_function) + 8 * major, dispatch);
        }
    }

    /// Sets a dispatch routine of the driver object.
    pub(crate) fn set_major(&self, major: u8, routine: u64) {
        self.block.store_u64(offset_of!(DriverObject, major_function) + 8 * usize::from(major), routine);
    }

    /// As [`Driver::set_major`], where the driver has set none.
    pub(crate) fn set_missing_major(&self, major: u8, routine: u64) {
        if self.block.load_u64(offset_of!(DriverObject, major_function) + 8 * usize::from(major)) == 0 {
            self.set_major(major, routine);
        }
    }

    pub(crate) fn descriptor(&self) -> u64 {
        self.descriptor.load(Ordering::SeqCst)
    }

    fn add_device_routine(&self) -> Address {
        Address(self.block.load_u64(EXTENSION + offset_of!(DriverExtension, add_device)))
    }

    fn unload_routine(&self) -> Address {
        Address(self.block.load_u64(offset_of!(DriverObject, driver_unload)))
    }

    pub(crate) fn add_device(&self, device: Arc<HostedDevice>) {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).push(device);
    }

    pub(crate) fn remove_device(&self, device: &HostedDevice) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let at = devices.iter().position(|known| std::ptr::eq(&**known, device));
        let gone = at.map(|at| devices.remove(at));
        drop(devices);
        drop(gone);
    }

    fn devices(&self) -> Vec<Arc<HostedDevice>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the driver made a device object?
    fn has_device_objects(&self) -> bool {
        self.block.load_u64(offset_of!(DriverObject, device_object)) != 0
    }

    fn wdm_device(&self) -> Option<Arc<WdmDevice>> {
        self.wdm.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_wdm_device(&self, device: Option<Arc<WdmDevice>>) {
        let was = std::mem::replace(&mut *self.wdm.lock().unwrap_or_else(PoisonError::into_inner), device);
        drop(was);
    }

    /// Name of the filter with this number: the file's, and a number from the second on.
    pub(crate) fn friendly_name(&self, index: usize) -> String {
        let stem = self.name.strip_suffix(".sys").unwrap_or(&self.name);
        if index == 0 { stem.to_owned() } else { format!("{stem} {}", index + 1) }
    }

    /// Keeps the reason of a refusal for the message that names the routine.
    pub(crate) fn explain(&self, reason: String) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    fn check(&self, routine: &'static str, status: NtStatus) -> Result<(), LoadError> {
        if status.is_success() { Ok(()) } else { Err(self.failure(routine, status)) }
    }

    fn failure(&self, routine: &'static str, status: NtStatus) -> LoadError {
        let reason = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        LoadError::Routine { file: self.name.clone(), routine, status, reason }
    }
}

/// Held while a driver becomes known, and while the last one's remains are looked for.
static LOADING: Mutex<()> = Mutex::new(());

fn lock_loading() -> std::sync::MutexGuard<'static, ()> {
    LOADING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn drivers() -> std::sync::MutexGuard<'static, HashMap<u64, Weak<Driver>>> {
    DRIVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("name", &self.name).finish_non_exhaustive()
    }
}
