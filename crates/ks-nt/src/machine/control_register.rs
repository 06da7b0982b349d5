//! `cr8`, which on a 64-bit Windows is the level of the processor: reading and writing it is inlined into drivers.

use iced_x86::{Code, Instruction, Register};

use super::decode::Context;
use crate::ntoskrnl::irql;

/// Handles `mov r64, cr8` and `mov cr8, r64`; says whether it was one of these.
pub(super) fn emulate(context: &mut Context<'_>, instruction: &Instruction) -> bool {
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    match instruction.code() {
        Code::Mov_r64_cr if from == Register::CR8 => context.set_register(to, u64::from(irql::current())),
        Code::Mov_cr_r64 if to == Register::CR8 => {
            let level = context.register(from).unwrap_or(0) & 0xF;
            irql::set(level as u8);
        }
        _ => return false,
    }
    context.skip(instruction);
    true
}
