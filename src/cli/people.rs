//! `farebox person`: people of the running server, from the command line. A person is given by id or e-mail address.

use anyhow::Result;
use serde_json::json;

use super::{
    call::{Server, encoded},
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// The commands of `farebox person`.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List people, newest first.
    List {
        /// Only people whose email address has this text.
        #[arg(long)]
        search: Option<String>,
        /// The most rows to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Make a link by which somebody comes in; it is good once, for whoever opens it.
    Invite {
        /// Email address of the person.
        email: String,
        /// The account to be a member of, by its id or its owner's address [default: an account of its own].
        #[arg(long, requires = "role")]
        account: Option<String>,
        /// The role in that account.
        #[arg(long, requires = "account", value_parser = ["owner", "billing", "developer", "reader"])]
        role: Option<String>,
        /// Mail the link, too.
        #[arg(long)]
        mail: bool,
    },
    /// Make a link by which a person sets another password; it is good once, for half an hour.
    ResetLink {
        /// The person's id or email address.
        person: String,
    },
    /// Let a person in no more, and end all sessions and the API keys that the person made.
    Disable {
        /// The person's id or email address.
        person: String,
        /// Let the keys go on that the person made.
        #[arg(long)]
        keep_keys: bool,
    },
    /// Let a person in again.
    Enable {
        /// The person's id or email address.
        person: String,
    },
    /// Forget a person, and end all memberships and the API keys that the person made.
    Forget {
        /// The person's id or email address.
        person: String,
        /// Let the keys go on that the person made.
        #[arg(long)]
        keep_keys: bool,
    },
}

/// `farebox person ...`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const PEOPLE: &[(&str, &str)] = &[
    ("ID", "id"),
    ("EMAIL", "email"),
    ("NAME", "name"),
    ("CREATED", "created_at"),
    ("DISABLED", "disabled_at"),
    ("ACCOUNTS", "accounts"),
];

/// What becomes of the keys that a person made, as a query says it.
const fn keys(keep: bool) -> &'static str {
    if keep { "keep" } else { "revoke" }
}

/// Runs `farebox person ...`.
pub(super) fn run(settings: &Settings, Args { json, command }: &Args) -> Result<i32> {
    let (server, one) = (Server::of(settings)?, Form::of_one(*json));
    let post = |person: &str, what: &str| server.call("POST", &format!("people/{}/{what}", encoded(person)), None);
    let made = match command {
        Command::List { search, limit } => {
            let query: Vec<_> = search.iter().map(|text| ("search", text.clone())).collect();
            let mut people = server.list("people", &query, *limit)?;
            if !*json {
                for person in &mut people {
                    let of = person["memberships"].as_array().map_or(&[][..], Vec::as_slice);
                    let texts = of.iter().map(|it| {
                        let text = |name: &str| it[name].as_str().unwrap_or_default();
                        format!("{} ({})", text("account"), text("role"))
                    });
                    person["accounts"] = texts.collect::<Vec<_>>().join(", ").into();
                }
            }
            print_list(&people, PEOPLE, Form::of_list(*json))?;
            return Ok(0);
        }
        Command::Invite { email, account, role, mail } => {
            let body = json!({"email": email, "account": account, "role": role, "mail": mail});
            server.call("POST", "people/invite", Some(&body))?
        }
        Command::ResetLink { person } => post(person, "reset-link")?,
        Command::Disable { person, keep_keys } => post(person, &format!("disable?keys={}", keys(*keep_keys)))?,
        Command::Enable { person } => post(person, "enable")?,
        Command::Forget { person, keep_keys } => {
            server.call("DELETE", &format!("people/{}?keys={}", encoded(person), keys(*keep_keys)), None)?
        }
    };
    print_one(&made, one)?;
    Ok(0)
}
