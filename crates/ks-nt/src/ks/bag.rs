//! Object bags: memory that goes when its object goes.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::automation_tables::tables_changed;
use crate::ks::kernel;
use crate::ks::misuse::misuse;
use crate::ks::objects::{self, Object};
use crate::report::BugCheck;
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Block;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAllocateObjectBag, KsFreeObjectBag, KsAddItemToObjectBag, KsRemoveItemFromObjectBag, KsCopyObjectBagItems, _KsEdit,
);

/// A bag. Its handle is the address of a block that means nothing to a driver.
pub(crate) struct Bag {
    handle: Block,
    /// In the order in which they were added; they are freed in reverse.
    items: Mutex<Vec<u64>>,
}

/// An item in at least one bag.
struct Item {
    bags: u32,
    free: Address,
}

/// Items by address: an item lives until the last of its bags lets it go.
static ITEMS: LazyLock<Mutex<HashMap<u64, Item>>> = LazyLock::new(|| Mutex::new(HashMap::new()));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bag {
    /// An empty bag, known by its handle.
    pub(crate) fn new() -> Result<Arc<Bag>, NtStatus> {
        let handle = Block::zeroed(16, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let bag = Arc::new(Bag { handle, items: Mutex::new(Vec::new()) });
        objects::insert(bag.handle(), Object::Bag(bag.clone()));
        Ok(bag)
    }

    /// What a driver is lent.
    pub(crate) fn handle(&self) -> u64 {
        self.handle.address()
    }

    fn add(&self, item: u64, free: Address) {
        let mut items = lock(&self.items);
        if items.contains(&item) {
            return;
        }
        items.push(item);
        lock(&ITEMS).entry(item).or_insert(Item { bags: 0, free }).bags += 1;
    }

    /// Adds pool memory of our own.
    pub(crate) fn keep(&self, item: u64) {
        self.add(item, Address::NULL);
    }

    fn contains(&self, item: u64) -> bool {
        lock(&self.items).contains(&item)
    }

    /// Takes an item out: how many bags had it, and its free routine when this was the last.
    fn take(&self, item: u64) -> (u32, Option<Address>) {
        {
            let mut items = lock(&self.items);
            let Some(at) = items.iter().rposition(|known| *known == item) else { return (0, None) };
            items.remove(at);
        }
        let mut all = lock(&ITEMS);
        let Some(known) = all.get_mut(&item) else { return (0, None) };
        let before = known.bags;
        known.bags -= 1;
        if known.bags > 0 {
            return (before, None);
        }
        (before, all.remove(&item).map(|item| item.free))
    }

    /// Takes an item out, if it is in it, and frees it when this was the last bag of it.
    pub(crate) fn discard(&self, item: u64) {
        if let (_, Some(free)) = self.take(item) {
            free_item(item, free);
        }
    }

    /// Frees what is in it, last in first out, and forgets the handle. The owner goes away after this.
    ///
    /// Decision: the order is the reverse of the adding, as destructors run; the pages say none.
    pub(crate) fn free(&self) {
        loop {
            let Some(item) = lock(&self.items).last().copied() else { break };
            if let (_, Some(free)) = self.take(item) {
                free_item(item, free);
            }
        }
        drop(objects::remove(self.handle()));
    }
}

/// A free routine of NULL stands for the pool's.
fn free_item(item: u64, free: Address) {
    tables_changed();
    match Routine::optional(free, "the free routine of an item in an object bag") {
        Some(routine) => {
            routine.call1(item);
        }
        None => kernel::free_pool(item),
    }
}

// ks-coverage: KsAllocateObjectBag done test=bags_free_in_reverse_order_and_share_items
pub(crate) unsafe extern "win64" fn KsAllocateObjectBag(device: Address, handle: Address) -> NtStatus {
    if objects::device(device, "KsAllocateObjectBag").is_none() {
        return STATUS_INVALID_PARAMETER;
    }
    match Bag::new() {
        Ok(bag) => {
            handle.put(0, bag.handle());
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsFreeObjectBag done test=bags_free_in_reverse_order_and_share_items
pub(crate) unsafe extern "win64" fn KsFreeObjectBag(handle: Address) {
    if let Some(bag) = objects::bag(handle, "KsFreeObjectBag") {
        bag.free();
    }
}

// ks-coverage: KsAddItemToObjectBag done test=bags_free_in_reverse_order_and_share_items
pub(crate) unsafe extern "win64" fn KsAddItemToObjectBag(handle: Address, item: u64, free: Address) -> NtStatus {
    match objects::bag(handle, "KsAddItemToObjectBag") {
        Some(bag) => {
            bag.add(item, free);
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

// ks-coverage: KsRemoveItemFromObjectBag done test=bags_free_in_reverse_order_and_share_items
// ks-coverage: KsDiscard done test=bags_free_in_reverse_order_and_share_items
pub(crate) unsafe extern "win64" fn KsRemoveItemFromObjectBag(handle: Address, item: u64, free: u8) -> u32 {
    let Some(bag) = objects::bag(handle, "KsRemoveItemFromObjectBag") else { return 0 };
    let (before, routine) = bag.take(item);
    // One that the driver frees itself may be a table, too.
    tables_changed();
    if let Some(routine) = routine.filter(|_| free != 0) {
        free_item(item, routine);
    }
    before
}

// ks-coverage: KsCopyObjectBagItems done test=bags_free_in_reverse_order_and_share_items
pub(crate) unsafe extern "win64" fn KsCopyObjectBagItems(to: Address, from: Address) -> NtStatus {
    let routine = "KsCopyObjectBagItems";
    let (Some(to), Some(from)) = (objects::bag(to, routine), objects::bag(from, routine)) else {
        return STATUS_INVALID_PARAMETER;
    };
    let items = lock(&from.items).clone();
    for item in items {
        // It is in a bag, so its free routine is known.
        to.add(item, Address::NULL);
    }
    STATUS_SUCCESS
}

/// Makes sure that what `place` points at is in the bag, so that the driver may write it: a copy of `new` bytes takes
/// the place of what is not, or of what has another size.
// ks-coverage: _KsEdit done test=bags_free_in_reverse_order_and_share_items,a_driver_merges_tables_and_edits_descriptors_while_it_runs
pub(crate) unsafe extern "win64" fn _KsEdit(handle: Address, place: Address, new: u32, old: u32, tag: u32) -> NtStatus {
    let Some(bag) = objects::bag(handle, "KsEdit") else { return STATUS_INVALID_PARAMETER };
    if place.is_null() {
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "KsEdit", "the pointer to edit is at NULL");
        return STATUS_INVALID_PARAMETER;
    }
    let item = place.follow(0);
    let own = bag.contains(item.0);
    // What the driver will write there is seen by the next request.
    tables_changed();
    if own && new == old {
        return STATUS_SUCCESS;
    }
    let Some(copy) = kernel::allocate_pool(new as usize, tag) else { return STATUS_INSUFFICIENT_RESOURCES };
    let kept = if item.is_null() { 0 } else { new.min(old) as usize };
    let mut bytes = vec![0; new as usize];
    item.read_into(&mut bytes[..kept]);
    copy.write_bytes(&bytes);
    bag.add(copy.0, Address::NULL);
    place.put(0, copy.0);
    if own && let (_, Some(free)) = bag.take(item.0) {
        free_item(item.0, free);
    }
    STATUS_SUCCESS
}
