//! What an account's topics tell, as frames: for live sockets and for server-sent events alike. Every change of an account
//! comes with its balance, so a balance that is told is also the sign to look for requests that ended and for events.
//! Nothing is read where nothing changes.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use actors::account::Live;
use billing::{Timestamp, account::Balance, key::Scope};
use futures::{FutureExt as _, future::LocalBoxFuture};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};
use uuid::Uuid;

use super::topics::{Topic, Topics};
use crate::{
    gateway::serve::Caller,
    http::{
        account::history::{cursor, position},
        error::ApiError,
        state::Shared,
        views::{history as views, money},
    },
    service::{
        ServiceError,
        history::{self, Ended, Event, Holds, Position, Range},
        page::{LARGEST, Page},
        usage::Only,
    },
};

/// The most balance updates that wait for one socket; older ones are outdated.
const BALANCES: usize = 64;
/// The time until a balance is watched again after its account's actor ended.
const REBUILT: Duration = Duration::from_millis(100);
/// The shortest time between two looks.
const BETWEEN: Duration = Duration::from_millis(50);
/// How soon a look that failed is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// The most pages of one look.
const PAGES: usize = 5;
/// How much later than here the clock of another node may be, in milliseconds.
const AHEAD_MS: i64 = 60_000;

/// A frame of a topic.
#[derive(Debug)]
pub(super) struct News {
    topic: Topic,
    pub(super) frame: String,
    /// What was told of requests and events with it.
    pub(super) place: String,
}

impl News {
    /// The frame's type.
    pub(super) const fn kind(&self) -> &'static str {
        self.topic.kind()
    }
}

/// What was told of requests and events.
#[derive(Debug, Clone)]
struct Seen {
    /// The latest end of a request.
    ended_at: Timestamp,
    /// The requests that ended then.
    ids: Vec<Uuid>,
    /// The last event.
    event: Uuid,
}

/// What a look found, oldest first.
struct Found {
    ended: Vec<Ended>,
    events: Vec<Event>,
    holds: Option<Holds>,
    /// Whether there was more than a look reads.
    is_cut: bool,
}

type Looking = LocalBoxFuture<'static, Result<Found, ServiceError>>;

/// The topics of one reader.
pub(super) struct Feed {
    state: Shared,
    caller: Caller,
    topics: Topics,
    balances: Option<mpsc::Receiver<Live>>,
    again: Pin<Box<Sleep>>,
    latest: Option<Arc<Balance>>,
    permits: Option<String>,
    running: Option<String>,
    seen: Seen,
    /// When to look next.
    due: Option<Instant>,
    looking: Option<Looking>,
    queue: VecDeque<News>,
}

fn frame(topic: Topic, fields: &impl Serialize) -> String {
    let mut frame = Map::new();
    frame.insert("type".into(), topic.kind().into());
    if let Value::Object(fields) = json!(fields) {
        frame.extend(fields);
    }
    Value::Object(frame).to_string()
}

impl Feed {
    /// A feed of a caller, which tells what happens from now on.
    pub(super) fn new(state: &Shared, caller: Caller) -> Self {
        let now = state.gateway.clock().now();
        let ms = u64::try_from(now.0).unwrap_or_default();
        // Ids of events begin with their time.
        let event = uuid::Builder::from_unix_timestamp_millis(ms, &[0; 10]).into_uuid();
        Self {
            state: state.clone(),
            caller,
            topics: Topics::default(),
            balances: None,
            again: Box::pin(sleep_until(Instant::now())),
            latest: None,
            permits: None,
            running: None,
            seen: Seen { ended_at: now, ids: Vec::new(), event },
            due: None,
            looking: None,
            queue: VecDeque::new(),
        }
    }

