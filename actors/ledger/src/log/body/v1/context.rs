//! What a transition's messages share: the list of its ids, and its time.

use billing::{Timestamp, ids::AccountId};
use uuid::Uuid;

use super::{BadBody, malformed};

/// The bytes of an id.
const WIDTH: usize = 16;

/// The ids of a usual transition: the account, a request, a key, and two grants with their payments.
const USUAL: usize = 7;

/// The ids and the time of a transition that is written.
pub(in crate::log::body) struct Writing {
    at: Timestamp,
    ids: Vec<u8>,
}

impl Writing {
    pub(super) fn new(account: Uuid, at: Timestamp) -> Self {
        let mut ids = Vec::with_capacity(USUAL * WIDTH);
        ids.extend_from_slice(account.as_bytes());
        Self { at, ids }
    }

    /// The place of an id in the list, from 1. A new id is added.
    pub(in crate::log::body) fn id(&mut self, id: Uuid) -> u32 {
        let (known, _) = self.ids.as_chunks::<WIDTH>();
        let (found, count) = (known.iter().position(|known| known == id.as_bytes()), known.len());
        let place = found.unwrap_or(count);
        if place == count {
            self.ids.extend_from_slice(id.as_bytes());
        }
        u32::try_from(place + 1).unwrap_or(u32::MAX)
    }

    /// The place of an id, or zero for none.
    pub(in crate::log::body) fn maybe_id(&mut self, id: Option<Uuid>) -> u32 {
        id.map_or(0, |id| self.id(id))
    }

    /// The distance of a time. Distances wrap, so that each pair of times has one.
    pub(in crate::log::body) const fn time(&self, time: Timestamp) -> i64 {
        time.0.wrapping_sub(self.at.0)
    }

    pub(super) fn maybe_time(&self, time: Option<Timestamp>) -> Option<i64> {
        time.map(|time| self.time(time))
    }

    pub(super) fn into_ids(self) -> Vec<u8> {
        self.ids
    }
}

/// The ids and the time of a transition that is read.
pub(in crate::log::body) struct Reading<'a> {
    at: Timestamp,
    ids: &'a [[u8; WIDTH]],
}

impl<'a> Reading<'a> {
    pub(super) fn new(ids: &'a [u8], at: Timestamp) -> Result<Self, BadBody> {
        match ids.as_chunks::<WIDTH>() {
            (ids, []) => Ok(Self { at, ids }),
            (_, _) => Err(malformed("transition.ids")),
        }
    }

    /// The transition's account.
    pub(in crate::log::body) fn account(&self) -> Result<AccountId, BadBody> {
        self.id(1, "transition.ids").map(AccountId)
    }

    /// The id at a place.
    pub(in crate::log::body) fn id(&self, place: u32, field: &str) -> Result<Uuid, BadBody> {
        self.maybe_id(place, field)?.ok_or_else(|| malformed(field))
    }

    /// The id at a place, or none at zero.
    pub(in crate::log::body) fn maybe_id(&self, place: u32, field: &str) -> Result<Option<Uuid>, BadBody> {
        let Some(index) = place.checked_sub(1) else { return Ok(None) };
        let found = usize::try_from(index).ok().and_then(|index| self.ids.get(index));
        found.map(|id| Some(Uuid::from_bytes(*id))).ok_or_else(|| malformed(field))
    }

    pub(in crate::log::body) const fn time(&self, distance: i64) -> Timestamp {
        Timestamp(self.at.0.wrapping_add(distance))
    }

    pub(super) fn maybe_time(&self, distance: Option<i64>) -> Option<Timestamp> {
        distance.map(|distance| self.time(distance))
    }
}
