//! Lists of accounts and of operators' actions, a page at a time, newest first.

use billing::{Nanos, Timestamp, ids::AccountId, plan::Plan};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, sql::Sql};

/// The accounts to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Text in the email address, in lower case.
    pub text: Option<String>,
    /// The plan.
    pub plan: Option<Plan>,
}

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The account's id.
    pub id: Uuid,
    /// The owner's email address.
    pub email: String,
    /// The plan: `free`.
    pub plan: String,
    /// When the account was opened.
    pub created_at: Timestamp,
    /// The available credits at the last write.
    pub available: Nanos,
    /// The account's debt.
    pub debt: Nanos,
    /// Whether another account has the same address in its normalized form. Both were opened before that was refused.
    pub twin: bool,
    /// Since when it admits no requests; `None` where it does.
    pub frozen_at: Option<Timestamp>,
}

/// An operator's action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRow {
    /// The id of the operator's request.
    pub id: Uuid,
    /// The time of the action.
    pub at: Timestamp,
    /// The account concerned.
    pub account_id: Option<Uuid>,
    /// The action: `void_grant`.
    pub action: String,
    /// The object of the action.
    pub subject: String,
    /// The amount, if the action has one.
    pub amount: Option<Nanos>,
    /// The operator's reason.
    pub reason: String,
}

impl Ledger {
    /// Accounts, newest first, older than `before`. Credits expired at `now` do not count as available.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn accounts(
        &self,
        search: &Search,
        before: Option<Uuid>,
        limit: u64,
        now: Timestamp,
    ) -> Result<Vec<AccountRow>, LedgerError> {
        let available = "(SELECT CAST(COALESCE(SUM(g.available), 0) AS BIGINT) FROM credit_grant g \
                         WHERE g.account_id = a.id AND g.expires_at > ?)";
        let mut sql = Sql::new(
            &format!(
                "SELECT a.id, a.email, a.plan, a.created_at, a.debt, a.twin, a.frozen_at, {available} AS available \
                 FROM account a WHERE a.id < ?"
            ),
            [now.0.into(), before.unwrap_or(Uuid::max()).into()],
        );
        if let Some(text) = &search.text {
            sql.add(" AND lower(a.email) LIKE ? ESCAPE '\\'", [containing(text).into()]);
        }
        if let Some(plan) = search.plan {
            sql.add(" AND a.plan = ?", [plan.name().into()]);
        }
        sql.add(" ORDER BY a.id DESC LIMIT ?", [page(limit).into()]);
        self.rows_of(sql).await?.iter().map(account).collect()
    }

    /// Accounts whose address in its normalized form is another account's.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn twins(&self) -> Result<Vec<(AccountId, String)>, LedgerError> {
        let rows = self.rows("SELECT id, email FROM account WHERE twin = 1 ORDER BY id", []).await?;
        rows.iter().map(|row| Ok((AccountId(row.try_get("", "id")?), row.try_get("", "email")?))).collect()
    }

    /// Operators' actions on one account or on all, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn actions(
        &self,
        account: Option<AccountId>,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<ActionRow>, LedgerError> {
        let first = [before.unwrap_or(Uuid::max()).into()];
        let text = "SELECT id, at, account_id, action, subject, amount, reason FROM audit_log WHERE id < ?";
        let mut sql = Sql::new(text, first);
        if let Some(account) = account {
            sql.add(" AND account_id = ?", [account.0.into()]);
        }
        sql.add(" ORDER BY id DESC LIMIT ?", [page(limit).into()]);
        self.rows_of(sql).await?.iter().map(action).collect()
    }
}

/// A `LIKE` pattern for texts that contain this one.
pub(super) fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn account(row: &QueryResult) -> Result<AccountRow, LedgerError> {
    let twin: i64 = row.try_get("", "twin")?;
    Ok(AccountRow {
        id: row.try_get("", "id")?,
        email: row.try_get("", "email")?,
        plan: row.try_get("", "plan")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        available: Nanos::new(row.try_get("", "available")?),
        debt: Nanos::new(row.try_get("", "debt")?),
        twin: twin != 0,
        frozen_at: row.try_get::<Option<i64>>("", "frozen_at")?.map(Timestamp),
    })
}

fn action(row: &QueryResult) -> Result<ActionRow, LedgerError> {
    Ok(ActionRow {
        id: row.try_get("", "id")?,
        at: Timestamp(row.try_get("", "at")?),
        account_id: row.try_get("", "account_id")?,
        action: row.try_get("", "action")?,
        subject: row.try_get("", "subject")?,
        amount: row.try_get::<Option<i64>>("", "amount")?.map(Nanos::new),
        reason: row.try_get("", "reason")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    #[tokio::test]
    async fn accounts_are_found_by_any_part_of_their_address_and_by_plan() {
        let (ledger, _folder) = new_ledger().await;
        for (number, email, plan) in
            [(1, "ada@example.com", Plan::Free), (2, "a_b@x.org", Plan::Payg), (3, "axb@example.com", Plan::Payg)]
        {
            let id = AccountId(Uuid::from_u128(number));
            ledger.create_account(id, email, plan, Timestamp(5)).await.unwrap();
        }
        let find = async |text: Option<&str>, plan, before, limit| {
            let search = Search { text: text.map(str::to_owned), plan };
            let rows = ledger.accounts(&search, before, limit, Timestamp(6)).await.unwrap();
            rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(find(None, None, None, 10).await, [3, 2, 1]);
        assert_eq!(find(None, None, Some(Uuid::from_u128(3)), 1).await, [2]);
        assert_eq!(find(Some("example"), None, None, 10).await, [3, 1]);
        assert_eq!(find(Some("example"), Some(Plan::Payg), None, 10).await, [3]);
        assert_eq!(find(Some("a_b"), None, None, 10).await, [2], "a mark of patterns is itself");
        assert!(find(Some("%"), None, None, 10).await.is_empty() && find(Some("\\"), None, None, 10).await.is_empty());
    }
}
