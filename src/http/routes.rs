//! The one table of routes. POST routes are made by [`post`] or [`act`], which add `Idempotency-Key`; a test checks
//! that. Requests run detached and go on when their client leaves, except for inference, which has rules of its own.

use super::{
    account::{
        alerts, automatic, balance, calendar, history, keys, notifications, payment_methods, payments, receipt,
        requests, subscription, trail, usage, usage_csv, webhooks,
    },
    admin, dashboard,
    error::ApiError,
    idempotency::{act, post},
    inference,
    inference::{cohere, conversations, gemini, responses},
    landing::landing,
    live, openapi, operations, operator,
    relay::{of_its_node, of_its_request, relayed},
    respond::refuse,
    state::Shared,
    stripe,
};
use actix_web::{
    Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    error::ErrorInternalServerError,
    web,
};

/// All routes, limits and fallbacks.
pub fn configure(app: &mut web::ServiceConfig, state: &Shared) {
    let limits = &state.settings.limits;
    // The edge has each route's own.
    let limit = limits.body_bytes.max(limits.long_body_bytes);
    app.app_data(state.clone())
        .app_data(web::PayloadConfig::new(limit))
        .service(relayed(post("/v1/chat/completions", inference::chat)))
        .service(relayed(post("/v1/completions", inference::completions)))
        .service(relayed(post("/v1/embeddings", inference::embeddings)))
        .service(relayed(post("/v1/rerank", inference::rerank)))
        .service(post("/v1/audio/speech", inference::speech))
        .service(post("/v1/audio/transcriptions", inference::transcriptions))
        .service(post("/v1/audio/translations", inference::translations))
        .service(post("/v1/images/generations", inference::images))
        .service(post("/v1/images/edits", inference::image_edits))
        .service(post("/v1/images/variations", inference::image_variations))
        .service(relayed(
            post("/v1/responses", responses::responses).route(web::get().to(responses::responses_upgrade)),
        ))
        .service(relayed(post("/v1/messages", inference::messages)))
        .service(relayed(post("/v2/chat", cohere::chat)))
        .service(relayed(post("/v2/embed", cohere::embed)))
        .service(relayed(post("/v2/rerank", cohere::rerank)))
        .service(relayed(post("/v1beta/models/{model:.+}:generateContent", gemini::generate)))
        .service(relayed(post("/v1beta/models/{model:.+}:streamGenerateContent", gemini::stream)))
        .service(relayed(post("/v1beta/models/{model:.+}:embedContent", gemini::embed)))
        .service(relayed(post("/v1beta/models/{model:.+}:batchEmbedContents", gemini::embed_many)))
        .service(relayed(post("/v1/models/{model:.+}:generateContent", gemini::generate)))
        .service(relayed(post("/v1/models/{model:.+}:streamGenerateContent", gemini::stream)))
        .service(relayed(post("/v1/models/{model:.+}:embedContent", gemini::embed)))
        .service(relayed(post("/v1/models/{model:.+}:batchEmbedContents", gemini::embed_many)))
        .service(web::scope("").wrap_fn(detached).configure(configure_others));
}

/// Conversations that responses go on from.
fn configure_conversations(app: &mut web::ServiceConfig) {
    app.service(post("/v1/conversations", conversations::begin))
        .service(
            post("/v1/conversations/{id}", conversations::change)
                .route(web::get().to(conversations::read))
                .route(web::delete().to(conversations::end)),
        )
        .service(post("/v1/conversations/{id}/items", conversations::add).route(web::get().to(conversations::list)))
        .service(
            web::resource("/v1/conversations/{id}/items/{item}")
                .route(web::get().to(conversations::item))
                .route(web::delete().to(conversations::remove))
                .default_service(wrong_method()),
        );
}

