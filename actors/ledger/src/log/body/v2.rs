//! Form 2: form 1, and in the record of a request the attempts that came before it. A body without any is written in form 1.

use billing::{Nanos, attempt, entry, ids::RequestId};

use super::{
    BadBody, Body,
    v1::{
        self,
        context::{Reading, Writing},
    },
    v3, v4, v6,
};

/// The version of this form.
pub(super) const VERSION: u8 = 2;

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.usage.as_ref().is_some_and(|usage| !usage.attempts.is_empty())
}

pub(super) fn encode(transitions: &[entry::Transition]) -> Vec<u8> {
    v1::encode_as(VERSION, transitions)
}

/// A body of this form holds transitions alone.
pub(super) fn decode(message: &[u8]) -> Result<Body, BadBody> {
    match v1::decode_any(message)? {
        Body::Transitions(transitions) if transitions.iter().any(v6::is_needed) => {
            Err(BadBody::Malformed("alerts".to_owned()))
        }
        Body::Transitions(transitions) if transitions.iter().any(v3::is_needed) => {
            Err(BadBody::Malformed("hold.is_parked".to_owned()))
        }
        Body::Transitions(transitions) if transitions.iter().any(v4::is_needed) => {
            Err(BadBody::Malformed("members".to_owned()))
        }
        Body::Transitions(transitions) if transitions.iter().any(is_needed) => Ok(Body::Transitions(transitions)),
        _ => Err(BadBody::Malformed("form 2 without what it is for".to_owned())),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attempt {
    #[prost(uint32, tag = "1")]
    request_id: u32,
    #[prost(string, tag = "2")]
    model: String,
    #[prost(string, optional, tag = "3")]
    provider: Option<String>,
    #[prost(uint32, tag = "4")]
    status: u32,
    #[prost(string, tag = "5")]
    code: String,
    #[prost(sint64, tag = "6")]
    started_at: i64,
    #[prost(sint64, tag = "7")]
    ended_at: i64,
    #[prost(int64, tag = "8")]
    charged: i64,
}

impl Attempt {
    pub(super) fn write(attempt: &attempt::Attempt, to: &mut Writing) -> Self {
        let attempt::Attempt { request_id, model, provider, status, code, started_at, ended_at, charged } = attempt;
        Self {
            request_id: to.maybe_id(request_id.map(|id| id.0)),
            model: model.as_ref().to_owned(),
            provider: provider.as_deref().map(str::to_owned),
            status: (*status).into(),
            code: code.as_ref().to_owned(),
            started_at: to.time(*started_at),
            ended_at: to.time(*ended_at),
            charged: charged.get(),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<attempt::Attempt, BadBody> {
        let Self { request_id, model, provider, status, code, started_at, ended_at, charged } = self;
        Ok(attempt::Attempt {
            request_id: from.maybe_id(request_id, "attempt.request_id")?.map(RequestId),
            model: model.into(),
            provider: provider.map(Into::into),
            status: status.try_into().map_err(|_| BadBody::Malformed("attempt.status".to_owned()))?,
            code: code.into(),
            started_at: from.time(started_at),
            ended_at: from.time(ended_at),
            charged: Nanos::new(charged),
        })
    }
}
