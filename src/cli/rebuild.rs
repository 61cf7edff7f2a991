//! `farebox rebuild`: the tables made again from the log.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ledger::{
    Ledger,
    rebuild::{Rebuilt, Then},
};

use crate::config::Settings;

/// The arguments of `farebox rebuild`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Put the tables that are made in the place of those that there are. No server may run.
    #[arg(long)]
    replace: bool,
    /// The archive of rows that have left the log.
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Makes the tables, and says how they differ from those that there were.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let then = if args.replace { Then::Replace } else { Then::Discard };
    let rebuilt =
        actix::System::new().block_on(Ledger::rebuild(settings.database.url.as_str(), then, args.archive.as_deref()));
    let rebuilt = rebuilt.with_context(|| format!("can't rebuild {}", settings.database.url))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rebuilt)?);
    } else {
        tell(&rebuilt);
    }
    let is_clean = rebuilt.stopped.is_empty() && (rebuilt.is_replaced || rebuilt.differences.is_empty());
    Ok(i32::from(!is_clean))
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(rebuilt: &Rebuilt) {
    for table in &rebuilt.differences {
        for difference in &table.first {
            println!("{}: {difference}", table.table);
        }
        let more = table.count.saturating_sub(table.first.len() as u64);
        if more > 0 {
            println!("{}: {more} more", table.table);
        }
    }
    for account in &rebuilt.stopped {
        println!("stopped: account {account}");
    }
    let differing: u64 = rebuilt.differences.iter().map(|table| table.count).sum();
    let compared = match (rebuilt.is_compared, differing) {
        (false, _) => "there were none to compare them with".to_owned(),
        (true, 0) => "as they are in the tables".to_owned(),
        (true, count) => format!("{count} not as they are in the tables"),
    };
    let became = if rebuilt.is_replaced { "; they are the ledger's tables now" } else { "" };
    let from = match rebuilt.places[..] {
        [place] => format!("the log up to its row {place}"),
        ref places => format!("the logs of {} shards", places.len()),
    };
    println!("{} rows made from {from}: {compared}{became}", rebuilt.rows);
}
