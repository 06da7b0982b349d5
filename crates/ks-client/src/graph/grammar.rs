//! The grammar of graphs, as users of `gst-launch` know it.
//!
//! ```text
//! graph     = chain , { space , chain } ;                 chains stand side by side, and are linked through labels
//! chain     = node , { space , "!" , space , node } ;     data flows from left to right
//! node      = element | reference ;
//! element   = name , { space , setting } ;
//! reference = label , "." , [ digits ] ;                  any pin, or the one with that number
//! setting   = key , "=" , value ;                         name=LABEL labels the element
//! ```
//!
//! - A word with `/` or ending in `.sys` is the path of a driver file, and stands where a name may stand.
//! - A name or a value may be put in double or single quotes; in there a backslash makes the next character an
//!   ordinary one. Outside of quotes a backslash *is* an ordinary one, because symbolic links are full of them.
//! - A word that has `!` in it, but is not the link itself, must be in quotes.
//! - A label has ASCII letters, digits, `_` and `-`. A key has the same, and starts with a letter or `_`.
//! - Labels may be used before the element that has them.
//!
//! A `tee` with a label has one branch for each link that leaves it, the first in its own chain or not:
//!
//! ```text
//! test-camera ! tee name=t ! y4m-writer path=a.y4m   t. ! video-converter ! null-renderer   t. ! null-renderer
//! ```
//!
//! A text may have [`MAX_TEXT_BYTES`] bytes and [`MAX_ELEMENTS`] elements. Time and memory are linear in the text.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use super::excerpt::Excerpt;
pub use super::spec::{Element, Graph, Link, PinRef, Setting};

/// The longest text that is read.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The most elements a graph may have.
pub const MAX_ELEMENTS: usize = 1000;

/// Reads the text of a graph.
///
/// # Errors
/// The first mistake in the text, with its place, the word at fault and what to do about it.
pub fn parse(text: &str) -> Result<Graph, GrammarError> {
    if text.len() > MAX_TEXT_BYTES {
        let hint = format!("a graph may have {MAX_TEXT_BYTES} bytes of text, this one has {}", text.len());
        return Err(GrammarError::new(GrammarErrorKind::TooLong, text, 0..0, hint));
    }
    let mut parser = Parser::new(text);
    let mut words = Words { text, at: 0 };
    while let Some(word) = words.next_word()? {
        parser.take(word)?;
    }
    parser.finish()
}

/// What is wrong with the text of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrammarErrorKind {
    /// There is no element.
    Empty,
    /// The text is longer than [`MAX_TEXT_BYTES`].
    TooLong,
    /// There are more than [`MAX_ELEMENTS`] elements.
    TooManyElements,
    /// `!` with nothing before or after it.
    EmptyLink,
    /// `!` is part of a word that is not in quotes.
    LinkInsideWord,
    /// A word that cannot name an element.
    BadName,
    /// A word before `=` that is not a key.
    BadKey,
    /// A label with characters that a reference to it could not have.
    BadLabel,
    /// An element has the same key twice.
    DuplicateKey,
    /// Two elements have the same label.
    DuplicateLabel,
    /// `key=value` with no element before it.
    SettingWithoutElement,
    /// `key=value` after a reference.
    ReferenceWithSettings,
    /// A reference to a label that no element has.
    DanglingLabel,
    /// A reference that is linked to nothing.
    UnlinkedReference,
    /// A pin number that is beyond 32 bits.
    PinNumberTooLarge,
    /// A quote that does not end.
    UnterminatedQuote,
    /// Something that touches the closing quote.
    TextAfterQuote,
    /// An element is linked to itself.
    SelfLink,
    /// Links lead from an element back to it.
    Loop,
}

/// A mistake in the text of a graph.
///
/// Displays as the message and hint on one line, the place in the text on the next, and carets under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError {
    /// What is wrong.
    pub kind: GrammarErrorKind,
    /// Byte offset in the text.
    pub at: usize,
    /// The word at fault; for a loop, its elements.
    pub word: String,
    /// What to do about it.
    pub hint: String,
    excerpt: Excerpt,
}

