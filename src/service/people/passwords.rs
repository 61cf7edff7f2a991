//! Hashes of passwords (Argon2id, RFC 9106, with the costs that OWASP's "Password Storage" names first: 19 MiB, 2 passes). They
//! are made off the threads that serve, few at once, as each takes memory and time; further ones wait in a bounded line.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::service::ServiceError;

/// The hashes that are made at once.
const AT_ONCE: usize = 2;
/// The hashes that may wait.
const WAITING: usize = 64;

/// What many choose, of those that are long enough; in small letters.
const COMMON: [&str; 24] = [
    "0123456789",
    "1234567890",
    "12345678910",
    "123456789a",
    "1q2w3e4r5t",
    "1qaz2wsx3edc",
    "9876543210",
    "abcdefghij",
    "administrator",
    "changeme123",
    "changemenow",
    "correcthorsebatterystaple",
    "iloveyou123",
    "letmein1234",
    "p@ssw0rd123",
    "password12",
    "password123",
    "password1234",
    "passwordpassword",
    "qwerty12345",
    "qwerty123456",
    "qwertyuiop",
    "welcome123",
    "welcome1234",
];

/// Whether many choose this password; it is in small letters.
pub(super) fn is_common(small: &str) -> bool {
    COMMON.contains(&small)
}

/// The hash that is compared where there is none: the work is the same, and nothing is right.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hashed("nobody's").unwrap_or_default());

/// Makes and compares hashes.
pub(super) struct Passwords {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)), waiting: AtomicUsize::new(0) }
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    /// The hash of a password, in PHC's form, with a salt of its own.
    ///
    /// # Errors
    ///
    /// Too many wait ([`Overloaded`](ServiceError::Overloaded)).
    pub(super) async fn hash(&self, password: &str) -> Result<String, ServiceError> {
        let password = password.to_owned();
        self.run(move || hashed(&password)).await?
    }

    /// Whether this is the password of a hash. Without a hash it is not, after the same work.
    ///
    /// # Errors
    ///
    /// Too many wait ([`Overloaded`](ServiceError::Overloaded)).
    pub(super) async fn is_right(&self, password: &str, stored: Option<&str>) -> Result<bool, ServiceError> {
        let (password, stored) = (password.to_owned(), stored.map(str::to_owned));
        self.run(move || {
            let hash = stored.as_deref().unwrap_or(&NOBODYS);
            let is_same = PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            is_same && stored.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
        let gone = || ServiceError::NotReady("This can't be done just now; try again.".into());
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ServiceError::Overloaded("Too many sign in at once; try again in a moment.".into()));
        }
        let _waiting = Waiting(&self.waiting);
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| gone())?;
        // The slot is taken until the work is done, also where nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        done.await.map_err(|_| gone())
    }
}

fn hashed(password: &str) -> Result<String, ServiceError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| ServiceError::Internal(format!("a password can't be hashed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::default();
        let [one, two] =
            [passwords.hash("correct horse").await.unwrap(), passwords.hash("correct horse").await.unwrap()];
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{one} {two}");
        assert!(passwords.is_right("correct horse", Some(&one)).await.unwrap());
        for (password, stored) in
            [("Correct horse", Some(&*one)), ("nobody's", None), ("", Some("")), ("x", Some("$argon2id$"))]
        {
            assert!(!passwords.is_right(password, stored).await.unwrap(), "{password}");
        }
    }

    #[tokio::test]
    async fn hashes_wait_in_a_bounded_line() {
        let passwords = Passwords::default();
        let all = (0..WAITING + 3).map(|_| passwords.run(|| ()));
        let done = futures::future::join_all(all).await;
        assert_eq!(done.iter().filter(|done| matches!(done, Err(ServiceError::Overloaded(_)))).count(), 3);
        assert!(passwords.run(|| ()).await.is_ok(), "and then there is room again");
    }
}
