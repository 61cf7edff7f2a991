//! A folder that another Farebox has imported, such as one of a backup or of a machine that imports for others: it is taken
//! over as it is, if its files are those that its card names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{import::New, seal};
use crate::catalogue::{
    folder::{self, CARD, Card},
    provenance::Source,
};

/// Whether a folder is one of a Farebox.
pub(super) fn is_own(path: &Path) -> bool {
    path.join(CARD).is_file()
}

/// Takes a folder over into a new one. Returns its card.
pub(super) fn take(from: &Path, to: &Path, new: New) -> Result<Card> {
    let shown = || format!("can't take {} over", from.display());
    let card = folder::card(from).with_context(shown)?;
    if card.files.is_empty() {
        bail!("{}: its card has no checksums: import its source again", from.display());
    }
    let broken = seal::broken(from, &card).with_context(shown)?;
    if !broken.is_empty() {
        bail!("{} is not what was imported: {}", from.display(), broken.join("; "));
    }
    // Where it came from at first is worth more than the folder's name.
    let source: Option<Source> = card.source.clone().or(Some(new.source));
    let card = Card { id: new.id, class: new.class.or(card.class), source, ..card };
    let draft = draft_of(to);
    fs::create_dir_all(&draft).with_context(shown)?;
    // Held until it has its name: the next import removes drafts that nobody holds.
    let lock = fs::File::open(&draft).ok().filter(|folder| folder.lock().is_ok());
    let taken = copy(from, &draft, &card).and_then(|()| Ok(fs::rename(&draft, to)?));
    drop(lock);
    if taken.is_err() {
        // There may be nothing to remove.
        let _ = fs::remove_dir_all(&draft);
    }
    taken.with_context(shown)?;
    Ok(card)
}

/// A hidden folder beside a model's, of a name by which the next import knows what a dead process has left.
pub(super) fn draft_of(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{}-0.part", std::process::id()))
}

fn copy(from: &Path, draft: &Path, card: &Card) -> Result<()> {
    for file in &card.files {
        let target = draft.join(&file.name);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from.join(&file.name), target)?;
    }
    // What was copied is held against the card too: the folder may have changed meanwhile.
    let broken = seal::broken(draft, card)?;
    if !broken.is_empty() {
        bail!("it changed meanwhile: {}", broken.join("; "));
    }
    Ok(seal::seal(draft, card)?)
}
