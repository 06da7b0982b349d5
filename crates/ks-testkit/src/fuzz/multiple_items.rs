//! Lists of items that say their own size and count: ranges of an intersection, and attributes behind a format.

use ks_abi::{
    IoControlCode, KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_PROPOSEDATAFORMAT, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Pin, KsProperty, KspPin,
};
use ks_io::Transport;
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::scene::Scene;

const MOST_LIST_BYTES: usize = 4096;

/// Sends the list that `data` is, behind its first two bytes: the filter and which request it is for.
///
/// # Panics
/// When an answer is larger than its room, or a request costs more than it carries: that is what the fuzzer looks for.
pub fn multiple_items(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let scene = match bytes.u8() {
        1 => Scene::connectable().with(ks_filters::test_camera::descriptor()),
        2 => Scene::connectable().with(ks_filters::test_microphone::descriptor()),
        3 => Scene::connectable().with(ks_filters::null_renderer::descriptor()),
        _ => Scene::connectable(),
    };
    let proposes = bytes.u8() & 1 != 0;
    let list = bytes.take(MOST_LIST_BYTES);
    let (id, verb) = match proposes {
        true => (KSPROPERTY_PIN_PROPOSEDATAFORMAT, KSPROPERTY_TYPE_SET),
        false => (KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_TYPE_GET),
    };
    let pin = KspPin { property: KsProperty::new(KSPROPSETID_Pin, id, verb), pin_id: 0, flags: 1 };
    let mut input = pin.as_bytes().to_vec();
    let mut output = vec![0xA5; 1024];
    if proposes {
        output = list.to_vec();
    } else {
        input.extend_from_slice(list);
    }
    #[cfg(feature = "planted-bug")]
    planted_bug(list);
    let allowed = Allowance::start(input.len() + output.len());
    let room = output.len();
    let outcome = scene.session().device_io_control(scene.other(), IoControlCode::KS_PROPERTY, &input, &mut output);
    allowed.check();
    assert!(!outcome.status.is_success() || outcome.information <= room, "more than there is room for");
    scene.end();
}

/// Multiplies the count of a list with the size of its first item.
#[cfg(feature = "planted-bug")]
fn planted_bug(list: &[u8]) {
    let word = |at: usize| list.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
    let (size, count, first) = (word(0), word(4), word(8));
    assert!(!(size as usize == list.len() && size > 64 && count.checked_mul(first).is_none()), "planted bug");
}
