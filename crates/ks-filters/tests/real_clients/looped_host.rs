//! The audio host's path with devices in KSCATEGORY_REALTIME: a cyclic buffer that it maps, positions and notifications.
//!
//! The buffer is used by its raw address, as a program in C would: through `/proc/self/mem`, which knows nothing of ours.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::audio_host::{AudioPin, MuxInput, Path};
use crate::client::*;
use ks_abi::*;
use ks_io::{Event, Handle, InterfaceInfo, Ticks, Transport};
use std::fs::File;
use std::os::unix::fs::FileExt;
use zerocopy::IntoBytes;

const IOCTL_KS_PROPERTY: IoControlCode = IoControlCode(0x002F_0003);

/// The memory of this process, by addresses.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory(File::options().read(true).write(true).open("/proc/self/mem").unwrap())
    }

    pub(crate) fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut into = vec![0; bytes];
        self.0.read_exact_at(&mut into, address).unwrap();
        into
    }

    pub(crate) fn write(&self, address: u64, from: &[u8]) {
        self.0.write_all_at(from, address).unwrap();
    }

    pub(crate) fn number(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address, 8).try_into().unwrap())
    }

    pub(crate) fn is_mapped(&self, address: u64) -> bool {
        self.0.read_at(&mut [0], address).is_ok()
    }
}

pub(crate) fn rt_audio(id: u32, flags: u32) -> KsProperty {
    KsProperty::new(KSPROPSETID_RtAudio, id, flags)
}

/// The 40 bytes by which a buffer is asked for.
pub(crate) fn buffer_request(id: u32, base: u64, bytes: u32, count: u32) -> Vec<u8> {
    let mut request = rt_audio(id, KSPROPERTY_TYPE_GET).as_bytes().to_vec();
    request.extend(base.to_le_bytes());
    request.extend(bytes.to_le_bytes());
    request.extend(count.to_le_bytes());
    assert_eq!(request.len(), 40);
    request
}

pub(crate) fn register_request(id: u32, flags: u32, base: u64) -> Vec<u8> {
    [rt_audio(id, flags).as_bytes(), &base.to_le_bytes()].concat()
}

/// The host's view of a stream that it has opened.
pub(crate) struct Looped<'a> {
    pub(crate) client: &'a Client,
    pub(crate) filter: Handle,
    pub(crate) pin: Handle,
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    pub(crate) notified: Option<(Handle, Event)>,
    pub(crate) memory: Memory,
}

impl Client {
    /// Sets a setting of a filter of ours, by its number.
    pub(crate) fn set(&self, filter: Handle, id: u32, value: &str) {
        let request = KsProperty::new(USERKS_PROPSET_SETTINGS, id, KSPROPERTY_TYPE_SET);
        let mut data = value.as_bytes().to_vec();
        let outcome = self.session.device_io_control(filter, IOCTL_KS_PROPERTY, request.as_bytes(), &mut data);
        assert!(outcome.status.is_success(), "{value}: {}", outcome.status);
    }

    pub(crate) fn status(&self, handle: Handle, request: &[u8], room: usize) -> NtStatus {
        self.ask(handle, request, room).0.status
    }

    pub(crate) fn device(&self, name: &str, endpoint: &str) -> (InterfaceInfo, AudioPin) {
        let mut devices = self.audio_devices(Path::Looped).into_iter();
        devices.find(|(interface, pin)| interface.reference == name && pin.endpoint == endpoint).unwrap()
    }

    /// Waits until the device is so much further.
    pub(crate) fn wait(&self, span: Ticks) {
        let services = self.session.services();
        let _ = services.delay_until(services.now() + span);
    }

    /// Sets the multiplexer, as a property of its node, as the host does before it opens the pin.
    pub(crate) fn select(&self, mux: &MuxInput) {
        let topology = self.session.open(&mux.filter, READ_WRITE).unwrap();
        let flags = KSPROPERTY_TYPE_SET | KSPROPERTY_TYPE_TOPOLOGY;
        let property = KsProperty::new(KSPROPSETID_Audio, KSPROPERTY_AUDIO_MUX_SOURCE, flags);
        let node = KspNode { property, node_id: mux.node, reserved: 0 };
        let mut source = mux.pin.to_le_bytes();
        let outcome = self.session.device_io_control(topology, IOCTL_KS_PROPERTY, node.as_bytes(), &mut source);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        let mut none = 3_u32.to_le_bytes();
        let outcome = self.session.device_io_control(topology, IOCTL_KS_PROPERTY, node.as_bytes(), &mut none);
        assert_eq!(outcome.status, STATUS_INVALID_PARAMETER, "there is no third input");
        let flags = KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY;
        let get = KspNode { property: KsProperty { flags, ..property }, ..node };
        assert_eq!(self.fixed::<u32>(topology, get.as_bytes()), Ok(mux.pin));
        assert!(self.session.close(topology).status.is_success());
    }

