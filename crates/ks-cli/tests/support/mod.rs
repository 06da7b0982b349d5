//! Runs the `ks` that was built, and looks at what it did.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends a process that hangs, so that a test fails instead of waiting forever.
const WATCHDOG_SECONDS: &str = "120";

/// The `ks` that was built.
pub(crate) const KS: &str = env!("CARGO_BIN_EXE_ks");

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Fails unless all went well.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// Fails unless it ended with `code`, printed no table and said each of `words` on standard error.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing\n{self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// `ks` with these arguments, under a watchdog.
pub(crate) fn ks_command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", WATCHDOG_SECONDS, KS]).args(arguments).stdin(Stdio::null());
    command
}

/// Runs `ks` with these arguments.
pub(crate) fn ks<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    ks_command(arguments).output().expect("timeout(1) runs").into()
}

/// Runs a line of the shell; `$KS` is the `ks` that was built.
pub(crate) fn shell(line: &str) -> Ran {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", WATCHDOG_SECONDS, "bash", "-c", line]).env("KS", KS).stdin(Stdio::null());
    command.output().expect("timeout(1) runs").into()
}

/// A program that the test needs; its absence fails the test and says how to get it.
#[track_caller]
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}; `cargo xtask setup` installs it"));
    Ran::from(output)
}

/// A directory of its own for one test, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ks-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    /// The path of a file in it, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}
