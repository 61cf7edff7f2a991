//! The description of each route: authentication, input, answer. In the order of the document.

use billing::key::Scope;
use utoipa::openapi::{RefOr, schema::Schema};

use super::{
    coheres, conversations, gemini, inference, media as schemas,
    operation::{Operation, Takes, delete, get, post, put},
    operators,
};
use crate::http::{
    account::{alerts, automatic, keys, notifications, payment_methods, payments, subscription, webhooks},
    error::code::Code,
    views::{
        self,
        account::{Account, AutoReload, AutoScale, Standing},
        alerts::{BalanceAlerts, KeyAlerts, Notifications},
        cards::{RemovedCard, Saved, SavedCard, SavedCards},
        history::{EndedRequest, Event, Holds, RequestOutput},
        keys::{Key, NewKey, RevokedKey},
        models::{Model, Quote},
        money::{Balance, Grant},
        operations::Status,
        payments::{EventApplied, Payment, Purchase, WholePayment},
        pools::ModelStatus,
        receipt::Receipt,
        request_receipt::RequestReceipt,
        running::{CancelledRequest, RefusedRequest, RunningRequests},
        signed::Jwks,
        trail::Change,
        usage::Usage,
        webhooks::{DeletedWebhook, Delivery, NewWebhook, Webhook, WebhookTest},
    },
};

const READ: Takes = Takes::Scope(Scope::Read);
const BILLING: Takes = Takes::Scope(Scope::Billing);
const KEYS: Takes = Takes::Scope(Scope::Keys);
pub(super) const INFERENCE: Takes = Takes::Scope(Scope::Inference);
/// The media types of answers.
pub(super) const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// The groups of routes, with their descriptions.
pub(super) const TAGS: [(&str, &str); 7] = [
    ("Inference", "Running models."),
    ("Account", "What an account has, and what its money did."),
    ("Keys", "API keys."),
    ("Billing", "Buying credits: payments, cards, the plan, automatic purchases."),
    ("Webhooks", "Events, sent to an owner's own endpoints."),
    ("Operator", "Whoever runs this gateway."),
    ("Operations", "For whatever watches the process, and for readers of this page."),
];

/// The group of a path.
pub(super) fn tag_of(path: &str) -> &'static str {
    let is_of = |starts: &[&str]| starts.iter().any(|start| path.starts_with(start));
    if is_of(&["/admin/"]) {
        "Operator"
    } else if is_of(&[
        "/v1/chat",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
        "/v1/conversations",
        "/v1/quote",
        "/v1/models",
        "/v1/live",
        "/v1/embeddings",
        "/v1/rerank",
        "/v2/",
        "/v1beta/",
        "/v1/audio",
        "/v1/images",
    ]) {
        "Inference"
    } else if is_of(&["/v1/keys"]) {
        "Keys"
    } else if is_of(&["/v1/webhooks", "/webhooks"]) {
        "Webhooks"
    } else if is_of(&["/v1/credits", "/v1/payment", "/v1/subscription", "/v1/auto-"]) {
        "Billing"
    } else if is_of(&["/v1/"]) {
        "Account"
    } else {
        "Operations"
    }
}

/// All routes.
pub(super) fn all() -> Vec<Operation> {
    let parts = [
        models(),
        conversations::all(),
        cohere(),
        gemini::all(),
        media(),
        account(),
        api_keys(),
        billing(),
        endpoints(),
        operators::accounts(),
        operators::people(),
        operators::operator(),
        #[cfg(feature = "faults")]
        operators::faults(),
        operations(),
    ];
    parts.into_iter().flatten().collect()
}

/// A route that runs a model, with what it may be refused for.
fn charged(operation: Operation) -> Operation {
    operation
        .headers(inference::REQUEST, inference::ANSWER)
        .errors(&[
            Code::ContextLengthExceeded,
            Code::UnpricedModel,
            Code::InsufficientCredits,
            Code::AccountFrozen,
            Code::ModelLocked,
            Code::KeyLimit,
            Code::NotFound,
            Code::ModelNotFound,
            Code::Conflict,
            Code::RateLimit,
            Code::ConcurrencyLimit,
            Code::ModelError,
        ])
        .errors_of_any_status(&[Code::InvalidRequest, Code::ProviderError, Code::Timeout])
}

