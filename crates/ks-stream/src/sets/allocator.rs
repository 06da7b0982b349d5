//! KSPROPSETID_StreamAllocator, KSMETHODSETID_StreamAllocator and KSEVENTSETID_StreamAllocator, asked on an allocator
//! handle.

use crate::allocator::{AllocatorObject, AskedFraming};
use crate::automation::{AutomationTable, EventItem, EventSet, MethodItem, MethodSet, PropertyItem, PropertySet};
use crate::property::PropertyCall;
use ks_abi::{
    KSEVENT_STREAMALLOCATOR_FREEFRAME, KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME, KSEVENTSETID_StreamAllocator,
    KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ, KSMETHOD_TYPE_WRITE,
    KSMETHODSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_STREAMALLOCATOR_STATUS,
    KSPROPSETID_StreamAllocator, KsStreamAllocatorStatus, KsStreamAllocatorStatusEx, NtStatus,
};

// ks-coverage: KSPROPERTY_STREAMALLOCATOR_STATUS done test=an_allocators_status_is_its_framing_and_the_frames_that_are_out
// ks-coverage: KSMETHOD_STREAMALLOCATOR_ALLOC done test=frames_are_allocated_and_freed_by_method_up_to_the_limit,an_allocation_that_waits_gets_the_next_frame_that_is_freed
// ks-coverage: KSMETHOD_STREAMALLOCATOR_FREE done test=frames_are_allocated_and_freed_by_method_up_to_the_limit
// ks-coverage: KSEVENT_STREAMALLOCATOR_FREEFRAME done test=a_freed_frame_raises_its_event
// ks-coverage: KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME done test=a_freed_frame_raises_its_event

pub(super) fn table() -> AutomationTable<AllocatorObject> {
    let properties = vec![PropertySet {
        set: KSPROPSETID_StreamAllocator,
        items: vec![
            PropertyItem::new(KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE)
                .data_bytes(2 * size_of::<u64>())
                .get(|_: &AllocatorObject, call: &mut PropertyCall<'_>| super::function_table(call)),
            PropertyItem::new(KSPROPERTY_STREAMALLOCATOR_STATUS).get(status),
        ],
    }];
    let methods = vec![MethodSet {
        set: KSMETHODSETID_StreamAllocator,
        items: vec![
            MethodItem::new(KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE, allocate).data_bytes(size_of::<u64>()),
            MethodItem::new(KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ, free).data_bytes(size_of::<u64>()),
        ],
    }];
    let events = vec![EventSet {
        set: KSEVENTSETID_StreamAllocator,
        items: vec![
            EventItem::new(KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME),
            EventItem::new(KSEVENT_STREAMALLOCATOR_FREEFRAME),
        ],
    }];
    AutomationTable { properties, methods, events }
}

/// The form of the answer is that of the create; who has room for the short form only gets that.
fn status(allocator: &AllocatorObject, call: &mut PropertyCall<'_>) -> NtStatus {
    let framing = allocator.framing();
    let allocated_frames = allocator.allocated_frames();
    let room = call.answer_limit();
    match framing.asked {
        AskedFraming::Extended(framing) if room == 0 || room >= size_of::<KsStreamAllocatorStatusEx>() => {
            call.answer_value(&KsStreamAllocatorStatusEx { framing, allocated_frames, ..Default::default() })
        }
        AskedFraming::Extended(extended) => {
            let item = extended.framing_item[0];
            let short = ks_abi::KsAllocatorFraming {
                flags: item.flags,
                frames: framing.frames,
                frame_size: framing.frame_bytes,
                file_alignment: framing.alignment - 1,
                ..Default::default()
            };
            call.answer_value(&KsStreamAllocatorStatus { framing: short, allocated_frames, ..Default::default() })
        }
        AskedFraming::Plain(framing) => {
            call.answer_value(&KsStreamAllocatorStatus { framing, allocated_frames, ..Default::default() })
        }
    }
}

fn allocate(allocator: &AllocatorObject, call: &mut PropertyCall<'_>) -> NtStatus {
    match allocator.allocate_by_method() {
        Ok(frame) => {
            let status = call.answer_value(&frame);
            if !status.is_success() {
                // Nobody knows of the frame.
                let _ = allocator.free(frame);
            }
            status
        }
        Err(status) => status,
    }
}

fn free(allocator: &AllocatorObject, call: &mut PropertyCall<'_>) -> NtStatus {
    match call.data_as::<u64>() {
        Ok(frame) => allocator.free(frame),
        Err(status) => status,
    }
}
