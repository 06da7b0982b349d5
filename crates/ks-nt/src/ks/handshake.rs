//! The handshake between the pins of hosted drivers.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::filter::is_agreed;
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::report::BugCheck;
use ks_abi::{KsHandshake, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_io::Level;
use ks_mem::Block;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsPinRegisterHandshakeCallback, KsPinHandshake);

/// Asks a driver's routine about a protocol: two structures, one behind the other, in memory of their own.
pub(crate) fn ask(routine: Routine, pin: u64, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
    let bytes = size_of::<KsHandshake>();
    let block = Block::zeroed(2 * bytes, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    block.write(0, offer);
    block.write(bytes, offer);
    let (input, output) = (block.address(), block.address() + bytes as u64);
    let answer = status(routine.call3(pin, input, output));
    if is_agreed(answer) { Ok(block.read(bytes)) } else { Err(answer) }
}

pub(crate) unsafe extern "win64" fn KsPinRegisterHandshakeCallback(pin: Address, callback: Address) {
    if let Some(pin) = objects::pin(pin, "KsPinRegisterHandshakeCallback") {
        pin.set_handshake(Routine::optional(callback, "pin handshake"));
    }
}

pub(crate) unsafe extern "win64" fn KsPinHandshake(pin: Address, offer: Address, answer: Address) -> NtStatus {
    let Some(pin) = objects::pin(pin, "KsPinHandshake").and_then(|pin| pin.engine()) else {
        return STATUS_INVALID_PARAMETER;
    };
    if Level::current() != Level::Passive {
        let reason = "called above PASSIVE_LEVEL, where the other driver cannot be asked";
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "KsPinHandshake", reason);
    }
    match pin.handshake(&offer.read()) {
        Ok(answered) => {
            answer.put(0, answered);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}
