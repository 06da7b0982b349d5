//! The callbacks of open filters and pins, each run under the rules.

use super::{Callback, Made, Subject, Watched, check_create, check_process, check_refusal, returned, supervise};
use crate::allocator::{AllocatorFraming, FrameSource};
use crate::automation::AutomationTable;
use crate::descriptor::{DescribeFilter, ExtendedFraming, Framing, PinId};
use crate::filter::Filter;
use crate::filter_process::ProcessPins;
use crate::format::{DataFormat, DataRange};
use crate::handshake::Interface;
use crate::injection::{ReturnedFrame, ReturnedRequest};
use crate::minidriver::{FilterInstance, Intersection, PinInstance};
use crate::pin::Pin;
use crate::queue::PointerId;
use crate::stream_pointer::CloneId;
use crate::verifier::{self, Rule};
use ks_abi::kernel::DevicePowerState;
use ks_abi::{Guid, KsHandshake, KsState, NtStatus, STATUS_PENDING, STATUS_UNSUCCESSFUL};
use ks_io::Refusal;
use ks_io::sync::{Arc, Weak};
use ks_mem::{FrameMemory, Learning};
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
/// The callbacks of one open filter.
pub(crate) struct FilterCallbacks {
    instance: Arc<dyn FilterInstance>,
    filter: Weak<Filter>,
    watched: Watched,
}

impl FilterCallbacks {
    pub(crate) fn of(filter: &Arc<Filter>, instance: Arc<dyn FilterInstance>) -> FilterCallbacks {
        FilterCallbacks { instance, filter: Arc::downgrade(filter), watched: filter.watched().clone() }
    }

    pub(crate) fn instance_as<I: FilterInstance>(&self) -> Option<&I> {
        let instance: &dyn Any = &*self.instance;
        instance.downcast_ref()
    }

    fn subject(&self) -> Subject<'_> {
        Subject { filter: &self.filter, pin: None, watched: &self.watched }
    }

    fn ask<R>(&self, name: Callback, body: impl FnOnce() -> R) -> Option<R> {
        supervise(self.subject(), name, body)
    }

    fn try_ask<R>(&self, name: Callback, body: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
        check_refusal(self.subject(), name, self.ask(name, body))
    }

    pub(crate) fn create_pin(&self, pin: &Arc<Pin>) -> Result<Made<dyn PinInstance>, Refusal> {
        let weak = Arc::downgrade(pin);
        let subject = Subject { filter: &self.filter, pin: Some((&weak, pin.id())), watched: &self.watched };
        let answer = supervise(subject, Callback::CREATE_PIN, || self.instance.create_pin(pin));
        check_create(subject, Callback::CREATE_PIN, pin.pended().create(), answer)
    }

    pub(crate) fn accept_format(&self, pin: PinId, format: &DataFormat, range: &DataRange) -> Result<(), Refusal> {
        self.try_ask(Callback::PIN_SET_DATA_FORMAT, || self.instance.accept_format(pin, format, range))
    }

    #[inline]
    pub(crate) fn descriptor(&self) -> Option<&dyn DescribeFilter> {
        self.instance.descriptor()
    }

    pub(crate) fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        self.ask(Callback::FILTER_DATA_RANGES, || self.instance.data_ranges(pin)).flatten()
    }

    pub(crate) fn intersect(&self, asked: &Intersection<'_>) -> Result<DataFormat, Refusal> {
        self.try_ask(Callback::INTERSECT, || self.instance.intersect_asked(asked))
    }

    pub(crate) fn is_filter_centric(&self) -> bool {
        self.instance.is_filter_centric()
    }

    pub(crate) fn process(&self, filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let status =
            self.ask(Callback::FILTER_PROCESS, || self.instance.process(filter, pins)).unwrap_or(STATUS_PENDING);
        check_process(self.subject(), Callback::FILTER_PROCESS, status)
    }

    #[inline]
    pub(crate) fn automation(&self) -> Option<&AutomationTable<Filter>> {
        self.instance.automation()
    }

    pub(crate) fn interface(&self, filter: &Arc<Filter>, id: Guid) -> Option<Interface> {
        self.ask(Callback::FILTER_INTERFACE, || self.instance.interface(filter, id)).flatten()
    }

    pub(crate) fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        self.instance.node_automation(node)
    }

    pub(crate) fn sleep(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        self.ask(Callback::FILTER_SLEEP, || self.instance.sleep(filter, to));
    }

    pub(crate) fn wake(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        self.ask(Callback::FILTER_WAKE, || self.instance.wake(filter, to));
    }

    pub(crate) fn reset(&self, filter: &Arc<Filter>) {
        self.ask(Callback::FILTER_RESET, || self.instance.reset(filter));
    }

    pub(crate) fn close(&self, filter: &Filter) {
        self.ask(Callback::FILTER_CLOSE, || self.instance.close(filter));
    }
}

impl PinCallbacks {
    /// Notes the minidriver's object.
    pub(crate) fn footprint(&self, learning: &mut Learning<'_>) {
        learning.object(&*self.instance);
    }
}

/// The callbacks of one pin.
pub(crate) struct PinCallbacks {
    instance: Arc<dyn PinInstance>,
    filter: Weak<Filter>,
    pin: Weak<Pin>,
    id: PinId,
    watched: Watched,
    /// Its Close callback has returned.
    closed: AtomicBool,
}

