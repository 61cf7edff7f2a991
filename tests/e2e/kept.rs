//! Responses that are kept here: a request continues them by their ids with any model, only its own account reads them,
//! and no provider gets an id.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    fake_anthropic::FakeAnthropic,
    fake_responses::{FakeResponses, Turn},
    server::{Options, Server},
    with,
};

/// A gateway before GPT, which speaks responses, and Claude.
pub(crate) struct Stage {
    pub(crate) gpt: FakeResponses,
    pub(crate) claude: FakeAnthropic,
    pub(crate) server: Server,
    pub(crate) customer: Customer,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_with(Options::default()).await
    }

    pub(crate) async fn set_with(options: Options) -> Self {
        let (gpt, claude) = (FakeResponses::start(), FakeAnthropic::start());
        let server = Server::start(options.calling(gpt.url()).calling_anthropic(claude.url())).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { gpt, claude, server, customer }
    }

    async fn ask(&self, more: Value) -> Value {
        self.customer.api.post("/v1/responses", &with(&json!({"model": "gpt-4o-mini"}), &more)).await.ok()
    }

    /// What the provider was asked last.
    fn asked(&self) -> Value {
        self.gpt.seen().last().unwrap().json()
    }
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

#[tokio::test]
async fn a_response_continues_another_and_the_provider_gets_the_items() {
    let stage = Stage::set().await;
    let first = stage.ask(json!({"input": "one"})).await;
    let second = stage.ask(json!({"input": [user("two")], "previous_response_id": first["id"]})).await;
    assert_eq!((&second["previous_response_id"], &second["status"]), (&first["id"], &json!("completed")));
    let body = json!({"model": "gpt-4o-mini", "input": "three", "previous_response_id": second["id"], "stream": true});
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let text = sent.text().await.unwrap();
    assert!(text.contains(r#""previous_response_id":"resp_2""#), "{text}");
    let asked = stage.asked();
    let expected = json!([user("one"), first["output"][0], user("two"), second["output"][0], user("three")]);
    assert_eq!((&asked["input"], asked.get("previous_response_id")), (&expected, None));

    // The streamed one is kept too, and a quote counts all that came before.
    let quote = json!({"model": "gpt-4o-mini", "input": "four", "previous_response_id": "resp_3"});
    let quote = stage.customer.api.post("/v1/quote?route=/v1/responses", &quote).await.ok();
    let alone = json!({"model": "gpt-4o-mini", "input": "four"});
    let alone = stage.customer.api.post("/v1/quote?route=/v1/responses", &alone).await.ok();
    assert!(quote["prompt_tokens"].as_u64() > alone["prompt_tokens"].as_u64().map(|tokens| tokens + 10), "{quote}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_response_of_an_earlier_ones_id_replaces_nothing_and_has_one_of_its_own() {
    let stage = Stage::set().await;
    stage.gpt.script(Turn::Says("The first."));
    let first = stage.ask(json!({"input": "one"})).await;
    assert_eq!(first["id"], "resp_1");
    for stream in [false, true] {
        stage.gpt.script(Turn::Repeats);
        let body = json!({"model": "gpt-4o-mini", "input": "two", "stream": stream});
        let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
        let text = sent.text().await.unwrap();
        let id = if stream {
            let data = text.split("\n\n").filter_map(|event| event.split_once("data: "));
            let mut ids: Vec<Value> = data
                .filter_map(|(_, data)| serde_json::from_str::<Value>(data).unwrap().get("response").cloned())
                .map(|response| response["id"].clone())
                .collect();
            assert!(ids.len() >= 2, "{text}");
            ids.dedup();
            assert_eq!(ids.len(), 1, "one name from the first event on: {text}");
            ids.remove(0)
        } else {
            serde_json::from_str::<Value>(&text).unwrap()["id"].clone()
        };
        assert_ne!(id, "resp_1");
        let kept = stage.customer.api.get(&format!("/v1/responses/{}", id.as_str().unwrap())).await.ok();
        assert_eq!((&kept["id"], &kept["output"][0]["content"][0]["text"]), (&id, &json!("Hello there.")));
        let kept = stage.customer.api.get("/v1/responses/resp_1").await.ok();
        assert_eq!(kept["output"][0]["content"][0]["text"], "The first.", "it stays");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_conversation_goes_on_with_a_model_of_another_provider_and_keeps_its_proofs() {
    let stage = Stage::set().await;
    let tools = json!([{"type": "function", "name": "sky", "parameters": {"type": "object"}, "strict": false}]);
    let claude = json!({"model": "claude-opus-5-5", "tools": tools, "reasoning": {"effort": "high"}});
    let first = stage.ask(with(&claude, &json!({"input": "What is the sky like?"}))).await;
    let kinds: Vec<_> = first["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"reasoning"), "{first}");
    assert!(!first["output"].to_string().contains("encrypted_content"), "nobody asked for it");
    let result_of = |response: &Value| {
        let items = response["output"].as_array().unwrap();
        let call = items.iter().find(|item| item["type"] == "function_call").unwrap();
        json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "blue"}])
    };
    let second = with(&claude, &json!({"input": result_of(&first), "previous_response_id": first["id"]}));
    let second = stage.ask(second).await;
    let asked = stage.claude.requests().last().unwrap().text.clone();
    assert!(asked.contains("\"signature\""), "Claude gets its own proof back: {asked}");
    stage.gpt.script(Turn::Calls("sky", "{}".into()));
    let called = stage.ask(json!({"input": "Look", "tools": tools, "previous_response_id": second["id"]})).await;
    assert!(!stage.asked().to_string().contains("sig-of-the-fake"), "and nobody else does: {}", stage.asked());
    let result = result_of(&called);
    stage.ask(json!({"input": result, "previous_response_id": called["id"]})).await;
    let input = stage.asked()["input"].as_array().unwrap().clone();
    assert_eq!(input.last(), result.as_array().unwrap().last());
    assert!(input.iter().any(|item| item["type"] == "function_call"), "{input:?}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_item_is_named_by_its_id_and_only_by_its_own_account() {
    let stage = Stage::set().await;
    stage.gpt.script(Turn::Calls("sky", "{}".into()));
    let first = stage.ask(json!({"input": "Look"})).await;
    let reference = json!({"type": "item_reference", "id": first["output"][0]["id"]});
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "blue"});
    let second = stage.ask(json!({"input": [user("Look"), reference, output]})).await;
    assert_eq!(stage.asked()["input"], json!([user("Look"), first["output"][0], output]));

    let other = stage.server.admin().customer("payg", "5").await;
    let before = stage.gpt.seen().len();
    for (body, field) in [
        (json!({"model": "gpt-4o-mini", "input": [user("x"), reference]}), "input"),
        (json!({"model": "gpt-4o-mini", "input": "x", "previous_response_id": first["id"]}), "previous_response_id"),
        (json!({"model": "gpt-4o-mini", "input": "x", "previous_response_id": "resp_nobodys"}), "previous_response_id"),
        (json!({"model": "gpt-4o-mini", "input": "x", "previous_response_id": 7}), "previous_response_id"),
    ] {
        let refused = other.api.post("/v1/responses", &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(field)), "{}", refused.body);
    }
    // However it is spelled, no provider gets an id.
    let hidden = r#"{"model":"gpt-4o-mini","input":"x","previous\u005fresponse_id":"resp_1"}"#;
    let refused = other.api.request(Method::POST, "/v1/responses").header("content-type", "application/json");
    assert_eq!(refused.body(hidden).send().await.unwrap().status(), 400);
    assert_eq!(stage.gpt.seen().len(), before, "nothing was asked");
    let id = second["id"].as_str().unwrap();
    for method in [Method::GET, Method::DELETE] {
        let sent = other.api.request(method.clone(), &format!("/v1/responses/{id}")).send().await.unwrap();
        assert_eq!(sent.status(), 404, "{method}");
    }
    assert_eq!(other.api.get("/v1/requests").await.ok()["data"], json!([]), "and nothing was held");
}

#[tokio::test]
async fn a_response_is_read_listed_and_forgotten() {
    let stage = Stage::set().await;
    let first = stage.ask(json!({"input": "one"})).await;
    let second = stage.ask(json!({"input": "two", "previous_response_id": first["id"]})).await;
    let at = |id: &Value, rest: &str| format!("/v1/responses/{}{rest}", id.as_str().unwrap());
    assert_eq!(stage.customer.api.get(&at(&second["id"], "")).await.ok(), second);
    let list =
        async |query: &str| stage.customer.api.get(&at(&second["id"], &format!("/input_items{query}"))).await.ok();
    let newest = list("").await;
    let texts = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (texts(&newest), &newest["has_more"]),
        (vec!["two".into(), "Hello there.".into(), "one".into()], &json!(false))
    );
    let page = list("?limit=1&order=asc").await;
    assert_eq!((texts(&page), &page["has_more"]), (vec!["one".to_owned()], &json!(true)));
    let next = list(&format!("?order=asc&after={}", page["last_id"].as_str().unwrap())).await;
    assert_eq!(texts(&next), ["Hello there.", "two"]);
    let cancel = stage.customer.api.post(&at(&second["id"], "/cancel"), &json!({})).await;
    assert_eq!(cancel.status, 400, "{}", cancel.body);
    // Its errors are read by OpenAI's clients.
    let api = &stage.customer.api;
    let path = |rest: &str| format!("/v1/responses/resp_nobodys{rest}");
    let delete = |rest: &str| crate::support::client::answer(api.request(Method::DELETE, &path(rest)));
    let stranger = stage.server.api("fb_000000000000_0000000000000000000000000000000000000000");
    let refused = [
        (404, api.get(&path("")).await),
        (404, api.get(&path("/input_items")).await),
        (404, api.post(&path("/cancel"), &json!({})).await),
        (401, stranger.get(&path("")).await),
        (401, stranger.get(&path("/input_items")).await),
        (401, stranger.post(&path("/cancel"), &json!({})).await),
        (405, api.post(&path(""), &json!({})).await),
        (405, delete("/input_items").await),
        (405, api.get(&path("/cancel")).await),
    ];
    for (status, refused) in refused.iter().chain([&(400, cancel)]) {
        assert_eq!(refused.status, *status, "{}", refused.body);
        assert!(refused.json()["error"]["message"].is_string(), "{}", refused.body);
    }

    let gone = stage.customer.api.request(Method::DELETE, &at(&first["id"], "")).send().await.unwrap();
    assert_eq!(gone.json::<Value>().await.unwrap(), json!({"id": first["id"], "object": "response", "deleted": true}));
    assert_eq!(stage.customer.api.get(&at(&first["id"], "")).await.status, 404);
    let lost = json!({"model": "gpt-4o-mini", "input": "three", "previous_response_id": second["id"]});
    let lost = stage.customer.api.post("/v1/responses", &lost).await;
    assert_eq!((lost.status, &lost.json()["error"]["param"]), (400, &json!("previous_response_id")), "{}", lost.body);
}

