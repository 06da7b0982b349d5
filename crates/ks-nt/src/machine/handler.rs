//! The signal handler. It takes no lock and allocates nothing: the thread may be inside of the allocator.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::decode::{self, Context};
use super::fault::{self, Access, Fault, FaultKind, Place, Registers};
use super::{control_register, halt, images, shared_data, step, thread};
use crate::ntoskrnl::irql;
use crate::report;

const SIGNALS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];

/// `si_code` of a general protection fault, and of `int3`.
const SI_KERNEL: i32 = 0x80;
/// `si_code` of a signal that a thread sent.
const SI_TKILL: i32 = -6;
/// `si_code` of a signal that a process sent.
const SI_USER: i32 = 0;
const TRAP_TRACE: i32 = 2;
const FPE_INTDIV: i32 = 1;
const FPE_INTOVF: i32 = 2;

/// Bits of a page fault's error code.
const FAULT_WRITE: u64 = 2;
const FAULT_FETCH: u64 = 16;

/// How much of the stack is searched for the driver that called.
const MOST_STACK_WORDS: usize = 4096;

/// What handled the signals before.
struct Former(UnsafeCell<[MaybeUninit<libc::sigaction>; SIGNALS.len()]>);

// SAFETY: written by `install` before the handler that reads it is there.
unsafe impl Sync for Former {}

static FORMER: Former = Former(UnsafeCell::new([const { MaybeUninit::uninit() }; SIGNALS.len()]));

/// Installs the handler, once a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        decode::prepare();
        shared_data::prepare();
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            let former = FORMER.0.get().cast::<libc::sigaction>().wrapping_add(index);
            // SAFETY: only reads the current action; nobody else uses the place yet.
            unsafe { libc::sigaction(signal, ptr::null(), former) };
            // SAFETY: an all-zero sigaction is a value of the type.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            // SAFETY: the handler has the signature that SA_SIGINFO asks for.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    });
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, saved: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo.
    let code = unsafe { (*info).si_code };
    // SAFETY: the kernel gives the saved context of this thread, which nobody else uses.
    let mut context = Context::new(unsafe { &mut *saved.cast::<libc::ucontext_t>() });
    // Zero or less: a process sent it, there is no fault.
    if code > 0 {
        // SAFETY: the kernel gives a valid siginfo.
        let info = unsafe { &*info };
        // SAFETY: all these signals have an address; where it says nothing it is not used.
        let address = unsafe { info.si_addr() } as u64;
        match judge(signal, code, address, &mut context) {
            Verdict::GoOn => return,
            Verdict::Report(fault) => fault::report(&fault),
            Verdict::NotOurs => {}
        }
    }
    // SAFETY: the kernel gives a valid siginfo.
    let is_own = signal == libc::SIGABRT && code == SI_TKILL && is_from_here(unsafe { &*info });
    if is_own && halt::is_wanted() || signal == libc::SIGABRT && code == SI_USER && halt::ask_busiest() {
        if !halt::is_wanted() {
            return;
        }
        let registers = Registers { general: context.general_registers(), rip: context.rip(), rflags: context.flags() };
        halt::stay(Place::of(context.rip()), registers);
    }
    if is_own
        && !report::is_ending()
        && let Some(called_from) = caller(&context, 0)
    {
        fault::report(&fault_at(FaultKind::Stopped, context.rip(), Some(called_from), &context));
    }
    chain(signal, info, &mut context);
}

fn is_from_here(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent names its sender.
    let sender = unsafe { info.si_pid() };
    // SAFETY: takes no argument.
    sender == unsafe { libc::getpid() }
}

#[expect(clippy::large_enum_variant, reason = "nothing can be allocated here")]
enum Verdict {
    /// Emulated.
    GoOn,
    Report(Fault),
    /// Nothing to do with a driver.
    NotOurs,
}