/// One that answers whole.
pub(super) fn whole(operation: Operation, answer: RefOr<Schema>) -> Operation {
    charged(operation).answers_of(200, JSON, Some(answer))
}

/// One that answers whole, or as a stream.
pub(super) fn run(operation: Operation, (answer, stream): (RefOr<Schema>, RefOr<Schema>)) -> Operation {
    whole(operation, answer).answers_of(200, EVENTS, Some(stream))
}

/// A route that counts the tokens of a prompt.
pub(super) fn counts(operation: Operation, answer: RefOr<Schema>) -> Operation {
    operation
        .headers(inference::REQUEST, &[])
        .errors(&[Code::ContextLengthExceeded, Code::ModelNotFound, Code::NotFound, Code::RateLimit])
        .errors_of_any_status(&[Code::InvalidRequest, Code::ProviderError, Code::Timeout])
        .answers_of(200, JSON, Some(answer))
}

fn models() -> Vec<Operation> {
    vec![
        run(
            post("/v1/chat/completions", INFERENCE, "A chat, answered whole or as a stream")
                .body_of(inference::chat_body()),
            inference::answers(),
        ),
        run(
            post("/v1/completions", INFERENCE, "A text that goes on").body_of(inference::completion_body()),
            inference::answers(),
        ),
        whole(
            post("/v1/embeddings", INFERENCE, "Vectors of texts").body_of(inference::embeddings_body()),
            inference::embeddings(),
        ),
        whole(
            post("/v1/rerank", INFERENCE, "Documents in the order in which they answer a query")
                .body_of(inference::rerank_body()),
            inference::ranking(),
        ),
        run(
            post("/v1/responses", INFERENCE, "A response, answered whole or as typed events")
                .body_of(inference::responses_body()),
            inference::responses(),
        ),
        get("/v1/responses/{id}", INFERENCE, "A response that is kept")
            .query(&["stream", "starting_after", "include", "include[]", "include_obfuscation"])
            .errors(&[Code::NotFound])
            .answers_of(200, JSON, Some(inference::responses().0)),
        delete("/v1/responses/{id}", INFERENCE, "Forgets a response").errors(&[Code::NotFound]).answers_of(
            200,
            JSON,
            Some(inference::forgotten()),
        ),
        get("/v1/responses/{id}/input_items", INFERENCE, "The items that a response answers, newest first")
            .query(&["limit", "order", "after", "include", "include[]"])
            .errors(&[Code::NotFound])
            .answers_of(200, JSON, Some(inference::items())),
        post("/v1/responses/{id}/cancel", INFERENCE, "Ends a response in the background; what was made is charged")
            .errors(&[Code::NotFound])
            .answers_of(200, JSON, Some(inference::responses().0)),
        get("/v1/responses", Takes::Nothing, "Asks for a WebSocket, which is refused at once")
            .errors(&[Code::MethodNotAllowed, Code::UpgradeRequired]),
        run(
            post("/v1/messages", INFERENCE, "A conversation in Anthropic's format, answered whole or as a stream")
                .body_of(inference::messages_body()),
            (inference::message(), inference::events()),
        ),
        counts(
            post("/v1/messages/count_tokens", INFERENCE, "The tokens of a prompt, for nothing")
                .body_of(inference::count_body()),
            inference::counted(),
        ),
        post("/v1/quote", INFERENCE, "What a request would cost, and whether it would be let in")
            .body_of(inference::quote_body())
            .query(&["route"])
            .headers(inference::REQUEST, &[])
            .errors(&[Code::ContextLengthExceeded, Code::UnpricedModel, Code::ModelNotFound, Code::KeyLimit])
            .errors_of_any_status(&[Code::InvalidRequest])
            .answers::<Quote>(),
        get(
            "/v1/models",
            Takes::Key,
            "All models; in Google's words where `x-goog-api-key` or `x-goog-api-client` is sent",
        )
        .lists::<Model>(),
        get("/v1/models/{id}", Takes::Key, "A model").errors(&[Code::ModelNotFound]).answers::<Model>(),
        get("/v1/models/{id}/status", Takes::Key, "How a model stands here: in memory, in line, how fast")
            .errors(&[Code::ModelNotFound])
            .answers::<ModelStatus>(),
        get("/v1/live", Takes::Key, "A WebSocket: requests in every format, and what the account tells (docs/live.md)")
            .query(&["account"])
            .errors(&[Code::InvalidRequest, Code::SocketLimit, Code::FramesForgotten])
            .answers_of(101, JSON, None),
    ]
}

