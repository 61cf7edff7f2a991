//! The balances of a shard's accounts at a row of its log: those that the tables have at their place, less what the rows
//! between changed. So the past is known without the log's beginning.

use std::collections::BTreeMap;

use billing::entry::{Line, Transition};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use uuid::Uuid;

use super::PAGE;
use crate::{
    Ledger, LedgerError, catch_up,
    log::{
        Hash, Head, Shard,
        chain::{self, Broken},
        read::Reader,
    },
};

/// The sums of an account's grants, and its debt, in nano-dollars: funded, available, held, spent, expired, voided, debt.
pub(super) type Sums = [i128; 7];

/// The balances of all accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balances(BTreeMap<Uuid, Sums>);

impl Balances {
    fn change(&mut self, account: Uuid, by: Sums) {
        for (sum, part) in self.0.entry(account).or_default().iter_mut().zip(by) {
            *sum += part;
        }
    }

    fn undo(&mut self, transition: &Transition) {
        for line in &transition.lines {
            let Line { funded, available, held, spent, expired, voided, debt, .. } = line;
            let parts = [funded, available, held, spent, expired, voided, debt];
            self.change(transition.account_id.0, parts.map(|part| -i128::from(part.get())));
        }
    }

    /// Accounts that never had anything say nothing.
    fn told(&self) -> impl Iterator<Item = (&Uuid, &Sums)> {
        self.0.iter().filter(|(_, sums)| sums.iter().any(|sum| *sum != 0))
    }

    /// The number of accounts that have or had anything.
    pub(super) fn accounts(&self) -> u64 {
        self.told().count() as u64
    }

    /// The sums over all accounts.
    pub(super) fn totals(&self) -> Sums {
        self.0.values().fold(Sums::default(), |mut totals, sums| {
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            totals
        })
    }

    /// The BLAKE3 hash over the accounts in the order of their ids: of each its id's 16 bytes, and its seven sums, each as 16
    /// bytes in two's complement, the lowest first.
    pub(super) fn root(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for (id, sums) in self.told() {
            hasher.update(id.as_bytes());
            for sum in sums {
                hasher.update(&sum.to_le_bytes());
            }
        }
        *hasher.finalize().as_bytes()
    }
}

impl Ledger {
    /// The balances at a row of a shard's log that the tables have, which are at `place` in this snapshot.
    pub(super) async fn balances_at(
        &self,
        tx: &DatabaseTransaction,
        log: &Reader,
        shard: Shard,
        row: Head,
        place: Head,
    ) -> Result<Balances, LedgerError> {
        let mut balances = self.balances(tx, shard).await?;
        let mut head = row;
        while head.seq < place.seq {
            let rows = log.read(shard, head.seq, PAGE).await?;
            if rows.is_empty() {
                return Err(Broken::Gap { after: head.seq, found: place.seq }.into());
            }
            for row in rows.iter().take_while(|row| row.seq <= place.seq) {
                head = chain::follow(head, row)?;
                catch_up::read(row)?.transitions.iter().for_each(|transition| balances.undo(transition));
            }
        }
        Ok(balances)
    }

    /// The balances that the tables have of a shard's accounts.
    async fn balances(&self, tx: &DatabaseTransaction, shard: Shard) -> Result<Balances, LedgerError> {
        let mut balances = Balances::default();
        let grants = format!(
            "SELECT account_id, CAST(SUM(funded) AS BIGINT), CAST(SUM(available) AS BIGINT), CAST(SUM(held) AS BIGINT), \
             CAST(SUM(spent) AS BIGINT), CAST(SUM(expired) AS BIGINT), CAST(SUM(voided) AS BIGINT) FROM credit_grant \
             WHERE {} GROUP BY account_id",
            self.in_shards("account_id", &[shard])
        );
        for row in tx.query_all_raw(self.statement(&grants, [])).await? {
            let mut sums = Sums::default();
            for (column, sum) in sums.iter_mut().take(6).enumerate() {
                *sum = row.try_get_by_index::<i64>(column + 1)?.into();
            }
            balances.change(row.try_get_by_index(0)?, sums);
        }
        let debts = format!("SELECT id, debt FROM account WHERE debt <> 0 AND {}", self.in_shards("id", &[shard]));
        for row in tx.query_all_raw(self.statement(&debts, [])).await? {
            let debt: i64 = row.try_get_by_index(1)?;
            balances.change(row.try_get_by_index(0)?, [0, 0, 0, 0, 0, 0, debt.into()]);
        }
        Ok(balances)
    }
}
