//! What a sink of audio is told to take: its settings, as data ranges and as a check.

use ks_stream::DataRange;

use crate::audio_format;
use crate::media::audio::{AudioFormat, MAX_CHANNELS, MAX_SAMPLE_RATE, SampleKind};
use crate::settings::{ANY, SettingError, choice, number, or_any};

/// A format of which some things are settled; what is `None` may be anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AudioWish {
    pub(crate) rate: Option<u32>,
    pub(crate) channels: Option<u16>,
    pub(crate) bits: Option<u16>,
    format: Option<SampleFormat>,
}

/// A kind of samples, and with what bits if that is settled.
type SampleFormat = (SampleKind, Option<u16>);

const FORMATS: &[(&str, SampleFormat)] = &[
    ("int", (SampleKind::Int, None)),
    ("float", (SampleKind::Float, None)),
    ("u8", (SampleKind::Int, Some(8))),
    ("s16", (SampleKind::Int, Some(16))),
    ("s24", (SampleKind::Int, Some(24))),
    ("s32", (SampleKind::Int, Some(32))),
    ("f32", (SampleKind::Float, Some(32))),
    ("f64", (SampleKind::Float, Some(64))),
];

/// A number that is settled, as text.
pub(crate) fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| ANY.into(), |value| value.to_string())
}

impl AudioWish {
    /// Settles the rate.
    pub(crate) fn set_rate(&mut self, text: &str) -> Result<(), SettingError> {
        self.rate = or_any(text, |text| number(text, 1..=MAX_SAMPLE_RATE))?;
        Ok(())
    }

    /// Settles the number of channels.
    pub(crate) fn set_channels(&mut self, text: &str) -> Result<(), SettingError> {
        self.channels = or_any(text, |text| number(text, 1..=MAX_CHANNELS.into()))?.map(|channels| channels as u16);
        Ok(())
    }

    /// Settles the bits of a sample.
    pub(crate) fn set_bits(&mut self, text: &str) -> Result<(), SettingError> {
        let bits = [("8", 8), ("16", 16), ("24", 24), ("32", 32), ("64", 64)];
        let bits = or_any(text, |text| choice(text, &bits))?;
        self.keep_if_possible(Self { bits, ..*self })
    }

    /// Settles the type of a sample.
    pub(crate) fn set_format(&mut self, text: &str) -> Result<(), SettingError> {
        let format = or_any(text, |text| choice(text, FORMATS))?;
        self.keep_if_possible(Self { format, ..*self })
    }

    fn keep_if_possible(&mut self, wish: Self) -> Result<(), SettingError> {
        if wish.ranges().is_empty() {
            let expected = "a format and a number of bits that go together: 8, 16, 24 or 32 of int, 32 or 64 of float";
            return Err(SettingError::Expected(expected.into()));
        }
        *self = wish;
        Ok(())
    }

    /// The name of the settled type.
    pub(crate) fn format_name(&self) -> String {
        let named = self.format.and_then(|format| FORMATS.iter().find(|(_, known)| *known == format));
        named.map_or(ANY, |(name, _)| name).to_owned()
    }

    /// The ranges that hold all formats that fit, integers first.
    pub(crate) fn ranges(&self) -> Vec<DataRange> {
        let (kind, format_bits) = self.format.map_or((None, None), |(kind, bits)| (Some(kind), bits));
        let rates = self.rate.map_or(1..=MAX_SAMPLE_RATE, |rate| rate..=rate);
        let kinds: [(SampleKind, &[u16]); 2] = [(SampleKind::Int, &[8, 16, 24, 32]), (SampleKind::Float, &[32, 64])];
        let fits = |bits: &&u16| [self.bits, format_bits].into_iter().flatten().all(|settled| settled == **bits);
        kinds
            .into_iter()
            .filter(|(one, _)| kind.is_none_or(|kind| kind == *one))
            .filter_map(|(kind, containers)| {
                let mut fitting = containers.iter().filter(fits);
                let least = *fitting.next()?;
                let most = fitting.next_back().copied().unwrap_or(least);
                Some(audio_format::kind_range(kind, self.channels.unwrap_or(MAX_CHANNELS), &(least..=most), &rates))
            })
            .collect()
    }

    /// Whether a format fits; what does not.
    pub(crate) fn check(&self, format: &AudioFormat) -> Result<(), String> {
        let (kind, format_bits) = self.format.map_or((None, None), |(kind, bits)| (Some(kind), bits));
        let asked = |name: &str, settled: Option<u32>, is: u32| match settled {
            Some(settled) if settled != is => {
                Err(format!("{name}={settled} was asked for and {is} came; an audio-converter ahead of it makes it so"))
            }
            _ => Ok(()),
        };
        asked("rate", self.rate, format.sample_rate())?;
        asked("channels", self.channels.map(u32::from), format.channels().into())?;
        asked("bits", self.bits.map(u32::from), format.container_bits().into())?;
        let kind_fits = kind.is_none_or(|kind| kind == format.sample_kind());
        if !kind_fits || format_bits.is_some_and(|bits| bits != format.container_bits()) {
            return Err(format!(
                "format={} was asked for and other samples came; an audio-converter ahead of it makes it so",
                self.format_name()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_narrows_the_ranges() {
        let mut wish = AudioWish::default();
        assert_eq!(wish.ranges(), audio_format::whole_ranges());
        wish.set_rate("48000").unwrap();
        wish.set_bits("24").unwrap();
        assert_eq!(wish.ranges().len(), 1, "no floating-point format has 24 bits");
        wish.set_bits("any").unwrap();
        wish.set_format("f64").unwrap();
        assert_eq!((wish.ranges().len(), wish.format_name().as_str()), (1, "f64"));
        assert!(wish.check(&AudioFormat::float(64, 7, 48_000).unwrap()).is_ok());
        assert!(wish.check(&AudioFormat::float(32, 7, 48_000).unwrap()).unwrap_err().contains("format=f64"));
        assert!(wish.check(&AudioFormat::float(64, 7, 44_100).unwrap()).unwrap_err().contains("rate=48000"));
    }

    #[test]
    fn a_format_and_bits_that_contradict_each_other_are_refused_and_change_nothing() {
        let mut wish = AudioWish::default();
        wish.set_format("float").unwrap();
        assert!(wish.set_bits("16").is_err());
        assert_eq!(wish.bits, None);
        wish.set_bits("32").unwrap();
        assert!(wish.set_format("s16").is_err());
        for text in ["", "0", "33", "two"] {
            assert!(wish.set_channels(text).is_err(), "{text}");
        }
    }
}
