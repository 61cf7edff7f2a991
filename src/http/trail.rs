//! What goes into an account's audit log: requests by a key or a session that have changed the account. Each route that
//! does is in one table, so that none can forget it. What operators change of accounts, people and requests is in a table of its own,
//! and goes into their own history, but for what leaves a proof in the ledger with its effect.

use actix_web::{HttpMessage as _, HttpRequest, dev::ServiceResponse, http::Method};
use billing::ids::AccountId;

use super::{arrival::Arrival, idempotency::REPLAYED, state::State};
use crate::service::{
    ServiceError,
    operators::{self, Asked, KnownBy},
    trail::{self, By, Made},
    webhooks,
};

/// What routes change: method, pattern, and the act's name.
const ACTS: &[(&str, &str, &str)] = &[
    ("POST", "/v1/keys", "keys.create"),
    ("DELETE", "/v1/keys/{key}", "keys.revoke"),
    ("PUT", "/v1/keys/{key}/alerts", "keys.set_alerts"),
    ("POST", "/v1/credits/purchase", "credits.purchase"),
    ("POST", "/v1/payments/{id}/authenticate", "payments.authenticate"),
    ("POST", "/v1/payment-methods", "cards.save"),
    ("DELETE", "/v1/payment-methods/{id}", "cards.remove"),
    ("PUT", "/v1/payment-methods/{id}/default", "cards.set_default"),
    ("PUT", "/v1/auto-reload", "auto_reload.set"),
    ("PUT", "/v1/auto-scale", "auto_scale.set"),
    ("PUT", "/v1/balance/alerts", "balance.set_alerts"),
    ("POST", "/v1/subscription", "plan.subscribe"),
    ("DELETE", "/v1/subscription", "plan.cancel"),
    ("POST", "/v1/webhooks", webhooks::CREATED),
    ("PUT", "/v1/webhooks/{id}", "webhooks.turn"),
    ("DELETE", "/v1/webhooks/{id}", "webhooks.delete"),
    ("POST", "/dashboard/keys", "keys.create"),
    ("POST", "/dashboard/keys/{id}/revoke", "keys.revoke"),
    ("POST", "/dashboard/notifications/keys/{id}", "keys.set_alerts"),
    ("POST", "/dashboard/notifications/lines", "balance.set_alerts"),
    ("POST", "/dashboard/credits/buy", "credits.purchase"),
    ("POST", "/dashboard/credits/auto-reload", "auto_reload.set"),
    ("POST", "/dashboard/credits/auto-scale", "auto_scale.set"),
    ("POST", "/dashboard/credits/cards", "cards.save"),
    ("POST", "/dashboard/credits/cards/{id}/default", "cards.set_default"),
    ("POST", "/dashboard/credits/cards/{id}/remove", "cards.remove"),
    ("POST", "/dashboard/credits/payments/{id}/verdict", "payments.authenticate"),
    ("POST", "/dashboard/credits/calendar", "calendar.share"),
    ("POST", "/dashboard/credits/calendar/end", "calendar.withdraw"),
    ("POST", "/dashboard/webhooks", webhooks::CREATED),
    ("POST", "/dashboard/webhooks/{id}/turn", "webhooks.turn"),
    ("POST", "/dashboard/webhooks/{id}/delete", "webhooks.delete"),
    ("POST", "/dashboard/members/invite", "members.invite"),
    ("POST", "/dashboard/members/invitations/{id}/withdraw", "members.withdraw"),
    ("POST", "/dashboard/members/{person}/role", "members.change_role"),
    ("POST", "/dashboard/members/{person}/remove", "members.remove"),
];

/// What operators change, and no proof in the ledger tells: method, pattern, the act's name, and what the request makes.
const OPERATED: &[(&str, &str, &str, Option<&str>)] = &[
    ("POST", "/admin/v1/accounts", "create_account", Some("account")),
    ("POST", "/admin/v1/accounts/{account}/keys", "create_key", Some("key")),
    ("DELETE", "/admin/v1/accounts/{account}/keys/{key}", "revoke_key", None),
    ("POST", "/admin/v1/people/invite", "invite_person", None),
    ("DELETE", "/admin/v1/people/{person}", "forget_person", None),
    ("POST", "/admin/v1/people/{person}/reset-link", "make_reset_link", None),
    ("POST", "/admin/v1/people/{person}/disable", "disable_person", None),
    ("POST", "/admin/v1/people/{person}/enable", "enable_person", None),
    ("POST", "/operator/requests/{id}/cancel", "cancel_request", None),
];

/// How the paths of those begin, by which other requests are told apart quickly.
const BEGINNINGS: &[&str] = &[
    "/dashboard/",
    "/v1/keys",
    "/v1/credits/",
    "/v1/payment",
    "/v1/auto-",
    "/v1/balance/",
    "/v1/subscription",
    "/v1/webhooks",
];

