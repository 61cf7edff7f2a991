//! The dashboard: as a person uses it in Chromium, and as somebody abuses it.

use reqwest::{Method, header::LOCATION};
use serde_json::json;

use crate::support::{
    browser::Browser,
    client::{Customer, answer},
    fake_openai::FakeOpenAi,
    pages::{Visitor, client, hidden, links},
    people::person,
    server::{Options, Server},
};

const PAGES: [&str; 10] =
    ["", "/usage", "/requests", "/credits", "/keys", "/models", "/playground", "/events", "/webhooks", "/audit-log"];

async fn sign_in(server: &Server, key: &str, next: &str) -> reqwest::Response {
    let url = format!("{}/dashboard/sign-in", server.url());
    client().post(url).form(&[("key", key), ("next", next)]).send().await.unwrap()
}

/// Who signs in by a key.
pub(super) async fn visitor<'a>(server: &'a Server, key: &str) -> Visitor<'a> {
    let response = sign_in(server, key, "/dashboard").await;
    Visitor::signed_in(server, "/dashboard", response, &["HttpOnly", "SameSite=Lax"], "/keys").await
}

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

#[tokio::test]
async fn a_person_signs_in_runs_a_model_buys_credits_and_makes_and_revokes_a_key() {
    let (_fake, server, customer) = stage().await;
    let Some(browser) = Browser::start().await else { return };
    let at = |page: &str| format!("{}/dashboard{page}", server.url());
    browser.open(&at("/playground")).await;
    assert_eq!(browser.path().await, "/dashboard/sign-in");
    browser.fill("#key", "fb_000000000000_wrong").await;
    browser.click("#by-key button").await;
    browser.sees("[role=alert]", |text| text.contains("not known")).await;
    browser.fill("#key", &customer.key).await;
    browser.click("#by-key button").await;
    browser.find("#playground").await;
    assert_eq!(browser.path().await, "/dashboard/playground", "it leads back");
    // A streamed answer, and its cost.
    browser.run("document.querySelector('#model').value = 'gpt-4o-mini'; return null;").await;
    browser.click("#run").await;
    browser.sees("#cost", |text| text.contains("It cost $0.")).await;
    assert!(!browser.text("#answer").await.is_empty());
    // The balance is live: what is bought elsewhere is seen without loading the page again.
    browser.open(&at("")).await;
    let before = browser.sees("[data-live=available]", |text| text.starts_with("9.")).await;
    server.admin().grant(&customer.id, "promo", "1").await;
    let after = browser.sees("[data-live=available]", |text| *text != *before).await;
    assert!(after.starts_with("10."), "{before} {after}");
    browser.open(&at("/credits")).await;
    browser.fill("#amount", "25").await;
    browser.click("#buy button").await;
    browser.sees("[role=status]", |text| text.contains("the credits are there")).await;
    browser.sees("[data-live=available]", |text| text.starts_with("35.")).await;
    browser.open(&at("")).await;
    browser.sees("main", |text| text.contains("You bought $25.00")).await;
    // A key with a limit: its text is shown once, it works, and is revoked.
    browser.open(&at("/keys")).await;
    browser.fill("#name", "for the <b>agent</b>").await;
    browser.fill("#month", "3").await;
    browser.click("form.card button").await;
    let key = browser.text("#made").await;
    assert_eq!(server.api(&key).get("/v1/balance").await.status, 200);
    browser.sees("tbody tr", |text| text.contains("for the <b>agent</b>") && text.contains("$3.00 a month")).await;
    browser.open(&at("/keys")).await;
    browser.click("tbody tr [data-confirm]").await;
    browser.accept().await;
    browser.sees("tbody tr", |text| text.contains("revoked")).await;
    assert_eq!(server.api(&key).get("/v1/balance").await.status, 401);
    // The request that was run, and what it was charged for.
    browser.open(&at("/requests")).await;
    browser.click("tbody tr a").await;
    browser.sees("main", |text| text.contains("tokens.output")).await;
    browser.click("header form button").await;
    browser.find("#key").await;
    browser.open(&at("/keys")).await;
    assert_eq!(browser.path().await, "/dashboard/sign-in");
    browser.close().await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn every_page_has_no_barriers_and_fits_small_and_large_windows_light_and_dark() {
    let (_fake, server, customer) = stage().await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 200);
    let request = customer.settled(1).await[0]["id"].as_str().unwrap().to_owned();
    let visitor = visitor(&server, &customer.key).await;
    let once = hidden(&visitor.get("/credits").await.body, "once");
    visitor.send("/credits/buy", &[("once", &once), ("amount", "10"), ("card", "pm_card_visa")]).await;
    let hook = customer.api.post("/v1/webhooks", &json!({"url": "http://127.0.0.1:9/farebox"})).await.ok();
    assert_eq!(
        customer.api.post(&format!("/v1/webhooks/{}/test", hook["id"].as_str().unwrap()), &json!({})).await.status,
        200
    );
    let Some(browser) = Browser::start().await else { return };
    browser.open(&format!("{}/dashboard", server.url())).await;
    assert!(browser.barriers().await.is_empty(), "sign-in");
    browser.fill("#key", &customer.key).await;
    browser.click("#by-key button").await;
    browser.find(".tiles").await;
    let (one, hook) = (format!("/requests/{request}"), format!("/webhooks/{}", hook["id"].as_str().unwrap()));
    for page in PAGES.into_iter().chain([&*one, &*hook, "/keys?nothing", "/no/such/page"]) {
        for (width, is_dark) in [(390, false), (390, true), (1280, false), (1280, true)] {
            browser.show(width, is_dark).await;
            browser.open(&format!("{}/dashboard{page}", server.url())).await;
            browser.find("main").await;
            let name = page.split('/').nth(1).filter(|name| !name.is_empty()).unwrap_or("overview");
            let name = match page {
                _ if page == one => "request",
                _ if page == hook => "webhook",
                _ => name,
            };
            browser.keep_picture(&format!("{name}-{width}-{}", if is_dark { "dark" } else { "light" })).await;
            let barriers = browser.barriers().await;
            assert!(barriers.is_empty(), "{page} at {width}: {barriers:#?}");
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide).await, 0, "{page} is wider than {width}");
        }
    }
    browser.close().await;
}

