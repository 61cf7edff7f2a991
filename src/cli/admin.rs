//! `farebox account|key|credits|actors`: the operator's routes of the running server, from the command line. An account
//! is given by its id or its e-mail address.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    call::{Server, encoded},
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// The number of rows shown by default.
const USUAL: usize = 50;

/// The arguments of a list that belongs to an account.
#[derive(Debug, clap::Args)]
struct Of {
    /// The account's id, or its owner's email address.
    account: String,
    /// The most rows to show.
    #[arg(long, default_value_t = USUAL)]
    limit: usize,
}

/// An account, and why something is done to it.
#[derive(Debug, clap::Args)]
struct Reasoned {
    /// The account's id, or its owner's email address.
    account: String,
    /// Reason, for the audit log.
    #[arg(long)]
    reason: String,
}

/// The commands of `farebox account`.
#[derive(Debug, clap::Subcommand)]
enum AccountCommand {
    /// Create an account, with its plan's first credits.
    Create {
        /// Email address of the account's owner.
        email: String,
        /// The account's plan.
        #[arg(long, default_value = "free", value_parser = ["free", "payg"])]
        plan: String,
    },
    /// List accounts, newest first.
    List {
        /// Only accounts whose email address has this text.
        #[arg(long)]
        search: Option<String>,
        /// Only accounts on this plan.
        #[arg(long, value_parser = ["free", "payg"])]
        plan: Option<String>,
        /// The most rows to show.
        #[arg(long, default_value_t = USUAL)]
        limit: usize,
    },
    /// Show an account: plan, balance, tier, automatic purchases, keys.
    Show {
        /// The account's id, or its owner's email address.
        account: String,
    },
    /// List an account's payments.
    Payments(Of),
    /// List an account's completed and failed requests.
    Requests(Of),
    /// List the holds of an account's running requests.
    Holds {
        /// The account's id, or its owner's email address.
        account: String,
    },
    /// Show an account's usage by day.
    Usage(Of),
    /// List an account's events, such as low balance.
    Events(Of),
    /// List an account's webhooks, and whether they fail.
    Webhooks {
        /// The account's id, or its owner's email address.
        account: String,
    },
    /// List operators' actions on an account, with their reasons.
    Actions(Of),
    /// Freeze an account: it admits no more requests, and what runs goes on.
    Freeze(Reasoned),
    /// Unfreeze an account: it admits requests again.
    Unfreeze(Reasoned),
}

