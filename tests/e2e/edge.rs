//! What every route has alike: HEAD, pages of other origins, a page at the root, metrics for whom the settings say.

use reqwest::{
    Method,
    header::{HeaderMap, ORIGIN},
};

use crate::support::{
    client::{Answer, Api, answer},
    free_port, plain,
    server::{Options, Server},
};

#[tokio::test]
async fn head_is_answered_wherever_get_is_without_a_body() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    let paths = [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/models",
        "/v1/models/gpt-4o-mini",
        "/v1/balance",
        "/v1/usage.csv",
        "/v1/requests",
        "/v1/keys",
        "/v1/subscription",
        "/v1/payment-methods",
        "/v1/webhooks",
        "/v1/live",
        "/no/such/path",
        "/v1/quote",
        "/v1/auto-reload",
    ];
    for path in paths {
        let got = customer.api.get(path).await;
        let key = &customer.key;
        let request =
            format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
        let head = plain::exchange(server.url(), &request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {}", got.status)), "{path}: {head}");
        assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1, "{path}: {head}");
        if let Some(length) = got.header("content-length") {
            assert!(head.contains("content-length: ") && length != "0", "{path}: {head}");
        }
    }
}

async fn preflight(server: &Server, origin: &str) -> Answer {
    let request = Api::new(server.url(), None).request(Method::OPTIONS, "/v1/chat/completions");
    let asked = "authorization,content-type,idempotency-key,provider-key,x-max-cost,x-stainless-os";
    let request = request
        .header(ORIGIN, origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", asked);
    answer(request).await
}

fn allowed(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn pages_of_other_origins_may_call_where_the_settings_say_so() {
    let page = "https://app.example.com";
    let closed = Server::start(Options::default()).await;
    let refused = preflight(&closed, page).await;
    assert_eq!((refused.status, allowed(&refused.headers)), (405, None));

    let origins = format!("{page}, http://localhost:3000");
    let open = Server::start(Options::default().set("FAREBOX_HTTP__CORS_ORIGINS", &origins)).await;
    let granted = preflight(&open, page).await;
    assert_eq!((granted.status, allowed(&granted.headers)), (200, Some(page)), "{}", granted.body);
    let headers = granted.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("idempotency-key") && headers.contains("provider-key"), "{headers}");
    assert!(granted.header("access-control-allow-methods").unwrap().contains("DELETE"));
    assert_eq!(granted.header("access-control-allow-credentials"), None);
    assert_eq!(allowed(&preflight(&open, "https://evil.example").await.headers), None);
    // Refusals too: a page must be able to read why.
    let request = Api::new(open.url(), None).request(Method::POST, "/v1/quote").header(ORIGIN, page).body("{}");
    let refused = answer(request).await;
    assert_eq!((refused.status, allowed(&refused.headers)), (401, Some(page)));
    assert!(refused.header("access-control-expose-headers").unwrap().contains("x-farebox-cost"));
}

#[tokio::test]
async fn a_body_that_is_compressed_is_refused_in_words() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    for path in ["/v1/chat/completions", "/v1/keys", "/v1/images/edits"] {
        for (encoding, status) in [("gzip", 415), ("identity, deflate", 415), ("identity", 400)] {
            let request = customer.api.request(Method::POST, path).header("content-encoding", encoding);
            let refused = answer(request.body(vec![31_u8, 139, 8, 0])).await;
            assert_eq!(refused.status, status, "{path} {encoding}: {}", refused.body);
            assert!(status == 400 || refused.body.contains("uncompressed"), "{}", refused.body);
        }
    }
}

#[tokio::test]
async fn the_root_is_a_page_that_says_what_this_is() {
    let server = Server::start(Options::default()).await;
    let page = server.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for part in ["<!doctype html>", "Farebox", "/healthz", "/v1/chat/completions"] {
        assert!(page.body.contains(part), "{}", page.body);
    }
}

#[tokio::test]
async fn metrics_are_for_whom_the_settings_say() {
    let server = Server::start(Options::default().set("FAREBOX_HTTP__METRICS", "token")).await;
    assert_eq!(server.get("/metrics").await.status, 401);
    assert_eq!(server.api("fb_000000000000_x").get("/metrics").await.status, 401);
    let customer = server.admin().customer("payg", "5").await;
    assert_eq!(customer.api.get("/metrics").await.status, 401, "a customer's key is not the operator's token");
    let told = server.admin().0.get("/metrics").await;
    assert!(told.status == 200 && told.body.contains("farebox_requests_running"), "{}", told.body);

    let address = format!("127.0.0.1:{}", free_port());
    let apart = Server::start(Options::default().set("FAREBOX_HTTP__METRICS", &address)).await;
    assert_eq!(apart.get("/metrics").await.status, 404);
    let own = Api::new(&format!("http://{address}"), None);
    assert!(own.get("/metrics").await.body.contains("farebox_requests_running"));
    assert_eq!(own.get("/v1/models").await.status, 404, "nothing else is served there");
}
