//! The outbox rule: nothing leaves an account before the journal sequence that it depends on is durable. A departure
//! waits under the ticket of the last entry sent to the journal before it. This file knows neither the departures nor
//! their destinations.

use std::collections::VecDeque;

/// The capacity kept while nothing waits.
const QUIET: usize = 4;

/// The departures that wait.
pub(super) struct Outbox<T> {
    sent: u64,
    durable: u64,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { sent: 0, durable: 0, waiting: VecDeque::new() }
    }
}

impl<T> Outbox<T> {
    /// The ticket of a new journal entry.
    pub(super) const fn next_ticket(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Keeps a departure until everything sent so far is durable. Returns the departure where it may leave now.
    pub(super) fn keep(&mut self, departure: T) -> Option<T> {
        if self.durable == self.sent {
            return Some(departure);
        }
        self.waiting.push_back((self.sent, departure));
        None
    }

    /// Opens the outbox up to a ticket: [`Outbox::next`] returns the departures that may leave.
    pub(super) fn open(&mut self, ticket: u64) {
        assert!(ticket <= self.sent, "the journal committed what was never sent");
        self.durable = self.durable.max(ticket);
    }

    /// The next departure that may leave.
    pub(super) fn next(&mut self) -> Option<T> {
        let departure = self.waiting.pop_front_if(|(needed, _)| *needed <= self.durable);
        // Of many accounts few are busy, and only those keep their capacity.
        if departure.is_none() && self.waiting.is_empty() && self.waiting.capacity() <= QUIET {
            self.waiting = VecDeque::new();
        }
        departure.map(|(_, departure)| departure)
    }

    /// Whether everything sent to the journal is durable.
    pub(super) const fn is_settled(&self) -> bool {
        self.durable == self.sent
    }

    /// Frees memory of busier times.
    pub(super) fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
    }

    /// The number of waiting departures.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(outbox: &mut Outbox<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| outbox.next()).collect()
    }

    #[test]
    fn nothing_leaves_before_what_it_depends_on_is_durable() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.keep("free"), Some("free"));
        let first = outbox.next_ticket();
        assert_eq!(outbox.keep("first"), None);
        let second = outbox.next_ticket();
        assert_eq!(outbox.keep("second"), None);
        assert!(leaving(&mut outbox).is_empty());
        outbox.open(first);
        assert_eq!(leaving(&mut outbox), ["first"]);
        assert!(!outbox.is_settled());
        outbox.open(second);
        assert_eq!(leaving(&mut outbox), ["second"]);
        assert!(outbox.is_settled());
    }
}
