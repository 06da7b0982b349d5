//! A13, reads beyond the end of a structure of variable size: whatever is cut off or claims to be longer is refused, and no
//! answer has bytes that were not in the request.

use crate::support::specimen::*;
use crate::support::video;
use crate::{bounded, bytes_of, with};
use ks_abi::*;
use ks_io::Transport;
use ks_stream::DataFormat;
use zerocopy::IntoBytes;

/// Formats of every form: bare, with a block, with attributes, with both.
fn formats() -> Vec<DataFormat> {
    vec![
        video(),
        audio(),
        attributed(&video(), 0, 0, ATTRIBUTE),
        attributed(&audio(), 0, KSATTRIBUTE_REQUIRED, ATTRIBUTE),
    ]
}

#[test]
fn a13_a_structure_that_is_cut_at_any_byte_is_refused() {
    let bench = bench();
    for format in formats() {
        let whole = format.bytes();
        assert!(DataFormat::parse(whole).is_ok());
        for cut in 0..whole.len() {
            assert!(DataFormat::parse(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
        }
        for pin in [OUT, IN, ATTRIBUTED, WILD] {
            let parameters = PinCreate { format: whole.to_vec(), ..pin_create(pin) }.parameters();
            for cut in 0..parameters.len() {
                let made = bounded(cut, "KSPIN_CONNECT", || {
                    bench.session.create(bench.filter, KSSTRING_PIN, &parameters[..cut], both_accesses())
                });
                assert!(made.is_err(), "pin {pin} cut at {cut} of {}", parameters.len());
            }
        }
        for (list, pin) in [(vec![format.clone()], WILD), (vec![video(), format.clone()], IN)] {
            let bytes = range_list(&list);
            for cut in 0..bytes.len() {
                let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, pin));
                input.extend_from_slice(&bytes[..cut]);
                let outcome = bounded(cut, "ranges", || bench.property(bench.filter, &input, &mut [0; 256]));
                assert!(outcome.status.is_error(), "ranges cut at {cut}: {}", outcome.status);
            }
        }
    }
}

#[test]
fn a13_a_format_that_claims_another_size_is_refused() {
    for format in formats() {
        let whole = format.bytes();
        let head = format.head().format_size;
        for size in [0, 1, 63, head + 1, head + 7, head + 8, u32::MAX, u32::MAX - 7, 1 << 31] {
            let claimed = with(whole, 0, &size.to_le_bytes());
            match DataFormat::parse(&claimed) {
                // What stands behind the claimed size can be a list, too, if it is one to its end.
                Ok((parsed, _)) => {
                    assert!(format.head().flags & KSDATAFORMAT_ATTRIBUTES != 0, "FormatSize {size} of {head}");
                    assert_eq!(parsed.bytes(), &claimed[..parsed.bytes().len()]);
                }
                Err(status) => assert!(status.is_error()),
            }
        }
    }
}

#[test]
fn a13_an_attribute_list_that_lies_is_refused() {
    let list_at = 64;
    let base = attributed(&video(), 0, 0, ATTRIBUTE);
    let whole = base.bytes();
    for (what, bytes) in [
        ("longer than its buffer", with(whole, list_at, &33_u32.to_le_bytes())),
        ("as long as memory", with(whole, list_at, &u32::MAX.to_le_bytes())),
        ("shorter than its head", with(whole, list_at, &7_u32.to_le_bytes())),
        ("more entries than bytes", with(whole, list_at + 4, &2_u32.to_le_bytes())),
        ("entries without end", with(whole, list_at + 4, &u32::MAX.to_le_bytes())),
        ("an entry without size", with(whole, list_at + 8, &0_u32.to_le_bytes())),
        ("an entry that is the list itself", with(whole, list_at + 8, &32_u32.to_le_bytes())),
        ("an entry beyond the list", with(whole, list_at + 8, &u32::MAX.to_le_bytes())),
        ("an entry below its structure", with(whole, list_at + 8, &23_u32.to_le_bytes())),
    ] {
        assert!(DataFormat::parse(&bytes).is_err(), "{what}");
    }
    // A list inside of its own entry: the entry's bytes are the head of another list that claims the whole.
    let mut nested = whole.to_vec();
    nested.extend_from_slice(KsMultipleItem { size: 64, count: u32::MAX }.as_bytes());
    assert_eq!(DataFormat::parse(&nested).unwrap().0.bytes(), whole, "what stands behind is not part of it");
}

#[test]
fn a13_an_answer_has_no_bytes_from_behind_the_request() {
    let bench = bench();
    *bench.script.intersect.lock() = Some(Box::new(|range, _| Ok(range.clone())));
    for format in formats() {
        let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, WILD));
        input.extend(range_list(std::slice::from_ref(&format)));
        let (outcome, answer) = bench.ask(bench.filter, &input, 512);
        if outcome.status.is_success() {
            assert!(answer.len() <= format.bytes().len(), "{} bytes of {}", answer.len(), format.bytes().len());
            let mut known = input.clone();
            known.resize(known.len() + 8, 0);
            let known: std::collections::BTreeSet<&[u8]> = known.windows(8).collect();
            for eight in answer[16..].chunks_exact(8) {
                assert!(known.contains(eight), "{eight:x?} was not in the request");
            }
        }
    }
}
