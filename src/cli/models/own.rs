//! A folder that another Farebox has imported, such as one of a backup or of a machine that imports for others: it is taken
//! over as it is, if its files are those that its card names.

use std::{fs, path::Path};

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
    let draft = to.with_file_name(format!(".{}.taken-{}", card.id, std::process::id()));
    let taken = copy(from, &draft, &card).and_then(|()| Ok(fs::rename(&draft, to)?));
    if taken.is_err() {
        // There may be nothing to remove.
        let _ = fs::remove_dir_all(&draft);
    }
    taken.with_context(shown)?;
    Ok(card)
}

fn copy(from: &Path, draft: &Path, card: &Card) -> Result<()> {
    fs::create_dir_all(draft)?;
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
