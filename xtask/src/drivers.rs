//! `drivers`: builds the sample drivers and those of tests that misbehave, and compares those that are committed.
//!
//! All are made by `drivers/build.sh` and lie in `target/drivers`, where the tests build theirs. A driver that is newer
//! than everything it could be made of is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use crate::repo::{self, Outcome};

/// Drivers that are also in the repository, as `drivers/NAME.sys`, so that nobody needs a compiler for a first picture.
const COMMITTED: [&str; 2] = ["synthcam", "mirror"];

/// No committed driver may be larger.
const COMMITTED_BYTES: u64 = 64 << 10;

/// What the committed drivers were built with: Debian 12's. Others may choose other instructions.
const TOOLS: [(&str, &str); 2] = [("x86_64-w64-mingw32-gcc", "(GCC) 12-win32"), ("x86_64-w64-mingw32-ld", "2.40")];

/// Four-letter tags, bugs on purpose, and entries that differ by a macro: the compiler need not remark on them.
const TOLERATED: [&str; 6] = [
    "-Wno-multichar",
    "-Wno-unused-function",
    "-Wno-unused-const-variable",
    "-Wno-missing-braces",
    "-Wno-missing-field-initializers",
    "-Wno-infinite-recursion",
];

/// The places where `refuses` can fail, each a driver of its own.
const REFUSALS: [&str; 3] = ["IN_ENTRY", "IN_ADD", "IN_START"];

/// A driver that can be built.
#[derive(Debug, PartialEq, Eq)]
struct Driver {
    name: String,
    source: PathBuf,
    options: Vec<String>,
    /// Imports that no library of the compiler has.
    imports: Option<PathBuf>,
}

/// `cargo xtask drivers [NAME...] [--commit]`.
pub fn run(arguments: &[String]) -> ExitCode {
    let (options, names): (Vec<_>, Vec<_>) = arguments.iter().partition(|word| word.starts_with("--"));
    let outcome = match options.as_slice() {
        [] => {
            let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            build_named(&names).map(|files| files.iter().for_each(|file| println!("drivers: {}", file.display())))
        }
        [word] if *word == "--commit" && names.is_empty() => commit(),
        _ => Err("takes names of drivers, or --commit".to_owned()),
    };
    repo::exit("drivers", outcome)
}

/// Builds all, and makes sure that the committed drivers are what their sources give.
pub fn check() -> Outcome {
    build_named(&[])?;
    COMMITTED.iter().try_for_each(|name| check_committed(name))
}

/// Brings the named drivers up to date, or all; where they are.
pub fn build_named(names: &[&str]) -> Outcome<Vec<PathBuf>> {
    let all = all()?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|driver| driver.name != **name)) {
        let known: Vec<_> = all.iter().map(|driver| driver.name.as_str()).collect();
        return Err(format!("no driver '{unknown}'; there are {}", known.join(", ")));
    }
    let output = repo::output_dir("drivers")?;
    let wanted = all.iter().filter(|driver| names.is_empty() || names.contains(&driver.name.as_str()));
    let mut files = Vec::new();
    let mut built = 0;
    for driver in wanted {
        let file = output.join(format!("{}.sys", driver.name));
        if !is_current(&file, &driver.parts()?) {
            driver.build(&file)?;
            built += 1;
        }
        files.push(file);
    }
    eprintln!("drivers: {built} built, {} up to date", files.len() - built);
    Ok(files)
}

fn commit() -> Outcome {
    for driver in all()?.iter().filter(|driver| COMMITTED.contains(&driver.name.as_str())) {
        let file = committed_file(&driver.name);
        driver.build(&file)?;
        // The linker makes a program of it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        println!("drivers: {}: {} bytes", repo::relative(&file), repo::bytes(&file)?.len());
    }
    Ok(())
}

fn check_committed(name: &str) -> Outcome {
    let file = committed_file(name);
    let shown = repo::relative(&file);
    let committed = repo::bytes(&file)?;
    if committed.len() as u64 >= COMMITTED_BYTES {
        return Err(format!("{shown} has {} bytes; fewer than {COMMITTED_BYTES} are allowed", committed.len()));
    }
    let driver =
        all()?.into_iter().find(|driver| driver.name == name).ok_or_else(|| format!("no sources of {shown}"))?;
    let again = repo::output_dir("drivers")?.join("again").join(format!("{name}.sys"));
    driver.build(&again)?;
    let rebuilt = repo::bytes(&again)?;
    let Some(place) = difference(&committed, &rebuilt) else {
        println!("drivers: {shown} rebuilds byte for byte ({} bytes)", committed.len());
        return Ok(());
    };
    let what = format!("{shown} differs from what its sources give, from byte {place:#x} on");
    match other_tools() {
        // Not comparable: said, and no failure.
        Some(other) => {
            println!("drivers: {what}: it was built by Debian 12's tools, here is {other}");
            Ok(())
        }
        None => Err(format!("{what}; where the sources are right: cargo xtask drivers --commit")),
    }
}

fn committed_file(name: &str) -> PathBuf {
    drivers_dir().join(format!("{name}.sys"))
}

