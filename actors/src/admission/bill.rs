//! The bill of one request, pure: its stage, its metered use, the final message to its account, and how often that
//! message is tried. The guard and the simulation carry it. It knows no account, no clock and no channel.

use std::{sync::Arc, time::Duration};

use billing::{
    Nanos, Timestamp,
    account::Balance,
    attempt::{Attempt, MOST_ATTEMPTS},
    command::{Admit, Answer, Refusal, Reply},
    entry::{Ending, UsageRecord},
    ids::{KeyId, RequestId},
    price::Price,
    session::Session,
    timings::Timings,
};

use super::{Metered, NotAdmitted};
use crate::account::{AccountError, Entered, Placed};

/// Attempts at settling before the request is left to recovery.
const ATTEMPTS: u32 = 5;
/// The base of the waits: twice this before the second attempt, doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The account was asked: a hold may be placed.
    Asking,
    /// Its hold is durable.
    Running,
    /// Nothing is held, or the end was reported.
    Over,
}

/// A request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetIn {
    /// The request's hold.
    pub placed: Placed,
    /// The account's balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, for accounts with that limit.
    pub rate_remaining: Option<i64>,
    /// The request's place when it joined the line, if it had to wait.
    pub place: Option<usize>,
    /// How long its hold waited until the log had it.
    pub logged: Duration,
}

/// The bill of a request.
#[derive(Debug, Clone)]
pub struct Bill {
    request_id: RequestId,
    key_id: Option<KeyId>,
    model: Arc<str>,
    provider: Arc<str>,
    price_version: i64,
    /// The price that was frozen when it was planned; none where it costs nothing here.
    price: Option<Arc<Price>>,
    /// The attempts with other models before this one.
    attempts: Vec<Attempt>,
    session: Option<Session>,
    admitted_at: Timestamp,
    metered: Metered,
    timings: Option<Box<Timings>>,
    stage: Stage,
}

impl Bill {
    /// The bill of a request whose account is about to be asked.
    pub fn asking(admit: &Admit, now: Timestamp) -> Self {
        Self {
            request_id: admit.request_id,
            key_id: admit.key_id,
            model: Arc::clone(&admit.model),
            provider: Arc::clone(&admit.provider),
            price_version: admit.price_version,
            price: None,
            attempts: Vec::new(),
            session: admit.session.clone(),
            admitted_at: now,
            metered: Metered::NOTHING,
            timings: None,
            stage: Stage::Asking,
        }
    }

    /// The request's id.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Takes the account's answer. Without an answer something may be held all the same.
    ///
    /// # Errors
    ///
    /// Why the request may not run. Where the account did not answer, the bill still gives back what may be held.
    pub fn answered(&mut self, answer: Result<Entered, AccountError>) -> Result<LetIn, NotAdmitted> {
        let Entered { placed, answer, place, logged, .. } = match answer {
            Ok(entered) => entered,
            // The answer is late, or lost with its account: a hold may be placed.
            Err(error @ AccountError::Unavailable(_)) => return Err(error.into()),
            Err(
                error @ (AccountError::NoAccount
                | AccountError::Overloaded
                | AccountError::Moved
                | AccountError::Apart(_)),
            ) => {
                self.stage = Stage::Over;
                return Err(error.into());
            }
        };
        match (answer.result, placed) {
            (Ok(Reply::Admitted { rate_remaining, .. }), Some(placed)) => {
                (self.admitted_at, self.stage) = (placed.placed_at, Stage::Running);
                Ok(LetIn { placed, balance: answer.balance, rate_remaining, place, logged })
            }
            (Err(refusal), _) => {
                self.stage = Stage::Over;
                Err(NotAdmitted::Refused { refusal, place })
            }
            // No account answers like this. A hold that may be placed is given back.
            (Ok(_), _) => Err(AccountError::Unavailable("the answer to another question".into()).into()),
        }
    }

    /// Takes the price that was frozen when it was planned: what its record's quantities are charged at.
    pub fn price_at(&mut self, price: Option<Arc<Price>>) {
        self.price = price;
    }

