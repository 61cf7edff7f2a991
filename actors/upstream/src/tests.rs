//! How a connection's failures and its route affect a call.

mod delivery;
mod own;

use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wire::format::{
    Upstream,
    openai::{OpenAi, read_chat},
};

use super::*;

const BODY: &str = r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// Reads up to and with the end of one request, in pieces of any size. `None` where the connection ends before.
async fn read_to(connection: &mut TcpStream, end: &str) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut piece = [0; 4_096];
        match connection.read(&mut piece).await {
            Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8(seen).unwrap())
}

/// Reads one call.
async fn read(connection: &mut TcpStream) -> bool {
    read_to(connection, "}").await.is_some()
}

async fn answer(connection: &mut TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", BODY.len());
    connection.write_all((head + BODY).as_bytes()).await.unwrap();
}

fn at(endpoint: Endpoint) -> Call {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let request = read_chat(body).unwrap();
    let call = OpenAi.call(request, &Upstream { model: "m", max_output: 100, tier: None }).unwrap();
    Call { endpoint: endpoint.with_key("sk", None).unwrap(), call: call.into() }
}

async fn call(address: &str) -> Vec<Event> {
    let endpoint = Endpoint::new(&format!("http://{address}/v1"), &OpenAi).unwrap();
    events(at(endpoint), Timeouts::default()).collect().await
}

/// Calls a provider that accepts one connection, reads one request, sends `said` and waits. Returns the request and the
/// events.
async fn call_to(said: &'static [&'static str], timeouts: Timeouts) -> (String, Vec<Event>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new(&format!("http://{}/v1/", listener.local_addr().unwrap()), &OpenAi).unwrap();
    let provider = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let asked = read_to(&mut connection, "}").await.unwrap();
        for piece in said {
            connection.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        (asked, connection, listener)
    });
    let events = events(at(endpoint), timeouts).collect().await;
    (provider.await.unwrap().0, events)
}

#[actix_rt::test]
async fn a_kept_connection_that_was_closed_is_asked_once_more_and_never_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let provider = tokio::spawn(async move {
        // One answer, then closed as the second request comes; then a connection that answers.
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(read(&mut first).await);
        answer(&mut first).await;
        assert!(read(&mut first).await);
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        assert!(read(&mut second).await);
        answer(&mut second).await;
        // From here on nothing is answered: neither the connection in use, nor the second attempt's. There is no third.
        assert!(read(&mut second).await);
        drop(second);
        let (mut third, _) = listener.accept().await.unwrap();
        assert!(read(&mut third).await);
        drop(third);
        tokio::time::timeout(Duration::from_millis(500), listener.accept()).await.is_err()
    });
    for _ in 0..2 {
        let events = call(&address).await;
        assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    }
    let events = call(&address).await;
    assert!(matches!(events.as_slice(), [Event::Failed(Failure::Transport(_))]), "{events:?}");
    assert!(provider.await.unwrap(), "it was called a third time");
}

#[actix_rt::test]
async fn a_call_that_was_worked_on_is_not_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let provider = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(read(&mut first).await);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        drop(first);
        tokio::time::timeout(Duration::from_millis(500), listener.accept()).await.is_err()
    });
    let events = call(&address).await;
    assert!(matches!(events.as_slice(), [Event::Failed(Failure::Transport(_))]), "{events:?}");
    assert!(provider.await.unwrap(), "it was called again");
}

#[actix_rt::test]
async fn a_call_is_one_request_with_its_key() {
    let said = &[
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "9\r\n{\"choices\r\n",
        "20\r\n\":[{\"message\":{\"content\":\"hi\"}}]\r\n",
        "1\r\n}\r\n",
        "0\r\n\r\n",
    ];
    let (asked, events) = call_to(said, Timeouts::default()).await;
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
    let mut headers: Vec<_> = headers.lines().filter(|line| !line.starts_with("host: 127.0.0.1:")).collect();
    headers.sort_unstable();
    let length = format!("content-length: {}", body.len());
    let ours = ["accept-encoding: identity", "accept: */*", "authorization: Bearer sk", &length];
    assert_eq!(headers, [&ours[..], &["content-type: application/json"]].concat());
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
}

#[actix_rt::test]
async fn a_redirect_is_an_error_and_not_followed() {
    let said = &["HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"];
    let (_, events) = call_to(said, Timeouts::default()).await;
    assert!(matches!(events.as_slice(), [Event::Failed(_)]), "{events:?}");
}

#[actix_rt::test]
async fn a_refusal_says_when_to_come_back_and_an_encoding_that_was_not_asked_for_is_named() {
    let said = &[
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0.8\r\ncontent-length: 28\r\n\r\n",
        "{\"error\":{\"message\":\"slow\"}}",
    ];
    let (_, events) = call_to(said, Timeouts::default()).await;
    let [Event::Failed(Failure::Provider(refusal))] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((refusal.status, &*refusal.message, refusal.retry_after), (429, "slow", Some(1)));
    let said = &["HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n", "\u{1f}x"];
    let (_, events) = call_to(said, Timeouts::default()).await;
    let [Event::Failed(Failure::Transport(why))] = events.as_slice() else { panic!("{events:?}") };
    assert!(why.contains("gzip"), "{why}");
}

#[actix_rt::test]
async fn a_provider_that_says_nothing_or_no_more_is_given_up() {
    let soon = Duration::from_millis(50);
    let (_, events) = call_to(&[], Timeouts { first_byte: soon, ..Timeouts::default() }).await;
    assert!(matches!(events.as_slice(), [Event::Failed(Failure::Timeout("first byte"))]), "{events:?}");
    let said = &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "{"];
    let (_, events) = call_to(said, Timeouts { first_byte: soon, idle: soon }).await;
    assert!(matches!(events.as_slice(), [Event::Failed(Failure::Timeout("idle"))]), "{events:?}");
}

