//! The outbox rule: nothing leaves an account before the journal sequence it depends on is durable. What would leave is a
//! closure under the ticket of the last thing sent to the journal before it. Public for the simulation, which holds the
//! rule against a disk that fails.

use std::collections::VecDeque;

type Departure = Box<dyn FnOnce() + Send>;

/// Room that is not kept while nothing waits.
const QUIET: usize = 4;

/// What waits to leave.
#[derive(Default)]
pub struct Outbox {
    sent: u64,
    durable: u64,
    waiting: VecDeque<(u64, Departure)>,
}

impl Outbox {
    /// A ticket for something sent to the journal.
    pub const fn next_ticket(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Lets something leave once all that was sent so far is durable.
    pub fn leave(&mut self, departure: impl FnOnce() + Send + 'static) {
        if self.durable == self.sent {
            departure();
        } else {
            self.waiting.push_back((self.sent, Box::new(departure)));
        }
    }

    /// Opens up to a ticket.
    pub fn opened(&mut self, ticket: u64) {
        assert!(ticket <= self.sent, "the journal committed what was never sent");
        self.durable = self.durable.max(ticket);
        while self.waiting.front().is_some_and(|(needed, _)| *needed <= self.durable) {
            if let Some((_, departure)) = self.waiting.pop_front() {
                departure();
            }
        }
        // Of many accounts few are busy, and those keep their room.
        if self.waiting.is_empty() && self.waiting.capacity() <= QUIET {
            self.waiting = VecDeque::new();
        }
    }

    /// Whether everything sent is durable.
    pub const fn is_settled(&self) -> bool {
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
    use std::sync::mpsc;

    #[test]
    fn nothing_leaves_before_what_it_depends_on_is_durable() {
        let (tx, rx) = mpsc::channel();
        let mut outbox = Outbox::default();
        let send = |name: &'static str| {
            let tx = tx.clone();
            move || tx.send(name).unwrap()
        };
        outbox.leave(send("free"));
        assert_eq!(rx.try_recv(), Ok("free"));
        let first = outbox.next_ticket();
        outbox.leave(send("first"));
        let second = outbox.next_ticket();
        outbox.leave(send("second"));
        assert!(rx.try_recv().is_err());
        outbox.opened(first);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["first"]);
        assert!(!outbox.is_settled());
        outbox.opened(second);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["second"]);
        assert!(outbox.is_settled());
    }
}
