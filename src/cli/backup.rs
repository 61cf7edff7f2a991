//! `farebox backup` and `farebox restore`, for a ledger in SQLite. A backup only reads the ledger, so a server may run
//! beside it. The operator's token is kept with the ledger, because the answers that are kept for retries are sealed with it;
//! so is the key of receipts, with the public keys of those before, because receipts are checked by them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use ledger::{
    audit::{Audit, Trust},
    backup::{Backup, Beside, End, Restoring},
};
use serde_json::json;

use crate::{
    app,
    config::Settings,
    secret_file,
    signing::{self, jwks::Keys},
};

/// The operator's token in a backup.
const TOKEN: &str = "admin_token";
/// The key of receipts in a backup, and the public keys.
const KEY: &str = "signing_key.pem";
const KEYS: &str = "signing_key.jwks.json";

/// The arguments of `farebox backup` and `farebox restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of the backup; a new one must be empty or not there.
    folder: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Backs up the ledger, and audits the backup.
pub(super) fn back_up(settings: &Settings, args: &Args) -> Result<i32> {
    let url = of_sqlite(settings)?;
    let mut beside = token(settings)?;
    let ending = if beside.is_empty() { "" } else { ", with the operator's token" };
    beside.extend(keys(settings)?);
    let open = signing::list(&app::signing_key_file(settings))?
        .map(|keys| move |text: &str| signing::jws::text_of(text, signing::CHECKPOINT, &keys));
    let (backup, audit) = actix::System::new().block_on(async {
        let backup = Backup::take(url, &args.folder, &beside).await;
        let backup = backup.with_context(|| format!("can't back up {}", settings.database.url))?;
        let audit = backup.audit(Trust { open: open.as_ref().map(|open| open as _), archive: None }).await;
        let unread = || format!("the backup in {} was written, and can't be audited", backup.folder().display());
        let audit = audit.with_context(unread)?;
        anyhow::Ok((backup, audit))
    })?;
    tell(args, backup.folder(), &audit, backup.end(), backup.bytes(), ending)
}

/// Puts a backup in the ledger's place, if it is clean.
pub(super) fn restore(settings: &Settings, args: &Args) -> Result<i32> {
    let url = of_sqlite(settings)?;
    let keys = known(settings, &args.folder)?;
    let open = |text: &str| signing::jws::text_of(text, signing::CHECKPOINT, &keys);
    let trust = Trust { open: (!keys.is_empty()).then_some(&open as _), archive: None };
    let restoring = actix::System::new().block_on(Restoring::begin(url, &args.folder, trust));
    let restoring = restoring.with_context(|| format!("can't restore to {}", settings.database.url))?;
    let (audit, end, bytes) = (restoring.audit().clone(), restoring.end().clone(), restoring.bytes());
    let ending = if audit.ok {
        let told = keep_token(settings, restoring.beside())?;
        keep_keys(settings, restoring.beside())?;
        restoring.place().with_context(|| format!("can't restore to {}", settings.database.url))?;
        told
    } else {
        "; nothing was restored"
    };
    tell(args, &args.folder, &audit, &end, bytes, ending)
}

fn of_sqlite(settings: &Settings) -> Result<&str> {
    let url = settings.database.url.as_str();
    if !url.starts_with("sqlite:") {
        bail!(
            "the ledger is in PostgreSQL, which has means of its own: back it up with pg_dump, which takes log and tables as of \
             one moment, restore that into an empty database, and run `farebox audit` on it"
        );
    }
    Ok(url)
}

/// The operator's token, if it is a file and not a setting.
fn token(settings: &Settings) -> Result<Vec<Beside>> {
    if settings.admin_token.is_some() {
        return Ok(Vec::new());
    }
    let path = app::admin_token_file(settings);
    match fs::read(&path) {
        Ok(content) => Ok(vec![Beside { name: TOKEN.to_owned(), content }]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// The key of receipts and the public keys, if they are in the data folder.
fn keys(settings: &Settings) -> Result<Vec<Beside>> {
    if settings.signing_key.is_some() {
        return Ok(Vec::new());
    }
    let file = app::signing_key_file(settings);
    let mut found = Vec::new();
    for (name, path) in [(KEY, file.clone()), (KEYS, signing::list_of(&file))] {
        match fs::read(&path) {
            Ok(content) => found.push(Beside { name: name.to_owned(), content }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
    Ok(found)
}

/// The public keys that signed here, and those of a backup: whoever made it is trusted with all that is in it.
fn known(settings: &Settings, backup: &Path) -> Result<Keys> {
    let mut keys = signing::list(&app::signing_key_file(settings))?.unwrap_or_default();
    let path = backup.join(KEYS);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let listed = Keys::read(&text).map_err(anyhow::Error::msg);
            let listed = listed.with_context(|| format!("can't use {}", path.display()))?;
            for key in listed.iter() {
                keys.add(key.clone());
            }
            Ok(keys)
        }
        // Whether the backup is one is told when it is read.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(keys),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Has the backup's key sign, unless there is one, and its public keys known.
fn keep_keys(settings: &Settings, beside: &[Beside]) -> Result<()> {
    let find = |name| beside.iter().find(|beside| beside.name == name);
    let Some(keys) = find(KEYS) else { return Ok(()) };
    let key = find(KEY).map(|key| String::from_utf8_lossy(&key.content).into_owned());
    let (file, keys) = (app::signing_key_file(settings), String::from_utf8_lossy(&keys.content).into_owned());
    Ok(signing::join(&file, key.as_deref(), &keys)?)
}

/// Writes the backup's token where a start looks for it, unless there is one, and says what became of it.
fn keep_token(settings: &Settings, beside: &[Beside]) -> Result<&'static str> {
    let Some(token) = beside.iter().find(|beside| beside.name == TOKEN) else { return Ok("") };
    let path = app::admin_token_file(settings);
    let there = settings.admin_token.as_ref().map(|token| token.expose().to_owned());
    let there = there.or_else(|| fs::read_to_string(&path).ok()).filter(|there| !there.trim().is_empty());
    let text = String::from_utf8_lossy(&token.content);
    match there {
        Some(there) if there.trim() == text.trim() => Ok(", with the operator's token"),
        Some(_) => Ok(
            ", without its operator's token: there is another one, which can't open answers that are kept for retries",
        ),
        None => {
            fs::create_dir_all(&settings.data_dir)?;
            secret_file::write(&path, &text).with_context(|| format!("can't write {}", path.display()))?;
            Ok(", with the operator's token")
        }
    }
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn tell(args: &Args, folder: &Path, audit: &Audit, end: &End, bytes: u64, ending: &str) -> Result<i32> {
    if args.json {
        let log = json!({"row": end.row, "hash": end.hash});
        let told = json!({"folder": folder, "audit": audit, "log": log, "bytes": bytes});
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(i32::from(!audit.ok));
    }
    for violation in &audit.violations {
        println!("invariant {}: {}", violation.invariant, violation.what);
    }
    println!(
        "{}: {}: {} accounts, {} requests, {} open holds, the log up to row {} ({}), {bytes} bytes, {} violations{ending}",
        if audit.ok { "clean" } else { "NOT clean" },
        folder.display(),
        audit.accounts,
        audit.requests,
        audit.open_holds,
        end.row,
        end.hash,
        audit.violations.len()
    );
    Ok(i32::from(!audit.ok))
}
