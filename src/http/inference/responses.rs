//! `/v1/responses`: a request may continue responses or a conversation that are kept here, and its own is kept unless it says `store:
//! false`. Kept responses are read and deleted by their ids. The caller's own key continues what its provider keeps.

use std::{cell::Cell, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header::UPGRADE, rt, web};
use billing::{ids::AccountId, key::Scope};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::oneshot;
use wire::{
    format::openai::{
        Responses,
        responses::{
            conversations::{Conversation, FIELD as CONVERSATION},
            kept::{self, Kept},
        },
    },
    inference::{Continues, Request},
};

use super::{
    Body,
    background::Entered,
    fallbacks::{self, Asking, Reached, Try},
    is_once, max_wait, own_key, read,
    route::Missed,
    run_read, whole, writer,
};
use crate::{
    gateway::serve::{self, Caller, ServeError},
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        query::Query,
        respond::{answer, refuse},
        state::Shared,
        surface::Answer,
        traced,
    },
    kept::{Earlier, KeptError, Responses as KeptResponses, bytes, has_room},
};

/// The most items of a page.
const LARGEST_PAGE: usize = 100;
const USUAL_PAGE: usize = 20;

impl KeptError {
    /// The error where a request names what is not there by this field.
    fn by(self, field: &str) -> ApiError {
        match self {
            Self::NoResponse(_)
            | Self::NoItem(_)
            | Self::NoAnswer(_)
            | Self::NoConversation(_)
            | Self::OfConversation(_)
            | Self::Full(_)
            | Self::Busy(_)
            | Self::TooLong(_) => ApiError::invalid(field, self),
            Self::Ledger(error) => unread(&error),
        }
    }
}

impl From<KeptError> for ApiError {
    fn from(error: KeptError) -> Self {
        match error {
            KeptError::NoResponse(_) => Self::not_found("the response"),
            KeptError::NoItem(_) => Self::not_found("the item"),
            KeptError::NoConversation(_) => Self::not_found("the conversation"),
            KeptError::Busy(_) => Self::overloaded("Others change this conversation just now; try again."),
            KeptError::Full(_) => Self::invalid("items", error),
            KeptError::NoAnswer(_) | KeptError::OfConversation(_) | KeptError::TooLong(_) => Self::invalid("id", error),
            KeptError::Ledger(error) => unread(&error),
        }
    }
}

fn unread(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "kept responses can't be reached");
    ApiError::not_ready("Kept responses can't be reached just now. Nothing was charged.")
}

/// What the answer to a request is kept with.
pub(in crate::http) struct Keeper {
    responses: KeptResponses,
    account: AccountId,
    input: Vec<Box<RawValue>>,
    previous: Option<String>,
    /// The conversation that it is added to.
    conversation: Option<String>,
    /// Whether the response is kept again as it goes on, under an id of ours.
    is_kept_again: bool,
}

impl Keeper {
    /// Whether a response of this id is kept already, which this one must not replace.
    pub(in crate::http) async fn is_taken(&self, id: String) -> bool {
        match self.responses.has(self.account, &id).await {
            Ok(has) => has,
            Err(error) => {
                tracing::warn!(account.id = %self.account, %error, "kept responses can't be read: the id is taken for new");
                false
            }
        }
    }

    /// Forgets a response that its owner deleted while it was made.
    pub(super) async fn forget(&self, id: &str) {
        match self.responses.forget(self.account, id).await {
            Ok(()) | Err(KeptError::NoResponse(_)) => {}
            Err(error) => tracing::warn!(account.id = %self.account, %error, "a deleted response is still kept"),
        }
    }

