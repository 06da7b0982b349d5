//! What a Rust minidriver implements: the dispatch tables of AVStream as traits.
//!
//! A filter's [`FilterDispatch::create`] makes its [`FilterInstance`]; that makes the [`PinInstance`] of each of its
//! pins, so state is reached by types and never by a cast. Every method but the creates has a default that does
//! nothing. Which mutex is held in which callback is said at each; mutexes are taken in the order device, filter
//! control, processing, and none twice.
//!
//! A callback that panics, or returns what it may not, stops its own filter (`callback.rs`); [`crate::verifier`] holds
//! minidrivers to the other rules.

use crate::allocator::{AllocatorFraming, FrameSource};
use crate::automation::AutomationTable;
use crate::descriptor::{DescribeFilter, ExtendedFraming, Framing, PinId};
use crate::device::Device;
use crate::filter::Filter;
use crate::filter_process::ProcessPins;
use crate::format::{DataFormat, DataRange};
use crate::handshake::Interface;
use crate::injection::{ReturnedFrame, ReturnedRequest};
use crate::pin::Pin;
use crate::queue::PointerId;
use crate::stream_pointer::CloneId;
use ks_abi::kernel::DevicePowerState;
use ks_abi::{Guid, KsHandshake, KsState, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING};
use ks_io::{Origin, Refusal};
use ks_mem::FrameMemory;
use std::any::Any;
use std::sync::Arc;

/// A pair of data ranges that a format is wanted of, with who asks.
#[derive(Debug, Clone, Copy)]
pub struct Intersection<'a> {
    /// The pin factory.
    pub pin: PinId,
    /// The client's range.
    pub range: &'a DataRange,
    /// The factory's range.
    pub matching: &'a DataRange,
    /// Its number among the factory's ranges.
    pub matching_index: usize,
    /// Who asks.
    pub origin: &'a Origin,
}

/// The routines of a kind of filter.
#[doc(alias = "KSFILTER_DISPATCH")]
pub trait FilterDispatch: Send + Sync {
    /// A client opens the filter (`IRP_MJ_CREATE`). Called with the device and the filter control mutex held.
    ///
    /// Source: nc-ks-pfnksfilterirp.
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal>;

    /// The device goes from D0 to this power state; its filters have been told. Device mutex held.
    ///
    /// Source: nf-ks-kscreatefilterfactory.
    fn sleep(&self, device: &Arc<Device>, to: DevicePowerState) {
        let _ = (device, to);
    }

    /// The device is in D0 again; its filters are told next. Device mutex held.
    fn wake(&self, device: &Arc<Device>, to: DevicePowerState) {
        let _ = (device, to);
    }
}

/// One open filter of a minidriver.
pub trait FilterInstance: Any + Send + Sync {
    /// A pin is created, after its format was accepted (`IRP_MJ_CREATE`). Filter control mutex held.
    ///
    /// The pin has its format, interface and medium; a driver that wants extended stream headers calls
    /// [`Pin::set_stream_header_bytes`] here. Source: nc-ks-pfnkspinirp.
    #[doc(alias = "KSPIN_DISPATCH.Create")]
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal>;

    /// Would a new pin take `format`, which falls into `range`? Asked before the pin is created. STATUS_NO_MATCH makes
    /// the class driver try the next range. Filter control mutex held.
    ///
    /// Source: nc-ks-pfnkspinsetdataformat, with no old format.
    #[doc(alias = "KSPIN_DISPATCH.SetDataFormat")]
    fn accept_format(&self, pin: PinId, format: &DataFormat, range: &DataRange) -> Result<(), Refusal> {
        let _ = (pin, format, range);
        Ok(())
    }

    /// What this filter says of itself, if that may differ from what its factory says. Asked at each use.
    fn descriptor(&self) -> Option<&dyn DescribeFilter> {
        None
    }

    /// The data ranges of a pin factory on this filter; `None`: those of the descriptor. Asked at each use.
    fn data_ranges(&self, pin: PinId) -> Option<Vec<DataRange>> {
        let _ = pin;
        None
    }

