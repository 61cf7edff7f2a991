//! The price book of a process: where it comes from, its version in the ledger, and how it is kept up while it serves.

use std::sync::Arc;

use anyhow::{Context, Result};
use runtime::clock::Clock;

use super::nodes::Versions;
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

/// The models of a price book, which has a version in the ledger from here on.
///
/// # Errors
///
/// The book can't be used, or the ledger can't.
pub(super) async fn catalogue(book: Book, versions: &Versions, clock: &Clock) -> Result<Catalogue> {
    let now = clock.now();
    let version = versions.of(book.hash(), book.text().to_owned()).await?;
    Ok(Catalogue::of(Arc::new(book), version, now))
}

/// Keeps the price book up to the folder of prices, if there is one. Its versions are written by the journal.
pub(super) fn follow(settings: &Settings, gateway: &Arc<Gateway>, versions: Versions) {
    let Some(folder) = settings.prices.folder.clone() else { return };
    let gateway = Arc::downgrade(gateway);
    actix_rt::spawn(async move {
        let version_of =
            async |hash: String, text: String| versions.of(hash, text).await.map_err(|error| error.to_string());
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(gateway) = gateway.upgrade() else { return };
            gateway.models.look_at_prices(&folder, version_of).await;
        }
    });
}
