//! What operators see from outside: traces at a collector, the alerts and dashboards in `config/`, and that no secret and
//! nothing of what is asked or answered is in any of it.

use std::{path::Path, process::Command};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::{Customer, answer as send},
        collector::{Collector, Span},
        raw_provider::{RawProvider, answer},
        server::{Options, Server},
        socket::Socket,
        temporary,
    },
};

const CHAT: &str = "/v1/chat/completions";
const HEADER: (&str, &str) = ("x-collector-key", "c0llector-s3cret");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traced(options: Options, endpoint: &str) -> Options {
    options
        .set("FAREBOX_TRACES__ENDPOINT", endpoint)
        .set("FAREBOX_TRACES__HEADERS", &format!("{}={}", HEADER.0, HEADER.1))
        .set("FAREBOX_TRACES__SERVICE", "farebox-in-a-test")
}

/// A provider that says two words, and what it took.
fn provider() -> RawProvider {
    RawProvider::start(|asked| {
        if asked.body["user"] == "fails" {
            return answer(500, &[], "{\"error\": {\"message\": \"Broken\"}}");
        }
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9});
        if asked.body["stream"] == true {
            let chunk = |delta: Value, finish: Value, usage: Value| {
                let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
                let choices = if usage.is_null() { choices } else { json!([]) };
                let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
                    "choices": choices, "usage": usage});
                format!("data: {chunk}\n\n")
            };
            let body = chunk(json!({"role": "assistant", "content": "s3cret-answer"}), Value::Null, Value::Null)
                + &chunk(json!({}), json!("stop"), Value::Null)
                + &chunk(Value::Null, Value::Null, usage)
                + "data: [DONE]\n\n";
            return answer(200, &[("content-type", "text/event-stream")], &body);
        }
        let message = json!({"role": "assistant", "content": "s3cret-answer"});
        let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage});
        answer(200, &[("content-type", "application/json")], &body.to_string())
    })
}

fn hello(more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "s3cret-prompt"}]);
    crate::support::with(&json!({"model": "gpt-4o-mini", "messages": messages}), more)
}

async fn chat(customer: &Customer, body: &Value, context: Option<&str>) -> crate::support::client::Answer {
    let mut request = customer.api.request(Method::POST, CHAT).json(body);
    if let Some(context) = context {
        request = request.header("traceparent", context).header("tracestate", "vendor=1");
    }
    send(request).await
}

/// The one span of a name.
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans {name}: {spans:#?}");
    first
}

fn is_within(part: &Span, whole: &Span) {
    // A part's times may have been counted from another instant of the same clock.
    let slack = 2_000_000;
    assert_eq!(part.parent, whole.id, "{part:#?} {whole:#?}");
    assert!(part.times.0 + slack >= whole.times.0 && part.times.1 <= whole.times.1 + slack, "{part:#?} {whole:#?}");
}

