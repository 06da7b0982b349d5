//! An engine in virtual time with the probe filter open: what fuzz targets and tests start from.

use std::sync::Arc;

use ks_abi::{
    IoControlCode, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_PIN_CINSTANCES, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KSPROPSETID_Pin, KSSTRING_PIN, KsIdentifier, KsPinConnect,
    KsPinInterface, KsPinMedium, KsPriority, KsState, NtStatus, USERKS_PROPSET_SETTINGS,
};
use ks_io::{AccessMask, Handle, IoManager, Services, Session, Ticks, Transport, dropped_irps};
use ks_mem::Frame;
use ks_stream::{Device, FilterDescriptor};
use zerocopy::IntoBytes;

use crate::probe;

/// One engine, one client, one filter, and two of its pins.
pub struct Scene {
    session: Arc<Session>,
    devices: Vec<Arc<Device>>,
    memory: Frame,
    filter: Handle,
    other: Handle,
    source_pin: Handle,
    sink_pin: Handle,
    dropped_before: u64,
}

const MEMORY_BYTES: usize = 4096;
const ALL_ACCESS: AccessMask = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);

fn open(session: &Session, reference: &str) -> Handle {
    let interface = session.interfaces(None).into_iter().find(|interface| interface.reference == reference);
    let interface = interface.expect("a started filter has an interface");
    session.open(&interface.symbolic_link, ALL_ACCESS).expect("a filter opens")
}

impl Scene {
    /// A pin to read from and a pin to write to, both in RUN.
    ///
    /// # Panics
    /// When the engine refuses what must be possible.
    #[must_use]
    pub fn streaming() -> Self {
        let scene = Self::connectable();
        for pin in [scene.source_pin, scene.sink_pin] {
            assert!(scene.set_state(pin, KsState::RUN).is_success(), "a fresh pin goes to RUN");
        }
        scene
    }

    /// A pin to read from and a pin to write to, both in STOP.
    ///
    /// # Panics
    /// When the engine refuses what must be possible.
    #[must_use]
    pub fn connectable() -> Self {
        let dropped_before = dropped_irps();
        let io = IoManager::new(Services::virtual_time(1));
        let device = probe::start(&io).expect("the probe device starts");
        let session = io.session();
        let filter = open(&session, probe::REFERENCE);
        let pin = |id| session.create(filter, KSSTRING_PIN, &connect_block(id), ALL_ACCESS).expect("a pin is made");
        let (source_pin, sink_pin) = (pin(probe::READ_PIN), pin(probe::WRITE_PIN));
        let memory = session.allocate(MEMORY_BYTES, 64).expect("memory for frames");
        Self { session, devices: vec![device], memory, other: filter, filter, source_pin, sink_pin, dropped_before }
    }

    /// Starts a device with one more filter and opens that.
    ///
    /// # Panics
    /// When the engine refuses what must be possible.
    #[must_use]
    pub fn with(mut self, filter: FilterDescriptor) -> Self {
        let name = filter.reference;
        let device = Device::start(self.session.io_manager(), name, vec![Arc::new(filter)]);
        self.devices.push(device.expect("a device starts"));
        self.other = open(&self.session, name);
        self
    }

    /// The client.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The open probe filter.
    #[must_use]
    pub fn filter(&self) -> Handle {
        self.filter
    }

    /// The filter that [`Scene::with`] opened last; else the probe.
    #[must_use]
    pub fn other(&self) -> Handle {
        self.other
    }

    /// The pin to read from.
    #[must_use]
    pub fn source_pin(&self) -> Handle {
        self.source_pin
    }

    /// The pin to write to.
    #[must_use]
    pub fn sink_pin(&self) -> Handle {
        self.sink_pin
    }

    /// Where memory for frames starts that the engine knows.
    #[must_use]
    pub fn memory_address(&self) -> u64 {
        self.memory.address()
    }

    /// Sets KSPROPERTY_CONNECTION_STATE.
    pub fn set_state(&self, pin: Handle, state: KsState) -> NtStatus {
        let request = KsIdentifier::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        let mut value = state.0.to_le_bytes();
        self.session.device_io_control(pin, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut value).status
    }

    /// Sets the setting of [`Scene::other`] with this number, the first being 1.
    pub fn set_setting(&self, number: u32, text: &str) -> NtStatus {
        let request = KsIdentifier::new(USERKS_PROPSET_SETTINGS, number, KSPROPERTY_TYPE_SET);
        let mut value = text.as_bytes().to_vec();
        self.session.device_io_control(self.other, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut value).status
    }

    /// How many pins [`Scene::other`] has, as KSPROPERTY_PIN_CINSTANCES counts them.
    ///
    /// # Panics
    /// When the filter does not answer.
    #[must_use]
    pub fn pin_instances(&self) -> u32 {
        let kinds = self.number(KSPROPERTY_PIN_CTYPES, 0, &mut [0; 4]);
        (0..kinds).map(|id| self.number(KSPROPERTY_PIN_CINSTANCES, id, &mut [0; 8])).sum()
    }

    /// The last number of the answer to a property of KSPROPSETID_Pin.
    fn number(&self, item: u32, pin_id: u32, answer: &mut [u8]) -> u32 {
        let identifier = KsIdentifier::new(KSPROPSETID_Pin, item, KSPROPERTY_TYPE_GET);
        let request = [identifier.as_bytes(), &pin_id.to_le_bytes(), &[0; 4]].concat();
        let outcome = self.session.device_io_control(self.other, IoControlCode::KS_PROPERTY, &request, answer);
        assert!(outcome.status.is_success(), "a filter counts its pins");
        answer.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Lets queued work run: a little virtual time passes.
    pub fn let_run(&self) {
        let services = self.session.services();
        let _ = services.delay_until(services.now() + Ticks(10_000));
    }

    /// Closes everything in order.
    ///
    /// # Panics
    /// When a handle does not close or something is left open.
    pub fn end(self) {
        let mut handles = vec![self.source_pin, self.sink_pin, self.filter];
        if self.other != self.filter {
            handles.push(self.other);
        }
        for handle in handles {
            assert!(self.session.close(handle).status.is_success(), "a handle closes");
        }
        assert_eq!(self.session.open_handles(), 0, "no handle is left");
        for device in &self.devices {
            assert_eq!(device.open_filters(), 0, "no filter is left");
            // The engine and its device hold each other until the device is removed.
            device.surprise_remove();
        }
        assert_eq!(dropped_irps(), self.dropped_before, "no request was lost");
    }
}

/// The parameter block that makes a pin of the probe.
#[must_use]
pub fn connect_block(pin_id: u32) -> Vec<u8> {
    let connect = KsPinConnect {
        interface: KsPinInterface::STANDARD_STREAMING,
        medium: KsPinMedium::STANDARD_DEVIO,
        pin_id,
        priority: KsPriority::NORMAL,
        ..KsPinConnect::default()
    };
    [connect.as_bytes(), probe::format().bytes()].concat()
}