#[actix_rt::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new(&format!("http://{}/v1", listener.local_addr().unwrap()), &OpenAi).unwrap();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(read(&mut connection).await);
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while connection.write_all(&[b'x'; 1_000]).await.is_ok() {}
    });
    let soon = Duration::from_secs(5);
    let Ok(response) = exchange::send(request::of(&at(endpoint)).unwrap(), soon).await else { panic!("no answer") };
    let refused = exchange::collect(response.into_body(), 1_000_000, soon).await;
    assert!(matches!(&refused, Err(Failure::TooLarge(1_000_000))), "{refused:?}");
}

#[actix_rt::test]
async fn where_nobody_listens_the_reason_is_told_without_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let events = call(&free.to_string()).await;
    let [Event::Failed(Failure::Unreached(why))] = events.as_slice() else { panic!("{events:?}") };
    assert!(why.starts_with("connecting: Connection refused"), "{why}");
}

/// Calls this endpoint once through its proxy. Returns what the proxy received, and the events.
async fn call_by_proxy(base_url: &str, answers: &'static str) -> (String, Vec<Event>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://ada:secret@{}", listener.local_addr().unwrap());
    let proxies = Arc::new(Matcher::builder().all(proxy).build());
    let endpoint = Endpoint::reached(base_url, &OpenAi, &proxies).unwrap();
    exchange::ask_proxies(proxies);
    let provider = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let asked = read_to(&mut connection, if answers.is_empty() { "}" } else { "\r\n\r\n" }).await.unwrap();
        match answers {
            "" => answer(&mut connection).await,
            answers => connection.write_all(answers.as_bytes()).await.unwrap(),
        }
        asked
    });
    let events = events(at(endpoint), Timeouts::default()).collect().await;
    (provider.await.unwrap(), events)
}

#[actix_rt::test]
async fn a_proxy_forwards_what_is_asked_in_clear_and_is_told_the_whole_address() {
    let (asked, events) = call_by_proxy("http://provider.example/v1", "").await;
    assert!(asked.starts_with("POST http://provider.example/v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: provider.example\r\n"), "{asked}");
    assert!(asked.contains("\r\nproxy-authorization: Basic YWRhOnNlY3JldA==\r\n"), "{asked}");
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
}

#[actix_rt::test]
async fn a_proxy_makes_a_tunnel_for_what_is_asked_with_tls_and_never_sees_the_key() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    let (asked, events) = call_by_proxy("https://provider.example/v1", refusal).await;
    assert!(asked.starts_with("CONNECT provider.example:443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nProxy-Authorization: Basic YWRhOnNlY3JldA==\r\n"), "{asked}");
    assert!(!asked.contains("Bearer"), "{asked}");
    let [Event::Failed(Failure::Unreached(why))] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(why, "connecting: tunnel error: proxy authorization required");
}

#[actix_rt::test]
async fn no_proxy_is_asked_for_an_address_that_is_excepted() {
    let proxies = Arc::new(Matcher::builder().all("http://ada:secret@127.0.0.1:1").no("127.0.0.1").build());
    exchange::ask_proxies(proxies.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let provider = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let asked = read_to(&mut connection, "}").await.unwrap();
        answer(&mut connection).await;
        asked
    });
    let endpoint = Endpoint::reached(&base_url, &OpenAi, &proxies).unwrap();
    let events: Vec<_> = events(at(endpoint), Timeouts::default()).collect().await;
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    assert!(!provider.await.unwrap().contains("proxy-authorization"));
}

#[test]
fn an_address_is_made_right_and_holds_no_secret() {
    let chat = |base: &str| Endpoint::new(base, &OpenAi).map(|endpoint| endpoint.routes.addresses[0].1.to_string());
    let made = "https://api.example/v1/chat/completions";
    for base in ["https://api.example/v1", "HTTPS://API.example:443/v1//", "https://ada:secret@api.example/v1"] {
        assert_eq!(chat(base).as_deref(), Some(made), "{base}");
    }
    for base in ["", "api.example/v1", "ftp://api.example/v1"] {
        assert_eq!(chat(base), None, "{base}");
    }
}

/// The lines of a request's head, sorted, without the host, which names a port that is another each time; and its body.
fn parts(request: &str) -> (String, Vec<&str>, &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<_> = headers.lines().filter(|line| !line.starts_with("host: 127.0.0.1:")).collect();
    headers.sort_unstable();
    (line.to_owned(), headers, body)
}

/// Takes one connection, reads one request, says this and closes: the address, and what will have been read.
async fn closing(said: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let asked = read_to(&mut connection, "}").await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        asked
    });
    (address, served)
}

#[test]
fn a_key_goes_in_the_header_that_is_set() {
    let endpoint = Endpoint::new("http://127.0.0.1:9/v1", &OpenAi).unwrap();
    let header = |named: Option<&str>, name: &str| {
        let endpoint = endpoint.clone().with_key("sk", named).unwrap();
        endpoint.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(None, "authorization").as_deref(), Some("Bearer sk"));
    assert_eq!(header(Some("Authorization"), "authorization").as_deref(), Some("Bearer sk"));
    assert_eq!(
        (header(Some("api-key"), "api-key").as_deref(), header(Some("api-key"), "authorization")),
        (Some("sk"), None)
    );
    assert!(endpoint.with_key("sk", Some("a b")).is_none());
}
