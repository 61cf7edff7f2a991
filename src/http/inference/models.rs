//! The catalogue: `GET /v1/models` and one model of it. Cohere's clients get it in their words.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::class::SizeClass;

use crate::{
    catalogue,
    gateway::target,
    http::{
        auth,
        error::ApiError,
        formats::is_coheres,
        query::Query,
        respond::answer,
        state::Shared,
        views::{
            cohere_models::{CohereModel, CohereModels, Told, Wanted},
            list::List,
            models::Model,
        },
    },
};

fn view(state: &Shared, name: &str, model: &catalogue::Model, largest: SizeClass) -> Model {
    let unpriced = match model {
        catalogue::Model::Closed(model) => model.why_unpriced(),
        catalogue::Model::Open(_) => None,
    };
    let why = unpriced.or_else(|| target::why_not(&state.gateway, model));
    Model::of(name, model, largest, why, state.gateway.clock().now())
}

/// `GET /v1/models`.
pub async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let catalogue = state.gateway.models.fresh().await;
        // An alias of no model serves nothing, and is not listed.
        let all = state.gateway.models.aliases();
        let aliases: Vec<_> = all.all().filter_map(|(name, model)| Some((name, catalogue.find(model).ok()?))).collect();
        let aliases = aliases.iter().map(|(name, model)| (*name, model));
        // A name is listed once, for what it stands for: pages begin after a name.
        let all = aliases.chain(catalogue.models().filter(|(name, _)| all.way(name).is_none()));
        if is_coheres(&request) {
            let page = CohereModels::page(all, &wanted(&request)?).map(Told::Coheres);
            return page.ok_or_else(|| ApiError::invalid("page_token", "is not of a page of this list"));
        }
        Ok(Told::Own(List::<Model>::of(all.map(|(name, model)| view(&state, name, model, largest)))))
    };
    answer(&request, work.await)
}

/// `GET /v1/models/{id}`.
pub async fn model(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let largest = largest_class(&state, &request).await?;
        let models = &state.gateway.models;
        let found = models.fresh().await.find(models.aliases().model(&id));
        let found = found.map_err(|nearest| ApiError::model_not_found(&id, &nearest))?;
        if is_coheres(&request) {
            return Ok(Told::Coheres(CohereModel::of(&id, &found)));
        }
        Ok(Told::Own(view(&state, &id, &found, largest)))
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
    let size = text.strip_suffix(".0").unwrap_or(text).parse().ok().filter(|size| (1..=1_000).contains(size));
    size.ok_or_else(|| ApiError::invalid("page_size", "must be a whole number from 1 to 1000"))
}

async fn largest_class(state: &Shared, request: &HttpRequest) -> Result<SizeClass, ApiError> {
    let caller = auth::caller(state, request).await?;
    let picture = state.gateway.accounts.ask(caller.account_id, actors::account::Look).await?;
    Ok(picture.balance.tier.largest)
}
