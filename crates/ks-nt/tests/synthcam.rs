//! The sample camera as a driver of this process: from its file to pictures that a client reads.

mod ks_rig;

use ks_abi::{KsPinDataFlow, KsState};
use ks_rig::{Rig, each_seed, picture_number};

#[test]
fn synthcam_streams_pictures_in_process() {
    each_seed(|| {
        let rig = Rig::start("synthcam/synthcam.c");
        let filter = rig.open();
        let pins = filter.pins().unwrap();
        assert_eq!(pins.len(), 1);
        assert_eq!(pins[0].data_flow, KsPinDataFlow::OUT);
        let pin = rig.create(&filter, 0, None);
        let frame_bytes = pin.bytes;
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let frames = (0..4).map(|_| pin.pin.allocate(frame_bytes).unwrap()).collect();
        let request = pin.pin.read_stream(frames).unwrap();
        pin.pin.set_state(KsState::RUN).unwrap();
        let frames = request.wait().unwrap();
        let numbers: Vec<u32> = frames.iter().map(|frame| picture_number(&frame.data(), 640)).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]), "{numbers:?}");
        assert!(frames.iter().all(|frame| frame.header.data_used as usize == frame_bytes));
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
        assert_eq!(ks_nt::ntoskrnl::pool::leaks(), [], "the driver freed everything");
    });
}
