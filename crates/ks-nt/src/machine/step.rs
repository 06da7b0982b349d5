//! Runs one instruction with a register changed: the one that has an address of the shared page is made to point to
//! our page, the processor stops after the instruction, and the register gets back what is its own.
//!
//! Both pages have the same lower half of their addresses, so only the upper half of the register is ever wrong, and
//! whoever reads or writes less than 64 bits of it in the meantime does not notice.

use std::cell::Cell;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::decode::Context;
use super::shared_data;

/// Stop after the next instruction.
const TRAP_FLAG: u64 = 0x100;

/// No instruction reads further past its address.
const MOST_OPERAND_BYTES: u64 = 64;

/// A register in use for a step, and what was added to it.
#[derive(Clone, Copy)]
struct Step {
    register: Register,
    changed: u64,
    distance: u64,
}

thread_local! {
    static STEP: Cell<Option<Step>> = const { Cell::new(None) };
}

/// Sets the thread up to run the instruction on the page `distance` from the Windows one.
pub(super) fn begin(context: &mut Context<'_>, instruction: &Instruction, distance: u64) -> bool {
    if STEP.get().is_some() {
        return false;
    }
    let Some(register) = pointer(context, instruction, distance) else {
        return false;
    };
    let Some(value) = context.register(register) else {
        return false;
    };
    let changed = value.wrapping_add(distance);
    context.set_register(register, changed);
    context.set_flags(context.flags() | TRAP_FLAG);
    STEP.set(Some(Step { register, changed, distance }));
    true
}

/// Ends the step that the thread is in, if it is: after its instruction, or when that faulted.
pub(super) fn end(context: &mut Context<'_>) -> Option<Ended> {
    let Step { register, changed, distance } = STEP.take()?;
    context.set_flags(context.flags() & !TRAP_FLAG);
    // What has another upper half now was written by the instruction. String instructions move their pointers on.
    let value = context.register(register).unwrap_or(0);
    if value >> 32 == changed >> 32 {
        context.set_register(register, value.wrapping_sub(distance));
    }
    Some(Ended { distance })
}

/// A step that is over.
pub(super) struct Ended {
    distance: u64,
}

impl Ended {
    /// The address that the instruction meant when it touched `address` of our page or of what is behind it.
    pub(super) fn meant(&self, address: u64) -> Option<u64> {
        let meant = address.wrapping_sub(self.distance);
        let is_ours = shared_data::contains(meant) || shared_data::contains(meant.wrapping_sub(MOST_OPERAND_BYTES));
        is_ours.then_some(meant)
    }
}

/// The register that has the address of the memory operand in the shared page, if the instruction can be run with
/// another value in it.
fn pointer(context: &Context<'_>, instruction: &Instruction, distance: u64) -> Option<Register> {
    for operand in 0..instruction.op_count() {
        let kind = instruction.op_kind(operand);
        let is_pointed = match kind {
            OpKind::Memory | OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::MemorySegRDI => {
                context.address(instruction, operand).is_some_and(shared_data::contains)
            }
            _ => false,
        };
        if !is_pointed {
            continue;
        }
        let register = match kind {
            OpKind::MemorySegRSI => Register::RSI,
            OpKind::MemoryESRDI | OpKind::MemorySegRDI => Register::RDI,
            _ => pointing_register(context, instruction)?,
        };
        debug_assert_eq!(distance as u32, 0, "only the upper half changes");
        return (!is_full_operand(instruction, register)).then_some(register);
    }
    None
}

/// Of base and index, the one with the large part of the address.
fn pointing_register(context: &Context<'_>, instruction: &Instruction) -> Option<Register> {
    let is_pointer = |register: &Register| {
        let value = context.register(*register);
        value.is_some_and(|value| value >> 40 == shared_data::SHARED_DATA >> 40)
    };
    let base = Some(instruction.memory_base()).filter(is_pointer);
    let index = Some(instruction.memory_index()).filter(is_pointer);
    match (base, index) {
        (Some(base), _) => Some(base),
        (None, Some(index)) if instruction.memory_index_scale() == 1 => Some(index),
        _ => None,
    }
}

/// Whether the instruction also computes with all 64 bits of the register.
fn is_full_operand(instruction: &Instruction, register: Register) -> bool {
    let multiplies = matches!(instruction.mnemonic(), Mnemonic::Mul | Mnemonic::Imul | Mnemonic::Div | Mnemonic::Idiv);
    if multiplies && instruction.op_count() == 1 && instruction.memory_size().size() == 8 {
        return matches!(register, Register::RAX | Register::RDX);
    }
    (0..instruction.op_count())
        .any(|operand| instruction.op_kind(operand) == OpKind::Register && instruction.op_register(operand) == register)
}
