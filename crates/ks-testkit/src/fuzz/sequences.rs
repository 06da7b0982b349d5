//! Sequences of requests over several handles: what one object is asked decides what another finds.
//!
//! The input is a list of steps, each an operation and up to three small numbers. Handles are named by their place in the
//! list of those that were made, closed ones included.

use ks_abi::{
    IoControlCode, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ONESHOT, KSEVENTF_EVENT_HANDLE,
    KSEVENTSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KSPROPSETID_Stream, KSSTRING_ALLOCATOR, KSSTRING_CLOCK, KSSTRING_PIN,
    KsAllocatorFraming, KsEvent, KsEventData, KsIdentifier, KsState, KsStreamHeader, KsTime, Ptr64,
};
use ks_io::{AccessMask, Handle, Request, Transport};
use zerocopy::IntoBytes;

use super::bytes::Bytes;
use crate::scene::{Scene, connect_block};

const MOST_STEPS: usize = 64;
const ALL_ACCESS: AccessMask = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
/// Where PinToHandle stands in KSPIN_CONNECT.
const PIN_TO_HANDLE: std::ops::Range<usize> = 56..64;

/// A client in the middle of its requests.
struct Client<'s> {
    scene: &'s Scene,
    /// Every handle that was made, with its place: closed ones stay, so that they are used again.
    handles: Vec<Handle>,
    open: Vec<Handle>,
    requests: Vec<(Handle, Request)>,
}