    /// The best complete format that lies in the client's `range` and in the factory's `matching` range. STATUS_NO_MATCH
    /// makes the class driver try the next pair.
    ///
    /// Default: a range whose specifier is NONE gives a bare format; another gives STATUS_NO_MATCH.
    /// Source: nc-ks-pfnksintersecthandlerex.
    #[doc(alias = "KSPIN_DESCRIPTOR_EX.IntersectHandler")]
    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        let _ = pin;
        crate::pin::intersect::default_handler(range, matching)
    }

    /// As [`FilterInstance::intersect`], which it calls by default, for a minidriver that wants to know who asks, or which
    /// of several equal ranges of its factory is meant.
    fn intersect_asked(&self, asked: &Intersection<'_>) -> Result<DataFormat, Refusal> {
        self.intersect(asked.pin, asked.range, asked.matching)
    }

    /// Does the filter process as a whole ([`FilterInstance::process`]), instead of its pins each for itself? Asked once,
    /// when it is opened.
    fn is_filter_centric(&self) -> bool {
        false
    }

    /// Frames are there to be processed: one a pin that takes part. Processing mutex held; no other lock.
    ///
    /// What is used of each frame is told to its [`crate::ProcessPin`]; the frames go on when this returns. Return
    /// STATUS_SUCCESS to be called again while there are frames, or STATUS_PENDING to wait for the next trigger.
    /// Source: nc-ks-pfnksfilterprocess.
    #[doc(alias = "KSFILTER_DISPATCH.Process")]
    fn process(&self, filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let _ = (filter, pins);
        STATUS_PENDING
    }

    /// A pin's queue was flushed, or a reset began or ended; only asked of a filter that processes as a whole. Filter
    /// control mutex held.
    #[doc(alias = "KSFILTER_DISPATCH.Reset")]
    fn reset(&self, filter: &Arc<Filter>) {
        let _ = filter;
    }

    /// The filter's own automation table; its items win over the class driver's.
    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        None
    }

    /// An interface of this filter, for pins that are connected to one of its pins; see
    /// [`Pin::connected_filter_interface`].
    fn interface(&self, filter: &Arc<Filter>, id: Guid) -> Option<Interface> {
        let _ = (filter, id);
        None
    }

    /// The automation table of a topology node; `None`: the node answers nothing.
    #[doc(alias = "KSNODE_DESCRIPTOR.AutomationTable")]
    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        let _ = node;
        None
    }

    /// The device goes from D0 to this power state: a filter that processes as a whole is told, its pins are in PAUSE at
    /// most and nothing processes. Device and filter control mutex held.
    #[doc(alias = "KsFilterRegisterPowerCallbacks")]
    fn sleep(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        let _ = (filter, to);
    }

    /// The device is in D0 again; the states of the pins follow. Device and filter control mutex held.
    #[doc(alias = "KsFilterRegisterPowerCallbacks")]
    fn wake(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        let _ = (filter, to);
    }

    /// The last reference to the filter's file object went away. Device and filter control mutex held.
    #[doc(alias = "KSFILTER_DISPATCH.Close")]
    fn close(&self, filter: &Filter) {
        let _ = filter;
    }
}

