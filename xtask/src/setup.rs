//! `setup`: what the tests need besides Rust, from Debian's packages.
//!
//! Each need is found by the file it brings, so that other systems may provide it in their own way.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::repo::{self, Outcome};

/// Something the tests call or read.
pub struct Need {
    /// A program's name, or the absolute path of a file.
    pub probe: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

const fn need(probe: &'static str, package: &'static str) -> Need {
    Need { probe, package }
}

/// What `cargo xtask test` needs.
const TEST_NEEDS: &[Need] = &[
    need("cc", "gcc"),
    need("g++", "g++"),
    need("git", "git"),
    need("python3", "python3"),
    need("setpriv", "util-linux"),
    need("ffmpeg", "ffmpeg"),
    need("ffprobe", "ffmpeg"),
    need("sox", "sox"),
    need("mediainfo", "mediainfo"),
    need("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
    need("x86_64-w64-mingw32-g++", "g++-mingw-w64-x86-64"),
    need("x86_64-w64-mingw32-dlltool", "binutils-mingw-w64-x86-64"),
    need("/usr/x86_64-w64-mingw32/include/ks.h", "mingw-w64-x86-64-dev"),
    need("clang", "clang"),
    need("lld-link", "lld"),
];

/// Components of the Rust toolchain, by the cargo command that shows them.
const COMPONENTS: &[(&str, &str)] = &[("clippy", "clippy"), ("fmt", "rustfmt")];

/// `cargo xtask setup`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("setup", repo::no_arguments(arguments).and_then(|()| for_tests()))
}

/// Makes sure that everything the tests need is there.
pub fn for_tests() -> Outcome {
    install_packages(TEST_NEEDS)?;
    for (command, component) in COMPONENTS {
        if repo::output(&mut repo::cargo(&[command, "--version"])).is_ok() {
            continue;
        }
        let mut add = Command::new("rustup");
        add.args(["component", "add", component]);
        println!("setup: {}", repo::shown(&add));
        repo::run(&mut add).map_err(|error| format!("cargo {command} is missing: {error}"))?;
    }
    Ok(())
}

/// Installs the packages of the needs that are not met, as root, or says which command does.
pub fn install_packages(needs: &[Need]) -> Outcome {
    let missing = missing_packages(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if repo::program("apt-get").is_none() {
        return Err(format!("missing: {}\n(these are Debian's package names; no apt-get here)", missing.join(" ")));
    }
    if !is_root()? {
        return Err(format!("missing packages; run:\n  sudo apt-get update && sudo {command}"));
    }
    println!("setup: {command}");
    repo::run(apt_get().args(["update", "--quiet"]))?;
    repo::run(apt_get().args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(&missing))?;
    let still = missing_packages(needs);
    if still.is_empty() { Ok(()) } else { Err(format!("installed, but still not found: {}", still.join(" "))) }
}

fn missing_packages(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs.iter().filter(|need| !is_met(need)).map(|need| need.package).collect();
    packages.dedup();
    packages
}

fn is_met(need: &Need) -> bool {
    if need.probe.starts_with('/') { Path::new(need.probe).exists() } else { repo::program(need.probe).is_some() }
}

fn is_root() -> Outcome<bool> {
    Ok(repo::output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_by_a_program_in_the_path_or_by_a_file() {
        assert!(is_met(&need("sh", "dash")));
        assert!(is_met(&need("/dev/null", "none")));
        assert!(!is_met(&need("no-such-program-anywhere", "none")));
    }

    #[test]
    fn a_package_with_two_missing_programs_is_named_once() {
        let needs = [need("/none/a", "two"), need("/none/b", "two"), need("/none/c", "one")];
        assert_eq!(missing_packages(&needs), ["two", "one"]);
    }
}
