//! The audit log of accounts: who changed what, by a key or as a member. It stands beside the log, as it names persons, who may be
//! forgotten: what was changed is in the log, with its effect.

use billing::{Timestamp, ids::AccountId};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, sql::Sql};

/// A change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id of the request that asked for it, in the order of time.
    pub id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it: a `member`, by a session, or a `key`.
    pub by_kind: String,
    /// The member or the key.
    pub by: Uuid,
    /// What was done: `keys.create`.
    pub act: String,
    /// The object that was changed, by its id.
    pub subject: Option<String>,
    /// What else is to be known of it.
    pub detail: Option<String>,
}

const COLUMNS: &str = "id, account_id, at, by_kind, by_id, act, subject, detail";

impl Ledger {
    /// Notes a change. One that is noted already stays as it is, and so does, with `once`, the same act upon the same object.
    ///
    /// # Errors
    ///
    /// The database can't be written now, or the outcome is unknown: a repetition is safe.
    pub async fn note_change(&self, entry: &Entry, once: bool) -> Result<(), LedgerError> {
        let Entry { id, account_id, at, by_kind, by, act, subject, detail } = entry;
        if once && self.has_noted(*account_id, act, subject.as_deref()).await? {
            return Ok(());
        }
        let sql = format!("INSERT INTO trail ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING");
        let values = [
            (*id).into(),
            account_id.0.into(),
            at.0.into(),
            by_kind.as_str().into(),
            (*by).into(),
            act.as_str().into(),
            subject.as_deref().into(),
            detail.as_deref().into(),
        ];
        self.write_beside(&sql, values).await.map(drop)
    }

    /// Whether this act upon this object of an account was noted.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn has_noted(&self, account: AccountId, act: &str, subject: Option<&str>) -> Result<bool, LedgerError> {
        let sql = "SELECT 1 FROM trail WHERE account_id = ? AND act = ? AND subject = ? LIMIT 1";
        Ok(!self.rows_of(Sql::new(sql, [account.0.into(), act.into(), subject.into()])).await?.is_empty())
    }

    /// The changes of an account, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn trail(&self, account: AccountId, before: Option<Uuid>, limit: u64) -> Result<Vec<Entry>, LedgerError> {
        let values = [account.0.into(), before.unwrap_or(Uuid::max()).into(), page(limit).into()];
        let sql = format!("SELECT {COLUMNS} FROM trail WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?");
        self.rows_of(Sql::new(&sql, values)).await?.iter().map(entry).collect()
    }
}

fn entry(row: &QueryResult) -> Result<Entry, LedgerError> {
    Ok(Entry {
        id: row.try_get("", "id")?,
        account_id: AccountId(row.try_get("", "account_id")?),
        at: Timestamp(row.try_get("", "at")?),
        by_kind: row.try_get("", "by_kind")?,
        by: row.try_get("", "by_id")?,
        act: row.try_get("", "act")?,
        subject: row.try_get("", "subject")?,
        detail: row.try_get("", "detail")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    #[tokio::test]
    async fn changes_are_noted_once_and_listed_by_account_newest_first() {
        let (ledger, _folder) = new_ledger().await;
        let entry = |number: u128, account: u128| Entry {
            id: Uuid::from_u128(number),
            account_id: AccountId(Uuid::from_u128(account)),
            at: Timestamp(5),
            by_kind: if number == 2 { "member" } else { "key" }.into(),
            by: Uuid::from_u128(9),
            act: "keys.create".into(),
            subject: (number == 2).then(|| "it".into()),
            detail: Some("'; DROP TABLE trail".into()),
        };
        let (first, second, other) = (entry(1, 1), entry(2, 1), entry(3, 2));
        for change in [&first, &second, &first, &other] {
            ledger.note_change(change, false).await.unwrap();
        }
        // What a form made is noted once, whatever the request.
        let again = Entry { id: Uuid::from_u128(4), ..second.clone() };
        ledger.note_change(&again, true).await.unwrap();
        let of = async |account: u128, before, limit| {
            ledger.trail(AccountId(Uuid::from_u128(account)), before, limit).await.unwrap()
        };
        assert_eq!(of(1, None, 10).await, [second.clone(), first.clone()]);
        assert_eq!(of(1, None, 1).await, std::slice::from_ref(&second));
        assert_eq!(of(1, Some(second.id), 10).await, [first]);
        assert_eq!(of(2, None, 10).await, [other]);
        let is_noted = async |account: u128, act, subject| {
            ledger.has_noted(AccountId(Uuid::from_u128(account)), act, subject).await.unwrap()
        };
        assert!(is_noted(1, "keys.create", Some("it")).await);
        for (account, act, subject) in
            [(2, "keys.create", Some("it")), (1, "keys.revoke", Some("it")), (1, "keys.create", Some("another"))]
        {
            assert!(!is_noted(account, act, subject).await, "{account} {act}");
        }
    }
}
