//! Lists of stream headers, cut off at each byte and with every member at its limits.

use crate::support::specimen::*;
use crate::{bounded, bytes_of, hostile_values, with_word, word};
use ks_abi::*;
use ks_io::{Handle, Transport};
use ks_mem::Frame;

/// A list of two headers over one buffer each.
pub fn header_list(buffers: &[Frame], used: u32) -> Vec<u8> {
    let header = |buffer: &Frame| KsStreamHeader {
        size: 56,
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: 64,
        data_used: used,
        data: Ptr64(buffer.address()),
        ..Default::default()
    };
    buffers.iter().flat_map(|buffer| bytes_of(&header(buffer))).collect()
}

/// Sends a stream request; `Ok` when the pin took it (it is cancelled then), else its status.
fn stream(bench: &Bench, pin: Handle, code: IoControlCode, list: Vec<u8>) -> Result<(), NtStatus> {
    let request = bounded(4 * list.len(), "a header list", || bench.session.submit(pin, code, &[], list));
    if request.is_done() {
        let status = request.wait().outcome.status;
        assert!(!status.is_success(), "nothing processes here");
        return Err(status);
    }
    request.cancel();
    let finished = request.wait();
    assert_eq!((finished.outcome.status, finished.outcome.information), (STATUS_CANCELLED, 0));
    Ok(())
}

#[test]
fn ksstream_header_lists() {
    let bench = bench();
    let buffers: Vec<Frame> = (0..2).map(|_| bench.session.allocate(64, 64).unwrap()).collect();
    let known = 0x8007_FFDF & !u64::from(KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
    for (pin, code, used) in
        [(bench.pin(OUT), IoControlCode::KS_READ_STREAM, 0), (bench.pin(IN), IoControlCode::KS_WRITE_STREAM, 32)]
    {
        assert_eq!(bench.set_state(pin, KsState::ACQUIRE).status, STATUS_SUCCESS);
        let list = header_list(&buffers, used);
        assert_eq!(stream(&bench, pin, code, list.clone()), Ok(()));
        for cut in 0..list.len() {
            let taken = stream(&bench, pin, code, list[..cut].to_vec());
            assert_eq!(taken.is_ok(), cut == 56, "cut at {cut}");
        }
        for base in [0, 56] {
            for at in [(0, 4), (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 4), (52, 4)] {
                let at = (base + at.0, at.1);
                for value in hostile_values(word(&list, at), at.1) {
                    let taken = stream(&bench, pin, code, with_word(&list, at, value)).is_ok();
                    let may = match at.0 - base {
                        // Type-specific flags, times, scales and the reserved word are the driver's matter.
                        4 | 8 | 24 | 52 => true,
                        16 | 20 => value != 0,
                        // The extent may shrink to what is used, the used may grow to the extent.
                        32 => value <= 64 && value >= u64::from(used),
                        36 => used > 0 && value <= 64,
                        // Data may point anywhere in the client's own memory, with room for the extent.
                        40 => false,
                        48 => value & !known == 0,
                        _ => false,
                    };
                    assert_eq!(taken, may, "{value:#x} at {}", at.0);
                }
            }
        }
        // More headers than a request may have.
        let many: Vec<u8> = list[..56].repeat(4097);
        assert_eq!(stream(&bench, pin, code, many), Err(STATUS_INSUFFICIENT_RESOURCES));
        assert_eq!(bench.engine_pin(pin).queued_requests(), 0);
    }
}
