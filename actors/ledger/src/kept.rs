//! Responses that are kept for their account (OpenAI API, "Responses": `store`, `previous_response_id`). They are written
//! beside the log and may be lost. What they say is sealed before it comes here; their ids are not.

use billing::{Timestamp, ids::AccountId};
use sea_orm::QueryResult;

use super::{Ledger, LedgerError, rows::Cell};

/// A response to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResponse {
    /// The account.
    pub account_id: AccountId,
    /// The response's id.
    pub id: String,
    /// The response that it continues.
    pub previous: Option<String>,
    /// The ids of its items.
    pub items: Vec<String>,
    /// The current time.
    pub now: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// What it says.
    pub sealed: Vec<u8>,
}

/// A response that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptResponse {
    /// The response's id.
    pub id: String,
    /// The response that it continues.
    pub previous: Option<String>,
    /// What it says.
    pub sealed: Vec<u8>,
}

const KEEP: &str = "INSERT INTO kept_response (account_id, id, previous, created_at, expires_at, bytes, sealed) \
                    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, id) DO ";
const REPLACING: &str = "UPDATE SET previous = excluded.previous, bytes = excluded.bytes, sealed = excluded.sealed";
const NOT_REPLACING: &str = "NOTHING";
const REPLACE: &str = "UPDATE kept_response SET previous = ?, created_at = ?, expires_at = ?, bytes = ?, sealed = ? \
                       WHERE account_id = ? AND id = ? AND previous = ?";
const HAS: &str = "SELECT 1 FROM kept_response WHERE account_id = ? AND id = ?";
const KEEP_ITEM: &str = "INSERT INTO kept_item (account_id, id, response_id) VALUES (?, ?, ?) \
                         ON CONFLICT (account_id, id) DO ";
const NEWEST: &str = "UPDATE SET response_id = excluded.response_id";
const FORGET_ITEM: &str = "DELETE FROM kept_item WHERE account_id = ? AND id = ? AND response_id = ?";
const FIND: &str = "SELECT id, previous, sealed FROM kept_response WHERE account_id = ? AND id = ? AND expires_at > ?";
const OF_ITEM: &str = "SELECT k.id, k.previous, k.sealed FROM kept_item i JOIN kept_response k \
                       ON k.account_id = i.account_id AND k.id = i.response_id \
                       WHERE i.account_id = ? AND i.id = ? AND k.expires_at > ?";
/// Responses of an account beyond so many bytes, the newest counted first; and responses that have expired.
const OLDEST: &str = "SELECT account_id, id FROM (SELECT account_id, id, SUM(bytes) OVER (ORDER BY created_at DESC, id) \
                      AS total FROM kept_response WHERE account_id = ?) AS newest WHERE total > ?";
const EXPIRED: &str = "SELECT account_id, id FROM kept_response WHERE expires_at <= ? \
                       ORDER BY expires_at, account_id, id LIMIT ?";
const NAMED: &str = "SELECT account_id, id FROM kept_response WHERE account_id = ? AND id = ?";

impl Ledger {
    /// Whether an account has a response of this id.
    ///
    /// # Errors
    ///
    /// The database can't be read now.
    pub async fn has_response(&self, account: AccountId, id: &str) -> Result<bool, LedgerError> {
        if is_nobodys(id) {
            return Ok(false);
        }
        // These rows are written beside the log.
        let statement = self.statement(HAS, [account.0.into(), id.into()]);
        Ok(self.as_they_are.query_one_raw(statement).await?.is_some())
    }

