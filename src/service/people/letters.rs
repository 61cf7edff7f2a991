//! Letters to people, which survive a stop: one is in the database, sealed, before whoever is promised it hears so. It is sent at
//! least once, by any node, again and again where no server takes it, until its link has ended; then it is forgotten, as it is
//! once it was sent. What a server refuses for good is kept as a file, for an operator.

use std::time::Duration;

use billing::{Timestamp, ids::AccountId, time::DAY_MS};
use futures::{StreamExt as _, stream};
use ledger::people::letters::StoredLetter;
use tokio::sync::Notify;
use uuid::Uuid;

use super::super::{Service, ServiceError};
use crate::{
    mail::{Letter, Mail, Sent},
    sealing::Sealer,
};

/// The letters that may wait, and those that may when one about events comes: it leaves room for links that somebody waits for.
const MOST: u64 = 1_000;
const MOST_NOTICES: u64 = MOST / 2;
/// The letters that are looked at at once, and sent at once.
const PAGE: u32 = 64;
const AT_ONCE: usize = 4;
/// How often it is looked for letters that are due again, or that another node has left.
const EVERY: Duration = Duration::from_secs(1);
/// How long one may be sent, and how long it is this node's: longer.
const WITHIN: Duration = Duration::from_mins(1);
const CLAIMED_MS: i64 = 2 * 60 * 1_000;
/// The waits between tries; the last one again and again.
const AGAIN_MS: [i64; 6] = [1_000, 10_000, 60_000, 5 * 60_000, 15 * 60_000, 60 * 60_000];
/// How long a letter is good that has no link.
pub(super) const NOTICE_MS: i64 = 3 * DAY_MS;

/// What sends letters, and what seals those that wait.
pub struct Post {
    mail: Mail,
    sealer: Sealer,
    /// Told where a letter was written.
    written: Notify,
}

impl Post {
    /// By this mail, sealed under this operator's token.
    pub fn new(mail: Mail, token: &blake3::Hash) -> Self {
        Self { mail, sealer: Sealer::new("farebox 2026-11-30 letters", token), written: Notify::new() }
    }

    /// The hash of an address by which its letters are found.
    fn reader(&self, address: &str) -> String {
        self.sealer.hash(&[b"reader", address.as_bytes()]).to_hex().to_string()
    }

    fn seal(&self, id: Uuid, letter: &Letter) -> Option<Vec<u8>> {
        let Letter { to, subject, text, unsubscribe } = letter;
        let stop = unsubscribe.as_deref().unwrap_or_default();
        self.sealer.seal(&[b"letter", id.as_bytes()], format!("{to}\n{subject}\n{stop}\n{text}").as_bytes())
    }

    fn open(&self, stored: &StoredLetter) -> Option<Letter> {
        let text = self.sealer.open(&[b"letter", stored.id.as_bytes()], stored.sealed.clone())?;
        let text = String::from_utf8(text).ok()?;
        let mut lines = text.splitn(4, '\n').map(str::to_owned);
        let (to, subject, stop, text) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        Some(Letter { to, subject, text, unsubscribe: Some(stop).filter(|stop| !stop.is_empty()) })
    }
}

/// Has a letter sent, for as long as anybody needs it. Once this returns, a stop loses nothing of it.
///
/// # Errors
///
/// Too many wait ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be written.
pub(super) async fn post(service: &Service, letter: &Letter, lasts_ms: i64) -> Result<(), ServiceError> {
    let new = stored(service, letter, lasts_ms)?;
    if !service.ledger().add_letter(&new, MOST).await? {
        return Err(full());
    }
    service.people.post.written.notify_one();
    Ok(())
}

/// Has letters about an account's events sent, which are told by that.
///
/// # Errors
///
/// As [`post`]; fewer may wait.
pub(super) async fn post_notices(
    service: &Service,
    (account, events): (AccountId, &[Uuid]),
    letters: &[Letter],
) -> Result<(), ServiceError> {
    let letters = letters.iter().map(|letter| stored(service, letter, NOTICE_MS)).collect::<Result<Vec<_>, _>>()?;
    if !service.ledger().post_notices(account, events, &letters, MOST_NOTICES).await? {
        return Err(full());
    }
    service.people.post.written.notify_one();
    Ok(())
}

fn full() -> ServiceError {
    ServiceError::Overloaded("Too many letters wait to be sent.".into())
}

