//! Devices: from KsInitializeDriver and AddDevice to Remove, as a bus drives them.

use crate::exports;
use crate::exports::Export;
use crate::host::Driver;
use crate::ks::address::{Address, Routine, status};
use crate::ks::aggregation;
use crate::ks::bag::Bag;
use crate::ks::check;
use crate::ks::engine_device;
use crate::ks::factory::HostedFactory;
use crate::ks::kernel::KernelDevice;
use crate::ks::low_level::dispatch::KsDispatchInvalidDeviceRequest;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::ks::pnp::{self, Lifecycle};
use ks_abi::kernel::{DeviceObject, IRP_MJ_DEVICE_CONTROL, KsDeviceDescriptor, KsDeviceDispatch};
use ks_abi::{
    NtStatus, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_PENDING, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
};
use ks_stream::{DescribeFilter, Device, FactoryLifetime};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsInitializeDriver, KsAddDevice, KsCreateDevice, KsInitializeDevice, KsTerminateDevice, KsGetDeviceForDeviceObject,
    KsNullDriverUnload, KsAcquireDevice, KsReleaseDevice,
);

/// Offsets of KSDEVICE.
mod offset {
    pub(super) const DESCRIPTOR: usize = 0;
    pub(super) const BAG: usize = 8;
    pub(super) const CONTEXT: usize = 16;
    pub(super) const FUNCTIONAL: usize = 24;
    pub(super) const PHYSICAL: usize = 32;
    pub(super) const NEXT: usize = 40;
}

/// A device that a driver made.
pub(crate) struct HostedDevice {
    device: Arc<Device>,
    driver: Weak<Driver>,
    functional: u64,
    /// The functional device object, unless the driver made it itself.
    own: Mutex<Option<KernelDevice>>,
    bag: Arc<Bag>,
    factories: Mutex<Vec<Arc<HostedFactory>>>,
    /// The routines of its driver for active and passive cooling.
    cooling: Mutex<[Option<Routine>; 2]>,
    /// The request that removes it stops it first.
    stops_with_removal: AtomicBool,
}

impl HostedDevice {
    pub(crate) fn cool_by(&self, routines: [Option<Routine>; 2]) {
        *self.cooling.lock().unwrap_or_else(PoisonError::into_inner) = routines;
    }

    pub(crate) fn cooled_by(&self) -> [Option<Routine>; 2] {
        *self.cooling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the device of a descriptor, with the factories that it lists, and tells the driver of it.
    fn add(
        driver: &Arc<Driver>,
        physical: u64,
        functional: Option<u64>,
        descriptor: Address,
        extension_bytes: u32,
    ) -> Result<Arc<HostedDevice>, NtStatus> {
        if let Err(wrong) = check::device(descriptor) {
            driver.explain(wrong);
            return Err(STATUS_INVALID_PARAMETER);
        }
        let device = Device::add(driver.io(), driver.device_name())?;
        let bag = Bag::new()?;
        let own = match functional {
            Some(_) => None,
            None => Some(KernelDevice::new(driver.object(), extension_bytes)?),
        };
        let below = own.as_ref().map_or(physical, |own| own.attach_to(physical));
        let functional = functional.or_else(|| own.as_ref().map(KernelDevice::address)).unwrap_or(0);
        let block = device.block();
        block.store_u64(offset::DESCRIPTOR, descriptor.0);
        block.store_u64(offset::BAG, bag.handle());
        block.store_u64(offset::FUNCTIONAL, functional);
        block.store_u64(offset::PHYSICAL, physical);
        block.store_u64(offset::NEXT, below);
        // The first word of the extension is the device header: here, the device itself.
        let extension = Address(functional).follow(offset_of!(DeviceObject, device_extension));
        if let Some(extension) = extension.some() {
            extension.put(0, block.address());
        }
        let hosted = Arc::new(HostedDevice {
            device,
            driver: Arc::downgrade(driver),
            functional,
            own: Mutex::new(own),
            bag,
            factories: Mutex::new(Vec::new()),
            cooling: Mutex::new([None; 2]),
            stops_with_removal: AtomicBool::new(false),
        });
        objects::insert(hosted.address(), Object::Device(hosted.clone()));
        objects::insert(functional, Object::Functional(hosted.clone()));
        driver.add_device(hosted.clone());
        hosted.device.drive_by(Arc::new(Lifecycle(Arc::downgrade(&hosted))));
        match hosted.describe(descriptor).and_then(|()| hosted.tell_added()) {
            Ok(()) => Ok(hosted),
            Err(status) => {
                hosted.forget();
                Err(status)
            }
        }
    }

    fn tell_added(&self) -> Result<(), NtStatus> {
        let dispatch = self.descriptor().some().and_then(|descriptor| descriptor.follow(0).some());
        let add = dispatch.map(|table| table.follow(offset_of!(KsDeviceDispatch, add)));
        let Some(add) = add.and_then(|add| Routine::optional(add, "Add")) else { return Ok(()) };
        let answer = status(add.call1(self.address()));
        match answer {
            STATUS_PENDING => Err(STATUS_UNSUCCESSFUL),
            answer if answer.is_success() => Ok(()),
            answer => Err(answer),
        }
    }

    fn describe(self: &Arc<HostedDevice>, descriptor: Address) -> Result<(), NtStatus> {
        if descriptor.is_null() {
            return Ok(());
        }
        let count: u32 = descriptor.get(offset_of!(KsDeviceDescriptor, filter_descriptors_count));
        let filters = descriptor.follow(offset_of!(KsDeviceDescriptor, filter_descriptors));
        for at in 0..count as usize {
            let factory = HostedFactory::new(self, filters.follow(8 * at), None, FactoryLifetime::Device)?;
            self.add_factory(&factory);
        }
        Ok(())
    }

    /// Starts the device: IRP_MN_START_DEVICE, PostStart, and its filters can be opened.
    pub(crate) fn start(&self) -> Result<(), (&'static str, NtStatus)> {
        self.device.start_device().map_err(|refusal| ("Start", refusal.status))?;
        match self.device.post_start_refusal() {
            Some(refusal) => Err(("PostStart", refusal.status)),
            None => Ok(()),
        }
    }

    /// The driver's Remove has returned, or its Add has failed: nothing of the device is left.
    pub(crate) fn forget(&self) {
        let factories = std::mem::take(&mut *self.factories.lock().unwrap_or_else(PoisonError::into_inner));
        factories.into_iter().rev().for_each(|factory| factory.delete());
        aggregation::forget(self.address());
        self.bag.free();
        drop(objects::remove(self.functional));
        if let Some(own) = self.own.lock().unwrap_or_else(PoisonError::into_inner).take() {
            own.detach_from(self.device.block().load_u64(offset::NEXT));
        }
        drop(objects::remove(self.address()));
        if let Some(driver) = self.driver.upgrade() {
            driver.remove_device(self);
        }
    }

    /// The KSDEVICE_DESCRIPTOR, or NULL.
    pub(crate) fn descriptor(&self) -> Address {
        Address(self.device.block().load_u64(offset::DESCRIPTOR))
    }

    /// KSDEVICE_DESCRIPTOR.Version; 0 without descriptor.
    pub(crate) fn version(&self) -> u32 {
        self.descriptor().some().map_or(0, |descriptor| descriptor.get(offset_of!(KsDeviceDescriptor, version)))
    }

    /// The next device down the stack.
    pub(crate) fn below(&self) -> Address {
        Address(self.device.block().load_u64(offset::NEXT))
    }

    /// What a driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.device.block().address()
    }

