//! A request's way: its model is found, its plan is made and its account admits it; then its [`Task`] owns its money until
//! it is settled. The connection watches a bounded channel of [`Update`]s; if it goes away, the task still settles by the
//! table of the design's chapter 2.5.

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
    automatic::Switch,
    command::Refusal,
    entry::UsageRecord,
    ids::{AccountId, KeyId, RequestId},
    key::{Scope, Scopes},
};
use tokio::sync::Notify;
use wire::inference::{Delta, Failure, Request, Usage};

use super::{
    Gateway, Rules, measure,
    plan::{Bounds, Payer, plan},
    stages::Stages,
    target,
    task::Task,
    watch::{self, Watcher},
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The account that pays.
    pub account_id: AccountId,
    /// The key.
    pub key_id: KeyId,
    /// What it may do.
    pub scopes: Scopes,
}

/// A request to serve.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub request_id: RequestId,
    /// Who asks.
    pub caller: Caller,
    /// What.
    pub request: Request,
    /// The caller's own key at the provider.
    pub provider_key: Option<String>,
    /// How long it may wait in line for a permit or the rate limit.
    pub max_wait: Duration,
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
        field: Cow<'static, str>,
        /// Why.
        message: String,
    },
    /// It asks for what its key may not do.
    #[error("the key has no scope {}", .0.name())]
    OutOfScope(Scope),
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

impl From<NotAdmitted> for ServeError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Refused { refusal, place: Some(place) } => Self::InLine { refusal, place },
            NotAdmitted::Refused { refusal, place: None } => Self::Refused(refusal),
            NotAdmitted::Account(error) => Self::Account(error),
        }
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
    /// The provider's own usage object, where it sent one that is believed.
    pub reported: Option<Box<str>>,
    /// Its record.
    pub record: UsageRecord,
    /// The balance after it.
    pub balance: Balance,
    /// Which rule of Farebox's ended it, if one did.
    pub stop: Option<String>,
    /// Where its time went.
    pub stages: Stages,
}

/// Why an answer ended early that its client cancelled, or that was running when the process stopped.
pub const CANCELLED: &str = "cancelled";

impl Done {
    /// Whether it ended before the model was done with it, and not by a limit.
    pub fn is_cut(&self) -> bool {
        self.stop.as_deref() == Some(CANCELLED)
    }

    /// Whether it ran here, billed by the second.
    pub const fn is_open(&self) -> bool {
        matches!(self.stages, Stages::Open { .. })
    }
}

/// Admits a request and starts its task. Returns when the hold is durable, or the request is refused.
pub async fn start(gateway: &Arc<Gateway>, job: Job) -> Result<Started, ServeError> {
    // That its account buys permits is set by its owner; to have them bought though it is not takes who may buy.
    if job.request.auto_scale == Some(true) && !job.caller.scopes.has(Scope::Billing) {
        return Err(ServeError::OutOfScope(Scope::Billing));
    }
    let Job { request_id, caller, request, provider_key, max_wait } = job;
    let payer = Payer::of(provider_key.as_ref());
    let (model, price_version) = gateway.models.find(&request.model).await?;
    target::check(gateway, &model, payer)?;
    let plan = plan(&model, gateway.rules, &request, payer)?;
    let auto_scale = request.auto_scale.map(Switch::from_bool);
    let ready = target::ready(gateway, &plan, request, provider_key).await?;
    let admit = plan.admit(request_id, caller.key_id, price_version, auto_scale);
    let asked_at = Instant::now();
    let provider = Arc::clone(&admit.provider);
    let admitted = admission::enter(&gateway.accounts, caller.account_id, Enter { admit, max_wait }).await?;
    let took = asked_at.elapsed();
    measure::admission(provider, took);
    let Admitted { mut admission, balance, rate_remaining, place } = admitted;
    admission.price_at(plan.price());
    let cancel = Arc::new(Notify::new());
    let (updates, watcher) = watch::channel(&gateway.unread);
    let began = Instant::now();
    let limit = plan.limit_within(bounds(&admission, gateway.rules));
    let (events, runner) = ready.run(&admission, limit);
    let task = Task::new(gateway, admission, plan, runner, (updates, Arc::clone(&cancel)), began);
    // In a task of its own, not in its connection's: each time a connection's task is woken, actix looks for the head of a
    // next request in what it has not read, which costs more than the step that it was woken for.
    actix_rt::spawn(Box::new(task).run(events));
    gateway.accounts.running().ends_with(request_id, &cancel);
    Ok(Started { balance, rate_remaining, admission: took, place, updates: watcher, cancel })
}

/// How the cost of an admitted request is bounded now.
pub(super) fn bounds(admission: &Admission, rules: Rules) -> Bounds {
    Bounds { held: admission.held(), claimed: admission.claimed(), overdraft_none: rules.overdraft_none }
}
