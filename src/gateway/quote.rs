//! The cost of a request and the decision on its admission, without running it. The plan is the same as for a run, and
//! the account decides by the same rules, on a copy of itself.

use actors::account::Preview;
use billing::{Nanos, account::Balance, command::Reply, ids::RequestId};
use uuid::Uuid;

use super::{
    Gateway,
    plan::{Payer, Target, plan},
    serve::{Caller, ServeError},
    target,
    ways::First,
};

/// The quote of a request.
#[derive(Debug, Clone)]
pub struct Quote {
    /// The model's name in the catalogue.
    pub model: String,
    /// The prompt's tokens and the most output tokens.
    pub tokens: Option<(u64, u64)>,
    /// The least cost.
    pub least: Nanos,
    /// The usual cost of such requests.
    pub expected: Nanos,
    /// The most that the request can cost; `None` for an open model without `max_cost`, which runs until it is done.
    pub most: Option<Nanos>,
    /// The amount that would be held, or why the request would be refused.
    pub admission: Result<Nanos, ServeError>,
    /// The account's current balance.
    pub balance: Balance,
}

/// Quotes a request. A caller who pays the provider directly is charged nothing.
///
/// # Errors
///
/// The model is unknown, the request is invalid for it, or the account can't be asked. A refusal to admit the request
/// is no error: it is in [`Quote::admission`].
pub async fn quote(gateway: &Gateway, caller: Caller, first: &First, payer: Payer) -> Result<Quote, ServeError> {
    let First { request, alias } = first;
    let (model, price_version) = gateway.models.find(&request.model).await?;
    let plan = plan(&model, gateway.rules, request, payer)?;
    let least = plan.least()?;
    let runs = target::check(gateway, &model, payer);
    let tokens = match &plan.target {
        Target::Closed(terms) => {
            if runs.is_ok() {
                target::call(gateway, terms, request.clone())?;
            }
            Some((terms.input, terms.most_output()))
        }
        Target::Open(terms) if runs.is_ok() => {
            let (asked, _) = gateway.tokenizer_cache.prepare(&terms.model, request.clone()).await?;
            Some((asked.input(), asked.most_output(terms.model.context.into())))
        }
        // A model that can't run is reported below; its folder may be incomplete.
        Target::Open(_) => None,
    };
    let admit = plan.admit(RequestId(Uuid::now_v7()), caller.key_id, price_version, None, alias.clone(), None);
    let answer = gateway.accounts.ask(caller.account_id, Preview(admit)).await?;
    let admission = runs.and_then(|()| match answer.result? {
        Reply::Admitted { held, .. } => Ok(held),
        Reply::Accrued { .. } | Reply::Settled { .. } | Reply::Done => Ok(Nanos::ZERO),
    });
    Ok(Quote {
        model: plan.model().to_string(),
        tokens,
        least,
        expected: plan.hold.expected,
        most: plan.most(),
        admission,
        balance: answer.balance,
    })
}
