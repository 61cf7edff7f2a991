//! How far a running request is, as its task says: what it waits for, since when, and what it costs so far.

use std::sync::Arc;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, KeyId, RequestId},
};

use super::Amounts;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Who pays.
    pub account_id: AccountId,
    /// The key that was shown.
    pub key_id: Option<KeyId>,
    /// The model.
    pub model: Arc<str>,
    /// The provider, or `farebox`.
    pub provider: Arc<str>,
    /// When its account was asked to let it in.
    pub asked_at: Timestamp,
}

/// The stage of a running request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its account was asked to let it in: it waits for that, in line, or for a reload.
    Entering,
    /// It waits for its open model: to be loaded, or for its engine's queue.
    Waiting,
    /// Its model was loaded; it waits behind others in its engine.
    Queued,
    /// Its engine computes, and has not begun to answer.
    Computing,
    /// Its provider was called, and has not begun to answer.
    Calling,
    /// Its answer comes.
    Answering,
    /// Nobody waits for it any more: what it used is found out.
    Draining,
    /// It has ended, and its charge becomes durable.
    Settling,
}

impl Stage {
    /// The stage's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entering => "entering",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Computing => "computing",
            Self::Calling => "calling",
            Self::Answering => "answering",
            Self::Draining => "draining",
            Self::Settling => "settling",
        }
    }
}

/// How far a request is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) amounts: Amounts,
    pub(super) stage: Stage,
    pub(super) since: Timestamp,
    pub(super) cost: Nanos,
}

impl Progress {
    /// One that is about to be admitted.
    pub(super) const fn began(at: Timestamp) -> Self {
        Self { amounts: Amounts::NOTHING, stage: Stage::Entering, since: at, cost: Nanos::ZERO }
    }

    /// It is at a stage now. One that it is at already goes on.
    pub(super) fn is_at(&mut self, stage: Stage, now: Timestamp) {
        if self.stage != stage {
            (self.stage, self.since) = (stage, now);
        }
    }
}

/// A running request, as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// Its id.
    pub id: RequestId,
    /// What was asked.
    pub about: About,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// What it costs so far, as it told its account last: each second, and at its end.
    pub cost: Nanos,
    /// What is held for it.
    pub amounts: Amounts,
    /// Whether it can be asked to end.
    pub can_end: bool,
}
