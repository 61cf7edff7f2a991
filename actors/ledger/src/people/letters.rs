//! Letters that wait to be sent, beside the log. What one says is sealed: here stand bytes, and the hash of its reader's address.
//! Whichever node sends one claims it first, until a time: where it dies meanwhile, another one sends it then.

use billing::Timestamp;
use sea_orm::QueryResult;
use uuid::Uuid;

use crate::{Ledger, LedgerError, rows::Cell, transaction::Transaction};

/// A letter that waits.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// Its id.
    pub id: Uuid,
    /// The hash of its reader's address.
    pub reader: String,
    /// What it says, sealed.
    pub sealed: Vec<u8>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When nobody needs it any more.
    pub expires_at: Timestamp,
    /// When it is to be sent; of a claimed one, when the claim ends.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
}

impl std::fmt::Debug for StoredLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredLetter").field("id", &self.id).field("tries", &self.tries).finish_non_exhaustive()
    }
}

const LETTER: &str = "id, reader, sealed, created_at, expires_at, due_at, tries";

impl Ledger {
    /// Keeps a letter. Returns whether it was kept: not where so many wait already.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn add_letter(&self, new: &StoredLetter, most: u64) -> Result<bool, LedgerError> {
        let add = async {
            let mut tx = self.tables.begin_to_write().await?;
            let is_added = add(&mut tx, new, most).await?;
            tx.commit().await?;
            Ok(is_added)
        };
        self.standing.unless_broken(add).await
    }

    /// Letters that are due, those that have waited longest before others.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn due_letters(&self, now: Timestamp, limit: u32) -> Result<Vec<StoredLetter>, LedgerError> {
        let sql = format!("SELECT {LETTER} FROM letter WHERE due_at <= ? ORDER BY due_at, id LIMIT ?");
        let statement = self.statement(&sql, [now.0.into(), i64::from(limit).into()]);
        self.as_they_are.query_all_raw(statement).await?.iter().map(letter).collect()
    }

    /// Claims a letter that was found due, until a time. Returns whether it was claimed: not where another has done so.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn claim_letter(&self, found: &StoredLetter, until: Timestamp) -> Result<bool, LedgerError> {
        let sql = "UPDATE letter SET due_at = ?, tries = tries + 1 WHERE id = ? AND due_at = ?";
        Ok(self.write_beside(sql, [until.0.into(), found.id.into(), found.due_at.0.into()]).await? == 1)
    }

    /// Has a letter sent at another time.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn put_letter_off(&self, id: Uuid, until: Timestamp) -> Result<(), LedgerError> {
        self.write_beside("UPDATE letter SET due_at = ? WHERE id = ?", [until.0.into(), id.into()]).await.map(drop)
    }

    /// Forgets a letter: it was sent, or nobody needs it.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn forget_letter(&self, id: Uuid) -> Result<(), LedgerError> {
        self.write_beside("DELETE FROM letter WHERE id = ?", [id.into()]).await.map(drop)
    }

    /// Forgets all letters to an address with this hash.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn forget_letters_to(&self, reader: &str) -> Result<(), LedgerError> {
        self.write_beside("DELETE FROM letter WHERE reader = ?", [reader.into()]).await.map(drop)
    }
}

/// Adds a letter. Returns whether it was added: not where so many wait already.
pub(crate) async fn add(tx: &mut Transaction, new: &StoredLetter, most: u64) -> Result<bool, LedgerError> {
    let sql =
        format!("INSERT INTO letter ({LETTER}) SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT COUNT(*) FROM letter) < ?");
    let values: [Cell<'_>; 8] = [
        new.id.into(),
        new.reader.as_str().into(),
        new.sealed.as_slice().into(),
        new.created_at.0.into(),
        new.expires_at.0.into(),
        new.due_at.0.into(),
        u64::from(new.tries).into(),
        most.into(),
    ];
    Ok(tx.execute(&sql, values).await? == 1)
}

fn letter(row: &QueryResult) -> Result<StoredLetter, LedgerError> {
    let tries: i64 = row.try_get_by_index(6)?;
    Ok(StoredLetter {
        id: row.try_get_by_index(0)?,
        reader: row.try_get_by_index(1)?,
        sealed: row.try_get_by_index(2)?,
        created_at: Timestamp(row.try_get_by_index(3)?),
        expires_at: Timestamp(row.try_get_by_index(4)?),
        due_at: Timestamp(row.try_get_by_index(5)?),
        tries: u32::try_from(tries).map_err(|_| LedgerError::Corrupt(format!("a letter's tries {tries}")))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn letter(number: u128, reader: &str) -> StoredLetter {
        StoredLetter {
            id: Uuid::from_u128(number),
            reader: reader.into(),
            sealed: vec![1, 2, 3],
            created_at: NOW,
            expires_at: NOW.plus_ms(1_000),
            due_at: NOW,
            tries: 0,
        }
    }

    #[tokio::test]
    async fn a_letter_is_claimed_by_one_and_comes_back_where_that_one_died() {
        let (ledger, _folder) = new_ledger().await;
        for (number, reader) in [(1, "ada"), (2, "bob")] {
            assert!(ledger.add_letter(&letter(number, reader), 2).await.unwrap());
        }
        assert!(!ledger.add_letter(&letter(3, "carl"), 2).await.unwrap(), "too many wait");
        let due = ledger.due_letters(NOW, 10).await.unwrap();
        assert_eq!(due, [letter(1, "ada"), letter(2, "bob")]);
        assert!(ledger.due_letters(NOW.plus_ms(-1), 10).await.unwrap().is_empty());
        let until = NOW.plus_ms(100);
        assert!(ledger.claim_letter(&due[0], until).await.unwrap(), "of two nodes that found it, one claims it");
        assert!(!ledger.claim_letter(&due[0], until).await.unwrap());
        ledger.put_letter_off(due[1].id, NOW.plus_ms(50)).await.unwrap();
        assert!(ledger.due_letters(NOW, 10).await.unwrap().is_empty());
        let again = ledger.due_letters(until, 10).await.unwrap();
        assert_eq!(
            again.iter().map(|letter| (letter.id, letter.tries)).collect::<Vec<_>>(),
            [(due[1].id, 0), (due[0].id, 1)]
        );
        ledger.forget_letter(due[0].id).await.unwrap();
        ledger.forget_letters_to("bob").await.unwrap();
        assert!(ledger.due_letters(until, 10).await.unwrap().is_empty());
    }
}
