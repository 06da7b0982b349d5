//! The library as the commands use it: the only file that knows its types.

use ks_client::graph::grammar::{Element, Graph};

use crate::document::{FilterEntry, InspectDocument, RunDocument};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::picture::Picture;
use crate::progress::Progress;

/// The engine in this process, with all built-in filters.
pub(crate) struct Engine {}

/// When a run ends at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) frames: Option<u64>,
    pub(crate) seconds: Option<f64>,
}

impl Engine {
    /// Starts the engine.
    pub(crate) fn boot() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// All filters, in the order of their names.
    pub(crate) fn filters(&self) -> Result<Vec<FilterEntry>, Failure> {
        Err(not_yet("list the filters"))
    }

    /// All that can be said of a filter.
    pub(crate) fn inspect(&self, name: &str) -> Result<InspectDocument, Failure> {
        Err(not_yet(&format!("inspect `{name}`")))
    }

    /// Whether an element offers data to whoever takes it, and takes none.
    pub(crate) fn is_source(&self, _element: &Element, _text: &str) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Builds a graph, streams through it and takes it apart. What went over the connections up to a failure is in the
    /// document that comes with it.
    pub(crate) fn run(
        &self,
        _graph: &Graph,
        _text: &str,
        _limits: Limits,
        _interrupt: &Interrupt,
        _progress: &mut dyn FnMut(Progress),
    ) -> (RunDocument, Option<Failure>) {
        let failure = not_yet("run the graph");
        (RunDocument::failed(&failure), Some(failure))
    }

    /// One frame of a video source.
    pub(crate) fn capture(&self, element: &Element, _text: &str) -> Result<Picture, Failure> {
        Err(not_yet(&format!("take a picture of `{}`", element.name)))
    }
}

fn not_yet(doing: &str) -> Failure {
    Failure::job(doing, "not implemented yet")
}
