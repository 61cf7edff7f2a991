//! People: how they come in by links that are mailed to them, sign in by passwords or by the word of an issuer elsewhere, and act
//! for accounts as members. What a person may do is the role's (`billing::member`). Every change of members is an event of the
//! account. What members are told of by letters is [`notices`].
//!
//! Nothing here tells whether an address is a person's: for one that is not, the same is done, and the same is said.

pub mod joining;
pub mod letters;
pub mod members;
pub mod notices;
pub mod operator;
pub mod passwords;
pub mod sessions;
pub mod sign_on;

use std::sync::OnceLock;

use billing::time::DAY_MS;
use ledger::people::links::{Purpose, StoredLink};
use uuid::Uuid;

pub use ledger::people::StoredPerson as Person;

use self::{letters::Post, passwords::Passwords, sign_on::Issuers};
use super::{Service, ServiceError};
use crate::{mail::Letter, sealing::Sealer};

/// How long a link that sets a password is good.
const RESET_MS: i64 = 30 * 60 * 1_000;
/// How long a link that makes a person is good.
const SIGN_UP_MS: i64 = DAY_MS;
/// How long an invitation is good.
const INVITE_MS: i64 = 7 * DAY_MS;
/// The most characters of a name.
const LONGEST_NAME: usize = 100;
/// The shortest and the longest password, in characters (NIST SP 800-63B: length counts, rules of composition do not).
const SHORTEST_PASSWORD: usize = 10;
const LONGEST_PASSWORD: usize = 500;

/// Who may become a person without an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUp {
    /// Anybody, with a new account and its first credits.
    Open,
    /// Whom a member invites to an account.
    Invited,
    /// Nobody.
    Closed,
}

/// What people need beside the ledger.
pub struct People {
    passwords: Passwords,
    post: Post,
    sign_up: SignUp,
    /// Whether passwords open anything.
    opens_by_password: bool,
    /// By whose word people sign in.
    issuers: Issuers,
    /// Where browsers find the pages, without a slash at its end.
    url: OnceLock<String>,
    /// Signs the links by which letters are stopped.
    signer: Sealer,
}

/// How people come in.
pub struct Ways {
    /// Who may become a person without an operator.
    pub sign_up: SignUp,
    /// Whether passwords open anything.
    pub passwords: bool,
    /// By whose word people sign in.
    pub issuers: Issuers,
}

impl People {
    /// With links to this address; without one, [`Self::serve_at`] says it later. Links by which letters are stopped are signed
    /// with the operator's token, of which this is the hash: any node that knows it knows them.
    pub fn new(post: Post, ways: Ways, url: Option<String>, token: &blake3::Hash) -> Self {
        let Ways { sign_up, passwords: opens_by_password, issuers } = ways;
        let url = url.map(|url| OnceLock::from(url.trim_end_matches('/').to_owned())).unwrap_or_default();
        let signer = Sealer::new("farebox 2026-11-30 links that stop letters", token);
        Self { passwords: Passwords::default(), post, sign_up, opens_by_password, issuers, url, signer }
    }

    /// Says where the pages are, if no setting has said it.
    pub fn serve_at(&self, url: String) {
        // What was said first stays.
        let _ = self.url.set(url);
    }

    /// Who may become a person.
    pub const fn sign_up(&self) -> SignUp {
        self.sign_up
    }

    /// A path of this gateway, as browsers find it.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.get().map_or("", String::as_str))
    }

    fn page(&self, name: &str) -> String {
        self.at(&format!("/dashboard/{name}"))
    }

    fn link_to(&self, page: &str, token: &str) -> String {
        format!("{}?token={token}", self.page(page))
    }
}

/// Has a letter sent that nobody needs any more after so long.
async fn mail(service: &Service, to: &str, subject: &str, text: String, lasts_ms: i64) -> Result<(), ServiceError> {
    let letter = Letter { to: to.to_owned(), subject: subject.to_owned(), text, unsubscribe: None };
    letters::post(service, &letter, lasts_ms).await
}

/// A token that nobody guesses: 244 random bits.
pub(super) fn new_token() -> String {
    let bits = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat();
    blake3::hash(&bits).to_hex().to_string()
}

/// The hash of a token, which is stored.
pub fn token_hash(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

/// Makes a link. The token is for its reader alone.
async fn make_link(service: &Service, email: &str, purpose: Purpose) -> Result<String, ServiceError> {
    let (token, now) = (new_token(), service.now());
    let lasts = match purpose {
        Purpose::SignUp => SIGN_UP_MS,
        Purpose::Invite { .. } => INVITE_MS,
        Purpose::Reset | Purpose::Nothing => RESET_MS,
    };
    let (hash, id, email) = (token_hash(&token), Uuid::now_v7(), email.to_owned());
    let link = StoredLink { hash, id, purpose, email, created_at: now, expires_at: now.plus_ms(lasts) };
    service.ledger().add_link(&link).await?;
    Ok(token)
}

/// A link by its token.
async fn find_link(service: &Service, token: &str) -> Result<StoredLink, ServiceError> {
    let found = service.ledger().link(&token_hash(token), service.now()).await?;
    found
        .filter(|link| link.purpose != Purpose::Nothing)
        .ok_or(ServiceError::NotFound("this link: it is good once, and for a while, and"))
}

/// Checks a name that a person gives.
fn check_name(name: &str) -> Result<String, ServiceError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let rule = "must have 1 to 100 characters, none of them a control character";
        return Err(ServiceError::invalid("name", rule));
    }
    Ok(name.to_owned())
}

/// Checks a password that a person chooses.
fn check_password(email: &str, password: &str) -> Result<(), ServiceError> {
    let length = password.chars().count();
    if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&length) {
        let rule = format!("must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters");
        return Err(ServiceError::invalid("password", rule));
    }
    let small = password.to_lowercase();
    let is_one_letter = small.chars().all(|letter| small.starts_with(letter));
    if is_one_letter || small == email || passwords::is_common(&small) {
        return Err(ServiceError::invalid("password", "is among the first that others would try: choose another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_others_would_try_are_refused() {
        let of = |password: &str| check_password("ada@example.com", password).is_ok();
        for good in [
            "correct horse",
            "\u{7528}\u{6237}\u{7528}\u{6237}\u{7528}\u{6237}\u{7528}\u{6237}\u{7528}\u{7528}",
            "a b c d e f",
        ] {
            assert!(of(good), "{good}");
        }
        let long = "ab".repeat(251);
        for bad in
            ["", "short", "ada@example.com", "ADA@example.com", "aaaaaaaaaaaa", "1234567890", "Password123", &long]
        {
            assert!(!of(bad), "{bad}");
        }
    }

    #[test]
    fn tokens_differ_and_names_are_text() {
        assert_ne!(new_token(), new_token());
        assert_ne!(new_token(), token_hash(&new_token()));
        assert_eq!(check_name(" <b>Ada</b> ").unwrap(), "<b>Ada</b>");
        assert!(check_name(" ").is_err() && check_name("a\nb").is_err() && check_name(&"x".repeat(101)).is_err());
    }
}
