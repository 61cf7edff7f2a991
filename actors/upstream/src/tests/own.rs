//! What the command line asks of its own server, and what it prints where that does not answer.

use serde_json::json;
use tokio::net::TcpListener;

use super::{closing, parts};
use crate::call_json;

#[tokio::test]
async fn the_command_line_sends_its_token_and_reads_json() {
    let (address, served) = closing("HTTP/1.1 409 Conflict\r\ncontent-length: 7\r\n\r\n{\"b\":2}").await;
    let answer = call_json("PUT", &format!("http://{address}/admin/v1/x?y=%40"), "t0", Some(&json!({"a": 1}))).await;
    assert_eq!(answer, Ok((409, json!({"b": 2}))));
    let asked = served.await.unwrap();
    let (line, headers, body) = parts(&asked);
    assert_eq!((&*line, body), ("PUT /admin/v1/x?y=%40 HTTP/1.1", "{\"a\":1}"));
    let ours = ["accept: */*", "authorization: Bearer t0", "content-length: 7", "content-type: application/json"];
    assert_eq!(headers, ours);
}

#[tokio::test]
async fn what_is_no_answer_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = call_json("GET", &format!("http://{free}/x"), "t0", None).await;
    assert_eq!(refused, Err(format!("error sending request for url (http://{free}/x)")));
    for said in [
        "HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
    ] {
        let (address, _) = closing(said).await;
        let answer = call_json("POST", &format!("http://{address}/x"), "t0", Some(&json!({}))).await;
        assert_eq!(answer, Err(format!("error decoding response body for url (http://{address}/x)")), "{said}");
    }
}
