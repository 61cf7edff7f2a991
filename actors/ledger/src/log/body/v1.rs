//! Form 1. The stored messages, and their conversion from and to the rules' types. Each conversion names all fields of
//! both sides, so that a new field does not compile until it is stored.
//!
//! Bodies are small, because each row of the log is kept:
//! - each id occurs once in a transition, in [`Transition::ids`]; elsewhere stands its place in that list, from 1;
//! - times are distances from the transition's own time;
//! - zero and empty fields take no bytes. An enumeration's number is never zero, so a missing one is found.

mod automatic;
pub(super) mod context;
mod credits;
mod holds;
mod imported;
mod notes;
pub(super) mod numbers;
mod prices;
mod purchases;
mod resources;
mod usage;

use billing::{
    Nanos, Timestamp, entry,
    ids::{KeyId, RequestId},
};
use prost::Message as _;
use uuid::Uuid;

use self::{
    automatic::Automatic,
    context::{Reading, Writing},
    credits::{Grant, Header, Line},
    holds::Hold,
    imported::Imported,
    notes::{Event, Notice, Opened, Proof},
    numbers::{Numbered as _, value},
    prices::PriceBook,
    purchases::{Payment, Reversal, Subscription},
    resources::Resource,
    usage::Usage,
};
use super::{BadBody, Body, FIRST};

/// The key of [`Content::transitions`]: tag 1, with a length before it.
const TRANSITION: u8 = 0x0a;

/// The usual size of a transition, in bytes.
const USUAL: usize = 512;

/// All that follows the version.
#[derive(Clone, PartialEq, prost::Message)]
struct Content {
    #[prost(message, repeated, tag = "1")]
    transitions: Vec<Transition>,
    #[prost(message, optional, tag = "2")]
    genesis: Option<Genesis>,
    #[prost(message, optional, tag = "3")]
    prices: Option<PriceBook>,
    #[prost(message, optional, tag = "4")]
    imported: Option<Imported>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Genesis {
    #[prost(bytes = "vec", tag = "1")]
    log_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    began: u32,
    #[prost(uint32, tag = "3")]
    schema: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Transition {
    /// Every id of the transition, 16 bytes each. The first is the account's.
    #[prost(bytes = "vec", tag = "1")]
    ids: Vec<u8>,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(int64, tag = "3")]
    at: i64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
    #[prost(message, optional, tag = "5")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "6")]
    grants: Vec<Grant>,
    #[prost(message, optional, tag = "7")]
    hold: Option<Hold>,
    #[prost(uint32, tag = "8")]
    ended: u32,
    #[prost(message, optional, tag = "9")]
    usage: Option<Usage>,
    #[prost(message, repeated, tag = "10")]
    payments: Vec<Payment>,
    #[prost(message, repeated, tag = "11")]
    reversals: Vec<Reversal>,
    #[prost(message, optional, tag = "12")]
    subscription: Option<Subscription>,
    #[prost(message, optional, tag = "13")]
    automatic: Option<Automatic>,
    #[prost(message, repeated, tag = "14")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    notice: Option<Notice>,
    #[prost(message, optional, tag = "16")]
    beyond: Option<Beyond>,
    #[prost(message, optional, tag = "17")]
    proof: Option<Proof>,
    #[prost(message, optional, tag = "18")]
    opened: Option<Opened>,
    #[prost(message, repeated, tag = "19")]
    resources: Vec<Resource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Beyond {
    #[prost(uint32, tag = "1")]
    key_id: u32,
    #[prost(sint64, tag = "2")]
    amount: i64,
}

/// The body of transitions, in this form or in a later one that only adds to its messages.
pub(super) fn encode(version: u8, transitions: &[entry::Transition]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + transitions.len() * USUAL);
    body.push(version);
    for transition in transitions {
        body.push(TRANSITION);
        let written = Transition::write(transition).encode_length_delimited(&mut body);
        assert!(written.is_ok(), "a vector has room for a transition");
    }
    body
}

pub(super) fn encode_genesis(genesis: &super::Genesis) -> Vec<u8> {
    let super::Genesis { log_id, began, schema } = genesis;
    let genesis = Genesis { log_id: log_id.as_bytes().to_vec(), began: began.number(), schema: *schema };
    whole(&Content { genesis: Some(genesis), ..Content::default() })
}

pub(super) fn encode_prices(book: &super::PriceBook) -> Vec<u8> {
    whole(&Content { prices: Some(PriceBook::write(book)), ..Content::default() })
}

pub(super) fn encode_imported(imported: &super::Imported) -> Vec<u8> {
    whole(&Content { imported: Some(Imported::write(imported)), ..Content::default() })
}

fn whole(content: &Content) -> Vec<u8> {
    [vec![FIRST], content.encode_to_vec()].concat()
}

/// Reads what follows the version, in this form or in a later one that only adds to its messages.
pub(super) fn decode(message: &[u8]) -> Result<Body, BadBody> {
    let content = Content::decode(message).map_err(|error| BadBody::Malformed(error.to_string()))?;
    let Content { transitions, genesis, prices, imported } = content;
    match (transitions.as_slice(), genesis, prices, imported) {
        ([], Some(genesis), None, None) => Ok(Body::Genesis(genesis.read()?)),
        ([], None, Some(prices), None) => Ok(Body::Prices(prices.read())),
        ([], None, None, Some(imported)) => Ok(Body::Imported(imported.read()?)),
        (_, None, None, None) => Ok(Body::Transitions(each(transitions, Transition::read)?)),
        _ => Err(malformed("contents of several kinds")),
    }
}

fn malformed(field: &str) -> BadBody {
    BadBody::Malformed(field.to_owned())
}

impl Genesis {
    fn read(self) -> Result<super::Genesis, BadBody> {
        let Self { log_id, began, schema } = self;
        let log_id = Uuid::from_slice(&log_id).map_err(|_| malformed("genesis.log_id"))?;
        Ok(super::Genesis { log_id, began: value(began, "genesis.began")?, schema })
    }
}

impl Transition {
    fn write(transition: &entry::Transition) -> Self {
        let entry::Transition {
            account_id,
            seq,
            at,
            lines,
            header,
            grants,
            hold,
            ended,
            usage,
            payments,
            reversals,
            subscription,
            automatic,
            events,
            notice,
            beyond,
            proof,
            opened,
            resources,
        } = transition;
        let mut to = Writing::new(account_id.0, *at);
        Self {
            seq: *seq,
            at: at.0,
            lines: lines.iter().map(|line| Line::write(line, &mut to)).collect(),
            header: Some(Header::write(header, &to)),
            grants: grants.iter().map(|grant| Grant::write(grant, &mut to)).collect(),
            hold: hold.as_ref().map(|hold| Hold::write(hold, &mut to)),
            ended: to.maybe_id(ended.map(|id| id.0)),
            usage: usage.as_ref().map(|usage| Usage::write(usage, &mut to)),
            payments: payments.iter().map(|payment| Payment::write(payment, &mut to)).collect(),
            reversals: reversals.iter().map(|reversal| Reversal::write(reversal, &mut to)).collect(),
            subscription: subscription.as_ref().map(|subscription| Subscription::write(subscription, &to)),
            automatic: automatic.as_ref().map(|automatic| Automatic::write(automatic, &to)),
            events: events.iter().map(Event::write).collect(),
            notice: notice.as_ref().map(|notice| Notice::write(notice, &to)),
            beyond: beyond.map(|(key_id, amount)| Beyond { key_id: to.id(key_id.0), amount: amount.get() }),
            proof: proof.as_ref().map(|proof| Proof::write(proof, &mut to)),
            opened: opened.as_ref().map(Opened::write),
            resources: resources.iter().map(|resource| Resource::write(resource, &mut to)).collect(),
            ids: to.into_ids(),
        }
    }

