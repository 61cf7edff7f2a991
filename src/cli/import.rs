//! `farebox import litellm`: for those who come over from litellm. Its proxy's configuration becomes settings, printed or
//! written to a new file; the keys of an export become keys with limits, told, or made on the running server. All that has no
//! counterpart is listed with its path.

mod deployment;
mod draft;
mod keys;
mod litellm;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use runtime::clock::Clock;
use serde_json::Value;

use super::call::{Refused, Server, encoded};
use crate::config::Settings;
use keys::NewKey;
use litellm::Imported;
use tree::Left;

/// `farebox import ...`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ImportCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ImportCommand {
    /// Take over a configuration of litellm's proxy.
    ///
    /// Its models, fall-backs and aliases are printed as a settings file. What has no counterpart is listed with its path, on
    /// standard error. Keys that it takes from variables (os.environ/NAME) stay there: the variables to set are printed too.
    Litellm(LiteLlm),
}

#[derive(Debug, clap::Args)]
struct LiteLlm {
    /// The configuration (config.yaml).
    file: PathBuf,
    /// Write the settings to this new file instead of printing them.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// An export of its keys, as `GET /key/list?return_full_object=true` answers: their budgets become limits.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Make these keys for this account (its id or email address) on the running server. Each new key is printed once.
    #[arg(long, value_name = "ACCOUNT", requires = "keys")]
    account: Option<String>,
}

/// Runs `farebox import ...`.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let ImportCommand::Litellm(args) = &args.command;
    let document = yaml(&text(&args.file)?);
    let document = document.with_context(|| format!("{} is no configuration", args.file.display()))?;
    let imported = litellm::convert(document);
    let (keys, left) = match &args.keys {
        Some(file) => {
            let export = serde_json::from_str(&text(file)?);
            let export = export.with_context(|| format!("{} is no export of keys", file.display()))?;
            keys::convert(export, &imported.names, Clock::default().now())
        }
        None => (Vec::new(), Vec::new()),
    };
    let settings_text = file(&imported, &args.file);
    match &args.write {
        Some(path) => write(path, &settings_text)?,
        None if args.account.is_none() => print(&settings_text),
        None => {}
    }
    tell(&imported, &left);
    match &args.account {
        Some(account) => return make(settings, account, keys),
        None => keys.iter().for_each(|key| eprint(&format!("a key to make: {}", key.body))),
    }
    Ok(0)
}

/// Reads YAML. A name such as `y` is text, as litellm's reader has it, and no flag.
fn yaml(text: &str) -> Result<Value> {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    Ok(serde_saphyr::from_str_with_options(text, options)?)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// The settings file, with the variables that it needs at its head.
fn file(imported: &Imported, from: &Path) -> String {
    let name = from.file_name().map(|name| name.to_string_lossy().replace(char::is_control, " "));
    let mut text = format!("# Made of LiteLLM's {} by `farebox import litellm`.\n", name.unwrap_or_default());
    let variables = imported.draft.variables();
    if !variables.is_empty() {
        text.push_str("# It needs these variables beside those of LiteLLM:\n");
        for (name, value) in variables {
            // Writing to a text can't fail.
            let _ = writeln!(text, "#   export {name}={value}");
        }
    }
    text + &imported.draft.toml()
}

/// Writes a new file, which only its owner may read: it may have keys.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    file.with_context(|| format!("can't write {}; an existing file is left as it is", path.display()))
}

/// Tells what has no counterpart, and what is to be done.
fn tell(imported: &Imported, of_keys: &[Left]) {
    let all: Vec<&Left> = imported.left.iter().chain(of_keys).collect();
    for Left { path, why } in &all {
        eprint(&format!("no counterpart: {path}: {why}"));
    }
    for model in &imported.unpriced {
        eprint(&format!("needs a price before it is served (docs/prices.md): {model}"));
    }
    let (providers, aliases) = (imported.draft.providers.len(), imported.draft.aliases.len());
    eprint(&format!("{providers} providers and {aliases} aliases; {} things have no counterpart", all.len()));
}

/// Makes keys on the running server. A model that the server does not know is told, and its key made without it; a key
/// that is refused is told, and the others are made. Returns the exit status: 1 where one was refused.
fn make(settings: &Settings, account: &str, keys: Vec<NewKey>) -> Result<i32> {
    let server = Server::of(settings)?;
    let path = format!("accounts/{}/keys", encoded(account));
    let mut status = 0;
    for NewKey { name, mut body } in keys {
        loop {
            let made =
                server.ask("POST", &path, Some(&body)).with_context(|| format!("the key {name:?} is not made"))?;
            let Refused { answer, .. } = match made {
                Ok(made) => {
                    let key = made["key"].as_str().with_context(|| format!("the server told no key for {name:?}"))?;
                    print(&format!("{name}\t{key}\n"));
                    break;
                }
                Err(refused) => refused,
            };
            let field = answer["field"].as_str().unwrap_or_default();
            if let Some(model) = keys::without(&mut body, field) {
                eprint(&format!("the key {name:?} is made without {model:?}, which the server does not know"));
                continue;
            }
            let why = answer["message"].as_str().unwrap_or("the server does not say why");
            eprint(&format!("the key {name:?} is not made: {why}"));
            status = 1;
            break;
        }
    }
    Ok(status)
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn print(text: &str) {
    print!("{text}");
}

/// A line for whoever calls the command. No text of the configuration controls the terminal.
#[expect(clippy::print_stderr, reason = "the command's output")]
fn eprint(line: &str) {
    eprintln!("{}", line.replace(char::is_control, " "));
}
