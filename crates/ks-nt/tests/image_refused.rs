//! Images that cannot be loaded: each is refused with its name and the cause.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;

use ks_nt::image::{Cause, Image, ImageError, MissingImports, Options, Placement};
use support::Driver;

/// A good image, to be spoilt.
fn good() -> Vec<u8> {
    fs::read(support::build(&[], &["image/first.c"])).unwrap()
}

fn load(file: &[u8]) -> Result<Image, ImageError> {
    Image::load("bad.sys", file, &|_, _| Some(0x1000), Options::default())
}

/// Loads a good image that was changed, and returns what is said about it.
#[track_caller]
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut file = good();
    change(&mut file);
    let said = load(&file).unwrap_err().to_string();
    assert!(said.starts_with("bad.sys: "), "{said}");
    said
}

fn u32_at(file: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap())
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Offset of the PE signature.
fn pe(file: &[u8]) -> usize {
    u32_at(file, 0x3C) as usize
}

/// Offset of the optional header.
fn optional(file: &[u8]) -> usize {
    pe(file) + 24
}

/// Offset of a data directory: 0 exports, 1 imports, 5 relocations, 9 TLS.
fn directory_at(file: &[u8], index: usize) -> usize {
    optional(file) + 112 + 8 * index
}

/// Offset of the header of a section.
fn section(file: &[u8], name: &str) -> usize {
    let table = optional(file) + 240;
    (0..).map(|index| table + 40 * index).find(|at| file[*at..].starts_with(name.as_bytes())).unwrap()
}

/// Offset in the file of an offset in the image.
fn in_file(file: &[u8], rva: u32) -> usize {
    let table = optional(file) + 240;
    let headers = (0..).map(|index| table + 40 * index);
    let at = headers.take(9).find(|at| (u32_at(file, at + 12)..u32_at(file, at + 12) + 0x1000).contains(&rva)).unwrap();
    (rva - u32_at(file, at + 12) + u32_at(file, at + 20)) as usize
}

#[test]
fn what_is_no_64_bit_driver_for_this_processor_is_named() {
    assert!(load(b"").unwrap_err().to_string().contains("not a PE image"));
    assert!(load(b"#!/bin/sh\n").unwrap_err().to_string().contains("does not begin with 'MZ'"));
    assert!(refusal(|file| put(file, 0, b"ZM")).contains("not a PE image"));
    assert!(
        refusal(|file| {
            let at = pe(file);
            put(file, at, b"NE\0\0")
        })
        .contains("not a PE image")
    );
    let machine = |number: u16| {
        refusal(|file| {
            let at = pe(file) + 4;
            put(file, at, &number.to_le_bytes())
        })
    };
    assert!(machine(0x014C).contains("an image for 32-bit x86; only x86-64"));
    assert!(machine(0xAA64).contains("an image for ARM64"));
    assert!(machine(0x1234).contains("machine 0x1234"));
    assert!(
        refusal(|file| {
            let at = optional(file);
            put(file, at, &[0x0B, 1])
        })
        .contains("not a 64-bit image")
    );
    let subsystem = |number: u8| {
        refusal(|file| {
            let at = optional(file) + 68;
            put(file, at, &[number, 0])
        })
    };
    assert!(subsystem(2).contains("user-mode (Windows GUI)"));
    assert!(subsystem(3).contains("user-mode (Windows console)"));
    assert!(subsystem(10).contains("EFI"));
}

#[test]
fn a_file_that_ends_anywhere_is_refused_with_what_is_not_whole() {
    let file = good();
    let last_used = (0..9).map(|index| optional(&file) + 240 + 40 * index);
    let last_used = last_used.map(|at| u32_at(&file, at + 20) + u32_at(&file, at + 16).min(u32_at(&file, at + 8)));
    let last_used = last_used.max().unwrap() as usize;
    for end in 0..last_used {
        let error = load(&file[..end]).unwrap_err();
        assert!(matches!(error.cause, Cause::Truncated { .. } | Cause::NotPe(_)), "{end}: {error}");
    }
    assert!(load(&file[..last_used]).is_ok());
    let cut = |end: u32| refusal(|file| file.truncate(end as usize));
    for name in [".text", ".data", ".rdata", ".idata", ".reloc"] {
        let start = u32_at(&file, section(&file, name) + 20);
        assert!(cut(start + 1).contains(&format!("truncated at section {name}: it ends at byte")), "{name}");
    }
    assert!(cut(0x30).contains("the DOS header"));
    assert!(cut(optional(&file) as u32 + 20).contains("the optional header"));
    assert!(cut(optional(&file) as u32 + 250).contains("the section table"));
}

