//! A7, memory that was not made new: what one client had in its frames reaches no other, and no answer carries bytes that
//! nobody wrote.

use crate::bytes_of;
use crate::rig::{Rig, UP, bring, create};
use crate::support::specimen::*;
use ks_abi::*;
use ks_io::Transport;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const SECRET: [u8; 16] = *b"what A had in it";

fn has_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

#[test]
fn a7_a_new_frame_has_nothing_of_the_one_before() {
    let rig = Rig::new(1);
    let other = rig.io.session();
    for round in 0..100_000_u32 {
        let bytes = 64 << (round % 6);
        let mine = rig.session.allocate(bytes, 64).unwrap();
        for chunk in mine.write().unwrap().chunks_exact_mut(16) {
            chunk.copy_from_slice(&SECRET);
        }
        drop(mine);
        let theirs = other.allocate(bytes, 64).unwrap();
        assert!(theirs.read().unwrap().iter().all(|byte| *byte == 0), "round {round}");
    }
}

#[test]
fn a7_a_new_circuit_has_nothing_of_the_one_before_and_the_tail_of_a_short_frame_is_zero() {
    let rig = Rig::new(1);
    for round in 0..200 {
        let secret = round % 2 == 0;
        let left = Arc::new(AtomicU32::new(4));
        let counted = left.clone();
        rig.source.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                let Ok(last) = counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                else {
                    return STATUS_PENDING;
                };
                let mut bytes = frame.buffer().and_then(|buffer| buffer.write()).expect("it is this pin's turn");
                assert!(secret || !has_secret(&bytes), "a fresh frame shows another stream's bytes");
                assert!(secret || bytes.iter().all(|byte| *byte == 0), "a fresh frame is zero");
                if secret {
                    bytes.chunks_exact_mut(16).for_each(|chunk| chunk.copy_from_slice(&SECRET));
                } else {
                    bytes[..8].fill(1);
                }
                drop(bytes);
                frame.set_data_used(if secret { frame.frame_extent() } else { 8 });
                let end = if last == 1 { KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM } else { 0 };
                frame.set_options_flags(end);
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let seen = Arc::new(AtomicU32::new(0));
        let looked = seen.clone();
        rig.sink.script(move |_, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                if frame.data_used() == 8 {
                    let bytes = frame.buffer().and_then(|buffer| buffer.read()).expect("it is this pin's turn");
                    assert!(bytes[8..].iter().all(|byte| *byte == 0), "the tail of a short frame is zero");
                    looked.fetch_add(1, Ordering::SeqCst);
                }
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let pair = rig.pair();
        pair.bring(&UP);
        rig.settle();
        assert_eq!(left.load(Ordering::SeqCst), 0, "the stream ran");
        assert_eq!(seen.load(Ordering::SeqCst), if secret { 0 } else { 4 });
        assert_eq!(rig.services().work_panics(), 0);
        drop(pair);
        rig.settle();
    }
}

#[test]
fn a7_what_a_client_reads_into_its_own_frame_is_all_that_changes_there() {
    let rig = Rig::new(1);
    rig.source.script(|_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
                bytes[..8].fill(1);
            }
            frame.set_data_used(8);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let filter = rig.open("source");
    let pin = create(&filter, 0, KsPinDataFlow::OUT, None);
    bring(&pin, &UP);
    for _ in 0..1000 {
        let frames = pin.read_stream(vec![pin.allocate(64).unwrap()]).unwrap().wait().unwrap();
        assert_eq!(frames[0].data(), [1; 8]);
        assert!(!has_secret(&frames[0].data()));
    }
}

#[test]
fn a7_no_byte_leaves_that_was_not_answered() {
    // The buffer that comes back is poisoned, and so is what the requests before left in the engine's own memory.
    let bench = bench();
    let (out, into) = (bench.pin(OUT), bench.pin(IN));
    let mut poisoned = vec![0xA5; 2048];
    let poison = bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_SET));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    let mut answers = 0;
    let items: Vec<_> = known_properties().collect();
    for round in 0..1_000_000_u64 {
        if round % 64 == 0 {
            let _ = bench.property(into, &poison, &mut poisoned.clone());
        }
        let item = items[below(items.len() as u64) as usize];
        let verb = [KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_SETSUPPORT][below(3) as usize];
        let request = KspPin {
            property: property(item.set, item.id, verb),
            pin_id: below(u64::from(PIN_COUNT)) as u32,
            flags: 0,
        };
        let room = [4, 8, 16, 40, 64, 512][below(6) as usize];
        let handle = [bench.filter, out, into][below(3) as usize];
        poisoned[..room].fill(0xA5);
        let outcome = bench.property(handle, &bytes_of(&request), &mut poisoned[..room]);
        let answered = if outcome.status.is_error() { 0 } else { outcome.information };
        assert!(answered <= room);
        assert!(poisoned[..answered].windows(4).all(|four| four != [0xA5; 4]), "{:?} {verb:#x}", item.name);
        assert!(poisoned[answered..room].iter().all(|byte| *byte == 0xA5), "only the answer is written");
        answers += u32::from(answered > 0);
    }
    assert!(answers > 10_000, "{answers} answers are too few to tell");
}
