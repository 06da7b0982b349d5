//! Messages between two processes, as bytes that the other side may have written.
//!
//! The input is one message; what it is read as must be what it is written as again.

use ks_wire::{Message, decode_interfaces, encode_interfaces};

use super::allowance::Allowance;

/// Reads `data` as a message, and as a list of device interfaces.
///
/// # Panics
/// When a message is written otherwise than it was read, names a place outside of its bytes, or costs more memory than
/// it is long: that is what the fuzzer looks for.
pub fn wire_message(data: &[u8]) {
    let allowed = Allowance::start(data.len());
    if let Ok(message) = Message::decode(data) {
        check(&message);
        allowed.check();
        let mut written = Vec::new();
        message.encode(&mut written);
        assert!(written == data, "{message:?}");
        #[cfg(feature = "planted-bug")]
        planted_bug(&message);
    }
    if let Ok(entries) = decode_interfaces(data) {
        let mut written = Vec::new();
        encode_interfaces(&entries, &mut written);
        assert!(written == data, "{entries:?}");
    }
}

fn check(message: &Message<'_>) {
    match message {
        Message::Stream(stream) => {
            let count = stream.headers.len() / stream.stride as usize;
            assert_eq!(count * stream.stride as usize, stream.headers.len());
            assert_eq!((stream.parts.len(), stream.parts.iter().count()), (count, count));
        }
        Message::Control(control) => assert!(control.data.len() <= control.output_bytes as usize),
        _ => {}
    }
}

/// Believes that a handle in a request stands at its start.
#[cfg(feature = "planted-bug")]
fn planted_bug(message: &Message<'_>) {
    let embedded = match message {
        Message::Create(create) => create.embedded,
        Message::Control(control) => control.embedded,
        _ => return,
    };
    if let ks_wire::Embedded::File(offset, _) | ks_wire::Embedded::Event(offset, _) = embedded {
        assert!(offset < 16, "planted bug");
    }
}
