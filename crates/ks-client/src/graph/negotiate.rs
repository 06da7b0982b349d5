//! Connecting two pin factories: what they have in common, in the order in which the sides prefer it.

use super::error::GraphError;
use super::looped::{LoopedEnd, LoopedLink};
use crate::error::ClientError;
use crate::filter::{Connect, Filter, PinFactory};
use crate::format::{Format, Range};
use crate::pin::Pin;
use ks_abi::{Guid, KsIdentifier, KsPinCommunication, KsPinDataFlow, STATUS_NO_MATCH};
use ks_io::Aspect;

/// Two connected pins and what they agreed on.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) source: Pin,
    pub(crate) sink: Pin,
    pub(crate) interface: KsIdentifier,
    pub(crate) medium: KsIdentifier,
    pub(crate) format: Format,
    /// What the client has of the looped pin, where one of the two is one: then no engine connects them.
    pub(super) looped: Option<LoopedLink>,
}

impl Connected {
    /// Is the sink a looped pin?
    pub(super) fn plays_looped(&self) -> bool {
        self.looped.as_ref().is_some_and(|looped| looped.end == LoopedEnd::Sink)
    }

    /// The looped pin, or the sink where there is none.
    pub(super) fn looped_pin(&self) -> &Pin {
        match &self.looped {
            Some(looped) if looped.end == LoopedEnd::Source => &self.source,
            _ => &self.sink,
        }
    }
}

/// Connects an output pin factory to an input pin factory.
///
/// The IRP-sink pin is created first, the IRP-source pin with its handle. Which end is which follows from what the
/// factories communicate as; where both could be either, the data sink is the IRP sink. `arriving` is the format in which
/// the source's filter gets its data: among what the sink takes, the same kind goes first.
pub(crate) fn connect(
    from: &Filter,
    source: &PinFactory,
    to: &Filter,
    sink: &PinFactory,
    arriving: Option<&Format>,
) -> Result<Connected, GraphError> {
    let names = (format!("{}.{}", from.name(), source.id), format!("{}.{}", to.name(), sink.id));
    let interface = common(&source.interfaces, &sink.interfaces, Aspect::Interface, &names)?;
    if interface == KsIdentifier::STANDARD_LOOPED_STREAMING {
        let reason = format!(
            "{} and {} are looped, and each has a buffer of its own; refused: {}",
            names.0,
            names.1,
            Aspect::Interface
        );
        return Err(refused(&names, Aspect::Interface, reason));
    }
    let medium = common(&source.mediums, &sink.mediums, Aspect::Medium, &names)?;
    let format = agree_on_format(from, source, to, &nearest_first(sink, arriving), &names)?;
    let source_at = |pin_to| Connect { pin_id: source.id, interface, medium, pin_to, format: &format };
    let sink_at = |pin_to| Connect { pin_id: sink.id, interface, medium, pin_to, format: &format };
    let can = |one: &PinFactory, role| one.communication == role || one.communication == KsPinCommunication::BOTH;
    let both = |error| GraphError::Connect { from: names.0.clone(), to: names.1.clone(), error };
    if can(sink, KsPinCommunication::SINK) && can(source, KsPinCommunication::SOURCE) {
        let sink_pin = to.create_pin(sink_at(None), KsPinDataFlow::IN).map_err(both)?;
        let source_pin = from.create_pin(source_at(Some(&sink_pin)), KsPinDataFlow::OUT).map_err(both)?;
        return Ok(Connected { source: source_pin, sink: sink_pin, interface, medium, format, looped: None });
    }
    if can(source, KsPinCommunication::SINK) && can(sink, KsPinCommunication::SOURCE) {
        let source_pin = from.create_pin(source_at(None), KsPinDataFlow::OUT).map_err(both)?;
        let sink_pin = to.create_pin(sink_at(Some(&source_pin)), KsPinDataFlow::IN).map_err(both)?;
        return Ok(Connected { source: source_pin, sink: sink_pin, interface, medium, format, looped: None });
    }
    let reason = format!(
        "{} communicates as {}, {} as {}; one end must be able to send requests and the other to take them",
        names.0, source.communication, names.1, sink.communication
    );
    Err(refused(&names, Aspect::Communication, reason))
}

