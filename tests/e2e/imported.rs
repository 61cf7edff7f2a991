//! Open models from their file to their answers: a small model written here is imported beside a running server, which
//! serves it at once; what a request asks for is honoured or refused by name, what is too long is refused before anything
//! is held, and a broken model costs nothing.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::Customer,
        server::{Options, Server},
        socket::Socket,
        tiny::{self, Tiny},
        with,
    },
};

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";

struct Stage {
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn new() -> Self {
        let library =
            tokio::task::spawn_blocking(|| open::cached("onnxruntime/1.31.1/libonnxruntime.so")).await.unwrap();
        let options = Options::default().set("FAREBOX_RUNTIME__ONNXRUNTIME", library.to_str().unwrap());
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { server, customer }
    }

    /// `farebox models import`, where the server looks; what it said, and whether it went well.
    fn import(&self, name: &str, tiny: &Tiny) -> (bool, String) {
        let file = self.server.folder().join(format!("{name}.gguf"));
        std::fs::write(&file, tiny.bytes()).unwrap();
        self.models(&["import", "--name", name, file.to_str().unwrap()], None)
    }

    /// `farebox models`, where the server looks, with ONNX Runtime or without; what it said, and whether it went well.
    fn models(&self, arguments: &[&str], library: Option<&Path>) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.arg("models").args(arguments).current_dir(self.server.folder());
        command.envs(library.map(|library| ("FAREBOX_RUNTIME__ONNXRUNTIME", library)));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    async fn with(name: &str, tiny: &Tiny) -> Self {
        let stage = Self::new().await;
        let (done, said) = stage.import(name, tiny);
        assert!(done, "{said}");
        stage
    }

    async fn ok(&self, path: &str, body: &Value) -> Value {
        self.customer.api.post(path, body).await.ok()
    }

    /// Status, code and field of a refusal.
    async fn refused(&self, path: &str, body: &Value) -> (u16, String, String) {
        let answer = self.customer.api.post(path, body).await;
        let error = if path == "/v1/quote" { answer.json() } else { answer.json()["error"].clone() };
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        (answer.status, text("code"), text(if path == "/v1/quote" { "field" } else { "param" }))
    }

    async fn nothing_happened(&self) {
        assert_eq!(self.customer.api.get("/v1/requests").await.ok()["data"], json!([]));
        assert_eq!(self.customer.api.get("/v1/holds").await.ok()["data"], json!([]));
    }
}

fn prompt(text: &str) -> Value {
    json!({"model": "m", "prompt": text, "max_tokens": 2, "temperature": 0})
}

fn chat(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 2, "temperature": 0})
}

#[tokio::test]
async fn an_imported_model_is_served_by_the_server_that_runs() {
    let stage = Stage::new().await;
    assert_eq!(stage.customer.api.post(COMPLETION, &prompt("a")).await.status, 404);
    let listed = |list: Value| list["data"].as_array().unwrap().iter().any(|model| model["id"] == "m");
    assert!(!listed(stage.customer.api.get("/v1/models").await.ok()));
    let (done, said) = stage.import("m", &Tiny::new());
    assert!(done && said.contains("next request"), "{said}");
    assert_eq!(stage.ok(COMPLETION, &prompt("a")).await["usage"]["prompt_tokens"], 1);
    assert!(listed(stage.customer.api.get("/v1/models").await.ok()));
    // Imported anew under its name, it is the new one.
    std::fs::remove_dir_all(stage.server.folder().join("data/models/m")).unwrap();
    assert!(stage.import("m", &Tiny::new().key("tokenizer.ggml.add_bos_token", tiny::Value::Flag(true))).0);
    assert_eq!(stage.ok(COMPLETION, &prompt("a")).await["usage"]["prompt_tokens"], 2);
    let (done, said) = stage.import("broken", &Tiny::new().template("{% for x in %}"));
    assert!(!done && said.contains("template") && said.lines().count() == 1, "one message: {said}");
    assert!(!stage.server.folder().join("data/models/broken").exists());
    stage.server.admin().assert_audit().await;
}