/// Cohere's routes.
fn cohere() -> Vec<Operation> {
    vec![
        run(
            post("/v2/chat", INFERENCE, "A chat in Cohere's format, answered whole or as a stream")
                .body_of(coheres::chat_body()),
            coheres::answers(),
        ),
        whole(
            post("/v2/embed", INFERENCE, "Vectors, in Cohere's format").body_of(coheres::embed_body()),
            coheres::embeddings(),
        ),
        whole(
            post("/v2/rerank", INFERENCE, "Documents in the order in which they answer a query, in Cohere's format")
                .body_of(coheres::rerank_body()),
            coheres::ranking(),
        ),
    ]
}

/// Speech, transcriptions and images.
fn media() -> Vec<Operation> {
    vec![
        schemas::SOUNDS.into_iter().fold(
            charged(
                post("/v1/audio/speech", INFERENCE, "A text that is spoken: its sound as it comes, or events")
                    .body_of(schemas::speech_body()),
            )
            .answers_of(200, EVENTS, Some(schemas::speech_events())),
            |speech, kind| speech.answers_of(200, kind, Some(schemas::sound())),
        ),
        run(
            post("/v1/audio/transcriptions", INFERENCE, "The text of a recording")
                .form_of(schemas::transcription_form()),
            (schemas::transcript(), schemas::transcript_events()),
        )
        .text("text/plain; charset=utf-8"),
        whole(
            post("/v1/audio/translations", INFERENCE, "The text of a recording, in English")
                .form_of(schemas::translation_form()),
            schemas::transcript(),
        )
        .text("text/plain; charset=utf-8"),
        run(
            post("/v1/images/generations", INFERENCE, "Images of a description").body_of(schemas::images_body()),
            (schemas::images(), schemas::image_events()),
        ),
        run(
            post("/v1/images/edits", INFERENCE, "Images that are edited").form_of(schemas::edits_form()),
            (schemas::images(), schemas::edit_events()),
        ),
        post("/v1/images/variations", INFERENCE, "Refused: its provider retired the models that made them"),
    ]
}

