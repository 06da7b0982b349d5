//! A6, a stream header paired with the wrong buffer: whatever the flags, the sizes and their order, the bytes of a frame
//! land in the buffer of its own header.

use crate::bytes_of;
use crate::rig::{Rig, UP, bring};
use ks_abi::*;
use ks_io::Transport;
use ks_stream::Pin;
use std::sync::Arc;

const SIZES: [u32; 5] = [1, 0xFFF, 0x1000, 0x1001, 0x20000];
const CANARY_BYTES: usize = 4096;
const CANARY: u8 = 0xC5;

/// Fills each frame to its extent with its number among the frames of the request.
fn fill(pin: &Arc<Pin>, number: &std::sync::atomic::AtomicU32) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        let pattern = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as u8 + 1;
        if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
            assert_eq!(bytes.len(), frame.frame_extent() as usize, "a buffer has its header's extent");
            bytes.fill(pattern);
        }
        frame.set_data_used(frame.frame_extent());
        edge = frame.advance();
    }
    STATUS_PENDING
}

/// Every order of `count` of the sizes; the sixth is one of them again.
fn orders(count: usize) -> Vec<Vec<u32>> {
    fn extend(chosen: &mut Vec<u32>, left: &[u32], count: usize, all: &mut Vec<Vec<u32>>) {
        if chosen.len() == count {
            all.push(chosen.clone());
            return;
        }
        for (index, size) in left.iter().enumerate() {
            if left[..index].contains(size) {
                continue;
            }
            let mut rest = left.to_vec();
            rest.remove(index);
            chosen.push(*size);
            extend(chosen, &rest, count, all);
            chosen.pop();
        }
    }
    let mut all = Vec::new();
    let sizes = if count > SIZES.len() { [&SIZES[..], &[0x1000]].concat() } else { SIZES.to_vec() };
    extend(&mut Vec::new(), &sizes, count, &mut all);
    all
}

#[test]
fn a6_bytes_land_in_the_buffer_of_their_own_header() {
    let rig = Rig::new(1);
    let number = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = number.clone();
    rig.source.script(move |_, pin| fill(pin, &counted));
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let handle = pin.object().handle();
    let room = 6 * (0x20000 + CANARY_BYTES) + CANARY_BYTES;
    let memory = rig.session.allocate(room, 4096).unwrap();
    let patterns: Vec<Vec<u8>> = (0..7_u8).map(|pattern| vec![pattern; 0x20000]).collect();
    let canary = vec![CANARY; CANARY_BYTES];
    for count in 1..=6 {
        let orders = orders(count);
        for sizes in &orders {
            for flags in 0..1_u32 << count {
                let mut places = Vec::new();
                let mut at = CANARY_BYTES;
                for size in sizes {
                    places.push(at);
                    at += *size as usize + CANARY_BYTES;
                }
                memory.write().unwrap()[..at].fill(CANARY);
                let list: Vec<u8> = sizes
                    .iter()
                    .zip(&places)
                    .enumerate()
                    .flat_map(|(place, (size, offset))| {
                        let persist = flags & 1 << place != 0;
                        bytes_of(&KsStreamHeader {
                            size: 56,
                            presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
                            frame_extent: *size,
                            data: Ptr64(memory.address() + *offset as u64),
                            options_flags: if persist { KSSTREAM_HEADER_OPTIONSF_PERSIST_SAMPLE } else { 0 },
                            ..Default::default()
                        })
                    })
                    .collect();
                number.store(0, std::sync::atomic::Ordering::Relaxed);
                let finished = rig.session.submit(handle, IoControlCode::KS_READ_STREAM, &[], list).wait();
                assert_eq!(finished.outcome.status, STATUS_SUCCESS, "{sizes:x?} {flags:b}");
                for (place, header) in finished.output.chunks_exact(56).enumerate() {
                    let used = u32::from_le_bytes(header[36..40].try_into().unwrap());
                    assert_eq!(used, sizes[place], "DataUsed is the extent of its own header");
                }
                let bytes = memory.read().unwrap();
                assert!(bytes[..CANARY_BYTES] == canary[..], "before the first: {sizes:x?} {flags:b}");
                for (place, (size, offset)) in sizes.iter().zip(&places).enumerate() {
                    let (size, offset) = (*size as usize, *offset);
                    let own = bytes[offset..offset + size] == patterns[place + 1][..size];
                    assert!(own, "buffer {place} has other bytes than its header's: {sizes:x?} {flags:b}");
                    let after = &bytes[offset + size..offset + size + CANARY_BYTES];
                    assert!(after == &canary[..], "behind buffer {place}: {sizes:x?} {flags:b}");
                }
            }
        }
    }
}

