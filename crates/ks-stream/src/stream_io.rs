//! Stream requests: from a client's list of headers to frames, and back.
//!
//! Source: nf-ks-ksprobestreamirp, ns-ks-ksstream_header, ni-ks-ioctl_ks_read_stream, ni-ks-ioctl_ks_write_stream.

use crate::format::HEAD_BYTES;
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsPinDataFlow, KsStreamHeader, NtStatus, STATUS_ACCESS_VIOLATION,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::{Aspect, Irp, Origin, Refusal, RequestorMode, StreamFrames};
use ks_mem::{Frame, RegionTable, fallible};
use zerocopy::FromBytes;

/// Direction of a stream request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The pin fills the frames.
    Read,
    /// The pin takes the frames' data.
    Write,
}

/// The most headers of one request.
const MOST_HEADERS: usize = 4096;
/// Option bits that the documentation defines; others are refused.
const KNOWN_OPTIONS: u32 = 0x8007_FFDF;

/// Checks the header list of a stream request and gives each header its buffer.
///
/// The list is what the caller's output buffer held: an array of headers of `header_bytes` each. Every header's Size,
/// extent, used count, flags and time scale are checked, and its Data must point into memory that the client has
/// registered.
// ks-coverage: KsProbeStreamIrp done test=a_request_against_the_data_or_with_wrong_sizes_is_refused_and_nothing_runs,ksstream_header_lists
// ks-coverage: IOCTL_KS_READ_STREAM done test=reads_in_flight_come_back_in_order_and_filled
// ks-coverage: IOCTL_KS_WRITE_STREAM done test=writes_arrive_in_order_whatever_their_number_of_headers
#[doc(alias = "KsProbeStreamIrp")]
pub(crate) fn probe(
    irp: &mut Irp,
    direction: Direction,
    header_bytes: u32,
    regions: &RegionTable,
) -> Result<(), Refusal> {
    let resolve = |_: usize, header: &KsStreamHeader| memory_of(irp.origin(), header, regions);
    let frames = probe_headers(irp.output().data(), direction, header_bytes, resolve)?;
    irp.set_stream(frames);
    Ok(())
}

/// The memory that a header of this requestor names: a client has its own, a driver any.
pub fn memory_of(origin: &Origin, header: &KsStreamHeader, regions: &RegionTable) -> Option<Frame> {
    let (address, bytes) = (header.data.0, header.frame_extent as usize);
    match origin.mode() {
        RequestorMode::User => regions.resolve_for(origin.client(), address, bytes),
        RequestorMode::Kernel => regions.resolve(address, bytes),
    }
}

/// Checks a list of stream headers of `header_bytes` each, see `probe`, and gives each header that has an extent the
/// buffer that `resolve` finds for it. For those who pass requests on from elsewhere.
pub fn probe_headers(
    list: &[u8],
    direction: Direction,
    header_bytes: u32,
    mut resolve: impl FnMut(usize, &KsStreamHeader) -> Option<Frame>,
) -> Result<StreamFrames, Refusal> {
    let stride = header_bytes as usize;
    let bad = |status: NtStatus, reason: String| Err(Refusal::new(status, Aspect::Request, reason));
    if list.is_empty() || !list.len().is_multiple_of(stride) {
        let reason = format!("a header list of {} bytes is no multiple of the pin's {stride}", list.len());
        return bad(STATUS_INVALID_BUFFER_SIZE, reason);
    }
    let count = list.len() / stride;
    if count > MOST_HEADERS {
        return bad(STATUS_INSUFFICIENT_RESOURCES, format!("{count} headers in one request; at most {MOST_HEADERS}"));
    }
    // Most requests have one frame, which needs no list.
    let mut only = None;
    let mut buffers = Vec::new();
    if fallible(|| buffers.try_reserve_exact(if count > 1 { count } else { 0 })).is_err() {
        return bad(STATUS_INSUFFICIENT_RESOURCES, format!("no memory for {count} headers"));
    }
    let mut keep = |buffer| if count > 1 { buffers.push(buffer) } else { only = buffer };
    for (index, bytes) in list.chunks_exact(stride).enumerate() {
        let Ok((header, _)) = KsStreamHeader::read_from_prefix(bytes) else {
            return bad(STATUS_INVALID_BUFFER_SIZE, format!("header {index} is cut off"));
        };
        check_header(index, &header, direction, header_bytes)?;
        if header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 && count > 1 {
            let reason = format!("stream header {index} changes the format, and {count} headers are in the request");
            return bad(STATUS_INVALID_PARAMETER, reason);
        }
        if header.frame_extent == 0 {
            keep(None);
            continue;
        }
        match resolve(index, &header) {
            Some(frame) if frame.len() >= header.frame_extent as usize => keep(Some(frame)),
            _ => {
                let extent = header.frame_extent;
                let reason = format!("stream header {index}: Data and {extent} bytes are not memory of this client");
                return bad(STATUS_ACCESS_VIOLATION, reason);
            }
        }
    }
    let captured = match count {
        1 => StreamFrames::captured(list, stride, [only]),
        _ => StreamFrames::captured(list, stride, buffers),
    };
    captured.map_err(|status| Refusal::new(status, Aspect::Memory, "no memory for the header list"))
}

/// Checks one stream header that says what `header_bytes` must be.
pub fn check_header(
    index: usize,
    header: &KsStreamHeader,
    direction: Direction,
    header_bytes: u32,
) -> Result<(), Refusal> {
    let bad = |status: NtStatus, reason: String| {
        Err(Refusal::new(status, Aspect::Request, format!("stream header {index}: {reason}")))
    };
    if header.size != header_bytes {
        return bad(STATUS_INVALID_BUFFER_SIZE, format!("Size is {}, the pin's is {header_bytes}", header.size));
    }
    if header.options_flags & !KNOWN_OPTIONS != 0 {
        return bad(STATUS_INVALID_PARAMETER, format!("OptionsFlags {:#x} has unknown bits", header.options_flags));
    }
    if header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
        if direction == Direction::Read {
            return bad(STATUS_INVALID_PARAMETER, "a read cannot say that the format changes".into());
        }
        if (header.data_used as usize) < HEAD_BYTES {
            let used = header.data_used;
            return bad(STATUS_INVALID_BUFFER_SIZE, format!("its {used} bytes are to be a KSDATAFORMAT"));
        }
    }
    if header.presentation_time.numerator == 0 || header.presentation_time.denominator == 0 {
        return bad(STATUS_INVALID_PARAMETER, "the time scale has a zero".into());
    }
    if header.data_used > header.frame_extent {
        let (used, extent) = (header.data_used, header.frame_extent);
        return bad(STATUS_INVALID_PARAMETER, format!("DataUsed {used} is above FrameExtent {extent}"));
    }
    if direction == Direction::Read && header.data_used != 0 {
        return bad(STATUS_INVALID_PARAMETER, format!("DataUsed of a read is {}, not 0", header.data_used));
    }
    Ok(())
}

/// Completes a client's stream request whose frames have all left: for a write Information is the data consumed, for a
/// read the bytes of the header list.
pub(crate) fn complete(mut irp: Irp, data_flow: KsPinDataFlow) {
    let status = irp.status();
    let information = irp.stream().map_or(0, |stream| match data_flow {
        KsPinDataFlow::IN => stream.iter().map(|frame| frame.data_used() as usize).sum(),
        _ => stream.stride() * stream.len(),
    });
    let information = if status == STATUS_SUCCESS { information } else { 0 };
    irp.parts().output.set_information(information);
    drop(irp.complete(status));
}
