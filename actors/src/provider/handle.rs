//! How requests reach a provider: the state that its actor published last, read without asking the actor, and the
//! running calls. A call is driven by the task of its own request. The actor hears only of results that may change what
//! it publishes.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::Addr;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use runtime::{
    health::{Health, OfKind},
    mailbox,
};
use upstream::{self, Call, Endpoint, Timeouts};
use wire::{
    format::{ProviderCall, ProviderFormat},
    inference::{Event, Failure},
    usage::Report,
};

use super::{
    Ended, ProviderActor,
    breaker::{self, Outcome},
    gates::{Circuit, Gates, Shut},
    keys::{self, WeightedKey},
    refusal::Reading,
    retry::{self, Again},
};
use crate::admission::Admission;

/// The most simultaneous calls of one provider.
pub const MOST_CALLS: usize = 4_096;

/// The settings of a provider.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The provider's name.
    pub name: Arc<str>,
    /// The provider's format.
    pub format: &'static dyn ProviderFormat,
    /// The provider's address.
    pub base_url: String,
    /// The header that carries a key, where it is not the format's.
    pub key_header: Option<String>,
    /// Our keys.
    pub keys: Vec<WeightedKey>,
    /// Whether callers may send keys of their own.
    pub takes_own_keys: bool,
    /// How often a failed call is made again, at most.
    pub retries: u32,
    /// The most simultaneous calls.
    pub most_calls: usize,
    /// The provider's time limits.
    pub timeouts: Timeouts,
}

impl std::fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is not shown.
        let mut shown = f.debug_struct("ProviderSettings");
        shown.field("name", &self.name).field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    settings: ProviderSettings,
    /// The texts of our keys, shared by the readers of calls.
    secrets: Arc<[Box<str>]>,
    /// `None` where the settings have no valid address.
    endpoint: Option<Endpoint>,
    /// The endpoint with each of our keys, where the key can be sent.
    opened: Vec<Option<Endpoint>>,
    /// The calls that the actor lets through.
    gates: RwLock<Gates>,
    /// Whether one of them does not let every call through, or its actor wants to hear of calls that went well.
    troubled: AtomicBool,
    /// Running calls of each purpose.
    running: [AtomicUsize; 2],
    actor: RwLock<Option<(Addr<ProviderActor>, Health)>>,
    /// Why an operator has it not called.
    paused: RwLock<Option<String>>,
}

/// Why a provider is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For an answer, which is paid.
    Answer,
    /// To count a prompt, which is free. Such calls have a share of their own, so that they take no place from an answer,
    /// and say nothing about the provider's health.
    Count,
}

/// Of the calls that a provider may have at a time, one for so many may count.
const ANSWERS_PER_COUNT: usize = 8;

/// The handle of one provider, shared by clones.
#[derive(Debug, Clone)]
pub struct ProviderHandle(Arc<Inner>);

impl ProviderHandle {
    /// A handle that lets all calls through.
    pub fn new(settings: ProviderSettings) -> Self {
        let endpoint = Endpoint::new(&settings.base_url, settings.format);
        let opened = |key: &WeightedKey| {
            endpoint.clone().and_then(|endpoint| endpoint.with_key(&key.key, settings.key_header.as_deref()))
        };
        let opened = settings.keys.iter().map(opened).collect();
        let secrets = settings.keys.iter().map(|key| key.key.clone().into_boxed_str()).collect();
        Self(Arc::new(Inner {
            settings,
            secrets,
            endpoint,
            opened,
            gates: RwLock::default(),
            troubled: AtomicBool::new(false),
            running: Default::default(),
            actor: RwLock::new(None),
            paused: RwLock::default(),
        }))
    }

    /// Whether callers may send keys of their own.
    pub fn takes_own_keys(&self) -> bool {
        self.0.settings.takes_own_keys
    }

