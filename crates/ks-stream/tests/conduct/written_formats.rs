//! A client that is one end of the stream: it writes a change of format, and reads one.

use crate::kit::*;
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsPinDataFlow, KsReset, KsState, STATUS_DEVICE_BUSY,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_PENDING,
};
use ks_client::StreamFrame;
use ks_io::sync::{Arc, Mutex};
use std::sync::atomic::Ordering::SeqCst;

/// A frame of these bytes.
fn frame(pin: &ks_client::Pin, bytes: &[u8], flags: u32) -> StreamFrame {
    let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
    assert!(frame.fill(bytes));
    frame.header.options_flags = flags;
    frame
}

fn sample(pin: &ks_client::Pin, number: u32, format: u32) -> StreamFrame {
    frame(pin, &[number.to_le_bytes(), format.to_le_bytes()].concat(), 0)
}

fn change(pin: &ks_client::Pin, index: u32) -> StreamFrame {
    frame(pin, format(index).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED)
}

#[test]
fn a_written_format_takes_its_turn_among_the_samples() {
    for seed in 1..6 {
        let row = Row::plain(seed, 0);
        let filter = row.open("sink");
        let pin = create(&filter, 0, KsPinDataFlow::IN, None).unwrap();
        pin.set_state(KsState::ACQUIRE).unwrap();
        // All of it waits before the pin may process.
        let requests = [
            vec![sample(&pin, 0, 0), sample(&pin, 1, 0)],
            vec![change(&pin, 3)],
            vec![sample(&pin, 2, 3)],
            vec![change(&pin, 1)],
            vec![change(&pin, 4)],
            vec![sample(&pin, 3, 4)],
        ];
        let sent: Vec<_> = requests.into_iter().map(|frames| pin.write_stream(frames).unwrap()).collect();
        row.settle();
        assert!(sent.iter().all(|request| !request.is_done()));
        let busy = pin.set_format(&client_format(2)).unwrap_err();
        assert_eq!(busy.status, STATUS_DEVICE_BUSY, "those that wait are of the old format");
        pin.set_state(KsState::RUN).unwrap();
        sent.into_iter().for_each(|request| drop(request.wait().unwrap()));
        assert_eq!(*row.sink().seen.lock(), [0, 1, 2, 3]);
        assert_eq!((row.mismatches(), index_at(&pin)), (0, 4));
        pin.set_format(&client_format(2)).unwrap();
        pin.write_stream(vec![sample(&pin, 4, 2)]).unwrap().wait().unwrap();
        assert_eq!(row.mismatches(), 0);
    }
}

#[test]
fn a_written_format_that_is_refused_ends_what_is_behind_it() {
    for seed in 1..6 {
        let row = Row::plain(seed, 0);
        *row.sink().refuses.lock() = vec![3];
        let filter = row.open("sink");
        let pin = create(&filter, 0, KsPinDataFlow::IN, None).unwrap();
        pin.set_state(KsState::ACQUIRE).unwrap();
        let requests = [vec![sample(&pin, 0, 0)], vec![change(&pin, 3)], vec![sample(&pin, 1, 3)]];
        let sent: Vec<_> = requests.into_iter().map(|frames| pin.write_stream(frames).unwrap()).collect();
        pin.set_state(KsState::RUN).unwrap();
        let ends: Vec<_> = sent.into_iter().map(|request| request.wait().map(drop).map_err(|e| e.status)).collect();
        assert_eq!(ends, [Ok(()), Err(STATUS_NO_MATCH), Err(STATUS_NO_MATCH)]);
        assert_eq!((row.sink().seen.lock().clone(), row.mismatches()), (vec![0], 0));
        assert!(pin.failure().unwrap().1.contains("format 3"));
        // Stopped and started it is as before.
        pin.set_state(KsState::STOP).unwrap();
        pin.set_state(KsState::RUN).unwrap();
        pin.write_stream(vec![sample(&pin, 2, 0)]).unwrap().wait().unwrap();
        assert_eq!((row.sink().seen.lock().clone(), row.mismatches()), (vec![0, 2], 0));
    }
}

