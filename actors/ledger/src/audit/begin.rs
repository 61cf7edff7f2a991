//! Invariant 19 where rows have left the log: it begins at the row of a signed checkpoint, the tables and the log come to the
//! balances that were signed, and the archive, if there is one to look at, has all rows before.

use std::path::Path;

use billing::entry::Transition;
use sea_orm::DatabaseTransaction;

use super::Audit;
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

impl Ledger {
    /// Checks a checkpoint: its signature, and the balances that it says.
    pub(super) async fn check_checkpoint(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        kept: &Kept,
        trust: Trust<'_>,
    ) -> Result<(), LedgerError> {
        if let Err(why) = check_signed(kept, trust.open) {
            audit.note(19, SIGNED, self.of_shard(kept.shard, &format!("row {}: {why}", kept.head.seq)));
        }
        self.check_balances(tx, audit, kept).await
    }

    /// Checks an archive, and that the log goes on where it ends. Returns whether it has all rows before the log's.
    pub(super) async fn check_archive(
        &self,
        audit: &mut Audit,
        folder: &Path,
        shard: Shard,
        kept: Option<&Kept>,
        see: &mut impl FnMut(&Transition),
    ) -> Result<bool, LedgerError> {
        let until = kept.map_or(0, |kept| kept.head.seq);
        let mut joint = None;
        let why = match read_archive(folder, shard, until, &mut joint, see) {
            // Nothing was to be archived of a log that has all its rows.
            Ok(None) if kept.is_none() => return Ok(true),
            Ok(None) => "it has no rows".to_owned(),
            Ok(Some((first, _))) if first > 0 => format!("it begins at row {first}"),
            Ok(Some((_, end))) if joint.is_none_or(|joint| joint.seq < until) => {
                format!("it ends at row {}, and the log begins at row {until}", end.seq)
            }
            Ok(Some(_)) => {
                self.check_joint(audit, shard, kept, joint).await?;
                return Ok(true);
            }
            Err(LedgerError::Unusable(why)) => why,
            Err(error) => return Err(error),
        };
        audit.note(19, ARCHIVE, self.of_shard(shard, &why));
        Ok(false)
    }

    async fn check_balances(
        &self,
        tx: &DatabaseTransaction,
        audit: &mut Audit,
        kept: &Kept,
    ) -> Result<(), LedgerError> {
        let Some(place) = self.place_in(tx, kept.shard).await? else { return Ok(()) };
        match self.balances_differ(tx, kept, place).await {
            Ok(Some(difference)) => {
                let why = format!("row {}: {difference}", kept.head.seq);
                audit.note(19, BALANCES, self.of_shard(kept.shard, &why));
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
        shard: Shard,
        kept: Option<&Kept>,
        joint: Option<Head>,
    ) -> Result<(), LedgerError> {
        let (Some(log), Some(joint)) = (&self.logged, joint) else { return Ok(()) };
        let row = log.row(shard, joint.seq).await?;
        let is_same = row.is_some_and(|row| row.hash == joint.hash) && kept.is_none_or(|kept| kept.head == joint);
        if !is_same {
            audit.note(19, ARCHIVE, self.of_shard(shard, &format!("its row {} is not the log's", joint.seq)));
        }
        Ok(())
    }
}

/// Tells the transitions of an archive's rows up to the one at which the log begins. Returns its first row's number and its
/// end.
pub(super) fn read_archive(
    folder: &Path,
    shard: Shard,
    until: u64,
    joint: &mut Option<Head>,
    see: &mut impl FnMut(&Transition),
) -> Result<Option<(u64, Head)>, LedgerError> {
    archive::read_whole(folder, shard, |row| {
        if row.seq < until {
            catch_up::read(row)?.transitions.iter().for_each(&mut *see);
        }
        if row.seq <= until {
            *joint = Some(row.head());
        }
        Ok(())
    })
}
