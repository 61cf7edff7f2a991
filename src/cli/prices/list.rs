//! `farebox prices list`.

use anyhow::Result;
use billing::{Timestamp, price::Price, quantity::Key};
use runtime::clock::Clock;
use serde_json::{Value, json};

use crate::{
    app,
    catalogue::{Catalogue, ClosedModel, Model, write::day_text},
    cli::table::{Form, print_list},
    config::Settings,
};

/// The arguments of `farebox prices list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this provider's models.
    #[arg(long)]
    provider: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const COLUMNS: [(&str, &str); 8] = [
    ("MODEL", "model"),
    ("TASK", "task"),
    ("INPUT", "table.input"),
    ("OUTPUT", "table.output"),
    ("WITH FEE", "table.with_fee"),
    ("NEXT", "next.valid_from"),
    ("ENDS", "ends"),
    ("NOTE", "table.note"),
];

/// Lists the prices that are in force now.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let now = Clock::default().now();
    let catalogue = Catalogue::of(app::prices::book(settings)?.into(), 0, now);
    let models = catalogue.models().filter_map(|(_, model)| match model {
        Model::Closed(model) => Some(model),
        Model::Open(_) => None,
    });
    let wanted = models.filter(|model| args.provider.as_ref().is_none_or(|provider| *model.provider == **provider));
    let mut rows: Vec<_> = wanted.map(|model| row(model, now)).collect();
    if args.json {
        // The table's cells are the same in other words.
        rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove("table")));
    }
    print_list(&rows, &COLUMNS, Form::of_list(args.json))?;
    Ok(0)
}

fn row(model: &ClosedModel, now: Timestamp) -> Value {
    let about = &model.about;
    let per_million = |price: &Price, key: Key| price.rate(key).map(billing::price::Rate::million_text);
    let of = |key: Key| model.price.as_ref().and_then(|price| per_million(price, key));
    let with_fee = model.price.as_ref().map(|price| price.with_fee());
    let both = with_fee
        .as_ref()
        .and_then(|price| Some(format!("{} / {}", per_million(price, Key::INPUT)?, per_million(price, Key::OUTPUT)?)));
    let next = about.next(now).map(|next| json!({"valid_from": day_text(next.valid_from), "price": next.price}));
    let note = match (&about.disputed, &model.price) {
        (Some(reason), _) => format!("disputed: {reason}"),
        (None, None) => "no price".to_owned(),
        (None, Some(_)) if about.ends.is_some_and(|ends| ends <= now) => "ended".to_owned(),
        (None, Some(_)) if about.deprecated => "deprecated".to_owned(),
        (None, Some(_)) => String::new(),
    };
    json!({
        "model": format!("{}/{}", model.provider, model.id),
        "task": model.task_name(),
        "context": model.context,
        "max_output": model.max_output,
        "price": model.price.as_deref(),
        "price_with_fee": with_fee,
        "next": next,
        "ends": about.ends.map(day_text),
        "deprecated": about.deprecated,
        "disputed": about.disputed,
        "left_out": about.left_out,
        "source": about.source,
        "date": about.date,
        "table": {"input": of(Key::INPUT), "output": of(Key::OUTPUT), "with_fee": both, "note": note},
    })
}
