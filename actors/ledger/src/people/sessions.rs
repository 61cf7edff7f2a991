//! Sessions of people. A session's token is known to its browser alone: here stands its hash, and that of the token before it,
//! which requests that were on their way may still show for a moment.

use billing::{
    Timestamp,
    ids::{AccountId, PersonId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use crate::{Ledger, LedgerError, transaction::Transaction};

/// The most sessions of one person; one more ends the oldest.
pub const MOST_SESSIONS: i64 = 50;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The session's id, which it keeps.
    pub id: Uuid,
    /// The person.
    pub person_id: PersonId,
    /// The account that the person looks at.
    pub account_id: Option<AccountId>,
    /// The hash of the token.
    pub hash: String,
    /// The hash of the token before, and until when that is good.
    pub previous: Option<(String, Timestamp)>,
    /// The browser, as it calls itself.
    pub device: String,
    /// The issuer, as the settings call it, by whose word the person signed in; none for a password.
    pub issuer: Option<String>,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When the token was made.
    pub rotated_at: Timestamp,
    /// When the session was last used, roughly.
    pub seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub ends_at: Timestamp,
}

/// A session of which nothing was stored while it lasted, as its cookie said all; it has ended before that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// The session's id.
    pub id: Uuid,
    /// Whose it was, in words. Of each owner the newest are kept.
    pub owner: String,
    /// When it ended.
    pub at: Timestamp,
    /// Until when a cookie of it may be shown.
    pub until: Timestamp,
}

/// The most sessions of one owner that are known to have ended.
pub const MOST_ENDED: usize = 1_000;
/// Whose such sessions stand as: nobody's. The place of the token's hash has the owner, which is no hash.
const NOBODY: Uuid = Uuid::nil();

const SESSION: &str = "id, person_id, account_id, hash, previous, previous_until, device, created_at, rotated_at, seen_at, ends_at, issuer";