#[test]
fn a6_bytes_are_taken_from_the_buffer_of_their_own_header() {
    let rig = Rig::new(1);
    // What the driver saw of each frame: its extent, its DataUsed, and whether each byte is that of its number.
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    rig.sink.script(move |_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            let mut seen = noted.lock().unwrap();
            let number = seen.len() as u8 + 1;
            let bytes = frame.buffer().and_then(|buffer| buffer.read()).expect("nobody writes");
            let own = bytes.iter().all(|byte| *byte == number);
            seen.push((frame.frame_extent(), frame.data_used(), bytes.len(), own));
            drop((bytes, seen));
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let (_filter, pin) = rig.alone("sink");
    bring(&pin, &UP);
    let handle = pin.object().handle();
    let memory = rig.session.allocate(6 * (0x20000 + CANARY_BYTES) + CANARY_BYTES, 4096).unwrap();
    for count in 1..=6 {
        for (index, sizes) in orders(count).iter().enumerate() {
            // The driver looks at each byte; the patterns of flags are dealt out over the orders, all of them many times.
            for flags in (0..1_u32 << count).cycle().skip(index * 4).take(4) {
                let mut list = Vec::new();
                let mut at = CANARY_BYTES;
                let mut bytes = memory.write().unwrap();
                for (place, size) in sizes.iter().enumerate() {
                    bytes[at - CANARY_BYTES..at].fill(CANARY);
                    bytes[at..at + *size as usize].fill(place as u8 + 1);
                    let persist = flags & 1 << place != 0;
                    list.extend(bytes_of(&KsStreamHeader {
                        size: 56,
                        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
                        frame_extent: *size,
                        data_used: *size,
                        data: Ptr64(memory.address() + at as u64),
                        options_flags: if persist { KSSTREAM_HEADER_OPTIONSF_PERSIST_SAMPLE } else { 0 },
                        ..Default::default()
                    }));
                    at += *size as usize + CANARY_BYTES;
                }
                bytes[at - CANARY_BYTES..at].fill(CANARY);
                drop(bytes);
                let finished = rig.session.submit(handle, IoControlCode::KS_WRITE_STREAM, &[], list).wait();
                assert_eq!(finished.outcome.status, STATUS_SUCCESS, "{sizes:x?} {flags:b}");
                let expected: Vec<_> = sizes.iter().map(|size| (*size, *size, *size as usize, true)).collect();
                let seen = std::mem::take(&mut *seen.lock().unwrap());
                assert_eq!(seen, expected, "{sizes:x?} {flags:b}");
            }
        }
    }
}

#[test]
fn a6_an_unknown_option_refuses_the_whole_request() {
    let rig = Rig::new(1);
    rig.source.script(|_, _| panic!("a refused request reaches no driver"));
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let memory = rig.session.allocate(64, 64).unwrap();
    // What the documentation defines; the rest has no meaning.
    let known = 0x8007_FFDF_u32;
    for bit in (0..32).filter(|bit| known & 1 << bit == 0) {
        for wrong in 0..3 {
            let list: Vec<u8> = (0..3)
                .flat_map(|place| {
                    bytes_of(&KsStreamHeader {
                        size: 56,
                        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
                        frame_extent: 16,
                        data: Ptr64(memory.address() + 16 * place),
                        options_flags: if place == wrong { 1 << bit } else { 0 },
                        ..Default::default()
                    })
                })
                .collect();
            let finished = rig.session.submit(pin.object().handle(), IoControlCode::KS_READ_STREAM, &[], list).wait();
            assert_eq!(finished.outcome.status, STATUS_INVALID_PARAMETER, "bit {bit} in header {wrong}");
        }
    }
}
