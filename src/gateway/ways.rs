//! The models that a request's name stands for, in the order in which they are asked.

use actors::provider::shares;
use billing::{Nanos, ids::AccountId};
use wire::inference::Request;

use super::{
    Gateway,
    plan::{Payer, plan},
    target::{self, affinity, session},
};
use crate::catalogue::aliases::{By, Way};

/// The models that a request asks, in their order; `None` where its model is no alias. A conversation keeps to its order,
/// so that its provider's cache is hit.
pub async fn ways(gateway: &Gateway, request: &Request, payer: Payer, account: AccountId) -> Option<Vec<String>> {
    let Way { models, by } = gateway.models.aliases().way(&request.model)?.clone();
    Some(match by {
        By::Order => models,
        By::Weight(weights) => {
            let affinity = affinity(account, session(request).as_deref());
            let order = shares(models.iter().map(String::as_str).zip(weights), affinity);
            order.into_iter().filter_map(|place| models.get(place).cloned()).collect()
        }
        By::Price => {
            let mut priced = Vec::with_capacity(models.len());
            for model in models {
                priced.push((expected(gateway, request, payer, &model).await, model));
            }
            // The sort keeps the list's order of equal prices; what can't be asked for the request is last.
            priced.sort_by_key(|(cost, _)| (cost.is_none(), *cost));
            priced.into_iter().map(|(_, model)| model).collect()
        }
    })
}

/// A request for the first of the models that its name stands for.
pub async fn first(gateway: &Gateway, request: Request, payer: Payer, account: AccountId) -> Request {
    match ways(gateway, &request, payer, account).await.and_then(|ways| ways.into_iter().next()) {
        Some(model) => request.for_model(model),
        None => request,
    }
}

/// The usual cost of a request with a model; `None` where the model can't be asked for it.
async fn expected(gateway: &Gateway, request: &Request, payer: Payer, model: &str) -> Option<Nanos> {
    let (model, _) = gateway.models.find(model).await.ok()?;
    target::check(gateway, &model, payer).ok()?;
    Some(plan(&model, gateway.rules, request, payer).ok()?.hold.expected)
}