    /// Keeps a response. Returns whether it is kept: one of this id that is there stays, unless the new one `replaces` it.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn keep_response(&self, new: &NewResponse, replaces: bool) -> Result<bool, LedgerError> {
        self.standing.unless_broken(self.write_response(new, replaces)).await
    }

    async fn write_response(&self, new: &NewResponse, replaces: bool) -> Result<bool, LedgerError> {
        let account = new.account_id.0;
        let mut tx = self.tables.begin_to_write().await?;
        let values: [Cell<'_>; 7] = [
            account.into(),
            new.id.as_str().into(),
            new.previous.as_deref().into(),
            new.now.0.into(),
            new.expires_at.0.into(),
            (new.sealed.len() as u64).into(),
            new.sealed.as_slice().into(),
        ];
        let sql = [KEEP, if replaces { REPLACING } else { NOT_REPLACING }].concat();
        if tx.execute(&sql, values).await? == 0 {
            return Ok(false);
        }
        let keep_item = [KEEP_ITEM, NEWEST].concat();
        for item in &new.items {
            tx.execute(&keep_item, [account.into(), item.as_str().into(), new.id.as_str().into()]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Puts this in the place of what is kept under its id, if that still continues `before`. Its items are those that it
    /// has more than before; an item that something else has too stays that one's. `gone` are the items that it has no
    /// longer. Returns whether it did.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn replace_response(
        &self,
        new: &NewResponse,
        before: &str,
        gone: &[String],
    ) -> Result<bool, LedgerError> {
        self.standing.unless_broken(self.write_over(new, before, gone)).await
    }

    async fn write_over(&self, new: &NewResponse, before: &str, gone: &[String]) -> Result<bool, LedgerError> {
        let mut tx = self.tables.begin_to_write().await?;
        let values: [Cell<'_>; 8] = [
            new.previous.as_deref().into(),
            new.now.0.into(),
            new.expires_at.0.into(),
            (new.sealed.len() as u64).into(),
            new.sealed.as_slice().into(),
            new.account_id.0.into(),
            new.id.as_str().into(),
            before.into(),
        ];
        if tx.execute(REPLACE, values).await? == 0 {
            return Ok(false);
        }
        let (account, keep_item) = (new.account_id.0, [KEEP_ITEM, NOT_REPLACING].concat());
        let items = gone.iter().map(|item| (FORGET_ITEM, item));
        for (sql, item) in items.chain(new.items.iter().map(|item| (&*keep_item, item))) {
            tx.execute(sql, [account.into(), item.as_str().into(), new.id.as_str().into()]).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// A response of an account, unless it has expired.
    ///
    /// # Errors
    ///
    /// The database can't be read now.
    pub async fn kept_response(
        &self,
        account: AccountId,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<KeptResponse>, LedgerError> {
        self.kept(FIND, account, id, now).await
    }

    /// The response of an account that has an item, unless it has expired.
    ///
    /// # Errors
    ///
    /// The database can't be read now.
    pub async fn response_of_item(
        &self,
        account: AccountId,
        item: &str,
        now: Timestamp,
    ) -> Result<Option<KeptResponse>, LedgerError> {
        self.kept(OF_ITEM, account, item, now).await
    }

    async fn kept(
        &self,
        sql: &str,
        account: AccountId,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<KeptResponse>, LedgerError> {
        if is_nobodys(id) {
            return Ok(None);
        }
        let values = [account.0.into(), id.into(), now.0.into()];
        // These rows are written beside the log.
        let row = self.as_they_are.query_one_raw(self.statement(sql, values)).await?;
        let read = |row: QueryResult| {
            Ok(KeptResponse {
                id: row.try_get_by_index(0)?,
                previous: row.try_get_by_index(1)?,
                sealed: row.try_get_by_index(2)?,
            })
        };
        row.map(read).transpose()
    }

    /// Forgets a response. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn forget_response(&self, account: AccountId, id: &str) -> Result<bool, LedgerError> {
        Ok(!is_nobodys(id) && self.forget_responses(NAMED, [account.0.into(), id.into()]).await? > 0)
    }

    /// Forgets the oldest responses of an account, while all of them have more than `most` bytes.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn trim_responses(&self, account: AccountId, most: u64) -> Result<(), LedgerError> {
        self.forget_responses(OLDEST, [account.0.into(), most.into()]).await?;
        Ok(())
    }

    /// Forgets responses that have expired, at most `limit` of them. Returns how many.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn sweep_responses(&self, now: Timestamp, limit: u32) -> Result<u64, LedgerError> {
        self.forget_responses(EXPIRED, [now.0.into(), i64::from(limit).into()]).await
    }

    /// Forgets the responses that a query selects, and their items. Returns how many.
    async fn forget_responses(&self, selected: &str, values: [Cell<'_>; 2]) -> Result<u64, LedgerError> {
        let forget = async {
            let mut tx = self.tables.begin_to_write().await?;
            let items = format!("DELETE FROM kept_item WHERE (account_id, response_id) IN ({selected})");
            tx.execute(&items, values.clone()).await?;
            let responses = format!("DELETE FROM kept_response WHERE (account_id, id) IN ({selected})");
            let forgotten = tx.execute(&responses, values).await?;
            tx.commit().await?;
            Ok(forgotten)
        };
        self.standing.unless_broken(forget).await
    }
}

/// Whether no row can have this id: PostgreSQL's texts have no NUL, and it fails where it is asked for one.
fn is_nobodys(id: &str) -> bool {
    id.contains('\0')
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::tests::new_ledger;

    fn new(account: AccountId, id: &str, at: i64) -> NewResponse {
        NewResponse {
            account_id: account,
            id: id.to_owned(),
            previous: (at > 1).then(|| format!("r{}", at - 1)),
            items: vec![format!("item-of-{id}")],
            now: Timestamp(at),
            expires_at: Timestamp(at + 100),
            sealed: vec![7; 10],
        }
    }

    #[tokio::test]
    async fn a_response_is_its_accounts_alone_and_is_forgotten_in_time() {
        let (ledger, _folder) = new_ledger().await;
        let [one, other] = [1, 2].map(|id| AccountId(Uuid::from_u128(id)));
        for (id, at) in [("r1", 1), ("r2", 2), ("r3", 3)] {
            assert!(ledger.keep_response(&new(one, id, at), false).await.unwrap());
        }
        let other_of_name = NewResponse { sealed: vec![8; 20], ..new(one, "r2", 9) };
        assert!(!ledger.keep_response(&other_of_name, false).await.unwrap(), "the earlier stays");
        assert!(ledger.has_response(one, "r2").await.unwrap() && !ledger.has_response(other, "r2").await.unwrap());
        let newer = NewResponse { previous: Some("r9".into()), sealed: vec![9; 10], ..new(one, "r2", 3) };
        assert!(!ledger.replace_response(&newer, "r8", &[]).await.unwrap(), "it continues another");
        assert!(
            !ledger.replace_response(&NewResponse { account_id: other, ..newer.clone() }, "r1", &[]).await.unwrap()
        );
        assert!(ledger.replace_response(&newer, "r1", &[]).await.unwrap());
        assert!(ledger.replace_response(&new(one, "r2", 2), "r9", &[]).await.unwrap(), "as it was");
        let found = async |account, id: &str, at| {
            let found = ledger.kept_response(account, id, Timestamp(at)).await.unwrap();
            found.map(|found| (found.id, found.previous, found.sealed.len()))
        };
        assert_eq!(found(one, "r2", 5).await, Some(("r2".into(), Some("r1".into()), 10)));
        assert_eq!((found(other, "r2", 5).await, found(one, "r2", 102).await), (None, None));
        let of_item = async |account, item: &str| {
            ledger.response_of_item(account, item, Timestamp(5)).await.unwrap().map(|found| found.id)
        };
        assert_eq!(
            (of_item(one, "item-of-r3").await.as_deref(), of_item(other, "item-of-r3").await),
            (Some("r3"), None)
        );
        let more = NewResponse { items: vec!["item-of-r3".into(), "more".into()], ..new(one, "r2", 2) };
        assert!(ledger.replace_response(&more, "r1", &["item-of-r2".into(), "item-of-r3".into()]).await.unwrap());
        let found_of = (of_item(one, "item-of-r3").await, of_item(one, "more").await, of_item(one, "item-of-r2").await);
        assert_eq!(found_of, (Some("r3".into()), Some("r2".into()), None), "an item of another stays that one's");
        assert!(
            ledger.forget_response(one, "r3").await.unwrap() && !ledger.forget_response(other, "r2").await.unwrap()
        );
        assert_eq!(of_item(one, "item-of-r3").await, None);
        ledger.trim_responses(one, 15).await.unwrap();
        assert!(found(one, "r1", 5).await.is_none() && found(one, "r2", 5).await.is_some(), "the oldest goes");
        assert_eq!(ledger.sweep_responses(Timestamp(101), 9).await.unwrap(), 0);
        assert_eq!(ledger.sweep_responses(Timestamp(102), 9).await.unwrap(), 1);
        assert_eq!(of_item(one, "more").await, None);
    }
}
