//! The way of a request: its model is found, its plan is made, and its account admits it. Then its [`Task`] owns its
//! money until it is settled. The connection watches a bounded channel of [`Update`]s. If the connection closes, the
//! task still settles, by the table of the design's chapter 2.5.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    account::{AccountError, Enter},
    admission::{self, Admission, Admitted, NotAdmitted, SettleError},
};
use billing::{
    Nanos,
    account::Balance,
    attempt::Attempt,
    automatic::Switch,
    command::{Admit, Refusal},
    entry::UsageRecord,
    hold::{HoldRequest, Work},
    ids::{AccountId, KeyId, RequestId},
    key::{Scope, Scopes},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::Notify;
use traces::{Kind, Span};
use wire::inference::{Delta, Event, Failure, Header, Request, Usage};

use super::{
    Gateway, Rules,
    answers::{self, Asks, Found, Recorded, Reused},
    measure,
    meter::Meter,
    plan::{Bounds, OURS, Payer, plan},
    session,
    stages::{Course, Stages},
    target,
    task::{Runner, Spans, Task},
    watch::{self, Watcher},
};
use crate::catalogue::Missing;

/// The caller of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The account that pays.
    pub account_id: AccountId,
    /// The key.
    pub key_id: KeyId,
    /// The key's scopes.
    pub scopes: Scopes,
}

/// A request to serve.
#[derive(Debug)]
pub struct Job {
    /// The request's id.
    pub request_id: RequestId,
    /// The caller.
    pub caller: Caller,
    /// The request.
    pub request: Request,
    /// The alias that its client named, where the model is one that it stands for.
    pub alias: Option<Arc<str>>,
    /// The attempts with other models before this one.
    pub attempts: Vec<Attempt>,
    /// The caller's own key at the provider.
    pub provider_key: Option<String>,
    /// The longest wait in line for a permit or the rate limit.
    pub max_wait: Duration,
    /// The highest age of an earlier answer that may be given again; `None` where none may.
    pub max_age: Option<Duration>,
    /// The span of the request, of which all of its spans are parts.
    pub trace: Span,
}

/// Why a request was not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServeError {
    /// The name means no model, or several.
    #[error("no such model")]
    NoModel {
        /// The requested name.
        name: String,
        /// Which names were probably meant.
        why: Missing,
    },
    /// The model has no price.
    #[error("{0} has no price")]
    Unpriced(String),
    /// The model or a field can't be served as requested.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: Cow<'static, str>,
        /// The reason.
        message: String,
    },
    /// The request needs a scope that its key lacks.
    #[error("the key has no scope {}", .0.name())]
    OutOfScope(Scope),
    /// The account refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request waited in line, in vain.
    #[error("waited in line at place {place}: {refusal}")]
    InLine {
        /// The final refusal.
        #[source]
        refusal: Refusal,
        /// The request's place when it joined the line.
        place: usize,
    },
    /// The account could not be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The provider or the engine failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The provider or the engine failed, and the part that it did is charged.
    #[error("{failure}")]
    FailedAndCharged {
        /// The failure.
        failure: Failure,
        /// The charge, with all that is known of the end; `None` where nobody watched it.
        charge: Option<Box<Done>>,
    },
    /// The request ran, and could not be settled.
    #[error(transparent)]
    Unsettled(#[from] SettleError),
}

impl From<NotAdmitted> for ServeError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Refused { refusal, place: Some(place) } => Self::InLine { refusal, place },
            NotAdmitted::Refused { refusal, place: None } => Self::Refused(refusal),
            NotAdmitted::Account(error) => Self::Account(error),
        }
    }
}

/// A running request.
#[derive(Debug)]
pub struct Started {
    /// The balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, where there is a limit.
    pub rate_remaining: Option<i64>,
    /// How long admission took, waiting included.
    pub admission: Duration,
    /// The request's place when it joined the line, if it had to wait.
    pub place: Option<usize>,
    /// The cost, where it is known already.
    pub known_cost: Option<Nanos>,
    /// The updates of the request.
    pub updates: Watcher,
    /// Notifying it ends the request as if its client had left, but the end is still sent.
    pub cancel: Arc<Notify>,
    /// Whether an earlier answer is given again, where that was allowed.
    pub reused: Option<Reused>,
}

/// An update for the watcher of a request. Small, because a channel of updates is made for every request.
#[derive(Debug)]
pub enum Update {
    /// The first piece of a streamed answer has come.
    Begun(Box<Begun>),
    /// A piece of a streamed answer.
    Delta(Box<Delta>),
    /// Each second: the cost so far.
    Cost {
        /// The cost.
        cost: Nanos,
        /// Open models: started seconds.
        billed_seconds: u64,
    },
    /// The request ended, and its charge is durable. The last update.
    Done(Box<Done>),
    /// The request failed; its cost, if any, is durable. The last update.
    Failed(Box<ServeError>),
}

