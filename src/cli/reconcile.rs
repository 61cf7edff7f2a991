//! `farebox reconcile`: compares our payments, refunds and disputes with the card processor's. With Stripe the command
//! reads the ledger and calls Stripe itself, and a server may run beside it. The sandbox lives in the server, so the
//! server is called.

use actors::payment::reconcile::{Reconciled, reconcile};
use anyhow::{Context, Result};
use ledger::Ledger;
use runtime::clock::Clock;
use serde_json::{Value, json};

use super::call::Server;
use crate::{
    app,
    config::{Processor, Settings},
    service::payments::since,
};

/// The arguments of `farebox reconcile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Compare payments begun in the last DAYS days [default: all payments].
    #[arg(long)]
    days: Option<u32>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Compares, and prints the differences.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let found = match settings.payments.processor {
        Processor::Stripe => with_stripe(settings, args.days)?,
        Processor::Sandbox => at_the_server(settings, args.days)?,
    };
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("-").to_owned();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for it in found["differences"].as_array().into_iter().flatten() {
            let (id, what, reference) = (text(it, "payment_id"), text(it, "what"), text(it, "reference"));
            println!("{what} ({reference}) of payment {id}: here {}, there {}", text(it, "here"), text(it, "there"));
        }
        println!(
            "{}: {} payments, {} forgotten by the processor, {} charges, {} refunds and disputes there, {} differences",
            if found["ok"] == true { "the same" } else { "NOT the same" },
            found["payments"],
            found["forgotten"],
            found["charges"],
            found["reversals"],
            found["found"],
        );
    }
    Ok(i32::from(found["ok"] != true))
}

fn with_stripe(settings: &Settings, days: Option<u32>) -> Result<Value> {
    let url = settings.database.url.as_str();
    let now = Clock::default().now();
    let processor = app::processor(settings, now)?;
    let found: Reconciled = actix::System::new()
        .block_on(async {
            let ledger = Ledger::for_reading(url).await?;
            reconcile(&ledger, &processor, since(now, days)).await
        })
        .with_context(|| format!("can't compare {} with Stripe", settings.database.url))?;
    Ok(serde_json::to_value(found)?)
}

fn at_the_server(settings: &Settings, days: Option<u32>) -> Result<Value> {
    Server::of(settings)?.call("POST", "reconcile", Some(&json!({"days": days})))
}
