//! A2, double fetch, of frames in memory that another process writes at the same time.

use ks_mem::{FrameMemory, FramePool, PoolSpec, RegionTable, SharedMemory};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a2_bytes_of_a_shared_frame_stay_as_they_were_read_while_the_page_changes() {
    const READS: u32 = 1_000_000;
    let table = RegionTable::new();
    let spec = PoolSpec { frames: 1, frame_bytes: 64, alignment: 64 };
    let pool = FramePool::in_memory(FrameMemory::Shared, spec, &table).unwrap();
    let frame = pool.take().unwrap();
    let ours = frame.region().shared_memory().expect("it is shared");
    // The other process has a mapping of its own.
    let theirs = SharedMemory::open(ours.descriptor().try_clone_to_owned().unwrap(), 1 << 20).unwrap();
    let at = (frame.address() - ours.address()) as usize;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0_u32;
            while !over.load(Ordering::Relaxed) {
                value = value.wrapping_add(0x0101_0101);
                (0..64).step_by(4).for_each(|word| theirs.store_u32(at + word, value));
            }
        });
        let (mut changes, mut mismatches, mut last) = (0, 0, 0);
        for _ in 0..READS {
            let read = frame.bytes(64).expect("nobody here writes");
            let checked: [u8; 64] = read[..].try_into().unwrap();
            std::hint::spin_loop();
            mismatches += u32::from(std::hint::black_box(&read[..]) != &checked[..]);
            changes += u32::from(checked[0] != last);
            last = checked[0];
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(mismatches, 0, "what a driver sees of a frame does not change under it");
        assert!(changes > 0, "the other side changed nothing: this shows nothing");
    });
}
