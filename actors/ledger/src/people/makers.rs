//! Which API key a member made, beside the log: the log has the key, and no person. A key that was made with a key of a member's is
//! that member's too.

use billing::{
    Timestamp,
    ids::{AccountId, KeyId, PersonId},
    key::ApiKey,
};

use crate::{
    Ledger, LedgerError,
    keys::{KEY, key},
};

impl Ledger {
    /// Notes who makes a key. It is noted before the key is there: of a key that never comes, it says nothing.
    ///
    /// # Errors
    ///
    /// The database can't be written now.
    pub async fn note_maker(
        &self,
        id: KeyId,
        account: AccountId,
        person: PersonId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "INSERT INTO key_maker (key_id, account_id, person_id, made_at) VALUES (?, ?, ?, ?) \
                   ON CONFLICT (key_id) DO NOTHING";
        self.write_beside(sql, [id.0.into(), account.0.into(), person.0.into(), now.0.into()]).await.map(drop)
    }

    /// Who made a key; none where no member did, or before that was noted.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn maker_of(&self, id: KeyId) -> Result<Option<PersonId>, LedgerError> {
        let row = self.beside("SELECT person_id FROM key_maker WHERE key_id = ?", [id.0.into()]).await?;
        row.map(|row| Ok(PersonId(row.try_get_by_index(0)?))).transpose()
    }

    /// The keys of an account that a member made and that are not revoked, newest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn keys_made_by(&self, account: AccountId, person: PersonId) -> Result<Vec<ApiKey>, LedgerError> {
        let sql = format!(
            "SELECT {KEY} FROM api_key WHERE account_id = ? AND revoked_at IS NULL AND id IN \
             (SELECT key_id FROM key_maker WHERE person_id = ? AND account_id = ?) ORDER BY id DESC"
        );
        let values = [account.0.into(), person.0.into(), account.0.into()];
        self.rows(&sql, values).await?.iter().map(key).collect()
    }
}
