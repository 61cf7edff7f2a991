//! Stored keys with their alerts (of form 6), saved cards, webhooks and members (of form 4). They belong to the transition's account.

use billing::{
    Nanos, card,
    ids::{KeyId, PaymentId, PersonId},
    key::{self, Scopes},
    resource, webhook,
};

use super::{
    super::{v4::Member, v7::Keys},
    BadBody,
    context::{Reading, Writing},
    each, malformed,
    numbers::{Numbered as _, value},
};

/// One of its fields is set.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Resource {
    #[prost(oneof = "Is", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 21")]
    is: Option<Is>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Is {
    #[prost(message, tag = "1")]
    KeyOpened(Key),
    #[prost(message, tag = "2")]
    KeyRevoked(KeyRevoked),
    #[prost(message, tag = "3")]
    Customer(Customer),
    #[prost(message, tag = "4")]
    Card(Card),
    #[prost(message, tag = "5")]
    CardChosen(CardChosen),
    #[prost(message, tag = "6")]
    PaymentCard(PaymentCard),
    #[prost(message, tag = "7")]
    Endpoint(Endpoint),
    #[prost(uint32, tag = "8")]
    EndpointDeleted(u32),
    #[prost(message, tag = "9")]
    Member(Member),
    #[prost(uint32, tag = "10")]
    MemberLeft(u32),
    #[prost(message, tag = "21")]
    KeyAlerts(KeyAlerts),
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyAlerts {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, repeated, tag = "2")]
    percents: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    public: String,
    #[prost(string, tag = "4")]
    hash: String,
    #[prost(int64, optional, tag = "5")]
    day: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    week: Option<i64>,
    #[prost(int64, optional, tag = "7")]
    month: Option<i64>,
    #[prost(int64, optional, tag = "8")]
    total: Option<i64>,
    #[prost(string, repeated, tag = "9")]
    models: Vec<String>,
    #[prost(uint32, repeated, tag = "10")]
    scopes: Vec<u32>,
    #[prost(sint64, tag = "11")]
    created_at: i64,
    #[prost(sint64, optional, tag = "12")]
    expires_at: Option<i64>,
    #[prost(sint64, optional, tag = "13")]
    revoked_at: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyRevoked {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    public: String,
    #[prost(sint64, tag = "3")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Customer {
    #[prost(string, tag = "1")]
    processor: String,
    #[prost(string, tag = "2")]
    reference: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Card {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    processor: String,
    #[prost(string, tag = "3")]
    customer: String,
    #[prost(string, tag = "4")]
    reference: String,
    #[prost(string, tag = "5")]
    brand: String,
    #[prost(string, tag = "6")]
    last4: String,
    #[prost(int64, tag = "7")]
    exp_month: i64,
    #[prost(int64, tag = "8")]
    exp_year: i64,
    #[prost(bool, tag = "9")]
    is_default: bool,
    #[prost(sint64, tag = "10")]
    created_at: i64,
    #[prost(sint64, optional, tag = "11")]
    removed_at: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CardChosen {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(sint64, tag = "2")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PaymentCard {
    #[prost(uint32, tag = "1")]
    payment_id: u32,
    #[prost(string, tag = "2")]
    reference: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Endpoint {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    secret: String,
    /// Absent: all kinds.
    #[prost(message, optional, tag = "5")]
    kinds: Option<Kinds>,
    #[prost(sint64, tag = "6")]
    created_at: i64,
    #[prost(message, optional, tag = "7")]
    disabled: Option<Disabled>,
    /// In form 7. Absent: all keys.
    #[prost(message, optional, tag = "8")]
    keys: Option<Keys>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Kinds {
    #[prost(uint32, repeated, tag = "1")]
    kinds: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Disabled {
    #[prost(sint64, tag = "1")]
    at: i64,
    #[prost(uint32, tag = "2")]
    because: u32,
}

impl Resource {
    pub(super) fn write(resource: &resource::Resource, to: &mut Writing) -> Self {
        Self {
            is: Some(match resource {
                resource::Resource::KeyOpened(key) => Is::KeyOpened(Key::write(key, to)),
                resource::Resource::KeyRevoked { id, public, at } => {
                    Is::KeyRevoked(KeyRevoked { id: to.id(id.0), public: public.clone(), at: to.time(*at) })
                }
                resource::Resource::KeyAlerts { id, percents } => Is::KeyAlerts(KeyAlerts {
                    id: to.id(id.0),
                    percents: percents.iter().copied().map(u32::from).collect(),
                }),
                resource::Resource::Customer { processor, reference } => {
                    Is::Customer(Customer { processor: processor.clone(), reference: reference.clone() })
                }
                resource::Resource::Card(card) => Is::Card(Card::write(card, to)),
                resource::Resource::CardChosen { reference, at } => {
                    Is::CardChosen(CardChosen { reference: reference.clone(), at: to.time(*at) })
                }
                resource::Resource::PaymentCard { payment_id, reference } => {
                    Is::PaymentCard(PaymentCard { payment_id: to.id(payment_id.0), reference: reference.clone() })
                }
                resource::Resource::Endpoint(endpoint) => Is::Endpoint(Endpoint::write(endpoint, to)),
                resource::Resource::EndpointDeleted(id) => Is::EndpointDeleted(to.id(*id)),
                resource::Resource::Member(member) => Is::Member(Member::write(member, to)),
                resource::Resource::MemberLeft(id) => Is::MemberLeft(to.id(id.0)),
            }),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<resource::Resource, BadBody> {
        Ok(match self.is.ok_or_else(|| malformed("resource"))? {
            Is::KeyOpened(key) => resource::Resource::KeyOpened(key.read(from)?),
            Is::KeyRevoked(KeyRevoked { id, public, at }) => {
                let id = KeyId(from.id(id, "key_revoked.id")?);
                resource::Resource::KeyRevoked { id, public, at: from.time(at) }
            }
            Is::KeyAlerts(KeyAlerts { id, percents }) => {
                let id = KeyId(from.id(id, "key_alerts.id")?);
                let percents = each(percents, |it| u8::try_from(it).map_err(|_| malformed("key_alerts.percents")))?;
                resource::Resource::KeyAlerts { id, percents }
            }
            Is::Customer(Customer { processor, reference }) => resource::Resource::Customer { processor, reference },
            Is::Card(card) => resource::Resource::Card(card.read(from)?),
            Is::CardChosen(CardChosen { reference, at }) => {
                resource::Resource::CardChosen { reference, at: from.time(at) }
            }
            Is::PaymentCard(PaymentCard { payment_id, reference }) => {
                let payment_id = PaymentId(from.id(payment_id, "payment_card.payment_id")?);
                resource::Resource::PaymentCard { payment_id, reference }
            }
            Is::Endpoint(endpoint) => resource::Resource::Endpoint(endpoint.read(from)?),
            Is::EndpointDeleted(id) => resource::Resource::EndpointDeleted(from.id(id, "endpoint_deleted")?),
            Is::Member(member) => resource::Resource::Member(member.read(from)?),
            Is::MemberLeft(id) => resource::Resource::MemberLeft(PersonId(from.id(id, "member_left")?)),
        })
    }
}

impl Key {
    fn write(key: &key::ApiKey, to: &mut Writing) -> Self {
        let key::ApiKey { id, account_id: _, name, public, hash, limits, scopes, created_at, expires_at, revoked_at } =
            key;
        let key::KeyLimits { amounts, models } = limits;
        let [day, week, month, total] = amounts.map(|amount| amount.map(Nanos::get));
        Self {
            id: to.id(id.0),
            name: name.clone(),
            public: public.clone(),
            hash: hash.clone(),
            day,
            week,
            month,
            total,
            models: models.clone(),
            scopes: scopes.iter().map(key::Scope::number).collect(),
            created_at: to.time(*created_at),
            expires_at: to.maybe_time(*expires_at),
            revoked_at: to.maybe_time(*revoked_at),
        }
    }

    fn read(self, from: &Reading) -> Result<key::ApiKey, BadBody> {
        let Self { id, name, public, hash, day, week, month, total, models, scopes, .. } = self;
        let scopes = each(scopes, |scope| value(scope, "key.scopes"))?;
        Ok(key::ApiKey {
            id: KeyId(from.id(id, "key.id")?),
            account_id: from.account()?,
            name,
            public,
            hash,
            limits: key::KeyLimits { amounts: [day, week, month, total].map(|amount| amount.map(Nanos::new)), models },
            scopes: scopes.into_iter().fold(Scopes::default(), Scopes::with),
            created_at: from.time(self.created_at),
            expires_at: from.maybe_time(self.expires_at),
            revoked_at: from.maybe_time(self.revoked_at),
        })
    }
}

impl Card {
    fn write(method: &card::PaymentMethod, to: &mut Writing) -> Self {
        let card::PaymentMethod { id, account_id: _, processor, card, is_default, created_at, removed_at } = method;
        let card::Card { customer, reference, brand, last4, exp_month, exp_year } = card;
        Self {
            id: to.id(*id),
            processor: processor.clone(),
            customer: customer.clone(),
            reference: reference.clone(),
            brand: brand.clone(),
            last4: last4.clone(),
            exp_month: *exp_month,
            exp_year: *exp_year,
            is_default: *is_default,
            created_at: to.time(*created_at),
            removed_at: to.maybe_time(*removed_at),
        }
    }

    fn read(self, from: &Reading) -> Result<card::PaymentMethod, BadBody> {
        let Self { id, processor, customer, reference, brand, last4, exp_month, exp_year, is_default, .. } = self;
        Ok(card::PaymentMethod {
            id: from.id(id, "card.id")?,
            account_id: from.account()?,
            processor,
            card: card::Card { customer, reference, brand, last4, exp_month, exp_year },
            is_default,
            created_at: from.time(self.created_at),
            removed_at: from.maybe_time(self.removed_at),
        })
    }
}

impl Endpoint {
    fn write(endpoint: &webhook::Endpoint, to: &mut Writing) -> Self {
        let webhook::Endpoint { id, account_id: _, url, description, secret, kinds, keys, created_at, disabled } =
            endpoint;
        let numbers = |kinds: &Vec<billing::event::EventKind>| kinds.iter().map(|kind| kind.number()).collect();
        Self {
            id: to.id(*id),
            url: url.clone(),
            description: description.clone(),
            secret: secret.clone(),
            kinds: kinds.as_ref().map(|kinds| Kinds { kinds: numbers(kinds) }),
            created_at: to.time(*created_at),
            keys: keys.as_ref().map(|keys| Keys { keys: keys.iter().map(|key| to.id(key.0)).collect() }),
            disabled: disabled.map(|(at, because)| Disabled { at: to.time(at), because: because.number() }),
        }
    }

    fn read(self, from: &Reading) -> Result<webhook::Endpoint, BadBody> {
        let Self { id, url, description, secret, kinds, created_at, disabled, keys } = self;
        let keys = keys.map(|Keys { keys }| each(keys, |key| Ok(KeyId(from.id(key, "endpoint.keys")?))));
        let kinds = kinds.map(|Kinds { kinds }| each(kinds, |kind| value(kind, "endpoint.kinds")));
        let disabled =
            disabled.map(|Disabled { at, because }| Ok((from.time(at), value(because, "endpoint.disabled")?)));
        Ok(webhook::Endpoint {
            id: from.id(id, "endpoint.id")?,
            account_id: from.account()?,
            url,
            description,
            secret,
            kinds: kinds.transpose()?,
            keys: keys.transpose()?,
            created_at: from.time(created_at),
            disabled: disabled.transpose()?,
        })
    }
}
