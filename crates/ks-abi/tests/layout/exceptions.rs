//! `abi-exceptions.toml`: the deviations that are known, and why ours is right.

use crate::Finding;

/// Reads the file; every entry must say why.
pub(crate) fn read() -> Vec<Finding> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/abi-exceptions.toml");
    let text = std::fs::read_to_string(path).expect("abi-exceptions.toml is readable");
    let table: toml::Table = text.parse().expect("abi-exceptions.toml is TOML");
    let mut findings = Vec::new();
    for group in table.get("exception").and_then(toml::Value::as_array).into_iter().flatten() {
        let because = text_of(group, "because");
        assert!(because.len() >= 20, "an exception without a reason: {group:?}");
        for entry in group.get("entries").and_then(toml::Value::as_array).expect("an exception has entries") {
            findings.push(Finding {
                source: text_of(entry, "source"),
                item: text_of(entry, "item"),
                what: text_of(entry, "what"),
                ours: text_of(entry, "ours"),
                theirs: entry.get("theirs").map(|_| text_of(entry, "theirs")).unwrap_or_default(),
            });
        }
    }
    findings
}

fn text_of(value: &toml::Value, key: &str) -> String {
    value.get(key).and_then(toml::Value::as_str).unwrap_or_else(|| panic!("{key} is missing: {value:?}")).to_owned()
}
