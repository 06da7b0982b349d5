//! Which filter reads or writes a file: by what it begins with, or how its name ends.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::failure::Failure;

/// The filters for a kind of media file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Reads it.
    pub(crate) reader: &'static str,
    /// Writes it, if that is possible.
    pub(crate) writer: Option<&'static str>,
    /// Goes in between where two filters have no format in common.
    pub(crate) converter: &'static str,
    pub(crate) media: Media,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Sound,
    Pictures,
}

const WAV: Kind =
    Kind { reader: "wav-reader", writer: Some("wav-writer"), converter: "audio-converter", media: Media::Sound };
const Y4M: Kind =
    Kind { reader: "y4m-reader", writer: Some("y4m-writer"), converter: "video-converter", media: Media::Pictures };
const COMPRESSED: Kind =
    Kind { reader: "audio-reader", writer: None, converter: "audio-converter", media: Media::Sound };

/// Whether compressed sound can be read.
const READS_COMPRESSED: bool = cfg!(feature = "symphonia");

const BY_ENDING: &[(&str, Kind)] = &[
    ("wav", WAV),
    ("wave", WAV),
    ("y4m", Y4M),
    ("flac", COMPRESSED),
    ("mp3", COMPRESSED),
    ("ogg", COMPRESSED),
    ("oga", COMPRESSED),
    ("aac", COMPRESSED),
    ("m4a", COMPRESSED),
    ("mp4", COMPRESSED),
];

/// The kind of a file that is to be read.
pub(crate) fn to_read(path: &Path) -> Result<Kind, Failure> {
    let doing = || format!("play {}", path.display());
    let mut head = Vec::new();
    // A directory opens, and says what it is when it is read.
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|error| Failure::job(doing(), error.to_string()).with_hint("name a file that exists"))?;
    let kind = by_content(&head).or_else(|| by_ending(path));
    let Some(kind) = kind else {
        let known = if READS_COMPRESSED { "WAV, Y4M, FLAC, MP3, Ogg Vorbis and AAC" } else { "WAV and Y4M" };
        let why = format!("it begins with \"{}\", as no media file does that can be read", head.escape_ascii());
        return Err(Failure::job(doing(), why).with_hint(format!("{known} files are read")));
    };
    if kind == COMPRESSED && !READS_COMPRESSED {
        let why = "it is a file of compressed sound, and this `ks` has no decoders for those";
        return Err(Failure::usage(doing(), why).with_hint(FEATURE));
    }
    Ok(kind)
}

/// How to have compressed sound read.
pub(crate) const FEATURE: &str = "build `ks` with `--features symphonia` to read FLAC, MP3, Ogg Vorbis and AAC files";

/// The kind of a file that is to be written, and the filter that writes it.
pub(crate) fn to_write(path: &Path) -> Result<(Kind, &'static str), Failure> {
    let kind = by_ending(path);
    kind.and_then(|kind| Some((kind, kind.writer?))).ok_or_else(|| {
        let doing = format!("write {}", path.display());
        Failure::usage(doing, "the end of its name does not say how")
            .with_hint("sound is written to .wav files, and pictures to .y4m files")
    })
}

fn by_ending(path: &Path) -> Option<Kind> {
    let ending = path.extension()?.to_str()?;
    BY_ENDING.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map(|(_, kind)| *kind)
}

fn by_content(head: &[u8]) -> Option<Kind> {
    match head {
        [b'R', b'I', b'F', b'F' | b'X', ..] | [b'R', b'F', b'6', b'4', ..] | [b'B', b'W', b'6', b'4', ..] => Some(WAV),
        [b'Y', b'U', b'V', b'4', b'M', b'P', b'E', b'G', ..] => Some(Y4M),
        [b'f', b'L', b'a', b'C', ..] | [b'O', b'g', b'g', b'S', ..] | [b'I', b'D', b'3', ..] => Some(COMPRESSED),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(COMPRESSED),
        // A frame of MPEG audio or of ADTS: eleven bits set.
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => Some(COMPRESSED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_begins_with_and_else_what_it_is_called() {
        assert_eq!(by_content(b"RIFF\x10\0\0\0WAVE"), Some(WAV));
        assert_eq!(by_content(b"YUV4MPEG2 W64"), Some(Y4M));
        for head in [&b"fLaC\0"[..], b"OggS\0", b"ID3\x04", b"\0\0\0\x20ftypM4A ", b"\xFF\xFB\x90", b"\xFF\xF1\x50"] {
            assert_eq!(by_content(head), Some(COMPRESSED), "{}", head.escape_ascii());
        }
        for head in [&b""[..], b"RIF", b"\xFF", b"\xFF\x00", b"%PDF-1.4"] {
            assert_eq!(by_content(head), None);
        }
        assert_eq!(by_ending(Path::new("a/b.WAV")), Some(WAV));
        assert_eq!(by_ending(Path::new("wav")), None);
    }

    #[test]
    fn what_cannot_be_written_says_what_can() {
        assert_eq!(
            to_write(Path::new("x.y4m")).map(|(kind, writer)| (kind.media, writer)),
            Ok((Media::Pictures, "y4m-writer"))
        );
        for name in ["x.mp4", "x.flac", "x", "wav"] {
            let failure = to_write(Path::new(name)).expect_err(name);
            assert!(failure.to_string().contains(".wav files, and pictures to .y4m"), "{failure}");
        }
    }
}
