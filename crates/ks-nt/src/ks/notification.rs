//! The ways in which a driver hears of an event: by an event, a semaphore, a DPC or a work item of its own. On its own
//! lists it is told at once; of an object of the engine's it is told by an event of the engine's that stands for them.
//!
//! Source: ns-ks-kseventdata.

use crate::ks::address::Address;
use crate::ks::client_event::ClientEvent;
use crate::ks::kernel;
use crate::ntoskrnl::object_manager::{self, Kind, Object};
use ks_abi::{
    KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED, KSEVENT_TYPE_ONESHOT, KSEVENTF_DPC, KSEVENTF_EVENT_HANDLE,
    KSEVENTF_EVENT_OBJECT, KSEVENTF_SEMAPHORE_HANDLE, KSEVENTF_SEMAPHORE_OBJECT, KSEVENTF_WORKITEM, KsEvent,
    KsEventData, NtStatus, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
};
use ks_io::{Event, EventKind, EventObserver, FileObject, LentEvent, Services, Signal};
use std::any::Any;
use std::mem::offset_of;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// How a client of an event is told, and what keeps that alive.
pub(crate) struct Notification {
    how: How,
    /// The object behind a handle.
    held: Option<Arc<dyn Object>>,
}

enum How {
    /// The client of a buffered event looks when it likes.
    Silent,
    Event(Address),
    /// An event of a client of the engine's.
    Client(Event),
    /// A semaphore, and by how much it is released.
    Semaphore(Address, u32),
    Dpc(Address),
    /// A work item, and the queue that it is put into.
    WorkItem(Address, u32),
}

/// Does an enable request ask for what the event is raised with to be kept?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffering {
    Yes,
    No,
}

impl Buffering {
    /// As the flags of a request say.
    pub(crate) fn of(flags: u32) -> Buffering {
        if flags & KSEVENT_TYPE_ENABLEBUFFERED != 0 { Buffering::Yes } else { Buffering::No }
    }
}

impl Notification {
    /// What a client's KSEVENTDATA names. Addresses are taken from the kernel only.
    ///
    /// Decision: a boost of priority is ignored, and a kind of notification that is none of these is refused. A buffered
    /// event may have none.
    pub(crate) fn of(data: Address, mode: u8, buffering: Buffering) -> Result<Notification, NtStatus> {
        const PLACE: usize = offset_of!(KsEventData, object);
        let kind: u32 = data.get(offset_of!(KsEventData, notification_type));
        let object = data.follow(PLACE);
        let adjustment: u32 = data.get(PLACE + 12);
        let alone = |how| Ok(Notification { how, held: None });
        let by_handle = |wanted: Kind| {
            let known = object_manager::by_handle(object.0).filter(|known| known.kind() == wanted);
            known.ok_or(STATUS_INVALID_HANDLE)
        };
        match kind {
            KSEVENTF_EVENT_HANDLE => {
                if data.get::<[u64; 2]>(PLACE + 8) != [0, 0] {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                let event = by_handle(Kind::Event)?;
                let client: Arc<dyn Any + Send + Sync> = event.clone();
                let how = match client.downcast::<ClientEvent>() {
                    Ok(client) => How::Client(client.event().clone()),
                    Err(_) => How::Event(Address(event.address() as u64)),
                };
                Ok(Notification { how, held: Some(event) })
            }
            KSEVENTF_SEMAPHORE_HANDLE => {
                let semaphore = by_handle(Kind::Semaphore)?;
                let how = How::Semaphore(Address(semaphore.address() as u64), adjustment);
                Ok(Notification { how, held: Some(semaphore) })
            }
            0 if buffering == Buffering::Yes && data.get::<[u64; 3]>(PLACE) == [0; 3] => alone(How::Silent),
            _ if mode != 0 || object.is_null() => Err(STATUS_INVALID_PARAMETER),
            KSEVENTF_EVENT_OBJECT => alone(How::Event(object)),
            KSEVENTF_SEMAPHORE_OBJECT => alone(How::Semaphore(object, adjustment)),
            KSEVENTF_DPC => alone(How::Dpc(object)),
            KSEVENTF_WORKITEM => alone(How::WorkItem(object, data.get(PLACE + 8))),
            _ => Err(STATUS_INVALID_PARAMETER),
        }
    }

    /// Tells the client. A DPC is given the entry of the event.
    pub(crate) fn tell(&self, entry: Address) {
        match self.how {
            How::Silent => {}
            How::Event(event) => kernel::set_event(event.0),
            How::Client(ref event) => event.set(),
            How::Semaphore(semaphore, adjustment) => kernel::release_semaphore(semaphore, adjustment),
            How::Dpc(dpc) => kernel::queue_dpc(dpc, entry),
            How::WorkItem(item, queue) => kernel::queue_work_item(item.0, queue),
        }
    }

    /// KSEVENT_ENTRY.Object.
    pub(crate) fn object(&self) -> u64 {
        match self.how {
            How::Silent => 0,
            How::Client(_) => self.held.as_ref().map_or(0, |object| object.address() as u64),
            How::Event(object) | How::Semaphore(object, _) | How::Dpc(object) | How::WorkItem(object, _) => object.0,
        }
    }

    /// An event of the engine's that tells the driver each time it is set.
    fn into_engine_event(self, services: &Services) -> Event {
        match self.how {
            How::Client(event) => event,
            _ => services.observed_event(EventKind::Synchronization, Signal::Clear, Box::new(Teller(self))),
        }
    }
}

/// Tells a driver of an event on an object of the engine's. None of the ways waits or calls the driver.
struct Teller(Notification);

impl EventObserver for Teller {
    fn event_set(&self) {
        self.0.tell(Address::NULL);
    }
}

/// Renames the notification of a driver's enable request for an object of the engine's. The name is good as long as what
/// is given back; `None`: the request enables nothing, or names nothing, which is the engine's to refuse in its turn.
pub(crate) fn for_engine(
    file: &FileObject,
    services: &Services,
    mode: u8,
    request: &[u8],
    data: &mut [u8],
) -> Result<Option<LentEvent>, NtStatus> {
    const ENABLES: u32 = KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT | KSEVENT_TYPE_ENABLEBUFFERED;
    let flags = KsEvent::read_from_prefix(request).map_or(0, |(event, _)| event.flags);
    let Some(head) = data.get_mut(..size_of::<KsEventData>()).filter(|_| flags & ENABLES != 0) else {
        return Ok(None);
    };
    let notification = match Notification::of(Address(head.as_ptr() as u64), mode, Buffering::of(flags)) {
        Ok(Notification { how: How::Silent, .. }) => return Ok(None),
        Ok(notification) => notification,
        Err(status) => {
            // No handle of the driver's may be taken for one of the object's opener.
            let kind = if status == STATUS_INVALID_HANDLE { KSEVENTF_EVENT_HANDLE } else { u32::MAX };
            head.copy_from_slice(KsEventData { notification_type: kind, ..KsEventData::default() }.as_bytes());
            return Ok(None);
        }
    };
    let lent = file.lend_event(&notification.into_engine_event(services))?;
    let named =
        KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: lent.handle().0, ..KsEventData::default() };
    head.copy_from_slice(named.as_bytes());
    Ok(Some(lent))
}
