//! One side of a connection between two engines: its start, its life and its end.

use super::crew::Crew;
use super::device::RemoteDevice;
use super::event::Events;
use super::export::Exports as ExportTable;
use super::incoming::Incoming;
use super::looped::Registered;
use super::memory::Memory;
use super::pending::{Answer, Call, Pending, Waiting};
use super::stamp::MachineClock;
use crate::device_names;
use crate::terminal::printable;
use ks_abi::{Guid, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_NOT_IMPLEMENTED};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
    thread,
};
use ks_io::{
    CancelCell, CancelTarget, DeviceObject, EventKind, InterfaceRecord, IoManager, Level, Signal, WaitOutcome, deferred,
};
use ks_wire::{Connection, Heartbeat, Lifeline, Message, RequestId, Sender, UNNUMBERED, WireError, decode_interfaces};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;
use zerocopy::FromBytes;

/// How long the end of the other side waits for its last messages to be read.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What the other side may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exports {
    /// Nothing but the objects that it is handed.
    #[default]
    Nothing,
    /// Every device interface of this engine.
    Everything,
}

impl Exports {
    pub(super) fn all(self) -> bool {
        self == Exports::Everything
    }
}

/// What of the other side's word is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Belief {
    /// Its requests are those of clients, whatever it says: the side that has a driver is not trusted.
    #[default]
    ClientsOnly,
    /// It says truly which requests are a driver's: the side that started this process.
    Everything,
}

/// What a side does for the other beside requests. Called on a thread of the connection; calls may come at the same
/// time.
pub trait Handler: Send + Sync {
    /// A line for the log: level 0 error, 1 warning, 2 information, 3 detail.
    fn log(&self, level: u8, text: &str) {
        let _ = (level, text);
    }

    /// The connection has ended, and nothing that waited for the other side knows yet.
    fn ended(&self) {}

    /// A report.
    fn report(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// How long something runs here that is no request of the other side: a driver's deferred procedure, say.
    fn busy_ms(&self) -> Option<u64> {
        None
    }

    /// A call of a service (files, say) and its answer.
    fn service(&self, operation: u32, body: &[u8]) -> (NtStatus, Vec<u8>) {
        let _ = (operation, body);
        (STATUS_NOT_IMPLEMENTED, Vec::new())
    }
}

struct NoHandler;

impl Handler for NoHandler {}

/// How a side treats the other.
#[derive(Clone)]
pub struct PeerOptions {
    /// What the other side may open.
    pub exports: Exports,
    /// What of its word is believed.
    pub belief: Belief,
    /// What this side does for it beside requests.
    pub handler: Arc<dyn Handler>,
}

impl Default for PeerOptions {
    fn default() -> PeerOptions {
        PeerOptions { exports: Exports::Nothing, belief: Belief::ClientsOnly, handler: Arc::new(NoHandler) }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// [`WireError::Closed`] when the other process ended, or this side ended the connection.
    pub cause: WireError,
}

type DeathCall = Box<dyn FnOnce(Death) + Send>;

pub(super) struct Inner {
    pub(super) me: Weak<Inner>,
    pub(super) io: Arc<IoManager>,
    pub(super) options: PeerOptions,
    pub(super) lifeline: Lifeline,
    /// Taken after the table of announced regions, before the table of pending requests.
    pub(super) sender: Mutex<Sender>,
    /// What was sent found no room. Set under the sender's lock, and looked at before every sleep.
    backlog: AtomicBool,
    pub(super) pending: Pending,
    /// Requests of the other side that are running, for their cancel.
    pub(super) incoming: Mutex<Incoming>,
    pub(super) exports: ExportTable,
    pub(super) memory: Memory,
    pub(super) events: Events,
    pub(super) registered: Registered,
    pub(super) crew: Crew,
    pub(super) clock: MachineClock,
    greeted: AtomicBool,
    heartbeat: Mutex<Option<Heartbeat>>,
    devices: Mutex<Vec<Arc<dyn DeviceObject>>>,
    /// Why the connection is broken; the thread that watches its life does the rest.
    broken: OnceLock<WireError>,
    death: Mutex<DeathState>,
}

#[derive(Default)]
struct DeathState {
    death: Option<Death>,
    calls: Vec<DeathCall>,
}

/// One side of a connection between two engines. Dropping it ends the connection.
///
/// It needs an engine on the machine's clock.
pub struct Peer {
    inner: Arc<Inner>,
    /// The thread that watches the connection's life.
    watcher: Option<thread::JoinHandle<()>>,
}

impl Peer {
    /// Starts one side. It serves the other side's requests from now on.
    pub fn start(io: &Arc<IoManager>, connection: Connection, options: PeerOptions) -> Result<Peer, WireError> {
        let (sender, receiver, lifeline) = connection.split();
        let inner = Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            io: io.for_device(),
            options,
            lifeline,
            sender: Mutex::new(sender),
            backlog: AtomicBool::new(false),
            pending: Pending::default(),
            incoming: Mutex::new(Incoming::default()),
            exports: ExportTable::default(),
            memory: Memory::default(),
            events: Events::default(),
            registered: Registered::default(),
            crew: Crew::default(),
            clock: MachineClock::of(io.services()),
            greeted: AtomicBool::new(false),
            heartbeat: Mutex::new(None),
            devices: Mutex::new(Vec::new()),
            broken: OnceLock::new(),
            death: Mutex::new(DeathState::default()),
        });
        inner.send(&Message::Hello { version: ks_wire::VERSION });
        inner.crew.take_over(&inner, receiver);
        let watched = inner.clone();
        let watcher = thread::Builder::new()
            .name("ks-wire-life".into())
            .spawn(move || watched.watch())
            .map_err(|_| WireError::System(rustix::io::Errno::AGAIN))?;
        Ok(Peer { inner, watcher: Some(watcher) })
    }

