//! `farebox prices diff`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::Result;
use billing::{price::Rate, quantity::Key};
use serde_json::{Value, json};

use crate::{
    app,
    catalogue::{Book, ClosedModel, write::day_text},
    cli::table::{Form, print_list},
    config::Settings,
};

/// The arguments of `farebox prices diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A price file, or a folder of them. Without it, the program's own price book.
    other: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const COLUMNS: [(&str, &str); 4] = [("MODEL", "model"), ("WHAT", "what"), ("HERE", "here"), ("THERE", "there")];

/// Compares the book of the settings with another one; exit status 1 where they differ.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let here = app::prices::book(settings)?;
    let there = match &args.other {
        None => Book::built_in()?,
        Some(path) if path.is_dir() => Book::of_folder(path)?,
        Some(path) => Book::of_file(path)?,
    };
    let rows = differences(&here, &there, args.other.is_some());
    print_list(&rows, &COLUMNS, Form::of_list(args.json))?;
    Ok(i32::from(!rows.is_empty()))
}

type Entries<'a> = BTreeMap<(&'a str, &'a str), &'a ClosedModel>;

fn by_name(book: &Book) -> Entries<'_> {
    book.entries().iter().map(|model| ((&*model.provider, &*model.id), &**model)).collect()
}

/// What differs. Files are not a whole book, so what they do not have is no difference.
fn differences(here: &Book, there: &Book, are_files: bool) -> Vec<Value> {
    let (here, there) = (by_name(here), by_name(there));
    let mut rows = Vec::new();
    for (name, model) in &here {
        match there.get(name) {
            Some(other) => compare(model, other, &mut rows),
            None if are_files => {}
            None => rows.push(row(model, "the model", &json!("there"), &Value::Null)),
        }
    }
    let only_there = there.iter().filter(|(name, _)| !here.contains_key(*name));
    rows.extend(only_there.map(|(_, model)| row(model, "the model", &Value::Null, &json!("there"))));
    rows
}

fn row(model: &ClosedModel, what: &str, here: &Value, there: &Value) -> Value {
    json!({"model": format!("{}/{}", model.provider, model.id), "what": what, "here": here, "there": there})
}

fn compare(here: &ClosedModel, there: &ClosedModel, rows: &mut Vec<Value>) {
    let facts = |model: &ClosedModel| {
        let about = &model.about;
        let changes: Vec<_> = about.changes.iter().map(|change| day_text(change.valid_from)).collect();
        [
            ("task", json!(model.task_name())),
            ("context", json!(model.context)),
            ("max_output", json!(model.max_output)),
            ("ends", json!(about.ends.map(day_text))),
            ("disputed", json!(about.disputed)),
            ("changes", if changes.is_empty() { Value::Null } else { json!(changes) }),
        ]
    };
    for ((what, ours), (_, theirs)) in facts(here).into_iter().zip(facts(there)) {
        if ours != theirs {
            rows.push(row(here, what, &ours, &theirs));
        }
    }
    rates("", here, [here.price.as_ref(), there.price.as_ref()], rows);
    for ours in &here.about.changes {
        let theirs = there.about.changes.iter().find(|theirs| theirs.valid_from == ours.valid_from);
        if let Some(theirs) = theirs {
            let from = format!(" from {}", day_text(ours.valid_from));
            rates(&from, here, [Some(&ours.price), Some(&theirs.price)], rows);
        }
    }
}

fn rates(from: &str, model: &ClosedModel, prices: [Option<&Arc<billing::price::Price>>; 2], rows: &mut Vec<Value>) {
    let [ours, theirs] = prices.map(|price| price.iter().flat_map(|price| price.rates()).collect::<BTreeMap<_, _>>());
    let keys: std::collections::BTreeSet<&Key> = ours.keys().chain(theirs.keys()).collect();
    let shown = |rates: &BTreeMap<Key, Rate>, key: &Key| rates.get(key).map(ToString::to_string);
    for key in keys {
        if ours.get(key) != theirs.get(key) {
            rows.push(row(model, &format!("{key}{from}"), &json!(shown(&ours, key)), &json!(shown(&theirs, key))));
        }
    }
}
