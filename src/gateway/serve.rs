//! The request task: it owns the money of one request from admission to settlement. The connection watches a bounded
//! channel of [`Update`]s; if it goes away, the task still settles by the table of the design's chapter 2.5.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use billing::{
    Nanos,
    account::Balance,
    automatic::Switch,
    command::{Admit, Answer, Refusal, Reply},
    entry::{Ending, UsageRecord},
    hold::{HoldRequest, OutputPrice, Work},
    ids::{AccountId, KeyId, RequestId},
    price::{TokenPrice, Tokens},
};
use farebox_actors::{
    account::{AccountError, Admission, Admitted, Enter, Metered, SettleError},
    directory::Running,
};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wire::inference::{Delta, Event, Failure, FinishReason, TextRequest, Usage};

use super::{
    Gateway, quote,
    stages::Stages,
    watch::{self, Teller, Watcher},
};
use crate::catalogue::{ClosedModel, Model};

/// How often a running stream's cost is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The account that pays.
    pub account_id: AccountId,
    /// The key.
    pub key_id: KeyId,
}

/// A request to serve.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub request_id: RequestId,
    /// Who asks.
    pub caller: Caller,
    /// What.
    pub request: TextRequest,
    /// The caller's own key at the provider.
    pub provider_key: Option<String>,
    /// How long it may wait in line for a permit or the rate limit.
    pub patience: Duration,
}

/// Why a request was not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServeError {
    /// There is no such model.
    #[error("no such model")]
    NoModel {
        /// What was asked for.
        name: String,
        /// What it may have meant.
        nearest: Vec<String>,
    },
    /// The model has no price.
    #[error("{0} has no price")]
    Unpriced(String),
    /// The model can't do that, or a field can't be.
    #[error("{field}: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Why.
        message: String,
    },
    /// The account refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It waited in line, in vain.
    #[error("waited in line at place {place}: {refusal}")]
    InLine {
        /// Why it was refused in the end.
        #[source]
        refusal: Refusal,
        /// Its place when it joined the line.
        place: usize,
    },
    /// The account could not be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// What ran it failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It ran, and could not be settled.
    #[error(transparent)]
    Unsettled(#[from] SettleError),
}

impl From<quote::BadQuote> for ServeError {
    fn from(bad: quote::BadQuote) -> Self {
        Self::Invalid { field: bad.field, message: bad.message }
    }
}

/// A request that runs.
#[derive(Debug)]
pub struct Started {
    /// The balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, where there is a limit.
    pub rate_remaining: Option<i64>,
    /// How long admission took, waiting included.
    pub admission: Duration,
    /// Its place in the line when it joined it, if it had to wait.
    pub place: Option<usize>,
    /// What comes.
    pub updates: Watcher,
    /// Notified, ends the request as a client that left does, but its end is still told.
    pub cancel: Arc<Notify>,
}

/// What a watcher is told. Small, as channels of it are made for every request.
#[derive(Debug)]
pub enum Update {
    /// The first piece of a streamed answer is there.
    Begun(Box<Stages>),
    /// A piece of a streamed answer.
    Delta(Box<Delta>),
    /// Each second: what it costs so far.
    Cost {
        /// Dollars.
        cost: Nanos,
        /// Open models: started seconds.
        billed_seconds: u64,
    },
    /// It ended, and its charge is durable. The last update.
    Done(Box<Done>),
    /// It failed; what it cost, if anything, is durable. The last update.
    Failed(Box<ServeError>),
}

/// The end of a request.
#[derive(Debug, Clone)]
pub struct Done {
    /// The answer of a closed model that was not streamed, whole: it is told once, not piece by piece.
    pub whole: Vec<Delta>,
    /// What it read and wrote.
    pub usage: Usage,
    /// Its record.
    pub record: UsageRecord,
    /// The balance after it.
    pub balance: Balance,
    /// Which rule of Farebox's ended it, if one did.
    pub stop: Option<String>,
    /// Where its time went.
    pub stages: Stages,
}

impl Done {
    /// Whether it ran here, billed by the second.
    pub const fn is_open(&self) -> bool {
        matches!(self.stages, Stages::Open { .. })
    }
}

/// Admits a request and starts its task. Returns when the hold is durable, or the request is refused.
pub async fn start(gateway: &Arc<Gateway>, job: Job) -> Result<Started, ServeError> {
    let catalogue = gateway.catalogue();
    let model = catalogue
        .find(&job.request.model)
        .map_err(|nearest| ServeError::NoModel { name: job.request.model.clone(), nearest })?;
    match model {
        Model::Closed(model) => start_closed(gateway, job, model, catalogue.price_version).await,
        Model::Open(model) => Box::pin(super::open::start(gateway, job, model, catalogue.price_version)).await,
    }
}

