//! What `ks` says to who asks, and to who asks wrongly.

mod support;

use support::{Scratch, ks, shell};

#[test]
fn ks_alone_shows_five_commands_to_try() {
    let ran = ks::<&str>(&[]).done();
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("  ks ")).count(), 5, "{ran}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn each_verb_has_help_that_names_the_exit_codes() {
    for verb in ["run", "list", "inspect", "snapshot", "pnp", "default", "completions"] {
        let ran = ks(&[verb, "--help"]).done();
        assert!(ran.stdout.contains(&format!("Usage: ks {verb}")), "{ran}");
        assert!(verb == "completions" || ran.stdout.contains("Exit codes:"), "{ran}");
        assert_eq!(ks(&["help", verb]).done().stdout, ran.stdout);
        assert!(ks(&["--help"]).done().stdout.contains(&format!("\n  {verb} ")), "{verb}");
    }
    assert!(ks(&["--version"]).done().stdout.starts_with("ks "));
}

#[test]
fn help_fits_a_terminal_of_100_columns() {
    for verb in ["run", "list", "inspect", "snapshot", "pnp", "default"] {
        for line in ks(&[verb, "--help"]).done().stdout.lines() {
            assert!(line.chars().count() <= 100, "{verb}: {line}");
        }
    }
}

#[test]
fn a_completion_script_is_one_that_bash_takes() {
    let ran = shell("source <(\"$KS\" completions bash) && complete -p ks").done();
    assert!(ran.stdout.contains("_ks"), "{ran}");
    ks(&["completions", "tcsh-ish"]).refused(2, &["invalid value"]);
}

#[test]
fn an_unknown_verb_is_a_usage_error_with_the_closest_one() {
    ks(&["rnu"]).refused(2, &["unrecognized subcommand 'rnu'", "did you mean `run`?"]);
    ks(&["inspec", "test-camera"]).refused(2, &["'inspect'"]);
    ks(&["--jsno"]).refused(2, &["--jsno"]);
}

#[test]
fn missing_or_wrong_arguments_are_usage_errors() {
    ks(&["run"]).refused(2, &["<GRAPH>"]);
    ks(&["inspect"]).refused(2, &["<FILTER>"]);
    ks(&["snapshot", "test-camera"]).refused(2, &["--output"]);
    ks(&["list", "extra"]).refused(2, &["extra"]);
    for (option, value) in [
        ("--frames", "0"),
        ("--frames", "-1"),
        ("--frames", "many"),
        ("--frames", "18446744073709551616"),
        ("--seconds", "0"),
        ("--seconds", "-1"),
        ("--seconds", "nan"),
        ("--seconds", "soon"),
    ] {
        ks(&["run", "test-camera", option, value]).refused(2, &[option, value]);
    }
}

#[test]
fn mistakes_in_the_text_of_a_graph_are_pointed_out() {
    for (graph, why) in [
        ("", "the graph is empty"),
        ("   ", "the graph is empty"),
        ("test-camera !", "`!` links nothing"),
        ("! test-camera", "`!` links nothing"),
        ("test-camera ! ! null-renderer", "`!` links nothing"),
        ("test-camera!null-renderer", "`test-camera!null-renderer` has a `!` in it"),
        ("test-camera ! x.", "no element has the label `x`"),
        ("test-camera name=a null-renderer name=a", "two elements have the label `a`"),
        ("test-camera 1=2", "`1` is not a key"),
        ("width=3 test-camera", "`width=3` belongs to no element"),
        ("y4m-writer path=\"x", "the quote has no end"),
        ("test-camera name=c c.4294967296 ! null-renderer", "the pin number of `c.4294967296` is too large"),
        ("x name=a ! y name=b ! a.", "the links make a loop: a ! b ! a"),
        ("x name=a ! a.", "`a` is linked to itself"),
        ("null-renderer name=r  test-camera ! r. path=3", "`path=3` follows a reference"),
    ] {
        let ran = ks(&["run", graph]).refused(2, &["error: cannot read the graph: ", why, "\nhint: "]);
        assert_eq!(ran.stdout, "", "{graph}");
        assert!(graph.trim().is_empty() || ran.stderr.contains('^'), "{ran}");
    }
}

#[test]
fn a_graph_that_is_too_large_is_refused_before_anything_is_opened() {
    ks(&["run", &"x ".repeat(1001)]).refused(2, &["one element too many", "1000"]);
    ks(&["run", &" ".repeat(65_537)]).refused(2, &["the graph is too long", "65536"]);
}

#[test]
fn json_of_a_run_that_cannot_start_is_one_document() {
    let ran = ks(&["run", "test-camera ! x.", "--json"]).refused(2, &["no element has the label `x`"]);
    let document = ran.json();
    assert_eq!(document["status"], "failed");
    assert_eq!(document["connections"], serde_json::json!([]));
    assert_eq!(document["error"]["kind"], "usage");
    assert_eq!(document["error"]["why"], "no element has the label `x`");
}

#[test]
fn a_snapshot_is_of_one_filter() {
    let scratch = Scratch::new();
    let path = scratch.path("a.png");
    ks(&["snapshot", "test-camera ! null-renderer", "-o", &path]).refused(2, &["it is of one filter"]);
    ks(&["snapshot", "test-camera !", "-o", &path]).refused(2, &["`!` links nothing"]);
    assert!(!scratch.directory().join("a.png").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    shell("\"$KS\" run --help | true; exit ${PIPESTATUS[0]}").done();
    shell("\"$KS\" | true; exit ${PIPESTATUS[0]}").done();
    shell("\"$KS\" >&-").done();
    let ran = shell("\"$KS\" rnu 2>&-");
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for verb in ["", "help", "--version", "list", "inspect test-camera --json", "run test-camera --frames 1"] {
        let ran = shell(&format!("\"$KS\" {verb} > /dev/full"));
        ran.refused(1, &["cannot write to standard output: No space left on device"]);
    }
}
