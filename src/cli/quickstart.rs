//! `farebox quickstart`: from nothing to a streamed answer. Fetches ONNX Runtime and a small chat model once, makes a demo
//! account with its plan's credits and a key, serves, and prints how to talk to it. A second start keeps everything.

use anyhow::{Context, Result};
use billing::{
    ids::{AccountId, KeyId},
    plan::Plan,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    app, config,
    config::Settings,
    fetch,
    http::{Shared, admin, auth::NewKey, keys},
    secret_file, telemetry,
};

/// What the demo model is called.
const MODEL: &str = "smollm2-135m-instruct";
/// Whose the demo account is.
const EMAIL: &str = "demo@farebox.local";

/// `data/quickstart.json`: for people and scripts that come back.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    url: String,
    api_key: String,
    account_id: String,
    admin_token: String,
    model: String,
}

/// Runs it.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn run(mut settings: Settings) -> Result<i32> {
    telemetry::init_logs(&settings.log)?;
    prepare(&mut settings)?;
    let metrics = telemetry::Metrics::install()?;
    actix::System::new().block_on(async {
        let running = app::start(&settings, metrics).await?;
        let kept = keep(&settings, &running).await?;
        println!("{}", tour(&kept));
        println!("listening on {}", kept.url);
        running.until_stopped().await?;
        Ok(0)
    })
}

/// Fetches and imports what is not there yet.
fn prepare(settings: &mut Settings) -> Result<()> {
    let cache = config::cache_folder()?;
    if settings.runtime.onnxruntime.is_none() {
        settings.runtime.onnxruntime = Some(fetch::runtime(&cache)?);
    }
    if !settings.runtime.models_dir.join(MODEL).join("farebox.json").is_file() {
        let gguf = fetch::demo_model(&cache)?;
        eprintln!("importing {MODEL} ...");
        super::models::import_gguf(&gguf, MODEL, &settings.runtime.models_dir)?;
    }
    Ok(())
}

async fn keep(settings: &Settings, running: &app::Running) -> Result<Kept> {
    let path = settings.data_dir.join("quickstart.json");
    let url = format!("http://{}", running.address);
    let earlier: Option<Kept> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let state: &Shared = &running.state;
    let failed = |error: crate::http::error::ApiError| anyhow::anyhow!("{}", error.message());
    let ledger = state.gateway.directory.ledger();
    let account = if let Some(account) = ledger.account_by_email(EMAIL).await? {
        account.id
    } else {
        let id = AccountId(Uuid::now_v7());
        admin::open_account(state, id, EMAIL, Plan::Payg).await.map_err(failed)?;
        id
    };
    let AccountId(account_id) = account;
    let api_key = match earlier {
        Some(earlier) if earlier.account_id == account_id.to_string() => earlier.api_key,
        _ => {
            let wanted = NewKey { name: "quickstart".into(), ..NewKey::default() };
            keys::open_key(state, KeyId(Uuid::now_v7()), account, wanted).await.map_err(failed)?
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
        "\nFarebox is running.\n\n  address  {url}\n  API key  {api_key}\n\nStream an answer from {model}, on this machine:\n\n  \
         curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {api_key}' \\\n    \
         -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Name three colors.\"}}]}}'\n\n\
         See what it cost:\n\n  curl {url}/v1/balance -H 'Authorization: Bearer {api_key}'\n"
    )
}
