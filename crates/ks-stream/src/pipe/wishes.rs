//! Whose wishes count for the frames of a section, in which order, and who changes the frames.

use super::framing::{Wish, same_frames};
use crate::pin::Pin;
use ks_abi::{KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, KsPinDataFlow, KsState};
use ks_io::sync::Arc;

/// The wishes of all pins that a head's frames come to, over every branch and behind borders, each behind the one before
/// it; and for each the pin, or the one in front of the border.
pub(super) fn wishes_of(head: &Arc<Pin>) -> (Vec<Wish>, Vec<Arc<Pin>>) {
    let mut collected = Collected::default();
    collected.circuit(head, None);
    (collected.wishes, collected.pins)
}

/// The same of several heads, who are to have the same frames.
pub(super) fn wishes_of_all(heads: &[Arc<Pin>]) -> (Vec<Wish>, Vec<Arc<Pin>>) {
    let mut collected = Collected::default();
    heads.iter().for_each(|head| collected.circuit(head, None));
    (collected.wishes, collected.pins)
}

/// Is a wish that of a pin whose filter changes the very frames that come to the pin of another wish?
pub(super) fn reaches(wishes: &[Wish], index: usize, front: usize) -> bool {
    let Some(front) = wishes.get(front) else { return false };
    wishes.get(index).is_some_and(|wish| wish.is_modified)
        && same_frames(wishes, index).any(|before| std::ptr::eq(before, front))
}

#[derive(Default)]
struct Collected {
    wishes: Vec<Wish>,
    pins: Vec<Arc<Pin>>,
}

impl Collected {
    fn circuit(&mut self, head: &Arc<Pin>, mut after: Option<usize>) {
        let mut branches = Vec::new();
        for pin in head.circuit() {
            if pin.data_flow() == KsPinDataFlow::IN {
                // A head that asks a foreign source; other sinks have none before them.
                after = self.foreign(&pin, after);
            }
            let output = pin.in_place_counterpart().filter(|_| pin.data_flow() == KsPinDataFlow::IN);
            after = self.own(&pin, after, output.is_none() && pin.changes_frames());
            if pin.data_flow() == KsPinDataFlow::OUT {
                after = self.foreign(&pin, after);
            }
            if let Some(output) = output {
                after = self.own(&output, after, pin.changes_frames());
                after = self.foreign(&output, after);
            }
            branches.extend(pin.splitter_outputs().into_iter().flatten().map(|output| (output, after)));
        }
        for (output, after) in branches {
            if !self.pins.iter().any(|known| Arc::ptr_eq(known, &output)) {
                self.branch(&output, after);
            }
        }
    }

    /// A branch that changes its frames gets copies.
    fn branch(&mut self, output: &Arc<Pin>, after: Option<usize>) {
        let first = self.wishes.len();
        self.circuit(output, after);
        let is_copied = (first..self.wishes.len()).any(|index| reaches(&self.wishes, index, first));
        if let Some(wish) = self.wishes.get_mut(first) {
            wish.is_copied = is_copied;
        }
    }

    fn own(&mut self, pin: &Arc<Pin>, after: Option<usize>, is_modified: bool) -> Option<usize> {
        let wish = Wish::of(pin, after);
        let exact = pin.exact_size(&wish);
        self.pins.push(pin.clone());
        self.wishes.push(Wish { is_modified, exact, ..wish });
        Some(self.wishes.len() - 1)
    }

    /// The pins on the other side of the border that `pin` is connected over, the connected one first.
    fn foreign(&mut self, pin: &Arc<Pin>, after: Option<usize>) -> Option<usize> {
        let foreign = pin.foreign_file().and_then(|_| pin.pipe().foreign_wishes());
        let Some(foreign) = foreign.filter(|foreign| !foreign.is_empty()) else { return after };
        let first = self.wishes.len();
        for wish in foreign.iter() {
            let after = wish.after.map_or(after, |at| Some(first + at));
            self.pins.push(pin.clone());
            self.wishes.push(Wish { after, ..wish.clone() });
        }
        Some(first)
    }
}

impl Pin {
    /// The only size that frames of this pin may have: that of the circuit on the other side of its filter, which copies
    /// and insists on a ratio between the two.
    ///
    /// Decision: where the other circuit stands already, and the filter has one input.
    fn exact_size(self: &Arc<Pin>, wish: &Wish) -> Option<(u64, String)> {
        let filter = self.filter();
        if filter.descriptor().in_place().is_some() {
            return None;
        }
        let of_flow = |flow| {
            let ids = 0..filter.descriptor().pin_count();
            ids.flat_map(|id| filter.pins(id)).filter(move |pin| pin.data_flow() == flow).collect::<Vec<_>>()
        };
        let ratio = |wish: &Wish| (wish.compression.ratio_numerator, wish.compression.ratio_denominator);
        if self.data_flow() == KsPinDataFlow::OUT {
            let inputs = wish.insists().then(|| of_flow(KsPinDataFlow::IN))?;
            let [input] = &inputs[..] else { return None };
            let bytes = input.bytes_of_circuit()?;
            let (over, under) = ratio(wish);
            let why = format!("it insists on {over}:{under} of the {bytes} bytes of {}", input.describe());
            return Some((wish.exactly(bytes).unwrap_or(0), why));
        }
        if of_flow(KsPinDataFlow::IN).len() != 1 {
            return None;
        }
        of_flow(KsPinDataFlow::OUT).into_iter().find_map(|output| {
            let wish = Wish::of(&output, None);
            let bytes = output.bytes_of_circuit().filter(|_| wish.insists())?;
            let before = Some(wish.before(bytes)).filter(|before| wish.exactly(*before) == Some(bytes));
            let (over, under) = ratio(&wish);
            let why = format!("{} insists on {over}:{under} and has {bytes}", output.describe());
            Some((before.unwrap_or(0), why))
        })
    }

    /// Bytes of a frame of the circuit that the pin is in, if that stands.
    fn bytes_of_circuit(&self) -> Option<u64> {
        let bytes = Some(self.allocator_report().frame_bytes).filter(|bytes| *bytes > 0)?;
        (self.agreed_state() >= KsState::ACQUIRE).then_some(bytes.into())
    }

    /// Do frames that come to this data sink leave it other than they came, or go on so? The filter that works in place, or
    /// the pin itself, says so.
    pub(super) fn changes_frames(self: &Arc<Pin>) -> bool {
        if self.data_flow() != KsPinDataFlow::IN || self.splitter_outputs().is_some() {
            return false;
        }
        let says = |pin: &Arc<Pin>| Wish::of(pin, None).is(KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER);
        match self.in_place_counterpart() {
            Some(output) => self.filter().descriptor().modifies_in_place() || says(self) || says(&output),
            None => says(self),
        }
    }

    /// Does anybody behind this output of a splitter change the frames of its branch, whose pins are given? Branches of a
    /// splitter further down have copies of their own.
    pub(super) fn branch_changes_frames(pins: &[Arc<Pin>]) -> bool {
        pins.iter().any(|pin| {
            let output = pin.in_place_counterpart();
            let behind = [Some(pin), output.as_ref()].into_iter().flatten().filter_map(|end| {
                end.foreign_file()?;
                end.pipe().foreign_wishes()
            });
            pin.changes_frames() || behind.flat_map(|wishes| wishes.to_vec()).any(|wish| wish.is_modified)
        })
    }
}