/// All routes except inference.
fn configure_others(app: &mut web::ServiceConfig) {
    app.service(get("/", landing))
        .service(relayed(post("/v1/quote", inference::quote)))
        .service(relayed(post("/v1/messages/count_tokens", inference::count_tokens)))
        .service(of_its_node(
            web::resource("/v1/responses/{id}")
                .route(web::get().to(responses::response))
                .route(web::delete().to(responses::delete_response))
                .default_service(wrong_method()),
        ))
        .service(get("/v1/responses/{id}/input_items", responses::input_items))
        .service(of_its_node(post("/v1/responses/{id}/cancel", responses::cancel_response)))
        .configure(configure_conversations)
        .service(relayed(post("/v1beta/models/{model:.+}:countTokens", gemini::count_tokens)))
        .service(relayed(post("/v1/models/{model:.+}:countTokens", gemini::count_tokens)))
        .service(get("/v1beta/models", inference::google_models))
        .service(relayed(get("/v1beta/models/{id:.+}", inference::google_model)))
        .service(get("/v1/models", inference::models))
        .service(relayed(get("/v1/models/{id:.+}/status", inference::model_status)))
        .service(relayed(get("/v1/models/{id:.+}", inference::model)))
        .service(get("/v1/balance", balance::balance))
        .configure(configure_alerts)
        .service(get("/v1/grants", balance::grants))
        .service(get("/v1/holds", history::holds))
        .service(get("/v1/usage", usage::usage))
        .service(get("/v1/usage.csv", usage_csv::usage_csv))
        .service(get("/v1/requests", history::requests))
        .service(get("/v1/requests/running", requests::running))
        .service(get("/v1/requests/refused", requests::refused))
        .service(get("/v1/requests/{id}", history::request))
        .service(of_its_request(post("/v1/requests/{id}/cancel", requests::cancel)))
        .service(get("/v1/requests/{id}/receipt", receipt::request_receipt))
        .service(of_its_request(get("/v1/requests/{id}/output", live::output)))
        .service(get("/v1/account", balance::account))
        .service(get("/v1/events", history::events))
        .service(get("/v1/audit-log", trail::list))
        .service(get("/v1/events/stream", live::events))
        .service(get("/v1/status/line", live::line))
        .service(
            act("/v1/subscription", subscription::subscribe)
                .route(web::get().to(subscription::subscription))
                .route(web::delete().to(subscription::cancel)),
        )
        .service(get("/v1/auto-reload", automatic::reload).route(web::put().to(automatic::set_reload)))
        .service(get("/v1/auto-scale", automatic::scale).route(web::put().to(automatic::set_scale)))
        .service(act("/v1/keys", keys::create).route(web::get().to(keys::list)))
        .service(web::resource("/v1/keys/{key}").route(web::delete().to(keys::delete)).default_service(wrong_method()))
        .service(act("/v1/credits/purchase", payments::purchase))
        .configure(configure_payments)
        .configure(configure_webhooks)
        .service(get("/v1/live", live::live))
        .configure(configure_accounts)
        .configure(dashboard::configure)
        .configure(operator::configure)
        .service(get("/admin/v1/overview", admin::overview::overview))
        .service(get("/admin/v1/money", admin::overview::money))
        .service(get("/admin/v1/requests", admin::requests::running))
        .service(of_its_request(get("/admin/v1/requests/{id}/explain", admin::requests::explain)))
        .service(get("/admin/v1/actions", admin::accounts::actions))
        .service(get("/admin/v1/operations", admin::acts::operations))
        .service(post("/admin/v1/providers/{name}/pause", admin::acts::pause))
        .service(post("/admin/v1/providers/{name}/resume", admin::acts::resume))
        .service(post("/admin/v1/actors/restart", admin::acts::restart))
        .service(get("/admin/v1/actors", admin::operations::actors))
        .service(get("/admin/v1/nodes", admin::nodes::nodes))
        .service(get("/admin/v1/pools", admin::models::pools))
        .service(post("/admin/v1/models/{id:.+}/load", admin::models::load))
        .service(post("/admin/v1/models/{id:.+}/unload", admin::models::unload))
        .service(post("/admin/v1/models/{id:.+}/reload", admin::models::reload))
        .service(post("/admin/v1/models/{id:.+}/pin", admin::models::pin))
        .service(post("/admin/v1/models/{id:.+}/unpin", admin::models::unpin))
        .service(post("/admin/v1/models/{id:.+}/drain", admin::models::drain))
        .service(post("/admin/v1/audit", admin::operations::audit))
        .service(post("/admin/v1/clock", admin::operations::clock))
        .service(get("/healthz", operations::healthz))
        .service(get("/readyz", operations::readyz))
        .service(get("/metrics", operations::metrics))
        .service(get("/.well-known/jwks.json", operations::jwks))
        .service(get("/openapi.json", openapi::openapi))
        .service(get("/docs", openapi::docs))
        .default_service(web::to(not_found));
    #[cfg(feature = "faults")]
    app.service(post("/admin/v1/faults", admin::faults::fault));
}

