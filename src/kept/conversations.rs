//! Conversations that are kept for their account, thirty days after their last change. One is a row of its own among kept
//! responses, with a revision in place of the response that it continues: of two changes at once the second is made on
//! what the first one left.

use std::collections::HashSet;

use actors::accounts::Accounts;
use billing::ids::AccountId;
use ledger::kept::NewResponse;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;
use wire::format::openai::responses::conversations::{Conversation, PREFIX};

use super::{KeptError, LARGEST, LIFE_MS, MOST_BYTES, Responses};

/// The longest conversation that is continued, and that items are added to by themselves, in bytes: below what is kept of
/// anything, so that there is room for an answer.
const FULL: usize = LARGEST - (1 << 20);
/// How often a change is made anew, where others come between.
const TRIES: usize = 100;

impl Responses {
    fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Keeps a new conversation. Returns its id.
    ///
    /// # Errors
    ///
    /// It is too long, or the ledger can't be written now.
    pub async fn begin(&self, account: AccountId, conversation: &Conversation) -> Result<String, KeptError> {
        has_room(conversation, 0)?;
        let id = format!("{PREFIX}{}", new_id());
        let mut new = self.row(account, id, conversation)?;
        let ledger = self.accounts().ledger();
        ledger.keep_response(&new, false).await?;
        new.items = conversation.ids().map(str::to_owned).collect();
        if let Some(revision) = new.previous.as_deref().filter(|_| !new.items.is_empty()) {
            ledger.replace_response(&new, revision, &[]).await?;
        }
        ledger.trim_responses(account, MOST_BYTES).await?;
        Ok(new.id)
    }

    /// A conversation of an account.
    ///
    /// # Errors
    ///
    /// There is none, or the ledger can't be read now.
    pub async fn conversation(&self, account: AccountId, id: &str) -> Result<Conversation, KeptError> {
        Ok(self.at_revision(account, id).await?.0)
    }

    /// Changes a conversation. Returns what the change does, made on what is kept then.
    ///
    /// # Errors
    ///
    /// There is none, the change is none, or the ledger can't be written now.
    pub async fn change<T>(
        &self,
        account: AccountId,
        id: &str,
        change: impl Fn(&mut Conversation) -> Result<T, KeptError>,
    ) -> Result<T, KeptError> {
        for _ in 0..TRIES {
            let (mut conversation, revision) = self.at_revision(account, id).await?;
            let before: HashSet<String> = conversation.ids().map(str::to_owned).collect();
            let done = change(&mut conversation)?;
            let after: HashSet<String> = conversation.ids().map(str::to_owned).collect();
            let gone: Vec<String> = before.difference(&after).cloned().collect();
            let items = after.difference(&before).cloned().collect();
            let new = NewResponse { items, ..self.row(account, id.to_owned(), &conversation)? };
            let ledger = self.accounts().ledger();
            if ledger.replace_response(&new, &revision, &gone).await? {
                ledger.trim_responses(account, MOST_BYTES).await?;
                return Ok(done);
            }
        }
        Err(KeptError::Busy(id.to_owned()))
    }

    /// Adds items to a conversation. Returns them as they are listed.
    ///
    /// # Errors
    ///
    /// It has no room for them, or as a change.
    pub async fn add(&self, account: AccountId, id: &str, items: &[Box<RawValue>]) -> Result<Vec<Value>, KeptError> {
        let add = |conversation: &mut Conversation| {
            has_room(conversation, bytes(items))?;
            Ok(conversation.add(items.iter().cloned(), new_id))
        };
        self.change(account, id, add).await
    }

    /// Adds the items of a request and of its answer to a conversation, which had room for those of the request.
    ///
    /// # Errors
    ///
    /// As a change.
    pub async fn add_answer(&self, account: AccountId, id: &str, items: &[Box<RawValue>]) -> Result<(), KeptError> {
        let add = |conversation: &mut Conversation| Ok(conversation.add(items.iter().cloned(), new_id));
        self.change(account, id, add).await.map(drop)
    }

    /// Forgets a conversation. The responses that were made in it stay.
    ///
    /// # Errors
    ///
    /// There is none, or the ledger can't be written now.
    pub async fn end(&self, account: AccountId, id: &str) -> Result<(), KeptError> {
        let is_gone = id.starts_with(PREFIX) && self.accounts().ledger().forget_response(account, id).await?;
        if is_gone { Ok(()) } else { Err(KeptError::NoConversation(id.to_owned())) }
    }

    async fn at_revision(&self, account: AccountId, id: &str) -> Result<(Conversation, String), KeptError> {
        let none = || KeptError::NoConversation(id.to_owned());
        if !id.starts_with(PREFIX) {
            return Err(none());
        }
        let found = self.accounts().ledger().kept_response(account, id, self.now()).await?.ok_or_else(none)?;
        let revision = found.previous.clone().ok_or_else(none)?;
        let conversation = self.open(account, found).ok_or_else(none)?;
        Ok((conversation, revision))
    }

    /// A conversation as a row, with a new revision.
    fn row(&self, account: AccountId, id: String, conversation: &Conversation) -> Result<NewResponse, KeptError> {
        let text = serde_json::to_vec(conversation).ok().and_then(|text| self.seal(account, &id, &text));
        let sealed = text.ok_or_else(|| KeptError::NoConversation(id.clone()))?;
        let now = self.now();
        Ok(NewResponse {
            account_id: account,
            id,
            previous: Some(new_id()),
            items: Vec::new(),
            now,
            expires_at: now.plus_ms(LIFE_MS),
            sealed,
        })
    }
}

/// Whether a conversation has room for so many bytes of items more.
///
/// # Errors
///
/// It has none.
pub fn has_room(conversation: &Conversation, more: usize) -> Result<(), KeptError> {
    if conversation.bytes().saturating_add(more) > FULL { Err(KeptError::Full(FULL)) } else { Ok(()) }
}

/// The bytes of items.
pub fn bytes(items: &[Box<RawValue>]) -> usize {
    items.iter().map(|item| item.get().len()).sum()
}

/// A name of its own: the end of an id, or a revision.
pub fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
}