    /// Tells what happened since the place of some earlier news.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn since(&mut self, place: &str) -> Result<(), ApiError> {
        let bad = || ApiError::invalid("last-event-id", "must be an id of this stream");
        let (ended, event) = place.split_once('.').ok_or_else(bad)?;
        let Position { ended_at, id } = position(ended).map_err(|_| bad())?;
        self.seen = Seen { ended_at, ids: vec![id], event: Uuid::parse_str(event).map_err(|_| bad())? };
        self.look_soon();
        Ok(())
    }

    fn tell(&mut self, topic: Topic, frame: String) {
        if self.topics.has(topic) {
            let place = self.place();
            self.queue.push_back(News { topic, frame, place });
        }
    }

    fn place(&self) -> String {
        let Seen { ended_at, ids, event } = &self.seen;
        let id = ids.last().copied().unwrap_or_default();
        format!("{}.{}", cursor(Position { ended_at: *ended_at, id }), event.simple())
    }

    /// Subscribes to topics.
    ///
    /// # Errors
    ///
    /// The key may not read one of them, or it is an operator's: then nothing changes.
    pub(super) fn subscribe(&mut self, topics: &[Topic]) -> Result<(), ApiError> {
        if let Some(topic) = topics.iter().find(|topic| !topic.is_for(&self.caller)) {
            return Err(topic.refused_to_account());
        }
        for topic in topics.iter().copied().filter(|topic| !self.topics.has(*topic)).collect::<Vec<_>>() {
            self.topics = self.topics.with(topic);
            match (topic, self.latest.clone()) {
                (Topic::Balance, Some(balance)) => self.tell_balance(&balance),
                (Topic::Permits, Some(balance)) => {
                    self.permits = None;
                    self.tell_permits(&balance);
                }
                (Topic::Balance | Topic::Permits, None)
                | (Topic::Actors | Topic::Pools | Topic::Providers | Topic::Money, _) => {}
                (Topic::Usage | Topic::Events, _) => {
                    self.running = None;
                    self.look_soon();
                }
            }
        }
        Ok(())
    }

    /// Unsubscribes from topics.
    pub(super) fn unsubscribe(&mut self, topics: &[Topic]) {
        self.topics = topics.iter().fold(self.topics, |topics, topic| topics.without(*topic));
        let left = self.topics;
        self.queue.retain(|news| left.has(news.topic));
        if self.topics.is_empty() {
            (self.balances, self.latest) = (None, None);
        }
    }

    /// The next frame. Dropping the future while it waits loses nothing.
    pub(super) async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.queue.pop_front() {
                return news;
            }
            let is_unwatched = self.balances.is_none() && !self.topics.is_empty();
            tokio::select! {
                live = next_of(&mut self.balances) => self.heard(live),
                () = &mut self.again, if is_unwatched => self.balances = Some(self.watch()),
                found = looked(&mut self.looking) => {
                    self.looking = None;
                    self.found(found);
                }
                () = due(self.due), if self.looking.is_none() => {
                    self.due = None;
                    let (state, seen) = (self.state.clone(), self.seen.clone());
                    self.looking = Some(look(state, self.caller, self.topics, seen).boxed_local());
                }
            }
        }
    }

    fn watch(&self) -> mpsc::Receiver<Live> {
        let (watcher, balances) = mpsc::channel(BALANCES);
        // Each reader sends one such message.
        self.state.gateway.accounts.watch(self.caller.account_id, watcher);
        balances
    }

    fn heard(&mut self, live: Option<Live>) {
        let Some(Live::Balance { balance, .. }) = live else {
            // The account's actor was rebuilt, and is watched again in a moment.
            self.balances = None;
            self.again.as_mut().reset(Instant::now() + REBUILT);
            return;
        };
        self.tell_balance(&balance);
        self.tell_permits(&balance);
        self.latest = Some(balance);
        self.look_soon();
    }

    fn tell_balance(&mut self, balance: &Balance) {
        self.tell(Topic::Balance, frame(Topic::Balance, &money::Balance::from(balance)));
    }

    fn tell_permits(&mut self, balance: &Balance) {
        let told = frame(
            Topic::Permits,
            &json!({"used": balance.units_used.to_string(), "allowed": balance.tier.units.to_string()}),
        );
        if self.topics.has(Topic::Permits) && self.permits.as_ref() != Some(&told) {
            self.permits = Some(told.clone());
            self.tell(Topic::Permits, told);
        }
    }

    fn look_soon(&mut self) {
        self.look_within(BETWEEN);
    }

    fn look_within(&mut self, longest: Duration) {
        if self.topics.has(Topic::Usage) || self.topics.has(Topic::Events) {
            let at = Instant::now() + longest;
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    fn found(&mut self, found: Result<Found, ServiceError>) {
        // The ledger can't be read just now.
        let Ok(Found { ended, events, holds, is_cut }) = found else { return self.look_within(AGAIN) };
        if is_cut {
            self.tell(Topic::Usage, frame(Topic::Usage, &json!({"missed": true})));
        }
        for ended in ended {
            self.seen.note(&ended);
            self.tell(Topic::Usage, frame(Topic::Usage, &json!({"request": views::EndedRequest::from(ended)})));
        }
        for event in events {
            self.seen.event = event.id;
            self.tell(Topic::Events, frame(Topic::Events, &json!({"event": views::Event::from(event)})));
        }
        if let Some(holds) = holds {
            let runs = holds.open > 0;
            let told = frame(Topic::Usage, &json!({"running": views::Holds::from(holds)}));
            let is_first_and_none = self.running.is_none() && !runs;
            if !is_first_and_none && self.running.as_ref() != Some(&told) {
                self.running = runs.then(|| told.clone());
                self.tell(Topic::Usage, told);
            }
        }
    }
}

impl Seen {
    fn note(&mut self, ended: &Ended) {
        if ended.ended_at > self.ended_at {
            (self.ended_at, self.ids) = (ended.ended_at, Vec::new());
        }
        self.ids.push(ended.id.0);
    }
}

/// Looks for what was not told.
async fn look(state: Shared, caller: Caller, topics: Topics, seen: Seen) -> Result<Found, ServiceError> {
    let (service, account) = (&state.service, caller.account_id);
    // A key that may not read everything sees its own use.
    let own = (!caller.scopes.has(Scope::Read)).then_some(caller.key_id);
    let mut found = Found { ended: Vec::new(), events: Vec::new(), holds: None, is_cut: false };
    if topics.has(Topic::Usage) {
        let only = Only { key: own.map(|key| key.0), ..Only::default() };
        let to = service.now().plus_ms(AHEAD_MS);
        let range = Range { account, from: seen.ended_at, to, only };
        let mut before = None;
        for page in 0..=PAGES {
            if page == PAGES {
                found.is_cut = true;
                break;
            }
            let listed = history::requests(service, range.clone(), Page { before, limit: LARGEST }).await?;
            found.ended.extend(listed.rows.into_iter().filter(|ended| !seen.ids.contains(&ended.id.0)));
            before = listed.next;
            if before.is_none() {
                break;
            }
        }
        found.ended.reverse();
        found.holds = Some(history::holds(service, account, own).await?);
    }
    if topics.has(Topic::Events) {
        let mut before = None;
        for _ in 0..PAGES {
            let listed = history::events(service, account, None, Page { before, limit: LARGEST }).await?;
            let all = listed.rows.len();
            found.events.extend(listed.rows.into_iter().filter(|event| event.id > seen.event));
            before = listed.next.filter(|last| *last > seen.event);
            if before.is_none() || all == 0 {
                break;
            }
        }
        found.events.reverse();
    }
    Ok(found)
}

/// The next balance, where balances are watched.
async fn next_of(balances: &mut Option<mpsc::Receiver<Live>>) -> Option<Live> {
    match balances {
        Some(balances) => balances.recv().await,
        None => std::future::pending().await,
    }
}

/// What a look finds, where one is made.
async fn looked(looking: &mut Option<Looking>) -> Result<Found, ServiceError> {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

/// Completes at that time; never without one.
pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