impl Client<'_> {
    fn named(&self, place: u8) -> Handle {
        let fixed = [self.scene.filter(), self.scene.source_pin(), self.scene.sink_pin()];
        let place = usize::from(place) % (fixed.len() + self.handles.len());
        fixed.get(place).copied().unwrap_or_else(|| self.handles[place - fixed.len()])
    }

    fn keep(&mut self, made: Result<Handle, ks_io::Outcome>) {
        if let Ok(handle) = made {
            assert!(!self.open.contains(&handle), "a handle is given once");
            self.handles.push(handle);
            self.open.push(handle);
        }
    }

    fn control(&self, handle: Handle, code: IoControlCode, input: &[u8], output: &mut [u8]) {
        let room = output.len();
        let outcome = self.scene.session().device_io_control(handle, code, input, output);
        assert!(!outcome.status.is_success() || outcome.information <= room, "more than there is room for");
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let session = self.scene.session();
        let (operation, on) = (bytes.u8(), bytes.u8());
        let on = self.named(on);
        let identifier = |set, item, flags| KsIdentifier::new(set, item, flags).as_bytes().to_vec();
        match operation % 12 {
            0 | 1 => {
                let mut block = connect_block(u32::from(bytes.u8()) % 4);
                if operation % 12 == 1 {
                    block[PIN_TO_HANDLE].copy_from_slice(&on.0.to_le_bytes());
                }
                self.keep(session.create(self.scene.filter(), KSSTRING_PIN, &block, ALL_ACCESS));
            }
            2 => self.keep(session.create(on, KSSTRING_CLOCK, &[0; 4], ALL_ACCESS)),
            3 => {
                let framing = KsAllocatorFraming {
                    flags: u32::from(bytes.u8()),
                    frames: u32::from(bytes.u8()),
                    frame_size: u32::from(bytes.u16()),
                    file_alignment: u32::from(bytes.u8()),
                    ..Default::default()
                };
                self.keep(session.create(on, KSSTRING_ALLOCATOR, framing.as_bytes(), ALL_ACCESS));
            }
            4 => {
                let state = KsState(u32::from(bytes.u8()) % 5);
                let request = identifier(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
                self.control(on, IoControlCode::KS_PROPERTY, &request, &mut state.0.to_le_bytes());
            }
            5 => self.stream(on, bytes),
            6 => drop(session.cancel_all(on)),
            7 => {
                let master = self.named(bytes.u8());
                let request = identifier(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET);
                self.control(on, IoControlCode::KS_PROPERTY, &request, &mut master.0.to_le_bytes());
            }
            8 => self.event(on, bytes),
            9 => {
                let (set, item) = (KSPROPSETID_Connection, u32::from(bytes.u8()) % 12);
                self.control(
                    on,
                    IoControlCode::KS_PROPERTY,
                    &identifier(set, item, KSPROPERTY_TYPE_GET),
                    &mut [0; 128],
                );
            }
            10 => self.control(on, IoControlCode::KS_RESET_STATE, &u32::from(bytes.u8() & 1).to_le_bytes(), &mut []),
            _ => self.close(on),
        }
    }

    fn stream(&mut self, on: Handle, bytes: &mut Bytes<'_>) {
        let kind = bytes.u8();
        let extent = u32::from(bytes.u8());
        let header = KsStreamHeader {
            size: 56,
            presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
            frame_extent: extent,
            data_used: if kind & 1 == 0 { 0 } else { extent },
            data: Ptr64(self.scene.memory_address()),
            ..Default::default()
        };
        let code = if kind & 1 == 0 { IoControlCode::KS_READ_STREAM } else { IoControlCode::KS_WRITE_STREAM };
        let list = header.as_bytes().repeat(1 + usize::from(kind >> 6));
        let request = self.scene.session().submit(on, code, &[], list);
        if kind & 2 != 0 {
            request.cancel();
        }
        self.requests.push((on, request));
    }

    fn event(&mut self, on: Handle, bytes: &mut Bytes<'_>) {
        let Ok((handle, _)) = self.scene.session().create_event() else { return };
        self.keep(Ok(handle));
        let data = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..Default::default() };
        let flags = if bytes.u8() & 1 == 0 { KSEVENT_TYPE_ENABLE } else { KSEVENT_TYPE_ONESHOT };
        let request = KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, flags);
        self.control(on, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), &mut data.as_bytes().to_vec());
    }

    /// The handles of the scene stay open for its end.
    fn close(&mut self, handle: Handle) {
        if [self.scene.filter(), self.scene.source_pin(), self.scene.sink_pin()].contains(&handle) {
            return;
        }
        #[cfg(feature = "planted-bug")]
        self.planted_bug(handle);
        let was_open = self.open.iter().position(|open| *open == handle);
        let status = self.scene.session().close(handle).status;
        assert_eq!(status.is_success(), was_open.is_some(), "a handle is closed once");
        if let Some(place) = was_open {
            self.open.swap_remove(place);
        }
    }

    /// Breaks when a pin is closed while one of its requests is on its way.
    #[cfg(feature = "planted-bug")]
    fn planted_bug(&self, handle: Handle) {
        let waits = self.requests.iter().any(|(on, request)| *on == handle && !request.is_done());
        assert!(!waits, "planted bug");
    }
}

/// Makes the requests that `data` describes, then closes everything. Every request must end, a handle is given and closed
/// once, and nothing is left.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn sequences(data: &[u8]) {
    let scene = Scene::connectable();
    let mut client = Client { scene: &scene, handles: Vec::new(), open: Vec::new(), requests: Vec::new() };
    let mut bytes = Bytes::new(data);
    for _ in 0..MOST_STEPS {
        if bytes.is_empty() {
            break;
        }
        client.step(&mut bytes);
    }
    for pin in [scene.source_pin(), scene.sink_pin()] {
        scene.session().cancel_all(pin);
        let _ = scene.set_state(pin, KsState::STOP);
    }
    // A clock of a pin that is the pin's own master is let go with the pin.
    for handle in std::mem::take(&mut client.open).into_iter().rev() {
        assert!(scene.session().close(handle).status.is_success(), "an open handle closes");
    }
    scene.let_run();
    for (_, request) in std::mem::take(&mut client.requests) {
        assert!(request.is_done(), "a request outlives its pin");
        let _ = request.wait();
    }
    drop(client);
    scene.end();
}
