//! What a model takes in memory, from its folder and before it is loaded: the bytes of its weights, which are its files, and
//! of the caches that its sequences may take.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{preparer::Kind, worker::Settings};

/// Files that are read, and not kept as weights.
const WORDS: [&str; 5] = ["json", "txt", "md", "jinja", "model"];

/// Bytes of a file that are read at once.
const PIECE: usize = 4 << 20;

/// What a folder says of a model's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of a position of one sequence's cache; `None` where the folder does not say.
    pub position: Option<u64>,
}

/// The numbers of `config.json` that give a cache its size.
#[derive(Deserialize)]
struct Config {
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    hidden_size: u64,
}

impl Config {
    /// Keys and values of one position in all layers, as 32-bit floats.
    fn position(&self) -> Option<u64> {
        let heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let size = self.head_dim.or_else(|| self.hidden_size.checked_div(self.num_attention_heads))?;
        2_u64.checked_mul(4)?.checked_mul(self.num_hidden_layers)?.checked_mul(heads)?.checked_mul(size)
    }
}

/// The bytes of a folder's weights.
///
/// # Errors
///
/// The folder can't be read.
pub fn weights(folder: &Path) -> io::Result<u64> {
    Ok(files(folder)?.into_iter().fold(0, |bytes, (_, more)| bytes.saturating_add(more)))
}

/// Reads a folder's weights into the system's cache of files, from which they are loaded, and tells after each piece how
/// many bytes were read. What is in that cache already costs little.
///
/// # Errors
///
/// A file can't be read.
pub fn read_ahead(folder: &Path, mut told: impl FnMut(u64)) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut read = 0;
    for (path, _) in files(folder)? {
        let mut file = fs::File::open(path)?;
        loop {
            match io::Read::read(&mut file, &mut piece)? {
                0 => break,
                count => read += count as u64,
            }
            told(read);
        }
    }
    Ok(())
}

/// The files of a folder's weights, with their sizes.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_words = path.extension().and_then(|name| name.to_str()).is_some_and(|name| WORDS.contains(&name));
        // A link counts as what it leads to.
        let data = fs::metadata(&path)?;
        if data.is_file() && !is_words {
            files.push((path, data.len()));
        }
    }
    Ok(files)
}

impl Footprint {
    /// Measures a folder.
    ///
    /// # Errors
    ///
    /// The folder can't be read. A `config.json` that is missing or says nothing of caches is no error.
    pub fn measure(folder: &Path) -> io::Result<Self> {
        let config = fs::read(folder.join("config.json")).ok();
        let config = config.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
        Ok(Self { weights: weights(folder)?, position: config.and_then(|config| config.position()) })
    }

    /// The bytes of weights and caches of a model of this kind, which reads and writes up to `context` tokens and is run by
    /// these settings. One sequence alone gets what it needs, as the worker gives it.
    pub fn bytes(&self, kind: Kind, context: u32, settings: &Settings) -> u64 {
        let most = settings.cache_bytes as u64;
        let cache = match (kind, self.position) {
            (Kind::Embedding, _) => 0,
            (Kind::Generation, None) => most,
            (Kind::Generation, Some(position)) => {
                let one = position.saturating_mul(context.into());
                one.max(most.min(one.saturating_mul(settings.sequences as u64)))
            }
        };
        self.weights.saturating_add(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_weighs_its_weights_and_its_cache_is_bounded_by_what_its_sequences_can_fill() {
        let folder = std::env::temp_dir().join(format!("farebox-footprint-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("model.onnx"), [0; 100]).unwrap();
        fs::write(folder.join("model.onnx.data"), [0; 1_000]).unwrap();
        fs::write(folder.join("tokenizer.json"), [0; 5_000]).unwrap();
        assert_eq!(Footprint::measure(&folder).unwrap(), Footprint { weights: 1_100, position: None });
        let mut told = Vec::new();
        read_ahead(&folder, |bytes| told.push(bytes)).unwrap();
        assert!(told.is_sorted() && told.last() == Some(&1_100), "{told:?}");
        let config = r#"{"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"hidden_size":32}"#;
        fs::write(folder.join("config.json"), config).unwrap();
        let found = Footprint::measure(&folder).unwrap();
        assert_eq!(found.position, Some(2 * 4 * 2 * 2 * 8));
        fs::remove_dir_all(&folder).unwrap();
        assert!(Footprint::measure(&folder).is_err());
        let settings = |cache_bytes| Settings { queue: 1, sequences: 4, cache_bytes, ..Settings::default() };
        let of = |context, cache| found.bytes(Kind::Generation, context, &settings(cache));
        assert_eq!(of(10, 1 << 30), 1_100 + 4 * 10 * 256, "all sequences at their longest");
        assert_eq!(of(1_000, 300_000), 1_100 + 300_000, "the setting");
        assert_eq!(of(10_000, 300_000), 1_100 + 10_000 * 256, "one alone gets what it needs");
        assert_eq!(found.bytes(Kind::Embedding, 10_000, &settings(300_000)), 1_100);
        let unknown = Footprint { weights: 5, position: None };
        assert_eq!(unknown.bytes(Kind::Generation, 1, &settings(300_000)), 300_005);
    }
}
