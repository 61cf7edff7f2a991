//! Signing in by an issuer elsewhere (OpenID Connect): who comes in, whose identity is linked to whom, and what stays of it.

use std::net::TcpListener;

use crate::support::{
    issuer::{CLIENT, Issuer, SECRET, Somebody},
    people::{PASSWORD, Visitor, letters, link_of, person, token_of},
    server::{Options, Server},
};

const ADA: &str = "ada@example.com";

/// Settings with an issuer, named `work`, at a gateway that listens there.
pub(crate) fn options(listener: &TcpListener, issuer: &Issuer) -> Options {
    Options::default()
        .set("FAREBOX_PEOPLE__URL", &format!("http://{}", listener.local_addr().unwrap()))
        .set("FAREBOX_PEOPLE__OIDC__WORK__ISSUER", issuer.url())
        .set("FAREBOX_PEOPLE__OIDC__WORK__CLIENT_ID", CLIENT)
        .set("FAREBOX_PEOPLE__OIDC__WORK__CLIENT_SECRET", SECRET)
        .set("FAREBOX_PEOPLE__OIDC__WORK__LABEL", "Work & Co")
}

/// A gateway with an issuer where Ada signs in, and more settings.
pub(crate) async fn stage(more: &[(&str, &str)]) -> (Issuer, Server) {
    let (issuer, listener) = (Issuer::start(Somebody::new("ada-1", ADA)), TcpListener::bind("127.0.0.1:0").unwrap());
    let options = more.iter().fold(options(&listener, &issuer), |options, (name, value)| options.set(name, value));
    let server = Server::start_on(&listener, options).await;
    (issuer, server)
}

const SIGN_UP: (&str, &str) = ("FAREBOX_PEOPLE__OIDC__WORK__SIGN_UP", "true");

#[tokio::test]
async fn a_stranger_comes_in_by_an_issuer_as_its_settings_allow_and_out_again() {
    let (_issuer, server) = stage(&[]).await;
    let mut ada = Visitor::new(&server);
    let page = ada.get("/sign-in?next=%2Fdashboard%2Fkeys").await.body;
    assert!(
        page.contains("Sign in by Work &#38; Co") && page.contains("/dashboard/oidc/work?next=%2Fdashboard%2Fkeys")
    );
    let refused = ada.sign_in_by("/oidc/work").await;
    assert!(refused.status == 409 && refused.body.contains("an invitation"), "{}", refused.body);
    assert!(!ada.is_in().await && ada.sign_on.is_empty());
    let (issuer, server) = stage(&[SIGN_UP]).await;
    let mut ada = Visitor::new(&server);
    let led = ada.sign_in_by("/oidc/work?next=%2Fdashboard%2Fkeys").await;
    assert_eq!((led.status, led.header("location")), (303, Some("/dashboard/keys")), "{}", led.body);
    assert!(ada.sign_on.is_empty(), "what was remembered is used up");
    let page = ada.get("").await.body;
    assert!(page.contains("Somebody &#60;b&#62;") && page.contains(ADA) && page.contains("owner"), "{page}");
    // Again it is the same person, whatever the address is by then.
    issuer.is_now(Somebody::new("ada-1", "ada@elsewhere.example"));
    let mut again = Visitor::new(&server);
    assert_eq!(again.sign_in_by("/oidc/work").await.status, 303);
    assert!(again.get("/settings").await.body.contains(ADA));
    // Nobody is led to pages of others.
    for next in ["//evil.test", "https://evil.test/dashboard", "/v1/keys", "/dashboard/\\evil"] {
        let next = serde_urlencoded::to_string([("next", next)]).unwrap();
        let led = Visitor::new(&server).sign_in_by(&format!("/oidc/work?{next}")).await;
        assert!(led.header("location").unwrap().starts_with("/dashboard"), "{next}");
    }
    // Out here, and there by a link.
    let out = ada.send("/sign-out", &[]).await;
    let end = format!("{}/end?client_id={CLIENT}&#38;post_logout_redirect_uri=", issuer.url());
    assert!(out.status == 200 && out.body.contains(&end), "{}", out.body);
    assert!(!ada.is_in().await);
    issuer.is_down(true);
    assert_eq!(again.send("/sign-out", &[]).await.status, 200, "what is known of the issuer is known");
    // One audit for all: people stand beside the log.
    server.admin().assert_audit().await;
    let logs = server.logs();
    assert!(issuer.secrets().iter().all(|secret| !logs.contains(secret)) && !logs.contains(SECRET));
}

