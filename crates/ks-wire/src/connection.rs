//! A connection: its set-up, its two ends, and its life.

use crate::encoding;
use crate::message::Message;
use crate::patience::Patience;
use crate::ring::{self, Consumer, MEMORY_BYTES, MOST_RECORD, Place, Producer};
use crate::{MESSAGE_LIMIT, WireError, socket};
use ks_mem::SharedMemory;
use rustix::fs::MemfdFlags;
use std::collections::VecDeque;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The most bytes that wait for a side that does not read.
const MOST_BACKLOG: usize = 64 << 20;

/// One side of a connection between two engines.
#[derive(Debug)]
pub struct Connection {
    socket: Arc<OwnedFd>,
    /// The ring that this side writes, then the one that it reads.
    rings: [Place; 2],
}

impl Connection {
    /// A new connection: this side, and the descriptor from which [`Connection::join`] makes the other, here or in a
    /// child process that inherits it. Who hands the descriptor to a child drops it here, or the child's end is not
    /// noticed.
    pub fn pair() -> Result<(Connection, OwnedFd), WireError> {
        let (ours, theirs) = socket::pair()?;
        let memory = SharedMemory::create("ks-rings", MEMORY_BYTES).map_err(WireError::Memory)?;
        if !socket::send(&ours, memory.descriptor())? {
            return Err(WireError::System(rustix::io::Errno::AGAIN));
        }
        Ok((Connection { socket: Arc::new(ours), rings: Place::both(&memory) }, theirs))
    }

    /// The other side of [`Connection::pair`].
    pub fn join(descriptor: OwnedFd) -> Result<Connection, WireError> {
        let memory =
            SharedMemory::open(socket::receive(&descriptor)?, MEMORY_BYTES as u64).map_err(WireError::Memory)?;
        if memory.len() != MEMORY_BYTES {
            return Err(WireError::Protocol("the rings have another size"));
        }
        let [theirs, ours] = Place::both(&memory);
        Ok(Connection { socket: Arc::new(descriptor), rings: [ours, theirs] })
    }