#[test]
fn absurd_sizes_cost_nothing() {
    let size = |bytes: u32| {
        refusal(|file| {
            let at = optional(file) + 56;
            put(file, at, &bytes.to_le_bytes())
        })
    };
    assert!(size(u32::MAX).contains("an image of 4294967295 bytes from a file of"));
    assert!(size(0x0400_0000).contains("the limit is"));
    assert!(size(0).contains("an image of no bytes"));
    assert!(size(0x2000).contains("ends behind the image"));
    let sections = |count: u16| {
        refusal(|file| {
            let at = pe(file) + 6;
            put(file, at, &count.to_le_bytes())
        })
    };
    assert!(sections(0).contains("0 sections"));
    assert!(sections(u16::MAX).contains("65535 sections"));
    let of_text = |offset: usize, value: u32| {
        refusal(|file| {
            let at = section(file, ".text") + offset;
            put(file, at, &value.to_le_bytes());
        })
    };
    assert!(of_text(8, 0xFFFF_F000).contains("section .text at 0x1000 ends behind the image"));
    assert!(of_text(12, 0xFFFF_F000).contains("section .text at 0xfffff000 ends behind the image"));
    assert!(of_text(12, 0).contains("begins before"));
    assert!(of_text(12, 0x1234).contains("is not aligned"));
    assert!(of_text(20, 0x7FFF_FFFF).contains("truncated at section .text"));
    assert!(of_text(20, u32::MAX).contains("truncated at section .text"));
}

#[test]
fn wild_addresses_are_refused() {
    let directory = |index: usize, rva: u32| {
        refusal(|file| {
            let at = directory_at(file, index);
            put(file, at, &rva.to_le_bytes());
        })
    };
    assert!(directory(0, 0xFFFF_FFF0).contains("malformed: the export table at 0xfffffff0"));
    assert!(directory(1, 0xFFFF_FFF0).contains("the import table at 0xfffffff0 runs out of the image"));
    assert!(directory(5, 0xFFFF_FFF0).contains("the relocation table is in no section"));
    assert!(
        refusal(|file| {
            let at = optional(file) + 16;
            put(file, at, &[0; 4])
        })
        .contains("the entry point 0x0")
    );
    assert!(
        refusal(|file| {
            let at = optional(file) + 16;
            put(file, at, &[0xFF; 4])
        })
        .contains("in no section of code")
    );

    let relocation = |offset: usize, bytes: &[u8]| {
        refusal(|file| {
            let at = u32_at(file, section(file, ".reloc") + 20) as usize + offset;
            put(file, at, bytes);
        })
    };
    assert!(relocation(0, &[0, 0, 0, 0xF0]).contains("a relocation at 0xf0000000, outside of the image"));
    assert!(relocation(4, &[0xFF; 4]).contains("the relocation table"));
    assert!(relocation(4, &[0; 4]).contains("the relocation table"));
    assert!(relocation(8, &[0, 0x30]).contains("a relocation of type 3 at 0x2000"));

    // The descriptor: lookup table, time, chain, name, addresses.
    let import = |offset: usize| {
        refusal(|file| {
            let at = in_file(file, u32_at(file, directory_at(file, 1))) + offset;
            put(file, at, &0x7FFF_FFF0_u32.to_le_bytes());
        })
    };
    assert!(import(0).contains("the imports from ntoskrnl.exe run out of the image"));
    assert!(import(12).contains("there is no import's name at 0x7ffffff0"));
    assert!(import(16).contains("the imports from ntoskrnl.exe run out of the image"));
}

