//! What `--json` prints. Field names and their meaning are stable; fields may be added.

use ks_broker::report::{DriverReport, Leak};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// The sources ended, or the frames or seconds that were asked for are done.
    Completed,
    /// A signal stopped it; files are complete up to then.
    Interrupted,
    /// It could not start, or broke.
    Failed,
}

/// `ks run --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunDocument {
    pub(crate) status: Status,
    pub(crate) connections: Vec<Connection>,
    /// The pipe sections, each with the pins that share frames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pipes: Vec<Pipe>,
    /// The pin whose clock the graph went by; not there when no pin has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<String>,
    /// Pins that go by another, each with the reason; not there when all follow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clock_refused: Vec<String>,
    pub(crate) elapsed_ns: u64,
    /// What drivers have not given back; not there when they have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_behind: Vec<LeftBehind>,
    /// Why the hosts of drivers ended before their time; not there when none did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reports: Vec<DriverReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
}

/// What a driver has not given back at its unload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftBehind {
    /// The driver's file.
    pub(crate) driver: String,
    /// In words.
    pub(crate) what: String,
    /// Tag of memory; the other numbers are of memory too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

impl LeftBehind {
    pub(crate) fn memory(driver: &str, leak: Leak) -> Self {
        let (driver, what) = (driver.to_owned(), leak.to_string());
        Self { driver, what, tag: Some(leak.tag), blocks: Some(leak.blocks), bytes: Some(leak.bytes) }
    }

    pub(crate) fn other(driver: &str, what: String) -> Self {
        Self { driver: driver.to_owned(), what, tag: None, blocks: None, bytes: None }
    }
}

/// `ks pnp --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PnpDocument {
    /// The driver's file.
    pub(crate) driver: String,
    /// The tests that ran, in their order.
    pub(crate) tests: Vec<PnpResult>,
    /// What drivers have not given back; not there when they have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_behind: Vec<LeftBehind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
}

impl PnpDocument {
    pub(crate) fn failed(failure: &Failure) -> Self {
        Self { driver: String::new(), tests: Vec::new(), left_behind: Vec::new(), error: Some(failure.into()) }
    }
}

/// How one test of `ks pnp` ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PnpResult {
    pub(crate) test: &'static str,
    pub(crate) outcome: PnpOutcome,
    /// What refused the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    pub(crate) frames_before: u64,
    pub(crate) frames_after: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PnpOutcome {
    /// The device did it, and works.
    Passed,
    /// Its driver refused, and works.
    Refused,
    Failed,
}

impl PnpOutcome {
    pub(crate) fn word(self) -> &'static str {
        match self {
            PnpOutcome::Passed => "passed",
            PnpOutcome::Refused => "refused",
            PnpOutcome::Failed => "failed",
        }
    }
}

/// `ks default show --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DefaultDocument {
    /// The file that the links stand in.
    pub(crate) file: String,
    pub(crate) defaults: Vec<DefaultEntry>,
}

/// One default link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DefaultEntry {
    pub(crate) kind: String,
    /// The name that a client opens.
    pub(crate) link: String,
    /// Where it leads; null when it is not set.
    pub(crate) filter: Option<String>,
    /// Is there such a filter now?
    pub(crate) exists: bool,
}

/// Pins that share frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pipe {
    /// In the order of the data, as "test-camera.0".
    pub(crate) pins: Vec<String>,
    /// What was agreed on frames, bytes and alignment; empty without an allocator.
    pub(crate) allocator: Vec<PipeNumber>,
    /// Where the frames lie; empty without an allocator.
    pub(crate) memory: String,
    /// The pin whose frames they are; empty when they come with requests.
    pub(crate) owner: String,
    pub(crate) why: String,
    /// Preferences that were not met.
    pub(crate) notes: Vec<String>,
}

/// One number of an allocator, and the pin that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PipeNumber {
    pub(crate) what: String,
    pub(crate) value: u64,
    pub(crate) by: String,
}

/// What went over one connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Connection {
    /// The data source pin, as "test-camera.0".
    pub(crate) from: String,
    /// The data sink pin.
    pub(crate) to: String,
    pub(crate) interface: String,
    pub(crate) medium: String,
    pub(crate) format: String,
    pub(crate) allocator: String,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Frames whose bytes were copied on the way.
    pub(crate) copies: u64,
    pub(crate) dropped: u64,
    pub(crate) latency_ns: Latency,
    /// Where the sound of a looped pin was late; there for a connection with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gaps: Option<Gaps>,
}

/// What was played and is no sound, or was captured and not taken in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Gaps {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) duration_ns: u64,
}

