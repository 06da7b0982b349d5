//! `test-camera`: colour bars with a burnt-in frame counter and time, live or as fast as they are taken.
//!
//! The picture is specified in [`crate::media::pattern`], byte for byte.

use std::sync::Arc;

use ks_abi::{
    KS_VIDEO_FLAG_FRAME, KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO, KSCATEGORY_VIDEO_CAMERA,
    KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID,
    KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsFrameInfo, KsPinDataFlow, KsState,
    NtStatus, PINNAME_VIDEO_CAPTURE, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MATCH,
    STATUS_PENDING,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, STREAM_HEADER_BYTES, StreamFrame, Ticks, Time};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};
use zerocopy::IntoBytes;

use crate::live::{Beat, Pace};
use crate::media::pattern::Pattern;
use crate::media::video::{MAX_DIMENSION, PixelLayout, Ratio, VideoFormat};
use crate::settings::{self, HasSettings, Setting, SettingError, Settings, Write, boolean, choice, number};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "test-camera";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, Vec::new());
    pin.category = Some(PINNAME_VIDEO_CAPTURE);
    pin.name = Some("Capture");
    pin.flags = PinFlags::PROCESS_IN_RUN_STATE_ONLY | PinFlags::IMPLEMENT_CLOCK;
    let categories = [KSCATEGORY_VIDEO, KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO_CAMERA];
    let dispatch = Arc::new(TestCamera(Arc::new(settings::automation::<Camera>(SETTINGS))));
    FilterDescriptor::new(NAME, "Test camera", &categories, vec![pin], dispatch)
}

struct TestCamera(Arc<AutomationTable<Filter>>);

impl FilterDispatch for TestCamera {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let values = Values { width: 640, height: 480, rate: Ratio::new(30, 1), layout: None, live: true };
        Ok(Arc::new(Camera { settings: Settings::new(NAME, values), automation: self.0.clone() }))
    }
}

#[derive(Clone)]
struct Values {
    width: u32,
    height: u32,
    rate: Ratio,
    /// `None`: the client chooses.
    layout: Option<PixelLayout>,
    live: bool,
}

const LAYOUTS: &[(&str, Option<PixelLayout>)] = &[
    ("nv12", Some(PixelLayout::Nv12)),
    ("i420", Some(PixelLayout::I420)),
    ("yuy2", Some(PixelLayout::Yuy2)),
    ("any", None),
];

static SETTINGS: &[Setting<Values>] = &[
    Setting {
        name: "width",
        kind: "number",
        default: "640",
        help: "pixels a row, 2 to 16384",
        read: |values| values.width.to_string(),
        write: Write::Value(|values, text| number(text, 2..=MAX_DIMENSION).map(|width| values.width = width)),
    },
    Setting {
        name: "height",
        kind: "number",
        default: "480",
        help: "rows, 2 to 16384",
        read: |values| values.height.to_string(),
        write: Write::Value(|values, text| number(text, 2..=MAX_DIMENSION).map(|height| values.height = height)),
    },
    Setting {
        name: "fps",
        kind: "number or fraction",
        default: "30",
        help: "frames a second, up to 10000, as 30 or 30000/1001",
        read: |values| match values.rate.denominator {
            1 => values.rate.numerator.to_string(),
            denominator => format!("{}/{denominator}", values.rate.numerator),
        },
        write: Write::Value(|values, text| parse_rate(text).map(|rate| values.rate = rate)),
    },
    Setting {
        name: "format",
        kind: "nv12|i420|yuy2|any",
        default: "any",
        help: "layout of the pixels: NV12, I420, YUY2, or any of them, NV12 first",
        read: |values| {
            let name = LAYOUTS.iter().find(|(_, layout)| *layout == values.layout);
            name.map_or_else(String::new, |(name, _)| (*name).to_owned())
        },
        write: Write::Value(|values, text| choice(text, LAYOUTS).map(|layout| values.layout = layout)),
    },
    Setting {
        name: "live",
        kind: "true|false",
        default: "true",
        help: "frames come at their times, or as fast as they are taken",
        read: |values| values.live.to_string(),
        write: Write::Value(|values, text| boolean(text).map(|live| values.live = live)),
    },
];

fn parse_rate(text: &str) -> Result<Ratio, SettingError> {
    let (numerator, denominator) = text.split_once(['/', ':']).unwrap_or((text, "1"));
    let part = |text| number(text, 1..=10_000_000).ok();
    part(numerator)
        .zip(part(denominator))
        .map(|(numerator, denominator)| Ratio::new(numerator, denominator))
        // From one frame an hour to ten thousand a second.
        .filter(|rate| {
            let (numerator, denominator) = (u64::from(rate.numerator), u64::from(rate.denominator));
            numerator <= 10_000 * denominator && denominator <= 3600 * numerator
        })
        .ok_or_else(|| SettingError::Expected("frames a second as 30 or 30000/1001, at most 10000".into()))
}

