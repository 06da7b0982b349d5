//! The security of objects as create items keep it: one self-relative descriptor in pool memory.
//!
//! Nobody is refused anything by a descriptor here: access is decided where a client opens a handle. A driver can keep,
//! read and replace them all the same.

use super::dispatch::complete;
use super::header::{self, Alone, ObjectHeader};
use super::request::DriverIrp;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::kernel;
use ks_abi::kernel::{IoStackLocation, KSCREATE_ITEM_SECURITYCHANGED, KsObjectCreateItem};
use ks_abi::{
    NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_NO_SECURITY_ON_OBJECT, STATUS_SUCCESS,
};
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsDispatchQuerySecurity, KsDispatchSetSecurity, KsCreateDefaultSecurity, KsAcquireDeviceSecurityLock,
    KsReleaseDeviceSecurityLock,
);

const TAG: u32 = u32::from_le_bytes(*b"KsSd");
/// Bytes of a SECURITY_DESCRIPTOR_RELATIVE before what its offsets point at.
const HEAD: usize = 20;
/// SE_SELF_RELATIVE
const SELF_RELATIVE: u16 = 0x8000;
/// The largest descriptor, as SECURITY_DESCRIPTOR's ACLs have 16-bit sizes: two ACLs and two SIDs.
const MOST_BYTES: usize = HEAD + 2 * 0x1_0000 + 2 * SID_BYTES;
/// The largest SID: 8 bytes and 15 authorities.
const SID_BYTES: usize = 8 + 4 * 15;

/// A self-relative descriptor, whole; `None` for one that is no such thing.
fn descriptor(at: Address) -> Option<Vec<u8>> {
    at.some()?;
    if at.get::<u8>(0) != 1 || at.get::<u16>(2) & SELF_RELATIVE == 0 {
        return None;
    }
    let mut end = HEAD;
    for (place, is_sid) in [(4, true), (8, true), (12, false), (16, false)] {
        let offset = at.get::<u32>(place) as usize;
        if offset == 0 {
            continue;
        }
        if !(HEAD..MOST_BYTES).contains(&offset) {
            return None;
        }
        let part = at.at(offset);
        let bytes = if is_sid { 8 + 4 * usize::from(part.get::<u8>(1)) } else { usize::from(part.get::<u16>(2)) };
        end = end.max(offset + bytes);
    }
    (end <= MOST_BYTES).then(|| at.bytes(end))
}

fn in_pool(bytes: &[u8]) -> Result<Address, NtStatus> {
    let copy = kernel::allocate_pool(bytes.len(), TAG).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    copy.write_bytes(bytes);
    Ok(copy)
}

fn item(irp: DriverIrp) -> Option<Address> {
    ObjectHeader::of_file(irp.file_object())?.create_item().some()
}

const PARAMETERS: usize = offset_of!(IoStackLocation, parameters);
const DESCRIPTOR: usize = offset_of!(KsObjectCreateItem, security_descriptor);

fn query(irp: DriverIrp) -> NtStatus {
    irp.set_information(0);
    let Some(found) = item(irp).and_then(|item| descriptor(item.follow(DESCRIPTOR))) else {
        return STATUS_NO_SECURITY_ON_OBJECT;
    };
    irp.set_information(found.len() as u64);
    // Parameters.QuerySecurity.Length
    if (irp.stack().get::<u32>(PARAMETERS + 8) as usize) < found.len() {
        return STATUS_BUFFER_OVERFLOW;
    }
    irp.user_buffer().write_bytes(&found);
    STATUS_SUCCESS
}

/// Decision: the new descriptor takes the place of the old one whole, whichever parts SecurityInformation names.
fn set(irp: DriverIrp) -> NtStatus {
    irp.set_information(0);
    let Some(item) = item(irp) else { return STATUS_NO_SECURITY_ON_OBJECT };
    // Parameters.SetSecurity.SecurityDescriptor
    let Some(new) = descriptor(irp.stack().follow(PARAMETERS + 8)) else { return STATUS_INVALID_PARAMETER };
    match in_pool(&new) {
        Ok(copy) => {
            let old = item.follow(DESCRIPTOR);
            item.put(DESCRIPTOR, copy.0);
            let flags = offset_of!(KsObjectCreateItem, flags);
            item.put(flags, item.get::<u32>(flags) | KSCREATE_ITEM_SECURITYCHANGED);
            if !old.is_null() {
                kernel::free_pool(old.0);
            }
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Decision: the request is completed with STATUS_NO_SECURITY_ON_OBJECT too, because nobody else would.
// ks-coverage: KsDispatchQuerySecurity done test=objects_keep_security_descriptors
pub(crate) unsafe extern "win64" fn KsDispatchQuerySecurity(_device: u64, irp: Address) -> NtStatus {
    complete(irp, query(DriverIrp::new(irp)))
}

// ks-coverage: KsDispatchSetSecurity done test=objects_keep_security_descriptors
pub(crate) unsafe extern "win64" fn KsDispatchSetSecurity(_device: u64, irp: Address) -> NtStatus {
    complete(irp, set(DriverIrp::new(irp)))
}

/// A descriptor of its own for a sub-object: its parent's, or one that lets everybody in.
// ks-coverage: KsCreateDefaultSecurity done test=objects_keep_security_descriptors
pub(crate) unsafe extern "win64" fn KsCreateDefaultSecurity(parent: Address, result: Address) -> NtStatus {
    let made = match parent.some() {
        Some(parent) => descriptor(parent).ok_or(STATUS_INVALID_PARAMETER),
        None => {
            // A present DACL at NULL: no access is denied.
            let mut open = vec![0u8; HEAD];
            open[0] = 1;
            open[2..4].copy_from_slice(&(SELF_RELATIVE | 4).to_le_bytes());
            Ok(open)
        }
    };
    match made.and_then(|bytes| in_pool(&bytes)) {
        Ok(copy) => {
            result.put(0, copy.0);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsAcquireDeviceSecurityLock done test=objects_keep_security_descriptors
pub(crate) unsafe extern "win64" fn KsAcquireDeviceSecurityLock(device: Address, exclusive: u8) {
    if let Some(device) = header::device(device, "KsAcquireDeviceSecurityLock") {
        ks_io::deferred::drain_before_wait();
        device.security_lock().acquire(if exclusive != 0 { Alone::Yes } else { Alone::No });
    }
}

// ks-coverage: KsReleaseDeviceSecurityLock done test=objects_keep_security_descriptors
pub(crate) unsafe extern "win64" fn KsReleaseDeviceSecurityLock(device: Address) {
    if let Some(device) = header::device(device, "KsReleaseDeviceSecurityLock") {
        device.security_lock().release("KsReleaseDeviceSecurityLock");
    }
}
