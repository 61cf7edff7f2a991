//! Deliveries to webhooks: finds due deliveries ([`ledger::hooks`]), makes each call on a future of its own
//! ([`upstream::delivery`]), and writes the result ([`schedule`]). An endpoint gets one call at a time, oldest event
//! first; a failed delivery waits for its next attempt without delaying later ones. A call whose result was not written
//! is made again: receivers recognize it by its id. The actor keeps no state that matters but which calls are under way,
//! which its lives share: one that retires finishes its calls and tests, and begins no other.

mod schedule;
pub mod sign;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
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
    supervisor::{LINGERS, Retire},
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

/// What the lives of the actor know of each other.
#[derive(Debug, Default)]
struct UnderWay {
    /// The endpoints being called, and their accounts.
    calling: HashMap<Uuid, AccountId>,
    /// Endpoints whose call ended since the last look began: what the look read of them is old.
    ended: HashSet<Uuid>,
}

/// The calls that are under way, of all lives of the actor.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Lock<UnderWay>>);

impl Calls {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a look begins.
    fn looks(&self) {
        self.lock().ended.clear();
    }

    /// Begins a call of an endpoint, unless it is called already, or was since the look began, or too many are.
    fn begin(&self, endpoint: Uuid, account: AccountId) -> Option<Calling> {
        let mut under_way = self.lock();
        let UnderWay { calling, ended } = &mut *under_way;
        let of_account = calling.values().filter(|other| **other == account).count();
        let is_known = calling.contains_key(&endpoint) || ended.contains(&endpoint);
        if calling.len() >= MOST || of_account >= MOST_OF_ACCOUNT || is_known {
            return None;
        }
        calling.insert(endpoint, account);
        Some(Calling { calls: self.clone(), endpoint })
    }
}

/// A call that is under way, until it is dropped: also where its actor dies.
struct Calling {
    calls: Calls,
    endpoint: Uuid,
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut under_way = self.calls.lock();
        under_way.calling.remove(&self.endpoint);
        under_way.ended.insert(self.endpoint);
    }
}

/// Whether a life has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has.
    Kept,
    /// Another life has it, and who had this one's address before may post still.
    Taken,
    /// Another life has it, and nobody asks this one any more.
    Left,
}

/// The actor.
#[derive(Debug)]
pub struct DeliveryActor {
    accounts: Accounts,
    deliveries: DeliveryClient,
    calls: Calls,
    /// The calls of this life.
    calling: usize,
    testing: HashSet<AccountId>,
    /// Results are written one at a time: however many calls end at once, requests keep their connections.
    writing: Arc<Mutex<()>>,
    looking: bool,
    /// Set when a call ended during a look.
    look_again: bool,
    pruned_at: Option<Timestamp>,
    place: Place,
    _exit: ExitGuard,
}

impl DeliveryActor {
    /// A new life.
    pub fn new(accounts: Accounts, deliveries: DeliveryClient, calls: Calls, exit: ExitGuard) -> Self {
        Self {
            accounts,
            deliveries,
            calls,
            calling: 0,
            testing: HashSet::new(),
            writing: Arc::default(),
            looking: false,
            look_again: false,
            pruned_at: None,
            place: Place::Kept,
            _exit: exit,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.place != Place::Kept {
            return;
        }
        if self.looking {
            self.look_again = true;
            return;
        }
        self.looking = true;
        self.calls.looks();
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
        // The life that goes on has looked since.
        if self.place != Place::Kept {
            return;
        }
        let Some(calling) = self.calls.begin(due.endpoint_id, due.account_id) else { return };
        self.calling += 1;
        let work = deliver(self.accounts.clone(), self.deliveries.clone(), Arc::clone(&self.writing), due);
        let work = async move {
            let _calling = calling;
            work.await;
        };
        ctx.spawn(work.into_actor(self).map(move |(), actor, ctx| {
            actor.calling -= 1;
            actor.look(ctx);
            actor.end_if_it_may(ctx);
        }));
    }

    /// Ends a life whose place was taken, once it has nothing under way.
    fn end_if_it_may(&self, ctx: &mut Context<Self>) {
        if self.place == Place::Left && self.calling == 0 && self.testing.is_empty() {
            ctx.stop();
        }
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
        let (Test { endpoint, event_id }, reply, mut posted) = ask.open();
        let began = posted.begins();
        let account = endpoint.account_id;
        posted.handled(began);
        if self.testing.len() >= MOST_TESTS || !self.testing.insert(account) {
            drop(reply.send(Err(NotTested::Busy)));
            return;
        }
        let work = test(self.accounts.clone(), self.deliveries.clone(), endpoint, event_id);
        ctx.spawn(work.into_actor(self).map(move |tested, actor, ctx| {
            actor.testing.remove(&account);
            // The asker may have left.
            drop(reply.send(tested));
            actor.end_if_it_may(ctx);
        }));
    }
}

impl Handler<Retire> for DeliveryActor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        self.place = Place::Taken;
        ctx.run_later(LINGERS, |actor, ctx| {
            actor.place = Place::Left;
            actor.end_if_it_may(ctx);
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_called_once_at_a_time_by_all_lives_and_what_a_look_read_before_is_old() {
        let (calls, account) = (Calls::default(), AccountId(Uuid::from_u128(1)));
        let (one, two, three) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let of_old = calls.begin(one, account).unwrap();
        let of_new = calls.clone();
        assert!(of_new.begin(one, account).is_none(), "the old life calls it");
        let second = of_new.begin(two, account).unwrap();
        assert!(of_new.begin(three, account).is_none(), "an account has so many");
        of_new.looks();
        drop(of_old);
        assert!(of_new.begin(one, account).is_none(), "the look began before its end");
        of_new.looks();
        assert!(of_new.begin(one, account).is_some());
        drop(second);
        let other = AccountId(Uuid::from_u128(2));
        let all: Vec<_> =
            (10..).map_while(|n| calls.begin(Uuid::from_u128(n), AccountId(Uuid::from_u128(n)))).collect();
        assert_eq!(all.len(), MOST);
        assert!(calls.begin(three, other).is_none());
    }
}
