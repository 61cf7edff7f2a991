//! A gateway that has just started says it is alive and ready, and answers what it does not know in its own words.

use serde_json::json;

use crate::support::{
    fake_openai::FakeOpenAi,
    server::{Options, Server},
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
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("farebox_requests_total{ending=\"completed\",provider=\"openai\"} 3\n"), "{metrics}");
    for kind in ["account", "journal"] {
        assert!(value(&metrics, &format!("farebox_actor_messages_total{{kind=\"{kind}\"}}")) >= 6.0, "{metrics}");
        for sum in ["farebox_actor_waited_seconds_total", "farebox_actor_busy_seconds_total"] {
            let seconds = value(&metrics, &format!("{sum}{{kind=\"{kind}\"}}"));
            assert!(seconds > 0.0 && seconds < 60.0, "{metrics}");
            assert!(metrics.contains(&format!("# TYPE {sum} counter")), "{metrics}");
        }
        assert!(value(&metrics, &format!("farebox_actor_mailbox_messages{{kind=\"{kind}\"}}")) >= 0.0);
    }
}
