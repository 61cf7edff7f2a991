//! Who asks: API keys and the operator's token. Keys look like `fb_<12 public>_<40 secret>`; the ledger knows only their
//! BLAKE3 hash (a key has 200 random bits: a slow hash would add nothing).

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use actix_web::{HttpRequest, http::header::AUTHORIZATION};
use billing::ids::{AccountId, KeyId};
use farebox_actors::ledger::directory::StoredKey;
use uuid::Uuid;

use super::{Shared, error::ApiError};
use crate::gateway::serve::Caller;

/// Keys remembered, at most; beyond it all are forgotten and looked up again.
const MOST: usize = 100_000;

/// A key's public part.
type Public = [u8; 12];

/// Keys seen lately, by their public part.
#[derive(Debug, Default)]
pub struct Keys(RwLock<HashMap<Public, (blake3::Hash, Caller)>>);

impl Keys {
    fn get(&self, public: &Public) -> Option<(blake3::Hash, Caller)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(public).copied()
    }

    fn insert(&self, public: Public, hash: blake3::Hash, caller: Caller) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST {
            keys.clear();
        }
        keys.insert(public, (hash, caller));
    }

    /// Forgets a key that was revoked.
    pub fn forget(&self, public: &str) {
        if let Ok(public) = Public::try_from(public.as_bytes()) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&public);
        }
    }
}

/// A new key: its text, shown once, and what is stored of it.
pub fn new_key(account_id: AccountId, name: String, now: billing::Timestamp) -> (String, StoredKey) {
    let random = |length: usize| -> String {
        let bits = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        blake3::hash(bits.as_bytes()).to_hex().chars().take(length).collect()
    };
    let public = random(12);
    let text = format!("fb_{public}_{}", random(40));
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    let id = KeyId(Uuid::now_v7());
    (text, StoredKey { id, account_id, name, public, hash, created_at: now, revoked_at: None })
}

/// `Bearer <key>`, `Key <key>`, or the bare key.
fn credential(request: &HttpRequest) -> Result<&str, ApiError> {
    let value = request
        .headers()
        .get(AUTHORIZATION)
        .ok_or_else(|| ApiError::unauthorized("No API key was sent. Send one as \"Authorization: Bearer fb_...\"."))?;
    let text = value.to_str().map_err(|_| ApiError::unauthorized("The Authorization header is not text."))?.trim();
    let scheme = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let bare = ["Bearer ", "Key "].iter().find(|name| scheme(name)).map_or(text, |name| &text[name.len()..]);
    Ok(bare.trim())
}

/// The caller of a user route.
pub async fn caller(state: &Shared, request: &HttpRequest) -> Result<Caller, ApiError> {
    let wrong = || ApiError::unauthorized("This API key is not known, or was revoked.");
    let key = credential(request)?;
    let public =
        key.strip_prefix("fb_").and_then(|rest| rest.split_once('_')).map(|(public, _)| public).ok_or_else(wrong)?;
    let known_by = Public::try_from(public.as_bytes()).map_err(|_| wrong())?;
    if key.len() > 128 {
        return Err(wrong());
    }
    let hash = blake3::hash(key.as_bytes());
    if let Some((known, caller)) = state.keys.get(&known_by) {
        // Comparing hashes of this type takes the same time whatever they are.
        return if known == hash { Ok(caller) } else { Err(wrong()) };
    }
    let stored = state.gateway.directory.ledger().key(public).await?.ok_or_else(wrong)?;
    let known = blake3::Hash::from_hex(&stored.hash).map_err(|error| ApiError::internal(&error))?;
    if known != hash || stored.revoked_at.is_some() {
        return Err(wrong());
    }
    let caller = Caller { account_id: stored.account_id, key_id: stored.id };
    state.keys.insert(known_by, known, caller);
    Ok(caller)
}

/// Lets only the operator through.
pub fn operator(state: &Shared, request: &HttpRequest) -> Result<(), ApiError> {
    let hash = blake3::hash(credential(request)?.as_bytes());
    if hash == state.admin_token { Ok(()) } else { Err(ApiError::unauthorized("This is not the operator's token.")) }
}
