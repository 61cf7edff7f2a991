//! `farebox account|key|credits|actors`: the operator's routes of the running server, from the command line. An account
//! is given by its id or its e-mail address.

use anyhow::Result;
use serde_json::json;

use super::{
    call::{Server, encoded},
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// The number of rows shown by default.
const USUAL: usize = 50;

/// Of an account, a list.
#[derive(Debug, clap::Args)]
struct Of {
    /// Its id, or its owner's address.
    account: String,
    /// Rows, at most.
    #[arg(long, default_value_t = USUAL)]
    limit: usize,
}

/// Accounts.
#[derive(Debug, clap::Subcommand)]
enum AccountCommand {
    /// Make an account with its plan's first credits.
    Create {
        /// Its owner's address.
        email: String,
        /// Its plan.
        #[arg(long, default_value = "free", value_parser = ["free", "payg"])]
        plan: String,
    },
    /// List accounts, newest first.
    List {
        /// Only those with this in their address.
        #[arg(long)]
        search: Option<String>,
        /// Only those on this plan.
        #[arg(long, value_parser = ["free", "payg"])]
        plan: Option<String>,
        /// Rows, at most.
        #[arg(long, default_value_t = USUAL)]
        limit: usize,
    },
    /// Show an account: plan, balance, tier, what it buys by itself, keys.
    Show {
        /// Its id, or its owner's address.
        account: String,
    },
    /// List what an account bought.
    Payments(Of),
    /// List an account's ended requests.
    Requests(Of),
    /// List what running requests have set aside.
    Holds {
        /// The account's id, or its owner's address.
        account: String,
    },
    /// Show what an account used, by day.
    Usage(Of),
    /// List what an account was told.
    Events(Of),
    /// List what operators did to an account, and why.
    Actions(Of),
}

/// `farebox account ...`.
#[derive(Debug, clap::Args)]
pub(super) struct AccountArgs {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key; it is shown only now.
    Create {
        /// Whose: an account's id, or its owner's address.
        account: String,
        /// What to call it.
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// List an account's keys.
    List {
        /// Whose: an account's id, or its owner's address.
        account: String,
    },
    /// Revoke a key.
    Revoke {
        /// Whose: an account's id, or its owner's address.
        account: String,
        /// Its id.
        key: String,
    },
}

/// `farebox key ...`.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CreditsCommand {
    /// Add credits that nobody paid for.
    Grant {
        /// Whose: an account's id, or its owner's address.
        account: String,
        /// Dollars.
        amount: String,
        /// What they are.
        #[arg(long, default_value = "goodwill", value_parser = ["promo", "goodwill", "plan", "free"])]
        source: String,
        /// Until when: a date or an RFC 3339 time; 28 days where none is given.
        #[arg(long)]
        expires_at: Option<String>,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// List an account's grants.
    List(Of),
    /// Take back what is left of a grant, or a part of it.
    Void {
        /// Whose: an account's id, or its owner's address.
        account: String,
        /// The grant's id.
        grant: String,
        /// Dollars; all that is left where none are given.
        #[arg(long)]
        amount: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Give a payment's money back to its card, and take the credits it bought.
    Refund {
        /// The payment's id.
        payment: String,
        /// Dollars; all that was not given back before where none are given.
        #[arg(long)]
        amount: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

/// `farebox credits ...`.
#[derive(Debug, clap::Args)]
pub(super) struct CreditsArgs {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CreditsCommand,
}

/// `farebox actors`.
#[derive(Debug, clap::Args)]
pub(super) struct ActorsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const ACCOUNTS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("EMAIL", "email"),
    ("PLAN", "plan"),
    ("AVAILABLE", "available"),
    ("DEBT", "debt"),
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
    ("WHY", "reasons"),
];

/// Prints a list that belongs to an account.
fn list(server: &Server, of: &Of, what: &str, columns: &[(&str, &str)], form: Form) -> Result<()> {
    let path = format!("accounts/{}/{what}", encoded(&of.account));
    print_list(&server.list(&path, &[], of.limit)?, columns, form)
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
        AccountCommand::Holds { account } => {
            let held = server.call("GET", &format!("accounts/{}/holds", encoded(account)), None)?;
            print_list(held["data"].as_array().map_or(&[][..], Vec::as_slice), HOLDS, form)?;
        }
        AccountCommand::Usage(of) => list(&server, of, "usage", USAGE, form)?,
        AccountCommand::Events(of) => list(&server, of, "events", EVENTS, form)?,
        AccountCommand::Actions(of) => list(&server, of, "actions", ACTIONS, form)?,
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
        KeyCommand::List { account } => {
            let listed = server.call("GET", &keys(account), None)?;
            print_list(listed["data"].as_array().map_or(&[][..], Vec::as_slice), KEYS, Form::of_list(*json))?;
        }
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
    print_list(actors, ACTORS, Form::of_list(args.json))?;
    Ok(i32::from(actors.iter().any(|actor| actor["verdict"] == "down")))
}
