//! `farebox audit` and `farebox migrate`, which open the database directly. The audit only reads, so a server may run
//! beside it. A schema is not changed while a server runs.

use anyhow::{Context, Result};
use ledger::{Ledger, LedgerError, Opening, audit::Audit};

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
        tell(&audit);
    }
    Ok(i32::from(!audit.ok))
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(audit: &Audit) {
    for violation in &audit.violations {
        println!("invariant {}: {}", violation.invariant, violation.what);
    }
    println!(
        "{}: {} accounts, {} journal lines, {} requests, {} open holds, {} violations",
        if audit.ok { "clean" } else { "NOT clean" },
        audit.accounts,
        audit.lines,
        audit.requests,
        audit.open_holds,
        audit.violations.len()
    );
}

/// Brings the schema up to date, and the tables into a log, where no process serves the ledger.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn migrate(settings: &Settings) -> Result<i32> {
    let url = settings.database.url.as_str();
    let failed = || format!("can't bring {} up to date", settings.database.url);
    actix::System::new().block_on(async {
        Ledger::migrate(url).await.with_context(failed)?;
        let before = Ledger::for_reading(url).await.with_context(failed)?.audit().await.with_context(failed)?;
        if !before.ok {
            tell(&before);
            println!("nothing was brought into a log");
            return Ok(1);
        }
        let ledger = Ledger::open(url, &Opening::default()).await.with_context(failed)?;
        let after = ledger.audit().await.with_context(failed)?;
        ledger.close().await.with_context(failed)?;
        tell(&after);
        Ok(i32::from(!after.ok))
    })
}
