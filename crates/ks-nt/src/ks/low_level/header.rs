//! Device headers, object headers and create items: which objects there are below a device or another object, and which
//! routines their requests go to.

use super::request::DriverIrp;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::ntoskrnl::scheduler::Changed;
use ks_abi::kernel::{
    CreateParameters, DeviceObject, IoSecurityContext, IoStackLocation, KSCREATE_ITEM_NOPARAMETERS,
    KSCREATE_ITEM_WILDCARD, KsObjectCreateItem, UnicodeString,
};
use ks_abi::{
    NtStatus, Ptr64, STATUS_ALLOTTED_SPACE_EXCEEDED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};
use ks_mem::Block;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAllocateDeviceHeader, KsFreeDeviceHeader, KsAllocateObjectHeader, KsFreeObjectHeader,
    KsAddObjectCreateItemToDeviceHeader, KsAddObjectCreateItemToObjectHeader, KsAllocateObjectCreateItem,
    KsFreeObjectCreateItem, KsFreeObjectCreateItemsByContext, KsQueryObjectCreateItem, KsQueryObjectAccessMask,
    KsSetDevicePnpAndBaseObject, KsQueryDevicePnpObject, KsSetTargetDeviceObject, KsSetTargetState,
    KsRecalculateStackDepth, KsSetPowerDispatch, KsiQueryObjectCreateItemsPresent,
);

/// The most create items that a list may have.
const MOST_ITEMS: u32 = 4096;
const ITEM_BYTES: usize = size_of::<KsObjectCreateItem>();

/// One create item: in the driver's memory, or in a copy of ours.
struct Item {
    address: Address,
    /// The copy, and whom to tell when it goes.
    copy: Option<(Block, Option<Routine>)>,
}

impl Item {
    /// A copy of an item, whose name is copied with it.
    fn copied(from: Address, told: Option<Routine>) -> Result<Item, NtStatus> {
        let mut item: KsObjectCreateItem = from.read();
        let name = Address(item.object_class.buffer.0).bytes(item.object_class.length.into());
        let block = Block::zeroed(ITEM_BYTES + name.len() + 2, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.write_bytes(ITEM_BYTES, &name);
        item.object_class = UnicodeString {
            length: item.object_class.length,
            maximum_length: item.object_class.length.saturating_add(2),
            buffer: Ptr64(block.address() + ITEM_BYTES as u64),
            ..UnicodeString::default()
        };
        block.write(0, &item);
        Ok(Item { address: Address(block.address()), copy: Some((block, told)) })
    }

    fn fields(&self) -> KsObjectCreateItem {
        self.address.read()
    }

    fn class(&self) -> String {
        text(&self.fields().object_class)
    }
}

fn text(string: &UnicodeString) -> String {
    let bytes = Address(string.buffer.0).bytes(usize::from(string.length) & !1);
    let units: Vec<u16> = bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16_lossy(&units)
}

/// The create items of a device or object, oldest first. Each lives at its address as long as it is listed.
#[derive(Default)]
pub(super) struct CreateItems(Mutex<Vec<Item>>);

/// What a create request's name asks for.
pub(super) struct Wanted {
    pub(super) item: Address,
    pub(super) routine: Routine,
}

impl CreateItems {
    fn of_list(count: u32, list: Address) -> Result<CreateItems, NtStatus> {
        if count > MOST_ITEMS || (count > 0 && list.is_null()) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let items =
            (0..count as usize).map(|at| Item { address: list.at(at * ITEM_BYTES), copy: None }).collect::<Vec<_>>();
        Ok(CreateItems(Mutex::new(items)))
    }

