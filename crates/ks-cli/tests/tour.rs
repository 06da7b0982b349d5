//! The commands of `docs/mission-tour.md` run, and say what the tour shows.

mod support;

use support::{Scratch, shell};

const TOUR: &str = include_str!("../../../docs/mission-tour.md");

/// Each command of the tour, with the lines that are shown below it.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_shown = false;
    for line in TOUR.lines() {
        if let Some(command) = line.strip_prefix("    $ ks ") {
            commands.push((command, Vec::new()));
            is_shown = true;
        } else if let (Some(shown), true, Some((_, lines))) = (line.strip_prefix("    "), is_shown, commands.last_mut())
        {
            lines.push(shown);
        } else {
            is_shown = false;
        }
    }
    commands
}

#[test]
fn the_commands_of_the_tour_say_what_it_shows() {
    let commands = commands();
    assert!(commands.len() >= 4, "{commands:?}");
    let scratch = Scratch::new();
    for (command, shown) in commands {
        let ran = shell(&format!("cd '{}' && \"$KS\" {command}", scratch.path("")));
        let is_refused = shown.iter().any(|line| line.starts_with("error: "));
        assert_eq!(ran.code == Some(0), !is_refused, "ks {command}\n{ran}");
        let said = if is_refused { &ran.stderr } else { &ran.stdout };
        // How wide a column is depends on what else is in it.
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in shown.iter().map(|line| words(line)) {
            assert!(said.lines().any(|one| words(one).starts_with(&line)), "`{line}` is missing\nks {command}\n{ran}");
        }
    }
}
