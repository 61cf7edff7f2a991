//! Answers of requests that were detached, kept for a day for whoever asked. One is a row of its own among kept responses,
//! under a name that no response has.

use billing::{
    ids::{AccountId, KeyId, RequestId},
    time::DAY_MS,
};
use ledger::kept::NewResponse;
use serde::de::DeserializeOwned;

use super::{KeptError, LARGEST, MOST_BYTES, Responses};

/// How the names of outputs begin.
pub(super) const PREFIX: &str = "output_";
/// How long one is kept, in milliseconds.
const LIFE_MS: i64 = DAY_MS;

/// The name of a request's output. Those of a key with limits are read by that key alone.
fn name(only: Option<KeyId>, id: RequestId) -> String {
    match only {
        Some(key) => format!("{PREFIX}{}_{}", key.0.simple(), id.0.simple()),
        None => format!("{PREFIX}{}", id.0.simple()),
    }
}

impl Responses {
    /// Keeps an output, unless it is larger than what is kept. Returns whether it is.
    ///
    /// # Errors
    ///
    /// The ledger can't be written now.
    pub async fn keep_output(
        &self,
        account: AccountId,
        only: Option<KeyId>,
        id: RequestId,
        output: &str,
    ) -> Result<bool, KeptError> {
        let name = name(only, id);
        let sealed = (output.len() <= LARGEST).then(|| self.seal(account, &name, output.as_bytes())).flatten();
        let Some(sealed) = sealed else { return Ok(false) };
        let now = self.now();
        let expires_at = now.plus_ms(LIFE_MS);
        let new =
            NewResponse { account_id: account, id: name, previous: None, items: Vec::new(), now, expires_at, sealed };
        let ledger = self.0.accounts.ledger();
        ledger.keep_response(&new, true).await?;
        ledger.trim_responses(account, MOST_BYTES).await?;
        Ok(true)
    }

    /// The output of a request, as it was kept; none where there is none.
    ///
    /// # Errors
    ///
    /// The ledger can't be read now.
    pub async fn output<T: DeserializeOwned>(
        &self,
        account: AccountId,
        only: Option<KeyId>,
        id: RequestId,
    ) -> Result<Option<T>, KeptError> {
        let found = self.0.accounts.ledger().kept_response(account, &name(only, id), self.now()).await?;
        Ok(found.and_then(|found| self.open(account, found)))
    }
}
