//! Stream requests: the frames of a client.

use super::Pin;
use crate::batch;
use crate::stream_io::{self, Direction};
use ks_abi::{KsPinCommunication, KsPinDataFlow, STATUS_CANCELLED, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS};
use ks_io::sync::Arc;
use ks_io::{Dispatched, Irp};

impl Pin {
    pub(super) fn stream_request(self: &Arc<Pin>, mut irp: Irp, direction: Direction) -> Dispatched {
        let Some(queue) = &self.queue else { return irp.done(STATUS_INVALID_DEVICE_REQUEST) };
        let right_way = match direction {
            Direction::Read => self.data_flow() == KsPinDataFlow::OUT,
            Direction::Write => self.data_flow() == KsPinDataFlow::IN,
        };
        if !right_way || self.communication() != KsPinCommunication::SINK {
            return irp.done(STATUS_INVALID_DEVICE_REQUEST);
        }
        if irp.stream().is_none()
            && let Err(refusal) = stream_io::probe(&mut irp, direction, self.stream_header_bytes(), self.io().regions())
        {
            return Dispatched::Completed(irp.refuse(refusal));
        }
        let arrival = batch::of_one(irp, |batch| queue.add(batch));
        let mut refused = arrival.refused.into_iter();
        if let Some((irp, status)) = refused.next() {
            return irp.done(if status == STATUS_SUCCESS { STATUS_CANCELLED } else { status });
        }
        if !self.asks_for_copies() && (arrival.change || self.triggers(arrival.into_empty)) {
            self.attempt_processing();
        }
        Dispatched::Pending
    }
}