fn account() -> Vec<Operation> {
    vec![
        get("/v1/account", READ, "The account: plan, tier, balance, what it buys by itself").answers::<Account>(),
        get("/v1/balance", Takes::Key, "What can be spent").answers::<Balance>(),
        get("/v1/balance/alerts", READ, "The balances below which the owner is told").answers::<BalanceAlerts>(),
        put("/v1/balance/alerts", BILLING, "Set the balances below which the owner is told")
            .body::<alerts::SetBalance>()
            .answers::<BalanceAlerts>(),
        get("/v1/notifications", READ, "What the member who has signed in is told of by mail")
            .errors(&[Code::Forbidden, Code::NotFound])
            .answers::<Notifications>(),
        put("/v1/notifications", READ, "Choose what the member who has signed in is told of by mail")
            .body::<notifications::Set>()
            .errors(&[Code::Forbidden, Code::NotFound])
            .answers::<Notifications>(),
        get(
            "/v1/calendar.ics",
            Takes::Nothing,
            "When credits expire and the plan renews, for programs that follow a calendar",
        )
        .query(&["token"])
        .errors(&[Code::NotFound])
        .text("text/calendar"),
        get("/v1/grants", READ, "Grants of credits").paged().pages::<Grant>(),
        get("/v1/holds", Takes::Key, "What running requests have set aside")
            .errors(&[Code::InvalidRequest])
            .answers::<Holds>(),
        get("/v1/usage", Takes::Key, "What was used, summed")
            .query(&["from", "to", "group_by", "model", "key_id", "member_id", "session", "limit", "cursor"])
            .answers::<Usage>(),
        get("/v1/usage.csv", Takes::Key, "Ended requests, for people who keep books; with `group_by` their sums")
            .query(&["from", "to", "group_by", "model", "key_id", "member_id", "session"])
            .text("text/csv"),
        get("/v1/requests", Takes::Key, "Ended requests")
            .query(&["from", "to", "model", "key_id", "member_id", "session", "limit", "cursor"])
            .pages::<EndedRequest>(),
        get("/v1/requests/running", Takes::Key, "The requests that run at the node that answers, the oldest first")
            .answers::<RunningRequests>(),
        get("/v1/requests/refused", Takes::Key, "The latest requests that the node which answers refused, and why")
            .lists::<RefusedRequest>(),
        get("/v1/requests/{id}", Takes::Key, "An ended request").answers::<EndedRequest>(),
        post("/v1/requests/{id}/cancel", INFERENCE, "End a running request; what it used is charged")
            .errors(&[Code::NotFound, Code::Conflict])
            .answers::<CancelledRequest>(),
        get("/v1/requests/{id}/receipt", Takes::Key, "An ended request's receipt, signed")
            .answers::<RequestReceipt>()
            .text("application/jose"),
        get("/v1/requests/{id}/output", Takes::Key, "The answer of a request that was detached from its live socket")
            .errors(&[Code::Conflict])
            .answers::<RequestOutput>(),
        get("/v1/status/line", Takes::Key, "How the account stands, in one line for a terminal").text("text/plain"),
        get("/v1/events/stream", Takes::Key, "What a live socket's topics tell, as server-sent events")
            .query(&["topics"])
            .errors(&[Code::SocketLimit])
            .text(EVENTS),
        get("/v1/audit-log", READ, "Who changed what of the account").paged().pages::<Change>(),
        get("/v1/events", READ, "What the account was told").query(&["kind", "limit", "cursor"]).pages::<Event>(),
    ]
}

fn api_keys() -> Vec<Operation> {
    vec![
        get("/v1/keys", Takes::Key, "API keys, newest first").paged().pages::<Key>(),
        post("/v1/keys", KEYS, "Make a key; its text is shown once")
            .body::<keys::Wanted>()
            .errors(&[Code::Conflict, Code::NotFound])
            .answers::<NewKey>(),
        delete("/v1/keys/{key}", KEYS, "Revoke a key").answers::<RevokedKey>(),
        put("/v1/keys/{key}/alerts", KEYS, "Set the parts of a key's limits that the owner is told of")
            .body::<alerts::SetKey>()
            .answers::<KeyAlerts>(),
    ]
}