/// One pin of a minidriver.
#[doc(alias = "KSPIN_DISPATCH")]
pub trait PinInstance: Send + Sync {
    /// Frames are there to be processed. Processing mutex held; no other lock.
    ///
    /// Return STATUS_SUCCESS to be called again while frames are left (something must have been consumed), or
    /// STATUS_PENDING to wait for the next trigger: a frame that arrives in the empty queue, the pin reaching its least
    /// processing state, or [`Pin::attempt_processing`]. An error counts as STATUS_PENDING; any other status, or a panic,
    /// stops the filter.
    /// Source: nc-ks-pfnkspin, "Restarting processing in AVStream".
    #[doc(alias = "KSPIN_DISPATCH.Process")]
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let _ = pin;
        STATUS_PENDING
    }

    /// The pin goes from one state to the next, in single steps, up or down; no STOP on a fresh pin. Filter control
    /// mutex held. An error leaves the pin where it was and takes the steps before it back.
    ///
    /// While this runs, [`Pin::state`] is `to` and [`Pin::device_state`] the state that the client asked for. Frames,
    /// the clock and the circuit of a pin that acquires follow when this has returned.
    ///
    /// Source: nc-ks-pfnkspinsetdevicestate.
    #[doc(alias = "KSPIN_DISPATCH.SetDeviceState")]
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        let _ = (pin, to, from);
        Ok(())
    }

    /// The format of the living pin is to change: in the place of the stream where the old format ends, or because a client
    /// has set it; nothing is processed meanwhile. Filter control mutex held. Default: refused.
    ///
    /// Source: nc-ks-pfnkspinsetdataformat.
    #[doc(alias = "KSPIN_DISPATCH.SetDataFormat")]
    fn set_data_format(&self, pin: &Arc<Pin>, old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        let _ = (pin, old, new);
        Err(Refusal::new(
            ks_abi::STATUS_INVALID_DEVICE_REQUEST,
            ks_io::Aspect::Driver,
            "the pin does not change its format",
        ))
    }

    /// The data ranges of this pin, where they are others than its factory's: those of an output may follow from the format of
    /// an input. What the pin's format is changed to lies in one of them. `None`: the factory's. Asked at each use, on any
    /// thread.
    ///
    /// Source: "Supporting dynamic format changes in AVStream codecs"; a Windows driver edits the descriptor of its KSPIN.
    fn data_ranges(&self, pin: &Pin) -> Option<Vec<DataRange>> {
        let _ = pin;
        None
    }

    /// A change of format is about to be made upstream: would the pin agree when it comes? Asked before anything changes,
    /// with no mutex held, on any thread; [`PinInstance::set_data_format`] follows, in the place of the stream where the
    /// old format ends. Default: refused, as there.
    #[doc(alias = "KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT")]
    fn would_take(&self, pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        let _ = new;
        let reason = format!("{} does not change its format while it streams", pin.describe());
        Err(Refusal::new(ks_abi::STATUS_INVALID_DEVICE_REQUEST, ks_io::Aspect::Driver, reason))
    }

    /// The format is another now because this minidriver said so in its stream. No mutex of rank filter control is taken
    /// for it.
    fn format_changed(&self, pin: &Arc<Pin>, old: &DataFormat, new: &DataFormat) {
        let _ = (pin, old, new);
    }

    /// What the pin asks of the allocator, now that its format is known; `None`: what the descriptor says.
    fn framing(&self, pin: &Pin) -> Option<Framing> {
        let _ = pin;
        None
    }

    /// The device goes from D0 to this power state: a pin that processes by itself is told, it is in PAUSE at most and does
    /// not process. Device and filter control mutex held.
    #[doc(alias = "KsPinRegisterPowerCallbacks")]
    fn sleep(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        let _ = (pin, to);
    }

    /// The device is in D0 again; the pin's state follows. Device and filter control mutex held.
    #[doc(alias = "KsPinRegisterPowerCallbacks")]
    fn wake(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        let _ = (pin, to);
    }

    /// The same in full, where there is more to say than numbers: ranges, kinds of memory, who allocates.
    fn extended_framing(&self, pin: &Pin) -> Option<ExtendedFraming> {
        let _ = pin;
        None
    }

    /// The frames of the pin's pipe section, which its framing says that it must allocate
    /// (KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE) or can (KSALLOCATOR_FLAG_CAN_ALLOCATE): where they come from; `None`: system
    /// memory, on its behalf. Asked each time the section's head acquires, under that pin's filter control mutex; an error
    /// of one that must refuses that change of state. One that can is asked where no pin must and no frame leaves the
    /// process. `memory` says whether another process maps the frames; who cannot give such memory says `None`. The source
    /// of the last time keeps its frames where it is given again, for the same framing.
    #[doc(alias = "KSPIN_DISPATCH.Allocator")]
    fn circuit_frames(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
        memory: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let _ = (pin, framing, memory);
        Ok(None)
    }

    /// True for a pin that can bring the frames of its section, whatever its framing says.
    #[doc(alias = "KSALLOCATOR_FLAG_CAN_ALLOCATE")]
    fn can_allocate(&self, pin: &Pin) -> bool {
        let _ = pin;
        false
    }

    /// The queue was flushed or a reset began or ended; clones must be deleted.
    #[doc(alias = "KSPIN_DISPATCH.Reset")]
    fn reset(&self, pin: &Arc<Pin>) {
        let _ = pin;
    }

    /// An AVStream source connected to this sink pin. Filter control mutex held.
    #[doc(alias = "KSPIN_DISPATCH.Connect")]
    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        let _ = pin;
        Ok(())
    }

    /// The AVStream source let go of this sink pin.
    #[doc(alias = "KSPIN_DISPATCH.Disconnect")]
    fn disconnect(&self, pin: &Pin) {
        let _ = pin;
    }

    /// The last reference to the pin's file object went away; its events are freed already. Filter control mutex held.
    #[doc(alias = "KSPIN_DISPATCH.Close")]
    fn close(&self, pin: &Pin) {
        let _ = pin;
    }

    /// The request under an unlocked clone was cancelled. The driver drops its [`crate::ClonePointer`] of this number,
    /// here or soon; the request completes when the last one is gone.
    ///
    /// Decision: called without the queue lock, so the driver may take its own locks. A timeout that passes meanwhile is
    /// told of after this one has returned, if the clone lives on. Source: nc-ks-pfnksstreampointer.
    #[doc(alias = "PFNKSSTREAMPOINTER")]
    fn clone_cancelled(&self, pin: &Pin, clone: CloneId) {
        let _ = (pin, clone);
    }

    /// The timeout of a stream pointer has passed, with the word that came with it; see
    /// [`crate::ClonePointer::schedule_timeout`]. At DISPATCH level, with no lock held. The driver may let the clone go
    /// here: a clone is in one callback at a time, and a cancel that comes meanwhile is told of after this one has
    /// returned, if the clone lives on.
    #[doc(alias = "PFNKSSTREAMPOINTER")]
    fn pointer_timed_out(&self, pin: &Arc<Pin>, pointer: PointerId, context: u64) {
        let _ = (pin, pointer, context);
    }

    /// A driver creates an allocator on this pin: where its frames come from; `None`: system memory. An error refuses the
    /// create. Allocators of user mode are of system memory always.
    #[doc(alias = "KSPIN_DISPATCH.Allocator")]
    fn frame_source(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let _ = (pin, framing);
        Ok(None)
    }

    /// Another pin, or a driver that has none, offers a protocol that the class driver does not know. What is answered goes
    /// back to it. None of this filter's mutexes is held; those of the other filter may be. Default: refused with
    /// STATUS_INVALID_DEVICE_REQUEST.
    ///
    /// Source: nc-ks-pfnkspinhandshake.
    #[doc(alias = "KsPinRegisterHandshakeCallback")]
    fn handshake(&self, pin: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        let _ = (pin, offer);
        Err(STATUS_INVALID_DEVICE_REQUEST)
    }

    /// An interface of this pin, for the pin that it is connected to; see [`Pin::connected_pin_interface`].
    fn interface(&self, pin: &Arc<Pin>, id: Guid) -> Option<Interface> {
        let _ = (pin, id);
        None
    }

    /// A frame that [`Pin::submit_frame`] sent is back. No lock is held, or on the way to STOP the filter control mutex;
    /// any thread and level. May submit it again.
    #[doc(alias = "PFNKSPINFRAMERETURN")]
    fn frame_returned(&self, pin: &Arc<Pin>, frame: ReturnedFrame) {
        let _ = (pin, frame);
    }

    /// A request has come round the circuit and its frame is about to be used again; asked for by
    /// [`Pin::watch_requests`]. No lock is held; any thread and level.
    #[doc(alias = "PFNKSPINIRPCOMPLETION")]
    fn request_returned(&self, pin: &Arc<Pin>, request: &ReturnedRequest<'_>) {
        let _ = (pin, request);
    }

    /// The pin's own automation table; its items win over the class driver's.
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        None
    }

    /// What a topology node of the filter answers when it is asked through this pin, about this pin's stream; `None`:
    /// nothing.
    #[doc(alias = "KSNODE_DESCRIPTOR.AutomationTable")]
    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Pin>> {
        let _ = node;
        None
    }
}
