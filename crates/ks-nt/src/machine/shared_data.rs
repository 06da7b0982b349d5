//! KUSER_SHARED_DATA: the page that Windows maps at one address for everybody, and that drivers read without a call.
//!
//! Its address belongs to the kernel here, so every read of it faults. Plain moves are done by the handler; any other
//! instruction is run for one step on a page of our own, which the register that has the address is made to point to.

use std::sync::OnceLock;
use std::{io, ptr};

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::decode::Context;
use super::step;
use crate::ntoskrnl::clock;

/// Where drivers look for it.
pub(super) const SHARED_DATA: u64 = 0xFFFF_F780_0000_0000;
const PAGE_BYTES: u64 = 4096;

/// The version of Windows that drivers are told: 10.0.19045.
pub const NT_MAJOR_VERSION: u32 = 10;
/// See [`NT_MAJOR_VERSION`].
pub const NT_MINOR_VERSION: u32 = 0;
/// See [`NT_MAJOR_VERSION`].
pub const NT_BUILD_NUMBER: u32 = 19_045;

/// Units of the performance counter in a second, as KeQueryPerformanceCounter says.
const QPC_FREQUENCY: u64 = 10_000_000;

// Offsets of the fields that change.
const TICK_COUNT_LOW: usize = 0x000;
const INTERRUPT_TIME: usize = 0x008;
const SYSTEM_TIME: usize = 0x014;
const TICK_COUNT: usize = 0x320;

/// Whether an address is in the page.
pub(super) fn contains(address: u64) -> bool {
    address.wrapping_sub(SHARED_DATA) < PAGE_BYTES
}

/// Our page: one view to write, one that the stepped instruction reads, with nothing behind it.
struct Page {
    writable: u64,
    readable: u64,
}

static PAGE: OnceLock<Option<Page>> = OnceLock::new();

/// Makes the page. Called once, before any handler can run.
pub(super) fn prepare() {
    PAGE.get_or_init(|| Page::new().ok());
}

/// Does the instruction that faulted on the page. False when it is one that cannot be done: a write, or a 64-bit
/// operation of the register that also has the address.
pub(super) fn emulate(context: &mut Context<'_>, instruction: &Instruction) -> bool {
    let Some(Some(page)) = PAGE.get() else {
        return false;
    };
    page.refresh();
    load(context, instruction, page) || step::begin(context, instruction, page.readable.wrapping_sub(SHARED_DATA))
}

/// A plain move into a general register.
fn load(context: &mut Context<'_>, instruction: &Instruction, page: &Page) -> bool {
    let is_signed = match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movzx => false,
        Mnemonic::Movsx | Mnemonic::Movsxd => true,
        _ => return false,
    };
    if !instruction.op0_register().is_gpr() || instruction.op1_kind() != OpKind::Memory {
        return false;
    }
    let bytes = instruction.memory_size().size();
    let Some(value) = context.address(instruction, 1).and_then(|address| page.read(address, bytes)) else {
        return false;
    };
    let shift = 64 - 8 * bytes as u32;
    let value = if is_signed { ((value << shift) as i64 >> shift) as u64 } else { value };
    context.set_register(instruction.op0_register(), value);
    context.skip(instruction);
    true
}

