//! A format that changes in the stream of two engines.

use crate::rig::{client, connect, engine, host};
use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_VIDEO, KsDataFormat, KsPinDataFlow,
    KsState, NtStatus, STATUS_NO_MATCH, STATUS_PENDING,
};
use ks_client::{Format, Pin as ClientPin};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinInstance,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// One that the sink takes nothing of, though its ranges have it.
const REFUSED: u32 = 2;
const FORMATS: u32 = 3;
const FRAME_BYTES: u32 = 128;

fn format(index: u32) -> DataFormat {
    let subtype = Guid::from_u128(0xF0 + u128::from(index));
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, subtype, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: FRAME_BYTES, ..head }, &[])
}

fn index_of(of: &DataFormat) -> u32 {
    (0..FORMATS).find(|index| format(*index) == *of).expect("one of these")
}

/// A source whose frames say which format they are in, or a sink that compares.
#[derive(Clone, Default)]
struct Kind {
    seen: Arc<AtomicU64>,
    mismatches: Arc<AtomicU64>,
    format: Arc<AtomicU32>,
}

impl Kind {
    fn descriptor(&self, name: &'static str, flow: KsPinDataFlow) -> FilterDescriptor {
        let pin = PinDescriptor::new(flow, (0..FORMATS).map(format).collect());
        FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], vec![pin], Arc::new(self.clone()))
    }
}

impl FilterDispatch for Kind {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Kind {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(format(0))
    }
}

impl PinInstance for Kind {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            let buffer = frame.buffer().unwrap();
            if pin.data_flow() == KsPinDataFlow::OUT {
                assert!(buffer.copy_in(0, &self.format.load(SeqCst).to_le_bytes()));
                frame.set_data_used(4);
            } else {
                let mut said = [0; 4];
                assert!(buffer.copy_out(0, &mut said));
                let wrong = u32::from_le_bytes(said) != self.format.load(SeqCst);
                self.mismatches.fetch_add(u64::from(wrong), SeqCst);
                self.seen.fetch_add(1, SeqCst);
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    }
    fn would_take(&self, pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        if pin.data_flow() == KsPinDataFlow::IN && index_of(new) == REFUSED {
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "not this one"));
        }
        Ok(())
    }
    fn set_data_format(&self, _: &Arc<Pin>, _: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        self.format.store(index_of(new), SeqCst);
        Ok(())
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: 4, frame_bytes: FRAME_BYTES, alignment: 0 })
    }
}

#[test]
fn a_sink_of_another_engine_is_asked_before_the_format_changes() {
    let wish = |index| Format::from_bytes(format(index).bytes()).unwrap();
    let at = |pin: &ClientPin| pin.format().unwrap().bytes().to_vec();
    for sink_is_far in [true, false] {
        let (giving, taking) = (Kind::default(), Kind::default());
        let (source, sink) =
            (giving.descriptor("giving", KsPinDataFlow::OUT), taking.descriptor("taking", KsPinDataFlow::IN));
        let (here, there) = if sink_is_far { (source, sink) } else { (sink, source) };
        let parent = engine(vec![here]);
        let (_host, _peer) = host(&parent, vec![there]);
        let (client, _session) = client(&parent);
        let (source, sink) = (client.open_by_name("giving").unwrap(), client.open_by_name("taking").unwrap());
        let (from, to) = connect(&source, &sink, false);
        let bring = |state| [&to, &from].iter().for_each(|pin| pin.set_state(state).unwrap());
        let more = || {
            let until = taking.seen.load(SeqCst) + 20;
            while taking.seen.load(SeqCst) < until {
                assert_eq!((from.failure(), to.failure()), (None, None));
                std::thread::yield_now();
            }
        };
        for (state, other) in [(KsState::RUN, 1), (KsState::STOP, 0), (KsState::RUN, 1)] {
            bring(state);
            let before = at(&from);
            if state == KsState::RUN {
                more();
            }
            let refused = from.set_format(&wish(REFUSED)).unwrap_err();
            assert_eq!(refused.status, STATUS_NO_MATCH, "{state}");
            assert!(refused.reason().contains("giving.0: the pin that it is connected to does not take"), "{refused}");
            assert_eq!((at(&from), at(&to)), (before.clone(), before), "nothing changed");
            from.set_format(&wish(other)).unwrap();
            if state == KsState::STOP {
                bring(KsState::RUN);
            }
            // The frames that were on their way are of the format before.
            while at(&to) != wish(other).bytes() {
                more();
            }
            more();
            assert_eq!((at(&from), taking.mismatches.load(SeqCst)), (wish(other).bytes().to_vec(), 0));
            bring(KsState::STOP);
        }
    }
}
