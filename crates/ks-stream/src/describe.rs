//! Formats, ranges and pins in words, for refusals and tables.

use crate::format::DataFormat;
use ks_abi::{
    Guid, KSDATAFORMAT_SPECIFIER_VIDEOINFO, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_TYPE_AUDIO,
    KSDATAFORMAT_TYPE_VIDEO, KsDataFormatVideoInfoHeader, KsDataRangeAudio, KsDataRangeVideo,
};

/// A short name of a format GUID: its KS name without prefix, or the GUID itself.
pub fn guid(guid: Guid) -> String {
    if guid.is_null() {
        return "any".into();
    }
    match guid.name() {
        Some(name) => name.rsplit('_').next().unwrap_or(name).to_string(),
        None => guid.to_string(),
    }
}

/// One format in words: `video NV12 1280x720 @30`, `audio PCM 48000 Hz 2 ch 16 bit`.
pub fn format(format: &DataFormat) -> String {
    let head = format.head();
    let mut words = format!("{} {}", guid(head.major_format).to_lowercase(), guid(head.sub_format));
    if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
        if let Some(video) = format.read::<KsDataFormatVideoInfoHeader>() {
            let picture = video.video_info;
            let bitmap = picture.bitmap;
            words += &format!(" {}x{}", bitmap.width, bitmap.height.unsigned_abs());
            words += &rate(picture.avg_time_per_frame);
        }
    } else if head.specifier == KSDATAFORMAT_SPECIFIER_WAVEFORMATEX
        && let Some(wave) = format.read::<ks_abi::KsDataFormatWaveFormatEx>()
    {
        let wave = wave.wave_format;
        let (rate, channels, bits) = (wave.samples_per_sec, wave.channels, wave.bits_per_sample);
        words += &format!(" {rate} Hz {channels} ch {bits} bit");
    }
    words
}

/// One range in words, with its bounds.
pub fn range(range: &DataFormat) -> String {
    let head = range.head();
    let mut words = format!("{} {}", guid(head.major_format).to_lowercase(), guid(head.sub_format));
    if head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
        if let Some(video) = range.read::<KsDataRangeVideo>() {
            let caps = video.config_caps;
            let (small, large) = (caps.min_output_size, caps.max_output_size);
            if small == large {
                words += &format!(" {}x{}", large.width, large.height);
            } else {
                words += &format!(" {}x{}..{}x{}", small.width, small.height, large.width, large.height);
            }
            if caps.min_frame_interval == caps.max_frame_interval {
                words += &rate(caps.min_frame_interval);
            }
        }
    } else if head.major_format == KSDATAFORMAT_TYPE_AUDIO
        && let Some(audio) = range.read::<KsDataRangeAudio>()
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

/// A list of ranges in words.
pub fn ranges(ranges: &[DataFormat]) -> String {
    match ranges {
        [] => "nothing".into(),
        [one] => range(one),
        many => many.iter().map(range).collect::<Vec<_>>().join(", "),
    }
}

fn rate(interval_100ns: i64) -> String {
    if interval_100ns <= 0 {
        return String::new();
    }
    let rate = 10_000_000.0 / interval_100ns as f64;
    let rounded = (rate * 100.0).round() / 100.0;
    format!(" @{rounded}")
}
