//! An allocator as its client sees it.

use crate::error::ClientError;
use crate::object::Object;
use crate::stream::StreamFrame;
use ks_abi::{
    IoControlCode, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_SEND,
    KSMETHODSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPSETID_StreamAllocator, KsMethod,
    KsStreamAllocatorStatus, STATUS_INVALID_ADDRESS,
};
use ks_io::Request;
use zerocopy::{FromBytes, IntoBytes};

/// An open allocator of a pin. Dropping it closes its handle; its frames go with it.
#[derive(Debug)]
pub struct Allocator {
    object: Object,
}

impl Allocator {
    pub(crate) fn new(object: Object) -> Allocator {
        Allocator { object }
    }

    /// The handle and the raw requests.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The address of a frame; waits while all are out.
    #[doc(alias = "KSMETHOD_STREAMALLOCATOR_ALLOC")]
    pub fn allocate(&self) -> Result<u64, ClientError> {
        let finished = self.submit_allocate().wait();
        if !finished.outcome.status.is_success() {
            return Err(ClientError::new("allocate a frame", self.object.name(), finished.outcome));
        }
        u64::read_from_bytes(&finished.output)
            .map_err(|_| self.object.error("allocate a frame", STATUS_INVALID_ADDRESS))
    }

    /// Asks for a frame and does not wait: its address is the answer of the request, which can be cancelled.
    pub fn submit_allocate(&self) -> Request {
        let method = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_SEND);
        self.object.transport().submit(self.object.handle(), IoControlCode::KS_METHOD, method.as_bytes(), vec![0; 8])
    }

    /// Gives a frame back.
    #[doc(alias = "KSMETHOD_STREAMALLOCATOR_FREE")]
    pub fn free(&self, frame: u64) -> Result<(), ClientError> {
        let method = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_SEND);
        let mut data = frame.to_le_bytes();
        let outcome = self.object.control(IoControlCode::KS_METHOD, method.as_bytes(), &mut data);
        match outcome.status.is_success() {
            true => Ok(()),
            false => Err(ClientError::new("free a frame", self.object.name(), outcome)),
        }
    }

    /// The framing of the create, and how many frames are out.
    #[doc(alias = "KSPROPERTY_STREAMALLOCATOR_STATUS")]
    pub fn status(&self) -> Result<KsStreamAllocatorStatus, ClientError> {
        self.object.property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS)
    }

    /// A frame of this allocator for a stream request; `bytes` may be less than a frame has. Where the engine is in
    /// another process there is no such memory: STATUS_INVALID_ADDRESS.
    pub fn stream_frame(&self, frame: u64, bytes: usize) -> Result<StreamFrame, ClientError> {
        match self.object.transport().frame_at(frame, bytes) {
            Some(buffer) => Ok(StreamFrame::new(buffer)),
            None => Err(self.object.error("find a frame", STATUS_INVALID_ADDRESS)),
        }
    }
}
