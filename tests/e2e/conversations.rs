//! Conversations that are kept here: responses go on from their items and are added to them, with any model, and only their
//! own account reads them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::Customer;
use crate::support::{
    client::{Answer, answer},
    fake_anthropic::FakeAnthropic,
    fake_responses::FakeResponses,
    python::{python_script, run},
    server::{Options, Server},
    with,
};

const ALL: &str = "/v1/conversations";

/// A gateway before GPT, which speaks responses, and Claude.
struct Stage {
    gpt: FakeResponses,
    claude: FakeAnthropic,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (gpt, claude) = (FakeResponses::start(), FakeAnthropic::start());
        let server = Server::start(Options::default().calling(gpt.url()).calling_anthropic(claude.url())).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { gpt, claude, server, customer }
    }

    async fn ask(&self, more: Value) -> Answer {
        self.customer.api.post("/v1/responses", &with(&json!({"model": "gpt-4o-mini"}), &more)).await
    }

    /// What GPT was asked last.
    fn asked(&self) -> Value {
        self.gpt.seen().last().unwrap().json()
    }

    async fn begin(&self, body: Value) -> String {
        self.customer.api.post(ALL, &body).await.ok()["id"].as_str().unwrap().to_owned()
    }

    async fn delete(&self, path: &str) -> Answer {
        answer(self.customer.api.request(Method::DELETE, path)).await
    }

    /// The texts of a conversation, oldest first.
    async fn texts(&self, id: &str) -> Vec<String> {
        let list = self.customer.api.get(&format!("{ALL}/{id}/items?order=asc&limit=100")).await.ok();
        let data = list["data"].as_array().unwrap().iter();
        data.map(|item| item["content"][0]["text"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

#[tokio::test]
async fn a_response_goes_on_from_a_conversation_and_is_added_to_it_with_any_model() {
    let stage = Stage::set().await;
    let id = stage.begin(json!({"items": [user("one")], "metadata": {"topic": "skies"}})).await;
    let first = stage.ask(json!({"input": "two", "conversation": id})).await.ok();
    assert_eq!((&first["conversation"], &first["status"]), (&json!({"id": id}), &json!("completed")));
    let asked = stage.asked();
    assert_eq!(asked["input"], json!([user("one"), user("two")]));
    assert!(asked.get("conversation").is_none(), "no provider gets its id: {asked}");
    assert_eq!(stage.texts(&id).await, ["one", "two", "Hello there."]);

    let streamed =
        json!({"model": "gpt-4o-mini", "input": [user("three")], "conversation": {"id": id}, "stream": true});
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&streamed).send().await.unwrap();
    let text = sent.text().await.unwrap();
    assert!(text.contains(&format!(r#""conversation":{{"id":"{id}"}}"#)), "{text}");
    assert_eq!(stage.asked()["input"], json!([user("one"), user("two"), first["output"][0], user("three")]));
    let claude = stage.ask(json!({"model": "claude-opus-5-5", "input": "four", "conversation": id})).await.ok();
    assert_eq!(claude["conversation"], json!({"id": id}));
    assert!(stage.claude.requests().last().unwrap().text.contains("three"), "Claude reads what GPT did");
    assert_eq!(stage.texts(&id).await.len(), 7);

    let quote = |conversation: Value| json!({"model": "gpt-4o-mini", "input": "five", "conversation": conversation});
    let tokens = async |body: Value| {
        let quoted = stage.customer.api.post("/v1/quote?route=/v1/responses", &body).await.ok();
        quoted["prompt_tokens"].as_u64().unwrap()
    };
    assert!(tokens(quote(json!(id))).await > tokens(quote(Value::Null)).await + 10, "all of it counts");
    assert_eq!(stage.texts(&id).await.len(), 7, "a quote adds nothing");

    // What came before a response of a conversation is kept there alone.
    for (more, field) in [
        (json!({"previous_response_id": first["id"]}), "previous_response_id"),
        (json!({"previous_response_id": first["id"], "conversation": id}), "conversation"),
        (json!({"conversation": id, "store": false}), "store"),
        (json!({"conversation": "conv_nobodys"}), "conversation"),
        (json!({"conversation": first["id"]}), "conversation"),
        (json!({"conversation": 7}), "conversation"),
        (json!({"previous_response_id": id}), "previous_response_id"),
    ] {
        let refused = stage.ask(with(&json!({"input": "x"}), &more)).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(field)),
            "{more}: {}",
            refused.body
        );
    }
    assert_eq!(stage.texts(&id).await.len(), 7);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_response_in_the_background_is_added_once_it_is_done_and_one_that_fails_is_not() {
    let stage = Stage::set().await;
    let id = stage.begin(json!({})).await;
    let queued = stage.ask(json!({"input": "one", "conversation": id, "background": true})).await.ok();
    assert_eq!(queued["conversation"], json!({"id": id}));
    let path = format!("/v1/responses/{}", queued["id"].as_str().unwrap());
    for _ in 0..200 {
        if stage.customer.api.get(&path).await.ok()["status"] == "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    for _ in 0..200 {
        if stage.texts(&id).await.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(stage.texts(&id).await, ["one", "Hello there."]);
    stage.gpt.script(crate::support::fake_responses::Turn::Fails(true));
    let failed = stage.ask(json!({"input": "two", "conversation": id})).await;
    assert_ne!(failed.json()["status"], "completed", "{}", failed.body);
    assert_eq!(stage.texts(&id).await.len(), 2);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_conversation_is_read_changed_and_ended_by_its_own_account_alone() {
    let mut stage = Stage::set().await;
    let id = stage.begin(json!({"items": [user("one"), user("two")], "metadata": {"topic": "a secret word"}})).await;
    let path = format!("{ALL}/{id}");
    let api = &stage.customer.api;
    let read = api.get(&path).await.ok();
    assert_eq!((&read["object"], &read["metadata"]["topic"]), (&json!("conversation"), &json!("a secret word")));
    let added = api.post(&format!("{path}/items"), &json!({"items": [user("three")]})).await.ok();
    assert_eq!((&added["object"], &added["data"][0]["content"][0]["text"]), (&json!("list"), &json!("three")));
    let changed = api.post(&path, &json!({"metadata": {"topic": "clouds"}})).await.ok();
    assert_eq!((&changed["metadata"], &changed["created_at"]), (&json!({"topic": "clouds"}), &read["created_at"]));
    let page = api.get(&format!("{path}/items?limit=2")).await.ok();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(true)));
    let next = format!("{path}/items?limit=2&after={}", page["last_id"].as_str().unwrap());
    assert_eq!(api.get(&next).await.ok()["data"][0]["content"][0]["text"], "one");
    let item = page["data"][0]["id"].as_str().unwrap();
    assert_eq!(api.get(&format!("{path}/items/{item}")).await.ok(), page["data"][0]);
    let left = stage.delete(&format!("{path}/items/{item}")).await.ok();
    assert_eq!(left["id"], json!(id));
    assert_eq!(stage.texts(&id).await, ["one", "two"]);
    assert_eq!(stage.delete(&format!("{path}/items/{item}")).await.status, 404);

    for (at, body, field) in [
        (ALL.to_owned(), json!({"items": vec![user("x"); 21]}), "items"),
        (ALL.to_owned(), json!({"items": [{"type": "item_reference", "id": "x"}]}), "items[0].type"),
        (ALL.to_owned(), json!({"metadata": {"a": 1}}), "metadata"),
        (ALL.to_owned(), json!({"name": "x"}), "name"),
        (path.clone(), json!({}), "metadata"),
        (format!("{path}/items"), json!({}), "items"),
    ] {
        let refused = api.post(&at, &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(field)), "{}", refused.body);
    }
    let other = stage.server.admin().customer("payg", "5").await;
    assert_eq!(other.api.get(&path).await.status, 404);
    assert_eq!(other.api.get(&format!("{path}/items")).await.status, 404);
    assert_eq!(answer(other.api.request(Method::DELETE, &path)).await.status, 404);
    let body = json!({"model": "gpt-4o-mini", "input": "x", "conversation": id});
    let refused = other.api.post("/v1/responses", &body).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("conversation")));
    assert!(stage.gpt.seen().is_empty(), "nothing was asked");
    assert_eq!(stage.delete(&format!("/v1/responses/{id}")).await.status, 404, "it is no response");

    stage.server.kill_nine();
    stage.server.restart().await;
    let api = stage.server.api(&stage.customer.key);
    assert_eq!(api.get(&path).await.ok()["metadata"], json!({"topic": "clouds"}), "a restart forgets nothing");
    let ended = answer(api.request(Method::DELETE, &path)).await.ok();
    assert_eq!(ended, json!({"id": id, "object": "conversation.deleted", "deleted": true}));
    assert_eq!(api.get(&path).await.status, 404);
}

#[tokio::test]
async fn an_item_of_a_conversation_is_named_by_its_id_while_it_is_there() {
    let stage = Stage::set().await;
    let id = stage.begin(json!({"items": [user("one")]})).await;
    let path = format!("{ALL}/{id}/items");
    let api = &stage.customer.api;
    let first = api.get(&path).await.ok()["data"][0]["id"].clone();
    let added = api.post(&path, &json!({"items": [user("two")]})).await.ok()["data"][0]["id"].clone();
    let naming = |id: &Value| json!([{"type": "item_reference", "id": id}, user("and now?")]);
    for (item, text) in [(&first, "one"), (&added, "two")] {
        stage.ask(json!({"input": naming(item)})).await.ok();
        assert_eq!(stage.asked()["input"], json!([user(text), user("and now?")]));
    }
    // Its answer is an item of the conversation and of a response, and stays that of the response.
    let answered = stage.ask(json!({"input": "three", "conversation": id})).await.ok();
    stage.delete(&format!("{path}/{}", added.as_str().unwrap())).await.ok();
    let other = stage.server.admin().customer("payg", "5").await;
    let body = json!({"model": "gpt-4o-mini", "input": naming(&first)});
    for refused in [stage.ask(json!({"input": naming(&added)})).await, other.api.post("/v1/responses", &body).await] {
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("input")), "{}", refused.body);
    }
    stage.delete(&format!("{ALL}/{id}")).await.ok();
    stage.ask(json!({"input": naming(&answered["output"][0]["id"])})).await.ok();
    assert_eq!(stage.ask(json!({"input": naming(&first)})).await.status, 400, "its conversation is gone");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_conversation_that_is_full_is_refused_before_anything_runs() {
    let stage = Stage::set().await;
    let long = |megabytes: usize| user(&"x".repeat(megabytes << 20));
    let id = stage.begin(json!({"items": [long(6)]})).await;
    let refused = stage.customer.api.post(&format!("{ALL}/{id}/items"), &json!({"items": [long(2)]})).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("items")), "{}", refused.body);
    let refused = stage.ask(json!({"input": [long(2)], "conversation": id})).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("conversation")), "{}", refused.body);
    assert!(stage.gpt.seen().is_empty());
    assert_eq!(stage.customer.api.post(ALL, &json!({"items": [long(8)]})).await.status, 400);
}

#[tokio::test]
async fn items_that_are_added_at_once_are_all_there() {
    let stage = Stage::set().await;
    let id = stage.begin(json!({})).await;
    let path = format!("{ALL}/{id}/items");
    let add = async |place: usize| {
        let body = json!({"items": [user(&place.to_string())]});
        stage.customer.api.post(&path, &body).await.status
    };
    let added = futures::future::join_all((0..10).map(add)).await;
    assert_eq!(added, [200; 10]);
    let mut texts = stage.texts(&id).await;
    texts.sort();
    assert_eq!(texts, (0..10).map(|place| place.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn openais_sdk_talks_in_conversations_as_it_does_anywhere() {
    let stage = Stage::set().await;
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let script = move || {
        let mut script = python_script("openai_conversations.py");
        run(script.env("FAREBOX_URL", url).env("FAREBOX_KEY", key))
    };
    let output = tokio::task::spawn_blocking(script).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    stage.server.admin().assert_audit().await;
}