#[test]
fn what_says_that_it_is_a_format_and_is_none_is_refused() {
    let row = Row::plain(1, 0);
    let filter = row.open("sink");
    let pin = create(&filter, 0, KsPinDataFlow::IN, None).unwrap();
    pin.set_state(KsState::RUN).unwrap();
    let send = |frames| pin.write_stream(frames).unwrap().wait().map(drop).map_err(|error| error.status);
    assert_eq!(send(vec![change(&pin, 1), sample(&pin, 0, 1)]), Err(STATUS_INVALID_PARAMETER), "it comes alone");
    let short = frame(&pin, &format(1).bytes()[..63], KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
    assert_eq!(send(vec![short]), Err(STATUS_INVALID_BUFFER_SIZE));
    assert!(pin.failure().is_none(), "these never came to the pin");
    let mut bytes = format(1).bytes().to_vec();
    bytes[..4].copy_from_slice(&200u32.to_le_bytes());
    assert_eq!(send(vec![frame(&pin, &bytes, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED)]), Err(STATUS_INVALID_PARAMETER));
    assert_eq!(index_at(&pin), 0);
    let filter = row.open("source");
    let pin = create(&filter, 0, KsPinDataFlow::OUT, None).unwrap();
    pin.set_state(KsState::RUN).unwrap();
    let mut empty = pin.allocate(FRAME_BYTES as usize).unwrap();
    empty.header.options_flags = KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
    let refused = pin.read_stream(vec![empty]).unwrap().wait().unwrap_err();
    assert_eq!(refused.status, STATUS_INVALID_PARAMETER, "of a read the driver says so");
}

#[test]
fn a_reader_is_told_of_a_change_and_fetches_the_format_before_the_stream_goes_on() {
    for seed in 1..6 {
        let row = Row::plain(seed, 0);
        let next = Arc::new(Mutex::new(None));
        let plan = next.clone();
        row.source().script(move |probe, pin| {
            let index = plan.lock().take();
            if let Some(index) = index {
                pin.change_stream_format(format(index)).unwrap();
            }
            if probe.next.load(SeqCst) < 3 { fill(probe, pin) } else { STATUS_PENDING }
        });
        let filter = row.open("source");
        let pin = create(&filter, 0, KsPinDataFlow::OUT, None).unwrap();
        pin.set_state(KsState::RUN).unwrap();
        let read = || pin.read_stream(vec![pin.allocate(FRAME_BYTES as usize).unwrap()]).unwrap();
        row.source().allow(1);
        let first = read().wait().unwrap();
        assert_eq!(first[0].header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, 0);
        *next.lock() = Some(2);
        row.source().allow(2);
        let told = read().wait().unwrap();
        assert_ne!(told[0].header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, 0);
        assert_eq!(told[0].data(), format(2).bytes());
        let waits = read();
        row.settle();
        assert!(!waits.is_done(), "seed {seed}: the format has not been fetched");
        assert_eq!(index_at(&pin), 2);
        let data = waits.wait().unwrap()[0].data();
        assert_eq!(data[4..8], 2u32.to_le_bytes(), "of the new format");
        assert_eq!(read().wait().unwrap()[0].data()[..4], 2u32.to_le_bytes());
    }
}

/// A change that is written into a filter which works in place, while a pin behind it stands or is being flushed: nobody
/// waits for that pin, and nothing of the new format comes to it before it has agreed.
#[test]
fn a_pin_behind_an_entry_that_missed_a_written_format_follows_before_it_goes_on() {
    for (seed, flushed) in [(1, false), (2, true), (3, false), (4, true)] {
        let row = Row::plain(seed, 2);
        let filters = ["middle", "second", "sink"].map(|name| row.open(name));
        let sink = create(&filters[2], 0, KsPinDataFlow::IN, None).unwrap();
        let second_out = create(&filters[1], 1, KsPinDataFlow::OUT, Some(&sink)).unwrap();
        let second = create(&filters[1], 0, KsPinDataFlow::IN, None).unwrap();
        let out = create(&filters[0], 1, KsPinDataFlow::OUT, Some(&second)).unwrap();
        let entry = create(&filters[0], 0, KsPinDataFlow::IN, None).unwrap();
        let pins = [&sink, &second_out, &second, &out, &entry];
        pins.iter().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        let send = |frame| entry.write_stream(vec![frame]).unwrap().wait().map(drop).map_err(|error| error.status);
        let stand = |pin: &ks_client::Pin| match flushed {
            true => pin.reset(KsReset::BEGIN),
            false => pin.set_state(KsState::STOP),
        };
        let go_on = |pin: &ks_client::Pin| match flushed {
            true => pin.reset(KsReset::END),
            false => pin.set_state(KsState::RUN),
        };
        send(sample(&entry, 0, 0)).unwrap();
        // The one in the middle stands: neither it nor the sink behind it hears of the change.
        stand(&second).unwrap();
        assert!(send(change(&entry, 3)).is_err());
        assert_eq!((index_at(&entry), index_at(&out), index_at(&second), index_at(&sink)), (3, 3, 0, 0));
        assert!(send(sample(&entry, 1, 3)).is_err());
        go_on(&second).unwrap();
        assert!(pins.iter().all(|pin| index_at(pin) == 3), "all have agreed, outputs too");
        send(sample(&entry, 2, 3)).unwrap();
        assert_eq!((row.sink().seen.lock().clone(), row.mismatches()), (vec![0, 2], 0), "seed {seed}");
        // The last one stands, and refuses what it comes back to.
        *row.sink().refuses.lock() = vec![1];
        stand(&sink).unwrap();
        assert!(send(change(&entry, 1)).is_err());
        if flushed {
            go_on(&sink).unwrap();
            assert!(sink.failure().unwrap().1.contains("format 1"));
        } else {
            assert_eq!(go_on(&sink).unwrap_err().status, STATUS_NO_MATCH);
        }
        let _ = send(sample(&entry, 3, 1));
        row.settle();
        assert_eq!((row.sink().seen.lock().clone(), row.mismatches()), (vec![0, 2], 0), "nothing of that format");
    }
}
