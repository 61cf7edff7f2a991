//! What stands in a file of captures, pure: a first line, then frames, each with its length and a checksum before it. The end
//! of a file that was being written when its process died is no frame; all before it is whole.

use std::collections::BTreeMap;

use billing::{
    entry::UsageRecord,
    ids::{AccountId, RequestId},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The first line of a file.
pub(super) const FIRST: &[u8] = b"farebox captures 1\n";
/// The bytes before a frame's body: its length, and the beginning of its hash.
const HEAD: usize = 4 + CHECK;
const CHECK: usize = 8;

/// The captures that wait, by their requests.
pub(super) type Waiting = BTreeMap<RequestId, (AccountId, UsageRecord)>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// A capture waits for the ledger.
    Waits(AccountId, Box<UsageRecord>),
    /// It is in the ledger, or can never be.
    Over(RequestId),
}

/// What a file has.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    pub(super) waiting: Waiting,
    /// The bytes behind the last whole frame.
    pub(super) torn: usize,
}

fn check(body: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::digest(body);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hash[..CHECK]);
    check
}

impl Frame {
    /// Appends the frame; `None` where it is longer than a frame may be.
    pub(super) fn write(&self, into: &mut Vec<u8>) -> Option<()> {
        let body = serde_json::to_vec(self).ok()?;
        into.extend(u32::try_from(body.len()).ok()?.to_be_bytes());
        into.extend(check(&body));
        into.extend(body);
        Some(())
    }

    /// The first frame, and what follows it; `None` where it is not whole.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let (length, sum) = head.split_at_checked(4)?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        let (body, rest) = rest.split_at_checked(length)?;
        if sum != check(body) {
            return None;
        }
        Some((serde_json::from_slice(body).ok()?, rest))
    }
}

/// Reads a file; `None` where it is no file of captures.
pub(super) fn read(bytes: &[u8]) -> Option<Read> {
    // Its process died before the first line was whole.
    if bytes.len() < FIRST.len() && FIRST.starts_with(bytes) {
        return Some(Read { waiting: Waiting::new(), torn: bytes.len() });
    }
    let (mut left, mut waiting) = (bytes.strip_prefix(FIRST)?, Waiting::new());
    while let Some((frame, rest)) = Frame::read(left) {
        match frame {
            Frame::Waits(account_id, record) => drop(waiting.insert(record.request_id, (account_id, *record))),
            Frame::Over(request_id) => drop(waiting.remove(&request_id)),
        }
        left = rest;
    }
    Some(Read { waiting, torn: left.len() })
}

#[cfg(test)]
pub(super) mod tests {
    use billing::{
        Nanos, Timestamp,
        hold::{Hold, Work},
    };
    use uuid::Uuid;

    use super::*;

    pub(in crate::spool) fn record(number: u128) -> UsageRecord {
        let hold = Hold {
            request_id: RequestId(Uuid::from_u128(number)),
            key_id: None,
            work: Work::Closed,
            model: "m".into(),
            provider: "p".into(),
            price_version: 1,
            allocations: Vec::new(),
            accrued: Nanos::new(72_000),
            worst_case: Nanos::new(90_000),
            claimed: None,
            placed_at: Timestamp(1),
            deadline: Timestamp(9),
            is_parked: false,
            session: None,
        };
        UsageRecord::abandoned(&hold, Timestamp(5))
    }

    fn frames() -> Vec<Frame> {
        let waits = |number| Frame::Waits(AccountId(Uuid::from_u128(7)), Box::new(record(number)));
        let over = |number| Frame::Over(RequestId(Uuid::from_u128(number)));
        vec![waits(1), waits(2), over(1), waits(3), over(9), waits(2), over(3), over(2), waits(4)]
    }

    /// What waits after these.
    fn after(frames: &[Frame]) -> Waiting {
        let mut waiting = Waiting::new();
        for frame in frames {
            match frame.clone() {
                Frame::Waits(account, record) => drop(waiting.insert(record.request_id, (account, *record))),
                Frame::Over(id) => drop(waiting.remove(&id)),
            }
        }
        waiting
    }

    #[test]
    fn a_file_that_is_cut_anywhere_has_all_that_was_whole_before() {
        let (mut bytes, mut ends) = (FIRST.to_vec(), vec![FIRST.len()]);
        for frame in frames() {
            frame.write(&mut bytes).unwrap();
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().rposition(|end| *end <= cut);
            let (waiting, torn) = match whole {
                Some(whole) => (after(&frames()[..whole]), cut - ends[whole]),
                None => (Waiting::new(), cut),
            };
            assert_eq!(read(&bytes[..cut]), Some(Read { waiting, torn }), "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_that_is_wrong_ends_what_is_believed_and_another_file_is_none() {
        let mut bytes = FIRST.to_vec();
        let frames = frames();
        frames[0].write(&mut bytes).unwrap();
        let first = bytes.len();
        frames[1].write(&mut bytes).unwrap();
        for at in first..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let read = read(&wrong).unwrap();
            assert_eq!((read.waiting, read.torn), (after(&frames[..1]), bytes.len() - first), "byte {at}");
        }
        assert_eq!(read(b"another file, and a long one"), None);
    }
}
