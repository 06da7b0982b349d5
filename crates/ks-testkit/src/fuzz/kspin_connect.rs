//! The parameter block of a pin create: KSPIN_CONNECT, the format behind it, attributes behind that.
//!
//! The first byte says which filter is asked and which handle, if any, takes the place of PinToHandle; the rest is the
//! block as it is.

use ks_abi::{KSSTRING_PIN, KsState};
use ks_io::{AccessMask, Transport};

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::scene::Scene;

/// Where PinToHandle stands in KSPIN_CONNECT.
const PIN_TO_HANDLE: std::ops::Range<usize> = 56..64;

/// The setting of a writer that names its file.
const PATH: u32 = 1;

/// Asks for a pin. A refusal must leave no instance behind; a pin that was made must go through its states and close.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn kspin_connect(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let first = bytes.u8();
    let scene = match first >> 2 {
        1 => Scene::connectable().with(ks_filters::test_camera::descriptor()),
        2 => Scene::connectable().with(ks_filters::test_microphone::descriptor()),
        3 => Scene::connectable().with(ks_filters::wav_writer::descriptor()),
        4 => Scene::connectable().with(ks_filters::y4m_writer::descriptor()),
        5 => Scene::connectable().with(ks_filters::null_renderer::descriptor()),
        6 => Scene::connectable().with(ks_filters::pass_through::descriptor()),
        _ => Scene::connectable(),
    };
    if matches!(first >> 2, 3 | 4) {
        assert!(scene.set_setting(PATH, "/dev/null").is_success(), "a writer takes a path");
    }
    let partner = match first % 4 {
        0 => None,
        1 => Some(scene.sink_pin()),
        2 => Some(scene.source_pin()),
        _ => Some(scene.filter()),
    };
    let mut block = bytes.take_rest().to_vec();
    if let (Some(partner), Some(field)) = (partner, block.get_mut(PIN_TO_HANDLE)) {
        field.copy_from_slice(&partner.0.to_le_bytes());
    }
    let before = scene.pin_instances();
    let session = scene.session();
    let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
    #[cfg(feature = "planted-bug")]
    planted_bug(&block);
    let allowed = Allowance::start(block.len());
    let created = session.create(scene.other(), KSSTRING_PIN, &block, access);
    allowed.check();
    match created {
        Ok(pin) => {
            assert_eq!(scene.pin_instances(), before + 1, "a pin was made");
            for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN, KsState::STOP] {
                if !scene.set_state(pin, state).is_success() {
                    break;
                }
            }
            assert!(session.close(pin).status.is_success());
        }
        Err(outcome) => assert!(!outcome.status.is_success(), "a refusal with {:?}", outcome.status),
    }
    assert_eq!(scene.pin_instances(), before, "no pin is left");
    scene.end();
}

/// Trusts FormatSize: looks for the attribute list where it says, if there is one.
#[cfg(feature = "planted-bug")]
fn planted_bug(block: &[u8]) {
    use ks_abi::{KSDATAFORMAT_ATTRIBUTES, KsDataFormat, KsPinConnect};
    use zerocopy::FromBytes;

    let Ok((_, rest)) = KsPinConnect::read_from_prefix(block) else {
        return;
    };
    let Ok((format, _)) = KsDataFormat::read_from_prefix(rest) else {
        return;
    };
    if format.flags & KSDATAFORMAT_ATTRIBUTES != 0 {
        assert!(rest.get(format.format_size as usize..).is_some(), "planted bug");
    }
}
