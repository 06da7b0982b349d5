//! Reads and writes by a client.

use crate::rig::{DOWN, FRAME_BYTES, Rig, SEEDS, UP, bring, fill, filled, frames, numbers, put, take_one, wait};
use ks_abi::{
    IoControlCode, KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_TIMEDISCONTINUITY, KSEVENTSETID_Connection,
    KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT, KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY, KsState, STATUS_CANCELLED,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_STATE, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::{Pin, StreamFrame};
use ks_io::sync::{Arc, Mutex};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use zerocopy::IntoBytes;

/// A header list as it goes over the wire.
fn header_list(frames: &[StreamFrame], stride: usize) -> Vec<u8> {
    let mut list = Vec::new();
    for frame in frames {
        let mut header = frame.header;
        header.size = stride as u32;
        let start = list.len();
        list.extend_from_slice(header.as_bytes());
        list.resize(start + stride, 0);
    }
    list
}

fn raw(pin: &Pin, code: IoControlCode, list: Vec<u8>) -> ks_io::Finished {
    pin.object().transport().submit(pin.object().handle(), code, &[], list).wait()
}

#[test]
fn reads_in_flight_come_back_in_order_and_filled() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let requests: Vec<_> = (0..5).map(|_| pin.read_stream(frames(&pin, 1)).unwrap()).collect();
        for (wanted, request) in requests.into_iter().enumerate() {
            let read = request.wait().unwrap();
            assert_eq!(numbers(&read), [wanted as u32]);
            assert_eq!(read[0].header.data_used, FRAME_BYTES);
        }
        bring(&pin, &DOWN);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_request_has_one_to_six_headers_with_or_without_extension() {
    for header_bytes in [0u32, 56, 64, 120] {
        for count in 1..=6 {
            let rig = Rig::new(u64::from(header_bytes) + count as u64);
            rig.source.header_bytes.store(header_bytes, SeqCst);
            rig.source.script(|probe, pin| {
                let mut edge = pin.leading_edge();
                while let Some(frame) = edge {
                    let number = probe.next.fetch_add(1, SeqCst);
                    put(&frame, number, false);
                    frame.write_extension(&[number as u8 + 1; 8]);
                    edge = frame.advance();
                }
                STATUS_PENDING
            });
            let (_filter, pin) = rig.alone("source");
            bring(&pin, &UP);
            let stride = header_bytes.max(56);
            assert_eq!(pin.header_bytes().unwrap(), stride);
            let read = pin.read_stream(frames(&pin, count)).unwrap().wait().unwrap();
            assert_eq!(numbers(&read), (0..count as u32).collect::<Vec<_>>());
            for (index, frame) in read.iter().enumerate() {
                let extension = (stride as usize - 56).min(8);
                assert_eq!(frame.extension[..extension], vec![index as u8 + 1; extension]);
                assert!(frame.extension[extension..].iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn information_is_the_headers_of_a_read_and_the_data_of_a_write() {
    let rig = Rig::new(1);
    let (_source_filter, source) = rig.alone("source");
    bring(&source, &UP);
    let empty = frames(&source, 3);
    let finished = raw(&source, IoControlCode::KS_READ_STREAM, header_list(&empty, 56));
    assert_eq!((finished.outcome.status, finished.outcome.information), (STATUS_SUCCESS, 3 * 56));

    let (_sink_filter, sink) = rig.alone("sink");
    bring(&sink, &UP);
    let mut full: Vec<_> = (0..3).map(|number| filled(&sink, number)).collect();
    full[1].header.data_used = 8;
    full[2].header.data_used = 0;
    let sent = header_list(&full, 56);
    let finished = raw(&sink, IoControlCode::KS_WRITE_STREAM, sent.clone());
    assert_eq!((finished.outcome.status, finished.outcome.information), (STATUS_SUCCESS, 64 + 8));
    assert_eq!(finished.output, sent, "the headers of a write come back as they were");
    assert_eq!(rig.sink.seen_now(), [0, 1]);
}

#[test]
fn reads_wait_from_acquire_on_and_are_filled_when_processing_may_begin() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (_filter, pin) = rig.alone("source");
        let refused = pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap_err();
        assert_eq!(refused.status, STATUS_INVALID_DEVICE_STATE, "a stopped pin takes no request");
        pin.set_state(KsState::ACQUIRE).unwrap();
        let early = pin.read_stream(frames(&pin, 2)).unwrap();
        rig.settle();
        assert!(!early.is_done());
        assert_eq!(rig.source.calls(), 0);
        pin.set_state(KsState::PAUSE).unwrap();
        assert_eq!(numbers(&early.wait().unwrap()), [0, 1]);
        pin.set_state(KsState::RUN).unwrap();
        assert_eq!(numbers(&pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap()), [2]);
    }
}

#[test]
fn a_request_against_the_data_or_with_wrong_sizes_is_refused_and_nothing_runs() {
    let rig = Rig::new(1);
    let (_source_filter, source) = rig.alone("source");
    let (_sink_filter, sink) = rig.alone("sink");
    bring(&source, &UP);
    bring(&sink, &UP);
    // A client's handle has the right that the direction needs and no other.
    for (pin, code) in [(&source, IoControlCode::KS_WRITE_STREAM), (&sink, IoControlCode::KS_READ_STREAM)] {
        let finished = raw(pin, code, header_list(&frames(pin, 1), 56));
        assert!(finished.outcome.status.is_error(), "{}", finished.outcome.status);
    }
    let two = frames(&source, 2);
    let list = header_list(&two, 56);
    for length in [0, 1, 55, 57, 111, 113] {
        let mut cut = list.clone();
        cut.resize(length, 0);
        let finished = raw(&source, IoControlCode::KS_READ_STREAM, cut);
        assert_eq!(finished.outcome.status, STATUS_INVALID_BUFFER_SIZE, "{length} bytes");
    }
    for size in [0u32, 48, 55, 57, 64, u32::MAX] {
        let mut wrong = list.clone();
        wrong[56..60].copy_from_slice(&size.to_le_bytes());
        let finished = raw(&source, IoControlCode::KS_READ_STREAM, wrong);
        assert_eq!(finished.outcome.status, STATUS_INVALID_BUFFER_SIZE, "Size {size}");
    }
    assert_eq!((rig.source.calls(), rig.sink.calls()), (0, 0));
}

#[test]
fn stopping_completes_what_is_queued_as_cancelled() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let requests: Vec<_> = (1..4).map(|count| pin.read_stream(frames(&pin, count)).unwrap()).collect();
        bring(&pin, &DOWN);
        for request in requests {
            assert!(request.is_done());
            assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        }
        rig.source.script(fill);
        bring(&pin, &UP);
        assert_eq!(numbers(&pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap()), [0]);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Polls only after a wake-up, letting virtual time go on between.
fn block_on<F: Future>(rig: &Rig, future: F) -> F::Output {
    let flag = std::sync::Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let mut future = std::pin::pin!(future);
    loop {
        assert!(flag.0.swap(false, SeqCst), "the future was not woken");
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        for _ in 0..10_000 {
            if flag.0.load(SeqCst) {
                break;
            }
            rig.settle();
        }
    }
}

#[test]
fn a_request_is_a_future() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (_filter, pin) = rig.alone("source");
        pin.set_state(KsState::ACQUIRE).unwrap();
        let request = pin.read_stream(frames(&pin, 2)).unwrap();
        let services = rig.services().clone();
        let pin = Arc::new(pin);
        let runs = pin.clone();
        let later = services
            .spawn("later", move || {
                let services = runs.object().transport().services().clone();
                let _ = services.delay_until(services.now() + ks_io::Ticks::from_secs(1));
                bring(&runs, &UP[1..]);
            })
            .unwrap();
        assert_eq!(numbers(&block_on(&rig, request).unwrap()), [0, 1]);
        later.join();
        let cancelled = {
            rig.source.script(wait);
            pin.read_stream(frames(&pin, 1)).unwrap()
        };
        cancelled.cancel();
        assert_eq!(block_on(&rig, cancelled).unwrap_err().status, STATUS_CANCELLED);
    }
}

#[test]
fn an_overlapped_request_is_waited_for_on_another_thread() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (_filter, pin) = rig.alone("source");
        pin.set_state(KsState::ACQUIRE).unwrap();
        let request = pin.read_stream(frames(&pin, 1)).unwrap();
        let waits = rig.services().spawn("waits", move || numbers(&request.wait().unwrap())).unwrap();
        rig.settle();
        assert!(!waits.is_ended());
        bring(&pin, &UP[1..]);
        assert_eq!(waits.join(), [0]);
    }
}

