//! What Stripe is sent, byte for byte, and what a connection may do to a call: money depends on both.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use uuid::Uuid;

use super::{exchange::LARGEST_ANSWER, *};

/// Reads one request; none where the connection ends before.
fn read(connection: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut piece = [0; 4_096];
        match connection.read(&mut piece) {
            Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

/// One connection on which each request is answered so, which is then closed: the processor, and what will have been read.
fn answering(answers: Vec<String>) -> (Stripe, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            asked.extend(read(&mut connection));
            connection.write_all(answer.as_bytes()).unwrap();
        }
        drop(connection);
        // Nothing is ever asked a second time by itself.
        listener.set_nonblocking(true).unwrap();
        thread::sleep(Duration::from_millis(200));
        assert!(listener.accept().is_err(), "it was called again");
        asked
    });
    (opened(base_url), served)
}

fn opened(base_url: String) -> Stripe {
    let (secret_key, webhook_secret) = ("sk_1".to_owned(), String::new());
    Stripe::new(StripeSettings { base_url, secret_key, webhook_secret, browser: None }).unwrap()
}

fn json(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The first line of a request, its headers but the host, sorted, and its body.
fn parts(request: &str) -> (&str, Vec<&str>, &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<_> = headers.lines().filter(|line| !line.starts_with("host: 127.0.0.1:")).collect();
    headers.sort_unstable();
    (line, headers, body)
}

#[tokio::test]
async fn a_call_is_a_form_with_its_key_and_the_pinned_version() {
    let (stripe, served) = answering(vec![
        json("200 OK", r#"{"id":"cus_1"}"#),
        json("200 OK", r#"{"data":[]}"#),
        json("404 Not Found", r#"{"error":{"type":"invalid_request_error","message":"none"}}"#),
        json("200 OK", r#"{"id":"pm_1"}"#),
    ]);
    assert_eq!(stripe.create_customer(AccountId(Uuid::nil()), "a d+a@é.example").await.unwrap(), "cus_1");
    assert_eq!(stripe.find(PaymentId(Uuid::nil())).await, Ok(None));
    assert!(matches!(stripe.finish_setup("seti_1", "cus_1").await, Err(CardError::Refused { .. })));
    assert_eq!(stripe.detach("pm_1").await, Ok(()));
    let asked = served.join().unwrap();
    let asked: Vec<_> = asked.iter().map(|request| parts(request)).collect();
    let every = ["accept: */*", "authorization: Bearer sk_1"];
    let form = "content-type: application/x-www-form-urlencoded";
    let (id, version) = ("00000000-0000-0000-0000-000000000000", "stripe-version: 2024-06-20");
    let (key, body) = (
        format!("idempotency-key: customer-{id}"),
        format!("email=a+d%2Ba%40%C3%A9.example&metadata%5Baccount_id%5D={id}"),
    );
    let length = format!("content-length: {}", body.len());
    let customer = [&every[..], &[&length, form, &key, version]].concat();
    assert_eq!(asked[0], ("POST /v1/customers HTTP/1.1", customer, &*body));
    let search = format!("/v1/payment_intents/search?query=metadata%5B%22payment_id%22%5D%3A%22{id}%22&limit=10");
    let get = [&every[..], &[version]].concat();
    assert_eq!(asked[1], (&*format!("GET {search} HTTP/1.1"), get.clone(), ""));
    assert_eq!(asked[2], ("GET /v1/setup_intents/seti_1?expand[]=payment_method HTTP/1.1", get, ""));
    let detach = [&every[..], &[form, "idempotency-key: detach-pm_1", version]].concat();
    assert_eq!(asked[3], ("POST /v1/payment_methods/pm_1/detach HTTP/1.1", detach, ""));
}

/// What is known of a refund after one answer.
async fn refund(answers: Vec<String>) -> Refunded {
    let (stripe, served) = answering(answers);
    let order = RefundOrder { key: "r1".into(), id: None, reference: "pi_1".into(), amount: "10.00".parse().unwrap() };
    let refunded = stripe.refund(&order).await;
    let asked = served.join().unwrap();
    assert_eq!(parts(&asked[0]).2, "payment_intent=pi_1&amount=1000");
    refunded
}

#[tokio::test]
async fn what_is_not_answered_is_not_known_and_not_asked_again() {
    let unknown = |why: &str| Refunded::Unknown { why: why.into() };
    assert_eq!(refund(vec![String::new()]).await, unknown("the connection broke"));
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":".to_owned();
    assert_eq!(refund(vec![cut]).await, unknown("the connection broke"));
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(LARGEST_ANSWER + 1));
    assert_eq!(refund(vec![large]).await, unknown("the answer is larger than 1048576 bytes"));
    let garbled = refund(vec![json("200 OK", "x")]).await;
    assert!(matches!(&garbled, Refunded::Unknown { why } if why.starts_with("not understood: ")), "{garbled:?}");
    for (status, why) in [
        ("302 Found", "Stripe answered 302 Found: without a word of why"),
        ("409 Conflict", "Stripe answered 409 Conflict: without a word of why"),
        ("500 Internal Server Error", "Stripe answered 500 Internal Server Error: without a word of why"),
    ] {
        assert_eq!(refund(vec![json(status, "")]).await, unknown(why));
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = opened(format!("http://{free}")).create_customer(AccountId(Uuid::nil()), "a").await;
    assert_eq!(found, Err(CardError::Unavailable("connecting failed".into())));
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_under_a_call_leaves_it_unknown() {
    let (stripe, served) = answering(vec![json("200 OK", r#"{"id":"cus_1"}"#), String::new()]);
    assert!(stripe.create_customer(AccountId(Uuid::nil()), "a").await.is_ok());
    let lost = stripe.create_customer(AccountId(Uuid::nil()), "a").await;
    assert_eq!(lost, Err(CardError::Unavailable("the connection broke".into())));
    assert_eq!(served.join().unwrap().len(), 2);
}