#[tokio::test]
async fn every_link_of_every_page_leads_somewhere() {
    let (_fake, server, customer) = stage().await;
    let visitor = visitor(&server, &customer.key).await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 200);
    let once = hidden(&visitor.get("/credits").await.body, "once");
    let bought = visitor.send("/credits/buy", &[("once", &*once), ("amount", "10"), ("card", "pm_card_visa")]).await;
    assert_eq!(bought.status, 303, "{}", bought.body);
    customer.settled(1).await;
    // A model's page is as another model's.
    let seen = visitor.follow_links(&["model="]).await;
    // The first page that is looked at, with its style and its script.
    for page in PAGES {
        let page = visitor.get(page).await.body;
        let files = page.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
        let files = files.chain(links(&page).into_iter().filter(|link| link.contains("/assets/"))).collect::<Vec<_>>();
        assert!(files.len() >= 2, "{files:?}");
        let mut bytes = page.len();
        for file in files {
            bytes += answer(visitor.request(Method::GET, &file)).await.body.len();
        }
        assert!(bytes < 100_000, "{bytes} bytes");
    }
    for path in [
        "/dashboard/models?q=&page=2",
        "/v1/usage.csv?from=",
        "/receipt",
        "/dashboard/usage?days=1&",
        "/dashboard/requests/",
    ] {
        assert!(seen.iter().any(|seen| seen.contains(path)), "no page leads to {path}: {seen:?}");
    }
}

