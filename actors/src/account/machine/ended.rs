//! The requests of an account that ended last, in this life. One that asks once more to be let in is late: its asker has given
//! up, or counts as gone, and a second hold under its id would be charged a second time.

use std::collections::{BTreeSet, VecDeque};

use billing::ids::RequestId;

/// The most that are remembered. A question is late by what the way between two nodes takes, or the load of an account.
const MOST: usize = 4_096;

/// They.
#[derive(Default)]
pub(super) struct Ended {
    order: VecDeque<RequestId>,
    known: BTreeSet<RequestId>,
}

impl Ended {
    /// A request has ended.
    pub(super) fn note(&mut self, id: RequestId) {
        if !self.known.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether a request has ended lately.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.known.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_last_ones_are_known_and_the_oldest_is_forgotten_first() {
        let id = |number: usize| RequestId(Uuid::from_u128(number as u128));
        let mut ended = Ended::default();
        for number in 0..=MOST {
            ended.note(id(number));
            ended.note(id(number));
        }
        assert!(!ended.has(id(0)) && ended.has(id(1)) && ended.has(id(MOST)) && !ended.has(id(MOST + 1)));
    }
}
