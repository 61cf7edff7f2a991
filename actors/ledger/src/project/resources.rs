//! Rows of keys, saved cards, webhooks and members.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    card::PaymentMethod,
    entry::Transition,
    ids::{AccountId, KeyId, PaymentId, PersonId},
    key::{ApiKey, KeyWindow},
    member::Membership,
    resource::Resource,
    webhook::Endpoint,
};
use uuid::Uuid;

use super::merge::Merged;
use crate::{
    rows::{Rows, Write},
    webhooks::{keys_text, kinds_text},
};

/// The resources that transitions changed, each in its last form.
#[derive(Default)]
pub(super) struct Resources<'a> {
    revisions: BTreeMap<AccountId, u64>,
    opened: Vec<&'a ApiKey>,
    revoked: BTreeMap<KeyId, Timestamp>,
    key_alerts: BTreeMap<KeyId, &'a [u8]>,
    /// By account and processor.
    customers: BTreeMap<(AccountId, &'a str), (&'a str, Timestamp)>,
    cards: BTreeMap<Uuid, &'a PaymentMethod>,
    chosen: BTreeMap<(AccountId, &'a str), Timestamp>,
    payment_cards: BTreeMap<PaymentId, &'a str>,
    endpoints: BTreeMap<Uuid, &'a Endpoint>,
    deleted: Vec<Uuid>,
    /// `None`: a member no more.
    members: BTreeMap<(AccountId, PersonId), Option<&'a Membership>>,
}

impl<'a> Resources<'a> {
    pub(super) fn add(&mut self, transition: &'a Transition) {
        if transition.resources.is_empty() && transition.reversals.is_empty() {
            return;
        }
        let account = transition.account_id;
        self.revisions.insert(account, transition.header.revision);
        for resource in &transition.resources {
            match resource {
                Resource::KeyOpened(key) => self.opened.push(key),
                Resource::KeyRevoked { id, at, .. } => drop(self.revoked.insert(*id, *at)),
                Resource::KeyAlerts { id, percents } => drop(self.key_alerts.insert(*id, percents)),
                Resource::Customer { processor, reference } => {
                    let known = self.customers.entry((account, processor)).or_insert((reference, transition.at));
                    known.0 = reference;
                }
                Resource::Card(card) => drop(self.cards.insert(card.id, card)),
                Resource::CardChosen { reference, at } => drop(self.chosen.insert((account, reference), *at)),
                Resource::PaymentCard { payment_id, reference } => {
                    self.payment_cards.insert(*payment_id, reference);
                }
                Resource::Endpoint(endpoint) => drop(self.endpoints.insert(endpoint.id, endpoint)),
                Resource::EndpointDeleted(id) => {
                    self.endpoints.remove(id);
                    self.deleted.push(*id);
                }
                Resource::Member(member) => drop(self.members.insert((account, member.person_id), Some(member))),
                Resource::MemberLeft(person) => drop(self.members.insert((account, *person), None)),
            }
        }
    }
}

/// Whether a transition changes where events are delivered. Events before and after it are delivered differently, so that
/// it is not merged with them.
pub(super) fn changes_endpoints(transition: &Transition) -> bool {
    let is_endpoint = |resource: &Resource| matches!(resource, Resource::Endpoint(_) | Resource::EndpointDeleted(_));
    transition.resources.iter().any(is_endpoint)
}

pub(super) fn revision_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (revision, id) AS (",
        ") UPDATE account SET revision = v.revision FROM v WHERE account.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 2, 0);
    for (id, revision) in &merged.resources.revisions {
        rows.push([(*revision).into(), id.0.into()]);
    }
    rows
}

pub(super) fn opened_key_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO api_key (id, account_id, name, public, hash, limit_day, limit_week, limit_month, limit_total, models, \
         scopes, created_at, expires_at, revoked_at)",
        "",
    );
    let mut rows = Rows::new(&WRITE, 14, 0);
    for key in &merged.resources.opened {
        let limit = |window| key.limits.of(window).map(Nanos::get).into();
        let models =
            (!key.limits.models.is_empty()).then(|| serde_json::Value::from(key.limits.models.clone()).to_string());
        rows.push([
            key.id.0.into(),
            key.account_id.0.into(),
            key.name.as_str().into(),
            key.public.as_str().into(),
            key.hash.as_str().into(),
            limit(KeyWindow::Day),
            limit(KeyWindow::Week),
            limit(KeyWindow::Month),
            limit(KeyWindow::Total),
            models.into(),
            key.scopes.names().into(),
            key.created_at.0.into(),
            key.expires_at.map(|at| at.0).into(),
            key.revoked_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

pub(super) fn revoked_key_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (revoked_at, id) AS (",
        ") UPDATE api_key SET revoked_at = v.revoked_at FROM v WHERE api_key.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 2, 0);
    for (id, at) in &merged.resources.revoked {
        rows.push([at.0.into(), id.0.into()]);
    }
    rows
}

pub(super) fn key_alert_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write =
        Write::new("WITH v (alerts, id) AS (", ") UPDATE api_key SET alerts = v.alerts FROM v WHERE api_key.id = v.id");
    let mut rows = Rows::new(&WRITE, 2, 0);
    for (id, percents) in &merged.resources.key_alerts {
        let percents = percents.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        rows.push([percents.into(), id.0.into()]);
    }
    rows
}

pub(super) fn customer_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO payment_customer (account_id, processor, reference, created_at)",
        "ON CONFLICT (account_id, processor) DO UPDATE SET reference = excluded.reference",
    );
    let mut rows = Rows::new(&WRITE, 4, 0);
    for ((account, processor), (reference, at)) in &merged.resources.customers {
        rows.push([account.0.into(), (*processor).into(), (*reference).into(), at.0.into()]);
    }
    rows
}

