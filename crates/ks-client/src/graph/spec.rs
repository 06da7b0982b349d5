//! A graph as it was asked for: elements, their settings, and which is linked to which.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::grammar::{self, GrammarError};

/// A graph of named elements. It is a wish; whether the filters exist and fit is found out when it is built.
///
/// [`fmt::Display`] writes the text of a graph that was parsed so that it parses to an equal graph again. Positions
/// (`at`) are for error messages and do not count when two graphs are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The elements in the order of the text.
    pub elements: Vec<Element>,
    /// The links in the order of the text.
    pub links: Vec<Link>,
}

/// One filter of a graph.
#[derive(Clone, Debug)]
pub struct Element {
    /// Reference string, friendly name or symbolic link of a device interface, or the path of a driver file.
    pub name: String,
    /// The symbolic link to open instead of `name`: that of a filter of the driver, once it was loaded.
    pub opens: Option<String>,
    /// What other places of the text call this element: `name=t`.
    pub label: Option<String>,
    /// The `key=value` words in the order of the text, without `name`.
    pub settings: Vec<Setting>,
    /// Byte offset of the element in the text.
    pub at: usize,
}

/// One `key=value` of an element.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key: a letter or `_`, then letters, digits, `_` and `-`.
    pub key: String,
    /// The value with quotes and escapes taken away; may be empty.
    pub value: String,
    /// Byte offset of the key in the text.
    pub at: usize,
}

/// A connection from a data source pin to a data sink pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The pin that data leaves.
    pub from: PinRef,
    /// The pin that data enters.
    pub to: PinRef,
}

/// A pin of an element.
#[derive(Clone, Copy, Debug)]
pub struct PinRef {
    /// Index into [`Graph::elements`].
    pub element: usize,
    /// The pin factory id, or `None` when any that fits will do.
    pub pin: Option<u32>,
    /// Byte offset in the text of the word that named the pin.
    pub at: usize,
}

impl Graph {
    /// The index of the element with this label.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Option<usize> {
        self.elements.iter().position(|element| element.label.as_deref() == Some(label))
    }

    /// Adds an element and a link to it from any pin of the element at index `from`; answers the new index.
    pub fn append(&mut self, from: usize, name: &str) -> usize {
        let at = self.elements.get(from).map_or(0, |element| element.at);
        let index = self.elements.len();
        self.elements.push(Element { name: name.to_owned(), opens: None, label: None, settings: Vec::new(), at });
        self.links
            .push(Link { from: PinRef { element: from, pin: None, at }, to: PinRef { element: index, pin: None, at } });
        index
    }
}

impl FromStr for Graph {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        grammar::parse(text)
    }
}

impl Element {
    /// Whether the name is the path of a driver file: it has a `/` or ends in `.sys`.
    #[must_use]
    pub fn is_driver_file(&self) -> bool {
        grammar::is_driver_file(&self.name)
    }

    /// The label, or the name where there is no label: what a message calls this element.
    #[must_use]
    pub fn title(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// The setting with this key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.label == other.label && self.settings == other.settings
    }
}

impl Eq for Element {}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl Eq for Setting {}

impl PartialEq for PinRef {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element && self.pin == other.pin
    }
}

impl Eq for PinRef {}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = Writer { graph: self, text: String::new(), defined: 0, open: None };
        for link in &self.links {
            writer.link(link);
        }
        writer.define_before(self.elements.len());
        f.write_str(&writer.text)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if grammar::is_plain_name(&self.name) {
            f.write_str(&self.name)?
        } else {
            write_quoted(f, &self.name)?
        }
        if let Some(label) = &self.label {
            write!(f, " name={label}")?;
        }
        self.settings.iter().try_for_each(|setting| write!(f, " {setting}"))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.key)?;
        if grammar::is_plain_value(&self.value) { f.write_str(&self.value) } else { write_quoted(f, &self.value) }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

/// Writes a graph as text, elements and links each in their own order.
///
/// An element without a label can be written only once, next to its links. Those with a label can be defined wherever
/// their turn comes, and be referred to anywhere.
struct Writer<'g> {
    graph: &'g Graph,
    text: String,
    /// How many elements are written.
    defined: usize,
    /// The pin that the text ends in, if a link may go on from there.
    open: Option<PinRef>,
}