    /// Address of the functional device object.
    pub(crate) fn functional(&self) -> u64 {
        self.functional
    }

    pub(crate) fn context(&self) -> u64 {
        self.device.block().load_u64(offset::CONTEXT)
    }

    /// The engine's device.
    pub(crate) fn engine(&self) -> &Arc<Device> {
        &self.device
    }

    pub(crate) fn add_factory(&self, factory: &Arc<HostedFactory>) {
        self.factories.lock().unwrap_or_else(PoisonError::into_inner).push(factory.clone());
        self.device.add_factory(factory.view());
    }

    // ks-coverage: KsDeleteFilterFactory done test=a_driver_adds_and_deletes_factories_while_it_runs
    /// KsDeleteFilterFactory. Open filters of it live on.
    pub(crate) fn delete_factory(&self, address: u64) -> NtStatus {
        let deleted = {
            let mut factories = self.factories.lock().unwrap_or_else(PoisonError::into_inner);
            let at = factories.iter().position(|factory| factory.address() == address);
            at.map(|at| factories.remove(at))
        };
        let Some(factory) = deleted else { return STATUS_OBJECT_NAME_NOT_FOUND };
        let known: Arc<dyn DescribeFilter> = factory.view();
        let _ = self.device.remove_factory(&known);
        factory.delete();
        STATUS_SUCCESS
    }

    /// The request that removes it, which comes next, stops it first.
    pub(crate) fn stop_with_removal(&self) {
        self.stops_with_removal.store(true, Ordering::SeqCst);
    }

    /// Is it to be stopped by the request that removes it? Once.
    pub(crate) fn is_stopped_with_removal(&self) -> bool {
        self.stops_with_removal.swap(false, Ordering::SeqCst)
    }

    /// The driver's Stop has returned: what was to stay until then goes.
    pub(crate) fn free_on_stop(&self) {
        for factory in self.factories().into_iter().rev().filter(|factory| factory.ends_with_stop()) {
            let _ = self.delete_factory(factory.address());
        }
    }

