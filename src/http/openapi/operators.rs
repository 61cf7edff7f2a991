//! The operator's routes in the document.

use super::operation::{Operation, Takes, delete, get, post};
use crate::http::{
    account::keys,
    admin,
    error::code::Code,
    views::{
        self,
        admin::{Action, FoundAccount, FrozenAccount, GivenGrant, NewAccount, OperatedAccount, VoidedGrant},
        history::{EndedRequest, Event, Holds},
        keys::{Key, NewKey, RevokedKey},
        money::{Balance, Grant},
        nodes::NodeList,
        operations::{Actors, Audit, Clock},
        overview::Overview,
        payments::{Payment, Reconciled, Refunded},
        people::{AccountMember, ForgottenPerson, Person, PersonLink, PersonState},
        pools::{ModelActed, Pools},
        running::{Explained, RunningRequests},
        trail::Change,
        treasury::Treasury,
        usage::Usage,
        webhooks::Webhook,
    },
};

const OPERATOR: Takes = Takes::Operator;

pub(super) fn accounts() -> Vec<Operation> {
    vec![
        get("/admin/v1/accounts", OPERATOR, "Accounts")
            .query(&["search", "plan", "limit", "cursor"])
            .pages::<FoundAccount>(),
        post("/admin/v1/accounts", OPERATOR, "Make an account")
            .body::<admin::accounts::Wanted>()
            .errors(&[Code::Conflict])
            .answers::<NewAccount>(),
        get("/admin/v1/accounts/{account}", OPERATOR, "An account whole").answers::<OperatedAccount>(),
        freezes("/admin/v1/accounts/{account}/freeze", "Have an account admit no more requests; what runs goes on"),
        freezes("/admin/v1/accounts/{account}/unfreeze", "Have an account admit requests again"),
        get("/admin/v1/accounts/{account}/keys", OPERATOR, "An account's keys, newest first").paged().pages::<Key>(),
        post("/admin/v1/accounts/{account}/keys", OPERATOR, "Make a key for an account")
            .body::<keys::Wanted>()
            .errors(&[Code::Conflict, Code::Forbidden])
            .answers::<NewKey>(),
        delete("/admin/v1/accounts/{account}/keys/{key}", OPERATOR, "Revoke an account's key").answers::<RevokedKey>(),
        get("/admin/v1/accounts/{account}/grants", OPERATOR, "An account's grants").paged().pages::<Grant>(),
        post("/admin/v1/accounts/{account}/grants", OPERATOR, "Give credits")
            .body::<admin::grants::Wanted>()
            .errors(&[Code::Conflict])
            .answers::<GivenGrant>(),
        post("/admin/v1/accounts/{account}/grants/{grant}/void", OPERATOR, "Take credits back")
            .body::<admin::grants::Void>()
            .errors(&[Code::Conflict])
            .answers::<VoidedGrant>(),
        get("/admin/v1/accounts/{account}/balance", OPERATOR, "What an account can spend").answers::<Balance>(),
        get("/admin/v1/accounts/{account}/payments", OPERATOR, "An account's payments").paged().pages::<Payment>(),
        get("/admin/v1/accounts/{account}/requests", OPERATOR, "An account's ended requests")
            .query(&["from", "to", "model", "key_id", "member_id", "session", "limit", "cursor"])
            .pages::<EndedRequest>(),
        get("/admin/v1/accounts/{account}/holds", OPERATOR, "An account's open holds").answers::<Holds>(),
        get("/admin/v1/accounts/{account}/usage", OPERATOR, "What an account used, summed")
            .query(&["from", "to", "group_by", "model", "key_id", "member_id", "session", "limit", "cursor"])
            .answers::<Usage>(),
        get("/admin/v1/accounts/{account}/events", OPERATOR, "What an account was told")
            .query(&["kind", "limit", "cursor"])
            .pages::<Event>(),
        get("/admin/v1/accounts/{account}/webhooks", OPERATOR, "An account's webhooks")
            .errors(&[Code::InvalidRequest])
            .lists::<Webhook>(),
        get("/admin/v1/accounts/{account}/audit-log", OPERATOR, "Who changed what of an account, beside operators")
            .paged()
            .pages::<Change>(),
        get("/admin/v1/accounts/{account}/actions", OPERATOR, "What operators did to an account")
            .paged()
            .pages::<Action>(),
    ]
}

