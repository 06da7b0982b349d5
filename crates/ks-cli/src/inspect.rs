//! `ks inspect`: what a filter is made of.

use std::fmt::Write as _;

use ks_broker::terminal::printable;

use crate::arguments::InspectArguments;
use crate::describe;
use crate::document::{InspectDocument, ItemEntry, Pin};
use crate::engine::{Engine, Pins};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::table::{Align, Table};

pub(crate) fn perform(arguments: &InspectArguments) -> Result<Exit, Failure> {
    let mut engine = Engine::boot()?;
    let name = engine.name_of(&arguments.filter, &arguments.drivers)?;
    let document = engine.inspect(&name, if arguments.pins { Pins::Created } else { Pins::Described });
    let failure = engine.unload(document.as_ref().err().cloned()).failure;
    let document = document?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    if arguments.json {
        output::print_json(&document)?;
    } else {
        output::print(&text(&document))?;
    }
    Ok(Exit::Done)
}

fn text(filter: &InspectDocument) -> String {
    let mut text = format!("{}: {}\n", printable(&filter.name), printable(&filter.friendly_name));
    line(&mut text, "categories", &filter.categories.iter().map(|name| describe::short(name)).collect::<Vec<_>>());
    line(&mut text, "symbolic link", &[printable(&filter.symbolic_link)]);
    for pin in &filter.pins {
        text.push('\n');
        pin_text(&mut text, pin);
    }
    if !filter.settings.is_empty() {
        text.push_str("\nSettings\n");
        let mut table = Table::new(&[
            ("  key", Align::Left),
            ("kind", Align::Left),
            ("default", Align::Left),
            ("value", Align::Left),
            ("meaning", Align::Left),
        ]);
        for setting in &filter.settings {
            table.row([
                format!("  {}", setting.name),
                setting.kind.clone(),
                setting.default.clone(),
                setting.value.clone(),
                setting.help.clone(),
            ]);
        }
        text += &table.text();
    }
    topology_text(&mut text, filter);
    let lists = [("Properties", &filter.properties), ("Methods", &filter.methods), ("Events", &filter.events)];
    for (what, items) in lists {
        items_text(&mut text, what, items);
    }
    for pin in &filter.pins {
        for (what, items) in [("Properties", &pin.properties), ("Methods", &pin.methods), ("Events", &pin.events)] {
            items_text(&mut text, &format!("{what} of pin {}", pin.id), items);
        }
    }
    text
}

fn items_text(text: &mut String, what: &str, items: &[ItemEntry]) {
    if items.is_empty() {
        return;
    }
    _ = writeln!(text, "\n{what}");
    let mut table = Table::new(&[("  name", Align::Left), ("access", Align::Left), ("values", Align::Left)]);
    for item in items {
        let name = item.name.clone().unwrap_or_else(|| format!("{}:{}", item.set, item.id));
        let default = item.default.iter().map(|default| format!("default {default}"));
        let values: Vec<String> = item.values.iter().cloned().chain(default).collect();
        let unit = if item.unit.is_empty() { String::new() } else { format!(" [{}]", item.unit) };
        table.row([
            format!("  {name}"),
            item.access.join(" "),
            format!("{}{unit}", values.join(", ")).trim().to_owned(),
        ]);
    }
    text.push_str(&table.text());
}

fn pin_text(text: &mut String, pin: &Pin) {
    let name = pin.name.as_deref().map_or(String::new(), |name| format!(" \"{}\"", printable(name)));
    let flow = match pin.data_flow.as_str() {
        "in" => "data flows in",
        "out" => "data flows out",
        other => other,
    };
    _ = writeln!(text, "Pin {}{name}: {flow}, communication {}", pin.id, pin.communication);
    line(text, "category", &pin.category.iter().map(|name| describe::short(name)).collect::<Vec<_>>());
    line(text, "interfaces", &pin.interfaces);
    line(text, "mediums", &pin.mediums);
    let possible = pin.instances.possible.map_or("no limit".into(), |possible| format!("at most {possible}"));
    line(text, "instances", &[format!("{} now", pin.instances.current), possible]);
    // Ranges that differ in their blocks only read the same.
    let mut formats = pin.formats.clone();
    formats.dedup();
    for format in &formats {
        line(text, "format", std::slice::from_ref(format));
    }
}

fn topology_text(text: &mut String, filter: &InspectDocument) {
    let topology = &filter.topology;
    if topology.nodes.is_empty() && topology.connections.is_empty() {
        return;
    }
    text.push_str("\nTopology\n");
    for (id, node) in topology.nodes.iter().enumerate() {
        _ = writeln!(text, "  node {id}: {}", describe::short(&printable(node)));
    }
    let end = |node: Option<u32>, pin: u32| match node {
        Some(node) => format!("node {node} pin {pin}"),
        None => format!("pin {pin}"),
    };
    for link in &topology.connections {
        let (from, to) = (end(link.from_node, link.from_pin), end(link.to_node, link.to_pin));
        _ = writeln!(text, "  {from} -> {to}");
    }
}

fn line(text: &mut String, what: &str, values: &[String]) {
    if values.iter().any(|value| !value.is_empty()) {
        _ = writeln!(text, "  {what:<14} {}", values.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Instances, Setting, Topology, TopologyConnection};

    #[test]
    fn pins_settings_and_topology_are_shown() {
        let filter = InspectDocument {
            name: "test-camera".into(),
            friendly_name: "Test Camera".into(),
            symbolic_link: r"\\?\x".into(),
            categories: vec!["KSCATEGORY_CAPTURE".into()],
            pins: vec![Pin {
                id: 0,
                name: Some("Capture".into()),
                category: Some("PINNAME_VIDEO_CAPTURE".into()),
                data_flow: "out".into(),
                communication: "both".into(),
                interfaces: vec!["standard streaming".into()],
                mediums: vec!["standard devio".into()],
                formats: vec!["video NV12".into(), "video I420".into()],
                instances: Instances { current: 0, possible: Some(1) },
                ..Pin::default()
            }],
            topology: Topology {
                categories: vec![],
                nodes: vec![],
                connections: vec![TopologyConnection { from_node: None, from_pin: 1, to_node: Some(0), to_pin: 2 }],
            },
            settings: vec![Setting {
                name: "width".into(),
                kind: "number".into(),
                default: "640".into(),
                value: "1280".into(),
                help: "pixels in a line".into(),
            }],
            properties: vec![ItemEntry {
                set: "KSPROPSETID_Audio".into(),
                id: 4,
                name: Some("KSPROPERTY_AUDIO_VOLUMELEVEL".into()),
                access: vec!["get".into(), "set".into()],
                unit: "1/65536 dB".into(),
                values: vec!["-6291456 to 0 by 32768".into()],
                default: Some("0".into()),
            }],
            methods: vec![],
            events: vec![ItemEntry { set: "{X}".into(), id: 7, access: vec!["enable".into()], ..ItemEntry::default() }],
        };
        let expected = r#"test-camera: Test Camera
  categories     capture
  symbolic link  \\?\x

Pin 0 "Capture": data flows out, communication both
  category       capture
  interfaces     standard streaming
  mediums        standard devio
  instances      0 now, at most 1
  format         video NV12
  format         video I420

Settings
  key    kind    default  value  meaning
  width  number  640      1280   pixels in a line

Topology
  pin 1 -> node 0 pin 2

Properties
  name                          access   values
  KSPROPERTY_AUDIO_VOLUMELEVEL  get set  -6291456 to 0 by 32768, default 0 [1/65536 dB]

Events
  name   access  values
  {X}:7  enable
"#;
        assert_eq!(text(&filter), expected);
    }
}
