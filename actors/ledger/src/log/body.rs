//! The content of the log's rows. The first byte of a body is the version of its form; the rest is a protobuf message.
//! The messages are types of their own (`v1`): a change of the rules' types never changes what is stored.
//!
//! A form never changes once a release has written it: no field is added, no number gets another meaning. A change is a
//! new form with the next version, and older forms stay readable for ever. The bodies in `tests/fixtures/log_bodies`
//! check this.

mod v1;
mod v2;
mod v3;
mod v4;
mod v5;
mod v6;
mod v7;
mod v8;

use billing::{Timestamp, entry::Transition};
use uuid::Uuid;

/// The content of a log's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The beginning of the log, in its first row.
    Genesis(Genesis),
    /// A batch of transitions, in the order they were decided.
    Transitions(Vec<Transition>),
    /// A price book that is charged by from now on.
    Prices(PriceBook),
    /// Rows of a table from before there was a log.
    Imported(Imported),
}

/// A price book with its version. Charges name the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceBook {
    /// The version, from 1.
    pub version: i64,
    /// BLAKE3 of the book, in hexadecimal.
    pub hash: String,
    /// When the book came into use.
    pub at: Timestamp,
    /// The book, in TOML.
    pub prices: String,
}

/// Rows of one table from before there was a log, in the order of the table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The table.
    pub table: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// The rows, each with a value for each column.
    pub rows: Vec<Vec<Field>>,
    /// Whether these are the last rows that are imported, of all tables.
    pub is_last: bool,
}

/// A value of an imported row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// No value.
    Null,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// An id.
    Id(Uuid),
    /// Other bytes.
    Bytes(Vec<u8>),
}

/// The beginning of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genesis {
    /// The log's id. The tables made from the log have it too.
    pub log_id: Uuid,
    /// What the log begins after.
    pub began: Began,
    /// The number of migrations that the tables had when the log began. Imported rows fit such tables.
    pub schema: u32,
}

/// What a log begins after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// No ledger before it.
    New,
    /// Tables that existed before there was a log. Their rows follow.
    AfterTables,
}

/// A body can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// An older program must not guess what a newer one wrote.
    #[error("was written by a newer version of this program (form {0})")]
    Newer(u8),
    /// The field named is missing or has no valid value.
    #[error("is malformed: {0}")]
    Malformed(String),
}

/// A form that adds to the messages of all before it.
struct Form {
    version: u8,
    /// What it adds, as errors name it.
    adds: &'static str,
    /// Whether only this form, or a later one, can hold all of a transition.
    is_needed: fn(&Transition) -> bool,
}

/// The forms after the first, in order.
const FORMS: [Form; 7] = [
    Form { version: 2, adds: "usage.attempts", is_needed: v2::is_needed },
    Form { version: 3, adds: "hold.is_parked", is_needed: v3::is_needed },
    Form { version: 4, adds: "members", is_needed: v4::is_needed },
    Form { version: 5, adds: "header.frozen_at", is_needed: v5::is_needed },
    Form { version: 6, adds: "alerts", is_needed: v6::is_needed },
    Form { version: 7, adds: "sessions, or a webhook's keys", is_needed: v7::is_needed },
    Form { version: 8, adds: "usage.timings", is_needed: v8::is_needed },
];
/// The version of the first form, and of the newest.
const FIRST: u8 = 1;
const NEWEST: u8 = FORMS[FORMS.len() - 1].version;

/// The form that transitions need; none where the first holds all of them.
fn needed(transitions: &[Transition]) -> Option<&'static Form> {
    FORMS.iter().rev().find(|form| transitions.iter().any(form.is_needed))
}

/// The body of a batch of transitions, in the oldest form that holds all of them: an older program reads what it can know.
pub fn encode(transitions: &[Transition]) -> Vec<u8> {
    let body = v1::encode(needed(transitions).map_or(FIRST, |form| form.version), transitions);
    debug_assert!(
        decode(&body).is_ok_and(|read| matches!(read, Body::Transitions(read) if read == transitions)),
        "transitions are not read as they were written: {transitions:?}"
    );
    body
}

/// The body of a log's first row, in the newest form.
pub fn encode_genesis(genesis: &Genesis) -> Vec<u8> {
    v1::encode_genesis(genesis)
}

/// The body of a row with a price book, in the newest form.
pub fn encode_prices(book: &PriceBook) -> Vec<u8> {
    v1::encode_prices(book)
}

/// The body of a row with imported rows, in the newest form.
pub fn encode_imported(imported: &Imported) -> Vec<u8> {
    v1::encode_imported(imported)
}

/// Reads a body of any form.
///
/// # Errors
///
/// The body was written by a newer version, or it is not as any version writes it. Nothing is guessed: the row must not
/// be applied.
pub fn decode(body: &[u8]) -> Result<Body, BadBody> {
    let malformed = |field: &str| Err(BadBody::Malformed(field.to_owned()));
    let (version, message) = match body.split_first() {
        Some((&version @ FIRST..=NEWEST, message)) => (version, message),
        Some((&newer, _)) if newer > NEWEST => return Err(BadBody::Newer(newer)),
        Some(_) | None => return malformed("the form's version"),
    };
    let read = v1::decode(message)?;
    let transitions: &[Transition] = if let Body::Transitions(transitions) = &read { transitions } else { &[] };
    let is_needed = |form: &&Form| transitions.iter().any(form.is_needed);
    if let Some(newer) = FORMS.iter().filter(|form| form.version > version).find(is_needed) {
        return malformed(newer.adds);
    }
    if version > FIRST && needed(transitions).is_none_or(|form| form.version < version) {
        return malformed(&format!("form {version} without what it is for"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests;
