//! Price books: each has a version, which charges name. Versions are written by the journal while a process serves
//! ([`Ledger::known_prices`] tells it which there are), and before that by [`Ledger::price_version`].

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, RequestId},
    price::Parts,
};
use sea_orm::QueryResult;

use super::{
    Ledger, LedgerError,
    log::{
        Shard,
        body::{self, PriceBook},
    },
    query::{LARGEST_PAGE, page},
};

/// A version of the price book, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// The version.
    pub version: i64,
    /// The hash of the text.
    pub hash: String,
    /// When the version came into use.
    pub at: Timestamp,
    /// The length of the text in characters.
    pub characters: i64,
}

/// What the ledger knows of a book's text, and of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPrices {
    /// The version of the text; `None` where it is new.
    pub version: Option<i64>,
    /// The last version of any text; 0 before the first.
    pub last: i64,
}

/// A charge for a provider's model, with what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The account.
    pub account_id: AccountId,
    /// The request.
    pub request_id: RequestId,
    /// The model.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// When the request was admitted.
    pub started_at: Timestamp,
    /// What was charged.
    pub charged: Nanos,
    /// The quantities, with their rates.
    pub parts: Parts,
}

/// Which charges are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Those by a version of the price book or a later one.
    Version(i64),
    /// Those of requests that were admitted at a time or later.
    Time(Timestamp),
}

impl Ledger {
    /// The version of a price book: its existing version, or a new one. Called before there is a journal.
    ///
    /// # Errors
    ///
    /// The database can't be used now. Repeating the call is safe: a book has one version.
    pub async fn price_version(&self, hash: &str, prices: &str, now: Timestamp) -> Result<i64, LedgerError> {
        let known = self.known_prices(hash).await?;
        if let Some(version) = known.version {
            return Ok(version);
        }
        let book = PriceBook { version: known.last + 1, hash: hash.to_owned(), at: now, prices: prices.to_owned() };
        self.append_by_itself(Shard::FIRST, body::encode_prices(&book), now).await?;
        Ok(book.version)
    }

    /// The version of a text, and the last version, as the tables have them now. Versions that are in the log alone are
    /// known to the journal, which appended them.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn known_prices(&self, hash: &str) -> Result<KnownPrices, LedgerError> {
        let sql = "SELECT (SELECT version FROM price_version WHERE hash = ?), \
                   (SELECT COALESCE(MAX(version), 0) FROM price_version)";
        let row = self.as_they_are.query_one_raw(self.statement(sql, [hash.into()])).await?;
        match row {
            Some(row) => Ok(KnownPrices { version: row.try_get_by_index(0)?, last: row.try_get_by_index(1)? }),
            None => Ok(KnownPrices { version: None, last: 0 }),
        }
    }

    /// All versions of the price book, the first one first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn price_versions(&self) -> Result<Vec<PriceVersion>, LedgerError> {
        let sql = "SELECT version, hash, at, CAST(LENGTH(prices) AS BIGINT) FROM price_version ORDER BY version";
        let version = |row: &QueryResult| {
            Ok(PriceVersion {
                version: row.try_get_by_index(0)?,
                hash: row.try_get_by_index(1)?,
                at: Timestamp(row.try_get_by_index(2)?),
                characters: row.try_get_by_index(3)?,
            })
        };
        self.rows(sql, []).await?.iter().map(version).collect()
    }

    /// The text of a version.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn price_book(&self, version: i64) -> Result<Option<String>, LedgerError> {
        let row = self.row("SELECT prices FROM price_version WHERE version = ?", [version.into()]).await?;
        row.map(|row| Ok(row.try_get_by_index(0)?)).transpose()
    }

    /// A page of charges for providers' models, behind an account and a request. Those whose quantities were not kept are
    /// left out.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn charges(
        &self,
        since: Since,
        after: Option<(AccountId, RequestId)>,
    ) -> Result<Vec<Charge>, LedgerError> {
        let (column, least) = match since {
            Since::Version(version) => ("price_version", version),
            Since::Time(time) => ("started_at", time.0),
        };
        let sql = format!(
            "SELECT account_id, request_id, model, provider, started_at, charged, quantities FROM usage_record \
             WHERE {column} >= ? AND provider <> 'farebox' AND quantities <> '' AND (account_id, request_id) > (?, ?) \
             ORDER BY account_id, request_id LIMIT ?"
        );
        let nil = (AccountId(uuid::Uuid::nil()), RequestId(uuid::Uuid::nil()));
        let (account, request) = after.unwrap_or(nil);
        let values = [least.into(), account.0.into(), request.0.into(), page(LARGEST_PAGE).into()];
        self.rows(&sql, values).await?.iter().map(charge).collect()
    }
}

fn charge(row: &QueryResult) -> Result<Charge, LedgerError> {
    let quantities: String = row.try_get_by_index(6)?;
    Ok(Charge {
        account_id: AccountId(row.try_get_by_index(0)?),
        request_id: RequestId(row.try_get_by_index(1)?),
        model: row.try_get_by_index(2)?,
        provider: row.try_get_by_index(3)?,
        started_at: Timestamp(row.try_get_by_index(4)?),
        charged: Nanos::new(row.try_get_by_index(5)?),
        parts: quantities.parse().map_err(|error: billing::price::NoParts| LedgerError::Corrupt(error.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    #[tokio::test]
    async fn a_text_has_one_version_and_all_versions_are_told() {
        let (ledger, _folder) = new_ledger().await;
        assert_eq!(ledger.known_prices("a").await.unwrap(), KnownPrices { version: None, last: 0 });
        assert_eq!(ledger.price_version("a", "first", Timestamp(1)).await.unwrap(), 1);
        assert_eq!(ledger.price_version("b", "second", Timestamp(2)).await.unwrap(), 2);
        assert_eq!(ledger.price_version("a", "first", Timestamp(3)).await.unwrap(), 1);
        assert_eq!(ledger.known_prices("a").await.unwrap(), KnownPrices { version: Some(1), last: 2 });
        let versions = ledger.price_versions().await.unwrap();
        let told: Vec<_> = versions.iter().map(|known| (known.version, known.at.0, known.characters)).collect();
        assert_eq!(told, [(1, 1, 5), (2, 2, 6)]);
        assert_eq!(ledger.price_book(2).await.unwrap().as_deref(), Some("second"));
        assert_eq!(ledger.price_book(3).await.unwrap(), None);
        assert!(ledger.charges(Since::Version(0), None).await.unwrap().is_empty());
    }
}
