//! Endpoints of an operator's own: any server that is compatible with a known format, by settings and a price file alone.

use std::fs;

use serde_json::json;

use crate::support::{
    client::{Customer, answer},
    fake_anthropic::FakeAnthropic,
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    temporary,
};

/// The models of two endpoints: one has a name that OpenAI has too.
const PRICES: [(&str, &str); 2] = [
    (
        "groq.toml",
        r#"
provider = "groq"
[[model]]
id = "openai/gpt-oss-120b"
context = 131072
max_output = 65536
price = { input = "0.15", output = "0.60" }
[[model]]
id = "gpt-4o-mini"
context = 128000
max_output = 16384
price = { input = "15.00", output = "60.00" }
[[model]]
id = "text-embedding-mine"
task = "embedding"
context = 8192
price = { per_million = { "tokens.input" = "1.00" } }
"#,
    ),
    (
        "claude-here.toml",
        r#"
provider = "claude-here"
[[model]]
id = "my-claude"
context = 200000
max_output = 8192
price = { input = "1.00", output = "2.00" }
"#,
    ),
];

struct Stage {
    openai: FakeOpenAi,
    groq: FakeOpenAi,
    claude: FakeAnthropic,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (openai, groq, claude) = (FakeOpenAi::start(), FakeOpenAi::start(), FakeAnthropic::start());
        let folder = temporary("prices");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in PRICES {
            fs::write(folder.join(name), text).unwrap();
        }
        let options = Options::default()
            .calling(openai.url())
            .set("FAREBOX_PRICES__FOLDER", folder.to_str().unwrap())
            .set("FAREBOX_PROVIDERS__GROQ__BASE_URL", groq.url())
            .set("FAREBOX_PROVIDERS__GROQ__API_KEY", "sk-groq")
            .set("FAREBOX_PROVIDERS__GROQ__RETRIES", "0")
            .set("FAREBOX_PROVIDERS__CLAUDE-HERE__BASE_URL", claude.url())
            .set("FAREBOX_PROVIDERS__CLAUDE-HERE__API_KEY", "sk-ant-test")
            .set("FAREBOX_PROVIDERS__CLAUDE-HERE__FORMAT", "anthropic");
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { openai, groq, claude, server, customer }
    }

    /// The cost of the newest request.
    async fn cost(&self) -> String {
        self.customer.api.get("/v1/requests").await.ok()["data"][0]["cost"].as_str().unwrap().to_owned()
    }
}

const NAME: &str = "groq/openai/gpt-oss-120b";

#[tokio::test]
async fn any_surface_reaches_a_compatible_endpoint_at_the_operators_price() {
    let stage = Stage::set().await;
    let messages = json!([{"role": "user", "content": "Say hello to me"}]);
    let chat = json!({"model": NAME, "messages": messages, "max_tokens": 6, "service_tier": "auto"});
    let message = json!({"model": NAME, "messages": messages, "max_tokens": 6, "system": "Be brief"});
    let response =
        json!({"model": NAME, "input": "Say hello to me", "instructions": "Be brief", "max_output_tokens": 6});
    // (7 x 0.15 + 6 x 0.60) / 1e6 x 1.02, and five tokens more for the instructions.
    for (path, body, text, cost) in [
        ("/v1/chat/completions", &chat, "/choices/0/message/content", "0.000004743"),
        ("/v1/messages", &message, "/content/0/text", "0.000005508"),
        ("/v1/responses", &response, "/output/0/content/0/text", "0.000005508"),
    ] {
        let answer = stage.customer.api.post(path, body).await.ok();
        assert_eq!(answer.pointer(text), Some(&json!("Hello from the fake provider.")), "{path}: {answer}");
        assert_eq!(stage.cost().await, cost, "{path}");
    }
    let asked = stage.groq.requests();
    assert!(asked.iter().all(|asked| asked["model"] == "openai/gpt-oss-120b"), "{asked:?}");
    assert!(asked.iter().all(|asked| asked["max_tokens"] == 6 && asked.get("service_tier").is_none()), "{asked:?}");
    assert!(asked[1..].iter().all(|asked| asked["messages"][0] == json!({"role": "system", "content": "Be brief"})));
    let embedding = json!({"model": "text-embedding-mine", "input": ["one two", "three"]});
    let vectors = stage.customer.api.post("/v1/embeddings", &embedding).await.ok();
    assert_eq!((vectors["data"].as_array().unwrap().len(), &*stage.cost().await), (2, "0.00000306"));
    assert!(stage.openai.requests().is_empty());
    // An endpoint of the operator's may ask for no key: a caller's own key is none there, and an empty one is none anywhere.
    let calls = stage.groq.requests().len();
    for (model, key) in [(NAME, "anything"), ("gpt-4o-mini", ""), ("gpt-4o-mini", " ")] {
        let body = json!({"model": model, "messages": messages});
        let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
        let refused = answer(request.header("provider-key", key)).await;
        let param = refused.json()["error"]["param"].clone();
        assert_eq!((refused.status, param), (400, json!("provider-key")), "{model} {key:?}: {}", refused.body);
    }
    assert_eq!((stage.groq.requests().len(), stage.openai.requests().len()), (calls, 0));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_name_that_a_known_provider_has_too_stays_that_providers() {
    let stage = Stage::set().await;
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
        stage.customer.api.post("/v1/chat/completions", &body).await.ok()["model"].clone()
    };
    assert_eq!(ask("gpt-4o-mini").await, "gpt-4o-mini");
    assert_eq!((stage.openai.requests().len(), stage.groq.requests().len()), (1, 0));
    ask("groq/gpt-4o-mini").await;
    assert_eq!((stage.openai.requests().len(), stage.groq.requests().len()), (1, 1));
    assert_eq!(stage.openai.requests()[0]["service_tier"], "default");
    let listed = stage.customer.api.get("/v1/models").await.ok();
    let provider = |id: &str| {
        let mut named = listed["data"].as_array().unwrap().iter().filter(|model| model["id"] == id);
        (named.next().map(|model| model["owned_by"].clone()), named.count())
    };
    assert_eq!(provider("gpt-4o-mini"), (Some(json!("openai")), 0));
    assert_eq!(provider("groq/gpt-4o-mini"), (Some(json!("groq")), 0));
}

