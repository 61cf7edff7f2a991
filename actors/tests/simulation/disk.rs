//! The disk: the owner's lease, the log, and the tables that are made from it. Beside them stands what nobody in the
//! simulated processes can see: the rows that the whole log gives, made one transition after the other as soon as a row
//! of the log is there. With them the rules are checked, and the tables are compared.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    account::Header,
    ids::{AccountId, KeyId, RequestId},
    key::KeyLimits,
};
use ledger::log::{
    Row,
    body::{self, Body},
    chain,
};

use crate::{
    check::{Checked, DENSE, PROJECTED, Rule, TABLES, Violation, ensure},
    log::{Fence, Fenced, Log},
    mutants::Mutant,
    rows::{Entry, Rows},
    tables::{Tables, write},
};

pub(crate) struct Disk {
    /// The newest owner's epoch.
    pub(crate) epoch: i64,
    pub(crate) log: Log,
    pub(crate) tables: Tables,
    /// What the whole log says.
    pub(crate) truth: BTreeMap<AccountId, Rows>,
    /// The last row of the log with a transition of an account.
    last: BTreeMap<AccountId, u64>,
    /// Accounts of rows appended since the last check.
    pub(crate) dirty: BTreeSet<AccountId>,
    /// A rule that a row of the log breaks.
    broken: Option<Violation>,
    mutant: Option<Mutant>,
}

impl Disk {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            epoch: 0,
            log: Log::default(),
            tables: Tables::default(),
            truth: BTreeMap::new(),
            last: BTreeMap::new(),
            dirty: BTreeSet::new(),
            broken: None,
            mutant,
        }
    }

    /// Adds an account that existed before the log.
    pub(crate) fn create(&mut self, id: AccountId, header: &Header) {
        for accounts in [&mut self.tables.accounts, &mut self.truth] {
            accounts.insert(id, Rows::new(header.clone()));
        }
    }

    /// Sets the limits of a key that existed before the log.
    pub(crate) fn limit(&mut self, id: AccountId, key: KeyId, limits: &KeyLimits) {
        for accounts in [&mut self.tables.accounts, &mut self.truth] {
            if let Some(rows) = accounts.get_mut(&id) {
                rows.keys.insert(key, limits.clone());
            }
        }
    }

    /// Writes the proof of a request beside the log, as a mutant does.
    pub(crate) fn prove(&mut self, id: AccountId, request: RequestId) {
        for accounts in [&mut self.tables.accounts, &mut self.truth] {
            if let Some(rows) = accounts.get_mut(&id) {
                rows.proofs.insert(request);
            }
        }
    }

    /// Gives a new owner its epoch.
    pub(crate) const fn take_over(&mut self) -> i64 {
        self.epoch += 1;
        self.epoch
    }

    /// The rows of an account, as the whole log gives them.
    pub(crate) fn rows(&self, id: AccountId) -> &Rows {
        &self.truth[&id]
    }

    /// Appends a row to the log.
    pub(crate) fn append(&mut self, row: &Row) -> Result<(), Fenced> {
        let fence = if self.mutant == Some(Mutant::NoFence) { Fence::Unchecked } else { Fence::Checked };
        let head = self.log.head();
        if !self.log.append(row, self.epoch, fence)? {
            return Ok(());
        }
        let follows = match head {
            Some(head) => chain::follow(head, row).map(drop),
            None => chain::check(row),
        };
        if let Err(violation) = self.takes_in(row, &follows) {
            self.broken.get_or_insert(violation);
        }
        Ok(())
    }

    /// Notes what a new row of the log says.
    fn takes_in(&mut self, row: &Row, follows: &Result<(), chain::Broken>) -> Checked {
        let Row { seq, epoch, .. } = *row;
        ensure(follows.is_ok(), DENSE, || format!("row {seq} of owner {epoch}: {follows:?}"))?;
        ensure(epoch == self.epoch, DENSE, || format!("row {seq} is owner {epoch}'s, and owner {} lives", self.epoch))?;
        let transitions = match body::decode(&row.body) {
            Ok(Body::Transitions(transitions)) => transitions,
            Ok(Body::Genesis(_) | Body::Prices(_) | Body::Imported(_)) => Vec::new(),
            Err(error) => return ensure(false, PROJECTED, || format!("row {seq}: {error}")),
        };
        for transition in &transitions {
            let written = write(&mut self.truth, &[Entry { transition, epoch }], self.mutant);
            self.dirty.extend(written.map_err(|(account, why)| Violation {
                rule: PROJECTED,
                what: format!("row {seq} of the log, of account {account}: {why}"),
            })?);
            self.last.insert(transition.account_id, seq);
        }
        Ok(())
    }

    /// Notes that a rule is broken.
    pub(crate) fn breaks(&mut self, rule: Rule, what: String) {
        self.broken.get_or_insert(Violation { rule, what });
    }

    /// Checks that the tables are what the log says at their place. Accounts that are further on in the log are
    /// compared later.
    pub(crate) fn compare(&mut self) -> Checked {
        if let Some(violation) = self.broken.take() {
            return Err(violation);
        }
        if self.tables.dirty.is_empty() {
            return Ok(());
        }
        let Some(place) = self.tables.place else { return ensure(false, TABLES, || "no place".to_owned()) };
        let is_there = self.log.row(place.seq).is_some_and(|row| row.head() == place);
        ensure(is_there, TABLES, || format!("the tables have row {}, which is not in the log", place.seq))?;
        for id in std::mem::take(&mut self.tables.dirty) {
            let is_behind = self.last.get(&id).is_some_and(|last| *last > place.seq);
            let (rows, truth) = (self.tables.rows(id), self.rows(id));
            ensure(is_behind || rows == truth, TABLES, || format!("{id} is {rows:?}, and the log says {truth:?}"))?;
        }
        Ok(())
    }

    /// Checks at rest that the log is whole, and that the tables have all of it.
    pub(crate) fn is_whole(&self) -> Checked {
        let mut rows = self.log.rows().iter();
        let first = rows.next().ok_or_else(|| Violation { rule: TABLES, what: "there is no log".to_owned() })?;
        let head = rows.try_fold(first.head(), chain::follow);
        ensure(head.is_ok(), DENSE, || format!("{head:?}"))?;
        let place = self.tables.place;
        ensure(place == head.clone().ok(), TABLES, || format!("the tables are at {place:?}, the log at {head:?}"))?;
        let differs = self.truth.iter().find(|(id, rows)| self.tables.rows(**id) != *rows);
        ensure(differs.is_none(), TABLES, || format!("the log says {differs:?}"))
    }
}