    /// Keeps a response. One that can't be kept is sent all the same.
    pub(in crate::http) async fn keep(&self, response: String) {
        let Ok(response) = RawValue::from_string(response) else { return };
        let kept = Kept { response, input: self.input.clone() };
        let replaces = self.is_kept_again;
        if let Err(error) = self.responses.keep(self.account, &kept, self.previous.as_deref(), replaces).await {
            tracing::warn!(account.id = %self.account, %error, "a response was not kept");
        }
        // One that failed, or is not done, adds nothing.
        if let Some(conversation) = self.conversation.as_ref().filter(|_| kept.has_answer()) {
            let items: Vec<_> = kept.items().map(|(_, item)| item.to_owned()).collect();
            if let Err(error) = self.responses.add_answer(self.account, conversation, &items).await {
                tracing::warn!(account.id = %self.account, %error, "a response was not added to its conversation");
            }
        }
    }
}

/// `POST /v1/responses`.
pub async fn responses(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let body = whole(&state, &request, body)?;
        if own_key(&request)?.is_some() {
            return run_read::<Responses>(&state, &request, caller, read::<Responses>(&request, &body)?, None).await;
        }
        let most = state.settings.limits.of_body(request.match_info().as_str());
        let read = |body: &[u8]| read::<Responses>(&request, body);
        let (mut asked, keeper) = continued(&state, caller.account_id, most, &body, read).await?;
        asked.source.is_kept = keeper.is_some();
        match (kept::take_background(&mut asked)?, keeper) {
            (Some(wants_stream), Some(keeper)) => {
                let keeper = Keeper { is_kept_again: true, ..keeper };
                in_background(&state, &request, caller, asked, keeper, wants_stream).await
            }
            (_, keeper) => run_read::<Responses>(&state, &request, caller, asked, keeper.map(Arc::new)).await,
        }
    };
    Box::pin(work).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// Admits a request, answers at once, and lets it go on.
async fn in_background(
    state: &Shared,
    request: &HttpRequest,
    caller: Caller,
    asked: Request,
    keeper: Keeper,
    wants_stream: bool,
) -> Result<HttpResponse, ApiError> {
    let arrival = Arrival::of(request);
    if !state.takes_work() {
        return Err(ApiError::not_ready("stopping"));
    }
    let queued = writer::<Responses>(state, &asked, arrival.id).queued();
    let id = queued["id"].as_str().unwrap_or_default().to_owned();
    let entered = state.backgrounds.enter(caller.account_id, id, queued.clone())?;
    let background = entered.background();
    let asking = Asking {
        id: arrival.id,
        caller,
        request: asked,
        provider_key: None,
        max_wait: max_wait(request)?,
        max_age: None,
        is_once: is_once(request),
        trace: traced::span(request),
    };
    // From here on nothing depends on the connection.
    let (tell, told) = oneshot::channel();
    let (shared, first) = (state.clone(), queued.clone());
    rt::spawn(async move {
        let _detached = shared.count_detached();
        Box::pin(run_in_background(&shared, asking, entered, keeper, first, tell)).await;
    });
    match told.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(ApiError::not_ready("The response could not begin. Nothing was charged.")),
    }
    if wants_stream {
        return background.stream(0, Duration::from_secs(state.settings.http.heartbeat_seconds));
    }
    Ok(answer(request, Ok(queued)))
}

/// Runs a request without its client, which is told once the first of its models has admitted it, or none did.
async fn run_in_background(
    state: &Shared,
    asking: Asking,
    entered: Entered,
    keeper: Keeper,
    queued: Value,
    tell: oneshot::Sender<Result<(), ServeError>>,
) {
    // The response keeps its id, whichever model makes it.
    let (id, asked) = (asking.id, asking.request.clone());
    let (background, tell) = (entered.background(), Cell::new(Some(tell)));
    let attempt = async |Try { job, is_last }: Try| {
        let (request_id, writer) = (job.request_id, writer::<Responses>(state, &job.request, id));
        let started = serve::start(&state.gateway, job).await.map_err(Missed::unheld)?;
        if let Some(tell) = tell.take() {
            keeper.keep(queued.to_string()).await;
            drop(tell.send(Ok(())));
        }
        background.runs(&started.cancel);
        let mut answer = Answer::new(writer, started.updates, request_id);
        if !is_last {
            answer.begun().await.map_err(Missed::settled)?;
        }
        // The last was not waited for.
        Ok(Reached { answer, waited: (!is_last).then_some(started.admission) })
    };
    let answer = match Box::pin(fallbacks::ask(state, asking, attempt)).await {
        Ok(answered) => answered.answer,
        Err(error) => match tell.take() {
            Some(tell) => return drop(tell.send(Err(*error))),
            None => Answer::failed(writer::<Responses>(state, &asked, id), error, id),
        },
    };
    entered.follow(answer, Arc::new(keeper)).await;
}

