//! Audio formats as KS data formats and ranges, and back.

use ks_abi::{
    Guid, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_SUBTYPE_IEEE_FLOAT, KSDATAFORMAT_SUBTYPE_PCM,
    KSDATAFORMAT_TYPE_AUDIO, KsDataFormat, KsDataRangeAudio, STATUS_NO_MATCH,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{DataFormat, DataRange};

use crate::media::audio::{AudioFormat, MAX_CHANNELS, MAX_SAMPLE_RATE, SampleKind};

fn subtype(kind: SampleKind) -> Guid {
    match kind {
        SampleKind::Int => KSDATAFORMAT_SUBTYPE_PCM,
        SampleKind::Float => KSDATAFORMAT_SUBTYPE_IEEE_FLOAT,
    }
}

fn head(kind: SampleKind, sample_size: u32) -> KsDataFormat {
    let specifier = KSDATAFORMAT_SPECIFIER_WAVEFORMATEX;
    KsDataFormat { sample_size, ..KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, subtype(kind), specifier, 0) }
}

/// The complete data format of an audio format: with a WAVEFORMATEX, or a WAVEFORMATEXTENSIBLE where that is needed.
pub(crate) fn data_format(format: &AudioFormat) -> DataFormat {
    DataFormat::new(head(format.sample_kind(), format.block_bytes() as u32), &format.wave_format())
}

/// The range that holds one format only.
pub(crate) fn exact_range(format: &AudioFormat) -> DataRange {
    let bits = u32::from(format.container_bits());
    let rate = format.sample_rate();
    range(head(format.sample_kind(), format.block_bytes() as u32), format.channels(), (bits, bits), (rate, rate))
}

/// The ranges of all formats.
pub(crate) fn whole_ranges() -> Vec<DataRange> {
    let rates = (1, MAX_SAMPLE_RATE);
    vec![
        range(head(SampleKind::Int, 0), MAX_CHANNELS, (8, 32), rates),
        range(head(SampleKind::Float, 0), MAX_CHANNELS, (32, 64), rates),
    ]
}

fn range(head: KsDataFormat, channels: u16, bits: (u32, u32), rates: (u32, u32)) -> DataRange {
    DataFormat::of(&KsDataRangeAudio {
        data_range: head,
        maximum_channels: channels.into(),
        minimum_bits_per_sample: bits.0,
        maximum_bits_per_sample: bits.1,
        minimum_sample_frequency: rates.0,
        maximum_sample_frequency: rates.1,
        ..KsDataRangeAudio::default()
    })
}

/// Checks a format from a client to its last field.
pub(crate) fn parse(format: &DataFormat) -> Result<AudioFormat, String> {
    let sub_format = format.head().sub_format;
    if format.head().specifier != KSDATAFORMAT_SPECIFIER_WAVEFORMATEX {
        return Err("the specifier is not WAVEFORMATEX".into());
    }
    if format.block().len() < 18 {
        return Err(format!("FormatSize is {}, too small for a WAVEFORMATEX", format.head().format_size));
    }
    let audio = AudioFormat::from_wave_format(format.block()).map_err(|problem| problem.to_string())?;
    if sub_format != subtype(audio.sample_kind()) {
        return Err("wFormatTag is not the subformat".into());
    }
    Ok(audio)
}

/// A source's answer to an intersection: its format, if it lies in the client's range.
pub(crate) fn intersect_source(owner: &str, format: &AudioFormat, asked: &DataRange) -> Result<DataFormat, Refusal> {
    if let Some(bounds) = bounds(asked) {
        let bits = u32::from(format.container_bits());
        let fits = u32::from(format.channels()) <= bounds.maximum_channels
            && (bounds.minimum_bits_per_sample..=bounds.maximum_bits_per_sample).contains(&bits)
            && (bounds.minimum_sample_frequency..=bounds.maximum_sample_frequency).contains(&format.sample_rate());
        if !fits {
            let reason = format!("{owner} has one format, which is outside of the range asked for");
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, reason));
        }
    }
    Ok(data_format(format))
}