impl Ledger {
    /// Keeps a new session. Sessions that have ended are forgotten, and the person's oldest where there are too many.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn add_session(&self, new: &StoredSession) -> Result<(), LedgerError> {
        let add = async {
            let mut tx = self.tables.begin_to_write().await?;
            tx.execute("DELETE FROM person_session WHERE ends_at <= ?", [new.created_at.0.into()]).await?;
            let sql = "INSERT INTO person_session (id, person_id, account_id, hash, previous, previous_until, device, \
                       created_at, rotated_at, seen_at, ends_at, issuer) \
                       VALUES (?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?, ?, ?)";
            let values = [
                new.id.into(),
                new.person_id.0.into(),
                new.account_id.map(|id| id.0).into(),
                new.hash.as_str().into(),
                new.device.as_str().into(),
                new.created_at.0.into(),
                new.rotated_at.0.into(),
                new.seen_at.0.into(),
                new.ends_at.0.into(),
                new.issuer.as_deref().into(),
            ];
            tx.execute(sql, values).await?;
            let oldest = "DELETE FROM person_session WHERE person_id = ? AND id NOT IN \
                          (SELECT id FROM person_session WHERE person_id = ? ORDER BY created_at DESC, id DESC LIMIT ?)";
            let person = new.person_id.0;
            tx.execute(oldest, [person.into(), person.into(), MOST_SESSIONS.into()]).await?;
            tx.commit().await
        };
        self.standing.unless_broken(add).await
    }

    /// A session that has not reached its end.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn session(&self, id: Uuid, now: Timestamp) -> Result<Option<StoredSession>, LedgerError> {
        let sql = format!("SELECT {SESSION} FROM person_session WHERE id = ? AND ends_at > ?");
        self.beside(&sql, [id.into(), now.0.into()]).await?.as_ref().map(session).transpose()
    }

    /// A person's sessions that have not reached their end, the last used first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn sessions_of(&self, person: PersonId, now: Timestamp) -> Result<Vec<StoredSession>, LedgerError> {
        let sql = format!(
            "SELECT {SESSION} FROM person_session WHERE person_id = ? AND ends_at > ? ORDER BY seen_at DESC, id DESC"
        );
        self.rows(&sql, [person.0.into(), now.0.into()]).await?.iter().map(session).collect()
    }

    /// Gives a session another token. Returns whether it did: not where it has another than `old` by now.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn rotate_session(
        &self,
        id: Uuid,
        (old, good_until): (&str, Timestamp),
        new: &str,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE person_session SET hash = ?, previous = ?, previous_until = ?, rotated_at = ?, seen_at = ? \
                   WHERE id = ? AND hash = ?";
        let values = [new.into(), old.into(), good_until.0.into(), now.0.into(), now.0.into(), id.into(), old.into()];
        Ok(self.write_beside(sql, values).await? == 1)
    }

    /// Notes that a session is used.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn see_session(&self, id: Uuid, now: Timestamp) -> Result<(), LedgerError> {
        let sql = "UPDATE person_session SET seen_at = ? WHERE id = ? AND seen_at < ?";
        self.write_beside(sql, [now.0.into(), id.into(), now.0.into()]).await.map(drop)
    }

    /// Has a session look at an account, with another token from its next page on.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn turn_session(&self, id: Uuid, account: AccountId) -> Result<(), LedgerError> {
        let sql = "UPDATE person_session SET account_id = ?, rotated_at = 0 WHERE id = ?";
        self.write_beside(sql, [account.0.into(), id.into()]).await.map(drop)
    }

    /// Has all sessions of a person get another token at their next page: the person may do something else from now on.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn rotate_sessions_of(&self, person: PersonId) -> Result<(), LedgerError> {
        let sql = "UPDATE person_session SET rotated_at = 0 WHERE person_id = ?";
        self.write_beside(sql, [person.0.into()]).await.map(drop)
    }

    /// Ends one session of a person. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn end_session(&self, person: PersonId, id: Uuid) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM person_session WHERE person_id = ? AND id = ?";
        Ok(self.write_beside(sql, [person.0.into(), id.into()]).await? == 1)
    }

    /// Ends all sessions of a person, but for one.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn end_sessions_of(&self, person: PersonId, but: Option<Uuid>) -> Result<(), LedgerError> {
        let end = async {
            let mut tx = self.tables.begin_to_write().await?;
            end_all(&mut tx, person, but).await?;
            tx.commit().await
        };
        self.standing.unless_broken(end).await
    }

    /// Notes that a session has ended of which nothing is stored.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn note_ended_session(&self, ended: &EndedSession) -> Result<(), LedgerError> {
        let EndedSession { id, owner, at, until } = ended;
        let note = async {
            let mut tx = self.tables.begin_to_write().await?;
            tx.execute("DELETE FROM person_session WHERE ends_at <= ?", [at.0.into()]).await?;
            let sql = "INSERT INTO person_session (id, person_id, account_id, hash, previous, previous_until, device, \
                       created_at, rotated_at, seen_at, ends_at, issuer) \
                       VALUES (?, ?, NULL, ?, NULL, NULL, '', ?, ?, ?, ?, NULL) ON CONFLICT (id) DO NOTHING";
            let values = [
                (*id).into(),
                NOBODY.into(),
                owner.as_str().into(),
                at.0.into(),
                at.0.into(),
                at.0.into(),
                until.0.into(),
            ];
            tx.execute(sql, values).await?;
            let oldest = "DELETE FROM person_session WHERE person_id = ? AND hash = ? AND id NOT IN \
                          (SELECT id FROM person_session WHERE person_id = ? AND hash = ? \
                           ORDER BY created_at DESC, id DESC LIMIT ?)";
            let (nobody, owner, most) = (NOBODY, owner.as_str(), MOST_ENDED as u64);
            let values = [nobody.into(), owner.into(), nobody.into(), owner.into(), most.into()];
            tx.execute(oldest, values).await?;
            tx.commit().await
        };
        self.standing.unless_broken(note).await
    }

    /// Such sessions that have ended since, as far as a cookie of them may be shown.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn ended_sessions(&self, since: Timestamp, now: Timestamp) -> Result<Vec<EndedSession>, LedgerError> {
        let sql = "SELECT id, hash, created_at, ends_at FROM person_session \
                   WHERE person_id = ? AND created_at >= ? AND ends_at > ?";
        let rows = self.rows(sql, [NOBODY.into(), since.0.into(), now.0.into()]).await?;
        let ended = |row: &QueryResult| {
            let at = |index| Ok::<_, LedgerError>(Timestamp(row.try_get_by_index(index)?));
            let (id, owner) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            Ok(EndedSession { id, owner, at: at(2)?, until: at(3)? })
        };
        rows.iter().map(ended).collect()
    }
}

/// Ends all sessions of a person in a transaction, but for one.
pub(super) async fn end_all(tx: &mut Transaction, person: PersonId, but: Option<Uuid>) -> Result<(), LedgerError> {
    let sql = "DELETE FROM person_session WHERE person_id = ? AND id <> ?";
    // No session has the id of none.
    tx.execute(sql, [person.0.into(), but.unwrap_or_default().into()]).await.map(drop)
}

fn session(row: &QueryResult) -> Result<StoredSession, LedgerError> {
    let at = |index| Ok::<_, LedgerError>(Timestamp(row.try_get_by_index(index)?));
    let previous: (Option<String>, Option<i64>) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
    Ok(StoredSession {
        id: row.try_get_by_index(0)?,
        person_id: PersonId(row.try_get_by_index(1)?),
        account_id: row.try_get_by_index::<Option<Uuid>>(2)?.map(AccountId),
        hash: row.try_get_by_index(3)?,
        previous: previous.0.zip(previous.1.map(Timestamp)),
        device: row.try_get_by_index(6)?,
        created_at: at(7)?,
        rotated_at: at(8)?,
        seen_at: at(9)?,
        ends_at: at(10)?,
        issuer: row.try_get_by_index(11)?,
    })
}