/// Has a request read with all that it continues, in at most so many bytes, and says how its answer is kept.
pub(in crate::http) async fn continued(
    state: &Shared,
    account: AccountId,
    most: usize,
    body: &[u8],
    read: impl Fn(&[u8]) -> Result<Request, ApiError>,
) -> Result<(Request, Option<Keeper>), ApiError> {
    let responses = state.responses.clone();
    let keeper = |previous, conversation, input| {
        let responses = responses.clone();
        Keeper { responses, account, input, previous, conversation, is_kept_again: false }
    };
    let Some(named) = kept::named(body)? else {
        let asked = read(body)?;
        let keeps = kept::is_wanted(&asked.source.body)?;
        let keeper = keeps.then(|| keeper(None, None, kept::input(&asked.source.body)));
        return Ok((asked, keeper));
    };
    let earlier = responses.earlier(account, &named, most).await;
    let field = if named.previous.is_some() { kept::PREVIOUS } else { "input" };
    let Earlier { responses: before, items } = earlier.map_err(|error| error.by(field))?;
    let kept::Named { previous, conversation, .. } = named;
    let found = match &conversation {
        Some(id) => Some(responses.conversation(account, id).await.map_err(|error| error.by(CONVERSATION))?),
        None => None,
    };
    let of_responses = before.iter().flat_map(Kept::items).map(|(_, item)| item);
    let before: Vec<&RawValue> = of_responses.chain(found.iter().flat_map(Conversation::items)).collect();
    let (body, own) = kept::continued(body, &before, &items, most)?;
    if let Some(conversation) = &found {
        has_room(conversation, bytes(&own)).map_err(|error| error.by(CONVERSATION))?;
    }
    let mut asked = read(&body)?;
    let of_conversation = conversation.as_deref().map(|id| Continues::Conversation(id.into()));
    asked.source.continues = previous.as_deref().map(|id| Continues::Response(id.into())).or(of_conversation);
    let keeper = kept::is_wanted(&asked.source.body)?.then(|| keeper(previous, conversation, own));
    Ok((asked, keeper))
}

/// `GET /v1/responses`. Agents ask first whether responses come over a WebSocket; told at once that they don't, they use
/// HTTP.
pub async fn responses_upgrade(request: HttpRequest) -> HttpResponse {
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let error = if wants_upgrade { ApiError::no_upgrade() } else { ApiError::method_not_allowed() };
    refuse(&request, &error)
}

/// `GET /v1/responses/{id}`.
pub async fn response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let query = Query::of(&request, &["stream", "starting_after", "include", "include[]", "include_obfuscation"])?;
        let background = state.backgrounds.find(caller.account_id, &id);
        let wants_stream = match query.get("stream") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiError::invalid("stream", "must be true or false")),
        };
        let after = query.get("starting_after").map(str::parse::<usize>).transpose();
        let after = after.map_err(|_| ApiError::invalid("starting_after", "must be the number of an event"))?;
        match (background, wants_stream) {
            (Some(background), true) => {
                let heartbeat = Duration::from_secs(state.settings.http.heartbeat_seconds);
                background.stream(after.map_or(0, |after| after.saturating_add(1)), heartbeat)
            }
            (Some(background), false) => Ok(answer(&request, Ok(background.response()))),
            (None, true) => {
                state.responses.find(caller.account_id, &id).await?;
                Err(ApiError::invalid("stream", "is for responses in the background, while they run and shortly after"))
            }
            (None, false) => Ok(answer(&request, Ok(ended(&state, caller.account_id, &id).await?))),
        }
    };
    work.await.unwrap_or_else(|error| refuse(&request, &error))
}

