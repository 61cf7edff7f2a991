//! What the options of a client do, and the limits of a whole call.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn get(to: &str) -> Request<Body> {
    let mut request = Request::new(Body::default());
    *request.uri_mut() = address(to).unwrap();
    request
}

/// How many connections were opened for two calls, one after the other.
async fn connections(options: Options) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/", listener.local_addr().unwrap());
    let (opened, seen) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut connection in listener.incoming().map(Result::unwrap) {
            let _ = opened.send(());
            thread::spawn(move || {
                let mut request = [0; 4_096];
                while connection.read(&mut request).is_ok_and(|count| count > 0) {
                    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
                }
            });
        }
    });
    let client = Client::new(Options { proxies: no_proxies(), ..options }).unwrap();
    for _ in 0..2 {
        assert_eq!(client.call(get(&to), SOON, 100).await.unwrap().body(), "hi");
    }
    seen.try_iter().count()
}

#[tokio::test]
async fn connections_are_kept_only_where_they_may_be() {
    assert_eq!(connections(Options::default()).await, 1);
    assert_eq!(connections(Options { kept: 0, ..Options::default() }).await, 2);
}

#[tokio::test]
async fn a_name_that_leads_to_what_is_not_admitted_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let options = Options { proxies: no_proxies(), admits: |address| !address.is_loopback(), ..Options::default() };
    let refused = Client::new(options).unwrap().call(get(&to), SOON, 100).await.unwrap_err();
    assert!(matches!(refused, CallError::Forbidden(address) if address.is_loopback()), "{refused:?}");
    assert!(listener.accept().is_err(), "it was connected to");
}

#[tokio::test]
async fn a_whole_call_has_one_limit_however_its_answer_drips() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 4_096]).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while connection.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    let client = Client::new(Options { proxies: no_proxies(), ..Options::default() }).unwrap();
    let late = client.call(get(&to), Duration::from_millis(200), 1 << 20).await.unwrap_err();
    assert_eq!(late, CallError::Timeout);
}

#[test]
fn a_proxy_is_opened_by_each_request_that_it_is_told_and_by_no_other() {
    let proxies = Matcher::builder().all("http://ada:secret@127.0.0.1:1").no("near.example").build();
    let opened = |to: &str| proxy_authorization(&proxies, &address(to).unwrap());
    assert_eq!(opened("http://far.example/x").unwrap(), "Basic YWRhOnNlY3JldA==");
    assert_eq!(opened("http://near.example/x"), None);
    assert_eq!(opened("https://far.example/x"), None, "its tunnel is opened once");
    assert!(no_proxies().intercept(&address("http://far.example/").unwrap()).is_none());
}

#[tokio::test]
async fn a_request_brings_what_opens_its_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://ada:secret@{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let count = connection.read(&mut request).unwrap();
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    let proxies = Arc::new(Matcher::builder().all(proxy).build());
    let client = Client::new(Options { proxies, ..Options::default() }).unwrap();
    assert_eq!(client.call(get("http://far.example/x"), SOON, 100).await.unwrap().status(), 204);
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("GET http://far.example/x HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nproxy-authorization: Basic YWRhOnNlY3JldA==\r\n"), "{asked}");
}
