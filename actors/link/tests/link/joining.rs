//! Who works together with whom.

use link::{Hello, Identity, Link, Options, Refusal, SHORTEST_SECRET, Standing, Tls, Unusable};
use runtime::clock::Clock;

use crate::node::{Node, SECRET, ask, id, identity, link, options, said, until, way};

/// What becomes of a node that is like this when it comes to another.
async fn comes(link: &Link) -> (Option<Refusal>, usize) {
    let other = Node::start(identity(1), options()).await;
    let peer = way(link, 1, other.address);
    let asked = peer.ask(ask("x")).await;
    let Standing::Refused(refusal) = peer.health().standing else { return (None, 0) };
    assert!(!asked.unwrap_err().may_be_done());
    (Some(refusal), other.desk.asked.load(std::sync::atomic::Ordering::SeqCst))
}

async fn refused(change: impl Fn(&mut Identity)) -> Option<Refusal> {
    let mut own = identity(2);
    change(&mut own);
    let (refusal, asked) = comes(&link(own, options())).await;
    assert_eq!(asked, 0);
    refusal
}

#[tokio::test]
async fn two_nodes_of_one_ledger_work_together() {
    let (one, two) = (
        Node::start(identity(1), options()).await,
        Node::start(Identity { program: "1.1".into(), ..identity(2) }, options()).await,
    );
    assert_eq!(said(&way(&two.link, 1, one.address).ask(ask("who")).await.unwrap()), "1.1");
    assert_eq!(said(&way(&one.link, 2, two.address).ask(ask("who")).await.unwrap()), "1.0");
    let [health] = &two.link.health()[..] else { panic!("one way each") };
    assert_eq!((health.node, health.answered, health.connections), (id(1), 1, 1));
    assert!(matches!(&health.standing, Standing::Connected { program, .. } if program == "1.0"), "{health:?}");
}

#[tokio::test]
async fn who_does_not_belong_is_refused_by_name_and_asked_nothing() {
    let protocol = Refusal::Protocol { ours: 1, theirs: 2, program: "1.0".into() };
    assert_eq!(refused(|it| it.protocol = 2).await, Some(protocol));
    assert_eq!(refused(|it| it.database = "other".into()).await, Some(Refusal::Database));
    assert_eq!(refused(|it| it.ledger = "other".into()).await, Some(Refusal::Ledger));
    assert_eq!(refused(|it| it.shards = 4).await, Some(Refusal::Shards { ours: 16, theirs: 4 }));
    assert_eq!(refused(|it| it.node = id(1)).await, Some(Refusal::Itself));
}

#[tokio::test]
async fn another_secret_is_refused_and_a_short_one_is_none() {
    let other = [b'x'; SHORTEST_SECRET];
    let link = Link::new(identity(2), &other, options(), None, Clock::default()).unwrap();
    assert_eq!(comes(&link).await, (Some(Refusal::Secret), 0));
    let short = Link::new(identity(2), &other[1..], options(), None, Clock::default());
    assert!(matches!(short.err(), Some(Unusable::ShortSecret)));
}

