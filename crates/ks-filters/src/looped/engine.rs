//! The engine of a looped device: moves what the clock says between the buffer and the sound, a little every millisecond.
//!
//! A timer asks a worker, so sound may be written to a file. The worker moves under the pin's processing mutex; whoever asks
//! for the position gets what was moved last and waits for nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ks_abi::{
    KsAudioPosition, KsAudioPresentationPosition, KsPinDataFlow, KsRtAudioGetReadPacketInfo, KsRtAudioHwLatency,
    KsRtAudioSetWritePacketInfo, KsState, NtStatus, STATUS_NOT_SUPPORTED, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Dpc, Refusal, Services, Ticks, Time, Timer, Work, WorkQueue};
use ks_mem::Frame;
use ks_stream::{BufferWish, ClockRegister, CyclicBuffer, LoopedPin, LoopedStream, Pin};

use super::cursor::Cursor;
use super::packets::Packets;
use super::{Quirks, Sizes};
use crate::media::audio::AudioFormat;

/// How often sound is moved.
const BEAT: Ticks = Ticks::MILLISECOND;
/// The most bytes that are moved at once.
const MOST_MOVED: usize = 64 * 1024;

/// The analog side of a device. Called with the pin's processing mutex held.
pub(crate) trait Sound: Send + 'static {
    /// The stream begins, or goes on after a pause.
    fn start(&mut self) -> Result<(), Refusal>;
    /// The next samples: they are heard, or put here. They are whole blocks, from block `first` of the stream on.
    fn pass(&mut self, first: u64, samples: &mut [u8]) -> Result<(), Refusal>;
    /// The stream ends.
    fn stop(&mut self) -> Result<(), Refusal>;
}

/// One streaming pin of a looped device.
pub(crate) struct Engine {
    pin: Weak<Pin>,
    services: Services,
    timer: Timer,
    queued: AtomicBool,
    looped: Arc<LoopedPin>,
    format: AudioFormat,
    flow: KsPinDataFlow,
    quirks: Quirks,
    stream: Mutex<Stream>,
    /// Taken out while it is used, under the processing mutex.
    parts: Mutex<Option<Parts>>,
}

/// Where the stream is.
#[derive(Debug)]
struct Stream {
    cursor: Cursor,
    buffer: Option<Arc<CyclicBuffer>>,
    packets: Option<Packets>,
    /// Bytes that were moved since the stream began, and when the last of them was due.
    moved: u64,
    moved_at: Time,
    /// Bytes of the buffer that is played, the client's own if the pin has none.
    cycle_bytes: u64,
    /// The timer is set.
    ticking: bool,
}

/// What moving takes.
struct Parts {
    sound: Box<dyn Sound>,
    scratch: Vec<u8>,
}

/// The procedure of the timer. It runs at DISPATCH level, so it only asks a worker.
struct Tick(Weak<Engine>);

impl Dpc for Tick {
    fn expired(self: Arc<Self>, _now: Time) {
        if let Some(engine) = self.0.upgrade()
            && !engine.queued.swap(true, Ordering::SeqCst)
        {
            engine.services.clone().queue_work(WorkQueue::Delayed, engine);
        }
    }
}

impl Work for Engine {
    fn run(self: Arc<Self>) {
        self.queued.store(false, Ordering::SeqCst);
        let Some(pin) = self.pin.upgrade() else { return };
        let _processing = pin.processing_mutex().hold();
        self.catch_up(&pin);
    }
}

impl Engine {
    pub(crate) fn new(pin: &Arc<Pin>, format: AudioFormat, quirks: Quirks, sound: Box<dyn Sound>) -> Arc<Engine> {
        let services = pin.services().clone();
        let stream = Stream {
            cursor: Cursor::new(format.sample_rate()),
            buffer: None,
            packets: None,
            moved: 0,
            moved_at: services.now(),
            cycle_bytes: 0,
            ticking: false,
        };
        Arc::new_cyclic(|me: &Weak<Engine>| Engine {
            pin: Arc::downgrade(pin),
            timer: services.timer(Arc::new(Tick(me.clone()))),
            services,
            queued: AtomicBool::new(false),
            looped: LoopedPin::new(),
            format,
            flow: pin.data_flow(),
            quirks,
            stream: Mutex::new(stream),
            parts: Mutex::new(Some(Parts { sound, scratch: Vec::new() })),
        })
    }

