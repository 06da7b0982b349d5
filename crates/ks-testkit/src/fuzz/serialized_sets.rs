//! Serialized property sets, well formed or not, to a filter and to its node.

use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_SERIALIZESET, KSPROPERTY_TYPE_TOPOLOGY, KSPROPERTY_TYPE_UNSERIALIZESET, KsProperty,
    KspNode, STATUS_BUFFER_OVERFLOW,
};
use ks_io::Transport;
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::answering;
use crate::scene::Scene;

const MOST_BLOCK_BYTES: usize = 4096;

/// Has the filter take the block that `data` is behind its first byte, which says whom it goes to. Whatever came of it, the
/// set can be serialized, as large as it says, and is taken back.
///
/// # Panics
/// When that does not hold: it is what the fuzzer looks for.
pub fn serialized_sets(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let scene = Scene::connectable().with(answering::descriptor());
    let node = bytes.u8() & 1 != 0;
    let block = bytes.take(MOST_BLOCK_BYTES);
    let request = |verb| match node {
        true => {
            let property = KsProperty::new(answering::PROPERTIES, 0, verb | KSPROPERTY_TYPE_TOPOLOGY);
            KspNode { property, node_id: 1, reserved: 0 }.as_bytes().to_vec()
        }
        false => KsProperty::new(answering::PROPERTIES, 0, verb).as_bytes().to_vec(),
    };
    let send = |verb, buffer: &mut [u8]| {
        let (input, room) = (request(verb), buffer.len());
        let allowed = Allowance::start(input.len() + room);
        let outcome = scene.session().device_io_control(scene.other(), IoControlCode::KS_PROPERTY, &input, buffer);
        allowed.check();
        assert!(!outcome.status.is_success() || outcome.information <= room, "more than there is room for");
        outcome
    };
    let _ = send(KSPROPERTY_TYPE_UNSERIALIZESET, &mut block.to_vec());
    let size = send(KSPROPERTY_TYPE_SERIALIZESET, &mut []);
    assert_eq!(size.status, STATUS_BUFFER_OVERFLOW, "a serialized set has a size");
    let mut whole = vec![0; size.information];
    let outcome = send(KSPROPERTY_TYPE_SERIALIZESET, &mut whole);
    assert!(outcome.status.is_success() && outcome.information == whole.len(), "it is as large as it says");
    // The number stands behind the head of the set and its own; the kept inputs have 1, 3 and even ones.
    #[cfg(feature = "planted-bug")]
    assert!(whole[52] & 1 == 0 || whole[52] <= 3, "planted bug");
    let mut copy = whole.clone();
    assert!(send(KSPROPERTY_TYPE_UNSERIALIZESET, &mut copy).status.is_success(), "what was given is taken back");
    let mut again = vec![0; whole.len()];
    assert!(send(KSPROPERTY_TYPE_SERIALIZESET, &mut again).status.is_success());
    assert_eq!(again, whole, "taking it back changed nothing");
    scene.end();
}
