//! Events: how a client is notified, and the protocol handshake.

use crate::define::{abi_consts, abi_struct};
use crate::guid::Guid;
use crate::identifier::KsEvent;
use crate::pointer::Ptr64;

abi_struct! {
    /// How to notify. The meaning of `data` follows from the type; the address of this structure in the client is the
    /// event's identity.
    pub struct KsEventData = "KSEVENTDATA", "ns-ks-kseventdata" {
        /// `KSEVENTF_*`.
        notification_type: u32 = "NotificationType",
        #[doc(hidden)]
        _padding: u32 = "",
        /// Handle or object to notify, by type.
        object: u64 = "EventHandle.Event" | "SemaphoreHandle.Semaphore" | "Alignment.Unused",
        /// Event handle: reserved. Semaphore: reserved (low half) and adjustment (high half).
        data: [u64; 2] = "EventHandle.Reserved" | "SemaphoreHandle.Reserved" | "Alignment.Alignment",
    }
}

abi_consts! {
    "Type of notification"
    pub(crate) NOTIFICATIONS: u32 {
        KSEVENTF_EVENT_HANDLE = 0x1,
        KSEVENTF_SEMAPHORE_HANDLE = 0x2,
        KSEVENTF_EVENT_OBJECT = 0x4,
        KSEVENTF_SEMAPHORE_OBJECT = 0x8,
        KSEVENTF_DPC = 0x10,
        KSEVENTF_WORKITEM = 0x20,
        KSEVENTF_KSWORKITEM = 0x80,
    }
}

abi_struct! {
    /// An event at one time.
    pub struct KsEventTimeMark = "KSEVENT_TIME_MARK", "ns-ks-ksevent_time_mark" {
        /// How to notify.
        event_data: KsEventData = "EventData",
        /// When, in 100-ns units.
        mark_time: i64 = "MarkTime",
    }
}

abi_struct! {
    /// An event at every multiple of an interval.
    pub struct KsEventTimeInterval = "KSEVENT_TIME_INTERVAL", "ns-ks-ksevent_time_interval" {
        /// How to notify.
        event_data: KsEventData = "EventData",
        /// The first time, in 100-ns units.
        time_base: i64 = "TimeBase",
        /// The interval, in 100-ns units.
        interval: i64 = "Interval",
    }
}

abi_struct! {
    /// A first time and an interval.
    pub struct KsInterval = "KSINTERVAL", "ns-ks-ksinterval" {
        /// The first time, in 100-ns units.
        time_base: i64 = "TimeBase",
        /// The interval, in 100-ns units.
        interval: i64 = "Interval",
    }
}

abi_struct! {
    /// Takes one queued item of a buffered event.
    pub struct KsQueryBuffer = "KSQUERYBUFFER", "ns-ks-ksquerybuffer" {
        /// The request, with `KSEVENT_TYPE_QUERYBUFFER`.
        event: KsEvent = "Event",
        /// The address that identified the event when it was enabled.
        event_data: Ptr64 = "EventData",
        /// Zero.
        reserved: Ptr64 = "Reserved",
    }
}

abi_struct! {
    /// An offer of a private protocol between two pins, and its answer.
    pub struct KsHandshake = "KSHANDSHAKE", "ns-ks-kshandshake" {
        /// The protocol.
        protocol_id: Guid = "ProtocolId",
        /// First argument.
        argument1: Ptr64 = "Argument1",
        /// Second argument.
        argument2: Ptr64 = "Argument2",
    }
}