    /// The side that has the devices: the other may open all of them, and says truly who its requests come from.
    pub fn serve(io: &Arc<IoManager>, connection: Connection, handler: Arc<dyn Handler>) -> Result<Peer, WireError> {
        let options = PeerOptions { exports: Exports::Everything, belief: Belief::Everything, handler };
        Peer::start(io, connection, options)
    }

    /// The side that uses them: registers every device interface of the other side in `io`, see
    /// [`Peer::register_devices`]. Nothing that the other side says of itself is believed.
    pub fn attach(io: &Arc<IoManager>, connection: Connection, handler: Arc<dyn Handler>) -> Result<Peer, WireError> {
        let peer = Peer::start(io, connection, PeerOptions { handler, ..PeerOptions::default() })?;
        peer.register_devices()?;
        Ok(peer)
    }

    /// Registers the devices of the other side, and gives their names. Waits for its answer; the end of the other side
    /// is an answer too. A device whose name is taken gets a number behind it.
    pub fn register_devices(&self) -> Result<Vec<String>, WireError> {
        let inner = &self.inner;
        let answer = inner.call(|request| Message::ListInterfaces { request });
        if !answer.status.is_success() {
            return Err(inner.death().map_or(WireError::Closed, |death| death.cause));
        }
        let entries = decode_interfaces(&answer.bytes).inspect_err(|error| inner.break_off(*error))?;
        let mut made: Vec<(String, Arc<RemoteDevice>)> = Vec::new();
        for entry in entries {
            let device = match made.iter().find(|(there, _)| *there == entry.device) {
                Some((_, device)) => device.clone(),
                None => {
                    let name = device_names::free(&device_names::taken(&inner.io), &printable(&entry.device));
                    let device = Arc::new(RemoteDevice::new(inner.me.clone(), name, entry.device.clone()));
                    made.push((entry.device.clone(), device.clone()));
                    inner.devices.lock().push(device.clone());
                    device
                }
            };
            let reference = device.shown(entry.reference);
            let category = Guid::read_from_bytes(&entry.category).unwrap_or(Guid::NULL);
            inner.io.register_interface(InterfaceRecord {
                category,
                reference,
                friendly_name: printable(&entry.friendly_name),
                device,
            });
        }
        if inner.death().is_some() {
            // It ended meanwhile, and its end may not have seen these devices.
            inner.unregister_devices();
        }
        Ok(made.into_iter().map(|(_, device)| device.name().to_string()).collect())
    }

    /// Calls a service of the other side and waits for its answer.
    pub fn service(&self, operation: u32, body: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let answer = self.inner.call(|request| Message::Service { request, operation, body });
        if answer.status.is_success() { Ok(answer.bytes) } else { Err(answer.status) }
    }

    /// Sends a line for the other side's log; long ones are cut.
    pub fn log(&self, level: u8, text: &str) {
        self.inner.send(&Message::Log { level, text });
    }

    /// Sends a report.
    pub fn report(&self, bytes: &[u8]) {
        self.inner.send(&Message::Report { bytes });
    }

