//! A device of the other engine.

use super::file::RemoteFile;
use super::peer::Inner;
use crate::terminal::printable;
use ks_abi::STATUS_DEVICE_REMOVED;
use ks_io::sync::{Mutex, Weak};
use ks_io::{AccessMask, Aspect, CreateRequest, Created, DeviceObject, Refusal};
use ks_wire::{Message, Open, WireError};

/// Stands for a device of another process: its filters open there.
pub struct RemoteDevice {
    peer: Weak<Inner>,
    /// Its name here.
    name: String,
    /// Its name there.
    name_there: String,
    /// References that are shown here in another form than they have there, with that form first.
    renamed: Mutex<Vec<(String, String)>>,
}

impl RemoteDevice {
    pub(super) fn new(peer: Weak<Inner>, name: String, name_there: String) -> RemoteDevice {
        RemoteDevice { peer, name, name_there, renamed: Mutex::new(Vec::new()) }
    }

    /// The form in which a reference of the other side is shown here, and by which it is opened.
    pub(super) fn shown(&self, reference: String) -> String {
        let shown = printable(&reference);
        if shown != reference {
            self.renamed.lock().push((shown.clone(), reference));
        }
        shown
    }
}

impl DeviceObject for RemoteDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let gone = || {
            let reason = format!("the process of the device {} has ended", self.name);
            Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, reason)
        };
        let peer = self.peer.upgrade().ok_or_else(gone)?;
        let requestor = Inner::requestor(request.origin);
        let renamed = self.renamed.lock().iter().find(|(shown, _)| shown == request.name).cloned();
        let reference = renamed.as_ref().map_or(request.name, |(_, there)| there.as_str());
        let device = self.name_there.as_str();
        let access = request.access.0;
        let cancel = Some(&**request.file.create_cancel());
        let open = |id| Message::Open(Open { request: id, requestor, access, device, reference });
        let answer = peer.call_until_cancelled(cancel, open);
        match (answer.refusal, answer.status) {
            (_, status) if status.is_success() && answer.file != 0 => {
                let object = RemoteFile::new(&peer, answer.file);
                Ok(Created { object, granted: AccessMask(answer.granted & request.access.specific().0) })
            }
            (Some(refusal), _) => Err(refusal),
            (None, STATUS_DEVICE_REMOVED) => Err(gone()),
            (None, status) => {
                let reason = format!("the process of the device {} does not open {}", self.name, request.name);
                Err(Refusal::new(super::file::failure(status), Aspect::Device, reason))
            }
        }
    }

    /// This engine ends, and with it the connection.
    fn remove(&self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.break_off(WireError::Closed);
        }
    }
}

impl std::fmt::Debug for RemoteDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteDevice").field("name", &self.name).finish_non_exhaustive()
    }
}
