//! `layers`: a crate depends only on crates of lower layers.
//!
//! Development dependencies are free: a test may stand on anything that is built on the crate it tests.

use std::process::ExitCode;

use serde_json::Value;

use crate::repo::{self, Outcome};

/// The layer of each crate; a crate that is not here fails the check.
const LAYERS: &[(&str, u32)] = &[
    ("ks-abi", 0),
    ("ks-mem", 1),
    ("ks-io", 2),
    ("ks-stream", 3),
    ("ks-wire", 3),
    ("ks-filters", 4),
    ("ks-twins", 4),
    ("ks-client", 4),
    ("ks-nt", 4),
    ("ks-broker", 5),
    ("ks-capi", 5),
    ("ks-cli", 6),
    ("ks-testkit", DEVELOPMENT),
    ("xtask", DEVELOPMENT),
];

/// Above every crate that is shipped.
const DEVELOPMENT: u32 = 7;

/// `cargo xtask layers`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("layers", repo::no_arguments(arguments).and_then(|()| check()))
}

/// Fails with every dependency that does not point downwards.
pub fn check() -> Outcome {
    let text = repo::output(&mut repo::cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let metadata = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let edges = edges(&metadata);
    let faults = faults(&edges);
    if faults.is_empty() {
        println!("layers: {} dependencies between crates, all downwards", edges.len());
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// Dependencies between crates of the repository; a crate without any has an edge to itself.
fn edges(metadata: &Value) -> Vec<(String, String)> {
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let from = package["name"].as_str().unwrap_or_default();
        if layer(from).is_none() {
            edges.push((from.to_owned(), from.to_owned()));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_ours = dependency["path"].is_string();
            if is_ours && dependency["kind"].as_str() != Some("dev") {
                let to = dependency["name"].as_str().unwrap_or_default();
                edges.push((from.to_owned(), to.to_owned()));
            }
        }
    }
    edges
}

fn faults(edges: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (from, to) in edges {
        match (layer(from), layer(to)) {
            (Some(above), Some(below)) if below < above => {}
            (Some(above), Some(below)) => {
                faults.push(format!("{from} (layer {above}) must not depend on {to} (layer {below})"))
            }
            (None, _) => faults.push(format!("{from} has no layer in xtask/src/layers.rs")),
            (_, None) => faults.push(format!("{to} has no layer in xtask/src/layers.rs")),
        }
    }
    faults
}

fn layer(name: &str) -> Option<u32> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_dependency_on_a_lower_layer_is_fine() {
        assert!(faults(&[edge("ks-client", "ks-io")]).is_empty());
    }

    #[test]
    fn a_dependency_on_the_same_or_a_higher_layer_is_a_fault() {
        assert_eq!(faults(&[edge("ks-client", "ks-filters")]).len(), 1);
        assert_eq!(faults(&[edge("ks-io", "ks-stream")]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_a_fault() {
        let metadata = serde_json::json!({"packages": [{"name": "stray", "dependencies": []}]});
        assert_eq!(faults(&edges(&metadata)).len(), 1);
    }

    #[test]
    fn development_dependencies_are_free() {
        let metadata = serde_json::json!({"packages": [{"name": "ks-io", "dependencies": [
            {"name": "ks-testkit", "path": "/x", "kind": "dev"}]}]});
        assert!(edges(&metadata).is_empty());
    }
}
