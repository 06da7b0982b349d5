//! `ks get`, `ks set`, `ks events` and what `ks inspect` lists, of built-in filters and of a driver in its own process.

mod support;

use support::ks;

/// The sample driver that is committed.
fn synthcam() -> String {
    format!("{}/../../drivers/synthcam.sys", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_property_of_a_filter_is_read_by_any_form_of_its_name() {
    for word in ["pin-ctypes", "KSPROPERTY_PIN_CTYPES", "pin_ctypes", "KSPROPSETID_Pin:1"] {
        let document = ks(&["get", "test-camera", word, "--json"]).done().json();
        assert_eq!(document["property"], "KSPROPERTY_PIN_CTYPES", "{word}");
        assert_eq!((document["value"].as_str(), document["bytes"].as_str()), (Some("1"), Some("01000000")));
    }
    assert_eq!(ks(&["get", "test-camera", "pin-ctypes"]).done().stdout, "KSPROPERTY_PIN_CTYPES: 1\n");
    let flow = |place, expected| {
        let document = ks(&["get", place, "pin-dataflow", "--json"]).done().json();
        assert_eq!(document["value"], expected, "{place}");
    };
    flow("test-microphone.0", "out");
    flow("test-microphone.1", "in");
    let name = ks(&["get", "test-microphone.1", "pin-name"]).done();
    assert_eq!(name.stdout, "KSPROPERTY_PIN_NAME: Test microphone\n");
    let nodes = ks(&["get", "test-speaker", "topology-nodes"]).done();
    assert_eq!(nodes.stdout, "KSPROPERTY_TOPOLOGY_NODES: KSNODETYPE_DAC\n");
}

#[test]
fn a_pin_is_created_for_what_only_a_pin_answers() {
    let format = ks(&["get", "test-camera.0", "connection-dataformat"]).done();
    assert!(format.stdout.contains("NV12 640x480"), "{format}");
    let state = ks(&["set", "test-camera.0", "connection-state", "acquire"]).done();
    assert_eq!(state.stdout.trim_end(), "KSPROPERTY_CONNECTION_STATE: ACQUIRE");
    let header = ks(&["get", "test-camera.0", "streaminterface-headersize", "--json"]).done().json();
    assert_eq!((header["value"].as_str(), header["unit"].as_str()), (Some("128"), Some("bytes")));
}

#[test]
fn what_cannot_be_asked_says_why_and_what_may_be_meant() {
    ks(&["get", "test-camera", "pin-ctype"]).refused(2, &["the headers have none of this name", "`PIN_CTYPES`"]);
    ks(&["get", "test-camra", "pin-ctypes"]).refused(2, &["did you mean `test-camera`?"]);
    ks(&["get", "test-camera", "connection-state"]).refused(2, &["it has none", "FILTER.0"]);
    ks(&["get", "test-camera", "nothing:1"]).refused(2, &["`nothing` is no set"]);
    ks(&["get", "test-camera.9", "pin-dataflow"]).refused(1, &["there is no pin 9"]);
    ks(&["get", "test-camera.9", "connection-state"]).refused(1, &["there is no pin 9"]);
    ks(&["set", "test-camera.0", "connection-state", "walk"]).refused(2, &["STOP, ACQUIRE, PAUSE or RUN"]);
    ks(&["set", "test-camera", "pin-ctypes", "2"]).refused(2, &["it has none"]);
    let get = |place: &str, what: &str, node: &str| ks(&["get", place, what, "--node", node]);
    let named = get("looped-speaker-topology", "topology-name", "0").done();
    assert_eq!(named.stdout, "KSPROPERTY_TOPOLOGY_NAME: KSNODETYPE_MUTE\n");
    get("looped-speaker-topology", "audio-mute", "1").refused(1, &["1 topology nodes and no node 1"]);
    ks(&["get", "looped-speaker-topology", "audio-mute"]).refused(2, &["node 0 has it", "--node 0"]);
    let wires = ks(&["get", "looped-speaker-topology", "topology-connections"]).done();
    assert!(wires.stdout.ends_with(": pin 0 -> node 0 pin 1, node 0 pin 0 -> pin 1\n"), "{wires}");
    let wire = ks(&["get", "looped-speaker.1", "pin-physicalconnection"]).done();
    assert!(wire.stdout.contains("pin 0 of ") && wire.stdout.contains("looped-speaker-topology"), "{wire}");
    let nothing = ks(&["run", "test-microphone ! looped-speaker-topology"]);
    nothing.refused(2, &["is a bridge", "looped-speaker-topology.0 (in)"]);
    ks(&["get", "test-camera", "topology-name", "--node", "3"]).refused(1, &["0 topology nodes"]);
    ks(&["events", "test-camera", "vidcap-serch"]).refused(2, &["`VIDCAP_SEARCH`"]);
    ks(&["events", "test-camera", "vidcap-search", "--run"]).refused(2, &["--run needs a pin"]);
    ks(&["events", "test-camera", "vidcap-search"]).refused(2, &["it has none"]);
}

#[test]
fn events_are_waited_for_until_the_time_is_up() {
    let late = ks(&["events", "test-camera.0", "connection-datadiscontinuity", "--timeout", "0.05", "--json"]);
    assert_eq!(late.code, Some(1), "{late}");
    let document = late.json();
    assert_eq!(document["event"], "KSEVENT_CONNECTION_DATADISCONTINUITY");
    assert_eq!((document["complete"].as_bool(), document["at_ns"].as_array().unwrap().len()), (Some(false), 0));
    assert!(late.stderr.contains("0 of 1 came in time"), "{late}");
}

#[test]
fn inspect_lists_properties_methods_and_events_with_their_access() {
    let document = ks(&["inspect", "test-camera", "--pins", "--json"]).done().json();
    let find = |list: &serde_json::Value, name: &str| {
        let found = list.as_array().unwrap().iter().find(|item| item["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name} is missing"))
    };
    assert_eq!(find(&document["properties"], "KSPROPERTY_PIN_CTYPES")["access"], serde_json::json!(["get"]));
    let pin = &document["pins"][0];
    let state = find(&pin["properties"], "KSPROPERTY_CONNECTION_STATE");
    assert_eq!(
        (state["access"].clone(), state["set"].as_str()),
        (serde_json::json!(["get", "set"]), Some("KSPROPSETID_Connection"))
    );
    assert_eq!(find(&pin["events"], "KSEVENT_CONNECTION_DATADISCONTINUITY")["access"], serde_json::json!(["enable"]));
    let text = ks(&["inspect", "test-camera"]).done().stdout;
    assert!(text.contains("\nProperties\n") && text.contains("KSPROPERTY_PIN_CTYPES"), "{text}");
    assert!(!text.contains("of pin 0"), "pins are created only when that is asked for");
}

#[test]
fn a_driver_in_its_own_process_answers_the_same_verbs() {
    let driver = synthcam();
    let pin = format!("{driver}.0");
    assert_eq!(ks(&["get", &driver, "pin-ctypes"]).done().stdout, "KSPROPERTY_PIN_CTYPES: 1\n");
    let state = ks(&["set", &pin, "connection-state", "acquire"]).done();
    assert_eq!(state.stdout.trim_end(), "KSPROPERTY_CONNECTION_STATE: ACQUIRE");
    let document = ks(&["inspect", &driver, "--pins", "--json"]).done().json();
    assert!(!document["properties"].as_array().unwrap().is_empty());
    assert!(!document["pins"][0]["properties"].as_array().unwrap().is_empty());
    ks(&["events", &pin, "connection-endofstream", "--timeout", "0.05"]).refused(2, &["it has none"]);
}