#[tokio::test]
async fn usage_is_shown_by_hour_model_and_key() {
    let (_fake, server, customer) = stage().await;
    let visitor = visitor(&server, &customer.key).await;
    let other = server.admin().create_key(&customer.id).await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    for key in [&customer.key, &customer.key, &other] {
        assert_eq!(server.api(key).post("/v1/chat/completions", &chat).await.status, 200);
    }
    customer.settled(3).await;
    let keys = customer.api.get("/v1/keys").await.ok();
    let requests = |page: &str| {
        let tile = page.split("<span>Requests</span><strong>").nth(1).unwrap();
        tile.split('<').next().unwrap().to_owned()
    };
    let models = visitor.get("/models?q=gpt-4o-mini").await.body;
    assert!(models.contains("Yours in 30 days") && models.contains(" for 3</td>"), "{models}");
    let all = visitor.get("/usage?days=1").await.body;
    assert_eq!(requests(&all), "3");
    assert!(all.contains("By hour") && all.contains("<h2>By key and member</h2>"), "{all}");
    for key in keys["data"].as_array().unwrap() {
        let of_key = visitor.get(&format!("/usage?days=7&key={}", key["id"].as_str().unwrap())).await.body;
        assert!(["1", "2"].contains(&&*requests(&of_key)), "{of_key}");
        assert!(of_key.contains("By day"), "{of_key}");
    }
    assert_eq!(requests(&visitor.get("/usage?days=30&model=gpt-4o-mini").await.body), "3");
    assert_eq!(requests(&visitor.get("/usage?days=30&model=nothing").await.body), "0");
    let elsewhere = uuid::Uuid::new_v4();
    assert_eq!(requests(&visitor.get(&format!("/usage?days=90&key={elsewhere}")).await.body), "0");
    assert_eq!(visitor.get("/usage?key=x").await.status, 400);
    let in_session =
        json!({"model": "gpt-4o-mini", "prompt_cache_key": "a <b>", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &in_session).await.status, 200);
    let settled = customer.settled(4).await;
    let by_minute = visitor.get("/usage?days=hours").await.body;
    assert_eq!(requests(&by_minute), "4");
    assert!(by_minute.contains("By minute") && by_minute.contains(" UTC: $"), "{by_minute}");
    let session =
        "href=\"/dashboard/usage?days=hours&amp;session=a+%3Cb%3E\">a &#60;b&#62;</a></td><td class=\"number\">1</td>";
    assert!(by_minute.contains(session), "{by_minute}");
    for (filter, count) in [("session=a+%3Cb%3E", "1"), ("member=none", "4"), ("member=none&session=b", "0")] {
        for days in ["hours", "1", "90"] {
            let page = visitor.get(&format!("/usage?days={days}&{filter}")).await.body;
            assert_eq!(requests(&page), count, "{filter}: {page}");
        }
    }
    assert_eq!(visitor.get("/usage?member=x").await.status, 400);
    let one = settled.iter().find(|request| request["session"] == "a <b>").unwrap();
    let one = visitor.get(&format!("/requests/{}", one["id"].as_str().unwrap())).await.body;
    assert!(one.contains("/dashboard/requests?session=a%20%3Cb%3E"), "{one}");
    let found = visitor.get("/requests?session=a%20%3Cb%3E").await.body;
    assert_eq!(found.matches("<tr><td><a href=").count(), 1, "{found}");
}

#[tokio::test]
async fn what_members_run_on_these_pages_stands_beside_what_keys_run() {
    let (_fake, server, customer) = stage().await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 200);
    assert_eq!(ada.call(Method::POST, "/v1/chat/completions", &chat).await.status, 200);
    customer.settled(2).await;
    let page = ada.get("/usage").await.body;
    let row = page.split(">ada@example.com, on these pages</a>").nth(1).unwrap_or_else(|| panic!("{page}"));
    assert!(row.starts_with("</td><td class=\"number\">1</td>") && !page.contains("without a key"), "{page}");
    assert!(
        page.contains("<h2>By member</h2>") && page.contains(">ada@example.com</a></td><td class=\"number\">1</td>"),
        "{page}"
    );
    // A member may be chosen as a key is.
    let members = server.admin().0.get(&format!("/admin/v1/accounts/{}/members", customer.id)).await.ok();
    let id = members["data"][0]["person_id"].as_str().unwrap();
    let only = ada.get(&format!("/usage?key={id}")).await.body;
    assert!(only.contains("<span>Requests</span><strong>1</strong>"), "{only}");
    assert!(only.contains(&format!("<option value=\"{id}\" selected>")), "{only}");
    let made = ada.get(&format!("/usage?member={id}")).await.body;
    assert!(made.contains("<span>Requests</span><strong>1</strong>"), "{made}");
}

