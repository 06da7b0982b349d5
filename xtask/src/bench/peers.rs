//! Builds the programs of both sides: ours with cargo, the peers of `bench/` with the C compiler.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::drivers;
use crate::repo::{self, Outcome};
use crate::setup::{self, Need};

/// What the peers are built with; the tests do not need it.
const NEEDS: &[Need] = &[
    Need { probe: "cc", package: "gcc" },
    Need { probe: "pkg-config", package: "pkg-config" },
    Need { probe: "x86_64-w64-mingw32-gcc", package: "gcc-mingw-w64-x86-64" },
    Need { probe: "x86_64-w64-mingw32-g++", package: "g++-mingw-w64-x86-64" },
    Need { probe: "/usr/include/gstreamer-1.0/gst/gst.h", package: "libgstreamer1.0-dev" },
    Need {
        probe: "/usr/lib/x86_64-linux-gnu/gstreamer-1.0/libgstvideoconvertscale.so",
        package: "gstreamer1.0-plugins-base",
    },
    Need { probe: "pipewire", package: "pipewire" },
    Need { probe: "/usr/include/pipewire-0.3/pipewire/pipewire.h", package: "libpipewire-0.3-dev" },
];

const OURS: &str = "ks-bench";
/// The peers' programs, each with the library that it is built with.
const PEERS: &[(&str, Option<&str>)] = &[
    ("futex_pair", None),
    ("getppid", None),
    ("gobject_get", Some("gstreamer-1.0")),
    ("gobject_set", Some("gstreamer-1.0")),
    ("gst_graph", Some("gstreamer-1.0")),
    ("gst_live", Some("gstreamer-1.0")),
    ("gst_queue", Some("gstreamer-1.0")),
    ("gst_setup", Some("gstreamer-1.0")),
    ("gst_stream", Some("gstreamer-1.0")),
    ("gst_tee", Some("gstreamer-1.0")),
    ("pace", None),
    ("pw_cycle", Some("libpipewire-0.3")),
];

/// The drivers that goals name.
const DRIVERS: &[&str] = &["counter", "synthcam"];

/// Where the built programs are.
pub struct Programs {
    ours: PathBuf,
    peers: PathBuf,
    drivers: PathBuf,
}

impl Programs {
    /// The path of the program with this name.
    pub fn path(&self, name: &str) -> PathBuf {
        if name == OURS { self.ours.clone() } else { self.peers.join(name) }
    }

    /// An argument of a program; a driver's is the path of the driver.
    pub fn argument(&self, word: &str) -> OsString {
        if word.ends_with(".sys") { self.drivers.join(word).into() } else { word.into() }
    }
}

/// Installs what is missing and builds everything.
pub fn prepare() -> Outcome<Programs> {
    setup::install_packages(NEEDS)?;
    repo::run(&mut repo::cargo(&["build", "--quiet", "--release", "--package=ks-testkit", "--bin", OURS]))?;
    drivers::build_named(DRIVERS)?;
    let peers = repo::output_dir("bench")?;
    let sources = repo::root().join("bench");
    for (name, library) in PEERS {
        let mut compile = Command::new("cc");
        compile.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        compile.arg(peers.join(name)).arg(sources.join(name).with_extension("c"));
        if let Some(library) = library {
            let flags = repo::output(Command::new("pkg-config").args(["--cflags", "--libs", library]))?;
            // What the compiler remarks on in the library's headers is not ours.
            compile.args(flags.replace("-I/", "-isystem/").split_whitespace());
        }
        repo::run(&mut compile)?;
    }
    let drivers = repo::output_dir("drivers")?;
    Ok(Programs { ours: repo::target_dir().join("release").join(OURS), peers, drivers })
}
