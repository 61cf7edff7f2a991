//! `farebox prices history`.

use anyhow::{Context, Result};
use ledger::Ledger;
use serde_json::json;

use crate::{
    cli::table::{Form, print_list},
    config::Settings,
};

/// The arguments of `farebox prices history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Print the price files of this version instead.
    #[arg(long, value_name = "NUMBER")]
    version: Option<i64>,
}

const COLUMNS: [(&str, &str); 4] =
    [("VERSION", "version"), ("SINCE", "since"), ("CHARACTERS", "characters"), ("HASH", "hash")];

/// Lists the versions, or prints one.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let url = settings.database.url.as_str();
    actix::System::new().block_on(async {
        let ledger = Ledger::for_reading(url).await.with_context(|| format!("can't read {}", settings.database.url))?;
        if let Some(version) = args.version {
            let text = ledger.price_book(version).await?;
            print!("{}", text.with_context(|| format!("there is no version {version}"))?);
            return Ok(0);
        }
        let versions = ledger.price_versions().await?;
        let rows: Vec<_> = versions
            .iter()
            .map(|known| {
                json!({"version": known.version, "since": known.at.to_string(), "characters": known.characters,
                    "hash": known.hash})
            })
            .collect();
        print_list(&rows, &COLUMNS, Form::of_list(args.json))?;
        Ok(0)
    })
}
