//! HTTP by hand, for what a well-behaved client never does: bodies that do not end, answers that are not read, old
//! versions. And a provider by hand, that answers what a test tells it, when it tells it.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(1);

/// The address in `http://ADDRESS/...`.
pub(crate) fn address(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// A connection to a gateway whose reader takes little that it does not read.
pub(crate) async fn connect(url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(address(url)).await.unwrap()
}

/// The head of a POST of JSON.
pub(crate) fn post(path: &str, key: Option<&str>, more: &str) -> String {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}{more}\r\n")
}

/// Sends a request as it stands, and reads its answer until the connection is closed.
pub(crate) async fn exchange(url: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address(url)).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    to_end(&mut connection).await
}

/// What comes until the connection is closed, or broken.
pub(crate) async fn to_end(connection: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = connection.read(&mut piece).await {
            all.extend_from_slice(&piece[..count]);
        }
    };
    assert!(tokio::time::timeout(LONG, reading).await.is_ok(), "the connection was not closed");
    String::from_utf8(all).unwrap()
}

/// What comes until it ends with a text.
pub(crate) async fn until(connection: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(end.as_bytes()) {
            all.push(connection.read_u8().await.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&all));
            }));
        }
    };
    let read = tokio::time::timeout(LONG, reading).await;
    assert!(read.is_ok(), "no {end:?} in {:?}", String::from_utf8_lossy(&all));
    String::from_utf8(all).unwrap()
}

/// The head of a provider's answer that is a stream, which ends with its connection.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A chunk of a provider's stream.
pub(crate) fn chunk(text: &str, finish: Option<&str>) -> String {
    let choice = serde_json::json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
    let chunk = serde_json::json!({"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "created": 7,
        "model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "system_fingerprint": "fp_1", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

/// Answers each request by this, which is given the connection once the request was read; its base address.
pub(crate) async fn provider<F, Fut>(answer: F) -> String
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let head = until(&mut connection, "\r\n\r\n").await;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            connection.read_exact(&mut body).await.unwrap();
            tokio::spawn(answer(connection));
        }
    });
    url
}
