//! The pins of a splitter: which outputs share the frames of which pin, and how they come into the circuit and out of it.

use super::external;
use super::report;
use super::splitter::{Branch, Offer, Splitter};
use super::{FramesOf, Hop, Replaced, Route};
use crate::descriptor::PinFlags;
use crate::filter::Filter;
use crate::filter_process::CopyRelationship;
use crate::pin::Pin;
use ks_abi::KsState;
use ks_io::sync::Arc;
use ks_io::{Irp, Refusal, deferred};
use ks_mem::Frame;

impl Filter {
    /// Whether the frames of an input go to several outputs as they are.
    pub(crate) fn splits_in_place(&self) -> bool {
        let output = self.descriptor().in_place().and_then(|(_, output)| self.pin_descriptor(output));
        output.is_some_and(|output| output.flags().contains(PinFlags::SPLITTER))
    }
}

impl Pin {
    /// An output of a splitter: it heads a branch, and has no frames of its own.
    pub(crate) fn is_splitter_output(&self) -> bool {
        self.filter().descriptor().in_place().is_some_and(|(_, output)| output == self.id())
            && self.filter().splits_in_place()
    }

    /// The output of a splitter: the input whose frames it shares, if there is one.
    pub(crate) fn splitter_input(&self) -> Option<Arc<Pin>> {
        let (input, output) = self.filter().descriptor().in_place()?;
        let splits = self.id() == output && self.filter().splits_in_place();
        splits.then(|| self.filter().pins(input).into_iter().next()).flatten()
    }

    /// The same, for an output that has joined it.
    pub(crate) fn split_input(&self) -> Option<Arc<Pin>> {
        self.pipe().branch()?;
        self.splitter_input()
    }

    /// How the frames of this output of a splitter come about, beside those of its first output; `None`: it is the first,
    /// or there is no splitter. To be asked where the pin does not leave PAUSE meanwhile.
    // ks-coverage: KsPinGetCopyRelationships done test=later_outputs_of_a_splitter_follow_the_first,outputs_of_a_driver_share_frames_where_nobody_changes_them_and_have_copies_where_somebody_does
    #[doc(alias = "KsPinGetCopyRelationships")]
    pub fn copy_relationship(&self) -> Option<CopyRelationship> {
        if self.copies().is_some() {
            self.copied_from()?;
            let shares = self.pipe().branch().is_some_and(|branch| !branch.is_copied);
            return Some(if shares { CopyRelationship::Delegated } else { CopyRelationship::Copied });
        }
        let branch = self.pipe().branch()?;
        let first = self.first_branch()?;
        let copies = branch.is_copied || branch.guests().are_copies();
        match std::ptr::eq(&*first, self) {
            true => None,
            false if copies => Some(CopyRelationship::Copied),
            false => Some(CopyRelationship::Delegated),
        }
    }

    /// The output of a splitter whose frames the others share or copy.
    pub fn first_branch(&self) -> Option<Arc<Pin>> {
        if self.copies().is_some() {
            return self.copied_from().map(|first| self.shared_from().unwrap_or(first));
        }
        let outputs = self.splitter_input()?.splitter_outputs()?;
        outputs.into_iter().find(|output| output.pipe().branch().is_some())
    }

    /// The input of a splitter: its connected outputs.
    pub(crate) fn splitter_outputs(&self) -> Option<Vec<Arc<Pin>>> {
        let (input, output) = self.filter().descriptor().in_place()?;
        let splits = self.id() == input && self.filter().splits_in_place();
        splits.then(|| {
            self.filter().pins(output).into_iter().filter(|pin| pin.is_connected() && pin.queue().is_some()).collect()
        })
    }

    /// Makes the branch of this output, and of those further down, and puts it into use.
    pub(super) fn bind_branch(self: &Arc<Pin>, splitter: &Splitter, offer: &Offer<'_>, replaced: &mut Replaced) {
        if let Err(refusal) = self.make_branch(splitter, offer, replaced) {
            self.fail(refusal);
        }
    }