fn judge(signal: libc::c_int, code: i32, address: u64, context: &mut Context<'_>) -> Verdict {
    let ended = step::end(context);
    if signal == libc::SIGTRAP && code == TRAP_TRACE && ended.is_some() {
        return Verdict::GoOn;
    }
    // The address that a step could not reach is in no register any more.
    let stepped = ended.and_then(|ended| ended.meant(address));
    let address = stepped.unwrap_or(address);
    let rip = context.rip();
    // An instruction that could not even be fetched cannot be decoded.
    let is_fetched = signal != libc::SIGSEGV || code == SI_KERNEL || address != rip;
    let is_shared_data =
        signal == libc::SIGSEGV && code != SI_KERNEL && (stepped.is_some() || shared_data::contains(address));
    let image = images::find(rip);
    let is_general = signal == libc::SIGSEGV && code == SI_KERNEL;
    let needed = is_fetched && (is_shared_data || image.is_some() && is_general);
    let instruction = if needed { context.instruction() } else { None };
    if let Some(instruction) = &instruction {
        if is_shared_data && stepped.is_none() && shared_data::emulate(context, instruction) {
            return Verdict::GoOn;
        }
        if is_general && control_register::emulate(context, instruction) {
            return Verdict::GoOn;
        }
    }
    let called_from = match image {
        Some(_) => None,
        None => match caller(context, address) {
            Some(place) => Some(place),
            None => return Verdict::NotOurs,
        },
    };
    let access = match context.error_code() {
        error if error & FAULT_FETCH != 0 => Access::Execute,
        error if error & FAULT_WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    let kind = match (signal, &instruction) {
        _ if is_shared_data => FaultKind::SharedData { access, address },
        (libc::SIGSEGV, Some(instruction)) if is_general => general_protection(context, instruction),
        (libc::SIGSEGV, _) if access != Access::Execute && thread::is_end_of_stack(address) => {
            let stack_bytes = thread::stack().map_or(0, |stack| stack.end - stack.start);
            FaultKind::StackOverflow { address, stack_bytes }
        }
        (libc::SIGSEGV | libc::SIGBUS, _) => FaultKind::AccessViolation { access, address },
        (libc::SIGILL, _) => FaultKind::IllegalInstruction,
        (libc::SIGFPE, _) if matches!(code, FPE_INTDIV | FPE_INTOVF) => FaultKind::Divide,
        (libc::SIGFPE, _) => FaultKind::FloatingPoint,
        (libc::SIGTRAP, _) if code == SI_KERNEL => FaultKind::Breakpoint,
        _ => FaultKind::Other { signal, code },
    };
    // A breakpoint has been passed; the place is that of its one byte.
    let at = if kind == FaultKind::Breakpoint { rip.wrapping_sub(1) } else { rip };
    Verdict::Report(fault_at(kind, at, called_from, context))
}

fn fault_at(kind: FaultKind, at: u64, called_from: Option<Place>, context: &Context<'_>) -> Fault {
    let registers = Registers { general: context.general_registers(), rip: context.rip(), rflags: context.flags() };
    let at = Place::new(at, images::find(at));
    Fault { kind, at, called_from, registers, irql: irql::current() }
}

/// Why the processor refused an instruction without naming an address.
fn general_protection(context: &Context<'_>, instruction: &Instruction) -> FaultKind {
    if instruction.mnemonic() == Mnemonic::Int {
        return match instruction.immediate8() {
            0x29 => FaultKind::FastFail(context.register(Register::ECX).unwrap_or(0) as u32),
            0x2C => FaultKind::Assertion,
            0x2D => FaultKind::Breakpoint,
            _ => FaultKind::PrivilegedInstruction("int"),
        };
    }
    if let Some(name) = privileged(instruction) {
        return FaultKind::PrivilegedInstruction(name);
    }
    let operands = 0..instruction.op_count();
    let in_memory = |operand: &u32| instruction.op_kind(*operand) == OpKind::Memory;
    // An address that no memory has: the first operand is what is written, as far as anything is.
    match operands.clone().find(in_memory) {
        Some(operand) => FaultKind::AccessViolation {
            access: if operand == 0 && instruction.op_count() > 1 { Access::Write } else { Access::Read },
            address: context.address(instruction, operand).unwrap_or(u64::MAX),
        },
        None => FaultKind::AccessViolation { access: Access::Read, address: u64::MAX },
    }
}

fn privileged(instruction: &Instruction) -> Option<&'static str> {
    let control = |register: Register| register.is_cr() || register.is_dr();
    Some(match instruction.mnemonic() {
        Mnemonic::Mov if control(instruction.op0_register()) => "mov to a control register",
        Mnemonic::Mov if control(instruction.op1_register()) => "mov from a control register",
        Mnemonic::Cli => "cli",
        Mnemonic::Sti => "sti",
        Mnemonic::Hlt => "hlt",
        Mnemonic::In | Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => "in",
        Mnemonic::Out | Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => "out",
        Mnemonic::Rdmsr => "rdmsr",
        Mnemonic::Wrmsr => "wrmsr",
        Mnemonic::Rdpmc => "rdpmc",
        Mnemonic::Invd | Mnemonic::Wbinvd => "wbinvd",
        Mnemonic::Invlpg => "invlpg",
        Mnemonic::Swapgs => "swapgs",
        Mnemonic::Lgdt | Mnemonic::Lidt | Mnemonic::Lldt | Mnemonic::Ltr => "lgdt",
        Mnemonic::Clts | Mnemonic::Lmsw => "clts",
        Mnemonic::Xsetbv => "xsetbv",
        Mnemonic::Iretq | Mnemonic::Iretd | Mnemonic::Sysretq | Mnemonic::Sysexitq => "iretq",
        _ => return None,
    })
}

