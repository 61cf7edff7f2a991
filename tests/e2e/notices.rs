//! What owners and members are told, and how often: lines of low credits and of keys' limits, letters by roles and by choice, links
//! that stop them, and a gateway that is killed meanwhile.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    fake_smtp::FakeSmtp,
    people::{Visitor, notices, person},
    server::{Options, Server},
};

/// More than a minute: letters wait for its end.
const MINUTE: u64 = 61;

async fn put(api: &Api, path: &str, body: Value) -> crate::support::client::Answer {
    answer(api.request(Method::PUT, path).json(&body)).await
}

/// Takes so many dollars back.
async fn take(server: &Server, customer: &Customer, dollars: &str) {
    let grants = customer.api.get("/v1/grants").await.ok();
    let amount = |grant: &Value| grant["available"].as_str().unwrap().parse::<f64>().unwrap();
    let wanted = dollars.parse::<f64>().unwrap();
    let grant = grants["data"].as_array().unwrap().iter().find(|grant| amount(grant) >= wanted).unwrap();
    let path = format!("/admin/v1/accounts/{}/grants/{}/void", customer.id, grant["id"].as_str().unwrap());
    server.admin().0.post(&path, &json!({"amount": dollars, "reason": "the story spends it"})).await.ok();
}

/// Takes all credits back.
async fn take_all(server: &Server, customer: &Customer) {
    let grants = customer.api.get("/v1/grants").await.ok();
    for grant in grants["data"].as_array().unwrap().iter().filter(|grant| grant["available"] != "0.00") {
        let path = format!("/admin/v1/accounts/{}/grants/{}/void", customer.id, grant["id"].as_str().unwrap());
        server.admin().0.post(&path, &json!({"reason": "the story spends it"})).await.ok();
    }
}

