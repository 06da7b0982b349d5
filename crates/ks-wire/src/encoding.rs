//! How a message is written down, and read with every field checked.
//!
//! A message is one byte of kind and its fields. What can be checked of a message alone is checked here; whether its
//! numbers make sense is for the receiver.

use crate::WireError;
use crate::codec::{Reader, Writer};
use crate::message::*;

mod kind {
    pub(super) const LONG: u8 = 1;
    pub(super) const HELLO: u8 = 2;
    pub(super) const LIST_INTERFACES: u8 = 3;
    pub(super) const OPEN: u8 = 4;
    pub(super) const CREATE: u8 = 5;
    pub(super) const CLEANUP: u8 = 6;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const CONTROL: u8 = 8;
    pub(super) const STREAM: u8 = 9;
    pub(super) const CANCEL: u8 = 10;
    pub(super) const COMPLETION: u8 = 11;
    pub(super) const ANNOUNCE_REGION: u8 = 12;
    pub(super) const RETIRE_REGION: u8 = 13;
    pub(super) const SET_EVENT: u8 = 14;
    pub(super) const FORGET_EVENT: u8 = 15;
    pub(super) const LOG: u8 = 16;
    pub(super) const REPORT: u8 = 17;
    pub(super) const SERVICE: u8 = 18;
    pub(super) const HEARTBEAT: u8 = 19;
    pub(super) const HEARTBEAT_ANSWER: u8 = 20;
    pub(super) const CLEAR_EVENT: u8 = 21;
    pub(super) const PULSE_EVENT: u8 = 22;
}

/// The most bytes of a name.
const NAME_LIMIT: usize = 1024;
/// The most bytes of a sentence.
const SENTENCE_LIMIT: usize = 8 << 10;
/// The most headers of a stream request.
const HEADERS_LIMIT: usize = 4096;
/// Header sizes that a pin can have.
const STRIDES: std::ops::RangeInclusive<u32> = 56..=4096;

/// What comes with a record.
pub(crate) enum With {
    Nothing,
    Descriptor,
    /// The message itself is in a file of this many bytes.
    Long(u64),
}

pub(crate) fn descriptor_of(record: &[u8]) -> Result<With, WireError> {
    match record.split_first() {
        None => Err(WireError::Length { kind: 0 }),
        Some((&kind::LONG, rest)) => {
            let mut fields = Reader::new(kind::LONG, rest);
            let bytes = fields.u64()?;
            fields.end()?;
            Ok(With::Long(bytes))
        }
        Some((&kind::ANNOUNCE_REGION, _)) => Ok(With::Descriptor),
        Some(_) => Ok(With::Nothing),
    }
}

pub(crate) fn encode_long(bytes: u64, into: &mut Vec<u8>) {
    let mut out = Writer(into);
    out.u8(kind::LONG);
    out.u64(bytes);
}

/// The number of a request that has none yet, see [`number_request`].
pub const UNNUMBERED: RequestId = 0;

/// Gives an encoded request its number. Every request has it right behind its kind.
pub fn number_request(record: &mut [u8], request: RequestId) {
    if let Some(place) = record.get_mut(1..9) {
        place.copy_from_slice(&request.to_le_bytes());
    }
}

fn put_requestor(out: &mut Writer<'_>, requestor: Requestor) {
    out.u64(requestor.client);
    out.u8(u8::from(requestor.kernel_mode));
}

fn flag(fields: &mut Reader<'_>, field: &'static str) -> Result<bool, WireError> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(fields.invalid(field)),
    }
}

fn requestor(fields: &mut Reader<'_>) -> Result<Requestor, WireError> {
    Ok(Requestor { client: fields.u64()?, kernel_mode: flag(fields, "requestor mode")? })
}

fn put_embedded(out: &mut Writer<'_>, embedded: Embedded) {
    let (tag, offset, number) = match embedded {
        Embedded::Nothing => (0, 0, 0),
        Embedded::File(offset, Named::Yours(number)) => (1, offset, number),
        Embedded::File(offset, Named::Mine(number)) => (2, offset, number),
        Embedded::Event(offset, number) => (3, offset, number),
        Embedded::Registered(offset, number) => (4, offset, number),
    };
    out.u8(tag);
    out.u32(offset);
    out.u64(number);
}

