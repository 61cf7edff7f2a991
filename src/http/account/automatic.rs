//! `/v1/auto-reload` and `/v1/auto-scale`: the owner's settings of automatic purchases, and the month's spending.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        auth,
        respond::{Body, answer, read},
        state::Shared,
        values::amount_given,
        views::{
            account::{AutoReload, AutoScale},
            scalar::Amount,
        },
    },
    service::automatic,
};

/// `GET /v1/auto-reload`.
pub async fn reload(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(AutoReload::from(&automatic::look(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

/// A change of auto-reload. Settings that are not named stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetAutoReload)]
pub struct SetReload {
    enabled: Option<bool>,
    #[schema(value_type = Option<Amount>)]
    threshold: Option<Value>,
    #[schema(value_type = Option<Amount>)]
    amount: Option<Value>,
    #[schema(value_type = Option<Amount>)]
    monthly_max: Option<Value>,
    payment_method: Option<String>,
}

/// `PUT /v1/auto-reload`. Settings that are not named stay as they are.
pub async fn set_reload(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let SetReload { enabled, threshold, amount, monthly_max, payment_method } = read(&state, body)?;
        let wanted = automatic::Reload {
            enabled,
            threshold: amount_given("threshold", threshold.as_ref())?,
            amount: amount_given("amount", amount.as_ref())?,
            monthly_max: amount_given("monthly_max", monthly_max.as_ref())?,
            payment_method,
        };
        Ok(AutoReload::from(&automatic::set_reload(&state.service, caller.account_id, wanted).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/auto-scale`.
pub async fn scale(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(AutoScale::from(&automatic::look(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

/// A change of `autoScale`. Settings that are not named stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetAutoScale)]
pub struct SetScale {
    enabled: Option<bool>,
    #[schema(value_type = Option<Amount>)]
    max_monthly_spend: Option<Value>,
}

/// `PUT /v1/auto-scale`. Settings that are not named stay as they are.
pub async fn set_scale(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let SetScale { enabled, max_monthly_spend } = read(&state, body)?;
        let most = amount_given("max_monthly_spend", max_monthly_spend.as_ref())?;
        Ok(AutoScale::from(&automatic::set_scale(&state.service, caller.account_id, enabled, most).await?))
    };
    answer(&request, work.await)
}