    /// Takes the attempts with other models before this one, for the record: the first of them, where there are too many.
    pub fn after(&mut self, attempts: Vec<Attempt>) {
        self.attempts = attempts;
        self.attempts.truncate(MOST_ATTEMPTS);
    }

    /// Notes what was used so far: what is charged if the request is abandoned.
    pub const fn meter(&mut self, metered: Metered) {
        self.metered = metered;
    }

    /// Notes where the request's time went, for the record.
    pub fn took(&mut self, timings: Timings) {
        self.timings = Some(Box::new(timings));
    }

    /// The use noted last.
    pub const fn metered(&self) -> &Metered {
        &self.metered
    }

    /// Whether the hold is durable and the end was not reported.
    pub fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Ends the request with `held` set aside. Returns the record for its account.
    pub fn ended(&mut self, ending: Ending, held: Nanos, now: Timestamp) -> UsageRecord {
        self.stage = Stage::Over;
        self.record(ending, held, now)
    }

    /// Ends a request whose task is gone. Returns the record for its account, if one is due.
    pub fn abandoned(&mut self, held: Nanos, now: Timestamp) -> Option<UsageRecord> {
        match self.stage {
            Stage::Over => None,
            Stage::Asking | Stage::Running => Some(self.ended(Ending::Failed, held, now)),
        }
    }

    fn record(&self, ending: Ending, held: Nanos, now: Timestamp) -> UsageRecord {
        const FREE: &Price = &Price::nothing();
        let Metered { ref quantities, estimated, compute_ms, billed_seconds, cost } = self.metered;
        // A cost beyond what the ledger holds is a provider's nonsense; the hold is the most that is believed.
        let cost = if cost.charged().is_ok() { cost } else { cost.at_most(held) };
        UsageRecord {
            request_id: self.request_id,
            key_id: self.key_id,
            model: self.model.clone(),
            provider: self.provider.clone(),
            ending,
            parts: self.price.as_deref().unwrap_or(FREE).parts(quantities, cost.base),
            estimated,
            compute_ms,
            billed_seconds,
            cost,
            charged: cost.charged().unwrap_or(held),
            price_version: self.price_version,
            started_at: self.admitted_at,
            ended_at: now,
            attempts: self.attempts.clone(),
            session: self.session.clone(),
            timings: self.timings.clone(),
        }
    }
}

/// The attempts to report a bill to its account until the charge is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settling {
    tries: u32,
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The request is charged.
    Settled,
    /// Nothing is held any more: an earlier attempt may have been committed before its actor died. The request is
    /// charged if exactly its record is in the ledger, else the refusal stands.
    IfRecorded(Refusal),
    /// The rules refused: the hold was ended elsewhere.
    Refused(Refusal),
    /// No answer.
    Again(AccountError),
}

impl Settling {
    /// Begins an attempt, and returns how long to wait first; `None` after the last attempt.
    pub fn next_wait(&mut self) -> Option<Duration> {
        let wait = match self.tries {
            0 => Duration::ZERO,
            ATTEMPTS.. => return None,
            tries => FIRST_WAIT * 2_u32.pow(tries),
        };
        self.tries += 1;
        Some(wait)
    }

    /// The meaning of an answer to the attempt.
    pub fn tried(self, answer: &Result<Answer, AccountError>) -> Tried {
        match answer {
            Err(error) => Tried::Again(error.clone()),
            Ok(Answer { result: Ok(_), .. }) => Tried::Settled,
            Ok(Answer { result: Err(refusal @ Refusal::NoHold(_)), .. }) if self.tries > 1 => {
                Tried::IfRecorded(refusal.clone())
            }
            Ok(Answer { result: Err(refusal), .. }) => Tried::Refused(refusal.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_waits_longer_each_time_and_gives_up() {
        let mut settling = Settling::default();
        let waits: Vec<_> = std::iter::from_fn(|| settling.next_wait()).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800]);
    }
}
