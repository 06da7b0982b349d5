//! `ks default`: which filter a default link leads to.

use ks_client::{DefaultLink, DefaultLinks};

use crate::arguments::{DefaultAction, DefaultArguments};
use crate::document::{DefaultDocument, DefaultEntry};
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::table::{Align, Table};

pub(crate) fn perform(arguments: &DefaultArguments) -> Result<Exit, Failure> {
    let links = DefaultLinks::of_user().ok_or_else(|| {
        Failure::job("find the file of the default links", "neither XDG_CONFIG_HOME nor HOME is an absolute path")
    })?;
    match &arguments.action {
        DefaultAction::Set { link, filter } => {
            let name = Engine::boot()?.renderer(filter)?;
            links.set(link.0, Some(&name)).map_err(|error| Failure::job("set the default link", error.to_string()))?;
            output::print(&format!("{} -> {name}\n", link.0.name()))?;
        }
        DefaultAction::Clear { link } => {
            let chosen = link.map_or_else(|| DefaultLink::ALL.to_vec(), |link| vec![link.0]);
            for link in chosen {
                links.set(link, None).map_err(|error| Failure::job("clear the default link", error.to_string()))?;
            }
        }
        DefaultAction::Show { json } => {
            let document = show(&links)?;
            match json {
                true => output::print_json(&document)?,
                false => output::print(&text(&document))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn show(links: &DefaultLinks) -> Result<DefaultDocument, Failure> {
    let filters = Engine::boot()?.filters();
    let mut defaults = Vec::new();
    for link in DefaultLink::ALL {
        let filter = links.get(link).map_err(|error| Failure::job("show the default links", error.to_string()))?;
        let exists = filter.as_ref().is_some_and(|name| {
            filters.iter().any(|entry| entry.name.eq_ignore_ascii_case(name) || entry.symbolic_link == *name)
        });
        defaults.push(DefaultEntry { kind: link.word().to_owned(), link: link.name().to_owned(), filter, exists });
    }
    Ok(DefaultDocument { file: links.path().to_string_lossy().into_owned(), defaults })
}

fn text(document: &DefaultDocument) -> String {
    let mut table = Table::new(&[("kind", Align::Left), ("link", Align::Left), ("filter", Align::Left)]);
    for entry in &document.defaults {
        let filter = match &entry.filter {
            None => "not set".to_owned(),
            Some(name) if entry.exists => name.clone(),
            Some(name) => format!("{name} (there is no such filter)"),
        };
        table.row([entry.kind.clone(), entry.link.clone(), filter]);
    }
    table.text()
}
