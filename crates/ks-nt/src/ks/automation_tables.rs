//! The automation tables that an object or a node of it has had, each made into handlers when it is first asked.
//!
//! The walk of a request: the object's table is found by its descriptor at each request (`filter.rs`, `pin.rs`);
//! [`Tables::at`] gives what was made of it, at once if nothing may have changed since it was looked at last, after a
//! comparison of its bytes otherwise; `automation.rs` makes handlers of one that is new.

use crate::ks::address::Address;
use crate::ks::descriptor::{MOST_ENTRIES, MOST_NODES};
use ks_abi::KsIdentifier;
use ks_abi::kernel::{
    KsAutomationTable, KsEventItem, KsEventSet, KsMethodItem, KsMethodSet, KsPropertyItem, KsPropertyMembersList,
    KsPropertySet, KsPropertyValues,
};
use ks_stream::AutomationTable;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Counts what may have changed a table that was read before.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// A driver has made or edited a table, or memory was freed that may be one: what stands at an address may be another.
pub(super) fn tables_changed() {
    CHANGES.fetch_add(1, Ordering::SeqCst);
}

/// Tables of the first part of a history; each further part has twice as many as the one before.
const FIRST_PART: usize = 4;
const PARTS: usize = 10;
/// The most different tables that an object may have in its life. With the next it answers nothing of its driver's.
const MOST_TABLES: usize = FIRST_PART * ((1 << PARTS) - 1);
/// The most bytes of legal values that tell one table from another.
const MOST_VALUE_BYTES: u64 = 1 << 20;

/// The tables of an object: of the one that its descriptor names now, and of those before, whose handlers may be running.
pub(super) struct Tables<T>(OnceLock<Box<History<T>>>);

struct History<T> {
    /// The one that answered last.
    latest: AtomicUsize,
    parts: [OnceLock<Part<T>>; PARTS],
    nothing: AutomationTable<T>,
}

type Part<T> = Box<[OnceLock<Known<T>>]>;

struct Known<T> {
    at: Address,
    /// The bytes of the table, its sets and its items, by which a table is known again at its address.
    content: Vec<u8>,
    /// The count of changes up to which this is what stands at the address.
    checked: AtomicU64,
    table: AutomationTable<T>,
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Tables(OnceLock::new())
    }
}

impl<T> Tables<T> {
    /// The table that stands at an address now.
    pub(super) fn at(&self, at: Address, make: impl Fn() -> AutomationTable<T>) -> &AutomationTable<T> {
        let changes = CHANGES.load(Ordering::SeqCst);
        let history = self.0.get_or_init(Box::default);
        match history.latest() {
            Some(known) if known.at == at && known.checked.load(Ordering::SeqCst) == changes => &known.table,
            _ => history.search(at, changes, make),
        }
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        History {
            latest: AtomicUsize::new(0),
            parts: [const { OnceLock::new() }; PARTS],
            nothing: AutomationTable::default(),
        }
    }
}

/// The part of the table with this number, and its place there.
fn place(number: usize) -> (usize, usize) {
    let part = (number / FIRST_PART + 1).ilog2() as usize;
    (part, number - FIRST_PART * ((1 << part) - 1))
}

impl<T> History<T> {
    fn latest(&self) -> Option<&Known<T>> {
        let (part, at) = place(self.latest.load(Ordering::Relaxed));
        self.parts.get(part)?.get()?.get(at)?.get()
    }

    fn slot(&self, number: usize) -> &OnceLock<Known<T>> {
        let (part, at) = place(number);
        let made = || (0..FIRST_PART << part).map(|_| OnceLock::new()).collect();
        &self.parts[part].get_or_init(made)[at]
    }

    fn search(&self, at: Address, changes: u64, make: impl Fn() -> AutomationTable<T>) -> &AutomationTable<T> {
        let content = content(at);
        let fresh = || Known { at, content: content.clone(), checked: AtomicU64::new(changes), table: make() };
        for number in 0..MOST_TABLES {
            let known = self.slot(number).get_or_init(fresh);
            if known.at == at && known.content == content {
                // Another thread may have seen a later change already.
                known.checked.fetch_max(changes, Ordering::SeqCst);
                self.latest.store(number, Ordering::Relaxed);
                return &known.table;
            }
        }
        &self.nothing
    }
}

/// The tables of the nodes of an object, by their numbers.
pub(super) struct NodeTables<T>(OnceLock<Box<[Tables<T>]>>);

impl<T> Default for NodeTables<T> {
    fn default() -> Self {
        NodeTables(OnceLock::new())
    }
}

