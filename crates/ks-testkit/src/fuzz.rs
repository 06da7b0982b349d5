//! The bodies of the fuzz targets: each takes any bytes and must neither panic nor hang nor allocate without measure.
//!
//! They are functions here, not programs, so that the tests run the kept corpus through them on every platform. The
//! programs around them are in `fuzz/targets`. Under `--cfg planted_bug` each has one bug that its target must find.

mod graph_grammar;

pub use graph_grammar::graph_grammar;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs every file of a target's kept corpus through its body, and each file cut at every byte.
    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut files = 0;
        for entry in fs::read_dir(&corpus).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for end in 0..=bytes.len() {
                body(&bytes[..end]);
            }
            files += 1;
        }
        assert!(files > 0, "{target} has an empty corpus");
    }

    #[test]
    fn the_corpus_of_graph_grammar_and_its_truncations_pass() {
        replay("graph_grammar", super::graph_grammar);
    }
}
