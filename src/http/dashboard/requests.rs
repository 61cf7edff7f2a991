//! Ended requests, newest first, and one of them with all that it was charged for; requests that were refused of late, with the
//! limit that refused them; and the button that stops one that runs.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use billing::{Nanos, Timestamp, ids::RequestId, key::Scope, timings::Timings};
use uuid::Uuid;

use super::{
    page::{Frame, Visitor, sent, visited},
    text::{Minute, count, millis, minute},
};
use crate::{
    gateway::{plan::OURS, session},
    http::{
        account::{
            history::{cursor, position},
            requests::{end, refused_of},
        },
        error::ApiError,
        pages::{Empty, to},
        query::Query,
        respond::Body,
        state::Shared,
        values,
        views::running::RefusedRequest,
    },
    service::{
        history::{self, Ended, Range},
        page::Page,
        usage::Only,
    },
};

/// The requests of a page.
const ROWS: u64 = 50;

struct Row {
    id: Uuid,
    ended: Minute,
    model: String,
    provider: String,
    ending: String,
    input: String,
    output: String,
    seconds: String,
    cost: Nanos,
}

impl From<Ended> for Row {
    fn from(ended: Ended) -> Self {
        let took = ended.ended_at.ms_since(ended.started_at);
        Self {
            id: ended.id.0,
            ended: minute(ended.ended_at),
            model: ended.model,
            provider: ended.provider,
            ending: ended.ending,
            input: count(ended.used.input_tokens),
            output: count(ended.used.output_tokens),
            seconds: format!("{}.{}", took / 1_000, took % 1_000 / 100),
            cost: ended.cost,
        }
    }
}

/// A request that was refused.
struct Refusal {
    at: String,
    model: String,
    code: String,
    why: String,
    /// Dollars that lift the limit, and the page that sells them.
    price: Option<(String, String)>,
}

impl From<RefusedRequest> for Refusal {
    fn from(refused: RefusedRequest) -> Self {
        let lifts = |price: String| {
            // What a request lacks may be less than can be bought.
            let sold = refused.code != "insufficient_credits";
            let page = if sold {
                format!("/dashboard/credits?amount={price}#buy")
            } else {
                "/dashboard/credits#buy".to_owned()
            };
            (price, page)
        };
        Self {
            at: refused.at.to_string().chars().take(19).collect::<String>().replace('T', " "),
            model: refused.model,
            code: refused.code.replace('_', " "),
            why: refused.message,
            price: refused.price.map(lifts),
        }
    }
}

/// The refusals that a page shows.
const REFUSALS: usize = 20;

#[derive(Template)]
#[template(path = "dashboard/requests.html")]
struct Requests {
    frame: Frame,
    refusals: Vec<Refusal>,
    model: String,
    session: String,
    rows: Vec<Row>,
    next: Option<String>,
}

/// `GET /dashboard/requests`.
pub(super) async fn requests(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| listed(&state, &request, visitor).await).await
}

async fn listed(state: &Shared, request: &HttpRequest, visitor: &Visitor) -> Result<Requests, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let query = Query::of_form(request, &["model", "session", "cursor"])?;
    let model = query.get("model").unwrap_or_default().trim().to_owned();
    let session = query.get("session").map(str::trim).and_then(session::filter);
    let only = Only {
        model: Some(model.clone()).filter(|model| !model.is_empty()),
        session: session.clone(),
        ..Only::default()
    };
    let session = session.unwrap_or_default();
    let range = Range { account, from: Timestamp(0), to: state.service.now().plus_ms(1), only };
    let before = query.get("cursor").map(position).transpose()?;
    let found = history::requests(&state.service, range, Page { before, limit: ROWS }).await?;
    let next = found.next.and_then(|next| {
        serde_urlencoded::to_string([("model", &model), ("session", &session), ("cursor", &cursor(next))]).ok()
    });
    let rows = found.rows.into_iter().map(Row::from).collect();
    let refusals = refused_of(state, account, None).into_iter().take(REFUSALS).map(Refusal::from).collect();
    Ok(Requests { frame: visitor.frame("Requests"), refusals, model, session, rows, next })
}

struct Part {
    key: String,
    amount: u64,
    rate: String,
    cost: String,
}

struct Attempt {
    began: Minute,
    model: String,
    outcome: String,
    charged: Nanos,
}

/// A stage of a request.
struct Stage {
    name: &'static str,
    took: String,
}

