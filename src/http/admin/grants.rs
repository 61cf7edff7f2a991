//! `/admin/v1/accounts/{account}/grants`: credits that operators give and take back.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{grant::Source, ids::GrantId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        respond::{Body, answer, read},
        state::Shared,
        values::{amount, amount_given, id, instant, reason},
        views::{
            admin::{GivenGrant, VoidedGrant},
            scalar::{Amount, Instant},
        },
    },
    service::{
        accounts,
        credits::{self, NewGrant},
    },
};

/// Credits to give, without a payment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedGrant)]
pub struct Wanted {
    /// `promo`, `goodwill`, `plan` or `free`.
    #[schema(value_type = String)]
    source: Source,
    #[schema(value_type = Amount)]
    amount: Value,
    /// When the credits expire; by default as for their kind.
    #[schema(value_type = Option<Instant>)]
    expires_at: Option<Value>,
    reason: Option<String>,
}

impl TryFrom<Wanted> for NewGrant {
    type Error = ApiError;

    fn try_from(wanted: Wanted) -> Result<Self, ApiError> {
        let Wanted { source, amount: dollars, expires_at, reason: why } = wanted;
        if !credits::is_given(source) {
            return Err(ApiError::invalid("source", "must be one that nobody pays for: promo, goodwill, plan, free"));
        }
        let amount = amount("amount", &dollars)?;
        let expires_at = expires_at.map(|at| instant("expires_at", &at)).transpose()?;
        Ok(Self { source, amount, expires_at, reason: why.map(reason).transpose()? })
    }
}

/// `POST /admin/v1/accounts/{account}/grants`: gives credits without a payment.
pub async fn give(state: Shared, request: HttpRequest, account: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let wanted: NewGrant = read::<Wanted>(&state, body)?.try_into()?;
        let (source, amount) = (wanted.source.name(), wanted.amount);
        let account = accounts::named(&state.service, &account).await?;
        let origin = Arrival::origin(&request);
        let (id, balance) = credits::give(&state.service, origin, account, wanted).await?;
        Ok(GivenGrant::of(id.0, source, amount, &balance))
    };
    answer(&request, work.await)
}

/// Credits to take back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VoidGrant)]
pub struct Void {
    /// The amount; by default all remaining credits.
    #[schema(value_type = Option<Amount>)]
    amount: Option<Value>,
    reason: String,
}

/// `POST /admin/v1/accounts/{account}/grants/{grant}/void`: takes back the remaining credits of a grant, or part of
/// them.
pub async fn void(state: Shared, request: HttpRequest, path: web::Path<(String, String)>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let (account, grant) = path.into_inner();
        let account = accounts::named(&state.service, &account).await?;
        let grant = id("grant", &grant, "must be a grant's id")?;
        let Void { amount, reason: why } = read(&state, body)?;
        let (why, part) = (reason(why)?, amount_given("amount", amount.as_ref())?);
        let origin = Arrival::origin(&request);
        let balance = credits::take_back(&state.service, origin, account, GrantId(grant), part, why).await?;
        Ok(VoidedGrant::of(grant, &balance))
    };
    answer(&request, work.await)
}
