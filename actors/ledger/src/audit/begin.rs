//! Invariant 19 where rows have left the log: it begins at the row of a signed checkpoint, the tables and the log come to the
//! balances that were signed, and the archive, if there is one to look at, has all rows before.

use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::{Audit, MOST, Violation, replay::Last};
use crate::{
    Ledger, LedgerError, archive,
    archive::checkpoint::{Trust, check_signed},
    catch_up,
    log::{Head, Shard, read::Kept},
};

/// The checkpoint in words.
const SIGNED: &str = "log's checkpoint is not what was signed";
/// What it says of balances.
const BALANCES: &str = "balances at the log's checkpoint are not what was signed";
/// The archive.
const ARCHIVE: &str = "log's archive is not whole";

/// All checks of this file.
pub(super) const CHECKS: [&str; 3] = [SIGNED, BALANCES, ARCHIVE];

impl Audit {
    /// Notes a violation of invariant 19.
    pub(super) fn say(&mut self, what: &str, why: impl std::fmt::Display) {
        let told = self.violations.iter().filter(|violation| violation.what.starts_with(what)).count();
        if told < MOST {
            self.violations.push(Violation { invariant: 19, what: format!("{what}: {why}") });
        }
    }
}

impl Ledger {
    /// Checks where the log begins. Returns what the archive says of all accounts, up to where the log goes on.
    pub(super) async fn check_begin(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        trust: Trust<'_>,
    ) -> Result<Last, LedgerError> {
        let mut last = Last::default();
        let Some(log) = &self.logged else { return Ok(last) };
        let kept = log.checkpoint(Shard::ONLY).await?;
        if let Some(kept) = &kept {
            if let Err(why) = check_signed(kept, trust.open) {
                audit.say(SIGNED, format!("row {}: {why}", kept.head.seq));
            }
            self.check_balances(tx, audit, kept).await?;
        }
        let Some(folder) = trust.archive else { return Ok(last) };
        let until = kept.as_ref().map_or(0, |kept| kept.head.seq);
        let mut joint = None;
        let read = archive::read_whole(folder, |row| {
            if row.seq <= until {
                catch_up::read(row)?.transitions.into_iter().for_each(|transition| last.apply(transition));
                joint = Some(row.head());
            }
            Ok(())
        });
        match read {
            Ok((first, _)) if first > 0 => audit.say(ARCHIVE, format!("it begins at row {first}")),
            Ok((_, end)) if joint.is_none_or(|joint| joint.seq < until) => {
                audit.say(ARCHIVE, format!("it ends at row {}, and the log begins at row {until}", end.seq));
            }
            Ok(_) => self.check_joint(audit, kept.as_ref(), joint).await?,
            Err(LedgerError::Unusable(why)) => audit.say(ARCHIVE, why),
            Err(error) => return Err(error),
        }
        Ok(last)
    }

    async fn check_balances(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        kept: &Kept,
    ) -> Result<(), LedgerError> {
        let place = "SELECT seq, hash FROM projection WHERE shard = ?";
        let place = tx.query_one_raw(self.statement(place, [Shard::ONLY.0.into()])).await?;
        let Some(place) = place.as_ref().map(crate::project::place).transpose()? else { return Ok(()) };
        match self.balances_differ(tx, kept, place).await {
            Ok(Some(difference)) => {
                audit.say(BALANCES, format!("row {}: {difference}", kept.head.seq));
                Ok(())
            }
            // A log that is not whole is told where the chain is followed.
            Ok(None) | Err(LedgerError::Unusable(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the archive and the log have the same row where they join.
    async fn check_joint(
        &self,
        audit: &mut Audit,
        kept: Option<&Kept>,
        joint: Option<Head>,
    ) -> Result<(), LedgerError> {
        let (Some(log), Some(joint)) = (&self.logged, joint) else { return Ok(()) };
        let row = log.row(Shard::ONLY, joint.seq).await?;
        let is_same = row.is_some_and(|row| row.hash == joint.hash) && kept.is_none_or(|kept| kept.head == joint);
        if !is_same {
            audit.say(ARCHIVE, format!("its row {} is not the log's", joint.seq));
        }
        Ok(())
    }
}