#[tokio::test]
async fn an_address_alone_opens_nobodys_account() {
    let (issuer, server) = stage(&[SIGN_UP]).await;
    let mut ada = person(&server, ADA, None).await;
    // An issuer says that this is Ada: Ada is asked, by a letter.
    let mut other = Visitor::new(&server);
    let asked = other.sign_in_by("/oidc/work").await;
    assert!(asked.status == 200 && asked.body.contains("A letter is on its way"), "{}", asked.body);
    assert!(!other.is_in().await);
    let letter = letters(&server, ADA, 1).await.pop().unwrap();
    let (link, token) = (link_of(&server, &letter), token_of(&link_of(&server, &letter)));
    assert!(letter.contains("Work & Co"), "{letter}");
    // Whoever reads the letter in another browser links nothing: the identity may be somebody else's.
    let mut reader = Visitor::new(&server);
    let elsewhere = reader.open(&link).await;
    assert!(elsewhere.status == 400 && elsewhere.body.contains("in the browser alone"), "{}", elsewhere.body);
    assert_eq!(reader.post("/identities/confirm", &[("token", &token)]).await.status, 400);
    // Nor does the browser without the letter.
    for wrong in ["", "0", &"0".repeat(64)] {
        assert_eq!(other.clone().post("/identities/confirm", &[("token", wrong)]).await.status, 400);
    }
    // A letter is good for half an hour.
    let mut late = other.clone();
    let page = other.open(&link).await;
    assert!(page.status == 200 && page.body.contains(&format!("{ADA} signs in by Work &#38; Co")), "{}", page.body);
    assert!(!other.is_in().await, "looking at it does nothing");
    let confirmed = other.post("/identities/confirm", &[("token", &token)]).await;
    assert_eq!((confirmed.status, confirmed.header("location")), (303, Some("/dashboard")), "{}", confirmed.body);
    assert!(other.is_in().await && other.sign_on.is_empty());
    assert!(letters(&server, ADA, 2).await[1].contains("you sign in by Work & Co too"));
    assert!(ada.get("/settings").await.body.contains("Work &#38; Co"));
    server.admin().advance(30 * 60).await;
    assert_eq!(late.post("/identities/confirm", &[("token", &token)]).await.status, 400);
    // An address that nobody has proved there counts for nothing, and one of a person who was turned away neither.
    issuer.is_now(Somebody { is_verified: false, ..Somebody::new("eve-1", ADA) });
    let refused = Visitor::new(&server).sign_in_by("/oidc/work").await;
    assert!(refused.status == 409 && refused.body.contains("was proved"), "{}", refused.body);
    person(&server, "bob@example.com", None).await;
    let disabled = server.admin().0.post("/admin/v1/people/bob@example.com/disable", &serde_json::json!({})).await;
    assert_eq!(disabled.status, 200);
    issuer.is_now(Somebody::new("bob-1", "bob@example.com"));
    let refused = Visitor::new(&server).sign_in_by("/oidc/work").await;
    assert!(refused.status == 409 && refused.body.contains("may not sign in"), "{}", refused.body);
    server.admin().0.post("/admin/v1/people/ada@example.com/disable", &serde_json::json!({})).await.ok();
    issuer.is_now(Somebody::new("ada-1", ADA));
    assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 409);
}

