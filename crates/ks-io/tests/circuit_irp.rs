//! The IRP of a circuit: its packet and its cancel state are there for whoever asks, and take no memory before.
#![cfg(not(shuttle))]
#![expect(clippy::unwrap_used, reason = "a failed expectation of a test is a failed test")]

use ks_abi::{STATUS_CANCELLED, STATUS_SUCCESS};
use ks_io::{Irp, Origin, STREAM_HEADER_BYTES, StreamFrames};
use ks_mem::Frame;

fn circuit() -> Irp {
    let frames = StreamFrames::empty(STREAM_HEADER_BYTES, Frame::zeroed(64, 64).unwrap()).unwrap();
    Irp::circuit(&Origin::class_driver(), frames).unwrap()
}

#[test]
fn the_packet_of_a_circuit_stays_where_it_is_once_it_was_shown() {
    let (irp, other) = (circuit(), circuit());
    let address = irp.address();
    assert!(address != 0 && address.is_multiple_of(16) && address != other.address());
    irp.set_driver_context(2, 7);
    irp.set_status(STATUS_CANCELLED);
    assert_eq!((irp.address(), irp.driver_context(2), irp.status()), (address, 7, STATUS_CANCELLED));
    irp.retire();
    other.retire();
}

#[test]
fn a_status_is_kept_whether_or_not_the_packet_was_shown() {
    let irp = circuit();
    assert_eq!(irp.status(), STATUS_SUCCESS);
    irp.set_status(STATUS_SUCCESS);
    irp.set_status(STATUS_CANCELLED);
    assert_eq!(irp.status(), STATUS_CANCELLED);
    irp.set_status(STATUS_SUCCESS);
    assert_eq!(irp.status(), STATUS_SUCCESS);
    irp.retire();
}

#[test]
fn memory_that_a_circuit_gave_back_begins_anew_for_the_next_request() {
    let first = circuit();
    first.set_status(STATUS_CANCELLED);
    first.set_driver_context(0, 9);
    let mut first = first;
    drop(first.cancel_cell());
    first.retire();
    let second = circuit();
    assert_eq!((second.status(), second.driver_context(0), second.is_cancelled()), (STATUS_SUCCESS, 0, false));
    second.retire();
}

#[test]
fn a_cancel_reaches_the_request_of_a_circuit_that_somebody_holds_the_state_of() {
    let mut irp = circuit();
    assert!(!irp.is_cancelled());
    let cell = irp.cancel_cell();
    cell.cancel();
    assert!(irp.is_cancelled());
    irp.retire();
}