/// A closed model's price, where it does what is asked.
pub(super) fn price_of(model: &ClosedModel, request: &TextRequest) -> Result<TokenPrice, ServeError> {
    if model.task != request.task {
        let message = format!("{} does not do that; try its other route", model.id);
        return Err(ServeError::Invalid { field: "model", message });
    }
    model.price.clone().ok_or_else(|| ServeError::Unpriced(model.id.to_string()))
}

async fn start_closed(
    gateway: &Arc<Gateway>,
    mut job: Job,
    model: Arc<ClosedModel>,
    version: i64,
) -> Result<Started, ServeError> {
    let price = price_of(&model, &job.request)?;
    let line = gateway.providers.get(&*model.provider).ok_or_else(|| ServeError::Unpriced(model.id.to_string()))?;
    if job.provider_key.is_none() {
        quote::check_tier(&job.request)?;
        if job.request.body.present("service_tier").is_some() {
            // `auto` would let a setting of our project at the provider choose a dearer one.
            job.request.body.set("service_tier", quote::STANDARD_TIER);
        }
    }
    let quoted = quote::closed(&job.request, &model, &price)?;
    let hold = if job.provider_key.is_some() { HoldRequest::FREE } else { quoted.hold };
    let asks = Asks { work: Work::Closed, hold, output: Some(quoted.output) };
    let (admitted, took) = admit(gateway, &job, asks, &model.id, &model.provider, version).await?;
    let Admitted { admission, answer, place } = admitted;
    let rate_remaining = match answer.result? {
        Reply::Admitted { rate_remaining, .. } => rate_remaining,
        Reply::Accrued { .. } | Reply::Settled { .. } | Reply::Done => None,
    };
    let (mut limit, mut stop) = (quoted.clamp, quoted.clamp.map(|_| "max_cost"));
    if gateway.rules.overdraft_none && job.provider_key.is_none() {
        let pays = quote::affordable_output(&price, quoted.input, u64::from(job.request.answers()), admission.held());
        if pays < quoted.limit {
            (limit, stop) = (u32::try_from(pays.max(1)).ok(), Some("credits"));
        }
    }
    let cancel = Arc::new(Notify::new());
    let (updates, watcher) = watch::channel();
    let has_own_key = job.provider_key.is_some();
    let whole = (!job.request.stream).then(Vec::new);
    let choices = u64::from(job.request.n);
    let events = line.call(&admission, job.request, model.id.clone(), limit, job.provider_key);
    let task = Box::new(ClosedTask {
        gateway: Arc::clone(gateway),
        admission,
        price: (!has_own_key).then_some(price),
        model,
        input: quoted.input,
        choices,
        usage: None,
        text: String::new(),
        whole,
        finish: None,
        reported_at: Instant::now(),
        clamped: stop,
        cancel: Arc::clone(&cancel),
        parting: None,
        updates: Some(updates),
        has_begun: false,
        began: Instant::now(),
    });
    let is_whole = task.whole.is_some();
    // Large, and so moved once.
    let task = Box::pin(task.run(events));
    let watcher = if is_whole {
        watcher.run(task)
    } else {
        actix_rt::spawn(task);
        watcher
    };
    Ok(Started { balance: answer.balance, rate_remaining, admission: took, place, updates: watcher, cancel })
}

/// What a request asks its account for.
pub(super) struct Asks {
    pub(super) work: Work,
    pub(super) hold: HoldRequest,
    pub(super) output: Option<OutputPrice>,
}

/// Asks the account, noting the request as running here first.
pub(super) async fn admit(
    gateway: &Gateway,
    job: &Job,
    Asks { work, hold, output }: Asks,
    model: &Arc<str>,
    provider: &Arc<str>,
    price_version: i64,
) -> Result<(Admitted, Duration), ServeError> {
    let began = Instant::now();
    let running = Entering::note(gateway.directory.running(), job.request_id);
    let admit = Admit {
        request_id: job.request_id,
        key_id: Some(job.caller.key_id),
        model: Arc::clone(model),
        provider: Arc::clone(provider),
        price_version,
        work,
        hold,
        output,
        auto_scale: job.request.auto_scale.map(Switch::from_bool),
    };
    match gateway.directory.enter(job.caller.account_id, Enter { admit, patience: job.patience }).await {
        Ok(Admitted { answer: Answer { result: Err(refusal), .. }, place, .. }) => Err(match place {
            Some(place) => ServeError::InLine { refusal, place },
            None => refusal.into(),
        }),
        Ok(admitted) => {
            running.entered();
            Ok((admitted, began.elapsed()))
        }
        // Late or lost: if a hold was placed after all, its guard, dropped unread, gives it back.
        Err(error) => Err(error.into()),
    }
}

