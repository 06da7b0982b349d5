//! Frames that a driver submits into its circuit, and the callbacks of those that come round.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::report::BugCheck;
use ks_abi::kernel::Mdl;
use ks_abi::{KsStreamHeader, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Frame;
use ks_stream::{InjectedFrame, Pin, ReturnedFrame};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsPinRegisterFrameReturnCallback, KsPinRegisterIrpCompletionCallback, KsPinSubmitFrame, KsPinSubmitFrameMdl,
);

/// The largest frame that a driver may submit, and the longest header.
const MOST_FRAME_BYTES: u32 = 256 << 20;
const MOST_HEADER_BYTES: u32 = 4096;
/// Frames that a pin keeps for the next submissions.
const MOST_SPARE: usize = 16;

/// What a pin injects, and which callbacks it has.
///
/// The bytes of a submitted frame are copied into memory of the engine, which another process can see and a driver
/// cannot free too early; that memory is kept for the next frame. No driver is called under a lock.
#[derive(Default)]
pub(crate) struct Returns {
    frame_return: Mutex<Option<Routine>>,
    irp_completion: Mutex<Option<Routine>>,
    /// What the driver submitted, by the number of the frame.
    submitted: Mutex<Submissions>,
    spare: Mutex<Vec<Frame>>,
}

#[derive(Default)]
struct Submissions {
    last: u64,
    travelling: HashMap<u64, Submitted>,
}

#[derive(Clone, Copy, Default)]
struct Submitted {
    data: u64,
    bytes: u32,
    mdl: u64,
    context: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Returns {
    /// The pin is closed: its driver is told nothing any more.
    pub(crate) fn forget(&self) {
        *lock(&self.frame_return) = None;
        *lock(&self.irp_completion) = None;
        lock(&self.submitted).travelling.clear();
        lock(&self.spare).clear();
    }

    /// A submitted frame is back.
    pub(crate) fn give_back(&self, pin: u64, frame: ReturnedFrame) {
        let known = lock(&self.submitted).travelling.remove(&frame.context);
        if let Some(buffer) = frame.buffer {
            let mut spare = lock(&self.spare);
            if spare.len() < MOST_SPARE {
                spare.push(buffer);
            }
        }
        let routine = *lock(&self.frame_return);
        if let (Some(sent), Some(routine)) = (known, routine) {
            let status = u64::from(frame.status.0);
            routine.call6(pin, sent.data, u64::from(sent.bytes), sent.mdl, sent.context, status);
        }
    }

    /// A request has come round.
    pub(crate) fn tell(&self, pin: u64, irp: u64) {
        let routine = *lock(&self.irp_completion);
        if let Some(routine) = routine {
            routine.call2(pin, irp);
        }
    }

    fn note(&self, sent: Submitted) -> u64 {
        let mut submitted = lock(&self.submitted);
        submitted.last += 1;
        let number = submitted.last;
        submitted.travelling.insert(number, sent);
        number
    }

    /// Memory of this size, from the frames that are back or new.
    fn memory(&self, pin: &Arc<Pin>, bytes: u32) -> Result<Frame, NtStatus> {
        let shared = pin.injection_memory() == ks_mem::FrameMemory::Shared;
        let mut spare = lock(&self.spare);
        if let Some(at) = spare.iter().position(|frame| frame.len() == bytes as usize && frame.is_shared() == shared) {
            return Ok(spare.swap_remove(at));
        }
        drop(spare);
        pin.allocate_injected(bytes as usize)
    }

    fn submit(&self, pin: &Arc<Pin>, sent: Submitted, header: Address) -> NtStatus {
        if (sent.data == 0) != (sent.bytes == 0) {
            return STATUS_INVALID_PARAMETER;
        }
        if sent.bytes > MOST_FRAME_BYTES {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let header = header.some().map(|header| {
            let bytes: u32 = header.get(offset_of!(KsStreamHeader, size));
            header.bytes(bytes.clamp(size_of::<KsStreamHeader>() as u32, MOST_HEADER_BYTES) as usize)
        });
        let mut buffer = None;
        if sent.bytes > 0 {
            let memory = match self.memory(pin, sent.bytes) {
                Ok(memory) => memory,
                Err(status) => return status,
            };
            match memory.bytes_mut(sent.bytes as usize) {
                Some(mut bytes) => Address(sent.data).read_into(&mut bytes),
                None => return STATUS_INSUFFICIENT_RESOURCES,
            }
            buffer = Some(memory);
        }
        let context = self.note(sent);
        match pin.submit_frame(InjectedFrame { buffer, header, context }) {
            Ok(()) => STATUS_SUCCESS,
            Err(status) => {
                lock(&self.submitted).travelling.remove(&context);
                status
            }
        }
    }
}

/// Decision: the pages name no way to take a callback back; one at NULL is a misuse.
fn register(
    pin: Address,
    callback: Address,
    name: &'static str,
    place: fn(&Returns) -> &Mutex<Option<Routine>>,
    begin: fn(&Arc<Pin>) -> bool,
) {
    let Some(pin) = objects::pin(pin, name) else { return };
    let Some(routine) = Routine::optional(callback, name) else {
        return misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, name, "the callback is at NULL");
    };
    // It is there before the first thing comes that it is to be told of.
    let before = lock(place(pin.returns())).replace(routine);
    if !pin.engine().is_some_and(|engine| begin(&engine)) {
        *lock(place(pin.returns())) = before;
        let reason = "the pin has left STOP; the callback is registered before";
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, name, reason);
    }
}

pub(crate) unsafe extern "win64" fn KsPinRegisterFrameReturnCallback(pin: Address, callback: Address) {
    let begin = |pin: &Arc<Pin>| pin.inject_frames().is_ok();
    register(pin, callback, "KsPinRegisterFrameReturnCallback", |returns| &returns.frame_return, begin);
}

pub(crate) unsafe extern "win64" fn KsPinRegisterIrpCompletionCallback(pin: Address, callback: Address) {
    let begin = |pin: &Arc<Pin>| pin.watch_requests().is_ok();
    register(pin, callback, "KsPinRegisterIrpCompletionCallback", |returns| &returns.irp_completion, begin);
}

fn submit(pin: Address, sent: Submitted, header: Address, name: &'static str) -> NtStatus {
    let Some(pin) = objects::pin(pin, name) else { return STATUS_INVALID_PARAMETER };
    match pin.engine() {
        Some(engine) => pin.returns().submit(&engine, sent, header),
        None => STATUS_INVALID_PARAMETER,
    }
}

pub(crate) unsafe extern "win64" fn KsPinSubmitFrame(
    pin: Address,
    data: u64,
    bytes: u32,
    header: Address,
    context: u64,
) -> NtStatus {
    submit(pin, Submitted { data, bytes, mdl: 0, context }, header, "KsPinSubmitFrame")
}

// ks-coverage: KsPinSubmitFrameMdl done test=a_driver_injects_frames_and_gets_them_back
pub(crate) unsafe extern "win64" fn KsPinSubmitFrameMdl(
    pin: Address,
    list: Address,
    header: Address,
    context: u64,
) -> NtStatus {
    let (data, bytes) = match list.some() {
        Some(list) => {
            let offset: u32 = list.get(offset_of!(Mdl, byte_offset));
            let start = list.follow(offset_of!(Mdl, start_va)).at(offset as usize);
            (start.0, list.get(offset_of!(Mdl, byte_count)))
        }
        None => (0, 0),
    };
    submit(pin, Submitted { data, bytes, mdl: list.0, context }, header, "KsPinSubmitFrameMdl")
}
