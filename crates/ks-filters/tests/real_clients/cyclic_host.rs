//! The audio host's cyclic path: stream requests that it sends again as they come back.

use crate::audio_host::{AudioPin, Path};
use crate::client::*;
use ks_abi::*;
use ks_io::{InterfaceInfo, Transport};
use ks_mem::Frame;
use zerocopy::IntoBytes;

impl Client {
    /// Opens, streams so many packets by the cyclic path, and closes. Gives the bytes that went each way.
    fn audio_stream(&self, interface: &InterfaceInfo, pin: &AudioPin, packets: usize) -> u64 {
        let filter = self.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        let format = pin.format();
        let stream = self.create_pin(filter, (pin.id, KSINTERFACE_STANDARD_STREAMING), &format, READ_WRITE).unwrap();
        // 24 bytes, and where there are none the 112 of the extended form.
        let framing = self.fixed::<KsAllocatorFraming>(stream, &property(KSPROPSETID_Connection, 3)).unwrap();
        assert!(framing.frame_size > 0);
        let extended: KsAllocatorFramingEx = self.fixed(stream, &property(KSPROPSETID_Connection, 6)).unwrap();
        assert_eq!((extended.as_bytes().len(), extended.count_items), (112, 1));
        let bytes = framing.frame_size as usize;
        let code = if pin.flow == KsPinDataFlow::OUT { READ_STREAM } else { WRITE_STREAM };
        let frames: Vec<Frame> = (0..2).map(|_| self.session.allocate(bytes, 64).unwrap()).collect();
        for state in [KsState::ACQUIRE, KsState::PAUSE] {
            self.set_state(stream, state);
        }
        // Two packets wait before RUN.
        let mut waiting: std::collections::VecDeque<_> =
            frames.iter().map(|frame| (frame, self.submit(stream, code, frame, bytes, 56, 0))).collect();
        self.set_state(stream, KsState::RUN);
        let mut passed = 0;
        for _ in 0..packets {
            let (frame, request) = waiting.pop_front().unwrap();
            let used = used(&request.wait());
            assert!(used > 0, "no data counts as an error");
            passed += u64::from(used);
            waiting.push_back((frame, self.submit(stream, code, frame, bytes, 56, 0)));
        }
        self.set_state(stream, KsState::PAUSE);
        self.set_state(stream, KsState::STOP);
        for (_, request) in waiting {
            // What was under way ends; how is no matter to the host.
            let _ = request.wait();
        }
        // And again, on a pin that is stopped.
        self.set_state(stream, KsState::PAUSE);
        self.set_state(stream, KsState::STOP);
        assert!(self.session.close(stream).status.is_success());
        assert!(self.session.close(filter).status.is_success());
        passed
    }
}

#[test]
fn an_audio_host_finds_opens_and_streams_a_microphone_and_a_speaker() {
    let client = client();
    let devices = client.audio_devices(Path::Cyclic);
    let found: Vec<_> = devices.iter().map(|(interface, pin)| (interface.reference.as_str(), pin.flow)).collect();
    assert_eq!(found, [("test-microphone", KsPinDataFlow::OUT), ("test-speaker", KsPinDataFlow::IN)]);
    for (interface, pin) in &devices {
        assert_eq!(pin.endpoint, interface.friendly_name);
        assert_eq!((pin.channels, pin.bits), (2, 16));
        let begun = client.session.services().now();
        let bytes = client.audio_stream(interface, pin, 100);
        let elapsed = client.session.services().now().since(begun);
        // A hundred packets of ten milliseconds, by the clock of the device.
        assert_eq!(bytes, u64::from(pin.rate) * 4, "{}", interface.reference);
        assert!((0.98..1.1).contains(&elapsed.as_secs_f64()), "{}: {elapsed:?}", interface.reference);
    }
    let rates: Vec<u32> = devices.iter().map(|(_, pin)| pin.rate).collect();
    assert_eq!(rates, [48000, 44100], "the first rate of the host's list that the device has");
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn several_hosts_enumerate_at_once_and_disturb_nobody() {
    let client = client();
    let (interface, pin) = client.audio_devices(Path::Cyclic).into_iter().next().unwrap();
    let before = client.session.open_handles();
    // While one streams, another looks at everything.
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let other = Client { session: client._system.as_ref().unwrap().session(), _system: None };
    assert_eq!(other.audio_devices(Path::Cyclic).len(), 2);
    assert_eq!(client.audio_filter(filter, Path::Cyclic), [pin]);
    let _ = client.session.close(filter);
    assert_eq!((client.session.open_handles(), other.session.open_handles()), (before, 0));
}
