//! Stored records of requests that ended. Quantities and rates are stored in their text form, which is the only one
//! they have outside `billing::price`.

use billing::{
    Nanos, entry,
    ids::{KeyId, RequestId},
    price,
};
use rust_decimal::Decimal;

use super::{
    super::{v2::Attempt, v7, v8::Timings},
    BadBody,
    context::{Reading, Writing},
    each, malformed,
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Usage {
    #[prost(uint32, tag = "1")]
    request_id: u32,
    #[prost(uint32, tag = "2")]
    key_id: u32,
    #[prost(string, tag = "3")]
    model: String,
    #[prost(string, tag = "4")]
    provider: String,
    #[prost(uint32, tag = "5")]
    pub(super) ending: u32,
    #[prost(string, tag = "6")]
    pub(super) parts: String,
    #[prost(bool, tag = "7")]
    estimated: bool,
    #[prost(uint64, tag = "8")]
    compute_ms: u64,
    #[prost(uint64, tag = "9")]
    billed_seconds: u64,
    #[prost(message, optional, tag = "10")]
    pub(super) base: Option<Dollars>,
    #[prost(message, optional, tag = "11")]
    pub(super) fee: Option<Dollars>,
    #[prost(int64, tag = "12")]
    charged: i64,
    #[prost(int64, tag = "13")]
    price_version: i64,
    #[prost(sint64, tag = "14")]
    started_at: i64,
    #[prost(sint64, tag = "15")]
    ended_at: i64,
    /// In form 2.
    #[prost(message, repeated, tag = "16")]
    pub(super) attempts: Vec<Attempt>,
    /// In form 7.
    #[prost(string, optional, tag = "17")]
    session: Option<String>,
    /// In form 8.
    #[prost(message, optional, tag = "18")]
    timings: Option<Timings>,
}

/// An exact amount of dollars: a number of 96 bits, and how many of its digits are decimals.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dollars {
    #[prost(uint64, tag = "1")]
    low: u64,
    #[prost(uint32, tag = "2")]
    high: u32,
    #[prost(uint32, tag = "3")]
    pub(super) decimals: u32,
    #[prost(bool, tag = "4")]
    is_negative: bool,
}

impl Usage {
    pub(super) fn write(usage: &entry::UsageRecord, to: &mut Writing) -> Self {
        let entry::UsageRecord {
            request_id,
            key_id,
            model,
            provider,
            ending,
            parts,
            estimated,
            compute_ms,
            billed_seconds,
            cost: price::Cost { base, fee },
            charged,
            price_version,
            started_at,
            ended_at,
            attempts,
            session,
            timings,
        } = usage;
        Self {
            request_id: to.id(request_id.0),
            key_id: to.maybe_id(key_id.map(|id| id.0)),
            model: model.as_ref().to_owned(),
            provider: provider.as_ref().to_owned(),
            ending: ending.number(),
            parts: parts.to_string(),
            estimated: *estimated,
            compute_ms: *compute_ms,
            billed_seconds: *billed_seconds,
            base: Dollars::write(*base),
            fee: Dollars::write(*fee),
            charged: charged.get(),
            price_version: *price_version,
            started_at: to.time(*started_at),
            ended_at: to.time(*ended_at),
            attempts: attempts.iter().map(|attempt| Attempt::write(attempt, to)).collect(),
            session: v7::written(session.as_ref()),
            timings: timings.as_deref().copied().map(Timings::write),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<entry::UsageRecord, BadBody> {
        let Self {
            request_id,
            key_id,
            model,
            provider,
            ending,
            parts,
            estimated,
            compute_ms,
            billed_seconds,
            base,
            fee,
            charged,
            price_version,
            started_at,
            ended_at,
            attempts,
            session,
            timings,
        } = self;
        let parts = parts.parse().map_err(|error| BadBody::Malformed(format!("usage.parts: {error}")))?;
        Ok(entry::UsageRecord {
            request_id: RequestId(from.id(request_id, "usage.request_id")?),
            key_id: from.maybe_id(key_id, "usage.key_id")?.map(KeyId),
            model: model.into(),
            provider: provider.into(),
            ending: value(ending, "usage.ending")?,
            parts,
            estimated,
            compute_ms,
            billed_seconds,
            cost: price::Cost { base: Dollars::read(base, "usage.base")?, fee: Dollars::read(fee, "usage.fee")? },
            charged: Nanos::new(charged),
            price_version,
            started_at: from.time(started_at),
            ended_at: from.time(ended_at),
            attempts: each(attempts, |attempt| attempt.read(from))?,
            session: v7::read(session, "usage.session")?,
            timings: timings.map(Timings::read).map(Box::new),
        })
    }
}

impl Dollars {
    fn write(dollars: Decimal) -> Option<Self> {
        let parts = dollars.unpack();
        let stored = Self {
            low: u64::from(parts.mid) << 32 | u64::from(parts.lo),
            high: parts.hi,
            decimals: dollars.scale(),
            is_negative: dollars.is_sign_negative(),
        };
        Some(stored).filter(|stored| *stored != Self::default())
    }

    fn read(stored: Option<Self>, field: &str) -> Result<Decimal, BadBody> {
        let Self { low, high, decimals, is_negative } = stored.unwrap_or_default();
        let number = u128::from(high) << 64 | u128::from(low);
        let number = i128::try_from(number).map_err(|_| malformed(field))?;
        let mut dollars = Decimal::try_from_i128_with_scale(number, decimals).map_err(|_| malformed(field))?;
        dollars.set_sign_negative(is_negative);
        Ok(dollars)
    }
}
