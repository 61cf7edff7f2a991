//! Letters survive what stops the gateway or the mail server: what was promised comes.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use reqwest::Method;

use crate::support::{
    client::answer,
    fake_smtp::{FakeSmtp, Taken},
    people::{PASSWORD, Visitor, person, token_of},
    server::{Options, Server},
};

fn options(port: u16) -> Options {
    Options::default()
        .set("FAREBOX_PEOPLE__SIGN_UP", "open")
        .set("FAREBOX_PEOPLE__URL", "https://box.example.com")
        .set("FAREBOX_PEOPLE__MAIL__FROM", "Box <box@example.com>")
        .set("FAREBOX_PEOPLE__MAIL__SMTP", &format!("smtp://127.0.0.1:{port}"))
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// All letters but those about events, which come when a minute ends.
fn all_taken(smtp: &FakeSmtp) -> Vec<Taken> {
    let mut taken = smtp.taken();
    taken.retain(|taken| !taken.text.contains("\r\nList-Unsubscribe: "));
    taken
}

/// The letters to an address, once there are so many.
async fn taken(smtp: &FakeSmtp, to: &str, count: usize) -> Vec<Taken> {
    let began = Instant::now();
    loop {
        let found: Vec<_> = all_taken(smtp).into_iter().filter(|taken| taken.to == to).collect();
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{} of {count} letters to {to}", found.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn link_in(letter: &Taken) -> &str {
    letter.text.split_whitespace().find(|word| word.starts_with("http")).unwrap()
}

#[tokio::test]
async fn a_letter_that_was_promised_comes_though_both_servers_die() {
    // A mail server that takes connections and says nothing: the letter is on its way for a long time.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(&silent);
    let mut server = Server::start(options(port)).await;
    let promised = Visitor::new(&server).post("/sign-up", &[("email", "ada@example.com")]).await;
    assert!(promised.status == 200 && promised.body.contains("on its way"), "{}", promised.body);
    let connected = tokio::task::spawn_blocking(move || {
        let connection = silent.accept().unwrap();
        (silent, connection)
    });
    let (silent, connection) = connected.await.unwrap();
    server.kill_nine();
    drop((silent, connection));
    // No link is at rest that works.
    for file in ["farebox.db", "farebox.db-wal"] {
        let bytes = std::fs::read(server.folder().join("data").join(file)).unwrap_or_default();
        assert!(!bytes.windows(12).any(|window| window == b"/join?token="), "{file}");
    }
    server.restart().await;
    // With no mail server at all it waits on: it was due before one that is tried now.
    server.admin().advance(3 * 60).await;
    Visitor::new(&server).post("/sign-up", &[("email", "eve@example.com")]).await;
    server.says("a letter was not taken").await;
    server.kill_nine();
    let smtp = FakeSmtp::start_on(TcpListener::bind(("127.0.0.1", port)).unwrap(), 0);
    server.restart().await;
    server.admin().advance(60 * 60).await;
    let came = taken(&smtp, "ada@example.com", 1).await;
    taken(&smtp, "eve@example.com", 1).await;
    // Once it was sent it is forgotten: an hour later there is another one alone.
    server.admin().advance(60 * 60).await;
    Visitor::new(&server).post("/sign-up", &[("email", "bob@example.com")]).await;
    taken(&smtp, "bob@example.com", 1).await;
    assert_eq!(all_taken(&smtp).len(), 3);
    // And the link opens what it promised.
    let token = token_of(link_in(&came[0]));
    let joined =
        Visitor::new(&server).post("/join", &[("token", &token), ("name", "Ada"), ("password", PASSWORD)]).await;
    assert_eq!(joined.status, 303, "{}", joined.body);
}

#[tokio::test]
async fn a_letter_that_nobody_needs_any_more_is_forgotten() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(&silent);
    // Nobody listens there.
    drop(silent);
    let server = Server::start(options(port)).await;
    let mut ada = Visitor::new(&server);
    ada.post("/sign-up", &[("email", "ada@example.com")]).await;
    server.says("a letter was not taken").await;
    server.admin().advance(24 * 60 * 60).await;
    server.says("a letter was never taken").await;
    let smtp = FakeSmtp::start_on(TcpListener::bind(("127.0.0.1", port)).unwrap(), 0);
    ada.post("/sign-up", &[("email", "bob@example.com")]).await;
    taken(&smtp, "bob@example.com", 1).await;
    assert_eq!(all_taken(&smtp).len(), 1, "its link has ended");
    let logs = server.logs();
    assert!(!logs.contains("token=") && !logs.contains("ada@example.com") && !logs.contains("bob@example.com"));
}

#[tokio::test]
async fn what_waits_for_a_person_is_forgotten_with_the_person() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_of(&silent);
    drop(silent);
    let server = Server::start(options(port)).await;
    let customer = server.admin().customer("free", "0").await;
    person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    person(&server, "eve@example.com", Some((&customer.id, "reader"))).await;
    Visitor::new(&server).post("/forgot", &[("email", "eve@example.com")]).await;
    Visitor::new(&server).post("/forgot", &[("email", "ada@example.com")]).await;
    server.says("a letter was not taken").await;
    let forget = server.admin().0.request(Method::DELETE, "/admin/v1/people/eve@example.com");
    assert_eq!(answer(forget).await.status, 200);
    let smtp = FakeSmtp::start_on(TcpListener::bind(("127.0.0.1", port)).unwrap(), 0);
    server.admin().advance(5 * 60).await;
    taken(&smtp, "ada@example.com", 1).await;
    Visitor::new(&server).post("/sign-up", &[("email", "bob@example.com")]).await;
    taken(&smtp, "bob@example.com", 1).await;
    assert_eq!(all_taken(&smtp).len(), 2);
}
