//! Filter factories: what a driver's filter descriptor offers to open.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::aggregation;
use crate::ks::bag::Bag;
use crate::ks::check;
use crate::ks::descriptor::{self, FilterView};
use crate::ks::device::HostedDevice;
use crate::ks::device_profile::Profiles;
use crate::ks::filter::HostedFilter;
use crate::ks::misuse::misuse;
use crate::ks::objects::{self, Object};
use crate::ks::pnp::PowerCallbacks;
use crate::report::BugCheck;
use ks_abi::kernel::{DevicePowerState, KsFilterDescriptor};
use ks_abi::{
    Guid, NtStatus, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use ks_mem::Block;
use ks_stream::{DescribeFilter, Device, FactoryLifetime, Filter, FilterDispatch, FilterInstance};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsCreateFilterFactory, KsFilterFactorySetDeviceClassesState, KsFilterFactoryAddCreateItem,
    KsFilterFactoryGetSymbolicLink,
);

/// Offsets of KSFILTERFACTORY.
mod offset {
    pub(super) const DESCRIPTOR: usize = 0;
    pub(super) const BAG: usize = 8;
    pub(super) const CONTEXT: usize = 16;
    pub(super) const BYTES: usize = 24;
}

/// A filter factory of a hosted device.
pub(crate) struct HostedFactory {
    block: Block,
    device: Weak<HostedDevice>,
    bag: Arc<Bag>,
    reference: String,
    friendly_name: String,
    view: OnceLock<Arc<FilterView>>,
    filters: Mutex<Vec<Weak<HostedFilter>>>,
    /// What KsCreateFilterFactory said of it.
    lifetime: FactoryLifetime,
    power: PowerCallbacks,
    profiles: Profiles,
    /// A UNICODE_STRING with its text, made when it is asked for.
    symbolic_link: OnceLock<Option<Block>>,
}

/// What the engine calls when a filter is opened.
struct Opener(Weak<HostedFactory>);

impl FilterDispatch for Opener {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        match self.0.upgrade() {
            Some(factory) => HostedFilter::open(&factory, filter),
            None => Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the filter factory was deleted")),
        }
    }

    fn sleep(&self, _: &Arc<Device>, to: DevicePowerState) {
        if let Some(factory) = self.0.upgrade() {
            factory.power.sleep(factory.address(), to);
        }
    }

    fn wake(&self, _: &Arc<Device>, to: DevicePowerState) {
        if let Some(factory) = self.0.upgrade() {
            factory.power.wake(factory.address(), to);
        }
    }
}

impl HostedFactory {
    /// A factory of a descriptor. Its context is the device's.
    pub(crate) fn new(
        device: &Arc<HostedDevice>,
        descriptor: Address,
        reference: Option<String>,
        lifetime: FactoryLifetime,
    ) -> Result<Arc<HostedFactory>, NtStatus> {
        let block = Block::zeroed(offset::BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let bag = Bag::new()?;
        block.store_u64(offset::DESCRIPTOR, descriptor.0);
        block.store_u64(offset::BAG, bag.handle());
        block.store_u64(offset::CONTEXT, device.context());
        let guid = descriptor.follow(offset_of!(KsFilterDescriptor, reference_guid)).some();
        let reference = reference.or_else(|| guid.map(|guid| guid.read::<Guid>().to_string())).unwrap_or_default();
        let factory = Arc::new(HostedFactory {
            block,
            device: Arc::downgrade(device),
            bag,
            friendly_name: device.friendly_name(device.factory_count()),
            reference,
            view: OnceLock::new(),
            filters: Mutex::new(Vec::new()),
            lifetime,
            power: PowerCallbacks::default(),
            profiles: Profiles::default(),
            symbolic_link: OnceLock::new(),
        });
        let opener = Arc::new(Opener(Arc::downgrade(&factory)));
        let view = FilterView::new(factory.address(), &factory.reference, &factory.friendly_name, opener);
        let _ = factory.view.set(Arc::new(view));
        objects::insert(factory.address(), Object::Factory(factory.clone()));
        Ok(factory)
    }

    /// What a driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// The descriptor as it is now.
    pub(crate) fn descriptor(&self) -> Address {
        Address(self.block.load_u64(offset::DESCRIPTOR))
    }

    pub(crate) fn context(&self) -> u64 {
        self.block.load_u64(offset::CONTEXT)
    }

    /// The profiles that it publishes.
    pub(crate) fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    pub(crate) fn device(&self) -> Option<Arc<HostedDevice>> {
        self.device.upgrade()
    }

    /// The factory as the engine knows it.
    pub(crate) fn view(&self) -> Arc<FilterView> {
        self.view.get().expect("invariant: set right after the factory was made").clone()
    }

    /// A view of one of its filters.
    pub(crate) fn view_of(&self, filter: u64) -> FilterView {
        // A filter has no filters to open.
        FilterView::new(filter, &self.reference, &self.friendly_name, Arc::new(Opener(Weak::new())))
    }

    pub(crate) fn add_filter(&self, filter: &Arc<HostedFilter>) {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|known| known.strong_count() > 0);
        filters.push(Arc::downgrade(filter));
    }

