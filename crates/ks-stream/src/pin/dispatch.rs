//! The requests that reach a pin, each to the file that answers it; its last handle and its last reference.

use super::Pin;
use crate::allocator::{self, AllocatorFraming};
use crate::automation;
use crate::event;
use crate::io_control::default_completion;
use crate::node_object::{self, NodeParent};
use crate::stream_io::Direction;
use crate::{method, property, sets};
use ks_abi::{IoControlCode, STATUS_CANCELLED, STATUS_DEVICE_REMOVED};
use ks_io::sync::Arc;
use ks_io::{CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal};

impl Dispatch for Pin {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.filter.device().is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let code = irp.io_control_code();
        if matches!(code, IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD) && automation::is_for_node(irp.input())
        {
            return self.node_request(irp);
        }
        if code == IoControlCode::KS_PROPERTY {
            let own = self.instance.get().and_then(|instance| instance.automation());
            let built_in = sets::pin_table();
            let both = [own.unwrap_or(built_in), built_in];
            return property::handle(self, irp, if own.is_some() { &both } else { &both[1..] });
        }
        let Some(me) = self.me.upgrade() else { return irp.done(STATUS_DEVICE_REMOVED) };
        match code {
            IoControlCode::KS_READ_STREAM => me.stream_request(irp, Direction::Read),
            IoControlCode::KS_WRITE_STREAM => me.stream_request(irp, Direction::Write),
            // ks-coverage: IOCTL_KS_RESET_STATE done test=begin_cancels_and_refuses_and_end_opens_again,a_reset_passes_through_a_filter_where_its_topology_leads
            IoControlCode::KS_RESET_STATE => me.reset_request(irp),
            // ks-coverage: IOCTL_KS_HANDSHAKE done test=kshandshake_is_for_drivers_only
            IoControlCode::KS_HANDSHAKE => self.handshake_request(irp),
            IoControlCode::KS_METHOD => method::handle(self, irp, self.automation().as_slice()),
            IoControlCode::KS_ENABLE_EVENT if event::is_for_node(irp.input()) => self.node_request(irp),
            IoControlCode::KS_ENABLE_EVENT => {
                self.events.enable(self, irp, sets::pin_events(self.flags()), self.automation())
            }
            _ if event::is_event_code(code) => self.events.disable_with(self, irp, |node| self.table_of(node)),
            _ => irp.done(default_completion(code)),
        }
    }

    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let me = self.me.upgrade().filter(|_| !self.filter.device().is_removed());
        let Some(me) = me else {
            let reason = format!("the device {} was removed", self.filter.device().device_name());
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, ks_io::Aspect::Device, reason));
        };
        let is = |class| crate::filter::is_class(request.name, class);
        if is(ks_abi::KSNAME_Clock) {
            return crate::clock_object::create(self, request);
        }
        if is(ks_abi::KSNAME_Allocator) {
            return allocator::create(&me, request, AllocatorFraming::plain);
        }
        if is(ks_abi::KSNAME_AllocatorEx) {
            return allocator::create(&me, request, AllocatorFraming::extended);
        }
        if is(ks_abi::KSNAME_TopologyNode) {
            return node_object::create(NodeParent::Pin(me), request);
        }
        Err(crate::filter::unknown_class(request.name, "a pin"))
    }

    fn cleanup(&self) {
        let Some(me) = self.me.upgrade() else { return };
        me.stop_streaming(STATUS_CANCELLED);
        me.take_frames_back();
        me.let_go_of_circuit();
        me.disconnect_as_source();
        me.notify_source();
        self.events.free_with(self, |node| self.table_of(node));
        // Let go outside of the lock; a pin that follows its own clock would keep itself open.
        let master_clock = self.master_clock.lock().take();
        if let Some(master_clock) = master_clock {
            master_clock.let_go();
        }
        let allocator = self.stream_allocator.lock().take();
        drop(allocator);
        let manager = self.quality_manager.lock().take();
        drop(manager);
    }

    fn close(&self) {
        if let Some(me) = self.me.upgrade() {
            me.force_stop();
        }
        if self.filter.is_given_up() {
            self.filter.remove_pin(self.id(), self);
            return;
        }
        self.leave_gates();
        self.close_instance();
        let _control = self.filter.control().hold();
        self.filter.remove_pin(self.id(), self);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
