//! Stream pointers: the leading edge, clones, and what they hold.

use crate::rig::{DOWN, FRAME_BYTES, Pair, Rig, SEEDS, Setup, UP, bring, filled, frames, put, wait};
use ks_abi::{KsReset, KsState, STATUS_CANCELLED, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_client::StreamRequest;
use ks_stream::{AfterAdvance, ClonePointer, LeadingEdge, Locked, PinFlags, Step, TrailingEdge};
use proptest::prelude::*;

#[test]
fn the_leading_edge_locks_advances_ejects_and_stays() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 4)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap();
    let first = edge.header_address();
    assert!(pin.leading_edge().is_none(), "it is locked already");
    drop(edge);
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.header_address(), first, "unlocking leaves the edge where it is");
    let edge = edge.advance().unwrap();
    assert_eq!(edge.header_address(), first + 56);
    edge.eject();
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.header_address(), first + 112);
    let edge = edge.advance().unwrap();
    assert!(!request.is_done());
    assert!(edge.advance().is_none(), "the end of the queue");
    assert!(request.is_done() && pin.leading_edge().is_none());
    request.wait().unwrap();
    drop((pin, client, filter));
    rig.assert_quiescent();
}

#[test]
fn offsets_of_an_output_raise_the_used_bytes_and_move_on_when_nothing_remains() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 2)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.remaining(), FRAME_BYTES);
    let edge = edge.advance_offsets(0, 24).unwrap();
    assert_eq!((edge.remaining(), edge.data_used()), (40, 24));
    // Unlocked and locked again it goes on where it was.
    drop(edge);
    let edge = pin.leading_edge().unwrap();
    let first = edge.header_address();
    let edge = edge.advance_offsets(0, 40).unwrap();
    assert_eq!(edge.header_address(), first + 56, "nothing remained");
    assert_eq!((edge.remaining(), edge.data_used()), (FRAME_BYTES, 0));
    assert!(edge.advance_offsets(0, u32::MAX).is_none(), "never more than the frame has");
    let read = request.wait().unwrap();
    assert_eq!(read.iter().map(|frame| frame.header.data_used).collect::<Vec<_>>(), [64, 64]);
}

#[test]
fn used_bytes_that_a_driver_has_written_hold_whatever_its_offsets_pass() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 4)).unwrap();
    let pin = rig.source.pin();
    // As much as was written is passed.
    let edge = pin.leading_edge().unwrap();
    edge.set_data_used(10);
    let edge = edge.advance_offsets(0, 10).unwrap();
    assert_eq!((edge.remaining(), edge.data_used()), (FRAME_BYTES - 10, 10));
    // What is not filled is passed to be rid of the frame.
    let edge = edge.advance().unwrap();
    edge.set_data_used(11);
    let edge = edge.advance_offsets(0, FRAME_BYTES).unwrap();
    // Counted by the offsets first.
    let edge = edge.advance_offsets(0, 30).unwrap();
    assert_eq!(edge.data_used(), 30);
    edge.set_data_used(20);
    let edge = edge.advance_offsets(0, 5).unwrap();
    assert_eq!(edge.data_used(), 20);
    let edge = edge.advance().unwrap();
    let mut clone = edge.clone_pointer().unwrap();
    edge.eject();
    clone.frame().unwrap().set_data_used(12);
    assert_eq!(clone.advance_offsets(0, 12), FRAME_BYTES - 12);
    drop(clone);
    let used: Vec<u32> = request.wait().unwrap().iter().map(|frame| frame.header.data_used).collect();
    assert_eq!(used, [10, 11, 20, 12]);
}

