//! A driver without AVStream as a device of the engine: its stack is started as a bus does it, its device interfaces are
//! opened by clients, and what they ask goes to its dispatch routines as requests of its own kind.

use super::wdm_file::WdmFile;
use crate::ks::address::Address;
use crate::machine;
use crate::ntoskrnl::device_file::{Asked, DeviceFile};
use crate::ntoskrnl::io_request::next_location;
use crate::ntoskrnl::scheduler::{Changed, Rest};
use crate::ntoskrnl::{clock, io_build, io_interface};
use ks_abi::kernel::{
    IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE, IRP_MN_SURPRISE_REMOVAL, IoStackLocation, Irp,
};
use ks_abi::{Guid, NtStatus, STATUS_DEVICE_REMOVED};
use ks_io::{Aspect, CreateRequest, Created, DeviceObject, InterfaceRecord, IoManager, Refusal, RequestorMode};
use ks_mem::RegionTable;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// The stack above a physical device, as a device of the engine.
pub(crate) struct WdmDevice {
    me: Weak<WdmDevice>,
    name: String,
    friendly_name: String,
    io: Arc<IoManager>,
    /// The device object of the bus.
    physical: u64,
    removed: AtomicBool,
    /// Files that are open.
    open: Mutex<usize>,
    file_closed: Changed,
}

static DEVICES: OnceLock<Mutex<Vec<Weak<WdmDevice>>>> = OnceLock::new();

fn devices() -> &'static Mutex<Vec<Weak<WdmDevice>>> {
    DEVICES.get_or_init(Mutex::default)
}

/// The stack above a device of the bus has other interfaces than before.
fn interfaces_changed(physical: u64) {
    let known: Vec<_> = {
        let mut devices = devices().lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|device| device.strong_count() > 0);
        devices.iter().filter_map(Weak::upgrade).collect()
    };
    for device in known.into_iter().filter(|device| device.physical == physical) {
        device.publish();
    }
}

/// The reference string at the end of an interface's link.
fn reference(link: &str) -> &str {
    link.rsplit_once("}\\").map_or("", |(_, reference)| reference)
}

impl WdmDevice {
    /// Starts the stack above a device of the bus, and publishes its interfaces.
    pub(crate) fn start(
        io: &Arc<IoManager>,
        name: &str,
        friendly_name: String,
        physical: u64,
    ) -> Result<Arc<WdmDevice>, NtStatus> {
        let device = Arc::new_cyclic(|me| WdmDevice {
            me: me.clone(),
            name: name.to_owned(),
            friendly_name,
            io: io.for_device(),
            physical,
            removed: AtomicBool::new(false),
            open: Mutex::new(0),
            file_closed: Changed::new(),
        });
        let answer = device.plug_and_play(IRP_MN_START_DEVICE);
        if !answer.is_success() {
            return Err(answer);
        }
        io_interface::listen(interfaces_changed);
        devices().lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&device));
        device.publish();
        Ok(device)
    }

    /// Sends a PnP request to the top of the stack.
    fn plug_and_play(&self, minor: u8) -> NtStatus {
        machine::enter_thread();
        let prepare = |irp: *mut Irp| {
            // SAFETY: the request was just made, with a location for the driver below.
            let stack = Address(unsafe { next_location(irp) } as u64);
            stack.put(offset_of!(IoStackLocation, major_function), IRP_MJ_PNP);
            stack.put(offset_of!(IoStackLocation, minor_function), minor);
        };
        // SAFETY: the bus's device is alive as long as its driver is loaded, and so is the top of its stack.
        unsafe { io_build::send_and_wait_at_top(self.physical, prepare) }.status
    }

    /// The enabled interfaces of the stack: class and reference string.
    fn interfaces(&self) -> Vec<(Guid, String)> {
        let enabled = io_interface::enabled().into_iter().filter(|(_, device, _)| *device == self.physical);
        enabled.map(|(class, _, link)| (class, reference(&link).to_owned())).collect()
    }

    /// Reference strings of its filters, each once.
    pub(crate) fn references(&self) -> Vec<String> {
        let mut references: Vec<String> = Vec::new();
        for (_, reference) in self.interfaces() {
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
        references
    }

    fn publish(&self) {
        let Some(me) = self.me.upgrade() else { return };
        let device: Arc<dyn DeviceObject> = me;
        self.io.unregister_device(&device);
        if self.is_removed() {
            return;
        }
        for (category, reference) in self.interfaces() {
            let friendly_name = self.friendly_name.clone();
            self.io.register_interface(InterfaceRecord { category, reference, friendly_name, device: device.clone() });
        }
    }

    /// The memory that clients' stream headers may point into.
    pub(super) fn regions(&self) -> &RegionTable {
        self.io.regions()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    fn open(&self) -> MutexGuard<'_, usize> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of the device is closed.
    pub(super) fn closed(&self) {
        *self.open() -= 1;
        self.file_closed.notify_all();
    }

    pub(super) fn opened(&self) {
        *self.open() += 1;
    }

    /// Files that stay open. A thread that is just giving the last frame of a connection back still holds its file for
    /// that long; those are waited for.
    pub(crate) fn files_that_stay_open(&self) -> usize {
        /// 100-ns units.
        const MOMENT: i64 = 10_000_000;
        ks_io::deferred::drain_before_wait();
        let end = clock::interrupt_time().saturating_add(MOMENT);
        let mut open = self.open();
        while *open > 0 && clock::interrupt_time() < end {
            let rest;
            (open, rest) = self.file_closed.rest(&self.open, open, Some(end));
            if rest == Rest::InVain {
                break;
            }
        }
        *open
    }

    /// The device goes without notice.
    pub(crate) fn surprise(&self) {
        if !self.removed.swap(true, Ordering::SeqCst) {
            self.publish();
            let _ = self.plug_and_play(IRP_MN_SURPRISE_REMOVAL);
        }
    }

    /// The stack is taken down. No file is open.
    pub(crate) fn take_down(&self) {
        self.surprise();
        let _ = self.plug_and_play(IRP_MN_REMOVE_DEVICE);
    }
}

/// The mode of a requestor as a driver sees it.
pub(super) fn mode(request: &CreateRequest<'_>) -> u8 {
    u8::from(request.origin.mode() == RequestorMode::User)
}

impl DeviceObject for WdmDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let refuse = |status: NtStatus, reason: String| Err(Refusal::new(status, Aspect::Driver, reason));
        let Some(me) = self.me.upgrade().filter(|_| !self.is_removed()) else {
            return refuse(STATUS_DEVICE_REMOVED, format!("{} was removed", self.name));
        };
        machine::enter_thread();
        let name: Vec<u8> = format!("\\{}", request.name).encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cancel = Some(request.file.create_cancel().clone());
        let asked = Asked { access: request.access.0, options: 0, mode: mode(request), cancel };
        // SAFETY: the bus's device is alive as long as its driver is loaded.
        match unsafe { DeviceFile::create_below(self.physical as usize, None, &name, asked) } {
            Ok(file) => Ok(Created { object: WdmFile::new(me, file), granted: request.access }),
            Err(status) => refuse(status, format!("{} does not open {}: {status}", self.name, request.name)),
        }
    }

    fn remove(&self) {
        self.surprise();
    }
}
