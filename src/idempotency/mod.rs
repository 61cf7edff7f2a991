//! A request that is sent twice under one `Idempotency-Key` runs once, and both get one answer. The model is Stripe's
//! "Idempotent requests" and the IETF draft "The Idempotency-Key HTTP Header Field". Where they differ (the draft's 422
//! for a key that is used again), ours is 409, as in the design.
//!
//! - **A key** belongs to its account, or to the operator on `/admin` routes, and to one method and path: the same key on
//!   another route is another key. All API keys of an account share its idempotency keys, except API keys with limits,
//!   which have their own: they read no answer that they could not have asked for. A key has 1 to 255 printable ASCII
//!   characters; in the draft's form, in double quotes, the key is the text between the quotes. It lives 24 h of ledger
//!   time from its first use.
//! - **The same request** has the same method, path, query, body, and headers that change its meaning ([`MEANINGFUL`]).
//!   Another request under a used key is refused (`idempotency_key_reused`). Only hashes of key and request are stored.
//! - **A duplicate** of a running request waits for its answer, up to [`store::LONGEST_WAIT`]; after that it gets
//!   409, `idempotency_in_progress`. A stream is replayed whole once it has ended.
//! - **Kept** are definitive answers ([`is_definitive`]): 2xx, and refusals of the request's content. Answers that depend
//!   on the moment (401, 402, 403, 409, 429, 5xx, a broken stream) are not kept, unless the ledger shows that they cost
//!   something: the client paid for them, and another run would charge again. (A 503 that cost something only means that
//!   it could not be settled in time; its retry gets `answer_lost`.)
//! - **Sealed**: an answer is stored encrypted. The key is made of the idempotency key, which is not stored, and of the
//!   operator's token, which is not in the database ([`seal`]). So neither a new API key's secret, shown once, nor a
//!   model's text is stored in clear. After a change of the token an answer is lost, as below.
//! - **A process that died** leaves a row in the state `started` with the request's id. Everything that a request makes
//!   has that id (hold, payment, account, key, grant, card, webhook), or has the request's proof, which is written in the
//!   transaction of its effect. So a retry asks the ledger. Nothing was done: the retry runs *as the same request*, under
//!   the same id, so that the ledger refuses a second effect and a card processor recognizes it. The request came to
//!   nothing (written off, declined): the retry runs anew. It has not ended: 409 `idempotency_in_progress`. It was done:
//!   an act ([`Repeat::Resumed`]) is answered again from what it did, and does nothing; inference gets 409 `answer_lost`
//!   with the request's id and its cost, and is never charged again. Routes that make nothing (audit, clock, quotes) run
//!   again.
//! - **Durable first**: the row is durable before the request runs, and the answer before it is sent; a stream's answer
//!   before `[DONE]`. A crash between the commit of a capture and the commit of its answer makes it `answer_lost`.
//! - **Bounds**: an answer above [`LARGEST_ANSWER`] is sent but not kept (a retry gets `answer_lost`), and so is an answer
//!   beyond [`BUFFERED`] bytes of all answers. [`store::MOST`] requests with keys run at once, then 503. Beyond
//!   [`quota::AN_HOUR`] kept answers an hour, an account's answers are kept only if the ledger shows that they did
//!   something.
//! - **A client that leaves** does not stop its request: the request runs to its end and is charged, so that a retry gets
//!   the whole answer. A key asks for exactly that; without a key, a client that leaves stops its request.

pub mod quota;
mod seal;
pub mod store;

use std::sync::Arc;

use billing::ids::{AccountId, KeyId};
use bytes::{Bytes, BytesMut};
use ledger::idempotency::Slot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// How long a key is remembered, in milliseconds of ledger time.
pub const LIFE_MS: i64 = billing::time::DAY_MS;
/// The longest key.
pub const LONGEST_KEY: usize = 255;
/// The largest answer that is kept, in bytes.
pub const LARGEST_ANSWER: usize = 4 << 20;
/// The most bytes of answers being recorded, of all requests together.
pub const BUFFERED: usize = 256 << 20;
/// Headers that change the meaning of a request.
pub const MEANINGFUL: [&str; 3] = ["x-max-cost", "provider-key", "accept"];

