//! A request to a closed model: quoted, admitted, called by its provider's line, and charged by what the provider reports
//! (design, chapters 2.5 to 2.7).

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::admission::{Admission, Admitted, Metered};
use billing::{
    Nanos,
    entry::Ending,
    hold::{HoldRequest, Work},
    price::{Keep, TokenPrice, Tokens},
};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use wire::{
    fields::Fields,
    inference::{Delta, Event, Failure, FinishReason, TextRequest, Usage},
    usage::Report,
};

use super::{
    Gateway,
    available::Payer,
    measure, quote,
    serve::{self, Asks, Done, Job, ServeError, Started, Update, admit},
    stages::Stages,
    usage::{Capacity, Known, Used},
    watch::{self, Teller},
};
use crate::catalogue::ClosedModel;

/// How often a running stream's cost is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What is not known that waits for the first piece of an answer, at most: what comes alone is no answer.
const EARLY: usize = 16;

/// A closed model's price, where it does what is asked.
pub(super) fn price_of(model: &ClosedModel, request: &TextRequest) -> Result<TokenPrice, ServeError> {
    if model.task != request.task {
        let message = format!("{} does not do that; try its other route", model.id);
        return Err(ServeError::Invalid { field: "model".into(), message });
    }
    model.price.clone().ok_or_else(|| ServeError::Unpriced(model.id.to_string()))
}

/// Admits a request and starts its task.
pub(super) async fn start(
    gateway: &Arc<Gateway>,
    mut job: Job,
    model: Arc<ClosedModel>,
    version: i64,
) -> Result<Started, ServeError> {
    let price = price_of(&model, &job.request)?;
    let line = gateway.providers.get(&*model.provider).ok_or_else(|| ServeError::Unpriced(model.id.to_string()))?;
    let payer = Payer::of(job.provider_key.as_ref());
    let quoted = quote::closed(&job.request, &model, &price, payer)?;
    if payer == Payer::Credits && job.request.body.present("service_tier").is_some() {
        // `auto` would let a setting of our project at the provider choose a dearer one.
        job.request.body.set("service_tier", quote::STANDARD_TIER);
    }
    let choices = u64::from(job.request.answers());
    let hold = if job.provider_key.is_some() { HoldRequest::FREE } else { quoted.hold };
    let asks = Asks { work: Work::Closed, hold, output: Some(quoted.output) };
    let (admitted, took) = admit(gateway, &job, asks, &model.id, &model.provider, version).await?;
    let Admitted { admission, balance, rate_remaining, place } = admitted;
    let (mut limit, mut stop) = (quoted.clamp, quoted.clamp.map(|_| "max_cost"));
    // What the credits pay for, where debt may not arise, and what the key's limits do, whatever may.
    let held = Some(admission.held()).filter(|_| gateway.rules.overdraft_none);
    let bounds = [(held, "credits"), (admission.claimed(), "key_limit")];
    for (most, why) in bounds.into_iter().filter(|_| job.provider_key.is_none()) {
        let Some(most) = most else { continue };
        let pays = quote::affordable_output(&price, (quoted.input, quoted.keep), choices, most);
        if pays < limit.map_or(quoted.limit, u64::from) {
            (limit, stop) = (u32::try_from(pays.max(1)).ok(), Some(why));
        }
    }
    let cancel = Arc::new(Notify::new());
    let (updates, watcher) = watch::channel(&gateway.unread);
    let has_own_key = job.provider_key.is_some();
    let whole = (!job.request.stream).then(Vec::new);
    let began = Instant::now();
    let events = line.call(&admission, job.request, model.id.clone(), limit, job.provider_key);
    let task = Box::new(ClosedTask {
        gateway: Arc::clone(gateway),
        admission,
        price: (!has_own_key).then_some(price),
        input: quoted.input,
        keep: quoted.keep,
        can: Capacity { input: model.context.into(), output: u64::from(model.max_output).saturating_mul(choices) },
        known: Known::default(),
        model,
        text: String::new(),
        whole,
        finish: None,
        reported_at: began,
        clamped: stop,
        cancel: Arc::clone(&cancel),
        parting: None,
        updates: Some(updates),
        has_begun: false,
        early: Vec::new(),
        began,
    });
    // In a task of its own, not in its connection's: each time a connection's task is woken, actix looks for the head of a
    // next request in what it has not read, which costs more than the step that it was woken for.
    actix_rt::spawn(task.run(events));
    Ok(Started { balance, rate_remaining, admission: took, place, updates: watcher, cancel })
}