#[tokio::test]
async fn forms_of_other_pages_do_nothing_and_forms_sent_twice_act_once() {
    let (_fake, server, customer) = stage().await;
    let visitor = visitor(&server, &customer.key).await;
    let once = hidden(&visitor.get("/credits").await.body, "once");
    let buy = [("once", &*once), ("amount", "10"), ("card", "pm_card_visa")];
    let purchase = || visitor.request(Method::POST, "/dashboard/credits/buy");
    let csrf = ("csrf", visitor.csrf.as_str());
    for forged in [
        purchase().form(&buy),
        purchase().form(&[&[("csrf", "0".repeat(64).as_str())], &buy[..]].concat()),
        purchase().form(&[&[csrf], &buy[..]].concat()).header("origin", "https://evil.test"),
        purchase().form(&[&[csrf], &buy[..]].concat()).header("sec-fetch-site", "cross-site"),
    ] {
        let refused = answer(forged).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
    }
    // So do their scripts: the API takes a session's cookie with its token alone.
    let chat = json!({"model": "gpt-4o-mini", "messages": []});
    let script = visitor.request(Method::POST, "/v1/chat/completions").json(&chat);
    assert_eq!(answer(script).await.status, 401);
    let read = visitor.request(Method::GET, "/v1/balance").header("sec-fetch-site", "cross-site");
    assert_eq!(answer(read).await.status, 401);
    assert_eq!(answer(visitor.request(Method::GET, "/v1/balance")).await.ok()["available"], "10.00");
    for _ in 0..2 {
        let bought = visitor.send("/credits/buy", &buy).await;
        assert_eq!((bought.status, bought.header("location")), (303, Some("/dashboard/credits?said=bought")));
    }
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "20.00");
    assert_eq!(customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().len(), 1);
    let declined = hidden(&visitor.get("/credits").await.body, "once");
    let declined = [("once", &*declined), ("amount", "10"), ("card", "pm_card_visa_chargeDeclined")];
    for _ in 0..2 {
        let refused = visitor.send("/credits/buy", &declined).await;
        assert!(
            refused.status == 422 && refused.body.contains("role=\"alert\""),
            "{}: {}",
            refused.status,
            refused.body
        );
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_session_is_its_keys_and_ends_with_it() {
    let (_fake, server, customer) = stage().await;
    let other = server.admin().customer("payg", "5").await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(other.api.post("/v1/chat/completions", &chat).await.status, 200);
    let theirs = other.settled(1).await[0]["id"].as_str().unwrap().to_owned();
    let key = server.admin().create_key(&customer.id).await;
    let visitor = visitor(&server, &key).await;
    for page in PAGES {
        let shown = visitor.get(page).await;
        assert_eq!(shown.status, 200, "{page}: {}", shown.body);
        let policy = shown.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!shown.body.contains("<script>") && !shown.body.contains(" style=") && !shown.body.contains(&key));
    }
    assert_eq!(visitor.get(&format!("/requests/{theirs}")).await.status, 404, "of another account");
    let keys = other.api.get("/v1/keys").await.ok();
    let key_id = keys["data"][0]["id"].as_str().unwrap();
    assert_eq!(visitor.send(&format!("/keys/{key_id}/revoke"), &[]).await.status, 404);
    // What people type is text.
    let hostile = "<script>alert(1)</script>\"'><img src=x>";
    let once = hidden(&visitor.get("/keys").await.body, "once");
    let made = visitor.send("/keys", &[("once", &once), ("name", hostile)]).await;
    assert!(made.status == 200 && !made.body.contains("<script>alert"), "{}", made.body);
    for page in ["/requests?model=", "/requests?session=", "/usage?session=", "/models?q=", "/credits?amount="] {
        let page = format!("{page}%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%3E");
        let shown = visitor.get(&page).await;
        assert!(shown.status == 200 && !shown.body.contains("<script>alert"), "{page}: {}", shown.body);
    }
    // A form's field that nothing was typed into is sent empty.
    for page in [
        "/requests?model=",
        "/models?q=&page=",
        "/models?page=18446744073709551615",
        "/usage?days=7&model=&key=&member=&session=",
        "/credits?amount=",
        "/events?cursor=",
    ] {
        assert_eq!(visitor.get(page).await.status, 200, "{page}");
    }
    for wrong in ["/usage?days=8", "/models?page=0", "/requests?cursor=x", "/requests/x", "/events?cursor=x"] {
        let shown = visitor.get(wrong).await;
        assert!(shown.status == 400 && shown.body.contains("role=\"alert\""), "{wrong}: {}", shown.body);
    }
    // Who signs in is led to our pages alone.
    for next in ["//evil.test", "https://evil.test/dashboard", "/v1/keys"] {
        assert_eq!(sign_in(&server, &key, next).await.headers()[LOCATION], "/dashboard", "{next}");
    }
    // A key with fewer rights shows less, and says why.
    let limited = json!({"name": "small", "limits": {"day": "1"}});
    let limited = customer.api.post("/v1/keys", &limited).await.ok()["key"].as_str().unwrap().to_owned();
    let small = sign_in(&server, &limited, "/dashboard").await;
    let cookie = small.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let small = Visitor { server: &server, root: "/dashboard", cookie, csrf: String::new() };
    let refused = small.get("/credits").await;
    assert!(refused.status == 403 && refused.body.contains("scope"), "{}", refused.body);
    // The session ends with its key.
    let own = customer.api.get("/v1/keys").await.ok();
    let is_it = |it: &&serde_json::Value| it["public"].as_str().is_some_and(|public| key.contains(public));
    let id = own["data"].as_array().unwrap().iter().find(is_it).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(answer(customer.api.request(Method::DELETE, &format!("/v1/keys/{id}"))).await.status < 300);
    let ended = visitor.get("/keys").await;
    assert_eq!((ended.status, ended.header("location")), (303, Some("/dashboard/sign-in?next=%2Fdashboard%2Fkeys")));
}