#[test]
fn a_waiting_request_is_cancelled_at_once_and_its_neighbours_are_not() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (filter, pin) = rig.alone("source");
        pin.set_state(KsState::ACQUIRE).unwrap();
        let requests: Vec<_> = (0..3).map(|_| pin.read_stream(frames(&pin, 2)).unwrap()).collect();
        requests[1].cancel();
        assert!(requests[1].is_done() && !requests[0].is_done() && !requests[2].is_done());
        bring(&pin, &UP[1..]);
        let mut outcomes = requests.into_iter().map(|request| request.wait().map(|read| numbers(&read)));
        assert_eq!(outcomes.next().unwrap().unwrap(), [0, 1]);
        assert_eq!(outcomes.next().unwrap().unwrap_err().status, STATUS_CANCELLED);
        assert_eq!(outcomes.next().unwrap().unwrap(), [2, 3]);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_request_whose_frame_is_locked_is_cancelled_when_the_lock_goes() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (filter, pin) = rig.alone("source");
        // The client's request is cancelled while the driver has its frame.
        let asked: Arc<Mutex<Option<ks_client::StreamRequest>>> = Arc::default();
        let during = asked.clone();
        rig.source.script(move |_, pin| {
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            if let Some(request) = &*during.lock() {
                request.cancel();
                assert!(!request.is_done(), "a locked frame cannot be cancelled");
                put(&frame, 7, false);
                frame.advance();
            }
            STATUS_PENDING
        });
        bring(&pin, &UP);
        *asked.lock() = Some(pin.read_stream(frames(&pin, 1)).unwrap());
        // The arrival found no request to cancel yet: this is the attempt that does.
        rig.source.pin().attempt_processing();
        rig.settle();
        let request = asked.lock().take().unwrap();
        assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        assert_eq!(rig.source.pin().queued_requests(), 0);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_request_cancelled_half_consumed_completes_once_as_cancelled() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(|probe, pin| {
            // Three of five frames, then the driver waits.
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                let number = probe.next.fetch_add(1, SeqCst);
                if number >= 3 {
                    return STATUS_PENDING;
                }
                put(&frame, number, false);
                edge = frame.advance();
            }
            STATUS_PENDING
        });
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let half = pin.read_stream(frames(&pin, 5)).unwrap();
        let next = pin.read_stream(frames(&pin, 1)).unwrap();
        rig.settle();
        assert!(!half.is_done());
        half.cancel();
        assert!(half.is_done());
        assert_eq!(half.wait().unwrap_err().status, STATUS_CANCELLED);
        rig.source.script(fill);
        rig.source.pin().attempt_processing();
        assert_eq!(numbers(&next.wait().unwrap()).len(), 1, "the edge has moved to the next request");
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn cancel_io_ends_every_request_of_the_handle_also_one_whose_answer_nobody_wants() {
    let rig = Rig::new(3);
    rig.source.script(wait);
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let kept: Vec<_> = (0..3).map(|_| pin.read_stream(frames(&pin, 1)).unwrap()).collect();
    for _ in 0..20 {
        drop(pin.read_stream(frames(&pin, 1)).unwrap());
    }
    assert_eq!(rig.source.pin().queued_requests(), 23);
    pin.object().transport().cancel_all(pin.object().handle());
    assert_eq!(rig.source.pin().queued_requests(), 0);
    for request in kept {
        assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
    }
}

