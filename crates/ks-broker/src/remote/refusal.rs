//! A refusal as numbers and a sentence.

use crate::terminal::printable;
use ks_abi::NtStatus;
use ks_io::{Aspect, Refusal};

const ASPECTS: [Aspect; 20] = [
    Aspect::Driver,
    Aspect::Name,
    Aspect::Request,
    Aspect::PinId,
    Aspect::Interface,
    Aspect::Medium,
    Aspect::Communication,
    Aspect::DataFlow,
    Aspect::MajorFormat,
    Aspect::SubFormat,
    Aspect::Specifier,
    Aspect::FormatBlock,
    Aspect::Attribute,
    Aspect::Access,
    Aspect::Instances,
    Aspect::State,
    Aspect::Memory,
    Aspect::Setting,
    Aspect::File,
    Aspect::Device,
];

pub(super) fn number(aspect: Aspect) -> u8 {
    ASPECTS.iter().position(|known| *known == aspect).unwrap_or(0) as u8
}

/// The refusal that the other side describes; control characters do not reach a terminal.
pub(super) fn from_wire(status: NtStatus, (aspect, reason): (u8, &str)) -> Refusal {
    let aspect = ASPECTS.get(usize::from(aspect)).copied().unwrap_or(Aspect::Driver);
    Refusal::new(status, aspect, printable(reason))
}
