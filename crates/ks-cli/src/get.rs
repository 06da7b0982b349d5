//! `ks get`, `ks set` and `ks events`: one property or event of a filter, a pin or a node.

use ks_client::{Scope, SetKind};
use ks_io::Ticks;

use crate::arguments::{EventsArguments, GetArguments, SetArguments};
use crate::ask::{Place, Wanted, named};
use crate::document::PropertyDocument;
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::output;
use ks_broker::terminal::printable;

/// `ks get`.
pub(crate) fn get(arguments: &GetArguments) -> Result<Exit, Failure> {
    let property = named(SetKind::Property, &arguments.property)?;
    let document = with_filter(&arguments.target.filter, &arguments.target.drivers, |engine, place| {
        engine.get(place, scope(arguments.target.node), property)
    })?;
    show(&document, arguments.target.json)
}

/// `ks set`.
pub(crate) fn set(arguments: &SetArguments) -> Result<Exit, Failure> {
    let property = named(SetKind::Property, &arguments.property)?;
    let document = with_filter(&arguments.target.filter, &arguments.target.drivers, |engine, place| {
        engine.set(place, scope(arguments.target.node), property, &arguments.value)
    })?;
    show(&document, arguments.target.json)
}

/// `ks events`.
pub(crate) fn events(arguments: &EventsArguments) -> Result<Exit, Failure> {
    let event = named(SetKind::Event, &arguments.event)?;
    let json = arguments.target.json;
    let document = with_filter(&arguments.target.filter, &arguments.target.drivers, |engine, place| {
        if arguments.run && place.pin.is_none() {
            return Err(Failure::usage("bring a pin to RUN", "--run needs a pin, such as FILTER.0"));
        }
        let wanted = Wanted {
            count: arguments.count,
            timeout: arguments.timeout.map(|seconds| Ticks((seconds * Ticks::SECOND.0 as f64) as i64)),
            state: arguments.run.then_some(ks_abi::KsState::RUN),
        };
        let mut print = |number: u64, at: Ticks| match json {
            true => Ok(()),
            false => output::print(&format!("{number} {} after {:.3} s\n", event.text(), at.as_secs_f64())),
        };
        engine.events(place, scope(arguments.target.node), event, wanted, &mut print)
    })?;
    if json {
        output::print_json(&document)?;
    }
    match document.complete {
        true => Ok(Exit::Done),
        false => {
            let why = format!("{} of {} came in time", document.at_ns.len(), arguments.count);
            Err(Failure::job(format!("wait for {} of {}", document.event, document.object), why))
        }
    }
}

fn scope(node: Option<u32>) -> Scope {
    node.map_or(Scope::Object, Scope::Node)
}

/// Has `work` work with a filter, of which a driver file is loaded and unloaded.
fn with_filter<T>(
    word: &str,
    drivers: &crate::drivers::DriverArguments,
    work: impl FnOnce(&Engine, &Place) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut engine = Engine::boot()?;
    let place = Place::parse(word);
    let place = Place { filter: engine.name_of(&place.filter, drivers)?, ..place };
    let done = work(&engine, &place);
    match engine.unload(done.as_ref().err().cloned()).failure {
        Some(failure) => Err(failure),
        None => done,
    }
}

fn show(document: &PropertyDocument, json: bool) -> Result<Exit, Failure> {
    if json {
        output::print_json(document)?;
    } else {
        output::print(&text(document))?;
    }
    Ok(Exit::Done)
}

fn text(document: &PropertyDocument) -> String {
    let unit = if document.unit.is_empty() { String::new() } else { format!(" {}", document.unit) };
    let mut text = format!("{}: {}{unit}\n", document.property, printable(&document.value));
    if !document.values.is_empty() {
        text += &format!("  takes    {}\n", printable(&document.values.join(", ")));
    }
    if let Some(default) = &document.default {
        text += &format!("  default  {}\n", printable(default));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_with_its_unit_ranges_and_default() {
        let document = PropertyDocument {
            property: "KSPROPERTY_AUDIO_VOLUMELEVEL".into(),
            value: "-65536".into(),
            unit: "1/65536 dB".into(),
            values: vec!["-6291456 to 0 by 32768".into()],
            default: Some("0".into()),
            ..PropertyDocument::default()
        };
        assert_eq!(
            text(&document),
            "KSPROPERTY_AUDIO_VOLUMELEVEL: -65536 1/65536 dB\n  takes    -6291456 to 0 by 32768\n  default  0\n"
        );
    }
}
