//! A decision in the making: every change of a grant goes through here and leaves its line, so that lines and state
//! can't part.

use crate::{
    account::Account,
    entry::{Line, LineKind, Payment, Transition, UsageRecord},
    grant::Grant,
    hold::Hold,
    ids::{GrantId, RequestId},
    nanos::Nanos,
    time::Timestamp,
};

/// Changes to one account that will be written together.
pub(super) struct Draft<'a> {
    pub(super) account: &'a mut Account,
    pub(super) now: Timestamp,
    lines: Vec<Line>,
    touched: Vec<GrantId>,
    /// Grants that no longer matter to the account, already taken from its memory.
    retired: Vec<Grant>,
    pub(super) hold: Option<Hold>,
    pub(super) ended: Option<RequestId>,
    pub(super) usage: Option<UsageRecord>,
    pub(super) payment: Option<Payment>,
}

impl<'a> Draft<'a> {
    pub(super) const fn new(account: &'a mut Account, now: Timestamp) -> Self {
        Self {
            account,
            now,
            lines: Vec::new(),
            touched: Vec::new(),
            retired: Vec::new(),
            hold: None,
            ended: None,
            usage: None,
            payment: None,
        }
    }

    /// Applies a line to its grant and the account, and keeps it.
    pub(super) fn record(&mut self, line: Line) {
        if let Some(id) = line.grant_id {
            let index = self.account.grant_index(id).unwrap_or_else(|| panic!("grant {id} is not in memory"));
            let grant = &mut self.account.grants[index];
            grant.funded += line.funded;
            grant.available += line.available;
            grant.held += line.held;
            grant.spent += line.spent;
            grant.expired += line.expired;
            grant.voided += line.voided;
            grant.assert_sound();
            self.account.available += line.available;
            if !self.touched.contains(&id) {
                self.touched.push(id);
            }
        }
        self.account.header.debt += line.debt;
        assert!(self.account.header.debt >= Nanos::ZERO, "more debt repaid than owed");
        self.lines.push(line);
    }

    /// Takes up to `wanted` from what is available, in draw order, telling `line_of` each grant and amount.
    pub(super) fn draw(&mut self, wanted: Nanos, line_of: impl Fn(GrantId, Nanos) -> Line) -> Vec<(GrantId, Nanos)> {
        let mut missing = wanted;
        let mut taken = Vec::new();
        let mut index = 0;
        while missing.is_positive() && index < self.account.grants.len() {
            let grant = &self.account.grants[index];
            index += 1;
            if !grant.available.is_positive() || grant.is_expired(self.now) {
                continue;
            }
            let (id, amount) = (grant.id, grant.available.min(missing));
            self.record(line_of(id, amount));
            taken.push((id, amount));
            missing -= amount;
        }
        taken
    }

    /// Removes from memory the grants that no rule will look at again; their last state is still written.
    pub(super) fn retire_dead_grants(&mut self) {
        let now = self.now;
        if self.account.grants.iter().all(|grant| grant.is_live(now)) {
            return;
        }
        let (live, dead) = std::mem::take(&mut self.account.grants).into_iter().partition(|grant| grant.is_live(now));
        self.account.grants = live;
        self.retired = dead;
    }

    /// A line of the current kind for a grant.
    pub(super) const fn line(kind: LineKind, grant_id: GrantId, request_id: Option<RequestId>) -> Line {
        let mut line = Line::new(kind);
        line.grant_id = Some(grant_id);
        line.request_id = request_id;
        line
    }

    /// The transition, if anything changed.
    pub(super) fn finish(mut self) -> Option<Transition> {
        self.retire_dead_grants();
        if self.lines.is_empty() && self.payment.is_none() {
            return None;
        }
        let Self { account, now, lines, touched, retired, hold, ended, usage, payment } = self;
        // A change of a payment alone leaves no line, and takes no place in the journal: its sequence stays dense.
        account.header.seq += u64::from(!lines.is_empty());
        account.header.clock = now;
        let is_touched = |grant: &&Grant| touched.contains(&grant.id);
        let grants = account.grants.iter().chain(&retired).filter(is_touched).cloned().collect();
        Some(Transition {
            account_id: account.id,
            seq: account.header.seq,
            at: now,
            lines,
            header: account.header.clone(),
            grants,
            hold,
            ended,
            usage,
            payment,
        })
    }
}
