//! What is decided of a request before it runs: who runs it, at which frozen price, what is asked to be held, how far it may
//! go. [`plan`] is the one place that decides it: serving and quoting both follow its [`Plan`], so that a quote can't drift
//! from the run. Pure: no I/O, no clock; what an account has, and what is running here, it does not know.

mod closed;
mod max_cost;
mod open;

use std::sync::Arc;

use billing::{
    Nanos,
    automatic::Switch,
    command::Admit,
    hold::{HoldRequest, OutputPrice, Work},
    ids::{KeyId, RequestId},
    price::Price,
};
pub(super) use closed::{Limit, UsageTerms};
pub(super) use open::{SLICE_SECONDS, SecondsTerms};
use wire::inference::Request;

use super::{Rules, serve::ServeError};
use crate::catalogue::Model;

/// The provider of what runs here.
const OURS: &str = "farebox";

/// Who pays the provider of a closed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// The operator, whom the caller pays in credits.
    Credits,
    /// The caller, whose own key the provider is called with: nothing is charged here.
    OwnKey,
}

impl Payer {
    /// By whether a caller sent a key of its own.
    pub const fn of<T>(provider_key: Option<&T>) -> Self {
        if provider_key.is_some() { Self::OwnKey } else { Self::Credits }
    }
}

/// What is decided of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Who runs it, and on what terms.
    pub(super) target: Target,
    /// What its hold is for, with the permit that it takes.
    pub(super) work: Work,
    /// What is asked to be held.
    pub(super) hold: HoldRequest,
    /// What the account makes of the hold that knows how long its answers are; none where seconds are billed.
    pub(super) output: Option<OutputPrice>,
}

/// Who runs a request, and on what terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// A provider, for its usage.
    Closed(UsageTerms),
    /// A pool, for its started seconds.
    Open(SecondsTerms),
}

/// What an admitted request may cost, as its account and its key bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What is held for it.
    pub(super) held: Nanos,
    /// The most that it may come to by its key's limits; none where they are none.
    pub(super) claimed: Option<Nanos>,
    /// Whether it may cost no more than its hold.
    pub(super) overdraft_none: bool,
}

/// Plans a request for the model that it names.
pub(super) fn plan(model: &Model, rules: Rules, request: &Request, payer: Payer) -> Result<Plan, ServeError> {
    match model {
        Model::Closed(model) => closed::plan(model, request, payer),
        Model::Open(model) => open::plan(model, request, rules.weighting),
    }
}

fn invalid(field: &'static str, message: impl Into<String>) -> ServeError {
    ServeError::Invalid { field: field.into(), message: message.into() }
}

impl Plan {
    /// The model as it is called here.
    pub(super) fn model(&self) -> &Arc<str> {
        match &self.target {
            Target::Closed(terms) => &terms.model.id,
            Target::Open(terms) => &terms.model.id,
        }
    }

    /// The provider's name; `farebox` of what runs here.
    pub(super) fn provider(&self) -> Arc<str> {
        match &self.target {
            Target::Closed(terms) => Arc::clone(&terms.model.provider),
            Target::Open(_) => OURS.into(),
        }
    }

    /// The price that it is charged at, frozen; none where it costs nothing here.
    pub(super) fn price(&self) -> Option<Arc<Price>> {
        match &self.target {
            Target::Closed(terms) => terms.charged_price(),
            Target::Open(terms) => Some(terms.model.class.price()),
        }
    }

    /// What the account is asked.
    pub(super) fn admit(
        &self,
        request_id: RequestId,
        key_id: KeyId,
        price_version: i64,
        auto_scale: Option<Switch>,
    ) -> Admit {
        Admit {
            request_id,
            key_id: Some(key_id),
            model: Arc::clone(self.model()),
            provider: self.provider(),
            price_version,
            work: self.work,
            hold: self.hold,
            output: self.output,
            auto_scale,
        }
    }

    /// The output limit that a provider is sent, where the client's own is too high; seconds end by themselves.
    pub(super) fn limit_within(&self, bounds: Bounds) -> Option<Limit> {
        match &self.target {
            Target::Closed(terms) => terms.limit_within(bounds),
            Target::Open(_) => None,
        }
    }

    /// The least that it is expected to cost.
    pub(super) fn least(&self) -> Result<Nanos, ServeError> {
        match &self.target {
            Target::Closed(terms) => terms.least(),
            Target::Open(terms) => Ok(terms.cost(1)),
        }
    }

    /// The most that it can cost; unknown of an open model without `max_cost`, which runs until it is done.
    pub(super) fn most(&self) -> Option<Nanos> {
        match &self.target {
            Target::Closed(_) => Some(self.hold.worst_case),
            Target::Open(terms) => terms.most(),
        }
    }
}
