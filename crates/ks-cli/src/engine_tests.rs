//! A driver in the process of the command that misbehaves.

use super::*;
use ks_abi::{KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_STREAM, KsDataFormat, STATUS_PENDING};
use ks_io::Refusal;
use ks_stream::{
    DataFormat, DescribeFilter, Device, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinInstance,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A source whose process callback does not return until it is told to.
#[derive(Clone)]
struct Endless(Arc<AtomicBool>);

impl FilterDispatch for Endless {
    fn create(&self, _: &Arc<ks_stream::Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Endless {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl PinInstance for Endless {
    fn process(&self, _: &Arc<Pin>) -> NtStatus {
        while !self.0.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        STATUS_PENDING
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: 2, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
}

const FRAME_BYTES: u32 = 64;

#[test]
fn an_endless_callback_in_the_process_of_the_command_is_named_and_its_graph_fails() {
    let stuck = |failure: &Failure| panic!("it is no callback of the main thread: {}", failure.why);
    let engine = Engine::boot_watched(Some(Duration::from_millis(200)), stuck).unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, Guid::NULL, KSDATAFORMAT_SPECIFIER_NONE, 0);
    let range = KsDataFormat { sample_size: FRAME_BYTES, ..head };
    let pins = vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![DataFormat::new(range, &[])])];
    let endless = Endless(end.clone());
    let filter = FilterDescriptor::new("endless", "endless", &[KSCATEGORY_CAPTURE], pins, Arc::new(endless));
    let filters: Vec<Arc<dyn DescribeFilter>> = vec![Arc::new(filter)];
    let _device = Device::start(engine.system.io(), "endless", filters).unwrap();
    let run = |text: &str| {
        let graph = grammar::parse(text).unwrap();
        engine.run(&graph, text, Limits::default(), &Interrupt::install().unwrap(), &mut |_| {})
    };
    let (document, failure) = run("endless ! null-renderer");
    assert_eq!(document.status, Status::Failed);
    let why = failure.unwrap().why;
    assert!(why.contains("the pin Process callback of endless has been computing for "), "{why}");
    // Another graph of the same engine goes on.
    let (document, failure) = run("test-camera frames=20 live=false ! null-renderer");
    assert_eq!((document.status, failure.map(|failure| failure.why)), (Status::Completed, None));
    assert_eq!(document.connections[0].frames, 20);
    end.store(true, Ordering::SeqCst);
}
