//! `ks default`: the link that `\\.\filters\audio\default renderer` is.

mod support;

use support::{Ran, Scratch, ks_command};

const LINK: &str = r"\\.\filters\audio\default renderer";
/// The same inside the quotes of a graph, where a backslash makes the next character an ordinary one.
const QUOTED: &str = r"'\\\\.\\filters\\AUDIO\\Default Renderer'";

/// `ks` for a user whose configuration is below the scratch directory.
fn ks(scratch: &Scratch, arguments: &[&str]) -> Ran {
    let mut command = ks_command(arguments);
    command.env("XDG_CONFIG_HOME", scratch.directory().join("config"));
    command.output().expect("timeout(1) runs").into()
}

fn file(scratch: &Scratch) -> std::path::PathBuf {
    scratch.directory().join("config/userks/defaults.toml")
}

#[test]
fn the_default_renderer_is_the_filter_that_was_set() {
    let scratch = Scratch::new();
    let shown = ks(&scratch, &["default", "show"]).done();
    assert!(shown.stdout.contains("not set") && shown.stdout.contains(LINK), "{shown}");
    ks(&scratch, &["inspect", LINK]).refused(2, &[LINK, "is not set", "ks default"]);
    ks(&scratch, &["run", &format!("test-microphone live=false ! {QUOTED}")]).refused(2, &[LINK, "is not set"]);
    assert!(!file(&scratch).exists(), "asking writes nothing");
    // By any name of the filter; it is remembered by the one that lasts.
    let set = ks(&scratch, &["default", "set", "audio-renderer", "WAV-Writer"]).done();
    assert_eq!(set.stdout, format!("{LINK} -> wav-writer\n"));
    let document = ks(&scratch, &["default", "show", "--json"]).done().json();
    assert_eq!(document["file"], file(&scratch).to_str().expect("a path in UTF-8"));
    assert_eq!(
        document["defaults"],
        serde_json::json!([{ "kind": "audio-renderer", "link": LINK, "filter": "wav-writer", "exists": true }])
    );
    assert_eq!(ks(&scratch, &["inspect", LINK, "--json"]).done().json()["name"], "wav-writer");
    let wav = scratch.path("out.wav");
    let graph = format!("test-microphone live=false frames=3 ! {QUOTED} path={wav}");
    ks(&scratch, &["run", &graph]).done();
    assert!(std::fs::metadata(&wav).expect("the writer was the renderer").len() > 44);
    // Another one takes its place, and none.
    ks(&scratch, &["default", "set", "audio-renderer", "null-renderer"]).done();
    assert_eq!(ks(&scratch, &["inspect", LINK, "--json"]).done().json()["name"], "null-renderer");
    ks(&scratch, &["default", "clear"]).done();
    ks(&scratch, &["inspect", LINK]).refused(2, &["is not set"]);
    ks(&scratch, &["default", "clear", "audio-renderer"]).done();
}

#[test]
fn a_link_to_nothing_says_where_it_leads() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(file(&scratch).parent().expect("a directory")).expect("a directory");
    std::fs::write(file(&scratch), "[links]\naudio-renderer = \"gone-card\"\n").expect("a file");
    for arguments in [vec!["inspect", LINK], vec!["run", &format!("test-microphone ! {QUOTED}")]] {
        ks(&scratch, &arguments).refused(2, &[LINK, "leads to gone-card", "no filter of that name"]);
    }
    let shown = ks(&scratch, &["default", "show"]).done();
    assert!(shown.stdout.contains("gone-card (there is no such filter)"), "{shown}");
    assert_eq!(ks(&scratch, &["default", "show", "--json"]).done().json()["defaults"][0]["exists"], false);
    // A link leads to a filter, not to another link.
    let to_itself = format!("[links]\naudio-renderer = '{LINK}'\n");
    std::fs::write(file(&scratch), to_itself).expect("a file");
    ks(&scratch, &["inspect", LINK]).refused(2, &["no filter of that name"]);
}

#[test]
fn what_is_no_renderer_is_not_set() {
    let scratch = Scratch::new();
    let set = |name: &str| ks(&scratch, &["default", "set", "audio-renderer", name]);
    set("nul-renderer").refused(2, &["nul-renderer", "did you mean `null-renderer`?"]);
    set("test-microphone").refused(2, &["test-microphone", "takes audio"]);
    set("y4m-writer").refused(2, &["takes audio"]);
    set(LINK).refused(2, &["a link itself"]);
    ks(&scratch, &["default", "set", "audio-capture", "x"]).refused(2, &["audio-capture", "audio-renderer"]);
    ks(&scratch, &["default", "set", "audio-renderer"]).refused(2, &["<FILTER>"]);
    ks(&scratch, &["default"]).refused(2, &["Usage: ks default"]);
    assert!(!file(&scratch).exists());
}

#[test]
fn a_broken_file_is_named_and_kept() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let name = path.to_str().expect("a path in UTF-8");
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(&path, "[links\n").expect("a file");
    ks(&scratch, &["default", "show"]).refused(1, &[name]);
    ks(&scratch, &["default", "set", "audio-renderer", "null-renderer"]).refused(1, &[name]);
    ks(&scratch, &["default", "clear"]).refused(1, &[name]);
    ks(&scratch, &["inspect", LINK]).refused(2, &[LINK, name]);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "[links\n");
    // A directory that cannot be made.
    std::fs::remove_dir_all(scratch.directory().join("config")).expect("an empty scratch");
    std::fs::write(scratch.directory().join("config"), "").expect("a file");
    ks(&scratch, &["default", "set", "audio-renderer", "null-renderer"]).refused(1, &["defaults.toml"]);
    let mut command = ks_command(&["default", "show"]);
    let homeless: Ran =
        command.env_remove("HOME").env("XDG_CONFIG_HOME", "relative").output().expect("timeout(1) runs").into();
    homeless.refused(1, &["XDG_CONFIG_HOME", "HOME"]);
}
