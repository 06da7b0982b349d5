//! FILE_OBJECTs: what a driver sees of the handle that a client has.

use ks_abi::kernel::{FileObject, IO_TYPE_FILE};
use ks_abi::{NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES};
use ks_mem::Block;

/// A FILE_OBJECT of a device.
pub(crate) fn file_object(device: u64) -> Result<Block, NtStatus> {
    let block = Block::zeroed(size_of::<FileObject>(), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let object = FileObject {
        object_type: IO_TYPE_FILE as i16,
        object_size: size_of::<FileObject>() as i16,
        device_object: Ptr64(device),
        ..FileObject::default()
    };
    block.write(0, &object);
    Ok(block)
}