/// What an account's owner and members are told of.
fn configure_alerts(app: &mut web::ServiceConfig) {
    app.service(get("/v1/balance/alerts", alerts::balance).route(web::put().to(alerts::set_balance)))
        .service(get("/v1/calendar.ics", calendar::calendar))
        .service(
            web::resource("/v1/keys/{key}/alerts")
                .route(web::put().to(alerts::set_key))
                .default_service(wrong_method()),
        )
        .service(
            get("/v1/notifications", notifications::notifications)
                .route(web::put().to(notifications::set_notifications)),
        );
}

/// Accounts, for the operator. Lists under `{account}` show what the owner sees elsewhere.
fn configure_accounts(app: &mut web::ServiceConfig) {
    app.service(act("/admin/v1/accounts", admin::accounts::create).route(web::get().to(admin::accounts::list)))
        .service(get("/admin/v1/accounts/{account}", admin::accounts::account))
        .service(act("/admin/v1/accounts/{account}/freeze", admin::accounts::freeze))
        .service(act("/admin/v1/accounts/{account}/unfreeze", admin::accounts::unfreeze))
        .service(act("/admin/v1/accounts/{account}/keys", admin::keys::create).route(web::get().to(keys::list)))
        .service(
            web::resource("/admin/v1/accounts/{account}/keys/{key}")
                .route(web::delete().to(admin::keys::delete))
                .default_service(wrong_method()),
        )
        .service(act("/admin/v1/accounts/{account}/grants", admin::grants::give).route(web::get().to(balance::grants)))
        .service(act("/admin/v1/accounts/{account}/grants/{grant}/void", admin::grants::void))
        .service(get("/admin/v1/accounts/{account}/balance", balance::balance))
        .service(get("/admin/v1/accounts/{account}/payments", payments::list))
        .service(get("/admin/v1/accounts/{account}/requests", history::requests))
        .service(get("/admin/v1/accounts/{account}/holds", history::holds))
        .service(get("/admin/v1/accounts/{account}/usage", usage::usage))
        .service(get("/admin/v1/accounts/{account}/events", history::events))
        .service(get("/admin/v1/accounts/{account}/actions", admin::accounts::actions))
        .service(get("/admin/v1/accounts/{account}/webhooks", webhooks::list))
        .service(get("/admin/v1/accounts/{account}/audit-log", trail::list))
        .service(get("/admin/v1/accounts/{account}/members", admin::people::members))
        .service(get("/admin/v1/people", admin::people::list))
        .service(post("/admin/v1/people/invite", admin::people::invite))
        .service(get("/admin/v1/people/{person}", admin::people::person).route(web::delete().to(admin::people::forget)))
        .service(post("/admin/v1/people/{person}/reset-link", admin::people::reset_link))
        .service(post("/admin/v1/people/{person}/disable", admin::people::disable))
        .service(post("/admin/v1/people/{person}/enable", admin::people::enable));
}

/// Runs a request in a task of its own, which outlives the connection.
fn detached<S, B>(
    request: ServiceRequest,
    next: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error, Future: 'static>,
    B: MessageBody + 'static,
{
    let detached = request.app_data::<Shared>().map(|state| state.count_detached());
    let work = next.call(request);
    let work = actix_web::rt::spawn(async move {
        let _detached = detached;
        work.await
    });
    async move {
        match work.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ErrorInternalServerError("stopped")),
            },
        }
    }
}

/// Payments, saved cards, and events of the card processor.
fn configure_payments(app: &mut web::ServiceConfig) {
    app.service(get("/v1/payments", payments::list))
        .service(get("/v1/payments/{id}", payments::payment))
        .service(get("/v1/payments/{id}/receipt", receipt::receipt))
        .service(act("/v1/payments/{id}/authenticate", payments::authenticate))
        .service(act("/v1/payment-methods", payment_methods::save).route(web::get().to(payment_methods::list)))
        .service(
            web::resource("/v1/payment-methods/{id}")
                .route(web::delete().to(payment_methods::remove))
                .default_service(wrong_method()),
        )
        .service(
            web::resource("/v1/payment-methods/{id}/default")
                .route(web::put().to(payment_methods::set_default))
                .default_service(wrong_method()),
        )
        .service(act("/admin/v1/payments/{id}/refund", admin::payments::refund))
        .service(post("/admin/v1/reconcile", admin::payments::reconcile))
        .service(post("/webhooks/stripe", stripe::webhook));
}

