//! `farebox prices rerate`: what past requests would have cost at the prices of now. It only reads.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use billing::{
    Nanos, Timestamp,
    quantity::{Band, Key, Kind, Quantities},
};
use ledger::{
    Ledger,
    prices::{Charge, Since},
};
use serde_json::{Value, json};

use crate::{
    app,
    catalogue::Book,
    cli::table::{Form, print_list},
    config::Settings,
};

/// The arguments of `farebox prices rerate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Requests that were charged by this version of the price book, or a later one.
    #[arg(long, value_name = "VERSION", conflicts_with = "since", required_unless_present = "since")]
    from: Option<i64>,
    /// Requests that were admitted at this time or later, such as 2026-11-24 or 2026-11-24T09:30:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const COLUMNS: [(&str, &str); 7] = [
    ("MODEL", "model"),
    ("REQUESTS", "requests"),
    ("CHARGED", "charged"),
    ("WOULD BE", "would_be"),
    ("DIFFERENCE", "difference"),
    ("LIMITED", "limited"),
    ("UNPRICED", "unpriced"),
];

/// The requests of one model.
#[derive(Debug, Default)]
struct Sums {
    requests: u64,
    charged: Nanos,
    would_be: Nanos,
    /// Requests that were charged less than their sum, and are left out.
    limited: u64,
    /// Requests that have no price now, or use what has none, and are left out.
    unpriced: u64,
}

/// Reports by model; exit status 0 also where something differs.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let since = match (args.from, args.since) {
        (Some(version), None) => Since::Version(version),
        (None, Some(time)) => Since::Time(time),
        _ => bail!("name either --from or --since"),
    };
    let book = app::prices::book(settings)?;
    let sums = actix::System::new().block_on(sums(settings, &book, since))?;
    let rows: Vec<_> = sums.iter().map(|(model, sums)| row(model, sums)).collect();
    print_list(&rows, &COLUMNS, Form::of_list(args.json))?;
    Ok(0)
}

fn row(model: &str, sums: &Sums) -> Value {
    let Sums { requests, charged, would_be, limited, unpriced } = sums;
    json!({
        "model": model,
        "requests": requests,
        "charged": charged.to_string(),
        "would_be": would_be.to_string(),
        "difference": (*would_be - *charged).to_string(),
        "limited": limited,
        "unpriced": unpriced,
    })
}

async fn sums(settings: &Settings, book: &Book, since: Since) -> Result<BTreeMap<String, Sums>> {
    let url = settings.database.url.as_str();
    let ledger = Ledger::for_reading(url).await.with_context(|| format!("can't read {}", settings.database.url))?;
    let (mut all, mut after) = (BTreeMap::<String, Sums>::new(), None);
    loop {
        let page = ledger.charges(since, after).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some((last.account_id, last.request_id));
        for charge in &page {
            let name = format!("{}/{}", charge.provider, charge.model);
            add(all.entry(name).or_default(), book, charge);
        }
    }
}

/// Adds a charge and what it would be.
fn add(sums: &mut Sums, book: &Book, charge: &Charge) {
    if charge.parts.iter().all(|part| part.rate.is_none()) {
        // Paid elsewhere: it had no price.
        return;
    }
    if charge.parts.is_limited() {
        sums.limited += 1;
        return;
    }
    let price = book.price_of(&charge.provider, &charge.model, charge.started_at);
    let cost = price.and_then(|price| price.cost(&used(charge)).ok());
    match cost.and_then(|cost| cost.charged().ok()) {
        Some(would_be) => {
            sums.requests += 1;
            sums.charged += charge.charged;
            sums.would_be += would_be;
        }
        None => sums.unpriced += 1,
    }
}

/// The quantities of a charge, without the context band that its price put them in: each price chooses the band anew.
/// The largest prompt of an answer of several turns is known only from the band that was charged.
fn used(charge: &Charge) -> Quantities {
    let unbanded = charge.parts.iter().map(|part| (Key { band: Band(0), ..part.key }, part.amount));
    let used: Quantities = unbanded.collect();
    let took_turns = used.iter().any(|(key, _)| matches!(key.kind, Kind::WebSearches | Kind::WebFetches));
    match charge.parts.iter().map(|part| part.key.band).max() {
        Some(Band(above)) if took_turns => used.with_largest_prompt(u64::from(above) + 1),
        _ => used,
    }
}
