//! Links with a looped pin at one end: the other pin has frames, the looped one a cyclic buffer that the client maps.
//!
//! No engine connects such pins. The client creates both, is the other end of each, and carries the sound from one to the
//! other, as an audio host does: [`play`] for a pin that renders, [`record`] for one that captures. Where the device is in
//! its buffer is found out in [`place`].
//!
//! Decision: the buffer is asked for with two notifications a cycle, else without, else both of a rounded size, as audio
//! hosts do; a device that does not notify is looked at four times a cycle. Source: KSPROPSETID_RtAudio.

mod place;
mod play;
mod record;

use super::error::GraphError;
use super::negotiate::{self, Connected};
use super::run::{LoopedReport, Options};
use crate::error::ClientError;
use crate::filter::{Connect, Filter, PinFactory};
use crate::format::Format;
use crate::looped::{LoopedBuffer, PacketRegister, PositionRegister};
use crate::pin::{Pin, SharedEvent};
use ks_abi::{
    KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KsDataFormatWaveFormatEx, KsIdentifier, KsPinCommunication,
    STATUS_INVALID_DEVICE_STATE, STATUS_NOT_SUPPORTED,
};
use ks_io::{Aspect, Event, Ticks, Time};
use play::Player;
use record::Recorder;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// How much sound a cyclic buffer holds, if nothing else is asked for: a client that is late by less than half of it loses
/// nothing. It is not how late the sound is: see [`Player`] and [`Recorder`].
pub(super) const CYCLE: Ticks = Ticks::from_secs(2);
/// The most bytes that are asked for, whatever the format.
const MOST_CYCLE_BYTES: u64 = 8 << 20;
/// Sound that goes to a sink in one frame; what is captured is looked for as often.
const FRAME: Ticks = Ticks::from_millis(10);

/// Which pin of the connection is the looped one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopedEnd {
    /// The data source: it captures.
    Source,
    /// The data sink: it renders.
    Sink,
}

/// What the client has of a looped pin that it carries sound to or from.
#[derive(Debug)]
pub(super) struct LoopedLink {
    pub(super) end: LoopedEnd,
    buffer: LoopedBuffer,
    samples: Samples,
    register: Option<PositionRegister>,
    counting: Counting,
    /// What the device reads ahead.
    fifo_bytes: u64,
    limit: Limit,
}

/// How it is known how often the device has gone round.
#[derive(Debug)]
enum Counting {
    /// It counts packets in a register that is mapped.
    Register(PacketRegister),
    /// It counts packets, and answers when asked.
    Property,
    /// It does not tell: by the time that has passed.
    Time,
}

/// What of a format matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Samples {
    block_bytes: u64,
    per_second: u64,
    /// Each byte of silence.
    silence: u8,
}

/// Where the client ends the stream.
#[derive(Debug, Clone, Copy, Default)]
struct Limit {
    frames: Option<u64>,
    bytes: Option<u64>,
}

impl Samples {
    fn of(format: &Format) -> Option<Samples> {
        let wave = format.read::<KsDataFormatWaveFormatEx>()?.wave_format;
        let known = format.head().specifier == KSDATAFORMAT_SPECIFIER_WAVEFORMATEX;
        (known && wave.block_align > 0 && wave.samples_per_sec > 0).then_some(Samples {
            block_bytes: wave.block_align.into(),
            per_second: wave.samples_per_sec.into(),
            // Samples of eight bits have no sign.
            silence: if wave.bits_per_sample == 8 { 0x80 } else { 0 },
        })
    }

    /// Bytes of so much sound, in whole blocks.
    fn bytes_in(&self, span: Ticks) -> u64 {
        let blocks = i128::from(span.0.max(0)) * i128::from(self.per_second) / i128::from(Ticks::SECOND.0);
        u64::try_from(blocks).unwrap_or(u64::MAX).saturating_mul(self.block_bytes)
    }

