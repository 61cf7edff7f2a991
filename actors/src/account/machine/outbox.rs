//! The outbox rule: nothing leaves an account before the journal sequence it depends on is durable. What would leave waits
//! under the ticket of the last thing sent to the journal before it. It knows neither what leaves nor where to.

use std::collections::VecDeque;

/// Room that is not kept while nothing waits.
const QUIET: usize = 4;

/// What waits to leave.
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
    /// A ticket for something sent to the journal.
    pub(super) const fn next_ticket(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Keeps something until all that was sent so far is durable; given back where it is, to leave now.
    pub(super) fn keep(&mut self, departure: T) -> Option<T> {
        if self.durable == self.sent {
            return Some(departure);
        }
        self.waiting.push_back((self.sent, departure));
        None
    }

    /// Opens up to a ticket: [`Outbox::next`] gives what may leave now.
    pub(super) fn open(&mut self, ticket: u64) {
        assert!(ticket <= self.sent, "the journal committed what was never sent");
        self.durable = self.durable.max(ticket);
    }

    /// The next that may leave.
    pub(super) fn next(&mut self) -> Option<T> {
        let departure = self.waiting.pop_front_if(|(needed, _)| *needed <= self.durable);
        // Of many accounts few are busy, and those keep their room.
        if departure.is_none() && self.waiting.is_empty() && self.waiting.capacity() <= QUIET {
            self.waiting = VecDeque::new();
        }
        departure.map(|(_, departure)| departure)
    }

    /// Whether everything sent is durable.
    pub(super) const fn is_settled(&self) -> bool {
        self.durable == self.sent
    }

    /// Gives back the room of busier times.
    pub(super) fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
    }

    /// How many wait.
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
