//! The image of a Windows driver: parsed, mapped, relocated, bound and protected, never called.
//!
//! The first byte says where the image is to lie and what becomes of missing imports; the rest is the file. Names that
//! begin with `Ke`, `Rtl` or `Mm` are found, others are missing.

use ks_nt::image::{Image, MissingImports, Options, Placement};

use super::allowance::Allowance;
use super::bytes::Bytes;

/// Loads the file. An image that loads must hold what its headers say; a refusal must name the file and say something.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn pe_loader(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let first = bytes.u8();
    let file = bytes.take_rest();
    let options = Options {
        placement: if first & 1 == 0 { Placement::Preferred } else { Placement::Anywhere },
        missing_imports: if first & 2 == 0 { MissingImports::Refuse } else { MissingImports::Stub },
    };
    let resolver = |_: &str, name: &str| {
        let is_known = ["Ke", "Rtl", "Mm"].iter().any(|start| name.starts_with(start));
        is_known.then_some(0x1000)
    };
    let allowed = Allowance::start(file.len());
    let loaded = Image::load("fuzzed.sys", file, &resolver, options);
    allowed.check();
    match loaded {
        Ok(image) => {
            check(&image);
            #[cfg(feature = "planted-bug")]
            planted_bug(&image);
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("fuzzed.sys: ") && said.len() > 20, "{said}");
        }
    }
}

fn check(image: &Image) {
    assert!(image.contains(image.entry()), "the entry is outside");
    let mut end = 0;
    for section in image.sections() {
        assert!(section.rva >= end && u64::from(section.end()) <= image.bytes(), "a section is misplaced");
        end = section.end();
    }
    let entry = image.entry() - image.base();
    let is_code = image
        .sections()
        .iter()
        .any(|section| section.protection.execute && (section.rva.into()..section.end().into()).contains(&entry));
    assert!(is_code, "the entry is in no code");
    for name in image.exports() {
        assert!(image.export(name).is_some_and(|address| image.contains(address)), "{name} is outside");
    }
}

/// Breaks on a section that can be both written and run.
#[cfg(feature = "planted-bug")]
fn planted_bug(image: &Image) {
    let is_both = |section: &ks_nt::image::Section| section.protection.write && section.protection.execute;
    assert!(!image.sections().iter().any(is_both), "planted bug");
}