/// A request that asks to be let in: noted as running, and not any more if nobody waits for the answer.
struct Entering<'a> {
    running: &'a Running,
    id: RequestId,
}

impl<'a> Entering<'a> {
    fn note(running: &'a Running, id: RequestId) -> Self {
        running.insert(id);
        Self { running, id }
    }

    /// Its guard is here, and notes its end.
    fn entered(self) {
        std::mem::forget(self);
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.running.remove(self.id);
    }
}

/// The task of a closed request.
struct ClosedTask {
    gateway: Arc<Gateway>,
    admission: Admission,
    model: Arc<ClosedModel>,
    /// None with the caller's own key: nothing is charged.
    price: Option<TokenPrice>,
    /// Counted prompt tokens.
    input: u64,
    /// Answers that were asked for.
    choices: u64,
    /// What the provider reported.
    usage: Option<Usage>,
    /// What it wrote.
    text: String,
    /// Its pieces, where the answer is told whole.
    whole: Option<Vec<Delta>>,
    finish: Option<FinishReason>,
    /// When the cost so far was reported last.
    reported_at: Instant,
    /// Why the limit that was sent is lower than the client's, if it is.
    clamped: Option<&'static str>,
    cancel: Arc<Notify>,
    /// Where the end is told of a request that was cancelled.
    parting: Option<Teller>,
    /// None once the client has left or cancelled.
    updates: Option<Teller>,
    /// Whether a piece of it was told.
    has_begun: bool,
    began: Instant,
}

impl ClosedTask {
    async fn run(mut self: Box<Self>, events: BoxStream<'static, Event>) {
        // Held while the rest of a stream is read for its usage though nobody watches.
        let mut drain = None;
        let failure = self.follow(events, &mut drain).await;
        self.end(failure).await;
    }

    /// Follows the call to its end, or until it is not worth it any more; it is cut when this returns. Why it failed, if
    /// it did.
    async fn follow(
        &mut self,
        mut events: BoxStream<'static, Event>,
        drain: &mut Option<OwnedSemaphorePermit>,
    ) -> Option<Failure> {
        let (watched, cancel) = (self.updates.as_ref().map(Teller::closed_apart), Arc::clone(&self.cancel));
        let mut left = pin!(async {
            let gone = async {
                if let Some(watched) = watched {
                    watched.await;
                }
            };
            tokio::select! { () = gone => {}, () = cancel.notified() => {} }
        });
        let mut drain_until = self.began;
        loop {
            let event = if self.updates.is_some() {
                tokio::select! {
                    biased;
                    event = events.next() => event,
                    () = &mut left => {
                        self.parting = self.updates.take();
                        continue;
                    }
                }
            } else {
                if drain.is_none() {
                    *drain = Some(self.gateway.drains.clone().try_acquire_owned().ok()?);
                    drain_until = Instant::now() + Duration::from_secs(self.gateway.rules.drain_seconds);
                }
                match tokio::time::timeout_at(drain_until.into(), events.next()).await {
                    Ok(event) => event,
                    Err(_) => return None,
                }
            };
            match event {
                Some(Event::Delta(delta)) => self.delta(delta).await,
                Some(Event::Usage(usage)) => self.usage = self.believed(usage),
                Some(Event::Loaded | Event::Started | Event::Second(_)) => {}
                Some(Event::Finished { .. }) => return None,
                Some(Event::Failed(failure)) => return Some(failure),
                None => return Some(Failure::Transport("the call was cut short".into())),
            }
        }
    }

