//! The Kernel Streaming class driver: the low-level routines, and AVStream over them.
//!
//! A minidriver describes itself ([`FilterDescriptor`], [`PinDescriptor`]) and implements [`FilterDispatch`],
//! [`FilterInstance`] and [`PinInstance`]; [`Device::start`] registers it. The class driver answers the built-in
//! property sets, validates connections, runs the state machine, queues frames and calls the process callback.
//!
//! A request enters at [`Filter`] or [`Pin`] (`filter.rs`, `pin.rs`), goes through `property.rs` and `automation.rs` to a
//! handler in `sets/` or in the minidriver. A frame enters a `queue.rs`, is worked on through `stream_pointer.rs` when
//! `process.rs` calls the minidriver, and goes on by `pipe.rs`.
#![forbid(unsafe_code)]

mod allocator;
mod attached_gate;
mod automation;
mod batch;
mod callback;
mod clock;
mod clock_object;
pub mod describe;
mod descriptor;
mod device;
mod event;
mod factories;
mod filter;
mod filter_process;
mod foreign;
pub mod format;
mod gate;
mod handshake;
mod injection;
mod io_control;
mod leading_edge;
mod looped;
mod mapping;
mod method;
mod minidriver;
mod node_object;
mod pended;
mod pin;
mod pipe;
mod process;
mod property;
mod property_values;
mod quality;
mod queue;
mod rate;
mod sets;
pub mod sized_list;
mod standard;
mod statistics;
mod stream_io;
mod stream_pointer;
mod timed_attempt;
mod trailing_edge;
pub mod validate;
pub mod verifier;
mod watchdog;

pub use allocator::{
    AllocatorFraming, AllocatorObject, AskedFraming, FrameSource, allocator_of_another_process,
    validate_allocator_create,
};
pub use attached_gate::AttachedGate;
pub use automation::{
    AddEvent, AutomationTable, EventItem, EventSet, Handler, MethodItem, MethodSet, PropertyItem, PropertySet,
    RemoveEvent, SERIALIZED_BY_SIZE_QUERY,
};
pub use clock::{ClockAlarm, ClockParts, ClockSource, ClockTimer, DefaultClock, ReferenceClock, asks_to_follow};
pub use clock_object::{ClockObject, validate_clock_create};
pub use descriptor::{
    DescribeFilter, DescribePin, ExtendedFraming, FilterDescriptor, FilterFlags, Framing, PinDescriptor, PinFlags,
    PinId,
};
pub use device::{Cooling, Device, DeviceDispatch, FactoryLifetime, PnpState, PowerTurn, Removal, ThermalState};
pub use event::{BuiltInEvent, EventBuffer, EventList, EventRequest, EventToken, answer as answer_event};
pub use factories::{PinFactories, Topology, answer_pin_property, answer_topology_property};
pub use filter::Filter;
pub use filter_process::{CopyRelationship, ProcessFrame, ProcessPin, ProcessPins};
pub use format::{DataFormat, DataRange};
pub use gate::Gate;
pub use handshake::Interface;
pub use injection::{InjectedFrame, ReturnedFrame, ReturnedRequest};
pub use io_control::{default_completion, reset_value};
pub use ks_abi::{USERKS_EVENT_PIN_FAILED, USERKS_EVENTSET_PIN};
pub use leading_edge::{AfterAdvance, LeadingEdge};
pub use looped::properties::automation as looped_automation;
pub use looped::{BufferWish, ClockRegister, CyclicBuffer, LoopedPin, LoopedStream, MOST_LOOPED_BYTES};
pub use mapping::{DmaAdapter, Mapping};
pub use method::answer as answer_method;
pub use minidriver::{FilterDispatch, FilterInstance, Intersection, PinInstance};
pub use node_object::{NodeObject, validate_node_create};
pub use pended::{CreateEnding, PendedClose, PendedCreate};
pub use pin::Pin;
pub use pin::intersect::first_match;
pub use pipe::AllocatorReport;
pub use process::Turn;
pub use property::{PropertyCall, answer as answer_property};
pub use property_values::{Bounds, PropertyMembers, PropertyValues, Stepping};
pub use quality::quality_manager_item;
pub use queue::{FrameRequest, PointerId, Step};
pub use rate::{NOMINAL_RATE, RateControl};
pub use standard::{STANDARD_PROPERTIES, StandardProperty, Target, standard_property};
pub use stream_io::{Direction, check_header, memory_of, probe_headers};
pub use stream_pointer::{CloneId, ClonePointer, Leaving, Locked};
pub use timed_attempt::TimedAttempt;
pub use trailing_edge::TrailingEdge;
pub use verifier::{Rule, Violation};
pub use watchdog::{Hang, Watchdog};