/// The beginning of a streamed answer.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The time that each stage took.
    pub stages: Stages,
    /// Headers of the provider's answer that the client gets.
    pub headers: Vec<Header>,
}

/// The end of a request.
#[derive(Debug, Clone)]
pub struct Done {
    /// The answer of a closed model that was not streamed. It is sent once, not piece by piece.
    pub whole: Vec<Delta>,
    /// The tokens read and written.
    pub usage: Usage,
    /// The units of search that ranked documents took.
    pub search_units: u64,
    /// The provider's own usage object, where it sent a believed one.
    pub reported: Option<Box<str>>,
    /// The usage record.
    pub record: UsageRecord,
    /// The balance afterwards.
    pub balance: Balance,
    /// The rule of Farebox that ended the request, if one did.
    pub stop: Option<String>,
    /// The time that each stage took.
    pub stages: Stages,
    /// Headers of the provider's answer that the client gets, where none were told before.
    pub headers: Vec<Header>,
}

/// The reason of an answer that its client cancelled, or that was running when the process stopped.
pub const CANCELLED: &str = "cancelled";

impl Done {
    /// Whether the request ended before the model was done, and not because of a limit.
    pub fn is_cut(&self) -> bool {
        self.stop.as_deref() == Some(CANCELLED)
    }

    /// Whether the request ran here, billed by the second.
    pub const fn is_open(&self) -> bool {
        matches!(self.stages, Stages::Open { .. })
    }
}

/// Admits a request and starts its task. Returns when the hold is durable, or the request is refused.
///
/// # Errors
///
/// The request can't run or is invalid, or the account refuses to admit it. Nothing was charged.
pub async fn start(gateway: &Arc<Gateway>, job: Job) -> Result<Started, ServeError> {
    let (id, caller, model) = (job.request_id, job.caller, Box::from(job.request.model.as_str()));
    let started = let_in(gateway, job).await;
    if let Err(why) = &started {
        gateway.refusals.note(id, caller, model, gateway.clock().now(), why.clone());
    }
    started
}

async fn let_in(gateway: &Arc<Gateway>, job: Job) -> Result<Started, ServeError> {
    // An account's owner decides whether it buys permits. Overriding that takes the right to buy.
    if job.request.auto_scale == Some(true) && !job.caller.scopes.has(Scope::Billing) {
        return Err(ServeError::OutOfScope(Scope::Billing));
    }
    let Job { request_id, caller, request, alias, attempts, provider_key, max_wait, max_age, trace } = job;
    let payer = Payer::of(provider_key.as_ref());
    let (model, price_version) = gateway.models.find(&request.model).await?;
    target::check(gateway, &model, payer)?;
    let plan = plan(&model, gateway.rules, &request, payer)?;
    let auto_scale = request.auto_scale.map(Switch::from_bool);
    let session = session::recorded(&request);
    let admit = plan.admit(request_id, caller.key_id, price_version, auto_scale, alias, session);
    let account = caller.account_id;
    let traced = Traced { trace, operation: measure::operation(&request.work) };
    let (mut reused, mut recorder) = (None, None);
    if let Some(max_age) = max_age {
        let own_key = provider_key.as_deref();
        let asks = Asks { account, model: &model, plan: &plan, request: &request, own_key };
        match gateway.answers.find(&asks, max_age).await {
            Some(Found::Answer(answer, age)) => {
                let begin = |_: &mut Admission, _, _: &Span| again(answer, request.stream);
                let enter = Enter { admit: free(admit), max_wait };
                let started = begun(gateway, account, enter, attempts, traced, begin).await?;
                return Ok(Started { reused: Some(Reused::Hit(age)), ..started });
            }
            Some(Found::Nothing(unheard)) => (reused, recorder) = (Some(Reused::Miss), Some(unheard)),
            None => reused = Some(Reused::Bypass),
        }
    }
    let ready = target::ready(gateway, &plan, request, provider_key).await?;
    let known_cost = plan.known_cost();
    let begin = |admission: &mut Admission, began, run: &Span| {
        admission.price_at(plan.price());
        let limit = plan.limit_within(bounds(admission, gateway.rules));
        // A limit of ours makes another answer.
        let recorder = recorder.filter(|_| limit.is_none());
        let (events, runner) = ready.run(admission, limit, run);
        let events = match recorder.map(|recorder| recorder.of(runner.speaks_as_client())) {
            Some(mut recorder) => events.inspect(move |event| recorder.note(event)).boxed(),
            None => events,
        };
        Run { meter: Meter::new(plan.target, began), events, runner }
    };
    let started = begun(gateway, account, Enter { admit, max_wait }, attempts, traced, begin).await?;
    Ok(Started { known_cost, reused, ..started })
}

