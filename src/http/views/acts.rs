//! What operators did to models, providers, actors, keys, people and running requests.

use serde::Serialize;
use utoipa::ToSchema;

use uuid::Uuid;

use super::Time;
use crate::{
    gateway::acts::{Act, Done},
    http::admin::acts::says,
    service::operators,
};

/// What came of an act on a provider or an actor.
#[derive(Debug, Serialize, ToSchema)]
pub struct Acted {
    /// `pause`, `resume` or `restart`.
    act: &'static str,
    subject: String,
    /// `paused`, `finishing` (calls run on), `resumed` or `restarted`.
    done: &'static str,
    /// The calls that run on.
    finishing: usize,
    /// Where it holds, and how long: always `this process alone, until it ends`. Other nodes are to be asked, too.
    reach: &'static str,
}

/// What is done to a provider or an actor is in the process's memory.
const REACH: &str = "this process alone, until it ends";

impl Acted {
    /// What came of an act.
    pub fn of(act: &Act, done: Done) -> Self {
        let finishing = match done {
            Done::Paused(running) => running,
            Done::Model(_) | Done::Resumed | Done::Restarted => 0,
        };
        Self { act: act.name(), subject: act.subject(), done: says(done), finishing, reach: REACH }
    }
}

/// An act of an operator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperatorsAct)]
pub struct Operation {
    id: Uuid,
    at: Time,
    /// The node that was asked; null where there is one process alone.
    #[schema(required)]
    node: Option<Uuid>,
    /// How the operator was known: `token`, or `session` of the operator's pages.
    known_by: String,
    /// `load`, `unload`, `reload`, `pin`, `unpin`, `drain`, `pause`, `resume` or `restart`.
    act: String,
    /// The model, the provider or the actor.
    subject: String,
    reason: String,
    /// Why it was not done; null where it was.
    #[schema(required)]
    failed: Option<String>,
}

impl From<operators::Operation> for Operation {
    fn from(operation: operators::Operation) -> Self {
        let operators::Operation { id, at, node, known_by, act, subject, reason, failed } = operation;
        Self { id, at: at.into(), node, known_by, act, subject, reason, failed }
    }
}