    /// The open filters, oldest first.
    pub(crate) fn filters(&self) -> Vec<Arc<HostedFilter>> {
        let filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.iter().filter_map(Weak::upgrade).filter(|filter| filter.is_open()).collect()
    }

    /// Does it go when the device is stopped?
    pub(crate) fn ends_with_stop(&self) -> bool {
        self.lifetime == FactoryLifetime::UntilStop
    }

    /// The device or the factory goes: the bag is emptied and the address forgotten.
    pub(crate) fn delete(&self) {
        self.block.store_u64(offset::DESCRIPTOR, descriptor::closed());
        aggregation::forget(self.address());
        self.bag.free();
        drop(objects::remove(self.address()));
    }

    fn symbolic_link(&self) -> u64 {
        const HEAD: usize = 16;
        let made = self.symbolic_link.get_or_init(|| {
            // As the namespace of the engine names the first of its interfaces.
            let category = *self.view().categories().first()?;
            let device = self.device.upgrade()?;
            let text = format!(r"\??\userks#{}#{category}\{}", device.engine().device_name(), self.reference);
            let units: Vec<u16> = text.encode_utf16().collect();
            let block = Block::zeroed(HEAD + 2 * units.len() + 2, 16).ok()?;
            let bytes = u16::try_from(2 * units.len()).ok()?;
            block.store_u16(0, bytes);
            block.store_u16(2, bytes + 2);
            block.store_u64(8, block.address() + HEAD as u64);
            for (at, unit) in units.into_iter().enumerate() {
                block.store_u16(HEAD + 2 * at, unit);
            }
            Some(block)
        });
        made.as_ref().map_or(0, Block::address)
    }
}

/// KSCREATE_ITEM_FREEONSTOP
const FREE_ON_STOP: u32 = 8;

// ks-coverage: KsCreateFilterFactory done test=a_driver_adds_factories_and_nodes_to_an_open_filter,a_driver_adds_and_deletes_factories_while_it_runs
pub(crate) unsafe extern "win64" fn KsCreateFilterFactory(
    functional: Address,
    descriptor: Address,
    reference: Address,
    _security: u64,
    flags: u32,
    sleep: Address,
    wake: Address,
    result: Address,
) -> NtStatus {
    let Some(device) = objects::functional(functional, "KsCreateFilterFactory") else {
        return STATUS_INVALID_PARAMETER;
    };
    if let Err(wrong) = check::filter(descriptor, device.factory_count()) {
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "KsCreateFilterFactory", wrong);
        return STATUS_INVALID_PARAMETER;
    }
    let reference = reference.some().map(|text| text.wide_text(256));
    let lifetime = if flags & FREE_ON_STOP == 0 { FactoryLifetime::Device } else { FactoryLifetime::UntilStop };
    match HostedFactory::new(&device, descriptor, reference, lifetime) {
        Ok(factory) => {
            factory.power.set(sleep, wake);
            device.add_factory(&factory);
            result.put_optional(factory.address());
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// What the engine's device is asked for one of its factories.
fn with_engine(
    factory: Address,
    routine: &'static str,
    what: impl FnOnce(&Device, &Arc<dyn DescribeFilter>) -> Result<(), NtStatus>,
) -> NtStatus {
    let Some(factory) = objects::factory(factory, routine) else { return STATUS_INVALID_PARAMETER };
    let Some(device) = factory.device() else { return STATUS_DEVICE_REMOVED };
    let view: Arc<dyn DescribeFilter> = factory.view();
    what(device.engine(), &view).map_or_else(|status| status, |()| STATUS_SUCCESS)
}

pub(crate) unsafe extern "win64" fn KsFilterFactorySetDeviceClassesState(factory: Address, state: u8) -> NtStatus {
    with_engine(factory, "KsFilterFactorySetDeviceClassesState", |device, factory| match state {
        0 => device.disable_factory(factory),
        _ => device.enable_factory(factory),
    })
}

/// Decision: the name opens the factory's filters under each of its categories, as an INF that lists it would have it. Of
/// the flags KSCREATE_ITEM_FREEONSTOP is that of the factory.
pub(crate) unsafe extern "win64" fn KsFilterFactoryAddCreateItem(
    factory: Address,
    name: Address,
    _security: u64,
    _flags: u32,
) -> NtStatus {
    if name.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let name = name.wide_text(256);
    with_engine(factory, "KsFilterFactoryAddCreateItem", |device, factory| device.add_factory_name(factory, &name))
}

// ks-coverage: KsFilterFactoryGetSymbolicLink done test=every_inline_function_of_the_headers_works_on_living_objects,two_devices_of_one_driver_file_lead_each_to_its_own_topology_filter
pub(crate) unsafe extern "win64" fn KsFilterFactoryGetSymbolicLink(factory: Address) -> u64 {
    objects::factory(factory, "KsFilterFactoryGetSymbolicLink").map_or(0, |factory| factory.symbolic_link())
}