impl<T> NodeTables<T> {
    /// Those of one node; `None`: there can be no such node.
    pub(super) fn of(&self, node: u32) -> Option<&Tables<T>> {
        self.0.get_or_init(|| (0..MOST_NODES).map(|_| Tables::default()).collect()).get(node as usize)
    }
}

/// What tells a table from another one at the same address.
fn content(at: Address) -> Vec<u8> {
    let mut bytes = Vec::new();
    if at.is_null() {
        return bytes;
    }
    let head: KsAutomationTable = at.read();
    bytes.extend_from_slice(head.as_bytes());
    each(head.property_sets_count, head.property_sets.0, size_of::<KsPropertySet>(), |set: KsPropertySet| {
        keep_set(&mut bytes, &set, set.set.0);
        each(set.properties_count, set.property_item.0, head.property_item_size as usize, |item: KsPropertyItem| {
            bytes.extend_from_slice(item.as_bytes());
            each(item.relations_count, item.relations.0, size_of::<KsIdentifier>(), |other: KsIdentifier| {
                bytes.extend_from_slice(other.as_bytes());
            });
            if !item.values.is_null() {
                keep_values(&mut bytes, Address(item.values.0));
            }
        });
    });
    each(head.method_sets_count, head.method_sets.0, size_of::<KsMethodSet>(), |set: KsMethodSet| {
        keep_set(&mut bytes, &set, set.set.0);
        each(set.methods_count, set.method_item.0, head.method_item_size as usize, |item: KsMethodItem| {
            bytes.extend_from_slice(item.as_bytes());
        });
    });
    each(head.event_sets_count, head.event_sets.0, size_of::<KsEventSet>(), |set: KsEventSet| {
        keep_set(&mut bytes, &set, set.set.0);
        each(set.events_count, set.event_item.0, head.event_item_size as usize, |item: KsEventItem| {
            bytes.extend_from_slice(item.as_bytes());
        });
    });
    bytes
}

/// Looks at each element of an array in the driver's memory.
fn each<E: FromBytes>(count: u32, start: u64, stride: usize, mut look: impl FnMut(E)) {
    let count = if start == 0 { 0 } else { count.min(MOST_ENTRIES) };
    (0..count as usize).for_each(|at| look(Address(start).get(at * stride)));
}

fn keep_set(bytes: &mut Vec<u8>, set: &(impl IntoBytes + Immutable), guid: u64) {
    bytes.extend_from_slice(set.as_bytes());
    if guid != 0 {
        bytes.extend(Address(guid).bytes(16));
    }
}

fn keep_values(bytes: &mut Vec<u8>, values: Address) {
    let values: KsPropertyValues = values.read();
    bytes.extend_from_slice(values.as_bytes());
    let stride = size_of::<KsPropertyMembersList>();
    each(values.members_list_count, values.members_list.0, stride, |list: KsPropertyMembersList| {
        bytes.extend_from_slice(list.as_bytes());
        let head = list.members_header;
        let most = u64::from(head.members_size) * u64::from(head.members_count);
        if !list.members.is_null() {
            bytes.extend(Address(list.members.0).bytes(most.min(MOST_VALUE_BYTES) as usize));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_stream::MethodSet;

    #[test]
    fn parts_of_a_history_follow_each_other_without_a_gap() {
        let mut next = (0, 0);
        for number in 0..MOST_TABLES {
            assert_eq!(place(number), next, "{number}");
            next = if next.1 + 1 == FIRST_PART << next.0 { (next.0 + 1, 0) } else { (next.0, next.1 + 1) };
        }
        assert_eq!(next, (PARTS, 0));
    }

    #[test]
    fn a_table_that_is_edited_in_place_is_read_anew_and_known_again() {
        let mut table = KsAutomationTable::default();
        let tables = Tables::<()>::default();
        let at = Address(&raw mut table as u64);
        // How many handlers were made says which table it was.
        let made = std::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            let sets = (0..made.get()).map(|_| MethodSet { set: ks_abi::Guid::NULL, items: Vec::new() });
            AutomationTable { methods: sets.collect(), ..AutomationTable::default() }
        };
        let ask = || tables.at(at, make).methods.len();
        assert_eq!((ask(), ask()), (1, 1));
        for size in 1..200u32 {
            at.put(std::mem::offset_of!(KsAutomationTable, method_item_size), size);
            tables_changed();
            assert_eq!((ask(), ask()), (1 + size as usize, 1 + size as usize), "edited");
        }
        at.put(std::mem::offset_of!(KsAutomationTable, method_item_size), 0u32);
        tables_changed();
        assert_eq!((ask(), made.get()), (1, 200), "the first again");
    }
}
