//! The bodies of the fuzz targets: each takes any bytes and must neither panic nor hang nor allocate without measure.
//!
//! They are functions here, not programs, so that the tests run the kept corpus through them on every platform. The
//! programs around them are in `fuzz/targets`. With the feature `planted-bug` each has one bug that its target must find.

mod allowance;
mod bytes;
mod data_formats;
mod events;
mod graph_grammar;
mod ioctl_property;
mod kspin_connect;
mod methods;
mod multiple_items;
mod pe_loader;
mod sequences;
mod serialized_sets;
mod stream_headers;
mod wire_message;

pub use data_formats::data_formats;
pub use events::events;
pub use graph_grammar::graph_grammar;
pub use ioctl_property::ioctl_property;
pub use kspin_connect::kspin_connect;
pub use methods::methods;
pub use multiple_items::multiple_items;
pub use pe_loader::pe_loader;
pub use sequences::sequences;
pub use serialized_sets::serialized_sets;
pub use stream_headers::stream_headers;
pub use wire_message::wire_message;

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
    fn the_corpus_of_events_and_its_truncations_pass() {
        replay("events", super::events);
    }

    #[test]
    fn the_corpus_of_methods_and_its_truncations_pass() {
        replay("methods", super::methods);
    }

    #[test]
    fn the_corpus_of_multiple_items_and_its_truncations_pass() {
        replay("multiple_items", super::multiple_items);
    }

    #[test]
    fn the_corpus_of_serialized_sets_and_its_truncations_pass() {
        replay("serialized_sets", super::serialized_sets);
    }

    #[test]
    fn the_corpus_of_data_formats_and_its_truncations_pass() {
        replay("data_formats", super::data_formats);
    }

    #[test]
    fn the_corpus_of_sequences_and_its_truncations_pass() {
        replay("sequences", super::sequences);
    }

    #[test]
    fn the_corpus_of_graph_grammar_and_its_truncations_pass() {
        replay("graph_grammar", super::graph_grammar);
    }

    #[test]
    fn the_corpus_of_ioctl_property_and_its_truncations_pass() {
        replay("ioctl_property", super::ioctl_property);
    }

    #[test]
    fn the_corpus_of_kspin_connect_and_its_truncations_pass() {
        replay("kspin_connect", super::kspin_connect);
    }

    #[test]
    fn the_corpus_of_pe_loader_and_its_truncations_pass() {
        replay("pe_loader", super::pe_loader);
    }

    #[test]
    fn the_corpus_of_stream_headers_and_its_truncations_pass() {
        replay("stream_headers", super::stream_headers);
    }

    #[test]
    fn the_corpus_of_wire_message_and_its_truncations_pass() {
        replay("wire_message", super::wire_message);
    }
}
