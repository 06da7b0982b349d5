//! Outputs of a splitter that share one pipe, although each could have frames of its own: where nobody behind two outputs
//! changes bytes, both have the same.
//!
//! The output whose frames they are *leads*: it heads the section and has the allocator, which is agreed on with those that
//! share, the *delegates*. What leaves it goes on as ever, and a share of it to each delegate, as to a branch of a splitter in
//! place. A frame that has come round is filled anew when its shares are back, too.
//!
//! ```text
//! minidriver ---> queue of the one that leads --+--> its pins ---> back to the head, held while shares are out
//!                                               +--> a share ---> pins of a delegate ---> home
//! ```
//!
//! Who shares whose frames is settled when an output leaves STOP, and anew when the one that leads goes there. What cannot
//! share gets copies (`copies.rs`).
//!
//! Source: "AVStream splitters": outputs whose downstream filters do not change the data are built into the same pipe, and
//! those receive the same buffers under different headers; DelegateBranch in ns-ks-_ksprocesspin.

use super::foreign_framing::agree_with_foreign;
use super::framing::{Agreed, Wish};
use super::splitter::{Branch, Offer, Splitter, copy_spec, frame_of};
use super::wishes::{wishes_of, wishes_of_all};
use super::{Hop, Replaced};
use crate::pin::Pin;
use crate::queue::Outgoing;
use ks_abi::{KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsState};
use ks_io::sync::Arc;
use ks_io::{Irp, deferred};

impl Pin {
    /// The output whose frames this one has shares of.
    pub(crate) fn shared_from(&self) -> Option<Arc<Pin>> {
        self.copies()?;
        self.pipe().branch()?.input()
    }

    /// Is it by this branch that the output has shares?
    pub(super) fn has_shares_of(&self, branch: &Branch) -> bool {
        self.may_be_filled() && self.pipe().branch().is_some_and(|own| own.number() == branch.number())
    }

    /// The output whose frames this one is to share, of those before it; `None`: it has its own. Filter control mutex held.
    pub(super) fn leader(self: &Arc<Pin>) -> Option<Arc<Pin>> {
        self.copies()?;
        let pins = self.filter().pins(self.id());
        let mut before =
            pins.into_iter().take_while(|pin| !Arc::ptr_eq(pin, self)).filter(|pin| pin.leads()).peekable();
        if before.peek().is_none() || !self.may_share() {
            return None;
        }
        before.find(|first| first.may_share() && first.has_frames_for(self))
    }

    /// Has frames of its own, from which others may have shares.
    fn leads(&self) -> bool {
        self.agreed_state() >= KsState::ACQUIRE && !self.is_gone() && self.shared_from().is_none()
    }

    /// Are the frames of this output read only, and may they be those of any allocator?
    fn may_share(self: &Arc<Pin>) -> bool {
        if !self.is_connected() || self.queue().is_none() || self.returns().injects() {
            return false;
        }
        let pins = self.circuit();
        let has_own = |pin: &Arc<Pin>| {
            pin.named_allocator().is_some() || Wish::of(pin, None).is(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE)
        };
        let outputs = pins.iter().filter_map(|pin| pin.in_place_counterpart());
        !Pin::branch_changes_frames(&pins) && !pins.iter().cloned().chain(outputs).any(|pin| has_own(&pin))
    }

    /// Do the frames of this output do for another one, too?
    fn has_frames_for(self: &Arc<Pin>, other: &Arc<Pin>) -> bool {
        let (frames, header_bytes) = self.pipe().frames();
        let Some(first) = frames.first() else { return false };
        let Some((agreed, _)) = self.agree_with(&[self.clone(), other.clone()]) else { return false };
        agreed.framing.frames as usize <= frames.len()
            && agreed.framing.frame_bytes as usize <= first.len()
            && copy_spec(&other.circuit(), &Offer { frames: &frames, header_bytes }).is_none()
    }

    /// What the pins of this head's section agree on with those of the outputs behind it that could share its frames, and
    /// all of these pins; `None`: there are none, or they do not agree.
    pub(super) fn agree_with_delegates(self: &Arc<Pin>) -> Option<(Agreed, Vec<Arc<Pin>>)> {
        self.copies()?;
        if !self.may_share() {
            return None;
        }
        let pins = self.filter().pins(self.id());
        let mut heads: Vec<Arc<Pin>> = pins.into_iter().skip_while(|pin| !Arc::ptr_eq(pin, self)).collect();
        heads.retain(|pin| Arc::ptr_eq(pin, self) || pin.may_share());
        if heads.len() > 1 { self.agree_with(&heads) } else { None }
    }

