//! A5, the sizing call and the data call disagree: a driver that says one size and answers with another never writes
//! beyond the caller's room, and the two-call protocol keeps its statuses.

use crate::support::specimen::*;
use crate::{bytes_of, with};
use ks_abi::*;
use ks_io::sync::Arc;
use ks_io::sync::atomic::{AtomicUsize, Ordering};
use ks_stream::{AutomationTable, Filter, PropertyCall, PropertyItem, PropertySet};

const SET: Guid = Guid::from_u128(0x77777777_2222_3333_4444_555555555555);
const GROWS: u32 = 0;
const CLAIMS: u32 = 1;
const FAILS_WITH_INFORMATION: u32 = 2;
const RELATED: u32 = 3;

fn liar() -> AutomationTable<Filter> {
    let calls = Arc::new(AtomicUsize::new(0));
    let grows = move |_: &Filter, call: &mut PropertyCall<'_>| {
        // Sixteen bytes when it is asked how many, 4096 when it is asked for them.
        let bytes = if calls.fetch_add(1, Ordering::Relaxed) == 0 { 16 } else { 4096 };
        call.answer(&vec![0x5A; bytes])
    };
    let claims = |_: &Filter, call: &mut PropertyCall<'_>| {
        let _ = call.answer(&[0x5A; 4]);
        call.set_information(1 << 20);
        STATUS_SUCCESS
    };
    let fails = |_: &Filter, call: &mut PropertyCall<'_>| {
        let _ = call.answer(&[0x5A; 8]);
        call.set_information(1 << 20);
        STATUS_UNSUCCESSFUL
    };
    let related = KsIdentifier::new(SET, GROWS, 0);
    let items = vec![
        PropertyItem::new(GROWS).get(grows),
        PropertyItem::new(CLAIMS).get(claims),
        PropertyItem::new(FAILS_WITH_INFORMATION).get(fails),
        PropertyItem { relations: vec![related; 2], ..PropertyItem::new(RELATED).get(|_, call| call.answer(&[1; 24])) },
    ];
    AutomationTable::of_properties(vec![PropertySet { set: SET, items }])
}

fn get(id: u32) -> Vec<u8> {
    bytes_of(&property(SET, id, KSPROPERTY_TYPE_GET))
}

/// Asks with room for so many bytes in the middle of a buffer; what stands around them must stay.
fn ask(bench: &Bench, request: &[u8], room: usize) -> (ks_io::Outcome, Vec<u8>) {
    let mut buffer = vec![0xC5; room + 8192];
    let outcome = bench.property(bench.filter, request, &mut buffer[4096..4096 + room]);
    assert!(buffer[..4096].iter().chain(&buffer[4096 + room..]).all(|byte| *byte == 0xC5), "the canaries stay");
    (outcome, buffer[4096..4096 + room].to_vec())
}

#[test]
fn a5_an_answer_that_has_grown_does_not_leave_its_buffer() {
    let bench = bench_with(|_| (), Some(liar()), None);
    let (size, _) = ask(&bench, &get(GROWS), 0);
    assert_eq!((size.status, size.information), (STATUS_BUFFER_OVERFLOW, 16));
    let (outcome, answer) = ask(&bench, &get(GROWS), 16);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0));
    assert_eq!(answer, [0xC5; 16], "and none of it is there");
    let (outcome, _) = ask(&bench, &get(GROWS), 4096);
    assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 4096));
}

#[test]
fn a5_information_is_never_more_than_the_room() {
    let bench = bench_with(|_| (), Some(liar()), None);
    for room in [4, 5, 64] {
        let (outcome, answer) = ask(&bench, &get(CLAIMS), room);
        assert_eq!((outcome.status, outcome.information), (STATUS_DEVICE_PROTOCOL_ERROR, 0), "{room} bytes");
        assert_eq!(answer, vec![0xC5; room], "a lie answers nothing");
        let (outcome, answer) = ask(&bench, &get(FAILS_WITH_INFORMATION), room);
        assert_eq!((outcome.status, outcome.information), (STATUS_UNSUCCESSFUL, 0));
        assert_eq!(answer, vec![0xC5; room], "a failure answers nothing");
    }
}

#[test]
fn a5_the_two_calls_have_their_statuses() {
    let bench = bench_with(|_| (), Some(liar()), None);
    let relations = with(&get(RELATED), 20, &KSPROPERTY_TYPE_RELATIONS.to_le_bytes());
    let whole = 8 + 2 * 24;
    for (request, bytes) in [(get(RELATED), 24), (relations, whole)] {
        let (outcome, _) = ask(&bench, &request, 0);
        assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, bytes));
        // Two numbers of room would be the head of a list, which is an answer of its own.
        for room in (1..bytes).filter(|room| *room != 8) {
            let (outcome, answer) = ask(&bench, &request, room);
            assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0), "{room} bytes");
            assert_eq!(answer, vec![0xC5; room]);
        }
        let (outcome, _) = ask(&bench, &request, bytes + 100);
        assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, bytes));
    }
}
