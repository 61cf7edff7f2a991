//! People, and who is a member of what. People stand beside the log, so that they can be forgotten; memberships are made from
//! it. Identities elsewhere, sessions and the links that are mailed to people are beside it too, in modules of their
//! own.

pub mod identities;
pub mod letters;
pub mod links;
pub mod makers;
pub mod sessions;

use billing::{
    Timestamp,
    ids::{AccountId, PersonId},
    member::{Membership, Role},
};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, rows::Cell, sql::Sql, transaction::Transaction};

/// A person.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPerson {
    /// The person's id.
    pub id: PersonId,
    /// The e-mail address, in its canonical spelling.
    pub email: String,
    /// The name.
    pub name: String,
    /// The password's hash, in PHC's form; none where there is no password.
    pub password: Option<String>,
    /// When the person proved to have the address.
    pub verified_at: Timestamp,
    /// When the person signed up.
    pub created_at: Timestamp,
    /// Since when an operator lets the person in no more.
    pub disabled_at: Option<Timestamp>,
}

impl std::fmt::Debug for StoredPerson {
    /// Without what is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredPerson").field("id", &self.id).finish_non_exhaustive()
    }
}

const PERSON: &str = "id, email, name, password, verified_at, created_at, disabled_at";

impl Ledger {
    /// A person.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn person(&self, id: PersonId) -> Result<Option<StoredPerson>, LedgerError> {
        self.one_person("id = ?", id.0.into()).await
    }

    /// The person with this address, in its canonical spelling.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn person_by_email(&self, email: &str) -> Result<Option<StoredPerson>, LedgerError> {
        self.one_person("email = ?", email.into()).await
    }

    async fn one_person(&self, with: &str, value: Value) -> Result<Option<StoredPerson>, LedgerError> {
        let sql = format!("SELECT {PERSON} FROM person WHERE {with}");
        self.beside(&sql, [value]).await?.as_ref().map(person).transpose()
    }

    /// A row of a table beside the log.
    async fn beside(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<QueryResult>, LedgerError> {
        self.as_they_are.query_one_raw(self.statement(sql, values)).await
    }

    /// People, newest first, older than `before`, with this text in their address, in small letters.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn people(
        &self,
        search: Option<&str>,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<StoredPerson>, LedgerError> {
        let mut sql =
            Sql::new(&format!("SELECT {PERSON} FROM person WHERE id < ?"), [before.unwrap_or(Uuid::max()).into()]);
        if let Some(text) = search {
            sql.add(" AND email LIKE ? ESCAPE '\\'", [super::accounts::containing(text).into()]);
        }
        sql.add(" ORDER BY id DESC LIMIT ?", [page(limit).into()]);
        self.rows_of(sql).await?.iter().map(person).collect()
    }

    /// Adds a person whose address a link has proved: the link is used up with it. Returns whether it was done: not where the
    /// link is used up already, or the address is another person's.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn add_person(&self, new: &StoredPerson, link: &str, now: Timestamp) -> Result<bool, LedgerError> {
        let adding = async {
            let mut tx = self.tables.begin_to_write().await?;
            if !links::use_up(&mut tx, link, now).await? {
                return Ok(false);
            }
            let is_new = add(&mut tx, new).await?;
            if is_new {
                tx.commit().await?;
            }
            Ok(is_new)
        };
        self.standing.unless_broken(adding).await
    }

    /// Gives a person another password, and ends all sessions but one. Links that would set another are used up. Returns
    /// whether it was done: with a `link`, not where that is used up already.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn set_password(
        &self,
        person: &StoredPerson,
        password: &str,
        link: Option<&str>,
        but: Option<Uuid>,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let set = async {
            let mut tx = self.tables.begin_to_write().await?;
            if let Some(link) = link
                && !links::use_up(&mut tx, link, now).await?
            {
                return Ok(false);
            }
            tx.execute("UPDATE person SET password = ? WHERE id = ?", [password.into(), person.id.0.into()]).await?;
            tx.execute("DELETE FROM person_link WHERE email = ? AND purpose = 'reset'", [person.email.as_str().into()])
                .await?;
            sessions::end_all(&mut tx, person.id, but).await?;
            tx.commit().await?;
            Ok(true)
        };
        self.standing.unless_broken(set).await
    }

    /// Gives a person another name.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn rename_person(&self, id: PersonId, name: &str) -> Result<(), LedgerError> {
        self.write_beside("UPDATE person SET name = ? WHERE id = ?", [name.into(), id.0.into()]).await.map(drop)
    }

    /// Lets a person in no more, ends all sessions and takes back whom the person has invited; or lets the person in again. Returns
    /// whether there is one.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn disable_person(&self, id: PersonId, since: Option<Timestamp>) -> Result<bool, LedgerError> {
        let disable = async {
            let mut tx = self.tables.begin_to_write().await?;
            let sql = "UPDATE person SET disabled_at = ? WHERE id = ?";
            let found = tx.execute(sql, [since.map(|at| at.0).into(), id.0.into()]).await?;
            if since.is_some() {
                sessions::end_all(&mut tx, id, None).await?;
                tx.execute("DELETE FROM person_link WHERE invited_by = ?", [id.0.into()]).await?;
            }
            tx.commit().await?;
            Ok(found == 1)
        };
        self.standing.unless_broken(disable).await
    }

    /// Forgets a person: the row, all sessions and identities, all links to the address, and what letters were wanted. Memberships
    /// are to end before.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn forget_person(&self, person: &StoredPerson) -> Result<(), LedgerError> {
        let forget = async {
            let mut tx: Transaction = self.tables.begin_to_write().await?;
            tx.execute("DELETE FROM person_link WHERE email = ?", [person.email.as_str().into()]).await?;
            sessions::end_all(&mut tx, person.id, None).await?;
            tx.execute("DELETE FROM person_identity WHERE person_id = ?", [person.id.0.into()]).await?;
            tx.execute("DELETE FROM key_maker WHERE person_id = ?", [person.id.0.into()]).await?;
            tx.execute("DELETE FROM notice_choice WHERE person_id = ?", [person.id.0.into()]).await?;
            tx.execute("DELETE FROM person WHERE id = ?", [person.id.0.into()]).await?;
            tx.commit().await
        };
        self.standing.unless_broken(forget).await
    }

    /// Writes to a table beside the log. Returns the number of rows that changed.
    pub(super) async fn write_beside<const N: usize>(
        &self,
        sql: &str,
        values: [Cell<'_>; N],
    ) -> Result<u64, LedgerError> {
        let write = async {
            let mut tx = self.tables.begin_to_write().await?;
            let changed = tx.execute(sql, values).await?;
            tx.commit().await?;
            Ok(changed)
        };
        self.standing.unless_broken(write).await
    }

    /// An account's members, those who were first before others.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn members(&self, account: AccountId) -> Result<Vec<Membership>, LedgerError> {
        let sql = "SELECT account_id, person_id, role, since FROM membership WHERE account_id = ? \
                   ORDER BY since, person_id";
        self.rows(sql, [account.0.into()]).await?.iter().map(membership).collect()
    }

    /// The same, each with who that is; nobody where the person was forgotten.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn people_of(&self, account: AccountId) -> Result<Vec<(Membership, Option<StoredPerson>)>, LedgerError> {
        let columns = PERSON.replace(", ", ", p.");
        let sql = format!(
            "SELECT m.account_id, m.person_id, m.role, m.since, p.{columns} FROM membership m \
             LEFT JOIN person p ON p.id = m.person_id WHERE m.account_id = ? ORDER BY m.since, m.person_id"
        );
        let rows = self.rows(&sql, [account.0.into()]).await?;
        let read = |row: &QueryResult| {
            let is_known = row.try_get_by_index::<Option<Uuid>>(4)?.is_some();
            Ok((membership(row)?, is_known.then(|| person_from(row, 4)).transpose()?))
        };
        rows.iter().map(read).collect()
    }

    /// A person's memberships, the first ones before others, each with the address of its account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn memberships(&self, person: PersonId) -> Result<Vec<(Membership, String)>, LedgerError> {
        let sql = "SELECT m.account_id, m.person_id, m.role, m.since, a.email FROM membership m \
                   JOIN account a ON a.id = m.account_id WHERE m.person_id = ? ORDER BY m.since, m.account_id";
        let rows = self.rows(sql, [person.0.into()]).await?;
        rows.iter().map(|row| Ok((membership(row)?, row.try_get_by_index(4)?))).collect()
    }
}