impl Writer<'_> {
    fn link(&mut self, link: &Link) {
        let Link { from, to } = link;
        let fits = self.is_next(to) || self.is_labelled(to.element);
        if self.open != Some(*from) || !fits {
            while self.is_next_by_number(from) || self.is_next_by_number(to) {
                self.define_before(self.defined.saturating_add(1));
            }
            if self.is_labelled(from.element) {
                let follows = self.is_next(from) && to.element == self.defined.saturating_add(1);
                if !self.is_labelled(to.element) && !follows {
                    self.define_before(to.element);
                }
            } else {
                self.define_before(from.element);
            }
            self.separate(" ");
            self.node(from);
        }
        self.separate(" ! ");
        self.node(to);
        self.open = Some(*to);
    }

    /// Writes the element itself where its turn has come, else a reference to it.
    fn node(&mut self, pin: &PinRef) {
        if self.is_next(pin) {
            self.define();
        } else {
            let label = self.graph.elements.get(pin.element).map_or("", Element::title);
            let number = pin.pin.map(|id| id.to_string()).unwrap_or_default();
            _ = write!(self.text, "{label}.{number}");
        }
    }

    fn define_before(&mut self, end: usize) {
        while self.defined < end.min(self.graph.elements.len()) {
            self.separate(" ");
            self.define();
            self.open = None;
        }
    }

    fn define(&mut self) {
        if let Some(element) = self.graph.elements.get(self.defined) {
            _ = write!(self.text, "{element}");
        }
        self.defined = self.defined.saturating_add(1);
    }

    fn separate(&mut self, separator: &str) {
        if !self.text.is_empty() {
            self.text.push_str(separator);
        }
    }

    fn is_next(&self, pin: &PinRef) -> bool {
        pin.element == self.defined && pin.pin.is_none()
    }

    /// Whether a pin number keeps the element whose turn it is from being written inside the link.
    fn is_next_by_number(&self, pin: &PinRef) -> bool {
        pin.element == self.defined && pin.pin.is_some() && self.is_labelled(pin.element)
    }

    fn is_labelled(&self, element: usize) -> bool {
        self.graph.elements.get(element).is_some_and(|element| element.label.is_some())
    }
}

/// The first cycle of links found, as indices into [`Graph::links`], each link leading to the next one's element.
pub(super) fn cycle(graph: &Graph) -> Option<Vec<usize>> {
    let count = graph.elements.len();
    let mut inputs = vec![0_usize; count];
    let mut outputs: Vec<Vec<usize>> = vec![Vec::new(); count];
    for link in &graph.links {
        if let Some(inputs) = inputs.get_mut(link.to.element) {
            *inputs = inputs.saturating_add(1);
        }
        if let Some(outputs) = outputs.get_mut(link.from.element) {
            outputs.push(link.to.element);
        }
    }
    let mut ready: Vec<usize> = (0..count).filter(|element| inputs.get(*element) == Some(&0)).collect();
    while let Some(element) = ready.pop() {
        for next in outputs.get(element).into_iter().flatten() {
            if let Some(inputs) = inputs.get_mut(*next) {
                *inputs = inputs.saturating_sub(1);
                if *inputs == 0 {
                    ready.push(*next);
                }
            }
        }
    }

    // What is left has at least one input from another element that is left: going back along those must repeat.
    let left = |element: usize| inputs.get(element).is_some_and(|inputs| *inputs > 0);
    let mut input_of: HashMap<usize, usize> = HashMap::new();
    for (index, link) in graph.links.iter().enumerate() {
        if left(link.from.element) && left(link.to.element) {
            input_of.insert(link.to.element, index);
        }
    }
    let mut element = (0..count).find(|element| left(*element))?;
    let mut order: HashMap<usize, usize> = HashMap::new();
    let mut path = Vec::new();
    while !order.contains_key(&element) {
        order.insert(element, path.len());
        let link = *input_of.get(&element)?;
        path.push(link);
        element = graph.links.get(link)?.from.element;
    }
    let mut cycle = path.split_off(*order.get(&element)?);
    cycle.reverse();
    Some(cycle)
}
