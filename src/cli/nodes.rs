//! `farebox nodes`: the nodes that share the ledger of the running server, who owns what, and who has which open models.

use anyhow::Result;
use serde_json::Value;

use super::{
    call::Server,
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// The arguments of `farebox nodes`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

const NODES: &[(&str, &str)] = &[
    ("NODE", "id"),
    ("NAME", "name"),
    ("ADDRESS", "address"),
    ("STATE", "state"),
    ("SHARDS", "shards"),
    ("HERE", "here"),
    ("SINCE", "since"),
    ("HEARD", "heard_at"),
    ("CLOCK AHEAD (ms)", "clock_ahead_ms"),
    ("LINK", "link"),
];
const SHARDS: &[(&str, &str)] =
    &[("SHARD", "shard"), ("NODE", "node"), ("EPOCH", "epoch"), ("EXPIRES", "expires_at"), ("BEHIND", "behind")];
const REDIS: &[(&str, &str)] = &[
    ("REDIS", "state"),
    ("HEARS", "hears"),
    ("ANSWERED", "answered"),
    ("FAILED", "failed"),
    ("UNTOLD", "untold"),
    ("WATCHED", "watched"),
    ("REASON", "reason"),
];
const MODELS: &[(&str, &str)] =
    &[("MODEL", "model"), ("NODE", "node"), ("STATE", "state"), ("WAITING", "waiting"), ("FREE", "free_bytes")];

/// Shows them.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let nodes = Server::of(settings)?.call("GET", "nodes", None)?;
    if args.json {
        print_one(&nodes, Form::Json)?;
        return Ok(0);
    }
    if nodes["shared"] != Value::Bool(true) {
        println!("one process owns the whole ledger (setting `cluster.listen`)");
        return Ok(0);
    }
    let rows = |name: &str| nodes[name].as_array().cloned().unwrap_or_default();
    print_list(&rows("nodes"), NODES, Form::Text)?;
    println!();
    print_list(&rows("shards"), SHARDS, Form::Text)?;
    println!();
    print_list(&rows("models"), MODELS, Form::Text)?;
    if nodes["redis"].is_object() {
        println!();
        print_list(std::slice::from_ref(&nodes["redis"]), REDIS, Form::Text)?;
    }
    Ok(0)
}
