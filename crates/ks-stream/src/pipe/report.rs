//! What a pipe section is, as text for a client: one fact a line, its words separated by tabs.
//!
//! `pins` in the order of the data; `frames`, `bytes` and `alignment` with the pin that decided each; `memory`; `owner` with
//! the reason; and a `note` for each preference that was not met.

use super::AllocatorReport;
use super::framing::Agreed;
use crate::descriptor::Framing;
use crate::pin::Pin;
use ks_abi::KsPinDataFlow;
use ks_io::sync::Arc;
use ks_mem::FrameMemory;

impl Pin {
    /// The pipe section that this pin was in when it last left STOP, one fact a line: its pins, its allocator, whose that is
    /// and why. Empty before.
    pub fn pipe_report(&self) -> String {
        match self.pipe().route().head.upgrade() {
            Some(head) => head.pipe().description(),
            None => self.pipe().description(),
        }
    }

    /// What the allocator of this pin's section made.
    pub fn allocator_report(&self) -> AllocatorReport {
        match self.pipe().route().head.upgrade() {
            Some(head) => head.pipe().report(),
            None => self.pipe().report(),
        }
    }
}

fn pins(pins: &[Arc<Pin>]) -> String {
    let mut line = String::from("pins");
    for pin in pins {
        line += "\t";
        line += &pin.describe();
        // Of a filter that works in place the section goes on behind its output.
        if let Some(output) = pin.in_place_counterpart().filter(|_| pin.data_flow() == KsPinDataFlow::IN) {
            line += "\t";
            line += &output.describe();
        }
    }
    line + "\n"
}

/// A section with frames of its own.
pub(super) fn of_section(
    circuit: &[Arc<Pin>],
    agreed: &Agreed,
    framing: Framing,
    memory: FrameMemory,
    owner: &str,
) -> String {
    let by = |pin: &str| if pin.is_empty() { String::new() } else { format!("\t{pin}") };
    let memory = match memory {
        FrameMemory::Private => "of this process",
        FrameMemory::Shared => "shared with another process",
    };
    let mut text = pins(circuit);
    text += &format!("frames\t{}{}\n", framing.frames, by(&agreed.frames_by));
    text += &format!("bytes\t{}{}\n", framing.frame_bytes, by(&agreed.bytes_by));
    text += &format!("alignment\t{}{}\n", framing.alignment, by(&agreed.alignment_by));
    text += &format!("memory\t{memory}\n");
    text += &format!("owner\t{owner}\n");
    for note in &agreed.notes {
        text += &format!("note\tnot met: {note}\n");
    }
    text
}

/// A section whose frames are those of requests.
pub(super) fn of_callers(circuit: &[Arc<Pin>]) -> String {
    pins(circuit) + "owner\t\twhoever sends the requests\n"
}

/// A section whose driver brings the frames.
pub(super) fn of_injection(circuit: &[Arc<Pin>]) -> String {
    let head = circuit.first().map(|pin| pin.describe()).unwrap_or_default();
    pins(circuit) + &format!("owner\t{head}\tits driver injects the frames\n")
}

/// A branch of a splitter.
pub(super) fn of_branch(circuit: &[Arc<Pin>], input: &str, copies: bool) -> String {
    let what = if copies { "copies of the frames there" } else { "shares of the frames there" };
    pins(circuit) + &format!("owner\t{input}\t{what}\n")
}