    /// What these heads agree on, of which this one is the first, and all pins of theirs; `None`: they do not, or one of the
    /// others' brings frames, which would have to outlast it.
    fn agree_with(self: &Arc<Pin>, heads: &[Arc<Pin>]) -> Option<(Agreed, Vec<Arc<Pin>>)> {
        let own = wishes_of(self).0.len();
        let (wishes, all) = wishes_of_all(heads);
        let mut agreed = agree_with_foreign(&wishes).ok()?;
        agreed.can_allocate.retain(|at| *at < own);
        let brings = agreed.must_allocate.iter().any(|at| *at >= own);
        let is_named = all.iter().skip(own).any(|pin| pin.named_allocator().is_some());
        (!brings && !is_named).then_some((agreed, all))
    }

    /// This output gets shares of the frames of another.
    pub(super) fn join_leader(self: &Arc<Pin>, leader: &Arc<Pin>, replaced: &mut Replaced) {
        let made = |frames| Splitter::new(leader, leader, frames, Hop::Return);
        let Some(splitter) = leader.pipe().share(made) else { return };
        let (frames, header_bytes) = leader.pipe().frames();
        self.bind_branch(&splitter, &Offer { frames: &frames, header_bytes }, replaced);
    }

    /// This output has left STOP or gone there: the others may share other frames now, or need their own. Filter control
    /// mutex held.
    pub(crate) fn settle_other_outputs(self: &Arc<Pin>) {
        if self.copies().is_none() {
            return;
        }
        if self.agreed_state() == KsState::STOP && self.shared_from().is_some() {
            drop(self.pipe().set_branch(None));
        }
        for other in self.filter().pins(self.id()) {
            if !Arc::ptr_eq(&other, self) && other.agreed_state() >= KsState::ACQUIRE && !other.is_gone() {
                other.settle_frames();
            }
        }
    }

    fn settle_frames(self: &Arc<Pin>) {
        let (now, then) = (self.shared_from(), self.leader());
        let stays = match (&now, &then) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            // From PAUSE on, frames of its own are in use.
            (None, Some(_)) => self.agreed_state() > KsState::ACQUIRE,
            (Some(_), None) => false,
            (None, None) => true,
        };
        if stays {
            return;
        }
        if now.is_none()
            && let Some(queue) = self.queue()
        {
            let orphans = queue.recall();
            self.orphaned(orphans);
            self.send_outgoing();
        }
        match self.prepare_circuit() {
            Ok(prepared) => {
                let replaced = self.bind_circuit(prepared);
                self.keep_circuit(replaced);
                self.start_circuit();
            }
            Err(refusal) => self.fail(refusal),
        }
    }

    /// As [`Pin::forward`], when no other output waits for a copy: those that share get theirs.
    pub(super) fn share_and_forward(self: &Arc<Pin>, outgoing: &mut Outgoing) {
        let _inside = deferred::enter();
        if !outgoing.onward.is_empty()
            && let Some(splitter) = self.pipe().shared()
        {
            splitter.share_beside(&outgoing.onward);
        }
        self.forward_on(outgoing);
    }

    /// Shares leave this output as frames of its own would: counted, and with what they say. `shares` is empty afterwards.
    pub(super) fn send_as_own(self: &Arc<Pin>, branch: &Branch, shares: &mut Vec<Irp>) {
        let raised = self.queue().map_or(0, |queue| {
            queue.with_counters(|counters| {
                shares.iter().filter_map(frame_of).for_each(|frame| counters.leave_source(frame));
                std::mem::take(&mut counters.raised)
            })
        });
        if raised & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
            let outgoing = Outgoing { onward: std::mem::take(shares), ..Outgoing::none() };
            self.adopt_formats(&outgoing);
            *shares = outgoing.onward;
        }
        branch.send(shares);
        if raised != 0 {
            self.stream_events(raised & !KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
        }
    }

    /// The outputs that have copies or shares of what leaves this one.
    pub(crate) fn outputs_that_follow(&self) -> Vec<Arc<Pin>> {
        if self.copies().is_none() || self.agreed_state() == KsState::STOP || self.copied_from().is_some() {
            return Vec::new();
        }
        let pins = self.filter().pins(self.id());
        let behind = pins.into_iter().skip_while(|pin| !std::ptr::eq(&**pin, self)).skip(1);
        behind.filter(|pin| pin.agreed_state() > KsState::STOP && !pin.is_gone()).collect()
    }
}
