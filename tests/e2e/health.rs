//! A gateway that has just started says it is alive and ready, and answers what it does not know in its own words.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    fake_openai::FakeOpenAi,
    server::{Options, Server},
    with,
};

#[tokio::test]
async fn a_started_gateway_is_alive_and_ready() {
    let server = Server::start(Options::default()).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_our_form() {
    let server = Server::start(Options::default()).await;
    let answer = server.get("/no/such/path").await;
    assert_eq!(answer.status, 404);
    let body = answer.json();
    assert_eq!(body["status"], 404, "{body}");
    assert_eq!(body["error"], "Not Found", "{body}");
    for field in ["message", "code", "request_id"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {body}");
    }
    assert_eq!(answer.header("x-request-id"), body["request_id"].as_str(), "{body}");
}

#[tokio::test]
async fn a_gateway_stops_when_asked_and_starts_again_with_its_data() {
    let mut server = Server::start(Options::default()).await;
    let status = server.stop().await;
    assert!(status.success(), "{status}\n{}", server.logs());
    server.restart().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.kill_nine();
    server.restart().await;
    assert_eq!(server.get("/readyz").await.status, 200);
}

/// The value of a line of `/metrics`.
fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{metrics}")).parse().unwrap()
}

/// `/metrics`, once no message waits any more: what is never counted down again fails here.
async fn settled_metrics(server: &Server) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = server.get("/metrics").await.body;
        let waiting =
            |kind: &&str| value(&metrics, &format!("farebox_actor_mailbox_messages{{kind=\"{kind}\"}}")) > 0.0;
        if !["account", "journal"].iter().any(waiting) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "messages wait that nobody handles:\n{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn metrics_say_what_actors_handled_and_how_long_that_took() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    for _ in 0..3 {
        assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 200);
    }
    let metrics = settled_metrics(&server).await;
    assert!(metrics.contains("farebox_requests_total{ending=\"completed\",provider=\"openai\"} 3\n"), "{metrics}");
    for kind in ["account", "journal"] {
        assert!(value(&metrics, &format!("farebox_actor_messages_total{{kind=\"{kind}\"}}")) >= 6.0, "{metrics}");
        for sum in ["farebox_actor_waited_seconds_total", "farebox_actor_busy_seconds_total"] {
            let seconds = value(&metrics, &format!("{sum}{{kind=\"{kind}\"}}"));
            assert!(seconds > 0.0 && seconds < 60.0, "{metrics}");
            assert!(metrics.contains(&format!("# TYPE {sum} counter")), "{metrics}");
        }
    }
}

#[tokio::test]
async fn every_metric_says_what_it_is_and_no_client_makes_its_labels() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    for more in [json!({"stream": true}), json!({})] {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        assert_eq!(customer.api.post("/v1/chat/completions", &with(&body, &more)).await.status, 200);
    }
    for number in 0..50 {
        assert_eq!(customer.api.get(&format!("/nowhere/{number}")).await.status, 404);
        let model = format!("made-up-{number}");
        assert_eq!(customer.api.get(&format!("/v1/models/{model}")).await.status, 404);
        let body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 404);
    }
    assert_eq!(server.get("/v1/balance").await.status, 401);
    let metrics = settled_metrics(&server).await;
    let named = |start: &str| -> BTreeSet<String> {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (kinds, words) = (named("# TYPE "), named("# HELP "));
    assert!(kinds.len() > 25, "{kinds:?}");
    assert_eq!(kinds.difference(&words).collect::<Vec<_>>(), Vec::<&String>::new(), "without words");
    let samples: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    for sample in &samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(kinds.contains(name) || kinds.contains(family), "{sample}");
        assert!(!sample.contains("nowhere") && !sample.contains("made-up"), "{sample}");
    }
    assert!(samples.len() < 1_000, "{}", samples.len());
    for line in [
        "farebox_refusals_total{route=\"none\",status=\"404\"} 50",
        "farebox_refusals_total{route=\"/v1/chat/completions\",status=\"404\"} 50",
        "farebox_refusals_total{route=\"/v1/models/{id:.+}\",status=\"404\"} 50",
        "farebox_refusals_total{route=\"/v1/balance\",status=\"401\"} 1",
        "gen_ai_server_time_to_first_token_seconds_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-4o-mini\"} 1",
        "farebox_admission_seconds_count{provider=\"openai\"} 2",
        "gen_ai_server_request_duration_seconds_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-4o-mini\"} 2",
        "gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-4o-mini\"} 2",
    ] {
        assert!(samples.contains(&line), "{line} in\n{metrics}");
    }
    assert!(value(&metrics, "process_resident_memory_bytes") > 1e6 && value(&metrics, "process_threads") > 1.0);
    assert!(metrics.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{metrics}");
}