/// A response that does not run.
async fn ended(state: &Shared, account: AccountId, id: &str) -> Result<Value, ApiError> {
    let (kept, _) = state.responses.find(account, id).await?;
    let mut response = serde_json::from_str(kept.response.get()).unwrap_or_default();
    kept::fail_unfinished(&mut response);
    Ok(response)
}

/// `DELETE /v1/responses/{id}`.
pub async fn delete_response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let was_running = state.backgrounds.forget(caller.account_id, &id);
        match state.responses.forget(caller.account_id, &id).await {
            Err(KeptError::NoResponse(_)) if was_running => {}
            done => done?,
        }
        Ok(json!({"id": *id, "object": "response", "deleted": true}))
    };
    answer(&request, work.await)
}

/// `POST /v1/responses/{id}/cancel`: ends a response in the background. It is charged as where a client leaves.
pub async fn cancel_response(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        if let Some(background) = state.backgrounds.find(caller.account_id, &id) {
            return Ok(background.cancel());
        }
        let response = ended(&state, caller.account_id, &id).await?;
        if response["background"] != true {
            return Err(ApiError::invalid("id", "names a response that was not made in the background"));
        }
        // It has ended: so it stays.
        Ok(response)
    };
    answer(&request, work.await)
}

/// `GET /v1/responses/{id}/input_items`: the items of its request and of those before, newest first.
pub async fn input_items(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let (kept, previous) = state.responses.find(caller.account_id, &id).await?;
        let named = kept::Named { previous, ..kept::Named::default() };
        let most = state.settings.limits.of_body(request.match_info().as_str());
        let before = state.responses.earlier(caller.account_id, &named, most).await.map_err(|error| error.by("id"))?;
        let before = before.responses;
        let earlier = before.iter().flat_map(|kept| kept.items().map(|(_, item)| item));
        page(&request, kept::listed(earlier.chain(kept.input.iter().map(|item| &**item)), &id))
    };
    answer(&request, work.await)
}

/// A part of a list of items.
pub(super) struct Page<'a> {
    pub(super) items: &'a [Value],
    /// How many stand before the page.
    pub(super) after: usize,
    /// The most items of the page.
    pub(super) limit: usize,
}

impl Page<'_> {
    /// The page as clients read it.
    pub(super) fn list(&self) -> Value {
        let page: Vec<_> = self.items.iter().skip(self.after).take(self.limit).collect();
        let id_of = |item: Option<&&Value>| item.map(|item| item["id"].clone());
        json!({
            "object": "list",
            "first_id": id_of(page.first()),
            "last_id": id_of(page.last()),
            "has_more": self.items.len() > self.after + page.len(),
            "data": page,
        })
    }
}

/// The page of these items, oldest first, that a query asks for.
pub(super) fn page(request: &HttpRequest, mut items: Vec<Value>) -> Result<Value, ApiError> {
    let query = Query::of(request, &["limit", "order", "after", "include", "include[]"])?;
    let limit = match query.get("limit").map(str::parse) {
        None => USUAL_PAGE,
        Some(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
        Some(_) => {
            return Err(ApiError::invalid("limit", format!("must be a whole number from 1 to {LARGEST_PAGE}")));
        }
    };
    match query.get("order") {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::invalid("order", "must be asc or desc")),
    }
    let after = match query.get("after") {
        None => 0,
        Some(after) => {
            let place = items.iter().position(|item| item["id"] == after);
            place.ok_or_else(|| ApiError::invalid("after", "names no item of this list"))? + 1
        }
    };
    Ok(Page { items: &items, after, limit }.list())
}
