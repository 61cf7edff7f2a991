//! `farebox quickstart`: from nothing to a streamed answer. It fetches ONNX Runtime and a small chat model once, makes
//! a demo account with its plan's credits and a key, serves, and prints example calls. A second start keeps everything.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Context, Result};
use billing::{
    ids::{AccountId, KeyId},
    key::Scopes,
    plan::Plan,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    app, config,
    config::{Device, Settings},
    fetch, secret_file,
    service::{accounts, keys},
};

use super::serve;

/// The demo model's name.
const MODEL: &str = "smollm2-135m-instruct";
/// The demo account's e-mail address.
const EMAIL: &str = "demo@farebox.local";

/// The content of `data/quickstart.json`, for later runs and for scripts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    url: String,
    api_key: String,
    account_id: String,
    admin_token: String,
    model: String,
}

/// Runs `farebox quickstart`.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(settings: &Settings, args: &serve::Args) -> Result<i32> {
    prepare(settings)?;
    serve::serve(settings, args, async |running: &app::Running| {
        let kept = keep(settings, running).await?;
        println!("{}", tour(&kept));
        println!("listening on {}", kept.url);
        Ok(())
    })
}

/// Fetches and imports missing parts, to the places that `farebox serve` uses too.
fn prepare(settings: &Settings) -> Result<()> {
    let cache = config::cache_folder()?;
    if settings.runtime.onnxruntime.is_none() {
        let library = app::runtime_library(settings);
        let kind = if settings.runtime.device == Device::Cuda { fetch::Kind::Cuda } else { fetch::Kind::Cpu };
        for (at, file) in fetch::runtime(&cache, kind)?.iter().enumerate() {
            // The others are opened by their names, beside the library.
            let name = file.file_name().unwrap_or_default();
            let target = if at == 0 { library.clone() } else { library.with_file_name(name) };
            place(file, &target).with_context(|| format!("can't write {}", target.display()))?;
        }
    }
    if !settings.runtime.models_dir.join(MODEL).join("farebox.json").is_file() {
        let gguf = fetch::demo_model(&cache)?;
        eprintln!("importing {MODEL} ...");
        let (_, told) = super::models::import_gguf(settings, &gguf, MODEL)?;
        eprintln!("{told}");
    }
    Ok(())
}

/// Gives a file a second name, or copies it where links are not possible. A process that has the target's old file open
/// keeps it.
fn place(file: &Path, target: &Path) -> io::Result<()> {
    // A second name of a symbolic link would be a symbolic link.
    let file = &fs::canonicalize(file)?;
    if is_same(file, target)? {
        return Ok(());
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{}.part", Uuid::new_v4().simple()));
    let placed = fs::hard_link(file, &draft)
        .or_else(|_| io::copy(&mut File::open(file)?, &mut File::create_new(&draft)?).map(drop))
        .and_then(|()| fs::rename(&draft, target));
    if placed.is_err() {
        // There may be no draft to remove.
        let _ = fs::remove_file(&draft);
    }
    placed
}

/// Whether two names are the same file, or files with the same content.
fn is_same(file: &Path, other: &Path) -> io::Result<bool> {
    let (Ok(one), Ok(two)) = (fs::metadata(file), fs::metadata(other)) else { return Ok(false) };
    if (one.dev(), one.ino()) == (two.dev(), two.ino()) {
        return Ok(true);
    }
    Ok(one.len() == two.len() && fetch::hash(file)? == fetch::hash(other)?)
}

async fn keep(settings: &Settings, running: &app::Running) -> Result<Kept> {
    let path = settings.data_dir.join("quickstart.json");
    let url = format!("http://{}", running.address);
    let earlier: Option<Kept> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let service = &running.state.service;
    let account = if let Some(account) = accounts::by_address(service, EMAIL).await? {
        account
    } else {
        let id = AccountId(Uuid::now_v7());
        accounts::open(service, id, EMAIL, Plan::Payg).await?;
        id
    };
    let AccountId(account_id) = account;
    let api_key = match earlier {
        Some(earlier) if earlier.account_id == account_id.to_string() => earlier.api_key,
        _ => {
            let wanted = keys::NewKey { name: "quickstart".into(), ..keys::NewKey::default() };
            let opener = keys::Opener { account_id: account, scopes: Scopes::ALL, expires_at: None, by: None };
            keys::open(service, KeyId(Uuid::now_v7()), &opener, wanted, None).await?
        }
    };
    let kept = Kept {
        url,
        api_key,
        account_id: account_id.to_string(),
        admin_token: running.admin_token.clone(),
        model: MODEL.to_owned(),
    };
    std::fs::create_dir_all(&settings.data_dir)?;
    let text = serde_json::to_string_pretty(&kept)?;
    secret_file::write(&path, &text).with_context(|| format!("can't write {}", path.display()))?;
    Ok(kept)
}

fn tour(kept: &Kept) -> String {
    let Kept { url, api_key, model, .. } = kept;
    format!(
        "\nFarebox is running.\n\n  address    {url}\n  dashboard  {url}/dashboard (sign in with the key)\n  API key    {api_key}\n\nStream an answer from {model}, on this machine:\n\n  \
         curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {api_key}' \\\n    \
         -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"max_tokens\":200,\"temperature\":0.2,\"messages\":[{{\"role\":\"user\",\"content\":\"Name three colors.\"}}]}}'\n\n\
         See what it cost:\n\n  curl {url}/v1/balance -H 'Authorization: Bearer {api_key}'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_placed_once_and_replaced_when_it_is_another() {
        let folder = std::env::temp_dir().join(format!("farebox-place-{}", Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        let (file, target) = (folder.join("file"), folder.join("runtime/library"));
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        fs::write(&file, "new").unwrap();
        place(&file, &target).unwrap();
        assert_eq!(inode(&target), inode(&file), "a second name");

        fs::remove_file(&target).unwrap();
        fs::write(&target, "new").unwrap();
        let copy = inode(&target);
        place(&file, &target).unwrap();
        assert_eq!(inode(&target), copy, "a copy is as good");

        fs::write(&target, "old").unwrap();
        place(&file, &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.join("runtime")).unwrap().count(), 1, "no draft is left");
        fs::remove_dir_all(&folder).unwrap();
    }
}
