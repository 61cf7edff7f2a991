//! The tables on the disk, made from the logs: the rows of all accounts, and the place in each shard's log that they have
//! been brought to. Rows of logs and the new places are written together or not at all, and only at the places that the
//! writer expects.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    Timestamp,
    entry::Transition,
    ids::{AccountId, RequestId},
};
use ledger::{
    claims::Claim,
    log::{Head, Row, Shard},
    project::Logged,
};

use crate::{
    mutants::Mutant,
    rows::{Entry, Refused, Rows},
};

/// How rows of the log are projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// States that change in several rows are written once.
    Merged,
    OneByOne,
}

/// Why rows of the log were not projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotProjected {
    /// The tables are at other places.
    Elsewhere,
    /// A key or a check refuses a row.
    Refused(AccountId, Refused),
}

#[derive(Default)]
pub(crate) struct Tables {
    /// The last row of each log that the tables have.
    pub(crate) places: BTreeMap<Shard, Head>,
    pub(crate) accounts: BTreeMap<AccountId, Rows>,
    /// When the last delivery of each event was signed.
    webhooks: BTreeMap<String, Timestamp>,
    /// Accounts that were projected since the last check.
    pub(crate) dirty: BTreeSet<AccountId>,
}

/// Writes transitions to the rows of their accounts.
pub(crate) fn write(
    accounts: &mut BTreeMap<AccountId, Rows>,
    entries: &[Entry<'_>],
    mutant: Option<Mutant>,
) -> Result<BTreeSet<AccountId>, (AccountId, Refused)> {
    let mut by_account: BTreeMap<AccountId, Vec<Entry<'_>>> = BTreeMap::new();
    for entry in entries {
        by_account.entry(entry.transition.account_id).or_default().push(*entry);
    }
    for (id, own) in &by_account {
        let rows = accounts.get_mut(id).ok_or_else(|| (*id, "an account is not there".to_owned()))?;
        rows.write(own, mutant).map_err(|why| (*id, why))?;
    }
    Ok(by_account.into_keys().collect())
}

impl Tables {
    pub(crate) fn rows(&self, id: AccountId) -> &Rows {
        &self.accounts[&id]
    }

    /// Applies rows of some logs and stores the new places, in one transaction. What refuses a row ends the simulation, so
    /// nothing needs to be undone.
    pub(crate) fn project(
        &mut self,
        rows: &[Logged],
        manner: Manner,
        mutant: Option<Mutant>,
    ) -> Result<(), NotProjected> {
        let mut firsts = BTreeMap::new();
        for row in rows {
            firsts.entry(row.shard).or_insert(Head { seq: row.seq.saturating_sub(1), hash: row.prev_hash });
        }
        let is_elsewhere = firsts.iter().any(|(shard, before)| self.places.get(shard) != Some(before));
        if is_elsewhere && mutant != Some(Mutant::PlaceUnchecked) {
            return Err(NotProjected::Elsewhere);
        }
        let entries: Vec<Entry<'_>> = rows
            .iter()
            .flat_map(|row| row.transitions.iter().map(|transition| Entry { transition, epoch: row.epoch }))
            .collect();
        let groups: Vec<&[Entry<'_>]> = match manner {
            Manner::Merged => vec![&entries],
            Manner::OneByOne => entries.chunks(1).collect(),
        };
        for group in groups {
            let written = write(&mut self.accounts, group, mutant);
            self.dirty.extend(written.map_err(|(id, why)| NotProjected::Refused(id, why))?);
        }
        for notice in entries.iter().filter_map(|entry| entry.transition.notice.as_ref()) {
            self.note(&notice.id, notice.signed_at);
        }
        match mutant {
            Some(Mutant::PlaceApart) => {}
            Some(Mutant::PlaceOfAnother) => self.moves(rows, |shard| Shard(i64::from(shard.0 == 0))),
            _ => self.moves(rows, |shard| shard),
        }
        Ok(())
    }

    /// Stores the places of rows, each as that of a shard.
    pub(crate) fn moves(&mut self, rows: &[Logged], of: impl Fn(Shard) -> Shard) {
        self.places.extend(rows.iter().map(|row| (of(row.shard), row.head())));
    }

    /// Records an event, or a later delivery of it.
    pub(crate) fn note(&mut self, event: &str, signed_at: Timestamp) {
        let noted = self.webhooks.entry(event.to_owned()).or_insert(signed_at);
        *noted = signed_at.max(*noted);
    }

    /// When the last delivery of an event was signed.
    pub(crate) fn signed_at(&self, event: &str) -> Option<Timestamp> {
        self.webhooks.get(event).copied()
    }

    pub(crate) fn has_proof(&self, request: RequestId) -> bool {
        self.accounts.values().any(|rows| rows.proofs.contains(&request))
    }

    /// Whether a name is taken.
    pub(crate) fn is_claimed(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Account(id) => self.accounts.contains_key(id),
            Claim::Address(_) | Claim::Public(_) => false,
            Claim::Proof(request) => self.has_proof(*request),
            Claim::Grant(account, source, key) => self.accounts.get(account).is_some_and(|rows| {
                rows.grants.values().any(|grant| grant.source == *source && grant.source_key == *key)
            }),
            Claim::GrantId(id) => self.accounts.values().any(|rows| rows.grants.contains_key(id)),
            Claim::Payment(id) => self.accounts.values().any(|rows| rows.payments.contains_key(id)),
            Claim::Key(id) => self.accounts.values().any(|rows| rows.keys.contains_key(id)),
        }
    }

    /// Accounts with due work.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<AccountId> {
        let is_due = |rows: &Rows| rows.header.wake_at.is_some_and(|at| at <= now);
        self.accounts.iter().filter(|(_, rows)| is_due(rows)).map(|(id, _)| *id).collect()
    }

    /// Accounts with open holds or pending payments.
    pub(crate) fn unfinished(&self) -> Vec<AccountId> {
        let is_unfinished = |rows: &Rows| !rows.holds.is_empty() || rows.pending().next().is_some();
        self.accounts.iter().filter(|(_, rows)| is_unfinished(rows)).map(|(id, _)| *id).collect()
    }
}

/// A row of the log, as it is projected.
pub(crate) fn logged(row: &Row, transitions: Vec<Transition>) -> Logged {
    Logged::new(row, transitions, None)
}