#[tokio::test]
async fn a_request_is_one_trace_from_its_caller_to_its_provider() {
    let (collector, provider) = (Collector::start(HEADER), provider());
    let mut server = Server::start(traced(Options::default().calling(provider.url()), collector.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let context = format!("00-{TRACE}-{CALLER}-01");
    for is_streamed in [false, true] {
        let answered = chat(&customer, &hello(&json!({"stream": is_streamed})), Some(&context)).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        let id = answered.header("x-request-id").unwrap().to_owned();
        let spans = collector.trace(|span| span.of("farebox.request.id") == id).await;
        let root = spans.iter().find(|span| span.of("farebox.request.id") == id).unwrap();
        assert_eq!((&*root.name, root.kind), ("POST /v1/chat/completions", SpanKind::Server));
        assert_eq!((&*root.trace, &*root.parent, root.of("http.response.status_code")), (TRACE, CALLER, "200"));
        assert!(!root.has_failed && root.of("farebox.cost.nanos").parse::<i64>().unwrap() > 0, "{root:?}");
        let own: Vec<Span> = {
            let within = |span: &&Span| span.parent == root.id;
            let mut own: Vec<_> = spans.iter().filter(within).cloned().collect();
            let deeper: Vec<_> =
                spans.iter().filter(|span| own.iter().any(|own| own.id == span.parent)).cloned().collect();
            own.extend(deeper);
            own
        };
        for name in ["account", "chat gpt-4o-mini", "settle"] {
            is_within(one(&own, name), root);
        }
        is_within(one(&own, "log append"), one(&own, "account"));
        assert_eq!(one(&own, "account").of("farebox.account.id"), customer.id);
        let call = one(&own, "chat gpt-4o-mini");
        assert_eq!(call.kind, SpanKind::Client);
        for (key, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.response.finish_reasons", "stop"),
            ("gen_ai.usage.input_tokens", "7"),
            ("gen_ai.usage.output_tokens", "2"),
        ] {
            assert_eq!(call.of(key), value, "{key} of {call:?}");
        }
        // The provider is told the call's span, in the same trace, with what the caller's tracing system adds.
        let asked = provider.asked().pop().unwrap().head.to_ascii_lowercase();
        assert_eq!(asked.matches("traceparent: ").count(), 1, "{asked}");
        assert!(asked.contains(&format!("traceparent: 00-{TRACE}-{}-01", call.id)), "{asked}");
        assert!(asked.contains("tracestate: vendor=1"), "{asked}");
    }
    // A caller that keeps its trace to itself has none here, and one without a trace has a new one. What fails is told so.
    let unkept = chat(&customer, &hello(&json!({})), Some(&format!("00-{TRACE}-{CALLER}-00"))).await;
    assert_eq!(unkept.status, 200);
    let asked = provider.asked().pop().unwrap().head.to_ascii_lowercase();
    assert!(asked.contains(&format!("traceparent: 00-{TRACE}-{CALLER}-00")), "passed on as it came: {asked}");
    let failed = chat(&customer, &hello(&json!({"user": "fails"})), Some("nonsense")).await;
    assert_eq!(failed.status, 502, "{}", failed.body);
    let id = failed.header("x-request-id").unwrap().to_owned();
    let spans = collector.trace(|span| span.of("farebox.request.id") == id).await;
    let root = spans.iter().find(|span| span.of("farebox.request.id") == id).unwrap();
    assert!(root.has_failed && root.of("error.type") == "502" && root.parent.is_empty() && root.trace != TRACE);
    let call = spans.iter().find(|span| span.name == "chat gpt-4o-mini").unwrap();
    assert!(call.has_failed && call.of("error.type") == "provider_error", "{call:?}");
    // A request of a live socket is a trace of its own.
    let mut socket = Socket::open(server.url(), &customer.key).await;
    socket.send(&json!({"type": "chat.create", "id": "a", "body": hello(&json!({}))})).await;
    let created = socket.next_of("chat.created").await;
    socket.next_of("chat.done").await;
    let id = created["request_id"].as_str().unwrap().to_owned();
    let spans = collector.trace(|span| span.of("farebox.request.id") == id).await;
    assert_eq!(one(&spans, "chat.create").kind, SpanKind::Server);
    assert_eq!(one(&spans, "chat gpt-4o-mini").of("gen_ai.usage.input_tokens"), "7");
    // The last spans are sent before the process ends.
    let last = customer.api.get("/v1/balance").await;
    let last = last.header("x-request-id").map(str::to_owned);
    assert!(server.stop().await.success(), "{}", server.logs());
    if let Some(last) = last {
        collector.trace(|span| span.of("farebox.request.id") == last).await;
    }
    let unkept = unkept.header("x-request-id").unwrap();
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains(unkept), "it was not to be kept");
}

#[tokio::test]
async fn an_open_model_has_its_stages_and_a_refusal_its_reason() {
    let collector = Collector::start(HEADER);
    let server = Server::start(traced(open::options().await, collector.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let answered = customer.api.post(CHAT, &open::ask("Name a color.", &json!({"max_tokens": 3}))).await;
    let id = answered.header("x-request-id").unwrap().to_owned();
    assert_eq!(answered.status, 200, "{}", answered.body);
    let spans = collector.trace(|span| span.of("farebox.request.id") == id).await;
    let run = one(&spans, &format!("chat {}", open::MODEL));
    assert_eq!((run.kind, run.of("gen_ai.provider.name")), (SpanKind::Internal, "farebox"));
    for stage in ["load", "queue", "compute"] {
        is_within(one(&spans, stage), run);
    }
    let poor = server.admin().customer("payg", "0").await;
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 100_000, "messages": [{"role": "user", "content": "Hi"}]});
    let refused = loop {
        let refused = poor.api.post(CHAT, &body).await;
        if refused.status != 200 {
            break refused;
        }
    };
    let id = refused.header("x-request-id").unwrap().to_owned();
    let spans = collector.trace(|span| span.of("farebox.request.id") == id).await;
    let root = spans.iter().find(|span| span.of("farebox.request.id") == id).unwrap();
    assert_eq!(root.of("http.response.status_code"), refused.status.to_string());
    assert!(!root.has_failed, "a refusal is no failure of the gateway");
}

#[tokio::test]
async fn a_collector_that_is_away_delays_nothing() {
    let provider = provider();
    let away = format!("http://127.0.0.1:{}", crate::support::free_port());
    let mut server = Server::start(traced(Options::default().calling(provider.url()), &away)).await;
    let customer = server.admin().customer("payg", "5").await;
    for _ in 0..20 {
        assert_eq!(chat(&customer, &hello(&json!({})), None).await.status, 200);
    }
    server.says("spans can't be exported").await;
    let metrics = server.api(Server::admin_token()).get("/metrics").await.body;
    assert!(metrics.contains("farebox_spans_total{outcome=\"lost\"}"), "{metrics}");
    assert!(server.stop().await.success(), "{}", server.logs());
}

#[tokio::test]
async fn no_secret_and_nothing_that_is_asked_or_answered_is_in_any_output() {
    let (collector, provider) = (Collector::start(HEADER), provider());
    let options = Options::default()
        .calling(provider.url())
        .set("FAREBOX_PROVIDERS__OPENAI__API_KEY", "sk-s3cret-of-the-operator")
        .set("FAREBOX_LOG__LEVEL", "trace")
        .set("FAREBOX_LOG__FORMAT", "json");
    let server = Server::start(traced(options, collector.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut ids = Vec::new();
    for (body, own_key) in [
        (hello(&json!({})), None),
        (hello(&json!({"stream": true})), None),
        (hello(&json!({"user": "fails"})), None),
        (hello(&json!({})), Some("sk-s3cret-of-the-caller")),
        (json!({"model": "s3cret-model", "messages": []}), None),
    ] {
        let mut request = customer.api.request(Method::POST, CHAT).json(&body);
        if let Some(key) = own_key {
            request = request.header("provider-key", key);
        }
        ids.push(send(request).await.header("x-request-id").unwrap().to_owned());
    }
    let bought = json!({"amount": "10", "payment_method": "pm_s3cret_card"});
    customer.api.post("/v1/credits/purchase", &bought).await;
    let stranger = server.api("fb_s3cretkey000_s3cretsecretsecretsecretsecretsecretsec").get("/v1/balance").await;
    assert_eq!(stranger.status, 401);
    let guess = server.api("s3cret-guess-of-the-operators-token").get("/admin/v1/actors").await;
    assert_eq!(guess.status, 401);
    collector.trace(|span| span.of("farebox.request.id") == ids[1]).await;
    let metrics = server.api(Server::admin_token()).get("/metrics").await.body;
    let (logs, sent) = (server.logs(), String::from_utf8_lossy(&collector.bytes()).into_owned());
    // Where the collector's own key is sent is the collector.
    let sent = sent.replace(HEADER.1, "");
    let secret_of_key = customer.key.rsplit('_').next().unwrap();
    for (place, text) in [("the log", &logs), ("metrics", &metrics), ("spans", &sent)] {
        assert!(text.len() > 1_000, "{place}: {text}");
        for secret in ["s3cret", secret_of_key, Server::admin_token()] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {place}: {line:?}");
        }
    }
    // Each line of the log is an object.
    let lines: Vec<&str> = logs.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() > 20 && lines.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{logs}");
}

/// Runs Prometheus's own checker; `None` where it is not installed.
fn promtool(arguments: &[&str], folder: &Path) -> Option<String> {
    let Ok(output) = Command::new("promtool").args(arguments).current_dir(folder).output() else {
        let is_required = std::env::var("FAREBOX_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "promtool is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(said)
}

/// The product's sources.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn alerts_can_be_loaded_say_what_they_should_and_have_a_page_of_the_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("config/prometheus/farebox.yaml")).unwrap();
    let runbook = std::fs::read_to_string(root.join("docs/runbook.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let pages: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(alerts.len() > 15);
    assert_eq!(alerts, pages, "each alert has its page, in the same order");
    for alert in &alerts {
        assert!(rules.contains(&format!("runbook: \"docs/runbook.md#{}\"", alert.to_ascii_lowercase())), "{alert}");
    }
    // A value that no code writes is never seen.
    let mut code = String::new();
    for folder in ["src", "actors", "billing/src"] {
        sources(&root.join(folder), &mut code);
    }
    for value in rules.split("=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let is_pattern = value.contains('.');
        assert!(is_pattern || value == "farebox" || code.contains(&format!("\"{value}\"")), "no code writes {value}");
    }
    let folder = root.join("config/prometheus");
    let Some(_) = promtool(&["check", "rules", "farebox.yaml"], &folder) else { return };
    promtool(&["test", "rules", "tests.yaml"], &folder);
    // The dashboard's questions, as rules.
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(root.join("config/grafana/farebox.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let questions: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$instance", ".*"))
        .collect();
    assert!(questions.len() > 30);
    let rules: Vec<_> =
        questions.iter().enumerate().map(|(at, expr)| json!({"record": format!("q{at}"), "expr": expr})).collect();
    let made = temporary("questions");
    std::fs::create_dir_all(&made).unwrap();
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(made.join("rules.json"), groups.to_string()).unwrap();
    promtool(&["check", "rules", "rules.json"], &made);
    std::fs::remove_dir_all(&made).unwrap();
}

#[tokio::test]
async fn prometheus_finds_no_fault_with_the_metrics() {
    let provider = provider();
    let server = Server::start(Options::default().calling(provider.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    assert_eq!(chat(&customer, &hello(&json!({"stream": true})), None).await.status, 200);
    let metrics = server.api(Server::admin_token()).get("/metrics").await.body;
    let file = temporary("metrics");
    std::fs::write(&file, &metrics).unwrap();
    let checked = Command::new("sh").args(["-c", "promtool check metrics < \"$0\""]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    std::fs::remove_file(&file).unwrap();
    if said.contains("not found") {
        promtool(&["--version"], Path::new("."));
        return;
    }
    // Its advice on names and units is no fault of the format: 3 is advice, 1 is what can't be read.
    assert_ne!(checked.status.code(), Some(1), "{said}");
}
