//! Method requests to a filter that has a method of each type, and to its nodes.

use ks_abi::{
    IoControlCode, KSMETHOD_TYPE_READ, KSMETHOD_TYPE_SEND, KSMETHOD_TYPE_WRITE, KsMethod, KsmNode, STATUS_PENDING,
};
use ks_io::Transport;
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::answering;
use crate::scene::Scene;

const MOST_REQUESTS: usize = 16;
const MOST_DATA_BYTES: u16 = 512;

/// Sends the requests that `data` describes: item, set, flags (4), node (4), bytes cut off the request, and the buffer
/// with its length (2). The type of a method says which way the data goes, and nothing goes another way.
///
/// # Panics
/// When that does not hold: it is what the fuzzer looks for.
pub fn methods(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let scene = Scene::connectable().with(answering::descriptor());
    for _ in 0..MOST_REQUESTS {
        if bytes.is_empty() {
            break;
        }
        let (id, set) = (u32::from(bytes.u8()), bytes.u8());
        let set = if set == 0 { answering::METHODS } else { answering::EVENTS };
        let (flags, node_id, cut) = (bytes.u32(), bytes.u32(), usize::from(bytes.u8()));
        let method = KsMethod::new(set, id, flags);
        let mut input = KsmNode { method, node_id, reserved: 0 }.as_bytes().to_vec();
        input.truncate(input.len().saturating_sub(cut));
        let room = usize::from(bytes.u16() % (MOST_DATA_BYTES + 1));
        let mut buffer = bytes.take(room).to_vec();
        buffer.resize(room, 0x5A);
        let before = buffer.clone();
        let allowed = Allowance::start(input.len() + room);
        let outcome = scene.session().device_io_control(scene.other(), IoControlCode::KS_METHOD, &input, &mut buffer);
        allowed.check();
        assert!(outcome.status != STATUS_PENDING, "a synchronous request came back pending");
        assert!(!outcome.status.is_success() || outcome.information <= room, "more than there is room for");
        let sent = flags & 0xFFFF == KSMETHOD_TYPE_SEND && outcome.status.is_success();
        assert!(!sent || id & KSMETHOD_TYPE_WRITE != 0 || buffer == before, "a method that only reads has written");
        assert!(!sent || id & KSMETHOD_TYPE_READ != 0 || buffer == before, "a method that only writes has read");
        #[cfg(feature = "planted-bug")]
        assert!(!(sent && id == 3 && before.first().is_some_and(|byte| byte & 0x0F == 0x0B)), "planted bug");
    }
    scene.end();
}
