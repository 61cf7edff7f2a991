//! Models that operators have pinned, in a file of the data folder, so that they stay pinned when the process starts
//! again. No money depends on it. Whoever reads the file finds the names, one in a line; what the settings pin is not in it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The file's name.
const FILE: &str = "pinned-models.txt";

/// The pins.
#[derive(Debug)]
pub struct Pins {
    file: PathBuf,
    names: Mutex<BTreeSet<String>>,
}

impl Pins {
    /// The pins of a data folder. Without a file there are none.
    ///
    /// # Errors
    ///
    /// The file is there and can't be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        };
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Self { file, names: Mutex::new(names) })
    }

    /// The names.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// The file can't be written: the name is gone when the process ends.
    pub(super) fn add(&self, name: &str) -> io::Result<()> {
        self.change(|names| names.insert(name.to_owned()))
    }

    /// Takes a name out.
    ///
    /// # Errors
    ///
    /// The file can't be written: the name is back when the process starts again.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|names| names.remove(name))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) -> io::Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut names) {
            return Ok(());
        }
        let lines: Vec<&str> = names.iter().map(String::as_str).chain([""]).collect();
        let text = lines.join("\n");
        let part = self.file.with_extension("part");
        fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        fs::write(&part, text)?;
        fs::rename(&part, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_found_again_and_those_taken_out_are_not() {
        let folder = std::env::temp_dir().join(format!("farebox-pins-{}", std::process::id()));
        let pins = Pins::of(&folder).unwrap();
        assert!(pins.names().is_empty());
        for name in ["b/c", "a", "a"] {
            pins.add(name).unwrap();
        }
        pins.remove("a").unwrap();
        pins.remove("never there").unwrap();
        pins.add("d").unwrap();
        assert_eq!(Pins::of(&folder).unwrap().names(), ["b/c", "d"]);
        fs::remove_file(folder.join(FILE)).unwrap();
        fs::create_dir(folder.join(FILE)).unwrap();
        assert!(Pins::of(&folder).is_err_and(|error| error.to_string().contains(FILE)));
        assert!(pins.add("e").is_err(), "told to the operator");
        fs::remove_dir_all(&folder).unwrap();
    }
}
