//! People at several nodes: a session is good at each and ends at all, and a letter does not depend on the node that was
//! asked for it.

use std::{
    io::ErrorKind,
    net::TcpListener,
    time::{Duration, Instant},
};

use crate::support::{
    client::answer,
    cluster::{Cluster, Node, PATIENCE},
    fake_smtp::FakeSmtp,
    pages::{client, hidden},
    people::{PASSWORD, Visitor, person},
    postgres,
    server::Server,
};

#[tokio::test]
async fn a_session_is_good_at_every_node_and_ends_at_all_of_them() {
    let Some(cluster) = Cluster::of(2).await else { return };
    let [one, two] = &*cluster.nodes else { panic!("two nodes") };
    let mut here = person(&one.server, "ada@example.com", None).await;
    let mut there = here.at(&two.server);
    assert!(here.is_in().await && there.is_in().await);
    // A browser that was signed in at the other node.
    let mut phone = Visitor::new(&two.server);
    assert_eq!(phone.sign_in("ada@example.com", PASSWORD).await.status, 303);
    let mut phone_here = phone.at(&one.server);
    assert!(phone_here.is_in().await);
    // One that is left at one node is over at both, and the other goes on.
    assert_eq!(there.send("/sign-out", &[]).await.status, 303);
    assert!(!here.is_in().await && !there.is_in().await);
    assert!(phone.is_in().await && phone_here.is_in().await);
    // All are, where its person wants so.
    let mut other = Visitor::new(&one.server);
    assert_eq!(other.sign_in("ada@example.com", PASSWORD).await.status, 303);
    assert_eq!(other.send("/settings/sign-out-everywhere", &[]).await.status, 303);
    assert!(!phone.is_in().await && !phone_here.is_in().await);
    // So are those of which the browser alone knows: an operator's, and one by a key.
    let key = one.admin().customer("payg", "0").await.key;
    for (root, field, secret) in [("/operator", "token", Server::admin_token()), ("/dashboard", "key", &key)] {
        let at = |node: &Node, path: &str| format!("{}{root}{path}", node.server.url());
        let signed_in = client().post(at(one, "/sign-in")).form(&[(field, secret)]).send().await.unwrap();
        let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let get = async |node: &Node| answer(client().get(at(node, "")).header("cookie", &cookie)).await;
        let page = get(two).await;
        assert_eq!((page.status, get(one).await.status), (200, 200), "{root}");
        let csrf = hidden(&page.body, "csrf");
        let out = client().post(at(one, "/sign-out")).header("cookie", &cookie).form(&[("csrf", csrf)]);
        assert_eq!((answer(out).await.status, get(one).await.status), (303, 303), "{root}");
        let began = Instant::now();
        while get(two).await.status == 200 {
            assert!(began.elapsed() < PATIENCE, "{root}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn a_letter_of_a_node_that_dies_is_sent_by_another_and_once() {
    let Some(url) = postgres::fresh_database() else { return };
    // A mail server that takes connections and says nothing, and one that takes letters.
    let (silent, smtp) = (TcpListener::bind("127.0.0.1:0").unwrap(), FakeSmtp::start(0));
    silent.set_nonblocking(true).unwrap();
    let silent_url = format!("smtp://{}", silent.local_addr().unwrap());
    let mut cluster = Cluster::at(url, 0, move |options| {
        options
            .set("FAREBOX_CLOCK", "test")
            .set("FAREBOX_PEOPLE__SIGN_UP", "open")
            .set("FAREBOX_PEOPLE__URL", "https://box.example.com")
            .set("FAREBOX_PEOPLE__MAIL__FROM", "Box <box@example.com>")
            .set("FAREBOX_PEOPLE__MAIL__SMTP", &silent_url)
    })
    .await;
    cluster.join().await;
    let taker = smtp.url();
    cluster.join_with(move |options| options.set("FAREBOX_PEOPLE__MAIL__SMTP", &taker)).await;
    cluster.is_even().await;
    let began = Instant::now();
    let mut asked = 0;
    // Whichever node sees a letter first sends it: until the one that was asked has one on its way.
    let _on_its_way = loop {
        match silent.accept() {
            Ok(connection) => break connection,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(began.elapsed() < PATIENCE, "the node that is asked sends none");
        if asked == smtp.taken().len() {
            asked += 1;
            let email = format!("ada+{asked}@example.com");
            let promised = Visitor::new(&cluster.nodes[0].server).post("/sign-up", &[("email", &email)]).await;
            assert_eq!(promised.status, 200, "{}", promised.body);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(smtp.taken().len(), asked - 1);
    cluster.nodes[0].server.kill_nine();
    cluster.nodes[1].admin().advance(3 * 60).await;
    let waiting = "SELECT COUNT(*) FROM letter";
    cluster.until("sent", async || cluster.number(waiting) == 0).await;
    let last = format!("ada+{asked}@example.com");
    assert_eq!(smtp.taken().iter().filter(|taken| taken.to == last).count(), 1);
    assert_eq!(smtp.taken().len(), asked);
}
