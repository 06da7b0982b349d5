//! Several threads of one client on the same objects, in real time: requests, closes and a removal meet in any order.

use crate::bytes_of;
use crate::streams::header_list;
use crate::support::specimen::*;
use ks_abi::*;
use ks_io::{Handle, Services, Transport};
use ks_mem::Frame;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A hang fails the test instead of stopping it for ever.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Pseudo-random numbers (xorshift), so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

struct Crowd {
    bench: Bench,
    handles: Mutex<Vec<Handle>>,
    buffers: Vec<Frame>,
}

impl Crowd {
    /// One of the newest handles; it may be closed by the time it is used.
    fn any(&self, dice: &mut Dice) -> Handle {
        let handles = self.handles.lock().expect("no thread panicked");
        let newest = handles.len().min(12);
        handles[handles.len() - 1 - dice.below(newest)]
    }

    fn keep(&self, handle: Result<Handle, ks_io::Outcome>) -> Option<Handle> {
        let handle = handle.ok()?;
        self.handles.lock().expect("no thread panicked").push(handle);
        Some(handle)
    }

    fn step(&self, dice: &mut Dice, remove: usize) {
        let bench = &self.bench;
        let on = self.any(dice);
        match dice.below(17) {
            0 => {
                self.keep(bench.session.open(&bench.link, both_accesses()));
            }
            1 | 2 => {
                let sink = [IN, WILD][dice.below(2)];
                if let Some(sink) = self.keep(bench.create(&pin_create(sink))) {
                    self.keep(bench.create(&pin_create([OUT, FIXED][dice.below(2)]).to(sink)));
                }
            }
            3 => {
                self.keep(bench.create(&pin_create(OUT)));
            }
            4 => {
                self.keep(bench.create(&pin_create(FIXED).to(on)));
            }
            5 => {
                self.keep(bench.session.create(on, KSSTRING_CLOCK, &[0; 4], both_accesses()));
            }
            6..=8 => {
                let _ = bench.set_state(on, KsState(dice.below(4) as u32));
            }
            9 => {
                let reset = (dice.below(2) as u32).to_le_bytes();
                let _ = bench.control(on, IoControlCode::KS_RESET_STATE, &reset, &mut []);
            }
            10 => {
                let write = dice.below(2) == 0;
                let code = if write { IoControlCode::KS_WRITE_STREAM } else { IoControlCode::KS_READ_STREAM };
                let request =
                    bench.session.submit(on, code, &[], header_list(&self.buffers, if write { 8 } else { 0 }));
                if dice.below(2) == 0 {
                    request.cancel();
                }
            }
            11 => {
                let master = self.any(dice).0.to_le_bytes();
                let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET);
                let _ = bench.property(on, &bytes_of(&request), &mut master.to_vec());
            }
            12 => {
                let framing = KsAllocatorFraming {
                    flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
                    frames: 2,
                    frame_size: 64,
                    ..Default::default()
                };
                self.keep(bench.session.create(on, KSSTRING_ALLOCATOR, &bytes_of(&framing), both_accesses()));
            }
            13 => {
                let alloc = KsMethod::new(KSMETHODSETID_StreamAllocator, 0, KSMETHOD_TYPE_SEND);
                let request = bench.session.submit(on, IoControlCode::KS_METHOD, &bytes_of(&alloc), vec![0; 8]);
                if dice.below(3) == 0 {
                    request.cancel();
                }
            }
            14 => {
                let file = bench.session.file_object(on);
                if let Some(allocator) = file.and_then(|file| file.object_as::<ks_stream::AllocatorObject>())
                    && let Some(frame) = allocator.allocate()
                {
                    assert_eq!(allocator.free(frame), STATUS_SUCCESS);
                }
            }
            _ => {
                let _ = bench.session.close(on);
            }
        }
        if remove > 0 && dice.below(remove) == 0 {
            bench.device.surprise_remove();
        }
    }
}

fn run(seed: u64, remove: usize) {
    let bench = bench_on(Services::real(), |_| (), None, None);
    let buffers = (0..2).map(|_| bench.session.allocate(64, 64).expect("memory")).collect();
    let handles = Mutex::new(vec![bench.filter]);
    let crowd = Arc::new(Crowd { bench, handles, buffers });
    let (done, finished) = mpsc::channel();
    for thread in 0..3 {
        let (crowd, done) = (crowd.clone(), done.clone());
        std::thread::spawn(move || {
            let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + thread + 1);
            (0..300).for_each(|_| crowd.step(&mut dice, remove));
            // What holds the engine is let go before the thread says that it is done.
            drop(crowd);
            let _ = done.send(());
        });
    }
    drop(done);
    for _ in 0..3 {
        finished.recv_timeout(WATCHDOG).unwrap_or_else(|_| panic!("seed {seed}: a thread hangs or panicked"));
    }
    let Some(Crowd { bench, handles, .. }) = Arc::into_inner(crowd) else { panic!("every thread has let go") };
    for handle in handles.into_inner().expect("no thread panicked") {
        let _ = bench.session.close(handle);
    }
    assert_eq!(bench.session.open_handles(), 0);
    // Workers may still be letting go.
    let since = std::time::Instant::now();
    while bench.device.open_filters() > 0 {
        assert!(since.elapsed() < WATCHDOG, "seed {seed}: a filter stays open");
        std::thread::yield_now();
    }
    let calls = bench.script.taken();
    let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    assert_eq!(count("create "), count("close "), "seed {seed}: every pin that was made is closed");
    assert_eq!(count("connect "), count("disconnect "), "seed {seed}: every connection is undone");
}

#[test]
fn threads_of_a_client_meet_on_the_same_objects() {
    (0..60).for_each(|seed| run(seed, 0));
}

#[test]
fn a_removal_meets_requests_and_closes() {
    (100..160).for_each(|seed| run(seed, 200));
}