    /// Has it called no more: whoever begins a request asks [`Self::paused`] first. What runs goes on.
    pub fn pause(&self, why: String) {
        *self.0.paused.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Has it called again. Returns whether it was paused.
    pub fn resume(&self) -> bool {
        self.0.paused.write().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Why an operator has it not called; `None` where it is.
    pub fn paused(&self) -> Option<String> {
        self.0.paused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How its circuits stand.
    pub fn circuit(&self) -> Circuit {
        self.0.gates.read().unwrap_or_else(PoisonError::into_inner).circuit()
    }

    /// The number of our keys.
    pub fn keys(&self) -> usize {
        self.0.settings.keys.len()
    }

    /// The most simultaneous calls for answers.
    pub fn most_calls(&self) -> usize {
        self.0.settings.most_calls.min(MOST_CALLS)
    }

    /// The actor of now, once it has started.
    #[cfg(feature = "faults")]
    pub fn actor(&self) -> Option<Addr<ProviderActor>> {
        self.attended().map(|(actor, _)| actor)
    }

    fn attended(&self) -> Option<(Addr<ProviderActor>, Health)> {
        self.0.actor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// The provider's format.
    pub fn format(&self) -> &'static dyn ProviderFormat {
        self.0.settings.format
    }

    /// Whether calls without a caller's own key are possible.
    pub fn has_key(&self) -> bool {
        !self.0.settings.keys.is_empty()
    }

    /// The number of running calls.
    pub fn running(&self) -> usize {
        self.0.running.iter().map(|running| running.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn attend(&self, actor: Addr<ProviderActor>, health: Health) {
        *self.0.actor.write().unwrap_or_else(PoisonError::into_inner) = Some((actor, health));
    }

    /// Publishes gates, made of those of now.
    pub(super) fn publish(&self, make: impl FnOnce(&Gates) -> Gates) {
        let mut gates = self.0.gates.write().unwrap_or_else(PoisonError::into_inner);
        *gates = make(&gates);
        self.0.troubled.store(!gates.are_well(), Ordering::Relaxed);
    }

    /// The gates of now.
    pub(super) fn gates(&self) -> Gates {
        self.0.gates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a call to a model passes. A count is no trial of what keeps failing.
    fn pass(&self, model: &str, purpose: Purpose) -> Result<(), Failure> {
        if !self.0.troubled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (may_try, now) = (purpose == Purpose::Answer, Instant::now());
        let first = self.0.gates.read().unwrap_or_else(PoisonError::into_inner).try_pass(model, may_try, now);
        let passed = match first {
            Ok(false) => Ok(()),
            Ok(true) => self.0.gates.write().unwrap_or_else(PoisonError::into_inner).pass(model, may_try, now),
            Err(shut) => Err(shut),
        };
        passed.map_err(|Shut { is_models, wait }| {
            let name = &self.0.settings.name;
            let whom = if is_models { format!("{model} at {name}") } else { name.to_string() };
            Failure::LeftAlone { whom, seconds: wait.as_secs() + 1 }
        })
    }

    /// The endpoints that a call may use, in their order: one with the caller's own key, or those with ours.
    fn endpoints(&self, own_key: Option<&str>, affinity: u64) -> Result<Vec<Endpoint>, Failure> {
        let Inner { settings, endpoint, opened, .. } = &*self.0;
        let name = &settings.name;
        let invalid = |message: String| Failure::Invalid { field: "provider-key".into(), message };
        let nowhere = || Failure::Transport(format!("the address set for {name} is none"));
        let Some(key) = own_key else {
            if settings.keys.is_empty() {
                return Err(invalid(format!("is needed: there is no API key for {name} here; send your own")));
            }
            let order = keys::order(&settings.keys, affinity);
            return order.into_iter().map(|place| opened[place].clone().ok_or_else(nowhere)).collect();
        };
        let endpoint = endpoint.clone().ok_or_else(nowhere)?;
        let endpoint = endpoint.with_key(key, settings.key_header.as_deref());
        Ok(vec![endpoint.ok_or_else(|| invalid("is not one line of text".into()))?])
    }

    pub(super) fn begin(
        &self,
        model: &Arc<str>,
        own_key: Option<&str>,
        affinity: u64,
        purpose: Purpose,
    ) -> Result<(Running, Vec<Endpoint>), Failure> {
        let settings = &self.0.settings;
        let endpoints = self.endpoints(own_key, affinity)?;
        let most = self.most_calls();
        let most = match purpose {
            Purpose::Answer => most,
            Purpose::Count => most.div_ceil(ANSWERS_PER_COUNT),
        };
        let running =
            Running { handle: self.clone(), model: Arc::clone(model), has_own_key: own_key.is_some(), purpose };
        if running.number().fetch_add(1, Ordering::Relaxed) >= most {
            let what = match purpose {
                Purpose::Answer => "calls to",
                Purpose::Count => "counts at",
            };
            return Err(Failure::Overloaded(format!("{most} {what} {} are running", settings.name)));
        }
        self.pass(model, purpose)?;
        Ok((running, endpoints))
    }

    /// How the refusals of a call are read.
    fn reading(&self, own_key: Option<&str>) -> Reading {
        let Inner { settings, secrets, .. } = &*self.0;
        Reading {
            provider: Arc::clone(&settings.name),
            our_keys: Arc::clone(secrets),
            own_key: own_key.map(str::to_owned),
        }
    }

    /// Has the provider count a prompt for a model: a call that the format made for that ([`ProviderFormat::count`]), which costs
    /// nothing. So it needs no [`Admission`].
    ///
    /// # Errors
    ///
    /// The call fails, or the answer has no count.
    pub async fn count(&self, model: &Arc<str>, call: ProviderCall, own_key: Option<&str>) -> Result<Report, Failure> {
        let mut tries = self.tries(model, call, own_key, 0, Purpose::Count)?;
        let mut counted = None;
        while let Some(event) = tries.next().await {
            match event {
                Event::Reported(report) => counted = Some(*report),
                Event::Failed(failure) => return Err(failure),
                Event::Finished { .. }
                | Event::Loaded
                | Event::Headers(_)
                | Event::Started
                | Event::Second(_)
                | Event::Delta(_)
                | Event::Unknown(_)
                | Event::Usage(_) => {}
            }
        }
        counted.ok_or_else(|| Failure::Transport("the provider counted nothing".into()))
    }

    /// Calls the provider for an admitted request, for a model that has a price. It requires an [`Admission`]. The call runs while its events are
    /// read, and the last event is `Finished` or `Failed`. Dropping the stream cuts the call. Requests of the same
    /// affinity use the same key.
    pub fn call(
        &self,
        _: &Admission,
        model: &Arc<str>,
        call: ProviderCall,
        own_key: Option<&str>,
        affinity: u64,
    ) -> BoxStream<'static, Event> {
        match self.tries(model, call, own_key, affinity, Purpose::Answer) {
            Err(failure) => stream::iter([Event::Failed(failure)]).boxed(),
            Ok(tries) => stream::unfold(tries, |mut tries| async move { Some((tries.next().await?, tries)) }).boxed(),
        }
    }

    /// The first attempt of a call.
    fn tries(
        &self,
        model: &Arc<str>,
        call: ProviderCall,
        own_key: Option<&str>,
        affinity: u64,
        purpose: Purpose,
    ) -> Result<Tries, Failure> {
        let reading = self.reading(own_key);
        let (running, endpoints) = self.begin(model, own_key, affinity, purpose)?;
        let call = Some(Arc::new(call));
        let mut tries = Tries { running, reading, call, endpoints, place: 0, attempt: 0, events: None };
        tries.events = tries.attempt();
        Ok(tries)
    }
}

/// A call, made again where that may help.
struct Tries {
    running: Running,
    reading: Reading,
    /// What is called; `None` once the answer began, as it is not asked for again.
    call: Option<Arc<ProviderCall>>,
    /// The endpoints that may be tried, in their order: of several keys, the next after one that is refused.
    endpoints: Vec<Endpoint>,
    /// The place of the endpoint that is tried.
    place: usize,
    /// The number of attempts before this one.
    attempt: u32,
    /// The running attempt's events; `None` after the last.
    events: Option<BoxStream<'static, Event>>,
}

impl Tries {
    /// The events of an attempt at the endpoint in its place.
    fn attempt(&self) -> Option<BoxStream<'static, Event>> {
        let (endpoint, call) = (self.endpoints.get(self.place)?.clone(), self.call.clone()?);
        let timeouts = self.running.handle.0.settings.timeouts;
        Some(upstream::events(Call { endpoint, call }, timeouts).boxed())
    }

    /// The next event for the request's task; `None` after the last.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.reading.told(self.events.as_mut()?.next().await?);
            match &event {
                Event::Failed(failure) => {
                    self.running.ended(breaker::outcome(failure), || breaker::reason(failure));
                    if self.tries_again(failure).await {
                        continue;
                    }
                    self.events = None;
                }
                Event::Finished { .. } => {
                    self.running.ended(Outcome::Answered, String::new);
                    self.events = None;
                }
                // An answer that began is not asked for again.
                Event::Loaded
                | Event::Headers(_)
                | Event::Started
                | Event::Second(_)
                | Event::Delta(_)
                | Event::Unknown(_)
                | Event::Usage(_)
                | Event::Reported(_) => (self.attempt, self.call) = (u32::MAX, None),
            }
            return Some(event);
        }
    }

    /// Begins another attempt where that may help, after its wait.
    async fn tries_again(&mut self, failure: &Failure) -> bool {
        let Inner { settings, .. } = &*self.running.handle.0;
        let has_other_key = self.attempt < u32::MAX && self.place + 1 < self.endpoints.len();
        let wait = match retry::again(failure, self.attempt, rand::random(), has_other_key) {
            Again::OtherKey => Duration::ZERO,
            Again::After(wait) if self.attempt < settings.retries => wait,
            Again::After(_) | Again::Never => return false,
        };
        tracing::debug!(provider = &*settings.name, %failure, ?wait, "a call is made again");
        // The failed attempt's connection is given back before the wait.
        self.events = None;
        tokio::time::sleep(wait).await;
        self.attempt += 1;
        self.place += usize::from(has_other_key);
        self.events = self.attempt();
        true
    }
}

/// Counts a call while it lives, however it ends.
pub(super) struct Running {
    handle: ProviderHandle,
    model: Arc<str>,
    has_own_key: bool,
    purpose: Purpose,
}

impl Running {
    /// The number of running calls of its purpose.
    fn number(&self) -> &AtomicUsize {
        let [answers, counts] = &self.handle.0.running;
        match self.purpose {
            Purpose::Answer => answers,
            Purpose::Count => counts,
        }
    }

    /// Tells the actor how an attempt ended, where that is news. An answer shows that the model is well, whoever's the key;
    /// a failure with a caller's own key may be the key's.
    fn ended(&self, outcome: Outcome, why: impl FnOnce() -> String) {
        let inner = &self.handle.0;
        if self.purpose == Purpose::Count || (self.has_own_key && outcome != Outcome::Answered) {
            return;
        }
        let is_well =
            matches!(outcome, Outcome::Answered | Outcome::Refused) && !inner.troubled.load(Ordering::Relaxed);
        let is_news = || {
            let gates = inner.gates.read().unwrap_or_else(PoisonError::into_inner);
            gates.is_news(&self.model, outcome)
        };
        if !is_well
            && is_news()
            && let Some((actor, health)) = self.handle.attended()
        {
            let (model, posted) = (Arc::clone(&self.model), health.posted(ProviderActor::KIND).named("Ended"));
            // One message at a time of a call: bounded by the running calls.
            mailbox::tell(&actor, Ended { model, outcome, why: why(), posted });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.number().fetch_sub(1, Ordering::Relaxed);
    }
}
