//! The journal's protocol, pure: the entries that wait, the lives of accounts that are still accepted, the content of a
//! batch, and the reports after it. No clock, no thread and no I/O: the driver (the writer's thread, or a simulation
//! with its own disk) takes a batch, writes it, and reports.
//!
//! Its invariants: one batch at a time; a transition is reported durable only after its batch was reported written;
//! after a failure no batch has an entry that its account had sent since; what a life had sent before its successor
//! opened is written, and it is told; an open is answered once nothing of an earlier life is being written or will be.
//! An account is forgotten when it has no life and no waiting entry. No operation walks the queue.

use std::collections::{HashMap, VecDeque};

use billing::{entry::Transition, ids::AccountId};

/// The most transitions in one batch.
pub const LARGEST_BATCH: usize = 1_024;

/// The number of a life of an account's actor. It rises with every rebuild.
pub type Incarnation = u64;

/// A transition to write, and its sender.
#[derive(Debug)]
pub struct Pending<W> {
    /// The transition.
    pub transition: Box<Transition>,
    /// The transition's place in its sender's outbox.
    pub ticket: u64,
    /// The sender's life.
    pub incarnation: Incarnation,
    /// The channel to the sender.
    pub sender: W,
}

/// The driver's next step.
#[derive(Debug)]
pub enum Step<R> {
    /// Write all of these or none, then report with [`Protocol::written`].
    Write(Vec<Transition>),
    /// Nothing to write: inform these that everything sent before is decided.
    Open(Vec<R>),
}

/// The messages due after a batch was reported.
#[derive(Debug)]
pub struct Report<W, R> {
    /// Each sender once: its last durable ticket, or why it must be rebuilt.
    pub senders: Vec<(W, Result<u64, String>)>,
    /// The accounts whose opens are done.
    pub opened: Vec<R>,
}

enum Waiting<W, R> {
    Pending(Pending<W>),
    Open(R),
}

/// The last entry of an account in the batch that is being written.
struct Last<W> {
    ticket: u64,
    sender: W,
}

struct Writing<W, R> {
    /// By account and life: of an account, the life that leaves and its successor may both have sent something.
    senders: HashMap<(AccountId, Incarnation), Last<W>>,
    opens: Vec<R>,
}

/// The protocol over senders `W` and openers `R`.
pub struct Protocol<W, R> {
    queue: VecDeque<Waiting<W, R>>,
    writing: Option<Writing<W, R>>,
    /// Accounts with a life or a waiting entry.
    known: HashMap<AccountId, Known>,
}

/// The state of an account.
#[derive(Default)]
struct Known {
    /// The oldest life of which new entries are taken.
    oldest: Incarnation,
    /// The oldest life whose waiting entries are written: an entry of an earlier one was decided on a state that no longer exists.
    unfailed: Incarnation,
    /// Lives that have opened or sent something and have not ended: one, and its predecessor while that ends.
    lives: Vec<Incarnation>,
    /// The account's entries in the queue, including those of lives that are no longer accepted.
    waiting: usize,
}

impl Known {
    fn lives(&mut self, incarnation: Incarnation) {
        if !self.lives.contains(&incarnation) {
            self.lives.push(incarnation);
        }
    }

    const fn is_over(&self) -> bool {
        self.lives.is_empty() && self.waiting == 0
    }
}

impl<W, R> Default for Protocol<W, R> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), writing: None, known: HashMap::new() }
    }
}

impl<W, R> Protocol<W, R> {
    /// Takes an entry.
    ///
    /// # Errors
    ///
    /// Returns the sender of an entry from an earlier life: that life must end.
    pub fn push(&mut self, entry: Pending<W>) -> Result<(), W> {
        let known = self.known.entry(entry.transition.account_id).or_default();
        known.lives(entry.incarnation);
        if entry.incarnation < known.oldest {
            return Err(entry.sender);
        }
        known.waiting += 1;
        self.queue.push_back(Waiting::Pending(entry));
        Ok(())
    }

