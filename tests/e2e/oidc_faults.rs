//! What issuers do wrong, and what somebody does who means harm: said in words, and nobody is in.

use crate::{
    oidc::stage,
    support::{
        client::Answer,
        issuer::{Fault, SECRET, Somebody},
        people::{Visitor, person},
        server::Server,
    },
};

const SIGN_UP: (&str, &str) = ("FAREBOX_PEOPLE__OIDC__WORK__SIGN_UP", "true");

/// A page in words, with nothing in it that an issuer sent.
#[track_caller]
fn is_refused(answer: &Answer, status: u16, says: &str) {
    assert!(answer.status == status && answer.body.contains(says), "{}: {}", answer.status, answer.body);
    assert!(answer.body.contains("<h1>") && !answer.body.contains("<script>no"), "{}", answer.body);
    assert!(!answer.body.contains("code.") && !answer.body.contains("access."), "{}", answer.body);
}

async fn is_nobody_in(server: &Server) {
    let people = server.admin().0.get("/admin/v1/people").await.ok();
    assert_eq!(people["data"].as_array().unwrap().len(), 0, "{people}");
}

#[tokio::test]
async fn what_an_issuer_does_wrong_lets_nobody_in() {
    let (issuer, server) = stage(&[SIGN_UP]).await;
    let faults = [
        (Fault::Denied, 409, "was not allowed"),
        (Fault::State, 400, "begin again"),
        (Fault::From, 409, "could not be believed"),
        (Fault::NoFrom, 409, "could not be believed"),
        (Fault::Expired, 409, "could not be believed"),
        (Fault::Nonce, 409, "could not be believed"),
        (Fault::Audience, 409, "could not be believed"),
        (Fault::Audiences, 409, "could not be believed"),
        (Fault::Party, 409, "could not be believed"),
        (Fault::Issuer, 409, "could not be believed"),
        (Fault::Unsigned, 409, "could not be believed"),
        (Fault::SharedSecret, 409, "could not be believed"),
        (Fault::OtherKey, 409, "could not be believed"),
        (Fault::Changed, 409, "could not be believed"),
        (Fault::AccessToken, 409, "could not be believed"),
        (Fault::NoToken, 409, "could not be believed"),
        (Fault::Broken, 503, "can&#39;t be asked just now"),
        (Fault::Name, 502, "can&#39;t be read here"),
        (Fault::Subject, 502, "can&#39;t be read here"),
        (Fault::Proved, 502, "can&#39;t be read here"),
        (Fault::Expiry, 502, "can&#39;t be read here"),
    ];
    for (fault, status, says) in faults {
        issuer.script(fault);
        let mut ada = Visitor::new(&server);
        let refused = ada.sign_in_by("/oidc/work").await;
        is_refused(&refused, status, says);
        assert!(!ada.is_in().await && ada.sign_on.is_empty(), "{fault:?}");
    }
    is_nobody_in(&server).await;
    // A name that is none.
    issuer.is_now(Somebody::new("", "ada@example.com"));
    is_refused(&Visitor::new(&server).sign_in_by("/oidc/work").await, 409, "could not be believed");
    is_nobody_in(&server).await;
    // Without any of this somebody is in.
    issuer.is_now(Somebody::new("ada-1", "ada@example.com"));
    assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 303);
    let logs = server.logs();
    assert!(
        logs.contains("somebody could not sign in by an issuer")
            && !logs.contains("id_token")
            && !logs.contains(SECRET)
    );
    for secret in issuer.secrets() {
        assert!(!logs.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn codes_states_and_browsers_are_not_exchanged() {
    let (issuer, server) = stage(&[SIGN_UP]).await;
    let mut ada = Visitor::new(&server);
    let back = ada.back_from_issuer("/oidc/work").await;
    // Another browser has begun nothing, or something else.
    let mut thief = Visitor::new(&server);
    is_refused(&thief.open(&back).await, 400, "begin again");
    thief.get("/oidc/work").await;
    is_refused(&thief.open(&back).await, 400, "begin again");
    let asked = issuer.asked();
    assert!(!asked.iter().any(|asked| asked == "POST /token"), "no code was shown to anybody: {asked:?}");
    // Cookies that are not ours, or of another kind.
    for forged in [
        "farebox_sign_on=",
        "farebox_sign_on=AAAA",
        "farebox_sign_on=!",
        &format!("farebox_sign_on={}", "A".repeat(5_000)),
    ] {
        let mut visitor = Visitor::new(&server);
        visitor.sign_on = forged.to_owned();
        is_refused(&visitor.open(&back).await, 400, "begin again");
        assert_eq!(visitor.post("/identities/confirm", &[("token", "x")]).await.status, 400);
    }
    // Parameters twice, or none.
    for wrong in
        [format!("{back}&code=another"), format!("{back}&state=another"), back.split('?').next().unwrap().to_owned()]
    {
        is_refused(&ada.clone().open(&wrong).await, 400, "begin again");
    }
    is_refused(&ada.clone().open(&back.replace("work/callback", "other/callback")).await, 400, "begin again");
    // A code is good once, whoever shows it, also where the browser would remember.
    let mut twin = ada.clone();
    assert_eq!(ada.open(&back).await.status, 303);
    is_refused(&ada.open(&back).await, 400, "begin again");
    is_refused(&twin.open(&back).await, 409, "does not take this sign-in any more");
    // Somebody who takes too long.
    let mut slow = Visitor::new(&server);
    let back = slow.back_from_issuer("/oidc/work").await;
    server.admin().advance(600).await;
    is_refused(&slow.open(&back).await, 400, "begin again");
    // There is no such issuer, nor such a page to be led to.
    is_refused(&ada.get("/oidc/nobody").await, 404, "an issuer of this name");
    assert_eq!(ada.get("/oidc/work?for=ever").await.status, 400);
    assert_eq!(ada.get("/oidc/work?for=link&token=x").await.status, 400);
    let long = ada.get(&format!("/oidc/work?token={}", "x".repeat(4_000))).await;
    is_refused(&long, 400, "too long");
}

#[tokio::test]
async fn an_issuer_that_is_away_or_changes_its_keys_is_lived_with() {
    let (issuer, server) = stage(&[SIGN_UP]).await;
    issuer.is_down(true);
    let mut ada = person(&server, "olga@example.com", None).await;
    assert!(ada.is_in().await, "passwords go on");
    is_refused(&Visitor::new(&server).get("/oidc/work").await, 503, "can&#39;t be asked just now");
    let asked = issuer.asked().len();
    is_refused(&Visitor::new(&server).get("/oidc/work").await, 503, "can&#39;t be asked just now");
    assert_eq!(issuer.asked().len(), asked, "it is not asked again at once");
    issuer.is_down(false);
    let began = std::time::Instant::now();
    while Visitor::new(&server).get("/oidc/work").await.status == 503 {
        assert!(began.elapsed().as_secs() < 30, "it is back");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 303);
    // Keys change while somebody is there; by RSA, and on a curve.
    for to_curve in [false, true] {
        let before = issuer.asked().iter().filter(|asked| *asked == "GET /keys").count();
        issuer.rotate(to_curve);
        for _ in 0..2 {
            assert_eq!(Visitor::new(&server).sign_in_by("/oidc/work").await.status, 303, "{to_curve}");
        }
        let after = issuer.asked().iter().filter(|asked| *asked == "GET /keys").count();
        assert_eq!(after, before + 1, "another look at its keys, once");
    }
    // An address that is told apart is asked for, and believed of the same somebody.
    issuer.tells_addresses_apart();
    issuer.is_now(Somebody::new("zoe-1", "zoe@example.com"));
    let mut zoe = Visitor::new(&server);
    assert_eq!(zoe.sign_in_by("/oidc/work").await.status, 303);
    assert!(zoe.get("/settings").await.body.contains("zoe@example.com"));
    // It is away as a code comes back.
    let mut late = Visitor::new(&server);
    let back = late.back_from_issuer("/oidc/work").await;
    issuer.is_down(true);
    is_refused(&late.open(&back).await, 503, "can&#39;t be asked just now");
}