    fn read(self) -> Result<entry::Transition, BadBody> {
        let Self {
            ids,
            seq,
            at,
            lines,
            header,
            grants,
            hold,
            ended,
            usage,
            payments,
            reversals,
            subscription,
            automatic,
            events,
            notice,
            beyond,
            proof,
            opened,
            resources,
        } = self;
        let at = Timestamp(at);
        let from = Reading::new(&ids, at)?;
        Ok(entry::Transition {
            account_id: from.account()?,
            seq,
            at,
            lines: each(lines, |line| line.read(&from))?,
            header: header.ok_or_else(|| malformed("transition.header"))?.read(&from)?,
            grants: each(grants, |grant| grant.read(&from))?,
            hold: hold.map(|hold| hold.read(&from)).transpose()?,
            ended: from.maybe_id(ended, "transition.ended")?.map(RequestId),
            usage: usage.map(|usage| usage.read(&from)).transpose()?,
            payments: each(payments, |payment| payment.read(&from))?,
            reversals: each(reversals, |reversal| reversal.read(&from))?,
            subscription: subscription.map(|subscription| subscription.read(&from)).transpose()?,
            automatic: automatic.map(|automatic| automatic.read(&from)).transpose()?,
            events: each(events, Event::read)?,
            notice: notice.map(|notice| notice.read(&from)),
            beyond: beyond.map(|beyond| beyond.read(&from)).transpose()?,
            proof: proof.map(|proof| proof.read(&from)).transpose()?,
            opened: opened.map(Opened::read),
            resources: each(resources, |resource| resource.read(&from))?,
        })
    }
}

impl Beyond {
    fn read(self, from: &Reading) -> Result<(KeyId, Nanos), BadBody> {
        let Self { key_id, amount } = self;
        Ok((KeyId(from.id(key_id, "beyond.key_id")?), Nanos::new(amount)))
    }
}

/// Reads every message of a list.
fn each<S, T>(stored: Vec<S>, read: impl Fn(S) -> Result<T, BadBody>) -> Result<Vec<T>, BadBody> {
    stored.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
