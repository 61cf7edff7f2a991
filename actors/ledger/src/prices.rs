//! Price books: each has a version, which charges name.

use billing::Timestamp;

use super::{
    Ledger, LedgerError,
    log::body::{self, PriceBook},
};

impl Ledger {
    /// The version of a price book: its existing version, or a new one. Called before there is a journal.
    ///
    /// # Errors
    ///
    /// The database can't be used now. Repeating the call is safe: a book has one version.
    pub async fn price_version(&self, hash: &str, prices: &str, now: Timestamp) -> Result<i64, LedgerError> {
        if let Some(row) = self.row("SELECT version FROM price_version WHERE hash = ?", [hash.into()]).await? {
            return Ok(row.try_get_by_index(0)?);
        }
        let last = self.row("SELECT COALESCE(MAX(version), 0) FROM price_version", []).await?;
        let last: i64 = last.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        let book = PriceBook { version: last + 1, hash: hash.to_owned(), at: now, prices: prices.to_owned() };
        self.append_by_itself(body::encode_prices(&book), now).await?;
        Ok(book.version)
    }
}
