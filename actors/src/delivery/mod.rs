//! Deliveries to webhooks: finds due deliveries ([`ledger::hooks`]), makes each call on a future of its own
//! ([`upstream::delivery`]), and writes the result ([`schedule`]). An endpoint gets one call at a time, oldest event
//! first; a failed delivery waits for its next attempt without delaying later ones. A call whose result was not written
//! is made again: receivers recognize it by its id. The actor keeps no state that matters, so a new life needs nothing
//! from the old one.

mod schedule;
pub mod sign;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use billing::{
    Timestamp,
    event::{Event, EventKind},
    ids::AccountId,
    resource::Resource,
    time::DAY_MS,
    webhook::{Because, Endpoint},
};
use ledger::{
    Ledger, LedgerError,
    webhooks::{Attempt, Due, Fate, TEST},
};
use runtime::{
    exit::ExitGuard,
    health::{Kind, OfKind},
    mailbox::{Ask, Handle},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use upstream::delivery::{Delivery, DeliveryClient, DeliveryOutcome};
use uuid::Uuid;

use crate::{
    accounts::Accounts,
    resources::{Decided, NotChanged},
};

/// How often the actor looks for due deliveries.
const EVERY: Duration = Duration::from_secs(1);
/// The most simultaneous calls, and the most of one account: slow endpoints of one account leave room for others.
const MOST: usize = 32;
const MOST_OF_ACCOUNT: usize = 2;
/// Deliveries read at a look: enough to find some of accounts that may still be called.
const PAGE: usize = 11 * MOST;
/// The most simultaneous tests; one for each account.
pub const MOST_TESTS: usize = 16;
/// How long ended deliveries are kept, and how often old ones are deleted.
const KEPT_MS: i64 = 30 * DAY_MS;
const PRUNE_EVERY_MS: i64 = 60 * 60 * 1_000;
/// The most deliveries deleted in one statement, and the most statements at a time.
const PRUNED: u32 = 500;
const PRUNE_BATCHES: u32 = 20;

/// The interface to webhooks for the rest of the process.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Checks addresses before they are saved.
    pub deliveries: DeliveryClient,
    /// Makes the calls.
    pub actor: Handle<DeliveryActor>,
}

/// Call this endpoint now with a test event.
#[derive(Debug, Clone)]
pub struct Test {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The event's id.
    pub event_id: Uuid,
}

/// Why no test was made.
#[derive(Debug, thiserror::Error)]
pub enum NotTested {
    /// A test of this account, or too many of other accounts, are under way.
    #[error("a test is under way")]
    Busy,
    /// The test could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The actor.
#[derive(Debug)]
pub struct DeliveryActor {
    accounts: Accounts,
    deliveries: DeliveryClient,
    /// The endpoints being called, and their accounts.
    calling: HashMap<Uuid, AccountId>,
    testing: HashSet<AccountId>,
    /// Results are written one at a time: however many calls end at once, requests keep their connections.
    writing: Arc<Mutex<()>>,
    looking: bool,
    /// Set when a call ended during a look.
    look_again: bool,
    /// Endpoints whose call ended since the look began: what the look read of them is old.
    ended: HashSet<Uuid>,
    pruned_at: Option<Timestamp>,
    _exit: ExitGuard,
}

impl DeliveryActor {
    /// A new life.
    pub fn new(accounts: Accounts, deliveries: DeliveryClient, exit: ExitGuard) -> Self {
        Self {
            accounts,
            deliveries,
            calling: HashMap::new(),
            testing: HashSet::new(),
            writing: Arc::default(),
            looking: false,
            look_again: false,
            ended: HashSet::new(),
            pruned_at: None,
            _exit: exit,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            self.look_again = true;
            return;
        }
        self.looking = true;
        self.ended.clear();
        let began = Instant::now();
        let accounts = self.accounts.clone();
        let work = async move { accounts.ledger().due_deliveries(accounts.clock().now(), PAGE).await };
        ctx.spawn(work.into_actor(self).map(move |found, actor, ctx| {
            actor.looking = false;
            match found {
                Ok(due) => due.into_iter().for_each(|due| actor.call(due, ctx)),
                Err(error) => tracing::warn!(%error, "deliveries could not be looked for"),
            }
            actor.accounts.health().acted(Kind::Webhook, began);
            if std::mem::take(&mut actor.look_again) {
                actor.look(ctx);
            }
        }));
    }

