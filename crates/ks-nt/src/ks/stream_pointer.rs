//! Stream pointers: the leading edge and the clones, by their addresses.
//!
//! Every routine here is legal at DISPATCH_LEVEL.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::kernel::Mdl;
use crate::ks::misuse::misuse;
use crate::ks::objects::{self, Object};
use crate::ks::pin::HostedPin;
use crate::report::BugCheck;
use crate::verifier;
use ks_abi::kernel::{KsStreamPointer, KsStreamPointerState};
use ks_abi::{
    KsStreamHeader, NtStatus, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS,
};
use ks_io::{Level, Ticks};
use ks_stream::{AfterAdvance, CloneId, ClonePointer, FrameRequest, LeadingEdge, Leaving, Pin, Step, TrailingEdge};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsPinGetLeadingEdgeStreamPointer, KsPinGetTrailingEdgeStreamPointer, KsPinGetFirstCloneStreamPointer,
    KsStreamPointerGetNextClone, KsStreamPointerClone, KsStreamPointerDelete, KsStreamPointerLock,
    KsStreamPointerUnlock, KsStreamPointerAdvance, KsStreamPointerAdvanceOffsets,
    KsStreamPointerAdvanceOffsetsAndUnlock, KsStreamPointerSetStatusCode, KsStreamPointerGetIrp,
    KsStreamPointerGetMdl, KsStreamPointerScheduleTimeout, KsStreamPointerCancelTimeout,
);

/// The most bytes of context that a driver may ask for behind a clone.
const MOST_CONTEXT_BYTES: u32 = 1 << 20;

/// A stream pointer that a driver has been lent.
pub(crate) struct Pointer {
    address: u64,
    pin: Weak<HostedPin>,
    kind: Kind,
    /// The frame's MDL, made when the driver asks for it: the address of the bytes, their number, the MDL.
    mdl: Mutex<Option<(u64, u32, Mdl)>>,
}