    fn make_branch(
        self: &Arc<Pin>,
        splitter: &Splitter,
        offer: &Offer<'_>,
        replaced: &mut Replaced,
    ) -> Result<(), Refusal> {
        // The head of the circuit and this output may both acquire now.
        let _one_at_a_time = self.pipe().joining.lock();
        let pins = self.circuit();
        let branch = Branch::new(self, splitter, &pins, offer)?;
        let input = splitter.input().map(|input| input.describe()).unwrap_or_default();
        let copies = branch.is_copied || branch.guests().are_copies();
        self.pipe().set_description(report::of_branch(&pins, &input, copies));
        let frames = || (branch.frames.clone(), branch.header_bytes);
        self.bind_pins(&pins, &Hop::GiveBack(branch.clone()), &frames, replaced);
        replaced.branches.push((self.clone(), self.pipe().set_branch(Some(branch.clone()))));
        splitter.join(branch);
        Ok(())
    }

    /// Would shares that leave this output reach anybody?
    pub(super) fn sends(&self) -> bool {
        self.agreed_state() >= KsState::ACQUIRE
            && matches!(self.pipe().route.read().hop, Hop::Peer(_) | Hop::Foreign(_))
    }

    pub(super) fn send_shares(&self, branch: &Branch, shares: &mut Vec<Irp>) {
        let (next, arrival) = {
            let route = self.pipe().route.read();
            match &route.hop {
                Hop::Peer(peer) => (peer.clone(), peer.take_in(shares)),
                Hop::Foreign(peer) => {
                    let peer = peer.clone();
                    drop(route);
                    return peer.send(shares);
                }
                _ => {
                    drop(route);
                    return branch.give_back(shares);
                }
            }
        };
        next.arrived(arrival);
    }

    /// Frames whose last share is back.
    pub(super) fn go_on_after_split(self: &Arc<Pin>, batch: &mut Vec<Irp>) {
        let _inside = deferred::enter();
        let route = self.pipe().route();
        let splitter = match &route.hop {
            Hop::Split(splitter) => Some(splitter.clone()),
            // Of an output that shares its frames.
            _ => self.pipe().shared(),
        };
        let Some(splitter) = splitter else { return self.park_at(&route, batch.drain(..)) };
        match splitter.after() {
            Hop::GiveBack(branch) => {
                branch.tell(batch);
                branch.give_back(batch);
            }
            Hop::Home(home) => self.come_home(home, batch),
            Hop::Ask => self.ask_again(&route, batch),
            Hop::Complete(home) => external::complete(home.as_ref(), batch),
            _ => {
                if let Some(head) = self.emptied(&route, batch) {
                    head.receive(batch);
                }
            }
        }
    }

    /// The route of a splitter's input, and the branches that are there already.
    pub(super) fn bind_splitter(
        self: &Arc<Pin>,
        head: &Arc<Pin>,
        outputs: &[Arc<Pin>],
        after: Hop,
        frames: &dyn Fn() -> (Vec<Frame>, usize),
        replaced: &mut Replaced,
    ) {
        let (frames, header_bytes) = frames();
        let splitter = Splitter::new(self, head, frames.len(), after);
        let frames_of = FramesOf::of(head);
        let route = Route { hop: Hop::Split(splitter.clone()), head: Arc::downgrade(head), frames_of };
        // Before the outputs are looked at: one that acquires later finds the splitter.
        replaced.routes.push((self.clone(), self.pipe().set_route(route)));
        let offer = Offer { frames: &frames, header_bytes };
        for output in outputs {
            output.bind_branch(&splitter, &offer, replaced);
        }
    }

    /// An output that acquires joins the circuit of its input, if that runs already.
    pub(super) fn join_splitter(self: &Arc<Pin>, input: &Arc<Pin>, replaced: &mut Replaced) {
        let route = input.pipe().route();
        let (Hop::Split(splitter), Some(head)) = (&route.hop, route.head.upgrade()) else { return };
        let (frames, header_bytes) = head.frames_of_circuit();
        self.bind_branch(splitter, &Offer { frames: &frames, header_bytes }, replaced);
    }

    /// The frames that travel from this head, by index, and the bytes of their headers.
    pub(super) fn frames_of_circuit(&self) -> (Vec<Frame>, usize) {
        match self.pipe().branch() {
            Some(branch) => (branch.frames.clone(), branch.header_bytes),
            None => self.pipe().frames(),
        }
    }
}