/// A handle in data of so many bytes, or in so much input.
fn embedded(fields: &mut Reader<'_>, data_bytes: usize, input_bytes: usize) -> Result<Embedded, WireError> {
    let (tag, offset, number) = (fields.u8()?, fields.u32()?, fields.u64()?);
    let bytes = if tag == 4 { input_bytes } else { data_bytes };
    if tag != 0 && (offset as usize).checked_add(8).is_none_or(|end| end > bytes) {
        return Err(fields.invalid("place of a handle"));
    }
    match tag {
        0 if offset == 0 && number == 0 => Ok(Embedded::Nothing),
        1 => Ok(Embedded::File(offset, Named::Yours(number))),
        2 => Ok(Embedded::File(offset, Named::Mine(number))),
        3 => Ok(Embedded::Event(offset, number)),
        4 => Ok(Embedded::Registered(offset, number)),
        _ => Err(fields.invalid("kind of a handle")),
    }
}

impl<'a> Message<'a> {
    /// Appends the message.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let mut out = Writer(into);
        let numbers = |out: &mut Writer<'_>, kind, numbers: &[u64]| {
            out.u8(kind);
            numbers.iter().for_each(|number| out.u64(*number));
        };
        match *self {
            Message::Hello { version } => {
                out.u8(kind::HELLO);
                out.u32(version);
            }
            Message::ListInterfaces { request } => numbers(&mut out, kind::LIST_INTERFACES, &[request]),
            Message::Open(open) => {
                numbers(&mut out, kind::OPEN, &[open.request]);
                put_requestor(&mut out, open.requestor);
                out.u32(open.access);
                out.text(open.device);
                out.text(open.reference);
            }
            Message::Create(create) => {
                numbers(&mut out, kind::CREATE, &[create.request, create.parent]);
                put_requestor(&mut out, create.requestor);
                out.u32(create.access);
                out.text(create.class);
                out.bytes(create.parameters);
                put_embedded(&mut out, create.embedded);
            }
            Message::Cleanup { request, file } => numbers(&mut out, kind::CLEANUP, &[request, file]),
            Message::Close { request, file } => numbers(&mut out, kind::CLOSE, &[request, file]),
            Message::Control(control) => {
                let tokens = [control.input_token, control.output_token];
                numbers(&mut out, kind::CONTROL, &[control.request, control.file, tokens[0], tokens[1]]);
                put_requestor(&mut out, control.requestor);
                out.u32(control.code);
                out.u32(control.output_bytes);
                out.bytes(control.input);
                out.bytes(control.data);
                put_embedded(&mut out, control.embedded);
            }
            Message::Stream(stream) => {
                numbers(&mut out, kind::STREAM, &[stream.request, stream.file]);
                put_requestor(&mut out, stream.requestor);
                out.u32(stream.code);
                out.u8(u8::from(stream.any_header_size));
                out.u32(stream.stride);
                out.bytes(stream.headers);
                out.bytes(stream.parts.0);
            }
            Message::Cancel { request } => numbers(&mut out, kind::CANCEL, &[request]),
            Message::Completion(done) => {
                numbers(&mut out, kind::COMPLETION, &[done.request, done.information, done.file]);
                out.u32(done.status);
                out.u32(done.granted);
                out.bytes(done.answer);
                match done.refusal {
                    None => out.u8(0),
                    Some((aspect, reason)) => {
                        out.u8(1);
                        out.u8(aspect);
                        let end = (0..=reason.len().min(SENTENCE_LIMIT)).rev().find(|at| reason.is_char_boundary(*at));
                        out.text(&reason[..end.unwrap_or(0)]);
                    }
                }
            }
            Message::AnnounceRegion { region, cut } => {
                let RegionCut { frames, frame_bytes, stride_bytes } = cut;
                numbers(&mut out, kind::ANNOUNCE_REGION, &[region, u64::from(frames), frame_bytes, stride_bytes]);
            }
            Message::RetireRegion { region } => numbers(&mut out, kind::RETIRE_REGION, &[region]),
            Message::SetEvent { number } => numbers(&mut out, kind::SET_EVENT, &[number]),
            Message::ClearEvent { number } => numbers(&mut out, kind::CLEAR_EVENT, &[number]),
            Message::PulseEvent { number } => numbers(&mut out, kind::PULSE_EVENT, &[number]),
            Message::ForgetEvent { number } => numbers(&mut out, kind::FORGET_EVENT, &[number]),
            Message::Log { level, text } => {
                out.u8(kind::LOG);
                out.u8(level);
                let end = (0..=text.len().min(SENTENCE_LIMIT)).rev().find(|at| text.is_char_boundary(*at));
                out.text(&text[..end.unwrap_or(0)]);
            }
            Message::Report { bytes } => {
                out.u8(kind::REPORT);
                out.bytes(bytes);
            }
            Message::Service { request, operation, body } => {
                numbers(&mut out, kind::SERVICE, &[request]);
                out.u32(operation);
                out.bytes(body);
            }
            Message::Heartbeat { number } => numbers(&mut out, kind::HEARTBEAT, &[number]),
            Message::HeartbeatAnswer(beat) => {
                numbers(&mut out, kind::HEARTBEAT_ANSWER, &[beat.number, beat.oldest_ms]);
                out.u32(beat.executing);
            }
        }
    }

    /// Reads a message; everything in it is a view of `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Message<'a>, WireError> {
        let (&kind, rest) = bytes.split_first().ok_or(WireError::Length { kind: 0 })?;
        let mut fields = Reader::new(kind, rest);
        let message = decode_fields(kind, &mut fields)?;
        fields.end()?;
        Ok(message)
    }
}

