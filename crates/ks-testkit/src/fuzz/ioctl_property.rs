//! Property requests, and what else `device_io_control` takes, to filters and pins.
//!
//! The first byte names one more filter beside the probe. What follows is a list of requests, each a short head and the bytes that follow the identifier and fill the buffer.
//! Several requests reach the same objects, so that one can prepare what another finds.

use ks_abi::{Guid, IoControlCode, KsIdentifier, STATUS_PENDING};
use ks_abi::{
    KSEVENTSETID_Clock, KSEVENTSETID_Connection, KSMETHODSETID_StreamAllocator, KSMETHODSETID_StreamIo,
    KSPROPSETID_Clock, KSPROPSETID_Connection, KSPROPSETID_General, KSPROPSETID_Pin, KSPROPSETID_Stream,
    KSPROPSETID_StreamAllocator, KSPROPSETID_StreamInterface, KSPROPSETID_Topology, USERKS_PROPSET_PIN,
    USERKS_PROPSET_SETTINGS,
};
use ks_io::{Handle, Transport};
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::scene::Scene;

const MOST_REQUESTS: usize = 16;
const MOST_OUTPUT_BYTES: u16 = 2048;

const SETS: [Guid; 14] = [
    KSPROPSETID_Pin,
    KSPROPSETID_Topology,
    KSPROPSETID_General,
    KSPROPSETID_Connection,
    KSPROPSETID_Stream,
    KSPROPSETID_StreamInterface,
    KSPROPSETID_Clock,
    KSPROPSETID_StreamAllocator,
    KSMETHODSETID_StreamAllocator,
    KSMETHODSETID_StreamIo,
    KSEVENTSETID_Clock,
    KSEVENTSETID_Connection,
    USERKS_PROPSET_PIN,
    USERKS_PROPSET_SETTINGS,
];

/// Codes that a low number stands for; property requests most of all.
const CODES: [IoControlCode; 8] = [
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_METHOD,
    IoControlCode::KS_ENABLE_EVENT,
    IoControlCode::KS_DISABLE_EVENT,
    IoControlCode::KS_RESET_STATE,
    IoControlCode::KS_HANDSHAKE,
];

/// One request as the input tells it.
struct Request {
    target: u8,
    code: IoControlCode,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Head: target, code, set, item (a byte each), flags (4), bytes of the buffer (2), bytes behind the identifier (1),
/// bytes cut off the end of the request (1). Then those bytes, then up to 128 bytes that the buffer starts with.
fn next_request(bytes: &mut Bytes<'_>) -> Request {
    let target = bytes.u8();
    let code = bytes.u8();
    let set = usize::from(bytes.u8());
    let id = u32::from(bytes.u8());
    let flags = bytes.u32();
    let output_bytes = usize::from(bytes.u16() % (MOST_OUTPUT_BYTES + 1));
    let tail_bytes = usize::from(bytes.u8());
    let cut = usize::from(bytes.u8());
    let set = match SETS.get(set) {
        Some(set) => *set,
        None => Guid::default(),
    };
    let mut input = KsIdentifier::new(set, id, flags).as_bytes().to_vec();
    input.extend_from_slice(bytes.take(tail_bytes));
    if cut > 0 && cut < 128 {
        input.truncate(input.len().saturating_sub(cut));
    }
    let data = bytes.take(output_bytes.min(128));
    let mut output = data.to_vec();
    output.resize(output_bytes, 0xA5);
    let code = match CODES.get(usize::from(code)) {
        Some(code) => *code,
        None => IoControlCode(0x002F_0003 | u32::from(code) << 2),
    };
    Request { target, code, input, output }
}

/// Sends the requests that `data` describes. Every one must end, and a success must not claim more bytes than there
/// is room for.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn ioctl_property(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    // Filters that write files are left out: their settings would name them.
    let scene = match bytes.u8() {
        1 => Scene::streaming().with(ks_filters::test_camera::descriptor()),
        2 => Scene::streaming().with(ks_filters::test_microphone::descriptor()),
        3 => Scene::streaming().with(ks_filters::null_renderer::descriptor()),
        4 => Scene::streaming().with(ks_filters::pass_through::descriptor()),
        _ => Scene::streaming(),
    };
    for _ in 0..MOST_REQUESTS {
        if bytes.is_empty() {
            break;
        }
        let mut request = next_request(&mut bytes);
        let handle = match request.target % 5 {
            0 => scene.filter(),
            1 => scene.source_pin(),
            2 => scene.sink_pin(),
            3 => scene.other(),
            _ => Handle::NULL,
        };
        let room = request.output.len();
        let allowed = Allowance::start(request.input.len() + room);
        let outcome = scene.session().device_io_control(handle, request.code, &request.input, &mut request.output);
        allowed.check();
        assert!(outcome.status != STATUS_PENDING, "a synchronous request came back pending");
        assert!(
            !outcome.status.is_success() || outcome.information <= room,
            "{} bytes were answered into a buffer of {room}",
            outcome.information
        );
        #[cfg(feature = "planted-bug")]
        planted_bug(&request, outcome.status);
    }
    scene.end();
}

/// Breaks when a pin answers that it is in PAUSE, which takes a request that sets the state and one that reads it.
#[cfg(feature = "planted-bug")]
fn planted_bug(request: &Request, status: ks_abi::NtStatus) {
    use ks_abi::{KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET, KsState};

    let state = KsIdentifier::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET);
    let is_answer = status.is_success() && request.input == state.as_bytes();
    assert!(!(is_answer && request.output.starts_with(KsState::PAUSE.as_bytes())), "planted bug");
}
