//! Stored credits: journal lines, the account's header, and grants.

use billing::{
    Nanos, account, entry, grant,
    ids::{GrantId, RequestId},
};
use uuid::{Uuid, fmt::Hyphenated};

use super::{
    BadBody,
    context::{Reading, Writing},
    malformed,
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Line {
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(uint32, tag = "2")]
    grant_id: u32,
    #[prost(uint32, tag = "3")]
    request_id: u32,
    #[prost(sint64, tag = "4")]
    funded: i64,
    #[prost(sint64, tag = "5")]
    available: i64,
    #[prost(sint64, tag = "6")]
    held: i64,
    #[prost(sint64, tag = "7")]
    spent: i64,
    #[prost(sint64, tag = "8")]
    expired: i64,
    #[prost(sint64, tag = "9")]
    voided: i64,
    #[prost(sint64, tag = "10")]
    debt: i64,
}

impl Line {
    pub(super) fn write(line: &entry::Line, to: &mut Writing) -> Self {
        let entry::Line { kind, grant_id, request_id, funded, available, held, spent, expired, voided, debt } = line;
        Self {
            kind: kind.number(),
            grant_id: to.maybe_id(grant_id.map(|id| id.0)),
            request_id: to.maybe_id(request_id.map(|id| id.0)),
            funded: funded.get(),
            available: available.get(),
            held: held.get(),
            spent: spent.get(),
            expired: expired.get(),
            voided: voided.get(),
            debt: debt.get(),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<entry::Line, BadBody> {
        let Self { kind, grant_id, request_id, funded, available, held, spent, expired, voided, debt } = self;
        Ok(entry::Line {
            kind: value(kind, "line.kind")?,
            grant_id: from.maybe_id(grant_id, "line.grant_id")?.map(GrantId),
            request_id: from.maybe_id(request_id, "line.request_id")?.map(RequestId),
            funded: Nanos::new(funded),
            available: Nanos::new(available),
            held: Nanos::new(held),
            spent: Nanos::new(spent),
            expired: Nanos::new(expired),
            voided: Nanos::new(voided),
            debt: Nanos::new(debt),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) plan: u32,
    #[prost(sint64, tag = "2")]
    created_at: i64,
    #[prost(sint64, optional, tag = "3")]
    subscribed_until: Option<i64>,
    #[prost(sint64, tag = "4")]
    debt: i64,
    #[prost(int64, tag = "5")]
    charged: i64,
    #[prost(uint64, tag = "6")]
    seq: u64,
    #[prost(sint64, tag = "7")]
    clock: i64,
    #[prost(sint64, optional, tag = "8")]
    wake_at: Option<i64>,
    #[prost(uint64, tag = "9")]
    revision: u64,
    /// Since form 5.
    #[prost(sint64, optional, tag = "10")]
    frozen_at: Option<i64>,
}

impl Header {
    pub(super) fn write(header: &account::Header, to: &Writing) -> Self {
        let account::Header {
            plan,
            created_at,
            subscribed_until,
            debt,
            charged,
            seq,
            clock,
            wake_at,
            revision,
            frozen_at,
        } = header;
        Self {
            plan: plan.number(),
            created_at: to.time(*created_at),
            subscribed_until: to.maybe_time(*subscribed_until),
            debt: debt.get(),
            charged: charged.get(),
            seq: *seq,
            clock: to.time(*clock),
            wake_at: to.maybe_time(*wake_at),
            revision: *revision,
            frozen_at: to.maybe_time(*frozen_at),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<account::Header, BadBody> {
        let Self { plan, created_at, subscribed_until, debt, charged, seq, clock, wake_at, revision, frozen_at } = self;
        Ok(account::Header {
            plan: value(plan, "header.plan")?,
            created_at: from.time(created_at),
            subscribed_until: from.maybe_time(subscribed_until),
            debt: Nanos::new(debt),
            charged: Nanos::new(charged),
            seq,
            clock: from.time(clock),
            wake_at: from.maybe_time(wake_at),
            revision,
            frozen_at: from.maybe_time(frozen_at),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Grant {
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(uint32, tag = "2")]
    pub(super) source: u32,
    /// The source key, where it is no id.
    #[prost(string, tag = "3")]
    pub(super) key: String,
    /// The source key, where it is an id: a payment's.
    #[prost(uint32, tag = "4")]
    pub(super) key_id: u32,
    #[prost(sint64, tag = "5")]
    paid: i64,
    #[prost(sint64, tag = "6")]
    created_at: i64,
    #[prost(sint64, tag = "7")]
    expires_at: i64,
    #[prost(int64, tag = "8")]
    funded: i64,
    #[prost(int64, tag = "9")]
    available: i64,
    #[prost(int64, tag = "10")]
    held: i64,
    #[prost(int64, tag = "11")]
    spent: i64,
    #[prost(int64, tag = "12")]
    expired: i64,
    #[prost(int64, tag = "13")]
    voided: i64,
    #[prost(int64, tag = "14")]
    recall: i64,
    #[prost(message, optional, tag = "15")]
    taken: Option<Taken>,
    #[prost(uint32, tag = "16")]
    pub(super) notices: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Taken {
    #[prost(int64, tag = "1")]
    unused: i64,
    #[prost(int64, tag = "2")]
    gone: i64,
    #[prost(int64, tag = "3")]
    held: i64,
    #[prost(int64, tag = "4")]
    spent: i64,
}

impl Grant {
    pub(super) fn write(grant: &grant::Grant, to: &mut Writing) -> Self {
        let grant::Grant {
            id,
            source,
            source_key,
            paid,
            created_at,
            expires_at,
            funded,
            available,
            held,
            spent,
            expired,
            voided,
            recall,
            taken,
            notices,
        } = grant;
        let id = to.id(id.0);
        let (key, key_id) = match as_id(source_key) {
            Some(id) => (String::new(), to.id(id)),
            None => (source_key.as_ref().to_owned(), 0),
        };
        Self {
            id,
            source: source.number(),
            key,
            key_id,
            paid: paid.get(),
            created_at: to.time(*created_at),
            expires_at: to.time(*expires_at),
            funded: funded.get(),
            available: available.get(),
            held: held.get(),
            spent: spent.get(),
            expired: expired.get(),
            voided: voided.get(),
            recall: recall.get(),
            taken: Taken::write(*taken),
            notices: (*notices).into(),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<grant::Grant, BadBody> {
        let Self {
            id,
            source,
            key,
            key_id,
            paid,
            created_at,
            expires_at,
            funded,
            available,
            held,
            spent,
            expired,
            voided,
            recall,
            taken,
            notices,
        } = self;
        let source_key = match from.maybe_id(key_id, "grant.key_id")? {
            None => key.into(),
            Some(id) if key.is_empty() => id.hyphenated().to_string().into(),
            Some(_) => return Err(malformed("grant.key, beside grant.key_id")),
        };
        Ok(grant::Grant {
            id: GrantId(from.id(id, "grant.id")?),
            source: value(source, "grant.source")?,
            source_key,
            paid: Nanos::new(paid),
            created_at: from.time(created_at),
            expires_at: from.time(expires_at),
            funded: Nanos::new(funded),
            available: Nanos::new(available),
            held: Nanos::new(held),
            spent: Nanos::new(spent),
            expired: Nanos::new(expired),
            voided: Nanos::new(voided),
            recall: Nanos::new(recall),
            taken: taken.map(Taken::read).unwrap_or_default(),
            notices: u8::try_from(notices).map_err(|_| malformed("grant.notices"))?,
        })
    }
}

/// The id that a text is, if it is spelled as ids are.
fn as_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == Hyphenated::LENGTH)?;
    (*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text).then_some(id)
}

impl Taken {
    fn write(taken: grant::Taken) -> Option<Self> {
        let grant::Taken { unused, gone, held, spent } = taken;
        let stored = Self { unused: unused.get(), gone: gone.get(), held: held.get(), spent: spent.get() };
        Some(stored).filter(|stored| *stored != Self::default())
    }

    fn read(self) -> grant::Taken {
        let Self { unused, gone, held, spent } = self;
        grant::Taken {
            unused: Nanos::new(unused),
            gone: Nanos::new(gone),
            held: Nanos::new(held),
            spent: Nanos::new(spent),
        }
    }
}
