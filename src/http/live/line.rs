//! `GET /v1/status/line`: one line for a terminal's prompt or status bar, which says how the account stands.

use actix_web::{HttpRequest, HttpResponse, http::header::CACHE_CONTROL};
use billing::{Nanos, account::Balance};

use crate::{
    http::{
        arrival::Arrival,
        auth::{self, Sight},
        error::ApiError,
        query::Query,
        respond::refuse,
        state::Shared,
    },
    service::credits,
};

/// `GET /v1/status/line`.
pub async fn line(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        Query::of(&request, &[])?;
        let picture = credits::look(&state.service, caller.account_id).await?;
        let running = picture.holds.iter().filter(|hold| only.is_none_or(|only| hold.key_id == Some(only))).count();
        Ok::<_, ApiError>(said(&picture.balance, running))
    };
    match work.await {
        Ok(line) => HttpResponse::Ok()
            .insert_header(("x-request-id", Arrival::of(&request).id.to_string()))
            .insert_header((CACHE_CONTROL, "no-store"))
            .content_type("text/plain; charset=utf-8")
            .body(line + "\n"),
        Err(error) => refuse(&request, &error),
    }
}

fn said(balance: &Balance, running: usize) -> String {
    let Balance { available, held, debt, tier, units_used, .. } = balance;
    let of =
        |amount: &Nanos, what: &str| if amount.is_positive() { format!(", ${amount} {what}") } else { String::new() };
    let (held, debt) = (of(held, "held"), of(debt, "owed"));
    format!("${available}{held}{debt} | {running} running | {units_used}/{} permits", tier.units)
}

#[cfg(test)]
mod tests {
    use billing::class::Units;

    use super::*;

    #[test]
    fn what_is_not_is_not_said() {
        let tier = billing::tier::Tier::reached_by(Nanos::dollars(3));
        let mut balance = Balance {
            available: Nanos::dollars(5),
            held: Nanos::ZERO,
            debt: Nanos::ZERO,
            next_expiry: None,
            purchased: Nanos::dollars(3),
            tier,
            units_used: Units::default(),
        };
        assert_eq!(said(&balance, 0), "$5.00 | 0 running | 0/4 permits");
        (balance.held, balance.debt) = (Nanos::dollars(1), Nanos::dollars(2));
        assert_eq!(said(&balance, 2), "$5.00, $1.00 held, $2.00 owed | 2 running | 0/4 permits");
    }
}
