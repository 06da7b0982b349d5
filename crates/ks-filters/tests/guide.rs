//! `docs/write-a-minidriver.md` shows the example as it is, and the example does what the guide says.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/shortest.rs"]
#[expect(dead_code, reason = "the example has a main of its own")]
mod shortest;

use std::sync::Arc;

use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, RunStatus};
use ks_io::Services;
use ks_stream::Device;

const GUIDE: &str = include_str!("../../../docs/write-a-minidriver.md");
const EXAMPLE: &str = include_str!("../examples/shortest.rs");

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let fence = "<!-- crates/ks-filters/examples/shortest.rs -->\n```rust\n";
    let (_, rest) = GUIDE.split_once(fence).expect("the guide has the example's block");
    let (block, _) = rest.split_once("```\n").expect("the block ends");
    assert_eq!(block, EXAMPLE, "copy the example into the guide");
}

#[test]
fn the_shortest_minidriver_has_less_than_a_hundred_lines() {
    assert!(EXAMPLE.lines().count() < 100);
}

#[test]
fn a_client_reads_the_numbers_of_the_shortest_minidriver() {
    assert_eq!(shortest::first_numbers(5).unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_shortest_minidriver_runs_in_a_graph_beside_the_built_in_filters() {
    let system = ks_filters::system(Services::virtual_time(1)).unwrap();
    let _counter = Device::start(&system.io, "counter", vec![Arc::new(shortest::descriptor())]).unwrap();
    let client = Client::new(system.session());
    let graph = grammar::parse("counter frames=1000 ! null-renderer").unwrap();
    let runner = GraphRunner::build(&client, &graph, Options::default()).unwrap();
    let report = runner.run(&mut |_| {});
    assert_eq!((report.status, report.error), (RunStatus::Completed, None));
    let connection = &report.connections[0];
    assert_eq!((connection.frames, connection.bytes, connection.copies), (1000, 8000, 0));
    assert_eq!(connection.allocator, "4 x 8");
}
