//! `ks list`: which filters there are.

use crate::arguments::ListArguments;
use crate::describe;
use crate::document::{FilterEntry, ListDocument};
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::table::{Align, Table};

pub(crate) fn perform(arguments: &ListArguments) -> Result<Exit, Failure> {
    let filters = Engine::boot()?.filters();
    if arguments.json {
        output::print_json(&ListDocument { filters })?;
    } else {
        output::print(&text(&filters))?;
    }
    Ok(Exit::Done)
}

fn text(filters: &[FilterEntry]) -> String {
    if filters.is_empty() {
        return "no filters\n".into();
    }
    let mut table = Table::new(&[("filter", Align::Left), ("name", Align::Left), ("categories", Align::Left)]);
    for filter in filters {
        let categories: Vec<String> = filter.categories.iter().map(|category| describe::short(category)).collect();
        table.row([filter.name.clone(), filter.friendly_name.clone(), categories.join(", ")]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_has_a_line() {
        let camera = FilterEntry {
            name: "test-camera".into(),
            friendly_name: "Test Camera".into(),
            categories: vec!["KSCATEGORY_CAPTURE".into(), "KSCATEGORY_VIDEO_CAMERA".into()],
            symbolic_link: String::new(),
        };
        assert_eq!(
            text(&[camera]),
            "filter       name         categories\ntest-camera  Test Camera  capture, video camera\n"
        );
        assert_eq!(text(&[]), "no filters\n");
    }
}