    async fn delta(&mut self, delta: Delta) {
        self.text.push_str(&delta.text);
        if let Some(raw) = &delta.raw {
            self.text.push_str(&wire::openai::beside_text(raw));
        }
        if let Some(finish) = &delta.finish {
            self.finish = Some(finish.clone());
        }
        // What is charged if this task dies, and, reported each second, if the process does. Cheap, so roughly: four bytes
        // a token.
        let tokens = Tokens { input: self.input, cached_input: 0, output: self.text.len() as u64 / 4 };
        let metered = self.metered(tokens, true);
        self.admission.meter(metered);
        if self.reported_at.elapsed() >= REPORT_EVERY
            && let Ok(accrued) = metered.cost.charged()
        {
            self.reported_at = Instant::now();
            self.admission.accrue(accrued, Nanos::ZERO);
            if self.whole.is_none() {
                self.tell(Update::Cost { cost: accrued, billed_seconds: 0 }).await;
            }
        }
        if let Some(pieces) = &mut self.whole {
            pieces.push(delta);
        } else {
            if !std::mem::replace(&mut self.has_begun, true) {
                self.tell(Update::Begun(Box::new(self.stages()))).await;
            }
            self.tell(Update::Delta(Box::new(delta))).await;
        }
    }

    /// Tells whoever watches. A reader that does not read has left.
    async fn tell(&mut self, update: Update) {
        if let Some(teller) = &mut self.updates
            && !teller.tell(update).await
        {
            self.updates = None;
        }
    }

    fn stages(&self) -> Stages {
        Stages::Closed { upstream: self.began.elapsed() }
    }

    fn metered(&self, tokens: Tokens, estimated: bool) -> Metered {
        let cost = self.price.as_ref().map(|price| price.cost(tokens)).unwrap_or_default();
        let cost = if estimated { cost.at_most(self.admission.held()) } else { cost };
        Metered { tokens, estimated, cost, ..Metered::NOTHING }
    }

    /// What a provider reports, unless it is nonsense: more than twice what the model can read, or write for this request.
    fn believed(&self, usage: Usage) -> Option<Usage> {
        let most_input = self.input.max(self.model.context.into()).saturating_mul(2);
        let is_sound = usage.input <= most_input && usage.output <= self.most_output().saturating_mul(2);
        if !is_sound {
            let (input, output) = (usage.input, usage.output);
            tracing::error!(request.id = %self.admission.request_id(), input, output, "a provider reports nonsense");
        }
        is_sound.then_some(usage)
    }

    fn most_output(&self) -> u64 {
        u64::from(self.model.max_output).saturating_mul(self.choices)
    }

    /// What is charged, by how it ended and whether the provider reported usage.
    fn final_meter(&self, failure: Option<&Failure>) -> Metered {
        match (&self.usage, failure) {
            (Some(usage), _) => {
                let tokens = Tokens { input: usage.input, cached_input: usage.cached_input, output: usage.output };
                self.metered(tokens, false)
            }
            // It was made whole, and is paid for: at most by the hold.
            (None, Some(Failure::TooLarge(_))) => {
                self.metered(Tokens { input: self.input, cached_input: 0, output: self.most_output() }, true)
            }
            (None, Some(_)) => Metered::NOTHING,
            (None, None) => {
                let output = wire::tokens::count_text(&self.model.id, &self.text);
                self.metered(Tokens { input: self.input, cached_input: 0, output }, true)
            }
        }
    }

    async fn end(mut self: Box<Self>, failure: Option<Failure>) {
        let stages = self.stages();
        let mut metered = self.final_meter(failure.as_ref());
        if self.gateway.rules.overdraft_none {
            metered.cost = metered.cost.at_most(self.admission.held());
        }
        self.admission.meter(metered);
        let left = self.updates.as_ref().is_none_or(Teller::is_closed);
        let ending = match (&failure, left) {
            (Some(_), _) => Ending::Failed,
            (None, true) => Ending::ClientLeft,
            (None, false) => Ending::Completed,
        };
        let settled = self.admission.settle(ending).await;
        let update = match (settled, failure) {
            (Err(error), _) => Update::Failed(Box::new(error.into())),
            (Ok(_), Some(failure)) => Update::Failed(Box::new(failure.into())),
            (Ok((record, answer)), None) => {
                let usage = self.usage.unwrap_or(Usage {
                    input: record.tokens.input,
                    output: record.tokens.output,
                    ..Usage::default()
                });
                let stop = self.clamped.filter(|_| self.finish == Some(FinishReason::Length)).map(str::to_owned);
                Update::Done(Box::new(Done {
                    whole: self.whole.take().unwrap_or_default(),
                    usage,
                    record,
                    balance: answer.balance,
                    stop,
                    stages,
                }))
            }
        };
        metrics::counter!("farebox_requests_total", "ending" => ending.name(), "provider" => Arc::clone(&self.model.provider))
            .increment(1);
        if let Some(mut teller) = self.updates.take().or(self.parting.take()) {
            teller.tell(update).await;
        }
    }
}
