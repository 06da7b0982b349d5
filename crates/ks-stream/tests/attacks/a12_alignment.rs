//! A12, an alignment that is none: an allocator takes masks of powers of two up to a page, and its frames keep them.

use crate::support::specimen::*;
use crate::{bounded, bytes_of};
use ks_abi::*;
use ks_io::{Handle, Transport};

const PAGE_MASK: u32 = 0xFFF;

fn create(bench: &Bench, pin: Handle, file_alignment: u32) -> Result<Handle, NtStatus> {
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 3,
        frame_size: 100,
        file_alignment,
        ..Default::default()
    };
    let made = bounded(size_of::<KsAllocatorFraming>(), "an allocator", || {
        bench.session.create(pin, KSSTRING_ALLOCATOR, &bytes_of(&framing), both_accesses())
    });
    made.map_err(|outcome| outcome.status)
}

fn method(bench: &Bench, allocator: Handle, item: u32, frame: u64) -> (NtStatus, u64) {
    let kind = if item == KSMETHOD_STREAMALLOCATOR_ALLOC { KSMETHOD_TYPE_WRITE } else { KSMETHOD_TYPE_READ };
    let request = bytes_of(&KsMethod::new(KSMETHODSETID_StreamAllocator, item, kind));
    let mut frame = frame.to_le_bytes();
    let outcome = bench.control(allocator, IoControlCode::KS_METHOD, &request, &mut frame);
    (outcome.status, u64::from_le_bytes(frame))
}

#[test]
fn a12_only_masks_of_powers_of_two_up_to_a_page_are_taken_and_frames_keep_them() {
    let bench = bench();
    let pin = bench.pin(IN);
    for alignment in (0..=0xFFFF).chain([0x8000_0000, u32::MAX]) {
        let is_mask = alignment & alignment.wrapping_add(1) == 0 && alignment <= PAGE_MASK;
        match create(&bench, pin, alignment) {
            Ok(allocator) => {
                assert!(is_mask, "alignment {alignment:#x} was taken");
                frames_of(&bench, allocator, alignment);
                assert_eq!(bench.session.close(allocator).status, STATUS_SUCCESS);
            }
            Err(status) => {
                assert!(!is_mask, "alignment {alignment:#x} was refused: {status}");
                assert!(status.is_error());
            }
        }
    }
}

/// Its frames are aligned, and nothing of the allocator lies in them: overwritten whole, they are freed and come again.
fn frames_of(bench: &Bench, allocator: Handle, alignment: u32) {
    let alloc = || method(bench, allocator, KSMETHOD_STREAMALLOCATOR_ALLOC, 0);
    for _ in 0..3 {
        let frames: Vec<u64> =
            (0..3).map(|_| alloc()).map(|(status, frame)| (status == STATUS_SUCCESS, frame).1).collect();
        for frame in &frames {
            assert_ne!(*frame, 0);
            assert_eq!(frame & u64::from(alignment), 0, "{frame:#x} by {alignment:#x}");
            let memory = bench.io.regions().resolve(*frame, 100).expect("a frame is known memory");
            memory.write().expect("nobody else has it").fill(0xFF);
        }
        for frame in frames {
            assert_eq!(method(bench, allocator, KSMETHOD_STREAMALLOCATOR_FREE, frame).0, STATUS_SUCCESS);
        }
    }
}
