//! A client of the built-in filters that uses nothing but a transport, in virtual time.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests; each uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ks_abi::{
    IoControlCode, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_PIN_COMMUNICATION, KSPROPERTY_PIN_DATAINTERSECTION,
    KSPROPERTY_PIN_DATARANGES, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET,
    KSPROPSETID_Connection, KSPROPSETID_Pin, KSPROPSETID_Stream, KSSTRING_CLOCK, KSSTRING_PIN, KsIdentifier,
    KsPinCommunication, KsPinConnect, KsPinInterface, KsPinMedium, KsPriority, KsState, STATUS_BUFFER_OVERFLOW,
    USERKS_PIN_FAILURE, USERKS_PIN_LIMIT, USERKS_PIN_STATISTICS, USERKS_PROPSET_PIN, USERKS_PROPSET_SETTINGS,
    USERKS_SETTINGS_LIST, UserksPinLimit, UserksPinStatistics,
};
use ks_filters::System;
use ks_io::{AccessMask, Handle, Outcome, Services, Session, Ticks, Transport};
use zerocopy::{FromBytes, IntoBytes};

/// An engine and its client.
pub struct World {
    pub system: System,
    pub session: Arc<Session>,
}

/// A status and the reason that came with it.
pub type Refused = (ks_abi::NtStatus, String);

fn refused(outcome: Outcome) -> Refused {
    (outcome.status, outcome.refusal.map_or_else(String::new, |refusal| refusal.reason))
}

impl World {
    pub fn new(seed: u64) -> World {
        ks_stream::verifier::enable();
        let system = ks_filters::system(Services::virtual_time(seed)).unwrap();
        let session = system.session();
        World { system, session }
    }

    /// Opens a filter and applies settings.
    pub fn open(&self, name: &str, settings: &[(&str, &str)]) -> Handle {
        let filter = self.open_plain(name);
        for (key, value) in settings {
            self.set(filter, key, value).unwrap();
        }
        filter
    }

    pub fn open_plain(&self, name: &str) -> Handle {
        let interface = self.session.interfaces(None).into_iter().find(|i| i.reference == name).unwrap();
        self.session.open(&interface.symbolic_link, access()).unwrap()
    }

    fn control(&self, handle: Handle, request: &[u8], data: &mut [u8]) -> Result<usize, Refused> {
        let outcome = self.session.device_io_control(handle, IoControlCode::KS_PROPERTY, request, data);
        if outcome.status.is_success() { Ok(outcome.information) } else { Err(refused(outcome)) }
    }

    /// A property of variable size.
    pub fn get(&self, handle: Handle, request: &[u8]) -> Result<Vec<u8>, Refused> {
        let outcome = self.session.device_io_control(handle, IoControlCode::KS_PROPERTY, request, &mut []);
        if outcome.status != STATUS_BUFFER_OVERFLOW {
            return if outcome.status.is_success() { Ok(Vec::new()) } else { Err(refused(outcome)) };
        }
        let mut data = vec![0; outcome.information];
        let count = self.control(handle, request, &mut data)?;
        data.truncate(count);
        Ok(data)
    }