    fn list(&self) -> MutexGuard<'_, Vec<Item>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item for a name: the one of its class, or else the wildcard.
    ///
    /// Decision: a name is its class up to a backslash and then parameters. Letters are compared without regard to case,
    /// as those of an interface's link are. An item that takes no parameters does not match a name that has some.
    pub(super) fn find(&self, name: &str) -> Option<Wanted> {
        let name = name.strip_prefix('\\').unwrap_or(name);
        let (class, parameters) = name.split_once('\\').unwrap_or((name, ""));
        let list = self.list();
        let usable = list.iter().filter(|item| !item.fields().create.is_null());
        let fits = |item: &&Item| {
            let flags = item.fields().flags;
            let bare = flags & KSCREATE_ITEM_NOPARAMETERS == 0 || parameters.is_empty();
            flags & KSCREATE_ITEM_WILDCARD == 0 && bare && item.class().eq_ignore_ascii_case(class)
        };
        let item = usable.clone().find(fits);
        let item = item.or_else(|| usable.clone().find(|item| item.fields().flags & KSCREATE_ITEM_WILDCARD != 0))?;
        let routine = Routine::optional(Address(item.fields().create.0), "a create item's Create")?;
        Some(Wanted { item: item.address, routine })
    }

    /// Fills the first empty item.
    fn fill(&self, create: u64, context: u64, class: Address, security: u64) -> NtStatus {
        let list = self.list();
        let Some(empty) = list.iter().find(|item| item.fields().create.is_null()) else {
            return STATUS_ALLOTTED_SPACE_EXCEEDED;
        };
        let units = (0..=usize::from(u16::MAX / 2) - 1).take_while(|at| class.get::<u16>(2 * at) != 0).count();
        let bytes = 2 * units as u16;
        let item = KsObjectCreateItem {
            create: Ptr64(create),
            context: Ptr64(context),
            object_class: UnicodeString {
                length: bytes,
                maximum_length: bytes + 2,
                buffer: Ptr64(class.0),
                ..UnicodeString::default()
            },
            security_descriptor: Ptr64(security),
            ..KsObjectCreateItem::default()
        };
        empty.address.put(0, item);
        STATUS_SUCCESS
    }

    fn add(&self, item: Item) {
        self.list().push(item);
    }

    /// Takes the chosen items out; their callbacks run with nothing locked.
    fn free(&self, chosen: impl Fn(&Item) -> bool) -> NtStatus {
        let gone: Vec<Item> = self.list().extract_if(.., |item| chosen(item)).collect();
        if gone.is_empty() {
            return STATUS_OBJECT_NAME_NOT_FOUND;
        }
        for item in &gone {
            if let Some((_, Some(told))) = &item.copy {
                told.call1(item.address.0);
            }
        }
        STATUS_SUCCESS
    }

    fn free_all(&self) {
        let _ = self.free(|_| true);
    }
}

/// What stands behind a KSDEVICE_HEADER.
pub(crate) struct DeviceHeader {
    block: Block,
    items: CreateItems,
    state: Mutex<DeviceState>,
    security: SecurityLock,
}

#[derive(Default)]
struct DeviceState {
    pnp: u64,
    base: u64,
    /// Objects with a target, and objects with a power routine.
    objects: Vec<Weak<ObjectHeader>>,
}

impl DeviceHeader {
    /// The header in the first word of a device's extension, if the driver put one there.
    pub(super) fn of_device(device: Address) -> Option<Arc<DeviceHeader>> {
        let extension = device.some()?.follow(offset_of!(DeviceObject, device_extension)).some()?;
        match objects::find(extension.follow(0)) {
            Some(Object::HeaderOfDevice(header)) => Some(header),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> &CreateItems {
        &self.items
    }

    pub(super) fn security_lock(&self) -> &SecurityLock {
        &self.security
    }

    pub(super) fn pnp(&self) -> Address {
        Address(self.state().pnp)
    }

    fn state(&self) -> MutexGuard<'_, DeviceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that joined, oldest first.
    fn objects(&self) -> Vec<Arc<ObjectHeader>> {
        self.state().objects.iter().filter_map(Weak::upgrade).collect()
    }

    fn join(&self, object: &Arc<ObjectHeader>) {
        let mut state = self.state();
        state.objects.retain(|known| known.strong_count() > 0);
        if !state.objects.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(object))) {
            state.objects.push(Arc::downgrade(object));
        }
    }

