//! Read and write stream requests with any headers, to pins in any state.
//!
//! The input is a list of requests: the pin, the state it is taken to before, a mask of headers whose Data is made to
//! point to real memory, the number of bytes, and the headers as they are.

use ks_abi::{IoControlCode, KsState};
use ks_io::{Handle, Request, Transport};

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::scene::Scene;

const MOST_REQUESTS: usize = 8;
const HEADER_BYTES: usize = 56;
const FRAME_EXTENT: usize = 32;
const DATA_USED: usize = 36;
const DATA: usize = 40;

/// Submits the requests that `data` describes, then cancels and stops. Every request must end, and a header that comes
/// back with success must not claim more data than its buffer holds.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn stream_headers(data: &[u8]) {
    let scene = Scene::streaming();
    let mut bytes = Bytes::new(data);
    let mut requests = Vec::new();
    for _ in 0..MOST_REQUESTS {
        if bytes.is_empty() {
            break;
        }
        let pin = if bytes.u8() & 1 == 0 { scene.source_pin() } else { scene.sink_pin() };
        let state = bytes.u8();
        if state < 4 {
            let _ = scene.set_state(pin, KsState(u32::from(state)));
        }
        requests.push(submit(&scene, pin, &mut bytes));
    }
    scene.let_run();
    for pin in [scene.source_pin(), scene.sink_pin()] {
        scene.session().cancel_all(pin);
        let _ = scene.set_state(pin, KsState::STOP);
    }
    for request in requests {
        check(request);
    }
    scene.end();
}

fn submit(scene: &Scene, pin: Handle, bytes: &mut Bytes<'_>) -> Request {
    let kind = bytes.u8();
    let real = bytes.u8();
    let count = usize::from(bytes.u16() % 1024);
    let mut headers = bytes.take(count).to_vec();
    for (index, header) in headers.chunks_mut(HEADER_BYTES).enumerate().take(8) {
        if real & 1 << index != 0
            && let Some(field) = header.get_mut(DATA..DATA + 8)
        {
            field.copy_from_slice(&scene.memory_address().to_le_bytes());
        }
    }
    #[cfg(feature = "planted-bug")]
    planted_bug(&headers);
    let code = if kind & 1 == 0 { IoControlCode::KS_READ_STREAM } else { IoControlCode::KS_WRITE_STREAM };
    let allowed = Allowance::start(headers.len());
    let request = scene.session().submit(pin, code, &[], headers);
    allowed.check();
    request
}

fn check(request: Request) {
    assert!(request.is_done(), "a stream request outlives its cancel and STOP");
    let finished = request.wait();
    if !finished.outcome.status.is_success() {
        return;
    }
    for header in finished.output.chunks_exact(HEADER_BYTES) {
        assert!(number(header, DATA_USED) <= number(header, FRAME_EXTENT), "more data than room");
    }
}

fn number(header: &[u8], offset: usize) -> u32 {
    let bytes = header.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// Trusts the Size of the first header: divides by it to count the others.
#[cfg(feature = "planted-bug")]
fn planted_bug(headers: &[u8]) {
    if headers.len() >= HEADER_BYTES {
        let size = number(headers, 0) as usize;
        assert!(headers.len().checked_div(size).is_some(), "planted bug");
    }
}
