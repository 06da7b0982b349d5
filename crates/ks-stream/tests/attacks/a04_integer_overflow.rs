//! A4, integer overflow in size times count: what wraps is refused, and costs no memory.

use crate::support::specimen::*;
use crate::support::video;
use crate::{bounded, bytes_of, with};
use ks_abi::*;
use ks_io::Transport;
use zerocopy::IntoBytes;

/// Statuses that say "these sizes cannot be".
const SIZES_REFUSED: [NtStatus; 4] =
    [STATUS_INVALID_PARAMETER, STATUS_INVALID_BUFFER_SIZE, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES];

#[test]
fn a4_the_size_and_count_of_a_multiple_item_must_fit_its_buffer() {
    let bench = bench();
    let ranges = range_list(&[video(), video(), video()]);
    let too_long = ranges.len() as u32 + 1;
    let table = [
        (8, u32::MAX),
        (0, 0),
        (7, 0),
        (7, 3),
        (too_long, 3),
        (u32::MAX, 1),
        (0xFFFF_FFF8, 0x1FFF_FFFF),
        (ranges.len() as u32, 0x0555_5556),
        (ranges.len() as u32, 0x0492_4925),
        (24, 4),
    ];
    for (size, count) in table {
        let list = with(&with(&ranges, 0, &size.to_le_bytes()), 4, &count.to_le_bytes());
        let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, OUT));
        input.extend(list);
        let outcome = bounded(input.len(), "ranges", || bench.property(bench.filter, &input, &mut [0; 64]));
        assert!(SIZES_REFUSED.contains(&outcome.status), "{{{size:#x}, {count:#x}}}: {}", outcome.status);
    }
    // Three items of eight bytes, and one byte more than they need.
    let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, OUT));
    input.extend_from_slice(KsMultipleItem { size: 24, count: 3 }.as_bytes());
    input.extend_from_slice(&[0; 17]);
    let outcome = bounded(input.len(), "ranges", || bench.property(bench.filter, &input, &mut [0; 64]));
    assert!(SIZES_REFUSED.contains(&outcome.status), "{}", outcome.status);
}

/// A header over `extent` bytes at `data`.
fn header(extent: u32, used: u32, data: u64) -> KsStreamHeader {
    KsStreamHeader {
        size: 56,
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: extent,
        data_used: used,
        data: Ptr64(data),
        ..Default::default()
    }
}

#[test]
fn a4_stream_headers_are_counted_by_the_bytes_that_are_there() {
    let bench = bench();
    let memory = bench.session.allocate(64, 64).unwrap();
    for (pin, code) in
        [(bench.pin(OUT), IoControlCode::KS_READ_STREAM), (bench.pin(IN), IoControlCode::KS_WRITE_STREAM)]
    {
        assert_eq!(bench.set_state(pin, KsState::ACQUIRE).status, STATUS_SUCCESS);
        let list = bytes_of(&header(64, 0, memory.address()));
        let refused = |what: &str, list: Vec<u8>| {
            let finished = bounded(4 * list.len(), what, || bench.session.submit(pin, code, &[], list));
            assert!(finished.is_done(), "{what} was taken");
            finished.wait().outcome.status
        };
        for size in [0, 1, 48, 55, 57, 0x0555_5556, 0x0492_4925, u32::MAX] {
            let status = refused("Size", with(&list, 0, &size.to_le_bytes()));
            assert_eq!(status, STATUS_INVALID_BUFFER_SIZE, "Size {size:#x}");
        }
        // As many 48-byte headers of a 32-bit client as have 2^32 + 32 bytes wrap to these; of 56 bytes to 24.
        for bytes in [32, 24, 48, 96] {
            assert_eq!(refused("a wrapped list", vec![0; bytes]), STATUS_INVALID_BUFFER_SIZE, "{bytes} bytes");
        }
        let extent = refused("FrameExtent", bytes_of(&header(u32::MAX, 0, memory.address())));
        assert_eq!(extent, STATUS_ACCESS_VIOLATION);
        let used = refused("DataUsed", bytes_of(&header(64, 65, memory.address())));
        assert_eq!(used, STATUS_INVALID_PARAMETER);
        assert_eq!(bench.engine_pin(pin).queued_requests(), 0);
    }
}

#[test]
fn a4_a_frame_without_extent_has_no_bytes() {
    let bench = bench();
    let pin = bench.pin(IN);
    assert_eq!(bench.set_state(pin, KsState::ACQUIRE).status, STATUS_SUCCESS);
    for data in [0, 1, u64::MAX, 0xFFFF_8000_0000_0000] {
        let list = bytes_of(&header(0, 0, data));
        let request = bench.session.submit(pin, IoControlCode::KS_WRITE_STREAM, &[], list);
        assert!(!request.is_done(), "a header without extent is a frame like any other");
        let queued = bench.engine_pin(pin).queued_requests();
        assert_eq!(queued, 1, "its Data is not looked at");
        request.cancel();
        assert_eq!(request.wait().outcome.status, STATUS_CANCELLED);
    }
}

#[test]
fn a4_sizes_inside_a_format_are_not_multiplied_by_the_class_driver() {
    // The block behind a format is its driver's; FormatSize is the class driver's and is only compared.
    let bench = bench();
    let wide = [65535_u16.to_le_bytes().as_slice(), &u32::MAX.to_le_bytes(), &[0xFF; 12]].concat();
    let format = audio();
    for at in 64..format.bytes().len() {
        let bytes = with(format.bytes(), at, &wide[..(format.bytes().len() - at).min(wide.len())]);
        let create = PinCreate { format: bytes, ..pin_create(IN) };
        let parameters = create.parameters();
        let made = bounded(parameters.len(), "a wide block", || bench.create(&create));
        // The specimen takes any block; what was made costs what any pin costs.
        assert_eq!(bench.session.close(made.expect("the specimen takes it")).status, STATUS_SUCCESS);
    }
    for size in [0, 1, 63, 83, u32::MAX, 0x8000_0000, 0xFFFF_FFF8] {
        let create = PinCreate { format: with(format.bytes(), 0, &size.to_le_bytes()), ..pin_create(IN) };
        let status = bounded(create.parameters().len(), "FormatSize", || bench.create(&create)).unwrap_err().status;
        assert!(SIZES_REFUSED.contains(&status), "FormatSize {size:#x}: {status}");
    }
}