    /// Begins a new life of an account. Nothing of an earlier life is taken any more, and what waits of it is written: a
    /// life that leaves has answers that wait for it. `ready` is informed once everything taken before is decided; from
    /// then on the account's rows are its state.
    pub fn open(&mut self, account_id: AccountId, incarnation: Incarnation, ready: R) {
        let known = self.known.entry(account_id).or_default();
        known.lives(incarnation);
        known.oldest = known.oldest.max(incarnation);
        self.queue.push_back(Waiting::Open(ready));
    }

    /// Ends a life, which sends nothing more.
    pub fn ended(&mut self, account_id: AccountId, incarnation: Incarnation) {
        if let Some(known) = self.known.get_mut(&account_id) {
            known.lives.retain(|life| *life != incarnation);
            if known.is_over() {
                self.known.remove(&account_id);
            }
        }
    }

    /// The number of known accounts.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// The number of waiting entries, without the batch that is being written.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits and no batch is being written.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.writing.is_none()
    }

    /// The next step; `None` while a batch is being written, or where nothing waits.
    pub fn next_step(&mut self) -> Option<Step<R>> {
        if self.writing.is_some() {
            return None;
        }
        let mut batch = Vec::with_capacity(self.queue.len().min(LARGEST_BATCH));
        let (mut senders, mut opens) = (HashMap::new(), Vec::new());
        while batch.len() < LARGEST_BATCH {
            match self.queue.pop_front() {
                // Entries that waited before an open are in this batch or an earlier one.
                Some(Waiting::Open(ready)) => opens.push(ready),
                Some(Waiting::Pending(entry)) => {
                    let Pending { transition, ticket, incarnation, sender } = entry;
                    if !self.take(transition.account_id, incarnation) {
                        continue;
                    }
                    senders.insert((transition.account_id, incarnation), Last { ticket, sender });
                    batch.push(*transition);
                }
                None => break,
            }
        }
        if batch.is_empty() {
            return (!opens.is_empty()).then_some(Step::Open(opens));
        }
        self.writing = Some(Writing { senders, opens });
        Some(Step::Write(batch))
    }

    /// Reports the batch of the last step as durable, except for the accounts in `failed`, with the reason: their
    /// entries are not durable, or not known to be.
    ///
    /// # Panics
    ///
    /// No batch is being written.
    pub fn written(&mut self, failed: &HashMap<AccountId, String>) -> Report<W, R> {
        let Some(Writing { senders, opens }) = self.writing.take() else {
            panic!("a batch was reported that nobody took");
        };
        let mut told = Vec::with_capacity(senders.len());
        for ((account_id, incarnation), Last { ticket, sender }) in senders {
            let result = match failed.get(&account_id) {
                None => Ok(ticket),
                Some(error) => {
                    // An unknown account has ended, and has no waiting entry.
                    if let Some(known) = self.known.get_mut(&account_id) {
                        known.oldest = known.oldest.max(incarnation + 1);
                        known.unfailed = known.unfailed.max(incarnation + 1);
                    }
                    Err(error.clone())
                }
            };
            told.push((sender, result));
        }
        Report { senders: told, opened: opens }
    }

    /// Reports that the driver died while it wrote the batch: no entry of it is known to be durable. Without a batch
    /// the report is empty.
    pub fn interrupted(&mut self, error: &str) -> Report<W, R> {
        let Some(Writing { senders, .. }) = &self.writing else {
            return Report { senders: Vec::new(), opened: Vec::new() };
        };
        let failed = senders.keys().map(|(account_id, _)| (*account_id, error.to_owned())).collect();
        self.written(&failed)
    }

    /// Counts an entry that was taken from the queue. Returns whether nothing that its life had sent before has failed.
    fn take(&mut self, account_id: AccountId, incarnation: Incarnation) -> bool {
        let Some(known) = self.known.get_mut(&account_id) else {
            panic!("an entry waited that nobody had sent");
        };
        known.waiting -= 1;
        let is_unfailed = incarnation >= known.unfailed;
        if known.is_over() {
            self.known.remove(&account_id);
        }
        is_unfailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::{Timestamp, account::Header, plan::Plan};
    use uuid::Uuid;

    type Journal = Protocol<&'static str, &'static str>;

    /// A transition that changes nothing.
    fn transition(account: u128, seq: u64) -> Transition {
        let now = Timestamp(0);
        Transition::unchanged(AccountId(Uuid::from_u128(account)), seq, now, Header::new(Plan::Free, now))
    }

    fn entry(account: u128, incarnation: Incarnation, ticket: u64) -> Pending<&'static str> {
        let transition = Box::new(transition(account, ticket));
        Pending { transition, ticket, incarnation, sender: if account == 1 { "one" } else { "two" } }
    }

    fn batch(journal: &mut Journal) -> Vec<u64> {
        match journal.next_step() {
            Some(Step::Write(batch)) => batch.into_iter().map(|transition| transition.seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn failure(account: u128) -> HashMap<AccountId, String> {
        HashMap::from([(AccountId(Uuid::from_u128(account)), "no".to_owned())])
    }

    #[test]
    fn each_sender_is_told_once_how_far_it_is_durable_and_not_before() {
        let mut journal = Journal::default();
        for ticket in 1..=3 {
            journal.push(entry(1, 1, ticket)).unwrap();
        }
        assert_eq!(batch(&mut journal), [1, 2, 3]);
        journal.push(entry(1, 1, 4)).unwrap();
        assert!(journal.next_step().is_none(), "one batch at a time");
        assert_eq!(journal.written(&HashMap::new()).senders, [("one", Ok(3))]);
        assert_eq!(batch(&mut journal), [4]);
        assert_eq!(journal.written(&HashMap::new()).senders, [("one", Ok(4))]);
        assert!(journal.next_step().is_none());
    }

    #[test]
    fn what_a_failed_account_had_sent_since_is_never_written() {
        let mut journal = Journal::default();
        journal.push(entry(1, 1, 1)).unwrap();
        journal.push(entry(2, 1, 7)).unwrap();
        assert_eq!(batch(&mut journal), [1, 7]);
        // Sent before the failure is known.
        journal.push(entry(1, 1, 2)).unwrap();
        journal.push(entry(2, 1, 8)).unwrap();
        let mut told = journal.written(&failure(1)).senders;
        told.sort_unstable();
        assert_eq!(told, [("one", Err("no".to_owned())), ("two", Ok(7))]);
        assert_eq!(journal.push(entry(1, 1, 3)), Err("one"), "sent before it was told");
        assert_eq!(batch(&mut journal), [8]);
        journal.written(&HashMap::new());
        journal.push(entry(1, 2, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
    }

    #[test]
    fn a_batch_whose_writer_died_fails_its_accounts_and_no_other() {
        let mut journal = Journal::default();
        assert!(journal.interrupted("died").senders.is_empty());
        journal.push(entry(1, 1, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
        journal.push(entry(1, 1, 2)).unwrap();
        journal.push(entry(2, 1, 7)).unwrap();
        assert_eq!(journal.interrupted("died").senders, [("one", Err("died".to_owned()))]);
        assert_eq!(batch(&mut journal), [7], "what the failed account had sent since is not written");
    }

    #[test]
    fn an_open_waits_for_what_was_sent_before_it_and_refuses_earlier_lives() {
        let mut journal = Journal::default();
        journal.push(entry(1, 1, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
        journal.push(entry(1, 1, 2)).unwrap();
        journal.open(AccountId(Uuid::from_u128(1)), 2, "ready");
        assert_eq!(journal.push(entry(1, 1, 3)), Err("one"));
        assert!(journal.next_step().is_none());
        assert!(journal.written(&HashMap::new()).opened.is_empty(), "the open came after that batch");
        assert_eq!(batch(&mut journal), [2], "its answer waits for it");
        let Report { senders, opened } = journal.written(&HashMap::new());
        assert_eq!((senders, opened), (vec![("one", Ok(2))], vec!["ready"]));
        journal.open(AccountId(Uuid::from_u128(1)), 2, "ready");
        assert!(matches!(journal.next_step(), Some(Step::Open(opened)) if opened == ["ready"]));
        // An open amid others' entries is answered with the batch of the entries before it.
        journal.push(entry(2, 1, 5)).unwrap();
        journal.open(AccountId(Uuid::from_u128(1)), 3, "again");
        assert_eq!(batch(&mut journal), [5]);
        assert_eq!(journal.written(&HashMap::new()).opened, ["again"]);
    }

    #[test]
    fn what_a_life_had_sent_behind_a_failure_is_not_written_though_its_successor_waits() {
        let mut journal = Journal::default();
        journal.push(entry(1, 1, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
        journal.push(entry(1, 1, 2)).unwrap();
        journal.open(AccountId(Uuid::from_u128(1)), 2, "ready");
        assert_eq!(journal.written(&failure(1)).senders, [("one", Err("no".to_owned()))]);
        assert!(matches!(journal.next_step(), Some(Step::Open(opened)) if opened == ["ready"]));
        journal.push(entry(1, 2, 5)).unwrap();
        assert_eq!(batch(&mut journal), [5]);
    }

    #[test]
    fn an_older_life_that_opens_late_does_not_bring_itself_back() {
        let mut journal = Journal::default();
        journal.open(AccountId(Uuid::from_u128(1)), 5, "new");
        journal.open(AccountId(Uuid::from_u128(1)), 4, "old");
        assert_eq!(journal.push(entry(1, 4, 1)), Err("one"));
    }

    #[test]
    fn accounts_that_ended_are_forgotten_and_so_is_what_they_had_sent_after_a_failure() {
        let mut journal = Journal::default();
        for account in 1..=1_000 {
            let id = AccountId(Uuid::from_u128(account));
            journal.open(id, 1, "ready");
            journal.push(entry(account, 1, 1)).unwrap();
            journal.ended(id, 1);
        }
        assert_eq!(journal.known(), 1_000, "what they sent waits");
        assert_eq!(batch(&mut journal).len(), 1_000);
        assert_eq!(journal.known(), 0, "what is being written needs no memory of its senders");
        journal.written(&HashMap::new());

        let id = AccountId(Uuid::from_u128(1));
        journal.push(entry(1, 7, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
        journal.push(entry(1, 7, 2)).unwrap();
        journal.written(&failure(1));
        journal.ended(id, 7);
        assert_eq!(journal.known(), 1, "what it had sent since must not be forgotten to be refused");
        assert!(journal.next_step().is_none());
        assert_eq!((journal.known(), journal.waiting()), (0, 0));

        // The life's end is reported before the failure of its last batch.
        journal.push(entry(1, 8, 1)).unwrap();
        assert_eq!(batch(&mut journal), [1]);
        journal.ended(id, 8);
        journal.written(&failure(1));
        assert_eq!(journal.known(), 0);
    }

    #[test]
    fn a_life_that_ends_late_does_not_take_the_next_ones_place() {
        let mut journal = Journal::default();
        let id = AccountId(Uuid::from_u128(1));
        journal.open(id, 1, "first");
        journal.push(entry(1, 1, 1)).unwrap();
        journal.open(id, 2, "second");
        journal.push(entry(1, 2, 5)).unwrap();
        assert_eq!(journal.push(entry(1, 1, 2)), Err("one"));
        journal.ended(id, 1);
        assert_eq!(batch(&mut journal), [1, 5]);
        assert_eq!(journal.written(&HashMap::new()).senders.len(), 2, "each life is told");
        assert_eq!(journal.known(), 1);
        journal.ended(id, 2);
        assert_eq!(journal.known(), 0);
    }

    #[test]
    fn an_account_opens_as_quickly_behind_a_long_queue() {
        // Counted, not timed: an open that walked the queue would take entries out of it.
        let mut journal = Journal::default();
        for ticket in 0..10 {
            journal.push(entry(1, 1, ticket)).unwrap();
        }
        journal.open(AccountId(Uuid::from_u128(1)), 2, "ready");
        assert_eq!(journal.waiting(), 11, "nothing was looked at");
        assert_eq!((batch(&mut journal).len(), journal.waiting()), (10, 0));
        assert_eq!(journal.written(&HashMap::new()).opened, ["ready"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut journal = Journal::default();
        for ticket in 0..=LARGEST_BATCH as u64 {
            journal.push(entry(1, 1, ticket)).unwrap();
        }
        assert_eq!(batch(&mut journal).len(), LARGEST_BATCH);
        assert_eq!(journal.written(&HashMap::new()).senders, [("one", Ok(LARGEST_BATCH as u64 - 1))]);
        assert_eq!(batch(&mut journal), [LARGEST_BATCH as u64]);
    }
}
