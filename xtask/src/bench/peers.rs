//! Builds the programs of both sides: ours with cargo, the peers of `bench/` with the C compiler.

use std::path::PathBuf;
use std::process::Command;

use crate::repo::{self, Outcome};
use crate::setup::{self, Need};

/// What the peers are built with; the tests do not need it.
const NEEDS: &[Need] = &[
    Need { probe: "cc", package: "gcc" },
    Need { probe: "pkg-config", package: "pkg-config" },
    Need { probe: "/usr/include/gstreamer-1.0/gst/gst.h", package: "libgstreamer1.0-dev" },
];

const OURS: &str = "ks-bench";
const PEERS: &[&str] = &["getppid", "gobject_get", "gst_graph", "gst_setup"];

/// Where the built programs are.
pub struct Programs {
    ours: PathBuf,
    peers: PathBuf,
}

impl Programs {
    /// The path of the program with this name.
    pub fn path(&self, name: &str) -> PathBuf {
        if name == OURS { self.ours.clone() } else { self.peers.join(name) }
    }
}

/// Installs what is missing and builds everything.
pub fn prepare() -> Outcome<Programs> {
    setup::install_packages(NEEDS)?;
    repo::run(&mut repo::cargo(&["build", "--quiet", "--release", "--package=ks-testkit", "--bin", OURS]))?;
    let peers = repo::output_dir("bench")?;
    let flags = repo::output(Command::new("pkg-config").args(["--cflags", "--libs", "gstreamer-1.0"]))?;
    let sources = repo::root().join("bench");
    for name in PEERS {
        let mut compile = Command::new("cc");
        compile.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        compile.arg(peers.join(name)).arg(sources.join(name).with_extension("c"));
        repo::run(compile.args(flags.split_whitespace()))?;
    }
    Ok(Programs { ours: repo::target_dir().join("release").join(OURS), peers })
}
