//! The catalogue: `GET /v1/models` and one model of it, and the same in Google's words and in Cohere's.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, web};
use actors::cluster::place;
use billing::{
    class::SizeClass,
    command::Refusal,
    key::{KeyLimits, KeyRefusal, Names},
};

use super::gemini;
use crate::{
    catalogue::{self, Catalogue, OpenModel},
    gateway::{offers::model_of, plan::OURS, pools::Standing, serve::Caller, target},
    http::{
        auth,
        error::ApiError,
        formats::{is_coheres, is_googles},
        query::Query,
        respond::answer,
        state::Shared,
        views::{
            cohere_models::{CohereModel, CohereModels, Wanted},
            list::List,
            models::{GoogleModel, GoogleModels, Model},
        },
    },
};

/// The most models of a page in Google's words or in Cohere's, and in Google's the number without the client's word.
const MOST: usize = 1_000;
/// Parameters of a list in Google's words: those of the page, and those that change nothing here.
const PAGE: [&str; 6] = ["pageSize", "pageToken", "alt", "$alt", "prettyPrint", "$prettyPrint"];

/// Why a model can't run for credits; `None` where it can.
pub(super) fn why_not(state: &Shared, model: &catalogue::Model) -> Option<String> {
    let unpriced = match model {
        catalogue::Model::Closed(model) => model.why_unpriced(),
        catalogue::Model::Open(_) => None,
    };
    unpriced.or_else(|| target::why_not(&state.gateway, model))
}

fn view(state: &Shared, name: &str, model: &catalogue::Model, largest: SizeClass) -> Model {
    Model::of(name, model, (largest, standing(state, model)), why_not(state, model), state.gateway.clock().now())
}

/// A model as the list has it.
struct Listed {
    name: String,
    model: catalogue::Model,
    /// How it stands where it stands best, if that is at another node.
    elsewhere: Option<Standing>,
}

impl Listed {
    fn view(&self, state: &Shared, largest: SizeClass) -> Model {
        let Self { name, model, elsewhere } = self;
        match elsewhere {
            None => view(state, name, model, largest),
            Some(standing) => {
                let can_run = matches!(standing, Standing::Cold | Standing::Loading | Standing::Warm);
                let why = (!can_run).then(|| "no node can run it now".to_owned());
                Model::of(name, model, (largest, Some(*standing)), why, state.gateway.clock().now())
            }
        }
    }
}

/// `GET /v1/models`.
pub async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    if is_googles(&request) {
        return google_models(state, request).await;
    }
    if is_coheres(&request) {
        return answer(&request, cohere_models(&state, &request).await);
    }
    answer(&request, all(&state, &request).await.map(List::<Model>::of))
}

/// `GET /v1beta/models`.
pub async fn google_models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        gemini::query(&request)?;
        let query = Query::of(&request, &PAGE)?;
        let number = |name: &str, most: usize| match query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .map(Some)
                .ok_or_else(|| ApiError::invalid(name, format!("must be a whole number from 1 to {most}"))),
        };
        let (size, behind) = (number("pageSize", MOST)?, number("pageToken", usize::MAX)?);
        let all = all(&state, &request).await?.into_iter().filter_map(GoogleModel::of).collect();
        Ok(GoogleModels::page(all, behind.unwrap_or(0), size.unwrap_or(MOST)))
    };
    answer(&request, work.await)
}

/// The same for a client of Cohere's.
async fn cohere_models(state: &Shared, request: &HttpRequest) -> Result<CohereModels, ApiError> {
    let sight = sight(state, request).await?;
    let (wanted, listed) = (wanted(request)?, sight.listed(state).await);
    let page = CohereModels::page(listed.iter().map(|listed| (&*listed.name, &listed.model)), &wanted);
    page.ok_or_else(|| ApiError::invalid("page_token", "is not of a page of this list"))
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    if is_googles(&request) {
        return google_model(state, request, id).await;
    }
    let work = async {
        let (largest, found) = found(&state, &request, &id).await?;
        Ok((view(&state, &id, &found, largest), CohereModel::of(&id, &found)))
    };
    match work.await {
        Ok((_, model)) if is_coheres(&request) => answer(&request, Ok(model)),
        own => answer(&request, own.map(|(model, _)| model)),
    }
}

/// `GET /v1beta/models/{id}`.
pub async fn google_model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        gemini::query(&request)?;
        let (largest, found) = found(&state, &request, &id).await?;
        GoogleModel::of(view(&state, &id, &found, largest)).ok_or_else(|| ApiError::model_not_found(&id, &[]))
    };
    answer(&request, work.await)
}

/// The page of the catalogue that a client of Cohere's asks for.
fn wanted(request: &HttpRequest) -> Result<Wanted, ApiError> {
    let query = Query::of(request, &["page_size", "page_token", "endpoint", "default_only"])?;
    let text = |name: &str| query.get(name).map(str::to_owned);
    Ok(Wanted {
        size: query.get("page_size").map(page_size).transpose()?,
        after: text("page_token"),
        endpoint: text("endpoint"),
        is_default: query.get("default_only") == Some("true"),
    })
}

/// The most models of a page. Clients write it as a number with a fraction too.
fn page_size(text: &str) -> Result<usize, ApiError> {
    let size = text.strip_suffix(".0").unwrap_or(text).parse().ok().filter(|size| (1..=MOST).contains(size));
    size.ok_or_else(|| ApiError::invalid("page_size", format!("must be a whole number from 1 to {MOST}")))
}

