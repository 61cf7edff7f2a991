//! Ids of forms. What a form makes (a payment, a key, a card, credits) has an id that follows from the form's id and from what the
//! form says: sent twice it makes one, and sent again with something else it makes something else. A form's id is one account's
//! alone, and proves by itself that it was made here for that account: one that somebody made up, or took from a page of another
//! account, would name what is another's.

use billing::ids::{AccountId, RequestId};
use serde::Deserialize;
use uuid::Uuid;

use super::error::ApiError;
use crate::{idempotency::Life, sealing::Sealer, service::acts::Origin};

/// Where the proof begins: before it stand the time and 26 random bits, and it has 48 bits.
const PROOF: usize = 10;

/// What is said of a text that is no form's id.
const MUST: &str = "must be the id of the form: open the page again";

/// Makes and checks ids of forms.
#[derive(Debug)]
pub(in crate::http) struct Onces(Sealer);

/// The id that a form shows, which is not checked yet, and the hash of what the form says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::http) struct Once(Uuid, blake3::Hash);

impl TryFrom<String> for Once {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts = text.split_once('.').and_then(|(id, content)| Some((id.parse().ok()?, content.parse().ok()?)));
        parts.map(|(id, content)| Self(id, content)).ok_or_else(|| format!("once: {MUST}"))
    }
}

impl Once {
    /// Writes the hash of what a form to this path says behind the form's id.
    pub(in crate::http) fn bind(path: &str, fields: &mut [(String, String)]) {
        let mut content = blake3::Hasher::new();
        let said = fields.iter().filter(|(name, value)| name != "csrf" && name != "once" && !value.trim().is_empty());
        let texts = said.flat_map(|(name, value)| [name.as_str(), value.trim()]);
        for text in std::iter::once(path).chain(texts) {
            content.update(&text.len().to_le_bytes()).update(text.as_bytes());
        }
        let content = content.finalize().to_hex();
        for (_, id) in fields.iter_mut().filter(|(name, _)| name == "once") {
            // One that has a hash already was not made here.
            *id = format!("{}.{content}", id.trim());
        }
    }

    /// The id in a field of a form that is read field by field.
    ///
    /// # Errors
    ///
    /// It is missing, or no id.
    pub(in crate::http) fn of_field(text: Option<&str>) -> Result<Self, ApiError> {
        text.unwrap_or_default().to_owned().try_into().map_err(|_| ApiError::invalid("once", MUST))
    }
}

impl Onces {
    /// Ids of gateways with the operator's token that this is the hash of.
    pub(in crate::http) fn new(token: &blake3::Hash) -> Self {
        Self(Sealer::new("farebox 2026-11-30 ids of forms", token))
    }

    /// The id of a form on a page of this account. Ids are in the order of time, as lists go by them.
    pub(in crate::http) fn make(&self, account: AccountId) -> Uuid {
        let (mut id, random) = (Uuid::now_v7().into_bytes(), Uuid::new_v4().into_bytes());
        // The version stays.
        id[6] = (id[6] & 0xf0) | (random[6] & 0x0f);
        id[7..PROOF].copy_from_slice(&random[7..PROOF]);
        self.prove(account, id)
    }

    /// The same id with the proof that it is this account's.
    fn prove(&self, account: AccountId, mut id: [u8; 16]) -> Uuid {
        let proof = self.0.hash(&[account.0.as_bytes(), &id[..PROOF]]);
        let length = id.len() - PROOF;
        id[PROOF..].copy_from_slice(&proof.as_bytes()[..length]);
        Uuid::from_bytes(id)
    }

    /// The request of a form of this account: its first attempt, or an operator's, which may be a repetition.
    ///
    /// # Errors
    ///
    /// The id was not made for this account.
    pub(in crate::http) fn origin(&self, account: AccountId, once: Once, life: Life) -> Result<Origin, ApiError> {
        let Once(shown, content) = once;
        let proven = self.prove(account, shown.into_bytes());
        // This type compares in constant time.
        if blake3::hash(shown.as_bytes()) != blake3::hash(proven.as_bytes()) {
            return Err(ApiError::invalid("once", "is not of a form of this account: open the page again"));
        }
        let mut id = shown.into_bytes();
        let said = self.0.hash(&[shown.as_bytes(), content.as_bytes()]);
        let length = id.len() - PROOF;
        id[PROOF..].copy_from_slice(&said.as_bytes()[..length]);
        Ok(Origin { id: RequestId(Uuid::from_bytes(id)), life })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forms_id_is_bound_to_what_it_says_and_to_where_it_goes() {
        let id = Uuid::now_v7().to_string();
        let bound = |path: &str, fields: &[(&str, &str)]| {
            let of = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let mut fields: Vec<_> = fields.iter().map(of).collect();
            Once::bind(path, &mut fields);
            fields.into_iter().find(|(name, _)| name == "once").unwrap().1
        };
        let once = ("once", &*id);
        let ten = bound("/buy", &[("csrf", "a"), once, ("amount", "10"), ("card", "")]);
        assert_eq!(ten, bound("/buy", &[once, ("csrf", "b"), ("amount", " 10")]), "a session's token says nothing");
        for (path, fields) in [
            ("/buy", &[once, ("amount", "1"), ("", "0")][..]),
            ("/buy", &[once, ("amount", "25")]),
            ("/buy", &[once, ("amount1", "0")]),
            ("/sell", &[once, ("amount", "10")]),
        ] {
            assert_ne!(ten, bound(path, fields), "{path} {fields:?}");
        }
        let read = |text: &str| Once::try_from(text.to_owned()).is_ok();
        assert!(read(&ten) && !read(&id) && !read(&format!("{ten}.{ten}")) && !read("x.y"));
    }

    #[test]
    fn an_id_is_good_for_its_account_alone_and_nobody_makes_one_up() {
        let onces = Onces::new(&blake3::hash(b"token"));
        let [one, two] = [1, 2].map(|id| AccountId(Uuid::from_u128(id)));
        let made = onces.make(one);
        assert_eq!(made.get_version_num(), 7);
        let said = blake3::hash(b"amount 10");
        let origin = |account, id, said| onces.origin(account, Once(id, said), Life::First);
        let is_good = |account, id| origin(account, id, said).is_ok();
        assert!(is_good(one, made) && !is_good(two, made));
        for place in 0..16 {
            let mut other = made.into_bytes();
            other[place] ^= 1;
            assert!(!is_good(one, Uuid::from_bytes(other)), "{place}");
        }
        assert!(!is_good(one, Uuid::now_v7()) && !is_good(one, Uuid::nil()));
        assert!(Onces::new(&blake3::hash(b"other")).origin(one, Once(made, said), Life::First).is_err());
        let [first, again] = [(); 2].map(|()| origin(one, made, said).unwrap().id);
        let other = origin(one, made, blake3::hash(b"amount 25")).unwrap().id;
        assert!(first == again && first != other, "sent again it is the same, with another amount another");
        assert_eq!((first.0.get_version_num(), &first.0.as_bytes()[..7]), (7, &made.as_bytes()[..7]));
        let many: std::collections::HashSet<_> = (0..1_000).map(|_| onces.make(one)).collect();
        assert_eq!(many.len(), 1_000, "two pages at the same time have two");
    }
}
