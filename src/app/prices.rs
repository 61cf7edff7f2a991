//! The price book of a process: where it comes from, its version in the ledger, and how it is kept up while it serves.

use std::sync::Arc;

use actors::journal::Journal;
use anyhow::{Context, Result};
use ledger::Ledger;
use runtime::clock::Clock;

use crate::{
    catalogue::{Book, Catalogue},
    config::Settings,
    gateway::{Gateway, LOOK},
};

/// The price book: the built-in one, and the folder's files over it.
///
/// # Errors
///
/// The folder or a file of it can't be used. The error's text names the file, the entry and the fault.
pub fn book(settings: &Settings) -> Result<Book> {
    match &settings.prices.folder {
        None => Ok(Book::built_in()?),
        Some(folder) => Book::with_folder(folder).context("can't use prices.folder"),
    }
}

/// The models of the price book, which has a version in the ledger from here on.
///
/// # Errors
///
/// The book can't be used, or the ledger can't.
pub(super) async fn catalogue(settings: &Settings, ledger: &Ledger, clock: &Clock) -> Result<Catalogue> {
    let (book, now) = (book(settings)?, clock.now());
    let version = ledger.price_version(&book.hash(), book.text(), now).await?;
    Ok(Catalogue::of(Arc::new(book), version, now))
}

/// Keeps the price book up to the folder of prices, if there is one. Its versions are written by the journal.
pub(super) fn follow(settings: &Settings, gateway: &Arc<Gateway>, journal: &Arc<Journal>) {
    let Some(folder) = settings.prices.folder.clone() else { return };
    let (gateway, journal) = (Arc::downgrade(gateway), Arc::downgrade(journal));
    actix_rt::spawn(async move {
        let version_of = async |hash: String, text: String| {
            let journal = journal.upgrade().ok_or_else(|| "the process stops".to_owned())?;
            journal.price_version(hash, text).await.map_err(|error| error.to_string())
        };
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(gateway) = gateway.upgrade() else { return };
            gateway.models.look_at_prices(&folder, version_of).await;
        }
    });
}
