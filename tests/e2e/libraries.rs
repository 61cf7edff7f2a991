//! Libraries that applications call models by, unchanged, against the real binary before strict providers: `LangChain`,
//! pydantic-ai, Vercel's AI SDK, Mistral's and Anthropic's own. Each chats, streams, calls a tool, reads an answer that
//! fits a schema, and shows why it was refused. Their scripts are in `tests/sdk/`.

use std::process::Command;

use serde_json::json;

use crate::support::{
    client::Customer,
    fake_anthropic::FakeAnthropic,
    fake_gpt, fake_mistral,
    fake_provider::FakeProvider,
    node::node_script,
    python::{python_script, run},
    server::{Options, Server},
};

struct Stage {
    gpt: FakeProvider,
    claude: FakeAnthropic,
    mistral: FakeProvider,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (gpt, claude, mistral) = (fake_gpt::start(), FakeAnthropic::start(), fake_mistral::start());
        let options = Options::default().calling(&format!("{}/v1", gpt.url())).calling_anthropic(claude.url());
        let options = options.set("FAREBOX_PROVIDERS__MISTRAL__API_KEY", fake_mistral::KEY);
        let options = options.set("FAREBOX_PROVIDERS__MISTRAL__BASE_URL", mistral.url());
        let server = Server::start(options.set("FAREBOX_PROVIDERS__MISTRAL__RETRIES", "0")).await;
        let customer = server.admin().customer("payg", "50").await;
        Self { gpt, claude, mistral, server, customer }
    }

    /// Runs a script, which must say `ok`; all that it had made at a provider must be paid, and nothing else.
    async fn run(&self, prepare: impl FnOnce() -> Command + Send + 'static) {
        let poor = self.server.admin().customer("free", "0").await;
        self.server.admin().void_all(&poor).await;
        let (url, key) = (self.server.url().to_owned(), self.customer.key.clone());
        let work =
            move || run(prepare().env("FAREBOX_URL", url).env("FAREBOX_KEY", key).env("FAREBOX_POOR_KEY", poor.key));
        let output = tokio::task::spawn_blocking(work).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
        let is_charged = |path: &str| !path.contains("count_tokens");
        let at_claude = self.claude.requests().iter().filter(|asked| is_charged(&asked.path)).count();
        let asked = self.gpt.asked().len() + self.mistral.asked().len() + at_claude;
        let records = self.customer.api.get("/v1/requests?limit=200").await.ok()["data"].as_array().unwrap().clone();
        assert_eq!(records.len(), asked, "what was asked of a provider is recorded");
        for record in records {
            let is_paid = record["cost"].as_str().unwrap().parse::<billing::Nanos>().unwrap() > billing::Nanos::ZERO;
            assert!(record["ending"] == "completed" && is_paid && record["estimated"] == false, "{record}");
        }
        assert_eq!(self.customer.api.get("/v1/balance").await.ok()["held"], json!("0.00"));
        self.server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn langchain_calls_gpt_and_claude_in_three_formats() {
    Stage::set().await.run(|| python_script("langchain_python.py")).await;
}

#[tokio::test]
async fn pydantic_ai_calls_gpt_and_claude_in_three_formats() {
    Stage::set().await.run(|| python_script("pydantic_ai_python.py")).await;
}

#[tokio::test]
async fn mistrals_python_sdk_calls_mistral_and_gpt() {
    Stage::set().await.run(|| python_script("mistralai_python.py")).await;
}

#[tokio::test]
async fn vercels_ai_sdk_calls_gpt_and_claude_by_four_of_its_providers() {
    Stage::set().await.run(|| node_script("vercel_node.mjs")).await;
}

#[tokio::test]
async fn anthropics_node_sdk_calls_claude_and_gpt_and_throws_its_own_errors() {
    Stage::set().await.run(|| node_script("anthropic_node.mjs")).await;
}
