//! How often people may try: to sign in, by address and by e-mail address, and to have letters sent. With a Redis all nodes count
//! together. Tries count whether they are right or wrong, and for every e-mail address alike.

use std::{net::IpAddr, time::Duration};

use hints::{Decision, Hints, Rate, Rates};

use super::{addresses::network, error::ApiError};
use crate::service::accounts;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// A password.
    SignIn,
    /// To have a letter sent.
    Letter,
    /// A link that was mailed.
    Link,
}

impl Attempt {
    /// The tries from one address, and the time in which so many more may come.
    const fn by_address(self) -> (u32, Duration) {
        match self {
            Self::SignIn | Self::Link => (30, Duration::from_mins(5)),
            Self::Letter => (20, Duration::from_hours(1)),
        }
    }

    /// The same for one e-mail address, whoever tries.
    const fn by_email(self) -> (u32, Duration) {
        match self {
            Self::SignIn => (10, Duration::from_mins(10)),
            Self::Letter => (5, Duration::from_hours(1)),
            Self::Link => (30, Duration::from_mins(5)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Letter => "letter",
            Self::Link => "link",
        }
    }
}

/// The tries of people.
pub struct Attempts(Rates);

impl Attempts {
    /// Counted by all nodes of these hints together.
    pub fn new(hints: Option<Hints>) -> Self {
        Self(Rates::new(hints))
    }

    /// Counts a try, at an e-mail address if it names one.
    ///
    /// # Errors
    ///
    /// There were too many: when the next may come.
    pub async fn count(&self, attempt: Attempt, address: Option<IpAddr>, email: Option<&str>) -> Result<(), ApiError> {
        let (name, mut wait) = (attempt.name(), None::<Duration>);
        if let Some(address) = address {
            wait = self.counted(&format!("{name}:{}", network(address)), attempt.by_address()).await;
        }
        if let Some(email) = email.filter(|_| wait.is_none()) {
            // Of another spelling it is the same, as people are found by it, and Redis need not know whose it is.
            let email = accounts::address(email).unwrap_or_else(|_| email.trim().to_lowercase());
            let email = blake3::hash(email.as_bytes()).to_hex();
            wait = self.counted(&format!("{name}:{}", &email[..32]), attempt.by_email()).await;
        }
        let Some(wait) = wait else { return Ok(()) };
        let seconds = wait.as_secs().saturating_add(1);
        let message = format!("Too many tries came from here or for this address: try again in {seconds} s.");
        Err(ApiError::slow_down(&message, seconds))
    }

    async fn counted(&self, what: &str, (tries, time): (u32, Duration)) -> Option<Duration> {
        match self.0.count(what, Rate::new(tries, time, tries)?).await {
            Decision::Allowed(_) => None,
            Decision::Refused(wait) => Some(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_and_an_e_mail_address_have_so_many_tries() {
        let attempts = Attempts::new(None);
        let from = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let count = async |attempt, address, email: &str| attempts.count(attempt, address, Some(email)).await.is_ok();
        for last in 0..10 {
            assert!(count(Attempt::SignIn, from(last), "ada@example.com").await);
        }
        for spelling in [" ADA@example.com", "\u{ff41}da@example.com", "ad\u{ff21}@ex\u{ff41}mple.com"] {
            assert!(!count(Attempt::SignIn, from(99), spelling).await, "wherever it comes from, however it is spelt");
        }
        assert!(count(Attempt::Letter, from(99), "ada@example.com").await, "another thing");
        for number in 0..30 {
            assert!(count(Attempt::SignIn, from(100), &format!("{number}@example.com")).await);
        }
        let refused = attempts.count(Attempt::SignIn, from(100), Some("new@example.com")).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 429);
        assert!(count(Attempt::SignIn, from(101), "new@example.com").await, "what was refused was not counted for it");
        for attempt in [Attempt::SignIn, Attempt::Letter, Attempt::Link] {
            for (tries, time) in [attempt.by_address(), attempt.by_email()] {
                assert!(Rate::new(tries, time, tries).is_some(), "{attempt:?}");
            }
        }
    }
}