/// Who asks, and for which account.
#[derive(Clone, Copy)]
struct Asks(AccountId, By);

/// What a handler adds.
#[derive(Clone, Default)]
struct Said {
    subject: Option<String>,
    detail: Option<String>,
    /// Whether the object is made by a form, which makes it once however often it is sent.
    is_made_once: bool,
    /// What came of the request, where its answer's status does not say it.
    came: Option<Came>,
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// All was so already.
    Nothing,
    /// A payment was begun, and declined.
    Declined,
}

fn came(request: &HttpRequest, came: Came) {
    let mut extensions = request.extensions_mut();
    let mut said = extensions.get::<Said>().cloned().unwrap_or_default();
    said.came = Some(came);
    extensions.insert(said);
}

/// Notes on a request that it changed nothing, as all was so already.
pub(super) fn unless_changed(request: &HttpRequest, is_changed: bool) {
    if !is_changed {
        came(request, Came::Nothing);
    }
}

/// Notes on a request that its payment was begun, where its card is declined then: that is an answer, and no refusal.
pub(super) fn begun<T>(request: &HttpRequest, bought: Result<T, ServiceError>) -> Result<T, ServiceError> {
    if matches!(bought, Err(ServiceError::Declined { .. })) {
        came(request, Came::Declined);
    }
    bought
}

/// Whether a request may change an account: most do not, and cost nothing here.
fn may_change(request: &HttpRequest) -> bool {
    let path = request.match_info().as_str();
    request.method() != Method::GET && BEGINNINGS.iter().any(|beginning| path.starts_with(beginning))
}

/// Notes on a request who asks for which account, if it may change one.
pub(super) fn asks(request: &HttpRequest, account: AccountId, by: By) {
    if may_change(request) {
        request.extensions_mut().insert(Asks(account, by));
    }
}

/// Notes on a request what it is about: the object, where the path does not name it, and what is to be known of it.
pub(super) fn about(request: &HttpRequest, subject: Option<&dyn std::fmt::Display>, detail: &str) {
    let detail = Some(detail.to_owned()).filter(|detail| !detail.is_empty());
    let subject = subject.map(ToString::to_string);
    request.extensions_mut().insert(Said { subject, detail, is_made_once: false, came: None });
}

/// Notes on a form what it makes, which it makes once however often it is sent.
pub(super) fn makes(request: &HttpRequest, id: &dyn std::fmt::Display, detail: &str) {
    about(request, Some(id), detail);
    if let Some(said) = request.extensions_mut().get_mut::<Said>() {
        said.is_made_once = true;
    }
}

/// Notes what a request has changed, if it has. An answer that is given again has changed nothing.
pub(super) async fn note<B>(state: &State, response: &ServiceResponse<B>) {
    let request = response.request();
    let came = request.extensions().get::<Said>().and_then(|said| said.came);
    let is_done = match came {
        None => response.status().as_u16() < 400,
        Some(Came::Nothing) => false,
        Some(Came::Declined) => true,
    };
    if request.method() == Method::GET || !is_done || response.headers().contains_key(&REPLAYED) {
        return;
    }
    operated(state, request).await;
    if let Some(act) = act(request) {
        let (asks, said) = {
            let extensions = request.extensions();
            (extensions.get::<Asks>().copied(), extensions.get::<Said>().cloned().unwrap_or_default())
        };
        let Some(Asks(account, by)) = asks else { return };
        let id = Arrival::of(request).id;
        let named = request.match_info().iter().next().map(|(_, value)| value.to_owned());
        // What a request of the API makes has the request's id.
        let is_made = request.method() == Method::POST && request.match_info().as_str().starts_with("/v1/");
        let subject = said.subject.or(named).or(is_made.then(|| id.to_string()));
        let declined = (came == Some(Came::Declined)).then(|| "declined".to_owned());
        let detail: Vec<String> = said.detail.into_iter().chain(declined).collect();
        let detail = Some(detail.join(", ")).filter(|detail| !detail.is_empty());
        let made = Made { id, account, by, act, subject, detail, once: said.is_made_once };
        trail::note(&state.service, made).await;
    }
}

/// Notes what an operator has changed, if the request has. What is done to models, providers and actors is kept where it is
/// done, with its reason and whether it failed; these requests take no reason, and one that fails changes nothing.
async fn operated(state: &State, request: &HttpRequest) {
    // As routes match it: `%61dmin` is `admin`.
    let path = request.match_info().as_str();
    if !["/admin/v1/", "/operator/"].iter().any(|root| path.starts_with(root)) {
        return;
    }
    let Some(pattern) = request.match_pattern() else { return };
    let method = request.method().as_str();
    let Some((.., act, makes)) = OPERATED.iter().find(|(its, of, ..)| *its == method && *of == pattern) else { return };
    let said = request.extensions().get::<Said>().and_then(|said| said.subject.clone());
    let made = makes.map(|what| format!("{what} {}", Arrival::of(request).id));
    // People and accounts may be named by addresses, which are forgotten with the people: who carried the request out says the id.
    let named = request.match_info().iter().filter_map(|(name, value)| match name {
        "account" | "person" => None,
        "id" => Some(format!("request {value}")),
        name => Some(format!("{name} {value}")),
    });
    let subject: Vec<_> = said.into_iter().chain(named).chain(made).collect();
    let known_by = if path.starts_with("/operator/") { KnownBy::Session } else { KnownBy::Token };
    let node = state.cluster.as_ref().map(|cluster| cluster.me().0);
    let reason = "none given".to_owned();
    let asked = Asked { node, known_by, act, subject: subject.join(", "), reason, failed: None };
    operators::keep(&state.service, asked).await;
}

