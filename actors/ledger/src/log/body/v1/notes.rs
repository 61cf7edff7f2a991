//! Stored notes of a transition: events for the owner, the processor's event, the proof of a request, and what a new
//! account's row has beside its header.

use std::borrow::Cow;

use billing::{Nanos, entry, event, ids::RequestId};

use super::{
    BadBody,
    context::{Reading, Writing},
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(message, repeated, tag = "3")]
    data: Vec<Datum>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Datum {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    text: String,
}

impl Event {
    pub(super) fn write(event: &event::Event) -> Self {
        let event::Event { kind, subject, data } = event;
        let datum =
            |(name, text): &(Cow<'static, str>, String)| Datum { name: name.as_ref().to_owned(), text: text.clone() };
        Self { kind: kind.number(), subject: subject.clone(), data: data.iter().map(datum).collect() }
    }

    pub(super) fn read(self) -> Result<event::Event, BadBody> {
        let Self { kind, subject, data } = self;
        let data = data.into_iter().map(|Datum { name, text }| (name.into(), text)).collect();
        Ok(event::Event { kind: value(kind, "event.kind")?, subject, data })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Notice {
    #[prost(string, tag = "1")]
    processor: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(sint64, tag = "4")]
    signed_at: i64,
}

impl Notice {
    pub(super) fn write(notice: &entry::Notice, to: &Writing) -> Self {
        let entry::Notice { processor, id, kind, signed_at } = notice;
        Self {
            processor: processor.as_ref().to_owned(),
            id: id.clone(),
            kind: kind.clone(),
            signed_at: to.time(*signed_at),
        }
    }

    pub(super) fn read(self, from: &Reading) -> entry::Notice {
        let Self { processor, id, kind, signed_at } = self;
        entry::Notice { processor: processor.into(), id, kind, signed_at: from.time(signed_at) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Proof {
    #[prost(uint32, tag = "1")]
    request_id: u32,
    #[prost(string, tag = "2")]
    act: String,
    #[prost(string, tag = "3")]
    subject: String,
    #[prost(sint64, optional, tag = "4")]
    amount: Option<i64>,
    #[prost(string, optional, tag = "5")]
    reason: Option<String>,
}

impl Proof {
    pub(super) fn write(proof: &entry::Proof, to: &mut Writing) -> Self {
        let entry::Proof { request_id, act, subject, amount, reason } = proof;
        Self {
            request_id: to.id(request_id.0),
            act: act.as_ref().to_owned(),
            subject: subject.clone(),
            amount: amount.map(Nanos::get),
            reason: reason.clone(),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<entry::Proof, BadBody> {
        let Self { request_id, act, subject, amount, reason } = self;
        Ok(entry::Proof {
            request_id: RequestId(from.id(request_id, "proof.request_id")?),
            act: act.into(),
            subject,
            amount: amount.map(Nanos::new),
            reason,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Opened {
    #[prost(string, tag = "1")]
    email: String,
}

impl Opened {
    pub(super) fn write(opened: &entry::Opened) -> Self {
        let entry::Opened { email } = opened;
        Self { email: email.clone() }
    }

    pub(super) fn read(self) -> entry::Opened {
        let Self { email } = self;
        entry::Opened { email }
    }
}
