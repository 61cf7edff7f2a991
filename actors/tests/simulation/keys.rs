//! Owners of accounts open and revoke keys. A change is decided from the tables, as one process reads them, and sent
//! later: others may have come first. An account has few working keys, and a key's name is taken once.

use billing::{
    Nanos, Timestamp,
    command::Command,
    ids::{AccountId, KeyId},
    key::{ApiKey, KeyLimits, Scopes},
    resource::{Change, Resource},
};

use crate::{marks::Mark, mutants::Mutant, rows::Rows, world::World};

/// The most working keys of an account, here.
pub(crate) const MOST_KEYS: usize = 1;
/// The most changes that are thought of at once.
const MOST_WISHES: usize = 6;

/// A change that is thought of.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    owner: u64,
    account: AccountId,
    /// What the tables must have when they are read.
    mark: Mark,
    /// The change, once the tables were read.
    change: Option<Change>,
}

impl World {
    /// A change of keys is thought of, decided or sent.
    pub(crate) fn keys_change(&mut self, owner: u64, account: AccountId) {
        if self.wishes.len() < MOST_WISHES && self.random.percent(40) {
            let mark = self.mark_of(owner);
            self.wishes.push(Wish { owner, account, mark, change: None });
            return;
        }
        let places: Vec<usize> = (0..self.wishes.len()).collect();
        let Some(place) = self.random.pick(&places) else { return };
        let Wish { owner, account, mark, change } = self.wishes[place].clone();
        match change {
            Some(change) => {
                self.wishes.swap_remove(place);
                self.sends(owner, account, change);
            }
            None if self.owners.iter().all(|it| it.id != owner) => drop(self.wishes.swap_remove(place)),
            None if self.may_read(owner, mark) => {
                let at = self.now_of(owner);
                let id = KeyId(self.new_id());
                let working: Vec<KeyId> = self.disk.tables.rows(account).working.iter().copied().collect();
                let revision = self.disk.tables.rows(account).header.revision;
                let resource = match self.random.pick(&working).filter(|_| working.len() >= MOST_KEYS) {
                    Some(id) => Resource::KeyRevoked { id, public: public(id), at },
                    None => Resource::KeyOpened(self.new_key(id, account, at)),
                };
                self.wishes[place].change = Some(Change { revision, resources: vec![resource], events: Vec::new() });
            }
            None => {}
        }
    }

    fn sends(&mut self, owner: u64, account: AccountId, mut change: Change) {
        if self.mutant == Some(Mutant::RevisionUnchecked) {
            change.revision = self.disk.rows(account).header.revision;
        }
        let is_new = change.revision == self.disk.rows(account).header.revision;
        self.stats.keys_changed += u64::from(is_new);
        self.stats.keys_moved += u64::from(!is_new);
        self.operate(owner, account, Command::Change(change));
    }

    fn new_key(&mut self, id: KeyId, account_id: AccountId, at: Timestamp) -> ApiKey {
        let most = |random: &mut crate::random::Random| Some(Nanos::dollars(random.below(9)));
        ApiKey {
            id,
            account_id,
            name: String::new(),
            public: public(id),
            hash: String::new(),
            limits: KeyLimits {
                amounts: [most(&mut self.random), None, None, most(&mut self.random)],
                models: Vec::new(),
            },
            scopes: Scopes::ALL,
            created_at: at,
            expires_at: None,
            revoked_at: None,
        }
    }

    /// The key of a request: one from before the log, or one that the tables know.
    pub(crate) fn key_of(&mut self, account: AccountId) -> KeyId {
        let known: Vec<KeyId> = self.disk.tables.rows(account).keys.keys().copied().collect();
        match self.random.pick(&known).filter(|_| self.random.percent(50)) {
            Some(key) => key,
            None => first_key(account, self.random.percent(30)),
        }
    }
}

/// A key from before the log. The usual one may have limits.
pub(crate) fn first_key(account: AccountId, is_other: bool) -> KeyId {
    KeyId(uuid::Uuid::from_u128(account.0.as_u128() * 10 + 1 + u128::from(is_other)))
}

fn public(id: KeyId) -> String {
    id.0.simple().to_string()
}

/// Whether an account has no more keys than it may have.
pub(crate) fn are_few(rows: &Rows) -> bool {
    rows.working.len() <= MOST_KEYS
}
