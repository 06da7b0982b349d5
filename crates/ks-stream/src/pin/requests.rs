//! What a client asks of a pin by control codes of their own: frames and reset.

use super::{Pin, offset};
use crate::batch;
use crate::stream_io::{self, Direction};
use ks_abi::{
    KsPinCommunication, KsPinDataFlow, KsReset, KsState, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{Dispatched, Irp};
use zerocopy::FromBytes;

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
        if self.triggers(arrival.into_empty) {
            self.attempt_processing();
        }
        Dispatched::Pending
    }

    pub(super) fn reset_request(self: &Arc<Pin>, irp: Irp) -> Dispatched {
        let reset = match KsReset::read_from_prefix(irp.input()) {
            Ok((reset @ (KsReset::BEGIN | KsReset::END), _)) => reset,
            Ok(_) => return irp.done(STATUS_INVALID_PARAMETER),
            Err(_) => return irp.done(STATUS_INVALID_BUFFER_SIZE),
        };
        self.set_reset(reset);
        irp.done(STATUS_SUCCESS)
    }

    fn set_reset(self: &Arc<Pin>, reset: KsReset) {
        let _control = self.filter.control().hold();
        if self.reset_state() == reset {
            return;
        }
        self.block.store_u32(offset::RESET_STATE, reset.0);
        if let Some(queue) = &self.queue {
            match reset {
                KsReset::BEGIN => {
                    let orphans = queue.close(STATUS_CANCELLED, STATUS_DEVICE_NOT_READY);
                    queue.with_counters(|counters| counters.begin_next_stream());
                    self.orphaned(orphans);
                    self.send_outgoing();
                }
                _ if self.agreed_state() >= KsState::ACQUIRE => {
                    queue.open();
                    self.start_circuit();
                }
                _ => {}
            }
        }
        if let Some(instance) = self.instance.get() {
            instance.reset(self);
        }
    }
}