/// `farebox account ...`.
#[derive(Debug, clap::Args)]
pub(super) struct AccountArgs {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Create an API key. The key is shown only once.
    Create {
        /// The account's id, or its owner's email address.
        account: String,
        /// Name of the key.
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// List an account's API keys, newest first.
    List(Of),
    /// Revoke an API key.
    Revoke {
        /// The account's id, or its owner's email address.
        account: String,
        /// The key's id.
        key: String,
    },
}

/// `farebox key ...`.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CreditsCommand {
    /// Grant credits to an account, without a payment.
    Grant {
        /// The account's id, or its owner's email address.
        account: String,
        /// Amount in dollars.
        amount: String,
        /// Kind of the credits.
        #[arg(long, default_value = "goodwill", value_parser = ["promo", "goodwill", "plan", "free"])]
        source: String,
        /// When the credits expire: a date or an RFC 3339 time [default: in 28 days].
        #[arg(long)]
        expires_at: Option<String>,
        /// Reason, for the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// List an account's grants.
    List(Of),
    /// Void a grant: take back its remaining credits, or part of them.
    Void {
        /// The account's id, or its owner's email address.
        account: String,
        /// The grant's id.
        grant: String,
        /// Amount in dollars [default: all remaining credits].
        #[arg(long)]
        amount: Option<String>,
        /// Reason, for the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Refund a payment to its card, and take back the credits it bought.
    Refund {
        /// The payment's id.
        payment: String,
        /// Amount in dollars [default: all that was not refunded yet].
        #[arg(long)]
        amount: Option<String>,
        /// Reason, for the audit log.
        #[arg(long)]
        reason: String,
    },
}

/// `farebox credits ...`.
#[derive(Debug, clap::Args)]
pub(super) struct CreditsArgs {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CreditsCommand,
}

/// `farebox actors`.
#[derive(Debug, clap::Args)]
pub(super) struct ActorsArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const ACCOUNTS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("EMAIL", "email"),
    ("PLAN", "plan"),
    ("AVAILABLE", "available"),
    ("DEBT", "debt"),
    ("FROZEN", "frozen_at"),
    ("CREATED", "created_at"),
];
const PAYMENTS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("FOR", "purpose"),
    ("AMOUNT", "amount"),
    ("REVERSED", "reversed"),
    ("STATUS", "status"),
    ("DECLINED", "decline_code"),
    ("CREATED", "created_at"),
];
const REQUESTS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("MODEL", "model"),
    ("ENDING", "ending"),
    ("INPUT", "input_tokens"),
    ("OUTPUT", "output_tokens"),
    ("SECONDS", "billed_seconds"),
    ("COST", "cost"),
    ("ENDED", "ended_at"),
];
const HOLDS: &[(&str, &str)] = &[
    ("REQUEST", "request_id"),
    ("MODEL", "model"),
    ("AMOUNT", "amount"),
    ("ACCRUED", "accrued"),
    ("PLACED", "placed_at"),
];
const WEBHOOKS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("URL", "url"),
    ("DESCRIPTION", "description"),
    ("EVENTS", "events"),
    ("ENABLED", "enabled"),
    ("WHY NOT", "disabled_because"),
    ("FAILS SINCE", "failing_since"),
    ("CREATED", "created_at"),
];
const USAGE: &[(&str, &str)] = &[
    ("DAY", "day"),
    ("REQUESTS", "requests"),
    ("FAILED", "failed"),
    ("INPUT", "input_tokens"),
    ("OUTPUT", "output_tokens"),
    ("SECONDS", "billed_seconds"),
    ("COST", "cost"),
];
const EVENTS: &[(&str, &str)] = &[("AT", "at"), ("EVENT", "kind"), ("NUMBERS", "data")];
const ACTIONS: &[(&str, &str)] =
    &[("AT", "at"), ("ACTION", "action"), ("TO", "subject"), ("AMOUNT", "amount"), ("WHY", "reason")];
const KEYS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("PUBLIC", "public"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
];
const GRANTS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("SOURCE", "source"),
    ("AMOUNT", "amount"),
    ("AVAILABLE", "available"),
    ("HELD", "held"),
    ("SPENT", "spent"),
    ("EXPIRES", "expires_at"),
];
const ACTORS: &[(&str, &str)] = &[
    ("KIND", "kind"),
    ("NAME", "name"),
    ("VERDICT", "verdict"),
    ("SINCE", "since"),
    ("RESTARTS", "restarts"),
    ("WAITING", "mailbox_depth"),
    ("TRIED", "tried_at"),
    ("WHY", "reasons"),
];

/// An actor's row, and one for each of its parts that is in trouble.
fn with_parts(actor: &Value) -> Vec<Value> {
    let parts = actor["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let row = |part: &Value| {
        let name = [&actor["name"], &part["name"]].map(|name| name.as_str().unwrap_or_default()).join("/");
        json!({
            "kind": "model", "name": name, "verdict": part["verdict"], "since": part["since"],
            "tried_at": part["tried_at"], "reasons": part["why"],
        })
    };
    std::iter::once(actor.clone()).chain(parts.iter().map(row)).collect()
}

/// Prints a list that belongs to an account.
fn list(server: &Server, of: &Of, what: &str, columns: &[(&str, &str)], form: Form) -> Result<()> {
    let path = format!("accounts/{}/{what}", encoded(&of.account));
    print_list(&server.list(&path, &[], of.limit)?, columns, form)
}

/// Prints a list of an account that has no pages.
fn whole_list(server: &Server, account: &str, what: &str, columns: &[(&str, &str)], form: Form) -> Result<()> {
    let listed = server.call("GET", &format!("accounts/{}/{what}", encoded(account)), None)?;
    print_list(listed["data"].as_array().map_or(&[][..], Vec::as_slice), columns, form)
}

/// Freezes or unfreezes an account.
fn set_frozen(server: &Server, Reasoned { account, reason }: &Reasoned, act: &str, json: bool) -> Result<()> {
    let path = format!("accounts/{}/{act}", encoded(account));
    print_one(&server.call("POST", &path, Some(&json!({"reason": reason})))?, Form::of_one(json))
}

