//! `farebox archive`: the log's older rows, in files of their own. Copying them only reads the ledger; they leave the log where
//! nobody serves it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use billing::Timestamp;
use ledger::{
    LedgerError,
    archive::{Archive, Retired, days_ago, retire},
};
use serde_json::{Value, json};

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
fn tell(args: &Args, archive: &Archive, retired: &Result<Vec<Retired>, String>) -> Result<i32> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(args, archive, retired))?);
        return Ok(i32::from(retired.is_err()));
    }
    let rows = archive.rows();
    let has = match rows.values().collect::<Vec<_>>()[..] {
        [] => "it is empty".to_owned(),
        [(first, last)] => format!("it has rows {first} to {last}, {} bytes", archive.bytes()),
        ref shards => format!("it has rows of {} shards, {} bytes", shards.len(), archive.bytes()),
    };
    println!("{}: {} rows added; {has}", args.folder.display(), archive.written());
    match retired {
        Ok(logs) => logs.iter().for_each(|log| println!("{}", in_words(*log, logs.len()))),
        Err(why) => println!("the log still has them: {why}. Stop that process, and run this again"),
    }
    Ok(i32::from(retired.is_err()))
}

fn in_words(Retired { shard, begins_at, rows }: Retired, shards: usize) -> String {
    let of_shard = if shards > 1 { format!("shard {}: ", shard.0) } else { String::new() };
    match rows {
        0 => format!("{of_shard}the log begins at row {begins_at}, as before"),
        rows => {
            format!("{of_shard}{rows} rows left the log, which begins at a signed checkpoint now, row {begins_at}")
        }
    }
}

fn as_json(args: &Args, archive: &Archive, retired: &Result<Vec<Retired>, String>) -> Value {
    let rows = archive.rows().into_iter();
    let rows: Vec<_> =
        rows.map(|(shard, (first, last))| json!({"shard": shard.0, "first": first, "last": last})).collect();
    let logs = retired.as_ref().ok().map(|logs| {
        let of_shard = |log: &Retired| json!({"shard": log.shard.0, "begins_at": log.begins_at, "rows_gone": log.rows});
        logs.iter().map(of_shard).collect::<Vec<_>>()
    });
    json!({"folder": args.folder, "rows_added": archive.written(), "shards": rows, "bytes": archive.bytes(),
        "logs": logs, "waits_for": retired.as_ref().err()})
}