/// All models by their names, those of other nodes too. An alias of no model serves nothing, and is not listed. A name is
/// listed once, for what it stands for: pages begin after a name.
fn listed(state: &Shared, catalogue: &Catalogue) -> Vec<Listed> {
    let (aliases, others) = (state.gateway.models.aliases(), elsewhere(state));
    let found = |name: &str| match (catalogue.find(name), others.get(name)) {
        (Ok(model @ catalogue::Model::Open(_)), Some((_, there))) => {
            let here = standing(state, &model);
            let is_better = here != Some(*there) && place::best(here.into_iter().chain([*there])) == Some(*there);
            Some((model, is_better.then_some(*there)))
        }
        (Ok(model), _) => Some((model, None)),
        (Err(_), other) => other.map(|(model, there)| (catalogue::Model::Open(Arc::clone(model)), Some(*there))),
    };
    let of_aliases = aliases.all();
    let own = catalogue.models().map(|(name, _)| (name, name));
    let of_others = others.keys().map(|name| (&**name, &**name)).filter(|(name, _)| catalogue.find(name).is_err());
    let all = own.chain(of_others).filter(|(name, _)| aliases.way(name).is_none());
    let listed = |(name, of): (&str, &str)| {
        found(of).map(|(model, elsewhere)| Listed { name: name.to_owned(), model, elsewhere })
    };
    of_aliases.chain(all).filter_map(listed).collect()
}

/// The open models of other nodes, and how each stands where it stands best.
fn elsewhere(state: &Shared) -> BTreeMap<Arc<str>, (Arc<OpenModel>, Standing)> {
    let offers = state.cluster.as_ref().map(|cluster| cluster.offers(|_| true)).unwrap_or_default();
    let mut models = BTreeMap::new();
    for (_, offer) in offers {
        let Some(model) = model_of(&offer) else { continue };
        let known = models.entry(offer.model).or_insert((Arc::new(model), offer.standing));
        known.1 = place::best([known.1, offer.standing].into_iter()).unwrap_or(known.1);
    }
    models
}

/// How a model stands here, if it is an open one.
fn standing(state: &Shared, model: &catalogue::Model) -> Option<Standing> {
    match model {
        catalogue::Model::Closed(_) => None,
        catalogue::Model::Open(model) => Some(state.gateway.standing(model)),
    }
}

/// All models that the caller may use, as the caller sees them.
async fn all(state: &Shared, request: &HttpRequest) -> Result<Vec<Model>, ApiError> {
    models_of(state, auth::caller(state, request).await?).await
}

/// The same for a caller who is known.
///
/// # Errors
///
/// The account can't be asked just now.
pub async fn models_of(state: &Shared, caller: Caller) -> Result<Vec<Model>, ApiError> {
    let sight = sight_of(state, caller).await?;
    let all = sight.listed(state).await;
    Ok(all.iter().map(|listed| listed.view(state, sight.largest)).collect())
}

/// A model by its name or an alias, and the largest class that the caller may use. Of a key that may not use the model the
/// refusal is that of a request.
pub(super) async fn found(
    state: &Shared,
    request: &HttpRequest,
    id: &str,
) -> Result<(SizeClass, catalogue::Model), ApiError> {
    let (sight, models) = (sight(state, request).await?, &state.gateway.models);
    let catalogue = models.fresh().await;
    let found = catalogue.find(models.aliases().model(id)).map_err(|why| ApiError::no_model(id, &why))?;
    if sight.allows(state, id, |name| catalogue.find(name).ok()) {
        return Ok((sight.largest, found));
    }
    Err(Refusal::KeyLimit(KeyRefusal::Model { allowed: sight.limits.models }).into())
}

/// What a caller may use.
struct Sight {
    /// The largest class of open models that the account has unlocked.
    largest: SizeClass,
    /// The limits of the caller's key.
    limits: KeyLimits,
}

impl Sight {
    /// Whether the key may ask for a model by this name: also by an alias of which it may use one model.
    fn allows(&self, state: &Shared, name: &str, find: impl Fn(&str) -> Option<catalogue::Model>) -> bool {
        let (aliases, alias) = (state.gateway.models.aliases(), Some(name.into()));
        let is_allowed = |model: &catalogue::Model| {
            let (provider, id) = match model {
                catalogue::Model::Closed(model) => (Arc::clone(&model.provider), &model.id),
                catalogue::Model::Open(model) => (OURS.into(), &model.id),
            };
            self.limits.allows(id, &Names { provider, alias: alias.clone() })
        };
        match aliases.way(name) {
            Some(way) => way.models.iter().any(|model| find(model).is_some_and(|model| is_allowed(&model))),
            None => find(name).is_some_and(|model| is_allowed(&model)),
        }
    }

    /// The models of the catalogue that the caller may use.
    async fn listed(&self, state: &Shared) -> Vec<Listed> {
        let catalogue = state.gateway.models.fresh().await;
        let mut all = listed(state, &catalogue);
        if !self.limits.models.is_empty() {
            let others = elsewhere(state);
            let there = |name: &str| others.get(name).map(|(model, _)| catalogue::Model::Open(Arc::clone(model)));
            let find = |name: &str| catalogue.find(name).ok().or_else(|| there(name));
            all.retain(|listed| self.allows(state, &listed.name, find));
        }
        all
    }
}

async fn sight(state: &Shared, request: &HttpRequest) -> Result<Sight, ApiError> {
    sight_of(state, auth::caller(state, request).await?).await
}

async fn sight_of(state: &Shared, caller: Caller) -> Result<Sight, ApiError> {
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    let limits = picture.keys.into_iter().find(|key| key.id == caller.key_id).map(|key| key.limits);
    Ok(Sight { largest: picture.balance.tier.largest, limits: limits.unwrap_or_default() })
}