/// A letter as it waits.
fn stored(service: &Service, letter: &Letter, lasts_ms: i64) -> Result<StoredLetter, ServiceError> {
    let (post, id, now) = (&service.people.post, Uuid::now_v7(), service.now());
    let sealed = post.seal(id, letter).ok_or_else(|| ServiceError::Internal("a letter could not be sealed".into()))?;
    let (reader, expires_at) = (post.reader(&letter.to), now.plus_ms(lasts_ms));
    Ok(StoredLetter { id, reader, sealed, created_at: now, expires_at, due_at: now, tries: 0 })
}

/// Forgets what waits for an address.
pub(super) async fn forget(service: &Service, address: &str) -> Result<(), ServiceError> {
    Ok(service.ledger().forget_letters_to(&service.people.post.reader(address)).await?)
}

/// Sends letters as they come due, for as long as it is polled.
pub async fn carry(service: &Service) {
    loop {
        match service.ledger().due_letters(service.now(), PAGE).await {
            Ok(due) => stream::iter(due).for_each_concurrent(AT_ONCE, |letter| send(service, letter)).await,
            // The ledger's own watch tells of it.
            Err(error) => tracing::debug!(%error, "letters could not be looked for"),
        }
        // Whatever wakes it, it looks.
        let _ = tokio::time::timeout(EVERY, service.people.post.written.notified()).await;
    }
}

/// When a letter is tried again that was tried so often.
fn again(now: Timestamp, tries: u32) -> Timestamp {
    let place = usize::try_from(tries).unwrap_or(usize::MAX).min(AGAIN_MS.len() - 1);
    now.plus_ms(AGAIN_MS[place])
}

async fn send(service: &Service, found: StoredLetter) {
    if let Err(error) = try_to_send(service, &found).await {
        // It is this node's until its claim ends, and then anybody's.
        tracing::warn!(letter.id = %found.id, %error, "a letter waits: the ledger could not be written");
    }
}

async fn try_to_send(service: &Service, found: &StoredLetter) -> Result<(), ledger::LedgerError> {
    let (ledger, post, now) = (service.ledger(), &service.people.post, service.now());
    if !ledger.claim_letter(found, now.plus_ms(CLAIMED_MS)).await? {
        return Ok(());
    }
    if found.expires_at <= now {
        tracing::warn!(letter.id = %found.id, tries = found.tries, "a letter was never taken, and is not needed any more");
        return ledger.forget_letter(found.id).await;
    }
    let Some(letter) = post.open(found) else {
        tracing::warn!(letter.id = %found.id, "a letter can't be read: it was sealed under another operator's token");
        return ledger.forget_letter(found.id).await;
    };
    let sent = tokio::time::timeout(WITHIN, post.mail.send(found.id, &letter)).await;
    match sent.unwrap_or_else(|_| Sent::Later("it took too long".into())) {
        Sent::Taken => ledger.forget_letter(found.id).await,
        Sent::Later(why) => {
            if found.tries == 0 {
                tracing::warn!(letter.id = %found.id, why, "a letter was not taken: it is tried again until it is not needed any more");
            }
            ledger.put_letter_off(found.id, again(service.now(), found.tries)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_tried_again_later_and_later() {
        let now = Timestamp(0);
        let waits: Vec<_> = (0..8).map(|tries| again(now, tries).0).collect();
        assert!(waits.is_sorted() && waits[0] == 1_000 && waits[5] == waits[7], "{waits:?}");
        assert_eq!(again(now, u32::MAX), again(now, 7));
        assert!(CLAIMED_MS > i64::try_from(WITHIN.as_millis()).unwrap(), "two nodes do not send one at once");
    }

    #[tokio::test]
    async fn what_waits_is_sealed_for_its_own_letter() {
        let mail = Mail::new("Box <box@example.com>", None, std::path::PathBuf::new()).unwrap();
        let post = Post::new(mail, &blake3::hash(b"token"));
        let text = "A link:\n\nhttp://x/?token=a\n";
        let stop = Some("http://x/stop".to_owned());
        let letter =
            Letter { to: "ada@example.com".into(), subject: "Sign up".into(), text: text.into(), unsubscribe: stop };
        let (id, now) = (Uuid::from_u128(1), Timestamp(0));
        let sealed = post.seal(id, &letter).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"token="));
        let reader = post.reader(&letter.to);
        assert!(!reader.contains("ada") && reader != post.reader("bob@example.com"));
        let stored = StoredLetter { id, reader, sealed, created_at: now, expires_at: now, due_at: now, tries: 0 };
        let opened = post.open(&stored).unwrap();
        assert_eq!((opened.to, opened.subject, opened.text), (letter.to, letter.subject, letter.text));
        assert_eq!(opened.unsubscribe, letter.unsubscribe);
        assert!(post.open(&StoredLetter { id: Uuid::from_u128(2), ..stored }).is_none());
    }
}
