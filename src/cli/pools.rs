//! `farebox models load|unload|reload|pin|unpin|drain|status`: open models in the memory of the running server.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    call::{Server, encoded},
    table::{Form, print_list, print_one},
};
use crate::config::Settings;

/// How often a load is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// An act on one model.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The model.
    model: String,
    /// Reason, for the history of operations.
    #[arg(long)]
    reason: Option<String>,
    /// Print JSON instead of a line for each field.
    #[arg(long)]
    json: bool,
}

/// An act that loads one.
#[derive(Debug, clap::Args)]
pub(super) struct Loads {
    #[command(flatten)]
    of: Of,
    /// Do not wait until it is loaded.
    #[arg(long)]
    no_wait: bool,
}

/// The commands that call the running server.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PoolsCommand {
    /// Load a model on the running server, and take it back into service if it was drained; exit status 1 if that fails.
    Load(Loads),
    /// Take a model out of memory once its running requests have ended; the next request loads it again.
    Unload(Of),
    /// Load a model anew that is in memory: what runs is finished on the life that there is, what comes waits for the other.
    Reload(Loads),
    /// Load a model and keep it: it is never taken out for another, and is loaded at every start, until it is unpinned.
    Pin(Loads),
    /// Let a pinned model be taken out again.
    Unpin(Of),
    /// Take a model out of service: running requests are finished, others refused, until it is loaded again.
    Drain(Of),
    /// Show the running server's devices and models: memory, state, requests, speed.
    Status {
        /// Print JSON instead of tables.
        #[arg(long)]
        json: bool,
    },
}

const DEVICES: &[(&str, &str)] =
    &[("DEVICE", "name"), ("CLASSES", "classes"), ("MEMORY", "memory_bytes"), ("USED", "used_bytes")];
const MODELS: &[(&str, &str)] = &[
    ("MODEL", "id"),
    ("CLASS", "class"),
    ("STATE", "state"),
    ("LOAD", "load.phase"),
    ("READ", "load.read_bytes"),
    ("OF", "load.of_bytes"),
    ("DEVICE", "device"),
    ("BYTES", "bytes"),
    ("RUNNING", "running"),
    ("QUEUED", "queued"),
    ("WAITING", "waiting"),
    ("PINNED", "pinned"),
    ("UNUSED MS", "unused_ms"),
    ("TOKENS/S", "tokens_per_second"),
    ("WHY", "why"),
];

/// Runs one.
pub(super) fn run(settings: &Settings, command: &PoolsCommand) -> Result<i32> {
    let server = Server::of(settings)?;
    match command {
        PoolsCommand::Load(loads) => load(&server, loads, "load"),
        PoolsCommand::Pin(loads) => load(&server, loads, "pin"),
        PoolsCommand::Reload(loads) => load(&server, loads, "reload"),
        PoolsCommand::Unload(of) => act(&server, of, "unload").map(|_| 0),
        PoolsCommand::Unpin(of) => act(&server, of, "unpin").map(|_| 0),
        PoolsCommand::Drain(of) => act(&server, of, "drain").map(|_| 0),
        PoolsCommand::Status { json } => {
            let pools = server.call("GET", "pools", None)?;
            if *json {
                print_one(&pools, Form::Json)?;
                return Ok(0);
            }
            let rows = |name: &str| pools[name].as_array().cloned().unwrap_or_default();
            print_list(&rows("devices"), DEVICES, Form::Text)?;
            print_list(&rows("models"), MODELS, Form::Text)?;
            Ok(0)
        }
    }
}

fn act(server: &Server, of: &Of, act: &str) -> Result<Value> {
    let body = of.reason.as_ref().map(|reason| json!({"reason": reason}));
    let acted = server.call("POST", &format!("models/{}/{act}", encoded(&of.model)), body.as_ref())?;
    print_one(&acted, Form::of_one(of.json))?;
    Ok(acted)
}

/// Loads one, and waits until it is loaded.
fn load(server: &Server, Loads { of, no_wait }: &Loads, name: &str) -> Result<i32> {
    let acted = act(server, of, name)?;
    let loads = acted["done"] == "loading" || (name == "reload" && acted["done"] == "finishing");
    let mut is_loading = loads && !no_wait;
    while is_loading {
        sleep(LOOK);
        let pools = server.call("GET", "pools", None)?;
        let model = pools["models"].as_array().and_then(|all| all.iter().find(|model| model["id"] == *of.model));
        match model.and_then(|model| model["state"].as_str()) {
            Some("loading") => {}
            Some("warm") => is_loading = false,
            state => {
                let why = model.and_then(|model| model["why"].as_str()).unwrap_or_default();
                bail!("{} is {} now. {why}", of.model, state.unwrap_or("cold"));
            }
        }
    }
    Ok(0)
}
