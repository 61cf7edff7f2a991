//! `farebox archive`: the log's older rows, in files of their own. Copying them only reads the ledger; they leave the log where
//! nobody serves it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use billing::Timestamp;
use ledger::{
    LedgerError,
    archive::{Archive, Retired, days_ago, retire},
};
use serde_json::json;

use crate::{
    app,
    config::Settings,
    signing::{self, Signer},
};

/// The arguments of `farebox archive`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of the archive: a new or empty one, or one that has the rows before.
    folder: PathBuf,
    /// Keep rows of so many days in the log; without it only the newest row of the tables stays.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Archives rows.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let url = settings.database.url.as_str();
    let until = args.keep_days.map_or(Timestamp(i64::MAX), days_ago);
    let file = app::signing_key_file(settings);
    let signer = Signer::open(&file).context("can't use the key that signs checkpoints")?;
    let sign = |text: &str| signer.sign(signing::CHECKPOINT, text.as_bytes());
    actix::System::new().block_on(async {
        let cannot = || format!("can't archive the log of {}", settings.database.url);
        let mut archive = Archive::copy(url, &args.folder, until).await.with_context(cannot)?;
        match retire(url, &mut archive, &sign).await {
            Ok(retired) => tell(args, &archive, &Ok(retired)),
            Err(LedgerError::Owned(why)) => tell(args, &archive, &Err(why)),
            Err(error) => Err(error).with_context(cannot),
        }
    })
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(args: &Args, archive: &Archive, retired: &Result<Retired, String>) -> Result<i32> {
    let (first, last) = archive.rows().unzip();
    if args.json {
        let log = retired.as_ref().ok().map(|log| json!({"begins_at": log.begins_at, "rows_gone": log.rows}));
        let told = json!({"folder": args.folder, "rows_added": archive.written(), "first": first, "last": last,
            "bytes": archive.bytes(), "log": log, "waits_for": retired.as_ref().err()});
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(i32::from(retired.is_err()));
    }
    let range = match (first, last) {
        (Some(first), Some(last)) => format!("it has rows {first} to {last}, {} bytes", archive.bytes()),
        _ => "it is empty".to_owned(),
    };
    println!("{}: {} rows added; {range}", args.folder.display(), archive.written());
    match retired {
        Ok(Retired { begins_at, rows: 0 }) => println!("the log begins at row {begins_at}, as before"),
        Ok(Retired { begins_at, rows }) => {
            println!("{rows} rows left the log, which begins at a signed checkpoint now, row {begins_at}");
        }
        Err(why) => println!("the log still has them: {why}. Stop that process, and run this again"),
    }
    Ok(i32::from(retired.is_err()))
}
