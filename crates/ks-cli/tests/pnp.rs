//! `ks pnp`: a driver that is stopped, removed and put to sleep while it streams.

mod driver_rig;
mod support;

use driver_rig::{copied, of_tests, sample};
use serde_json::Value;
use support::{Scratch, ks};

fn outcomes(document: &Value) -> Vec<String> {
    let word = |result: &Value, key: &str| result[key].as_str().unwrap_or("?").to_owned();
    let tests = document["tests"].as_array().expect("tests");
    tests.iter().map(|result| format!("{} {}", word(result, "test"), word(result, "outcome"))).collect()
}

const ALL: [&str; 7] = [
    "cancel-stop passed",
    "rebalance passed",
    "cancel-remove passed",
    "sleep passed",
    "system-sleep passed",
    "disable-enable passed",
    "surprise-removal passed",
];

#[test]
fn a_sample_driver_works_after_every_request() {
    let scratch = Scratch::new();
    let camera = copied(&scratch, &sample("synthcam"));
    let ran = ks(&["pnp", &format!("{camera} ! null-renderer"), "--frames", "3", "--fail-on-leak", "--json"]).done();
    let document = ran.json();
    assert_eq!(outcomes(&document), ALL, "{ran}");
    for result in document["tests"].as_array().expect("tests") {
        assert!(result["frames_before"].as_u64() >= Some(3) && result["frames_after"].as_u64() >= Some(3), "{ran}");
    }
    assert!(document.get("error").is_none() && document.get("left_behind").is_none(), "{ran}");
}

#[test]
fn a_table_shows_what_the_driver_did() {
    let driver = of_tests("ks/life", &[]);
    let ran = ks(&["pnp", &driver, "--test", "sleep,cancel-remove"]).done();
    let first = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = ran.stdout.lines().map(first).collect();
    assert_eq!(lines, ["test outcome", "sleep passed", "cancel-remove passed"], "{ran}");
}

#[test]
fn a_driver_that_refuses_is_told_and_is_no_failure() {
    // QueryStop, QueryRemove and QueryPower are refused.
    let driver = of_tests("ks/life", &["-DREFUSES=7"]);
    let ran = ks(&["pnp", &format!("{driver} ! null-renderer"), "--json"]).done();
    let document = ran.json();
    let wanted = [
        "cancel-stop refused",
        "rebalance refused",
        "cancel-remove passed",
        "sleep refused",
        "system-sleep refused",
        "disable-enable refused",
        "surprise-removal passed",
    ];
    assert_eq!(outcomes(&document), wanted, "{ran}");
    assert!(
        document["tests"][0]["status"].as_str().is_some_and(|status| status.contains("STATUS_DEVICE_BUSY")),
        "{ran}"
    );
}

#[test]
fn a_driver_that_does_not_come_back_fails_the_test_by_name() {
    let driver = of_tests("ks/life", &["-DBREAKS_ON_STOP"]);
    let ran = ks(&["pnp", &format!("{driver} ! null-renderer"), "--json"]).refused(1, &["pass `rebalance` with"]);
    let document = ran.json();
    assert_eq!(outcomes(&document), ["cancel-stop passed", "rebalance failed"], "{ran}");
    assert_eq!(document["error"]["kind"], "job");
    let driver = of_tests("ks/life", &["-DSTANDS_STILL"]);
    ks(&["pnp", &driver, "--test", "sleep"]).refused(1, &["pass `sleep` with", "no frame came for 5 s"]);
}

#[test]
fn of_several_drivers_in_one_host_the_one_that_is_named_is_asked() {
    // One refuses everything, the other nothing.
    let refusing = of_tests("ks/life", &["-DREFUSES=7"]);
    let scratch = Scratch::new();
    let willing = copied(&scratch, &sample("mirror"));
    let camera = copied(&scratch, &sample("synthcam"));
    let graph = format!("{camera} ! {willing} ! null-renderer  {refusing} ! null-renderer");
    for (driver, outcome) in [("life-DREFUSES7.sys", "refused"), ("mirror.sys", "passed"), ("synthcam.sys", "passed")] {
        let ran = ks(&["pnp", &graph, "--together", "--driver", driver, "--test", "rebalance", "--json"]).done();
        let document = ran.json();
        assert_eq!(outcomes(&document), [format!("rebalance {outcome}")], "{driver}\n{ran}");
        assert!(document["driver"].as_str().is_some_and(|named| named.ends_with(driver)), "{ran}");
    }
    let words = ["no such driver file", "synthcam.sys, mirror.sys, life-DREFUSES7.sys"];
    ks(&["pnp", &graph, "--together", "--driver", "other.sys"]).refused(2, &words);
}

#[test]
fn a_graph_without_a_driver_file_is_a_usage_error() {
    ks(&["pnp", "test-camera ! null-renderer"]).refused(2, &["the graph names no driver file", "hint: ks pnp"]);
    ks(&["pnp", "./a.sys", "--test", "rebalnce"]).refused(2, &["rebalance"]);
}

#[test]
fn a_device_is_cooled_while_it_streams_where_its_driver_has_routines_for_it() {
    let scratch = Scratch::new();
    for (driver, outcome) in [(of_tests("ks/life", &[]), "passed"), (copied(&scratch, &sample("synthcam")), "refused")]
    {
        let graph = format!("{driver} ! null-renderer");
        let ran = ks(&["pnp", &graph, "--test", "thermal", "--frames", "3", "--json"]).done();
        let document = ran.json();
        assert_eq!(outcomes(&document), [format!("thermal {outcome}")], "{ran}");
        let result = &document["tests"][0];
        assert!(result["frames_after"].as_u64() >= Some(3), "{ran}");
        let status = result["status"].as_str().unwrap_or("");
        assert_eq!(status.starts_with("STATUS_NOT_SUPPORTED"), outcome == "refused", "{ran}");
    }
}
