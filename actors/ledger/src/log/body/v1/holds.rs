//! Stored holds.

use billing::{
    Nanos,
    class::Units,
    hold,
    ids::{GrantId, KeyId, RequestId},
};

use super::{
    super::v7,
    BadBody,
    context::{Reading, Writing},
    each,
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hold {
    #[prost(uint32, tag = "1")]
    request_id: u32,
    #[prost(uint32, tag = "2")]
    key_id: u32,
    /// The work, if the model is open.
    #[prost(message, optional, tag = "3")]
    pub(super) open: Option<Open>,
    #[prost(string, tag = "4")]
    model: String,
    #[prost(string, tag = "5")]
    provider: String,
    #[prost(int64, tag = "6")]
    price_version: i64,
    #[prost(message, repeated, tag = "7")]
    allocations: Vec<Allocation>,
    #[prost(int64, tag = "8")]
    accrued: i64,
    #[prost(int64, tag = "9")]
    worst_case: i64,
    #[prost(int64, optional, tag = "10")]
    claimed: Option<i64>,
    #[prost(sint64, tag = "11")]
    placed_at: i64,
    #[prost(sint64, tag = "12")]
    deadline: i64,
    /// In form 3 alone.
    #[prost(bool, tag = "13")]
    is_parked: bool,
    /// In form 7.
    #[prost(string, optional, tag = "14")]
    session: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Open {
    #[prost(uint32, tag = "1")]
    pub(super) class: u32,
    #[prost(uint32, tag = "2")]
    units: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Allocation {
    #[prost(uint32, tag = "1")]
    grant_id: u32,
    #[prost(int64, tag = "2")]
    amount: i64,
}

impl Hold {
    pub(super) fn write(hold: &hold::Hold, to: &mut Writing) -> Self {
        let hold::Hold {
            request_id,
            key_id,
            work,
            model,
            provider,
            price_version,
            allocations,
            accrued,
            worst_case,
            claimed,
            placed_at,
            deadline,
            is_parked,
            session,
        } = hold;
        let mut allocation =
            |(grant_id, amount): &(GrantId, Nanos)| Allocation { grant_id: to.id(grant_id.0), amount: amount.get() };
        let allocations = allocations.iter().map(&mut allocation).collect();
        Self {
            request_id: to.id(request_id.0),
            key_id: to.maybe_id(key_id.map(|id| id.0)),
            open: match *work {
                hold::Work::Open { class, units: Units(units) } => Some(Open { class: class.number(), units }),
                hold::Work::Closed => None,
            },
            model: model.as_ref().to_owned(),
            provider: provider.as_ref().to_owned(),
            price_version: *price_version,
            allocations,
            accrued: accrued.get(),
            worst_case: worst_case.get(),
            claimed: claimed.map(Nanos::get),
            placed_at: to.time(*placed_at),
            deadline: to.time(*deadline),
            is_parked: *is_parked,
            session: v7::written(session.as_ref()),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<hold::Hold, BadBody> {
        let Self {
            request_id,
            key_id,
            open,
            model,
            provider,
            price_version,
            allocations,
            accrued,
            worst_case,
            claimed,
            placed_at,
            deadline,
            is_parked,
            session,
        } = self;
        Ok(hold::Hold {
            request_id: RequestId(from.id(request_id, "hold.request_id")?),
            key_id: from.maybe_id(key_id, "hold.key_id")?.map(KeyId),
            work: open.map_or(Ok(hold::Work::Closed), Open::read)?,
            model: model.into(),
            provider: provider.into(),
            price_version,
            allocations: each(allocations, |allocation| allocation.read(from))?,
            accrued: Nanos::new(accrued),
            worst_case: Nanos::new(worst_case),
            claimed: claimed.map(Nanos::new),
            placed_at: from.time(placed_at),
            deadline: from.time(deadline),
            is_parked,
            session: v7::read(session, "hold.session")?,
        })
    }
}

impl Open {
    fn read(self) -> Result<hold::Work, BadBody> {
        let Self { class, units } = self;
        Ok(hold::Work::Open { class: value(class, "hold.open.class")?, units: Units(units) })
    }
}

impl Allocation {
    fn read(self, from: &Reading) -> Result<(GrantId, Nanos), BadBody> {
        let Self { grant_id, amount } = self;
        Ok((GrantId(from.id(grant_id, "allocation.grant_id")?), Nanos::new(amount)))
    }
}
