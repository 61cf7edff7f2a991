//! How requests reach a provider: the state that its actor published last, read without asking the actor, and the
//! running calls. A call is driven by the task of its own request. The actor hears only of results that may change what
//! it publishes.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
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

use super::{Ended, OPEN_FOR, ProviderActor, breaker, refusal::Reading};
use crate::admission::Admission;

/// The most simultaneous calls of one provider.
pub const MOST_CALLS: usize = 4_096;

/// The settings of a provider.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The provider's name.
    pub name: &'static str,
    /// The provider's format.
    pub format: &'static dyn ProviderFormat,
    /// The provider's address.
    pub base_url: String,
    /// Our key, if there is one.
    pub api_key: Option<String>,
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

/// The calls that the actor lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circuit {
    /// All calls.
    Closed,
    /// One call, to see whether the provider has recovered.
    HalfOpen,
    /// No call.
    Open,
}

#[derive(Debug)]
struct Inner {
    settings: ProviderSettings,
    /// The key of the settings, shared by the readers of calls.
    api_key: Option<Arc<str>>,
    /// `None` where the settings have no valid address.
    endpoint: Option<Endpoint>,
    /// The endpoint with our key, if there is one that can be sent.
    opened: Option<Endpoint>,
    circuit: RwLock<Circuit>,
    /// Whether the actor wants reports of successful calls too: earlier ones failed.
    troubled: AtomicBool,
    running: AtomicUsize,
    actor: RwLock<Option<(Addr<ProviderActor>, Health)>>,
}

/// The handle of one provider, shared by clones.
#[derive(Debug, Clone)]
pub struct ProviderHandle(Arc<Inner>);

impl ProviderHandle {
    /// A handle that lets all calls through.
    pub fn new(settings: ProviderSettings) -> Self {
        let endpoint = Endpoint::new(&settings.base_url, settings.format);
        let opened = endpoint.clone().zip(settings.api_key.as_deref()).and_then(|(end, key)| end.with_key(key));
        let api_key = settings.api_key.as_deref().map(Arc::from);
        Self(Arc::new(Inner {
            settings,
            api_key,
            endpoint,
            opened,
            circuit: RwLock::new(Circuit::Closed),
            troubled: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            actor: RwLock::new(None),
        }))
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
    pub fn name(&self) -> &'static str {
        self.0.settings.name
    }

