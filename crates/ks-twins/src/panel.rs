//! `panel`: a filter without pins that is all knobs. Properties with values, ranges and relations, a method, an event that
//! is raised when a value changes, and a topology node with a property of its own.
//!
//! The twin of `drivers/panel/panel.c`.

use std::sync::Arc;

use ks_abi::{
    Guid, KSCATEGORY_RENDER, KSMETHOD_TYPE_MODIFY, KSPROPERTY_MEMBER_FLAG_DEFAULT, KSPROPERTY_MEMBER_STEPPEDRANGES,
    KSPROPERTY_MEMBER_VALUES, KSPROPTYPESETID_General, KsIdentifier, KsPropertyBoundsLong, KsPropertySteppingLong,
    KspNode, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, EventItem, EventSet, Filter, FilterDescriptor, FilterDispatch, FilterInstance, MethodItem,
    MethodSet, Pin, PinInstance, PropertyCall, PropertyItem, PropertyMembers, PropertySet, PropertyValues,
};
use zerocopy::IntoBytes;

use crate::Surroundings;

const PANEL_SET: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e02);
const PANEL_METHODS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e03);
const PANEL_EVENTS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e04);
const PANEL_NODE: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e05);

const LEVEL: u32 = 0;
const NAME: u32 = 1;
const FAILING: u32 = 2;
const ADD: u32 = 0;
const CHANGED: u32 = 0;

const LEVEL_LEAST: i32 = -100;
const LEVEL_MOST: i32 = 100;
const LEVEL_STEP: i32 = 5;
const LEVEL_DEFAULT: i32 = 10;
const VT_I4: u32 = 3;
const MOST_NAME_BYTES: usize = 32;

/// What the filter says of itself. Of its two nodes the second one has a table.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C06}";
    let mut filter = FilterDescriptor::new(reference, "panel", &[KSCATEGORY_RENDER], Vec::new(), Arc::new(Panel));
    filter.nodes = vec![PANEL_NODE, PANEL_NODE];
    Ok(filter)
}

struct Panel;

impl FilterDispatch for Panel {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let values = Values { level: LEVEL_DEFAULT, node_level: 0, name: b"panel\0".to_vec() };
        let values = Arc::new(Mutex::new(values));
        Ok(Arc::new(PanelFilter { automation: automation(&values), node: node_automation(&values) }))
    }
}

struct Values {
    level: i32,
    node_level: i32,
    name: Vec<u8>,
}

struct PanelFilter {
    automation: AutomationTable<Filter>,
    node: AutomationTable<Filter>,
}

impl FilterInstance for PanelFilter {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::PinId, "a panel has no pins"))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }

    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        (node == 1).then_some(&self.node)
    }
}

/// Range and default of the level, and the property that it goes with.
fn level_item() -> PropertyItem<Filter> {
    let range = KsPropertySteppingLong {
        stepping_delta: LEVEL_STEP as u32,
        bounds: KsPropertyBoundsLong { minimum: LEVEL_LEAST, maximum: LEVEL_MOST },
        ..KsPropertySteppingLong::default()
    };
    let list = |kind, flags, members: &[u8]| PropertyMembers {
        kind,
        flags,
        member_bytes: members.len() as u32,
        members: members.to_vec(),
    };
    let members = vec![
        list(KSPROPERTY_MEMBER_STEPPEDRANGES, 0, range.as_bytes()),
        list(KSPROPERTY_MEMBER_VALUES, KSPROPERTY_MEMBER_FLAG_DEFAULT, LEVEL_DEFAULT.as_bytes()),
    ];
    let value_type = KsIdentifier { set: KSPROPTYPESETID_General, id: VT_I4, flags: 0 };
    let mut item = PropertyItem::new(LEVEL).data_bytes(size_of::<i32>()).values(PropertyValues { value_type, members });
    item.relations = vec![KsIdentifier { set: PANEL_SET, id: NAME, flags: 0 }];
    item
}

fn automation(values: &Arc<Mutex<Values>>) -> AutomationTable<Filter> {
    let [get_level, set_level, get_name, set_name] = [(); 4].map(|()| values.clone());
    let level = level_item()
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| {
            let level = get_level.lock().level;
            call.answer_value(&level)
        })
        .set(move |filter: &Filter, call: &mut PropertyCall<'_>| {
            let level: i32 = match call.data_as() {
                Ok(level) => level,
                Err(status) => return status,
            };
            if !(LEVEL_LEAST..=LEVEL_MOST).contains(&level) || level % LEVEL_STEP != 0 {
                return STATUS_INVALID_PARAMETER;
            }
            set_level.lock().level = level;
            filter.generate_events(PANEL_EVENTS, CHANGED);
            STATUS_SUCCESS
        });
    // Of variable size: the answer says how much room it needs.
    let name = PropertyItem::new(NAME)
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| {
            let name = get_name.lock().name.clone();
            call.answer(&name)
        })
        .set(move |_: &Filter, call: &mut PropertyCall<'_>| {
            if call.data().len() > MOST_NAME_BYTES {
                return STATUS_INVALID_BUFFER_SIZE;
            }
            set_name.lock().name = call.data().to_vec();
            STATUS_SUCCESS
        });
    let fail = |_: &Filter, _: &mut PropertyCall<'_>| STATUS_DEVICE_BUSY;
    let failing = PropertyItem::new(FAILING).get(fail).set(fail);
    // Adds the number that follows the method to the one in the data.
    let addend_at = size_of::<KsIdentifier>();
    let add = MethodItem::new(ADD, KSMETHOD_TYPE_MODIFY, move |_: &Filter, call: &mut PropertyCall<'_>| {
        let number = |bytes: &[u8]| bytes.get(..4)?.try_into().ok().map(u32::from_le_bytes);
        let (addend, sum) = (call.request().get(addend_at..).and_then(number), number(call.data()));
        match (addend, sum) {
            (Some(addend), Some(sum)) => call.answer_value(&sum.wrapping_add(addend)),
            _ => STATUS_BUFFER_TOO_SMALL,
        }
    });
    // KSMETHOD and a ULONG, at the alignment of KSMETHOD.
    let add = add.request_bytes(addend_at + 8).data_bytes(size_of::<u32>());
    AutomationTable {
        properties: vec![PropertySet { set: PANEL_SET, items: vec![level, name, failing] }],
        methods: vec![MethodSet { set: PANEL_METHODS, items: vec![add] }],
        events: vec![EventSet { set: PANEL_EVENTS, items: vec![EventItem::new(CHANGED)] }],
    }
}

fn node_automation(values: &Arc<Mutex<Values>>) -> AutomationTable<Filter> {
    let [get, set] = [(); 2].map(|()| values.clone());
    let level = PropertyItem::new(LEVEL)
        .request_bytes(size_of::<KspNode>())
        .data_bytes(size_of::<i32>())
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| match call.request_as::<KspNode>() {
            Ok(request) => {
                let level = get.lock().node_level.wrapping_add(1000 * request.node_id as i32);
                call.answer_value(&level)
            }
            Err(status) => status,
        })
        .set(move |_: &Filter, call: &mut PropertyCall<'_>| match call.data_as() {
            Ok(level) => {
                set.lock().node_level = level;
                STATUS_SUCCESS
            }
            Err(status) => status,
        });
    AutomationTable::of_properties(vec![PropertySet { set: PANEL_SET, items: vec![level] }])
}