    /// The half of the class driver.
    pub(crate) fn looped(&self) -> &Arc<LoopedPin> {
        &self.looped
    }

    /// Follows the pin's state. Filter control mutex held, which the processing mutex may follow.
    pub(crate) fn set_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        let _processing = pin.processing_mutex().hold();
        let now = self.services.now();
        match (from, to) {
            (_, KsState::RUN) => {
                self.with_sound(|sound| sound.start())?;
                let mut stream = self.stream.lock();
                stream.cursor.run(now);
                stream.moved_at = now;
                let Stream { moved, packets, .. } = &mut *stream;
                if let Some(packets) = packets.as_mut().filter(|_| *moved == 0) {
                    packets.begin(now);
                }
                drop(stream);
                self.tick_while_needed(now);
            }
            (KsState::RUN, _) => {
                self.catch_up(pin);
                self.stream.lock().cursor.pause(now);
                self.tick_while_needed(now);
            }
            (_, KsState::STOP) => {
                self.complete_request(pin);
                self.rewind(now);
                self.with_sound(|sound| sound.stop())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The pin closes.
    pub(crate) fn close(&self) {
        let _ = self.timer.cancel();
        self.looped.free();
        let buffer = self.stream.lock().buffer.take();
        drop(buffer);
    }

    /// The beat goes while the stream runs, and for a client who reads the clock always. One that goes keeps its phase:
    /// who asks often must not put it off.
    fn tick_while_needed(&self, now: Time) {
        let mut stream = self.stream.lock();
        let needed = stream.cursor.is_running() || self.looped.shows_clock();
        if needed != std::mem::replace(&mut stream.ticking, needed) {
            let _ = if needed { self.timer.set(now + BEAT, Some(BEAT)) } else { self.timer.cancel() };
        }
    }

    fn rewind(&self, now: Time) {
        let mut stream = self.stream.lock();
        stream.cursor.rewind(now);
        (stream.moved, stream.moved_at) = (0, now);
        if let Some(packets) = &mut stream.packets {
            packets.rewind();
            packets.begin(now);
        }
        drop(stream);
        self.looped.show_position(0);
        self.looped.show_packets(0, now);
    }

    fn with_sound(&self, run: impl FnOnce(&mut dyn Sound) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let parts = self.parts.lock().take();
        let Some(mut parts) = parts else { return Ok(()) };
        let outcome = run(&mut *parts.sound);
        *self.parts.lock() = Some(parts);
        outcome
    }

    /// Moves what is due. Processing mutex held.
    fn catch_up(&self, pin: &Arc<Pin>) {
        let parts = self.parts.lock().take();
        let Some(mut parts) = parts else { return };
        let now = self.services.now();
        if let Err(refusal) = self.move_until(pin, now, &mut parts) {
            pin.fail(refusal);
        }
        *self.parts.lock() = Some(parts);
        self.looped.show_clock(now.0.cast_unsigned());
    }

    fn move_until(&self, pin: &Arc<Pin>, now: Time, parts: &mut Parts) -> Result<(), Refusal> {
        let block = self.format.block_bytes() as u64;
        loop {
            let (step, cycle) = {
                let mut stream = self.stream.lock();
                let cycle = match &stream.buffer {
                    Some(buffer) => Cycle::Shared(buffer.clone()),
                    None => Cycle::Requested,
                };
                let due = stream.cursor.blocks(now).saturating_mul(block);
                stream.cycle_bytes = match &cycle {
                    Cycle::Shared(buffer) => buffer.bytes(),
                    Cycle::Requested => requested_bytes(pin, self.flow, block),
                };
                if stream.cycle_bytes == 0 {
                    // Nothing was given to be played: the stream has not begun.
                    stream.cursor.rewind(now);
                    return Ok(());
                }
                (stream.next_step(due, block), cycle)
            };
            let Some(step) = step else { return Ok(()) };
            parts.scratch.resize(step.bytes, 0);
            let samples = &mut parts.scratch[..step.bytes];
            match &cycle {
                Cycle::Shared(buffer) => self.pass(buffer.frame(), &step, samples, &mut *parts.sound)?,
                Cycle::Requested => {
                    let frame = pin.leading_edge();
                    if let Some(buffer) = frame.as_ref().and_then(|frame| frame.buffer()) {
                        self.pass(buffer, &step, samples, &mut *parts.sound)?;
                    }
                }
            }
            self.moved(&step, now);
        }
    }

    /// Moves the samples of one step. While a client borrows the buffer of its own request, there is silence, and what was
    /// captured is lost.
    fn pass(&self, buffer: &Frame, step: &StepOf, samples: &mut [u8], sound: &mut dyn Sound) -> Result<(), Refusal> {
        if self.flow == KsPinDataFlow::IN {
            if !buffer.copy_out(step.offset as usize, samples) {
                samples.fill(0);
            }
            return sound.pass(step.first_block, &mut samples[..step.audible]);
        }
        sound.pass(step.first_block, samples)?;
        let _ = buffer.copy_in(step.offset as usize, samples);
        Ok(())
    }

    /// A step was moved: position, registers and events follow.
    fn moved(&self, step: &StepOf, now: Time) {
        let block = self.format.block_bytes() as u64;
        let mut stream = self.stream.lock();
        stream.moved += step.bytes as u64;
        let moved = stream.moved;
        stream.moved_at = stream.cursor.time_of(moved / block).unwrap_or(now);
        let (offset, time) = (moved % stream.cycle_bytes.max(1), stream.moved_at);
        let completed = match &mut stream.packets {
            Some(packets) if moved.is_multiple_of(packets.bytes()) => {
                packets.complete(time);
                Some(packets.completed())
            }
            _ => None,
        };
        drop(stream);
        self.looped.show_position(offset);
        if let Some(completed) = completed {
            self.looped.show_packets(completed, time);
            self.looped.notify();
        }
    }

    /// The one request of a looped pin without a cyclic buffer ends when the pin stops.
    fn complete_request(&self, pin: &Arc<Pin>) {
        let Some(frame) = pin.leading_edge() else { return };
        if self.flow == KsPinDataFlow::OUT {
            let moved = self.stream.lock().moved;
            frame.set_data_used(moved.min(u64::from(frame.frame_extent())) as u32);
        }
        drop(frame.advance());
    }
}

/// Where the bytes of a cycle are.
enum Cycle {
    /// In the buffer that the device made.
    Shared(Arc<CyclicBuffer>),
    /// In the request at the head of the pin's queue.
    Requested,
}

/// Bytes of the looped request at the head of the queue, in whole blocks; 0 without one.
fn requested_bytes(pin: &Arc<Pin>, flow: KsPinDataFlow, block: u64) -> u64 {
    let Some(frame) = pin.leading_edge() else { return 0 };
    let bytes = u64::from(if flow == KsPinDataFlow::IN { frame.data_used() } else { frame.frame_extent() });
    bytes - bytes % block
}

/// A piece of the buffer that is moved at once: it ends with the buffer, a packet or the stream.
#[derive(Debug)]
struct StepOf {
    offset: u64,
    bytes: usize,
    /// How many of them are before the end of the stream.
    audible: usize,
    first_block: u64,
}

impl Stream {
    fn next_step(&self, due: u64, block: u64) -> Option<StepOf> {
        let left = due.checked_sub(self.moved).filter(|left| *left > 0)?;
        let offset = self.moved % self.cycle_bytes;
        let to_end = self.cycle_bytes - offset;
        let to_packet = self.packets.as_ref().map_or(to_end, |packets| packets.bytes() - self.moved % packets.bytes());
        let most = MOST_MOVED as u64 - MOST_MOVED as u64 % block;
        let bytes = left.min(to_end).min(to_packet).min(most) as usize;
        let end = self.packets.as_ref().and_then(Packets::end).unwrap_or(u64::MAX);
        let audible = (end.saturating_sub(self.moved) as usize).min(bytes);
        Some(StepOf { offset, bytes, audible, first_block: self.moved / block })
    }
}

impl LoopedStream for Engine {
    fn buffer_bytes(&self, wish: BufferWish) -> Result<u32, Refusal> {
        let block = self.format.block_bytes() as u32;
        if wish.notifications.is_some() && !self.quirks.notifications {
            let reason = "the device does not notify; a buffer without notification can be had";
            return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Request, reason));
        }
        let unit = match self.quirks.sizes {
            Sizes::Rounded => block * wish.notifications.unwrap_or(1),
            Sizes::Strict => least_common_multiple(128, block),
        };
        if self.quirks.sizes == Sizes::Strict && !wish.bytes.is_multiple_of(unit) {
            let reason = format!("a buffer of {} bytes; the device takes multiples of {unit}", wish.bytes);
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Request, reason));
        }
        // At most 16 MiB and a block.
        Ok(wish.bytes.next_multiple_of(unit))
    }

    fn buffer_made(&self, buffer: &Arc<CyclicBuffer>) {
        let now = self.services.now();
        let mut stream = self.stream.lock();
        stream.packets = buffer
            .packet_bytes()
            .zip(buffer.notifications())
            .map(|(bytes, count)| Packets::new(bytes, u64::from(count)));
        stream.cycle_bytes = buffer.bytes();
        stream.buffer = Some(buffer.clone());
        drop(stream);
        self.rewind(now);
    }

    fn notifies(&self) -> bool {
        self.quirks.notifications
    }

    fn position(&self) -> KsAudioPosition {
        if self.looped.shows_clock() {
            self.tick_while_needed(self.services.now());
        }
        let stream = self.stream.lock();
        let play_offset = stream.moved.checked_rem(stream.cycle_bytes).unwrap_or(0);
        // What a render stream takes in its next beat is not to be written any more; captured bytes are whole.
        let ahead = match self.flow {
            KsPinDataFlow::IN if stream.cursor.is_running() => self.beat_bytes(),
            _ => 0,
        };
        let write_offset = (play_offset + ahead).checked_rem(stream.cycle_bytes).unwrap_or(0);
        KsAudioPosition { play_offset, write_offset }
    }

    fn latency(&self) -> KsRtAudioHwLatency {
        KsRtAudioHwLatency { fifo_size: self.beat_bytes() as u32, chipset_delay: 0, codec_delay: 0 }
    }

    fn position_register(&self) -> Option<u32> {
        self.quirks.registers.then(|| self.beat_bytes() as u32)
    }

    fn clock_register(&self) -> Option<ClockRegister> {
        self.quirks.registers.then_some(ClockRegister {
            numerator: Ticks::SECOND.0.unsigned_abs(),
            denominator: 1,
            accuracy: BEAT.0 as u32,
        })
    }

    fn packet_count(&self) -> Result<u32, NtStatus> {
        let stream = self.stream.lock();
        // It wraps, as a ULONG does.
        stream.packets.map(|packets| packets.completed() as u32).ok_or(STATUS_NOT_SUPPORTED)
    }

    fn presentation_position(&self) -> Result<KsAudioPresentationPosition, NtStatus> {
        let stream = self.stream.lock();
        Ok(KsAudioPresentationPosition {
            position_in_blocks: stream.moved / self.format.block_bytes() as u64,
            qpc_position: stream.moved_at.0.cast_unsigned(),
        })
    }

    fn write_packet(&self, packet: &KsRtAudioSetWritePacketInfo) -> NtStatus {
        let mut stream = self.stream.lock();
        let begun = stream.moved > 0 || stream.cursor.is_running();
        let block = self.format.block_bytes() as u64;
        stream.packets.as_mut().map_or(STATUS_NOT_SUPPORTED, |packets| packets.write(packet, begun, block))
    }

    fn read_packet(&self) -> Result<KsRtAudioGetReadPacketInfo, NtStatus> {
        self.stream.lock().packets.as_mut().ok_or(STATUS_NOT_SUPPORTED)?.read()
    }
}

impl Engine {
    /// Bytes of one beat.
    fn beat_bytes(&self) -> u64 {
        let blocks = u64::from(self.format.sample_rate()).div_ceil(1000);
        blocks * self.format.block_bytes() as u64
    }
}

fn least_common_multiple(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("format", &self.format).finish_non_exhaustive()
    }
}