/// Time from source to sink; null when no frame went over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Error {
    /// "usage" when the request is wrong, "job" when the work went wrong.
    pub(crate) kind: &'static str,
    pub(crate) doing: String,
    pub(crate) why: String,
    pub(crate) hint: Option<String>,
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: if failure.exit == Exit::Usage { "usage" } else { "job" },
            doing: failure.doing.clone(),
            why: failure.why.clone(),
            hint: failure.hint.clone(),
        }
    }
}

/// `ks list --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ListDocument {
    pub(crate) filters: Vec<FilterEntry>,
}

/// One filter of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FilterEntry {
    /// What a graph calls it.
    pub(crate) name: String,
    pub(crate) friendly_name: String,
    pub(crate) categories: Vec<String>,
    pub(crate) symbolic_link: String,
}

/// `ks inspect --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct InspectDocument {
    pub(crate) name: String,
    pub(crate) friendly_name: String,
    pub(crate) symbolic_link: String,
    pub(crate) categories: Vec<String>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) topology: Topology,
    pub(crate) settings: Vec<Setting>,
    pub(crate) properties: Vec<ItemEntry>,
    pub(crate) methods: Vec<ItemEntry>,
    pub(crate) events: Vec<ItemEntry>,
}

/// A property, method or event that an object answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ItemEntry {
    pub(crate) set: String,
    pub(crate) id: u32,
    /// The header's name, if it has one.
    pub(crate) name: Option<String>,
    /// Of a property "get" and "set", of a method "read", "write" and "direct", of an event "enable".
    pub(crate) access: Vec<String>,
    pub(crate) unit: String,
    /// Ranges and values that it takes.
    pub(crate) values: Vec<String>,
    pub(crate) default: Option<String>,
}

/// `ks get --json` and `ks set --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PropertyDocument {
    pub(crate) object: String,
    pub(crate) property: String,
    pub(crate) set: String,
    pub(crate) id: u32,
    pub(crate) value: String,
    pub(crate) unit: String,
    /// The value as it was answered, in hexadecimal digits.
    pub(crate) bytes: String,
    pub(crate) values: Vec<String>,
    pub(crate) default: Option<String>,
}

/// `ks events --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct EventsDocument {
    pub(crate) object: String,
    pub(crate) event: String,
    /// When each came, in nanoseconds since the event was enabled.
    pub(crate) at_ns: Vec<u64>,
    /// As many came as were asked for.
    pub(crate) complete: bool,
}

/// One pin factory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pin {
    pub(crate) id: u32,
    pub(crate) name: Option<String>,
    pub(crate) category: Option<String>,
    /// "in", "out" or a number.
    pub(crate) data_flow: String,
    /// "none", "sink", "source", "both", "bridge" or a number.
    pub(crate) communication: String,
    pub(crate) interfaces: Vec<String>,
    pub(crate) mediums: Vec<String>,
    pub(crate) formats: Vec<String>,
    pub(crate) instances: Instances,
    /// What a pin answers, with --pins only.
    pub(crate) properties: Vec<ItemEntry>,
    pub(crate) methods: Vec<ItemEntry>,
    pub(crate) events: Vec<ItemEntry>,
}

/// Instances of a pin factory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Instances {
    pub(crate) current: u32,
    /// Null when there is no limit.
    pub(crate) possible: Option<u32>,
}

/// What is inside a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Topology {
    pub(crate) categories: Vec<String>,
    pub(crate) nodes: Vec<String>,
    pub(crate) connections: Vec<TopologyConnection>,
}

/// A connection inside a filter; a null node is the filter itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TopologyConnection {
    pub(crate) from_node: Option<u32>,
    pub(crate) from_pin: u32,
    pub(crate) to_node: Option<u32>,
    pub(crate) to_pin: u32,
}

/// Something that `key=value` sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) default: String,
    pub(crate) value: String,
    pub(crate) help: String,
}

impl RunDocument {
    /// A run that failed before anything went over a connection.
    pub(crate) fn failed(failure: &Failure) -> Self {
        Self { status: Status::Failed, error: Some(failure.into()), ..Self::interrupted() }
    }

    /// Of a run that was interrupted before anything streamed.
    pub(crate) fn interrupted() -> Self {
        Self {
            status: Status::Interrupted,
            connections: Vec::new(),
            pipes: Vec::new(),
            clock: None,
            clock_refused: Vec::new(),
            elapsed_ns: 0,
            left_behind: Vec::new(),
            reports: Vec::new(),
            error: None,
        }
    }
}