    /// Calls the power routine of every object that has one.
    pub(super) fn dispatch_power(&self, irp: Address) {
        for object in self.objects() {
            let (routine, context) = object.state().power;
            if let Some(routine) = Routine::optional(routine, "a power dispatch routine") {
                let answer = crate::ks::address::status(routine.call2(context, irp.0));
                if answer != STATUS_SUCCESS {
                    misuse::misuse(
                        crate::report::BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
                        "KsDefaultDispatchPower",
                        format!("a power dispatch routine returned {answer}; only STATUS_SUCCESS is allowed"),
                    );
                }
            }
        }
    }
}

/// The security lock of a device: shared by those who look, alone for who changes.
#[derive(Default)]
pub(super) struct SecurityLock {
    /// How many share it; -1 for one that has it alone.
    holders: Mutex<i32>,
    free: Changed,
}

impl SecurityLock {
    pub(super) fn acquire(&self, alone: Alone) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        while *holders < 0 || (alone == Alone::Yes && *holders > 0) {
            holders = self.free.wait(&self.holders, holders);
        }
        *holders = if alone == Alone::Yes { -1 } else { *holders + 1 };
    }

    pub(super) fn release(&self, routine: &'static str) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        match *holders {
            0 => misuse::misuse(
                crate::report::BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
                routine,
                "the security lock is released and nobody holds it",
            ),
            -1 => *holders = 0,
            more => *holders = more - 1,
        }
        self.free.notify_all();
    }
}

/// Does an acquirer of the security lock want nobody beside it?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Yes,
    No,
}

/// What stands behind a KSOBJECT_HEADER.
pub(crate) struct ObjectHeader {
    block: Block,
    items: CreateItems,
    /// The create item that the object was made by.
    item: Address,
    access: u32,
    table: Address,
    device: Address,
    state: Mutex<ObjectState>,
}

#[derive(Default)]
struct ObjectState {
    target: Address,
    enabled: bool,
    power: (Address, u64),
}

impl ObjectHeader {
    /// A header for the object that a create request makes; its address.
    pub(super) fn make(count: u32, list: Address, irp: Address, table: Address) -> Result<u64, NtStatus> {
        let items = CreateItems::of_list(count, list)?;
        let block = Block::zeroed(16, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let (item, access, device) = match irp.some() {
            None => (Address::NULL, 0, Address::NULL),
            Some(irp) => {
                let irp = DriverIrp::new(irp);
                let create: CreateParameters = irp.stack().get(offset_of!(IoStackLocation, parameters));
                let access = Address(create.security_context.0)
                    .some()
                    .map_or(0, |security| security.get(offset_of!(IoSecurityContext, desired_access)));
                (Address(irp.storage(0)), access, irp.device_object())
            }
        };
        let header = Arc::new(ObjectHeader { block, items, item, access, table, device, state: Mutex::default() });
        let address = header.block.address();
        objects::insert(address, Object::FileHeader(header));
        Ok(address)
    }

    /// Frees a header that [`ObjectHeader::make`] made.
    pub(super) fn free(header: u64) {
        if let Some(Object::FileHeader(header)) = objects::remove(header) {
            header.items.free_all();
        }
    }

    /// The header that a file object's FsContext starts with.
    pub(super) fn of_file(file: Address) -> Option<Arc<ObjectHeader>> {
        use ks_abi::kernel::FileObject;
        let context = file.some()?.follow(offset_of!(FileObject, fs_context)).some()?;
        match objects::find(context.follow(0)) {
            Some(Object::FileHeader(header)) => Some(header),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> &CreateItems {
        &self.items
    }

    /// The KSDISPATCH_TABLE.
    pub(super) fn table(&self) -> Address {
        self.table
    }

    /// The create item that it was made by.
    pub(super) fn create_item(&self) -> Address {
        self.item
    }

    fn state(&self) -> MutexGuard<'_, ObjectState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_device(self: &Arc<ObjectHeader>) {
        if let Some(device) = DeviceHeader::of_device(self.device) {
            device.join(self);
        }
    }
}

pub(super) fn device(header: Address, routine: &'static str) -> Option<Arc<DeviceHeader>> {
    match objects::find(header) {
        Some(Object::HeaderOfDevice(header)) => Some(header),
        _ => {
            misuse::dead(routine, "KSDEVICE_HEADER", header.0);
            None
        }
    }
}

fn object(header: Address, routine: &'static str) -> Option<Arc<ObjectHeader>> {
    match objects::find(header) {
        Some(Object::FileHeader(header)) => Some(header),
        _ => {
            misuse::dead(routine, "KSOBJECT_HEADER", header.0);
            None
        }
    }
}

// ks-coverage: KsAllocateDeviceHeader done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsAllocateDeviceHeader(result: Address, count: u32, list: Address) -> NtStatus {
    let items = match CreateItems::of_list(count, list) {
        Ok(items) => items,
        Err(status) => return status,
    };
    let Ok(block) = Block::zeroed(16, 16) else { return STATUS_INSUFFICIENT_RESOURCES };
    let header = Arc::new(DeviceHeader { block, items, state: Mutex::default(), security: SecurityLock::default() });
    let address = header.block.address();
    objects::insert(address, Object::HeaderOfDevice(header));
    result.put(0, address);
    STATUS_SUCCESS
}

// ks-coverage: KsFreeDeviceHeader done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsFreeDeviceHeader(header: Address) {
    if let Some(found) = device(header, "KsFreeDeviceHeader") {
        found.items.free_all();
        drop(objects::remove(header.0));
    }
}

