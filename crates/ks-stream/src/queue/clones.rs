//! Clones: pointers that stay on one frame while the leading edge moves on.

use super::{LockedFrame, Queue};
use crate::stream_pointer::{CloneId, PointerBlock};
use ks_abi::STATUS_SUCCESS;
use ks_io::StreamFrame;
use ks_io::sync::Arc;

pub(super) struct CloneState {
    pub(super) id: CloneId,
    pub(super) sequence: u64,
    pub(super) locked: bool,
    block: PointerBlock,
    frame: Arc<StreamFrame>,
}

impl Queue {
    /// A clone on the locked leading edge's frame, locked like it.
    pub(crate) fn clone_leading(&self, locked: &LockedFrame) -> Option<(CloneId, Arc<StreamFrame>)> {
        let mut state = self.state.lock();
        let (index, sequence) = (state.leading_index()?, state.leading);
        if !state.leading_locked {
            return None;
        }
        state.leading_block.stand_on(locked.frame(), sequence);
        let block = PointerBlock::copy_of(&state.leading_block).ok()?;
        let entry = &mut state.entries[index];
        entry.holds += 1;
        entry.locks += 1;
        let frame = locked.shared();
        let id = CloneId(state.next_clone);
        state.next_clone += 1;
        state.clones.push(CloneState { id, sequence, locked: true, block, frame: frame.clone() });
        Some((id, frame))
    }

    /// Locks a clone; `None` when its frame was cancelled.
    pub(crate) fn lock_clone(&self, id: CloneId) -> Option<Arc<StreamFrame>> {
        let mut state = self.state.lock();
        let at = state.clones.iter().position(|clone| clone.id == id && !clone.locked)?;
        let index = state.index(state.clones[at].sequence)?;
        if state.entries[index].cancelled != STATUS_SUCCESS {
            return None;
        }
        state.entries[index].locks += 1;
        state.clones[at].locked = true;
        Some(state.clones[at].frame.clone())
    }

    /// Unlocks a clone. True when something is to go out.
    pub(crate) fn unlock_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id && clone.locked) else { return false };
        state.clones[at].locked = false;
        let sequence = state.clones[at].sequence;
        if let Some(index) = state.index(sequence) {
            state.entries[index].locks -= 1;
        }
        self.settle(&mut state, sequence);
        state.skip_left();
        state.must_flush()
    }

    /// Deletes a clone, locked or not. True when something is to go out.
    pub(crate) fn delete_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id) else { return false };
        let clone = state.clones.swap_remove(at);
        if let Some(index) = state.index(clone.sequence) {
            if clone.locked {
                state.entries[index].locks -= 1;
            }
            self.drop_hold(&mut state, index);
            self.settle(&mut state, clone.sequence);
            state.skip_left();
        }
        state.must_flush()
    }

    /// Adds to the used bytes of a clone's frame; see [`crate::ClonePointer::advance_offsets`]. Returns what remains.
    pub(crate) fn advance_clone_offsets(&self, id: CloneId, in_bytes: u32, out_bytes: u32) -> u32 {
        let mut state = self.state.lock();
        let found = state.clones.iter_mut().find(|clone| clone.id == id && clone.locked);
        found.map_or(0, |clone| clone.block.advance(&clone.frame, in_bytes, out_bytes, self.data_sink))
    }

    /// Clones that live.
    pub(crate) fn clone_count(&self) -> usize {
        self.state.lock().clones.len()
    }
}