/// An `Idempotency-Key`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// The text is no valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {LONGEST_KEY} printable ASCII characters, as they are or in double quotes")]
pub struct BadKey;

impl Key {
    /// Reads the value of a header.
    ///
    /// # Errors
    ///
    /// The value is empty, too long, not printable ASCII, or a broken quoted string.
    pub fn parse(value: &[u8]) -> Result<Self, BadKey> {
        // Twice the longest key, because quoted keys may have escapes.
        if value.len() > 2 * LONGEST_KEY + 2 || !value.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
            return Err(BadKey);
        }
        let text = str::from_utf8(value).map_err(|_| BadKey)?.trim();
        let text = if let Some(quoted) = text.strip_prefix('"') { unquote(quoted)? } else { text.to_owned() };
        if text.is_empty() || text.len() > LONGEST_KEY { Err(BadKey) } else { Ok(Self(text)) }
    }
}

/// The rest of a string of RFC 9651 ("Structured Field Values for HTTP"), after its first quote.
fn unquote(rest: &str) -> Result<String, BadKey> {
    let mut text = String::with_capacity(rest.len());
    let mut left = rest.chars();
    loop {
        match left.next().ok_or(BadKey)? {
            '"' => return if left.next().is_none() { Ok(text) } else { Err(BadKey) },
            '\\' => match left.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return Err(BadKey),
            },
            other => text.push(other),
        }
    }
}

/// The holder of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The operator, on the admin routes.
    Operator,
    /// All API keys of an account that have no limits.
    Account(AccountId),
    /// A single API key that has limits.
    LimitedKey(AccountId, KeyId),
}

impl Holder {
    /// The scope under which the holder's rows are kept.
    const fn scope(self) -> Uuid {
        match self {
            Self::Operator => Uuid::nil(),
            Self::Account(account) | Self::LimitedKey(account, _) => account.0,
        }
    }
}

/// How a repeated request continues after its first process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The request runs if the first came to nothing. A request that was paid for does not run again, and its answer is
    /// lost.
    Anew,
    /// The request is an act that is recognized by its id: it is answered from what it did, or carried out as the same
    /// request.
    Resumed,
}

/// The life of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// The first life.
    First,
    /// An earlier life left nothing behind under the request's id.
    Again,
    /// An earlier life carried the request out: it only needs an answer.
    Done,
}

/// The content of a request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// The query, after `?`.
    pub query: &'a str,
    /// The values of [`MEANINGFUL`], where they are present.
    pub headers: [Option<&'a [u8]>; MEANINGFUL.len()],
    /// Its body.
    pub body: &'a [u8],
}

/// A request with a key, as it is looked up and compared.
#[derive(Clone)]
pub struct Asked {
    /// The place of its row.
    pub slot: Slot,
    /// The hash of the request's content.
    pub fingerprint: [u8; 32],
    /// The secret that seals the answer. It is made of the request's key, and never stored.
    secret: [u8; 32],
    /// How the request continues after its process died.
    pub repeat: Repeat,
}

impl Asked {
    /// The request of a holder.
    pub fn new(holder: Holder, key: &Key, repeat: Repeat, call: Call<'_>) -> Self {
        let scope = holder.scope();
        let limited = match holder {
            Holder::Operator | Holder::Account(_) => Uuid::nil(),
            Holder::LimitedKey(_, key) => key.0,
        };
        let whose = [scope.as_bytes().as_slice(), limited.as_bytes()];
        let mut slot = blake3::Hasher::new_derive_key("farebox idempotency slot");
        let mut secret = blake3::Hasher::new_derive_key("farebox idempotency secret");
        let mut fingerprint = blake3::Hasher::new_derive_key("farebox idempotency fingerprint");
        for hasher in [&mut slot, &mut secret, &mut fingerprint] {
            for part in whose.into_iter().chain([call.method, call.path, &key.0].map(str::as_bytes)) {
                write(hasher, part);
            }
        }
        write(&mut fingerprint, call.query.as_bytes());
        for header in call.headers {
            // An empty header differs from an absent one.
            fingerprint.update(&[u8::from(header.is_some())]);
            write(&mut fingerprint, header.unwrap_or_default());
        }
        write(&mut fingerprint, call.body);
        let key = *slot.finalize().as_bytes();
        Self {
            slot: Slot { scope, key },
            fingerprint: *fingerprint.finalize().as_bytes(),
            secret: *secret.finalize().as_bytes(),
            repeat,
        }
    }
}