/// The nearest return address into an image on the stack of a thread that runs driver code.
fn caller(context: &Context<'_>, address: u64) -> Option<Place> {
    callers_above(context.rsp(), address).next()
}

/// Most places that are told of a stack.
pub(super) const MOST_CALLERS: usize = 16;

/// Places in images that the stack of the calling thread names, nearest first, at most 16: the return address of the
/// driver's call is among them, with what else lies there. Allocates nothing.
pub fn callers() -> impl Iterator<Item = Place> {
    let here = 0_u64;
    let start = ptr::from_ref(&here).expose_provenance() as u64;
    callers_above(start, 0).take(MOST_CALLERS)
}

/// The same of the stack on which the calling thread faulted. For a reporter: allocates nothing.
pub fn callers_of(fault: &Fault) -> impl Iterator<Item = Place> {
    let rsp = fault.registers.general[4];
    let address = match fault.kind {
        FaultKind::StackOverflow { address, .. } => address,
        _ => 0,
    };
    callers_above(rsp, address).take(MOST_CALLERS)
}

/// What the stack names from `rsp` on, where an access to `address` may have faulted.
pub(super) fn callers_above(rsp: u64, address: u64) -> impl Iterator<Item = Place> {
    const PAGE_BYTES: u64 = 4096;
    let stack = thread::stack().unwrap_or(0..0);
    // A stack that has overflowed cannot be read where it ends.
    let is_unreadable = rsp / PAGE_BYTES == address / PAGE_BYTES || rsp < stack.start;
    let start = if is_unreadable { (rsp.max(stack.start) / PAGE_BYTES + 1) * PAGE_BYTES } else { rsp };
    images_on_stack(stack, start.next_multiple_of(8))
}

/// The words of the calling thread's stack from `start` on that are addresses in an image.
fn images_on_stack(stack: std::ops::Range<u64>, start: u64) -> impl Iterator<Item = Place> {
    let words = if stack.contains(&start) { (stack.end - start) / 8 } else { 0 };
    (0..(words as usize).min(MOST_STACK_WORDS)).filter_map(move |index| {
        let place = ptr::with_exposed_provenance::<u64>(start as usize + index * 8);
        // SAFETY: the word is on this thread's stack, above its stack pointer.
        let value = unsafe { place.read_volatile() };
        images::find(value).map(|image| Place::new(value, Some(image)))
    })
}

/// Leaves the signal to whoever handled it before.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: &mut Context<'_>) {
    let Some(index) = SIGNALS.iter().position(|known| *known == signal) else {
        return;
    };
    let former = FORMER.0.get().cast::<libc::sigaction>().wrapping_add(index);
    // SAFETY: `install` wrote it before it installed this handler.
    let former = unsafe { &*former };
    match former.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: an all-zero sigaction is the default one.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: sets an action.
            unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
            // SAFETY: as the signal is not blocked, this ends the process.
            unsafe { libc::raise(signal) };
        }
        handler if former.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: SA_SIGINFO says that the handler has this type.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context.saved());
        }
        handler => {
            // SAFETY: without SA_SIGINFO the handler has this type.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}
