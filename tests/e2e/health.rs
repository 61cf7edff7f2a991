//! A gateway that has just started says it is alive and ready, and answers what it does not know in its own words.

use crate::support::server::{Options, Server};

#[tokio::test]
async fn a_started_gateway_is_alive_and_ready() {
    if !Server::is_built() {
        return;
    }
    let server = Server::start(Options::default()).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_our_form() {
    if !Server::is_built() {
        return;
    }
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
    if !Server::is_built() {
        return;
    }
    let mut server = Server::start(Options::default()).await;
    let status = server.stop().await;
    assert!(status.success(), "{status}\n{}", server.logs());
    server.restart().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.kill_nine();
    server.restart().await;
    assert_eq!(server.get("/readyz").await.status, 200);
}
