//! A filter that answers sets of its own: properties that are serialized, methods of each type, events, and a node.

use std::sync::Arc;

use ks_abi::{
    Guid, KSCATEGORY_DATATRANSFORM, KSNODETYPE_VOLUME, KSPROPERTY_TYPE_SERIALIZERAW, KsMultipleItem,
    KsPropertyBoundsLong, NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::Refusal;
use ks_io::sync::Mutex;
use ks_stream::{
    AutomationTable, EventItem, EventSet, Filter, FilterDescriptor, FilterDispatch, FilterInstance, MethodItem,
    MethodSet, Pin, PinInstance, PropertyCall, PropertyItem, PropertyMembers, PropertySet, PropertyValues,
    SERIALIZED_BY_SIZE_QUERY,
};
use zerocopy::IntoBytes;

/// The reference string of the filter.
pub const REFERENCE: &str = "answering";
/// Its properties: a number from 0 to 1000, a list of words, and one with a raw form.
pub const PROPERTIES: Guid = Guid::from_u128(0xA0A0A0A0_0001_4000_8000_000000000001);
/// Its methods: the low two bits of the item are its type.
pub const METHODS: Guid = Guid::from_u128(0xA0A0A0A0_0002_4000_8000_000000000002);
/// Its events 0 and 1.
pub const EVENTS: Guid = Guid::from_u128(0xA0A0A0A0_0003_4000_8000_000000000003);
/// Its topology nodes, of which node 1 answers what the filter does.
pub const NODES: u32 = 2;

const MOST_NUMBER: u32 = 1000;
const MOST_KEPT_BYTES: usize = 4096;

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let categories = [KSCATEGORY_DATATRANSFORM];
    let mut filter = FilterDescriptor::new(REFERENCE, "Answering", &categories, Vec::new(), Arc::new(Kind));
    filter.nodes = vec![KSNODETYPE_VOLUME; NODES as usize];
    filter
}

struct Kind;

impl FilterDispatch for Kind {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Instance { table: table() }))
    }
}

struct Instance {
    table: AutomationTable<Filter>,
}

impl FilterInstance for Instance {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let reason = format!("{} has no pins", pin.filter().name());
        Err(Refusal::new(STATUS_INVALID_PARAMETER, ks_io::Aspect::PinId, reason))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.table)
    }

    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        (node == 1).then_some(&self.table)
    }
}

#[derive(Default)]
struct Held {
    number: u32,
    list: Vec<u8>,
    raw: Vec<u8>,
}

fn keep(place: &mut Vec<u8>, data: &[u8]) -> NtStatus {
    if data.len() > MOST_KEPT_BYTES {
        return STATUS_INVALID_PARAMETER;
    }
    *place = data.to_vec();
    STATUS_SUCCESS
}

fn table() -> AutomationTable<Filter> {
    let list = KsMultipleItem { size: 16, count: 1 }.as_bytes().iter().copied().chain([1; 8]).collect();
    let held = Arc::new(Mutex::new(Held { list, ..Held::default() }));
    let number = {
        let (reads, writes) = (held.clone(), held.clone());
        let bounds = KsPropertyBoundsLong { minimum: 0, maximum: MOST_NUMBER.cast_signed() };
        PropertyItem::new(0)
            .data_bytes(4)
            .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer_value(&reads.lock().number))
            .set(move |_: &Filter, call: &mut PropertyCall<'_>| match call.data_as::<u32>() {
                Ok(number) if number <= MOST_NUMBER => {
                    writes.lock().number = number;
                    STATUS_SUCCESS
                }
                Ok(_) => STATUS_INVALID_PARAMETER,
                Err(status) => status,
            })
            .values(PropertyValues::of_type(19, vec![PropertyMembers::ranges(&[bounds])]))
            .serialized_bytes(4)
    };
    let list = {
        let (reads, writes) = (held.clone(), held.clone());
        PropertyItem::new(1)
            .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer(&reads.lock().list))
            .set(move |_: &Filter, call: &mut PropertyCall<'_>| keep(&mut writes.lock().list, call.data()))
            .serialized_bytes(SERIALIZED_BY_SIZE_QUERY)
    };
    let raw = PropertyItem::new(2).support(move |_: &Filter, call: &mut PropertyCall<'_>| {
        match call.property().flags & KSPROPERTY_TYPE_SERIALIZERAW {
            0 => keep(&mut held.lock().raw, call.data()),
            _ => call.answer(&held.lock().raw),
        }
    });
    let method = |id: u32| {
        MethodItem::new(id, id, move |_: &Filter, call: &mut PropertyCall<'_>| {
            let echoed: Vec<u8> = call.data().iter().rev().take(64).copied().collect();
            call.answer(&echoed)
        })
    };
    AutomationTable {
        properties: vec![PropertySet { set: PROPERTIES, items: vec![number, list, raw] }],
        methods: vec![MethodSet { set: METHODS, items: (0..8).map(method).collect() }],
        events: vec![EventSet { set: EVENTS, items: vec![EventItem::new(0), EventItem::new(1)] }],
    }
}
