//! The operator's pages: as an operator uses them in Chromium, and as somebody abuses them.

use reqwest::{Method, StatusCode, header::LOCATION};
use serde_json::json;

use crate::{
    operated,
    support::{
        browser::Browser,
        client::{Customer, answer},
        fake_openai::FakeOpenAi,
        pages::{Visitor, client, hidden},
        server::{Options, Server},
    },
};

const PAGES: [&str; 10] =
    ["", "/actors", "/pools", "/providers", "/money", "/nodes", "/accounts", "/requests", "/prices", "/acts"];

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_FAULTS", "true")).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

async fn sign_in(server: &Server, token: &str, next: &str) -> reqwest::Response {
    let url = format!("{}/operator/sign-in", server.url());
    client().post(url).form(&[("token", token), ("next", next)]).send().await.unwrap()
}

async fn operator(server: &Server) -> Visitor<'_> {
    let response = sign_in(server, Server::admin_token(), "/operator").await;
    assert!(!response.headers()["set-cookie"].to_str().unwrap().contains(Server::admin_token()));
    Visitor::signed_in(server, "/operator", response, &["HttpOnly", "SameSite=Strict", "Path=/operator"], "").await
}

#[tokio::test]
async fn an_operator_sees_a_crashed_actor_restart_and_drains_a_provider() {
    let (_fake, server, customer) = stage().await;
    let Some(browser) = Browser::start().await else { return };
    let at = |page: &str| format!("{}/operator{page}", server.url());
    browser.open(&at("/actors")).await;
    assert_eq!(browser.path().await, "/operator/sign-in");
    browser.fill("#token", "not the token").await;
    browser.click("main button").await;
    browser.sees("[role=alert]", |text| text.contains("not the operator's token")).await;
    browser.fill("#token", Server::admin_token()).await;
    browser.click("main button").await;
    browser.find("#actors").await;
    assert_eq!(browser.path().await, "/operator/actors", "it leads back");
    browser.open(&at("")).await;
    browser.sees("#tiles", |text| text.contains("ok")).await;
    browser.sees("#troubles", |text| text.contains("None.")).await;
    // An actor dies and comes back: the page says so without being loaded again.
    server.admin().0.post("/admin/v1/faults", &json!({"provider": "openai"})).await.ok();
    browser.sees("#troubles", |text| text.contains("provider openai") && text.contains("restarted once")).await;
    browser.open(&at("/actors/provider/openai")).await;
    browser.sees("#restarts", |text| text.contains("the life before panicked")).await;
    // A provider is paused, with a reason, and called again.
    browser.open(&at("/providers")).await;
    browser.sees("#providers", |text| text.contains("closed") || text.contains("troubled")).await;
    browser.open(&at("/acts?act=pause&subject=openai")).await;
    browser.fill("#act-reason", "their <b>invoice</b>").await;
    browser.click("#act button").await;
    browser.accept().await;
    browser.sees("#done", |text| text.contains("pause") && text.contains("their <b>invoice</b>")).await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 503);
    browser.open(&at("/providers")).await;
    browser.sees("#providers", |text| text.contains("paused")).await;
    browser.click("#providers a[href*='act=resume']").await;
    browser.fill("#act-reason", "paid").await;
    browser.click("#act button").await;
    browser.accept().await;
    browser.sees("#done", |text| text.contains("resume")).await;
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 200);
    // Credits are given once, and an audit is asked for.
    browser.open(&at(&format!("/accounts/{}", customer.id))).await;
    browser.fill("#grant-amount", "2.50").await;
    browser.fill("#grant-reason", "she waited").await;
    browser.click("#grant button").await;
    browser.accept().await;
    browser.sees(".good", |text| text.contains("The credits were given")).await;
    browser.sees("#actions", |text| text.contains("she waited") && text.contains("$2.50")).await;
    browser.open(&at("/money")).await;
    browser.click("#audit-now button").await;
    browser.sees("#audit", |text| text.contains("ok")).await;
    browser.click("header form button").await;
    browser.find("#token").await;
    browser.close().await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn every_page_has_no_barriers_and_fits_small_and_large_windows_light_and_dark() {
    let (_fake, server, customer) = stage().await;
    let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 200);
    let request = customer.settled(1).await[0]["id"].as_str().unwrap().to_owned();
    let unknown = json!({"model": "gpt-9", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &unknown).await.status, 404);
    server.admin().0.post("/admin/v1/faults", &json!({"provider": "openai"})).await.ok();
    server.admin().assert_audit().await;
    let Some(browser) = Browser::start().await else { return };
    browser.open(&format!("{}/operator", server.url())).await;
    assert!(browser.barriers().await.is_empty(), "sign-in");
    browser.fill("#token", Server::admin_token()).await;
    browser.click("main button").await;
    browser.find("#tiles").await;
    let (one, account) = (format!("/requests/{request}"), format!("/accounts/{}", customer.id));
    for page in PAGES.into_iter().chain([&*one, &*account, "/actors/provider/openai"]) {
        for (width, is_dark) in [(390, false), (390, true), (1280, false), (1280, true)] {
            browser.show(width, is_dark).await;
            browser.open(&format!("{}/operator{page}", server.url())).await;
            browser.find("main").await;
            let name = match page {
                "" => "overview",
                page if page == one => "request",
                page if page == account => "account",
                "/actors/provider/openai" => "actor",
                page => page.trim_start_matches('/'),
            };
            browser.keep_picture(&format!("operator-{name}-{width}-{}", if is_dark { "dark" } else { "light" })).await;
            let barriers = browser.barriers().await;
            assert!(barriers.is_empty(), "{page} at {width}: {barriers:#?}");
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide).await, 0, "{page} is wider than {width}");
        }
    }
    browser.close().await;
}

