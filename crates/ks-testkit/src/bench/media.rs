//! The built-in filters at work.

use super::streams::failed;
use super::{BenchError, Reading, meter};
use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options};
use ks_io::Services;

/// See [`super::run`]: `stream`. The graph that the text tells, until so many frames have reached its ends.
pub(super) fn stream(frames: u64, text: &str) -> Result<Reading, BenchError> {
    let system = ks_filters::system(Services::real()).map_err(failed)?;
    let client = Client::new(system.session());
    let graph = grammar::parse(text).map_err(failed)?;
    let run = |frames| {
        let options = Options { frames: Some(frames), ..Options::default() };
        let runner = GraphRunner::build(&client, &graph, options).map_err(failed)?;
        match runner.run(&mut |_| {}).error {
            None => Ok(()),
            Some(error) => Err(failed(error)),
        }
    };
    // A short stream first, so that memory and threads are there.
    run(8)?;
    meter("stream", frames, || run(frames))
}
