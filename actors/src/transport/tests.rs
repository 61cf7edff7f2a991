//! What a connection may do to a call.

use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wire::{inference::Task, openai};

use super::*;

const BODY: &str = r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// Reads one request, however it is cut.
async fn read(connection: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"}") {
        let mut piece = [0; 4_096];
        match connection.read(&mut piece).await {
            Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
            _ => return false,
        }
    }
    true
}

async fn answer(connection: &mut TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", BODY.len());
    connection.write_all((head + BODY).as_bytes()).await.unwrap();
}

async fn call(address: &str) -> Vec<Event> {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let request = openai::parse_request(Task::Chat, body).unwrap();
    let endpoint = Endpoint::new(&format!("http://{address}/v1")).unwrap().with_key("sk").unwrap();
    events(Call { endpoint, request, upstream: "m".into(), limit: None }, Timeouts::default()).collect().await
}

#[tokio::test]
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
        // From here on nothing is answered: the connection in use, the one for the second try, and no third.
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
