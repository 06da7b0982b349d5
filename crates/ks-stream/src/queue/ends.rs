//! What waits behind the end of a stream, at an input whose frames become those of an output.
//!
//! When the leading edge has passed the last frame of a stream, it gets onto no other frame before an output has said the
//! end, too: until then the minidriver makes what it still can of the old stream, and what comes is of the new one.
//!
//! Source: "Handling end of stream in AVStream codecs".

use super::Queue;
use ks_abi::KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;

/// Where a queue is between the ends of its stream and those of the outputs that it feeds.
#[derive(Default)]
pub(super) struct Ends {
    /// An output that streams is fed by this input.
    pub(super) are_said: bool,
    /// The edge has passed the last frame, and no output has said so.
    pub(super) hold: bool,
    /// An output said it while the edge still stood on the last frame.
    said_early: bool,
}

impl Ends {
    /// The edge passes a frame with these options.
    #[cold]
    pub(super) fn pass(&mut self, flags: u32) {
        let said = std::mem::take(&mut self.said_early);
        self.hold |= flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0 && !said;
    }

    /// The queue is flushed.
    pub(super) fn forget(&mut self) {
        (self.hold, self.said_early) = (false, false);
    }
}

impl Queue {
    /// Whether outputs that stream say the ends of this input's streams. True when frames wait that need not.
    pub(crate) fn set_ends_are_said(&self, are_said: bool) -> bool {
        let mut state = self.state.lock();
        state.ends.are_said = are_said;
        let waited = !are_said && state.ends.hold;
        if waited {
            state.ends.forget();
        }
        waited
    }

    /// An output has said the end of its stream, or never will. True when frames have waited for it.
    pub(crate) fn end_is_said(&self) -> bool {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.ends.hold) {
            return true;
        }
        let at_end = || {
            let frame = state.frame_at(state.leading);
            frame.is_some_and(|frame| frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0)
        };
        // A frame that the edge has locked may be out of the queue; passing it shows which it was.
        if state.ends.are_said && (state.leading_locked || at_end()) {
            state.ends.said_early = true;
        }
        false
    }
}
