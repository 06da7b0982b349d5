//! Scatter/gather mappings over plain memory.

use crate::rig::{FRAME_BYTES, Rig, Setup, UP, bring, filled, frames, wait};
use ks_abi::STATUS_INVALID_PARAMETER;
use ks_stream::{DmaAdapter, Mapping, PinFlags};

fn adapter(most_mapping_bytes: u32) -> DmaAdapter {
    DmaAdapter { most_mapping_bytes, mapping_stride: 32 }
}

fn rig() -> Rig {
    let flags = PinFlags::GENERATE_MAPPINGS;
    let rig = Rig::with(Setup { source_flags: flags, sink_flags: flags, ..Setup::default() });
    rig.source.script(wait);
    rig.sink.script(wait);
    rig
}

#[test]
fn offsets_count_mappings_that_an_adapter_limits() {
    let rig = rig();
    rig.devices[0].register_adapter(adapter(24)).unwrap();
    let (filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 2)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.remaining(), 3);
    let start = edge.buffer().unwrap().address();
    let piece = |at: u64, bytes| Mapping { address: start + at, bytes };
    assert_eq!(edge.mappings(), [piece(0, 24), piece(24, 24), piece(48, 16)]);
    let edge = edge.advance_offsets(0, 2).unwrap();
    assert_eq!((edge.remaining(), edge.data_used()), (1, 48));
    assert_eq!(edge.mappings(), [piece(48, 16)]);
    let mut clone = edge.clone_pointer().unwrap();
    let edge = edge.advance_offsets(0, 1).unwrap();
    assert_eq!((edge.remaining(), edge.data_used()), (3, 0), "the next frame");
    assert_eq!(clone.frame().unwrap().data_used(), FRAME_BYTES);
    assert_eq!(clone.advance_offsets(0, 1), 0, "the clone has offsets of its own");
    drop(clone);
    edge.eject();
    let used: Vec<u32> = request.wait().unwrap().iter().map(|frame| frame.header.data_used).collect();
    assert_eq!(used, [FRAME_BYTES, 0]);
    drop((pin, client, filter));
    rig.assert_quiescent();
}

#[test]
fn where_offsets_count_mappings_the_used_bytes_are_those_of_the_mappings_that_were_passed() {
    let rig = rig();
    rig.devices[0].register_adapter(adapter(24)).unwrap();
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 1)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap();
    edge.set_data_used(5);
    let edge = edge.advance_offsets(0, 1).unwrap();
    assert_eq!(edge.data_used(), 24, "Count minus Remaining, whatever was there");
    edge.set_data_used(FRAME_BYTES);
    let edge = edge.advance_offsets(0, 1).unwrap();
    assert_eq!(edge.data_used(), 48);
    // A driver that knows better says so when the adapter is done.
    let clone = edge.clone_pointer().unwrap();
    assert!(edge.advance_offsets(0, 1).is_none());
    clone.frame().unwrap().set_data_used(50);
    drop(clone);
    assert_eq!(request.wait().unwrap()[0].header.data_used, 50);
}

#[test]
fn an_input_is_mapped_as_far_as_it_is_valid() {
    let rig = rig();
    rig.devices[2].register_adapter(adapter(0)).unwrap();
    let (_filter, client) = rig.alone("sink");
    bring(&client, &UP);
    let mut short = filled(&client, 1);
    short.header.data_used = 40;
    let request = client.write_stream(vec![short]).unwrap();
    let pin = rig.sink.pin();
    let edge = pin.leading_edge().unwrap();
    let start = edge.buffer().unwrap().address();
    assert_eq!(edge.mappings(), [Mapping { address: start, bytes: 40 }], "without a limit it is one piece");
    assert!(edge.advance_offsets(1, 0).is_none());
    assert_eq!(request.wait().unwrap()[0].header.data_used, 40, "what came in stays as it is");
}

#[test]
fn without_an_adapter_there_are_no_mappings() {
    let rig = rig();
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let _request = client.read_stream(frames(&client, 1)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap();
    assert_eq!((edge.remaining(), edge.mappings()), (0, Vec::new()));
    for mapping_stride in [0, 15, 4097] {
        let refused = rig.devices[0].register_adapter(DmaAdapter { mapping_stride, ..adapter(0) });
        assert_eq!(refused, Err(STATUS_INVALID_PARAMETER));
    }
}