impl PinCallbacks {
    pub(crate) fn of(pin: &Arc<Pin>, instance: Arc<dyn PinInstance>) -> PinCallbacks {
        let filter = pin.filter();
        PinCallbacks {
            instance,
            filter: Arc::downgrade(filter),
            pin: Arc::downgrade(pin),
            id: pin.id(),
            watched: filter.watched().clone(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    #[inline]
    fn subject(&self) -> Subject<'_> {
        Subject { filter: &self.filter, pin: Some((&self.pin, self.id)), watched: &self.watched }
    }

    #[inline]
    fn ask<R>(&self, name: Callback, body: impl FnOnce() -> R) -> Option<R> {
        supervise(self.subject(), name, body)
    }

    fn try_ask<R>(&self, name: Callback, body: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
        check_refusal(self.subject(), name, self.ask(name, body))
    }

    #[inline]
    pub(crate) fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let status = self.ask(Callback::PIN_PROCESS, || self.instance.process(pin)).unwrap_or(STATUS_PENDING);
        check_process(self.subject(), Callback::PIN_PROCESS, status)
    }

    pub(crate) fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.try_ask(Callback::SET_DEVICE_STATE, || self.instance.set_device_state(pin, to, from))
    }

    pub(crate) fn data_ranges(&self, pin: &Pin) -> Option<Vec<DataRange>> {
        self.ask(Callback::PIN_DATA_RANGES, || self.instance.data_ranges(pin)).flatten()
    }

    pub(crate) fn set_data_format(&self, pin: &Arc<Pin>, old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        self.try_ask(Callback::PIN_SET_DATA_FORMAT, || self.instance.set_data_format(pin, old, new))
    }

    pub(crate) fn would_take(&self, pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        self.try_ask(Callback::PIN_PROPOSED_FORMAT, || self.instance.would_take(pin, new))
    }

    pub(crate) fn format_changed(&self, pin: &Arc<Pin>, old: &DataFormat, new: &DataFormat) {
        self.ask(Callback::PIN_FORMAT_CHANGED, || self.instance.format_changed(pin, old, new));
    }

    pub(crate) fn framing(&self, pin: &Pin) -> Option<Framing> {
        self.ask(Callback::PIN_FRAMING, || self.instance.framing(pin)).flatten()
    }

    pub(crate) fn sleep(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        self.ask(Callback::PIN_SLEEP, || self.instance.sleep(pin, to));
    }

    pub(crate) fn wake(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        self.ask(Callback::PIN_WAKE, || self.instance.wake(pin, to));
    }

    pub(crate) fn extended_framing(&self, pin: &Pin) -> Option<ExtendedFraming> {
        self.ask(Callback::PIN_FRAMING, || self.instance.extended_framing(pin)).flatten()
    }

    pub(crate) fn circuit_frames(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
        memory: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        self.try_ask(Callback::PIN_ALLOCATOR, || self.instance.circuit_frames(pin, framing, memory))
    }

    pub(crate) fn can_allocate(&self, pin: &Pin) -> bool {
        self.ask(Callback::PIN_FRAMING, || self.instance.can_allocate(pin)).unwrap_or(false)
    }

    pub(crate) fn reset(&self, pin: &Arc<Pin>) {
        self.ask(Callback::PIN_RESET, || self.instance.reset(pin));
    }

    pub(crate) fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        self.try_ask(Callback::PIN_CONNECT, || self.instance.connect(pin))
    }

    pub(crate) fn disconnect(&self, pin: &Pin) {
        self.ask(Callback::PIN_DISCONNECT, || self.instance.disconnect(pin));
    }

    pub(crate) fn close(&self, pin: &Pin) {
        self.ask(Callback::PIN_CLOSE, || self.instance.close(pin));
    }

    /// The close has ended, which a minidriver may have pended.
    pub(crate) fn closed(&self, pin: &Pin) {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(queue) = pin.queue() {
            queue.forget_timeouts();
        }
        if verifier::is_enabled()
            && let Some(filter) = self.filter.upgrade()
        {
            verifier::check_closed(pin, &filter);
        }
    }

    pub(crate) fn clone_cancelled(&self, pin: &Pin, clone: CloneId) {
        self.ask(Callback::CLONE_CANCEL, || self.instance.clone_cancelled(pin, clone));
    }

    pub(crate) fn pointer_timed_out(&self, pin: &Arc<Pin>, pointer: PointerId, context: u64) {
        self.ask(Callback::POINTER_TIMEOUT, || self.instance.pointer_timed_out(pin, pointer, context));
    }

    pub(crate) fn frame_source(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        self.try_ask(Callback::PIN_ALLOCATOR, || self.instance.frame_source(pin, framing))
    }

    pub(crate) fn handshake(&self, pin: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        let answer = self.ask(Callback::HANDSHAKE, || self.instance.handshake(pin, offer));
        match answer.unwrap_or(Err(STATUS_UNSUCCESSFUL)) {
            Err(status) if status.is_success() => {
                returned(self.subject(), Rule::CallbackReturn, Callback::HANDSHAKE, status);
                Err(STATUS_UNSUCCESSFUL)
            }
            answer => answer,
        }
    }

    pub(crate) fn frame_returned(&self, pin: &Arc<Pin>, frame: ReturnedFrame) {
        self.ask(Callback::FRAME_RETURN, || self.instance.frame_returned(pin, frame));
    }

    pub(crate) fn request_returned(&self, pin: &Arc<Pin>, request: &ReturnedRequest<'_>) {
        self.ask(Callback::REQUEST_COMPLETION, || self.instance.request_returned(pin, request));
    }

    pub(crate) fn interface(&self, pin: &Arc<Pin>, id: Guid) -> Option<Interface> {
        self.ask(Callback::PIN_INTERFACE, || self.instance.interface(pin, id)).flatten()
    }

    #[inline]
    pub(crate) fn automation(&self) -> Option<&AutomationTable<Pin>> {
        self.instance.automation()
    }

    pub(crate) fn node_automation(&self, node: u32) -> Option<&AutomationTable<Pin>> {
        self.instance.node_automation(node)
    }
}