    /// The provider's format.
    pub fn format(&self) -> &'static dyn ProviderFormat {
        self.0.settings.format
    }

    /// Whether calls without a caller's own key are possible.
    pub fn has_key(&self) -> bool {
        self.0.settings.api_key.is_some()
    }

    /// The number of running calls.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    pub(super) fn attend(&self, actor: Addr<ProviderActor>, health: Health) {
        *self.0.actor.write().unwrap_or_else(PoisonError::into_inner) = Some((actor, health));
    }

    pub(super) fn publish(&self, circuit: Circuit, troubled: bool) {
        *self.0.circuit.write().unwrap_or_else(PoisonError::into_inner) = circuit;
        self.0.troubled.store(troubled, Ordering::Relaxed);
    }

    fn passes(&self) -> bool {
        let circuit = *self.0.circuit.read().unwrap_or_else(PoisonError::into_inner);
        match circuit {
            Circuit::Closed => true,
            Circuit::Open => false,
            Circuit::HalfOpen => {
                let mut circuit = self.0.circuit.write().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *circuit, Circuit::Open) == Circuit::HalfOpen
            }
        }
    }

    pub(super) fn begin(&self, own_key: Option<String>) -> Result<(Running, Endpoint), Failure> {
        let name = self.0.settings.name;
        // A caller's own bad key shows nothing about the provider.
        let counts = own_key.is_none();
        let invalid = |message: String| Failure::Invalid { field: "provider-key".into(), message };
        let nowhere = || Failure::Transport(format!("the address set for {name} is none"));
        let endpoint = match own_key {
            None if self.0.settings.api_key.is_none() => {
                return Err(invalid(format!("is needed: there is no API key for {name} here; send your own")));
            }
            None => self.0.opened.clone().ok_or_else(nowhere)?,
            Some(key) => {
                let endpoint = self.0.endpoint.clone().ok_or_else(nowhere)?;
                endpoint.with_key(&key).ok_or_else(|| invalid("is not one handle of text".into()))?
            }
        };
        if self.0.running.fetch_add(1, Ordering::Relaxed) >= MOST_CALLS {
            self.0.running.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Overloaded(format!("{MOST_CALLS} calls to {name} are running")));
        }
        let running = Running { handle: self.clone(), counts };
        if !self.passes() {
            return Err(Failure::LeftAlone { provider: name.to_owned(), seconds: OPEN_FOR.as_secs() });
        }
        Ok((running, endpoint))
    }

    /// How the refusals of a call are read.
    fn reading(&self, own_key: Option<&str>) -> Reading {
        let Inner { settings, api_key, .. } = &*self.0;
        Reading { provider: settings.name, our_key: api_key.clone(), own_key: own_key.map(str::to_owned) }
    }

    /// Has the provider count a prompt: a call that the format made for that ([`ProviderFormat::count`]), which costs
    /// nothing. So it needs no [`Admission`].
    ///
    /// # Errors
    ///
    /// The call fails, or the answer has no count.
    pub async fn count(&self, call: ProviderCall, own_key: Option<String>) -> Result<Report, Failure> {
        let reading = self.reading(own_key.as_deref());
        let (running, endpoint) = self.begin(own_key)?;
        let mut events = std::pin::pin!(upstream::events(Call { endpoint, call }, self.0.settings.timeouts));
        let mut counted = None;
        while let Some(event) = events.next().await {
            match reading.told(event) {
                Event::Reported(report) => counted = Some(*report),
                Event::Failed(failure) => {
                    running.ended(breaker::counts(&failure));
                    return Err(failure);
                }
                Event::Finished { .. } => running.ended(false),
                Event::Loaded
                | Event::Started
                | Event::Second(_)
                | Event::Delta(_)
                | Event::Unknown(_)
                | Event::Usage(_) => {}
            }
        }
        counted.ok_or_else(|| Failure::Transport("the provider counted nothing".into()))
    }

    /// Calls the provider for an admitted request. It requires an [`Admission`]. The call runs while its events are
    /// read, and the last event is `Finished` or `Failed`. Dropping the stream cuts the call.
    pub fn call(&self, _: &Admission, call: ProviderCall, own_key: Option<String>) -> BoxStream<'static, Event> {
        let reading = self.reading(own_key.as_deref());
        match self.begin(own_key) {
            Err(failure) => stream::iter([Event::Failed(failure)]).boxed(),
            Ok((running, endpoint)) => {
                let call = Call { endpoint, call };
                let events = upstream::events(call, self.0.settings.timeouts).map(move |event| {
                    let event = reading.told(event);
                    match &event {
                        Event::Failed(failure) => running.ended(breaker::counts(failure)),
                        Event::Finished { .. } => running.ended(false),
                        Event::Loaded
                        | Event::Started
                        | Event::Second(_)
                        | Event::Delta(_)
                        | Event::Unknown(_)
                        | Event::Usage(_)
                        | Event::Reported(_) => {}
                    }
                    event
                });
                events.boxed()
            }
        }
    }
}

/// Counts a call while it lives, however it ends.
pub(super) struct Running {
    handle: ProviderHandle,
    counts: bool,
}

impl Running {
    fn ended(&self, failed: bool) {
        let inner = &self.handle.0;
        if self.counts
            && (failed || inner.troubled.load(Ordering::Relaxed))
            && let Some((actor, health)) = self.handle.attended()
        {
            // One message a call: bounded by the running calls.
            mailbox::tell(&actor, Ended { failed, posted: health.posted(ProviderActor::KIND) });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
