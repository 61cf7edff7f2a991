//! `farebox audit` and `farebox migrate`, which open the database directly. The audit only reads, so a server may run
//! beside it. A schema is not changed while a server runs.

use anyhow::{Context, Result};
use ledger::{Ledger, LedgerError};

use crate::config::Settings;

/// The arguments of `farebox audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Replays the ledger and checks it.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let audit = actix::System::new()
        .block_on(async { Ledger::for_reading(settings.database.url.as_str()).await?.audit().await })
        .map_err(|error| match error {
            LedgerError::NoLedger(_) => anyhow::anyhow!("can't audit {}: {error}", settings.database.url),
            error => anyhow::Error::new(error)
                .context(format!("can't audit {}: is the ledger there, and up to date?", settings.database.url)),
        })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&audit)?);
    } else {
        for violation in &audit.violations {
            println!("invariant {}: {}", violation.invariant, violation.what);
        }
        let behind = match audit.behind {
            0 => String::new(),
            rows => format!(", {rows} of the log's rows not in the tables yet"),
        };
        println!(
            "{}: {} accounts, {} journal lines, {} requests, {} open holds, {} violations{behind}",
            if audit.ok { "clean" } else { "NOT clean" },
            audit.accounts,
            audit.lines,
            audit.requests,
            audit.open_holds,
            audit.violations.len()
        );
    }
    Ok(i32::from(!audit.ok))
}

/// Brings the schema up to date, where no process serves the ledger.
pub(super) fn migrate(settings: &Settings) -> Result<i32> {
    let migrated = actix::System::new().block_on(Ledger::migrate(settings.database.url.as_str()));
    migrated.with_context(|| format!("can't bring {} up to date", settings.database.url)).map(|()| 0)
}