fn decode_fields<'a>(kind: u8, fields: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    Ok(match kind {
        kind::HELLO => Message::Hello { version: fields.u32()? },
        kind::LIST_INTERFACES => Message::ListInterfaces { request: fields.u64()? },
        kind::OPEN => Message::Open(Open {
            request: fields.u64()?,
            requestor: requestor(fields)?,
            access: fields.u32()?,
            device: fields.text(NAME_LIMIT, "device")?,
            reference: fields.text(NAME_LIMIT, "reference")?,
        }),
        kind::CREATE => {
            let (request, parent) = (fields.u64()?, fields.u64()?);
            let (requestor, access) = (requestor(fields)?, fields.u32()?);
            let class = fields.text(NAME_LIMIT, "class")?;
            let parameters = fields.bytes()?;
            let embedded = embedded(fields, parameters.len(), 0)?;
            Message::Create(Create { request, requestor, parent, access, class, parameters, embedded })
        }
        kind::CLEANUP => Message::Cleanup { request: fields.u64()?, file: fields.u64()? },
        kind::CLOSE => Message::Close { request: fields.u64()?, file: fields.u64()? },
        kind::CONTROL => {
            let (request, file) = (fields.u64()?, fields.u64()?);
            let (input_token, output_token) = (fields.u64()?, fields.u64()?);
            let (requestor, code, output_bytes) = (requestor(fields)?, fields.u32()?, fields.u32()?);
            let (input, data) = (fields.bytes()?, fields.bytes()?);
            if data.len() > output_bytes as usize {
                return Err(fields.invalid("length of the data"));
            }
            let embedded = embedded(fields, data.len(), input.len())?;
            Message::Control(Control {
                request,
                requestor,
                file,
                code,
                input_token,
                output_token,
                output_bytes,
                input,
                data,
                embedded,
            })
        }
        kind::STREAM => stream(fields)?,
        kind::CANCEL => Message::Cancel { request: fields.u64()? },
        kind::COMPLETION => Message::Completion(Completion {
            request: fields.u64()?,
            information: fields.u64()?,
            file: fields.u64()?,
            status: fields.u32()?,
            granted: fields.u32()?,
            answer: fields.bytes()?,
            refusal: match flag(fields, "refusal")? {
                false => None,
                true => Some((fields.u8()?, fields.text(SENTENCE_LIMIT, "reason")?)),
            },
        }),
        kind::ANNOUNCE_REGION => {
            let region = fields.u64()?;
            let frames = u32::try_from(fields.u64()?).map_err(|_| fields.invalid("number of frames"))?;
            let cut = RegionCut { frames, frame_bytes: fields.u64()?, stride_bytes: fields.u64()? };
            if region == 0 {
                return Err(fields.invalid("region"));
            }
            Message::AnnounceRegion { region, cut }
        }
        kind::RETIRE_REGION => Message::RetireRegion { region: fields.u64()? },
        kind::SET_EVENT => Message::SetEvent { number: fields.u64()? },
        kind::CLEAR_EVENT => Message::ClearEvent { number: fields.u64()? },
        kind::PULSE_EVENT => Message::PulseEvent { number: fields.u64()? },
        kind::FORGET_EVENT => Message::ForgetEvent { number: fields.u64()? },
        kind::LOG => Message::Log { level: fields.u8()?, text: fields.text(SENTENCE_LIMIT, "text")? },
        kind::REPORT => Message::Report { bytes: fields.bytes()? },
        kind::SERVICE => Message::Service { request: fields.u64()?, operation: fields.u32()?, body: fields.bytes()? },
        kind::HEARTBEAT => Message::Heartbeat { number: fields.u64()? },
        kind::HEARTBEAT_ANSWER => {
            let (number, oldest_ms) = (fields.u64()?, fields.u64()?);
            Message::HeartbeatAnswer(Heartbeat { number, oldest_ms, executing: fields.u32()? })
        }
        _ => return Err(WireError::Kind(kind)),
    })
}

