//! Data formats and data ranges in words, for refusals and tables. Bytes that are too short say less.

use crate::{
    Guid, KS_INTERLACE_IsInterlaced, KSDATAFORMAT_SPECIFIER_VIDEOINFO, KSDATAFORMAT_SPECIFIER_VIDEOINFO2,
    KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_TYPE_VIDEO, KsBitmapInfoHeader,
    KsDataFormat, KsDataFormatVideoInfoHeader, KsDataFormatVideoInfoHeader2, KsDataFormatWaveFormatEx,
    KsDataRangeAudio, KsDataRangeVideo, KsDataRangeVideo2, KsIdentifier, KsVideoStreamConfigCaps,
};
use zerocopy::FromBytes;

/// A short name of a format GUID: its KS name without prefix, or the GUID itself.
#[must_use]
pub fn guid(guid: Guid) -> String {
    if guid.is_null() {
        return "any".into();
    }
    match guid.name() {
        Some(name) => name.rsplit('_').next().unwrap_or(name).to_string(),
        None => guid.to_string(),
    }
}

/// The name of an interface: `standard streaming`; the set and the number of one that is not known.
#[must_use]
pub fn interface(interface: KsIdentifier) -> String {
    identifier(interface, "KSINTERFACESETID_", &["streaming", "looped streaming", "control"])
}

/// The name of a medium: `standard devio`; the set and the number of one that is not known.
#[must_use]
pub fn medium(medium: KsIdentifier) -> String {
    identifier(medium, "KSMEDIUMSETID_", &["devio"])
}

fn identifier(identifier: KsIdentifier, prefix: &str, standard: &[&str]) -> String {
    let id = identifier.id;
    match identifier.set.name().map(|name| name.strip_prefix(prefix).unwrap_or(name)) {
        Some("Standard") => match usize::try_from(id).ok().and_then(|id| standard.get(id)) {
            Some(name) => format!("standard {name}"),
            None => format!("standard {id}"),
        },
        Some(name) => format!("{} {id}", name.to_lowercase()),
        None => format!("{} {id}", identifier.set),
    }
}

/// One format in words: `video NV12 1280x720 @30`, `audio PCM 48000 Hz 2 ch 16 bit`.
#[must_use]
pub fn format(bytes: &[u8]) -> String {
    let Some(head) = read::<KsDataFormat>(bytes) else { return "nothing".into() };
    let mut words = format!("{} {}", guid(head.major_format).to_lowercase(), guid(head.sub_format));
    if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
        if let Some(video) = read::<KsDataFormatVideoInfoHeader>(bytes) {
            words += &picture(&video.video_info.bitmap, video.video_info.avg_time_per_frame);
        }
    } else if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO2 {
        if let Some(video) = read::<KsDataFormatVideoInfoHeader2>(bytes) {
            let info = video.video_info;
            words += &picture(&info.bitmap, info.avg_time_per_frame);
            if info.pict_aspect_ratio_x != 0 && info.pict_aspect_ratio_y != 0 {
                words += &format!(" {}:{}", info.pict_aspect_ratio_x, info.pict_aspect_ratio_y);
            }
            if info.interlace_flags & KS_INTERLACE_IsInterlaced != 0 {
                words += " interlaced";
            }
        }
    } else if head.specifier == KSDATAFORMAT_SPECIFIER_WAVEFORMATEX
        && let Some(wave) = read::<KsDataFormatWaveFormatEx>(bytes)
    {
        let wave = wave.wave_format;
        let (rate, channels, bits) = (wave.samples_per_sec, wave.channels, wave.bits_per_sample);
        words += &format!(" {rate} Hz {channels} ch {bits} bit");
    }
    words
}

/// One range in words, with its bounds.
#[must_use]
pub fn range(bytes: &[u8]) -> String {
    let Some(head) = read::<KsDataFormat>(bytes) else { return "nothing".into() };
    let mut words = format!("{} {}", guid(head.major_format).to_lowercase(), guid(head.sub_format));
    if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
        if let Some(video) = read::<KsDataRangeVideo>(bytes) {
            words += &caps(&video.config_caps);
        }
    } else if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO2 {
        if let Some(video) = read::<KsDataRangeVideo2>(bytes) {
            words += &caps(&video.config_caps);
        }
    } else if head.major_format == KSDATAFORMAT_TYPE_AUDIO
        && let Some(audio) = read::<KsDataRangeAudio>(bytes)
    {
        let span = |low: u32, high: u32| if low == high { high.to_string() } else { format!("{low}..{high}") };
        words += &format!(
            " {} Hz up to {} ch {} bit",
            span(audio.minimum_sample_frequency, audio.maximum_sample_frequency),
            audio.maximum_channels,
            span(audio.minimum_bits_per_sample, audio.maximum_bits_per_sample)
        );
    }
    words
}

fn read<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_prefix(bytes).ok().map(|(value, _)| value)
}

fn picture(bitmap: &KsBitmapInfoHeader, interval_100ns: i64) -> String {
    format!(" {}x{}{}", bitmap.width, bitmap.height.unsigned_abs(), rate(interval_100ns))
}

fn caps(caps: &KsVideoStreamConfigCaps) -> String {
    let (small, large) = (caps.min_output_size, caps.max_output_size);
    let mut words = if small == large {
        format!(" {}x{}", large.width, large.height)
    } else {
        format!(" {}x{}..{}x{}", small.width, small.height, large.width, large.height)
    };
    if caps.min_frame_interval == caps.max_frame_interval {
        words += &rate(caps.min_frame_interval);
    }
    words
}

fn rate(interval_100ns: i64) -> String {
    if interval_100ns <= 0 {
        return String::new();
    }
    let rate = 10_000_000.0 / interval_100ns as f64;
    let rounded = (rate * 100.0).round() / 100.0;
    format!(" @{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_mediums_have_names() {
        assert_eq!(interface(KsIdentifier::STANDARD_STREAMING), "standard streaming");
        assert_eq!(medium(KsIdentifier::STANDARD_DEVIO), "standard devio");
        assert_eq!(medium(KsIdentifier { id: 7, ..KsIdentifier::STANDARD_DEVIO }), "standard 7");
        let unknown = KsIdentifier::new(Guid::from_u128(1), 7, 0);
        assert_eq!(medium(unknown), "{00000000-0000-0000-0000-000000000001} 7");
    }
}
