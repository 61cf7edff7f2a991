//! `farebox providers|requests|restart|operations`: what runs on the running server, and what operators do to it.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    call::{Server, encoded},
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// An act on a provider.
#[derive(Debug, clap::Args)]
struct OfProvider {
    /// The provider.
    name: String,
    /// Reason, for the history of operations.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Subcommand)]
enum ProvidersCommand {
    /// Show each provider: its circuit, calls, and what became of its requests in the last minute.
    List,
    /// Call a provider no more: what runs there goes on, and requests to its models are told to come again.
    Pause(OfProvider),
    /// Call a provider again.
    Resume(OfProvider),
}

/// `farebox providers ...`.
#[derive(Debug, clap::Args)]
pub(super) struct ProvidersArgs {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: ProvidersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RequestsCommand {
    /// Show the requests that run, the oldest first.
    List,
    /// Explain a request: what it waits for, how it ended, or which limit refused it.
    Explain {
        /// The request's id, as in `x-request-id`.
        id: String,
    },
}

/// `farebox requests ...`.
#[derive(Debug, clap::Args)]
pub(super) struct RequestsArgs {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: RequestsCommand,
}

/// `farebox restart ...`.
#[derive(Debug, clap::Args)]
pub(super) struct RestartArgs {
    /// The actor: sweeper, webhook, projector, payment; provider and its name, pool and its class, or one of these two words
    /// alone for all; engine and its model; or account and its id.
    #[arg(required = true, num_args = 1..=2)]
    actor: Vec<String>,
    /// Reason, for the history of operations.
    #[arg(long)]
    reason: String,
    /// Print JSON instead of a line for each field.
    #[arg(long)]
    json: bool,
}

/// `farebox operations`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// The most rows to show.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

const PROVIDERS: &[(&str, &str)] = &[
    ("PROVIDER", "name"),
    ("CIRCUIT", "circuit"),
    ("KEYS", "keys"),
    ("CALLS", "running"),
    ("ANSWERED", "completed"),
    ("LEFT", "left"),
    ("FAILED", "failed"),
    ("FIRST P50 MS", "first_p50_ms"),
    ("WHOLE P50 MS", "whole_p50_ms"),
    ("WHOLE P99 MS", "whole_p99_ms"),
    ("WHY", "why"),
];
const RUNNING: &[(&str, &str)] = &[
    ("ID", "id"),
    ("STAGE", "stage"),
    ("SINCE", "since"),
    ("MODEL", "model"),
    ("PROVIDER", "provider"),
    ("COST", "cost"),
    ("HELD", "held"),
    ("WAITS FOR", "waits_for"),
];
const OPERATIONS: &[(&str, &str)] = &[
    ("AT", "at"),
    ("ACT", "act"),
    ("SUBJECT", "subject"),
    ("REASON", "reason"),
    ("BY", "known_by"),
    ("FAILED", "failed"),
];

fn rows(answer: &Value, name: &str) -> Vec<Value> {
    answer[name].as_array().cloned().unwrap_or_default()
}

/// Runs `farebox providers`.
pub(super) fn providers(settings: &Settings, args: &ProvidersArgs) -> Result<i32> {
    let server = Server::of(settings)?;
    let act = |OfProvider { name, reason }: &OfProvider, act: &str| {
        let path = format!("providers/{}/{act}", encoded(name));
        print_one(&server.call("POST", &path, Some(&json!({"reason": reason})))?, Form::of_one(args.json))
    };
    match &args.command {
        ProvidersCommand::List => {
            print_list(
                &rows(&server.call("GET", "overview", None)?, "providers"),
                PROVIDERS,
                Form::of_list(args.json),
            )?;
        }
        ProvidersCommand::Pause(of) => act(of, "pause")?,
        ProvidersCommand::Resume(of) => act(of, "resume")?,
    }
    Ok(0)
}

/// Runs `farebox requests`.
pub(super) fn requests(settings: &Settings, args: &RequestsArgs) -> Result<i32> {
    let server = Server::of(settings)?;
    match &args.command {
        RequestsCommand::List => {
            print_list(&rows(&server.call("GET", "requests", None)?, "data"), RUNNING, Form::of_list(args.json))?;
        }
        RequestsCommand::Explain { id } => {
            let explained = server.call("GET", &format!("requests/{}/explain", encoded(id)), None)?;
            print_one(&explained, Form::of_one(args.json))?;
        }
    }
    Ok(0)
}

/// Runs `farebox restart`.
pub(super) fn restart(settings: &Settings, args: &RestartArgs) -> Result<i32> {
    let body = json!({"actor": args.actor.join(" "), "reason": args.reason});
    print_one(&Server::of(settings)?.call("POST", "actors/restart", Some(&body))?, Form::of_one(args.json))?;
    Ok(0)
}

/// Runs `farebox operations`.
pub(super) fn operations(settings: &Settings, args: &ListArgs) -> Result<i32> {
    let done = Server::of(settings)?.list("operations", &[], args.limit)?;
    print_list(&done, OPERATIONS, Form::of_list(args.json))?;
    Ok(0)
}