/// Frees the header of a device that goes, if there is one.
pub(super) fn free_device_header(device: Address) {
    if let Some(header) = DeviceHeader::of_device(device) {
        header.items.free_all();
        drop(objects::remove(header.block.address()));
    }
}

// ks-coverage: KsAllocateObjectHeader done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsAllocateObjectHeader(
    result: Address,
    count: u32,
    list: Address,
    irp: Address,
    table: Address,
) -> NtStatus {
    match ObjectHeader::make(count, list, irp, table) {
        Ok(header) => {
            result.put(0, header);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsFreeObjectHeader done test=a_header_that_was_freed_is_none_any_more
pub(crate) unsafe extern "win64" fn KsFreeObjectHeader(header: Address) {
    if object(header, "KsFreeObjectHeader").is_some() {
        ObjectHeader::free(header.0);
    }
}

// ks-coverage: KsAddObjectCreateItemToDeviceHeader done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsAddObjectCreateItemToDeviceHeader(
    header: Address,
    create: u64,
    context: u64,
    class: Address,
    security: u64,
) -> NtStatus {
    device(header, "KsAddObjectCreateItemToDeviceHeader")
        .map_or(STATUS_INVALID_PARAMETER, |header| header.items.fill(create, context, class, security))
}

// ks-coverage: KsAddObjectCreateItemToObjectHeader done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsAddObjectCreateItemToObjectHeader(
    header: Address,
    create: u64,
    context: u64,
    class: Address,
    security: u64,
) -> NtStatus {
    object(header, "KsAddObjectCreateItemToObjectHeader")
        .map_or(STATUS_INVALID_PARAMETER, |header| header.items.fill(create, context, class, security))
}

// ks-coverage: KsAllocateObjectCreateItem done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsAllocateObjectCreateItem(
    header: Address,
    item: Address,
    copy: u8,
    told: Address,
) -> NtStatus {
    let Some(header) = device(header, "KsAllocateObjectCreateItem") else { return STATUS_INVALID_PARAMETER };
    let made = match copy {
        0 => Ok(Item { address: item, copy: None }),
        _ => Item::copied(item, Routine::optional(told, "a create item's free callback")),
    };
    match made {
        Ok(item) => {
            header.items.add(item);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

// ks-coverage: KsFreeObjectCreateItem done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsFreeObjectCreateItem(header: Address, name: Address) -> NtStatus {
    let name = text(&name.read());
    device(header, "KsFreeObjectCreateItem").map_or(STATUS_OBJECT_NAME_NOT_FOUND, |header| {
        header.items.free(|item| item.class().eq_ignore_ascii_case(&name))
    })
}

// ks-coverage: KsFreeObjectCreateItemsByContext done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsFreeObjectCreateItemsByContext(header: Address, context: u64) -> NtStatus {
    // The header of an AVStream device is the device itself: this is KsDeleteFilterFactory.
    if let Some(Object::Device(device)) = objects::find(header) {
        return device.delete_factory(context);
    }
    device(header, "KsFreeObjectCreateItemsByContext")
        .map_or(STATUS_OBJECT_NAME_NOT_FOUND, |header| header.items.free(|item| item.fields().context.0 == context))
}

// ks-coverage: KsQueryObjectCreateItem done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsQueryObjectCreateItem(header: Address) -> u64 {
    object(header, "KsQueryObjectCreateItem").map_or(0, |header| header.item.0)
}

