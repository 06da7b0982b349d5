//! `ks snapshot`: one frame as a picture.

use crate::arguments::{SnapshotArguments, graph_text};
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::{png_file, quantity};

use ks_client::graph::grammar;

pub(crate) fn perform(arguments: &SnapshotArguments) -> Result<Exit, Failure> {
    let text = graph_text(&arguments.element);
    let mut graph = grammar::parse(&text).map_err(|error| Failure::grammar(&error, &text))?;
    if graph.elements.len() != 1 {
        let why = format!("it is of one filter, and here are {}", graph.elements.len());
        let hint = "for a graph with several, use `ks run`";
        return Err(Failure::usage("take the picture", why).with_hint(hint));
    }
    let mut engine = Engine::boot()?;
    engine.load_drivers(&mut graph, &text, &arguments.drivers)?;
    let Some(element) = graph.elements.first() else { return Ok(Exit::Done) };
    let picture = engine.capture(element, &text);
    let failure = engine.unload(picture.as_ref().err().cloned()).failure;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let picture = picture?;
    let doing = format!("write the picture `{}`", arguments.output.display());
    let Some(rgb) = picture.rgb() else {
        let size = format!("{}x{} {:?}", picture.width, picture.height, picture.layout);
        let why =
            format!("{} of `{}` are too few for {size}", quantity::bytes(picture.bytes.len() as u64), element.name);
        return Err(Failure::job(doing, why));
    };
    png_file::write(&arguments.output, picture.width, picture.height, &rgb).map_err(|error| {
        Failure::job(doing, error.to_string()).with_hint("check that the directory exists and may be written")
    })?;
    output::print(&format!("{}: {}x{}\n", arguments.output.display(), picture.width, picture.height))?;
    Ok(Exit::Done)
}