impl Page {
    fn new() -> io::Result<Self> {
        // SAFETY: the name is a C string.
        let file = unsafe { libc::memfd_create(c"KUSER_SHARED_DATA".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is ours.
        let page = match unsafe { libc::ftruncate(file, PAGE_BYTES as i64) } {
            0 => Self::of_file(file),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: the descriptor is ours; the mappings stay.
        unsafe { libc::close(file) };
        let page = page?;
        page.fill();
        Ok(page)
    }

    fn of_file(file: libc::c_int) -> io::Result<Self> {
        let writable = map(0, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file)?;
        // The lower half of the address is that of the Windows address, so that a step leaves the lower half of every
        // register as it would have been.
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let mut candidates = (0x1B5D..0x7000_u64).step_by(0x111).map(|upper| upper << 32);
        let readable = candidates
            .find(|place| map(*place, 2 * PAGE_BYTES, libc::PROT_NONE, anonymous, -1).is_ok_and(|got| got == *place));
        let readable = readable.ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))?;
        map(readable, PAGE_BYTES, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_FIXED, file)?;
        Ok(Self { writable, readable })
    }

    fn word<T>(&self, offset: usize) -> *mut T {
        ptr::with_exposed_provenance_mut(self.writable as usize + offset)
    }

    /// Up to 8 bytes at an address of the Windows page.
    fn read(&self, address: u64, bytes: usize) -> Option<u64> {
        let offset = address.wrapping_sub(SHARED_DATA);
        if bytes > 8 || offset.checked_add(bytes as u64)? > PAGE_BYTES {
            return None;
        }
        let mut value = [0; 8];
        let from = self.word::<u8>(offset as usize);
        // SAFETY: the bytes are in the page.
        unsafe { ptr::copy_nonoverlapping(from, value.as_mut_ptr(), bytes) };
        Some(u64::from_le_bytes(value))
    }

    /// Brings the times up to date.
    fn refresh(&self) {
        self.put_time(INTERRUPT_TIME, clock::interrupt_time() as u64);
        self.put_time(SYSTEM_TIME, clock::system_time() as u64);
        let ticks = clock::tick_count() as u64;
        self.put_time(TICK_COUNT, ticks);
        self.put(TICK_COUNT_LOW, ticks as u32);
    }

    /// Writes a KSYSTEM_TIME: the second copy of the upper half first, so that a reader in parts sees a torn value and
    /// reads again, then both parts of the value at once.
    fn put_time(&self, offset: usize, time: u64) {
        self.put(offset + 8, (time >> 32) as u32);
        // SAFETY: all three times are in one line of the cache each, where an unaligned store is one too.
        unsafe { self.word::<u64>(offset).write_unaligned(time) };
    }

    fn put<T>(&self, offset: usize, value: T) {
        // SAFETY: the caller gives an offset in the page.
        unsafe { self.word::<T>(offset).write_unaligned(value) };
    }

    /// What does not change.
    fn fill(&self) {
        const IMAGE_FILE_MACHINE_AMD64: u16 = 0x8664;
        const PROCESSOR_ARCHITECTURE_AMD64: u16 = 9;
        const NT_PRODUCT_WIN_NT: u32 = 1;
        self.put(0x004, 0x0FA0_0000_u32); // TickCountMultiplier: 15.625 ms, 24 bits behind the point
        self.put(0x02C, IMAGE_FILE_MACHINE_AMD64);
        self.put(0x02E, IMAGE_FILE_MACHINE_AMD64);
        for (index, unit) in r"C:\Windows".encode_utf16().enumerate() {
            self.put(0x030 + 2 * index, unit);
        }
        self.put(0x244, 2_u32 << 20); // LargePageMinimum
        self.put(0x260, NT_BUILD_NUMBER);
        self.put(0x264, NT_PRODUCT_WIN_NT);
        self.put(0x268, 1_u8); // ProductTypeIsValid
        self.put(0x26A, PROCESSOR_ARCHITECTURE_AMD64);
        self.put(0x26C, NT_MAJOR_VERSION);
        self.put(0x270, NT_MINOR_VERSION);
        for (feature, is_there) in processor_features() {
            self.put(0x274 + feature, u8::from(is_there));
        }
        self.put(0x2D0, 0x110_u32); // SuiteMask: a workstation with remote desktop
        self.put(0x2E8, u32::try_from(ask(libc::_SC_PHYS_PAGES)).unwrap_or(u32::MAX)); // NumberOfPhysicalPages
        self.put(0x300, QPC_FREQUENCY);
        self.put(0x3C0, ask(libc::_SC_NPROCESSORS_ONLN).min(64) as u32); // ActiveProcessorCount
        self.put(0x3C4, 1_u8); // ActiveGroupCount
        self.refresh();
    }
}

fn ask(what: libc::c_int) -> u64 {
    // SAFETY: takes any number.
    u64::try_from(unsafe { libc::sysconf(what) }).unwrap_or(1).max(1)
}

/// Number of each PF_ constant, and whether the processor has it.
fn processor_features() -> [(usize, bool); 21] {
    use std::arch::is_x86_feature_detected as has;
    [
        (2, true),  // PF_COMPARE_EXCHANGE_DOUBLE
        (3, true),  // PF_MMX_INSTRUCTIONS_AVAILABLE
        (6, true),  // PF_XMMI_INSTRUCTIONS_AVAILABLE
        (8, true),  // PF_RDTSC_INSTRUCTION_AVAILABLE
        (9, true),  // PF_PAE_ENABLED
        (10, true), // PF_XMMI64_INSTRUCTIONS_AVAILABLE
        (12, true), // PF_NX_ENABLED
        (13, has!("sse3")),
        (14, has!("cmpxchg16b")),
        (17, has!("xsave")),
        (20, false), // PF_SECOND_LEVEL_ADDRESS_TRANSLATION
        (23, true),  // PF_FASTFAIL_AVAILABLE
        (28, has!("rdrand")),
        (32, true), // PF_RDTSCP_INSTRUCTION_AVAILABLE
        (36, has!("ssse3")),
        (37, has!("sse4.1")),
        (38, has!("sse4.2")),
        (39, has!("avx")),
        (40, has!("avx2")),
        (41, has!("avx512f")),
        (45, has!("fma")),
    ]
}

fn map(address: u64, bytes: u64, protection: i32, flags: i32, file: libc::c_int) -> io::Result<u64> {
    let hint = ptr::without_provenance_mut(address as usize);
    // SAFETY: MAP_FIXED is used on our own reservation only; otherwise a mapping is new.
    let start = unsafe { libc::mmap(hint, bytes as usize, protection, flags, file, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.expose_provenance() as u64) }
}
