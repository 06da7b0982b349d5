//! Which clock a graph goes by.
//!
//! Decision: a graph goes by the clock of the pin that gives it its pace: the first data source that has one and whose
//! filter takes nothing, in the order of the text; else the first sink with a clock behind which nothing comes; else any
//! pin with one. Without any, each filter goes by its own time, which is the engine's for all of them. Source: "AVStream
//! clocks" (push sources are preferred; the choice is made on the way to PAUSE), "Master clocks".

use super::negotiate::Connected;
use crate::clock::Clock;
use crate::pin::Pin;

/// The clock that the pins of a graph follow. Dropping it closes its handle.
#[derive(Debug)]
pub(super) struct MasterClock {
    /// The pin that it belongs to, `filter.pin`.
    pub(super) pin: String,
    /// Its handle is open as long as pins may be told of it.
    _clock: Clock,
    /// Pins that go by their own clock, and why.
    pub(super) refused: Vec<String>,
}

/// A pin of a graph as the election sees it.
struct Candidate<'a> {
    pin: &'a Pin,
    rank: u8,
}

/// Elects a clock and names it to every pin that takes one, in whatever process it is; to be done in STOP. A pin that does
/// not, because its driver has no AVStream, goes by its own.
pub(super) fn elect(connections: &[Connected]) -> Option<MasterClock> {
    let filter_of = |pin: &Pin| pin.name().rsplit_once('.').map_or_else(String::new, |(filter, _)| filter.to_owned());
    let takes = |filter: &str| connections.iter().any(|one| filter_of(&one.sink) == filter);
    let gives = |filter: &str| connections.iter().any(|one| filter_of(&one.source) == filter);
    let source = |one: &'_ Connected| if takes(&filter_of(&one.source)) { 2 } else { 0 };
    let sink = |one: &'_ Connected| if gives(&filter_of(&one.sink)) { 2 } else { 1 };
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for one in connections {
        candidates.push(Candidate { pin: &one.source, rank: source(one) });
        candidates.push(Candidate { pin: &one.sink, rank: sink(one) });
    }
    // Stable: of equals the first in the text.
    candidates.sort_by_key(|candidate| candidate.rank);
    let (owner, clock) = candidates.iter().find_map(|one| Some((one.pin, one.pin.create_clock().ok()?)))?;
    let others = candidates.iter().filter(|candidate| !std::ptr::eq(candidate.pin, owner));
    let refused = others.filter_map(|other| {
        let error = other.pin.set_master_clock(Some(&clock)).err()?;
        Some(format!("{}: {}", other.pin.name(), error.reason()))
    });
    let refused = refused.collect();
    Some(MasterClock { pin: owner.name().to_string(), _clock: clock, refused })
}

/// The run is over, and its pins are in STOP again: none keeps another's clock, and with it the other pin.
pub(super) fn release(connections: &[Connected]) {
    for pin in connections.iter().flat_map(|one| [&one.source, &one.sink]) {
        let _ = pin.set_master_clock(None);
    }
}