/// The lines that were told, the latest first.
async fn told(customer: &Customer) -> Vec<String> {
    let events = customer.api.get("/v1/events?kind=low_balance").await.ok();
    let line = |event: &Value| event["data"]["threshold"].as_str().unwrap().to_owned();
    events["data"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_line_is_told_once_until_the_balance_recovers_also_over_a_kill() {
    let mut server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "1").await;
    // Five dollars are the plan's.
    let usual = customer.api.get("/v1/balance/alerts").await.ok();
    assert_eq!((&usual["lines"], &usual["usual"], &usual["told"]), (&json!(["0.25"]), &json!(true), &json!([])));
    let set = put(&customer.api, "/v1/balance/alerts", json!({"lines": ["5.50", 1]})).await.ok();
    assert_eq!((&set["lines"], &set["usual"]), (&json!(["5.50", "1.00"]), &json!(false)));
    for (lines, field) in [
        (json!({"lines": ["0"]}), "lines"),
        (json!({"lines": ["1", "1.00"]}), "lines"),
        (json!({"lines": ["x"]}), "lines[0]"),
        (json!({"lines": ["1", {}]}), "lines[1]"),
        (json!({"lines": (1..=11).collect::<Vec<_>>()}), "lines"),
        (json!({"line": []}), "line"),
    ] {
        let refused = put(&customer.api, "/v1/balance/alerts", lines).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    take(&server, &customer, "1").await;
    assert_eq!(told(&customer).await, ["5.50"]);
    // Up and down around the line, and one life after another.
    server.admin().grant(&customer.id, "promo", "1.80").await;
    server.kill_nine();
    server.restart().await;
    let customer = Customer { api: server.api(&customer.key), ..customer };
    assert_eq!(customer.api.get("/v1/balance/alerts").await.ok()["told"], json!(["5.50"]));
    take(&server, &customer, "1.80").await;
    assert_eq!(told(&customer).await, ["5.50"], "the balance had not recovered");
    // A quarter of the line above it, it has.
    server.admin().grant(&customer.id, "promo", "1.875").await;
    assert_eq!(customer.api.get("/v1/balance/alerts").await.ok()["told"], json!([]));
    take(&server, &customer, "1.875").await;
    assert_eq!(told(&customer).await, ["5.50", "5.50"]);
    // Of several lines at once the lowest is told.
    server.admin().grant(&customer.id, "promo", "9").await;
    take_all(&server, &customer).await;
    let lines = told(&customer).await;
    assert_eq!(lines[0], "1.00", "{lines:?}");
    // Nothing is told where nothing is to be.
    assert_eq!(put(&customer.api, "/v1/balance/alerts", json!({"lines": []})).await.ok()["lines"], json!([]));
    server.admin().grant(&customer.id, "promo", "9").await;
    take_all(&server, &customer).await;
    assert_eq!(told(&customer).await.len(), lines.len());
    assert_eq!(put(&customer.api, "/v1/balance/alerts", json!({"lines": null})).await.ok()["lines"], json!(["0.25"]));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_key_has_lines_of_its_own_and_members_choose_whose_keys_they_hear_of() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "developer"))).await;
    let key = async |name: &str, limits: Value| {
        let made = customer.api.post("/v1/keys", &json!({"name": name, "limits": limits})).await.ok();
        (made["id"].as_str().unwrap().to_owned(), server.api(made["key"].as_str().unwrap()))
    };
    let (mine, by_mine) = key("mine", json!({"total": "0.001"})).await;
    let (other, by_other) = key("other", json!({"total": "0.001"})).await;
    let (free, _) = key("free", json!({})).await;
    let path = format!("/v1/keys/{mine}/alerts");
    assert_eq!(put(&customer.api, &path, json!({"percents": [50, 90]})).await.ok()["percents"], json!([50, 90]));
    let listed = customer.api.get("/v1/keys").await.ok();
    let alerts = |id: &str| {
        let keys = listed["data"].as_array().unwrap();
        keys.iter().find(|key| key["id"] == id).unwrap()["alerts"].clone()
    };
    assert_eq!((alerts(&mine), alerts(&other), alerts(&free)), (json!([50, 90]), json!([80]), Value::Null));
    for (body, field) in [
        (json!({"percents": [0]}), "percents"),
        (json!({"percents": [101]}), "percents"),
        (json!({"percents": [50, 50]}), "percents"),
        (json!({"percents": [1, 2, 3, 4, 5, 6]}), "percents"),
        (json!({"percents": [300]}), "percents[0]"),
        (json!({}), "percents"),
    ] {
        let refused = put(&customer.api, &path, body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    let unlimited = put(&customer.api, &format!("/v1/keys/{free}/alerts"), json!({"percents": [50]})).await;
    assert_eq!((unlimited.status, &unlimited.json()["field"]), (400, &json!("key")), "{}", unlimited.body);
    let stranger = server.admin().customer("payg", "5").await;
    assert_eq!(put(&stranger.api, &path, json!({"percents": [50]})).await.status, 404);
    // The member hears of one key alone.
    let chosen = json!({"events": ["key_limit_near"], "keys": [mine]});
    let set = ada.call(Method::PUT, "/v1/notifications", &chosen).await.ok();
    assert_eq!((&set["usual"], &set["keys"], &set["role"]), (&json!(false), &json!([mine]), &json!("developer")));
    let theirs = stranger.api.post("/v1/keys", &json!({"limits": {"day": "1"}})).await.ok()["id"].clone();
    for (body, field) in [
        (json!({"events": ["key_limit_near"], "keys": [theirs]}), "keys[0]"),
        (json!({"events": ["lottery_won"]}), "events[0]"),
        (json!({"events": ["low_balance", "low_balance"]}), "events[1]"),
        (json!({"events": ["low_balance"], "keys": [mine, mine]}), "keys[1]"),
        (json!({"events": ["low_balance"], "keys": vec![&mine; 1_001]}), "keys"),
        (json!({"keys": []}), "events"),
    ] {
        let refused = ada.call(Method::PUT, "/v1/notifications", &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    for api in [&by_mine, &by_other] {
        fake.script(Behaviour::Fills);
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        assert_eq!(api.post("/v1/chat/completions", &body).await.status, 200);
    }
    let events = customer.api.get("/v1/events?kind=key_limit_near").await.ok();
    let percents: BTreeSet<_> =
        events["data"].as_array().unwrap().iter().map(|it| it["data"]["percent"].clone().to_string()).collect();
    assert_eq!(percents, ["\"80\"".to_owned(), "\"90\"".to_owned()].into(), "the highest line of each: {events}");
    server.admin().advance(MINUTE).await;
    let letter = notices(&server, "ada@example.com", 1).await.pop().unwrap();
    assert!(letter.contains("The key mine has spent $0.0009") && !letter.contains("other"), "{letter}");
    // A key is nobody.
    let refused = customer.api.get("/v1/notifications").await;
    assert!(refused.status == 403 && refused.body.contains("no key"), "{}", refused.body);
    assert_eq!(ada.call(Method::PUT, "/v1/notifications", &json!({"events": null})).await.ok()["usual"], true);
    server.admin().assert_audit().await;
}

/// The minutes in which events of these kinds happened.
async fn minutes(api: &Api, kinds: &[&str]) -> usize {
    let events = api.get("/v1/events").await.ok();
    let events = events["data"].as_array().unwrap().iter();
    let wanted = events.filter(|event| kinds.contains(&event["kind"].as_str().unwrap()));
    wanted.map(|event| event["at"].as_str().unwrap()[..16].to_owned()).collect::<BTreeSet<_>>().len()
}

/// Where a letter is stopped.
fn link_that_stops(letter: &str) -> String {
    let header = letter.split("\r\nList-Unsubscribe: <").nth(1).unwrap_or_else(|| panic!("{letter}"));
    let link = header.split(">\r\n").next().unwrap().to_owned();
    assert!(letter.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{letter}");
    assert!(letter.contains(&format!("No more letters about this account: {link}\r\n")), "{letter}");
    link
}

#[tokio::test]
async fn letters_go_to_whom_the_role_is_told_and_stop_at_one_click() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "0").await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let mut eve = person(&server, "eve@example.com", Some((&customer.id, "reader"))).await;
    person(&server, "bill@example.com", Some((&customer.id, "billing"))).await;
    person(&server, "dev@example.com", Some((&customer.id, "developer"))).await;
    let run_low = async || {
        server.admin().grant(&customer.id, "promo", "5").await;
        take_all(&server, &customer).await;
        server.admin().advance(MINUTE).await;
    };
    run_low().await;
    let of_owner = ["low_balance", "member_joined"];
    let first = notices(&server, "ada@example.com", minutes(&customer.api, &of_owner).await).await;
    let all = first.concat();
    for says in ["eve@example.com became a member, as reader.", "Credits have fallen below $0.25: $0.00 is left."] {
        assert!(all.contains(says), "{says} in {all}");
    }
    let bill = notices(&server, "bill@example.com", 1).await.pop().unwrap();
    assert!(bill.contains("Subject: Credits have fallen below $0.25\r\n") && !bill.contains("member"), "{bill}");
    // Looking at the link changes nothing; a letter's program needs no session.
    let link = link_that_stops(&bill);
    let path = link.strip_prefix(server.url()).unwrap().to_owned();
    let stranger = Visitor::new(&server);
    for _ in 0..2 {
        let page = answer(stranger.request(Method::GET, &path)).await;
        assert!(page.status == 200 && page.body.contains("Send me no more"), "{}", page.body);
    }
    let told = async |visitor: &mut Visitor| {
        let set = visitor.call(Method::GET, "/v1/notifications", &json!({})).await.ok();
        set["events"].as_array().unwrap().iter().filter(|kind| kind["mail"] == true).count()
    };
    assert!(told(&mut ada).await > 5 && told(&mut eve).await == 0);
    let click = stranger.request(Method::POST, &path).form(&[("List-Unsubscribe", "One-Click")]);
    let clicked = answer(click).await;
    assert!(clicked.status == 200 && clicked.body.contains("no more letters"), "{}", clicked.body);
    // A link that is not ours stops nothing.
    let token = path.split_once("token=").unwrap().1;
    let swapped = format!("{}{}{}", &token[32..64], &token[..32], &token[64..]);
    let changed = format!("{}{}", &token[..127], if token.ends_with('0') { '1' } else { '0' });
    for wrong in ["", "x", &token[..127], &swapped, &changed, "\u{e9}"] {
        for method in [Method::GET, Method::POST] {
            let refused = answer(stranger.request(method, &format!("/dashboard/unsubscribe?token={wrong}"))).await;
            assert_eq!(refused.status, 404, "{wrong}");
        }
    }
    // By the page, without scripts: the owner wants letters about members alone.
    let shown = ada.get("/notifications").await;
    assert!(
        shown.body.contains("id=\"kind-low_balance\" name=\"kind\" value=\"low_balance\" checked"),
        "{}",
        shown.body
    );
    let sent = ada.send("/notifications", &[("kind", "member_joined"), ("kind", "member_left")]).await;
    assert_eq!((sent.status, sent.header("location")), (303, Some("/dashboard/notifications?said=letters")));
    assert_eq!(told(&mut ada).await, 2);
    // And a reader wants what readers are not told of.
    eve.send("/notifications", &[("kind", "low_balance")]).await;
    run_low().await;
    assert!(notices(&server, "eve@example.com", 1).await[0].contains("Credits have fallen below $0.25"));
    for (address, count) in [("ada@example.com", first.len()), ("bill@example.com", 1), ("dev@example.com", 0)] {
        assert_eq!(notices(&server, address, count).await.len(), count, "{address}");
    }
    let forged = ada.post("/notifications", &[("csrf", "wrong"), ("kind", "low_balance")]).await;
    assert_eq!((forged.status, told(&mut ada).await), (403, 2));
    ada.send("/notifications", &[("usual", "1")]).await;
    assert!(told(&mut ada).await > 5);
    // The lines of the account and of a key by the same page, and by those alone who may.
    assert_eq!(ada.send("/notifications/lines", &[("lines", "$7.50, 1")]).await.status, 303);
    assert_eq!(customer.api.get("/v1/balance/alerts").await.ok()["lines"], json!(["7.50", "1.00"]));
    let refused = ada.send("/notifications/lines", &[("lines", "much")]).await;
    assert!(refused.status == 400 && refused.body.contains("lines: "), "{}", refused.body);
    ada.send("/notifications/lines", &[("which", "usual")]).await;
    assert_eq!(customer.api.get("/v1/balance/alerts").await.ok()["usual"], true);
    let key = customer.api.post("/v1/keys", &json!({"name": "<b>", "limits": {"day": "1"}})).await.ok();
    let of_key = format!("/notifications/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(ada.send(&of_key, &[("percents", "25, 75")]).await.status, 303);
    let shown = ada.get("/notifications").await.body;
    assert!(shown.contains("value=\"25, 75\"") && !shown.contains("<b>"), "{shown}");
    assert_eq!(ada.send(&of_key, &[("percents", "all")]).await.status, 400);
    for path in ["/notifications/lines", &of_key] {
        assert_eq!(eve.send(path, &[("lines", "1"), ("percents", "1")]).await.status, 403, "{path}");
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_letter_that_was_promised_comes_though_the_gateway_is_killed() {
    let smtp = FakeSmtp::start(2);
    let options = Options::default()
        .set("FAREBOX_PEOPLE__URL", "https://box.example.com")
        .set("FAREBOX_PEOPLE__MAIL__SMTP", &smtp.url());
    let mut server = Server::start(options).await;
    let customer = server.admin().customer("payg", "0").await;
    person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    take_all(&server, &customer).await;
    server.admin().advance(MINUTE).await;
    let until = async |what: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_mins(1), "it is not so");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The server is busy once: the letter is tried again in a second.
    until(&|| smtp.busy() < 2).await;
    smtp.client_is_killed();
    server.kill_nine();
    assert_eq!(smtp.taken().len(), 0);
    server.restart().await;
    // The letter was the killed process's for two minutes.
    server.admin().advance(3 * MINUTE).await;
    until(&|| !smtp.taken().is_empty()).await;
    let taken = smtp.taken().remove(0);
    assert_eq!((&*taken.from, &*taken.to), ("farebox@localhost", "ada@example.com"));
    assert!(taken.text.contains("Credits have fallen below $0.25"), "{}", taken.text);
    assert!(link_that_stops(&taken.text).starts_with("https://box.example.com/dashboard/unsubscribe?token="));
    // It was told, and is not told again.
    server.admin().advance(MINUTE).await;
    server.restart().await;
    let api = server.api(&customer.key);
    assert_eq!(api.get("/v1/balance/alerts").await.ok()["told"], json!(["0.25"]));
    assert_eq!(smtp.taken().len(), 1);
}