/// A model's card tells how its products are computed, and `farebox models check` measures it again.
#[tokio::test]
async fn an_import_is_tried_and_its_card_says_what_was_found() {
    let stage = Stage::new().await;
    let library = open::cached("onnxruntime/1.31.1/libonnxruntime.so");
    let card = |name: &str| -> Value {
        let path = stage.server.folder().join("data/models").join(name).join("farebox.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    // Rounded to 8 bits, one large number hides all others.
    let rough = Tiny::new().change("output_norm.weight", |weights| weights[0] = 3000.0);
    let rough =
        rough.change("output.weight", |weights| weights.chunks_mut(32).for_each(|row| row[0] = 0.0)).quantized();
    for (name, tiny, level) in
        [("fine", Tiny::new().quantized(), 4), ("rough", rough.clone(), 1), ("floats", Tiny::new(), 1)]
    {
        let file = stage.server.folder().join(format!("{name}.gguf"));
        std::fs::write(&file, tiny.bytes()).unwrap();
        let (done, said) = stage.models(&["import", "--name", name, file.to_str().unwrap()], Some(&library));
        assert!(done && (said.contains(&format!("accuracy level {level}")) || name == "floats"), "{name}: {said}");
        let accuracy = &card(name)["accuracy"];
        assert_eq!(accuracy["level"], level, "{name}: {accuracy}");
        assert_eq!(accuracy["same_first"].as_f64().unwrap() >= 0.95, name != "rough", "{name}: {accuracy}");
        assert_eq!(accuracy["positions"] == 0, name == "floats", "{name}: {accuracy}");
        let asked = with(&prompt("a"), &json!({"model": name}));
        assert_eq!(stage.ok(COMPLETION, &asked).await["usage"]["completion_tokens"], 2);
    }
    let (sound, said) = stage.models(&["check"], Some(&library));
    assert!(sound && said.lines().count() == 3, "{said}");
    assert!(said.contains("fine  accuracy level 4") && said.contains("rough  accuracy level 1"), "{said}");
    let (sound, said) = stage.models(&["check", "nobody"], Some(&library));
    assert!(!sound && said.contains("no model nobody"), "{said}");
    // Imported where nothing runs, a model is not tried; the check finds what it is.
    let (done, said) = stage.import("untried", &rough);
    assert!(done && said.contains("not checked") && said.contains("farebox models check untried"), "{said}");
    assert_eq!(card("untried")["accuracy"], Value::Null);
    let (sound, said) = stage.models(&["check", "untried", "--json"], Some(&library));
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((sound, &found[0]["suffices"]), (false, &json!(false)), "{said}");
    assert!(found[0]["measured"]["same_first"].as_f64().unwrap() < 0.95, "{said}");
    let (sound, said) = stage.models(&["check", "untried"], None);
    assert!(!sound && said.contains("libonnxruntime.so"), "{said}");
}

#[tokio::test]
async fn a_field_is_honoured_or_refused_by_name_on_every_way_in() {
    let stage = Stage::with("m", &Tiny::new()).await;
    for (more, field) in [
        (json!({"min_p": 0.9}), "min_p"),
        (json!({"repetition_penalty": 5.0}), "repetition_penalty"),
        (json!({"guided_regex": "yes|no"}), "guided_regex"),
        (json!({"temprature": 0}), "temprature"),
        (json!({"n_predict": 2}), "n_predict"),
        (json!({"logit_bias": {"259": 1}}), "logit_bias"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"stream": true, "stream_options": {"include_usge": true}}), "stream_options.include_usge"),
        (json!({"dry_multiplier": 1}), "dry_multiplier"),
    ] {
        for (path, body) in [(CHAT, chat("x")), (COMPLETION, prompt("x"))] {
            let body = with(&body, &more);
            let wanted = (400, "invalid_request".to_owned(), field.to_owned());
            assert_eq!(stage.refused(path, &body).await, wanted, "{path} {more}");
            assert_eq!(stage.refused("/v1/quote", &body).await, wanted, "{path} {more}");
        }
    }
    for (messages, field) in [
        (json!([{"role": "user", "content": [{"type": "text", "text": 5}]}]), "messages[0].content"),
        (json!([{"role": "user", "content": "x", "prefix": true}]), "messages[0].prefix"),
    ] {
        let body = with(&chat("x"), &json!({"messages": messages}));
        assert_eq!(stage.refused(CHAT, &body).await.2, field, "{body}");
    }
    let mut socket = Socket::open(stage.server.url(), &stage.customer.key).await;
    socket.send(&json!({"type": "chat.create", "id": "a", "body": with(&chat("x"), &json!({"min_p": 0.5}))})).await;
    let error = socket.next_of("error").await;
    assert_eq!((&error["code"], &error["field"]), (&json!("invalid_request"), &json!("min_p")), "{error}");
    stage.nothing_happened().await;
    // What asks for nothing is taken.
    let nothing = json!({"user": "u", "metadata": {"a": "b"}, "store": false, "temperature": null, "frequency_penalty": 0, "n": 1,
        "top_k": -1, "min_p": 0, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": false, "stop": null});
    for (path, body) in [(CHAT, chat("x")), (COMPLETION, prompt("x"))] {
        assert_eq!(stage.ok(path, &with(&body, &nothing)).await["usage"]["prompt_tokens"], 1, "{path}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_at_once_and_by_the_quote() {
    let stage = Stage::with("m", &Tiny::new()).await;
    let long = "x".repeat(200);
    let exceeded = |field: &str| (400, "context_length_exceeded".to_owned(), field.to_owned());
    for (path, body, field) in [
        (COMPLETION, prompt(&long), "prompt"),
        (CHAT, chat(&long), "messages"),
        (CHAT, chat(&"x".repeat(128)), "messages"),
        (CHAT, with(&chat("x"), &json!({"max_tokens": 128})), "max_tokens"),
        (CHAT, with(&chat("x"), &json!({"max_completion_tokens": 500})), "max_completion_tokens"),
    ] {
        assert_eq!(stage.refused(path, &body).await, exceeded(field), "{body}");
        let quoted = stage.customer.api.post("/v1/quote", &body).await;
        assert_eq!(
            (quoted.status, &quoted.json()["code"]),
            (400, &json!("context_length_exceeded")),
            "{}",
            quoted.body
        );
        assert_eq!(quoted.json()["context_length"], 128);
    }
    let answer = stage.customer.api.post(COMPLETION, &prompt(&long)).await.json();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("128 tokens") && message.contains("200"), "{message}");
    stage.nothing_happened().await;
    let quote = stage.ok("/v1/quote", &with(&prompt(&"x".repeat(20)), &json!({"n": 2, "max_tokens": 5}))).await;
    assert_eq!(
        (&quote["prompt_tokens"], &quote["max_output_tokens"], &quote["admitted"]),
        (&json!(20), &json!(10), &json!(true))
    );
    // Of OpenAI's usual limit as much as there is room for.
    for (prompt, output) in [(100, 16), (120, 8)] {
        let open_ended = json!({"model": "m", "prompt": "x".repeat(prompt)});
        assert_eq!(stage.ok("/v1/quote", &open_ended).await["max_output_tokens"], output);
    }
    let whole = with(&prompt(&"x".repeat(126)), &json!({"logit_bias": {"256": -100}}));
    assert_eq!(stage.ok(COMPLETION, &whole).await["usage"]["total_tokens"], 128, "all of the context");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn log_probabilities_of_completions_are_whole() {
    let stage = Stage::with("m", &Tiny::new()).await;
    let asked =
        json!({"echo": true, "logprobs": 2, "max_tokens": 3, "logit_bias": {"256": -100, "258": -100, "240": 100}});
    let answer = stage.ok(COMPLETION, &with(&prompt("é!"), &asked)).await;
    let (choice, listed) = (&answer["choices"][0], &answer["choices"][0]["logprobs"]);
    // Two bytes of one character, one of its own, and the beginnings of characters that never come.
    let (tokens, offsets) = (listed["tokens"].as_array().unwrap(), &listed["text_offset"]);
    assert_eq!(json!(tokens[..3]), json!(["bytes:\\xc3", "bytes:\\xa9", "!"]), "{answer}");
    assert_eq!((tokens.len(), &tokens[3]), (6, &json!("bytes:\\xf0")), "{answer}");
    assert_eq!(json!(offsets.as_array().unwrap()[..4]), json!([0, 0, 1, 2]), "{answer}");
    assert!(choice["text"].as_str().unwrap().starts_with("é!"));
    assert_eq!((&listed["token_logprobs"][0], &listed["top_logprobs"][0]), (&json!(null), &json!(null)));
    for (at, token) in tokens.iter().enumerate().skip(1) {
        let top = listed["top_logprobs"][at].as_object().unwrap();
        assert!((2..=3).contains(&top.len()), "{top:?}");
        assert_eq!(top[token.as_str().unwrap()], listed["token_logprobs"][at], "the chosen one is among them");
    }
    let alone = stage.ok(COMPLETION, &with(&prompt("é!"), &with(&asked, &json!({"logprobs": 0, "echo": false})))).await;
    let top = &alone["choices"][0]["logprobs"]["top_logprobs"];
    assert!(top.as_array().unwrap().iter().all(|top| top.as_object().unwrap().len() == 1), "{top}");
    let scored =
        stage.ok(COMPLETION, &with(&prompt("abc"), &json!({"echo": true, "logprobs": 1, "max_tokens": 0}))).await;
    assert_eq!(
        (&scored["choices"][0]["text"], &scored["usage"]["completion_tokens"]),
        (&json!("abc"), &json!(0)),
        "{scored}"
    );
    assert_eq!(scored["choices"][0]["logprobs"]["tokens"], json!(["a", "b", "c"]));

    let body = with(&prompt("é!"), &with(&asked, &json!({"stream": true})));
    let streamed = stage.customer.api.post(COMPLETION, &body).await;
    let data = streamed.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    let joined = |field: &str| -> Vec<Value> {
        let lists = chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"][field].as_array());
        lists.flatten().cloned().collect()
    };
    for field in ["tokens", "text_offset", "token_logprobs", "top_logprobs"] {
        assert_eq!(json!(joined(field)), listed[field], "{field} in pieces are those of the whole");
    }
    let chat = stage
        .ok(CHAT, &with(&chat("x"), &json!({"logprobs": true, "top_logprobs": 3, "logit_bias": {"240": 100}})))
        .await;
    let first = &chat["choices"][0]["logprobs"]["content"][0];
    assert_eq!((&first["token"], &first["bytes"]), (&json!("\\xf0"), &json!([0xf0])), "{first}");
    assert_eq!(first["top_logprobs"].as_array().unwrap().len(), 3);
    assert!(first["top_logprobs"].as_array().unwrap().iter().all(|top| !top["bytes"].as_array().unwrap().is_empty()));
}

#[tokio::test]
async fn scores_that_are_no_numbers_cost_nothing() {
    let broken = Tiny::new().change("output.weight", |weights| weights[65 * 32..66 * 32].fill(3e38));
    let stage = Stage::with("m", &broken).await;
    let before = stage.customer.api.get("/v1/balance").await.ok()["available"].clone();
    for stream in [false, true] {
        let answer = stage.customer.api.post(COMPLETION, &with(&prompt("xA"), &json!({"stream": stream}))).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (500, &json!("model_error")), "{}", answer.body);
    }
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["available"], &balance["held"]), (&before, &json!("0.00")));
    let metrics = stage.server.get("/metrics").await.body;
    assert!(metrics.contains("farebox_engine_not_finite_total{model=\"m\"} 2"), "{metrics}");
    stage.server.says("not finite").await;
    stage.server.admin().assert_audit().await;
}