fn stream<'a>(fields: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let (request, file) = (fields.u64()?, fields.u64()?);
    let (requestor, code) = (requestor(fields)?, fields.u32()?);
    let any_header_size = flag(fields, "header size flag")?;
    let (stride, headers, parts) = (fields.u32()?, fields.bytes()?, fields.bytes()?);
    let count = headers.len() / (stride.max(1) as usize);
    let whole = headers.len().is_multiple_of(stride.max(1) as usize) && parts.len() == count * PART_BYTES;
    if !STRIDES.contains(&stride) || !whole || count == 0 || count > HEADERS_LIMIT {
        return Err(fields.invalid("header list"));
    }
    let parts = Parts(parts);
    Ok(Message::Stream(Stream { request, requestor, file, code, any_header_size, stride, headers, parts }))
}

/// The most device interfaces that one side has.
pub const INTERFACES_LIMIT: usize = 1024;

/// Writes a list of interfaces as an answer.
pub fn encode_interfaces(entries: &[InterfaceEntry], into: &mut Vec<u8>) {
    let mut out = Writer(into);
    for entry in entries.iter().take(INTERFACES_LIMIT) {
        out.0.extend_from_slice(&entry.category);
        out.text(&entry.device);
        out.text(&entry.reference);
        out.text(&entry.friendly_name);
    }
}

