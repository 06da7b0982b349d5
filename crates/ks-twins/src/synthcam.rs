//! `synthcam`: a camera without a camera. A pin-centric minidriver, as a driver for a real sensor would be written: the
//! process callback only takes frames in (it clones the leading edge), a timer's procedure fills one clone a picture
//! period, and a change of state waits until that procedure has seen it.
//!
//! Pictures: eight colour bars, a bright line that moves, and along the top a row of 32 squares that show the picture
//! number in binary, least significant bit at the left, white for one.
//!
//! The twin of `drivers/synthcam/synthcam.c`.

use std::collections::VecDeque;
use std::sync::Arc;

use ks_abi::{
    KS_VIDEO_FLAG_FRAME, KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID,
    KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsFrameInfo, KsPinDataFlow, KsState,
    NtStatus, PINNAME_VIDEO_CAPTURE, STATUS_BUFFER_TOO_SMALL, STATUS_PENDING, Size,
};
use ks_io::sync::Mutex;
use ks_io::{Dpc, Event, EventKind, Refusal, Services, Signal, StreamFrame, Ticks, Time, Timer};
use ks_stream::{
    ClonePointer, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance, ReferenceClock,
};
use zerocopy::IntoBytes;

use crate::Surroundings;
use crate::video::{self, Layout, Limits, Picture};

const FRAMES: u32 = 8;
const LIMITS: Limits = Limits {
    least: Size { width: 64, height: 32 },
    most: Size { width: 1920, height: 1080 },
    interval_100ns: (10_000_000 / 240, 10_000_000),
};

/// What the filter says of itself.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let ranges = [Layout::Nv12, Layout::Yuy2].map(|layout| video::range(layout, LIMITS));
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, ranges.to_vec());
    pin.category = Some(PINNAME_VIDEO_CAPTURE);
    pin.flags = PinFlags::PROCESS_IN_RUN_STATE_ONLY;
    let categories = [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO];
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C01}";
    Ok(FilterDescriptor::new(reference, "synthcam", &categories, vec![pin], Arc::new(Synthcam)))
}

struct Synthcam;

impl FilterDispatch for Synthcam {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Synthcam))
    }
}

impl FilterInstance for Synthcam {
    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        video::read(format, &LIMITS).map(drop)
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        video::intersect(range, matching)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let format = video::read(&pin.format(), &LIMITS)?;
        pin.set_stream_header_bytes(video::HEADER_BYTES);
        let services = pin.services().clone();
        let stopped = services.event(EventKind::Notification, Signal::Clear);
        let camera = Arc::new(Camera { format, services, stopped, stream: Mutex::default() });
        Ok(Arc::new(CameraPin { timer: pin.services().timer(camera.clone()), camera }))
    }
}

struct CameraPin {
    timer: Timer,
    camera: Arc<Camera>,
}

/// What the pin and the procedure of its timer share.
struct Camera {
    format: Picture,
    services: Services,
    /// The procedure sets it when it has seen that the camera does not run.
    stopped: Event,
    stream: Mutex<Stream>,
}

#[derive(Default)]
struct Stream {
    /// A clone of each frame that waits for a picture.
    waiting: VecDeque<ClonePointer>,
    is_running: bool,
    clock: Option<ReferenceClock>,
    start: Time,
    picture: i64,
    dropped: i64,
}

impl PinInstance for CameraPin {
    /// The frames of a connection have one size.
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(Framing { frames: FRAMES, frame_bytes: self.camera.format.frame_size(), alignment: 0 })
    }

    /// Frames came: keep a clone of each, and let the leading edge go on.
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            // A header with flags only says nothing to a camera.
            if frame.buffer().is_some() {
                let Some(clone) = frame.clone_pointer() else { break };
                frame.set_data_used(0);
                self.camera.stream.lock().waiting.push_back(clone);
            }
            leading = frame.advance();
        }
        STATUS_PENDING
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        match to {
            KsState::STOP => self.camera.end(),
            KsState::ACQUIRE if from == KsState::STOP => {
                self.camera.stream.lock().clock = pin.reference_clock().ok();
            }
            KsState::PAUSE if from == KsState::RUN => self.pause(),
            KsState::RUN => self.run(),
            _ => {}
        }
        Ok(())
    }

    fn close(&self, _pin: &Pin) {
        self.camera.end();
    }
}

impl CameraPin {
    fn run(&self) {
        let camera = &self.camera;
        let (now, interval) = (camera.services.now(), Ticks(camera.format.interval_100ns));
        {
            let mut stream = camera.stream.lock();
            stream.start = now - interval * stream.picture;
            stream.is_running = true;
        }
        camera.stopped.clear();
        let _ = self.timer.set(now + interval, Some(interval));
    }

    /// When this returns, no picture is being made.
    fn pause(&self) {
        self.camera.stream.lock().is_running = false;
        let _ = self.camera.stopped.wait();
        let _ = self.timer.cancel();
    }
}