    /// The settings of a filter: name, kind, default, help.
    pub fn settings(&self, filter: Handle) -> Vec<Vec<String>> {
        let request = KsIdentifier::new(USERKS_PROPSET_SETTINGS, USERKS_SETTINGS_LIST, KSPROPERTY_TYPE_GET);
        let text = self.get(filter, request.as_bytes()).unwrap_or_default();
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn setting(&self, filter: Handle, key: &str, verb: u32) -> KsIdentifier {
        let settings = self.settings(filter);
        let index = settings.iter().position(|setting| setting[0] == key).unwrap();
        KsIdentifier::new(USERKS_PROPSET_SETTINGS, index as u32 + 1, verb)
    }

    pub fn set(&self, filter: Handle, key: &str, value: &str) -> Result<(), Refused> {
        let request = self.setting(filter, key, KSPROPERTY_TYPE_SET);
        self.control(filter, request.as_bytes(), &mut value.as_bytes().to_vec()).map(drop)
    }

    pub fn value(&self, filter: Handle, key: &str) -> String {
        let request = self.setting(filter, key, KSPROPERTY_TYPE_GET);
        String::from_utf8(self.get(filter, request.as_bytes()).unwrap()).unwrap()
    }

    /// The data ranges of a pin factory, as the KSMULTIPLE_ITEM that a client gets.
    pub fn ranges(&self, filter: Handle, pin: u32) -> Vec<u8> {
        self.get(filter, &pin_request(KSPROPERTY_PIN_DATARANGES, pin)).unwrap()
    }

    /// The format that a pin factory finds in a list of ranges.
    pub fn intersect(&self, filter: Handle, pin: u32, ranges: &[u8]) -> Result<Vec<u8>, Refused> {
        let request = [&pin_request(KSPROPERTY_PIN_DATAINTERSECTION, pin)[..], ranges].concat();
        self.get(filter, &request)
    }

    fn communication(&self, filter: Handle, pin: u32) -> KsPinCommunication {
        let answer = self.get(filter, &pin_request(KSPROPERTY_PIN_COMMUNICATION, pin)).unwrap();
        KsPinCommunication::read_from_bytes(&answer).unwrap()
    }

    pub fn create_pin(&self, filter: Handle, pin: u32, format: &[u8], to: Option<Handle>) -> Result<Handle, Refused> {
        let connect = KsPinConnect {
            interface: KsPinInterface::STANDARD_STREAMING,
            medium: KsPinMedium::STANDARD_DEVIO,
            pin_id: pin,
            pin_to_handle: to.map_or(0, |handle| handle.0),
            priority: KsPriority::NORMAL,
            ..KsPinConnect::default()
        };
        let block = [connect.as_bytes(), format].concat();
        self.session.create(filter, KSSTRING_PIN, &block, access()).map_err(refused)
    }

    /// Connects an output to an input: the format is the source's, out of the sink's ranges.
    pub fn connect(&self, from: (Handle, u32), to: (Handle, u32)) -> Result<(Handle, Handle), Refused> {
        let format = self.intersect(from.0, from.1, &self.ranges(to.0, to.1))?;
        if self.communication(to.0, to.1) == KsPinCommunication::SOURCE {
            // The sink sends the requests, so it is created second.
            let source = self.create_pin(from.0, from.1, &format, None)?;
            let sink = self.create_pin(to.0, to.1, &format, Some(source))?;
            return Ok((source, sink));
        }
        let sink = self.create_pin(to.0, to.1, &format, None)?;
        let source = self.create_pin(from.0, from.1, &format, Some(sink))?;
        Ok((source, sink))
    }

    pub fn set_state(&self, pin: Handle, state: KsState) -> Result<(), Refused> {
        let request = KsIdentifier::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        self.control(pin, request.as_bytes(), &mut state.0.to_le_bytes()).map(drop)
    }

    /// A clock object on a pin.
    pub fn create_clock(&self, pin: Handle) -> Handle {
        self.session.create(pin, KSSTRING_CLOCK, &[0; 4], access()).unwrap()
    }

    pub fn set_master_clock(&self, pin: Handle, clock: Handle) {
        let request = KsIdentifier::new(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET);
        self.control(pin, request.as_bytes(), &mut clock.0.to_le_bytes()).unwrap();
    }

    pub fn limit(&self, pin: Handle, frames: u64) {
        let request = KsIdentifier::new(USERKS_PROPSET_PIN, USERKS_PIN_LIMIT, KSPROPERTY_TYPE_SET);
        let mut limit = UserksPinLimit { frames, time_100ns: 0 };
        self.control(pin, request.as_bytes(), limit.as_mut_bytes()).unwrap();
    }

    pub fn statistics(&self, pin: Handle) -> UserksPinStatistics {
        let request = KsIdentifier::new(USERKS_PROPSET_PIN, USERKS_PIN_STATISTICS, KSPROPERTY_TYPE_GET);
        let mut data = vec![0; size_of::<UserksPinStatistics>()];
        self.control(pin, request.as_bytes(), &mut data).unwrap();
        UserksPinStatistics::read_from_bytes(&data).unwrap()
    }

    /// Why streaming failed on a pin.
    pub fn failure(&self, pin: Handle) -> Option<String> {
        let request = KsIdentifier::new(USERKS_PROPSET_PIN, USERKS_PIN_FAILURE, KSPROPERTY_TYPE_GET);
        let bytes = self.get(pin, request.as_bytes()).ok()?;
        Some(String::from_utf8_lossy(&bytes[4..]).into_owned())
    }

    /// Lets virtual time pass until `done`, at most an hour of it.
    pub fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        let services = self.session.services();
        for _ in 0..360_000 {
            if done() {
                return;
            }
            let _ = services.delay_until(services.now() + Ticks::from_millis(10));
        }
        panic!("an hour of virtual time has passed without {what}");
    }