/// Reads a list of interfaces; names have no control characters and are not empty.
pub fn decode_interfaces(bytes: &[u8]) -> Result<Vec<InterfaceEntry>, WireError> {
    let mut fields = Reader::new(kind::LIST_INTERFACES, bytes);
    let mut entries = Vec::new();
    while !fields.is_empty() {
        let category = fields.guid()?;
        let mut name = |field| {
            let text = fields.text(NAME_LIMIT, field)?;
            let plain = !text.is_empty() && !text.chars().any(char::is_control);
            if plain { Ok(text.to_string()) } else { Err(fields.invalid(field)) }
        };
        let (device, reference, friendly_name) = (name("device")?, name("reference")?, name("friendly name")?);
        if entries.len() == INTERFACES_LIMIT {
            return Err(fields.invalid("number of interfaces"));
        }
        entries.push(InterfaceEntry { device, category, reference, friendly_name });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Requestor = Requestor { client: 7, kernel_mode: true };

    fn stream_message<'a>(headers: &'a [u8], parts: &'a [u8]) -> Message<'a> {
        Message::Stream(Stream {
            request: 4,
            requestor: WHO,
            file: 5,
            code: 6,
            any_header_size: true,
            stride: 56,
            headers,
            parts: Parts::new(parts),
        })
    }

    /// A request that registers the event whose handle stands at this offset of 12 bytes of input.
    fn registering(offset: u32) -> Message<'static> {
        Message::Control(Control {
            request: 1,
            requestor: WHO,
            file: 2,
            code: 3,
            input_token: 4,
            output_token: 5,
            output_bytes: 0,
            input: b"0123456789ab",
            data: b"",
            embedded: Embedded::Registered(offset, 6),
        })
    }

    fn with_every_message(mut each: impl FnMut(Message<'_>)) {
        let (headers, mut parts) = ([3; 112], Vec::new());
        Parts::push(&mut parts, FramePart { region: 1, offset: 2, bytes: 3 });
        Parts::push(&mut parts, FramePart::default());
        let embedded = Embedded::File(1, Named::Mine(9));
        each(Message::Hello { version: 1 });
        each(Message::ListInterfaces { request: 1 });
        each(Message::Open(Open { request: 1, requestor: WHO, access: 3, device: "d", reference: "r" }));
        each(Message::Create(Create {
            request: 1,
            requestor: WHO,
            parent: 2,
            access: 3,
            class: "pin",
            parameters: b"0123456789",
            embedded,
        }));
        each(Message::Cleanup { request: 1, file: 2 });
        each(Message::Close { request: 1, file: 2 });
        each(Message::Control(Control {
            request: 1,
            requestor: Requestor { kernel_mode: false, ..WHO },
            file: 2,
            code: 3,
            input_token: 4,
            output_token: 5,
            output_bytes: 16,
            input: b"in",
            data: b"0123456789abcdef",
            embedded: Embedded::Event(8, 6),
        }));
        each(registering(4));
        each(stream_message(&headers, &parts));
        each(Message::Cancel { request: 1 });
        let done =
            Completion { request: 1, status: 2, information: 3, file: 4, granted: 5, answer: b"a", refusal: None };
        each(Message::Completion(done));
        each(Message::Completion(Completion { refusal: Some((3, "no")), ..done }));
        let cut = RegionCut { frames: 1, frame_bytes: 2, stride_bytes: 3 };
        each(Message::AnnounceRegion { region: 1, cut });
        each(Message::RetireRegion { region: 1 });
        each(Message::SetEvent { number: 1 });
        each(Message::ClearEvent { number: 1 });
        each(Message::PulseEvent { number: 1 });
        each(Message::ForgetEvent { number: 1 });
        each(Message::Log { level: 1, text: "line" });
        each(Message::Report { bytes: b"report" });
        each(Message::Service { request: 1, operation: 2, body: b"body" });
        each(Message::Heartbeat { number: 1 });
        each(Message::HeartbeatAnswer(Heartbeat { number: 1, executing: 2, oldest_ms: 3 }));
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        with_every_message(|message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(Message::decode(&bytes).unwrap(), message);
        });
    }

    #[test]
    fn a_message_cut_anywhere_or_with_a_byte_behind_it_is_an_error() {
        with_every_message(|message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for end in 0..bytes.len() {
                assert!(Message::decode(&bytes[..end]).is_err(), "{message:?} cut at {end}");
            }
            bytes.push(0);
            assert!(Message::decode(&bytes).is_err(), "{message:?}");
        });
    }

    #[test]
    fn a_request_is_numbered_after_it_was_written() {
        with_every_message(|message| {
            let request = match message {
                Message::ListInterfaces { request }
                | Message::Cleanup { request, .. }
                | Message::Close { request, .. }
                | Message::Service { request, .. } => request,
                Message::Open(open) => open.request,
                Message::Create(create) => create.request,
                Message::Control(control) => control.request,
                Message::Stream(stream) => stream.request,
                _ => return,
            };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let before = bytes.clone();
            number_request(&mut bytes, 0x0102_0304_0506_0708);
            assert!(Message::decode(&bytes).is_ok() && bytes != before);
            number_request(&mut bytes, request);
            assert_eq!(bytes, before);
        });
    }

    #[test]
    fn headers_and_places_must_fit_one_another() {
        let decode = |message: Message<'_>| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Message::decode(&bytes).err()
        };
        let bad = Some(WireError::Field { kind: kind::STREAM, field: "header list" });
        assert_eq!(decode(stream_message(&[0; 112], &[0; 20])), bad);
        assert_eq!(decode(stream_message(&[0; 57], &[0; 20])), bad);
        assert_eq!(decode(stream_message(&[], &[])), bad);
        let create = |embedded| {
            Message::Create(Create {
                request: 1,
                requestor: WHO,
                parent: 2,
                access: 3,
                class: "pin",
                parameters: &[0; 8],
                embedded,
            })
        };
        assert_eq!(decode(create(Embedded::File(0, Named::Yours(1)))), None);
        let mut bytes = Vec::new();
        create(Embedded::Nothing).encode(&mut bytes);
        // A handle of no kind has no place either: a message has one form.
        *bytes.last_mut().unwrap() = 1;
        assert!(Message::decode(&bytes).is_err());
        assert!(decode(registering(5)).is_some(), "a handle that leaves the input");
        assert!(decode(create(Embedded::Registered(0, 1))).is_some(), "a create registers nothing");
        for offset in [1, u32::MAX, u32::MAX - 7] {
            assert!(decode(create(Embedded::File(offset, Named::Yours(1)))).is_some());
        }
    }

    #[test]
    fn a_list_of_interfaces_comes_back_and_bad_names_do_not() {
        let entry = |name: &str| InterfaceEntry {
            device: name.to_string(),
            category: [7; 16],
            reference: "ref".to_string(),
            friendly_name: "A camera".to_string(),
        };
        let list = [entry("a"), entry("b")];
        let mut bytes = Vec::new();
        encode_interfaces(&list, &mut bytes);
        assert_eq!(decode_interfaces(&bytes).unwrap(), list);
        for end in 1..bytes.len() {
            let whole = end == bytes.len() / 2;
            assert_eq!(decode_interfaces(&bytes[..end]).is_ok(), whole);
        }
        for bad in ["", "a\u{1b}[2J", "a\nb"] {
            let mut bytes = Vec::new();
            encode_interfaces(&[entry(bad)], &mut bytes);
            assert!(decode_interfaces(&bytes).is_err());
        }
    }
}
