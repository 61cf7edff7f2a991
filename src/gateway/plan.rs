//! Planning a request before it runs: its target, its frozen price, its hold, and its limits. [`plan`] is the only
//! place for these decisions. Serving and quoting both follow its [`Plan`], so that a quote can't differ from the run.
//! Pure: no I/O, no clock; it does not know the account's balance or the load.

mod closed;
mod max_cost;
mod media;
mod open;
mod ranking;

use std::sync::Arc;

use billing::{
    Nanos,
    automatic::Switch,
    command::Admit,
    hold::{HoldRequest, OutputPrice, Work},
    ids::{KeyId, RequestId},
    key::Names,
    price::Price,
    session::Session,
};
pub(super) use closed::{Limit, UsageTerms, tier_of};
pub(super) use media::{Bills, Media, Most};
pub(super) use open::{SLICE_SECONDS, SecondsTerms};
pub(super) use ranking::{Ranking, billed};
use wire::inference::Request;

use super::{Rules, serve::ServeError};
use crate::catalogue::Model;

/// The provider's name for our own models.
pub const OURS: &str = "farebox";

/// Who pays the provider of a closed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payer {
    /// The operator, who is paid by the caller in credits.
    Credits,
    /// The caller, whose own key is used: nothing is charged here.
    OwnKey,
}

impl Payer {
    /// The payer, by whether the caller sent a key of its own.
    pub const fn of<T>(provider_key: Option<&T>) -> Self {
        if provider_key.is_some() { Self::OwnKey } else { Self::Credits }
    }
}

/// The plan of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The target of the request, with its terms.
    pub(super) target: Target,
    /// The work of the hold, with its permit.
    pub(super) work: Work,
    /// The amounts to hold.
    pub(super) hold: HoldRequest,
    /// The inputs of the expected cost, for accounts that know their usual length of answers; `None` where seconds are
    /// billed.
    pub(super) output: Option<OutputPrice>,
}

/// The target of a request, with its terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// A provider, which bills usage.
    Closed(UsageTerms),
    /// A pool, which bills started seconds.
    Open(SecondsTerms),
}

/// The bounds on the cost of an admitted request, set by its account and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The amount held.
    pub(super) held: Nanos,
    /// The most that the request may cost under its key's limits; `None` without limits.
    pub(super) claimed: Option<Nanos>,
    /// Whether the cost may not exceed the hold.
    pub(super) overdraft_none: bool,
}

impl Bounds {
    /// The cost so far as the account is told it, and what is to be held beside it, together the same. Where debt may not
    /// arise, no more counts as used than is held: if the process dies before the charge, just that is charged.
    pub(super) fn accrued(self, cost: Nanos, slice: Nanos) -> (Nanos, Nanos) {
        let accrued = if self.overdraft_none { cost.min(self.held) } else { cost };
        (accrued, slice + (cost - accrued))
    }
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
    /// The model's name in this gateway.
    pub(super) fn model(&self) -> &Arc<str> {
        match &self.target {
            Target::Closed(terms) => &terms.model.id,
            Target::Open(terms) => &terms.model.id,
        }
    }

    /// The provider's name; `farebox` for our own models.
    pub(super) fn provider(&self) -> Arc<str> {
        match &self.target {
            Target::Closed(terms) => Arc::clone(&terms.model.provider),
            Target::Open(_) => OURS.into(),
        }
    }

    /// The frozen price; `None` if the request costs nothing here.
    pub(super) fn price(&self) -> Option<Arc<Price>> {
        match &self.target {
            Target::Closed(terms) => terms.charged_price(),
            Target::Open(terms) => Some(terms.model.class.price()),
        }
    }

    /// The admission to ask of the account.
    pub(super) fn admit(
        &self,
        request_id: RequestId,
        key_id: KeyId,
        price_version: i64,
        auto_scale: Option<Switch>,
        alias: Option<Arc<str>>,
        session: Option<Session>,
    ) -> Admit {
        let provider = self.provider();
        Admit {
            request_id,
            key_id: Some(key_id),
            model: Arc::clone(self.model()),
            names: Names { provider: Arc::clone(&provider), alias },
            provider,
            price_version,
            work: self.work,
            hold: self.hold,
            output: self.output,
            auto_scale,
            session,
        }
    }

    /// The output limit to send to a provider, if the client's own is too high. Open models need none.
    pub(super) fn limit_within(&self, bounds: Bounds) -> Option<Limit> {
        match &self.target {
            Target::Closed(terms) => terms.limit_within(bounds),
            Target::Open(_) => None,
        }
    }

    /// The lowest expected cost.
    pub(super) fn least(&self) -> Result<Nanos, ServeError> {
        match &self.target {
            Target::Closed(terms) => terms.least(),
            Target::Open(terms) => Ok(terms.cost(1)),
        }
    }

    /// The cost, where it is known before the request runs.
    pub(super) fn known_cost(&self) -> Option<Nanos> {
        match &self.target {
            Target::Closed(terms) => terms.known_cost(),
            Target::Open(_) => None,
        }
    }

    /// The highest cost; unknown for an open model without `max_cost`, which runs until it ends.
    pub(super) fn most(&self) -> Option<Nanos> {
        match &self.target {
            Target::Closed(_) => Some(self.hold.worst_case),
            Target::Open(terms) => terms.most(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_as_used_is_held_where_debt_may_not_arise() {
        let of = |overdraft_none, cost| {
            let bounds = Bounds { held: Nanos::new(5), claimed: None, overdraft_none };
            let (accrued, slice) = bounds.accrued(Nanos::new(cost), Nanos::new(2));
            (accrued.get(), slice.get())
        };
        assert_eq!([of(true, 4), of(true, 5), of(true, 9)], [(4, 2), (5, 2), (5, 6)]);
        assert_eq!([of(false, 4), of(false, 9)], [(4, 2), (9, 2)]);
    }
}
