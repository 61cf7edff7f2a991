//! The fate of a request with a key: it runs as the first, gets an earlier one's answer, or is refused. The store asks
//! the requests that run in this process, then the ledger's row, then the ledger's trace of the request that died.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    account::{AccountError, Look},
    accounts::Accounts,
    running::Whereabouts,
};
use billing::{
    Nanos,
    ids::{AccountId, RequestId},
};
use bytes::Bytes;
use ledger::{
    LedgerError,
    idempotency::{KeyChange, Slot, Stage, StoredKey, Trace},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    Asked, BUFFERED, KeptAnswer, LIFE_MS, Life, Recording, Repeat, Whole, is_definitive,
    quota::{Quota, Share},
    seal,
};
use crate::{
    sealing::Sealer,
    single_flight::{Joined, Leader, SingleFlight, Waited},
};

/// The requests with keys that run in this process, so that a duplicate waits for the first and does not ask the database again
/// and again. Requests of one key are told apart by their fingerprints.
type Running = SingleFlight<Slot, [u8; 32], Arc<KeptAnswer>>;

/// The most simultaneous requests with keys.
pub const MOST: usize = 4_096;
/// The most waiting duplicates of one request.
const MOST_WAITING: usize = 1_024;
/// How long a duplicate waits for the first request.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The longest until a request that runs has a hold: its body comes, it is planned, and waits in line.
const UNHELD_MS: i64 = 5 * 60_000;
/// Attempts to write an answer before it is sent without.
const ATTEMPTS: u32 = 4;
/// From this status on the fault is not the request's.
const SERVER_ERROR: u16 = 500;
/// The status of a request that could not be done, or not be settled, for now.
const UNAVAILABLE: u16 = 503;

/// Why the answer of a completed request is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The process died before the answer was kept.
    Interrupted,
    /// The answer was larger than the largest kept answer.
    TooLarge,
    /// The answer was sealed with another operator's token.
    Unreadable,
}

