//! The default allocator of a driver without AVStream: frames of system memory, or of routines of the driver's.

use super::class_object;
use super::request::DriverIrp;
use super::validate;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::driver_allocator::{self, Callbacks};
use ks_abi::{KSNAME_AllocatorEx, NtStatus, STATUS_INVALID_PARAMETER};
use ks_io::Dispatch;
use ks_stream::{AllocatorFraming, AllocatorObject, Framing};
use std::sync::Arc;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsCreateDefaultAllocator, KsCreateDefaultAllocatorEx);

/// The most bytes that the frames of one allocator have together.
const MOST_BYTES: u64 = 512 << 20;

fn create(irp: Address, initial: u64, callbacks: Callbacks) -> NtStatus {
    let external = !callbacks.allocate.is_null();
    let others = [callbacks.free, callbacks.initialize, callbacks.delete].iter().any(|other| !other.is_null());
    if (!external && (others || initial != 0)) || (external && callbacks.free.is_null()) {
        return STATUS_INVALID_PARAMETER;
    }
    let (class, parameters) = match validate::class_and_parameters(DriverIrp::new(irp)) {
        Ok(named) => named,
        Err(status) => return status,
    };
    let extended = class.eq_ignore_ascii_case(&KSNAME_AllocatorEx.to_string());
    let read = if extended { AllocatorFraming::extended } else { AllocatorFraming::plain };
    let framing = match read(&parameters, Framing::default(), MOST_BYTES) {
        Ok(framing) => framing,
        Err(refusal) => return refusal.status,
    };
    class_object::create(irp, |io| {
        if !external {
            return Ok(AllocatorObject::of_system_memory(framing, io));
        }
        let source = driver_allocator::start(callbacks, initial, &framing)?;
        let object: Arc<dyn Dispatch> = AllocatorObject::new(framing, source);
        Ok(object)
    })
}

/// Decision: a size of zero, which leaves it to a pin, is STATUS_INVALID_PARAMETER, because there is no pin to ask.
// ks-coverage: KsCreateDefaultAllocator done test=the_default_allocator_serves_a_driver_without_avstream
pub(crate) unsafe extern "win64" fn KsCreateDefaultAllocator(irp: Address) -> NtStatus {
    create(irp, 0, Callbacks::default())
}

/// Decision: an external allocator that does not free is STATUS_INVALID_PARAMETER.
// ks-coverage: KsCreateDefaultAllocatorEx done test=the_default_allocator_serves_a_driver_without_avstream
pub(crate) unsafe extern "win64" fn KsCreateDefaultAllocatorEx(
    irp: Address,
    initial: u64,
    allocate: Address,
    free: Address,
    initialize: Address,
    delete: Address,
) -> NtStatus {
    create(irp, initial, Callbacks { allocate, free, initialize, delete })
}
