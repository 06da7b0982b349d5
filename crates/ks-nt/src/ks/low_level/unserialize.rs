//! Properties that the registry keeps for an object.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::engine_file;
use crate::ntoskrnl::file::ControlRequest;
use crate::ntoskrnl::{registry, registry_key};
use ks_abi::kernel::UnicodeString;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_UNSERIALIZESET, KsProperty, KsPropertySerialHeader, NtStatus,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsUnserializeObjectPropertiesFromRegistry);

/// The serialized sets of a key, in the order of its values.
fn serialized_sets(parent: u64, path: Address) -> Result<Vec<Vec<u8>>, NtStatus> {
    let root = match parent {
        0 if path.is_null() => return Err(STATUS_INVALID_PARAMETER),
        0 => 0,
        parent => registry_key::key_of(parent)?,
    };
    let tree = registry::tree();
    let key = match path.some() {
        None => root,
        Some(path) => {
            let path: UnicodeString = path.read();
            let bytes = Address(path.buffer.0).bytes(usize::from(path.length) & !1);
            let units: Vec<u16> = bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            tree.open(root, &String::from_utf16_lossy(&units))?
        }
    };
    Ok(tree.values(key)?.iter().map(|value| value.data.clone()).collect())
}

/// Gives an object what is serialized in the values of a key, whatever their names, each by a request of its own. The
/// first that is refused ends it; what stood before stays.
// ks-coverage: KsUnserializeObjectPropertiesFromRegistry done test=a_set_is_serialized_and_comes_back_from_the_registry
pub(crate) unsafe extern "win64" fn KsUnserializeObjectPropertiesFromRegistry(
    file: Address,
    parent: u64,
    path: Address,
) -> NtStatus {
    let sets = match serialized_sets(parent, path) {
        Ok(sets) => sets,
        Err(status) => return status,
    };
    for mut set in sets {
        let Ok((header, _)) = KsPropertySerialHeader::read_from_prefix(&set) else { return STATUS_INVALID_BUFFER_SIZE };
        let request = KsProperty::new(header.property_set, 0, KSPROPERTY_TYPE_UNSERIALIZESET);
        let request = ControlRequest {
            code: IoControlCode::KS_PROPERTY.0,
            input: request.as_bytes().as_ptr() as u64,
            input_bytes: size_of::<KsProperty>() as u32,
            output: set.as_mut_ptr() as u64,
            output_bytes: set.len() as u32,
        };
        let (status, _) = engine_file::control_any(file, 0, &request);
        if !status.is_success() {
            return status;
        }
    }
    STATUS_SUCCESS
}
