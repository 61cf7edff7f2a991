//! Random changes of keys, saved cards, webhooks and members.

use billing::{
    Nanos, Timestamp,
    account::Account,
    card::{self, Card, PaymentMethod, SaveAs},
    command::Command,
    entry::Transition,
    event::EventKind,
    ids::{AccountId, KeyId, PersonId},
    key::{ApiKey, KeyLimits, Scopes},
    member::{Membership, Role},
    resource::{Change, Resource},
    webhook::{Because, Endpoint},
};
use uuid::Uuid;

/// The resources of an account that are in force.
#[derive(Default)]
pub(super) struct Resources {
    keys: Vec<ApiKey>,
    cards: Vec<PaymentMethod>,
    endpoints: Vec<Endpoint>,
}

pub(super) fn open_key(id: KeyId, account_id: AccountId, now: Timestamp) -> Command {
    changed(0, vec![Resource::KeyOpened(key(id, account_id, now))])
}

fn key(id: KeyId, account_id: AccountId, now: Timestamp) -> ApiKey {
    ApiKey {
        id,
        account_id,
        name: "a".into(),
        public: id.to_string(),
        hash: "h".into(),
        limits: KeyLimits { amounts: [None, None, None, Some(Nanos::dollars(2))], models: Vec::new() },
        scopes: Scopes::ALL,
        created_at: now,
        expires_at: None,
        revoked_at: None,
    }
}

fn changed(revision: u64, resources: Vec<Resource>) -> Command {
    Command::Change(Change { revision, resources, events: Vec::new() })
}

fn one<T: Clone>(from: &[T], which: usize) -> Option<T> {
    from.get(which % from.len().max(1)).cloned()
}

impl Resources {
    pub(super) fn note(&mut self, transition: &Transition) {
        for resource in &transition.resources {
            match resource {
                Resource::KeyOpened(key) => self.keys.push(key.clone()),
                Resource::KeyRevoked { id, .. } => self.keys.retain(|key| key.id != *id),
                Resource::Card(card) => {
                    self.cards.retain(|known| known.id != card.id);
                    self.cards.extend(card.removed_at.is_none().then(|| card.clone()));
                }
                Resource::Endpoint(endpoint) => {
                    self.endpoints.retain(|known| known.id != endpoint.id);
                    self.endpoints.push(endpoint.clone());
                }
                Resource::EndpointDeleted(id) => self.endpoints.retain(|known| known.id != *id),
                Resource::Customer { .. }
                | Resource::CardChosen { .. }
                | Resource::PaymentCard { .. }
                | Resource::KeyAlerts { .. }
                | Resource::Member(_)
                | Resource::MemberLeft(_) => {}
            }
        }
    }

    pub(super) fn change(
        &self,
        account: &Account,
        kind: u8,
        which: usize,
        id: Uuid,
        now: Timestamp,
    ) -> Option<Command> {
        let resources = match kind {
            0 => vec![Resource::KeyOpened(key(KeyId(id), account.id, now))],
            1 => {
                let ApiKey { id, public, .. } = one(&self.keys, which)?;
                vec![Resource::KeyRevoked { id, public, at: now }]
            }
            2 => self.save(account.id, which, id, now),
            3 => card::choose_default(&self.cards, one(&self.cards, which)?.id)?.1,
            4 => vec![Resource::Card(card::remove(&self.cards, one(&self.cards, which)?.id, now)?)],
            5 => vec![Resource::Endpoint(endpoint(account.id, which, id, now))],
            6 => {
                let known = one(&self.endpoints, which)?;
                let disabled = known.disabled.is_none().then_some((now, Because::Owner));
                vec![Resource::Endpoint(Endpoint { disabled, ..known })]
            }
            7 => vec![Resource::Member(member(account.id, which, now))],
            8 => vec![Resource::MemberLeft(member(account.id, which, now).person_id)],
            _ => vec![Resource::EndpointDeleted(one(&self.endpoints, which)?.id)],
        };
        Some(changed(account.header.revision, resources))
    }

    fn save(&self, account_id: AccountId, which: usize, id: Uuid, now: Timestamp) -> Vec<Resource> {
        let (customer, reference) = ("cus_1".to_owned(), format!("pm_{}", which % 4));
        let chosen = Resource::CardChosen { reference: reference.clone(), at: now };
        let owner = Resource::Customer { processor: "stripe".into(), reference: customer.clone() };
        let card =
            Card { customer, reference, brand: "visa".into(), last4: "4242".into(), exp_month: 1, exp_year: 2030 };
        let new = PaymentMethod {
            id,
            account_id,
            processor: "stripe".into(),
            card,
            is_default: false,
            created_at: now,
            removed_at: None,
        };
        let save_as = if which.is_multiple_of(3) { SaveAs::Default } else { SaveAs::OneMore };
        let saved = card::save(&self.cards, &new, save_as).map_or_else(|_| Vec::new(), |(_, changes)| changes);
        [vec![owner, chosen], saved].concat()
    }
}

/// One of a few people.
fn member(account_id: AccountId, which: usize, since: Timestamp) -> Membership {
    let person_id = PersonId(Uuid::from_u128(u128::try_from(which % 3).unwrap()));
    Membership { account_id, person_id, role: Role::ALL[which % 4], since }
}

fn endpoint(account_id: AccountId, which: usize, id: Uuid, now: Timestamp) -> Endpoint {
    let some = vec![EventKind::LowBalance, EventKind::KeyLimitNear];
    Endpoint {
        id,
        account_id,
        url: "https://example.com/".into(),
        description: String::new(),
        secret: "whsec_".into(),
        kinds: which.is_multiple_of(3).then_some(some),
        keys: which.is_multiple_of(4).then(|| vec![KeyId(id)]),
        created_at: now,
        disabled: which.is_multiple_of(5).then_some((now, Because::Owner)),
    }
}