    /// Asks the other side for a sign of life, which [`Peer::last_heartbeat`] tells when it is there.
    pub fn ask_heartbeat(&self, number: u64) {
        self.inner.send(&Message::Heartbeat { number });
    }

    /// The last sign of life of the other side.
    pub fn last_heartbeat(&self) -> Option<Heartbeat> {
        *self.inner.heartbeat.lock()
    }

    /// Requests of this side that wait for the other.
    pub fn pending_requests(&self) -> usize {
        self.inner.pending.len()
    }

    /// File objects that the other side can name.
    pub fn exported_files(&self) -> usize {
        self.inner.exports.len()
    }

    /// Regions that this side has announced, and regions of the other side that it has mapped. In steady state neither
    /// number changes.
    pub fn regions(&self) -> (usize, usize) {
        self.inner.memory.counts()
    }

    /// Has `call` run once when the connection has ended and everything that waited for the other side has completed;
    /// at once if that has happened. It runs on the thread that noticed.
    pub fn on_death(&self, call: impl FnOnce(Death) + Send + 'static) {
        let death = {
            let mut state = self.inner.death.lock();
            match state.death {
                None => {
                    state.calls.push(Box::new(call));
                    return;
                }
                Some(death) => death,
            }
        };
        call(death);
    }

    /// How the connection ended, if it has.
    pub fn death(&self) -> Option<Death> {
        self.inner.death()
    }

    /// Ends the connection because of something that this side found out: a hang, say. Returns at once.
    pub fn disconnect(&self, cause: WireError) {
        self.inner.break_off(cause);
    }

    /// Waits until the connection has ended, whoever else holds this side.
    pub fn wait_for_end(&self) {
        let ended = Arc::new((Mutex::new(false), ks_io::sync::Condvar::new()));
        let told = ended.clone();
        self.on_death(move |_| {
            *told.0.lock() = true;
            told.1.notify_all();
        });
        let mut over = ended.0.lock();
        while !*over {
            over = ended.1.wait(over);
        }
    }

    /// Waits until the connection has ended: what a process that only serves does.
    pub fn wait(mut self) -> Death {
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        self.inner.death().unwrap_or(Death { cause: WireError::Closed })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.inner.break_off(WireError::Closed);
        if let Some(watcher) = self.watcher.take()
            && watcher.thread().id() != thread::current().id()
        {
            let _ = watcher.join();
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("death", &self.death()).finish_non_exhaustive()
    }
}

thread_local! {
    /// Room for the message that the thread writes, kept for the next.
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The most bytes that a thread keeps for its next message.
const MOST_KEPT_BYTES: usize = 64 << 10;

/// Has `write` write a message into memory of this thread.
pub(super) fn with_record<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut record = RECORD.try_with(RefCell::take).unwrap_or_default();
    record.clear();
    let written = write(&mut record);
    if record.capacity() <= MOST_KEPT_BYTES {
        let _ = RECORD.try_with(|kept| kept.replace(record));
    }
    written
}

impl Inner {
    /// Sends a message. A connection that takes none is broken, and its end tells everybody.
    pub(super) fn send(&self, message: &Message<'_>) {
        let mut sender = self.sender.lock();
        let sent = sender.send(message);
        self.after_send(&sender, sent);
    }

    fn after_send(&self, sender: &Sender, sent: Result<(), WireError>) {
        match sent {
            Ok(()) if sender.has_backlog() => self.backlog.store(true, Ordering::SeqCst),
            Ok(()) => {}
            Err(error) => self.break_off(error),
        }
    }

    /// Sends a request and lets it wait, in this order for everybody: its cancel and its answer come later.
    pub(super) fn send_request(&self, record: &mut [u8], waiting: Waiting) -> Result<RequestId, (Waiting, NtStatus)> {
        if record.len() > ks_wire::MESSAGE_LIMIT {
            return Err((waiting, ks_abi::STATUS_INVALID_BUFFER_SIZE));
        }
        let mut sender = self.sender.lock();
        let id = self.pending.insert(waiting, || self.me.clone())?;
        ks_wire::number_request(record, id);
        let sent = sender.send_encoded(record);
        self.after_send(&sender, sent);
        Ok(id)
    }

    /// True when something waits for room.
    pub(super) fn sender_waits(&self) -> bool {
        self.backlog.load(Ordering::SeqCst)
    }

    /// True when something waits for room, and there may be some now.
    pub(super) fn can_flush(&self) -> bool {
        self.sender_waits() && self.sender.lock().can_flush()
    }