enum Kind {
    Edge(LeadingEdge),
    Trailing(TrailingEdge),
    /// The clone leaves when it is deleted. Under this lock only the queue of its pin is called: what leaves that is sent
    /// without it, since it may go to a driver, or close the pin, and so delete this clone.
    Clone {
        id: CloneId,
        cancel: Address,
        clone: Mutex<Option<ClonePointer>>,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a pointer also moves on when it is unlocked.
#[derive(Clone, Copy, PartialEq)]
enum Eject {
    Stay,
    Next,
}

impl Pointer {
    /// The leading edge of a pin.
    pub(crate) fn edge(hosted: Arc<HostedPin>, pin: &Arc<Pin>) -> Option<Arc<Pointer>> {
        let edge = LeadingEdge::of(pin)?;
        Some(Pointer::of_queue(&hosted, edge.address(), Kind::Edge(edge)))
    }

    /// The trailing edge of a pin that has one.
    pub(crate) fn trailing_edge(hosted: Arc<HostedPin>, pin: &Arc<Pin>) -> Option<Arc<Pointer>> {
        let edge = TrailingEdge::of(pin)?;
        Some(Pointer::of_queue(&hosted, edge.address(), Kind::Trailing(edge)))
    }

    fn of_queue(hosted: &Arc<HostedPin>, address: u64, kind: Kind) -> Arc<Pointer> {
        let pin = Arc::downgrade(hosted);
        let pointer = Arc::new(Pointer { address, pin, kind, mdl: Mutex::new(None) });
        objects::insert(address, Object::Pointer(pointer.clone()));
        pointer
    }

    fn clone_of(&self, cancel: Address, context_bytes: usize) -> Result<Arc<Pointer>, NtStatus> {
        let made = match &self.kind {
            Kind::Edge(edge) => edge.clone_pointer(context_bytes),
            Kind::Trailing(edge) => edge.clone_pointer(context_bytes),
            Kind::Clone { clone, .. } => lock(clone).as_ref().and_then(|clone| clone.clone_pointer(context_bytes)),
        };
        let clone = made.ok_or(STATUS_DEVICE_NOT_READY)?;
        let pin = self.pin.upgrade().ok_or(STATUS_DEVICE_NOT_READY)?;
        let pointer = Arc::new(Pointer {
            address: clone.address(),
            pin: self.pin.clone(),
            kind: Kind::Clone { id: clone.id(), cancel, clone: Mutex::new(Some(clone)) },
            mdl: Mutex::new(None),
        });
        objects::insert(pointer.address, Object::Pointer(pointer.clone()));
        verifier::pointer_made(pointer.address);
        pin.clones().push(pointer.clone());
        Ok(pointer)
    }

    /// Is this the clone with that number?
    pub(crate) fn is(&self, clone: CloneId) -> bool {
        matches!(self.kind, Kind::Clone { id, .. } if id == clone)
    }

    /// The address is forgotten; a clone lets its frame go, an edge is unlocked.
    pub(crate) fn delete(&self) {
        drop(objects::remove(self.address));
        verifier::pointer_gone(self);
        drop(lock(&self.mdl).take());
        match &self.kind {
            Kind::Edge(edge) => {
                edge.cancel_timeout();
                edge.unlock();
            }
            Kind::Trailing(edge) => {
                edge.cancel_timeout();
                edge.unlock();
            }
            // Its timeout goes with it.
            Kind::Clone { clone, .. } => {
                let clone = lock(clone).take();
                drop(clone);
            }
        }
    }

    /// The request under the unlocked clone was cancelled: the driver's routine is to delete it.
    pub(crate) fn cancelled(&self) {
        if let Kind::Clone { cancel, .. } = &self.kind
            && let Some(routine) = Routine::optional(*cancel, "a clone's cancel routine")
        {
            let _level = raise();
            routine.call1(self.address);
        }
    }

    /// The engine is to call a routine of the driver with this pointer, in the place of one that it was to call before.
    fn schedule_timeout(&self, routine: Address, interval: Ticks) {
        match &self.kind {
            Kind::Edge(edge) => edge.schedule_timeout(routine.0, interval),
            Kind::Trailing(edge) => edge.schedule_timeout(routine.0, interval),
            Kind::Clone { clone, .. } => {
                if let Some(clone) = lock(clone).as_ref() {
                    clone.schedule_timeout(routine.0, interval);
                }
            }
        }
    }

    fn cancel_timeout(&self) {
        match &self.kind {
            Kind::Edge(edge) => edge.cancel_timeout(),
            Kind::Trailing(edge) => edge.cancel_timeout(),
            Kind::Clone { clone, .. } => {
                if let Some(clone) = lock(clone).as_ref() {
                    clone.cancel_timeout();
                }
            }
        }
    }

    /// Calls the routine that was scheduled, at DISPATCH_LEVEL.
    pub(crate) fn timed_out(&self, routine: Address) {
        if let Some(routine) = Routine::optional(routine, "a stream pointer's timeout routine") {
            routine.call1(self.address);
        }
    }

    fn lock_frame(&self) -> bool {
        match &self.kind {
            Kind::Edge(edge) => edge.lock(),
            Kind::Trailing(edge) => edge.lock().is_some(),
            Kind::Clone { clone, .. } => lock(clone).as_mut().is_some_and(|clone| clone.lock().is_some()),
        }
    }

    /// A clone, and no edge?
    pub(crate) fn is_clone(&self) -> bool {
        matches!(self.kind, Kind::Clone { .. })
    }

    /// What a driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The pin, while it lives.
    pub(crate) fn pin(&self) -> Option<Arc<HostedPin>> {
        self.pin.upgrade()
    }

    pub(crate) fn is_locked(&self) -> bool {
        match &self.kind {
            Kind::Edge(edge) => edge.is_locked(),
            Kind::Trailing(edge) => edge.frame().is_some(),
            Kind::Clone { clone, .. } => lock(clone).as_ref().is_some_and(ClonePointer::is_locked),
        }
    }

    fn unlock_frame(&self, eject: Eject) {
        match &self.kind {
            Kind::Edge(edge) => {
                let _ = if eject == Eject::Next { edge.eject() } else { edge.unlock() };
            }
            Kind::Trailing(edge) => {
                let _ = if eject == Eject::Next { edge.eject() } else { edge.unlock() };
            }
            Kind::Clone { clone, .. } => {
                let leaving = lock(clone).as_mut().map(|clone| match eject {
                    Eject::Stay => clone.unlock_holding(),
                    Eject::Next => clone.unlock_holding().and(clone.advance_holding().1),
                });
                if let Some(leaving) = leaving {
                    leaving.send();
                }
            }
        }
    }

    fn advance(&self) -> NtStatus {
        let was_locked = self.is_locked();
        let step = match &self.kind {
            Kind::Edge(edge) => edge.advance(),
            Kind::Trailing(edge) => edge.advance(),
            Kind::Clone { clone, .. } => {
                let moved = lock(clone).as_mut().map(ClonePointer::advance_holding);
                moved.map_or(Step::AtEnd, Pointer::send)
            }
        };
        if was_locked && step == Step::AtEnd { STATUS_DEVICE_NOT_READY } else { STATUS_SUCCESS }
    }

    fn advance_offsets(&self, in_bytes: u32, out_bytes: u32, eject: Eject) -> NtStatus {
        let after = if eject == Eject::Next { AfterAdvance::Always } else { AfterAdvance::WhenUsedUp };
        let step = match &self.kind {
            Kind::Edge(edge) => edge.advance_offsets(in_bytes, out_bytes, after),
            Kind::Trailing(edge) => edge.advance_offsets(in_bytes, out_bytes, after),
            Kind::Clone { clone, .. } => {
                let moved = lock(clone).as_mut().filter(|clone| clone.is_locked()).map(|clone| {
                    let remaining = clone.advance_offsets(in_bytes, out_bytes);
                    if remaining > 0 && eject == Eject::Stay { Err(Step::OnFrame) } else { Ok(clone.advance_holding()) }
                });
                moved.map(|moved| moved.map_or_else(|step| step, Pointer::send))
            }
        };
        match step {
            Some(Step::OnFrame) => STATUS_SUCCESS,
            Some(Step::AtEnd) | None => STATUS_DEVICE_NOT_READY,
        }
    }

    /// A clone has moved, and nothing is locked here.
    fn send((step, leaving): (Step, Leaving)) -> Step {
        leaving.send();
        step
    }

    pub(crate) fn request(&self) -> Option<FrameRequest> {
        match &self.kind {
            Kind::Edge(edge) => edge.request(),
            Kind::Trailing(edge) => edge.request(),
            Kind::Clone { clone, .. } => {
                lock(clone).as_ref().filter(|clone| clone.is_locked()).and_then(ClonePointer::request)
            }
        }
    }

    /// Bytes at and ahead of the leading edge; none for another pointer.
    pub(crate) fn available_bytes(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Edge(edge) => edge.available_bytes(),
            Kind::Trailing(_) | Kind::Clone { .. } => (0, 0),
        }
    }
}

/// Raises the thread to DISPATCH_LEVEL for a callback.
fn raise() -> Option<ks_io::LevelGuard> {
    (Level::current() < Level::Dispatch).then(|| Level::Dispatch.raise())
}

pub(crate) unsafe extern "win64" fn KsPinGetLeadingEdgeStreamPointer(pin: Address, state: u32) -> u64 {
    let Some(edge) = objects::pin(pin, "KsPinGetLeadingEdgeStreamPointer").and_then(|pin| pin.edge()) else { return 0 };
    if KsStreamPointerState(state) == KsStreamPointerState::LOCKED && !edge.lock_frame() {
        return 0;
    }
    edge.address
}

pub(crate) unsafe extern "win64" fn KsPinGetTrailingEdgeStreamPointer(pin: Address, state: u32) -> u64 {
    let pin = objects::pin(pin, "KsPinGetTrailingEdgeStreamPointer");
    let Some(edge) = pin.and_then(|pin| pin.trailing_edge()) else { return 0 };
    if KsStreamPointerState(state) == KsStreamPointerState::LOCKED && !edge.lock_frame() {
        return 0;
    }
    edge.address
}

// ks-coverage: KsPinGetFirstCloneStreamPointer done test=stream_pointers_lock_move_clone_and_time_out
pub(crate) unsafe extern "win64" fn KsPinGetFirstCloneStreamPointer(pin: Address) -> u64 {
    let pin = objects::pin(pin, "KsPinGetFirstCloneStreamPointer");
    pin.and_then(|pin| pin.clones().first().map(|clone| clone.address)).unwrap_or(0)
}

// ks-coverage: KsStreamPointerGetNextClone done test=stream_pointers_lock_move_clone_and_time_out
pub(crate) unsafe extern "win64" fn KsStreamPointerGetNextClone(pointer: Address) -> u64 {
    let Some(pointer) = objects::pointer(pointer, "KsStreamPointerGetNextClone") else { return 0 };
    let Some(pin) = pointer.pin.upgrade() else { return 0 };
    let clones = pin.clones();
    let at = clones.iter().position(|known| Arc::ptr_eq(known, &pointer));
    at.and_then(|at| clones.get(at + 1)).map_or(0, |next| next.address)
}

pub(crate) unsafe extern "win64" fn KsStreamPointerClone(
    pointer: Address,
    cancel: Address,
    context_bytes: u32,
    result: Address,
) -> NtStatus {
    let Some(pointer) = objects::pointer(pointer, "KsStreamPointerClone") else { return STATUS_INVALID_PARAMETER };
    if context_bytes > MOST_CONTEXT_BYTES {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    match pointer.clone_of(cancel, context_bytes as usize) {
        Ok(clone) => {
            result.put(0, clone.address);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

pub(crate) unsafe extern "win64" fn KsStreamPointerDelete(pointer: Address) {
    let Some(pointer) = objects::pointer(pointer, "KsStreamPointerDelete") else { return };
    if matches!(pointer.kind, Kind::Edge(_) | Kind::Trailing(_)) {
        return misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "KsStreamPointerDelete",
            "an edge of the queue cannot be deleted; only clones can",
        );
    }
    if let Some(pin) = pointer.pin.upgrade() {
        pin.clones().retain(|known| !Arc::ptr_eq(known, &pointer));
    }
    pointer.delete();
}

pub(crate) unsafe extern "win64" fn KsStreamPointerLock(pointer: Address) -> NtStatus {
    match objects::pointer(pointer, "KsStreamPointerLock") {
        Some(pointer) if pointer.lock_frame() => STATUS_SUCCESS,
        Some(_) => STATUS_DEVICE_NOT_READY,
        None => STATUS_INVALID_PARAMETER,
    }
}

pub(crate) unsafe extern "win64" fn KsStreamPointerUnlock(pointer: Address, eject: u8) {
    if let Some(pointer) = objects::pointer(pointer, "KsStreamPointerUnlock") {
        pointer.unlock_frame(ejects(eject));
    }
}

fn ejects(eject: u8) -> Eject {
    if eject != 0 { Eject::Next } else { Eject::Stay }
}

pub(crate) unsafe extern "win64" fn KsStreamPointerAdvance(pointer: Address) -> NtStatus {
    match objects::pointer(pointer, "KsStreamPointerAdvance") {
        Some(pointer) => pointer.advance(),
        None => STATUS_INVALID_PARAMETER,
    }
}

pub(crate) unsafe extern "win64" fn KsStreamPointerAdvanceOffsets(
    pointer: Address,
    in_bytes: u32,
    out_bytes: u32,
    eject: u8,
) -> NtStatus {
    match objects::pointer(pointer, "KsStreamPointerAdvanceOffsets") {
        Some(pointer) => pointer.advance_offsets(in_bytes, out_bytes, ejects(eject)),
        None => STATUS_INVALID_PARAMETER,
    }
}

// ks-coverage: KsStreamPointerAdvanceOffsetsAndUnlock done test=stream_pointers_lock_move_clone_and_time_out
pub(crate) unsafe extern "win64" fn KsStreamPointerAdvanceOffsetsAndUnlock(
    pointer: Address,
    in_bytes: u32,
    out_bytes: u32,
    eject: u8,
) {
    if let Some(pointer) = objects::pointer(pointer, "KsStreamPointerAdvanceOffsetsAndUnlock") {
        let _ = pointer.advance_offsets(in_bytes, out_bytes, ejects(eject));
        pointer.unlock_frame(Eject::Stay);
    }
}

pub(crate) unsafe extern "win64" fn KsStreamPointerSetStatusCode(pointer: Address, status: NtStatus) -> NtStatus {
    let Some(pointer) = objects::pointer(pointer, "KsStreamPointerSetStatusCode") else {
        return STATUS_INVALID_PARAMETER;
    };
    if !pointer.is_locked() {
        return STATUS_DEVICE_NOT_READY;
    }
    match &pointer.kind {
        Kind::Edge(edge) => edge.set_status_code(status),
        Kind::Trailing(edge) => edge.set_status_code(status),
        Kind::Clone { clone, .. } => {
            if let Some(clone) = lock(clone).as_ref() {
                clone.set_status_code(status);
            }
        }
    }
    STATUS_SUCCESS
}

// ks-coverage: KsStreamPointerGetIrp done test=stream_pointers_lock_move_clone_and_time_out
pub(crate) unsafe extern "win64" fn KsStreamPointerGetIrp(pointer: Address, first: Address, last: Address) -> u64 {
    let Some(pointer) = objects::pointer(pointer, "KsStreamPointerGetIrp") else { return 0 };
    let Some(request) = pointer.request() else { return 0 };
    first.put_optional(u8::from(request.first));
    last.put_optional(u8::from(request.last));
    request.irp
}

// ks-coverage: KsStreamPointerGetMdl done test=stream_pointers_lock_move_clone_and_time_out
pub(crate) unsafe extern "win64" fn KsStreamPointerGetMdl(pointer: Address) -> u64 {
    let Some(found) = objects::pointer(pointer, "KsStreamPointerGetMdl").filter(|pointer| pointer.is_locked()) else {
        return 0;
    };
    let header = pointer.follow(offset_of!(KsStreamPointer, stream_header));
    if header.is_null() {
        return 0;
    }
    let (data, bytes) =
        (header.get(offset_of!(KsStreamHeader, data)), header.get(offset_of!(KsStreamHeader, frame_extent)));
    if data == 0 || bytes == 0 {
        return 0;
    }
    let mut mdl = lock(&found.mdl);
    if mdl.as_ref().is_none_or(|(known, length, _)| (*known, *length) != (data, bytes)) {
        *mdl = Mdl::new(data, bytes).map(|mdl| (data, bytes, mdl));
    }
    mdl.as_ref().map_or(0, |(_, _, mdl)| mdl.address())
}

// ks-coverage: KsStreamPointerScheduleTimeout done test=stream_pointers_lock_move_clone_and_time_out,a_clone_is_told_of_its_timeout_or_of_its_cancel_whichever_is_first,a_timeout_comes_once_at_its_time_and_not_after_a_cancel_or_a_delete
pub(crate) unsafe extern "win64" fn KsStreamPointerScheduleTimeout(pointer: Address, callback: Address, interval: u64) {
    if let Some(pointer) = objects::pointer(pointer, "KsStreamPointerScheduleTimeout") {
        pointer.schedule_timeout(callback, Ticks(i64::try_from(interval).unwrap_or(i64::MAX)));
    }
}

// ks-coverage: KsStreamPointerCancelTimeout done test=a_timeout_that_was_cancelled_does_not_come,a_timeout_comes_once_at_its_time_and_not_after_a_cancel_or_a_delete
pub(crate) unsafe extern "win64" fn KsStreamPointerCancelTimeout(pointer: Address) {
    if let Some(pointer) = objects::pointer(pointer, "KsStreamPointerCancelTimeout") {
        pointer.cancel_timeout();
    }
}