    fn call(&mut self, due: Due, ctx: &mut Context<Self>) {
        let of_account = self.calling.values().filter(|account| **account == due.account_id).count();
        let is_known = self.calling.contains_key(&due.endpoint_id) || self.ended.contains(&due.endpoint_id);
        if self.calling.len() >= MOST || of_account >= MOST_OF_ACCOUNT || is_known {
            return;
        }
        let endpoint = due.endpoint_id;
        self.calling.insert(endpoint, due.account_id);
        let work = deliver(self.accounts.clone(), self.deliveries.clone(), Arc::clone(&self.writing), due);
        ctx.spawn(work.into_actor(self).map(move |(), actor, ctx| {
            actor.calling.remove(&endpoint);
            actor.ended.insert(endpoint);
            actor.look(ctx);
        }));
    }

    /// Deletes old deliveries from time to time.
    fn prune(&mut self, ctx: &mut Context<Self>) {
        let now = self.accounts.clock().now();
        if self.pruned_at.is_some_and(|at| now.ms_since(at) < PRUNE_EVERY_MS) {
            return;
        }
        self.pruned_at = Some(now);
        let accounts = self.accounts.clone();
        let work = async move {
            for _ in 0..PRUNE_BATCHES {
                match accounts.ledger().forget_deliveries(now.plus_ms(-KEPT_MS), PRUNED).await {
                    Ok(deleted) if deleted >= u64::from(PRUNED) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "old deliveries could not be forgotten");
                        break;
                    }
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

/// The call of an event. The body is the same at each attempt; time and signature are the attempt's.
fn delivery(
    event: (Uuid, &str, Timestamp),
    account: AccountId,
    data: &Value,
    to: (&str, &str),
    now: Timestamp,
) -> Delivery {
    let ((id, kind, at), (url, secret)) = (event, to);
    let id = id.to_string();
    let body = json!({
        "id": id, "type": kind, "created_at": at.to_string(), "account_id": account.to_string(), "data": data,
    });
    let (body, seconds) = (body.to_string(), now.0.div_euclid(1_000));
    let signature = sign::sign(secret, &id, seconds, &body).unwrap_or_default();
    let headers = [("webhook-id", id), ("webhook-timestamp", seconds.to_string()), ("webhook-signature", signature)];
    Delivery { url: url.to_owned(), headers, body }
}

async fn deliver(accounts: Accounts, deliveries: DeliveryClient, writing: Arc<Mutex<()>>, due: Due) {
    let Due { endpoint_id, event_id, account_id, kind, at, data, attempts, url, secret, failing_since } = due;
    let clock = accounts.clock();
    let data = serde_json::from_str(&data).unwrap_or_default();
    let event = (event_id, kind.as_str(), at);
    let outcome = deliveries.post(delivery(event, account_id, &data, (&url, &secret), clock.now())).await;
    let now = clock.now();
    let fate = schedule::fate(&outcome, attempts.saturating_add(1), failing_since, now);
    count(fate);
    let attempt = attempt((endpoint_id, event_id, account_id), outcome, fate, now);
    let written = {
        let _turn = writing.lock().await;
        accounts.ledger().note_attempt(&attempt).await
    };
    if let Err(error) = written {
        // The delivery is still due, and is made again, but not at once.
        tracing::warn!(%error, account.id = %account_id, "a delivery's outcome could not be written");
        tokio::time::sleep(EVERY).await;
        return;
    }
    if let Fate::Disable(because) = fate
        && let Err(error) = turn_off(&accounts, &attempt, because).await
    {
        // The next delivery that fails turns it off.
        tracing::warn!(%error, account.id = %account_id, "a failing webhook could not be turned off");
    }
}

/// Turns a failing endpoint off, and notifies its owner.
async fn turn_off(accounts: &Accounts, attempt: &Attempt, because: Because) -> Result<(), NotChanged> {
    let Attempt { endpoint_id, event_id, account_id, at, .. } = attempt;
    let decide = async |ledger: &Ledger| {
        let known = ledger.endpoint(*account_id, *endpoint_id).await?.map(|known| known.endpoint);
        let Some(endpoint) = known.filter(|endpoint| endpoint.disabled.is_none()) else {
            return Ok(Decided::new(Vec::new(), ()));
        };
        let event = Event::new(EventKind::WebhookDisabled, format!("{endpoint_id} {event_id}"))
            .text("webhook_id", endpoint_id.to_string())
            .text("reason", because.name());
        let endpoint = Endpoint { disabled: Some((*at, because)), ..endpoint };
        Ok(Decided { resources: vec![Resource::Endpoint(endpoint)], events: vec![event], answer: () })
    };
    accounts.change(*account_id, decide).await
}

fn attempt(
    (endpoint, event, account): (Uuid, Uuid, AccountId),
    outcome: DeliveryOutcome,
    fate: Fate,
    at: Timestamp,
) -> Attempt {
    let DeliveryOutcome { status, answer, error } = outcome;
    Attempt {
        endpoint_id: endpoint,
        event_id: event,
        account_id: account,
        at,
        answer: status.map(|status| (status, answer)),
        error,
        fate,
    }
}

fn count(fate: Fate) {
    let outcome = match fate {
        Fate::Delivered => "delivered",
        Fate::Again(_) => "failed",
        Fate::GivenUp => "given_up",
        Fate::Disable(_) => "disabled",
    };
    metrics::counter!("farebox_webhook_deliveries_total", "outcome" => outcome).increment(1);
}

impl OfKind for DeliveryActor {
    const KIND: Kind = Kind::Webhook;
}

impl Actor for DeliveryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
        ctx.run_interval(EVERY, |actor, ctx| {
            actor.look(ctx);
            actor.prune(ctx);
        });
    }
}

impl Handler<Ask<Test, Result<Attempt, NotTested>>> for DeliveryActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<Test, Result<Attempt, NotTested>>, ctx: &mut Self::Context) {
        let Ask { question: Test { endpoint, event_id }, reply, mut posted } = ask;
        let began = posted.begins();
        let account = endpoint.account_id;
        posted.handled(began);
        if self.testing.len() >= MOST_TESTS || !self.testing.insert(account) {
            drop(reply.send(Err(NotTested::Busy)));
            return;
        }
        let work = test(self.accounts.clone(), self.deliveries.clone(), endpoint, event_id);
        ctx.spawn(work.into_actor(self).map(move |tested, actor, _| {
            actor.testing.remove(&account);
            // The asker may have left.
            drop(reply.send(tested));
        }));
    }
}

async fn test(
    accounts: Accounts,
    deliveries: DeliveryClient,
    endpoint: Endpoint,
    event_id: Uuid,
) -> Result<Attempt, NotTested> {
    let Endpoint { id, account_id, url, secret, .. } = endpoint;
    let clock = accounts.clock();
    let at = clock.now();
    let outcome = deliveries.post(delivery((event_id, TEST, at), account_id, &json!({}), (&url, &secret), at)).await;
    let fate = if outcome.is_success() { Fate::Delivered } else { Fate::GivenUp };
    let attempt = attempt((id, event_id, account_id), outcome, fate, clock.now());
    accounts.ledger().note_test(&attempt).await?;
    Ok(attempt)
}