#[tokio::test]
async fn another_clock_is_refused() {
    let clock = Clock::default();
    clock.advance_seconds(3_600);
    let link = Link::new(identity(2), SECRET, options(), None, clock).unwrap();
    let (refusal, asked) = comes(&link).await;
    assert!(matches!(refusal, Some(Refusal::Clock { apart_ms: 3_590_000..=3_610_000 })), "{refusal:?}");
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn a_node_in_anothers_place_is_not_taken_for_it() {
    let other = Node::start(identity(3), options()).await;
    let link = link(identity(2), options());
    let peer = way(&link, 1, other.address);
    assert!(!peer.ask(ask("x")).await.unwrap_err().may_be_done());
    assert_eq!(peer.health().standing, Standing::Refused(Refusal::Another(id(3))));
}

#[tokio::test]
async fn a_node_that_is_refused_is_worked_with_once_it_fits() {
    let clock = Clock::default();
    let ahead = Clock::default();
    ahead.advance_seconds(60);
    let other = Node::of(Link::new(identity(1), SECRET, options(), None, ahead).unwrap(), "127.0.0.1:0").await;
    let own = Link::new(identity(2), SECRET, options(), None, clock.clone()).unwrap();
    let peer = way(&own, 1, other.address);
    assert!(peer.ask(ask("x")).await.is_err());
    clock.advance_seconds(60);
    until("they work together", || matches!(peer.health().standing, Standing::Connected { .. })).await;
    assert_eq!(said(&peer.ask(ask("x")).await.unwrap()), "x");
}

fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn tls(own: &(String, String), roots: &str, name: &str) -> Tls {
    Tls::new(own.0.as_bytes(), own.1.as_bytes(), roots.as_bytes(), Some(name)).unwrap()
}

#[tokio::test]
async fn with_a_certificate_nodes_speak_tls_and_nothing_else() {
    let own = certificate("nodes.example");
    let tls = tls(&own, &own.0, "nodes.example");
    let (one, two) = (Node::with_tls(identity(1), tls.clone()).await, Node::with_tls(identity(2), tls).await);
    assert_eq!(said(&way(&two.link, 1, one.address).ask(ask("who")).await.unwrap()), "1.0");
    let clear = link(identity(3), Options { connect: std::time::Duration::from_millis(300), ..options() });
    let peer = way(&clear, 1, one.address);
    assert!(!peer.ask(ask("x")).await.unwrap_err().may_be_done());
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_not_spoken_with() {
    let (own, other) = (certificate("nodes.example"), certificate("nodes.example"));
    let one = Node::with_tls(identity(1), tls(&own, &own.0, "nodes.example")).await;
    for tls in [tls(&other, &other.0, "nodes.example"), tls(&own, &own.0, "elsewhere.example")] {
        let link = Link::new(identity(2), SECRET, options(), Some(tls), Clock::default()).unwrap();
        let peer = way(&link, 1, one.address);
        assert!(!peer.ask(ask("x")).await.unwrap_err().may_be_done());
        assert!(matches!(peer.health().standing, Standing::Away(why) if why.contains("certificate")));
    }
    for (chain, key, authority, what) in [
        ("", &*own.1, &*own.0, "its chain"),
        (&*own.0, "", &*own.0, "its key"),
        (&*own.0, &*other.1, &*own.0, "it and its key"),
        (&*own.0, &*own.1, "", "its authority"),
    ] {
        let unusable = Tls::new(chain.as_bytes(), key.as_bytes(), authority.as_bytes(), None).err();
        assert!(matches!(&unusable, Some(Unusable::Certificate(why)) if why.starts_with(what)), "{unusable:?}");
    }
}

/// A certificate of an authority, and its key.
fn signed(authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &**authority).unwrap();
    (made.pem(), key.serialize_pem())
}

fn authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn each_node_has_a_certificate_of_the_authority_for_its_own_host() {
    let (authority, other) = (authority(), authority());
    let tls = |own: &(String, String)| {
        Tls::new(own.0.as_bytes(), own.1.as_bytes(), authority.pem().as_bytes(), None).unwrap()
    };
    let one = Node::with_tls(identity(1), tls(&signed(&authority, "127.0.0.1"))).await;
    let of = |tls| Link::new(identity(2), SECRET, options(), Some(tls), Clock::default()).unwrap();
    // Who connects is known by the authority alone: what it is reached at, it may not know.
    let link = of(tls(&signed(&authority, "two.example")));
    assert_eq!(said(&way(&link, 1, one.address).ask(ask("who")).await.unwrap()), "1.0");

    // One that shows a certificate of another authority is not let in, though it trusts this one.
    let stranger = of(tls(&signed(&other, "127.0.0.1")));
    assert!(!way(&stranger, 1, one.address).ask(ask("who")).await.unwrap_err().may_be_done());
    assert_eq!(one.desk.asked.load(std::sync::atomic::Ordering::SeqCst), 1);

    // One for another host is not spoken with.
    let elsewhere = Node::with_tls(identity(3), tls(&signed(&authority, "elsewhere.example"))).await;
    let peer = way(&link, 3, elsewhere.address);
    assert!(!peer.ask(ask("x")).await.unwrap_err().may_be_done());
    assert!(matches!(peer.health().standing, Standing::Away(why) if why.contains("certificate")));
}

#[test]
fn a_hello_is_read_by_its_names() {
    let hello = Hello { identity: identity(1), clock_ms: 5 };
    let text = serde_json::to_string(&hello).unwrap();
    assert!(text.contains("\"ledger\":\"ledger\"") && text.contains("\"clock_ms\":5"), "{text}");
    assert_eq!(serde_json::from_str::<Hello>(&text.replacen('{', "{\"later\":1,", 1)).unwrap(), hello);
}
