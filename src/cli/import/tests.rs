//! A realistic configuration, and each thing that has a counterpart or none. The printed settings are read by our own reader.

use std::{fs, path::Path};

use billing::Timestamp;
use serde_json::json;

use super::{file, keys, litellm, yaml};
use crate::{
    catalogue::aliases::{Aliases, By},
    config::{Overrides, Settings},
};

const CONFIG: &str = r#"
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 60
  - model_name: claude
    litellm_params: &anthropic
      model: anthropic/claude-sonnet-4-5
      api_key: os.environ/ANTHROPIC_API_KEY
  - model_name: claude-fast
    litellm_params:
      <<: *anthropic
      model: claude-haiku-4-5
  - model_name: chat            # three deployments of one group
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://example-eu.openai.azure.com/
      api_version: "2024-10-21"
      api_key: os.environ/AZURE_EU_KEY
      weight: 3
  - model_name: chat
    litellm_params:
      model: azure/gpt-4o-us
      api_base: os.environ/AZURE_US_BASE
      api_key: os.environ/AZURE_US_KEY
  - model_name: chat
    litellm_params: {model: groq/llama-3.3-70b-versatile, api_key: gsk-literal}
    model_info: {input_cost_per_token: 0.00000059, mode: chat}
  - model_name: local
    litellm_params:
      model: openai/qwen3-8b
      api_base: http://10.0.0.7:8000/v1
      api_key: none
      timeout: 30
  - model_name: embed
    litellm_params: {model: ollama/nomic-embed-text, api_base: "http://gpu:11434"}
  - model_name: "anthropic/*"
    litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY_2}
  - model_name: bedrock
    litellm_params: {model: bedrock/anthropic.claude-v2, aws_region_name: eu-central-1}
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-second, weight: 2}

litellm_settings:
  num_retries: 3
  drop_params: true
  request_timeout: 600
  fallbacks: [{"claude": ["gpt-4o", "nobody"]}, {"chat": ["claude"]}, {"ghost": ["claude"]}]
  context_window_fallbacks: [{"claude": ["gpt-4o"]}]
  callbacks: ["prometheus"]

router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {"gpt-4": "gpt-4o", "best": {"model": "claude", "hidden": true}, "lost": "nowhere"}
  redis_host: localhost

general_settings:
  master_key: sk-1234
  database_url: os.environ/DATABASE_URL
"#;

fn imported(text: &str) -> litellm::Imported {
    litellm::convert(yaml(text).unwrap())
}