#[tokio::test]
async fn who_has_signed_in_links_an_identity_and_removes_it_but_not_the_last_way_in() {
    let (issuer, server) = stage(&[SIGN_UP]).await;
    issuer.is_now(Somebody { is_verified: false, ..Somebody::new("ada-1", "") });
    let mut ada = person(&server, ADA, None).await;
    let page = ada.get("/settings").await.body;
    assert!(page.contains("/dashboard/oidc/work?for=link"), "{page}");
    // Whoever has not signed in is led to do so first.
    let led = Visitor::new(&server).get("/oidc/work?for=link").await;
    assert!(led.header("location").unwrap().starts_with("/dashboard/sign-in?next="), "{:?}", led.header("location"));
    let asked = ada.sign_in_by("/oidc/work?for=link").await;
    assert!(asked.status == 200 && asked.body.contains("as ada-1 there"), "{}", asked.body);
    assert!(!ada.get("/settings").await.body.contains("ada-1"), "another page may have led here: nothing is done yet");
    // Of another person it is nothing.
    let mut eve = person(&server, "eve@example.com", None).await;
    let taken = eve.sign_on.clone();
    eve.sign_on.clone_from(&ada.sign_on);
    assert_eq!(eve.send("/identities/link", &[]).await.status, 400);
    eve.sign_on = taken;
    assert_eq!(ada.clone().post("/identities/link", &[("csrf", "wrong")]).await.status, 403);
    let linked = ada.send("/identities/link", &[]).await;
    assert_eq!(linked.header("location"), Some("/dashboard/settings?said=linked"), "{}", linked.body);
    assert_eq!(ada.send("/identities/link", &[]).await.status, 400, "once");
    let mut by_work = Visitor::new(&server);
    assert_eq!(by_work.sign_in_by("/oidc/work").await.status, 303);
    assert!(by_work.get("/settings").await.body.contains(ADA));
    let again = ada.sign_in_by("/oidc/work?for=link").await;
    assert!(again.status == 409 && again.body.contains("of yours already"), "{}", again.body);
    let stolen = eve.sign_in_by("/oidc/work?for=link").await;
    assert!(stolen.status == 409 && stolen.body.contains("somebody else"), "{}", stolen.body);
    // Removed, it opens nothing more.
    let id = |page: &str| page.split("/settings/identities/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let of_ada = id(&ada.get("/settings").await.body);
    assert_eq!(eve.send(&format!("/settings/identities/{of_ada}/remove"), &[]).await.status, 404);
    assert_eq!(ada.send(&format!("/settings/identities/{of_ada}/remove"), &[]).await.status, 303);
    assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 409);
    // Who came in by it has no other way in.
    issuer.is_now(Somebody::new("carl-1", "carl@example.com"));
    let mut carl = Visitor::new(&server);
    assert_eq!(carl.sign_in_by("/oidc/work").await.status, 303);
    let page = carl.get("/settings").await.body;
    assert!(page.contains("You have no password"), "{page}");
    let of_carl = id(&page);
    let kept = carl.send(&format!("/settings/identities/{of_carl}/remove"), &[]).await;
    assert!(kept.status == 409 && kept.body.contains("last way in"), "{}", kept.body);
    carl.post("/forgot", &[("email", "carl@example.com")]).await;
    let letter = letters(&server, "carl@example.com", 1).await.pop().unwrap();
    let token = token_of(&link_of(&server, &letter));
    assert_eq!(carl.post("/reset", &[("token", &token), ("password", PASSWORD)]).await.status, 303);
    assert_eq!(carl.send(&format!("/settings/identities/{of_carl}/remove"), &[]).await.status, 303);
    assert_eq!(Visitor::new(&server).sign_in("carl@example.com", PASSWORD).await.status, 303);
}

