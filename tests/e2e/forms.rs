//! Forms whose ids make things: an id is one account's alone, and what it makes is made once. And the pages of webhooks, all of
//! whose acts are forms.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    pages::{Visitor, client, hidden, links},
    people::person,
    receiver::{Behaviour, Call, Receiver},
    server::{Options, Server},
};

async fn by_key<'a>(server: &'a Server, key: &str) -> Visitor<'a> {
    let signed = client().post(format!("{}/dashboard/sign-in", server.url())).form(&[("key", key)]);
    Visitor::signed_in(server, "/dashboard", signed.send().await.unwrap(), &[], "").await
}

async fn operator(server: &Server) -> Visitor<'_> {
    let token = Server::admin_token();
    let signed = client().post(format!("{}/operator/sign-in", server.url())).form(&[("token", token)]);
    Visitor::signed_in(server, "/operator", signed.send().await.unwrap(), &[], "").await
}

async fn list(customer: &Customer, path: &str) -> Vec<Value> {
    customer.api.get(path).await.ok()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_form_of_one_account_buys_and_makes_nothing_for_another() {
    let server = Server::start(Options::default()).await;
    let (ada, eve) = (server.admin().customer("payg", "5").await, server.admin().customer("payg", "5").await);
    let (owner, thief) = (by_key(&server, &ada.key).await, by_key(&server, &eve.key).await);
    let once = hidden(&owner.get("/credits").await.body, "once");
    let buy = [("once", &*once), ("amount", "10"), ("card", "pm_card_visa")];
    assert_eq!(owner.send("/credits/buy", &buy).await.status, 303);
    let bought = list(&ada, "/v1/payments").await;
    // The id of her payment, of a made-up one, and of none.
    for id in [&*once, &uuid::Uuid::now_v7().to_string(), &uuid::Uuid::nil().to_string()] {
        let refused = thief.send("/credits/buy", &[("once", id), ("amount", "10"), ("card", "pm_card_visa")]).await;
        assert!(refused.status == 400 && refused.body.contains("once: "), "{}: {}", refused.status, refused.body);
        let card = thief.send("/credits/cards", &[("once", id), ("card", "pm_card_visa")]).await;
        assert_eq!(card.status, 400, "{}", card.body);
        let key = thief.send("/keys", &[("once", id), ("name", "mine")]).await;
        assert_eq!(key.status, 400, "{}", key.body);
    }
    assert_eq!(eve.api.get("/v1/balance").await.ok()["available"], "10.00");
    assert!(list(&eve, "/v1/payments").await.is_empty() && list(&eve, "/v1/payment-methods").await.is_empty());
    assert_eq!(list(&eve, "/v1/keys").await.len(), 1);
    assert_eq!(list(&ada, "/v1/payments").await, bought, "hers is as it was");
    server.admin().assert_audit().await;
}

/// Who goes back and changes what a form says wants that, and gets it: the page never says that was done which was not.
#[tokio::test]
async fn a_form_that_is_sent_again_with_something_else_does_that() {
    let server = Server::start(Options::default()).await;
    let ada = server.admin().customer("payg", "5").await;
    let owner = by_key(&server, &ada.key).await;
    let once = hidden(&owner.get("/credits").await.body, "once");
    let buy = |amount| [("once", &*once), ("amount", amount), ("card", "pm_card_visa")];
    let at_once = futures::future::join_all((0..4).map(|_| async { owner.send("/credits/buy", &buy("10")).await }));
    for bought in at_once.await {
        assert_eq!(
            (bought.status, bought.header("location")),
            (303, Some("/dashboard/credits?said=bought")),
            "{}",
            bought.body
        );
    }
    assert_eq!(owner.send("/credits/buy", &buy("20")).await.status, 303);
    let bought = list(&ada, "/v1/payments").await;
    let amounts = |of: &mut dyn Iterator<Item = &Value>| {
        // Objects of one form have no order among themselves.
        let mut amounts: Vec<_> = of.map(|it| it["amount"].as_str().unwrap().to_owned()).collect();
        amounts.sort();
        amounts
    };
    assert_eq!(amounts(&mut bought.iter()), ["10.00", "20.00"], "{bought:?}");
    // Operators' forms, too: each act once, and none is said to be done that is not.
    let operator = operator(&server).await;
    let account = format!("/accounts/{}", ada.id);
    let once = hidden(&operator.get(&account).await.body, "once");
    let give = |amount| [("once", &*once), ("amount", amount), ("source", "promo"), ("reason", "r")];
    for amount in ["1", "25", "1"] {
        let given = operator.send(&format!("{account}/grant"), &give(amount)).await;
        assert_eq!(given.status, 303, "{}", given.body);
    }
    let grants = list(&ada, "/v1/grants").await;
    let given = amounts(&mut grants.iter().filter(|it| it["source"] == "promo"));
    assert_eq!(given, ["1.00", "25.00", "5.00"], "{grants:?}");
    let of_25 = grants.iter().find(|it| it["amount"] == "25.00").unwrap()["id"].as_str().unwrap().to_owned();
    let void = [("once", &*once), ("grant", &*of_25), ("amount", "2"), ("reason", "r")];
    let path = format!("{account}/void");
    let at_once = futures::future::join_all((0..4).map(|_| async { operator.send(&path, &void).await }));
    for taken in at_once.await.into_iter().chain([operator.send(&path, &void).await]) {
        assert_eq!(taken.status, 303, "{}", taken.body);
    }
    let left = list(&ada, "/v1/grants").await;
    let left = left.iter().find(|it| it["id"] == *of_25).unwrap();
    assert_eq!((&left["voided"], &left["available"]), (&json!("2.00"), &json!("23.00")), "{left}");
    let actors = server.admin().0.get("/admin/v1/actors").await.body;
    assert!(!server.logs().contains("a transition was refused"), "{} {actors}", server.logs());
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_form_that_makes_a_key_makes_one() {
    let server = Server::start(Options::default()).await;
    let ada = server.admin().customer("payg", "5").await;
    let owner = by_key(&server, &ada.key).await;
    let once = hidden(&owner.get("/keys").await.body, "once");
    let make = [("once", &*once), ("name", "laptop")];
    let (one, two) = tokio::join!(owner.send("/keys", &make), owner.send("/keys", &make));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", one.body, two.body);
    let again = owner.send("/keys", &make).await;
    assert!(again.status == 409 && again.body.contains("role=\"alert\""), "{}", again.body);
    let none = [("once", &*hidden(&owner.get("/keys").await.body, "once")), ("name", "all?"), ("models", " , ")];
    assert_eq!(owner.send("/keys", &none).await.status, 400, "commas alone name no model, and not all");
    assert_eq!(list(&ada, "/v1/keys").await.len(), 2, "the first key, and one");
    // Nor does the form bring one back that is revoked.
    let id = list(&ada, "/v1/keys").await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(owner.send(&format!("/keys/{id}/revoke"), &[]).await.status, 303);
    assert_eq!(owner.send("/keys", &make).await.status, 409);
    // Lists of keys have pages, however many were ever made.
    for number in 0..49 {
        ada.api.post("/v1/keys", &json!({"name": format!("key {number}")})).await.ok();
    }
    for path in ["/v1/keys".to_owned(), format!("/admin/v1/accounts/{}/keys", ada.id)] {
        let api = if path.starts_with("/admin") { server.admin().0 } else { ada.api.clone() };
        let first = api.get(&path).await.ok();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = api.get(&format!("{path}?cursor={cursor}")).await.ok();
        let names = |page: &Value| -> Vec<String> {
            page["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((names(&first).len(), names(&first)[0].as_str()), (50, "key 48"), "{path}");
        assert_eq!((names(&second), &second["next_cursor"]), (vec!["test".to_owned()], &json!(null)), "{path}");
        assert_eq!(names(&api.get(&format!("{path}?limit=200")).await.ok()).len(), 51);
        assert_eq!(api.get(&format!("{path}?limit=201")).await.status, 400);
    }
    let page = owner.get("/keys").await.body;
    let older = links(&page).into_iter().find(|link| link.starts_with("/dashboard/keys?cursor=")).unwrap();
    let page = owner.get(older.strip_prefix("/dashboard").unwrap()).await.body;
    assert!(page.contains("<td>test</td>") && !page.contains("cursor="), "{page}");
    assert_eq!(ada.api.get("/v1/balance").await.status, 200);
    // A saved card, too.
    let once = hidden(&owner.get("/credits").await.body, "once");
    for _ in 0..2 {
        owner.send("/credits/cards", &[("once", &once), ("card", "pm_card_visa")]).await;
    }
    let saved = list(&ada, "/v1/payment-methods").await;
    assert!(saved.len() == 1 && saved[0]["brand"] == "visa", "{saved:?}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_webhook_is_made_tested_turned_off_and_deleted_on_its_page() {
    let server = Server::start(Options::default().set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true")).await;
    let (ada, receiver) = (server.admin().customer("payg", "5").await, Receiver::start());
    let owner = by_key(&server, &ada.key).await;
    let limited = json!({"name": "<b>bold</b>", "scopes": ["inference", "billing"]});
    let key = ada.api.post("/v1/keys", &limited).await.ok();
    let (key_id, url) = (key["id"].as_str().unwrap(), receiver.url("/hook"));
    let page = owner.get("/webhooks").await.body;
    assert!(page.contains("There is no webhook yet") && page.contains("&#60;b&#62;bold"), "{page}");
    // What is wrong is told, and what was typed stays.
    let once = hidden(&page, "once");
    let wrong = [("once", &*once), ("url", "nowhere"), ("description", "\"><script>"), ("kind", "key_limit_near")];
    let wrong = owner.send("/webhooks", &wrong).await;
    assert!(wrong.status == 400 && wrong.body.contains("role=\"alert\""), "{}", wrong.body);
    let stays = ["value=\"nowhere\"", "value=\"key_limit_near\" checked", "value=\"&#34;&#62;&#60;script&#62;\""];
    assert!(stays.iter().all(|text| wrong.body.contains(text)), "{}", wrong.body);
    for (field, value) in [("kind", "nothing"), ("key", "no-id"), ("key", "00000000-0000-0000-0000-000000000001")] {
        let refused = owner.send("/webhooks", &[("once", &*once), ("url", &*url), (field, value)]).await;
        assert!(refused.status == 400 && refused.body.contains("role=\"alert\""), "{value}: {}", refused.body);
    }
    assert_eq!(owner.send("/webhooks", &[("url", &*url)]).await.status, 400, "without the form's id");
    let make = [
        ("once", &*once),
        ("url", &*url),
        ("description", "for ops"),
        ("kind", "account_frozen"),
        ("kind", "key_limit_near"),
        ("key", key_id),
    ];
    let made = owner.send("/webhooks", &make).await;
    let secret = |page: &str| {
        let rest = page.split("id=\"made\">").nth(1).unwrap_or_else(|| panic!("{page}"));
        rest.split('<').next().unwrap().to_owned()
    };
    assert!(made.status == 200 && secret(&made.body).starts_with("whsec_"), "{}", made.body);
    let again = owner.send("/webhooks", &make).await;
    assert_eq!(secret(&again.body), secret(&made.body), "the form makes one");
    let hooks = list(&ada, "/v1/webhooks").await;
    assert_eq!((hooks.len(), &hooks[0]["url"], &hooks[0]["key_ids"]), (1, &json!(url), &json!([key_id])), "{hooks:?}");
    assert_eq!(hooks[0]["events"], json!(["account_frozen", "key_limit_near"]));
    assert!(!owner.get("/webhooks").await.body.contains("whsec_"), "the secret is shown once");

    // A test, and a real event.
    let id = hooks[0]["id"].as_str().unwrap().to_owned();
    let at = |act: &str| format!("/webhooks/{id}{act}");
    receiver.script("/hook", [Behaviour::Status(503)]);
    let tested = owner.send(&at("/test"), &[]).await;
    assert!(tested.body.contains("was not accepted") && tested.body.contains("503 answer 503"), "{}", tested.body);
    let tested = owner.send(&at("/test"), &[]).await;
    assert!(tested.status == 200 && tested.body.contains("The test was accepted."), "{}", tested.body);
    let freeze = json!({"reason": "to see it"});
    server.admin().0.post(&format!("/admin/v1/accounts/{}/freeze", ada.id), &freeze).await.ok();
    let began = Instant::now();
    while !receiver.calls("/hook").iter().map(Call::kind).any(|kind| kind == "account_frozen")
        || !owner.get(&at("")).await.body.contains("delivered")
    {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", owner.get(&at("")).await.body);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(receiver.calls("/hook").iter().all(|call| call.is_signed(&secret(&made.body))));
    let page = owner.get(&at("")).await.body;
    assert!(page.contains("The account was frozen") && page.contains("&#60;b&#62;bold"), "{page}");

    // Turned off, on, and deleted.
    let off = owner.send(&at("/turn"), &[("enabled", "false")]).await;
    assert_eq!(off.header("location"), Some(&*format!("/dashboard/webhooks/{id}?said=off")));
    assert!(owner.get(&at("?said=off")).await.body.contains("turned off by a member"));
    assert_eq!(owner.send(&at("/turn"), &[("enabled", "perhaps")]).await.status, 400);
    assert_eq!(owner.send(&at("/turn"), &[("enabled", "true")]).await.status, 303);
    // Another account's, a reader's and a stranger's.
    let eve = server.admin().customer("payg", "5").await;
    let thief = by_key(&server, &eve.key).await;
    for act in ["/test", "/turn", "/delete"] {
        let refused = thief.send(&at(act), &[("enabled", "false")]).await;
        assert_eq!(refused.status, 404, "{act}: {}", refused.body);
    }
    assert_eq!(thief.get(&at("")).await.status, 404);
    let mut reader = person(&server, "rea@example.com", Some((&ada.id, "reader"))).await;
    assert_eq!(reader.get("/webhooks").await.status, 403);
    assert!(!reader.get("/events").await.body.contains("/dashboard/webhooks"));
    assert_eq!(reader.send(&at("/delete"), &[]).await.status, 403);
    let listed = server.cli(&["account", "webhooks", &ada.id]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&url) && listed.contains("for ops") && !listed.contains("whsec_"), "{listed}");
    assert_eq!(owner.send(&at("/delete"), &[]).await.header("location"), Some("/dashboard/webhooks?said=deleted"));
    assert_eq!(owner.get(&at("")).await.status, 404);
    // Its old form brings it not back.
    let again = owner.send("/webhooks", &make).await;
    assert!(again.status == 409 && !again.body.contains("id=\"made\""), "{}", again.body);
    assert!(list(&ada, "/v1/webhooks").await.is_empty());
    assert_eq!(list(&ada, "/v1/audit-log").await[0]["act"], "webhooks.delete");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn who_opens_the_address_of_a_form_reads_a_page() {
    let server = Server::start(Options::default()).await;
    for path in ["/dashboard/sign-out", "/dashboard/keys/x/revoke", "/dashboard/webhooks/x/test", "/operator/sign-out"]
    {
        let page = server.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (405, Some("text/html; charset=utf-8")), "{path}");
    }
    assert_eq!(server.get("/v1/credits/purchase").await.json()["code"], "method_not_allowed");
    // The root with a slash is the root.
    for root in ["/dashboard", "/operator"] {
        let led = client().get(format!("{}{root}/", server.url())).send().await.unwrap();
        assert_eq!((led.status().as_u16(), led.headers()["location"].to_str().unwrap()), (303, root));
    }
}
