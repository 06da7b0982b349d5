//! The piece of a text that an error is about, with a caret line under it.

use std::fmt;
use std::ops::Range;

/// Characters shown before and after the place of interest in a long line.
const CONTEXT_CHARS: usize = 48;

/// One line of a text and the part of it that an error points to.
///
/// Displays as two lines of equal start, without a newline at the end:
///
/// ```text
/// test-camera ! x.
///               ^^
/// ```
///
/// Control characters of the text show as blanks, so that a terminal shows what was meant and the carets stand where
/// they should. A line that is longer than a terminal is cut on both sides of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    line: String,
    caret_column: usize,
    caret_chars: usize,
}

impl Excerpt {
    /// Cuts the line that holds the byte range `place` out of `text`.
    ///
    /// Any range is taken: one that is beyond the text or inside a character is moved to the nearest place before it.
    #[must_use]
    pub fn new(text: &str, place: Range<usize>) -> Self {
        let start = floor_char_boundary(text, place.start);
        let end = floor_char_boundary(text, place.end).max(start);
        let (before, rest) = text.split_at(start);
        let marked = rest.get(..end.saturating_sub(start)).unwrap_or(rest);
        let marked = marked.split('\n').next().unwrap_or(marked);
        let after = rest.get(marked.len()..).unwrap_or("");

        let before = before.rsplit('\n').next().unwrap_or(before);
        let after = after.split('\n').next().unwrap_or(after);
        let mut line = String::new();
        let cut = before.char_indices().rev().nth(CONTEXT_CHARS).map(|(at, c)| at.saturating_add(c.len_utf8()));
        if let Some(cut) = cut {
            line.push('…');
            line.extend(before.get(cut..).unwrap_or("").chars().map(shown));
        } else {
            line.extend(before.chars().map(shown));
        }
        let caret_column = line.chars().count();
        let mut caret_chars = 0_usize;
        for c in marked.chars().take(CONTEXT_CHARS) {
            line.push(shown(c));
            caret_chars = caret_chars.saturating_add(1);
        }
        if marked.chars().nth(CONTEXT_CHARS).is_some() {
            line.push('…');
        } else {
            line.extend(after.chars().take(CONTEXT_CHARS).map(shown));
            if after.chars().nth(CONTEXT_CHARS).is_some() {
                line.push('…');
            }
        }
        line.truncate(line.trim_end().len());
        Self { line, caret_column, caret_chars: caret_chars.max(1) }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{:column$}{:^>carets$}",
            self.line,
            "",
            "",
            column = self.caret_column,
            carets = self.caret_chars
        )
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

fn shown(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carets_stand_under_the_place() {
        assert_eq!(Excerpt::new("test-camera ! x.", 14..16).to_string(), "test-camera ! x.\n              ^^");
    }

    #[test]
    fn only_the_line_of_the_place_is_shown() {
        assert_eq!(Excerpt::new("a !\nbad=\u{7}\n! c", 4..8).to_string(), "bad=\n^^^^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{} here {}", "x".repeat(200), "y".repeat(200));
        let shown = Excerpt::new(&text, 201..205).to_string();
        let (line, carets) = shown.split_once('\n').expect("two lines");
        assert!(line.starts_with('…') && line.ends_with('…') && line.chars().count() < 110, "{shown}");
        assert_eq!(carets.find('^').map(|at| line.chars().skip(at).take(4).collect::<String>()), Some("here".into()));
    }

    #[test]
    fn a_place_outside_of_the_text_or_inside_a_character_is_taken() {
        assert_eq!(Excerpt::new("ab", 90..99).to_string(), "ab\n  ^");
        assert_eq!(Excerpt::new("é", 1..2).to_string(), "é\n^");
        assert_eq!(Excerpt::new("", 0..0).to_string(), "\n^");
    }
}