#[tokio::test]
async fn what_must_not_be_kept_is_not_and_a_restart_forgets_nothing_else() {
    let mut stage = Stage::set().await;
    let secret = stage.ask(json!({"input": "a secret word", "store": false})).await;
    let refused = stage.customer.api.get(&format!("/v1/responses/{}", secret["id"].as_str().unwrap())).await;
    assert_eq!(refused.status, 404);
    let kept = stage.ask(json!({"input": "another secret word"})).await;
    let body = json!({"model": "gpt-4o-mini", "input": "x"});
    let own = stage.customer.api.request(Method::POST, "/v1/responses").header("provider-key", "sk-own").json(&body);
    let own: Value = own.send().await.unwrap().json().await.unwrap();
    let refused = stage.customer.api.get(&format!("/v1/responses/{}", own["id"].as_str().unwrap())).await;
    assert_eq!(refused.status, 404, "with the caller's own key its provider keeps it");
    stage.server.kill_nine();
    let folder = stage.server.folder().join("data");
    // With PostgreSQL there is no such file.
    let is_sqlite = std::env::var("FAREBOX_TEST_DATABASE").as_deref() != Ok("postgres");
    assert_eq!(folder.join("farebox.db").is_file(), is_sqlite);
    for file in ["farebox.db", "farebox.db-wal"] {
        let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
        let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!has(b"secret word"), "{file} has the text in clear");
    }
    stage.server.restart().await;
    let api = stage.server.api(&stage.customer.key);
    assert_eq!(api.get(&format!("/v1/responses/{}", kept["id"].as_str().unwrap())).await.ok()["id"], kept["id"]);
}
