//! `/v1/balance/alerts` and `/v1/keys/{key}/alerts`: the balances below which an account's owner is told, and the parts of a key's
//! limits.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{ids::KeyId, key::Scope};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read},
        state::Shared,
        values::{amount, id},
        views::{
            alerts::{BalanceAlerts, KeyAlerts},
            scalar::Amount,
        },
    },
    service::alerts,
};

/// `GET /v1/balance/alerts`.
pub async fn balance(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Query::of(&request, &[])?;
        Ok(BalanceAlerts::from(alerts::lines(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

/// The balances below which the owner is told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetBalanceAlerts)]
pub struct SetBalance {
    /// At most 10; none of them: never; null: the usual one, $0.25, or the threshold of auto-reload.
    #[schema(value_type = Option<Vec<Amount>>)]
    lines: Option<Vec<Value>>,
}

/// `PUT /v1/balance/alerts`.
pub async fn set_balance(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let SetBalance { lines } = read(&state, body)?;
        let line = |(place, line): (usize, &Value)| amount(&format!("lines[{place}]"), line);
        let lines =
            lines.map(|lines| lines.iter().enumerate().map(line).collect::<Result<_, ApiError>>()).transpose()?;
        Ok(BalanceAlerts::from(alerts::set_lines(&state.service, caller.account_id, lines).await?))
    };
    answer(&request, work.await)
}

/// The parts of a key's limits that the owner is told of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetKeyAlerts)]
pub struct SetKey {
    /// In percent, 1 to 100; at most 5; none of them: never.
    #[schema(max_items = 5)]
    percents: Vec<u8>,
}

/// `PUT /v1/keys/{key}/alerts`.
pub async fn set_key(state: Shared, request: HttpRequest, key: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Keys).await?;
        let (id, SetKey { percents }) = (id("key", &key, "must be a key's id")?, read(&state, body)?);
        alerts::set_percents(&state.service, caller.account_id, KeyId(id), percents.clone()).await?;
        Ok(KeyAlerts { id, percents })
    };
    answer(&request, work.await)
}
