//! The overview: the balance, how long it lasts, what more credits unlock, what runs now.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::{
    Nanos,
    key::Scope,
    member::{Act, Role},
    time::DAY_MS,
};
use uuid::Uuid;

use super::{
    page::{Frame, Visitor, visited},
    text::{Minute, minute},
};
use crate::{
    http::{error::ApiError, query::Query, state::Shared},
    service::{
        accounts,
        history::{self, Range},
        page::Page,
        people::members,
        usage::{self, Grouping, Only, Span},
    },
};

/// The days whose spending tells how long the credits last.
const LOOKED_BACK: i64 = 7;

struct Step {
    buy: Nanos,
    largest: &'static str,
    units: String,
}

struct Run {
    id: Uuid,
    since: Minute,
    model: String,
    provider: String,
    accrued: Nanos,
    held: Nanos,
}

#[derive(Template)]
#[template(path = "dashboard/overview.html")]
struct Overview {
    frame: Frame,
    email: String,
    plan: &'static str,
    /// Since when an operator has the account admit no requests.
    frozen: Option<Minute>,
    available: Nanos,
    held: Nanos,
    debt: Nanos,
    units_used: String,
    units: String,
    expiry: Option<(Minute, Nanos)>,
    burn: String,
    purchased: Nanos,
    largest: &'static str,
    ladder: Vec<Step>,
    running: Vec<Run>,
    /// Whether the key may end requests.
    may_stop: bool,
    /// What members ask for, for who may buy.
    wishes: Vec<(Minute, String)>,
    may_ask: bool,
    has_asked: bool,
}

/// `GET /dashboard`.
pub(super) async fn overview(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor).await).await
}

async fn made(state: &Shared, request: &HttpRequest, visitor: &Visitor) -> Result<Overview, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let has_asked = Query::of_form(request, &["said"])?.get("said") == Some("asked");
    let owns = visitor.role() == Some(Role::Owner);
    let wishes = if owns { members::wishes(&state.service, account).await? } else { Vec::new() };
    let wish = |wish: members::Wish| {
        let what = if wish.wants == "limit" { "a higher limit" } else { "credits" };
        (minute(wish.at), format!("{} asks for {what}.", wish.by))
    };
    let whole = accounts::whole(&state.service, account).await?;
    let balance = &whole.picture.balance;
    let (from, to) = (whole.now.plus_ms(-LOOKED_BACK * DAY_MS), whole.now.plus_ms(1));
    let range = Range { account, from, to, only: Only::default() };
    let grouping = Grouping { span: Some(Span::Day), by: Vec::new() };
    let spent = usage::usage(&state.service, range, &grouping, Page { before: None, limit: 1 }).await?;
    let spent = spent.total.map_or(Nanos::ZERO, |total| total.cost);
    let holds = history::holds(&state.service, account, None).await?;
    let running = holds.shown.into_iter().map(|hold| Run {
        id: hold.request_id.0,
        since: minute(hold.placed_at),
        model: hold.model.to_string(),
        provider: hold.provider.to_string(),
        accrued: hold.accrued,
        held: hold.total(),
    });
    Ok(Overview {
        frame: visitor.frame("Overview"),
        plan: whole.picture.header.plan.name(),
        frozen: whole.picture.header.frozen_at.map(minute),
        available: balance.available,
        held: balance.held,
        debt: balance.debt,
        units_used: balance.units_used.to_string(),
        units: balance.tier.units.to_string(),
        expiry: balance.next_expiry.map(|(at, amount)| (minute(at), amount)),
        burn: lasts(balance.available, spent),
        purchased: balance.purchased,
        largest: balance.tier.largest.name(),
        ladder: whole
            .next_tiers
            .iter()
            .map(|next| Step { buy: next.buy, largest: next.tier.largest.name(), units: next.tier.units.to_string() })
            .collect(),
        running: running.collect(),
        may_stop: visitor.caller.scopes.has(Scope::Inference),
        wishes: wishes.into_iter().map(wish).collect(),
        may_ask: visitor.role().is_some_and(|role| role.may(Act::Ask)),
        has_asked,
        email: whole.email,
    })
}

/// How long credits last at the spending of the last days, in words.
fn lasts(available: Nanos, spent: Nanos) -> String {
    if spent <= Nanos::ZERO {
        return format!("Nothing was spent in the last {LOOKED_BACK} days.");
    }
    let days = available.get().max(0).saturating_mul(LOOKED_BACK) / spent.get();
    let rate = format!("${spent} were spent in the last {LOOKED_BACK} days");
    match days {
        0 => format!("{rate}: at that rate the credits end within a day."),
        1 => format!("{rate}: at that rate the credits last one more day."),
        days if days > 365 => format!("{rate}: at that rate the credits last for more than a year."),
        days => format!("{rate}: at that rate the credits last {days} more days."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_credits_last_is_said_in_words() {
        let dollars = Nanos::dollars;
        let says = |available, spent| lasts(dollars(available), dollars(spent));
        assert_eq!(says(10, 0), "Nothing was spent in the last 7 days.");
        assert!(says(0, 7).ends_with("end within a day."));
        assert!(says(1, 7).ends_with("last one more day."));
        assert!(says(10, 7).ends_with("last 10 more days."));
        assert!(says(1_000, 1).ends_with("more than a year."));
    }
}
