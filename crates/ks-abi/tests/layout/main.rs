//! Every size, offset, alignment, constant and GUID of ks-abi against two independent sources: windows-sys, generated
//! from the metadata of the Windows SDK, and the headers of mingw-w64. Where a source disagrees, or no source knows an
//! item, `abi-exceptions.toml` says why ours is right; an exception that is no longer needed fails the test too.

mod exceptions;
mod mingw;
mod windows_sys;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a source says about each item.
type Facts = BTreeMap<Key, u128>;

/// One comparable number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// A structure, `STRUCTURE.Member`, a constant or a GUID, in the header's spelling.
    item: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Size,
    Align,
    Offset,
    Value,
    Guid,
}

impl Key {
    fn size(structure: &str) -> Self {
        Self { item: structure.to_owned(), what: What::Size }
    }

    fn align(structure: &str) -> Self {
        Self { item: structure.to_owned(), what: What::Align }
    }

    fn offset(structure: &str, member: &str) -> Self {
        Self { item: format!("{structure}.{member}"), what: What::Offset }
    }

    fn value(constant: &str) -> Self {
        Self { item: constant.to_owned(), what: What::Value }
    }

    fn guid(name: &str) -> Self {
        Self { item: name.to_owned(), what: What::Guid }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size",
            Self::Align => "align",
            Self::Offset => "offset",
            Self::Value => "value",
            Self::Guid => "guid",
        })
    }
}

/// What ks-abi says.
fn ours() -> Facts {
    let mut facts = Facts::new();
    for layout in ks_abi::layouts() {
        facts.insert(Key::size(layout.name), layout.size as u128);
        facts.insert(Key::align(layout.name), layout.align as u128);
        for field in layout.fields {
            facts.insert(Key::offset(layout.name, field.name), field.offset as u128);
        }
    }
    for (name, value) in ks_abi::constants() {
        facts.insert(Key::value(name), u128::from(value));
    }
    for (name, guid) in ks_abi::known_guids() {
        facts.insert(Key::guid(name), guid.to_u128());
    }
    facts
}

/// A disagreement with a source, or an item that no source knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// `windows-sys`, `mingw-w64`, or `none` when neither knows the item.
    source: String,
    item: String,
    what: String,
    ours: String,
    theirs: String,
}

impl fmt::Display for Finding {
    /// As an entry of the exceptions file would begin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, item, what, ours, theirs } = self;
        write!(f, "{{ source = \"{source}\", item = \"{item}\", what = \"{what}\", ours = \"{ours}\"")?;
        if !theirs.is_empty() {
            write!(f, ", theirs = \"{theirs}\"")?;
        }
        f.write_str(" }")
    }
}

fn shown(what: What, number: u128) -> String {
    match what {
        What::Guid => ks_abi::Guid::from_u128(number).to_string(),
        What::Value => format!("0x{number:X}"),
        What::Size | What::Align | What::Offset => number.to_string(),
    }
}

fn findings() -> BTreeSet<Finding> {
    let ours = ours();
    let sources = [("windows-sys", windows_sys::facts()), ("mingw-w64", mingw::facts(&ours))];
    let mut findings = BTreeSet::new();
    for (key, &number) in &ours {
        let mut known = false;
        for (source, facts) in &sources {
            let Some(&theirs) = facts.get(key) else { continue };
            known = true;
            if theirs != number {
                findings.insert(Finding {
                    source: (*source).to_owned(),
                    item: key.item.clone(),
                    what: key.what.to_string(),
                    ours: shown(key.what, number),
                    theirs: shown(key.what, theirs),
                });
            }
        }
        if !known {
            findings.insert(Finding {
                source: "none".to_owned(),
                item: key.item.clone(),
                what: key.what.to_string(),
                ours: shown(key.what, number),
                theirs: String::new(),
            });
        }
    }
    findings
}

#[test]
fn every_number_agrees_with_both_sources_or_has_an_exception() {
    let findings = findings();
    let exceptions = exceptions::read();
    let unlisted: Vec<_> =
        findings.iter().filter(|finding| !exceptions.iter().any(|exception| exception == *finding)).collect();
    let stale: Vec<_> = exceptions.iter().filter(|exception| !findings.contains(exception)).collect();
    let lines = |findings: &[&Finding]| findings.iter().map(|finding| format!("  {finding}\n")).collect::<String>();
    assert!(unlisted.is_empty(), "deviations that abi-exceptions.toml does not list:\n{}", lines(&unlisted));
    assert!(stale.is_empty(), "entries of abi-exceptions.toml without a deviation:\n{}", lines(&stale));
}

#[test]
fn each_source_confirms_most_of_it() {
    let ours = ours();
    for (source, facts) in [("windows-sys", windows_sys::facts()), ("mingw-w64", mingw::facts(&ours))] {
        let confirmed = ours.iter().filter(|(key, number)| facts.get(key) == Some(number)).count();
        assert!(confirmed * 2 > ours.len(), "{source} confirms only {confirmed} of {} numbers", ours.len());
    }
}

#[test]
fn every_structure_that_is_defined_is_listed() {
    let listed: BTreeSet<_> = ks_abi::layouts().iter().map(|layout| layout.name).collect();
    assert_eq!(listed.len(), ks_abi::layouts().len(), "a structure is listed twice");
    let mut sources = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut defined = 0;
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.ends_with("userks.rs") {
            // What userks adds of its own has no ancestor to be compared with.
            let text = std::fs::read_to_string(path).unwrap();
            defined += text.lines().filter(|line| *line == "abi_struct! {").count();
        }
    }
    assert_eq!(listed.len(), defined, "structures listed, structures defined");
}
