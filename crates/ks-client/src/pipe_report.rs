//! The pipe section that a pin is in, as the engine tells it.

use crate::error::ClientError;
use crate::pin::Pin;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KsProperty, USERKS_PIN_LABEL, USERKS_PIN_PIPE,
    USERKS_PROPSET_PIN,
};
use zerocopy::IntoBytes;

/// The pins that share frames, whose the frames are, and what was agreed on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PipeReport {
    /// The pins in the order of the data, `filter.pin`; both of a filter that works in place.
    pub pins: Vec<String>,
    /// What was agreed on `frames`, `bytes` and `alignment`; empty where the section has no allocator.
    pub agreed: Vec<Agreed>,
    /// Which memory the frames lie in; empty without an allocator.
    pub memory: String,
    /// The pin whose frames they are; empty when they are those of requests.
    pub owner: String,
    /// Why they are.
    pub why: String,
    /// Preferences that were not met.
    pub notes: Vec<String>,
}

/// One number of an allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// `frames`, `bytes` or `alignment`.
    pub what: String,
    /// The number.
    pub value: u64,
    /// The pin that asked for it; empty when none did.
    pub by: String,
}

impl PipeReport {
    /// Reads the lines of USERKS_PIN_PIPE; lines of a kind that is not known are left out.
    pub(crate) fn parse(text: &str) -> PipeReport {
        let mut report = PipeReport::default();
        for line in text.lines() {
            let mut words = line.split('\t').map(str::to_owned);
            let kind = words.next().unwrap_or_default();
            match kind.as_str() {
                "pins" => report.pins = words.collect(),
                "frames" | "bytes" | "alignment" => {
                    let value = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
                    report.agreed.push(Agreed { what: kind, value, by: words.next().unwrap_or_default() });
                }
                "memory" => report.memory = words.next().unwrap_or_default(),
                "owner" => {
                    report.owner = words.next().unwrap_or_default();
                    report.why = words.next().unwrap_or_default();
                }
                "note" => report.notes.extend(words.next()),
                _ => {}
            }
        }
        report
    }
}

impl Pin {
    /// Has the engine call the pin's filter as this client does, in reports and refusals. Pins without our property set keep
    /// the name that their driver gave them.
    pub(crate) fn tell_name(&self, filter: &str) {
        let request = KsProperty::new(USERKS_PROPSET_PIN, USERKS_PIN_LABEL, KSPROPERTY_TYPE_SET);
        let mut name = filter.as_bytes().to_vec();
        let _ = self.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut name);
    }

    /// The pipe section that the pin was in when it last left STOP; without pins before.
    #[doc(alias = "USERKS_PIN_PIPE")]
    pub fn pipe(&self) -> Result<PipeReport, ClientError> {
        let request = KsProperty::new(USERKS_PROPSET_PIN, USERKS_PIN_PIPE, KSPROPERTY_TYPE_GET);
        let bytes = self.object().property_bytes(request.as_bytes(), USERKS_PROPSET_PIN, USERKS_PIN_PIPE)?;
        Ok(PipeReport::parse(&String::from_utf8_lossy(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_from_its_lines() {
        let text =
            "pins\ta.0\tb.0\nframes\t8\ta.0\nalignment\t64\nowner\tb.0\tmust allocate\nnew\tthing\nnote\tnot met: x\n";
        let report = PipeReport::parse(text);
        assert_eq!(report.pins, ["a.0", "b.0"]);
        let agreed = |what: &str, value, by: &str| Agreed { what: what.into(), value, by: by.into() };
        assert_eq!(report.agreed, [agreed("frames", 8, "a.0"), agreed("alignment", 64, "")]);
        assert_eq!((&*report.owner, &*report.why, &*report.memory), ("b.0", "must allocate", ""));
        assert_eq!(report.notes, ["not met: x"]);
        assert_eq!(PipeReport::parse(""), PipeReport::default());
    }
}