struct Camera {
    settings: Arc<Settings<Values>>,
    automation: Arc<AutomationTable<Filter>>,
}

impl HasSettings for Camera {
    type Values = Values;

    fn settings(&self) -> &Settings<Values> {
        &self.settings
    }
}

impl Camera {
    /// The formats that the settings leave, in order of preference.
    fn formats(&self) -> Vec<VideoFormat> {
        formats(&self.settings)
    }

    fn format_of(&self, range: &DataRange) -> Option<VideoFormat> {
        let sub_format = range.head().sub_format;
        self.formats().into_iter().find(|format| video_format::subtype(format.layout()) == sub_format)
    }
}

impl FilterInstance for Camera {
    fn data_ranges(&self, _pin: PinId) -> Option<Vec<DataRange>> {
        Some(self.formats().iter().map(video_format::exact_range).collect())
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        let format = self.format_of(matching).ok_or_else(|| no_match("the layout of pixels is not offered".into()))?;
        video_format::intersect_source(NAME, &format, range)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        accept(&self.settings, format)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let values = self.settings.values();
        let mut format = video_format::parse(&pin.format()).map_err(no_match)?;
        format.frame_rate = values.rate;
        pin.set_stream_header_bytes((STREAM_HEADER_BYTES + size_of::<KsFrameInfo>()) as u32);
        Ok(Arc::new(CameraPin {
            settings: self.settings.clone(),
            rate: format.frame_rate,
            format: Mutex::new(format),
            live: values.live,
            beat: Beat::new(pin),
            stream: Mutex::new(None),
        }))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

/// The formats that the settings leave, in order of preference.
fn formats(settings: &Settings<Values>) -> Vec<VideoFormat> {
    let values = settings.values();
    let all = [PixelLayout::Nv12, PixelLayout::I420, PixelLayout::Yuy2];
    let offered = all.into_iter().filter(|layout| values.layout.is_none_or(|only| only == *layout));
    let format = |layout| {
        let mut format = VideoFormat::new(layout, values.width, values.height).ok()?;
        format.frame_rate = values.rate;
        Some(format)
    };
    offered.filter_map(format).collect()
}

/// Whether a format is one of those that the settings leave.
fn accept(settings: &Settings<Values>, format: &DataFormat) -> Result<(), Refusal> {
    let asked = video_format::parse(format).map_err(no_match)?;
    let offered = formats(settings);
    let same = |own: &VideoFormat| {
        (own.layout(), own.width(), own.height()) == (asked.layout(), asked.width(), asked.height())
            && video_format::interval_100ns(own.frame_rate) == video_format::interval_100ns(asked.frame_rate)
    };
    if offered.iter().any(same) {
        return Ok(());
    }
    let rate = settings.values().rate;
    let (width, height) = offered.first().map_or((0, 0), |own| (own.width(), own.height()));
    Err(no_match(format!(
        "it makes {width}x{height} at {}/{} fps; {}x{} at {}/{} fps was asked for; set width, height and fps",
        rate.numerator,
        rate.denominator,
        asked.width(),
        asked.height(),
        asked.frame_rate.numerator,
        asked.frame_rate.denominator
    )))
}

fn no_match(problem: String) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"))
}

struct CameraPin {
    settings: Arc<Settings<Values>>,
    /// It stays when the format changes.
    rate: Ratio,
    format: Mutex<VideoFormat>,
    live: bool,
    beat: Beat,
    /// Taken out while the pin processes, which the processing mutex keeps to one thread.
    stream: Mutex<Option<Box<Stream>>>,
}

/// What lives from ACQUIRE to STOP.
struct Stream {
    pattern: Pattern,
    frame_bytes: u32,
    pace: Pace,
    dropped: u64,
    /// Frames were dropped since the last one that was delivered.
    gap: bool,
}

impl PinInstance for CameraPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(video_format::framing(&self.format.lock()))
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.beat.set_state(pin, to, from)?;
        if to == KsState::ACQUIRE && from == KsState::STOP {
            let format = *self.format.lock();
            let (pattern, frame_bytes) = (pattern_of(&format)?, format.frame_bytes() as u32);
            let stream = Stream { pattern, frame_bytes, pace: Pace::default(), dropped: 0, gap: false };
            *self.stream.lock() = Some(Box::new(stream));
        } else if to == KsState::STOP {
            *self.stream.lock() = None;
        }
        Ok(())
    }

    /// Another layout or size, while it streams too; the rate stays.
    fn would_take(&self, _pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        accept(&self.settings, new)?;
        let asked = video_format::parse(new).map_err(no_match)?;
        match video_format::interval_100ns(asked.frame_rate) == video_format::interval_100ns(self.rate) {
            true => Ok(()),
            false => Err(no_match("its rate does not change while there is a pin".into())),
        }
    }

    fn set_data_format(&self, pin: &Arc<Pin>, _old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        self.would_take(pin, new)?;
        let mut format = video_format::parse(new).map_err(no_match)?;
        format.frame_rate = self.rate;
        let pattern = pattern_of(&format)?;
        if let Some(stream) = &mut *self.stream.lock() {
            (stream.pattern, stream.frame_bytes) = (pattern, format.frame_bytes() as u32);
        }
        *self.format.lock() = format;
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(mut stream) = self.stream.lock().take() else { return STATUS_PENDING };
        self.fill_frames(pin, &mut stream);
        *self.stream.lock() = Some(stream);
        STATUS_PENDING
    }
}

