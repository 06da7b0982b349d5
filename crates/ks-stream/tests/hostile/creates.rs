//! The parameters of creates, cut off at each byte and with every size and count at its limits.

use crate::support::specimen::*;
use crate::{Word, bounded, hostile_values, with_word, word};
use ks_abi::*;
use ks_io::Transport;
use zerocopy::IntoBytes;

/// Creates with hostile parameters; each that succeeds is closed and must be harmless.
fn attack_create(bench: &Bench, what: &str, create: &PinCreate, words: &[Word], harmless: fn(usize, u64) -> bool) {
    let parameters = create.parameters();
    let handles = bench.session.open_handles();
    let send = |parameters: &[u8], what: &str| {
        let created = bounded(parameters.len(), what, || {
            bench.session.create(bench.filter, &create.class, parameters, create.access)
        });
        match created {
            Ok(handle) => {
                assert_eq!(bench.session.close(handle).status, STATUS_SUCCESS);
                true
            }
            Err(outcome) => {
                assert!(!outcome.status.is_success());
                false
            }
        }
    };
    assert!(send(&parameters, what), "{what} as it should be");
    for cut in 0..parameters.len() {
        assert!(!send(&parameters[..cut], what), "{what} cut at {cut}");
    }
    for &at in words {
        for value in hostile_values(word(&parameters, at), at.1) {
            let accepted = send(&with_word(&parameters, at, value), what);
            assert!(!accepted || harmless(at.0, value), "{what}: {value:#x} at {} was accepted", at.0);
        }
    }
    assert_eq!(bench.session.open_handles(), handles);
}

#[test]
fn kspin_connect_and_ksdataformat() {
    let bench = bench();
    let words = [
        (0, 4),
        (12, 4),
        (16, 4),
        (20, 4),
        (24, 4),
        (40, 4),
        (44, 4),
        (48, 4),
        (56, 8),
        (64, 4),
        (68, 4),
        (72, 4),
        (76, 4),
        (80, 4),
        (84, 4),
        (88, 4),
        (104, 4),
        (120, 4),
    ];
    attack_create(&bench, "KSPIN_CONNECT", &pin_create(OUT), &words, |at, value| match at {
        // The flags of interface and medium are reserved and not compared; priority is the client's wish.
        20 | 44 | 64 | 68 => true,
        // Another pin that takes the same format.
        48 => matches!(value as u32, IN | FIXED | WILD | NON_STANDARD),
        // Flags of the format but the one that promises attributes; the sample size is the driver's matter.
        76 => value & u64::from(KSDATAFORMAT_ATTRIBUTES) == 0,
        80 | 84 => true,
        _ => false,
    });
}

#[test]
fn ksdataformat_with_attributes() {
    let bench = bench();
    let words = [(72, 4), (76, 4), (136, 4), (140, 4), (144, 4), (148, 4), (152, 4)];
    attack_create(&bench, "KSATTRIBUTE", &pin_create(ATTRIBUTED), &words, |at, value| match at {
        76 => value & u64::from(KSDATAFORMAT_ATTRIBUTES) != 0,
        // Whether the client requires it, too.
        148 => true,
        _ => false,
    });
    let words = [(72, 4), (76, 4), (136, 2), (152, 2)];
    let with_block = pin_create(IN).format(&audio());
    let parameters = with_block.parameters();
    for &at in &words[..2] {
        for value in hostile_values(word(&parameters, at), at.1) {
            let bad = with_word(&parameters, at, value);
            let created = bounded(bad.len(), "a block", || {
                bench.session.create(bench.filter, &with_block.class, &bad, with_block.access)
            });
            if let Ok(handle) = created {
                let fits = (64..82).contains(&value) || at.0 == 76;
                assert!(fits, "FormatSize {value:#x} of 82 bytes");
                let _ = bench.session.close(handle);
            }
        }
    }
    for cut in 0..parameters.len() {
        let cut = &parameters[..cut];
        assert!(bench.session.create(bench.filter, &with_block.class, cut, with_block.access).is_err());
    }
    // Longer than any parameter block may be.
    let mut long = pin_create(OUT).parameters();
    long.resize((1 << 20) + 1, 0);
    let refused =
        bounded(0, "a long block", || bench.session.create(bench.filter, KSSTRING_PIN, &long, both_accesses()));
    assert_eq!(refused.unwrap_err().status, STATUS_INVALID_PARAMETER);
    long.truncate(1 << 20);
    let handle = bounded(long.len(), "the longest block", || {
        bench.session.create(bench.filter, KSSTRING_PIN, &long, both_accesses())
    });
    assert!(handle.is_ok(), "what follows the format is not read");
    // A class string as long as anyone likes.
    let name = "x".repeat(1 << 20);
    let refused = bounded(2 * name.len(), "a long name", || {
        bench.session.create(bench.filter, &name, &[], both_accesses()).map(|_| ())
    });
    assert_eq!(refused.unwrap_err().status, STATUS_OBJECT_NAME_NOT_FOUND);
}