/// One picture period is over. DISPATCH level.
impl Dpc for Camera {
    fn expired(self: Arc<Self>, _now: Time) {
        let (next, number, dropped, time) = {
            let mut stream = self.stream.lock();
            if !stream.is_running {
                drop(stream);
                self.stopped.set();
                return;
            }
            let time = stream.clock.as_ref().map_or_else(|| self.services.now() - stream.start, ReferenceClock::time);
            (stream.waiting.pop_front(), stream.picture, stream.dropped, time)
        };
        // Dropping the clone lets its frame go.
        if let Some(clone) = &next {
            match clone.frame().and_then(|frame| self.draw(frame, number)) {
                Some(frame) => self.stamp(frame, time, number, dropped),
                None => clone.set_status_code(STATUS_BUFFER_TOO_SMALL),
            }
        }
        let mut stream = self.stream.lock();
        stream.dropped += i64::from(next.is_none());
        stream.picture += 1;
    }
}

/// Brightness, blue and red of the bars.
const BARS: [[u8; 3]; 8] = [
    [235, 128, 128],
    [210, 16, 146],
    [170, 166, 16],
    [145, 54, 34],
    [106, 202, 222],
    [81, 90, 240],
    [41, 240, 110],
    [16, 128, 128],
];
const WHITE: [u8; 3] = [235, 128, 128];
const BLACK: [u8; 3] = [16, 128, 128];

/// A kind of line: all of one kind are the same.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    Number,
    Bars,
    Bright,
}

impl Camera {
    fn end(&self) {
        let mut stream = self.stream.lock();
        let ended = std::mem::take(&mut *stream);
        drop(stream);
        // The clones go here, with no lock held.
        drop(ended);
    }

    /// Draws a picture into a frame; `None` if it does not fit.
    fn draw<'f>(&self, frame: &'f StreamFrame, number: i64) -> Option<&'f StreamFrame> {
        let format = &self.format;
        if (frame.frame_extent() as usize) < format.frame_bytes {
            return None;
        }
        let mut bytes = frame.buffer()?.bytes_mut(format.frame_bytes)?;
        draw(format, number, &mut bytes);
        Some(frame)
    }

    fn stamp(&self, frame: &StreamFrame, time: Ticks, number: i64, dropped: i64) {
        frame.set_data_used(self.format.frame_size());
        frame.set_presentation(Time(time.0), Ticks(self.format.interval_100ns));
        frame.set_options_flags(
            KSSTREAM_HEADER_OPTIONSF_TIMEVALID
                | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID
                | KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT,
        );
        let info = KsFrameInfo {
            extended_header_size: size_of::<KsFrameInfo>() as u32,
            frame_flags: KS_VIDEO_FLAG_FRAME,
            picture_number: number + 1,
            drop_count: dropped,
            ..KsFrameInfo::default()
        };
        frame.write_extension(info.as_bytes());
    }
}

fn draw(format: &Picture, number: i64, bytes: &mut [u8]) {
    let (width, height) = (format.width, format.height);
    let square = width / 32;
    let bright = square + (number.unsigned_abs() as usize) * 4 % (height - square);
    let kind = |y: usize| match y {
        y if y < square => Line::Number,
        y if y == bright => Line::Bright,
        _ => Line::Bars,
    };
    let colour = |line: Line, x: usize| match line {
        Line::Number if x >= 32 * square => [BARS[x * 8 / width][0], 128, 128],
        Line::Number if number >> (x / square) & 1 == 1 => WHITE,
        Line::Number => BLACK,
        Line::Bars => BARS[x * 8 / width],
        Line::Bright => WHITE,
    };
    match format.layout {
        Layout::Nv12 => {
            let (luma, chroma) = bytes.split_at_mut(format.luma_bytes());
            lines(luma, width, kind, |line, out| {
                out.iter_mut().enumerate().for_each(|(x, luma)| *luma = colour(line, x)[0]);
            });
            // Every second line has colours, and is grey where the bright line is one of its two.
            let pair = |y: usize| if kind(2 * y) == Line::Bars { kind(2 * y + 1) } else { kind(2 * y) };
            lines(chroma, width, pair, |line, out| {
                for (x, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let [_, blue, red] = colour(line, 2 * x);
                    *out = [blue, red];
                }
            });
        }
        Layout::Yuy2 => lines(bytes, 2 * width, kind, |line, out| {
            for (x, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let [[left, blue, red], [right, ..]] = [colour(line, 2 * x), colour(line, 2 * x + 1)];
                *out = [left, blue, right, red];
            }
        }),
    }
}

/// Draws the lines of a plane. One that is like the line above is a copy of it.
fn lines(plane: &mut [u8], stride: usize, kind: impl Fn(usize) -> Line, draw: impl Fn(Line, &mut [u8])) {
    for y in 0..plane.len() / stride {
        let (above, rest) = plane.split_at_mut(y * stride);
        let line = &mut rest[..stride];
        match y.checked_sub(1).map(&kind) {
            Some(last) if last == kind(y) => line.copy_from_slice(&above[above.len() - stride..]),
            _ => draw(kind(y), line),
        }
    }
}
