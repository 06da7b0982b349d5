//! What every element of a graph takes beside the settings of its filter: where its stream ends, and how much sound the buffer
//! of its looped pin holds.

use super::error::GraphError;
use super::run::Options;
use super::spec::{Element, Graph};
use crate::error::ClientError;
use ks_abi::STATUS_INVALID_PARAMETER;
use ks_io::{Aspect, Ticks};

/// The settings that are the graph's own, and go to no filter.
pub const ELEMENT_SETTINGS: [&str; 3] = ["frames", "seconds", CYCLE];

const CYCLE: &str = "cycle";
/// The longest span that is told from a mistake.
const MOST_SECONDS: f64 = 1e9;

/// What an element says of itself.
pub(super) fn limit_of(element: &Element) -> Result<Options, GraphError> {
    let mut limit = Options::default();
    for setting in &element.settings {
        let seconds = || setting.value.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds < MOST_SECONDS);
        let expected = match setting.key.as_str() {
            "frames" => match setting.value.parse::<u64>() {
                Ok(frames) if frames > 0 => {
                    limit.frames = Some(frames);
                    continue;
                }
                _ => "a whole number, 1 or more",
            },
            "seconds" => match seconds() {
                Some(seconds) => {
                    limit.seconds = Some(seconds);
                    continue;
                }
                None => "a number of seconds above 0, such as 2 or 0.5",
            },
            CYCLE => match seconds() {
                Some(seconds) => {
                    limit.cycle = Some(Ticks(((seconds * 1e7).round() as i64).max(1)));
                    continue;
                }
                None => "the seconds of sound that the buffer is to hold, such as 0.02",
            },
            _ => continue,
        };
        let reason = format!("{}: {}={} is refused; give {expected}", element.name, setting.key, setting.value);
        return Err(refused(element, &setting.key, reason));
    }
    Ok(limit)
}

/// A cycle is that of a looped pin: one that no link has is a mistake. `is_looped` says it of a link.
pub(super) fn refuse_idle_cycles(
    graph: &Graph,
    limits: &[Options],
    is_looped: impl Fn(usize) -> bool,
) -> Result<(), GraphError> {
    for (index, element) in graph.elements.iter().enumerate() {
        let ends_here = |link: &usize| {
            let link = &graph.links[*link];
            link.from.element == index || link.to.element == index
        };
        if limits[index].cycle.is_some() && !(0..graph.links.len()).filter(ends_here).any(&is_looped) {
            let reason = format!("{}: none of its pins here is looped; others have frames, and no cycle", element.name);
            return Err(refused(element, CYCLE, reason));
        }
    }
    Ok(())
}

fn refused(element: &Element, key: &str, reason: String) -> GraphError {
    let setting = element.settings.iter().find(|setting| setting.key == key);
    GraphError::Setting {
        filter: element.name.clone(),
        key: key.to_owned(),
        value: setting.map_or_else(String::new, |setting| setting.value.clone()),
        at: setting.map_or(element.at, |setting| setting.at),
        known: Vec::new(),
        error: ClientError::own("limit the stream", &element.name, STATUS_INVALID_PARAMETER, Aspect::Setting, reason),
    }
}