fn act(request: &HttpRequest) -> Option<&'static str> {
    let pattern = may_change(request).then(|| request.match_pattern())??;
    ACTS.iter().find(|(its, of, _)| *its == request.method().as_str() && *of == pattern).map(|(.., act)| *act)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forms that change nothing of an account.
    const OTHERS: &[&str] = &[
        "/dashboard/sign-in",
        "/dashboard/sign-out",
        "/dashboard/sign-up",
        "/dashboard/forgot",
        "/dashboard/join",
        "/dashboard/reset",
        "/dashboard/accounts",
        "/dashboard/requests/{id}/stop",
        "/dashboard/credits/cards/begin",
        "/dashboard/webhooks/{id}/test",
        "/dashboard/members/ask",
        "/dashboard/notifications",
        "/dashboard/unsubscribe",
        "/dashboard/settings/name",
        "/dashboard/settings/password",
        "/dashboard/settings/identities/{id}/remove",
        "/dashboard/settings/sessions/{id}/end",
        "/dashboard/settings/sign-out-everywhere",
        "/dashboard/identities/link",
        "/dashboard/identities/confirm",
    ];
    /// Routes that change what is a person's own, or the content of answers that are kept.
    const OWN: &[&str] =
        &["/v1/notifications", "/v1/responses/{id}", "/v1/conversations/{id}", "/v1/conversations/{id}/items/{item}"];

    fn is_noted(method: &str, path: &str) -> bool {
        ACTS.iter().any(|(its, of, _)| *its == method && *of == path)
    }

    #[test]
    fn every_form_that_changes_an_account_is_in_its_audit_log() {
        let sources =
            [include_str!("dashboard/mod.rs"), include_str!("dashboard/people.rs"), include_str!("dashboard/cards.rs")];
        let mut forms = 0;
        for rest in sources.iter().flat_map(|source| source.split("takes_form(").skip(1)) {
            let Some(path) = rest.split('"').nth(1).filter(|path| path.starts_with("/dashboard/")) else { continue };
            forms += 1;
            assert!(is_noted("POST", path) != OTHERS.contains(&path), "{path}: say whether it changes the account");
        }
        assert!(forms > 35, "{forms}");
    }

    #[test]
    fn every_route_by_which_operators_change_accounts_or_people_is_in_their_history() {
        let table = include_str!("routes.rs").split("PROOFS").nth(1).unwrap_or_default();
        let mut changing = 0;
        for row in table.lines().map(str::trim).filter(|row| row.starts_with("(\"") && row.contains("\"/admin/v1/")) {
            let parts: Vec<&str> = row.split('"').collect();
            let (method, path, effect) = (parts[1], parts[3], parts[4]);
            // A grant, and what stands beside the log, have their proof, with a reason.
            let is_proven = effect.contains("Beside(") || path.ends_with("/grants");
            let changes = !is_proven && (effect.contains("Changed") || effect.contains("Made("));
            changing += usize::from(changes);
            let is_noted = OPERATED.iter().any(|(its, of, ..)| *its == method && *of == path);
            assert_eq!(is_noted, changes, "{method} {path}");
        }
        assert_eq!(changing + 1, OPERATED.len(), "and the form that cancels a request");
    }

    #[test]
    fn every_route_that_changes_an_account_is_in_its_audit_log() {
        let table = include_str!("routes.rs").split("PROOFS").nth(1).unwrap_or_default();
        let mut changing = 0;
        for row in table.lines().map(str::trim).filter(|row| row.starts_with("(\"") && row.contains("\"/v1/")) {
            let parts: Vec<&str> = row.split('"').collect();
            let (method, path, effect) = (parts[1], parts[3], parts[4]);
            if effect.contains("Changed") || effect.contains("Made(") {
                changing += 1;
                assert!(is_noted(method, path) != OWN.contains(&path), "{method} {path}");
            } else {
                assert!(!is_noted(method, path), "{method} {path} changes nothing");
            }
        }
        assert!(changing > 15, "{changing}");
        for (_, path, _) in ACTS {
            assert!(BEGINNINGS.iter().any(|beginning| path.starts_with(beginning)), "{path}");
        }
    }
}
