//! How the client of an event is notified.
//!
//! Source: ns-ks-kseventdata. Its other kinds point into the kernel and are for drivers; no driver's request gets here
//! with one, so they are refused whoever asks.

use ks_abi::{
    KSEVENTF_EVENT_HANDLE, KSEVENTF_SEMAPHORE_HANDLE, KsEventData, NtStatus, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER,
};
use ks_io::{Event, FileReference, Semaphore};

#[derive(Debug)]
pub(super) enum Notification {
    Event(Event),
    Semaphore(Semaphore, u32),
    /// The client looks at the buffer when it likes.
    None,
}

impl Notification {
    /// The event object that it sets.
    pub(super) fn event(&self) -> Option<Event> {
        match self {
            Notification::Event(event) => Some(event.clone()),
            Notification::Semaphore(..) | Notification::None => None,
        }
    }

    /// The notification that event data asks for. Reserved members are zero, an adjustment is above zero.
    ///
    /// Decision: a buffered event may have no notification (a type of zero). The page says that buffering replaces the
    /// notification; a client that names an object has it signalled as well.
    pub(super) fn of(data: &KsEventData, buffered: bool, file: &FileReference) -> Result<Notification, NtStatus> {
        let handle = data.object;
        match data.notification_type {
            KSEVENTF_EVENT_HANDLE if data.data == [0, 0] => {
                let event = file.upgrade().and_then(|file| file.event_by_handle(handle));
                event.map(Notification::Event).ok_or(STATUS_INVALID_HANDLE)
            }
            KSEVENTF_SEMAPHORE_HANDLE => {
                let (reserved, adjustment) = (data.data[0] as u32, (data.data[0] >> 32) as i32);
                if reserved != 0 || data.data[1] != 0 || adjustment <= 0 {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                let semaphore = file.upgrade().and_then(|file| file.semaphore_by_handle(handle));
                let semaphore = semaphore.ok_or(STATUS_INVALID_HANDLE)?;
                Ok(Notification::Semaphore(semaphore, adjustment.unsigned_abs()))
            }
            0 if buffered && handle == 0 && data.data == [0, 0] => Ok(Notification::None),
            _ => Err(STATUS_INVALID_PARAMETER),
        }
    }

    pub(super) fn signal(&self) {
        match self {
            Notification::Event(event) => event.set(),
            Notification::Semaphore(semaphore, adjustment) => {
                // One that is full says what there is to say: its client has as many to take as it has asked for.
                let _ = semaphore.release(*adjustment);
            }
            Notification::None => {}
        }
    }
}
