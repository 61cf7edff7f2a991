//! `farebox account|key|credits`: the operator's routes of the running server, from the command line.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::config::Settings;

/// Accounts.
#[derive(Debug, clap::Subcommand)]
enum AccountCommand {
    /// Make an account with its plan's first credits.
    Create {
        /// Its owner's address.
        email: String,
        /// `free` or `payg`.
        #[arg(long, default_value = "free")]
        plan: String,
    },
    /// Show an account.
    Show {
        /// Its id.
        id: String,
    },
}

/// `farebox account ...`.
#[derive(Debug, clap::Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key; it is shown only now.
    Create {
        /// Whose.
        account: String,
        /// What to call it.
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Revoke a key.
    Revoke {
        /// Whose.
        account: String,
        /// Its id.
        key: String,
    },
}

/// `farebox key ...`.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CreditsCommand {
    /// Add credits that nobody paid for.
    Grant {
        /// Whose.
        account: String,
        /// Dollars.
        amount: String,
        /// `promo` or `goodwill`.
        #[arg(long, default_value = "goodwill")]
        source: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// `farebox credits ...`.
#[derive(Debug, clap::Args)]
pub(super) struct CreditsArgs {
    #[command(subcommand)]
    command: CreditsCommand,
}

/// Runs `farebox account ...`.
pub(super) fn account(settings: &Settings, args: &AccountArgs) -> Result<i32> {
    match &args.command {
        AccountCommand::Create { email, plan } => {
            call(settings, "POST", "accounts", Some(&json!({"email": email, "plan": plan})))
        }
        AccountCommand::Show { id } => call(settings, "GET", &format!("accounts/{id}"), None),
    }
}

/// Runs `farebox key ...`.
pub(super) fn key(settings: &Settings, args: &KeyArgs) -> Result<i32> {
    match &args.command {
        KeyCommand::Create { account, name } => {
            call(settings, "POST", &format!("accounts/{account}/keys"), Some(&json!({"name": name})))
        }
        KeyCommand::Revoke { account, key } => {
            call(settings, "DELETE", &format!("accounts/{account}/keys/{key}"), None)
        }
    }
}

/// Runs `farebox credits ...`.
pub(super) fn credits(settings: &Settings, args: &CreditsArgs) -> Result<i32> {
    let CreditsCommand::Grant { account, amount, source, reason } = &args.command;
    let body = json!({"source": source, "amount": amount, "reason": reason});
    call(settings, "POST", &format!("accounts/{account}/grants"), Some(&body))
}

/// Calls an operator's route and prints the answer as JSON.
#[expect(clippy::print_stdout, reason = "the command's output")]
fn call(settings: &Settings, method: &str, path: &str, body: Option<&Value>) -> Result<i32> {
    let (status, answer) = ask(settings, method, path, body)?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    if status >= 400 {
        bail!("the server refused ({status})");
    }
    Ok(0)
}

/// Calls an operator's route of the running server: its status and its answer.
pub(super) fn ask(settings: &Settings, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let token = match &settings.admin_token {
        Some(token) => token.expose().to_owned(),
        None => std::fs::read_to_string(settings.data_dir.join("admin_token")).context(
            "no operator's token: set FAREBOX_ADMIN_TOKEN, or name the server's data folder with --data-dir",
        )?,
    };
    let url = format!("http://{}/admin/v1/{path}", settings.listen);
    actix::System::new()
        .block_on(farebox_actors::transport::call_json(method, &url, token.trim(), body))
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("no farebox answers at {}; start one with `farebox serve`", settings.listen))
}
