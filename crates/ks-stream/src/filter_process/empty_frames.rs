//! Frames without data: they go by the minidriver, and what they say is said again downstream.
//!
//! Decision: every output with frames of its own says it, by an empty frame: the one at its leading edge, or if there is
//! none, as its factory may need none, by the next that comes, before the minidriver sees it. An output that shares the
//! frames of an input has that frame itself.
//!
//! Source: KSFILTER_FLAG_RECEIVE_ZERO_LENGTH_SAMPLES in ns-ks-_ksfilter_descriptor.

use super::process_pins::ProcessPins;
use crate::pin::Pin;
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED,
    KsPinDataFlow,
};
use ks_io::sync::{Arc, atomic::Ordering};

/// What a frame says of itself, and not of the stream.
const OF_THE_FRAME: u32 =
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID | KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;

/// Lets the input frames without data go by, and has each output with frames of its own say what they said.
pub(super) fn bypass(pins: &ProcessPins<'_>) {
    let mut flags = 0;
    for entry in &pins.entries {
        if entry.is_bypassed()
            && let Some(locked) = entry.locked.take()
        {
            flags |= locked.options_flags() & !OF_THE_FRAME;
            locked.eject();
        }
    }
    for entry in &pins.entries {
        if entry.pin.data_flow() == KsPinDataFlow::OUT && entry.counterpart.is_none() && entry.follows.is_none() {
            drop(entry.locked.take());
            entry.pin.owe_flags(flags);
            entry.pin.say_owed_flags();
        }
    }
}

impl Pin {
    /// The next frame of this output is to say this.
    fn owe_flags(&self, flags: u32) {
        self.owed_flags.fetch_or(flags, Ordering::SeqCst);
    }

    /// Is a frame of this output to say something that the minidriver does not know?
    pub(crate) fn owes_flags(&self) -> bool {
        self.owed_flags.load(Ordering::SeqCst) != 0
    }

    /// The stream has ended, or was flushed: nothing of it is said any more.
    pub(crate) fn forget_owed_flags(&self) {
        self.owed_flags.store(0, Ordering::SeqCst);
    }

    /// The frame at the leading edge goes on and says what is owed. False without one, also where the driver has it locked.
    /// Processing mutex held.
    pub(super) fn say_owed_flags(self: &Arc<Pin>) -> bool {
        if !self.owes_flags() {
            return false;
        }
        let Some(frame) = self.leading_edge() else { return false };
        let own = if frame.data_used() > 0 { frame.options_flags() } else { 0 };
        frame.set_options_flags(own | self.owed_flags.swap(0, Ordering::SeqCst));
        frame.eject();
        true
    }
}