#[test]
fn writes_arrive_in_order_whatever_their_number_of_headers() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.sink.script(take_one);
        let (filter, pin) = rig.alone("sink");
        bring(&pin, &UP);
        let mut next = 0;
        let mut requests = Vec::new();
        for count in [1, 3, 6, 2] {
            let full = (next..next + count).map(|number| filled(&pin, number)).collect();
            next += count;
            requests.push(pin.write_stream(full).unwrap());
        }
        for request in requests {
            request.wait().unwrap();
        }
        assert_eq!(rig.sink.seen_now(), (0..12).collect::<Vec<_>>());
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_client_writes_on_after_the_end_of_a_stream() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (_filter, pin) = rig.alone("sink");
        bring(&pin, &UP);
        let mut last = filled(&pin, 0);
        last.header.options_flags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        pin.write_stream(vec![last]).unwrap().wait().unwrap();
        pin.write_stream(vec![filled(&pin, 1)]).unwrap().wait().unwrap();
        assert_eq!(rig.sink.seen_now(), [0, 1]);
    }
}

/// The buffer of each header gets its own bytes and no other's, whatever sizes and flags stand side by side.
#[test]
fn bytes_land_only_in_the_buffer_of_their_own_header() {
    const SIZES: [usize; 5] = [1, 0xFFF, 0x1000, 0x1001, 0x20000];
    const PERSIST_SAMPLE: u32 = 0x8000;
    let rig = Rig::new(1);
    rig.source.script(|probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            let number = probe.next.fetch_add(1, SeqCst);
            let mut bytes = frame.buffer().unwrap().write().unwrap();
            assert_eq!(bytes.len(), frame.frame_extent() as usize);
            bytes.fill(number as u8 + 1);
            drop(bytes);
            frame.set_data_used(u32::MAX);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let (_filter, pin) = rig.alone("source");
    bring(&pin, &UP);
    let transport = pin.object().transport();
    for shift in 0..SIZES.len() {
        for count in 1..=6 {
            for flags in 0..1u32 << count {
                // Each buffer lies in the middle of a bigger one, whose rest must not change.
                let outer: Vec<_> = (0..count)
                    .map(|index| transport.allocate(SIZES[(index + shift) % SIZES.len()] + 8192, 4096).unwrap())
                    .collect();
                for frame in &outer {
                    frame.write().unwrap().fill(0xA5);
                }
                let list: Vec<StreamFrame> = outer
                    .iter()
                    .enumerate()
                    .map(|(index, buffer)| {
                        let mut frame = StreamFrame::new(buffer.clone());
                        frame.header.data.0 += 4096;
                        frame.header.frame_extent -= 8192;
                        frame.header.options_flags = if flags >> index & 1 != 0 { PERSIST_SAMPLE } else { 0 };
                        frame
                    })
                    .collect();
                rig.source.next.store(0, SeqCst);
                let finished = raw(&pin, IoControlCode::KS_READ_STREAM, header_list(&list, 56));
                assert_eq!(finished.outcome.status, STATUS_SUCCESS);
                for (index, buffer) in outer.iter().enumerate() {
                    let bytes = buffer.read().unwrap();
                    let end = bytes.len() - 4096;
                    assert!(bytes[..4096].iter().chain(&bytes[end..]).all(|byte| *byte == 0xA5));
                    assert!(bytes[4096..end].iter().all(|byte| *byte == index as u8 + 1));
                    let used = &finished.output[index * 56 + 36..index * 56 + 40];
                    assert_eq!(used, (end as u32 - 4096).to_le_bytes());
                }
            }
        }
    }
}

#[test]
fn a_discontinuity_in_the_stream_raises_its_event() {
    let rig = Rig::new(1);
    let (_sink_filter, sink) = rig.alone("sink");
    let (_source_filter, source) = rig.alone("source");
    let gaps = |pin: &Pin| {
        let events = [KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_TIMEDISCONTINUITY];
        events.map(|id| pin.enable_event(KSEVENTSETID_Connection, id).unwrap())
    };
    let raised = |events: &[ks_client::PinEvent; 2]| {
        events.each_ref().map(|event| {
            let raised = event.event().is_set();
            event.event().clear();
            raised
        })
    };
    let (at_sink, at_source) = (gaps(&sink), gaps(&source));
    let (data, time) = (KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY);
    let next = Arc::new(AtomicU32::new(0));
    let flags = next.clone();
    rig.source.script(move |_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            put(&frame, 0, false);
            frame.set_options_flags(flags.load(SeqCst));
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    bring(&sink, &UP);
    bring(&source, &UP);
    for (flags, expected) in [
        (0, [false, false]),
        (data, [true, false]),
        (time, [false, true]),
        (data | time, [true, true]),
        (KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT, [false, false]),
    ] {
        let mut frame = filled(&sink, 1);
        frame.header.options_flags = flags;
        sink.write_stream(vec![frame]).unwrap().wait().unwrap();
        assert_eq!(raised(&at_sink), expected, "written with {flags:#x}");
        next.store(flags, SeqCst);
        source.read_stream(frames(&source, 1)).unwrap().wait().unwrap();
        assert_eq!(raised(&at_source), expected, "read with {flags:#x}");
    }
}
