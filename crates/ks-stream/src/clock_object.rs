//! A clock object: a clock behind a handle of its own, with the marks that its client has set.
//!
//! Source: nf-ks-kscreateclock, nf-ks-kscreatedefaultclock, "Default clocks", "KSEVENTSETID_Clock".

use crate::clock::{DefaultClock, MarkListener, TimeMark, asks_to_follow};
use crate::device::Device;
use crate::event::{self, EventList, EventRequest, EventToken};
use crate::pin::Pin;
use crate::{property, sets};
use ks_abi::{
    IoControlCode, KSEVENT_TYPE_ONESHOT, KsClockCreate, KsEventTimeInterval, KsEventTimeMark, NtStatus,
    STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_REMOVED, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Weak};
use ks_io::{Aspect, CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal, Ticks};
use zerocopy::FromBytes;

/// One open clock. It keeps its clock, not the stream of the pin that the clock follows.
pub struct ClockObject {
    clock: Arc<DefaultClock>,
    /// The device of the pin; `None` for a driver's own clock, whose driver ends it.
    device: Option<Arc<Device>>,
    events: EventList,
    me: Weak<ClockObject>,
}

impl ClockObject {
    /// A clock object over a driver's clock, to be given back by its create routine. Any number may share one clock.
    #[doc(alias = "KsCreateDefaultClock")]
    pub fn new(clock: Arc<DefaultClock>) -> Arc<ClockObject> {
        Self::on(clock, None)
    }

    fn on(clock: Arc<DefaultClock>, device: Option<Arc<Device>>) -> Arc<ClockObject> {
        Arc::new_cyclic(|me| ClockObject { clock, device, events: EventList::default(), me: me.clone() })
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<DefaultClock> {
        &self.clock
    }

    /// KSEVENT_CLOCK_POSITION_MARK is being enabled.
    pub(crate) fn add_position(&self, request: &EventRequest<'_>) -> NtStatus {
        match KsEventTimeMark::read_from_prefix(request.data()) {
            Ok((mark, _)) => self.add_mark(request, Ticks(mark.mark_time), None),
            Err(_) => STATUS_BUFFER_TOO_SMALL,
        }
    }

    /// KSEVENT_CLOCK_INTERVAL_MARK is being enabled.
    pub(crate) fn add_interval(&self, request: &EventRequest<'_>) -> NtStatus {
        match KsEventTimeInterval::read_from_prefix(request.data()) {
            Ok((mark, _)) if mark.interval > 0 => {
                self.add_mark(request, Ticks(mark.time_base), Some(Ticks(mark.interval)))
            }
            Ok(_) => STATUS_INVALID_PARAMETER,
            Err(_) => STATUS_BUFFER_TOO_SMALL,
        }
    }

    fn add_mark(&self, request: &EventRequest<'_>, time: Ticks, interval: Option<Ticks>) -> NtStatus {
        let listener: Weak<dyn MarkListener> = self.me.clone();
        let once = request.event().flags & KSEVENT_TYPE_ONESHOT != 0;
        let mark = TimeMark { listener, token: request.token(), time, interval, once };
        self.clock.add_mark(mark).err().unwrap_or(STATUS_SUCCESS)
    }

    /// A mark's event is enabled no more.
    pub(crate) fn remove_mark(&self, token: EventToken) {
        let own = self.me.as_ptr().cast::<()>();
        self.clock.remove_marks(|mark| mark.token == token && std::ptr::eq(mark.listener.as_ptr().cast::<()>(), own));
    }
}

impl MarkListener for ClockObject {
    fn reached(&self, token: EventToken) {
        self.events.generate_one(token);
        self.events.forget_spent(token);
    }
}

/// The parameters of a clock create: a KSCLOCK_CREATE without flags.
// ks-coverage: KsValidateClockCreateRequest done test=ksclock_create
#[doc(alias = "KsValidateClockCreateRequest")]
pub fn validate_clock_create(parameters: &[u8]) -> Result<KsClockCreate, Refusal> {
    let bad = |status, reason: String| Err(Refusal::new(status, Aspect::Request, reason));
    let Ok(create) = KsClockCreate::read_from_bytes(parameters) else {
        let reason = format!("a KSCLOCK_CREATE has 4 bytes, the request {}", parameters.len());
        return bad(STATUS_INVALID_BUFFER_SIZE, reason);
    };
    if create.create_flags != 0 {
        return bad(STATUS_INVALID_PARAMETER, format!("CreateFlags is {:#x}, not 0", create.create_flags));
    }
    Ok(create)
}

/// `IRP_MJ_CREATE` of class `KSSTRING_Clock` below a pin.
pub(crate) fn create(pin: &Pin, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
    validate_clock_create(request.parameters)?;
    if !pin.flags().contains(crate::PinFlags::IMPLEMENT_CLOCK) {
        let reason = format!("{} has no clock", pin.describe());
        return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Request, reason));
    }
    let object = ClockObject::on(pin.own_clock().clone(), Some(pin.filter().device().clone()));
    Ok(Created { object, granted: request.access })
}

impl Dispatch for ClockObject {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.device.as_ref().is_some_and(|device| device.is_removed()) {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let table = sets::clock_table();
        match irp.io_control_code() {
            code if asks_to_follow(code, irp.input()) => self.clock.tell(irp),
            IoControlCode::KS_PROPERTY => property::handle(self, irp, &[table]),
            IoControlCode::KS_ENABLE_EVENT => self.events.enable(self, irp, &[], Some(table)),
            code if event::is_event_code(code) => self.events.disable(self, irp, Some(table)),
            code => irp.done(crate::io_control::default_completion(code)),
        }
    }

    fn cleanup(&self) {
        self.events.free(self, Some(sets::clock_table()));
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for ClockObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockObject").field("clock", &self.clock).finish_non_exhaustive()
    }
}