#[test]
fn an_import_of_nothing_is_refused() {
    let lookup = |thunk: u64| {
        refusal(|file| {
            let descriptor = in_file(file, u32_at(file, directory_at(file, 1)));
            let at = in_file(file, u32_at(file, descriptor));
            put(file, at, &thunk.to_le_bytes());
        })
    };
    assert!(lookup(0x20).contains("there is no import's name at 0x22"));
    assert!(lookup(0x7FFF_FFFF_FFFF).contains("run out of the image"));
    let mut file = good();
    let descriptor = in_file(&file, u32_at(&file, directory_at(&file, 1)));
    let at = in_file(&file, u32_at(&file, descriptor));
    put(&mut file, at, &(1 << 63 | 12_u64).to_le_bytes());
    let error = Image::load("bad.sys", &file, &|_, name| (!name.starts_with('#')).then_some(1), Options::default());
    assert!(error.unwrap_err().to_string().contains("ntoskrnl.exe!#12"));
}

#[test]
fn thread_local_storage_is_refused() {
    let said = refusal(|file| {
        let at = directory_at(file, 9);
        put(file, at, &[0, 0x20, 0, 0, 0x28, 0, 0, 0]);
    });
    assert!(said.contains("TLS"), "{said}");
}

#[test]
fn an_image_without_relocations_lies_where_it_must_or_nowhere() {
    let mut file = good();
    let at = pe(&file) + 22;
    file[at] |= 1;
    let anywhere = Options { placement: Placement::Anywhere, ..Options::default() };
    let load = |file: &[u8]| Image::load("fixed.sys", file, &|_, _| Some(1), anywhere);
    // Another test of this process may have an image there.
    match load(&file) {
        Ok(image) => assert_eq!(image.base(), 0x1_4000_0000),
        Err(error) => assert!(matches!(error.cause, Cause::NotRelocatable(0x1_4000_0000)), "{error}"),
    }
    let at = optional(&file) + 24;
    put(&mut file, at, &0xFFFF_F800_0000_0000_u64.to_le_bytes());
    let said = load(&file).unwrap_err().to_string();
    assert!(said.contains("it must lie at 0xfffff80000000000, which is taken, and has no relocations"), "{said}");
}

#[test]
fn every_unresolved_import_is_listed() {
    let file = fs::read(support::build(&[], &["image/imports.c"])).unwrap();
    let error = Image::load("imports.sys", &file, &|_, _| None, Options::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("2 of its imports are not implemented:"), "{said}");
    assert!(said.contains("\n  ntoskrnl.exe!IoSetPartitionInformationEx"), "{said}");
    assert!(said.contains("\n  ntoskrnl.exe!FsRtlRegisterUncProvider"), "{said}");
}

#[test]
fn a_permitted_missing_import_is_named_once_when_it_is_called() {
    const CHILD: &str = "USERKS_TEST_CHILD";
    let options = Options { missing_imports: MissingImports::Stub, ..Options::default() };
    if std::env::var(CHILD).is_ok() {
        let driver = Driver::with("image/imports.c", &[], options);
        assert_eq!(driver.image().missing_imports().len(), 2);
        driver.run_all_tests();
        return;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let name = "a_permitted_missing_import_is_named_once_when_it_is_called";
    let output = command.args(["--exact", name, "--nocapture"]).env(CHILD, "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {said}", output.status.signal());
    for import in ["IoSetPartitionInformationEx", "FsRtlRegisterUncProvider"] {
        let line = format!("imports.sys: called ntoskrnl.exe!{import}, which is not implemented");
        assert_eq!(said.matches(&line).count(), 1, "{said}");
    }
}

#[test]
fn every_page_has_the_protection_of_its_section() {
    let image = load(&good()).unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let of = |address: u64| {
        let line = maps.lines().find(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
            (number(start)..number(end)).contains(&address)
        });
        line.unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(of(image.base()), "r--p", "headers");
    for section in image.sections() {
        let expected = match section.name.trim_end_matches('\0') {
            ".text" => "r-xp",
            ".data" | ".bss" | ".idata" => "rw-p",
            _ => "r--p",
        };
        assert_eq!(of(image.base() + u64::from(section.rva)), expected, "{}", section.name);
    }
    assert!(image.contains(image.entry()) && !image.contains(image.base() + image.bytes()));
}
