//! A clock object: the pin's default clock behind a handle of its own.
//!
//! Source: nf-ks-kscreateclock, "Default clocks".

use crate::clock::DefaultClock;
use crate::pin::Pin;
use crate::{property, sets};
use ks_abi::{
    IoControlCode, KsClockCreate, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal};
use zerocopy::FromBytes;

/// One open clock. It keeps its pin's clock alive, not its pin's stream.
pub struct ClockObject {
    pin: Arc<Pin>,
}

impl ClockObject {
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The clock.
    pub fn clock(&self) -> &DefaultClock {
        self.pin.clock()
    }
}

/// `IRP_MJ_CREATE` of class `KSSTRING_Clock` below a pin.
// ks-coverage: KsValidateClockCreateRequest done test=ksclock_create
#[doc(alias = "KsValidateClockCreateRequest")]
pub(crate) fn create(pin: &Pin, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
    let bad = |status, reason: String| Err(Refusal::new(status, Aspect::Request, reason));
    let Ok(parameters) = KsClockCreate::read_from_bytes(request.parameters) else {
        let reason = format!("a KSCLOCK_CREATE has 4 bytes, the request {}", request.parameters.len());
        return bad(STATUS_INVALID_BUFFER_SIZE, reason);
    };
    if parameters.create_flags != 0 {
        return bad(STATUS_INVALID_PARAMETER, format!("CreateFlags is {:#x}, not 0", parameters.create_flags));
    }
    if !pin.flags().contains(crate::PinFlags::IMPLEMENT_CLOCK) {
        return bad(STATUS_INVALID_DEVICE_REQUEST, format!("{} has no clock", pin.describe()));
    }
    let Some(pin) = pin.me() else {
        return bad(STATUS_INVALID_DEVICE_REQUEST, "the pin is closing".into());
    };
    let object = Arc::new(ClockObject { pin });
    Ok(Created { object, granted: request.access })
}

impl Dispatch for ClockObject {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        match irp.io_control_code() {
            IoControlCode::KS_PROPERTY => property::handle(self, irp, &[sets::clock_table()]),
            code => irp.done(crate::filter::default_completion(code)),
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for ClockObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockObject").field("pin", &self.pin).finish()
    }
}