    /// How long so many bytes are, rounded up.
    fn time_of(&self, bytes: u64) -> Ticks {
        let blocks = u128::from(bytes.div_ceil(self.block_bytes));
        let ticks = (blocks * u128::from(Ticks::SECOND.0.unsigned_abs())).div_ceil(u128::from(self.per_second));
        Ticks(i64::try_from(ticks).unwrap_or(i64::MAX))
    }

    fn whole_blocks(&self, bytes: u64) -> u64 {
        bytes - bytes % self.block_bytes
    }
}

/// Connects a looped pin to one that streams, over this client. `None`: they are no such pair, or have an interface in
/// common, by which an engine connects them.
pub(super) fn connect(
    from: (&Filter, &PinFactory),
    to: (&Filter, &PinFactory),
    arriving: Option<&Format>,
    wake: &SharedEvent,
    cycle: Ticks,
) -> Option<Result<Connected, GraphError>> {
    let streaming = |pin: &PinFactory| lists(pin, KsIdentifier::STANDARD_STREAMING);
    let looped = |pin: &PinFactory| lists(pin, KsIdentifier::STANDARD_LOOPED_STREAMING);
    if from.1.interfaces.iter().any(|one| lists(to.1, *one)) {
        return None;
    }
    let end = match (looped(from.1), looped(to.1)) {
        (true, false) if streaming(to.1) => LoopedEnd::Source,
        (false, true) if streaming(from.1) => LoopedEnd::Sink,
        _ => return None,
    };
    Some(make(from, to, arriving, wake, cycle, end))
}

fn lists(pin: &PinFactory, wanted: KsIdentifier) -> bool {
    pin.interfaces.iter().any(|one| one.set == wanted.set && one.id == wanted.id)
}

fn make(
    (from, source): (&Filter, &PinFactory),
    (to, sink): (&Filter, &PinFactory),
    arriving: Option<&Format>,
    wake: &SharedEvent,
    cycle: Ticks,
    end: LoopedEnd,
) -> Result<Connected, GraphError> {
    let names = (format!("{}.{}", from.name(), source.id), format!("{}.{}", to.name(), sink.id));
    let both = |error| GraphError::Connect { from: names.0.clone(), to: names.1.clone(), error };
    let refused = |aspect, reason| negotiate::refused(&names, aspect, reason);
    for (name, pin) in [(&names.0, source), (&names.1, sink)] {
        if !matches!(pin.communication, KsPinCommunication::SINK | KsPinCommunication::BOTH) {
            let reason = format!("{name} communicates as {}, and takes no requests of a client", pin.communication);
            return Err(refused(Aspect::Communication, reason));
        }
    }
    let format = negotiate::agree_on_format(from, source, to, &negotiate::nearest_first(sink, arriving), &names)?;
    let samples = Samples::of(&format).ok_or_else(|| {
        let (from, to, what) = (&names.0, &names.1, format.describe());
        let reason = format!(
            "{from} and {to} have no interface in common. Between a looped pin and another the graph carries sound itself, and \
             {what} has no blocks and no rate by which a place in a buffer is told"
        );
        refused(Aspect::FormatBlock, reason)
    })?;
    let create = |filter: &Filter, factory: &PinFactory, name: &str, looped: bool| {
        let interface = match looped {
            true => KsIdentifier::STANDARD_LOOPED_STREAMING,
            false => KsIdentifier::STANDARD_STREAMING,
        };
        let Some(&medium) = factory.mediums.first() else {
            return Err(refused(Aspect::Medium, format!("{name} lists no medium")));
        };
        let connect = Connect { pin_id: factory.id, interface, medium, pin_to: None, format: &format };
        Ok((filter.create_pin(connect, factory.data_flow).map_err(both)?, medium))
    };
    let (source_pin, source_medium) = create(from, source, &names.0, end == LoopedEnd::Source)?;
    let (sink_pin, sink_medium) = create(to, sink, &names.1, end == LoopedEnd::Sink)?;
    let (pin, medium) = match end {
        LoopedEnd::Source => (&source_pin, source_medium),
        LoopedEnd::Sink => (&sink_pin, sink_medium),
    };
    let link = LoopedLink::open(pin, end, samples, cycle, wake).map_err(both)?;
    let interface = KsIdentifier::STANDARD_LOOPED_STREAMING;
    Ok(Connected { source: source_pin, sink: sink_pin, interface, medium, format, looped: Some(link) })
}

