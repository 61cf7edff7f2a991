//! A strict stand-in for a server of an operator's own that orders documents as Jina and vLLM do: it repeats them unless it
//! is told not to, and reports tokens in `usage`.

use serde_json::{Value, json};

use super::{
    fake_cohere::{ranked, words_of_pairs},
    fake_provider::{Asked, Dialect, FakeProvider, Said, stranger},
};

pub(crate) const KEY: &str = "vllm-test";
pub(crate) const MODEL: &str = "BAAI/bge-reranker-v2-m3";

pub(crate) fn start() -> FakeProvider {
    FakeProvider::start(Dialect { key_header: "authorization", fault, error, answer, is_stream: |_| false })
}

fn error(code: u16) -> Value {
    json!({"error": {"message": "scripted", "type": "BadRequestError", "param": null, "code": code}})
}

fn fault(asked: &Asked) -> Option<(u16, Value)> {
    let body = &asked.body;
    if asked.key != format!("Bearer {KEY}") {
        return Some((401, json!({"error": "Unauthorized"})));
    }
    if asked.target != "/v1/rerank" || body["model"] != MODEL {
        return Some((404, error(404)));
    }
    let known = ["model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"];
    let is_text = |value: &Value| value.is_string();
    let is_sound = is_text(&body["query"]) && body["documents"].as_array().is_some_and(|list| list.iter().all(is_text));
    (!is_sound || stranger(body, &known).is_some()).then(|| (400, error(400)))
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    let body = &asked.body;
    let mut results = ranked(body);
    if body["return_documents"] != false {
        for result in &mut results {
            let place = usize::try_from(result["index"].as_u64().unwrap()).unwrap();
            result["document"] = json!({"text": body["documents"][place], "multi_modal": null});
        }
    }
    let mut whole = json!({"id": "rerank-1", "model": body["model"], "results": results});
    if has_usage {
        let tokens = words_of_pairs(body);
        whole["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    Said { whole, pieces: Vec::new() }
}
