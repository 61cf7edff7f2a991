//! Precedence, refusals and secrets, through the same functions as the gateway.

use super::{keys::Kind, *};

fn load(file: &str, variables: &[(&str, &str)], set: &[&str]) -> Result<Settings, ConfigError> {
    let path = env::temp_dir().join(format!("farebox-{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&path, file).unwrap();
    let overrides = Overrides {
        config: Some(path.clone()),
        set: set.iter().map(|pair| (*pair).to_owned()).collect(),
        ..Overrides::default()
    };
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let loaded = Settings::load_from(&overrides, &variables);
    std::fs::remove_file(&path).unwrap();
    loaded
}

fn refusal(file: &str, variables: &[(&str, &str)], set: &[&str]) -> String {
    load(file, variables, set).unwrap_err().to_string()
}

#[test]
fn a_keys_kind_is_that_of_its_setting() {
    let kind = |key: &str| keys::kind_of(key).unwrap();
    for (key, expected) in [
        ("listen", Kind::Text),
        ("admin_token", Kind::Text),
        ("redis.url", Kind::Text),
        ("traces.headers", Kind::Text),
        ("traces.one_in", Kind::Number),
        ("providers.openai.api_key", Kind::Text),
        ("webhooks.allow_private", Kind::Switch),
        ("limits.drains", Kind::Number),
        ("runtime.threads", Kind::Number),
        ("http.cors_origins", Kind::List),
    ] {
        assert_eq!(kind(key), expected, "{key}");
    }
    assert!(keys::kind_of("limits").is_none() && keys::kind_of("limits.nothing").is_none());
}

#[test]
fn an_empty_file_and_environment_give_the_defaults() {
    assert_eq!(load("", &[("PATH", "/bin"), ("FAREBOX_REDIS__URL", "")], &[]).unwrap(), Settings::default());
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let file = "[limits]\ndrains = 1\ndrain_seconds = 1\npool_queue = 1";
    let variables = [("FAREBOX_LIMITS__DRAINS", "2"), ("FAREBOX_LIMITS__DRAIN_SECONDS", "2")];
    let limits = load(file, &variables, &["limits.drains=3"]).unwrap().limits;
    assert_eq!((limits.drains, limits.drain_seconds, limits.pool_queue), (3, 2, 1));
    assert_eq!(limits.stop_seconds, Limits::default().stop_seconds);
}

#[test]
fn named_flags_go_over_all() {
    let overrides = Overrides {
        listen: Some("0.0.0.0:1".to_owned()),
        database_url: Some("sqlite://x.db".to_owned()),
        set: vec!["listen=0.0.0.0:2".to_owned()],
        ..Overrides::default()
    };
    let variables = [("FAREBOX_LISTEN".to_owned(), "0.0.0.0:3".to_owned())];
    let settings = Settings::load_from(&overrides, &variables).unwrap();
    assert_eq!((settings.listen.port(), settings.database.url.as_str()), (1, "sqlite://x.db"));
}

#[test]
fn a_token_of_digits_stays_text() {
    let settings = load("", &[("FAREBOX_ADMIN_TOKEN", "0012")], &[]).unwrap();
    assert_eq!(settings.admin_token.unwrap().expose(), "0012");
}

#[test]
fn the_file_may_be_named_by_a_variable_and_must_then_exist() {
    let variables = [("FAREBOX_CONFIG".to_owned(), "no/such.toml".to_owned())];
    let error = Settings::load_from(&Overrides::default(), &variables).unwrap_err();
    assert!(matches!(error, ConfigError::File { .. }) && error.to_string().contains("no/such.toml"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_by_name_with_its_nearest() {
    let in_file = refusal("[limits]\nbody_byte = 1", &[], &[]);
    assert!(
        in_file.contains("`limits.body_byte`") && in_file.contains("did you mean `limits.body_bytes`"),
        "{in_file}"
    );
    let in_environment = refusal("", &[("FAREBOX_LIMIT__DRAINS", "1")], &[]);
    assert!(in_environment.contains("FAREBOX_LIMIT__DRAINS") && in_environment.contains("FAREBOX_LIMITS__DRAINS"));
    assert!(refusal("", &[], &["colour=red"]).contains("unknown setting `colour` in the flags"));
    assert!(refusal("[limit]", &[], &[]).contains("`limit`"));
    assert!(refusal("[providers.openai.extra]\nx = 1", &[], &[]).contains("`providers.openai.extra.x`"));
}

#[test]
fn a_provider_of_any_name_has_the_settings_of_the_known_ones_and_needs_an_address() {
    let file = "[providers.groq]\nbase_url = 'https://g/openai/v1'\napi_key = 'k'\nformat = 'openai-compatible'";
    let set = load(file, &[("FAREBOX_PROVIDERS__MY_VLLM__BASE_URL", "http://v/v1")], &["providers.groq.retries=1"]);
    let providers = set.unwrap().providers;
    let groq = providers.named("groq").unwrap();
    assert_eq!((groq.format, groq.retries, groq.calls), (Some(ApiFormat::OpenAiCompatible), 1, 4_096));
    assert!(providers.named("my_vllm").is_some() && providers.all().count() == 7);
    for (variable, told) in [
        ("FAREBOX_PROVIDERS__GEMINI__API_KEY", "did you mean `providers.google`"),
        ("FAREBOX_PROVIDERS__OPENIA__API_KEY", "did you mean `providers.openai`"),
        ("FAREBOX_PROVIDERS__GROQ__API_KEY", "`providers.groq.base_url`: is required"),
        ("FAREBOX_PROVIDERS__GROQ__API_KEYS", "FAREBOX_PROVIDERS__GROQ__API_KEY`"),
    ] {
        let error = refusal("", &[(variable, "k")], &[]);
        assert!(error.contains(told), "{error}");
    }
    for (file, at) in [
        ("[providers.'A B']\nbase_url = 'http://x'", "providers.A B"),
        ("[providers.x]\nbase_url = 'http://x'\nformat = 'soap'", "providers.x.format"),
        ("[providers.x]\nbase_url = 'http://x'\nkey_header = 'a b'", "providers.x.key_header"),
        ("[providers.x]", "providers.x.base_url"),
        ("[providers.x]\nbase_url = 'https://x/v1?api-version=1'", "providers.x.base_url"),
        ("[providers.x]\nbase_url = 'https://me:secret@x/v1'", "providers.x.base_url"),
        ("[providers.x]\nbase_url = 'https://x'\nkey_header = 'Host'", "providers.x.key_header"),
    ] {
        let error = refusal(file, &[], &[]);
        assert!(error.contains(at), "{error}");
    }
}

#[test]
fn variables_that_are_not_settings_are_left_alone() {
    let others = [
        ("FAREBOX_CACHE", "x"),
        ("FAREBOX_TEST_POSTGRES", "x"),
        ("FAREBOX_PORT", "tcp://10.0.0.1:80"),
        ("FAREBOX_SERVICE_HOST", "10.0.0.1"),
    ];
    assert_eq!(load("", &others, &[]).unwrap(), Settings::default());
}

#[test]
fn origins_are_a_list_in_the_file_and_have_commas_in_a_variable() {
    let origins = |file: &str, variables: &[(&str, &str)]| load(file, variables, &[]).unwrap().http.cors_origins;
    let two = ["https://app.example.com", "http://localhost:3000"];
    assert_eq!(origins(&format!("[http]\ncors_origins = {two:?}"), &[]), two);
    assert_eq!(origins("", &[("FAREBOX_HTTP__CORS_ORIGINS", &two.join(", "))]), two);
    for wrong in ["https://app.example.com/", "app.example.com", "https://", "*,https://a.example", "https://A.example"]
    {
        let error = refusal("", &[("FAREBOX_HTTP__CORS_ORIGINS", wrong)], &[]);
        assert!(error.contains("`http.cors_origins`"), "{wrong}: {error}");
    }
}

#[test]
fn a_list_in_a_variable_may_be_as_the_file_has_it() {
    let aliases =
        |text: &str| load("", &[("FAREBOX_ROUTING__ALIASES", text)], &[]).map(|settings| settings.routing.aliases);
    let two = ["fast=gpt-5-mini>claude-haiku-4-5", "best=claude-opus-5-5"];
    assert_eq!(aliases(&two.join(" , ")).unwrap(), two);
    assert_eq!(aliases(r#" ["fast=gpt-5-mini>claude-haiku-4-5", "best=claude-opus-5-5"]"#).unwrap(), two);
    assert_eq!(aliases("[]").unwrap(), Vec::<String>::new());
    for wrong in [r#"["fast=gpt-5-mini""#, "[fast=gpt-5-mini]", r#"["fast=gpt-5-mini", 7]"#] {
        let error = refusal("", &[("FAREBOX_ROUTING__ALIASES", wrong)], &[]);
        assert!(error.contains("`routing.aliases`"), "{wrong}: {error}");
    }
}

#[test]
fn metrics_are_the_operators_unless_it_is_said_otherwise() {
    let metrics = |set: &[&str]| load("", &[], set).map(|settings| settings.http.metrics);
    assert_eq!(metrics(&[]), Ok(MetricsAt::Token));
    assert_eq!(metrics(&["http.metrics=open"]), Ok(MetricsAt::Open));
    let address = "127.0.0.1:9100".parse().unwrap();
    assert_eq!(metrics(&["http.metrics=127.0.0.1:9100"]), Ok(MetricsAt::Address(address)));
    let error = metrics(&["http.metrics=anyone"]).unwrap_err().to_string();
    assert!(error.contains("`http.metrics`") && error.contains("anyone"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_or_range_is_refused_by_key() {
    let refused = [
        ("limits.drains=many", "limits.drains"),
        ("limits.body_bytes=1", "limits.body_bytes"),
        ("limits.pool_queue=0", "limits.pool_queue"),
        ("webhooks.allow_private=perhaps", "webhooks.allow_private"),
        ("listen=nowhere", "listen"),
        ("clock=sundial", "clock"),
        ("limits.overdraft=always", "limits.overdraft"),
        ("database.url=mysql://x", "database.url"),
        ("redis.url=localhost", "redis.url"),
        ("traces.endpoint=localhost:4318", "traces.endpoint"),
        ("traces.endpoint=http://a@localhost:4318", "traces.endpoint"),
        ("traces.headers=authorization", "traces.headers"),
        ("traces.one_in=0", "traces.one_in"),
        ("limits.address_per_minute=60000001", "limits.address_per_minute"),
        ("providers.google.base_url=ftp://x", "providers.google.base_url"),
        ("providers.openai.api_key=a b", "providers.openai.api_key"),
        ("http.workers=0", "http.workers"),
        ("runtime.threads=4096", "runtime.threads"),
        ("runtime.sequences=0", "runtime.sequences"),
        ("runtime.sequences=257", "runtime.sequences"),
        ("runtime.cache_mib=0", "runtime.cache_mib"),
        ("runtime.device=gpu", "runtime.device"),
        ("log.level=farebox=loud", "log.level"),
        ("log.format=xml", "log.format"),
        ("payments.processor=stripe", "payments.stripe.secret_key"),
    ];
    for (pair, key) in refused {
        let error = load("", &[], &[pair]).unwrap_err();
        assert!(matches!(&error, ConfigError::Invalid { key: at, .. } if at == key), "{pair}: {error}");
    }
    assert!(refusal("[limits]\ndrains = 'x'", &[], &[]).contains("the settings file"));
    assert!(refusal("limits = 3", &[], &[]).contains("limits"));
    assert!(refusal("not toml", &[], &[]).contains("cannot be used"));
}

#[test]
fn the_links_certificate_is_whole_or_not_there() {
    let cluster = ["cluster.listen=127.0.0.1:0", "cluster.secret=thirty-two bytes that nodes share", "admin_token=t"];
    let with = |more: &[&str]| {
        let set: Vec<&str> = cluster.iter().chain(&["database.url=postgres://h/d"]).chain(more).copied().collect();
        load("", &[], &set).map(|settings| settings.cluster.tls.files().is_some()).map_err(|error| error.to_string())
    };
    let all = ["cluster.tls.certificate=a", "cluster.tls.key=b", "cluster.tls.authority=c"];
    assert_eq!((with(&[]), with(&all)), (Ok(false), Ok(true)));
    for (set, missing) in
        [(&all[..2], "authority"), (&all[1..], "certificate"), (&["cluster.tls.name=n"], "certificate")]
    {
        let refused = with(set).unwrap_err();
        assert!(refused.contains(&format!("cluster.tls.{missing}")), "{refused}");
    }
    assert!(refusal("", &[], &all).contains("cluster.listen"));
}

#[test]
fn cards_are_named_where_they_are_wanted_and_nowhere_else() {
    let of = |device: &str, listed: &str| {
        load(&format!("[runtime]\ndevice = '{device}'\n[pools]\ndevice = [{listed}]"), &[], &[])
    };
    let refused = |device: &str, listed: &str| match of(device, listed) {
        Err(ConfigError::Invalid { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("cuda", "'cpu 1GiB'"), "runtime.device");
    assert_eq!(refused("cpu", "'cuda:0 1GiB'"), "pools.device");
    assert!(of("cuda", "'cuda:0 1GiB', 'cpu 1GiB'").is_ok() && of("cuda", "").is_ok() && of("auto", "").is_ok());
}

#[test]
fn proxies_are_addresses_or_networks() {
    let proxies = |text: &str| load("", &[("FAREBOX_HTTP__TRUSTED_PROXIES", text)], &[]);
    let read = proxies("10.0.0.1,fd00::/8").unwrap().trusted_proxies();
    assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1/32", "fd00::/8"]);
    for wrong in ["nginx", "10.0.0.0/33", "10.0.0.1:80", "*"] {
        let error = proxies(wrong).unwrap_err().to_string();
        assert!(error.contains("`http.trusted_proxies`") && error.contains(wrong), "{error}");
    }
}

#[test]
fn browsers_get_no_key_but_the_one_that_is_meant_for_them() {
    let stripe = ["payments.processor=stripe", "payments.stripe.secret_key=a", "payments.stripe.webhook_secret=b"];
    let with = |key: &str| {
        let key = format!("payments.stripe.publishable_key={key}");
        load("", &[], &stripe.iter().copied().chain([key.as_str()]).collect::<Vec<_>>())
    };
    assert!(with("pk_test_51abc").is_ok());
    for wrong in ["sk_live_51abc", "rk_live_1", "pk_", "", "pk_live_1\" onload=\"x"] {
        let error = with(wrong).unwrap_err().to_string();
        assert!(error.contains("payments.stripe.publishable_key") && !error.contains("51abc"), "{error}");
    }
}

#[test]
fn the_test_clock_takes_no_real_money() {
    let stripe = ["payments.processor=stripe", "payments.stripe.secret_key=a", "payments.stripe.webhook_secret=b"];
    assert_eq!(load("", &[], &stripe).unwrap().payments.processor, Processor::Stripe);
    assert!(load("clock = 'test'", &[], &stripe).is_err());
    assert_eq!(load("clock = 'test'", &[], &[]).unwrap().clock, Clock::Test { from: None });
    let from = Clock::Test { from: Some("2026-11-28T10:12:00Z".parse().unwrap()) };
    assert_eq!(load("clock = 'test:2026-11-28T10:12:00Z'", &[], &[]).unwrap().clock, from);
    for wrong in ["tests", "test:noon", "system:2026-11-28", ""] {
        assert!(load(&format!("clock = '{wrong}'"), &[], &[]).is_err(), "{wrong}");
    }
}

#[test]
fn secrets_do_not_show() {
    let set = ["admin_token=hush1", "database.url=postgres://me:hush2@host/db", "providers.openai.api_key=hush3"];
    let settings = load("", &[], &set).unwrap();
    let shown = format!("{settings:?} {}", serde_json::to_string(&settings.admin_token).unwrap());
    assert!(!shown.contains("hush") && shown.contains("postgres://me:hidden@host/db"), "{shown}");
    assert_eq!(settings.database.url.as_str(), "postgres://me:hush2@host/db");
}