/// A sink's answer to an intersection: the best that the client's range has and a WAV file holds.
pub(crate) fn intersect_sink(owner: &str, asked: &DataRange, own: &DataRange) -> Result<DataFormat, Refusal> {
    let is_float = [own, asked].iter().any(|range| range.head().sub_format == KSDATAFORMAT_SUBTYPE_IEEE_FLOAT);
    let (channels, bits, rate) = match bounds(asked) {
        Some(bounds) => {
            // A range without an upper bound does not ask for the most.
            let channels =
                if bounds.maximum_channels > MAX_CHANNELS.into() { 2 } else { bounds.maximum_channels as u16 };
            let rate = 48_000.clamp(
                bounds.minimum_sample_frequency.min(bounds.maximum_sample_frequency),
                bounds.maximum_sample_frequency,
            );
            (channels, bounds.maximum_bits_per_sample.min(if is_float { 64 } else { 32 }) as u16, rate)
        }
        None => (2, if is_float { 32 } else { 16 }, 48_000),
    };
    let format = match is_float {
        true => AudioFormat::float(bits, channels, rate),
        false => AudioFormat::int(bits / 8 * 8, channels, rate),
    };
    let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"));
    format.map(|format| data_format(&format)).map_err(refuse)
}

/// The bounds of a range of audio formats; `None` if it names none.
fn bounds(range: &DataRange) -> Option<KsDataRangeAudio> {
    let named = range.head().major_format == KSDATAFORMAT_TYPE_AUDIO;
    range.read::<KsDataRangeAudio>().filter(|_| named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_survives_the_way_to_ks_and_back() {
        let surround = AudioFormat::int(24, 6, 48_000).unwrap().with_channel_mask(0x60F);
        for format in [
            AudioFormat::int(16, 2, 44_100).unwrap(),
            AudioFormat::float(64, 1, 8000).unwrap(),
            surround,
            AudioFormat::int(32, 2, 96_000).unwrap().with_valid_bits(24).unwrap(),
        ] {
            assert_eq!(parse(&data_format(&format)), Ok(format));
        }
        let plain = data_format(&AudioFormat::int(16, 2, 44_100).unwrap());
        assert_eq!(plain.format_bytes().len(), 82, "KSDATAFORMAT_WAVEFORMATEX is packed");
        assert_eq!(exact_range(&surround).format_bytes().len(), 88);
    }

    #[test]
    fn a_tag_that_is_not_the_subformat_is_refused() {
        let float = AudioFormat::float(32, 2, 44_100).unwrap();
        let format = DataFormat::new(head(SampleKind::Int, 8), &float.wave_format());
        assert!(parse(&format).is_err());
        for length in 0..18 {
            let cut = DataFormat::new(head(SampleKind::Float, 8), &float.wave_format()[..length]);
            assert!(parse(&cut).is_err(), "{length}");
        }
    }

    #[test]
    fn both_ends_find_a_format_in_the_range_of_the_other() {
        let format = AudioFormat::int(24, 6, 96_000).unwrap();
        let whole = &whole_ranges()[0];
        assert_eq!(intersect_source("reader", &format, whole), Ok(data_format(&format)));
        let found = intersect_sink("writer", &exact_range(&format), whole).unwrap();
        assert_eq!(parse(&found), Ok(format));
        let stereo = exact_range(&AudioFormat::int(24, 2, 96_000).unwrap());
        assert!(intersect_source("reader", &format, &stereo).is_err());
        let (bare, float) = (DataFormat::new(*whole.head(), &[]), &whole_ranges()[1]);
        assert!(intersect_sink("writer", &bare, whole).is_ok());
        assert!(intersect_sink("writer", whole, whole).is_ok());
        assert!(intersect_sink("writer", float, float).is_ok());
    }
}