/// Runs `farebox account ...`.
pub(super) fn account(settings: &Settings, AccountArgs { json, command }: &AccountArgs) -> Result<i32> {
    let (server, form) = (Server::of(settings)?, Form::of_list(*json));
    match command {
        AccountCommand::Create { email, plan } => {
            let made = server.call("POST", "accounts", Some(&json!({"email": email, "plan": plan})))?;
            print_one(&made, Form::of_one(*json))?;
        }
        AccountCommand::List { search, plan, limit } => {
            let given = [("search", search), ("plan", plan)];
            let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
            print_list(&server.list("accounts", &query, *limit)?, ACCOUNTS, form)?;
        }
        AccountCommand::Show { account } => {
            print_one(&server.call("GET", &format!("accounts/{}", encoded(account)), None)?, Form::of_one(*json))?;
        }
        AccountCommand::Payments(of) => list(&server, of, "payments", PAYMENTS, form)?,
        AccountCommand::Requests(of) => list(&server, of, "requests", REQUESTS, form)?,
        AccountCommand::Holds { account } => whole_list(&server, account, "holds", HOLDS, form)?,
        AccountCommand::Webhooks { account } => whole_list(&server, account, "webhooks", WEBHOOKS, form)?,
        AccountCommand::Usage(of) => list(&server, of, "usage", USAGE, form)?,
        AccountCommand::Events(of) => list(&server, of, "events", EVENTS, form)?,
        AccountCommand::Actions(of) => list(&server, of, "actions", ACTIONS, form)?,
        AccountCommand::Freeze(of) => set_frozen(&server, of, "freeze", *json)?,
        AccountCommand::Unfreeze(of) => set_frozen(&server, of, "unfreeze", *json)?,
    }
    Ok(0)
}

/// Runs `farebox key ...`.
pub(super) fn key(settings: &Settings, KeyArgs { json, command }: &KeyArgs) -> Result<i32> {
    let server = Server::of(settings)?;
    let keys = |account: &str| format!("accounts/{}/keys", encoded(account));
    match command {
        KeyCommand::Create { account, name } => {
            let made = server.call("POST", &keys(account), Some(&json!({"name": name})))?;
            print_one(&made, Form::of_one(*json))?;
        }
        KeyCommand::List(of) => list(&server, of, "keys", KEYS, Form::of_list(*json))?,
        KeyCommand::Revoke { account, key } => {
            let revoked = server.call("DELETE", &format!("{}/{}", keys(account), encoded(key)), None)?;
            print_one(&revoked, Form::of_one(*json))?;
        }
    }
    Ok(0)
}

/// Runs `farebox credits ...`.
pub(super) fn credits(settings: &Settings, CreditsArgs { json, command }: &CreditsArgs) -> Result<i32> {
    let server = Server::of(settings)?;
    let grants = |account: &str| format!("accounts/{}/grants", encoded(account));
    match command {
        CreditsCommand::Grant { account, amount, source, expires_at, reason } => {
            let body = json!({"source": source, "amount": amount, "expires_at": expires_at, "reason": reason});
            print_one(&server.call("POST", &grants(account), Some(&body))?, Form::of_one(*json))?;
        }
        CreditsCommand::List(of) => list(&server, of, "grants", GRANTS, Form::of_list(*json))?,
        CreditsCommand::Void { account, grant, amount, reason } => {
            let path = format!("{}/{}/void", grants(account), encoded(grant));
            let body = json!({"amount": amount, "reason": reason});
            print_one(&server.call("POST", &path, Some(&body))?, Form::of_one(*json))?;
        }
        CreditsCommand::Refund { payment, amount, reason } => {
            let path = format!("payments/{}/refund", encoded(payment));
            let body = json!({"amount": amount, "reason": reason});
            print_one(&server.call("POST", &path, Some(&body))?, Form::of_one(*json))?;
        }
    }
    Ok(0)
}

/// Runs `farebox actors`. The exit status is 1 where an actor is down.
pub(super) fn actors(settings: &Settings, args: &ActorsArgs) -> Result<i32> {
    let seen = Server::of(settings)?.call("GET", "actors", None)?;
    let actors = seen["actors"].as_array().map_or(&[][..], Vec::as_slice);
    let form = Form::of_list(args.json);
    let rows = if form == Form::Json { actors.to_vec() } else { actors.iter().flat_map(with_parts).collect() };
    print_list(&rows, ACTORS, form)?;
    Ok(i32::from(actors.iter().any(|actor| actor["verdict"] == "down")))
}