/// Why a request with a key does not run.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another request came under this key before.
    #[error("the key was used for another request")]
    Reused,
    /// The first request has not ended.
    #[error("the first request runs")]
    InProgress,
    /// The first request was carried out, and its answer is lost.
    #[error("the first request's answer is lost")]
    Lost {
        /// The id of the first request.
        request_id: RequestId,
        /// The reason.
        why: Lost,
        /// The object that the request made, and its cost or worth.
        made: Option<(&'static str, Nanos)>,
    },
    /// Too many requests run or wait.
    #[error("too many requests with keys")]
    Overloaded,
    /// The ledger can't be read: nothing was run.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The account can't be asked: nothing was run.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// How a request with a key continues.
pub enum Begun {
    /// The request runs, and must be [`Store::finish`]ed.
    First(First),
    /// The request gets this answer.
    Replay(Arc<KeptAnswer>),
}

/// The request that runs under its key. If it is dropped unfinished, its row stays, and a retry asks the ledger what it
/// did.
pub struct First {
    leader: Leader<Slot, [u8; 32], Arc<KeptAnswer>>,
    asked: Asked,
    request_id: RequestId,
    life: Life,
}

impl First {
    /// The request's id: the id of its earlier life, where it had one.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The request's life.
    pub const fn life(&self) -> Life {
        self.life
    }
}

/// The answer of a request that finished, as it was recorded.
pub struct FinishedRequest {
    /// The status.
    pub status: u16,
    /// The kept headers.
    pub headers: Vec<(String, String)>,
    /// The body, unless it is too large.
    pub body: Option<Bytes>,
    /// Whether the body is whole.
    pub whole: Whole,
}

/// The fate of a row.
enum Fate {
    Keep,
    Forget,
    /// The request's act has not ended, or its state is unknown now.
    Leave,
}

/// The store of keys and their answers.
pub struct Store {
    accounts: Accounts,
    single_flight: Running,
    sealer: Sealer,
    quota: Quota,
    room: Arc<Semaphore>,
}

impl Store {
    /// A store whose answers are sealed with the hash of the operator's token.
    pub fn new(accounts: Accounts, token: &blake3::Hash) -> Self {
        let room = Arc::new(Semaphore::new(BUFFERED));
        Self {
            accounts,
            single_flight: Running::new(MOST, MOST_WAITING),
            sealer: seal::sealer(token),
            quota: Quota::default(),
            room,
        }
    }

    /// The secret part of what a request makes: the same in each of the request's lives.
    pub fn secret(&self, asked: &Asked, request_id: RequestId) -> String {
        seal::secret(&self.sealer, asked, request_id)
    }

    /// The number of running requests with keys.
    pub fn running(&self) -> usize {
        self.single_flight.count()
    }

    /// An empty recording.
    pub fn recording(&self) -> Recording {
        Recording::new(Arc::clone(&self.room))
    }

    /// Takes the key for this request, or finds the earlier answer.
    ///
    /// # Errors
    ///
    /// The key was used for another request, the first request still runs after the longest wait or its answer is
    /// lost, too many requests with keys run, or the ledger can't be asked. The request must not run then.
    pub async fn begin(&self, asked: Asked, request_id: RequestId) -> Result<Begun, Refused> {
        let deadline = Instant::now() + LONGEST_WAIT;
        loop {
            match self.single_flight.join(&asked.slot, asked.fingerprint) {
                Joined::Full => return Err(Refused::Overloaded),
                Joined::Reused => return Err(Refused::Reused),
                Joined::Leader(leader) => {
                    return self.look(First { leader, asked, request_id, life: Life::First }).await;
                }
                Joined::Follower(wait) => {
                    match wait.until_published(deadline.saturating_duration_since(Instant::now())).await {
                        Waited::Published(answer) => return Ok(Begun::Replay(answer)),
                        Waited::TooLong => return Err(Refused::InProgress),
                        Waited::LookAgain => {}
                    }
                }
            }
        }
    }

    /// Decides whether the request is the first of its day.
    async fn look(&self, first: First) -> Result<Begun, Refused> {
        if self.start(&first, RequestId(Uuid::nil())).await? {
            return Ok(Begun::First(first));
        }
        let now = self.accounts.clock().now();
        let row = self.accounts.ledger().stored_key(first.asked.slot, now).await?;
        // The first request ended between the two reads.
        let Some(StoredKey { fingerprint, request_id, stage }) = row else { return Err(Refused::InProgress) };
        if fingerprint != first.asked.fingerprint {
            return Err(Refused::Reused);
        }
        match stage {
            Stage::Kept(sealed) => {
                let Some(answer) = seal::open(&self.sealer, &first.asked, request_id, sealed) else {
                    return Err(self.lost(&first, request_id, Lost::Unreadable).await?);
                };
                let answer = Arc::new(answer);
                first.leader.publish(Arc::clone(&answer));
                Ok(Begun::Replay(answer))
            }
            Stage::TooLarge => Err(self.lost(&first, request_id, Lost::TooLarge).await?),
            Stage::Started => self.take_over(first, request_id).await,
        }
    }

    /// Writes the row, if the slot is free or belongs to `earlier`.
    async fn start(&self, first: &First, earlier: RequestId) -> Result<bool, LedgerError> {
        let now = self.accounts.clock().now();
        let change = KeyChange::Start {
            slot: first.asked.slot,
            fingerprint: first.asked.fingerprint,
            request_id: first.request_id,
            earlier,
            now,
            expires_at: now.plus_ms(LIFE_MS),
        };
        Ok(self.accounts.ledger().change_key(change).await? == 1)
    }

    /// Takes over from an earlier request that died before its answer was kept. The earlier request continues in this
    /// one, unless it was paid for. This request runs under its own id only where the earlier one came to nothing.
    async fn take_over(&self, first: First, earlier: RequestId) -> Result<Begun, Refused> {
        if self.accounts.running().contains(earlier) {
            return Err(Refused::InProgress);
        }
        let first = match (self.trace(&first, earlier).await?, first.asked.repeat) {
            (Trace::Done { .. }, Repeat::Anew) => return Err(self.lost(&first, earlier, Lost::Interrupted).await?),
            (Trace::Done { .. }, Repeat::Resumed) => First { request_id: earlier, life: Life::Done, ..first },
            (Trace::Nothing, Repeat::Anew) if self.may_begin_elsewhere(earlier) => return Err(Refused::InProgress),
            (Trace::Nothing, _) => First { request_id: earlier, life: Life::Again, ..first },
            (Trace::Undone, _) => first,
            (Trace::Pending, _) => return Err(Refused::InProgress),
        };
        if self.start(&first, earlier).await? { Ok(Begun::First(first)) } else { Err(Refused::InProgress) }
    }

    /// Whether a request may be about to be let in at another node that lives. Under its id it would run twice for one hold.
    fn may_begin_elsewhere(&self, id: RequestId) -> bool {
        let accounts = &self.accounts;
        let age_ms = id.begun_ms().map(|begun| accounts.clock().now().0.saturating_sub(begun));
        accounts.running().whereabouts(id) == Whereabouts::Elsewhere && age_ms.is_none_or(|age| age < UNHELD_MS)
    }

    /// What a request did. Where it seems to have done nothing, or not to have ended, its account is asked first: that
    /// settles the holds of an earlier process, and the account answers only when all earlier changes are durable or
    /// have failed.
    async fn trace(&self, first: &First, request_id: RequestId) -> Result<Trace, Refused> {
        let account = AccountId(first.asked.slot.scope);
        let trace = self.accounts.ledger().trace(account, request_id).await?;
        // The operator's scope is no account.
        if matches!(trace, Trace::Done { .. }) || account.0.is_nil() {
            return Ok(trace);
        }
        self.accounts.ask(account, Look).await?;
        Ok(self.accounts.ledger().trace(account, request_id).await?)
    }

    async fn lost(&self, first: &First, request_id: RequestId, why: Lost) -> Result<Refused, Refused> {
        let made = match self.trace(first, request_id).await? {
            Trace::Done { what, amount } => Some((what, amount)),
            Trace::Nothing | Trace::Undone | Trace::Pending => None,
        };
        Ok(Refused::Lost { request_id, why, made })
    }

    /// Keeps an answer or frees its key, then informs the followers. After this returns, the answer may be sent.
    pub async fn finish(&self, first: First, finished: FinishedRequest) {
        let FinishedRequest { status, headers, body, whole } = finished;
        let fate = self.fate(&first, status, whole).await;
        let First { leader, asked, request_id, .. } = first;
        let slot = asked.slot;
        let answer = body.map(|body| Arc::new(KeptAnswer { status, headers, body }));
        let change = match (fate, &answer) {
            (Fate::Forget, _) => Some(KeyChange::Forget { slot, request_id }),
            (Fate::Leave, _) => None,
            (Fate::Keep, answer) => {
                let sealed = answer.as_ref().and_then(|answer| seal::seal(&self.sealer, &asked, request_id, answer));
                Some(match sealed {
                    Some(answer) => KeyChange::Keep { slot, request_id, answer },
                    None => KeyChange::TooLarge { slot, request_id },
                })
            }
        };
        if let Some(change) = change {
            self.write(change, request_id).await;
        }
        // A broken stream that is kept is also a retry's answer. One that is not kept still goes to the followers,
        // which asked for it.
        match answer {
            Some(answer) => leader.publish(answer),
            None => drop(leader),
        }
    }

    async fn fate(&self, first: &First, status: u16, whole: Whole) -> Fate {
        let scope = first.asked.slot.scope;
        let is_definitive = is_definitive(status, whole);
        let is_success = matches!(status, 200..=299);
        if first.life == Life::Done && !is_success {
            // The request was carried out: an error of this life is not its answer.
            return Fate::Leave;
        }
        if is_definitive && self.quota.take(scope, self.accounts.clock().now()) == Share::Within {
            return Fate::Keep;
        }
        // A refused request did nothing. A failed one may have done something that is not durable yet.
        let trace = if status < SERVER_ERROR {
            self.accounts.ledger().trace(AccountId(scope), first.request_id).await.map_err(Refused::from)
        } else {
            self.trace(first, first.request_id).await
        };
        match trace {
            // An act that failed here may still be on its way: repeated, it is the same request.
            Ok(Trace::Nothing) if status >= SERVER_ERROR && first.asked.repeat == Repeat::Resumed => Fate::Leave,
            Ok(Trace::Nothing | Trace::Undone) => Fate::Forget,
            // "Try again later" is no answer to a request that was charged after all: a retry learns that the answer is
            // lost.
            Ok(Trace::Done { .. }) if status == UNAVAILABLE => Fate::Leave,
            // Nor is a refusal the answer to an act that was carried out.
            Ok(Trace::Done { .. }) if first.asked.repeat == Repeat::Resumed && !is_success => Fate::Leave,
            Ok(Trace::Done { .. }) => Fate::Keep,
            Ok(Trace::Pending) | Err(_) => Fate::Leave,
        }
    }

    /// Writes the change that must be durable before the answer is sent. If that fails, the row still says `started`: a
    /// retry gets no answer, and is not charged.
    async fn write(&self, change: KeyChange, request_id: RequestId) {
        for attempt in 0..ATTEMPTS {
            match self.accounts.ledger().change_key(change.clone()).await {
                Ok(_) => return,
                Err(error) if attempt + 1 == ATTEMPTS => {
                    tracing::error!(request.id = %request_id, %error, "an answer could not be kept");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50 << attempt)).await,
            }
        }
    }
}
