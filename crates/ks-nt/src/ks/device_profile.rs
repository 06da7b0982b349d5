//! Camera profiles that a driver publishes for its device.
//!
//! Decision (docs/adr/0112): what a driver publishes is checked as the pages say, and kept nowhere: no page gives the form of
//! the store, and nothing here reads it. A profile that is published before the store was initialized is refused as the
//! commit of one is. Decision (docs/adr/0124): a store is initialized for a filter with a reference GUID that is flagged as
//! what tells it from others; the page requires both and names no status.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::factory::HostedFactory;
use crate::ks::objects;
use crate::ntoskrnl::irql;
use ks_abi::{
    KSCATEGORY_VIDEO_CAMERA, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_stream::{DescribeFilter, FilterFlags};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const EXPORTS: &[Export] =
    exports!(Ks: KsInitializeDeviceProfile, KsPublishDeviceProfile, KsPersistDeviceProfile);

/// Offsets in a KSDEVICE_PROFILE_INFO, and its size.
mod info {
    pub(super) const KIND: usize = 0;
    pub(super) const SIZE: usize = 4;
    pub(super) const PIN_COUNT: usize = 28;
    pub(super) const PINS: usize = 32;
    pub(super) const RESERVED: usize = 40;
    pub(super) const CONCURRENCY_COUNT: usize = 44;
    pub(super) const CONCURRENCY: usize = 48;
    pub(super) const BYTES: u32 = 56;
}

/// KSDEVICE_PROFILE_TYPE_CAMERA
const CAMERA: u32 = 1;
const MOST_CONCURRENCIES: u32 = 1;

/// The profile store of a factory.
#[derive(Default)]
pub(crate) struct Profiles {
    initialized: AtomicBool,
}

/// The factory, if its filter has an interface of KSCATEGORY_VIDEO_CAMERA.
fn camera(factory: Address, routine: &'static str) -> Result<Arc<HostedFactory>, NtStatus> {
    irql::at_most(irql::PASSIVE, routine);
    let factory = objects::factory(factory, routine).ok_or(STATUS_INVALID_PARAMETER)?;
    let is_camera = factory.view().categories().contains(&KSCATEGORY_VIDEO_CAMERA);
    if is_camera { Ok(factory) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// Does the filter's descriptor have a reference GUID, and say that it tells the filter from others?
fn goes_by_reference(factory: &HostedFactory) -> bool {
    let view = factory.view();
    view.has_reference_guid() && view.flags().contains(FilterFlags::PRIORITIZE_REFERENCEGUID)
}

// ks-coverage: KsInitializeDeviceProfile partial test=a_camera_publishes_profiles_and_nothing_else_does
pub(crate) unsafe extern "win64" fn KsInitializeDeviceProfile(factory: Address) -> NtStatus {
    match camera(factory, "KsInitializeDeviceProfile") {
        Ok(factory) if !goes_by_reference(&factory) => STATUS_INVALID_PARAMETER,
        Ok(factory) => {
            factory.profiles().initialized.store(true, Ordering::SeqCst);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// The factory of a store that was initialized.
fn initialized(factory: Address, routine: &'static str) -> Result<(), NtStatus> {
    let factory = camera(factory, routine)?;
    let initialized = factory.profiles().initialized.load(Ordering::SeqCst);
    if initialized { Ok(()) } else { Err(STATUS_INVALID_DEVICE_REQUEST) }
}

// ks-coverage: KsPublishDeviceProfile partial test=a_camera_publishes_profiles_and_nothing_else_does
pub(crate) unsafe extern "win64" fn KsPublishDeviceProfile(factory: Address, profile: Address) -> NtStatus {
    match initialized(factory, "KsPublishDeviceProfile") {
        Ok(()) if profile.is_null() || !is_whole(profile) => STATUS_INVALID_PARAMETER,
        Ok(()) => STATUS_SUCCESS,
        Err(status) => status,
    }
}

/// Are the members of a profile what their pages ask for?
fn is_whole(profile: Address) -> bool {
    let number = |at| profile.get::<u32>(at);
    number(info::KIND) == CAMERA
        && number(info::SIZE) == info::BYTES
        && number(info::PIN_COUNT) > 0
        && !profile.follow(info::PINS).is_null()
        && number(info::RESERVED) == 0
        && number(info::CONCURRENCY_COUNT) <= MOST_CONCURRENCIES
        && (number(info::CONCURRENCY_COUNT) == 0) == profile.follow(info::CONCURRENCY).is_null()
}

// ks-coverage: KsPersistDeviceProfile partial test=a_camera_publishes_profiles_and_nothing_else_does
pub(crate) unsafe extern "win64" fn KsPersistDeviceProfile(factory: Address) -> NtStatus {
    initialized(factory, "KsPersistDeviceProfile").map_or_else(|status| status, |()| STATUS_SUCCESS)
}