/// The stages of a request, in their order. Waits that there was none of are left out.
fn stages(timings: Timings, is_open: bool) -> Vec<Stage> {
    let Timings { admission_ms, load_ms, queue_ms, run_ms, first_ms } = timings;
    let waits = [("Load of the model", load_ms), ("Behind other requests", queue_ms)];
    let run = if is_open { "Computing" } else { "At the provider" };
    let all = [("Admission: the waiting line and the ledger’s log", admission_ms)]
        .into_iter()
        .chain(waits.into_iter().filter(|(_, took)| *took > 0))
        .chain([(run, run_ms)])
        .chain(first_ms.map(|first| ("From admission to the first piece of the answer", first)));
    all.map(|(name, took)| Stage { name, took: millis(took) }).collect()
}

struct Drawn {
    source: String,
    expires: Minute,
    amount: Nanos,
}

#[derive(Template)]
#[template(path = "dashboard/request.html")]
struct One {
    frame: Frame,
    id: Uuid,
    model: String,
    session: Option<String>,
    provider: String,
    ending: String,
    began: Minute,
    ended: Minute,
    base: String,
    fee: String,
    cost: Nanos,
    price_version: i64,
    quantities: Vec<Part>,
    attempts: Vec<Attempt>,
    drawn: Vec<Drawn>,
    /// What no grant paid.
    owed: Nanos,
    stages: Vec<Stage>,
}

/// `GET /dashboard/requests/{id}`.
pub(super) async fn request(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    visited(&state, &request, async |visitor| one(&state, visitor, &id).await).await
}

async fn one(state: &Shared, visitor: &Visitor, id: &str) -> Result<One, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let id = RequestId(values::id("id", id, "must be an id")?);
    let ended = history::request(&state.service, account, None, id).await?;
    let attempts = history::attempts(&state.service, account, &ended).await?;
    let drawn = history::drawn(&state.service, account, id).await?;
    let owed = drawn.iter().fold(ended.cost, |owed, drawn| owed - drawn.amount);
    let is_open = ended.provider == OURS;
    let dollars = |text: Option<String>| text.map_or_else(|| "–".to_owned(), |text| format!("${text}"));
    Ok(One {
        frame: visitor.frame("Request"),
        id: id.0,
        model: ended.model,
        session: ended.session,
        provider: ended.provider,
        ending: ended.ending,
        began: minute(ended.started_at),
        ended: minute(ended.ended_at),
        base: ended.base_cost,
        fee: ended.fee,
        cost: ended.cost,
        price_version: ended.price_version,
        quantities: ended
            .quantities
            .into_iter()
            .map(|part| Part {
                key: part.key.to_string(),
                amount: part.amount,
                rate: dollars(part.rate.map(|rate| rate.to_string())),
                cost: dollars(part.cost),
            })
            .collect(),
        attempts: attempts
            .into_iter()
            .map(|attempt| Attempt {
                began: minute(attempt.started_at),
                model: attempt.model,
                outcome: attempt.outcome,
                charged: attempt.charged,
            })
            .collect(),
        drawn: drawn
            .into_iter()
            .map(|drawn| Drawn { source: drawn.source, expires: minute(drawn.expires_at), amount: drawn.amount })
            .collect(),
        owed,
        stages: ended.timings.map_or_else(Vec::new, |timings| stages(timings, is_open)),
    })
}

/// `POST /dashboard/requests/{id}/stop`: ends a running request as if its client had left.
pub(super) async fn stop(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let stop = async |visitor: &Visitor, Empty {}| {
        let id = RequestId(values::id("id", &id, "must be an id")?);
        let caller = visitor.caller;
        let only = (!caller.scopes.has(Scope::Read)).then_some(caller.key_id);
        end(&state, caller.account_id, only, id)?;
        Ok(to("/dashboard"))
    };
    let again = async |_: &Visitor, error: ApiError| super::page::failed(&request, &error);
    sent(&state, &request, body, Scope::Inference, stop, again).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_rows_leads_on_where_there_are_older_ones() {
        let page = |next: Option<&str>| {
            let (model, next) = ("gpt-4o".to_owned(), next.map(str::to_owned));
            let (frame, session) = (Frame::of_stranger("Requests"), String::new());
            Requests { frame, refusals: Vec::new(), model, session, rows: Vec::new(), next }.render().unwrap()
        };
        let older = page(Some("model=gpt-4o&cursor=7"));
        assert!(older.contains("there is none on this model") && older.contains("Older requests"), "{older}");
        assert!(!older.contains("No request has ended"), "{older}");
        let none = page(None);
        assert!(none.contains("No request has ended on this model yet") && !none.contains("Older requests"), "{none}");
    }
}
