//! The text of a graph, as a user types it after `ks run`.

use ks_client::graph::grammar;

/// Parses the text. A graph that is accepted must read the same after it was written; a refusal must point into the
/// text and say something.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn graph_grammar(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match grammar::parse(text) {
        Ok(graph) => {
            let written = graph.to_string();
            let again = grammar::parse(&written);
            assert_eq!(again.as_ref(), Ok(&graph), "written as: {written}");
            #[cfg(feature = "planted-bug")]
            planted_bug(&graph);
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.at), "at {} of {text:?}", error.at);
            assert!(!error.to_string().is_empty());
            assert!(!error.hint.is_empty());
        }
    }
}

/// Breaks on a graph that only a grammar-aware input reaches: a link from a numbered pin of a labelled element.
#[cfg(feature = "planted-bug")]
fn planted_bug(graph: &grammar::Graph) {
    let is_deep = |link: &grammar::Link| {
        let label = graph.elements.get(link.from.element).and_then(|element| element.label.as_ref());
        label.is_some() && link.from.pin.is_some_and(|pin| pin > 2)
    };
    assert!(!graph.links.iter().any(is_deep), "planted bug");
}
