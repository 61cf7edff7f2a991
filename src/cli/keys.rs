//! The public keys that a command trusts: of a file, of an address, or those that signed here.

use std::{io::Read as _, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    app,
    config::Settings,
    signing::{self, jwks::Keys},
};

/// The most bytes of a receipt or of a list of keys.
const LARGEST: u64 = 1 << 20;

/// Reads a file, or standard input where it is `-`.
pub(super) fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(LARGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
    };
    read.with_context(|| format!("can't read {}", path.display()))?;
    Ok(text)
}

/// The keys of a file or an address, or those that signed here.
pub(super) fn trusted(settings: &Settings, named: Option<&str>) -> Result<Keys> {
    let Some(named) = named else {
        let file = app::signing_key_file(settings);
        let known = signing::list(&file)?;
        return known.with_context(|| {
            let list = signing::list_of(&file);
            format!("nothing was signed here, as there is no {}: name the keys to trust with --keys", list.display())
        });
    };
    let text = if named.starts_with("http://") || named.starts_with("https://") {
        let called = actix::System::new().block_on(upstream::read_json(named));
        match called.map_err(anyhow::Error::msg)? {
            (200, list) => list.to_string(),
            (status, _) => bail!("{named} was answered with status {status}"),
        }
    } else {
        read(Path::new(named))?
    };
    Keys::read(&text).map_err(anyhow::Error::msg).with_context(|| format!("can't use {named}"))
}
