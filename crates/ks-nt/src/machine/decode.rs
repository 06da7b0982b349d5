//! The interrupted thread: its registers, and the instruction that it stopped at. Nothing here allocates or locks.

use std::ptr;

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Register};

const MOST_INSTRUCTION_BYTES: usize = 15;
const PAGE_BYTES: u64 = 4096;

/// What the kernel saved of a thread when a signal interrupted it; what is written is what it goes on with.
pub(super) struct Context<'c> {
    saved: &'c mut libc::ucontext_t,
}

impl<'c> Context<'c> {
    pub(super) fn new(saved: &'c mut libc::ucontext_t) -> Self {
        Self { saved }
    }

    pub(super) fn saved(&mut self) -> *mut libc::c_void {
        ptr::from_mut(self.saved).cast()
    }

    pub(super) fn rip(&self) -> u64 {
        self.raw(libc::REG_RIP)
    }

    pub(super) fn rsp(&self) -> u64 {
        self.raw(libc::REG_RSP)
    }

    pub(super) fn flags(&self) -> u64 {
        self.raw(libc::REG_EFL)
    }

    pub(super) fn set_flags(&mut self, flags: u64) {
        self.set_raw(libc::REG_EFL, flags);
    }

    /// The error code of a page fault.
    pub(super) fn error_code(&self) -> u64 {
        self.raw(libc::REG_ERR)
    }

    /// Goes on after the instruction.
    pub(super) fn skip(&mut self, instruction: &Instruction) {
        self.set_raw(libc::REG_RIP, instruction.next_ip());
    }

    /// A general register, or the part of one that `register` names; zero for the registers that are always zero.
    pub(super) fn register(&self, register: Register) -> Option<u64> {
        match register {
            Register::RIP => return Some(self.rip()),
            // Flat segments.
            Register::CS | Register::DS | Register::ES | Register::SS => return Some(0),
            _ => {}
        }
        let full = self.raw(index(register.full_register())?);
        Some(match (register.size(), is_high_byte(register)) {
            (1, true) => full >> 8 & 0xFF,
            (1, false) => full & 0xFF,
            (2, _) => full & 0xFFFF,
            (4, _) => full & 0xFFFF_FFFF,
            _ => full,
        })
    }

    /// Writes a general register as an instruction does: 32 bits clear the upper half, less leave the rest.
    pub(super) fn set_register(&mut self, register: Register, value: u64) {
        let Some(place) = index(register.full_register()) else {
            return;
        };
        let full = self.raw(place);
        self.set_raw(
            place,
            match (register.size(), is_high_byte(register)) {
                (1, true) => full & !0xFF00 | (value & 0xFF) << 8,
                (1, false) => full & !0xFF | value & 0xFF,
                (2, _) => full & !0xFFFF | value & 0xFFFF,
                (4, _) => value & 0xFFFF_FFFF,
                _ => value,
            },
        );
    }

    /// The instruction at rip, which was being executed: its bytes can be read.
    pub(super) fn instruction(&self) -> Option<Instruction> {
        let rip = self.rip();
        let in_page = (PAGE_BYTES - rip % PAGE_BYTES).min(MOST_INSTRUCTION_BYTES as u64) as usize;
        // Only an instruction that goes on there proves that there is a next page.
        decode(rip, in_page)
            .or_else(|error| match error {
                DecoderError::NoMoreBytes => decode(rip, MOST_INSTRUCTION_BYTES),
                other => Err(other),
            })
            .ok()
    }

    /// Where the instruction's memory operand of this number is.
    pub(super) fn address(&self, instruction: &Instruction, operand: u32) -> Option<u64> {
        instruction.virtual_address(operand, 0, |register, _, _| self.register(register))
    }

    pub(super) fn general_registers(&self) -> [u64; 16] {
        const ORDER: [libc::c_int; 16] = [
            libc::REG_RAX,
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RBX,
            libc::REG_RSP,
            libc::REG_RBP,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ];
        ORDER.map(|place| self.raw(place))
    }

    fn raw(&self, place: libc::c_int) -> u64 {
        self.saved.uc_mcontext.gregs[place as usize] as u64
    }

    fn set_raw(&mut self, place: libc::c_int, value: u64) {
        self.saved.uc_mcontext.gregs[place as usize] = value as i64;
    }
}

/// The decoder makes its tables at its first use, which must not be in a signal handler.
pub(super) fn prepare() {
    let mut decoder = Decoder::with_ip(64, &[0x90], 0, DecoderOptions::NONE);
    assert!(!decoder.decode().is_invalid(), "invariant: a nop is an instruction");
}

fn decode(rip: u64, bytes: usize) -> Result<Instruction, DecoderError> {
    let mut code = [0; MOST_INSTRUCTION_BYTES];
    let from = ptr::with_exposed_provenance::<u8>(rip as usize);
    // SAFETY: the processor has just read these bytes; `code` has room for the most that an instruction has.
    unsafe { ptr::copy_nonoverlapping(from, code.as_mut_ptr(), bytes) };
    let mut decoder = Decoder::with_ip(64, &code[..bytes], rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => Ok(instruction),
        error => Err(error),
    }
}

fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::BH | Register::CH | Register::DH)
}

/// The place in the saved context of a 64-bit general register.
fn index(register: Register) -> Option<libc::c_int> {
    Some(match register {
        Register::RAX => libc::REG_RAX,
        Register::RCX => libc::REG_RCX,
        Register::RDX => libc::REG_RDX,
        Register::RBX => libc::REG_RBX,
        Register::RSP => libc::REG_RSP,
        Register::RBP => libc::REG_RBP,
        Register::RSI => libc::REG_RSI,
        Register::RDI => libc::REG_RDI,
        Register::R8 => libc::REG_R8,
        Register::R9 => libc::REG_R9,
        Register::R10 => libc::REG_R10,
        Register::R11 => libc::REG_R11,
        Register::R12 => libc::REG_R12,
        Register::R13 => libc::REG_R13,
        Register::R14 => libc::REG_R14,
        Register::R15 => libc::REG_R15,
        _ => return None,
    })
}