pub(super) fn people() -> Vec<Operation> {
    vec![
        get("/admin/v1/accounts/{account}/members", OPERATOR, "An account's members").lists::<AccountMember>(),
        get("/admin/v1/people", OPERATOR, "People, who sign in on the dashboard")
            .query(&["search", "limit", "cursor"])
            .pages::<Person>(),
        post("/admin/v1/people/invite", OPERATOR, "Make a link by which somebody comes in")
            .body::<admin::people::Wanted>()
            .errors(&[Code::NotFound])
            .answers::<PersonLink>(),
        get("/admin/v1/people/{person}", OPERATOR, "A person, by id or address").answers::<Person>(),
        delete("/admin/v1/people/{person}", OPERATOR, "Forget a person, and end all memberships, and the keys made")
            .query(&["keys"])
            .errors(&[Code::Conflict])
            .answers::<ForgottenPerson>(),
        post("/admin/v1/people/{person}/reset-link", OPERATOR, "Make a link by which a person sets another password")
            .errors(&[Code::Conflict])
            .answers::<PersonLink>(),
        post(
            "/admin/v1/people/{person}/disable",
            OPERATOR,
            "Let a person in no more, and end all sessions and the keys made",
        )
        .query(&["keys"])
        .answers::<PersonState>(),
        post("/admin/v1/people/{person}/enable", OPERATOR, "Let a person in again").answers::<PersonState>(),
    ]
}

pub(super) fn operator() -> Vec<Operation> {
    vec![
        get("/admin/v1/overview", OPERATOR, "How the process fares, in one picture").answers::<Overview>(),
        get("/admin/v1/money", OPERATOR, "What all accounts have together").answers::<Treasury>(),
        get("/admin/v1/requests", OPERATOR, "The requests that run at the node that answers")
            .answers::<RunningRequests>(),
        get(
            "/admin/v1/requests/{id}/explain",
            OPERATOR,
            "What a request waits for, how it ended, or why it was refused",
        )
        .answers::<Explained>(),
        get("/admin/v1/actions", OPERATOR, "What operators did").paged().pages::<Action>(),
        post("/admin/v1/payments/{id}/refund", OPERATOR, "Give a payment back")
            .body::<admin::payments::GiveBack>()
            .errors(&[Code::Conflict, Code::CardRefused])
            .answers::<Refunded>()
            .answers_with::<Refunded>(202),
        post("/admin/v1/reconcile", OPERATOR, "Hold payments against the card processor's books")
            .body::<admin::payments::Compare>()
            .errors(&[Code::CardRefused])
            .answers::<Reconciled>(),
        get(
            "/admin/v1/operations",
            OPERATOR,
            "What operators did to models, providers, actors, keys, people and running requests, at all nodes",
        )
        .paged()
        .pages::<views::acts::Operation>(),
        acts_on_other("/admin/v1/providers/{name}/pause", "Call a provider no more; what runs there goes on"),
        acts_on_other("/admin/v1/providers/{name}/resume", "Call a provider again"),
        post("/admin/v1/actors/restart", OPERATOR, "Have a new life take an actor's place, without a failed request")
            .body::<admin::acts::Wanted>()
            .errors(&[Code::Conflict])
            .answers::<views::acts::Acted>(),
        get("/admin/v1/actors", OPERATOR, "How the actors fare").answers::<Actors>(),
        get(
            "/admin/v1/nodes",
            OPERATOR,
            "The nodes that share the ledger, its shards, and the open models of each node",
        )
        .answers::<NodeList>(),
        get("/admin/v1/pools", OPERATOR, "Devices, and the open models in their memory").answers::<Pools>(),
        acts_on_model("/admin/v1/models/{id}/load", "Load a model, and take it back into service"),
        acts_on_model("/admin/v1/models/{id}/unload", "Take a model out of memory, once what runs has ended"),
        acts_on_model("/admin/v1/models/{id}/reload", "Load a model that is in memory anew, without a failed request"),
        acts_on_model("/admin/v1/models/{id}/pin", "Load a model that stays in memory"),
        acts_on_model("/admin/v1/models/{id}/unpin", "Let a pinned model be taken out again"),
        acts_on_model("/admin/v1/models/{id}/drain", "Take a model out of service, once what runs has ended"),
        post("/admin/v1/audit", OPERATOR, "Rebuild every balance from the ledger").answers::<Audit>(),
        post("/admin/v1/clock", OPERATOR, "Move the test clock")
            .body::<admin::operations::Advance>()
            .errors(&[Code::Forbidden])
            .answers::<Clock>(),
    ]
}

fn freezes(path: &'static str, says: &'static str) -> Operation {
    post(path, OPERATOR, says)
        .body::<admin::acts::Why>()
        .errors(&[Code::NotFound, Code::Conflict])
        .answers::<FrozenAccount>()
}

fn acts_on_other(path: &'static str, says: &'static str) -> Operation {
    post(path, OPERATOR, says).body::<admin::acts::Why>().errors(&[Code::Conflict]).answers::<views::acts::Acted>()
}

fn acts_on_model(path: &'static str, says: &'static str) -> Operation {
    post(path, OPERATOR, says)
        .body::<admin::models::Why>()
        .errors(&[Code::ModelNotFound, Code::Conflict])
        .errors_of_any_status(&[Code::InvalidRequest])
        .answers::<ModelActed>()
}

#[cfg(feature = "faults")]
pub(super) fn faults() -> Vec<Operation> {
    vec![
        post("/admin/v1/faults", OPERATOR, "Make an actor panic, for tests")
            .body::<admin::faults::Fault>()
            .errors(&[Code::Forbidden, Code::NotFound])
            .answers::<views::operations::Done>(),
    ]
}