/// Writes a part with its length, so that different lists of parts never give the same bytes.
fn write(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Whether an answer was sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// A body of known size, or a stream with its end marker.
    Yes,
    /// A stream that broke off, by an error or by its size.
    No,
}

/// Whether the same request would get the same answer at any time of the next day: it succeeded, or is malformed. All
/// other answers depend on credits, limits, rights or luck, which change.
pub const fn is_definitive(status: u16, whole: Whole) -> bool {
    matches!((status, whole), (200..=299 | 400 | 404 | 405 | 410 | 413 | 415 | 422, Whole::Yes))
}

/// Whether a header of an answer is kept: our own are; those of the connection and of the moment are not.
pub fn is_kept_header(name: &str) -> bool {
    let known =
        ["content-type", "cache-control", "location", "retry-after", "server-timing", "x-request-id", "x-should-retry"];
    known.contains(&name) || name.starts_with("x-farebox-") || name.starts_with("x-ratelimit-")
}

/// An answer, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status.
    pub status: u16,
    /// The kept headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl KeptAnswer {
    /// The answer as bytes: a line of JSON, then the body.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::json!([self.status, self.headers]).to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (status, headers) = serde_json::from_slice(bytes.get(..end)?).ok()?;
        let body = Bytes::from(bytes).slice(end + 1..);
        Some(Self { status, headers, body })
    }
}

