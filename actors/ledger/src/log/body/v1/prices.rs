//! Stored price books.

use billing::Timestamp;

use super::super::PriceBook as Book;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PriceBook {
    #[prost(int64, tag = "1")]
    version: i64,
    #[prost(string, tag = "2")]
    hash: String,
    #[prost(int64, tag = "3")]
    at: i64,
    #[prost(string, tag = "4")]
    prices: String,
}

impl PriceBook {
    pub(super) fn write(book: &Book) -> Self {
        let Book { version, hash, at, prices } = book;
        Self { version: *version, hash: hash.clone(), at: at.0, prices: prices.clone() }
    }

    pub(super) fn read(self) -> Book {
        let Self { version, hash, at, prices } = self;
        Book { version, hash, at: Timestamp(at), prices }
    }
}