// ks-coverage: KsQueryObjectAccessMask done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsQueryObjectAccessMask(header: Address) -> u32 {
    object(header, "KsQueryObjectAccessMask").map_or(0, |header| header.access)
}

/// Does a device header have create items?
pub(crate) unsafe extern "win64" fn KsiQueryObjectCreateItemsPresent(header: Address) -> u8 {
    device(header, "KsiQueryObjectCreateItemsPresent").map_or(0, |header| u8::from(!header.items.list().is_empty()))
}

// ks-coverage: KsSetDevicePnpAndBaseObject done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsSetDevicePnpAndBaseObject(header: Address, pnp: u64, base: u64) {
    if let Some(header) = device(header, "KsSetDevicePnpAndBaseObject") {
        let mut state = header.state();
        (state.pnp, state.base) = (pnp, base);
    }
}

// ks-coverage: KsQueryDevicePnpObject done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsQueryDevicePnpObject(header: Address) -> u64 {
    device(header, "KsQueryDevicePnpObject").map_or(0, |header| header.state().pnp)
}

// ks-coverage: KsSetTargetDeviceObject done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsSetTargetDeviceObject(header: Address, target: Address) {
    if let Some(header) = object(header, "KsSetTargetDeviceObject") {
        let mut state = header.state();
        state.target = target;
        state.enabled = false;
        drop(state);
        header.join_device();
    }
}

// ks-coverage: KsSetTargetState done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsSetTargetState(header: Address, target: u32) {
    if let Some(header) = object(header, "KsSetTargetState") {
        header.state().enabled = target != 0;
    }
}

// ks-coverage: KsRecalculateStackDepth done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsRecalculateStackDepth(header: Address, reuse: u8) {
    let Some(header) = device(header, "KsRecalculateStackDepth") else { return };
    let (pnp, base) = {
        let state = header.state();
        (Address(state.pnp), Address(state.base))
    };
    let targets = header.objects().into_iter().filter_map(|object| {
        let state = object.state();
        state.enabled.then_some(state.target)
    });
    let depth = |device: Address| device.get::<u8>(offset_of!(DeviceObject, stack_size));
    let deepest = targets.chain([pnp]).filter_map(Address::some).map(depth).max().unwrap_or(0);
    let own = u8::from(reuse == 0);
    if let Some(base) = base.some() {
        base.put(offset_of!(DeviceObject, stack_size), deepest.saturating_add(own).max(1));
    }
}

// ks-coverage: KsSetPowerDispatch done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsSetPowerDispatch(header: Address, routine: Address, context: u64) {
    if let Some(header) = object(header, "KsSetPowerDispatch") {
        header.state().power = (routine, context);
        header.join_device();
    }
}