fn billing() -> Vec<Operation> {
    let charged = [Code::PaymentDeclined, Code::CardRefused, Code::Conflict, Code::NotFound];
    vec![
        post("/v1/credits/purchase", BILLING, "Buy credits")
            .body::<payments::Purchase>()
            .errors(&charged)
            .answers::<Purchase>()
            .answers_with::<Purchase>(202),
        get("/v1/payments", READ, "Payments").paged().pages::<Payment>(),
        get("/v1/payments/{id}", READ, "A payment, with its refunds and disputes").answers::<WholePayment>(),
        get("/v1/payments/{id}/receipt", READ, "A receipt, signed, as JSON or as a page")
            .errors(&[Code::Conflict])
            .answers::<Receipt>()
            .text("text/html")
            .text("application/jose"),
        post("/v1/payments/{id}/authenticate", BILLING, "With test cards: answer as the card's owner")
            .body::<payments::Authenticate>()
            .errors(&charged)
            .answers::<Payment>(),
        get("/v1/payment-methods", READ, "Saved cards").answers::<SavedCards>(),
        post("/v1/payment-methods", BILLING, "Save a card")
            .body::<payment_methods::Save>()
            .errors(&charged)
            .answers::<Saved>(),
        delete("/v1/payment-methods/{id}", BILLING, "Remove a saved card").answers::<RemovedCard>(),
        put("/v1/payment-methods/{id}/default", BILLING, "Make a saved card the default").answers::<SavedCard>(),
        get("/v1/subscription", READ, "The subscription").answers::<Standing>(),
        post("/v1/subscription", BILLING, "Subscribe, or let a cancelled subscription go on")
            .body::<subscription::Subscribe>()
            .errors(&charged)
            .answers::<Standing>()
            .answers_with::<Purchase>(202),
        delete("/v1/subscription", BILLING, "Cancel the subscription")
            .errors(&[Code::Conflict, Code::NotFound])
            .answers::<Standing>(),
        get("/v1/auto-reload", READ, "Auto-reload").answers::<AutoReload>(),
        put("/v1/auto-reload", BILLING, "Change auto-reload")
            .body::<automatic::SetReload>()
            .errors(&[Code::Conflict])
            .answers::<AutoReload>(),
        get("/v1/auto-scale", READ, "AutoScale").answers::<AutoScale>(),
        put("/v1/auto-scale", BILLING, "Change autoScale")
            .body::<automatic::SetScale>()
            .errors(&[Code::Conflict])
            .answers::<AutoScale>(),
    ]
}

fn endpoints() -> Vec<Operation> {
    vec![
        get("/v1/webhooks", BILLING, "Webhooks").errors(&[Code::InvalidRequest]).lists::<Webhook>(),
        post("/v1/webhooks", BILLING, "Make a webhook; its secret is shown once")
            .body::<webhooks::Wanted>()
            .errors(&[Code::Conflict, Code::NotFound])
            .answers::<NewWebhook>(),
        get("/v1/webhooks/{id}", BILLING, "A webhook").answers::<Webhook>(),
        put("/v1/webhooks/{id}", BILLING, "Turn a webhook on or off").body::<webhooks::Turn>().answers::<Webhook>(),
        delete("/v1/webhooks/{id}", BILLING, "Delete a webhook").answers::<DeletedWebhook>(),
        post("/v1/webhooks/{id}/test", BILLING, "Call a webhook once").answers::<WebhookTest>(),
        get("/v1/webhooks/{id}/deliveries", BILLING, "Deliveries to a webhook").paged().pages::<Delivery>(),
        post("/webhooks/stripe", Takes::Signature, "What the card processor tells")
            .headers(&[("stripe-signature", "The body's signature.")], &[])
            .body_of(utoipa::openapi::schema::ObjectBuilder::new().into())
            .errors(&[Code::Unauthorized, Code::NotFound, Code::Conflict])
            .answers::<EventApplied>(),
    ]
}

fn operations() -> Vec<Operation> {
    let nobody = Takes::Nothing;
    vec![
        get("/", nobody, "A page for people who open the address").text("text/html"),
        get("/healthz", nobody, "The process lives").answers::<Status>(),
        get("/readyz", nobody, "New work is taken, and can be committed").answers::<Status>(),
        get("/metrics", nobody, "What was recorded, as Prometheus reads it")
            .errors(&[Code::Unauthorized, Code::RateLimit, Code::NotFound])
            .text("text/plain"),
        get("/.well-known/jwks.json", nobody, "The public keys of what is signed").answers::<Jwks>(),
        get("/openapi.json", nobody, "This document").answers_of(
            200,
            "application/json",
            Some(views::scalar::any_object()),
        ),
        get("/docs", nobody, "This document, for people").text("text/html"),
    ]
}
