//! `ks play` and `ks record`: the short forms of graphs with one file.

use std::path::Path;

use ks_client::graph::grammar;
use ks_client::{DefaultLink, DefaultLinks};

use crate::arguments::{PlayArguments, RecordArguments, graph_text};
use crate::engine::Limits;
use crate::failure::{Exit, Failure};
use crate::media_file::{self, Kind, Media};
use crate::output;
use crate::run::{Detail, Draft, Job};

/// Where sound is played into, if that is set.
const LINK: DefaultLink = DefaultLink::AudioRenderer;
/// Where what is played goes otherwise.
const NOWHERE: &str = "null-renderer";

/// `ks play`.
pub(crate) fn play(arguments: &PlayArguments) -> Result<Exit, Failure> {
    let limits = Limits { frames: arguments.frames, seconds: arguments.seconds };
    let job = Job { limits, json: arguments.json, detail: Detail::Connections, drivers: &arguments.drivers };
    job.perform(|engine| {
        let kind = media_file::to_read(&arguments.file)?;
        let reader = format!("{} path={}", kind.reader, quoted(&arguments.file)?);
        let into = match &arguments.output {
            Some(output) => sink(output, &|name| name.ends_with(".sys") || engine.has_filter(name))?,
            None => renderer(kind),
        };
        Ok(draft(&reader, kind, &into))
    })
}

/// `ks record`.
pub(crate) fn record(arguments: &RecordArguments) -> Result<Exit, Failure> {
    let limits = Limits { frames: arguments.frames, seconds: arguments.seconds };
    let job = Job { limits, json: arguments.json, detail: Detail::Connections, drivers: &arguments.drivers };
    job.perform(|_| {
        let source = graph_text(&arguments.element);
        let graph = grammar::parse(&source).map_err(|error| Failure::grammar(&error, &source))?;
        if graph.elements.len() != 1 {
            return Err(Failure::usage("record", "it takes one filter and its settings, not a graph")
                .with_hint(format!("`ks run '{source} ! ...'` streams through a graph")));
        }
        let (kind, writer) = media_file::to_write(&arguments.output)?;
        Ok(draft(&source, kind, &format!("{writer} path={}", quoted(&arguments.output)?)))
    })
}

fn draft(from: &str, kind: Kind, to: &str) -> Draft {
    Draft { text: format!("{from} ! {to}"), converted: Some(format!("{from} ! {} ! {to}", kind.converter)) }
}

/// What `-o` of `ks play` says: a file that can be written, or a filter with its settings, which may end as a file does.
fn sink(output: &str, is_filter: &dyn Fn(&str) -> bool) -> Result<String, Failure> {
    let graph = grammar::parse(output);
    let has_settings = graph.as_ref().is_ok_and(|graph| match graph.elements.as_slice() {
        [element] => !element.settings.is_empty() && is_filter(&element.name),
        _ => false,
    });
    if !has_settings && let Ok((_, writer)) = media_file::to_write(Path::new(output)) {
        return Ok(format!("{writer} path={}", quoted(Path::new(output))?));
    }
    let graph = graph.map_err(|error| Failure::grammar(&error, output))?;
    match graph.elements.len() {
        1 => Ok(output.to_owned()),
        _ => Err(Failure::usage(format!("play into `{output}`"), "it takes one filter and its settings, not a graph")),
    }
}

fn renderer(kind: Kind) -> String {
    if kind.media == Media::Pictures {
        output::complain(&format!("note: nothing shows pictures here; they go to {NOWHERE}, -o names another filter"));
    } else if is_set(LINK) {
        // Where it leads nowhere, opening it says so.
        return format!("'{}'", LINK.name().replace('\\', r"\\"));
    } else {
        let how = "`ks default set audio-renderer NAME` sets one, -o names another filter";
        output::complain(&format!("note: no audio renderer is set, and the sound goes to {NOWHERE}; {how}"));
    }
    NOWHERE.to_owned()
}

/// Whether a default link is set, or cannot be read, which opening it will tell.
fn is_set(link: DefaultLink) -> bool {
    DefaultLinks::of_user().is_some_and(|links| !matches!(links.get(link), Ok(None)))
}

/// A path as a value of a graph.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| {
        Failure::usage(format!("name {} in a graph", path.display()), "its name is no UTF-8")
            .with_hint("rename the file")
    })?;
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_value_whatever_it_has_in_it() {
        for name in ["a.wav", "my song.wav", r#"say "hi" ! \o/.wav"#, "it's", "a=b ! c"] {
            let text = format!("wav-reader path={}", quoted(Path::new(name)).expect("a name"));
            let graph = grammar::parse(&text).expect("a graph");
            assert_eq!(graph.elements[0].setting("path").map(|setting| setting.value.as_str()), Some(name));
        }
    }

    #[test]
    fn a_file_or_a_filter_is_played_into() {
        let sink = |output| sink(output, &|name| name == "wav-writer");
        assert_eq!(sink("out.WAV").as_deref(), Ok("wav-writer path=\"out.WAV\""));
        assert_eq!(sink("wav-writer path=x rate=48000").as_deref(), Ok("wav-writer path=x rate=48000"));
        assert_eq!(sink("wav-writer path=x.wav").as_deref(), Ok("wav-writer path=x.wav"));
        assert_eq!(sink("my song=1.wav").as_deref(), Ok("wav-writer path=\"my song=1.wav\""));
        assert!(sink("pass-through ! null-renderer").is_err());
        assert!(sink("").is_err());
    }
}