impl GrammarError {
    fn new(kind: GrammarErrorKind, text: &str, place: Range<usize>, hint: impl Into<String>) -> Self {
        let word = text.get(place.clone()).unwrap_or("").to_owned();
        Self { kind, at: place.start, word, hint: hint.into(), excerpt: Excerpt::new(text, place) }
    }

    fn with_word(mut self, word: impl Into<String>) -> Self {
        self.word = word.into();
        self
    }

    /// What is wrong, in one line, without the hint.
    #[must_use]
    pub fn why(&self) -> String {
        self.kind.describe(&abbreviated(&self.word))
    }

    /// The place in the text.
    #[must_use]
    pub fn excerpt(&self) -> &Excerpt {
        &self.excerpt
    }
}

impl GrammarErrorKind {
    fn describe(self, word: &str) -> String {
        match self {
            Self::Empty => "the graph is empty".into(),
            Self::TooLong => "the graph is too long".into(),
            Self::TooManyElements => format!("`{word}` is one element too many"),
            Self::EmptyLink => "`!` links nothing".into(),
            Self::LinkInsideWord => format!("`{word}` has a `!` in it"),
            Self::BadName => format!("`{word}` cannot name an element"),
            Self::BadKey => format!("`{word}` is not a key"),
            Self::BadLabel => format!("`{word}` cannot be a label"),
            Self::DuplicateKey => format!("the key `{word}` is given twice"),
            Self::DuplicateLabel => format!("two elements have the label `{word}`"),
            Self::SettingWithoutElement => format!("`{word}` belongs to no element"),
            Self::ReferenceWithSettings => format!("`{word}` follows a reference"),
            Self::DanglingLabel => format!("no element has the label `{word}`"),
            Self::UnlinkedReference => format!("the reference `{word}` is linked to nothing"),
            Self::PinNumberTooLarge => format!("the pin number of `{word}` is too large"),
            Self::UnterminatedQuote => "the quote has no end".into(),
            Self::TextAfterQuote => format!("`{word}` touches the closing quote"),
            Self::SelfLink => format!("`{word}` is linked to itself"),
            Self::Loop => format!("the links make a loop: {word}"),
        }
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{}", self.why(), self.hint, self.excerpt)
    }
}

impl std::error::Error for GrammarError {}

/// Whether a word is the path of a driver file.
pub fn is_driver_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".sys")
}

/// Whether a name reads as that name without quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut words = Words { text: name, at: 0 };
    matches!(words.next_word(), Ok(Some(Word { token: Token::Name(word), .. })) if word == name)
}

/// Whether a value reads as that value without quotes.
pub(super) fn is_plain_value(value: &str) -> bool {
    !value.is_empty() && !value.starts_with(['"', '\'']) && !value.contains(|c: char| c == '!' || c.is_whitespace())
}