fn pattern_of(format: &VideoFormat) -> Result<Pattern, Refusal> {
    Pattern::new(format)
        .map_err(|problem| Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Driver, format!("{NAME}: {problem}")))
}

impl CameraPin {
    /// Stream time at which a frame is due.
    fn due(&self, frame: u64) -> Ticks {
        let time = self.rate.frame_time_100ns(frame).unwrap_or(0);
        Ticks(i64::try_from(time).unwrap_or(i64::MAX))
    }

    /// Fills and delivers what frames there are, live up to the one that is not due yet.
    fn fill_frames(&self, pin: &Arc<Pin>, stream: &mut Stream) {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if self.live {
                let now = self.beat.time(pin, self.due(stream.pace.next()));
                let missed = stream.pace.pass_missed(now, |frame| self.due(frame));
                if missed > 0 {
                    stream.dropped += missed;
                    stream.gap = true;
                    pin.count_drops(missed);
                }
                let due = self.due(stream.pace.next());
                if due > now {
                    drop(frame);
                    if let Err(refusal) = self.beat.wake_at(pin, due) {
                        pin.fail(refusal);
                    }
                    return;
                }
            }
            if !self.fill(&frame, stream) {
                // The request of a client, with a buffer that no picture fits into; the stream goes on.
                frame.set_status_code(STATUS_BUFFER_TOO_SMALL);
            }
            leading = frame.advance();
        }
        if self.live {
            stream.pace.starve(self.beat.time(pin, self.due(stream.pace.next())));
        }
    }

    /// Renders the next picture into a frame; false if it does not fit.
    fn fill(&self, frame: &StreamFrame, stream: &mut Stream) -> bool {
        let number = stream.pace.next();
        let time = self.due(number);
        let room = frame.frame_extent() as usize;
        let rendered = match frame.buffer().and_then(|buffer| buffer.bytes_mut(room)) {
            Some(mut bytes) => stream.pattern.render_into(number, time.0.unsigned_abs(), &mut bytes).is_ok(),
            None => false,
        };
        if !rendered {
            return false;
        }
        let mut flags = KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT
            | KSSTREAM_HEADER_OPTIONSF_TIMEVALID
            | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        if std::mem::take(&mut stream.gap) {
            flags |= KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY;
        }
        let info = KsFrameInfo {
            extended_header_size: size_of::<KsFrameInfo>() as u32,
            frame_flags: KS_VIDEO_FLAG_FRAME,
            // Decision: the first picture has number 1, as in Microsoft's sample drivers.
            picture_number: i64::try_from(number).map_or(i64::MAX, |number| number.saturating_add(1)),
            drop_count: i64::try_from(stream.dropped).unwrap_or(i64::MAX),
            ..KsFrameInfo::default()
        };
        frame.write_extension(info.as_bytes());
        frame.set_presentation(Time((time + self.beat.origin()).0), Ticks(self.due(number + 1).0 - time.0));
        frame.set_options_flags(flags);
        frame.set_data_used(stream.frame_bytes);
        stream.pace.advance();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_fractions_within_reason() {
        let rate = |text| parse_rate(text).ok();
        assert_eq!(rate("30"), Some(Ratio::new(30, 1)));
        assert_eq!(rate("30000/1001"), Some(Ratio::new(30_000, 1001)));
        assert_eq!(rate("30000:1001"), Some(Ratio::new(30_000, 1001)));
        assert_eq!(rate("10000"), Some(Ratio::new(10_000, 1)));
        for text in ["", "0", "30/0", "0/1", "x", "-1", "29.97", "10001", "1/3601", "30/", "1/1/1"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