    /// Takes pins, sinks first, from STOP to RUN.
    pub fn run(&self, pins: &[Handle]) {
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            for pin in pins {
                self.set_state(*pin, state).unwrap();
            }
        }
    }

    /// Takes pins, sources last, back to STOP.
    pub fn stop(&self, pins: &[Handle]) {
        for state in [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
            for pin in pins.iter().rev() {
                self.set_state(*pin, state).unwrap();
            }
        }
    }

    pub fn close(&self, handles: &[Handle]) {
        for handle in handles {
            assert!(self.session.close(*handle).status.is_success());
        }
    }

    /// Runs a source into a sink to the end of the stream, and closes both.
    pub fn stream(&self, from: Handle, to: Handle, frames: u64) -> UserksPinStatistics {
        let (source, sink) = self.connect((from, 0), (to, 0)).unwrap();
        if frames > 0 {
            self.limit(source, frames);
        }
        self.run(&[sink, source]);
        self.wait_until("the end of the stream", || self.statistics(sink).ended == 1);
        self.stop(&[sink, source]);
        assert_eq!((self.failure(source), self.failure(sink)), (None, None));
        let statistics = self.statistics(sink);
        self.close(&[source, sink, from, to]);
        statistics
    }
}

fn access() -> AccessMask {
    AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)
}

fn pin_request(item: u32, pin: u32) -> Vec<u8> {
    let identifier = KsIdentifier::new(KSPROPSETID_Pin, item, KSPROPERTY_TYPE_GET);
    [identifier.as_bytes(), &pin.to_le_bytes(), &[0; 4]].concat()
}

/// A directory of its own for one test, removed at its end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Scratch {
        let directory = std::env::temp_dir().join(format!("ks-filters-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How far below the tone of 997 Hz that is in them everything else lies in samples, without their ends.
pub fn residual_db(samples: &[f64], rate: u32) -> f64 {
    let step = std::f64::consts::TAU * 997.0 / f64::from(rate);
    let ends = rate as usize / 50;
    let inner = || (ends..samples.len() - ends).map(|n| (samples[n], (step * n as f64).sin_cos()));
    let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (value, (sin, cos)) in inner() {
        (ss, sc, cc) = (ss + sin * sin, sc + sin * cos, cc + cos * cos);
        (ys, yc) = (ys + value * sin, yc + value * cos);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
    let tone: f64 = inner().map(|(_, (sin, cos))| (a * sin + b * cos).powi(2)).sum();
    let rest: f64 = inner().map(|(value, (sin, cos))| (value - a * sin - b * cos).powi(2)).sum();
    10.0 * (rest / tone).log10()
}