fn abbreviated(word: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    let mut shown: String = word.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if word.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn is_label(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_key(word: &str) -> bool {
    is_label(word) && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[derive(Clone, Debug)]
struct Word<'t> {
    place: Range<usize>,
    token: Token<'t>,
}

#[derive(Clone, Debug)]
enum Token<'t> {
    Link,
    Name(Cow<'t, str>),
    Reference { label: &'t str, pin: Option<u32> },
    Setting { key: &'t str, value: Cow<'t, str> },
}

struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn next_word(&mut self) -> Result<Option<Word<'t>>, GrammarError> {
        let rest = self.rest();
        self.skip(rest.len().saturating_sub(rest.trim_start().len()));
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        if matches!(first, '"' | '\'') {
            let name = self.quoted(first)?;
            let place = start..self.at;
            if name.is_empty() {
                return Err(self.error(GrammarErrorKind::BadName, place, "put a name between the quotes"));
            }
            return Ok(Some(Word { place, token: Token::Name(name) }));
        }

        let bare = rest.split(char::is_whitespace).next().unwrap_or(rest);
        let token = match bare.split_once('=') {
            Some((key, value)) if !key.contains('/') => {
                if !is_key(key) {
                    let hint = if key.contains('!') {
                        "put white space on both sides of `!`"
                    } else {
                        "a setting is key=value, and a key has letters, digits, `_` and `-`; quote a name that has `=`"
                    };
                    let place = start..start.saturating_add(key.len());
                    return Err(self.error(GrammarErrorKind::BadKey, place, hint));
                }
                self.skip(key.len().saturating_add(1));
                let value = match value.chars().next() {
                    Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
                    _ => {
                        self.skip(value.len());
                        self.refuse_link_inside(value, start)?;
                        Cow::Borrowed(value)
                    }
                };
                Token::Setting { key, value }
            }
            _ => {
                self.skip(bare.len());
                self.bare_word(bare, start)?
            }
        };
        Ok(Some(Word { place: start..self.at, token }))
    }

    fn bare_word(&self, word: &'t str, start: usize) -> Result<Token<'t>, GrammarError> {
        if word == "!" {
            return Ok(Token::Link);
        }
        self.refuse_link_inside(word, start)?;
        if is_driver_file(word) {
            return Ok(Token::Name(Cow::Borrowed(word)));
        }
        let Some((label, digits)) = word.rsplit_once('.') else { return Ok(Token::Name(Cow::Borrowed(word))) };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Token::Name(Cow::Borrowed(word)));
        }
        if label.is_empty() {
            let hint = "a reference is a label, a dot, and a pin number or nothing";
            return Err(self.error(GrammarErrorKind::BadName, start..self.at, hint));
        }
        if !is_label(label) {
            return Ok(Token::Name(Cow::Borrowed(word)));
        }
        let pin = match digits {
            "" => None,
            digits => Some(digits.parse().map_err(|_| {
                let hint = format!("the largest is {}", u32::MAX);
                self.error(GrammarErrorKind::PinNumberTooLarge, start..self.at, hint)
            })?),
        };
        Ok(Token::Reference { label, pin })
    }

    /// Reads from an opening quote to behind the closing one, which must end the word.
    fn quoted(&mut self, quote: char) -> Result<Cow<'t, str>, GrammarError> {
        let start = self.at;
        self.skip(quote.len_utf8());
        let body = self.rest();
        let mut unescaped: Option<String> = None;
        let mut chars = body.char_indices();
        while let Some((at, c)) = chars.next() {
            let taken = match c {
                '\\' => {
                    let text = unescaped.get_or_insert_with(|| body.get(..at).unwrap_or("").to_owned());
                    let Some((_, escaped)) = chars.next() else { break };
                    text.push(escaped);
                    continue;
                }
                c if c == quote => at,
                c => {
                    if let Some(text) = &mut unescaped {
                        text.push(c);
                    }
                    continue;
                }
            };
            self.skip(taken.saturating_add(quote.len_utf8()));
            let tail = self.rest().split(char::is_whitespace).next().unwrap_or("");
            if !tail.is_empty() {
                let place = self.at..self.at.saturating_add(tail.len());
                let hint = format!("put white space after the quote, or \\{quote} for a quote inside");
                return Err(self.error(GrammarErrorKind::TextAfterQuote, place, hint));
            }
            return Ok(unescaped.map_or_else(|| Cow::Borrowed(body.get(..taken).unwrap_or("")), Cow::Owned));
        }
        let hint = format!("close it with {quote}");
        Err(self.error(GrammarErrorKind::UnterminatedQuote, start..start.saturating_add(1), hint))
    }

    fn refuse_link_inside(&self, word: &str, start: usize) -> Result<(), GrammarError> {
        if word.contains('!') {
            let hint = "put white space on both sides of `!`, or quotes around a word that has one";
            return Err(self.error(GrammarErrorKind::LinkInsideWord, start..self.at, hint));
        }
        Ok(())
    }

    fn error(&self, kind: GrammarErrorKind, place: Range<usize>, hint: impl Into<String>) -> GrammarError {
        GrammarError::new(kind, self.text, place, hint)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }
}

