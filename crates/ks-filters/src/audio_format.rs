//! Audio formats as KS data formats and ranges, and back.

use std::ops::RangeInclusive;

use ks_abi::{
    Guid, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_SUBTYPE_ANALOG,
    KSDATAFORMAT_SUBTYPE_IEEE_FLOAT, KSDATAFORMAT_SUBTYPE_PCM, KSDATAFORMAT_TYPE_AUDIO, KsDataFormat, KsDataRangeAudio,
    STATUS_NO_MATCH,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{DataFormat, DataRange};

use crate::media::audio::{AudioFormat, MAX_CHANNELS, MAX_SAMPLE_RATE, SampleKind};
use crate::media::audio_conversion::with_channels;

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

/// The range of what no program can stream: sound in a wire or in the air.
pub(crate) fn analog_range() -> DataRange {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_SUBTYPE_ANALOG, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(head, &[])
}

/// The ranges of all formats.
pub(crate) fn whole_ranges() -> Vec<DataRange> {
    let rates = (1, MAX_SAMPLE_RATE);
    vec![
        range(head(SampleKind::Int, 0), MAX_CHANNELS, (8, 32), rates),
        range(head(SampleKind::Float, 0), MAX_CHANNELS, (32, 64), rates),
    ]
}

/// The range of one kind of samples.
pub(crate) fn kind_range(
    kind: SampleKind,
    maximum_channels: u16,
    bits: &RangeInclusive<u16>,
    rates: &RangeInclusive<u32>,
) -> DataRange {
    let bits = (u32::from(*bits.start()), u32::from(*bits.end()));
    range(head(kind, 0), maximum_channels, bits, (*rates.start(), *rates.end()))
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

/// A sink's answer to an intersection: the best that the client's range and its own have, and a WAV file holds.
pub(crate) fn intersect_sink(owner: &str, asked: &DataRange, own: &DataRange) -> Result<DataFormat, Refusal> {
    let is_float = [own, asked].iter().any(|range| range.head().sub_format == KSDATAFORMAT_SUBTYPE_IEEE_FLOAT);
    let (channels, bits, rate) = match common_bounds(owner, asked, own)? {
        Some(bounds) => {
            // A range without an upper bound does not ask for the most.
            let channels =
                if bounds.maximum_channels > MAX_CHANNELS.into() { 2 } else { bounds.maximum_channels as u16 };
            let rate = 48_000.clamp(bounds.minimum_sample_frequency, bounds.maximum_sample_frequency);
            (channels, bounds.maximum_bits_per_sample.min(if is_float { 64 } else { 32 }) as u16, rate)
        }
        None => (2, if is_float { 32 } else { 16 }, 48_000),
    };
    let format = match is_float {
        true => AudioFormat::float(bits, channels, rate),
        false => AudioFormat::int(bits / 8 * 8, channels, rate),
    };
    format.map(|format| data_format(&format)).map_err(|problem| no_match(owner, &problem.to_string()))
}

/// A converter's answer to an intersection: what is nearest to its input, out of the client's range and its own.
///
/// `Decision:` KSDATARANGE_AUDIO has no least number of channels. A range that names fewer channels than any format may
/// have is taken to want exactly so many; another one gets the channels of the input.
pub(crate) fn nearest(
    owner: &str,
    input: &AudioFormat,
    asked: &DataRange,
    own: &DataRange,
) -> Result<DataFormat, Refusal> {
    let kind = match [asked, own].iter().find_map(|range| kind_of(range.head().sub_format)) {
        Some(kind) => kind,
        None => input.sample_kind(),
    };
    let containers: &[u16] = match kind {
        SampleKind::Int => &[8, 16, 24, 32],
        SampleKind::Float => &[32, 64],
    };
    let Some(bounds) = common_bounds(owner, asked, own)? else {
        return if kind == input.sample_kind() {
            Ok(data_format(input))
        } else {
            Err(no_match(owner, "a range of audio without its bounds was asked for"))
        };
    };
    let has_room =
        |bits: &&u16| (bounds.minimum_bits_per_sample..=bounds.maximum_bits_per_sample).contains(&u32::from(**bits));
    let offered: Vec<u16> = containers.iter().filter(has_room).copied().collect();
    // Enough for every sample of the input; of floating point, 24 bits of an integer are.
    let enough = match (input.sample_kind(), kind) {
        (SampleKind::Float, SampleKind::Int) => 24,
        _ => input.container_bits(),
    };
    let bits = offered.iter().find(|bits| **bits >= enough).or(offered.last());
    let bits = *bits.ok_or_else(|| no_match(owner, "no sample has so many bits as the range asked for"))?;
    let maximum = u16::try_from(bounds.maximum_channels).unwrap_or(u16::MAX);
    let channels = if maximum < MAX_CHANNELS { maximum } else { input.channels() };
    let rate = input.sample_rate().clamp(bounds.minimum_sample_frequency, bounds.maximum_sample_frequency);
    let has_same_samples = (kind, bits) == (input.sample_kind(), input.container_bits());
    let made = match kind {
        SampleKind::Int => AudioFormat::int(bits, input.channels(), rate),
        SampleKind::Float => AudioFormat::float(bits, input.channels(), rate),
    };
    let mask = input.channel_mask();
    let valid_bits = if has_same_samples { input.valid_bits() } else { bits };
    let format = made
        .and_then(|format| format.with_channel_mask(mask).with_valid_bits(valid_bits))
        .and_then(|format| with_channels(format, channels));
    format.map(|format| data_format(&format)).map_err(|problem| no_match(owner, &problem.to_string()))
}

fn kind_of(sub_format: Guid) -> Option<SampleKind> {
    match sub_format {
        KSDATAFORMAT_SUBTYPE_PCM => Some(SampleKind::Int),
        KSDATAFORMAT_SUBTYPE_IEEE_FLOAT => Some(SampleKind::Float),
        _ => None,
    }
}

fn no_match(owner: &str, problem: &str) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"))
}

/// What two ranges have in common: those bounds that both name, or that one does. `None`: neither does.
fn common_bounds(owner: &str, asked: &DataRange, own: &DataRange) -> Result<Option<KsDataRangeAudio>, Refusal> {
    let (asked, own) = match (bounds(asked), bounds(own)) {
        (Some(asked), Some(own)) => (asked, own),
        (one, other) => return Ok(one.or(other).map(ordered)),
    };
    let common = KsDataRangeAudio {
        maximum_channels: asked.maximum_channels.min(own.maximum_channels),
        minimum_bits_per_sample: asked.minimum_bits_per_sample.max(own.minimum_bits_per_sample),
        maximum_bits_per_sample: asked.maximum_bits_per_sample.min(own.maximum_bits_per_sample),
        minimum_sample_frequency: asked.minimum_sample_frequency.max(own.minimum_sample_frequency),
        maximum_sample_frequency: asked.maximum_sample_frequency.min(own.maximum_sample_frequency),
        ..asked
    };
    if common.minimum_bits_per_sample > common.maximum_bits_per_sample {
        return Err(no_match(owner, "the bits a sample of both ranges have nothing in common"));
    }
    if common.minimum_sample_frequency > common.maximum_sample_frequency {
        return Err(no_match(owner, "the sample rates of both ranges have nothing in common"));
    }
    Ok(Some(common))
}

/// A client's bounds may be the wrong way round.
fn ordered(bounds: KsDataRangeAudio) -> KsDataRangeAudio {
    KsDataRangeAudio {
        minimum_bits_per_sample: bounds.minimum_bits_per_sample.min(bounds.maximum_bits_per_sample),
        minimum_sample_frequency: bounds.minimum_sample_frequency.min(bounds.maximum_sample_frequency),
        ..bounds
    }
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
    fn a_converter_stays_as_near_to_its_input_as_a_range_lets_it() {
        let input = AudioFormat::int(16, 1, 44_100).unwrap();
        let own = |kind| kind_range(kind, MAX_CHANNELS, &(8..=64), &(690..=2_822_400));
        let (int, float) = (own(SampleKind::Int), own(SampleKind::Float));
        let asked = |kind, channels, bits: (u16, u16), rates: (u32, u32)| {
            kind_range(kind, channels, &(bits.0..=bits.1), &(rates.0..=rates.1))
        };
        let found =
            |asked: &DataRange, own: &DataRange| nearest("converter", &input, asked, own).map(|f| parse(&f).unwrap());
        let whole = asked(SampleKind::Int, MAX_CHANNELS, (8, 32), (1, 4_000_000));
        assert_eq!(found(&whole, &int), Ok(input));
        assert_eq!(
            found(&asked(SampleKind::Int, 2, (24, 32), (48_000, 96_000)), &int),
            AudioFormat::int(24, 2, 48_000).map_err(|_| unreachable!())
        );
        assert_eq!(
            found(&asked(SampleKind::Int, 1, (8, 8), (8000, 8000)), &int),
            AudioFormat::int(8, 1, 8000).map_err(|_| unreachable!())
        );
        assert_eq!(
            found(&asked(SampleKind::Float, 32, (32, 64), (1, 4_000_000)), &float),
            AudioFormat::float(32, 1, 44_100).map_err(|_| unreachable!())
        );
        assert!(found(&asked(SampleKind::Int, 2, (8, 32), (100, 600)), &int).is_err(), "too far from 44100");
        assert!(found(&asked(SampleKind::Int, 2, (9, 10), (1, 4_000_000)), &int).is_err());
        let surround = AudioFormat::int(16, 2, 44_100).unwrap();
        let six = nearest("converter", &surround, &asked(SampleKind::Int, 6, (16, 16), (1, 96_000)), &int).unwrap();
        assert_eq!(parse(&six).unwrap().channel_mask(), 0x3F);
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
