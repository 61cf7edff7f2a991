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
mod v6;

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

/// The body of a batch of transitions, in the oldest form that holds all of them: an older program reads what it can know.
pub fn encode(transitions: &[Transition]) -> Vec<u8> {
    let body = if transitions.iter().any(v6::is_needed) {
        v6::encode(transitions)
    } else if transitions.iter().any(v4::is_needed) {
        v4::encode(transitions)
    } else if transitions.iter().any(v3::is_needed) {
        v3::encode(transitions)
    } else if transitions.iter().any(v2::is_needed) {
        v2::encode(transitions)
    } else {
        v1::encode(transitions)
    };
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
    match body.split_first() {
        Some((&v1::VERSION, message)) => v1::decode(message),
        Some((&v2::VERSION, message)) => v2::decode(message),
        Some((&v3::VERSION, message)) => v3::decode(message),
        Some((&v4::VERSION, message)) => v4::decode(message),
        Some((&v6::VERSION, message)) => v6::decode(message),
        Some((&newer, _)) if newer > v6::VERSION => Err(BadBody::Newer(newer)),
        Some(_) | None => Err(BadBody::Malformed("the form's version".to_owned())),
    }
}

#[cfg(test)]
mod tests;
