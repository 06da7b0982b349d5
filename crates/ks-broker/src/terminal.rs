//! Text that another process sent, made fit to be shown.

/// The text with a replacement character in place of everything that steers a terminal or turns a line around: control
/// characters, line and paragraph ends, marks of writing direction, and what has no width.
///
/// Every string of a driver's process goes through here when it enters this one, so that whoever prints it later, or
/// writes it to a document, need not think of it.
pub fn printable(text: &str) -> String {
    text.chars().map(|char| if is_harmful(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_replaced_and_letters_of_all_scripts_stay() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\r\nd\u{7f}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}d\u{fffd}");
        assert_eq!(printable("cam\u{202e}sys.exe\u{2066}\u{feff}"), "cam\u{fffd}sys.exe\u{fffd}\u{fffd}");
        assert_eq!(printable("Kamera é 摄像头 كاميرا"), "Kamera é 摄像头 كاميرا");
    }
}
