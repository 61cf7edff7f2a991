//! The bill of one request, pure: how far the request is, what was metered of it, what its account is told when it ends, and
//! how often that is tried. The guard carries it, and so does the simulation. It knows no account, no clock and no channel.

use std::{sync::Arc, time::Duration};

use billing::{
    Nanos, Timestamp,
    account::Balance,
    command::{Admit, Answer, Refusal, Reply},
    entry::{Ending, UsageRecord},
    ids::{KeyId, RequestId},
    price::Price,
};

use super::{Metered, NotAdmitted};
use crate::account::{AccountError, Entered, Placed};

/// How often settling is tried before it is left to recovery.
const ATTEMPTS: u32 = 5;
/// What the wait before a try grows from: twice this before the second, and twice the last one before each other.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its account is asked: something may be held for it.
    Asking,
    /// Its hold is durable.
    Running,
    /// Nothing is held for it, or its end was told.
    Over,
}

/// A request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetIn {
    /// Its hold.
    pub placed: Placed,
    /// The account's balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, for accounts with that limit.
    pub rate_remaining: Option<i64>,
    /// Its place in the line when it joined it, if it had to wait.
    pub place: Option<usize>,
}

/// The bill.
#[derive(Debug, Clone)]
pub struct Bill {
    request_id: RequestId,
    key_id: Option<KeyId>,
    model: Arc<str>,
    provider: Arc<str>,
    price_version: i64,
    /// The price that was frozen when it was planned; none where it costs nothing here.
    price: Option<Arc<Price>>,
    admitted_at: Timestamp,
    metered: Metered,
    stage: Stage,
}

impl Bill {
    /// Of a request whose account is about to be asked.
    pub fn asking(admit: &Admit, now: Timestamp) -> Self {
        Self {
            request_id: admit.request_id,
            key_id: admit.key_id,
            model: Arc::clone(&admit.model),
            provider: Arc::clone(&admit.provider),
            price_version: admit.price_version,
            price: None,
            admitted_at: now,
            metered: Metered::NOTHING,
            stage: Stage::Asking,
        }
    }

    /// The request.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// What the account said, or that it said nothing: then something may be held all the same.
    pub fn answered(&mut self, answer: Result<Entered, AccountError>) -> Result<LetIn, NotAdmitted> {
        let Entered { placed, answer, place, .. } = match answer {
            Ok(entered) => entered,
            // Late, or lost with its account: whether something is held is not known.
            Err(error @ AccountError::Unavailable(_)) => return Err(error.into()),
            Err(error @ (AccountError::NoAccount | AccountError::Overloaded)) => {
                self.stage = Stage::Over;
                return Err(error.into());
            }
        };
        match (answer.result, placed) {
            (Ok(Reply::Admitted { rate_remaining, .. }), Some(placed)) => {
                (self.admitted_at, self.stage) = (placed.placed_at, Stage::Running);
                Ok(LetIn { placed, balance: answer.balance, rate_remaining, place })
            }
            (Err(refusal), _) => {
                self.stage = Stage::Over;
                Err(NotAdmitted::Refused { refusal, place })
            }
            // No account answers so: what it holds, if anything, is given back.
            (Ok(_), _) => Err(AccountError::Unavailable("the answer to another question".into()).into()),
        }
    }

    /// Takes the price that was frozen when it was planned: what its record's quantities are charged at.
    pub fn price_at(&mut self, price: Option<Arc<Price>>) {
        self.price = price;
    }

    /// Notes what was used so far: what is charged if the request is abandoned.
    pub const fn meter(&mut self, metered: Metered) {
        self.metered = metered;
    }

    /// What was noted last.
    pub const fn metered(&self) -> &Metered {
        &self.metered
    }

    /// Whether its hold is durable and its end was not told.
    pub fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// The request ends: what its account is told. With `held` set aside.
    pub fn ended(&mut self, ending: Ending, held: Nanos, now: Timestamp) -> UsageRecord {
        self.stage = Stage::Over;
        self.record(ending, held, now)
    }

    /// Nobody carries the request on: what its account is told, if there is anything to tell.
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
        }
    }
}

/// A bill that is told to its account until that is durable, or often enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settling {
    tries: u32,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It is charged.
    Settled,
    /// Nothing is held any more: an earlier try may have been committed before its actor died. It is charged if exactly its
    /// record is in the ledger, else the refusal stands.
    IfRecorded(Refusal),
    /// The rules refused: the hold was ended by someone else.
    Refused(Refusal),
    /// No answer.
    Again(AccountError),
}

impl Settling {
    /// Begins a try: how long it waits first. None after the last.
    pub fn next_wait(&mut self) -> Option<Duration> {
        let wait = match self.tries {
            0 => Duration::ZERO,
            ATTEMPTS.. => return None,
            tries => FIRST_WAIT * 2_u32.pow(tries),
        };
        self.tries += 1;
        Some(wait)
    }

    /// What an answer to the try means.
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