#[tokio::test]
async fn forms_of_other_pages_do_nothing_and_forms_sent_twice_act_once() {
    let (_fake, server, customer) = stage().await;
    let operator = operator(&server).await;
    let account = format!("/accounts/{}", customer.id);
    let once = hidden(&operator.get(&account).await.body, "once");
    let give = [("once", &*once), ("amount", "10"), ("source", "promo"), ("reason", "why not")];
    let path = format!("{account}/grant");
    let form = || operator.request(Method::POST, &format!("/operator{path}"));
    let csrf = ("csrf", operator.csrf.as_str());
    for forged in [
        form().form(&give),
        form().form(&[&[("csrf", "0".repeat(64).as_str())], &give[..]].concat()),
        form().form(&[&[csrf], &give[..]].concat()).header("origin", "https://evil.test"),
        form().form(&[&[csrf], &give[..]].concat()).header("sec-fetch-site", "cross-site"),
    ] {
        let refused = answer(forged).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
    }
    for _ in 0..2 {
        let given = operator.send(&path, &give).await;
        assert_eq!(given.status, 303, "{}", given.body);
    }
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "20.00");
    // Without a reason nothing is done, and the page says what is missing.
    let once = hidden(&operator.get(&account).await.body, "once");
    let unsaid = operator.send(&path, &[("once", &once), ("amount", "10.5<"), ("source", "promo")]).await;
    assert!(unsaid.status == 400 && unsaid.body.contains("role=\"alert\""), "{} {}", unsaid.status, unsaid.body);
    for typed in ["name=\"amount\" value=\"10.5&#60;\"", "<option selected>promo</option>"] {
        assert!(unsaid.body.contains(typed), "{typed} is lost: {}", unsaid.body);
    }
    let wrong =
        operator.send(&path, &[("once", &once), ("amount", "1"), ("source", "purchase"), ("reason", "x")]).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    // A payment of another account is not refunded from this one's page.
    let other = server.admin().customer("payg", "5").await;
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    let payment =
        other.api.post("/v1/credits/purchase", &bought).await.ok()["payment"]["id"].as_str().unwrap().to_owned();
    let refund = [("once", &*once), ("payment", &*payment), ("reason", "x")];
    assert_eq!(operator.send(&format!("{account}/refund"), &refund).await.status, 404);
    let refund_path = format!("/accounts/{}/refund", other.id);
    // Nor by the form of this one.
    assert_eq!(operator.send(&refund_path, &refund).await.status, 400);
    let once = hidden(&operator.get(&format!("/accounts/{}", other.id)).await.body, "once");
    let refund = [("once", &*once), ("payment", &*payment), ("reason", "x")];
    // Sent at once it is one refund, and each hears that it was made.
    let sent = futures::future::join_all((0..6).map(|_| operator.send(&refund_path, &refund))).await;
    assert!(
        sent.iter().all(|refunded| refunded.status == 303),
        "{:?}",
        sent.iter().map(|it| it.status).collect::<Vec<_>>()
    );
    // A form whose act was undone since is not carried out again, and does not say that it was.
    let once = hidden(&operator.get(&account).await.body, "once");
    let frozen = [("once", &*once), ("reason", "to see it")];
    assert_eq!(operator.send(&format!("{account}/freeze"), &frozen).await.status, 303);
    assert_eq!(operated::freeze(&server, &customer.id, "unfreeze").await.status, 200);
    let again = operator.send(&format!("{account}/freeze"), &frozen).await;
    assert!(again.status == 409 && again.body.contains("not so any more"), "{} {}", again.status, again.body);
    assert_eq!(customer.api.get("/v1/account").await.ok()["frozen_at"], json!(null));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn only_who_has_the_token_sees_the_pages_and_what_is_shown_is_text() {
    let (_fake, server, customer) = stage().await;
    let stranger = client();
    for page in PAGES {
        let url = format!("{}/operator{page}", server.url());
        for request in [
            stranger.get(&url),
            stranger.get(&url).bearer_auth(&customer.key),
            stranger.get(&url).header("cookie", "farebox_operator=AAAA"),
        ] {
            let led = request.send().await.unwrap();
            assert_eq!(led.status(), StatusCode::SEE_OTHER, "{page}");
            assert!(led.headers()[LOCATION].to_str().unwrap().starts_with("/operator/sign-in?next="), "{page}");
        }
    }
    // A customer's session of the dashboard is none of these.
    let session = stranger.post(format!("{}/dashboard/sign-in", server.url())).form(&[("key", &*customer.key)]);
    let cookie = session.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().replace("farebox_session", "farebox_operator");
    let led = stranger.get(format!("{}/operator", server.url())).header("cookie", cookie).send().await.unwrap();
    assert_eq!(led.status(), StatusCode::SEE_OTHER);
    // Guesses are slowed down, as the API's are.
    let mut guesses = Vec::new();
    for _ in 0..14 {
        guesses.push(sign_in(&server, "a guess", "/operator").await.status().as_u16());
    }
    assert!(guesses.starts_with(&[401; 10]) && guesses.ends_with(&[429, 429]), "{guesses:?}");
    let operator = operator(&server).await;
    for page in PAGES {
        let shown = operator.get(page).await;
        assert_eq!(shown.status, 200, "{page}: {}", shown.body);
        let policy = shown.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!shown.body.contains("<script>") && !shown.body.contains(" style=") && !shown.body.contains("sk-test"));
    }
    let prices = operator.get("/prices").await.body;
    let disputed = prices.split_once("Disputed prices").unwrap().1;
    assert!(disputed.contains("command-r") && disputed.contains("genai-prices"), "{prices}");
    for next in ["//evil.test", "https://evil.test/operator", "/v1/keys"] {
        assert_eq!(sign_in(&server, Server::admin_token(), next).await.headers()[LOCATION], "/operator", "{next}");
    }
    // What people typed is text: a key's name, a model's, a reason.
    let hostile = "<script>alert(1)</script>\"'><img src=x>";
    customer.api.post("/v1/keys", &json!({"name": hostile})).await.ok();
    let chat = json!({"model": hostile, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 404);
    let said = operator.send("/acts", &[("act", "pause"), ("subject", hostile), ("reason", hostile)]).await;
    for page in [format!("/accounts/{}", customer.id), "/acts".to_owned(), "/accounts?search=%3Cscript%3E".to_owned()] {
        let shown = operator.get(&page).await;
        assert!(shown.status == 200 && !shown.body.contains("<script>alert"), "{page}: {}", shown.body);
    }
    assert!(said.status == 400 && !said.body.contains("<script>alert"), "{} {}", said.status, said.body);
    // Each link leads somewhere; a form's field that nothing was typed into is sent empty.
    operator.follow_links(&["subject="]).await;
    for empty in ["/accounts?search=", "/requests?id=", "/acts?act=&subject=", "/sign-in?next="] {
        assert_eq!(operator.get(empty).await.status, 200, "{empty}");
    }
    let led = answer(client().post(format!("{}/operator/acts", server.url())).form(&[("act", "pause")])).await;
    let there = format!("{}{}", server.url(), led.header("location").unwrap());
    assert_eq!(answer(client().get(there)).await.status, 200, "who is led to sign in can");
    for wrong in ["/accounts/x", "/requests/x", "/actors/pool/9B", "/accounts?cursor=x", "/acts?nothing=1"] {
        let shown = operator.get(wrong).await;
        assert!(matches!(shown.status, 400 | 404) && shown.body.contains("role=\"alert\""), "{wrong}: {}", shown.body);
    }
}
