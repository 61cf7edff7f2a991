//! Responses that are kept for their account for thirty days (OpenAI API, "Responses": `store`), so that later requests
//! continue them and their owner reads or deletes them. They are written beside the log: one that is lost is only not
//! found. What they say is sealed with a key made of the operator's token, which is not in the database. This file knows
//! no HTTP, and of a response only that it has items.

mod conversations;
mod outputs;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actors::accounts::Accounts;
use billing::{Timestamp, ids::AccountId, time::DAY_MS};
use ledger::{
    LedgerError,
    kept::{KeptResponse, NewResponse},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use wire::format::openai::responses::{
    conversations::{Conversation, PREFIX},
    kept::{Kept, Named},
};

use crate::sealing::Sealer;

pub use conversations::{bytes, has_room, new_id};

/// How long a response is kept, in milliseconds.
pub const LIFE_MS: i64 = 30 * DAY_MS;
/// The longest response that is kept, with the items of its own request, in bytes.
pub const LARGEST: usize = 8 << 20;
/// The longest id of a response. Providers make them.
const LONGEST_ID: usize = 256;
/// The most bytes of one account's responses. The oldest make room.
pub const MOST_BYTES: u64 = 512 << 20;
/// The most responses that one continues, directly and through others.
pub const LONGEST_CHAIN: usize = 1_000;
/// How many responses are kept between two looks at an account's bytes, by a share of the accounts.
const LOOK_EVERY: usize = 16;
/// The shares: one for each value of a byte of the account's id.
const SHARES: usize = 256;

/// Why a response can't be read or continued.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The account has no such response.
    #[error("response {0:.100} is not kept here")]
    NoResponse(String),
    /// The account has no such item.
    #[error("item {0:.100} is not kept here")]
    NoItem(String),
    /// The response has no answer (yet).
    #[error("response {0:.100} is not complete")]
    NoAnswer(String),
    /// The account has no such conversation.
    #[error("conversation {0:.100} is not kept here")]
    NoConversation(String),
    /// The response was made in a conversation.
    #[error("response {0:.100} was made in a conversation: name that in its place")]
    OfConversation(String),
    /// The conversation has no room.
    #[error("is full: all items of a conversation may have {0} bytes; begin another")]
    Full(usize),
    /// Others change the conversation all the time.
    #[error("conversation {0:.100} is being changed")]
    Busy(String),
    /// All that came before is longer than a request may be.
    #[error("what came before has more than {0} bytes, or more than {LONGEST_CHAIN} responses")]
    TooLong(usize),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What a request continues.
#[derive(Debug, Default)]
pub struct Earlier {
    /// The responses before, oldest first.
    pub responses: Vec<Kept>,
    /// The items that it names.
    pub items: BTreeMap<String, Box<RawValue>>,
}

/// The responses of all accounts.
#[derive(Clone)]
pub struct Responses(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    sealer: Sealer,
    /// How many responses were kept, for shares of the accounts.
    kept: [AtomicUsize; SHARES],
}

impl Responses {
    /// The responses in the accounts' ledger, sealed with the operator's token, of which this is the hash.
    pub fn new(accounts: Accounts, token: &blake3::Hash) -> Self {
        let sealer = Sealer::new("farebox kept responses", token);
        Self(Arc::new(Inner { accounts, sealer, kept: [const { AtomicUsize::new(0) }; SHARES] }))
    }

    fn now(&self) -> Timestamp {
        self.0.accounts.clock().now()
    }

    fn seal(&self, account: AccountId, id: &str, text: &[u8]) -> Option<Vec<u8>> {
        self.0.sealer.seal(&[account.0.as_bytes(), id.as_bytes()], text)
    }

    /// What was kept; `None` where it was sealed with another token, or is something else.
    fn open<T: DeserializeOwned>(&self, account: AccountId, found: KeptResponse) -> Option<T> {
        let KeptResponse { id, sealed, .. } = found;
        let text = self.0.sealer.open(&[account.0.as_bytes(), id.as_bytes()], sealed)?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether a response of this id is kept.
    ///
    /// # Errors
    ///
    /// The ledger can't be read now.
    pub async fn has(&self, account: AccountId, id: &str) -> Result<bool, KeptError> {
        Ok(self.0.accounts.ledger().has_response(account, id).await?)
    }

    /// Keeps a response that continues another one, or none. A response that is too long, or has no id, is not kept, nor is
    /// one whose id is that of another, unless it `replaces` itself as it was before.
    ///
    /// # Errors
    ///
    /// The ledger can't be written now.
    pub async fn keep(
        &self,
        account: AccountId,
        kept: &Kept,
        previous: Option<&str>,
        replaces: bool,
    ) -> Result<(), KeptError> {
        // What conversations and outputs are named no response is.
        let is_other = |id: &String| id.starts_with(PREFIX) || id.starts_with(outputs::PREFIX);
        let is_id = |id: &String| id.len() <= LONGEST_ID && !id.contains('\0') && !is_other(id);
        let Some(id) = kept.id().filter(is_id) else { return Ok(()) };
        let is_long = kept.bytes() > LARGEST;
        if is_long {
            tracing::info!(account.id = %account, response = %id, bytes = kept.bytes(), "a response is too long to keep");
        }
        // Of a long one it is kept that there was one: what became of it, and what it cost.
        let text = if is_long { serde_json::to_vec(&kept.without_items()) } else { serde_json::to_vec(kept) };
        let Some(sealed) = text.ok().and_then(|text| self.seal(account, &id, &text)) else { return Ok(()) };
        let now = self.now();
        let new = NewResponse {
            account_id: account,
            id,
            previous: previous.map(str::to_owned),
            items: if is_long { Vec::new() } else { kept.items().filter_map(|(id, _)| id).collect() },
            now,
            expires_at: now.plus_ms(LIFE_MS),
            sealed,
        };
        let ledger = self.0.accounts.ledger();
        if !ledger.keep_response(&new, replaces).await? {
            tracing::warn!(account.id = %account, response = %new.id, "a response of this id is kept already, and stays");
            return Ok(());
        }
        let share = usize::from(account.0.as_bytes()[15]);
        if self.0.kept[share].fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            ledger.trim_responses(account, MOST_BYTES).await?;
        }
        Ok(())
    }

    /// A response of an account, and the id of the one that it continues.
    ///
    /// # Errors
    ///
    /// There is none, or the ledger can't be read now.
    pub async fn find(&self, account: AccountId, id: &str) -> Result<(Kept, Option<String>), KeptError> {
        let found = self.0.accounts.ledger().kept_response(account, id, self.now()).await?;
        let previous = found.as_ref().and_then(|found| found.previous.clone());
        let kept: Option<Kept> = found.and_then(|found| self.open(account, found));
        kept.map(|kept| (kept, previous)).ok_or_else(|| KeptError::NoResponse(id.to_owned()))
    }

    /// Forgets a response.
    ///
    /// # Errors
    ///
    /// There is none, or the ledger can't be written now.
    pub async fn forget(&self, account: AccountId, id: &str) -> Result<(), KeptError> {
        if !id.starts_with(PREFIX) && self.0.accounts.ledger().forget_response(account, id).await? {
            Ok(())
        } else {
            Err(KeptError::NoResponse(id.to_owned()))
        }
    }

    /// All that a request continues, in at most so many bytes.
    ///
    /// # Errors
    ///
    /// Something that it names is not kept, or all of it is too long.
    pub async fn earlier(&self, account: AccountId, named: &Named, most: usize) -> Result<Earlier, KeptError> {
        let mut earlier = Earlier::default();
        let (mut next, mut bytes) = (named.previous.clone(), 0);
        while let Some(id) = next {
            let (kept, before) = self.find(account, &id).await?;
            if !kept.has_answer() {
                return Err(KeptError::NoAnswer(id));
            }
            if kept.is_of_conversation() {
                return Err(KeptError::OfConversation(id));
            }
            bytes += kept.bytes();
            if bytes > most || earlier.responses.len() == LONGEST_CHAIN {
                return Err(KeptError::TooLong(most));
            }
            earlier.responses.push(kept);
            next = before.filter(|before| *before != id);
        }
        earlier.responses.reverse();
        for id in &named.items {
            if earlier.items.contains_key(id) {
                continue;
            }
            let found = self.0.accounts.ledger().response_of_item(account, id, self.now()).await?;
            // One look finds the other items there too.
            let (mut items, read) = found.map(|found| self.items(account, found)).unwrap_or_default();
            bytes += read;
            if bytes > most {
                return Err(KeptError::TooLong(most));
            }
            earlier.items.append(&mut items);
            if !earlier.items.contains_key(id) {
                return Err(KeptError::NoItem(id.clone()));
            }
        }
        Ok(earlier)
    }

    /// The items of a response or a conversation by their ids, and their bytes.
    fn items(&self, account: AccountId, found: KeptResponse) -> (BTreeMap<String, Box<RawValue>>, usize) {
        if found.id.starts_with(PREFIX) {
            let conversation: Conversation = self.open(account, found).unwrap_or_default();
            let items = conversation.ids().zip(conversation.items());
            return (items.map(|(id, item)| (id.to_owned(), item.to_owned())).collect(), conversation.bytes());
        }
        let kept: Option<Kept> = self.open(account, found);
        let items = kept.iter().flat_map(Kept::items).filter_map(|(id, item)| Some((id?, item.to_owned())));
        (items.collect(), kept.as_ref().map_or(0, Kept::bytes))
    }
}
