//! Coming over from litellm: its configuration becomes settings that a server runs with, its keys become keys with limits, and
//! what has no counterpart is told.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    client::Api,
    fake_openai::FakeOpenAi,
    server::{Options, Server},
    temporary,
};

/// The models of the endpoint, which is named as its host.
const PRICES: &str = r#"
provider = "here"
[[model]]
id = "qwen3-8b"
context = 32768
max_output = 8192
price = { input = "1.00", output = "2.00" }
[[model]]
id = "gpt-4o-mini"
context = 128000
max_output = 16384
price = { input = "15.00", output = "60.00" }
"#;

#[tokio::test]
async fn a_configuration_of_litellms_runs_and_its_keys_have_their_budgets() {
    let fake = FakeOpenAi::start();
    let folder = temporary("litellm");
    fs::create_dir_all(folder.join("prices")).unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let config = format!(
        "model_list:\n\
         - model_name: assistant\n  litellm_params: {{model: openai/gpt-4o-mini, api_base: \"{0}\", api_key: os.environ/THEIR_KEY}}\n\
         - model_name: local\n  litellm_params: {{model: hosted_vllm/qwen3-8b, api_base: \"{0}\", rpm: 3, api_key: sk-b}}\n\
         router_settings:\n  model_group_alias: {{gpt: assistant}}\n",
        fake.url()
    );
    fs::write(at("config.yaml"), config).unwrap();
    let export = json!([
        {"token": "h", "key_alias": "ada", "models": ["assistant", "gone"], "max_budget": 1, "budget_duration": "30d"},
        {"token": "i", "key_alias": "none", "blocked": true},
    ]);
    fs::write(at("keys.json"), export.to_string()).unwrap();

    // Any server's command line: it needs no server.
    let plain = Server::start(Options::default()).await;
    let printed = plain.cli(&["import", "litellm", &at("config.yaml"), "--keys", &at("keys.json")]);
    let (text, told) = (String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr));
    let named = fake.address().to_string().replace(['.', ':'], "_");
    assert!(printed.status.success(), "{told}");
    for line in [
        format!("[providers.{named}]"),
        format!("    \"assistant={named}/gpt-4o-mini\","),
        format!("#   export FAREBOX_PROVIDERS__{}__KEYS=\"${{THEIR_KEY}}\"", named.to_uppercase()),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let unpriced = format!("needs a price before it is served (docs/prices.md): {named}/qwen3-8b");
    for line in [
        "no counterpart: model_list[1].litellm_params.rpm: limits are dollars",
        "no counterpart: [1]: the key \"none\" is not made: it is blocked",
        "no counterpart: [0].models: the key \"ada\" is made without \"gone\", which is no model of the configuration",
        &unpriced,
        &format!(r#"a key to make: {{"name":"ada","limits":{{"month":"1.00"}},"models":["{named}/gpt-4o-mini"]}}"#),
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    let written = plain.cli(&["import", "litellm", &at("config.yaml"), "--write", &at("farebox.toml")]);
    assert!(written.status.success() && written.stdout.is_empty());
    assert_eq!(fs::read_to_string(at("farebox.toml")).unwrap(), text);
    let again = plain.cli(&["import", "litellm", &at("config.yaml"), "--write", &at("farebox.toml")]);
    assert!(!again.status.success(), "an existing file is left as it is");
    let broken = plain.cli(&["import", "litellm", &at("keys.json"), "--keys", &at("config.yaml")]);
    assert!(!broken.status.success());

    fs::write(at("prices/here.toml"), PRICES.replace("\"here\"", &format!("{named:?}"))).unwrap();
    let options = Options::default()
        .set("FAREBOX_CONFIG", &at("farebox.toml"))
        .set("FAREBOX_PRICES__FOLDER", &at("prices"))
        .set(&format!("FAREBOX_PROVIDERS__{}__KEYS", named.to_uppercase()), "sk-their-key");
    let server = Server::start(options).await;
    let account = server.admin().create_account("payg").await;
    server.admin().grant(&account, "promo", "5").await;
    let arguments = ["import", "litellm", &at("config.yaml"), "--keys", &at("keys.json"), "--account", &account];
    let made = server.cli(&arguments);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let (name, key) = text.trim().split_once('\t').unwrap_or_else(|| panic!("{text}"));
    assert_eq!((name, key.starts_with("fb_"), text.lines().count()), ("ada", true, 1));
    let ada = Api::new(server.url(), Some(key));
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
        ada.post("/v1/chat/completions", &body).await
    };
    for model in ["assistant", "gpt"] {
        assert_eq!(ask(model).await.ok()["farebox"]["provider"], named, "{model}");
    }
    let refused = ask("local").await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (403, json!("key_limit")), "{}", refused.body);
    // A server that has no price for one of them makes the key without it, and others beside one that it refuses.
    let export = json!([
        {"token": "j", "key_alias": "bob", "models": ["assistant", "elsewhere"]},
        {"token": "k", "key_alias": "eve", "models": ["elsewhere"]},
        {"token": "l", "key_alias": "joe", "models": ["local"]},
    ]);
    fs::write(at("more.json"), export.to_string()).unwrap();
    let config = fs::read_to_string(at("config.yaml")).unwrap();
    let elsewhere = "model_list:\n- model_name: elsewhere\n  litellm_params: {model: groq/not-priced, api_key: sk-c}\n";
    fs::write(at("more.yaml"), config.replacen("model_list:\n", elsewhere, 1)).unwrap();
    let made = server.cli(&["import", "litellm", &at("more.yaml"), "--keys", &at("more.json"), "--account", &account]);
    let (text, told) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once('\t')).map(|(name, _)| name).collect();
    assert_eq!((names, made.status.code()), (vec!["bob", "joe"], Some(1)), "{told}");
    for line in [
        r#"the key "bob" is made without "groq/not-priced", which the server does not know"#,
        r#"the key "eve" is not made: models[0]: names no model or alias here"#,
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    let keys = server.admin().account(&account).await["keys"].as_array().unwrap().clone();
    let own: Vec<&Value> = keys.iter().filter(|key| key["name"] == "ada").collect();
    assert_eq!(own.len(), 1, "{keys:?}");
    server.admin().assert_audit().await;
    fs::remove_dir_all(&folder).unwrap();
}
