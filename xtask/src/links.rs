//! `links`: what the documents name exists.
//!
//! Looked at are the Markdown files: each link to a file, and each word in backticks that ends like a source file. Such a
//! word is the end of a path, as the documents write it, so that `pin/state.rs` may lie anywhere. A record of a decision
//! may name what is not there yet, or no more.

use std::path::Path;
use std::process::ExitCode;

use crate::repo::{self, Outcome};

/// Endings that make a word in backticks the name of a file of the repository.
const SOURCES: [&str; 4] = [".rs", ".py", ".c", ".md"];

/// Where the records of decisions are.
const RECORDS: &str = "docs/adr/";

/// `cargo xtask links`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("links", repo::no_arguments(arguments).and_then(|()| check()))
}

/// Fails with every name that no file has.
pub fn check() -> Outcome {
    let files = repo::files(&repo::root())?;
    let paths: Vec<String> = files.iter().map(|path| format!("/{}", repo::relative(path))).collect();
    let mut faults = Vec::new();
    let mut count = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        for (line, name) in names(&repo::read(file)?) {
            count += 1;
            let exists = match &name {
                Name::Link(target) => file.parent().unwrap_or(Path::new("")).join(target).exists(),
                Name::Source(_) if repo::relative(file).starts_with(RECORDS) => true,
                Name::Source(end) => paths.iter().any(|path| path.ends_with(&format!("/{end}"))),
            };
            if !exists {
                let (Name::Link(text) | Name::Source(text)) = name;
                faults.push(format!("{}:{line}: there is no {text}", repo::relative(file)));
            }
        }
    }
    if faults.is_empty() {
        println!("links: {count} names of files, all there");
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// How a document names a file.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// From the document's directory.
    Link(String),
    /// The end of its path.
    Source(String),
}

/// The names in a text, each with its line. What stands in a block of code is no name.
fn names(text: &str) -> Vec<(usize, Name)> {
    let mut names = Vec::new();
    let mut in_code = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                names.push((number, Name::Link(path.to_owned())));
            }
        }
        for word in line.split('`').skip(1).step_by(2) {
            let is_plain = word.chars().all(|char| char.is_ascii_alphanumeric() || "/_-.".contains(char));
            if is_plain && SOURCES.iter().any(|end| word.len() > end.len() && word.ends_with(end)) {
                names.push((number, Name::Source(word.to_owned())));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_sources_are_found_with_their_lines() {
        let text = "see [a](docs/a.md#part), [b](https://b.example)\nand `pin/state.rs`, `Pin::state`, `bench/*.c`\n\
                    ```\n`code.rs`\n```\n    `more.rs`\nlast: `x.py`";
        let link = |text: &str| Name::Link(text.to_owned());
        let source = |text: &str| Name::Source(text.to_owned());
        assert_eq!(names(text), [(1, link("docs/a.md")), (2, source("pin/state.rs")), (7, source("x.py"))]);
    }
}