/// Adds a person in a transaction. Returns whether it was done: not where the address is another person's.
async fn add(tx: &mut Transaction, new: &StoredPerson) -> Result<bool, LedgerError> {
    let sql = "INSERT INTO person (id, email, name, password, verified_at, created_at, disabled_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (email) DO NOTHING";
    let values = [
        new.id.0.into(),
        new.email.as_str().into(),
        new.name.as_str().into(),
        new.password.as_deref().into(),
        new.verified_at.0.into(),
        new.created_at.0.into(),
        new.disabled_at.map(|at| at.0).into(),
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

fn person(row: &QueryResult) -> Result<StoredPerson, LedgerError> {
    person_from(row, 0)
}

/// A person, from the columns that begin there.
fn person_from(row: &QueryResult, first: usize) -> Result<StoredPerson, LedgerError> {
    Ok(StoredPerson {
        id: PersonId(row.try_get_by_index(first)?),
        email: row.try_get_by_index(first + 1)?,
        name: row.try_get_by_index(first + 2)?,
        password: row.try_get_by_index(first + 3)?,
        verified_at: Timestamp(row.try_get_by_index(first + 4)?),
        created_at: Timestamp(row.try_get_by_index(first + 5)?),
        disabled_at: row.try_get_by_index::<Option<i64>>(first + 6)?.map(Timestamp),
    })
}

/// A member, from the first four columns.
pub(super) fn membership(row: &QueryResult) -> Result<Membership, LedgerError> {
    Ok(Membership {
        account_id: AccountId(row.try_get_by_index(0)?),
        person_id: PersonId(row.try_get_by_index(1)?),
        role: role(&row.try_get_by_index::<String>(2)?)?,
        since: Timestamp(row.try_get_by_index(3)?),
    })
}

fn role(name: &str) -> Result<Role, LedgerError> {
    Role::from_name(name).ok_or_else(|| LedgerError::Corrupt(format!("role {name}")))
}

#[cfg(test)]
mod tests;