/// The first of the source's list that the sink lists too.
fn common(
    source: &[KsIdentifier],
    sink: &[KsIdentifier],
    aspect: Aspect,
    names: &(String, String),
) -> Result<KsIdentifier, GraphError> {
    let same = |one: &KsIdentifier, other: &KsIdentifier| one.set == other.set && one.id == other.id;
    match source.iter().find(|one| sink.iter().any(|other| same(one, other))) {
        Some(found) => Ok(*found),
        None => {
            let word = |one: &KsIdentifier| match aspect {
                Aspect::Medium => ks_abi::describe::medium(*one),
                _ => ks_abi::describe::interface(*one),
            };
            let words = |list: &[KsIdentifier]| list.iter().map(word).collect::<Vec<_>>().join(", ");
            let reason =
                format!("{} offers {}; {} takes {}; refused: {aspect}", names.0, words(source), names.1, words(sink));
            Err(refused(names, aspect, reason))
        }
    }
}

/// The sink, with those of its ranges in front whose samples are of the kind that arrives at the source's filter. A
/// converter changes nothing that nobody asked for: without this it would change to whatever the sink lists first.
pub(super) fn nearest_first(sink: &PinFactory, arriving: Option<&Format>) -> PinFactory {
    let mut sink = sink.clone();
    if let Some(arriving) = arriving {
        let kind = (arriving.head().major_format, arriving.head().sub_format);
        sink.data_ranges.sort_by_key(|range| (range.head().major_format, range.head().sub_format) != kind);
    }
    sink
}

/// Asks the source's filter to intersect with the sink's ranges, and the other way round when that gives nothing.
pub(super) fn agree_on_format(
    from: &Filter,
    source: &PinFactory,
    to: &Filter,
    sink: &PinFactory,
    names: &(String, String),
) -> Result<Format, GraphError> {
    let first = match from.intersect(source.id, &sink.data_ranges) {
        Ok(format) => return Ok(format),
        Err(error) => error,
    };
    if first.status != STATUS_NO_MATCH {
        return Err(GraphError::Connect { from: names.0.clone(), to: names.1.clone(), error: first });
    }
    // A driver may know no wildcards: of what it offers itself, it names what such a sink may take.
    if let Ok(format) = from.intersect(source.id, &source.data_ranges)
        && sink.data_ranges.iter().any(|range| leaves_open(range, &format))
    {
        return Ok(format);
    }
    if let Ok(format) = to.intersect(sink.id, &source.data_ranges) {
        return Ok(format);
    }
    let aspect = first.aspect().unwrap_or(Aspect::Driver);
    let reason = format!(
        "{} offers {}; {} takes {}; refused: {aspect}",
        names.0,
        words(&source.data_ranges),
        names.1,
        words(&sink.data_ranges)
    );
    Err(refused(names, aspect, reason))
}

/// Does a range with a wildcard allow a format? The sink has the last word when its pin is created.
fn leaves_open(range: &Range, format: &Format) -> bool {
    let (range, format) = (range.head(), format.head());
    let pairs = [
        (range.major_format, format.major_format),
        (range.sub_format, format.sub_format),
        (range.specifier, format.specifier),
    ];
    let allows = |(one, other): (Guid, Guid)| one.is_null() || one == other;
    pairs.iter().any(|(one, _)| one.is_null()) && pairs.into_iter().all(allows)
}

fn words(ranges: &[Range]) -> String {
    if ranges.is_empty() {
        return "nothing".into();
    }
    let mut words: Vec<String> = ranges.iter().map(Range::describe_range).collect();
    words.dedup();
    words.join(", ")
}

pub(super) fn refused(names: &(String, String), aspect: Aspect, reason: String) -> GraphError {
    let error = ClientError::own("connect", &names.0, STATUS_NO_MATCH, aspect, reason);
    GraphError::Connect { from: names.0.clone(), to: names.1.clone(), error }
}
