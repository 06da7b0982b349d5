//! A graph whose pin refuses a state goes down from there, and not up again.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KsDataFormat, KsPinDataFlow, KsState,
    STATUS_INSUFFICIENT_RESOURCES,
};
use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, RunStatus};
use ks_io::{Aspect, Refusal, Services};
use ks_stream::{
    DataFormat, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinInstance,
};

const KIND: Guid = Guid::from_u128(0x51b7_0d3e_95c2_4b0e_8a4d_0e6a_7c1f_2b90);

/// A source whose pin refuses `refused`, and notes what it is asked for.
#[derive(Clone)]
struct Stubborn {
    refused: KsState,
    asked: Arc<Mutex<Vec<KsState>>>,
}

impl FilterDispatch for Stubborn {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Stubborn {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl PinInstance for Stubborn {
    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        self.asked.lock().unwrap().push(to);
        if to == self.refused {
            return Err(Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Driver, "no"));
        }
        Ok(())
    }
}

fn asked_of_a_pin_that_refuses(refused: KsState) -> Vec<KsState> {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(1)).unwrap();
    let stubborn = Stubborn { refused, asked: Arc::default() };
    let range = KsDataFormat { sample_size: 8, ..KsDataFormat::new(KIND, Guid::NULL, KSDATAFORMAT_SPECIFIER_NONE, 0) };
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![DataFormat::new(range, &[])]);
    pin.framing = Some(Framing { frames: 4, frame_bytes: 8, alignment: 8 });
    let filter =
        FilterDescriptor::new("stubborn", "Stubborn", &[KSCATEGORY_CAPTURE], vec![pin], Arc::new(stubborn.clone()));
    let _device = Device::start(&system.io, "stubborn", vec![Arc::new(filter)]).unwrap();
    let client = Client::new(system.session());
    let graph = grammar::parse("stubborn ! null-renderer").unwrap();
    let report = GraphRunner::build(&client, &graph, Options::default()).unwrap().run(&mut |_| {});
    assert_eq!(report.status, RunStatus::Failed);
    assert!(report.error.unwrap().to_string().contains("STATUS_INSUFFICIENT_RESOURCES"));
    stubborn.asked.lock().unwrap().clone()
}

#[test]
fn a_pin_that_refuses_a_state_is_not_asked_for_it_again() {
    let (acquire, pause, run, stop) = (KsState::ACQUIRE, KsState::PAUSE, KsState::RUN, KsState::STOP);
    assert_eq!(asked_of_a_pin_that_refuses(acquire), [acquire]);
    assert_eq!(asked_of_a_pin_that_refuses(pause), [acquire, pause, stop]);
    assert_eq!(asked_of_a_pin_that_refuses(run), [acquire, pause, run, acquire, stop]);
}
