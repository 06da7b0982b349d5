//! The messages.

use crate::codec::{Reader, Writer};

/// Number of a request, chosen by the side that sends it; its completion carries it back.
pub type RequestId = u64;

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requestor {
    /// Number of the client in the process of the sender.
    pub client: u64,
    /// True for a driver, false for a client. The receiver decides whether it believes it.
    pub kernel_mode: bool,
}

/// A file object, named by the number under which one side exported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// One that the receiver of the message exported.
    Yours(u64),
    /// One that the sender exports with this message.
    Mine(u64),
}

/// An object that stands as a handle inside the bytes of a request. Handles mean nothing in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Embedded {
    /// None.
    #[default]
    Nothing,
    /// A file object, whose handle stands at this offset.
    File(u32, Named),
    /// An event of the sender by its number, whose handle stands at this offset.
    Event(u32, u64),
    /// An event that stays registered after the request: the sender's own handle, by which it is named from then on,
    /// stands at this offset of the *input*. The number is the event's, or 0 where the request takes it back.
    Registered(u32, u64),
}

/// Opens a filter of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub requestor: Requestor,
    /// The access that is asked for.
    pub access: u32,
    /// Name of the device.
    pub device: &'a str,
    /// Reference string.
    pub reference: &'a str,
}

/// Creates an object below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub requestor: Requestor,
    /// The parent.
    pub parent: u64,
    /// The access that is asked for.
    pub access: u32,
    /// Class string.
    pub class: &'a str,
    /// Parameter block.
    pub parameters: &'a [u8],
    /// PinToHandle.
    pub embedded: Embedded,
}

/// A device-control request without frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control<'a> {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub requestor: Requestor,
    /// The file object.
    pub file: u64,
    /// The control code.
    pub code: u32,
    /// The requestor's address of the input buffer; identifies an event.
    pub input_token: u64,
    /// The requestor's address of the output buffer; identifies an event.
    pub output_token: u64,
    /// Length of the requestor's output buffer.
    pub output_bytes: u32,
    /// The input.
    pub input: &'a [u8],
    /// What the output buffer holds, where it is data.
    pub data: &'a [u8],
    /// A handle in `data`, or one in `input` of an event that is registered.
    pub embedded: Embedded,
}

/// A stream request: headers, and for each of them where its bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream<'a> {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub requestor: Requestor,
    /// The file object.
    pub file: u64,
    /// The control code.
    pub code: u32,
    /// True when a driver sent it, which need not know the header size of the other pin.
    pub any_header_size: bool,
    /// Bytes of each header.
    pub stride: u32,
    /// The headers. What stands in a header's Data is no address.
    pub headers: &'a [u8],
    /// One entry a header.
    pub parts: Parts<'a>,
}

/// Where the bytes of one frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FramePart {
    /// Number of the announced region; 0: the frame has no bytes.
    pub region: u64,
    /// From the start of the region.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u32,
}

pub(crate) const PART_BYTES: usize = 20;

/// A list of [`FramePart`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a>(pub(crate) &'a [u8]);

impl<'a> Parts<'a> {
    /// The list that [`Parts::push`] wrote.
    pub fn new(bytes: &'a [u8]) -> Parts<'a> {
        Parts(bytes)
    }

    /// Appends an entry to a list under construction.
    pub fn push(list: &mut Vec<u8>, part: FramePart) {
        let mut out = Writer(list);
        out.u64(part.region);
        out.u64(part.offset);
        out.u32(part.bytes);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len() / PART_BYTES
    }

    /// True for an empty list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = FramePart> + 'a {
        self.0.chunks_exact(PART_BYTES).filter_map(|bytes| {
            let mut fields = Reader::new(0, bytes);
            Some(FramePart { region: fields.u64().ok()?, offset: fields.u64().ok()?, bytes: fields.u32().ok()? })
        })
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion<'a> {
    /// The request.
    pub request: RequestId,
    /// Its status.
    pub status: u32,
    /// Its Information.
    pub information: u64,
    /// Number of the file object that an open or create exported. Of a request whose answer has addresses, the announced
    /// region that they lie in; what stands in their place is the distance from its start.
    pub file: u64,
    /// The access that a create granted.
    pub granted: u32,
    /// The answer; of a stream request the headers.
    pub answer: &'a [u8],
    /// Why it was refused: what it is about, as a number, and a sentence.
    pub refusal: Option<(u8, &'a str)>,
}

/// How a region is cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionCut {
    /// Number of frames.
    pub frames: u32,
    /// Bytes of one.
    pub frame_bytes: u64,
    /// Bytes from one to the next.
    pub stride_bytes: u64,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heartbeat {
    /// The number that was asked with.
    pub number: u64,
    /// Requests that are being executed at this moment.
    pub executing: u32,
    /// How long the oldest of them has been executing, in milliseconds.
    pub oldest_ms: u64,
}

/// Everything that goes through a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// First from both sides: the version.
    Hello {
        /// The version.
        version: u32,
    },
    /// Asks for the device interfaces that the receiver exports.
    ListInterfaces {
        /// The request.
        request: RequestId,
    },
    /// Opens a filter.
    Open(Open<'a>),
    /// Creates an object below another.
    Create(Create<'a>),
    /// The last handle of a file object is closed.
    Cleanup {
        /// The request.
        request: RequestId,
        /// The file object.
        file: u64,
    },
    /// Nobody of the sender refers to the file object any more; its number is free.
    Close {
        /// The request.
        request: RequestId,
        /// The file object.
        file: u64,
    },
    /// A device-control request.
    Control(Control<'a>),
    /// A stream request.
    Stream(Stream<'a>),
    /// A request is to end early.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// A request has ended.
    Completion(Completion<'a>),
    /// Memory of frames; its descriptor comes with it.
    AnnounceRegion {
        /// The number that stream requests name it by.
        region: u64,
        /// How it is cut.
        cut: RegionCut,
    },
    /// The sender uses a region no more.
    RetireRegion {
        /// Which.
        region: u64,
    },
    /// An event of the receiver was set by the sender's engine.
    SetEvent {
        /// Its number.
        number: u64,
    },
    /// An event of the receiver was cleared by the sender's engine.
    ClearEvent {
        /// Its number.
        number: u64,
    },
    /// An event of the receiver was pulsed by the sender's engine.
    PulseEvent {
        /// Its number.
        number: u64,
    },
    /// The sender's engine forgot an event of the receiver.
    ForgetEvent {
        /// Its number.
        number: u64,
    },
    /// A line of a log.
    Log {
        /// 0 error, 1 warning, 2 information, 3 detail.
        level: u8,
        /// The line.
        text: &'a str,
    },
    /// A report, in the form that the receiver and the sender agreed on.
    Report {
        /// The report.
        bytes: &'a [u8],
    },
    /// A call of a service of the other process: files, say.
    Service {
        /// The request.
        request: RequestId,
        /// Which service and which of its calls.
        operation: u32,
        /// Its arguments.
        body: &'a [u8],
    },
    /// Asks for a sign of life.
    Heartbeat {
        /// Any number.
        number: u64,
    },
    /// A sign of life.
    HeartbeatAnswer(Heartbeat),
}

/// A device interface in the answer to [`Message::ListInterfaces`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Name of the device.
    pub device: String,
    /// The bytes of the category's GUID.
    pub category: [u8; 16],
    /// Reference string.
    pub reference: String,
    /// Name for a person.
    pub friendly_name: String,
}