/// Collects an answer's bytes, up to the largest kept size.
pub struct Recording {
    /// `None` once there were too many bytes.
    body: Option<BytesMut>,
    room: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Recording {
    /// A recording that takes its memory from a shared budget: one permit a byte.
    pub fn new(room: Arc<Semaphore>) -> Self {
        Self { body: Some(BytesMut::new()), room, taken: None }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let Some(body) = &mut self.body else { return };
        let count = u32::try_from(bytes.len()).ok().filter(|_| body.len() + bytes.len() <= LARGEST_ANSWER);
        let more = count.and_then(|count| Arc::clone(&self.room).try_acquire_many_owned(count).ok());
        match (more, &mut self.taken) {
            (None, _) => (self.body, self.taken) = (None, None),
            (Some(more), taken) => {
                match taken {
                    Some(taken) => taken.merge(more),
                    None => *taken = Some(more),
                }
                body.extend_from_slice(bytes);
            }
        }
    }

    /// Whether there were more bytes than are kept.
    pub const fn is_over(&self) -> bool {
        self.body.is_none()
    }

    /// The bytes, unless there were too many.
    pub fn end(self) -> Option<Bytes> {
        self.body.map(BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &str) -> Call<'_> {
        Call { method: "POST", path: "/v1/quote", query: "", headers: [None; 3], body: body.as_bytes() }
    }

    fn key(text: &str) -> Key {
        Key::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_printable_and_short_and_may_be_quoted() {
        assert!(key("8e03978e-40d5-43dd-bc93-6894a57f9324") == key(r#""8e03978e-40d5-43dd-bc93-6894a57f9324""#));
        assert!(key(r#""a\"b\\c""#) == Key(r#"a"b\c"#.into()));
        assert!(key(&"k".repeat(255)) == key(&format!("\"{}\"", "k".repeat(255))));
        let long = "k".repeat(256);
        for bad in ["", " ", "\"\"", "\"open", "\"a\"b", r#""a\b""#, "a\tb", "a\0b", "k\u{e9}y", &long, "\u{7f}"] {
            assert!(Key::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Key::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn another_account_route_or_key_is_another_slot() {
        let (account, limited) = (AccountId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)));
        let (one, two) = (Holder::Account(account), Holder::Account(AccountId(limited.0)));
        let slot =
            |holder, text: &str, path| Asked::new(holder, &key(text), Repeat::Anew, Call { path, ..call("{}") }).slot;
        let first = slot(one, "a", "/v1/quote");
        assert_eq!(first, Asked::new(one, &key("a"), Repeat::Anew, call("other")).slot, "the body does not move it");
        let limited = slot(Holder::LimitedKey(account, limited), "a", "/v1/quote");
        assert_eq!(limited.scope, first.scope);
        let others = [
            limited,
            slot(two, "a", "/v1/quote"),
            slot(Holder::Operator, "a", "/v1/quote"),
            slot(one, "b", "/v1/quote"),
            slot(one, "a", "/v1/completions"),
        ];
        for other in others {
            assert_ne!(first.key, other.key);
        }
    }

    #[test]
    fn all_that_changes_the_meaning_changes_the_fingerprint() {
        let print = |call| Asked::new(Holder::Operator, &key("a"), Repeat::Anew, call).fingerprint;
        let plain = call(r#"{"model": "m"}"#);
        let mut prints = vec![print(plain), print(call(r#"{"model": "n"}"#)), print(Call { query: "a=b", ..plain })];
        for place in 0..MEANINGFUL.len() {
            for value in ["", "1"] {
                let mut headers = [None; 3];
                headers[place] = Some(value.as_bytes());
                prints.push(print(Call { headers, ..plain }));
            }
        }
        assert_eq!(prints[0], print(plain));
        let count = prints.len();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), count, "two different requests look the same");
    }

    #[test]
    fn what_depends_on_the_moment_is_not_definitive() {
        for status in [200, 201, 204, 400, 404, 413, 422] {
            assert!(is_definitive(status, Whole::Yes), "{status}");
            assert!(!is_definitive(status, Whole::No), "{status}");
        }
        for status in [401, 402, 403, 408, 409, 425, 429, 500, 502, 503, 504] {
            assert!(!is_definitive(status, Whole::Yes), "{status}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let headers = vec![("x-request-id".to_owned(), "line\nbreak".to_owned())];
        let answer = KeptAnswer { status: 200, headers, body: Bytes::from_static(b"\n[1]\n\0\xff") };
        assert_eq!(KeptAnswer::decode(answer.encode()), Some(answer));
        for bad in ["", "\n", "[200]\n", "[200, []]", "[70000, []]\n"] {
            assert_eq!(KeptAnswer::decode(bad.into()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_recording_is_bounded_alone_and_with_all_others() {
        let room = Arc::new(Semaphore::new(LARGEST_ANSWER + 10));
        let mut large = Recording::new(Arc::clone(&room));
        large.push(&vec![0; LARGEST_ANSWER]);
        let mut second = Recording::new(Arc::clone(&room));
        second.push(b"0123456789");
        assert!(!large.is_over() && !second.is_over());
        second.push(b"x");
        assert!(second.is_over(), "there was no room left");
        assert_eq!(second.end(), None);
        large.push(b"x");
        assert!(large.is_over(), "an answer is as large as it may be");
        assert_eq!(room.available_permits(), LARGEST_ANSWER + 10, "all room is given back");
        let mut third = Recording::new(room);
        third.push(b"ab");
        third.push(b"c");
        assert_eq!(third.end().as_deref(), Some(b"abc".as_slice()));
    }

    #[test]
    fn headers_of_the_connection_are_not_kept() {
        for name in ["content-type", "x-request-id", "x-farebox-cost", "x-ratelimit-limit-requests", "server-timing"] {
            assert!(is_kept_header(name), "{name}");
        }
        for name in ["date", "content-length", "transfer-encoding", "connection", "set-cookie"] {
            assert!(!is_kept_header(name), "{name}");
        }
    }
}
