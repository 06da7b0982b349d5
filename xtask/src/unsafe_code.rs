//! `unsafe`: unsafe code stands only in the crates that the design names.
//!
//! Two checks: every other crate root forbids it, and no file outside those crates has the word.

use std::path::Path;
use std::process::ExitCode;

use crate::repo::{self, Outcome};

/// The crates that may have unsafe code.
const ALLOWED: &[&str] = &["ks-mem", "ks-nt"];

/// `cargo xtask unsafe`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("unsafe", repo::no_arguments(arguments).and_then(|()| check()))
}

/// Fails with every place that breaks the rule.
pub fn check() -> Outcome {
    let root = repo::root();
    let allowed: Vec<_> = ALLOWED.iter().map(|name| root.join("crates").join(name)).collect();
    let mut faults = Vec::new();
    let mut files = 0_usize;
    for dir in ["crates", "xtask", "fuzz"] {
        for path in repo::rust_files(&root.join(dir))? {
            if allowed.iter().any(|dir| path.starts_with(dir)) {
                continue;
            }
            files += 1;
            let text = repo::read(&path)?;
            if is_crate_root(&path) && !text.contains("#![forbid(unsafe_code)]") {
                faults.push(format!("{}: no #![forbid(unsafe_code)]", repo::relative(&path)));
            }
            for line in unsafe_lines(&text) {
                faults.push(format!("{}:{line}: unsafe code", repo::relative(&path)));
            }
        }
    }
    if faults.is_empty() {
        println!("unsafe: none in {files} files outside {}", ALLOWED.join(", "));
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// The roots of a package's library and programs. Fuzz targets are exempt, for their macro exports a symbol.
fn is_crate_root(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
    (dir == "src" && (name == "lib.rs" || name == "main.rs")) || dir == "bin"
}

/// The lines on which the keyword stands outside comments and string literals.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut line = 1;
    let mut word = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if word == "unsafe" {
            lines.push(line);
        }
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        word.clear();
        match c {
            '\n' => line += 1,
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '/' if rest.next_if_eq(&'*').is_some() => line += skip_block_comment(&mut rest),
            '"' if raw => line += skip_raw_string(&mut rest, 0),
            '#' if raw => {
                let mut hashes = 1;
                while rest.next_if_eq(&'#').is_some() {
                    hashes += 1;
                }
                if rest.next_if_eq(&'"').is_some() {
                    line += skip_raw_string(&mut rest, hashes);
                }
            }
            '"' => line += skip_string(&mut rest),
            '\'' => skip_char(&mut rest),
            _ => {}
        }
    }
    if word == "unsafe" {
        lines.push(line);
    }
    lines
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// A quoted character; a lifetime is left for the word scan.
fn skip_char(rest: &mut Chars<'_>) {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('\\') => {
            ahead.next();
            while ahead.next_if(|c| *c != '\'' && *c != '\n').is_some() {}
            ahead.next();
        }
        Some(_) if ahead.peek() == Some(&'\'') => {
            ahead.next();
        }
        _ => return,
    }
    *rest = ahead;
}

fn skip_string(rest: &mut Chars<'_>) -> usize {
    let mut lines = 0;
    while let Some(c) = rest.next() {
        match c {
            '\\' => lines += usize::from(rest.next() == Some('\n')),
            '"' => break,
            '\n' => lines += 1,
            _ => {}
        }
    }
    lines
}

fn skip_raw_string(rest: &mut Chars<'_>, hashes: usize) -> usize {
    let mut lines = 0;
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                let mut seen = 0;
                while seen < hashes && rest.next_if_eq(&'#').is_some() {
                    seen += 1;
                }
                if seen == hashes {
                    break;
                }
            }
            '\n' => lines += 1,
            _ => {}
        }
    }
    lines
}

fn skip_block_comment(rest: &mut Chars<'_>) -> usize {
    let mut lines = 0;
    let mut depth = 1;
    while depth > 0 {
        match rest.next() {
            None => break,
            Some('\n') => lines += 1,
            Some('*') if rest.next_if_eq(&'/').is_some() => depth -= 1,
            Some('/') if rest.next_if_eq(&'*').is_some() => depth += 1,
            Some(_) => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found_on_its_line() {
        assert_eq!(unsafe_lines("fn a() {\n    unsafe { b() }\n}\n"), [2]);
        assert_eq!(unsafe_lines("pub unsafe fn a();"), [1]);
        assert_eq!(unsafe_lines("#[unsafe(no_mangle)]"), [1]);
    }

    #[test]
    fn comments_strings_and_longer_words_do_not_count() {
        assert!(unsafe_lines("// unsafe\n/* unsafe /* x */ unsafe */ let unsafe_code = 1;").is_empty());
        assert!(unsafe_lines(r#"let a = "unsafe \" unsafe"; let b = '"';"#).is_empty());
        assert!(unsafe_lines("let a = r#\"unsafe \" unsafe\"#;").is_empty());
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        assert_eq!(unsafe_lines("/*\n*/ \"\n\\\n\" r\"\n\" '\\'' 'a' &'a x\nunsafe"), [6]);
    }

    #[test]
    fn roots_of_libraries_and_programs_are_crate_roots() {
        assert!(is_crate_root(Path::new("crates/a/src/lib.rs")));
        assert!(is_crate_root(Path::new("crates/a/src/bin/b.rs")));
        assert!(!is_crate_root(Path::new("crates/a/src/b.rs")));
        assert!(!is_crate_root(Path::new("crates/a/tests/lib.rs")));
    }
}
