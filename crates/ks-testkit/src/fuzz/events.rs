//! Enabling, raising, querying and disabling events of a filter and its nodes, in any order.

use ks_abi::{IoControlCode, KSEVENT_TYPE_QUERYBUFFER, KsEvent, KsEventData, KsQueryBuffer, KseNode, Ptr64};
use ks_io::Transport;
use ks_stream::Filter;
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::answering;
use crate::scene::Scene;

const MOST_STEPS: usize = 64;
const MOST_TOKENS: usize = 32;

/// Runs the steps that `data` describes: a byte for what is done, then what that needs.
///
/// # Panics
/// When an answer is larger than its room, or a request costs more than it carries: that is what the fuzzer looks for.
pub fn events(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let scene = Scene::connectable().with(answering::descriptor());
    let session = scene.session();
    let (event, _signal) = session.create_event().expect("an event");
    let (semaphore, _count) = session.create_semaphore(0, 1000).expect("a semaphore");
    let file = session.file_object(scene.other()).expect("the filter is open");
    let filter = file.object_as::<Filter>().expect("it is a filter");
    // Each at an address of its own: that is what an event is known by.
    let mut tokens: Vec<Box<KsEventData>> = Vec::new();
    let mut flags_of: Vec<u32> = Vec::new();
    for _ in 0..MOST_STEPS {
        if bytes.is_empty() {
            break;
        }
        let (step, id) = (bytes.u8(), u32::from(bytes.u8()) % 3);
        let which = usize::from(bytes.u8());
        match step % 5 {
            0 if tokens.len() < MOST_TOKENS => {
                let (flags, node_id) = (bytes.u32(), bytes.u32());
                let (kind, object) = (bytes.u8(), bytes.u8());
                let object = [event.0, semaphore.0, scene.filter().0, 0, u64::MAX][usize::from(object) % 5];
                let words = [u64::from(bytes.u32()) << 32, u64::from(bytes.u8())];
                let mut token = Box::new(KsEventData {
                    notification_type: kind.into(),
                    object,
                    data: words,
                    ..KsEventData::default()
                });
                let request = KseNode { event: KsEvent::new(answering::EVENTS, id, flags), node_id, reserved: 0 };
                let before = *token;
                let allowed = Allowance::start(64);
                let code = IoControlCode::KS_ENABLE_EVENT;
                let _ = session.device_io_control(scene.other(), code, request.as_bytes(), token.as_mut_bytes());
                allowed.check();
                let is_question = flags & 0x700 != 0;
                assert!(is_question || token.as_bytes() == before.as_bytes(), "the client's event data was written");
                tokens.push(token);
                flags_of.push(flags);
            }
            1 => {
                let raised = bytes.take(which % 64);
                let _ = filter.generate_data_events(answering::EVENTS, id, raised);
            }
            2 if !tokens.is_empty() => {
                let at = which % tokens.len();
                let query = KsQueryBuffer {
                    event: KsEvent::new(answering::EVENTS, id, KSEVENT_TYPE_QUERYBUFFER),
                    event_data: Ptr64(std::ptr::from_ref(&*tokens[at]) as u64),
                    reserved: Ptr64(0),
                };
                let mut answer = vec![0xA5; usize::from(bytes.u8() % 80)];
                let code = IoControlCode::KS_ENABLE_EVENT;
                let outcome = session.device_io_control(scene.other(), code, query.as_bytes(), &mut answer);
                assert!(!outcome.status.is_success() || outcome.information <= answer.len(), "more than there is room");
                #[cfg(feature = "planted-bug")]
                assert!(!(outcome.status.is_success() && flags_of[at] & 2 != 0), "planted bug");
            }
            3 if !tokens.is_empty() => {
                let at = which % tokens.len();
                let code = IoControlCode::KS_DISABLE_EVENT;
                let _ = session.device_io_control(scene.other(), code, tokens[at].as_bytes(), &mut []);
            }
            _ => {
                let code = IoControlCode::KS_DISABLE_EVENT;
                let outcome = session.device_io_control(scene.other(), code, &[], &mut []);
                assert!(outcome.status.is_success(), "to disable everything always works");
            }
        }
    }
    drop((filter, file));
    let _ = (session.close(event), session.close(semaphore));
    scene.end();
}
