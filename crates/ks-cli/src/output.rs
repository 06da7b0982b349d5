//! Standard output and standard error, either of which may be closed at any time.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

use ks_broker::terminal::printable;

use crate::failure::Failure;

/// Writes text to standard output, without what could steer a terminal. A reader that went away, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines(text).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::job("write to standard output", error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document and a newline to standard output.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::job("write the JSON document", error.to_string()))?;
    text.push('\n');
    print(&text)
}

/// Writes a line to standard error, if anyone listens, without what could steer a terminal.
pub(crate) fn complain(message: &impl fmt::Display) {
    _ = writeln!(io::stderr().lock(), "{}", lines(&message.to_string()));
}

/// All that this program prints goes through here: of control characters, ends of lines and tabulators remain.
fn lines(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_nothing_else_is_left_to_steer_with() {
        assert_eq!(lines("a\tb\n\n\u{1b}[31mc\r\u{9b}\n"), "a\tb\n\n\u{fffd}[31mc\u{fffd}\u{fffd}\n");
    }
}