    /// Looks again whether something waits for room.
    pub(super) fn note_backlog(&self) {
        let sender = self.sender.lock();
        self.backlog.store(sender.has_backlog(), Ordering::SeqCst);
    }

    /// Sends a request and waits for its answer. A thread that must not wait only sends it.
    pub(super) fn call<'m>(&self, message: impl FnOnce(RequestId) -> Message<'m>) -> Answer {
        self.call_until_cancelled(None, message)
    }

    /// As [`Inner::call`]; where there is a cancel state, its cancel goes to the other side, and the answer is waited for.
    pub(super) fn call_until_cancelled<'m>(
        &self,
        cancel: Option<&CancelCell>,
        message: impl FnOnce(RequestId) -> Message<'m>,
    ) -> Answer {
        let waits = Level::current() < Level::Dispatch;
        let done = self.io.services().event(EventKind::Notification, Signal::Clear);
        let call = Arc::new(Call { done, answer: Mutex::new(None) });
        let waiting = if waits { Waiting::Call(call.clone()) } else { Waiting::Nobody };
        let sent = with_record(|record| {
            message(UNNUMBERED).encode(record);
            self.send_request(record, waiting)
        });
        match sent {
            Ok(request) if waits => {
                let target: Weak<dyn CancelTarget> = self.me.clone();
                if cancel.is_some_and(|cancel| cancel.arm(target, request).is_err()) {
                    self.send(&Message::Cancel { request });
                }
            }
            Ok(_) => return Answer::status(ks_abi::STATUS_SUCCESS),
            Err((_, status)) => return Answer::status(status),
        }
        let waited = call.done.wait();
        if let Some(cancel) = cancel {
            cancel.disarm();
        }
        match waited {
            WaitOutcome::Signalled => {}
            _ => return Answer::status(ks_abi::STATUS_TIMEOUT),
        }
        let answer = call.answer.lock().take();
        answer.unwrap_or_else(|| Answer::status(STATUS_CANCELLED))
    }

    pub(super) fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Acquire)
    }

    pub(super) fn greeted(&self) -> Result<(), WireError> {
        match self.greeted.swap(true, Ordering::AcqRel) {
            false => Ok(()),
            true => Err(WireError::Protocol("a second greeting")),
        }
    }

    pub(super) fn heard(&self, beat: Heartbeat) {
        *self.heartbeat.lock() = Some(beat);
    }

    pub(super) fn death(&self) -> Option<Death> {
        self.death.lock().death
    }

    /// The connection is of no more use. Legal in every place: the thread that watches its life does what follows.
    pub(super) fn break_off(&self, cause: WireError) {
        let _ = self.broken.set(cause);
        self.lifeline.cut();
    }

    /// The life of the thread that watches the connection.
    fn watch(&self) {
        self.lifeline.wait_for_end();
        // Nobody sleeps any more. What the other side said before its end is read first: it may be a report.
        self.lifeline.wake_up().end();
        self.crew.wait_until_finished(LAST_WORDS);
        self.lifeline.cut();
        self.end();
    }

    /// Everything that waits for the other side completes, in the order that keeps promises: no new open, no use of
    /// memory that it could write, then the completions, then whoever asked to be told.
    fn end(&self) {
        let cause = *self.broken.get_or_init(|| WireError::Closed);
        self.unregister_devices();
        self.memory.quarantine();
        self.options.handler.ended();
        {
            let _inside = deferred::enter();
            for waiting in self.pending.close() {
                if let Some(irp) = self.take_apart(waiting) {
                    irp.disarm();
                    drop(irp.complete(STATUS_DEVICE_REMOVED));
                }
            }
        }
        {
            let _inside = deferred::enter();
            let running = self.incoming.lock().cells();
            running.iter().for_each(|cell| cell.cancel());
        }
        {
            let _inside = deferred::enter();
            self.exports.close();
            self.registered.clear();
        }
        self.events.fail();
        let death = Death { cause };
        let calls = {
            let mut state = self.death.lock();
            state.death = Some(death);
            std::mem::take(&mut state.calls)
        };
        calls.into_iter().for_each(|call| call(death));
    }

    fn unregister_devices(&self) {
        let devices = std::mem::take(&mut *self.devices.lock());
        devices.iter().for_each(|device| self.io.unregister_device(device));
    }
}

impl CancelTarget for Inner {
    /// The cancel goes to the other side; the request completes when that has let go of it.
    fn cancel(&self, key: u64) {
        if self.pending.contains(key) {
            self.send(&Message::Cancel { request: key });
        }
    }
}
