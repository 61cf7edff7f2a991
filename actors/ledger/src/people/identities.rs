//! Identities of people at issuers elsewhere (OpenID Connect): an issuer's name for somebody, which never becomes another's. One
//! identity is one person's.

use billing::{Timestamp, ids::PersonId};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{StoredPerson, add, links};
use crate::{Ledger, LedgerError, rows::Cell, transaction::Transaction};

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIdentity {
    /// Its id here.
    pub id: Uuid,
    /// The person.
    pub person_id: PersonId,
    /// The issuer's address.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// The e-mail address that the issuer told when the identity was linked.
    pub email: Option<String>,
    /// When it was linked.
    pub linked_at: Timestamp,
    /// When the person last signed in by it.
    pub used_at: Timestamp,
}

/// What became of an identity that a person wants to be linked no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlinked {
    /// It is linked no more.
    Done,
    /// It is the last way in, and stays.
    LastWayIn,
    /// The person has none with that id.
    None,
}

const IDENTITY: &str = "id, person_id, issuer, subject, email, linked_at, used_at";

impl Ledger {
    /// The identity by which an issuer names somebody.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn identity(&self, issuer: &str, subject: &str) -> Result<Option<StoredIdentity>, LedgerError> {
        let sql = format!("SELECT {IDENTITY} FROM person_identity WHERE issuer = ? AND subject = ?");
        self.beside(&sql, [issuer.into(), subject.into()]).await?.as_ref().map(identity).transpose()
    }

    /// A person's identities, those that were linked first before others.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn identities(&self, person: PersonId) -> Result<Vec<StoredIdentity>, LedgerError> {
        let sql =
            format!("SELECT {IDENTITY} FROM person_identity WHERE person_id = ? ORDER BY linked_at, id LIMIT 100");
        self.rows(&sql, [person.0.into()]).await?.iter().map(identity).collect()
    }

    /// Adds a person with an identity, and uses a link up with it where one has proved the address. Returns whether it was done:
    /// not where the link is used up, or the address or the identity is another person's.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn add_person_by_identity(
        &self,
        new: &StoredPerson,
        by: &StoredIdentity,
        link: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let adding = async {
            let mut tx = self.tables.begin_to_write().await?;
            if let Some(link) = link
                && !links::use_up(&mut tx, link, now).await?
            {
                return Ok(false);
            }
            let is_done = add(&mut tx, new).await? && link_to(&mut tx, by).await?;
            if is_done {
                tx.commit().await?;
            }
            Ok(is_done)
        };
        self.standing.unless_broken(adding).await
    }

    /// Links an identity to its person. Returns whether it was done: not where it is linked to anybody already.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn link_identity(&self, new: &StoredIdentity) -> Result<bool, LedgerError> {
        let linking = async {
            let mut tx = self.tables.begin_to_write().await?;
            let is_done = link_to(&mut tx, new).await?;
            tx.commit().await?;
            Ok(is_done)
        };
        self.standing.unless_broken(linking).await
    }

    /// Notes that a person has signed in by an identity.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn see_identity(&self, id: Uuid, now: Timestamp) -> Result<(), LedgerError> {
        let sql = "UPDATE person_identity SET used_at = ? WHERE id = ? AND used_at < ?";
        self.write_beside(sql, [now.0.into(), id.into(), now.0.into()]).await.map(drop)
    }

    /// Has an identity linked no more, unless it is the person's last way in: another way is an identity at one of these
    /// issuers, or a password where those open anything.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn unlink_identity(
        &self,
        person: PersonId,
        id: Uuid,
        passwords: bool,
        issuers: &[&str],
    ) -> Result<Unlinked, LedgerError> {
        let unlinking = async {
            let mut tx = self.tables.begin_to_write().await?;
            // Of two at once the second sees what the first has left.
            tx.execute("UPDATE person SET name = name WHERE id = ?", [person.0.into()]).await?;
            // No issuer is NULL.
            let marks = if issuers.is_empty() { "NULL".to_owned() } else { vec!["?"; issuers.len()].join(", ") };
            let sql = format!(
                "DELETE FROM person_identity WHERE person_id = ? AND id = ? AND \
                 ((? = 1 AND EXISTS (SELECT 1 FROM person WHERE id = ? AND password IS NOT NULL)) OR EXISTS \
                 (SELECT 1 FROM person_identity o WHERE o.person_id = ? AND o.id <> ? AND o.issuer IN ({marks})))"
            );
            let (whose, opens) = (person.0, i64::from(passwords));
            let mut values = vec![whose.into(), id.into(), opens.into(), whose.into(), whose.into(), id.into()];
            values.extend(issuers.iter().map(|issuer| Cell::from(*issuer)));
            let is_done = tx.execute(&sql, values).await? == 1;
            tx.commit().await?;
            Ok(is_done)
        };
        if self.standing.unless_broken(unlinking).await? {
            return Ok(Unlinked::Done);
        }
        let is_there = self.identities(person).await?.iter().any(|identity| identity.id == id);
        Ok(if is_there { Unlinked::LastWayIn } else { Unlinked::None })
    }
}

async fn link_to(tx: &mut Transaction, new: &StoredIdentity) -> Result<bool, LedgerError> {
    let sql = "INSERT INTO person_identity (id, person_id, issuer, subject, email, linked_at, used_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (issuer, subject) DO NOTHING";
    let values = [
        new.id.into(),
        new.person_id.0.into(),
        new.issuer.as_str().into(),
        new.subject.as_str().into(),
        new.email.as_deref().into(),
        new.linked_at.0.into(),
        new.used_at.0.into(),
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

fn identity(row: &QueryResult) -> Result<StoredIdentity, LedgerError> {
    Ok(StoredIdentity {
        id: row.try_get_by_index(0)?,
        person_id: PersonId(row.try_get_by_index(1)?),
        issuer: row.try_get_by_index(2)?,
        subject: row.try_get_by_index(3)?,
        email: row.try_get_by_index(4)?,
        linked_at: Timestamp(row.try_get_by_index(5)?),
        used_at: Timestamp(row.try_get_by_index(6)?),
    })
}