    /// Opens a pin as the host does: the buffer with notification, else without, else both of a rounded size; latency; the
    /// event; the register by the host's wrong verb, and instead of it the position, which is zero.
    pub(crate) fn open_looped(&self, filter: Handle, pin: &AudioPin, wished: u32) -> Looped<'_> {
        let block = u32::from(pin.channels * (pin.bits / 8));
        let identity = (pin.id, KSINTERFACE_STANDARD_LOOPED_STREAMING);
        let stream = self.create_pin(filter, identity, &pin.format(), READ_WRITE).unwrap();
        let rounded =
            (1..).map(|count| wished.next_multiple_of(128) + 128 * (count - 1)).find(|size| size % block == 0);
        let (with, without) = (KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION, KSPROPERTY_RTAUDIO_BUFFER);
        let attempts = [wished, rounded.unwrap()].into_iter().flat_map(|size| [(with, size), (without, size)]);
        let mut made = None;
        for (id, size) in attempts {
            if let Ok(buffer) = self.fixed::<KsRtAudioBuffer>(stream, &buffer_request(id, 0, size, 2)) {
                made = Some((id, buffer));
                break;
            }
        }
        let (id, buffer) = made.expect("no buffer of any size");
        assert!(buffer.actual_buffer_size >= wished && buffer.actual_buffer_size.is_multiple_of(block));
        let latency: KsRtAudioHwLatency =
            self.fixed(stream, rt_audio(KSPROPERTY_RTAUDIO_HWLATENCY, KSPROPERTY_TYPE_GET).as_bytes()).unwrap();
        assert!(latency.fifo_size > 0 && latency.fifo_size < buffer.actual_buffer_size / 2);
        let notified = (id == with).then(|| {
            let (handle, event) = self.session.create_event().unwrap();
            let request =
                register_request(KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_TYPE_SET, handle.0);
            assert_eq!(self.status(stream, &request, 0), STATUS_SUCCESS);
            (handle, event)
        });
        let by_set = register_request(KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_TYPE_SET, 0);
        assert!(!self.status(stream, &by_set, 40).is_success(), "a register cannot be set");
        let address = buffer.buffer_address.0;
        let bytes = buffer.actual_buffer_size;
        let looped = Looped { client: self, filter, pin: stream, address, bytes, notified, memory: Memory::new() };
        assert_eq!(looped.position(), KsAudioPosition { play_offset: 0, write_offset: 0 });
        looped
    }
}

impl Looped<'_> {
    pub(crate) fn position(&self) -> KsAudioPosition {
        self.client.fixed(self.pin, &property(KSPROPSETID_Audio, KSPROPERTY_AUDIO_POSITION)).unwrap()
    }

    pub(crate) fn run(&self) {
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            self.client.set_state(self.pin, state);
        }
    }

    pub(crate) fn wait_for_packet(&self) {
        let (_, event) = self.notified.as_ref().unwrap();
        let _ = event.wait();
        event.clear();
    }

    /// One half of the buffer.
    pub(crate) fn half(&self, index: u32) -> (u64, usize) {
        let bytes = self.bytes / 2;
        (self.address + u64::from(bytes * (index % 2)), bytes as usize)
    }

    pub(crate) fn stop(&self) {
        self.client.set_state(self.pin, KsState::PAUSE);
        self.client.set_state(self.pin, KsState::STOP);
    }

    /// The event is unregistered, and a stopped pin stopped again.
    pub(crate) fn close(self) {
        let session = &self.client.session;
        if let Some((handle, _)) = &self.notified {
            let request =
                register_request(KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, KSPROPERTY_TYPE_SET, handle.0);
            assert_eq!(self.client.status(self.pin, &request, 0), STATUS_SUCCESS);
            assert!(session.close(*handle).status.is_success());
        }
        self.stop();
        assert!(session.close(self.pin).status.is_success());
        assert!(session.close(self.filter).status.is_success());
        assert!(!self.memory.is_mapped(self.address), "closing the pin frees its buffer");
    }
}
