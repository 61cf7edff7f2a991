//! What operators did to models, providers and actors.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::{
    gateway::acts::{Act, Done, Remembered},
    http::admin::acts::says,
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
}

impl Acted {
    /// What came of an act.
    pub fn of(act: &Act, done: Done) -> Self {
        let finishing = match done {
            Done::Paused(running) => running,
            Done::Model(_) | Done::Resumed | Done::Restarted => 0,
        };
        Self { act: act.name(), subject: act.subject(), done: says(done), finishing }
    }
}

/// An act of an operator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperatorsAct)]
pub struct Operation {
    at: Time,
    /// `load`, `unload`, `pin`, `unpin`, `drain`, `pause`, `resume` or `restart`.
    act: &'static str,
    /// The model, the provider or the actor.
    subject: String,
    reason: String,
    /// Why it was not done; null where it was.
    #[schema(required)]
    failed: Option<String>,
}

impl From<Remembered> for Operation {
    fn from(remembered: Remembered) -> Self {
        let Remembered { at, act, reason, failed } = remembered;
        Self { at: at.into(), act: act.name(), subject: act.subject(), reason, failed }
    }
}