#[tokio::test]
async fn an_endpoint_may_speak_another_known_format_and_falls_back_as_any() {
    let stage = Stage::set().await;
    let body = json!({"model": "my-claude", "max_tokens": 20, "messages": [{"role": "user", "content": "two words"}]});
    let answer = stage.customer.api.post("/v1/messages", &body).await.ok();
    assert_eq!(answer["type"], "message", "{answer}");
    assert_eq!(stage.claude.requests().len(), 1);
    assert!(stage.cost().await.parse::<billing::Nanos>().unwrap() > billing::Nanos::ZERO);
    stage.groq.script(Behaviour::Status(503));
    let body = json!({"model": NAME, "models": ["my-claude"], "max_tokens": 20,
        "messages": [{"role": "user", "content": "two words"}]});
    let answer = stage.customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.header("x-farebox-route"), Some(&*format!("{NAME} 503, my-claude")), "{}", answer.body);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_endpoint_is_watched_as_any_provider() {
    let stage = Stage::set().await;
    let actors = stage.server.admin().0.get("/admin/v1/actors").await.ok().to_string();
    assert!(["groq", "claude-here"].iter().all(|name| actors.contains(&format!("\"{name}\""))), "{actors}");
}

#[tokio::test]
async fn a_bare_name_of_two_endpoints_is_refused_unless_an_alias_decides() {
    let (one, two) = (FakeOpenAi::start(), FakeOpenAi::start());
    let folder = temporary("prices");
    fs::create_dir_all(&folder).unwrap();
    for provider in ["east", "west"] {
        let models = ["qwen-9", "decided"].map(|id| {
            format!("[[model]]\nid = {id:?}\ncontext = 8000\nmax_output = 800\nprice = {{ input = \"1\", output = \"2\" }}\n")
        });
        let text = format!("provider = {provider:?}\n{}", models.concat());
        fs::write(folder.join(format!("{provider}.toml")), text).unwrap();
    }
    let mut options = Options::default()
        .set("FAREBOX_PRICES__FOLDER", folder.to_str().unwrap())
        .set("FAREBOX_ROUTING__ALIASES", "decided=west/decided>east/decided");
    for (provider, fake) in [("EAST", &one), ("WEST", &two)] {
        options = options
            .set(&format!("FAREBOX_PROVIDERS__{provider}__BASE_URL"), fake.url())
            .set(&format!("FAREBOX_PROVIDERS__{provider}__API_KEY"), "sk-x");
    }
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello to me"}]});
        customer.api.post("/v1/chat/completions", &body).await
    };
    let refused = ask("qwen-9").await;
    let error = refused.json();
    assert_eq!((refused.status, &error["error"]["param"]), (400, &json!("model")), "{error}");
    assert_eq!(error["nearest"], json!(["east/qwen-9", "west/qwen-9"]));
    for (model, provider) in [("east/qwen-9", "east"), ("west/qwen-9", "west"), ("decided", "west")] {
        assert_eq!(ask(model).await.ok()["farebox"]["provider"], provider, "{model}");
    }
    let listed = customer.api.get("/v1/models").await.ok();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(names.contains(&"east/qwen-9") && names.contains(&"west/qwen-9") && !names.contains(&"qwen-9"));
    // In a key's list it is both.
    let key = customer.api.post("/v1/keys", &json!({"models": ["qwen-9"]})).await.ok();
    let own = server.api(key["key"].as_str().unwrap());
    let listed = own.get("/v1/models").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(customer.api.get("/v1/models/qwen-9").await.status, 400);
    server.admin().assert_audit().await;
}
