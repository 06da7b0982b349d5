//! One frame of a filter, read by the client itself.

use super::run::GraphError;
use crate::error::ClientError;
use crate::filter::{Connect, Filter};
use crate::format::Format;
use ks_abi::{KsIdentifier, KsPinDataFlow, KsState, STATUS_NOT_SUPPORTED};
use ks_io::Aspect;

/// One captured frame.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Its format.
    pub format: Format,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The most bytes of a frame that is captured.
const MOST_BYTES: u32 = 1 << 30;

/// Creates an output pin of `filter` as IRP sink, reads one frame from it, and closes it again.
pub fn capture_one(filter: &Filter) -> Result<Captured, GraphError> {
    let pins = filter.pins()?;
    let own = |reason: String| {
        GraphError::Request(ClientError::own(
            "read a frame",
            filter.name(),
            STATUS_NOT_SUPPORTED,
            Aspect::Driver,
            reason,
        ))
    };
    let Some(source) = pins.iter().find(|pin| pin.data_flow == KsPinDataFlow::OUT) else {
        return Err(own(format!("{} has no output pin", filter.name())));
    };
    let format = filter.intersect(source.id, &source.data_ranges)?;
    let connect = Connect {
        pin_id: source.id,
        interface: source.interfaces.first().copied().unwrap_or(KsIdentifier::STANDARD_STREAMING),
        medium: source.mediums.first().copied().unwrap_or(KsIdentifier::STANDARD_DEVIO),
        pin_to: None,
        format: &format,
    };
    let pin = filter.create_pin(connect, KsPinDataFlow::OUT)?;
    let size = format.head().sample_size;
    if size == 0 || size > MOST_BYTES {
        return Err(own(format!("a frame of {} has no usable size ({size} bytes)", filter.name())));
    }
    pin.set_state(KsState::PAUSE)?;
    let request = pin.read_stream(vec![pin.allocate(size as usize)?])?;
    pin.set_state(KsState::RUN)?;
    let frames = request.wait()?;
    pin.set_state(KsState::STOP)?;
    let bytes = frames.first().map(|frame| frame.data()).unwrap_or_default();
    Ok(Captured { format, bytes })
}