#[tokio::test]
async fn what_paid_for_a_request_is_on_its_page() {
    let (_fake, server, customer) = stage().await;
    let limited = json!({"name": "limited", "limits": {"total": "1"}});
    let limited = customer.api.post("/v1/keys", &limited).await.ok()["key"].as_str().unwrap().to_owned();
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(server.api(&limited).post("/v1/chat/completions", &chat).await.status, 200);
    let ended = customer.settled(1).await[0].clone();
    let path = format!("/v1/requests/{}", ended["id"].as_str().unwrap());
    let whole = customer.api.get(&path).await.ok();
    let drawn = whole["grants"].as_array().unwrap();
    assert_eq!((drawn.len(), &drawn[0]["amount"], &drawn[0]["source"]), (1, &ended["cost"], &json!("plan")), "{whole}");
    let grants = customer.api.get("/v1/grants").await.ok();
    let grant = grants["data"].as_array().unwrap().iter().find(|grant| grant["id"] == drawn[0]["grant_id"]).unwrap();
    assert_eq!((&grant["spent"], &grant["expires_at"]), (&ended["cost"], &drawn[0]["expires_at"]));
    assert_eq!(
        server.api(&limited).get(&path).await.ok().get("grants"),
        None,
        "a key without the scope sees its cost alone"
    );
    let visitor = visitor(&server, &customer.key).await;
    let page = visitor.get(&format!("/requests/{}", ended["id"].as_str().unwrap())).await.body;
    let paid = page.split("What paid for it").nth(1).unwrap();
    assert!(paid.contains("<td>plan</td>") && paid.contains(ended["cost"].as_str().unwrap()), "{page}");
    assert!(!paid.contains("debt"), "{page}");
}
