//! What an import that nobody implements is bound to, where that is allowed: code of its own that names it once and
//! returns STATUS_NOT_IMPLEMENTED.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use ks_abi::STATUS_NOT_IMPLEMENTED;

use super::error::{Cause, MissingImport};
use super::map::Mapping;
use super::parse::{PAGE_BYTES, Protection};

const STUB_BYTES: usize = 32;

type Reporter = fn(&str, &MissingImport);

static REPORTER: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Names who is told of a call of a missing import: the first one of each import of each image, on the thread that
/// makes it. Without one, a line is written to stderr.
pub fn set_missing_import_reporter(reporter: fn(&str, &MissingImport)) {
    REPORTER.store(reporter as *mut (), Ordering::Release);
}

/// The stubs of an image.
#[derive(Debug)]
pub(super) struct Stubs {
    code: Mapping,
    // The code holds addresses of these.
    _records: Box<[Record]>,
}

#[derive(Debug)]
struct Record {
    image: String,
    import: MissingImport,
    is_reported: AtomicBool,
}

impl Stubs {
    /// One stub for each import.
    pub(super) fn new(image: &str, imports: &[MissingImport]) -> Result<Self, Cause> {
        let record = |import: &MissingImport| Record {
            image: image.to_owned(),
            import: import.clone(),
            is_reported: AtomicBool::new(false),
        };
        let records: Box<[Record]> = imports.iter().map(record).collect();
        let bytes = (imports.len().max(1) * STUB_BYTES) as u64;
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let mut code = Mapping::new(bytes, None).map_err(Cause::NoMemory)?;
        for (record, place) in records.iter().zip(code.bytes().chunks_exact_mut(STUB_BYTES)) {
            write_stub(place, record);
        }
        let executable = Protection { read: true, write: false, execute: true };
        code.protect(0..bytes, executable).map_err(Cause::NoMemory)?;
        Ok(Self { code, _records: records })
    }

    /// Where the stub of an import is, by its place in the list.
    pub(super) fn address(&self, index: usize) -> u64 {
        self.code.address() + (index * STUB_BYTES) as u64
    }
}

/// `mov rcx, record; mov rax, missing_import; jmp rax`: the driver's first argument is not needed.
fn write_stub(place: &mut [u8], record: &Record) {
    let mut code = vec![0x48, 0xB9];
    code.extend((record as *const Record as u64).to_le_bytes());
    code.extend([0x48, 0xB8]);
    code.extend((missing_import as *const () as u64).to_le_bytes());
    code.extend([0xFF, 0xE0]);
    place[..code.len()].copy_from_slice(&code);
}

extern "win64" fn missing_import(record: *const Record) -> u64 {
    // SAFETY: the stub has the address of a record of its `Stubs`, which is there as long as the stub.
    let record = unsafe { &*record };
    if !record.is_reported.swap(true, Ordering::Relaxed) {
        report(&record.image, &record.import);
    }
    u64::from(STATUS_NOT_IMPLEMENTED.0)
}

fn report(image: &str, import: &MissingImport) {
    let reporter = REPORTER.load(Ordering::Acquire);
    if reporter.is_null() {
        eprintln!("{image}: called {import}, which is not implemented; it returns STATUS_NOT_IMPLEMENTED");
        return;
    }
    // SAFETY: only `set_missing_import_reporter` stores here, and only this type.
    let reporter = unsafe { std::mem::transmute::<*mut (), Reporter>(reporter) };
    reporter(image, import);
}