/// The first byte in which two files differ.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let least = one.len().min(other.len());
    Some(one.iter().zip(other).position(|(one, other)| one != other).unwrap_or(least))
}

/// The versions of this machine's tools, where they are not those of the committed drivers.
fn other_tools() -> Option<String> {
    let version = |tool: &str| {
        let said = repo::output(Command::new(tool).arg("--version")).unwrap_or_default();
        said.lines().next().unwrap_or("nothing").to_owned()
    };
    let versions: Vec<_> = TOOLS.iter().map(|(tool, wanted)| (version(tool), wanted)).collect();
    if versions.iter().all(|(version, wanted)| version.contains(**wanted)) {
        return None;
    }
    Some(versions.into_iter().map(|(version, _)| version).collect::<Vec<_>>().join(" and "))
}

fn drivers_dir() -> PathBuf {
    repo::root().join("drivers")
}

/// Every driver, in the order of their names: `drivers/NAME/NAME.c` or `.cpp`, and each source of `tests/misbehave`.
fn all() -> Outcome<Vec<Driver>> {
    let mut drivers = Vec::new();
    for source in repo::files(&drivers_dir())? {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_source = source.extension().is_some_and(|extension| extension == "c" || extension == "cpp");
        let dir = source.parent().and_then(Path::file_name).unwrap_or_default();
        if !is_source {
            continue;
        }
        if dir == "misbehave" {
            drivers.extend(misbehaving(&stem, &source));
        } else if dir == stem.as_str() && source.ancestors().nth(2) == Some(drivers_dir().as_path()) {
            drivers.push(Driver { name: stem, source, options: Vec::new(), imports: None });
        }
    }
    drivers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(drivers)
}

fn misbehaving(stem: &str, source: &Path) -> Vec<Driver> {
    let imports = Some(source.with_extension("def")).filter(|file| file.exists());
    let driver = |variant: &str, macros: &[String]| Driver {
        name: format!("misbehave-{stem}{variant}"),
        source: source.to_path_buf(),
        options: macros.to_vec(),
        imports: imports.clone(),
    };
    if stem != "refuses" {
        return vec![driver("", &[])];
    }
    let variant = |place: &&str| driver(&format!("-{}", place.to_lowercase()), &[format!("-D{place}")]);
    REFUSALS.iter().map(variant).collect()
}

impl Driver {
    /// Every file that it could be made of.
    fn parts(&self) -> Outcome<Vec<PathBuf>> {
        let mut parts = vec![self.source.clone(), drivers_dir().join("build.sh")];
        parts.extend(self.imports.clone());
        let own = self.source.parent().unwrap_or(&self.source);
        for dir in [&drivers_dir().join("include"), own] {
            let files = repo::files(dir)?;
            parts.extend(files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "h")));
        }
        Ok(parts)
    }

    fn build(&self, file: &Path) -> Outcome {
        let mut command = Command::new(drivers_dir().join("build.sh"));
        command.args(TOLERATED).args(&self.options).arg("-o").arg(file).arg(&self.source);
        if let Some(definitions) = &self.imports {
            let library = file.with_extension("a");
            let mut make = Command::new("x86_64-w64-mingw32-dlltool");
            make.arg("-d").arg(definitions).arg("-l").arg(&library);
            repo::output(&mut make).map_err(|error| format!("{}: {error}", self.name))?;
            command.arg(library);
        }
        let done = command.output().map_err(|error| format!("{}: {error}", repo::shown(&command)))?;
        let said = String::from_utf8_lossy(&done.stderr);
        if !done.status.success() {
            return Err(format!("{}: {} ended with {}\n{said}", self.name, repo::shown(&command), done.status));
        }
        if !said.is_empty() {
            println!("drivers: {}: the compiler remarks\n{said}", self.name);
        }
        Ok(())
    }
}

fn is_current(file: &Path, parts: &[PathBuf]) -> bool {
    let modified = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let Some(made) = modified(file) else { return false };
    parts.iter().all(|part| modified(part).is_some_and(|part| part < made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_and_every_variant_is_found() {
        let all = all().unwrap();
        let named = |name: &str| all.iter().find(|driver| driver.name == name);
        for name in COMMITTED {
            assert!(named(name).is_some_and(|driver| driver.options.is_empty()), "{name}");
        }
        assert!(named("misbehave-unknown").is_some_and(|driver| driver.imports.is_some()));
        assert!(named("misbehave-refuses-in_add").is_some_and(|driver| driver.options.contains(&"-DIN_ADD".into())));
        assert!(named("kernel").is_none(), "a driver of a test program is that program's");
    }

    #[test]
    fn a_file_older_than_a_part_is_not_current() {
        let source = drivers_dir().join("build.sh");
        assert!(!is_current(Path::new("/none"), std::slice::from_ref(&source)));
        assert!(!is_current(&source, std::slice::from_ref(&source)));
        assert!(is_current(&source, &[]));
    }

    #[test]
    fn two_files_differ_from_the_first_byte_that_is_not_in_both() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd"), Some(2));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
    }

    #[test]
    fn an_unknown_driver_is_refused_with_the_known_ones() {
        let error = build_named(&["none"]).unwrap_err();
        assert!(error.contains("synthcam"), "{error}");
    }
}
