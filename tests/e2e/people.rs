//! People: how they come in, what each role may, and what somebody who means harm finds.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Customer, answer},
    fake_openai::FakeOpenAi,
    fake_smtp::FakeSmtp,
    pages::hidden,
    people::{PASSWORD, Visitor, cookie_of, letters, link_of, person, token_of},
    server::{Options, Server},
};

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_PEOPLE__SIGN_UP", "open");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

fn chat() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_person_comes_in_by_a_link_and_nobody_learns_who_is_one() {
    let (_fake, server, _) = stage().await;
    let mut ada = Visitor::new(&server);
    let sent = ada.post("/sign-up", &[("email", " Ada@Example.com")]).await;
    assert!(sent.status == 200 && sent.body.contains("on its way"), "{}", sent.body);
    let link = link_of(&server, &letters(&server, "ada@example.com", 1).await[0]);
    let page = format!("/join?token={}", token_of(&link));
    // Programs look at links in mails.
    for _ in 0..2 {
        let shown = ada.get(&page).await;
        assert!(shown.status == 200 && shown.body.contains("ada@example.com"), "{}", shown.body);
    }
    let token = token_of(&link);
    for (name, password, says) in [
        ("Ada", "short", "password"),
        ("Ada", "ada@example.com", "password"),
        ("", PASSWORD, "name"),
        ("A\nb", PASSWORD, "name"),
    ] {
        let refused = ada.post("/join", &[("token", &token), ("name", name), ("password", password)]).await;
        assert!(refused.status == 400 && refused.body.contains(&format!("{says}: ")), "{}", refused.body);
    }
    let joined = ada.join(&link, "Ada <script>alert(1)</script>").await;
    assert_eq!((joined.status, joined.header("location")), (303, Some("/dashboard")));
    let overview = ada.get("").await;
    assert!(overview.status == 200 && overview.body.contains("1.00"), "the first credits: {}", overview.body);
    assert!(overview.body.contains("owner") && !overview.body.contains("<script>alert"), "{}", overview.body);
    assert_eq!(ada.call(Method::POST, "/v1/chat/completions", &chat()).await.status, 200);
    // The link is used up.
    let mut other = Visitor::new(&server);
    assert_eq!((other.join(&link, "Eve").await.status, other.get(&page).await.status), (404, 404));
    for token in ["", "x", "0"] {
        assert!(other.get(&format!("/join?token={token}")).await.status >= 400);
    }
    // Signing up again says the same, and makes nothing.
    let again = other.post("/sign-up", &[("email", "ada@example.com")]).await;
    assert_eq!(
        (again.status, again.body.replace(' ', "")),
        (200, sent.body.replace(' ', "").replace("Ada@Example.com", "ada@example.com"))
    );
    assert!(!letters(&server, "ada@example.com", 2).await[1].contains("token="));
    // Nor do other forms tell.
    let mut said = Vec::new();
    for email in ["ada@example.com", "nobody@example.com", "no address"] {
        let wrong = other.sign_in(email, "wrong password").await;
        assert_eq!((wrong.status, cookie_of(&wrong)), (401, None));
        said.push(wrong.body.replace(email, ""));
    }
    assert!(said[0] == said[1] && said[1] == said[2]);
    let forgot = async |email| {
        let answer = Visitor::new(&server).post("/forgot", &[("email", email)]).await;
        (answer.status, answer.body.replace(email, ""))
    };
    assert_eq!(forgot("ada@example.com").await, forgot("nobody@example.com").await);
    letters(&server, "ada@example.com", 3).await;
    // Out, and in again: led to a page of ours alone.
    let out = ada.send("/sign-out", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/dashboard/sign-in")));
    assert!(!ada.is_in().await);
    assert_eq!(ada.sign_in("ada@example.com", PASSWORD).await.header("location"), Some("/dashboard/keys"));
    assert!(ada.is_in().await);
    for next in ["//evil.test", "https://evil.test/dashboard", "/v1/keys", "/dashboard/\\evil"] {
        let fields = [("email", "ada@example.com"), ("password", PASSWORD), ("next", next)];
        let led = Visitor::new(&server).post("/sign-in", &fields).await;
        assert!(led.header("location").unwrap().starts_with("/dashboard"), "{next}");
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn who_may_sign_up_is_a_setting() {
    for (setting, invites) in [("invited", 303), ("closed", 409)] {
        let server = Server::start(Options::default().set("FAREBOX_PEOPLE__SIGN_UP", setting)).await;
        let customer = server.admin().customer("free", "0").await;
        let mut stranger = Visitor::new(&server);
        let page = stranger.get("/sign-up").await;
        assert!(page.status == 200 && page.body.contains("by an invitation") && !page.body.contains("id=\"email\""));
        let refused = stranger.post("/sign-up", &[("email", "eve@example.com")]).await;
        assert!(refused.status == 409 && refused.body.contains("invitation"), "{}", refused.body);
        let mut owner = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
        let invited = owner.send("/members/invite", &[("email", "bob@example.com"), ("role", "reader")]).await;
        assert_eq!(invited.status, invites, "{setting}: {}", invited.body);
        // Whom an operator invites comes in, with an account of one's own too.
        let mut own = person(&server, "eve@example.com", None).await;
        assert!(own.get("").await.body.contains("eve@example.com"));
        let members = own.get("/members").await.body;
        assert!(members.contains("eve@example.com became owner, by signing up."), "{members}");
    }
}

#[tokio::test]
async fn each_role_sees_and_may_what_the_table_says() {
    let (_fake, server, customer) = stage().await;
    //            run    key    buy    invite  ask
    for (role, may) in [
        ("owner", [true, true, true, true, false]),
        ("billing", [false, false, true, false, false]),
        ("developer", [true, true, false, false, true]),
        ("reader", [false, false, false, false, true]),
    ] {
        let mut visitor = person(&server, &format!("{role}@example.com"), Some((&customer.id, role))).await;
        for page in [
            "",
            "/usage",
            "/requests",
            "/credits",
            "/keys",
            "/models",
            "/playground",
            "/events",
            "/members",
            "/settings",
        ] {
            let shown = visitor.get(page).await;
            assert!(shown.status == 200 && shown.body.contains(role), "{role} {page}: {}", shown.body);
        }
        for path in ["/v1/balance", "/v1/keys", "/v1/payments", "/v1/requests", "/v1/usage", "/v1/events"] {
            assert_eq!(visitor.call(Method::GET, path, &json!({})).await.status, 200, "{role} {path}");
        }
        let [run, key, buy, invite, ask] = may;
        let is = |allowed: bool, good: u16| if allowed { good } else { 403 };
        assert_eq!(visitor.call(Method::POST, "/v1/chat/completions", &chat()).await.status, is(run, 200), "{role}");
        assert_eq!(visitor.get("/playground").await.body.contains("id=\"playground\""), run, "{role}");
        let once = visitor.once("/keys").await;
        let made = visitor.send("/keys", &[("once", &once), ("name", role)]).await;
        assert_eq!(made.status, is(key, 200), "{role}: {}", made.body);
        assert_eq!(visitor.call(Method::POST, "/v1/keys", &json!({"name": "x"})).await.status, is(key, 200), "{role}");
        let listed = customer.api.get("/v1/keys").await.ok();
        let id = listed["data"][0]["id"].as_str().unwrap();
        if !key {
            assert_eq!(visitor.send(&format!("/keys/{id}/revoke"), &[]).await.status, 403, "{role}");
            assert_eq!(visitor.call(Method::DELETE, &format!("/v1/keys/{id}"), &json!({})).await.status, 403, "{role}");
        }
        let once = visitor.once("/credits").await;
        let bought = visitor.send("/credits/buy", &[("once", &once), ("amount", "5"), ("card", "pm_card_visa")]).await;
        assert_eq!(bought.status, is(buy, 303), "{role}: {}", bought.body);
        let body = json!({"amount": "5", "payment_method": "pm_card_visa"});
        assert_eq!(visitor.call(Method::POST, "/v1/credits/purchase", &body).await.status, is(buy, 200), "{role}");
        for (path, fields) in
            [("/credits/auto-reload", &[("enabled", "false")][..]), ("/credits/auto-scale", &[("enabled", "false")])]
        {
            assert_eq!(visitor.send(path, fields).await.status, is(buy, 303), "{role} {path}");
        }
        let invited =
            visitor.send("/members/invite", &[("email", &format!("by-{role}@example.com")), ("role", "reader")]).await;
        assert_eq!(invited.status, is(invite, 303), "{role}: {}", invited.body);
        let asked = visitor.send("/members/ask", &[("wants", "credits")]).await;
        assert_eq!(asked.status, is(ask, 303), "{role}: {}", asked.body);
        // A session is no operator.
        assert_eq!(visitor.call(Method::GET, "/admin/v1/people", &json!({})).await.status, 401, "{role}");
    }
    // A developer's key may no more than a developer, and outlasts the session.
    let listed = customer.api.get("/v1/keys").await.ok();
    let of = |name: &str| listed["data"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap().clone();
    assert_eq!(of("developer")["scopes"], json!(["inference", "read", "keys"]));
    assert_eq!(of("developer")["expires_at"], Value::Null);
    // What was asked for is mailed to the owner, and on the owner's overview.
    assert!(letters(&server, "owner@example.com", 2).await[0].contains("asks for credits"));
    let mut owner = Visitor::new(&server);
    owner.sign_in("owner@example.com", PASSWORD).await;
    let overview = owner.get("").await.body;
    assert!(
        overview.contains("developer@example.com asks for credits") && overview.contains("reader@example.com asks")
    );
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn members_are_invited_changed_and_removed_and_the_last_owner_stays() {
    let (_fake, server, customer) = stage().await;
    let mut owner = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    owner.send("/members/invite", &[("email", "bob@example.com"), ("role", "developer")]).await;
    let page = owner.get("/members").await.body;
    assert!(page.contains("bob@example.com") && page.contains("Withdraw"), "{page}");
    let link = link_of(&server, &letters(&server, "bob@example.com", 1).await[0]);
    let mut bob = Visitor::new(&server);
    assert_eq!(bob.join(&link, "<img src=x onerror=alert(1)>").await.status, 303);
    let page = owner.get("/members").await.body;
    assert!(page.contains("bob@example.com became developer, by invitation") && !page.contains("<img src=x"), "{page}");
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let id = |email: &str| {
        let found = members["data"].as_array().unwrap().iter().find(|member| member["email"] == email);
        found.unwrap()["person_id"].as_str().unwrap().to_owned()
    };
    let (ada_id, bob_id) = (id("ada@example.com"), id("bob@example.com"));
    for role in ["billing", "developer", "reader"] {
        let kept = owner.send(&format!("/members/{ada_id}/role"), &[("role", role)]).await;
        assert!(kept.status == 409 && kept.body.contains("last owner"), "{}", kept.body);
    }
    assert_eq!(owner.send(&format!("/members/{ada_id}/remove"), &[]).await.status, 409);
    assert_eq!(owner.send(&format!("/members/{bob_id}/role"), &[("role", "king")]).await.status, 400);
    assert_eq!(bob.send(&format!("/members/{ada_id}/remove"), &[]).await.status, 403);
    // A change is in force at once, in sessions that are open.
    assert_eq!(bob.call(Method::POST, "/v1/chat/completions", &chat()).await.status, 200);
    assert_eq!(owner.send(&format!("/members/{bob_id}/role"), &[("role", "reader")]).await.status, 303);
    assert_eq!(bob.call(Method::POST, "/v1/chat/completions", &chat()).await.status, 403);
    // Of another account there is nobody.
    let other = server.admin().customer("free", "0").await;
    let mut eve = person(&server, "eve@example.com", Some((&other.id, "owner"))).await;
    assert_eq!(eve.send(&format!("/members/{bob_id}/role"), &[("role", "owner")]).await.status, 404);
    assert_eq!(eve.send(&format!("/members/{bob_id}/remove"), &[]).await.status, 404);
    assert_eq!(eve.send("/accounts", &[("account", &customer.id)]).await.status, 404);
    owner.send("/members/invite", &[("email", "zoe@example.com"), ("role", "reader")]).await;
    let page = owner.get("/members").await.body;
    let invitation = page.split("/members/invitations/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert_eq!(eve.send(&format!("/members/invitations/{invitation}/withdraw"), &[]).await.status, 404);
    let link = link_of(&server, &letters(&server, "zoe@example.com", 1).await[0]);
    assert_eq!(owner.send(&format!("/members/invitations/{invitation}/withdraw"), &[]).await.status, 303);
    assert_eq!(Visitor::new(&server).join(&link, "Zoe").await.status, 404, "it was withdrawn");
    // Who is a person already becomes a member by the letter, and looks at either account.
    owner.send("/members/invite", &[("email", "eve@example.com"), ("role", "billing")]).await;
    let link = link_of(&server, &letters(&server, "eve@example.com", 1).await[0]);
    let joined = Visitor::new(&server).join(&link, "").await;
    assert!(joined.status == 200 && joined.body.contains("a member now") && cookie_of(&joined).is_none());
    assert_eq!(eve.send("/accounts", &[("account", &customer.id)]).await.status, 303);
    assert!(eve.get("").await.body.contains("billing"));
    assert_eq!(eve.send("/members/invite", &[("email", "x@example.com"), ("role", "owner")]).await.status, 403);
    // What an owner has invited is good for as long as that is an owner.
    owner.send(&format!("/members/{bob_id}/role"), &[("role", "owner")]).await;
    bob.send("/members/invite", &[("email", "mallory@example.com"), ("role", "owner")]).await;
    let back = link_of(&server, &letters(&server, "mallory@example.com", 1).await[0]);
    owner.send(&format!("/members/{bob_id}/role"), &[("role", "reader")]).await;
    assert_eq!(Visitor::new(&server).join(&back, "Mallory").await.status, 404);
    // Removed, one sees nothing more of it; with no account left, that there is none.
    assert_eq!(owner.send(&format!("/members/{bob_id}/remove"), &[]).await.status, 303);
    let out = bob.get("/keys").await;
    assert_eq!((out.status, out.header("location")), (303, Some("/dashboard/accounts")));
    assert!(bob.get("/accounts").await.body.contains("a member of no account"));
    assert_eq!(answer(bob.request(Method::GET, "/v1/balance")).await.status, 403);
    let kinds = customer.api.get("/v1/events?kind=member_left").await.ok();
    assert_eq!(kinds["data"][0]["data"]["person_id"], bob_id.as_str(), "{kinds}");
    assert!(!kinds.to_string().contains("bob@"), "the log knows no address of a person");
    // An operator forgets a person; the account goes on.
    assert_eq!(answer(server.admin().0.request(Method::DELETE, "/admin/v1/people/ada@example.com")).await.status, 409);
    answer(server.admin().0.request(Method::DELETE, &format!("/admin/v1/people/{bob_id}"))).await.ok();
    assert!(!bob.is_in().await);
    assert!(owner.get("/members").await.body.contains("somebody who was forgotten is no more reader"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn stolen_fixed_and_forged_cookies_open_nothing() {
    let (_fake, server, customer) = stage().await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let (stolen, csrf) = (ada.clone(), ada.csrf().await);
    // Forged: another id, another token, another form.
    let (id, token) = ada.cookie.split_once("=p.").unwrap().1.split_once('.').unwrap();
    let (id, token) = (id.to_owned(), token.to_owned());
    let hash = blake3::hash(token.as_bytes()).to_hex();
    for forged in [
        format!("p.{id}.{}", "0".repeat(64)),
        format!("p.{id}.{hash}"),
        format!("p.{}.{token}", uuid::Uuid::new_v4().simple()),
        format!("p.{id}."),
        format!("p.{id}"),
        format!("{id}.{token}"),
    ] {
        let mut thief = Visitor::new(&server);
        thief.cookie = format!("farebox_session={forged}");
        assert!(!thief.is_in().await, "{forged}");
        assert_eq!(answer(thief.request(Method::GET, "/v1/balance")).await.status, 401, "{forged}");
    }
    assert!(ada.is_in().await, "whoever guesses ends nobody's session");
    // A form of another page, or of another session, does nothing.
    let mut eve = person(&server, "eve@example.com", None).await;
    let theirs = eve.csrf().await;
    for fields in [&[("name", "Eve")][..], &[("csrf", &theirs), ("name", "Eve")]] {
        assert_eq!(ada.post("/settings/name", fields).await.status, 403);
    }
    let foreign = ada.request(Method::POST, "/dashboard/settings/name").form(&[("csrf", &*csrf), ("name", "Eve")]);
    assert_eq!(answer(foreign.header("origin", "https://evil.test")).await.status, 403);
    let foreign =
        Visitor::new(&server).request(Method::POST, "/dashboard/sign-in").header("origin", "https://evil.test");
    let foreign = answer(foreign.form(&[("email", "eve@example.com"), ("password", PASSWORD)])).await;
    assert_eq!((foreign.status, cookie_of(&foreign)), (403, None), "nobody is signed in to another's account");
    assert_eq!(answer(ada.request(Method::POST, "/v1/chat/completions").json(&chat())).await.status, 401);
    // Fixed: a cookie that came before signing in is not taken over.
    let mut fixed = Visitor::new(&server);
    fixed.cookie = format!("farebox_session=p.{}.{}", uuid::Uuid::new_v4().simple(), "1".repeat(64));
    let planted = fixed.clone();
    assert_eq!(fixed.sign_in("eve@example.com", PASSWORD).await.status, 303);
    assert_ne!(fixed.cookie, planted.cookie);
    let mut planted = planted;
    assert!(fixed.is_in().await && !planted.is_in().await);
    // Signing in again leaves the session before it behind.
    let mut before = fixed.clone();
    assert_eq!(fixed.sign_in("eve@example.com", PASSWORD).await.status, 303);
    assert!(fixed.is_in().await && !before.is_in().await);
    // Stolen: the owner's next page rotates the token. The old one is good for requests on their way, and then ends it all.
    server.admin().advance(3_601).await;
    let old = ada.cookie.clone();
    assert!(ada.is_in().await && ada.cookie != old, "the token is another one");
    assert_eq!(csrf, ada.csrf().await, "forms that are open stay good");
    let mut thief = stolen;
    assert!(thief.is_in().await, "a request on its way");
    server.admin().advance(61).await;
    assert!(!thief.is_in().await);
    assert!(!ada.is_in().await, "the owner, or the thief, has the other one");
    // Idle, and for long.
    let mut idle = Visitor::new(&server);
    idle.sign_in("ada@example.com", PASSWORD).await;
    server.admin().advance(12 * 3_600).await;
    assert!(!idle.is_in().await);
    let mut busy = Visitor::new(&server);
    busy.sign_in("ada@example.com", PASSWORD).await;
    for _ in 0..33 {
        server.admin().advance(10 * 3_600).await;
        assert!(busy.is_in().await);
    }
    server.admin().advance(7 * 3_600).await;
    assert!(!busy.is_in().await, "a session ends however much it is used");
}

#[tokio::test]
async fn passwords_are_changed_and_reset_and_other_sessions_end() {
    let (_fake, server, customer) = stage().await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let mut other = Visitor::new(&server);
    other.sign_in("ada@example.com", PASSWORD).await;
    let page = ada.get("/settings").await.body;
    assert_eq!(page.matches("A &#60;b&#62;browser&#60;/b&#62;").count(), 2, "{page}");
    // One of the sessions, and all.
    let mut third = Visitor::new(&server);
    third.sign_in("ada@example.com", PASSWORD).await;
    let mut eve = person(&server, "eve@example.com", None).await;
    let third_id = third.cookie.split_once("=p.").unwrap().1.split('.').next().unwrap().to_owned();
    assert_eq!(eve.send(&format!("/settings/sessions/{third_id}/end"), &[]).await.status, 404, "of another person");
    assert_eq!(ada.send(&format!("/settings/sessions/{third_id}/end"), &[]).await.status, 303);
    assert!(!third.is_in().await && other.is_in().await);
    let change = async |visitor: &mut Visitor, old: &str, new: &str| {
        visitor.send("/settings/password", &[("old", old), ("password", new)]).await.status
    };
    assert_eq!(change(&mut ada, "wrong password", "another long one").await, 403);
    assert_eq!(change(&mut ada, PASSWORD, "short").await, 400);
    assert_eq!(change(&mut ada, PASSWORD, "another long one").await, 303);
    assert!(ada.is_in().await && !other.is_in().await);
    assert!(letters(&server, "ada@example.com", 1).await[0].contains("was changed"));
    assert_eq!(other.sign_in("ada@example.com", PASSWORD).await.status, 401);
    // Forgotten: only the newest link is good, once, and for half an hour.
    let mut lost = Visitor::new(&server);
    let mut links = Vec::new();
    for count in 2..4 {
        lost.post("/forgot", &[("email", "ada@example.com")]).await;
        links.push(link_of(&server, &letters(&server, "ada@example.com", count).await[count - 1]));
    }
    let reset = async |visitor: &mut Visitor, link: &str, password: &str| {
        visitor.post("/reset", &[("token", &token_of(link)), ("password", password)]).await.status
    };
    assert_eq!(reset(&mut lost, &links[0], "a third long one").await, 404);
    assert_eq!(Visitor::new(&server).join(&links[1], "Ada").await.status, 404, "it is no invitation");
    assert_eq!(reset(&mut lost, &links[1], "short").await, 400, "the link is good yet");
    assert_eq!(reset(&mut lost, &links[1], "a third long one").await, 303);
    assert!(lost.is_in().await && !ada.is_in().await);
    assert_eq!(reset(&mut Visitor::new(&server), &links[1], "a fourth long one").await, 404);
    lost.post("/forgot", &[("email", "ada@example.com")]).await;
    let late = letters(&server, "ada@example.com", 5).await;
    let late = late.iter().rev().find(|letter| letter.contains("token=")).unwrap();
    server.admin().advance(30 * 60).await;
    assert_eq!(reset(&mut Visitor::new(&server), &link_of(&server, late), "a fifth long one").await, 404);
    let out = lost.send("/settings/sign-out-everywhere", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/dashboard/sign-in")));
    assert!(!lost.is_in().await);
    // No secret is in the log or in the answers of an operator.
    let people = server.admin().0.get("/admin/v1/people").await.body;
    assert!(!people.contains("argon2") && !server.logs().contains("argon2") && !server.logs().contains("token="));
}

#[tokio::test]
async fn tries_are_bounded_and_answered_in_words() {
    let (_fake, server, customer) = stage().await;
    person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let mut thief = Visitor::new(&server);
    for _ in 0..10 {
        assert_eq!(thief.sign_in("ada@example.com", "wrong password").await.status, 401);
    }
    for (email, password) in [("ada@example.com", "wrong password"), ("ADA@example.com", PASSWORD)] {
        let refused = thief.sign_in(email, password).await;
        assert!(refused.status == 429 && refused.body.contains("Too many tries"), "{}", refused.body);
        assert!(cookie_of(&refused).is_none());
    }
    for count in 0..6 {
        let asked = thief.post("/forgot", &[("email", "ada@example.com")]).await.status;
        assert_eq!(asked, if count < 5 { 200 } else { 429 });
    }
    // A letter is the way in for whom others lock out.
    let last = letters(&server, "ada@example.com", 5).await;
    let token = token_of(&link_of(&server, last.last().unwrap()));
    let mut ada = Visitor::new(&server);
    assert_eq!(ada.post("/reset", &[("token", &token), ("password", "a new long one")]).await.status, 303);
    assert!(ada.is_in().await);
    // One network has so many for all addresses; some come back while it tries.
    let mut last = 0;
    for number in 0..200 {
        last = thief.sign_in(&format!("{number}@example.com"), "wrong password").await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429, "from one network");
}

#[tokio::test]
async fn an_account_that_an_operator_made_becomes_its_addresss_owners() {
    let (_fake, server, _) = stage().await;
    let made = server.admin().0.post("/admin/v1/accounts", &json!({"email": "ada@example.com"})).await.ok();
    let id = made["id"].as_str().unwrap();
    let mut ada = Visitor::new(&server);
    ada.post("/sign-up", &[("email", "ada@example.com")]).await;
    let link = link_of(&server, &letters(&server, "ada@example.com", 1).await[0]);
    ada.join(&link, "Ada").await;
    assert!(ada.get("/accounts").await.body.contains("owner"));
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{id}/members")).await.ok();
    assert_eq!(members["data"][0]["role"], "owner");
    // One that others own does not.
    let other = server.admin().0.post("/admin/v1/accounts", &json!({"email": "bob@example.com"})).await.ok();
    person(&server, "carl@example.com", Some((other["id"].as_str().unwrap(), "owner"))).await;
    let mut bob = Visitor::new(&server);
    bob.post("/sign-up", &[("email", "bob@example.com")]).await;
    let link = link_of(&server, &letters(&server, "bob@example.com", 1).await[0]);
    assert_eq!(bob.join(&link, "Bob").await.status, 303);
    assert!(bob.get("/accounts").await.body.contains("a member of no account"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_operator_helps_people_without_mail() {
    let (_fake, mut server, customer) = stage().await;
    let said = |server: &Server, arguments: &[&str]| {
        let output = server.cli(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let invited = ["person", "invite", "ada@example.com", "--account", &customer.id, "--role", "owner"];
    let link: Value = serde_json::from_str(&said(&server, &invited)).unwrap();
    let mut ada = Visitor::new(&server);
    assert_eq!(ada.join(link["link"].as_str().unwrap(), "Ada").await.status, 303);
    let listed = said(&server, &["person", "list", "--search", "ADA"]);
    assert!(listed.contains("ada@example.com") && listed.contains("(owner)"), "{listed}");
    let away = said(&server, &["person", "disable", "ada@example.com", "--keep-keys"]);
    assert!(away.contains("keys_revoked"), "{away}");
    assert!(!ada.is_in().await);
    assert_eq!(ada.sign_in("ada@example.com", PASSWORD).await.status, 401);
    said(&server, &["person", "enable", "ada@example.com"]);
    let link: Value = serde_json::from_str(&said(&server, &["person", "reset-link", "ada@example.com"])).unwrap();
    let token = token_of(link["link"].as_str().unwrap());
    assert_eq!(ada.post("/reset", &[("token", &token), ("password", "a new long one")]).await.status, 303);
    for wrong in [
        &["person", "invite", "no address"][..],
        &["person", "invite", "a@b.c", "--account", &customer.id],
        &["person", "invite", "a@b.c", "--role", "owner"],
        &["person", "reset-link", "nobody@example.com"],
    ] {
        assert!(!server.cli(wrong).status.success(), "{wrong:?}");
    }
    let body = json!({"email": "a@b.c", "role": "owner"});
    let refused = server.admin().0.post("/admin/v1/people/invite", &body).await;
    assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("role")));
    // People and members survive tables that are made again from the log.
    assert!(server.stop().await.success());
    let rebuilt = server.cli(&["rebuild", "--replace"]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    server.restart().await;
    let mut again = Visitor::new(&server);
    again.cookie.clone_from(&ada.cookie);
    assert!(again.is_in().await && again.get("").await.body.contains("owner"));
    assert_eq!(Visitor::new(&server).sign_in("ada@example.com", "a new long one").await.status, 303);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn letters_go_to_a_mail_server_that_may_be_busy_or_refuse() {
    let smtp = FakeSmtp::start(1);
    let options = Options::default()
        .set("FAREBOX_PEOPLE__SIGN_UP", "open")
        .set("FAREBOX_PEOPLE__URL", "https://box.example.com/")
        .set("FAREBOX_PEOPLE__MAIL__FROM", "Box <box@example.com>")
        .set("FAREBOX_PEOPLE__MAIL__SMTP", &smtp.url());
    let server = Server::start(options).await;
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.post("/sign-up", &[("email", "ada@example.com")]).await.status, 200);
    let began = std::time::Instant::now();
    let taken = loop {
        if let Some(taken) = smtp.taken().pop() {
            break taken;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no letter came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&*taken.from, &*taken.to), ("box@example.com", "ada@example.com"));
    assert!(
        taken.text.contains("From: Box <box@example.com>\r\n") && taken.text.contains("\r\nDate: "),
        "{}",
        taken.text
    );
    let link = taken.text.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    assert!(link.starts_with("https://box.example.com/dashboard/join?token="), "{link}");
    assert_eq!(visitor.join(link, "Ada").await.status, 303);
    // What no server takes is kept for an operator.
    visitor.post("/sign-up", &[("email", "nobody@example.com")]).await;
    assert!(letters(&server, "nobody@example.com", 1).await[0].contains("token="));
    let csrf = hidden(&visitor.get("/accounts").await.body, "csrf");
    assert!(csrf.len() == 64 + 1 + 32, "with the account of the page: {csrf}");
    assert_eq!(smtp.taken().len(), 1);
}