    pub(crate) fn factory_count(&self) -> usize {
        self.factories.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The factories, oldest first.
    pub(crate) fn factories(&self) -> Vec<Arc<HostedFactory>> {
        self.factories.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name of the filter with this number, for a person.
    pub(crate) fn friendly_name(&self, index: usize) -> String {
        self.driver.upgrade().map_or_else(String::new, |driver| driver.friendly_name(index))
    }
}

// ks-coverage: KsInitializeDriver done test=a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsInitializeDriver(driver: Address, _path: u64, descriptor: Address) -> NtStatus {
    let Some(driver) = Driver::find(driver.0) else {
        misuse::dead("KsInitializeDriver", "DRIVER_OBJECT", driver.0);
        return STATUS_INVALID_PARAMETER;
    };
    if let Err(wrong) = check::device(descriptor) {
        driver.explain(wrong);
        return STATUS_INVALID_PARAMETER;
    }
    // The engine's own requests never come by these; drivers' packets do, and a driver that hooks one calls what stood
    // there before.
    driver.initialize(
        descriptor.0,
        KsAddDevice as *const () as u64,
        KsNullDriverUnload as *const () as u64,
        KsDispatchInvalidDeviceRequest as *const () as u64,
        engine_device::dispatch_hosted as *const () as u64,
    );
    pnp::dispatches().into_iter().for_each(|(major, routine)| driver.set_major(major, routine));
    STATUS_SUCCESS
}

// ks-coverage: KsAddDevice done test=synthcam_streams_pictures_in_process
pub(crate) unsafe extern "win64" fn KsAddDevice(driver: Address, physical: u64) -> NtStatus {
    let Some(driver) = Driver::find(driver.0) else {
        misuse::dead("KsAddDevice", "DRIVER_OBJECT", driver.0);
        return STATUS_INVALID_PARAMETER;
    };
    let descriptor = Address(driver.descriptor());
    HostedDevice::add(&driver, physical, None, descriptor, 0).map_or_else(|status| status, |_| STATUS_SUCCESS)
}

// ks-coverage: KsCreateDevice done test=a_driver_with_an_add_device_of_its_own_has_a_device
pub(crate) unsafe extern "win64" fn KsCreateDevice(
    driver: Address,
    physical: u64,
    descriptor: Address,
    extension_bytes: u32,
    result: Address,
) -> NtStatus {
    let Some(driver) = Driver::find(driver.0) else {
        misuse::dead("KsCreateDevice", "DRIVER_OBJECT", driver.0);
        return STATUS_INVALID_PARAMETER;
    };
    match HostedDevice::add(&driver, physical, None, descriptor, extension_bytes) {
        Ok(device) => {
            result.put_optional(device.address());
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Decision: a driver that has not called KsInitializeDriver, for which the routine is documented, has no name for the
/// routines that AVStream answers requests by; so they stand where it has set none of its own.
// ks-coverage: KsInitializeDevice done test=a_driver_with_an_add_device_of_its_own_has_a_device
pub(crate) unsafe extern "win64" fn KsInitializeDevice(
    functional: Address,
    physical: u64,
    next: u64,
    descriptor: Address,
) -> NtStatus {
    let object = functional.follow(offset_of!(DeviceObject, driver_object));
    let Some(driver) = Driver::find(object.0) else {
        misuse::dead("KsInitializeDevice", "functional device object", functional.0);
        return STATUS_INVALID_PARAMETER;
    };
    match HostedDevice::add(&driver, physical, Some(functional.0), descriptor, 0) {
        Ok(device) => {
            device.device.block().store_u64(offset::NEXT, next);
            pnp::dispatches().into_iter().for_each(|(major, routine)| driver.set_missing_major(major, routine));
            driver.set_missing_major(IRP_MJ_DEVICE_CONTROL, engine_device::dispatch_hosted as *const () as u64);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Where filters are open, their handles answer nothing more, and the rest follows when the last is closed.
// ks-coverage: KsTerminateDevice done test=a_driver_with_an_add_device_of_its_own_has_a_device
pub(crate) unsafe extern "win64" fn KsTerminateDevice(functional: Address) {
    if let Some(device) = objects::functional(functional, "KsTerminateDevice") {
        device.engine().remove_device();
    }
}

// ks-coverage: KsGetDeviceForDeviceObject done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetDeviceForDeviceObject(functional: Address) -> u64 {
    match objects::find(functional) {
        Some(Object::Functional(device)) => device.address(),
        _ => 0,
    }
}

// ks-coverage: KsNullDriverUnload done test=synthcam_streams_pictures_in_process
pub(crate) unsafe extern "win64" fn KsNullDriverUnload(_driver: u64) {}

// ks-coverage: KsAcquireDevice done test=mutexes_keep_other_threads_of_a_driver_out
pub(crate) unsafe extern "win64" fn KsAcquireDevice(device: Address) {
    if let Some(device) = objects::device(device, "KsAcquireDevice") {
        crate::ks::mutex::acquire_device(device.engine().mutex());
    }
}

// ks-coverage: KsReleaseDevice done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsReleaseDevice(device: Address) {
    if let Some(device) = objects::device(device, "KsReleaseDevice") {
        crate::ks::mutex::release_device(device.engine().mutex());
    }
}