/// A card makes room for another one before that one takes its place, as the default or at all.
pub(super) fn card_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO payment_method (id, account_id, processor, customer, reference, brand, last4, exp_month, exp_year, \
         is_default, created_at, removed_at)",
        "ON CONFLICT (id) DO UPDATE SET is_default = excluded.is_default, removed_at = excluded.removed_at \
         WHERE payment_method.account_id = excluded.account_id",
    );
    let mut rows = Rows::new(&WRITE, 12, 0);
    let mut cards: Vec<_> = merged.resources.cards.values().collect();
    cards.sort_by_key(|card| (card.removed_at.is_none(), card.is_default));
    for method in cards {
        rows.push([
            method.id.into(),
            method.account_id.0.into(),
            method.processor.as_str().into(),
            method.card.customer.as_str().into(),
            method.card.reference.as_str().into(),
            method.card.brand.as_str().into(),
            method.card.last4.as_str().into(),
            method.card.exp_month.into(),
            method.card.exp_year.into(),
            i64::from(method.is_default).into(),
            method.created_at.0.into(),
            method.removed_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

pub(super) fn chosen_card_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO card_choice (account_id, reference, at)",
        "ON CONFLICT (account_id, reference) DO UPDATE SET at = excluded.at",
    );
    let mut rows = Rows::new(&WRITE, 3, 0);
    for ((account, reference), at) in &merged.resources.chosen {
        rows.push([account.0.into(), (*reference).into(), at.0.into()]);
    }
    rows
}

/// A payment's card is chosen once.
pub(super) fn payment_card_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write =
        Write::new("INSERT INTO payment_card (payment_id, reference)", "ON CONFLICT (payment_id) DO NOTHING");
    let mut rows = Rows::new(&WRITE, 2, 0);
    for (payment, reference) in &merged.resources.payment_cards {
        rows.push([payment.0.into(), (*reference).into()]);
    }
    rows
}

/// An endpoint that is turned on has failed nothing yet. When it began to fail is not in the log: attempts are not.
pub(super) fn endpoint_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO webhook_endpoint (id, account_id, url, description, secret, kinds, key_ids, enabled, created_at, disabled_at, \
         disabled_because)",
        "ON CONFLICT (id) DO UPDATE SET url = excluded.url, description = excluded.description, \
         secret = excluded.secret, kinds = excluded.kinds, key_ids = excluded.key_ids, disabled_at = excluded.disabled_at, \
         disabled_because = excluded.disabled_because, failing_since = CASE WHEN webhook_endpoint.enabled < excluded.enabled \
         THEN NULL ELSE webhook_endpoint.failing_since END, enabled = excluded.enabled \
         WHERE webhook_endpoint.account_id = excluded.account_id",
    );
    let mut rows = Rows::new(&WRITE, 11, 0);
    for endpoint in merged.resources.endpoints.values() {
        rows.push([
            endpoint.id.into(),
            endpoint.account_id.0.into(),
            endpoint.url.as_str().into(),
            endpoint.description.as_str().into(),
            endpoint.secret.as_str().into(),
            kinds_text(endpoint.kinds.as_deref()).into(),
            keys_text(endpoint.keys.as_deref()).into(),
            i64::from(endpoint.disabled.is_none()).into(),
            endpoint.created_at.0.into(),
            endpoint.disabled.map(|(at, _)| at.0).into(),
            endpoint.disabled.map(|(_, because)| because.name()).into(),
        ]);
    }
    rows
}

/// Deliveries to endpoints that were turned off end.
pub(super) fn ended_delivery_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (at, id) AS (",
        ") UPDATE webhook_delivery SET status = 'failed', due_at = NULL, ended_at = v.at, \
         error = 'the webhook was turned off' FROM v WHERE endpoint_id = v.id AND status = 'waiting'",
    );
    let mut rows = Rows::new(&WRITE, 2, 0);
    for (id, endpoint) in &merged.resources.endpoints {
        if let Some((at, _)) = endpoint.disabled {
            rows.push([at.0.into(), (*id).into()]);
        }
    }
    rows
}

pub(super) fn deleted_endpoint_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new("DELETE FROM webhook_endpoint WHERE id IN (", ")");
    deleted_rows(merged, &WRITE)
}

pub(super) fn deleted_delivery_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new("DELETE FROM webhook_delivery WHERE endpoint_id IN (", ")");
    deleted_rows(merged, &WRITE)
}

fn deleted_rows<'a>(merged: &Merged<'_>, write: &'static Write) -> Rows<'a> {
    let mut rows = Rows::new(write, 1, 0);
    for id in &merged.resources.deleted {
        rows.push([(*id).into()]);
    }
    rows
}

pub(super) fn member_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO membership (account_id, person_id, role, since)",
        "ON CONFLICT (account_id, person_id) DO UPDATE SET role = excluded.role, since = excluded.since",
    );
    let mut rows = Rows::new(&WRITE, 4, 0);
    for ((account, person), member) in &merged.resources.members {
        if let Some(member) = member {
            rows.push([account.0.into(), person.0.into(), member.role.name().into(), member.since.0.into()]);
        }
    }
    rows
}

pub(super) fn left_member_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new("DELETE FROM membership WHERE (account_id, person_id) IN (", ")");
    let mut rows = Rows::new(&WRITE, 2, 0);
    for ((account, person), member) in &merged.resources.members {
        if member.is_none() {
            rows.push([account.0.into(), person.0.into()]);
        }
    }
    rows
}
