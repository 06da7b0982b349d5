//! Files that are no driver that can be hosted: each is refused with its name and the cause, and nothing is left.

mod driver_rig;
mod support;

use std::fs;

use driver_rig::{assert_nothing_runs, copied, of_tests, sample};
use support::{Scratch, ks, shell};

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"))
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Offset of the PE signature.
fn pe(file: &[u8]) -> usize {
    u32_at(file, 0x3C) as usize
}

/// Offset of the optional header.
fn optional(file: &[u8]) -> usize {
    pe(file) + 24
}

/// Offsets of the headers of all sections.
fn sections(file: &[u8]) -> impl Iterator<Item = usize> {
    let count = usize::from(file[pe(file) + 6]);
    let table = optional(file) + 240;
    (0..count).map(move |index| table + 40 * index)
}

/// Where an offset of the image is in the file.
fn in_file(file: &[u8], rva: u32) -> usize {
    let holds = |at: &usize| (u32_at(file, at + 12)..u32_at(file, at + 12) + u32_at(file, at + 16)).contains(&rva);
    let at = sections(file).find(holds).expect("a section");
    (rva - u32_at(file, at + 12) + u32_at(file, at + 20)) as usize
}

/// A good driver, spoilt, is refused by each verb with these words.
#[track_caller]
fn refused(change: impl FnOnce(&mut Vec<u8>), words: &[&str]) {
    let scratch = Scratch::new();
    let mut file = fs::read(sample("synthcam")).expect("a driver");
    change(&mut file);
    let path = scratch.path("spoilt.sys");
    fs::write(&path, file).expect("a file");
    let words = [&["spoilt.sys"], words].concat();
    let ran = ks(&["run", &format!("{path} ! null-renderer")]).refused(1, &words);
    assert_eq!(ran.stdout, "", "{ran}");
    ks(&["inspect", &path]).refused(1, &words);
    assert_nothing_runs(&scratch);
}

#[test]
fn what_is_no_driver_for_this_processor_is_refused() {
    refused(|file| file.clear(), &["not a PE image"]);
    refused(|file| *file = b"#!/bin/sh\necho a script\n".to_vec(), &["not a PE image"]);
    let machine = |number: u16| {
        move |file: &mut Vec<u8>| {
            let at = pe(file) + 4;
            put(file, at, &number.to_le_bytes());
        }
    };
    refused(machine(0x014C), &["32-bit"]);
    refused(machine(0xAA64), &["ARM64"]);
    for subsystem in [2, 3] {
        refused(
            |file| {
                let at = optional(file) + 68;
                put(file, at, &[subsystem, 0]);
            },
            &["user-mode"],
        );
    }
}

#[test]
fn a_driver_that_is_cut_in_any_section_is_refused() {
    let whole = fs::read(sample("synthcam")).expect("a driver");
    let mut cuts = 0;
    for header in sections(&whole) {
        let (bytes, start) = (u32_at(&whole, header + 16) as usize, u32_at(&whole, header + 20) as usize);
        let used = bytes.min(u32_at(&whole, header + 8) as usize);
        if used < 2 {
            continue;
        }
        for end in [start + 1, start + used / 2] {
            refused(|file| file.truncate(end), &[]);
            cuts += 1;
        }
    }
    assert!(cuts >= 8, "{cuts}");
    for end in [0x20, pe(&whole) + 2, optional(&whole) + 10, optional(&whole) + 245] {
        refused(|file| file.truncate(end), &[]);
    }
}

#[test]
fn wild_places_in_the_tables_of_a_driver_are_refused() {
    // Directories: 1 imports, 5 relocations.
    for directory in [1, 5] {
        for wild in [0xFFFF_FFF0_u32, 0x7FFF_FFFF, 0x10_0000] {
            refused(
                |file| {
                    let at = optional(file) + 112 + 8 * directory;
                    put(file, at, &wild.to_le_bytes());
                },
                &[],
            );
        }
    }
    // The entry point.
    refused(
        |file| {
            let at = optional(file) + 16;
            put(file, at, &0x7FFF_0000_u32.to_le_bytes());
        },
        &[],
    );
    // A section that lies nowhere in the file.
    refused(
        |file| {
            let at = sections(file).next().expect("a section") + 20;
            put(file, at, &0xFFFF_F000_u32.to_le_bytes());
        },
        &[],
    );
    // The first block of relocations: its page, its size.
    for (field, wild) in [(0, 0xFFFF_F000_u32), (4, 0xFFFF_FFFE), (4, 4)] {
        refused(
            |file| {
                let directory = optional(file) + 112 + 8 * 5;
                let at = in_file(file, u32_at(file, directory)) + field;
                put(file, at, &wild.to_le_bytes());
            },
            &[],
        );
    }
}

#[test]
fn an_import_of_nothing_is_refused() {
    // The first thunk of the first module: a name beyond the image, and an ordinal.
    for thunk in [0x0FFF_FFF0_u64, 0x8000_0000_0000_0007] {
        refused(
            |file| {
                let directory = optional(file) + 112 + 8;
                let descriptor = in_file(file, u32_at(file, directory));
                let names = in_file(file, u32_at(file, descriptor));
                put(file, names, &thunk.to_le_bytes());
            },
            &["import"],
        );
    }
    // A name that nothing exports.
    refused(
        |file| {
            let at = file.windows(18).position(|name| name == b"KsInitializeDriver").expect("its name");
            put(file, at, b"KsInitialiseDriver");
        },
        &["KsInitialiseDriver", "--permissive"],
    );
}

#[test]
fn descriptors_that_cannot_be_are_refused_by_name() {
    for case in 1..=14 {
        let scratch = Scratch::new();
        let driver = copied(&scratch, &of_tests("ks/absurd", &[&format!("-DCASE={case}")]));
        let ran = ks(&["inspect", &driver]).refused(1, &["absurd-DCASE"]);
        let is_told = ran.stderr.starts_with("error: cannot load the driver");
        // An address that leads nowhere is found by following it, as on Windows.
        let is_wild = [8, 9].contains(&case) && ran.stderr.contains("fault: access violation, read of 0x");
        assert!(is_told || is_wild, "case {case} is told, not met\n{ran}");
        assert_nothing_runs(&scratch);
    }
}

#[test]
fn what_is_no_ordinary_file_is_refused() {
    let scratch = Scratch::new();
    let ran = shell(&format!(
        "cd {} && mkdir d.sys && mkfifo p.sys && ln -s /dev/zero z.sys && ln -s l.sys l.sys
        for file in d.sys p.sys z.sys l.sys none.sys; do
            $KS inspect $file; echo $? $file
        done",
        scratch.directory().display()
    ))
    .done();
    assert_eq!(ran.stdout, "1 d.sys\n1 p.sys\n1 z.sys\n1 l.sys\n1 none.sys\n", "{ran}");
    for name in ["d.sys", "p.sys", "z.sys", "l.sys", "none.sys"] {
        assert!(ran.stderr.contains(&format!("cannot load the driver `{name}`")), "{name}\n{ran}");
    }
    assert_nothing_runs(&scratch);
}

#[test]
fn a_host_that_cannot_be_started_or_is_none_is_told() {
    let driver = sample("synthcam");
    let graph = format!("{driver} ! null-renderer");
    ks(&["run", &graph, "--host", " "]).refused(2, &["--host", "expected a program"]);
    ks(&["run", &graph, "--host", "/nonexistent/host"]).refused(1, &["start /nonexistent/host", "No such file"]);
    ks(&["run", &graph, "--host", "true"]).refused(1, &["synthcam.sys", "the other process is gone"]);
}