/// The span of a request, and what it asks for.
struct Traced {
    trace: Span,
    operation: &'static str,
}

impl Traced {
    /// The span of the account's answer: who pays, and whether it may run.
    async fn enter(&self, gateway: &Gateway, account: AccountId, enter: Enter) -> Result<Admitted, NotAdmitted> {
        let asking = self.trace.child("account", Kind::Internal);
        asking.note("farebox.account.id", account.to_string());
        let entered = admission::enter(&gateway.accounts, account, enter).await;
        match &entered {
            Ok(admitted) => {
                let now = Instant::now();
                asking.past("log append", now.checked_sub(admitted.logged).unwrap_or(now), now);
                asking.note("farebox.hold.nanos", admitted.admission.held().get());
                if let Some(place) = admitted.place {
                    asking.note("farebox.line.place", i64::try_from(place).unwrap_or(i64::MAX));
                }
            }
            Err(error) => asking.fails(error.to_string()),
        }
        entered
    }

    /// The span of a run: a call of a provider, or the work of a pool.
    fn run(&self, provider: &str, model: &str) -> Span {
        if !self.trace.is_kept() {
            return Span::default();
        }
        let kind = if provider == OURS { Kind::Internal } else { Kind::Client };
        let run = self.trace.child(format!("{} {model}", self.operation), kind);
        run.note("gen_ai.operation.name", self.operation);
        run.note("gen_ai.provider.name", measure::provider_name(provider).to_string());
        run.note("gen_ai.request.model", model.to_owned());
        run
    }
}

/// The run of an admitted request.
struct Run {
    meter: Meter,
    events: BoxStream<'static, Event>,
    runner: Runner,
}

/// An earlier answer as a run.
fn again(answer: Arc<Recorded>, is_streamed: bool) -> Run {
    let runner = Runner::Provider { clamped: None, is_streamed, speaks_as_client: answer.speaks_as_client };
    Run { meter: Meter::again(), events: stream::iter(answer.again()).boxed(), runner }
}

/// The admission of a request that nobody runs: it takes no credits and no permit.
fn free(admit: Admit) -> Admit {
    let (work, hold) = (Work::Closed, HoldRequest::FREE);
    Admit { provider: answers::PROVIDER.into(), work, hold, output: None, ..admit }
}

/// Has an account admit a request, begins its run, and starts its task.
async fn begun(
    gateway: &Arc<Gateway>,
    account: AccountId,
    enter: Enter,
    attempts: Vec<Attempt>,
    traced: Traced,
    begin: impl FnOnce(&mut Admission, Instant, &Span) -> Run,
) -> Result<Started, ServeError> {
    let request_id = enter.admit.request_id;
    let asked_at = Instant::now();
    let (provider, model) = (Arc::clone(&enter.admit.provider), Arc::clone(&enter.admit.model));
    let measure = gateway.measures.get(&provider, &model, traced.operation);
    let drain = gateway.drains.get(&provider);
    let admitted = traced.enter(gateway, account, enter).await?;
    let took = asked_at.elapsed();
    measure.admission(took);
    let Admitted { mut admission, balance, rate_remaining, place, logged: _ } = admitted;
    admission.after(attempts);
    let cancel = Arc::new(Notify::new());
    let (updates, watcher) = watch::channel(&gateway.unread);
    let began = Instant::now();
    let run = traced.run(&provider, &model);
    let Run { meter, events, runner } = begin(&mut admission, began, &run);
    let spans = Spans { request: traced.trace, run };
    let watching = (updates, Arc::clone(&cancel));
    let task =
        Task::boxed((gateway, measure, drain), admission, meter, runner, watching, (Course::new(took, began), spans));
    // A separate task, not the connection's: whenever a connection's task wakes, actix searches the unread bytes for
    // the head of a next request, which costs more than the step itself. Boxed, as the runtime moves it several times.
    actix_rt::spawn(Box::pin(task.run(events)));
    gateway.accounts.running().ends_with(request_id, &cancel);
    Ok(Started {
        balance,
        rate_remaining,
        admission: took,
        place,
        known_cost: None,
        updates: watcher,
        cancel,
        reused: None,
    })
}

/// The bounds on an admitted request's cost now.
pub(super) fn bounds(admission: &Admission, rules: Rules) -> Bounds {
    Bounds { held: admission.held(), claimed: admission.claimed(), overdraft_none: rules.overdraft_none }
}
