//! `counter`, the shortest minidriver: a source whose frames carry the numbers 0, 1, 2 and so on, read by a client.
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KsDataFormat, KsIdentifier, KsPinDataFlow, KsState,
    NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_PENDING,
};
use ks_client::{Client, Connect};
use ks_io::{IoManager, Refusal, Services};
use ks_stream::{
    DataFormat, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinInstance,
};

/// Kind of data: one number, eight bytes, little end first.
const NUMBERS: Guid = Guid::from_u128(0x2f9d8c14_7b0a_4a55_9c3e_6d1f08b7a201);

/// What the filter says of itself: one output pin with one format.
pub(crate) fn descriptor() -> FilterDescriptor {
    let range =
        KsDataFormat { sample_size: 8, ..KsDataFormat::new(NUMBERS, Guid::NULL, KSDATAFORMAT_SPECIFIER_NONE, 0) };
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![DataFormat::new(range, &[])]);
    pin.framing = Some(Framing { frames: 4, frame_bytes: 8, alignment: 8 });
    FilterDescriptor::new("counter", "Counter", &[KSCATEGORY_CAPTURE], vec![pin], Arc::new(Counter))
}

struct Counter;

impl FilterDispatch for Counter {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Counter))
    }
}

impl FilterInstance for Counter {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(CounterPin { next: AtomicU64::new(0) }))
    }
}

struct CounterPin {
    next: AtomicU64,
}

impl PinInstance for CounterPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            match frame.buffer().and_then(|buffer| buffer.write()) {
                Some(mut bytes) if bytes.len() >= 8 => {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    bytes[..8].copy_from_slice(&number.to_le_bytes());
                    frame.set_data_used(8);
                }
                _ => frame.set_status_code(STATUS_BUFFER_TOO_SMALL),
            }
            leading = frame.advance();
        }
        STATUS_PENDING
    }
}

/// Starts an engine with this filter only, and reads frames of its pin as a client.
pub(crate) fn first_numbers(count: usize) -> Result<Vec<u64>, Box<dyn Error>> {
    let io = IoManager::new(Services::real());
    let _device = Device::start(&io, "counter", vec![Arc::new(descriptor())]).map_err(|status| status.to_string())?;
    let filter = Client::new(io.session()).open_by_name("counter")?;
    let format = filter.intersect(0, &filter.data_ranges(0)?)?;
    let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
    let pin = filter
        .create_pin(Connect { pin_id: 0, interface, medium, pin_to: None, format: &format }, KsPinDataFlow::OUT)?;
    pin.set_state(KsState::RUN)?;
    let mut numbers = Vec::new();
    for _ in 0..count {
        let frames = pin.read_stream(vec![pin.allocate(8)?])?.wait()?;
        numbers.extend(frames.iter().filter_map(|frame| frame.data().try_into().ok()).map(u64::from_le_bytes));
    }
    pin.set_state(KsState::STOP)?;
    Ok(numbers)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:?}", first_numbers(5)?);
    Ok(())
}