/// The task of a closed request.
struct ClosedTask {
    gateway: Arc<Gateway>,
    admission: Admission,
    model: Arc<ClosedModel>,
    /// None with the caller's own key: nothing is charged.
    price: Option<TokenPrice>,
    /// Prompt tokens as they were quoted.
    input: u64,
    /// How long the provider was asked to keep its cache.
    keep: Keep,
    /// The most the model can do for it.
    can: Capacity,
    /// What the provider reported.
    known: Known,
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
    /// What was not known before the first.
    early: Vec<Fields>,
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
            } else if self.whole.is_some() {
                // Its usage comes with all of it: it was asked for, and is made and paid for whoever waits.
                events.next().await
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
                Some(Event::Unknown(said)) => self.unknown(said).await,
                Some(Event::Reported(report)) => self.reported(*report),
                Some(Event::Loaded | Event::Started | Event::Second(_) | Event::Usage(_)) => {}
                Some(Event::Finished { .. }) => return None,
                Some(Event::Failed(failure)) => return Some(failure),
                None => return Some(Failure::Transport("the call was cut short".into())),
            }
        }
    }

    async fn delta(&mut self, delta: Delta) {
        self.text.push_str(&delta.text);
        self.text.push_str(&delta.beside);
        if let Some(finish) = &delta.finish {
            self.finish = Some(finish.clone());
        }
        // What is charged if this task dies, and, reported each second, if the process does. Cheap, so roughly: four bytes
        // a token.
        let used = self.used(|text| text.len() as u64 / 4);
        let metered = self.metered(Used { estimated: true, ..used });
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
        } else if std::mem::replace(&mut self.has_begun, true) {
            self.tell(Update::Delta(Box::new(delta))).await;
        } else {
            measure::first_piece(Arc::clone(&self.model.provider), self.began.elapsed());
            self.tell(Update::Begun(Box::new(self.stages()))).await;
            // The first piece names the answer: what came before it may have no name, or none that counts.
            self.tell(Update::Delta(Box::new(delta))).await;
            for said in std::mem::take(&mut self.early) {
                self.pass_on(said).await;
            }
        }
    }

    /// What is not known here is counted and, in a stream, passed on as it came, behind the first piece.
    async fn unknown(&mut self, said: Option<Fields>) {
        let provider = Arc::clone(&self.model.provider);
        metrics::counter!("farebox_provider_unknown_events_total", "provider" => provider).increment(1);
        match said {
            Some(said) if self.has_begun => self.pass_on(said).await,
            Some(said) if self.whole.is_none() && self.early.len() < EARLY => self.early.push(said),
            Some(_) | None => {}
        }
    }

    async fn pass_on(&mut self, said: Fields) {
        self.tell(Update::Delta(Box::new(Delta { raw: Some(said), ..Delta::default() }))).await;
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

    fn metered(&self, Used { tokens, estimated }: Used) -> Metered {
        let cost = self.price.as_ref().map(|price| price.cost(tokens)).unwrap_or_default();
        let cost = if estimated { cost.at_most(self.admission.held()) } else { cost };
        Metered { tokens, estimated, cost, ..Metered::NOTHING }
    }

    /// Notes what a provider reports, as far as it is believed.
    fn reported(&mut self, report: Report) {
        let (input, output) = (report.input, report.output);
        if !self.known.hear(report, self.text.len(), self.can) {
            tracing::error!(request.id = %self.admission.request_id(), input, output, "a provider reports nonsense");
        }
    }

    /// What it used, the text counted by `count` where no report has it.
    fn used(&self, count: impl FnOnce(&str) -> u64) -> Used {
        self.known.used(self.input, self.text.len(), self.keep, self.can, || count(&self.text))
    }

    /// What is charged, by how it ended and whether the provider reported usage.
    fn final_used(&self, failure: Option<&Failure>) -> Option<Used> {
        match failure {
            None => Some(self.used(|text| wire::tokens::count_text(&self.model.id, text))),
            Some(_) if self.known.is_reported() => Some(self.known.reported(self.keep)),
            // It was made whole, and is paid for: at most by the hold.
            Some(Failure::TooLarge(_)) => {
                Some(Used { tokens: Tokens::plain(self.input, self.can.output), estimated: true })
            }
            Some(_) => None,
        }
    }

    async fn end(mut self: Box<Self>, failure: Option<Failure>) {
        let stages = self.stages();
        measure::ended(Arc::clone(&self.model.provider), stages, self.began.elapsed());
        let used = self.final_used(failure.as_ref());
        let mut metered = used.map_or(Metered::NOTHING, |used| self.metered(used));
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
                let Tokens { input, cached_input, output, .. } = record.tokens;
                let usage = Usage { input, cached_input, output, reasoning: 0 };
                let stop = self.clamped.filter(|_| self.finish == Some(FinishReason::Length));
                let cancelled = self.parting.is_some() && self.finish.is_none();
                let stop = stop.or(cancelled.then_some(serve::CANCELLED)).map(str::to_owned);
                Update::Done(Box::new(Done {
                    whole: self.whole.take().unwrap_or_default(),
                    usage,
                    reported: self.known.own(self.text.len()),
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
