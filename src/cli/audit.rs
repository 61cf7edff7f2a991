//! `farebox audit` and `farebox migrate`, which open the database directly. The audit only reads, so a server may run
//! beside it. A schema is not changed while a server runs.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use ledger::{
    Ledger, LedgerError, Opening,
    audit::{Audit, Trust},
    log::Shard,
};

use super::keys;
use crate::{
    app,
    config::Settings,
    signing::{self, jwks::Keys, jws},
};

/// The arguments of `farebox audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// The folder of the log's archive: then all is checked from the log's first row, and not from its checkpoint.
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// The public keys to trust with the log's checkpoint: the file or the address of a JWKS. By default those that signed
    /// here; where none did, the signature is not looked at.
    #[arg(long, value_name = "FILE|URL")]
    keys: Option<String>,
}

/// Replays the ledger and checks it.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let keys = trusted(settings, args)?;
    let (audit, begins_at) =
        actix::System::new().block_on(audit(settings, args, keys.as_ref())).map_err(|error| match error {
            LedgerError::NoLedger(_) => anyhow::anyhow!("can't audit {}: {error}", settings.database.url),
            error => anyhow::Error::new(error)
                .context(format!("can't audit {}: is the ledger there, and up to date?", settings.database.url)),
        })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&audit)?);
        return Ok(i32::from(!audit.ok));
    }
    for (shard, row) in &begins_at {
        let signature = if keys.is_some() { "" } else { ", whose signature was not looked at: no keys are known here" };
        let from = if args.archive.is_some() { "0, in the archive" } else { "there" };
        let log = if begins_at.len() > 1 { format!("the log of shard {}", shard.0) } else { "the log".to_owned() };
        println!("{log} begins at a checkpoint, row {row}{signature}; it was followed from row {from}");
    }
    tell(&audit);
    Ok(i32::from(!audit.ok))
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(audit: &Audit) {
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

/// The keys that are named, or those that signed here, if any did.
fn trusted(settings: &Settings, args: &Args) -> Result<Option<Keys>> {
    match args.keys.as_deref() {
        Some(named) => keys::trusted(settings, Some(named)).map(Some),
        None => Ok(signing::list(&app::signing_key_file(settings))?),
    }
}

async fn audit(
    settings: &Settings,
    args: &Args,
    keys: Option<&Keys>,
) -> Result<(Audit, BTreeMap<Shard, u64>), LedgerError> {
    let ledger = Ledger::for_reading(settings.database.url.as_str()).await?;
    let open = keys.map(|keys| move |text: &str| jws::text_of(text, signing::CHECKPOINT, keys));
    let trust = Trust { open: open.as_ref().map(|open| open as _), archive: args.archive.as_deref() };
    Ok((ledger.audit_by(trust).await?, ledger.log_begins_at().await?))
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