#[tokio::test]
async fn an_invitation_is_accepted_by_an_issuer_whatever_it_says_of_the_address() {
    let (issuer, server) = stage(&[]).await;
    let customer = server.admin().customer("free", "0").await;
    let mut owner = person(&server, "olga@example.com", Some((&customer.id, "owner"))).await;
    let mut invited = async |email: &str| {
        owner.send("/members/invite", &[("email", email), ("role", "developer")]).await;
        token_of(&link_of(&server, letters(&server, email, 1).await.last().unwrap()))
    };
    issuer.is_now(Somebody { is_verified: false, ..Somebody::new("ada-1", "other@example.com") });
    let token = invited(ADA).await;
    let mut ada = Visitor::new(&server);
    let page = ada.get(&format!("/join?token={token}")).await.body;
    assert!(page.contains(&format!("/dashboard/oidc/work?token={token}")), "{page}");
    assert_eq!(ada.sign_in_by("/oidc/work?token=no-such-token").await.status, 404);
    let joined = ada.sign_in_by(&format!("/oidc/work?token={token}")).await;
    assert_eq!((joined.status, joined.header("location")), (303, Some("/dashboard")), "{}", joined.body);
    let page = ada.get("").await.body;
    assert!(page.contains("developer"), "{page}");
    assert!(ada.get("/settings").await.body.contains(ADA), "the letter has proved this address, and no other");
    // It is used up, and an identity is one person's.
    issuer.is_now(Somebody::new("eve-1", "eve@example.com"));
    assert_eq!(Visitor::new(&server).sign_in_by(&format!("/oidc/work?token={token}")).await.status, 404);
    issuer.is_now(Somebody::new("ada-1", ADA));
    let second = invited("second@example.com").await;
    assert_eq!(Visitor::new(&server).sign_in_by(&format!("/oidc/work?token={second}")).await.status, 409);
    // Of an address that is a person's already an invitation links nothing.
    issuer.is_now(Somebody::new("zoe-1", "zoe@example.com"));
    person(&server, "zoe@example.com", None).await;
    let of_zoe = invited("zoe@example.com").await;
    let page = Visitor::new(&server).get(&format!("/join?token={of_zoe}")).await.body;
    assert!(!page.contains("/dashboard/oidc/"), "{page}");
    assert_eq!(Visitor::new(&server).sign_in_by(&format!("/oidc/work?token={of_zoe}")).await.status, 409);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn where_passwords_open_nothing_an_issuer_is_the_way_in() {
    let off = [("FAREBOX_PEOPLE__PASSWORDS", "false"), ("FAREBOX_PEOPLE__SIGN_UP", "open"), SIGN_UP];
    let domains = ("FAREBOX_PEOPLE__OIDC__WORK__DOMAINS", "example.com,example.org");
    let (issuer, server) = stage(&[&off[..], &[domains]].concat()).await;
    let mut ada = Visitor::new(&server);
    let page = ada.get("/sign-in").await.body;
    assert!(!page.contains("by-password") && page.contains("by-issuer") && page.contains("by-key"), "{page}");
    let refused = ada.sign_in(ADA, PASSWORD).await;
    assert!(refused.status == 409 && refused.body.contains("sign in by Work"), "{}", refused.body);
    assert_eq!(ada.post("/forgot", &[("email", ADA)]).await.status, 409);
    // A letter proves the address, and the issuer comes behind it.
    ada.post("/sign-up", &[("email", ADA)]).await;
    let token = token_of(&link_of(&server, &letters(&server, ADA, 1).await[0]));
    let page = ada.get(&format!("/join?token={token}")).await.body;
    assert!(!page.contains("name=\"password\"") && page.contains("Go on by Work"), "{page}");
    assert_eq!(ada.post("/join", &[("token", &token), ("name", "Ada"), ("password", PASSWORD)]).await.status, 409);
    assert_eq!(ada.sign_in_by(&format!("/oidc/work?token={token}")).await.status, 303);
    let page = ada.get("/settings").await.body;
    assert!(!page.contains("password"), "{page}");
    assert_eq!(
        ada.send("/settings/password", &[("old", PASSWORD), ("password", "another long one")]).await.status,
        409
    );
    assert_eq!(
        server.admin().0.post("/admin/v1/people/ada@example.com/reset-link", &serde_json::json!({})).await.status,
        409
    );
    // An issuer speaks for addresses of its domains.
    issuer.is_now(Somebody::new("bob-1", "Bob@Example.org"));
    assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 303);
    for (subject, email, is_verified) in
        [("eve-1", "eve@evil-example.com", true), ("eve-2", "eve@example.com", false), ("eve-3", "", true)]
    {
        issuer.is_now(Somebody { is_verified, ..Somebody::new(subject, email) });
        let refused = Visitor::new(&server).sign_in_by("/oidc/work").await;
        assert!(refused.status == 409 && refused.body.contains("some addresses alone"), "{}", refused.body);
    }
}
