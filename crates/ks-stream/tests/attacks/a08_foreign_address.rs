//! A8, the access check that a client's address gets: nothing but memory that this client registered is touched.

use crate::bytes_of;
use crate::support::specimen::*;
use ks_abi::*;
use ks_io::Transport;

fn list(address: u64, extent: u32, used: u32) -> Vec<u8> {
    bytes_of(&KsStreamHeader {
        size: 56,
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: extent,
        data_used: used,
        data: Ptr64(address),
        ..Default::default()
    })
}

#[test]
fn a8_an_address_that_is_not_the_clients_own_memory_is_refused() {
    let bench = bench();
    let stranger = bench.io.session();
    let secret = stranger.allocate(4096, 4096).unwrap();
    secret.write().unwrap().fill(0x5E);
    let own = bench.session.allocate(4096, 4096).unwrap();
    let gone = bench.session.allocate(4096, 4096).unwrap();
    let gone_address = gone.address();
    drop(gone);
    let end = own.address() + 4096;
    let table = [
        (0, 1),
        (1, 1),
        (end, 1),
        (end - 1, 2),
        (own.address() - 1, 2),
        (own.address(), 4097),
        (1 << 63, 1),
        (0xFFFF_8000_0000_0000, 1),
        (u64::MAX, 1),
        (u64::MAX - 3, 8),
        (secret.address(), 1),
        (secret.address() + 1, 4095),
        (gone_address, 1),
    ];
    for (pin, code, used) in
        [(bench.pin(OUT), IoControlCode::KS_READ_STREAM, 0), (bench.pin(IN), IoControlCode::KS_WRITE_STREAM, 1)]
    {
        assert_eq!(bench.set_state(pin, KsState::ACQUIRE).status, STATUS_SUCCESS);
        for (address, extent) in table {
            let request = bench.session.submit(pin, code, &[], list(address, extent, used));
            assert!(request.is_done(), "{address:#x} and {extent} bytes were taken");
            assert_eq!(request.wait().outcome.status, STATUS_ACCESS_VIOLATION, "{address:#x} and {extent} bytes");
        }
        // The same place is good for the client whose it is.
        let request = bench.session.submit(pin, code, &[], list(own.address(), 4096, used));
        assert!(!request.is_done());
        request.cancel();
        assert_eq!(request.wait().outcome.status, STATUS_CANCELLED);
    }
    assert!(secret.read().unwrap().iter().all(|byte| *byte == 0x5E), "no byte of the other client's memory changed");
}

#[test]
fn a8_frames_of_a_circuit_and_of_another_clients_allocator_are_nobody_elses() {
    let bench = bench();
    let pin = bench.pin(OUT);
    // An allocator of a stranger on the same filter.
    let stranger = bench.io.session();
    let filter = stranger.open(&bench.link, both_accesses()).unwrap();
    let create = pin_create(IN);
    let on = stranger.create(filter, KSSTRING_PIN, &create.parameters(), both_accesses()).unwrap();
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 2,
        frame_size: 64,
        ..Default::default()
    };
    let allocator = stranger.create(on, KSSTRING_ALLOCATOR, &bytes_of(&framing), both_accesses()).unwrap();
    let request = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE);
    let mut address = [0; 8];
    let allocated = stranger.device_io_control(allocator, IoControlCode::KS_METHOD, &bytes_of(&request), &mut address);
    assert_eq!(allocated.status, STATUS_SUCCESS, "{:?}", allocated.refusal);
    let address = u64::from_le_bytes(address);
    assert_ne!(address, 0);
    assert_eq!(bench.set_state(pin, KsState::ACQUIRE).status, STATUS_SUCCESS);
    let request = bench.session.submit(pin, IoControlCode::KS_READ_STREAM, &[], list(address, 64, 0));
    assert!(request.is_done(), "a stranger's frame was taken");
    assert_eq!(request.wait().outcome.status, STATUS_ACCESS_VIOLATION);
    // Frames that travel between connected pins are the engine's.
    let circuit = bench.io.regions().allocate_for(ks_mem::RegionOwner::Engine, 64, 64).unwrap();
    let request = bench.session.submit(pin, IoControlCode::KS_READ_STREAM, &[], list(circuit.address(), 64, 0));
    assert_eq!(request.wait().outcome.status, STATUS_ACCESS_VIOLATION);
}
