//! The checksums of a model's folder: made when it is imported, held against its files when that is asked for. What is
//! sealed can't be written over by accident: a server that has it loaded reads it in place, and would die of a file that
//! shrinks under it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::catalogue::{
    folder::{self, CARD, Card},
    provenance::FileSum,
};

/// Folders below a model's folder: a module of an encoder is in one.
const DEEPEST: usize = 3;

/// Writes a model's card into its folder, with the checksums of all that is there, and lets nobody write over any of it.
pub(super) fn seal(folder: &Path, card: &Card) -> io::Result<()> {
    let files = sums(folder)?;
    folder::write_card(folder, &Card { files, ..card.clone() })?;
    for name in names(folder)? {
        let path = folder.join(name);
        let mut permissions = fs::metadata(&path)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions)?;
    }
    Ok(())
}

/// The checksums of a folder's files, without the card's.
fn sums(folder: &Path) -> io::Result<Vec<FileSum>> {
    let others = names(folder)?.into_iter().filter(|name| name != CARD);
    others.map(|name| sum_of(&folder.join(&name), name)).collect()
}

/// A file's checksum, under this name.
pub(super) fn sum_of(path: &Path, name: String) -> io::Result<FileSum> {
    let (bytes, sum) = (fs::metadata(path)?.len(), format!("sha256:{}", hub::sha256(path)?));
    Ok(FileSum { name, bytes, sum })
}

/// What of a folder is not as its card says, in words; nothing where all is.
pub(super) fn broken(folder: &Path, card: &Card) -> io::Result<Vec<String>> {
    let here = names(folder)?;
    let mut found: Vec<String> = here
        .iter()
        .filter(|name| *name != CARD && !card.files.iter().any(|file| file.name == **name))
        .map(|name| format!("{name} was not there at its import"))
        .collect();
    for file in &card.files {
        if !here.contains(&file.name) {
            found.push(format!("{} is gone", file.name));
            continue;
        }
        let now = sum_of(&folder.join(&file.name), file.name.clone())?;
        if now != *file {
            found.push(format!("{} is another: {} bytes, {}", file.name, now.bytes, now.sum));
        }
    }
    Ok(found)
}

/// Bytes of a folder's files, the card's among them.
pub(super) fn bytes(folder: &Path) -> u64 {
    let size = |name: &String| fs::metadata(folder.join(name)).map_or(0, |data| data.len());
    names(folder).unwrap_or_default().iter().map(size).sum()
}

/// The files of a folder and those below it, by their paths with slashes, in their order. Links are none of them.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((place, depth)) = open.pop() {
        for entry in fs::read_dir(folder.join(&place))? {
            let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
            let path = place.join(entry.file_name());
            if kind.is_dir() && depth < DEEPEST {
                open.push((path, depth + 1));
            } else if kind.is_file() {
                let name = path.to_str().ok_or_else(|| io::Error::other(format!("{} is no text", path.display())))?;
                found.push(name.to_owned());
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_known_again_and_any_change_is_told() {
        let root = std::env::temp_dir().join(format!("farebox-seal-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(root.join("1_Pooling")).unwrap();
        fs::write(root.join("model.onnx"), "weights").unwrap();
        fs::write(root.join("1_Pooling/config.json"), "{}").unwrap();
        seal(&root, &Card { id: "m".into(), ..Card::default() }).unwrap();
        let card = folder::card(&root).unwrap();
        let sealed: Vec<_> = card.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        assert_eq!(sealed, [("1_Pooling/config.json", 2), ("model.onnx", 7)]);
        assert!(broken(&root, &card).unwrap().is_empty());
        assert!(fs::metadata(root.join("model.onnx")).unwrap().permissions().readonly());
        fs::remove_file(root.join("model.onnx")).unwrap();
        fs::write(root.join("model.onnx"), "weightz").unwrap();
        fs::remove_file(root.join("1_Pooling/config.json")).unwrap();
        fs::write(root.join("other"), "").unwrap();
        let told = broken(&root, &card).unwrap().join("; ");
        assert!(told.contains("other was not there") && told.contains("config.json is gone"), "{told}");
        assert!(told.contains("model.onnx is another: 7 bytes"), "{told}");
        fs::remove_dir_all(&root).unwrap();
    }
}
