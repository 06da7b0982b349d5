//! File objects of this engine that the other side can name.

use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::{Arc, Mutex};
use ks_io::{FileObject, Handle, IoManager, RequestorMode, Session, Transport};
use ks_wire::Requestor;
use std::collections::BTreeMap;

/// The most file objects that the other side can name.
const MOST_EXPORTS: usize = 1 << 16;
/// The most clients of the other side that have something open here.
const MOST_CLIENTS: usize = 1024;

#[derive(Default)]
pub(super) struct Exports {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Export>,
    last: u64,
    clients: BTreeMap<Requestor, Arc<Session>>,
    closed: bool,
}

struct Export {
    file: Arc<FileObject>,
    life: Arc<Life>,
    /// The handle that was opened for the other side, until it says that its own is closed.
    opened: Option<Opened>,
}

/// Shared by all that run on an exported file object.
#[derive(Default)]
pub(super) struct Life {
    closed: Mutex<Option<Told>>,
}

type Told = Box<dyn FnOnce() + Send>;

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(told) = self.closed.lock().take() {
            told();
        }
    }
}

/// A file object while something runs on it for the other side. The fields are let go of in their order.
pub(super) struct Used {
    pub(super) file: Arc<FileObject>,
    pub(super) life: Arc<Life>,
}

/// A handle of a client that stands for one of the other side.
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    pub(super) handle: Handle,
}

impl Opened {
    pub(super) fn close(self) {
        let _ = self.session.close(self.handle);
    }
}

impl Exports {
    /// Gives a file object a number, which is never used again.
    pub(super) fn add(&self, file: Arc<FileObject>, opened: Option<Opened>) -> Result<u64, NtStatus> {
        let refused = {
            let mut state = self.state.lock();
            if !state.closed && state.files.len() < MOST_EXPORTS {
                state.last += 1;
                let number = state.last;
                state.files.insert(number, Export { file, life: Arc::default(), opened });
                return Ok(number);
            }
            opened
        };
        if let Some(opened) = refused {
            opened.close();
        }
        Err(STATUS_INSUFFICIENT_RESOURCES)
    }

    pub(super) fn file(&self, number: u64) -> Option<Arc<FileObject>> {
        Some(self.state.lock().files.get(&number)?.file.clone())
    }

    /// A file object for something that runs on it.
    pub(super) fn used(&self, number: u64) -> Option<Used> {
        let state = self.state.lock();
        let export = state.files.get(&number)?;
        Some(Used { file: export.file.clone(), life: export.life.clone() })
    }

    /// The handle that was opened for the other side, to be closed.
    pub(super) fn take_handle(&self, number: u64) -> Option<Opened> {
        self.state.lock().files.get_mut(&number)?.opened.take()
    }

    /// Frees a number; `None` when it names nothing. The handle behind it is closed if it still is open. `told` runs when
    /// the caller has dropped the answer and nothing else holds the file object for the other side: a thread that has
    /// just sent an answer still does.
    pub(super) fn remove(&self, number: u64, told: Told) -> Option<Arc<Life>> {
        let Export { file, life, opened } = self.state.lock().files.remove(&number)?;
        if let Some(opened) = opened {
            opened.close();
        }
        drop(file);
        *life.closed.lock() = Some(told);
        Some(life)
    }

    /// The client of this engine that stands for one of the other side.
    pub(super) fn client(&self, requestor: Requestor, io: &Arc<IoManager>) -> Result<Arc<Session>, NtStatus> {
        let mut state = self.state.lock();
        if let Some(session) = state.clients.get(&requestor) {
            return Ok(session.clone());
        }
        if state.clients.len() >= MOST_CLIENTS {
            state.clients.retain(|_, session| Arc::strong_count(session) > 1);
        }
        if state.closed || state.clients.len() >= MOST_CLIENTS {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let mode = if requestor.kernel_mode { RequestorMode::Kernel } else { RequestorMode::User };
        let session = io.session_as(mode);
        state.clients.insert(requestor, session.clone());
        Ok(session)
    }

    /// Closes everything that was opened for the other side, newest first, and exports nothing more.
    pub(super) fn close(&self) {
        let (files, clients) = {
            let mut state = self.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.files), std::mem::take(&mut state.clients))
        };
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (_, export) in files {
            if let Some(opened) = export.opened {
                opened.close();
            }
        }
        drop(clients);
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().files.len()
    }
}
