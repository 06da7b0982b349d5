//! Identifiers and data ranges as people read them.

use ks_abi::{
    Guid, KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_TYPE_VIDEO, KsDataRange, KsDataRangeAudio, KsDataRangeVideo,
    KsIdentifier,
};
use zerocopy::FromBytes as _;

/// The header's name of a GUID, else its registry form.
pub(crate) fn guid(guid: Guid) -> String {
    guid.name().map_or_else(|| guid.to_string(), str::to_owned)
}

/// The last part of a header's name in lower case: `KSCATEGORY_VIDEO_CAMERA` is "video camera".
pub(crate) fn short(name: &str) -> String {
    let short = ["KSCATEGORY_", "KSNODETYPE_", "PINNAME_VIDEO_", "PINNAME_"].iter().find_map(|p| name.strip_prefix(p));
    short.map_or_else(|| name.to_owned(), |short| short.to_lowercase().replace('_', " "))
}

/// The name of an interface: "standard streaming".
pub(crate) fn interface(interface: KsIdentifier) -> String {
    identifier(interface, "KSINTERFACESETID_", &["streaming", "looped streaming", "control"])
}

/// The name of a medium: "standard devio".
pub(crate) fn medium(medium: KsIdentifier) -> String {
    identifier(medium, "KSMEDIUMSETID_", &["devio"])
}

fn identifier(identifier: KsIdentifier, prefix: &str, standard: &[&str]) -> String {
    let set = guid(identifier.set);
    match set.strip_prefix(prefix) {
        Some("Standard") => match usize::try_from(identifier.id).ok().and_then(|id| standard.get(id)) {
            Some(name) => format!("standard {name}"),
            None => format!("standard {}", identifier.id),
        },
        Some(name) => format!("{} {}", name.to_lowercase(), identifier.id),
        None => format!("{set} {}", identifier.id),
    }
}

/// A data range: "video NV12, 16x16 to 4096x4096, 1 to 60 fps".
///
/// The bytes come from a driver: what is too short to hold what it should is described as far as it goes.
pub(crate) fn data_range(bytes: &[u8]) -> String {
    let Ok((range, _)) = KsDataRange::read_from_prefix(bytes) else {
        return format!("malformed range of {} bytes", bytes.len());
    };
    let mut text = match major(range.major_format) {
        Some(major) => format!("{major} {}", sub_format(range.sub_format)),
        None => return "any format".into(),
    };
    if range.major_format == KSDATAFORMAT_TYPE_VIDEO
        && let Ok((video, _)) = KsDataRangeVideo::read_from_prefix(bytes)
    {
        let caps = &video.config_caps;
        let (low, high) = (caps.min_output_size, caps.max_output_size);
        text +=
            &format!(", {}", span(format!("{}x{}", low.width, low.height), format!("{}x{}", high.width, high.height)));
        let (slow, fast) = (frame_rate(caps.max_frame_interval), frame_rate(caps.min_frame_interval));
        text += &format!(", {} fps", span(slow, fast));
    }
    if range.major_format == KSDATAFORMAT_TYPE_AUDIO
        && let Ok((audio, _)) = KsDataRangeAudio::read_from_prefix(bytes)
    {
        let channels = match audio.maximum_channels {
            u32::MAX => "any number of channels".into(),
            1 => "1 channel".into(),
            channels => format!("up to {channels} channels"),
        };
        let bits = span(audio.minimum_bits_per_sample.to_string(), audio.maximum_bits_per_sample.to_string());
        let rate = span(audio.minimum_sample_frequency.to_string(), audio.maximum_sample_frequency.to_string());
        text += &format!(", {channels}, {bits} bits, {rate} Hz");
    }
    text
}

/// "audio", "video", ..., or nothing for the wildcard.
fn major(format: Guid) -> Option<String> {
    if format.is_null() {
        return None;
    }
    let name = guid(format);
    Some(name.strip_prefix("KSDATAFORMAT_TYPE_").map_or(name.clone(), str::to_lowercase))
}

/// "NV12", "PCM", ..., "of any kind" for the wildcard.
fn sub_format(format: Guid) -> String {
    if format.is_null() {
        return "of any kind".into();
    }
    if let Some(name) = format.name() {
        return name.strip_prefix("KSDATAFORMAT_SUBTYPE_").unwrap_or(name).to_owned();
    }
    match format.format_tag().map(u32::to_le_bytes) {
        Some(code) if code.iter().all(u8::is_ascii_graphic) => code.iter().copied().map(char::from).collect(),
        _ => format.to_string(),
    }
}

/// Frames in a second for frames that take `interval` units of 100 ns.
fn frame_rate(interval: i64) -> String {
    const SECOND: i64 = 10_000_000;
    if interval <= 0 {
        return "any".into();
    }
    let hundredths = SECOND.saturating_mul(100) / interval;
    // 333333 is 30 fps: an interval that is the closest to a whole rate stands for it.
    let whole = (SECOND + interval / 2) / interval;
    if whole > 0 && (SECOND / whole).abs_diff(interval) <= 1 {
        return whole.to_string();
    }
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn span(low: String, high: String) -> String {
    if low == high { low } else { format!("{low} to {high}") }
}

#[cfg(test)]
mod tests {
    use ks_abi::{KSCATEGORY_CAPTURE, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SUBTYPE_PCM, KsDataFormat, Size};
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn identifiers_have_names() {
        assert_eq!(guid(KSCATEGORY_CAPTURE), "KSCATEGORY_CAPTURE");
        assert_eq!(short("KSCATEGORY_CAPTURE"), "capture");
        assert_eq!(interface(KsIdentifier::STANDARD_STREAMING), "standard streaming");
        assert_eq!(medium(KsIdentifier::STANDARD_DEVIO), "standard devio");
        let unknown = KsIdentifier::new(Guid::from_u128(1), 7, 0);
        assert_eq!(medium(unknown), "{00000000-0000-0000-0000-000000000001} 7");
    }

    #[test]
    fn a_video_range_shows_encoding_sizes_and_rates() {
        let mut range = KsDataRangeVideo {
            data_range: KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, Guid::NULL, 0),
            ..Default::default()
        };
        range.config_caps.min_output_size = Size { width: 16, height: 16 };
        range.config_caps.max_output_size = Size { width: 4096, height: 2160 };
        range.config_caps.min_frame_interval = 166_667;
        range.config_caps.max_frame_interval = 417_083;
        assert_eq!(data_range(range.as_bytes()), "video NV12, 16x16 to 4096x2160, 23.97 to 60 fps");
    }

    #[test]
    fn an_audio_range_shows_channels_bits_and_rates() {
        let range = KsDataRangeAudio {
            data_range: KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_SUBTYPE_PCM, Guid::NULL, 0),
            maximum_channels: 8,
            minimum_bits_per_sample: 8,
            maximum_bits_per_sample: 32,
            minimum_sample_frequency: 48_000,
            maximum_sample_frequency: 48_000,
            ..Default::default()
        };
        assert_eq!(data_range(range.as_bytes()), "audio PCM, up to 8 channels, 8 to 32 bits, 48000 Hz");
        assert_eq!(data_range(&range.as_bytes()[..64]), "audio PCM");
        for length in 0..64 {
            assert!(data_range(&range.as_bytes()[..length]).starts_with("malformed"));
        }
        assert_eq!(data_range(KsDataFormat::default().as_bytes()), "any format");
    }
}