/// Owners' webhooks.
fn configure_webhooks(app: &mut web::ServiceConfig) {
    app.service(act("/v1/webhooks", webhooks::create).route(web::get().to(webhooks::list)))
        .service(
            get("/v1/webhooks/{id}", webhooks::endpoint)
                .route(web::put().to(webhooks::turn))
                .route(web::delete().to(webhooks::delete)),
        )
        .service(post("/v1/webhooks/{id}/test", webhooks::test))
        .service(get("/v1/webhooks/{id}/deliveries", webhooks::deliveries));
}

/// A path with GET. Other methods are added with `route`.
pub(super) fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(wrong_method())
}

pub(super) fn wrong_method() -> actix_web::Route {
    web::to(method_not_allowed)
}

/// Who opens the address of a page's form, as after a form that was not carried out, reads a page.
async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    let error = ApiError::method_not_allowed();
    match request.match_info().as_str().split('/').nth(1) {
        Some("dashboard") => dashboard::failed(&request, &error),
        Some("operator") => operator::failed(&request, &error),
        _ => refuse(&request, &error),
    }
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    refuse(&request, &ApiError::not_found("this path"))
}

#[cfg(test)]
mod tests {
    /// Where the proof is that a request was carried out.
    #[derive(Debug, PartialEq, Eq)]
    enum Proof {
        /// In the row that the request created, under its own id.
        Made(&'static str),
        /// In a row with the request's id, written in the transaction of its change.
        Beside(&'static str),
        /// In the changed state: a repetition changes nothing more.
        Changed,
        /// In the event that the request carries.
        Event,
        /// In the record with the request's id: a charged request never runs again.
        Record,
        /// None: the request changes nothing that lasts.
        Nothing,
    }

    use Proof::{Beside, Changed, Event, Made, Nothing, Record};

    const PROOFS: &[(&str, &str, Proof)] = &[
        ("POST", "/v1/chat/completions", Record),
        ("POST", "/v1/completions", Record),
        ("POST", "/v1/embeddings", Record),
        ("POST", "/v1/rerank", Record),
        ("POST", "/v1/audio/speech", Record),
        ("POST", "/v1/audio/transcriptions", Record),
        ("POST", "/v1/audio/translations", Record),
        ("POST", "/v1/images/generations", Record),
        ("POST", "/v1/images/edits", Record),
        ("POST", "/v1/images/variations", Nothing),
        ("POST", "/v1/responses", Record),
        ("DELETE", "/v1/responses/{id}", Changed),
        ("POST", "/v1/responses/{id}/cancel", Nothing),
        ("POST", "/v1/conversations", Nothing),
        ("POST", "/v1/conversations/{id}", Changed),
        ("DELETE", "/v1/conversations/{id}", Changed),
        ("POST", "/v1/conversations/{id}/items", Nothing),
        ("DELETE", "/v1/conversations/{id}/items/{item}", Changed),
        ("POST", "/v1/messages", Record),
        ("POST", "/v1/messages/count_tokens", Nothing),
        ("POST", "/v2/chat", Record),
        ("POST", "/v2/embed", Record),
        ("POST", "/v2/rerank", Record),
        ("POST", "/v1beta/models/{model:.+}:generateContent", Record),
        ("POST", "/v1beta/models/{model:.+}:streamGenerateContent", Record),
        ("POST", "/v1beta/models/{model:.+}:embedContent", Record),
        ("POST", "/v1beta/models/{model:.+}:batchEmbedContents", Record),
        ("POST", "/v1beta/models/{model:.+}:countTokens", Nothing),
        ("POST", "/v1/models/{model:.+}:generateContent", Record),
        ("POST", "/v1/models/{model:.+}:streamGenerateContent", Record),
        ("POST", "/v1/models/{model:.+}:embedContent", Record),
        ("POST", "/v1/models/{model:.+}:batchEmbedContents", Record),
        ("POST", "/v1/models/{model:.+}:countTokens", Nothing),
        ("POST", "/v1/quote", Nothing),
        ("POST", "/v1/requests/{id}/cancel", Nothing),
        ("POST", "/v1/subscription", Made("payment, or request_proof where a cancelled one goes on")),
        ("DELETE", "/v1/subscription", Changed),
        ("PUT", "/v1/auto-reload", Changed),
        ("PUT", "/v1/auto-scale", Changed),
        ("PUT", "/v1/balance/alerts", Changed),
        ("PUT", "/v1/keys/{key}/alerts", Changed),
        ("PUT", "/v1/notifications", Changed),
        ("POST", "/v1/keys", Made("api_key")),
        ("DELETE", "/v1/keys/{key}", Changed),
        ("POST", "/v1/credits/purchase", Made("payment")),
        ("POST", "/admin/v1/accounts", Made("account")),
        ("POST", "/admin/v1/accounts/{account}/freeze", Beside("audit_log")),
        ("POST", "/admin/v1/accounts/{account}/unfreeze", Beside("audit_log")),
        ("POST", "/admin/v1/accounts/{account}/keys", Made("api_key")),
        ("DELETE", "/admin/v1/accounts/{account}/keys/{key}", Changed),
        ("POST", "/admin/v1/accounts/{account}/grants", Made("credit_grant")),
        ("POST", "/admin/v1/accounts/{account}/grants/{grant}/void", Beside("audit_log")),
        ("POST", "/admin/v1/people/invite", Changed),
        ("DELETE", "/admin/v1/people/{person}", Changed),
        ("POST", "/admin/v1/people/{person}/reset-link", Changed),
        ("POST", "/admin/v1/people/{person}/disable", Changed),
        ("POST", "/admin/v1/people/{person}/enable", Changed),
        ("POST", "/admin/v1/audit", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/load", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/unload", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/reload", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/pin", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/unpin", Nothing),
        ("POST", "/admin/v1/models/{id:.+}/drain", Nothing),
        ("POST", "/admin/v1/providers/{name}/pause", Nothing),
        ("POST", "/admin/v1/providers/{name}/resume", Nothing),
        ("POST", "/admin/v1/actors/restart", Nothing),
        ("POST", "/admin/v1/clock", Nothing),
        ("POST", "/admin/v1/faults", Nothing),
        ("POST", "/v1/payments/{id}/authenticate", Changed),
        ("POST", "/v1/payment-methods", Made("payment_method")),
        ("DELETE", "/v1/payment-methods/{id}", Changed),
        ("PUT", "/v1/payment-methods/{id}/default", Changed),
        ("POST", "/admin/v1/payments/{id}/refund", Beside("audit_log")),
        ("POST", "/admin/v1/reconcile", Nothing),
        ("POST", "/webhooks/stripe", Event),
        ("POST", "/v1/webhooks", Made("webhook_endpoint")),
        ("PUT", "/v1/webhooks/{id}", Changed),
        ("DELETE", "/v1/webhooks/{id}", Changed),
        ("POST", "/v1/webhooks/{id}/test", Nothing),
    ];

    /// The routes of the table that change something: method, path, and whether it is an act.
    fn changing() -> Vec<(&'static str, String, bool)> {
        let table = include_str!("routes.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let mut routes = Vec::new();
        for service in table.split(".service(").skip(1) {
            let Some((made, rest)) = service.split_once('"') else { continue };
            let path = rest.split('"').next().unwrap_or_default().to_owned();
            let made = made.trim().trim_end_matches('(');
            if made.ends_with("post") || made.ends_with("act") {
                routes.push(("POST", path.clone(), made.ends_with("act")));
            }
            for (name, method) in [("web::put()", "PUT"), ("web::delete()", "DELETE"), ("web::patch()", "PATCH")] {
                if rest.contains(name) {
                    routes.push((method, path.clone(), false));
                }
            }
        }
        routes
    }

    #[test]
    fn every_post_takes_an_idempotency_key() {
        let table = include_str!("routes.rs");
        let by_hand = ["web::", "post()"].concat();
        assert!(!table.contains(&by_hand), "make it with idempotency::post or act");
        assert!(table.contains("post(\"/v1/chat/completions\""));
    }

    #[test]
    fn every_route_that_changes_something_says_where_its_proof_lies() {
        let written = changing();
        for (method, path, is_act) in &written {
            let proofs: Vec<_> = PROOFS.iter().filter(|(it, at, _)| it == method && at == path).collect();
            let [(.., proof)] = proofs.as_slice() else { panic!("{method} {path} has {} proofs", proofs.len()) };
            match proof {
                Made(_) => assert!(*is_act, "{method} {path}: a retry is answered from what it made"),
                Record | Nothing | Event => assert!(!is_act, "{method} {path}: there is nothing to be answered from"),
                Beside(_) | Changed => {}
            }
        }
        assert_eq!(written.len(), PROOFS.len(), "no proof is of a route that is not there");
    }
}
