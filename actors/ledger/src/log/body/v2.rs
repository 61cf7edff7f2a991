//! Form 2: form 1, and in the record of a request the attempts that came before it. A body without any is written in form 1.

use billing::{Nanos, attempt, entry, ids::RequestId};

use super::{
    BadBody,
    v1::context::{Reading, Writing},
};

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.usage.as_ref().is_some_and(|usage| !usage.attempts.is_empty())
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