#[test]
fn offsets_of_an_input_follow_its_valid_bytes() {
    let rig = Rig::new(1);
    rig.sink.script(wait);
    let (_filter, client) = rig.alone("sink");
    bring(&client, &UP);
    let mut short = filled(&client, 1);
    short.header.data_used = 10;
    let request = client.write_stream(vec![short]).unwrap();
    let pin = rig.sink.pin();
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.remaining(), 10);
    let edge = edge.advance_offsets(4, 0).unwrap();
    assert_eq!((edge.remaining(), edge.data_used()), (6, 10));
    assert!(edge.advance_offsets(6, 0).is_none());
    assert_eq!(request.wait().unwrap()[0].header.data_used, 10);
}

#[test]
fn offsets_of_an_output_go_over_the_end_of_a_request() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let [first, second] = [(); 2].map(|()| client.read_stream(frames(&client, 1)).unwrap());
    let pin = rig.source.pin();
    let edge = LeadingEdge::of(&pin).unwrap();
    assert_eq!(edge.available_bytes(), (0, 128));
    assert!(edge.lock());
    let irp = edge.request().unwrap().irp;
    assert_eq!(edge.advance_offsets(0, 24, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    assert_eq!(edge.available_bytes(), (24, 104));
    assert!(edge.unlock() && edge.lock(), "it goes on where it was");
    assert_eq!(edge.available_bytes(), (24, 104));
    assert_eq!(edge.advance_offsets(0, 40, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    assert!(first.is_done() && !second.is_done());
    assert_ne!(edge.request().unwrap().irp, irp);
    assert_eq!(edge.available_bytes(), (0, 64));
    assert_eq!(edge.advance_offsets(0, 1, AfterAdvance::Always), Some(Step::AtEnd));
    assert_eq!(edge.available_bytes(), (0, 0));
    let used = [first, second].map(|request| request.wait().unwrap()[0].header.data_used);
    assert_eq!(used, [64, 1]);
}

#[test]
fn offsets_of_an_input_go_over_the_end_of_a_request() {
    let rig = Rig::new(1);
    rig.sink.script(wait);
    let (_filter, client) = rig.alone("sink");
    bring(&client, &UP);
    let write = |number, bytes| {
        let mut frame = filled(&client, number);
        frame.header.data_used = bytes;
        client.write_stream(vec![frame]).unwrap()
    };
    let (first, second) = (write(1, 40), write(2, 64));
    let pin = rig.sink.pin();
    let edge = LeadingEdge::of(&pin).unwrap();
    assert_eq!(edge.available_bytes().0, 104);
    assert!(edge.lock());
    let irp = edge.request().unwrap().irp;
    assert_eq!(edge.advance_offsets(16, 0, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    assert_eq!(edge.available_bytes().0, 88);
    // No more than the frame has: the second is not begun.
    assert_eq!(edge.advance_offsets(1000, 0, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    assert!(first.is_done() && !second.is_done());
    assert_ne!(edge.request().unwrap().irp, irp);
    assert_eq!(edge.available_bytes().0, 64);
    assert_eq!(edge.advance_offsets(64, 0, AfterAdvance::WhenUsedUp), Some(Step::AtEnd));
    assert_eq!(edge.available_bytes().0, 0);
    let used = [first, second].map(|request| request.wait().unwrap()[0].header.data_used);
    assert_eq!(used, [40, 64], "reading changes nothing");
}

#[test]
fn a_clone_keeps_the_request_after_the_edge_has_moved_on() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, 1)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let mut clone = edge.clone_pointer().unwrap();
        let mut second = edge.clone_pointer().unwrap();
        assert!(edge.advance().is_none());
        assert_eq!(pin.clone_count(), 2);
        second.unlock();
        drop(second);
        assert!(!request.is_done());
        put(clone.frame().unwrap(), 9, false);
        clone.unlock();
        assert!(clone.frame().is_none());
        assert!(!request.is_done(), "an unlocked clone holds its frame as well");
        assert!(clone.lock().is_some());
        drop(clone);
        assert!(request.is_done(), "deleting the last pointer completes the request");
        assert_eq!(crate::rig::numbers(&request.wait().unwrap()), [9]);
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_clone_has_offsets_of_its_own() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 1)).unwrap();
    let pin = rig.source.pin();
    let edge = pin.leading_edge().unwrap().advance_offsets(0, 4).unwrap();
    let mut clone = edge.clone_pointer().unwrap();
    assert_eq!(clone.advance_offsets(0, 10), 50);
    assert_eq!((edge.remaining(), edge.data_used()), (60, 14));
    clone.unlock();
    assert_eq!(clone.advance_offsets(0, 10), 0, "offsets move under a lock only");
    edge.eject();
    drop(clone);
    assert_eq!(request.wait().unwrap()[0].header.data_used, 14);
}

#[test]
fn cancelling_tells_the_driver_of_its_unlocked_clones_and_no_lock_succeeds_after() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, 2)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let mut unlocked = edge.clone_pointer().unwrap();
        unlocked.unlock();
        let mut locked = edge.advance().unwrap().clone_pointer().unwrap();
        request.cancel();
        assert_eq!(*rig.source.cancelled.lock(), [unlocked.id()]);
        assert!(unlocked.lock().is_none());
        assert!(locked.frame().is_some(), "a locked frame cannot be cancelled");
        drop(unlocked);
        assert!(!request.is_done());
        locked.unlock();
        assert!(!request.is_done(), "the request waits for the clone to go");
        assert!(locked.lock().is_none());
        drop(locked);
        assert!(request.is_done());
        assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_clone_that_has_run_off_the_queue_stands_on_the_frame_that_comes() {
    for was_locked in [false, true] {
        let rig = Rig::new(1);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let first = client.read_stream(frames(&client, 1)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let mut clone = edge.clone_pointer().unwrap();
        edge.eject();
        if !was_locked {
            clone.unlock();
        }
        assert_eq!(clone.advance(), Step::AtEnd);
        assert!(first.is_done() && clone.lock().is_none(), "there is no frame");
        assert_eq!(clone.advance(), Step::AtEnd, "nor behind it");
        let second = client.read_stream(frames(&client, 2)).unwrap();
        let edge = pin.leading_edge().unwrap();
        let address = edge.header_address();
        let edge = edge.advance().unwrap();
        assert_eq!(clone.lock().map(|frame| frame.header_address()), Some(address), "it has kept the first that came");
        assert_eq!(clone.advance(), Step::OnFrame);
        assert_eq!(clone.frame().map(|frame| frame.header_address()), Some(edge.header_address()));
        edge.eject();
        assert!(!second.is_done());
        drop(clone);
        assert!(second.is_done());
        first.wait().unwrap();
        second.wait().unwrap();
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}

/// The circuit's frame is out of the queue while the edge has it locked.
#[test]
fn a_clone_of_a_circuits_frame_goes_where_the_locked_edge_stands() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let Pair { sink, source, filters } = rig.pair();
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        let pin = rig.source.pin();
        let edge = LeadingEdge::of(&pin).unwrap();
        assert!(edge.lock());
        let mut clone = edge.clone_pointer(0).unwrap();
        assert!(clone.request().is_some());
        assert_eq!(clone.request(), edge.request(), "while the edge has the frame");
        let first = clone.frame().unwrap().header_address();
        assert_eq!(edge.advance(), Step::OnFrame);
        assert_eq!(clone.frame().unwrap().header_address(), first);
        assert!(clone.request().is_some_and(|of_first| Some(of_first) != edge.request()));
        assert_eq!(clone.advance(), Step::OnFrame);
        assert!(clone.is_locked() && clone.request().is_some());
        assert_eq!(clone.request(), edge.request(), "on the frame that the edge has");
        assert_ne!(clone.frame().unwrap().header_address(), first);
        // Unlocked it goes on alike, and is locked there.
        clone.unlock();
        assert_eq!(edge.advance(), Step::OnFrame);
        assert_eq!(clone.advance(), Step::OnFrame);
        assert!(clone.lock().is_some());
        assert_eq!(clone.request(), edge.request());
        drop(clone);
        assert!(edge.eject());
        for pin in [&source, &sink] {
            bring(pin, &DOWN);
        }
        drop((edge, pin, source, sink, filters));
        rig.assert_quiescent();
    }
}

#[test]
fn the_edges_leave_a_cancelled_frame_to_the_pointer_that_has_it_locked() {
    for seed in SEEDS {
        let rig = Rig::with(Setup { seed, source_flags: PinFlags::DISTINCT_TRAILING_EDGE, ..Setup::default() });
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let [first, second] = [(); 2].map(|()| client.read_stream(frames(&client, 1)).unwrap());
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let clone = edge.clone_pointer().unwrap();
        let address = edge.header_address();
        drop(edge);
        first.cancel();
        assert!(!first.is_done(), "it is locked");
        let edge = pin.leading_edge().unwrap();
        assert_ne!(edge.header_address(), address, "nobody is given a cancelled frame");
        let trailing = pin.trailing_edge().unwrap();
        assert_eq!(trailing.lock().unwrap().header_address(), edge.header_address());
        drop(clone);
        assert_eq!(first.wait().unwrap_err().status, STATUS_CANCELLED);
        assert!(trailing.eject());
        edge.eject();
        second.wait().unwrap();
        drop((trailing, pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_status_code_is_what_the_request_completes_with() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 1)).unwrap();
    let edge_pin = rig.source.pin();
    let edge = edge_pin.leading_edge().unwrap();
    edge.set_status_code(STATUS_UNSUCCESSFUL);
    edge.eject();
    assert_eq!(request.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
}

#[test]
fn a_flush_in_reset_and_in_stop_lets_clones_be_deleted() {
    for way in 0..2 {
        let rig = Rig::new(1);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, 1)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let mut clone = edge.clone_pointer().unwrap();
        edge.eject();
        clone.unlock();
        let id = clone.id();
        rig.source.clones.lock().push(clone);
        if way == 0 {
            client.reset(KsReset::BEGIN).unwrap()
        } else {
            bring(&client, &DOWN)
        }
        assert_eq!(*rig.source.cancelled.lock(), [id]);
        rig.source.clones.lock().clear();
        assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn fifo_holds_a_finished_request_until_those_before_it_are_done() {
    for enforced in [false, true] {
        let flags = if enforced { PinFlags::ENFORCE_FIFO } else { PinFlags::empty() };
        let rig = Rig::with(Setup { source_flags: flags, ..Setup::default() });
        rig.source.script(wait);
        let (_filter, client) = rig.alone("source");
        bring(&client, &UP);
        let first = client.read_stream(frames(&client, 1)).unwrap();
        let second = client.read_stream(frames(&client, 1)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        let clone = edge.clone_pointer().unwrap();
        assert!(edge.advance().unwrap().advance().is_none());
        assert_eq!(second.is_done(), !enforced);
        drop(clone);
        assert!(first.is_done() && second.is_done());
    }
}

#[derive(Debug, Clone)]
enum Op {
    Read(usize),
    Lock,
    Unlock,
    Advance,
    Offsets(u32),
    Eject,
    Clone,
    UnlockClone(usize),
    LockClone(usize),
    DropClone(usize),
    AdvanceClone(usize),
    Cancel(usize),
    LockTrailing,
    UnlockTrailing,
    AdvanceTrailing,
    EjectTrailing,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..4usize).prop_map(Op::Read),
        4 => Just(Op::Lock),
        2 => Just(Op::Unlock),
        4 => Just(Op::Advance),
        4 => (0..FRAME_BYTES + 8).prop_map(Op::Offsets),
        1 => Just(Op::Eject),
        3 => Just(Op::Clone),
        2 => (0..8usize).prop_map(Op::UnlockClone),
        2 => (0..8usize).prop_map(Op::LockClone),
        3 => (0..8usize).prop_map(Op::DropClone),
        3 => (0..8usize).prop_map(Op::AdvanceClone),
        2 => (0..8usize).prop_map(Op::Cancel),
        3 => Just(Op::LockTrailing),
        2 => Just(Op::UnlockTrailing),
        4 => Just(Op::AdvanceTrailing),
        1 => Just(Op::EjectTrailing),
    ]
}

/// The queue as the documentation tells it, in the plainest form.
#[derive(Default)]
struct Model {
    frames: Vec<ModelFrame>,
    /// Cancelled or not, one a request.
    requests: Vec<bool>,
    /// Index of the frame that the edge stands on or before.
    edge: usize,
    edge_locked: bool,
    /// The frame that its offset belongs to, and the bytes that the offset has passed.
    offset: (usize, u32),
    /// Frame and lock of each clone; behind the last frame it waits for the next.
    clones: Vec<(usize, bool)>,
    /// The trailing edge, of a queue that has one.
    trailing: usize,
    trailing_locked: bool,
    fifo: bool,
}

struct ModelFrame {
    request: usize,
    in_window: bool,
    /// The trailing edge has not passed it.
    behind: bool,
    clones: u32,
    clone_locks: u32,
}

impl ModelFrame {
    fn has_left(&self) -> bool {
        !self.in_window && !self.behind && self.clones == 0
    }
}

impl Model {
    fn skip(&mut self) {
        while !self.edge_locked && self.frames.get(self.edge).is_some_and(|frame| !frame.in_window) {
            self.edge += 1;
        }
        while !self.trailing_locked && self.frames.get(self.trailing).is_some_and(|frame| !frame.behind) {
            self.trailing += 1;
        }
    }

    /// Frames of cancelled requests leave the windows, but that of an edge which has them locked.
    fn settle(&mut self) {
        for (index, frame) in self.frames.iter_mut().enumerate().filter(|(_, frame)| self.requests[frame.request]) {
            frame.in_window &= self.edge_locked && self.edge == index;
            frame.behind &= self.trailing_locked && self.trailing == index;
        }
        self.skip();
    }

    fn lock(&mut self) -> Option<usize> {
        self.edge_locked = self.edge < self.frames.len();
        self.edge_locked.then_some(self.edge)
    }

    fn pass(&mut self) {
        self.edge_locked = false;
        self.frames[self.edge].in_window = false;
        self.settle();
    }

    /// Moves the offset of the locked edge. True when the frame is used up.
    fn step(&mut self, bytes: u32) -> bool {
        let (frame, passed) = self.offset;
        let passed = if frame == self.edge { passed } else { 0 };
        self.offset = (self.edge, (passed + bytes).min(FRAME_BYTES));
        self.offset.1 == FRAME_BYTES
    }

    fn lock_trailing(&mut self) -> Option<usize> {
        let may_lock = |frame: &ModelFrame| !self.requests[frame.request];
        self.trailing_locked |= self.frames.get(self.trailing).is_some_and(may_lock);
        self.trailing_locked.then_some(self.trailing)
    }

    fn pass_trailing(&mut self) {
        self.trailing_locked = false;
        if let Some(frame) = self.frames.get_mut(self.trailing) {
            frame.behind = false;
        }
        self.settle();
    }

    /// A frame has arrived; clones that wait for one stand on it.
    fn arrives(&mut self, frame: ModelFrame) {
        let index = self.frames.len();
        let clones = self.clones.iter().filter(|(at, _)| *at == index).count() as u32;
        self.frames.push(ModelFrame { clones, ..frame });
    }

    /// Takes a clone off its frame, and onto another, if there is one.
    fn move_clone(&mut self, clone: (usize, bool), to: Option<usize>) {
        if let Some(frame) = self.frames.get_mut(clone.0) {
            frame.clones -= 1;
            frame.clone_locks -= u32::from(clone.1);
        }
        if let Some(to) = to {
            self.frames[to].clones += 1;
            self.frames[to].clone_locks += u32::from(clone.1);
        }
        self.settle();
    }

    fn is_done(&self, request: usize) -> bool {
        let from = if self.fifo { 0 } else { request };
        self.frames.iter().filter(|frame| (from..=request).contains(&frame.request)).all(ModelFrame::has_left)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_agree_with_the_plain_model(
        fifo: bool,
        distinct: bool,
        ops in proptest::collection::vec(op(), 1..80)
    ) {
        let mut flags = PinFlags::empty();
        flags.set(PinFlags::ENFORCE_FIFO, fifo);
        flags.set(PinFlags::DISTINCT_TRAILING_EDGE, distinct);
        let rig = Rig::with(Setup { source_flags: flags, ..Setup::default() });
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let pin = rig.source.pin();
        let trailing = pin.trailing_edge();
        prop_assert_eq!(trailing.is_some(), distinct);
        let mut model = Model { fifo, ..Model::default() };
        let mut requests: Vec<StreamRequest> = Vec::new();
        let mut addresses: Vec<u64> = Vec::new();
        let mut edge: Option<Locked<'_>> = None;
        let mut clones: Vec<ClonePointer> = Vec::new();
        for op in ops {
            match op {
                Op::Read(count) => {
                    let list = frames(&client, count);
                    for frame in &list {
                        addresses.push(frame.buffer().address());
                        let request = model.requests.len();
                        let frame = ModelFrame { request, in_window: true, behind: distinct, clones: 0, clone_locks: 0 };
                        model.arrives(frame);
                    }
                    model.requests.push(false);
                    model.skip();
                    requests.push(client.read_stream(list).unwrap());
                }
                Op::Lock if edge.is_none() => {
                    edge = pin.leading_edge();
                    prop_assert_eq!(at(&edge), model.lock().map(|index| addresses[index]));
                }
                Op::Unlock if edge.is_some() => {
                    edge = None;
                    model.edge_locked = false;
                    model.settle();
                }
                Op::Advance => {
                    if let Some(locked) = edge.take() {
                        model.pass();
                        edge = locked.advance();
                        prop_assert_eq!(at(&edge), model.lock().map(|index| addresses[index]));
                    }
                }
                Op::Offsets(bytes) => {
                    if let Some(locked) = edge.take() {
                        let used_up = model.step(bytes);
                        let wanted = match used_up {
                            true => {
                                model.pass();
                                model.lock()
                            }
                            false => Some(model.edge),
                        };
                        edge = locked.advance_offsets(0, bytes);
                        prop_assert_eq!(at(&edge), wanted.map(|index| addresses[index]));
                        if let Some(locked) = &edge {
                            let passed = if used_up { 0 } else { model.offset.1 };
                            prop_assert_eq!(locked.remaining(), FRAME_BYTES - passed);
                            prop_assert_eq!(locked.data_used(), passed);
                        }
                    }
                }
                Op::Eject => {
                    if let Some(locked) = edge.take() {
                        model.pass();
                        locked.eject();
                    }
                }
                Op::Clone => {
                    if let Some(locked) = &edge {
                        clones.push(locked.clone_pointer().unwrap());
                        model.clones.push((model.edge, true));
                        model.frames[model.edge].clones += 1;
                        model.frames[model.edge].clone_locks += 1;
                    }
                }
                // A driver that keeps the rules locks no locked pointer and unlocks no unlocked one.
                Op::UnlockClone(index) if clones.get(index).is_some_and(ClonePointer::is_locked) => {
                    clones[index].unlock();
                    let (frame, locked) = &mut model.clones[index];
                    model.frames[*frame].clone_locks -= u32::from(std::mem::take(locked));
                    model.settle();
                }
                Op::LockClone(index) if clones.get(index).is_some_and(|clone| !clone.is_locked()) => {
                    let (frame, locked) = &mut model.clones[index];
                    let wanted = model.frames.get(*frame).is_some_and(|frame| !model.requests[frame.request]);
                    let stands_on = clones[index].lock().map(|frame| frame.buffer().unwrap().address());
                    prop_assert_eq!(stands_on, wanted.then(|| addresses[*frame]));
                    if wanted {
                        model.frames[*frame].clone_locks += 1;
                    }
                    *locked = wanted;
                }
                Op::DropClone(index) if index < clones.len() => {
                    drop(clones.swap_remove(index));
                    let clone = model.clones.swap_remove(index);
                    model.move_clone(clone, None);
                }
                Op::AdvanceClone(index) if index < clones.len() => {
                    let clone = model.clones[index];
                    let is_there = |at: &usize| {
                        !model.frames[*at].has_left() && !model.requests[model.frames[*at].request]
                    };
                    let next = (clone.0 + 1..model.frames.len()).find(is_there);
                    model.move_clone(clone, next);
                    model.clones[index] = next.map_or((model.frames.len(), false), |at| (at, clone.1));
                    prop_assert_eq!(clones[index].advance() == Step::OnFrame, next.is_some());
                    prop_assert_eq!(clones[index].is_locked(), model.clones[index].1);
                }
                Op::Cancel(index) if index < requests.len() => {
                    if !model.is_done(index) && !done_frames(&model, index) {
                        model.requests[index] = true;
                    }
                    requests[index].cancel();
                    model.settle();
                }
                Op::LockTrailing if !model.trailing_locked => {
                    if let Some(trailing) = &trailing {
                        let locked = trailing.lock().map(|frame| frame.buffer().unwrap().address());
                        prop_assert_eq!(locked, model.lock_trailing().map(|index| addresses[index]));
                    }
                }
                Op::UnlockTrailing if model.trailing_locked => {
                    if let Some(trailing) = &trailing {
                        prop_assert_eq!(trailing.unlock(), std::mem::take(&mut model.trailing_locked));
                        model.settle();
                    }
                }
                Op::AdvanceTrailing => {
                    if let Some(trailing) = &trailing {
                        let was_locked = model.trailing_locked;
                        model.pass_trailing();
                        let on_frame = match was_locked {
                            true => model.lock_trailing().is_some(),
                            false => model.trailing < model.frames.len(),
                        };
                        prop_assert_eq!(trailing.advance() == Step::OnFrame, on_frame);
                    }
                }
                Op::EjectTrailing if model.trailing_locked => {
                    if let Some(trailing) = &trailing {
                        prop_assert_eq!(trailing.eject(), model.trailing_locked);
                        model.pass_trailing();
                    }
                }
                _ => {}
            }
            for (index, request) in requests.iter().enumerate() {
                prop_assert_eq!(request.is_done(), model.is_done(index), "request {}", index);
            }
            prop_assert_eq!(pin.clone_count(), model.clones.len());
        }
        drop(edge);
        drop(clones);
        trailing.as_ref().filter(|_| model.trailing_locked).map(TrailingEdge::unlock);
        bring(&client, &[KsState::STOP]);
        for (request, cancelled) in requests.into_iter().zip(&model.requests) {
            prop_assert!(request.is_done(), "every request completes");
            let outcome = request.wait().map_or_else(|error| error.status, |_| STATUS_SUCCESS);
            prop_assert!(!cancelled || outcome == STATUS_CANCELLED);
        }
        prop_assert_eq!(pin.queued_requests(), 0);
        drop((trailing, pin, client, filter));
        rig.assert_quiescent();
    }
}

fn at(edge: &Option<Locked<'_>>) -> Option<u64> {
    edge.as_ref().map(|frame| frame.buffer().unwrap().address())
}

/// All frames of the request have left, though FIFO may keep it from completing.
fn done_frames(model: &Model, request: usize) -> bool {
    model.frames.iter().filter(|frame| frame.request == request).all(ModelFrame::has_left)
}
