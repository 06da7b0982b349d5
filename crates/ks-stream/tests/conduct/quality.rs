//! A sink that is too slow complains to the manager that its client named, and the source does less.

use crate::kit::*;
use ks_abi::{
    KSPROPERTY_QUALITY_ERROR, KSPROPERTY_QUALITY_REPORT, KSPROPERTY_STREAM_QUALITY, KSPROPSETID_Quality,
    KSPROPSETID_Stream, KsError, KsQuality, KsQualityManager, Ptr64, STATUS_DATA_ERROR, STATUS_INVALID_HANDLE,
    STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{LockRank, Ticks};
use ks_stream::{AutomationTable, Pin, PropertyCall, PropertyItem, PropertySet, quality_manager_item};
use std::sync::atomic::Ordering::SeqCst;

/// What came to a quality manager: context, proportion and lateness, or context and status of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Report(u64, u32, i64),
    Error(u64, u32),
}

fn complaining() -> AutomationTable<Pin> {
    AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Stream, items: vec![quality_manager_item()] }])
}

/// A pin that listens. The handler takes a mutex of its filter, as a driver's may.
fn listening(heard: &Arc<Mutex<Vec<Heard>>>) -> AutomationTable<Pin> {
    let (reports, errors) = (heard.clone(), heard.clone());
    let report = move |pin: &Pin, call: &mut PropertyCall<'_>| match call.data_as::<KsQuality>() {
        Ok(said) => {
            let _control = pin.filter().control().hold();
            reports.lock().push(Heard::Report(said.context.0, said.proportion, said.delta_time));
            STATUS_SUCCESS
        }
        Err(status) => status,
    };
    let error = move |_: &Pin, call: &mut PropertyCall<'_>| match call.data_as::<KsError>() {
        Ok(said) => {
            errors.lock().push(Heard::Error(said.context.0, said.status.0));
            STATUS_SUCCESS
        }
        Err(status) => status,
    };
    let item = |id| PropertyItem::standard(KSPROPSETID_Quality, id).unwrap();
    let items = vec![item(KSPROPERTY_QUALITY_REPORT).set(report), item(KSPROPERTY_QUALITY_ERROR).set(error)];
    AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Quality, items }])
}

fn name_manager(pin: &ks_client::Pin, handle: u64) -> Result<(), ks_abi::NtStatus> {
    let manager = KsQualityManager { quality_manager: handle, context: Ptr64(0x77) };
    let set = pin.object().set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_QUALITY, &manager);
    set.map_err(|error| error.status)
}

#[test]
fn complaints_of_a_sink_reach_the_manager_from_inside_its_callback() {
    for seed in 1..6 {
        let row = Row::plain(seed, 0);
        let heard = Arc::new(Mutex::new(Vec::new()));
        *row.source().automation.lock() = Some(Arc::new(listening(&heard)));
        *row.sink().automation.lock() = Some(Arc::new(complaining()));
        row.sink().script(|probe, pin| {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                probe.check(&frame);
                pin.report_quality(500, Ticks(4000));
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let graph = row.connect();
        graph.bring(&UP);
        row.source().allow(3);
        row.settle();
        assert!(heard.lock().is_empty(), "nobody listens yet");
        assert_eq!(name_manager(graph.sink(), 0x0dd), Err(STATUS_INVALID_HANDLE));
        // The source's own pin is the manager: it hears that it is too fast.
        name_manager(graph.sink(), graph.source().object().handle().0).unwrap();
        row.source().allow(4);
        row.settle();
        assert_eq!(*heard.lock(), [Heard::Report(0x77, 500, 4000); 4]);
        row.sink().pin().report_quality_error(STATUS_DATA_ERROR);
        row.settle();
        assert_eq!(heard.lock().pop(), Some(Heard::Error(0x77, STATUS_DATA_ERROR.0)));
        name_manager(graph.sink(), 0).unwrap();
        heard.lock().clear();
        row.source().allow(1);
        row.settle();
        assert!(heard.lock().is_empty());
        assert_eq!(row.sink().seen.lock().len(), 8);
        assert_eq!(row.source().allowed.load(SeqCst), 0);
    }
}

#[test]
fn a_report_waits_for_the_mutexes_of_its_thread_and_a_pin_may_be_its_own_manager() {
    let row = Row::plain(1, 0);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut table = listening(&heard);
    table.properties.extend(complaining().properties);
    *row.sink().automation.lock() = Some(Arc::new(table));
    let filter = row.open("sink");
    let pin = create(&filter, 0, ks_abi::KsPinDataFlow::IN, None).unwrap();
    name_manager(&pin, pin.object().handle().0).unwrap();
    {
        // A mutex of the lowest rank: the handler takes one of a higher.
        let mutex = row.io.services().mutex(LockRank::Processing, "a driver's");
        let _held = mutex.hold();
        row.sink().pin().report_quality(900, Ticks(-5));
        assert!(heard.lock().is_empty());
    }
    row.settle();
    assert_eq!(*heard.lock(), [Heard::Report(0x77, 900, -5)]);
    let weak = Arc::downgrade(&row.sink().pin());
    drop(pin);
    row.settle();
    assert!(weak.upgrade().is_none(), "it does not keep itself open");
}
