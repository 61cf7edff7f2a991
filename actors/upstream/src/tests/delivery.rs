//! What a webhook is sent, and what is told of one that does not answer as it should.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{closing, parts};
use crate::delivery::{Delivery, DeliveryClient, DeliveryOutcome, Reach};

async fn post(address: &str, longest: Duration) -> DeliveryOutcome {
    let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", "17"), ("webhook-signature", "v1,x")];
    let headers = headers.map(|(name, value)| (name, value.to_owned()));
    let delivery = Delivery { url: format!("http://{address}/hook?a=b"), headers, body: "{\"a\":1}".into() };
    DeliveryClient::new(Reach::Anywhere, longest).unwrap().post(delivery).await
}

async fn outcome(said: &'static str) -> DeliveryOutcome {
    let (address, _) = closing(said).await;
    post(&address, Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_delivery_is_one_request_with_its_signature() {
    let (address, served) = closing("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(post(&address, Duration::from_secs(5)).await.is_success());
    let asked = served.await.unwrap();
    let (line, headers, body) = parts(&asked);
    assert_eq!((&*line, body), ("POST /hook?a=b HTTP/1.1", "{\"a\":1}"));
    let agent = concat!("user-agent: Farebox/", env!("CARGO_PKG_VERSION"));
    let ours = ["accept: */*", "content-length: 7", "content-type: application/json", agent];
    assert_eq!(
        headers,
        [&ours[..], &["webhook-id: msg_1", "webhook-signature: v1,x", "webhook-timestamp: 17"]].concat()
    );
}

#[tokio::test]
async fn what_answers_no_more_says_why() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let refused = post(&free, Duration::from_secs(5)).await.error.unwrap();
    assert!(refused.starts_with("connecting failed: Connection refused"), "{refused}");
    let closed = outcome("").await;
    assert_eq!(closed.error.as_deref(), Some("the connection broke: connection closed before message completed"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = post(&listener.local_addr().unwrap().to_string(), Duration::from_millis(50)).await;
    assert_eq!((silent.status, silent.error.as_deref()), (None, Some("no answer in time")));
}

#[tokio::test]
async fn an_answer_that_breaks_off_counts_by_its_status() {
    let taken = outcome("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nyes").await;
    assert!(taken.is_success());
    assert_eq!(taken.answer, "yes");
    let refused = outcome("HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\nno").await;
    assert_eq!((refused.status, &*refused.answer), (Some(500), "no"));
    let why = "the connection broke: end of file before message length reached";
    assert_eq!(refused.error.as_deref(), Some(why));
}