/// A node of a chain whose label may not be known yet.
#[derive(Clone)]
struct Node<'t> {
    target: Target<'t>,
    pin: Option<u32>,
    place: Range<usize>,
    is_linked: bool,
}

#[derive(Clone, Copy)]
enum Target<'t> {
    Element(usize),
    Label(&'t str),
}

struct Parser<'t> {
    text: &'t str,
    elements: Vec<Element>,
    links: Vec<(Node<'t>, Node<'t>)>,
    labels: HashMap<String, usize>,
    /// The keys of the last element.
    keys: HashSet<&'t str>,
    /// The node that the text ends in so far.
    last: Option<Node<'t>>,
    /// The `!` that follows it.
    open_link: Option<Range<usize>>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            elements: Vec::new(),
            links: Vec::new(),
            labels: HashMap::new(),
            keys: HashSet::new(),
            last: None,
            open_link: None,
        }
    }

    fn take(&mut self, word: Word<'t>) -> Result<(), GrammarError> {
        let place = word.place;
        match word.token {
            Token::Link => {
                if self.last.is_none() || self.open_link.is_some() {
                    let hint = "write an element or a reference before and after each `!`";
                    return Err(self.error(GrammarErrorKind::EmptyLink, place, hint));
                }
                self.open_link = Some(place);
                Ok(())
            }
            Token::Name(name) => {
                if self.elements.len() >= MAX_ELEMENTS {
                    let hint = format!("a graph may have {MAX_ELEMENTS} elements");
                    return Err(self.error(GrammarErrorKind::TooManyElements, place, hint));
                }
                let index = self.elements.len();
                self.elements.push(Element {
                    opens: None,
                    name: name.into_owned(),
                    label: None,
                    settings: Vec::new(),
                    at: place.start,
                });
                self.keys.clear();
                self.node(Target::Element(index), None, place)
            }
            Token::Reference { label, pin } => self.node(Target::Label(label), pin, place),
            Token::Setting { key, value } => self.setting(key, value, place),
        }
    }

    fn node(&mut self, target: Target<'t>, pin: Option<u32>, place: Range<usize>) -> Result<(), GrammarError> {
        let is_linked = self.open_link.is_some();
        let node = Node { target, pin, place, is_linked };
        let last = self.last.replace(node.clone());
        if self.open_link.take().is_some() {
            if let Some(last) = last {
                self.links.push((last, node));
            }
            return Ok(());
        }
        self.refuse_unlinked(last)
    }

    /// A chain ends: the node it ends in must be of use.
    fn refuse_unlinked(&self, last: Option<Node<'t>>) -> Result<(), GrammarError> {
        match last {
            Some(Node { target: Target::Label(_), is_linked: false, place, .. }) => {
                let hint = "link it with `!` to an element or to another reference";
                Err(self.error(GrammarErrorKind::UnlinkedReference, place, hint))
            }
            _ => Ok(()),
        }
    }

    fn setting(&mut self, key: &'t str, value: Cow<'t, str>, place: Range<usize>) -> Result<(), GrammarError> {
        let element = match (&self.last, &self.open_link) {
            (Some(Node { target: Target::Element(index), .. }), None) => self.elements.get_mut(*index),
            (Some(Node { target: Target::Label(label), .. }), None) => {
                let hint = format!("settings belong where the element is, next to its name={label}");
                return Err(self.error(GrammarErrorKind::ReferenceWithSettings, place, hint));
            }
            _ => None,
        };
        let Some(element) = element else {
            let hint = "write the name of an element before its settings";
            return Err(self.error(GrammarErrorKind::SettingWithoutElement, place, hint));
        };
        if !self.keys.insert(key) {
            let hint = format!("give it to `{}` once", abbreviated(&element.name));
            return Err(self.error(GrammarErrorKind::DuplicateKey, place, hint).with_word(key));
        }
        if key != "name" {
            element.settings.push(Setting { key: key.to_owned(), value: value.into_owned(), at: place.start });
            return Ok(());
        }
        if !is_label(&value) {
            let hint = "a label has letters, digits, `_` and `-`";
            return Err(self.error(GrammarErrorKind::BadLabel, place, hint).with_word(value));
        }
        element.label = Some(value.to_string());
        let index = self.elements.len().saturating_sub(1);
        match self.labels.entry(value.to_string()) {
            Entry::Vacant(entry) => {
                entry.insert(index);
                Ok(())
            }
            Entry::Occupied(entry) => {
                let first = self.elements.get(*entry.get()).map_or("", |element| &element.name);
                let hint = format!("`{}` has it already, choose another", abbreviated(first));
                Err(self.error(GrammarErrorKind::DuplicateLabel, place, hint).with_word(value))
            }
        }
    }

    fn finish(mut self) -> Result<Graph, GrammarError> {
        if let Some(place) = self.open_link.take() {
            let hint = "write an element or a reference after the last `!`";
            return Err(self.error(GrammarErrorKind::EmptyLink, place, hint));
        }
        let last = self.last.take();
        self.refuse_unlinked(last)?;

        let mut links = Vec::with_capacity(self.links.len());
        for (from, to) in std::mem::take(&mut self.links) {
            let link = Link { from: self.resolve(&from)?, to: self.resolve(&to)? };
            if link.from.element == link.to.element {
                let word = self.elements.get(link.to.element).map_or("", Element::title).to_owned();
                let hint = "data must flow on to another element";
                return Err(self.error(GrammarErrorKind::SelfLink, to.place, hint).with_word(word));
            }
            links.push(link);
        }
        if self.elements.is_empty() {
            let hint = "name at least one element, such as test-camera";
            return Err(self.error(GrammarErrorKind::Empty, 0..0, hint));
        }
        let graph = Graph { elements: std::mem::take(&mut self.elements), links };
        match super::spec::cycle(&graph) {
            Some(cycle) => Err(self.loop_error(&graph, &cycle)),
            None => Ok(graph),
        }
    }

    fn resolve(&self, node: &Node<'t>) -> Result<PinRef, GrammarError> {
        let element = match node.target {
            Target::Element(index) => index,
            Target::Label(label) => *self.labels.get(label).ok_or_else(|| {
                let hint = format!("label an element with name={label}");
                self.error(GrammarErrorKind::DanglingLabel, node.place.clone(), hint).with_word(label)
            })?,
        };
        Ok(PinRef { element, pin: node.pin, at: node.place.start })
    }

    fn loop_error(&self, graph: &Graph, cycle: &[usize]) -> GrammarError {
        const NAMED: usize = 6;
        let links = || cycle.iter().filter_map(|index| graph.links.get(*index));
        let title = |element: usize| graph.elements.get(element).map_or("", Element::title);
        let mut word: Vec<&str> = links().take(NAMED).map(|link| title(link.from.element)).collect();
        if cycle.len() > NAMED {
            word.push("…");
        }
        word.extend(links().next().map(|link| title(link.from.element)));
        let at = links().map(|link| link.to.at).max().unwrap_or(0);
        let tail = self.text.get(at..).unwrap_or("");
        let end = at.saturating_add(tail.find(char::is_whitespace).unwrap_or(tail.len()));
        let hint = "take one of these links away";
        self.error(GrammarErrorKind::Loop, at..end, hint).with_word(word.join(" ! "))
    }

    fn error(&self, kind: GrammarErrorKind, place: Range<usize>, hint: impl Into<String>) -> GrammarError {
        GrammarError::new(kind, self.text, place, hint)
    }
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