/// The settings as our reader has them.
fn read(imported: &litellm::Imported, variables: &[(&str, &str)]) -> Settings {
    let folder = std::env::temp_dir().join(format!("farebox-import-{}", uuid::Uuid::new_v4().simple()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("farebox.toml");
    fs::write(&path, file(imported, Path::new("config.yaml"))).unwrap();
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let settings = Settings::load_from(&overrides, &variables).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    settings
}

const VARIABLES: [(&str, &str); 7] = [
    ("FAREBOX_PROVIDERS__OPENAI__KEYS", "${OPENAI_API_KEY}"),
    ("FAREBOX_PROVIDERS__ANTHROPIC__KEYS", "${ANTHROPIC_API_KEY},${ANTHROPIC_API_KEY_2}"),
    ("FAREBOX_PROVIDERS__AZURE__API_KEY", "${AZURE_EU_KEY}"),
    ("FAREBOX_PROVIDERS__AZURE_2__BASE_URL", "${AZURE_US_BASE%/}/openai/v1"),
    ("FAREBOX_PROVIDERS__AZURE_2__API_KEY", "${AZURE_US_KEY}"),
    ("", ""),
    ("", ""),
];

#[test]
fn a_configuration_becomes_settings_that_our_own_reader_takes() {
    let imported = imported(CONFIG);
    let needed: Vec<_> = imported.draft.variables();
    let expected = VARIABLES.iter().filter(|(name, _)| !name.is_empty());
    let expected: Vec<_> = expected.map(|(name, value)| ((*name).to_owned(), format!("\"{value}\""))).collect();
    assert_eq!(needed, expected);
    let settings = read(
        &imported,
        &[
            ("FAREBOX_PROVIDERS__OPENAI__KEYS", "sk-one"),
            ("FAREBOX_PROVIDERS__ANTHROPIC__KEYS", "sk-a,sk-b"),
            ("FAREBOX_PROVIDERS__AZURE__API_KEY", "az-eu"),
            ("FAREBOX_PROVIDERS__AZURE_2__BASE_URL", "https://example-us.openai.azure.com/openai/v1"),
            ("FAREBOX_PROVIDERS__AZURE_2__API_KEY", "az-us"),
        ],
    );
    let of = |name: &str| settings.providers.named(name).unwrap_or_else(|| panic!("{name}"));
    let address = |name: &str| of(name).base_url.as_deref().map(str::to_owned);
    let keys = |name: &str| {
        let provider = of(name);
        provider.api_key.iter().chain(&provider.keys).map(|key| key.expose().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((address("openai"), keys("openai")), (None, vec!["sk-second*2".to_owned(), "sk-one".to_owned()]));
    assert_eq!(keys("anthropic"), ["sk-a", "sk-b"]);
    assert_eq!(address("azure").as_deref(), Some("https://example-eu.openai.azure.com/openai/v1"));
    assert_eq!(
        (of("azure").key_header.as_deref(), of("azure_2").key_header.as_deref()),
        (Some("api-key"), Some("api-key"))
    );
    assert_eq!(address("groq").as_deref(), Some("https://api.groq.com/openai/v1"));
    assert_eq!(keys("groq"), ["gsk-literal"]);
    assert_eq!(address("10_0_0_7_8000").as_deref(), Some("http://10.0.0.7:8000/v1"));
    assert_eq!((address("ollama").as_deref(), keys("ollama")), (Some("http://gpu:11434/v1"), vec!["none".to_owned()]));
    assert!(["openai", "groq", "ollama"].iter().all(|name| of(name).retries == 3));
    assert_eq!(of("mistral").retries, 2, "it is not in the configuration");

    let aliases = Aliases::read(&settings.routing.aliases).unwrap();
    let models = |name: &str| aliases.way(name).map(|way| way.models.join(" "));
    assert_eq!(models("gpt-4o"), None, "the model's own name");
    assert_eq!(models("claude").as_deref(), Some("anthropic/claude-sonnet-4-5 openai/gpt-4o"));
    assert_eq!(models("claude-fast").as_deref(), Some("anthropic/claude-haiku-4-5"));
    assert_eq!(models("gpt-4").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(models("best"), models("claude"));
    assert_eq!(models("local").as_deref(), Some("10_0_0_7_8000/qwen3-8b"));
    let chat = aliases.way("chat").unwrap();
    assert_eq!(chat.models, ["azure/gpt-4o-eu", "azure_2/gpt-4o-us", "groq/llama-3.3-70b-versatile"]);
    assert_eq!(chat.by, By::Weight(vec![3, 1, 1]));
}

#[test]
fn what_has_no_counterpart_is_listed_by_its_path() {
    let imported = imported(CONFIG);
    let mut paths: Vec<&str> = imported.left.iter().map(|left| &*left.path).collect();
    paths.sort_unstable();
    let mut expected = [
        "model_list[0].litellm_params.rpm",
        "model_list[3].litellm_params.api_version",
        "model_list[5].model_info.input_cost_per_token",
        "model_list[5].model_info.mode",
        "model_list[6].litellm_params.timeout",
        "model_list[9].litellm_params.model",
        "model_list[9].litellm_params.aws_region_name",
        "litellm_settings.fallbacks[0].claude",
        "litellm_settings.fallbacks[1].chat",
        "litellm_settings.fallbacks[2].ghost",
        "litellm_settings.drop_params",
        "litellm_settings.request_timeout",
        "litellm_settings.context_window_fallbacks[0].claude",
        "litellm_settings.callbacks",
        "router_settings.model_group_alias.best.hidden",
        "router_settings.model_group_alias.lost",
        "router_settings.redis_host",
        "general_settings.master_key",
        "general_settings.database_url",
    ];
    expected.sort_unstable();
    assert_eq!(paths, expected);
    let why = |path: &str| imported.left.iter().find(|left| left.path == path).map(|left| &*left.why).unwrap();
    assert!(why("general_settings.master_key").contains("FAREBOX_ADMIN_TOKEN"));
    assert!(why("model_list[9].litellm_params.model").contains("bedrock/anthropic.claude-v2"));
    assert!(why("litellm_settings.fallbacks[0].claude").contains("nobody"));
    let unpriced: Vec<_> = imported.unpriced.iter().map(|name| &**name).collect();
    assert!(unpriced.contains(&"groq/llama-3.3-70b-versatile") && !unpriced.contains(&"openai/gpt-4o"), "{unpriced:?}");
    let text = file(&imported, Path::new("a\nb.yaml"));
    assert!(!text.contains("sk-1234") && text.lines().next().unwrap().contains("a b.yaml"), "{text}");
}

#[test]
fn strategies_and_defaults_are_those_of_aliases() {
    let group = |more: &str| {
        format!(
            "model_list:\n  - {{model_name: a, litellm_params: {{model: openai/gpt-4o}}}}\n  \
             - {{model_name: a, litellm_params: {{model: anthropic/claude-haiku-4-5, order: 1}}}}\n  \
             - {{model_name: b, litellm_params: {{model: mistral/mistral-small-latest}}}}\n{more}"
        )
    };
    let aliases = |more: &str| imported(&group(more)).draft.aliases;
    assert_eq!(aliases("")[0], "a=openai/gpt-4o*1|anthropic/claude-haiku-4-5*1");
    let by = |strategy: &str| aliases(&format!("router_settings: {{routing_strategy: {strategy}}}"))[0].clone();
    assert_eq!(by("latency-based-routing"), "a=fastest openai/gpt-4o|anthropic/claude-haiku-4-5");
    assert_eq!(by("cost-based-routing"), "a=cheapest openai/gpt-4o|anthropic/claude-haiku-4-5");
    assert_eq!(by("least-busy"), "a=openai/gpt-4o*1|anthropic/claude-haiku-4-5*1");
    let left = imported(&group("router_settings: {routing_strategy: least-busy}")).left;
    assert!(left.iter().any(|left| left.path == "router_settings.routing_strategy"), "{left:?}");
    let with_default = aliases("litellm_settings: {default_fallbacks: [a]}");
    assert_eq!(with_default[1], "b=mistral/mistral-small-latest>openai/gpt-4o>anthropic/claude-haiku-4-5");
    let ordered = imported(
        "model_list:\n  - {model_name: a, litellm_params: {model: openai/gpt-4o, order: 2}}\n  \
         - {model_name: a, litellm_params: {model: anthropic/claude-haiku-4-5, order: 1}}",
    );
    assert_eq!(ordered.draft.aliases, ["a=anthropic/claude-haiku-4-5>openai/gpt-4o"]);
    for settings in [imported(&group("")), ordered] {
        Aliases::read(&read(&settings, &[]).routing.aliases).unwrap();
    }
}

#[test]
fn what_is_no_configuration_comes_to_nothing_and_nothing_panics() {
    for text in ["{}", "[]", "a", "model_list: 3", "model_list: [3]", "model_list: [{}]", "router_settings: [1]"] {
        let imported = imported(text);
        assert!(imported.draft.providers.is_empty() && imported.draft.aliases.is_empty(), "{text}");
        assert!(["{}", "[]"].contains(&text) || !imported.left.is_empty(), "{text} is dropped in silence");
    }
    for (params, field) in [
        ("{model: openai/a b}", "model"),
        ("{model: nobody/x}", "model"),
        ("{model: hosted_vllm/x}", "api_base"),
        ("{model: openai/x, api_base: 'ftp://h'}", "api_base"),
        ("{model: openai/x, api_base: 'http://h/?v=1'}", "api_base"),
        ("{model: openai/x, api_base: os.environ/A B}", "api_base"),
        ("{model: 'groq/*'}", "model"),
        ("{api_key: x}", "model"),
    ] {
        let left = imported(&format!("model_list: [{{model_name: n, litellm_params: {params}}}]")).left;
        let path = format!("model_list[0].litellm_params.{field}");
        assert!(left.iter().any(|left| left.path == path), "{params}: {left:?}");
    }
}

#[test]
fn budgets_of_keys_become_limits_and_a_key_without_its_budget_is_not_made() {
    let names = imported(CONFIG).names;
    let export = json!({"keys": [
        {"token": "h1", "key_alias": "ada", "max_budget": 10.5, "budget_duration": "30d", "spend": 3, "models": ["chat", "nobody", "claude"]},
        {"token": "h2", "key_alias": "total", "max_budget": 5, "spend": 1.25, "models": [], "rpm_limit": 7},
        {"token": "h3", "key_alias": "each-quarter", "max_budget": 5, "budget_duration": "90d"},
        {"token": "h4", "key_alias": "blocked", "blocked": true},
        {"token": "h5", "key_alias": "old", "expires": "2020-01-01T00:00:00Z"},
        {"token": "h6", "key_alias": "spent", "max_budget": 1, "spend": 1},
        {"token": "h7", "key_alias": "strange", "models": ["nobody"]},
        {"token": "h8", "key_alias": "all", "models": ["all-proxy-models"], "expires": "2030-01-01T00:00:00+00:00"},
        {"token": "h9", "key_name": "sk-...x", "max_budget": 0.000_001, "budget_duration": "1d", "metadata": {"team": "x"}},
        {"token": "h10", "key_alias": "odd", "max_budget": "much"}
    ], "total_count": 10});
    let (keys, left) = keys::convert(export, &names, Timestamp(1_795_521_600_000));
    let bodies: Vec<_> = keys.iter().map(|key| key.body.clone()).collect();
    let models =
        ["azure/gpt-4o-eu", "azure_2/gpt-4o-us", "groq/llama-3.3-70b-versatile", "anthropic/claude-sonnet-4-5"];
    assert_eq!(
        bodies,
        [
            json!({"name": "ada", "limits": {"month": "10.50"}, "models": models}),
            json!({"name": "total", "limits": {"total": "3.75"}}),
            json!({"name": "all", "expires_at": "2030-01-01T00:00:00.000Z"}),
            json!({"name": "sk-...x", "limits": {"day": "0.000001"}}),
        ]
    );
    let told: Vec<_> = left.iter().map(|left| format!("{}: {}", left.path, left.why)).collect();
    for words in [
        "keys[0].models: the key \"ada\" is made without \"nobody\", which is no model of the configuration",
        "keys[1].rpm_limit: the key \"total\" is made without it",
        "keys[2]: the key \"each-quarter\" is not made: its budget of $5 each 90d has no counterpart",
        "keys[3]: the key \"blocked\" is not made: it is blocked",
        "keys[4]: the key \"old\" is not made: it expired at ",
        "keys[5]: the key \"spent\" is not made: its budget of $1 is used up",
        "keys[6]: the key \"strange\" is not made: it may use \"nobody\"",
        "keys[8].metadata.team: ",
        "keys[9]: the key \"odd\" is not made: ",
    ] {
        assert!(told.iter().any(|line| line.starts_with(words)), "{words} is not in {told:#?}");
    }
    assert_eq!(left.len(), 9, "{told:#?}");
    for nothing in [json!([]), json!({}), json!("x"), json!(null)] {
        assert!(keys::convert(nothing.clone(), &names, Timestamp(0)).0.len() <= 1, "{nothing}");
    }
}
