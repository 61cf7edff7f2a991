//! The disk: the leases of the shards, a log for each, and the tables that are made from them. Beside them stands what
//! nobody in the simulated processes can see: the rows that the whole logs give, made one transition after the other as
//! soon as a row of a log is there. With them the rules are checked, and the tables are compared.

use std::collections::{BTreeMap, BTreeSet};

use actors::cluster::lease::{Command, Held, Taken};
use billing::{
    account::Header,
    ids::{AccountId, KeyId, RequestId},
    key::KeyLimits,
};
use ledger::log::{
    Row, Shard, Shards,
    body::{self, Body},
    chain,
};
use runtime::node::NodeId;

use crate::{
    check::{Checked, DENSE, PROJECTED, Rule, SHARD, TABLES, Violation, ensure},
    database::{Answer, Database},
    log::{Fence, Fenced, Log},
    mutants::Mutant,
    rows::{Entry, Rows},
    tables::{Tables, write},
};

pub(crate) struct Disk {
    pub(crate) shards: Shards,
    pub(crate) leases: Database,
    logs: BTreeMap<Shard, Log>,
    pub(crate) tables: Tables,
    /// What the whole logs say.
    pub(crate) truth: BTreeMap<AccountId, Rows>,
    /// The last row of its log with a transition of an account.
    last: BTreeMap<AccountId, u64>,
    /// Accounts of rows appended since the last check.
    pub(crate) dirty: BTreeSet<AccountId>,
    /// A rule that a row of a log breaks.
    broken: Option<Violation>,
    mutant: Option<Mutant>,
}

impl Disk {
    pub(crate) fn new(shards: Shards, leases: Database, mutant: Option<Mutant>) -> Self {
        Self {
            shards,
            leases,
            logs: shards.all().map(|shard| (shard, Log::default())).collect(),
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

    /// The epoch of a shard's newest owner.
    pub(crate) fn epoch(&self, shard: Shard) -> i64 {
        self.leases.leases().iter().find(|lease| lease.shard == shard).map_or(0, |lease| lease.epoch)
    }

    /// The one process takes every shard as it starts.
    pub(crate) fn takes_all(&mut self, at: u64, node: NodeId) -> Vec<Held> {
        let taken = self.leases.leases().to_vec().into_iter().map(|lease| {
            match self.leases.execute(at, node, &Command::Take(0, lease)) {
                Ok(Answer::Took(shard, Taken::Taken(epoch))) => Some(Held { shard, epoch }),
                _ => None,
            }
        });
        taken.flatten().collect()
    }

    pub(crate) fn log(&self, shard: Shard) -> &Log {
        &self.logs[&shard]
    }

    /// A shard's log, for who changes it behind its owner's back.
    pub(crate) fn log_mut(&mut self, shard: Shard) -> &mut Log {
        self.logs.entry(shard).or_default()
    }

    /// The number of a log's last row.
    pub(crate) fn end(&self, shard: Shard) -> u64 {
        self.log(shard).head().map_or(0, |head| head.seq)
    }

    pub(crate) fn shard_of(&self, account: AccountId) -> Shard {
        self.shards.of(account)
    }

    /// The shard after this one, for a mutant.
    pub(crate) fn another(&self, shard: Shard) -> Shard {
        Shard((shard.0 + 1) % i64::from(self.shards.count()))
    }

    /// The rows of an account, as its whole log gives them.
    pub(crate) fn rows(&self, id: AccountId) -> &Rows {
        &self.truth[&id]
    }

    /// Appends rows to the logs of their shards, each by itself. Returns the shards whose rows are not in their logs.
    pub(crate) fn append_all(&mut self, rows: &[Row]) -> Vec<Shard> {
        rows.iter().filter(|row| self.append(row).is_err()).map(|row| row.shard).collect()
    }

    /// Appends a row to the log of its shard.
    pub(crate) fn append(&mut self, row: &Row) -> Result<(), Fenced> {
        let fence = if self.mutant == Some(Mutant::NoFence) { Fence::Unchecked } else { Fence::Checked };
        // But for the first row: without it nothing is ever appended.
        let its =
            if self.mutant == Some(Mutant::ForeignEpoch) && row.seq > 0 { self.another(row.shard) } else { row.shard };
        let (epoch, log) = (self.epoch(its), self.log_mut(row.shard));
        let head = log.head();
        if !log.append(row, epoch, fence)? {
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
        let Row { shard, seq, epoch, .. } = *row;
        ensure(follows.is_ok(), DENSE, || format!("row {seq} of owner {epoch}: {follows:?}"))?;
        let lives = self.epoch(shard);
        ensure(epoch == lives, DENSE, || {
            format!("row {seq} of {shard:?} is owner {epoch}'s, and owner {lives} lives")
        })?;
        let transitions = match body::decode(&row.body) {
            Ok(Body::Transitions(transitions)) => transitions,
            Ok(Body::Genesis(_) | Body::Prices(_) | Body::Imported(_)) => Vec::new(),
            Err(error) => return ensure(false, PROJECTED, || format!("row {seq}: {error}")),
        };
        for transition in &transitions {
            let own = self.shard_of(transition.account_id);
            ensure(own == shard, SHARD, || format!("row {seq} of {shard:?} has one of {}", transition.account_id))?;
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

    /// Checks that no row of a log broke a rule.
    pub(crate) fn is_sound(&mut self) -> Checked {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Checks that the tables are what the log says at their place. Accounts that are further on in the log are
    /// compared later.
    pub(crate) fn compare(&mut self) -> Checked {
        self.is_sound()?;
        if self.tables.dirty.is_empty() {
            return Ok(());
        }
        for (shard, place) in &self.tables.places {
            let is_there = self.log(*shard).row(place.seq).is_some_and(|row| row.head() == *place);
            ensure(is_there, TABLES, || {
                format!("the tables have row {} of {shard:?}, which is not in its log", place.seq)
            })?;
        }
        for id in std::mem::take(&mut self.tables.dirty) {
            let place = self.tables.places.get(&self.shard_of(id)).map_or(0, |place| place.seq);
            let is_behind = self.last.get(&id).is_some_and(|last| *last > place);
            let (rows, truth) = (self.tables.rows(id), self.rows(id));
            ensure(is_behind || rows == truth, TABLES, || format!("{id} is {rows:?}, and the log says {truth:?}"))?;
        }
        Ok(())
    }

    /// Checks at rest that each log is whole, and that the tables have all of it.
    pub(crate) fn is_whole(&self) -> Checked {
        for (shard, log) in &self.logs {
            let mut rows = log.rows().iter();
            let none = || Violation { rule: TABLES, what: format!("there is no log of {shard:?}") };
            let first = rows.next().ok_or_else(none)?;
            let head = rows.try_fold(first.head(), chain::follow);
            ensure(head.is_ok(), DENSE, || format!("{shard:?}: {head:?}"))?;
            let place = self.tables.places.get(shard).copied();
            let is_there = place == head.clone().ok();
            ensure(is_there, TABLES, || format!("the tables are at {place:?} of {shard:?}, its log at {head:?}"))?;
        }
        let differs = self.truth.iter().find(|(id, rows)| self.tables.rows(**id) != *rows);
        ensure(differs.is_none(), TABLES, || format!("the log says {differs:?}"))
    }
}
