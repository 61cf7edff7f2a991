//! What somebody may do no more, at once and whatever is under way: keys that are made while a membership ends, streams of a busy
//! account, requests of a role that has changed; and tries that are counted however an address is spelt.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    client::{Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    people::{PASSWORD, Visitor, letters, link_of, person},
    server::{Options, Server},
    socket::Socket,
};

/// Why a socket is closed.
const CHANGED: &str = "what the key or the session may do has changed; open another";

async fn stage(options: Options) -> (Server, Customer, Visitor) {
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let owner = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    (server, customer, owner)
}

async fn id_of(server: &Server, customer: &Customer, email: &str) -> String {
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let found = members["data"].as_array().unwrap().iter().find(|member| member["email"] == email);
    found.unwrap()["person_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn no_key_outlives_the_membership_that_ends_while_it_is_made() {
    let (server, customer, mut owner) = stage(Options::default()).await;
    for round in 0..6 {
        let email = format!("bob{round}@example.com");
        let mut bob = person(&server, &email, Some((&customer.id, "developer"))).await;
        let (id, csrf) = (id_of(&server, &customer, &email).await, bob.csrf().await);
        let owners = owner.csrf().await;
        let make =
            || bob.request(Method::POST, "/v1/keys").header("x-csrf-token", &csrf).json(&json!({"name": "late"}));
        let makes = join_all((0..12).map(|_| answer(make())));
        let remove = owner.request(Method::POST, &format!("/dashboard/members/{id}/remove"));
        let (made, removed) = tokio::join!(makes, answer(remove.form(&[("csrf", owners.as_str())])));
        assert_eq!(removed.status, 303, "{}", removed.body);
        for key in made.iter().filter(|made| made.status == 200) {
            let key = key.json()["key"].as_str().unwrap().to_owned();
            assert_eq!(server.api(&key).get("/v1/balance").await.status, 401, "round {round}");
        }
        assert!(made.iter().all(|made| [200, 401, 403].contains(&made.status)), "{:?}", made.last().map(|it| &it.body));
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_that_always_has_something_to_tell_ends_with_the_membership() {
    let options = Options::default().set("FAREBOX_HTTP__HEARTBEAT_SECONDS", "1");
    let (server, customer, mut owner) = stage(options).await;
    let bob = person(&server, "bob@example.com", Some((&customer.id, "reader"))).await;
    let open = bob.request(Method::GET, "/v1/events/stream").header("origin", server.url());
    let mut stream = open.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let id = id_of(&server, &customer, "bob@example.com").await;
    assert_eq!(owner.send(&format!("/members/{id}/remove"), &[]).await.status, 303);
    let (removed, mut told) = (Instant::now(), String::new());
    while let Some(piece) = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.unwrap().unwrap() {
        told.push_str(std::str::from_utf8(&piece).unwrap());
        assert!(removed.elapsed() < Duration::from_secs(25), "it goes on: {told}");
    }
    assert!(told.contains("event: close"), "{told}");
}

#[tokio::test]
async fn a_socket_takes_nothing_up_again_in_a_role_that_may_run_nothing() {
    let fake = FakeOpenAi::start();
    let (server, customer, mut owner) = stage(Options::default().calling(fake.url())).await;
    let bob = person(&server, "bob@example.com", Some((&customer.id, "developer"))).await;
    let headers = [("cookie", bob.cookie.as_str()), ("origin", server.url())];
    let mut socket = Socket::try_open(server.url(), &headers).await.unwrap();
    fake.script(Behaviour::Slow(50));
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    socket.send(&json!({"type": "chat.create", "id": "a", "body": body, "on_disconnect": "finish"})).await;
    socket.frames_of("a").await;
    let id = id_of(&server, &customer, "bob@example.com").await;
    assert_eq!(owner.send(&format!("/members/{id}/role"), &[("role", "reader")]).await.status, 303);
    for frame in
        [json!({"type": "resume", "id": "a", "after": 0}), json!({"type": "chat.create", "id": "b", "body": body})]
    {
        socket.send(&frame).await;
        let refused = socket.next_of("error").await;
        assert_eq!(refused["status"], 403, "{refused}");
    }
    // It says so itself, and another one has the new role.
    assert_eq!(socket.closed().await, (1008, CHANGED.to_owned()));
    assert_eq!(owner.send(&format!("/members/{id}/role"), &[("role", "owner")]).await.status, 303);
    let mut socket = Socket::try_open(server.url(), &headers).await.unwrap();
    // What an owner asked for is an owner's to take up, and so is the account's card.
    let detached = json!({"type": "chat.create", "id": "c", "body": body, "on_disconnect": "detach"});
    socket.send(&detached).await;
    assert_eq!(socket.frames_of("c").await.last().unwrap()["type"], "chat.done");
    let stream = bob.request(Method::GET, "/v1/events/stream").header("sec-fetch-site", "same-origin");
    let mut stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200, "browsers say no origin to their own");
    assert_eq!(owner.send(&format!("/members/{id}/role"), &[("role", "developer")]).await.status, 303);
    let mut another = detached.clone();
    another["id"] = "e".into();
    let mut buys = json!({"type": "chat.create", "id": "d", "body": body});
    buys["body"]["autoScale"] = true.into();
    for frame in [json!({"type": "resume", "id": "c", "after": 0}), buys, another] {
        socket.send(&frame).await;
        let refused = socket.next_of("error").await;
        assert_eq!(refused["status"], 403, "{refused}");
    }
    assert_eq!(socket.closed().await, (1008, CHANGED.to_owned()));
    let mut told = String::new();
    while let Some(piece) = tokio::time::timeout(Duration::from_secs(30), stream.chunk()).await.unwrap().unwrap() {
        told.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(told.contains(CHANGED), "{told}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn another_spelling_of_an_address_is_no_other_try() {
    let (server, _, _) = stage(Options::default().set("FAREBOX_PEOPLE__SIGN_UP", "open")).await;
    // Each of these is ada@example.com, to who looks people up.
    let spellings = ["ada@example.com", "\u{ff41}da@example.com", "a\u{ff44}a@example.com", "ad\u{ff41}@EXAMPLE.com"];
    let mut refused = 0;
    for place in 0..16 {
        let mut guess = Visitor::new(&server);
        let email = spellings[place % spellings.len()];
        let guessed = guess.sign_in(email, "wrong password").await;
        refused += usize::from(guessed.status == 429);
    }
    assert_eq!(refused, 6, "ten tries in ten minutes");
    let mut asked = Vec::new();
    for spelling in spellings.into_iter().chain(spellings) {
        asked.push(Visitor::new(&server).post("/forgot", &[("email", spelling)]).await.status);
    }
    assert_eq!(asked.iter().filter(|status| **status == 200).count(), 5, "{asked:?}");
}

#[tokio::test]
async fn who_is_a_member_of_nothing_signs_up_for_an_account_of_the_own() {
    let (server, customer, mut owner) = stage(Options::default().set("FAREBOX_PEOPLE__SIGN_UP", "open")).await;
    let mut bob = person(&server, "bob@example.com", Some((&customer.id, "reader"))).await;
    let mut stranger = Visitor::new(&server);
    let seated = stranger.post("/sign-up", &[("email", "bob@example.com")]).await;
    assert!(!letters(&server, "bob@example.com", 1).await[0].contains("token="), "he has an account to look at");
    let id = id_of(&server, &customer, "bob@example.com").await;
    assert_eq!(owner.send(&format!("/members/{id}/remove"), &[]).await.status, 303);
    assert_eq!(bob.get("").await.header("location"), Some("/dashboard/accounts"));
    let again = stranger.post("/sign-up", &[("email", "bob@example.com")]).await;
    assert_eq!((again.status, &again.body), (200, &seated.body), "nobody learns of it");
    let link = link_of(&server, &letters(&server, "bob@example.com", 2).await[1]);
    assert_eq!(stranger.join(&link, "Mallory").await.status, 200);
    assert_eq!(stranger.sign_in("bob@example.com", PASSWORD).await.status, 303, "the password is as it was");
    let overview = stranger.get("").await;
    assert!(overview.status == 200 && overview.body.contains("owner"), "{}", overview.body);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_page_of_one_account_does_nothing_to_another_that_the_session_was_turned_to() {
    let fake = FakeOpenAi::start();
    let (server, one, mut ada) = stage(Options::default().calling(fake.url())).await;
    let two = server.admin().customer("payg", "5").await;
    let link = json!({"email": "ada@example.com", "account": two.id, "role": "owner"});
    let link = server.admin().0.post("/admin/v1/people/invite", &link).await.ok()["link"].as_str().unwrap().to_owned();
    ada.join(&link, "Ada").await;
    // A tab shows the first account; in another one she turns to the second.
    let (page, once) = (ada.csrf().await, ada.once("/credits").await);
    assert_eq!(ada.send("/accounts", &[("account", &two.id)]).await.status, 303);
    for (path, fields) in [
        ("/members/invite", &[("email", "eve@example.com"), ("role", "owner")][..]),
        ("/credits/buy", &[("once", once.as_str()), ("amount", "10"), ("card", "pm_card_visa")]),
        (
            "/credits/auto-reload",
            &[("enabled", "true"), ("threshold", "5"), ("amount", "10"), ("card", "pm_card_visa")],
        ),
        ("/credits/calendar", &[]),
    ] {
        let refused = ada.post(path, &[&[("csrf", page.as_str())], fields].concat()).await;
        assert!(refused.status == 403 && refused.body.contains("open the page again"), "{path}: {}", refused.body);
    }
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    let run = ada.request(Method::POST, "/v1/chat/completions").header("x-csrf-token", &page).json(&chat);
    assert_eq!(answer(run).await.status, 403, "nor does the playground");
    // Nor does its socket tell the other's balance.
    let (cookie, account) = (ada.cookie.clone(), page.split_once('.').unwrap().1.to_owned());
    let headers = [("cookie", cookie.as_str()), ("origin", server.url())];
    let of = |account: &str| format!("/v1/live?account={account}");
    assert_eq!(Socket::try_open_at(server.url(), &of(&account), &headers).await.err(), Some(403));
    let mut own = Socket::try_open_at(server.url(), &of(&two.id), &headers).await.unwrap();
    assert_eq!(own.next_of("balance").await["available"], "10.00");
    assert_eq!(Socket::try_open_at(server.url(), "/v1/live?account=me", &headers).await.err(), Some(400));
    assert_eq!(two.api.get("/v1/balance").await.ok()["available"], "10.00");
    assert_eq!(ada.call(Method::POST, "/v1/chat/completions", &chat).await.status, 200, "a page of the second does");
    // What is the person's own, and leaving, are of no account.
    let renamed = ada.post("/settings/name", &[("csrf", page.as_str()), ("name", "Ada L.")]).await;
    assert_eq!(renamed.status, 303, "{}", renamed.body);
    assert_eq!(ada.post("/sign-out", &[("csrf", page.as_str())]).await.status, 303);
    assert_eq!(one.api.get("/v1/balance").await.ok()["available"], "10.00");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn whom_an_operator_turns_away_lets_nobody_in_by_earlier_invitations() {
    let (server, customer, mut owner) = stage(Options::default()).await;
    owner.send("/members/invite", &[("email", "eve@example.com"), ("role", "owner")]).await;
    let link = link_of(&server, &letters(&server, "eve@example.com", 1).await[0]);
    let ada = id_of(&server, &customer, "ada@example.com").await;
    let disable = format!("/admin/v1/people/{ada}/disable");
    assert_eq!(server.admin().0.post(&disable, &json!({})).await.status, 200);
    assert_eq!(Visitor::new(&server).join(&link, "Eve").await.status, 404);
}

#[tokio::test]
async fn whom_an_operator_turns_away_has_no_keys_left_and_is_no_owner_who_can_act() {
    let (server, customer, mut ada) = stage(Options::default()).await;
    let mut bob = person(&server, "bob@example.com", Some((&customer.id, "owner"))).await;
    let made = ada.call(Method::POST, "/v1/keys", &json!({"name": "ada's"})).await.ok();
    let key = server.api(made["key"].as_str().unwrap());
    let ada_id = id_of(&server, &customer, "ada@example.com").await;
    let bob_id = id_of(&server, &customer, "bob@example.com").await;
    let admin = server.admin().0;
    let disable =
        async |query: &str| admin.post(&format!("/admin/v1/people/{ada_id}/disable{query}"), &json!({})).await;
    assert_eq!(disable("?keys=perhaps").await.status, 400);
    assert_eq!(disable("?keys=keep").await.ok()["keys_revoked"], 0);
    assert_eq!(key.get("/v1/balance").await.status, 200, "it is kept where that is said");
    assert!(!ada.is_in().await);
    // Said again without that, the key ends; those of others go on.
    assert_eq!(disable("").await.ok(), json!({"id": ada_id, "disabled": true, "keys_revoked": 1}));
    assert_eq!(key.get("/v1/balance").await.status, 401);
    assert_eq!(customer.api.get("/v1/balance").await.status, 200);
    // Of two owners one is left who can act, and stays.
    let page = bob.get("/members").await.body;
    assert!(page.contains("turned away by whoever runs this gateway"), "{page}");
    let left = bob.send(&format!("/members/{bob_id}/remove"), &[]).await;
    assert_eq!(left.status, 409, "{}", left.body);
    let less = bob.send(&format!("/members/{bob_id}/role"), &[("role", "reader")]).await;
    assert_eq!(less.status, 409, "{}", less.body);
    let listed = admin.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let away: Vec<bool> =
        listed["data"].as_array().unwrap().iter().map(|member| member["disabled_at"].is_string()).collect();
    assert_eq!(away, [true, false], "{listed}");
    assert_eq!(bob.send(&format!("/members/{ada_id}/remove"), &[]).await.status, 303);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_id_that_no_database_can_have_is_nobodys() {
    let fake = FakeOpenAi::start();
    let (server, customer, _) = stage(Options::default().calling(fake.url())).await;
    for path in ["/v1/responses/%00", "/v1/responses/a%00b", "/v1/conversations/%00"] {
        assert_eq!(customer.api.get(path).await.status, 404, "{path}");
    }
    assert_eq!(answer(customer.api.request(Method::DELETE, "/v1/responses/%00")).await.status, 404);
    let body = json!({"model": "gpt-4o-mini", "input": "hi", "previous_response_id": "\u{0}"});
    let refused = customer.api.post("/v1/responses", &body).await;
    assert!([400, 404].contains(&refused.status), "{}", refused.body);
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn who_changed_what_is_in_the_audit_log() {
    let (mut server, customer, mut ada) = stage(Options::default()).await;
    let mut bob = person(&server, "bob@example.com", Some((&customer.id, "billing"))).await;
    let log = async |query: &str| customer.api.get(&format!("/v1/audit-log{query}")).await.ok();
    assert_eq!(log("").await["data"], json!([]));
    // By a key, as the owner, and as a member; what is refused is not there.
    let make = customer.api.request(Method::POST, "/v1/keys").header("idempotency-key", "ci");
    let make = make.json(&json!({"name": "<i>ci</i>"}));
    let key = answer(make.try_clone().unwrap()).await.ok();
    // An answer that is given again has changed nothing.
    assert_eq!(answer(make).await.header("idempotency-replayed"), Some("true"));
    let once = bob.once("/credits").await;
    let buy = [("once", once.as_str()), ("amount", "10"), ("card", "pm_card_visa")];
    // Sent again it is one act.
    assert_eq!(bob.send("/credits/buy", &buy).await.status, 303);
    assert_eq!(bob.send("/credits/buy", &buy).await.status, 303);
    assert_eq!(
        bob.send("/credits/buy", &[("once", "none"), ("amount", "10"), ("card", "pm_card_visa")]).await.status,
        400
    );
    assert_eq!(bob.call(Method::POST, "/v1/keys", &json!({"name": "mine"})).await.status, 403);
    let auto = json!({"enabled": false});
    let set = answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&auto)).await;
    assert_eq!(set.status, 200, "{}", set.body);
    let people = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let bob_id = people["data"].as_array().unwrap().iter().find(|it| it["email"] == "bob@example.com").unwrap();
    let bob_id = bob_id["person_id"].as_str().unwrap().to_owned();
    assert_eq!(ada.send(&format!("/members/{bob_id}/role"), &[("role", "reader")]).await.status, 303);
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(answer(customer.api.request(Method::DELETE, &path)).await.status, 200);
    assert_eq!(answer(customer.api.request(Method::DELETE, "/v1/keys/nothing")).await.status, 400);
    let listed = log("").await;
    let rows = listed["data"].as_array().unwrap();
    let told = |row: &serde_json::Value| {
        ["by", "by_name", "act", "subject", "detail"].map(|name| row[name].as_str().unwrap_or("-").to_owned())
    };
    let key_id = key["id"].as_str().unwrap();
    let bought = customer.api.get("/v1/payments").await.ok()["data"][0]["id"].as_str().unwrap().to_owned();
    let expected = [
        ["key", "test", "keys.revoke", key_id, "-"],
        ["member", "ada@example.com", "members.change_role", &bob_id, "reader"],
        ["key", "test", "auto_reload.set", "-", "-"],
        ["member", "bob@example.com", "credits.purchase", &bought, "$10.00"],
        ["key", "test", "keys.create", key_id, "<i>ci</i>"],
    ];
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected, "{listed}");
    assert_eq!(rows[1]["by_id"].as_str().unwrap().len(), 36);
    let (first, cursor) =
        (log("?limit=2").await, |page: &serde_json::Value| page["next_cursor"].as_str().unwrap().to_owned());
    assert_eq!(log(&format!("?limit=2&cursor={}", cursor(&first))).await["data"][0]["act"], "auto_reload.set");
    // Its page, which a reader sees as well; an operator; and nobody of another account.
    let page = bob.get("/audit-log").await;
    assert!(
        page.status == 200 && page.body.contains("&#60;i&#62;ci") && page.body.contains("keys revoke"),
        "{}",
        page.body
    );
    let operator = server.admin().0.get(&format!("/admin/v1/accounts/{}/audit-log", customer.id)).await.ok();
    assert_eq!(operator["data"], listed["data"]);
    let other = server.admin().customer("payg", "5").await;
    assert_eq!(other.api.get("/v1/audit-log").await.ok()["data"], json!([]));
    // It outlasts a restart and a rebuild of the tables; of who is forgotten the id alone is left.
    let forgotten = server.admin().0.request(Method::DELETE, "/admin/v1/people/bob@example.com");
    assert_eq!(answer(forgotten).await.status, 200);
    server.restart().await;
    let after = server.api(&customer.key).get("/v1/audit-log").await.ok();
    assert_eq!(after["data"].as_array().unwrap().len(), 5, "{after}");
    assert_eq!((&after["data"][3]["by_name"], &after["data"][3]["by_id"]), (&json!(null), &json!(bob_id)));
    what_was_begun_is_in_it(&server, &customer, ada.at(&server)).await;
    server.admin().assert_audit().await;
}

/// A purchase is in the audit log whatever its bank says; an object is named however the path is spelt; what changes nothing is
/// not there.
async fn what_was_begun_is_in_it(server: &Server, customer: &Customer, mut ada: Visitor) {
    let api = server.api(&customer.key);
    let declined = json!({"amount": "10", "payment_method": "pm_card_visa_chargeDeclined"});
    assert_eq!(api.post("/v1/credits/purchase", &declined).await.status, 422);
    let form = ada.once("/credits").await;
    let form = [("once", form.as_str()), ("amount", "11"), ("card", "pm_card_visa_chargeDeclined")];
    for _ in 0..2 {
        assert_eq!(ada.send("/credits/buy", &form).await.status, 422);
    }
    let key = api.post("/%761/keys", &json!({"name": "spelt"})).await.ok();
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let own = members["data"][0]["person_id"].as_str().unwrap().to_owned();
    assert_eq!(ada.send(&format!("/members/{own}/role"), &[("role", "owner")]).await.status, 303);
    let log = api.get("/v1/audit-log?limit=3").await.ok();
    let payments = api.get("/v1/payments").await.ok();
    let row = |place: usize| {
        let entry = &log["data"][place];
        ["act", "subject", "detail"].map(|name| entry[name].as_str().unwrap_or("-").to_owned())
    };
    let payment = |place: usize| payments["data"][place]["id"].as_str().unwrap().to_owned();
    assert_eq!(row(0), ["keys.create", key["id"].as_str().unwrap(), "spelt"], "{log}");
    assert_eq!(row(1), ["credits.purchase", &payment(0), "$11.00, declined"], "{log}");
    assert_eq!(row(2), ["credits.purchase", &payment(1), "$10.00, declined"], "{log}");
}

/// What operators do to accounts and people stands in their history, without the addresses that are forgotten with a person.
#[tokio::test]
async fn what_operators_do_is_in_their_history() {
    let (server, customer, _ada) = stage(Options::default()).await;
    let admin = server.admin().0;
    let key = admin.post(&format!("/admin/v1/accounts/{}/keys", customer.id), &json!({"name": "k"})).await.ok();
    let key = key["id"].as_str().unwrap();
    let revoke = admin.request(Method::DELETE, &format!("/admin/v1/accounts/{}/keys/{key}", customer.id));
    assert_eq!(answer(revoke).await.status, 200);
    for act in ["disable", "enable", "reset-link"] {
        let done = admin.post(&format!("/admin/v1/people/ada@example.com/{act}"), &json!({})).await;
        assert_eq!(done.status, 200, "{act}: {}", done.body);
    }
    assert_eq!(admin.post("/admin/v1/people/nobody@example.com/disable", &json!({})).await.status, 404);
    let kept = admin.get("/admin/v1/operations?limit=6").await.ok();
    let told: Vec<_> = kept["data"].as_array().unwrap().iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(told[..5], ["make_reset_link", "enable_person", "disable_person", "revoke_key", "create_key"], "{kept}");
    let subject = |place: usize| kept["data"][place]["subject"].as_str().unwrap();
    assert_eq!(subject(4), format!("account {}, key {key}", customer.id));
    assert!(subject(0).starts_with("person ") && !kept.to_string().contains("ada@example.com"), "{kept}");
    // So it is where the account is named by its address, and the path is spelled in another way.
    let account = admin.get(&format!("/admin/v1/accounts/{}", customer.id)).await.ok();
    let email = account["email"].as_str().unwrap();
    admin.post(&format!("/%61dmin/v1/accounts/{email}/keys"), &json!({"name": "k"})).await.ok();
    let kept = admin.get("/admin/v1/operations?limit=1").await.ok();
    let subject = kept["data"][0]["subject"].as_str().unwrap();
    assert!(subject.starts_with(&format!("account {}, key ", customer.id)), "{kept}");
}