    /// Takes the connection apart for its users: one thread at a time sends, one receives, one waits for the end.
    pub fn split(self) -> (Sender, Receiver, Lifeline) {
        let Connection { socket, rings: [out, back] } = self;
        let ended = Arc::new(AtomicBool::new(false));
        let sender = Sender {
            socket: socket.clone(),
            ring: Producer::new(out.clone()),
            record: Vec::new(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
        };
        let consumer = Consumer::new(back, out);
        let lifeline = Lifeline { socket: socket.clone(), wake_up: WakeUp { ended, place: consumer.place() } };
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let patience = (processors > 1).then(Patience::default);
        let receiver = Receiver { socket, ring: consumer, patience };
        (sender, receiver, lifeline)
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Sender {
    socket: Arc<OwnedFd>,
    ring: Producer,
    record: Vec<u8>,
    /// What found no room. It goes before everything else.
    backlog: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    backlog_bytes: usize,
}

impl Sender {
    /// Sends a message. It never blocks: what finds no room waits here for [`Sender::flush`].
    pub fn send(&mut self, message: &Message<'_>) -> Result<(), WireError> {
        self.send_with(message, None)
    }

    /// Sends a message that comes with a descriptor.
    pub fn send_with(&mut self, message: &Message<'_>, descriptor: Option<BorrowedFd<'_>>) -> Result<(), WireError> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        message.encode(&mut record);
        let sent = match descriptor {
            None => self.send_encoded(&record),
            Some(_) => self.put(&record, descriptor),
        };
        self.record = record;
        sent
    }

    /// Sends a message that [`Message::encode`] wrote.
    pub fn send_encoded(&mut self, record: &[u8]) -> Result<(), WireError> {
        if record.len() > MOST_RECORD { self.send_long(record) } else { self.put(record, None) }
    }

    /// A message that is too long for the ring goes through a file in memory.
    fn send_long(&mut self, record: &[u8]) -> Result<(), WireError> {
        if record.len() > MESSAGE_LIMIT {
            return Err(WireError::MessageLength { bytes: record.len() as u64 });
        }
        let file = rustix::fs::memfd_create("ks-message", MemfdFlags::CLOEXEC).map_err(WireError::System)?;
        let mut rest = record;
        while !rest.is_empty() {
            let count =
                rustix::io::pwrite(&file, rest, (record.len() - rest.len()) as u64).map_err(WireError::System)?;
            rest = &rest[count.min(rest.len())..];
        }
        let mut short = Vec::with_capacity(16);
        encoding::encode_long(record.len() as u64, &mut short);
        self.put(&short, Some(file.as_fd()))
    }

    fn put(&mut self, record: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), WireError> {
        self.flush()?;
        if self.backlog.is_empty() && self.try_put(record, descriptor)? {
            return Ok(());
        }
        self.backlog_bytes += record.len() + 64;
        if self.backlog_bytes > MOST_BACKLOG {
            return Err(WireError::Unread { bytes: self.backlog_bytes });
        }
        let descriptor = match descriptor {
            Some(one) => Some(one.try_clone_to_owned().map_err(|_| WireError::System(rustix::io::Errno::MFILE))?),
            None => None,
        };
        self.backlog.push_back((record.to_vec(), descriptor));
        // Room may have come between the look and the queueing; then nobody else would look.
        self.flush()
    }

    fn try_put(&mut self, record: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<bool, WireError> {
        // The descriptor goes first: the record says that it is there. It goes only when the record surely fits.
        if let Some(descriptor) = descriptor
            && (!self.ring.has_room(record.len())? || !socket::send(&self.socket, descriptor)?)
        {
            return Ok(false);
        }
        self.ring.push(record)
    }

    /// Sends what found no room before, as far as there is room now. To be called by the thread that receives, whenever
    /// it wakes.
    pub fn flush(&mut self) -> Result<(), WireError> {
        while let Some((record, descriptor)) = self.backlog.pop_front() {
            if !self.try_put(&record, descriptor.as_ref().map(AsFd::as_fd))? {
                self.backlog.push_front((record, descriptor));
                return Ok(());
            }
            self.backlog_bytes -= record.len() + 64;
        }
        Ok(())
    }

    /// True when something found no room.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// True when something found no room before, and might find it now.
    pub fn can_flush(&mut self) -> bool {
        let first = self.backlog.front().map(|(record, _)| record.len());
        // A broken ring is a reason to flush too: the error comes from there.
        first.is_some_and(|bytes| self.ring.has_room(bytes).unwrap_or(true))
    }
}

/// A message as it came: copied out of the ring, and so no more under the hand of the other side.
#[derive(Debug, Default)]
pub struct Received {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

impl Received {
    /// No message yet.
    pub const fn new() -> Received {
        Received { bytes: Vec::new(), descriptor: None }
    }

    /// Bytes of memory that it keeps for the next message.
    pub fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The message.
    pub fn message(&self) -> Result<Message<'_>, WireError> {
        Message::decode(&self.bytes)
    }

    /// Takes the descriptor that came with it.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }
}

/// Looks between two questions for the time.
const LOOKS_A_TIME: u32 = 4;

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<OwnedFd>,
    ring: Consumer,
    /// `None` on a machine of one processor: the other side cannot answer while this one looks.
    patience: Option<Patience>,
}

impl Receiver {
    /// Takes the next message into `into`; false when there is none.
    pub fn receive(&mut self, into: &mut Received) -> Result<bool, WireError> {
        into.descriptor = None;
        if !self.ring.pop(&mut into.bytes)? {
            return Ok(false);
        }
        match encoding::descriptor_of(&into.bytes)? {
            encoding::With::Nothing => {}
            encoding::With::Descriptor => into.descriptor = Some(socket::receive(&self.socket)?),
            encoding::With::Long(bytes) => self.receive_long(bytes, into)?,
        }
        Ok(true)
    }

    fn receive_long(&mut self, bytes: u64, into: &mut Received) -> Result<(), WireError> {
        let file = socket::receive(&self.socket)?;
        let stat = rustix::fs::fstat(&file).map_err(WireError::System)?;
        if bytes > MESSAGE_LIMIT as u64 {
            return Err(WireError::MessageLength { bytes });
        }
        // Only a plain file is read: a pipe or a device could make this thread wait.
        let plain = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if !plain || bytes <= MOST_RECORD as u64 || blocks < bytes {
            return Err(WireError::Descriptor);
        }
        let bytes = bytes as usize;
        into.bytes.clear();
        ks_mem::fallible(|| into.bytes.try_reserve(bytes)).map_err(|_| WireError::System(rustix::io::Errno::NOMEM))?;
        into.bytes.resize(bytes, 0);
        let mut at = 0;
        while at < bytes {
            match rustix::io::pread(&file, &mut into.bytes[at..], at as u64).map_err(WireError::System)? {
                0 => return Err(WireError::Descriptor),
                count => at += count,
            }
        }
        match encoding::descriptor_of(&into.bytes)? {
            encoding::With::Nothing => Ok(()),
            _ => Err(WireError::Protocol("a long message promises a descriptor")),
        }
    }

    /// True when a message waits.
    pub fn has_message(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Looks for a message where that pays; true when one came.
    pub fn look(&mut self) -> bool {
        let Some(patience) = &mut self.patience else { return false };
        let Some(most) = patience.look(self.ring.other_side()) else { return false };
        let begun = Instant::now();
        loop {
            for _ in 0..LOOKS_A_TIME {
                if !self.ring.is_empty() {
                    patience.paid();
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() >= most {
                patience.missed();
                return false;
            }
        }
    }

    /// Sleeps until a message is there or the connection ends, or less long. `awake` is asked when everybody can
    /// see that this side is about to sleep: it says whether there is something else to do.
    pub fn nap(&mut self, wake_up: &WakeUp, awake: impl FnOnce() -> bool) {
        self.ring.nap(|| wake_up.has_ended() || awake());
    }

    /// As [`Receiver::nap`], for a thread that lets others have the receiver while it sleeps: true when it may go and
    /// [`WakeUp::doze`], and false when there is something to do. The receiver is put down after this call.
    pub fn may_doze(&self, wake_up: &WakeUp, awake: impl FnOnce() -> bool) -> bool {
        self.ring.may_doze(|| wake_up.has_ended() || awake())
    }

    /// To be called by whoever takes a receiver that was put down: it need not be woken any more.
    pub fn take_up(&self) {
        self.ring.rouse();
    }
}

/// Wakes the thread that receives.
#[derive(Debug, Clone)]
pub struct WakeUp {
    ended: Arc<AtomicBool>,
    place: Place,
}

impl WakeUp {
    /// Sleeps until somebody wakes the receiver, or less long; see [`Receiver::may_doze`].
    pub fn doze(&self) {
        self.place.doze();
    }

    /// Wakes the thread that dozes, whoever has the receiver.
    pub fn wake_dozing(&self) {
        self.place.wake_dozing();
    }

    /// The connection is over: no thread sleeps for it any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.place.wake_all();
    }

    /// True after [`WakeUp::end`].
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// The life of a connection.
#[derive(Debug, Clone)]
pub struct Lifeline {
    socket: Arc<OwnedFd>,
    wake_up: WakeUp,
}

impl Lifeline {
    /// Waits until the other side is gone or [`Lifeline::cut`] was called.
    pub fn wait_for_end(&self) {
        socket::wait_for_end(&self.socket);
    }

    /// True when the other side is gone.
    pub fn has_ended(&self) -> bool {
        socket::has_ended(&self.socket)
    }

    /// Ends the connection; the other side sees it as this side's end.
    pub fn cut(&self) {
        socket::shut(&self.socket);
        self.wake_up.end();
    }

    /// Wakes the thread that receives.
    pub fn wake_up(&self) -> &WakeUp {
        &self.wake_up
    }
}

// The longest record and the descriptor's packet fit the ring at once.
const _: () = assert!(ring::MEMORY_BYTES > 4 * MOST_RECORD);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Completion;

    fn both() -> [(Sender, Receiver, Lifeline); 2] {
        let (first, descriptor) = Connection::pair().unwrap();
        let second = Connection::join(descriptor).unwrap();
        [first.split(), second.split()]
    }

    fn completion(answer: &[u8]) -> Message<'_> {
        Message::Completion(Completion {
            request: 1,
            status: 0,
            information: 0,
            file: 0,
            granted: 0,
            answer,
            refusal: None,
        })
    }

    #[test]
    fn messages_short_and_long_arrive_in_order() {
        let [(mut sender, ..), (_, mut receiver, _)] = both();
        let long: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
        sender.send(&Message::Heartbeat { number: 1 }).unwrap();
        sender.send(&completion(&long)).unwrap();
        sender.send(&Message::Heartbeat { number: 2 }).unwrap();
        let mut got = Received::default();
        assert!(receiver.receive(&mut got).unwrap());
        assert_eq!(got.message().unwrap(), Message::Heartbeat { number: 1 });
        assert!(receiver.receive(&mut got).unwrap());
        assert_eq!(got.message().unwrap(), completion(&long));
        assert!(receiver.receive(&mut got).unwrap());
        assert_eq!(got.message().unwrap(), Message::Heartbeat { number: 2 });
        assert!(!receiver.receive(&mut got).unwrap());
    }

    #[test]
    fn what_finds_no_room_waits_and_is_not_overtaken() {
        let [(mut sender, ..), (_, mut receiver, _)] = both();
        for number in 0..20_000 {
            sender.send(&Message::Heartbeat { number }).unwrap();
        }
        let mut got = Received::default();
        for number in 0..20_000 {
            while !receiver.receive(&mut got).unwrap() {
                assert!(sender.can_flush());
                sender.flush().unwrap();
            }
            assert_eq!(got.message().unwrap(), Message::Heartbeat { number });
        }
        assert!(!sender.can_flush());
    }

    #[test]
    fn a_side_that_reads_nothing_costs_a_bounded_backlog() {
        let [(mut sender, ..), _other] = both();
        let text = "x".repeat(8000);
        let error = loop {
            if let Err(error) = sender.send(&Message::Log { level: 0, text: &text }) {
                break error;
            }
        };
        assert!(matches!(error, WireError::Unread { .. }));
    }

    #[test]
    fn a_promised_descriptor_that_does_not_come_is_an_error() {
        let [(mut sender, ..), (_, mut receiver, _)] = both();
        let cut = crate::RegionCut { frames: 1, frame_bytes: 1, stride_bytes: 1 };
        sender.send(&Message::AnnounceRegion { region: 1, cut }).unwrap();
        assert_eq!(receiver.receive(&mut Received::default()).unwrap_err(), WireError::Descriptor);
    }

    #[test]
    fn the_end_of_one_side_is_seen_by_the_other() {
        let [first, (_, mut receiver, lifeline)] = both();
        assert!(!lifeline.has_ended());
        let wake_up = lifeline.wake_up().clone();
        let sleeper = std::thread::spawn(move || {
            while !wake_up.has_ended() {
                receiver.nap(&wake_up, || false);
            }
        });
        drop(first);
        lifeline.wait_for_end();
        lifeline.cut();
        sleeper.join().unwrap();
    }
}