impl LoopedLink {
    /// Maps the buffer of a pin that was just created, and what tells where the device is in it.
    fn open(
        pin: &Pin,
        end: LoopedEnd,
        samples: Samples,
        cycle: Ticks,
        wake: &SharedEvent,
    ) -> Result<LoopedLink, ClientError> {
        // Two packets of whole blocks.
        let unit = 2 * samples.block_bytes;
        let wished = samples.bytes_in(cycle).clamp(1, MOST_CYCLE_BYTES).next_multiple_of(unit);
        let buffer = map(pin, wished as u32, samples.block_bytes as u32, wake)?;
        if (buffer.bytes() as u64) < samples.block_bytes {
            return Err(pin.object().error("map a buffer that holds a block", STATUS_NOT_SUPPORTED));
        }
        // All of this is optional; a host goes on without.
        let fifo_bytes = pin.hardware_latency().map_or(0, |latency| latency.fifo_size.into());
        let register = pin.position_register().ok();
        let even = buffer.packet_bytes().is_some_and(|packet| packet > 0 && buffer.bytes().is_multiple_of(packet));
        let counting = match pin.packet_register().ok().filter(|_| even) {
            Some(register) => Counting::Register(register),
            None if even && pin.packet_count().is_ok() => Counting::Property,
            None => Counting::Time,
        };
        Ok(LoopedLink { end, buffer, samples, register, counting, fifo_bytes, limit: Limit::default() })
    }

    /// Ends the stream at this link.
    pub(super) fn set_limit(&mut self, limit: Options) {
        let bytes = |seconds: f64| self.samples.bytes_in(Ticks((seconds * 1e7).round() as i64)).max(1);
        self.limit = Limit { frames: limit.frames, bytes: limit.seconds.map(bytes) };
    }

    /// How the buffer is divided, as the frames of an allocator are told.
    pub(super) fn describe(&self) -> String {
        let packet = self.buffer.packet_bytes().unwrap_or(self.buffer.bytes());
        format!("{} x {packet}", self.buffer.bytes() / packet.max(1))
    }

    fn cycle_bytes(&self) -> u64 {
        self.buffer.bytes() as u64
    }

    fn packet_bytes(&self) -> Option<u64> {
        self.buffer.packet_bytes().map(|bytes| bytes as u64)
    }

    /// When to look again, of a device that does not notify.
    fn look_again(&self, now: Time) -> Option<Time> {
        let quarter = self.samples.time_of(self.cycle_bytes() / 4);
        self.packet_bytes().is_none().then(|| now + quarter.max(Ticks::MILLISECOND))
    }

    /// Takes the notifications back, before the pin is closed.
    pub(super) fn release(&self, pin: &Pin, wake: &SharedEvent) {
        if self.buffer.packet_bytes().is_some() {
            let _ = pin.stop_notifying(wake);
        }
    }
}

/// The buffer with notification, else without, else both of a size that suits more devices.
fn map(pin: &Pin, wished: u32, block: u32, wake: &SharedEvent) -> Result<LoopedBuffer, ClientError> {
    let rounded = (1..=block).map(|count| wished.next_multiple_of(128) + 128 * (count - 1));
    let rounded = rounded.into_iter().find(|bytes| bytes.is_multiple_of(block)).unwrap_or(wished);
    let mut refusal = None;
    for bytes in [wished, rounded] {
        let notifying = match pin.looped_buffer_on(bytes, 2, wake) {
            Ok(buffer) => return Ok(buffer),
            Err(error) => error,
        };
        match pin.looped_buffer(bytes, None) {
            Ok(buffer) => return Ok(buffer),
            // There is a buffer, and what came after it was refused.
            Err(error) if error.status == STATUS_INVALID_DEVICE_STATE => return Err(notifying),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| pin.object().error("map a buffer", STATUS_NOT_SUPPORTED)))
}

