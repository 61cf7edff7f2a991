//! What a request would cost and whether it would be admitted, without running it: the same quote and the same rules,
//! decided on a copy of the account.

use std::sync::Arc;

use actors::account::Preview;
use billing::{
    Nanos,
    account::Balance,
    command::{Admit, Reply},
    hold::HoldRequest,
    ids::RequestId,
};
use uuid::Uuid;
use wire::inference::TextRequest;

use super::{
    Gateway,
    available::{self, Payer},
    closed, open, quote,
    serve::{Caller, ServeError},
};
use crate::catalogue::Model;

/// What would come of a request.
#[derive(Debug, Clone)]
pub struct Previewed {
    /// The model as it is called here.
    pub model: String,
    /// Prompt tokens and the most that would be written.
    pub tokens: Option<(u64, u64)>,
    /// The least it costs.
    pub least: Nanos,
    /// What such requests usually cost.
    pub expected: Nanos,
    /// The most it can cost; unknown for an open model without `max_cost`, which runs until it is done.
    pub most: Option<Nanos>,
    /// What would be set aside, or why it would be refused.
    pub admission: Result<Nanos, ServeError>,
    /// The account now.
    pub balance: Balance,
}

/// Previews a request. Who pays the provider itself is charged nothing.
pub async fn preview(
    gateway: &Gateway,
    caller: Caller,
    request: &TextRequest,
    payer: Payer,
) -> Result<Previewed, ServeError> {
    let (model, price_version) = gateway.models.find(&request.model).await?;
    let (id, provider, work, hold, output, tokens, least, most) = match &model {
        Model::Closed(model) => {
            let price = closed::price_of(model, request)?;
            let quoted = quote::closed(request, model, &price, payer)?;
            let tokens = Some((quoted.input, quoted.limit.saturating_mul(u64::from(request.answers()))));
            let work = billing::hold::Work::Closed;
            let (hold, least) = match payer {
                Payer::Credits => (quoted.hold, quote::least(&price, &quoted)?),
                Payer::OwnKey => (HoldRequest::FREE, Nanos::ZERO),
            };
            let most = Some(hold.worst_case);
            (model.id.clone(), model.provider.clone(), work, hold, Some(quoted.output), tokens, least, most)
        }
        Model::Open(model) => {
            let terms = open::terms(request, model, gateway.rules)?;
            // What can't run is told so below; its folder may not even be whole.
            let tokens = if available::check(gateway, &Model::Open(Arc::clone(model)), payer).is_ok() {
                let (prepared, _) = gateway.tokenizer_cache.prepare(model, request.clone()).await?;
                let input = prepared.prompt.len() as u64;
                let room = u64::from(model.context).saturating_sub(input);
                let output = request.max_tokens.map_or(room, |tokens| room.min(tokens.into()));
                Some((input, output.saturating_mul(u64::from(request.answers()))))
            } else {
                None
            };
            let rate = model.class.per_second();
            let most = terms.allowed.and_then(|seconds| rate.checked_times(i64::try_from(seconds).ok()?));
            (model.id.clone(), Arc::from("farebox"), terms.work, terms.hold, None, tokens, rate, most)
        }
    };
    let admit = Admit {
        request_id: RequestId(Uuid::now_v7()),
        key_id: Some(caller.key_id),
        model: id.clone(),
        provider,
        price_version,
        work,
        hold,
        output,
        auto_scale: None,
    };
    let answer = gateway.accounts.ask(caller.account_id, Preview(admit)).await?;
    let admission = available::check(gateway, &model, payer).and_then(|()| match answer.result? {
        Reply::Admitted { held, .. } => Ok(held),
        Reply::Accrued { .. } | Reply::Settled { .. } | Reply::Done => Ok(Nanos::ZERO),
    });
    Ok(Previewed {
        model: id.to_string(),
        tokens,
        least,
        expected: hold.expected,
        most,
        admission,
        balance: answer.balance,
    })
}