#[test]
fn ksclock_create() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let create = |parameters: &[u8]| {
        bounded(parameters.len(), "KSCLOCK_CREATE", || {
            bench.session.create(pin, KSSTRING_CLOCK, parameters, both_accesses())
        })
    };
    for cut in 0..4 {
        assert_eq!(create(&[0; 4][..cut]).unwrap_err().status, STATUS_INVALID_BUFFER_SIZE);
    }
    for value in hostile_values(0, 4) {
        assert_eq!(create(&value.to_le_bytes()[..4]).unwrap_err().status, STATUS_INVALID_PARAMETER);
    }
    assert!(create(&[0; 4]).is_ok());
}

/// Creates of `class` below a pin, cut off at each byte and with hostile words. What succeeds is closed again.
fn attack_child(class: &str, parameters: &[u8], words: &[Word], harmless: fn(usize, u64) -> bool) {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 3], None, None);
    let pin = bench.pin(OUT);
    let handles = bench.session.open_handles();
    let create = |parameters: &[u8]| {
        let carried = parameters.len();
        let made = bounded(carried, class, || bench.session.create(pin, class, parameters, both_accesses()));
        made.map(|made| assert_eq!(bench.session.close(made).status, STATUS_SUCCESS)).map_err(|outcome| outcome.status)
    };
    assert_eq!(create(parameters), Ok(()), "as it should be");
    for cut in 0..parameters.len() {
        assert_eq!(create(&parameters[..cut]), Err(STATUS_INVALID_BUFFER_SIZE), "cut at {cut}");
    }
    for &at in words {
        for value in hostile_values(word(parameters, at), at.1) {
            let accepted = create(&with_word(parameters, at, value)).is_ok();
            assert!(!accepted || harmless(at.0, value), "{value:#x} at {} was accepted", at.0);
        }
    }
    assert_eq!(bench.session.open_handles(), handles);
}

#[test]
fn ksallocator_framing() {
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 4,
        frame_size: 1000,
        file_alignment: 0x3F,
        ..Default::default()
    };
    let words = [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4)];
    attack_child(KSSTRING_ALLOCATOR, framing.as_bytes(), &words, |at, value| match at {
        // System memory, alone or with the other option.
        0 => value == 3,
        // The pool is all the same here.
        4 => true,
        8 => value <= 1024,
        12 => value * 4 <= 512 << 20,
        16 => value <= 0xFFF && (value + 1).is_power_of_two(),
        _ => false,
    });
}

#[test]
fn ksallocator_framing_ex() {
    let framing = KsAllocatorFramingEx::simple(Guid::NULL, 0, 4, 0x3F, 100, 5000);
    // The count; then of the item: flags, frames, alignment, weight, physical and wanted range.
    let (count, item) = ((0, 4), 24);
    let words = [
        count,
        (item + 40, 4),
        (item + 44, 4),
        (item + 48, 4),
        (item + 52, 4),
        (item + 56, 4),
        (item + 60, 4),
        (item + 64, 4),
        (item + 68, 4),
        (item + 72, 4),
        (item + 76, 4),
    ];
    attack_child(KSSTRING_ALLOCATOR_EX, framing.as_bytes(), &words, |at, value| match at {
        0 => false,
        // Flags say what nobody here asks; the weight only counts between items; steps of the hardware do not bind.
        64 | 76 | 88 => true,
        68 => value <= 1024,
        72 => value <= 0xFFF && (value + 1).is_power_of_two(),
        // Physical: from the least to the most, where zero for the most is no bound.
        80 => value <= 5000,
        84 => value == 0 || value >= 100,
        92 => value <= 5000,
        96 => value == 0 || value >= 100,
        100 => value <= 4900,
        _ => false,
    });
}

#[test]
fn ksnode_create() {
    attack_child(KSSTRING_TOPOLOGY_NODE, &[0, 0, 0, 0, 1, 0, 0, 0], &[(0, 4), (4, 4)], |at, value| {
        at == 4 && value < 3
    });
}
