//! A fault of a driver: what it did, where, and who is told.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::images::{self, Found};
use crate::report;

/// What a driver did that a processor does not allow, and the state it was in.
///
/// It is made in a signal handler: it owns no memory and can be formatted without allocating.
#[derive(Clone, Copy)]
pub struct Fault {
    /// What it did.
    pub kind: FaultKind,
    /// The instruction. In an image, unless the kernel's own code stumbled over what the driver gave it.
    pub at: Place,
    /// The nearest return address on the stack that is in an image, when the instruction is in none.
    pub called_from: Option<Place>,
    /// The registers before the instruction.
    pub registers: Registers,
    /// Level of the thread.
    pub irql: u8,
}

/// What a driver did that a processor does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It used memory that is not there or not for this use.
    #[doc(alias = "STATUS_ACCESS_VIOLATION")]
    AccessViolation {
        /// How it used it.
        access: Access,
        /// Where.
        address: u64,
    },
    /// It used up the stack of its thread.
    #[doc(alias = "STATUS_STACK_OVERFLOW")]
    StackOverflow {
        /// Where it wanted more.
        address: u64,
        /// Bytes of the stack.
        stack_bytes: u64,
    },
    /// The process stopped itself below a routine that the driver called: the C library found damaged memory, or a check
    /// of the kernel's own failed.
    #[doc(alias = "BAD_POOL_HEADER")]
    Stopped,
    /// It ran an instruction of kernel mode that nothing here stands for, `hlt` or `in`.
    #[doc(alias = "STATUS_PRIVILEGED_INSTRUCTION")]
    PrivilegedInstruction(&'static str),
    /// It ran what is no instruction, or `ud2`.
    #[doc(alias = "STATUS_ILLEGAL_INSTRUCTION")]
    IllegalInstruction,
    /// It divided by zero, or the quotient has no room.
    #[doc(alias = "STATUS_INTEGER_DIVIDE_BY_ZERO")]
    Divide,
    /// An unmasked exception of floating-point arithmetic.
    FloatingPoint,
    /// `int3`: DbgBreakPoint, or padding that should not be reached.
    #[doc(alias = "STATUS_BREAKPOINT")]
    Breakpoint,
    /// `int 29h`, by which code stops when it finds itself corrupted; with the code from `ecx`.
    #[doc(alias = "__fastfail")]
    FastFail(u32),
    /// `int 2Ch`, a failed NT_ASSERT.
    #[doc(alias = "STATUS_ASSERTION_FAILURE")]
    Assertion,
    /// It used KUSER_SHARED_DATA in a way that cannot be emulated.
    SharedData {
        /// How it used it.
        access: Access,
        /// Where.
        address: u64,
    },
    /// A signal that is none of these, by its number and code.
    Other {
        /// SIGSEGV and so on.
        signal: i32,
        /// Its `si_code`.
        code: i32,
    },
}

/// How memory was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Written.
    Write,
    /// Executed.
    Execute,
}

/// Where an instruction is.
#[derive(Clone, Copy)]
pub struct Place {
    address: u64,
    image: Option<Found>,
}

impl Place {
    pub(super) fn new(address: u64, image: Option<Found>) -> Self {
        Self { address, image }
    }

    /// The place of an address.
    pub(crate) fn of(address: u64) -> Self {
        Self { address, image: images::find(address) }
    }

    /// Its address in this process.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Name of the image it is in, and the offset there.
    pub fn in_image(&self) -> Option<(&str, u64)> {
        let image = self.image.as_ref()?;
        let end = image.name.iter().position(|byte| *byte == 0).unwrap_or(image.name.len());
        // A name that was cut inside of a character ends before it.
        let name = match std::str::from_utf8(&image.name[..end]) {
            Ok(name) => name,
            Err(error) => std::str::from_utf8(&image.name[..error.valid_up_to()]).unwrap_or_default(),
        };
        Some((name, image.offset))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_image() {
            Some((name, offset)) => write!(f, "{name}+{offset:#x}"),
            None => write!(f, "{:#x}", self.address),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The registers of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
    pub general: [u64; 16],
    /// Address of the instruction.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15",
        ];
        for (index, (name, value)) in NAMES.iter().zip(self.general).enumerate() {
            let end = if index % 4 == 3 { "\n" } else { "  " };
            write!(f, "{name:>3} {value:016x}{end}")?;
        }
        write!(f, "rip {:016x}  rflags {:x}", self.rip, self.rflags)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read of",
            Access::Write => "write to",
            Access::Execute => "call of",
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::AccessViolation { access, address } => write!(f, "access violation, {access} {address:#x}"),
            FaultKind::StackOverflow { stack_bytes, .. } => {
                write!(f, "stack overflow, all {} KiB of the thread's stack are used", stack_bytes / 1024)
            }
            FaultKind::Stopped => f.write_str("the memory allocator or the kernel stopped: memory may be damaged"),
            FaultKind::PrivilegedInstruction(name) => write!(f, "instruction '{name}' is for hardware"),
            FaultKind::IllegalInstruction => f.write_str("illegal instruction"),
            FaultKind::Divide => f.write_str("division by zero or overflow of a quotient"),
            FaultKind::FloatingPoint => f.write_str("floating-point exception"),
            FaultKind::Breakpoint => f.write_str("breakpoint (int3)"),
            FaultKind::FastFail(code) => write!(f, "fast fail, code {code}"),
            FaultKind::Assertion => f.write_str("failed assertion (int 2Ch)"),
            FaultKind::SharedData { access, address } => {
                write!(f, "{access} KUSER_SHARED_DATA at {address:#x} by an instruction that cannot be emulated")
            }
            FaultKind::Other { signal, code } => write!(f, "signal {signal}, code {code}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.kind)?;
        if let Some(caller) = self.called_from {
            write!(f, ", called from {caller}")?;
        }
        write!(f, ", level {}", self.irql)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}\n{}", self.registers)
    }
}

/// Takes the fault, on the stack of the signal handler, and ends the process or the thread's work.
///
/// The thread may hold any lock that was held when the driver was called.
type Reporter = fn(&Fault) -> !;

static REPORTER: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Names who takes faults. Without one the fault and the registers are printed and the process aborts.
pub fn set_fault_reporter(reporter: fn(&Fault) -> !) {
    REPORTER.store(reporter as *mut (), Ordering::Release);
}

/// Hands the fault over. Two threads may fault at once, and this one may fault again while it reports: one report only.
pub(super) fn report(fault: &Fault) -> ! {
    report::claim_end();
    let reporter = REPORTER.load(Ordering::Acquire);
    if !reporter.is_null() {
        // SAFETY: only `set_fault_reporter` stores here, and only this type.
        let reporter = unsafe { std::mem::transmute::<*mut (), Reporter>(reporter) };
        reporter(fault);
    }
    let mut text = [0_u8; 2048];
    let mut rest = &mut text[..];
    // What has no room is left out.
    let _ = writeln!(rest, "{fault:?}");
    let unused = rest.len();
    let used = text.len() - unused;
    // SAFETY: writes bytes of `text`.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), used) };
    report::end_process()
}
