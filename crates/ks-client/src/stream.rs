//! Stream requests of a client: frames with their headers, sent and awaited.

use crate::error::ClientError;
use crate::object::Object;
use ks_abi::{IoControlCode, KsStreamHeader, KsTime, Ptr64};
use ks_io::{Finished, Request};
use ks_mem::Frame;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use zerocopy::{FromBytes, IntoBytes};

/// One frame of a stream request: a buffer of this client and the header that goes with it.
#[derive(Debug, Clone)]
pub struct StreamFrame {
    /// The header; Size, Data and FrameExtent are filled in when the request is sent.
    pub header: KsStreamHeader,
    /// What follows the plain header, after a read.
    pub extension: Vec<u8>,
    buffer: Frame,
}

impl StreamFrame {
    /// An empty frame over a buffer.
    pub fn new(buffer: Frame) -> StreamFrame {
        let header = KsStreamHeader {
            presentation_time: KsTime::from_100ns(0),
            frame_extent: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
            data: Ptr64(buffer.address()),
            ..Default::default()
        };
        StreamFrame { header, extension: Vec::new(), buffer }
    }

    /// The buffer.
    pub fn buffer(&self) -> &Frame {
        &self.buffer
    }

    /// A copy of the valid bytes; empty while a driver has the buffer.
    pub fn data(&self) -> Vec<u8> {
        let used = (self.header.data_used as usize).min(self.buffer.len());
        self.buffer.read().map_or_else(Vec::new, |bytes| bytes[..used].to_vec())
    }

    /// Fills the frame for a write; what does not fit is cut off. False while a driver has the buffer.
    pub fn fill(&mut self, data: &[u8]) -> bool {
        let Some(mut bytes) = self.buffer.write() else { return false };
        let count = data.len().min(bytes.len());
        bytes[..count].copy_from_slice(&data[..count]);
        self.header.data_used = count as u32;
        true
    }

    /// Empty again, for the next read.
    pub fn rewind(&mut self) {
        self.header.data_used = 0;
        self.header.options_flags = 0;
        self.extension.clear();
    }
}

/// A stream request in flight: a future, or something to wait for, or to cancel.
#[derive(Debug)]
pub struct StreamRequest {
    request: Request,
    frames: Vec<StreamFrame>,
    header_bytes: usize,
    name: String,
    doing: &'static str,
}

impl StreamRequest {
    pub(crate) fn send(
        object: &Object,
        code: IoControlCode,
        header_bytes: u32,
        frames: Vec<StreamFrame>,
    ) -> Result<StreamRequest, ClientError> {
        let stride = header_bytes as usize;
        let mut list = Vec::with_capacity(stride * frames.len());
        for frame in &frames {
            let header = KsStreamHeader { size: header_bytes, ..frame.header };
            let start = list.len();
            list.extend_from_slice(header.as_bytes());
            let room = stride.saturating_sub(size_of::<KsStreamHeader>());
            list.extend_from_slice(&frame.extension[..frame.extension.len().min(room)]);
            list.resize(start + stride, 0);
        }
        let request = object.transport().submit(object.handle(), code, &[], list);
        let doing = if code == IoControlCode::KS_WRITE_STREAM { "write to the stream" } else { "read from the stream" };
        Ok(StreamRequest { request, frames, header_bytes: stride, name: object.name().to_string(), doing })
    }

    /// Asks for the request to end early.
    pub fn cancel(&self) {
        self.request.cancel();
    }

    /// True when waiting would return at once.
    pub fn is_done(&self) -> bool {
        self.request.is_done()
    }

    /// How many frames it has.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Waits for the frames.
    pub fn wait(self) -> Result<Vec<StreamFrame>, ClientError> {
        let StreamRequest { request, frames, header_bytes, name, doing } = self;
        unpack(request.wait(), frames, header_bytes, &name, doing)
    }
}

impl Future for StreamRequest {
    type Output = Result<Vec<StreamFrame>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.request).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(finished) => {
                let frames = std::mem::take(&mut self.frames);
                Poll::Ready(unpack(finished, frames, self.header_bytes, &self.name, self.doing))
            }
        }
    }
}

fn unpack(
    finished: Finished,
    mut frames: Vec<StreamFrame>,
    header_bytes: usize,
    name: &str,
    doing: &str,
) -> Result<Vec<StreamFrame>, ClientError> {
    if !finished.outcome.status.is_success() {
        return Err(ClientError::new(doing, name, finished.outcome));
    }
    for (frame, bytes) in frames.iter_mut().zip(finished.output.chunks(header_bytes.max(1))) {
        if let Ok((header, extension)) = KsStreamHeader::read_from_prefix(bytes) {
            frame.header = header;
            frame.extension = extension.to_vec();
        }
    }
    Ok(frames)
}
