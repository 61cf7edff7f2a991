//! What operators did to models, providers and actors, to keys, people and running requests, for whoever asks later. An act is
//! done whether it can be kept or not: a provider is paused just when the ledger is in trouble, too. What can't be kept at once
//! waits in memory, bounded, and is kept with the next act, or when somebody asks; it is in the process's log in any case.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub use ledger::operations::Operation;
use uuid::Uuid;

use super::{
    Service, ServiceError,
    page::{Listed, Page},
};

/// The most acts that wait to be kept.
const WAITING: usize = 1_000;
/// How long an operator waits for an act to be kept.
const WITHIN: Duration = Duration::from_secs(2);
/// The longest text that is kept, in characters.
const LONGEST: usize = 4_096;

/// How an operator was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// By the operator's token.
    Token,
    /// By a session of the operator's pages.
    Session,
}

impl KnownBy {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
        }
    }
}

/// An act that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The node that was asked, where there are several.
    pub node: Option<Uuid>,
    /// How its operator was known.
    pub known_by: KnownBy,
    /// The act: `pause`.
    pub act: &'static str,
    /// What it was to be done to: `provider openai`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Why it was not done; `None` where it was.
    pub failed: Option<String>,
}

/// Acts that wait to be kept, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Unkept(Mutex<VecDeque<Operation>>);

impl Unkept {
    fn with<T>(&self, does: impl FnOnce(&mut VecDeque<Operation>) -> T) -> T {
        does(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, row: Operation) {
        self.with(|waiting| {
            if waiting.len() >= WAITING
                && let Some(lost) = waiting.pop_front()
            {
                tracing::error!(act = lost.act, subject = lost.subject, "an operator's act was not kept");
            }
            waiting.push_back(row);
        });
    }
}

/// Keeps an act that was asked for.
pub async fn keep(service: &Service, asked: Asked) {
    let Asked { node, known_by, act, subject, reason, failed } = asked;
    let short = |text: String| text.chars().take(LONGEST).collect();
    service.unkept.add(Operation {
        id: Uuid::now_v7(),
        at: service.now(),
        node,
        known_by: known_by.name().to_owned(),
        act: act.to_owned(),
        subject: short(subject),
        reason: short(reason),
        failed: failed.map(short),
    });
    keep_waiting(service).await;
}

/// Keeps what waits, as far as that is possible now.
async fn keep_waiting(service: &Service) {
    let all = async {
        while let Some(next) = service.unkept.with(|waiting| waiting.front().cloned()) {
            if let Err(error) = service.ledger().note_operation(&next).await {
                tracing::warn!(%error, act = next.act, "an operator's act is kept later");
                return;
            }
            service.unkept.with(|waiting| waiting.retain(|row| row.id != next.id));
        }
    };
    // What is under way when the time is over may be kept: it is tried again under its id.
    if tokio::time::timeout(WITHIN, all).await.is_err() {
        tracing::warn!("operators' acts are kept later: the ledger takes too long");
    }
}

/// Acts of operators at all nodes, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn list(service: &Service, page: Page) -> Result<Listed<Operation>, ServiceError> {
    keep_waiting(service).await;
    let rows = service.ledger().operations(page.before, page.limit).await?;
    Ok(page.list(rows, |row| row.id))
}
