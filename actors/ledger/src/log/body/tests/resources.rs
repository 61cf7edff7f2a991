//! Random keys, saved cards, webhooks and members.

use billing::{
    card::{Card, PaymentMethod},
    event::EventKind,
    ids::{AccountId, KeyId, PaymentId, PersonId},
    key::{ApiKey, KeyLimits, Scope, Scopes},
    member::{Membership, Role},
    resource::Resource,
    webhook::{Because, Endpoint},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use uuid::Uuid;

use super::strategies::{fields, id, nanos, number, text, time};

pub(super) fn resource() -> BoxedStrategy<Resource> {
    let revoked =
        (id(), text(), time()).prop_map(|(id, public, at)| Resource::KeyRevoked { id: KeyId(id), public, at });
    let alerts =
        (id(), vec(1_u8..=100, 0..3)).prop_map(|(id, percents)| Resource::KeyAlerts { id: KeyId(id), percents });
    let customer = (text(), text()).prop_map(|(processor, reference)| Resource::Customer { processor, reference });
    let chosen = (text(), time()).prop_map(|(reference, at)| Resource::CardChosen { reference, at });
    let of_payment =
        (id(), text()).prop_map(|(id, reference)| Resource::PaymentCard { payment_id: PaymentId(id), reference });
    prop_oneof![
        key().prop_map(Resource::KeyOpened),
        revoked,
        alerts,
        customer,
        card().prop_map(Resource::Card),
        chosen,
        of_payment,
        endpoint().prop_map(Resource::Endpoint),
        id().prop_map(Resource::EndpointDeleted),
        member().prop_map(Resource::Member),
        id().prop_map(|id| Resource::MemberLeft(PersonId(id))),
    ]
    .boxed()
}

fn key() -> BoxedStrategy<ApiKey> {
    let amounts = [(); 4].map(|()| option::of(nanos()));
    let limits = (amounts, vec(text(), 0..3)).prop_map(|(amounts, models)| KeyLimits { amounts, models });
    let scopes = vec(select(Scope::ALL.to_vec()), 0..4);
    fields!(ApiKey {
        id: id().prop_map(KeyId),
        account_id: Just(AccountId(Uuid::nil())),
        name: text(),
        public: text(),
        hash: text(),
        limits: limits,
        scopes: scopes.prop_map(|scopes| scopes.into_iter().fold(Scopes::default(), Scopes::with)),
        created_at: time(),
        expires_at: option::of(time()),
        revoked_at: option::of(time()),
    })
}

fn card() -> BoxedStrategy<PaymentMethod> {
    let card = fields!(Card {
        customer: text(),
        reference: text(),
        brand: text(),
        last4: text(),
        exp_month: number(),
        exp_year: number(),
    });
    fields!(PaymentMethod {
        id: id(),
        account_id: Just(AccountId(Uuid::nil())),
        processor: text(),
        card: card,
        is_default: any::<bool>(),
        created_at: time(),
        removed_at: option::of(time()),
    })
}

fn member() -> BoxedStrategy<Membership> {
    fields!(Membership {
        account_id: Just(AccountId(Uuid::nil())),
        person_id: id().prop_map(PersonId),
        role: select(Role::ALL.to_vec()),
        since: time(),
    })
}

fn endpoint() -> BoxedStrategy<Endpoint> {
    fields!(Endpoint {
        id: id(),
        account_id: Just(AccountId(Uuid::nil())),
        url: text(),
        description: text(),
        secret: text(),
        kinds: option::of(vec(select(EventKind::ALL.to_vec()), 0..3)),
        keys: option::of(vec(id().prop_map(KeyId), 0..3)),
        created_at: time(),
        disabled: option::of((time(), select(Because::ALL.to_vec()))),
    })
}
