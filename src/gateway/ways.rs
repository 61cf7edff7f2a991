//! The models that a request's name stands for, in the order in which they are asked.

use std::{sync::Arc, time::Instant};

use actors::provider::shares;
use billing::{Nanos, ids::AccountId};
use wire::inference::Request;

use super::{
    Gateway,
    plan::{Payer, plan},
    race::{Intent, Lane},
    session::named,
    target::{self, affinity},
};
use crate::catalogue::aliases::{By, Way};

/// The models that a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// The models, in their order.
    pub models: Vec<String>,
    /// Where the fastest is asked: what is told of how soon each answers.
    pub lane: Option<Lane>,
}

/// The models that a request asks, in their order; `None` where its model is no alias. A conversation keeps to its order,
/// so that its provider's cache is hit.
pub async fn ways(
    gateway: &Gateway,
    request: &Request,
    payer: Payer,
    account: AccountId,
    intent: Intent,
) -> Option<Ways> {
    let Way { models, by } = gateway.models.aliases().way(&request.model)?.clone();
    let mut lane = None;
    let models = match by {
        By::Order => models,
        By::Weight(weights) => {
            let affinity = affinity(account, named(request).as_deref());
            let order = shares(models.iter().map(String::as_str).zip(weights), affinity);
            order.into_iter().filter_map(|place| models.get(place).cloned()).collect()
        }
        By::Price => {
            let mut priced = priced(gateway, request, payer, models).await;
            // The sort keeps the list's order of equal prices; what can't be asked for the request is last.
            priced.sort_by_key(|(cost, _)| (cost.is_none(), *cost));
            priced.into_iter().map(|(_, model)| model).collect()
        }
        By::Latency => {
            let affinity = named(request).map(|session| affinity(account, Some(&session)));
            let of_request = Lane::new(&request.model, affinity, request.stream);
            lane = Some(of_request);
            let priced = priced(gateway, request, payer, models).await;
            let (can, can_not): (Vec<_>, Vec<_>) = priced.into_iter().partition(|(cost, _)| cost.is_some());
            let can: Vec<&str> = can.iter().map(|(_, model)| &**model).collect();
            let order = gateway.race.order(&can, of_request, intent, Instant::now());
            let first = order.into_iter().map(|place| can[place].to_owned());
            first.chain(can_not.into_iter().map(|(_, model)| model)).collect()
        }
    };
    Some(Ways { models, lane })
}

/// A request for the first of the models that its name stands for.
#[derive(Debug)]
pub struct First {
    /// The request.
    pub request: Request,
    /// The alias that it named, if it named one.
    pub alias: Option<Arc<str>>,
}

/// A request for the first of the models that its name stands for.
pub async fn first(gateway: &Gateway, request: Request, payer: Payer, account: AccountId, intent: Intent) -> First {
    match ways(gateway, &request, payer, account, intent).await.and_then(|ways| ways.models.into_iter().next()) {
        Some(model) => First { request: request.for_model(model), alias: Some(request.model.into()) },
        None => First { request, alias: None },
    }
}

/// Models with the usual cost of a request with each.
async fn priced(
    gateway: &Gateway,
    request: &Request,
    payer: Payer,
    models: Vec<String>,
) -> Vec<(Option<Nanos>, String)> {
    let mut priced = Vec::with_capacity(models.len());
    for model in models {
        priced.push((expected(gateway, request, payer, &model).await, model));
    }
    priced
}

/// The usual cost of a request with a model; `None` where the model can't be asked for it.
async fn expected(gateway: &Gateway, request: &Request, payer: Payer, model: &str) -> Option<Nanos> {
    let (model, _) = gateway.models.find(model).await.ok()?;
    target::check(gateway, &model, payer).ok()?;
    Some(plan(&model, gateway.rules, request, payer).ok()?.hold.expected)
}