/// What has gone over a link so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// How often the client was late.
    pub(super) gaps: u64,
    /// Bytes that were played and not sound, or captured and lost.
    pub(super) gap_bytes: u64,
}

/// Carries the sound of one link, in steps: after each wake-up one.
pub(super) enum Pump<'a> {
    Play(Player<'a>),
    Record(Recorder<'a>),
}

impl<'a> Pump<'a> {
    /// For a connection that has a looped end, while a run lasts.
    pub(super) fn of(one: &'a Connected, wake: &SharedEvent) -> Option<Pump<'a>> {
        let link = one.looped.as_ref()?;
        let waker = Waker::from(Arc::new(SetsEvent(wake.event.clone())));
        Some(match link.end {
            LoopedEnd::Sink => Pump::Play(Player::new(link, &one.source, &one.sink, waker)),
            LoopedEnd::Source => Pump::Record(Recorder::new(link, &one.source, &one.sink, waker)),
        })
    }

    /// Carries what there is. Answers when to do so again at the latest.
    pub(super) fn step(&mut self, now: Time) -> Result<Option<Time>, GraphError> {
        match self {
            Pump::Play(player) => player.step(now),
            Pump::Record(recorder) => recorder.step(now),
        }
    }

    /// Has the sound that was carried been heard? `None`: whoever gets it tells of its end.
    pub(super) fn has_ended(&self) -> Option<bool> {
        match self {
            Pump::Play(player) => Some(player.has_ended()),
            Pump::Record(_) => None,
        }
    }

    pub(super) fn counted(&self) -> Counted {
        match self {
            Pump::Play(player) => player.counted(),
            Pump::Record(recorder) => recorder.counted(),
        }
    }

    pub(super) fn report(&self) -> LoopedReport {
        let (link, counted) = match self {
            Pump::Play(player) => (player.link(), player.counted()),
            Pump::Record(recorder) => (recorder.link(), recorder.counted()),
        };
        let gap_ns = link.samples.time_of(counted.gap_bytes).as_nanos().max(0).cast_unsigned();
        LoopedReport { gaps: counted.gaps, gap_bytes: counted.gap_bytes, gap_ns }
    }
}

/// Wakes the thread of the run.
struct SetsEvent(Event);

impl Wake for SetsEvent {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }
}

/// What the run is told when a request on a pin of the link failed.
fn failed(pin: &Pin, error: &ClientError) -> GraphError {
    GraphError::Stream { pin: pin.name().to_owned(), status: error.status, reason: error.reason() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CD: Samples = Samples { block_bytes: 4, per_second: 44_100, silence: 0 };

    #[test]
    fn spans_are_whole_blocks_and_back() {
        assert_eq!(CD.bytes_in(Ticks::from_millis(500)), 22_050 * 4);
        assert_eq!(CD.bytes_in(Ticks(1)), 0);
        assert_eq!(CD.bytes_in(Ticks(-1)), 0);
        assert_eq!(CD.time_of(22_050 * 4), Ticks::from_millis(500));
        assert_eq!(CD.time_of(1), Ticks(227), "one block, rounded up");
        assert_eq!(CD.bytes_in(Ticks::MAX), CD.whole_blocks(CD.bytes_in(Ticks::MAX)));
    }

    #[test]
    fn silence_of_eight_bits_is_in_the_middle() {
        let of = |bits| {
            let format = KsDataFormatWaveFormatEx::pcm(2, 48_000, bits).expect("a format");
            Samples::of(&Format::from_bytes(zerocopy::IntoBytes::as_bytes(&format)).expect("bytes")).expect("samples")
        };
        assert_eq!(of(8), Samples { block_bytes: 2, per_second: 48_000, silence: 0x80 });
        assert_eq!(of(24), Samples { block_bytes: 6, per_second: 48_000, silence: 0 });
    }
}
